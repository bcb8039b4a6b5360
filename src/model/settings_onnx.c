/* model.json of backend onnx: how ONNX Runtime makes the model's session. */
#include "model/settings_keys.h"

#include "base/text.h"
#include "model/element.h"

#include <string.h>

enum { THREADS_MAXIMUM = 256, OPTIONS_BYTES_MAXIMUM = 1024 };

static const char *const optimization_names[] = {
    [ONNX_OPTIMIZATION_ALL] = "all",
    [ONNX_OPTIMIZATION_EXTENDED] = "extended",
    [ONNX_OPTIMIZATION_BASIC] = "basic",
    [ONNX_OPTIMIZATION_NONE] = "none",
};

static bool read_threads(const char *key, yyjson_val *value, uint32_t *out_threads,
                         struct error *err) {
    uint64_t number;
    if (!settings_read_integer(key, value, 1, THREADS_MAXIMUM, &number, err)) {
        return false;
    }
    *out_threads = (uint32_t)number;
    return true;
}

static bool read_intra_threads(yyjson_val *value, struct settings_reading *reading,
                               struct error *err) {
    return read_threads("intra_threads", value, &reading->settings->onnx.intra_threads, err);
}

static bool read_inter_threads(yyjson_val *value, struct settings_reading *reading,
                               struct error *err) {
    return read_threads("inter_threads", value, &reading->settings->onnx.inter_threads, err);
}

static bool read_graph_optimization(yyjson_val *value, struct settings_reading *reading,
                                    struct error *err) {
    for (size_t i = 0; i < COUNT_OF(optimization_names); i++) {
        if (yyjson_equals_str(value, optimization_names[i])) {
            reading->settings->onnx.optimization = (enum onnx_optimization)i;
            return true;
        }
    }
    return error_set(err, ERROR_INVALID,
                     "model.json: graph_optimization is not \"none\", \"basic\", \"extended\" or "
                     "\"all\"");
}

static bool is_provider_name(const char *name) {
    size_t length = strlen(name);
    return length > 0 && length <= ONNX_PROVIDER_BYTES_MAXIMUM &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") ==
               length;
}

static bool read_execution_providers(yyjson_val *value, struct settings_reading *reading,
                                     struct error *err) {
    struct onnx_options *options = &reading->settings->onnx;
    if (!yyjson_is_arr(value) || yyjson_arr_size(value) == 0 ||
        yyjson_arr_size(value) > ONNX_PROVIDERS_MAXIMUM) {
        return error_set(err, ERROR_INVALID,
                         "model.json: execution_providers is not a list of 1 to %d names such as "
                         "\"CPUExecutionProvider\"",
                         ONNX_PROVIDERS_MAXIMUM);
    }
    size_t index;
    size_t count;
    yyjson_val *item;
    yyjson_arr_foreach(value, index, count, item) {
        const char *name;
        if (!settings_read_string("an execution provider", item, reading->arena, &name, err)) {
            return false;
        }
        if (!is_provider_name(name)) {
            return error_set(err, ERROR_INVALID,
                             "model.json: '%.60s' is no name of an execution provider, such as "
                             "\"CPUExecutionProvider\"",
                             name);
        }
        for (size_t i = 0; i < index; i++) {
            if (strcmp(options->providers[i], name) == 0) {
                return error_set(err, ERROR_INVALID,
                                 "model.json: execution provider %s is given twice", name);
            }
        }
        options->providers[index] = name;
    }
    options->provider_count = count;
    return true;
}

static const struct settings_key keys[] = {
    {"intra_threads", read_intra_threads},
    {"inter_threads", read_inter_threads},
    {"graph_optimization", read_graph_optimization},
    {"execution_providers", read_execution_providers},
};

/* The same options give the same text. */
static bool write_text(struct settings_reading *reading, struct error *err) {
    (void)err;
    struct onnx_options *options = &reading->settings->onnx;
    struct text text CLEANUP(text_fini);
    text_init(&text, OPTIONS_BYTES_MAXIMUM);
    if (options->intra_threads != 0) {
        text_printf(&text, "\"intra_threads\":%u,", options->intra_threads);
    }
    if (options->inter_threads != 0) {
        text_printf(&text, "\"inter_threads\":%u,", options->inter_threads);
    }
    for (size_t i = 0; i < options->provider_count; i++) {
        text_append(&text, i == 0 ? "\"execution_providers\":[" : ",");
        text_append_json_string(&text, options->providers[i]);
        text_append(&text, i + 1 == options->provider_count ? "]," : "");
    }
    if (options->optimization != ONNX_OPTIMIZATION_ALL || text.size_bytes > 0) {
        text_printf(&text, "\"graph_optimization\":\"%s\"",
                    optimization_names[options->optimization]);
        options->text = arena_printf(reading->arena, "{%s}", text_string(&text));
    }
    return true;
}

const struct settings_backend settings_of_onnx = {
    .backend = MODEL_BACKEND_ONNX,
    .keys = keys,
    .key_count = COUNT_OF(keys),
    .finish = write_text,
};
