#include "failing_calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_bool on;
static _Atomic(const char *) only; /* this function; NULL: any */
static atomic_int calls_until_failure;
static atomic_int failures_left;
static atomic_int failure_code; /* 0: what is usual for the function */
static atomic_bool failed;

static _Atomic(const char *) act_before;
static void (*act_wanted)(void *context);
static void *act_context;

static void begin(const char *name, int calls, int count, int code) {
    atomic_store(&failed, false);
    atomic_store(&only, name);
    atomic_store(&calls_until_failure, calls);
    atomic_store(&failures_left, count);
    atomic_store(&failure_code, code);
    atomic_store(&on, true);
}

void failing_calls_begin_many(int calls, int count, int with_errno) {
    begin(NULL, calls, count, with_errno);
}

void failing_calls_begin(int calls) { failing_calls_begin_many(calls, 1, EIO); }

void failing_calls_begin_of(const char *name, int count, int code) { begin(name, 0, count, code); }

void failing_calls_act_before(const char *name, void (*act)(void *context), void *context) {
    act_wanted = act;
    act_context = context;
    atomic_store(&act_before, name);
}

bool failing_calls_end(void) {
    atomic_store(&on, false);
    return atomic_load(&failed);
}

/* Whether this call is to fail; then errno is set, and SQLite's functions fail with `*code`. */
static bool fails(const char *name, int *code) {
    const char *awaited = atomic_load(&act_before);
    if (awaited != NULL && strcmp(awaited, name) == 0 &&
        atomic_compare_exchange_strong(&act_before, &awaited, NULL)) {
        act_wanted(act_context);
    }
    const char *named = atomic_load(&only);
    if (!atomic_load(&on) || (named != NULL && strcmp(named, name) != 0) ||
        atomic_fetch_sub(&calls_until_failure, 1) > 0) {
        return false;
    }
    atomic_store(&calls_until_failure, 0);
    if (atomic_fetch_sub(&failures_left, 1) <= 0) {
        atomic_store(&failures_left, 0);
        return false;
    }
    atomic_store(&failed, true);
    if (named != NULL) {
        *code = atomic_load(&failure_code);
    }
    errno = atomic_load(&failure_code);
    return true;
}

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
#define WRAP(type, name, parameters, arguments, failure)                                           \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters {                                                                \
        int code = 0;                                                                              \
        return fails(#name, &code) ? (failure) : __real_##name arguments;                          \
    }
/* Of SQLite's: the failure is the code that was asked for, or else this one. */
#define OR_CODE(usual) (code == 0 ? (usual) : code)

WRAP(int, sqlite3_step, (sqlite3_stmt * statement), (statement), OR_CODE(SQLITE_IOERR_READ))
WRAP(int, sqlite3_exec,
     (sqlite3 * db, const char *sql, int (*each)(void *, int, char **, char **), void *context,
      char **message),
     (db, sql, each, context, message), OR_CODE(SQLITE_IOERR_READ))
WRAP(int, sqlite3_prepare_v2,
     (sqlite3 * db, const char *sql, int bytes, sqlite3_stmt **out, const char **tail),
     (db, sql, bytes, out, tail), OR_CODE(SQLITE_NOMEM))
WRAP(int, sqlite3_prepare_v3,
     (sqlite3 * db, const char *sql, int bytes, unsigned flags, sqlite3_stmt **out,
      const char **tail),
     (db, sql, bytes, flags, out, tail), OR_CODE(SQLITE_NOMEM))
WRAP(int, sqlite3_open_v2, (const char *name, sqlite3 **out, int flags, const char *vfs),
     (name, out, flags, vfs), OR_CODE(SQLITE_CANTOPEN))
WRAP(sqlite3_backup *, sqlite3_backup_init,
     (sqlite3 * target, const char *target_name, sqlite3 *source, const char *source_name),
     (target, target_name, source, source_name), NULL)
WRAP(int, sqlite3_backup_step, (sqlite3_backup * backup, int pages), (backup, pages),
     OR_CODE(SQLITE_FULL))
WRAP(int, sqlite3_wal_checkpoint_v2,
     (sqlite3 * db, const char *name, int mode, int *out_log, int *out_moved),
     (db, name, mode, out_log, out_moved), OR_CODE(SQLITE_IOERR_WRITE))
WRAP(int, fsync, (int fd), (fd), -1)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1)
WRAP(int, renameat2,
     (int from_folder, const char *from, int to_folder, const char *to, unsigned flags),
     (from_folder, from, to_folder, to, flags), -1)
WRAP(int, eventfd, (unsigned count, int flags), (count, flags), -1)
WRAP(int, unlink, (const char *name), (name), -1)
WRAP(int, link, (const char *from, const char *to), (from, to), -1)
WRAP(int, mkdir, (const char *name, mode_t mode), (name, mode), -1)
WRAP(int, linkat, (int from, const char *name, int to, const char *new_name, int flags),
     (from, name, to, new_name, flags), -1)
WRAP(int, renameat, (int from, const char *name, int to, const char *new_name),
     (from, name, to, new_name), -1)
WRAP(ssize_t, copy_file_range,
     (int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags),
     (from, from_at, to, to_at, size, flags), -1)
WRAP(DIR *, opendir, (const char *name), (name), NULL)
WRAP(struct dirent64 *, readdir64, (DIR * folder), (folder), NULL)
WRAP(int, fstat64, (int fd, struct stat64 *out), (fd, out), -1)
WRAP(ssize_t, pread64, (int fd, void *bytes, size_t size, off64_t offset),
     (fd, bytes, size, offset), -1)
WRAP(ssize_t, pwrite64, (int fd, const void *bytes, size_t size, off64_t offset),
     (fd, bytes, size, offset), -1)
WRAP(int, ftruncate64, (int fd, off64_t size), (fd, size), -1)
WRAP(int, pthread_create,
     (pthread_t * out, const pthread_attr_t *attributes, void *(*run)(void *), void *context),
     (out, attributes, run, context), EAGAIN)

int __real_open64(const char *name, int flags, ...);
int __wrap_open64(const char *name, int flags, ...);
int __wrap_open64(const char *name, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) == 0 ? 0 : va_arg(arguments, mode_t);
    va_end(arguments);
    int code = 0;
    return fails("open64", &code) ? -1 : __real_open64(name, flags, mode);
}

int __real_openat64(int folder, const char *name, int flags, ...);
int __wrap_openat64(int folder, const char *name, int flags, ...);
int __wrap_openat64(int folder, const char *name, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & O_CREAT) == 0 ? 0 : va_arg(arguments, mode_t);
    va_end(arguments);
    int code = 0;
    return fails("openat64", &code) ? -1 : __real_openat64(folder, name, flags, mode);
}

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    int code = 0;
    return fails("fcntl64", &code) ? -1 : __real_fcntl64(fd, command, argument);
}

/* Only where they are named: threads wake each other with them. */
ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size) {
    int code = 0;
    return atomic_load(&only) != NULL && fails("write", &code) ? -1 : __real_write(fd, bytes, size);
}

int __real_sem_wait(sem_t *semaphore);
int __wrap_sem_wait(sem_t *semaphore);
int __wrap_sem_wait(sem_t *semaphore) {
    int code = 0;
    return atomic_load(&only) != NULL && fails("sem_wait", &code) ? -1 : __real_sem_wait(semaphore);
}
/* NOLINTEND(bugprone-reserved-identifier) */
