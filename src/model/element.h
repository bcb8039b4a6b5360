/* One element of a tensor and its JSON forms; for neighbours of tensor.h. */
#ifndef ORRERY_MODEL_ELEMENT_H
#define ORRERY_MODEL_ELEMENT_H

#include "model/tensor.h"

/* Reads a JSON value as element `index` of the tensor, by the tensor's type; where the tensor's memory is NULL
 * it only checks. Strings are copied to the arena (NULL: only checks). Numbers are read exactly from values that
 * were parsed with YYJSON_READ_NUMBER_AS_RAW; from other ones as exactly as the parser kept them. False with
 * a reason such as "expected a number, got a string" that names no place. */
MUST_CHECK bool element_from_json(yyjson_val *value, struct tensor *tensor, size_t index,
                                  struct arena *arena, struct error *err);

/* "a number", "a list", … */
const char *json_kind_name(yyjson_val *value);

/* Appends the elements as "1.0, 2.5". */
void elements_to_json(const struct tensor *tensor, struct text *out);

/* Appends a JSON string, or {"b64": "…"} for bytes that are not UTF-8. */
void json_append_bytes(struct text *out, const char *bytes, size_t size_bytes);

#endif
