/* The thread pool and its callbacks. For one request the library calls: on_uri, then on_access without data
 * (the header is there), on_access for each piece of the body, on_access again (all is there; and once more
 * after each resumption), and on_completed. An answer that is queued in the first of the on_access calls makes
 * the library close the connection, because the body is still to come: so that is done for refusals only. */
#include "http/exchange.h"

#include "observe/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    /* Header and read buffer of a connection. */
    CONNECTION_MEMORY_BYTES = 16 * 1024,
    THREAD_STACK_BYTES = 512 * 1024,
    /* So much of a body that is too large is read and dropped, so that its sender reads the answer instead of a
     * broken pipe; one that is larger still is cut off. */
    DROPPED_BYTES_MAXIMUM = 16 * 1024 * 1024,
    SENDING_LIMIT_MS = 5000,
    /* A body that is there so soon came with its header. */
    TOGETHER_US = 20,
    /* One may do so by chance, where this thread was late. */
    TOGETHER_ENOUGH = 8,
};

/* --- one request -------------------------------------------------------------------------------- */

static void *on_uri(void *context, const char *uri, struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct exchange *exchange = info->socket_context;
    if (exchange->state != EXCHANGE_IDLE) {
        /* The last request never got as far as on_access, so nobody has ended it. */
        exchange_end(exchange);
    }
    exchange->server = context;
    exchange->connection = connection;
    exchange_begin(exchange, uri);
    return exchange;
}

/* The path and the query are decoded in uri.c, which tells what is malformed. */
static size_t leave_escaped(void *context, struct MHD_Connection *connection, char *text) {
    (void)context;
    (void)connection;
    return strlen(text);
}

static void refuse(struct exchange *exchange, const struct error *err) {
    const struct http_options *options = &exchange->server->options;
    options->refuse(&exchange->request, err, options->context);
}

static void refuse_too_large(struct exchange *exchange) {
    struct error err;
    error_set(&err, ERROR_TOO_LARGE, "the body is larger than %zu bytes",
              exchange->server->options.body_maximum_bytes);
    refuse(exchange, &err);
}

/* The announced length of the body: 0 without one, SIZE_MAX if it comes in chunks. The library has refused what
 * is no number. */
static size_t announced_bytes(struct exchange *exchange) {
    if (http_header(&exchange->request, "Transfer-Encoding") != NULL) {
        return SIZE_MAX;
    }
    const char *text = http_header(&exchange->request, "Content-Length");
    if (text == NULL) {
        return 0;
    }
    return (size_t)MIN_OF(strtoull(text, NULL, 10), (unsigned long long)SIZE_MAX - 1);
}

static enum MHD_Result queue(struct exchange *exchange) {
    const struct http_options *options = &exchange->server->options;
    if (atomic_load_explicit(&exchange->server->draining, memory_order_relaxed)) {
        exchange->closes = true;
    }
    if (options->answered != NULL) {
        options->answered(&exchange->request, exchange->status, options->context);
    }
    return exchange_queue_answer(exchange);
}

/* Acknowledges the header now. A client that sends header and body in two writes, and leaves Nagle's algorithm on,
 * holds the body back until then, and the kernel would wait 40 ms for an answer to send the acknowledgement with
 * (tcp(7), TCP_QUICKACK, which has to be asked for each time). Most clients send both together: where the last bodies
 * on the connection came right behind their headers, the call is saved. */
static void acknowledge(struct exchange *exchange) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    int on = 1;
    (void)setsockopt(info->connect_fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

static enum MHD_Result take_header(struct exchange *exchange, const char *method) {
    exchange_take_header(exchange, method);
    exchange->state = EXCHANGE_RECEIVING;
    size_t length_bytes = announced_bytes(exchange);
    size_t maximum_bytes = exchange->server->options.body_maximum_bytes;
    if (length_bytes > 0) {
        exchange->header_at = clock_monotonic_now(clock_system());
        if (exchange->together_count < TOGETHER_ENOUGH) {
            acknowledge(exchange);
        }
    }
    if (length_bytes == SIZE_MAX || length_bytes <= maximum_bytes) {
        exchange_expect_body(exchange, length_bytes == SIZE_MAX ? 0 : length_bytes);
        return MHD_YES;
    }
    exchange->is_too_large = true;
    const char *expect = http_header(&exchange->request, "Expect");
    bool waits = expect != NULL && strcasecmp(expect, "100-continue") == 0;
    if (waits || length_bytes - maximum_bytes > DROPPED_BYTES_MAXIMUM) {
        exchange->state = EXCHANGE_HANDLING;
        refuse_too_large(exchange);
        return queue(exchange);
    }
    return MHD_YES;
}

static void call_handler(struct exchange *exchange) {
    struct http_server *server = exchange->server;
    struct error err;
    if (exchange->is_too_large) {
        refuse_too_large(exchange);
    } else if (exchange->is_crowded_out) {
        error_set(&err, ERROR_UNAVAILABLE, "too many large requests at the same time");
        refuse(exchange, &err);
    } else if (exchange->is_malformed) {
        error_set(&err, ERROR_MALFORMED, "the path has a bad percent-encoding or a NUL");
        refuse(exchange, &err);
    } else {
        server->options.handle(&exchange->request, server->options.context);
    }
}

/* Calls the handler, or the further step. True: it has given the exchange away. */
static bool handle(struct exchange *exchange, bool continues) {
    struct http_server *server = exchange->server;
    gate_enter(&server->handling);
    exchange->request.is_late = atomic_load(&server->draining);
    exchange->state = EXCHANGE_HANDLING;
    exchange_was_deferred = false;
    if (continues) {
        exchange->step(&exchange->request);
    } else {
        call_handler(exchange);
    }
    bool was_deferred = exchange_was_deferred;
    gate_leave(&server->handling);
    return was_deferred;
}

/* All of the request is there, or it has come back. */
static enum MHD_Result advance(struct exchange *exchange) {
    struct http_server *server = exchange->server;
    bool continues = exchange->state == EXCHANGE_CONTINUES;
    bool is_new = exchange->state == EXCHANGE_RECEIVING;
    if (is_new) {
        gate_enter(&server->sending);
        exchange->is_counted = true;
    }
    if (is_new && exchange->request.body_bytes > LARGE_BODY_BYTES) {
        exchange_suspend(exchange);
        mailbox_send(&server->large, &exchange->letter);
        return MHD_YES;
    }
    if ((is_new || continues) && handle(exchange, continues)) {
        return MHD_YES;
    }
    ASSERT(exchange->state == EXCHANGE_ANSWERED);
    return queue(exchange);
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *uri,
                                 const char *method, const char *version, const char *data,
                                 size_t *data_bytes, void **request_context) {
    (void)context;
    (void)connection;
    (void)uri;
    (void)version;
    struct exchange *exchange = *request_context;
    if (exchange->state == EXCHANGE_ARRIVING) {
        return take_header(exchange, method);
    }
    if (*data_bytes > 0) {
        if (exchange->request.body_bytes == 0) {
            struct monotonic_time now = clock_monotonic_now(clock_system());
            struct duration waited = monotonic_time_since(now, exchange->header_at);
            exchange->together_count =
                waited.us < TOGETHER_US
                    ? MIN_OF(exchange->together_count + 1, (uint32_t)TOGETHER_ENOUGH)
                    : 0;
        }
        exchange_receive(exchange, data, *data_bytes);
        *data_bytes = 0;
        return exchange->dropped_bytes > DROPPED_BYTES_MAXIMUM ? MHD_NO : MHD_YES;
    }
    return advance(exchange);
}

/* The thread for large bodies: its exchanges are suspended, so they are its own until they are answered. */
static void *handle_large(void *context) {
    struct http_server *server = context;
    for (;;) {
        struct letter *letter = mailbox_wait(&server->large);
        while (letter != NULL) {
            struct letter *next = letter->next;
            if (letter == &server->large_stop) {
                return NULL; /* no request is deferred any more, so it is the last */
            }
            (void)handle(CONTAINER_OF(letter, struct exchange, letter), false);
            letter = next;
        }
    }
}

static bool start_large(struct http_server *server, struct error *err) {
    int failed = pthread_create(&server->large_thread, NULL, handle_large, server);
    if (failed != 0) {
        return error_set_errno(err, ERROR_IO, failed, "cannot start the thread for large bodies");
    }
    pthread_setname_np(server->large_thread, "http-large");
    server->large_is_started = true;
    return true;
}

static void stop_large(struct http_server *server) {
    if (server->large_is_started) {
        mailbox_send(&server->large, &server->large_stop);
        pthread_join(server->large_thread, NULL);
    }
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request_context,
                         enum MHD_RequestTerminationCode how) {
    (void)connection;
    (void)how;
    struct http_server *server = context;
    struct exchange *exchange = *request_context;
    if (exchange != NULL) {
        bool is_counted = exchange->is_counted;
        exchange_end(exchange);
        if (is_counted) {
            gate_leave(&server->sending);
        }
    }
}

/* Whoever comes beyond the greatest number of connections waits in the kernel's queue. That is said once a flood: it
 * is over when half of them have gone. */
static void count_connection(struct http_server *server, bool opened) {
    uint32_t maximum = server->options.connection_maximum;
    if (opened) {
        uint32_t count = atomic_fetch_add(&server->connection_count, 1) + 1;
        if (count >= maximum && !atomic_exchange(&server->is_flooded, true)) {
            log_event(LOG_WARNING, "connections_exhausted", LOG_INTEGER("connections", count));
        }
    } else if (atomic_fetch_sub(&server->connection_count, 1) - 1 <= maximum / 2) {
        atomic_store(&server->is_flooded, false);
    }
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode what) {
    (void)connection;
    count_connection(context, what == MHD_CONNECTION_NOTIFY_STARTED);
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = must_alloc_zeroed(1, sizeof(struct exchange));
    } else {
        exchange_free(*socket_context);
        *socket_context = NULL;
    }
}

/* --- the server --------------------------------------------------------------------------------- */

static void on_panic(void *context, const char *file, unsigned line, const char *reason) {
    (void)context;
    (void)file;
    log_event(LOG_ERROR, "http_library_panic", LOG_STRING("reason", reason),
              LOG_INTEGER("line", line));
    abort();
}

/* What the library has to say is about single connections, and strangers can make it say it. */
static void on_log(void *context, const char *format, va_list arguments) {
    (void)context;
    char message[256];
    int length = vsnprintf(message, sizeof message, format, arguments);
    if (length > 0) {
        message[strcspn(message, "\r\n")] = '\0';
        log_event(LOG_DEBUG, "http_library", LOG_STRING("message", message));
    }
}

static struct MHD_Daemon *start_daemon(struct http_server *server) {
    const struct http_options *options = &server->options;
    struct MHD_OptionItem pool[] = {
        /* One thread is no pool to the library. */
        {options->thread_count > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END,
         (intptr_t)options->thread_count, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                                MHD_USE_ERROR_LOG,
                            0, NULL, NULL, on_access, server,            /**/
                            MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,    /* has to be the first */
                            MHD_OPTION_LISTEN_SOCKET, server->listen_fd, /**/
                            MHD_OPTION_ARRAY, pool,                      /**/
                            MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK_BYTES, /**/
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connection_maximum,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)options->idle_timeout_s, /**/
                            MHD_OPTION_URI_LOG_CALLBACK, on_uri, server,                      /**/
                            MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL,                /**/
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,                /**/
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,              /**/
                            MHD_OPTION_END);
}

bool http_server_new(const struct http_options *options, struct http_server **out_server,
                     struct error *err) {
    ASSERT(options->handle != NULL && options->refuse != NULL && options->thread_count > 0);
    struct http_server *server = must_alloc_zeroed(1, sizeof *server);
    server->options = *options;
    if (!address_listen(options->listen, &server->listen_fd, server->address, err)) {
        free(server);
        return false;
    }
    gate_init(&server->handling);
    gate_init(&server->deferred);
    gate_init(&server->sending);
    server->large.event_fd = -1;
    if (!mailbox_init(&server->large, err) || !start_large(server, err)) {
        http_server_free(server);
        return false;
    }
    MHD_set_panic_func(on_panic, NULL);
    server->daemon = start_daemon(server);
    if (server->daemon == NULL) {
        error_set_errno(err, ERROR_IO, errno, "cannot start the HTTP server on %s",
                        server->address);
        http_server_free(server);
        return false;
    }
    *out_server = server;
    return true;
}

const char *http_server_address(const struct http_server *server) { return server->address; }

void http_server_drain(struct http_server *server) {
    if (!atomic_exchange(&server->draining, true)) {
        gate_wait(&server->handling, -1);
    }
}

void http_server_free(struct http_server *server) {
    if (server == NULL) {
        return;
    }
    if (server->daemon != NULL) {
        http_server_drain(server);
        /* The socket stays open until the threads are gone: they may still use it. */
        (void)MHD_quiesce_daemon(server->daemon);
        gate_wait(&server->deferred, -1);
        gate_wait(&server->sending, SENDING_LIMIT_MS);
        MHD_stop_daemon(server->daemon);
    }
    stop_large(server);
    if (server->large.event_fd >= 0) {
        mailbox_fini(&server->large);
    }
    address_remove(server->listen_fd, server->address);
    close(server->listen_fd);
    gate_fini(&server->handling);
    gate_fini(&server->deferred);
    gate_fini(&server->sending);
    free(server);
}
