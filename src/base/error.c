#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct error_kind_row {
    const char *wire_name;
    int http_status;
    int exit_status;
    bool may_retry;
};

static const struct error_kind_row error_kind_rows[] = {
#define ERROR_ROW(identifier, wire_name, http_status, exit_status, may_retry)                      \
    [identifier] = {wire_name, http_status, exit_status, may_retry},
    ERROR_KINDS(ERROR_ROW)
#undef ERROR_ROW
};

static void fill(struct error *err, enum error_kind kind, const char *format, va_list arguments) {
    *err = (struct error){.kind = kind};
    vsnprintf(err->message, sizeof err->message, format, arguments);
}

bool(error_set)(struct error *err, enum error_kind kind, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fill(err, kind, format, arguments);
    va_end(arguments);
    return false;
}

bool(error_set_errno)(struct error *err, enum error_kind kind, int saved_errno, const char *format,
                      ...) {
    va_list arguments;
    va_start(arguments, format);
    fill(err, kind, format, arguments);
    va_end(arguments);
    err->saved_errno = saved_errno;
    size_t used = strlen(err->message);
    char text[128];
    /* The GNU strerror_r, which returns the text: thread-safe, unlike strerror. */
    snprintf(err->message + used, sizeof err->message - used, ": %s",
             strerror_r(saved_errno, text, sizeof text));
    return false;
}

bool(error_set_field)(struct error *err, enum error_kind kind, const char *field,
                      const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fill(err, kind, format, arguments);
    va_end(arguments);
    snprintf(err->field, sizeof err->field, "%s", field);
    return false;
}

bool(error_prefix)(struct error *err, const char *format, ...) {
    char message[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    size_t used = strlen(message);
    /* Cut where it is too long; the return value is looked at so that gcc knows we know. */
    int length = snprintf(message + used, sizeof message - used, ": %s", err->message);
    ASSERT(length >= 0);
    memcpy(err->message, message, sizeof message);
    return false;
}

static const struct error_kind_row *row_of(enum error_kind kind) {
    ASSERT((size_t)kind < COUNT_OF(error_kind_rows));
    return &error_kind_rows[kind];
}

const char *error_kind_wire_name(enum error_kind kind) { return row_of(kind)->wire_name; }

int error_kind_http_status(enum error_kind kind) { return row_of(kind)->http_status; }

int error_kind_exit_status(enum error_kind kind) { return row_of(kind)->exit_status; }

bool error_kind_may_retry(enum error_kind kind) { return row_of(kind)->may_retry; }

enum error_kind error_kind_from_wire_name(const char *wire_name) {
    for (size_t i = 0; i < COUNT_OF(error_kind_rows); i++) {
        if (strcmp(error_kind_rows[i].wire_name, wire_name) == 0) {
            return (enum error_kind)i;
        }
    }
    return ERROR_INTERNAL;
}
