/* The plan, the disk and crashes: what is not written did not happen, and what was interrupted is settled. */
#include "plan_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void nothing_starts_before_its_record_is_on_disk(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world->store_answers = false;
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->pending_count, 1);
    assert_int_equal(world->running_count, 0);
    world->store_answers = true;
    world_settle(world);
    assert_int_equal(world->running_count, 1);
    world_close(world);
}

static void a_slot_that_the_store_could_not_take_is_tried_again(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world->store_failure = ERROR_STORE;
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->ledger_count, 0);
    assert_int_equal(plan_next_wake(&world->plan).us, time_at("2027-01-01T00:01:01Z").us);
    world->store_failure = ERROR_NONE;
    world_walk_to(world, time_at("2027-01-01T00:01:01Z"));
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].slot.us, time_at("2027-01-01T00:01:00Z").us);
    world_close(world);
}

/* The store answers what waits for it, without a tick after it. */
static void answer_all(struct world *world, enum error_kind failure) {
    world->store_failure = failure;
    world->store_answers = true;
    world_settle(world);
    world->store_answers = false;
}

static void after_a_failure_of_the_store_one_record_is_tried_before_all_others(void **state) {
    (void)state;
    enum { COUNT = 50 };
    struct world *world = world_new("2027-01-01T00:00:30Z");
    for (int64_t key = 1; key <= COUNT; key++) {
        struct run run = world_run("* * * * *");
        run.key = key;
        run.overlap = OVERLAP_ALLOW;
        run.next_run = time_at("2027-01-01T00:01:00Z");
        plan_put(&world->plan, world_entry(&run));
    }
    plan_begin(&world->plan, world->now);
    world->store_answers = false;
    world_turn_to(world, time_at("2027-01-01T00:01:00Z"));
    size_t count = world->pending_count;
    assert_true(count > 1);
    answer_all(world, ERROR_STORE);
    static const char *const again[] = {"2027-01-01T00:01:01Z", "2027-01-01T00:01:02Z",
                                        "2027-01-01T00:01:03Z"};
    for (size_t i = 0; i < COUNT_OF(again); i++) {
        assert_int_equal(plan_next_wake(&world->plan).us, time_at(again[i]).us);
        world_turn_to(world, time_at(again[i]));
        assert_int_equal(world->pending_count, 1);
        world_turn_to(world, time_at(again[i])); /* nothing more before its answer */
        assert_int_equal(world->pending_count, 1);
        answer_all(world, i + 1 < COUNT_OF(again) ? ERROR_STORE : ERROR_NONE);
    }
    world_turn_to(world, world->now);
    assert_int_equal(world->pending_count, count - 1);
    answer_all(world, ERROR_NONE);
    assert_int_equal(world->ledger_count, count);
    world_close(world);
}

/* It works, and says so by the way. */
static void a_store_that_refuses_the_one_record_is_told_all_others(void **state) {
    (void)state;
    static const enum error_kind refusals[] = {ERROR_STALE, ERROR_NOT_FOUND, ERROR_INTERNAL};
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
        struct run other = world_run("* * * * *");
        other.key = 8;
        other.next_run = time_at("2027-01-01T00:01:00Z");
        plan_put(&world->plan, world_entry(&other));
        world->store_answers = false;
        world_turn_to(world, time_at("2027-01-01T00:01:00Z"));
        assert_int_equal(world->pending_count, 2);
        answer_all(world, ERROR_STORE);
        world_turn_to(world, time_at("2027-01-01T00:01:01Z"));
        assert_int_equal(world->pending_count, 1);
        answer_all(world, refusals[i]);
        world_turn_to(world, world->now);
        assert_true(world->pending_count >= 1);
        answer_all(world, ERROR_NONE);
        assert_true(world->ledger_count >= 1);
        world_close(world);
    }
}

static void a_record_that_alone_is_refused_makes_only_its_own_run_wait(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    struct run other = world_run("* * * * *");
    other.key = 8;
    other.next_run = time_at("2027-01-01T00:02:00Z");
    plan_put(&world->plan, world_entry(&other));
    world->store_failure = ERROR_INTERNAL;
    world_walk_to(world, time_at("2027-01-01T00:01:00.5Z"));
    assert_true(wall_time_is_none(world->plan.paused_until));
    assert_int_equal(plan_next_wake(&world->plan).us, time_at("2027-01-01T00:01:01Z").us);
    world->store_failure = ERROR_NONE;
    world_walk_to(world, time_at("2027-01-01T00:01:01Z"));
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].slot.us, time_at("2027-01-01T00:01:00Z").us);
    world_close(world);
}

static void a_slot_that_has_its_record_already_only_moves_the_schedule_on(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world->store_answers = false;
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    struct plan_record *record = world->pending[0];
    world->pending_count = 0;
    plan_recorded(&world->plan, record, ERROR_CONFLICT, world->now);
    assert_int_equal(world->pending_count, 1);
    assert_int_equal(world->pending[0]->execution_count, 0);
    assert_true(world->pending[0]->advances);
    world->store_answers = true;
    world_settle(world);
    assert_int_equal(world->ledger_count, 0);
    assert_int_equal(plan_next_wake(&world->plan).us, time_at("2027-01-01T00:02:00Z").us);
    world_close(world);
}

static void a_change_beside_a_record_neither_loses_nor_doubles_the_slot(void **state) {
    (void)state;
    for (int written_first = 0; written_first < 2; written_first++) {
        struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
        world->store_answers = false;
        world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
        /* The description was changed meanwhile: revision 2, with the next run as it was read. */
        struct run changed = world_run("* * * * *");
        changed.revision = 2;
        changed.next_run = time_at("2027-01-01T00:01:00Z");
        world->store_answers = true;
        struct plan_entry *entry = world_entry(&changed);
        plan_entry_set_stored(entry, &changed, true);
        if (written_first) {
            world_settle(world);
            plan_put(&world->plan, entry);
        } else {
            plan_put(&world->plan, entry);
            world->store_failure = ERROR_STALE;
            world_settle(world);
            world->store_failure = ERROR_NONE;
        }
        world_walk_to(world, time_at("2027-01-01T00:01:30Z"));
        assert_int_equal(world->ledger_count, 1);
        assert_int_equal(world->running_count, 1);
        world_close(world);
    }
}

static struct execution left_behind(enum execution_status status, uint32_t attempt,
                                    enum execution_trigger trigger) {
    return (struct execution){.key = 1000,
                              .run_key = 7,
                              .model_name = "model",
                              .trigger = trigger,
                              .attempt = attempt,
                              .status = status,
                              .scheduled_for = time_at("2026-12-31T23:59:00Z")};
}

static struct world *restarted(uint32_t max_attempts, const struct execution *left) {
    struct world *world = world_new("2027-01-01T00:00:00Z");
    world->last_key = 1000;
    struct run run = world_run("* * * * *");
    run.retry.max_attempts = max_attempts;
    run.next_run = time_at("2027-01-01T00:01:00Z");
    plan_put(&world->plan, world_entry(&run));
    world_add_row(world, left);
    plan_adopt(&world->plan, NULL, left);
    plan_begin(&world->plan, world->now);
    world_turn_to(world, world->now);
    return world;
}

static void what_was_interrupted_is_retried_by_policy(void **state) {
    (void)state;
    struct execution left = left_behind(EXECUTION_RUNNING, 1, TRIGGER_SCHEDULE);
    struct world *world = restarted(1, &left);
    assert_int_equal(world->ledger[0].status, EXECUTION_FAILED);
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].trigger, TRIGGER_RETRY);
    assert_int_equal(world->running_count, 1);
    world_close(world);
}

static void what_was_interrupted_ends_as_failed_where_at_most_once_is_asked_for(void **state) {
    (void)state;
    struct execution left = left_behind(EXECUTION_RUNNING, 1, TRIGGER_SCHEDULE);
    struct world *world = restarted(0, &left);
    assert_int_equal(world->ledger[0].status, EXECUTION_FAILED);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->running_count, 0);
    world_close(world);
}

static void a_trigger_that_was_interrupted_is_not_repeated(void **state) {
    (void)state;
    struct execution left = left_behind(EXECUTION_RUNNING, 1, TRIGGER_MANUAL);
    struct world *world = restarted(5, &left);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].status, EXECUTION_FAILED);
    world_close(world);
}

static void what_was_queued_starts_after_a_restart(void **state) {
    (void)state;
    struct execution left = left_behind(EXECUTION_QUEUED, 1, TRIGGER_SCHEDULE);
    struct world *world = restarted(0, &left);
    assert_int_equal(world->running_count, 1);
    assert_int_equal(world->ledger[0].status, EXECUTION_RUNNING);
    world_close(world);
}

static void next_slots_of_a_zone_that_was_another_are_corrected_so_many_at_a_time(void **state) {
    (void)state;
    enum { COUNT = 2 * PLAN_CORRECTING_MAXIMUM };
    struct world *world = world_new("2027-01-01T00:00:00Z");
    world->concurrency = COUNT;
    for (int64_t key = 1; key <= COUNT; key++) {
        struct run run = world_run("30 * * * *");
        run.key = key;
        run.next_run = time_at("2027-01-01T00:50:00Z");
        plan_put(&world->plan, world_entry(&run));
        plan_correct_next_slot(&world->plan, key, world->now);
    }
    plan_begin(&world->plan, world->now);
    world->store_answers = false;
    world_turn_to(world, world->now);
    assert_int_equal(world->pending_count, PLAN_CORRECTING_MAXIMUM);
    assert_int_equal(world->pending[0]->execution_count, 0); /* no slot lies in it */
    assert_int_equal(world->pending[0]->next_run.us, time_at("2027-01-01T00:30:00Z").us);
    /* What the disk refuses is tried again. */
    world->store_answers = true;
    world->store_failure = ERROR_STORE;
    world_settle(world);
    world->store_failure = ERROR_NONE;
    world_walk_to(world, time_at("2027-01-01T00:29:59Z"));
    assert_int_equal(world->plan.outdated.count, 0);
    assert_int_equal(world->ledger_count, 0);
    world_walk_to(world, time_at("2027-01-01T00:30:00Z"));
    assert_int_equal(world->ledger_count, COUNT);
    world_close(world);
}

/* --- next slots that an earlier process stored by another zone ------------------------------------------ */

/* Stored for 00:01:30, though it is due at each whole minute. */
static struct plan_entry *put_wrong(struct world *world, void (*change)(struct run *run)) {
    struct run run = world_run("* * * * *");
    run.next_run = time_at("2027-01-01T00:01:30Z");
    if (change != NULL) {
        change(&run);
    }
    struct plan_entry *entry = world_entry(&run);
    plan_put(&world->plan, entry);
    return entry;
}

static void disable(struct run *run) { run->enabled = false; }
static void end_it(struct run *run) { run->next_run = WALL_TIME_NONE; }

static void a_next_slot_that_is_none_is_corrected_whatever_else_changes_meanwhile(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    put_wrong(world, NULL);
    plan_correct_next_slot(&world->plan, 7, world->now);
    /* Before it is corrected the run is changed, in something that does not touch when it is due. */
    struct run changed = world_run("* * * * *");
    changed.next_run = time_at("2027-01-01T00:01:30Z");
    changed.priority++;
    changed.revision = 2;
    struct plan_entry *entry = world_entry(&changed);
    plan_entry_set_stored(entry, &changed, true);
    plan_put(&world->plan, entry);
    plan_begin(&world->plan, world->now);
    world_turn_to(world, world->now);
    assert_int_equal(world->stored_next_run.us, time_at("2027-01-01T00:01:00Z").us);
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->ledger[0].slot.us, time_at("2027-01-01T00:01:00Z").us);
    world_close(world);
}

static void what_was_settled_is_not_corrected_into_what_is_due_again(void **state) {
    (void)state;
    struct world *world = world_new("2027-01-01T00:00:00Z");
    put_wrong(world, NULL);
    plan_correct_next_slot(&world->plan, 7, time_at("2027-01-01T00:01:00Z"));
    plan_begin(&world->plan, world->now);
    world_turn_to(world, world->now);
    assert_int_equal(world->stored_next_run.us, time_at("2027-01-01T00:02:00Z").us);
    world_close(world);
}

static void a_run_that_is_not_due_or_not_there_has_nothing_to_correct(void **state) {
    (void)state;
    static void (*const changes[])(struct run * run) = {disable, end_it};
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        struct world *world = world_new("2027-01-01T00:00:00Z");
        put_wrong(world, changes[i]);
        plan_correct_next_slot(&world->plan, 7, world->now);
        plan_correct_next_slot(&world->plan, 8, world->now);
        plan_begin(&world->plan, world->now);
        world_turn_to(world, world->now);
        assert_int_equal(world->plan.outdated.count, 0);
        assert_int_equal(world->stored_next_run.us, 0); /* nothing was written */
        world_close(world);
    }
}

static void a_slot_whose_record_is_on_its_way_is_not_corrected(void **state) {
    (void)state;
    struct world *world = world_minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world->store_answers = false;
    world_walk_to(world, time_at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->pending_count, 1);
    plan_correct_next_slot(&world->plan, 7, time_at("2027-01-01T00:00:30Z"));
    world_turn_to(world, world->now);
    assert_int_equal(world->pending_count, 1);
    world->store_answers = true;
    world_settle(world);
    assert_int_equal(world->stored_next_run.us, time_at("2027-01-01T00:02:00Z").us);
    world_close(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_starts_before_its_record_is_on_disk),
        cmocka_unit_test(a_slot_that_the_store_could_not_take_is_tried_again),
        cmocka_unit_test(after_a_failure_of_the_store_one_record_is_tried_before_all_others),
        cmocka_unit_test(a_store_that_refuses_the_one_record_is_told_all_others),
        cmocka_unit_test(a_record_that_alone_is_refused_makes_only_its_own_run_wait),
        cmocka_unit_test(a_slot_that_has_its_record_already_only_moves_the_schedule_on),
        cmocka_unit_test(a_change_beside_a_record_neither_loses_nor_doubles_the_slot),
        cmocka_unit_test(what_was_interrupted_is_retried_by_policy),
        cmocka_unit_test(what_was_interrupted_ends_as_failed_where_at_most_once_is_asked_for),
        cmocka_unit_test(a_trigger_that_was_interrupted_is_not_repeated),
        cmocka_unit_test(what_was_queued_starts_after_a_restart),
        cmocka_unit_test(next_slots_of_a_zone_that_was_another_are_corrected_so_many_at_a_time),
        cmocka_unit_test(a_next_slot_that_is_none_is_corrected_whatever_else_changes_meanwhile),
        cmocka_unit_test(what_was_settled_is_not_corrected_into_what_is_due_again),
        cmocka_unit_test(a_run_that_is_not_due_or_not_there_has_nothing_to_correct),
        cmocka_unit_test(a_slot_whose_record_is_on_its_way_is_not_corrected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
