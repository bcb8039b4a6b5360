/* For neighbours in sqlite/: moving what the write-ahead log holds into the store's file, so that the log stays
 * small (https://sqlite.org/wal.html#ckpt), without making writers wait for it.
 *
 * The daemon has a thread for it with a connection of its own: a passive checkpoint runs beside readers and
 * the writer. But the log begins anew only when all of it has been moved, and under load the writer has added to
 * it meanwhile. So when the log is long and the thread has moved nearly all, the writer moves the small rest
 * itself, between two batches.
 *
 * checkpointer_start and _stop: the session's thread. checkpointer_rest: the writer, between batches. */
#ifndef ORRERY_STORE_SQLITE_CHECKPOINT_H
#define ORRERY_STORE_SQLITE_CHECKPOINT_H

#include "store/sqlite/connection.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct checkpointer {
    struct sqlite_connection *writing; /* the writer's; borrowed */
    int log_pages;                     /* the writer's: the log's length after the last commit */
    bool has_thread;
    pthread_t thread;
    struct sqlite_connection connection; /* the thread's */
    sem_t wanted;
    atomic_bool stopping;
    atomic_bool busy;       /* a checkpoint was asked for and has not ended */
    atomic_int moved_pages; /* how much of the log has been moved */
    bool failing;           /* the thread's: the last one failed; so that the log says it once */
};

/* Begins to follow the writer's commits. Without a thread (a command that writes little beside the daemon)
 * the writer does it all. */
MUST_CHECK bool checkpointer_start(struct checkpointer *checkpointer,
                                   struct sqlite_connection *writing, const char *path,
                                   bool with_thread, struct error *err);
void checkpointer_stop(struct checkpointer *checkpointer);

void checkpointer_rest(struct checkpointer *checkpointer, bool idle);

#endif
