#include "base/identity.h"
#include "store/sqlite/reader.h"

/* A page of history ends after so many executions were looked at: a rare status in a long history is given in
 * several short pages, empty ones among them, instead of one that takes for ever. */
enum { WALK_MAXIMUM = 10000 };

static struct execution read_execution(sqlite3_stmt *row, struct arena *arena) {
    struct execution execution = {
        .key = sqlite_integer(row, 0),
        .run_key = sqlite_integer(row, 1),
        .model_name = sqlite_text(row, 2, arena),
        .trigger = (enum execution_trigger)sqlite_integer(row, 3),
        .attempt = (uint32_t)sqlite_integer(row, 4),
        .scheduled_for = sqlite_time(row, 5),
        .queued_at = sqlite_time(row, 6),
        .status = (enum execution_status)sqlite_integer(row, 8),
        .started_at = sqlite_time(row, 9),
        .finished_at = sqlite_time(row, 10),
        .duration = {sqlite_integer(row, 11)},
        /* The version that ran, or else that is to run. */
        .model_version = (uint32_t)sqlite_integer(row, sqlite_is_null(row, 12) ? 22 : 12),
        .error_type = sqlite_text(row, 14, arena),
        .error_message = sqlite_text(row, 15, arena),
        .blocked_by = sqlite_integer(row, 16),
        .missed_from = sqlite_time(row, 17),
        .missed_to = sqlite_time(row, 18),
        .missed_count = (uint64_t)sqlite_integer(row, 19),
        .result = sqlite_text(row, 20, arena),
        .backfill_key = sqlite_integer(row, 21),
        .timeout = {sqlite_integer(row, 23)},
        .not_before = sqlite_time(row, 24),
        .result_file_bytes = (uint64_t)sqlite_integer(row, 25),
    };
    const void *digest = sqlite3_column_blob(row, 13);
    execution.has_model_digest = sqlite3_column_bytes(row, 13) == MODEL_DIGEST_BYTES;
    if (execution.has_model_digest) {
        memcpy(execution.model_digest, digest, MODEL_DIGEST_BYTES);
    }
    return execution;
}

static bool read_owner_of_run(struct sqlite_reader *reader, int64_t run_key, struct arena *arena,
                              const char **out_owner, struct error *err) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&reader->connection, READ_OWNER_OF_RUN, &row, &found, err,
                           value_integer(run_key))) {
        return false;
    }
    *out_owner = found ? sqlite_text(row, 0, arena) : "";
    sqlite3_reset(row);
    return true;
}

bool sqlite_get_execution(struct store_reader *base, int64_t key, struct arena *arena,
                          struct execution *out_execution, const char **out_owner,
                          struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&reader->connection, READ_EXECUTION, &row, &found, err,
                           value_integer(key))) {
        return false;
    }
    if (!found) {
        return error_set(err, ERROR_NOT_FOUND, "there is no such execution");
    }
    struct execution execution = read_execution(row, arena);
    sqlite3_reset(row);
    /* The owner of a run never changes, so this needs not be of the same moment. */
    const char *owner;
    if (!read_owner_of_run(reader, execution.run_key, arena, &owner, err)) {
        return false;
    }
    *out_execution = execution;
    *out_owner = owner;
    return true;
}

/* --- a run's history --------------------------------------------------------------------------------- */

static bool read_chain_head(struct sqlite_reader *reader, int64_t run_key, int64_t *out_key,
                            struct error *err) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&reader->connection, READ_CHAIN_HEAD, &row, &found, err,
                           value_integer(run_key))) {
        return false;
    }
    *out_key = found ? sqlite_integer(row, 0) : 0;
    sqlite3_reset(row);
    return true;
}

/* The run and the previous execution of one, 0 and 0 if it is not there. */
static bool read_chain_link(struct sqlite_reader *reader, int64_t key, int64_t *out_run_key,
                            int64_t *out_previous_key, struct error *err) {
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&reader->connection, READ_CHAIN_LINK, &row, &found, err,
                           value_integer(key))) {
        return false;
    }
    *out_run_key = found ? sqlite_integer(row, 0) : 0;
    *out_previous_key = found ? sqlite_integer(row, 1) : 0;
    sqlite3_reset(row);
    return true;
}

struct page {
    struct execution *executions;
    size_t count;
    size_t capacity;
    size_t result_bytes;
    uint32_t visited;
    int64_t next_cursor; /* where the page ended before the history did; else 0 */
};

static void page_add(struct page *page, struct arena *arena, const struct execution *execution) {
    if (page->count == page->capacity) {
        page->capacity = page->capacity == 0 ? 16 : page->capacity * 2;
        struct execution *larger = arena_alloc(arena, page->capacity * sizeof *larger);
        if (page->count > 0) {
            memcpy(larger, page->executions, page->count * sizeof *larger);
        }
        page->executions = larger;
    }
    page->executions[page->count++] = *execution;
    page->result_bytes += execution->result == NULL ? 0 : strlen(execution->result);
}

/* The newest execution of the run that is older than the cursor, looked for among those of all runs. The page ends
 * where too many are looked at. */
static bool scan_for_first(struct sqlite_reader *reader, const struct execution_filter *filter,
                           struct page *page, int64_t *out_key, struct error *err) {
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_find_bound(&reader->connection, READ_OLDER_EXECUTIONS, &statement, &row, err,
                           value_integer(filter->before_key))) {
        return false;
    }
    int64_t key = 0;
    int64_t visited_key = 0;
    while (row && key == 0 && page->visited < WALK_MAXIMUM) {
        page->visited++;
        visited_key = sqlite_integer(statement, 0);
        if (sqlite_integer(statement, 1) == filter->run_key) {
            key = visited_key;
        } else if (!sqlite_next_row(reader, statement, &row, err)) {
            return false;
        }
    }
    sqlite3_reset(statement);
    page->next_cursor = row && key == 0 ? visited_key : 0;
    *out_key = key;
    return true;
}

/* The newest execution of the run that is older than the cursor, 0 if there is none. The cursor of a page is an
 * execution of the run, and the answer its link. Any other number (of one that was removed meanwhile) is looked for
 * from the newest on, and in a long history in order of time. */
static bool find_first(struct sqlite_reader *reader, const struct execution_filter *filter,
                       struct page *page, int64_t *out_key, struct error *err) {
    int64_t run_key;
    int64_t key;
    if (filter->before_key != 0) {
        if (!read_chain_link(reader, filter->before_key, &run_key, &key, err)) {
            return false;
        }
        if (run_key == filter->run_key) {
            *out_key = key;
            return true;
        }
    }
    if (!read_chain_head(reader, filter->run_key, &key, err)) {
        return false;
    }
    uint32_t links = 0;
    while (filter->before_key != 0 && key >= filter->before_key) {
        if (links++ == WALK_MAXIMUM) {
            return scan_for_first(reader, filter, page, out_key, err);
        }
        if (!read_chain_link(reader, key, &run_key, &key, err)) {
            return false;
        }
    }
    *out_key = key;
    return true;
}

static bool matches(const struct execution_filter *filter, sqlite3_stmt *row) {
    int64_t slot_us = sqlite_integer(row, 5);
    return (!filter->has_status || (int64_t)filter->status == sqlite_integer(row, 8)) &&
           (wall_time_is_none(filter->since) || slot_us >= filter->since.us) &&
           (wall_time_is_none(filter->until) || slot_us < filter->until.us);
}

/* No execution with a key of before this time has a slot that is wanted. A key carries a time that is not before its
 * execution was queued, also when the clock went back, and no slot is queued before it is due. Only a backfill may
 * execute slots that are to come: then it is the time at which that was created. */
static bool find_past(struct sqlite_reader *reader, const struct execution_filter *filter,
                      int64_t *out_past_us, struct error *err) {
    if (wall_time_is_none(filter->since)) {
        *out_past_us = INT64_MIN;
        return true;
    }
    sqlite3_stmt *row;
    bool found;
    if (!sqlite_find_bound(&reader->connection, READ_FUTURE_BACKFILLS, &row, &found, err,
                           value_integer(filter->run_key), value_integer(filter->since.us))) {
        return false;
    }
    ASSERT(found); /* min() has a row always */
    *out_past_us = filter->since.us;
    if (!sqlite_is_null(row, 0)) {
        *out_past_us = MIN_OF(filter->since.us, sqlite_integer(row, 0));
    }
    sqlite3_reset(row);
    return true;
}

/* Looks at one execution: adds it if it matches, and gives the one before it, 0 at the end. Keys fall along the
 * chain, so that all further ones are past too. */
static bool visit(struct sqlite_reader *reader, const struct execution_filter *filter,
                  int64_t past_us, struct arena *arena, struct page *page, int64_t *key,
                  struct error *err) {
    sqlite3_stmt *row;
    bool found = false;
    int64_t visited_key = *key;
    *key = 0;
    if (identity_us(visited_key) < past_us) {
        return true;
    }
    if (!sqlite_find_bound(&reader->connection, READ_EXECUTION, &row, &found, err,
                           value_integer(visited_key))) {
        return false;
    }
    if (!found) { /* the chain was cut here, its older part removed */
        return true;
    }
    *key = sqlite_integer(row, 7);
    if (matches(filter, row)) {
        struct execution execution = read_execution(row, arena);
        page_add(page, arena, &execution);
    }
    sqlite3_reset(row);
    return true;
}

/* One more than the page holds is looked for, which tells whether there is a further page. */
static bool walk(struct sqlite_reader *reader, const struct execution_filter *filter,
                 struct arena *arena, struct page *page, struct error *err) {
    int64_t key;
    int64_t past_us;
    if (!find_first(reader, filter, page, &key, err) || !find_past(reader, filter, &past_us, err)) {
        return false;
    }
    int64_t visited_key = filter->before_key;
    size_t bytes_maximum = filter->bytes_maximum == 0 ? SIZE_MAX : filter->bytes_maximum;
    while (key != 0 && page->visited < WALK_MAXIMUM && page->result_bytes < bytes_maximum) {
        int64_t visiting_key = key;
        page->visited++;
        if (!visit(reader, filter, past_us, arena, page, &key, err)) {
            return false;
        }
        if (page->count > filter->limit) {
            page->count = filter->limit;
            page->next_cursor = visited_key;
            return true;
        }
        visited_key = visiting_key;
    }
    if (key != 0) {
        page->next_cursor = visited_key;
    }
    return true;
}

bool sqlite_list_executions(struct store_reader *base, const struct execution_filter *filter,
                            struct arena *arena, struct execution **out_executions,
                            size_t *out_count, int64_t *out_next_cursor, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    struct page page = {0};
    if (!sqlite_begin_reading(reader, err)) {
        return false;
    }
    bool ok = walk(reader, filter, arena, &page, err);
    sqlite_end_reading(reader);
    if (!ok) {
        return false;
    }
    *out_executions = page.executions;
    *out_count = page.count;
    *out_next_cursor = page.next_cursor;
    return true;
}

bool sqlite_get_run_totals(struct store_reader *base, int64_t run_key,
                           struct run_totals *out_totals, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    struct run_totals totals = {0};
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_find_bound(&reader->connection, READ_RUN_TOTALS, &statement, &row, err,
                           value_integer(run_key))) {
        return false;
    }
    while (row) {
        int64_t status = sqlite_integer(statement, 0);
        uint64_t count = (uint64_t)sqlite_integer(statement, 1);
        ASSERT(status >= 0 && status < (int64_t)COUNT_OF(totals.count));
        totals.count[status] += count;
        totals.duration[status].us += sqlite_integer(statement, 2);
        totals.missed_slots += (uint64_t)sqlite_integer(statement, 3);
        totals.removed += sqlite_integer(statement, 4) != 0 ? count : 0;
        if (!sqlite_next_row(reader, statement, &row, err)) {
            return false;
        }
    }
    sqlite3_reset(statement);
    *out_totals = totals;
    return true;
}

bool sqlite_load_active(struct store_reader *base,
                        void (*each)(const struct execution *execution, void *context),
                        void *context, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_statement(&reader->connection, READ_ALL_ACTIVE, &statement, err)) {
        return false;
    }
    while (sqlite_next_row(reader, statement, &row, err)) {
        if (!row) {
            sqlite3_reset(statement);
            return true;
        }
        struct execution execution = read_execution(statement, NULL);
        each(&execution, context);
    }
    return false;
}
