/* For neighbours in sqlite/: the session (driver.c opens it, writing.c writes with it) and the reader. */
#ifndef ORRERY_STORE_SQLITE_SESSION_H
#define ORRERY_STORE_SQLITE_SESSION_H

#include "store/driver.h"
#include "store/sqlite/checkpoint.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/intern.h"
#include "store/sqlite/lock.h"
#include "store/sqlite/removal.h"
#include "store/sqlite/retention.h"

struct store_session {
    char *path; /* set once; readers open it from any thread */
    struct store_lock lock;
    struct sqlite_connection connection;
    struct checkpointer checkpointer;
    struct retention retention;
    struct removal removal;
    struct wall_time now; /* of the transaction */
    struct intern_cache owners;
    struct intern_cache models;
    struct intern_cache model_files;
};

/* writing.c */
extern const char *const sqlite_writing_sql[];
extern const size_t sqlite_writing_sql_count;
MUST_CHECK bool sqlite_begin(struct store_session *session, struct wall_time now,
                             struct error *err);
enum store_applied sqlite_apply(struct store_session *session, struct store_write *write);
MUST_CHECK bool sqlite_commit(struct store_session *session, struct error *err);
void sqlite_roll_back_batch(struct store_session *session);

/* A statement without parameters. */
MUST_CHECK bool sqlite_run_plain(struct store_session *session, size_t index, struct error *err);
/* Binds and runs an insert: refused (the error is the caller's to fill) where the primary key or a unique index is
 * taken already, which changed nothing. */
enum store_applied sqlite_insert(struct store_session *session, size_t index, struct error *err,
                                 const struct sqlite_value *values, size_t value_count);
#define sqlite_insert_bound(session, index, err, ...)                                              \
    sqlite_insert(session, index, err, SQLITE_VALUES(__VA_ARGS__))
/* After a statement failed with the write's error filled: whether this write alone or the store is to blame. */
enum store_applied sqlite_broken(struct store_session *session);

/* record.c: the ledger's writes. */
enum store_applied sqlite_apply_record(struct store_session *session, struct store_write *write);
enum store_applied sqlite_apply_start(struct store_session *session, struct store_write *write);
enum store_applied sqlite_apply_finish(struct store_session *session, struct store_write *write);

/* backfills.c */
enum store_applied sqlite_apply_create_backfill(struct store_session *session,
                                                struct store_write *write);
enum store_applied sqlite_apply_cancel_backfill(struct store_session *session,
                                                struct store_write *write);

/* reading.c, history.c and backfills.c; the slots of struct store_driver */
bool sqlite_reader_open(struct store_session *session, struct store_reader **out_reader,
                        struct error *err);
void sqlite_reader_close(struct store_reader *base);
bool sqlite_reader_begin(struct store_reader *base, struct error *err);
void sqlite_reader_end(struct store_reader *base);
bool sqlite_get_run(struct store_reader *base, int64_t key, struct arena *arena,
                    struct run *out_run, struct error *err);
bool sqlite_list_runs(struct store_reader *base, const struct run_filter *filter,
                      struct arena *arena, struct run **out_runs, size_t *out_count,
                      uint64_t *out_total, struct error *err);
bool sqlite_load_runs(struct store_reader *base, void (*each)(const struct run *run, void *context),
                      void *context, struct error *err);
bool sqlite_get_execution(struct store_reader *base, int64_t key, struct arena *arena,
                          struct execution *out_execution, const char **out_owner,
                          struct error *err);
bool sqlite_list_executions(struct store_reader *base, const struct execution_filter *filter,
                            struct arena *arena, struct execution **out_executions,
                            size_t *out_count, int64_t *out_next_cursor, struct error *err);
bool sqlite_load_active(struct store_reader *base,
                        void (*each)(const struct execution *execution, void *context),
                        void *context, struct error *err);
bool sqlite_get_run_totals(struct store_reader *base, int64_t run_key,
                           struct run_totals *out_totals, struct error *err);
bool sqlite_get_backfill(struct store_reader *base, int64_t key, struct arena *arena,
                         struct backfill *out_backfill, const char **out_owner, struct error *err);
bool sqlite_list_backfills(struct store_reader *base, int64_t run_key, int64_t before_key,
                           uint32_t limit, struct arena *arena, struct backfill **out_backfills,
                           size_t *out_count, struct error *err);
bool sqlite_count_backfill(struct store_reader *base, int64_t key,
                           uint64_t out_count[EXECUTION_MISSED + 1], struct error *err);
bool sqlite_load_backfills(struct store_reader *base,
                           void (*each)(const struct backfill *backfill, void *context),
                           void *context, struct error *err);
bool sqlite_get_api_key(struct store_reader *base, const char *id, struct arena *arena,
                        struct api_key *out_key, struct error *err);
bool sqlite_list_api_keys(struct store_reader *base, struct arena *arena, struct api_key **out_keys,
                          size_t *out_count, struct error *err);
bool sqlite_check(struct store_reader *base, struct error *err);

#endif
