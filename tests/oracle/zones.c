/* Independent judges of the zone reader: the C library's localtime_r (here) and Python's zoneinfo
 * (zones.py, which reads what --dump prints).
 *
 * usage: zones [--step SECONDS] [--every N] [--may-refuse]
 *        zones --dump
 *
 * The first compares every zone (every N-th) with localtime_r from 1900 to 2199, the second prints
 * all changes of all zones: "zone start offset abbreviation". A zone that our reader refuses counts
 * as a difference, unless it may.
 *
 * The walk looks at every step and, where the C library's answer changes between two steps, finds
 * the very second by bisection and looks at both sides of it. */
#include "clock/zone.h"

#include "zone_names.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define FROM (-INT64_C(2208988800)) /* 1900-01-01 */
#define UNTIL INT64_C(7258118400)   /* 2200-01-01 */

static uint64_t compared;
static uint64_t changes;
static int differences;
static bool may_refuse;

static struct tm ask_libc(int64_t at) {
    time_t t = (time_t)at;
    struct tm tm;
    localtime_r(&t, &tm);
    return tm;
}

static bool same_tm(const struct tm *a, const struct tm *b) {
    return a->tm_gmtoff == b->tm_gmtoff && a->tm_isdst == b->tm_isdst &&
           strcmp(a->tm_zone, b->tm_zone) == 0;
}

static void judge(const struct zone *zone, int64_t at) {
    struct tm tm = ask_libc(at);
    struct zone_moment moment = zone_moment_at(zone, wall_time_from_seconds(at));
    compared++;
    if (moment.offset_seconds != tm.tm_gmtoff || moment.is_daylight != (tm.tm_isdst > 0) ||
        strcmp(moment.abbreviation, tm.tm_zone) != 0 ||
        zone_offset_at(zone, wall_time_from_seconds(at)) != tm.tm_gmtoff) {
        if (differences++ < 20) {
            printf("DIFFERENCE %s at %" PRId64 ": libc %ld %d %s, ours %d %d %s\n", zone_name(zone),
                   at, tm.tm_gmtoff, tm.tm_isdst, tm.tm_zone, moment.offset_seconds,
                   moment.is_daylight, moment.abbreviation);
        }
    }
}

static void judge_change(const struct zone *zone, int64_t low, int64_t high) {
    struct tm before = ask_libc(low);
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        struct tm tm = ask_libc(middle);
        if (same_tm(&tm, &before)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    changes++;
    judge(zone, low);
    judge(zone, high);
    judge(zone, high + 1);
}

static void walk(const char *name, int64_t step) {
    const struct zone *zone;
    struct error err;
    if (!zone_open(name, &zone, &err)) {
        printf("%s %s: %s\n", may_refuse ? "REFUSED" : "DIFFERENCE", name, err.message);
        differences += !may_refuse;
        return;
    }
    setenv("TZ", name, 1);
    tzset();
    struct tm before = ask_libc(FROM);
    for (int64_t at = FROM; at < UNTIL; at += step) {
        struct tm tm = ask_libc(at);
        if (!same_tm(&tm, &before)) {
            judge_change(zone, at - step, at);
        }
        judge(zone, at);
        before = tm;
    }
    /* Our own changes are judged too: one that the C library does not have shows here. */
    const struct zone_span *span = zone_span_at(zone, FROM) + 1;
    for (; span->start < UNTIL; span++) {
        judge(zone, span->start - 1);
        judge(zone, span->start);
    }
    zone_unref(zone);
}

static void dump(const char *name) {
    const struct zone *zone;
    struct error err;
    if (!zone_open(name, &zone, &err)) {
        fprintf(stderr, "%s: %s\n", name, err.message);
        exit(1);
    }
    const struct zone_span *span = zone_span_at(zone, FROM);
    for (int64_t start = FROM; start < UNTIL; start = (++span)->start) {
        struct zone_moment moment = zone_moment_at(zone, wall_time_from_seconds(start));
        printf("%s %" PRId64 " %d %s\n", name, start, moment.offset_seconds, moment.abbreviation);
    }
    zone_unref(zone);
}

int main(int argument_count, char **arguments) {
    int64_t step = 3 * 3600;
    size_t every = 1;
    bool dumping = false;
    for (int i = 1; i < argument_count; i++) {
        if (strcmp(arguments[i], "--may-refuse") == 0) {
            may_refuse = true;
        } else if (strcmp(arguments[i], "--dump") == 0) {
            dumping = true;
        } else if (strcmp(arguments[i], "--step") == 0 && i + 1 < argument_count) {
            step = atoll(arguments[++i]);
        } else if (strcmp(arguments[i], "--every") == 0 && i + 1 < argument_count) {
            every = (size_t)atoll(arguments[++i]);
        }
    }
    size_t count = read_zone_names();
    for (size_t i = 0; i < count; i += every) {
        if (dumping) {
            dump(zone_names[i]);
        } else {
            walk(zone_names[i], step);
        }
    }
    if (!dumping) {
        printf("localtime_r: %zu zones, %" PRIu64 " changes of the clock, %" PRIu64
               " comparisons, %d differences\n",
               (count + every - 1) / every, changes, compared, differences);
    }
    return differences == 0 && count > 0 ? 0 : 1;
}
