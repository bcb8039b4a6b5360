#include "store/sqlite/connection.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/* Without the count of allocated bytes there is no global lock in every allocation; a file named
 * "file:x" is a file named so. Where the library is in use already, its defaults serve too. */
static void configure_library(void) {
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_config(SQLITE_CONFIG_URI, 0);
}

/* secure_delete: what is deleted is overwritten where that costs no further page.
 * journal_size_limit: after a burst the log file shrinks to this.
 * wal_autocheckpoint = 0: checkpoints are the driver's business (checkpoint.c). */
static const char writing_pragmas[] = "PRAGMA synchronous = FULL;"
                                      "PRAGMA foreign_keys = ON;"
                                      "PRAGMA recursive_triggers = OFF;"
                                      "PRAGMA secure_delete = FAST;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA cache_size = -16384;"
                                      "PRAGMA journal_size_limit = 67108864;"
                                      "PRAGMA wal_autocheckpoint = 0;";

static const char reading_pragmas[] = "PRAGMA query_only = ON;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA cache_size = -1024;";

/* Some damage of the header has no code of its own. */
static bool is_unknown_format(sqlite3 *db, int code) {
    return code == SQLITE_ERROR && strcmp(sqlite3_errmsg(db), "unsupported file format") == 0;
}

bool sqlite_fail(sqlite3 *db, int code, struct error *err) {
    int saved_errno = db == NULL ? 0 : sqlite3_system_errno(db);
    int primary = code & 0xff;
    if (primary == SQLITE_IOERR && (saved_errno == ENOSPC || saved_errno == EDQUOT)) {
        primary = SQLITE_FULL;
    } else if (is_unknown_format(db, code)) {
        primary = SQLITE_CORRUPT;
    }
    switch (primary) {
    case SQLITE_FULL:
        error_set(err, ERROR_STORE, "the disk is full, nothing was stored");
        break;
    case SQLITE_IOERR:
        error_set(err, ERROR_STORE,
                  "the disk fails (SQLite's input/output error %d), nothing was stored", code >> 8);
        break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        error_set(err, ERROR_STORE, "the store's file or its folder cannot be written");
        break;
    case SQLITE_CANTOPEN:
        error_set(err, ERROR_STORE, "the store's file cannot be opened");
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        error_set(err, ERROR_STORE, "another process holds the store for too long, try again");
        break;
    case SQLITE_NOTADB:
        error_set(err, ERROR_STORE,
                  "the file is not an orrery store; give orrery a file of its own");
        break;
    case SQLITE_CORRUPT:
        error_set(err, ERROR_STORE,
                  "the store's file is damaged; restore a backup, or save what can be read with "
                  "sqlite3's .recover");
        break;
    case SQLITE_NOMEM:
        error_set(err, ERROR_STORE, "out of memory, nothing was stored");
        break;
    case SQLITE_TOOBIG:
        error_set(err, ERROR_STORE, "a text is too large to be stored");
        break;
    default:
        error_set(err, ERROR_STORE, "the store refuses (SQLite code %d), which is a bug in orrery",
                  code);
        break;
    }
    err->saved_errno = primary == SQLITE_FULL ? ENOSPC : saved_errno;
    return false;
}

bool sqlite_execute(struct sqlite_connection *connection, const char *sql, struct error *err) {
    int code = sqlite3_exec(connection->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK || sqlite_fail(connection->db, code, err);
}

void sqlite_rollback(struct sqlite_connection *connection) {
    /* After some failures SQLite has rolled back by itself (https://sqlite.org/lang_transaction.html). */
    if (sqlite3_get_autocommit(connection->db) == 0) {
        sqlite3_exec(connection->db, "ROLLBACK", NULL, NULL, NULL);
    }
}

bool sqlite_query_integer(struct sqlite_connection *connection, const char *sql, int64_t *out_value,
                          struct error *err) {
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(connection->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW) {
            *out_value = sqlite3_column_int64(statement, 0);
        }
    }
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || sqlite_fail(connection->db, code, err);
}

bool sqlite_connection_open_plain(struct sqlite_connection *connection, const char *path, int flags,
                                  struct error *err) {
    pthread_once(&library_once, configure_library);
    struct sqlite_connection opened = {0};
    /* One thread at a time uses a connection, so it needs no mutex of its own. */
    int code = sqlite3_open_v2(path, &opened.db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        sqlite_fail(opened.db, code, err);
        sqlite3_close(opened.db);
        return false;
    }
    sqlite3_extended_result_codes(opened.db, 1);
    sqlite3_busy_timeout(opened.db, SQLITE_BUSY_TIMEOUT_MS);
    *connection = opened;
    return true;
}

bool sqlite_connection_open(struct sqlite_connection *connection, const char *path,
                            enum sqlite_mode mode, const char *const *sql, size_t statement_count,
                            struct error *err) {
    struct sqlite_connection opened;
    if (!sqlite_connection_open_plain(&opened, path, SQLITE_OPEN_READWRITE, err)) {
        return false;
    }
    const char *pragmas = mode == SQLITE_FOR_WRITING ? writing_pragmas : reading_pragmas;
    if (!sqlite_execute(&opened, pragmas, err)) {
        sqlite3_close(opened.db);
        return false;
    }
    opened.sql = sql;
    opened.statement_count = statement_count;
    opened.statements = must_alloc_zeroed(statement_count, sizeof(sqlite3_stmt *));
    *connection = opened;
    return true;
}

void sqlite_connection_close(struct sqlite_connection *connection) {
    for (size_t i = 0; i < connection->statement_count; i++) {
        sqlite3_finalize(connection->statements[i]);
    }
    free(connection->statements);
    int code = sqlite3_close(connection->db);
    ASSERT(code == SQLITE_OK);
    *connection = (struct sqlite_connection){0};
}

bool sqlite_statement(struct sqlite_connection *connection, size_t index,
                      sqlite3_stmt **out_statement, struct error *err) {
    ASSERT(index < connection->statement_count);
    sqlite3_stmt **statement = &connection->statements[index];
    if (*statement == NULL) {
        int code = sqlite3_prepare_v3(connection->db, connection->sql[index], -1,
                                      SQLITE_PREPARE_PERSISTENT, statement, NULL);
        if (code != SQLITE_OK) {
            return sqlite_fail(connection->db, code, err);
        }
    }
    *out_statement = *statement;
    return true;
}

bool sqlite_run(struct sqlite_connection *connection, sqlite3_stmt *statement, struct error *err) {
    int code = sqlite3_step(statement);
    bool ok = code == SQLITE_DONE;
    if (!ok) {
        sqlite_fail(connection->db, code, err);
    }
    sqlite3_reset(statement);
    return ok;
}

/* Binding fails only for an index that is not there, a statement that is being stepped (bugs both), or a
 * text beyond SQLite's limit of a gigabyte, which no door lets through. */
static void must_bind(int code) { ASSERT(code == SQLITE_OK); }

void sqlite_bind(sqlite3_stmt *statement, const struct sqlite_value *values, size_t value_count) {
    for (size_t i = 0; i < value_count; i++) {
        const struct sqlite_value *value = &values[i];
        int index = (int)i + 1;
        switch (value->kind) {
        case SQLITE_VALUE_NULL:
            must_bind(sqlite3_bind_null(statement, index));
            break;
        case SQLITE_VALUE_INTEGER:
            must_bind(sqlite3_bind_int64(statement, index, value->integer));
            break;
        case SQLITE_VALUE_TEXT:
            must_bind(sqlite3_bind_text(statement, index, value->bytes, -1, SQLITE_STATIC));
            break;
        case SQLITE_VALUE_BLOB:
            must_bind(sqlite3_bind_blob64(statement, index, value->bytes, value->size_bytes,
                                          SQLITE_STATIC));
            break;
        }
    }
}

bool sqlite_run_values(struct sqlite_connection *connection, size_t index, struct error *err,
                       const struct sqlite_value *values, size_t value_count) {
    sqlite3_stmt *statement;
    if (!sqlite_statement(connection, index, &statement, err)) {
        return false;
    }
    sqlite_bind(statement, values, value_count);
    return sqlite_run(connection, statement, err);
}

bool sqlite_find_values(struct sqlite_connection *connection, size_t index,
                        sqlite3_stmt **out_statement, bool *out_row, struct error *err,
                        const struct sqlite_value *values, size_t value_count) {
    sqlite3_stmt *statement;
    if (!sqlite_statement(connection, index, &statement, err)) {
        return false;
    }
    sqlite_bind(statement, values, value_count);
    int code = sqlite3_step(statement);
    bool ok = code == SQLITE_ROW || code == SQLITE_DONE;
    if (!ok) {
        sqlite_fail(connection->db, code, err);
    }
    if (code != SQLITE_ROW) {
        sqlite3_reset(statement);
    }
    if (!ok) {
        return false;
    }
    *out_statement = statement;
    *out_row = code == SQLITE_ROW;
    return true;
}

void sqlite_bind_text(sqlite3_stmt *statement, int index, const char *text) {
    must_bind(sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC));
}

void sqlite_bind_integer(sqlite3_stmt *statement, int index, int64_t value) {
    must_bind(sqlite3_bind_int64(statement, index, value));
}

const char *sqlite_text(sqlite3_stmt *statement, int column, struct arena *arena) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    if (text == NULL || arena == NULL) {
        return text;
    }
    return arena_strndup(arena, text, (size_t)sqlite3_column_bytes(statement, column));
}

int64_t sqlite_integer(sqlite3_stmt *statement, int column) {
    return sqlite3_column_int64(statement, column);
}

struct wall_time sqlite_time(sqlite3_stmt *statement, int column) {
    return sqlite_is_null(statement, column)
               ? WALL_TIME_NONE
               : (struct wall_time){sqlite3_column_int64(statement, column)};
}

bool sqlite_is_null(sqlite3_stmt *statement, int column) {
    return sqlite3_column_type(statement, column) == SQLITE_NULL;
}
