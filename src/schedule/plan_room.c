#include "schedule/plan_parts.h"

void group_init(struct plan_group *group, enum plan_place place, uint32_t limit) {
    *group = (struct plan_group){.place = place, .limit = limit, .concurrency = 1};
    list_init(&group->roomy);
}

void group_fini(struct plan_group *group) {
    ASSERT(group->slots.count == 0 && group->executions.count == 0);
    list_remove(&group->roomy);
    heap_fini(&group->slots);
    heap_fini(&group->executions);
    free(group->name);
}

static bool has_room(const struct plan_group *group) { return group->running < group->limit; }

static bool is_awaited(const struct plan_group *group) {
    return group->slots.count > 0 || group->executions.count > 0;
}

/* Remembers that somebody can be let in, for the next tick. */
static void note_room(struct plan *plan, struct plan_group *group) {
    if (group != &plan->all && has_room(group) && is_awaited(group) &&
        list_is_empty(&group->roomy)) {
        list_append(&plan->roomy, &group->roomy);
    }
}

struct plan_group *room_find_full(struct plan *plan, const struct plan_terms *terms) {
    return !has_room(terms->model_group)   ? terms->model_group
           : !has_room(terms->owner_group) ? terms->owner_group
           : !has_room(&plan->all)         ? &plan->all
                                           : NULL;
}

void room_take(struct plan *plan, struct plan_execution *execution) {
    ASSERT(!execution->has_room);
    execution->has_room = true;
    execution->terms->model_group->running++;
    execution->terms->owner_group->running++;
    plan->all.running++;
}

void room_give_back(struct plan *plan, struct plan_execution *execution) {
    if (!execution->has_room) {
        return;
    }
    execution->has_room = false;
    execution->terms->model_group->running--;
    execution->terms->owner_group->running--;
    plan->all.running--;
    note_room(plan, execution->terms->model_group);
    note_room(plan, execution->terms->owner_group);
}

/* --- waiting ------------------------------------------------------------------------------------ */

/* Who goes in first: the higher priority, then what is scheduled before what was triggered by hand, then the older. */
static int64_t room_rank(uint8_t priority, bool manual, struct wall_time since) {
    int64_t class = (int64_t)(PRIORITY_MAXIMUM - priority) * 2 + (manual ? 1 : 0);
    return class << 54 | MAX_OF(since.us, INT64_C(0));
}

void room_wait_for_slot(struct plan_group *full, struct plan_entry *entry, struct wall_time due) {
    ASSERT(entry->place == PLACE_NONE);
    entry->place = full->place;
    heap_put(&full->slots, &entry->due, room_rank(entry->terms->priority, false, due));
}

void room_wait(struct plan_group *full, struct plan_execution *execution) {
    ASSERT(execution->place == PLACE_NONE && !execution->has_room);
    execution->place = full->place;
    heap_put(&full->executions, &execution->wait,
             room_rank(execution->terms->priority, execution->trigger == TRIGGER_MANUAL,
                       execution->slot));
}

/* The group in whose room one with these terms waits. */
static struct plan_group *group_at(struct plan *plan, enum plan_place place,
                                   const struct plan_terms *terms) {
    return place == PLACE_ROOM_OF_MODEL   ? terms->model_group
           : place == PLACE_ROOM_OF_OWNER ? terms->owner_group
                                          : &plan->all;
}

void room_leave_for_slot(struct plan *plan, struct plan_entry *entry) {
    if (entry->place == PLACE_TIME) {
        heap_remove(&plan->due, &entry->due);
    } else if (entry->place == PLACE_OUTDATED) {
        heap_remove(&plan->outdated, &entry->due);
    } else if (entry->place != PLACE_NONE) {
        heap_remove(&group_at(plan, entry->place, entry->terms)->slots, &entry->due);
    }
    entry->place = PLACE_NONE;
}

void room_leave(struct plan *plan, struct plan_execution *execution) {
    if (execution->place == PLACE_TIME) {
        heap_remove(&plan->retries, &execution->wait);
    } else if (execution->place != PLACE_NONE) {
        heap_remove(&group_at(plan, execution->place, execution->terms)->executions,
                    &execution->wait);
    }
    execution->place = PLACE_NONE;
}

/* --- letting in --------------------------------------------------------------------------------- */

/* The slot that is next in the room, if it goes before the first execution there; else NULL. */
static struct plan_entry *first_slot(const struct plan_group *group) {
    const struct heap_item *slot = heap_first(&group->slots);
    const struct heap_item *execution = heap_first(&group->executions);
    if (slot == NULL || (execution != NULL && execution->rank <= slot->rank)) {
        return NULL;
    }
    return CONTAINER_OF(slot->handle, struct plan_entry, due);
}

/* Lets in who waits in this room, as far as there is room; whoever has to wait for something else by now moves
 * there. */
static void serve_group(struct plan *plan, struct plan_group *group, uint32_t *steps,
                        struct wall_time now) {
    while (has_room(group) && is_awaited(group)) {
        if (*steps == 0 || (group != &plan->all && !has_room(&plan->all))) {
            note_room(plan, group);
            return;
        }
        --*steps;
        struct plan_entry *entry = first_slot(group);
        if (entry != NULL) {
            room_leave_for_slot(plan, entry);
            fire_or_wait(plan, entry, now);
        } else {
            struct plan_execution *execution =
                CONTAINER_OF(heap_first(&group->executions)->handle, struct plan_execution, wait);
            room_leave(plan, execution);
            execution_begin(plan, execution, now);
        }
    }
}

void room_serve(struct plan *plan, uint32_t *steps, struct wall_time now) {
    serve_group(plan, &plan->all, steps, now);
    struct list_node *node;
    while (*steps > 0 && has_room(&plan->all) && (node = list_take_first(&plan->roomy)) != NULL) {
        serve_group(plan, CONTAINER_OF(node, struct plan_group, roomy), steps, now);
    }
    if (has_room(&plan->all) && (is_awaited(&plan->all) || !list_is_empty(&plan->roomy))) {
        plan->unsorted = true;
    }
}

bool room_is_awaited(const struct plan *plan) {
    return is_awaited(&plan->all) || !list_is_empty(&plan->roomy);
}

bool room_is_plenty(const struct plan *plan, const struct plan_terms *terms) {
    const struct plan_group *groups[] = {&plan->all, terms->model_group, terms->owner_group};
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        /* Half of the room stays for what comes by the clock. */
        if (is_awaited(groups[i]) || groups[i]->running >= (groups[i]->limit + 1) / 2) {
            return false;
        }
    }
    return true;
}

/* --- learning ----------------------------------------------------------------------------------- */

enum { CONCURRENCY_IS_ASKED_EVERY = 64 };

void room_learn(struct plan *plan, struct plan_group *model, struct duration ran) {
    if (model->finished_count++ % CONCURRENCY_IS_ASKED_EVERY == 0) {
        model->concurrency =
            MAX_OF(plan->effects.concurrency(plan->effects.context, model->name), UINT32_C(1));
    }
    if (ran.us > 0) {
        model->mean_us =
            model->mean_us == 0 ? ran.us : model->mean_us + (ran.us - model->mean_us) / 8;
    }
    int64_t window = model->mean_us == 0
                         ? (int64_t)model->concurrency * PLAN_FIRST_WINDOW
                         : model->concurrency * PLAN_WINDOW.us / MAX_OF(model->mean_us, INT64_C(1));
    window = MAX_OF(window, (int64_t)model->concurrency);
    model->limit = (uint32_t)MIN_OF(window, (int64_t)plan->options.running_maximum);
    note_room(plan, model);
}
