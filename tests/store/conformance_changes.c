/* What a change of when a run is due does to its slots: none is lost, none comes twice. */
#include "conformance_tests.h"
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HOUR_US (3600 * US_PER_SECOND)

/* Due at each whole hour from its creation on; `now` is that long after. */
static struct run hourly(struct world *world) {
    world->now_us += HOUR_US - world->now_us % HOUR_US; /* a whole hour */
    struct run run = world_run(world);
    run.created_at = (struct wall_time){world->now_us - world->now_us % HOUR_US};
    run.next_run = (struct wall_time){run.created_at.us + HOUR_US};
    world_create(world, &run);
    return run;
}

static struct wall_time hours_after(const struct run *run, int64_t hours) {
    return (struct wall_time){run->created_at.us + hours * HOUR_US};
}

static struct store_write change_at(struct world *world, const struct run *run,
                                    struct wall_time at) {
    return (struct store_write){
        .kind = STORE_UPDATE_RUN, .run = run, .execution_key = world_key(world), .changed_at = at};
}

static size_t history(struct world *world, int64_t run_key, struct execution **out) {
    struct execution_filter filter = {
        .run_key = run_key, .since = WALL_TIME_NONE, .until = WALL_TIME_NONE, .limit = 100};
    size_t count;
    int64_t next_cursor;
    struct error err;
    assert_true(store_list_executions(world->reader, &filter, &world->arena, out, &count,
                                      &next_cursor, &err));
    return count;
}

static void assert_gap(const struct execution *gap, struct wall_time from, struct wall_time to,
                       uint64_t count, const char *type) {
    assert_int_equal(gap->status, EXECUTION_MISSED);
    assert_int_equal(gap->missed_from.us, from.us);
    assert_int_equal(gap->missed_to.us, to.us);
    assert_int_equal(gap->missed_count, count);
    assert_string_equal(gap->error_type, type);
}

static void what_had_come_when_a_run_is_changed_is_recorded(void **state) {
    struct world *world = *state;
    struct run run = hourly(world);
    run.schedule = "30 * * * *";
    struct wall_time at = {hours_after(&run, 3).us + 60 * US_PER_SECOND};
    struct store_write change = change_at(world, &run, at);
    world_write(world, &change);
    struct execution *executions;
    assert_int_equal(history(world, run.key, &executions), 1);
    assert_gap(&executions[0], hours_after(&run, 1), hours_after(&run, 3), 3, "Missed");
    struct run read = world_get_run(world, run.key);
    assert_int_equal(read.next_run.us, hours_after(&run, 3).us + HOUR_US / 2);
    assert_int_equal(change.out_next_run.us, read.next_run.us);
    assert_int_equal(read.settled_until.us, at.us);
}

static void what_had_come_when_a_run_is_disabled_or_deleted_is_recorded(void **state) {
    struct world *world = *state;
    for (int deletes = 0; deletes < 2; deletes++) {
        struct run run = hourly(world);
        run.enabled = false;
        struct store_write change = change_at(world, &run, hours_after(&run, 2));
        change.kind = deletes == 1 ? STORE_DELETE_RUN : STORE_UPDATE_RUN;
        change.run_key = run.key;
        world_write(world, &change);
        struct execution *executions;
        assert_int_equal(history(world, run.key, &executions), 1);
        assert_gap(&executions[0], hours_after(&run, 1), hours_after(&run, 2), 2, "Missed");
        assert_true(wall_time_is_none(change.out_next_run));
    }
}

static void a_pause_becomes_one_record_when_it_ends(void **state) {
    struct world *world = *state;
    struct run run = hourly(world);
    run.paused_at = (struct wall_time){hours_after(&run, 0).us + 1};
    struct store_write pause = change_at(world, &run, run.paused_at);
    pause.keeps_next_run = true;
    world_write(world, &pause);
    run.paused_at = WALL_TIME_NONE;
    struct wall_time at = {hours_after(&run, 9).us + 1};
    struct store_write resume = change_at(world, &run, at);
    world_write(world, &resume);
    struct execution *executions;
    assert_int_equal(history(world, run.key, &executions), 1);
    assert_gap(&executions[0], hours_after(&run, 1), hours_after(&run, 9), 9, "Paused");
    assert_int_equal(world_get_run(world, run.key).next_run.us, hours_after(&run, 10).us);
}

static void a_pause_in_which_no_slot_came_leaves_no_record(void **state) {
    struct world *world = *state;
    struct run run = hourly(world);
    struct store_write resume =
        change_at(world, &run, (struct wall_time){hours_after(&run, 1).us - 1});
    world_write(world, &resume);
    struct execution *executions;
    assert_int_equal(history(world, run.key, &executions), 0);
    assert_int_equal(world_get_run(world, run.key).next_run.us, hours_after(&run, 1).us);
}

static void nothing_that_is_settled_comes_again_wherever_the_clock_has_gone(void **state) {
    struct world *world = *state;
    struct run run = hourly(world);
    run.schedule = "*/10 * * * *";
    struct store_write change = change_at(world, &run, hours_after(&run, 5));
    world_write(world, &change);
    /* The clock is set back by four hours, and the run is changed once more. */
    run.schedule = "0 * * * *";
    change = change_at(world, &run, hours_after(&run, 1));
    world_write(world, &change);
    assert_int_equal(change.out_next_run.us, hours_after(&run, 6).us);
    struct execution *executions;
    assert_int_equal(history(world, run.key, &executions), 1);
}

static void a_slot_within_a_recorded_gap_is_refused(void **state) {
    struct world *world = *state;
    struct run run = hourly(world);
    run.name = "renamed";
    struct store_write change = change_at(world, &run, hours_after(&run, 5));
    world_write(world, &change);
    struct store_record record = {
        .executions = {world_execution(world, hours_after(&run, 3).us, EXECUTION_RUNNING)},
        .execution_count = 1,
        .advances = true,
        .next_run = hours_after(&run, 6),
        .settled_until = hours_after(&run, 3)};
    struct store_write write = {.kind = STORE_RECORD, .run_key = run.key, .record = &record};
    assert_int_equal(world_write_fails(world, &write), ERROR_CONFLICT);
    record.executions[0].scheduled_for = hours_after(&run, 6);
    record.settled_until = hours_after(&run, 6);
    record.next_run = hours_after(&run, 7);
    world_write_gives(world, &write, run.parameters);
    assert_int_equal(world_get_run(world, run.key).settled_until.us, hours_after(&run, 6).us);
}

static void a_disabled_run_owes_nothing(void **state) {
    struct world *world = *state;
    struct run run = hourly(world);
    run.enabled = false;
    struct store_write change = change_at(world, &run, hours_after(&run, 0));
    world_write(world, &change);
    run.enabled = true;
    change = change_at(world, &run, hours_after(&run, 7));
    world_write(world, &change);
    struct execution *executions;
    assert_int_equal(history(world, run.key, &executions), 0);
    assert_int_equal(change.out_next_run.us, hours_after(&run, 8).us);
}

size_t conformance_change_tests(struct CMUnitTest *out_tests) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_had_come_when_a_run_is_changed_is_recorded),
        cmocka_unit_test(what_had_come_when_a_run_is_disabled_or_deleted_is_recorded),
        cmocka_unit_test(a_pause_becomes_one_record_when_it_ends),
        cmocka_unit_test(a_pause_in_which_no_slot_came_leaves_no_record),
        cmocka_unit_test(nothing_that_is_settled_comes_again_wherever_the_clock_has_gone),
        cmocka_unit_test(a_slot_within_a_recorded_gap_is_refused),
        cmocka_unit_test(a_disabled_run_owes_nothing),
    };
    memcpy(out_tests, tests, sizeof tests);
    return COUNT_OF(tests);
}
