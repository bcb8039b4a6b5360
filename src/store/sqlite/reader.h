/* For neighbours in sqlite/: the reader, one connection with its statements. reading.c has runs and API keys,
 * history.c executions,
 * backfills.c backfills. */
#ifndef ORRERY_STORE_SQLITE_READER_H
#define ORRERY_STORE_SQLITE_READER_H

#include "store/sqlite/session.h"

#include <stdio.h>
#include <string.h>

struct sqlite_reader {
    struct store_reader reader; /* first */
    struct sqlite_connection connection;
    uint32_t depth; /* of sqlite_begin_reading */
};

static inline struct sqlite_reader *sqlite_reader_of(struct store_reader *reader) {
    return CONTAINER_OF(reader, struct sqlite_reader, reader);
}

enum reading_statement {
    READ_BEGIN,
    READ_COMMIT,
    READ_CHECK,
    READ_RUN,
    READ_ALL_RUNS,
    /* In this order: + 1 for a model, + 2 for an owner. */
    READ_RUN_PAGE,
    READ_RUN_PAGE_OF_MODEL,
    READ_RUN_PAGE_OF_OWNER,
    READ_RUN_PAGE_OF_BOTH,
    READ_RUN_COUNT,
    READ_RUN_COUNT_OF_MODEL,
    READ_RUN_COUNT_OF_OWNER,
    READ_RUN_COUNT_OF_BOTH,
    READ_OWNER,
    READ_MODEL,
    READ_EXECUTION,
    READ_OWNER_OF_RUN,
    READ_CHAIN_HEAD,
    READ_CHAIN_LINK,
    READ_OLDER_EXECUTIONS,
    READ_ALL_ACTIVE,
    READ_RUN_TOTALS,
    READ_BACKFILL,
    READ_BACKFILLS_OF_RUN,
    READ_BACKFILL_COUNTS,
    READ_OPEN_BACKFILLS,
    READ_FUTURE_BACKFILLS,
    READ_API_KEY,
    READ_ALL_API_KEYS,
};

/* What is read between these is of one moment. They nest. */
MUST_CHECK bool sqlite_begin_reading(struct sqlite_reader *reader, struct error *err);
void sqlite_end_reading(struct sqlite_reader *reader);

/* Steps; on an error the statement is reset. */
MUST_CHECK bool sqlite_next_row(struct sqlite_reader *reader, sqlite3_stmt *statement,
                                bool *out_row, struct error *err);

/* The key of a name, 0 if there is none. */
MUST_CHECK bool sqlite_find_key(struct sqlite_reader *reader, size_t index, const char *name,
                                int64_t *out_key, struct error *err);

#endif
