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
        "run_id",   "model_name",     "schedule",      "enabled",      "parameters",
        "last_run", "next_run",       "created_at",    "updated_at",   "timezone",
        "name",     "description",    "start_at",      "end_at",       "jitter",
        "overlap",  "catchup",        "dst_missing",   "dst_repeated", "timeout",
        "retry",    "catchup_window", "model_version", "priority",     "paused_at",
        "note"};
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

static void a_paused_run_has_no_next_slot(void **state) {
    (void)state;
    struct run run = run_defaults();
    run.key = 1 << 20;
    run.model_name = "m";
    run.schedule = "@daily";
    run.priority = 9;
    run.note = "a \"reason\"";
    run.next_run = run.paused_at = (struct wall_time){1767225600000001};
    run.retry.non_retryable =
        error_kind_bit(ERROR_TIMED_OUT) | error_kind_bit(ERROR_WORKER_CRASHED);
    struct text text;
    text_init(&text, 10000);
    run_to_json(&text, &run, 7, NULL, 0);
    yyjson_doc *doc = read_back(&text);
    assert_true(yyjson_is_null(yyjson_doc_ptr_get(doc, "/next_run")));
    assert_string_equal(string_at(doc, "/paused_at"), "2026-01-01T00:00:00.000001Z");
    assert_string_equal(string_at(doc, "/note"), "a \"reason\"");
    assert_int_equal(yyjson_get_int(yyjson_doc_ptr_get(doc, "/priority")), 9);
    assert_string_equal(string_at(doc, "/retry/non_retryable/0"), "WorkerCrashed");
    assert_string_equal(string_at(doc, "/retry/non_retryable/1"), "TimedOut");
    yyjson_doc_free(doc);
}

/* The room that is reserved holds the longest run there is. */
static void the_longest_run_has_room(void **state) {
    (void)state;
    struct run run = run_defaults();
    run.key = INT64_MAX;
    run.model_name = run.schedule = run.zone_name = run.name = run.description = run.note =
        "\x01\x02";
    run.model_version = UINT32_MAX;
    run.overlap = OVERLAP_CANCEL_RUNNING;
    run.catchup = CATCHUP_LATEST;
    struct duration long_duration = {INT64_MAX};
    run.jitter = run.catchup_window = run.timeout = long_duration;
    run.retry = (struct retry_policy){UINT32_MAX, long_duration, long_duration, 0};
    struct wall_time time = {1767225600000001};
    run.start_at = run.end_at = run.created_at = run.updated_at = run.last_run = run.next_run =
        time;
    run.paused_at = time;
    for (enum error_kind kind = ERROR_NONE; kind <= ERROR_USAGE; kind++) {
        run.retry.non_retryable |= error_kind_may_retry(kind) ? error_kind_bit(kind) : 0;
    }
    struct text text;
    text_init(&text, 10000);
    run_to_json(&text, &run, 7, NULL, 0);
    yyjson_doc_free(read_back(&text));
}

static void only_an_execution_of_a_backfill_names_one(void **state) {
    (void)state;
    struct execution execution = {
        .key = 1 << 20, .run_key = 1 << 21, .model_name = "m", .backfill_key = 1 << 22};
    for (enum execution_trigger trigger = TRIGGER_SCHEDULE; trigger <= TRIGGER_BACKFILL;
         trigger++) {
        struct text text;
        text_init(&text, 10000);
        execution.trigger = trigger;
        execution_to_json(&text, &execution, 7);
        yyjson_doc *doc = read_back(&text);
        const char *id = string_at(doc, "/backfill_id");
        int64_t key;
        if (trigger == TRIGGER_BACKFILL) {
            assert_true(identity_parse(id, 7, &key));
            assert_int_equal(key, 1 << 22);
        } else {
            assert_null(id);
        }
        yyjson_doc_free(doc);
    }
}

static void a_backfill_is_running_until_its_last_slot_has_ended(void **state) {
    (void)state;
    struct backfill backfill = {.key = 1 << 20,
                                .run_key = 1 << 21,
                                .from = {1},
                                .to = {2},
                                .next_slot = {1},
                                .slot_count = 3,
                                .parallelism = 2,
                                .created_at = {5},
                                .cancelled_at = WALL_TIME_NONE};
    uint64_t counts[EXECUTION_MISSED + 1] = {0};
    const char *const statuses[] = {"running", "running", "completed", "cancelled"};
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        switch (i) {
        case 1:
            backfill.next_slot = WALL_TIME_NONE;
            counts[EXECUTION_QUEUED] = 1;
            counts[EXECUTION_SUCCEEDED] = 2;
            break;
        case 2:
            counts[EXECUTION_QUEUED] = 0;
            counts[EXECUTION_FAILED] = 1;
            break;
        case 3:
            backfill.cancelled_at.us = 6;
            break;
        default:
            break;
        }
        struct text text;
        text_init(&text, 10000);
        backfill_to_json(&text, &backfill, counts, 7);
        yyjson_doc *doc = read_back(&text);
        assert_string_equal(string_at(doc, "/status"), statuses[i]);
        assert_int_equal(yyjson_get_int(yyjson_doc_ptr_get(doc, "/recorded")), i == 0 ? 0 : 3);
        assert_int_equal(yyjson_obj_size(yyjson_doc_ptr_get(doc, "/counts")), 6);
        assert_int_equal(backfill_is_over(&backfill, counts), i >= 2);
        yyjson_doc_free(doc);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_has_the_fields_of_the_contract),
        cmocka_unit_test(a_paused_run_has_no_next_slot),
        cmocka_unit_test(the_longest_run_has_room),
        cmocka_unit_test(only_an_execution_of_a_backfill_names_one),
        cmocka_unit_test(a_backfill_is_running_until_its_last_slot_has_ended),
        cmocka_unit_test(an_execution_tells_its_outcome),
        cmocka_unit_test(a_missed_gap_tells_from_to_and_count),
        cmocka_unit_test(numbers_are_written_in_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
