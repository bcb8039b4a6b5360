#include "schedule/plan.h"

#include <stdlib.h>

bool plan_entry_new(const struct run *run, struct plan_entry **out_entry, struct error *err) {
    struct timetable timetable;
    if (!timetable_init(&timetable, run, err)) {
        return false;
    }
    struct plan_entry *entry = must_alloc_zeroed(1, sizeof *entry);
    *entry = (struct plan_entry){
        .run_key = run->key,
        .revision = run->revision,
        .timetable = timetable,
        .next_slot = run->enabled ? run->next_run : WALL_TIME_NONE,
        .jitter = {.hash_seed = cron_hash(&run->key, sizeof run->key), .width = run->jitter},
        .catchup_window = run->catchup_window,
        .timeout = run->timeout,
        .retry = run->retry,
        .model_name = must_strdup(run->model_name),
        .model_version = run->model_version,
        .overlap = run->overlap,
        .catchup = run->catchup,
        .enabled = run->enabled,
    };
    heap_handle_init(&entry->due);
    list_init(&entry->active);
    *out_entry = entry;
    return true;
}

void plan_entry_free(struct plan_entry *entry) {
    if (entry == NULL) {
        return;
    }
    ASSERT(list_is_empty(&entry->active) && !heap_contains(&entry->due));
    timetable_fini(&entry->timetable);
    free(entry->model_name);
    free(entry);
}

void plan_entry_set_revision(struct plan_entry *entry, uint64_t revision, bool keeps_next_slot) {
    entry->revision = revision;
    entry->keeps_next_slot = keeps_next_slot;
}
