#include "run/run.h"

#include "clock/zone.h"

bool timetable_init(struct timetable *timetable, const struct run *run, struct error *err) {
    const struct zone *zone;
    if (!zone_open(run->zone_name, &zone, err)) {
        return false;
    }
    struct timetable made = {.zone = zone, .start_at = run->start_at, .end_at = run->end_at};
    struct cron_options options = {.hash_seed = cron_hash(&run->key, sizeof run->key),
                                   .dst_missing = run->dst_missing,
                                   .dst_repeated = run->dst_repeated};
    if (!cron_parse(run->schedule, &options, &made.cron, err)) {
        zone_unref(zone);
        return false;
    }
    *timetable = made;
    return true;
}

void timetable_fini(struct timetable *timetable) {
    zone_unref(timetable->zone);
    timetable->zone = NULL;
}

struct wall_time timetable_next(const struct timetable *timetable, struct wall_time after) {
    /* The slot at start_at itself counts, so the search begins just before it. */
    if (!wall_time_is_none(timetable->start_at) && after.us < timetable->start_at.us) {
        after.us = timetable->start_at.us - 1;
    }
    struct wall_time next;
    struct error ignored;
    if (!cron_next(&timetable->cron, timetable->zone, after, &next, &ignored)) {
        return WALL_TIME_NONE;
    }
    if (!wall_time_is_none(timetable->end_at) && next.us >= timetable->end_at.us) {
        return WALL_TIME_NONE;
    }
    return next;
}

/* Narrows (after, until] to the bounds; false if nothing is left. */
static bool clip(const struct timetable *timetable, struct wall_time *after,
                 struct wall_time *until) {
    if (!wall_time_is_none(timetable->start_at)) {
        after->us = MAX_OF(after->us, timetable->start_at.us - 1);
    }
    if (!wall_time_is_none(timetable->end_at)) {
        until->us = MIN_OF(until->us, timetable->end_at.us - 1);
    }
    return after->us < until->us;
}

struct wall_time timetable_latest(const struct timetable *timetable, struct wall_time after,
                                  struct wall_time until) {
    struct wall_time latest;
    struct error ignored;
    if (!clip(timetable, &after, &until) ||
        !cron_previous(&timetable->cron, timetable->zone, (struct wall_time){until.us + 1}, &latest,
                       &ignored) ||
        latest.us <= after.us) {
        return WALL_TIME_NONE;
    }
    return latest;
}

uint64_t timetable_count(const struct timetable *timetable, struct wall_time after,
                         struct wall_time until) {
    if (!clip(timetable, &after, &until)) {
        return 0;
    }
    return cron_count(&timetable->cron, timetable->zone, after, until);
}
