/* What became of a run's slots. */
#include "api/answer.h"
#include "api/call.h"
#include "api/encode.h"
#include "api/query.h"
#include "observe/log.h"

#include <string.h>

enum {
    LIST_LIMIT_DEFAULT = 100,
    LIST_LIMIT_MAXIMUM = 1000,
    LIST_BYTES_MAXIMUM = 16 << 20, /* of results: then a page ends early */
    LINK_BYTES_MAXIMUM = 8 * 1024,
};

static bool no_execution(struct error *err) {
    return error_set(err, ERROR_NOT_FOUND, "there is no such execution");
}

/* The execution that the path names, if the caller may see it. */
static bool get_execution(struct call *call, struct execution *out_execution, struct error *err) {
    int64_t key;
    const char *owner;
    struct execution execution;
    if (!identity_parse(call->arguments[0], call_store_tag(call), &key)) {
        return no_execution(err);
    }
    if (!store_get_execution(call->reader, key, call_arena(call), &execution, &owner, err)) {
        return err->kind == ERROR_NOT_FOUND ? no_execution(err) : false;
    }
    if (!auth_may_see(&call->principal, owner)) {
        return no_execution(err);
    }
    *out_execution = execution;
    return true;
}

/* A large result goes out of its file, as the client takes it. False: it is not there, and nothing was answered. */
static bool answer_with_file(struct call *call, const struct execution *execution) {
    struct store *store = call->api->options.store;
    struct error err;
    struct text body CLEANUP(text_fini);
    size_t result_at;
    uint64_t file_bytes;
    int file;
    if (!store_open_result(store, execution->key, &file, &file_bytes, &err)) {
        log_event(LOG_WARNING, "result_not_read",
                  LOG_STRING("correlation_id", call->request->correlation_id), LOG_FAILURE(&err));
        return false;
    }
    answer_begin(&body, EXECUTION_JSON_BYTES);
    execution_to_json_around(&body, execution, call_store_tag(call), &result_at);
    http_answer_file(call->request, 200, "application/json",
                     arena_strndup(call_arena(call), text_string(&body), result_at), file,
                     file_bytes, arena_strdup(call_arena(call), text_string(&body) + result_at));
    return true;
}

bool executions_get(struct call *call, struct error *err) {
    struct execution execution;
    if (!call_read_no_query(call, err) || !get_execution(call, &execution, err)) {
        return false;
    }
    if (execution.result_file_bytes == 0 || !answer_with_file(call, &execution)) {
        call_answer_execution(call, 200, &execution);
    }
    return true;
}

/* --- cancel -------------------------------------------------------------------------------------- */

/* In the request's arena. */
struct execution_cancel {
    struct scheduler_cancel cancel;
    struct call *call;
    struct execution execution; /* the final one */
};

static bool refuse_ended(const struct execution *execution, struct error *err) {
    return error_set(err, ERROR_CONFLICT, "the execution has ended already: it is %s",
                     execution_status_name(execution->status));
}

static void on_cancel_answer(struct http_request *request) {
    struct execution_cancel *cancel = request->user;
    struct call *call = cancel->call;
    struct error err = cancel->cancel.err;
    request->user = call;
    if (cancel->cancel.ok) {
        call_answer_execution(call, 200, &cancel->execution);
        return;
    }
    /* It ended after it was read here and before the scheduler was asked. */
    if (err.kind == ERROR_NOT_FOUND && get_execution(call, &cancel->execution, &err)) {
        if (execution_status_is_final(cancel->execution.status)) {
            refuse_ended(&cancel->execution, &err);
        } else {
            error_set(&err, ERROR_CONFLICT, "the execution is not under way; try again");
        }
    }
    answer_error(request, &err);
}

/* On another thread, which lends the strings. */
static void on_cancelled(struct scheduler_cancel *scheduler_cancel) {
    struct execution_cancel *cancel = scheduler_cancel->context;
    if (scheduler_cancel->ok) {
        cancel->execution = call_keep_execution(cancel->call, &scheduler_cancel->execution);
    }
    http_continue(cancel->call->request, on_cancel_answer);
}

bool executions_cancel(struct call *call, struct error *err) {
    struct execution execution;
    if (!call_read_no_query(call, err) || !get_execution(call, &execution, err)) {
        return false;
    }
    if (execution_status_is_final(execution.status)) {
        return refuse_ended(&execution, err);
    }
    struct execution_cancel *cancel = arena_alloc_zeroed(call_arena(call), sizeof *cancel);
    cancel->call = call;
    cancel->cancel.run_key = execution.run_key;
    cancel->cancel.execution_key = execution.key;
    cancel->cancel.done = on_cancelled;
    cancel->cancel.context = cancel;
    call->request->user = cancel;
    http_defer(call->request);
    scheduler_cancel(call->api->options.scheduler, &cancel->cancel);
    return true;
}

/* --- statistics ---------------------------------------------------------------------------------- */

bool executions_count(struct call *call, struct error *err) {
    struct run run;
    struct run_totals totals;
    if (!call_read_no_query(call, err) || !call_get_run(call, &run, err) ||
        !store_get_run_totals(call->reader, run.key, &totals, err)) {
        return false;
    }
    struct text body;
    struct duration duration = {0};
    uint64_t count = 0;
    answer_begin(&body, EXECUTION_JSON_BYTES);
    text_append(&body, "{\"run_id\":");
    json_id(&body, run.key, call_store_tag(call));
    text_append(&body, ",\"counts\":{");
    for (enum execution_status status = EXECUTION_QUEUED; status <= EXECUTION_MISSED; status++) {
        text_append(&body, status == EXECUTION_QUEUED ? "" : ",");
        json_string(&body, execution_status_name(status));
        text_append_char(&body, ':');
        json_number(&body, (int64_t)totals.count[status]);
        count += totals.count[status];
        duration.us += totals.duration[status].us;
    }
    text_append(&body, "},\"executions\":");
    json_number(&body, (int64_t)count);
    text_append(&body, ",\"duration_ms\":");
    json_milliseconds(&body, duration);
    text_append(&body, ",\"mean_duration_ms\":");
    /* Of those that succeeded: each of them was started, and none was cut short. */
    uint64_t succeeded = totals.count[EXECUTION_SUCCEEDED];
    if (succeeded == 0) {
        text_append(&body, "null");
    } else {
        json_milliseconds(
            &body, (struct duration){totals.duration[EXECUTION_SUCCEEDED].us / (int64_t)succeeded});
    }
    text_append(&body, ",\"missed_slots\":");
    json_number(&body, (int64_t)totals.missed_slots);
    text_append(&body, ",\"removed\":");
    json_number(&body, (int64_t)totals.removed);
    text_append_char(&body, '}');
    answer_json(call->request, 200, &body);
    return true;
}

/* --- a run's history ----------------------------------------------------------------------------- */

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
    filter.bytes_maximum = LIST_BYTES_MAXIMUM;
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
