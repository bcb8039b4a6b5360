#include "api/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void numbers_are_digits_within_their_range(void **state) {
    (void)state;
    struct error err;
    uint64_t number;
    struct query_parameter limit = {"limit", NULL};
    assert_true(query_number(&limit, 100, 1, 1000, &number, &err));
    assert_int_equal(number, 100);
    limit.value = "1000";
    assert_true(query_number(&limit, 100, 1, 1000, &number, &err));
    assert_int_equal(number, 1000);
    static const char *const bad[] = {"",   "0",   "1001", "-1",   "+1",
                                      " 1", "1.0", "1x",   "0x10", "99999999999999999999999999"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        limit.value = bad[i];
        assert_false(query_number(&limit, 100, 1, 1000, &number, &err));
        assert_int_equal(err.kind, ERROR_INVALID);
        assert_string_equal(err.field, "limit");
    }
}

static void a_plus_that_became_a_space_is_still_an_offset(void **state) {
    (void)state;
    struct error err;
    struct wall_time time;
    struct wall_time expected;
    struct arena arena = {0};
    assert_true(wall_time_parse("2027-01-01T00:00:00Z", &expected, &err));
    static const char *const same[] = {"2027-01-01T02:00:00+02:00", "2027-01-01T02:00:00 02:00",
                                       "2026-12-31T22:00:00-02:00", "2027-01-01 00:00:00Z"};
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        struct query_parameter since = {"since", same[i]};
        assert_true(query_time(&since, &arena, &time, &err));
        assert_int_equal(time.us, expected.us);
    }
    struct query_parameter since = {"since", "yesterday"};
    assert_false(query_time(&since, &arena, &time, &err));
    assert_string_equal(err.field, "since");
    arena_fini(&arena);
}

static void links_are_those_of_rfc_8288(void **state) {
    (void)state;
    struct text links;
    text_init(&links, 1000);
    struct query_parameter query[] = {{"limit", "10"}, {"model_name", NULL}, {"status", "a b&c/é"}};
    link_append(&links, "/api/scheduled", query, COUNT_OF(query), "next");
    link_append(&links, "/api/scheduled", NULL, 0, "first");
    assert_string_equal(text_string(&links),
                        "</api/scheduled?limit=10&status=a%20b%26c%2F%C3%A9>; rel=\"next\", "
                        "</api/scheduled>; rel=\"first\"");
    text_fini(&links);
}

static bool holds(const char *value, uint64_t revision) {
    struct if_match if_match;
    struct error err;
    assert_true(if_match_parse(value, &if_match, &err));
    return if_match_holds(&if_match, revision);
}

static void if_match_compares_strong_tags(void **state) {
    (void)state;
    assert_true(holds(NULL, 3));
    assert_true(holds("*", 3));
    assert_true(holds("\"3\"", 3));
    assert_true(holds("\"1\", \"3\"", 3));
    assert_true(holds(" \"1\" ,\t\"3\" ", 3));
    assert_true(holds("\"a,b\", \"3\"", 3));
    assert_false(holds("\"2\"", 3));
    assert_false(holds("W/\"3\"", 3));
    assert_false(holds("\"03\"", 3));
    assert_false(holds("\"\"", 3));
    assert_false(holds("\"99999999999999999999999\"", 3));
}

static void if_match_that_is_no_list_of_tags_is_malformed(void **state) {
    (void)state;
    static const char *const bad[] = {"", "3", "\"3", "* 3", "\"3\" \"4\"", "W/3", "\"3\",x"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct if_match if_match;
        struct error err;
        assert_false(if_match_parse(bad[i], &if_match, &err));
        assert_int_equal(err.kind, ERROR_MALFORMED);
    }
}

static void preferences_are_found_among_others(void **state) {
    (void)state;
    assert_true(prefer_has("respond-async", "respond-async"));
    assert_true(prefer_has("Respond-Async", "respond-async"));
    assert_true(prefer_has("wait=10, respond-async", "respond-async"));
    assert_true(prefer_has("a=\"x, \\\"y\"; b, respond-async; c=1", "respond-async"));
    assert_false(prefer_has(NULL, "respond-async"));
    assert_false(prefer_has("", "respond-async"));
    assert_false(prefer_has("a=\"respond-async\"", "respond-async"));
    assert_false(prefer_has("a; respond-async", "respond-async"));
    assert_false(prefer_has("respond-asynchronously", "respond-async"));
}

static void json_has_several_media_types(void **state) {
    (void)state;
    assert_true(media_type_is_json("application/json"));
    assert_true(media_type_is_json("Application/JSON; charset=utf-8"));
    assert_true(media_type_is_json("application/merge-patch+json"));
    assert_true(media_type_is_json("application/json ;x=y"));
    assert_false(media_type_is_json(NULL));
    assert_false(media_type_is_json(""));
    assert_false(media_type_is_json("text/plain"));
    assert_false(media_type_is_json("application/jsonp"));
    assert_false(media_type_is_json("application/json x"));
    assert_false(media_type_is_json("+json"));
    assert_false(media_type_is_json("application/+json"));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_within_their_range),
        cmocka_unit_test(a_plus_that_became_a_space_is_still_an_offset),
        cmocka_unit_test(links_are_those_of_rfc_8288),
        cmocka_unit_test(if_match_compares_strong_tags),
        cmocka_unit_test(if_match_that_is_no_list_of_tags_is_malformed),
        cmocka_unit_test(preferences_are_found_among_others),
        cmocka_unit_test(json_has_several_media_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
