#include "store/results.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* "<16 hexadecimal digits>.json", and ".part" while it is written. */
enum { KEY_DIGITS = 16, NAME_BYTES = KEY_DIGITS + sizeof ".json.part", COPY_BYTES = 1 << 20 };

char *results_folder(const char *path) {
    size_t size_bytes = strlen(path) + sizeof "-results";
    char *folder = must_alloc(size_bytes);
    snprintf(folder, size_bytes, "%s-results", path);
    return folder;
}

static void name_of(int64_t execution_key, char out[static NAME_BYTES]) {
    snprintf(out, NAME_BYTES, "%016llx.json", (unsigned long long)execution_key);
}

/* False for any other file's name. */
static bool key_of(const char *name, int64_t *out_key) {
    char *end;
    if (strspn(name, "0123456789abcdef") != KEY_DIGITS) {
        return false;
    }
    *out_key = (int64_t)strtoull(name, &end, 16);
    return strcmp(end, ".json") == 0;
}

static void close_descriptor(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
}

static void close_folder(DIR **directory) {
    if (*directory != NULL) {
        closedir(*directory);
    }
}

static bool fail(struct error *err, const char *what, const char *folder) {
    return error_set_errno(err, ERROR_STORE, errno, "cannot %s a result in %s", what, folder);
}

/* The folder that the folder is in: that the folder is there is to be on disk, too. */
static bool flush_above(int folder) {
    int above CLEANUP(close_descriptor) = openat(folder, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return above >= 0 && fsync(above) == 0;
}

static int open_folder(const char *folder) {
    return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* -1: errno says why not. */
static int make_folder(const char *folder) {
    int fd = open_folder(folder);
    if (fd >= 0 || errno != ENOENT) {
        return fd;
    }
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return -1;
    }
    fd = open_folder(folder);
    if (fd >= 0 && !flush_above(fd)) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool write_all(int fd, const char *bytes, size_t size_bytes) {
    while (size_bytes > 0) {
        ssize_t written = write(fd, bytes, size_bytes);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        bytes += written > 0 ? written : 0;
        size_bytes -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

bool results_write(const char *folder, int64_t execution_key, const char *bytes, size_t size_bytes,
                   struct error *err) {
    char name[NAME_BYTES];
    char part[NAME_BYTES];
    name_of(execution_key, name);
    snprintf(part, sizeof part, "%.21s.part", name);
    int directory CLEANUP(close_descriptor) = make_folder(folder);
    if (directory < 0) {
        return fail(err, "make the folder for", folder);
    }
    int fd CLEANUP(close_descriptor) =
        openat(directory, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(err, "make", folder);
    }
    if (!write_all(fd, bytes, size_bytes) || fsync(fd) != 0 ||
        renameat(directory, part, directory, name) != 0 || fsync(directory) != 0) {
        int failure = errno;
        unlinkat(directory, part, 0);
        errno = failure;
        return fail(err, "write", folder);
    }
    return true;
}

bool results_open(const char *folder, int64_t execution_key, int *out_file,
                  uint64_t *out_size_bytes, struct error *err) {
    char name[NAME_BYTES];
    struct stat status;
    name_of(execution_key, name);
    int directory CLEANUP(close_descriptor) = open_folder(folder);
    int fd = directory < 0 ? -1 : openat(directory, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return error_set(err, ERROR_NOT_FOUND, "the result's file is gone");
    }
    if (fd < 0) {
        return fail(err, "open", folder);
    }
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        close(fd);
        return error_set(err, ERROR_STORE, "a result in %s is not a file", folder);
    }
    *out_file = fd;
    *out_size_bytes = (uint64_t)status.st_size;
    return true;
}

void results_remove(const char *folder, int64_t execution_key) {
    char name[NAME_BYTES];
    name_of(execution_key, name);
    int directory CLEANUP(close_descriptor) = open_folder(folder);
    if (directory >= 0) {
        unlinkat(directory, name, 0);
    }
}

/* Calls `each` with the name of every file, until it says no. */
static bool walk(const char *folder, bool (*each)(void *context, int directory, const char *name),
                 void *context, struct error *err) {
    DIR *entries CLEANUP(close_folder) = opendir(folder);
    if (entries == NULL) {
        return errno == ENOENT || fail(err, "look for", folder);
    }
    for (;;) {
        errno = 0;
        /* The stream is this thread's own (readdir(3)). */
        struct dirent *entry = readdir(entries); // NOLINT(concurrency-mt-unsafe)
        if (entry == NULL) {
            return errno == 0 || fail(err, "look for", folder);
        }
        if (entry->d_name[0] != '.' && !each(context, dirfd(entries), entry->d_name)) {
            return fail(err, "copy", folder);
        }
    }
}

struct sweep {
    bool (*is_wanted)(void *context, int64_t execution_key);
    void *context;
};

static bool sweep_one(void *context, int directory, const char *name) {
    const struct sweep *sweep = context;
    int64_t key;
    const char *ending = strrchr(name, '.');
    bool is_ours = key_of(name, &key) ? !sweep->is_wanted(sweep->context, key)
                                      : ending != NULL && strcmp(ending, ".part") == 0;
    if (is_ours) {
        unlinkat(directory, name, 0);
    }
    return true;
}

bool results_sweep(const char *folder, bool (*is_wanted)(void *context, int64_t execution_key),
                   void *context, struct error *err) {
    struct sweep sweep = {is_wanted, context};
    return walk(folder, sweep_one, &sweep, err);
}

/* Within one file system the bytes need not even be copied where it can share them. */
static bool copy_file(int from, int to) {
    struct stat status;
    if (fstat(from, &status) != 0) {
        return false;
    }
    off_t left_bytes = status.st_size;
    while (left_bytes > 0) {
        ssize_t copied = copy_file_range(from, NULL, to, NULL, (size_t)left_bytes, 0);
        if (copied < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS)) {
            break;
        }
        if (copied <= 0) {
            return false;
        }
        left_bytes -= copied;
    }
    char *piece CLEANUP(free_pointer) = left_bytes > 0 ? must_alloc(COPY_BYTES) : NULL;
    while (left_bytes > 0) {
        ssize_t got = read(from, piece, COPY_BYTES);
        if (got <= 0 || !write_all(to, piece, (size_t)got)) {
            return false;
        }
        left_bytes -= got;
    }
    return fsync(to) == 0;
}

static bool copy_one(void *context, int directory, const char *name) {
    int to_directory = *(const int *)context;
    int64_t key;
    /* One that goes meanwhile goes: its execution is removed. */
    if (!key_of(name, &key) || linkat(directory, name, to_directory, name, 0) == 0 ||
        errno == EEXIST || errno == ENOENT) {
        return true;
    }
    int from CLEANUP(close_descriptor) = openat(directory, name, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        return errno == ENOENT;
    }
    char part[NAME_BYTES];
    snprintf(part, sizeof part, "%.21s.part", name);
    int to CLEANUP(close_descriptor) =
        openat(to_directory, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return to >= 0 && copy_file(from, to) && renameat(to_directory, part, to_directory, name) == 0;
}

bool results_copy(const char *from, const char *to, struct error *err) {
    struct stat status;
    if (stat(from, &status) != 0) {
        return errno == ENOENT || fail(err, "look for", from);
    }
    int directory CLEANUP(close_descriptor) = make_folder(to);
    if (directory < 0) {
        return fail(err, "make the folder for", to);
    }
    if (!walk(from, copy_one, &directory, err)) {
        return false;
    }
    return fsync(directory) == 0 || fail(err, "flush", to);
}

static bool want_none(void *context, int64_t execution_key) {
    (void)context;
    (void)execution_key;
    return false;
}

void results_remove_folder(const char *folder) {
    struct error ignored;
    if (results_sweep(folder, want_none, NULL, &ignored)) {
        rmdir(folder);
    }
}
