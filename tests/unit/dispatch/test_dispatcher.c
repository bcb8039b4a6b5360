/* The real dispatcher with real workers: the program itself is named by ORRERY_PROGRAM. */
#include "dispatch/dispatch.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_LIMIT_S = 120, WORKERS = 2 };

struct bed {
    char folder[64];
    struct dispatcher *dispatcher;
    struct model_repository *repository;
    sem_t scanned;
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

static void on_scanned(void *context) { sem_post(context); }

static void link_model(const struct bed *bed, const char *name) {
    char path[256];
    char target[512];
    snprintf(path, sizeof path, "%s/%s", bed->folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/%s/1", bed->folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/%s/1/model.onnx", bed->folder, name);
    snprintf(target, sizeof target, "%s/tests/models/%s.onnx", getenv("ORRERY_SOURCE_ROOT"), name);
    assert_int_equal(symlink(target, path), 0);
}

static int setup(void **state) {
    struct bed *bed = must_alloc_zeroed(1, sizeof *bed);
    snprintf(bed->folder, sizeof bed->folder, "/tmp/orrery-dispatch-XXXXXX");
    assert_non_null(mkdtemp(bed->folder));
    link_model(bed, "line");
    link_model(bed, "endless");
    link_model(bed, "picky");
    link_model(bed, "rounds");
    link_model(bed, "zipmap");
    sem_init(&bed->scanned, 0, 0);
    struct dispatcher_options options = {
        .program = getenv("ORRERY_PROGRAM"), .worker_count = WORKERS, .clock = clock_system()};
    struct error err;
    assert_true(dispatcher_new(&options, &bed->dispatcher, &err));
    assert_true(model_repository_new(bed->folder, dispatcher_describer(bed->dispatcher),
                                     &bed->repository, &err));
    dispatcher_set_repository(bed->dispatcher, bed->repository);
    assert_true(dispatcher_start(bed->dispatcher, &err));
    assert_true(model_repository_start(bed->repository, on_scanned, &bed->scanned, &err));
    wait_for(&bed->scanned);
    *state = bed;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static int teardown(void **state) {
    struct bed *bed = *state;
    dispatcher_stop(bed->dispatcher);
    model_repository_free(bed->repository);
    dispatcher_free(bed->dispatcher);
    nftw(bed->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    sem_destroy(&bed->scanned);
    free(bed);
    return 0;
}

static void on_done(struct dispatch_job *job) {
    sem_post(&CONTAINER_OF(job, struct order, job)->done);
}

static struct order *submit(struct bed *bed, const char *model, const char *parameters,
                            int64_t timeout_ms, int64_t execution_key) {
    struct order *order = must_alloc_zeroed(1, sizeof *order);
    sem_init(&order->done, 0, 0);
    order->job = (struct dispatch_job){.model_name = model,
                                       .parameters = parameters,
                                       .parameters_bytes = strlen(parameters),
                                       .timeout = {timeout_ms * US_PER_MS},
                                       .execution_key = execution_key,
                                       .done = on_done};
    dispatcher_submit(bed->dispatcher, &order->job);
    return order;
}

static void finish(struct order *order) {
    dispatch_job_free_result(&order->job);
    sem_destroy(&order->done);
    free(order);
}

static void assert_line(struct bed *bed, double x, double y) {
    char parameters[64];
    snprintf(parameters, sizeof parameters, "{\"data\":[[%.1f]]}", x);
    struct order *order = submit(bed, "line", parameters, 60000, 0);
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_SUCCEEDED);
    yyjson_doc *document = yyjson_read(order->job.result, order->job.result_bytes, 0);
    assert_non_null(document);
    yyjson_val *value = yyjson_ptr_get(yyjson_doc_get_root(document), "/outputs/0/data/0");
    assert_true(yyjson_get_num(value) == y);
    assert_int_equal(order->job.used_version, 1);
    yyjson_doc_free(document);
    finish(order);
}

/* A worker of this process: a child that runs the program. 0 if there is none. */
static pid_t find_worker(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task");
    DIR *tasks = opendir(path);
    assert_non_null(tasks);
    pid_t found = 0;
    for (struct dirent *task; (task = readdir(tasks)) != NULL && found == 0;) {
        char children[300];
        snprintf(children, sizeof children, "/proc/self/task/%s/children", task->d_name);
        FILE *file = fopen(children, "re");
        if (file != NULL) {
            char line[64] = "";
            found = fgets(line, sizeof line, file) == NULL ? 0 : (pid_t)strtol(line, NULL, 10);
            fclose(file);
        }
    }
    closedir(tasks);
    return found;
}

static void a_model_gives_right_numbers(void **state) {
    assert_line(*state, 20.5, 42.0);
    assert_line(*state, -1.0, -1.0);
}

static void every_one_of_many_jobs_is_answered_and_by_its_own_answer(void **state) {
    enum { MANY = 3000 };
    static struct order *orders[MANY];
    static char parameters[MANY][32];
    for (int i = 0; i < MANY; i++) {
        snprintf(parameters[i], sizeof parameters[i], "{\"data\":[[%d]]}", i);
        orders[i] = submit(*state, "line", parameters[i], 60000, 0);
    }
    for (int i = 0; i < MANY; i++) {
        wait_for(&orders[i]->done);
        assert_int_equal(orders[i]->job.status, EXECUTION_SUCCEEDED);
        yyjson_doc *document = yyjson_read(orders[i]->job.result, orders[i]->job.result_bytes, 0);
        yyjson_val *value = yyjson_ptr_get(yyjson_doc_get_root(document), "/outputs/0/data/0");
        assert_true(yyjson_get_num(value) == 2.0 * i + 1.0);
        yyjson_doc_free(document);
        assert_false(wall_time_is_none(orders[i]->job.started_at));
        finish(orders[i]);
    }
}

static void a_model_that_hangs_ends_as_timed_out_and_holds_nobody_up(void **state) {
    struct bed *bed = *state;
    struct order *endless = submit(bed, "endless", "{\"data\":[[1]]}", 1500, 0);
    assert_line(bed, 1.0, 3.0);
    int still_running;
    assert_int_equal(sem_getvalue(&endless->done, &still_running), 0);
    assert_int_equal(still_running, 0); /* the good one did not wait for it */
    wait_for(&endless->done);
    assert_int_equal(endless->job.status, EXECUTION_TIMED_OUT);
    assert_int_equal(endless->job.err.kind, ERROR_TIMED_OUT);
    assert_true(endless->job.duration.us >= 1500 * US_PER_MS);
    finish(endless);
    assert_line(bed, 2.0, 5.0);
}

static void many_that_hang_still_leave_a_worker_to_the_others(void **state) {
    struct bed *bed = *state;
    enum { HANGING = 4 };
    struct order *hanging[HANGING];
    for (int i = 0; i < HANGING; i++) {
        hanging[i] = submit(bed, "endless", "{\"data\":[[1]]}", 700, 0);
    }
    for (int i = 0; i < 20; i++) {
        assert_line(bed, i, 2.0 * i + 1.0);
    }
    int ended;
    sem_getvalue(&hanging[HANGING - 1]->done, &ended);
    assert_int_equal(ended, 0);
    for (int i = 0; i < HANGING; i++) {
        wait_for(&hanging[i]->done);
        assert_int_equal(hanging[i]->job.status, EXECUTION_TIMED_OUT);
        finish(hanging[i]);
    }
}

/* Whichever worker is killed, the idle one or the busy one: until the job has ended. */
static void kill_workers_until_ended(struct order *order) {
    for (int ended = 0; ended == 0; sem_getvalue(&order->done, &ended)) {
        pid_t worker = find_worker();
        if (worker > 0) {
            kill(worker, SIGKILL);
        }
        struct timespec pause = {.tv_nsec = 20000000};
        nanosleep(&pause, NULL);
    }
}

static void a_worker_that_is_killed_fails_its_job_and_is_replaced(void **state) {
    struct bed *bed = *state;
    struct order *endless = submit(bed, "endless", "{\"data\":[[1]]}", 60000, 0);
    kill_workers_until_ended(endless);
    assert_int_equal(endless->job.status, EXECUTION_FAILED);
    assert_int_equal(endless->job.err.kind, ERROR_WORKER_CRASHED);
    assert_non_null(strstr(endless->job.err.message, "killed by signal 9"));
    finish(endless);
    assert_line(bed, 3.0, 7.0);
}

/* ONNX Runtime's telemetry runs in threads of its own; without it a worker has just one. */
static void a_worker_does_nothing_but_run_models(void **state) {
    assert_line(*state, 1.0, 3.0);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", find_worker());
    DIR *tasks = opendir(path);
    assert_non_null(tasks);
    int threads = 0;
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        threads += task->d_name[0] != '.' ? 1 : 0;
    }
    closedir(tasks);
    assert_int_equal(threads, 1);
}

static void what_the_model_refuses_is_told_in_its_own_words(void **state) {
    struct order *order = submit(*state, "picky", "{\"data\":[[1],[2],[3]]}", 60000, 0);
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_FAILED);
    assert_int_equal(order->job.err.kind, ERROR_MODEL_FAILED);
    assert_true(strlen(order->job.err.message) > 10);
    assert_null(order->job.result);
    finish(order);
}

static void sequences_of_maps_come_out_as_json(void **state) {
    struct order *order = submit(*state, "zipmap", "{\"data\":[[0.5],[-2]]}", 60000, 0);
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_SUCCEEDED);
    assert_string_equal(
        order->job.result,
        "{\"model_name\":\"zipmap\",\"model_version\":1,\"outputs\":["
        "{\"name\":\"label\",\"shape\":[2],\"datatype\":\"BYTES\",\"data\":[\"yes\",\"no\"]},"
        "{\"name\":\"probabilities\",\"datatype\":\"SEQUENCE\",\"data\":["
        "{\"no\":-0.5,\"yes\":0.5},{\"no\":2.0,\"yes\":-2.0}]}]}");
    finish(order);
}

static void parameters_that_do_not_fit_are_refused_by_the_worker_too(void **state) {
    static const char *const bad[] = {"{\"data\":[[1,2]]}", "{}", "null", "not json",
                                      "{\"data\":[[\"x\"]]}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct order *order = submit(*state, "line", bad[i], 60000, 0);
        wait_for(&order->done);
        assert_int_equal(order->job.status, EXECUTION_FAILED);
        assert_int_equal(order->job.err.kind, ERROR_INVALID_PARAMETERS);
        finish(order);
    }
}

static void an_unknown_model_fails_at_once(void **state) {
    struct order *order = submit(*state, "nobody", "null", 60000, 0);
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_FAILED);
    assert_int_equal(order->job.err.kind, ERROR_UNKNOWN_MODEL);
    assert_true(wall_time_is_none(order->job.started_at));
    finish(order);
}

static void a_job_can_be_cancelled_while_it_runs_and_while_it_waits(void **state) {
    struct bed *bed = *state;
    struct order *running = submit(bed, "endless", "{\"data\":[[1]]}", 60000, 101);
    struct order *waiting = submit(bed, "endless", "{\"data\":[[1]]}", 60000, 102);
    dispatcher_cancel(bed->dispatcher, 102);
    wait_for(&waiting->done);
    assert_int_equal(waiting->job.status, EXECUTION_CANCELLED);
    dispatcher_cancel(bed->dispatcher, 101);
    wait_for(&running->done);
    assert_int_equal(running->job.status, EXECUTION_CANCELLED);
    finish(running);
    finish(waiting);
    dispatcher_cancel(bed->dispatcher, 103); /* nobody: nothing happens */
    assert_line(bed, 4.0, 9.0);
}

static void signal_workers(int signal_number) {
    DIR *processes = opendir("/proc");
    assert_non_null(processes);
    for (struct dirent *entry; (entry = readdir(processes)) != NULL;) {
        long pid = strtol(entry->d_name, NULL, 10);
        char path[300];
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *file = pid <= 0 ? NULL : fopen(path, "re");
        long parent = 0;
        if (file != NULL) {
            char text[512];
            const char *state = fgets(text, sizeof text, file) == NULL ? NULL : strrchr(text, ')');
            fclose(file);
            if (state != NULL && strlen(state) > 4) {
                parent = strtol(state + 4, NULL, 10); /* ") S 123", proc(5) */
            }
            if (parent == (long)getpid()) {
                assert_int_equal(kill((pid_t)pid, signal_number), 0);
            }
        }
    }
    closedir(processes);
}

/* So often that the dispatcher takes the model for fast, and puts several of its jobs behind each other. */
static void make_fast(struct bed *bed, const char *model, const char *parameters) {
    for (int i = 0; i < 200; i++) {
        struct order *order = submit(bed, model, parameters, 60000, 0);
        wait_for(&order->done);
        assert_int_equal(order->job.status, EXECUTION_SUCCEEDED);
        finish(order);
    }
}

static struct text many_rows(size_t row_count) {
    static const char row[] = ",[1]";
    struct text parameters;
    text_init(&parameters, 64 << 20);
    text_append(&parameters, "{\"data\":[[1]");
    for (size_t i = 1; i < row_count; i++) {
        text_append_bytes(&parameters, row, sizeof row - 1);
    }
    text_append(&parameters, "]}");
    return parameters;
}

static void a_large_job_of_a_fast_model_holds_nobody_up(void **state) {
    enum { ROWS = 4000000 };
    struct text parameters CLEANUP(text_fini) = many_rows(ROWS);
    for (int round = 0; round < 2; round++) {
        make_fast(*state, "line", "{\"data\":[[1]]}");
        struct order *large = submit(*state, "line", text_string(&parameters), 60000, 0);
        for (int i = 0; i < 10; i++) {
            assert_line(*state, 2.0, 5.0);
        }
        int is_done;
        assert_int_equal(sem_getvalue(&large->done, &is_done), 0);
        /* In the first round the other worker may have to load the model. */
        assert_true(round == 0 || is_done == 0);
        wait_for(&large->done);
        assert_int_equal(large->job.status, EXECUTION_SUCCEEDED);
        assert_true(large->job.result_is_mapped);
        assert_int_equal(strlen(large->job.result), large->job.result_bytes);
        assert_true(large->job.result_bytes > (size_t)ROWS * 4);
        finish(large);
    }
}

/* Returns when what was submitted before is with a worker, if it can be: this one is handled after it, and waits in
 * vain for a worker of its own. */
static void wait_until_placed(struct bed *bed) {
    struct order *waiting = submit(bed, "endless", "{\"data\":[[1]]}", 60000, 999);
    dispatcher_cancel(bed->dispatcher, 999);
    wait_for(&waiting->done);
    assert_int_equal(waiting->job.status, EXECUTION_CANCELLED);
    finish(waiting);
}

/* Cancels a job that lies behind another with a worker, and lets the workers go on. */
static void assert_cancelled_behind_another(struct bed *bed, const char *model, const char *good,
                                            const char *last, int64_t last_timeout_ms) {
    make_fast(bed, model, good);
    signal_workers(SIGSTOP);
    struct order *first[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        first[i] = submit(bed, model, good, 60000, 0);
    }
    struct order *behind = submit(bed, model, last, last_timeout_ms, 301);
    wait_until_placed(bed);
    dispatcher_cancel(bed->dispatcher, 301);
    wait_until_placed(bed);
    int ended;
    sem_getvalue(&behind->done, &ended);
    assert_int_equal(ended, 0); /* it was with a worker, else it would have ended at once */
    signal_workers(SIGCONT);
    wait_for(&behind->done);
    assert_int_equal(behind->job.status, EXECUTION_CANCELLED);
    assert_int_equal(behind->job.err.kind, ERROR_CANCELLED);
    assert_null(behind->job.result);
    /* Nobody waits its whole timeout out for it. */
    assert_true(behind->job.limit.us <= 100 * US_PER_MS);
    finish(behind);
    for (int i = 0; i < WORKERS; i++) {
        wait_for(&first[i]->done);
        assert_int_equal(first[i]->job.status, EXECUTION_SUCCEEDED);
        finish(first[i]);
    }
}

static void what_was_cancelled_behind_another_is_cancelled_even_if_the_model_refuses(void **state) {
    assert_cancelled_behind_another(*state, "picky", "{\"data\":[[1],[2]]}",
                                    "{\"data\":[[1],[2],[3]]}", 60000);
}

static void what_was_cancelled_behind_another_is_cancelled_even_if_it_times_out(void **state) {
    assert_cancelled_behind_another(*state, "rounds", "{\"data\":[1]}", "{\"data\":[1e9]}", 60000);
}

static void stopping_ends_what_runs_and_what_comes_too_late(void **state) {
    struct bed *bed = *state;
    struct order *running = submit(bed, "endless", "{\"data\":[[1]]}", 60000, 0);
    struct order *waiting = submit(bed, "endless", "{\"data\":[[1]]}", 60000, 0);
    dispatcher_stop(bed->dispatcher);
    struct order *late = submit(bed, "line", "{\"data\":[[1]]}", 60000, 0);
    struct order *const orders[] = {running, waiting, late};
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        wait_for(&orders[i]->done);
        assert_int_equal(orders[i]->job.status, EXECUTION_FAILED);
        assert_int_equal(orders[i]->job.err.kind, ERROR_INTERRUPTED);
        finish(orders[i]);
    }
    assert_int_equal(dispatcher_live_workers(bed->dispatcher), 0);
}

static void crash(struct bed *bed) {
    struct order *order = submit(bed, "endless", "{\"data\":[[1]]}", 60000, 7);
    kill_workers_until_ended(order);
    assert_int_equal(order->job.err.kind, ERROR_WORKER_CRASHED);
    finish(order);
}

static void a_model_that_keeps_crashing_is_out_for_a_while_and_alone(void **state) {
    struct bed *bed = *state;
    struct outage outage;
    for (int i = 0; i < OUTAGE_CRASHES_LEAST; i++) {
        assert_false(dispatcher_outage(bed->dispatcher, "endless", &outage));
        crash(bed);
    }
    assert_true(dispatcher_outage(bed->dispatcher, "endless", &outage));
    assert_int_equal(outage.crashes, OUTAGE_CRASHES_LEAST);
    assert_non_null(strstr(outage.reason, "3 times in a row"));
    /* At once, and without a worker. */
    struct order *order = submit(bed, "endless", "{\"data\":[[1]]}", 60000, 8);
    wait_for(&order->done);
    assert_int_equal(order->job.status, EXECUTION_FAILED);
    assert_int_equal(order->job.err.kind, ERROR_MODEL_UNAVAILABLE);
    assert_non_null(strstr(order->job.err.message, "tried again at"));
    assert_true(wall_time_is_none(order->job.started_at));
    finish(order);
    assert_line(bed, 3, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_model_gives_right_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(every_one_of_many_jobs_is_answered_and_by_its_own_answer,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_model_that_hangs_ends_as_timed_out_and_holds_nobody_up,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_job_of_a_fast_model_holds_nobody_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(many_that_hang_still_leave_a_worker_to_the_others, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_is_killed_fails_its_job_and_is_replaced,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_worker_does_nothing_but_run_models, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_model_refuses_is_told_in_its_own_words, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sequences_of_maps_come_out_as_json, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters_that_do_not_fit_are_refused_by_the_worker_too,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_model_fails_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_job_can_be_cancelled_while_it_runs_and_while_it_waits,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_was_cancelled_behind_another_is_cancelled_even_if_the_model_refuses, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            what_was_cancelled_behind_another_is_cancelled_even_if_it_times_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_model_that_keeps_crashing_is_out_for_a_while_and_alone,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_ends_what_runs_and_what_comes_too_late, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
