/* Backups, and what takes the place of what when one is restored. */
#include "../../store/world.h"
#include "place.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { NAME_BYTES = 320 };

static int make_place(void **state) {
    *state = (char *)place_make();
    return 0;
}

static int discard_place(void **state) {
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

static void execute(const char *path, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* How many runs the store has, read as it is. */
static int64_t count_runs(const char *path) {
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM runs WHERE deleted_at IS NULL",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t count = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return count;
}

static void must(bool ok, const struct error *err) {
    if (!ok) {
        fail_msg("%s: %s", error_kind_wire_name(err->kind), err->message);
    }
}

static void back_up(const char *path, const char *file) {
    struct error err;
    must(store_backup(path, file, NULL, &err), &err);
}

static void restore(const char *path, const char *file) {
    struct error err;
    must(store_stage_restore(path, file, NULL, &err) && store_finish_restore(path, &err), &err);
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

/* --- backup ------------------------------------------------------------------------------------------ */

static uint64_t last_done_pages;
static uint64_t last_all_pages;

static void note_progress(uint64_t done_pages, uint64_t all_pages) {
    assert_true(done_pages >= last_done_pages && done_pages <= all_pages);
    last_done_pages = done_pages;
    last_all_pages = all_pages;
}

static void a_backup_is_one_moment_of_a_busy_store(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    beside(path, ".backup", file);
    struct world world;
    world_open(&world, path);
    enum { ROUNDS = 40, RUNS = 100 };
    static struct run runs[ROUNDS][RUNS];
    static struct store_write writes[ROUNDS][RUNS];
    struct volley volley = {0};
    /* The first half is on disk when the backup begins, the second is written meanwhile. Large, so that the
     * backup takes several steps. */
    char *parameters = must_alloc(20001);
    memset(parameters, 'x', 20000);
    parameters[20000] = '\0';
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < RUNS; i++) {
            runs[round][i] = world_run(&world);
            runs[round][i].parameters = parameters;
            writes[round][i] =
                (struct store_write){.kind = STORE_CREATE_RUN, .run = &runs[round][i]};
            volley_submit(&world, &volley, &writes[round][i]);
        }
        if (round == ROUNDS / 2 - 1) {
            volley_wait(&volley, ROUNDS / 2 * RUNS);
        }
    }
    struct error err;
    last_done_pages = 0;
    must(store_backup(path, file, note_progress, &err), &err);
    assert_true(last_all_pages > 10000);
    assert_int_equal(last_done_pages, last_all_pages);
    volley_wait(&volley, ROUNDS * RUNS);
    world_close(&world);
    free(parameters);

    struct stat status;
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_false(exists(file, "-wal"));
    assert_false(exists(file, ".partial"));
    int64_t count = count_runs(file);
    assert_in_range(count, ROUNDS / 2 * RUNS, ROUNDS * RUNS);
    /* It is a store by itself: what was written first is there, without a hole. */
    world_open(&world, file);
    for (int64_t i = 0; i < count; i++) {
        world_get_run(&world, runs[i / RUNS][i % RUNS].key);
        arena_reset(&world.arena);
    }
    world_close(&world);
}

static void a_backup_harms_no_file_that_is_there(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    make_store(path, 1);
    beside(path, ".backup", file);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "mine", 4), 4);
    close(fd);
    struct error err;
    assert_false(store_backup(path, file, NULL, &err));
    assert_int_equal(err.kind, ERROR_CONFLICT);
    assert_non_null(strstr(err.message, file));
    struct stat status;
    stat(file, &status);
    assert_int_equal(status.st_size, 4);
    unlink(file);
    assert_int_equal(symlink("nowhere", file), 0);
    assert_false(store_backup(path, file, NULL, &err));
    assert_int_equal(err.kind, ERROR_CONFLICT);
}

static void a_backup_does_not_disturb_another_to_the_same_file(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    char partial[NAME_BYTES];
    make_store(path, 1);
    beside(path, ".backup", file);
    int fd = open(beside(path, ".backup.partial", partial), O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "half", 4), 4);
    close(fd);
    struct error err;
    assert_false(store_backup(path, file, NULL, &err));
    assert_int_equal(err.kind, ERROR_CONFLICT);
    assert_non_null(strstr(err.message, partial));
    struct stat status;
    assert_int_equal(stat(partial, &status), 0);
    assert_int_equal(status.st_size, 4);
    assert_false(exists(file, ""));
}

static void a_copy_needs_a_store_in_a_file(void **state) {
    const char *path = *state;
    const char *const locations[] = {":memory:", "", "postgresql://host/db"};
    for (size_t i = 0; i < COUNT_OF(locations); i++) {
        struct error err;
        int64_t pid;
        assert_false(store_backup(locations[i], path, NULL, &err));
        assert_int_equal(err.kind, ERROR_STORE);
        assert_false(store_stage_restore(locations[i], path, NULL, &err));
        assert_false(store_find_daemon(locations[i], &pid, &err));
    }
    assert_false(exists(path, ""));
}

static void a_backup_of_what_is_no_store_makes_no_file(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    beside(path, ".backup", file);
    struct error err;
    assert_false(store_backup(path, file, NULL, &err));
    assert_non_null(strstr(err.message, "No such file"));
    assert_false(exists(path, ""));
    execute(path, "CREATE TABLE users (name)");
    assert_false(store_backup(path, file, NULL, &err));
    assert_non_null(strstr(err.message, "another program"));
    assert_false(exists(file, ""));
    assert_false(exists(file, ".partial"));
}

/* Without the right to write to the store's folder, which is given back afterwards. */
static bool back_up_out_of_closed_folder(const char *path, mode_t mode, const char *file,
                                         struct error *err) {
    char folder[NAME_BYTES];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    assert_int_equal(chmod(path, mode) + chmod(folder, 0555), 0);
    bool is_root = geteuid() == 0; /* whom no mode keeps out */
    assert_true(!is_root || seteuid(65534) == 0);
    bool ok = store_backup(path, file, NULL, err);
    assert_true(!is_root || seteuid(0) == 0);
    assert_int_equal(chmod(folder, 0700), 0);
    return ok;
}

/* As on a disk that can only be read: SQLite cannot make its files beside the store. */
static void a_store_that_cannot_be_written_is_backed_up(void **state) {
    const char *path = *state;
    char name[NAME_BYTES];
    char target_folder[NAME_BYTES];
    char file[NAME_BYTES];
    make_store(path, 2);
    beside(path, " 100%?#", name);
    assert_int_equal(rename(path, name), 0);
    const char *target = place_make();
    snprintf(target_folder, sizeof target_folder, "%.*s", (int)(strrchr(target, '/') - target),
             target);
    beside(target, ".backup", file);
    assert_int_equal(chmod(target_folder, 0777), 0);
    struct error err;
    must(back_up_out_of_closed_folder(name, 0444, file, &err), &err);
    assert_int_equal(count_runs(file), 2);
    place_discard(target);
}

/* Nobody else can have it open only where there is no log, and nobody could make one. */
static void a_store_is_read_as_one_that_does_not_change_only_where_it_is_one(void **state) {
    const char *path = *state;
    char name[NAME_BYTES];
    char folder[NAME_BYTES];
    char file[NAME_BYTES];
    struct error err;
    const char *target = place_make();
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(target, '/') - target), target);
    assert_int_equal(chmod(folder, 0777), 0);
    beside(target, ".backup", file);
    make_store(path, 2);
    /* Its file could be written, so that another process may do so. */
    assert_false(back_up_out_of_closed_folder(path, 0666, file, &err));
    assert_non_null(strstr(err.message, "cannot be written"));
    assert_non_null(strstr(err.message, path));
    /* There is a log: without it the copy would be an old one. */
    int fd = open(beside(path, "-wal", name), O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_false(back_up_out_of_closed_folder(path, 0444, file, &err));
    assert_non_null(strstr(err.message, path));
    unlink(name);
    /* The index of a log that is gone. */
    fd = open(beside(path, "-shm", name), O_CREAT | O_WRONLY, 0644);
    close(fd);
    assert_int_equal(chmod(name, 0444), 0);
    must(back_up_out_of_closed_folder(path, 0444, file, &err), &err);
    assert_int_equal(count_runs(file), 2);
    unlink(file);
    unlink(name);
    /* What is no whole store is not one there, either. */
    assert_int_equal(chmod(path, 0600), 0);
    execute(path, "PRAGMA user_version = 99");
    assert_false(back_up_out_of_closed_folder(path, 0444, file, &err));
    assert_non_null(strstr(err.message, "newer"));
    assert_false(exists(file, ""));
    place_discard(target);
}

/* --- restore ----------------------------------------------------------------------------------------- */

static void a_restored_store_is_as_it_was_at_the_backup(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    char kept[NAME_BYTES];
    beside(path, ".backup", file);
    beside(path, ".before-restore", kept);
    struct world world;
    world_open(&world, path);
    int64_t run_key = world_create_run(&world);
    int64_t execution_key = world_record_finished(&world, run_key, 5, EXECUTION_SUCCEEDED);
    uint64_t tag = store_tag(world.store);
    back_up(path, file);
    world_create_run(&world);
    int64_t lost_key = world_record_finished(&world, run_key, 6, EXECUTION_FAILED);
    world_close(&world);

    restore(path, file);
    assert_int_equal(count_runs(kept), 2);
    assert_false(exists(path, ".restore"));
    world_open(&world, path);
    assert_int_equal(store_tag(world.store), tag);
    assert_int_equal(world_get_execution(&world, execution_key).status, EXECUTION_SUCCEEDED);
    struct execution execution;
    const char *owner;
    struct error err;
    assert_false(
        store_get_execution(world.reader, lost_key, &world.arena, &execution, &owner, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    world_create_run(&world);
    world_close(&world);
    assert_int_equal(count_runs(path), 2);
    /* Again, and the one that was kept before goes. */
    restore(path, file);
    assert_int_equal(count_runs(path), 1);
    assert_int_equal(count_runs(kept), 2);
}

static void a_backup_is_restored_where_there_is_no_store(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    make_store(path, 3);
    back_up(path, beside(path, ".backup", file));
    unlink(path);
    /* What is left of a log belongs to the store that is gone. */
    char log[NAME_BYTES];
    int fd = open(beside(path, "-wal", log), O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "stale", 5), 5);
    close(fd);
    restore(path, file);
    assert_false(exists(path, "-wal"));
    assert_false(exists(path, ".before-restore"));
    assert_int_equal(count_runs(path), 3);
}

static void a_backup_takes_the_place_of_an_empty_file_of_which_nothing_is_kept(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    make_store(path, 3);
    back_up(path, beside(path, ".backup", file));
    assert_int_equal(truncate(path, 0), 0);
    restore(path, file);
    assert_false(exists(path, ".before-restore"));
    assert_int_equal(count_runs(path), 3);
}

/* The file must be refused with `part` in the message, and nothing changes. */
static void refused(const char *path, const char *file, const char *part) {
    struct error err;
    assert_false(store_stage_restore(path, file, NULL, &err));
    if (strstr(err.message, part) == NULL || strstr(err.message, file) == NULL) {
        fail_msg("'%s' has no '%s' or no '%s'", err.message, part, file);
    }
    assert_false(exists(path, ".restore"));
    assert_false(exists(path, ".restore-partial"));
    assert_false(exists(path, ".before-restore"));
    assert_int_equal(count_runs(path), 2);
}

static void what_is_no_whole_backup_is_refused_and_changes_nothing(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    beside(path, ".backup", file);
    make_store(path, 2);
    refused(path, file, "No such file");

    FILE *poem = fopen(file, "w");
    for (int i = 0; i < 1000; i++) {
        fputs("this is not a database, it is a poem\n", poem);
    }
    fclose(poem);
    refused(path, file, "not an orrery store");
    unlink(file);

    execute(file, "CREATE TABLE users (name)");
    refused(path, file, "another program");
    unlink(file);

    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    close(fd);
    refused(path, file, "empty");
    unlink(file);

    back_up(path, file);
    execute(file, "PRAGMA user_version = 99");
    refused(path, file, "newer");
    unlink(file);

    /* One entry of an index is gone; a page in the middle is nonsense; the end is missing. */
    back_up(path, file);
    execute(file, "PRAGMA writable_schema = ON;"
                  "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema"
                  " WHERE name = 'executions_by_slot') WHERE name = 'runs_by_owner'");
    refused(path, file, "damaged");
    unlink(file);
    back_up(path, file);
    fd = open(file, O_WRONLY);
    char nonsense[4096];
    memset(nonsense, 0xa5, sizeof nonsense);
    assert_int_equal(pwrite(fd, nonsense, sizeof nonsense, 8192), sizeof nonsense);
    close(fd);
    refused(path, file, "damaged");
    unlink(file);
    back_up(path, file);
    struct stat status;
    stat(file, &status);
    assert_int_equal(truncate(file, status.st_size / 8192 * 4096), 0);
    refused(path, file, "damaged");
}

static void a_daemon_that_has_the_store_is_named_and_takes_it_when_it_opens_again(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    char pid[40];
    beside(path, ".backup", file);
    struct world world;
    struct error err;
    int64_t found = -1;
    int other = open(beside(path, ".other", file), O_CREAT | O_WRONLY, 0600);
    beside(path, ".backup", file);
    world_open(&world, path);
    world_create_run(&world);
    must(store_find_daemon(path, &found, &err), &err);
    close(other); /* the process had more files open than the store's */
    assert_int_equal(found, getpid());
    back_up(path, file);
    world_create_run(&world);
    must(store_stage_restore(path, file, NULL, &err), &err);
    assert_true(store_restore_is_staged(path));
    assert_false(store_finish_restore(path, &err));
    assert_int_equal(err.kind, ERROR_CONFLICT);
    snprintf(pid, sizeof pid, "process id %d", (int)getpid());
    assert_non_null(strstr(err.message, pid));
    world_create_run(&world); /* it goes on as if nothing were */
    /* A command beside it does not finish the restore. */
    struct store *store;
    must(store_open(&(struct store_options){.location = path}, &store, &err), &err);
    store_close(store);
    assert_true(store_restore_is_staged(path));
    world_reopen(&world);
    assert_false(store_restore_is_staged(path));
    world_close(&world);
    assert_int_equal(count_runs(path), 1);
    char kept[NAME_BYTES];
    assert_int_equal(count_runs(beside(path, ".before-restore", kept)), 3);
    must(store_find_daemon(path, &found, &err), &err);
    assert_int_equal(found, 0);
}

static void a_restore_that_was_interrupted_is_finished_at_the_next_start(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    char kept[NAME_BYTES];
    make_store(path, 1);
    back_up(path, beside(path, ".backup", file));
    make_store(path, 2); /* three by now */
    struct error err;
    must(store_stage_restore(path, file, NULL, &err), &err);
    /* A crash after the old one has got its second name. */
    assert_int_equal(link(path, beside(path, ".before-restore", kept)), 0);
    struct world world;
    world_open(&world, path);
    world_close(&world);
    assert_int_equal(count_runs(path), 1);
    assert_int_equal(count_runs(kept), 3);
    /* And one that never got so far leaves only what the next one clears away. */
    char partial[NAME_BYTES];
    int fd = open(beside(path, ".restore-partial", partial), O_CREAT | O_WRONLY, 0600);
    close(fd);
    restore(path, file);
    assert_false(exists(path, ".restore-partial"));
}

static void a_damaged_store_is_replaced_and_kept(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    char log[NAME_BYTES];
    make_store(path, 1);
    back_up(path, beside(path, ".backup", file));
    int fd = open(path, O_RDWR);
    char nonsense[4096];
    memset(nonsense, 0xa5, sizeof nonsense);
    assert_int_equal(pwrite(fd, nonsense, sizeof nonsense, 0), sizeof nonsense);
    close(fd);
    fd = open(beside(path, "-wal", log), O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "its log", 7), 7);
    close(fd);
    restore(path, file);
    assert_int_equal(count_runs(path), 1);
    assert_true(exists(path, ".before-restore"));
    assert_false(exists(path, "-wal"));
}

static void a_link_to_the_store_is_the_store(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    char name[NAME_BYTES];
    beside(path, ".backup", file);
    beside(path, ".link", name);
    struct world world;
    world_open(&world, path);
    world_create_run(&world);
    assert_int_equal(symlink(path, name), 0);
    struct store *store;
    struct error err;
    assert_false(
        store_open(&(struct store_options){.location = name, .exclusive = true}, &store, &err));
    assert_non_null(strstr(err.message, "process id"));
    back_up(name, file);
    world_create_run(&world);
    world_close(&world);
    restore(name, file);
    assert_int_equal(count_runs(path), 1);
    struct stat status;
    assert_int_equal(lstat(name, &status), 0);
    assert_true(S_ISLNK(status.st_mode));
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(a_backup_is_one_moment_of_a_busy_store),
        PLACE_TEST(a_backup_harms_no_file_that_is_there),
        PLACE_TEST(a_backup_does_not_disturb_another_to_the_same_file),
        PLACE_TEST(a_copy_needs_a_store_in_a_file),
        PLACE_TEST(a_backup_of_what_is_no_store_makes_no_file),
        PLACE_TEST(a_store_that_cannot_be_written_is_backed_up),
        PLACE_TEST(a_store_is_read_as_one_that_does_not_change_only_where_it_is_one),
        PLACE_TEST(a_restored_store_is_as_it_was_at_the_backup),
        PLACE_TEST(a_backup_is_restored_where_there_is_no_store),
        PLACE_TEST(a_backup_takes_the_place_of_an_empty_file_of_which_nothing_is_kept),
        PLACE_TEST(what_is_no_whole_backup_is_refused_and_changes_nothing),
        PLACE_TEST(a_daemon_that_has_the_store_is_named_and_takes_it_when_it_opens_again),
        PLACE_TEST(a_restore_that_was_interrupted_is_finished_at_the_next_start),
        PLACE_TEST(a_damaged_store_is_replaced_and_kept),
        PLACE_TEST(a_link_to_the_store_is_the_store),
    };
    return cmocka_run_group_tests_name("store: copies", tests, NULL, NULL);
}
