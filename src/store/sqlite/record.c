#include "store/sqlite/names.h"
#include "store/sqlite/statements.h"

/* What the ledger knows of a run before a step. The newest execution is the head of its chain. */
struct ledger {
    struct wall_time next_run;
    struct wall_time settled_until;
    struct wall_time last_run;
    int64_t last_execution_key;
    uint64_t execution_count;
};

static struct wall_time later(struct wall_time a, struct wall_time b) {
    return a.us >= b.us ? a : b; /* NONE is the least */
}

/* --- one execution ------------------------------------------------------------------------------- */

static bool find_previous(struct store_session *session, int64_t key, int64_t *out_previous_key,
                          struct error *err) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_PREVIOUS, &row, &found, err,
                           value_integer(key))) {
        return false;
    }
    *out_previous_key = 0; /* the chain was cut here, its older part removed */
    if (found) {
        *out_previous_key = sqlite_integer(row, 0); /* null reads as 0: the oldest */
        sqlite3_reset(row);
    }
    return true;
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

/* The fact: which run, which slot, why. Refused if the slot is recorded already. */
static enum store_applied insert_execution(struct store_session *session,
                                           const struct store_write *write,
                                           const struct execution *execution, struct ledger *ledger,
                                           struct error *err) {
    int64_t model_key;
    int64_t next_key;
    int64_t previous_key;
    if (!sqlite_intern_model(session, execution->model_name, &model_key, err) ||
        !find_place(session, ledger, execution->key, &next_key, &previous_key, err)) {
        return sqlite_broken(session);
    }
    int64_t backfill_key = write->record->backfill_key;
    enum store_applied applied = sqlite_insert_bound(
        session, WRITE_INSERT_EXECUTION, err, value_integer(execution->key),
        value_integer(write->run_key), value_time(execution->scheduled_for),
        value_integer(execution->trigger), value_integer(execution->attempt),
        value_time(execution->queued_at), value_integer(model_key), value_key(previous_key),
        value_key(backfill_key == 0 ? execution->backfill_key : backfill_key));
    if (applied == STORE_REFUSED) {
        error_set(err, ERROR_CONFLICT, "this slot of the scheduled run is recorded already");
    }
    if (applied != STORE_APPLIED) {
        return applied;
    }
    if (next_key == 0) {
        ledger->last_execution_key = execution->key;
    } else if (!sqlite_run_bound(&session->connection, WRITE_SET_PREVIOUS, err,
                                 value_integer(next_key), value_integer(execution->key))) {
        return sqlite_broken(session);
    }
    return STORE_APPLIED;
}

static bool insert_active(struct store_session *session, int64_t run_key,
                          const struct execution *execution, const char *parameters,
                          struct error *err) {
    return sqlite_run_bound(
        &session->connection, WRITE_INSERT_ACTIVE, err, value_integer(execution->key),
        value_integer(run_key), value_integer(execution->status), value_time(execution->started_at),
        value_integer(execution->model_version), value_integer(execution->timeout.us),
        value_time(execution->not_before), value_text(parameters));
}

static bool insert_outcome(struct store_session *session, const struct execution *execution,
                           struct error *err) {
    int64_t model_file_key;
    if (!sqlite_intern_model_file(session, execution, &model_file_key, err)) {
        return false;
    }
    bool missed = execution->status == EXECUTION_MISSED;
    return sqlite_run_bound(
        &session->connection, WRITE_INSERT_OUTCOME, err, value_integer(execution->key),
        value_integer(execution->status), value_time(execution->started_at),
        value_time(execution->finished_at), value_integer(execution->duration.us),
        value_key(model_file_key), value_text(execution->error_type),
        value_text(execution->error_message), value_key(execution->blocked_by),
        value_time(missed ? execution->missed_from : WALL_TIME_NONE),
        value_time(missed ? execution->missed_to : WALL_TIME_NONE),
        value_key(missed ? (int64_t)execution->missed_count : 0), value_text(execution->result));
}

static bool set_last_run(struct store_session *session, int64_t run_key, struct wall_time last_run,
                         struct error *err) {
    return sqlite_run_bound(&session->connection, WRITE_SET_LAST_RUN, err, value_integer(run_key),
                            value_time(last_run));
}

/* --- a step of the ledger --------------------------------------------------------------------------- */

/* The parameters with which the execution is to run, for its start. */
static void hand_out_parameters(struct store_write *write, const char *parameters) {
    write->out_parameters = must_strdup(parameters == NULL ? "null" : parameters);
}

/* Who waits gets its parameters when it starts: thousands may wait. */
static bool has_running(const struct store_record *record) {
    for (size_t i = 0; i < record->execution_count; i++) {
        if (record->executions[i].status == EXECUTION_RUNNING) {
            return true;
        }
    }
    return false;
}

static enum store_applied refuse(struct store_write *write, enum error_kind kind,
                                 const char *message) {
    error_set(&write->err, kind, "%s", message);
    return STORE_REFUSED;
}

/* Checks the run and reads its place in the ledger. Where an attempt ends in the same step, a run that was
 * changed or deleted meanwhile is no reason to refuse: the outcome has to get in. */
static enum store_applied read_ledger(struct store_session *session, struct store_write *write,
                                      struct ledger *out_ledger) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_LEDGER, &row, &found, &write->err,
                           value_integer(write->run_key))) {
        return sqlite_broken(session);
    }
    if (!found) {
        return refuse(write, ERROR_NOT_FOUND, "there is no such scheduled run");
    }
    enum store_applied applied = STORE_APPLIED;
    bool ends_one = write->record->finished != NULL;
    if (!sqlite_is_null(row, 1) && !ends_one) {
        applied = refuse(write, ERROR_NOT_FOUND, "there is no such scheduled run");
    } else if (write->expected_revision != 0 && !ends_one &&
               write->expected_revision != (uint64_t)sqlite_integer(row, 0)) {
        applied = refuse(write, ERROR_STALE, "the scheduled run has been changed meanwhile");
    } else {
        *out_ledger = (struct ledger){.next_run = sqlite_time(row, 2),
                                      .settled_until = sqlite_time(row, 7),
                                      .last_run = sqlite_time(row, 3),
                                      .last_execution_key = sqlite_integer(row, 4),
                                      .execution_count = (uint64_t)sqlite_integer(row, 6)};
        if (has_running(write->record) && write->record->parameters == NULL) {
            hand_out_parameters(write, sqlite_text(row, 5, NULL));
        }
    }
    sqlite3_reset(row);
    return applied;
}

static char *duplicate_or_null(const char *text) { return text == NULL ? NULL : must_strdup(text); }

/* The attempt that ends has to be active. Its retry runs with the same parameters: with its own, or where it has none
 * with the run's, which have not changed since it was recorded (else it would have got them for its own). */
static enum store_applied check_finished(struct store_session *session, struct store_write *write,
                                         char **out_parameters) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_ACTIVE, &row, &found, &write->err,
                           value_integer(write->record->finished->key))) {
        return sqlite_broken(session);
    }
    if (!found) {
        return refuse(write, ERROR_NOT_FOUND, "there is no such execution under way");
    }
    *out_parameters = duplicate_or_null(sqlite_text(row, 0, NULL));
    sqlite3_reset(row);
    return STORE_APPLIED;
}

/* The backfill whose slots are recorded has to go on. Its executions run with its parameters. */
static enum store_applied check_backfill(struct store_session *session, struct store_write *write,
                                         char **out_parameters) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_BACKFILL, &row, &found, &write->err,
                           value_integer(write->record->backfill_key))) {
        return sqlite_broken(session);
    }
    if (!found) {
        return refuse(write, ERROR_NOT_FOUND, "there is no such backfill");
    }
    bool cancelled = !sqlite_is_null(row, 0);
    if (!cancelled) {
        *out_parameters = duplicate_or_null(sqlite_text(row, 3, NULL));
    }
    sqlite3_reset(row);
    return cancelled ? refuse(write, ERROR_NOT_FOUND, "the backfill was cancelled") : STORE_APPLIED;
}

static enum store_applied insert_executions(struct store_session *session,
                                            struct store_write *write, const char *parameters,
                                            struct ledger *ledger) {
    const struct store_record *record = write->record;
    for (size_t i = 0; i < record->execution_count; i++) {
        const struct execution *execution = &record->executions[i];
        enum store_applied applied =
            insert_execution(session, write, execution, ledger, &write->err);
        if (applied != STORE_APPLIED) {
            return applied;
        }
        bool ok = execution_status_is_final(execution->status)
                      ? insert_outcome(session, execution, &write->err)
                      : insert_active(session, write->run_key, execution, parameters, &write->err);
        if (!ok) {
            return sqlite_broken(session);
        }
        if (execution->status == EXECUTION_RUNNING) {
            ledger->last_run = later(ledger->last_run, execution->started_at);
        }
    }
    return STORE_APPLIED;
}

/* One insert that is refused has changed nothing; of several, the first may be in already, and has to be undone
 * without harm to the other writes of the transaction. */
static enum store_applied insert_all_or_none(struct store_session *session,
                                             struct store_write *write, const char *parameters,
                                             struct ledger *ledger) {
    if (write->record->execution_count <= 1) {
        return insert_executions(session, write, parameters, ledger);
    }
    if (!sqlite_run_plain(session, WRITE_SAVEPOINT, &write->err)) {
        return sqlite_broken(session);
    }
    enum store_applied applied = insert_executions(session, write, parameters, ledger);
    struct error err;
    if ((applied == STORE_REFUSED && !sqlite_run_plain(session, WRITE_ROLLBACK_TO, &err)) ||
        (applied <= STORE_REFUSED && !sqlite_run_plain(session, WRITE_RELEASE, &err))) {
        write->err = err;
        return STORE_FAILED;
    }
    if (applied == STORE_REFUSED) {
        sqlite_forget_names(session); /* one may have been undone with the first insert */
    }
    return applied;
}

static bool delete_active(struct store_session *session, int64_t execution_key, bool *out_found,
                          struct error *err) {
    if (!sqlite_run_bound(&session->connection, WRITE_DELETE_ACTIVE, err,
                          value_integer(execution_key))) {
        return false;
    }
    *out_found = sqlite3_changes(session->connection.db) > 0;
    return true;
}

/* Slots come in their order. One that is not after all that was settled may lie in a gap, whose slots have no rows. */
static enum store_applied check_order(struct store_write *write, const struct ledger *ledger) {
    const struct store_record *record = write->record;
    for (size_t i = 0; record->advances && i < record->execution_count; i++) {
        if (record->executions[i].scheduled_for.us <= ledger->settled_until.us) {
            return refuse(write, ERROR_CONFLICT,
                          "this slot of the scheduled run is recorded already");
        }
    }
    return STORE_APPLIED;
}

/* All that has to be as the sender took it to be. `out_inherited` are the parameters that come before the run's. */
static enum store_applied check_record(struct store_session *session, struct store_write *write,
                                       struct ledger *out_ledger, char **out_inherited) {
    enum store_applied applied = read_ledger(session, write, out_ledger);
    if (applied == STORE_APPLIED) {
        applied = check_order(write, out_ledger);
    }
    if (applied == STORE_APPLIED && write->record->finished != NULL) {
        applied = check_finished(session, write, out_inherited);
    } else if (applied == STORE_APPLIED && write->record->backfill_key != 0) {
        applied = check_backfill(session, write, out_inherited);
    }
    return applied;
}

/* What the step changes beside its new executions. Nothing is refused here. */
static bool move_on(struct store_session *session, struct store_write *write, struct ledger *ledger,
                    struct error *err) {
    struct sqlite_connection *connection = &session->connection;
    const struct store_record *record = write->record;
    const struct execution *finished = record->finished;
    if (finished != NULL) {
        bool found;
        if (!delete_active(session, finished->key, &found, err) ||
            !insert_outcome(session, finished, err)) {
            return false;
        }
        ledger->last_run = later(ledger->last_run, finished->started_at);
    }
    if (record->advances) {
        ledger->next_run = record->next_run;
    }
    struct sqlite_value run_key = value_integer(write->run_key);
    return sqlite_run_bound(
               connection, WRITE_MOVE_RUN, err, run_key, value_time(ledger->next_run),
               value_time(ledger->last_run), value_key(ledger->last_execution_key),
               value_integer((int64_t)record->execution_count),
               value_time(record->advances ? record->settled_until : WALL_TIME_NONE)) &&
           (!record->disables || sqlite_run_bound(connection, WRITE_DISABLE_RUN, err, run_key)) &&
           (record->backfill_key == 0 || sqlite_run_bound(connection, WRITE_MOVE_BACKFILL, err,
                                                          value_integer(record->backfill_key),
                                                          value_time(record->backfill_next)));
}

enum store_applied sqlite_apply_record(struct store_session *session, struct store_write *write) {
    const struct store_record *record = write->record;
    struct ledger ledger = {.next_run = WALL_TIME_NONE};
    char *inherited CLEANUP(free_pointer) = NULL;
    enum store_applied applied = check_record(session, write, &ledger, &inherited);
    const char *parameters = record->parameters == NULL ? inherited : record->parameters;
    if (applied == STORE_APPLIED) {
        applied = insert_all_or_none(session, write, parameters, &ledger);
    }
    if (applied != STORE_APPLIED) {
        return applied;
    }
    if (!move_on(session, write, &ledger, &write->err)) {
        return sqlite_broken(session);
    }
    retention_note_chain(&session->retention, write->run_key,
                         ledger.execution_count + record->execution_count);
    if (has_running(record) && parameters != NULL) {
        free_pointer(&write->out_parameters);
        hand_out_parameters(write, parameters);
    }
    return STORE_APPLIED;
}

/* --- start and finish ------------------------------------------------------------------------------- */

static enum store_applied find_to_start(struct store_session *session, struct store_write *write,
                                        int64_t *out_run_key) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_TO_START, &row, &found, &write->err,
                           value_integer(write->execution_key))) {
        return sqlite_broken(session);
    }
    if (!found) {
        return refuse(write, ERROR_NOT_FOUND, "there is no such execution under way");
    }
    enum store_applied applied = STORE_APPLIED;
    if (sqlite_integer(row, 1) != EXECUTION_QUEUED) {
        applied = refuse(write, ERROR_CONFLICT, "the execution is running already");
    } else if (!sqlite_is_null(row, 2)) {
        applied = refuse(write, ERROR_STALE, "the execution's scheduled run was deleted");
    } else {
        *out_run_key = sqlite_integer(row, 0);
        hand_out_parameters(write, sqlite_text(row, 3, NULL));
    }
    sqlite3_reset(row);
    return applied;
}

enum store_applied sqlite_apply_start(struct store_session *session, struct store_write *write) {
    int64_t run_key = 0;
    enum store_applied applied = find_to_start(session, write, &run_key);
    if (applied != STORE_APPLIED) {
        return applied;
    }
    if (!sqlite_run_bound(&session->connection, WRITE_START, &write->err,
                          value_integer(write->execution_key), value_time(write->started_at)) ||
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
        return refuse(write, ERROR_NOT_FOUND, "there is no such execution under way");
    }
    if (!insert_outcome(session, execution, &write->err) ||
        (!wall_time_is_none(execution->started_at) &&
         !set_last_run(session, execution->run_key, execution->started_at, &write->err))) {
        return sqlite_broken(session);
    }
    return STORE_APPLIED;
}
