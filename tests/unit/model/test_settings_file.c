#include "model/settings_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct model_settings settings;
static struct error err;
static struct arena arena;

static bool parse(const char *text) {
    return model_settings_parse(text, strlen(text), &arena, &settings, &err);
}

static void all_keys_are_optional(void **state) {
    (void)state;
    assert_true(parse("{}"));
    assert_int_equal(settings.backend, MODEL_BACKEND_ONNX);
    assert_int_equal(settings.max_concurrency, 0);
    assert_int_equal(settings.timeout.us, 0);
}

static void each_key_is_read(void **state) {
    (void)state;
    assert_true(parse("{\"backend\": \"onnx\", \"max_concurrency\": 2, \"timeout\": \"1m30s\"}"));
    assert_int_equal(settings.max_concurrency, 2);
    assert_int_equal(settings.timeout.us, 90 * US_PER_SECOND);
}

/* It is what a worker is told, and reads with the same function. */
static void the_options_of_a_session_are_written_as_a_file_of_their_own(void **state) {
    (void)state;
    assert_true(parse("{\"timeout\": \"5s\"}"));
    assert_null(settings.onnx.text);
    assert_true(parse("{\"graph_optimization\": \"all\"}"));
    assert_null(settings.onnx.text);
    assert_true(parse("{\"execution_providers\": [\"CUDAExecutionProvider\", \"B\"], \"timeout\": "
                      "\"5s\", \"inter_threads\": 3, \"intra_threads\": 256, "
                      "\"graph_optimization\": \"basic\"}"));
    char first[256];
    snprintf(first, sizeof first, "%s", settings.onnx.text);
    assert_true(parse(first));
    assert_string_equal(settings.onnx.text, first);
    assert_int_equal(settings.timeout.us, 0);
    assert_int_equal(settings.onnx.intra_threads, 256);
    assert_int_equal(settings.onnx.inter_threads, 3);
    assert_int_equal(settings.onnx.optimization, ONNX_OPTIMIZATION_BASIC);
    assert_int_equal(settings.onnx.provider_count, 2);
    assert_string_equal(settings.onnx.providers[0], "CUDAExecutionProvider");
    assert_string_equal(settings.onnx.providers[1], "B");
    assert_true(parse("{\"intra_threads\": 2}"));
    assert_true(parse(settings.onnx.text));
    assert_int_equal(settings.onnx.intra_threads, 2);
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"max_concurency\": 2}", "model.json: unknown key 'max_concurency'; known for backend "
                                    "onnx are backend, max_concurrency, timeout, "
                                    "intra_threads, inter_threads, graph_optimization, "
                                    "execution_providers"},
        {"{\"intra_threads\": 0}", "model.json: intra_threads is not a whole number from 1 to 256"},
        {"{\"graph_optimization\": \"most\"}", "model.json: graph_optimization is not \"none\", "
                                               "\"basic\", \"extended\" or \"all\""},
        {"{\"execution_providers\": \"CPU\"}",
         "model.json: execution_providers is not a list of 1 to 8 names such as "
         "\"CPUExecutionProvider\""},
        {"{\"execution_providers\": [1]}",
         "model.json: an execution provider is a number, expected a string"},
        {"{\"execution_providers\": [\"a b\"]}", "model.json: 'a b' is no name of an execution "
                                                 "provider, such as \"CPUExecutionProvider\""},
        {"{\"execution_providers\": [\"A\", \"A\"]}",
         "model.json: execution provider A is given twice"},
        {"{\"max_concurrency\": \"2\"}",
         "model.json: max_concurrency is not a whole number from 1 to 100000"},
        {"{\"max_concurrency\": 0}",
         "model.json: max_concurrency is not a whole number from 1 to 100000"},
        {"{\"max_concurrency\": 1.5}",
         "model.json: max_concurrency is not a whole number from 1 to 100000"},
        {"{\"max_concurrency\": 1, \"max_concurrency\": 2}",
         "model.json: max_concurrency is given twice"},
        {"{\"backend\": \"triton\"}", "model.json: backend 'triton' is not known; there is onnx, "
                                      "http, openinference, openai, process"},
        {"{\"backend\": 1}", "model.json: backend is a number, expected a string"},
        {"{\"timeout\": 30}",
         "model.json: timeout is a number, expected a duration such as \"30s\""},
        {"{\"timeout\": \"0s\"}", "model.json: timeout must be more than 0"},
        {"[]", "model.json: it is a list, expected an object"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        settings = (struct model_settings){.max_concurrency = 77};
        assert_false(parse(cases[i].text));
        assert_string_equal(err.message, cases[i].message);
        assert_int_equal(err.kind, ERROR_INVALID);
        assert_int_equal(settings.max_concurrency, 77);
    }
    assert_false(parse("{\"timeout\": \"soon\"}"));
    assert_non_null(strstr(err.message, "model.json: timeout: "));
}

static void a_command_has_its_keys(void **state) {
    (void)state;
    assert_true(parse("{\"backend\": \"process\", \"command\": [\"python3\", \"a b.py\"]}"));
    assert_int_equal(settings.backend, MODEL_BACKEND_PROCESS);
    assert_int_equal(settings.max_concurrency, 4);
    const struct process_settings *process = settings.process;
    assert_string_equal(process->command[1], "a b.py");
    assert_null(process->command[2]);
    assert_null(process->environment[0]);
    assert_null(process->readable[0]);
    assert_false(process->has_network);
    assert_true(process->output_bytes_maximum == UINT64_C(16) << 20);
    assert_true(process->memory_bytes == 0);
    assert_true(parse(
        "{\"command\": [\"x\"], \"backend\": \"process\", \"environment\": {\"A_1\": \"b=c\"}, "
        "\"readable\": [\"/opt/x\"], \"network\": true, \"output_limit\": 10, "
        "\"memory_limit\": 1073741824, \"max_concurrency\": 9}"));
    process = settings.process;
    assert_string_equal(process->environment[0], "A_1=b=c");
    assert_null(process->environment[1]);
    assert_string_equal(process->readable[0], "/opt/x");
    assert_true(process->has_network);
    assert_true(process->output_bytes_maximum == 10);
    assert_true(process->memory_bytes == UINT64_C(1) << 30);
    assert_int_equal(settings.max_concurrency, 9);
}

static void what_is_wrong_with_a_command_is_named(void **state) {
    (void)state;
    static const struct {
        const char *keys, *message;
    } cases[] = {
        {"\"timeout\": \"1s\"", "command is missing, such as [\"python3\", \"predict.py\"]"},
        {"\"command\": \"python3 x\"",
         "command is a string, expected a list of at most 256 strings"},
        {"\"command\": []", "command names no program"},
        {"\"command\": [\"\"]", "command names no program"},
        {"\"command\": [\"a\", 1]", "command[1] is a number, expected a string"},
        {"\"command\": [\"a\\u0000\"]", "command[0] has a NUL character in it"},
        {"\"environment\": [\"A=b\"]",
         "environment is a list, expected an object of at most 256 strings"},
        {"\"environment\": {\"A\": 1}", "environment.A is a number, expected a string"},
        {"\"environment\": {\"A=B\": \"\"}", "environment: 'A=B' is no name of a variable"},
        {"\"environment\": {\"1A\": \"\"}", "environment: '1A' is no name of a variable"},
        {"\"environment\": {\"\": \"\"}", "environment: '' is no name of a variable"},
        {"\"environment\": {\"ORRERY_RUN_ID\": \"\"}",
         "environment: ORRERY_RUN_ID: names with ORRERY_ are given to it"},
        {"\"readable\": [\"/a\", \"b\"]", "readable[1] is no absolute path"},
        {"\"network\": 1", "network is a number, expected true or false"},
        {"\"output_limit\": 0", "output_limit is not a whole number from 1 to 1073741824"},
        {"\"memory_limit\": 1",
         "memory_limit is not a whole number from 16777216 to 1125899906842624"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"backend\": \"process\", %s}", cases[i].keys);
        assert_false(parse(text));
        assert_string_equal(err.message + strlen("model.json: "), cases[i].message);
    }
}

static void a_model_of_an_openai_server_has_its_keys(void **state) {
    (void)state;
    assert_true(parse("{\"backend\": \"openai\", \"url\": \"http://a/v1\"}"));
    assert_int_equal(settings.http->openai->task, OPENAI_CHAT);
    assert_null(settings.http->openai->prompt);
    assert_string_equal(settings.http->required_pointer, "/choices/0");
    assert_true(
        parse("{\"backend\": \"openai\", \"url\": \"http://a/v1\", \"task\": \"embeddings\", "
              "\"model\": \"m\", \"options\": {\"dimensions\": 3}, \"result\": \"/data\", "
              "\"answer_limit\": 7}"));
    assert_int_equal(settings.http->openai->task, OPENAI_EMBEDDINGS);
    assert_string_equal(settings.http->openai->options, "{\"dimensions\":3}");
    assert_string_equal(settings.http->served_name, "m");
    assert_string_equal(settings.http->required_pointer, "/data/0");
    assert_string_equal(settings.http->result_pointer, "/data");
    assert_int_equal(settings.http->answer_bytes_maximum, 7);
}

static void what_is_wrong_with_a_model_of_an_openai_server_is_named(void **state) {
    (void)state;
    static const struct {
        const char *keys, *message;
    } cases[] = {
        {"\"prompt\": \"a\"",
         "model.json: url is missing, such as \"http://127.0.0.1:8000/predict\""},
        {"\"url\": \"http://a\", \"task\": \"completion\"",
         "model.json: task is neither \"chat\" nor \"embeddings\""},
        {"\"url\": \"http://a\", \"options\": []",
         "model.json: options is a list, expected an object"},
        {"\"url\": \"http://a\", \"options\": {\"stream\": true}",
         "model.json: options: 'stream' cannot be one"},
        {"\"url\": \"http://a\", \"task\": \"embeddings\", \"prompt\": \"a\"",
         "model.json: prompt and system are for the task chat"},
        {"\"url\": \"http://a\", \"body\": 1",
         "model.json: unknown key 'body'; known for backend openai are backend, max_concurrency, "
         "timeout, url, headers, retryable_statuses, unix_socket, ca_file, connect_timeout, "
         "first_byte_timeout, "
         "answer_limit, task, model, prompt, system, options, result"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[300];
        snprintf(text, sizeof text, "{\"backend\": \"openai\", %s}", cases[i].keys);
        assert_false(parse(text));
        assert_string_equal(err.message, cases[i].message);
    }
}

static void a_syntax_error_has_a_line_and_a_column(void **state) {
    (void)state;
    assert_false(parse("{\n  \"timeout\": }"));
    assert_non_null(strstr(err.message, "model.json: line 2 column 14: "));
    assert_false(parse(""));
    assert_false(parse("{\"timeout\": \"5s\"} trailing"));
}

static void a_file_that_is_too_long_is_refused(void **state) {
    (void)state;
    static char text[SETTINGS_FILE_BYTES_MAXIMUM + 2];
    memset(text, ' ', sizeof text);
    assert_false(model_settings_parse(text, sizeof text - 1, &arena, &settings, &err));
    assert_string_equal(err.message, "model.json: longer than 65536 bytes");
}

static int free_arena(void **state) {
    (void)state;
    arena_fini(&arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_keys_are_optional),
        cmocka_unit_test(each_key_is_read),
        cmocka_unit_test(the_options_of_a_session_are_written_as_a_file_of_their_own),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_command_has_its_keys),
        cmocka_unit_test(what_is_wrong_with_a_command_is_named),
        cmocka_unit_test(a_model_of_an_openai_server_has_its_keys),
        cmocka_unit_test(what_is_wrong_with_a_model_of_an_openai_server_is_named),
        cmocka_unit_test(a_syntax_error_has_a_line_and_a_column),
        cmocka_unit_test(a_file_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, free_arena);
}
