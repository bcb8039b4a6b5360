#include "store/sqlite/reader.h"
#include "store/sqlite/statements.h"

/* --- writing --------------------------------------------------------------------------------------- */

/* The run has to be there. */
static enum store_applied find_run(struct store_session *session, struct store_write *write) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_RUN, &row, &found, &write->err,
                           value_integer(write->backfill->run_key), value_text(NULL))) {
        return sqlite_broken(session);
    }
    if (!found) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no such scheduled run");
        return STORE_REFUSED;
    }
    sqlite3_reset(row);
    return STORE_APPLIED;
}

enum store_applied sqlite_apply_create_backfill(struct store_session *session,
                                                struct store_write *write) {
    const struct backfill *backfill = write->backfill;
    enum store_applied applied = find_run(session, write);
    if (applied != STORE_APPLIED) {
        return applied;
    }
    applied = sqlite_insert_bound(
        session, WRITE_INSERT_BACKFILL, &write->err, value_integer(backfill->key),
        value_integer(backfill->run_key), value_time(backfill->from), value_time(backfill->to),
        value_time(backfill->next_slot), value_integer((int64_t)backfill->slot_count),
        value_integer(backfill->parallelism), value_time(backfill->created_at),
        value_time(backfill->cancelled_at), value_text(backfill->parameters));
    if (applied == STORE_REFUSED) {
        error_set(&write->err, ERROR_CONFLICT, "a backfill with this id is there already");
    }
    return applied;
}

enum store_applied sqlite_apply_cancel_backfill(struct store_session *session,
                                                struct store_write *write) {
    struct sqlite_value key = value_integer(write->backfill->key);
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&session->connection, WRITE_FIND_BACKFILL, &row, &found, &write->err,
                           key)) {
        return sqlite_broken(session);
    }
    bool cancelled = found && !sqlite_is_null(row, 0);
    bool done = found && sqlite_is_null(row, 1);
    bool deleted = found && !sqlite_is_null(row, 2);
    sqlite3_reset(row);
    if (!found || deleted) {
        error_set(&write->err, ERROR_NOT_FOUND, "there is no such backfill");
        return STORE_REFUSED;
    }
    bool active = false;
    if (done && !cancelled) {
        if (!sqlite_find_bound(&session->connection, WRITE_FIND_BACKFILL_ACTIVE, &row, &active,
                               &write->err, key)) {
            return sqlite_broken(session);
        }
        sqlite3_reset(row);
    }
    if (cancelled || (done && !active)) {
        error_set(&write->err, ERROR_CONFLICT,
                  cancelled ? "the backfill is cancelled already"
                            : "the backfill is completed already");
        return STORE_REFUSED;
    }
    return sqlite_run_bound(&session->connection, WRITE_CANCEL_BACKFILL, &write->err, key,
                            value_time(write->backfill->cancelled_at))
               ? STORE_APPLIED
               : sqlite_broken(session);
}

/* --- reading --------------------------------------------------------------------------------------- */

static struct backfill read_backfill(sqlite3_stmt *row, struct arena *arena) {
    return (struct backfill){
        .key = sqlite_integer(row, 0),
        .run_key = sqlite_integer(row, 1),
        .from = sqlite_time(row, 2),
        .to = sqlite_time(row, 3),
        .next_slot = sqlite_time(row, 4),
        .slot_count = (uint64_t)sqlite_integer(row, 5),
        .parallelism = (uint32_t)sqlite_integer(row, 6),
        .created_at = sqlite_time(row, 7),
        .cancelled_at = sqlite_time(row, 8),
        .parameters = sqlite_text(row, 9, arena),
    };
}

bool sqlite_get_backfill(struct store_reader *base, int64_t key, struct arena *arena,
                         struct backfill *out_backfill, const char **out_owner, struct error *err) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&sqlite_reader_of(base)->connection, READ_BACKFILL, &row, &found, err,
                           value_integer(key))) {
        return false;
    }
    if (!found) {
        return error_set(err, ERROR_NOT_FOUND, "there is no such backfill");
    }
    *out_backfill = read_backfill(row, arena);
    *out_owner = sqlite_text(row, 10, arena);
    sqlite3_reset(row);
    return true;
}

bool sqlite_list_backfills(struct store_reader *base, int64_t run_key, int64_t before_key,
                           uint32_t limit, struct arena *arena, struct backfill **out_backfills,
                           size_t *out_count, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    struct backfill *backfills = arena_alloc(arena, MAX_OF(limit, 1U) * sizeof *backfills);
    size_t count = 0;
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_find_bound(&reader->connection, READ_BACKFILLS_OF_RUN, &statement, &row, err,
                           value_integer(run_key),
                           value_integer(before_key == 0 ? INT64_MAX : before_key),
                           value_integer(limit))) {
        return false;
    }
    while (row) {
        backfills[count++] = read_backfill(statement, arena);
        if (!sqlite_next_row(reader, statement, &row, err)) {
            return false;
        }
    }
    sqlite3_reset(statement);
    *out_backfills = backfills;
    *out_count = count;
    return true;
}

bool sqlite_count_backfill(struct store_reader *base, int64_t key,
                           uint64_t out_count[EXECUTION_MISSED + 1], struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    uint64_t counts[EXECUTION_MISSED + 1] = {0};
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_find_bound(&reader->connection, READ_BACKFILL_COUNTS, &statement, &row, err,
                           value_integer(key))) {
        return false;
    }
    while (row) {
        int64_t status = sqlite_integer(statement, 0);
        ASSERT(status >= 0 && status < (int64_t)COUNT_OF(counts));
        counts[status] = (uint64_t)sqlite_integer(statement, 1);
        if (!sqlite_next_row(reader, statement, &row, err)) {
            return false;
        }
    }
    sqlite3_reset(statement);
    memcpy(out_count, counts, sizeof counts);
    return true;
}

bool sqlite_load_backfills(struct store_reader *base,
                           void (*each)(const struct backfill *backfill, void *context),
                           void *context, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_find_values(&reader->connection, READ_OPEN_BACKFILLS, &statement, &row, err, NULL,
                            0)) {
        return false;
    }
    while (row) {
        struct backfill backfill = read_backfill(statement, NULL);
        each(&backfill, context);
        if (!sqlite_next_row(reader, statement, &row, err)) {
            return false;
        }
    }
    sqlite3_reset(statement);
    return true;
}
