/* The dispatcher and the executor of commands, with the real program as launcher and /bin/sh as models. */
#include "process/process.h"

#include "dispatch/dispatch.h"
#include "model/scan.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { WAIT_LIMIT_S = 120 };

struct bed {
    struct process_executor *commands;
    struct dispatcher *dispatcher;
};

struct order {
    struct dispatch_job job;
    sem_t done;
};

static int setup(void **state) {
    struct bed *bed = must_alloc_zeroed(1, sizeof *bed);
    struct process_options options = {.program = getenv("ORRERY_PROGRAM"), .clock = clock_system()};
    struct error err;
    assert_true(process_executor_new(&options, &bed->commands, &err));
    struct dispatcher_options dispatcher_options = {
        .program = options.program,
        .worker_count = 1,
        .clock = clock_system(),
        .executors = {[MODEL_BACKEND_PROCESS] = process_executor_interface(bed->commands)}};
    assert_true(dispatcher_new(&dispatcher_options, &bed->dispatcher, &err));
    process_executor_set_dispatcher(bed->commands, bed->dispatcher);
    assert_true(dispatcher_start(bed->dispatcher, &err));
    *state = bed;
    return 0;
}

static int teardown(void **state) {
    struct bed *bed = *state;
    dispatcher_stop(bed->dispatcher);
    dispatcher_free(bed->dispatcher);
    process_executor_free(bed->commands);
    free(bed);
    return 0;
}

static const struct model_snapshot *snapshot_of(const char *script, uint64_t output_bytes_maximum) {
    static const char *const none[] = {NULL};
    struct model_entry *entry = must_alloc_zeroed(1, sizeof *entry);
    struct arena *arena = &entry->arena;
    atomic_init(&entry->references, 1);
    struct process_settings *process = arena_alloc_zeroed(arena, sizeof *process);
    const char **command = arena_alloc(arena, 4 * sizeof *command);
    command[0] = "/bin/sh";
    command[1] = "-c";
    command[2] = arena_strdup(arena, script);
    command[3] = NULL;
    *process = (struct process_settings){.command = command,
                                         .environment = none,
                                         .readable = none,
                                         .output_bytes_maximum = output_bytes_maximum};
    entry->model.name = "shell";
    entry->model.settings = (struct model_settings){
        .backend = MODEL_BACKEND_PROCESS, .max_concurrency = 1000, .process = process};
    entry->model.versions = arena_alloc_zeroed(arena, sizeof *entry->model.versions);
    entry->model.version_count = 1;
    entry->model.versions[0] = (struct model_version){.version = 1, .path = "/", .loads = true};
    const struct model_snapshot *snapshot = model_snapshot_new(&entry, 1);
    model_entry_unref(entry);
    return snapshot;
}

static void on_done(struct dispatch_job *job) {
    sem_post(&CONTAINER_OF(job, struct order, job)->done);
}

static struct order *submit(struct bed *bed, const char *script, const char *parameters,
                            int64_t timeout_ms, int64_t execution_key) {
    struct order *order = must_alloc_zeroed(1, sizeof *order);
    sem_init(&order->done, 0, 0);
    order->job = (struct dispatch_job){.model_name = "shell",
                                       .parameters = parameters,
                                       .parameters_bytes = strlen(parameters),
                                       .snapshot = snapshot_of(script, 1000),
                                       .timeout = {timeout_ms * US_PER_MS},
                                       .execution_key = execution_key,
                                       .done = on_done};
    dispatcher_submit(bed->dispatcher, &order->job);
    return order;
}

static void wait_for(struct order *order) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += WAIT_LIMIT_S;
    while (sem_timedwait(&order->done, &limit) != 0) {
        assert_int_equal(errno, EINTR);
    }
}

static void finish(struct order *order) {
    free(order->job.result);
    sem_destroy(&order->done);
    free(order);
}

static void fails(struct bed *bed, const char *script, enum error_kind kind, const char *message) {
    struct order *order = submit(bed, script, "{}", 60000, 0);
    wait_for(order);
    assert_int_equal(order->job.status, EXECUTION_FAILED);
    assert_string_equal(order->job.err.message, message);
    assert_int_equal(order->job.err.kind, kind);
    assert_null(order->job.result);
    finish(order);
}

static void what_it_writes_is_the_result(void **state) {
    struct order *order = submit(*state, "printf '\\n  '; cat; echo", "{\"a\": [1, 2]}", 60000, 0);
    wait_for(order);
    assert_int_equal(order->job.status, EXECUTION_SUCCEEDED);
    assert_string_equal(order->job.result, "{\"a\": [1, 2]}");
    assert_int_equal(order->job.result_bytes, strlen(order->job.result));
    finish(order);
}

static void each_failure_has_its_kind_and_its_words(void **state) {
    fails(*state, "echo why >&2; echo 1; exit 3", ERROR_MODEL_FAILED,
          "the command ended with status 3: why");
    fails(*state, "exit 75", ERROR_MODEL_UNAVAILABLE, "the command ended with status 75");
    fails(*state, "kill -SEGV $$", ERROR_WORKER_CRASHED,
          "the command was killed by signal 11 (Segmentation fault)");
    fails(*state, "true", ERROR_MODEL_FAILED,
          "the command wrote nothing on standard output; expected a JSON value");
    fails(*state, "echo", ERROR_MODEL_FAILED,
          "what the command wrote on standard output is not JSON: input data is empty at byte 1");
    fails(*state, "yes", ERROR_MODEL_FAILED,
          "the command wrote more than 1000 bytes on standard output");
}

static void of_much_on_standard_error_the_end_is_told(void **state) {
    struct order *order =
        submit(*state, "i=0; while [ $i -lt 5000 ]; do echo line-$i >&2; i=$((i+1)); done; exit 1",
               "{}", 60000, 0);
    wait_for(order);
    const char *message = order->job.err.message;
    assert_non_null(strstr(message, "the command ended with status 1: "));
    assert_string_equal(message + strlen(message) - 9, "line-4999");
    assert_true(strlen(message) < 300);
    finish(order);
}

static void exactly_as_much_as_there_may_be_is_not_too_much(void **state) {
    struct order *order = submit(*state, "printf '%1000d' 7", "{}", 60000, 0);
    wait_for(order);
    assert_int_equal(order->job.status, EXECUTION_SUCCEEDED);
    assert_string_equal(order->job.result, "7");
    finish(order);
    fails(*state, "printf '%1001d' 7", ERROR_MODEL_FAILED,
          "the command wrote more than 1000 bytes on standard output");
}

static void a_time_limit_ends_it_though_it_ignores_the_signal(void **state) {
    struct order *order =
        submit(*state, "trap '' TERM; while true; do sleep 0.1; done", "{}", 300, 0);
    wait_for(order);
    assert_int_equal(order->job.status, EXECUTION_TIMED_OUT);
    assert_int_equal(order->job.err.kind, ERROR_TIMED_OUT);
    assert_true(order->job.duration.us >= 1300 * US_PER_MS);
    finish(order);
}

static void who_ends_in_time_at_the_signal_is_not_killed(void **state) {
    struct order *order =
        submit(*state, "trap 'echo ended well >&2; exit 0' TERM; while true; do sleep 0.05; done",
               "{}", 300, 0);
    wait_for(order);
    assert_int_equal(order->job.status, EXECUTION_TIMED_OUT);
    assert_true(order->job.duration.us < 1300 * US_PER_MS);
    finish(order);
}

static void it_can_be_cancelled(void **state) {
    struct bed *bed = *state;
    struct order *orders[6];
    for (int i = 0; i < 6; i++) {
        orders[i] = submit(bed, "sleep 3600", "{}", 3600000, 100 + i);
    }
    for (int i = 5; i >= 0; i--) {
        dispatcher_cancel(bed->dispatcher, 100 + i);
        wait_for(orders[i]);
        assert_int_equal(orders[i]->job.status, EXECUTION_CANCELLED);
        finish(orders[i]);
    }
}

static void many_run_side_by_side_and_each_gets_its_own_answer(void **state) {
    enum { MANY = 60 };
    static struct order *orders[MANY];
    static char parameters[MANY][16];
    for (int i = 0; i < MANY; i++) {
        snprintf(parameters[i], sizeof parameters[i], "[%d]", i);
        orders[i] = submit(*state, "cat", parameters[i], 60000, 0);
    }
    for (int i = 0; i < MANY; i++) {
        wait_for(orders[i]);
        assert_int_equal(orders[i]->job.status, EXECUTION_SUCCEEDED);
        assert_string_equal(orders[i]->job.result, parameters[i]);
        finish(orders[i]);
    }
}

static void stopping_ends_what_runs(void **state) {
    struct bed *bed = *state;
    struct order *orders[6];
    for (int i = 0; i < 6; i++) {
        orders[i] = submit(bed, "trap '' TERM; while true; do sleep 1; done", "{}", 3600000, 0);
    }
    dispatcher_stop(bed->dispatcher);
    for (int i = 0; i < 6; i++) {
        wait_for(orders[i]);
        assert_int_equal(orders[i]->job.status, EXECUTION_FAILED);
        assert_int_equal(orders[i]->job.err.kind, ERROR_INTERRUPTED);
        finish(orders[i]);
    }
}

int main(void) {
    /* As the daemon has it: what a command gets is the default again. */
    signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_it_writes_is_the_result),
        TEST(each_failure_has_its_kind_and_its_words),
        TEST(of_much_on_standard_error_the_end_is_told),
        TEST(exactly_as_much_as_there_may_be_is_not_too_much),
        TEST(a_time_limit_ends_it_though_it_ignores_the_signal),
        TEST(who_ends_in_time_at_the_signal_is_not_killed),
        TEST(it_can_be_cancelled),
        TEST(many_run_side_by_side_and_each_gets_its_own_answer),
        TEST(stopping_ends_what_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
