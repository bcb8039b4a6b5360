#include "api/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;
static struct body parsed; /* the newest */

static int free_arena(void **state) {
    (void)state;
    body_fini(&parsed);
    arena_fini(&arena);
    return 0;
}

static struct body parse(const char *text) {
    struct error err = {0};
    body_fini(&parsed);
    if (!body_parse(text, strlen(text), NULL, &parsed, &err)) {
        fail_msg("%s", err.message);
    }
    return parsed;
}

/* Decodes into a new run. */
static struct problems decode(const char *text, struct run *run) {
    struct body body = parse(text);
    struct problems problems = {.arena = &arena};
    *run = run_defaults();
    run_decode(&body, true, run, &problems);
    return problems;
}

#define WITH(members) "{\"model_name\":\"m\",\"schedule\":\"* * * * *\"," members "}"

static void a_run_of_two_fields_has_all_defaults(void **state) {
    (void)state;
    struct run run;
    struct run defaults = run_defaults();
    assert_int_equal(decode("{\"model_name\":\"m\",\"schedule\":\"@daily\"}", &run).count, 0);
    assert_string_equal(run.model_name, "m");
    assert_string_equal(run.schedule, "@daily");
    assert_true(run.enabled);
    assert_string_equal(run.parameters, "null");
    assert_string_equal(run.zone_name, "UTC");
    assert_int_equal(run.timeout.us, defaults.timeout.us);
    assert_int_equal(run.model_version, 0);
}

static void every_field_is_read(void **state) {
    (void)state;
    struct run run;
    struct problems problems = decode(
        WITH("\"parameters\":{\"data\":[[1]]},\"enabled\":false,\"timezone\":\"Europe/Berlin\","
             "\"name\":\"n\",\"description\":\"d\",\"start_at\":\"2027-01-01T00:00:00Z\","
             "\"end_at\":\"2028-01-01T00:00:00+01:00\",\"jitter\":\"1h30m\",\"overlap\":\"queue_"
             "all\","
             "\"catchup\":\"all\",\"catchup_window\":\"366d\",\"dst_missing\":\"skip\","
             "\"dst_repeated\":\"both\",\"timeout\":\"24h\",\"model_version\":7,"
             "\"retry\":{\"max_attempts\":0,\"backoff\":\"2s\",\"max_backoff\":\"2s\"}"),
        &run);
    assert_int_equal(problems.count, 0);
    assert_false(run.enabled);
    assert_string_equal(run.parameters, "{\"data\":[[1]]}");
    assert_string_equal(run.zone_name, "Europe/Berlin");
    assert_string_equal(run.name, "n");
    assert_string_equal(run.description, "d");
    assert_int_equal(run.jitter.us, 5400 * US_PER_SECOND);
    assert_int_equal(run.overlap, OVERLAP_QUEUE_ALL);
    assert_int_equal(run.catchup, CATCHUP_ALL);
    assert_int_equal(run.dst_missing, DST_MISSING_SKIP);
    assert_int_equal(run.dst_repeated, DST_REPEATED_BOTH);
    assert_int_equal(run.model_version, 7);
    assert_int_equal(run.retry.max_attempts, 0);
    assert_int_equal(run.retry.backoff.us, 2 * US_PER_SECOND);
    assert_true(run.start_at.us < run.end_at.us);
}

/* One bad value for a field: the problem is about that field, and is the only one. */
static void assert_bad(const char *text, const char *field) {
    struct run run;
    struct problems problems = decode(text, &run);
    if (problems.count != 1 || strcmp(problems.items[0].field, field) != 0) {
        fail_msg("%s: %zu problems, the first about '%s'", text, problems.count,
                 problems.count == 0 ? "" : problems.items[0].field);
    }
    assert_non_null(strstr(problems.items[0].message, field));
}

static void a_wrong_value_of_any_field_is_a_problem_of_that_field(void **state) {
    (void)state;
    static const struct {
        const char *field;
        const char *values[12];
    } cases[] = {
        {"timezone", {"1", "true", "{}", "[]", "\"\""}},
        {"name", {"1", "false", "{}", "[\"a\"]"}},
        {"description", {"1", "false", "{}", "[\"a\"]"}},
        {"enabled", {"1", "0", "\"true\"", "{}", "[]"}},
        {"start_at", {"1", "true", "\"\"", "\"tomorrow\"", "\"2027-13-01T00:00:00Z\"", "{}"}},
        {"end_at", {"1", "true", "\"\"", "\"tomorrow\"", "\"2027-01-01\"", "[]"}},
        {"jitter", {"1", "true", "\"\"", "\"1\"", "\"-1s\"", "\"25h\"", "\"1.5h\"", "{}"}},
        {"timeout", {"300", "true", "\"0s\"", "\"\"", "\"25h\"", "\"5 m\"", "[]"}},
        {"catchup_window", {"1", "\"367d\"", "\"-1s\"", "\"s\"", "{}"}},
        {"overlap", {"1", "\"\"", "\"Skip\"", "\"both\"", "true", "[\"skip\"]"}},
        {"catchup", {"1", "\"\"", "\"newest\"", "true"}},
        {"dst_missing", {"1", "\"first\"", "true"}},
        {"dst_repeated", {"1", "\"shift\"", "true"}},
        {"model_version", {"0", "-1", "1.0", "1e0", "\"1\"", "true", "2147483648", "{}"}},
        {"retry", {"1", "\"3\"", "true", "[]"}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        for (size_t k = 0; cases[i].values[k] != NULL; k++) {
            assert_bad(arena_printf(&arena,
                                    "{\"model_name\":\"m\",\"schedule\":\"* * * * *\",\"%s\":%s}",
                                    cases[i].field, cases[i].values[k]),
                       cases[i].field);
        }
    }
    assert_bad(WITH("\"retry\":{\"max_attempts\":101}"), "retry.max_attempts");
    assert_bad(WITH("\"retry\":{\"max_attempts\":1.5}"), "retry.max_attempts");
    assert_bad(WITH("\"retry\":{\"backoff\":5}"), "retry.backoff");
    assert_bad(WITH("\"retry\":{\"backoff\":\"1h\"}"), "retry.backoff");
    assert_bad(WITH("\"retry\":{\"atempts\":1}"), "retry.atempts");
    assert_bad("{\"schedule\":\"* * * * *\"}", "model_name");
    assert_bad("{\"model_name\":\"m\"}", "schedule");
    assert_bad("{\"model_name\":null,\"schedule\":\"* * * * *\"}", "model_name");
    assert_bad("{\"model_name\":\"\",\"schedule\":\"* * * * *\"}", "model_name");
    assert_bad("{\"model_name\":\"m\",\"schedule\":5}", "schedule");
    assert_bad("{\"model_name\":\"m\",\"schedule\":\"\"}", "schedule");
}

static void lengths_are_bounded_in_characters(void **state) {
    (void)state;
    struct run run;
    struct text text;
    text_init(&text, 10000);
    for (size_t i = 0; i < NAME_CHARACTERS_MAXIMUM; i++) {
        text_append(&text, "é");
    }
    const char *format = WITH("\"name\":\"%s\"");
    assert_int_equal(decode(arena_printf(&arena, format, text_string(&text)), &run).count, 0);
    assert_string_equal(run.name, text_string(&text));
    text_append(&text, "é");
    assert_bad(arena_printf(&arena, format, text_string(&text)), "name");
    text_fini(&text);
}

static void null_is_the_default_of_an_optional_field(void **state) {
    (void)state;
    struct body body =
        parse("{\"enabled\":null,\"name\":null,\"timeout\":null,\"retry\":null,\"start_at\":null,"
              "\"overlap\":null,\"model_version\":null,\"parameters\":null,\"timezone\":null}");
    struct problems problems = {.arena = &arena};
    struct run run = run_defaults();
    run.enabled = false;
    run.name = "n";
    run.timeout.us = 1;
    run.retry.max_attempts = 9;
    run.start_at.us = 1;
    run.overlap = OVERLAP_ALLOW;
    run.model_version = 3;
    run.parameters = "1";
    run.zone_name = "Asia/Tokyo";
    run_decode(&body, false, &run, &problems);
    struct run defaults = run_defaults();
    assert_int_equal(problems.count, 0);
    assert_true(run.enabled);
    assert_null(run.name);
    assert_int_equal(run.timeout.us, defaults.timeout.us);
    assert_int_equal(run.retry.max_attempts, defaults.retry.max_attempts);
    assert_true(wall_time_is_none(run.start_at));
    assert_int_equal(run.overlap, OVERLAP_SKIP);
    assert_int_equal(run.model_version, 0);
    assert_string_equal(run.parameters, "null");
    assert_string_equal(run.zone_name, "UTC");
}

static void an_update_leaves_what_is_absent(void **state) {
    (void)state;
    struct body body = parse("{\"name\":\"new\",\"retry\":{\"backoff\":\"2s\"}}");
    struct problems problems = {.arena = &arena};
    struct run run = run_defaults();
    run.model_name = "m";
    run.schedule = "@daily";
    run.retry.max_attempts = 9;
    run_decode(&body, false, &run, &problems);
    assert_int_equal(problems.count, 0);
    assert_string_equal(run.model_name, "m");
    assert_string_equal(run.name, "new");
    assert_int_equal(run.retry.max_attempts, 9);
    assert_int_equal(run.retry.backoff.us, 2 * US_PER_SECOND);
}

static void all_problems_are_found_at_once(void **state) {
    (void)state;
    struct run run;
    struct problems problems =
        decode("{\"schedule\":1,\"enabled\":\"yes\",\"timeout\":\"0s\",\"colour\":1,"
               "\"next_run\":null,\"secrets\":{\"a\":\"b\"}}",
               &run);
    static const char *const fields[] = {"schedule", "enabled", "timeout",   "colour",
                                         "next_run", "secrets", "model_name"};
    assert_int_equal(problems.count, COUNT_OF(fields));
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        assert_string_equal(problems.items[i].field, fields[i]);
    }
    struct text body;
    text_init(&body, 10000);
    answer_append_error(&body, problems.items, problems.count, "id-1");
    yyjson_doc *doc = yyjson_read(text_string(&body), body.size_bytes, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "error")), "ValidationError");
    assert_int_equal(yyjson_get_int(yyjson_obj_get(root, "status_code")), 400);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(root, "details")), COUNT_OF(fields));
    yyjson_doc_free(doc);
    text_fini(&body);
}

static void problems_are_bounded(void **state) {
    (void)state;
    struct text text;
    struct run run;
    text_init(&text, 100000);
    text_append(&text, "{");
    for (int i = 0; i < 1000; i++) {
        text_printf(&text, "%s\"x%d\":1", i == 0 ? "" : ",", i);
    }
    text_append(&text, "}");
    assert_int_equal(decode(text_string(&text), &run).count, PROBLEMS_MAXIMUM);
    text_fini(&text);
}

static void an_unknown_field_is_told_what_was_meant(void **state) {
    (void)state;
    struct run run;
    struct problems problems = decode(WITH("\"time_zone\":\"UTC\""), &run);
    assert_non_null(strstr(problems.items[0].message, "did you mean 'timezone'?"));
    problems = decode(WITH("\"zebra\":1"), &run);
    assert_null(strstr(problems.items[0].message, "did you mean"));
}

static void start_comes_before_end(void **state) {
    (void)state;
    assert_bad(WITH("\"start_at\":\"2027-01-01T00:00:00Z\",\"end_at\":\"2027-01-01T00:00:00Z\""),
               "end_at");
}

static void numbers_of_parameters_are_kept_digit_by_digit(void **state) {
    (void)state;
    struct run run;
    assert_int_equal(decode(WITH("\"p\\u0061rameters\" : { \"data\" : [ [ 18446744073709551615 , "
                                 "0.10000000000000000000001,-0 ,1E+2, \"a \\\" ] b\" ] ] }\n, "
                                 "\"name\":\"x\""),
                            &run)
                         .count,
                     0);
    assert_string_equal(run.parameters, "{\"data\":[[18446744073709551615,"
                                        "0.10000000000000000000001,-0,1E+2,\"a \\\" ] b\"]]}");
}

static void what_is_not_a_json_object_is_malformed(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "null",
        "[]",
        "1",
        "\"a\"",
        "{",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\":1}x",
        "{\"a\"}",
        "{\"a\":01}",
        "{a:1}",
        "{\"a\":NaN}",
        "{\"a\":1 /**/}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":{\"b\":1,\"c\":2,\"b\":3}}",
        "{\"a\\u0000\":1}",
        "{\"a\":\"\n\"}",
        "{\"a\":1e}",
        "\xef\xbb\xbf{",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct body body;
        struct error err;
        if (body_parse(bad[i], strlen(bad[i]), NULL, &body, &err)) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_int_equal(err.kind, ERROR_MALFORMED);
    }
}

static void depth_is_bounded(void **state) {
    (void)state;
    static const char open[BODY_DEPTH_MAXIMUM + 1] = {[0 ... BODY_DEPTH_MAXIMUM] = '['};
    static const char close[BODY_DEPTH_MAXIMUM + 1] = {[0 ... BODY_DEPTH_MAXIMUM] = ']'};
    for (int depth = BODY_DEPTH_MAXIMUM - 1; depth <= BODY_DEPTH_MAXIMUM; depth++) {
        const char *text = arena_printf(&arena, "{\"a\":%.*s%.*s}", depth, open, depth, close);
        struct body body = {0};
        struct error err;
        assert_int_equal(body_parse(text, strlen(text), NULL, &body, &err),
                         depth < BODY_DEPTH_MAXIMUM);
        body_fini(&body);
    }
}

static void priority_and_note_are_read(void **state) {
    (void)state;
    struct run run;
    assert_int_equal(decode(WITH("\"priority\":0,\"note\":\"why\""), &run).count, 0);
    assert_int_equal(run.priority, 0);
    assert_string_equal(run.note, "why");
    assert_int_equal(decode(WITH("\"priority\":null,\"note\":null"), &run).count, 0);
    assert_int_equal(run.priority, PRIORITY_DEFAULT);
    assert_null(run.note);
    static const char *const bad[] = {"10", "-1", "5.0", "5e0", "\"5\"", "18446744073709551616"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct problems problems =
            decode(arena_printf(&arena, WITH("\"priority\":%s"), bad[i]), &run);
        assert_int_equal(problems.count, 1);
        assert_string_equal(problems.items[0].field, "priority");
    }
}

static void what_is_not_tried_again_is_a_set_of_known_errors(void **state) {
    (void)state;
    struct run run;
    assert_int_equal(
        decode(WITH("\"retry\":{\"non_retryable\":[\"TimedOut\",\"Interrupted\",\"TimedOut\"]}"),
               &run)
            .count,
        0);
    assert_int_equal(run.retry.non_retryable,
                     error_kind_bit(ERROR_TIMED_OUT) | error_kind_bit(ERROR_INTERRUPTED));
    assert_int_equal(decode(WITH("\"retry\":{\"non_retryable\":null}"), &run).count, 0);
    assert_int_equal(run.retry.non_retryable, 0);
    static const char *const bad[] = {
        "\"TimedOut\"", "[1]", "[\"timedout\"]", "[\"ModelError\"]", "[\"InternalErro\"]",
        "[null]",       "{}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct problems problems =
            decode(arena_printf(&arena, WITH("\"retry\":{\"non_retryable\":%s}"), bad[i]), &run);
        assert_int_equal(problems.count, 1);
        assert_string_equal(problems.items[0].field, "retry.non_retryable");
        assert_int_equal(run.retry.non_retryable, 0);
    }
}

/* The message has room for all of them, whatever was given. */
static void all_errors_that_are_tried_again_are_listed(void **state) {
    (void)state;
    struct run run;
    char *name = arena_alloc_zeroed(&arena, 1001);
    memset(name, 'x', 1000);
    struct problems problems =
        decode(arena_printf(&arena, WITH("\"retry\":{\"non_retryable\":[\"%s\"]}"), name), &run);
    assert_int_equal(problems.count, 1);
    for (enum error_kind kind = ERROR_NONE; kind <= ERROR_USAGE; kind++) {
        bool is_listed = strstr(problems.items[0].message, error_kind_wire_name(kind)) != NULL;
        assert_int_equal(is_listed, error_kind_may_retry(kind));
    }
}

static void a_pause_takes_a_note_alone(void **state) {
    (void)state;
    struct run run = run_defaults();
    struct problems problems = {.arena = &arena};
    run.note = "old";
    struct body body = parse("{}");
    run_decode_note(&body, &run, &problems);
    assert_string_equal(run.note, "old");
    body = parse("{\"note\":\"new\"}");
    run_decode_note(&body, &run, &problems);
    assert_string_equal(run.note, "new");
    body = parse("{\"note\":null}");
    run_decode_note(&body, &run, &problems);
    assert_null(run.note);
    assert_int_equal(problems.count, 0);
    body = parse("{\"enabled\":false}");
    run_decode_note(&body, &run, &problems);
    assert_int_equal(problems.count, 1);
    assert_string_equal(problems.items[0].field, "enabled");
    assert_true(run.enabled);
}

static struct problems decode_backfill(const char *text, struct backfill *backfill) {
    struct body body = parse(text);
    struct problems problems = {.arena = &arena};
    backfill_decode(&body, backfill, &problems);
    return problems;
}

#define RANGE "\"from\":\"2026-01-01T00:00:00Z\",\"to\":\"2026-01-01T00:00:01Z\""

static void a_backfill_is_a_range_with_options(void **state) {
    (void)state;
    struct backfill backfill;
    assert_int_equal(decode_backfill("{" RANGE "}", &backfill).count, 0);
    assert_int_equal(backfill.to.us - backfill.from.us, US_PER_SECOND);
    assert_int_equal(backfill.parallelism, 1);
    assert_null(backfill.parameters);
    assert_true(wall_time_is_none(backfill.cancelled_at));
    assert_int_equal(decode_backfill("{" RANGE
                                     ",\"parallelism\":64,\"parameters\":{\"data\": [1.10]}}",
                                     &backfill)
                         .count,
                     0);
    assert_int_equal(backfill.parallelism, 64);
    assert_string_equal(backfill.parameters, "{\"data\":[1.10]}");
    assert_int_equal(
        decode_backfill("{" RANGE ",\"parallelism\":null,\"parameters\":null}", &backfill).count,
        0);
    assert_int_equal(backfill.parallelism, 1);
    assert_null(backfill.parameters);
}

static void a_bad_backfill_names_the_field(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"{\"to\":\"2026-01-01T00:00:00Z\"}", "from"},
        {"{\"from\":\"2026-01-01T00:00:00Z\"}", "to"},
        {"{\"from\":null,\"to\":\"2026-01-01T00:00:00Z\"}", "from"},
        {"{\"from\":\"2026-01-01T00:00:00Z\",\"to\":\"2026-01-01T00:00:00Z\"}", "to"},
        {"{\"from\":\"x\",\"to\":\"2026-01-01T00:00:00Z\"}", "from"},
        {"{" RANGE ",\"parallelism\":0}", "parallelism"},
        {"{" RANGE ",\"parallelism\":65}", "parallelism"},
        {"{" RANGE ",\"enabled\":true}", "enabled"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct backfill backfill;
        struct problems problems = decode_backfill(bad[i][0], &backfill);
        assert_int_equal(problems.count, 1);
        assert_string_equal(problems.items[0].field, bad[i][1]);
    }
}

/* --- memory ------------------------------------------------------------------------------------- */

static void a_number_is_kept_as_it_was_written(void **state) {
    (void)state;
    struct body body =
        parse("{\"a\":1.00000000000000000001,\"b\":1e999,\"c\":18446744073709551615}");
    assert_string_equal(yyjson_get_raw(yyjson_obj_get(body.root, "a")), "1.00000000000000000001");
    assert_true(yyjson_is_raw(yyjson_obj_get(body.root, "b")));
    uint64_t number = 7;
    assert_false(body_integer(yyjson_obj_get(body.root, "a"), &number));
    assert_false(body_integer(yyjson_obj_get(body.root, "b"), &number));
    assert_int_equal(number, 7);
    assert_true(body_integer(yyjson_obj_get(body.root, "c"), &number));
    assert_true(number == UINT64_MAX);
}

/* {"a":[0,0,…]} */
static const char *body_of(size_t values) {
    char *text = arena_alloc(&arena, values * 2 + 16);
    char *to = stpcpy(text, "{\"a\":[0");
    for (size_t i = 1; i < values; i++) {
        to = stpcpy(to, ",0");
    }
    strcpy(to, "]}");
    return text;
}

static void bodies_share_a_budget_and_give_it_back(void **state) {
    (void)state;
    const char *text = body_of(10000);
    struct body_budget budget = {.maximum_bytes = 500000};
    struct body bodies[4] = {{0}};
    struct error err;
    size_t held = 0;
    while (held < COUNT_OF(bodies) &&
           body_parse(text, strlen(text), &budget, &bodies[held], &err)) {
        held++;
    }
    /* 160 kB each, and what the parser keeps in reserve. */
    assert_in_range(held, 1, COUNT_OF(bodies) - 1);
    assert_int_equal(err.kind, ERROR_UNAVAILABLE);
    assert_true(budget.used_bytes <= budget.maximum_bytes);
    body_fini(&bodies[--held]);
    assert_true(body_parse(text, strlen(text), &budget, &bodies[held], &err));
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        body_fini(&bodies[i]);
    }
    assert_int_equal(budget.used_bytes, 0);
    /* What is refused for another reason gives it back, too. */
    assert_false(body_parse("{\"a\":1,\"a\":2}", 13, &budget, &bodies[0], &err));
    assert_false(body_parse("[1,2]", 5, &budget, &bodies[0], &err));
    assert_false(body_parse("{\"a\":", 5, &budget, &bodies[0], &err));
    assert_int_equal(budget.used_bytes, 0);
}

static void many_keys_are_compared_too(void **state) {
    (void)state;
    for (int doubled = 0; doubled <= 1; doubled++) {
        struct text text;
        text_init(&text, 10000);
        text_append(&text, "{\"k99\":1");
        for (int i = 0; i < 100 - 1 + doubled; i++) {
            text_printf(&text, ",\"k%d\":1", i);
        }
        text_append(&text, "}");
        struct body body = {0};
        struct error err;
        assert_int_equal(body_parse(text_string(&text), text.size_bytes, NULL, &body, &err),
                         doubled == 0);
        body_fini(&body);
        text_fini(&text);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_of_two_fields_has_all_defaults),
        cmocka_unit_test(priority_and_note_are_read),
        cmocka_unit_test(what_is_not_tried_again_is_a_set_of_known_errors),
        cmocka_unit_test(all_errors_that_are_tried_again_are_listed),
        cmocka_unit_test(a_pause_takes_a_note_alone),
        cmocka_unit_test(a_backfill_is_a_range_with_options),
        cmocka_unit_test(a_bad_backfill_names_the_field),
        cmocka_unit_test(a_number_is_kept_as_it_was_written),
        cmocka_unit_test(bodies_share_a_budget_and_give_it_back),
        cmocka_unit_test(many_keys_are_compared_too),
        cmocka_unit_test(every_field_is_read),
        cmocka_unit_test(a_wrong_value_of_any_field_is_a_problem_of_that_field),
        cmocka_unit_test(lengths_are_bounded_in_characters),
        cmocka_unit_test(null_is_the_default_of_an_optional_field),
        cmocka_unit_test(an_update_leaves_what_is_absent),
        cmocka_unit_test(all_problems_are_found_at_once),
        cmocka_unit_test(problems_are_bounded),
        cmocka_unit_test(an_unknown_field_is_told_what_was_meant),
        cmocka_unit_test(start_comes_before_end),
        cmocka_unit_test(numbers_of_parameters_are_kept_digit_by_digit),
        cmocka_unit_test(what_is_not_a_json_object_is_malformed),
        cmocka_unit_test(depth_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, free_arena);
}
