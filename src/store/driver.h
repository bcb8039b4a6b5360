/* For neighbours in store/: what a driver provides. Users of the store read store/store.h.
 *
 * A driver is a struct of functions, called only through the common layer (store.c, writer.c), which checks
 * arguments, groups writes into transactions and calls `done`. A session is one open store and what writes
 * to it: it belongs to the thread that opened it until store_start, then to the writer thread, then again
 * to whoever stops the store. A reader belongs to one thread; it is opened from a session by any thread. */
#ifndef ORRERY_STORE_DRIVER_H
#define ORRERY_STORE_DRIVER_H

#include "store/store.h"

struct store_session; /* each driver has its own */

struct store_driver;
struct store_reader { /* first in each driver's own */
    const struct store_driver *driver;
};

/* What a store knows when it has been opened. */
struct store_facts {
    const char *path; /* the session's: the store's file, with no link in it */
    uint64_t tag;
    int64_t greatest_run_key;
    int64_t greatest_execution_key;
};

enum store_applied {
    STORE_APPLIED,
    STORE_REFUSED,      /* nothing was changed; the write's error says why */
    STORE_WRITE_FAILED, /* this write cannot be carried out, and left the transaction half-done */
    STORE_FAILED,       /* the store itself fails: disk full, input/output error, locked … */
};

struct store_driver {
    const char *name;

    /* Opens or creates the store, takes the lock, migrates. */
    bool (*open)(const struct store_options *options, struct store_session **out_session,
                 struct store_facts *out_facts, struct error *err);
    void (*close)(struct store_session *session);

    /* A transaction: begin, any number of apply, commit. `now` is the time of all its writes. When apply
     * returns one of the last two values, or commit fails, the common layer calls rollback, after which the
     * session is ready for the next begin. */
    bool (*begin)(struct store_session *session, struct wall_time now, struct error *err);
    enum store_applied (*apply)(struct store_session *session, struct store_write *write);
    bool (*commit)(struct store_session *session, struct error *err);
    void (*rollback)(struct store_session *session);

    /* A step of upkeep, called on the writer thread when it starts and when a batch has been answered: `idle`
     * tells that no further write waits. True: there is more to do, and it is called again also when nothing is
     * written. A step that fails returns false, and is tried again after the next batch. */
    bool (*rest)(struct store_session *session, struct wall_time now, bool idle);

    /* As in store.h; they need no session. */
    bool (*backup)(const char *location, const char *file,
                   void (*progress)(uint64_t done_pages, uint64_t all_pages), struct error *err);
    bool (*stage_restore)(const char *location, const char *file,
                          void (*progress)(uint64_t done_pages, uint64_t all_pages),
                          struct error *err);
    bool (*restore_is_staged)(const char *location);
    bool (*finish_restore)(const char *location, struct error *err);
    bool (*find_daemon)(const char *location, int64_t *out_pid, struct error *err);

    bool (*reader_open)(struct store_session *session, struct store_reader **out_reader,
                        struct error *err);
    void (*reader_close)(struct store_reader *reader);
    bool (*reader_begin)(struct store_reader *reader, struct error *err);
    void (*reader_end)(struct store_reader *reader);

    /* As in store.h. */
    bool (*get_run)(struct store_reader *reader, int64_t key, struct arena *arena,
                    struct run *out_run, struct error *err);
    bool (*list_runs)(struct store_reader *reader, const struct run_filter *filter,
                      struct arena *arena, struct run **out_runs, size_t *out_count,
                      uint64_t *out_total, struct error *err);
    bool (*get_execution)(struct store_reader *reader, int64_t key, struct arena *arena,
                          struct execution *out_execution, const char **out_owner,
                          struct error *err);
    bool (*list_executions)(struct store_reader *reader, const struct execution_filter *filter,
                            struct arena *arena, struct execution **out_executions,
                            size_t *out_count, int64_t *out_next_cursor, struct error *err);
    bool (*load_runs)(struct store_reader *reader,
                      void (*each)(const struct run *run, void *context), void *context,
                      struct error *err);
    bool (*load_active)(struct store_reader *reader,
                        void (*each)(const struct execution *execution, void *context),
                        void *context, struct error *err);
    bool (*get_run_totals)(struct store_reader *reader, int64_t run_key,
                           struct run_totals *out_totals, struct error *err);
    bool (*get_backfill)(struct store_reader *reader, int64_t key, struct arena *arena,
                         struct backfill *out_backfill, const char **out_owner, struct error *err);
    bool (*list_backfills)(struct store_reader *reader, int64_t run_key, int64_t before_key,
                           uint32_t limit, struct arena *arena, struct backfill **out_backfills,
                           size_t *out_count, struct error *err);
    bool (*count_backfill)(struct store_reader *reader, int64_t key,
                           uint64_t out_count[EXECUTION_MISSED + 1], struct error *err);
    bool (*load_backfills)(struct store_reader *reader,
                           void (*each)(const struct backfill *backfill, void *context),
                           void *context, struct error *err);
    bool (*get_api_key)(struct store_reader *reader, const char *id, struct arena *arena,
                        struct api_key *out_key, struct error *err);
    bool (*list_api_keys)(struct store_reader *reader, struct arena *arena,
                          struct api_key **out_keys, size_t *out_count, struct error *err);
    bool (*check)(struct store_reader *reader, struct error *err);
};

extern const struct store_driver sqlite_driver;

#endif
