#include "store/sqlite/names.h"
#include "store/sqlite/statements.h"

/* Every statement that writes. Parameters are numbered in the order of the struct's fields. */
const char *const sqlite_writing_sql[] = {
    [WRITE_BEGIN] = "BEGIN IMMEDIATE",
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
        " retry_max_backoff_us, start_at, end_at, created_at, updated_at)"
        " VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,"
        " ?18, ?19, ?20, ?21, ?22, ?23, ?24)",
    [WRITE_INSERT_RUN_STATE] =
        "INSERT INTO run_state (run_key, next_run, last_run) VALUES (?1, ?2, ?3)",
    [WRITE_FIND_RUN] = "SELECT revision, owner_key, model_key FROM runs"
                       " WHERE key = ?1 AND deleted_at IS NULL",
    [WRITE_UPDATE_RUN] =
        "UPDATE runs SET revision = revision + 1, model_key = ?3, model_version = ?4, schedule = "
        "?5,"
        " zone_name = ?6, parameters = ?7, name = ?8, description = ?9, enabled = ?10,"
        " overlap = ?11, catchup = ?12, dst_missing = ?13, dst_repeated = ?14,"
        " catchup_window_us = ?15, jitter_us = ?16, timeout_us = ?17, retry_max_attempts = ?18,"
        " retry_backoff_us = ?19, retry_max_backoff_us = ?20, start_at = ?21, end_at = ?22,"
        " updated_at = ?24 WHERE key = ?1",
    [WRITE_UPDATE_NEXT_RUN] = "UPDATE run_state SET next_run = ?2 WHERE run_key = ?1",
    [WRITE_DELETE_RUN] = "UPDATE runs SET deleted_at = ?2, enabled = 0, parameters = 'null',"
                         " name = NULL, description = NULL, revision = revision + 1 WHERE key = ?1",
    [WRITE_DISABLE_RUN] = "UPDATE runs SET enabled = 0, revision = revision + 1 WHERE key = ?1",
    [WRITE_COUNT_RUN] =
        "INSERT INTO run_counts (owner_key, model_key, run_count) VALUES (?1, ?2, 1)"
        " ON CONFLICT DO UPDATE SET run_count = run_count + 1",
    [WRITE_UNCOUNT_RUN] = "UPDATE run_counts SET run_count = run_count - 1"
                          " WHERE owner_key = ?1 AND model_key = ?2",
    [WRITE_DROP_RUN_COUNT] = "DELETE FROM run_counts"
                             " WHERE owner_key = ?1 AND model_key = ?2 AND run_count = 0",

    [WRITE_FIND_LEDGER] = "SELECT r.revision, r.deleted_at, s.next_run, s.last_run, "
                          "s.last_execution_key, r.parameters"
                          " FROM runs r JOIN run_state s ON s.run_key = r.key WHERE r.key = ?1",
    [WRITE_INSERT_EXECUTION] =
        "INSERT INTO executions (key, run_key, slot, trigger, attempt, queued_at, model_key,"
        " previous_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [WRITE_FIND_PREVIOUS] = "SELECT previous_key FROM executions WHERE key = ?1",
    [WRITE_SET_PREVIOUS] = "UPDATE executions SET previous_key = ?2 WHERE key = ?1",
    [WRITE_MOVE_RUN] = "UPDATE run_state SET next_run = ?2, last_run = ?3, last_execution_key = ?4"
                       " WHERE run_key = ?1",
    [WRITE_INSERT_ACTIVE] = "INSERT INTO active (execution_key, status, started_at, parameters)"
                            " VALUES (?1, ?2, ?3, ?4)",
    [WRITE_FIND_ACTIVE] = "SELECT parameters FROM active WHERE execution_key = ?1",
    [WRITE_FIND_TO_START] =
        "SELECT e.run_key, a.status, r.deleted_at, coalesce(a.parameters, r.parameters)"
        " FROM active a JOIN executions e ON e.key = a.execution_key JOIN runs r ON r.key = "
        "e.run_key"
        " WHERE a.execution_key = ?1",
    [WRITE_START] = "UPDATE active SET status = 1, started_at = ?2 WHERE execution_key = ?1",
    [WRITE_SET_LAST_RUN] = "UPDATE run_state SET last_run = ?2"
                           " WHERE run_key = ?1 AND (last_run IS NULL OR last_run < ?2)",
    [WRITE_DELETE_ACTIVE] = "DELETE FROM active WHERE execution_key = ?1",
    [WRITE_INSERT_OUTCOME] =
        "INSERT INTO outcomes (execution_key, status, started_at, finished_at, duration_us,"
        " model_file_key, error_type, error_message, blocked_by, missed_from, missed_to,"
        " missed_count, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",

    [WRITE_INSERT_API_KEY] =
        "INSERT INTO api_keys (id, hash, owner_key, admin, created_at, revoked_at)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [WRITE_REVOKE_API_KEY] = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?2)"
                             " WHERE id = ?1",
};
const size_t sqlite_writing_sql_count = COUNT_OF(sqlite_writing_sql);

static bool run_simple(struct store_session *session, size_t index, struct error *err) {
    sqlite3_stmt *statement;
    return sqlite_statement(&session->connection, index, &statement, err) &&
           sqlite_run(&session->connection, statement, err);
}

bool sqlite_begin(struct store_session *session, struct wall_time now, struct error *err) {
    session->now = now;
    return run_simple(session, WRITE_BEGIN, err);
}

bool sqlite_commit(struct store_session *session, struct error *err) {
    return run_simple(session, WRITE_COMMIT, err);
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

enum store_applied sqlite_insert(struct store_session *session, sqlite3_stmt *statement,
                                 struct error *err) {
    sqlite3 *db = session->connection.db;
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

static void bind_run(sqlite3_stmt *statement, const struct run *run, int64_t owner_key,
                     int64_t model_key) {
    sqlite_bind_integer(statement, 1, run->key);
    sqlite_bind_integer(statement, 2, owner_key);
    sqlite_bind_integer(statement, 3, model_key);
    sqlite_bind_integer(statement, 4, run->model_version);
    sqlite_bind_text(statement, 5, run->schedule);
    sqlite_bind_text(statement, 6, run->zone_name);
    sqlite_bind_text(statement, 7, run->parameters);
    sqlite_bind_text(statement, 8, run->name);
    sqlite_bind_text(statement, 9, run->description);
    sqlite_bind_integer(statement, 10, run->enabled);
    sqlite_bind_integer(statement, 11, run->overlap);
    sqlite_bind_integer(statement, 12, run->catchup);
    sqlite_bind_integer(statement, 13, run->dst_missing);
    sqlite_bind_integer(statement, 14, run->dst_repeated);
    sqlite_bind_integer(statement, 15, run->catchup_window.us);
    sqlite_bind_integer(statement, 16, run->jitter.us);
    sqlite_bind_integer(statement, 17, run->timeout.us);
    sqlite_bind_integer(statement, 18, run->retry.max_attempts);
    sqlite_bind_integer(statement, 19, run->retry.backoff.us);
    sqlite_bind_integer(statement, 20, run->retry.max_backoff.us);
    sqlite_bind_time(statement, 21, run->start_at);
    sqlite_bind_time(statement, 22, run->end_at);
    sqlite_bind_time(statement, 23, run->created_at);
    sqlite_bind_time(statement, 24, run->updated_at);
}

static bool count_run(struct store_session *session, int64_t owner_key, int64_t model_key,
                      struct error *err) {
    sqlite3_stmt *statement;
    if (!sqlite_statement(&session->connection, WRITE_COUNT_RUN, &statement, err)) {
        return false;
    }
    sqlite_bind_integer(statement, 1, owner_key);
    sqlite_bind_integer(statement, 2, model_key);
    return sqlite_run(&session->connection, statement, err);
}

static bool uncount_run(struct store_session *session, int64_t owner_key, int64_t model_key,
                        struct error *err) {
    const size_t steps[] = {WRITE_UNCOUNT_RUN, WRITE_DROP_RUN_COUNT};
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        sqlite3_stmt *statement;
        if (!sqlite_statement(&session->connection, steps[i], &statement, err)) {
            return false;
        }
        sqlite_bind_integer(statement, 1, owner_key);
        sqlite_bind_integer(statement, 2, model_key);
        if (!sqlite_run(&session->connection, statement, err)) {
            return false;
        }
    }
    return true;
}

static enum store_applied create_run(struct store_session *session, struct store_write *write) {
    const struct run *run = write->run;
    int64_t owner_key;
    int64_t model_key;
    sqlite3_stmt *insert;
    sqlite3_stmt *insert_state;
    if (!sqlite_intern_owner(session, run->owner, &owner_key, &write->err) ||
        !sqlite_intern_model(session, run->model_name, &model_key, &write->err) ||
        !sqlite_statement(&session->connection, WRITE_INSERT_RUN, &insert, &write->err) ||
        !sqlite_statement(&session->connection, WRITE_INSERT_RUN_STATE, &insert_state,
                          &write->err)) {
        return sqlite_broken(session);
    }
    bind_run(insert, run, owner_key, model_key);
    enum store_applied applied = sqlite_insert(session, insert, &write->err);
    if (applied == STORE_REFUSED) {
        error_set(&write->err, ERROR_CONFLICT, "a scheduled run with this id is there already");
    }
    if (applied != STORE_APPLIED) {
        return applied;
    }
    sqlite_bind_integer(insert_state, 1, run->key);
    sqlite_bind_time(insert_state, 2, run->next_run);
    sqlite_bind_time(insert_state, 3, run->last_run);
    if (!sqlite_run(&session->connection, insert_state, &write->err) ||
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
};

/* The run that a change is about; refuses one that is not there or not as the sender knew it. */
static enum store_applied find_run(struct store_session *session, struct store_write *write,
                                   int64_t key, struct stored_run *out_run) {
    sqlite3_stmt *find;
    if (!sqlite_statement(&session->connection, WRITE_FIND_RUN, &find, &write->err)) {
        return sqlite_broken(session);
    }
    sqlite_bind_integer(find, 1, key);
    int code = sqlite3_step(find);
    enum store_applied applied = STORE_APPLIED;
    if (code == SQLITE_ROW) {
        *out_run = (struct stored_run){.revision = sqlite_integer(find, 0),
                                       .owner_key = sqlite_integer(find, 1),
                                       .model_key = sqlite_integer(find, 2)};
        if (write->expected_revision != 0 &&
            write->expected_revision != (uint64_t)out_run->revision) {
            error_set(&write->err, ERROR_STALE, "the scheduled run has been changed meanwhile");
            applied = STORE_REFUSED;
        }
    } else if (code == SQLITE_DONE) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no such scheduled run");
        applied = STORE_REFUSED;
    } else {
        sqlite_fail(session->connection.db, code, &write->err);
        applied = sqlite_broken(session);
    }
    sqlite3_reset(find);
    return applied;
}

static bool set_next_run(struct store_session *session, int64_t run_key, struct wall_time next_run,
                         struct error *err) {
    sqlite3_stmt *statement;
    if (!sqlite_statement(&session->connection, WRITE_UPDATE_NEXT_RUN, &statement, err)) {
        return false;
    }
    sqlite_bind_integer(statement, 1, run_key);
    sqlite_bind_time(statement, 2, next_run);
    return sqlite_run(&session->connection, statement, err);
}

static enum store_applied update_run(struct store_session *session, struct store_write *write) {
    const struct run *run = write->run;
    struct stored_run stored;
    enum store_applied applied = find_run(session, write, run->key, &stored);
    if (applied != STORE_APPLIED) {
        return applied;
    }
    int64_t model_key;
    sqlite3_stmt *update;
    if (!sqlite_intern_model(session, run->model_name, &model_key, &write->err) ||
        !sqlite_statement(&session->connection, WRITE_UPDATE_RUN, &update, &write->err)) {
        return sqlite_broken(session);
    }
    bind_run(update, run, stored.owner_key, model_key);
    bool recounts = model_key != stored.model_key;
    if (!sqlite_run(&session->connection, update, &write->err) ||
        !set_next_run(session, run->key, run->next_run, &write->err) ||
        (recounts && (!uncount_run(session, stored.owner_key, stored.model_key, &write->err) ||
                      !count_run(session, stored.owner_key, model_key, &write->err)))) {
        return sqlite_broken(session);
    }
    write->out_revision = (uint64_t)stored.revision + 1;
    return STORE_APPLIED;
}

static enum store_applied delete_run(struct store_session *session, struct store_write *write) {
    struct stored_run stored;
    enum store_applied applied = find_run(session, write, write->run_key, &stored);
    if (applied != STORE_APPLIED) {
        return applied;
    }
    sqlite3_stmt *delete;
    if (!sqlite_statement(&session->connection, WRITE_DELETE_RUN, &delete, &write->err)) {
        return sqlite_broken(session);
    }
    sqlite_bind_integer(delete, 1, write->run_key);
    sqlite_bind_time(delete, 2, session->now);
    if (!sqlite_run(&session->connection, delete, &write->err) ||
        !set_next_run(session, write->run_key, WALL_TIME_NONE, &write->err) ||
        !uncount_run(session, stored.owner_key, stored.model_key, &write->err)) {
        return sqlite_broken(session);
    }
    return STORE_APPLIED;
}

/* --- API keys ----------------------------------------------------------------------------------- */

static enum store_applied create_api_key(struct store_session *session, struct store_write *write) {
    const struct api_key *key = write->api_key;
    int64_t owner_key;
    sqlite3_stmt *insert;
    if (!sqlite_intern_owner(session, key->owner, &owner_key, &write->err) ||
        !sqlite_statement(&session->connection, WRITE_INSERT_API_KEY, &insert, &write->err)) {
        return sqlite_broken(session);
    }
    sqlite_bind_text(insert, 1, key->id);
    sqlite_bind_blob(insert, 2, key->hash, sizeof key->hash);
    sqlite_bind_integer(insert, 3, owner_key);
    sqlite_bind_integer(insert, 4, key->admin);
    sqlite_bind_time(insert, 5, key->created_at);
    sqlite_bind_time(insert, 6, key->revoked_at);
    enum store_applied applied = sqlite_insert(session, insert, &write->err);
    if (applied == STORE_REFUSED) {
        error_set(&write->err, ERROR_CONFLICT, "an API key with this id is there already");
    }
    return applied;
}

static enum store_applied revoke_api_key(struct store_session *session, struct store_write *write) {
    sqlite3_stmt *revoke;
    if (!sqlite_statement(&session->connection, WRITE_REVOKE_API_KEY, &revoke, &write->err)) {
        return sqlite_broken(session);
    }
    sqlite_bind_text(revoke, 1, write->api_key->id);
    sqlite_bind_time(revoke, 2, write->api_key->revoked_at);
    if (!sqlite_run(&session->connection, revoke, &write->err)) {
        return sqlite_broken(session);
    }
    if (sqlite3_changes(session->connection.db) == 0) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no API key with this id");
        return STORE_REFUSED;
    }
    return STORE_APPLIED;
}

enum store_applied sqlite_apply(struct store_session *session, struct store_write *write) {
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
    case STORE_CANCEL_BACKFILL:
        break;
    }
    ASSERT(false);
}
