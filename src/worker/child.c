/* The child: reads frames, runs models, writes replies. Nothing here is shared with anybody. */
#include "model/request.h"
#include "worker/channel.h"
#include "worker/runtime.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { KEPT_BUFFER_BYTES = 1 << 20 }; /* a larger one goes back to the system when it is empty */
#define RESULT_BYTES_MAXIMUM ((size_t)256 << 20)

struct child {
    const char *library;
    struct runtime *runtime; /* opened by the first frame that needs it */
    struct channel channel;
    struct text result;
    struct arena arena;
    yyjson_doc
        *document; /* the parameters of the request at hand, which its tensors may point into */
};

/* --- requests ----------------------------------------------------------------------------------- */

static bool open_runtime(struct child *child, struct error *err) {
    return child->runtime != NULL || runtime_open(child->library, &child->runtime, err);
}

static bool describe(struct child *child, const struct frame *request, struct frame *reply,
                     struct error *err) {
    struct runtime_model *model;
    if (!runtime_load(child->runtime, request->path, NULL, &model, err)) {
        return false;
    }
    signature_to_json(runtime_signature(model), &child->result);
    memcpy(reply->digest, runtime_digest(model), sizeof reply->digest);
    reply->has_digest = true;
    return true;
}

static bool read_inputs(struct child *child, const struct signature *signature,
                        const struct frame *request, struct tensor **out_inputs,
                        struct error *err) {
    yyjson_read_err problem;
    child->document = yyjson_read_opts((char *)(uintptr_t)request->body, request->body_bytes,
                                       YYJSON_READ_NUMBER_AS_RAW, NULL, &problem);
    if (child->document == NULL) {
        return error_set_field(err, ERROR_INVALID_PARAMETERS, "parameters", "not JSON: %s",
                               problem.msg);
    }
    struct tensor *inputs =
        arena_alloc_zeroed(&child->arena, (signature->input_count + 1) * sizeof *inputs);
    *out_inputs = inputs;
    return tensors_from_json(signature, yyjson_doc_get_root(child->document), &child->arena, inputs,
                             err);
}

static bool run(struct child *child, const struct frame *request, struct frame *reply,
                struct error *err) {
    struct runtime_model *model;
    struct tensor *inputs = NULL;
    size_t *wanted;
    size_t wanted_count;
    if (!runtime_load(child->runtime, request->path, request->has_digest ? request->digest : NULL,
                      &model, err)) {
        return false;
    }
    memcpy(reply->digest, runtime_digest(model), sizeof reply->digest);
    reply->has_digest = true;
    if (!read_inputs(child, runtime_signature(model), request, &inputs, err)) {
        return false;
    }
    request_outputs(runtime_signature(model), yyjson_doc_get_root(child->document), &child->arena,
                    &wanted, &wanted_count);
    text_append(&child->result, "{\"model_name\":");
    text_append_json_string(&child->result, request->name);
    text_printf(&child->result, ",\"model_version\":%u,\"outputs\":", request->version);
    if (!runtime_run(child->runtime, model, inputs, wanted, wanted_count, &child->arena,
                     &child->result, err)) {
        return false;
    }
    text_append_char(&child->result, '}');
    return text_ok(&child->result) ||
           error_set(err, ERROR_MODEL_FAILED, "the result is larger than %zu bytes",
                     RESULT_BYTES_MAXIMUM);
}

static void answer(struct child *child, const struct frame *request) {
    struct frame reply = {.type = FRAME_REPLY, .id = request->id};
    struct error err;
    bool ok = open_runtime(child, &err);
    if (ok && request->type == FRAME_PROBE) {
        reply.name = runtime_version(child->runtime);
    } else if (ok && request->type == FRAME_DESCRIBE) {
        ok = describe(child, request, &reply, &err);
    } else if (ok) {
        ok = run(child, request, &reply, &err);
    }
    if (ok) {
        reply.body = text_string(&child->result);
        reply.body_bytes = child->result.size_bytes;
    } else {
        reply.kind = err.kind;
        reply.name = err.message;
    }
    channel_put(&child->channel, &reply, -1);
    yyjson_doc_free(child->document);
    child->document = NULL;
    arena_reset(&child->arena);
    text_reset(&child->result);
    if (child->result.capacity_bytes > KEPT_BUFFER_BYTES) {
        text_fini(&child->result);
    }
}

/* --- the socket --------------------------------------------------------------------------------- */

/* Answers one request if a whole one lies in the buffer. False when the conversation is over. */
static bool serve_one(struct child *child) {
    struct frame request;
    struct error err;
    enum frame_progress progress = channel_take(&child->channel, &request, &err);
    if (progress == FRAME_BROKEN || (progress == FRAME_COMPLETE && request.type == FRAME_REPLY)) {
        return false;
    }
    if (progress == FRAME_INCOMPLETE) {
        return channel_read(&child->channel) == CHANNEL_READ;
    }
    answer(child, &request);
    /* At once, not together with the next: a reply that waited here while the next job hangs would be taken for the one
     * that hangs. */
    return channel_write(&child->channel);
}

static void restrict_process(uint64_t memory_bytes) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_NAME, "orrery-worker");
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (memory_bytes != 0) {
        setrlimit(RLIMIT_AS, &(struct rlimit){memory_bytes, memory_bytes});
    }
}

int worker_main(const char *library, uint64_t memory_bytes) {
    restrict_process(memory_bytes);
    struct child child = {.library = library};
    channel_init(&child.channel, WORKER_SOCKET);
    text_init(&child.result, RESULT_BYTES_MAXIMUM);
    while (serve_one(&child)) {
    }
    channel_fini(&child.channel);
    text_fini(&child.result);
    arena_fini(&child.arena);
    /* Straight out: ONNX Runtime's own exit handlers are slow and have nothing to save. */
    _exit(0);
}
