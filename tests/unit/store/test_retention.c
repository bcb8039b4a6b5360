/* What retention does to the file, while executions go on. */
#include "../../store/world.h"
#include "place.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

enum { RUNS = 20, ROUND = 4000, ROUNDS = 12, RESULT_BYTES = 300 };

static int make_place(void **state) {
    *state = (char *)place_make();
    return 0;
}

static int discard_place(void **state) {
    place_discard(*state);
    return 0;
}

static int64_t query(const char *path, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

static int64_t file_bytes(const char *path) {
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return status.st_size;
}

struct round {
    struct execution executions[ROUND];
    struct store_record records[ROUND];
    struct store_write writes[2 * ROUND];
};

/* Executions of all runs in turn, as fast as the store takes them: each is recorded and ended. */
static void execute(struct world *world, const int64_t *run_keys, struct round *round) {
    static char result[RESULT_BYTES];
    memset(result, 'x', sizeof result - 1);
    struct volley volley = {0};
    for (size_t i = 0; i < ROUND; i++) {
        struct execution *execution = &round->executions[i];
        int64_t run_key = run_keys[i % RUNS];
        *execution = world_execution(world, world->now_us, EXECUTION_RUNNING);
        round->records[i] = (struct store_record){.executions = {*execution}, .execution_count = 1};
        round->writes[2 * i] = (struct store_write){
            .kind = STORE_RECORD, .run_key = run_key, .record = &round->records[i]};
        volley_submit(world, &volley, &round->writes[2 * i]);
        execution->run_key = run_key;
        execution->status = EXECUTION_SUCCEEDED;
        execution->finished_at = world_now(world);
        execution->duration.us = 10;
        execution->result = result;
        round->writes[2 * i + 1] =
            (struct store_write){.kind = STORE_FINISH, .execution = execution};
        volley_submit(world, &volley, &round->writes[2 * i + 1]);
    }
    volley_wait(&volley, 2 * ROUND);
    for (size_t i = 0; i < COUNT_OF(round->writes); i++) {
        assert_true(round->writes[i].ok);
    }
}

static uint64_t count_all(struct world *world, const int64_t *run_keys, uint64_t *out_removed) {
    uint64_t all = 0;
    *out_removed = 0;
    for (size_t i = 0; i < RUNS; i++) {
        struct run_totals totals;
        struct error err;
        assert_true(store_get_run_totals(world->reader, run_keys[i], &totals, &err));
        all += totals.count[EXECUTION_SUCCEEDED];
        assert_int_equal(totals.duration[EXECUTION_SUCCEEDED].us,
                         totals.count[EXECUTION_SUCCEEDED] * 10);
        *out_removed += totals.removed;
    }
    return all;
}

/* Runs the rounds; the size of the file's contents stays below `used_maximum`, and the file ends growing. */
static void the_file_stops_growing(const char *path, uint64_t count, uint64_t bytes,
                                   int64_t used_maximum) {
    struct world world;
    world_open(&world, path);
    world.options.retention_count = count;
    world.options.retention_bytes = bytes;
    world_reopen(&world);
    int64_t run_keys[RUNS];
    for (size_t i = 0; i < RUNS; i++) {
        run_keys[i] = world_create_run(&world);
    }
    struct round *round = must_alloc_zeroed(1, sizeof *round);
    int64_t file_then = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        execute(&world, run_keys, round);
        uint64_t removed;
        assert_int_equal(count_all(&world, run_keys, &removed), (i + 1) * ROUND);
        if (i == ROUNDS / 2) {
            world_reopen(&world); /* which moves the log into the file */
            file_then = file_bytes(path);
            assert_true(removed > ROUND);
        }
    }
    world_reopen(&world);
    /* Some free pages more or less. */
    assert_in_range(file_bytes(path), 0, file_then + file_then / 8);
    free(round);
    world_close(&world);
    assert_in_range(query(path, "SELECT (SELECT page_count FROM pragma_page_count)"
                                " - (SELECT freelist_count FROM pragma_freelist_count)") *
                        4096,
                    0, used_maximum);
    assert_int_equal(query(path, "SELECT count(*) FROM pragma_integrity_check"
                                 " WHERE integrity_check != 'ok'"),
                     0);
    assert_int_equal(query(path, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_int_equal(query(path, "SELECT count(*) FROM executions e LEFT JOIN outcomes o"
                                 " ON o.execution_key = e.key WHERE o.status IS NULL"),
                     0);
}

static void the_file_stops_growing_within_its_bytes(void **state) {
    /* One round is about 2 MB: within a round, what is removed keeps up with what comes. */
    the_file_stops_growing(*state, 0, 4 << 20, (4 << 20) + (2 << 20));
}

static void the_file_stops_growing_within_its_count(void **state) {
    /* 20 runs of 300 executions of half a kilobyte */
    the_file_stops_growing(*state, 300, 0, INT64_C(8) << 20);
}

/* One more record of each of many runs; none of them ends anything. */
static void record_one_of_each(struct world *world, const int64_t *run_keys, size_t count) {
    struct store_record *records = must_alloc_zeroed(count, sizeof *records);
    struct store_write *writes = must_alloc_zeroed(count, sizeof *writes);
    struct volley volley = {0};
    for (size_t i = 0; i < count; i++) {
        records[i].executions[0] = world_execution(world, world->now_us, EXECUTION_SKIPPED);
        records[i].execution_count = 1;
        writes[i] = (struct store_write){
            .kind = STORE_RECORD, .run_key = run_keys[i], .record = &records[i]};
        volley_submit(world, &volley, &writes[i]);
    }
    volley_wait(&volley, (uint32_t)count);
    free(records);
    free(writes);
}

/* What is removed goes between the batches and after the last of them. */
static void wait_until_nothing_goes(const char *path) {
    int64_t before = -1;
    int64_t count = query(path, "SELECT count(*) FROM executions");
    while (count != before) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        before = count;
        count = query(path, "SELECT count(*) FROM executions");
    }
}

/* More runs exceed a new bound at once than are noted: the rest is, with their next records. */
static void many_long_histories_are_all_cut_in_time(void **state) {
    enum { MANY = 3000, LENGTH = 6, BOUND = 2 };
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    int64_t *run_keys = must_alloc_zeroed(MANY, sizeof *run_keys);
    struct run *runs = must_alloc_zeroed(MANY, sizeof *runs);
    struct store_write *writes = must_alloc_zeroed(MANY, sizeof *writes);
    struct volley volley = {0};
    for (size_t i = 0; i < MANY; i++) {
        runs[i] = world_run(&world);
        run_keys[i] = runs[i].key;
        writes[i] = (struct store_write){.kind = STORE_CREATE_RUN, .run = &runs[i]};
        volley_submit(&world, &volley, &writes[i]);
    }
    volley_wait(&volley, MANY);
    for (int i = 0; i < LENGTH; i++) {
        record_one_of_each(&world, run_keys, MANY);
    }
    world.options.retention_count = BOUND;
    world_reopen(&world);
    int64_t longest = LENGTH;
    int records = 0; /* of each */
    for (; longest > BOUND + 1 && records < 20; records++) {
        record_one_of_each(&world, run_keys, MANY);
        wait_until_nothing_goes(path);
        longest = query(path, "SELECT max(length) FROM"
                              " (SELECT count(*) AS length FROM executions GROUP BY run_key)");
    }
    assert_in_range(longest, BOUND, BOUND + 1); /* a quarter above the bound, or one */
    world_close(&world);
    assert_int_equal(query(path, "SELECT count(*) FROM executions") +
                         query(path, "SELECT sum(execution_count) FROM removed_totals"),
                     MANY * (LENGTH + records));
    free(run_keys);
    free(runs);
    free(writes);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(the_file_stops_growing_within_its_bytes),
        PLACE_TEST(the_file_stops_growing_within_its_count),
        PLACE_TEST(many_long_histories_are_all_cut_in_time),
    };
    return cmocka_run_group_tests_name("store: retention", tests, NULL, NULL);
}
