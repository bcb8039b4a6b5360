#include "store/sqlite/reader.h"

#include <stdlib.h>

/* Columns in the order in which read_run takes them. */
#define RUN_COLUMNS                                                                                \
    "r.key, r.revision, o.name, m.name, r.model_version, r.schedule, r.zone_name, r.parameters,"   \
    " r.name, r.description, r.enabled, r.overlap, r.catchup, r.dst_missing, r.dst_repeated,"      \
    " r.catchup_window_us, r.jitter_us, r.timeout_us, r.retry_max_attempts, r.retry_backoff_us,"   \
    " r.retry_max_backoff_us, r.start_at, r.end_at, r.created_at, r.updated_at, s.last_run,"       \
    " s.next_run, r.priority, r.paused_at, r.note, r.retry_non_retryable,"                         \
    " s.settled_until"
/* CROSS JOIN: in this order (https://sqlite.org/optoverview.html#crossjoin). */
#define TABLES_OF_RUN                                                                              \
    " CROSS JOIN run_state s ON s.run_key = r.key"                                                 \
    " CROSS JOIN owners o ON o.key = r.owner_key CROSS JOIN models m ON m.key = r.model_key"
#define RUN_TABLES " FROM runs r" TABLES_OF_RUN
/* First the keys alone, out of an index where there is one: what the offset passes over costs little. The outermost loop
 * takes them as they come; a second ORDER BY would sort whole rows. */
#define RUN_PAGE(which)                                                                            \
    "SELECT " RUN_COLUMNS " FROM (SELECT key FROM " which                                          \
    " ORDER BY key LIMIT ?3 OFFSET ?4) AS page CROSS JOIN runs r ON r.key = "                      \
    "page.key" TABLES_OF_RUN

/* Columns in the order in which read_execution takes them. */
#define EXECUTION_COLUMNS                                                                          \
    "e.key, e.run_key, m.name, e.trigger, e.attempt, e.slot, e.queued_at, e.previous_key,"         \
    " coalesce(o.status, a.status), coalesce(o.started_at, a.started_at), o.finished_at,"          \
    " o.duration_us, f.version, f.digest, o.error_type, o.error_message, o.blocked_by,"            \
    " o.missed_from, o.missed_to, o.missed_count, o.result, e.backfill_key, a.model_version,"      \
    " a.timeout_us, a.not_before, r.size_bytes"
#define EXECUTION_TABLES                                                                           \
    " CROSS JOIN models m ON m.key = e.model_key"                                                  \
    " LEFT JOIN outcomes o ON o.execution_key = e.key"                                             \
    " LEFT JOIN active a ON a.execution_key = e.key"                                               \
    " LEFT JOIN model_files f ON f.key = o.model_file_key"                                         \
    " LEFT JOIN result_files r ON r.execution_key = e.key"

/* Columns in the order in which read_backfill takes them. */
#define BACKFILL_COLUMNS                                                                           \
    "b.key, b.run_key, b.from_slot, b.to_slot, b.next_slot, b.slot_count, b.parallelism,"          \
    " b.created_at, b.cancelled_at, b.parameters"

#define API_KEY_COLUMNS "k.id, k.hash, o.name, k.admin, k.created_at, k.revoked_at"
#define API_KEY_TABLES " FROM api_keys k JOIN owners o ON o.key = k.owner_key"

static const char *const reading_sql[] = {
    [READ_BEGIN] = "BEGIN",
    [READ_COMMIT] = "COMMIT",
    [READ_CHECK] = "SELECT tag FROM store",
    [READ_RUN] = "SELECT " RUN_COLUMNS RUN_TABLES " WHERE r.key = ?1 AND r.deleted_at IS NULL",
    [READ_ALL_RUNS] = "SELECT " RUN_COLUMNS RUN_TABLES
                      " WHERE r.deleted_at IS NULL AND r.enabled AND r.paused_at IS NULL"
                      " AND s.next_run IS NOT NULL"
                      " ORDER BY r.key",
    /* ?1 owner, ?2 model (their keys), ?3 limit, ?4 offset. */
    [READ_RUN_PAGE] = RUN_PAGE("runs WHERE deleted_at IS NULL"),
    [READ_RUN_PAGE_OF_MODEL] = RUN_PAGE("runs WHERE deleted_at IS NULL AND model_key = ?2"),
    [READ_RUN_PAGE_OF_OWNER] = RUN_PAGE("runs INDEXED BY runs_by_owner"
                                        " WHERE deleted_at IS NULL AND owner_key = ?1"),
    [READ_RUN_PAGE_OF_BOTH] =
        RUN_PAGE("runs INDEXED BY runs_by_owner"
                 " WHERE deleted_at IS NULL AND owner_key = ?1 AND model_key = ?2"),
    [READ_RUN_COUNT] = "SELECT coalesce(sum(run_count), 0) FROM run_counts",
    [READ_RUN_COUNT_OF_MODEL] = "SELECT coalesce(sum(run_count), 0) FROM run_counts"
                                " WHERE model_key = ?2",
    [READ_RUN_COUNT_OF_OWNER] = "SELECT coalesce(sum(run_count), 0) FROM run_counts"
                                " WHERE owner_key = ?1",
    [READ_RUN_COUNT_OF_BOTH] = "SELECT coalesce(sum(run_count), 0) FROM run_counts"
                               " WHERE owner_key = ?1 AND model_key = ?2",
    [READ_OWNER] = "SELECT key FROM owners WHERE name = ?1",
    [READ_MODEL] = "SELECT key FROM models WHERE name = ?1",
    [READ_EXECUTION] =
        "SELECT " EXECUTION_COLUMNS " FROM executions e" EXECUTION_TABLES " WHERE e.key = ?1",
    [READ_OWNER_OF_RUN] = "SELECT o.name FROM runs r JOIN owners o ON o.key = r.owner_key"
                          " WHERE r.key = ?1",
    [READ_CHAIN_HEAD] = "SELECT last_execution_key FROM run_state WHERE run_key = ?1",
    [READ_CHAIN_LINK] = "SELECT run_key, previous_key FROM executions WHERE key = ?1",
    [READ_OLDER_EXECUTIONS] = "SELECT key, run_key FROM executions WHERE key < ?1"
                              " ORDER BY key DESC",
    [READ_ALL_ACTIVE] =
        "SELECT " EXECUTION_COLUMNS
        " FROM active x CROSS JOIN executions e ON e.key = x.execution_key" EXECUTION_TABLES
        " ORDER BY x.execution_key",
    /* Those in the chain, then those that were removed. */
    [READ_RUN_TOTALS] =
        "WITH RECURSIVE chain (key) AS ("
        " SELECT last_execution_key FROM run_state WHERE run_key = ?1"
        " UNION ALL SELECT e.previous_key FROM chain c CROSS JOIN executions e ON e.key = c.key"
        "  WHERE e.previous_key IS NOT NULL)"
        " SELECT coalesce(o.status, a.status), count(*),"
        " sum(CASE WHEN o.started_at IS NULL THEN 0 ELSE o.duration_us END),"
        " coalesce(sum(o.missed_count), 0), 0"
        " FROM chain c CROSS JOIN executions e ON e.key = c.key"
        " LEFT JOIN outcomes o ON o.execution_key = e.key"
        " LEFT JOIN active a ON a.execution_key = e.key GROUP BY 1"
        " UNION ALL SELECT status, execution_count, duration_us, missed_slots, 1"
        " FROM removed_totals WHERE run_key = ?1",
    [READ_BACKFILL] = "SELECT " BACKFILL_COLUMNS ", o.name"
                      " FROM backfills b CROSS JOIN runs r ON r.key = b.run_key"
                      " CROSS JOIN owners o ON o.key = r.owner_key"
                      " WHERE b.key = ?1 AND r.deleted_at IS NULL",
    [READ_BACKFILLS_OF_RUN] = "SELECT " BACKFILL_COLUMNS " FROM backfills b"
                              " WHERE b.run_key = ?1 AND b.key < ?2 ORDER BY b.key DESC LIMIT ?3",
    /* Where max() chooses the row, the other columns are that row's (https://sqlite.org/lang_select.html#bareagg). */
    [READ_BACKFILL_COUNTS] =
        "SELECT coalesce(o.status, a.status), count(*) FROM"
        " (SELECT key, max(attempt) FROM executions WHERE backfill_key = ?1 GROUP BY slot) AS last"
        " LEFT JOIN outcomes o ON o.execution_key = last.key"
        " LEFT JOIN active a ON a.execution_key = last.key GROUP BY 1",
    [READ_OPEN_BACKFILLS] = "SELECT " BACKFILL_COLUMNS " FROM backfills b"
                            " CROSS JOIN runs r ON r.key = b.run_key"
                            " WHERE b.cancelled_at IS NULL AND b.next_slot IS NOT NULL"
                            " AND r.deleted_at IS NULL ORDER BY b.key",
    [READ_FUTURE_BACKFILLS] = "SELECT min(created_at) FROM backfills"
                              " WHERE run_key = ?1 AND to_slot > ?2",
    [READ_API_KEY] = "SELECT " API_KEY_COLUMNS API_KEY_TABLES " WHERE k.id = ?1",
    [READ_ALL_API_KEYS] = "SELECT " API_KEY_COLUMNS API_KEY_TABLES " ORDER BY k.created_at, k.id",
};

bool sqlite_reader_open(struct store_session *session, struct store_reader **out_reader,
                        struct error *err) {
    struct sqlite_reader *reader = must_alloc_zeroed(1, sizeof *reader);
    if (!sqlite_connection_open(&reader->connection, session->path, SQLITE_FOR_READING, reading_sql,
                                COUNT_OF(reading_sql), err)) {
        free(reader);
        return false;
    }
    reader->reader.driver = &sqlite_driver;
    *out_reader = &reader->reader;
    return true;
}

void sqlite_reader_close(struct store_reader *base) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    sqlite_connection_close(&reader->connection);
    free(reader);
}

/* --- helpers ----------------------------------------------------------------------------------- */

bool sqlite_begin_reading(struct sqlite_reader *reader, struct error *err) {
    sqlite3_stmt *statement;
    if (reader->depth == 0 &&
        (!sqlite_statement(&reader->connection, READ_BEGIN, &statement, err) ||
         !sqlite_run(&reader->connection, statement, err))) {
        return false;
    }
    reader->depth++;
    return true;
}

void sqlite_end_reading(struct sqlite_reader *reader) {
    sqlite3_stmt *statement;
    struct error ignored;
    ASSERT(reader->depth > 0);
    if (--reader->depth > 0) {
        return;
    }
    /* Nothing was written, so that there is nothing to lose if it fails. */
    if (!sqlite_statement(&reader->connection, READ_COMMIT, &statement, &ignored) ||
        !sqlite_run(&reader->connection, statement, &ignored)) {
        sqlite_rollback(&reader->connection);
    }
}

bool sqlite_reader_begin(struct store_reader *base, struct error *err) {
    return sqlite_begin_reading(sqlite_reader_of(base), err);
}

void sqlite_reader_end(struct store_reader *base) { sqlite_end_reading(sqlite_reader_of(base)); }

bool sqlite_next_row(struct sqlite_reader *reader, sqlite3_stmt *statement, bool *out_row,
                     struct error *err) {
    int code = sqlite3_step(statement);
    *out_row = code == SQLITE_ROW;
    if (code == SQLITE_ROW || code == SQLITE_DONE) {
        return true;
    }
    sqlite_fail(reader->connection.db, code, err);
    sqlite3_reset(statement);
    return false;
}

bool sqlite_find_key(struct sqlite_reader *reader, size_t index, const char *name, int64_t *out_key,
                     struct error *err) {
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_statement(&reader->connection, index, &statement, err)) {
        return false;
    }
    sqlite_bind_text(statement, 1, name);
    if (!sqlite_next_row(reader, statement, &row, err)) {
        return false;
    }
    *out_key = row ? sqlite_integer(statement, 0) : 0;
    sqlite3_reset(statement);
    return true;
}

/* --- runs -------------------------------------------------------------------------------------- */

/* A name that this program does not know (of a newer one, before a downgrade) stands for nothing. */
static uint64_t read_kinds(sqlite3_stmt *row, int column) {
    uint64_t kinds;
    const char *names = sqlite_text(row, column, NULL);
    return names != NULL && retry_kinds_parse(names, &kinds) ? kinds : 0;
}

static struct run read_run(sqlite3_stmt *row, struct arena *arena) {
    return (struct run){
        .key = sqlite_integer(row, 0),
        .revision = (uint64_t)sqlite_integer(row, 1),
        .owner = sqlite_text(row, 2, arena),
        .model_name = sqlite_text(row, 3, arena),
        .model_version = (uint32_t)sqlite_integer(row, 4),
        .schedule = sqlite_text(row, 5, arena),
        .zone_name = sqlite_text(row, 6, arena),
        .parameters = sqlite_text(row, 7, arena),
        .name = sqlite_text(row, 8, arena),
        .description = sqlite_text(row, 9, arena),
        .enabled = sqlite_integer(row, 10) != 0,
        .overlap = (enum overlap_policy)sqlite_integer(row, 11),
        .catchup = (enum catchup_policy)sqlite_integer(row, 12),
        .dst_missing = (enum dst_missing)sqlite_integer(row, 13),
        .dst_repeated = (enum dst_repeated)sqlite_integer(row, 14),
        .catchup_window = {sqlite_integer(row, 15)},
        .jitter = {sqlite_integer(row, 16)},
        .timeout = {sqlite_integer(row, 17)},
        .retry = {.max_attempts = (uint32_t)sqlite_integer(row, 18),
                  .backoff = {sqlite_integer(row, 19)},
                  .max_backoff = {sqlite_integer(row, 20)},
                  .non_retryable = read_kinds(row, 30)},
        .start_at = sqlite_time(row, 21),
        .end_at = sqlite_time(row, 22),
        .created_at = sqlite_time(row, 23),
        .updated_at = sqlite_time(row, 24),
        .last_run = sqlite_time(row, 25),
        .next_run = sqlite_time(row, 26),
        .priority = (uint8_t)sqlite_integer(row, 27),
        .paused_at = sqlite_time(row, 28),
        .note = sqlite_text(row, 29, arena),
        .settled_until = sqlite_time(row, 31),
    };
}

bool sqlite_get_run(struct store_reader *base, int64_t key, struct arena *arena,
                    struct run *out_run, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    sqlite3_stmt *statement;
    bool found;
    if (!sqlite_statement(&reader->connection, READ_RUN, &statement, err)) {
        return false;
    }
    sqlite_bind_integer(statement, 1, key);
    if (!sqlite_next_row(reader, statement, &found, err)) {
        return false;
    }
    if (found) {
        *out_run = read_run(statement, arena);
    }
    sqlite3_reset(statement);
    return found || error_set(err, ERROR_NOT_FOUND, "there is no such scheduled run");
}

/* The filter with names as keys; 0: all. */
struct key_filter {
    int64_t owner_key;
    int64_t model_key;
    bool matches_nothing; /* a name that the store does not know */
};

static bool find_filter_keys(struct sqlite_reader *reader, const struct run_filter *filter,
                             struct key_filter *out, struct error *err) {
    *out = (struct key_filter){0};
    if ((filter->owner != NULL &&
         !sqlite_find_key(reader, READ_OWNER, filter->owner, &out->owner_key, err)) ||
        (filter->model_name != NULL &&
         !sqlite_find_key(reader, READ_MODEL, filter->model_name, &out->model_key, err))) {
        return false;
    }
    out->matches_nothing = (filter->owner != NULL && out->owner_key == 0) ||
                           (filter->model_name != NULL && out->model_key == 0);
    return true;
}

/* The statement of a kind (keys or counts) that fits the filter, its keys bound. */
static bool filter_statement(struct sqlite_reader *reader, enum reading_statement for_all,
                             const struct key_filter *filter, sqlite3_stmt **out_statement,
                             struct error *err) {
    size_t index =
        (size_t)for_all + (filter->model_key == 0 ? 0 : 1) + (filter->owner_key == 0 ? 0 : 2);
    if (!sqlite_statement(&reader->connection, index, out_statement, err)) {
        return false;
    }
    if (filter->owner_key != 0) {
        sqlite_bind_integer(*out_statement, 1, filter->owner_key);
    }
    if (filter->model_key != 0) {
        sqlite_bind_integer(*out_statement, 2, filter->model_key);
    }
    return true;
}

static bool count_runs(struct sqlite_reader *reader, const struct key_filter *filter,
                       uint64_t *out_total, struct error *err) {
    sqlite3_stmt *statement;
    bool row;
    if (!filter_statement(reader, READ_RUN_COUNT, filter, &statement, err) ||
        !sqlite_next_row(reader, statement, &row, err)) {
        return false;
    }
    *out_total = (uint64_t)sqlite_integer(statement, 0);
    sqlite3_reset(statement);
    return true;
}

/* The page's runs, at most `wanted`; there is room for them. */
static bool read_page(struct sqlite_reader *reader, const struct run_filter *filter,
                      const struct key_filter *keys, size_t wanted, struct arena *arena,
                      struct run *runs, size_t *out_count, struct error *err) {
    sqlite3_stmt *statement;
    if (!filter_statement(reader, READ_RUN_PAGE, keys, &statement, err)) {
        return false;
    }
    sqlite_bind_integer(statement, 3, (int64_t)wanted);
    sqlite_bind_integer(statement, 4, (int64_t)filter->offset);
    size_t bytes_maximum = filter->bytes_maximum == 0 ? SIZE_MAX : filter->bytes_maximum;
    size_t parameters_bytes = 0;
    size_t count = 0;
    bool row;
    while (parameters_bytes < bytes_maximum) {
        if (!sqlite_next_row(reader, statement, &row, err)) {
            return false;
        }
        if (!row) {
            break;
        }
        ASSERT(count < wanted);
        runs[count] = read_run(statement, arena);
        parameters_bytes += strlen(runs[count++].parameters);
    }
    sqlite3_reset(statement);
    *out_count = count;
    return true;
}

static bool list_runs(struct sqlite_reader *reader, const struct run_filter *filter,
                      struct arena *arena, struct run **out_runs, size_t *out_count,
                      uint64_t *out_total, struct error *err) {
    struct key_filter keys;
    uint64_t total = 0;
    if (!find_filter_keys(reader, filter, &keys, err) ||
        (!keys.matches_nothing && !count_runs(reader, &keys, &total, err))) {
        return false;
    }
    /* Knowing how many there are, the search ends at the last of them. */
    uint64_t left = filter->offset < total ? total - filter->offset : 0;
    size_t wanted = (size_t)MIN_OF(left, (uint64_t)filter->limit);
    struct run *runs = wanted == 0 ? NULL : arena_alloc(arena, wanted * sizeof *runs);
    size_t count = 0;
    if (wanted > 0 && !read_page(reader, filter, &keys, wanted, arena, runs, &count, err)) {
        return false;
    }
    *out_runs = runs;
    *out_count = count;
    *out_total = total;
    return true;
}

bool sqlite_list_runs(struct store_reader *base, const struct run_filter *filter,
                      struct arena *arena, struct run **out_runs, size_t *out_count,
                      uint64_t *out_total, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    if (!sqlite_begin_reading(reader, err)) { /* page and total of one moment */
        return false;
    }
    bool ok = list_runs(reader, filter, arena, out_runs, out_count, out_total, err);
    sqlite_end_reading(reader);
    return ok;
}

bool sqlite_load_runs(struct store_reader *base, void (*each)(const struct run *run, void *context),
                      void *context, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_statement(&reader->connection, READ_ALL_RUNS, &statement, err)) {
        return false;
    }
    while (sqlite_next_row(reader, statement, &row, err)) {
        if (!row) {
            sqlite3_reset(statement);
            return true;
        }
        struct run run = read_run(statement, NULL);
        each(&run, context);
    }
    return false;
}

/* --- API keys ------------------------------------------------------------------------------------ */

static struct api_key read_api_key(sqlite3_stmt *row, struct arena *arena) {
    struct api_key key = {.owner = sqlite_text(row, 2, arena),
                          .admin = sqlite_integer(row, 3) != 0,
                          .created_at = sqlite_time(row, 4),
                          .revoked_at = sqlite_time(row, 5)};
    snprintf(key.id, sizeof key.id, "%s", sqlite_text(row, 0, NULL));
    const void *hash = sqlite3_column_blob(row, 1);
    if (sqlite3_column_bytes(row, 1) == sizeof key.hash) {
        memcpy(key.hash, hash, sizeof key.hash);
    }
    return key;
}

bool sqlite_get_api_key(struct store_reader *base, const char *id, struct arena *arena,
                        struct api_key *out_key, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_statement(&reader->connection, READ_API_KEY, &statement, err)) {
        return false;
    }
    sqlite_bind_text(statement, 1, id);
    if (!sqlite_next_row(reader, statement, &row, err)) {
        return false;
    }
    if (row) {
        *out_key = read_api_key(statement, arena);
    }
    sqlite3_reset(statement);
    return row || error_set(err, ERROR_NOT_FOUND, "there is no API key with this id");
}

bool sqlite_list_api_keys(struct store_reader *base, struct arena *arena, struct api_key **out_keys,
                          size_t *out_count, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_statement(&reader->connection, READ_ALL_API_KEYS, &statement, err)) {
        return false;
    }
    struct api_key *keys = NULL;
    size_t count = 0;
    size_t capacity = 0;
    for (;;) {
        if (!sqlite_next_row(reader, statement, &row, err)) {
            return false;
        }
        if (!row) {
            break;
        }
        if (count == capacity) {
            capacity = capacity == 0 ? 16 : capacity * 2;
            struct api_key *larger = arena_alloc(arena, capacity * sizeof *larger);
            if (count > 0) {
                memcpy(larger, keys, count * sizeof *keys);
            }
            keys = larger;
        }
        keys[count++] = read_api_key(statement, arena);
    }
    sqlite3_reset(statement);
    *out_keys = keys;
    *out_count = count;
    return true;
}

bool sqlite_check(struct store_reader *base, struct error *err) {
    struct sqlite_reader *reader = sqlite_reader_of(base);
    sqlite3_stmt *statement;
    bool row;
    if (!sqlite_statement(&reader->connection, READ_CHECK, &statement, err) ||
        !sqlite_next_row(reader, statement, &row, err)) {
        return false;
    }
    sqlite3_reset(statement);
    return row || error_set(err, ERROR_STORE, "the store's file is damaged");
}
