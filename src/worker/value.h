/* For neighbours in worker/: between ONNX Runtime's values and ours. */
#ifndef ORRERY_WORKER_VALUE_H
#define ORRERY_WORKER_VALUE_H

#include "model/tensor.h"

#include <onnxruntime_c_api.h>

enum tensor_type value_tensor_type(ONNXTensorElementDataType type);

/* An ONNX Runtime value over the tensor's own memory (strings are copied). Release it before the tensor goes. */
MUST_CHECK bool value_from_tensor(const OrtApi *api, const OrtMemoryInfo *memory,
                                  OrtAllocator *allocator, const struct tensor *tensor,
                                  OrtValue **out_value, struct error *err);

/* Appends one output as JSON: a tensor as {"name", "shape", "datatype", "data"}; a sequence or a map (scikit-learn's
 * ZipMap) as {"name", "datatype": "SEQUENCE" | "MAP", "data"} with an array (of tensors without names, or maps) or
 * an object; an optional without a value as {"name", "datatype": "OPTIONAL", "data": null}. */
MUST_CHECK bool value_to_json(const OrtApi *api, OrtAllocator *allocator, const char *name,
                              const OrtValue *value, struct arena *arena, struct text *out,
                              struct error *err);

/* True if the status is none; else fills the error with its message and releases it. */
bool value_ok(const OrtApi *api, OrtStatus *status, enum error_kind kind, struct error *err);

#endif
