#include "run/run.h"

/* The slots that had come and have no record. They are counted from what is settled, not from the stored next_run, which
 * may be by a zone that has changed since. */
static void settle(const struct run *before, const struct run *after, struct wall_time now,
                   struct run_settlement *change) {
    struct timetable timetable;
    struct error ignored;
    struct wall_time since = {MAX_OF(before->settled_until.us, before->created_at.us)};
    if (!before->enabled || since.us >= now.us || !timetable_init(&timetable, before, &ignored)) {
        return;
    }
    struct wall_time last = timetable_latest(&timetable, since, now);
    if (!wall_time_is_none(last)) {
        bool paused = !wall_time_is_none(before->paused_at);
        change->gap = (struct execution){
            .run_key = before->key,
            .model_name = before->model_name,
            .trigger = TRIGGER_SCHEDULE,
            .attempt = 1,
            .status = EXECUTION_MISSED,
            .scheduled_for = timetable_next(&timetable, since),
            .queued_at = now,
            .started_at = WALL_TIME_NONE,
            .finished_at = now,
            .not_before = WALL_TIME_NONE,
            .missed_to = last,
            .missed_count = timetable_count(&timetable, since, last),
            .error_type = error_kind_wire_name(paused ? ERROR_PAUSED : ERROR_MISSED),
            .error_message = paused          ? "came due while the run was paused"
                             : after == NULL ? "the run was deleted before this was started"
                                             : "the run was changed before this was started",
        };
        change->gap.missed_from = change->gap.scheduled_for;
        change->settled_until.us = MAX_OF(last.us, change->settled_until.us);
    }
    timetable_fini(&timetable);
}

struct run_settlement run_settle_change(const struct run *before, const struct run *after,
                                        struct wall_time now) {
    struct run_settlement change = {.settled_until = before->settled_until,
                                    .next_run = WALL_TIME_NONE};
    settle(before, after, now, &change);
    change.settled_until.us = MAX_OF(now.us, change.settled_until.us);
    struct timetable timetable;
    struct error ignored;
    if (after != NULL && after->enabled && timetable_init(&timetable, after, &ignored)) {
        change.next_run = timetable_next(&timetable, change.settled_until);
        timetable_fini(&timetable);
    }
    return change;
}
