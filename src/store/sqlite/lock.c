#include "store/sqlite/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum lock_byte { DAEMON_BYTE = 0, MIGRATION_BYTE = 1 };

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

static bool refuse_because_of_daemon(struct store_lock *lock, struct error *err) {
    char pid[24] = "";
    ssize_t got = pread(lock->fd, pid, sizeof pid - 1, 0);
    if (got <= 0) {
        return error_set(err, ERROR_STORE,
                         "another orrery is using the store; stop that one first");
    }
    pid[strcspn(pid, "\n")] = '\0';
    return error_set(err, ERROR_STORE,
                     "the orrery with process id %s is using the store; stop that "
                     "one first, or use another file",
                     pid);
}

bool store_lock_take_daemon(struct store_lock *lock, struct error *err) {
    struct flock wanted = byte_lock(F_WRLCK, DAEMON_BYTE);
    if (fcntl(lock->fd, F_OFD_SETLK, &wanted) != 0) {
        if (errno == EAGAIN || errno == EACCES) {
            return refuse_because_of_daemon(lock, err);
        }
        return error_set_errno(err, ERROR_STORE, errno, "cannot lock the store");
    }
    char pid[24];
    int length = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(lock->fd, 0) != 0 || pwrite(lock->fd, pid, (size_t)length, 0) != length) {
        return error_set_errno(err, ERROR_STORE, errno, "cannot write the store's lock file");
    }
    return true;
}

bool store_lock_check_no_daemon(struct store_lock *lock, struct error *err) {
    struct flock wanted = byte_lock(F_WRLCK, DAEMON_BYTE);
    if (fcntl(lock->fd, F_OFD_GETLK, &wanted) != 0) {
        return error_set_errno(err, ERROR_STORE, errno, "cannot look at the store's lock");
    }
    return wanted.l_type == F_UNLCK || refuse_because_of_daemon(lock, err);
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
    int failed = fcntl(lock->fd, F_OFD_SETLK, &unwanted);
    ASSERT(failed == 0);
}
