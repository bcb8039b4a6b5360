/* The repository's describer: a question to a worker, and the wait for its answer. */
#include "dispatch/dispatch.h"

#include <semaphore.h>
#include <string.h>

enum {
    DESCRIBE_LIMIT_S = 60,
    /* While the daemon starts nobody waits long for one model: it is tried again when all others are there. */
    FIRST_DESCRIBE_LIMIT_S = 5,
};

struct description {
    struct dispatch_job job;
    sem_t done;
};

static void on_described(struct dispatch_job *job) {
    sem_post(&CONTAINER_OF(job, struct description, job)->done);
}

static bool read_description(const struct dispatch_job *job, struct arena *arena,
                             struct model_description *out, struct error *err) {
    yyjson_doc *document = yyjson_read(job->result, job->result_bytes, 0);
    yyjson_val *root = yyjson_doc_get_root(document);
    const char *engine = yyjson_get_str(yyjson_obj_get(root, "engine"));
    bool ok = signature_from_json(yyjson_obj_get(root, "signature"), arena, &out->signature, err);
    out->engine = engine == NULL ? NULL : arena_strdup(arena, engine);
    memcpy(out->digest, job->used_digest, MODEL_DIGEST_BYTES);
    yyjson_doc_free(document);
    return ok;
}

static bool describe(void *context, const char *model_name, uint32_t version, const char *path,
                     const char *options, struct arena *arena, struct model_description *out,
                     struct error *err) {
    struct dispatcher *dispatcher = context;
    bool starts = dispatcher_is_starting(dispatcher);
    struct description description = {
        .job = {.model_name = model_name,
                .describe_path = path,
                .describe_options = options,
                .used_version = version,
                .timeout = {(starts ? FIRST_DESCRIBE_LIMIT_S : DESCRIBE_LIMIT_S) * US_PER_SECOND},
                .done = on_described},
    };
    sem_init(&description.done, 0, 0);
    dispatcher_submit(dispatcher, &description.job);
    while (sem_wait(&description.done) != 0) {
    }
    sem_destroy(&description.done);
    struct dispatch_job *job = &description.job;
    bool ok = job->status == EXECUTION_SUCCEEDED;
    if (ok) {
        ok = read_description(job, arena, out, err);
    } else {
        *err = job->err;
        if (starts && err->kind == ERROR_TIMED_OUT) {
            error_set(err, ERROR_UNAVAILABLE,
                      "not loaded within %d s while the server started; it is tried again",
                      (int)FIRST_DESCRIBE_LIMIT_S);
        } else if (err->kind == ERROR_WORKER_CRASHED || err->kind == ERROR_TIMED_OUT) {
            error_prefix(err, "while it was loaded");
        }
    }
    dispatch_job_free_result(job);
    return ok;
}

struct model_describer dispatcher_describer(struct dispatcher *dispatcher) {
    return (struct model_describer){.describe = describe, .context = dispatcher};
}
