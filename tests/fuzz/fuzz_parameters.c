/* Parameters from strangers, for a model from a stranger. The input: a byte of options, the signature of a model
 * (inputs of two bytes, type and rank, or of a sequence the type of what is in it, then a byte a dimension), then the parameters as JSON. Checking must
 * say what reading says; what was read must be whole, and its JSON must read back to the same bits. */
#include "model/tensor.h"

#include <stdlib.h>
#include <string.h>

enum { INPUTS_MAXIMUM = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

struct source {
    const uint8_t *at;
    const uint8_t *end;
};

static uint8_t take(struct source *source) { return source->at < source->end ? *source->at++ : 0; }

static void read_signature(struct source *source, struct tensor_signature *inputs,
                           struct signature *out) {
    static const char *const names[INPUTS_MAXIMUM] = {"x", "a", "b", "\xc3\xa9"};
    *out = (struct signature){.inputs = inputs, .input_count = take(source) % (INPUTS_MAXIMUM + 1)};
    for (size_t i = 0; i < out->input_count; i++) {
        inputs[i] = (struct tensor_signature){
            .name = names[i], .type = (enum tensor_type)(take(source) % (TENSOR_OTHER + 1))};
        if (inputs[i].type == TENSOR_SEQUENCE) {
            inputs[i].element_type = (enum tensor_type)(take(source) % (TENSOR_OTHER + 1));
            inputs[i].shape.rank = TENSOR_RANK_UNKNOWN;
            continue;
        }
        inputs[i].shape.rank = take(source) % (TENSOR_RANK_UNKNOWN + 1);
        if (inputs[i].shape.rank == TENSOR_RANK_UNKNOWN) {
            continue;
        }
        if (inputs[i].shape.rank > 4 && inputs[i].shape.rank < TENSOR_RANK_MAXIMUM) {
            inputs[i].shape.rank %= 5;
        }
        for (uint32_t k = 0; k < inputs[i].shape.rank; k++) {
            inputs[i].shape.dimensions[k] = take(source) % 6 - 1;
        }
    }
}

static void check_tensor(const struct tensor_signature *input, const struct tensor *tensor) {
    bool is_any = input->shape.rank == TENSOR_RANK_UNKNOWN;
    ASSERT(is_any ? tensor->shape.rank <= TENSOR_RANK_MAXIMUM
                  : tensor->shape.rank == input->shape.rank);
    size_t count = 1;
    for (uint32_t i = 0; i < tensor->shape.rank; i++) {
        ASSERT(tensor->shape.dimensions[i] >= 0);
        ASSERT(is_any || input->shape.dimensions[i] < 0 ||
               input->shape.dimensions[i] == tensor->shape.dimensions[i]);
        count *= (size_t)tensor->shape.dimensions[i];
    }
    ASSERT(count == tensor->element_count);
}

static void check_input(const struct tensor_signature *input, const struct tensor *tensor) {
    ASSERT(tensor->type == input->type && strcmp(tensor->name, input->name) == 0);
    if (tensor->type != TENSOR_SEQUENCE) {
        check_tensor(input, tensor);
        return;
    }
    ASSERT(tensor->element_count > 0);
    for (size_t i = 0; i < tensor->element_count; i++) {
        ASSERT(tensor->elements[i].type == input->element_type && tensor->elements[i].name == NULL);
        check_tensor(input, &tensor->elements[i]);
    }
}

static bool same_element(const struct tensor *a, const struct tensor *b, size_t index) {
    if (a->type == TENSOR_BYTES) {
        return a->string_bytes[index] == b->string_bytes[index] &&
               memcmp(a->strings[index], b->strings[index], a->string_bytes[index]) == 0;
    }
    size_t element_bytes = tensor_type_element_bytes(a->type);
    return memcmp((const char *)a->data + index * element_bytes,
                  (const char *)b->data + index * element_bytes, element_bytes) == 0;
}

static bool same_tensor(const struct tensor *a, const struct tensor *b) {
    bool same = a->element_count == b->element_count && a->shape.rank == b->shape.rank;
    for (uint32_t i = 0; same && a->shape.rank <= TENSOR_RANK_MAXIMUM && i < a->shape.rank; i++) {
        same = a->shape.dimensions[i] == b->shape.dimensions[i];
    }
    for (size_t i = 0; same && i < a->element_count; i++) {
        same = a->type == TENSOR_SEQUENCE ? same_tensor(&a->elements[i], &b->elements[i])
                                          : same_element(a, b, i);
    }
    return same;
}

/* What comes out as an output's JSON goes in again as an input's. */
static void check_round_trip(const struct signature *signature, const struct tensor *tensors,
                             struct arena *arena) {
    struct text json;
    struct error err;
    text_init(&json, 64 << 20);
    text_append(&json, "{\"inputs\": [");
    for (size_t i = 0; i < signature->input_count; i++) {
        text_append(&json, i == 0 ? "" : ", ");
        tensor_to_json(&tensors[i], &json);
    }
    text_append(&json, "]}");
    ASSERT(text_ok(&json));
    yyjson_doc *document =
        yyjson_read(text_string(&json), json.size_bytes, YYJSON_READ_NUMBER_AS_RAW);
    ASSERT(document != NULL);
    struct tensor again[INPUTS_MAXIMUM];
    bool ok = tensors_from_json(signature, yyjson_doc_get_root(document), arena, again, &err);
    ASSERT(ok);
    for (size_t i = 0; i < signature->input_count; i++) {
        ASSERT(same_tensor(&tensors[i], &again[i]));
    }
    yyjson_doc_free(document);
    text_fini(&json);
}

static void check_error(const struct error *err) {
    ASSERT(err->kind == ERROR_INVALID_PARAMETERS);
    ASSERT(strcmp(err->field, "parameters") == 0 && err->message[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct source source = {bytes, bytes + size_bytes};
    struct tensor_signature inputs[INPUTS_MAXIMUM];
    struct signature signature;
    bool raw = take(&source) % 4 != 0;
    read_signature(&source, inputs, &signature);
    yyjson_doc *document = yyjson_read((const char *)source.at, (size_t)(source.end - source.at),
                                       raw ? YYJSON_READ_NUMBER_AS_RAW : YYJSON_READ_NOFLAG);
    if (document == NULL) {
        return 0;
    }
    struct arena arena = {0};
    struct error err;
    struct tensor tensors[INPUTS_MAXIMUM];
    yyjson_val *root = yyjson_doc_get_root(document);
    bool fits = tensors_from_json(&signature, root, NULL, NULL, &err);
    if (!fits) {
        check_error(&err);
    }
    bool ok = tensors_from_json(&signature, root, &arena, tensors, &err);
    ASSERT(ok == fits);
    if (ok) {
        for (size_t i = 0; i < signature.input_count; i++) {
            check_input(&inputs[i], &tensors[i]);
        }
        check_round_trip(&signature, tensors, &arena);
    }
    arena_fini(&arena);
    yyjson_doc_free(document);
    return 0;
}
