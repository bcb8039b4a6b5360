/* Structured log: one line an event, on standard error, as logfmt
 * (`time=… level=info event=execution_finished execution_id=… duration_ms=3`), values quoted where they
 * need it. An event has a constant name and typed fields.
 *
 * log_event may be called from any thread; whole lines are written with one write(2), so they never mix. The
 * thread's correlation id, where one is set, comes along unasked. Only loops and handlers log: what
 * lies below returns errors. A secret is never passed to the log. */
#ifndef ORRERY_OBSERVE_LOG_H
#define ORRERY_OBSERVE_LOG_H

#include "base/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

enum log_field_type { LOG_FIELD_STRING, LOG_FIELD_INTEGER, LOG_FIELD_ERROR };

struct log_field {
    const char *name;
    enum log_field_type type;
    union {
        const char *string;
        int64_t integer;
        const struct error *error; /* written as error=<wire name> message="…" field=… */
    };
};

#define LOG_STRING(field_name, value)                                                              \
    ((struct log_field){.name = (field_name), .type = LOG_FIELD_STRING, .string = (value)})
#define LOG_INTEGER(field_name, value)                                                             \
    ((struct log_field){                                                                           \
        .name = (field_name), .type = LOG_FIELD_INTEGER, .integer = (int64_t)(value)})
#define LOG_FAILURE(value) ((struct log_field){.type = LOG_FIELD_ERROR, .error = (value)})

/* log_event(LOG_INFO, "listening", LOG_STRING("address", text), LOG_INTEGER("port", port)); */
#define log_event(level, event, ...)                                                               \
    log_write((level), (event), (const struct log_field[]){{0}, ##__VA_ARGS__},                    \
              sizeof((const struct log_field[]){{0}, ##__VA_ARGS__}) / sizeof(struct log_field))

/* Use log_event: fields[0] is a placeholder, so that an event without fields is one, too. */
void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count);

/* Events below the level are dropped. Set once at start, before threads. */
void log_set_level(enum log_level level);
bool log_level_parse(const char *text, enum log_level *out_level);

/* Between the two, this thread's lines are kept and written together, many in one write: for loops that log a
 * line an execution. An error is written at once, with those before it. */
void log_hold(void);
void log_release(void);
/* A thread that has held lines calls this last: it gives back their memory. */
void log_end_thread(void);

/* The correlation id of what this thread does now; NULL ends it. Borrowed until then. */
void log_set_correlation_id(const char *correlation_id);

#endif
