/* For neighbours in worker/: the real paths under which the models folder's files lie: the folder itself, and where its
 * symbolic links lead. A worker may read there and nowhere else (sandbox.h); a link that is made later leads to where
 * only the next worker may read. One thread. */
#ifndef ORRERY_WORKER_MODEL_PATHS_H
#define ORRERY_WORKER_MODEL_PATHS_H

#include "base/base.h"

struct model_paths {
    char **paths;
    size_t count;
};

/* `folder` NULL: none. */
void model_paths_find(struct model_paths *paths, const char *folder);
void model_paths_add(struct model_paths *paths, const char *path);
void model_paths_fini(struct model_paths *paths);

/* Whether the file lies under one of them. False also where it is not there. */
bool model_paths_cover(const struct model_paths *paths, const char *file);

#endif
