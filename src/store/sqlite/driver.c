#include "store/driver.h"

#include "store/sqlite/copies.h"
#include "store/sqlite/names.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Makes the folder if only the folder is missing. That it is there must be on disk, or the store could vanish with
 * it. */
static bool make_folder(const char *path, struct error *err) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) {
        return true;
    }
    char *folder = must_strdup(path);
    folder[slash - path] = '\0';
    bool made = mkdir(folder, 0700) == 0;
    bool ok = made || errno == EEXIST;
    if (!ok) {
        error_set_errno(err, ERROR_STORE, errno, "cannot make the folder %s", folder);
    } else if (made) {
        ok = sqlite_flush_folder_of(folder, err);
    }
    free(folder);
    return ok;
}

/* SQLite gives its other files (-wal, -shm) the mode of this one. */
static bool make_file(const char *path, struct error *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_set_errno(err, ERROR_STORE, errno, "cannot open %s for writing", path);
    }
    struct stat status;
    bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    close(fd);
    return regular || error_set(err, ERROR_STORE, "%s is not a file", path);
}

static bool migrate(struct store_session *session, bool exclusive, struct error *err) {
    struct sqlite_connection *connection = &session->connection;
    int64_t version;
    /* Read first without the turn: a store that needs nothing is opened without waiting for anybody. */
    if (!schema_read_version(connection, &version, err)) {
        return false;
    }
    if (version == schema_newest_version()) {
        return true;
    }
    if (!store_lock_begin_migration(&session->lock, err)) {
        return false;
    }
    bool ok = schema_read_version(connection, &version, err);
    if (ok && version < schema_newest_version()) {
        ok = (exclusive || store_lock_check_no_daemon(&session->lock, err)) &&
             sqlite_execute(connection, "PRAGMA journal_mode = WAL", err) &&
             schema_migrate(connection, err);
    }
    store_lock_end_migration(&session->lock);
    return ok;
}

static bool read_facts(struct sqlite_connection *connection, struct store_facts *out_facts,
                       struct error *err) {
    int64_t tag;
    int64_t run_key;
    int64_t execution_key;
    int64_t backfill_key; /* from either source */
    if (!sqlite_query_integer(connection, "SELECT tag FROM store", &tag, err) ||
        !sqlite_query_integer(connection, "SELECT coalesce(max(key), 0) FROM runs", &run_key,
                              err) ||
        !sqlite_query_integer(connection, "SELECT coalesce(max(key), 0) FROM executions",
                              &execution_key, err) ||
        !sqlite_query_integer(connection, "SELECT coalesce(max(key), 0) FROM backfills",
                              &backfill_key, err)) {
        return false;
    }
    *out_facts =
        (struct store_facts){.tag = (uint64_t)tag,
                             .greatest_run_key = MAX_OF(run_key, backfill_key),
                             .greatest_execution_key = MAX_OF(execution_key, backfill_key)};
    return true;
}

static void session_close(struct store_session *session) {
    checkpointer_stop(&session->checkpointer);
    sqlite_forget_names(session);
    if (session->connection.db != NULL) {
        sqlite_connection_close(&session->connection);
    }
    store_lock_close(&session->lock);
    removal_fini(&session->removal);
    free(session->path);
    free(session);
}

static bool session_fill(struct store_session *session, bool exclusive,
                         struct store_facts *out_facts, struct error *err) {
    if (!store_lock_open(&session->lock, session->path, err) ||
        (exclusive && (!store_lock_take_daemon(&session->lock, err) ||
                       !sqlite_take_restore(session->path, err))) ||
        !sqlite_connection_open(&session->connection, session->path, SQLITE_FOR_WRITING,
                                sqlite_writing_sql, sqlite_writing_sql_count, err)) {
        return false;
    }
    return migrate(session, exclusive, err) &&
           /* One that was restored is without a log. */
           (!exclusive || sqlite_execute(&session->connection, "PRAGMA journal_mode = WAL", err)) &&
           read_facts(&session->connection, out_facts, err) &&
           (!exclusive || removal_sweep(session, err)) &&
           checkpointer_start(&session->checkpointer, &session->connection, session->path,
                              exclusive, err);
}

static bool session_open(const struct store_options *options, struct store_session **out_session,
                         struct store_facts *out_facts, struct error *err) {
    if (!make_folder(options->location, err) || !make_file(options->location, err)) {
        return false;
    }
    struct store_session *session = must_alloc_zeroed(1, sizeof *session);
    session->lock.fd = -1;
    session->path = sqlite_real_path(options->location);
    removal_init(&session->removal, session->path);
    retention_init(&session->retention, options);
    if (!session_fill(session, options->exclusive, out_facts, err)) {
        session_close(session);
        return error_prefix(err, "%s", options->location);
    }
    out_facts->path = session->path;
    *out_session = session;
    return true;
}

static bool rest(struct store_session *session, struct wall_time now, bool idle) {
    bool more = retention_step(session, now);
    checkpointer_rest(&session->checkpointer, idle);
    return more;
}

const struct store_driver sqlite_driver = {
    .name = "sqlite",
    .open = session_open,
    .close = session_close,
    .begin = sqlite_begin,
    .apply = sqlite_apply,
    .commit = sqlite_commit,
    .rollback = sqlite_roll_back_batch,
    .rest = rest,
    .backup = sqlite_backup,
    .stage_restore = sqlite_stage_restore,
    .restore_is_staged = sqlite_restore_is_staged,
    .finish_restore = sqlite_finish_restore,
    .find_daemon = sqlite_find_daemon,
    .reader_open = sqlite_reader_open,
    .reader_close = sqlite_reader_close,
    .reader_begin = sqlite_reader_begin,
    .reader_end = sqlite_reader_end,
    .get_run = sqlite_get_run,
    .list_runs = sqlite_list_runs,
    .get_execution = sqlite_get_execution,
    .list_executions = sqlite_list_executions,
    .load_runs = sqlite_load_runs,
    .load_active = sqlite_load_active,
    .get_run_totals = sqlite_get_run_totals,
    .get_backfill = sqlite_get_backfill,
    .list_backfills = sqlite_list_backfills,
    .count_backfill = sqlite_count_backfill,
    .load_backfills = sqlite_load_backfills,
    .get_api_key = sqlite_get_api_key,
    .list_api_keys = sqlite_list_api_keys,
    .check = sqlite_check,
};
