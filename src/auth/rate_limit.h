/* How many requests a second a principal may make: a token bucket for each, which holds as many as come in a
 * second, so that a short burst passes and the long run does not exceed the rate.
 *
 * A bucket is one number, the time at which it will be full again (the "generic cell rate algorithm", ITU-T
 * I.371): each request moves it on by one interval, and is refused where it would lie more than a full bucket
 * ahead. A bucket that is full is the same as none, so memory is bounded: a table of fixed size. Only if more
 * principals than places are busy within one second is the least busy one of a place's neighbours forgotten,
 * and starts with a full bucket again.
 *
 * Any thread; the table is in shards, each with a leaf lock. The clock is handed in. */
#ifndef ORRERY_AUTH_RATE_LIMIT_H
#define ORRERY_AUTH_RATE_LIMIT_H

#include "clock/time.h"

struct rate_limiter;

enum { RATE_LIMIT_MAXIMUM = 1000000 };

/* `per_second` from 1 to RATE_LIMIT_MAXIMUM. (No limit is no limiter.) */
struct rate_limiter *rate_limiter_new(uint32_t per_second);
void rate_limiter_free(struct rate_limiter *limiter);

struct rate_limit_result {
    bool allowed;
    uint32_t limit;         /* requests a second */
    uint32_t remaining;     /* requests that would pass now */
    uint32_t reset_s;       /* until the bucket is full again, rounded up */
    uint32_t retry_after_s; /* not allowed: until one passes, rounded up, at least 1; else 0 */
};

/* Takes a token of the principal's bucket if there is one. */
struct rate_limit_result rate_limiter_take(struct rate_limiter *limiter, const char *principal,
                                           struct monotonic_time now);

/* The values of the header fields RateLimit-Policy and RateLimit
 * (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4): `"default";q=100;w=1` and
 * `"default";r=42;t=1`. Retry-After is `retry_after_s` (RFC 9110 section 10.2.3). */
enum { RATE_LIMIT_HEADER_BYTES = 64 };
void rate_limit_format_policy(const struct rate_limit_result *result,
                              char out[static RATE_LIMIT_HEADER_BYTES]);
void rate_limit_format(const struct rate_limit_result *result,
                       char out[static RATE_LIMIT_HEADER_BYTES]);

#endif
