#include "base/json_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void values_of_every_kind_are_json(void **state) {
    (void)state;
    static const char *const good[] = {"null",
                                       " true\n",
                                       "false",
                                       "0",
                                       "-0",
                                       "10",
                                       "-1.5",
                                       "1e400",
                                       "2E-7",
                                       "0.0e+0",
                                       "\"\"",
                                       "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\"",
                                       "\"\\ud83d\\ude00\"",
                                       "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\"",
                                       "[]",
                                       "[ ]",
                                       "{}",
                                       "{ }",
                                       "[1,2 , 3]",
                                       "[[[]],[{}]]",
                                       "{\"a\":1,\"a\":{\"b\":[{}]}}",
                                       "{\"\":null}",
                                       "\"\x7F\"",
                                       "\t[\r\n1]\n"};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct error err;
        if (!json_check(good[i], strlen(good[i]), &err)) {
            fail_msg("%s: %s", good[i], err.message);
        }
    }
}

static void what_is_no_json_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "nul",
                                      "nulL",
                                      "True",
                                      "01",
                                      "-",
                                      "+1",
                                      ".5",
                                      "1.",
                                      "1e",
                                      "1e+",
                                      "NaN",
                                      "Infinity",
                                      "0x1",
                                      "'a'",
                                      "\"",
                                      "\"a",
                                      "\"\n\"",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "\"\\ud800\"",
                                      "\"\\ud800\\u0041\"",
                                      "\"\\udc00\"",
                                      "\"\xFF\"",
                                      "\"\xC0\x80\"",
                                      "\"\xED\xA0\x80\"",
                                      "\"\xF4\x90\x80\x80\"",
                                      "\"\xC3\"",
                                      "\"\xE0\x80\x80\"",
                                      "[",
                                      "]",
                                      "[1",
                                      "[1,",
                                      "[1,]",
                                      "[,1]",
                                      "[1 2]",
                                      "{",
                                      "{\"a\"",
                                      "{\"a\":",
                                      "{\"a\":1,",
                                      "{\"a\":1,}",
                                      "{a:1}",
                                      "{1:1}",
                                      "{\"a\" 1}",
                                      "[}",
                                      "{]",
                                      "[1}",
                                      "{\"a\":1]",
                                      "1 2",
                                      "{}{}",
                                      "null x",
                                      "\xEF\xBB\xBF[]",
                                      "[1]// c"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct error err;
        if (json_check(bad[i], strlen(bad[i]), &err)) {
            fail_msg("%s was accepted", bad[i]);
        }
        assert_int_equal(err.kind, ERROR_MALFORMED);
    }
    struct error err;
    assert_false(json_check("[1,\0]", 5, &err));
    assert_false(json_check("\"\\\0\"", 4, &err));
    assert_string_equal(err.message, "an unknown escape at byte 3");
}

static void depth_has_a_bound(void **state) {
    (void)state;
    char nested[2 * JSON_DEPTH_MAXIMUM + 2];
    struct error err;
    memset(nested, '[', JSON_DEPTH_MAXIMUM);
    memset(nested + JSON_DEPTH_MAXIMUM, ']', JSON_DEPTH_MAXIMUM);
    assert_true(json_check(nested, sizeof nested - 2, &err));
    memset(nested, '[', JSON_DEPTH_MAXIMUM + 1);
    memset(nested + JSON_DEPTH_MAXIMUM + 1, ']', JSON_DEPTH_MAXIMUM + 1);
    assert_false(json_check(nested, sizeof nested, &err));
    assert_non_null(strstr(err.message, "too deeply"));
}

/* An address sanitizer sees it read behind the end: every beginning of a document, in memory that ends with it. */
static void no_beginning_is_read_past_its_end(void **state) {
    (void)state;
    static const char whole[] = "{\"a\":[1.5e+3,\"\\ud83d\\ude00\xF0\x9F\x98\x80\",true,null]}";
    for (size_t size_bytes = 0; size_bytes < sizeof whole - 1; size_bytes++) {
        char *part = malloc(size_bytes + (size_bytes == 0));
        assert_non_null(part);
        memcpy(part, whole, size_bytes);
        struct error err;
        assert_false(json_check(part, size_bytes, &err));
        free(part);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_kind_are_json),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(depth_has_a_bound),
        cmocka_unit_test(no_beginning_is_read_past_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
