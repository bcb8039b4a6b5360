/* Snapshots: what readers of the repository see. */
#include "model/scan.h"

#include <stdlib.h>
#include <string.h>

struct counted_snapshot {
    struct model_snapshot snapshot;
    _Atomic uint32_t references;
    struct model_entry **entries;
};

/* The count is all that ever changes of a snapshot that others hold as const. */
static struct counted_snapshot *counted(const struct model_snapshot *snapshot) {
    return (struct counted_snapshot *)((uintptr_t)snapshot -
                                       offsetof(struct counted_snapshot, snapshot));
}

const struct model_snapshot *model_snapshot_new(struct model_entry *const *entries, size_t count) {
    struct counted_snapshot *made = must_alloc_zeroed(1, sizeof *made);
    atomic_init(&made->references, 1);
    made->entries = must_alloc_zeroed(count, sizeof(struct model_entry *));
    made->snapshot.models = must_alloc_zeroed(count, sizeof(struct model));
    made->snapshot.model_count = count;
    for (size_t i = 0; i < count; i++) {
        made->entries[i] = model_entry_ref(entries[i]);
        made->snapshot.models[i] = entries[i]->model;
    }
    return &made->snapshot;
}

const struct model_snapshot *model_snapshot_ref(const struct model_snapshot *snapshot) {
    if (snapshot != NULL) {
        atomic_fetch_add_explicit(&counted(snapshot)->references, 1, memory_order_relaxed);
    }
    return snapshot;
}

void model_snapshot_unref(const struct model_snapshot *snapshot) {
    if (snapshot == NULL || atomic_fetch_sub(&counted(snapshot)->references, 1) > 1) {
        return;
    }
    struct counted_snapshot *last = counted(snapshot);
    for (size_t i = 0; i < last->snapshot.model_count; i++) {
        model_entry_unref(last->entries[i]);
    }
    free(last->entries);
    free(last->snapshot.models);
    free(last);
}

static int compare_name(const void *name, const void *model) {
    return strcmp(name, ((const struct model *)model)->name);
}

const struct model *model_snapshot_find(const struct model_snapshot *snapshot, const char *name) {
    if (snapshot->model_count == 0) {
        return NULL;
    }
    return bsearch(name, snapshot->models, snapshot->model_count, sizeof *snapshot->models,
                   compare_name);
}

/* "there are versions 3, 2, 1" */
static bool refuse_version(const struct model *model, uint32_t version, struct error *err) {
    char list[160] = "";
    size_t used = 0;
    for (size_t i = 0; i < model->version_count && used < sizeof list - 24; i++) {
        int length = snprintf(list + used, sizeof list - used, "%s%u", i == 0 ? "" : ", ",
                              model->versions[i].version);
        used += (size_t)length;
    }
    return error_set_field(err, ERROR_UNKNOWN_MODEL, "model_version",
                           "model '%s' has no version %u; it has %s", model->name, version,
                           model->version_count == 0 ? "none" : list);
}

static bool unavailable(const struct model *model, const struct model_version *version,
                        struct error *err) {
    return error_set_field(err, ERROR_MODEL_UNAVAILABLE, "model_name",
                           "model '%s' version %u does not load: %s", model->name, version->version,
                           version->reason);
}

static bool resolve_newest(const struct model *model, const struct model_version **out_version,
                           struct error *err) {
    for (size_t i = 0; i < model->version_count; i++) {
        if (model->versions[i].loads) {
            *out_version = &model->versions[i];
            return true;
        }
    }
    if (model->version_count > 0) {
        return unavailable(model, &model->versions[0], err);
    }
    return error_set_field(err, ERROR_MODEL_UNAVAILABLE, "model_name", "model '%s' has no version",
                           model->name);
}

static bool resolve_pinned(const struct model *model, uint32_t version,
                           const struct model_version **out_version, struct error *err) {
    for (size_t i = 0; i < model->version_count; i++) {
        if (model->versions[i].version == version) {
            if (!model->versions[i].loads) {
                return unavailable(model, &model->versions[i], err);
            }
            *out_version = &model->versions[i];
            return true;
        }
    }
    return refuse_version(model, version, err);
}

bool model_resolve(const struct model_snapshot *snapshot, const char *name, uint32_t version,
                   const struct model **out_model, const struct model_version **out_version,
                   struct error *err) {
    const struct model *model = model_snapshot_find(snapshot, name);
    if (model == NULL) {
        return error_set_field(
            err, ERROR_UNKNOWN_MODEL, "model_name",
            "there is no model '%.128s'; GET /api/models lists the %zu that there are", name,
            snapshot->model_count);
    }
    if (model->reason != NULL) {
        return error_set_field(err, ERROR_MODEL_UNAVAILABLE, "model_name",
                               "model '%s' cannot be used: %s", model->name, model->reason);
    }
    const struct model_version *found = NULL;
    if (version == 0 ? !resolve_newest(model, &found, err)
                     : !resolve_pinned(model, version, &found, err)) {
        return false;
    }
    *out_model = model;
    *out_version = found;
    return true;
}
