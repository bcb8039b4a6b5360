/* The one error convention.
 *
 * A function that can fail returns bool and fills a `struct error *`, its last parameter, never NULL.
 * True: the promise holds and outputs are written. False: the error is filled, outputs are untouched.
 * The error is a value on the caller's stack; filling it allocates nothing and needs no cleanup.
 *
 * A kind has one row in ERROR_KINDS: identifier, name on the wire, HTTP status, exit status of a
 * command, and whether an execution that ended so may be retried. Only api/ and cli/ translate kinds
 * outward. A layer that knows more adds context with error_prefix.
 *
 * Messages are shown to clients, so they never hold what another owner may not see, and no path or
 * SQL of the server's; what is internal goes to the log (kinds with status 500 are answered with a
 * fixed sentence). */
#ifndef ORRERY_BASE_ERROR_H
#define ORRERY_BASE_ERROR_H

#include "base/base.h"

/*  identifier                     wire name               HTTP  exit  retry */
#define ERROR_KINDS(X)                                                                             \
    X(ERROR_NONE, "None", 200, 0, false)                                                           \
    X(ERROR_MALFORMED, "MalformedRequest", 400, 1, false)                                          \
    X(ERROR_INVALID, "ValidationError", 400, 1, false)                                             \
    X(ERROR_INVALID_CRON, "InvalidCronExpression", 400, 1, false)                                  \
    X(ERROR_NEVER_FIRES, "ScheduleNeverFires", 400, 3, false)                                      \
    X(ERROR_INVALID_ZONE, "InvalidTimezone", 400, 1, false)                                        \
    X(ERROR_UNKNOWN_MODEL, "UnknownModel", 400, 1, false)                                          \
    X(ERROR_INVALID_PARAMETERS, "InvalidParameters", 400, 1, false)                                \
    X(ERROR_UNAUTHENTICATED, "Unauthorized", 401, 1, false)                                        \
    X(ERROR_FORBIDDEN, "Forbidden", 403, 1, false)                                                 \
    X(ERROR_NOT_FOUND, "NotFound", 404, 1, false)                                                  \
    X(ERROR_METHOD_NOT_ALLOWED, "MethodNotAllowed", 405, 1, false)                                 \
    X(ERROR_CONFLICT, "Conflict", 409, 1, false)                                                   \
    X(ERROR_STALE, "PreconditionFailed", 412, 1, false)                                            \
    X(ERROR_TOO_LARGE, "PayloadTooLarge", 413, 1, false)                                           \
    X(ERROR_MEDIA_TYPE, "UnsupportedMediaType", 415, 1, false)                                     \
    X(ERROR_RATE_LIMITED, "RateLimited", 429, 1, true)                                             \
    X(ERROR_INTERNAL, "InternalError", 500, 1, true)                                               \
    X(ERROR_STORE, "StoreError", 503, 1, true)                                                     \
    X(ERROR_IO, "InputOutputError", 500, 1, true)                                                  \
    X(ERROR_UNAVAILABLE, "ServiceUnavailable", 503, 1, true)                                       \
    X(ERROR_MODEL_UNAVAILABLE, "ModelUnavailable", 503, 1, true)                                   \
    X(ERROR_MODEL_FAILED, "ModelError", 500, 1, false)                                             \
    X(ERROR_WORKER_CRASHED, "WorkerCrashed", 500, 1, true)                                         \
    X(ERROR_TIMED_OUT, "TimedOut", 504, 1, true)                                                   \
    X(ERROR_INTERRUPTED, "Interrupted", 503, 1, true)                                              \
    X(ERROR_OVERLAP, "Overlap", 409, 1, false)                                                     \
    X(ERROR_MISSED, "Missed", 409, 1, false)                                                       \
    X(ERROR_PAUSED, "Paused", 409, 1, false)                                                       \
    X(ERROR_CANCELLED, "Cancelled", 409, 1, false)                                                 \
    X(ERROR_USAGE, "Usage", 400, 2, false)

enum error_kind {
#define ERROR_IDENTIFIER(identifier, wire_name, http_status, exit_status, may_retry) identifier,
    ERROR_KINDS(ERROR_IDENTIFIER)
#undef ERROR_IDENTIFIER
};

enum { ERROR_FIELD_BYTES = 64, ERROR_MESSAGE_BYTES = 440 };

struct error {
    enum error_kind kind;
    int saved_errno;               /* 0 where no system call failed */
    uint32_t column;               /* 1-based place in the field's text, in bytes; 0 unknown */
    char field[ERROR_FIELD_BYTES]; /* "schedule", "retry.backoff"; empty where it is about none */
    char message[ERROR_MESSAGE_BYTES]; /* one sentence without a full stop, UTF-8 */
};

/* Fills the error and returns false, so that a function can end with `return error_set(…)`. The field
 * and column are cleared. A message that is too long is cut. */
bool error_set(struct error *err, enum error_kind kind, const char *format, ...) PRINTF_LIKE(3, 4);

/* The same with errno saved and its text appended (": No space left on device"). */
bool error_set_errno(struct error *err, enum error_kind kind, int saved_errno, const char *format,
                     ...) PRINTF_LIKE(4, 5);

/* The same, about one field of the input. */
bool error_set_field(struct error *err, enum error_kind kind, const char *field, const char *format,
                     ...) PRINTF_LIKE(4, 5);

/* Puts "context: " before the message. Returns false. */
bool error_prefix(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* The compilers and analyzers see that these return false, and so which outputs are not written. */
#define error_set(...)                                                                             \
    ({                                                                                             \
        (error_set)(__VA_ARGS__);                                                                  \
        (bool)false;                                                                               \
    })
#define error_set_errno(...)                                                                       \
    ({                                                                                             \
        (error_set_errno)(__VA_ARGS__);                                                            \
        (bool)false;                                                                               \
    })
#define error_set_field(...)                                                                       \
    ({                                                                                             \
        (error_set_field)(__VA_ARGS__);                                                            \
        (bool)false;                                                                               \
    })
#define error_prefix(...)                                                                          \
    ({                                                                                             \
        (error_prefix)(__VA_ARGS__);                                                               \
        (bool)false;                                                                               \
    })

const char *error_kind_wire_name(enum error_kind kind);
int error_kind_http_status(enum error_kind kind);
int error_kind_exit_status(enum error_kind kind);
bool error_kind_may_retry(enum error_kind kind);
/* For sets of kinds. */
static inline uint64_t error_kind_bit(enum error_kind kind) { return UINT64_C(1) << kind; }

/* The kind with this wire name, or ERROR_INTERNAL. */
enum error_kind error_kind_from_wire_name(const char *wire_name);

#endif
