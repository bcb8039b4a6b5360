/* The files of large results, where the file system fails: nothing half is left under a name that counts, and the error
 * tells what could not be done. */
#include "failing_calls.h"
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

enum { BYTES = 200000, KEY = 4711, CALLS_MAXIMUM = 100, NAME_BYTES = 400 };
static const char *location;
static char *result;

static int make(void **state) {
    location = place_make();
    *state = results_folder(location);
    result = must_alloc(BYTES);
    memset(result, 'x', BYTES);
    return 0;
}

static int discard(void **state) {
    failing_calls_end();
    place_discard(location);
    free(*state);
    free(result);
    return 0;
}

static const char *beside(const char *path, const char *ending, char out[static NAME_BYTES]) {
    int bytes = snprintf(out, NAME_BYTES, "%s%s", path, ending);
    assert_in_range(bytes, 1, NAME_BYTES - 1);
    return out;
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

static bool is_there(const char *folder) {
    char name[NAME_BYTES];
    return access(beside(folder, "/0000000000001267.json", name), F_OK) == 0;
}

static bool part_is_there(const char *folder) {
    char name[NAME_BYTES];
    return access(beside(folder, "/0000000000001267.json.part", name), F_OK) == 0;
}

static void make_file(const char *name) {
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

/* --- the tests ------------------------------------------------------------------------------------ */

static void a_file_is_written_whole_or_not_at_all(void **state) {
    struct error err;
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        results_remove_folder(*state);
        failing_calls_begin(calls);
        bool ok = results_write(*state, KEY, result, BYTES, &err);
        failed = failing_calls_end();
        assert_int_equal(ok, !failed);
        assert_true(ok || err.kind == ERROR_STORE);
        assert_int_equal(is_there(*state), is_whole(*state));
        assert_false(part_is_there(*state));
    }
    assert_false(failed);
    failing_calls_begin_of("write", 1, ENOSPC);
    assert_false(results_write(*state, KEY + 1, result, BYTES, &err));
    assert_true(failing_calls_end());
    assert_non_null(strstr(err.message, strerror(ENOSPC)));
    failing_calls_begin_of("write", 1, EINTR); /* is no failure */
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    assert_true(failing_calls_end());
    assert_true(is_whole(*state));
    results_remove(*state, KEY + 1);
}

static void a_folder_that_cannot_be_made_is_told(void **state) {
    struct error err;
    char missing[NAME_BYTES];
    beside(*state, "/not/there", missing);
    assert_false(results_write(missing, KEY, result, BYTES, &err));
    assert_int_equal(err.kind, ERROR_STORE);
    make_file(*state); /* a file is in its place */
    assert_false(results_write(*state, KEY, result, BYTES, &err));
    assert_false(results_copy("/", *state, &err));
    assert_false(results_copy(missing, "/", &err));
    assert_false(results_sweep(*state, NULL, NULL, &err));
    assert_int_equal(err.kind, ERROR_STORE);
    results_remove_folder(*state);
    assert_int_equal(unlink(*state), 0);
}

static void what_is_no_file_is_no_result(void **state) {
    struct error err;
    int file;
    uint64_t size_bytes;
    char name[NAME_BYTES];
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    results_remove(*state, KEY);
    assert_false(results_open(*state, KEY, &file, &size_bytes, &err));
    assert_int_equal(err.kind, ERROR_NOT_FOUND);
    results_remove("/nowhere", KEY);
    assert_false(results_open("/nowhere", KEY, &file, &size_bytes, &err));
    assert_int_equal(mkdir(beside(*state, "/0000000000001267.json", name), 0700), 0);
    assert_false(results_open(*state, KEY, &file, &size_bytes, &err));
    assert_int_equal(err.kind, ERROR_STORE);
    assert_int_equal(rmdir(name), 0);
}

static void a_file_that_cannot_be_opened_is_told(void **state) {
    struct error err;
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    bool failed = true;
    for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
        int file = -1;
        uint64_t size_bytes;
        failing_calls_begin(calls);
        bool ok = results_open(*state, KEY, &file, &size_bytes, &err);
        failed = failing_calls_end();
        assert_int_equal(ok, !failed);
        if (ok) {
            close(file);
        } else {
            assert_int_equal(err.kind, ERROR_STORE); /* and not as if it were gone */
        }
    }
    assert_false(failed);
}

static bool want_all(void *context, int64_t execution_key) {
    (void)execution_key;
    *(int *)context += 1;
    return true;
}

static void a_sweep_leaves_what_is_not_the_stores(void **state) {
    static const char *const others[] = {"/notes", "/notes.txt", "/0000000000001267.txt"};
    struct error err;
    char name[NAME_BYTES];
    int asked_count = 0;
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    make_file(
        beside(*state, "/0000000000001267.json.part", name)); /* of a daemon that was killed */
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        make_file(beside(*state, others[i], name));
    }
    assert_true(results_sweep(*state, want_all, &asked_count, &err));
    assert_int_equal(asked_count, 1);
    assert_false(part_is_there(*state));
    assert_true(is_whole(*state));
    results_remove_folder(*state);
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_int_equal(unlink(beside(*state, others[i], name)), 0);
    }
}

/* What a file system cannot do: links, and to copy a range (0: it can). The first piece is not written then, either,
 * where the disk is full. */
static int range_code;
static bool disk_is_full;

static void begin_write_failure(void *context) {
    (void)context;
    failing_calls_begin_of("write", 1, ENOSPC);
}

static void begin_range_failures(void *context) {
    (void)context;
    if (range_code != 0) {
        failing_calls_begin_of("copy_file_range", 1, range_code);
    }
    if (disk_is_full) {
        failing_calls_act_before("write", begin_write_failure, NULL);
    }
}

static void begin_without_links(int code, bool full) {
    range_code = code;
    disk_is_full = full;
    failing_calls_begin_of("linkat", 1, EXDEV);
    failing_calls_act_before("fstat64", begin_range_failures,
                             NULL); /* of the file that is copied */
}

static void a_copy_is_whole_also_where_there_are_no_links(void **state) {
    static const int range_codes[] = {0, EXDEV, EINVAL, ENOSYS};
    char to[NAME_BYTES];
    struct error err;
    beside(*state, ".copy", to);
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    for (size_t i = 0; i < COUNT_OF(range_codes); i++) {
        begin_without_links(range_codes[i], false);
        assert_true(results_copy(*state, to, &err));
        assert_true(failing_calls_end());
        assert_true(is_whole(to));
        assert_true(results_copy(*state, to, &err)); /* again: it is there */
        results_remove_folder(to);
    }
}

static void a_copy_that_fails_is_told_and_not_there(void **state) {
    char to[NAME_BYTES];
    struct error err;
    beside(*state, ".copy", to);
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    assert_true(results_copy("/nowhere/at/all", to, &err)); /* nothing to copy */
    static const int range_codes[] = {EIO, EXDEV};
    for (size_t i = 0; i < COUNT_OF(range_codes); i++) {
        begin_without_links(range_codes[i], range_codes[i] == EXDEV);
        assert_false(results_copy(*state, to, &err));
        assert_true(failing_calls_end());
        assert_false(is_there(to));
    }
    results_remove_folder(to);
}

/* With links and without: the call that fails is any. */
static void a_copy_survives_every_call_that_fails(void **state) {
    char to[NAME_BYTES];
    struct error err;
    beside(*state, ".copy", to);
    assert_true(results_write(*state, KEY, result, BYTES, &err));
    for (int count = 1; count <= 4;
         count++) { /* the link that fails, and what is tried in its place */
        bool failed = true;
        for (int calls = 0; failed && calls < CALLS_MAXIMUM; calls++) {
            failing_calls_begin_many(calls, count, EIO);
            bool ok = results_copy(*state, to, &err);
            failed = failing_calls_end();
            assert_true(ok || failed);
            assert_true(!ok || is_whole(to));
            assert_true(ok || err.kind == ERROR_STORE);
            assert_int_equal(is_there(to), is_whole(to));
            results_remove_folder(to);
        }
        assert_false(failed);
    }
}

#define FILES_TEST(function) cmocka_unit_test_setup_teardown(function, make, discard)

int main(void) {
    const struct CMUnitTest tests[] = {
        FILES_TEST(a_file_is_written_whole_or_not_at_all),
        FILES_TEST(a_folder_that_cannot_be_made_is_told),
        FILES_TEST(what_is_no_file_is_no_result),
        FILES_TEST(a_file_that_cannot_be_opened_is_told),
        FILES_TEST(a_sweep_leaves_what_is_not_the_stores),
        FILES_TEST(a_copy_is_whole_also_where_there_are_no_links),
        FILES_TEST(a_copy_that_fails_is_told_and_not_there),
        FILES_TEST(a_copy_survives_every_call_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
