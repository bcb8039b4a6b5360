#include "schedule/plan_parts.h"

#include "clock/zone.h"

#include <string.h>

/* --- made by any thread ------------------------------------------------------------------------- */

bool plan_entry_new(const struct run *run, struct plan_entry **out_entry, struct error *err) {
    struct timetable timetable;
    if (!timetable_init(&timetable, run, err)) {
        return false;
    }
    struct plan_schedule *schedule = must_alloc_zeroed(1, sizeof *schedule);
    schedule->references = 1;
    schedule->timetable = timetable;
    struct plan_terms *terms = must_alloc_zeroed(1, sizeof *terms);
    *terms = (struct plan_terms){
        .references = 1,
        .owner = must_strdup(run->owner),
        .model_name = must_strdup(run->model_name),
        .catchup_window = run->catchup_window,
        .jitter = run->jitter,
        .timeout = run->timeout,
        .retry = run->retry,
        .resumed_at = run->resumed_at,
        .model_version = run->model_version,
        .overlap = run->overlap,
        .catchup = run->catchup,
        .priority = run->priority,
    };
    struct plan_entry *entry = must_alloc_zeroed(1, sizeof *entry);
    bool enabled = run->enabled && wall_time_is_none(run->paused_at);
    *entry = (struct plan_entry){
        .run_key = run->key,
        .revision = run->revision,
        .next_slot = enabled ? run->next_run : WALL_TIME_NONE,
        .schedule = schedule,
        .terms = terms,
        .enabled = enabled,
    };
    heap_handle_init(&entry->due);
    *out_entry = entry;
    return true;
}

static void free_schedule(struct plan_schedule *schedule) {
    timetable_fini(&schedule->timetable);
    free(schedule);
}

static void free_terms(struct plan_terms *terms) {
    free(terms->owner);
    free(terms->model_name);
    free(terms);
}

void plan_entry_free(struct plan_entry *entry) {
    if (entry == NULL) {
        return;
    }
    free_schedule(entry->schedule);
    free_terms(entry->terms);
    free(entry);
}

void plan_entry_set_revision(struct plan_entry *entry, uint64_t revision, bool keeps_next_slot) {
    entry->revision = revision;
    entry->keeps_next_slot = keeps_next_slot;
}

/* --- each once ---------------------------------------------------------------------------------- */

/* A key for a map. Things of the same hash form a chain, whose first one is the map's. */
static int64_t key_of_hash(uint64_t hash) {
    int64_t key = (int64_t)(hash & INT64_MAX);
    return key == 0 ? 1 : key;
}

static uint64_t mix(uint64_t hash, uint64_t value) {
    return (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
}

static int64_t schedule_key(const struct timetable *timetable) {
    uint64_t hash = cron_hash(&timetable->cron, sizeof timetable->cron);
    hash = mix(hash, (uint64_t)(uintptr_t)timetable->zone);
    hash = mix(hash, (uint64_t)timetable->start_at.us);
    return key_of_hash(mix(hash, (uint64_t)timetable->end_at.us));
}

static bool same_timetable(const struct timetable *a, const struct timetable *b) {
    return cron_equal(&a->cron, &b->cron) && a->zone == b->zone &&
           a->start_at.us == b->start_at.us && a->end_at.us == b->end_at.us;
}

static int64_t terms_key(const struct plan_terms *terms) {
    uint64_t hash = cron_hash(terms->owner, strlen(terms->owner));
    hash = mix(hash, cron_hash(terms->model_name, strlen(terms->model_name)));
    hash = mix(hash, (uint64_t)terms->timeout.us);
    hash = mix(hash, (uint64_t)terms->resumed_at.us);
    hash = mix(hash, (uint64_t)terms->jitter.us);
    hash = mix(hash, (uint64_t)terms->catchup_window.us);
    hash = mix(hash, (uint64_t)terms->retry.backoff.us);
    hash = mix(hash, terms->model_version);
    return key_of_hash(mix(hash, terms->priority));
}

static bool same_terms(const struct plan_terms *a, const struct plan_terms *b) {
    return strcmp(a->owner, b->owner) == 0 && strcmp(a->model_name, b->model_name) == 0 &&
           a->catchup_window.us == b->catchup_window.us && a->jitter.us == b->jitter.us &&
           a->timeout.us == b->timeout.us && a->retry.max_attempts == b->retry.max_attempts &&
           a->retry.backoff.us == b->retry.backoff.us &&
           a->retry.max_backoff.us == b->retry.max_backoff.us &&
           a->retry.non_retryable == b->retry.non_retryable &&
           a->resumed_at.us == b->resumed_at.us && a->model_version == b->model_version &&
           a->overlap == b->overlap && a->catchup == b->catchup && a->priority == b->priority;
}

/* The plan's own schedule that is as the new one, which is taken over. */
static struct plan_schedule *intern_schedule(struct plan *plan, struct plan_schedule *made) {
    made->key = schedule_key(&made->timetable);
    struct plan_schedule *first = map_get(&plan->schedules, made->key);
    for (struct plan_schedule *known = first; known != NULL; known = known->next) {
        if (same_timetable(&known->timetable, &made->timetable)) {
            free_schedule(made);
            return schedule_ref(known);
        }
    }
    made->next = first;
    map_put(&plan->schedules, made);
    return made;
}

void schedule_unref(struct plan *plan, struct plan_schedule *schedule) {
    if (--schedule->references > 0) {
        return;
    }
    struct plan_schedule *first = map_get(&plan->schedules, schedule->key);
    if (first != schedule) {
        while (first->next != schedule) {
            first = first->next;
        }
        first->next = schedule->next;
    } else if (schedule->next != NULL) {
        map_put(&plan->schedules, schedule->next);
    } else {
        map_remove(&plan->schedules, schedule->key);
    }
    free_schedule(schedule);
}

static struct map *groups_of(struct plan *plan, enum plan_place place) {
    return place == PLACE_ROOM_OF_MODEL ? &plan->models : &plan->owners;
}

static struct plan_group *group_get(struct plan *plan, enum plan_place place, const char *name) {
    struct map *groups = groups_of(plan, place);
    int64_t key = key_of_hash(cron_hash(name, strlen(name)));
    struct plan_group *first = map_get(groups, key);
    for (struct plan_group *group = first; group != NULL; group = group->next) {
        if (strcmp(group->name, name) == 0) {
            group->references++;
            return group;
        }
    }
    struct plan_group *group = must_alloc_zeroed(1, sizeof *group);
    uint32_t limit = plan->options.running_per_owner_maximum;
    limit = place == PLACE_ROOM_OF_MODEL || limit == 0 ? plan->options.running_maximum : limit;
    group_init(group, place, limit);
    group->key = key;
    group->name = must_strdup(name);
    group->references = 1;
    group->next = first;
    map_put(groups, group);
    if (place == PLACE_ROOM_OF_MODEL) {
        room_learn(plan, group, (struct duration){0});
    }
    return group;
}

static void group_unref(struct plan *plan, struct plan_group *group) {
    if (--group->references > 0) {
        return;
    }
    struct map *groups = groups_of(plan, group->place);
    struct plan_group *first = map_get(groups, group->key);
    if (first != group) {
        while (first->next != group) {
            first = first->next;
        }
        first->next = group->next;
    } else if (group->next != NULL) {
        map_put(groups, group->next);
    } else {
        map_remove(groups, group->key);
    }
    group_fini(group);
    free(group);
}

static struct plan_terms *intern_terms(struct plan *plan, struct plan_terms *made) {
    made->key = terms_key(made);
    struct plan_terms *first = map_get(&plan->terms, made->key);
    for (struct plan_terms *known = first; known != NULL; known = known->next) {
        if (same_terms(known, made)) {
            free_terms(made);
            return terms_ref(known);
        }
    }
    made->owner_group = group_get(plan, PLACE_ROOM_OF_OWNER, made->owner);
    made->model_group = group_get(plan, PLACE_ROOM_OF_MODEL, made->model_name);
    made->next = first;
    map_put(&plan->terms, made);
    return made;
}

void terms_unref(struct plan *plan, struct plan_terms *terms) {
    if (--terms->references > 0) {
        return;
    }
    struct plan_terms *first = map_get(&plan->terms, terms->key);
    if (first != terms) {
        while (first->next != terms) {
            first = first->next;
        }
        first->next = terms->next;
    } else if (terms->next != NULL) {
        map_put(&plan->terms, terms->next);
    } else {
        map_remove(&plan->terms, terms->key);
    }
    group_unref(plan, terms->owner_group);
    group_unref(plan, terms->model_group);
    free_terms(terms);
}

void terms_adopt(struct plan *plan, struct plan_entry *entry) {
    entry->schedule = intern_schedule(plan, entry->schedule);
    entry->terms = intern_terms(plan, entry->terms);
}

struct plan_terms *terms_pinned(struct plan *plan, const struct plan_terms *terms,
                                const char *model_name, uint32_t model_version,
                                struct duration timeout) {
    struct plan_terms *pinned = must_alloc(sizeof *pinned);
    *pinned = *terms;
    pinned->references = 1;
    pinned->owner = must_strdup(terms->owner);
    pinned->model_name = must_strdup(model_name);
    pinned->model_version = model_version;
    pinned->timeout = timeout.us > 0 ? timeout : terms->timeout;
    return intern_terms(plan, pinned);
}

struct plan_schedule *schedule_in_zone(struct plan *plan, const struct plan_schedule *schedule,
                                       const struct zone *zone) {
    struct plan_schedule *made = must_alloc_zeroed(1, sizeof *made);
    made->references = 1;
    made->timetable = schedule->timetable;
    made->timetable.zone = zone;
    return intern_schedule(plan, made);
}

void entry_free(struct plan *plan, struct plan_entry *entry) {
    ASSERT(entry->oldest == NULL && entry->place == PLACE_NONE);
    schedule_unref(plan, entry->schedule);
    terms_unref(plan, entry->terms);
    free(entry);
}
