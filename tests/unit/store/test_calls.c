/* Whatever single call to SQLite or to the system fails, in whatever the store does: it says so, nothing has changed, and
 * the same done again succeeds. */
#include "../../store/world.h"
#include "failing_calls.h"
#include "observe/log.h"
#include "place.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { CALLS_MAXIMUM = 400, NAME_BYTES = 320 };

static int make_place(void **state) {
    *state = (char *)place_make();
    return 0;
}

static int discard_place(void **state) {
    place_discard(*state);
    return 0;
}

static const char *beside(const char *path, const char *ending, char out[static NAME_BYTES]) {
    int bytes = snprintf(out, NAME_BYTES, "%s%s", path, ending);
    assert_in_range(bytes, 1, NAME_BYTES - 1);
    return out;
}

/* --- writing ----------------------------------------------------------------------------------------- */

/* Lets each call of the write's fail in turn, until none is left. What was prepared before is prepared again, by a
 * store that is newly opened for each. */
static void write_fails_at_each_call(struct world *world, struct store_write *write) {
    for (int calls = 0; calls < CALLS_MAXIMUM; calls++) {
        struct error err;
        world_reopen(world);
        failing_calls_begin(calls);
        bool ok = store_submit_and_wait(world->store, write, &err);
        bool failed = failing_calls_end();
        free(write->out_parameters);
        write->out_parameters = NULL;
        if (ok) {
            if (!failed) {
                assert_true(calls > 0);
            }
            return; /* done: a call that failed was one of the upkeep's, after it */
        }
        assert_true(failed);
        assert_int_equal(err.kind, ERROR_STORE);
    }
    fail_msg("never done");
}

static void every_write_survives_every_call_that_fails(void **state) {
    struct world world;
    world_open(&world, *state);
    struct run run = world_run(&world);
    run.retry.non_retryable = error_kind_bit(ERROR_TIMED_OUT);
    struct store_write create = {.kind = STORE_CREATE_RUN, .run = &run};
    write_fails_at_each_call(&world, &create);

    struct execution queued = world_execution(&world, world.now_us, EXECUTION_QUEUED);
    struct store_record record = {.executions = {queued}, .execution_count = 1, .advances = true};
    struct store_write write = {.kind = STORE_RECORD, .run_key = run.key, .record = &record};
    write_fails_at_each_call(&world, &write);

    run.model_name = "wine";
    run.parameters = "{\"other\": 1}"; /* the queued one gets the old ones */
    struct store_write update = {.kind = STORE_UPDATE_RUN, .run = &run, .expected_revision = 1};
    write_fails_at_each_call(&world, &update);

    struct store_write start = {
        .kind = STORE_START, .execution_key = queued.key, .started_at = {world.now_us}};
    write_fails_at_each_call(&world, &start);

    queued.run_key = run.key;
    queued.status = EXECUTION_FAILED;
    queued.started_at = world_now(&world);
    queued.model_version = 3;
    queued.has_model_digest = true;
    record = (struct store_record){
        .executions = {world_execution(&world, queued.scheduled_for.us, EXECUTION_RUNNING)},
        .execution_count = 1,
        .finished = &queued};
    record.executions[0].trigger = TRIGGER_RETRY;
    record.executions[0].attempt = 2;
    write_fails_at_each_call(&world, &write);

    struct execution retry = record.executions[0];
    retry.run_key = run.key;
    retry.status = EXECUTION_SUCCEEDED;
    retry.model_version = 4;
    struct store_write finish = {.kind = STORE_FINISH, .execution = &retry};
    write_fails_at_each_call(&world, &finish);

    /* Two in one step, one of them late, so that it goes between others; and a one-shot run's end. */
    struct execution late = world_execution(&world, 1, EXECUTION_SKIPPED);
    world_record_finished(&world, run.key, 2, EXECUTION_SUCCEEDED);
    record =
        (struct store_record){.executions = {late, world_execution(&world, 3, EXECUTION_RUNNING)},
                              .execution_count = 2,
                              .advances = true,
                              .next_run = WALL_TIME_NONE,
                              .disables = true};
    write_fails_at_each_call(&world, &write);

    struct backfill backfill = {.key = world_key(&world),
                                .run_key = run.key,
                                .from = {5},
                                .to = {50},
                                .next_slot = {5},
                                .slot_count = 2,
                                .parallelism = 1,
                                .parameters = "1",
                                .created_at = world_now(&world),
                                .cancelled_at = WALL_TIME_NONE};
    struct store_write create_backfill = {.kind = STORE_CREATE_BACKFILL, .backfill = &backfill};
    write_fails_at_each_call(&world, &create_backfill);
    record = (struct store_record){.executions = {world_execution(&world, 5, EXECUTION_RUNNING)},
                                   .execution_count = 1,
                                   .backfill_key = backfill.key,
                                   .backfill_next = {6}};
    record.executions[0].trigger = TRIGGER_BACKFILL;
    write_fails_at_each_call(&world, &write);
    struct execution backfilled = record.executions[0];
    struct run_totals totals;
    struct error err;
    assert_true(store_get_run_totals(world.reader, run.key, &totals, &err));
    assert_int_equal(totals.count[EXECUTION_SUCCEEDED], 2);
    assert_int_equal(totals.count[EXECUTION_RUNNING], 2);
    assert_int_equal(world_get_execution(&world, backfilled.key).backfill_key, backfill.key);
    backfill.cancelled_at = world_now(&world);
    struct store_write cancel = {.kind = STORE_CANCEL_BACKFILL, .backfill = &backfill};
    write_fails_at_each_call(&world, &cancel);
    /* One whose slots are all recorded, the last under way. */
    backfill.key = world_key(&world);
    backfill.cancelled_at = WALL_TIME_NONE;
    world_write(&world, &create_backfill);
    record.executions[0] = world_execution(&world, 6, EXECUTION_RUNNING);
    record.executions[0].trigger = TRIGGER_BACKFILL;
    record.backfill_key = backfill.key;
    record.backfill_next = WALL_TIME_NONE;
    world_write(&world, &write);
    backfill.cancelled_at = world_now(&world);
    write_fails_at_each_call(&world, &cancel);

    struct api_key key = {.id = "0123456789abcdef", .owner = "carol", .revoked_at = WALL_TIME_NONE};
    struct store_write create_key = {.kind = STORE_CREATE_API_KEY, .api_key = &key};
    write_fails_at_each_call(&world, &create_key);
    key.revoked_at = world_now(&world);
    struct store_write revoke = {.kind = STORE_REVOKE_API_KEY, .api_key = &key};
    write_fails_at_each_call(&world, &revoke);

    struct store_write delete = {.kind = STORE_DELETE_RUN, .run_key = run.key};
    write_fails_at_each_call(&world, &delete);
    world_close(&world);
}

/* A step of two that is refused, and whose undoing fails, takes its companions along but harms nothing. */
static void a_refused_step_survives_every_call_that_fails(void **state) {
    struct world world;
    world_open(&world, *state);
    int64_t run_key = world_create_run(&world);
    int64_t taken = world_record_finished(&world, run_key, 5, EXECUTION_SUCCEEDED);
    struct store_record record = {.executions = {world_execution(&world, 4, EXECUTION_SKIPPED),
                                                 world_execution(&world, 5, EXECUTION_RUNNING)},
                                  .execution_count = 2};
    struct store_write write = {.kind = STORE_RECORD, .run_key = run_key, .record = &record};
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        struct error err;
        world_reopen(&world);
        failing_calls_begin(calls);
        assert_false(store_submit_and_wait(world.store, &write, &err));
        failed = failing_calls_end();
        free(write.out_parameters);
        assert_true(err.kind == ERROR_CONFLICT || (failed && err.kind == ERROR_STORE));
        struct run_totals totals;
        assert_true(store_get_run_totals(world.reader, run_key, &totals, &err));
        assert_int_equal(totals.count[EXECUTION_SKIPPED], 0);
    }
    assert_false(failed);
    assert_int_equal(world_get_execution(&world, taken).status, EXECUTION_SUCCEEDED);
    world_close(&world);
}

/* --- upkeep ------------------------------------------------------------------------------------------ */

static void retention_survives_every_call_that_fails(void **state) {
    struct world world;
    world_open(&world, *state);
    uint64_t recorded = 0;
    int64_t run_key = world_create_run(&world);
    int64_t now_us = world.now_us;
    struct run_totals totals;
    struct error err;
    for (int calls = 0; calls < 220; calls++) {
        /* By count, or by age (in the test's time, all of them are of today) and bytes. */
        bool sweeps = calls % 2 == 1;
        world.options.retention_count = sweeps ? 0 : 2;
        world.options.retention_bytes = sweeps ? 4096 : 0;
        world.options.retention_age.us = sweeps ? 1 : 0;
        world_reopen(&world);
        failing_calls_begin(calls / 2);
        for (int i = 0; i < 8; i++) {
            struct execution execution = world_execution(&world, world.now_us, EXECUTION_SKIPPED);
            struct store_record record = {.executions = {execution}, .execution_count = 1};
            struct store_write write = {
                .kind = STORE_RECORD, .run_key = run_key, .record = &record};
            recorded += store_submit_and_wait(world.store, &write, &err) ? 1 : 0;
        }
        failing_calls_end();
        assert_true(store_get_run_totals(world.reader, run_key, &totals, &err));
        assert_int_equal(totals.count[EXECUTION_SKIPPED], recorded);
    }
    assert_true(totals.removed > recorded / 2);
    assert_true(world.now_us > now_us);
    world_close(&world);
}

/* --- reading ----------------------------------------------------------------------------------------- */

struct reading {
    struct world *world;
    int64_t run_key;
    int64_t execution_key;
    int64_t backfill_key;
};

static void take_run(const struct run *run, void *context) { (void)run, (void)context; }
static void take_execution(const struct execution *execution, void *context) {
    (void)execution, (void)context;
}
static void take_backfill(const struct backfill *backfill, void *context) {
    (void)backfill, (void)context;
}

static bool get_run(struct reading *r, struct error *err) {
    struct run run;
    return store_get_run(r->world->reader, r->run_key, &r->world->arena, &run, err);
}
static bool list_runs(struct reading *r, struct error *err) {
    struct run_filter filter = {.owner = "alice", .model_name = "iris", .limit = 10};
    struct run *runs;
    size_t count;
    uint64_t total;
    return store_list_runs(r->world->reader, &filter, &r->world->arena, &runs, &count, &total, err);
}
static bool get_execution(struct reading *r, struct error *err) {
    struct execution execution;
    const char *owner;
    return store_get_execution(r->world->reader, r->execution_key, &r->world->arena, &execution,
                               &owner, err);
}
static bool list_executions_from(struct reading *r, int64_t before_key, struct error *err) {
    struct execution_filter filter = {.run_key = r->run_key,
                                      .since = {1},
                                      .until = WALL_TIME_NONE,
                                      .before_key = before_key,
                                      .limit = 1};
    struct execution *executions;
    size_t count;
    int64_t next_cursor;
    return store_list_executions(r->world->reader, &filter, &r->world->arena, &executions, &count,
                                 &next_cursor, err);
}
static bool list_executions(struct reading *r, struct error *err) {
    return list_executions_from(r, 0, err);
}
static bool list_executions_of_a_number(struct reading *r, struct error *err) {
    return list_executions_from(r, r->execution_key - 1, err);
}
static bool get_totals(struct reading *r, struct error *err) {
    struct run_totals totals;
    return store_get_run_totals(r->world->reader, r->run_key, &totals, err);
}
static bool get_backfill(struct reading *r, struct error *err) {
    struct backfill backfill;
    const char *owner;
    return store_get_backfill(r->world->reader, r->backfill_key, &r->world->arena, &backfill,
                              &owner, err);
}
static bool list_backfills(struct reading *r, struct error *err) {
    struct backfill *backfills;
    size_t count;
    return store_list_backfills(r->world->reader, r->run_key, 0, 10, &r->world->arena, &backfills,
                                &count, err);
}
static bool count_backfill(struct reading *r, struct error *err) {
    uint64_t count[EXECUTION_MISSED + 1];
    return store_count_backfill(r->world->reader, r->backfill_key, count, err);
}
static bool get_api_key(struct reading *r, struct error *err) {
    struct api_key key;
    return store_get_api_key(r->world->reader, "0123456789abcdef", &r->world->arena, &key, err);
}
static bool list_api_keys(struct reading *r, struct error *err) {
    struct api_key *keys;
    size_t count;
    return store_list_api_keys(r->world->reader, &r->world->arena, &keys, &count, err);
}
static bool load_all(struct reading *r, struct error *err) {
    return store_load_runs(r->world->reader, take_run, NULL, err) &&
           store_load_active(r->world->reader, take_execution, NULL, err) &&
           store_load_backfills(r->world->reader, take_backfill, NULL, err);
}
static bool check(struct reading *r, struct error *err) {
    return store_check(r->world->reader, err);
}
static bool several(struct reading *r, struct error *err) {
    if (!store_reader_begin(r->world->reader, err)) {
        return false;
    }
    bool ok = get_run(r, err) && get_totals(r, err);
    store_reader_end(r->world->reader);
    return ok;
}

static void every_read_survives_every_call_that_fails(void **state) {
    struct world world;
    world_open(&world, *state);
    struct reading reading = {.world = &world, .run_key = world_create_run(&world)};
    world_create_run(&world);
    world_record_finished(&world, reading.run_key, world.now_us, EXECUTION_SUCCEEDED);
    reading.execution_key =
        world_record_finished(&world, reading.run_key, world.now_us, EXECUTION_FAILED);
    struct execution running = world_execution(&world, world.now_us, EXECUTION_RUNNING);
    world_record(&world, reading.run_key, &running);
    for (int i = 0; i < 2; i++) {
        struct backfill backfill = {.key = world_key(&world),
                                    .run_key = reading.run_key,
                                    .from = {5},
                                    .to = {50},
                                    .next_slot = {5},
                                    .slot_count = 2,
                                    .parallelism = 1,
                                    .created_at = world_now(&world),
                                    .cancelled_at = WALL_TIME_NONE};
        struct store_write create = {.kind = STORE_CREATE_BACKFILL, .backfill = &backfill};
        world_write(&world, &create);
        reading.backfill_key = backfill.key;
        for (int slot = 5; slot < 7; slot++) {
            struct store_record record = {
                .executions = {world_execution(&world, slot,
                                               slot == 5 ? EXECUTION_RUNNING : EXECUTION_SKIPPED)},
                .execution_count = 1,
                .backfill_key = backfill.key,
                .backfill_next = {6}};
            struct store_write write = {
                .kind = STORE_RECORD, .run_key = reading.run_key, .record = &record};
            world_write(&world, &write);
        }
    }
    struct api_key key = {.id = "0123456789abcdef", .owner = "carol", .revoked_at = WALL_TIME_NONE};
    struct store_write create_key = {.kind = STORE_CREATE_API_KEY, .api_key = &key};
    world_write(&world, &create_key);
    bool (*const reads[])(struct reading *, struct error *) = {
        get_run,       list_runs,    get_execution,  list_executions, list_executions_of_a_number,
        get_totals,    get_backfill, list_backfills, count_backfill,  get_api_key,
        list_api_keys, load_all,     check,          several,
    };
    for (size_t i = 0; i < COUNT_OF(reads); i++) {
        bool failed = true;
        for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
            struct error err;
            world_reopen(&world); /* so that the statements are prepared again */
            failing_calls_begin(calls);
            bool ok = reads[i](&reading, &err);
            failed = failing_calls_end();
            assert_true(ok || (failed && err.kind == ERROR_STORE));
            assert_true(reads[i](&reading, &err));
            arena_reset(&world.arena);
        }
        assert_false(failed);
    }
    world_close(&world);
}

/* A history that is too long to be gone through by its links, and is looked through in order of time. */
static void a_search_in_a_long_history_survives_every_call_that_fails(void **state) {
    enum { LONG = 10050 };
    struct world world;
    world_open(&world, *state);
    struct reading reading = {.world = &world, .run_key = world_create_run(&world)};
    int64_t other_run_key = world_create_run(&world);
    struct store_record *records = must_alloc_zeroed(LONG, sizeof *records);
    struct store_write *writes = must_alloc_zeroed(LONG, sizeof *writes);
    struct volley volley = {0};
    for (int i = 0; i < LONG; i++) {
        records[i].executions[0] = world_execution(&world, world.now_us, EXECUTION_SKIPPED);
        records[i].execution_count = 1;
        writes[i] =
            (struct store_write){.kind = STORE_RECORD,
                                 .run_key = i > 0 && i < 5 ? other_run_key : reading.run_key,
                                 .record = &records[i]};
        volley_submit(&world, &volley, &writes[i]);
    }
    volley_wait(&volley, LONG);
    reading.execution_key = records[5].executions[0].key;
    bool failed = true;
    int calls = 9990; /* the links before are one like the other */
    for (; failed && calls < 9990 + CALLS_MAXIMUM; calls++) {
        struct error err;
        world_reopen(&world);
        failing_calls_begin(calls);
        bool ok = list_executions_of_a_number(&reading, &err);
        failed = failing_calls_end();
        assert_true(ok || (failed && err.kind == ERROR_STORE));
        assert_true(list_executions_of_a_number(&reading, &err));
        arena_reset(&world.arena);
    }
    assert_false(failed);
    assert_true(calls > 10005);
    free(records);
    free(writes);
    world_close(&world);
}

/* --- opening ----------------------------------------------------------------------------------------- */

static void remove_store(const char *path) {
    const char *const endings[] = {"",        "-wal",     "-shm",           ".lock",
                                   ".backup", ".restore", ".before-restore"};
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        char name[NAME_BYTES];
        unlink(beside(path, endings[i], name));
    }
}

/* From the first opening, which makes the store, or of one that is there. */
static void open_fails_at_each_call(const char *path, bool exclusive, bool anew) {
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        struct store_options options = {.location = path, .exclusive = exclusive};
        struct store *store = NULL;
        struct store_reader *reader = NULL;
        struct error err;
        if (anew) {
            remove_store(path);
        }
        failing_calls_begin(calls);
        bool ok = store_open(&options, &store, &err) && store_start(store, &err) &&
                  store_reader_open(store, &reader, &err);
        failed = failing_calls_end();
        assert_true(ok || failed);
        store_reader_close(reader);
        store_close(store);
        assert_true(store_open(&options, &store, &err)); /* what was half made is made whole */
        store_close(store);
    }
    assert_false(failed);
}

static void opening_survives_every_call_that_fails(void **state) {
    open_fails_at_each_call(*state, true, true);
    open_fails_at_each_call(*state, true, false);
    open_fails_at_each_call(*state, false, true);
    open_fails_at_each_call(*state, false, false);
    char inside[NAME_BYTES];
    char name[NAME_BYTES];
    beside(*state, ".folder/store.db", inside);
    open_fails_at_each_call(inside, true, true); /* whose folder is made, too */
    remove_store(inside);
    rmdir(beside(*state, ".folder", name));
}

/* --- copies ------------------------------------------------------------------------------------------ */

static void assert_is_store(const char *path, uint64_t runs) {
    struct world world;
    world_open(&world, path);
    struct run_filter filter = {.limit = 1};
    struct run *list;
    size_t count;
    uint64_t total;
    struct error err;
    assert_true(store_list_runs(world.reader, &filter, &world.arena, &list, &count, &total, &err));
    assert_int_equal(total, runs);
    world_close(&world);
}

static void a_backup_survives_every_call_that_fails(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    char partial[NAME_BYTES];
    beside(path, ".backup", file);
    beside(path, ".backup.partial", partial);
    struct world world;
    world_open(&world, path);
    world_create_run(&world);
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        struct error err;
        unlink(file);
        failing_calls_begin(calls);
        bool ok = store_backup(path, file, NULL, &err);
        failed = failing_calls_end();
        assert_true(ok || failed);
        assert_int_equal(access(partial, F_OK), -1);
        if (access(file, F_OK) == 0) { /* only the flush of its folder can have failed */
            assert_is_store(file, 1);
        } else {
            assert_false(ok);
        }
    }
    assert_false(failed);
    world_close(&world);
}

static void a_restore_survives_every_call_that_fails(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    char kept[NAME_BYTES];
    beside(path, ".backup", file);
    beside(path, ".before-restore", kept);
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        struct error err;
        struct world world;
        remove_store(path);
        world_open(&world, path);
        world_create_run(&world);
        world_close(&world);
        assert_true(store_backup(path, file, NULL, &err));
        world_open(&world, path);
        world_create_run(&world);
        world_close(&world);
        failing_calls_begin(calls);
        bool ok = store_stage_restore(path, file, NULL, &err) && store_finish_restore(path, &err);
        failed = failing_calls_end();
        assert_true(ok || failed);
        /* The one or the other, whole: and where it was decided, the next start goes on with it. */
        bool decided = ok || store_restore_is_staged(path) || access(kept, F_OK) == 0;
        assert_is_store(path, decided ? 1 : 2);
        assert_false(store_restore_is_staged(path));
        if (decided) {
            assert_is_store(kept, 2);
            char log[NAME_BYTES];
            unlink(beside(kept, ".lock", log));
        }
    }
    assert_false(failed);
}

/* Where one fails, so do the next: a disk that is gone, a file system without links. */
static void a_restore_on_a_failing_disk_is_the_one_or_the_other(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    beside(path, ".backup", file);
    for (int count = 2; count < 8; count++) {
        bool failed = true;
        for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
            struct error err;
            remove_store(path);
            struct world world;
            world_open(&world, path);
            world_create_run(&world);
            assert_true(store_backup(path, file, NULL, &err));
            world_create_run(&world);
            world_close(&world);
            failing_calls_begin_many(calls, count, EIO);
            bool ok =
                store_stage_restore(path, file, NULL, &err) && store_finish_restore(path, &err);
            failed = failing_calls_end();
            assert_true(ok || failed);
            bool decided = ok || store_restore_is_staged(path);
            char kept[NAME_BYTES];
            decided = decided || access(beside(path, ".before-restore", kept), F_OK) == 0;
            assert_is_store(path, decided ? 1 : 2);
        }
        assert_false(failed);
    }
}

/* A restore that was decided, and a daemon that starts while calls fail: it does not start on the wrong store. */
static void a_start_with_a_restore_to_finish_survives_every_call_that_fails(void **state) {
    const char *path = *state;
    char file[NAME_BYTES];
    beside(path, ".backup", file);
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        struct store_options options = {.location = path, .exclusive = true};
        struct store *store = NULL;
        struct error err;
        struct world world;
        remove_store(path);
        world_open(&world, path);
        world_create_run(&world);
        assert_true(store_backup(path, file, NULL, &err));
        world_create_run(&world);
        world_close(&world);
        assert_true(store_stage_restore(path, file, NULL, &err));
        failing_calls_begin(calls);
        bool ok = store_open(&options, &store, &err);
        failed = failing_calls_end();
        assert_true(ok || failed);
        store_close(store);
        assert_is_store(path, 1);
        assert_false(store_restore_is_staged(path));
    }
    assert_false(failed);
}

/* A disk that can only be read, on which SQLite cannot make its files. */
static void a_backup_of_what_cannot_be_written_survives_every_call_that_fails(void **state) {
    const char *path = *state;
    char folder[NAME_BYTES];
    char target_folder[NAME_BYTES];
    char file[NAME_BYTES];
    struct world world;
    world_open(&world, path);
    world_create_run(&world);
    world_close(&world);
    const char *target = place_make();
    beside(target, ".backup", file);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    snprintf(target_folder, sizeof target_folder, "%.*s", (int)(strrchr(target, '/') - target),
             target);
    assert_int_equal(chmod(path, 0444) + chmod(folder, 0555) + chmod(target_folder, 0777), 0);
    bool is_root = geteuid() == 0; /* whom no mode keeps out */
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        struct error err;
        unlink(file);
        assert_true(!is_root || seteuid(65534) == 0);
        failing_calls_begin(calls);
        bool ok = store_backup(path, file, NULL, &err);
        failed = failing_calls_end();
        assert_true(!is_root || seteuid(0) == 0);
        assert_true(ok || failed);
        assert_true(!ok || access(file, F_OK) == 0);
    }
    assert_false(failed);
    assert_int_equal(chmod(folder, 0700), 0);
    assert_is_store(file, 1);
    place_discard(target);
}

static void what_the_system_says_comes_with_advice(void **state) {
    const struct {
        int with_errno;
        const char *advice;
    } cases[] = {{ENOSPC, "make room"},
                 {EDQUOT, "make room"},
                 {EROFS, "mount the disk for writing"},
                 {EACCES, "let the user with id"},
                 {EPERM, "let the user with id"},
                 {EIO, "look after the disk"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct store *store;
        struct error err;
        failing_calls_begin_many(1, FAILING_CALLS_ALL,
                                 cases[i].with_errno); /* the folder is there */
        assert_false(store_open(&(struct store_options){.location = *state}, &store, &err));
        failing_calls_end();
        assert_non_null(strstr(err.message, cases[i].advice));
        assert_non_null(strstr(err.message, *state));
    }
}

static void looking_for_the_daemon_survives_every_call_that_fails(void **state) {
    struct world world;
    world_open(&world, *state);
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        int64_t pid = 0;
        struct error err;
        failing_calls_begin(calls);
        bool ok = store_find_daemon(*state, &pid, &err);
        failed = failing_calls_end();
        assert_true(ok ? pid == getpid() : failed);
        failing_calls_begin(calls);
        assert_false(store_finish_restore(*state, &err)); /* there is a daemon, and nothing to do */
        failed = failing_calls_end() || failed;
    }
    assert_false(failed);
    world_close(&world);
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    /* Thousands of stores are made, and no disk is needed for calls that fail: memory will do. */
    if (access("/dev/shm", W_OK) == 0) {
        setenv("TMPDIR", "/dev/shm", 1); // NOLINT(concurrency-mt-unsafe)
    }
    const struct CMUnitTest tests[] = {
        PLACE_TEST(every_write_survives_every_call_that_fails),
        PLACE_TEST(a_refused_step_survives_every_call_that_fails),
        PLACE_TEST(retention_survives_every_call_that_fails),
        PLACE_TEST(every_read_survives_every_call_that_fails),
        PLACE_TEST(a_search_in_a_long_history_survives_every_call_that_fails),
        PLACE_TEST(opening_survives_every_call_that_fails),
        PLACE_TEST(a_backup_survives_every_call_that_fails),
        PLACE_TEST(a_restore_survives_every_call_that_fails),
        PLACE_TEST(a_restore_on_a_failing_disk_is_the_one_or_the_other),
        PLACE_TEST(a_start_with_a_restore_to_finish_survives_every_call_that_fails),
        PLACE_TEST(a_backup_of_what_cannot_be_written_survives_every_call_that_fails),
        PLACE_TEST(what_the_system_says_comes_with_advice),
        PLACE_TEST(looking_for_the_daemon_survives_every_call_that_fails),
    };
    log_set_level((enum log_level)(LOG_ERROR + 1)); /* each failure is one line */
    return cmocka_run_group_tests_name("store: calls", tests, NULL, NULL);
}
