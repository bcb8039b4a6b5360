/* The clock as an interface: whoever needs "now" is handed a clock, so that a test can run years in
 * seconds. One "now" is read per turn of a loop and handed down; nothing below a loop reads a clock. */
#ifndef ORRERY_CLOCK_CLOCK_H
#define ORRERY_CLOCK_CLOCK_H

#include "clock/time.h"

struct clock {
    struct wall_time (*wall_now)(void *context);
    struct monotonic_time (*monotonic_now)(void *context);
    void *context;
};

static inline struct wall_time clock_wall_now(const struct clock *clock) {
    return clock->wall_now(clock->context);
}
static inline struct monotonic_time clock_monotonic_now(const struct clock *clock) {
    return clock->monotonic_now(clock->context);
}

/* CLOCK_REALTIME and CLOCK_MONOTONIC. Any thread. */
const struct clock *clock_system(void);

#endif
