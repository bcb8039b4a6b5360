#include "schedule/plan_parts.h"

void plan_init(struct plan *plan, const struct plan_options *options,
               const struct plan_effects *effects) {
    *plan = (struct plan){.effects = *effects,
                          .options = *options,
                          .watched_since = WALL_TIME_NONE,
                          .paused_until = WALL_TIME_NONE};
    ASSERT(options->running_maximum > 0);
    group_init(&plan->all, PLACE_ROOM_OF_ALL, options->running_maximum);
    list_init(&plan->roomy);
    list_init(&plan->backfills);
}

/* --- entries ---------------------------------------------------------------------------------- */

struct plan_entry *find_entry(const struct plan *plan, int64_t run_key) {
    return map_get(&plan->entries, run_key);
}

bool plan_has_run(const struct plan *plan, int64_t run_key) {
    return find_entry(plan, run_key) != NULL;
}

struct wall_time entry_due_at(const struct plan_entry *entry, struct wall_time slot) {
    if (entry->terms->jitter.us <= 0) {
        return slot;
    }
    struct cron_jitter jitter = {.hash_seed = cron_hash(&entry->run_key, sizeof entry->run_key),
                                 .width = entry->terms->jitter};
    return cron_jitter_apply(&jitter, slot, timetable_next(&entry->schedule->timetable, slot));
}

bool entry_is_due(const struct plan_entry *entry) {
    return entry->enabled && !wall_time_is_none(entry->next_slot) && !entry->removed &&
           !entry->recording && !entry->waiting;
}

void entry_reheap(struct plan *plan, struct plan_entry *entry) {
    bool is_due = entry_is_due(entry);
    if (is_due && entry->place == PLACE_OUTDATED) {
        return; /* its slot is to be found first */
    }
    room_leave_for_slot(plan, entry);
    if (is_due) {
        entry->place = PLACE_TIME;
        heap_put(&plan->due, &entry->due,
                 time_rank(entry_due_at(entry, entry->next_slot), entry->terms->priority));
    }
}

void entry_release_if_idle(struct plan *plan, struct plan_entry *entry) {
    bool dormant = entry->removed || !entry->enabled;
    if (!dormant || entry->recording || entry->has_backfill || entry->oldest != NULL) {
        return;
    }
    room_leave_for_slot(plan, entry);
    map_remove(&plan->entries, entry->run_key);
    entry_free(plan, entry);
}

struct plan_entry *entry_wake(struct plan *plan, struct plan_entry *dormant, int64_t run_key) {
    struct plan_entry *known = find_entry(plan, run_key);
    if (known != NULL) {
        /* If the other one is newer, the word of the change is in the mail. */
        plan_entry_free(dormant);
        return known;
    }
    dormant->enabled = false;
    dormant->next_slot = WALL_TIME_NONE;
    terms_adopt(plan, dormant);
    map_put(&plan->entries, dormant);
    return dormant;
}

/* Puts the new entry in the place of the old one, whose active executions it takes along. */
static void replace_entry(struct plan *plan, struct plan_entry *old, struct plan_entry *entry) {
    entry->oldest = old->oldest;
    old->oldest = NULL;
    for (struct plan_execution *execution = entry->oldest; execution != NULL;
         execution = execution_next(execution)) {
        execution->entry = entry;
    }
    entry->recording = old->recording;
    entry->has_backfill = old->has_backfill;
    if (entry->keeps_next_slot && old->enabled) {
        /* What the change was read beside may be behind what the plan has settled since. */
        entry->next_slot = old->next_slot;
    }
    bool is_outdated = entry->keeps_next_slot && old->place == PLACE_OUTDATED;
    struct wall_time since = {is_outdated ? plan->outdated.items[old->due.index].rank : 0};
    room_leave_for_slot(plan, old);
    map_put(&plan->entries, entry);
    entry_free(plan, old);
    if (is_outdated) {
        entry_outdate(plan, entry, since);
    }
}

void plan_put(struct plan *plan, struct plan_entry *entry) {
    struct plan_entry *old = find_entry(plan, entry->run_key);
    terms_adopt(plan, entry);
    if (old == NULL) {
        map_put(&plan->entries, entry);
    } else {
        replace_entry(plan, old, entry);
    }
    entry_reheap(plan, entry);
    entry_release_if_idle(plan, entry);
}

void plan_remove(struct plan *plan, int64_t run_key, struct wall_time now) {
    struct plan_entry *entry = find_entry(plan, run_key);
    if (entry == NULL) {
        return;
    }
    entry->removed = true;
    entry->waiting = false;
    entry_reheap(plan, entry);
    backfill_remove_of(plan, run_key);
    /* What runs may end; what waits has lost its reason. */
    struct plan_execution *next;
    for (struct plan_execution *execution = entry->oldest; execution != NULL; execution = next) {
        next = execution_next(execution);
        if (execution->phase == PLAN_QUEUED) {
            execution_cancel(plan, execution, "the run was deleted before this was started");
        }
    }
    (void)now;
    entry_release_if_idle(plan, entry);
}

/* --- the tick ---------------------------------------------------------------------------------- */

static bool is_paused(const struct plan *plan, struct wall_time now) {
    return !wall_time_is_none(plan->paused_until) && now.us < plan->paused_until.us &&
           /* a clock that went back must not prolong the pause */
           plan->paused_until.us - now.us <= PLAN_STORE_PAUSE.us;
}

/* The first of the heap if its time has come, else NULL. */
static struct heap_handle *first_due(const struct heap *heap, struct wall_time now) {
    const struct heap_item *first = heap_first(heap);
    return first != NULL && time_of_rank(first->rank) <= now.us ? first->handle : NULL;
}

void plan_tick(struct plan *plan, struct wall_time now) {
    if (plan->draining || is_paused(plan, now)) {
        return;
    }
    plan->paused_until = WALL_TIME_NONE;
    plan->unsorted = false;
    uint64_t submitted_before = plan->submitted_count;
    uint32_t steps = plan->store_failed ? 1 : PLAN_STEPS_PER_TICK;
    correct_outdated(plan, &steps);
    struct heap_handle *handle;
    while (steps > 0 && (handle = first_due(&plan->retries, now)) != NULL) {
        steps--;
        struct plan_execution *execution = CONTAINER_OF(handle, struct plan_execution, wait);
        room_leave(plan, execution);
        execution_start_next(plan, execution->entry, now);
    }
    room_serve(plan, &steps, now);
    while (steps > 0 && (handle = first_due(&plan->due, now)) != NULL) {
        struct plan_entry *entry = CONTAINER_OF(handle, struct plan_entry, due);
        steps--;
        room_leave_for_slot(plan, entry);
        fire_or_wait(plan, entry, now);
    }
    if (steps > 0) {
        backfill_serve(plan, now);
    }
    plan->unsorted = plan->unsorted || steps == 0;
    if (plan->store_failed && plan->submitted_count > submitted_before) {
        plan->probing = true;
        plan->paused_until = wall_time_add(now, PLAN_STORE_PAUSE);
    }
}

struct wall_time plan_next_wake(const struct plan *plan) {
    if (plan->draining) {
        return WALL_TIME_NONE;
    }
    const struct heap_item *heads[] = {heap_first(&plan->retries), heap_first(&plan->due)};
    struct wall_time wake = WALL_TIME_NONE;
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        if (heads[i] != NULL &&
            (wall_time_is_none(wake) || time_of_rank(heads[i]->rank) < wake.us)) {
            wake.us = time_of_rank(heads[i]->rank);
        }
    }
    if (plan->unsorted) {
        wake.us = 0;
    }
    if (!wall_time_is_none(plan->paused_until)) {
        bool waits = !wall_time_is_none(wake) || room_is_awaited(plan) ||
                     plan->outdated.count > 0 || !list_is_empty(&plan->backfills);
        wake.us = waits ? MAX_OF(wake.us, plan->paused_until.us) : wake.us;
    }
    return wake;
}

void plan_drain(struct plan *plan) { plan->draining = true; }

uint32_t plan_running_count(const struct plan *plan) { return plan->all.running; }

/* --- the end ------------------------------------------------------------------------------------ */

static void free_entry_wholly(struct plan *plan, struct plan_entry *entry) {
    while (entry->oldest != NULL) {
        struct plan_execution *execution = entry->oldest;
        execution_detach(plan, execution);
        plan->effects.free_execution(plan->effects.context, execution);
    }
    room_leave_for_slot(plan, entry);
    entry_free(plan, entry);
}

void plan_fini(struct plan *plan) {
    for (size_t i = 0; i < plan->entries.capacity; i++) {
        if (plan->entries.places[i] != NULL) {
            free_entry_wholly(plan, plan->entries.places[i]);
        }
    }
    struct list_node *next;
    for (struct list_node *node = plan->backfills.next; node != &plan->backfills; node = next) {
        next = node->next;
        free(CONTAINER_OF(node, struct plan_backfill, node));
    }
    ASSERT(plan->terms.count == 0 && plan->schedules.count == 0);
    group_fini(&plan->all);
    map_fini(&plan->entries);
    map_fini(&plan->schedules);
    map_fini(&plan->terms);
    map_fini(&plan->models);
    map_fini(&plan->owners);
    heap_fini(&plan->due);
    heap_fini(&plan->retries);
    heap_fini(&plan->outdated);
}
