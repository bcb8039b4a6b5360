/* What became of a run's slots. */
#include "api/answer.h"
#include "api/call.h"
#include "api/encode.h"
#include "api/query.h"

#include <string.h>

enum {
    LIST_LIMIT_DEFAULT = 100,
    LIST_LIMIT_MAXIMUM = 1000,
    LINK_BYTES_MAXIMUM = 8 * 1024,
};

static bool no_execution(struct error *err) {
    return error_set(err, ERROR_NOT_FOUND, "there is no such execution");
}

bool executions_get(struct call *call, struct error *err) {
    int64_t key;
    struct execution execution;
    const char *owner;
    if (!call_read_no_query(call, err)) {
        return false;
    }
    if (!identity_parse(call->arguments[0], call_store_tag(call), &key)) {
        return no_execution(err);
    }
    if (!store_get_execution(call->reader, key, call_arena(call), &execution, &owner, err)) {
        return err->kind == ERROR_NOT_FOUND ? no_execution(err) : false;
    }
    if (!auth_may_see(&call->principal, owner)) {
        return no_execution(err);
    }
    struct text body;
    answer_begin(&body,
                 EXECUTION_JSON_BYTES + (execution.result == NULL ? 0 : strlen(execution.result)));
    execution_to_json(&body, &execution, call_store_tag(call));
    answer_json(call->request, 200, &body);
    return true;
}

enum { LIST_STATUS, LIST_SINCE, LIST_UNTIL, LIST_LIMIT, LIST_CURSOR, LIST_PARAMETERS };

static bool read_filter(struct call *call, struct query_parameter *query,
                        struct execution_filter *out, struct error *err) {
    uint64_t limit;
    struct execution_filter filter = {0};
    if (!query_read(call->request, query, LIST_PARAMETERS, err) ||
        !query_number(&query[LIST_LIMIT], LIST_LIMIT_DEFAULT, 1, LIST_LIMIT_MAXIMUM, &limit, err) ||
        !query_time(&query[LIST_SINCE], call_arena(call), &filter.since, err) ||
        !query_time(&query[LIST_UNTIL], call_arena(call), &filter.until, err)) {
        return false;
    }
    filter.limit = (uint32_t)limit;
    const char *status = query[LIST_STATUS].value;
    filter.has_status = status != NULL;
    if (status != NULL && !execution_status_parse(status, &filter.status)) {
        return error_set_field(err, ERROR_INVALID, "status",
                               "status must be one of queued, running, succeeded, failed, "
                               "timed_out, cancelled, skipped, missed");
    }
    const char *cursor = query[LIST_CURSOR].value;
    if (cursor != NULL && !identity_parse(cursor, call_store_tag(call), &filter.before_key)) {
        return error_set_field(err, ERROR_INVALID, "cursor",
                               "cursor must be one that a Link of this list gave");
    }
    *out = filter;
    return true;
}

static void add_next_page(struct call *call, struct query_parameter *query, int64_t next_cursor) {
    char *cursor = arena_alloc(call_arena(call), UUID_TEXT_BYTES);
    identity_format(next_cursor, call_store_tag(call), cursor);
    query[LIST_CURSOR].value = cursor;
    struct text links;
    text_init(&links, LINK_BYTES_MAXIMUM);
    link_append(&links,
                arena_printf(call_arena(call), "/api/scheduled/%s/executions", call->arguments[0]),
                query, LIST_PARAMETERS, "next");
    if (text_ok(&links)) {
        http_add_header(call->request, "Link", text_string(&links));
    }
    text_fini(&links);
}

bool executions_list(struct call *call, struct error *err) {
    struct query_parameter query[LIST_PARAMETERS] = {
        {"status", NULL}, {"since", NULL}, {"until", NULL}, {"limit", NULL}, {"cursor", NULL}};
    struct run run;
    struct execution_filter filter;
    struct execution *executions;
    size_t count;
    int64_t next_cursor;
    if (!call_get_run(call, &run, err) || !read_filter(call, query, &filter, err)) {
        return false;
    }
    filter.run_key = run.key;
    if (!store_list_executions(call->reader, &filter, call_arena(call), &executions, &count,
                               &next_cursor, err)) {
        return false;
    }
    struct text body;
    answer_begin(&body, 2 + count * EXECUTION_JSON_BYTES);
    text_append_char(&body, '[');
    for (size_t i = 0; i < count; i++) {
        text_append(&body, i == 0 ? "" : ",");
        execution_to_json(&body, &executions[i], call_store_tag(call));
    }
    text_append_char(&body, ']');
    if (next_cursor != 0) {
        add_next_page(call, query, next_cursor);
    }
    answer_json(call->request, 200, &body);
    return true;
}
