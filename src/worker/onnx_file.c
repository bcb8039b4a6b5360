#include "worker/onnx_file.h"

#include <string.h>

/* Numbers of fields. */
enum {
    MODEL_GRAPH = 7,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    VALUE_NAME = 1,
    VALUE_TYPE = 2,
    TYPE_TENSOR = 1,
    TENSOR_SHAPE = 2,
};

enum { WIRE_VARINT = 0, WIRE_64_BITS = 1, WIRE_BYTES = 2, WIRE_32_BITS = 5 };

struct span {
    const unsigned char *at;
    size_t size_bytes;
};

static bool take(struct span *message, uint64_t size_bytes, struct span *out) {
    if (size_bytes > message->size_bytes) {
        return false;
    }
    *out = (struct span){message->at, (size_t)size_bytes};
    message->at += size_bytes;
    message->size_bytes -= (size_t)size_bytes;
    return true;
}

static bool take_varint(struct span *message, uint64_t *out) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        struct span byte;
        if (!take(message, 1, &byte)) {
            return false;
        }
        value |= (uint64_t)(*byte.at & 0x7f) << shift;
        if (*byte.at < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* The next field; `out` is its content if that is bytes, and else empty. False at the end, or where there is none. */
static bool next_field(struct span *message, uint64_t *out_number, struct span *out) {
    uint64_t key;
    uint64_t value;
    *out = (struct span){0};
    if (!take_varint(message, &key)) {
        return false;
    }
    *out_number = key >> 3;
    switch (key & 7) {
    case WIRE_VARINT:
        return take_varint(message, &value);
    case WIRE_BYTES:
        return take_varint(message, &value) && take(message, value, out);
    case WIRE_64_BITS:
    case WIRE_32_BITS: {
        struct span ignored;
        return take(message, (key & 7) == WIRE_64_BITS ? 8 : 4, &ignored);
    }
    default:
        return false;
    }
}

/* The last field of a number, which counts where there are several. */
static bool find_field(struct span message, uint64_t wanted, struct span *out) {
    uint64_t number;
    struct span content;
    bool found = false;
    while (next_field(&message, &number, &content)) {
        if (number == wanted) {
            *out = content;
            found = true;
        }
    }
    return found;
}

static bool is_named(struct span value, const char *name) {
    struct span given;
    return find_field(value, VALUE_NAME, &given) && given.size_bytes == strlen(name) &&
           memcmp(given.at, name, given.size_bytes) == 0;
}

bool onnx_file_lacks_shape(const char *bytes, size_t size_bytes, const char *name) {
    struct span model = {(const unsigned char *)bytes, size_bytes};
    struct span graph;
    struct span value;
    uint64_t number;
    if (!find_field(model, MODEL_GRAPH, &graph)) {
        return false;
    }
    while (next_field(&graph, &number, &value)) {
        struct span type;
        struct span tensor;
        struct span ignored_shape;
        if ((number == GRAPH_INPUT || number == GRAPH_OUTPUT) && is_named(value, name)) {
            return find_field(value, VALUE_TYPE, &type) && find_field(type, TYPE_TENSOR, &tensor) &&
                   !find_field(tensor, TENSOR_SHAPE, &ignored_shape);
        }
    }
    return false;
}
