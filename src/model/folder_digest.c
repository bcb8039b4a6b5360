#include "model/folder_digest.h"

#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 65536 };

static bool is_left_out(const char *name) {
    return name[0] == '.' || strcmp(name, "__pycache__") == 0;
}

static void list(const char *folder, const char *within, unsigned depth, struct arena *arena,
                 struct folder_files *files) {
    DIR *directory =
        opendir(*within == '\0' ? folder : arena_printf(arena, "%s/%s", folder, within));
    struct dirent *item;
    while (directory != NULL && files->count < FOLDER_FILES_MAXIMUM &&
           (item = readdir(directory)) != NULL) { // NOLINT(concurrency-mt-unsafe)
        struct stat status;
        if (is_left_out(item->d_name)) {
            continue;
        }
        const char *path = *within == '\0' ? arena_strdup(arena, item->d_name)
                                           : arena_printf(arena, "%s/%s", within, item->d_name);
        if (stat(arena_printf(arena, "%s/%s", folder, path), &status) != 0) {
            continue;
        }
        if (S_ISREG(status.st_mode)) {
            files->paths[files->count++] = path;
        } else if (S_ISDIR(status.st_mode) && depth + 1 < FOLDER_DEPTH_MAXIMUM) {
            list(folder, path, depth + 1, arena, files);
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
}

static int by_path(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void folder_files_list(const char *folder, struct arena *arena, struct folder_files *out_files) {
    out_files->paths = arena_alloc(arena, FOLDER_FILES_MAXIMUM * sizeof *out_files->paths);
    out_files->count = 0;
    list(folder, "", 0, arena, out_files);
    qsort(out_files->paths, out_files->count, sizeof *out_files->paths, by_path);
}

uint64_t folder_files_stamp(const char *folder, const struct folder_files *files) {
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, crypto_generichash_BYTES);
    struct arena arena CLEANUP(arena_fini) = {0};
    for (size_t i = 0; i < files->count; i++) {
        struct stat status = {0};
        const char *path = arena_printf(&arena, "%s/%s", folder, files->paths[i]);
        int64_t facts[5] = {-1};
        if (stat(path, &status) == 0) {
            facts[0] = (int64_t)status.st_dev;
            facts[1] = (int64_t)status.st_ino;
            facts[2] = status.st_size;
            facts[3] = status.st_mtim.tv_sec;
            facts[4] = status.st_mtim.tv_nsec;
        }
        crypto_generichash_update(&state, (const unsigned char *)files->paths[i],
                                  strlen(files->paths[i]) + 1);
        crypto_generichash_update(&state, (const unsigned char *)facts, sizeof facts);
    }
    unsigned char hash[crypto_generichash_BYTES];
    crypto_generichash_final(&state, hash, sizeof hash);
    uint64_t stamp;
    memcpy(&stamp, hash, sizeof stamp);
    return stamp;
}

static void digest_file(crypto_hash_sha256_state *state, const char *path) {
    unsigned char bytes[READ_BYTES];
    uint64_t size_bytes = 0;
    ssize_t got = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd >= 0 && (got = read(fd, bytes, sizeof bytes)) > 0) {
        crypto_hash_sha256_update(state, bytes, (uint64_t)got);
        size_bytes += (uint64_t)got;
    }
    if (fd >= 0) {
        close(fd);
    }
    /* Behind the contents, so that it is the size of what was read. */
    crypto_hash_sha256_update(state, (const unsigned char *)&size_bytes, sizeof size_bytes);
}

void folder_files_digest(const char *folder, const struct folder_files *files,
                         const unsigned char start[static MODEL_DIGEST_BYTES],
                         unsigned char out_digest[static MODEL_DIGEST_BYTES]) {
    struct arena arena CLEANUP(arena_fini) = {0};
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, start, MODEL_DIGEST_BYTES);
    for (size_t i = 0; i < files->count; i++) {
        crypto_hash_sha256_update(&state, (const unsigned char *)files->paths[i],
                                  strlen(files->paths[i]) + 1);
        digest_file(&state, arena_printf(&arena, "%s/%s", folder, files->paths[i]));
    }
    crypto_hash_sha256_final(&state, out_digest);
}
