/* Memory runs out in the scheduler, or the store beside it, at any single allocation of orrery's own: the process ends at
 * once, by convention (base/base.h). Child after child works on the same store, each with another allocation that fails,
 * and in the end each slot that the clock has passed is in exactly one record, and nothing is under way. */
#include "schedule/scheduler.h"

#include "../../store/world.h"
#include "../store/place.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    RUNS = 3,
    SECONDS_PER_CHILD = 3,
    STRIDE = 1, /* of so many allocations one fails */
    CHILDREN_MAXIMUM = 2000,
    WAIT_LIMIT_MS = 60000,
    DONE = 3, /* the child's exit status when no allocation was left to fail */
    SLOTS_MAXIMUM = CHILDREN_MAXIMUM * SECONDS_PER_CHILD + 10,
};
#define START_US (INT64_C(4000000000) * US_PER_SECOND)

/* --- allocations that fail ------------------------------------------------------------------------ */

static atomic_bool failing;
static atomic_int allocations_until_failure;
static atomic_bool has_failed;

static bool fails(void) {
    if (!atomic_load(&failing) || atomic_fetch_sub(&allocations_until_failure, 1) != 0) {
        return false;
    }
    atomic_store(&has_failed, true);
    return true;
}

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size) {
    return fails() ? NULL : __real_realloc(memory, size);
}

char *__real_strdup(const char *string);
char *__wrap_strdup(const char *string);
char *__wrap_strdup(const char *string) { return fails() ? NULL : __real_strdup(string); }

/* In the place of the dispatcher's: every job succeeds at once. */
void __wrap_dispatcher_submit(struct dispatcher *dispatcher, struct dispatch_job *job);
void __wrap_dispatcher_submit(struct dispatcher *dispatcher, struct dispatch_job *job) {
    const struct clock *clock = (const struct clock *)(const void *)dispatcher;
    job->status = EXECUTION_SUCCEEDED;
    job->started_at = clock_wall_now(clock);
    job->finished_at = job->started_at;
    job->used_version = 1;
    job->result = must_strdup("{}");
    job->result_bytes = 2;
    job->done(job);
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* --- the child ------------------------------------------------------------------------------------ */

static _Atomic int64_t passed_us;

static struct wall_time wall_now(void *context) {
    return (struct wall_time){*(const int64_t *)context + atomic_load(&passed_us)};
}

static struct monotonic_time monotonic_now(void *context) {
    (void)context;
    return (struct monotonic_time){atomic_load(&passed_us) + US_PER_SECOND};
}

/* Until every slot that the clock has passed has its record. */
static bool wait_until_recorded(struct store_reader *reader, const int64_t *run_keys,
                                int64_t now_us) {
    for (int waited_ms = 0; waited_ms < WAIT_LIMIT_MS; waited_ms++) {
        bool all = true;
        for (size_t i = 0; i < RUNS; i++) {
            struct arena arena CLEANUP(arena_fini) = {0};
            struct run run;
            struct error err;
            all = all && store_get_run(reader, run_keys[i], &arena, &run, &err) &&
                  run.next_run.us > now_us;
        }
        if (all) {
            return true;
        }
        usleep(1000);
    }
    return false;
}

/* Without assertions: this is not the process that the test runner runs in. */
static int work(const char *path, const char *models, const int64_t *run_keys, int64_t start_us) {
    struct clock clock = {
        .wall_now = wall_now, .monotonic_now = monotonic_now, .context = &start_us};
    struct store *store;
    struct store_reader *reader;
    struct model_repository *repository;
    struct scheduler *scheduler;
    struct error err;
    if (!store_open(&(struct store_options){.location = path, .exclusive = true}, &store, &err) ||
        !store_start(store, &err) || !store_reader_open(store, &reader, &err) ||
        !model_repository_new(models, (struct model_describer){NULL, NULL}, &repository, &err)) {
        return 1;
    }
    struct identity_source keys;
    identity_source_init(&keys, store_greatest_execution_key(store));
    struct scheduler_options options = {.clock = &clock,
                                        .store = store,
                                        .dispatcher = (struct dispatcher *)(void *)&clock,
                                        .execution_keys = &keys,
                                        .drain_limit = {60 * US_PER_SECOND},
                                        .repository = repository,
                                        .worker_count = 2,
                                        .running_maximum = 64};
    if (!scheduler_new(&options, &scheduler, &err) || !scheduler_start(scheduler, &err)) {
        return 1;
    }
    bool ok = true;
    for (int second = 0; second < SECONDS_PER_CHILD && ok; second++) {
        int64_t now_us = start_us + atomic_fetch_add(&passed_us, US_PER_SECOND) + US_PER_SECOND;
        scheduler_remove_run(scheduler, 1); /* there is no such run: it looks at the clock */
        ok = wait_until_recorded(reader, run_keys, now_us);
    }
    scheduler_stop(scheduler);
    store_reader_close(reader);
    store_stop(store);
    scheduler_free(scheduler);
    store_close(store);
    atomic_store(&failing, false);
    return !ok ? 1 : atomic_load(&has_failed) ? 0 : DONE;
}

static int run_child(const char *path, const char *models, const int64_t *run_keys,
                     int64_t start_us, int allocations) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL) {
            _exit(1);
        }
        atomic_store(&allocations_until_failure, allocations);
        atomic_store(&failing, true);
        _exit(work(path, models, run_keys, start_us));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGABRT);
        return 0;
    }
    return WEXITSTATUS(status);
}

/* --- what is there afterwards --------------------------------------------------------------------- */

static void assert_each_slot_once(struct world *world, int64_t run_key) {
    static uint32_t counts[SLOTS_MAXIMUM];
    memset(counts, 0, sizeof counts);
    struct execution_filter filter = {
        .run_key = run_key, .since = WALL_TIME_NONE, .until = WALL_TIME_NONE, .limit = 1000};
    do {
        struct execution *executions;
        size_t count;
        struct error err;
        arena_reset(&world->arena);
        assert_true(store_list_executions(world->reader, &filter, &world->arena, &executions,
                                          &count, &filter.before_key, &err));
        for (size_t i = 0; i < count; i++) {
            assert_true(execution_status_is_final(executions[i].status));
            if (executions[i].trigger == TRIGGER_RETRY) {
                continue; /* a further attempt at a slot that is counted */
            }
            bool is_gap = executions[i].status == EXECUTION_MISSED;
            int64_t from_us =
                is_gap ? executions[i].missed_from.us : executions[i].scheduled_for.us;
            int64_t to_us = is_gap ? executions[i].missed_to.us : from_us;
            for (int64_t at_us = from_us; at_us <= to_us; at_us += US_PER_SECOND) {
                int64_t index = (at_us - START_US) / US_PER_SECOND;
                assert_in_range(index, 1, SLOTS_MAXIMUM - 1);
                counts[index]++;
            }
        }
    } while (filter.before_key != 0);
    int64_t next = (world_get_run(world, run_key).next_run.us - START_US) / US_PER_SECOND;
    for (int64_t i = 1; i < SLOTS_MAXIMUM; i++) {
        assert_int_equal(counts[i], i < next ? 1 : 0);
    }
}

static void any_allocation_may_fail_and_no_slot_is_lost_or_doubled(void **state) {
    (void)state;
    const char *path = place_make();
    char models[300];
    snprintf(models, sizeof models, "%s.models", path);
    struct world world;
    world_open(&world, path);
    world.now_us = START_US;
    int64_t run_keys[RUNS];
    for (size_t i = 0; i < RUNS; i++) {
        struct run run = world_run(&world);
        run.schedule = "* * * * * *";
        run.overlap = OVERLAP_ALLOW;
        run.catchup = (enum catchup_policy)i;
        run.next_run.us = START_US + US_PER_SECOND;
        run.created_at.us = START_US;
        run_keys[i] = world_create(&world, &run);
    }
    world_close(&world);
    int64_t start_us = START_US;
    int children = 0;
    for (int status = 0; status != DONE; children++) {
        assert_true(children < CHILDREN_MAXIMUM);
        status = run_child(path, models, run_keys, start_us, children * STRIDE);
        assert_true(status == 0 || status == DONE);
        start_us += (int64_t)SECONDS_PER_CHILD * US_PER_SECOND;
    }
    assert_true(children > 20); /* else nothing has failed at all */
    world_open(&world, path);
    for (size_t i = 0; i < RUNS; i++) {
        assert_each_slot_once(&world, run_keys[i]);
    }
    world_close(&world);
    rmdir(models);
    place_discard(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail_and_no_slot_is_lost_or_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
