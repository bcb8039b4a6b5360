#include "store/sqlite/names.h"
#include "store/sqlite/statements.h"

/* What the ledger knows of a run before a step. The newest execution is the head of its chain. */
struct ledger {
    struct wall_time next_run;
    struct wall_time last_run;
    int64_t last_execution_key;
};

static struct wall_time later(struct wall_time a, struct wall_time b) {
    return a.us >= b.us ? a : b; /* NONE is the least */
}

static void bind_key_or_null(sqlite3_stmt *statement, int index, int64_t key) {
    if (key == 0) {
        sqlite_bind_null(statement, index);
    } else {
        sqlite_bind_integer(statement, index, key);
    }
}

/* --- one execution ------------------------------------------------------------------------------- */

static bool find_previous(struct store_session *session, int64_t key, int64_t *out_previous_key,
                          struct error *err) {
    sqlite3_stmt *find;
    if (!sqlite_statement(&session->connection, WRITE_FIND_PREVIOUS, &find, err)) {
        return false;
    }
    sqlite_bind_integer(find, 1, key);
    int code = sqlite3_step(find);
    if (code == SQLITE_ROW) {
        *out_previous_key = sqlite_integer(find, 0); /* null reads as 0: the oldest */
    } else if (code == SQLITE_DONE) {
        *out_previous_key = 0; /* the chain was cut here, its older part removed */
    } else {
        sqlite_fail(session->connection.db, code, err);
    }
    sqlite3_reset(find);
    return code == SQLITE_ROW || code == SQLITE_DONE;
}

/* Where in the chain the key belongs. Nearly always it is the newest, and `out_next_key` is 0. A write that was
 * tried again after the disk had failed can come late: then it goes between `out_next_key` and
 * `out_previous_key`. */
static bool find_place(struct store_session *session, const struct ledger *ledger, int64_t key,
                       int64_t *out_next_key, int64_t *out_previous_key, struct error *err) {
    int64_t next_key = 0;
    int64_t previous_key = ledger->last_execution_key;
    while (previous_key > key) {
        next_key = previous_key;
        if (!find_previous(session, next_key, &previous_key, err)) {
            return false;
        }
    }
    *out_next_key = next_key;
    *out_previous_key = previous_key;
    return true;
}

static bool set_previous(struct store_session *session, int64_t key, int64_t previous_key,
                         struct error *err) {
    sqlite3_stmt *statement;
    if (!sqlite_statement(&session->connection, WRITE_SET_PREVIOUS, &statement, err)) {
        return false;
    }
    sqlite_bind_integer(statement, 1, key);
    sqlite_bind_integer(statement, 2, previous_key);
    return sqlite_run(&session->connection, statement, err);
}

/* The fact: which run, which slot, why. Refused if the slot is recorded already. */
static enum store_applied insert_execution(struct store_session *session, int64_t run_key,
                                           const struct execution *execution, struct ledger *ledger,
                                           struct error *err) {
    int64_t model_key;
    int64_t next_key;
    int64_t previous_key;
    sqlite3_stmt *insert;
    if (!sqlite_intern_model(session, execution->model_name, &model_key, err) ||
        !find_place(session, ledger, execution->key, &next_key, &previous_key, err) ||
        !sqlite_statement(&session->connection, WRITE_INSERT_EXECUTION, &insert, err)) {
        return sqlite_broken(session);
    }
    sqlite_bind_integer(insert, 1, execution->key);
    sqlite_bind_integer(insert, 2, run_key);
    sqlite_bind_time(insert, 3, execution->scheduled_for);
    sqlite_bind_integer(insert, 4, execution->trigger);
    sqlite_bind_integer(insert, 5, execution->attempt);
    sqlite_bind_time(insert, 6, execution->queued_at);
    sqlite_bind_integer(insert, 7, model_key);
    bind_key_or_null(insert, 8, previous_key);
    enum store_applied applied = sqlite_insert(session, insert, err);
    if (applied == STORE_REFUSED) {
        error_set(err, ERROR_CONFLICT, "this slot of the scheduled run is recorded already");
    }
    if (applied != STORE_APPLIED) {
        return applied;
    }
    if (next_key == 0) {
        ledger->last_execution_key = execution->key;
    } else if (!set_previous(session, next_key, execution->key, err)) {
        return sqlite_broken(session);
    }
    return STORE_APPLIED;
}

static bool insert_active(struct store_session *session, const struct execution *execution,
                          const char *parameters, struct error *err) {
    sqlite3_stmt *insert;
    if (!sqlite_statement(&session->connection, WRITE_INSERT_ACTIVE, &insert, err)) {
        return false;
    }
    sqlite_bind_integer(insert, 1, execution->key);
    sqlite_bind_integer(insert, 2, execution->status);
    sqlite_bind_time(insert, 3, execution->started_at);
    sqlite_bind_text(insert, 4, parameters);
    return sqlite_run(&session->connection, insert, err);
}

static bool insert_outcome(struct store_session *session, const struct execution *execution,
                           struct error *err) {
    int64_t model_file_key;
    sqlite3_stmt *insert;
    if (!sqlite_intern_model_file(session, execution, &model_file_key, err) ||
        !sqlite_statement(&session->connection, WRITE_INSERT_OUTCOME, &insert, err)) {
        return false;
    }
    sqlite_bind_integer(insert, 1, execution->key);
    sqlite_bind_integer(insert, 2, execution->status);
    sqlite_bind_time(insert, 3, execution->started_at);
    sqlite_bind_time(insert, 4, execution->finished_at);
    sqlite_bind_integer(insert, 5, execution->duration.us);
    bind_key_or_null(insert, 6, model_file_key);
    sqlite_bind_text(insert, 7, execution->error_type);
    sqlite_bind_text(insert, 8, execution->error_message);
    bind_key_or_null(insert, 9, execution->blocked_by);
    bool missed = execution->status == EXECUTION_MISSED;
    sqlite_bind_time(insert, 10, missed ? execution->missed_from : WALL_TIME_NONE);
    sqlite_bind_time(insert, 11, missed ? execution->missed_to : WALL_TIME_NONE);
    bind_key_or_null(insert, 12, missed ? (int64_t)execution->missed_count : 0);
    sqlite_bind_text(insert, 13, execution->result);
    return sqlite_run(&session->connection, insert, err);
}

static bool set_last_run(struct store_session *session, int64_t run_key, struct wall_time last_run,
                         struct error *err) {
    sqlite3_stmt *statement;
    if (!sqlite_statement(&session->connection, WRITE_SET_LAST_RUN, &statement, err)) {
        return false;
    }
    sqlite_bind_integer(statement, 1, run_key);
    sqlite_bind_time(statement, 2, last_run);
    return sqlite_run(&session->connection, statement, err);
}

/* --- a step of the ledger --------------------------------------------------------------------------- */

/* The parameters with which the execution is to run, for its start. */
static void hand_out_parameters(struct store_write *write, const char *parameters) {
    write->out_parameters = must_strdup(parameters == NULL ? "null" : parameters);
}

static bool has_active(const struct store_record *record) {
    for (size_t i = 0; i < record->execution_count; i++) {
        if (!execution_status_is_final(record->executions[i].status)) {
            return true;
        }
    }
    return false;
}

/* Checks the run and reads its place in the ledger. Where an attempt ends in the same step, a run that was
 * changed or deleted meanwhile is no reason to refuse: the outcome has to get in. */
static enum store_applied read_ledger(struct store_session *session, struct store_write *write,
                                      struct ledger *out_ledger) {
    sqlite3_stmt *find;
    if (!sqlite_statement(&session->connection, WRITE_FIND_LEDGER, &find, &write->err)) {
        return sqlite_broken(session);
    }
    sqlite_bind_integer(find, 1, write->run_key);
    int code = sqlite3_step(find);
    enum store_applied applied = STORE_APPLIED;
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        sqlite_fail(session->connection.db, code, &write->err);
        applied = sqlite_broken(session);
    } else if (code == SQLITE_DONE ||
               (!sqlite_is_null(find, 1) && write->record->finished == NULL)) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no such scheduled run");
        applied = STORE_REFUSED;
    } else if (write->expected_revision != 0 && write->record->finished == NULL &&
               write->expected_revision != (uint64_t)sqlite_integer(find, 0)) {
        error_set(&write->err, ERROR_STALE, "the scheduled run has been changed meanwhile");
        applied = STORE_REFUSED;
    } else {
        *out_ledger = (struct ledger){.next_run = sqlite_time(find, 2),
                                      .last_run = sqlite_time(find, 3),
                                      .last_execution_key = sqlite_integer(find, 4)};
        if (has_active(write->record) && write->record->parameters == NULL) {
            hand_out_parameters(write, sqlite_text(find, 5, NULL));
        }
    }
    sqlite3_reset(find);
    return applied;
}

/* The attempt that ends has to be active. Its retry runs with the same parameters. */
static enum store_applied check_finished(struct store_session *session, struct store_write *write,
                                         char **out_parameters) {
    sqlite3_stmt *find;
    if (!sqlite_statement(&session->connection, WRITE_FIND_ACTIVE, &find, &write->err)) {
        return sqlite_broken(session);
    }
    sqlite_bind_integer(find, 1, write->record->finished->key);
    int code = sqlite3_step(find);
    enum store_applied applied = STORE_APPLIED;
    if (code == SQLITE_ROW) {
        const char *parameters = sqlite_text(find, 0, NULL);
        *out_parameters = parameters == NULL ? NULL : must_strdup(parameters);
    } else if (code == SQLITE_DONE) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no such execution under way");
        applied = STORE_REFUSED;
    } else {
        sqlite_fail(session->connection.db, code, &write->err);
        applied = sqlite_broken(session);
    }
    sqlite3_reset(find);
    return applied;
}

static enum store_applied insert_executions(struct store_session *session,
                                            struct store_write *write, const char *parameters,
                                            struct ledger *ledger) {
    const struct store_record *record = write->record;
    for (size_t i = 0; i < record->execution_count; i++) {
        const struct execution *execution = &record->executions[i];
        enum store_applied applied =
            insert_execution(session, write->run_key, execution, ledger, &write->err);
        if (applied != STORE_APPLIED) {
            return applied;
        }
        bool ok = execution_status_is_final(execution->status)
                      ? insert_outcome(session, execution, &write->err)
                      : insert_active(session, execution, parameters, &write->err);
        if (!ok) {
            return sqlite_broken(session);
        }
        if (execution->status == EXECUTION_RUNNING) {
            ledger->last_run = later(ledger->last_run, execution->started_at);
        }
    }
    return STORE_APPLIED;
}

static bool run_simple(struct store_session *session, size_t index, struct error *err) {
    sqlite3_stmt *statement;
    return sqlite_statement(&session->connection, index, &statement, err) &&
           sqlite_run(&session->connection, statement, err);
}

/* One insert that is refused has changed nothing; of several, the first may be in already, and has to be undone
 * without harm to the other writes of the transaction. */
static enum store_applied insert_all_or_none(struct store_session *session,
                                             struct store_write *write, const char *parameters,
                                             struct ledger *ledger) {
    if (write->record->execution_count <= 1) {
        return insert_executions(session, write, parameters, ledger);
    }
    if (!run_simple(session, WRITE_SAVEPOINT, &write->err)) {
        return sqlite_broken(session);
    }
    enum store_applied applied = insert_executions(session, write, parameters, ledger);
    struct error err;
    if ((applied == STORE_REFUSED && !run_simple(session, WRITE_ROLLBACK_TO, &err)) ||
        (applied <= STORE_REFUSED && !run_simple(session, WRITE_RELEASE, &err))) {
        write->err = err;
        return STORE_FAILED;
    }
    if (applied == STORE_REFUSED) {
        sqlite_forget_names(session); /* one may have been undone with the first insert */
    }
    return applied;
}

static bool move_run(struct store_session *session, int64_t run_key, const struct ledger *ledger,
                     struct error *err) {
    sqlite3_stmt *statement;
    if (!sqlite_statement(&session->connection, WRITE_MOVE_RUN, &statement, err)) {
        return false;
    }
    sqlite_bind_integer(statement, 1, run_key);
    sqlite_bind_time(statement, 2, ledger->next_run);
    sqlite_bind_time(statement, 3, ledger->last_run);
    bind_key_or_null(statement, 4, ledger->last_execution_key);
    return sqlite_run(&session->connection, statement, err);
}

static bool disable_run(struct store_session *session, int64_t run_key, struct error *err) {
    sqlite3_stmt *statement;
    if (!sqlite_statement(&session->connection, WRITE_DISABLE_RUN, &statement, err)) {
        return false;
    }
    sqlite_bind_integer(statement, 1, run_key);
    return sqlite_run(&session->connection, statement, err);
}

static bool delete_active(struct store_session *session, int64_t execution_key, bool *out_found,
                          struct error *err) {
    sqlite3_stmt *delete;
    if (!sqlite_statement(&session->connection, WRITE_DELETE_ACTIVE, &delete, err)) {
        return false;
    }
    sqlite_bind_integer(delete, 1, execution_key);
    if (!sqlite_run(&session->connection, delete, err)) {
        return false;
    }
    *out_found = sqlite3_changes(session->connection.db) > 0;
    return true;
}

enum store_applied sqlite_apply_record(struct store_session *session, struct store_write *write) {
    const struct store_record *record = write->record;
    const struct execution *finished = record->finished;
    struct ledger ledger = {WALL_TIME_NONE, WALL_TIME_NONE, 0};
    char *inherited CLEANUP(free_pointer) = NULL;
    enum store_applied applied = read_ledger(session, write, &ledger);
    if (applied == STORE_APPLIED && finished != NULL) {
        applied = check_finished(session, write, &inherited);
    }
    const char *parameters = record->parameters == NULL ? inherited : record->parameters;
    if (applied == STORE_APPLIED) {
        applied = insert_all_or_none(session, write, parameters, &ledger);
    }
    if (applied != STORE_APPLIED) {
        return applied;
    }
    /* From here on nothing is refused. */
    if (finished != NULL) {
        bool found;
        if (!delete_active(session, finished->key, &found, &write->err) ||
            !insert_outcome(session, finished, &write->err)) {
            return sqlite_broken(session);
        }
        ledger.last_run = later(ledger.last_run, finished->started_at);
    }
    if (record->advances) {
        ledger.next_run = record->next_run;
    }
    if (!move_run(session, write->run_key, &ledger, &write->err) ||
        (record->disables && !disable_run(session, write->run_key, &write->err))) {
        return sqlite_broken(session);
    }
    if (has_active(record) && parameters != NULL) {
        free_pointer(&write->out_parameters);
        hand_out_parameters(write, parameters);
    }
    return STORE_APPLIED;
}

/* --- start and finish ------------------------------------------------------------------------------- */

static enum store_applied find_to_start(struct store_session *session, struct store_write *write,
                                        int64_t *out_run_key) {
    sqlite3_stmt *find;
    if (!sqlite_statement(&session->connection, WRITE_FIND_TO_START, &find, &write->err)) {
        return sqlite_broken(session);
    }
    sqlite_bind_integer(find, 1, write->execution_key);
    int code = sqlite3_step(find);
    enum store_applied applied = STORE_REFUSED;
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        sqlite_fail(session->connection.db, code, &write->err);
        applied = sqlite_broken(session);
    } else if (code == SQLITE_DONE) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no such execution under way");
    } else if (sqlite_integer(find, 1) != EXECUTION_QUEUED) {
        error_set(&write->err, ERROR_CONFLICT, "the execution is running already");
    } else if (!sqlite_is_null(find, 2)) {
        error_set(&write->err, ERROR_NOT_FOUND, "the execution's scheduled run was deleted");
    } else {
        *out_run_key = sqlite_integer(find, 0);
        hand_out_parameters(write, sqlite_text(find, 3, NULL));
        applied = STORE_APPLIED;
    }
    sqlite3_reset(find);
    return applied;
}

enum store_applied sqlite_apply_start(struct store_session *session, struct store_write *write) {
    int64_t run_key = 0;
    enum store_applied applied = find_to_start(session, write, &run_key);
    if (applied != STORE_APPLIED) {
        return applied;
    }
    sqlite3_stmt *start;
    if (!sqlite_statement(&session->connection, WRITE_START, &start, &write->err)) {
        return sqlite_broken(session);
    }
    sqlite_bind_integer(start, 1, write->execution_key);
    sqlite_bind_time(start, 2, write->started_at);
    if (!sqlite_run(&session->connection, start, &write->err) ||
        !set_last_run(session, run_key, write->started_at, &write->err)) {
        return sqlite_broken(session);
    }
    return STORE_APPLIED;
}

enum store_applied sqlite_apply_finish(struct store_session *session, struct store_write *write) {
    const struct execution *execution = write->execution;
    bool found;
    if (!delete_active(session, execution->key, &found, &write->err)) {
        return sqlite_broken(session);
    }
    if (!found) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no such execution under way");
        return STORE_REFUSED;
    }
    if (!insert_outcome(session, execution, &write->err) ||
        (!wall_time_is_none(execution->started_at) &&
         !set_last_run(session, execution->run_key, execution->started_at, &write->err))) {
        return sqlite_broken(session);
    }
    return STORE_APPLIED;
}
