/* Who may start, and who waits: room for all, for a model and for an owner; priorities. */
#include "plan_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A world with this much room, in which nothing is known of any model. */
static struct world *world_of(uint32_t running_maximum, uint32_t per_owner, uint32_t concurrency) {
    struct world *world = world_new("2027-01-01T00:00:00Z");
    plan_fini(&world->plan);
    world->options = (struct plan_options){.running_maximum = running_maximum,
                                           .running_per_owner_maximum = per_owner};
    world->concurrency = concurrency;
    world_begin(world);
    plan_begin(&world->plan, world->now);
    return world;
}

/* A run that is due at 00:01, and every hour after. */
static struct run hourly(int64_t key) {
    struct run run = world_run("1 * * * *");
    run.key = key;
    run.next_run = time_at("2027-01-01T00:01:00Z");
    return run;
}

static void put(struct world *world, const struct run *run) {
    plan_put(&world->plan, world_entry(run));
}

static void put_many(struct world *world, int64_t count) {
    for (int64_t key = 1; key <= count; key++) {
        struct run run = hourly(key);
        put(world, &run);
    }
}

static void end_all(struct world *world) {
    while (world->running_count > 0) {
        world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    }
}

static void no_more_run_at_once_than_there_is_room_for_and_none_is_lost(void **state) {
    (void)state;
    struct world *world = world_of(3, 0, 64);
    put_many(world, 10);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->running_count, 3);
    assert_int_equal(world->ledger_count, 3); /* what has no room is not recorded yet */
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->running_count, 3);
    assert_int_equal(world->ledger_count, 4);
    end_all(world);
    assert_int_equal(world->ledger_count, 10);
    for (size_t i = 0; i < world->ledger_count; i++) {
        assert_int_equal(world->ledger[i].status, EXECUTION_SUCCEEDED);
        assert_int_equal(world->ledger[i].trigger, TRIGGER_SCHEDULE);
    }
    world_close(world);
}

static void the_higher_priority_goes_in_first(void **state) {
    (void)state;
    struct world *world = world_of(1, 0, 64);
    static const uint8_t priorities[] = {2, 9, 5, 0, 7};
    for (size_t i = 0; i < COUNT_OF(priorities); i++) {
        struct run run = hourly((int64_t)i + 1);
        run.priority = priorities[i];
        put(world, &run);
    }
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    end_all(world);
    static const int64_t expected[] = {2, 5, 3, 1, 4};
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_int_equal(world->ledger[i].run_key, expected[i]);
    }
    world_close(world);
}

static void a_later_slot_of_higher_priority_overtakes_those_that_wait(void **state) {
    (void)state;
    struct world *world = world_of(1, 0, 64);
    put_many(world, 3);
    struct run urgent = hourly(9);
    urgent.schedule = "2 * * * *";
    urgent.next_run = time_at("2027-01-01T00:02:00Z");
    urgent.priority = PRIORITY_MAXIMUM;
    put(world, &urgent);
    world_walk_to(world, time_at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->running_count, 1);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger[1].run_key, 9);
    world_close(world);
}

static void an_owner_has_no_more_than_the_bound_and_others_go_on(void **state) {
    (void)state;
    struct world *world = world_of(100, 2, 64);
    for (int64_t key = 1; key <= 6; key++) {
        struct run run = hourly(key);
        run.owner = key <= 5 ? "greedy" : "other";
        put(world, &run);
    }
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->running_count, 3);
    end_all(world);
    assert_int_equal(world->ledger_count, 6);
    world_close(world);
}

static void a_slow_model_gets_no_more_than_runs_and_others_go_on(void **state) {
    (void)state;
    struct world *world = world_of(8192, 0, 2);
    world->ran = (struct duration){10 * US_PER_SECOND};
    struct run slow = hourly(1000);
    slow.model_name = "slow";
    for (int64_t key = 1000; key < 1040; key++) {
        slow.key = key;
        put(world, &slow);
    }
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->running_count, 2 * PLAN_FIRST_WINDOW);
    /* Now it is known to be slow: only as many as the workers run at the same moment. */
    for (int i = 0; i < 2 * PLAN_FIRST_WINDOW - 2; i++) {
        world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    }
    assert_int_equal(world->running_count, 2);
    put_many(world, 20);
    world_turn_to(world, world->now);
    assert_int_equal(world->running_count, 2 + 2 * PLAN_FIRST_WINDOW);
    world->ran = (struct duration){0};
    end_all(world);
    assert_int_equal(world->ledger_count, 60);
    world_close(world);
}

static void a_fast_model_gets_more_room_as_it_shows_how_fast_it_is(void **state) {
    (void)state;
    struct world *world = world_of(8192, 0, 1);
    world->ran = (struct duration){100};
    put_many(world, 3000);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->running_count, PLAN_FIRST_WINDOW);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->running_count, 250 * 1000 / 100);
    world->ran = (struct duration){0};
    end_all(world);
    assert_int_equal(world->ledger_count, 3000);
    world_close(world);
}

static void a_slot_that_will_be_skipped_needs_no_room(void **state) {
    (void)state;
    struct world *world = world_of(1, 0, 64);
    struct run run = world_run("* * * * *");
    run.next_run = time_at("2027-01-01T00:01:00Z");
    put(world, &run);
    world_walk_to(world, time_at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].status, EXECUTION_SKIPPED);
    assert_int_equal(world->ledger[1].blocked_by, world->ledger[0].key);
    world_close(world);
}

static void a_trigger_without_room_is_recorded_as_queued_and_goes_after_the_schedule(void **state) {
    (void)state;
    struct world *world = world_of(1, 0, 64);
    put_many(world, 2);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    struct run run = hourly(50);
    plan_trigger(&world->plan, world_entry(&run), NULL, world->now);
    world_turn_to(world, world->now);
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].trigger, TRIGGER_MANUAL);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger[2].trigger, TRIGGER_SCHEDULE);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    end_all(world);
    assert_int_equal(world->ledger[1].status, EXECUTION_SUCCEEDED);
    world_close(world);
}

static void what_waited_too_long_for_room_is_the_catchup_policys(void **state) {
    (void)state;
    struct world *world = world_of(1, 0, 64);
    struct run blocker = hourly(1);
    put(world, &blocker);
    struct run run = world_run("* * * * *");
    run.key = 2;
    run.next_run = time_at("2027-01-01T00:01:00Z");
    put(world, &run);
    world_walk_to(world, time_at("2027-01-01T00:05:30Z"));
    assert_int_equal(world->ledger_count, 1);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger_count, 3);
    assert_int_equal(world->ledger[1].status, EXECUTION_MISSED);
    assert_int_equal(world->ledger[1].missed_count, 4);
    assert_int_equal(world->ledger[2].trigger, TRIGGER_CATCHUP);
    assert_int_equal(world->ledger[2].slot.us, time_at("2027-01-01T00:05:00Z").us);
    world_close(world);
}

static void a_million_due_at_once_are_let_in_step_by_step(void **state) {
    (void)state;
    struct world *world = world_of(2, 0, 64);
    put_many(world, INT64_C(3) * PLAN_STEPS_PER_TICK);
    world->now = time_at("2027-01-01T00:01:00Z");
    plan_tick(&world->plan, world->now);
    assert_int_equal(world->plan.due.count, 2 * PLAN_STEPS_PER_TICK);
    /* There is more to do, at once. */
    assert_true(plan_next_wake(&world->plan).us <= world->now.us);
    plan_check(&world->plan);
    world_settle(world);
    world_close(world);
}

static void many_who_wait_for_something_else_by_now_move_there_step_by_step(void **state) {
    (void)state;
    enum { MANY = PLAN_STEPS_PER_TICK + 100 };
    struct world *world = world_of(2, 1, 64);
    for (int64_t key = 1; key <= MANY + 2; key++) {
        struct run run = hourly(key);
        run.owner = key == 1 ? "first" : key == 2 ? "second" : "greedy";
        run.model_name = run.owner; /* a model without bounds is not what they wait for */
        run.priority = key <= 2 ? 9 : 5;
        put(world, &run);
    }
    world_turn_to(world, time_at("2027-01-01T00:01:00Z"));
    world_turn_to(world, world->now);
    assert_int_equal(world->running_count, 2);
    assert_int_equal(world->plan.all.slots.count, MANY);
    /* There is room again, but the owner of all who wait may have one only: they wait for that now. */
    world->store_answers = false;
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_true(world->plan.all.slots.count > 0);
    assert_true(plan_next_wake(&world->plan).us <= world->now.us);
    world->store_answers = true;
    world_settle(world);
    world_turn_to(world, world->now);
    assert_int_equal(world->plan.all.slots.count, 0);
    assert_int_equal(world->running_count, 1);
    assert_true(plan_next_wake(&world->plan).us > world->now.us);
    world_close(world);
}

static void one_run_has_no_more_under_way_than_its_bound(void **state) {
    (void)state;
    static const enum overlap_policy policies[] = {OVERLAP_ALLOW, OVERLAP_QUEUE_ALL};
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        struct world *world = world_of(8192, 0, 8192);
        struct run run = world_run("* * * * *");
        run.overlap = policies[i];
        run.next_run = time_at("2027-01-01T00:01:00Z");
        put(world, &run);
        world_walk_to(world,
                      (struct wall_time){world->now.us + INT64_C(60) * US_PER_SECOND *
                                                             (PLAN_ACTIVE_PER_RUN_MAXIMUM + 5)});
        size_t skipped = 0;
        for (size_t row = 0; row < world->ledger_count; row++) {
            skipped += world->ledger[row].status == EXECUTION_SKIPPED ? 1 : 0;
        }
        assert_int_equal(skipped, policies[i] == OVERLAP_ALLOW ? 5 : 4);
        world_close(world);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_run_at_once_than_there_is_room_for_and_none_is_lost),
        cmocka_unit_test(the_higher_priority_goes_in_first),
        cmocka_unit_test(a_later_slot_of_higher_priority_overtakes_those_that_wait),
        cmocka_unit_test(an_owner_has_no_more_than_the_bound_and_others_go_on),
        cmocka_unit_test(a_slow_model_gets_no_more_than_runs_and_others_go_on),
        cmocka_unit_test(a_fast_model_gets_more_room_as_it_shows_how_fast_it_is),
        cmocka_unit_test(a_slot_that_will_be_skipped_needs_no_room),
        cmocka_unit_test(a_trigger_without_room_is_recorded_as_queued_and_goes_after_the_schedule),
        cmocka_unit_test(what_waited_too_long_for_room_is_the_catchup_policys),
        cmocka_unit_test(a_million_due_at_once_are_let_in_step_by_step),
        cmocka_unit_test(many_who_wait_for_something_else_by_now_move_there_step_by_step),
        cmocka_unit_test(one_run_has_no_more_under_way_than_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
