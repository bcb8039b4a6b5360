#include "schedule/plan_parts.h"

struct census {
    uint32_t running;
    uint32_t active;
    uint32_t manual;
    uint32_t due;
    uint32_t retries;
    uint32_t outdated;
    uint32_t in_rooms;
};

static void check_execution(const struct plan_entry *entry, const struct plan_execution *execution,
                            struct census *census) {
    ASSERT(execution->entry == entry && execution->terms != NULL);
    ASSERT(heap_contains(&execution->wait) == (execution->place != PLACE_NONE));
    ASSERT(execution->place == PLACE_NONE || execution->phase == PLAN_QUEUED);
    ASSERT(!execution->has_room || execution->phase != PLAN_QUEUED);
    ASSERT(execution->has_room || execution->phase != PLAN_STARTING);
    census->active++;
    census->running += execution->has_room ? 1 : 0;
    census->manual += execution->trigger == TRIGGER_MANUAL ? 1 : 0;
    census->retries += execution->place == PLACE_TIME ? 1 : 0;
    census->in_rooms += execution->place > PLACE_OUTDATED ? 1 : 0;
}

static void check_entry(const struct plan_entry *entry, struct census *census) {
    ASSERT(heap_contains(&entry->due) == (entry->place != PLACE_NONE));
    bool is_due = entry->enabled && !wall_time_is_none(entry->next_slot) && !entry->removed;
    ASSERT(entry->place == PLACE_NONE || (is_due && !entry->recording && !entry->waiting));
    ASSERT(!is_due || entry->recording || entry->waiting || entry->place != PLACE_NONE);
    ASSERT(!entry->waiting || entry->oldest != NULL);
    ASSERT(entry->enabled || entry->recording || entry->has_backfill || entry->oldest != NULL);
    census->due += entry->place == PLACE_TIME ? 1 : 0;
    census->outdated += entry->place == PLACE_OUTDATED ? 1 : 0;
    census->in_rooms += entry->place > PLACE_OUTDATED ? 1 : 0;
    for (struct plan_execution *execution = entry->oldest; execution != NULL;
         execution = execution_next(execution)) {
        check_execution(entry, execution, census);
    }
}

static void check_groups(const struct plan *plan, const struct map *groups, struct census *census) {
    uint32_t running = 0;
    for (size_t i = 0; i < groups->capacity; i++) {
        for (const struct plan_shared *shared = groups->places[i]; shared != NULL;
             shared = shared->next) {
            const struct plan_group *group = CONTAINER_OF(shared, struct plan_group, shared);
            bool awaited = group->slots.count > 0 || group->executions.count > 0;
            ASSERT(shared->references > 0 && group->limit > 0);
            /* Nobody waits for room that is there without being remembered. */
            ASSERT(!awaited || group->running >= group->limit || !list_is_empty(&group->roomy));
            census->in_rooms -= group->slots.count + group->executions.count;
            running += group->running;
        }
    }
    ASSERT(running == plan->all.running);
}

void plan_check(const struct plan *plan) {
    struct census census = {0};
    for (size_t i = 0; i < plan->entries.capacity; i++) {
        const struct plan_entry *entry = plan->entries.places[i];
        if (entry != NULL) {
            check_entry(entry, &census);
        }
    }
    ASSERT(census.running == plan->all.running && census.active == plan->active_count);
    ASSERT(census.manual == plan->manual_count);
    ASSERT(census.due == plan->due.count && census.retries == plan->retries.count);
    ASSERT(census.outdated == plan->outdated.count);
    check_groups(plan, &plan->models, &census);
    check_groups(plan, &plan->owners, &census);
    ASSERT(census.in_rooms == plan->all.slots.count + plan->all.executions.count);
}
