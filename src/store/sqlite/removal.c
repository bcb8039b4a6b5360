#include "store/sqlite/removal.h"

#include "observe/log.h"
#include "store/results.h"
#include "store/sqlite/session.h"
#include "store/sqlite/statements.h"

#include <stdlib.h>

void removal_init(struct removal *removal, const char *store_path) {
    *removal = (struct removal){.folder = results_folder(store_path)};
}

void removal_fini(struct removal *removal) {
    free(removal->folder);
    free(removal->keys);
    *removal = (struct removal){0};
}

bool removal_drop(struct store_session *session, int64_t execution_key, struct error *err) {
    struct removal *removal = &session->removal;
    if (!sqlite_run_bound(&session->connection, WRITE_DELETE_RESULT_FILE, err,
                          value_integer(execution_key))) {
        return false;
    }
    if (sqlite3_changes(session->connection.db) == 0) {
        return true;
    }
    if (removal->count == removal->capacity) {
        removal->capacity = MAX_OF(removal->capacity * 2, (size_t)16);
        removal->keys = must_realloc(removal->keys, removal->capacity * sizeof *removal->keys);
    }
    removal->keys[removal->count++] = execution_key;
    return true;
}

void removal_settle(struct removal *removal, bool committed) {
    if (committed) {
        removal->settled_count = removal->count;
    } else {
        removal->count = removal->settled_count;
    }
}

void removal_carry_out(struct removal *removal) {
    ASSERT(removal->count == removal->settled_count);
    for (size_t i = 0; i < removal->count; i++) {
        results_remove(removal->folder, removal->keys[i]);
    }
    removal->count = 0;
    removal->settled_count = 0;
}

struct sweep {
    struct store_session *session;
    struct error err;
    bool failed;
};

/* One that cannot be looked up is left where it is. */
static bool is_referred_to(void *context, int64_t execution_key) {
    struct sweep *sweep = context;
    sqlite3_stmt *row;
    bool found;
    if (sweep->failed ||
        !sqlite_find_bound(&sweep->session->connection, WRITE_FIND_RESULT_FILE, &row, &found,
                           &sweep->err, value_integer(execution_key))) {
        sweep->failed = true;
        return true;
    }
    sqlite3_reset(row);
    return found;
}

bool removal_sweep(struct store_session *session, struct error *err) {
    struct sweep sweep = {.session = session};
    struct error failure;
    /* A folder that cannot be read keeps its files, and the daemon can do without them. */
    if (!results_sweep(session->removal.folder, is_referred_to, &sweep, &failure)) {
        log_event(LOG_WARNING, "results_not_swept", LOG_FAILURE(&failure));
    }
    if (sweep.failed) {
        *err = sweep.err;
    }
    return !sweep.failed;
}
