/* The model repository as it is seen from outside. */
#include "api/check.h"
#include "api/decode.h"
#include "api/predict.h"

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

/* The value as it was written, or null. */
static void append_value(struct text *out, yyjson_val *value) {
    size_t size_bytes;
    char *json CLEANUP(free_pointer) =
        value == NULL ? NULL : yyjson_val_write(value, YYJSON_WRITE_NOFLAG, &size_bytes);
    if (json == NULL) {
        text_append(out, "null");
    } else {
        text_append_bytes(out, json, size_bytes);
    }
}

/* `outage` NULL: none; `server` NULL: none was asked. */
static void append_model(struct text *out, const struct model *model, bool is_detailed,
                         const struct outage *outage, const struct server_state *server) {
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
    if (server == NULL) {
        append_signature(out, serving);
    } else {
        append_value(out, server->signature);
        text_append(out, server->ready ? ",\"server\":{\"ready\":true,\"reason\":"
                                       : ",\"server\":{\"ready\":false,\"reason\":");
        append_value(out, server->reason);
        text_append_char(out, '}');
    }
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
        append_model(&body, &snapshot->models[i], false, NULL, NULL);
    }
    text_append_char(&body, ']');
    model_snapshot_unref(snapshot);
    answer_json(call->request, 200, &body);
    return true;
}

static void answer_model(struct call *call, const struct model *model,
                         const struct server_state *server) {
    struct text body;
    answer_begin(&body, 1024);
    struct outage outage;
    bool is_out = dispatcher_outage(call->api->options.dispatcher, model->name, &outage);
    append_model(&body, model, true, is_out ? &outage : NULL, server);
    answer_json(call->request, 200, &body);
}

/* The model as it is now: it may have gone, or become another, while its server was asked. */
static void answer_asked(struct prediction *prediction) {
    struct call *call = prediction->call;
    struct server_state server = predict_server_state(prediction);
    const struct model_snapshot *snapshot =
        model_repository_snapshot(call->api->options.repository);
    const struct model *model = model_snapshot_find(snapshot, prediction->job.model_name);
    struct error err;
    if (model == NULL) {
        predict_no_model(prediction->job.model_name, &err);
        answer_error(call->request, &err);
    } else {
        answer_model(call, model, &server);
    }
    model_snapshot_unref(snapshot);
    yyjson_doc_free(server.document);
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
    bool loads = check_find_model(call, name, 0, &snapshot, &model, &version, err);
    if (loads && model->settings.backend == MODEL_BACKEND_OPENINFERENCE) {
        struct prediction *prediction = arena_alloc_zeroed(call_arena(call), sizeof *prediction);
        prediction->answer = answer_asked;
        return predict_ask_server(prediction, call, snapshot, model, err);
    }
    if (loads) {
        model_snapshot_unref(snapshot);
    }
    snapshot = model_repository_snapshot(repository);
    model = model_snapshot_find(snapshot, name);
    if (model == NULL) {
        model_snapshot_unref(snapshot);
        return predict_no_model(name, err);
    }
    answer_model(call, model, NULL);
    model_snapshot_unref(snapshot);
    return true;
}
