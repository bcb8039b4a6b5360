#include "schedule/plan_parts.h"

#define BACKFILL_OF(node_pointer) CONTAINER_OF(node_pointer, struct plan_backfill, node)

struct plan_backfill *backfill_find(const struct plan *plan, int64_t key) {
    for (struct list_node *node = plan->backfills.next; node != &plan->backfills;
         node = node->next) {
        if (BACKFILL_OF(node)->key == key) {
            return BACKFILL_OF(node);
        }
    }
    return NULL;
}

void plan_put_backfill(struct plan *plan, const struct backfill *stored,
                       struct plan_entry *dormant) {
    struct plan_entry *entry = dormant == NULL ? find_entry(plan, stored->run_key)
                                               : entry_wake(plan, dormant, stored->run_key);
    struct plan_backfill *backfill = must_alloc_zeroed(1, sizeof *backfill);
    *backfill = (struct plan_backfill){
        .key = stored->key,
        .run_key = stored->run_key,
        .to = stored->to,
        .next_slot = entry->removed ? WALL_TIME_NONE : stored->next_slot,
        .parallelism = stored->parallelism,
    };
    list_append(&plan->backfills, &backfill->node);
    entry->has_backfill = true;
    if (entry->removed) {
        backfill_release_if_over(plan, backfill);
    }
}

void backfill_release_if_over(struct plan *plan, struct plan_backfill *backfill) {
    if (!wall_time_is_none(backfill->next_slot) || backfill->recording ||
        backfill->active_count > 0) {
        return;
    }
    list_remove(&backfill->node);
    struct plan_entry *entry =
        find_entry(plan, backfill->run_key); /* it stays while has_backfill */
    entry->has_backfill = false;
    for (struct list_node *node = plan->backfills.next; node != &plan->backfills;
         node = node->next) {
        entry->has_backfill =
            entry->has_backfill || BACKFILL_OF(node)->run_key == backfill->run_key;
    }
    free(backfill);
}

/* Records the backfill's next slot. Where the run's schedule was changed since, its slots from there on. */
static void record_next(struct plan *plan, struct plan_backfill *backfill, struct plan_entry *entry,
                        struct wall_time now) {
    const struct timetable *timetable = &entry->schedule->timetable;
    struct plan_record *record = record_new(entry);
    record->backfill_key = backfill->key;
    struct wall_time slot =
        timetable_next(timetable, (struct wall_time){backfill->next_slot.us - 1});
    if (!wall_time_is_none(slot) && slot.us < backfill->to.us) {
        struct wall_time next = timetable_next(timetable, slot);
        record->backfill_next =
            wall_time_is_none(next) || next.us >= backfill->to.us ? WALL_TIME_NONE : next;
        struct plan_execution *execution =
            execution_make(plan, entry, entry->terms, TRIGGER_BACKFILL, slot, PLAN_RECORDING,
                           plan->effects.new_key(plan->effects.context, now), NULL);
        execution->backfill_key = backfill->key;
        backfill->active_count++;
        record_add_execution(plan, record, execution, true, now);
    }
    backfill->recording = true;
    submit_record(plan, record);
}

void backfill_serve(struct plan *plan, struct wall_time now) {
    struct list_node *next;
    for (struct list_node *node = plan->backfills.next; node != &plan->backfills; node = next) {
        next = node->next;
        struct plan_backfill *backfill = BACKFILL_OF(node);
        struct plan_entry *entry = find_entry(plan, backfill->run_key);
        if (!backfill->recording && !wall_time_is_none(backfill->next_slot) &&
            backfill->active_count < backfill->parallelism && room_is_plenty(plan, entry->terms)) {
            record_next(plan, backfill, entry, now);
        }
    }
}

void backfill_recorded(struct plan *plan, const struct plan_record *record,
                       enum error_kind failure) {
    struct plan_backfill *backfill = backfill_find(plan, record->backfill_key);
    ASSERT(backfill != NULL && backfill->recording); /* it waits for this */
    struct plan_entry *entry = find_entry(plan, backfill->run_key);
    backfill->recording = false;
    bool is_over = wall_time_is_none(backfill->next_slot); /* cancelled meanwhile */
    if (failure == ERROR_NONE || failure == ERROR_CONFLICT) {
        backfill->next_slot = is_over ? WALL_TIME_NONE : record->backfill_next;
    } else if (failure == ERROR_NOT_FOUND) {
        backfill->next_slot = WALL_TIME_NONE;
    }
    backfill_release_if_over(plan, backfill);
    entry_release_if_idle(plan, entry);
}

/* Nothing more of it is started. */
static void stop(struct plan *plan, struct plan_backfill *backfill) {
    backfill->next_slot = WALL_TIME_NONE;
    backfill_release_if_over(plan, backfill);
}

void backfill_remove_of(struct plan *plan, int64_t run_key) {
    struct list_node *next;
    for (struct list_node *node = plan->backfills.next; node != &plan->backfills; node = next) {
        next = node->next;
        if (BACKFILL_OF(node)->run_key == run_key) {
            stop(plan, BACKFILL_OF(node));
        }
    }
}

void plan_cancel_backfill(struct plan *plan, int64_t run_key, int64_t backfill_key,
                          struct wall_time now) {
    struct plan_entry *entry = find_entry(plan, run_key);
    if (entry == NULL) {
        return; /* nothing of it is under way */
    }
    /* One whose slots are all recorded is not loaded at start, but executions of it may be. */
    struct plan_backfill *backfill = backfill_find(plan, backfill_key);
    if (backfill != NULL) {
        stop(plan, backfill);
    }
    struct plan_execution *next;
    for (struct plan_execution *execution = entry->oldest; execution != NULL; execution = next) {
        next = execution_next(execution);
        if (execution->backfill_key == backfill_key) {
            execution_cancel(plan, execution, "its backfill was cancelled");
        }
    }
    execution_after_detach(plan, entry, now);
}
