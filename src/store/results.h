/* For neighbours in store/: results that are too large for the store's tables. Each is a file of its own in a folder
 * beside the store, <store>-results/, named by its execution: written and flushed before the record that refers to
 * it, never changed, and removed after the record that did.
 *
 * So a crash can leave files to which nothing refers, but no reference without its file. What is left over goes when
 * the daemon opens the store. Errors are ERROR_STORE. */
#ifndef ORRERY_STORE_RESULTS_H
#define ORRERY_STORE_RESULTS_H

#include "base/error.h"

/* "<path>-results"; the caller frees it. */
char *results_folder(const char *path);

/* Writes the file, in a folder that is made if it is missing; when it returns true it is on disk. */
MUST_CHECK bool results_write(const char *folder, int64_t execution_key, const char *bytes,
                              size_t size_bytes, struct error *err);

/* Opens it for reading; the caller closes it. ERROR_NOT_FOUND where it is not there. */
MUST_CHECK bool results_open(const char *folder, int64_t execution_key, int *out_file,
                             uint64_t *out_size_bytes, struct error *err);

/* Removes it if it is there. */
void results_remove(const char *folder, int64_t execution_key);

/* Removes what is not wanted, and what a crash left half written. */
MUST_CHECK bool results_sweep(const char *folder,
                              bool (*is_wanted)(void *context, int64_t execution_key),
                              void *context, struct error *err);

/* Makes the folder `to`, if `from` is there, and gives it the files of `from` that it lacks: links, since they never
 * change, or copies where the file system is another. They are on disk when it returns true. */
MUST_CHECK bool results_copy(const char *from, const char *to, struct error *err);

/* Removes the folder with its files. */
void results_remove_folder(const char *folder);

#endif
