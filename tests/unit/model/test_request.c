#include "model/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct tensor_signature outputs[] = {{.name = "label", .type = TENSOR_INT64},
                                            {.name = "scores", .type = TENSOR_FP32},
                                            {.name = "ü"}};
static const struct signature signature = {.outputs = outputs, .output_count = COUNT_OF(outputs)};

static yyjson_doc *parse(const char *text) {
    yyjson_doc *document = yyjson_read(text, strlen(text), YYJSON_READ_NUMBER_AS_RAW);
    assert_non_null(document);
    return document;
}

static void what_the_protocol_knows_may_stand_beside_the_inputs(void **state) {
    (void)state;
    static const char *const good[] = {
        "{\"inputs\":1}",
        "{\"id\":\"\",\"inputs\":1}",
        "{\"parameters\":{\"a\":[1]},\"inputs\":1,\"id\":\"42\"}",
        "{\"inputs\":1,\"outputs\":[]}",
        "{\"outputs\":[{\"name\":\"ü\",\"parameters\":{}}],\"inputs\":1}",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct error err;
        yyjson_doc *document = parse(good[i]);
        assert_true(request_check(&signature, yyjson_doc_get_root(document), &err));
        yyjson_doc_free(document);
    }
}

static void anything_else_is_refused_by_its_name(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *said;
    } bad[] = {
        {"{\"id\":42}", "parameters.id is not a string"},
        {"{\"parameters\":[]}", "parameters.parameters is not an object"},
        {"{\"timeout\":1}", "parameters.timeout is not known"},
        {"{\"outputs\":{}}", "parameters.outputs is not a list of at most 3"},
        {"{\"outputs\":[{},{},{},{}]}", "parameters.outputs is not a list of at most 3"},
        {"{\"outputs\":[{\"name\":\"label\"},{}]}", "parameters.outputs[1] has no name"},
        {"{\"outputs\":[1]}", "parameters.outputs[0] has no name"},
        {"{\"outputs\":[{\"name\":7}]}", "parameters.outputs[0] has no name"},
        {"{\"outputs\":[{\"name\":\"Label\"}]}", "the model has no output 'Label'"},
        {"{\"outputs\":[{\"name\":\"label\",\"shape\":[1]}]}",
         "parameters.outputs[0].shape is not known"},
        {"{\"outputs\":[{\"name\":\"label\"},{\"name\":\"label\"}]}",
         "parameters.outputs[1]: output 'label' is asked for twice"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct error err;
        yyjson_doc *document = parse(bad[i].text);
        assert_false(request_check(&signature, yyjson_doc_get_root(document), &err));
        assert_int_equal(err.kind, ERROR_INVALID_PARAMETERS);
        assert_string_equal(err.field, "parameters");
        if (strstr(err.message, bad[i].said) == NULL) {
            fail_msg("%s: %s", bad[i].text, err.message);
        }
        yyjson_doc_free(document);
    }
}

static void assert_wanted(const char *text, const size_t *expected, size_t expected_count) {
    struct arena arena = {0};
    yyjson_doc *document = text == NULL ? NULL : parse(text);
    size_t *wanted;
    size_t count;
    request_outputs(&signature, yyjson_doc_get_root(document), &arena, &wanted, &count);
    assert_int_equal(count, expected_count);
    assert_memory_equal(wanted, expected, count * sizeof *wanted);
    yyjson_doc_free(document);
    arena_fini(&arena);
}

static void outputs_are_wanted_in_the_order_in_which_they_are_named_or_all(void **state) {
    (void)state;
    static const size_t all[] = {0, 1, 2};
    static const size_t some[] = {2, 0};
    assert_wanted(NULL, all, 3);
    assert_wanted("{\"data\":[[1]]}", all, 3);
    assert_wanted("{\"inputs\":[]}", all, 3);
    assert_wanted("{\"inputs\":[],\"outputs\":[]}", all, 3);
    assert_wanted("{\"outputs\":[{\"name\":\"ü\"},{\"name\":\"label\"}]}", some, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_protocol_knows_may_stand_beside_the_inputs),
        cmocka_unit_test(anything_else_is_refused_by_its_name),
        cmocka_unit_test(outputs_are_wanted_in_the_order_in_which_they_are_named_or_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
