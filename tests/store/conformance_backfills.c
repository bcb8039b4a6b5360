#include "conformance_tests.h"

#include "world.h"

#include <string.h>

static const int64_t hour_us = 3600 * US_PER_SECOND;

/* Of three slots, an hour apart, not stored. */
static struct backfill backfill_of(struct world *world, int64_t run_key) {
    int64_t from_us = world->now_us - 10 * hour_us;
    return (struct backfill){.key = world_key(world),
                             .run_key = run_key,
                             .from = {from_us},
                             .to = {from_us + 3 * hour_us},
                             .next_slot = {from_us},
                             .slot_count = 3,
                             .parallelism = 2,
                             .parameters = "{\"again\": 1}",
                             .created_at = world_now(world),
                             .cancelled_at = WALL_TIME_NONE};
}

static struct backfill create(struct world *world, int64_t run_key) {
    struct backfill backfill = backfill_of(world, run_key);
    struct store_write write = {.kind = STORE_CREATE_BACKFILL, .backfill = &backfill};
    world_write(world, &write);
    return backfill;
}

static struct backfill get(struct world *world, int64_t key) {
    struct backfill backfill;
    const char *owner = NULL;
    struct error err;
    assert_true(store_get_backfill(world->reader, key, &world->arena, &backfill, &owner, &err));
    assert_string_equal(owner, "alice");
    return backfill;
}

static void assert_same(const struct backfill *a, const struct backfill *b) {
    assert_int_equal(a->key, b->key);
    assert_int_equal(a->run_key, b->run_key);
    assert_int_equal(a->from.us, b->from.us);
    assert_int_equal(a->to.us, b->to.us);
    assert_int_equal(a->next_slot.us, b->next_slot.us);
    assert_int_equal(a->slot_count, b->slot_count);
    assert_int_equal(a->parallelism, b->parallelism);
    assert_int_equal(a->created_at.us, b->created_at.us);
    assert_int_equal(a->cancelled_at.us, b->cancelled_at.us);
    if (a->parameters == NULL || b->parameters == NULL) {
        assert_ptr_equal(a->parameters, b->parameters);
    } else {
        assert_string_equal(a->parameters, b->parameters);
    }
}

/* Records the backfill's slot as running, with that many slots before the next (0: the last). */
static struct store_record step_of(struct world *world, const struct backfill *backfill,
                                   int64_t slot_us, int64_t next_us) {
    struct store_record record = {
        .executions = {world_execution(world, slot_us, EXECUTION_RUNNING)},
        .execution_count = 1,
        .backfill_key = backfill->key,
        .backfill_next = {next_us}};
    record.executions[0].trigger = TRIGGER_BACKFILL;
    return record;
}

static void a_backfill_reads_back_as_it_was(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct backfill made = create(world, run_key);
    struct backfill plain = backfill_of(world, run_key);
    plain.parameters = NULL;
    plain.next_slot = WALL_TIME_NONE;
    struct store_write write = {.kind = STORE_CREATE_BACKFILL, .backfill = &plain};
    world_write(world, &write);
    assert_int_equal(world_write_fails(world, &write), ERROR_CONFLICT);
    struct backfill read = get(world, made.key);
    assert_same(&made, &read);
    read = get(world, plain.key);
    assert_same(&plain, &read);
    assert_int_equal(store_greatest_execution_key(world->store), 0); /* as of the opening */
    world_reopen(world);
    assert_int_equal(store_greatest_execution_key(world->store), plain.key);
}

static void a_backfill_needs_its_run(void **state) {
    struct world *world = *state;
    struct backfill backfill = backfill_of(world, 12345);
    struct store_write write = {.kind = STORE_CREATE_BACKFILL, .backfill = &backfill};
    assert_int_equal(world_write_fails(world, &write), ERROR_NOT_FOUND);
    backfill.run_key = world_create_run(world);
    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = backfill.run_key};
    world_write(world, &delete);
    assert_int_equal(world_write_fails(world, &write), ERROR_NOT_FOUND);
    const char *owner;
    struct error err;
    assert_false(
        store_get_backfill(world->reader, backfill.key, &world->arena, &backfill, &owner, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
}

static void a_backfill_moves_on_with_its_records(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct run before = world_get_run(world, run_key);
    struct backfill backfill = create(world, run_key);
    int64_t slot_us = backfill.from.us;
    /* Whatever else is recorded for the slot. */
    world_record_finished(world, run_key, slot_us, EXECUTION_SUCCEEDED);
    struct backfill other = create(world, run_key);
    struct store_record record = step_of(world, &other, slot_us, slot_us + hour_us);
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    world_write(world, &write);

    record = step_of(world, &backfill, slot_us, slot_us + hour_us);
    world_write_gives(world, &write, "{\"again\": 1}");
    assert_int_equal(get(world, backfill.key).next_slot.us, slot_us + hour_us);
    assert_int_equal(world_get_run(world, run_key).next_run.us, before.next_run.us);
    struct execution read = world_get_execution(world, record.executions[0].key);
    assert_int_equal(read.backfill_key, backfill.key);
    assert_int_equal(read.trigger, TRIGGER_BACKFILL);
    /* Once per attempt, and the step is refused whole. */
    record = step_of(world, &backfill, slot_us, slot_us + 2 * hour_us);
    assert_int_equal(world_write_fails(world, &write), ERROR_CONFLICT);
    assert_int_equal(get(world, backfill.key).next_slot.us, slot_us + hour_us);
    record = step_of(world, &backfill, slot_us + hour_us, 0);
    record.backfill_next = WALL_TIME_NONE;
    record.parameters = "{\"once\": 2}";
    world_write_gives(world, &write, "{\"once\": 2}");
    assert_true(wall_time_is_none(get(world, backfill.key).next_slot));
    record.backfill_key = 99;
    assert_int_equal(world_write_fails(world, &write), ERROR_NOT_FOUND);
}

static void a_retry_in_a_backfill_stands_beside_those_of_the_schedule(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct backfill backfill = create(world, run_key);
    int64_t slot_us = backfill.from.us;
    struct execution scheduled = world_execution(world, slot_us, EXECUTION_FAILED);
    scheduled.trigger = TRIGGER_RETRY;
    scheduled.attempt = 2;
    world_record(world, run_key, &scheduled);
    struct store_record record = step_of(world, &backfill, slot_us, slot_us + hour_us);
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    world_write(world, &write);
    struct execution failed = record.executions[0];
    failed.run_key = run_key;
    failed.status = EXECUTION_FAILED;
    struct store_record retry = {.executions = {world_execution(world, slot_us, EXECUTION_QUEUED)},
                                 .execution_count = 1,
                                 .finished = &failed};
    retry.executions[0].trigger = TRIGGER_RETRY;
    retry.executions[0].attempt = 2;
    retry.executions[0].backfill_key = backfill.key;
    write.record = &retry;
    world_write(world, &write);
    struct store_write start = {
        .kind = STORE_START, .execution_key = retry.executions[0].key, .started_at = {5}};
    world_write_gives(world, &start, "{\"again\": 1}");
    assert_int_equal(world_get_execution(world, retry.executions[0].key).backfill_key,
                     backfill.key);
    assert_int_equal(get(world, backfill.key).next_slot.us, slot_us + hour_us);
    /* The slot counts once, by its last attempt. */
    uint64_t count[EXECUTION_MISSED + 1];
    struct error err;
    assert_true(store_count_backfill(world->reader, backfill.key, count, &err));
    assert_int_equal(count[EXECUTION_RUNNING], 1);
    assert_int_equal(count[EXECUTION_FAILED], 0);
}

static void a_backfill_counts_its_slots_by_status(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct backfill backfill = create(world, run_key);
    const enum execution_status ends[] = {EXECUTION_SUCCEEDED, EXECUTION_RUNNING,
                                          EXECUTION_SUCCEEDED, EXECUTION_TIMED_OUT};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        struct store_record record =
            step_of(world, &backfill, backfill.from.us + (int64_t)i * hour_us, 1);
        struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
        world_write(world, &write);
        if (execution_status_is_final(ends[i])) {
            struct execution ended = record.executions[0];
            ended.run_key = run_key;
            ended.status = ends[i];
            struct store_write finish = {.kind = STORE_FINISH, .execution = &ended};
            world_write(world, &finish);
        }
    }
    uint64_t count[EXECUTION_MISSED + 1];
    struct error err;
    assert_true(store_count_backfill(world->reader, backfill.key, count, &err));
    for (size_t status = 0; status < COUNT_OF(count); status++) {
        uint64_t expected = status == EXECUTION_SUCCEEDED                                  ? 2
                            : status == EXECUTION_RUNNING || status == EXECUTION_TIMED_OUT ? 1
                                                                                           : 0;
        assert_int_equal(count[status], expected);
    }
    assert_true(store_count_backfill(world->reader, 99, count, &err));
    assert_int_equal(count[EXECUTION_SUCCEEDED], 0);
}

static void a_cancelled_backfill_records_nothing_more(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct backfill backfill = create(world, run_key);
    struct backfill cancelled = {.key = backfill.key, .cancelled_at = {777}};
    struct store_write cancel = {.kind = STORE_CANCEL_BACKFILL, .backfill = &cancelled};
    world_write(world, &cancel);
    assert_int_equal(get(world, backfill.key).cancelled_at.us, 777);
    cancelled.cancelled_at.us = 888;
    assert_int_equal(world_write_fails(world, &cancel), ERROR_CONFLICT);
    assert_int_equal(get(world, backfill.key).cancelled_at.us, 777);
    struct store_record record = step_of(world, &backfill, backfill.from.us, 5);
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    assert_int_equal(world_write_fails(world, &write), ERROR_NOT_FOUND);
    cancelled.key = 99;
    assert_int_equal(world_write_fails(world, &cancel), ERROR_NOT_FOUND);
}

static void a_backfill_can_be_cancelled_until_its_last_execution_has_ended(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    for (int ends = 0; ends <= 1; ends++) {
        struct backfill backfill = create(world, run_key);
        struct store_record record = step_of(world, &backfill, backfill.from.us, 0);
        record.backfill_next = WALL_TIME_NONE;
        struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
        world_write(world, &write);
        struct execution ended = record.executions[0];
        ended.status = EXECUTION_SUCCEEDED;
        ended.started_at = ended.finished_at = world_now(world);
        struct store_write finish = {.kind = STORE_FINISH, .execution = &ended};
        struct backfill cancelled = {.key = backfill.key, .cancelled_at = {777}};
        struct store_write cancel = {.kind = STORE_CANCEL_BACKFILL, .backfill = &cancelled};
        if (ends == 1) {
            world_write(world, &finish);
            assert_int_equal(world_write_fails(world, &cancel), ERROR_CONFLICT);
            assert_true(wall_time_is_none(get(world, backfill.key).cancelled_at));
        } else {
            world_write(world, &cancel);
            assert_int_equal(get(world, backfill.key).cancelled_at.us, 777);
            cancelled.cancelled_at.us = 888; /* once */
            assert_int_equal(world_write_fails(world, &cancel), ERROR_CONFLICT);
            assert_int_equal(get(world, backfill.key).cancelled_at.us, 777);
        }
    }
}

static void the_backfill_of_a_deleted_run_cannot_be_cancelled(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct backfill backfill = create(world, run_key);
    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = run_key};
    world_write(world, &delete);
    struct backfill cancelled = {.key = backfill.key, .cancelled_at = {777}};
    struct store_write cancel = {.kind = STORE_CANCEL_BACKFILL, .backfill = &cancelled};
    assert_int_equal(world_write_fails(world, &cancel), ERROR_NOT_FOUND);
}

struct loaded {
    int64_t keys[8];
    size_t count;
};

static void collect(const struct backfill *backfill, void *context) {
    struct loaded *loaded = context;
    assert_true(loaded->count < COUNT_OF(loaded->keys));
    assert_string_equal(backfill->parameters, "{\"again\": 1}");
    loaded->keys[loaded->count++] = backfill->key;
}

static void the_scheduler_loads_backfills_that_go_on(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t deleted_run_key = world_create_run(world);
    struct backfill first = create(world, run_key);
    struct backfill cancelled = create(world, run_key);
    struct backfill done = create(world, run_key);
    struct backfill deleted = create(world, deleted_run_key);
    struct backfill last = create(world, run_key);
    cancelled.cancelled_at = world_now(world);
    struct store_write cancel = {.kind = STORE_CANCEL_BACKFILL, .backfill = &cancelled};
    world_write(world, &cancel);
    struct store_record record = step_of(world, &done, done.from.us, 0);
    record.backfill_next = WALL_TIME_NONE;
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    world_write(world, &write);
    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = deleted_run_key};
    world_write(world, &delete);
    world_reopen(world);
    struct loaded loaded = {.count = 0};
    struct error err;
    assert_true(store_load_backfills(world->reader, collect, &loaded, &err));
    assert_int_equal(loaded.count, 2);
    assert_int_equal(loaded.keys[0], first.key);
    assert_int_equal(loaded.keys[1], last.key);
    /* Deleting a run cancels its backfills. */
    record = step_of(world, &deleted, deleted.from.us, 5);
    write.run_key = deleted_run_key;
    assert_int_equal(world_write_fails(world, &write), ERROR_NOT_FOUND);
    const char *owner;
    assert_false(
        store_get_backfill(world->reader, deleted.key, &world->arena, &deleted, &owner, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
}

static void backfills_are_listed_newest_first_in_pages(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t other_run_key = world_create_run(world);
    int64_t made[5];
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        made[i] = create(world, run_key).key;
        create(world, other_run_key);
    }
    struct backfill *page;
    size_t count;
    struct error err;
    int64_t before_key = 0;
    for (size_t seen = 0; seen < COUNT_OF(made); seen += count) {
        assert_true(store_list_backfills(world->reader, run_key, before_key, 2, &world->arena,
                                         &page, &count, &err));
        assert_int_equal(count, MIN_OF(COUNT_OF(made) - seen, 2U));
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(page[i].key, made[COUNT_OF(made) - 1 - seen - i]);
            assert_int_equal(page[i].run_key, run_key);
        }
        before_key = page[count - 1].key;
    }
    assert_true(store_list_backfills(world->reader, run_key, before_key, 2, &world->arena, &page,
                                     &count, &err));
    assert_int_equal(count, 0);
    assert_true(
        store_list_backfills(world->reader, 12345, 0, 2, &world->arena, &page, &count, &err));
    assert_int_equal(count, 0);
}

static void history_in_bounds_of_time_has_backfills_of_slots_to_come(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    struct backfill backfill = backfill_of(world, run_key);
    int64_t slot_us = world->now_us + 100 * hour_us;
    backfill.from.us = slot_us;
    backfill.to.us = slot_us + 3 * hour_us;
    struct store_write create_write = {.kind = STORE_CREATE_BACKFILL, .backfill = &backfill};
    world_write(world, &create_write);
    struct store_record record = step_of(world, &backfill, slot_us, slot_us + hour_us);
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    world_write(world, &write);
    world_record_finished(world, run_key, world->now_us, EXECUTION_SUCCEEDED);
    struct execution_filter filter = {
        .run_key = run_key, .since = {slot_us}, .until = {slot_us + 1}, .limit = 10};
    struct execution *executions;
    size_t count;
    int64_t next_cursor;
    struct error err;
    assert_true(store_list_executions(world->reader, &filter, &world->arena, &executions, &count,
                                      &next_cursor, &err));
    assert_int_equal(count, 1);
    assert_int_equal(executions[0].key, record.executions[0].key);
}

size_t conformance_backfill_tests(struct CMUnitTest *out_tests) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backfill_reads_back_as_it_was),
        cmocka_unit_test(a_backfill_needs_its_run),
        cmocka_unit_test(a_backfill_moves_on_with_its_records),
        cmocka_unit_test(a_retry_in_a_backfill_stands_beside_those_of_the_schedule),
        cmocka_unit_test(a_backfill_counts_its_slots_by_status),
        cmocka_unit_test(a_cancelled_backfill_records_nothing_more),
        cmocka_unit_test(a_backfill_can_be_cancelled_until_its_last_execution_has_ended),
        cmocka_unit_test(the_backfill_of_a_deleted_run_cannot_be_cancelled),
        cmocka_unit_test(the_scheduler_loads_backfills_that_go_on),
        cmocka_unit_test(backfills_are_listed_newest_first_in_pages),
        cmocka_unit_test(history_in_bounds_of_time_has_backfills_of_slots_to_come),
    };
    memcpy(out_tests, tests, sizeof tests);
    return COUNT_OF(tests);
}
