/* For neighbours in sqlite/: the file beside the store, "<store>.lock", by which processes agree who may do
 * what. Its locks are open-file-description locks (fcntl(2)): the kernel drops them when the process ends,
 * however it ends. The file stays; the daemon's process id is in it.
 *
 *   byte 0   the daemon, exclusively, as long as it has the store
 *   byte 1   whoever migrates, for as long as that takes
 *   byte 2   whoever lays a backup ready */
#ifndef ORRERY_STORE_SQLITE_LOCK_H
#define ORRERY_STORE_SQLITE_LOCK_H

#include "base/error.h"

struct store_lock {
    int fd;
};

MUST_CHECK bool store_lock_open(struct store_lock *lock, const char *store_path, struct error *err);
void store_lock_close(struct store_lock *lock);

/* Becomes the daemon, or fails naming the process that is. */
MUST_CHECK bool store_lock_take_daemon(struct store_lock *lock, struct error *err);

/* Fails, naming the process, if another has the store as the daemon. */
MUST_CHECK bool store_lock_check_no_daemon(struct store_lock *lock, struct error *err);

/* The process that has the store as the daemon, 0: none. Fails where there is one that this process cannot see. */
MUST_CHECK bool store_lock_find_daemon(struct store_lock *lock, int64_t *out_pid,
                                       struct error *err);

/* Until the lock is closed: to lay a backup ready. ERROR_CONFLICT if another does. */
MUST_CHECK bool store_lock_take_restore(struct store_lock *lock, struct error *err);

/* Waits for its turn to migrate, and ends it. */
MUST_CHECK bool store_lock_begin_migration(struct store_lock *lock, struct error *err);
void store_lock_end_migration(struct store_lock *lock);

#endif
