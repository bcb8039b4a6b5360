#include "schedule/plan_parts.h"

#include "clock/zone.h"

#include <string.h>

struct plan_execution *plan_adopt(struct plan *plan, struct plan_entry *dormant,
                                  const struct execution *left) {
    struct plan_entry *entry = dormant == NULL ? find_entry(plan, left->run_key)
                                               : entry_wake(plan, dormant, left->run_key);
    enum plan_phase phase = left->status == EXECUTION_RUNNING ? PLAN_RUNNING : PLAN_QUEUED;
    struct plan_terms *terms =
        terms_pinned(plan, entry->terms, left->model_name, left->model_version, left->timeout);
    struct plan_execution *execution = execution_make(plan, entry, terms, left->trigger,
                                                      left->scheduled_for, phase, left->key, NULL);
    terms_unref(plan, terms);
    execution->attempt = left->attempt;
    execution->not_before = left->not_before;
    execution->backfill_key = left->backfill_key;
    struct plan_backfill *backfill =
        left->backfill_key == 0 ? NULL : backfill_find(plan, left->backfill_key);
    if (backfill != NULL) {
        backfill->active_count++;
    }
    if (phase == PLAN_QUEUED && !wall_time_is_none(left->not_before)) {
        execution->place = PLACE_TIME;
        heap_put(&plan->retries, &execution->wait, time_rank(left->not_before, terms->priority));
    }
    return execution;
}

/* The first execution that the last process had handed over, or NULL. */
static struct plan_execution *find_interrupted(const struct plan_entry *entry) {
    struct plan_execution *execution = entry->oldest;
    while (execution != NULL && execution->phase != PLAN_RUNNING) {
        execution = execution_next(execution);
    }
    return execution;
}

static void end_interrupted(struct plan *plan, int64_t run_key, struct wall_time now) {
    struct plan_entry *entry;
    struct plan_execution *execution;
    struct error err;
    error_set(&err, ERROR_INTERRUPTED, "the scheduler stopped while this was running");
    /* Ending the last execution may free the entry, so it is looked up again each time. */
    while ((entry = find_entry(plan, run_key)) != NULL &&
           (execution = find_interrupted(entry)) != NULL) {
        plan_finished(plan, execution, EXECUTION_FAILED, &err, (struct duration){0}, now);
    }
}

void plan_begin(struct plan *plan, struct wall_time now) {
    plan->watched_since = now;
    /* Settling changes the map, so the keys are copied first. */
    size_t count = 0;
    int64_t *run_keys = must_alloc((plan->entries.count + 1) * sizeof *run_keys);
    for (size_t i = 0; i < plan->entries.capacity; i++) {
        struct plan_entry *entry = plan->entries.places[i];
        if (entry != NULL && entry->oldest != NULL) {
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
            execution_start_next(plan, entry, now);
        }
    }
    free(run_keys);
}

/* --- zones and clocks --------------------------------------------------------------------------- */

void entry_outdate(struct plan *plan, struct plan_entry *entry, struct wall_time since) {
    room_leave_for_slot(plan, entry);
    if (entry_is_due(entry)) {
        entry->place = PLACE_OUTDATED;
        heap_put(&plan->outdated, &entry->due, since.us);
    }
}

static void correct(struct plan *plan, struct plan_entry *entry, struct wall_time since) {
    if (!entry_is_due(entry) ||
        timetable_next(&entry->schedule->timetable, since).us == entry->next_slot.us) {
        return;
    }
    entry_outdate(plan, entry, since);
}

void plan_correct_next_slot(struct plan *plan, int64_t run_key, struct wall_time settled_until) {
    struct plan_entry *entry = find_entry(plan, run_key);
    if (entry != NULL) {
        correct(plan, entry, settled_until);
    }
}

void correct_outdated(struct plan *plan, uint32_t *steps) {
    const struct heap_item *first;
    while (*steps > 0 && plan->correcting_count < PLAN_CORRECTING_MAXIMUM &&
           (first = heap_first(&plan->outdated)) != NULL) {
        struct plan_entry *entry = CONTAINER_OF(first->handle, struct plan_entry, due);
        --*steps;
        struct plan_record *record = record_new(entry);
        record->corrects = true;
        record->advances = true;
        record->first_slot = entry->next_slot;
        /* Not from now on: the disk may have failed for a while, and no slot is lost for it. */
        record->last_slot.us = first->rank;
        record->next_run = timetable_next(&entry->schedule->timetable, record->last_slot);
        room_leave_for_slot(plan, entry);
        entry->recording = true;
        plan->correcting_count++;
        submit_record(plan, record);
    }
}

void plan_zones_changed(struct plan *plan, struct wall_time now) {
    for (size_t i = 0; i < plan->entries.capacity; i++) {
        struct plan_entry *entry = plan->entries.places[i];
        const struct zone *zone = NULL;
        struct error ignored; /* a zone that is gone goes on as it was */
        if (entry == NULL ||
            !zone_open(zone_name(entry->schedule->timetable.zone), &zone, &ignored)) {
            continue;
        }
        if (zone == entry->schedule->timetable.zone) {
            zone_unref(zone);
            continue;
        }
        /* A record that is on its way computed the next slot by the old zone: by the schedule that it holds, it is seen
         * that this is not to be taken over. */
        struct plan_schedule *old = entry->schedule;
        struct wall_time settled_until = timetable_latest(
            &old->timetable, (struct wall_time){0}, (struct wall_time){entry->next_slot.us - 1});
        entry->schedule = schedule_in_zone(plan, old, zone);
        schedule_unref(plan, old);
        /* A slot that has come already stays what it is; one that is still to come goes where the zone has it now. */
        if (entry->next_slot.us > now.us) {
            correct(plan, entry, (struct wall_time){MAX_OF(now.us, settled_until.us)});
        }
    }
}

/* Of retries whose record is still on its way: the disk may have failed for long. */
static void shift_recording(struct plan *plan, int64_t step_us) {
    for (size_t i = 0; i < plan->entries.capacity; i++) {
        struct plan_entry *entry = plan->entries.places[i];
        struct plan_execution *execution = entry == NULL ? NULL : entry->oldest;
        for (; execution != NULL; execution = execution_next(execution)) {
            if (execution->phase == PLAN_RECORDING && !wall_time_is_none(execution->not_before)) {
                execution->not_before.us += step_us;
            }
        }
    }
}

void plan_clock_stepped(struct plan *plan, int64_t step_us, struct wall_time now) {
    if (step_us > 0) {
        plan->watched_since = now;
        return;
    }
    /* A pause between two attempts is a duration: the time at which it ends goes back with the clock. All go back by as
     * much, so that the heap stays one. */
    struct heap *retries = &plan->retries;
    for (uint32_t i = 0; i < retries->count; i++) {
        struct plan_execution *execution =
            CONTAINER_OF(retries->items[i].handle, struct plan_execution, wait);
        execution->not_before.us += step_us;
        retries->items[i].rank = time_rank(execution->not_before, execution->terms->priority);
    }
    shift_recording(plan, step_us);
}
