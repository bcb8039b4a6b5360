/* What the plan decides: slots, overlap, catch-up, jitter, retries, triggers. */
#include "plan_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_slot_fires_at_its_time_and_once(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:00:59.999999Z"));
    assert_int_equal(world->ledger_count, 0);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].status, EXECUTION_RUNNING);
    assert_int_equal(world->ledger[0].trigger, TRIGGER_SCHEDULE);
    assert_int_equal(world->stored_next_run.us, time_at("2027-01-01T00:02:00Z").us);
    world_walk_to(world, time_at("2027-01-01T00:01:30Z"));
    assert_int_equal(world->ledger_count, 1);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger[0].status, EXECUTION_SUCCEEDED);
    world_close(world);
}

static void every_slot_of_a_day_ends_in_exactly_one_record(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    for (int minute = 1; minute <= 1440; minute++) {
        world_walk_to(world, (struct wall_time){time_at("2027-01-01T00:00:00Z").us +
                                                INT64_C(60) * minute * US_PER_SECOND});
        /* every third one is slow and is in the way of the next */
        if (minute % 3 != 0 && world->running_count > 0) {
            world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
        }
    }
    assert_int_equal(world->ledger_count, 1440);
    world_close(world);
}

static void overlap_skip_records_what_was_in_the_way(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].status, EXECUTION_SKIPPED);
    assert_int_equal(world->ledger[1].blocked_by, world->ledger[0].key);
    world_close(world);
}

static void overlap_queue_one_lets_one_wait_and_skips_the_rest(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_QUEUE_ONE, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:03:00Z"));
    assert_int_equal(world->ledger_count, 3);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    assert_int_equal(world->ledger[2].status, EXECUTION_SKIPPED);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger[1].status, EXECUTION_RUNNING);
    world_close(world);
}

static void overlap_queue_all_keeps_the_order(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_QUEUE_ALL, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:04:00Z"));
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(world->running_count, 1);
        assert_int_equal(world->running[0]->key, world->ledger[i].key);
        world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    }
    assert_int_equal(world->running_count, 0);
    world_close(world);
}

static void overlap_cancel_running_ends_the_old_and_then_starts_the_new(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_CANCEL_RUNNING, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->cancel_count, 1);
    assert_int_equal(world->running_count, 1);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    world_end_running(world, 0, EXECUTION_CANCELLED, ERROR_CANCELLED);
    assert_int_equal(world->ledger[0].status, EXECUTION_CANCELLED);
    assert_int_equal(world->ledger[1].status, EXECUTION_RUNNING);
    world_close(world);
}

static void overlap_allow_runs_side_by_side(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_ALLOW, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:03:00Z"));
    assert_int_equal(world->running_count, 3);
    world_close(world);
}

/* The process starts at 10:00:30 and finds that the run was next due at 00:01. */
static struct world *after_downtime(enum catchup_policy catchup, int64_t window_s) {
    struct world *world = world_new("2027-01-01T10:00:30Z");
    struct run run = world_run("* * * * *");
    run.catchup = catchup;
    run.catchup_window.us = window_s * US_PER_SECOND;
    run.next_run = time_at("2027-01-01T00:01:00Z");
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    world_turn_to(world, world->now);
    return world;
}

static void catchup_latest_fires_the_newest_and_records_the_rest_as_one_gap(void **state) {
    (void)state;
    struct world *world = after_downtime(CATCHUP_LATEST, 3600);
    assert_int_equal(world->ledger_count, 2);
    struct ledger_row *missed = &world->ledger[0];
    assert_int_equal(missed->status, EXECUTION_MISSED);
    assert_int_equal(missed->slot.us, time_at("2027-01-01T00:01:00Z").us);
    assert_int_equal(missed->missed_to.us, time_at("2027-01-01T09:59:00Z").us);
    assert_int_equal(missed->missed_count, 599);
    assert_int_equal(world->ledger[1].status, EXECUTION_RUNNING);
    assert_int_equal(world->ledger[1].trigger, TRIGGER_CATCHUP);
    assert_int_equal(world->ledger[1].slot.us, time_at("2027-01-01T10:00:00Z").us);
    assert_int_equal(world->stored_next_run.us, time_at("2027-01-01T10:01:00Z").us);
    world_close(world);
}

static void catchup_none_records_all_as_missed(void **state) {
    (void)state;
    struct world *world = after_downtime(CATCHUP_NONE, 3600);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].missed_count, 600);
    assert_int_equal(world->running_count, 0);
    world_close(world);
}

static void catchup_all_fires_each_slot_in_the_window_one_after_the_other(void **state) {
    (void)state;
    struct world *world = after_downtime(CATCHUP_ALL, 180);
    /* 09:57:30 is where the window begins: 597 are missed, then 09:58, 09:59 and 10:00 fire */
    assert_int_equal(world->ledger[0].missed_count, 597);
    const char *const expected[] = {"2027-01-01T09:58:00Z", "2027-01-01T09:59:00Z",
                                    "2027-01-01T10:00:00Z"};
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_int_equal(world->running_count, 1);
        assert_int_equal(world->running[0]->slot.us, time_at(expected[i]).us);
        world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    }
    assert_int_equal(world->running_count, 0);
    assert_int_equal(world->ledger_count, 4);
    world_close(world);
}

static void a_slot_older_than_the_window_is_missed_not_fired(void **state) {
    (void)state;
    struct world *world = after_downtime(CATCHUP_LATEST, 10);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].missed_count, 600);
    world_close(world);
}

static void a_step_of_the_clock_forward_is_downtime(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_NONE);
    world->now = time_at("2027-01-01T05:00:30Z");
    plan_clock_stepped(&world->plan, INT64_C(5) * 3600 * US_PER_SECOND, world->now);
    world_turn_to(world, world->now);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].missed_count, 300);
    world_close(world);
}

static void a_step_of_the_clock_back_never_fires_a_slot_again(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_ALLOW, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:05:00Z"));
    assert_int_equal(world->ledger_count, 5);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    world_walk_to(world, time_at("2027-01-01T00:05:59Z"));
    assert_int_equal(world->ledger_count, 5); /* add_row would also refuse a double */
    world_walk_to(world, time_at("2027-01-01T00:06:00Z"));
    assert_int_equal(world->ledger_count, 6);
    world_close(world);
}

static void a_failure_is_retried_with_backoff_and_then_given_up(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run run = world_run("0 0 1 1 *");
    run.retry = (struct retry_policy){
        .max_attempts = 2, .backoff = {10 * US_PER_SECOND}, .max_backoff = {15 * US_PER_SECOND}};
    run.next_run = time_at("2027-01-01T00:00:00Z");
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    world->random = 10 * US_PER_SECOND; /* the whole of the first bound */
    world_turn_to(world, world->now);
    world_end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    assert_int_equal(world->ledger[1].attempt, 2);
    world_walk_to(world, time_at("2027-01-01T00:00:09.999999Z"));
    assert_int_equal(world->running_count, 0);
    world_walk_to(world, time_at("2027-01-01T00:00:10Z"));
    assert_int_equal(world->running_count, 1);
    /* the second bound is 20 s, cut to 15 s; the jitter draws 10 s of it */
    world_end_running(world, 0, EXECUTION_TIMED_OUT, ERROR_TIMED_OUT);
    world_walk_to(world, time_at("2027-01-01T00:00:20Z"));
    assert_int_equal(world->running_count, 1);
    assert_int_equal(world->running[0]->attempt, 3);
    world_end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
    assert_int_equal(world->ledger_count, 3);
    assert_int_equal(plan_next_wake(&world->plan).us, time_at("2028-01-01T00:00:00Z").us);
    world_close(world);
}

static void a_clock_that_goes_back_makes_no_backoff_longer(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T05:00:00Z");
    struct run run = world_run("0 5 1 1 *");
    run.retry = (struct retry_policy){
        .max_attempts = 1, .backoff = {20 * US_PER_SECOND}, .max_backoff = {20 * US_PER_SECOND}};
    run.next_run = world->now;
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    world->random = 20 * US_PER_SECOND;
    world_turn_to(world, world->now);
    world_end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
    world->now = time_at("2027-01-01T04:00:00Z");
    plan_clock_stepped(&world->plan, -3600 * US_PER_SECOND, world->now);
    assert_int_equal(plan_next_wake(&world->plan).us, time_at("2027-01-01T04:00:20Z").us);
    world_walk_to(world, time_at("2027-01-01T04:00:20Z"));
    assert_int_equal(world->running_count, 1);
    assert_int_equal(world->running[0]->attempt, 2);
    world_close(world);
}

static void a_backoff_beyond_its_bound_is_the_bound(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run run = world_run("0 0 1 1 *");
    run.retry = (struct retry_policy){
        .max_attempts = 2, .backoff = {60 * US_PER_SECOND}, .max_backoff = {20 * US_PER_SECOND}};
    run.next_run = time_at("2027-01-01T00:00:00Z");
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    world->random = 20 * US_PER_SECOND; /* the whole of it */
    world_turn_to(world, world->now);
    for (uint32_t attempt = 2; attempt <= 3; attempt++) {
        world_end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
        struct wall_time again = wall_time_add(world->now, (struct duration){20 * US_PER_SECOND});
        assert_int_equal(world->ledger[world->ledger_count - 1].not_before.us, again.us);
        world_walk_to(world, again);
        assert_int_equal(world->running[0]->attempt, attempt);
    }
    world_close(world);
}

static void a_retry_waits_as_long_as_the_backend_asks(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run run = world_run("0 0 1 1 *");
    run.retry = (struct retry_policy){
        .max_attempts = 2, .backoff = {10 * US_PER_SECOND}, .max_backoff = {10 * US_PER_SECOND}};
    run.next_run = time_at("2027-01-01T00:00:00Z");
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    world->random = 10 * US_PER_SECOND; /* the whole of the bound */
    world_turn_to(world, world->now);
    /* longer than the backoff: it counts; shorter, of the second attempt: the backoff does */
    static const int64_t asked_s[] = {90, 3};
    static const int64_t waited_s[] = {90, 10};
    for (size_t i = 0; i < COUNT_OF(asked_s); i++) {
        world->running[0]->retry_after.us = asked_s[i] * US_PER_SECOND;
        world_end_running(world, 0, EXECUTION_FAILED, ERROR_MODEL_UNAVAILABLE);
        struct wall_time again =
            wall_time_add(world->now, (struct duration){waited_s[i] * US_PER_SECOND});
        assert_int_equal(world->ledger[world->ledger_count - 1].not_before.us, again.us);
        world_walk_to(world, again);
        assert_int_equal(world->running_count, 1);
    }
    world_close(world);
}

static void what_the_model_itself_refuses_is_not_retried(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    world_end_running(world, 0, EXECUTION_FAILED, ERROR_MODEL_FAILED);
    assert_int_equal(world->ledger_count, 1);
    world_close(world);
}

static void a_trigger_runs_beside_what_runs_and_counts_for_the_next_slot(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    struct run run = world_run("* * * * *");
    plan_trigger(&world->plan, world_entry(&run), NULL, world->now);
    world_settle(world);
    assert_int_equal(world->running_count, 2);
    assert_int_equal(world->ledger[1].trigger, TRIGGER_MANUAL);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    world_walk_to(world, time_at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->ledger[2].status, EXECUTION_SKIPPED);
    assert_int_equal(world->ledger[2].blocked_by, world->ledger[1].key);
    world_close(world);
}

static void a_disabled_run_can_be_triggered_and_is_forgotten_afterwards(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    plan_begin(&world->plan, world->now);
    struct run run = world_run("* * * * *");
    run.enabled = false;
    plan_trigger(&world->plan, world_entry(&run), NULL, world->now);
    world_settle(world);
    assert_int_equal(world->running_count, 1);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_false(plan_has_run(&world->plan, 7));
    assert_true(wall_time_is_none(plan_next_wake(&world->plan)));
    world_close(world);
}

static void a_disabled_or_deleted_run_fires_no_more(void **state) {
    (void)state;
    for (int deleted = 0; deleted < 2; deleted++) {
        struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
        world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
        if (deleted) {
            plan_remove(&world->plan, 7, world->now);
        } else {
            struct run run = world_run("* * * * *");
            run.enabled = false;
            run.revision = 2;
            plan_put(&world->plan, world_entry(&run));
        }
        world_walk_to(world, time_at("2027-01-01T01:00:00Z"));
        assert_int_equal(world->ledger_count, 1);
        world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
        assert_false(plan_has_run(&world->plan, 7));
        world_close(world);
    }
}

static void deleting_cancels_what_waits(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_QUEUE_ALL, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:03:00Z"));
    plan_remove(&world->plan, 7, world->now);
    assert_int_equal(world->ledger[1].status, EXECUTION_CANCELLED);
    assert_int_equal(world->ledger[2].status, EXECUTION_CANCELLED);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->running_count, 0);
    world_close(world);
}

static void no_slot_lies_outside_start_at_and_end_at(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run run = world_run("* * * * *");
    run.overlap = OVERLAP_ALLOW;
    run.start_at = time_at("2027-01-01T00:10:00Z");
    run.end_at = time_at("2027-01-01T00:13:00Z");
    struct plan_entry *entry = world_entry(&run);
    entry->next_slot = timetable_next(&entry->schedule->timetable, world->now);
    plan_put(&world->plan, entry);
    plan_begin(&world->plan, world->now);
    world_walk_to(world, time_at("2027-01-01T01:00:00Z"));
    assert_int_equal(world->ledger_count, 3);
    assert_int_equal(world->ledger[0].slot.us, run.start_at.us);
    assert_int_equal(world->ledger[2].slot.us, time_at("2027-01-01T00:12:00Z").us);
    assert_true(wall_time_is_none(world->stored_next_run));
    world_close(world);
}

static void jitter_delays_each_slot_and_never_reaches_the_next(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run run = world_run("* * * * *");
    run.overlap = OVERLAP_ALLOW;
    run.jitter.us = 600 * US_PER_SECOND;
    run.next_run = time_at("2027-01-01T00:01:00Z");
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    int64_t delays_us = 0;
    for (int minute = 1; minute <= 100; minute++) {
        int64_t slot_us = time_at("2027-01-01T00:00:00Z").us + INT64_C(60) * minute * US_PER_SECOND;
        struct wall_time wake = plan_next_wake(&world->plan);
        assert_true(wake.us >= slot_us && wake.us < slot_us + 60 * US_PER_SECOND);
        delays_us += wake.us - slot_us;
        world_turn_to(world, wake);
        assert_int_equal(world->ledger_count, minute);
        assert_int_equal(world->ledger[minute - 1].slot.us, slot_us);
        assert_int_equal(world->ledger[minute - 1].trigger, TRIGGER_SCHEDULE);
    }
    assert_true(delays_us > 1000 * US_PER_SECOND);
    world_close(world);
}

static void after_downtime_a_slot_still_waits_for_its_jitter(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T10:00:00Z");
    struct run run = world_run("0 * * * *");
    run.jitter.us = 3600 * US_PER_SECOND;
    run.next_run = time_at("2027-01-01T08:00:00Z");
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    world_turn_to(world, world->now);
    /* 08:00 and 09:00 are caught up with; 10:00 is due somewhat later */
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].slot.us, time_at("2027-01-01T09:00:00Z").us);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    struct wall_time wake = plan_next_wake(&world->plan);
    assert_true(wake.us > world->now.us && wake.us < time_at("2027-01-01T11:00:00Z").us);
    world_turn_to(world, wake);
    assert_int_equal(world->ledger[2].slot.us, time_at("2027-01-01T10:00:00Z").us);
    assert_int_equal(world->ledger[2].trigger, TRIGGER_SCHEDULE);
    world_close(world);
}

static void a_one_shot_run_fires_once_and_is_disabled(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run run = world_run("@at 2027-01-01T09:00:00");
    run.next_run = time_at("2027-01-01T09:00:00Z");
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    world_walk_to(world, time_at("2027-01-01T09:00:00Z"));
    assert_int_equal(world->ledger_count, 1);
    assert_true(world->stored_disabled);
    assert_true(wall_time_is_none(world->stored_next_run));
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_false(plan_has_run(&world->plan, 7));
    world_close(world);
}

static void draining_starts_nothing_new(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_QUEUE_ALL, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:02:00Z"));
    plan_drain(&world->plan);
    assert_true(wall_time_is_none(plan_next_wake(&world->plan)));
    world_walk_to(world, time_at("2027-01-01T00:10:00Z"));
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->running_count, 0);
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    world_close(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_fires_at_its_time_and_once),
        cmocka_unit_test(every_slot_of_a_day_ends_in_exactly_one_record),
        cmocka_unit_test(overlap_skip_records_what_was_in_the_way),
        cmocka_unit_test(overlap_queue_one_lets_one_wait_and_skips_the_rest),
        cmocka_unit_test(overlap_queue_all_keeps_the_order),
        cmocka_unit_test(overlap_cancel_running_ends_the_old_and_then_starts_the_new),
        cmocka_unit_test(overlap_allow_runs_side_by_side),
        cmocka_unit_test(catchup_latest_fires_the_newest_and_records_the_rest_as_one_gap),
        cmocka_unit_test(catchup_none_records_all_as_missed),
        cmocka_unit_test(catchup_all_fires_each_slot_in_the_window_one_after_the_other),
        cmocka_unit_test(a_slot_older_than_the_window_is_missed_not_fired),
        cmocka_unit_test(a_step_of_the_clock_forward_is_downtime),
        cmocka_unit_test(a_step_of_the_clock_back_never_fires_a_slot_again),
        cmocka_unit_test(a_failure_is_retried_with_backoff_and_then_given_up),
        cmocka_unit_test(a_clock_that_goes_back_makes_no_backoff_longer),
        cmocka_unit_test(a_backoff_beyond_its_bound_is_the_bound),
        cmocka_unit_test(a_retry_waits_as_long_as_the_backend_asks),
        cmocka_unit_test(what_the_model_itself_refuses_is_not_retried),
        cmocka_unit_test(a_trigger_runs_beside_what_runs_and_counts_for_the_next_slot),
        cmocka_unit_test(a_disabled_run_can_be_triggered_and_is_forgotten_afterwards),
        cmocka_unit_test(a_disabled_or_deleted_run_fires_no_more),
        cmocka_unit_test(deleting_cancels_what_waits),
        cmocka_unit_test(no_slot_lies_outside_start_at_and_end_at),
        cmocka_unit_test(jitter_delays_each_slot_and_never_reaches_the_next),
        cmocka_unit_test(after_downtime_a_slot_still_waits_for_its_jitter),
        cmocka_unit_test(a_one_shot_run_fires_once_and_is_disabled),
        cmocka_unit_test(draining_starts_nothing_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
