/* For neighbours in api/: whether the service can do its work. */
#ifndef ORRERY_API_HEALTH_H
#define ORRERY_API_HEALTH_H

#include "api/call.h"

enum { HEALTH_CHECKS = 4 };

struct health {
    struct health_check {
        const char *name;
        bool ok;
    } checks[HEALTH_CHECKS];
};

/* True if all is well. */
bool health_check(struct call *call, struct health *out_health);

#endif
