/* For neighbours in sqlite/: removes the files of results (store/results.h) whose executions retention has removed.
 * A removal is not flushed to the disk by itself (retention.h): a crash may undo it, and the reference would be there
 * again. So a file goes only once a later commit was flushed, and with it all before. */
#ifndef ORRERY_STORE_SQLITE_REMOVAL_H
#define ORRERY_STORE_SQLITE_REMOVAL_H

#include "base/error.h"

struct store_session;

struct removal {
    char *folder;
    int64_t *
        keys; /* of executions; first those whose references are removed, then those of this transaction */
    size_t count;
    size_t settled_count;
    size_t capacity;
};

void removal_init(struct removal *removal, const char *store_path);
void removal_fini(struct removal *removal);

/* Within a transaction: removes the reference to the execution's file, if it has one. */
MUST_CHECK bool removal_drop(struct store_session *session, int64_t execution_key,
                             struct error *err);
/* The transaction was committed, or was not. */
void removal_settle(struct removal *removal, bool committed);
/* A commit was flushed. */
void removal_carry_out(struct removal *removal);

/* Of a store that was just opened: removes all files that nothing refers to. */
MUST_CHECK bool removal_sweep(struct store_session *session, struct error *err);

#endif
