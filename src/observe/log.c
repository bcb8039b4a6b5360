#include "observe/log.h"

#include "base/text.h"
#include "clock/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* HELD: what one write takes at most. The buffer belongs to its thread and lives as long as the thread's use of it. */
enum { LOG_LINE_BYTES = 8192, LOG_HELD_BYTES = 32 * 1024 };

static enum log_level lowest_level = LOG_INFO;
static _Thread_local const char *thread_correlation_id;
static _Thread_local struct text held_lines;
static _Thread_local bool holds;

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

static void append_name(struct text *line, const char *name) {
    text_append_char(line, ' ');
    text_append(line, name);
    text_append_char(line, '=');
}

static void append_string(struct text *line, const char *name, const char *value) {
    append_name(line, name);
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
        append_name(line, field->name);
        text_append_integer(line, field->integer);
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

static void write_lines(struct text *lines) {
    if (lines->size_bytes > 0) {
        ssize_t ignored = write(STDERR_FILENO, text_string(lines), lines->size_bytes);
        (void)ignored;
        text_reset(lines);
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count) {
    if (level < lowest_level) {
        return;
    }
    struct text line;
    text_init(&line, LOG_LINE_BYTES);
    if (holds) { /* the memory of the lines before it is used again */
        line = held_lines;
        line.maximum_bytes = line.size_bytes + LOG_LINE_BYTES;
    }
    size_t before_bytes = line.size_bytes;
    char time[RFC3339_BYTES];
    wall_time_format(clock_wall_now(clock_system()), time);
    text_append(&line, "time=");
    text_append(&line, time);
    append_string(&line, "level", level_names[level]);
    append_string(&line, "event", event);
    if (thread_correlation_id != NULL) {
        append_string(&line, "correlation_id", thread_correlation_id);
    }
    for (size_t i = 1; i < field_count; i++) {
        append_field(&line, &fields[i]);
    }
    text_append_char(&line, '\n');
    if (!text_ok(&line)) { /* too long: dropped whole */
        line.size_bytes = before_bytes;
        line.overflowed = false;
    }
    if (!holds) {
        write_lines(&line);
        text_fini(&line);
        return;
    }
    held_lines = line;
    if (level == LOG_ERROR || held_lines.size_bytes >= LOG_HELD_BYTES) {
        write_lines(&held_lines);
    }
}

void log_hold(void) { holds = true; }

void log_release(void) {
    holds = false;
    write_lines(&held_lines);
}

void log_end_thread(void) {
    log_release();
    text_fini(&held_lines);
}
