#include "model/signature.h"

#include <string.h>

static const struct {
    const char *name;
    size_t element_bytes;
} types[] = {
    [TENSOR_FP16] = {"FP16", 2},         [TENSOR_BF16] = {"BF16", 2},
    [TENSOR_FP32] = {"FP32", 4},         [TENSOR_FP64] = {"FP64", 8},
    [TENSOR_INT8] = {"INT8", 1},         [TENSOR_INT16] = {"INT16", 2},
    [TENSOR_INT32] = {"INT32", 4},       [TENSOR_INT64] = {"INT64", 8},
    [TENSOR_UINT8] = {"UINT8", 1},       [TENSOR_UINT16] = {"UINT16", 2},
    [TENSOR_UINT32] = {"UINT32", 4},     [TENSOR_UINT64] = {"UINT64", 8},
    [TENSOR_BOOL] = {"BOOL", 1},         [TENSOR_BYTES] = {"BYTES", 0},
    [TENSOR_SEQUENCE] = {"SEQUENCE", 0}, [TENSOR_MAP] = {"MAP", 0},
    [TENSOR_OTHER] = {"OTHER", 0},
};

const char *tensor_type_name(enum tensor_type type) {
    ASSERT((size_t)type < COUNT_OF(types));
    return types[type].name;
}

bool tensor_type_parse(const char *name, enum tensor_type *out_type) {
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (strcmp(types[i].name, name) == 0) {
            *out_type = (enum tensor_type)i;
            return true;
        }
    }
    return false;
}

size_t tensor_type_element_bytes(enum tensor_type type) {
    ASSERT((size_t)type < COUNT_OF(types));
    return types[type].element_bytes;
}

void tensor_shape_append(const struct tensor_shape *shape, struct text *out) {
    if (shape->rank == TENSOR_RANK_UNKNOWN) {
        text_append(out, "null");
        return;
    }
    text_append_char(out, '[');
    for (uint32_t i = 0; i < shape->rank; i++) {
        text_printf(out, "%s%lld", i == 0 ? "" : ", ", (long long)shape->dimensions[i]);
    }
    text_append_char(out, ']');
}

const char *tensor_shape_format(const struct tensor_shape *shape,
                                char out[static TENSOR_SHAPE_BYTES]) {
    struct text text;
    text_init(&text, TENSOR_SHAPE_BYTES - 1);
    tensor_shape_append(shape, &text);
    memcpy(out, text_string(&text), text.size_bytes + 1);
    text_fini(&text);
    return out;
}

void tensor_signature_append(const struct tensor_signature *tensor, struct text *out) {
    if (tensor->type == TENSOR_SEQUENCE) {
        text_printf(out, "a sequence of %s", tensor_type_name(tensor->element_type));
        return;
    }
    text_append(out, tensor_type_name(tensor->type));
    if (tensor->shape.rank == TENSOR_RANK_UNKNOWN) {
        text_append(out, " of any shape");
    } else {
        text_append_char(out, ' ');
        tensor_shape_append(&tensor->shape, out);
    }
}

static void copy_tensors(const struct tensor_signature *from, size_t count, struct arena *arena,
                         struct tensor_signature **out) {
    struct tensor_signature *to = arena_alloc(arena, count * sizeof *to);
    for (size_t i = 0; i < count; i++) {
        to[i] = from[i];
        to[i].name = arena_strdup(arena, from[i].name);
    }
    *out = to;
}

void signature_copy(const struct signature *from, struct arena *arena, struct signature *out) {
    *out = *from;
    copy_tensors(from->inputs, from->input_count, arena, &out->inputs);
    copy_tensors(from->outputs, from->output_count, arena, &out->outputs);
}

/* --- JSON -------------------------------------------------------------------------------------- */

static void tensors_to_json(const struct tensor_signature *tensors, size_t count,
                            struct text *out) {
    text_append_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        text_append(out, i == 0 ? "{\"name\":" : ",{\"name\":");
        text_append_json_string(out, tensors[i].name);
        text_printf(out, ",\"datatype\":\"%s\"", tensor_type_name(tensors[i].type));
        if (tensors[i].type == TENSOR_SEQUENCE) {
            text_printf(out, ",\"of\":\"%s\"}", tensor_type_name(tensors[i].element_type));
        } else {
            text_append(out, ",\"shape\":");
            tensor_shape_append(&tensors[i].shape, out);
            text_append_char(out, '}');
        }
    }
    text_append_char(out, ']');
}

void signature_to_json(const struct signature *signature, struct text *out) {
    text_append(out, "{\"inputs\":");
    tensors_to_json(signature->inputs, signature->input_count, out);
    text_append(out, ",\"outputs\":");
    tensors_to_json(signature->outputs, signature->output_count, out);
    text_append_char(out, '}');
}

static bool shape_from_json(yyjson_val *json, struct tensor_shape *out, struct error *err) {
    if (yyjson_is_null(json)) {
        *out = (struct tensor_shape){.rank = TENSOR_RANK_UNKNOWN};
        return true;
    }
    if (!yyjson_is_arr(json) || yyjson_arr_size(json) > TENSOR_RANK_MAXIMUM) {
        return error_set(err, ERROR_MALFORMED, "shape is not a list of at most %d numbers",
                         TENSOR_RANK_MAXIMUM);
    }
    struct tensor_shape shape = {.rank = (uint32_t)yyjson_arr_size(json)};
    size_t index;
    size_t count;
    yyjson_val *value;
    yyjson_arr_foreach(json, index, count, value) {
        int64_t dimension = yyjson_get_sint(value);
        if (!yyjson_is_int(value) || dimension < -1) {
            return error_set(err, ERROR_MALFORMED, "a dimension is neither -1 nor a whole number");
        }
        shape.dimensions[index] = dimension;
    }
    *out = shape;
    return true;
}

static bool type_from_json(yyjson_val *json, enum tensor_type *out_type) {
    return yyjson_is_str(json) && tensor_type_parse(yyjson_get_str(json), out_type);
}

static bool tensors_from_json_list(yyjson_val *json, struct arena *arena,
                                   struct tensor_signature **out, size_t *out_count,
                                   struct error *err) {
    if (!yyjson_is_arr(json) || yyjson_arr_size(json) > SIGNATURE_TENSORS_MAXIMUM) {
        return error_set(err, ERROR_MALFORMED,
                         "inputs and outputs are not lists of at most %d tensors",
                         SIGNATURE_TENSORS_MAXIMUM);
    }
    struct tensor_signature *tensors =
        arena_alloc_zeroed(arena, yyjson_arr_size(json) * sizeof *tensors);
    size_t index;
    size_t count;
    yyjson_val *value;
    yyjson_arr_foreach(json, index, count, value) {
        const char *name = yyjson_get_str(yyjson_obj_get(value, "name"));
        struct tensor_signature *tensor = &tensors[index];
        if (name == NULL || !type_from_json(yyjson_obj_get(value, "datatype"), &tensor->type)) {
            return error_set(err, ERROR_MALFORMED, "a tensor without a name or a known datatype");
        }
        if (tensor->type == TENSOR_SEQUENCE) {
            if (!type_from_json(yyjson_obj_get(value, "of"), &tensor->element_type)) {
                return error_set(err, ERROR_MALFORMED, "a sequence of no known datatype");
            }
            tensor->shape.rank = TENSOR_RANK_UNKNOWN;
        } else if (!shape_from_json(yyjson_obj_get(value, "shape"), &tensor->shape, err)) {
            return false;
        }
        tensors[index].name = arena_strdup(arena, name);
    }
    *out = tensors;
    *out_count = count;
    return true;
}

bool signature_from_json(yyjson_val *json, struct arena *arena, struct signature *out,
                         struct error *err) {
    struct signature signature = {0};
    if (!tensors_from_json_list(yyjson_obj_get(json, "inputs"), arena, &signature.inputs,
                                &signature.input_count, err) ||
        !tensors_from_json_list(yyjson_obj_get(json, "outputs"), arena, &signature.outputs,
                                &signature.output_count, err)) {
        return error_prefix(err, "signature");
    }
    *out = signature;
    return true;
}
