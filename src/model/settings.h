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

struct model_settings {
    enum model_backend backend;
    uint32_t max_concurrency;         /* 0: no bound of its own */
    struct duration timeout;          /* 0: the run's alone decides */
    struct process_settings *process; /* of backend process, else NULL */
};

/* As it is written in model.json: "onnx". */
const char *model_backend_name(enum model_backend backend);

#endif
