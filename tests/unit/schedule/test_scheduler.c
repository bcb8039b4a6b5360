/* The scheduler's thread between a real store, real workers and a clock that stands until a test turns it. */
#include "schedule/scheduler.h"

#include "../../store/world.h"
#include "../store/place.h"

#include <errno.h>
#include <ftw.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MINUTE_US (60 * US_PER_SECOND)
enum { WAIT_LIMIT_S = 120 };

/* --- the bed ------------------------------------------------------------------------------------- */

struct bed {
    struct clock clock; /* its context is the bed */
    _Atomic int64_t monotonic_us;
    _Atomic int64_t wall_offset_us; /* how far the wall clock is ahead of the monotonic one */
    char models[64];
    sem_t scanned;
    struct dispatcher *dispatcher;
    struct model_repository *repository;
    struct world world; /* the store */
    struct identity_source execution_keys;
    struct scheduler *scheduler;
};

/* Who reads the wall clock and then the monotonic one gets the two of one moment. */
static _Thread_local int64_t moment_us;

static struct wall_time bed_wall_now(void *context) {
    struct bed *bed = context;
    moment_us = atomic_load(&bed->monotonic_us);
    return (struct wall_time){moment_us + atomic_load(&bed->wall_offset_us)};
}

static struct monotonic_time bed_monotonic_now(void *context) {
    int64_t us = moment_us != 0 ? moment_us : atomic_load(&((struct bed *)context)->monotonic_us);
    moment_us = 0;
    return (struct monotonic_time){us};
}

static void on_scanned(void *context) { sem_post(context); }

static void link_model(const struct bed *bed, const char *name) {
    char path[256];
    char target[512];
    snprintf(path, sizeof path, "%s/%s", bed->models, name);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/%s/1", bed->models, name);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/%s/1/model.onnx", bed->models, name);
    snprintf(target, sizeof target, "%s/tests/models/%s.onnx", getenv("ORRERY_SOURCE_ROOT"), name);
    assert_int_equal(symlink(target, path), 0);
}

static int setup_models(void **state) {
    static struct bed bed;
    strcpy(bed.models, "/tmp/orrery-scheduler-XXXXXX");
    assert_non_null(mkdtemp(bed.models));
    link_model(&bed, "line");
    link_model(&bed, "endless");
    link_model(&bed, "picky");
    bed.clock = (struct clock){bed_wall_now, bed_monotonic_now, &bed};
    sem_init(&bed.scanned, 0, 0);
    struct dispatcher_options options = {
        .program = getenv("ORRERY_PROGRAM"), .worker_count = 2, .clock = clock_system()};
    struct error err;
    assert_true(dispatcher_new(&options, &bed.dispatcher, &err));
    assert_true(model_repository_new(bed.models, dispatcher_describer(bed.dispatcher),
                                     &bed.repository, &err));
    dispatcher_set_repository(bed.dispatcher, bed.repository);
    assert_true(dispatcher_start(bed.dispatcher, &err));
    assert_true(model_repository_start(bed.repository, on_scanned, &bed.scanned, &err));
    while (sem_wait(&bed.scanned) != 0) {
    }
    *state = &bed;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static int teardown_models(void **state) {
    struct bed *bed = *state;
    dispatcher_stop(bed->dispatcher);
    model_repository_free(bed->repository);
    dispatcher_free(bed->dispatcher);
    nftw(bed->models, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    sem_destroy(&bed->scanned);
    return 0;
}

static void start_scheduler(struct bed *bed, int64_t drain_limit_us) {
    struct scheduler_options options = {.clock = &bed->clock,
                                        .store = bed->world.store,
                                        .dispatcher = bed->dispatcher,
                                        .execution_keys = &bed->execution_keys,
                                        .drain_limit = {drain_limit_us},
                                        .repository = bed->repository,
                                        .worker_count = 2,
                                        .running_maximum = 100};
    struct error err;
    assert_true(scheduler_new(&options, &bed->scheduler, &err));
    assert_true(scheduler_start(bed->scheduler, &err));
}

static int setup(void **state) {
    struct bed *bed = *state;
    world_open(&bed->world, place_make());
    atomic_store(&bed->monotonic_us, INT64_C(1000) * US_PER_SECOND);
    atomic_store(&bed->wall_offset_us, bed->world.now_us - INT64_C(1000) * US_PER_SECOND);
    identity_source_init(&bed->execution_keys, 0);
    start_scheduler(bed, 60 * US_PER_SECOND);
    return 0;
}

static int teardown(void **state) {
    struct bed *bed = *state;
    const char *location = bed->world.location;
    if (bed->scheduler != NULL) {
        scheduler_stop(bed->scheduler);
    }
    store_stop(bed->world.store);
    scheduler_free(bed->scheduler);
    bed->scheduler = NULL;
    world_close(&bed->world);
    place_discard(location);
    return 0;
}

/* The thread looks at the clock when a letter comes: this one changes nothing. */
static void wake(struct bed *bed) { scheduler_zones_changed(bed->scheduler); }

/* Time goes by. */
static void pass(struct bed *bed, int64_t us) {
    atomic_fetch_add(&bed->monotonic_us, us);
    wake(bed);
}

/* Somebody turns the wall clock, or the machine sleeps: the monotonic clock stands. */
static void step(struct bed *bed, int64_t us) {
    atomic_fetch_add(&bed->wall_offset_us, us);
    wake(bed);
}

/* Asks every few milliseconds; the time that it waits for is real. */
static void wait_until(bool (*condition)(struct bed *bed, const void *with), struct bed *bed,
                       const void *with) {
    struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
    for (int64_t waited_ms = 0; !condition(bed, with); waited_ms += 2) {
        assert_true(waited_ms < WAIT_LIMIT_S * 1000);
        nanosleep(&pause, NULL);
    }
}

/* --- runs and what became of them -------------------------------------------------------------------- */

static struct wall_time next_minute(const struct bed *bed) {
    return (struct wall_time){(bed_wall_now((void *)(uintptr_t)bed).us / MINUTE_US + 1) *
                              MINUTE_US};
}

/* A run that is due every minute; not stored. */
static struct run minutely(struct bed *bed, const char *model_name) {
    struct run run = world_run(&bed->world);
    run.schedule = "* * * * *";
    run.model_name = model_name;
    run.parameters = "{\"data\":[[3.0]]}";
    run.timeout = (struct duration){100 * US_PER_SECOND};
    run.retry.max_attempts = 0;
    run.retry.backoff = (struct duration){0};
    run.next_run = next_minute(bed);
    return run;
}

static struct plan_entry *entry_of(const struct run *run) {
    struct plan_entry *entry;
    struct error err;
    assert_true(plan_entry_new(run, &entry, &err));
    return entry;
}

static int64_t create(struct bed *bed, struct run run) {
    int64_t key = world_create(&bed->world, &run);
    run.revision = 1;
    scheduler_put_run(bed->scheduler, entry_of(&run));
    return key;
}

/* The run's newest executions, as many as there are up to 100. */
static size_t read_history(struct bed *bed, int64_t run_key, struct execution **out) {
    struct execution_filter filter = {
        .run_key = run_key, .since = WALL_TIME_NONE, .until = WALL_TIME_NONE, .limit = 100};
    size_t count;
    int64_t next_cursor;
    struct error err;
    assert_true(store_list_executions(bed->world.reader, &filter, &bed->world.arena, out, &count,
                                      &next_cursor, &err));
    return count;
}

struct expectation {
    int64_t run_key;
    enum execution_status status;
    size_t count; /* at least */
};

static bool has_so_many(struct bed *bed, const void *with) {
    const struct expectation *expected = with;
    struct execution *executions;
    size_t count = read_history(bed, expected->run_key, &executions);
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found += executions[i].status == expected->status ? 1 : 0;
    }
    return found >= expected->count;
}

static void wait_for(struct bed *bed, int64_t run_key, enum execution_status status, size_t count) {
    wait_until(has_so_many, bed, &(struct expectation){run_key, status, count});
}

static size_t count_all(struct bed *bed, int64_t run_key) {
    struct execution *executions;
    return read_history(bed, run_key, &executions);
}

static struct execution newest(struct bed *bed, int64_t run_key) {
    struct execution *executions;
    assert_true(read_history(bed, run_key, &executions) > 0);
    return executions[0];
}

static void execute(struct bed *bed, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(bed->world.location, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* --- triggers and cancels ----------------------------------------------------------------------------- */

struct waiter {
    struct scheduler_trigger trigger;
    struct scheduler_cancel cancel;
    sem_t done;
    bool ok;
    enum error_kind kind;
    struct execution execution; /* without its strings */
    char result[256];
};

static void note(struct waiter *waiter, bool ok, const struct execution *execution,
                 const struct error *err) {
    waiter->ok = ok;
    if (ok) {
        waiter->execution = *execution;
        snprintf(waiter->result, sizeof waiter->result, "%s",
                 execution->result == NULL ? "" : execution->result);
    } else {
        waiter->kind = err->kind;
    }
    sem_post(&waiter->done);
}

static void on_triggered(struct scheduler_trigger *trigger) {
    note(trigger->context, trigger->ok, &trigger->execution, &trigger->err);
}

static void on_cancelled(struct scheduler_cancel *cancel) {
    note(cancel->context, cancel->ok, &cancel->execution, &cancel->err);
}

static void await(struct waiter *waiter) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += WAIT_LIMIT_S;
    while (sem_timedwait(&waiter->done, &limit) != 0) {
        assert_int_equal(errno, EINTR);
    }
}

static struct waiter *send_trigger(struct bed *bed, const struct run *run, const char *parameters,
                                   bool wait) {
    struct waiter *waiter = must_alloc_zeroed(1, sizeof *waiter);
    sem_init(&waiter->done, 0, 0);
    waiter->trigger = (struct scheduler_trigger){.entry = entry_of(run),
                                                 .parameters = parameters,
                                                 .correlation_id = "a-request",
                                                 .wait = wait,
                                                 .done = on_triggered,
                                                 .context = waiter};
    scheduler_trigger(bed->scheduler, &waiter->trigger);
    return waiter;
}

static struct waiter *send_cancel(struct bed *bed, int64_t run_key, int64_t execution_key) {
    struct waiter *waiter = must_alloc_zeroed(1, sizeof *waiter);
    sem_init(&waiter->done, 0, 0);
    waiter->cancel = (struct scheduler_cancel){.run_key = run_key,
                                               .execution_key = execution_key,
                                               .done = on_cancelled,
                                               .context = waiter};
    scheduler_cancel(bed->scheduler, &waiter->cancel);
    return waiter;
}

/* What it was answered; frees it. */
static struct waiter take(struct waiter *waiter) {
    await(waiter);
    struct waiter taken = *waiter;
    sem_destroy(&waiter->done);
    free(waiter);
    return taken;
}

/* --- tests --------------------------------------------------------------------------------------------- */

static void each_slot_runs_when_the_clock_comes_to_it(void **state) {
    struct bed *bed = *state;
    int64_t run = create(bed, minutely(bed, "line"));
    struct wall_time slot = next_minute(bed);
    pass(bed, MINUTE_US);
    wait_for(bed, run, EXECUTION_SUCCEEDED, 1);
    pass(bed, MINUTE_US);
    wait_for(bed, run, EXECUTION_SUCCEEDED, 2);
    struct execution *executions;
    assert_int_equal(read_history(bed, run, &executions), 2);
    assert_int_equal(executions[1].scheduled_for.us, slot.us);
    assert_int_equal(executions[0].scheduled_for.us, slot.us + MINUTE_US);
    assert_int_equal(executions[0].model_version, 1);
    assert_non_null(strstr(executions[0].result, "[7.0]"));
}

static void a_clock_that_goes_forward_leaves_a_gap_that_is_told_and_caught_up(void **state) {
    struct bed *bed = *state;
    int64_t run = create(bed, minutely(bed, "line"));
    struct wall_time slot = next_minute(bed);
    /* The lid was closed for ten minutes: the monotonic clock stood still. */
    step(bed, 10 * MINUTE_US);
    wait_for(bed, run, EXECUTION_SUCCEEDED, 1);
    struct execution *executions;
    assert_int_equal(read_history(bed, run, &executions), 2);
    assert_int_equal(executions[0].trigger, TRIGGER_CATCHUP);
    assert_int_equal(executions[0].scheduled_for.us, slot.us + INT64_C(9) * MINUTE_US);
    assert_int_equal(executions[1].status, EXECUTION_MISSED);
    assert_int_equal(executions[1].missed_count, 9);
    assert_int_equal(executions[1].missed_from.us, slot.us);
}

static void a_clock_that_goes_back_fires_nothing_again(void **state) {
    struct bed *bed = *state;
    int64_t run = create(bed, minutely(bed, "line"));
    pass(bed, MINUTE_US);
    wait_for(bed, run, EXECUTION_SUCCEEDED, 1);
    step(bed, -5 * MINUTE_US);
    for (int minute = 0; minute < 5; minute++) {
        pass(bed, MINUTE_US);
    }
    /* Back where it was: only now the next one comes. */
    pass(bed, MINUTE_US);
    wait_for(bed, run, EXECUTION_SUCCEEDED, 2);
    assert_int_equal(count_all(bed, run), 2);
}

static void a_trigger_waits_for_its_result(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "line");
    create(bed, run);
    struct waiter answer = take(send_trigger(bed, &run, "{\"data\":[[10.0]]}", true));
    assert_true(answer.ok);
    assert_int_equal(answer.execution.status, EXECUTION_SUCCEEDED);
    assert_int_equal(answer.execution.trigger, TRIGGER_MANUAL);
    assert_non_null(strstr(answer.result, "[21.0]"));
}

static void a_trigger_that_does_not_wait_is_answered_when_it_is_recorded(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "endless");
    create(bed, run);
    struct waiter answer = take(send_trigger(bed, &run, NULL, false));
    assert_true(answer.ok);
    assert_int_equal(answer.execution.status, EXECUTION_RUNNING);
    answer = take(send_cancel(bed, run.key, answer.execution.key));
    assert_int_equal(answer.execution.status, EXECUTION_CANCELLED);
}

static void a_trigger_of_a_disabled_run_runs(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "line");
    run.enabled = false;
    run.next_run = WALL_TIME_NONE;
    create(bed, run);
    assert_int_equal(take(send_trigger(bed, &run, NULL, true)).execution.status,
                     EXECUTION_SUCCEEDED);
}

static void a_trigger_of_a_run_that_was_deleted_meanwhile_is_not_found(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "line");
    run.key = world_key(&bed->world);
    struct waiter answer = take(send_trigger(bed, &run, NULL, true));
    assert_false(answer.ok);
    assert_int_equal(answer.kind, ERROR_NOT_FOUND);
}

static void what_runs_can_be_cancelled_and_both_who_wait_are_told(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "endless");
    create(bed, run);
    struct waiter *trigger = send_trigger(bed, &run, NULL, true);
    wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    int64_t key = newest(bed, run.key).key;
    struct waiter *first = send_cancel(bed, run.key, key);
    struct waiter *second = send_cancel(bed, run.key, key);
    assert_int_equal(take(trigger).execution.status, EXECUTION_CANCELLED);
    assert_int_equal(take(first).execution.status, EXECUTION_CANCELLED);
    assert_int_equal(take(second).execution.status, EXECUTION_CANCELLED);
    struct waiter late = take(send_cancel(bed, run.key, key));
    assert_false(late.ok);
    assert_int_equal(late.kind, ERROR_NOT_FOUND);
}

static void a_failure_is_retried_and_what_the_model_refuses_is_not(void **state) {
    struct bed *bed = *state;
    struct run slow = minutely(bed, "endless");
    slow.timeout = (struct duration){100 * US_PER_MS};
    slow.retry.max_attempts = 1;
    struct run picky = minutely(bed, "picky");
    picky.retry.max_attempts = 1;
    create(bed, slow);
    create(bed, picky);
    pass(bed, MINUTE_US);
    wait_for(bed, slow.key, EXECUTION_TIMED_OUT, 2);
    wait_for(bed, picky.key, EXECUTION_FAILED, 1);
    struct execution *executions;
    assert_int_equal(read_history(bed, slow.key, &executions), 2);
    assert_int_equal(executions[0].trigger, TRIGGER_RETRY);
    assert_int_equal(executions[0].attempt, 2);
    assert_int_equal(count_all(bed, picky.key), 1);
}

static void a_change_is_followed_and_a_deletion_ends_it(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "line");
    create(bed, run);
    run.schedule = "*/2 * * * *";
    run.next_run.us += run.next_run.us / MINUTE_US % 2 * MINUTE_US;
    struct store_write update = {.kind = STORE_UPDATE_RUN, .run = &run, .expected_revision = 1};
    world_write(&bed->world, &update);
    struct plan_entry *entry = entry_of(&run);
    plan_entry_set_revision(entry, update.out_revision, false);
    scheduler_put_run(bed->scheduler, entry);
    pass(bed, 2 * MINUTE_US);
    wait_for(bed, run.key, EXECUTION_SUCCEEDED, 1);
    pass(bed, MINUTE_US);
    struct store_write deletion = {.kind = STORE_DELETE_RUN, .run_key = run.key};
    world_write(&bed->world, &deletion);
    scheduler_remove_run(bed->scheduler, run.key);
    pass(bed, 10 * MINUTE_US);
    /* Another run shows that the minutes have come. */
    struct run other = minutely(bed, "line");
    create(bed, other);
    pass(bed, MINUTE_US);
    wait_for(bed, other.key, EXECUTION_SUCCEEDED, 1);
    assert_int_equal(count_all(bed, run.key), 1);
}

static void a_backfill_runs_its_slots_and_can_be_cancelled(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "line");
    create(bed, run);
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
    scheduler_put_backfill(bed->scheduler, &backfill, entry_of(&run));
    wait_for(bed, run.key, EXECUTION_SUCCEEDED, 4);
    struct execution last = newest(bed, run.key);
    assert_int_equal(last.trigger, TRIGGER_BACKFILL);
    assert_int_equal(last.backfill_key, backfill.key);

    struct run slow = minutely(bed, "endless");
    create(bed, slow);
    backfill.key = world_key(&bed->world);
    backfill.run_key = slow.key;
    world_write(&bed->world, &write);
    scheduler_put_backfill(bed->scheduler, &backfill, entry_of(&slow));
    wait_for(bed, slow.key, EXECUTION_RUNNING, 1);
    backfill.cancelled_at = world_now(&bed->world);
    struct store_write cancel = {.kind = STORE_CANCEL_BACKFILL, .backfill = &backfill};
    world_write(&bed->world, &cancel);
    scheduler_cancel_backfill(bed->scheduler, slow.key, backfill.key);
    wait_for(bed, slow.key, EXECUTION_CANCELLED, 1);
}

/* --- a store that fails --------------------------------------------------------------------------------- */

static void slots_that_the_store_could_not_take_are_recorded_once_when_it_can(void **state) {
    struct bed *bed = *state;
    int64_t run = create(bed, minutely(bed, "line"));
    execute(bed, "ALTER TABLE executions RENAME TO away");
    pass(bed, MINUTE_US);
    /* A trigger comes after the slot's record, so that one has failed when this is answered. */
    struct run other = minutely(bed, "line");
    other.key = run;
    struct waiter refused = take(send_trigger(bed, &other, NULL, true));
    assert_false(refused.ok);
    assert_int_equal(refused.kind, ERROR_STORE);
    execute(bed, "ALTER TABLE away RENAME TO executions");
    pass(bed, US_PER_SECOND);
    wait_for(bed, run, EXECUTION_SUCCEEDED, 1);
    assert_int_equal(count_all(bed, run), 1);
}

static bool is_refused(struct bed *bed, const void *with) {
    (void)with;
    struct error err;
    struct store_write write = {.kind = STORE_CANCEL_BACKFILL,
                                .backfill = &(struct backfill){.key = 1}};
    return !store_submit_and_wait(bed->world.store, &write, &err);
}

static void an_outcome_that_the_store_could_not_take_is_written_when_it_can(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "endless");
    create(bed, run);
    struct waiter *trigger = send_trigger(bed, &run, NULL, true);
    wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    int64_t key = newest(bed, run.key).key;
    execute(bed, "ALTER TABLE outcomes RENAME TO away");
    struct waiter *cancel = send_cancel(bed, run.key, key);
    wait_until(is_refused, bed, NULL);
    execute(bed, "ALTER TABLE away RENAME TO outcomes");
    /* However often it failed meanwhile: a second later it is tried again. */
    for (int second = 0; second < 5; second++) {
        pass(bed, 2 * US_PER_SECOND);
    }
    assert_int_equal(take(cancel).execution.status, EXECUTION_CANCELLED);
    assert_int_equal(take(trigger).execution.status, EXECUTION_CANCELLED);
    wait_for(bed, run.key, EXECUTION_CANCELLED, 1);
}

static void a_start_that_the_store_could_not_take_is_tried_again(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "endless");
    run.overlap = OVERLAP_QUEUE_ONE;
    create(bed, run);
    pass(bed, MINUTE_US);
    wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    int64_t first = newest(bed, run.key).key;
    pass(bed, MINUTE_US);
    wait_for(bed, run.key, EXECUTION_QUEUED, 1);
    execute(bed, "CREATE TRIGGER no_start BEFORE UPDATE ON active WHEN NEW.status = 1"
                 " BEGIN SELECT RAISE(ROLLBACK, 'not now'); END");
    take(send_cancel(bed, run.key, first));
    execute(bed, "DROP TRIGGER no_start");
    pass(bed, 2 * US_PER_SECOND);
    wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    take(send_cancel(bed, run.key, newest(bed, run.key).key));
}

/* --- the end, and the next beginning ----------------------------------------------------------------------- */

static void restart(struct bed *bed, int64_t drain_limit_us) {
    scheduler_stop(bed->scheduler);
    /* As when the process was killed: what runs is not heard of again. */
    dispatcher_stop(bed->dispatcher);
    store_stop(bed->world.store);
    scheduler_free(bed->scheduler);
    model_repository_free(bed->repository);
    dispatcher_free(bed->dispatcher);
    world_reopen(&bed->world);
    struct dispatcher_options options = {
        .program = getenv("ORRERY_PROGRAM"), .worker_count = 2, .clock = clock_system()};
    struct error err;
    assert_true(dispatcher_new(&options, &bed->dispatcher, &err));
    assert_true(model_repository_new(bed->models, dispatcher_describer(bed->dispatcher),
                                     &bed->repository, &err));
    dispatcher_set_repository(bed->dispatcher, bed->repository);
    assert_true(dispatcher_start(bed->dispatcher, &err));
    assert_true(model_repository_start(bed->repository, on_scanned, &bed->scanned, &err));
    while (sem_wait(&bed->scanned) != 0) {
    }
    start_scheduler(bed, drain_limit_us);
}

static void what_is_cut_off_by_the_drain_limit_is_settled_by_the_next_start(void **state) {
    struct bed *bed = *state;
    scheduler_stop(bed->scheduler);
    scheduler_free(bed->scheduler);
    start_scheduler(bed, 0); /* no patience */
    struct run run = minutely(bed, "endless");
    create(bed, run);
    struct run disabled = minutely(bed, "endless");
    disabled.enabled = false;
    disabled.next_run = WALL_TIME_NONE;
    create(bed, disabled);
    struct run gone = minutely(bed, "endless");
    create(bed, gone);
    struct waiter *waits = send_trigger(bed, &run, NULL, true);
    take(send_trigger(bed, &disabled, NULL, false));
    take(send_trigger(bed, &gone, NULL, false));
    wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    struct store_write deletion = {.kind = STORE_DELETE_RUN, .run_key = gone.key};
    world_write(&bed->world, &deletion); /* the scheduler has not heard of it */
    restart(bed, 60 * US_PER_SECOND);
    struct waiter answer = take(waits);
    assert_false(answer.ok);
    assert_int_equal(answer.kind, ERROR_UNAVAILABLE);
    const int64_t keys[] = {run.key, disabled.key, gone.key};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        wait_for(bed, keys[i], EXECUTION_FAILED, 1);
        assert_string_equal(newest(bed, keys[i]).error_type, "Interrupted");
    }
}

static void a_backfill_goes_on_after_the_next_start_also_of_a_disabled_run(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "line");
    run.enabled = false;
    run.next_run = WALL_TIME_NONE;
    create(bed, run);
    struct wall_time from = {next_minute(bed).us - INT64_C(10) * MINUTE_US};
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
    restart(bed, 60 * US_PER_SECOND);
    wait_for(bed, run.key, EXECUTION_SUCCEEDED, 3);
    assert_int_equal(count_all(bed, run.key), 3);
}

static void a_run_whose_zone_is_gone_is_told_and_harms_no_other(void **state) {
    struct bed *bed = *state;
    struct run bad = minutely(bed, "line");
    create(bed, bad);
    struct run good = minutely(bed, "line");
    create(bed, good);
    char sql[128];
    snprintf(sql, sizeof sql, "UPDATE runs SET zone_name = 'No/Where' WHERE key = %lld",
             (long long)bad.key);
    execute(bed, sql);
    restart(bed, 60 * US_PER_SECOND);
    pass(bed, MINUTE_US);
    wait_for(bed, good.key, EXECUTION_SUCCEEDED, 1);
    assert_int_equal(count_all(bed, bad.key), 0);
}

static void what_comes_after_the_end_is_answered_and_freed(void **state) {
    struct bed *bed = *state;
    struct run run = minutely(bed, "line");
    create(bed, run);
    scheduler_stop(bed->scheduler);
    struct waiter *trigger = send_trigger(bed, &run, NULL, true);
    struct waiter *cancel = send_cancel(bed, run.key, 1);
    struct backfill backfill = {.key = 1, .run_key = run.key};
    scheduler_put_run(bed->scheduler, entry_of(&run));
    scheduler_remove_run(bed->scheduler, run.key);
    scheduler_zones_changed(bed->scheduler);
    scheduler_put_backfill(bed->scheduler, &backfill, entry_of(&run));
    scheduler_cancel_backfill(bed->scheduler, run.key, 1);
    scheduler_stop(bed->scheduler); /* twice is once */
    store_stop(bed->world.store);
    scheduler_free(bed->scheduler);
    bed->scheduler = NULL;
    assert_int_equal(take(trigger).kind, ERROR_UNAVAILABLE);
    assert_int_equal(take(cancel).kind, ERROR_UNAVAILABLE);
    scheduler_free(NULL);
}

#define SCHEDULER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        SCHEDULER_TEST(a_change_is_followed_and_a_deletion_ends_it),
        SCHEDULER_TEST(a_backfill_runs_its_slots_and_can_be_cancelled),
        SCHEDULER_TEST(slots_that_the_store_could_not_take_are_recorded_once_when_it_can),
        SCHEDULER_TEST(an_outcome_that_the_store_could_not_take_is_written_when_it_can),
        SCHEDULER_TEST(a_start_that_the_store_could_not_take_is_tried_again),
        SCHEDULER_TEST(what_is_cut_off_by_the_drain_limit_is_settled_by_the_next_start),
        SCHEDULER_TEST(a_backfill_goes_on_after_the_next_start_also_of_a_disabled_run),
        SCHEDULER_TEST(a_run_whose_zone_is_gone_is_told_and_harms_no_other),
        SCHEDULER_TEST(what_comes_after_the_end_is_answered_and_freed),
    };
    return cmocka_run_group_tests(tests, setup_models, teardown_models);
}
