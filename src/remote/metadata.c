#include "remote/metadata.h"

#include "model/tensor.h"

#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

struct metadata_entry {
    struct metadata_entry *next;
    const char *model_name; /* this and the signature lie in the arena */
    unsigned char digest[MODEL_DIGEST_BYTES];
    struct signature signature;
    struct arena arena;
};

/* --- what was said ------------------------------------------------------------------------------- */

void metadata_init(struct metadata *metadata) { metadata->first = NULL; }

/* Returns the one after it. */
static struct metadata_entry *entry_free(struct metadata_entry *entry) {
    struct metadata_entry *next = entry->next;
    arena_fini(&entry->arena);
    free(entry);
    return next;
}

void metadata_fini(struct metadata *metadata) {
    while (metadata->first != NULL) {
        metadata->first = entry_free(metadata->first);
    }
}

/* The place of the pointer to the model's entry, or to NULL at the end. */
static struct metadata_entry **find_place(struct metadata *metadata, const char *model_name) {
    struct metadata_entry **place = &metadata->first;
    while (*place != NULL && strcmp((*place)->model_name, model_name) != 0) {
        place = &(*place)->next;
    }
    return place;
}

const struct signature *metadata_find(struct metadata *metadata, const char *model_name,
                                      const unsigned char digest[static MODEL_DIGEST_BYTES]) {
    const struct metadata_entry *entry = *find_place(metadata, model_name);
    return entry != NULL && memcmp(entry->digest, digest, MODEL_DIGEST_BYTES) == 0
               ? &entry->signature
               : NULL;
}

void metadata_keep(struct metadata *metadata, const char *model_name,
                   const unsigned char digest[static MODEL_DIGEST_BYTES],
                   const struct signature *signature) {
    metadata_forget(metadata, model_name);
    struct metadata_entry *entry = must_alloc_zeroed(1, sizeof *entry);
    entry->model_name = arena_strdup(&entry->arena, model_name);
    memcpy(entry->digest, digest, MODEL_DIGEST_BYTES);
    signature_copy(signature, &entry->arena, &entry->signature);
    entry->next = metadata->first;
    metadata->first = entry;
}

void metadata_forget(struct metadata *metadata, const char *model_name) {
    struct metadata_entry **place = find_place(metadata, model_name);
    if (*place != NULL) {
        *place = entry_free(*place);
    }
}

/* --- the protocol -------------------------------------------------------------------------------- */

static void free_document(yyjson_doc **document) { yyjson_doc_free(*document); }

/* Without YYJSON_READ_INSITU the text is only read; the signature is older than const. */
static yyjson_doc *read_json(const char *text, size_t size_bytes, yyjson_read_flag flags) {
    return yyjson_read_opts((char *)(uintptr_t)text, size_bytes, flags, NULL, NULL);
}

bool metadata_read(const char *json, size_t size_bytes, struct arena *arena, struct signature *out,
                   struct error *err) {
    yyjson_doc *document CLEANUP(free_document) = read_json(json, size_bytes, YYJSON_READ_NOFLAG);
    if (document == NULL) {
        return error_set(err, ERROR_MODEL_FAILED,
                         "what the model's server says of the model is not JSON");
    }
    if (!signature_from_json(yyjson_doc_get_root(document), arena, out, err)) {
        err->kind = ERROR_MODEL_FAILED;
        return error_prefix(err, "what the model's server says of the model");
    }
    return true;
}

char *metadata_format_state(bool is_ready, const char *reason, const struct signature *signature,
                            size_t *out_size_bytes) {
    struct text out;
    text_init(&out, SIZE_MAX / 2);
    text_append(&out, is_ready ? "{\"ready\":true,\"reason\":" : "{\"ready\":false,\"reason\":");
    if (reason == NULL) {
        text_append(&out, "null");
    } else {
        text_append_json_string(&out, reason);
    }
    text_append(&out, ",\"signature\":");
    if (signature == NULL) {
        text_append(&out, "null");
    } else {
        signature_to_json(signature, &out);
    }
    text_append_char(&out, '}');
    *out_size_bytes = out.size_bytes;
    return text_take(&out);
}

/* Most are told by their beginning, so that a large one is not read as JSON for nothing. */
bool metadata_is_request(const struct dispatch_job *job) {
    static const char begin[] = "{\"inputs\"";
    if (job->parameters_bytes >= sizeof begin &&
        memcmp(job->parameters, begin, sizeof begin - 1) == 0) {
        return true;
    }
    yyjson_doc *parameters CLEANUP(free_document) =
        read_json(job->parameters, job->parameters_bytes, YYJSON_READ_NUMBER_AS_RAW);
    return yyjson_obj_get(yyjson_doc_get_root(parameters), "inputs") != NULL;
}

bool metadata_append_request(const struct signature *signature, const struct dispatch_job *job,
                             struct text *out, struct error *err) {
    struct arena arena CLEANUP(arena_fini) = {0};
    struct tensor *tensors = arena_alloc_zeroed(&arena, signature->input_count * sizeof *tensors);
    yyjson_doc *parameters CLEANUP(free_document) =
        read_json(job->parameters, job->parameters_bytes, YYJSON_READ_NUMBER_AS_RAW);
    if (!tensors_from_json(signature, yyjson_doc_get_root(parameters), &arena, tensors, err)) {
        return false;
    }
    text_append(out, "{\"inputs\":[");
    for (size_t i = 0; i < signature->input_count; i++) {
        text_append(out, i == 0 ? "" : ",");
        tensor_to_json(&tensors[i], out);
    }
    text_append(out, "]}");
    return true;
}
