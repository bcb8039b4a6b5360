/* For neighbours in sqlite/: a connection with its prepared statements, and what SQLite's result codes mean
 * in sentences. A connection belongs to one thread at a time. */
#ifndef ORRERY_STORE_SQLITE_CONNECTION_H
#define ORRERY_STORE_SQLITE_CONNECTION_H

#include "base/arena.h"
#include "clock/time.h"

#include <sqlite3.h>

/* How long a connection waits for another process's transaction (https://sqlite.org/c3ref/busy_timeout.html). */
enum { SQLITE_BUSY_TIMEOUT_MS = 5000 };

struct sqlite_connection {
    sqlite3 *db;
    const char *const *sql;    /* the text of each statement */
    sqlite3_stmt **statements; /* prepared when first needed, kept */
    size_t statement_count;
};

enum sqlite_mode { SQLITE_FOR_WRITING, SQLITE_FOR_READING };

/* Opens the file, which must exist, and sets the connection's pragmas. `sql` is borrowed. */
MUST_CHECK bool sqlite_connection_open(struct sqlite_connection *connection, const char *path,
                                       enum sqlite_mode mode, const char *const *sql,
                                       size_t statement_count, struct error *err);
/* The same without pragmas and statements; `flags` are SQLite's. */
MUST_CHECK bool sqlite_connection_open_plain(struct sqlite_connection *connection, const char *path,
                                             int flags, struct error *err);
void sqlite_connection_close(struct sqlite_connection *connection);

/* The statement, reset and ready to be bound. What was bound to it stays until it is bound anew. */
MUST_CHECK bool sqlite_statement(struct sqlite_connection *connection, size_t index,
                                 sqlite3_stmt **out_statement, struct error *err);

/* Runs a statement that gives no rows, and resets it. */
MUST_CHECK bool sqlite_run(struct sqlite_connection *connection, sqlite3_stmt *statement,
                           struct error *err);

/* Runs SQL text of this program's own. */
MUST_CHECK bool sqlite_execute(struct sqlite_connection *connection, const char *sql,
                               struct error *err);

/* Ends the transaction, if there is one, without its changes. */
void sqlite_rollback(struct sqlite_connection *connection);

/* The first column of the first row of this program's own SQL text. */
MUST_CHECK bool sqlite_query_integer(struct sqlite_connection *connection, const char *sql,
                                     int64_t *out_value, struct error *err);

/* ERROR_STORE with a sentence for the result code; names no SQL. Returns false. */
bool sqlite_fail(sqlite3 *db, int code, struct error *err);

/* What is bound to a statement's parameters ?1, ?2 … Texts and blobs are borrowed until it has run. */
struct sqlite_value {
    enum { SQLITE_VALUE_NULL, SQLITE_VALUE_INTEGER, SQLITE_VALUE_TEXT, SQLITE_VALUE_BLOB } kind;
    int64_t integer;
    const void *bytes;
    size_t size_bytes;
};
static inline struct sqlite_value value_integer(int64_t integer) {
    return (struct sqlite_value){.kind = SQLITE_VALUE_INTEGER, .integer = integer};
}
/* 0: null. */
static inline struct sqlite_value value_key(int64_t key) {
    return key == 0 ? (struct sqlite_value){0} : value_integer(key);
}
/* NONE: null. */
static inline struct sqlite_value value_time(struct wall_time time) {
    return wall_time_is_none(time) ? (struct sqlite_value){0} : value_integer(time.us);
}
/* NULL: null. */
static inline struct sqlite_value value_text(const char *text) {
    return text == NULL ? (struct sqlite_value){0}
                        : (struct sqlite_value){.kind = SQLITE_VALUE_TEXT, .bytes = text};
}
static inline struct sqlite_value value_blob(const void *bytes, size_t size_bytes) {
    return (struct sqlite_value){
        .kind = SQLITE_VALUE_BLOB, .bytes = bytes, .size_bytes = size_bytes};
}

/* For the last two arguments of the functions below. */
#define SQLITE_VALUES(...)                                                                         \
    (const struct sqlite_value[]){__VA_ARGS__},                                                    \
        COUNT_OF(((const struct sqlite_value[]){__VA_ARGS__}))

/* Binds all parameters and runs the statement, as sqlite_run. */
#define sqlite_run_bound(connection, index, err, ...)                                              \
    sqlite_run_values(connection, index, err, SQLITE_VALUES(__VA_ARGS__))
MUST_CHECK bool sqlite_run_values(struct sqlite_connection *connection, size_t index,
                                  struct error *err, const struct sqlite_value *values,
                                  size_t value_count);

/* Binds all parameters and steps to the first row: the caller resets the statement when it has read that. Where there
 * is no row, it is reset. */
#define sqlite_find_bound(connection, index, out_statement, out_row, err, ...)                     \
    sqlite_find_values(connection, index, out_statement, out_row, err, SQLITE_VALUES(__VA_ARGS__))
MUST_CHECK bool sqlite_find_values(struct sqlite_connection *connection, size_t index,
                                   sqlite3_stmt **out_statement, bool *out_row, struct error *err,
                                   const struct sqlite_value *values, size_t value_count);

void sqlite_bind(sqlite3_stmt *statement, const struct sqlite_value *values, size_t value_count);

/* Binding one by one, for readers. A text is borrowed until the statement has run. */
void sqlite_bind_text(sqlite3_stmt *statement, int index, const char *text); /* NULL: null */
void sqlite_bind_integer(sqlite3_stmt *statement, int index, int64_t value);

/* Reading a column: a text lives in the arena or, where that is NULL, until the statement's next step. */
const char *sqlite_text(sqlite3_stmt *statement, int column, struct arena *arena);
int64_t sqlite_integer(sqlite3_stmt *statement, int column);
struct wall_time sqlite_time(sqlite3_stmt *statement, int column);
bool sqlite_is_null(sqlite3_stmt *statement, int column);

#endif
