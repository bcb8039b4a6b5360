#include "model/scan.h"

#include "model/folder_digest.h"
#include "model/settings_file.h"
#include "observe/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
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
    out->has_signature = from->has_signature;
    out->reason = from->reason == NULL ? NULL : arena_strdup(arena, from->reason);
    memcpy(out->digest, from->digest, sizeof out->digest);
    signature_copy(&from->signature, arena, &out->signature);
}

/* No file has this stamp. */
static const struct file_stamp look_again = {.inode = UINT64_MAX};

/* What is not the file's own fault is tried again at the next scan. */
static void describe(const struct model_describer *describer, const struct model *model,
                     struct arena *arena, struct model_version *version, struct file_stamp *stamp) {
    struct error err;
    struct model_description description = {0};
    if (stamp->inode == 0) {
        version->reason = "there is no file model.onnx";
    } else if (is_being_written(version->path)) {
        version->reason = "model.onnx is still being written";
        *stamp = look_again;
    } else if (describer->describe(describer->context, model->name, version->version, version->path,
                                   model->settings.onnx.text, arena, &description, &err)) {
        version->signature = description.signature;
        memcpy(version->digest, description.digest, MODEL_DIGEST_BYTES);
        version->loads = true;
        version->has_signature = true;
    } else {
        version->reason = arena_strdup(arena, err.message);
        log_event(LOG_WARNING, "model_does_not_load", LOG_STRING("model", model->name),
                  LOG_INTEGER("version", version->version), LOG_FAILURE(&err));
        if (err.kind == ERROR_UNAVAILABLE || err.kind == ERROR_INTERRUPTED) {
            *stamp = look_again;
        }
    }
}

/* --- a model ----------------------------------------------------------------------------------- */

/* A model.json that grew or is written after the stamp was taken is read again: an event tells of it. Of a model that
 * is not ONNX it is all there is: its digest is the model's. */
static void read_settings(const char *path, struct model_entry *entry,
                          unsigned char out_digest[static MODEL_DIGEST_BYTES]) {
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
        return;
    }
    if (!model_settings_parse(text, (size_t)size_bytes, &entry->arena, &model->settings, &err)) {
        model->reason = arena_strdup(&entry->arena, err.message);
        log_event(LOG_WARNING, "model_does_not_load", LOG_STRING("model", model->name),
                  LOG_FAILURE(&err));
    }
    crypto_hash_sha256(out_digest, (const unsigned char *)text, (size_t)size_bytes);
}

static bool same_as_before(const struct model_entry *before, const struct model_entry *now) {
    if (before == NULL || !stamps_equal(&before->settings_stamp, &now->settings_stamp) ||
        before->model.version_count != now->model.version_count) {
        return false;
    }
    for (size_t i = 0; i < now->model.version_count; i++) {
        if (before->model.versions[i].version != now->model.versions[i].version ||
            !stamps_equal(&before->version_stamps[i], &now->version_stamps[i])) {
            return false;
        }
    }
    return true;
}

/* --- versions of a model in ONNX: each has its file --------------------------------------------- */

static void find_files(struct model_entry *entry, const char *path, const uint32_t *numbers) {
    for (size_t i = 0; i < entry->model.version_count; i++) {
        const char *file = arena_printf(&entry->arena, "%s/%u/model.onnx", path, numbers[i]);
        entry->model.versions[i] = (struct model_version){.version = numbers[i], .path = file};
        entry->version_stamps[i] = stamp_of(file);
    }
}

static bool texts_equal(const char *a, const char *b) {
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void read_files(struct model_entry *entry, const struct model_entry *before,
                       const struct model_describer *describer) {
    bool same_options = before != NULL && texts_equal(before->model.settings.onnx.text,
                                                      entry->model.settings.onnx.text);
    for (size_t i = 0; i < entry->model.version_count; i++) {
        struct model_version *version = &entry->model.versions[i];
        struct file_stamp *stamp = &entry->version_stamps[i];
        const struct file_stamp *stamp_before;
        const struct model_version *known = find_version(before, version->version, &stamp_before);
        if (known != NULL && same_options && stamp->inode != 0 &&
            stamps_equal(stamp, stamp_before)) {
            copy_version(known, &entry->arena, version);
        } else {
            describe(describer, &entry->model, &entry->arena, version, stamp);
        }
    }
}

/* --- versions of a model of another backend: folders, or none ----------------------------------- */

static void find_folders(struct model_entry *entry, const char *path, const uint32_t *numbers,
                         size_t folder_count,
                         const unsigned char digest[static MODEL_DIGEST_BYTES]) {
    for (size_t i = 0; i < entry->model.version_count; i++) {
        struct model_version *version = &entry->model.versions[i];
        *version = (struct model_version){.version = 1, .loads = entry->model.reason == NULL};
        version->reason = entry->model.reason;
        memcpy(version->digest, digest, MODEL_DIGEST_BYTES);
        if (folder_count == 0) {
            version->path = arena_strdup(&entry->arena, path);
        } else {
            version->version = numbers[i];
            version->path = arena_printf(&entry->arena, "%s/%u", path, numbers[i]);
        }
        entry->version_stamps[i] = entry->settings_stamp;
    }
}

/* Of a command its files are the model, too. They are read again where one of them, or model.json, has changed. */
static void digest_folders(struct model_entry *entry, const struct model_entry *before,
                           struct arena *scratch) {
    bool has_same_settings =
        before != NULL && stamps_equal(&before->settings_stamp, &entry->settings_stamp);
    for (size_t i = 0; i < entry->model.version_count; i++) {
        struct model_version *version = &entry->model.versions[i];
        struct folder_files files;
        folder_files_list(version->path, scratch, &files);
        entry->version_stamps[i] =
            (struct file_stamp){.inode = folder_files_stamp(version->path, &files)};
        const struct file_stamp *stamp_before = NULL;
        const struct model_version *known = find_version(before, version->version, &stamp_before);
        if (known != NULL && has_same_settings &&
            stamps_equal(stamp_before, &entry->version_stamps[i])) {
            memcpy(version->digest, known->digest, MODEL_DIGEST_BYTES);
        } else {
            folder_files_digest(version->path, &files, version->digest, version->digest);
        }
    }
}

/* --- the whole ----------------------------------------------------------------------------------- */

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
    for (size_t i = 0; i < count; i++) {
        watcher->watch(watcher->context, arena_printf(&scratch, "%s/%u", path, numbers[i]));
    }
    struct model_entry *entry = must_alloc_zeroed(1, sizeof *entry);
    struct model *model = &entry->model;
    unsigned char settings_digest[MODEL_DIGEST_BYTES] = {0};
    atomic_init(&entry->references, 1);
    entry->settings_stamp = settings_stamp;
    model->name = arena_strdup(&entry->arena, name);
    read_settings(settings_path, entry, settings_digest);
    bool is_onnx = model->settings.backend == MODEL_BACKEND_ONNX;
    model->version_count = is_onnx ? count : MAX_OF(count, (size_t)1);
    model->versions =
        arena_alloc_zeroed(&entry->arena, model->version_count * sizeof *model->versions);
    entry->version_stamps =
        arena_alloc(&entry->arena, model->version_count * sizeof *entry->version_stamps);
    if (is_onnx) {
        find_files(entry, path, numbers);
    } else {
        find_folders(entry, path, numbers, count, settings_digest);
        if (model->settings.backend == MODEL_BACKEND_PROCESS) {
            digest_folders(entry, before, &scratch);
        }
    }
    if (same_as_before(before, entry)) {
        model_entry_unref(entry);
        return model_entry_ref(before);
    }
    if (is_onnx) {
        read_files(entry, before, describer);
    }
    return entry;
}
