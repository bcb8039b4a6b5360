#include "store/sqlite/checkpoint.h"

#include "observe/log.h"

enum {
    IDLE_PAGES = 1000,      /* 4 MiB: worth moving when nothing else is to be done */
    LONG_PAGES = 4000,      /* worth moving in any case */
    TOO_LONG_PAGES = 16000, /* the writer helps, if the rest is small … */
    SMALL_REST_PAGES = 3000,
    FAR_TOO_LONG_PAGES = 64000, /* … or at last, whatever it costs */
};

/* Moves what can be moved without waiting for anybody. */
static bool move_pages(struct checkpointer *checkpointer, sqlite3 *db, struct error *err) {
    int log_pages = 0;
    int moved_pages = 0;
    int code =
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &log_pages, &moved_pages);
    if (code != SQLITE_OK && code != SQLITE_BUSY) {
        return sqlite_fail(db, code, err);
    }
    atomic_store(&checkpointer->moved_pages, moved_pages);
    return true;
}

static void *run_thread(void *context) {
    struct checkpointer *checkpointer = context;
    for (;;) {
        while (sem_wait(&checkpointer->wanted) != 0) {
            /* a signal; wait on */
        }
        if (atomic_load(&checkpointer->stopping)) {
            return NULL;
        }
        struct error err;
        bool ok = move_pages(checkpointer, checkpointer->connection.db, &err);
        if (!ok && !checkpointer->failing) {
            log_event(LOG_WARNING, "checkpoint_failed", LOG_FAILURE(&err));
        }
        checkpointer->failing = !ok;
        atomic_store(&checkpointer->busy, false);
    }
}

/* Called by SQLite after each commit (https://sqlite.org/c3ref/wal_hook.html). */
static int note_commit(void *context, sqlite3 *db, const char *database, int log_pages) {
    (void)db;
    (void)database;
    struct checkpointer *checkpointer = context;
    if (log_pages < checkpointer->log_pages) { /* the log has begun anew */
        atomic_store(&checkpointer->moved_pages, 0);
    }
    checkpointer->log_pages = log_pages;
    return SQLITE_OK;
}

static bool start_thread(struct checkpointer *checkpointer, const char *path, struct error *err) {
    if (!sqlite_connection_open(&checkpointer->connection, path, SQLITE_FOR_WRITING, NULL, 0,
                                err)) {
        return false;
    }
    sem_init(&checkpointer->wanted, 0, 0);
    int failed = pthread_create(&checkpointer->thread, NULL, run_thread, checkpointer);
    if (failed != 0) {
        sem_destroy(&checkpointer->wanted);
        sqlite_connection_close(&checkpointer->connection);
        return error_set_errno(err, ERROR_STORE, failed, "cannot start the checkpoint thread");
    }
    pthread_setname_np(checkpointer->thread, "store-checkpoint");
    checkpointer->has_thread = true;
    return true;
}

bool checkpointer_start(struct checkpointer *checkpointer, struct sqlite_connection *writing,
                        const char *path, bool with_thread, struct error *err) {
    checkpointer->writing = writing;
    sqlite3_wal_hook(writing->db, note_commit, checkpointer);
    return !with_thread || start_thread(checkpointer, path, err);
}

void checkpointer_stop(struct checkpointer *checkpointer) {
    if (!checkpointer->has_thread) {
        return;
    }
    atomic_store(&checkpointer->stopping, true);
    sem_post(&checkpointer->wanted);
    pthread_join(checkpointer->thread, NULL);
    sem_destroy(&checkpointer->wanted);
    sqlite_connection_close(&checkpointer->connection);
    checkpointer->has_thread = false;
}

void checkpointer_rest(struct checkpointer *checkpointer, bool idle) {
    int rest_pages = checkpointer->log_pages - atomic_load(&checkpointer->moved_pages);
    if (rest_pages < IDLE_PAGES && checkpointer->log_pages < TOO_LONG_PAGES) {
        return;
    }
    bool busy = atomic_load(&checkpointer->busy);
    bool by_writer = !checkpointer->has_thread ||
                     (!busy && rest_pages > 0 && rest_pages < SMALL_REST_PAGES &&
                      checkpointer->log_pages >= TOO_LONG_PAGES) ||
                     checkpointer->log_pages >= FAR_TOO_LONG_PAGES;
    if (by_writer) {
        struct error ignored; /* a disk that fails shows itself in the next commit */
        if (!move_pages(checkpointer, checkpointer->writing->db, &ignored)) {
            return;
        }
    } else if (!busy && rest_pages >= (idle ? IDLE_PAGES : LONG_PAGES)) {
        atomic_store(&checkpointer->busy, true);
        sem_post(&checkpointer->wanted);
    }
}
