/* Time zones: IANA names, read from the system's TZif files (RFC 9636), without libc's TZ.
 *
 * A `struct zone` is an immutable, counted snapshot of one file: any thread may read it, and a
 * holder's copy stays as it is when the system's tzdata changes. Whoever keeps zones asks
 * zone_cache_refresh from time to time (the daemon: when the folder changes) and opens them anew if
 * it says so.
 *
 * Inside, a zone is its time line cut into *spans*, pieces with one offset from UTC, from the
 * beginning of time up to the year 2200 (the footer's rule is written out until then); later
 * instants are computed from the rule. Where two spans meet, the wall clock jumps: forward leaves a
 * gap of local times that do not exist, backward makes local times come twice. */
#ifndef ORRERY_CLOCK_ZONE_H
#define ORRERY_CLOCK_ZONE_H

#include "clock/time.h"

enum {
    ZONE_NAME_BYTES = 64,         /* the longest name accepted, with its NUL */
    ZONE_ABBREVIATION_BYTES = 16, /* "CEST", with its NUL; longer ones are cut */
    ZONE_VERSION_BYTES = 24,
};

struct zone;

/* The zone with this name, from the cache or from the folder named by TZDIR, else
 * /usr/share/zoneinfo. The caller holds a reference and gives it back with zone_unref. "UTC" is
 * always there, tzdata or not.
 *
 * Names are taken as the system has them: case counts, links are followed. A name that is empty,
 * too long, begins or ends with '/', has an empty part, a part that begins with '.' or '-', or any
 * character but ASCII letters, digits and "+-_./" never reaches the file system. Fails with
 * ERROR_INVALID_ZONE, field "timezone": unknown, not a TZif file, corrupt, or counting leap
 * seconds. */
MUST_CHECK bool zone_open(const char *name, const struct zone **out_zone, struct error *err);

/* The zone in these bytes of a TZif file; not cached. For tests, tools and the fuzzer. */
MUST_CHECK bool zone_from_bytes(const char *name, const void *bytes, size_t size_bytes,
                                const struct zone **out_zone, struct error *err);

/* One more reference to the same zone. */
const struct zone *zone_ref(const struct zone *zone);

/* Gives a reference back; NULL is accepted. */
void zone_unref(const struct zone *zone);

/* "Europe/Berlin", as it was opened. Lives as long as the reference. */
const char *zone_name(const struct zone *zone);

/* Seconds east of UTC at this instant. */
int32_t zone_offset_at(const struct zone *zone, struct wall_time at);

/* All that a TZif file says of an instant. */
struct zone_moment {
    int32_t offset_seconds; /* east of UTC */
    bool is_daylight;       /* negative daylight saving (Europe/Dublin) is as the file has it */
    char abbreviation[ZONE_ABBREVIATION_BYTES];
};
struct zone_moment zone_moment_at(const struct zone *zone, struct wall_time at);

/* The release of the system's tzdata, such as "2026f"; "unknown" if the folder does not tell. It is
 * read again by zone_cache_refresh. The string lives as long as the program. */
const char *zone_database_version(void);

/* The folder that zones are read from, for whoever watches it. */
const char *zone_database_directory(void);

/* Reads all cached zones again. `out_changed` is true if the files of any of them, or the release,
 * are not what they were; zone_open then gives the new zones. A file that is gone or broken now
 * leaves the cached zone in place: a running schedule does not stop because an upgrade is half
 * done. Any thread, but it reads files: not one that must not wait. Fails with ERROR_IO if the
 * folder cannot be read. */
MUST_CHECK bool zone_cache_refresh(bool *out_changed, struct error *err);

/* For CLEANUP(zone_unref_pointer). */
static inline void zone_unref_pointer(const struct zone **zone) { zone_unref(*zone); }

/* ---- For calculations with local time (cron/) ----
 *
 * Local times are wall clock readings counted in seconds as if they were UTC. Spans lie in an array
 * in order of time, so `span[1]` is the next and `span[-1]` the one before; an entry before the
 * first and one behind the last are there to be read. Spans end at ZONE_END. */

struct zone_span {
    int64_t start;      /* first instant, seconds since the epoch */
    int64_t first_from; /* local: from here on local times come for the first time in this span */
    int64_t last_until; /* local: before this they come for the last time */
    int32_t offset_seconds; /* east of UTC */
    uint32_t type;          /* for zone_moment_at */
};

/* 2201-01-01T00:00:00Z: spans are written out up to here, a year past the last slot. */
#define ZONE_END INT64_C(7289654400)
/* The ends of the time line in span.start: far enough, and sums with offsets do not overflow. */
#define ZONE_FOREVER INT64_C(0x1000000000000000)

/* The first year from which on the clock is changed by one rule, on dates that depend only on the
 * year's first weekday and on whether it is a leap year, none within two days of a new year;
 * INT32_MAX if there is none. */
int32_t zone_periodic_year(const struct zone *zone);

/* The span that an instant lies in. Instants from ZONE_END on give the last span: not for those. */
const struct zone_span *zone_span_at(const struct zone *zone, int64_t seconds);

/* The last instant of the span, plus one. */
static inline int64_t zone_span_end(const struct zone_span *span) { return span[1].start; }

/* The local times that the span holds: from local_start up to, not including, local_end. */
static inline int64_t zone_span_local_start(const struct zone_span *span) {
    return span->start + span->offset_seconds;
}
static inline int64_t zone_span_local_end(const struct zone_span *span) {
    return span[1].start + span->offset_seconds;
}

/* The span in which a local time comes first: span->first_from ≤ local < span[1].first_from. It
 * exists there if it is before local_end(span); if not, it falls in the gap after the span. */
const struct zone_span *zone_span_of_first(const struct zone *zone, int64_t local_seconds);

/* The span in which a local time comes last: span[-1].last_until ≤ local < span->last_until. It
 * exists there if it is not before local_start(span); if it is, it falls in the gap before the
 * span. */
const struct zone_span *zone_span_of_last(const struct zone *zone, int64_t local_seconds);

#endif
