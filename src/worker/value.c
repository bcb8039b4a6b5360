#include "worker/value.h"

#include "model/element.h"

#include <stdlib.h>
#include <string.h>

enum { VALUE_DEPTH_MAXIMUM = 8 };

static const struct {
    ONNXTensorElementDataType theirs;
    enum tensor_type ours;
} types[] = {
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, TENSOR_FP16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, TENSOR_BF16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, TENSOR_FP32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, TENSOR_FP64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, TENSOR_INT8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, TENSOR_INT16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, TENSOR_INT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, TENSOR_INT64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, TENSOR_UINT8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, TENSOR_UINT16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, TENSOR_UINT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, TENSOR_UINT64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, TENSOR_BOOL},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, TENSOR_BYTES},
};

enum tensor_type value_tensor_type(ONNXTensorElementDataType type) {
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].theirs == type) {
            return types[i].ours;
        }
    }
    return TENSOR_OTHER;
}

/* Of those that JSON cannot carry. */
static const char *name_of_other(ONNXTensorElementDataType type) {
    static const char *const names[] = {
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64] = "COMPLEX64",
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128] = "COMPLEX128",
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN] = "FLOAT8E4M3FN",
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ] = "FLOAT8E4M3FNUZ",
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2] = "FLOAT8E5M2",
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ] = "FLOAT8E5M2FNUZ",
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4] = "UINT4",
        [ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4] = "INT4",
    };
    const char *name = (size_t)type < COUNT_OF(names) ? names[type] : NULL;
    return name == NULL ? "which is new to orrery" : name;
}

static ONNXTensorElementDataType their_type(enum tensor_type type) {
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].ours == type) {
            return types[i].theirs;
        }
    }
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

bool value_ok(const OrtApi *api, OrtStatus *status, enum error_kind kind, struct error *err) {
    if (status == NULL) {
        return true;
    }
    error_set(err, kind, "%s", api->GetErrorMessage(status));
    api->ReleaseStatus(status);
    /* Its messages are made for a log: they end in line breaks, and have some in the middle. */
    size_t length = strlen(err->message);
    while (length > 0 && err->message[length - 1] == '\n') {
        err->message[--length] = '\0';
    }
    for (char *at = strchr(err->message, '\n'); at != NULL; at = strchr(at, '\n')) {
        *at = ' ';
    }
    return false;
}

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if (!value_ok(api, (call), ERROR_MODEL_FAILED, err)) {                                     \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

/* With their lengths: FillStringTensor would end a string at its first NUL. */
static bool fill_strings(const OrtApi *api, const struct tensor *tensor, OrtValue *value,
                         struct error *err) {
    for (size_t i = 0; i < tensor->element_count; i++) {
        char *buffer;
        TRY(api->GetResizedStringTensorElementBuffer(value, i, tensor->string_bytes[i], &buffer));
        memcpy(buffer, tensor->strings[i], tensor->string_bytes[i]);
    }
    return true;
}

/* The sequence shares the memory of its tensors. */
static bool sequence_from_tensor(const OrtApi *api, const OrtMemoryInfo *memory,
                                 OrtAllocator *allocator, const struct tensor *tensor,
                                 OrtValue **out_value, struct error *err) {
    size_t count = tensor->element_count;
    OrtValue **values = must_alloc_zeroed(count, sizeof(OrtValue *));
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        ok = value_from_tensor(api, memory, allocator, &tensor->elements[i], &values[i], err);
    }
    ok = ok && value_ok(api,
                        api->CreateValue((const OrtValue *const *)values, count, ONNX_TYPE_SEQUENCE,
                                         out_value),
                        ERROR_MODEL_FAILED, err);
    for (size_t i = 0; i < count; i++) {
        if (values[i] != NULL) {
            api->ReleaseValue(values[i]);
        }
    }
    free(values);
    return ok;
}

bool value_from_tensor(const OrtApi *api, const OrtMemoryInfo *memory, OrtAllocator *allocator,
                       const struct tensor *tensor, OrtValue **out_value, struct error *err) {
    OrtValue *value = NULL;
    if (tensor->type == TENSOR_SEQUENCE) {
        return sequence_from_tensor(api, memory, allocator, tensor, out_value, err);
    }
    if (tensor->type != TENSOR_BYTES) {
        size_t size_bytes = tensor->element_count * tensor_type_element_bytes(tensor->type);
        TRY(api->CreateTensorWithDataAsOrtValue(memory, tensor->data, size_bytes,
                                                tensor->shape.dimensions, tensor->shape.rank,
                                                their_type(tensor->type), &value));
        *out_value = value;
        return true;
    }
    TRY(api->CreateTensorAsOrtValue(allocator, tensor->shape.dimensions, tensor->shape.rank,
                                    ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, &value));
    if (!fill_strings(api, tensor, value, err)) {
        api->ReleaseValue(value);
        return false;
    }
    *out_value = value;
    return true;
}

/* Points the tensor's strings into one copy of the value's bytes. */
static bool read_strings(const OrtApi *api, const OrtValue *value, struct arena *arena,
                         struct tensor *tensor, struct error *err) {
    size_t total_bytes;
    TRY(api->GetStringTensorDataLength(value, &total_bytes));
    char *bytes = arena_alloc(arena, total_bytes + tensor->element_count + 1);
    size_t *offsets = arena_alloc(arena, (tensor->element_count + 1) * sizeof *offsets);
    tensor->strings = arena_alloc(arena, (tensor->element_count + 1) * sizeof *tensor->strings);
    tensor->string_bytes =
        arena_alloc(arena, (tensor->element_count + 1) * sizeof *tensor->string_bytes);
    TRY(api->GetStringTensorContent(value, bytes, total_bytes, offsets, tensor->element_count));
    offsets[tensor->element_count] = total_bytes;
    for (size_t i = 0; i < tensor->element_count; i++) {
        size_t size_bytes = offsets[i + 1] - offsets[i];
        tensor->strings[i] = arena_strndup(arena, bytes + offsets[i], size_bytes);
        tensor->string_bytes[i] = size_bytes;
    }
    return true;
}

static bool read_shape(const OrtApi *api, const OrtTensorTypeAndShapeInfo *info,
                       struct tensor *tensor, struct error *err) {
    size_t rank;
    ONNXTensorElementDataType type;
    TRY(api->GetTensorElementType(info, &type));
    tensor->type = value_tensor_type(type);
    if (tensor->type == TENSOR_OTHER) {
        return error_set(err, ERROR_MODEL_FAILED,
                         "an output is of a type that JSON cannot carry, %s", name_of_other(type));
    }
    TRY(api->GetDimensionsCount(info, &rank));
    if (rank > TENSOR_RANK_MAXIMUM) {
        return error_set(err, ERROR_MODEL_FAILED,
                         "an output has %zu dimensions; at most %d are read", rank,
                         TENSOR_RANK_MAXIMUM);
    }
    tensor->shape.rank = (uint32_t)rank;
    TRY(api->GetDimensions(info, tensor->shape.dimensions, rank));
    TRY(api->GetTensorShapeElementCount(info, &tensor->element_count));
    return true;
}

static bool read_tensor(const OrtApi *api, const OrtValue *value, struct arena *arena,
                        struct tensor *tensor, struct error *err) {
    OrtTensorTypeAndShapeInfo *info;
    TRY(api->GetTensorTypeAndShape(value, &info));
    bool ok = read_shape(api, info, tensor, err);
    api->ReleaseTensorTypeAndShapeInfo(info);
    if (!ok) {
        return false;
    }
    if (tensor->type == TENSOR_BYTES) {
        return read_strings(api, value, arena, tensor, err);
    }
    TRY(api->GetTensorMutableData((OrtValue *)(uintptr_t)value, &tensor->data));
    return true;
}

static bool append_value(const OrtApi *api, OrtAllocator *allocator, const OrtValue *value,
                         unsigned depth, struct arena *arena, struct text *out, struct error *err);

static bool append_child(const OrtApi *api, OrtAllocator *allocator, const OrtValue *value,
                         size_t index, unsigned depth, struct arena *arena, struct text *out,
                         struct error *err) {
    OrtValue *child;
    TRY(api->GetValue(value, (int)index, allocator, &child));
    bool ok = append_value(api, allocator, child, depth + 1, arena, out, err);
    api->ReleaseValue(child);
    return ok;
}

/* One element of a tensor of keys as the name of an object's member. */
static void append_key(const struct tensor *keys, size_t index, struct text *out) {
    if (keys->type == TENSOR_BYTES) {
        text_append_json_string(out, keys->strings[index]);
    } else {
        text_printf(out, "\"%lld\"", (long long)((const int64_t *)keys->data)[index]);
    }
}

/* The same tensor, narrowed to one element. */
static void append_element(const struct tensor *values, size_t index, struct text *out) {
    struct tensor one = *values;
    one.element_count = 1;
    one.shape = (struct tensor_shape){.rank = 1, .dimensions = {1}};
    if (values->type == TENSOR_BYTES) {
        one.strings = values->strings + index;
        one.string_bytes = values->string_bytes + index;
    } else {
        one.data = (char *)values->data + index * tensor_type_element_bytes(values->type);
    }
    elements_to_json(&one, out);
}

/* A map is two tensors of the same length, keys (strings or int64) and values. */
static bool append_map(const OrtApi *api, OrtAllocator *allocator, const OrtValue *value,
                       struct arena *arena, struct text *out, struct error *err) {
    OrtValue *parts[2] = {NULL, NULL};
    struct tensor tensors[2] = {{.name = "keys"}, {.name = "values"}};
    bool ok = true;
    for (int i = 0; i < 2 && ok; i++) {
        ok =
            value_ok(api, api->GetValue(value, i, allocator, &parts[i]), ERROR_MODEL_FAILED, err) &&
            read_tensor(api, parts[i], arena, &tensors[i], err);
    }
    if (ok && tensors[0].type != TENSOR_BYTES && tensors[0].type != TENSOR_INT64) {
        ok = error_set(err, ERROR_MODEL_FAILED, "a map has keys that are no strings and no INT64");
    }
    if (ok) {
        size_t count = MIN_OF(tensors[0].element_count, tensors[1].element_count);
        text_append_char(out, '{');
        for (size_t i = 0; i < count; i++) {
            text_append(out, i == 0 ? "" : ",");
            append_key(&tensors[0], i, out);
            text_append_char(out, ':');
            append_element(&tensors[1], i, out);
        }
        text_append_char(out, '}');
    }
    for (int i = 0; i < 2; i++) {
        if (parts[i] != NULL) {
            api->ReleaseValue(parts[i]);
        }
    }
    return ok;
}

static bool append_value(const OrtApi *api, OrtAllocator *allocator, const OrtValue *value,
                         unsigned depth, struct arena *arena, struct text *out, struct error *err) {
    enum ONNXType type;
    TRY(api->GetValueType(value, &type));
    if (depth > VALUE_DEPTH_MAXIMUM) {
        return error_set(err, ERROR_MODEL_FAILED, "an output is nested too deeply");
    }
    if (type == ONNX_TYPE_TENSOR) {
        struct tensor tensor = {0};
        if (!read_tensor(api, value, arena, &tensor, err)) {
            return false;
        }
        tensor_to_json(&tensor, out);
        return true;
    }
    if (type == ONNX_TYPE_MAP) {
        return append_map(api, allocator, value, arena, out, err);
    }
    if (type != ONNX_TYPE_SEQUENCE) {
        return error_set(err, ERROR_MODEL_FAILED, "an output is neither tensor, sequence nor map");
    }
    size_t count;
    TRY(api->GetValueCount(value, &count));
    text_append_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        text_append(out, i == 0 ? "" : ",");
        if (!append_child(api, allocator, value, i, depth, arena, out, err)) {
            return false;
        }
    }
    text_append_char(out, ']');
    return true;
}

bool value_to_json(const OrtApi *api, OrtAllocator *allocator, const char *name,
                   const OrtValue *value, struct arena *arena, struct text *out,
                   struct error *err) {
    enum ONNXType type = ONNX_TYPE_OPTIONAL;
    int has_value;
    TRY(api->HasValue(value, &has_value));
    if (has_value != 0) {
        TRY(api->GetValueType(value, &type));
    }
    if (type == ONNX_TYPE_TENSOR) {
        struct tensor tensor = {.name = name};
        if (!read_tensor(api, value, arena, &tensor, err)) {
            return error_prefix(err, "output '%s'", name);
        }
        tensor_to_json(&tensor, out);
        return true;
    }
    text_append(out, "{\"name\":");
    text_append_json_string(out, name);
    if (type == ONNX_TYPE_OPTIONAL) {
        text_append(out, ",\"datatype\":\"OPTIONAL\",\"data\":null}");
        return true;
    }
    text_printf(out, ",\"datatype\":\"%s\",\"data\":", type == ONNX_TYPE_MAP ? "MAP" : "SEQUENCE");
    if (!append_value(api, allocator, value, 0, arena, out, err)) {
        return error_prefix(err, "output '%s'", name);
    }
    text_append_char(out, '}');
    return true;
}
