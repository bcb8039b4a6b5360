/* A server that does nothing but answer: libmicrohttpd with the same pool as orrery's and a fixed body. It is the
 * limit that bench/service.py measures requests against, and the model that bench/remote.py calls.
 * usage: bare_http PORT BODY_BYTES THREADS; it ends when standard input does. */
#include "base/base.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct body {
    char *bytes;
    size_t size_bytes;
};

/* The first call only marks the request: what is queued there would close the connection. */
static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **state) {
    (void)url;
    (void)method;
    (void)version;
    (void)upload;
    if (*state == NULL) {
        *state = context;
        return MHD_YES;
    }
    if (*upload_bytes != 0) {
        *upload_bytes = 0;
        return MHD_YES;
    }
    struct body *body = context;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body->size_bytes, body->bytes, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

int main(int argument_count, char **arguments) {
    if (argument_count != 4) {
        fputs("usage: bare_http PORT BODY_BYTES THREADS\n", stderr);
        return 2;
    }
    struct body body = {.size_bytes = strtoul(arguments[2], NULL, 10)};
    body.bytes = must_alloc(body.size_bytes + 1);
    memset(body.bytes, 'x', body.size_bytes);
    if (body.size_bytes >= 2) { /* a JSON string */
        body.bytes[0] = body.bytes[body.size_bytes - 1] = '"';
    }
    struct MHD_Daemon *server = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG,
        (uint16_t)strtoul(arguments[1], NULL, 10), NULL, NULL, answer, &body,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)strtoul(arguments[3], NULL, 10), MHD_OPTION_END);
    if (server == NULL) {
        fputs("bare_http: cannot listen\n", stderr);
        return 1;
    }
    puts("listening");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    MHD_stop_daemon(server);
    free(body.bytes);
    return 0;
}
