/* A model's signature: what goes in and what comes out. Tensors by the Open Inference Protocol's names
 * (V2: FP32, INT64, BYTES, …) and shapes, -1 for a dynamic dimension. Plain values in an arena. */
#ifndef ORRERY_MODEL_SIGNATURE_H
#define ORRERY_MODEL_SIGNATURE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

#include <yyjson.h>

/* In the order of tensor_type_name's table. */
enum tensor_type {
    TENSOR_FP16,
    TENSOR_FP32,
    TENSOR_FP64,
    TENSOR_INT8,
    TENSOR_INT16,
    TENSOR_INT32,
    TENSOR_INT64,
    TENSOR_UINT8,
    TENSOR_UINT16,
    TENSOR_UINT32,
    TENSOR_UINT64,
    TENSOR_BOOL,
    TENSOR_BYTES, /* strings */
    TENSOR_OTHER, /* a sequence, a map, or a type that JSON cannot carry; as an input: refused */
};

enum {
    TENSOR_RANK_MAXIMUM = 16,
    SIGNATURE_TENSORS_MAXIMUM = 4096, /* inputs, and outputs, of one model */
    TENSOR_SHAPE_BYTES = 384,         /* a shape as text */
};

struct tensor_shape {
    uint32_t rank; /* 0: a scalar */
    int64_t dimensions[TENSOR_RANK_MAXIMUM];
};

struct tensor_signature {
    const char *name;
    enum tensor_type type;
    struct tensor_shape shape;
};

struct signature {
    struct tensor_signature *inputs;
    size_t input_count;
    struct tensor_signature *outputs;
    size_t output_count;
};

const char *tensor_type_name(enum tensor_type type);
MUST_CHECK bool tensor_type_parse(const char *name, enum tensor_type *out_type);
/* Bytes of one element; 0 for TENSOR_BYTES and TENSOR_OTHER. */
size_t tensor_type_element_bytes(enum tensor_type type);

/* "[-1, 30]" */
void tensor_shape_append(const struct tensor_shape *shape, struct text *out);
const char *tensor_shape_format(const struct tensor_shape *shape,
                                char out[static TENSOR_SHAPE_BYTES]);

/* A deep copy in the arena. */
void signature_copy(const struct signature *from, struct arena *arena, struct signature *out);

/* A signature as JSON {"inputs": [{"name", "datatype", "shape"}], "outputs": […]} and back; this is what a
 * worker answers to "describe" and what GET /api/models/{name} shows. Reading fails with ERROR_MALFORMED. */
void signature_to_json(const struct signature *signature, struct text *out);
MUST_CHECK bool signature_from_json(yyjson_val *json, struct arena *arena, struct signature *out,
                                    struct error *err);

#endif
