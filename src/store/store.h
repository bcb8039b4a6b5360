/* The store: what orrery knows and must not forget, in the words of the domain. One interface, several
 * drivers (sqlite/ now), one conformance suite.
 *
 * Reading: a `store_reader` belongs to one thread; readers never wait for writers. What a read returns
 * lives in the arena that is handed in.
 *
 * Writing: a `store_write` is a letter. The sender fills it, calls store_submit from any thread and
 * forgets it; the writer thread carries out many in one durable transaction (group commit) and then
 * calls each one's `done` on the writer thread, which must be quick: it hands the letter on to a
 * mailbox or a connection. `done` is called exactly once for every submitted write, also when the
 * disk is full or the store is shutting down; `ok` tells whether the write is on disk. A write that
 * is refused changes nothing and does not harm its companions in the transaction.
 *
 * Errors of a write: ERROR_STORE if the store itself fails (the disk is full, or fails), and the same write
 * may succeed later; ERROR_INTERNAL if this write alone cannot be carried out and never will be (a text beyond
 * SQLite's limit, a value that the schema refuses: a bug of the sender's), while the store is well; any other
 * kind if it is refused, as said with each kind of write.
 *
 * A driver may be asked from several processes (`orrery key create` beside the daemon); the daemon
 * itself holds a lock file so that two of them never share one store. */
#ifndef ORRERY_STORE_STORE_H
#define ORRERY_STORE_STORE_H

#include "base/arena.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "run/run.h"

struct store;
struct store_reader;

struct store_options {
    const char
        *location;  /* file name; "postgresql://…" is refused by a build without that driver */
    bool exclusive; /* the daemon: takes the lock, fails naming the process that has it */
    /* Bounds of the history, kept up by the writer bit by bit as it writes and when it starts; 0: none. The history
     * exceeds them somewhat before it is trimmed. What has not ended is never removed; what is removed stays in the
     * totals. Commands give none. */
    struct duration retention_age;
    uint64_t retention_count; /* of a run */
    uint64_t retention_bytes; /* of the store's file, without its free pages */
};

/* Opens or creates (also the folder, if only that is missing; both private to the user), and migrates to
 * this program's version. A newer store is refused with a sentence that says so. Errors: ERROR_STORE, with
 * what to do; they name the location, so they are for a terminal or a log. */
MUST_CHECK bool store_open(const struct store_options *options, struct store **out_store,
                           struct error *err);

/* Starts the writer thread. */
MUST_CHECK bool store_start(struct store *store, struct error *err);

/* Writes what was submitted, ends the writer thread. Nothing may be submitted afterwards. */
void store_stop(struct store *store);
void store_close(struct store *store);

/* 52 random bits drawn when the store was made (identity.h). */
uint64_t store_tag(const struct store *store);

/* The greatest run and execution keys in the store, for identity_source_init; a backfill's may come from either
 * source. */
int64_t store_greatest_run_key(const struct store *store);
int64_t store_greatest_execution_key(const struct store *store);

/* --- reading ---------------------------------------------------------------------------------- */

MUST_CHECK bool store_reader_open(struct store *store, struct store_reader **out_reader,
                                  struct error *err);
void store_reader_close(struct store_reader *reader);

/* Several reads as one: what is read between the two is of one moment, and each read costs less (a lock of the file
 * is taken once instead of for each). They nest. Keep it short: what is written meanwhile cannot be tidied up. */
MUST_CHECK bool store_reader_begin(struct store_reader *reader, struct error *err);
void store_reader_end(struct store_reader *reader);

/* ERROR_NOT_FOUND for a key that is not there or was deleted. Ownership is the caller's check. */
MUST_CHECK bool store_get_run(struct store_reader *reader, int64_t key, struct arena *arena,
                              struct run *out_run, struct error *err);

struct run_filter {
    const char *owner;      /* NULL: all owners */
    const char *model_name; /* NULL: all */
    uint32_t limit;
    uint64_t offset;
    size_t bytes_maximum; /* of parameters: where they come to that the page ends; 0: no bound */
};
/* In key order, which is that of creation, oldest first. The total counts all that match, regardless of
 * limit and offset; page and total are of one moment. */
MUST_CHECK bool store_list_runs(struct store_reader *reader, const struct run_filter *filter,
                                struct arena *arena, struct run **out_runs, size_t *out_count,
                                uint64_t *out_total, struct error *err);

/* ERROR_NOT_FOUND likewise. Executions of a deleted run are kept; `out_owner` is the run's owner. */
MUST_CHECK bool store_get_execution(struct store_reader *reader, int64_t key, struct arena *arena,
                                    struct execution *out_execution, const char **out_owner,
                                    struct error *err);

struct execution_filter {
    int64_t run_key;
    bool has_status;
    enum execution_status status;
    struct wall_time since; /* scheduled_for in [since, until); NONE: no bound */
    struct wall_time until;
    int64_t before_key; /* the cursor: only executions with a smaller key; 0: from the newest */
    uint32_t limit;
    size_t bytes_maximum; /* of results: where they come to that the page ends; 0: no bound */
};
/* Newest first. `out_next_cursor` is the `before_key` of the next page, 0 where there is none. A page may be shorter than
 * the limit, or empty, and still have a next one: a rare status in a long history is looked for in bounded steps.
 * What retention has removed meanwhile is just not there. */
MUST_CHECK bool store_list_executions(struct store_reader *reader,
                                      const struct execution_filter *filter, struct arena *arena,
                                      struct execution **out_executions, size_t *out_count,
                                      int64_t *out_next_cursor, struct error *err);

/* What the scheduler loads at start: every run that is enabled, not paused and has a next slot, in key order, then
 * every execution that is not final, in key order. Values are valid during the call of `each`, which may read
 * one run or execution with the same reader. */
MUST_CHECK bool store_load_runs(struct store_reader *reader,
                                void (*each)(const struct run *run, void *context), void *context,
                                struct error *err);
MUST_CHECK bool store_load_active(struct store_reader *reader,
                                  void (*each)(const struct execution *execution, void *context),
                                  void *context, struct error *err);

/* How the executions of a run ended since it was created: those in the history and those that retention has
 * removed. Also of a deleted run; of one that never was all are 0. Its cost grows with the run's history. */
struct run_totals {
    uint64_t count[EXECUTION_MISSED + 1];           /* by status */
    struct duration duration[EXECUTION_MISSED + 1]; /* summed up, of those that were started */
    uint64_t missed_slots;                          /* in all records of status `missed` */
    uint64_t removed; /* how many of them are not in the history any more */
};
MUST_CHECK bool store_get_run_totals(struct store_reader *reader, int64_t run_key,
                                     struct run_totals *out_totals, struct error *err);

/* ERROR_NOT_FOUND likewise, also where its run was deleted. */
MUST_CHECK bool store_get_backfill(struct store_reader *reader, int64_t key, struct arena *arena,
                                   struct backfill *out_backfill, const char **out_owner,
                                   struct error *err);
/* Newest first, at most `limit`, with a smaller key than `before_key` unless that is 0. */
MUST_CHECK bool store_list_backfills(struct store_reader *reader, int64_t run_key,
                                     int64_t before_key, uint32_t limit, struct arena *arena,
                                     struct backfill **out_backfills, size_t *out_count,
                                     struct error *err);
/* How many of its slots' executions are in which status; a slot counts once, by its last attempt. */
MUST_CHECK bool store_count_backfill(struct store_reader *reader, int64_t key,
                                     uint64_t out_count[EXECUTION_MISSED + 1], struct error *err);
/* Those of runs that are there, which are not cancelled and have slots left, in key order. */
MUST_CHECK bool store_load_backfills(struct store_reader *reader,
                                     void (*each)(const struct backfill *backfill, void *context),
                                     void *context, struct error *err);

struct api_key {
    char id[17];            /* public part, 16 hex digits */
    unsigned char hash[32]; /* BLAKE2b-256 of the whole key */
    const char *owner;
    bool admin;
    struct wall_time created_at;
    struct wall_time revoked_at; /* NONE: in force */
};
/* ERROR_NOT_FOUND if there is no such id. A revoked key is returned as such. */
MUST_CHECK bool store_get_api_key(struct store_reader *reader, const char *id, struct arena *arena,
                                  struct api_key *out_key, struct error *err);
MUST_CHECK bool store_list_api_keys(struct store_reader *reader, struct arena *arena,
                                    struct api_key **out_keys, size_t *out_count,
                                    struct error *err);

/* A cheap query that fails when the store cannot be read (for readiness and doctor). */
MUST_CHECK bool store_check(struct store_reader *reader, struct error *err);

/* --- writing ---------------------------------------------------------------------------------- */

enum store_write_kind {
    STORE_CREATE_RUN, /* `run` (with its key) */
    STORE_UPDATE_RUN, /* `run`: replaces the configuration where the stored revision is
                              `expected_revision`, and adds 1; else ERROR_STALE; ERROR_NOT_FOUND. Unless it
                              `keeps_next_run`, run_settle_change says when the run is due from `changed_at` on, and its
                              gap is recorded, with the key `execution_key` */
    STORE_DELETE_RUN, /* `run_key`; expected_revision 0: any. Executions stay. A gap likewise */
    STORE_RECORD,     /* the ledger's one step, see struct store_record */
    STORE_START, /* queued -> running: `execution_key`, `started_at`; ERROR_NOT_FOUND: it is not under way,
                         ERROR_CONFLICT: it is running, ERROR_STALE: its run was deleted */
    STORE_FINISH,          /* -> a final status: `execution` with all of its outcome */
    STORE_CREATE_BACKFILL, /* `backfill` (with its key); ERROR_NOT_FOUND: its run is not there */
    STORE_CANCEL_BACKFILL, /* `backfill->key`, `backfill->cancelled_at`; ERROR_CONFLICT: it is over, or cancelled
                              already; ERROR_NOT_FOUND. Over is one that has no slots left and none under way */
    STORE_CREATE_API_KEY, /* `api_key` */
    STORE_REVOKE_API_KEY, /* `api_key->id`, `api_key->revoked_at`; ERROR_NOT_FOUND */
};

/* One step of the ledger, in one transaction: up to STORE_RECORD_MAXIMUM new executions of one run
 * (queued or running ones become active, final ones are complete with their outcome) and, where
 * `advances`, the schedule's move to `next_run`. (run, slot, attempt) is unique among executions with
 * trigger schedule, catchup and retry: a slot that is recorded already is ERROR_CONFLICT and nothing is
 * changed, and so is, where it `advances`, one that is not after all that was settled before (it may lie in a gap); so is one of a backfill among that backfill's. `expected_revision` other than 0: ERROR_STALE if the run was changed meanwhile. ERROR_NOT_FOUND
 * if the run was deleted, or `finished` has ended already.
 *
 * Keys of executions are made by identity.h at or after the time at which they were queued, and no slot is
 * queued before it is due: history in bounds of time relies on it. (Those of a backfill may.)
 *
 * An execution runs with what its run was when it was recorded: STORE_UPDATE_RUN leaves the model, the version, the
 * timeout and the parameters of those that are active as they are. */
enum { STORE_RECORD_MAXIMUM = 2 };
struct store_record {
    struct execution executions[STORE_RECORD_MAXIMUM];
    size_t execution_count;
    bool advances;
    struct wall_time next_run;      /* NONE: no further slot */
    struct wall_time settled_until; /* the newest slot that this settles, if it advances */
    bool disables;                  /* a one-shot run has fired; raises the revision */
    const char *parameters;         /* for this once instead of the run's; NULL: the run's */
    int64_t backfill_key; /* other than 0: the executions are this backfill's, which moves on to
                                  `backfill_next`; ERROR_NOT_FOUND if it was cancelled. Its own `parameters` come before the run's */
    struct wall_time backfill_next; /* NONE: all of its slots are recorded */
    const struct execution
        *finished; /* an attempt that ends in the same step, as by STORE_FINISH, and whose
                                         retry executions[0] is; or NULL */
};

struct store_write {
    struct letter letter;
    enum store_write_kind kind;
    void (*done)(struct store_write *write);
    void *context; /* the sender's */

    /* in; borrowed until `done` returns */
    int64_t run_key;
    int64_t execution_key;
    uint64_t expected_revision;
    bool
        keeps_next_run; /* STORE_UPDATE_RUN: the change does not touch when the run is due, so next_run stays
                            as it is stored, whatever has been recorded since the run was read */
    const struct run *run;
    const struct execution *execution;
    const struct api_key *api_key;
    const struct backfill *backfill;
    struct wall_time started_at;
    struct wall_time changed_at;
    struct store_record *record;

    /* out */
    bool ok;
    struct error err;
    uint64_t out_revision;         /* of a created or updated run */
    struct wall_time out_next_run; /* of an updated run */
    char *out_parameters; /* STORE_RECORD and STORE_START: the parameters of the execution that is
                              running now (the override or the run's), from malloc; the receiver frees
                              it. NULL where none is */
};

/* Hands the write over. Any thread. */
void store_submit(struct store *store, struct store_write *write);

/* --- copies ------------------------------------------------------------------------------------- */

/* Copies the store at `location`, which a daemon may be using, into `file`, as of one moment: a new file, private,
 * complete, checked and on disk, or none (`file` is not touched if it exists already: ERROR_CONFLICT).
 * `progress` may be NULL. */
MUST_CHECK bool store_backup(const char *location, const char *file,
                             void (*progress)(uint64_t done_pages, uint64_t all_pages),
                             struct error *err);

/* A restore, first half: checks that the backup `file` is whole, a store of orrery's and not of a newer program, and
 * lays a copy beside the store, as "<location>.restore", on disk. Nothing of the store is touched, a daemon may
 * be using it. From now on the next daemon that opens the store finishes the restore first. */
MUST_CHECK bool store_stage_restore(const char *location, const char *file,
                                    void (*progress)(uint64_t done_pages, uint64_t all_pages),
                                    struct error *err);
bool store_restore_is_staged(const char *location);

/* Second half, where no daemon is: puts what is staged in the store's place. The store that was there is kept beside it
 * as "<location>.before-restore" (an older one of that name goes). Atomic: after a crash there is the one or
 * the other. ERROR_CONFLICT, naming the process, if a daemon has the store. */
MUST_CHECK bool store_finish_restore(const char *location, struct error *err);

/* The process id of the daemon that has the store; 0: none. Fails where there is one that cannot be seen from here
 * (another user's, or in another container). */
MUST_CHECK bool store_find_daemon(const char *location, int64_t *out_pid, struct error *err);

/* For commands: submits and waits. The store must be started. */
MUST_CHECK bool store_submit_and_wait(struct store *store, struct store_write *write,
                                      struct error *err);

#endif
