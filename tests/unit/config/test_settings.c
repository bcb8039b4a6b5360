#include "config/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct settings_flag flag;

static int setup(void **state) {
    struct settings *settings = must_alloc(sizeof *settings);
    settings_init(settings);
    flag = (struct settings_flag){.key = "workers"};
    unsetenv("ORRERY_WORKERS");
    *state = settings;
    return 0;
}

static int teardown(void **state) {
    settings_fini(*state);
    free(*state);
    return 0;
}

static void write_file(char *path, const char *text) {
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void the_defaults_are_in_their_own_range(void **state) {
    struct settings *settings = *state;
    assert_string_equal(settings->listen, "127.0.0.1:8080");
    assert_int_equal(settings->body_limit_bytes, 64 * 1024 * 1024);
    assert_int_equal(settings->drain_limit.us, 20 * US_PER_SECOND);
    assert_int_equal(settings->retention_age.us, INT64_C(90) * 86400 * US_PER_SECOND);
    assert_int_equal(settings->retention_count, 10000);
    assert_int_equal(settings->retention_bytes, INT64_C(8) << 30);
}

static void flags_win_over_the_environment_which_wins_over_the_file(void **state) {
    struct settings *settings = *state;
    struct error err;
    char path[] = "/tmp/orrery-settings-XXXXXX";
    write_file(path, "# a comment\n\n workers = 3 \nconnections=17\nlisten = :9000\n");
    assert_true(settings_load(settings, path, &flag, 1, &err));
    assert_int_equal(settings->workers, 3);
    assert_int_equal(settings->connections, 17);
    assert_string_equal(settings->listen, ":9000");
    setenv("ORRERY_WORKERS", "4", 1);
    assert_true(settings_load(settings, path, &flag, 1, &err));
    assert_int_equal(settings->workers, 4);
    flag.value = "5";
    assert_true(settings_load(settings, path, &flag, 1, &err));
    assert_int_equal(settings->workers, 5);
    unlink(path);
}

static void a_bad_value_names_the_setting_its_source_and_what_was_expected(void **state) {
    struct settings *settings = *state;
    static const struct {
        const char *key;
        const char *value;
        const char *expected;
    } cases[] = {
        {"workers", "0", "workers (command line): '0' is not a whole number from 1 to 256"},
        {"workers", "2x", "workers (command line): '2x' is not a whole number from 1 to 256"},
        {"workers", "", "workers (command line): '' is not a whole number from 1 to 256"},
        {"workers", "99999999999999999999",
         "workers (command line): '99999999999999999999' is not a whole number from 1 to 256"},
        {"body-limit", "64Q",
         "body-limit (command line): '64Q' is not a number of bytes such as 64M from 1024 to "
         "1073741824"},
        {"drain-limit", "soon",
         "drain-limit (command line): 'soon' is not a duration such as 30s from 0s to 1h"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct error err;
        flag = (struct settings_flag){cases[i].key, cases[i].value};
        assert_false(settings_load(settings, NULL, &flag, 1, &err));
        assert_string_equal(err.message, cases[i].expected);
        assert_int_equal(err.kind, ERROR_USAGE);
    }
}

static void a_bad_line_of_the_file_is_named(void **state) {
    struct settings *settings = *state;
    static const char *const cases[][2] = {
        {"workers = 2\nwrokers = 3\n", "line 2: unknown setting 'wrokers'"},
        {"workers\n", "line 1: expected `key = value`, got 'workers'"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char path[] = "/tmp/orrery-settings-XXXXXX";
        write_file(path, cases[i][0]);
        struct error err;
        assert_false(settings_load(settings, path, &flag, 1, &err));
        assert_non_null(strstr(err.message, cases[i][1]));
        unlink(path);
    }
    struct error err;
    assert_false(settings_load(settings, "/nonexistent/orrery.conf", &flag, 1, &err));
    assert_non_null(strstr(err.message, "/nonexistent/orrery.conf"));
}

static void the_help_names_every_setting(void **state) {
    (void)state;
    struct text help;
    text_init(&help, 65536);
    settings_append_help(&help);
    for (size_t i = 0; i < setting_count; i++) {
        char option[64];
        snprintf(option, sizeof option, "--%s ", setting_rows[i].key);
        assert_non_null(strstr(text_string(&help), option));
    }
    text_fini(&help);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_defaults_are_in_their_own_range, setup, teardown),
        cmocka_unit_test_setup_teardown(flags_win_over_the_environment_which_wins_over_the_file,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_bad_value_names_the_setting_its_source_and_what_was_expected, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_line_of_the_file_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(the_help_names_every_setting, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
