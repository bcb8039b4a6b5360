#include "store/sqlite/names.h"
#include "store/sqlite/statements.h"

#include <string.h>

/* Of one run's executions only the oldest go: none that has not ended, and none that is newer than such a one. (So few
 * executions are active and as old as what is removed that this costs next to nothing.) */
#define MAY_BE_REMOVED                                                                             \
    "NOT EXISTS (SELECT 1 FROM active a WHERE a.execution_key <= e.key AND a.run_key = e.run_key)"
#define ADD_TO_TOTALS                                                                              \
    " ON CONFLICT DO UPDATE SET execution_count = execution_count + excluded.execution_count,"     \
    " duration_us = duration_us + excluded.duration_us,"                                           \
    " missed_slots = missed_slots + excluded.missed_slots"

/* Every statement that writes. Parameters are numbered in the order of the struct's fields. */
const char *const sqlite_writing_sql[] = {
    [WRITE_BEGIN] = "BEGIN IMMEDIATE",
    [WRITE_BEGIN_READING] = "BEGIN",
    [WRITE_COMMIT] = "COMMIT",
    [WRITE_SAVEPOINT] = "SAVEPOINT write_of_many",
    [WRITE_RELEASE] = "RELEASE write_of_many",
    [WRITE_ROLLBACK_TO] = "ROLLBACK TO write_of_many",

    [WRITE_FIND_OWNER] = "SELECT key FROM owners WHERE name = ?1",
    [WRITE_INSERT_OWNER] = "INSERT INTO owners (name) VALUES (?1)",
    [WRITE_FIND_MODEL] = "SELECT key FROM models WHERE name = ?1",
    [WRITE_INSERT_MODEL] = "INSERT INTO models (name) VALUES (?1)",
    [WRITE_FIND_MODEL_FILE] = "SELECT key FROM model_files"
                              " WHERE model_key = ?1 AND version = ?2 AND digest = ?3",
    [WRITE_INSERT_MODEL_FILE] = "INSERT INTO model_files (model_key, version, digest)"
                                " VALUES (?1, ?2, ?3)",

    [WRITE_INSERT_RUN] =
        "INSERT INTO runs (key, revision, owner_key, model_key, model_version, schedule, zone_name,"
        " parameters, name, description, enabled, overlap, catchup, dst_missing, dst_repeated,"
        " catchup_window_us, jitter_us, timeout_us, retry_max_attempts, retry_backoff_us,"
        " retry_max_backoff_us, start_at, end_at, created_at, updated_at, priority, paused_at,"
        " note, retry_non_retryable)"
        " VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,"
        " ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)",
    [WRITE_INSERT_RUN_STATE] =
        "INSERT INTO run_state (run_key, next_run, last_run) VALUES (?1, ?2, ?3)",
    [WRITE_FIND_RUN] = "SELECT revision, owner_key, model_key, parameters IS NOT ?2 FROM runs"
                       " WHERE key = ?1 AND deleted_at IS NULL",
    [WRITE_UPDATE_RUN] =
        "UPDATE runs SET revision = revision + 1, model_key = ?3, model_version = ?4, schedule = "
        "?5,"
        " zone_name = ?6, parameters = ?7, name = ?8, description = ?9, enabled = ?10,"
        " overlap = ?11, catchup = ?12, dst_missing = ?13, dst_repeated = ?14,"
        " catchup_window_us = ?15, jitter_us = ?16, timeout_us = ?17, retry_max_attempts = ?18,"
        " retry_backoff_us = ?19, retry_max_backoff_us = ?20, start_at = ?21, end_at = ?22,"
        " updated_at = ?24, priority = ?25, paused_at = ?26, note = ?27,"
        " retry_non_retryable = ?28 WHERE key = ?1",
    [WRITE_PIN_PARAMETERS] =
        "UPDATE active SET parameters = (SELECT parameters FROM runs WHERE key = ?1)"
        " WHERE run_key = ?1 AND parameters IS NULL",
    [WRITE_UPDATE_NEXT_RUN] =
        "UPDATE run_state SET next_run = ?2, settled_until = ?3 WHERE run_key = ?1",
    [WRITE_FIND_SCHEDULE] =
        "SELECT r.key, m.name, r.schedule, r.zone_name, r.dst_missing, r.dst_repeated, r.start_at,"
        " r.end_at, r.enabled, r.paused_at, r.created_at, s.settled_until FROM runs r"
        " JOIN run_state s ON s.run_key = r.key JOIN models m ON m.key = r.model_key"
        " WHERE r.key = ?1",
    [WRITE_DELETE_RUN] = "UPDATE runs SET deleted_at = ?2, enabled = 0, parameters = 'null',"
                         " name = NULL, description = NULL, note = NULL, revision = revision + 1"
                         " WHERE key = ?1",
    [WRITE_DISABLE_RUN] = "UPDATE runs SET enabled = 0, revision = revision + 1 WHERE key = ?1",
    [WRITE_COUNT_RUN] =
        "INSERT INTO run_counts (owner_key, model_key, run_count) VALUES (?1, ?2, 1)"
        " ON CONFLICT DO UPDATE SET run_count = run_count + 1",
    [WRITE_UNCOUNT_RUN] = "UPDATE run_counts SET run_count = run_count - 1"
                          " WHERE owner_key = ?1 AND model_key = ?2",
    [WRITE_DROP_RUN_COUNT] = "DELETE FROM run_counts"
                             " WHERE owner_key = ?1 AND model_key = ?2 AND run_count = 0",

    [WRITE_FIND_LEDGER] = "SELECT r.revision, r.deleted_at, s.next_run, s.last_run, "
                          "s.last_execution_key, r.parameters, s.execution_count, s.settled_until"
                          " FROM runs r JOIN run_state s ON s.run_key = r.key WHERE r.key = ?1",
    [WRITE_INSERT_EXECUTION] =
        "INSERT INTO executions (key, run_key, slot, trigger, attempt, queued_at, model_key,"
        " previous_key, backfill_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [WRITE_FIND_PREVIOUS] = "SELECT previous_key FROM executions WHERE key = ?1",
    [WRITE_SET_PREVIOUS] = "UPDATE executions SET previous_key = ?2 WHERE key = ?1",
    [WRITE_MOVE_RUN] = "UPDATE run_state SET next_run = ?2, last_run = ?3, last_execution_key = ?4,"
                       " execution_count = execution_count + ?5,"
                       " settled_until = coalesce(max(settled_until, ?6), ?6, settled_until)"
                       " WHERE run_key = ?1",
    [WRITE_INSERT_ACTIVE] =
        "INSERT INTO active (execution_key, run_key, status, started_at, model_version, timeout_us,"
        " not_before, parameters) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [WRITE_FIND_ACTIVE] = "SELECT parameters FROM active WHERE execution_key = ?1",
    [WRITE_FIND_TO_START] =
        "SELECT a.run_key, a.status, r.deleted_at, coalesce(a.parameters, r.parameters)"
        " FROM active a JOIN runs r ON r.key = a.run_key WHERE a.execution_key = ?1",
    [WRITE_START] = "UPDATE active SET status = 1, started_at = ?2 WHERE execution_key = ?1",
    [WRITE_SET_LAST_RUN] = "UPDATE run_state SET last_run = ?2"
                           " WHERE run_key = ?1 AND (last_run IS NULL OR last_run < ?2)",
    [WRITE_DELETE_ACTIVE] = "DELETE FROM active WHERE execution_key = ?1",
    [WRITE_INSERT_OUTCOME] =
        "INSERT INTO outcomes (execution_key, status, started_at, finished_at, duration_us,"
        " model_file_key, error_type, error_message, blocked_by, missed_from, missed_to,"
        " missed_count, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",

    [WRITE_INSERT_RESULT_FILE] =
        "INSERT INTO result_files (execution_key, size_bytes) VALUES (?1, ?2)",
    [WRITE_FIND_RESULT_FILE] = "SELECT 1 FROM result_files WHERE execution_key = ?1",
    [WRITE_FIND_ANY_RESULT_FILE] = "SELECT 1 FROM result_files LIMIT 1",
    [WRITE_FIND_RANGE_RESULT_FILES] =
        "SELECT e.key FROM result_files f CROSS JOIN executions e ON e.key = f.execution_key"
        " WHERE f.execution_key BETWEEN ?1 AND ?2 AND " MAY_BE_REMOVED,
    [WRITE_DELETE_RESULT_FILE] = "DELETE FROM result_files WHERE execution_key = ?1",

    [WRITE_FIND_OLDEST] = "SELECT min(key) FROM executions WHERE key >= ?1",
    [WRITE_FIND_NEWEST] = "SELECT max(key) FROM executions",
    [WRITE_FIND_SWEEP_STEP] =
        "SELECT max(key) FROM"
        " (SELECT key FROM executions WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3)",
    [WRITE_MEASURE] = "SELECT (p.page_count - f.freelist_count) * s.page_size"
                      " + (SELECT coalesce(sum(size_bytes), 0) FROM result_files)"
                      " FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s",
    [WRITE_MEASURE_RUNS] = "SELECT coalesce(sum(length(parameters)), 0) + 512 * count(*) FROM runs",
    [WRITE_ADD_RANGE_TO_TOTALS] =
        "INSERT INTO removed_totals (run_key, status, execution_count, duration_us, missed_slots)"
        " SELECT e.run_key, o.status, count(*),"
        " sum(CASE WHEN o.started_at IS NULL THEN 0 ELSE o.duration_us END),"
        " coalesce(sum(o.missed_count), 0)"
        " FROM executions e CROSS JOIN outcomes o ON o.execution_key = e.key"
        " WHERE e.key BETWEEN ?1 AND ?2 AND " MAY_BE_REMOVED " GROUP BY 1, 2" ADD_TO_TOTALS,
    [WRITE_DELETE_RANGE] =
        "DELETE FROM executions AS e WHERE e.key BETWEEN ?1 AND ?2 AND " MAY_BE_REMOVED,
    [WRITE_DELETE_RANGE_OUTCOMES] =
        "DELETE FROM outcomes WHERE execution_key BETWEEN ?1 AND ?2"
        " AND EXISTS (SELECT 1 FROM executions e WHERE e.key = outcomes.execution_key"
        "  AND " MAY_BE_REMOVED ")",
    [WRITE_FIND_CHAIN] = "SELECT last_execution_key, execution_count FROM run_state"
                         " WHERE run_key = ?1",
    [WRITE_FIND_OLDEST_ACTIVE] = "SELECT min(execution_key) FROM active WHERE run_key = ?1",
    [WRITE_FIND_ENDED] = "SELECT e.previous_key, o.status,"
                         " CASE WHEN o.started_at IS NULL THEN 0 ELSE o.duration_us END,"
                         " coalesce(o.missed_count, 0)"
                         " FROM executions e CROSS JOIN outcomes o ON o.execution_key = e.key"
                         " WHERE e.key = ?1",
    [WRITE_DELETE_EXECUTION] = "DELETE FROM executions WHERE key = ?1",
    [WRITE_DELETE_OUTCOME] = "DELETE FROM outcomes WHERE execution_key = ?1",
    [WRITE_ADD_TO_TOTALS] =
        "INSERT INTO removed_totals (run_key, status, execution_count, duration_us, missed_slots)"
        " VALUES (?1, ?2, ?3, ?4, ?5)" ADD_TO_TOTALS,
    [WRITE_SET_EXECUTION_COUNT] = "UPDATE run_state SET execution_count = ?2 WHERE run_key = ?1",

    [WRITE_INSERT_BACKFILL] =
        "INSERT INTO backfills (key, run_key, from_slot, to_slot, next_slot, slot_count,"
        " parallelism, created_at, cancelled_at, parameters)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [WRITE_FIND_BACKFILL] = "SELECT b.cancelled_at, b.next_slot, r.deleted_at, b.parameters"
                            " FROM backfills b JOIN runs r ON r.key = b.run_key WHERE b.key = ?1",
    [WRITE_FIND_BACKFILL_ACTIVE] =
        "SELECT 1 FROM active a CROSS JOIN executions e ON e.key = a.execution_key"
        " WHERE e.backfill_key = ?1 LIMIT 1",
    [WRITE_MOVE_BACKFILL] = "UPDATE backfills SET next_slot = ?2 WHERE key = ?1",
    [WRITE_CANCEL_BACKFILL] = "UPDATE backfills SET cancelled_at = ?2 WHERE key = ?1",
    [WRITE_CANCEL_BACKFILLS_OF_RUN] =
        "UPDATE backfills SET parameters = NULL, cancelled_at ="
        " CASE WHEN next_slot IS NULL THEN cancelled_at ELSE coalesce(cancelled_at, ?2) END"
        " WHERE run_key = ?1",

    [WRITE_INSERT_API_KEY] =
        "INSERT INTO api_keys (id, hash, owner_key, admin, created_at, revoked_at)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [WRITE_REVOKE_API_KEY] = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?2)"
                             " WHERE id = ?1",
};
const size_t sqlite_writing_sql_count = COUNT_OF(sqlite_writing_sql);

bool sqlite_run_plain(struct store_session *session, size_t index, struct error *err) {
    return sqlite_run_values(&session->connection, index, err, NULL, 0);
}

bool sqlite_begin(struct store_session *session, struct wall_time now, struct error *err) {
    session->now = now;
    return retention_end_relaxed(session, err) && sqlite_run_plain(session, WRITE_BEGIN, err);
}

bool sqlite_commit(struct store_session *session, struct error *err) {
    if (!sqlite_run_plain(session, WRITE_COMMIT, err)) {
        return false;
    }
    removal_carry_out(&session->removal);
    return true;
}

void sqlite_roll_back_batch(struct store_session *session) {
    sqlite_rollback(&session->connection);
    sqlite_forget_names(session); /* some of them were rolled back */
}

enum store_applied sqlite_broken(struct store_session *session) {
    switch (sqlite3_errcode(session->connection.db) & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
        return STORE_WRITE_FAILED;
    default:
        return STORE_FAILED;
    }
}

enum store_applied sqlite_insert(struct store_session *session, size_t index, struct error *err,
                                 const struct sqlite_value *values, size_t value_count) {
    sqlite3 *db = session->connection.db;
    sqlite3_stmt *statement;
    if (!sqlite_statement(&session->connection, index, &statement, err)) {
        return sqlite_broken(session);
    }
    sqlite_bind(statement, values, value_count);
    int code = sqlite3_step(statement);
    enum store_applied applied = STORE_APPLIED;
    if (code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_UNIQUE) {
        applied = STORE_REFUSED;
    } else if (code != SQLITE_DONE) {
        sqlite_fail(db, code, err);
        applied = sqlite_broken(session);
    }
    sqlite3_reset(statement);
    return applied;
}

/* --- runs -------------------------------------------------------------------------------------- */

/* The parameters of WRITE_INSERT_RUN and WRITE_UPDATE_RUN, in their order. `kinds` is borrowed for them. */
enum { RUN_VALUES = 28 };
static void fill_run_values(struct sqlite_value values[static RUN_VALUES], const struct run *run,
                            int64_t owner_key, int64_t model_key, const char *kinds) {
    const struct sqlite_value filled[] = {
        value_integer(run->key),
        value_integer(owner_key),
        value_integer(model_key),
        value_integer(run->model_version),
        value_text(run->schedule),
        value_text(run->zone_name),
        value_text(run->parameters),
        value_text(run->name),
        value_text(run->description),
        value_integer(run->enabled),
        value_integer(run->overlap),
        value_integer(run->catchup),
        value_integer(run->dst_missing),
        value_integer(run->dst_repeated),
        value_integer(run->catchup_window.us),
        value_integer(run->jitter.us),
        value_integer(run->timeout.us),
        value_integer(run->retry.max_attempts),
        value_integer(run->retry.backoff.us),
        value_integer(run->retry.max_backoff.us),
        value_time(run->start_at),
        value_time(run->end_at),
        value_time(run->created_at),
        value_time(run->updated_at),
        value_integer(run->priority),
        value_time(run->paused_at),
        value_text(run->note),
        value_text(kinds),
    };
    _Static_assert(COUNT_OF(filled) == RUN_VALUES, "a value for each parameter");
    memcpy(values, filled, sizeof filled);
}

/* All kinds together are no longer. */
enum { KINDS_BYTES_MAXIMUM = 2048 };

static bool count_run(struct store_session *session, int64_t owner_key, int64_t model_key,
                      struct error *err) {
    return sqlite_run_bound(&session->connection, WRITE_COUNT_RUN, err, value_integer(owner_key),
                            value_integer(model_key));
}

static bool uncount_run(struct store_session *session, int64_t owner_key, int64_t model_key,
                        struct error *err) {
    return sqlite_run_bound(&session->connection, WRITE_UNCOUNT_RUN, err, value_integer(owner_key),
                            value_integer(model_key)) &&
           sqlite_run_bound(&session->connection, WRITE_DROP_RUN_COUNT, err,
                            value_integer(owner_key), value_integer(model_key));
}

static enum store_applied insert_run(struct store_session *session, const struct run *run,
                                     int64_t owner_key, int64_t model_key, struct error *err) {
    struct sqlite_value values[RUN_VALUES];
    struct text kinds CLEANUP(text_fini);
    text_init(&kinds, KINDS_BYTES_MAXIMUM);
    retry_kinds_append(&kinds, run->retry.non_retryable);
    fill_run_values(values, run, owner_key, model_key, text_string(&kinds));
    return sqlite_insert(session, WRITE_INSERT_RUN, err, values, RUN_VALUES);
}

static enum store_applied create_run(struct store_session *session, struct store_write *write) {
    const struct run *run = write->run;
    int64_t owner_key;
    int64_t model_key;
    if (!sqlite_intern_owner(session, run->owner, &owner_key, &write->err) ||
        !sqlite_intern_model(session, run->model_name, &model_key, &write->err)) {
        return sqlite_broken(session);
    }
    enum store_applied applied = insert_run(session, run, owner_key, model_key, &write->err);
    if (applied == STORE_REFUSED) {
        error_set(&write->err, ERROR_CONFLICT, "a scheduled run with this id is there already");
    }
    if (applied != STORE_APPLIED) {
        return applied;
    }
    if (!sqlite_run_bound(&session->connection, WRITE_INSERT_RUN_STATE, &write->err,
                          value_integer(run->key), value_time(run->next_run),
                          value_time(run->last_run)) ||
        !count_run(session, owner_key, model_key, &write->err)) {
        return sqlite_broken(session);
    }
    write->out_revision = 1;
    return STORE_APPLIED;
}

struct stored_run {
    int64_t revision;
    int64_t owner_key;
    int64_t model_key;
    bool other_parameters; /* than those that were asked about */
};

/* The run that a change is about; refuses one that is not there or not as the sender knew it. */
static enum store_applied find_run(struct store_session *session, struct store_write *write,
                                   int64_t key, const char *parameters,
                                   struct stored_run *out_run) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_RUN, &row, &found, &write->err,
                           value_integer(key), value_text(parameters))) {
        return sqlite_broken(session);
    }
    if (!found) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no such scheduled run");
        return STORE_REFUSED;
    }
    *out_run = (struct stored_run){.revision = sqlite_integer(row, 0),
                                   .owner_key = sqlite_integer(row, 1),
                                   .model_key = sqlite_integer(row, 2),
                                   .other_parameters = sqlite_integer(row, 3) != 0};
    sqlite3_reset(row);
    if (write->expected_revision != 0 && write->expected_revision != (uint64_t)out_run->revision) {
        error_set(&write->err, ERROR_STALE, "the scheduled run has been changed meanwhile");
        return STORE_REFUSED;
    }
    return STORE_APPLIED;
}

/* When the run is due from now on, and what becomes of the slots that had come: before the change itself. */
static enum store_applied settle_change(struct store_session *session, struct store_write *write,
                                        int64_t run_key, const struct run *after) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_SCHEDULE, &row, &found, &write->err,
                           value_integer(run_key))) {
        return sqlite_broken(session);
    }
    ASSERT(found);
    struct arena arena CLEANUP(arena_fini) = {0};
    struct run before = run_defaults();
    before.key = sqlite_integer(row, 0);
    before.model_name = sqlite_text(row, 1, &arena);
    before.schedule = sqlite_text(row, 2, &arena);
    before.zone_name = sqlite_text(row, 3, &arena);
    before.dst_missing = (enum dst_missing)sqlite_integer(row, 4);
    before.dst_repeated = (enum dst_repeated)sqlite_integer(row, 5);
    before.start_at = sqlite_time(row, 6);
    before.end_at = sqlite_time(row, 7);
    before.enabled = sqlite_integer(row, 8) != 0;
    before.paused_at = sqlite_time(row, 9);
    before.created_at = sqlite_time(row, 10);
    before.settled_until = sqlite_time(row, 11);
    sqlite3_reset(row);
    struct run_settlement change = run_settle_change(&before, after, write->changed_at);
    write->out_next_run = change.next_run;
    if (change.gap.missed_count == 0) {
        return sqlite_run_bound(&session->connection, WRITE_UPDATE_NEXT_RUN, &write->err,
                                value_integer(run_key), value_time(change.next_run),
                                value_time(change.settled_until))
                   ? STORE_APPLIED
                   : sqlite_broken(session);
    }
    change.gap.key = write->execution_key;
    struct store_record record = {.executions = {change.gap},
                                  .execution_count = 1,
                                  .advances = true,
                                  .next_run = change.next_run,
                                  .settled_until = change.settled_until};
    struct store_write step = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    enum store_applied applied = sqlite_apply_record(session, &step);
    write->err = step.err;
    return applied;
}

static bool replace_run(struct store_session *session, const struct run *run,
                        const struct stored_run *stored, int64_t model_key, struct error *err) {
    struct sqlite_value values[RUN_VALUES];
    struct text kinds CLEANUP(text_fini);
    text_init(&kinds, KINDS_BYTES_MAXIMUM);
    retry_kinds_append(&kinds, run->retry.non_retryable);
    fill_run_values(values, run, stored->owner_key, model_key, text_string(&kinds));
    /* First what is under way gets the old parameters for its own. */
    return (!stored->other_parameters ||
            sqlite_run_bound(&session->connection, WRITE_PIN_PARAMETERS, err,
                             value_integer(run->key))) &&
           sqlite_run_values(&session->connection, WRITE_UPDATE_RUN, err, values, RUN_VALUES);
}

static enum store_applied update_run(struct store_session *session, struct store_write *write) {
    const struct run *run = write->run;
    struct stored_run stored;
    enum store_applied applied = find_run(session, write, run->key, run->parameters, &stored);
    if (applied != STORE_APPLIED) {
        return applied;
    }
    if (!write->keeps_next_run) {
        applied = settle_change(session, write, run->key, run);
    }
    if (applied != STORE_APPLIED) {
        return applied;
    }
    int64_t model_key;
    if (!sqlite_intern_model(session, run->model_name, &model_key, &write->err) ||
        !replace_run(session, run, &stored, model_key, &write->err)) {
        return sqlite_broken(session);
    }
    if (model_key != stored.model_key &&
        (!uncount_run(session, stored.owner_key, stored.model_key, &write->err) ||
         !count_run(session, stored.owner_key, model_key, &write->err))) {
        return sqlite_broken(session);
    }
    write->out_revision = (uint64_t)stored.revision + 1;
    return STORE_APPLIED;
}

static enum store_applied delete_run(struct store_session *session, struct store_write *write) {
    struct stored_run stored;
    enum store_applied applied = find_run(session, write, write->run_key, NULL, &stored);
    if (applied != STORE_APPLIED) {
        return applied;
    }
    applied = settle_change(session, write, write->run_key, NULL);
    if (applied != STORE_APPLIED) {
        return applied;
    }
    struct sqlite_value key = value_integer(write->run_key);
    struct sqlite_value now = value_time(session->now);
    if (!sqlite_run_bound(&session->connection, WRITE_DELETE_RUN, &write->err, key, now) ||
        !sqlite_run_bound(&session->connection, WRITE_CANCEL_BACKFILLS_OF_RUN, &write->err, key,
                          now) ||
        !uncount_run(session, stored.owner_key, stored.model_key, &write->err)) {
        return sqlite_broken(session);
    }
    return STORE_APPLIED;
}

/* --- API keys ----------------------------------------------------------------------------------- */

static enum store_applied create_api_key(struct store_session *session, struct store_write *write) {
    const struct api_key *key = write->api_key;
    int64_t owner_key;
    if (!sqlite_intern_owner(session, key->owner, &owner_key, &write->err)) {
        return sqlite_broken(session);
    }
    enum store_applied applied = sqlite_insert_bound(
        session, WRITE_INSERT_API_KEY, &write->err, value_text(key->id),
        value_blob(key->hash, sizeof key->hash), value_integer(owner_key),
        value_integer(key->admin), value_time(key->created_at), value_time(key->revoked_at));
    if (applied == STORE_REFUSED) {
        error_set(&write->err, ERROR_CONFLICT, "an API key with this id is there already");
    }
    return applied;
}

static enum store_applied revoke_api_key(struct store_session *session, struct store_write *write) {
    if (!sqlite_run_bound(&session->connection, WRITE_REVOKE_API_KEY, &write->err,
                          value_text(write->api_key->id), value_time(write->api_key->revoked_at))) {
        return sqlite_broken(session);
    }
    if (sqlite3_changes(session->connection.db) == 0) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no API key with this id");
        return STORE_REFUSED;
    }
    return STORE_APPLIED;
}

enum store_applied sqlite_apply(struct store_session *session, struct store_write *write) {
    retention_note_write(&session->retention);
    switch (write->kind) {
    case STORE_CREATE_RUN:
        return create_run(session, write);
    case STORE_UPDATE_RUN:
        return update_run(session, write);
    case STORE_DELETE_RUN:
        return delete_run(session, write);
    case STORE_RECORD:
        return sqlite_apply_record(session, write);
    case STORE_START:
        return sqlite_apply_start(session, write);
    case STORE_FINISH:
        return sqlite_apply_finish(session, write);
    case STORE_CREATE_API_KEY:
        return create_api_key(session, write);
    case STORE_REVOKE_API_KEY:
        return revoke_api_key(session, write);
    case STORE_CREATE_BACKFILL:
        return sqlite_apply_create_backfill(session, write);
    case STORE_CANCEL_BACKFILL:
        return sqlite_apply_cancel_backfill(session, write);
    }
    ASSERT(false);
}
