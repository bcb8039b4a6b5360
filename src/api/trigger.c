/* POST /api/scheduled/{run_id}/trigger: runs it now, and waits for the outcome unless the client does not want to. */
#include "api/body.h"
#include "api/check.h"
#include "api/query.h"

struct run_trigger {
    struct scheduler_trigger trigger;
    struct call *call;
    bool ok;
    struct error err;
    struct execution execution; /* its strings in the request's arena */
};

static void on_trigger_answer(struct http_request *request) {
    struct run_trigger *trigger = request->user;
    struct call *call = trigger->call;
    request->user = call;
    if (!trigger->ok) {
        answer_error(request, &trigger->err);
        return;
    }
    const struct execution *execution = &trigger->execution;
    if (trigger->trigger.wait) {
        call_answer_execution(call, 200, execution);
        return;
    }
    char id[UUID_TEXT_BYTES];
    identity_format(execution->key, call_store_tag(call), id);
    http_add_header(request, "Location", arena_printf(call_arena(call), "/api/executions/%s", id));
    http_add_header(request, "Preference-Applied", "respond-async");
    call_answer_execution(call, 202, execution);
}

/* On the scheduler's thread, which lends the strings. */
static void on_triggered(struct scheduler_trigger *scheduler_trigger) {
    struct run_trigger *trigger = scheduler_trigger->context;
    struct call *call = trigger->call;
    trigger->ok = scheduler_trigger->ok;
    if (trigger->ok) {
        trigger->execution = call_keep_execution(call, &scheduler_trigger->execution);
    } else {
        trigger->err = scheduler_trigger->err;
    }
    http_continue(call->request, on_trigger_answer);
}

/* The optional {"parameters": …}; NULL: those of the run. */
static bool read_parameters(struct call *call, const struct run *run, const char **out_parameters,
                            struct error *err) {
    *out_parameters = NULL;
    if (call->request->body_bytes == 0) {
        return true;
    }
    struct body body CLEANUP(body_fini) = {0};
    if (!call_read_body(call, &body, err)) {
        return false;
    }
    yyjson_obj_iter iterator = yyjson_obj_iter_with(body.root);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iterator)) != NULL;) {
        if (!yyjson_equals_str(key, "parameters")) {
            return error_set_field(err, ERROR_INVALID, yyjson_get_str(key),
                                   "unknown field '%.100s'; a trigger takes 'parameters' alone",
                                   yyjson_get_str(key));
        }
    }
    yyjson_val *parameters = yyjson_obj_get(body.root, "parameters");
    if (parameters == NULL) {
        return true;
    }
    if (!check_model(call, run->model_name, run->model_version, parameters, err)) {
        return false;
    }
    *out_parameters = body_member_text(&body, "parameters", call_arena(call));
    return true;
}

bool runs_trigger(struct call *call, struct error *err) {
    struct run run;
    struct run_trigger *trigger = arena_alloc_zeroed(call_arena(call), sizeof *trigger);
    const char *parameters;
    if (!call_read_no_query(call, err) || !call_get_run(call, &run, err) ||
        !read_parameters(call, &run, &parameters, err) ||
        !plan_entry_new(&run, &trigger->trigger.entry, err)) {
        return false;
    }
    trigger->call = call;
    trigger->trigger.parameters = parameters;
    trigger->trigger.correlation_id = call->request->correlation_id;
    trigger->trigger.wait = !prefer_has(http_header_list(call->request, "Prefer"), "respond-async");
    trigger->trigger.done = on_triggered;
    trigger->trigger.context = trigger;
    call->request->user = trigger;
    http_defer(call->request);
    scheduler_trigger(call->api->options.scheduler, &trigger->trigger);
    return true;
}
