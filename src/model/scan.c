#include "model/scan.h"

#include "model/settings_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSIONS_MAXIMUM = 10000 };

struct model_entry *model_entry_ref(struct model_entry *entry) {
    atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
    return entry;
}

void model_entry_unref(struct model_entry *entry) {
    if (entry != NULL && atomic_fetch_sub(&entry->references, 1) == 1) {
        struct arena arena = entry->arena;
        free(entry);
        arena_fini(&arena);
    }
}

/* --- files ------------------------------------------------------------------------------------- */

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
}

static struct file_stamp stamp_of(const char *path) {
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) {
        return (struct file_stamp){0};
    }
    return (struct file_stamp){.device = status.st_dev,
                               .inode = status.st_ino,
                               .size_bytes = status.st_size,
                               .modified = status.st_mtim};
}

static bool stamps_equal(const struct file_stamp *a, const struct file_stamp *b) {
    return a->inode == b->inode && a->device == b->device && a->size_bytes == b->size_bytes &&
           a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec;
}

/* Whether some process has the file open for writing: then a read lease is refused (fcntl(2)), and IN_CLOSE_WRITE
 * is still to come. Where leases cannot be had, nobody is taken for a writer. A process that opens the file just now
 * for writing is held up for these microseconds, and the kernel signals us: SIGURG, which is ignored by default,
 * instead of SIGIO, which kills. */
static bool is_being_written(const char *path) {
    int fd CLEANUP(close_fd) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fcntl(fd, F_SETSIG, SIGURG) != 0) {
        return false;
    }
    if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0) {
        return errno == EAGAIN;
    }
    fcntl(fd, F_SETLEASE, F_UNLCK);
    return false;
}

/* --- versions ---------------------------------------------------------------------------------- */

/* Digits, the first not 0, at most UINT32_MAX; else 0. */
static uint32_t version_number(const char *name) {
    uint64_t number = 0;
    if (name[0] == '0' || strlen(name) > 10) {
        return 0;
    }
    for (const char *at = name; *at != '\0'; at++) {
        if (*at < '0' || *at > '9') {
            return 0;
        }
        number = number * 10 + (uint64_t)(*at - '0');
    }
    return number > UINT32_MAX ? 0 : (uint32_t)number;
}

static int newest_first(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left < right) - (left > right);
}

static bool is_folder(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* The numbers of the version folders, newest first, in the arena. False if the model's folder cannot be read. */
static bool list_versions(const char *path, struct arena *arena, uint32_t **out_numbers,
                          size_t *out_count) {
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return false;
    }
    uint32_t *numbers = arena_alloc(arena, VERSIONS_MAXIMUM * sizeof *numbers);
    size_t count = 0;
    struct dirent *item;
    while (count < VERSIONS_MAXIMUM &&
           (item = readdir(directory)) != NULL) { // NOLINT(concurrency-mt-unsafe)
        uint32_t number = version_number(item->d_name);
        if (number > 0 && is_folder(arena_printf(arena, "%s/%s", path, item->d_name))) {
            numbers[count++] = number;
        }
    }
    closedir(directory);
    qsort(numbers, count, sizeof *numbers, newest_first);
    *out_numbers = numbers;
    *out_count = count;
    return true;
}

static const struct model_version *find_version(const struct model_entry *entry, uint32_t number,
                                                const struct file_stamp **out_stamp) {
    for (size_t i = 0; entry != NULL && i < entry->model.version_count; i++) {
        if (entry->model.versions[i].version == number) {
            *out_stamp = &entry->version_stamps[i];
            return &entry->model.versions[i];
        }
    }
    return NULL;
}

static void copy_version(const struct model_version *from, struct arena *arena,
                         struct model_version *out) {
    out->loads = from->loads;
    out->reason = from->reason == NULL ? NULL : arena_strdup(arena, from->reason);
    memcpy(out->digest, from->digest, sizeof out->digest);
    signature_copy(&from->signature, arena, &out->signature);
}

/* No file has this stamp. */
static const struct file_stamp look_again = {.inode = UINT64_MAX};

/* What is not the file's own fault is tried again at the next scan. */
static void describe(const struct model_describer *describer, const char *name, struct arena *arena,
                     struct model_version *version, struct file_stamp *stamp) {
    struct error err;
    if (stamp->inode == 0) {
        version->reason = "there is no file model.onnx";
    } else if (is_being_written(version->path)) {
        version->reason = "model.onnx is still being written";
        *stamp = look_again;
    } else if (describer->describe(describer->context, name, version->version, version->path, arena,
                                   &version->signature, version->digest, &err)) {
        version->loads = true;
    } else {
        version->reason = arena_strdup(arena, err.message);
        version->signature = (struct signature){0};
        if (err.kind == ERROR_UNAVAILABLE || err.kind == ERROR_INTERRUPTED) {
            *stamp = look_again;
        }
    }
}

/* --- a model ----------------------------------------------------------------------------------- */

/* A model.json that grew or is written after the stamp was taken is read again: an event tells of it. */
static void read_settings(const char *path, struct model_entry *entry) {
    struct model *model = &entry->model;
    model->settings = model_settings_defaults();
    if (entry->settings_stamp.inode == 0) {
        return;
    }
    char *text CLEANUP(free_pointer) = must_alloc(SETTINGS_FILE_BYTES_MAXIMUM + 1);
    int fd CLEANUP(close_fd) = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size_bytes = fd < 0 ? -1 : read(fd, text, SETTINGS_FILE_BYTES_MAXIMUM + 1);
    struct error err;
    if (size_bytes < 0) {
        error_set_errno(&err, ERROR_IO, errno, "model.json cannot be read");
        model->reason = arena_strdup(&entry->arena, err.message);
    } else if (!model_settings_parse(text, (size_t)size_bytes, &model->settings, &err)) {
        model->reason = arena_strdup(&entry->arena, err.message);
    }
}

static bool same_as_before(const struct model_entry *before,
                           const struct file_stamp *settings_stamp, const uint32_t *numbers,
                           const struct file_stamp *stamps, size_t count) {
    if (before == NULL || !stamps_equal(&before->settings_stamp, settings_stamp) ||
        before->model.version_count != count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (before->model.versions[i].version != numbers[i] ||
            !stamps_equal(&before->version_stamps[i], &stamps[i])) {
            return false;
        }
    }
    return true;
}

static void read_version(struct model_entry *entry, size_t index, uint32_t number, const char *path,
                         const struct model_entry *before,
                         const struct model_describer *describer) {
    struct model_version *version = &entry->model.versions[index];
    struct file_stamp *stamp = &entry->version_stamps[index];
    const struct file_stamp *stamp_before;
    const struct model_version *known = find_version(before, number, &stamp_before);
    *version = (struct model_version){.version = number, .path = arena_strdup(&entry->arena, path)};
    if (known != NULL && stamp->inode != 0 && stamps_equal(stamp, stamp_before)) {
        copy_version(known, &entry->arena, version);
    } else {
        describe(describer, entry->model.name, &entry->arena, version, stamp);
    }
}

struct model_entry *model_scan(const char *folder, const char *name, struct model_entry *before,
                               const struct model_describer *describer,
                               const struct folder_watcher *watcher) {
    struct arena scratch CLEANUP(arena_fini) = {0};
    const char *path = arena_printf(&scratch, "%s/%s", folder, name);
    const char *settings_path = arena_printf(&scratch, "%s/model.json", path);
    uint32_t *numbers;
    size_t count;
    watcher->watch(watcher->context, path);
    struct file_stamp settings_stamp = stamp_of(settings_path);
    if (!list_versions(path, &scratch, &numbers, &count) ||
        (count == 0 && settings_stamp.inode == 0)) {
        return NULL;
    }
    struct file_stamp *stamps = arena_alloc(&scratch, count * sizeof *stamps);
    const char **paths = arena_alloc(&scratch, count * sizeof *paths);
    for (size_t i = 0; i < count; i++) {
        watcher->watch(watcher->context, arena_printf(&scratch, "%s/%u", path, numbers[i]));
        paths[i] = arena_printf(&scratch, "%s/%u/model.onnx", path, numbers[i]);
        stamps[i] = stamp_of(paths[i]);
    }
    if (same_as_before(before, &settings_stamp, numbers, stamps, count)) {
        return model_entry_ref(before);
    }
    struct model_entry *entry = must_alloc_zeroed(1, sizeof *entry);
    atomic_init(&entry->references, 1);
    entry->settings_stamp = settings_stamp;
    entry->model.name = arena_strdup(&entry->arena, name);
    entry->model.version_count = count;
    entry->model.versions = arena_alloc_zeroed(&entry->arena, count * sizeof(struct model_version));
    entry->version_stamps = arena_alloc(&entry->arena, count * sizeof *stamps);
    memcpy(entry->version_stamps, stamps, count * sizeof *stamps);
    read_settings(settings_path, entry);
    for (size_t i = 0; i < count; i++) {
        read_version(entry, i, numbers[i], paths[i], before, describer);
    }
    return entry;
}
