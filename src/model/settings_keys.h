/* For neighbours in model/: the keys of model.json, a table for each backend. */
#ifndef ORRERY_MODEL_SETTINGS_KEYS_H
#define ORRERY_MODEL_SETTINGS_KEYS_H

#include "model/settings_file.h"

#include <yyjson.h>

/* A file that is being read. The document goes when it is done: what is kept is copied into the arena. */
struct settings_reading {
    struct model_settings *settings;
    struct arena *arena;
};

struct settings_key {
    const char *name;
    /* ERROR_INVALID, the message begins with "model.json: " and names the key. */
    bool (*read)(yyjson_val *value, struct settings_reading *reading, struct error *err);
};

struct settings_backend {
    enum model_backend backend;
    uint32_t max_concurrency; /* where model.json does not say */
    const struct settings_key *keys;
    size_t key_count;
    const struct settings_key *shared_keys; /* with other backends; may be none */
    size_t shared_key_count;
    /* Before the keys: makes room for what they read. After them: what is missing, what does not go together. Either
     * may be NULL. */
    void (*begin)(struct settings_reading *reading);
    bool (*finish)(struct settings_reading *reading, struct error *err);
};

/* One for each file settings_<backend>.c. */
extern const struct settings_backend settings_of_http;
extern const struct settings_backend settings_of_openinference;
extern const struct settings_backend settings_of_onnx;
extern const struct settings_backend settings_of_openai;
extern const struct settings_backend settings_of_process;

/* What all models on other servers have, with their begin and finish: which make and look through struct
 * http_settings. */
enum { SETTINGS_SERVER_KEY_COUNT = 8, SETTINGS_SERVER_CONCURRENCY = 16 };
extern const struct settings_key settings_server_keys[SETTINGS_SERVER_KEY_COUNT];
void settings_begin_server(struct settings_reading *reading);
MUST_CHECK bool settings_finish_server(struct settings_reading *reading, struct error *err);
/* Into http_settings.served_name and .result_pointer. */
MUST_CHECK bool settings_read_served_name(yyjson_val *value, struct settings_reading *reading,
                                          struct error *err);
MUST_CHECK bool settings_read_result(yyjson_val *value, struct settings_reading *reading,
                                     struct error *err);

/* "30s", more than 0. */
MUST_CHECK bool settings_read_duration(const char *key, yyjson_val *value,
                                       struct duration *out_duration, struct error *err);
/* A whole number within bounds. */
MUST_CHECK bool settings_read_integer(const char *key, yyjson_val *value, uint64_t minimum,
                                      uint64_t maximum, uint64_t *out_number, struct error *err);
/* A string without NUL, into the arena. */
MUST_CHECK bool settings_read_string(const char *key, yyjson_val *value, struct arena *arena,
                                     const char **out_string, struct error *err);

#endif
