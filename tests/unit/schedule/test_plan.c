/* The plan under a clock that the test turns by hand, with a world that answers at once or on demand. */
#include "schedule/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEDGER_MAXIMUM = 4096 };

struct ledger_row {
    int64_t run_key;
    struct wall_time slot;
    enum execution_status status;
    enum execution_trigger trigger;
    uint32_t attempt;
    int64_t key;
    int64_t blocked_by;
    uint64_t missed_count;
    struct wall_time missed_to;
};

/* The world that the plan acts on: a store that is an array, and a dispatcher that runs until told to end. */
struct world {
    struct plan plan;
    struct wall_time now;
    int64_t last_key;
    struct ledger_row ledger[LEDGER_MAXIMUM];
    size_t ledger_count;
    struct plan_record *pending[64]; /* records that the store has not answered yet */
    size_t pending_count;
    bool store_answers;
    enum error_kind store_failure; /* what it answers with */
    struct plan_execution *running[LEDGER_MAXIMUM];
    size_t running_count;
    size_t cancel_count;
    uint64_t random;
    struct wall_time stored_next_run;
    bool stored_disabled;
};

static int64_t world_new_key(void *context, struct wall_time now) {
    (void)now;
    return ++((struct world *)context)->last_key;
}

static uint64_t world_random(void *context) { return ((struct world *)context)->random; }

static struct plan_execution *world_make(void *context, void *waiter) {
    (void)context;
    (void)waiter;
    return must_alloc_zeroed(1, sizeof(struct plan_execution));
}

static void world_free(void *context, struct plan_execution *execution) {
    (void)context;
    free(execution);
}

static struct ledger_row *find_row(struct world *world, int64_t key) {
    for (size_t i = 0; i < world->ledger_count; i++) {
        if (world->ledger[i].key == key) {
            return &world->ledger[i];
        }
    }
    return NULL;
}

static void add_row(struct world *world, const struct execution *execution) {
    assert_true(world->ledger_count < LEDGER_MAXIMUM);
    for (size_t i = 0; i < world->ledger_count; i++) {
        struct ledger_row *row = &world->ledger[i];
        bool same = row->run_key == execution->run_key &&
                    row->slot.us == execution->scheduled_for.us &&
                    row->attempt == execution->attempt && row->trigger != TRIGGER_MANUAL &&
                    execution->trigger != TRIGGER_MANUAL;
        assert_false(same); /* no slot twice */
    }
    world->ledger[world->ledger_count++] = (struct ledger_row){
        .run_key = execution->run_key,
        .slot = execution->scheduled_for,
        .status = execution->status,
        .trigger = execution->trigger,
        .attempt = execution->attempt,
        .key = execution->key,
        .blocked_by = execution->blocked_by,
        .missed_count = execution->missed_count,
        .missed_to = execution->missed_to,
    };
}

static void store_answer(struct world *world, struct plan_record *record) {
    if (world->store_failure == ERROR_NONE) {
        for (size_t i = 0; i < record->execution_count; i++) {
            add_row(world, &record->executions[i]);
        }
        if (record->advances) {
            world->stored_next_run = record->next_run;
            world->stored_disabled = record->disables;
        }
    }
    plan_recorded(&world->plan, record, world->store_failure, world->now);
}

static void world_record(void *context, struct plan_record *record) {
    struct world *world = context;
    assert_true(world->pending_count < COUNT_OF(world->pending));
    world->pending[world->pending_count++] = record;
}

static void world_start(void *context, struct plan_execution *execution, struct wall_time now) {
    struct world *world = context;
    struct ledger_row *row = find_row(world, execution->key);
    assert_non_null(row);
    assert_int_equal(row->status, EXECUTION_QUEUED);
    row->status = EXECUTION_RUNNING;
    plan_started(&world->plan, execution, ERROR_NONE, now);
}

static void world_dispatch(void *context, struct plan_execution *execution) {
    struct world *world = context;
    struct ledger_row *row = find_row(world, execution->key);
    /* Nothing runs without a record of it on disk. */
    assert_non_null(row);
    assert_int_equal(row->status, EXECUTION_RUNNING);
    world->running[world->running_count++] = execution;
}

static void world_cancel(void *context, struct plan_execution *execution) {
    (void)execution;
    ((struct world *)context)->cancel_count++;
}

static void world_finish(void *context, struct plan_execution *execution,
                         enum execution_status status, const struct error *err,
                         struct plan_execution *retry) {
    struct world *world = context;
    (void)err;
    struct ledger_row *row = find_row(world, execution->key);
    assert_non_null(row);
    row->status = status;
    if (retry != NULL) {
        struct execution recorded = {.key = retry->key,
                                     .run_key = row->run_key,
                                     .scheduled_for = retry->slot,
                                     .attempt = retry->attempt,
                                     .trigger = TRIGGER_RETRY,
                                     .status = EXECUTION_QUEUED};
        add_row(world, &recorded);
        plan_retry_recorded(&world->plan, retry, world->now);
    }
    free(execution);
}

static struct wall_time at(const char *text) {
    struct wall_time time;
    struct error err;
    assert_true(wall_time_parse(text, &time, &err));
    return time;
}

static void settle(struct world *world) {
    while (world->store_answers && world->pending_count > 0) {
        struct plan_record *record = world->pending[0];
        memmove(world->pending, world->pending + 1,
                --world->pending_count * sizeof world->pending[0]);
        store_answer(world, record);
    }
    plan_check(&world->plan);
}

/* Turns the clock to `now` in one go and lets the plan and the store do their work. */
static void turn_to(struct world *world, struct wall_time now) {
    world->now = now;
    for (;;) {
        plan_tick(&world->plan, now);
        if (world->pending_count == 0 || !world->store_answers) {
            break;
        }
        settle(world);
        if (world->store_failure != ERROR_NONE) {
            break;
        }
    }
    plan_check(&world->plan);
}

/* Walks the clock to `now`, stopping at each time the plan wants to be woken. */
static void walk_to(struct world *world, struct wall_time now) {
    for (;;) {
        struct wall_time wake = plan_next_wake(&world->plan);
        if (wall_time_is_none(wake) || wake.us > now.us) {
            break;
        }
        turn_to(world, (struct wall_time){MAX_OF(wake.us, world->now.us)});
    }
    turn_to(world, now);
}

static void end_running(struct world *world, size_t index, enum execution_status status,
                        enum error_kind kind) {
    struct plan_execution *execution = world->running[index];
    memmove(&world->running[index], &world->running[index + 1],
            (--world->running_count - index) * sizeof world->running[0]);
    struct error err;
    error_set(&err, kind, "test");
    plan_finished(&world->plan, execution, status,
                  status == EXECUTION_SUCCEEDED ? NULL : &err, world->now);
    turn_to(world, world->now);
}

static struct run make_run(const char *schedule) {
    struct run run = run_defaults();
    run.key = 7;
    run.revision = 1;
    run.owner = "owner";
    run.model_name = "model";
    run.schedule = schedule;
    return run;
}

static struct plan_entry *entry_of(const struct run *run) {
    struct plan_entry *entry;
    struct error err;
    assert_true(plan_entry_new(run, &entry, &err));
    return entry;
}

static struct world *new_world(const char *now) {
    struct world *world = must_alloc_zeroed(1, sizeof *world);
    world->now = at(now);
    world->store_answers = true;
    plan_init(&world->plan, &(struct plan_effects){.context = world,
                                                   .new_key = world_new_key,
                                                   .random = world_random,
                                                   .make_execution = world_make,
                                                   .free_execution = world_free,
                                                   .record = world_record,
                                                   .start = world_start,
                                                   .dispatch = world_dispatch,
                                                   .cancel = world_cancel,
                                                   .finish = world_finish});
    return world;
}

static void free_world(struct world *world) {
    for (size_t i = 0; i < world->pending_count; i++) {
        free(world->pending[i]);
    }
    plan_fini(&world->plan);
    free(world);
}

/* A world with one run that is due every minute from 00:01, watched since 00:00. */
static struct world *minutely(enum overlap_policy overlap, enum catchup_policy catchup) {
    struct world *world = new_world("2027-01-01T00:00:00Z");
    struct run run = make_run("* * * * *");
    run.overlap = overlap;
    run.catchup = catchup;
    run.next_run = at("2027-01-01T00:01:00Z");
    plan_put(&world->plan, entry_of(&run));
    plan_begin(&world->plan, world->now);
    return world;
}

static void a_slot_fires_at_its_time_and_once(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:00:59.999999Z"));
    assert_int_equal(world->ledger_count, 0);
    walk_to(world, at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].status, EXECUTION_RUNNING);
    assert_int_equal(world->ledger[0].trigger, TRIGGER_SCHEDULE);
    assert_int_equal(world->stored_next_run.us, at("2027-01-01T00:02:00Z").us);
    walk_to(world, at("2027-01-01T00:01:30Z"));
    assert_int_equal(world->ledger_count, 1);
    end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger[0].status, EXECUTION_SUCCEEDED);
    free_world(world);
}

static void every_slot_of_a_day_ends_in_exactly_one_record(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    for (int minute = 1; minute <= 1440; minute++) {
        walk_to(world, (struct wall_time){at("2027-01-01T00:00:00Z").us +
                                          INT64_C(60) * minute * US_PER_SECOND});
        /* every third one is slow and is in the way of the next */
        if (minute % 3 != 0 && world->running_count > 0) {
            end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
        }
    }
    assert_int_equal(world->ledger_count, 1440);
    free_world(world);
}

static void overlap_skip_records_what_was_in_the_way(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].status, EXECUTION_SKIPPED);
    assert_int_equal(world->ledger[1].blocked_by, world->ledger[0].key);
    free_world(world);
}

static void overlap_queue_one_lets_one_wait_and_skips_the_rest(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_QUEUE_ONE, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:03:00Z"));
    assert_int_equal(world->ledger_count, 3);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    assert_int_equal(world->ledger[2].status, EXECUTION_SKIPPED);
    end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->ledger[1].status, EXECUTION_RUNNING);
    free_world(world);
}

static void overlap_queue_all_keeps_the_order(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_QUEUE_ALL, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:04:00Z"));
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(world->running_count, 1);
        assert_int_equal(world->running[0]->key, world->ledger[i].key);
        end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    }
    assert_int_equal(world->running_count, 0);
    free_world(world);
}

static void overlap_cancel_running_ends_the_old_and_then_starts_the_new(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_CANCEL_RUNNING, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->cancel_count, 1);
    assert_int_equal(world->running_count, 1);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    end_running(world, 0, EXECUTION_CANCELLED, ERROR_CANCELLED);
    assert_int_equal(world->ledger[0].status, EXECUTION_CANCELLED);
    assert_int_equal(world->ledger[1].status, EXECUTION_RUNNING);
    free_world(world);
}

static void overlap_allow_runs_side_by_side(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_ALLOW, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:03:00Z"));
    assert_int_equal(world->running_count, 3);
    free_world(world);
}

/* The process starts at 10:00:30 and finds that the run was next due at 00:01. */
static struct world *after_downtime(enum catchup_policy catchup, int64_t window_s) {
    struct world *world = new_world("2027-01-01T10:00:30Z");
    struct run run = make_run("* * * * *");
    run.catchup = catchup;
    run.catchup_window.us = window_s * US_PER_SECOND;
    run.next_run = at("2027-01-01T00:01:00Z");
    plan_put(&world->plan, entry_of(&run));
    plan_begin(&world->plan, world->now);
    turn_to(world, world->now);
    return world;
}

static void catchup_latest_fires_the_newest_and_records_the_rest_as_one_gap(void **state) {
    (void)state;
    struct world *world = after_downtime(CATCHUP_LATEST, 3600);
    assert_int_equal(world->ledger_count, 2);
    struct ledger_row *missed = &world->ledger[0];
    assert_int_equal(missed->status, EXECUTION_MISSED);
    assert_int_equal(missed->slot.us, at("2027-01-01T00:01:00Z").us);
    assert_int_equal(missed->missed_to.us, at("2027-01-01T09:59:00Z").us);
    assert_int_equal(missed->missed_count, 599);
    assert_int_equal(world->ledger[1].status, EXECUTION_RUNNING);
    assert_int_equal(world->ledger[1].trigger, TRIGGER_CATCHUP);
    assert_int_equal(world->ledger[1].slot.us, at("2027-01-01T10:00:00Z").us);
    assert_int_equal(world->stored_next_run.us, at("2027-01-01T10:01:00Z").us);
    free_world(world);
}

static void catchup_none_records_all_as_missed(void **state) {
    (void)state;
    struct world *world = after_downtime(CATCHUP_NONE, 3600);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].missed_count, 600);
    assert_int_equal(world->running_count, 0);
    free_world(world);
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
        assert_int_equal(world->running[0]->slot.us, at(expected[i]).us);
        end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    }
    assert_int_equal(world->running_count, 0);
    assert_int_equal(world->ledger_count, 4);
    free_world(world);
}

static void a_slot_older_than_the_window_is_missed_not_fired(void **state) {
    (void)state;
    struct world *world = after_downtime(CATCHUP_LATEST, 10);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].missed_count, 600);
    free_world(world);
}

static void a_step_of_the_clock_forward_is_downtime(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_SKIP, CATCHUP_NONE);
    world->now = at("2027-01-01T05:00:30Z");
    plan_clock_stepped(&world->plan, world->now);
    turn_to(world, world->now);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].missed_count, 300);
    free_world(world);
}

static void a_step_of_the_clock_back_never_fires_a_slot_again(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_ALLOW, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:05:00Z"));
    assert_int_equal(world->ledger_count, 5);
    walk_to(world, at("2027-01-01T00:01:00Z"));
    walk_to(world, at("2027-01-01T00:05:59Z"));
    assert_int_equal(world->ledger_count, 5); /* add_row would also refuse a double */
    walk_to(world, at("2027-01-01T00:06:00Z"));
    assert_int_equal(world->ledger_count, 6);
    free_world(world);
}

static void nothing_starts_before_its_record_is_on_disk(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world->store_answers = false;
    walk_to(world, at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->pending_count, 1);
    assert_int_equal(world->running_count, 0);
    world->store_answers = true;
    settle(world);
    assert_int_equal(world->running_count, 1);
    free_world(world);
}

static void a_slot_that_the_store_could_not_take_is_tried_again(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world->store_failure = ERROR_STORE;
    walk_to(world, at("2027-01-01T00:01:00Z"));
    assert_int_equal(world->ledger_count, 0);
    assert_int_equal(plan_next_wake(&world->plan).us, at("2027-01-01T00:01:01Z").us);
    world->store_failure = ERROR_NONE;
    walk_to(world, at("2027-01-01T00:01:01Z"));
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].slot.us, at("2027-01-01T00:01:00Z").us);
    free_world(world);
}

static void a_slot_that_has_its_record_already_only_moves_the_schedule_on(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    world->store_answers = false;
    walk_to(world, at("2027-01-01T00:01:00Z"));
    struct plan_record *record = world->pending[0];
    world->pending_count = 0;
    plan_recorded(&world->plan, record, ERROR_CONFLICT, world->now);
    assert_int_equal(world->pending_count, 1);
    assert_int_equal(world->pending[0]->execution_count, 0);
    assert_true(world->pending[0]->advances);
    world->store_answers = true;
    settle(world);
    assert_int_equal(world->ledger_count, 0);
    assert_int_equal(plan_next_wake(&world->plan).us, at("2027-01-01T00:02:00Z").us);
    free_world(world);
}

static void a_change_beside_a_record_neither_loses_nor_doubles_the_slot(void **state) {
    (void)state;
    for (int written_first = 0; written_first < 2; written_first++) {
        struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
        world->store_answers = false;
        walk_to(world, at("2027-01-01T00:01:00Z"));
        /* The description was changed meanwhile: revision 2, with the next run as it was read. */
        struct run changed = make_run("* * * * *");
        changed.revision = 2;
        changed.next_run = at("2027-01-01T00:01:00Z");
        world->store_answers = true;
        struct plan_entry *entry = entry_of(&changed);
        plan_entry_set_revision(entry, 2, true);
        if (written_first) {
            settle(world);
            plan_put(&world->plan, entry);
        } else {
            plan_put(&world->plan, entry);
            world->store_failure = ERROR_STALE;
            settle(world);
            world->store_failure = ERROR_NONE;
        }
        walk_to(world, at("2027-01-01T00:01:30Z"));
        assert_int_equal(world->ledger_count, 1);
        assert_int_equal(world->running_count, 1);
        free_world(world);
    }
}

static void a_failure_is_retried_with_backoff_and_then_given_up(void **state) {
    (void)state;
    struct world *world = new_world("2027-01-01T00:00:00Z");
    struct run run = make_run("0 0 1 1 *");
    run.retry = (struct retry_policy){.max_attempts = 2,
                                      .backoff = {10 * US_PER_SECOND},
                                      .max_backoff = {15 * US_PER_SECOND}};
    run.next_run = at("2027-01-01T00:00:00Z");
    plan_put(&world->plan, entry_of(&run));
    plan_begin(&world->plan, world->now);
    world->random = 10 * US_PER_SECOND; /* the whole of the first bound */
    turn_to(world, world->now);
    end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    assert_int_equal(world->ledger[1].attempt, 2);
    walk_to(world, at("2027-01-01T00:00:09.999999Z"));
    assert_int_equal(world->running_count, 0);
    walk_to(world, at("2027-01-01T00:00:10Z"));
    assert_int_equal(world->running_count, 1);
    /* the second bound is 20 s, cut to 15 s; the jitter draws 10 s of it */
    end_running(world, 0, EXECUTION_TIMED_OUT, ERROR_TIMED_OUT);
    walk_to(world, at("2027-01-01T00:00:20Z"));
    assert_int_equal(world->running_count, 1);
    assert_int_equal(world->running[0]->attempt, 3);
    end_running(world, 0, EXECUTION_FAILED, ERROR_WORKER_CRASHED);
    assert_int_equal(world->ledger_count, 3);
    assert_int_equal(plan_next_wake(&world->plan).us, at("2028-01-01T00:00:00Z").us);
    free_world(world);
}

static void what_the_model_itself_refuses_is_not_retried(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:01:00Z"));
    end_running(world, 0, EXECUTION_FAILED, ERROR_MODEL_FAILED);
    assert_int_equal(world->ledger_count, 1);
    free_world(world);
}

static struct execution left_behind(enum execution_status status, uint32_t attempt,
                                    enum execution_trigger trigger) {
    return (struct execution){.key = 1000,
                              .run_key = 7,
                              .model_name = "model",
                              .trigger = trigger,
                              .attempt = attempt,
                              .status = status,
                              .scheduled_for = at("2026-12-31T23:59:00Z")};
}

static struct world *restarted(uint32_t max_attempts, const struct execution *left) {
    struct world *world = new_world("2027-01-01T00:00:00Z");
    world->last_key = 1000;
    struct run run = make_run("* * * * *");
    run.retry.max_attempts = max_attempts;
    run.next_run = at("2027-01-01T00:01:00Z");
    plan_put(&world->plan, entry_of(&run));
    add_row(world, left);
    plan_adopt(&world->plan, NULL, left);
    plan_begin(&world->plan, world->now);
    turn_to(world, world->now);
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
    free_world(world);
}

static void what_was_interrupted_ends_as_failed_where_at_most_once_is_asked_for(void **state) {
    (void)state;
    struct execution left = left_behind(EXECUTION_RUNNING, 1, TRIGGER_SCHEDULE);
    struct world *world = restarted(0, &left);
    assert_int_equal(world->ledger[0].status, EXECUTION_FAILED);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->running_count, 0);
    free_world(world);
}

static void a_trigger_that_was_interrupted_is_not_repeated(void **state) {
    (void)state;
    struct execution left = left_behind(EXECUTION_RUNNING, 1, TRIGGER_MANUAL);
    struct world *world = restarted(5, &left);
    assert_int_equal(world->ledger_count, 1);
    assert_int_equal(world->ledger[0].status, EXECUTION_FAILED);
    free_world(world);
}

static void what_was_queued_starts_after_a_restart(void **state) {
    (void)state;
    struct execution left = left_behind(EXECUTION_QUEUED, 1, TRIGGER_SCHEDULE);
    struct world *world = restarted(0, &left);
    assert_int_equal(world->running_count, 1);
    assert_int_equal(world->ledger[0].status, EXECUTION_RUNNING);
    free_world(world);
}

static void a_trigger_runs_beside_what_runs_and_counts_for_the_next_slot(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:01:00Z"));
    struct run run = make_run("* * * * *");
    plan_trigger(&world->plan, entry_of(&run), NULL, world->now);
    settle(world);
    assert_int_equal(world->running_count, 2);
    assert_int_equal(world->ledger[1].trigger, TRIGGER_MANUAL);
    end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    walk_to(world, at("2027-01-01T00:02:00Z"));
    assert_int_equal(world->ledger[2].status, EXECUTION_SKIPPED);
    assert_int_equal(world->ledger[2].blocked_by, world->ledger[1].key);
    free_world(world);
}

static void a_disabled_run_can_be_triggered_and_is_forgotten_afterwards(void **state) {
    (void)state;
    struct world *world = new_world("2027-01-01T00:00:00Z");
    plan_begin(&world->plan, world->now);
    struct run run = make_run("* * * * *");
    run.enabled = false;
    plan_trigger(&world->plan, entry_of(&run), NULL, world->now);
    settle(world);
    assert_int_equal(world->running_count, 1);
    end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_false(plan_has_run(&world->plan, 7));
    assert_true(wall_time_is_none(plan_next_wake(&world->plan)));
    free_world(world);
}

static void a_disabled_or_deleted_run_fires_no_more(void **state) {
    (void)state;
    for (int deleted = 0; deleted < 2; deleted++) {
        struct world *world = minutely(OVERLAP_SKIP, CATCHUP_LATEST);
        walk_to(world, at("2027-01-01T00:01:00Z"));
        if (deleted) {
            plan_remove(&world->plan, 7, world->now);
        } else {
            struct run run = make_run("* * * * *");
            run.enabled = false;
            run.revision = 2;
            plan_put(&world->plan, entry_of(&run));
        }
        walk_to(world, at("2027-01-01T01:00:00Z"));
        assert_int_equal(world->ledger_count, 1);
        end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
        assert_false(plan_has_run(&world->plan, 7));
        free_world(world);
    }
}

static void deleting_cancels_what_waits(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_QUEUE_ALL, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:03:00Z"));
    plan_remove(&world->plan, 7, world->now);
    assert_int_equal(world->ledger[1].status, EXECUTION_CANCELLED);
    assert_int_equal(world->ledger[2].status, EXECUTION_CANCELLED);
    end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->running_count, 0);
    free_world(world);
}

static void no_slot_lies_outside_start_at_and_end_at(void **state) {
    (void)state;
    struct world *world = new_world("2027-01-01T00:00:00Z");
    struct run run = make_run("* * * * *");
    run.overlap = OVERLAP_ALLOW;
    run.start_at = at("2027-01-01T00:10:00Z");
    run.end_at = at("2027-01-01T00:13:00Z");
    struct plan_entry *entry = entry_of(&run);
    entry->next_slot = timetable_next(&entry->timetable, world->now);
    plan_put(&world->plan, entry);
    plan_begin(&world->plan, world->now);
    walk_to(world, at("2027-01-01T01:00:00Z"));
    assert_int_equal(world->ledger_count, 3);
    assert_int_equal(world->ledger[0].slot.us, run.start_at.us);
    assert_int_equal(world->ledger[2].slot.us, at("2027-01-01T00:12:00Z").us);
    assert_true(wall_time_is_none(world->stored_next_run));
    free_world(world);
}

static void jitter_delays_each_slot_and_never_reaches_the_next(void **state) {
    (void)state;
    struct world *world = new_world("2027-01-01T00:00:00Z");
    struct run run = make_run("* * * * *");
    run.overlap = OVERLAP_ALLOW;
    run.jitter.us = 600 * US_PER_SECOND;
    run.next_run = at("2027-01-01T00:01:00Z");
    plan_put(&world->plan, entry_of(&run));
    plan_begin(&world->plan, world->now);
    int64_t delays_us = 0;
    for (int minute = 1; minute <= 100; minute++) {
        int64_t slot_us = at("2027-01-01T00:00:00Z").us + INT64_C(60) * minute * US_PER_SECOND;
        struct wall_time wake = plan_next_wake(&world->plan);
        assert_true(wake.us >= slot_us && wake.us < slot_us + 60 * US_PER_SECOND);
        delays_us += wake.us - slot_us;
        turn_to(world, wake);
        assert_int_equal(world->ledger_count, minute);
        assert_int_equal(world->ledger[minute - 1].slot.us, slot_us);
        assert_int_equal(world->ledger[minute - 1].trigger, TRIGGER_SCHEDULE);
    }
    assert_true(delays_us > 1000 * US_PER_SECOND);
    free_world(world);
}

static void after_downtime_a_slot_still_waits_for_its_jitter(void **state) {
    (void)state;
    struct world *world = new_world("2027-01-01T10:00:00Z");
    struct run run = make_run("0 * * * *");
    run.jitter.us = 3600 * US_PER_SECOND;
    run.next_run = at("2027-01-01T08:00:00Z");
    plan_put(&world->plan, entry_of(&run));
    plan_begin(&world->plan, world->now);
    turn_to(world, world->now);
    /* 08:00 and 09:00 are caught up with; 10:00 is due somewhat later */
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].slot.us, at("2027-01-01T09:00:00Z").us);
    end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    struct wall_time wake = plan_next_wake(&world->plan);
    assert_true(wake.us > world->now.us && wake.us < at("2027-01-01T11:00:00Z").us);
    turn_to(world, wake);
    assert_int_equal(world->ledger[2].slot.us, at("2027-01-01T10:00:00Z").us);
    assert_int_equal(world->ledger[2].trigger, TRIGGER_SCHEDULE);
    free_world(world);
}

static void a_one_shot_run_fires_once_and_is_disabled(void **state) {
    (void)state;
    struct world *world = new_world("2027-01-01T00:00:00Z");
    struct run run = make_run("@at 2027-01-01T09:00:00");
    run.next_run = at("2027-01-01T09:00:00Z");
    plan_put(&world->plan, entry_of(&run));
    plan_begin(&world->plan, world->now);
    walk_to(world, at("2027-01-01T09:00:00Z"));
    assert_int_equal(world->ledger_count, 1);
    assert_true(world->stored_disabled);
    assert_true(wall_time_is_none(world->stored_next_run));
    end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_false(plan_has_run(&world->plan, 7));
    free_world(world);
}

static void draining_starts_nothing_new(void **state) {
    (void)state;
    struct world *world = minutely(OVERLAP_QUEUE_ALL, CATCHUP_LATEST);
    walk_to(world, at("2027-01-01T00:02:00Z"));
    plan_drain(&world->plan);
    assert_true(wall_time_is_none(plan_next_wake(&world->plan)));
    walk_to(world, at("2027-01-01T00:10:00Z"));
    end_running(world, 0, EXECUTION_SUCCEEDED, ERROR_NONE);
    assert_int_equal(world->running_count, 0);
    assert_int_equal(world->ledger_count, 2);
    assert_int_equal(world->ledger[1].status, EXECUTION_QUEUED);
    free_world(world);
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
        cmocka_unit_test(nothing_starts_before_its_record_is_on_disk),
        cmocka_unit_test(a_slot_that_the_store_could_not_take_is_tried_again),
        cmocka_unit_test(a_slot_that_has_its_record_already_only_moves_the_schedule_on),
        cmocka_unit_test(a_change_beside_a_record_neither_loses_nor_doubles_the_slot),
        cmocka_unit_test(a_failure_is_retried_with_backoff_and_then_given_up),
        cmocka_unit_test(what_the_model_itself_refuses_is_not_retried),
        cmocka_unit_test(what_was_interrupted_is_retried_by_policy),
        cmocka_unit_test(what_was_interrupted_ends_as_failed_where_at_most_once_is_asked_for),
        cmocka_unit_test(a_trigger_that_was_interrupted_is_not_repeated),
        cmocka_unit_test(what_was_queued_starts_after_a_restart),
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
