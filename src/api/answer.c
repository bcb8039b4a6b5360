#include "api/answer.h"

#include "observe/log.h"

#include <stdio.h>
#include <string.h>

enum { ERROR_BODY_BYTES = 512 };

static const char internal_sentence[] =
    "something went wrong inside; the server's log tells more under this correlation id";

static const char store_sentence[] = "the store cannot do this now (a full disk?), nothing was "
                                     "changed; the server's log tells more under this "
                                     "correlation id";

const struct error *answer_too_many(struct error *err) {
    error_set(err, ERROR_UNAVAILABLE,
              "so many large answers are being sent that memory is short; try again");
    return err;
}

void answer_begin(struct text *body, size_t expected_bytes) {
    text_init(body, ANSWER_BYTES_MAXIMUM);
    (void)text_reserve(body, expected_bytes);
}

void answer_json(struct http_request *request, int status, struct text *body) {
    if (!text_ok(body)) {
        text_fini(body);
        struct error err;
        error_set(&err, ERROR_INTERNAL, "the answer is larger than %d bytes", ANSWER_BYTES_MAXIMUM);
        answer_error(request, &err);
        return;
    }
    size_t body_bytes = body->size_bytes;
    if (!http_reserve_answer(request, body_bytes)) {
        text_fini(body);
        struct error err;
        answer_error(request, answer_too_many(&err));
        return;
    }
    http_answer_taking(request, status, "application/json", text_take(body), body_bytes);
}

struct error *problems_add(struct problems *problems) {
    if (problems->items == NULL) {
        /* One place more than are counted: what comes after the last goes there, and is forgotten. */
        problems->items =
            arena_alloc(problems->arena, sizeof(struct error) * (PROBLEMS_MAXIMUM + 1));
    }
    struct error *place = &problems->items[problems->count];
    if (problems->count < PROBLEMS_MAXIMUM) {
        problems->count++;
    }
    return place;
}

bool problems_about(const struct problems *problems, const char *field) {
    size_t length = strlen(field);
    for (size_t i = 0; i < problems->count; i++) {
        const char *about = problems->items[i].field;
        if (strncmp(about, field, length) == 0 && (about[length] == '\0' || about[length] == '.')) {
            return true;
        }
    }
    return false;
}

/* Kinds whose message is for the log alone. */
static bool is_internal(enum error_kind kind) {
    return kind == ERROR_INTERNAL || kind == ERROR_STORE || kind == ERROR_IO ||
           kind == ERROR_NONE || kind == ERROR_USAGE;
}

static const char *message_of(const struct error *err) {
    if (err->kind == ERROR_STORE) {
        return store_sentence;
    }
    return is_internal(err->kind) ? internal_sentence : err->message;
}

static int status_of(const struct error *err) {
    /* A store that fails may do better in a moment: disks are emptied. */
    bool is_fault = is_internal(err->kind) && err->kind != ERROR_STORE;
    return is_fault ? 500 : error_kind_http_status(err->kind);
}

static const char *name_of(const struct error *err) {
    return error_kind_wire_name(err->kind == ERROR_NONE || err->kind == ERROR_USAGE ? ERROR_INTERNAL
                                                                                    : err->kind);
}

static void append_detail(struct text *body, const struct error *err) {
    text_append(body, "{\"field\":");
    text_append_json_string(body, err->field);
    text_append(body, ",\"message\":");
    text_append_json_string(body, message_of(err));
    text_append(body, ",\"error\":");
    text_append_json_string(body, name_of(err));
    if (err->column > 0) {
        text_printf(body, ",\"column\":%u", err->column);
    }
    text_append_char(body, '}');
}

void answer_append_error(struct text *body, const struct error *errors, size_t count,
                         const char *correlation_id) {
    text_append(body, "{\"error\":");
    text_append_json_string(body, name_of(&errors[0]));
    text_append(body, ",\"message\":");
    text_append_json_string(body, message_of(&errors[0]));
    text_printf(body, ",\"status_code\":%d,\"correlation_id\":", status_of(&errors[0]));
    text_append_json_string(body, correlation_id);
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        if (errors[i].field[0] == '\0') {
            continue;
        }
        text_append(body, any ? "," : ",\"details\":[");
        append_detail(body, &errors[i]);
        any = true;
    }
    text_append(body, any ? "]}" : "}");
}

/* The Open Inference Protocol has a form of its own. */
static bool is_inference(const struct http_request *request) {
    const char *path = request->path;
    return strncmp(path, "/v2", 3) == 0 && (path[3] == '\0' || path[3] == '/');
}

static void append_inference_error(struct text *body, const struct error *err) {
    static const char root[] = "parameters.";
    const char *message = message_of(err);
    /* There, the parameters are the request itself. */
    message += strncmp(message, root, sizeof root - 1) == 0 ? sizeof root - 1 : 0;
    text_append(body, "{\"error\":");
    text_append_json_string(body, message);
    text_append_char(body, '}');
}

static void answer_errors(struct http_request *request, const struct error *errors, size_t count) {
    struct text body;
    answer_begin(&body, ERROR_BODY_BYTES);
    if (is_inference(request)) {
        append_inference_error(&body, &errors[0]);
    } else {
        answer_append_error(&body, errors, count, request->correlation_id);
    }
    int status = status_of(&errors[0]);
    if (is_internal(errors[0].kind)) {
        log_event(LOG_ERROR, "request_failed",
                  LOG_STRING("correlation_id", request->correlation_id), LOG_FAILURE(&errors[0]));
    }
    if (status == 401) {
        http_add_header(request, "WWW-Authenticate", "Bearer");
    } else if (status == 503) {
        http_add_header(request, "Retry-After", "1");
    }
    answer_json(request, status, &body);
}

void answer_problems(struct http_request *request, const struct problems *problems) {
    ASSERT(problems->count > 0);
    answer_errors(request, problems->items, problems->count);
}

void answer_error(struct http_request *request, const struct error *err) {
    answer_errors(request, err, 1);
}
