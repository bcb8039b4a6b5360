/* The files of large results, where the file system fails: nothing half is left under a name that counts, and the error
 * tells what could not be done. */
#include "place.h"
#include "store/results.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* --- calls that fail ------------------------------------------------------------------------------ */

static const char *failing = "";
static int failing_code;
static int calls_until_failure;

static bool fails(const char *name) {
    if (strcmp(failing, name) != 0 || calls_until_failure-- != 0) {
        return false;
    }
    errno = failing_code;
    return true;
}

static void fail_call(const char *name, int nth, int code) {
    failing = name;
    failing_code = code;
    calls_until_failure = nth;
}

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd) { return fails("fsync") ? -1 : __real_fsync(fd); }

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size) {
    return fails("write") ? -1 : __real_write(fd, bytes, size);
}

int __real_renameat(int from, const char *name, int to, const char *new_name);
int __wrap_renameat(int from, const char *name, int to, const char *new_name);
int __wrap_renameat(int from, const char *name, int to, const char *new_name) {
    return fails("renameat") ? -1 : __real_renameat(from, name, to, new_name);
}

int __real_linkat(int from, const char *name, int to, const char *new_name, int flags);
int __wrap_linkat(int from, const char *name, int to, const char *new_name, int flags);
int __wrap_linkat(int from, const char *name, int to, const char *new_name, int flags) {
    return fails("linkat") ? -1 : __real_linkat(from, name, to, new_name, flags);
}

ssize_t __real_copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size,
                               unsigned flags);
ssize_t __wrap_copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size,
                               unsigned flags);
static int range_code; /* beside the one call that fails: this one, too */
ssize_t __wrap_copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t size,
                               unsigned flags) {
    if (range_code != 0) {
        errno = range_code;
        return -1;
    }
    return __real_copy_file_range(from, from_at, to, to_at, size, flags);
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* --- the place ------------------------------------------------------------------------------------ */

enum { BYTES = 200000, KEY = 4711 };
static char *result;

static int make(void **state) {
    *state = results_folder(place_make());
    result = must_alloc(BYTES);
    memset(result, 'x', BYTES);
    fail_call("", 0, 0);
    range_code = 0;
    return 0;
}

static int discard(void **state) {
    fail_call("", 0, 0);
    results_remove_folder(*state);
    free(*state);
    free(result);
    return 0;
}

static bool is_whole(const char *folder) {
    int file;
    uint64_t size_bytes;
    struct error err;
    if (!results_open(folder, KEY, &file, &size_bytes, &err)) {
        return false;
    }
    char *read_back = must_alloc(BYTES);
    bool same = size_bytes == BYTES && read(file, read_back, BYTES) == BYTES &&
                memcmp(read_back, result, BYTES) == 0;
    free(read_back);
    close(file);
    return same;
}

/* --- the tests ------------------------------------------------------------------------------------ */

static void a_file_that_cannot_be_written_whole_is_not_there(void **state) {
    static const struct {
        const char *name;
        int nth, code;
    } cases[] = {{"write", 0, ENOSPC}, {"fsync", 0, EIO}, {"fsync", 1, EIO}, {"renameat", 0, EIO}};
    struct error err;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fail_call(cases[i].name, cases[i].nth, cases[i].code);
        assert_false(results_write(*state, KEY, result, BYTES, &err));
        assert_int_equal(err.kind, ERROR_STORE);
        assert_true(calls_until_failure < 0); /* it has failed */
        /* Where only its name is not on disk yet it may be there: nothing will refer to it. */
        assert_true(cases[i].nth > 0 || !is_whole(*state));
        results_remove(*state, KEY);
    }
    fail_call("write", 0, EINTR); /* is no failure */
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    assert_true(is_whole(*state));
}

static void a_folder_that_cannot_be_made_is_told(void **state) {
    struct error err;
    char missing[400];
    snprintf(missing, sizeof missing, "%s/not/there", (const char *)*state);
    assert_false(results_write(missing, KEY, result, BYTES, &err));
    assert_int_equal(err.kind, ERROR_STORE);
    int fd = open(*state, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* a file is in its place */
    assert_true(fd >= 0);
    close(fd);
    assert_false(results_write(*state, KEY, result, BYTES, &err));
    assert_false(results_copy("/", *state, &err));
    assert_false(results_sweep(*state, NULL, NULL, &err));
    assert_int_equal(unlink(*state), 0);
}

static void what_is_no_file_is_no_result(void **state) {
    struct error err;
    int file;
    uint64_t size_bytes;
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    results_remove(*state, KEY);
    assert_false(results_open(*state, KEY, &file, &size_bytes, &err));
    results_remove("/nowhere", KEY);
    assert_false(results_open("/nowhere", KEY, &file, &size_bytes, &err));
}

static void a_copy_is_whole_also_where_there_are_no_links(void **state) {
    static const int range_codes[] = {0, EXDEV, EINVAL, ENOSYS};
    char to[400];
    snprintf(to, sizeof to, "%s.copy", (const char *)*state);
    struct error err;
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    for (size_t i = 0; i < COUNT_OF(range_codes); i++) {
        range_code = range_codes[i];
        fail_call("linkat", 0, EXDEV);
        assert_true(results_copy(*state, to, &err));
        assert_true(is_whole(to));
        assert_true(results_copy(*state, to, &err)); /* again: it is there */
        results_remove_folder(to);
    }
}

static void a_copy_that_fails_is_told_and_not_there(void **state) {
    char to[400];
    snprintf(to, sizeof to, "%s.copy", (const char *)*state);
    struct error err;
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    assert_true(results_copy("/nowhere/at/all", to, &err)); /* nothing to copy */
    range_code = EIO;
    fail_call("linkat", 0, EXDEV);
    assert_false(results_copy(*state, to, &err));
    assert_false(is_whole(to));
    results_remove_folder(to);
}

#define FILES_TEST(function) cmocka_unit_test_setup_teardown(function, make, discard)

int main(void) {
    const struct CMUnitTest tests[] = {
        FILES_TEST(a_file_that_cannot_be_written_whole_is_not_there),
        FILES_TEST(a_folder_that_cannot_be_made_is_told),
        FILES_TEST(what_is_no_file_is_no_result),
        FILES_TEST(a_copy_is_whole_also_where_there_are_no_links),
        FILES_TEST(a_copy_that_fails_is_told_and_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
