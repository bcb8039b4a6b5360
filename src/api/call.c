#include "api/call.h"

#include "api/query.h"

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
    return body_parse(request->body, request->body_bytes, call_arena(call), out_body, err);
}

bool call_read_no_query(struct call *call, struct error *err) {
    return query_read(call->request, NULL, 0, err);
}
