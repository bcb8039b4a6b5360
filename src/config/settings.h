/* Settings: one table, read once into a const struct. Where a setting comes from, weakest first: its default,
 * the file (`key = value` lines, `#` comments), the environment (ORRERY_<KEY>), the command line (--<key>).
 *
 * Errors (ERROR_USAGE) name the setting, where it was set, the value and what was expected. Strings are owned
 * by the settings. */
#ifndef ORRERY_CONFIG_SETTINGS_H
#define ORRERY_CONFIG_SETTINGS_H

#include "base/text.h"
#include "clock/time.h"

struct settings {
    char *listen;
    char *db;
    char *models;
    char *secrets;
    char *onnxruntime; /* empty: the usual places */
    char *log_level;
    char *token_secret_file; /* empty: no tokens */
    int64_t rate_limit;
    int64_t workers;
    int64_t worker_memory_bytes;
    int64_t worker_cache_bytes;
    int64_t session_threads;
    int64_t running;
    int64_t running_per_owner;
    int64_t http_threads;
    int64_t connections;
    int64_t body_limit_bytes;
    int64_t result_inline_bytes;
    struct duration idle_timeout;
    struct duration drain_limit;
    struct duration retention_age; /* 0: no bound, as the next two */
    int64_t retention_count;
    int64_t retention_bytes;
};

enum setting_type { SETTING_STRING, SETTING_INTEGER, SETTING_BYTES, SETTING_DURATION };

struct setting_row {
    const char *key; /* "rate-limit": the flag is --rate-limit, the variable ORRERY_RATE_LIMIT */
    const char *value_name; /* "HOST:PORT", for the help */
    enum setting_type type;
    size_t offset;
    const char *default_text;
    int64_t minimum; /* integers, bytes, and durations in microseconds */
    int64_t maximum;
    const char *prose;
};

extern const struct setting_row setting_rows[];
extern const size_t setting_count;

/* The defaults. */
void settings_init(struct settings *settings);
void settings_fini(struct settings *settings);

/* What the command line says of one setting; `value` is NULL where it says nothing. */
struct settings_flag {
    const char *key;
    const char *value;
};

/* `file` may be NULL. */
MUST_CHECK bool settings_load(struct settings *settings, const char *file,
                              const struct settings_flag *flags, size_t flag_count,
                              struct error *err);

/* One line a setting: flag, prose, default. For `orrery serve --help`. */
void settings_append_help(struct text *out);

#endif
