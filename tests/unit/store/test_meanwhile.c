/* What happens between two steps of the store's: a file that appears, another process that was first, a signal; and what
 * a file system cannot do. */
#include "../../store/world.h"
#include "failing_calls.h"
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NAME_BYTES = 320 };

static int make_place(void **state) {
    *state = (char *)place_make();
    return 0;
}

static int discard_place(void **state) {
    failing_calls_end();
    place_discard(*state);
    return 0;
}

static const char *beside(const char *path, const char *ending, char out[static NAME_BYTES]) {
    int bytes = snprintf(out, NAME_BYTES, "%s%s", path, ending);
    assert_in_range(bytes, 1, NAME_BYTES - 1);
    return out;
}

static bool exists(const char *path, const char *ending) {
    char name[NAME_BYTES];
    return access(beside(path, ending, name), F_OK) == 0;
}

static void must(bool ok, const struct error *err) {
    if (!ok) {
        fail_msg("%s: %s", error_kind_wire_name(err->kind), err->message);
    }
}

/* A store with so many runs, closed. */
static void make_store(const char *path, int runs) {
    struct world world;
    world_open(&world, path);
    for (int i = 0; i < runs; i++) {
        world_create_run(&world);
    }
    world_close(&world);
}

static int64_t query(const char *path, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

static int64_t count_runs(const char *path) { return query(path, "SELECT count(*) FROM runs"); }

/* --- backups ----------------------------------------------------------------------------------------- */

static void write_mine(void *file) {
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "mine", 4), 4);
    close(fd);
}

static void assert_mine(const char *file) {
    struct stat status;
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_size, 4);
}

static void assert_refused_for(const char *path, char *file) {
    struct error err;
    failing_calls_act_before("renameat2", write_mine, file);
    assert_false(store_backup(path, file, NULL, &err));
    assert_int_equal(err.kind, ERROR_CONFLICT);
    assert_non_null(strstr(err.message, file));
    assert_mine(file);
    assert_false(exists(file, ".partial"));
}

static void a_file_that_appears_during_its_backup_is_left_alone(void **state) {
    char file[NAME_BYTES];
    make_store(*state, 1);
    beside(*state, ".backup", file);
    assert_refused_for(*state, file);
}

static void so_it_is_where_the_file_system_cannot_keep_from_replacing(void **state) {
    char file[NAME_BYTES];
    make_store(*state, 1);
    beside(*state, ".backup", file);
    failing_calls_begin_of("renameat2", 1, EINVAL);
    assert_refused_for(*state, file);
    assert_true(failing_calls_end());
    /* And where none appears, the backup is made there, too. */
    struct error err;
    unlink(file);
    failing_calls_begin_of("renameat2", 1, EINVAL);
    must(store_backup(*state, file, NULL, &err), &err);
    assert_true(failing_calls_end());
    assert_int_equal(count_runs(file), 1);
}

static void remove_file(void *name) { unlink(name); }

static void a_backup_that_cannot_get_its_name_leaves_nothing(void **state) {
    char file[NAME_BYTES];
    struct error err;
    make_store(*state, 1);
    beside(*state, ".backup", file);
    char partial[NAME_BYTES];
    failing_calls_act_before("renameat2", remove_file, (char *)beside(file, ".partial", partial));
    assert_false(store_backup(*state, file, NULL, &err));
    assert_non_null(strstr(err.message, "cannot rename"));
    assert_non_null(strstr(err.message, "No such file"));
    assert_false(exists(file, "") || exists(partial, ""));
}

static void a_backup_waits_while_its_file_is_held(void **state) {
    const int codes[] = {SQLITE_BUSY, SQLITE_LOCKED};
    char file[NAME_BYTES];
    make_store(*state, 3);
    beside(*state, ".backup", file);
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        struct error err;
        unlink(file);
        failing_calls_begin_of("sqlite3_backup_step", 2, codes[i]);
        must(store_backup(*state, file, NULL, &err), &err);
        assert_true(failing_calls_end());
        assert_int_equal(count_runs(file), 3);
    }
}

/* --- the log of a store that goes ----------------------------------------------------------------------- */

/* The store of a daemon that has ended without closing it, which is in its log for the most part. */
static void make_crashed_store(const char *path, int runs) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct world world;
        world_open(&world, path);
        for (int i = 0; i < runs; i++) {
            world_create_run(&world);
        }
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(exists(path, "-wal"));
}

static void a_log_is_folded_into_the_store_that_goes(void **state) {
    char file[NAME_BYTES];
    char kept[NAME_BYTES];
    struct error err;
    beside(*state, ".before-restore", kept);
    make_store(*state, 1);
    must(store_backup(*state, beside(*state, ".backup", file), NULL, &err), &err);
    make_crashed_store(*state, 5);
    must(store_stage_restore(*state, file, NULL, &err), &err);
    must(store_finish_restore(*state, &err), &err);
    assert_false(exists(kept, "-wal") || exists(*state, "-wal"));
    assert_int_equal(count_runs(kept), 6);
    assert_int_equal(count_runs(*state), 1);
}

static void a_log_that_cannot_be_folded_is_kept_with_its_store(void **state) {
    char file[NAME_BYTES];
    char kept[NAME_BYTES];
    struct error err;
    beside(*state, ".before-restore", kept);
    make_store(*state, 1);
    must(store_backup(*state, beside(*state, ".backup", file), NULL, &err), &err);
    make_crashed_store(*state, 5);
    must(store_stage_restore(*state, file, NULL, &err), &err);
    failing_calls_begin_of("sqlite3_open_v2", FAILING_CALLS_ALL, SQLITE_IOERR);
    must(store_finish_restore(*state, &err), &err);
    assert_true(failing_calls_end());
    assert_true(exists(kept, "-wal"));
    assert_false(exists(*state, "-wal"));
    assert_int_equal(count_runs(kept), 6); /* nothing of it is lost */
    assert_int_equal(count_runs(*state), 1);
}

/* As an earlier try left it that ended after it had kept the store and its log. */
static void a_log_that_was_kept_stays_when_the_restore_is_tried_again(void **state) {
    char file[NAME_BYTES];
    char kept[NAME_BYTES];
    char log[NAME_BYTES];
    char kept_log[NAME_BYTES];
    struct error err;
    beside(*state, ".before-restore", kept);
    make_store(*state, 1);
    must(store_backup(*state, beside(*state, ".backup", file), NULL, &err), &err);
    make_crashed_store(*state, 5);
    must(store_stage_restore(*state, file, NULL, &err), &err);
    assert_int_equal(rename(beside(*state, "-wal", log), beside(kept, "-wal", kept_log)), 0);
    assert_int_equal(link(*state, kept), 0);
    must(store_finish_restore(*state, &err), &err);
    assert_true(exists(kept, "-wal"));
    assert_int_equal(count_runs(kept), 6);
    assert_int_equal(count_runs(*state), 1);
}

/* --- locks and signals ----------------------------------------------------------------------------------- */

static void migrate(void *location) {
    struct store *store;
    struct error err;
    must(store_open(&(struct store_options){.location = location}, &store, &err), &err);
    store_close(store);
}

static void who_waited_for_a_migration_does_not_migrate_again(void **state) {
    struct store *store;
    struct error err;
    /* It has seen an empty file and asks for its turn; by then another process has had it. */
    failing_calls_act_before("fcntl64", migrate, *state);
    must(store_open(&(struct store_options){.location = *state}, &store, &err), &err);
    assert_int_equal(store_tag(store), query(*state, "SELECT tag FROM store"));
    store_close(store);
    assert_int_equal(query(*state, "SELECT count(*) FROM store"), 1);
}

static void a_signal_does_not_end_the_wait_for_a_turn_or_an_answer(void **state) {
    struct store *store;
    struct error err;
    failing_calls_begin_of("fcntl64", 2, EINTR);
    must(store_open(&(struct store_options){.location = *state}, &store, &err), &err);
    assert_true(failing_calls_end());
    must(store_start(store, &err), &err);
    struct api_key key = {.id = "0123456789abcdef", .owner = "carol", .revoked_at = WALL_TIME_NONE};
    struct store_write write = {.kind = STORE_CREATE_API_KEY, .api_key = &key};
    failing_calls_begin_of("sem_wait", 3, EINTR);
    must(store_submit_and_wait(store, &write, &err), &err);
    assert_true(failing_calls_end());
    store_close(store);
    assert_int_equal(query(*state, "SELECT count(*) FROM api_keys"), 1);
}

/* fcntl(2) leaves open with which errno a lock is refused that another has. */
static void a_lock_that_another_has_is_told_by_either_errno(void **state) {
    const int codes[] = {EAGAIN, EACCES};
    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        struct store *store;
        struct error err;
        failing_calls_begin_of("fcntl64", 1, codes[i]);
        assert_false(store_open(&(struct store_options){.location = *state, .exclusive = true},
                                &store, &err));
        assert_true(failing_calls_end());
        assert_non_null(strstr(err.message, "another orrery is using the store"));
    }
}

/* The lock of a daemon that was killed is still with the child that it was starting. */
static void a_lock_that_a_dead_daemon_left_to_its_child_is_waited_for(void **state) {
    pid_t daemon = fork();
    assert_true(daemon >= 0);
    if (daemon == 0) {
        struct store *taken;
        struct error err;
        if (!store_open(&(struct store_options){.location = *state, .exclusive = true}, &taken,
                        &err)) {
            _exit(1);
        }
        pid_t child = fork();
        if (child == 0) {
            usleep(300 * 1000);
        }
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(daemon, &status, 0), daemon);
    assert_int_equal(status, 0);
    struct store *store;
    struct error err;
    assert_true(
        store_open(&(struct store_options){.location = *state, .exclusive = true}, &store, &err));
    store_close(store);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(a_file_that_appears_during_its_backup_is_left_alone),
        PLACE_TEST(so_it_is_where_the_file_system_cannot_keep_from_replacing),
        PLACE_TEST(a_backup_that_cannot_get_its_name_leaves_nothing),
        PLACE_TEST(a_backup_waits_while_its_file_is_held),
        PLACE_TEST(a_log_is_folded_into_the_store_that_goes),
        PLACE_TEST(a_log_that_cannot_be_folded_is_kept_with_its_store),
        PLACE_TEST(a_log_that_was_kept_stays_when_the_restore_is_tried_again),
        PLACE_TEST(who_waited_for_a_migration_does_not_migrate_again),
        PLACE_TEST(a_signal_does_not_end_the_wait_for_a_turn_or_an_answer),
        PLACE_TEST(a_lock_that_another_has_is_told_by_either_errno),
        PLACE_TEST(a_lock_that_a_dead_daemon_left_to_its_child_is_waited_for),
    };
    return cmocka_run_group_tests_name("store: meanwhile", tests, NULL, NULL);
}
