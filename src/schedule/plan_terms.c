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
    schedule->timetable = timetable;
    struct plan_terms *terms = must_alloc_zeroed(1, sizeof *terms);
    *terms = (struct plan_terms){
        .owner = must_strdup(run->owner),
        .model_name = must_strdup(run->model_name),
        .catchup_window = run->catchup_window,
        .jitter = run->jitter,
        .timeout = run->timeout,
        .retry = run->retry,
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

void plan_entry_set_stored(struct plan_entry *entry, const struct run *run, bool keeps_next_slot) {
    entry->revision = run->revision;
    entry->next_slot = entry->enabled ? run->next_run : WALL_TIME_NONE;
    entry->keeps_next_slot = keeps_next_slot;
}

/* --- each once ---------------------------------------------------------------------------------- */

typedef bool same_function(const struct plan_shared *a, const void *b);

/* A map has the first of those with the same hash; they are a chain. Returns the one that is `same` with one reference
 * more, or NULL. */
static struct plan_shared *shared_find(const struct map *map, int64_t key, same_function *same,
                                       const void *with) {
    struct plan_shared *known = map_get(map, key);
    while (known != NULL && !same(known, with)) {
        known = known->next;
    }
    if (known != NULL) {
        known->references++;
    }
    return known;
}

static void shared_add(struct map *map, int64_t key, struct plan_shared *made) {
    made->key = key;
    made->references = 1;
    made->next = map_get(map, key);
    map_put(map, made);
}

/* One reference less. True: that was the last, and it is in the map no more. */
static bool shared_drop(struct map *map, struct plan_shared *shared) {
    if (--shared->references > 0) {
        return false;
    }
    struct plan_shared *first = map_get(map, shared->key);
    if (first != shared) {
        while (first->next != shared) {
            first = first->next;
        }
        first->next = shared->next;
    } else if (shared->next != NULL) {
        map_put(map, shared->next);
    } else {
        map_remove(map, shared->key);
    }
    return true;
}

static int64_t key_of_hash(uint64_t hash) { return (int64_t)(hash | 1); /* a key is not 0 */ }

static uint64_t mix(uint64_t hash, uint64_t value) {
    return (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
}

/* --- schedules ---------------------------------------------------------------------------------- */

static int64_t schedule_key(const struct timetable *timetable) {
    uint64_t hash = cron_hash(&timetable->cron, sizeof timetable->cron);
    hash = mix(hash, (uint64_t)(uintptr_t)timetable->zone);
    hash = mix(hash, (uint64_t)timetable->start_at.us);
    return key_of_hash(mix(hash, (uint64_t)timetable->end_at.us));
}

static bool same_schedule(const struct plan_shared *shared, const void *with) {
    const struct timetable *a = &CONTAINER_OF(shared, struct plan_schedule, shared)->timetable;
    const struct timetable *b = with;
    return cron_equal(&a->cron, &b->cron) && a->zone == b->zone &&
           a->start_at.us == b->start_at.us && a->end_at.us == b->end_at.us;
}

/* The plan's own schedule that is as the new one, which is taken over. */
static struct plan_schedule *intern_schedule(struct plan *plan, struct plan_schedule *made) {
    int64_t key = schedule_key(&made->timetable);
    struct plan_shared *known = shared_find(&plan->schedules, key, same_schedule, &made->timetable);
    if (known != NULL) {
        free_schedule(made);
        return CONTAINER_OF(known, struct plan_schedule, shared);
    }
    shared_add(&plan->schedules, key, &made->shared);
    return made;
}

void schedule_unref(struct plan *plan, struct plan_schedule *schedule) {
    if (shared_drop(&plan->schedules, &schedule->shared)) {
        free_schedule(schedule);
    }
}

struct plan_schedule *schedule_in_zone(struct plan *plan, const struct plan_schedule *schedule,
                                       const struct zone *zone) {
    struct plan_schedule *made = must_alloc_zeroed(1, sizeof *made);
    made->timetable = schedule->timetable;
    made->timetable.zone = zone;
    return intern_schedule(plan, made);
}

/* --- groups ------------------------------------------------------------------------------------- */

static struct map *groups_of(struct plan *plan, enum plan_place place) {
    return place == PLACE_ROOM_OF_MODEL ? &plan->models : &plan->owners;
}

static bool has_name(const struct plan_shared *shared, const void *name) {
    return strcmp(CONTAINER_OF(shared, struct plan_group, shared)->name, name) == 0;
}

static struct plan_group *group_get(struct plan *plan, enum plan_place place, const char *name) {
    struct map *groups = groups_of(plan, place);
    int64_t key = key_of_hash(cron_hash(name, strlen(name)));
    struct plan_shared *known = shared_find(groups, key, has_name, name);
    if (known != NULL) {
        return CONTAINER_OF(known, struct plan_group, shared);
    }
    struct plan_group *group = must_alloc_zeroed(1, sizeof *group);
    uint32_t limit = plan->options.running_per_owner_maximum;
    limit = place == PLACE_ROOM_OF_MODEL || limit == 0 ? plan->options.running_maximum : limit;
    group_init(group, place, limit);
    group->name = must_strdup(name);
    shared_add(groups, key, &group->shared);
    if (place == PLACE_ROOM_OF_MODEL) {
        room_learn(plan, group, (struct duration){0});
    }
    return group;
}

static void group_unref(struct plan *plan, struct plan_group *group) {
    if (shared_drop(groups_of(plan, group->place), &group->shared)) {
        group_fini(group);
        free(group);
    }
}

/* --- terms -------------------------------------------------------------------------------------- */

/* Of what differs most; the policies have few values, so that those that differ in them alone form short chains. */
static int64_t terms_key(const struct plan_terms *terms) {
    uint64_t hash = cron_hash(terms->owner, strlen(terms->owner));
    hash = mix(hash, cron_hash(terms->model_name, strlen(terms->model_name)));
    hash = mix(hash, (uint64_t)terms->timeout.us);
    hash = mix(hash, (uint64_t)terms->jitter.us);
    hash = mix(hash, (uint64_t)terms->catchup_window.us);
    hash = mix(hash, (uint64_t)terms->retry.backoff.us);
    hash = mix(hash, (uint64_t)terms->retry.max_backoff.us);
    return key_of_hash(mix(hash, terms->model_version));
}

static bool same_retry(const struct retry_policy *a, const struct retry_policy *b) {
    return a->max_attempts == b->max_attempts && a->backoff.us == b->backoff.us &&
           a->max_backoff.us == b->max_backoff.us && a->non_retryable == b->non_retryable;
}

static bool same_terms(const struct plan_shared *shared, const void *with) {
    const struct plan_terms *a = CONTAINER_OF(shared, struct plan_terms, shared);
    const struct plan_terms *b = with;
    return a->overlap == b->overlap && a->catchup == b->catchup && a->priority == b->priority &&
           same_retry(&a->retry, &b->retry) && a->model_version == b->model_version &&
           a->timeout.us == b->timeout.us && a->jitter.us == b->jitter.us &&
           a->catchup_window.us == b->catchup_window.us && strcmp(a->owner, b->owner) == 0 &&
           strcmp(a->model_name, b->model_name) == 0;
}

static struct plan_terms *intern_terms(struct plan *plan, struct plan_terms *made) {
    int64_t key = terms_key(made);
    struct plan_shared *known = shared_find(&plan->terms, key, same_terms, made);
    if (known != NULL) {
        free_terms(made);
        return CONTAINER_OF(known, struct plan_terms, shared);
    }
    made->owner_group = group_get(plan, PLACE_ROOM_OF_OWNER, made->owner);
    made->model_group = group_get(plan, PLACE_ROOM_OF_MODEL, made->model_name);
    shared_add(&plan->terms, key, &made->shared);
    return made;
}

void terms_unref(struct plan *plan, struct plan_terms *terms) {
    if (shared_drop(&plan->terms, &terms->shared)) {
        group_unref(plan, terms->owner_group);
        group_unref(plan, terms->model_group);
        free_terms(terms);
    }
}

struct plan_terms *terms_pinned(struct plan *plan, const struct plan_terms *terms,
                                const char *model_name, uint32_t model_version,
                                struct duration timeout) {
    struct plan_terms *pinned = must_alloc(sizeof *pinned);
    *pinned = *terms;
    pinned->owner = must_strdup(terms->owner);
    pinned->model_name = must_strdup(model_name);
    pinned->model_version = model_version;
    pinned->timeout = timeout.us > 0 ? timeout : terms->timeout;
    return intern_terms(plan, pinned);
}

/* --- entries ------------------------------------------------------------------------------------ */

void terms_adopt(struct plan *plan, struct plan_entry *entry) {
    entry->schedule = intern_schedule(plan, entry->schedule);
    entry->terms = intern_terms(plan, entry->terms);
}

void entry_free(struct plan *plan, struct plan_entry *entry) {
    ASSERT(entry->oldest == NULL && entry->place == PLACE_NONE);
    schedule_unref(plan, entry->schedule);
    terms_unref(plan, entry->terms);
    free(entry);
}
