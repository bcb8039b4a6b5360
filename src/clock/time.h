/* Three kinds of time as three types, so that mixing them does not compile. Microseconds inside,
 * everywhere.
 *
 * wall_time        an instant: microseconds since 1970-01-01T00:00:00Z, no leap seconds (POSIX)
 * monotonic_time   CLOCK_MONOTONIC: for measuring durations only
 * duration         a length of time, may be negative
 *
 * All functions are pure and may be called from any thread. */
#ifndef ORRERY_CLOCK_TIME_H
#define ORRERY_CLOCK_TIME_H

#include "base/error.h"

struct wall_time {
    int64_t us;
};
struct monotonic_time {
    int64_t us;
};
struct duration {
    int64_t us;
};

#define US_PER_MS INT64_C(1000)
#define US_PER_SECOND INT64_C(1000000)

/* No instant: "never", "not set". */
#define WALL_TIME_NONE ((struct wall_time){INT64_MIN})

static inline bool wall_time_is_none(struct wall_time time) { return time.us == INT64_MIN; }

/* Seconds since the epoch, rounded down. */
static inline int64_t wall_time_seconds(struct wall_time time) {
    return time.us / US_PER_SECOND - (time.us % US_PER_SECOND < 0 ? 1 : 0);
}
static inline struct wall_time wall_time_from_seconds(int64_t seconds) {
    return (struct wall_time){seconds * US_PER_SECOND};
}
static inline struct wall_time wall_time_add(struct wall_time time, struct duration duration) {
    return (struct wall_time){time.us + duration.us};
}
static inline struct duration wall_time_since(struct wall_time later, struct wall_time earlier) {
    return (struct duration){later.us - earlier.us};
}
static inline struct duration monotonic_time_since(struct monotonic_time later,
                                                   struct monotonic_time earlier) {
    return (struct duration){later.us - earlier.us};
}

/* RFC 3339 text. Formatting: UTC with microseconds, "2026-11-23T02:00:00.000000Z" (27
 * characters). */
enum { RFC3339_BYTES = 40 };
void wall_time_format(struct wall_time time, char out[static RFC3339_BYTES]);

/* The same with whole seconds and this offset from UTC: "2026-11-23T03:00:00+01:00"; an offset of 0
 * is "+00:00". The fraction is left out if it is zero, and has six digits otherwise. An offset's
 * seconds (local mean time, before about 1930) are not in RFC 3339's grammar: the offset and the
 * shown local time are rounded to the minute together, so that the instant is still exact. */
void wall_time_format_offset(struct wall_time time, int32_t offset_seconds,
                             char out[static RFC3339_BYTES]);

/* Parses RFC 3339 (section 5.6): date, 'T' or 't' or a space, time with 0 to 9 digits of a fraction
 * (beyond microseconds cut), 'Z', 'z' or a numeric offset. Years 1970 to 2199. A leap second ":60"
 * is taken as ":59.999999". Fails with ERROR_INVALID, the column, and what was expected. */
MUST_CHECK bool wall_time_parse(const char *text, struct wall_time *out, struct error *err);

/* The same text with the offset left out or present, in whole seconds: a time on some wall clock.
 * With an offset `out_local_seconds` is the instant itself (seconds since the epoch) and
 * `out_has_offset` true; without one it is the wall clock's reading counted as if it were UTC, for
 * a zone to place. */
MUST_CHECK bool local_time_parse(const char *text, int64_t *out_local_seconds, bool *out_has_offset,
                                 struct error *err);

/* Durations are strings such as "90s", "5m", "1h30m": units d, h, m, s, ms, us, no fractions, each
 * at most once, largest first, whole numbers. Formatting gives the shortest such string ("0s" for
 * zero). Parsing fails with ERROR_INVALID, the column, and what was expected; a result over 100
 * years is refused. */
enum { DURATION_BYTES = 48 };
void duration_format(struct duration duration, char out[static DURATION_BYTES]);
MUST_CHECK bool duration_parse(const char *text, struct duration *out, struct error *err);

#endif
