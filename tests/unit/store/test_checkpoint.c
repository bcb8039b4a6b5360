/* Who moves what the write-ahead log holds into the store's file, and when. */
#include "failing_calls.h"
#include "observe/log.h"
#include "place.h"
#include "store/sqlite/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A file with a table in it, a connection that writes, and what keeps its log short. */
struct bed {
    const char *path;
    struct sqlite_connection writing;
    struct checkpointer checkpointer;
};

static void must_execute(struct bed *bed, const char *sql) {
    struct error err;
    if (!sqlite_execute(&bed->writing, sql, &err)) {
        fail_msg("%s: %s", err.message, sql);
    }
}

static void open_bed(struct bed *bed, const char *path, bool with_thread) {
    struct error err;
    *bed = (struct bed){.path = path};
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_true(sqlite_connection_open(&bed->writing, path, SQLITE_FOR_WRITING, NULL, 0, &err));
    must_execute(bed, "PRAGMA journal_mode = WAL");
    must_execute(bed, "PRAGMA synchronous = OFF");
    must_execute(bed, "CREATE TABLE pages (bytes BLOB)");
    assert_true(checkpointer_start(&bed->checkpointer, &bed->writing, path, with_thread, &err));
}

static void close_bed(struct bed *bed) {
    checkpointer_stop(&bed->checkpointer);
    sqlite_connection_close(&bed->writing);
}

/* So many pages and some more into the log, which begins anew where all of it was moved. */
static void write_pages(struct bed *bed, int pages) {
    char sql[80];
    snprintf(sql, sizeof sql, "INSERT INTO pages VALUES (zeroblob(%d))", pages * 4096);
    must_execute(bed, sql);
    assert_true(bed->checkpointer.log_pages >= pages);
}

static int moved_pages(struct bed *bed) { return atomic_load(&bed->checkpointer.moved_pages); }

static void wait_for_thread(struct bed *bed) {
    while (atomic_load(&bed->checkpointer.busy)) {
        sched_yield();
    }
}

static void a_short_log_is_left_as_it_is(void **state) {
    struct bed bed;
    open_bed(&bed, *state, true);
    write_pages(&bed, 500);
    checkpointer_rest(&bed.checkpointer, true);
    assert_false(atomic_load(&bed.checkpointer.busy));
    assert_int_equal(moved_pages(&bed), 0);
    close_bed(&bed);
}

static void the_thread_moves_the_log_when_the_writer_is_idle(void **state) {
    struct bed bed;
    open_bed(&bed, *state, true);
    write_pages(&bed, 2000);
    checkpointer_rest(&bed.checkpointer, false); /* busy: not yet worth it */
    assert_false(atomic_load(&bed.checkpointer.busy));
    assert_int_equal(moved_pages(&bed), 0);
    checkpointer_rest(&bed.checkpointer, true);
    wait_for_thread(&bed);
    assert_int_equal(moved_pages(&bed), bed.checkpointer.log_pages);
    write_pages(&bed, 10); /* all of it was moved: it begins anew, and so does the count */
    assert_in_range(bed.checkpointer.log_pages, 10, 20);
    assert_int_equal(moved_pages(&bed), 0);
    close_bed(&bed);
}

static void the_thread_moves_a_longer_log_also_while_the_writer_is_busy(void **state) {
    struct bed bed;
    open_bed(&bed, *state, true);
    write_pages(&bed, 4000);
    checkpointer_rest(&bed.checkpointer, false);
    wait_for_thread(&bed);
    assert_int_equal(moved_pages(&bed), bed.checkpointer.log_pages);
    close_bed(&bed);
}

static void without_a_thread_the_writer_moves_the_log(void **state) {
    struct bed bed;
    open_bed(&bed, *state, false);
    write_pages(&bed, 1000);
    checkpointer_rest(&bed.checkpointer, false);
    assert_int_equal(moved_pages(&bed), bed.checkpointer.log_pages);
    close_bed(&bed);
}

/* The thread has moved nearly all of a log that is too long: the writer moves the rest, so that it can begin anew. But
 * not while the thread is at it, and not where it would take long. */
static void of_a_log_that_is_too_long_the_writer_moves_a_small_rest(void **state) {
    struct bed bed;
    open_bed(&bed, *state, true);
    write_pages(&bed, 16000);
    int log_pages = bed.checkpointer.log_pages;
    atomic_store(&bed.checkpointer.busy, true);
    atomic_store(&bed.checkpointer.moved_pages, log_pages - 2000);
    checkpointer_rest(&bed.checkpointer, false);
    assert_int_equal(moved_pages(&bed), log_pages - 2000);
    atomic_store(&bed.checkpointer.busy, false);
    checkpointer_rest(&bed.checkpointer, false);
    assert_int_equal(moved_pages(&bed), log_pages); /* at once: nothing was waited for */
    write_pages(&bed, 1);
    assert_in_range(bed.checkpointer.log_pages, 1, 10);
    close_bed(&bed);
}

static void a_log_that_is_moved_as_far_as_can_be_costs_the_writer_nothing(void **state) {
    struct bed bed;
    open_bed(&bed, *state, true);
    write_pages(&bed, 1);
    bed.checkpointer.log_pages = 16000;
    atomic_store(&bed.checkpointer.moved_pages, 16000);
    failing_calls_begin_of("sqlite3_wal_checkpoint_v2", FAILING_CALLS_ALL, SQLITE_IOERR);
    checkpointer_rest(&bed.checkpointer, true);
    wait_for_thread(&bed);
    assert_false(failing_calls_end()); /* nobody has asked for a checkpoint */
    close_bed(&bed);
}

static void a_large_rest_is_the_writers_only_when_the_log_is_far_too_long(void **state) {
    struct bed bed;
    open_bed(&bed, *state, true);
    write_pages(&bed, 1);
    int log_pages = bed.checkpointer.log_pages;
    atomic_store(&bed.checkpointer.busy, true); /* the thread does not get it done */
    bed.checkpointer.log_pages = 63999;
    checkpointer_rest(&bed.checkpointer, false);
    assert_int_equal(moved_pages(&bed), 0);
    bed.checkpointer.log_pages = 64000;
    checkpointer_rest(&bed.checkpointer, false);
    assert_int_equal(moved_pages(&bed), log_pages);
    atomic_store(&bed.checkpointer.busy, false);
    close_bed(&bed);
}

/* Where the lines of the log go meanwhile. */
static FILE *log_file;
static int stderr_fd;

static void begin_logging(void) {
    fflush(stderr);
    log_file = tmpfile();
    stderr_fd = dup(STDERR_FILENO);
    assert_true(log_file != NULL && stderr_fd >= 0);
    assert_true(dup2(fileno(log_file), STDERR_FILENO) >= 0);
}

/* How many lines have the text. */
static int end_logging(const char *text) {
    char line[2000];
    int count = 0;
    fflush(stderr);
    assert_true(dup2(stderr_fd, STDERR_FILENO) >= 0);
    close(stderr_fd);
    rewind(log_file);
    while (fgets(line, sizeof line, log_file) != NULL) {
        count += strstr(line, text) != NULL ? 1 : 0;
    }
    fclose(log_file);
    return count;
}

static void rest_and_wait(struct bed *bed) {
    checkpointer_rest(&bed->checkpointer, true);
    wait_for_thread(bed);
}

static void a_checkpoint_that_fails_is_logged_once_and_tried_again(void **state) {
    struct bed bed;
    open_bed(&bed, *state, true);
    write_pages(&bed, 2000);
    begin_logging();
    failing_calls_begin_of("sqlite3_wal_checkpoint_v2", 3, SQLITE_IOERR_WRITE);
    for (int i = 0; i < 3; i++) {
        rest_and_wait(&bed);
        assert_int_equal(moved_pages(&bed), 0);
    }
    rest_and_wait(&bed); /* the disk is well again */
    assert_int_equal(moved_pages(&bed), bed.checkpointer.log_pages);
    failing_calls_end();
    write_pages(&bed, 1000);
    failing_calls_begin_of("sqlite3_wal_checkpoint_v2", 1, SQLITE_FULL);
    rest_and_wait(&bed);
    failing_calls_end();
    assert_int_equal(end_logging("checkpoint_failed"), 2); /* each spell of failures once */
    close_bed(&bed);
}

static void a_checkpoint_of_the_writers_that_fails_is_tried_again(void **state) {
    struct bed bed;
    open_bed(&bed, *state, false);
    write_pages(&bed, 1000);
    failing_calls_begin_of("sqlite3_wal_checkpoint_v2", 1, SQLITE_IOERR_WRITE);
    checkpointer_rest(&bed.checkpointer, false);
    assert_true(failing_calls_end());
    assert_int_equal(moved_pages(&bed), 0);
    checkpointer_rest(&bed.checkpointer, false);
    assert_int_equal(moved_pages(&bed), bed.checkpointer.log_pages);
    close_bed(&bed);
}

static void another_processs_checkpoint_is_no_failure(void **state) {
    struct bed bed;
    open_bed(&bed, *state, true);
    write_pages(&bed, 1000);
    begin_logging();
    failing_calls_begin_of("sqlite3_wal_checkpoint_v2", 1, SQLITE_BUSY);
    rest_and_wait(&bed);
    assert_true(failing_calls_end());
    assert_int_equal(end_logging("checkpoint_failed"), 0);
    rest_and_wait(&bed);
    assert_int_equal(moved_pages(&bed), bed.checkpointer.log_pages);
    close_bed(&bed);
}

static void a_signal_makes_no_checkpoint_and_ends_no_thread(void **state) {
    struct bed bed;
    failing_calls_begin_of("sem_wait", 3, EINTR);
    open_bed(&bed, *state, true);
    write_pages(&bed, 1000);
    rest_and_wait(&bed);
    assert_true(failing_calls_end());
    assert_int_equal(moved_pages(&bed), bed.checkpointer.log_pages);
    close_bed(&bed);
}

static int make_place(void **state) {
    *state = (char *)place_make();
    return 0;
}

static int discard_place(void **state) {
    place_discard(*state);
    return 0;
}

#define PLACE_TEST(function) cmocka_unit_test_setup_teardown(function, make_place, discard_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLACE_TEST(a_short_log_is_left_as_it_is),
        PLACE_TEST(the_thread_moves_the_log_when_the_writer_is_idle),
        PLACE_TEST(the_thread_moves_a_longer_log_also_while_the_writer_is_busy),
        PLACE_TEST(without_a_thread_the_writer_moves_the_log),
        PLACE_TEST(of_a_log_that_is_too_long_the_writer_moves_a_small_rest),
        PLACE_TEST(a_log_that_is_moved_as_far_as_can_be_costs_the_writer_nothing),
        PLACE_TEST(a_large_rest_is_the_writers_only_when_the_log_is_far_too_long),
        PLACE_TEST(a_checkpoint_that_fails_is_logged_once_and_tried_again),
        PLACE_TEST(a_checkpoint_of_the_writers_that_fails_is_tried_again),
        PLACE_TEST(another_processs_checkpoint_is_no_failure),
        PLACE_TEST(a_signal_makes_no_checkpoint_and_ends_no_thread),
    };
    return cmocka_run_group_tests_name("store: checkpoint", tests, NULL, NULL);
}
