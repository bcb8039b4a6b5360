#include "worker/onnx_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A model as protocol buffers write it: a version, then a graph with two inputs, "a" with a shape and "b" without,
 * and an output "c" that is a sequence. */
static const char model[] = {
    0x08, 9,                                                             /* ir_version */
    0x3a, 42,                                                            /* graph */
    0x12, 1,  'g',                                                       /*   name */
    0x5a, 13, 0x0a, 1, 'a', 0x12, 8, 0x0a, 6, 0x08, 1, 0x12, 2, 0x0a, 0, /* input */
    0x5a, 9,  0x0a, 1, 'b', 0x12, 4, 0x0a, 2, 0x08, 1,                   /*   input */
    0x62, 11, 0x0a, 1, 'c', 0x12, 6, 0x22, 4, 0x0a, 2, 0x08, 1,          /* output */
};

static void a_tensor_without_a_shape_is_found(void **state) {
    (void)state;
    assert_true(onnx_file_lacks_shape(model, sizeof model, "b"));
    assert_false(onnx_file_lacks_shape(model, sizeof model, "a"));
    assert_false(onnx_file_lacks_shape(model, sizeof model, "c"));
    assert_false(onnx_file_lacks_shape(model, sizeof model, "d"));
}

/* Each in memory of its own, so that a sanitizer sees a read beyond. */
static void what_is_cut_off_or_no_model_is_read_within_its_bounds(void **state) {
    (void)state;
    for (size_t length = 0; length < sizeof model; length++) {
        char *copy = malloc(length + 1);
        assert_non_null(copy);
        memcpy(copy, model, length);
        copy = realloc(copy, length == 0 ? 1 : length);
        assert_non_null(copy);
        assert_false(onnx_file_lacks_shape(copy, length, "c"));
        for (size_t i = 0; i < length; i++) {
            for (int value = 0; value < 256; value += 17) {
                char before = copy[i];
                copy[i] = (char)value;
                (void)onnx_file_lacks_shape(copy, length, "b");
                copy[i] = before;
            }
        }
        free(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tensor_without_a_shape_is_found),
        cmocka_unit_test(what_is_cut_off_or_no_model_is_read_within_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
