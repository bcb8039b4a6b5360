/* The model repository as it is seen from outside, and one question to a model without a schedule. */
#include "api/body.h"
#include "api/check.h"
#include "api/decode.h"

#include <stdlib.h>
#include <string.h>

enum {
    PREDICTIONS_MAXIMUM = 4096, /* under way at once */
    PREDICTION_TIMEOUT_S = 60,
};

/* --- what there is ------------------------------------------------------------------------------- */

/* The version that answers when none is asked for: the newest that loads. */
static const struct model_version *serving_version(const struct model *model) {
    for (size_t i = 0; i < model->version_count; i++) {
        if (model->versions[i].loads) {
            return &model->versions[i];
        }
    }
    return NULL;
}

static void append_signature(struct text *out, const struct model_version *version) {
    if (version != NULL && version->has_signature) {
        signature_to_json(&version->signature, out);
    } else {
        text_append(out, "null");
    }
}

static void append_version(struct text *out, const struct model_version *version,
                           bool is_detailed) {
    text_append(out, "{\"version\":");
    json_number(out, version->version);
    text_append(out, version->loads ? ",\"loads\":true" : ",\"loads\":false");
    if (!version->loads) {
        text_append(out, ",\"reason\":");
        json_string(out, version->reason);
    }
    if (is_detailed) {
        text_append(out, ",\"digest\":");
        if (version->loads) {
            json_hex(out, version->digest, sizeof version->digest);
        } else {
            text_append(out, "null");
        }
        text_append(out, ",\"signature\":");
        append_signature(out, version);
    }
    text_append_char(out, '}');
}

/* `outage` NULL: none. */
static void append_model(struct text *out, const struct model *model, bool is_detailed,
                         const struct outage *outage) {
    const struct model_version *serving = serving_version(model);
    text_append(out, "{\"name\":");
    json_string(out, model->name);
    text_append(out, ",\"backend\":");
    json_string(out, model_backend_name(model->settings.backend));
    if (model->reason != NULL) {
        text_append(out, ",\"reason\":");
        json_string(out, model->reason);
    } else if (outage != NULL) {
        text_append(out, ",\"reason\":");
        json_string(out, outage->reason);
        text_append(out, ",\"available_again_at\":");
        json_time(out, outage->available_again_at);
    }
    text_append(out, ",\"serving_version\":");
    if (serving == NULL) {
        text_append(out, "null");
    } else {
        json_number(out, serving->version);
    }
    text_append(out, ",\"versions\":[");
    for (size_t i = 0; i < model->version_count; i++) {
        text_append(out, i == 0 ? "" : ",");
        append_version(out, &model->versions[i], is_detailed);
    }
    text_append(out, "],\"signature\":");
    append_signature(out, serving);
    text_append_char(out, '}');
}

bool models_list(struct call *call, struct error *err) {
    if (!call_read_no_query(call, err)) {
        return false;
    }
    const struct model_snapshot *snapshot =
        model_repository_snapshot(call->api->options.repository);
    struct text body;
    answer_begin(&body, 2 + snapshot->model_count * 512);
    text_append_char(&body, '[');
    for (size_t i = 0; i < snapshot->model_count; i++) {
        text_append(&body, i == 0 ? "" : ",");
        append_model(&body, &snapshot->models[i], false, NULL);
    }
    text_append_char(&body, ']');
    model_snapshot_unref(snapshot);
    answer_json(call->request, 200, &body);
    return true;
}

static bool no_model(const char *name, struct error *err) {
    return error_set(err, ERROR_NOT_FOUND, "there is no model '%.128s'", name);
}

bool models_get(struct call *call, struct error *err) {
    if (!call_read_no_query(call, err)) {
        return false;
    }
    const char *name = call->arguments[0];
    const struct model_snapshot *snapshot;
    const struct model *model;
    const struct model_version *version;
    /* One that does not load is there all the same: only an unknown one is waited for. */
    struct model_repository *repository = call->api->options.repository;
    if (check_find_model(call, name, 0, &snapshot, &model, &version, err)) {
        model_snapshot_unref(snapshot);
    }
    snapshot = model_repository_snapshot(repository);
    model = model_snapshot_find(snapshot, name);
    if (model == NULL) {
        model_snapshot_unref(snapshot);
        return no_model(name, err);
    }
    struct text body;
    answer_begin(&body, 1024);
    struct outage outage;
    bool is_out = dispatcher_outage(call->api->options.dispatcher, name, &outage);
    append_model(&body, model, true, is_out ? &outage : NULL);
    model_snapshot_unref(snapshot);
    answer_json(call->request, 200, &body);
    return true;
}

/* --- predict ------------------------------------------------------------------------------------- */

struct prediction {
    struct dispatch_job job;
    struct call *call;
};

static void answer_failure(struct http_request *request) {
    struct prediction *prediction = request->user;
    request->user = prediction->call;
    answer_error(request, &prediction->job.err);
}

/* On the dispatcher's thread. A result goes into the exchange here and now: of a client that has gone, no further step
 * would come to free it. */
static void on_predicted(struct dispatch_job *job) {
    struct prediction *prediction = job->context;
    struct call *call = prediction->call;
    call_end_prediction(call->api);
    if (job->status == EXECUTION_SUCCEEDED) {
        call->request->user = call;
        http_answer_taking(call->request, 200, "application/json", job->result, job->result_bytes);
        return;
    }
    ASSERT(job->result == NULL);
    http_continue(call->request, answer_failure);
}

/* What is asked: the parameters themselves ({"data": …} or {"inputs": …}), or, as for a scheduled run,
 * {"parameters": …, "model_version": …}. */
struct question {
    yyjson_val *parameters; /* of the body */
    const char *text;
    uint32_t version; /* 0: the one that serves */
};

static bool read_wrapped(const struct body *body, struct arena *arena, struct question *out,
                         struct error *err) {
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
    out->text = body_member_text(body, "parameters", arena);
    return true;
}

static bool read_question(struct call *call, struct body *body, struct question *out,
                          struct error *err) {
    *out = (struct question){.text = "null"};
    if (call->request->body_bytes == 0) {
        return true; /* for a model without inputs */
    }
    if (!call_read_body(call, body, err)) {
        return false;
    }
    if (yyjson_obj_get(body->root, "parameters") != NULL &&
        yyjson_obj_get(body->root, "data") == NULL &&
        yyjson_obj_get(body->root, "inputs") == NULL) {
        return read_wrapped(body, call_arena(call), out, err);
    }
    out->parameters = body->root;
    out->text = body_text(body, call_arena(call));
    return true;
}

static bool begin_prediction(struct api *api, struct error *err) {
    if (atomic_fetch_add(&api->predictions, 1) >= PREDICTIONS_MAXIMUM) {
        atomic_fetch_sub(&api->predictions, 1);
        return error_set(err, ERROR_UNAVAILABLE, "%d predictions are under way already",
                         PREDICTIONS_MAXIMUM);
    }
    return true;
}

bool models_predict(struct call *call, struct error *err) {
    const char *name = call->arguments[0];
    struct body body CLEANUP(body_fini) = {0};
    struct question question;
    const struct model_snapshot *snapshot;
    const struct model *model;
    const struct model_version *version;
    if (!call_read_no_query(call, err) || !read_question(call, &body, &question, err)) {
        return false;
    }
    if (!check_find_model(call, name, question.version, &snapshot, &model, &version, err)) {
        bool is_unknown =
            err->kind == ERROR_UNKNOWN_MODEL && strcmp(err->field, "model_version") != 0;
        return is_unknown ? no_model(name, err) : false;
    }
    if (!check_fit(version, question.parameters, err) || !begin_prediction(call->api, err)) {
        model_snapshot_unref(snapshot);
        return false;
    }
    struct prediction *prediction = arena_alloc_zeroed(call_arena(call), sizeof *prediction);
    prediction->call = call;
    prediction->job = (struct dispatch_job){
        .model_name = arena_strdup(call_arena(call), model->name),
        .model_version = question.version,
        .snapshot = snapshot,
        .parameters = question.text,
        .parameters_bytes = strlen(question.text),
        .timeout = {PREDICTION_TIMEOUT_S * US_PER_SECOND},
        .done = on_predicted,
        .context = prediction,
    };
    call->request->user = prediction;
    http_defer(call->request);
    dispatcher_submit(call->api->options.dispatcher, &prediction->job);
    return true;
}
