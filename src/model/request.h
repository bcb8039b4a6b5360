/* For parameters in the Open Inference Protocol's form, what may stand beside "inputs": the rest of that protocol's
 * request.
 *
 *   "id"          a string; the caller's
 *   "parameters"  an object; none is known, so it is not looked at
 *   "outputs"     [{"name", "parameters"}]: only these outputs are wanted, in this order
 *
 * Errors are ERROR_INVALID_PARAMETERS, field "parameters". Pure; any thread. */
#ifndef ORRERY_MODEL_REQUEST_H
#define ORRERY_MODEL_REQUEST_H

#include "model/signature.h"

/* Checks all that is not "inputs". */
MUST_CHECK bool request_check(const struct signature *signature, yyjson_val *parameters,
                              struct error *err);

/* Of parameters that were checked: the numbers of the outputs that are wanted, in the arena. Without "outputs", or with
 * an empty list, these are all. */
void request_outputs(const struct signature *signature, yyjson_val *parameters, struct arena *arena,
                     size_t **out_outputs, size_t *out_count);

#endif
