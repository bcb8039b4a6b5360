#include "store/sqlite/retention.h"

#include "base/identity.h"
#include "observe/log.h"
#include "store/sqlite/session.h"
#include "store/sqlite/statements.h"

/* What a step may do, in units of about a microsecond. Busy, it is in proportion to what was written since the last
 * one, so that what is removed keeps up with what comes. */
enum {
    LINK_UNITS = 1, /* to walk on by one execution */
    ROW_UNITS = 8,  /* to remove one */
    UNITS_PER_WRITE = 12,
    STEP_UNITS_MINIMUM = 256 * ROW_UNITS,
    STEP_UNITS_MAXIMUM = 2048 * UNITS_PER_WRITE,
    WRITES_UNTIL_SIZED = 1024,
    ROWS_WITH_FILES = 2, /* to remove at once, while results are in files */
};

/* A sweep for age begins when something is older than its bound by this, or by a 64th of the bound. */
#define AGE_SLACK_US (10 * US_PER_SECOND)

void retention_init(struct retention *retention, const struct store_options *options) {
    *retention = (struct retention){
        .age = options->retention_age,
        .count = options->retention_count,
        .bytes = options->retention_bytes,
        .writes_unsized = WRITES_UNTIL_SIZED, /* look at once */
    };
}

void retention_note_write(struct retention *retention) {
    retention->writes++;
    retention->writes_unsized++;
}

void retention_note_file(struct retention *retention, uint64_t size_bytes) {
    uint64_t pages = size_bytes / 4096;
    retention->writes_unsized += (uint32_t)MIN_OF(pages, (uint64_t)WRITES_UNTIL_SIZED);
}

void retention_note_chain(struct retention *retention, int64_t run_key, uint64_t execution_count) {
    uint64_t slack = MAX_OF(retention->count / 4, 1U);
    /* One that finds no place in the list is noted again with its next record. */
    if (retention->count > 0 && execution_count > retention->count + slack &&
        retention->long_chain_count < RETENTION_LONG_CHAINS_MAXIMUM) {
        retention->long_chains[retention->long_chain_count++] = run_key;
    }
}

bool retention_end_relaxed(struct store_session *session, struct error *err) {
    if (session->retention.relaxed &&
        !sqlite_execute(&session->connection, "PRAGMA synchronous = FULL", err)) {
        return false;
    }
    session->retention.relaxed = false;
    return true;
}

static bool begin_relaxed(struct store_session *session, struct error *err) {
    if (!session->retention.relaxed) {
        session->retention.relaxed = true;
        if (!sqlite_execute(&session->connection, "PRAGMA synchronous = NORMAL", err)) {
            return false;
        }
    }
    return sqlite_run_plain(session, WRITE_BEGIN, err);
}

static bool commit(struct store_session *session, struct error *err) {
    if (!sqlite_run_plain(session, WRITE_COMMIT, err)) {
        return false;
    }
    session->retention.failing = false;
    removal_settle(&session->removal, true);
    return true;
}

/* The integer that the statement finds; 0 where there is none. */
#define find_integer(session, index, out_value, err, ...)                                          \
    find_integer_by(session, index, out_value, err, SQLITE_VALUES(__VA_ARGS__))
static bool find_integer_by(struct store_session *session, size_t index, int64_t *out_value,
                            struct error *err, const struct sqlite_value *values,
                            size_t value_count) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_values(&session->connection, index, &row, &found, err, values, value_count)) {
        return false;
    }
    *out_value = found ? sqlite_integer(row, 0) : 0;
    sqlite3_reset(row);
    return true;
}

/* --- sweeps ------------------------------------------------------------------------------------------ */

static int64_t age_slack_us(const struct retention *retention) {
    return MIN_OF(retention->age.us / 64, AGE_SLACK_US);
}

/* The bound is of the whole store, but only the history can be removed. Where the runs themselves leave it too little
 * room, the history has a quarter of the bound all the same: else it would be emptied, and to no purpose. */
static bool begin_sweep_for_bytes(struct store_session *session, int64_t bytes, struct error *err) {
    struct retention *retention = &session->retention;
    int64_t bytes_of_runs;
    if (!find_integer_by(session, WRITE_MEASURE_RUNS, &bytes_of_runs, err, NULL, 0)) {
        return false;
    }
    int64_t bound = (int64_t)retention->bytes;
    int64_t least = bytes_of_runs + bound / 4;
    if (least > bound && !retention->is_exceeded) {
        log_event(LOG_WARNING, "retention_bytes_exceeded", LOG_INTEGER("retention_bytes", bound),
                  LOG_INTEGER("bytes_of_runs", bytes_of_runs));
    }
    retention->is_exceeded = least > bound;
    bound = MAX_OF(bound, least);
    retention->bytes_aim = bound - bound / 32;
    retention->sweeping_bytes = bytes > bound;
    retention->sweep_key = retention->sweeping_bytes ? 0 : retention->sweep_key;
    return true;
}

/* Whether there is something to sweep, which the sweep then begins with. */
static bool want_sweep(struct store_session *session, struct wall_time now, struct error *err) {
    struct retention *retention = &session->retention;
    if (retention->age.us > 0 && !retention->sweeping_age) {
        if (retention->oldest_key == 0 &&
            !find_integer(session, WRITE_FIND_OLDEST, &retention->oldest_key, err,
                          value_integer(0))) {
            return false;
        }
        if (retention->oldest_key != 0 &&
            identity_us(retention->oldest_key) <
                now.us - retention->age.us - age_slack_us(retention)) {
            retention->sweeping_age = true;
            retention->sweep_key = 0;
        }
    }
    if (retention->bytes > 0 && !retention->sweeping_bytes &&
        retention->writes_unsized >= WRITES_UNTIL_SIZED) {
        int64_t bytes;
        retention->writes_unsized = 0;
        if (!find_integer_by(session, WRITE_MEASURE, &bytes, err, NULL, 0)) {
            return false;
        }
        if ((uint64_t)bytes > retention->bytes && !begin_sweep_for_bytes(session, bytes, err)) {
            return false;
        }
    }
    return true;
}

/* The results' files of what is removed: their references go in this transaction, they themselves later. */
static bool drop_range_results(struct store_session *session, int64_t from_key, int64_t to_key,
                               struct error *err) {
    for (;;) {
        int64_t key;
        if (!find_integer(session, WRITE_FIND_RANGE_RESULT_FILES, &key, err,
                          value_integer(from_key), value_integer(to_key))) {
            return false;
        }
        if (key == 0) {
            return true;
        }
        if (!removal_drop(session, key, err)) {
            return false;
        }
    }
}

/* Removes what has ended in [from, to]. */
static bool remove_range(struct store_session *session, int64_t from_key, int64_t to_key,
                         struct error *err) {
    const size_t steps[] = {WRITE_ADD_RANGE_TO_TOTALS, WRITE_DELETE_RANGE_OUTCOMES,
                            WRITE_DELETE_RANGE};
    if (!begin_relaxed(session, err) || !drop_range_results(session, from_key, to_key, err)) {
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        if (!sqlite_run_bound(&session->connection, steps[i], err, value_integer(from_key),
                              value_integer(to_key))) {
            return false;
        }
    }
    return commit(session, err);
}

/* Of which key on nothing is removed. */
static bool find_sweep_end(struct store_session *session, struct wall_time now, int64_t *out_key,
                           struct error *err) {
    const struct retention *retention = &session->retention;
    if (!find_integer_by(session, WRITE_FIND_NEWEST, out_key, err, NULL, 0)) {
        return false;
    }
    if (!retention->sweeping_bytes) {
        *out_key = MIN_OF(*out_key, identity_least(now.us - retention->age.us));
    }
    return true;
}

/* After a part of a sweep: whether the bounds are kept by now. */
static bool check_sweep(struct store_session *session, struct wall_time now, struct error *err) {
    struct retention *retention = &session->retention;
    if (retention->sweeping_bytes) {
        int64_t bytes;
        if (!find_integer_by(session, WRITE_MEASURE, &bytes, err, NULL, 0)) {
            return false;
        }
        retention->sweeping_bytes = bytes > retention->bytes_aim;
    }
    if (retention->age.us > 0) {
        if (!find_integer(session, WRITE_FIND_OLDEST, &retention->oldest_key, err,
                          value_integer(retention->sweep_key))) {
            return false;
        }
        retention->sweeping_age = retention->sweeping_age && /* there is one: the newest stays */
                                  identity_us(retention->oldest_key) < now.us - retention->age.us;
    }
    return true;
}

static bool sweep(struct store_session *session, struct wall_time now, int64_t *units,
                  struct error *err) {
    struct retention *retention = &session->retention;
    int64_t row_count = MAX_OF(*units / ROW_UNITS, 1);
    int64_t end_key;
    int64_t last_key;
    int64_t any_file = 0;
    if (retention->sweeping_bytes &&
        !find_integer_by(session, WRITE_FIND_ANY_RESULT_FILE, &any_file, err, NULL, 0)) {
        return false;
    }
    /* Where few executions may be all that is too much, no more than that are to go. */
    if (any_file != 0) {
        row_count = MIN_OF(row_count, (int64_t)ROWS_WITH_FILES);
        *units -= row_count * ROW_UNITS;
    } else {
        *units = 0;
    }
    if (!find_sweep_end(session, now, &end_key, err) ||
        !find_integer(session, WRITE_FIND_SWEEP_STEP, &last_key, err,
                      value_integer(retention->sweep_key), value_integer(end_key),
                      value_integer(row_count))) {
        return false;
    }
    if (last_key == 0) { /* only what stays in any case */
        retention->sweeping_age = false;
        retention->sweeping_bytes = false;
        return find_integer(session, WRITE_FIND_OLDEST, &retention->oldest_key, err,
                            value_integer(retention->sweep_key));
    }
    if (!remove_range(session, retention->sweep_key, last_key, err)) {
        return false;
    }
    retention->sweep_key = last_key + 1;
    return check_sweep(session, now, err);
}

/* --- chains ------------------------------------------------------------------------------------------ */

static bool find_previous(struct store_session *session, int64_t key, int64_t *out_key,
                          struct error *err) {
    return find_integer(session, WRITE_FIND_PREVIOUS, out_key, err, value_integer(key));
}

/* Takes the next run of the list, if its chain is still too long. */
static bool begin_chain(struct store_session *session, int64_t *units, struct error *err) {
    struct retention *retention = &session->retention;
    *units -= LINK_UNITS;
    int64_t run_key = retention->long_chains[--retention->long_chain_count];
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_CHAIN, &row, &found, err,
                           value_integer(run_key))) {
        return false;
    }
    if (found && (uint64_t)sqlite_integer(row, 1) > retention->count) {
        retention->chain =
            (struct retention_chain){.run_key = run_key, .key = sqlite_integer(row, 0), .kept = 1};
    }
    sqlite3_reset(row);
    return true;
}

/* Walks on to the last one that is to stay. An execution that has not ended, and what is newer, stays in any case. */
static bool walk(struct store_session *session, int64_t *units, struct error *err) {
    struct retention_chain *chain = &session->retention.chain;
    while (chain->kept < session->retention.count) {
        int64_t previous_key;
        if (*units <= 0) {
            return true;
        }
        *units -= LINK_UNITS;
        if (!find_previous(session, chain->key, &previous_key, err)) {
            return false;
        }
        if (previous_key == 0) {
            break;
        }
        chain->key = previous_key;
        chain->kept++;
    }
    int64_t oldest_active_key;
    if (!find_integer(session, WRITE_FIND_OLDEST_ACTIVE, &oldest_active_key, err,
                      value_integer(chain->run_key))) {
        return false;
    }
    if (oldest_active_key != 0 && oldest_active_key < chain->key) {
        chain->key = oldest_active_key;
    }
    chain->cutting = true;
    return true;
}

/* In one transaction, so that the file is locked once and not for each link. It only reads, and is over before
 * anything is written. */
static bool walk_chain(struct store_session *session, int64_t *units, struct error *err) {
    return sqlite_run_plain(session, WRITE_BEGIN_READING, err) && walk(session, units, err) &&
           sqlite_run_plain(session, WRITE_COMMIT, err);
}

struct removed {
    int64_t count[EXECUTION_MISSED + 1];
    int64_t duration_us[EXECUTION_MISSED + 1];
    int64_t missed_slots[EXECUTION_MISSED + 1];
};

/* Removes one and gives the one before it; 0: there is none. */
static bool remove_one(struct store_session *session, int64_t *key, struct removed *removed,
                       struct error *err) {
    int64_t execution_key = *key;
    struct sqlite_value value = value_integer(execution_key);
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_ENDED, &row, &found, err, value)) {
        return false;
    }
    if (!found) { /* a sweep has been here */
        *key = 0;
        return true;
    }
    *key = sqlite_integer(row, 0);
    int64_t status = sqlite_integer(row, 1);
    ASSERT(status >= 0 && status < (int64_t)COUNT_OF(removed->count));
    removed->count[status]++;
    removed->duration_us[status] += sqlite_integer(row, 2);
    removed->missed_slots[status] += sqlite_integer(row, 3);
    sqlite3_reset(row);
    return removal_drop(session, execution_key, err) &&
           sqlite_run_bound(&session->connection, WRITE_DELETE_OUTCOME, err, value) &&
           sqlite_run_bound(&session->connection, WRITE_DELETE_EXECUTION, err, value);
}

static bool add_to_totals(struct store_session *session, int64_t run_key,
                          const struct removed *removed, struct error *err) {
    for (size_t status = 0; status < COUNT_OF(removed->count); status++) {
        if (removed->count[status] > 0 &&
            !sqlite_run_bound(&session->connection, WRITE_ADD_TO_TOTALS, err,
                              value_integer(run_key), value_integer((int64_t)status),
                              value_integer(removed->count[status]),
                              value_integer(removed->duration_us[status]),
                              value_integer(removed->missed_slots[status]))) {
            return false;
        }
    }
    return true;
}

/* Cuts the next executions out from behind the last one that stays. */
static bool cut_chain(struct store_session *session, int64_t *units, struct error *err) {
    struct retention_chain *chain = &session->retention.chain;
    struct removed removed = {0};
    int64_t key;
    if (!begin_relaxed(session, err) || !find_previous(session, chain->key, &key, err)) {
        return false;
    }
    *units -= ROW_UNITS; /* for the transaction */
    for (int64_t rows = MAX_OF(*units / ROW_UNITS, 1); key != 0 && rows > 0; rows--) {
        *units -= ROW_UNITS;
        if (!remove_one(session, &key, &removed, err)) {
            return false;
        }
    }
    if (!sqlite_run_bound(&session->connection, WRITE_SET_PREVIOUS, err, value_integer(chain->key),
                          value_key(key)) ||
        (key == 0 &&
         !sqlite_run_bound(&session->connection, WRITE_SET_EXECUTION_COUNT, err,
                           value_integer(chain->run_key), value_integer((int64_t)chain->kept))) ||
        !add_to_totals(session, chain->run_key, &removed, err) || !commit(session, err)) {
        return false;
    }
    if (key == 0) {
        *chain = (struct retention_chain){0};
    }
    return true;
}

/* --- a step ------------------------------------------------------------------------------------------ */

static bool has_work(const struct retention *retention) {
    return retention->sweeping_age || retention->sweeping_bytes || retention->chain.run_key != 0 ||
           retention->long_chain_count > 0;
}

static bool step(struct store_session *session, struct wall_time now, struct error *err) {
    struct retention *retention = &session->retention;
    int64_t units = MAX_OF(STEP_UNITS_MINIMUM, MIN_OF((int64_t)retention->writes * UNITS_PER_WRITE,
                                                      STEP_UNITS_MAXIMUM));
    bool ok = want_sweep(session, now, err);
    retention->writes = 0;
    while (ok && units > 0 && has_work(retention)) {
        if (retention->sweeping_age || retention->sweeping_bytes) {
            ok = sweep(session, now, &units, err);
        } else if (retention->chain.run_key == 0) {
            ok = begin_chain(session, &units, err);
        } else if (!retention->chain.cutting) {
            ok = walk_chain(session, &units, err);
        } else {
            ok = cut_chain(session, &units, err);
        }
    }
    return ok;
}

bool retention_step(struct store_session *session, struct wall_time now) {
    struct retention *retention = &session->retention;
    struct error err;
    if (retention->age.us == 0 && retention->count == 0 && retention->bytes == 0) {
        return false;
    }
    bool ok = step(session, now, &err);
    if (!ok) {
        sqlite_rollback(&session->connection);
        removal_settle(&session->removal, false);
        retention->chain = (struct retention_chain){0};
        if (!retention->failing) {
            log_event(LOG_WARNING, "retention_failed", LOG_FAILURE(&err));
        }
        retention->failing = true;
    }
    return ok && has_work(retention);
}
