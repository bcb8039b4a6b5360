/* The child: reads frames, runs models, writes replies. Nothing here is shared with anybody. */
#include "model/request.h"
#include "observe/log.h"
#include "worker/channel.h"
#include "worker/model_paths.h"
#include "worker/runtime.h"
#include "worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#if defined(__has_include) && __has_include(<sanitizer/common_interface_defs.h>)
#include <sanitizer/common_interface_defs.h>
#endif

enum { KEPT_BUFFER_BYTES = 1 << 20 }; /* a larger one goes back to the system when it is empty */
#define RESULT_BYTES_MAXIMUM ((size_t)256 << 20)

struct child {
    struct runtime *runtime; /* NULL: there is none, and `no_runtime` says why */
    struct error no_runtime;
    struct model_paths paths;
    struct sandbox sandbox;
    bool has_served;
    struct channel channel;
    struct text result;
    struct arena arena;
    yyjson_doc
        *document; /* the parameters of the request at hand, which its tensors may point into */
};

/* --- requests ----------------------------------------------------------------------------------- */

static bool need_runtime(const struct child *child, struct error *err) {
    if (child->runtime == NULL) {
        *err = child->no_runtime;
    }
    return child->runtime != NULL;
}

/* A file that the sandbox hides, because a symbolic link to it was made after this process began, is for the next
 * process, which may read it. A new one has nothing to hope for from that. */
static bool load(struct child *child, const struct frame *request, const unsigned char *digest,
                 struct runtime_model **out_model, struct error *err) {
    if (runtime_load(child->runtime, request->path, request->options, digest, out_model, err)) {
        return true;
    }
    if (err->saved_errno == EACCES && child->has_served &&
        !model_paths_cover(&child->paths, request->path)) {
        _exit(WORKER_EXIT_REPLACE);
    }
    return false;
}

static bool describe(struct child *child, const struct frame *request, struct frame *reply,
                     struct error *err) {
    struct runtime_model *model;
    if (!load(child, request, NULL, &model, err)) {
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
    size_t *wanted;
    size_t wanted_count;
    if (!load(child, request, request->has_digest ? request->digest : NULL, &model, err)) {
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
    bool ok = need_runtime(child, &err);
    char findings[SANDBOX_PART_COUNT + 1];
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
    if (request->type == FRAME_PROBE) {
        sandbox_probe(&child->sandbox, findings);
        reply.body = findings;
        reply.body_bytes = SANDBOX_PART_COUNT;
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
    if (!channel_write(&child->channel)) {
        return false;
    }
    child->has_served = true;
    if (child->runtime != NULL && runtime_is_bloated(child->runtime)) {
        _exit(WORKER_EXIT_REPLACE);
    }
    return true;
}

#ifdef __has_feature /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER
#endif

/* What the sanitizers of a build with them report goes where the log goes: no file can be written. */
static void redirect_reports(void) {
#ifdef HAS_SANITIZER
    __sanitizer_set_report_fd((void *)(uintptr_t)STDERR_FILENO);
#endif
}

/* The library is opened first: it is the operator's own, and afterwards only models are read. */
static bool enter_sandbox(struct child *child, const struct worker_options *options,
                          struct error *err) {
    struct runtime_options runtime_options = {.library = options->library,
                                              .cache_bytes = options->cache_bytes,
                                              .session_threads = options->session_threads};
    if (!runtime_open(&runtime_options, &child->runtime, &child->no_runtime)) {
        child->runtime = NULL;
    }
    model_paths_find(&child->paths, options->models);
    if (child->runtime != NULL && runtime_folder(child->runtime) != NULL) {
        model_paths_add(&child->paths, runtime_folder(child->runtime));
    }
    struct sandbox_options sandbox_options = {.profile = SANDBOX_WORKER,
                                              .readable = (const char *const *)child->paths.paths,
                                              .readable_count = child->paths.count,
                                              .memory_bytes = options->memory_bytes};
    return sandbox_enter(&sandbox_options, &child->sandbox, err);
}

int worker_main(const struct worker_options *options) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "orrery-worker");
    redirect_reports();
    struct child child = {0};
    struct error err;
    if (!enter_sandbox(&child, options, &err)) {
        log_event(LOG_ERROR, "worker_not_sandboxed", LOG_FAILURE(&err));
        return 1;
    }
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
