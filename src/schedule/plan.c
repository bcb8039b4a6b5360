#include "schedule/plan.h"

#include "clock/zone.h"

#include <stdlib.h>

#define EXECUTION_OF(node_pointer) CONTAINER_OF(node_pointer, struct plan_execution, node)

void plan_init(struct plan *plan, const struct plan_effects *effects) {
    *plan = (struct plan){
        .effects = *effects, .watched_since = WALL_TIME_NONE, .paused_until = WALL_TIME_NONE};
}

/* --- entries ---------------------------------------------------------------------------------- */

static struct plan_entry *find_entry(const struct plan *plan, int64_t run_key) {
    return map_get(&plan->entries, run_key);
}

/* When the slot is to start. */
static struct wall_time due_at(const struct plan_entry *entry, struct wall_time slot) {
    return entry->jitter.width.us <= 0
               ? slot
               : cron_jitter_apply(&entry->jitter, slot, timetable_next(&entry->timetable, slot));
}

/* Puts the entry into the heap of due ones, or takes it out, by its state. */
static void reheap(struct plan *plan, struct plan_entry *entry) {
    if (wall_time_is_none(entry->next_slot) || entry->removed || entry->recording ||
        entry->waiting) {
        heap_remove(&plan->due, &entry->due);
    } else {
        heap_put(&plan->due, &entry->due, due_at(entry, entry->next_slot).us, entry->run_key);
    }
}

/* An entry that nothing refers to any more goes. */
static void release_if_idle(struct plan *plan, struct plan_entry *entry) {
    bool dormant = entry->removed || !entry->enabled;
    if (!dormant || entry->recording || !list_is_empty(&entry->active)) {
        return;
    }
    heap_remove(&plan->due, &entry->due);
    if (find_entry(plan, entry->run_key) == entry) {
        map_remove(&plan->entries, entry->run_key);
    }
    plan_entry_free(entry);
}

/* Puts the new entry in the place of the old one, whose active executions it takes along. */
static void replace_entry(struct plan *plan, struct plan_entry *old, struct plan_entry *entry) {
    while (!list_is_empty(&old->active)) {
        struct plan_execution *execution = EXECUTION_OF(list_take_first(&old->active));
        execution->entry = entry;
        list_append(&entry->active, &execution->node);
    }
    entry->recording = old->recording;
    if (entry->keeps_next_slot) {
        /* What the change was read beside may be behind what the plan has settled since. */
        entry->next_slot = old->next_slot;
        entry->schedule_serial = old->schedule_serial;
    }
    heap_remove(&plan->due, &old->due);
    map_put(&plan->entries, entry->run_key, entry);
    plan_entry_free(old);
}

void plan_put(struct plan *plan, struct plan_entry *entry) {
    struct plan_entry *old = find_entry(plan, entry->run_key);
    entry->schedule_serial = ++plan->last_schedule_serial;
    if (old == NULL) {
        map_put(&plan->entries, entry->run_key, entry);
    } else {
        replace_entry(plan, old, entry);
    }
    reheap(plan, entry);
    release_if_idle(plan, entry);
}

/* --- executions ------------------------------------------------------------------------------- */

static bool counts_as_running(const struct plan_execution *execution) {
    return execution->phase != PLAN_QUEUED;
}

static void set_phase(struct plan *plan, struct plan_execution *execution, enum plan_phase phase) {
    plan->running_count -= counts_as_running(execution) ? 1 : 0;
    execution->phase = phase;
    plan->running_count += counts_as_running(execution) ? 1 : 0;
}

static struct plan_execution *make_execution(struct plan *plan, struct plan_entry *entry,
                                             enum execution_trigger trigger, struct wall_time slot,
                                             enum plan_phase phase, int64_t key, void *waiter) {
    struct plan_execution *execution = plan->effects.make_execution(plan->effects.context, waiter);
    execution->entry = entry;
    execution->key = key;
    execution->slot = slot;
    execution->not_before = WALL_TIME_NONE;
    execution->trigger = trigger;
    execution->attempt = 1;
    execution->phase = phase;
    heap_handle_init(&execution->retry);
    list_append(&entry->active, &execution->node);
    plan->active_count++;
    plan->running_count += counts_as_running(execution) ? 1 : 0;
    return execution;
}

/* Takes the execution out of the plan; it still has to be freed. Returns its entry. */
static struct plan_entry *detach(struct plan *plan, struct plan_execution *execution) {
    struct plan_entry *entry = execution->entry;
    plan->running_count -= counts_as_running(execution) ? 1 : 0;
    plan->active_count--;
    heap_remove(&plan->retries, &execution->retry);
    list_remove(&execution->node);
    execution->entry = NULL;
    return entry;
}

static struct execution describe(const struct plan_entry *entry,
                                 const struct plan_execution *execution, struct wall_time now,
                                 enum execution_status status) {
    return (struct execution){
        .key = execution->key,
        .run_key = entry->run_key,
        .model_name = entry->model_name,
        .model_version = entry->model_version,
        .trigger = execution->trigger,
        .attempt = execution->attempt,
        .status = status,
        .scheduled_for = execution->slot,
        .queued_at = now,
        .started_at = status == EXECUTION_RUNNING ? now : WALL_TIME_NONE,
        .finished_at = WALL_TIME_NONE,
        .missed_from = WALL_TIME_NONE,
        .missed_to = WALL_TIME_NONE,
    };
}

/* A record of something that never started and is complete at once: skipped or missed. */
static struct execution describe_final(struct plan *plan, const struct plan_entry *entry,
                                       struct wall_time slot, struct wall_time now,
                                       enum execution_status status, enum error_kind kind,
                                       const char *message) {
    struct plan_execution shape = {.key = plan->effects.new_key(plan->effects.context, now),
                                   .slot = slot,
                                   .trigger = TRIGGER_SCHEDULE,
                                   .attempt = 1};
    struct execution final = describe(entry, &shape, now, status);
    final.finished_at = now;
    final.error_type = error_kind_wire_name(kind);
    final.error_message = message;
    return final;
}

static const struct plan_execution *find_running(const struct plan_entry *entry) {
    for (struct list_node *node = entry->active.next; node != &entry->active; node = node->next) {
        if (counts_as_running(EXECUTION_OF(node))) {
            return EXECUTION_OF(node);
        }
    }
    return NULL;
}

static size_t count_queued(const struct plan_entry *entry) {
    size_t count = 0;
    for (struct list_node *node = entry->active.next; node != &entry->active; node = node->next) {
        count += EXECUTION_OF(node)->phase == PLAN_QUEUED ? 1 : 0;
    }
    return count;
}

/* Starts the oldest that waits, if nothing of the run is running (or the run allows it side by side). */
static void start_next(struct plan *plan, struct plan_entry *entry, struct wall_time now) {
    if (plan->draining || (find_running(entry) != NULL && entry->overlap != OVERLAP_ALLOW)) {
        return;
    }
    for (struct list_node *node = entry->active.next; node != &entry->active; node = node->next) {
        struct plan_execution *execution = EXECUTION_OF(node);
        bool waits_for_time = heap_contains(&execution->retry);
        if (execution->phase == PLAN_QUEUED && !waits_for_time) {
            set_phase(plan, execution, PLAN_STARTING);
            plan->effects.start(plan->effects.context, execution, now);
            return;
        }
    }
}

/* --- firing ----------------------------------------------------------------------------------- */

static struct plan_record *new_record(const struct plan_entry *entry) {
    struct plan_record *record = must_alloc_zeroed(1, sizeof *record);
    record->run_key = entry->run_key;
    record->revision = entry->revision;
    record->schedule_serial = entry->schedule_serial;
    record->first_slot = WALL_TIME_NONE;
    record->last_slot = WALL_TIME_NONE;
    record->next_run = WALL_TIME_NONE;
    return record;
}

/* Hands the record over, which settles the schedule from its next slot up to `last_slot`. */
static void advance_and_record(struct plan *plan, struct plan_entry *entry,
                               struct plan_record *record, struct wall_time last_slot) {
    record->advances = true;
    record->first_slot = entry->next_slot;
    record->last_slot = last_slot;
    record->next_run = timetable_next(&entry->timetable, last_slot);
    record->disables = wall_time_is_none(record->next_run) && cron_is_once(&entry->timetable.cron);
    entry->recording = true;
    reheap(plan, entry);
    plan->effects.record(plan->effects.context, record);
}

static void cancel_all(struct plan *plan, struct plan_entry *entry);

enum overlap_decision { DECISION_RUN, DECISION_QUEUE, DECISION_SKIP };

static enum overlap_decision decide_overlap(struct plan *plan, struct plan_entry *entry) {
    if (list_is_empty(&entry->active)) {
        return DECISION_RUN;
    }
    switch (entry->overlap) {
    case OVERLAP_ALLOW:
        return DECISION_RUN;
    case OVERLAP_SKIP:
        return DECISION_SKIP;
    case OVERLAP_QUEUE_ONE:
        return count_queued(entry) == 0 ? DECISION_QUEUE : DECISION_SKIP;
    case OVERLAP_QUEUE_ALL:
        return count_queued(entry) < PLAN_QUEUED_PER_RUN_MAXIMUM ? DECISION_QUEUE : DECISION_SKIP;
    case OVERLAP_CANCEL_RUNNING:
        cancel_all(plan, entry);
        return list_is_empty(&entry->active) ? DECISION_RUN : DECISION_QUEUE;
    }
    return DECISION_SKIP;
}

/* Adds to the record what becomes of the slot under the overlap policy. */
static void add_slot(struct plan *plan, struct plan_entry *entry, struct plan_record *record,
                     struct wall_time slot, enum execution_trigger trigger, struct wall_time now) {
    enum overlap_decision decision = decide_overlap(plan, entry);
    struct execution *out = &record->executions[record->execution_count++];
    if (decision == DECISION_SKIP) {
        const struct plan_execution *blocker = find_running(entry);
        if (blocker == NULL) {
            blocker = EXECUTION_OF(entry->active.next);
        }
        *out = describe_final(plan, entry, slot, now, EXECUTION_SKIPPED, ERROR_OVERLAP,
                              "an earlier execution of this run had not ended");
        out->blocked_by = blocker->key;
        return;
    }
    struct plan_execution *execution =
        make_execution(plan, entry, trigger, slot, PLAN_RECORDING,
                       plan->effects.new_key(plan->effects.context, now), NULL);
    record->execution = execution;
    *out = describe(entry, execution, now,
                    decision == DECISION_RUN ? EXECUTION_RUNNING : EXECUTION_QUEUED);
}

static void add_missed(struct plan *plan, struct plan_entry *entry, struct plan_record *record,
                       struct wall_time from, struct wall_time to, uint64_t count,
                       struct wall_time now) {
    struct execution *out = &record->executions[record->execution_count++];
    *out = describe_final(plan, entry, from, now, EXECUTION_MISSED, ERROR_MISSED,
                          "came due while the scheduler was not running or was too far behind");
    out->missed_from = from;
    out->missed_to = to;
    out->missed_count = count;
}

/* The newest slot after `before` that is due by now; NONE if there is none. Jitter never reaches the next slot, so
 * only the newest can be still to come. */
static struct wall_time latest_due(const struct plan_entry *entry, struct wall_time before,
                                   struct wall_time now) {
    struct wall_time latest = timetable_latest(&entry->timetable, before, now);
    if (!wall_time_is_none(latest) && due_at(entry, latest).us > now.us) {
        latest = timetable_latest(&entry->timetable, before, (struct wall_time){latest.us - 1});
    }
    return latest;
}

/* The slots from `slot` on came due unwatched. One step by the run's catch-up policy. */
static void catch_up(struct plan *plan, struct plan_entry *entry, struct wall_time slot,
                     struct wall_time now) {
    if (entry->catchup == CATCHUP_ALL && entry->overlap != OVERLAP_ALLOW &&
        !list_is_empty(&entry->active)) {
        /* The slots of the gap follow one another, also under `overlap: skip`. */
        entry->waiting = true;
        reheap(plan, entry);
        return;
    }
    struct timetable *timetable = &entry->timetable;
    struct wall_time before = {slot.us - 1};
    struct wall_time window_start = {now.us - entry->catchup_window.us};
    struct wall_time latest = latest_due(entry, before, now);
    struct plan_record *record = new_record(entry);
    /* What fires: the newest within the window, or with `all` the oldest within it; NONE: nothing. */
    struct wall_time fires = WALL_TIME_NONE;
    if (entry->catchup == CATCHUP_LATEST) {
        fires = latest;
    } else if (entry->catchup == CATCHUP_ALL) {
        fires = slot.us >= window_start.us
                    ? slot
                    : timetable_next(timetable, (struct wall_time){window_start.us - 1});
    }
    if (!wall_time_is_none(fires) &&
        (fires.us < window_start.us || wall_time_is_none(latest) || fires.us > latest.us)) {
        fires = WALL_TIME_NONE;
    }
    struct wall_time missed_until =
        wall_time_is_none(fires) ? latest : (struct wall_time){fires.us - 1};
    struct wall_time last_missed = wall_time_is_none(missed_until)
                                       ? WALL_TIME_NONE
                                       : timetable_latest(timetable, before, missed_until);
    if (!wall_time_is_none(last_missed)) {
        add_missed(plan, entry, record, slot, last_missed,
                   timetable_count(timetable, before, missed_until), now);
    }
    struct wall_time last_slot = wall_time_is_none(fires) ? last_missed : fires;
    if (!wall_time_is_none(fires)) {
        add_slot(plan, entry, record, fires, TRIGGER_CATCHUP, now);
    }
    if (wall_time_is_none(last_slot)) {
        last_slot =
            slot; /* the timetable no longer has the slot: it was stored before a change of tzdata */
    }
    advance_and_record(plan, entry, record, last_slot);
}

static void fire(struct plan *plan, struct plan_entry *entry, struct wall_time now) {
    struct wall_time slot = entry->next_slot;
    struct wall_time due = due_at(entry, slot);
    bool watched = wall_time_is_none(plan->watched_since) || due.us >= plan->watched_since.us;
    if (!watched || now.us - due.us > PLAN_LIVE_LATENESS.us) {
        catch_up(plan, entry, slot, now);
        return;
    }
    struct plan_record *record = new_record(entry);
    add_slot(plan, entry, record, slot, TRIGGER_SCHEDULE, now);
    advance_and_record(plan, entry, record, slot);
}

static bool is_paused(const struct plan *plan, struct wall_time now) {
    return !wall_time_is_none(plan->paused_until) && now.us < plan->paused_until.us &&
           /* a clock that went back must not prolong the pause */
           plan->paused_until.us - now.us <= PLAN_STORE_PAUSE.us;
}

void plan_tick(struct plan *plan, struct wall_time now) {
    if (plan->draining || is_paused(plan, now)) {
        return;
    }
    plan->paused_until = WALL_TIME_NONE;
    const struct heap_item *first;
    while ((first = heap_first(&plan->retries)) != NULL && first->at_us <= now.us) {
        struct plan_execution *execution =
            CONTAINER_OF(first->handle, struct plan_execution, retry);
        heap_remove(&plan->retries, &execution->retry);
        start_next(plan, execution->entry, now);
    }
    while ((first = heap_first(&plan->due)) != NULL && first->at_us <= now.us &&
           plan->running_count < PLAN_RUNNING_MAXIMUM) {
        fire(plan, CONTAINER_OF(first->handle, struct plan_entry, due), now);
    }
}

struct wall_time plan_next_wake(const struct plan *plan) {
    if (plan->draining) {
        return WALL_TIME_NONE;
    }
    const struct heap_item *retry = heap_first(&plan->retries);
    const struct heap_item *due =
        plan->running_count < PLAN_RUNNING_MAXIMUM ? heap_first(&plan->due) : NULL;
    struct wall_time wake = WALL_TIME_NONE;
    if (retry != NULL) {
        wake.us = retry->at_us;
    }
    if (due != NULL && (wall_time_is_none(wake) || due->at_us < wake.us)) {
        wake.us = due->at_us;
    }
    if (!wall_time_is_none(wake) && !wall_time_is_none(plan->paused_until)) {
        wake.us = MAX_OF(wake.us, plan->paused_until.us);
    }
    return wake;
}

void plan_trigger(struct plan *plan, struct plan_entry *entry, void *waiter, struct wall_time now) {
    struct plan_entry *known = find_entry(plan, entry->run_key);
    if (known != NULL) {
        /* If this is newer, the word of the change is in the mail. */
        plan_entry_free(entry);
    } else {
        /* Disabled, or so new that the word of it is in the mail: the entry lies dormant until the execution
         * has ended. */
        entry->enabled = false;
        entry->next_slot = WALL_TIME_NONE;
        map_put(&plan->entries, entry->run_key, entry);
        known = entry;
    }
    struct plan_execution *execution =
        make_execution(plan, known, TRIGGER_MANUAL, now, PLAN_RECORDING,
                       plan->effects.new_key(plan->effects.context, now), waiter);
    struct plan_record *record = new_record(known);
    record->revision = 0; /* a trigger holds for whatever the run has become */
    record->execution = execution;
    record->executions[record->execution_count++] =
        describe(known, execution, now, EXECUTION_RUNNING);
    plan->effects.record(plan->effects.context, record);
}

/* --- what came of it -------------------------------------------------------------------------- */

/* After an execution has left its entry: the next that waits, the next slot that waited. */
static void after_detach(struct plan *plan, struct plan_entry *entry, struct wall_time now) {
    start_next(plan, entry, now);
    if (list_is_empty(&entry->active)) {
        entry->waiting = false;
        reheap(plan, entry);
    }
    release_if_idle(plan, entry);
}

/* The record is on disk, or the schedule has to go on without it. */
static void settle_schedule(struct plan *plan, const struct plan_record *record, bool on_disk) {
    struct plan_entry *entry = find_entry(plan, record->run_key);
    if (entry == NULL || !record->advances) {
        return;
    }
    entry->recording = false;
    if (on_disk && entry->schedule_serial == record->schedule_serial) {
        entry->next_slot = record->next_run;
        entry->enabled = entry->enabled && !record->disables;
    }
    reheap(plan, entry);
    release_if_idle(plan, entry);
}

static void record_failed(struct plan *plan, struct plan_record *record, enum error_kind failure,
                          struct wall_time now) {
    if (record->execution != NULL) {
        struct plan_entry *of = detach(plan, record->execution);
        plan->effects.free_execution(plan->effects.context, record->execution);
        after_detach(plan, of, now);
    }
    struct plan_entry *entry = find_entry(plan, record->run_key);
    if (failure == ERROR_CONFLICT && record->advances && record->execution_count > 0 &&
        entry != NULL && entry->revision == record->revision) {
        /* The first slot has its record already, from before a change that put the schedule back: the
         * schedule moves past this one, and only this one. */
        advance_and_record(plan, entry, new_record(entry), record->first_slot);
        return;
    }
    if (failure == ERROR_NOT_FOUND) {
        plan_remove(plan, record->run_key, now);
    } else if (failure != ERROR_STALE && failure != ERROR_CONFLICT) {
        plan->paused_until = wall_time_add(now, PLAN_STORE_PAUSE);
    }
    settle_schedule(plan, record, false);
}

static void cancel_queued(struct plan *plan, struct plan_execution *execution, const char *why) {
    struct error err;
    error_set(&err, ERROR_CANCELLED, "%s", why);
    detach(plan, execution);
    plan->effects.finish(plan->effects.context, execution, EXECUTION_CANCELLED, &err, NULL);
}

static void hand_over(struct plan *plan, struct plan_execution *execution) {
    set_phase(plan, execution, PLAN_RUNNING);
    plan->effects.dispatch(plan->effects.context, execution);
    if (execution->cancelled) {
        plan->effects.cancel(plan->effects.context, execution);
    }
}

/* The execution waits: for its time, for an earlier one, or, if nobody wants it any more, not at all. */
static void let_wait(struct plan *plan, struct plan_execution *execution, struct wall_time now) {
    struct plan_entry *entry = execution->entry;
    set_phase(plan, execution, PLAN_QUEUED);
    if (entry->removed || execution->cancelled) {
        cancel_queued(plan, execution, "cancelled before it was started");
        after_detach(plan, entry, now);
    } else if (!wall_time_is_none(execution->not_before)) {
        heap_put(&plan->retries, &execution->retry, execution->not_before.us, execution->key);
    } else {
        start_next(plan, entry, now);
    }
}

void plan_recorded(struct plan *plan, struct plan_record *record, enum error_kind failure,
                   struct wall_time now) {
    if (failure != ERROR_NONE) {
        record_failed(plan, record, failure, now);
    } else {
        if (record->execution != NULL) {
            if (record->executions[record->execution_count - 1].status == EXECUTION_RUNNING) {
                hand_over(plan, record->execution);
            } else {
                let_wait(plan, record->execution, now);
            }
        }
        settle_schedule(plan, record, true);
    }
    free(record);
}

void plan_started(struct plan *plan, struct plan_execution *execution, enum error_kind failure,
                  struct wall_time now) {
    if (failure == ERROR_NONE) {
        hand_over(plan, execution);
        return;
    }
    /* Still queued in the store: tried again after the pause. Where only this one was refused (its run was deleted just
     * now), nobody else has to wait. */
    struct wall_time again_at = wall_time_add(now, PLAN_STORE_PAUSE);
    if (failure != ERROR_NOT_FOUND && failure != ERROR_CONFLICT) {
        plan->paused_until = again_at;
    }
    execution->not_before = again_at;
    let_wait(plan, execution, now);
}

/* Exponential backoff with full jitter: uniformly between 0 and the bound. */
static struct duration retry_delay(struct plan *plan, const struct retry_policy *policy,
                                   uint32_t attempt) {
    int64_t bound = policy->backoff.us;
    for (uint32_t i = 1; i < attempt && bound < policy->max_backoff.us; i++) {
        bound *= 2;
    }
    bound = MIN_OF(bound, policy->max_backoff.us);
    return (struct duration){bound <= 0 ? 0
                                        : (int64_t)(plan->effects.random(plan->effects.context) %
                                                    ((uint64_t)bound + 1))};
}

static bool may_retry(const struct plan_execution *execution, enum execution_status status,
                      const struct error *err) {
    return (status == EXECUTION_FAILED || status == EXECUTION_TIMED_OUT) &&
           execution->trigger != TRIGGER_MANUAL && !execution->cancelled &&
           !execution->entry->removed && error_kind_may_retry(err->kind) &&
           execution->attempt <= execution->entry->retry.max_attempts;
}

void plan_finished(struct plan *plan, struct plan_execution *execution,
                   enum execution_status status, const struct error *err, struct wall_time now) {
    struct plan_entry *entry = execution->entry;
    struct plan_execution *retry = NULL;
    if (may_retry(execution, status, err)) {
        retry = make_execution(plan, entry, TRIGGER_RETRY, execution->slot, PLAN_RECORDING,
                               plan->effects.new_key(plan->effects.context, now), NULL);
        retry->attempt = execution->attempt + 1;
        retry->not_before =
            wall_time_add(now, retry_delay(plan, &entry->retry, execution->attempt));
    }
    detach(plan, execution);
    plan->effects.finish(plan->effects.context, execution, status, err, retry);
    after_detach(plan, entry, now);
}

void plan_retry_recorded(struct plan *plan, struct plan_execution *retry, struct wall_time now) {
    let_wait(plan, retry, now);
}

/* Cancels what runs and drops what waits. */
static void cancel_all(struct plan *plan, struct plan_entry *entry) {
    struct list_node *next;
    for (struct list_node *node = entry->active.next; node != &entry->active; node = next) {
        next = node->next;
        struct plan_execution *execution = EXECUTION_OF(node);
        if (execution->phase == PLAN_QUEUED) {
            cancel_queued(plan, execution, "a newer slot of this run took its place");
        } else if (!execution->cancelled) {
            execution->cancelled = true;
            if (execution->phase == PLAN_RUNNING) {
                plan->effects.cancel(plan->effects.context, execution);
            }
        }
    }
}

void plan_remove(struct plan *plan, int64_t run_key, struct wall_time now) {
    (void)now;
    struct plan_entry *entry = find_entry(plan, run_key);
    if (entry == NULL) {
        return;
    }
    entry->removed = true;
    reheap(plan, entry);
    /* What runs may end; what waits has lost its reason. */
    struct list_node *next;
    for (struct list_node *node = entry->active.next; node != &entry->active; node = next) {
        next = node->next;
        if (EXECUTION_OF(node)->phase == PLAN_QUEUED) {
            cancel_queued(plan, EXECUTION_OF(node), "the run was deleted before this was started");
        }
    }
    release_if_idle(plan, entry);
}

/* --- start, steps of the clock, end ------------------------------------------------------------ */

bool plan_has_run(const struct plan *plan, int64_t run_key) {
    return find_entry(plan, run_key) != NULL;
}

struct plan_execution *plan_adopt(struct plan *plan, struct plan_entry *dormant,
                                  const struct execution *left) {
    struct plan_entry *entry = find_entry(plan, left->run_key);
    if (entry == NULL) {
        entry = dormant;
        entry->enabled = false;
        entry->next_slot = WALL_TIME_NONE;
        map_put(&plan->entries, entry->run_key, entry);
    }
    enum plan_phase phase = left->status == EXECUTION_RUNNING ? PLAN_RUNNING : PLAN_QUEUED;
    struct plan_execution *execution =
        make_execution(plan, entry, left->trigger, left->scheduled_for, phase, left->key, NULL);
    execution->attempt = left->attempt;
    return execution;
}

/* The first execution that the last process had handed over, or NULL. */
static struct plan_execution *find_interrupted(const struct plan_entry *entry) {
    for (struct list_node *node = entry->active.next; node != &entry->active; node = node->next) {
        if (EXECUTION_OF(node)->phase == PLAN_RUNNING) {
            return EXECUTION_OF(node);
        }
    }
    return NULL;
}

static void end_interrupted(struct plan *plan, int64_t run_key, struct wall_time now) {
    struct plan_entry *entry;
    struct plan_execution *execution;
    struct error err;
    error_set(&err, ERROR_INTERRUPTED, "the scheduler stopped while this was running");
    /* Ending the last execution may free the entry, so it is looked up again each time. */
    while ((entry = find_entry(plan, run_key)) != NULL &&
           (execution = find_interrupted(entry)) != NULL) {
        plan_finished(plan, execution, EXECUTION_FAILED, &err, now);
    }
}

void plan_begin(struct plan *plan, struct wall_time now) {
    plan->watched_since = now;
    /* Settling changes the map, so the keys are copied first. */
    size_t count = 0;
    int64_t *run_keys = must_alloc((plan->entries.count + 1) * sizeof *run_keys);
    for (size_t i = 0; i < plan->entries.capacity; i++) {
        struct plan_entry *entry = plan->entries.places[i].value;
        if (entry != NULL && !list_is_empty(&entry->active)) {
            run_keys[count++] = entry->run_key;
        }
    }
    /* First all that was running ends, then what waited starts: nothing may start in between. */
    plan->draining = true;
    for (size_t i = 0; i < count; i++) {
        end_interrupted(plan, run_keys[i], now);
    }
    plan->draining = false;
    for (size_t i = 0; i < count; i++) {
        struct plan_entry *entry = find_entry(plan, run_keys[i]);
        if (entry != NULL) {
            start_next(plan, entry, now);
        }
    }
    free(run_keys);
}

/* A slot that has come already stays what it is; one that is still to come goes where the zone has it now. */
static void correct_next_slot(struct plan *plan, struct plan_entry *entry, struct wall_time now) {
    if (entry->removed || wall_time_is_none(entry->next_slot) || entry->next_slot.us <= now.us) {
        return;
    }
    struct wall_time corrected = timetable_next(&entry->timetable, now);
    if (corrected.us == entry->next_slot.us || entry->recording) {
        return;
    }
    /* Only the schedule moves; there is no slot to account for. */
    struct plan_record *record = new_record(entry);
    record->advances = true;
    record->first_slot = entry->next_slot;
    record->last_slot = now;
    record->next_run = corrected;
    entry->recording = true;
    reheap(plan, entry);
    plan->effects.record(plan->effects.context, record);
}

void plan_correct_next_slot(struct plan *plan, int64_t run_key, struct wall_time now) {
    struct plan_entry *entry = find_entry(plan, run_key);
    if (entry != NULL) {
        correct_next_slot(plan, entry, now);
    }
}

void plan_zones_changed(struct plan *plan, struct wall_time now) {
    for (size_t i = 0; i < plan->entries.capacity; i++) {
        struct plan_entry *entry = plan->entries.places[i].value;
        const struct zone *zone = NULL;
        struct error ignored; /* a zone that is gone goes on as it was */
        if (entry == NULL || !zone_open(zone_name(entry->timetable.zone), &zone, &ignored)) {
            continue;
        }
        if (zone == entry->timetable.zone) {
            zone_unref(zone);
            continue;
        }
        zone_unref(entry->timetable.zone);
        entry->timetable.zone = zone;
        /* A record that is on its way computed the next slot by the old zone: it is not taken over. */
        entry->schedule_serial = ++plan->last_schedule_serial;
        correct_next_slot(plan, entry, now);
    }
}

void plan_clock_stepped(struct plan *plan, struct wall_time now) { plan->watched_since = now; }

void plan_drain(struct plan *plan) { plan->draining = true; }

static void free_entry_wholly(struct plan *plan, struct plan_entry *entry) {
    while (!list_is_empty(&entry->active)) {
        struct plan_execution *execution = EXECUTION_OF(entry->active.next);
        detach(plan, execution);
        plan->effects.free_execution(plan->effects.context, execution);
    }
    heap_remove(&plan->due, &entry->due);
    plan_entry_free(entry);
}

void plan_fini(struct plan *plan) {
    for (size_t i = 0; i < plan->entries.capacity; i++) {
        if (plan->entries.places[i].value != NULL) {
            free_entry_wholly(plan, plan->entries.places[i].value);
        }
    }
    map_fini(&plan->entries);
    heap_fini(&plan->due);
    heap_fini(&plan->retries);
}

void plan_check(const struct plan *plan) {
    uint32_t running = 0;
    uint32_t active = 0;
    for (size_t i = 0; i < plan->entries.capacity; i++) {
        const struct plan_entry *entry = plan->entries.places[i].value;
        if (entry == NULL) {
            continue;
        }
        ASSERT(entry->run_key == plan->entries.places[i].key);
        ASSERT(!wall_time_is_none(entry->next_slot) || !heap_contains(&entry->due));
        ASSERT(entry->removed || wall_time_is_none(entry->next_slot) || entry->recording ||
               entry->waiting || heap_contains(&entry->due));
        ASSERT(!entry->waiting || !list_is_empty(&entry->active));
        for (struct list_node *node = entry->active.next; node != &entry->active;
             node = node->next) {
            const struct plan_execution *execution = EXECUTION_OF(node);
            ASSERT(execution->entry == entry);
            ASSERT(!heap_contains(&execution->retry) || execution->phase == PLAN_QUEUED);
            running += counts_as_running(execution) ? 1 : 0;
            active++;
        }
    }
    ASSERT(running == plan->running_count && active == plan->active_count);
}
