#include "schedule/plan_parts.h"

#define EXECUTION_OF(node_pointer) CONTAINER_OF(node_pointer, struct plan_execution, node)

/* --- the ring of a run's executions ---------------------------------------------------------------- */

struct plan_execution *execution_next(const struct plan_execution *execution) {
    struct plan_execution *next = EXECUTION_OF(execution->node.next);
    return next == execution->entry->oldest ? NULL : next;
}

static void join_ring(struct plan_entry *entry, struct plan_execution *execution) {
    list_init(&execution->node);
    if (entry->oldest == NULL) {
        entry->oldest = execution;
    } else {
        list_append(&entry->oldest->node,
                    &execution->node); /* before the oldest is after the newest */
    }
}

static void leave_ring(struct plan_entry *entry, struct plan_execution *execution) {
    if (entry->oldest == execution) {
        struct plan_execution *next = EXECUTION_OF(execution->node.next);
        entry->oldest = next == execution ? NULL : next;
    }
    list_remove(&execution->node);
}

struct plan_execution *find_running(const struct plan_entry *entry) {
    struct plan_execution *execution = entry->oldest;
    while (execution != NULL && (execution->phase == PLAN_QUEUED || !execution_counts(execution))) {
        execution = execution_next(execution);
    }
    return execution;
}

struct plan_execution *find_in_the_way(const struct plan_entry *entry) {
    struct plan_execution *execution = entry->oldest;
    while (execution != NULL && !execution_counts(execution)) {
        execution = execution_next(execution);
    }
    return execution;
}

struct plan_execution *plan_find_execution(const struct plan *plan, int64_t run_key,
                                           int64_t execution_key) {
    struct plan_entry *entry = find_entry(plan, run_key);
    struct plan_execution *execution = entry == NULL ? NULL : entry->oldest;
    while (execution != NULL && execution->key != execution_key) {
        execution = execution_next(execution);
    }
    return execution;
}

/* --- begin and end ---------------------------------------------------------------------------------- */

struct plan_execution *execution_make(struct plan *plan, struct plan_entry *entry,
                                      struct plan_terms *terms, enum execution_trigger trigger,
                                      struct wall_time slot, enum plan_phase phase, int64_t key,
                                      void *waiter) {
    struct plan_execution *execution = plan->effects.make_execution(plan->effects.context, waiter);
    execution->entry = entry;
    execution->terms = terms_ref(terms);
    execution->key = key;
    execution->slot = slot;
    execution->not_before = WALL_TIME_NONE;
    execution->trigger = trigger;
    execution->attempt = 1;
    execution->phase = phase;
    heap_handle_init(&execution->wait);
    join_ring(entry, execution);
    plan->active_count++;
    plan->manual_count += trigger == TRIGGER_MANUAL ? 1 : 0;
    return execution;
}

void plan_execution_fini(struct plan *plan, struct plan_execution *execution) {
    if (execution->terms != NULL) {
        terms_unref(plan, execution->terms);
    }
}

struct execution execution_describe(int64_t run_key, const struct plan_execution *execution,
                                    struct wall_time now, enum execution_status status) {
    const struct plan_terms *terms = execution->terms;
    return (struct execution){
        .key = execution->key,
        .run_key = run_key,
        .model_name = terms->model_name,
        .model_version = terms->model_version,
        .trigger = execution->trigger,
        .attempt = execution->attempt,
        .status = status,
        .scheduled_for = execution->slot,
        .queued_at = now,
        .started_at = status == EXECUTION_RUNNING ? now : WALL_TIME_NONE,
        .finished_at = WALL_TIME_NONE,
        .backfill_key = execution->backfill_key,
        .missed_from = WALL_TIME_NONE,
        .missed_to = WALL_TIME_NONE,
        .timeout = terms->timeout,
        .not_before = execution->not_before,
    };
}

void record_add_execution(struct plan *plan, struct plan_record *record,
                          struct plan_execution *execution, bool may_run, struct wall_time now) {
    bool runs = may_run && room_find_full(plan, execution->terms) == NULL;
    if (runs) {
        room_take(plan, execution);
    }
    record->execution = execution;
    record->executions[record->execution_count++] = execution_describe(
        record->run_key, execution, now, runs ? EXECUTION_RUNNING : EXECUTION_QUEUED);
}

struct plan_entry *execution_detach(struct plan *plan, struct plan_execution *execution) {
    struct plan_entry *entry = execution->entry;
    room_give_back(plan, execution);
    room_leave(plan, execution);
    plan->active_count--;
    plan->manual_count -= execution->trigger == TRIGGER_MANUAL ? 1 : 0;
    leave_ring(entry, execution);
    execution->entry = NULL;
    struct plan_backfill *backfill =
        execution->backfill_key == 0 ? NULL : backfill_find(plan, execution->backfill_key);
    if (backfill != NULL) {
        backfill->active_count--;
        backfill_release_if_over(plan, backfill);
    }
    return entry;
}

void execution_after_detach(struct plan *plan, struct plan_entry *entry, struct wall_time now) {
    execution_start_next(plan, entry, now);
    if (entry->waiting && find_in_the_way(entry) == NULL) {
        entry->waiting = false;
        entry_reheap(plan, entry);
    }
    entry_release_if_idle(plan, entry);
}

/* --- starting what waits ----------------------------------------------------------------------------- */

/* Triggers by hand and backfills do not ask what else of their run is running. */
static bool stands_alone(const struct plan_execution *execution) {
    return execution->trigger == TRIGGER_MANUAL || execution->trigger == TRIGGER_BACKFILL;
}

/* The oldest that waits for nothing but its turn, and has it. */
static struct plan_execution *find_startable(const struct plan_entry *entry) {
    bool allow = entry->terms->overlap == OVERLAP_ALLOW;
    bool blocked = !allow && find_running(entry) != NULL;
    for (struct plan_execution *execution = entry->oldest; execution != NULL;
         execution = execution_next(execution)) {
        if (execution->phase != PLAN_QUEUED || execution->place == PLACE_TIME) {
            continue;
        }
        bool alone = stands_alone(execution);
        if (execution->place == PLACE_NONE && (alone || !blocked)) {
            return execution;
        }
        blocked = blocked || (!alone && !allow); /* those behind it wait for it */
    }
    return NULL;
}

void execution_begin(struct plan *plan, struct plan_execution *execution, struct wall_time now) {
    const struct plan_entry *entry = execution->entry;
    if (!stands_alone(execution) && entry->terms->overlap != OVERLAP_ALLOW &&
        find_running(entry) != NULL) {
        return; /* something was triggered by hand meanwhile: when that ends, this has its turn */
    }
    struct plan_group *full = room_find_full(plan, execution->terms);
    if (full != NULL) {
        room_wait(full, execution);
        return;
    }
    room_take(plan, execution);
    execution->phase = PLAN_STARTING;
    plan->effects.start(plan->effects.context, execution, now);
}

void execution_start_next(struct plan *plan, struct plan_entry *entry, struct wall_time now) {
    struct plan_execution *execution;
    while (!plan->draining && (execution = find_startable(entry)) != NULL) {
        execution_begin(plan, execution, now);
    }
}

/* --- what came of it --------------------------------------------------------------------------------- */

void execution_cancel(struct plan *plan, struct plan_execution *execution, const char *why) {
    if (execution->phase == PLAN_QUEUED) {
        struct error err;
        error_set(&err, ERROR_CANCELLED, "%s", why);
        execution_detach(plan, execution);
        plan->effects.finish(plan->effects.context, execution, EXECUTION_CANCELLED, &err, NULL);
    } else if (!execution->cancelled) {
        execution->cancelled = true;
        if (execution->phase == PLAN_RUNNING) {
            plan->effects.cancel(plan->effects.context, execution);
        }
    }
}

void execution_cancel_all(struct plan *plan, struct plan_entry *entry) {
    struct plan_execution *next;
    for (struct plan_execution *execution = entry->oldest; execution != NULL; execution = next) {
        next = execution_next(execution);
        if (execution_counts(execution)) {
            execution_cancel(plan, execution, "a newer slot of this run took its place");
        }
    }
}

void plan_cancel(struct plan *plan, struct plan_execution *execution, struct wall_time now) {
    struct plan_entry *entry = execution->entry;
    execution_cancel(plan, execution, "cancelled before it was started");
    execution_after_detach(plan, entry, now);
}

static void hand_over(struct plan *plan, struct plan_execution *execution) {
    execution->phase = PLAN_RUNNING;
    plan->effects.dispatch(plan->effects.context, execution);
    if (execution->cancelled) {
        plan->effects.cancel(plan->effects.context, execution);
    }
}

/* It is queued on disk, and nobody wants it to start any more. */
static void end_unstarted(struct plan *plan, struct plan_execution *execution, const char *why,
                          struct wall_time now) {
    struct plan_entry *entry = execution->entry;
    execution->phase = PLAN_QUEUED;
    execution_cancel(plan, execution, why);
    execution_after_detach(plan, entry, now);
}

/* The execution waits: for its time, for an earlier one, for room, or, if nobody wants it any more, not at all. */
static void let_wait(struct plan *plan, struct plan_execution *execution, struct wall_time now) {
    struct plan_entry *entry = execution->entry;
    room_give_back(plan, execution);
    execution->phase = PLAN_QUEUED;
    if (entry->removed || execution->cancelled) {
        end_unstarted(plan, execution, "cancelled before it was started", now);
    } else if (!wall_time_is_none(execution->not_before)) {
        execution->place = PLACE_TIME;
        heap_put(&plan->retries, &execution->wait,
                 time_rank(execution->not_before, execution->terms->priority));
    } else {
        execution_start_next(plan, entry, now);
    }
}

/* The record is on disk, or the schedule has to go on without it. */
static void settle_schedule(struct plan *plan, const struct plan_record *record, bool on_disk) {
    struct plan_entry *entry = find_entry(plan, record->run_key);
    if (entry == NULL || !record->advances) {
        return;
    }
    entry->recording = false;
    if (on_disk && entry->schedule == record->schedule) {
        entry->next_slot = record->next_run;
        entry->enabled = entry->enabled && !record->disables;
        entry->revision += record->disables ? 1 : 0; /* as the store's does */
    }
    if (record->corrects && !on_disk) {
        entry_outdate(plan, entry, record->last_slot); /* again */
    } else {
        entry_reheap(plan, entry);
    }
    entry_release_if_idle(plan, entry);
}

/* Else it refused this one write alone, and nobody else has to wait. */
static bool is_failure_of_the_store(enum error_kind failure) {
    return failure != ERROR_NOT_FOUND && failure != ERROR_CONFLICT && failure != ERROR_STALE &&
           failure != ERROR_INTERNAL;
}

static void record_failed(struct plan *plan, struct plan_record *record, enum error_kind failure,
                          struct wall_time now) {
    if (record->execution != NULL) {
        struct plan_entry *of = execution_detach(plan, record->execution);
        plan->effects.free_execution(plan->effects.context, record->execution);
        execution_after_detach(plan, of, now);
    }
    struct plan_entry *entry = find_entry(plan, record->run_key);
    if (failure == ERROR_CONFLICT && record->advances && record->execution_count > 0 &&
        entry != NULL && entry->revision == record->revision) {
        /* The first slot has its record already, from before a change that put the schedule back: the
         * schedule moves past this one, and only this one. */
        record_advance(plan, entry, record_new(entry), record->first_slot);
        return;
    }
    struct wall_time again_at = wall_time_add(now, PLAN_STORE_PAUSE);
    if (failure == ERROR_NOT_FOUND && record->backfill_key == 0) {
        plan_remove(plan, record->run_key, now);
    } else if (is_failure_of_the_store(failure) ||
               (failure == ERROR_INTERNAL && record->backfill_key != 0)) {
        plan->paused_until = again_at;
    }
    settle_schedule(plan, record, false);
    entry = find_entry(plan, record->run_key);
    if (failure == ERROR_INTERNAL && record->advances && entry != NULL &&
        entry->place == PLACE_TIME) {
        /* The store works, and does not take this one: only its own run waits. */
        struct wall_time due = entry_due_at(entry, entry->next_slot);
        due.us = MAX_OF(due.us, again_at.us);
        heap_put(&plan->due, &entry->due, time_rank(due, entry->terms->priority));
    }
}

void plan_recorded(struct plan *plan, struct plan_record *record, enum error_kind failure,
                   struct wall_time now) {
    plan->correcting_count -= record->corrects ? 1 : 0;
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
    if (record->backfill_key != 0) {
        backfill_recorded(plan, record, failure);
    }
    plan_record_free(plan, record);
}

void plan_started(struct plan *plan, struct plan_execution *execution, enum error_kind failure,
                  struct wall_time now) {
    if (failure == ERROR_NONE) {
        hand_over(plan, execution);
        return;
    }
    if (failure == ERROR_NOT_FOUND) {
        plan_drop(plan, execution, now);
        return;
    }
    if (failure == ERROR_STALE) { /* on its way to plan_remove */
        end_unstarted(plan, execution, "the run was deleted before this was started", now);
        return;
    }
    if (failure == ERROR_CONFLICT) {
        struct error err;
        error_set(&err, ERROR_INTERRUPTED,
                  "it had been started before, and nobody knows how it ended");
        plan_finished(plan, execution, EXECUTION_FAILED, &err, (struct duration){0}, now);
        return;
    }
    /* Still queued in the store: tried again after the pause. */
    struct wall_time again_at = wall_time_add(now, PLAN_STORE_PAUSE);
    if (is_failure_of_the_store(failure)) {
        plan->paused_until = again_at;
    }
    execution->not_before = again_at;
    let_wait(plan, execution, now);
}

/* --- retries ------------------------------------------------------------------------------------------ */

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
    const struct retry_policy *policy = &execution->terms->retry;
    return (status == EXECUTION_FAILED || status == EXECUTION_TIMED_OUT) &&
           execution->trigger != TRIGGER_MANUAL && !execution->cancelled &&
           !execution->entry->removed && error_kind_may_retry(err->kind) &&
           (policy->non_retryable & error_kind_bit(err->kind)) == 0 &&
           execution->attempt <= policy->max_attempts;
}

static struct plan_execution *make_retry(struct plan *plan, struct plan_execution *execution,
                                         struct wall_time now) {
    bool of_backfill = execution->trigger == TRIGGER_BACKFILL;
    struct plan_execution *retry = execution_make(
        plan, execution->entry, execution->terms, of_backfill ? TRIGGER_BACKFILL : TRIGGER_RETRY,
        execution->slot, PLAN_RECORDING, plan->effects.new_key(plan->effects.context, now), NULL);
    retry->attempt = execution->attempt + 1;
    retry->backfill_key = execution->backfill_key;
    retry->not_before =
        wall_time_add(now, retry_delay(plan, &execution->terms->retry, execution->attempt));
    struct plan_backfill *backfill =
        retry->backfill_key == 0 ? NULL : backfill_find(plan, retry->backfill_key);
    if (backfill != NULL) {
        backfill->active_count++;
    }
    return retry;
}

void plan_finished(struct plan *plan, struct plan_execution *execution,
                   enum execution_status status, const struct error *err, struct duration ran,
                   struct wall_time now) {
    struct plan_execution *retry =
        may_retry(execution, status, err) ? make_retry(plan, execution, now) : NULL;
    if (ran.us > 0) {
        room_learn(plan, execution->terms->model_group, ran);
    }
    struct plan_entry *entry = execution_detach(plan, execution);
    plan->effects.finish(plan->effects.context, execution, status, err, retry);
    execution_after_detach(plan, entry, now);
}

struct execution plan_describe_retry(const struct plan_execution *retry, int64_t run_key,
                                     struct wall_time now) {
    return execution_describe(run_key, retry, now, EXECUTION_QUEUED);
}

void plan_drop(struct plan *plan, struct plan_execution *execution, struct wall_time now) {
    struct plan_entry *entry = execution_detach(plan, execution);
    plan->effects.free_execution(plan->effects.context, execution);
    execution_after_detach(plan, entry, now);
}

void plan_retry_recorded(struct plan *plan, struct plan_execution *retry, struct wall_time now) {
    let_wait(plan, retry, now);
}

/* --- triggers by hand ---------------------------------------------------------------------------------- */

bool plan_is_current(const struct plan *plan, const struct plan_entry *entry) {
    const struct plan_entry *known = find_entry(plan, entry->run_key);
    return known == NULL || known->revision == entry->revision;
}

void plan_trigger(struct plan *plan, struct plan_entry *entry, void *waiter, struct wall_time now) {
    struct plan_entry *known = entry_wake(plan, entry, entry->run_key);
    struct plan_execution *execution =
        execution_make(plan, known, known->terms, TRIGGER_MANUAL, now, PLAN_RECORDING,
                       plan->effects.new_key(plan->effects.context, now), waiter);
    struct plan_record *record = record_new(known);
    record_add_execution(plan, record, execution, true, now);
    plan->effects.record(plan->effects.context, record);
}
