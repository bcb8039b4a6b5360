#include "conformance_tests.h"

#include "clock/clock.h"
#include "world.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The history is kept within its bounds while it is written. */

static const int64_t day_us = 86400 * US_PER_SECOND;

static struct run_totals totals_of(struct world *world, int64_t run_key) {
    struct run_totals totals = {0};
    struct error err;
    assert_true(store_get_run_totals(world->reader, run_key, &totals, &err));
    return totals;
}

static uint64_t all_of(const struct run_totals *totals) {
    uint64_t all = 0;
    for (size_t status = 0; status < COUNT_OF(totals->count); status++) {
        all += totals->count[status];
    }
    return all;
}

/* The keys that the run's history has, newest first. */
static size_t history_of(struct world *world, int64_t run_key, int64_t *keys, size_t maximum) {
    struct execution_filter filter = {
        .run_key = run_key, .since = WALL_TIME_NONE, .until = WALL_TIME_NONE, .limit = 1000};
    size_t seen = 0;
    do {
        struct execution *page;
        size_t count;
        struct error err;
        assert_true(store_list_executions(world->reader, &filter, &world->arena, &page, &count,
                                          &filter.before_key, &err));
        assert_true(seen + count <= maximum);
        for (size_t i = 0; i < count; i++) {
            keys[seen++] = page[i].key;
        }
        arena_reset(&world->arena);
    } while (filter.before_key != 0);
    return seen;
}

/* What is removed goes between the batches, so that it is there a little later than the last answer. */
static void wait_until_kept(struct world *world, int64_t run_key, uint64_t count) {
    for (int i = 0; i < 20000; i++) {
        struct run_totals totals = totals_of(world, run_key);
        if (all_of(&totals) - totals.removed <= count) {
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("too many executions are kept");
}

/* Executions one after another: recorded, and ended. Each takes a thousandth of a second of the run. */
static void execute(struct world *world, int64_t run_key, size_t count, int64_t *out_keys) {
    for (size_t i = 0; i < count; i++) {
        struct execution execution = world_execution(world, world->now_us, EXECUTION_RUNNING);
        world_record(world, run_key, &execution);
        execution.run_key = run_key;
        execution.status = i % 5 == 4 ? EXECUTION_FAILED : EXECUTION_SUCCEEDED;
        execution.finished_at = world_now(world);
        execution.duration = (struct duration){1000};
        struct store_write finish = {.kind = STORE_FINISH, .execution = &execution};
        world_write(world, &finish);
        if (out_keys != NULL) {
            out_keys[i] = execution.key;
        }
    }
}

static void bounds(struct world *world, int64_t age_us, uint64_t count, uint64_t bytes) {
    world->options.retention_age = (struct duration){age_us};
    world->options.retention_count = count;
    world->options.retention_bytes = bytes;
    world_reopen(world);
}

static void a_runs_history_is_kept_within_its_count(void **state) {
    struct world *world = *state;
    bounds(world, 0, 40, 0);
    int64_t run_key = world_create_run(world);
    int64_t other_run_key = world_create_run(world);
    int64_t made[300];
    int64_t others[30];
    execute(world, other_run_key, COUNT_OF(others), others);
    execute(world, run_key, COUNT_OF(made), made);
    wait_until_kept(world, run_key, 50); /* a quarter above */
    int64_t keys[300] = {0};
    size_t kept = history_of(world, run_key, keys, COUNT_OF(keys));
    assert_in_range(kept, 40, 50);
    for (size_t i = 0; i < kept; i++) {
        assert_int_equal(keys[i], made[COUNT_OF(made) - 1 - i]); /* the newest, without a hole */
    }
    struct run_totals totals = totals_of(world, run_key);
    assert_int_equal(all_of(&totals), COUNT_OF(made));
    assert_int_equal(totals.removed, COUNT_OF(made) - kept);
    assert_int_equal(totals.count[EXECUTION_FAILED], COUNT_OF(made) / 5);
    assert_int_equal(totals.duration[EXECUTION_FAILED].us, COUNT_OF(made) / 5 * 1000);
    assert_int_equal(totals.duration[EXECUTION_SUCCEEDED].us, COUNT_OF(made) / 5 * 4 * 1000);
    struct execution execution;
    const char *owner;
    struct error err;
    assert_false(
        store_get_execution(world->reader, made[0], &world->arena, &execution, &owner, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    assert_int_equal(history_of(world, other_run_key, keys, COUNT_OF(keys)), COUNT_OF(others));
    /* A cursor that is gone ends the list. */
    struct execution_filter filter = {.run_key = run_key,
                                      .since = WALL_TIME_NONE,
                                      .until = WALL_TIME_NONE,
                                      .before_key = made[10],
                                      .limit = 10};
    struct execution *page;
    size_t count;
    int64_t next_cursor;
    assert_true(store_list_executions(world->reader, &filter, &world->arena, &page, &count,
                                      &next_cursor, &err));
    assert_int_equal(count, 0);
    assert_int_equal(next_cursor, 0);
}

static void old_executions_are_removed(void **state) {
    struct world *world = *state;
    int64_t now_us = clock_wall_now(clock_system()).us;
    int64_t run_key = world_create_run(world);
    int64_t idle_run_key = world_create_run(world);
    int64_t made[60];
    world->now_us = now_us - 100 * day_us;
    identity_source_init(&world->keys, 0);
    execute(world, run_key, 350, NULL);
    struct execution late = world_execution(world, world->now_us, EXECUTION_SKIPPED);
    execute(world, run_key, 350, NULL);
    execute(world, idle_run_key, 20, NULL);
    struct execution missed = world_execution(world, world->now_us, EXECUTION_MISSED);
    missed.missed_from.us = 1;
    missed.missed_to.us = 2;
    missed.missed_count = 77;
    world_record(world, run_key, &missed);
    world->now_us = now_us - 10 * day_us;
    execute(world, run_key, COUNT_OF(made), made);
    bounds(world, 90 * day_us, 0, 0); /* and it begins by itself, as the store is opened */
    wait_until_kept(world, run_key, COUNT_OF(made));
    int64_t keys[100] = {0};
    assert_int_equal(history_of(world, run_key, keys, COUNT_OF(keys)), COUNT_OF(made));
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        assert_int_equal(keys[i], made[COUNT_OF(made) - 1 - i]);
    }
    wait_until_kept(world, idle_run_key, 0);
    assert_int_equal(history_of(world, idle_run_key, keys, COUNT_OF(keys)), 0);
    struct run_totals totals = totals_of(world, run_key);
    assert_int_equal(totals.removed, 701);
    assert_int_equal(totals.missed_slots, 77);
    assert_int_equal(totals_of(world, idle_run_key).count[EXECUTION_SUCCEEDED], 16);
    /* The runs go on as before, also that whose history is gone. */
    execute(world, idle_run_key, 3, made);
    assert_int_equal(history_of(world, idle_run_key, keys, COUNT_OF(keys)), 3);
    assert_int_equal(keys[2], made[0]);
    /* What is written only now, from among those that are gone, harms no history and counts once. */
    world_record(world, run_key, &late);
    assert_int_equal(history_of(world, run_key, keys, COUNT_OF(keys)), 60);
    bounds(world, 90 * day_us, 100, 0);
    for (int i = 0; totals_of(world, run_key).removed < 702 && i < 20000; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(totals_of(world, run_key).removed, 702);
    assert_int_equal(totals_of(world, run_key).count[EXECUTION_SKIPPED], 1);
    /* What is left has room within the bound by count, too. */
    execute(world, run_key, 3, made);
    world_reopen(world);
    assert_int_equal(history_of(world, run_key, keys, COUNT_OF(keys)), 63);
    assert_int_equal(totals_of(world, run_key).removed, 702);
}

static void an_empty_history_is_within_its_bounds(void **state) {
    struct world *world = *state;
    bounds(world, day_us, 1, 4096);
    int64_t run_key = world_create_run(world);
    world_reopen(world);
    assert_int_equal(world_get_run(world, run_key).key, run_key);
    assert_int_equal(totals_of(world, run_key).removed, 0);
}

static void what_has_not_ended_stays_and_so_does_what_is_newer(void **state) {
    struct world *world = *state;
    int64_t now_us = clock_wall_now(clock_system()).us;
    int64_t run_key = world_create_run(world);
    world->now_us = now_us - 100 * day_us;
    identity_source_init(&world->keys, 0);
    execute(world, run_key, 30, NULL);
    struct execution waiting = world_execution(world, world->now_us, EXECUTION_QUEUED);
    world_record(world, run_key, &waiting);
    execute(world, run_key, 50, NULL);
    bounds(world, 90 * day_us, 0, 0);
    wait_until_kept(world, run_key, 51);
    int64_t keys[100] = {0};
    assert_int_equal(history_of(world, run_key, keys, COUNT_OF(keys)), 51);
    assert_int_equal(keys[50], waiting.key);
    bounds(world, 0, 10, 0);
    world->now_us = now_us;
    execute(world, run_key, 20, NULL);
    assert_int_equal(history_of(world, run_key, keys, COUNT_OF(keys)), 71);
    waiting.run_key = run_key;
    waiting.status = EXECUTION_CANCELLED;
    struct store_write finish = {.kind = STORE_FINISH, .execution = &waiting};
    world_write(world, &finish);
    execute(world, run_key, 2, NULL);
    wait_until_kept(world, run_key, 12);
    struct run_totals totals = totals_of(world, run_key);
    assert_int_equal(all_of(&totals), 103);
}

static void the_newest_execution_of_all_stays(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    world->now_us = clock_wall_now(clock_system()).us - 100 * day_us;
    identity_source_init(&world->keys, 0);
    int64_t made[10];
    execute(world, run_key, COUNT_OF(made), made);
    bounds(world, day_us, 0, 0);
    wait_until_kept(world, run_key, 1);
    world_reopen(world);
    assert_int_equal(store_greatest_execution_key(world->store), made[9]);
    assert_int_equal(totals_of(world, run_key).removed, 9);
}

static void runs_that_are_larger_than_the_bound_leave_the_history_its_room(void **state) {
    struct world *world = *state;
    enum { RUNS = 20, PARAMETERS_BYTES = 100000, BOUND = 1 << 20 };
    char *parameters = must_alloc(PARAMETERS_BYTES + 3);
    memset(parameters, 'x', PARAMETERS_BYTES + 2);
    parameters[0] = parameters[PARAMETERS_BYTES + 1] = '"';
    parameters[PARAMETERS_BYTES + 2] = '\0';
    bounds(world, 0, 0, BOUND);
    int64_t run_key = 0;
    for (int i = 0; i < RUNS; i++) {
        struct run run = world_run(world);
        run.parameters = parameters;
        run_key = world_create(world, &run);
    }
    free(parameters);
    /* Far more than the writes between two looks at the size, and less than a quarter of the bound. */
    execute(world, run_key, 1200, NULL);
    static int64_t keys[1200];
    assert_int_equal(history_of(world, run_key, keys, COUNT_OF(keys)), COUNT_OF(keys));
}

size_t conformance_retention_tests(struct CMUnitTest *out_tests) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_runs_history_is_kept_within_its_count),
        cmocka_unit_test(old_executions_are_removed),
        cmocka_unit_test(runs_that_are_larger_than_the_bound_leave_the_history_its_room),
        cmocka_unit_test(an_empty_history_is_within_its_bounds),
        cmocka_unit_test(what_has_not_ended_stays_and_so_does_what_is_newer),
        cmocka_unit_test(the_newest_execution_of_all_stays),
    };
    memcpy(out_tests, tests, sizeof tests);
    return COUNT_OF(tests);
}
