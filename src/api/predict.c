#include "api/predict.h"

#include "api/answer.h"
#include "api/body.h"
#include "api/check.h"
#include "base/sealed.h"
#include "worker/channel.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PREDICTIONS_MAXIMUM = 4096, /* under way at once */
    PREDICTION_TIMEOUT_S = 60,
    SERVER_TIMEOUT_S = 5, /* of a question how a model is: somebody waits for the answer */
};

bool predict_no_model(const char *name, struct error *err) {
    return error_set(err, ERROR_NOT_FOUND, "there is no model '%.128s'", name);
}

/* --- the way there and back ---------------------------------------------------------------------- */

static void answer_failure(struct http_request *request) {
    struct prediction *prediction = request->user;
    request->user = prediction->call;
    answer_error(request, &prediction->job.err);
}

static void answer_success(struct http_request *request) {
    struct prediction *prediction = request->user;
    request->user = prediction->call;
    prediction->answer(prediction);
}

static void free_result(void *result, size_t size_bytes) {
    (void)size_bytes;
    free(result);
}

static void unmap_result(void *result, size_t size_bytes) { sealed_unmap(result, size_bytes); }

static void close_parameters(struct prediction *prediction) {
    if (prediction->job.parameters_file != NULL) {
        close(prediction->parameters_file);
    }
}

/* On the dispatcher's thread. A result goes into the exchange here and now: of a client that has gone, no further step
 * would come to free it. */
static void on_predicted(struct dispatch_job *job) {
    struct prediction *prediction = job->context;
    struct http_request *request = prediction->call->request;
    close_parameters(prediction);
    call_end_prediction(prediction->call->api);
    if (job->status != EXECUTION_SUCCEEDED) {
        ASSERT(job->result == NULL);
        http_continue(request, answer_failure);
        return;
    }
    if (!http_reserve_answer(request, job->result_bytes)) {
        dispatch_job_free_result(job);
        answer_too_many(&job->err);
        http_continue(request, answer_failure);
        return;
    }
    http_keep(request, job->result, job->result_bytes,
              job->result_is_mapped ? unmap_result : free_result);
    if (prediction->answer != NULL) {
        http_continue(request, answer_success);
    } else {
        request->user = prediction->call;
        http_answer(request, 200, "application/json", job->result, job->result_bytes);
    }
}

static bool count_prediction(struct api *api, struct error *err) {
    if (atomic_fetch_add(&api->predictions, 1) >= PREDICTIONS_MAXIMUM) {
        atomic_fetch_sub(&api->predictions, 1);
        return error_set(err, ERROR_UNAVAILABLE, "%d predictions are under way already",
                         PREDICTIONS_MAXIMUM);
    }
    return true;
}

/* A large body is copied into shared memory here, where only this request waits for it. */
static void share_parameters(struct prediction *prediction) {
    struct dispatch_job *job = &prediction->job;
    struct error ignored;
    if (job->parameters_bytes > CHANNEL_INLINE_BYTES_MAXIMUM &&
        sealed_new(job->parameters, job->parameters_bytes, &prediction->parameters_file,
                   &ignored)) {
        job->parameters_file = &prediction->parameters_file;
    }
}

bool predict_begin(struct prediction *prediction, struct call *call,
                   const struct question *question, struct error *err) {
    const struct model_snapshot *snapshot;
    const struct model *model;
    const struct model_version *version;
    if (!check_find_model(call, question->model_name, question->version, &snapshot, &model,
                          &version, err)) {
        bool is_unknown =
            err->kind == ERROR_UNKNOWN_MODEL && strcmp(err->field, "model_version") != 0;
        return is_unknown ? predict_no_model(question->model_name, err) : false;
    }
    if (!check_fit(model, version, question->parameters, err) ||
        !count_prediction(call->api, err)) {
        model_snapshot_unref(snapshot);
        return false;
    }
    prediction->call = call;
    prediction->job = (struct dispatch_job){
        .model_name = arena_strdup(call_arena(call), model->name),
        .model_version = question->version,
        .snapshot = snapshot,
        .parameters = question->text,
        .parameters_bytes = question->text_bytes,
        .timeout = {PREDICTION_TIMEOUT_S * US_PER_SECOND},
        .done = on_predicted,
        .context = prediction,
    };
    share_parameters(prediction);
    call->request->user = prediction;
    http_defer(call->request);
    dispatcher_submit(call->api->options.dispatcher, &prediction->job);
    return true;
}

/* --- questions to a model's server --------------------------------------------------------------- */

bool predict_ask_server(struct prediction *prediction, struct call *call,
                        const struct model_snapshot *snapshot, const struct model *model,
                        struct error *err) {
    if (!count_prediction(call->api, err)) {
        model_snapshot_unref(snapshot);
        return false;
    }
    prediction->call = call;
    prediction->job = (struct dispatch_job){
        .model_name = arena_strdup(call_arena(call), model->name),
        .snapshot = snapshot,
        .asks_server = true,
        .timeout = {SERVER_TIMEOUT_S * US_PER_SECOND},
        .done = on_predicted,
        .context = prediction,
    };
    call->request->user = prediction;
    http_defer(call->request);
    dispatcher_submit(call->api->options.dispatcher, &prediction->job);
    return true;
}

struct server_state predict_server_state(const struct prediction *prediction) {
    yyjson_doc *document =
        yyjson_read(prediction->job.result, prediction->job.result_bytes, YYJSON_READ_NOFLAG);
    yyjson_val *root = yyjson_doc_get_root(document);
    yyjson_val *signature = yyjson_obj_get(root, "signature");
    return (struct server_state){
        .document = document,
        .ready = yyjson_is_true(yyjson_obj_get(root, "ready")),
        .reason = yyjson_obj_get(root, "reason"),
        .signature = yyjson_is_obj(signature) ? signature : NULL,
    };
}

/* --- POST /api/models/{name}/predict ------------------------------------------------------------- */

/* What is asked: the parameters themselves ({"data": …} or {"inputs": …}), or, as for a scheduled run,
 * {"parameters": …, "model_version": …}. */

static bool read_wrapped(const struct body *body, struct question *out, struct error *err) {
    static const char *const names[] = {"parameters", "model_version"};
    yyjson_obj_iter iterator = yyjson_obj_iter_with(body->root);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator)) != NULL;) {
        const char *name = yyjson_get_str(key);
        if (strcmp(name, names[0]) != 0 && strcmp(name, names[1]) != 0) {
            return error_set_field(err, ERROR_INVALID, name,
                                   "unknown field '%.100s'; there are parameters, model_version",
                                   name);
        }
    }
    yyjson_val *version = yyjson_obj_get(body->root, "model_version");
    if (version != NULL && !yyjson_is_null(version)) {
        uint64_t number;
        if (!body_integer(version, &number) || number == 0 || number > INT32_MAX) {
            return error_set_field(err, ERROR_INVALID, "model_version",
                                   "model_version must be a whole number from 1 to %d", INT32_MAX);
        }
        out->version = (uint32_t)number;
    }
    out->parameters = yyjson_obj_get(body->root, "parameters");
    out->text = body_member_span(body, "parameters", &out->text_bytes);
    return true;
}

static bool read_question(struct call *call, struct body *body, struct question *out,
                          struct error *err) {
    if (call->request->body_bytes == 0) {
        return true; /* for a model without inputs */
    }
    if (!call_read_body(call, body, err)) {
        return false;
    }
    if (yyjson_obj_get(body->root, "parameters") != NULL &&
        yyjson_obj_get(body->root, "data") == NULL &&
        yyjson_obj_get(body->root, "inputs") == NULL) {
        return read_wrapped(body, out, err);
    }
    out->parameters = body->root;
    out->text = body->text;
    out->text_bytes = body->size_bytes;
    return true;
}

bool models_predict(struct call *call, struct error *err) {
    struct body body CLEANUP(body_fini) = {0};
    struct question question = {
        .model_name = call->arguments[0], .text = "null", .text_bytes = sizeof "null" - 1};
    if (!call_read_no_query(call, err) || !read_question(call, &body, &question, err)) {
        return false;
    }
    struct prediction *prediction = arena_alloc_zeroed(call_arena(call), sizeof *prediction);
    return predict_begin(prediction, call, &question, err);
}
