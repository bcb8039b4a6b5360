#include "config/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(name) offsetof(struct settings, name)
#define MEBIBYTE INT64_C(1048576)
#define GIBIBYTE (1024 * MEBIBYTE)

const struct setting_row setting_rows[] = {
    {"listen", "HOST:PORT", SETTING_STRING, FIELD(listen), "127.0.0.1:8080", 0, 0,
     "address to serve HTTP on; port 0 takes any free one; unix:PATH is a socket in the file "
     "system"},
    {"db", "FILE", SETTING_STRING, FIELD(db), "orrery.db", 0, 0, "the store, an SQLite file"},
    {"models", "DIR", SETTING_STRING, FIELD(models), "models", 0, 0,
     "the model repository, DIR/<name>/<version>/model.onnx"},
    {"secrets", "DIR", SETTING_STRING, FIELD(secrets), "", 0, 0,
     "files that model.json may name as secrets; empty is systemd's $CREDENTIALS_DIRECTORY"},
    {"rate-limit", "N", SETTING_INTEGER, FIELD(rate_limit), "0", 0, 1000000,
     "requests a second that one principal may make; 0 is no limit"},
    {"workers", "N", SETTING_INTEGER, FIELD(workers), "2", 1, 256,
     "processes that run ONNX models"},
    {"worker-memory", "BYTES", SETTING_BYTES, FIELD(worker_memory_bytes), "0", 0, 1024 * GIBIBYTE,
     "memory a worker may use (address space); 0 is no limit"},
    {"worker-cache", "BYTES", SETTING_BYTES, FIELD(worker_cache_bytes), "1G", 0, 1024 * GIBIBYTE,
     "of loaded models that a worker keeps; those not used for longest go first"},
    {"session-threads", "N", SETTING_INTEGER, FIELD(session_threads), "1", 1, 256,
     "threads with which a worker runs one model"},
    {"running", "N", SETTING_INTEGER, FIELD(running), "2048", 1, 65536,
     "executions under way at the same time; what is due beyond waits"},
    {"running-per-owner", "N", SETTING_INTEGER, FIELD(running_per_owner), "0", 0, 65536,
     "and of one owner; 0 is no limit of its own"},
    {"onnxruntime", "FILE", SETTING_STRING, FIELD(onnxruntime), "", 0, 0,
     "libonnxruntime.so to use; empty looks beside the program and in the system"},
    {"http-threads", "N", SETTING_INTEGER, FIELD(http_threads), "2", 1, 256,
     "threads that serve HTTP"},
    {"connections", "N", SETTING_INTEGER, FIELD(connections), "4096", 1, 1000000,
     "HTTP connections open at the same time"},
    {"body-limit", "BYTES", SETTING_BYTES, FIELD(body_limit_bytes), "64M", 1024, GIBIBYTE,
     "largest body of a request"},
    {"result-inline", "BYTES", SETTING_BYTES, FIELD(result_inline_bytes), "1M", 1024,
     256 * MEBIBYTE,
     "a larger result gets a file of its own beside the store, in the folder FILE-results"},
    {"idle-timeout", "DURATION", SETTING_DURATION, FIELD(idle_timeout), "60s", US_PER_SECOND,
     3600 * US_PER_SECOND, "an HTTP connection on which nothing happens is closed after this"},
    {"drain-limit", "DURATION", SETTING_DURATION, FIELD(drain_limit), "20s", 0,
     3600 * US_PER_SECOND,
     "on SIGTERM, how long what runs may go on; the rest is handed back to the next start"},
    {"retention-age", "DURATION", SETTING_DURATION, FIELD(retention_age), "90d", 0,
     INT64_C(36500) * 86400 * US_PER_SECOND,
     "executions older than this are removed; 0s keeps them"},
    {"retention-count", "N", SETTING_INTEGER, FIELD(retention_count), "10000", 0, INT64_C(1) << 40,
     "about so many executions of a run are kept, the newest; 0 is no limit"},
    {"retention-bytes", "BYTES", SETTING_BYTES, FIELD(retention_bytes), "8G", 0, 1024 * GIBIBYTE,
     "the oldest executions are removed when the store is larger; 0 is no limit"},
    {"token-secret-file", "FILE", SETTING_STRING, FIELD(token_secret_file), "", 0, 0,
     "secret that an application signs its users' tokens with (HS256); empty: no tokens"},
    {"log-level", "LEVEL", SETTING_STRING, FIELD(log_level), "info", 0, 0,
     "debug, info, warning or error"},
};

const size_t setting_count = COUNT_OF(setting_rows);

enum { LINE_BYTES = 4096, VARIABLE_BYTES = 64 };

static char **string_field(struct settings *settings, const struct setting_row *row) {
    return (char **)(void *)((char *)settings + row->offset);
}

static bool parse_integer(const char *text, char **out_end, int64_t *out_value) {
    errno = 0;
    *out_value = strtoll(text, out_end, 10);
    return *out_end != text && errno == 0 && !isspace((unsigned char)text[0]);
}

/* "65536", "64K", "64M", "2G". */
static bool parse_bytes(const char *text, int64_t *out_value) {
    char *end;
    int64_t value;
    if (!parse_integer(text, &end, &value) || value < 0) {
        return false;
    }
    static const char units[] = "KMG";
    int64_t factor = 1;
    if (*end != '\0') {
        const char *unit = strchr(units, toupper((unsigned char)*end));
        if (unit == NULL || end[1] != '\0') {
            return false;
        }
        factor = INT64_C(1) << (10 * (unit - units + 1));
    }
    return !__builtin_mul_overflow(value, factor, out_value);
}

static bool set_number(struct settings *settings, const struct setting_row *row, const char *source,
                       const char *text, struct error *err) {
    int64_t value = 0;
    char *end = "";
    bool ok = false;
    struct error inner = {0};
    if (row->type == SETTING_INTEGER) {
        ok = parse_integer(text, &end, &value) && *end == '\0';
    } else if (row->type == SETTING_BYTES) {
        ok = parse_bytes(text, &value);
    } else {
        struct duration duration;
        ok = duration_parse(text, &duration, &inner);
        value = ok ? duration.us : 0;
    }
    if (!ok || value < row->minimum || value > row->maximum) {
        char low[DURATION_BYTES];
        char high[DURATION_BYTES];
        if (row->type == SETTING_DURATION) {
            duration_format((struct duration){row->minimum}, low);
            duration_format((struct duration){row->maximum}, high);
        } else {
            snprintf(low, sizeof low, "%lld", (long long)row->minimum);
            snprintf(high, sizeof high, "%lld", (long long)row->maximum);
        }
        return error_set_field(err, ERROR_USAGE, row->key, "%s (%s): '%s' is not %s from %s to %s",
                               row->key, source, text,
                               row->type == SETTING_INTEGER ? "a whole number"
                               : row->type == SETTING_BYTES ? "a number of bytes such as 64M"
                                                            : "a duration such as 30s",
                               low, high);
    }
    *(int64_t *)(void *)((char *)settings + row->offset) = value;
    return true;
}

static bool set(struct settings *settings, const struct setting_row *row, const char *source,
                const char *text, struct error *err) {
    if (row->type != SETTING_STRING) {
        return set_number(settings, row, source, text, err);
    }
    char **field = string_field(settings, row);
    free(*field);
    *field = must_strdup(text);
    return true;
}

void settings_init(struct settings *settings) {
    *settings = (struct settings){0};
    for (size_t i = 0; i < setting_count; i++) {
        struct error err;
        bool ok = set(settings, &setting_rows[i], "default", setting_rows[i].default_text, &err);
        ASSERT(ok);
    }
}

void settings_fini(struct settings *settings) {
    for (size_t i = 0; i < setting_count; i++) {
        if (setting_rows[i].type == SETTING_STRING) {
            char **field = string_field(settings, &setting_rows[i]);
            free(*field);
            *field = NULL;
        }
    }
}

static char *trim(char *text) {
    while (isspace((unsigned char)*text)) {
        text++;
    }
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) {
        text[--length] = '\0';
    }
    return text;
}

static const struct setting_row *find_row(const char *key) {
    for (size_t i = 0; i < setting_count; i++) {
        if (strcmp(setting_rows[i].key, key) == 0) {
            return &setting_rows[i];
        }
    }
    return NULL;
}

static bool load_line(struct settings *settings, const char *source, char *line,
                      struct error *err) {
    char *text = trim(line);
    if (*text == '\0' || *text == '#') {
        return true;
    }
    char *equals = strchr(text, '=');
    if (equals == NULL) {
        return error_set(err, ERROR_USAGE, "%s: expected `key = value`, got '%.60s'", source, text);
    }
    *equals = '\0';
    const char *key = trim(text);
    const struct setting_row *row = find_row(key);
    if (row == NULL) {
        return error_set(err, ERROR_USAGE,
                         "%s: unknown setting '%.60s'; `orrery serve --help` lists them", source,
                         key);
    }
    return set(settings, row, source, trim(equals + 1), err);
}

static void close_file(FILE **file) {
    if (*file != NULL) {
        fclose(*file);
    }
}

static bool load_file(struct settings *settings, const char *path, struct error *err) {
    FILE *file CLEANUP(close_file) = fopen(path, "re");
    if (file == NULL) {
        return error_set_errno(err, ERROR_USAGE, errno, "cannot read the configuration file %s",
                               path);
    }
    char line[LINE_BYTES];
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        char source[LINE_BYTES];
        snprintf(source, sizeof source, "%.200s line %d", path, number);
        if (strchr(line, '\n') == NULL && !feof(file)) {
            return error_set(err, ERROR_USAGE, "%s: the line is too long", source);
        }
        if (!load_line(settings, source, line, err)) {
            return false;
        }
    }
    return true;
}

static void variable_name(const struct setting_row *row, char out[static VARIABLE_BYTES]) {
    snprintf(out, VARIABLE_BYTES, "ORRERY_%s", row->key);
    for (char *at = out; *at != '\0'; at++) {
        if (*at == '-') {
            *at = '_';
        } else {
            *at = (char)toupper((unsigned char)*at);
        }
    }
}

bool settings_load(struct settings *settings, const char *file, const struct settings_flag *flags,
                   size_t flag_count, struct error *err) {
    if (file != NULL && !load_file(settings, file, err)) {
        return false;
    }
    for (size_t i = 0; i < setting_count; i++) {
        char variable[VARIABLE_BYTES];
        variable_name(&setting_rows[i], variable);
        const char *value = getenv(variable);
        if (value != NULL && !set(settings, &setting_rows[i], variable, value, err)) {
            return false;
        }
    }
    for (size_t i = 0; i < flag_count; i++) {
        const struct setting_row *row = find_row(flags[i].key);
        ASSERT(row != NULL);
        if (flags[i].value != NULL && !set(settings, row, "command line", flags[i].value, err)) {
            return false;
        }
    }
    return true;
}

void settings_append_help(struct text *out) {
    for (size_t i = 0; i < setting_count; i++) {
        const struct setting_row *row = &setting_rows[i];
        char flag[64];
        snprintf(flag, sizeof flag, "--%s %s", row->key, row->value_name);
        text_printf(out, "  %-25s %s", flag, row->prose);
        if (*row->default_text != '\0') {
            text_printf(out, " [%s]", row->default_text);
        }
        text_append_char(out, '\n');
    }
}
