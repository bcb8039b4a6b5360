/* For neighbours in model/: what a folder's files are, for models that are a folder and not a file. Names that begin
 * with a dot and __pycache__ are left out. Symbolic links to files are read. Any thread. */
#ifndef ORRERY_MODEL_FOLDER_DIGEST_H
#define ORRERY_MODEL_FOLDER_DIGEST_H

#include "base/arena.h"
#include "run/run.h"

struct folder_files {
    const char **paths; /* within the folder, sorted by strcmp */
    size_t count;
};

enum { FOLDER_FILES_MAXIMUM = 10000, FOLDER_DEPTH_MAXIMUM = 8 };

/* What lies beyond the two bounds is left out. */
void folder_files_list(const char *folder, struct arena *arena, struct folder_files *out_files);

/* Of names, sizes and times: where it is the same as before, so are the files. */
uint64_t folder_files_stamp(const char *folder, const struct folder_files *files);

/* SHA-256 over `start` and each file's name, size and contents. */
void folder_files_digest(const char *folder, const struct folder_files *files,
                         const unsigned char start[static MODEL_DIGEST_BYTES],
                         unsigned char out_digest[static MODEL_DIGEST_BYTES]);

#endif
