/* The child: reads frames, runs models, writes replies. Nothing here is shared with anybody. */
#include "worker/protocol.h"
#include "worker/runtime.h"
#include "worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_BYTES = 65536,
    KEPT_BUFFER_BYTES = 1 << 20, /* larger buffers go back to the system when they are empty */
};
#define RESULT_BYTES_MAXIMUM ((size_t)256 << 20)

struct child {
    const char *library;
    struct runtime *runtime; /* opened by the first frame that needs it */
    struct text in;
    size_t in_taken_bytes;
    struct text out;
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
    if (!runtime_load(child->runtime, request->path, request->options, NULL, &model, err)) {
        return false;
    }
    text_append(&child->result, "{\"engine\":");
    text_append_json_string(&child->result, runtime_version(child->runtime));
    text_append(&child->result, ",\"signature\":");
    signature_to_json(runtime_signature(model), &child->result);
    text_append_char(&child->result, '}');
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
    if (!runtime_load(child->runtime, request->path, request->options,
                      request->has_digest ? request->digest : NULL, &model, err)) {
        return false;
    }
    memcpy(reply->digest, runtime_digest(model), sizeof reply->digest);
    reply->has_digest = true;
    if (!read_inputs(child, runtime_signature(model), request, &inputs, err)) {
        return false;
    }
    text_append(&child->result, "{\"model_name\":");
    text_append_json_string(&child->result, request->name);
    text_printf(&child->result, ",\"model_version\":%u,\"outputs\":", request->version);
    if (!runtime_run(child->runtime, model, inputs, &child->arena, &child->result, err)) {
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
    frame_append(&child->out, &reply);
    yyjson_doc_free(child->document);
    child->document = NULL;
    arena_reset(&child->arena);
    text_reset(&child->result);
    if (child->result.capacity_bytes > KEPT_BUFFER_BYTES) {
        text_fini(&child->result);
    }
}

/* --- the socket --------------------------------------------------------------------------------- */

static bool flush(struct child *child) {
    size_t sent_bytes = 0;
    while (sent_bytes < child->out.size_bytes) {
        ssize_t sent = send(WORKER_SOCKET, child->out.data + sent_bytes,
                            child->out.size_bytes - sent_bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            return false;
        }
        sent_bytes += sent > 0 ? (size_t)sent : 0;
    }
    text_reset(&child->out);
    if (child->out.capacity_bytes > KEPT_BUFFER_BYTES) {
        text_fini(&child->out);
    }
    return true;
}

static bool fill(struct child *child) {
    /* What has been answered leaves the buffer; the rest moves to its start. */
    size_t left_bytes = child->in.size_bytes - child->in_taken_bytes;
    if (child->in_taken_bytes > 0) {
        memmove(child->in.data, child->in.data + child->in_taken_bytes, left_bytes);
        child->in.size_bytes = left_bytes;
        child->in_taken_bytes = 0;
        if (left_bytes == 0 && child->in.capacity_bytes > KEPT_BUFFER_BYTES) {
            text_fini(&child->in);
        }
    }
    char *room = text_reserve(&child->in, READ_BYTES);
    if (room == NULL) {
        return false;
    }
    ssize_t got;
    do {
        got = read(WORKER_SOCKET, room, READ_BYTES);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        return false;
    }
    text_claim(&child->in, (size_t)got);
    return true;
}

/* Answers one request if a whole one lies in the buffer. False when the conversation is over. */
static bool serve_one(struct child *child) {
    struct frame request;
    size_t taken_bytes;
    struct error err;
    enum frame_progress progress =
        frame_read(text_string(&child->in) + child->in_taken_bytes,
                   child->in.size_bytes - child->in_taken_bytes, &request, &taken_bytes, &err);
    if (progress == FRAME_BROKEN || (progress == FRAME_COMPLETE && request.type == FRAME_REPLY)) {
        return false;
    }
    if (progress == FRAME_INCOMPLETE) {
        return fill(child);
    }
    answer(child, &request);
    child->in_taken_bytes += taken_bytes;
    /* At once, not together with the next: a reply that waited here while the next job hangs would be taken for the one
     * that hangs. */
    return flush(child);
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
    text_init(&child.in, FRAME_BODY_BYTES_MAXIMUM + READ_BYTES);
    text_init(&child.out, FRAME_BODY_BYTES_MAXIMUM);
    text_init(&child.result, RESULT_BYTES_MAXIMUM);
    while (serve_one(&child)) {
    }
    text_fini(&child.in);
    text_fini(&child.out);
    text_fini(&child.result);
    arena_fini(&child.arena);
    /* Straight out: ONNX Runtime's own exit handlers are slow and have nothing to save. */
    _exit(0);
}
