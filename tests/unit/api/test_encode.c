#include "api/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <yyjson.h>
#include <cmocka.h>

static yyjson_doc *read_back(struct text *text) {
    yyjson_doc *doc = yyjson_read(text_string(text), text->size_bytes, 0);
    assert_non_null(doc);
    text_fini(text);
    return doc;
}

static const char *string_at(yyjson_doc *doc, const char *pointer) {
    return yyjson_get_str(yyjson_doc_ptr_get(doc, pointer));
}

static void a_run_has_the_fields_of_the_contract(void **state) {
    (void)state;
    struct run run = run_defaults();
    run.key = identity_next(&(struct identity_source){0}, 1767225600000000);
    run.model_name = "m\"\x01";
    run.schedule = "@daily";
    run.parameters = "{\"data\":[[18446744073709551615]]}";
    run.created_at = run.updated_at = run.next_run = (struct wall_time){1767225600000001};
    struct text text;
    text_init(&text, 10000);
    run_to_json(&text, &run, 7, NULL, 0);
    assert_non_null(strstr(text_string(&text), "[[18446744073709551615]]"));
    yyjson_doc *doc = read_back(&text);
    static const char *const fields[] = {
        "run_id",       "model_name", "schedule",   "enabled",        "parameters",   "last_run",
        "next_run",     "created_at", "updated_at", "timezone",       "name",         "description",
        "start_at",     "end_at",     "jitter",     "overlap",        "catchup",      "dst_missing",
        "dst_repeated", "timeout",    "retry",      "catchup_window", "model_version"};
    yyjson_val *root = yyjson_doc_get_root(doc);
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        assert_non_null(yyjson_obj_get(root, fields[i]));
    }
    assert_int_equal(yyjson_obj_size(root), COUNT_OF(fields));
    assert_string_equal(string_at(doc, "/model_name"), "m\"\x01");
    assert_string_equal(string_at(doc, "/created_at"), "2026-01-01T00:00:00.000001Z");
    assert_string_equal(string_at(doc, "/timeout"), "5m");
    assert_true(yyjson_is_null(yyjson_obj_get(root, "last_run")));
    assert_true(yyjson_is_null(yyjson_obj_get(root, "model_version")));
    int64_t key;
    assert_true(identity_parse(string_at(doc, "/run_id"), 7, &key));
    assert_int_equal(key, run.key);
    yyjson_doc_free(doc);
}

static void an_execution_tells_its_outcome(void **state) {
    (void)state;
    struct execution execution = {
        .key = 1 << 20,
        .run_key = 1 << 21,
        .model_name = "m",
        .model_version = 3,
        .has_model_digest = true,
        .model_digest = {0xde, 0xad},
        .trigger = TRIGGER_MANUAL,
        .attempt = 1,
        .status = EXECUTION_SUCCEEDED,
        .scheduled_for = {1767225600000000},
        .queued_at = {1767225600000000},
        .started_at = {1767225600000000},
        .finished_at = {1767225600003214},
        .duration = {3214},
        .result = "{\"a\":1}",
    };
    struct text text;
    text_init(&text, 10000);
    execution_to_json(&text, &execution, 7);
    assert_non_null(strstr(text_string(&text), "\"duration_ms\":3.214,"));
    assert_non_null(strstr(text_string(&text), "\"model_digest\":\"dead00000"));
    assert_non_null(strstr(text_string(&text), "\"result\":{\"a\":1},\"error\":null}"));
    yyjson_doc_free(read_back(&text));
}

static void a_missed_gap_tells_from_to_and_count(void **state) {
    (void)state;
    struct execution execution = {
        .key = 1 << 20,
        .run_key = 1 << 21,
        .model_name = "m",
        .status = EXECUTION_MISSED,
        .scheduled_for = {0},
        .queued_at = WALL_TIME_NONE,
        .started_at = WALL_TIME_NONE,
        .finished_at = WALL_TIME_NONE,
        .error_type = "Missed",
        .error_message = "nobody was there",
        .missed_from = {0},
        .missed_to = {60000000},
        .missed_count = 61,
    };
    struct text text;
    text_init(&text, 10000);
    execution_to_json(&text, &execution, 7);
    yyjson_doc *doc = read_back(&text);
    assert_string_equal(string_at(doc, "/gap/from"), "1970-01-01T00:00:00.000000Z");
    assert_string_equal(string_at(doc, "/gap/to"), "1970-01-01T00:01:00.000000Z");
    assert_int_equal(yyjson_get_int(yyjson_doc_ptr_get(doc, "/gap/count")), 61);
    assert_string_equal(string_at(doc, "/error/type"), "Missed");
    assert_true(yyjson_is_null(yyjson_doc_ptr_get(doc, "/duration_ms")));
    yyjson_doc_free(doc);
}

static void numbers_are_written_in_full(void **state) {
    (void)state;
    static const struct {
        int64_t number;
        const char *text;
    } cases[] = {{0, "0"},
                 {-1, "-1"},
                 {INT64_MAX, "9223372036854775807"},
                 {INT64_MIN, "-9223372036854775808"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct text text;
        text_init(&text, 100);
        json_number(&text, cases[i].number);
        assert_string_equal(text_string(&text), cases[i].text);
        text_fini(&text);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_has_the_fields_of_the_contract),
        cmocka_unit_test(an_execution_tells_its_outcome),
        cmocka_unit_test(a_missed_gap_tells_from_to_and_count),
        cmocka_unit_test(numbers_are_written_in_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
