#include "worker/model_paths.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATHS_MAXIMUM = 10000, FOLDER_DEPTH = 3 /* the folder, a model's, a version's */ };

static bool lies_under(const char *path, const char *folder) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool covers(const struct model_paths *paths, const char *real_path) {
    for (size_t i = 0; i < paths->count; i++) {
        if (lies_under(real_path, paths->paths[i])) {
            return true;
        }
    }
    return false;
}

void model_paths_add(struct model_paths *paths, const char *path) {
    char real_path[PATH_MAX];
    if (paths->count >= PATHS_MAXIMUM || realpath(path, real_path) == NULL ||
        covers(paths, real_path)) {
        return;
    }
    paths->paths = must_realloc(paths->paths, (paths->count + 1) * sizeof *paths->paths);
    paths->paths[paths->count++] = must_strdup(real_path);
}

/* `folder` has room for PATH_MAX bytes and ends as it was. */
static void follow_links(struct model_paths *paths, char *folder, unsigned depth) {
    DIR *directory = opendir(folder);
    size_t length = strlen(folder);
    struct dirent *item;
    while (directory != NULL &&
           (item = readdir(directory)) != NULL) { // NOLINT(concurrency-mt-unsafe)
        int needed = snprintf(folder + length, PATH_MAX - length, "/%s", item->d_name);
        bool fits = needed > 0 && (size_t)needed < PATH_MAX - length;
        bool may_be_folder = item->d_type == DT_DIR || item->d_type == DT_LNK ||
                             item->d_type == DT_UNKNOWN; /* as some file systems say of all */
        if (fits && item->d_name[0] != '.') {
            if (item->d_type == DT_LNK || item->d_type == DT_UNKNOWN) {
                model_paths_add(paths, folder);
            }
            if (may_be_folder && depth + 1 < FOLDER_DEPTH) {
                follow_links(paths, folder, depth + 1);
            }
        }
        folder[length] = '\0';
    }
    if (directory != NULL) {
        closedir(directory);
    }
}

void model_paths_find(struct model_paths *paths, const char *folder) {
    *paths = (struct model_paths){0};
    char path[PATH_MAX];
    if (folder != NULL && realpath(folder, path) != NULL) {
        model_paths_add(paths, path);
        follow_links(paths, path, 0);
    }
}

void model_paths_fini(struct model_paths *paths) {
    for (size_t i = 0; i < paths->count; i++) {
        free(paths->paths[i]);
    }
    free(paths->paths);
    *paths = (struct model_paths){0};
}

bool model_paths_cover(const struct model_paths *paths, const char *file) {
    char real_path[PATH_MAX];
    return realpath(file, real_path) != NULL && covers(paths, real_path);
}
