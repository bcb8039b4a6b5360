#include "http/exchange.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

enum { BODY_MAXIMUM = 400 * 1024, ANSWER_BYTES = 256 * 1024, SMALL_REQUESTS = 16 };

/* --- a server that says what it heard ------------------------------------------------------------ */

static struct http_server *server;
static pthread_t helper;
static _Atomic int answered_status;
static _Atomic int newest_file;
static _Atomic int small_count;
static _Atomic int released_count;
static char file_bytes[ANSWER_BYTES];

static void answer_step(struct http_request *request) {
    char *body = arena_printf(&request->arena, "continued %s", request->path);
    http_answer(request, 200, "text/plain", body, strlen(body));
}

static void *answer_elsewhere(void *context) {
    struct http_request *request = context;
    if (strcmp(request->path, "/continue") == 0) {
        http_continue(request, answer_step);
    } else {
        http_answer_taking(request, 200, "text/plain", must_strdup("from elsewhere"), 14);
    }
    return NULL;
}

static bool append_query(void *context, const char *name, const char *value) {
    text_printf(context, "[%s=%s]", name, value);
    return true;
}

/* /file/N: "[", a file of N bytes, "]". /short/N: one that is said to be a byte longer than it is. */
static void answer_with_file(struct http_request *request, uint64_t size_bytes, bool is_short) {
    int file = memfd_create("answer", MFD_CLOEXEC);
    assert_true(file > 0);
    for (uint64_t i = 0; i < size_bytes; i++) {
        file_bytes[i] = (char)('a' + i % 23);
    }
    assert_int_equal(write(file, file_bytes, size_bytes), (ssize_t)size_bytes);
    newest_file = file;
    http_answer_file(request, 200, "text/plain", "[", file, size_bytes + (is_short ? 1 : 0), "]");
}

static void release(void *memory, size_t size_bytes) {
    assert_int_equal(size_bytes, 5);
    free(memory);
    atomic_fetch_add(&released_count, 1);
}

static bool answer_special(struct http_request *request) {
    const char *path = request->path;
    if (strncmp(path, "/file/", 6) == 0 || strncmp(path, "/short/", 7) == 0) {
        answer_with_file(request, strtoull(strrchr(path, '/') + 1, NULL, 10), path[1] == 's');
        return true;
    }
    if (strcmp(path, "/slow") == 0) { /* until others were answered */
        while (atomic_load(&small_count) < SMALL_REQUESTS) {
            usleep(1000);
        }
        char *said = arena_printf(&request->arena, "%zu %s", request->body_bytes,
                                  http_header(request, "X-Said"));
        http_answer(request, 200, "text/plain", said, strlen(said));
        return true;
    }
    if (strcmp(path, "/kept") == 0) {
        char *kept = must_strdup("kept!");
        http_keep(request, kept, 5, release);
        http_answer(request, 200, "text/plain", kept, 5);
        return true;
    }
    if (strcmp(path, "/reserve") == 0) {
        const size_t sizes[] = {ANSWERS_BYTES_MAXIMUM + (size_t)5, 2 << 20, 100};
        char *said = arena_strdup(&request->arena, "nnn");
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            said[i] = http_reserve_answer(request, sizes[i]) ? 'y' : 'n';
        }
        http_answer(request, 200, "text/plain", said, 3);
        return true;
    }
    return false;
}

static void handle(struct http_request *request, void *context) {
    (void)context;
    if (answer_special(request)) {
        return;
    }
    if (request->is_late && strcmp(request->path, "/open") != 0) {
        http_answer(request, 503, "text/plain", "late", 4);
        return;
    }
    if (strcmp(request->path, "/defer") == 0 || strcmp(request->path, "/continue") == 0) {
        http_defer(request);
        pthread_create(&helper, NULL, answer_elsewhere, request);
        pthread_detach(helper);
        return;
    }
    struct text text;
    struct error err;
    text_init(&text, 100000);
    text_printf(&text, "%s %s %zu ", http_method_name(request->method), request->path,
                request->body_bytes);
    if (!http_query_each(request, append_query, &text, &err)) {
        text_append(&text, err.message);
    }
    http_add_header(request, "X-Test", "1");
    size_t size_bytes = text.size_bytes;
    http_answer_taking(request, 200, "text/plain", text_take(&text), size_bytes);
}

static void refuse(struct http_request *request, const struct error *err, void *context) {
    (void)context;
    char *message = arena_strdup(&request->arena, err->message);
    http_answer(request, error_kind_http_status(err->kind), "text/plain", message, strlen(message));
}

static void answered(struct http_request *request, int status, void *context) {
    (void)request;
    (void)context;
    atomic_store(&answered_status, status);
}

static int start(void **state) {
    (void)state;
    struct http_options options = {
        .listen = "127.0.0.1:0",
        .thread_count = 2,
        .connection_maximum = 64,
        .body_maximum_bytes = BODY_MAXIMUM,
        .idle_timeout_s = 30,
        .handle = handle,
        .refuse = refuse,
        .answered = answered,
    };
    struct error err;
    return http_server_new(&options, &server, &err) ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    http_server_free(server);
    return 0;
}

/* --- a client -------------------------------------------------------------------------------------- */

static int dial(void) {
    const char *colon = strrchr(http_server_address(server), ':');
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtol(colon + 1, NULL, 10))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static void send_all(int fd, const char *bytes, size_t size_bytes) {
    while (size_bytes > 0) {
        ssize_t sent = send(fd, bytes, size_bytes, MSG_NOSIGNAL);
        assert_true(sent > 0);
        bytes += sent;
        size_bytes -= (size_t)sent;
    }
}

/* Reads one answer, its body by its Content-Length (or none for HEAD). */
static char *receive(int fd, bool has_body) {
    static char answer[ANSWER_BYTES];
    size_t got = 0;
    size_t wanted = SIZE_MAX;
    while (got < wanted) {
        ssize_t bytes = recv(fd, answer + got, 1, 0);
        if (bytes <= 0) {
            fail_msg("the connection ended after %zu bytes", got);
        }
        got += (size_t)bytes;
        answer[got] = '\0';
        if (wanted == SIZE_MAX && got >= 4 && strcmp(answer + got - 4, "\r\n\r\n") == 0) {
            if (strncmp(answer, "HTTP/1.1 100", 12) == 0) {
                got = 0;
                continue;
            }
            const char *length = strcasestr(answer, "\r\nContent-Length: ");
            assert_non_null(length);
            wanted = got + (has_body ? strtoul(length + 18, NULL, 10) : 0);
        }
    }
    return answer;
}

static char *ask(int fd, const char *request) {
    send_all(fd, request, strlen(request));
    return receive(fd, strncmp(request, "HEAD", 4) != 0);
}

static const char *body_of(const char *answer) { return strstr(answer, "\r\n\r\n") + 4; }

static void assert_closed(int fd) {
    char byte;
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
}

#define LINE(method, path) method " " path " HTTP/1.1\r\nHost: x\r\n"

/* --- tests ------------------------------------------------------------------------------------------ */

static void many_requests_share_a_connection(void **state) {
    (void)state;
    int fd = dial();
    for (int i = 0; i < 100; i++) {
        char *answer = ask(fd, LINE("GET", "/a%20b?x=1&y=%C3%A4+b&z") "\r\n");
        assert_int_equal(strncmp(answer, "HTTP/1.1 200", 12), 0);
        assert_string_equal(body_of(answer), "GET /a b 0 [x=1][y=ä b][z=]");
        assert_non_null(strstr(answer, "X-Test: 1\r\n"));
        assert_non_null(strstr(answer, "X-Content-Type-Options: nosniff\r\n"));
        assert_non_null(strstr(answer, "Cache-Control: no-store\r\n"));
        assert_null(strcasestr(answer, "Connection: close"));
    }
    close(fd);
}

static void answers_may_come_from_another_thread(void **state) {
    (void)state;
    int fd = dial();
    for (int i = 0; i < 50; i++) {
        assert_string_equal(body_of(ask(fd, LINE("POST", "/defer") "Content-Length: 2\r\n\r\nhi")),
                            "from elsewhere");
        assert_string_equal(body_of(ask(fd, LINE("GET", "/continue") "\r\n")),
                            "continued /continue");
    }
    close(fd);
}

/* The connection's memory goes a moment after its answer. */
static bool soon(bool (*is_so)(void)) {
    for (int i = 0; i < 2000 && !is_so(); i++) {
        usleep(1000);
    }
    return is_so();
}

static bool file_is_closed(void) { return fcntl(atomic_load(&newest_file), F_GETFD) < 0; }

static void a_file_is_sent_between_two_texts_and_closed(void **state) {
    (void)state;
    static const char *const paths[] = {"/file/0", "/file/1", "/file/65536", "/file/200000"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        int fd = dial();
        char request[128];
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
        size_t size_bytes = (size_t)strtoull(paths[i] + 6, NULL, 10);
        const char *body = body_of(ask(fd, request));
        assert_int_equal(strlen(body), size_bytes + 2);
        assert_true(body[0] == '[' && body[size_bytes + 1] == ']');
        assert_memory_equal(body + 1, file_bytes, size_bytes);
        assert_true(soon(file_is_closed));
        /* And the connection goes on. */
        assert_string_equal(body_of(ask(fd, LINE("GET", "/") "\r\n")), "GET / 0 ");
        close(fd);
    }
}

static void a_file_that_is_too_short_ends_the_connection(void **state) {
    (void)state;
    int fd = dial();
    static const char request[] = LINE("GET", "/short/100") "\r\n";
    char byte;
    send_all(fd, request, sizeof request - 1);
    while (recv(fd, &byte, 1, 0) > 0) {
        assert_int_not_equal(byte, ']'); /* what would make it look whole */
    }
    close(fd);
    assert_true(soon(file_is_closed));
}

static void send_large(int fd, const char *path) {
    char head[200];
    size_t size_bytes = LARGE_BODY_BYTES + 1;
    snprintf(head, sizeof head,
             "POST %s HTTP/1.1\r\nHost: x\r\nX-Said: hello\r\nContent-Length: %zu\r\n\r\n", path,
             size_bytes);
    char *body = must_alloc_zeroed(1, size_bytes);
    send_all(fd, head, strlen(head));
    send_all(fd, body, size_bytes);
    free(body);
}

static void a_large_body_keeps_nobody_waiting(void **state) {
    (void)state;
    int large = dial();
    int small[SMALL_REQUESTS]; /* on all of the server's threads */
    send_large(large, "/slow");
    for (size_t i = 0; i < COUNT_OF(small); i++) {
        small[i] = dial();
        assert_string_equal(body_of(ask(small[i], LINE("GET", "/") "\r\n")), "GET / 0 ");
        atomic_fetch_add(&small_count, 1);
        close(small[i]);
    }
    char expected[40];
    snprintf(expected, sizeof expected, "%d hello", LARGE_BODY_BYTES + 1);
    assert_string_equal(body_of(receive(large, true)), expected);
    /* It may be deferred, too, and the connection goes on. */
    for (int i = 0; i < 5; i++) {
        send_large(large, "/defer");
        assert_string_equal(body_of(receive(large, true)), "from elsewhere");
        send_large(large, "/continue");
        assert_string_equal(body_of(receive(large, true)), "continued /continue");
    }
    assert_string_equal(body_of(ask(large, LINE("GET", "/") "\r\n")), "GET / 0 ");
    close(large);
}

static bool two_are_released(void) { return atomic_load(&released_count) >= 2; }

static void what_is_kept_goes_with_the_request(void **state) {
    (void)state;
    int fd = dial();
    for (int i = 0; i < 2; i++) {
        assert_string_equal(body_of(ask(fd, LINE("GET", "/kept") "\r\n")), "kept!");
    }
    close(fd);
    assert_true(soon(two_are_released));
}

static void large_answers_have_a_bound_together_and_one_is_always_let_in(void **state) {
    (void)state;
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        assert_string_equal(body_of(ask(fd, LINE("GET", "/reserve") "\r\n")), "yny");
    }
    close(fd);
}

static void a_body_may_come_in_chunks(void **state) {
    (void)state;
    int fd = dial();
    assert_string_equal(body_of(ask(fd, LINE("POST", "/c") "Transfer-Encoding: chunked\r\n\r\n"
                                                           "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")),
                        "POST /c 5 ");
    close(fd);
}

static void a_head_gets_the_header_alone(void **state) {
    (void)state;
    int fd = dial();
    char *answer = ask(fd, LINE("HEAD", "/h") "\r\n");
    assert_non_null(strcasestr(answer, "Content-Length: 10\r\n"));
    assert_string_equal(body_of(answer), "");
    assert_string_equal(body_of(ask(fd, LINE("GET", "/h") "\r\n")), "GET /h 0 ");
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state) {
    (void)state;
    int fd = dial();
    static const char both[] =
        LINE("GET", "/defer") "\r\n" LINE("GET", "/2") "\r\n" LINE("GET", "/3") "\r\n";
    send_all(fd, both, sizeof both - 1);
    assert_string_equal(body_of(receive(fd, true)), "from elsewhere");
    assert_string_equal(body_of(receive(fd, true)), "GET /2 0 ");
    assert_string_equal(body_of(receive(fd, true)), "GET /3 0 ");
    close(fd);
}

static void a_safe_id_is_taken_over_and_another_is_made(void **state) {
    (void)state;
    int fd = dial();
    char *answer = ask(fd, LINE("GET", "/") "X-Correlation-ID: a.B_9:-z\r\n\r\n");
    assert_non_null(strstr(answer, "X-Correlation-ID: a.B_9:-z\r\n"));
    char long_id[130];
    memset(long_id, 'x', sizeof long_id - 1);
    long_id[sizeof long_id - 1] = '\0';
    const char *const unsafe[] = {"a b", "a\"b", "a;b", "\xc3\xa4", "", long_id};
    for (size_t i = 0; i < COUNT_OF(unsafe); i++) {
        char request[512];
        snprintf(request, sizeof request, LINE("GET", "/") "X-Correlation-ID: %s\r\n\r\n",
                 unsafe[i]);
        const char *made = strstr(ask(fd, request), "X-Correlation-ID: ");
        assert_int_equal(strspn(made + 18, "0123456789abcdef"), 32);
    }
    close(fd);
}

static void bad_encodings_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"/%", "/%4", "/%zz", "/a%00b", "/%2", "/%-1"};
    int fd = dial();
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char request[128];
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", bad[i]);
        assert_int_equal(strncmp(ask(fd, request), "HTTP/1.1 400", 12), 0);
        snprintf(request, sizeof request, "GET /?a=%s HTTP/1.1\r\nHost: x\r\n\r\n", bad[i]);
        assert_non_null(strstr(body_of(ask(fd, request)), "bad percent-encoding"));
    }
    close(fd);
}

static void a_body_of_the_greatest_size_passes(void **state) {
    (void)state;
    static char request[BODY_MAXIMUM + 200];
    int head = snprintf(request, sizeof request, LINE("POST", "/") "Content-Length: %d\r\n\r\n",
                        BODY_MAXIMUM);
    memset(request + head, 'x', BODY_MAXIMUM);
    int fd = dial();
    send_all(fd, request, (size_t)head + BODY_MAXIMUM);
    char expected[32];
    snprintf(expected, sizeof expected, "POST / %d ", BODY_MAXIMUM);
    assert_string_equal(body_of(receive(fd, true)), expected);
    close(fd);
}

static void a_body_that_is_too_large_is_refused_and_read_to_the_end(void **state) {
    (void)state;
    static char request[BODY_MAXIMUM + 200];
    int head = snprintf(request, sizeof request, LINE("POST", "/") "Content-Length: %d\r\n\r\n",
                        BODY_MAXIMUM + 1);
    memset(request + head, 'x', BODY_MAXIMUM + 1);
    int fd = dial();
    send_all(fd, request, (size_t)head + BODY_MAXIMUM + 1);
    assert_int_equal(strncmp(receive(fd, true), "HTTP/1.1 413", 12), 0);
    assert_int_equal(strncmp(ask(fd, LINE("GET", "/") "\r\n"), "HTTP/1.1 200", 12), 0);
    close(fd);
}

static void a_body_that_is_far_too_large_is_refused_at_once(void **state) {
    (void)state;
    int fd = dial();
    char *answer = ask(fd, LINE("POST", "/") "Content-Length: 99999999999\r\n\r\n");
    assert_int_equal(strncmp(answer, "HTTP/1.1 413", 12), 0);
    assert_closed(fd);
    fd = dial();
    answer = ask(fd, LINE("POST", "/") "Expect: 100-continue\r\nContent-Length: 500000\r\n\r\n");
    assert_int_equal(strncmp(answer, "HTTP/1.1 413", 12), 0);
    assert_closed(fd);
}

static void a_client_may_ask_before_it_sends(void **state) {
    (void)state;
    int fd = dial();
    static const char head[] =
        LINE("POST", "/") "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    send_all(fd, head, sizeof head - 1);
    char interim[26] = "";
    assert_int_equal(recv(fd, interim, 25, MSG_WAITALL), 25);
    assert_string_equal(interim, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_string_equal(body_of(ask(fd, "hi")), "POST / 2 ");
    close(fd);
}

static void garbage_harms_nobody(void **state) {
    (void)state;
    static const char *const garbage[] = {
        "\x16\x03\x01\x02",
        "GET\r\n\r\n",
        "\r\n\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "A B C D E\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"};
    for (size_t i = 0; i < COUNT_OF(garbage); i++) {
        int fd = dial();
        send_all(fd, garbage[i], strlen(garbage[i]));
        close(fd);
    }
    int fd = dial();
    assert_int_equal(strncmp(ask(fd, LINE("GET", "/") "\r\n"), "HTTP/1.1 200", 12), 0);
    assert_int_equal(atomic_load(&answered_status), 200);
    close(fd);
}

static void a_draining_server_answers_until_it_is_freed(void **state) {
    (void)state;
    int open = dial();
    ask(open, LINE("GET", "/") "\r\n");
    http_server_drain(server);
    int fresh = dial();
    assert_int_equal(strncmp(ask(fresh, LINE("GET", "/") "\r\n"), "HTTP/1.1 503", 12), 0);
    assert_closed(fresh);
    fresh = dial();
    assert_int_equal(strncmp(ask(fresh, LINE("GET", "/open") "\r\n"), "HTTP/1.1 200", 12), 0);
    assert_closed(fresh);
    char *answer = ask(open, LINE("GET", "/") "\r\n");
    assert_int_equal(strncmp(answer, "HTTP/1.1 503", 12), 0);
    assert_non_null(strcasestr(answer, "Connection: close"));
    assert_closed(open);
}

static void addresses_are_read_strictly(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",     "8080",         "127.0.0.1",       ":",     ":x",  "::1:80",
        "[::1", "127.0.0.1:-1", "127.0.0.1:65536", "[::1]", ":80x"};
    struct error err;
    char address[ADDRESS_BYTES];
    int fd;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(address_listen(bad[i], &fd, address, &err));
        assert_int_equal(err.kind, ERROR_USAGE);
        assert_string_equal(err.field, "listen");
    }
    assert_true(address_listen("127.0.0.1:0", &fd, address, &err));
    int second;
    char ignored[ADDRESS_BYTES];
    assert_false(address_listen(address, &second, ignored, &err));
    assert_int_equal(err.kind, ERROR_IO);
    close(fd);
}

/* --- sockets in the file system -------------------------------------------------------------------- */

static int dial_file(const char *path) {
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    memcpy(place.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&place, sizeof place) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static char socket_folder[] = "/tmp/orrery-socket-XXXXXX";
static char socket_path[64];
static char socket_address[80];

static int make_folder(void **state) {
    (void)state;
    strcpy(socket_folder + sizeof socket_folder - 7, "XXXXXX");
    if (mkdtemp(socket_folder) == NULL) {
        return -1;
    }
    snprintf(socket_path, sizeof socket_path, "%s/s", socket_folder);
    snprintf(socket_address, sizeof socket_address, "unix:%s", socket_path);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(socket_path);
    return rmdir(socket_folder);
}

static void a_file_socket_is_for_its_group_and_goes_with_the_server(void **state) {
    (void)state;
    char address[ADDRESS_BYTES];
    struct error err;
    struct stat status;
    int fd;
    assert_true(address_listen(socket_address, &fd, address, &err));
    assert_string_equal(address, socket_address);
    assert_int_equal(stat(socket_path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 07777, 0660);
    int client = dial_file(socket_path);
    assert_true(client >= 0);
    close(client);
    address_remove(fd, address);
    close(fd);
    assert_int_equal(stat(socket_path, &status), -1);
}

static void a_stale_file_socket_is_replaced_and_a_live_one_is_not(void **state) {
    (void)state;
    char address[ADDRESS_BYTES];
    struct error err;
    int killed;
    int live;
    int fd = -1;
    assert_true(address_listen(socket_address, &killed, address, &err));
    assert_false(address_listen(socket_address, &fd, address, &err));
    assert_int_equal(err.kind, ERROR_IO);
    assert_string_equal(err.field, "listen");
    assert_int_equal(err.saved_errno, EADDRINUSE);
    close(killed);
    assert_true(address_listen(socket_address, &live, address, &err));
    int client = dial_file(socket_path);
    assert_true(client >= 0);
    close(client);
    /* A server that goes leaves alone what another has put there meanwhile. */
    struct stat status;
    address_remove(-1, address);
    assert_int_equal(stat(socket_path, &status), 0);
    close(live);
}

static void what_is_no_socket_is_not_touched(void **state) {
    (void)state;
    char address[ADDRESS_BYTES];
    struct error err;
    struct stat status;
    int fd;
    int file = open(socket_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    assert_false(address_listen(socket_address, &fd, address, &err));
    assert_int_equal(err.kind, ERROR_IO);
    assert_int_equal(stat(socket_path, &status), 0);
    assert_true(S_ISREG(status.st_mode));
    assert_false(address_listen("unix:", &fd, address, &err));
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_false(address_listen("unix:/nowhere/at/all", &fd, address, &err));
    assert_int_equal(err.kind, ERROR_IO);
    char too_long[200];
    memset(too_long, 'x', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = '\0';
    memcpy(too_long, "unix:", 5);
    assert_false(address_listen(too_long, &fd, address, &err));
    assert_int_equal(err.kind, ERROR_USAGE);
}

static void a_server_answers_on_a_file_socket(void **state) {
    (void)state;
    struct http_options options = server->options;
    struct http_server *second;
    struct error err;
    options.listen = socket_address;
    assert_true(http_server_new(&options, &second, &err));
    assert_string_equal(http_server_address(second), socket_address);
    int client = dial_file(socket_path);
    assert_true(client >= 0);
    for (int i = 0; i < 3;
         i++) { /* with a body that comes later, too: no option of TCP is in the way */
        assert_int_equal(strncmp(ask(client, LINE("POST", "/x") "Content-Length: 2\r\n\r\nab"),
                                 "HTTP/1.1 200", 12),
                         0);
    }
    close(client);
    http_server_free(second);
    struct stat status;
    assert_int_equal(stat(socket_path, &status), -1);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_requests_share_a_connection),
        cmocka_unit_test(answers_may_come_from_another_thread),
        cmocka_unit_test(a_file_is_sent_between_two_texts_and_closed),
        cmocka_unit_test(a_file_that_is_too_short_ends_the_connection),
        cmocka_unit_test(a_large_body_keeps_nobody_waiting),
        cmocka_unit_test(what_is_kept_goes_with_the_request),
        cmocka_unit_test(large_answers_have_a_bound_together_and_one_is_always_let_in),
        cmocka_unit_test(a_body_may_come_in_chunks),
        cmocka_unit_test(a_head_gets_the_header_alone),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_safe_id_is_taken_over_and_another_is_made),
        cmocka_unit_test(bad_encodings_are_refused),
        cmocka_unit_test(a_body_of_the_greatest_size_passes),
        cmocka_unit_test(a_body_that_is_too_large_is_refused_and_read_to_the_end),
        cmocka_unit_test(a_body_that_is_far_too_large_is_refused_at_once),
        cmocka_unit_test(a_client_may_ask_before_it_sends),
        cmocka_unit_test(garbage_harms_nobody),
        cmocka_unit_test(addresses_are_read_strictly),
        cmocka_unit_test_setup_teardown(a_file_socket_is_for_its_group_and_goes_with_the_server,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_stale_file_socket_is_replaced_and_a_live_one_is_not,
                                        make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_is_no_socket_is_not_touched, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_server_answers_on_a_file_socket, make_folder,
                                        remove_folder),
        cmocka_unit_test(a_draining_server_answers_until_it_is_freed), /* the last: it stays so */
    };
    return cmocka_run_group_tests(tests, start, stop);
}
