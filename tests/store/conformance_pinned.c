#include "conformance_tests.h"

#include "world.h"

#include <string.h>

/* An execution runs with what its run was when it was recorded. */

static void update(struct world *world, struct run *run, uint64_t revision,
                   const char *parameters) {
    run->parameters = parameters;
    struct store_write write = {
        .kind = STORE_UPDATE_RUN, .run = run, .expected_revision = revision};
    world_write(world, &write);
}

static struct execution record_queued(struct world *world, const struct run *run) {
    struct execution execution = world_execution(world, world->now_us, EXECUTION_QUEUED);
    execution.run_key = run->key;
    execution.model_version = run->model_version;
    execution.timeout = run->timeout;
    world_record(world, run->key, &execution);
    return execution;
}

static void start_gives(struct world *world, int64_t key, const char *parameters) {
    struct store_write start = {
        .kind = STORE_START, .execution_key = key, .started_at = world_now(world)};
    world_write_gives(world, &start, parameters);
}

static void a_change_leaves_the_parameters_of_what_waits(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    struct run other = world_run(world);
    run.parameters = "{\"first\": 1}";
    other.parameters = "{\"other\": 1}";
    world_create(world, &run);
    world_create(world, &other);
    struct execution before = record_queued(world, &run);
    struct execution others = record_queued(world, &other);
    struct store_record own = {
        .executions = {world_execution(world, world->now_us, EXECUTION_QUEUED)},
        .execution_count = 1,
        .parameters = "{\"once\": 1}"};
    struct store_write write = {.kind = STORE_RECORD, .run_key = run.key, .record = &own};
    world_write(world, &write);

    update(world, &run, 1, "{\"second\": 2}");
    struct execution between = record_queued(world, &run);
    run.timeout.us++; /* a change of something else */
    update(world, &run, 2, "{\"second\": 2}");
    update(world, &run, 3, "{\"third\": 3}");
    struct execution after = record_queued(world, &run);

    start_gives(world, before.key, "{\"first\": 1}");
    start_gives(world, own.executions[0].key, "{\"once\": 1}");
    start_gives(world, between.key, "{\"second\": 2}");
    start_gives(world, after.key, "{\"third\": 3}");
    start_gives(world, others.key, "{\"other\": 1}");
}

static void a_refused_change_leaves_the_parameters_too(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    run.parameters = "{\"first\": 1}";
    world_create(world, &run);
    struct execution waiting = record_queued(world, &run);
    run.parameters = "{\"second\": 2}";
    struct store_write write = {.kind = STORE_UPDATE_RUN, .run = &run, .expected_revision = 9};
    assert_int_equal(world_write_fails(world, &write), ERROR_STALE);
    start_gives(world, waiting.key, "{\"first\": 1}");
}

/* Ends `failed` and records its retry in one step. */
static struct execution record_retry(struct world *world, struct execution *failed) {
    struct execution retry = world_execution(world, failed->scheduled_for.us, EXECUTION_QUEUED);
    retry.trigger = TRIGGER_RETRY;
    retry.attempt = failed->attempt + 1;
    retry.run_key = failed->run_key;
    retry.not_before = (struct wall_time){world->now_us + 12345};
    failed->status = EXECUTION_FAILED;
    struct store_record record = {.executions = {retry}, .execution_count = 1, .finished = failed};
    struct store_write write = {
        .kind = STORE_RECORD, .run_key = failed->run_key, .record = &record};
    world_write(world, &write);
    assert_null(write.out_parameters); /* it gets them when it starts */
    return retry;
}

static void a_retry_runs_with_the_parameters_of_its_first_attempt(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    run.parameters = "{\"first\": 1}";
    world_create(world, &run);
    struct execution attempt = record_queued(world, &run);
    attempt = record_retry(world, &attempt); /* they are the run's */
    update(world, &run, 1, "{\"second\": 2}");
    attempt = record_retry(world, &attempt); /* they were the run's */
    update(world, &run, 2, "{\"third\": 3}");
    attempt = record_retry(world, &attempt); /* its own by now */
    start_gives(world, attempt.key, "{\"first\": 1}");
}

struct loaded {
    struct execution executions[4];
    size_t count;
};

static void collect(const struct execution *execution, void *context) {
    struct loaded *loaded = context;
    assert_true(loaded->count < COUNT_OF(loaded->executions));
    loaded->executions[loaded->count++] = *execution;
}

static void version_timeout_and_backoff_are_those_at_the_record(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    run.model_version = 3;
    run.timeout = (struct duration){42};
    world_create(world, &run);
    struct execution first = record_queued(world, &run);
    struct execution pinned = record_retry(world, &first);
    struct execution late = world_execution(world, world->now_us, EXECUTION_RUNNING);
    late.model_version = 4;
    late.timeout = (struct duration){43};
    world_record(world, run.key, &late);
    run.model_version = 9;
    run.timeout = (struct duration){99};
    update(world, &run, 1, run.parameters);
    world_reopen(world);
    struct loaded loaded = {.count = 0};
    struct error err;
    assert_true(store_load_active(world->reader, collect, &loaded, &err));
    assert_int_equal(loaded.count, 2);
    assert_int_equal(loaded.executions[0].key, pinned.key);
    assert_int_equal(loaded.executions[0].not_before.us, pinned.not_before.us);
    assert_int_equal(loaded.executions[1].key, late.key);
    assert_int_equal(loaded.executions[1].model_version, 4);
    assert_int_equal(loaded.executions[1].timeout.us, 43);
    assert_true(wall_time_is_none(loaded.executions[1].not_before));
    assert_int_equal(loaded.executions[1].backfill_key, 0);
    /* And so it reads, until it is known which version ran. */
    assert_int_equal(world_get_execution(world, late.key).model_version, 4);
    late.run_key = run.key;
    late.status = EXECUTION_SUCCEEDED;
    late.model_version = 5;
    struct store_write finish = {.kind = STORE_FINISH, .execution = &late};
    world_write(world, &finish);
    assert_int_equal(world_get_execution(world, late.key).model_version, 5);
}

/* By its version, by its digest, by both or neither; and many executions by the same. */
static void an_execution_tells_which_file_of_the_model_ran(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    const struct {
        uint32_t version;
        bool has_digest;
        unsigned char digest_byte;
    } files[] = {{3, true, 0xab}, {0, true, 0xab}, {3, false, 0},  {0, false, 0},
                 {3, true, 0xab}, {3, true, 0xcd}, {0, true, 0xab}};
    int64_t keys[COUNT_OF(files)];
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        struct execution execution =
            world_execution(world, (int64_t)i * US_PER_SECOND, EXECUTION_SUCCEEDED);
        execution.model_version = files[i].version;
        execution.has_model_digest = files[i].has_digest;
        memset(execution.model_digest, files[i].digest_byte, sizeof execution.model_digest);
        keys[i] = world_record(world, run_key, &execution);
    }
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        struct execution read = world_get_execution(world, keys[i]);
        assert_int_equal(read.model_version, files[i].version);
        assert_int_equal(read.has_model_digest, files[i].has_digest);
        for (size_t at = 0; files[i].has_digest && at < sizeof read.model_digest; at++) {
            assert_int_equal(read.model_digest[at], files[i].digest_byte);
        }
    }
}

size_t conformance_pinned_tests(struct CMUnitTest *out_tests) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_leaves_the_parameters_of_what_waits),
        cmocka_unit_test(a_refused_change_leaves_the_parameters_too),
        cmocka_unit_test(a_retry_runs_with_the_parameters_of_its_first_attempt),
        cmocka_unit_test(version_timeout_and_backoff_are_those_at_the_record),
        cmocka_unit_test(an_execution_tells_which_file_of_the_model_ran),
    };
    memcpy(out_tests, tests, sizeof tests);
    return COUNT_OF(tests);
}
