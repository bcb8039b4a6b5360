#include "conformance_tests.h"

#include "world.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_same_text(const char *a, const char *b) {
    if (a == NULL || b == NULL) {
        assert_ptr_equal(a, b);
    } else {
        assert_string_equal(a, b);
    }
}

static void assert_same_run(const struct run *a, const struct run *b) {
    assert_int_equal(a->key, b->key);
    assert_string_equal(a->owner, b->owner);
    assert_string_equal(a->model_name, b->model_name);
    assert_int_equal(a->model_version, b->model_version);
    assert_string_equal(a->schedule, b->schedule);
    assert_string_equal(a->zone_name, b->zone_name);
    assert_string_equal(a->parameters, b->parameters);
    assert_same_text(a->name, b->name);
    assert_same_text(a->description, b->description);
    assert_int_equal(a->enabled, b->enabled);
    assert_int_equal(a->overlap, b->overlap);
    assert_int_equal(a->catchup, b->catchup);
    assert_int_equal(a->dst_missing, b->dst_missing);
    assert_int_equal(a->dst_repeated, b->dst_repeated);
    assert_int_equal(a->catchup_window.us, b->catchup_window.us);
    assert_int_equal(a->jitter.us, b->jitter.us);
    assert_int_equal(a->timeout.us, b->timeout.us);
    assert_int_equal(a->retry.max_attempts, b->retry.max_attempts);
    assert_int_equal(a->retry.backoff.us, b->retry.backoff.us);
    assert_int_equal(a->retry.max_backoff.us, b->retry.max_backoff.us);
    assert_int_equal(a->retry.non_retryable, b->retry.non_retryable);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->paused_at.us, b->paused_at.us);
    assert_same_text(a->note, b->note);
    assert_int_equal(a->start_at.us, b->start_at.us);
    assert_int_equal(a->end_at.us, b->end_at.us);
    assert_int_equal(a->created_at.us, b->created_at.us);
    assert_int_equal(a->updated_at.us, b->updated_at.us);
    assert_int_equal(a->last_run.us, b->last_run.us);
    assert_int_equal(a->next_run.us, b->next_run.us);
}

/* A run in which no field has its default. */
static struct run unusual_run(struct world *world) {
    struct run run = world_run(world);
    run.owner = "bj\xc3\xb6rn'; DROP TABLE runs; --";
    run.model_name = "a model's \"name\"";
    run.model_version = 4000000000U;
    run.schedule = "@every 90s";
    run.zone_name = "Europe/Berlin";
    run.parameters = "{\"text\": \"\xe2\x82\xac ' \\u0000\"}";
    run.name = "nightly";
    run.description = "";
    run.enabled = false;
    run.overlap = OVERLAP_ALLOW;
    run.catchup = CATCHUP_NONE;
    run.dst_missing = DST_MISSING_SKIP;
    run.dst_repeated = DST_REPEATED_BOTH;
    run.catchup_window = (struct duration){0};
    run.jitter = (struct duration){12345};
    run.timeout = (struct duration){1};
    run.retry = (struct retry_policy){7,
                                      {1},
                                      {INT64_C(3155760000) * US_PER_SECOND},
                                      error_kind_bit(ERROR_TIMED_OUT) |
                                          error_kind_bit(ERROR_WORKER_CRASHED)};
    run.priority = PRIORITY_MAXIMUM;
    run.note = "paused: the night shift counts by hand";
    run.paused_at = (struct wall_time){77};
    run.start_at = (struct wall_time){0};
    run.end_at = (struct wall_time){INT64_C(7258118399999999)};
    run.next_run = WALL_TIME_NONE;
    return run;
}

static void a_created_run_reads_back_as_it_was(void **state) {
    struct world *world = *state;
    struct run plain = world_run(world);
    struct run unusual = unusual_run(world);
    world_create(world, &plain);
    world_create(world, &unusual);
    struct run read = world_get_run(world, plain.key);
    assert_same_run(&plain, &read);
    assert_int_equal(read.revision, 1);
    read = world_get_run(world, unusual.key);
    assert_same_run(&unusual, &read);
}

static void long_names_read_back_as_they_were(void **state) {
    struct world *world = *state;
    char owner[2000];
    memset(owner, 'o', sizeof owner - 1);
    owner[sizeof owner - 1] = '\0';
    for (int i = 0; i < 3; i++) {
        struct run run = world_run(world);
        run.owner = owner;
        run.model_name = owner + i;
        world_create(world, &run);
        struct run read = world_get_run(world, run.key);
        assert_same_run(&run, &read);
    }
}

static void many_names_are_kept_apart(void **state) {
    enum { NAMES = 300 };
    struct world *world = *state;
    int64_t keys[NAMES];
    char name[24];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < NAMES; i++) {
            struct run run = world_run(world);
            snprintf(name, sizeof name, "somebody-%d", i);
            run.owner = name;
            keys[i] = world_create(world, &run);
        }
    }
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "somebody-%d", i);
        assert_string_equal(world_get_run(world, keys[i]).owner, name);
        struct run_filter filter = {.owner = name, .limit = 1};
        struct run *runs;
        size_t count;
        uint64_t total;
        struct error err;
        assert_true(
            store_list_runs(world->reader, &filter, &world->arena, &runs, &count, &total, &err));
        assert_int_equal(total, 2);
        arena_reset(&world->arena);
    }
}

static void a_large_run_reads_back_as_it_was(void **state) {
    struct world *world = *state;
    size_t size_bytes = 3 << 20;
    char *parameters = must_alloc(size_bytes);
    memset(parameters, 'x', size_bytes - 1);
    parameters[size_bytes - 1] = '\0';
    struct run run = world_run(world);
    run.parameters = parameters;
    world_create(world, &run);
    struct run read = world_get_run(world, run.key);
    assert_string_equal(read.parameters, parameters);
    free(parameters);
}

static void what_is_not_there_is_not_found(void **state) {
    struct world *world = *state;
    struct error err;
    struct run run;
    struct execution execution;
    struct api_key key;
    const char *owner = NULL;
    assert_false(store_get_run(world->reader, 1, &world->arena, &run, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    assert_false(store_get_execution(world->reader, 1, &world->arena, &execution, &owner, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    assert_false(store_get_api_key(world->reader, "0123456789abcdef", &world->arena, &key, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    struct run missing = world_run(world);
    struct store_write update = {.kind = STORE_UPDATE_RUN, .run = &missing, .expected_revision = 1};
    assert_int_equal(world_write_fails(world, &update), ERROR_NOT_FOUND);
    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = missing.key};
    assert_int_equal(world_write_fails(world, &delete), ERROR_NOT_FOUND);
    assert_true(store_check(world->reader, &err));
}

static void a_run_is_created_once(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    world_create(world, &run);
    struct run other = run;
    other.schedule = "1 1 1 1 *";
    struct store_write write = {.kind = STORE_CREATE_RUN, .run = &other};
    assert_int_equal(world_write_fails(world, &write), ERROR_CONFLICT);
    struct run read = world_get_run(world, run.key);
    assert_same_run(&run, &read);
}

static void an_update_replaces_the_configuration_and_counts(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    world_create(world, &run);
    struct run changed = unusual_run(world);
    changed.key = run.key;
    changed.owner = run.owner;
    struct store_write write = {.kind = STORE_UPDATE_RUN, .run = &changed, .expected_revision = 1};
    world_write(world, &write);
    assert_int_equal(write.out_revision, 2);
    struct run read = world_get_run(world, run.key);
    assert_int_equal(read.revision, 2);
    changed.created_at = run.created_at;
    assert_same_run(&changed, &read);
}

static void a_change_that_does_not_touch_when_a_run_is_due_keeps_its_next_slot(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    world_create(world, &run);
    struct store_record record = {.advances = true, .next_run = {run.next_run.us + 77}};
    struct store_write advance = {.kind = STORE_RECORD, .run_key = run.key, .record = &record};
    world_write(world, &advance); /* since the sender of the change read the run */
    run.name = "renamed";
    struct store_write update = {
        .kind = STORE_UPDATE_RUN, .run = &run, .expected_revision = 1, .keeps_next_run = true};
    world_write(world, &update);
    struct run read = world_get_run(world, run.key);
    assert_string_equal(read.name, "renamed");
    assert_int_equal(read.next_run.us, record.next_run.us);
}

static void a_stale_change_changes_nothing(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    world_create(world, &run);
    struct run changed = run;
    changed.schedule = "1 1 1 1 *";
    struct store_write update = {.kind = STORE_UPDATE_RUN, .run = &changed, .expected_revision = 7};
    assert_int_equal(world_write_fails(world, &update), ERROR_STALE);
    struct store_write delete = {
        .kind = STORE_DELETE_RUN, .run_key = run.key, .expected_revision = 2};
    assert_int_equal(world_write_fails(world, &delete), ERROR_STALE);
    struct run read = world_get_run(world, run.key);
    assert_same_run(&run, &read);
    assert_int_equal(read.revision, 1);
}

static void a_deleted_run_is_gone_and_its_history_stays(void **state) {
    struct world *world = *state;
    int64_t run_key = world_create_run(world);
    int64_t execution_key =
        world_record_finished(world, run_key, world->now_us, EXECUTION_SUCCEEDED);
    struct store_write write = {
        .kind = STORE_DELETE_RUN, .run_key = run_key, .expected_revision = 1};
    world_write(world, &write);
    struct run run;
    struct error err;
    assert_false(store_get_run(world->reader, run_key, &world->arena, &run, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    struct store_write again = {.kind = STORE_DELETE_RUN, .run_key = run_key};
    assert_int_equal(world_write_fails(world, &again), ERROR_NOT_FOUND);
    struct execution execution;
    const char *owner = NULL;
    assert_true(
        store_get_execution(world->reader, execution_key, &world->arena, &execution, &owner, &err));
    assert_string_equal(owner, "alice");
    assert_int_equal(execution.run_key, run_key);
}

/* --- lists --------------------------------------------------------------------------------------- */

static uint64_t list(struct world *world, const char *owner, const char *model, uint32_t limit,
                     uint64_t offset, int64_t *keys, size_t *out_count) {
    struct run_filter filter = {
        .owner = owner, .model_name = model, .limit = limit, .offset = offset};
    struct run *runs;
    uint64_t total;
    struct error err;
    assert_true(
        store_list_runs(world->reader, &filter, &world->arena, &runs, out_count, &total, &err));
    for (size_t i = 0; i < *out_count; i++) {
        keys[i] = runs[i].key;
        assert_true(owner == NULL || strcmp(runs[i].owner, owner) == 0);
        assert_true(model == NULL || strcmp(runs[i].model_name, model) == 0);
    }
    return total;
}

static void lists_are_pages_in_the_order_of_creation_with_the_total(void **state) {
    struct world *world = *state;
    const char *const owners[] = {"alice", "bob"};
    const char *const models[] = {"iris", "digits", "wine"};
    int64_t created[30];
    for (size_t i = 0; i < COUNT_OF(created); i++) {
        struct run run = world_run(world);
        run.owner = owners[i % 2];
        run.model_name = models[i % 3];
        created[i] = world_create(world, &run);
    }
    int64_t keys[40] = {0};
    size_t count;
    assert_int_equal(list(world, NULL, NULL, 40, 0, keys, &count), 30);
    assert_int_equal(count, 30);
    assert_memory_equal(keys, created, sizeof created);
    assert_int_equal(list(world, NULL, NULL, 7, 28, keys, &count), 30);
    assert_int_equal(count, 2);
    assert_int_equal(keys[1], created[29]);
    assert_int_equal(list(world, "bob", NULL, 4, 5, keys, &count), 15);
    assert_int_equal(count, 4);
    assert_int_equal(keys[0], created[11]);
    assert_int_equal(keys[3], created[17]);
    assert_int_equal(list(world, NULL, "wine", 2, 1, keys, &count), 10);
    assert_int_equal(keys[0], created[5]);
    assert_int_equal(list(world, "alice", "wine", 3, 1, keys, &count), 5);
    assert_int_equal(count, 3);
    assert_int_equal(keys[0], created[8]);
    assert_int_equal(keys[2], created[20]);
    assert_int_equal(list(world, "alice", NULL, 10, 15, keys, &count), 15);
    assert_int_equal(count, 0);
    assert_int_equal(list(world, "alice", NULL, 10, UINT64_MAX, keys, &count), 15);
    assert_int_equal(count, 0);
    assert_int_equal(list(world, "alice", NULL, 0, 0, keys, &count), 15);
    assert_int_equal(count, 0);
    assert_int_equal(list(world, "carol", NULL, 10, 0, keys, &count), 0);
    assert_int_equal(list(world, NULL, "no such model", 10, 0, keys, &count), 0);
    assert_int_equal(list(world, "carol", "iris", 10, 0, keys, &count), 0);
}

static void a_page_of_large_runs_ends_early(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    run.parameters = "[1234567]"; /* 9 bytes */
    int64_t created[5];
    for (size_t i = 0; i < COUNT_OF(created); i++) {
        run.key = world_key(world);
        created[i] = world_create(world, &run);
    }
    /* bytes, how many runs come to them */
    static const size_t cases[][2] = {{1, 1}, {9, 1}, {10, 2}, {18, 2}, {36, 4}, {37, 5}, {0, 5}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct run_filter filter = {.limit = 10, .bytes_maximum = cases[i][0]};
        struct run *runs;
        size_t count;
        uint64_t total;
        struct error err;
        assert_true(
            store_list_runs(world->reader, &filter, &world->arena, &runs, &count, &total, &err));
        assert_int_equal(count, cases[i][1]);
        assert_int_equal(total, COUNT_OF(created));
        assert_int_equal(runs[count - 1].key, created[count - 1]);
    }
}

static void totals_follow_updates_and_deletes(void **state) {
    struct world *world = *state;
    struct run first = world_run(world);
    struct run second = world_run(world);
    world_create(world, &first);
    world_create(world, &second);
    int64_t keys[4] = {0};
    size_t count;
    assert_int_equal(list(world, "alice", "iris", 4, 0, keys, &count), 2);
    first.model_name = "digits";
    struct store_write update = {.kind = STORE_UPDATE_RUN, .run = &first, .expected_revision = 1};
    world_write(world, &update);
    assert_int_equal(list(world, "alice", "iris", 4, 0, keys, &count), 1);
    assert_int_equal(list(world, NULL, "digits", 4, 0, keys, &count), 1);
    assert_int_equal(list(world, "alice", NULL, 4, 0, keys, &count), 2);
    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = first.key};
    world_write(world, &delete);
    assert_int_equal(list(world, "alice", NULL, 4, 0, keys, &count), 1);
    assert_int_equal(count, 1);
    assert_int_equal(keys[0], second.key);
    assert_int_equal(list(world, NULL, "digits", 4, 0, keys, &count), 0);
    assert_int_equal(count, 0);
}

struct loaded {
    int64_t keys[8];
    size_t count;
};

static void collect_run(const struct run *run, void *context) {
    struct loaded *loaded = context;
    assert_true(loaded->count < COUNT_OF(loaded->keys));
    assert_string_equal(run->schedule, "0 * * * *");
    loaded->keys[loaded->count++] = run->key;
}

static void the_scheduler_loads_runs_that_may_fire(void **state) {
    struct world *world = *state;
    struct run disabled = world_run(world);
    disabled.enabled = false;
    world_create(world, &disabled);
    int64_t first = world_create_run(world);
    int64_t deleted = world_create_run(world);
    struct run ended = world_run(world);
    ended.next_run = WALL_TIME_NONE;
    world_create(world, &ended);
    int64_t last = world_create_run(world);
    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = deleted};
    world_write(world, &delete);
    struct run paused = world_run(world);
    paused.paused_at = (struct wall_time){world->now_us};
    world_create(world, &paused);
    struct loaded loaded = {.count = 0};
    struct error err;
    assert_true(store_load_runs(world->reader, collect_run, &loaded, &err));
    assert_int_equal(loaded.count, 2);
    assert_int_equal(loaded.keys[0], first);
    assert_int_equal(loaded.keys[1], last);
}

/* --- API keys -------------------------------------------------------------------------------------- */

static void many_api_keys_are_listed_oldest_first(void **state) {
    struct world *world = *state;
    enum { KEYS = 40 };
    for (int i = 0; i < KEYS; i++) {
        struct api_key key = {.owner = "alice", .created_at = {i}, .revoked_at = WALL_TIME_NONE};
        snprintf(key.id, sizeof key.id, "%016x", (unsigned)(KEYS - i));
        struct store_write create = {.kind = STORE_CREATE_API_KEY, .api_key = &key};
        world_write(world, &create);
    }
    struct api_key *keys;
    size_t count;
    struct error err;
    assert_true(store_list_api_keys(world->reader, &world->arena, &keys, &count, &err));
    assert_int_equal(count, KEYS);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(keys[i].created_at.us, i);
    }
}

static void api_keys_are_kept_listed_and_revoked(void **state) {
    struct world *world = *state;
    struct api_key first = {.id = "00112233445566aa",
                            .owner = "alice",
                            .created_at = {1000},
                            .revoked_at = WALL_TIME_NONE};
    memset(first.hash, 0xfe, sizeof first.hash);
    struct api_key second = first;
    memset(second.id, '0', sizeof second.id - 1);
    second.owner = "bob";
    second.admin = true;
    second.created_at = (struct wall_time){2000};
    struct store_write create = {.kind = STORE_CREATE_API_KEY, .api_key = &first};
    world_write(world, &create);
    assert_int_equal(world_write_fails(world, &create), ERROR_CONFLICT);
    create.api_key = &second;
    world_write(world, &create);

    struct error err;
    struct api_key read;
    assert_true(store_get_api_key(world->reader, second.id, &world->arena, &read, &err));
    assert_string_equal(read.owner, "bob");
    assert_true(read.admin);
    assert_memory_equal(read.hash, second.hash, sizeof read.hash);
    assert_true(wall_time_is_none(read.revoked_at));

    struct api_key revoked = {.id = "0000000000000000", .revoked_at = {3000}};
    struct store_write revoke = {.kind = STORE_REVOKE_API_KEY, .api_key = &revoked};
    world_write(world, &revoke);
    revoked.revoked_at = (struct wall_time){4000};
    world_write(world, &revoke); /* once is enough: the first time stays */
    memset(revoked.id, 'f', sizeof revoked.id - 1);
    assert_int_equal(world_write_fails(world, &revoke), ERROR_NOT_FOUND);

    struct api_key *keys;
    size_t count;
    assert_true(store_list_api_keys(world->reader, &world->arena, &keys, &count, &err));
    assert_int_equal(count, 2);
    assert_string_equal(keys[0].id, first.id);
    assert_string_equal(keys[1].id, second.id);
    assert_int_equal(keys[1].revoked_at.us, 3000);
}

/* --- restart and group commit ----------------------------------------------------------------------- */

static void a_reopened_store_is_the_same(void **state) {
    struct world *world = *state;
    uint64_t tag = store_tag(world->store);
    assert_true(tag < UINT64_C(1) << 52);
    assert_int_equal(store_greatest_run_key(world->store), 0);
    assert_int_equal(store_greatest_execution_key(world->store), 0);
    struct run run = unusual_run(world);
    world_create(world, &run);
    int64_t execution_key = world_record_finished(world, run.key, 5, EXECUTION_FAILED);
    world_reopen(world);
    assert_int_equal(store_tag(world->store), tag);
    assert_int_equal(store_greatest_run_key(world->store), run.key);
    assert_int_equal(store_greatest_execution_key(world->store), execution_key);
    struct run read = world_get_run(world, run.key);
    run.last_run = read.last_run;
    assert_same_run(&run, &read);
    assert_int_equal(world_get_execution(world, execution_key).status, EXECUTION_FAILED);
}

static void refused_writes_do_not_harm_their_companions(void **state) {
    struct world *world = *state;
    enum { WRITES = 600 };
    struct run *runs = must_alloc_zeroed(WRITES, sizeof *runs);
    struct store_write *writes = must_alloc_zeroed(WRITES, sizeof *writes);
    struct volley volley = {0};
    for (size_t i = 0; i < WRITES; i++) {
        runs[i] = world_run(world);
        if (i % 3 == 2) { /* the same key as the one before: refused */
            runs[i].key = runs[i - 1].key;
            runs[i].owner = "mallory";
        }
        writes[i] = (struct store_write){.kind = STORE_CREATE_RUN, .run = &runs[i]};
        volley_submit(world, &volley, &writes[i]);
    }
    volley_wait(&volley, WRITES);
    int64_t keys[4] = {0};
    size_t count;
    for (size_t i = 0; i < WRITES; i++) {
        assert_int_equal(writes[i].ok, i % 3 != 2);
        assert_true(writes[i].ok || writes[i].err.kind == ERROR_CONFLICT);
    }
    assert_int_equal(list(world, "alice", NULL, 1, 0, keys, &count), WRITES / 3 * 2);
    assert_int_equal(list(world, "mallory", NULL, 1, 0, keys, &count), 0);
    free(writes);
    free(runs);
}

static void writes_are_answered_in_order_and_see_each_other(void **state) {
    struct world *world = *state;
    struct run run = world_run(world);
    struct run changed = run;
    changed.schedule = "5 * * * *";
    struct execution execution = world_execution(world, world->now_us, EXECUTION_RUNNING);
    struct store_record record = {.executions = {execution}, .execution_count = 1};
    execution.run_key = run.key;
    execution.status = EXECUTION_SUCCEEDED;
    struct store_write writes[] = {
        {.kind = STORE_CREATE_RUN, .run = &run},
        {.kind = STORE_UPDATE_RUN, .run = &changed, .expected_revision = 1},
        {.kind = STORE_RECORD, .run_key = run.key, .expected_revision = 1, .record = &record},
        {.kind = STORE_RECORD, .run_key = run.key, .expected_revision = 2, .record = &record},
        {.kind = STORE_FINISH, .execution = &execution},
        {.kind = STORE_DELETE_RUN, .run_key = run.key, .expected_revision = 2},
    };
    struct volley volley = {0};
    for (size_t i = 0; i < COUNT_OF(writes); i++) {
        volley_submit(world, &volley, &writes[i]);
    }
    volley_wait(&volley, COUNT_OF(writes));
    for (size_t i = 0; i < COUNT_OF(writes); i++) {
        assert_int_equal(writes[i].ok, i != 2);
    }
    assert_int_equal(writes[2].err.kind, ERROR_STALE);
}

static void every_write_is_answered_when_the_store_stops(void **state) {
    struct world *world = *state;
    enum { WRITES = 3000 };
    struct run *runs = must_alloc_zeroed(WRITES, sizeof *runs);
    struct store_write *writes = must_alloc_zeroed(WRITES, sizeof *writes);
    struct volley volley = {0};
    for (size_t i = 0; i < WRITES; i++) {
        runs[i] = world_run(world);
        writes[i] = (struct store_write){.kind = STORE_CREATE_RUN, .run = &runs[i]};
        volley_submit(world, &volley, &writes[i]);
    }
    world_reopen(world);
    assert_int_equal(atomic_load(&volley.answered), WRITES);
    int64_t keys[1] = {0};
    size_t count;
    assert_int_equal(list(world, NULL, NULL, 1, 0, keys, &count), WRITES);
    free(writes);
    free(runs);
}

struct watcher {
    struct world *world;
    _Atomic bool stop;
    _Atomic uint32_t reads;
};

/* A list is of one moment: its total is that of its page, and runs come two at a time. */
static void *watch(void *context) {
    struct watcher *watcher = context;
    struct store_reader *reader;
    struct error err;
    ASSERT(store_reader_open(watcher->world->store, &reader, &err));
    struct arena arena = {0};
    while (!atomic_load(&watcher->stop)) {
        struct run_filter filter = {.limit = 1000000};
        struct run *runs;
        size_t count;
        uint64_t total;
        ASSERT(store_list_runs(reader, &filter, &arena, &runs, &count, &total, &err));
        ASSERT(count == total);
        for (size_t i = 0; i < count; i++) {
            ASSERT(strcmp(runs[i].model_name, "iris") == 0);
        }
        arena_reset(&arena);
        atomic_fetch_add(&watcher->reads, 1);
    }
    arena_fini(&arena);
    store_reader_close(reader);
    return NULL;
}

static void readers_see_whole_moments_while_others_write(void **state) {
    struct world *world = *state;
    struct watcher watcher = {.world = world};
    pthread_t threads[3];
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, watch, &watcher), 0);
    }
    for (size_t i = 0; i < 150 || atomic_load(&watcher.reads) < 20; i++) {
        int64_t key = world_create_run(world);
        if (i % 2 == 0) {
            struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = key};
            world_write(world, &delete);
        }
    }
    atomic_store(&watcher.stop, true);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        pthread_join(threads[i], NULL);
    }
}

static uint64_t count_runs(struct world *world) {
    struct run_filter filter = {.limit = 1};
    struct run *runs;
    size_t count;
    uint64_t total;
    struct error err;
    assert_true(
        store_list_runs(world->reader, &filter, &world->arena, &runs, &count, &total, &err));
    return total;
}

static void reads_as_one_nest_and_last_until_the_outermost_ends(void **state) {
    struct world *world = *state;
    struct error err;
    world_create_run(world);
    assert_true(store_reader_begin(world->reader, &err));
    assert_int_equal(count_runs(world), 1);
    world_create_run(world);
    assert_true(store_reader_begin(world->reader, &err));
    assert_int_equal(count_runs(world), 1);
    store_reader_end(world->reader);
    assert_int_equal(count_runs(world), 1);
    store_reader_end(world->reader);
    assert_int_equal(count_runs(world), 2);
}

size_t conformance_run_tests(struct CMUnitTest *out_tests) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_created_run_reads_back_as_it_was),
        cmocka_unit_test(long_names_read_back_as_they_were),
        cmocka_unit_test(many_names_are_kept_apart),
        cmocka_unit_test(a_large_run_reads_back_as_it_was),
        cmocka_unit_test(what_is_not_there_is_not_found),
        cmocka_unit_test(a_run_is_created_once),
        cmocka_unit_test(an_update_replaces_the_configuration_and_counts),
        cmocka_unit_test(a_change_that_does_not_touch_when_a_run_is_due_keeps_its_next_slot),
        cmocka_unit_test(a_stale_change_changes_nothing),
        cmocka_unit_test(a_deleted_run_is_gone_and_its_history_stays),
        cmocka_unit_test(lists_are_pages_in_the_order_of_creation_with_the_total),
        cmocka_unit_test(a_page_of_large_runs_ends_early),
        cmocka_unit_test(totals_follow_updates_and_deletes),
        cmocka_unit_test(the_scheduler_loads_runs_that_may_fire),
        cmocka_unit_test(many_api_keys_are_listed_oldest_first),
        cmocka_unit_test(api_keys_are_kept_listed_and_revoked),
        cmocka_unit_test(a_reopened_store_is_the_same),
        cmocka_unit_test(refused_writes_do_not_harm_their_companions),
        cmocka_unit_test(writes_are_answered_in_order_and_see_each_other),
        cmocka_unit_test(every_write_is_answered_when_the_store_stops),
        cmocka_unit_test(readers_see_whole_moments_while_others_write),
        cmocka_unit_test(reads_as_one_nest_and_last_until_the_outermost_ends),
    };
    memcpy(out_tests, tests, sizeof tests);
    return COUNT_OF(tests);
}
