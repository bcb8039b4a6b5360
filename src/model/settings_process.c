/* The keys of backend process:
 *
 *   command       a list: the program, found along PATH or from the version's folder, and its arguments
 *   environment   an object: further variables; none of the daemon's are handed on
 *   readable      a list of absolute paths that it may read beside the system's and the model's folder
 *   network       true: it may connect to others
 *   output_limit  the most bytes that it may write as its result; 64 MB
 *   memory_limit  the most bytes of address space; what a worker may have */
#include "model/element.h"
#include "model/settings_keys.h"

#include <stdio.h>
#include <string.h>

enum { COMMAND_WORDS_MAXIMUM = 256, VARIABLES_MAXIMUM = 256, PATHS_MAXIMUM = 64 };
/* Checking it as JSON takes several times as much memory for a moment. */
#define OUTPUT_BYTES_DEFAULT (UINT64_C(16) << 20)
#define OUTPUT_BYTES_MAXIMUM (UINT64_C(1) << 30)
#define MEMORY_BYTES_LEAST (UINT64_C(16) << 20)

static bool read_strings(const char *key, yyjson_val *value, size_t maximum, struct arena *arena,
                         const char *const **out_strings, struct error *err) {
    size_t count = yyjson_arr_size(value);
    if (!yyjson_is_arr(value) || count > maximum) {
        return error_set(err, ERROR_INVALID,
                         "model.json: %s is %s, expected a list of at most %zu strings", key,
                         json_kind_name(value), maximum);
    }
    const char **strings = arena_alloc(arena, (count + 1) * sizeof *strings);
    size_t index;
    size_t ignored_count;
    yyjson_val *item;
    yyjson_arr_foreach(value, index, ignored_count, item) {
        char name[64];
        snprintf(name, sizeof name, "%s[%zu]", key, index);
        if (!settings_read_string(name, item, arena, &strings[index], err)) {
            return false;
        }
    }
    strings[count] = NULL;
    *out_strings = strings;
    return true;
}

static bool read_command(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    const char *const *words;
    if (!read_strings("command", value, COMMAND_WORDS_MAXIMUM, reading->arena, &words, err)) {
        return false;
    }
    if (words[0] == NULL || *words[0] == '\0') {
        return error_set(err, ERROR_INVALID, "model.json: command names no program");
    }
    reading->settings->process->command = words;
    return true;
}

/* As the shell has them (POSIX, "Environment Variable Definition"). */
static bool variable_name_is_valid(const char *name) {
    static const char characters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return *name != '\0' && (*name < '0' || *name > '9') && name[strspn(name, characters)] == '\0';
}

static bool read_environment(yyjson_val *value, struct settings_reading *reading,
                             struct error *err) {
    size_t count = yyjson_obj_size(value);
    if (!yyjson_is_obj(value) || count > VARIABLES_MAXIMUM) {
        return error_set(err, ERROR_INVALID,
                         "model.json: environment is %s, expected an object of at most %d strings",
                         json_kind_name(value), VARIABLES_MAXIMUM);
    }
    const char **variables = arena_alloc(reading->arena, (count + 1) * sizeof *variables);
    size_t index;
    size_t ignored_count;
    yyjson_val *key;
    yyjson_val *item;
    yyjson_obj_foreach(value, index, ignored_count, key, item) {
        const char *name = yyjson_get_str(key);
        const char *content;
        char place[96];
        if (strlen(name) != yyjson_get_len(key) || !variable_name_is_valid(name)) {
            return error_set(err, ERROR_INVALID,
                             "model.json: environment: '%.60s' is no name of a variable", name);
        }
        if (strncmp(name, "ORRERY_", strlen("ORRERY_")) == 0) {
            return error_set(err, ERROR_INVALID,
                             "model.json: environment: %.60s: names with ORRERY_ are given to it",
                             name);
        }
        snprintf(place, sizeof place, "environment.%.60s", name);
        if (!settings_read_string(place, item, reading->arena, &content, err)) {
            return false;
        }
        variables[index] = arena_printf(reading->arena, "%s=%s", name, content);
    }
    variables[count] = NULL;
    reading->settings->process->environment = variables;
    return true;
}

static bool read_readable(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    const char *const *paths;
    if (!read_strings("readable", value, PATHS_MAXIMUM, reading->arena, &paths, err)) {
        return false;
    }
    for (size_t i = 0; paths[i] != NULL; i++) {
        if (paths[i][0] != '/') {
            return error_set(err, ERROR_INVALID, "model.json: readable[%zu] is no absolute path",
                             i);
        }
    }
    reading->settings->process->readable = paths;
    return true;
}

static bool read_network(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    if (!yyjson_is_bool(value)) {
        return error_set(err, ERROR_INVALID, "model.json: network is %s, expected true or false",
                         json_kind_name(value));
    }
    reading->settings->process->has_network = yyjson_get_bool(value);
    return true;
}

static bool read_output_limit(yyjson_val *value, struct settings_reading *reading,
                              struct error *err) {
    return settings_read_integer("output_limit", value, 1, OUTPUT_BYTES_MAXIMUM,
                                 &reading->settings->process->output_bytes_maximum, err);
}

static bool read_memory_limit(yyjson_val *value, struct settings_reading *reading,
                              struct error *err) {
    return settings_read_integer("memory_limit", value, MEMORY_BYTES_LEAST, UINT64_C(1) << 50,
                                 &reading->settings->process->memory_bytes, err);
}

static void begin(struct settings_reading *reading) {
    static const char *const none[] = {NULL};
    struct process_settings *process = arena_alloc_zeroed(reading->arena, sizeof *process);
    process->environment = none;
    process->readable = none;
    process->output_bytes_maximum = OUTPUT_BYTES_DEFAULT;
    reading->settings->process = process;
}

static bool finish(struct settings_reading *reading, struct error *err) {
    return reading->settings->process->command != NULL ||
           error_set(err, ERROR_INVALID,
                     "model.json: command is missing, such as [\"python3\", \"predict.py\"]");
}

static const struct settings_key keys[] = {
    {"command", read_command},           {"environment", read_environment},
    {"readable", read_readable},         {"network", read_network},
    {"output_limit", read_output_limit}, {"memory_limit", read_memory_limit},
};

const struct settings_backend settings_of_process = {
    .backend = MODEL_BACKEND_PROCESS,
    .max_concurrency = 4, /* of one model: each is a process that may want a processor */
    .keys = keys,
    .key_count = COUNT_OF(keys),
    .begin = begin,
    .finish = finish,
};
