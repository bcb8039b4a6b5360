#include "store/sqlite/copies.h"

#include "base/text.h"
#include "store/results.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/lock.h"
#include "store/sqlite/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEP_PAGES = 1024, URI_BYTES_MAXIMUM = 4 * PATH_MAX };

typedef void copy_progress(uint64_t done_pages, uint64_t all_pages);

/* --- files ------------------------------------------------------------------------------------------- */

static char *with_ending(const char *path, const char *ending) {
    size_t size_bytes = strlen(path) + strlen(ending) + 1;
    char *name = must_alloc(size_bytes);
    snprintf(name, size_bytes, "%s%s", path, ending);
    return name;
}

char *sqlite_real_path(const char *location) {
    char *resolved = realpath(location, NULL);
    return resolved == NULL ? must_strdup(location) : resolved;
}

static bool exists(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0;
}

static void remove_with_its_logs(const char *path) {
    const char *const endings[] = {"", "-journal", "-wal", "-shm"};
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        char *name = with_ending(path, endings[i]);
        unlink(name);
        free(name);
    }
}

bool sqlite_flush_folder_of(const char *path, struct error *err) {
    char *folder = must_strdup(path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        snprintf(folder, strlen(folder) + 1, ".");
    } else {
        slash[1] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok) {
        error_set_errno(err, ERROR_STORE, errno, "cannot flush the folder %s", folder);
    }
    if (fd >= 0) {
        close(fd);
    }
    free(folder);
    return ok;
}

static bool flush_file(const char *path, struct error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok) {
        error_set_errno(err, ERROR_STORE, errno, "cannot flush %s", path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static bool refuse_existing(const char *path, struct error *err) {
    return error_set(err, ERROR_CONFLICT, "%s is there already; give the name of a new file", path);
}

static bool refuse_partial(const char *path, struct error *err) {
    return error_set(err, ERROR_CONFLICT,
                     "%s is there: another backup is going on, or was interrupted; then remove it",
                     path);
}

/* --- copying ----------------------------------------------------------------------------------------- */

/* Something that SQLite opens with the pragmas given; it fails naming the file. */
static bool open_plain(struct sqlite_connection *connection, const char *path, int flags,
                       struct error *err) {
    if (!sqlite_connection_open_plain(connection, path, flags, err)) {
        return error_prefix(err, "%s", path);
    }
    return true;
}

/* That it is a store of orrery's, and not of a newer program. Takes hold of this moment of it. */
static bool check_source(struct sqlite_connection *source, const char *path, struct error *err) {
    int64_t version = 0;
    if (!sqlite_execute(source, "BEGIN", err) || !schema_read_version(source, &version, err)) {
        return error_prefix(err, "%s", path);
    }
    return version > 0 || error_set(err, ERROR_STORE, "%s is empty, not an orrery store", path);
}

/* A store that was closed in good order, on a disk that can only be read: SQLite cannot make the files beside it, and is
 * told that nobody else can either (https://sqlite.org/uri.html#uriimmutable). */
static bool open_immutable(struct sqlite_connection *source, const char *path, struct error *err) {
    struct text uri CLEANUP(text_fini);
    text_init(&uri, URI_BYTES_MAXIMUM);
    text_append(&uri, "file:");
    for (const char *at = path; *at != '\0'; at++) {
        if (*at == '%' || *at == '?' || *at == '#') {
            text_printf(&uri, "%%%02x", (unsigned)*at);
        } else {
            text_append_char(&uri, *at);
        }
    }
    text_append(&uri, "?immutable=1");
    return open_plain(source, text_string(&uri), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err) &&
           (check_source(source, path, err) || (sqlite_connection_close(source), false));
}

static bool open_source(struct sqlite_connection *source, const char *path, struct error *err) {
    if (access(path, R_OK) != 0) {
        return error_set_errno(err, ERROR_STORE, errno, "cannot read %s", path);
    }
    /* Where it cannot be written, SQLite opens it for reading. */
    if (!open_plain(source, path, SQLITE_OPEN_READWRITE, err)) {
        return false;
    }
    if (check_source(source, path, err)) {
        return true;
    }
    int primary = sqlite3_errcode(source->db) & 0xff;
    bool shut_out = (primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY) &&
                    sqlite3_db_readonly(source->db, "main") == 1;
    sqlite_connection_close(source);
    char *log CLEANUP(free_pointer) = with_ending(path, "-wal");
    return shut_out && !exists(log) && open_immutable(source, path, err);
}

/* Since the source's connection is within a transaction that reads, all steps copy the same moment of it, whatever is
 * written meanwhile (https://sqlite.org/backup.html). */
static bool copy_pages(struct sqlite_connection *source, struct sqlite_connection *target,
                       copy_progress *progress, struct error *err) {
    sqlite3_backup *backup = sqlite3_backup_init(target->db, "main", source->db, "main");
    if (backup == NULL) {
        return sqlite_fail(target->db, sqlite3_errcode(target->db), err);
    }
    int code;
    do {
        code = sqlite3_backup_step(backup, STEP_PAGES);
        if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
            sqlite3_sleep(10);
        } else if (progress != NULL) {
            int all = sqlite3_backup_pagecount(backup);
            progress((uint64_t)(all - sqlite3_backup_remaining(backup)), (uint64_t)all);
        }
    } while (code == SQLITE_OK || code == SQLITE_BUSY || code == SQLITE_LOCKED);
    sqlite3_backup_finish(backup);
    return code == SQLITE_DONE || sqlite_fail(target->db, code, err);
}

/* Every page and every index. */
static bool check_whole(struct sqlite_connection *connection, struct error *err) {
    sqlite3_stmt *statement = NULL;
    int code =
        sqlite3_prepare_v2(connection->db, "PRAGMA integrity_check(1)", -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    bool whole = false;
    if (code == SQLITE_ROW) {
        const char *finding = sqlite_text(statement, 0, NULL);
        whole = finding != NULL && strcmp(finding, "ok") == 0;
        if (!whole) {
            sqlite_fail(connection->db, SQLITE_CORRUPT, err);
        }
    } else {
        sqlite_fail(connection->db, code, err);
    }
    sqlite3_finalize(statement);
    return whole;
}

/* `target` is a new file of this process's own. In one file, without a log beside it. */
static bool fill_copy(struct sqlite_connection *source, const char *source_path, const char *target,
                      copy_progress *progress, struct error *err) {
    struct sqlite_connection copy;
    if (!open_plain(&copy, target, SQLITE_OPEN_READWRITE, err)) {
        return false;
    }
    bool ok = sqlite_execute(&copy, "PRAGMA synchronous = OFF", err) &&
              copy_pages(source, &copy, progress, err) &&
              sqlite_execute(&copy, "PRAGMA journal_mode = DELETE", err);
    if (!ok) {
        error_prefix(err, "copying %s to %s", source_path, target);
    } else {
        ok = check_whole(&copy, err) || error_prefix(err, "%s", source_path);
    }
    sqlite_connection_close(&copy);
    return ok && flush_file(target, err);
}

/* Copies the store or backup at `path` to the new file `target`, whole and on disk, or leaves none. */
static bool copy_store(const char *path, const char *target, copy_progress *progress,
                       struct error *err) {
    struct sqlite_connection source;
    if (!open_source(&source, path, err)) {
        return false;
    }
    int fd = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0;
    if (!ok && errno == EEXIST) {
        refuse_partial(target, err);
    } else if (!ok) {
        error_set_errno(err, ERROR_STORE, errno, "cannot make %s", target);
    }
    if (fd >= 0) {
        close(fd);
        ok = fill_copy(&source, path, target, progress, err);
        if (!ok) {
            remove_with_its_logs(target);
        }
    }
    sqlite_rollback(&source);
    sqlite_connection_close(&source);
    return ok;
}

/* Without taking the place of a file that has appeared meanwhile, where the file system knows how. */
static bool rename_to_new(const char *from, const char *to, struct error *err) {
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return true;
    }
    if (errno == EEXIST || exists(to)) {
        return refuse_existing(to, err);
    }
    return rename(from, to) == 0 ||
           error_set_errno(err, ERROR_STORE, errno, "cannot rename %s to %s", from, to);
}

/* --- results in files -------------------------------------------------------------------------------- */

struct copied {
    struct sqlite_connection connection;
    bool failed;
};

static bool is_referred_to(void *context, int64_t execution_key) {
    struct copied *copied = context;
    char sql[96];
    int64_t found = 1;
    struct error ignored;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM result_files WHERE execution_key = %lld",
             (long long)execution_key);
    copied->failed =
        copied->failed || !sqlite_query_integer(&copied->connection, sql, &found, &ignored);
    return copied->failed || found > 0;
}

/* Removes the files that are not of the copied store. One of before results had files has none. */
static bool sweep_copied(const char *copy, const char *folder, struct error *err) {
    struct copied copied = {.failed = false};
    int64_t version = 0;
    if (!exists(folder)) {
        return true;
    }
    if (!open_plain(&copied.connection, copy, SQLITE_OPEN_READONLY, err)) {
        return false;
    }
    bool ok = schema_read_version(&copied.connection, &version, err);
    ok = ok &&
         (version < SCHEMA_WITH_RESULT_FILES ? (results_remove_folder(folder), true)
                                             : results_sweep(folder, is_referred_to, &copied, err));
    sqlite_connection_close(&copied.connection);
    return ok;
}

/* Copies a store with the files of its results, which are copied before and after it: before, because retention may
 * remove them meanwhile, and after, because new ones come. `results` is where they go. */
static bool copy_with_results(const char *path, const char *target, const char *results,
                              copy_progress *progress, struct error *err) {
    char *from CLEANUP(free_pointer) = results_folder(path);
    if (!results_copy(from, results, err) || !copy_store(path, target, progress, err)) {
        return false;
    }
    if (!results_copy(from, results, err) || !sweep_copied(target, results, err)) {
        remove_with_its_logs(target);
        return false;
    }
    return true;
}

bool sqlite_backup(const char *location, const char *file, copy_progress *progress,
                   struct error *err) {
    if (exists(file)) {
        return refuse_existing(file, err);
    }
    char *path CLEANUP(free_pointer) = sqlite_real_path(location);
    char *partial CLEANUP(free_pointer) = with_ending(file, ".partial");
    char *results CLEANUP(free_pointer) = results_folder(file);
    if (exists(results)) {
        return refuse_existing(results, err);
    }
    if (exists(partial)) {
        return refuse_partial(partial, err);
    }
    if (!copy_with_results(path, partial, results, progress, err)) {
        results_remove_folder(results);
        return false;
    }
    if (!rename_to_new(partial, file, err)) {
        unlink(partial);
        results_remove_folder(results);
        return false;
    }
    return sqlite_flush_folder_of(file, err);
}

/* --- restoring --------------------------------------------------------------------------------------- */

static bool stage(const char *path, const char *file, copy_progress *progress, struct error *err) {
    char *partial CLEANUP(free_pointer) = with_ending(path, ".restore-partial");
    char *staged CLEANUP(free_pointer) = with_ending(path, ".restore");
    char *results CLEANUP(free_pointer) = results_folder(staged);
    char *real_file CLEANUP(free_pointer) = sqlite_real_path(file);
    char *own_results CLEANUP(free_pointer) = results_folder(path);
    remove_with_its_logs(partial); /* of a command that was killed */
    results_remove_folder(results);
    if (!copy_with_results(real_file, partial, results, progress, err)) {
        results_remove_folder(results);
        return false;
    }
    /* An empty folder, too, takes the place of the one that goes. */
    if (exists(own_results) && !exists(results) && mkdir(results, 0700) != 0) {
        error_set_errno(err, ERROR_STORE, errno, "cannot make the folder %s", results);
        remove_with_its_logs(partial);
        return false;
    }
    if (rename(partial, staged) != 0) {
        error_set_errno(err, ERROR_STORE, errno, "cannot rename %s to %s", partial, staged);
        unlink(partial);
        return false;
    }
    return sqlite_flush_folder_of(path, err);
}

bool sqlite_stage_restore(const char *location, const char *file, copy_progress *progress,
                          struct error *err) {
    char *path CLEANUP(free_pointer) = sqlite_real_path(location);
    struct store_lock lock;
    if (!store_lock_open(&lock, path, err)) {
        return false;
    }
    bool ok = store_lock_take_restore(&lock, err) && stage(path, file, progress, err);
    store_lock_close(&lock);
    return ok;
}

bool sqlite_restore_is_staged(const char *location) {
    char *path CLEANUP(free_pointer) = sqlite_real_path(location);
    char *staged CLEANUP(free_pointer) = with_ending(path, ".restore");
    return exists(staged);
}

/* Moves what the store's log holds into the store's file. One that is damaged keeps its log. */
static void fold_log(const char *location) {
    struct sqlite_connection connection;
    struct error ignored;
    if (!sqlite_connection_open_plain(&connection, location, SQLITE_OPEN_READWRITE, &ignored)) {
        return;
    }
    bool folded = sqlite_execute(&connection, "PRAGMA synchronous = FULL", &ignored) &&
                  sqlite_execute(&connection, "PRAGMA journal_mode = DELETE", &ignored);
    (void)folded;
    sqlite_connection_close(&connection);
}

static bool are_one_file(const char *a, const char *b) {
    struct stat of_a;
    struct stat of_b;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

/* No log of the store that goes may be left for the one that comes: SQLite would play it into that. `kept` is NULL
 * where nothing is kept. */
static bool move_logs(const char *location, const char *kept, struct error *err) {
    const char *const endings[] = {"-wal", "-journal"};
    char *index CLEANUP(free_pointer) = with_ending(location, "-shm");
    unlink(index);
    /* An earlier try has kept it, and its log. */
    bool is_kept = kept != NULL && are_one_file(location, kept);
    bool ok = true;
    for (size_t i = 0; i < COUNT_OF(endings) && ok; i++) {
        char *log = with_ending(location, endings[i]);
        char *kept_log = with_ending(kept == NULL ? location : kept, endings[i]);
        if (is_kept && !exists(log)) {
            ok = true;
        } else if (kept == NULL || !exists(log)) {
            ok = unlink(kept_log) == 0 || errno == ENOENT;
        } else {
            ok = rename(log, kept_log) == 0;
        }
        if (!ok) {
            error_set_errno(err, ERROR_STORE, errno, "cannot move %s away", log);
        }
        free(log);
        free(kept_log);
    }
    return ok;
}

/* The store that is to go gets the name `kept` besides; with its log, where that could not be folded. Each of the
 * steps can be done again. */
static bool keep_old(const char *location, const char *kept, struct error *err) {
    fold_log(location);
    if (!move_logs(location, kept, err)) {
        return false;
    }
    if (unlink(kept) != 0 && errno != ENOENT) {
        return error_set_errno(err, ERROR_STORE, errno, "cannot remove %s", kept);
    }
    /* A file system without links: for a moment there is no store. */
    return link(location, kept) == 0 || rename(location, kept) == 0 ||
           error_set_errno(err, ERROR_STORE, errno, "cannot keep %s as %s", location, kept);
}

/* The staged results become the store's; those of the store that goes stay beside it. Each of the steps can be done
 * again. */
static bool take_results(const char *path, const char *staged, const char *kept,
                         struct error *err) {
    char *own CLEANUP(free_pointer) = results_folder(path);
    char *coming CLEANUP(free_pointer) = results_folder(staged);
    char *going CLEANUP(free_pointer) = results_folder(kept);
    if (!exists(coming)) {
        return true;
    }
    if (exists(own)) {
        results_remove_folder(going);
        if (rename(own, going) != 0) {
            return error_set_errno(err, ERROR_STORE, errno, "cannot keep %s as %s", own, going);
        }
    }
    return rename(coming, own) == 0 ||
           error_set_errno(err, ERROR_STORE, errno, "cannot rename %s to %s", coming, own);
}

bool sqlite_take_restore(const char *path, struct error *err) {
    char *staged CLEANUP(free_pointer) = with_ending(path, ".restore");
    char *kept CLEANUP(free_pointer) = with_ending(path, ".before-restore");
    struct stat status;
    if (!exists(staged)) {
        return true;
    }
    bool has_old = lstat(path, &status) == 0 && status.st_size > 0;
    if (has_old ? !keep_old(path, kept, err) : !move_logs(path, NULL, err)) {
        return false;
    }
    if (!take_results(path, staged, kept, err)) {
        return false;
    }
    if (rename(staged, path) != 0) {
        return error_set_errno(err, ERROR_STORE, errno, "cannot rename %s to %s", staged, path);
    }
    return sqlite_flush_folder_of(path, err);
}

bool sqlite_finish_restore(const char *location, struct error *err) {
    char *path CLEANUP(free_pointer) = sqlite_real_path(location);
    struct store_lock lock;
    if (!store_lock_open(&lock, path, err)) {
        return false;
    }
    bool ok = store_lock_take_daemon(&lock, err);
    if (!ok) {
        err->kind = ERROR_CONFLICT;
    } else {
        ok = sqlite_take_restore(path, err);
    }
    store_lock_close(&lock);
    return ok;
}

bool sqlite_find_daemon(const char *location, int64_t *out_pid, struct error *err) {
    char *path CLEANUP(free_pointer) = sqlite_real_path(location);
    struct store_lock lock;
    if (!store_lock_open(&lock, path, err)) {
        return false;
    }
    bool ok = store_lock_find_daemon(&lock, out_pid, err);
    store_lock_close(&lock);
    return ok;
}
