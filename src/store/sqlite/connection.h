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
void sqlite_connection_close(struct sqlite_connection *connection);

/* The statement, reset and ready to be bound. What was bound to it stays until it is bound anew. */
MUST_CHECK bool sqlite_statement(struct sqlite_connection *connection, size_t index,
                                 sqlite3_stmt **out_statement, struct error *err);

/* Runs a statement that gives no rows (or whose rows do not matter), and resets it. */
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

/* Binding: texts and blobs are borrowed until the statement has run. */
void sqlite_bind_text(sqlite3_stmt *statement, int index, const char *text); /* NULL: null */
void sqlite_bind_integer(sqlite3_stmt *statement, int index, int64_t value);
void sqlite_bind_time(sqlite3_stmt *statement, int index, struct wall_time time); /* NONE: null */
void sqlite_bind_blob(sqlite3_stmt *statement, int index, const void *bytes, size_t size_bytes);
void sqlite_bind_null(sqlite3_stmt *statement, int index);

/* Reading a column: a text lives in the arena or, where that is NULL, until the statement's next step. */
const char *sqlite_text(sqlite3_stmt *statement, int column, struct arena *arena);
int64_t sqlite_integer(sqlite3_stmt *statement, int column);
struct wall_time sqlite_time(sqlite3_stmt *statement, int column);
bool sqlite_is_null(sqlite3_stmt *statement, int column);

#endif
