/* Tensors and their JSON forms.
 *
 * Parameters of a local model, one of:
 *   {"data": [[1.0, 2.0], …]}                     rows, for a model with one input; or with one input a
 *                                                 feature (each [n,1] or [n]), in the order of inputs
 *   {"data": [{"feature": 1.0, …}, …]}            rows by name: one input a feature, by input name
 *   {"inputs": [{"name", "shape", "datatype", "data"}]}   the Open Inference Protocol's form, data
 *                                                 flat or nested, row-major; may be its whole request (request.h)
 *                                                 A sequence has the datatype "SEQUENCE", no shape, and in
 *                                                 data a list of {"shape", "datatype", "data"}.
 * The result: {"model_name", "model_version", "outputs": [{"name", "shape", "datatype", "data"}]}, data
 * flat. Floats are written with the fewest digits that read back to the same bits; NaN and the infinities,
 * which JSON lacks, as the strings "NaN", "Infinity", "-Infinity", both ways. Strings that are not UTF-8
 * come out as {"b64": "…"}.
 *
 * What does not fit the signature fails with ERROR_INVALID_PARAMETERS, field "parameters", and a sentence
 * that names the input or the row and column, the expected and the given shape and type. Pure; any
 * thread. */
#ifndef ORRERY_MODEL_TENSOR_H
#define ORRERY_MODEL_TENSOR_H

#include "model/signature.h"

struct tensor {
    const char *name; /* NULL in a sequence */
    enum tensor_type type;
    struct tensor_shape shape; /* all dimensions known; unknown for TENSOR_SEQUENCE */
    size_t element_count;
    void *data;              /* element_count elements; NULL for TENSOR_BYTES and TENSOR_SEQUENCE */
    struct tensor *elements; /* TENSOR_SEQUENCE: element_count tensors of one type */
    const char **strings;    /* TENSOR_BYTES: element_count pointers … */
    size_t *string_bytes;    /* … and lengths */
};

/* Reads parameters into one tensor per input of the signature, in its order. With a NULL arena it only
 * checks, and allocates nothing. `parameters` NULL or JSON null is taken for a model without inputs. */
MUST_CHECK bool tensors_from_json(const struct signature *signature, yyjson_val *parameters,
                                  struct arena *arena, struct tensor *out_tensors,
                                  struct error *err);

/* Appends one output's JSON object {"name", "shape", "datatype", "data"}, without a name if it has none. */
void tensor_to_json(const struct tensor *tensor, struct text *out);

#endif
