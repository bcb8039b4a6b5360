/* orrery as a server of the Open Inference Protocol's REST form (version 2), so that its clients and load generators
 * work against it: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
 * Requests go the way of POST /api/models/{name}/predict. Errors have the protocol's form (answer.c). */
#include "api/answer.h"
#include "api/check.h"
#include "api/encode.h"
#include "api/health.h"
#include "api/predict.h"
#include "api/query.h"

#include <string.h>

/* --- the server ---------------------------------------------------------------------------------- */

static const char description[] =
    "{\"name\":\"orrery\",\"version\":\"" ORRERY_VERSION "\",\"extensions\":[]}";
static const char live[] = "{\"live\":true}";
/* The specification's object has "live" here, too; its servers say "ready". */
static const char ready[] = "{\"live\":true,\"ready\":true}";
static const char not_ready[] = "{\"live\":true,\"ready\":false}";

bool inference_server(struct call *call, struct error *err) {
    if (!call_read_no_query(call, err)) {
        return false;
    }
    http_answer(call->request, 200, "application/json", description, sizeof description - 1);
    return true;
}

bool inference_live(struct call *call, struct error *err) {
    (void)err;
    http_answer(call->request, 200, "application/json", live, sizeof live - 1);
    return true;
}

bool inference_ready(struct call *call, struct error *err) {
    (void)err;
    struct health health;
    if (health_check(call, &health)) {
        http_answer(call->request, 200, "application/json", ready, sizeof ready - 1);
    } else {
        http_add_header(call->request, "Retry-After", "1");
        http_answer(call->request, 503, "application/json", not_ready, sizeof not_ready - 1);
    }
    return true;
}

/* --- models -------------------------------------------------------------------------------------- */

/* The version in the path: 0 where it has none. */
static bool read_version(const struct call *call, uint32_t *out_version, struct error *err) {
    const char *text = call->arguments[1];
    uint64_t version = 0;
    for (const char *at = text; at != NULL && *at != '\0'; at++) {
        bool is_digit = *at >= '0' && *at <= '9' && !(at == text && *at == '0');
        version = is_digit ? version * 10 + (uint64_t)(*at - '0') : UINT64_MAX;
        if (version > INT32_MAX) {
            return error_set(err, ERROR_NOT_FOUND, "there is no version '%.40s'", text);
        }
    }
    *out_version = (uint32_t)version;
    return true;
}

/* Finds the model that the path names. A version that is not there is as unknown as a model. */
static bool find_model(struct call *call, const struct model_snapshot **out_snapshot,
                       const struct model **out_model, const struct model_version **out_version,
                       struct error *err) {
    uint32_t version;
    if (!call_read_no_query(call, err) || !read_version(call, &version, err)) {
        return false;
    }
    if (!check_find_model(call, call->arguments[0], version, out_snapshot, out_model, out_version,
                          err)) {
        if (err->kind == ERROR_UNKNOWN_MODEL) {
            err->kind = ERROR_NOT_FOUND;
        }
        return false;
    }
    return true;
}

static void append_tensors(struct text *out, const struct tensor_signature *tensors, size_t count) {
    for (size_t i = 0; i < count; i++) {
        text_append(out, i == 0 ? "{\"name\":" : ",{\"name\":");
        json_string(out, tensors[i].name);
        text_printf(out, ",\"datatype\":\"%s\",\"shape\":", tensor_type_name(tensors[i].type));
        tensor_shape_append(&tensors[i].shape, out);
        text_append_char(out, '}');
    }
}

static void answer_metadata(struct call *call, const struct model *model,
                            const struct signature *signature) {
    struct text body;
    answer_begin(&body, 1024);
    text_append(&body, "{\"name\":");
    json_string(&body, model->name);
    text_append(&body, ",\"versions\":[");
    bool any = false;
    for (size_t i = model->version_count; i-- > 0;) {
        if (model->versions[i].loads) {
            text_printf(&body, "%s\"%u\"", any ? "," : "", model->versions[i].version);
            any = true;
        }
    }
    text_append(&body, "],\"platform\":");
    json_string(&body, model->settings.backend == MODEL_BACKEND_ONNX
                           ? "onnx_onnxv1" /* <project>_<format> */
                           : model_backend_name(model->settings.backend));
    text_append(&body, ",\"inputs\":[");
    append_tensors(&body, signature->inputs, signature->input_count);
    text_append(&body, "],\"outputs\":[");
    append_tensors(&body, signature->outputs, signature->output_count);
    text_append(&body, "]}");
    answer_json(call->request, 200, &body);
}

/* Of a model on another server: what that says now. */
static bool read_asked(const struct model *model, const struct server_state *server,
                       struct arena *arena, struct signature *out, struct error *err) {
    if (model == NULL) {
        return error_set(err, ERROR_NOT_FOUND, "the model is gone");
    }
    if (server->signature == NULL) {
        const char *reason = yyjson_get_str(server->reason);
        return error_set(err, ERROR_MODEL_UNAVAILABLE, "%s",
                         reason == NULL ? "the model's server does not say what it takes" : reason);
    }
    return signature_from_json(server->signature, arena, out, err);
}

static void answer_asked_metadata(struct prediction *prediction) {
    struct call *call = prediction->call;
    struct arena arena CLEANUP(arena_fini) = {0};
    struct server_state server = predict_server_state(prediction);
    const struct model_snapshot *snapshot =
        model_repository_snapshot(call->api->options.repository);
    const struct model *model = model_snapshot_find(snapshot, prediction->job.model_name);
    struct signature signature;
    struct error err;
    if (read_asked(model, &server, &arena, &signature, &err)) {
        answer_metadata(call, model, &signature);
    } else {
        answer_error(call->request, &err);
    }
    model_snapshot_unref(snapshot);
    yyjson_doc_free(server.document);
}

static bool ask_server(struct call *call, const struct model_snapshot *snapshot,
                       const struct model *model, void (*answer)(struct prediction *prediction),
                       struct error *err) {
    struct prediction *prediction = arena_alloc_zeroed(call_arena(call), sizeof *prediction);
    prediction->answer = answer;
    return predict_ask_server(prediction, call, snapshot, model, err);
}

bool inference_model(struct call *call, struct error *err) {
    const struct model_snapshot *snapshot;
    const struct model *model;
    const struct model_version *version;
    if (!find_model(call, &snapshot, &model, &version, err)) {
        return false;
    }
    if (model->settings.backend == MODEL_BACKEND_OPENINFERENCE) {
        return ask_server(call, snapshot, model, answer_asked_metadata, err);
    }
    answer_metadata(call, model, &version->signature);
    model_snapshot_unref(snapshot);
    return true;
}

static void answer_ready(struct call *call, bool is_ready) {
    struct text body;
    answer_begin(&body, 256);
    text_append(&body, "{\"name\":");
    json_string(&body, call->arguments[0]);
    text_printf(&body, ",\"ready\":%s}", is_ready ? "true" : "false");
    answer_json(call->request, is_ready ? 200 : 503, &body);
}

static void answer_asked_ready(struct prediction *prediction) {
    struct server_state server = predict_server_state(prediction);
    answer_ready(prediction->call, server.ready);
    yyjson_doc_free(server.document);
}

bool inference_model_ready(struct call *call, struct error *err) {
    const struct model_snapshot *snapshot;
    const struct model *model;
    const struct model_version *version;
    bool is_ready = find_model(call, &snapshot, &model, &version, err);
    if (!is_ready && err->kind != ERROR_MODEL_UNAVAILABLE) {
        return false;
    }
    if (is_ready && model->settings.backend == MODEL_BACKEND_OPENINFERENCE) {
        return ask_server(call, snapshot, model, answer_asked_ready, err);
    }
    if (is_ready) {
        model_snapshot_unref(snapshot);
    }
    answer_ready(call, is_ready);
    return true;
}

/* --- inference ----------------------------------------------------------------------------------- */

/* The result {"model_name", "model_version": 3, "outputs": […]} becomes the protocol's answer: the version is a string, and
 * the request's id comes back. What comes after the version is taken as it is. */
static void append_answer(struct text *body, const struct prediction *prediction,
                          const char *outputs, size_t outputs_bytes) {
    const struct dispatch_job *job = &prediction->job;
    text_append(body, "{\"model_name\":");
    json_string(body, job->model_name);
    text_printf(body, ",\"model_version\":\"%u\",", job->used_version);
    if (prediction->id != NULL) {
        text_append(body, "\"id\":");
        text_append(body, prediction->id);
        text_append_char(body, ',');
    }
    text_append_bytes(body, outputs, outputs_bytes);
}

/* What orrery's own results begin with, up to "outputs". */
static size_t head_bytes(const struct dispatch_job *job) {
    struct text head;
    text_init(&head, job->result_bytes);
    text_append(&head, "{\"model_name\":");
    json_string(&head, job->model_name);
    text_printf(&head, ",\"model_version\":%u,", job->used_version);
    bool is_head = text_ok(&head) && memcmp(job->result, text_string(&head), head.size_bytes) == 0;
    size_t size_bytes = is_head ? head.size_bytes : 0;
    text_fini(&head);
    return size_bytes;
}

/* Another server's answer, or anything else: its outputs are looked for. */
static bool append_foreign(struct text *body, const struct prediction *prediction,
                           struct error *err) {
    const struct dispatch_job *job = &prediction->job;
    struct body result CLEANUP(body_fini) = {0};
    size_t outputs_bytes = 0;
    bool is_json =
        body_parse(job->result, job->result_bytes, &prediction->call->api->bodies, &result, err);
    if (!is_json && err->kind == ERROR_UNAVAILABLE) {
        return false;
    }
    if (!is_json || !yyjson_is_arr(yyjson_obj_get(result.root, "outputs"))) {
        return error_set(err, ERROR_MODEL_FAILED,
                         "the model's answer is not of the Open Inference Protocol: use "
                         "/api/models/%.128s/predict",
                         job->model_name);
    }
    const char *outputs = body_member_span(&result, "outputs", &outputs_bytes);
    append_answer(body, prediction, "\"outputs\":", strlen("\"outputs\":"));
    text_append_bytes(body, outputs, outputs_bytes);
    text_append_char(body, '}');
    return true;
}

static void answer_inference(struct prediction *prediction) {
    const struct dispatch_job *job = &prediction->job;
    struct http_request *request = prediction->call->request;
    struct error err;
    struct text body;
    size_t skipped_bytes = head_bytes(job);
    answer_begin(&body, job->result_bytes + 256);
    if (skipped_bytes > 0) {
        append_answer(&body, prediction, job->result + skipped_bytes,
                      job->result_bytes - skipped_bytes);
    } else if (!append_foreign(&body, prediction, &err)) {
        text_fini(&body);
        answer_error(request, &err);
        return;
    }
    answer_json(request, 200, &body);
}

/* The binary form of tensors is an extension of some servers'; the protocol asks for none. */
static bool refuse_binary(const struct call *call, struct error *err) {
    if (http_header(call->request, "Inference-Header-Content-Length") == NULL) {
        return true;
    }
    return error_set(err, ERROR_MEDIA_TYPE,
                     "tensors in binary form (Inference-Header-Content-Length) are not taken; "
                     "send them as JSON");
}

/* Clients of the protocol often send no Content-Type: it knows but one. */
static bool read_body(struct call *call, struct body *out_body, struct error *err) {
    struct http_request *request = call->request;
    const char *type = http_header(request, "Content-Type");
    if (type != NULL) {
        return call_read_body(call, out_body, err);
    }
    return body_parse(request->body, request->body_bytes, &call->api->bodies, out_body, err);
}

bool inference_infer(struct call *call, struct error *err) {
    struct body body CLEANUP(body_fini) = {0};
    struct question question = {.model_name = call->arguments[0]};
    if (!call_read_no_query(call, err) || !read_version(call, &question.version, err) ||
        !refuse_binary(call, err) || !read_body(call, &body, err)) {
        return false;
    }
    if (yyjson_obj_get(body.root, "inputs") == NULL) {
        return error_set_field(err, ERROR_INVALID, "inputs",
                               "the request has no \"inputs\": a list of {\"name\", \"shape\", "
                               "\"datatype\", \"data\"}");
    }
    question.parameters = body.root;
    question.text = body.text;
    question.text_bytes = body.size_bytes;
    struct prediction *prediction = arena_alloc_zeroed(call_arena(call), sizeof *prediction);
    prediction->answer = answer_inference;
    prediction->id = body_member_text(&body, "id", call_arena(call));
    if (!predict_begin(prediction, call, &question, err)) {
        if (err->kind == ERROR_UNKNOWN_MODEL) {
            err->kind = ERROR_NOT_FOUND;
        }
        return false;
    }
    return true;
}
