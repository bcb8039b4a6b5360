#include "scheduler_bed.h"

#include "../store/place.h"

#include <errno.h>
#include <ftw.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_LIMIT_S = 120 };

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

void bed_start_models(struct bed *bed) {
    struct dispatcher_options options = {
        .program = getenv("ORRERY_PROGRAM"), .worker_count = 2, .clock = clock_system()};
    struct error err;
    assert_true(dispatcher_new(&options, &bed->dispatcher, &err));
    assert_true(model_repository_new(bed->models, dispatcher_describer(bed->dispatcher),
                                     &bed->repository, &err));
    dispatcher_set_repository(bed->dispatcher, bed->repository);
    assert_true(dispatcher_start(bed->dispatcher, &err));
    while (sem_trywait(&bed->scanned) == 0) {
        /* what an earlier repository has left */
    }
    assert_true(model_repository_start(bed->repository, on_scanned, &bed->scanned, &err));
    while (sem_wait(&bed->scanned) != 0) {
    }
}

int bed_setup_models(void **state) {
    static struct bed bed;
    strcpy(bed.models, "/tmp/orrery-scheduler-XXXXXX");
    assert_non_null(mkdtemp(bed.models));
    link_model(&bed, "line");
    link_model(&bed, "endless");
    link_model(&bed, "picky");
    bed.clock = (struct clock){bed_wall_now, bed_monotonic_now, &bed};
    sem_init(&bed.scanned, 0, 0);
    *state = &bed;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

int bed_teardown_models(void **state) {
    struct bed *bed = *state;
    nftw(bed->models, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    sem_destroy(&bed->scanned);
    return 0;
}

struct scheduler *bed_make_scheduler(struct bed *bed, int64_t drain_limit_us) {
    struct scheduler_options options = {.clock = &bed->clock,
                                        .store = bed->world.store,
                                        .dispatcher = bed->dispatcher,
                                        .execution_keys = &bed->execution_keys,
                                        .drain_limit = {drain_limit_us},
                                        .repository = bed->repository,
                                        .worker_count = 2,
                                        .running_maximum = 100};
    struct scheduler *scheduler;
    struct error err;
    assert_true(scheduler_new(&options, &scheduler, &err));
    return scheduler;
}

void bed_start_scheduler(struct bed *bed, int64_t drain_limit_us) {
    struct error err;
    bed->scheduler = bed_make_scheduler(bed, drain_limit_us);
    assert_true(scheduler_start(bed->scheduler, &err));
}

int bed_setup(void **state) {
    struct bed *bed = *state;
    world_open(&bed->world, place_make());
    atomic_store(&bed->monotonic_us, INT64_C(1000) * US_PER_SECOND);
    atomic_store(&bed->wall_offset_us, bed->world.now_us - INT64_C(1000) * US_PER_SECOND);
    identity_source_init(&bed->execution_keys, 0);
    bed_start_models(bed);
    bed_start_scheduler(bed, 60 * US_PER_SECOND);
    return 0;
}

/* As when the process was killed: what runs is not heard of again. */
static void end_all(struct bed *bed) {
    if (bed->scheduler != NULL) {
        scheduler_stop(bed->scheduler);
    }
    dispatcher_stop(bed->dispatcher);
    store_stop(bed->world.store);
    scheduler_free(bed->scheduler);
    bed->scheduler = NULL;
    model_repository_free(bed->repository);
    dispatcher_free(bed->dispatcher);
}

int bed_teardown(void **state) {
    struct bed *bed = *state;
    const char *location = bed->world.location;
    end_all(bed);
    world_close(&bed->world);
    place_discard(location);
    return 0;
}

/* The thread looks at the clock when a letter comes: this one changes nothing. */
static void wake(struct bed *bed) { scheduler_zones_changed(bed->scheduler); }

/* Time goes by. */
void bed_pass(struct bed *bed, int64_t us) {
    atomic_fetch_add(&bed->monotonic_us, us);
    wake(bed);
}

/* Somebody turns the wall clock, or the machine sleeps: the monotonic clock stands. */
void bed_step(struct bed *bed, int64_t us) {
    atomic_fetch_add(&bed->wall_offset_us, us);
    wake(bed);
}

/* Asks every few milliseconds; the time that it waits for is real. */
void bed_wait_until(bool (*condition)(struct bed *bed, const void *with), struct bed *bed,
                    const void *with) {
    struct timespec pause = {.tv_nsec = INT64_C(2) * 1000 * 1000};
    for (int64_t waited_ms = 0; !condition(bed, with); waited_ms += 2) {
        assert_true(waited_ms < INT64_C(1000) * WAIT_LIMIT_S);
        nanosleep(&pause, NULL);
    }
}

/* --- runs and what became of them -------------------------------------------------------------------- */

struct wall_time bed_next_minute(const struct bed *bed) {
    return (struct wall_time){(bed_wall_now((void *)(uintptr_t)bed).us / MINUTE_US + 1) *
                              MINUTE_US};
}

/* A run that is due every minute; not stored. */
struct run bed_minutely(struct bed *bed, const char *model_name) {
    struct run run = world_run(&bed->world);
    run.revision = 1;
    run.schedule = "* * * * *";
    run.model_name = model_name;
    run.parameters = "{\"data\":[[3.0]]}";
    run.timeout = (struct duration){100 * US_PER_SECOND};
    run.retry.max_attempts = 0;
    run.retry.backoff = (struct duration){0};
    run.next_run = bed_next_minute(bed);
    return run;
}

struct plan_entry *bed_entry_of(const struct run *run) {
    struct plan_entry *entry;
    struct error err;
    assert_true(plan_entry_new(run, &entry, &err));
    return entry;
}

int64_t bed_create(struct bed *bed, struct run run) {
    int64_t key = world_create(&bed->world, &run);
    run.revision = 1;
    scheduler_put_run(bed->scheduler, bed_entry_of(&run));
    return key;
}

/* The run's newest executions, as many as there are up to 100. */
size_t bed_read_history(struct bed *bed, int64_t run_key, struct execution **out) {
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
    size_t count = bed_read_history(bed, expected->run_key, &executions);
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        found += executions[i].status == expected->status ? 1 : 0;
    }
    return found >= expected->count;
}

void bed_wait_for(struct bed *bed, int64_t run_key, enum execution_status status, size_t count) {
    bed_wait_until(has_so_many, bed, &(struct expectation){run_key, status, count});
}

size_t bed_count_all(struct bed *bed, int64_t run_key) {
    struct execution *executions;
    return bed_read_history(bed, run_key, &executions);
}

struct execution bed_newest(struct bed *bed, int64_t run_key) {
    struct execution *executions;
    assert_true(bed_read_history(bed, run_key, &executions) > 0);
    return executions[0];
}

void bed_execute(struct bed *bed, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(bed->world.location, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* --- triggers and cancels ----------------------------------------------------------------------------- */

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

struct waiter *bed_send_trigger(struct bed *bed, const struct run *run, const char *parameters,
                                bool wait) {
    struct waiter *waiter = must_alloc_zeroed(1, sizeof *waiter);
    sem_init(&waiter->done, 0, 0);
    waiter->trigger = (struct scheduler_trigger){.entry = bed_entry_of(run),
                                                 .parameters = parameters,
                                                 .correlation_id = "a-request",
                                                 .wait = wait,
                                                 .done = on_triggered,
                                                 .context = waiter};
    scheduler_trigger(bed->scheduler, &waiter->trigger);
    return waiter;
}

struct waiter *bed_send_cancel(struct bed *bed, int64_t run_key, int64_t execution_key) {
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
struct waiter bed_take(struct waiter *waiter) {
    await(waiter);
    struct waiter taken = *waiter;
    sem_destroy(&waiter->done);
    free(waiter);
    return taken;
}

void bed_restart(struct bed *bed, int64_t drain_limit_us) {
    end_all(bed);
    world_reopen(&bed->world);
    bed_start_models(bed);
    bed_start_scheduler(bed, drain_limit_us);
}
