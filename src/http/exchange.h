/* For neighbours in http/: one request and its answer on one connection. A connection has one exchange, which
 * serves its requests one after the other, so that their memory is used again. It belongs to the connection's
 * HTTP thread, except between http_defer and http_answer or http_continue. */
#ifndef ORRERY_HTTP_EXCHANGE_H
#define ORRERY_HTTP_EXCHANGE_H

#include "base/mailbox.h"
#include "clock/clock.h"
#include "http/http.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    ADDRESS_BYTES = 128, /* "unix:", and a path as unix(7) allows */
    EXCHANGE_HEADERS_MAXIMUM = 16,
    /* A larger chunk of an arena is not kept for the connection's next request. */
    EXCHANGE_KEPT_BYTES = 32 * 1024,
    /* Of bodies beyond the smallest, on all connections together. At least one of the greatest size fits. */
    BODIES_BYTES_MAXIMUM = 1 << 30,
    /* A request whose body is larger is handled on the thread for large ones: reading it takes about a millisecond. */
    LARGE_BODY_BYTES = 256 * 1024,
    /* And of answers of more than this, on all connections together. */
    ANSWERS_BYTES_MAXIMUM = 1 << 30,
    SMALL_ANSWER_BYTES = 1 << 20,
};

enum exchange_state {
    EXCHANGE_IDLE,      /* zeroed but for the arena */
    EXCHANGE_ARRIVING,  /* the header is not there yet */
    EXCHANGE_RECEIVING, /* the body is not there yet */
    EXCHANGE_HANDLING,  /* a handler or step runs */
    EXCHANGE_DEFERRED,  /* suspended; another thread has it */
    EXCHANGE_CONTINUES, /* resumed, for a further step */
    EXCHANGE_ANSWERED,
    EXCHANGE_QUEUED, /* the library has the answer */
};

struct exchange_header {
    const char *name;
    const char *value;
};

struct exchange {
    struct http_request request; /* first: the public face */
    struct http_server *server;
    struct MHD_Connection *connection;
    enum exchange_state state;
    bool is_deferred;     /* the connection is suspended: answering means resuming */
    struct letter letter; /* to the thread for large bodies */
    bool is_counted;      /* in the server's gate `sending` */
    void (*step)(struct http_request *request);

    char *query;       /* raw, in the arena; NULL without one */
    bool is_malformed; /* the path's encoding */
    bool is_too_large;
    bool closes; /* the connection is closed after the answer */

    char *body; /* being received */
    size_t body_capacity_bytes;
    bool body_is_malloced; /* else in the arena */
    size_t budget_bytes;   /* taken from the server's, while it is malloced */
    bool is_crowded_out;   /* the budget was used up */
    size_t dropped_bytes;  /* of a body that is too large */

    int status;
    const char *content_type;
    const char *answer;
    size_t answer_bytes;
    size_t reserved_bytes; /* of what answers may take together */
    char *taken;           /* the answer's body, where it is from malloc */
    void *kept;            /* memory that goes with the request */
    size_t kept_bytes;
    void (*release)(void *memory, size_t size_bytes); /* NULL: none is kept */
    struct exchange_file {
        int fd; /* 0: the answer has none */
        uint64_t bytes;
        const char *after;
        size_t after_bytes;
    } file; /* comes behind `answer` */
    struct exchange_header headers[EXCHANGE_HEADERS_MAXIMUM];
    size_t header_count;

    /* Of the connection; these outlive the request. */
    struct monotonic_time header_at; /* when the newest header with a body behind it was there */
    uint32_t together_count; /* of the last bodies, how many in a row were right behind it */
};

/* Counts what is under way; whoever waits for none is woken. Any thread. */
struct gate {
    _Atomic int64_t count;
    _Atomic bool awaited;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

struct http_server {
    struct http_options options;
    struct MHD_Daemon *daemon;
    int listen_fd;
    char address[ADDRESS_BYTES];
    _Atomic bool draining;
    _Atomic uint32_t connection_count;
    _Atomic bool is_flooded;     /* it was said that no further connection is accepted */
    _Atomic size_t body_bytes;   /* that large bodies take now */
    _Atomic size_t answer_bytes; /* and large answers */
    struct mailbox large;        /* exchange.letter of those with large bodies */
    pthread_t large_thread;
    bool large_is_started;
    struct letter large_stop;
    struct gate handling; /* handlers and steps that run */
    struct gate deferred; /* requests that another thread has */
    struct gate sending;  /* answers that are not sent yet */
};

void gate_init(struct gate *gate);
void gate_fini(struct gate *gate);
void gate_enter(struct gate *gate);
void gate_leave(struct gate *gate);
/* Waits until the count is zero, `limit_ms` at most; negative: for ever. */
void gate_wait(struct gate *gate, int64_t limit_ms);

/* Makes it ready for the next request: path, query and id; `uri` is raw. */
void exchange_begin(struct exchange *exchange, const char *uri);
/* Forgets the request; keeps some memory. */
void exchange_end(struct exchange *exchange);
void exchange_free(struct exchange *exchange);

/* The method's row, and the id, once the header is there. */
void exchange_take_header(struct exchange *exchange, const char *method);

/* Room for a body of this announced length, or of unknown length (SIZE_MAX). */
void exchange_expect_body(struct exchange *exchange, size_t length_bytes);
/* Appends, or counts as dropped what is beyond the maximum. */
void exchange_receive(struct exchange *exchange, const char *bytes, size_t size_bytes);

/* On its HTTP thread: suspends the connection, for another thread to have the exchange. */
void exchange_suspend(struct exchange *exchange);

/* Set by http_defer on the HTTP thread: what it called last has given the exchange away, which must then not be
 * looked at any more. */
extern _Thread_local bool exchange_was_deferred;

/* Hands the answer to the library. */
enum MHD_Result exchange_queue_answer(struct exchange *exchange);

/* Decodes percent-encoding in place ('+' to a space where `plus_is_space`); false if it is malformed or makes a
 * NUL. */
MUST_CHECK bool uri_decode(char *text, bool plus_is_space);

/* "127.0.0.1:8080", "[::1]:8080", ":8080", "localhost:0", "unix:/run/orrery.sock": a socket that listens, and its address as
 * text. */
MUST_CHECK bool address_listen(const char *listen, int *out_fd,
                               char out_address[static ADDRESS_BYTES], struct error *err);

/* Before the socket is closed: removes the file of one in the file system, unless another has taken its place. */
void address_remove(int fd, const char *address);

#endif
