#include "clock/clock.h"

#include <time.h>

static int64_t read_clock_us(clockid_t which) {
    struct timespec now;
    int failed = clock_gettime(which, &now);
    ASSERT(failed == 0);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

static struct wall_time system_wall_now(void *context) {
    (void)context;
    return (struct wall_time){read_clock_us(CLOCK_REALTIME)};
}

static struct monotonic_time system_monotonic_now(void *context) {
    (void)context;
    return (struct monotonic_time){read_clock_us(CLOCK_MONOTONIC)};
}

const struct clock *clock_system(void) {
    static const struct clock system_clock = {
        .wall_now = system_wall_now,
        .monotonic_now = system_monotonic_now,
    };
    return &system_clock;
}
