/* The log: one event, one line; lines that are held come together, whole and in order. */
#include "observe/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int saved_error_fd;
static int read_fd;

/* Standard error goes into a pipe that never blocks. */
static int open_pipe(void **state) {
    (void)state;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -1;
    }
    saved_error_fd = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    read_fd = fds[0];
    return 0;
}

static int close_pipe(void **state) {
    (void)state;
    dup2(saved_error_fd, STDERR_FILENO);
    close(saved_error_fd);
    close(read_fd);
    return 0;
}

/* What was written since the last call. */
static const char *written(void) {
    static char bytes[65536];
    ssize_t got = read(read_fd, bytes, sizeof bytes - 1);
    bytes[got > 0 ? got : 0] = '\0';
    return bytes;
}

static size_t count_lines(const char *text) {
    size_t count = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++) {
        count++;
    }
    return count;
}

static void an_event_is_one_line_with_its_fields_quoted_where_they_need_it(void **state) {
    (void)state;
    struct error err;
    error_set_field(&err, ERROR_INVALID, "schedule", "two words");
    log_event(LOG_INFO, "happened", LOG_STRING("plain", "a-b"), LOG_STRING("quoted", "a \"b\"\n"),
              LOG_STRING("absent", NULL), LOG_INTEGER("least", INT64_MIN), LOG_INTEGER("zero", 0),
              LOG_FAILURE(&err));
    const char *line = written();
    assert_non_null(strstr(line,
                           " level=info event=happened plain=a-b quoted=\"a \\\"b\\\"\\u000a\""
                           " least=-9223372036854775808 zero=0 error=ValidationError"
                           " message=\"two words\" field=schedule\n"));
    assert_int_equal(count_lines(line), 1);
}

static void lines_that_are_held_come_together_when_they_are_released(void **state) {
    (void)state;
    log_hold();
    log_event(LOG_INFO, "first");
    log_event(LOG_INFO, "second");
    assert_string_equal(written(), "");
    log_release();
    const char *lines = written();
    assert_int_equal(count_lines(lines), 2);
    assert_true(strstr(lines, "first") < strstr(lines, "second"));
    log_release();
    assert_string_equal(written(), "");
}

static void an_error_does_not_wait(void **state) {
    (void)state;
    log_hold();
    log_event(LOG_INFO, "before");
    log_event(LOG_ERROR, "bad");
    assert_int_equal(count_lines(written()), 2);
    log_end_thread();
}

static void what_is_held_has_a_bound(void **state) {
    (void)state;
    log_hold();
    size_t lines = 0;
    for (int i = 0; i < 1000; i++) {
        log_event(LOG_INFO, "happened", LOG_INTEGER("number", i));
        lines += count_lines(written());
    }
    assert_true(lines > 0 && lines < 1000);
    log_end_thread();
    assert_int_equal(lines + count_lines(written()), 1000);
}

static void a_line_that_is_too_long_is_dropped_and_harms_no_other(void **state) {
    (void)state;
    char *text = calloc(1, 10001);
    memset(text, 'x', 10000);
    log_hold();
    log_event(LOG_INFO, "before");
    log_event(LOG_INFO, "long", LOG_STRING("text", text));
    log_event(LOG_INFO, "after");
    log_end_thread();
    assert_int_equal(count_lines(written()), 2);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_one_line_with_its_fields_quoted_where_they_need_it),
        cmocka_unit_test(lines_that_are_held_come_together_when_they_are_released),
        cmocka_unit_test(an_error_does_not_wait),
        cmocka_unit_test(what_is_held_has_a_bound),
        cmocka_unit_test(a_line_that_is_too_long_is_dropped_and_harms_no_other),
    };
    return cmocka_run_group_tests(tests, open_pipe, close_pipe);
}
