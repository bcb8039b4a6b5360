#include "schedule/plan_parts.h"

/* --- records ------------------------------------------------------------------------------------ */

struct plan_record *record_new(struct plan_entry *entry) {
    struct plan_record *record = must_alloc_zeroed(1, sizeof *record);
    record->run_key = entry->run_key;
    record->revision = entry->revision;
    record->schedule = schedule_ref(entry->schedule);
    record->terms = terms_ref(entry->terms);
    record->first_slot = WALL_TIME_NONE;
    record->last_slot = WALL_TIME_NONE;
    record->next_run = WALL_TIME_NONE;
    record->backfill_next = WALL_TIME_NONE;
    return record;
}

void plan_record_free(struct plan *plan, struct plan_record *record) {
    schedule_unref(plan, record->schedule);
    terms_unref(plan, record->terms);
    free(record);
}

void record_advance(struct plan *plan, struct plan_entry *entry, struct plan_record *record,
                    struct wall_time last_slot) {
    const struct timetable *timetable = &entry->schedule->timetable;
    record->advances = true;
    record->first_slot = entry->next_slot;
    record->last_slot = last_slot;
    record->next_run = timetable_next(timetable, last_slot);
    record->disables = wall_time_is_none(record->next_run) && cron_is_once(&timetable->cron);
    entry->recording = true;
    entry_reheap(plan, entry);
    submit_record(plan, record);
}

/* A record of something that never started and is complete at once: skipped or missed. */
static struct execution *add_final(struct plan *plan, struct plan_record *record,
                                   struct wall_time slot, struct wall_time now,
                                   enum execution_status status, enum error_kind kind,
                                   const char *message) {
    struct plan_execution shape = {.key = plan->effects.new_key(plan->effects.context, now),
                                   .terms = record->terms,
                                   .slot = slot,
                                   .trigger = TRIGGER_SCHEDULE,
                                   .attempt = 1,
                                   .not_before = WALL_TIME_NONE};
    struct execution *out = &record->executions[record->execution_count++];
    *out = execution_describe(record->run_key, &shape, now, status);
    out->model_version = 0; /* none ran */
    out->finished_at = now;
    out->error_type = error_kind_wire_name(kind);
    out->error_message = message;
    return out;
}

static void add_gap(struct plan *plan, struct plan_record *record, struct wall_time from,
                    struct wall_time to, struct wall_time now, enum error_kind kind,
                    const char *message) {
    struct execution *out = add_final(plan, record, from, now, EXECUTION_MISSED, kind, message);
    out->missed_from = from;
    out->missed_to = to;
    out->missed_count =
        timetable_count(&record->schedule->timetable, (struct wall_time){from.us - 1}, to);
}

/* --- the overlap policy ------------------------------------------------------------------------- */

enum overlap_decision { DECISION_RUN, DECISION_QUEUE, DECISION_SKIP };

static void count_active(const struct plan_entry *entry, size_t *out_active, size_t *out_queued) {
    *out_active = 0;
    *out_queued = 0;
    for (struct plan_execution *execution = entry->oldest; execution != NULL;
         execution = execution_next(execution)) {
        if (execution_counts(execution)) {
            ++*out_active;
            *out_queued += execution->phase == PLAN_QUEUED ? 1 : 0;
        }
    }
}

static enum overlap_decision decide_overlap(struct plan *plan, struct plan_entry *entry) {
    if (find_in_the_way(entry) == NULL) {
        return DECISION_RUN;
    }
    size_t active;
    size_t queued;
    count_active(entry, &active, &queued);
    switch (entry->terms->overlap) {
    case OVERLAP_ALLOW:
        return active < PLAN_ACTIVE_PER_RUN_MAXIMUM ? DECISION_RUN : DECISION_SKIP;
    case OVERLAP_SKIP:
        return DECISION_SKIP;
    case OVERLAP_QUEUE_ONE:
        return queued == 0 ? DECISION_QUEUE : DECISION_SKIP;
    case OVERLAP_QUEUE_ALL:
        return queued < PLAN_ACTIVE_PER_RUN_MAXIMUM ? DECISION_QUEUE : DECISION_SKIP;
    case OVERLAP_CANCEL_RUNNING:
        execution_cancel_all(plan, entry);
        return DECISION_QUEUE;
    }
    return DECISION_SKIP;
}

/* Adds to the record what becomes of the slot under the overlap policy. */
static void add_slot(struct plan *plan, struct plan_entry *entry, struct plan_record *record,
                     struct wall_time slot, enum execution_trigger trigger, struct wall_time now) {
    enum overlap_decision decision = decide_overlap(plan, entry);
    if (decision == DECISION_SKIP) {
        const struct plan_execution *blocker = find_running(entry);
        if (blocker == NULL) {
            blocker = find_in_the_way(entry);
        }
        struct execution *out = add_final(plan, record, slot, now, EXECUTION_SKIPPED, ERROR_OVERLAP,
                                          "an earlier execution of this run had not ended");
        out->blocked_by = blocker->key;
        return;
    }
    struct plan_execution *execution =
        execution_make(plan, entry, entry->terms, trigger, slot, PLAN_RECORDING,
                       plan->effects.new_key(plan->effects.context, now), NULL);
    record_add_execution(plan, record, execution, decision == DECISION_RUN, now);
}

/* --- the catch-up policy ------------------------------------------------------------------------- */

/* The newest slot after `before` that is due by now; NONE if there is none. Jitter never reaches the next slot, so
 * only the newest can be still to come. */
static struct wall_time latest_due(const struct plan_entry *entry, struct wall_time before,
                                   struct wall_time now) {
    const struct timetable *timetable = &entry->schedule->timetable;
    struct wall_time latest = timetable_latest(timetable, before, now);
    if (!wall_time_is_none(latest) && entry_due_at(entry, latest).us > now.us) {
        latest = timetable_latest(timetable, before, (struct wall_time){latest.us - 1});
    }
    return latest;
}

/* Which slot of the gap [slot, latest] fires: the newest, or with `all` the oldest, within the window; NONE: none. */
static struct wall_time choose_from_gap(const struct plan_entry *entry, struct wall_time slot,
                                        struct wall_time latest, struct wall_time now) {
    struct wall_time window_start = {now.us - entry->terms->catchup_window.us};
    struct wall_time fires = WALL_TIME_NONE;
    if (entry->terms->catchup == CATCHUP_LATEST) {
        fires = latest;
    } else if (entry->terms->catchup == CATCHUP_ALL) {
        fires = slot.us >= window_start.us
                    ? slot
                    : timetable_next(&entry->schedule->timetable,
                                     (struct wall_time){window_start.us - 1});
    }
    bool outside = wall_time_is_none(fires) || fires.us < window_start.us ||
                   wall_time_is_none(latest) || fires.us > latest.us;
    return outside ? WALL_TIME_NONE : fires;
}

/* The slots from `slot` on came due unwatched. One step by the run's catch-up policy. */
static void catch_up(struct plan *plan, struct plan_entry *entry, struct wall_time slot,
                     struct wall_time now) {
    if (entry->terms->catchup == CATCHUP_ALL && entry->terms->overlap != OVERLAP_ALLOW &&
        find_in_the_way(entry) != NULL) {
        /* The slots of the gap follow one another, also under `overlap: skip`. */
        entry->waiting = true;
        return;
    }
    struct wall_time before = {slot.us - 1};
    /* The slot itself, unless it was stored before a change of tzdata. */
    struct wall_time first = timetable_next(&entry->schedule->timetable, before);
    struct wall_time latest = latest_due(entry, before, now);
    struct wall_time fires = choose_from_gap(entry, first, latest, now);
    struct wall_time missed_until =
        wall_time_is_none(fires) ? latest : (struct wall_time){fires.us - 1};
    struct wall_time last_missed =
        wall_time_is_none(missed_until)
            ? WALL_TIME_NONE
            : timetable_latest(&entry->schedule->timetable, before, missed_until);
    struct plan_record *record = record_new(entry);
    if (!wall_time_is_none(last_missed)) {
        add_gap(plan, record, first, last_missed, now, ERROR_MISSED,
                "came due while the scheduler was not running or was too far behind");
    }
    struct wall_time last_slot = wall_time_is_none(fires) ? last_missed : fires;
    if (!wall_time_is_none(fires)) {
        add_slot(plan, entry, record, fires, TRIGGER_CATCHUP, now);
    }
    if (wall_time_is_none(last_slot)) {
        last_slot = slot; /* the timetable no longer has it, nor one after it that has come */
    }
    record_advance(plan, entry, record, last_slot);
}

/* --- a slot is due ------------------------------------------------------------------------------- */

static void fire(struct plan *plan, struct plan_entry *entry, struct wall_time due,
                 struct wall_time now) {
    struct wall_time slot = entry->next_slot;
    bool watched = due.us >= plan->watched_since.us;
    bool is_slot =
        timetable_next(&entry->schedule->timetable, (struct wall_time){slot.us - 1}).us ==
        slot.us; /* else tzdata has changed since it was stored */
    if (!watched || !is_slot || now.us - due.us > PLAN_LIVE_LATENESS.us) {
        catch_up(plan, entry, slot, now);
        return;
    }
    struct plan_record *record = record_new(entry);
    add_slot(plan, entry, record, slot, TRIGGER_SCHEDULE, now);
    record_advance(plan, entry, record, slot);
}

void fire_or_wait(struct plan *plan, struct plan_entry *entry, struct wall_time now) {
    struct wall_time due = entry_due_at(entry, entry->next_slot);
    if (due.us > now.us) {
        entry_reheap(plan, entry); /* it had come, and the clock was set back while it waited */
        return;
    }
    /* What will be skipped or queued needs no room. */
    bool starts = entry->terms->overlap == OVERLAP_ALLOW || find_in_the_way(entry) == NULL;
    struct plan_group *full = starts ? room_find_full(plan, entry->terms) : NULL;
    if (full != NULL) {
        room_wait_for_slot(full, entry, due);
        return;
    }
    fire(plan, entry, due, now);
}
