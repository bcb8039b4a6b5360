#include "remote/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint16_t retryable[] = {429, 503};
static struct http_settings settings;
static struct secrets secrets;
static struct error err;
static char *result;
static size_t result_bytes;

static int setup(void **state) {
    (void)state;
    settings = (struct http_settings){.result_pointer = "",
                                      .required_pointer = "",
                                      .retryable_statuses = retryable,
                                      .retryable_status_count = COUNT_OF(retryable)};
    secrets_init(&secrets);
    result = NULL;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    secrets_fini(&secrets);
    free(result);
    return 0;
}

static bool read_bytes(long status, const void *bytes, size_t size_bytes) {
    struct text answer CLEANUP(text_fini);
    text_init(&answer, 1 << 20);
    text_append_bytes(&answer, bytes, size_bytes);
    free(result);
    result = NULL;
    return answer_read(&settings, status, &answer, &secrets, &result, &result_bytes, &err);
}

static bool read(long status, const char *body) { return read_bytes(status, body, strlen(body)); }

static void know_secret(const char *secret) {
    text_append_bytes(&secrets.values, secret, strlen(secret) + 1);
}

static void assert_message(long status, const char *body, const char *message) {
    assert_false(read(status, body));
    assert_string_equal(err.message, message);
    assert_null(result);
}

static void assert_result(const char *body, const char *expected) {
    assert_true(read(200, body));
    assert_string_equal(result, expected);
    assert_int_equal(result_bytes, strlen(expected));
}

static void any_success_has_a_result(void **state) {
    (void)state;
    static const long statuses[] = {200, 201, 204, 226, 299};
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        assert_true(read(statuses[i], "{\"y\": 1}"));
        assert_string_equal(result, "{\"y\": 1}");
    }
}

static void another_status_is_an_error_that_may_be_retried_where_the_settings_say_so(void **state) {
    (void)state;
    static const struct {
        long status;
        enum error_kind kind;
    } cases[] = {
        {0, ERROR_MODEL_FAILED},        {101, ERROR_MODEL_FAILED},      {199, ERROR_MODEL_FAILED},
        {300, ERROR_MODEL_FAILED},      {302, ERROR_MODEL_FAILED},      {404, ERROR_MODEL_FAILED},
        {428, ERROR_MODEL_FAILED},      {429, ERROR_MODEL_UNAVAILABLE}, {500, ERROR_MODEL_FAILED},
        {503, ERROR_MODEL_UNAVAILABLE}, {999, ERROR_MODEL_FAILED},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_false(read(cases[i].status, "{}"));
        assert_int_equal(err.kind, cases[i].kind);
    }
    assert_message(503, "", "the model's server answered 503");
    assert_message(404, "no", "the model's server answered 404: no");
}

static void the_whole_answer_is_the_result_as_it_stands(void **state) {
    (void)state;
    assert_result(" [1, 2.50,\n null] ", " [1, 2.50,\n null] ");
    assert_result("0", "0");
}

static void the_pointer_says_where_the_result_is(void **state) {
    (void)state;
    static const struct {
        const char *pointer, *result;
    } cases[] = {
        {"/a", "[10,{\"b/c\":true,\"d~e\":null}]"},
        {"/a/0", "10"},
        {"/a/1/b~1c", "true"},
        {"/a/1/d~0e", "null"},
        {"/", "\"of the empty name\""},
        {"/\xc3\xa9", "\"\xc3\xa9\\n\""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        settings.result_pointer = cases[i].pointer;
        assert_result("{\"a\": [10, {\"b/c\": true, \"d~e\": null}], \"\": \"of the empty name\", "
                      "\"\\u00e9\": \"\\u00e9\\n\"}",
                      cases[i].result);
    }
}

static void nothing_where_the_pointer_says_is_an_error(void **state) {
    (void)state;
    static const char *const pointers[] = {"/b", "/a/3", "/a/-", "/a/x", "/a/01", "/a/0/c", "/~"};
    for (size_t i = 0; i < COUNT_OF(pointers); i++) {
        settings.result_pointer = pointers[i];
        assert_false(read(200, "{\"a\": [1, 2, 3]}"));
        assert_int_equal(err.kind, ERROR_MODEL_FAILED);
        assert_non_null(strstr(err.message, "what the model's server answered has nothing at '/"));
        assert_null(result);
    }
}

static void what_must_be_there_is_no_result_but_must_be_there(void **state) {
    (void)state;
    settings.required_pointer = "/choices/0";
    assert_result("{\"choices\": [1]}", "{\"choices\": [1]}");
    know_secret("a-word");
    assert_message(200, "{\"error\": \"a-word\"}",
                   "what the model's server answered has nothing at "
                   "'/choices/0': {\"error\": \"***\"}");
}

static void numbers_are_kept_digit_for_digit(void **state) {
    (void)state;
    settings.result_pointer = "/y";
    assert_result("{\"y\": [123456789012345678901234567890, 0.10, 1E+400, -0, -0.0, "
                  "0.1000000000000000055511151231257827, 1e-999]}",
                  "[123456789012345678901234567890,0.10,1E+400,-0,-0.0,"
                  "0.1000000000000000055511151231257827,1e-999]");
}

static void what_is_no_json_is_an_error(void **state) {
    (void)state;
    assert_message(200, "", "the model's server answered nothing");
    assert_int_equal(err.kind, ERROR_MODEL_FAILED);
    static const char *const bodies[] = {"<html>",     "{",      "[1] 2",       "nul",
                                         "{\"a\":1,}", "NaN",    " ",           "\"\xff\"",
                                         "01",         "'text'", "\xef\xbb\xbf"};
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        assert_false(read(200, bodies[i]));
        assert_int_equal(err.kind, ERROR_MODEL_FAILED);
        assert_non_null(strstr(err.message, "what the model's server answered is not JSON: "));
        assert_null(result);
    }
    assert_false(read_bytes(200, "[1]\0", 4));
    assert_false(read(200, "<html>"));
    assert_non_null(strstr(err.message, " at byte 1: <html>"));
}

static void of_an_error_control_characters_are_spaces(void **state) {
    (void)state;
    assert_message(500, "  a\r\n\tb\x1b[31m\x7f\x08 c  ",
                   "the model's server answered 500: a b [31m c ");
    assert_message(500, "\n \t", "the model's server answered 500");
    /* U+0085 and U+009B, which some terminals obey, and the character after them, which is none. */
    assert_message(500,
                   "a\xc2\x85\xc2\x9b"
                   "b\xc2\xa0",
                   "the model's server answered 500: a b\xc2\xa0");
    assert_false(read_bytes(500, "a\0b", 3));
    assert_string_equal(err.message, "the model's server answered 500: a b");
}

static void of_an_error_characters_are_kept_and_what_is_none_is_a_question_mark(void **state) {
    (void)state;
    assert_message(500, "\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x8c\x8d",
                   "the model's server answered 500: "
                   "\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x8c\x8d");
    assert_message(500,
                   "a\xff\xc3"
                   "b\xed\xa0\x80\xe4\xbd",
                   "the model's server answered 500: a??b?????");
}

static void of_an_error_the_first_200_bytes_are_shown_and_no_part_of_a_character(void **state) {
    (void)state;
    static const char prefix[] = "the model's server answered 500: ";
    for (size_t width = 1; width <= 4; width++) {
        static const char *const characters[] = {"x", "\xc3\xa9", "\xe4\xbd\xa0",
                                                 "\xf0\x9f\x8c\x8d"};
        for (size_t shift = 0; shift < 4; shift++) {
            char body[2048] = "abc";
            body[shift] = '\0';
            for (size_t i = 0; i < 300; i++) {
                strcat(body, characters[width - 1]);
            }
            assert_false(read(500, body));
            const char *shown = err.message + strlen(prefix);
            size_t whole = shift + (200 - shift) / width * width;
            assert_int_equal(strlen(shown), whole);
            assert_memory_equal(shown, body, whole);
        }
    }
}

static void a_secret_in_an_error_is_masked(void **state) {
    (void)state;
    know_secret("s3cr\xc3\xa9t/\"\\=");
    know_secret("s3cr");
    static const char *const repeated[] = {
        "s3cr\xc3\xa9t/\"\\=",
        "s3cr\xc3\xa9t\\/\\\"\\\\=",
        "s3cr\\u00c3\\u00A9t/\\u0022\\\\\\u003d", /* as a server that reads header fields as ISO 8859-1 has it */
        "\\u00733cr\xc3\xa9t\\/\\\"\\\\=",
        "s3cr",
        "\\u0073\\u0033\\u0063\\u0072",
    };
    for (size_t i = 0; i < COUNT_OF(repeated); i++) {
        char body[128];
        strcpy(body, "{\"key\": \"");
        strcat(body, repeated[i]);
        strcat(body, "\" is wrong\"}");
        assert_message(401, body, "the model's server answered 401: {\"key\": \"***\" is wrong\"}");
        assert_false(read(200, body));
        if (strstr(err.message, "not JSON") != NULL) {
            assert_non_null(strstr(err.message, ": {\"key\": \"***\" is wrong\"}"));
        }
    }
    assert_message(401, "s3cs3crs3cr\\u0", "the model's server answered 401: s3c******\\u0");
}

static void a_secret_at_the_cut_is_shown_as_a_mask_or_not_at_all(void **state) {
    (void)state;
    know_secret("a-very-secret-word");
    for (size_t before = 170; before < 210; before++) {
        char body[512];
        memset(body, 'x', before);
        strcpy(body + before, "a-very-secret-word and more");
        assert_false(read(500, body));
        assert_null(strstr(err.message, "a-"));
        assert_true((strstr(err.message, "***") != NULL) == (before <= 197));
    }
}

static void a_result_is_never_masked(void **state) {
    (void)state;
    know_secret("1");
    assert_result("[1, 21]", "[1, 21]");
    settings.result_pointer = "/y";
    assert_result("{\"y\": 110}", "110");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(any_success_has_a_result),
        TEST(another_status_is_an_error_that_may_be_retried_where_the_settings_say_so),
        TEST(the_whole_answer_is_the_result_as_it_stands),
        TEST(the_pointer_says_where_the_result_is),
        TEST(nothing_where_the_pointer_says_is_an_error),
        TEST(what_must_be_there_is_no_result_but_must_be_there),
        TEST(numbers_are_kept_digit_for_digit),
        TEST(what_is_no_json_is_an_error),
        TEST(of_an_error_control_characters_are_spaces),
        TEST(of_an_error_characters_are_kept_and_what_is_none_is_a_question_mark),
        TEST(of_an_error_the_first_200_bytes_are_shown_and_no_part_of_a_character),
        TEST(a_secret_in_an_error_is_masked),
        TEST(a_secret_at_the_cut_is_shown_as_a_mask_or_not_at_all),
        TEST(a_result_is_never_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
