/* For neighbours in sqlite/: the tables, and how a store of an older version becomes one of this.
 *
 * The ledger is append-friendly. Ids are time-ordered numbers (base/identity.h) and the primary keys, so that
 * new rows go to the end of their tables. What a firing touches is narrow:
 *
 *   runs        one row a run: its configuration; changes rarely. A deleted run keeps its row, emptied.
 *   run_state   what every firing moves: next_run, last_run, the newest execution, how many the chain has at most
 *               (what retention removes by age is not subtracted).
 *   executions  facts, never changed: which run, which slot, why. `previous_key` is the run's execution before
 *               this one: a chain from the newest to the oldest, so that a run's history needs no index.
 *               Keys fall along the chain.
 *   active      the few executions that have not ended, queued or running, and with what they run: as their run was
 *               when they were recorded. Their parameters are the run's as long as these stay the same.
 *   outcomes    how an execution ended, inserted once.
 *   result_files   which outcomes' results are in files beside the store (store/results.h), and how large
 *
 * An execution is in exactly one of `active` and `outcomes`. A firing appends to executions and active and moves
 * run_state; its end appends to outcomes and takes it out of active.
 *
 *   backfills      ranges of slots that are executed again; their executions name them
 *   removed_totals how many executions of a run retention has removed, by status
 *
 *   owners, models, model_files   names that repeat, once; never deleted
 *   run_counts                    how many runs there are by owner and model, for the totals of lists
 *
 * Times are microseconds since the epoch, durations microseconds, enumerations the numbers of run/run.h. The
 * views scheduled_runs, execution_history and run_backfills show them as people read them. */
#ifndef ORRERY_STORE_SQLITE_SCHEMA_H
#define ORRERY_STORE_SQLITE_SCHEMA_H

#include "store/sqlite/connection.h"

/* "orry": tells an orrery store from any other SQLite file (PRAGMA application_id). */
enum { SCHEMA_APPLICATION_ID = 0x6f727279 };

/* The first version that has the table result_files. */
enum { SCHEMA_WITH_RESULT_FILES = 3 };

/* The version that this program writes. */
int64_t schema_newest_version(void);

/* The file's version (PRAGMA user_version); 0: empty. Fails if the file is another program's, or newer than this
 * program. */
MUST_CHECK bool schema_read_version(struct sqlite_connection *connection, int64_t *out_version,
                                    struct error *err);

/* Brings the file to the newest version, each step in its own transaction. */
MUST_CHECK bool schema_migrate(struct sqlite_connection *connection, struct error *err);

#endif
