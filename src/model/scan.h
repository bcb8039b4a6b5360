/* A model's folder, read: an entry of the repository. For repository.c and snapshot.c.
 *
 * An entry is immutable and counted; it is shared by all snapshots in which the model is the same. */
#ifndef ORRERY_MODEL_SCAN_H
#define ORRERY_MODEL_SCAN_H

#include "model/repository.h"

#include <stdatomic.h>
#include <time.h>

/* Two equal stamps: the file was not written in between. */
struct file_stamp {
    uint64_t device;
    uint64_t inode; /* 0: no such file */
    int64_t size_bytes;
    struct timespec modified;
};

struct model_entry {
    _Atomic uint32_t references;
    struct arena arena;
    struct model model;
    struct file_stamp settings_stamp;
    struct file_stamp *version_stamps; /* one a version */
};

/* How the scan asks for a folder to be watched. It is called before the folder is read, so no change is missed. */
struct folder_watcher {
    void (*watch)(void *context, const char *path);
    void *context;
};

/* Reads <folder>/<name>. `before` (may be NULL) is the entry from the last scan: files that did not change
 * are not described again, and if nothing changed a new reference to it is returned. NULL if there is no such
 * folder or it has neither versions nor a model.json. */
struct model_entry *model_scan(const char *folder, const char *name, struct model_entry *before,
                               const struct model_describer *describer,
                               const struct folder_watcher *watcher);

struct model_entry *model_entry_ref(struct model_entry *entry);
void model_entry_unref(struct model_entry *entry);

/* A snapshot of these entries, sorted by name; takes a reference to each. */
const struct model_snapshot *model_snapshot_new(struct model_entry *const *entries, size_t count);

#endif
