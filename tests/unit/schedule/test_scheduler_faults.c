/* The scheduler beside a store that refuses, and beside more work than it takes. */
#include "scheduler_bed.h"

#include "observe/log.h"
#include "schedule/plan.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

/* --- what is logged meanwhile --------------------------------------------------------------------- */

struct capture {
    int file;  /* what standard error is now */
    int saved; /* what it was */
};

static void capture_begin(struct capture *capture) {
    capture->file = memfd_create("log", MFD_CLOEXEC);
    capture->saved = dup(STDERR_FILENO);
    assert_true(capture->file >= 0 && capture->saved >= 0);
    assert_int_equal(dup2(capture->file, STDERR_FILENO), STDERR_FILENO);
}

static void capture_end(struct capture *capture) {
    dup2(capture->saved, STDERR_FILENO);
    close(capture->saved);
    close(capture->file);
}

struct event {
    const struct capture *capture;
    const char *name;
    size_t count;
};

static bool is_logged(struct bed *bed, const void *with) {
    (void)bed;
    const struct event *event = with;
    static char text[65536];
    ssize_t size_bytes = pread(event->capture->file, text, sizeof text - 1, 0);
    assert_true(size_bytes >= 0);
    text[size_bytes] = '\0';
    size_t found = 0;
    for (const char *at = text; (at = strstr(at, event->name)) != NULL; at++) {
        found++;
    }
    return found >= event->count;
}

static void wait_until_logged(struct bed *bed, const struct capture *capture, const char *name,
                              size_t count) {
    bed_wait_until(is_logged, bed, &(struct event){capture, name, count});
}

/* --- slots ----------------------------------------------------------------------------------------- */

static void slots_that_the_store_could_not_take_are_recorded_once_when_it_can(void **state) {
    struct bed *bed = *state;
    int64_t run = bed_create(bed, bed_minutely(bed, "line"));
    struct capture capture;
    capture_begin(&capture);
    bed_execute(bed, "ALTER TABLE executions RENAME TO away");
    bed_pass(bed, MINUTE_US);
    struct run other = bed_minutely(bed, "line");
    other.key = run;
    struct waiter refused = bed_take(bed_send_trigger(bed, &other, NULL, true));
    assert_false(refused.ok);
    assert_int_equal(refused.kind, ERROR_STORE);
    wait_until_logged(bed, &capture, "event=record_failed", 2); /* the slot's, too */
    capture_end(&capture);
    bed_execute(bed, "ALTER TABLE away RENAME TO executions");
    bed_pass(bed, US_PER_SECOND);
    bed_wait_for(bed, run, EXECUTION_SUCCEEDED, 1);
    assert_int_equal(bed_count_all(bed, run), 1);
}

/* --- an end that takes its time ----------------------------------------------------------------------- */

static void *stop_scheduler(void *context) {
    scheduler_stop(((struct bed *)context)->scheduler);
    return NULL;
}

/* Until a trigger is told that the scheduler is stopping. */
static void wait_until_stopping(struct bed *bed, const struct run *run) {
    for (;;) {
        struct waiter answer = bed_take(bed_send_trigger(bed, run, NULL, false));
        if (!answer.ok && answer.kind == ERROR_UNAVAILABLE) {
            return;
        }
    }
}

/* --- outcomes ------------------------------------------------------------------------------------- */

static void an_outcome_that_the_store_could_not_take_is_written_when_it_can(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "endless");
    bed_create(bed, run);
    struct waiter *trigger = bed_send_trigger(bed, &run, NULL, true);
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    int64_t key = bed_newest(bed, run.key).key;
    struct capture capture;
    capture_begin(&capture);
    bed_execute(bed, "ALTER TABLE outcomes RENAME TO away");
    struct waiter *cancel = bed_send_cancel(bed, run.key, key);
    wait_until_logged(bed, &capture, "event=outcome_not_written", 1);
    capture_end(&capture);
    bed_execute(bed, "ALTER TABLE away RENAME TO outcomes");
    bed_pass(bed, US_PER_SECOND / 2); /* not yet */
    assert_int_equal(bed_newest(bed, run.key).status, EXECUTION_RUNNING);
    bed_pass(bed, US_PER_SECOND / 2);
    assert_int_equal(bed_take(cancel).execution.status, EXECUTION_CANCELLED);
    assert_int_equal(bed_take(trigger).execution.status, EXECUTION_CANCELLED);
    bed_wait_for(bed, run.key, EXECUTION_CANCELLED, 1);
}

static void a_result_that_the_store_never_takes_is_dropped_and_said_so(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "line");
    bed_create(bed, run);
    struct capture capture;
    capture_begin(&capture);
    bed_execute(bed, "CREATE TRIGGER no_result BEFORE INSERT ON outcomes"
                     " WHEN NEW.result IS NOT NULL BEGIN SELECT RAISE(ROLLBACK, 'too big'); END");
    struct waiter *trigger = bed_send_trigger(bed, &run, NULL, true);
    wait_until_logged(bed, &capture, "event=outcome_not_written", 1);
    capture_end(&capture);
    bed_pass(bed, US_PER_SECOND);
    struct waiter answer = bed_take(trigger);
    assert_true(answer.ok);
    assert_int_equal(answer.execution.status, EXECUTION_FAILED);
    assert_string_equal(answer.result, "");
    assert_non_null(strstr(bed_newest(bed, run.key).error_message, "cannot be stored"));
}

static void an_outcome_without_a_result_that_is_refused_alone_is_tried_again(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "endless");
    run.enabled = false;
    bed_create(bed, run);
    bed_create(bed, bed_minutely(bed, "line"));
    bed_pass(bed, MINUTE_US - US_PER_SECOND / 4); /* a slot comes before the next attempt */
    struct waiter *trigger = bed_send_trigger(bed, &run, NULL, true);
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    struct capture capture;
    capture_begin(&capture);
    bed_execute(bed, "CREATE TRIGGER no_outcome BEFORE INSERT ON outcomes"
                     " BEGIN SELECT RAISE(ROLLBACK, 'not now'); END");
    struct waiter *cancel = bed_send_cancel(bed, run.key, bed_newest(bed, run.key).key);
    wait_until_logged(bed, &capture, "event=outcome_not_written", 1);
    capture_end(&capture);
    bed_execute(bed, "DROP TRIGGER no_outcome");
    bed_pass(bed, US_PER_SECOND);
    assert_int_equal(bed_take(cancel).execution.status, EXECUTION_CANCELLED);
    assert_int_equal(bed_take(trigger).execution.status, EXECUTION_CANCELLED);
}

static void
an_outcome_that_cannot_be_written_before_the_end_is_settled_by_the_next_start(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "line");
    bed_create(bed, run);
    struct capture capture;
    capture_begin(&capture);
    bed_execute(bed, "ALTER TABLE outcomes RENAME TO away");
    struct waiter *trigger = bed_send_trigger(bed, &run, NULL, true);
    wait_until_logged(bed, &capture, "event=outcome_not_written", 1);
    capture_end(&capture);
    bed_pass(bed, 0);
    pthread_t stopping;
    assert_int_equal(pthread_create(&stopping, NULL, stop_scheduler, bed), 0);
    /* The drain limit passes; the time of the next attempt does not come, because the wall clock stands. */
    wait_until_stopping(bed, &run);
    bed_step(bed, -60 * US_PER_SECOND);
    bed_pass(bed, 61 * US_PER_SECOND);
    pthread_join(stopping, NULL);
    bed_execute(bed, "ALTER TABLE away RENAME TO outcomes");
    bed_restart(bed, 60 * US_PER_SECOND);
    assert_int_equal(bed_take(trigger).kind, ERROR_UNAVAILABLE);
    bed_wait_for(bed, run.key, EXECUTION_FAILED, 1);
}

static void an_outcome_is_written_again_also_when_the_clock_went_back(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "endless");
    run.enabled = false;
    bed_create(bed, run);
    struct waiter *trigger = bed_send_trigger(bed, &run, NULL, true);
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    int64_t key = bed_newest(bed, run.key).key;
    struct capture capture;
    capture_begin(&capture);
    bed_execute(bed, "ALTER TABLE outcomes RENAME TO away");
    struct waiter *cancel = bed_send_cancel(bed, run.key, key);
    wait_until_logged(bed, &capture, "event=outcome_not_written", 1);
    capture_end(&capture);
    bed_execute(bed, "ALTER TABLE away RENAME TO outcomes");
    bed_step(bed, -60 * MINUTE_US);
    assert_int_equal(bed_take(cancel).execution.status, EXECUTION_CANCELLED);
    assert_int_equal(bed_take(trigger).execution.status, EXECUTION_CANCELLED);
}

static void a_retry_that_was_not_recorded_is_in_nobodys_way(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "endless");
    run.timeout = (struct duration){300 * US_PER_MS};
    run.retry.max_attempts = 1;
    run.retry.backoff = (struct duration){US_PER_SECOND};
    bed_create(bed, run);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    /* Somebody has been at the store by hand: the attempt is not under way any more. */
    struct capture capture;
    capture_begin(&capture);
    bed_execute(bed, "DELETE FROM active");
    wait_until_logged(bed, &capture, "event=execution_finished", 1);
    capture_end(&capture);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run.key, EXECUTION_TIMED_OUT, 1); /* the next slot's, not skipped */
}

/* --- starts ---------------------------------------------------------------------------------------- */

static void a_start_that_the_store_could_not_take_is_tried_again(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "endless");
    run.overlap = OVERLAP_QUEUE_ONE;
    bed_create(bed, run);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    int64_t first = bed_newest(bed, run.key).key;
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run.key, EXECUTION_QUEUED, 1);
    bed_execute(bed, "CREATE TRIGGER no_start BEFORE UPDATE ON active WHEN NEW.status = 1"
                     " BEGIN SELECT RAISE(ROLLBACK, 'not now'); END");
    bed_take(bed_send_cancel(bed, run.key, first));
    bed_execute(bed, "DROP TRIGGER no_start");
    bed_pass(bed, 2 * US_PER_SECOND);
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    bed_take(bed_send_cancel(bed, run.key, bed_newest(bed, run.key).key));
}

static void what_waits_when_its_run_is_deleted_on_disk_has_its_end_in_the_history(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "endless");
    run.overlap = OVERLAP_QUEUE_ONE;
    bed_create(bed, run);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    int64_t first = bed_newest(bed, run.key).key;
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run.key, EXECUTION_QUEUED, 1);
    bed_execute(bed, "UPDATE runs SET deleted_at = 1"); /* the scheduler has not heard of it yet */
    bed_take(bed_send_cancel(bed, run.key, first));
    bed_wait_for(bed, run.key, EXECUTION_CANCELLED, 2);
    assert_non_null(strstr(bed_newest(bed, run.key).error_message, "deleted"));
}

/* So many of a model that nothing is known of are handed over while one of it runs at the same moment. */
enum { ROOM_OF_MODEL = PLAN_FIRST_WINDOW };

static struct waiter *fill_room_and_queue_one(struct bed *bed, const struct run *run) {
    for (size_t i = 0; i < ROOM_OF_MODEL; i++) {
        assert_true(bed_take(bed_send_trigger(bed, run, NULL, false)).ok);
    }
    struct waiter *queued = bed_send_trigger(bed, run, NULL, true);
    bed_wait_for(bed, run->key, EXECUTION_QUEUED, 1);
    return queued;
}

static void what_waits_and_is_gone_from_the_disk_is_told_not_found(void **state) {
    struct bed *bed = *state;
    bed_restart(bed, 0);
    struct run run = bed_minutely(bed, "endless");
    bed_create(bed, run);
    struct waiter *queued = fill_room_and_queue_one(bed, &run);
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, ROOM_OF_MODEL);
    struct execution *history;
    size_t count = bed_read_history(bed, run.key, &history);
    assert_int_equal(count, ROOM_OF_MODEL + 1);
    int64_t running[ROOM_OF_MODEL];
    for (size_t i = 0; i < ROOM_OF_MODEL; i++) {
        running[i] = history[i + 1].key;
    }
    bed_execute(bed, "DELETE FROM active WHERE status = 0");
    for (size_t i = 0; i < ROOM_OF_MODEL; i++) {
        bed_take(bed_send_cancel(bed, run.key, running[i]));
    }
    struct waiter answer = bed_take(queued);
    assert_false(answer.ok);
    assert_int_equal(answer.kind, ERROR_NOT_FOUND);
    bed_restart(bed, 0);
}

/* --- too much, too late ------------------------------------------------------------------------------ */

static void triggers_are_refused_while_it_stops_and_what_runs_may_end(void **state) {
    struct bed *bed = *state;
    struct run run = bed_minutely(bed, "endless");
    run.overlap = OVERLAP_SKIP;
    bed_create(bed, run);
    struct waiter *first = bed_send_trigger(bed, &run, NULL, true);
    bed_wait_for(bed, run.key, EXECUTION_RUNNING, 1);
    int64_t key = bed_newest(bed, run.key).key;
    pthread_t stopping;
    assert_int_equal(pthread_create(&stopping, NULL, stop_scheduler, bed), 0);
    wait_until_stopping(bed, &run);
    assert_int_equal(bed_take(bed_send_cancel(bed, run.key, key)).execution.status,
                     EXECUTION_CANCELLED);
    assert_int_equal(bed_take(first).execution.status, EXECUTION_CANCELLED);
    bed_pass(bed, 61 * US_PER_SECOND); /* for what was triggered before it stopped */
    pthread_join(stopping, NULL);
    bed_restart(bed, 0);
}

static void more_triggers_than_there_is_room_for_are_refused(void **state) {
    struct bed *bed = *state;
    bed_restart(bed, 0);
    struct run run = bed_minutely(bed, "endless");
    run.timeout = (struct duration){1000 * US_PER_SECOND};
    run.overlap = OVERLAP_ALLOW;
    bed_create(bed, run);
    static struct waiter *waiters[PLAN_TRIGGERS_MAXIMUM];
    for (size_t i = 0; i < COUNT_OF(waiters); i++) {
        waiters[i] = bed_send_trigger(bed, &run, NULL, false);
    }
    for (size_t i = 0; i < COUNT_OF(waiters); i++) {
        assert_true(bed_take(waiters[i]).ok);
    }
    struct waiter refused = bed_take(bed_send_trigger(bed, &run, NULL, false));
    assert_false(refused.ok);
    assert_int_equal(refused.kind, ERROR_UNAVAILABLE);
    bed_restart(bed, 0);
}

/* --- a beginning that fails ---------------------------------------------------------------------------- */

static void what_cannot_be_read_at_the_start_is_told_and_starts_nothing(void **state) {
    struct bed *bed = *state;
    static const char *const tables[] = {"runs", "active", "backfills"};
    struct run run = bed_minutely(bed, "line");
    bed_create(bed, run);
    scheduler_stop(bed->scheduler);
    scheduler_free(bed->scheduler);
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "ALTER TABLE %s RENAME TO away", tables[i]);
        bed_execute(bed, sql);
        struct error err;
        bed->scheduler = bed_make_scheduler(bed, 0);
        assert_false(scheduler_start(bed->scheduler, &err));
        assert_int_equal(err.kind, ERROR_STORE);
        scheduler_free(bed->scheduler);
        snprintf(sql, sizeof sql, "ALTER TABLE away RENAME TO %s", tables[i]);
        bed_execute(bed, sql);
    }
    bed_start_scheduler(bed, 0);
    bed_pass(bed, MINUTE_US);
    bed_wait_for(bed, run.key, EXECUTION_SUCCEEDED, 1);
}

static void a_scheduler_without_descriptors_is_not_made(void **state) {
    struct bed *bed = *state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(STDERR_FILENO);
    close(next);
    for (rlim_t room = 0; room < 2; room++) { /* for none, and for the timer alone */
        struct rlimit small = {.rlim_cur = (rlim_t)next + room, .rlim_max = before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
        struct scheduler_options options = {.clock = &bed->clock, .running_maximum = 1};
        struct scheduler *scheduler;
        struct error err;
        bool made = scheduler_new(&options, &scheduler, &err);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_false(made);
        assert_non_null(strstr(err.message, "Too many open files"));
    }
}

#define SCHEDULER_TEST(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCHEDULER_TEST(slots_that_the_store_could_not_take_are_recorded_once_when_it_can),
        SCHEDULER_TEST(an_outcome_that_the_store_could_not_take_is_written_when_it_can),
        SCHEDULER_TEST(a_result_that_the_store_never_takes_is_dropped_and_said_so),
        SCHEDULER_TEST(an_outcome_without_a_result_that_is_refused_alone_is_tried_again),
        SCHEDULER_TEST(
            an_outcome_that_cannot_be_written_before_the_end_is_settled_by_the_next_start),
        SCHEDULER_TEST(an_outcome_is_written_again_also_when_the_clock_went_back),
        SCHEDULER_TEST(a_retry_that_was_not_recorded_is_in_nobodys_way),
        SCHEDULER_TEST(triggers_are_refused_while_it_stops_and_what_runs_may_end),
        SCHEDULER_TEST(more_triggers_than_there_is_room_for_are_refused),
        SCHEDULER_TEST(what_cannot_be_read_at_the_start_is_told_and_starts_nothing),
        SCHEDULER_TEST(a_scheduler_without_descriptors_is_not_made),
        SCHEDULER_TEST(a_start_that_the_store_could_not_take_is_tried_again),
        SCHEDULER_TEST(what_waits_when_its_run_is_deleted_on_disk_has_its_end_in_the_history),
        SCHEDULER_TEST(what_waits_and_is_gone_from_the_disk_is_told_not_found),
    };
    log_set_level(LOG_DEBUG); /* that a write failed is told there */
    return cmocka_run_group_tests(tests, bed_setup_models, bed_teardown_models);
}
