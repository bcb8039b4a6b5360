#include "model/settings_file.h"

#include "model/element.h"

#include <string.h>
#include <yyjson.h>

enum { CONCURRENCY_MAXIMUM = 100000 };

struct settings_key {
    const char *name;
    bool (*read)(yyjson_val *value, struct model_settings *settings, struct error *err);
};

struct model_settings model_settings_defaults(void) {
    return (struct model_settings){.backend = "onnx"};
}

static bool read_backend(yyjson_val *value, struct model_settings *settings, struct error *err) {
    if (!yyjson_is_str(value)) {
        return error_set(err, ERROR_INVALID, "model.json: backend is %s, expected a string",
                         json_kind_name(value));
    }
    if (!yyjson_equals_str(value, "onnx")) {
        return error_set(err, ERROR_INVALID,
                         "model.json: backend '%.40s' is not known; expected \"onnx\"",
                         yyjson_get_str(value));
    }
    settings->backend = "onnx";
    return true;
}

static bool read_max_concurrency(yyjson_val *value, struct model_settings *settings,
                                 struct error *err) {
    if (!yyjson_is_uint(value) || yyjson_get_uint(value) < 1 ||
        yyjson_get_uint(value) > CONCURRENCY_MAXIMUM) {
        return error_set(err, ERROR_INVALID,
                         "model.json: max_concurrency is not a whole number from 1 to %d",
                         CONCURRENCY_MAXIMUM);
    }
    settings->max_concurrency = (uint32_t)yyjson_get_uint(value);
    return true;
}

static bool read_timeout(yyjson_val *value, struct model_settings *settings, struct error *err) {
    struct duration timeout;
    if (!yyjson_is_str(value)) {
        return error_set(err, ERROR_INVALID,
                         "model.json: timeout is %s, expected a duration such as \"30s\"",
                         json_kind_name(value));
    }
    if (strlen(yyjson_get_str(value)) != yyjson_get_len(value) ||
        !duration_parse(yyjson_get_str(value), &timeout, err)) {
        struct error reason = *err;
        return error_set(err, ERROR_INVALID, "model.json: timeout: %s", reason.message);
    }
    if (timeout.us <= 0) {
        return error_set(err, ERROR_INVALID, "model.json: timeout must be more than 0");
    }
    settings->timeout = timeout;
    return true;
}

static const struct settings_key keys[] = {
    {"backend", read_backend},
    {"max_concurrency", read_max_concurrency},
    {"timeout", read_timeout},
};

static const struct settings_key *find_key(yyjson_val *name) {
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        if (yyjson_equals_str(name, keys[i].name)) {
            return &keys[i];
        }
    }
    return NULL;
}

static bool read_object(yyjson_val *object, struct model_settings *out_settings,
                        struct error *err) {
    if (!yyjson_is_obj(object)) {
        return error_set(err, ERROR_INVALID, "model.json: it is %s, expected an object",
                         json_kind_name(object));
    }
    struct model_settings settings = model_settings_defaults();
    bool seen[COUNT_OF(keys)] = {false};
    size_t index;
    size_t count;
    yyjson_val *name;
    yyjson_val *value;
    yyjson_obj_foreach(object, index, count, name, value) {
        const struct settings_key *key = find_key(name);
        if (key == NULL) {
            return error_set(
                err, ERROR_INVALID,
                "model.json: unknown key '%.60s'; known are backend, max_concurrency, timeout",
                yyjson_get_str(name));
        }
        if (seen[key - keys]) {
            return error_set(err, ERROR_INVALID, "model.json: %s is given twice", key->name);
        }
        seen[key - keys] = true;
        if (!key->read(value, &settings, err)) {
            return false;
        }
    }
    *out_settings = settings;
    return true;
}

static void free_document(yyjson_doc **document) { yyjson_doc_free(*document); }

bool model_settings_parse(const char *text, size_t size_bytes, struct model_settings *out_settings,
                          struct error *err) {
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
    return read_object(yyjson_doc_get_root(document), out_settings, err);
}
