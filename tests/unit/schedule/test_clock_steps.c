/* The real scheduler thread and a real store under a clock that a test moves: steps forward and back, a lid that is
 * closed. Whatever it does, each slot that the clock has passed is in exactly one record.
 *
 * The clock lies far in the future, so the kernel's timer never fires: the thread looks at the clock when it gets a
 * letter. Jobs go nowhere: the linker puts a function in the place of dispatcher_submit that succeeds at once. */
#include "schedule/scheduler.h"

#include "../../store/world.h"
#include "../store/place.h"
#include "observe/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { RUNS = 9, LIMIT_S = 60, SLOTS_MAXIMUM = 40000, PAGE = 1000 };
#define START_US (INT64_C(4000000000) * US_PER_SECOND)
#define HOUR_US (INT64_C(3600) * US_PER_SECOND)

struct bed {
    struct world world;
    struct scheduler *scheduler;
    struct model_repository *repository;
    struct identity_source execution_keys;
    struct clock clock;
    _Atomic int64_t wall_us;
    _Atomic int64_t monotonic_us;
    int64_t greatest_us; /* that the wall clock has ever shown */
    struct run runs[RUNS];
    char models[300];
    char *location;
};

/* --- what stands for the dispatcher -------------------------------------------------------------- */

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's name */
void __wrap_dispatcher_submit(struct dispatcher *dispatcher, struct dispatch_job *job);
void __wrap_dispatcher_submit(struct dispatcher *dispatcher, struct dispatch_job *job) {
    const struct bed *bed = (const struct bed *)dispatcher;
    job->status = EXECUTION_SUCCEEDED;
    job->started_at = clock_wall_now(&bed->clock);
    job->finished_at = job->started_at;
    job->used_version = 1;
    job->result = must_strdup("{}");
    job->result_bytes = 2;
    job->done(job);
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* --- the clock ----------------------------------------------------------------------------------- */

static struct wall_time wall_now(void *context) {
    return (struct wall_time){atomic_load(&((struct bed *)context)->wall_us)};
}

static struct monotonic_time monotonic_now(void *context) {
    return (struct monotonic_time){atomic_load(&((struct bed *)context)->monotonic_us)};
}

/* Moves both clocks, and has the scheduler look. */
static void move(struct bed *bed, int64_t wall_us, int64_t monotonic_us) {
    int64_t now_us = atomic_fetch_add(&bed->wall_us, wall_us) + wall_us;
    atomic_fetch_add(&bed->monotonic_us, monotonic_us);
    bed->greatest_us = MAX_OF(bed->greatest_us, now_us);
    scheduler_remove_run(bed->scheduler, 1); /* there is no such run */
}

/* --- what became of the slots --------------------------------------------------------------------- */

/* How often each second since the start is in a record of the run. */
static void count_slots(struct bed *bed, const struct run *run, uint32_t out_counts[]) {
    struct execution_filter filter = {
        .run_key = run->key, .since = WALL_TIME_NONE, .until = WALL_TIME_NONE, .limit = PAGE};
    memset(out_counts, 0, SLOTS_MAXIMUM * sizeof out_counts[0]);
    do {
        struct execution *executions;
        size_t count;
        struct error err;
        arena_reset(&bed->world.arena);
        assert_true(store_list_executions(bed->world.reader, &filter, &bed->world.arena,
                                          &executions, &count, &filter.before_key, &err));
        for (size_t i = 0; i < count; i++) {
            bool is_gap = executions[i].status == EXECUTION_MISSED;
            int64_t from_us =
                is_gap ? executions[i].missed_from.us : executions[i].scheduled_for.us;
            int64_t to_us = is_gap ? executions[i].missed_to.us : from_us;
            assert_true(executions[i].status != EXECUTION_FAILED);
            assert_int_equal(is_gap ? executions[i].missed_count : 1,
                             (to_us - from_us) / US_PER_SECOND + 1);
            for (int64_t at_us = from_us; at_us <= to_us; at_us += US_PER_SECOND) {
                assert_int_equal(at_us % US_PER_SECOND, 0);
                int64_t index = (at_us - START_US) / US_PER_SECOND;
                assert_in_range(index, 1, SLOTS_MAXIMUM - 1);
                out_counts[index]++;
            }
        }
    } while (filter.before_key != 0);
}

static int64_t next_slot_us(struct bed *bed, const struct run *run) {
    int64_t next_us = world_get_run(&bed->world, run->key).next_run.us;
    arena_reset(&bed->world.arena);
    return next_us;
}

/* Waits until all slots that the clock shows to have passed are recorded, then counts. A slot that it showed before it
 * was set back may be recorded already, or still be to come; either way the run's next slot tells which. */
static void assert_each_slot_once(struct bed *bed) {
    static uint32_t counts[SLOTS_MAXIMUM];
    for (size_t i = 0; i < RUNS; i++) {
        time_t deadline = time(NULL) + LIMIT_S;
        int64_t next_us;
        while ((next_us = next_slot_us(bed, &bed->runs[i])) <= atomic_load(&bed->wall_us)) {
            assert_true(time(NULL) < deadline);
            usleep(1000);
        }
        assert_true(next_us <= bed->greatest_us + US_PER_SECOND);
        int64_t next = (next_us - START_US) / US_PER_SECOND;
        count_slots(bed, &bed->runs[i], counts);
        for (int64_t k = 1; k < SLOTS_MAXIMUM; k++) {
            if (counts[k] != (k < next ? 1 : 0)) {
                fail_msg("run %zu: slot %lld, next %lld, is in %u records", i, (long long)k,
                         (long long)next, counts[k]);
            }
        }
    }
}

/* --- the tests ------------------------------------------------------------------------------------ */

/* A run of each overlap policy and each catch-up policy, due every second. */
static void make_runs(struct bed *bed) {
    static const enum overlap_policy overlaps[] = {OVERLAP_SKIP, OVERLAP_QUEUE_ALL, OVERLAP_ALLOW};
    bed->world.now_us = START_US;
    for (size_t i = 0; i < RUNS; i++) {
        struct run run = world_run(&bed->world);
        run.schedule = "* * * * * *";
        run.overlap = overlaps[i % 3];
        run.catchup = (enum catchup_policy)(i / 3);
        run.catchup_window.us = 300 * US_PER_SECOND;
        run.next_run.us = START_US + US_PER_SECOND;
        run.created_at.us = START_US;
        world_create(&bed->world, &run);
        bed->runs[i] = run;
    }
}

static void start_scheduler(struct bed *bed) {
    struct scheduler_options options = {
        .clock = &bed->clock,
        .store = bed->world.store,
        .dispatcher = (struct dispatcher *)bed,
        .execution_keys = &bed->execution_keys,
        .drain_limit = {LIMIT_S * US_PER_SECOND},
        .repository = bed->repository,
        .worker_count = 2,
        .running_maximum = 64,
    };
    struct error err;
    assert_true(scheduler_new(&options, &bed->scheduler, &err));
    assert_true(scheduler_start(bed->scheduler, &err));
}

static int make_bed(void **state) {
    struct bed *bed = must_alloc_zeroed(1, sizeof *bed);
    struct error err;
    bed->location = (char *)(uintptr_t)place_make();
    snprintf(bed->models, sizeof bed->models, "%s.models", bed->location);
    bed->clock =
        (struct clock){.wall_now = wall_now, .monotonic_now = monotonic_now, .context = bed};
    bed->wall_us = START_US;
    bed->greatest_us = START_US;
    bed->monotonic_us = HOUR_US;
    world_open(&bed->world, bed->location);
    make_runs(bed);
    identity_source_init(&bed->execution_keys, store_greatest_execution_key(bed->world.store));
    assert_true(model_repository_new(bed->models, (struct model_describer){NULL, NULL},
                                     &bed->repository, &err));
    start_scheduler(bed);
    *state = bed;
    return 0;
}

static void stop_scheduler(struct bed *bed) {
    scheduler_stop(bed->scheduler);
    store_stop(bed->world.store);
    scheduler_free(bed->scheduler);
}

static int discard_bed(void **state) {
    struct bed *bed = *state;
    stop_scheduler(bed);
    world_close(&bed->world);
    model_repository_free(bed->repository);
    rmdir(bed->models);
    place_discard(bed->location);
    free(bed);
    return 0;
}

static void pass_seconds(struct bed *bed, int seconds) {
    for (int i = 0; i < seconds; i++) {
        move(bed, US_PER_SECOND, US_PER_SECOND);
    }
}

static void a_clock_that_goes_on_fires_each_slot_once(void **state) {
    struct bed *bed = *state;
    pass_seconds(bed, 20);
    assert_each_slot_once(bed);
}

static void a_step_forward_leaves_no_slot_out(void **state) {
    struct bed *bed = *state;
    pass_seconds(bed, 5);
    assert_each_slot_once(bed);
    move(bed, HOUR_US, 0);
    assert_each_slot_once(bed);
    pass_seconds(bed, 5);
    assert_each_slot_once(bed);
}

static void a_step_back_fires_no_slot_again(void **state) {
    struct bed *bed = *state;
    pass_seconds(bed, 5);
    assert_each_slot_once(bed);
    move(bed, -HOUR_US, 0);
    pass_seconds(bed, 5);
    assert_each_slot_once(bed); /* the same ones as before */
    move(bed, HOUR_US, 0);
    pass_seconds(bed, 5);
    assert_each_slot_once(bed);
}

/* While a machine sleeps its monotonic clock stands still. */
static void a_closed_lid_leaves_no_slot_out(void **state) {
    struct bed *bed = *state;
    for (int night = 0; night < 3; night++) {
        pass_seconds(bed, 3);
        move(bed, 2 * HOUR_US + 123456, 40);
    }
    assert_each_slot_once(bed);
    pass_seconds(bed, 3);
    assert_each_slot_once(bed);
}

/* The clock is set while nobody looks, between two processes. */
static void a_clock_set_between_two_processes_harms_nothing(void **state) {
    struct bed *bed = *state;
    static const int64_t steps_us[] = {HOUR_US, -HOUR_US / 2, 90 * US_PER_SECOND, -US_PER_SECOND};
    for (size_t i = 0; i < COUNT_OF(steps_us); i++) {
        pass_seconds(bed, 3);
        stop_scheduler(bed);
        atomic_fetch_add(&bed->wall_us, steps_us[i]);
        bed->greatest_us = MAX_OF(bed->greatest_us, atomic_load(&bed->wall_us));
        world_reopen(&bed->world);
        start_scheduler(bed);
        move(bed, 0, 0);
        assert_each_slot_once(bed);
    }
}

static void any_sequence_of_steps_leaves_each_slot_once(void **state) {
    struct bed *bed = *state;
    uint64_t random = 42;
    for (int i = 0; i < 200; i++) {
        random = random * UINT64_C(6364136223846793005) + 1;
        int64_t us = (int64_t)(random >> 33) % (90 * US_PER_SECOND);
        switch (random >> 60) {
        case 0:
            move(bed, us, 0);
            break;
        case 1:
            move(bed, -us, 0);
            break;
        case 2:
            move(bed, -us, us);
            break;
        default:
            move(bed, us / 60, us / 60);
        }
    }
    assert_each_slot_once(bed);
}

#define BED_TEST(function) cmocka_unit_test_setup_teardown(function, make_bed, discard_bed)

int main(void) {
    const struct CMUnitTest tests[] = {
        BED_TEST(a_clock_that_goes_on_fires_each_slot_once),
        BED_TEST(a_step_forward_leaves_no_slot_out),
        BED_TEST(a_step_back_fires_no_slot_again),
        BED_TEST(a_closed_lid_leaves_no_slot_out),
        BED_TEST(a_clock_set_between_two_processes_harms_nothing),
        BED_TEST(any_sequence_of_steps_leaves_each_slot_once),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("schedule: scheduler", tests, NULL, NULL);
}
