/* POST /api/scheduled/{run_id}/trigger: runs it now, and waits for the outcome unless the client does not want to. */
#include "api/body.h"
#include "api/check.h"
#include "api/query.h"

/* So often it is begun anew because the run was changed in between. */
enum { TRIGGER_TRIES_MAXIMUM = 8 };

struct run_trigger {
    struct scheduler_trigger trigger;
    struct call *call;
    uint32_t tries;
    bool ok;
    struct error err;
    struct execution execution; /* its strings in the request's arena */
};

static bool try_trigger(struct run_trigger *trigger, struct error *err);

/* The model, the version and the parameters of an execution are those of one revision of its run. */
static void answer_failure(struct run_trigger *trigger) {
    struct http_request *request = trigger->call->request;
    struct error *err = &trigger->err;
    if (err->kind == ERROR_STALE && request->is_late) {
        error_set(err, ERROR_UNAVAILABLE, "the server is shutting down");
    } else if (err->kind == ERROR_STALE && ++trigger->tries >= TRIGGER_TRIES_MAXIMUM) {
        error_set(err, ERROR_CONFLICT, "the scheduled run is being changed by others; try again");
    } else if (err->kind == ERROR_STALE && try_trigger(trigger, err)) {
        return;
    }
    answer_error(request, err);
}

static void on_trigger_answer(struct http_request *request) {
    struct run_trigger *trigger = request->user;
    struct call *call = trigger->call;
    request->user = call;
    if (!trigger->ok) {
        answer_failure(trigger);
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
static bool read_parameters(struct run_trigger *trigger, const struct run *run,
                            const char **out_parameters, struct error *err) {
    struct call *call = trigger->call;
    const struct http_request *request = call->request;
    *out_parameters = NULL;
    if (request->body_bytes == 0) {
        return true;
    }
    struct body body CLEANUP(body_fini) = {0};
    /* Headers can be read in the first try alone. */
    if (trigger->tries == 0
            ? !call_read_body(call, &body, err)
            : !body_parse(request->body, request->body_bytes, &call->api->bodies, &body, err)) {
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

static bool try_trigger(struct run_trigger *trigger, struct error *err) {
    struct call *call = trigger->call;
    struct run run;
    const char *parameters;
    if (!call_get_run(call, &run, err) || !read_parameters(trigger, &run, &parameters, err) ||
        !plan_entry_new(&run, &trigger->trigger.entry, err)) {
        return false;
    }
    trigger->trigger.parameters = parameters;
    call->request->user = trigger;
    http_defer(call->request);
    scheduler_trigger(call->api->options.scheduler, &trigger->trigger);
    return true;
}

bool runs_trigger(struct call *call, struct error *err) {
    struct run_trigger *trigger = arena_alloc_zeroed(call_arena(call), sizeof *trigger);
    trigger->call = call;
    trigger->trigger.correlation_id = call->request->correlation_id;
    trigger->trigger.wait = !prefer_has(http_header_list(call->request, "Prefer"), "respond-async");
    trigger->trigger.done = on_triggered;
    trigger->trigger.context = trigger;
    return call_read_no_query(call, err) && try_trigger(trigger, err);
}
