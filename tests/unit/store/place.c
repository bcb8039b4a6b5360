#include "place.h"

#include "base/base.h"
#include "store/results.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *place_make(void) {
    const char *parent = getenv("TMPDIR"); // NOLINT(concurrency-mt-unsafe)
    char folder[200];
    snprintf(folder, sizeof folder, "%s/orrery-test-XXXXXX", parent == NULL ? "/tmp" : parent);
    char *made = mkdtemp(folder);
    ASSERT(made != NULL);
    char *location = must_alloc(sizeof folder + 16);
    snprintf(location, sizeof folder + 16, "%s/store.db", folder);
    return location;
}

void place_discard(const char *location) {
    char *folder = must_strdup(location);
    *strrchr(folder, '/') = '\0';
    DIR *directory = opendir(folder);
    ASSERT(directory != NULL);
    for (struct dirent *entry;
         (entry = readdir(directory)) != NULL;) { // NOLINT(concurrency-mt-unsafe)
        if (entry->d_name[0] != '.') {
            int failed = unlinkat(dirfd(directory), entry->d_name, 0);
            if (failed != 0) { /* a folder of results */
                char path[512];
                snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
                results_remove_folder(path);
                failed = access(path, F_OK) == 0;
            }
            ASSERT(failed == 0);
        }
    }
    closedir(directory);
    rmdir(folder);
    free(folder);
    free((char *)location);
}
