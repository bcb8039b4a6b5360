/* What an operator says of a model in its model.json, read and checked (model/settings_file.h). Plain values; strings
 * and what the pointers lead to lie in the arena of whoever had it read. */
#ifndef ORRERY_MODEL_SETTINGS_H
#define ORRERY_MODEL_SETTINGS_H

#include "base/base.h"
#include "clock/time.h"

/* How a model is run. ONNX models run in the worker processes, all others by an executor (dispatch/executor.h). */
enum model_backend {
    MODEL_BACKEND_ONNX,
    MODEL_BACKEND_HTTP,
    MODEL_BACKEND_OPENINFERENCE,
    MODEL_BACKEND_OPENAI,
    MODEL_BACKEND_PROCESS,
    MODEL_BACKEND_COUNT,
};

/* Lists end with NULL. */
struct process_settings {
    const char *const *command;
    const char *const *environment; /* "NAME=value" */
    const char *const *readable;    /* absolute paths */
    bool has_network;
    uint64_t output_bytes_maximum;
    uint64_t memory_bytes; /* 0: as a worker */
};

struct http_header {
    const char *name;
    const char *value; /* "${secret:NAME}" in it stands for a secret (remote/secret.h) */
};

/* What is asked of an OpenAI-compatible server (model/openai.h). */
enum openai_task { OPENAI_CHAT, OPENAI_EMBEDDINGS };

struct openai_settings {
    enum openai_task task;
    const char *prompt;  /* NULL: parameters must have one */
    const char *system;  /* NULL: none */
    const char *options; /* a JSON object of what is sent besides, or NULL */
};

/* A model on another server, of backend http, openinference or openai. */
struct http_settings {
    const char *url;         /* of openinference without /v2/…, of openai without /chat/… */
    const char *unix_socket; /* NULL: over TCP */
    const char *ca_file;     /* NULL: what the system trusts */
    const char *method;
    const struct http_header *headers;
    size_t header_count;
    const char *body;               /* JSON text, a template (remote/request.h) */
    const char *result_pointer;     /* RFC 6901 */
    const char *required_pointer;   /* what an answer must have besides; "" */
    const char *served_name;        /* of openinference and openai: NULL is the model's own name */
    struct openai_settings *openai; /* of backend openai, else NULL */
    const uint16_t *retryable_statuses;
    size_t retryable_status_count;
    struct duration connect_timeout;
    struct duration first_byte_timeout; /* from the connection on; 0: none */
    uint64_t answer_bytes_maximum;
};

/* How much ONNX Runtime rewrites a graph before it runs it: its levels, greatest first. */
enum onnx_optimization {
    ONNX_OPTIMIZATION_ALL,
    ONNX_OPTIMIZATION_EXTENDED,
    ONNX_OPTIMIZATION_BASIC,
    ONNX_OPTIMIZATION_NONE,
};

enum { ONNX_PROVIDERS_MAXIMUM = 8, ONNX_PROVIDER_BYTES_MAXIMUM = 64 };

/* How a model's session is made; zeroed is as the workers do by default. */
struct onnx_options {
    uint32_t intra_threads; /* within an operator; 0: the worker's default */
    uint32_t inter_threads; /* operators side by side; 0: one after the other */
    enum onnx_optimization optimization;
    const char *providers[ONNX_PROVIDERS_MAXIMUM]; /* ONNX Runtime's names, the preferred first */
    size_t provider_count;
    const char *text; /* the options alone as a model.json; NULL where all are default */
};

struct model_settings {
    struct onnx_options onnx;
    enum model_backend backend;
    uint32_t max_concurrency;         /* 0: no bound of its own */
    struct duration timeout;          /* 0: the run's alone decides */
    struct process_settings *process; /* of backend process, else NULL */
    struct http_settings *http;       /* of backends http, openinference and openai, else NULL */
};

/* As it is written in model.json: "onnx". */
const char *model_backend_name(enum model_backend backend);

#endif
