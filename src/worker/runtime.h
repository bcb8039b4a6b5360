/* For neighbours in worker/: ONNX Runtime, opened with dlopen in a worker process only. One environment,
 * sessions kept by file, least recently used out first. One thread.
 *
 * What a loaded model takes is measured: by how much the process grew while it was loaded, and at least its file. */
#ifndef ORRERY_WORKER_RUNTIME_H
#define ORRERY_WORKER_RUNTIME_H

#include "base/text.h"
#include "model/tensor.h"
#include "run/run.h"

struct runtime;

struct runtime_options {
    const char *library;      /* NULL looks beside the program, in lib/orrery, then in the system */
    uint64_t cache_bytes;     /* of models that stay loaded; the one in use does in any case */
    uint32_t session_threads; /* that one model may use */
};

/* Opens the library and does nothing with it before the first model. The error says what to do. */
MUST_CHECK bool runtime_open(const struct runtime_options *options, struct runtime **out_runtime,
                             struct error *err);
const char *runtime_version(const struct runtime *runtime);
/* Where the library and its parts lie. NULL if that cannot be found out. */
const char *runtime_folder(const struct runtime *runtime);

/* Whether models that were replaced or put out have left behind so much memory that a new process would do better. */
bool runtime_is_bloated(const struct runtime *runtime);

size_t runtime_loaded_count(const struct runtime *runtime);

struct runtime_model; /* a loaded file; owned by the runtime, valid until the next runtime_load */

/* The model in this file, with these options of its session (onnx_options.text; NULL and "" are none), loaded if it is
 * not, or has changed. Where the one that is loaded has the `digest` that is
 * wanted, the file is not looked at; NULL: any. ERROR_MODEL_UNAVAILABLE with the reason. */
MUST_CHECK bool runtime_load(struct runtime *runtime, const char *path, const char *options,
                             const unsigned char *digest, struct runtime_model **out_model,
                             struct error *err);
const struct signature *runtime_signature(const struct runtime_model *model);
const unsigned char *runtime_digest(const struct runtime_model *model);

/* Runs it on one tensor per input, and appends those of its outputs that are wanted, by their numbers, as a JSON array.
 * ERROR_MODEL_FAILED with the model's own words. */
MUST_CHECK bool runtime_run(struct runtime *runtime, struct runtime_model *model,
                            const struct tensor *inputs, const size_t *wanted, size_t wanted_count,
                            struct arena *arena, struct text *out, struct error *err);

#endif
