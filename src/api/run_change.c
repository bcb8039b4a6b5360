/* Changes of a scheduled run: PUT, pause, resume. */
#include "api/body.h"
#include "api/decode.h"
#include "api/run_write.h"

#include <string.h>

/* So often a change is made anew because another came in between. */
enum { UPDATE_TRIES_MAXIMUM = 8 };

/* --- what an update does ------------------------------------------------------------------------- */

static bool texts_differ(const char *left, const char *right) {
    return left != right && (left == NULL || right == NULL || strcmp(left, right) != 0);
}

/* Whether the change touches when the run is due. */
static bool moves_slots(const struct run *before, const struct run *after) {
    return texts_differ(before->schedule, after->schedule) ||
           texts_differ(before->zone_name, after->zone_name) || before->enabled != after->enabled ||
           before->start_at.us != after->start_at.us || before->end_at.us != after->end_at.us ||
           before->dst_missing != after->dst_missing || before->dst_repeated != after->dst_repeated;
}

static bool changes_model(const struct run *before, const struct run *after) {
    return texts_differ(before->model_name, after->model_name) ||
           before->model_version != after->model_version ||
           texts_differ(before->parameters, after->parameters);
}

/* The parameters that the body does not bring are those that the run has. */
static bool check_parameters(struct run_write *write, const struct body *body, struct error *err) {
    struct call *call = write->call;
    const struct run *run = &write->run;
    struct body stored CLEANUP(body_fini) = {0};
    yyjson_val *parameters = yyjson_obj_get(body->root, "parameters");
    if (parameters == NULL) {
        const char *wrapped =
            arena_printf(call_arena(call), "{\"parameters\":%s}", run->parameters);
        if (!body_parse(wrapped, strlen(wrapped), &call->api->bodies, &stored, err)) {
            return false;
        }
        parameters = yyjson_obj_get(stored.root, "parameters");
    }
    return check_model(call, run->model_name, run->model_version, parameters, err);
}

static bool apply_update(struct run_write *write, const struct run *before, const struct body *body,
                         struct problems *problems, struct error *err) {
    struct call *call = write->call;
    struct run *run = &write->run;
    (void)err;
    run_decode(body, false, run, problems);
    bool moves = moves_slots(before, run);
    if (moves || run->enabled) {
        check_schedule(run, call->now, moves, problems, &write->slots);
    }
    struct error model_err;
    if (changes_model(before, run) && !problems_about(problems, "model_name") &&
        !problems_about(problems, "model_version") && !check_parameters(write, body, &model_err)) {
        *problems_add(problems) = model_err;
    }
    if (moves) {
        run->next_run = run->enabled ? write->slots.first : WALL_TIME_NONE;
    }
    if (!run->enabled) {
        run->paused_at = WALL_TIME_NONE;
    }
    write->write.keeps_next_run = !moves;
    return true;
}

/* --- what a pause and its end do ------------------------------------------------------------------ */

static bool apply_pause(struct run_write *write, const struct run *before, const struct body *body,
                        struct problems *problems, struct error *err) {
    if (!before->enabled) {
        return error_set(err, ERROR_CONFLICT,
                         "the scheduled run is disabled, so there is nothing to pause");
    }
    if (body->root != NULL) {
        run_decode_note(body, &write->run, problems);
    }
    if (wall_time_is_none(before->paused_at)) {
        write->run.paused_at = write->call->now;
    }
    write->write.keeps_next_run = true;
    return true;
}

static bool apply_resume(struct run_write *write, const struct run *before, const struct body *body,
                         struct problems *problems, struct error *err) {
    if (wall_time_is_none(before->paused_at)) {
        return error_set(err, ERROR_CONFLICT, "the scheduled run is not paused");
    }
    if (body->root != NULL) {
        run_decode_note(body, &write->run, problems);
    }
    write->run.paused_at = WALL_TIME_NONE;
    write->write.keeps_next_run = false; /* the slots of the pause get their record */
    check_schedule(&write->run, write->call->now, false, problems, &write->slots);
    return true;
}

/* --- the way of a change -------------------------------------------------------------------------- */

/* `apply` changes write.run, which is a copy of the run as it is stored; what is wrong becomes a problem, or the error
 * where it cannot be done at all. */
struct run_change {
    bool (*apply)(struct run_write *write, const struct run *before, const struct body *body,
                  struct problems *problems, struct error *err);
    const char *message;
    bool body_is_optional;
};

static const struct run_change update = {.apply = apply_update, .message = "Scheduled run updated"};
static const struct run_change pause_change = {
    .apply = apply_pause, .message = "Scheduled run paused", .body_is_optional = true};
static const struct run_change resume_change = {
    .apply = apply_resume, .message = "Scheduled run resumed", .body_is_optional = true};

static void on_changed(struct store_write *write);

/* Parsed again at each try: a change of another must not mix with what this one says. Headers can be read in the
 * first one alone. */
static bool read_change(struct run_write *write, struct body *out_body, struct error *err) {
    struct call *call = write->call;
    const struct http_request *request = call->request;
    if (request->body_bytes == 0 && write->change->body_is_optional) {
        return true;
    }
    return write->tries == 0
               ? call_read_body(call, out_body, err)
               : body_parse(request->body, request->body_bytes, &call->api->bodies, out_body, err);
}

static bool make_entry(struct run_write *write, struct error *err) {
    if (!plan_entry_new(&write->run, &write->entry, err)) {
        if (write->run.enabled) {
            return false;
        }
        /* A disabled run whose zone has left the system: to the scheduler it is as good as gone. */
        write->entry = NULL;
    }
    return true;
}

/* Reads, merges, checks and submits: the whole of one try. */
static bool try_change(struct run_write *write, struct error *err) {
    struct call *call = write->call;
    struct body body CLEANUP(body_fini) = {0};
    struct run before;
    /* What is not there, or another's, is so before its body is looked at. */
    if (!call_get_run(call, &before, err) ||
        (write->tries == 0 &&
         !if_match_parse(http_header_list(call->request, "If-Match"), &write->if_match, err))) {
        return false;
    }
    if (!if_match_holds(&write->if_match, before.revision)) {
        return run_refuse_stale(&before, err);
    }
    struct problems problems = {.arena = call_arena(call)};
    write->run = before;
    write->run.updated_at = call->now;
    if (!read_change(write, &body, err) ||
        !write->change->apply(write, &before, &body, &problems, err)) {
        return false;
    }
    if (problems.count > 0) {
        answer_problems(call->request, &problems);
        return true;
    }
    if (!make_entry(write, err)) {
        return false;
    }
    write->write.expected_revision = before.revision;
    run_write_submit(write, STORE_UPDATE_RUN, on_changed);
    return true;
}

static void on_change_answer(struct http_request *request) {
    struct run_write *write = request->user;
    struct call *call = write->call;
    request->user = call;
    struct error err = write->write.err;
    if (write->write.ok) {
        write->run.revision = write->write.out_revision;
        run_write_answer(write, 200, write->change->message);
        return;
    }
    bool may_try_again =
        err.kind == ERROR_STALE && (!write->if_match.is_present || write->if_match.any);
    if (may_try_again && request->is_late) {
        error_set(&err, ERROR_UNAVAILABLE, "the server is shutting down");
    } else if (may_try_again && ++write->tries >= UPDATE_TRIES_MAXIMUM) {
        error_set(&err, ERROR_CONFLICT, "the scheduled run is being changed by others; try again");
    } else if (may_try_again) {
        if (try_change(write, &err)) {
            return;
        }
    } else if (err.kind == ERROR_STALE) {
        error_set(&err, ERROR_STALE, "the scheduled run has changed meanwhile");
    } else if (err.kind == ERROR_NOT_FOUND) {
        error_set(&err, ERROR_NOT_FOUND, "there is no such scheduled run");
    }
    answer_error(request, &err);
}

static void on_changed(struct store_write *write) { run_write_done(write, on_change_answer); }

static bool begin_change(struct call *call, const struct run_change *change, struct error *err) {
    struct run_write *write = arena_alloc_zeroed(call_arena(call), sizeof *write);
    write->call = call;
    write->change = change;
    return call_read_no_query(call, err) && try_change(write, err);
}

bool runs_update(struct call *call, struct error *err) { return begin_change(call, &update, err); }

bool runs_pause(struct call *call, struct error *err) {
    return begin_change(call, &pause_change, err);
}

bool runs_resume(struct call *call, struct error *err) {
    return begin_change(call, &resume_change, err);
}
