#include "model/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;
static struct error err;
static struct tensor tensors[8];
static yyjson_doc *document;

#define SHAPE(...)                                                                                 \
    {                                                                                              \
        .rank = (uint32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dimensions = {    \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

#define TENSOR(the_name, the_type, ...)                                                            \
    { .name = (the_name), .type = (the_type), .shape = SHAPE(__VA_ARGS__) }

#define ONE_INPUT(...)                                                                             \
    ((struct signature){.inputs = (struct tensor_signature[]){__VA_ARGS__}, .input_count = 1})

static int fresh(void **state) {
    (void)state;
    memset(tensors, 0, sizeof tensors);
    return 0;
}

static int forget(void **state) {
    (void)state;
    arena_fini(&arena);
    yyjson_doc_free(document);
    document = NULL;
    return 0;
}

static yyjson_val *parse(const char *json, yyjson_read_flag flags) {
    yyjson_doc_free(document);
    document = yyjson_read(json, strlen(json), flags);
    if (document == NULL) {
        fail_msg("the test's JSON is wrong: %s", json);
    }
    return yyjson_doc_get_root(document);
}

/* Reads; checking alone must say the same, also of numbers that the parser converted. */
static bool reads(struct signature signature, const char *json) {
    struct error check_err;
    bool fits = tensors_from_json(&signature, parse(json, 0), NULL, NULL, &check_err);
    bool ok = tensors_from_json(&signature, parse(json, YYJSON_READ_NUMBER_AS_RAW), &arena, tensors,
                                &err);
    assert_int_equal(fits, ok);
    if (!ok) {
        assert_int_equal(err.kind, ERROR_INVALID_PARAMETERS);
        assert_string_equal(err.field, "parameters");
        assert_int_equal(check_err.kind, ERROR_INVALID_PARAMETERS);
    }
    return ok;
}

static void assert_refused(struct signature signature, const char *json, const char *message) {
    assert_false(reads(signature, json));
    assert_string_equal(err.message, message);
}

static void assert_shape(const struct tensor *tensor, const char *expected) {
    char text[TENSOR_SHAPE_BYTES];
    assert_string_equal(tensor_shape_format(&tensor->shape, text), expected);
}

static const struct tensor_signature features = TENSOR("features", TENSOR_FP32, -1, 3);

static struct signature of_type(enum tensor_type type) {
    static struct tensor_signature input;
    input = (struct tensor_signature)TENSOR("x", type, -1);
    return (struct signature){.inputs = &input, .input_count = 1};
}

static const char *answer(const struct tensor *tensor) {
    static struct text out;
    text_fini(&out);
    text_init(&out, 1 << 20);
    tensor_to_json(tensor, &out);
    char *copy = arena_strdup(&arena, text_string(&out));
    text_fini(&out);
    return copy;
}

/* --- forms ------------------------------------------------------------------------------------- */

static void rows_of_one_input_are_read_in_order(void **state) {
    (void)state;
    assert_true(reads(ONE_INPUT(features), "{\"data\": [[1, 2.5, -3], [4e0, 5, 6]]}"));
    const float expected[] = {1, 2.5F, -3, 4, 5, 6};
    assert_shape(&tensors[0], "[2, 3]");
    assert_int_equal(tensors[0].element_count, 6);
    assert_memory_equal(tensors[0].data, expected, sizeof expected);
    assert_string_equal(tensors[0].name, "features");
}

static void named_rows_of_one_input_go_by_the_first_rows_order(void **state) {
    (void)state;
    assert_true(
        reads(ONE_INPUT(features),
              "{\"data\": [{\"a\": 1, \"b\": 2, \"c\": 3}, {\"c\": 6, \"a\": 4, \"b\": 5}]}"));
    const float expected[] = {1, 2, 3, 4, 5, 6};
    assert_memory_equal(tensors[0].data, expected, sizeof expected);
    assert_refused(
        ONE_INPUT(features),
        "{\"data\": [{\"a\": 1, \"b\": 2, \"c\": 3}, {\"a\": 1, \"b\": 2, \"d\": 3}]}",
        "parameters.data[1] lacks 'c', which the first row has (input 'features' is FP32 "
        "[-1, 3])");
}

static struct signature table(void) {
    static struct tensor_signature inputs[] = {TENSOR("age", TENSOR_INT64, -1, 1),
                                               TENSOR("name", TENSOR_BYTES, -1, 1),
                                               TENSOR("weight", TENSOR_FP64, -1)};
    return (struct signature){.inputs = inputs, .input_count = 3};
}

static void assert_table(void) {
    assert_shape(&tensors[0], "[2, 1]");
    assert_shape(&tensors[1], "[2, 1]");
    assert_shape(&tensors[2], "[2]");
    assert_memory_equal(tensors[0].data, ((int64_t[]){30, 41}), 16);
    assert_memory_equal(tensors[2].data, ((double[]){70.5, 80}), 16);
    assert_string_equal(tensors[1].strings[0], "Ada");
    assert_string_equal(tensors[1].strings[1], "Bob");
    assert_int_equal(tensors[1].string_bytes[1], 3);
}

static void rows_of_a_model_with_one_input_a_feature_go_by_place_or_by_name(void **state) {
    (void)state;
    assert_true(reads(table(), "{\"data\": [[30, \"Ada\", 70.5], [41, \"Bob\", 80]]}"));
    assert_table();
    assert_true(reads(table(), "{\"data\": [{\"age\": 30, \"name\": \"Ada\", \"weight\": 70.5},"
                               " {\"weight\": 80, \"name\": \"Bob\", \"age\": 41}]}"));
    assert_table();
    assert_refused(table(), "{\"data\": [[30, \"Ada\"]]}",
                   "parameters.data[0] has 2 values, expected 3 (input 'age' is INT64 [-1, 1])");
    assert_refused(table(), "{\"data\": [{\"age\": 30, \"name\": \"Ada\", \"height\": 1}]}",
                   "parameters.data[0] lacks 'weight' (input 'weight' is FP64 [-1])");
    assert_refused(table(), "{\"data\": [[30, \"Ada\", 1], [30, \"Ada\", null]]}",
                   "parameters.data[1][2] is wrong: expected a number, got null (input 'weight' is "
                   "FP64 [-1])");
}

static void the_protocols_form_takes_flat_and_nested_data_in_any_order_of_inputs(void **state) {
    (void)state;
    static struct tensor_signature inputs[] = {TENSOR("a", TENSOR_FP32, -1, 2),
                                               TENSOR("b", TENSOR_INT32, )};
    struct signature signature = {.inputs = inputs, .input_count = 2};
    const float expected[] = {1, 2, 3, 4};
    static const char *const forms[] = {
        "{\"inputs\": [{\"name\": \"b\", \"shape\": [], \"datatype\": \"INT32\", \"data\": [7]},"
        " {\"name\": \"a\", \"shape\": [2, 2], \"datatype\": \"FP32\", \"data\": [1, 2, 3, 4]}]}",
        "{\"inputs\": [{\"name\": \"a\", \"shape\": [2, 2], \"datatype\": \"FP32\", \"data\": [[1, "
        "2], "
        "[3, 4]]}, {\"name\": \"b\", \"shape\": [], \"datatype\": \"INT32\", \"data\": 7}]}",
    };
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        assert_true(reads(signature, forms[i]));
        assert_shape(&tensors[0], "[2, 2]");
        assert_shape(&tensors[1], "[]");
        assert_memory_equal(tensors[0].data, expected, sizeof expected);
        assert_memory_equal(tensors[1].data, &(int32_t){7}, 4);
    }
}

static void scalars_empty_and_deep_tensors_are_read(void **state) {
    (void)state;
    assert_true(reads(ONE_INPUT(TENSOR("x", TENSOR_FP64, )), "{\"data\": 2.5}"));
    assert_int_equal(tensors[0].element_count, 1);
    assert_true(*(double *)tensors[0].data == 2.5);
    assert_true(reads(ONE_INPUT(features), "{\"data\": []}"));
    assert_shape(&tensors[0], "[0, 3]");
    assert_int_equal(tensors[0].element_count, 0);
    assert_true(reads(ONE_INPUT(TENSOR("x", TENSOR_FP32, -1, -1)), "{\"data\": [[], []]}"));
    assert_shape(&tensors[0], "[2, 0]");
    assert_true(reads(ONE_INPUT(TENSOR("x", TENSOR_UINT8, 1, 2, -1, 2)),
                      "{\"data\": [[[[1, 2]], [[3, 4]]]]}"));
    assert_shape(&tensors[0], "[1, 2, 1, 2]");
    assert_memory_equal(tensors[0].data, ((uint8_t[]){1, 2, 3, 4}), 4);
    assert_true(reads(ONE_INPUT(features),
                      "{\"inputs\": [{\"name\": \"features\", \"shape\": [0, 3],"
                      " \"datatype\": \"FP32\", \"data\": []}]}"));
}

static void a_model_without_inputs_takes_nothing(void **state) {
    (void)state;
    struct signature none = {0};
    assert_true(tensors_from_json(&none, NULL, &arena, tensors, &err));
    assert_true(reads(none, "null"));
    assert_true(reads(none, "{}"));
    assert_true(reads(none, "{\"inputs\": []}"));
    assert_false(reads(none, "{\"data\": [[1]]}"));
    assert_false(reads(ONE_INPUT(features), "null"));
    assert_false(reads(ONE_INPUT(features), "{}"));
}

/* --- values ------------------------------------------------------------------------------------ */

static void every_type_takes_its_whole_range_and_nothing_beyond(void **state) {
    (void)state;
    static const struct {
        enum tensor_type type;
        const char *lowest, *below, *highest, *above;
    } ranges[] = {
        {TENSOR_INT8, "-128", "-129", "127", "128"},
        {TENSOR_INT16, "-32768", "-32769", "32767", "32768"},
        {TENSOR_INT32, "-2147483648", "-2147483649", "2147483647", "2147483648"},
        {TENSOR_INT64, "-9223372036854775808", "-9223372036854775809", "9223372036854775807",
         "9223372036854775808"},
        {TENSOR_UINT8, "0", "-1", "255", "256"},
        {TENSOR_UINT16, "-0", "-1", "65535", "65536"},
        {TENSOR_UINT32, "0", "-1", "4294967295", "4294967296"},
        {TENSOR_UINT64, "0", "-1", "18446744073709551615", "18446744073709551616"},
    };
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        char json[128];
        snprintf(json, sizeof json, "{\"data\":[%s,%s]}", ranges[i].lowest, ranges[i].highest);
        assert_true(reads(of_type(ranges[i].type), json));
        char expected[160];
        snprintf(expected, sizeof expected,
                 "{\"name\":\"x\",\"shape\":[2],\"datatype\":\"%s\",\"data\":[%s,%s]}",
                 tensor_type_name(ranges[i].type),
                 strcmp(ranges[i].lowest, "-0") == 0 ? "0" : ranges[i].lowest, ranges[i].highest);
        assert_string_equal(answer(&tensors[0]), expected);
        snprintf(json, sizeof json, "{\"data\":[%s]}", ranges[i].below);
        assert_false(reads(of_type(ranges[i].type), json));
        snprintf(json, sizeof json, "{\"data\":[%s]}", ranges[i].above);
        assert_false(reads(of_type(ranges[i].type), json));
    }
    assert_refused(
        of_type(TENSOR_INT8), "{\"data\":[1,200]}",
        "parameters.data[1] is wrong: 200 is out of range of INT8 (input 'x' is INT8 [-1])");
}

static void whole_numbers_may_be_written_as_floats_but_must_be_whole(void **state) {
    (void)state;
    assert_true(reads(of_type(TENSOR_INT32), "{\"data\":[3.0,1e3,-2.50e1]}"));
    assert_memory_equal(tensors[0].data, ((int32_t[]){3, 1000, -25}), 12);
    assert_refused(
        of_type(TENSOR_INT32), "{\"data\":[3.5]}",
        "parameters.data[0] is wrong: expected a whole number, got 3.5 (input 'x' is INT32 "
        "[-1])");
    assert_true(reads(of_type(TENSOR_INT64), "{\"data\":[9007199254740991.0]}"));
    assert_memory_equal(tensors[0].data, &(int64_t){9007199254740991}, 8);
}

static void a_whole_number_is_told_from_one_that_a_double_takes_for_it(void **state) {
    (void)state;
    struct signature signature = of_type(TENSOR_INT64);
    assert_true(tensors_from_json(
        &signature, parse("{\"data\":[9007199254740993.0]}", YYJSON_READ_NUMBER_AS_RAW), &arena,
        tensors, &err));
    assert_memory_equal(tensors[0].data, &(int64_t){9007199254740993}, 8);
    static const char *const wrong[] = {"{\"data\":[1.00000000000000000001]}",
                                        "{\"data\":[0.9999999999999999999999]}",
                                        "{\"data\":[1e-400]}", "{\"data\":[1e19]}"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_false(tensors_from_json(&signature, parse(wrong[i], YYJSON_READ_NUMBER_AS_RAW),
                                       &arena, tensors, &err));
    }
}

static void floats_keep_their_bits_both_ways(void **state) {
    (void)state;
    assert_true(reads(of_type(TENSOR_FP32), "{\"data\":[0.1,-0.0,1e-45,3.4028235e38,16777217]}"));
    const uint32_t bits[] = {0x3dcccccd, 0x80000000, 1, 0x7f7fffff, 0x4b800000};
    assert_memory_equal(tensors[0].data, bits, sizeof bits);
    assert_string_equal(answer(&tensors[0]),
                        "{\"name\":\"x\",\"shape\":[5],\"datatype\":\"FP32\",\"data\":"
                        "[0.1,-0.0,1e-45,3.4028235e38,16777216.0]}");
    assert_true(reads(of_type(TENSOR_FP64), "{\"data\":[0.1,5e-324,1.7976931348623157e308]}"));
    const double wide[] = {0.1, 5e-324, 1.7976931348623157e308};
    assert_memory_equal(tensors[0].data, wide, sizeof wide);
    assert_string_equal(answer(&tensors[0]),
                        "{\"name\":\"x\",\"shape\":[3],\"datatype\":\"FP64\",\"data\":"
                        "[0.1,5e-324,1.7976931348623157e308]}");
    assert_true(reads(of_type(TENSOR_FP16), "{\"data\":[0.1,65504,6e-8]}"));
    const uint16_t halves[] = {0x2e66, 0x7bff, 1};
    assert_memory_equal(tensors[0].data, halves, sizeof halves);
    assert_string_equal(answer(&tensors[0]),
                        "{\"name\":\"x\",\"shape\":[3],\"datatype\":\"FP16\",\"data\":"
                        "[0.1,65504.0,6e-8]}");
}

static void a_float_between_two_is_rounded_once(void **state) {
    (void)state;
    assert_true(
        reads(of_type(TENSOR_FP32), "{\"data\":[1.00000005960464477539062500000000000000000001]}"));
    assert_memory_equal(tensors[0].data, &(uint32_t){0x3f800001}, 4);
}

static void not_a_number_and_the_infinities_are_strings(void **state) {
    (void)state;
    static const enum tensor_type types[] = {TENSOR_FP16, TENSOR_FP32, TENSOR_FP64};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        assert_true(reads(of_type(types[i]), "{\"data\":[\"NaN\",\"Infinity\",\"-Infinity\"]}"));
        char expected[160];
        snprintf(expected, sizeof expected,
                 "{\"name\":\"x\",\"shape\":[3],\"datatype\":\"%s\",\"data\":[\"NaN\","
                 "\"Infinity\",\"-Infinity\"]}",
                 tensor_type_name(types[i]));
        assert_string_equal(answer(&tensors[0]), expected);
        assert_false(reads(of_type(types[i]), "{\"data\":[\"nan\"]}"));
        assert_false(reads(of_type(types[i]), "{\"data\":[true]}"));
    }
    assert_refused(
        of_type(TENSOR_FP32), "{\"data\":[1e39]}",
        "parameters.data[0] is wrong: 1e39 is out of range of FP32 (input 'x' is FP32 [-1])");
    assert_false(reads(of_type(TENSOR_INT32), "{\"data\":[\"NaN\"]}"));
}

static void truth_values_are_true_false_one_or_zero(void **state) {
    (void)state;
    assert_true(reads(of_type(TENSOR_BOOL), "{\"data\":[true,false,1,0]}"));
    assert_memory_equal(tensors[0].data, ((uint8_t[]){1, 0, 1, 0}), 4);
    assert_string_equal(answer(&tensors[0]),
                        "{\"name\":\"x\",\"shape\":[4],\"datatype\":\"BOOL\",\"data\":[true,"
                        "false,true,false]}");
    assert_false(reads(of_type(TENSOR_BOOL), "{\"data\":[2]}"));
    assert_false(reads(of_type(TENSOR_BOOL), "{\"data\":[-1]}"));
    assert_false(reads(of_type(TENSOR_BOOL), "{\"data\":[\"true\"]}"));
}

static void bytes_are_strings_or_base64_both_ways(void **state) {
    (void)state;
    assert_true(reads(of_type(TENSOR_BYTES),
                      "{\"data\":[\"\",\"h\xc3\xa9\\\"\",{\"b64\":\"/wD+\"},{\"b64\":\"\"}]}"));
    assert_int_equal(tensors[0].string_bytes[0], 0);
    assert_int_equal(tensors[0].string_bytes[2], 3);
    assert_memory_equal(tensors[0].strings[2], "\xff\x00\xfe", 3);
    assert_string_equal(answer(&tensors[0]),
                        "{\"name\":\"x\",\"shape\":[4],\"datatype\":\"BYTES\",\"data\":[\"\","
                        "\"h\xc3\xa9\\\"\",{\"b64\":\"/wD+\"},\"\"]}");
    assert_true(reads(of_type(TENSOR_BYTES), "{\"data\":[\"a\\u0000b\"]}"));
    assert_int_equal(tensors[0].string_bytes[0], 3);
    assert_string_equal(answer(&tensors[0]),
                        "{\"name\":\"x\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":"
                        "[{\"b64\":\"YQBi\"}]}");
    assert_refused(of_type(TENSOR_BYTES), "{\"data\":[{\"b64\":\"?\"}]}",
                   "parameters.data[0] is wrong: \"b64\" is not base64 (input 'x' is BYTES [-1])");
    assert_refused(of_type(TENSOR_BYTES), "{\"data\":[5]}",
                   "parameters.data[0] is wrong: expected a string (or {\"b64\": \"…\"}), got a "
                   "number (input 'x' is BYTES [-1])");
}

static void long_base64_is_read_in_pieces(void **state) {
    (void)state;
    enum { GROUPS = 5000 };
    struct text json;
    text_init(&json, 1 << 20);
    text_append(&json, "{\"data\": [{\"b64\": \"");
    for (int i = 0; i < GROUPS; i++) {
        text_append(&json, "YWJj");
    }
    text_append(&json, "YQ==\"}]}");
    assert_true(reads(of_type(TENSOR_BYTES), text_string(&json)));
    assert_int_equal(tensors[0].string_bytes[0], GROUPS * 3 + 1);
    assert_memory_equal(tensors[0].strings[0] + (size_t)(GROUPS - 1) * 3, "abca", 4);
    /* Padding in the middle, at the end of a piece. */
    size_t start = strlen("{\"data\": [{\"b64\": \"");
    json.data[start + 4094] = '=';
    json.data[start + 4095] = '=';
    assert_false(reads(of_type(TENSOR_BYTES), text_string(&json)));
    text_fini(&json);
}

/* --- refusals ---------------------------------------------------------------------------------- */

static void what_does_not_fit_is_refused_with_its_place_and_what_was_expected(void **state) {
    (void)state;
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"{\"data\": [[1, 2, 3], [4, 5]]}",
         "parameters.data[1] has 2 values, expected 3 (input 'features' is FP32 [-1, 3])"},
        {"{\"data\": [[1]]}",
         "parameters.data[0] has 1 value, expected 3 (input 'features' is FP32 [-1, 3])"},
        {"{\"data\": [1, 2, 3]}", "parameters.data[0] is a number, expected lists nested 2 deep "
                                  "(input 'features' is FP32 [-1, "
                                  "3])"},
        {"{\"data\": [[1, 2, 3], 4]}",
         "parameters.data[1] is a number, expected a list of 3 (input 'features' is FP32 [-1, 3])"},
        {"{\"data\": [[1, 2, [3]]]}",
         "parameters.data[0][2] is wrong: expected a number, got a list (input 'features' is FP32 "
         "[-1, 3])"},
        {"{\"data\": [[1, 2, \"x\"]]}",
         "parameters.data[0][2] is wrong: expected a number (or \"NaN\", \"Infinity\", "
         "\"-Infinity\"), got a string (input 'features' is FP32 [-1, 3])"},
        {"{\"data\": \"x\"}",
         "parameters.data is a string, expected lists nested 2 deep (input 'features' is FP32 [-1, "
         "3])"},
        {"{\"dato\": []}",
         "parameters must be {\"data\": [[…], …]} or {\"inputs\": [{\"name\", \"shape\", "
         "\"datatype\", \"data\"}]}, and nothing else"},
        {"{\"data\": [], \"inputs\": []}",
         "parameters must be {\"data\": [[…], …]} or {\"inputs\": [{\"name\", \"shape\", "
         "\"datatype\", \"data\"}]}, and nothing else"},
        {"{\"inputs\": []}",
         "parameters.inputs is not a list of 1, one for each input of the model"},
        {"{\"inputs\": [{\"shape\": [1, 3]}]}",
         "parameters.inputs[0] has no name; the model's first input is 'features'"},
        {"{\"inputs\": [{\"name\": \"y\"}]}",
         "parameters.inputs[0]: the model has no input 'y'; its first is 'features'"},
        {"{\"inputs\": [{\"name\": \"features\", \"shape\": [1, 3], \"data\": [1, 2, 3]}]}",
         "parameters.inputs[0] has no \"datatype\" (input 'features' is FP32 [-1, 3])"},
        {"{\"inputs\": [{\"name\": \"features\", \"datatype\": \"FP64\", \"shape\": [1, 3], "
         "\"data\": "
         "[1, 2, 3]}]}",
         "parameters.inputs[0] has the datatype FP64 (input 'features' is FP32 [-1, 3])"},
        {"{\"inputs\": [{\"name\": \"features\", \"datatype\": \"FP32\", \"shape\": [1, 4], "
         "\"data\": "
         "[1, 2, 3]}]}",
         "parameters.inputs[0] has the shape [1, 4] (input 'features' is FP32 [-1, 3])"},
        {"{\"inputs\": [{\"name\": \"features\", \"datatype\": \"FP32\", \"shape\": [2, 3], "
         "\"data\": "
         "[1, 2, 3]}]}",
         "parameters.inputs[0].data has 3 values, expected 6 (input 'features' is FP32 [-1, 3])"},
        {"{\"inputs\": [{\"name\": \"features\", \"datatype\": \"FP32\", \"shape\": [1, 3]}]}",
         "parameters.inputs[0].data has no \"data\" (input 'features' is FP32 [-1, 3])"},
        {"{\"inputs\": [{\"name\": \"features\", \"datatype\": \"FP32\", \"shape\": [-1, 3], "
         "\"data\": "
         "[]}]}",
         "parameters.inputs[0] has a shape with something else than whole numbers from 0 (input "
         "'features' is FP32 [-1, 3])"},
        {"{\"inputs\": [{\"name\": \"features\", \"dtype\": \"FP32\"}]}",
         "parameters.inputs[0].dtype is not known; an input has name, shape, datatype and data"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_refused(ONE_INPUT(features), cases[i].json, cases[i].message);
    }
}

static void an_input_given_twice_is_refused(void **state) {
    (void)state;
    static struct tensor_signature inputs[] = {TENSOR("a", TENSOR_FP32, -1),
                                               TENSOR("b", TENSOR_FP32, -1)};
    struct signature signature = {.inputs = inputs, .input_count = 2};
    assert_refused(
        signature,
        "{\"inputs\": [{\"name\": \"a\", \"shape\": [1], \"datatype\": \"FP32\", \"data\": "
        "[1]}, {\"name\": \"a\", \"shape\": [1], \"datatype\": \"FP32\", \"data\": [1]}]}",
        "parameters.inputs[1]: input 'a' is given twice");
}

static void a_shape_that_promises_more_than_there_is_takes_no_memory(void **state) {
    (void)state;
    assert_false(reads(ONE_INPUT(TENSOR("x", TENSOR_FP32, -1, -1)),
                       "{\"inputs\": [{\"name\": \"x\", \"datatype\": \"FP32\", \"shape\": "
                       "[4611686018427387904, 4], \"data\": [1]}]}"));
    assert_false(
        reads(ONE_INPUT(TENSOR("x", TENSOR_FP32, -1, -1)),
              "{\"inputs\": [{\"name\": \"x\", \"datatype\": \"FP32\", \"shape\": [1000000, "
              "1000000], \"data\": [[1]]}]}"));
    assert_null(arena.chunks);
}

/* What was written is read again: the same bits. */
static void assert_round_trip(enum tensor_type type, const void *data, size_t count) {
    struct tensor tensor = {.name = "x",
                            .type = type,
                            .shape = SHAPE((int64_t)count),
                            .element_count = count,
                            .data = (void *)(uintptr_t)data};
    struct text json;
    text_init(&json, 64 << 20);
    text_append(&json, "{\"inputs\":[");
    tensor_to_json(&tensor, &json);
    text_append(&json, "]}");
    assert_true(text_ok(&json));
    assert_true(reads(of_type(type), text_string(&json)));
    text_fini(&json);
    assert_int_equal(tensors[0].element_count, count);
    assert_memory_equal(tensors[0].data, data, count * tensor_type_element_bytes(type));
}

static uint64_t next_random(void) {
    static uint64_t seed = 88172645463325252; /* xorshift64 */
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void every_number_of_every_type_survives_json_bit_for_bit(void **state) {
    (void)state;
    enum { COUNT = 0x10000 };
    static uint64_t bits[COUNT];
    for (int type = 0; type < TENSOR_BYTES; type++) {
        size_t element_bytes = tensor_type_element_bytes((enum tensor_type)type);
        char *at = (char *)bits;
        size_t count = 0;
        for (uint64_t i = 0; i < COUNT; i++) {
            /* All there are of up to 16 bits. Of more, those with a bit or a run of bits more or less than none,
             * among them zeros, subnormals, the least and the greatest; and any. */
            uint64_t value = element_bytes <= 2 ? i
                             : i < 8192
                                 ? ~UINT64_C(0) >> (i % 64) << (i / 64 % 64) ^
                                       (i >= 4096 ? UINT64_C(1) << 63 | UINT64_C(1) << 31 : 0)
                                 : next_random();
            uint64_t exponent = type == TENSOR_FP64   ? UINT64_C(0x7ff) << 52
                                : type == TENSOR_FP32 ? UINT64_C(0xff) << 23
                                : type == TENSOR_FP16 ? 0x7c00
                                : type == TENSOR_BF16 ? 0x7f80
                                                      : ~UINT64_C(0);
            bool is_special = exponent != ~UINT64_C(0) && (value & exponent) == exponent;
            bool is_beyond = type == TENSOR_BOOL && value > 1;
            if (is_special || is_beyond || (element_bytes == 1 && i > UINT8_MAX)) {
                continue;
            }
            memcpy(at, &value, element_bytes);
            at += element_bytes;
            count++;
        }
        assert_true(count >= 2);
        assert_round_trip((enum tensor_type)type, bits, count);
        arena_reset(&arena);
    }
}

static void infinities_survive_json_in_every_float(void **state) {
    (void)state;
    assert_round_trip(TENSOR_FP16, (uint16_t[]){0x7c00, 0xfc00}, 2);
    assert_round_trip(TENSOR_BF16, (uint16_t[]){0x7f80, 0xff80}, 2);
    assert_round_trip(TENSOR_FP32, (uint32_t[]){0x7f800000, 0xff800000}, 2);
    assert_round_trip(TENSOR_FP64, (uint64_t[]){0x7ff0000000000000, 0xfff0000000000000}, 2);
}

/* --- sequences ---------------------------------------------------------------------------------- */

static struct signature one_sequence(enum tensor_type of) {
    static struct tensor_signature input;
    input = (struct tensor_signature){.name = "s",
                                      .type = TENSOR_SEQUENCE,
                                      .element_type = of,
                                      .shape.rank = TENSOR_RANK_UNKNOWN};
    return (struct signature){.inputs = &input, .input_count = 1};
}

static void a_sequence_is_a_list_of_tensors_each_with_its_shape(void **state) {
    (void)state;
    static const char json[] =
        "{\"inputs\":[{\"name\":\"s\",\"datatype\":\"SEQUENCE\",\"data\":["
        "{\"shape\":[2,1],\"datatype\":\"INT64\",\"data\":[1,-2]},"
        "{\"shape\":[0],\"datatype\":\"INT64\",\"data\":[]},"
        "{\"shape\":[],\"datatype\":\"INT64\",\"data\":[9223372036854775807]}]}]}";
    assert_true(reads(one_sequence(TENSOR_INT64), json));
    assert_int_equal(tensors[0].element_count, 3);
    assert_shape(&tensors[0].elements[0], "[2, 1]");
    assert_memory_equal(tensors[0].elements[0].data, ((int64_t[]){1, -2}), 16);
    assert_shape(&tensors[0].elements[1], "[0]");
    assert_shape(&tensors[0].elements[2], "[]");
    assert_string_equal(answer(&tensors[0]),
                        "{\"name\":\"s\",\"datatype\":\"SEQUENCE\",\"data\":["
                        "{\"shape\":[2, 1],\"datatype\":\"INT64\",\"data\":[1,-2]},"
                        "{\"shape\":[0],\"datatype\":\"INT64\",\"data\":[]},"
                        "{\"shape\":[],\"datatype\":\"INT64\",\"data\":[9223372036854775807]}]}");
}

static void what_is_wrong_in_a_sequence_is_told_with_its_place(void **state) {
    (void)state;
    static const struct {
        const char *input, *message;
    } wrong[] = {
        {"\"datatype\":\"FP32\",\"data\":[]", "parameters.inputs[0] has the datatype FP32"},
        {"\"datatype\":\"SEQUENCE\",\"data\":[]",
         "parameters.inputs[0] has no \"data\", which is a list of one or more tensors"},
        {"\"datatype\":\"SEQUENCE\",\"shape\":[1],\"data\":[]",
         "parameters.inputs[0] has a shape, which only its tensors have"},
        {"\"datatype\":\"SEQUENCE\",\"data\":[1]",
         "parameters.inputs[0].data[0] has no \"datatype\""},
        {"\"datatype\":\"SEQUENCE\",\"data\":[{\"datatype\":\"FP64\"}]",
         "parameters.inputs[0].data[0] has the datatype FP64"},
        {"\"datatype\":\"SEQUENCE\",\"data\":[{\"datatype\":\"FP32\",\"shape\":[2],\"data\":[1]}]",
         "parameters.inputs[0].data[0].data has 1 value, expected 2"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        char json[256];
        char message[256];
        snprintf(json, sizeof json, "{\"inputs\":[{\"name\":\"s\",%s}]}", wrong[i].input);
        snprintf(message, sizeof message, "%s (input 's' is a sequence of FP32)", wrong[i].message);
        assert_refused(one_sequence(TENSOR_FP32), json, message);
    }
    assert_refused(one_sequence(TENSOR_FP32), "{\"data\":[[1]]}",
                   "parameters.data cannot be a sequence; use \"inputs\" (input 's' is a sequence "
                   "of FP32)");
    assert_refused(one_sequence(TENSOR_MAP), "{\"inputs\":[]}",
                   "the model's input 's' is of a type that JSON cannot carry");
}

static void an_input_of_any_shape_takes_the_shape_of_the_data(void **state) {
    (void)state;
    struct signature any =
        ONE_INPUT({.name = "x", .type = TENSOR_FP32, .shape.rank = TENSOR_RANK_UNKNOWN});
    static const struct {
        const char *json, *shape;
    } cases[] = {
        {"{\"data\":1}", "[]"},
        {"{\"data\":[]}", "[0]"},
        {"{\"data\":[[[1],[2]]]}", "[1, 2, 1]"},
        {"{\"data\":[{\"a\":1,\"b\":2}]}", "[1, 2]"},
        {"{\"inputs\":[{\"name\":\"x\",\"shape\":[2,1],\"datatype\":\"FP32\",\"data\":[1,2]}]}",
         "[2, 1]"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_true(reads(any, cases[i].json));
        assert_shape(&tensors[0], cases[i].shape);
    }
    assert_refused(any, "{\"data\":[[1,2],[3]]}",
                   "parameters.data[1] has 1 value, expected 2 (input 'x' is FP32 of any shape)");
}

static void a_type_that_json_cannot_carry_is_refused_as_an_input(void **state) {
    (void)state;
    assert_refused(ONE_INPUT(TENSOR("s", TENSOR_OTHER, )), "{\"data\": []}",
                   "the model's input 's' is of a type that JSON cannot carry");
}

static void a_signature_survives_json(void **state) {
    (void)state;
    static struct tensor_signature inputs[] = {TENSOR("a \"quoted\"", TENSOR_FP16, -1, 2, 0)};
    static struct tensor_signature outputs[] = {
        TENSOR("y", TENSOR_OTHER, ),
        TENSOR("z", TENSOR_BYTES, 9223372036854775807),
        {.name = "s",
         .type = TENSOR_SEQUENCE,
         .element_type = TENSOR_MAP,
         .shape.rank = TENSOR_RANK_UNKNOWN},
        {.name = "any", .type = TENSOR_FP32, .shape.rank = TENSOR_RANK_UNKNOWN}};
    struct signature signature = {inputs, 1, outputs, 4};
    struct text text;
    text_init(&text, 4096);
    signature_to_json(&signature, &text);
    struct signature back;
    assert_true(signature_from_json(parse(text_string(&text), 0), &arena, &back, &err));
    assert_int_equal(back.input_count, 1);
    assert_string_equal(back.inputs[0].name, "a \"quoted\"");
    assert_int_equal(back.inputs[0].type, TENSOR_FP16);
    assert_memory_equal(&back.inputs[0].shape, &inputs[0].shape, sizeof inputs[0].shape);
    assert_int_equal(back.output_count, 4);
    assert_int_equal(back.outputs[2].type, TENSOR_SEQUENCE);
    assert_int_equal(back.outputs[2].element_type, TENSOR_MAP);
    assert_int_equal(back.outputs[2].shape.rank, TENSOR_RANK_UNKNOWN);
    assert_int_equal(back.outputs[3].shape.rank, TENSOR_RANK_UNKNOWN);
    assert_int_equal(back.outputs[0].type, TENSOR_OTHER);
    assert_true(back.outputs[1].shape.dimensions[0] == INT64_MAX);
    text_fini(&text);
    static const char *const wrong[] = {
        "{}",
        "{\"inputs\": [], \"outputs\": 1}",
        "{\"inputs\": [{}], \"outputs\": []}",
        "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"SEQUENCE\"}], \"outputs\": []}",
        "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"FP31\", \"shape\": []}], \"outputs\": []}",
        "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"FP32\", \"shape\": [-2]}]}",
        ("{\"inputs\": [{\"name\": \"a\", \"datatype\": \"FP32\", \"shape\": "
         "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}], \"outputs\": []}"),
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_false(signature_from_json(parse(wrong[i], 0), &arena, &back, &err));
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fresh, forget)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(rows_of_one_input_are_read_in_order),
        TEST(named_rows_of_one_input_go_by_the_first_rows_order),
        TEST(rows_of_a_model_with_one_input_a_feature_go_by_place_or_by_name),
        TEST(the_protocols_form_takes_flat_and_nested_data_in_any_order_of_inputs),
        TEST(scalars_empty_and_deep_tensors_are_read),
        TEST(a_model_without_inputs_takes_nothing),
        TEST(every_type_takes_its_whole_range_and_nothing_beyond),
        TEST(whole_numbers_may_be_written_as_floats_but_must_be_whole),
        TEST(a_whole_number_is_told_from_one_that_a_double_takes_for_it),
        TEST(floats_keep_their_bits_both_ways),
        TEST(a_float_between_two_is_rounded_once),
        TEST(not_a_number_and_the_infinities_are_strings),
        TEST(truth_values_are_true_false_one_or_zero),
        TEST(bytes_are_strings_or_base64_both_ways),
        TEST(long_base64_is_read_in_pieces),
        TEST(what_does_not_fit_is_refused_with_its_place_and_what_was_expected),
        TEST(an_input_given_twice_is_refused),
        TEST(a_shape_that_promises_more_than_there_is_takes_no_memory),
        TEST(a_type_that_json_cannot_carry_is_refused_as_an_input),
        TEST(a_signature_survives_json),
        TEST(every_number_of_every_type_survives_json_bit_for_bit),
        TEST(infinities_survive_json_in_every_float),
        TEST(a_sequence_is_a_list_of_tensors_each_with_its_shape),
        TEST(what_is_wrong_in_a_sequence_is_told_with_its_place),
        TEST(an_input_of_any_shape_takes_the_shape_of_the_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
