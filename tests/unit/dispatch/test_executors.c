/* The dispatcher beside an executor that keeps its jobs until the test says what comes of them. */
#include "dispatch/dispatch.h"
#include "model/scan.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_LIMIT_S = 60 };

struct keeper {
    struct executor executor;
    struct dispatcher *dispatcher;
    struct dispatch_job *job; /* the last that it was given */
    uint64_t cancelled_id;
    char path[64];
    sem_t submitted;
    sem_t cancelled;
};

struct bed {
    struct keeper keeper;
};

struct order {
    struct dispatch_job job;
    sem_t done;
};

static void wait_for(sem_t *event) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += WAIT_LIMIT_S;
    while (sem_timedwait(event, &limit) != 0) {
        assert_int_equal(errno, EINTR);
    }
}

static void keep(struct executor *executor, struct dispatch_job *job, const struct model *model,
                 const struct model_version *version) {
    struct keeper *keeper = CONTAINER_OF(executor, struct keeper, executor);
    ASSERT(model->settings.backend == MODEL_BACKEND_HTTP);
    strcpy(keeper->path, version->path);
    keeper->job = job;
    sem_post(&keeper->submitted);
}

static void note_cancel(struct executor *executor, uint64_t job_id) {
    struct keeper *keeper = CONTAINER_OF(executor, struct keeper, executor);
    keeper->cancelled_id = job_id;
    sem_post(&keeper->cancelled);
}

static void give_back(struct keeper *keeper, enum execution_status status, const char *result) {
    struct dispatch_job *job = keeper->job;
    keeper->job = NULL;
    job->status = status;
    if (result != NULL) {
        job->result = must_strdup(result);
        job->result_bytes = strlen(result);
    }
    dispatcher_return(keeper->dispatcher, job);
}

static void stop(struct executor *executor) {
    struct keeper *keeper = CONTAINER_OF(executor, struct keeper, executor);
    if (keeper->job != NULL) {
        error_set(&keeper->job->err, ERROR_INTERRUPTED, "stopped");
        give_back(keeper, EXECUTION_FAILED, NULL);
    }
}

static const struct model_snapshot *snapshot_of(const char *name, enum model_backend backend,
                                                uint32_t max_concurrency) {
    struct model_entry *entry = must_alloc_zeroed(1, sizeof *entry);
    atomic_init(&entry->references, 1);
    entry->model.name = arena_strdup(&entry->arena, name);
    entry->model.settings.backend = backend;
    entry->model.settings.max_concurrency = max_concurrency;
    entry->model.versions = arena_alloc_zeroed(&entry->arena, sizeof *entry->model.versions);
    entry->model.version_count = 1;
    entry->model.versions[0] =
        (struct model_version){.version = 1, .path = "a-folder", .loads = true, .digest = {7}};
    const struct model_snapshot *snapshot = model_snapshot_new(&entry, 1);
    model_entry_unref(entry);
    return snapshot;
}

static int setup(void **state) {
    struct bed *bed = must_alloc_zeroed(1, sizeof *bed);
    struct keeper *keeper = &bed->keeper;
    keeper->executor = (struct executor){.submit = keep, .cancel = note_cancel, .stop = stop};
    sem_init(&keeper->submitted, 0, 0);
    sem_init(&keeper->cancelled, 0, 0);
    struct dispatcher_options options = {.program = getenv("ORRERY_PROGRAM"),
                                         .worker_count = 1,
                                         .clock = clock_system(),
                                         .executors = {[MODEL_BACKEND_HTTP] = &keeper->executor}};
    struct error err;
    assert_true(dispatcher_new(&options, &keeper->dispatcher, &err));
    assert_true(dispatcher_start(keeper->dispatcher, &err));
    *state = bed;
    return 0;
}

static int teardown(void **state) {
    struct bed *bed = *state;
    dispatcher_stop(bed->keeper.dispatcher);
    dispatcher_free(bed->keeper.dispatcher);
    sem_destroy(&bed->keeper.submitted);
    sem_destroy(&bed->keeper.cancelled);
    free(bed);
    return 0;
}

static void on_done(struct dispatch_job *job) {
    sem_post(&CONTAINER_OF(job, struct order, job)->done);
}

static struct order *submit_for(struct bed *bed, enum model_backend backend, int64_t timeout_us) {
    struct order *order = must_alloc_zeroed(1, sizeof *order);
    sem_init(&order->done, 0, 0);
    order->job = (struct dispatch_job){.model_name = "far",
                                       .parameters = "{}",
                                       .parameters_bytes = 2,
                                       .snapshot = snapshot_of("far", backend, 0),
                                       .timeout = {timeout_us},
                                       .execution_key = 42,
                                       .done = on_done};
    dispatcher_submit(bed->keeper.dispatcher, &order->job);
    return order;
}

static struct order *submit(struct bed *bed, enum model_backend backend) {
    return submit_for(bed, backend, 60 * US_PER_SECOND);
}

static void finish(struct order *order) {
    free(order->job.result);
    sem_destroy(&order->done);
    free(order);
}

static void a_job_of_another_backend_is_run_by_its_executor(void **state) {
    struct bed *bed = *state;
    struct order *order = submit(bed, MODEL_BACKEND_HTTP);
    wait_for(&bed->keeper.submitted);
    assert_string_equal(bed->keeper.path, "a-folder");
    give_back(&bed->keeper, EXECUTION_SUCCEEDED, "[1]");
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_SUCCEEDED);
    assert_string_equal(order->job.result, "[1]");
    assert_int_equal(order->job.used_version, 1);
    assert_int_equal(order->job.used_digest[0], 7);
    assert_false(wall_time_is_none(order->job.started_at));
    finish(order);
}

static void a_job_that_is_cancelled_ends_so_whatever_comes_back(void **state) {
    struct bed *bed = *state;
    struct order *order = submit(bed, MODEL_BACKEND_HTTP);
    wait_for(&bed->keeper.submitted);
    dispatcher_cancel(bed->keeper.dispatcher, 42);
    wait_for(&bed->keeper.cancelled);
    assert_int_equal(bed->keeper.cancelled_id, bed->keeper.job->id);
    give_back(&bed->keeper, EXECUTION_SUCCEEDED, "[1]");
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_CANCELLED);
    assert_null(order->job.result);
    finish(order);
}

static void a_backend_that_nobody_runs_fails_its_jobs(void **state) {
    struct bed *bed = *state;
    struct order *order = submit(bed, MODEL_BACKEND_PROCESS);
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_FAILED);
    assert_int_equal(order->job.err.kind, ERROR_MODEL_UNAVAILABLE);
    finish(order);
}

static void a_job_that_no_worker_can_be_started_for_fails_in_its_time(void **state) {
    struct bed *bed = *state;
    dispatcher_stop(bed->keeper.dispatcher);
    dispatcher_free(bed->keeper.dispatcher);
    struct dispatcher_options options = {
        .program = "/nowhere/orrery", .worker_count = 1, .clock = clock_system()};
    struct error err;
    assert_true(dispatcher_new(&options, &bed->keeper.dispatcher, &err));
    assert_true(dispatcher_start(bed->keeper.dispatcher, &err));
    struct order *order = submit_for(bed, MODEL_BACKEND_ONNX, 100 * US_PER_MS);
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_FAILED);
    assert_int_equal(order->job.err.kind, ERROR_WORKER_CRASHED);
    assert_non_null(strstr(order->job.err.message, "no worker could be started"));
    finish(order);
}

static void stopping_takes_back_what_executors_have(void **state) {
    struct bed *bed = *state;
    struct order *order = submit(bed, MODEL_BACKEND_HTTP);
    wait_for(&bed->keeper.submitted);
    dispatcher_stop(bed->keeper.dispatcher);
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_FAILED);
    assert_int_equal(order->job.err.kind, ERROR_INTERRUPTED);
    finish(order);
}

/* In the place of the program: it answers the first byte that it is sent with no frame. */
static void write_nonsense_worker(char path[static 64]) {
    strcpy(path, "/tmp/orrery-nonsense-XXXXXX");
    int fd = mkstemp(path);
    static const char script[] = "#!/bin/sh\n"
                                 "head -c 1 <&3 >/dev/null\n"
                                 "printf '%0200d' 0 >&3\n"
                                 "exec sleep 60\n";
    assert_true(fd >= 0);
    assert_int_equal(write(fd, script, sizeof script - 1), sizeof script - 1);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
}

static void a_worker_that_makes_no_sense_is_replaced_and_its_job_fails(void **state) {
    (void)state;
    char program[64];
    write_nonsense_worker(program);
    struct bed bed = {0};
    struct dispatcher_options options = {
        .program = program, .worker_count = 1, .clock = clock_system()};
    struct error err;
    assert_true(dispatcher_new(&options, &bed.keeper.dispatcher, &err));
    assert_true(dispatcher_start(bed.keeper.dispatcher, &err));
    for (int i = 0; i < OUTAGE_CRASHES_LEAST; i++) {
        struct order *order = submit(&bed, MODEL_BACKEND_ONNX);
        wait_for(&order->done);
        assert_int_equal(order->job.status, EXECUTION_FAILED);
        assert_int_equal(order->job.err.kind, ERROR_WORKER_CRASHED);
        assert_non_null(strstr(order->job.err.message, "frame"));
        finish(order);
    }
    struct outage outage;
    assert_true(dispatcher_outage(bed.keeper.dispatcher, "far", &outage));
    dispatcher_stop(bed.keeper.dispatcher);
    dispatcher_free(bed.keeper.dispatcher);
    unlink(program);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_job_of_another_backend_is_run_by_its_executor, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_job_that_is_cancelled_ends_so_whatever_comes_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_backend_that_nobody_runs_fails_its_jobs, setup, teardown),
        cmocka_unit_test_setup_teardown(a_job_that_no_worker_can_be_started_for_fails_in_its_time,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_takes_back_what_executors_have, setup, teardown),
        cmocka_unit_test(a_worker_that_makes_no_sense_is_replaced_and_its_job_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
