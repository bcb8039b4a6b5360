/* The route table: one row a call. Pure. */
#ifndef ORRERY_API_ROUTE_H
#define ORRERY_API_ROUTE_H

#include "api/call.h"

struct route {
    const char *pattern; /* "{…}" stands for one part of the path */
    bool (*handle)(struct call *call, struct error *err);
    enum http_method method;
    bool is_open; /* no credentials, also while starting and draining */
};

enum route_outcome { ROUTE_FOUND, ROUTE_WRONG_METHOD, ROUTE_UNKNOWN };

/* Finds the row; a trailing slash is the same call, and HEAD is served as GET. The arguments are copied into the
 * arena. For ROUTE_WRONG_METHOD `out_allowed` is what stands in Allow. */
enum route_outcome route_find(enum http_method method, const char *path, struct arena *arena,
                              const struct route **out_route,
                              const char *out_arguments[CALL_ARGUMENTS_MAXIMUM],
                              const char **out_allowed);

#endif
