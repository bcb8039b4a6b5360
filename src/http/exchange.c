#include "http/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    CORRELATION_ID_BYTES_MAXIMUM = 128,
    /* A body up to this length is received straight into the arena. */
    ARENA_BODY_BYTES = 16 * 1024,
    BODY_STEP_BYTES = 64 * 1024,
    FILE_PIECE_BYTES = 64 * 1024,
    GATE_LOOK_MS = 10,
};

#define NS_PER_MS INT64_C(1000000)

/* --- gate --------------------------------------------------------------------------------------- */

void gate_init(struct gate *gate) {
    atomic_init(&gate->count, 0);
    atomic_init(&gate->awaited, false);
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&gate->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void gate_fini(struct gate *gate) {
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->mutex);
}

void gate_enter(struct gate *gate) { atomic_fetch_add(&gate->count, 1); }

void gate_leave(struct gate *gate) {
    /* While somebody waits, the count goes down under the mutex: so the waiter cannot see zero, go on and
     * destroy the gate while this thread is still in it. */
    if (atomic_load(&gate->awaited)) {
        pthread_mutex_lock(&gate->mutex);
        atomic_fetch_sub(&gate->count, 1);
        pthread_cond_broadcast(&gate->changed);
        pthread_mutex_unlock(&gate->mutex);
        return;
    }
    atomic_fetch_sub(&gate->count, 1);
}

static struct timespec after_ms(int64_t ms) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += ms / 1000;
    time.tv_nsec += ms % 1000 * NS_PER_MS;
    if (time.tv_nsec >= 1000 * NS_PER_MS) {
        time.tv_sec++;
        time.tv_nsec -= 1000 * NS_PER_MS;
    }
    return time;
}

static bool has_passed(const struct timespec *time) {
    struct timespec now = after_ms(0);
    return now.tv_sec > time->tv_sec ||
           (now.tv_sec == time->tv_sec && now.tv_nsec >= time->tv_nsec);
}

void gate_wait(struct gate *gate, int64_t limit_ms) {
    struct timespec deadline = after_ms(MAX_OF(limit_ms, INT64_C(0)));
    atomic_store(&gate->awaited, true);
    pthread_mutex_lock(&gate->mutex);
    while (atomic_load(&gate->count) > 0 && (limit_ms < 0 || !has_passed(&deadline))) {
        /* A leaver that looked at `awaited` just before it was set does not signal: look again soon. */
        struct timespec soon = after_ms(GATE_LOOK_MS);
        (void)pthread_cond_timedwait(&gate->changed, &gate->mutex, &soon);
    }
    pthread_mutex_unlock(&gate->mutex);
}

/* --- the request -------------------------------------------------------------------------------- */

static const char *const method_names[] = {
    [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",          [HTTP_POST] = "POST",
    [HTTP_PUT] = "PUT",     [HTTP_DELETE] = "DELETE",      [HTTP_OPTIONS] = "OPTIONS",
    [HTTP_PATCH] = "PATCH", [HTTP_OTHER_METHOD] = "OTHER",
};

const char *http_method_name(enum http_method method) {
    ASSERT((size_t)method < COUNT_OF(method_names));
    return method_names[method];
}

static enum http_method method_of(const char *name) {
    for (size_t i = 0; i < HTTP_OTHER_METHOD; i++) {
        if (strcmp(method_names[i], name) == 0) {
            return (enum http_method)i;
        }
    }
    return HTTP_OTHER_METHOD;
}

static bool is_safe_id(const char *id) {
    size_t length = strlen(id);
    return length >= 1 && length <= CORRELATION_ID_BYTES_MAXIMUM &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-") ==
               length;
}

/* 128 bits in hexadecimal, from a generator of the thread's own (xoroshiro128+, seeded by the kernel): ids have
 * to be different, not secret. */
static const char *make_id(struct arena *arena) {
    static _Thread_local uint64_t state[2];
    if (state[0] == 0 && state[1] == 0) {
        ssize_t got = getrandom(state, sizeof state, 0);
        ASSERT(got == sizeof state);
        state[0] |= 1;
    }
    char *id = arena_alloc(arena, 33);
    for (size_t half = 0; half < 2; half++) {
        uint64_t bits = state[0] + state[1];
        uint64_t mixed = state[1] ^ state[0];
        state[0] = (state[0] << 24 | state[0] >> 40) ^ mixed ^ mixed << 16;
        state[1] = mixed << 37 | mixed >> 27;
        for (size_t i = 0; i < 16; i++) {
            id[half * 16 + i] = "0123456789abcdef"[bits >> (60 - 4 * i) & 0xf];
        }
    }
    id[32] = '\0';
    return id;
}

void exchange_begin(struct exchange *exchange, const char *uri) {
    struct arena *arena = &exchange->request.arena;
    size_t uri_bytes = strlen(uri);
    char *path = arena_strndup(arena, uri, uri_bytes);
    char *query = memchr(path, '?', uri_bytes);
    if (query != NULL) {
        *query++ = '\0';
    }
    exchange->state = EXCHANGE_ARRIVING;
    exchange->query = query;
    exchange->is_malformed = !uri_decode(path, false);
    exchange->request.path = exchange->is_malformed ? "" : path;
    exchange->request.body = "";
    exchange->request.correlation_id = "";
}

void exchange_end(struct exchange *exchange) {
    if (exchange->body_is_malloced) {
        free(exchange->body);
        atomic_fetch_sub(&exchange->server->body_bytes, exchange->budget_bytes);
    }
    free(exchange->taken);
    if (exchange->reserved_bytes > 0) {
        atomic_fetch_sub(&exchange->server->answer_bytes, exchange->reserved_bytes);
    }
    if (exchange->file.fd > 0) {
        close(exchange->file.fd);
    }
    if (exchange->release != NULL) {
        exchange->release(exchange->kept, exchange->kept_bytes);
    }
    struct arena arena = exchange->request.arena;
    if (arena.chunks != NULL) {
        /* The newest chunk is the one that a reset keeps, and the largest. */
        size_t kept_bytes = (size_t)(arena.end - (char *)arena.chunks);
        if (kept_bytes > EXCHANGE_KEPT_BYTES) {
            arena_fini(&arena);
        } else {
            arena_reset(&arena);
        }
    }
    /* Not the headers: they are counted. */
    memset(exchange, 0, offsetof(struct exchange, headers));
    exchange->header_count = 0;
    exchange->request.arena = arena;
}

void exchange_free(struct exchange *exchange) {
    if (exchange != NULL) {
        exchange_end(exchange);
        arena_fini(&exchange->request.arena);
        free(exchange);
    }
}

void exchange_take_header(struct exchange *exchange, const char *method) {
    exchange->request.method = method_of(method);
    const char *given = http_header(&exchange->request, "X-Correlation-ID");
    exchange->request.correlation_id =
        given != NULL && is_safe_id(given) ? given : make_id(&exchange->request.arena);
}

/* --- the body ----------------------------------------------------------------------------------- */

void exchange_expect_body(struct exchange *exchange, size_t length_bytes) {
    /* Memory for a larger one comes as the bytes do: an announced length costs a stranger nothing. */
    if (length_bytes > 0 && length_bytes <= ARENA_BODY_BYTES) {
        exchange->body = arena_alloc(&exchange->request.arena, length_bytes + 1);
        exchange->body_capacity_bytes = length_bytes;
    }
}

/* Takes memory for bodies out of the server's budget: who may send nothing at all is only found out when the body is
 * there. False: it is used up. */
static bool take_budget(struct exchange *exchange, size_t size_bytes) {
    _Atomic size_t *used = &exchange->server->body_bytes;
    if (atomic_fetch_add(used, size_bytes) + size_bytes > BODIES_BYTES_MAXIMUM) {
        atomic_fetch_sub(used, size_bytes);
        return false;
    }
    exchange->budget_bytes += size_bytes;
    return true;
}

static bool grow_body(struct exchange *exchange, size_t needed_bytes) {
    size_t capacity = MAX_OF(needed_bytes, exchange->body_capacity_bytes * 2);
    capacity = MAX_OF(capacity, (size_t)BODY_STEP_BYTES);
    capacity = MIN_OF(capacity, exchange->server->options.body_maximum_bytes);
    if (!take_budget(exchange, capacity - exchange->budget_bytes)) {
        return false;
    }
    if (exchange->body_is_malloced) {
        exchange->body = must_realloc(exchange->body, capacity + 1);
    } else {
        char *grown = must_alloc(capacity + 1);
        if (exchange->request.body_bytes > 0) {
            memcpy(grown, exchange->body, exchange->request.body_bytes);
        }
        exchange->body = grown;
        exchange->body_is_malloced = true;
    }
    exchange->body_capacity_bytes = capacity;
    return true;
}

void exchange_receive(struct exchange *exchange, const char *bytes, size_t size_bytes) {
    size_t room = exchange->server->options.body_maximum_bytes - exchange->request.body_bytes;
    size_t needed = exchange->request.body_bytes + size_bytes;
    exchange->is_too_large = exchange->is_too_large || size_bytes > room;
    if (!exchange->is_too_large && !exchange->is_crowded_out &&
        needed > exchange->body_capacity_bytes) {
        exchange->is_crowded_out = !grow_body(exchange, needed);
    }
    if (exchange->is_too_large || exchange->is_crowded_out) {
        exchange->dropped_bytes += size_bytes;
        return;
    }
    memcpy(exchange->body + exchange->request.body_bytes, bytes, size_bytes);
    exchange->request.body_bytes = needed;
    exchange->body[needed] = '\0';
    exchange->request.body = exchange->body;
}

/* --- headers ------------------------------------------------------------------------------------ */

const char *http_header(const struct http_request *request, const char *name) {
    const struct exchange *exchange = (const struct exchange *)request;
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

struct join {
    struct arena *arena;
    const char *name;
    const char *value;
};

static enum MHD_Result join_value(void *context, enum MHD_ValueKind kind, const char *name,
                                  const char *value) {
    (void)kind;
    struct join *join = context;
    if (strcasecmp(name, join->name) == 0 && value != NULL) {
        join->value =
            join->value == NULL ? value : arena_printf(join->arena, "%s, %s", join->value, value);
    }
    return MHD_YES;
}

const char *http_header_list(struct http_request *request, const char *name) {
    struct exchange *exchange = (struct exchange *)request;
    struct join join = {.arena = &request->arena, .name = name};
    MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, join_value, &join);
    return join.value;
}

/* --- the answer --------------------------------------------------------------------------------- */

void http_add_header(struct http_request *request, const char *name, const char *value) {
    struct exchange *exchange = (struct exchange *)request;
    ASSERT(exchange->header_count < EXCHANGE_HEADERS_MAXIMUM);
    ASSERT(strpbrk(value, "\r\n") == NULL);
    exchange->headers[exchange->header_count++] = (struct exchange_header){
        .name = name,
        .value = arena_strdup(&request->arena, value),
    };
}

_Thread_local bool exchange_was_deferred;

void exchange_suspend(struct exchange *exchange) {
    exchange->is_deferred = true;
    exchange->state = EXCHANGE_DEFERRED;
    gate_enter(&exchange->server->deferred);
    MHD_suspend_connection(exchange->connection);
}

void http_defer(struct http_request *request) {
    struct exchange *exchange = (struct exchange *)request;
    ASSERT(exchange->state == EXCHANGE_HANDLING);
    exchange_was_deferred = true;
    if (exchange->is_deferred) { /* on the thread for large bodies */
        exchange->state = EXCHANGE_DEFERRED;
    } else {
        exchange_suspend(exchange);
    }
}

/* From here on the HTTP thread has the exchange again. */
static void hand_back(struct exchange *exchange) {
    struct http_server *server = exchange->server;
    exchange->is_deferred = false;
    MHD_resume_connection(exchange->connection);
    gate_leave(&server->deferred);
}

bool http_reserve_answer(struct http_request *request, size_t size_bytes) {
    struct exchange *exchange = (struct exchange *)request;
    _Atomic size_t *used = &exchange->server->answer_bytes;
    if (size_bytes <= SMALL_ANSWER_BYTES) {
        return true;
    }
    size_t before = atomic_fetch_add(used, size_bytes);
    if (before > 0 && before + size_bytes > ANSWERS_BYTES_MAXIMUM) {
        atomic_fetch_sub(used, size_bytes);
        return false;
    }
    exchange->reserved_bytes += size_bytes;
    return true;
}

void http_keep(struct http_request *request, void *memory, size_t size_bytes,
               void (*release)(void *memory, size_t size_bytes)) {
    struct exchange *exchange = (struct exchange *)request;
    ASSERT(exchange->release == NULL);
    exchange->kept = memory;
    exchange->kept_bytes = size_bytes;
    exchange->release = release;
}

void http_continue(struct http_request *request, void (*step)(struct http_request *request)) {
    struct exchange *exchange = (struct exchange *)request;
    ASSERT(exchange->state == EXCHANGE_DEFERRED);
    exchange->step = step;
    exchange->state = EXCHANGE_CONTINUES;
    hand_back(exchange);
}

void http_answer(struct http_request *request, int status, const char *content_type,
                 const char *body, size_t body_bytes) {
    struct exchange *exchange = (struct exchange *)request;
    ASSERT(exchange->state == EXCHANGE_HANDLING || exchange->state == EXCHANGE_DEFERRED);
    exchange->status = status;
    exchange->content_type = content_type;
    exchange->answer = body;
    exchange->answer_bytes = body_bytes;
    exchange->state = EXCHANGE_ANSWERED;
    if (exchange->is_deferred) {
        hand_back(exchange);
    }
}

void http_answer_taking(struct http_request *request, int status, const char *content_type,
                        char *body, size_t body_bytes) {
    ((struct exchange *)request)->taken = body;
    http_answer(request, status, content_type, body, body_bytes);
}

void http_answer_file(struct http_request *request, int status, const char *content_type,
                      const char *before, int file, uint64_t file_bytes, const char *after) {
    ASSERT(file > 0); /* 0 is standard input */
    ((struct exchange *)request)->file = (struct exchange_file){
        .fd = file, .bytes = file_bytes, .after = after, .after_bytes = strlen(after)};
    http_answer(request, status, content_type, before, strlen(before));
}

/* The library asks for the answer piece by piece, on the connection's HTTP thread. */
static ssize_t read_answer(void *context, uint64_t position, char *out, size_t size_bytes) {
    const struct exchange *exchange = context;
    const struct exchange_file *file = &exchange->file;
    if (position < exchange->answer_bytes) {
        size_t count = MIN_OF(size_bytes, exchange->answer_bytes - (size_t)position);
        memcpy(out, exchange->answer + position, count);
        return (ssize_t)count;
    }
    position -= exchange->answer_bytes;
    if (position < file->bytes) {
        size_t wanted = (size_t)MIN_OF((uint64_t)size_bytes, file->bytes - position);
        ssize_t got = pread(file->fd, out, wanted, (off_t)position);
        return got > 0 ? got : MHD_CONTENT_READER_END_WITH_ERROR;
    }
    position -= file->bytes;
    size_t count = MIN_OF(size_bytes, file->after_bytes - (size_t)position);
    memcpy(out, file->after + position, count);
    return (ssize_t)count;
}

static struct MHD_Response *make_response(struct exchange *exchange) {
    if (exchange->file.fd > 0) {
        uint64_t size_bytes =
            exchange->answer_bytes + exchange->file.bytes + exchange->file.after_bytes;
        return MHD_create_response_from_callback(size_bytes, FILE_PIECE_BYTES, read_answer,
                                                 exchange, NULL);
    }
    /* The library wants a pointer to what it may write to, and does not write. */
    return MHD_create_response_from_buffer(
        exchange->answer_bytes, (void *)(uintptr_t)exchange->answer, MHD_RESPMEM_PERSISTENT);
}

/* Fails only without memory; the answer then lacks the header. */
static void add(struct MHD_Response *response, const char *name, const char *value) {
    (void)MHD_add_response_header(response, name, value);
}

enum MHD_Result exchange_queue_answer(struct exchange *exchange) {
    struct MHD_Response *response = make_response(exchange);
    if (response == NULL) {
        return MHD_NO;
    }
    if (exchange->content_type != NULL) {
        add(response, "Content-Type", exchange->content_type);
    }
    add(response, "X-Content-Type-Options", "nosniff");
    add(response, "Cache-Control", "no-store");
    add(response, "X-Correlation-ID", exchange->request.correlation_id);
    for (size_t i = 0; i < exchange->header_count; i++) {
        add(response, exchange->headers[i].name, exchange->headers[i].value);
    }
    if (exchange->closes) {
        add(response, "Connection", "close");
    }
    enum MHD_Result queued =
        MHD_queue_response(exchange->connection, (unsigned)exchange->status, response);
    MHD_destroy_response(response);
    exchange->state = EXCHANGE_QUEUED;
    return queued;
}
