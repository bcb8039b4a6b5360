/* The keys of backend openai, beside those of every model on another server (settings_http.c); `url` is what such a server
 * calls its base address, "https://api.example/v1".
 *
 *   task      "chat": /chat/completions; or "embeddings"; chat
 *   model     the model's name at the server, where parameters do not say; the model's own
 *   prompt    a template (model/openai.h), where parameters have none
 *   system    likewise: the message before it
 *   options   an object of what is sent besides: {"temperature": 0, "max_tokens": 200}
 *   result    a JSON pointer (RFC 6901) to the result in the answer; the whole answer */
#include "model/element.h"
#include "model/settings_keys.h"

#include <stdlib.h>
#include <string.h>

static const char *const task_names[] = {
    [OPENAI_CHAT] = "chat", [OPENAI_EMBEDDINGS] = "embeddings"};

static bool read_task(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    for (size_t i = 0; i < COUNT_OF(task_names); i++) {
        if (yyjson_equals_str(value, task_names[i])) {
            reading->settings->http->openai->task = (enum openai_task)i;
            return true;
        }
    }
    return error_set(err, ERROR_INVALID, "model.json: task is neither \"chat\" nor \"embeddings\"");
}

static bool read_prompt(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    return settings_read_string("prompt", value, reading->arena,
                                &reading->settings->http->openai->prompt, err);
}

static bool read_system(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    return settings_read_string("system", value, reading->arena,
                                &reading->settings->http->openai->system, err);
}

/* Those that have a key of their own, or that parameters give. */
static bool is_no_option(const char *name) {
    static const char *const names[] = {"model",     "prompt", "system", "messages",
                                        "variables", "input",  "stream"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_options(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    if (!yyjson_is_obj(value)) {
        return error_set(err, ERROR_INVALID, "model.json: options is %s, expected an object",
                         json_kind_name(value));
    }
    yyjson_obj_iter iterator = yyjson_obj_iter_with(value);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator)) != NULL;) {
        if (is_no_option(yyjson_get_str(key))) {
            return error_set(err, ERROR_INVALID, "model.json: options: '%s' cannot be one",
                             yyjson_get_str(key));
        }
    }
    char *text = yyjson_val_write(value, YYJSON_WRITE_NOFLAG, NULL);
    ASSERT(text != NULL);
    reading->settings->http->openai->options = arena_strdup(reading->arena, text);
    free(text);
    return true;
}

static void begin(struct settings_reading *reading) {
    settings_begin_server(reading);
    struct openai_settings *openai = arena_alloc_zeroed(reading->arena, sizeof *openai);
    reading->settings->http->openai = openai;
}

static bool finish(struct settings_reading *reading, struct error *err) {
    struct http_settings *http = reading->settings->http;
    const struct openai_settings *openai = http->openai;
    if (openai->task == OPENAI_EMBEDDINGS && (openai->prompt != NULL || openai->system != NULL)) {
        return error_set(err, ERROR_INVALID, "model.json: prompt and system are for the task chat");
    }
    http->required_pointer = openai->task == OPENAI_CHAT ? "/choices/0" : "/data/0";
    return settings_finish_server(reading, err);
}

static const struct settings_key openai_keys[] = {
    {"task", read_task},       {"model", settings_read_served_name},
    {"prompt", read_prompt},   {"system", read_system},
    {"options", read_options}, {"result", settings_read_result},
};

const struct settings_backend settings_of_openai = {
    .backend = MODEL_BACKEND_OPENAI,
    .max_concurrency = SETTINGS_SERVER_CONCURRENCY,
    .keys = openai_keys,
    .key_count = COUNT_OF(openai_keys),
    .shared_keys = settings_server_keys,
    .shared_key_count = SETTINGS_SERVER_KEY_COUNT,
    .begin = begin,
    .finish = finish,
};
