/* What a server of the Open Inference Protocol says of a model, and requests that are made with it. */
#include "remote/metadata.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char triton[] =
    "{\"name\":\"iris\",\"versions\":[\"1\"],\"platform\":\"onnxruntime_onnx\",\"inputs\":[{"
    "\"name\":"
    "\"x\",\"datatype\":\"FP32\",\"shape\":[-1,2]}],\"outputs\":[{\"name\":\"y\",\"datatype\":"
    "\"INT64\",\"shape\":[-1]}]}";

static struct error err;

static bool read(const char *json, struct arena *arena, struct signature *out) {
    return metadata_read(json, strlen(json), arena, out, &err);
}

static struct dispatch_job job_of(const char *parameters) {
    return (struct dispatch_job){.parameters = parameters, .parameters_bytes = strlen(parameters)};
}

static void rows_become_the_protocols_request(void **state) {
    (void)state;
    struct arena arena = {0};
    struct signature signature;
    struct text body;
    text_init(&body, 1000);
    assert_true(read(triton, &arena, &signature));
    struct dispatch_job job = job_of("{\"data\": [[1, 2.5], [0.1, -0]]}");
    assert_true(metadata_append_request(&signature, &job, &body, &err));
    assert_string_equal(
        text_string(&body),
        "{\"inputs\":[{\"name\":\"x\",\"shape\":[2, 2],\"datatype\":\"FP32\",\"data\":"
        "[1.0,2.5,0.1,-0.0]}]}");
    job = job_of("{\"data\": [[1, 2, 3]]}");
    assert_false(metadata_append_request(&signature, &job, &body, &err));
    assert_int_equal(err.kind, ERROR_INVALID_PARAMETERS);
    text_fini(&body);
    arena_fini(&arena);
}

static void what_is_a_request_already_is_known(void **state) {
    (void)state;
    static const struct {
        const char *parameters;
        bool is_request;
    } cases[] = {
        {"{\"inputs\":[]}", true},
        {"{\"inputs\" : []}", true},
        {" {\"inputs\":[]}", true},
        {"{\"id\":\"a\",\"inputs\":[]}", true},
        {"{\"data\":[]}", false},
        {"{\"data\":{\"inputs\":1}}", false},
        {"null", false},
        {"[]", false},
        {"{\"inputs2\":[]}", false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct dispatch_job job = job_of(cases[i].parameters);
        assert_int_equal(metadata_is_request(&job), cases[i].is_request);
    }
}

static void what_is_no_metadata_is_told(void **state) {
    (void)state;
    static const char *const cases[] = {
        "",
        "<html>",
        "[]",
        "{}",
        "{\"inputs\":[],\"outputs\":{}}",
        "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP8\",\"shape\":[1]}],\"outputs\":[]}",
        "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-2]}],\"outputs\":[]}",
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct arena arena = {0};
        struct signature signature;
        assert_false(read(cases[i], &arena, &signature));
        assert_int_equal(err.kind, ERROR_MODEL_FAILED);
        assert_memory_equal(err.message, "what the model's server says of the model", 41);
        arena_fini(&arena);
    }
}

static void it_is_kept_until_the_model_is_another_or_it_is_forgotten(void **state) {
    (void)state;
    static const unsigned char digests[2][MODEL_DIGEST_BYTES] = {{1}, {2}};
    struct arena arena = {0};
    struct signature signature;
    struct metadata metadata;
    metadata_init(&metadata);
    assert_true(read(triton, &arena, &signature));
    metadata_keep(&metadata, "iris", digests[0], &signature);
    metadata_keep(&metadata, "rose", digests[0], &signature);
    arena_fini(&arena); /* it has its own */
    assert_string_equal(metadata_find(&metadata, "iris", digests[0])->inputs[0].name, "x");
    assert_null(metadata_find(&metadata, "iris", digests[1]));
    assert_null(metadata_find(&metadata, "lily", digests[0]));
    struct arena second = {0};
    assert_true(read(triton, &second, &signature));
    metadata_keep(&metadata, "iris", digests[1], &signature);
    arena_fini(&second);
    assert_null(metadata_find(&metadata, "iris", digests[0]));
    assert_non_null(metadata_find(&metadata, "iris", digests[1]));
    metadata_forget(&metadata, "iris");
    metadata_forget(&metadata, "iris");
    assert_null(metadata_find(&metadata, "iris", digests[1]));
    assert_non_null(metadata_find(&metadata, "rose", digests[0]));
    metadata_fini(&metadata);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_the_protocols_request),
        cmocka_unit_test(what_is_a_request_already_is_known),
        cmocka_unit_test(what_is_no_metadata_is_told),
        cmocka_unit_test(it_is_kept_until_the_model_is_another_or_it_is_forgotten),
    };
    return cmocka_run_group_tests_name("remote: metadata", tests, NULL, NULL);
}
