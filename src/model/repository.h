/* The model repository: a folder laid out as Triton's, <name>/<version>/model.onnx, with an optional
 * <name>/model.json. Versions are numbers; a name that is not, or starts with 0, is ignored. The newest
 * version that loads serves unless a run pins one.
 *
 * A model of another backend than onnx (model/settings.h) has no model.onnx. It has the versions that have a folder, or
 * version 1 where there is none, and its signature is not known here: what it is given is checked where it runs.
 *
 * A thread of its own sleeps on inotify, scans what changed, has new files described (their signature and
 * digest: handed in, because only a worker may open a model) and publishes a new immutable snapshot. So a
 * reader never waits for a scan, and holds its snapshot as long as it likes.
 *
 * A model name is 1 to 128 characters of [A-Za-z0-9._-], not starting with a dot. Other folders are
 * ignored. Symbolic links are followed (the operator is trusted). */
#ifndef ORRERY_MODEL_REPOSITORY_H
#define ORRERY_MODEL_REPOSITORY_H

#include "base/arena.h"
#include "clock/time.h"
#include "model/settings.h"
#include "model/signature.h"
#include "run/run.h"

enum { MODEL_NAME_BYTES_MAXIMUM = 128 };

struct model_version {
    uint32_t version;
    const char *
        path; /* of model.onnx; of another backend: the version's folder, or the model's where it has none */
    bool loads; /* else `reason` says why not */
    const char *reason;
    /* SHA-256 of model.onnx; of another backend: of model.json, and of backend process of the folder's files, too */
    unsigned char digest[MODEL_DIGEST_BYTES];
    bool has_signature; /* else it is empty, and any parameters may fit */
    struct signature signature;
};

struct model {
    const char *name;
    struct model_settings settings;
    const char *reason;             /* why model.json is not usable, else NULL */
    struct model_version *versions; /* newest (greatest) first */
    size_t version_count;
};

/* Counted and immutable; models sorted by name. */
struct model_snapshot {
    struct model *models;
    size_t model_count;
};

/* What is found out about a file. */
struct model_description {
    struct signature signature;
    unsigned char digest[MODEL_DIGEST_BYTES];
    const char *engine; /* the version of what found it out; NULL: not known */
};

/* Describes a file, with the options of its model.json (onnx_options.text, may be NULL); strings and arrays in the given
 * arena. False with the reason in err. Called on the repository's thread, may take long, may be called for several files
 * one after the other. */
struct model_describer {
    bool (*describe)(void *context, const char *model_name, uint32_t version, const char *path,
                     const char *options, struct arena *arena, struct model_description *out,
                     struct error *err);
    void *context;
};

struct model_repository;

bool model_name_is_valid(const char *name);

/* Reads no folder yet. The folder is made if it is missing. */
MUST_CHECK bool model_repository_new(const char *folder, struct model_describer describer,
                                     struct model_repository **out_repository, struct error *err);
/* Starts the thread, which scans at once, and once more for what did not load in the little time that a describer takes
 * until the repository is ready. `changed` (may be NULL) is called on it after each new snapshot. */
MUST_CHECK bool model_repository_start(struct model_repository *repository,
                                       void (*changed)(void *context), void *context,
                                       struct error *err);
/* As it was given. NULL for no repository. Any thread. */
const char *model_repository_folder(const struct model_repository *repository);
void model_repository_free(struct model_repository *repository);

/* True once the first scan is published. */
bool model_repository_is_ready(struct model_repository *repository);

const struct model_snapshot *model_repository_snapshot(struct model_repository *repository);
const struct model_snapshot *model_snapshot_ref(const struct model_snapshot *snapshot);
void model_snapshot_unref(const struct model_snapshot *snapshot);

/* The model, or NULL. */
const struct model *model_snapshot_find(const struct model_snapshot *snapshot, const char *name);

/* Finds the version to use: `version` 0 is the newest that loads. ERROR_UNKNOWN_MODEL (field
 * "model_name" or "model_version", and what there is instead), or ERROR_MODEL_UNAVAILABLE with the reason
 * where it does not load. */
MUST_CHECK bool model_resolve(const struct model_snapshot *snapshot, const char *name,
                              uint32_t version, const struct model **out_model,
                              const struct model_version **out_version, struct error *err);

/* For a name that the snapshot lacks but whose folder is on disk (just dropped in): asks for a scan and
 * waits for it, `limit_ms` at most, and not at all where somebody waits already. Returns the newest snapshot (counted). Any thread. */
const struct model_snapshot *model_repository_refresh(struct model_repository *repository,
                                                      const char *name, uint32_t limit_ms);

#endif
