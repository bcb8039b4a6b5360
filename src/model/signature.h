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
    TENSOR_BF16,
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
    TENSOR_BYTES,    /* strings */
    TENSOR_SEQUENCE, /* a list of tensors of one type, or of maps */
    TENSOR_MAP,      /* only comes out */
    TENSOR_OTHER,    /* a type that JSON cannot carry; as an input: refused */
};

enum {
    TENSOR_RANK_MAXIMUM = 16,
    TENSOR_RANK_UNKNOWN = 17,         /* of a signature: any number of dimensions */
    SIGNATURE_TENSORS_MAXIMUM = 4096, /* inputs, and outputs, of one model */
    TENSOR_SHAPE_BYTES = 384,         /* a shape as text */
};

struct tensor_shape {
    uint32_t rank; /* 0: a scalar; TENSOR_RANK_UNKNOWN has no dimensions */
    int64_t dimensions[TENSOR_RANK_MAXIMUM];
};

struct tensor_signature {
    const char *name;
    enum tensor_type type;
    struct tensor_shape shape;     /* of a sequence: unknown; each tensor has its own */
    enum tensor_type element_type; /* of a sequence; else TENSOR_FP16 */
};

struct signature {
    struct tensor_signature *inputs;
    size_t input_count;
    struct tensor_signature *outputs;
    size_t output_count;
};

const char *tensor_type_name(enum tensor_type type);
MUST_CHECK bool tensor_type_parse(const char *name, enum tensor_type *out_type);
/* Bytes of one element; 0 for TENSOR_BYTES and what is no tensor. */
size_t tensor_type_element_bytes(enum tensor_type type);

/* "[-1, 30]"; "null" if it is not known. */
void tensor_shape_append(const struct tensor_shape *shape, struct text *out);
const char *tensor_shape_format(const struct tensor_shape *shape,
                                char out[static TENSOR_SHAPE_BYTES]);

/* For messages: "FP32 [-1, 30]", "FP32 of any shape", "a sequence of FP32". */
void tensor_signature_append(const struct tensor_signature *tensor, struct text *out);

/* A deep copy in the arena. */
void signature_copy(const struct signature *from, struct arena *arena, struct signature *out);

/* A signature as JSON {"inputs": [{"name", "datatype", "shape"}], "outputs": […]} and back; a sequence has "of", the
 * datatype of what is in it, instead of a shape. This is what a
 * worker answers to "describe" and what GET /api/models/{name} shows. Reading fails with ERROR_MALFORMED. */
void signature_to_json(const struct signature *signature, struct text *out);
MUST_CHECK bool signature_from_json(yyjson_val *json, struct arena *arena, struct signature *out,
                                    struct error *err);

#endif
