/* Results that are too large for the store's tables: in files beside it, as durable as the records that name them. */
#include "../../store/world.h"
#include "failing_calls.h"
#include "place.h"
#include "store/results.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { INLINE_BYTES = 1000, LARGE_BYTES = 2000, CALLS_MAXIMUM = 1000 };

struct place {
    const char *location;
    char *folder; /* of its results */
    struct world world;
};

static int make_place(void **state) {
    struct place *place = must_alloc_zeroed(1, sizeof *place);
    place->location = place_make();
    place->folder = results_folder(place->location);
    *state = place;
    return 0;
}

static int discard_place(void **state) {
    struct place *place = *state;
    place_discard(place->location);
    free(place->folder);
    free(place);
    return 0;
}

static struct world *open_world(struct place *place, uint64_t retention_count) {
    struct world *world = &place->world;
    world_open(world, place->location);
    world->options.inline_result_bytes_maximum = INLINE_BYTES;
    world->options.retention_count = retention_count;
    world_reopen(world);
    return world;
}

static char *make_result(size_t size_bytes, char filling) {
    char *result = must_alloc(size_bytes + 1);
    memset(result, filling, size_bytes);
    result[0] = '"';
    result[size_bytes - 1] = '"';
    result[size_bytes] = '\0';
    return result;
}

static size_t count_files(const char *folder) {
    DIR *directory = opendir(folder);
    size_t count = 0;
    if (directory == NULL) {
        return 0;
    }
    for (struct dirent *entry;
         (entry = readdir(directory)) != NULL;) { // NOLINT(concurrency-mt-unsafe)
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    closedir(directory);
    return count;
}

static struct execution begin(struct world *world, int64_t run_key) {
    struct execution execution = world_execution(world, world->now_us, EXECUTION_RUNNING);
    world_record(world, run_key, &execution);
    execution.run_key = run_key;
    execution.status = EXECUTION_SUCCEEDED;
    execution.finished_at = world_now(world);
    return execution;
}

static int64_t finish(struct world *world, int64_t run_key, const char *result) {
    struct execution execution = begin(world, run_key);
    execution.result = result;
    struct store_write write = {.kind = STORE_FINISH, .execution = &execution};
    world_write(world, &write);
    return execution.key;
}

static void assert_in_file(struct world *world, int64_t key, const char *result) {
    struct error err;
    int file;
    uint64_t size_bytes;
    struct execution execution = world_get_execution(world, key);
    assert_null(execution.result);
    assert_int_equal(execution.result_file_bytes, strlen(result));
    assert_true(store_open_result(world->store, key, &file, &size_bytes, &err));
    assert_int_equal(size_bytes, strlen(result));
    char *read_back = must_alloc((size_t)size_bytes + 1);
    assert_int_equal(read(file, read_back, size_bytes + 1), (ssize_t)size_bytes);
    assert_memory_equal(read_back, result, size_bytes);
    free(read_back);
    close(file);
}

/* --- in and out ------------------------------------------------------------------------------------- */

static void only_a_result_beyond_the_bound_gets_a_file(void **state) {
    struct place *place = *state;
    struct world *world = open_world(place, 0);
    int64_t run_key = world_create_run(world);
    char *small = make_result(INLINE_BYTES, 's');
    char *large = make_result(INLINE_BYTES + 1, 'l');
    char *larger = make_result(3 << 20, 'L');
    int64_t small_key = finish(world, run_key, small);
    assert_string_equal(world_get_execution(world, small_key).result, small);
    assert_int_equal(count_files(place->folder), 0);
    int64_t large_key = finish(world, run_key, large);
    int64_t larger_key = finish(world, run_key, larger);
    assert_int_equal(count_files(place->folder), 2);
    for (int round = 0; round < 2; round++) {
        assert_in_file(world, large_key, large);
        assert_in_file(world, larger_key, larger);
        assert_int_equal(world_get_execution(world, small_key).result_file_bytes, 0);
        world_reopen(world);
    }
    struct stat status;
    assert_int_equal(stat(place->folder, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700); /* as private as the store */
    world_close(world);
    free(small);
    free(large);
    free(larger);
}

static void one_that_ends_together_with_its_retrys_record_gets_a_file_too(void **state) {
    struct place *place = *state;
    struct world *world = open_world(place, 0);
    char *large = make_result(LARGE_BYTES, 'r');
    int64_t run_key = world_create_run(world);
    struct execution finished = begin(world, run_key);
    finished.result = large;
    struct store_record record = {
        .executions = {world_execution(world, finished.scheduled_for.us, EXECUTION_QUEUED)},
        .execution_count = 1,
        .finished = &finished};
    record.executions[0].trigger = TRIGGER_RETRY;
    record.executions[0].attempt = 2;
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    world_write(world, &write);
    assert_in_file(world, finished.key, large);
    world_close(world);
    free(large);
}

/* --- failures --------------------------------------------------------------------------------------- */

static void
where_the_file_cannot_be_written_nothing_is_recorded_and_it_can_be_tried_again(void **state) {
    struct place *place = *state;
    struct world *world = open_world(place, 0);
    char *large = make_result(LARGE_BYTES, 'r');
    int64_t run_key = world_create_run(world);
    struct execution execution = begin(world, run_key);
    execution.result = large;
    /* A file stands where the folder is to be. */
    int file = open(place->folder, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    struct store_write write = {.kind = STORE_FINISH, .execution = &execution};
    assert_int_equal(world_write_fails(world, &write), ERROR_STORE);
    assert_int_equal(world_get_execution(world, execution.key).status, EXECUTION_RUNNING);
    /* Others are not concerned. */
    finish(world, run_key, "1");
    assert_int_equal(unlink(place->folder), 0);
    write = (struct store_write){.kind = STORE_FINISH, .execution = &execution};
    world_write(world, &write);
    assert_in_file(world, execution.key, large);
    world_close(world);
    free(large);
}

static void a_file_without_a_record_is_cleared_away_at_the_next_start(void **state) {
    struct place *place = *state;
    struct world *world = open_world(place, 0);
    char *large = make_result(LARGE_BYTES, 'r');
    int64_t key = finish(world, world_create_run(world), large);
    struct error err;
    /* What a crash between file and record leaves, and one in the middle of the file. */
    assert_true(results_write(place->folder, key + 1, "{}", 2, &err));
    char part[512];
    snprintf(part, sizeof part, "%s/0000000000000001.json.part", place->folder);
    int file = open(part, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(file);
    assert_int_equal(count_files(place->folder), 3);
    world_reopen(world);
    assert_int_equal(count_files(place->folder), 1);
    assert_in_file(world, key, large);
    /* One that somebody else removed is said to be gone. */
    uint64_t size_bytes;
    results_remove(place->folder, key);
    assert_false(store_open_result(world->store, key, &file, &size_bytes, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    assert_int_equal(world_get_execution(world, key).result_file_bytes, strlen(large));
    world_close(world);
    free(large);
}

/* --- retention -------------------------------------------------------------------------------------- */

static void files_go_with_their_executions_and_not_before(void **state) {
    struct place *place = *state;
    struct world *world = open_world(place, 5);
    char *large = make_result(LARGE_BYTES, 'r');
    int64_t run_key = world_create_run(world);
    int64_t keys[40];
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        keys[i] = finish(world, run_key, large);
        /* Whatever is in the history has its file. */
        for (size_t k = 0; k <= i; k++) {
            struct execution execution;
            const char *owner;
            struct error err;
            int file;
            uint64_t size_bytes;
            if (store_get_execution(world->reader, keys[k], &world->arena, &execution, &owner,
                                    &err)) {
                bool opened = store_open_result(world->store, keys[k], &file, &size_bytes, &err);
                /* Unless it went in this very moment. */
                assert_true(opened || !store_get_execution(world->reader, keys[k], &world->arena,
                                                           &execution, &owner, &err));
                if (opened) {
                    close(file);
                }
            }
        }
        arena_reset(&world->arena);
    }
    world_create_run(
        world); /* a commit that is flushed, after which the files of what was removed go */
    world_reopen(world);
    assert_in_range(count_files(place->folder), 1, 8);
    assert_in_file(world, keys[COUNT_OF(keys) - 1], large);
    world_close(world);
    free(large);
}

static void files_count_for_the_bound_in_bytes(void **state) {
    struct place *place = *state;
    struct world *world = open_world(place, 0);
    world->options.retention_bytes = 3 << 20;
    world_reopen(world);
    char *large = make_result(1 << 20, 'r');
    int64_t run_key = world_create_run(world);
    for (size_t i = 0; i < 10; i++) {
        finish(world, run_key, large);
        assert_in_range(count_files(place->folder), 1, 8);
    }
    for (int i = 0; i < 1000 && count_files(place->folder) > 3; i++) {
        world_create_run(world);
    }
    assert_in_range(count_files(place->folder), 2, 3); /* and not fewer than it must */
    world_close(world);
    free(large);
}

/* --- copies ----------------------------------------------------------------------------------------- */

static void a_backup_brings_the_files_and_a_restore_takes_them(void **state) {
    struct place *place = *state;
    struct world *world = open_world(place, 0);
    struct error err;
    char *large = make_result(LARGE_BYTES, 'r');
    char backup[512];
    snprintf(backup, sizeof backup, "%s.backup", place->location);
    int64_t run_key = world_create_run(world);
    int64_t key = finish(world, run_key, large);
    assert_true(results_write(place->folder, key + 1, "{}", 2, &err)); /* of nobody */
    assert_true(store_backup(place->location, backup, NULL, &err));
    char *backup_folder = results_folder(backup);
    assert_int_equal(count_files(backup_folder), 1);
    int64_t later_key = finish(world, run_key, large);
    assert_false(store_backup(place->location, backup, NULL, &err)); /* is there already */
    world_close(world);
    for (int round = 0; round < 2; round++) { /* as often as one likes */
        assert_true(store_stage_restore(place->location, backup, NULL, &err));
        assert_true(store_finish_restore(place->location, &err));
        world = open_world(place, 0);
        assert_in_file(world, key, large);
        assert_int_equal(count_files(place->folder), 1);
        world_close(world);
        char kept[600];
        snprintf(kept, sizeof kept, "%s.before-restore-results/%016llx.json", place->location,
                 (unsigned long long)later_key);
        assert_int_equal(access(kept, F_OK), round == 0 ? 0 : -1);
    }
    assert_int_equal(count_files(backup_folder), 1);
    free(backup_folder);
    free(large);
}

static bool has_execution(struct world *world, int64_t key) {
    struct execution execution;
    const char *parameters;
    struct error err;
    return store_get_execution(world->reader, key, &world->arena, &execution, &parameters, &err);
}

/* At each call that fails, and where all after it fail: what is there is whole, with the files that belong to it. */
static void a_backup_with_files_survives_every_call_that_fails(void **state) {
    struct place *place = *state;
    struct world *world = open_world(place, 0);
    char *large = make_result(LARGE_BYTES, 'b');
    char backup[512];
    snprintf(backup, sizeof backup, "%s.backup", place->location);
    char *backup_folder = results_folder(backup);
    finish(world, world_create_run(world), large);
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        struct error err;
        failing_calls_begin(calls);
        bool ok = store_backup(place->location, backup, NULL, &err);
        failed = failing_calls_end();
        assert_true(ok || failed);
        bool is_there = access(backup, F_OK) == 0;
        assert_true(is_there || !ok);
        assert_true(!is_there || count_files(backup_folder) == 1);
        unlink(backup);
        results_remove_folder(backup_folder);
    }
    assert_false(failed);
    world_close(world);
    free(backup_folder);
    free(large);
}

static void restore_fails_at_each_call(struct place *place, int count) {
    char *large = make_result(LARGE_BYTES, 'c');
    char backup[512];
    snprintf(backup, sizeof backup, "%s.backup", place->location);
    struct world *world = open_world(place, 0);
    struct error err;
    int64_t run_key = world_create_run(world);
    int64_t key = finish(world, run_key, large);
    assert_true(store_backup(place->location, backup, NULL, &err));
    world_close(world);
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        world = open_world(place, 0);
        world->now_us += INT64_C(60) * (calls + 1) * US_PER_SECOND; /* each time another slot */
        int64_t later_key = finish(world, run_key, large);
        world_close(world);
        failing_calls_begin_many(calls, count, EIO);
        bool ok = store_stage_restore(place->location, backup, NULL, &err) &&
                  store_finish_restore(place->location, &err);
        failed = failing_calls_end();
        assert_true(ok || failed);
        world = open_world(place, 0); /* goes on with what was decided */
        bool is_restored = !has_execution(world, later_key);
        assert_true(is_restored || !ok);
        assert_in_file(world, key, large);
        if (!is_restored) {
            assert_in_file(world, later_key, large);
        }
        world_close(world);
    }
    assert_false(failed);
    char *backup_folder = results_folder(backup);
    unlink(backup);
    results_remove_folder(backup_folder);
    free(backup_folder);
    free(large);
}

static void a_restore_with_files_is_the_one_or_the_other_whatever_fails(void **state) {
    restore_fails_at_each_call(*state, 1);
    restore_fails_at_each_call(*state, FAILING_CALLS_ALL);
}

static void a_start_at_which_any_call_fails_removes_no_file_that_is_referred_to(void **state) {
    struct place *place = *state;
    struct world *world = open_world(place, 0);
    char *large = make_result(LARGE_BYTES, 's');
    int64_t key = finish(world, world_create_run(world), large);
    world_close(world);
    for (int count = 1; count <= 2; count++) {
        bool failed = true;
        for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
            struct store_options options = {.location = place->location, .exclusive = true};
            struct store *store = NULL;
            struct error err;
            failing_calls_begin_many(calls, count, EIO);
            bool ok = store_open(&options, &store, &err);
            failed = failing_calls_end();
            assert_true(ok || failed);
            store_close(store);
            assert_int_equal(count_files(place->folder), 1);
        }
        assert_false(failed);
    }
    world = open_world(place, 0);
    assert_in_file(world, key, large);
    world_close(world);
    free(large);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(only_a_result_beyond_the_bound_gets_a_file),
        PLACE_TEST(one_that_ends_together_with_its_retrys_record_gets_a_file_too),
        PLACE_TEST(where_the_file_cannot_be_written_nothing_is_recorded_and_it_can_be_tried_again),
        PLACE_TEST(a_file_without_a_record_is_cleared_away_at_the_next_start),
        PLACE_TEST(files_go_with_their_executions_and_not_before),
        PLACE_TEST(files_count_for_the_bound_in_bytes),
        PLACE_TEST(a_backup_brings_the_files_and_a_restore_takes_them),
        PLACE_TEST(a_backup_with_files_survives_every_call_that_fails),
        PLACE_TEST(a_restore_with_files_is_the_one_or_the_other_whatever_fails),
        PLACE_TEST(a_start_at_which_any_call_fails_removes_no_file_that_is_referred_to),
    };
    return cmocka_run_group_tests_name("store: results", tests, NULL, NULL);
}
