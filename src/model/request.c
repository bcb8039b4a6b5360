#include "model/request.h"

#include <string.h>

/* SIZE_MAX: there is none of this name. */
static size_t find_output(const struct signature *signature, const char *name) {
    for (size_t i = 0; name != NULL && i < signature->output_count; i++) {
        if (strcmp(signature->outputs[i].name, name) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

static bool refuse(struct error *err, const char *sentence) {
    return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters", "%s", sentence);
}

static bool check_output(const struct signature *signature, yyjson_val *output, size_t index,
                         struct error *err) {
    yyjson_obj_iter iterator = yyjson_obj_iter_with(output);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator)) != NULL;) {
        if (!yyjson_equals_str(key, "name") && !yyjson_equals_str(key, "parameters")) {
            return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                                   "parameters.outputs[%zu].%.60s is not known; an output has name "
                                   "and parameters",
                                   index, yyjson_get_str(key));
        }
    }
    const char *name = yyjson_get_str(yyjson_obj_get(output, "name"));
    if (name == NULL) {
        return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                               "parameters.outputs[%zu] has no name", index);
    }
    if (find_output(signature, name) == SIZE_MAX) {
        return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                               "parameters.outputs[%zu]: the model has no output '%.60s'", index,
                               name);
    }
    return true;
}

static bool check_outputs(const struct signature *signature, yyjson_val *outputs,
                          struct error *err) {
    if (!yyjson_is_arr(outputs) || yyjson_arr_size(outputs) > signature->output_count) {
        return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                               "parameters.outputs is not a list of at most %zu, the model's "
                               "outputs",
                               signature->output_count);
    }
    bool seen[SIGNATURE_TENSORS_MAXIMUM] = {false};
    size_t index;
    size_t count;
    yyjson_val *output;
    yyjson_arr_foreach(outputs, index, count, output) {
        if (!check_output(signature, output, index, err)) {
            return false;
        }
        const char *name = yyjson_get_str(yyjson_obj_get(output, "name"));
        size_t at = find_output(signature, name);
        if (seen[at]) {
            return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                                   "parameters.outputs[%zu]: output '%.60s' is asked for twice",
                                   index, name);
        }
        seen[at] = true;
    }
    return true;
}

bool request_check(const struct signature *signature, yyjson_val *parameters, struct error *err) {
    ASSERT(signature->output_count <= SIGNATURE_TENSORS_MAXIMUM);
    yyjson_obj_iter iterator = yyjson_obj_iter_with(parameters);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator)) != NULL;) {
        yyjson_val *value = yyjson_obj_iter_get_val(key);
        if (yyjson_equals_str(key, "inputs")) {
            continue;
        }
        if (yyjson_equals_str(key, "id")) {
            if (!yyjson_is_str(value)) {
                return refuse(err, "parameters.id is not a string");
            }
        } else if (yyjson_equals_str(key, "parameters")) {
            if (!yyjson_is_obj(value)) {
                return refuse(err, "parameters.parameters is not an object");
            }
        } else if (!yyjson_equals_str(key, "outputs")) {
            return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                                   "parameters.%.60s is not known; beside \"inputs\" there may be "
                                   "\"id\", \"parameters\" and \"outputs\"",
                                   yyjson_get_str(key));
        } else if (!check_outputs(signature, value, err)) {
            return false;
        }
    }
    return true;
}

void request_outputs(const struct signature *signature, yyjson_val *parameters, struct arena *arena,
                     size_t **out_outputs, size_t *out_count) {
    yyjson_val *outputs = yyjson_obj_get(parameters, "outputs");
    size_t wanted = yyjson_arr_size(outputs);
    size_t count = wanted == 0 ? signature->output_count : wanted;
    size_t *numbers = arena_alloc(arena, (count + 1) * sizeof *numbers);
    for (size_t i = 0; i < count && wanted == 0; i++) {
        numbers[i] = i;
    }
    size_t index;
    size_t ignored_count;
    yyjson_val *output;
    yyjson_arr_foreach(outputs, index, ignored_count, output) {
        numbers[index] = find_output(signature, yyjson_get_str(yyjson_obj_get(output, "name")));
        ASSERT(numbers[index] != SIZE_MAX);
    }
    *out_outputs = numbers;
    *out_count = count;
}
