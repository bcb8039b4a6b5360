#include "api/call.h"

#include "api/answer.h"
#include "api/encode.h"
#include "api/query.h"

#include <string.h>

bool call_get_run(struct call *call, struct run *out_run, struct error *err) {
    int64_t key;
    struct run run;
    if (!identity_parse(call->arguments[0], call_store_tag(call), &key)) {
        return error_set(err, ERROR_NOT_FOUND, "there is no such scheduled run");
    }
    if (!store_get_run(call->reader, key, call_arena(call), &run, err)) {
        return err->kind == ERROR_NOT_FOUND
                   ? error_set(err, ERROR_NOT_FOUND, "there is no such scheduled run")
                   : false;
    }
    if (!auth_may_see(&call->principal, run.owner)) {
        return error_set(err, ERROR_NOT_FOUND, "there is no such scheduled run");
    }
    *out_run = run;
    return true;
}

bool call_read_body(struct call *call, struct body *out_body, struct error *err) {
    struct http_request *request = call->request;
    if (!media_type_is_json(http_header(request, "Content-Type"))) {
        return error_set(err, ERROR_MEDIA_TYPE, "the Content-Type must be application/json");
    }
    return body_parse(request->body, request->body_bytes, &call->api->bodies, out_body, err);
}

static const char *copy(struct arena *arena, const char *string) {
    return string == NULL ? NULL : arena_strdup(arena, string);
}

struct execution call_keep_execution(struct call *call, const struct execution *execution) {
    struct execution kept = *execution;
    kept.model_name = copy(call_arena(call), execution->model_name);
    kept.result = copy(call_arena(call), execution->result);
    kept.error_type = copy(call_arena(call), execution->error_type);
    kept.error_message = copy(call_arena(call), execution->error_message);
    return kept;
}

void call_answer_execution(struct call *call, int status, const struct execution *execution) {
    struct text body;
    answer_begin(&body, EXECUTION_JSON_BYTES +
                            (execution->result == NULL ? 0 : strlen(execution->result)));
    execution_to_json(&body, execution, call_store_tag(call));
    answer_json(call->request, status, &body);
}

bool call_read_no_query(struct call *call, struct error *err) {
    return query_read(call->request, NULL, 0, err);
}
