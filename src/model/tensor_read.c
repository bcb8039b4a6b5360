/* Parameters to tensors: the shapes that data may come in. A value is visited twice: first the lists' lengths are
 * compared with the shape, so that memory is only taken for elements that are there; then the elements. */
#include "model/element.h"
#include "model/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Of any place, and of an input: "parameters.inputs[12]". */
enum { PLACE_BYTES = 160, ROOT_BYTES = 48 };

/* What is being read, and where in the parameters it stands. */
struct reader {
    const struct tensor_signature *input;
    const char *root; /* "parameters.data" */
    size_t at[TENSOR_RANK_MAXIMUM + 1];
    uint32_t depth;
    struct tensor *tensor;
    struct arena *arena;
    size_t next;
};

static const char *place(const struct reader *reader, char out[static PLACE_BYTES]) {
    int used = snprintf(out, PLACE_BYTES, "%s", reader->root);
    for (uint32_t i = 0; i < reader->depth && used < PLACE_BYTES; i++) {
        used += snprintf(out + used, PLACE_BYTES - (size_t)used, "[%zu]", reader->at[i]);
    }
    return out;
}

/* "parameters.data[3] has 29 values, expected 30 (input 'features' is FP32 [-1, 30])" */
static bool refuse(const struct reader *reader, struct error *err, const char *format, ...)
    PRINTF_LIKE(3, 4);

static bool refuse(const struct reader *reader, struct error *err, const char *format, ...) {
    char where[PLACE_BYTES];
    char what[200];
    struct text expected CLEANUP(text_fini);
    text_init(&expected, TENSOR_SHAPE_BYTES);
    tensor_signature_append(reader->input, &expected);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                           "%s %s (input '%.60s' is %s)", place(reader, where), what,
                           reader->input->name, text_string(&expected));
}

static bool refuse_element(const struct reader *reader, struct error *err) {
    char reason[sizeof err->message];
    memcpy(reason, err->message, sizeof reason);
    return refuse(reader, err, "is wrong: %.180s", reason);
}

static const char *plural(size_t count, const char *word, char out[static 48]) {
    snprintf(out, 48, "%zu %s%s", count, word, count == 1 ? "" : "s");
    return out;
}

static bool refuse_length(const struct reader *reader, size_t given, int64_t expected,
                          struct error *err) {
    char counted[48];
    const char *word = reader->depth == 0 && reader->tensor->shape.rank > 1 ? "row" : "value";
    return refuse(reader, err, "has %s, expected %lld", plural(given, word, counted),
                  (long long)expected);
}

/* --- memory ------------------------------------------------------------------------------------ */

static bool count_elements(const struct tensor_shape *shape, size_t *out_count) {
    size_t count = 1;
    bool empty = false;
    bool overflow = false;
    for (uint32_t i = 0; i < shape->rank; i++) {
        empty = empty || shape->dimensions[i] == 0;
        overflow = overflow || __builtin_mul_overflow(count, (size_t)shape->dimensions[i], &count);
    }
    *out_count = empty ? 0 : count;
    return empty || !overflow;
}

/* Memory for the elements, whose number was compared with what is there. */
static void allocate(struct tensor *tensor, struct arena *arena) {
    if (arena == NULL) {
        return;
    }
    if (tensor->type == TENSOR_BYTES) {
        tensor->strings = arena_alloc(arena, tensor->element_count * sizeof *tensor->strings);
        tensor->string_bytes =
            arena_alloc(arena, tensor->element_count * sizeof *tensor->string_bytes);
    } else {
        tensor->data =
            arena_alloc(arena, tensor->element_count * tensor_type_element_bytes(tensor->type));
    }
}

/* --- nested lists ------------------------------------------------------------------------------ */

static bool check_lengths(struct reader *reader, yyjson_val *value, struct error *err) {
    const struct tensor_shape *shape = &reader->tensor->shape;
    if (reader->depth == shape->rank) {
        return true;
    }
    if (!yyjson_is_arr(value)) {
        return refuse(reader, err, "is %s, expected a list of %lld", json_kind_name(value),
                      (long long)shape->dimensions[reader->depth]);
    }
    if (yyjson_arr_size(value) != (size_t)shape->dimensions[reader->depth]) {
        return refuse_length(reader, yyjson_arr_size(value), shape->dimensions[reader->depth], err);
    }
    if (reader->depth + 1 == shape->rank) {
        return true;
    }
    yyjson_arr_iter rows = yyjson_arr_iter_with(value);
    uint32_t depth = reader->depth++;
    for (size_t i = 0; yyjson_arr_iter_has_next(&rows); i++) {
        reader->at[depth] = i;
        if (!check_lengths(reader, yyjson_arr_iter_next(&rows), err)) {
            return false;
        }
    }
    reader->depth = depth;
    return true;
}

static bool read_element(struct reader *reader, yyjson_val *value, struct error *err) {
    return element_from_json(value, reader->tensor, reader->next++, reader->arena, err) ||
           refuse_element(reader, err);
}

static bool read_elements(struct reader *reader, yyjson_val *value, struct error *err) {
    uint32_t depth = reader->depth;
    uint32_t rank = reader->tensor->shape.rank;
    if (depth == rank) {
        return read_element(reader, value, err);
    }
    yyjson_arr_iter values = yyjson_arr_iter_with(value);
    reader->depth++;
    for (size_t i = 0; yyjson_arr_iter_has_next(&values); i++) {
        yyjson_val *next = yyjson_arr_iter_next(&values);
        reader->at[depth] = i;
        if (depth + 1 == rank ? !read_element(reader, next, err)
                              : !read_elements(reader, next, err)) {
            return false;
        }
    }
    reader->depth = depth;
    return true;
}

/* Reads lists nested as deep as the tensor's shape, all dimensions of which are known. */
static bool read_nested(struct reader *reader, yyjson_val *value, struct error *err) {
    if (!check_lengths(reader, value, err)) {
        return false;
    }
    if (!count_elements(&reader->tensor->shape, &reader->tensor->element_count)) {
        return refuse(reader, err, "has too many values");
    }
    allocate(reader->tensor, reader->arena);
    return read_elements(reader, value, err);
}

/* How deep lists are nested, by the first of each level. */
static uint32_t nesting(yyjson_val *value) {
    uint32_t depth = 0;
    for (; yyjson_is_arr(value) && depth < TENSOR_RANK_MAXIMUM; depth++) {
        value = yyjson_arr_get_first(value);
    }
    return depth;
}

/* The shape of nested lists, by the first of each level. Below an empty list a dynamic dimension is 0. */
static bool infer_shape(struct reader *reader, yyjson_val *data, struct error *err) {
    const struct tensor_shape *expected = &reader->input->shape;
    struct tensor_shape *shape = &reader->tensor->shape;
    yyjson_val *value = data;
    shape->rank = expected->rank == TENSOR_RANK_UNKNOWN ? nesting(data) : expected->rank;
    for (uint32_t i = 0; i < shape->rank; i++) {
        int64_t dimension = expected->rank == TENSOR_RANK_UNKNOWN ? -1 : expected->dimensions[i];
        if (value == NULL) {
            shape->dimensions[i] = dimension < 0 ? 0 : dimension;
            continue;
        }
        if (!yyjson_is_arr(value)) {
            return refuse(reader, err, "is %s, expected lists nested %u deep",
                          json_kind_name(value), expected->rank);
        }
        int64_t given = (int64_t)yyjson_arr_size(value);
        if (dimension >= 0 && dimension != given) {
            return refuse_length(reader, (size_t)given, dimension, err);
        }
        shape->dimensions[i] = given;
        value = yyjson_arr_get_first(value);
        reader->at[reader->depth++] = 0;
    }
    reader->depth = 0;
    return true;
}

/* --- {"data": …} ------------------------------------------------------------------------------- */

/* [rows, columns], or [rows] for one column; dimensions beyond the rank stay 0. */
static struct tensor_shape table_shape(uint32_t rank, size_t rows, size_t columns) {
    struct tensor_shape shape = {.rank = rank, .dimensions = {(int64_t)rows}};
    if (rank == 2) {
        shape.dimensions[1] = (int64_t)columns;
    }
    return shape;
}

/* Whether the input is one column of a table, [n] or [n, 1]; then its shape for n rows. */
static bool column_shape(const struct tensor_signature *input, size_t row_count,
                         struct tensor_shape *out) {
    const struct tensor_shape *shape = &input->shape;
    if (shape->rank < 1 || shape->rank > 2 ||
        (shape->dimensions[0] >= 0 && (size_t)shape->dimensions[0] != row_count) ||
        (shape->rank == 2 && shape->dimensions[1] != 1 && shape->dimensions[1] != -1)) {
        return false;
    }
    *out = table_shape(shape->rank, row_count, 1);
    return true;
}

/* The value of a row, a list or an object, for column `column`. `iterator` stands at it in a list, and most
 * likely in an object, too. */
static yyjson_val *column_value(yyjson_val *row, yyjson_arr_iter *list, yyjson_obj_iter *object,
                                const char *name) {
    return yyjson_is_arr(row) ? yyjson_arr_iter_next(list) : yyjson_obj_iter_get(object, name);
}

static bool check_row(struct reader *reader, yyjson_val *row, size_t column_count,
                      struct error *err) {
    if (!yyjson_is_arr(row) && !yyjson_is_obj(row)) {
        return refuse(reader, err, "is %s, expected a row of %zu values", json_kind_name(row),
                      column_count);
    }
    size_t given = yyjson_is_arr(row) ? yyjson_arr_size(row) : yyjson_obj_size(row);
    return given == column_count || refuse_length(reader, given, (int64_t)column_count, err);
}

/* Rows for a model with one input a feature: column i of the table is input i, by place or by name. */
static bool read_columns(const struct signature *signature, yyjson_val *data, struct arena *arena,
                         struct tensor *tensors, struct error *err) {
    struct tensor unused = {.shape = {.rank = 2}};
    struct reader reader = {.input = &signature->inputs[0],
                            .root = "parameters.data",
                            .arena = arena,
                            .tensor = &unused};
    size_t row_count = yyjson_arr_size(data);
    for (size_t i = 0; i < signature->input_count; i++) {
        struct tensor tensor = {.name = signature->inputs[i].name,
                                .type = signature->inputs[i].type};
        if (!column_shape(&signature->inputs[i], row_count, &tensor.shape)) {
            reader.input = &signature->inputs[i];
            return refuse(&reader, err,
                          "cannot be rows: an input is no column of %zu; use \"inputs\"",
                          row_count);
        }
        tensor.element_count = row_count;
        allocate(&tensor, arena);
        if (tensors != NULL) {
            tensors[i] = tensor;
        }
    }
    size_t index;
    size_t count;
    yyjson_val *row;
    yyjson_arr_foreach(data, index, count, row) {
        reader.at[0] = index;
        reader.depth = 1;
        reader.input = &signature->inputs[0];
        if (!check_row(&reader, row, signature->input_count, err)) {
            return false;
        }
        yyjson_arr_iter list = yyjson_arr_iter_with(row);
        yyjson_obj_iter object = yyjson_obj_iter_with(row);
        for (size_t i = 0; i < signature->input_count; i++) {
            reader.input = &signature->inputs[i];
            unused.type = reader.input->type;
            yyjson_val *value = column_value(row, &list, &object, reader.input->name);
            if (value == NULL) {
                return refuse(&reader, err, "lacks '%.60s'", reader.input->name);
            }
            if (!element_from_json(value, tensors == NULL ? &unused : &tensors[i], index, arena,
                                   err)) {
                reader.at[1] = i;
                reader.depth = 2;
                return refuse_element(&reader, err);
            }
        }
    }
    return true;
}

/* Rows by name for one input [n, features]: the model does not know the names, so the first row's order is the
 * columns' order, and each further row must have the same names. */
static bool read_named_rows(struct reader *reader, yyjson_val *data, struct error *err) {
    static const struct tensor_shape any_table = {.rank = 2, .dimensions = {-1, -1}};
    const struct tensor_shape *expected =
        reader->input->shape.rank == TENSOR_RANK_UNKNOWN ? &any_table : &reader->input->shape;
    struct tensor *tensor = reader->tensor;
    yyjson_val *first = yyjson_arr_get_first(data);
    size_t columns = yyjson_obj_size(first);
    size_t rows = yyjson_arr_size(data);
    bool one_column = expected->rank == 1 && columns == 1;
    if (expected->rank != 2 && !one_column) {
        return refuse(reader, err, "has rows by name, which only fit an input of two dimensions");
    }
    tensor->shape = table_shape(expected->rank, rows, columns);
    for (uint32_t i = 0; i < expected->rank; i++) {
        if (expected->dimensions[i] >= 0 &&
            expected->dimensions[i] != tensor->shape.dimensions[i]) {
            reader->depth = i;
            return refuse_length(reader, (size_t)tensor->shape.dimensions[i],
                                 expected->dimensions[i], err);
        }
    }
    size_t index;
    size_t count;
    yyjson_val *row;
    reader->depth = 1;
    yyjson_arr_foreach(data, index, count, row) {
        reader->at[0] = index;
        if (!yyjson_is_obj(row) || yyjson_obj_size(row) != columns) {
            return refuse(reader, err, "has other names than the first row");
        }
    }
    tensor->element_count = rows * columns;
    allocate(tensor, reader->arena);
    yyjson_arr_foreach(data, index, count, row) {
        reader->at[0] = index;
        yyjson_obj_iter names = yyjson_obj_iter_with(first);
        yyjson_obj_iter values = yyjson_obj_iter_with(row);
        for (yyjson_val *name; (name = yyjson_obj_iter_next(&names)) != NULL;) {
            yyjson_val *value =
                yyjson_obj_iter_getn(&values, yyjson_get_str(name), yyjson_get_len(name));
            if (value == NULL) {
                return refuse(reader, err, "lacks '%.60s', which the first row has",
                              yyjson_get_str(name));
            }
            if (!element_from_json(value, tensor, reader->next++, reader->arena, err)) {
                reader->at[1] = (reader->next - 1) % columns;
                reader->depth = 2;
                return refuse_element(reader, err);
            }
        }
    }
    return true;
}

static bool read_data(const struct signature *signature, yyjson_val *data, struct arena *arena,
                      struct tensor *out_tensors, struct error *err) {
    if (signature->input_count == 0) {
        return yyjson_arr_size(data) == 0 ||
               error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                               "parameters.data is given, but the model has no inputs");
    }
    if (signature->input_count > 1) {
        return yyjson_is_arr(data)
                   ? read_columns(signature, data, arena, out_tensors, err)
                   : error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                                     "parameters.data is %s, expected a list of rows",
                                     json_kind_name(data));
    }
    const struct tensor_signature *input = &signature->inputs[0];
    struct tensor tensor = {.name = input->name, .type = input->type};
    struct reader reader = {
        .input = input, .root = "parameters.data", .tensor = &tensor, .arena = arena};
    if (input->type == TENSOR_SEQUENCE) {
        return refuse(&reader, err, "cannot be a sequence; use \"inputs\"");
    }
    yyjson_val *first = yyjson_is_arr(data) ? yyjson_arr_get_first(data) : NULL;
    bool named = yyjson_is_obj(first) &&
                 (input->type != TENSOR_BYTES || yyjson_obj_get(first, "b64") == NULL);
    if (named ? !read_named_rows(&reader, data, err)
              : !infer_shape(&reader, data, err) || !read_nested(&reader, data, err)) {
        return false;
    }
    if (out_tensors != NULL) {
        out_tensors[0] = tensor;
    }
    return true;
}

/* --- {"inputs": […]} --------------------------------------------------------------------------- */

static bool read_shape(struct reader *reader, yyjson_val *json, struct error *err) {
    const struct tensor_shape *expected = &reader->input->shape;
    struct tensor_shape *shape = &reader->tensor->shape;
    if (!yyjson_is_arr(json)) {
        return refuse(reader, err, "has no \"shape\", which is a list of whole numbers");
    }
    bool is_any = expected->rank == TENSOR_RANK_UNKNOWN;
    bool fits = is_any ? yyjson_arr_size(json) <= TENSOR_RANK_MAXIMUM
                       : yyjson_arr_size(json) == expected->rank;
    size_t index;
    size_t count;
    yyjson_val *value;
    struct tensor numbers = {.type = TENSOR_INT64};
    yyjson_arr_foreach(json, index, count, value) {
        int64_t dimension = 0;
        numbers.data = &dimension;
        if (!element_from_json(value, &numbers, 0, NULL, err) || dimension < 0) {
            return refuse(reader, err, "has a shape with something else than whole numbers from 0");
        }
        if (index < TENSOR_RANK_MAXIMUM) {
            shape->dimensions[index] = dimension;
        }
        fits = fits && (is_any || expected->dimensions[index] < 0 ||
                        expected->dimensions[index] == dimension);
    }
    shape->rank = (uint32_t)MIN_OF(count, (size_t)TENSOR_RANK_MAXIMUM);
    if (!fits) {
        char given[TENSOR_SHAPE_BYTES];
        return refuse(reader, err, "has the shape %s", tensor_shape_format(shape, given));
    }
    return true;
}

static bool is_flat(yyjson_val *data, const struct tensor_shape *shape) {
    return shape->rank == 0 || (shape->rank > 1 && !yyjson_is_arr(yyjson_arr_get_first(data)));
}

static bool read_input_data(struct reader *reader, yyjson_val *data, struct error *err) {
    struct tensor *tensor = reader->tensor;
    if (data == NULL) {
        return refuse(reader, err, "has no \"data\"");
    }
    if (!count_elements(&tensor->shape, &tensor->element_count)) {
        return refuse(reader, err, "has a shape that is too large");
    }
    struct tensor_shape shape = tensor->shape;
    bool scalar = shape.rank == 0 && !yyjson_is_arr(data);
    if (!scalar && is_flat(data, &shape)) {
        tensor->shape =
            (struct tensor_shape){.rank = 1, .dimensions = {(int64_t)tensor->element_count}};
    }
    if (!read_nested(reader, data, err)) {
        return false;
    }
    tensor->shape = shape;
    return true;
}

static const struct tensor_signature *find_input(const struct signature *signature,
                                                 const char *name) {
    for (size_t i = 0; name != NULL && i < signature->input_count; i++) {
        if (strcmp(signature->inputs[i].name, name) == 0) {
            return &signature->inputs[i];
        }
    }
    return NULL;
}

static bool check_input_keys(yyjson_val *json, const char *root, struct error *err) {
    size_t at;
    size_t count;
    yyjson_val *key;
    yyjson_val *ignored_value;
    yyjson_obj_foreach(json, at, count, key, ignored_value) {
        static const char *const keys[] = {"name", "shape", "datatype", "data", "parameters"};
        bool known = false;
        for (size_t i = 0; i < COUNT_OF(keys); i++) {
            known = known || yyjson_equals_str(key, keys[i]);
        }
        if (!known) {
            return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                                   "%s.%.60s is not known; an input has name, shape, datatype "
                                   "and data",
                                   root, yyjson_get_str(key));
        }
    }
    return true;
}

static bool check_datatype(const struct reader *reader, yyjson_val *json, struct error *err) {
    const char *datatype = yyjson_get_str(yyjson_obj_get(json, "datatype"));
    if (datatype == NULL) {
        return refuse(reader, err, "has no \"datatype\"");
    }
    return strcmp(datatype, tensor_type_name(reader->tensor->type)) == 0 ||
           refuse(reader, err, "has the datatype %.40s", datatype);
}

/* {"shape", "datatype", "data"} at `root`. */
static bool read_value(const struct tensor_signature *input, yyjson_val *json, const char *root,
                       struct arena *arena, struct tensor *tensor, struct error *err) {
    char data_root[PLACE_BYTES];
    struct reader reader = {.input = input, .root = root, .tensor = tensor, .arena = arena};
    if (!check_input_keys(json, root, err) || !check_datatype(&reader, json, err) ||
        !read_shape(&reader, yyjson_obj_get(json, "shape"), err)) {
        return false;
    }
    snprintf(data_root, sizeof data_root, "%s.data", root);
    reader.root = data_root;
    return read_input_data(&reader, yyjson_obj_get(json, "data"), err);
}

/* {"datatype": "SEQUENCE", "data": [{"shape", "datatype", "data"}, …]}; each tensor has a shape of its own. */
static bool read_sequence(const struct tensor_signature *input, yyjson_val *json, const char *root,
                          struct arena *arena, struct tensor *tensor, struct error *err) {
    struct reader reader = {.input = input, .root = root, .tensor = tensor, .arena = arena};
    if (!check_input_keys(json, root, err) || !check_datatype(&reader, json, err)) {
        return false;
    }
    yyjson_val *data = yyjson_obj_get(json, "data");
    if (yyjson_obj_get(json, "shape") != NULL) {
        return refuse(&reader, err, "has a shape, which only its tensors have");
    }
    if (yyjson_arr_size(data) == 0) { /* no call of ONNX Runtime's makes an empty one */
        return refuse(&reader, err, "has no \"data\", which is a list of one or more tensors");
    }
    tensor->shape.rank = TENSOR_RANK_UNKNOWN;
    tensor->element_count = yyjson_arr_size(data);
    if (arena != NULL) {
        tensor->elements =
            arena_alloc_zeroed(arena, tensor->element_count * sizeof *tensor->elements);
    }
    size_t index;
    size_t count;
    yyjson_val *value;
    yyjson_arr_foreach(data, index, count, value) {
        char place[PLACE_BYTES];
        struct tensor element = {.type = input->element_type};
        snprintf(place, sizeof place, "%s.data[%zu]", root, index);
        if (!read_value(input, value, place, arena, &element, err)) {
            return false;
        }
        if (tensor->elements != NULL) {
            tensor->elements[index] = element;
        }
    }
    return true;
}

static bool read_input(const struct signature *signature, yyjson_val *json, size_t index,
                       struct arena *arena, struct tensor *out_tensors, size_t *out_input,
                       struct error *err) {
    const char *name = yyjson_get_str(yyjson_obj_get(json, "name"));
    const struct tensor_signature *input = find_input(signature, name);
    if (input == NULL) {
        return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                               name == NULL ? "parameters.inputs[%zu] has no name%.0s; the model's "
                                              "first input is '%.60s'"
                                            : "parameters.inputs[%zu]: the model has no input "
                                              "'%.60s'; its first is '%.60s'",
                               index, name == NULL ? "" : name, signature->inputs[0].name);
    }
    char root[ROOT_BYTES];
    snprintf(root, sizeof root, "parameters.inputs[%zu]", index);
    struct tensor tensor = {.name = input->name, .type = input->type};
    if (input->type == TENSOR_SEQUENCE ? !read_sequence(input, json, root, arena, &tensor, err)
                                       : !read_value(input, json, root, arena, &tensor, err)) {
        return false;
    }
    *out_input = (size_t)(input - signature->inputs);
    if (out_tensors != NULL) {
        out_tensors[*out_input] = tensor;
    }
    return true;
}

static bool read_inputs(const struct signature *signature, yyjson_val *inputs, struct arena *arena,
                        struct tensor *out_tensors, struct error *err) {
    if (!yyjson_is_arr(inputs) || yyjson_arr_size(inputs) != signature->input_count) {
        return error_set_field(
            err, ERROR_INVALID_PARAMETERS, "parameters",
            "parameters.inputs is not a list of %zu, one for each input of the model",
            signature->input_count);
    }
    bool seen[SIGNATURE_TENSORS_MAXIMUM] = {false};
    size_t index;
    size_t count;
    yyjson_val *json;
    yyjson_arr_foreach(inputs, index, count, json) {
        size_t input = 0;
        if (!read_input(signature, json, index, arena, out_tensors, &input, err)) {
            return false;
        }
        if (seen[input]) {
            return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                                   "parameters.inputs[%zu]: input '%.60s' is given twice", index,
                                   signature->inputs[input].name);
        }
        seen[input] = true;
    }
    return true;
}

/* --- any form ---------------------------------------------------------------------------------- */

static bool check_types(const struct signature *signature, struct error *err) {
    for (size_t i = 0; i < signature->input_count; i++) {
        const struct tensor_signature *input = &signature->inputs[i];
        enum tensor_type type = input->type == TENSOR_SEQUENCE ? input->element_type : input->type;
        if (type == TENSOR_SEQUENCE || type == TENSOR_MAP || type == TENSOR_OTHER) {
            return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters",
                                   "the model's input '%.100s' is of a type that JSON cannot carry",
                                   input->name);
        }
    }
    return true;
}

bool tensors_from_json(const struct signature *signature, yyjson_val *parameters,
                       struct arena *arena, struct tensor *out_tensors, struct error *err) {
    ASSERT(signature->input_count <= SIGNATURE_TENSORS_MAXIMUM);
    if (arena == NULL) {
        out_tensors = NULL;
    }
    if (!check_types(signature, err)) {
        return false;
    }
    bool nothing = parameters == NULL || yyjson_is_null(parameters) ||
                   (yyjson_is_obj(parameters) && yyjson_obj_size(parameters) == 0);
    if (nothing && signature->input_count == 0) {
        return true;
    }
    yyjson_val *data = yyjson_obj_get(parameters, "data");
    yyjson_val *inputs = yyjson_obj_get(parameters, "inputs");
    bool is_request = inputs != NULL && data == NULL;
    if (is_request && !request_check(signature, parameters, err)) {
        return false;
    }
    if (!is_request && (data == NULL || yyjson_obj_size(parameters) != 1)) {
        return error_set_field(
            err, ERROR_INVALID_PARAMETERS, "parameters",
            "parameters must be {\"data\": [[…], …]} or {\"inputs\": [{\"name\", "
            "\"shape\", \"datatype\", \"data\"}]}, and nothing else");
    }
    return data != NULL ? read_data(signature, data, arena, out_tensors, err)
                        : read_inputs(signature, inputs, arena, out_tensors, err);
}
