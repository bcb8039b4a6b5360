/* What people do to runs and executions: pause and resume, cancel, backfill; and what stays as it was recorded. */
#include "plan_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- pause and resume ------------------------------------------------------------------------------- */

static struct run minutely(uint64_t revision) {
    struct run run = world_run("* * * * *");
    run.revision = revision;
    run.next_run = time_at("2027-01-01T00:01:00Z");
    return run;
}

static void put_change(struct world *world, const struct run *run) {
    struct plan_entry *entry = world_entry(run);
    plan_entry_set_stored(entry, run, true);
    plan_put(&world->plan, entry);
}

static void a_paused_run_does_not_fire_until_it_is_resumed(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_ALLOW, CATCHUP_ALL);
    struct run run = minutely(2);
    run.paused_at = time_at("2027-01-01T00:00:30Z");
    put_change(world, &run);
    world_walk_to(world, time_at("2027-01-01T00:10:30Z"));
    assert_int_equal(world->ledger_count, 0);
    /* The store has put the slots of the pause on record, and says when the next one comes. */
    run.revision = 3;
    run.paused_at = WALL_TIME_NONE;
    run.next_run = time_at("2027-01-01T00:11:00Z");
    put_change(world, &run);
    world_walk_to(world, time_at("2027-01-01T00:11:00Z"));
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].slot.us, time_at("2027-01-01T00:11:00Z").us);
    assert_int_equal(world->ledger[0].trigger, TRIGGER_SCHEDULE);
    world_close(world);
}

static void what_runs_when_its_run_is_paused_goes_on(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    struct run run = minutely(2);
    run.paused_at = world->now;
    put_change(world, &run);
    world_walk_to(world, time_at("2027-01-01T00:03:00Z"));
    assert_int_equal(world->cancel_count, 0);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger[0].status, EXECUTION_SUCCEEDED);
    assert_int_equal(world->plan.entries.count, 0); /* a paused run takes no memory */
    world_close(world);
}

/* --- cancel ------------------------------------------------------------------------------------------ */

static void cancel(struct world *world, int64_t key) {
    struct plan_execution *execution = plan_find_execution(&world->plan, 7, key);
    assert_non_null(execution);
    plan_cancel(&world->plan, execution, world->now);
    plan_check(&world->plan);
}

static void a_running_execution_is_ended_through_the_dispatcher_and_not_retried(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    cancel(world, world->ledger[0].key);
    cancel(world, world->ledger[0].key); /* asking twice is the same */
    assert_int_equal(world->cancel_count, 1);
    /* The worker was killed for it: no crash that is worth another attempt. */
    world_end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
    assert_int_equal(world->ledger_count, 1);
    assert_null(plan_find_execution(&world->plan, 7, world->ledger[0].key));
    world_close(world);
}

static void a_queued_execution_is_cancelled_at_once_and_the_next_has_its_turn(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_QUEUE_ALL, CATCHUP_LATEST);
    world_walk_to(world, time_at("2027-01-01T00:03:00Z"));
    assert_int_equal(world->running_count, 1);
    cancel(world, world->ledger[1].key);
    assert_int_equal(world->ledger[1].status, EXECUTION_CANCELLED);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger[2].status, EXECUTION_RUNNING);
    world_close(world);
}

static void
an_execution_that_is_cancelled_while_it_is_recorded_never_succeeds_unnoticed(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world->store_answers = false;
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    cancel(world, world->pending[0]->execution->key);
    assert_int_equal(world->cancel_count, 0); /* nobody has it yet */
    world->store_answers = true;
    world_settle(world);
    assert_int_equal(world->cancel_count, 1);
    world_close(world);
}

static void a_retry_that_waits_can_be_cancelled(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world->random = 500000;
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    world_end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    cancel(world, world->ledger[1].key);
    assert_int_equal(world->ledger[1].status, EXECUTION_CANCELLED);
    world_walk_to(world, time_at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->ledger_count, 3);
    assert_int_equal(world->running_count, 1);
    world_close(world);
}

/* --- what was recorded stays ------------------------------------------------------------------------- */

static void an_execution_runs_with_what_its_run_was_when_it_was_recorded(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run run = minutely(1);
    run.overlap = OVERLAP_QUEUE_ONE;
    run.model_version = 3;
    run.timeout = (struct duration){7 * US_PER_SECOND};
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    world_walk_to(world, time_at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    struct run changed = run;
    changed.revision = 2;
    changed.model_name = "another";
    changed.model_version = 4;
    changed.timeout = (struct duration){8 * US_PER_SECOND};
    put_change(world, &changed);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->running_count, 1);
    const struct plan_terms *terms = world->running[0]->terms;
    assert_string_equal(terms->model_name, "model");
    assert_int_equal(terms->model_version, 3);
    assert_int_equal(terms->timeout.us, 7 * US_PER_SECOND);
    /* Its retry, too. */
    world_end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
    assert_int_equal(world->ledger[2].model_version, 3);
    assert_int_equal(world->ledger[2].timeout.us, 7 * US_PER_SECOND);
    world_close(world);
}

static void what_was_pinned_outlives_a_restart(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    struct run run = minutely(2);
    run.model_version = 4;
    plan_put(&world->plan, world_entry(&run));
    struct execution left = {.key = 1000,
                             .run_key = 7,
                             .model_name = "before",
                             .model_version = 3,
                             .timeout = {9 * US_PER_SECOND},
                             .not_before = time_at("2027-01-01T00:00:40Z"),
                             .trigger = TRIGGER_RETRY,
                             .attempt = 2,
                             .status = EXECUTION_QUEUED,
                             .scheduled_for = time_at("2026-12-31T23:59:00Z")};
    world_add_row(world, &left);
    plan_adopt(&world->plan, NULL, &left);
    plan_begin(&world->plan, world->now);
    world_walk_to(world, time_at("2027-01-01T00:00:39Z"));
    assert_int_equal(world->running_count, 0); /* the backoff goes on, too */
    world_walk_to(world, time_at("2027-01-01T00:00:40Z"));
    assert_int_equal(world->running_count, 1);
    assert_string_equal(world->running[0]->terms->model_name, "before");
    assert_int_equal(world->running[0]->terms->model_version, 3);
    assert_int_equal(world->running[0]->terms->timeout.us, 9 * US_PER_SECOND);
    world_close(world);
}

static void what_the_run_does_not_want_retried_is_not(void **state) {
    (void)state;
    for (int listed = 0; listed < 2; listed++) {
        struct world *world = world_new("2027-01-01T00:00:00Z");
        struct run run = minutely(1);
        run.retry.non_retryable = listed ? error_kind_bit(ERROR_TIMED_OUT) : 0;
        plan_put(&world->plan, world_entry(&run));
        plan_begin(&world->plan, world->now);
        world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
        world_end_running(world, 0, EXECUTION_TIMED_OUT, ERROR_TIMED_OUT);
        assert_int_equal(world->ledger_count, listed ? 1 : 2);
        world_close(world);
    }
}

/* --- backfills --------------------------------------------------------------------------------------- */

static struct backfill day_before(uint32_t parallelism) {
    return (struct backfill){.key = 5,
                             .run_key = 7,
                             .from = time_at("2026-12-31T00:00:00Z"),
                             .to = time_at("2026-12-31T06:00:00Z"),
                             .next_slot = time_at("2026-12-31T00:00:00Z"),
                             .parallelism = parallelism};
}

static struct world *world_hourly(uint32_t running_maximum) {
    struct world *world = world_new("2027-01-01T00:00:00Z");
    plan_fini(&world->plan);
    world->options.running_maximum = running_maximum;
    world_begin(world);
    struct run run = world_run("0 * * * *");
    run.next_run = time_at("2027-01-01T01:00:00Z");
    plan_put(&world->plan, world_entry(&run));
    plan_begin(&world->plan, world->now);
    return world;
}

static void a_backfill_runs_each_slot_of_its_range_once_so_many_at_a_time(void **state) {
    (void)state;
    struct world *world = world_hourly(100);
    struct backfill backfill = day_before(2);
    plan_put_backfill(&world->plan, &backfill, NULL);
    world_turn_to(world, world->now);
    assert_int_equal(world->running_count, 2);
    while (world->running_count > 0) {
        assert_true(world->running_count <= 2);
        world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    }
    assert_int_equal(world->ledger_count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(world->ledger[i].trigger, TRIGGER_BACKFILL);
        assert_int_equal(world->ledger[i].backfill_key, 5);
        assert_int_equal(world->ledger[i].slot.us,
                         backfill.from.us + (int64_t)i * 3600 * US_PER_SECOND);
    }
    assert_true(wall_time_is_none(world->stored_backfill_next));
    assert_true(list_is_empty(&world->plan.backfills));
    world_close(world);
}

static void a_backfill_yields_to_live_slots(void **state) {
    (void)state;
    struct world *world = world_hourly(2);
    struct backfill backfill = day_before(64);
    plan_put_backfill(&world->plan, &backfill, NULL);
    world_turn_to(world, world->now);
    assert_int_equal(world->running_count, 1); /* half of the room stays free */
    world_walk_to(world, time_at("2027-01-01T01:00:00Z"));
    /* The live slot is neither late nor skipped for it. */
    assert_int_equal(world->running_count, 2);
    assert_int_equal(world->ledger[1].trigger, TRIGGER_SCHEDULE);
    assert_int_equal(world->ledger[1].status, EXECUTION_RUNNING);
    world_close(world);
}

static void a_backfill_goes_on_after_a_restart_where_it_was(void **state) {
    (void)state;
    struct world *world = world_hourly(100);
    struct backfill backfill = day_before(1);
    backfill.next_slot = time_at("2026-12-31T04:00:00Z");
    plan_put_backfill(&world->plan, &backfill, NULL);
    world_turn_to(world, world->now);
    while (world->running_count > 0) {
        world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    }
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[0].slot.us, time_at("2026-12-31T04:00:00Z").us);
    world_close(world);
}

static void a_cancelled_backfill_starts_nothing_more_and_ends_what_runs(void **state) {
    (void)state;
    struct world *world = world_hourly(100);
    struct backfill backfill = day_before(2);
    plan_put_backfill(&world->plan, &backfill, NULL);
    world_turn_to(world, world->now);
    plan_cancel_backfill(&world->plan, 7, 5, world->now);
    assert_int_equal(world->cancel_count, 2);
    world_end_running(world, 0, EXECUTION_CANCELLED, ERROR_CANCELLED);
    world_end_running(world, 0, EXECUTION_CANCELLED, ERROR_CANCELLED);
    assert_int_equal(world->ledger_count, 2);
    assert_true(list_is_empty(&world->plan.backfills));
    plan_cancel_backfill(&world->plan, 7, 5, world->now); /* it is over: nothing happens */
    world_close(world);
}

static void a_backfill_of_a_disabled_run_wakes_it_for_its_own_slots_alone(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    plan_begin(&world->plan, world->now);
    struct run run = world_run("0 * * * *");
    run.enabled = false;
    struct backfill backfill = day_before(3);
    plan_put_backfill(&world->plan, &backfill, world_entry(&run));
    world_walk_to(world, time_at("2027-01-01T02:00:00Z"));
    while (world->running_count > 0) {
        world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    }
    assert_int_equal(world->ledger_count, 6);
    assert_int_equal(world->plan.entries.count, 0);
    world_close(world);
}

static void a_slot_of_a_backfill_is_retried_as_one_of_it(void **state) {
    (void)state;
    struct world *world = world_hourly(100);
    struct backfill backfill = day_before(1);
    plan_put_backfill(&world->plan, &backfill, NULL);
    world_turn_to(world, world->now);
    world_end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
    assert_int_equal(world->ledger[1].trigger, TRIGGER_BACKFILL);
    assert_int_equal(world->ledger[1].attempt, 2);
    assert_int_equal(world->ledger[1].slot.us, world->ledger[0].slot.us);
    assert_int_equal(world->running_count, 1); /* the retry counts as one of the parallel ones */
    world_close(world);
}

static void a_backfill_goes_by_what_the_schedule_has_become(void **state) {
    (void)state;
    struct world *world = world_hourly(100);
    struct backfill backfill = day_before(1);
    plan_put_backfill(&world->plan, &backfill, NULL);
    world_turn_to(world, world->now);
    struct run run = world_run("30 5 * * *");
    run.revision = 2;
    run.next_run = time_at("2027-01-01T05:30:00Z");
    plan_put(&world->plan, world_entry(&run));
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].slot.us, time_at("2026-12-31T05:30:00Z").us);
    assert_true(list_is_empty(&world->plan.backfills));
    world_close(world);
}

static void deleting_a_run_ends_its_backfills(void **state) {
    (void)state;
    struct world *world = world_hourly(100);
    struct backfill backfill = day_before(1);
    plan_put_backfill(&world->plan, &backfill, NULL);
    world_turn_to(world, world->now);
    plan_remove(&world->plan, 7, world->now);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger_count, 1);
    assert_true(list_is_empty(&world->plan.backfills));
    assert_int_equal(world->plan.entries.count, 0);
    world_close(world);
}

static void a_backfill_whose_slots_are_all_recorded_can_be_cancelled_after_a_restart(void **state) {
    (void)state;
    struct world *world = world_hourly(100);
    struct execution left = {.key = 1000,
                             .run_key = 7,
                             .model_name = "model",
                             .trigger = TRIGGER_BACKFILL,
                             .backfill_key = 5,
                             .attempt = 1,
                             .status = EXECUTION_QUEUED,
                             .not_before = time_at("2027-01-01T00:00:30Z"),
                             .scheduled_for = time_at("2026-12-31T05:00:00Z")};
    world->last_key = 1000;
    world_add_row(world, &left);
    plan_adopt(&world->plan, NULL, &left);
    plan_cancel_backfill(&world->plan, 7, 5, world->now);
    assert_int_equal(world->ledger[0].status, EXECUTION_CANCELLED);
    plan_cancel_backfill(&world->plan, 8, 6, world->now); /* of a run that is not here */
    world_close(world);
}

static void a_backfill_ends_where_the_schedule_that_was_changed_has_no_more_slots(void **state) {
    (void)state;
    for (int ends_early = 0; ends_early < 2; ends_early++) {
        struct world *world = world_hourly(100);
        struct backfill backfill = day_before(1);
        plan_put_backfill(&world->plan, &backfill, NULL);
        world_turn_to(world, world->now);
        struct run run = world_run(ends_early ? "0 * * * *" : "0 0 1 6 *");
        run.end_at = ends_early ? time_at("2026-12-31T00:30:00Z") : WALL_TIME_NONE;
        run.revision = 2;
        run.next_run = WALL_TIME_NONE;
        plan_put(&world->plan, world_entry(&run));
        world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
        assert_int_equal(world->ledger_count, 1);
        assert_true(wall_time_is_none(world->stored_backfill_next));
        assert_true(list_is_empty(&world->plan.backfills));
        world_close(world);
    }
}

static void the_last_slot_of_a_backfill_may_be_the_schedules_last(void **state) {
    (void)state;
    struct world *world = world_hourly(100);
    struct run run = world_run("0 * * * *");
    run.end_at = time_at("2026-12-31T01:30:00Z");
    run.revision = 2;
    run.next_run = WALL_TIME_NONE;
    plan_put(&world->plan, world_entry(&run));
    struct backfill backfill = day_before(1);
    plan_put_backfill(&world->plan, &backfill, NULL);
    world_turn_to(world, world->now);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger_count, 2);
    assert_true(list_is_empty(&world->plan.backfills));
    world_close(world);
}

static void a_backfill_that_is_cancelled_beside_its_record_stays_cancelled(void **state) {
    (void)state;
    static const enum error_kind answers[] = {ERROR_NONE, ERROR_NOT_FOUND, ERROR_CONFLICT,
                                              ERROR_INTERNAL};
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        struct world *world = world_hourly(100);
        struct backfill backfill = day_before(1);
        world->store_answers = false;
        plan_put_backfill(&world->plan, &backfill, NULL);
        world_turn_to(world, world->now);
        plan_cancel_backfill(&world->plan, 7, 5, world->now);
        world->store_answers = true;
        world->store_failure = answers[i];
        world_settle(world);
        world->store_failure = ERROR_NONE;
        if (world->running_count > 0) {
            world_end_running(world, 0, EXECUTION_CANCELLED, ERROR_CANCELLED);
        }
        world_walk_to(world, time_at("2027-01-01T00:10:00Z"));
        assert_true(world->ledger_count <= 1);
        assert_true(list_is_empty(&world->plan.backfills));
        world_close(world);
    }
}

static void a_backfill_whose_record_is_refused_goes_on(void **state) {
    (void)state;
    static const enum error_kind answers[] = {ERROR_STORE, ERROR_INTERNAL, ERROR_CONFLICT};
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        struct world *world = world_hourly(100);
        struct backfill backfill = day_before(1);
        world->store_failure = answers[i];
        plan_put_backfill(&world->plan, &backfill, NULL);
        world_turn_to(world, world->now);
        world->store_failure = ERROR_NONE;
        world_walk_to(world, time_at("2027-01-01T00:00:01Z"));
        while (world->running_count > 0) {
            world_end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
        }
        /* What conflicts has its record already. */
        assert_int_equal(world->ledger_count, answers[i] == ERROR_CONFLICT ? 5 : 6);
        world_close(world);
    }
}

static void a_backfill_that_comes_after_its_run_was_deleted_starts_nothing(void **state) {
    (void)state;
    struct world *world = world_hourly(100);
    world_walk_to(world, time_at("2027-01-01T01:00:00Z"));
    plan_remove(&world->plan, 7, world->now); /* what runs of it goes on */
    struct backfill backfill = day_before(1);
    plan_put_backfill(&world->plan, &backfill, NULL);
    world_turn_to(world, world->now);
    assert_int_equal(world->ledger_count, 1);
    assert_true(list_is_empty(&world->plan.backfills));
    world_close(world);
}

static void what_cannot_be_compiled_is_refused_and_nothing_is_left_of_it(void **state) {
    (void)state;
    struct run run = world_run("61 * * * *");
    struct plan_entry *entry = NULL;
    struct error err;
    assert_false(plan_entry_new(&run, &entry, &err));
    assert_null(entry);
    plan_entry_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_paused_run_does_not_fire_until_it_is_resumed),
        cmocka_unit_test(what_runs_when_its_run_is_paused_goes_on),
        cmocka_unit_test(a_running_execution_is_ended_through_the_dispatcher_and_not_retried),
        cmocka_unit_test(a_queued_execution_is_cancelled_at_once_and_the_next_has_its_turn),
        cmocka_unit_test(
            an_execution_that_is_cancelled_while_it_is_recorded_never_succeeds_unnoticed),
        cmocka_unit_test(a_retry_that_waits_can_be_cancelled),
        cmocka_unit_test(an_execution_runs_with_what_its_run_was_when_it_was_recorded),
        cmocka_unit_test(what_was_pinned_outlives_a_restart),
        cmocka_unit_test(what_the_run_does_not_want_retried_is_not),
        cmocka_unit_test(a_backfill_runs_each_slot_of_its_range_once_so_many_at_a_time),
        cmocka_unit_test(a_backfill_yields_to_live_slots),
        cmocka_unit_test(a_backfill_goes_on_after_a_restart_where_it_was),
        cmocka_unit_test(a_cancelled_backfill_starts_nothing_more_and_ends_what_runs),
        cmocka_unit_test(a_backfill_of_a_disabled_run_wakes_it_for_its_own_slots_alone),
        cmocka_unit_test(a_slot_of_a_backfill_is_retried_as_one_of_it),
        cmocka_unit_test(a_backfill_goes_by_what_the_schedule_has_become),
        cmocka_unit_test(deleting_a_run_ends_its_backfills),
        cmocka_unit_test(a_backfill_whose_slots_are_all_recorded_can_be_cancelled_after_a_restart),
        cmocka_unit_test(a_backfill_ends_where_the_schedule_that_was_changed_has_no_more_slots),
        cmocka_unit_test(the_last_slot_of_a_backfill_may_be_the_schedules_last),
        cmocka_unit_test(a_backfill_that_is_cancelled_beside_its_record_stays_cancelled),
        cmocka_unit_test(a_backfill_whose_record_is_refused_goes_on),
        cmocka_unit_test(a_backfill_that_comes_after_its_run_was_deleted_starts_nothing),
        cmocka_unit_test(what_cannot_be_compiled_is_refused_and_nothing_is_left_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
