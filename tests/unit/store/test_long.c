/* Histories and logs that are long: what takes long is done in steps, what grows becomes small again. */
#include "../../store/world.h"
#include "place.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static int make_place(void **state) {
    *state = (char *)place_make();
    return 0;
}

static int discard_place(void **state) {
    place_discard(*state);
    return 0;
}

/* --- long histories ---------------------------------------------------------------------------------- */

enum { LONG_HISTORY = 30000 };

struct long_history {
    int64_t run_key;
    struct store_record *records;
};

/* Of two runs in turn; the oldest and the newest of the first one failed. */
static struct long_history make_long_history(struct world *world) {
    struct long_history history = {.run_key = world_create_run(world)};
    int64_t other_run_key = world_create_run(world);
    history.records = must_alloc_zeroed(LONG_HISTORY, sizeof *history.records);
    struct store_write *writes = must_alloc_zeroed(LONG_HISTORY, sizeof *writes);
    struct volley volley = {0};
    for (int i = 0; i < LONG_HISTORY; i++) {
        bool rare = i == 0 || i == LONG_HISTORY - 2;
        history.records[i].executions[0] =
            world_execution(world, world->now_us, rare ? EXECUTION_FAILED : EXECUTION_SUCCEEDED);
        history.records[i].execution_count = 1;
        writes[i] = (struct store_write){.kind = STORE_RECORD,
                                         .run_key = i % 2 == 0 ? history.run_key : other_run_key,
                                         .record = &history.records[i]};
        volley_submit(world, &volley, &writes[i]);
    }
    volley_wait(&volley, LONG_HISTORY);
    free(writes);
    return history;
}

static void a_rare_status_in_a_long_history_comes_in_short_pages(void **state) {
    struct world world;
    world_open(&world, *state);
    struct long_history history = make_long_history(&world);
    struct execution_filter filter = {.run_key = history.run_key,
                                      .has_status = true,
                                      .status = EXECUTION_FAILED,
                                      .since = WALL_TIME_NONE,
                                      .until = WALL_TIME_NONE,
                                      .limit = 10};
    struct execution *page;
    size_t count;
    struct error err;
    const int expected[] = {LONG_HISTORY - 2, 0};
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_true(store_list_executions(world.reader, &filter, &world.arena, &page, &count,
                                          &filter.before_key, &err));
        assert_int_equal(count, 1);
        assert_int_equal(page[0].key, history.records[expected[i]].executions[0].key);
        assert_int_equal(filter.before_key != 0, i == 0);
    }
    /* What is not there at all ends too, with empty pages. */
    filter.status = EXECUTION_TIMED_OUT;
    int pages = 0;
    do {
        assert_true(store_list_executions(world.reader, &filter, &world.arena, &page, &count,
                                          &filter.before_key, &err));
        assert_int_equal(count, 0);
        pages++;
    } while (filter.before_key != 0);
    assert_int_equal(pages, 2);
    free(history.records);
    world_close(&world);
}

/* A run whose executions lie far apart, with another's between; and a cursor that is no execution of it. */
static void a_number_for_a_cursor_is_looked_for_in_steps(void **state) {
    enum { OLD = 3, OTHERS = 12000, NEW = 11000, ALL = OLD + OTHERS + NEW };
    struct world world;
    world_open(&world, *state);
    int64_t run_key = world_create_run(&world);
    int64_t other_run_key = world_create_run(&world);
    struct store_record *records = must_alloc_zeroed(ALL, sizeof *records);
    struct store_write *writes = must_alloc_zeroed(ALL, sizeof *writes);
    struct volley volley = {0};
    for (int i = 0; i < ALL; i++) {
        bool others = i >= OLD && i < OLD + OTHERS;
        records[i].executions[0] = world_execution(&world, world.now_us, EXECUTION_SKIPPED);
        records[i].execution_count = 1;
        writes[i] = (struct store_write){.kind = STORE_RECORD,
                                         .run_key = others ? other_run_key : run_key,
                                         .record = &records[i]};
        volley_submit(&world, &volley, &writes[i]);
    }
    volley_wait(&volley, ALL);
    struct execution_filter filter = {.run_key = run_key,
                                      .since = WALL_TIME_NONE,
                                      .until = WALL_TIME_NONE,
                                      .before_key = records[OLD + OTHERS - 1].executions[0].key,
                                      .limit = 10};
    struct execution *page;
    size_t count = 0;
    int pages = 0;
    struct error err;
    do {
        assert_true(store_list_executions(world.reader, &filter, &world.arena, &page, &count,
                                          &filter.before_key, &err));
        pages++;
    } while (count == 0 && filter.before_key != 0);
    assert_int_equal(pages, 2);
    assert_int_equal(count, OLD);
    assert_int_equal(page[0].key, records[OLD - 1].executions[0].key);
    assert_int_equal(filter.before_key, 0);
    free(records);
    free(writes);
    world_close(&world);
}

static void a_number_before_all_is_the_end_of_a_long_history(void **state) {
    struct world world;
    world_open(&world, *state);
    struct long_history history = make_long_history(&world);
    struct execution_filter filter = {.run_key = history.run_key,
                                      .since = WALL_TIME_NONE,
                                      .until = WALL_TIME_NONE,
                                      .before_key = 1,
                                      .limit = 10};
    struct execution *page;
    size_t count;
    struct error err;
    assert_true(store_list_executions(world.reader, &filter, &world.arena, &page, &count,
                                      &filter.before_key, &err));
    assert_int_equal(count, 0);
    assert_int_equal(filter.before_key, 0);
    free(history.records);
    world_close(&world);
}

static void a_cursor_that_is_gone_is_found_in_a_long_history_too(void **state) {
    struct world world;
    world_open(&world, *state);
    struct long_history history = make_long_history(&world);
    struct execution_filter filter = {.run_key = history.run_key,
                                      .since = WALL_TIME_NONE,
                                      .until = WALL_TIME_NONE,
                                      .before_key = history.records[101].executions[0].key,
                                      .limit = 10};
    struct execution *page;
    size_t count;
    struct error err;
    assert_true(store_list_executions(world.reader, &filter, &world.arena, &page, &count,
                                      &filter.before_key, &err));
    assert_int_equal(count, 10); /* one of the other run's: the older ones of this run's */
    assert_int_equal(page[0].key, history.records[100].executions[0].key);
    assert_int_equal(page[9].key, history.records[82].executions[0].key);
    free(history.records);
    world_close(&world);
}

/* --- large writes ------------------------------------------------------------------------------------- */

enum { LARGE_WRITES = 64 };

/* What a reader sees at each answer, which comes when the transaction of its write is on disk. */
struct answers {
    struct store_reader *reader; /* of the writer thread, which answers */
    struct arena arena;
    uint64_t stored[LARGE_WRITES];
    _Atomic uint32_t count;
};

static void note_stored(struct store_write *write) {
    struct answers *answers = write->context;
    struct run_filter filter = {.limit = 0};
    struct run *runs;
    size_t count;
    struct error err;
    uint32_t index = atomic_load(&answers->count);
    bool ok = write->ok && store_list_runs(answers->reader, &filter, &answers->arena, &runs, &count,
                                           &answers->stored[index], &err);
    ASSERT(ok);
    atomic_store(&answers->count, index + 1);
}

/* However much is handed over at once: a transaction is of about 8 MiB at most, or one write. */
static void large_writes_do_not_all_go_into_one_transaction(void **state) {
    enum { PARAMETER_BYTES = 1 << 20 };
    struct world world;
    struct error err;
    world_open(&world, *state);
    char *parameters = must_alloc(PARAMETER_BYTES + 1);
    memset(parameters, 'x', PARAMETER_BYTES);
    parameters[PARAMETER_BYTES] = '\0';
    struct answers *answers = must_alloc_zeroed(1, sizeof *answers);
    assert_true(store_reader_open(world.store, &answers->reader, &err));
    struct run runs[LARGE_WRITES];
    struct store_write writes[LARGE_WRITES];
    for (size_t i = 0; i < LARGE_WRITES; i++) {
        runs[i] = world_run(&world);
        runs[i].parameters = parameters;
        writes[i] = (struct store_write){
            .kind = STORE_CREATE_RUN, .run = &runs[i], .done = note_stored, .context = answers};
        store_submit(world.store, &writes[i]);
    }
    while (atomic_load(&answers->count) < LARGE_WRITES) {
        sched_yield();
    }
    uint64_t before = 0;
    for (size_t i = 0; i < LARGE_WRITES; i++) {
        assert_in_range(answers->stored[i], before, before + 9);
        before = answers->stored[i];
    }
    assert_int_equal(before, LARGE_WRITES);
    store_reader_close(answers->reader);
    arena_fini(&answers->arena);
    free(answers);
    free(parameters);
    world_close(&world);
}

/* --- the log ----------------------------------------------------------------------------------------- */

/* While somebody reads one old moment, the log cannot begin anew; afterwards it does, also while much is written. */
static void a_long_log_becomes_short_again(void **state) {
    enum { RUNS = 4000, PARAMETER_BYTES = 20000 };
    const char *path = *state;
    struct world world;
    world_open(&world, path);
    char *parameters = must_alloc(PARAMETER_BYTES + 1);
    memset(parameters, 'x', PARAMETER_BYTES);
    parameters[PARAMETER_BYTES] = '\0';
    struct run *runs = must_alloc_zeroed(RUNS, sizeof *runs);
    struct store_write *writes = must_alloc_zeroed(RUNS, sizeof *writes);
    struct volley volley = {0};
    struct error err;
    assert_true(store_reader_begin(world.reader, &err));
    assert_true(store_check(world.reader, &err));
    for (int i = 0; i < RUNS; i++) {
        runs[i] = world_run(&world);
        runs[i].parameters = parameters;
        writes[i] = (struct store_write){.kind = STORE_CREATE_RUN, .run = &runs[i]};
        volley_submit(&world, &volley, &writes[i]);
    }
    volley_wait(&volley, RUNS);
    char log[300];
    struct stat status;
    snprintf(log, sizeof log, "%s-wal", path);
    assert_int_equal(stat(log, &status), 0);
    assert_true(status.st_size > (off_t)RUNS * PARAMETER_BYTES);
    store_reader_end(world.reader);
    for (int i = 0; i < 2000 && status.st_size > 64 << 20; i++) {
        world_create_run(&world);
        assert_int_equal(stat(log, &status), 0);
    }
    assert_in_range(status.st_size, 1, 64 << 20);
    free(parameters);
    free(runs);
    free(writes);
    world_close(&world);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(a_rare_status_in_a_long_history_comes_in_short_pages),
        PLACE_TEST(a_number_for_a_cursor_is_looked_for_in_steps),
        PLACE_TEST(a_number_before_all_is_the_end_of_a_long_history),
        PLACE_TEST(a_cursor_that_is_gone_is_found_in_a_long_history_too),
        PLACE_TEST(large_writes_do_not_all_go_into_one_transaction),
        PLACE_TEST(a_long_log_becomes_short_again),
    };
    return cmocka_run_group_tests_name("store: long", tests, NULL, NULL);
}
