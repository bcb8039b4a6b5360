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
    uint32_t max_concurrency; /* 0: no bound of its own */
    struct duration timeout;  /* 0: the run's alone decides */
};

/* As it is written in model.json: "onnx". */
const char *model_backend_name(enum model_backend backend);

#endif
