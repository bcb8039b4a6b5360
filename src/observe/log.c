#include "observe/log.h"

#include "base/text.h"
#include "clock/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOG_LINE_BYTES = 8192 };

static enum log_level lowest_level = LOG_INFO;
static _Thread_local const char *thread_correlation_id;

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARNING] = "warning", [LOG_ERROR] = "error"};

void log_set_level(enum log_level level) { lowest_level = level; }

bool log_level_parse(const char *text, enum log_level *out_level) {
    for (size_t i = 0; i < COUNT_OF(level_names); i++) {
        if (strcmp(level_names[i], text) == 0) {
            *out_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_set_correlation_id(const char *correlation_id) { thread_correlation_id = correlation_id; }

static bool needs_quotes(const char *value) {
    if (*value == '\0') {
        return true;
    }
    for (const unsigned char *at = (const unsigned char *)value; *at != '\0'; at++) {
        if (*at <= ' ' || *at == '"' || *at == '=' || *at == '\\' || *at >= 0x7f) {
            return true;
        }
    }
    return false;
}

static void append_string(struct text *line, const char *name, const char *value) {
    text_printf(line, " %s=", name);
    if (needs_quotes(value)) {
        text_append_json_string(line, value);
    } else {
        text_append(line, value);
    }
}

static void append_field(struct text *line, const struct log_field *field) {
    switch (field->type) {
    case LOG_FIELD_STRING:
        if (field->string != NULL) {
            append_string(line, field->name, field->string);
        }
        break;
    case LOG_FIELD_INTEGER:
        text_printf(line, " %s=%lld", field->name, (long long)field->integer);
        break;
    case LOG_FIELD_ERROR:
        append_string(line, "error", error_kind_wire_name(field->error->kind));
        append_string(line, "message", field->error->message);
        if (field->error->field[0] != '\0') {
            append_string(line, "field", field->error->field);
        }
        break;
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count) {
    if (level < lowest_level) {
        return;
    }
    char time[RFC3339_BYTES];
    wall_time_format(clock_wall_now(clock_system()), time);
    struct text line;
    text_init(&line, LOG_LINE_BYTES);
    text_printf(&line, "time=%s level=%s event=%s", time, level_names[level], event);
    if (thread_correlation_id != NULL) {
        append_string(&line, "correlation_id", thread_correlation_id);
    }
    for (size_t i = 1; i < field_count; i++) {
        append_field(&line, &fields[i]);
    }
    text_append_char(&line, '\n');
    if (text_ok(&line)) {
        ssize_t ignored = write(STDERR_FILENO, text_string(&line), line.size_bytes);
        (void)ignored;
    }
    text_fini(&line);
}
