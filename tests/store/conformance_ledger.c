#include "conformance_tests.h"

#include "world.h"

#include <stdlib.h>
#include <string.h>

static const int64_t hour_us = 3600 * US_PER_SECOND;

/* --- slots --------------------------------------------------------------------------------------- */

static void a_slot_is_recorded_once_per_attempt(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t other_run_key = world_create_run(world);
    int64_t slot_us = world->now_us;
    struct execution execution = world_execution(world, slot_us, EXECUTION_RUNNING);
    world_record(world, run_key, &execution);
    const enum execution_trigger single[] = {TRIGGER_SCHEDULE, TRIGGER_CATCHUP, TRIGGER_RETRY};
    for (size_t i = 0; i < COUNT_OF(single); i++) {
        execution = world_execution(world, slot_us, EXECUTION_QUEUED);
        execution.trigger = single[i];
        assert_int_equal(world_record_fails(world, run_key, &execution), ERROR_CONFLICT);
    }
    execution.trigger = TRIGGER_RETRY;
    execution.attempt = 2;
    world_record(world, run_key, &execution);
    execution = world_execution(world, slot_us, EXECUTION_QUEUED);
    world_record(world, other_run_key, &execution);
    execution = world_execution(world, slot_us + 1, EXECUTION_QUEUED);
    world_record(world, run_key, &execution);
}

static void triggers_by_hand_and_backfills_may_repeat_a_slot(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    const enum execution_trigger repeatable[] = {TRIGGER_MANUAL, TRIGGER_BACKFILL, TRIGGER_MANUAL,
                                                 TRIGGER_SCHEDULE};
    for (size_t i = 0; i < COUNT_OF(repeatable); i++) {
        struct execution execution = world_execution(world, hour_us, EXECUTION_RUNNING);
        execution.trigger = repeatable[i];
        world_record(world, run_key, &execution);
    }
}

static void an_execution_key_is_taken_once(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution execution = world_execution(world, hour_us, EXECUTION_RUNNING);
    execution.trigger = TRIGGER_MANUAL;
    world_record(world, run_key, &execution);
    assert_int_equal(world_record_fails(world, run_key, &execution), ERROR_CONFLICT);
}

static struct execution missed_execution(struct world *world, int64_t from_us, int64_t to_us) {
    struct execution missed = world_execution(world, from_us, EXECUTION_MISSED);
    missed.trigger = TRIGGER_CATCHUP;
    missed.missed_from = (struct wall_time){from_us};
    missed.missed_to = (struct wall_time){to_us};
    missed.missed_count = 42;
    missed.error_type = "Missed";
    missed.error_message = "42 slots came due while nobody was watching";
    return missed;
}

static void a_gap_and_a_slot_are_recorded_in_one_step(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t slot_us = world->now_us;
    struct store_record record = {.executions = {missed_execution(world, 7, 9)},
                                  .execution_count = 2,
                                  .advances = true,
                                  .next_run = {slot_us + hour_us}};
    record.executions[1] = world_execution(world, slot_us, EXECUTION_RUNNING);
    struct store_write write = {
        .kind = STORE_RECORD, .run_key = run_key, .expected_revision = 1, .record = &record};
    world_write(world, &write);
    struct execution missed = world_get_execution(world, record.executions[0].key);
    assert_int_equal(missed.status, EXECUTION_MISSED);
    assert_int_equal(missed.missed_from.us, 7);
    assert_int_equal(missed.missed_to.us, 9);
    assert_int_equal(missed.missed_count, 42);
    assert_string_equal(missed.error_type, "Missed");
    assert_string_equal(missed.error_message, record.executions[0].error_message);
    assert_true(wall_time_is_none(missed.started_at));
    assert_int_equal(world_get_execution(world, record.executions[1].key).status,
                     EXECUTION_RUNNING);
    assert_int_equal(world_get_run(world, run_key).next_run.us, slot_us + hour_us);
    assert_int_equal(world_get_run(world, run_key).last_run.us, record.executions[1].started_at.us);
}

static void a_refused_step_of_two_changes_nothing(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t slot_us = world->now_us;
    int64_t first_key = world_record_finished(world, run_key, slot_us, EXECUTION_SUCCEEDED);
    struct run before = world_get_run(world, run_key);
    struct store_record record = {.executions = {missed_execution(world, 7, 9)},
                                  .execution_count = 2,
                                  .advances = true,
                                  .next_run = {slot_us + hour_us},
                                  .disables = true};
    record.executions[0].model_name = "a model not heard of before";
    record.executions[1] = world_execution(world, slot_us, EXECUTION_RUNNING);
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    assert_int_equal(world_write_fails(world, &write), ERROR_CONFLICT);
    struct run after = world_get_run(world, run_key);
    assert_int_equal(after.next_run.us, before.next_run.us);
    assert_int_equal(after.last_run.us, before.last_run.us);
    assert_true(after.enabled);
    struct execution *executions;
    size_t count;
    int64_t next_cursor;
    struct error err;
    struct execution_filter filter = {
        .run_key = run_key, .since = WALL_TIME_NONE, .until = WALL_TIME_NONE, .limit = 10};
    assert_true(store_list_executions(world->reader, &filter, &world->arena, &executions, &count,
                                      &next_cursor, &err));
    assert_int_equal(count, 1);
    assert_int_equal(executions[0].key, first_key);
    /* And the first of the two is free to be recorded. */
    world_record(world, run_key, &record.executions[0]);
    assert_string_equal(world_get_execution(world, record.executions[0].key).model_name,
                        "a model not heard of before");
}

static void a_step_checks_the_run_as_the_sender_knew_it(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    world_create(world, &run);
    struct store_write update = {
        .kind = STORE_UPDATE_RUN, .run = &run, .expected_revision = 1, .keeps_next_run = true};
    world_write(world, &update);
    struct store_record record = {
        .executions = {world_execution(world, hour_us, EXECUTION_RUNNING)},
        .execution_count = 1,
        .advances = true,
        .next_run = WALL_TIME_NONE};
    struct store_write write = {
        .kind = STORE_RECORD, .run_key = run.key, .expected_revision = 1, .record = &record};
    assert_int_equal(world_write_fails(world, &write), ERROR_STALE);
    assert_int_equal(world_get_run(world, run.key).next_run.us, run.next_run.us);
    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = run.key};
    world_write(world, &delete);
    assert_int_equal(world_write_fails(world, &write), ERROR_NOT_FOUND);
    write.expected_revision = 0;
    assert_int_equal(world_write_fails(world, &write), ERROR_NOT_FOUND);
    write.run_key = 12345;
    assert_int_equal(world_write_fails(world, &write), ERROR_NOT_FOUND);
}

static void a_schedule_moves_on_and_ends(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct store_record record = {.advances = true, .next_run = {77}};
    struct store_write write = {
        .kind = STORE_RECORD, .run_key = run_key, .expected_revision = 1, .record = &record};
    world_write(world, &write);
    assert_null(write.out_parameters);
    assert_int_equal(world_get_run(world, run_key).next_run.us, 77);
    record.next_run = WALL_TIME_NONE;
    record.disables = true;
    world_write(world, &write);
    struct run run = world_get_run(world, run_key);
    assert_true(wall_time_is_none(run.next_run));
    assert_false(run.enabled);
    assert_int_equal(run.revision,
                     2); /* so that a change prepared before does not enable it again */
}

/* What the scheduler must not fire again, wherever the clock has gone. */
static void a_run_knows_the_newest_slot_that_has_its_record(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t other_run_key = world_create_run(world);
    assert_true(wall_time_is_none(world_get_run(world, run_key).settled_until));
    const struct {
        int64_t slot_us; /* of the execution */
        struct wall_time settles;
        bool advances;
        int64_t expected_us;
    } steps[] = {
        {2 * hour_us, {2 * hour_us}, true, 2 * hour_us},
        {3 * hour_us, {5 * hour_us}, true, 5 * hour_us},  /* a gap from 3 to 5 */
        {6 * hour_us, {6 * hour_us}, false, 5 * hour_us}, /* by hand */
        {7 * hour_us, WALL_TIME_NONE, true, 5 * hour_us},
        {8 * hour_us, {4 * hour_us}, true, 5 * hour_us}, /* it never goes back */
    };
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        struct store_record record = {
            .executions = {world_execution(world, steps[i].slot_us, EXECUTION_SKIPPED)},
            .execution_count = 1,
            .advances = steps[i].advances,
            .next_run = {9 * hour_us},
            .settled_until = steps[i].settles};
        struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
        world_write(world, &write);
        assert_int_equal(world_get_run(world, run_key).settled_until.us, steps[i].expected_us);
    }
    /* What is refused settles nothing: a slot of the gap, and one that is recorded. */
    const int64_t refused_us[] = {4 * hour_us, 7 * hour_us};
    for (size_t i = 0; i < COUNT_OF(refused_us); i++) {
        struct store_record again = {
            .executions = {world_execution(world, refused_us[i], EXECUTION_SKIPPED)},
            .execution_count = 1,
            .advances = true,
            .next_run = {9 * hour_us},
            .settled_until = {8 * hour_us}};
        struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &again};
        assert_int_equal(world_write_fails(world, &write), ERROR_CONFLICT);
    }
    world_reopen(world);
    assert_int_equal(world_get_run(world, run_key).settled_until.us, 5 * hour_us);
    assert_true(wall_time_is_none(world_get_run(world, other_run_key).settled_until));
}

/* --- parameters ------------------------------------------------------------------------------------ */

static void an_execution_gets_the_parameters_of_its_run_or_its_own_when_it_runs(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    run.parameters = "{\"mine\": 1}";
    world_create(world, &run);
    struct store_record record = {.executions = {world_execution(world, 1, EXECUTION_RUNNING)},
                                  .execution_count = 1};
    struct store_write write = {.kind = STORE_RECORD, .run_key = run.key, .record = &record};
    world_write_gives(world, &write, "{\"mine\": 1}");
    record.executions[0] = world_execution(world, 2, EXECUTION_QUEUED);
    record.parameters = "{\"once\": 2}";
    world_write(world, &write);
    assert_null(write.out_parameters);
    struct store_write start = {
        .kind = STORE_START, .execution_key = record.executions[0].key, .started_at = {5}};
    world_write_gives(world, &start, "{\"once\": 2}");
}

/* --- start and finish ------------------------------------------------------------------------------ */

static void an_execution_is_started_once(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution execution = world_execution(world, hour_us, EXECUTION_QUEUED);
    world_record(world, run_key, &execution);
    assert_true(wall_time_is_none(world_get_run(world, run_key).last_run));
    assert_int_equal(world_get_execution(world, execution.key).status, EXECUTION_QUEUED);
    struct store_write start = {
        .kind = STORE_START, .execution_key = execution.key, .started_at = {hour_us + 5}};
    world_write(world, &start);
    struct execution read = world_get_execution(world, execution.key);
    assert_int_equal(read.status, EXECUTION_RUNNING);
    assert_int_equal(read.started_at.us, hour_us + 5);
    assert_int_equal(world_get_run(world, run_key).last_run.us, hour_us + 5);
    assert_int_equal(world_write_fails(world, &start), ERROR_CONFLICT);
    start.execution_key = 99;
    assert_int_equal(world_write_fails(world, &start), ERROR_NOT_FOUND);
}

static void nothing_is_started_for_a_deleted_run(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution execution = world_execution(world, hour_us, EXECUTION_QUEUED);
    world_record(world, run_key, &execution);
    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = run_key};
    world_write(world, &delete);
    struct store_write start = {
        .kind = STORE_START, .execution_key = execution.key, .started_at = {5}};
    assert_int_equal(world_write_fails(world, &start), ERROR_STALE);
    execution.run_key = run_key;
    execution.status = EXECUTION_CANCELLED;
    struct store_write finish = {.kind = STORE_FINISH, .execution = &execution};
    world_write(world, &finish);
}

static void an_outcome_reads_back_as_it_was(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution execution = world_execution(world, hour_us, EXECUTION_RUNNING);
    execution.trigger = TRIGGER_BACKFILL;
    execution.attempt = 3;
    world_record(world, run_key, &execution);
    execution.run_key = run_key;
    execution.status = EXECUTION_TIMED_OUT;
    execution.started_at = (struct wall_time){hour_us + 1};
    execution.finished_at = (struct wall_time){hour_us + 2};
    execution.duration = (struct duration){3};
    execution.model_version = 17;
    execution.has_model_digest = true;
    memset(execution.model_digest, 0xab, sizeof execution.model_digest);
    execution.result = "{\"outputs\": []}";
    execution.error_type = "TimedOut";
    execution.error_message = "took longer than 5m";
    struct store_write finish = {.kind = STORE_FINISH, .execution = &execution};
    world_write(world, &finish);
    struct execution read = world_get_execution(world, execution.key);
    assert_int_equal(read.key, execution.key);
    assert_int_equal(read.run_key, run_key);
    assert_string_equal(read.model_name, "iris");
    assert_int_equal(read.model_version, 17);
    assert_true(read.has_model_digest);
    assert_memory_equal(read.model_digest, execution.model_digest, MODEL_DIGEST_BYTES);
    assert_int_equal(read.trigger, TRIGGER_BACKFILL);
    assert_int_equal(read.attempt, 3);
    assert_int_equal(read.status, EXECUTION_TIMED_OUT);
    assert_int_equal(read.scheduled_for.us, hour_us);
    assert_int_equal(read.queued_at.us, execution.queued_at.us);
    assert_int_equal(read.started_at.us, hour_us + 1);
    assert_int_equal(read.finished_at.us, hour_us + 2);
    assert_int_equal(read.duration.us, 3);
    assert_string_equal(read.result, execution.result);
    assert_string_equal(read.error_type, "TimedOut");
    assert_string_equal(read.error_message, "took longer than 5m");
    assert_int_equal(read.blocked_by, 0);
    assert_true(wall_time_is_none(read.missed_from));
    assert_int_equal(read.missed_count, 0);
}

static void an_execution_ends_once(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t key = world_record_finished(world, run_key, hour_us, EXECUTION_SUCCEEDED);
    struct execution execution = world_get_execution(world, key);
    execution.status = EXECUTION_FAILED;
    struct store_write finish = {.kind = STORE_FINISH, .execution = &execution};
    assert_int_equal(world_write_fails(world, &finish), ERROR_NOT_FOUND);
    assert_int_equal(world_get_execution(world, key).status, EXECUTION_SUCCEEDED);
    execution.key = 99;
    assert_int_equal(world_write_fails(world, &finish), ERROR_NOT_FOUND);
}

static void a_skipped_slot_names_what_was_in_the_way(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution running = world_execution(world, 1, EXECUTION_RUNNING);
    world_record(world, run_key, &running);
    struct execution skipped = world_execution(world, 2, EXECUTION_SKIPPED);
    skipped.blocked_by = running.key;
    world_record(world, run_key, &skipped);
    struct execution read = world_get_execution(world, skipped.key);
    assert_int_equal(read.status, EXECUTION_SKIPPED);
    assert_int_equal(read.blocked_by, running.key);
    assert_int_equal(world_get_run(world, run_key).last_run.us, running.started_at.us);
}

static void the_last_run_is_the_newest_start(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution older = world_execution(world, 1, EXECUTION_RUNNING);
    struct execution newer = world_execution(world, 2, EXECUTION_RUNNING);
    world_record(world, run_key, &older);
    world_record(world, run_key, &newer);
    older.run_key = run_key;
    older.status = EXECUTION_SUCCEEDED;
    struct store_write finish = {.kind = STORE_FINISH, .execution = &older};
    world_write(world, &finish);
    assert_int_equal(world_get_run(world, run_key).last_run.us, newer.started_at.us);
    newer.run_key = run_key;
    newer.status = EXECUTION_SUCCEEDED;
    newer.started_at.us += 250; /* when it really began */
    finish.execution = &newer;
    world_write(world, &finish);
    assert_int_equal(world_get_run(world, run_key).last_run.us, newer.started_at.us);
}

/* --- retries ---------------------------------------------------------------------------------------- */

static struct execution retry_of(struct world *world, const struct execution *failed) {
    struct execution retry = world_execution(world, failed->scheduled_for.us, EXECUTION_QUEUED);
    retry.trigger = TRIGGER_RETRY;
    retry.attempt = failed->attempt + 1;
    return retry;
}

static void an_outcome_and_its_retry_are_one_step(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct store_record first = {.executions = {world_execution(world, 1, EXECUTION_RUNNING)},
                                 .execution_count = 1,
                                 .parameters = "{\"once\": 1}"};
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &first};
    world_write(world, &write);
    struct execution failed = first.executions[0];
    failed.run_key = run_key;
    failed.status = EXECUTION_FAILED;
    failed.error_type = "WorkerCrashed";
    struct store_record record = {
        .executions = {retry_of(world, &failed)}, .execution_count = 1, .finished = &failed};
    struct run before = world_get_run(world, run_key);
    write.record = &record;
    world_write(world, &write);
    assert_null(write.out_parameters);
    assert_int_equal(world_get_execution(world, failed.key).status, EXECUTION_FAILED);
    struct execution retry = world_get_execution(world, record.executions[0].key);
    assert_int_equal(retry.status, EXECUTION_QUEUED);
    assert_int_equal(retry.attempt, 2);
    assert_int_equal(world_get_run(world, run_key).next_run.us, before.next_run.us);
    struct store_write start = {.kind = STORE_START, .execution_key = retry.key, .started_at = {5}};
    world_write_gives(world, &start, "{\"once\": 1}"); /* as the first attempt */
    /* The attempt has ended: the same step again is refused whole. */
    record.executions[0] = retry_of(world, &retry);
    assert_int_equal(world_write_fails(world, &write), ERROR_NOT_FOUND);
}

static void a_retry_that_is_there_already_refuses_the_whole_step(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution failed = world_execution(world, 1, EXECUTION_RUNNING);
    world_record(world, run_key, &failed);
    struct execution retry = retry_of(world, &failed);
    world_record(world, run_key, &retry);
    failed.run_key = run_key;
    failed.status = EXECUTION_FAILED;
    struct store_record record = {
        .executions = {retry_of(world, &failed)}, .execution_count = 1, .finished = &failed};
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    assert_int_equal(world_write_fails(world, &write), ERROR_CONFLICT);
    assert_int_equal(world_get_execution(world, failed.key).status, EXECUTION_RUNNING);
}

static void an_outcome_gets_in_also_when_its_run_was_deleted(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution failed = world_execution(world, 1, EXECUTION_RUNNING);
    world_record(world, run_key, &failed);
    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = run_key};
    world_write(world, &delete);
    failed.run_key = run_key;
    failed.status = EXECUTION_FAILED;
    struct store_record record = {
        .executions = {retry_of(world, &failed)}, .execution_count = 1, .finished = &failed};
    struct store_write write = {
        .kind = STORE_RECORD, .run_key = run_key, .expected_revision = 1, .record = &record};
    world_write(world, &write);
    assert_int_equal(world_get_execution(world, failed.key).status, EXECUTION_FAILED);
}

/* --- what the scheduler loads ----------------------------------------------------------------------- */

struct loaded {
    struct execution executions[8];
    size_t count;
};

static void collect_execution(const struct execution *execution, void *context) {
    struct loaded *loaded = context;
    assert_true(loaded->count < COUNT_OF(loaded->executions));
    assert_string_equal(execution->model_name, "iris");
    loaded->executions[loaded->count++] = *execution;
}

static void the_scheduler_loads_what_has_not_ended(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution queued = world_execution(world, 1, EXECUTION_QUEUED);
    world_record(world, run_key, &queued);
    world_record_finished(world, run_key, 2, EXECUTION_SUCCEEDED);
    struct execution running = world_execution(world, 3, EXECUTION_RUNNING);
    running.attempt = 2;
    running.trigger = TRIGGER_RETRY;
    world_record(world, run_key, &running);
    struct execution skipped = world_execution(world, 4, EXECUTION_SKIPPED);
    world_record(world, run_key, &skipped);
    world_reopen(world);
    struct loaded loaded = {.count = 0};
    struct error err;
    assert_true(store_load_active(world->reader, collect_execution, &loaded, &err));
    assert_int_equal(loaded.count, 2);
    assert_int_equal(loaded.executions[0].key, queued.key);
    assert_int_equal(loaded.executions[0].status, EXECUTION_QUEUED);
    assert_int_equal(loaded.executions[1].key, running.key);
    assert_int_equal(loaded.executions[1].status, EXECUTION_RUNNING);
    assert_int_equal(loaded.executions[1].run_key, run_key);
    assert_int_equal(loaded.executions[1].attempt, 2);
    assert_int_equal(loaded.executions[1].trigger, TRIGGER_RETRY);
    assert_int_equal(loaded.executions[1].scheduled_for.us, 3);
    assert_int_equal(loaded.executions[1].started_at.us, running.started_at.us);
}

/* --- history ---------------------------------------------------------------------------------------- */

static struct execution_filter all_of(int64_t run_key, uint32_t limit) {
    return (struct execution_filter){
        .run_key = run_key, .since = WALL_TIME_NONE, .until = WALL_TIME_NONE, .limit = limit};
}

/* Returns the cursor of the next page. */
static int64_t history(struct world *world, const struct execution_filter *filter, int64_t *keys,
                       size_t *out_count) {
    struct execution *executions;
    int64_t next_cursor;
    struct error err;
    assert_true(store_list_executions(world->reader, filter, &world->arena, &executions, out_count,
                                      &next_cursor, &err));
    assert_true(*out_count <= filter->limit);
    for (size_t i = 0; i < *out_count; i++) {
        keys[i] = executions[i].key;
        assert_int_equal(executions[i].run_key, filter->run_key);
    }
    return next_cursor;
}

static void history_is_newest_first_in_pages(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t other_run_key = world_create_run(world);
    int64_t made[50];
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        made[i] = world_record_finished(world, run_key, world->now_us, EXECUTION_SUCCEEDED);
        world_record_finished(world, other_run_key, world->now_us, EXECUTION_FAILED);
    }
    struct execution_filter filter = all_of(run_key, 7);
    int64_t keys[50] = {0};
    size_t seen = 0;
    size_t count;
    do {
        filter.before_key = history(world, &filter, keys, &count);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(keys[i], made[COUNT_OF(made) - 1 - seen - i]);
        }
        seen += count;
    } while (filter.before_key != 0);
    assert_int_equal(seen, COUNT_OF(made));
    filter.before_key = made[0];
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 0);
    /* Exactly a page: there is no further one. */
    filter = all_of(run_key, 50);
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 50);
}

static void a_page_of_large_results_ends_early_and_goes_on(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t made[5];
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        struct execution execution = world_execution(world, world->now_us, EXECUTION_SUCCEEDED);
        execution.result = "[1234567]"; /* 9 bytes */
        execution.started_at = execution.finished_at = world_now(world);
        made[i] = world_record(world, run_key, &execution);
    }
    static const size_t bytes[] = {1, 9, 10, 36, 45, 46};
    for (size_t i = 0; i < COUNT_OF(bytes); i++) {
        struct execution_filter filter = all_of(run_key, 10);
        filter.bytes_maximum = bytes[i];
        int64_t keys[10];
        size_t count;
        size_t seen = 0;
        do {
            filter.before_key = history(world, &filter, keys, &count);
            assert_in_range(count, 1, (bytes[i] + 8) / 9);
            for (size_t k = 0; k < count; k++) {
                assert_int_equal(keys[k], made[COUNT_OF(made) - 1 - seen - k]);
            }
            seen += count;
        } while (filter.before_key != 0);
        assert_int_equal(seen, COUNT_OF(made));
    }
}

static void history_of_nothing_is_empty(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t keys[4] = {0};
    size_t count;
    struct execution_filter filter = all_of(run_key, 4);
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 0);
    filter.run_key = 12345;
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 0);
}

static void any_number_is_a_cursor(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t other_run_key = world_create_run(world);
    int64_t made[6];
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        made[i] = world_record_finished(world, i % 2 == 0 ? run_key : other_run_key, world->now_us,
                                        EXECUTION_SUCCEEDED);
    }
    int64_t keys[6] = {0};
    size_t count;
    struct execution_filter filter = all_of(run_key, 6);
    filter.before_key = made[3]; /* of the other run */
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 2);
    assert_int_equal(keys[0], made[2]);
    filter.before_key = made[2] + 1; /* of no execution */
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 2);
    filter.before_key = INT64_MAX;
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 3);
    filter.before_key = 1;
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 0);
}

static void history_is_filtered_by_status_and_time(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t slots[12];
    int64_t made[12];
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        slots[i] = world->now_us;
        made[i] = world_record_finished(world, run_key, slots[i],
                                        i % 4 == 0 ? EXECUTION_FAILED : EXECUTION_SUCCEEDED);
    }
    int64_t keys[12] = {0};
    size_t count;
    struct execution_filter filter = all_of(run_key, 2);
    filter.has_status = true;
    filter.status = EXECUTION_FAILED;
    filter.before_key = history(world, &filter, keys, &count);
    assert_int_equal(count, 2);
    assert_int_equal(keys[0], made[8]);
    assert_int_equal(keys[1], made[4]);
    assert_int_not_equal(filter.before_key, 0);
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 1);
    assert_int_equal(keys[0], made[0]);
    filter.status = EXECUTION_RUNNING;
    filter.before_key = 0;
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 0);

    filter = all_of(run_key, 12);
    filter.since.us = slots[3];
    filter.until.us = slots[6];
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 3);
    assert_int_equal(keys[0], made[5]);
    assert_int_equal(keys[2], made[3]);
    filter.has_status = true;
    filter.status = EXECUTION_FAILED;
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 1);
    filter.since.us = world->now_us + hour_us;
    filter.until = WALL_TIME_NONE;
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 0);
}

static void history_finds_late_executions_of_early_slots(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t early_us = world->now_us - hour_us;
    int64_t first = world_record_finished(world, run_key, early_us, EXECUTION_FAILED);
    for (int i = 0; i < 3; i++) {
        world_record_finished(world, run_key, world->now_us, EXECUTION_SUCCEEDED);
    }
    struct execution again = world_execution(world, early_us, EXECUTION_QUEUED);
    again.trigger = TRIGGER_BACKFILL;
    world_record(world, run_key, &again);
    struct execution_filter filter = all_of(run_key, 5);
    filter.since.us = early_us;
    filter.until.us = early_us + 1;
    int64_t keys[5] = {0};
    size_t count;
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 2);
    assert_int_equal(keys[0], again.key);
    assert_int_equal(keys[1], first);
}

static void an_execution_that_is_written_late_takes_its_place(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct execution made[5];
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        made[i] = world_execution(world, world->now_us, EXECUTION_RUNNING);
    }
    const size_t order[] = {1, 4, 2, 0, 3};
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        world_record(world, run_key, &made[order[i]]);
    }
    int64_t keys[5] = {0};
    size_t count;
    struct execution_filter filter = all_of(run_key, 5);
    assert_false(history(world, &filter, keys, &count));
    assert_int_equal(count, 5);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(keys[i], made[4 - i].key);
    }
}

/* --- totals ----------------------------------------------------------------------------------------- */

static void totals_tell_how_a_runs_executions_ended(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t other_run_key = world_create_run(world);
    const enum execution_status ends[] = {EXECUTION_SUCCEEDED, EXECUTION_FAILED, EXECUTION_RUNNING,
                                          EXECUTION_SUCCEEDED, EXECUTION_QUEUED};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        struct execution execution =
            world_execution(world, world->now_us, i == 4 ? EXECUTION_QUEUED : EXECUTION_RUNNING);
        world_record(world, run_key, &execution);
        if (execution_status_is_final(ends[i])) {
            execution.run_key = run_key;
            execution.status = ends[i];
            execution.duration = (struct duration){1000 + (int64_t)i};
            struct store_write finish = {.kind = STORE_FINISH, .execution = &execution};
            world_write(world, &finish);
        }
        world_record_finished(world, other_run_key, world->now_us, EXECUTION_CANCELLED);
    }
    for (int64_t i = 0; i < 2; i++) {
        struct execution missed = missed_execution(world, 7 + i, 9 + i);
        world_record(world, run_key, &missed);
    }
    struct run_totals totals;
    struct error err;
    assert_true(store_get_run_totals(world->reader, run_key, &totals, &err));
    assert_int_equal(totals.count[EXECUTION_SUCCEEDED], 2);
    assert_int_equal(totals.duration[EXECUTION_SUCCEEDED].us, 2003);
    assert_int_equal(totals.count[EXECUTION_FAILED], 1);
    assert_int_equal(totals.duration[EXECUTION_FAILED].us, 1001);
    assert_int_equal(totals.count[EXECUTION_RUNNING], 1);
    assert_int_equal(totals.count[EXECUTION_QUEUED], 1);
    assert_int_equal(totals.count[EXECUTION_CANCELLED], 0);
    assert_int_equal(totals.count[EXECUTION_MISSED], 2);
    assert_int_equal(totals.missed_slots, 84);
    assert_int_equal(totals.removed, 0);
    assert_true(store_get_run_totals(world->reader, 12345, &totals, &err));
    assert_int_equal(totals.count[EXECUTION_SUCCEEDED], 0);
}

size_t conformance_ledger_tests(struct CMUnitTest *out_tests) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_is_recorded_once_per_attempt),
        cmocka_unit_test(triggers_by_hand_and_backfills_may_repeat_a_slot),
        cmocka_unit_test(an_execution_key_is_taken_once),
        cmocka_unit_test(a_gap_and_a_slot_are_recorded_in_one_step),
        cmocka_unit_test(a_refused_step_of_two_changes_nothing),
        cmocka_unit_test(a_step_checks_the_run_as_the_sender_knew_it),
        cmocka_unit_test(a_schedule_moves_on_and_ends),
        cmocka_unit_test(a_run_knows_the_newest_slot_that_has_its_record),
        cmocka_unit_test(an_execution_gets_the_parameters_of_its_run_or_its_own_when_it_runs),
        cmocka_unit_test(an_execution_is_started_once),
        cmocka_unit_test(nothing_is_started_for_a_deleted_run),
        cmocka_unit_test(an_outcome_reads_back_as_it_was),
        cmocka_unit_test(an_execution_ends_once),
        cmocka_unit_test(a_skipped_slot_names_what_was_in_the_way),
        cmocka_unit_test(the_last_run_is_the_newest_start),
        cmocka_unit_test(an_outcome_and_its_retry_are_one_step),
        cmocka_unit_test(a_retry_that_is_there_already_refuses_the_whole_step),
        cmocka_unit_test(an_outcome_gets_in_also_when_its_run_was_deleted),
        cmocka_unit_test(the_scheduler_loads_what_has_not_ended),
        cmocka_unit_test(history_is_newest_first_in_pages),
        cmocka_unit_test(a_page_of_large_results_ends_early_and_goes_on),
        cmocka_unit_test(history_of_nothing_is_empty),
        cmocka_unit_test(any_number_is_a_cursor),
        cmocka_unit_test(history_is_filtered_by_status_and_time),
        cmocka_unit_test(history_finds_late_executions_of_early_slots),
        cmocka_unit_test(an_execution_that_is_written_late_takes_its_place),
        cmocka_unit_test(totals_tell_how_a_runs_executions_ended),
    };
    memcpy(out_tests, tests, sizeof tests);
    return COUNT_OF(tests);
}
