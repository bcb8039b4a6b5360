/* What an OpenAI-compatible server is asked. */
#include "model/openai.h"

#include "model/settings_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct error err;
static struct arena arena;
static struct text body;

static int begin(void **state) {
    (void)state;
    arena = (struct arena){0};
    text_init(&body, OPENAI_BODY_BYTES_MAXIMUM * 2);
    return 0;
}

static int end(void **state) {
    (void)state;
    text_fini(&body);
    arena_fini(&arena);
    return 0;
}

static struct model read_model(const char *keys) {
    char text[1000];
    struct model model = {.name = "writer"};
    snprintf(text, sizeof text, "{\"backend\": \"openai\", \"url\": \"http://a/v1\"%s}", keys);
    if (!model_settings_parse(text, strlen(text), &arena, &model.settings, &err)) {
        fail_msg("%s", err.message);
    }
    return model;
}

static const struct openai_origin origin = {
    .scheduled_for = "2027-01-01T00:00:00Z", .execution_id = "e-1", .run_id = "r-1"};

static bool append(const char *keys, const char *parameters, size_t size_bytes) {
    struct model model = read_model(keys);
    yyjson_doc *document =
        parameters == NULL ? NULL : yyjson_read(parameters, size_bytes, YYJSON_READ_NUMBER_AS_RAW);
    assert_true(parameters == NULL || document != NULL);
    text_reset(&body);
    yyjson_val *root = yyjson_doc_get_root(document);
    bool ok = openai_append_body(&model, root, &origin, &body, &err);
    struct error of_check;
    assert_int_equal(openai_append_body(&model, root, &origin, NULL, &of_check), ok);
    yyjson_doc_free(document);
    return ok;
}

static void assert_asks(const char *keys, const char *parameters, const char *expected) {
    if (!append(keys, parameters, parameters == NULL ? 0 : strlen(parameters))) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(text_string(&body), expected);
}

static void assert_refused(const char *keys, const char *parameters, const char *message) {
    assert_false(append(keys, parameters, strlen(parameters)));
    assert_int_equal(err.kind, ERROR_INVALID_PARAMETERS);
    assert_string_equal(err.field, "parameters");
    assert_string_equal(err.message, message);
}

static void a_prompt_is_a_message(void **state) {
    (void)state;
    assert_asks("", "{\"prompt\": \"Hi\"}",
                "{\"model\":\"writer\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    assert_asks(",\"model\":\"m7\",\"prompt\":\"Say\",\"system\":\"Be brief\"", NULL,
                "{\"model\":\"m7\",\"messages\":[{\"role\":\"system\",\"content\":\"Be brief\"},"
                "{\"role\":\"user\",\"content\":\"Say\"}]}");
    assert_asks(",\"model\":\"m7\",\"prompt\":\"Say\",\"system\":\"Be brief\"",
                "{\"model\":\"m8\",\"prompt\":\"Sing\",\"system\":\"Be loud\"}",
                "{\"model\":\"m8\",\"messages\":[{\"role\":\"system\",\"content\":\"Be loud\"},"
                "{\"role\":\"user\",\"content\":\"Sing\"}]}");
}

static void variables_take_their_places(void **state) {
    (void)state;
    assert_asks("",
                "{\"prompt\":\"{{a}}, {{ b }} {{c}}{{a}}\",\"variables\":{\"a\":\"x\\\"{{b}}\","
                "\"b\":[1,0.10],\"c\":null}}",
                "{\"model\":\"writer\",\"messages\":[{\"role\":\"user\",\"content\":"
                "\"x\\\"{{b}}, [1,0.10] nullx\\\"{{b}}\"}]}");
    assert_asks("", "{\"prompt\":\"{{scheduled_for}} {{execution_id}} {{run_id}}\"}",
                "{\"model\":\"writer\",\"messages\":[{\"role\":\"user\",\"content\":"
                "\"2027-01-01T00:00:00Z e-1 r-1\"}]}");
    assert_asks("", "{\"prompt\":\"{{run_id}}\",\"variables\":{\"run_id\":\"mine\"}}",
                "{\"model\":\"writer\",\"messages\":[{\"role\":\"user\",\"content\":\"mine\"}]}");
}

static void what_only_looks_like_a_place_is_text(void **state) {
    (void)state;
    static const char *const texts[] = {"{{",      "{{}}",        "{{ }}", "{{a", "{{a}",
                                        "{{a b}}", "{{{ a-b }}}", "{a}",   "}}"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        char parameters[100];
        char expected[200];
        snprintf(parameters, sizeof parameters, "{\"prompt\":\"%s\"}", texts[i]);
        snprintf(expected, sizeof expected,
                 "{\"model\":\"writer\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}",
                 texts[i]);
        assert_asks("", parameters, expected);
    }
    assert_asks("", "{\"prompt\":\"{{{a}}}\",\"variables\":{\"a\":1}}",
                "{\"model\":\"writer\",\"messages\":[{\"role\":\"user\",\"content\":\"{1}\"}]}");
}

static void messages_and_inputs_are_sent_as_they_are(void **state) {
    (void)state;
    assert_asks(",\"prompt\":\"unused\",\"system\":\"unused\"",
                "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"{{a}}\"}]}]}",
                "{\"model\":\"writer\",\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":"
                "\"{{a}}\"}]}]}");
    assert_asks(",\"task\":\"embeddings\"", "{\"input\":[\"a\",\"{{b}}\"],\"dimensions\":3}",
                "{\"model\":\"writer\",\"input\":[\"a\",\"{{b}}\"],\"dimensions\":3}");
    assert_asks(",\"task\":\"embeddings\"", "{\"input\":\"a\"}",
                "{\"model\":\"writer\",\"input\":\"a\"}");
}

static void the_runs_options_go_before_the_models(void **state) {
    (void)state;
    assert_asks(",\"options\":{\"temperature\":0.50,\"seed\":9007199254740993}",
                "{\"prompt\":\"a\",\"temperature\":1e400,\"top_p\":0.10,\"stream\":false}",
                "{\"model\":\"writer\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                "\"temperature\":1e400,\"top_p\":0.10,\"stream\":false,"
                "\"seed\":9007199254740993}");
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    static const char embeddings[] = ",\"task\":\"embeddings\"";
    static const struct {
        const char *keys, *parameters, *message;
    } cases[] = {
        {"", "[]", "parameters is a list, expected an object"},
        {"", "{}",
         "parameters has no prompt and no messages, and the model's model.json no prompt"},
        {"", "{\"prompt\":1}", "parameters.prompt is a number, expected a string"},
        {"", "{\"prompt\":\"a\",\"system\":[]}", "parameters.system is a list, expected a string"},
        {"", "{\"prompt\":\"a\",\"model\":null}", "parameters.model is null, expected a string"},
        {"", "{\"prompt\":\"a\",\"variables\":[]}",
         "parameters.variables is a list, expected an object"},
        {"", "{\"prompt\":\"{{name}}\"}",
         "parameters.variables has no 'name', which the template asks for"},
        {"", "{\"messages\":[]}",
         "parameters.messages is a list, expected a list of messages that is not empty"},
        {"", "{\"messages\":[{}],\"prompt\":\"a\"}",
         "parameters has messages, and prompt or system beside them; expected the one or the "
         "other"},
        {"", "{\"prompt\":\"a\",\"input\":\"b\"}",
         "parameters.input is for embeddings, and this model's task is chat"},
        {"", "{\"prompt\":\"a\",\"stream\":true}",
         "parameters.stream: an execution has one answer; expected false"},
        {embeddings, "{}", "parameters has no input, a string or a list of them"},
        {embeddings, "{\"input\":[]}",
         "parameters.input is a list, expected a string or a list that is not empty"},
        {embeddings, "{\"input\":\"a\",\"prompt\":\"b\"}",
         "parameters.prompt is for chat, and this model's task is embeddings"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_refused(cases[i].keys, cases[i].parameters, cases[i].message);
    }
}

/* Each would cost much more than the request that asks for it. */
static void what_would_grow_without_bound_is_refused(void **state) {
    (void)state;
    struct text parameters;
    text_init(&parameters, (size_t)64 << 20);
    text_append(&parameters, "{\"prompt\":\"");
    for (int i = 0; i < 2000; i++) {
        text_append(&parameters, "{{a}}");
    }
    text_append(&parameters, "\",\"variables\":{\"a\":\"");
    for (int i = 0; i < 100000; i++) {
        text_append_char(&parameters, 'x');
    }
    text_append(&parameters, "\"}}");
    assert_refused("", text_string(&parameters), "the template becomes longer than 67108864 bytes");
    text_reset(&parameters);
    text_append(&parameters, "{\"prompt\":\"");
    for (int i = 0; i < 10001; i++) {
        text_append(&parameters, "{{run_id}}");
    }
    text_append(&parameters, "\"}");
    assert_refused("", text_string(&parameters),
                   "the template asks for more than 10,000 variables");
    text_reset(&parameters);
    text_append(&parameters, "{\"prompt\":\"a\"");
    for (int i = 0; i < 256; i++) {
        text_printf(&parameters, ",\"o%d\":1", i);
    }
    text_append(&parameters, "}");
    assert_refused("", text_string(&parameters),
                   "parameters has 257 members, expected at most 256");
    text_fini(&parameters);
}

#define OPENAI_TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        OPENAI_TEST(a_prompt_is_a_message),
        OPENAI_TEST(variables_take_their_places),
        OPENAI_TEST(what_only_looks_like_a_place_is_text),
        OPENAI_TEST(messages_and_inputs_are_sent_as_they_are),
        OPENAI_TEST(the_runs_options_go_before_the_models),
        OPENAI_TEST(what_does_not_fit_is_refused),
        OPENAI_TEST(what_would_grow_without_bound_is_refused),
    };
    return cmocka_run_group_tests_name("model: openai", tests, NULL, NULL);
}
