#include "store/sqlite/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RETRY_MS = 10, RETRY_LIMIT_MS = 5000 };

enum lock_byte { DAEMON_BYTE = 0, MIGRATION_BYTE = 1, RESTORE_BYTE = 2 };

static struct flock byte_lock(short type, enum lock_byte byte) {
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

bool store_lock_open(struct store_lock *lock, const char *store_path, struct error *err) {
    size_t path_bytes = strlen(store_path) + sizeof ".lock";
    char *path = must_alloc(path_bytes);
    snprintf(path, path_bytes, "%s.lock", store_path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        error_set_errno(err, ERROR_STORE, errno, "cannot open %s", path);
    }
    free(path);
    lock->fd = fd;
    return fd >= 0;
}

void store_lock_close(struct store_lock *lock) {
    if (lock->fd >= 0) {
        close(lock->fd);
        lock->fd = -1;
    }
}

/* What the daemon has written; 0 if it is not there (yet). */
static int64_t read_pid(const struct store_lock *lock) {
    char text[24] = "";
    ssize_t got = pread(lock->fd, text, sizeof text - 1, 0);
    return got <= 0 ? 0 : strtoll(text, NULL, 10);
}

static bool refuse_because_of_daemon(struct store_lock *lock, struct error *err) {
    int64_t pid = read_pid(lock);
    if (pid == 0) {
        return error_set(err, ERROR_STORE,
                         "another orrery is using the store; stop that one first");
    }
    return error_set(err, ERROR_STORE,
                     "the orrery with process id %lld is using the store; stop that "
                     "one first, or use another file",
                     (long long)pid);
}

/* A daemon that was killed while it started a worker leaves the lock to that child, until the child has come to its
 * exec a moment later. */
static bool is_left_by_a_dead_daemon(const struct store_lock *lock) {
    int64_t pid = read_pid(lock);
    return pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

bool store_lock_take_daemon(struct store_lock *lock, struct error *err) {
    struct flock wanted = byte_lock(F_WRLCK, DAEMON_BYTE);
    for (int waited_ms = 0; fcntl(lock->fd, F_OFD_SETLK, &wanted) != 0; waited_ms += RETRY_MS) {
        if (errno != EAGAIN && errno != EACCES) {
            return error_set_errno(err, ERROR_STORE, errno, "cannot lock the store");
        }
        if (waited_ms >= RETRY_LIMIT_MS || !is_left_by_a_dead_daemon(lock)) {
            return refuse_because_of_daemon(lock, err);
        }
        nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
    }
    char pid[24];
    int length = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(lock->fd, 0) != 0 || pwrite(lock->fd, pid, (size_t)length, 0) != length) {
        return error_set_errno(err, ERROR_STORE, errno, "cannot write the store's lock file");
    }
    return true;
}

static bool is_daemon_there(struct store_lock *lock, bool *out_there, struct error *err) {
    struct flock wanted = byte_lock(F_WRLCK, DAEMON_BYTE);
    if (fcntl(lock->fd, F_OFD_GETLK, &wanted) != 0) {
        return error_set_errno(err, ERROR_STORE, errno, "cannot look at the store's lock");
    }
    *out_there = wanted.l_type != F_UNLCK;
    return true;
}

bool store_lock_check_no_daemon(struct store_lock *lock, struct error *err) {
    bool there = false;
    return is_daemon_there(lock, &there, err) && (!there || refuse_because_of_daemon(lock, err));
}

/* Whether the process has the lock's file open, as far as it can be seen. A process id is worth something only where
 * it was written: in another container it is another process. */
static bool has_open(int64_t pid, const struct store_lock *lock) {
    char folder[40];
    struct stat wanted;
    snprintf(folder, sizeof folder, "/proc/%lld/fd", (long long)pid);
    DIR *directory = opendir(folder);
    if (directory == NULL || fstat(lock->fd, &wanted) != 0) {
        if (directory != NULL) {
            closedir(directory);
        }
        return false;
    }
    bool found = false;
    for (struct dirent *entry;
         !found && (entry = readdir(directory)) != NULL;) { // NOLINT(concurrency-mt-unsafe)
        struct stat status;
        found = fstatat(dirfd(directory), entry->d_name, &status, 0) == 0 &&
                status.st_dev == wanted.st_dev && status.st_ino == wanted.st_ino;
    }
    closedir(directory);
    return found;
}

bool store_lock_find_daemon(struct store_lock *lock, int64_t *out_pid, struct error *err) {
    bool there = false;
    if (!is_daemon_there(lock, &there, err)) {
        return false;
    }
    int64_t pid = there ? read_pid(lock) : 0;
    if (there && (pid <= 0 || !has_open(pid, lock))) {
        return error_set(err, ERROR_STORE,
                         "an orrery is using the store that cannot be seen from here (it is just "
                         "starting, or another user's, or in another container)");
    }
    *out_pid = pid;
    return true;
}

bool store_lock_take_restore(struct store_lock *lock, struct error *err) {
    struct flock wanted = byte_lock(F_WRLCK, RESTORE_BYTE);
    return fcntl(lock->fd, F_OFD_SETLK, &wanted) == 0 ||
           error_set(err, ERROR_CONFLICT, "another restore is going on; try again when it is done");
}

bool store_lock_begin_migration(struct store_lock *lock, struct error *err) {
    struct flock wanted = byte_lock(F_WRLCK, MIGRATION_BYTE);
    while (fcntl(lock->fd, F_OFD_SETLKW, &wanted) != 0) {
        if (errno != EINTR) {
            return error_set_errno(err, ERROR_STORE, errno, "cannot lock the store");
        }
    }
    return true;
}

void store_lock_end_migration(struct store_lock *lock) {
    struct flock unwanted = byte_lock(F_UNLCK, MIGRATION_BYTE);
    /* If it fails (the kernel is out of locks) the lock ends with the descriptor: nobody else has to migrate by now. */
    int ignored = fcntl(lock->fd, F_OFD_SETLK, &unwanted);
    (void)ignored;
}
