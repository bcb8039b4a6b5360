/* The scheduler does what the clock and its callers ask. */
#include "scheduler_bed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void each_slot_runs_when_the_clock_comes_to_it(void **state) {
    struct bed *bed = *state;
    int64_t run = bed_create(bed, bed_minutely(bed, "line"));
    struct wall_time slot = bed_next_minute(bed);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run, EXECUTION_SUCCEEDED, 1);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run, EXECUTION_SUCCEEDED, 2);
    struct execution *executions;
    assert_int_equal(bed_read_history(bed, run, &executions), 2);
    assert_int_equal(executions[1].scheduled_for.us, slot.us);
    assert_int_equal(executions[0].scheduled_for.us, slot.us + MINUTE_US);
    assert_int_equal(executions[0].model_version, 1);
    assert_non_null(strstr(executions[0].result, "[7.0]"));
}

static void a_clock_that_goes_forward_leaves_a_gap_that_is_told_and_caught_up(void **state) {
    struct bed *bed = *state;
    int64_t run = bed_create(bed, bed_minutely(bed, "line"));
    struct wall_time slot = bed_next_minute(bed);
    /* The lid was closed for ten minutes: the monotonic clock stood still. */
    bed_step(bed, 10 * MINUTE_US);
    bed_wait_for(bed, run, EXECUTION_SUCCEEDED, 1);
    struct execution *executions;
    assert_int_equal(bed_read_history(bed, run, &executions), 2);
    assert_int_equal(executions[0].trigger, TRIGGER_CATCHUP);
    assert_int_equal(executions[0].scheduled_for.us, slot.us + INT64_C(9) * MINUTE_US);
    assert_int_equal(executions[1].status, EXECUTION_MISSED);
    assert_int_equal(executions[1].missed_count, 9);
    assert_int_equal(executions[1].missed_from.us, slot.us);
}

static void a_clock_that_goes_back_fires_nothing_again(void **state) {
    struct bed *bed = *state;
    int64_t run = bed_create(bed, bed_minutely(bed, "line"));
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run, EXECUTION_SUCCEEDED, 1);
    bed_step(bed, -5 * MINUTE_US);
    for (int minute = 0; minute < 5; minute++) {
        bed_pass(bed, MINUTE_US);
    }
    /* Back where it was: only now the next one comes. */
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run, EXECUTION_SUCCEEDED, 2);
    assert_int_equal(bed_count_all(bed, run), 2);
}

static void a_trigger_waits_for_its_result(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "line");
    bed_create(bed, run);
    struct waiter answer = bed_take(bed_send_trigger(bed, &run, "{\"data\":[[10.0]]}", true));
    assert_true(answer.ok);
    assert_int_equal(answer.execution.status, EXECUTION_SUCCEEDED);
    assert_int_equal(answer.execution.trigger, TRIGGER_MANUAL);
    assert_non_null(strstr(answer.result, "[21.0]"));
}

static void a_trigger_that_does_not_wait_is_answered_when_it_is_recorded(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "endless");
    bed_create(bed, run);
    struct waiter answer = bed_take(bed_send_trigger(bed, &run, NULL, false));
    assert_true(answer.ok);
    assert_int_equal(answer.execution.status, EXECUTION_RUNNING);
    answer = bed_take(bed_send_cancel(bed, run.key, answer.execution.key));
    assert_int_equal(answer.execution.status, EXECUTION_CANCELLED);
}

static void a_trigger_of_a_disabled_run_runs(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "line");
    run.enabled = false;
    run.next_run = WALL_TIME_NONE;
    bed_create(bed, run);
    assert_int_equal(bed_take(bed_send_trigger(bed, &run, NULL, true)).execution.status,
                     EXECUTION_SUCCEEDED);
}

static void a_trigger_of_a_run_that_was_deleted_meanwhile_is_not_found(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "line");
    run.key = world_key(&bed->world);
    struct waiter answer = bed_take(bed_send_trigger(bed, &run, NULL, true));
    assert_false(answer.ok);
    assert_int_equal(answer.kind, ERROR_NOT_FOUND);
}

/* True: the second cancel came before the first had done its work, and was told the same. */
static bool cancel_twice(struct bed *bed, const struct run *run) {
    struct waiter *trigger = bed_send_trigger(bed, run, NULL, true);
    bed_wait_for(bed, run->key, EXECUTION_RUNNING, 1);
    int64_t key = bed_newest(bed, run->key).key;
    struct waiter *first = bed_send_cancel(bed, run->key, key);
    struct waiter *second = bed_send_cancel(bed, run->key, key);
    assert_int_equal(bed_take(trigger).execution.status, EXECUTION_CANCELLED);
    assert_int_equal(bed_take(first).execution.status, EXECUTION_CANCELLED);
    struct waiter told = bed_take(second);
    assert_true(told.ok ? told.execution.status == EXECUTION_CANCELLED
                        : told.kind == ERROR_NOT_FOUND);
    struct waiter late = bed_take(bed_send_cancel(bed, run->key, key));
    assert_false(late.ok);
    assert_int_equal(late.kind, ERROR_NOT_FOUND);
    return told.ok;
}

static void what_runs_can_be_cancelled_and_both_who_wait_are_told(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "endless");
    bed_create(bed, run);
    bool both = false;
    for (int tries = 0; tries < 50 && !both; tries++) {
        both = cancel_twice(bed, &run);
    }
    assert_true(both);
}

static void a_failure_is_retried_and_what_the_model_refuses_is_not(void **state) {
    struct bed *bed = *state;
    struct run slow = bed_minutely(bed, "endless");
    slow.timeout = (struct duration){100 * US_PER_MS};
    slow.retry.max_attempts = 1;
    struct run picky = bed_minutely(bed, "picky");
    picky.retry.max_attempts = 1;
    bed_create(bed, slow);
    bed_create(bed, picky);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, slow.key, EXECUTION_TIMED_OUT, 2);
    bed_wait_for(bed, picky.key, EXECUTION_FAILED, 1);
    struct execution *executions;
    assert_int_equal(bed_read_history(bed, slow.key, &executions), 2);
    assert_int_equal(executions[0].trigger, TRIGGER_RETRY);
    assert_int_equal(executions[0].attempt, 2);
    assert_int_equal(bed_count_all(bed, picky.key), 1);
}

static void a_slow_model_gets_as_many_at_once_as_its_settings_say(void **state) {
    struct bed *bed = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/endless/model.json", bed->models);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs("{\"max_concurrency\": 2}", file);
    fclose(file);
    bed_restart(bed, 0);
    struct run run = bed_minutely(bed, "endless");
    run.overlap = OVERLAP_ALLOW;
    bed_create(bed, run);
    struct run brief = bed_minutely(bed, "endless");
    brief.timeout = (struct duration){US_PER_SECOND};
    bed_create(bed, brief);
    /* From then on it is known as slow. */
    assert_true(bed_take(bed_send_trigger(bed, &brief, NULL, true)).ok);
    for (int i = 0; i < 3; i++) {
        assert_true(bed_take(bed_send_trigger(bed, &run, NULL, false)).ok);
    }
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 2);
    bed_wait_for(bed, run.key, EXECUTION_QUEUED, 1);
    assert_int_equal(unlink(path), 0);
    bed_restart(bed, 0);
}

static void a_change_is_followed_and_a_deletion_ends_it(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "line");
    bed_create(bed, run);
    run.schedule = "*/2 * * * *";
    run.next_run.us += run.next_run.us / MINUTE_US % 2 * MINUTE_US;
    struct store_write update = {.kind = STORE_UPDATE_RUN,
                                 .run = &run,
                                 .expected_revision = 1,
                                 .changed_at = {run.next_run.us - 1}};
    world_write(&bed->world, &update);
    struct plan_entry *entry = bed_entry_of(&run);
    run.revision = update.out_revision;
    assert_int_equal(update.out_next_run.us, run.next_run.us);
    plan_entry_set_stored(entry, &run, false);
    scheduler_put_run(bed->scheduler, entry);
    bed_pass(bed, 2 * MINUTE_US);
    bed_wait_for(bed, run.key, EXECUTION_SUCCEEDED, 1);
    bed_pass(bed, MINUTE_US);
    struct store_write deletion = {.kind = STORE_DELETE_RUN, .run_key = run.key};
    world_write(&bed->world, &deletion);
    scheduler_remove_run(bed->scheduler, run.key);
    bed_pass(bed, 10 * MINUTE_US);
    /* Another run shows that the minutes have come. */
    struct run other = bed_minutely(bed, "line");
    bed_create(bed, other);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, other.key, EXECUTION_SUCCEEDED, 1);
    assert_int_equal(bed_count_all(bed, run.key), 1);
}

static void a_backfill_runs_its_slots_and_can_be_cancelled(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "line");
    bed_create(bed, run);
    struct wall_time from = {run.next_run.us - INT64_C(10) * MINUTE_US};
    struct backfill backfill = {.key = world_key(&bed->world),
                                .run_key = run.key,
                                .from = from,
                                .to = {from.us + INT64_C(4) * MINUTE_US},
                                .next_slot = from,
                                .slot_count = 4,
                                .parallelism = 2,
                                .created_at = world_now(&bed->world),
                                .cancelled_at = WALL_TIME_NONE};
    struct store_write write = {.kind = STORE_CREATE_BACKFILL, .backfill = &backfill};
    world_write(&bed->world, &write);
    scheduler_put_backfill(bed->scheduler, &backfill, bed_entry_of(&run));
    bed_wait_for(bed, run.key, EXECUTION_SUCCEEDED, 4);
    struct execution last = bed_newest(bed, run.key);
    assert_int_equal(last.trigger, TRIGGER_BACKFILL);
    assert_int_equal(last.backfill_key, backfill.key);

    struct run slow = bed_minutely(bed, "endless");
    bed_create(bed, slow);
    backfill.key = world_key(&bed->world);
    backfill.run_key = slow.key;
    world_write(&bed->world, &write);
    scheduler_put_backfill(bed->scheduler, &backfill, bed_entry_of(&slow));
    bed_wait_for(bed, slow.key, EXECUTION_RUNNING, 1);
    backfill.cancelled_at = world_now(&bed->world);
    struct store_write cancel = {.kind = STORE_CANCEL_BACKFILL, .backfill = &backfill};
    world_write(&bed->world, &cancel);
    scheduler_cancel_backfill(bed->scheduler, slow.key, backfill.key);
    bed_wait_for(bed, slow.key, EXECUTION_CANCELLED, 1);
}

/* --- the end, and the next beginning ----------------------------------------------------------------------- */

static void what_is_cut_off_by_the_drain_limit_is_settled_by_the_next_start(void **state) {
    struct bed *bed = *state;
    scheduler_stop(bed->scheduler);
    scheduler_free(bed->scheduler);
    bed_start_scheduler(bed, 0); /* no patience */
    struct run run = bed_minutely(bed, "endless");
    bed_create(bed, run);
    struct run disabled = bed_minutely(bed, "endless");
    disabled.enabled = false;
    disabled.next_run = WALL_TIME_NONE;
    bed_create(bed, disabled);
    struct run gone = bed_minutely(bed, "endless");
    bed_create(bed, gone);
    struct waiter *waits = bed_send_trigger(bed, &run, NULL, true);
    bed_take(bed_send_trigger(bed, &disabled, NULL, false));
    bed_take(bed_send_trigger(bed, &gone, NULL, false));
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    struct store_write deletion = {.kind = STORE_DELETE_RUN, .run_key = gone.key};
    world_write(&bed->world, &deletion); /* the scheduler has not heard of it */
    bed_restart(bed, 60 * US_PER_SECOND);
    struct waiter answer = bed_take(waits);
    assert_false(answer.ok);
    assert_int_equal(answer.kind, ERROR_UNAVAILABLE);
    const int64_t keys[] = {run.key, disabled.key, gone.key};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        bed_wait_for(bed, keys[i], EXECUTION_FAILED, 1);
        assert_string_equal(bed_newest(bed, keys[i]).error_type, "Interrupted");
    }
}

static void a_backfill_goes_on_after_the_next_start_also_of_a_disabled_run(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "line");
    run.enabled = false;
    run.next_run = WALL_TIME_NONE;
    bed_create(bed, run);
    struct wall_time from = {bed_next_minute(bed).us - INT64_C(10) * MINUTE_US};
    struct backfill backfill = {.key = world_key(&bed->world),
                                .run_key = run.key,
                                .from = from,
                                .to = {from.us + INT64_C(3) * MINUTE_US},
                                .next_slot = from,
                                .slot_count = 3,
                                .parallelism = 1,
                                .created_at = world_now(&bed->world),
                                .cancelled_at = WALL_TIME_NONE};
    struct store_write write = {.kind = STORE_CREATE_BACKFILL, .backfill = &backfill};
    world_write(&bed->world, &write); /* the process ended before the scheduler heard of it */
    bed_restart(bed, 60 * US_PER_SECOND);
    bed_wait_for(bed, run.key, EXECUTION_SUCCEEDED, 3);
    assert_int_equal(bed_count_all(bed, run.key), 3);
}

static void a_run_whose_zone_is_gone_is_told_and_harms_no_other(void **state) {
    struct bed *bed = *state;
    struct run bad = bed_minutely(bed, "line");
    bed_create(bed, bad);
    struct run good = bed_minutely(bed, "line");
    bed_create(bed, good);
    char sql[128];
    snprintf(sql, sizeof sql, "UPDATE runs SET zone_name = 'No/Where' WHERE key = %lld",
             (long long)bad.key);
    bed_execute(bed, sql);
    bed_restart(bed, 60 * US_PER_SECOND);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, good.key, EXECUTION_SUCCEEDED, 1);
    assert_int_equal(bed_count_all(bed, bad.key), 0);
}

static void what_comes_after_the_end_is_answered_and_freed(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "line");
    bed_create(bed, run);
    scheduler_stop(bed->scheduler);
    struct waiter *trigger = bed_send_trigger(bed, &run, NULL, true);
    struct waiter *cancel = bed_send_cancel(bed, run.key, 1);
    struct backfill backfill = {.key = 1, .run_key = run.key};
    scheduler_put_run(bed->scheduler, bed_entry_of(&run));
    scheduler_remove_run(bed->scheduler, run.key);
    scheduler_zones_changed(bed->scheduler);
    scheduler_put_backfill(bed->scheduler, &backfill, bed_entry_of(&run));
    scheduler_cancel_backfill(bed->scheduler, run.key, 1);
    scheduler_stop(bed->scheduler); /* twice is once */
    store_stop(bed->world.store);
    scheduler_free(bed->scheduler);
    bed->scheduler = NULL;
    assert_int_equal(bed_take(trigger).kind, ERROR_UNAVAILABLE);
    assert_int_equal(bed_take(cancel).kind, ERROR_UNAVAILABLE);
    scheduler_free(NULL);
}

#define SCHEDULER_TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCHEDULER_TEST(each_slot_runs_when_the_clock_comes_to_it),
        SCHEDULER_TEST(a_clock_that_goes_forward_leaves_a_gap_that_is_told_and_caught_up),
        SCHEDULER_TEST(a_clock_that_goes_back_fires_nothing_again),
        SCHEDULER_TEST(a_trigger_waits_for_its_result),
        SCHEDULER_TEST(a_trigger_that_does_not_wait_is_answered_when_it_is_recorded),
        SCHEDULER_TEST(a_trigger_of_a_disabled_run_runs),
        SCHEDULER_TEST(a_trigger_of_a_run_that_was_deleted_meanwhile_is_not_found),
        SCHEDULER_TEST(what_runs_can_be_cancelled_and_both_who_wait_are_told),
        SCHEDULER_TEST(a_failure_is_retried_and_what_the_model_refuses_is_not),
        SCHEDULER_TEST(a_slow_model_gets_as_many_at_once_as_its_settings_say),
        SCHEDULER_TEST(a_change_is_followed_and_a_deletion_ends_it),
        SCHEDULER_TEST(a_backfill_runs_its_slots_and_can_be_cancelled),
        SCHEDULER_TEST(what_is_cut_off_by_the_drain_limit_is_settled_by_the_next_start),
        SCHEDULER_TEST(a_backfill_goes_on_after_the_next_start_also_of_a_disabled_run),
        SCHEDULER_TEST(a_run_whose_zone_is_gone_is_told_and_harms_no_other),
        SCHEDULER_TEST(what_comes_after_the_end_is_answered_and_freed),
    };
    return cmocka_run_group_tests(tests, bed_setup_models, bed_teardown_models);
}
