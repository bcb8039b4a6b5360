#include "model/settings_file.h"

#include "base/text.h"
#include "model/element.h"
#include "model/settings_keys.h"

#include <string.h>

enum { CONCURRENCY_MAXIMUM = 100000 };

static const char *const backend_names[MODEL_BACKEND_COUNT] = {
    [MODEL_BACKEND_ONNX] = "onnx",       [MODEL_BACKEND_HTTP] = "http",
    [MODEL_BACKEND_OPENAI] = "openai",   [MODEL_BACKEND_OPENINFERENCE] = "openinference",
    [MODEL_BACKEND_PROCESS] = "process",
};

const char *model_backend_name(enum model_backend backend) { return backend_names[backend]; }

struct model_settings model_settings_defaults(void) {
    return (struct model_settings){.backend = MODEL_BACKEND_ONNX};
}

/* --- values -------------------------------------------------------------------------------------- */

bool settings_read_string(const char *key, yyjson_val *value, struct arena *arena,
                          const char **out_string, struct error *err) {
    if (!yyjson_is_str(value)) {
        return error_set(err, ERROR_INVALID, "model.json: %s is %s, expected a string", key,
                         json_kind_name(value));
    }
    if (strlen(yyjson_get_str(value)) != yyjson_get_len(value)) {
        return error_set(err, ERROR_INVALID, "model.json: %s has a NUL character in it", key);
    }
    *out_string = arena_strdup(arena, yyjson_get_str(value));
    return true;
}

bool settings_read_integer(const char *key, yyjson_val *value, uint64_t minimum, uint64_t maximum,
                           uint64_t *out_number, struct error *err) {
    if (!yyjson_is_uint(value) || yyjson_get_uint(value) < minimum ||
        yyjson_get_uint(value) > maximum) {
        return error_set(err, ERROR_INVALID,
                         "model.json: %s is not a whole number from %llu to %llu", key,
                         (unsigned long long)minimum, (unsigned long long)maximum);
    }
    *out_number = yyjson_get_uint(value);
    return true;
}

bool settings_read_duration(const char *key, yyjson_val *value, struct duration *out_duration,
                            struct error *err) {
    struct duration duration;
    if (!yyjson_is_str(value)) {
        return error_set(err, ERROR_INVALID,
                         "model.json: %s is %s, expected a duration such as \"30s\"", key,
                         json_kind_name(value));
    }
    if (strlen(yyjson_get_str(value)) != yyjson_get_len(value) ||
        !duration_parse(yyjson_get_str(value), &duration, err)) {
        struct error reason = *err;
        return error_set(err, ERROR_INVALID, "model.json: %s: %s", key, reason.message);
    }
    if (duration.us <= 0) {
        return error_set(err, ERROR_INVALID, "model.json: %s must be more than 0", key);
    }
    *out_duration = duration;
    return true;
}

/* --- keys of every backend ----------------------------------------------------------------------- */

static bool read_max_concurrency(yyjson_val *value, struct settings_reading *reading,
                                 struct error *err) {
    uint64_t number;
    if (!settings_read_integer("max_concurrency", value, 1, CONCURRENCY_MAXIMUM, &number, err)) {
        return false;
    }
    reading->settings->max_concurrency = (uint32_t)number;
    return true;
}

static bool read_timeout(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    return settings_read_duration("timeout", value, &reading->settings->timeout, err);
}

/* It is read before the others, because it says which those are. */
static bool skip_backend(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    (void)value;
    (void)reading;
    (void)err;
    return true;
}

static const struct settings_key common_keys[] = {
    {"backend", skip_backend},
    {"max_concurrency", read_max_concurrency},
    {"timeout", read_timeout},
};

/* --- backends ------------------------------------------------------------------------------------ */

static const struct settings_backend *const backends[] = {
    &settings_of_onnx, &settings_of_http, &settings_of_openinference, &settings_of_openai,
    &settings_of_process};

enum { KEYS_MAXIMUM = 64, KNOWN_BYTES_MAXIMUM = 4096 };

/* Appends "a, b, c". */
static void append_names(struct text *out, const char *name) {
    text_append(out, out->size_bytes == 0 ? "" : ", ");
    text_append(out, name);
}

static bool find_backend(yyjson_val *value, const struct settings_backend **out_backend,
                         struct error *err) {
    *out_backend = &settings_of_onnx;
    if (value == NULL) {
        return true;
    }
    if (!yyjson_is_str(value)) {
        return error_set(err, ERROR_INVALID, "model.json: backend is %s, expected a string",
                         json_kind_name(value));
    }
    struct text known CLEANUP(text_fini);
    text_init(&known, KNOWN_BYTES_MAXIMUM);
    for (size_t i = 0; i < COUNT_OF(backends); i++) {
        const char *name = model_backend_name(backends[i]->backend);
        if (yyjson_equals_str(value, name)) {
            *out_backend = backends[i];
            return true;
        }
        append_names(&known, name);
    }
    return error_set(err, ERROR_INVALID, "model.json: backend '%.40s' is not known; there is %s",
                     yyjson_get_str(value), text_string(&known));
}

static size_t count_keys(const struct settings_backend *backend) {
    return COUNT_OF(common_keys) + backend->shared_key_count + backend->key_count;
}

static const struct settings_key *key_at(const struct settings_backend *backend, size_t number) {
    if (number < COUNT_OF(common_keys)) {
        return &common_keys[number];
    }
    number -= COUNT_OF(common_keys);
    return number < backend->shared_key_count ? &backend->shared_keys[number]
                                              : &backend->keys[number - backend->shared_key_count];
}

/* The key's number among the common ones, the shared ones and then the backend's. */
static bool find_key(const struct settings_backend *backend, yyjson_val *name,
                     const struct settings_key **out_key, size_t *out_number, struct error *err) {
    struct text known CLEANUP(text_fini);
    text_init(&known, KNOWN_BYTES_MAXIMUM);
    for (size_t i = 0; i < count_keys(backend); i++) {
        const struct settings_key *key = key_at(backend, i);
        if (yyjson_equals_str(name, key->name)) {
            *out_key = key;
            *out_number = i;
            return true;
        }
        append_names(&known, key->name);
    }
    return error_set(
        err, ERROR_INVALID, "model.json: unknown key '%.60s'; known for backend %s are %s",
        yyjson_get_str(name), model_backend_name(backend->backend), text_string(&known));
}

static bool read_keys(yyjson_val *object, const struct settings_backend *backend,
                      struct settings_reading *reading, struct error *err) {
    bool seen[KEYS_MAXIMUM] = {false};
    ASSERT(count_keys(backend) <= KEYS_MAXIMUM);
    size_t index;
    size_t count;
    yyjson_val *name;
    yyjson_val *value;
    yyjson_obj_foreach(object, index, count, name, value) {
        const struct settings_key *key;
        size_t number;
        if (!find_key(backend, name, &key, &number, err)) {
            return false;
        }
        if (seen[number]) {
            return error_set(err, ERROR_INVALID, "model.json: %s is given twice", key->name);
        }
        seen[number] = true;
        if (!key->read(value, reading, err)) {
            return false;
        }
    }
    return true;
}

static bool read_object(yyjson_val *object, struct arena *arena,
                        struct model_settings *out_settings, struct error *err) {
    const struct settings_backend *backend;
    if (!yyjson_is_obj(object)) {
        return error_set(err, ERROR_INVALID, "model.json: it is %s, expected an object",
                         json_kind_name(object));
    }
    if (!find_backend(yyjson_obj_get(object, "backend"), &backend, err)) {
        return false;
    }
    struct model_settings settings = {.backend = backend->backend,
                                      .max_concurrency = backend->max_concurrency};
    struct settings_reading reading = {.settings = &settings, .arena = arena};
    if (backend->begin != NULL) {
        backend->begin(&reading);
    }
    if (!read_keys(object, backend, &reading, err) ||
        (backend->finish != NULL && !backend->finish(&reading, err))) {
        return false;
    }
    *out_settings = settings;
    return true;
}

static void free_document(yyjson_doc **document) { yyjson_doc_free(*document); }

bool model_settings_parse(const char *text, size_t size_bytes, struct arena *arena,
                          struct model_settings *out_settings, struct error *err) {
    if (size_bytes > SETTINGS_FILE_BYTES_MAXIMUM) {
        return error_set(err, ERROR_INVALID, "model.json: longer than %d bytes",
                         SETTINGS_FILE_BYTES_MAXIMUM);
    }
    yyjson_read_err reason;
    /* Without YYJSON_READ_INSITU the text is only read; the signature is older than const. */
    yyjson_doc *document CLEANUP(free_document) =
        yyjson_read_opts((char *)(uintptr_t)text, size_bytes, YYJSON_READ_NOFLAG, NULL, &reason);
    if (document == NULL) {
        size_t line = 1;
        size_t column = 1;
        size_t character;
        yyjson_locate_pos(text, size_bytes, reason.pos, &line, &column, &character);
        return error_set(err, ERROR_INVALID, "model.json: line %zu column %zu: %s", line, column,
                         reason.msg);
    }
    return read_object(yyjson_doc_get_root(document), arena, out_settings, err);
}
