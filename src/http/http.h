/* The HTTP server: an adapter of libmicrohttpd's epoll thread pool. It knows no domain word: it collects a
 * request, calls one handler, sends the answer.
 *
 * The handler is called on an HTTP thread when the whole body is there; where that is large, on a thread of its own, one
 * after the other, so that the other connections of its HTTP thread do not wait while it is read. It either answers at once with
 * http_answer, or calls http_defer first, hands the request to another thread and returns. Whoever has it then
 * calls, from any thread and exactly once, either http_answer, or http_continue, which brings the request back
 * to its HTTP thread for a further step.
 *
 * A request's arena holds all that is parsed and built for it, and the answer's body; it goes when the
 * answer is sent. One thread at a time has the request and so the arena. Limits (body, header, connections,
 * idle time) are checked here and answered with the errors that the `refuse` function renders; only what is
 * not HTTP at all, or whose header is too large, is answered by the library, with its own short page. */
#ifndef ORRERY_HTTP_HTTP_H
#define ORRERY_HTTP_HTTP_H

#include "base/arena.h"
#include "base/error.h"

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PATCH,
    HTTP_OTHER_METHOD,
};

/* "GET", …; "OTHER" for a method that has no name here. */
const char *http_method_name(enum http_method method);

struct http_request {
    enum http_method method;
    const char *path; /* percent-decoded, without the query; no NUL inside; "" if it is malformed */
    const char *body; /* NUL-terminated; "" without one */
    size_t body_bytes;
    struct arena arena;
    /* The request's id: from its X-Correlation-ID where that is safe to log (1 to 128 of [A-Za-z0-9._:-]),
     * else made. It is sent back in X-Correlation-ID by http_answer. */
    const char *correlation_id;
    /* True in a handler or step that began after http_server_drain: it must ask nothing new of other
     * threads, only answer. */
    bool is_late;
    void *user; /* the handler's; NULL at first */
};

/* A header, or NULL; the first, where it comes several times. Borrowed while the request lives; only before
 * http_defer. */
const char *http_header(const struct http_request *request, const char *name);

/* The same for a header whose value is a list: several lines are joined with ", " (RFC 9110 section 5.3). */
const char *http_header_list(struct http_request *request, const char *name);

/* Calls `each` for every query parameter, percent-decoded, '+' as a space (value "" where there is none), until
 * it returns false. Fails with ERROR_MALFORMED for a bad percent-encoding or a NUL. */
MUST_CHECK bool http_query_each(struct http_request *request,
                                bool (*each)(void *context, const char *name, const char *value),
                                void *context, struct error *err);

void http_defer(struct http_request *request);

/* After http_defer: has `step` called on the request's HTTP thread, as if it were the handler: it answers, or
 * defers again. */
void http_continue(struct http_request *request, void (*step)(struct http_request *request));

/* Memory that goes with the request: `release` is called when its answer is sent, or its client has gone. Once a
 * request. */
void http_keep(struct http_request *request, void *memory, size_t size_bytes,
               void (*release)(void *memory, size_t size_bytes));

/* Adds a header to the answer; the value is copied, the name must be static. The value must have no line
 * breaks. */
void http_add_header(struct http_request *request, const char *name, const char *value);

/* Before an answer of so many bytes in memory is made or kept: large ones wait for slow clients, and all together have a
 * bound. False: it is reached, and this one is to be answered with ERROR_UNAVAILABLE. (The first is always let in.) */
MUST_CHECK bool http_reserve_answer(struct http_request *request, size_t size_bytes);

/* Answers. The body must live in the request's arena, be kept or be static. Content-Length, Date, X-Correlation-ID and
 * the security headers are added here. A HEAD gets the header alone. */
void http_answer(struct http_request *request, int status, const char *content_type,
                 const char *body, size_t body_bytes);
/* The same with a body from malloc, which is taken over. */
void http_answer_taking(struct http_request *request, int status, const char *content_type,
                        char *body, size_t body_bytes);

/* Answers with `before`, then so many bytes of a file, then `after`, which live as a body does. The file is read as the
 * client takes it, so a large one takes no memory; it is taken over, and closed with the request. Should it turn out to
 * be shorter, the connection is closed in the middle of the answer. */
void http_answer_file(struct http_request *request, int status, const char *content_type,
                      const char *before, int file, uint64_t file_bytes, const char *after);

struct http_options {
    const char *listen; /* "127.0.0.1:8080", "[::1]:8080", ":8080", port 0: any; "unix:PATH" */
    uint32_t thread_count;
    uint32_t connection_maximum;
    size_t body_maximum_bytes;
    uint32_t idle_timeout_s; /* of a connection between and within requests */
    void (*handle)(struct http_request *request, void *context);
    /* Answers a request that is refused before it reaches the handler (too large, malformed). */
    void (*refuse)(struct http_request *request, const struct error *err, void *context);
    /* On the HTTP thread, when an answer goes out; for the log. May be NULL. */
    void (*answered)(struct http_request *request, int status, void *context);
    void *context;
};

struct http_server;

/* Fails with ERROR_USAGE for a bad address and ERROR_IO for one that cannot be listened on. */
MUST_CHECK bool http_server_new(const struct http_options *options, struct http_server **out_server,
                                struct error *err);
/* The bound address, "127.0.0.1:43127". */
const char *http_server_address(const struct http_server *server);
/* From now on each request is late, and its connection is closed after the answer. Connections are still accepted: who
 * asks shall hear that the server is going, not wait in vain. When it returns no handler is running that is not late,
 * so nothing new comes from here; deferred requests live on. */
void http_server_drain(struct http_server *server);
/* Stops accepting. Waits until no request is deferred any more and, for a few seconds at most, until the answers are sent; then
 * closes all. NULL is accepted. */
void http_server_free(struct http_server *server);

#endif
