/* The keys of backend http:
 *
 *   url                 where the request goes
 *   method              POST
 *   headers             an object: further header fields; "${secret:NAME}" in a value stands for a secret. Content-Type
 *                       and Accept replace what is sent otherwise (application/json); those that orrery or libcurl must
 *                       make themselves are refused (refused_headers)
 *   body                any JSON, in which the strings "$parameters", "$scheduled_for", "$execution_id" and "$run_id" are
 *                       replaced by their values; "$parameters" alone where it is not given
 *   result              a JSON pointer (RFC 6901) to the result in the answer; the whole answer
 *   retryable_statuses  answers that another attempt may mend; 408, 425, 429, 500, 502, 503, 504
 *   unix_socket         a path: the server listens there
 *   ca_file             whose signature its certificate must have; one that the system trusts
 *   connect_timeout     10s; the whole takes no longer than the execution's timeout in any case
 *   first_byte_timeout  the longest from the connection to the first byte of the answer; no bound of its own
 *   answer_limit        the most bytes of an answer; 16 MB
 *
 * and of backend openinference, whose parameters and results have the protocol's form: url (without /v2), model (its name
 * there; the model's own), headers, retryable_statuses, unix_socket, ca_file, connect_timeout, first_byte_timeout,
 * answer_limit. */
#include "model/element.h"
#include "model/settings_keys.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADERS_MAXIMUM = 64, STATUSES_MAXIMUM = 64, CONNECT_TIMEOUT_S = 10 };
/* Reading it as JSON takes several times as much memory for a moment. */
#define ANSWER_BYTES_DEFAULT (UINT64_C(16) << 20)
#define ANSWER_BYTES_MAXIMUM (UINT64_C(1) << 30)

static const uint16_t default_retryable[] = {408, 425, 429, 500, 502, 503, 504};

static bool read_url(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    const char *url;
    if (!settings_read_string("url", value, reading->arena, &url, err)) {
        return false;
    }
    const char *rest = strncmp(url, "http://", 7) == 0    ? url + 7
                       : strncmp(url, "https://", 8) == 0 ? url + 8
                                                          : NULL;
    if (rest == NULL || *rest == '\0' || *rest == '/') {
        return error_set(err, ERROR_INVALID,
                         "model.json: url '%.100s' is no address that begins with http:// or "
                         "https:// and names a server",
                         url);
    }
    if (memchr(rest, '@', strcspn(rest, "/?#")) != NULL) {
        return error_set(err, ERROR_INVALID,
                         "model.json: url has a name or password in it; use a header with "
                         "${secret:NAME}");
    }
    for (const char *at = url; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f) {
            return error_set(err, ERROR_INVALID,
                             "model.json: url has white space or a control character in it");
        }
    }
    reading->settings->http->url = url;
    return true;
}

static bool read_method(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    static const char *const methods[] = {"POST", "PUT", "PATCH"};
    const char *method;
    if (!settings_read_string("method", value, reading->arena, &method, err)) {
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        if (strcmp(method, methods[i]) == 0) {
            reading->settings->http->method = methods[i];
            return true;
        }
    }
    return error_set(err, ERROR_INVALID,
                     "model.json: method '%.20s' is not known; there is POST, PUT, PATCH", method);
}

/* RFC 9110 section 5.1 and 5.5: a token, and no control characters. */
static bool header_is_valid(const char *name, const char *value) {
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    bool ok = *name != '\0' && name[strspn(name, token)] == '\0';
    for (const char *at = value; *at != '\0'; at++) {
        ok = ok && (unsigned char)*at >= ' ' && *at != 0x7f;
    }
    return ok;
}

/* What follows from each request or execution, or changes what is said on the connection or how an answer is written. */
static const struct {
    const char *name, *why;
} refused_headers[] = {
    {"Idempotency-Key", "it is each execution's id"},
    {"traceparent", "it is made of each execution's id"},
    {"Content-Length", "it is the body's"},
    {"Transfer-Encoding", "the body is sent in one piece"},
    {"Content-Encoding", "the body is not compressed"},
    {"Accept-Encoding", "an answer is read as it comes"},
    {"Expect", "the body waits for no leave"},
    {"Connection", "connections are kept as the protocol has it"},
    {"Keep-Alive", "connections are kept as the protocol has it"},
    {"Proxy-Connection", "no proxy is used"},
    {"Proxy-Authorization", "no proxy is used"},
    {"TE", "an answer is read as it comes"},
    {"Trailer", "the body is sent in one piece"},
    {"Upgrade", "HTTP/2 is agreed on with TLS"},
};

/* The last of those that have been read. */
static bool check_header(const struct http_header *headers, size_t index, struct error *err) {
    const char *name = headers[index].name;
    if (!header_is_valid(name, headers[index].value)) {
        return error_set(err, ERROR_INVALID,
                         "model.json: headers: '%.60s' is no header field (RFC 9110)", name);
    }
    for (size_t i = 0; i < COUNT_OF(refused_headers); i++) {
        if (strcasecmp(name, refused_headers[i].name) == 0) {
            return error_set(err, ERROR_INVALID, "model.json: headers: '%s' cannot be set: %s",
                             name, refused_headers[i].why);
        }
    }
    for (size_t i = 0; i < index; i++) {
        if (strcasecmp(name, headers[i].name) == 0) {
            return error_set(err, ERROR_INVALID, "model.json: headers: '%.60s' is given twice",
                             name);
        }
    }
    return true;
}

static bool read_headers(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    size_t count = yyjson_obj_size(value);
    if (!yyjson_is_obj(value) || count > HEADERS_MAXIMUM) {
        return error_set(err, ERROR_INVALID,
                         "model.json: headers is %s, expected an object of at most %d strings",
                         json_kind_name(value), HEADERS_MAXIMUM);
    }
    struct http_header *headers = arena_alloc_zeroed(reading->arena, (count + 1) * sizeof *headers);
    size_t index;
    size_t ignored_count;
    yyjson_val *name;
    yyjson_val *item;
    yyjson_obj_foreach(value, index, ignored_count, name, item) {
        if (!settings_read_string("headers: a name", name, reading->arena, &headers[index].name,
                                  err) ||
            !settings_read_string("headers: a value", item, reading->arena, &headers[index].value,
                                  err) ||
            !check_header(headers, index, err)) {
            return false;
        }
    }
    reading->settings->http->headers = headers;
    reading->settings->http->header_count = count;
    return true;
}

static bool read_body(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    (void)err;
    char *text = yyjson_val_write(value, YYJSON_WRITE_NOFLAG, NULL);
    ASSERT(text != NULL);
    reading->settings->http->body = arena_strdup(reading->arena, text);
    free(text);
    return true;
}

bool settings_read_result(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    const char *pointer;
    if (!settings_read_string("result", value, reading->arena, &pointer, err)) {
        return false;
    }
    if (*pointer != '\0' && *pointer != '/') {
        return error_set(err, ERROR_INVALID,
                         "model.json: result '%.60s' is no JSON pointer such as /prediction/0",
                         pointer);
    }
    reading->settings->http->result_pointer = pointer;
    return true;
}

static bool read_statuses(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    size_t count = yyjson_arr_size(value);
    if (!yyjson_is_arr(value) || count > STATUSES_MAXIMUM) {
        return error_set(err, ERROR_INVALID,
                         "model.json: retryable_statuses is %s, expected a list of at most %d "
                         "numbers",
                         json_kind_name(value), STATUSES_MAXIMUM);
    }
    uint16_t *statuses = arena_alloc_zeroed(reading->arena, (count + 1) * sizeof *statuses);
    size_t index;
    size_t ignored_count;
    yyjson_val *item;
    yyjson_arr_foreach(value, index, ignored_count, item) {
        uint64_t status;
        if (!settings_read_integer("retryable_statuses", item, 300, 599, &status, err)) {
            return false;
        }
        statuses[index] = (uint16_t)status;
    }
    reading->settings->http->retryable_statuses = statuses;
    reading->settings->http->retryable_status_count = count;
    return true;
}

static bool read_path(const char *key, yyjson_val *value, struct arena *arena,
                      const char **out_path, struct error *err) {
    if (!settings_read_string(key, value, arena, out_path, err)) {
        return false;
    }
    return **out_path == '/' ||
           error_set(err, ERROR_INVALID, "model.json: %s is no absolute path", key);
}

static bool read_unix_socket(yyjson_val *value, struct settings_reading *reading,
                             struct error *err) {
    return read_path("unix_socket", value, reading->arena, &reading->settings->http->unix_socket,
                     err);
}

static bool read_ca_file(yyjson_val *value, struct settings_reading *reading, struct error *err) {
    return read_path("ca_file", value, reading->arena, &reading->settings->http->ca_file, err);
}

static bool read_connect_timeout(yyjson_val *value, struct settings_reading *reading,
                                 struct error *err) {
    return settings_read_duration("connect_timeout", value,
                                  &reading->settings->http->connect_timeout, err);
}

static bool read_first_byte_timeout(yyjson_val *value, struct settings_reading *reading,
                                    struct error *err) {
    return settings_read_duration("first_byte_timeout", value,
                                  &reading->settings->http->first_byte_timeout, err);
}

static bool read_answer_limit(yyjson_val *value, struct settings_reading *reading,
                              struct error *err) {
    return settings_read_integer("answer_limit", value, 1, ANSWER_BYTES_MAXIMUM,
                                 &reading->settings->http->answer_bytes_maximum, err);
}

bool settings_read_served_name(yyjson_val *value, struct settings_reading *reading,
                               struct error *err) {
    return settings_read_string("model", value, reading->arena,
                                &reading->settings->http->served_name, err);
}

void settings_begin_server(struct settings_reading *reading) {
    struct http_settings *http = arena_alloc_zeroed(reading->arena, sizeof *http);
    *http = (struct http_settings){
        .method = "POST",
        .body = "\"$parameters\"",
        .result_pointer = "",
        .required_pointer = "",
        .retryable_statuses = default_retryable,
        .retryable_status_count = COUNT_OF(default_retryable),
        .connect_timeout = {CONNECT_TIMEOUT_S * US_PER_SECOND},
        .answer_bytes_maximum = ANSWER_BYTES_DEFAULT,
    };
    reading->settings->http = http;
}

bool settings_finish_server(struct settings_reading *reading, struct error *err) {
    return reading->settings->http->url != NULL ||
           error_set(err, ERROR_INVALID,
                     "model.json: url is missing, such as \"http://127.0.0.1:8000/predict\"");
}

const struct settings_key settings_server_keys[SETTINGS_SERVER_KEY_COUNT] = {
    {"url", read_url},
    {"headers", read_headers},
    {"retryable_statuses", read_statuses},
    {"unix_socket", read_unix_socket},
    {"ca_file", read_ca_file},
    {"connect_timeout", read_connect_timeout},
    {"first_byte_timeout", read_first_byte_timeout},
    {"answer_limit", read_answer_limit},
};

static const struct settings_key http_keys[] = {
    {"method", read_method},
    {"body", read_body},
    {"result", settings_read_result},
};

static const struct settings_key openinference_keys[] = {
    {"model", settings_read_served_name},
};

const struct settings_backend settings_of_http = {
    .backend = MODEL_BACKEND_HTTP,
    .max_concurrency = SETTINGS_SERVER_CONCURRENCY,
    .keys = http_keys,
    .key_count = COUNT_OF(http_keys),
    .shared_keys = settings_server_keys,
    .shared_key_count = SETTINGS_SERVER_KEY_COUNT,
    .begin = settings_begin_server,
    .finish = settings_finish_server,
};

const struct settings_backend settings_of_openinference = {
    .backend = MODEL_BACKEND_OPENINFERENCE,
    .max_concurrency = SETTINGS_SERVER_CONCURRENCY,
    .keys = openinference_keys,
    .key_count = COUNT_OF(openinference_keys),
    .shared_keys = settings_server_keys,
    .shared_key_count = SETTINGS_SERVER_KEY_COUNT,
    .begin = settings_begin_server,
    .finish = settings_finish_server,
};
