/* Scheduled runs: create, list, get, update, delete. A write is prepared and checked on the HTTP thread, carried out
 * by the store's writer thread, passed on to the scheduler there (so that it hears of changes in the order in
 * which they were committed), and answered on the HTTP thread again. */
#include "api/body.h"
#include "api/check.h"
#include "api/decode.h"
#include "api/query.h"

#include <stdio.h>
#include <string.h>

enum {
    LIST_LIMIT_DEFAULT = 100,
    LIST_LIMIT_MAXIMUM = 1000,
    /* So often a change is made anew because another came in between. */
    UPDATE_TRIES_MAXIMUM = 8,
    ETAG_BYTES = 24,
    LINK_BYTES_MAXIMUM = 64 * 1024,
};

/* One write on its way. In the request's arena. */
struct run_write {
    struct store_write write;
    struct call *call;
    struct run run;
    struct plan_entry *entry; /* NULL: the scheduler need not know, or forgets the run */
    struct check_slots slots;
    struct if_match if_match;
    uint32_t tries;
};

/* --- shared ------------------------------------------------------------------------------------- */

static void add_etag(struct http_request *request, uint64_t revision) {
    char etag[ETAG_BYTES];
    snprintf(etag, sizeof etag, "\"%llu\"", (unsigned long long)revision);
    http_add_header(request, "ETag", etag);
}

/* Refuses with all problems, if there are any. */
static bool answer_if_wrong(struct call *call, const struct problems *problems) {
    if (problems->count == 0) {
        return false;
    }
    answer_problems(call->request, problems);
    return true;
}

static void answer_details(struct run_write *write, int status, const char *message) {
    struct call *call = write->call;
    struct text body;
    answer_begin(&body, RUN_JSON_BYTES + 256 + strlen(write->run.parameters));
    text_append(&body, "{\"run_id\":");
    json_id(&body, write->run.key, call_store_tag(call));
    text_append(&body, ",\"message\":");
    json_string(&body, message);
    text_append(&body, ",\"schedule_details\":");
    run_to_json(&body, &write->run, call_store_tag(call), write->slots.slots,
                write->run.enabled ? write->slots.count : 0);
    text_append_char(&body, '}');
    add_etag(call->request, write->run.revision);
    answer_json(call->request, status, &body);
}

/* On the writer thread: the scheduler hears of it before anything else happens to the run. */
static void on_written(struct store_write *store_write,
                       void (*step)(struct http_request *request)) {
    struct run_write *write = store_write->context;
    struct call *call = write->call;
    struct scheduler *scheduler = call->api->options.scheduler;
    if (!store_write->ok) {
        plan_entry_free(write->entry);
    } else if (write->entry != NULL) {
        write->run.revision = store_write->out_revision;
        plan_entry_set_revision(write->entry, store_write->out_revision,
                                store_write->keeps_next_run);
        scheduler_put_run(scheduler, write->entry);
    } else {
        scheduler_remove_run(scheduler, write->run.key);
    }
    write->entry = NULL;
    http_continue(call->request, step);
}

static void submit(struct run_write *write, enum store_write_kind kind,
                   void (*done)(struct store_write *write)) {
    struct call *call = write->call;
    write->write = (struct store_write){
        .kind = kind,
        .done = done,
        .context = write,
        .run_key = write->run.key,
        .expected_revision = write->write.expected_revision,
        .keeps_next_run = write->write.keeps_next_run,
        .run = &write->run,
    };
    call->request->user = write;
    http_defer(call->request);
    store_submit(call->api->options.store, &write->write);
}

/* --- create ------------------------------------------------------------------------------------- */

static void on_create_answer(struct http_request *request) {
    struct run_write *write = request->user;
    request->user = write->call;
    if (!write->write.ok) {
        answer_error(request, &write->write.err);
        return;
    }
    answer_details(write, 201, "Scheduled run created");
}

static void on_created(struct store_write *write) { on_written(write, on_create_answer); }

static yyjson_val *parameters_in(const struct body *body) {
    return yyjson_obj_get(body->root, "parameters");
}

bool runs_create(struct call *call, struct error *err) {
    struct body body;
    if (!call_read_no_query(call, err) || !call_read_body(call, &body, err)) {
        return false;
    }
    struct api *api = call->api;
    struct run_write *write = arena_alloc_zeroed(call_arena(call), sizeof *write);
    struct problems problems = {.arena = call_arena(call)};
    write->call = call;
    write->run = run_defaults();
    write->run.key = identity_next(api->options.run_keys, call->now.us);
    write->run.owner = call->principal.owner;
    write->run.created_at = call->now;
    write->run.updated_at = call->now;
    run_decode(&body, true, &write->run, &problems);
    check_schedule(&write->run, call->now, true, &problems, &write->slots);
    struct error model_err;
    if (!problems_about(&problems, "model_name") && !problems_about(&problems, "model_version") &&
        !check_model(call, write->run.model_name, write->run.model_version, parameters_in(&body),
                     &model_err)) {
        *problems_add(&problems) = model_err;
    }
    if (answer_if_wrong(call, &problems)) {
        return true;
    }
    write->run.next_run = write->run.enabled ? write->slots.first : WALL_TIME_NONE;
    if (!plan_entry_new(&write->run, &write->entry, err)) {
        return false;
    }
    submit(write, STORE_CREATE_RUN, on_created);
    return true;
}

/* --- read --------------------------------------------------------------------------------------- */

bool runs_get(struct call *call, struct error *err) {
    struct run run;
    if (!call_read_no_query(call, err) || !call_get_run(call, &run, err)) {
        return false;
    }
    struct text body;
    answer_begin(&body, RUN_JSON_BYTES + strlen(run.parameters));
    run_to_json(&body, &run, call_store_tag(call), NULL, 0);
    add_etag(call->request, run.revision);
    answer_json(call->request, 200, &body);
    return true;
}

enum { LIST_LIMIT, LIST_OFFSET, LIST_MODEL_NAME, LIST_PARAMETERS };

static void append_page(struct text *links, struct call *call, struct query_parameter *query,
                        uint64_t offset, const char *relation) {
    query[LIST_OFFSET].value = arena_printf(call_arena(call), "%llu", (unsigned long long)offset);
    link_append(links, "/api/scheduled", query, LIST_PARAMETERS, relation);
}

static void add_pages(struct call *call, struct query_parameter *query, uint64_t limit,
                      uint64_t offset, uint64_t total) {
    struct text links;
    text_init(&links, LINK_BYTES_MAXIMUM);
    query[LIST_LIMIT].value = arena_printf(call_arena(call), "%llu", (unsigned long long)limit);
    uint64_t last = total == 0 ? 0 : (total - 1) / limit * limit;
    append_page(&links, call, query, 0, "first");
    if (offset > 0) {
        append_page(&links, call, query, offset > total ? last : offset - MIN_OF(limit, offset),
                    "prev");
    }
    if (offset < total && total - offset > limit) {
        append_page(&links, call, query, offset + limit, "next");
    }
    append_page(&links, call, query, last, "last");
    if (text_ok(&links)) {
        http_add_header(call->request, "Link", text_string(&links));
    }
    text_fini(&links);
    char count[24];
    snprintf(count, sizeof count, "%llu", (unsigned long long)total);
    http_add_header(call->request, "X-Total-Count", count);
}

bool runs_list(struct call *call, struct error *err) {
    struct query_parameter query[LIST_PARAMETERS] = {
        {"limit", NULL}, {"offset", NULL}, {"model_name", NULL}};
    uint64_t limit;
    uint64_t offset;
    if (!query_read(call->request, query, COUNT_OF(query), err) ||
        !query_number(&query[LIST_LIMIT], LIST_LIMIT_DEFAULT, 1, LIST_LIMIT_MAXIMUM, &limit, err) ||
        !query_number(&query[LIST_OFFSET], 0, 0, INT64_MAX, &offset, err)) {
        return false;
    }
    struct run_filter filter = {
        .owner = call->principal.admin ? NULL : call->principal.owner,
        .model_name = query[LIST_MODEL_NAME].value,
        .limit = (uint32_t)limit,
        .offset = offset,
    };
    struct run *runs;
    size_t count;
    uint64_t total;
    if (!store_list_runs(call->reader, &filter, call_arena(call), &runs, &count, &total, err)) {
        return false;
    }
    struct text body;
    answer_begin(&body, 2 + count * RUN_JSON_BYTES);
    text_append_char(&body, '[');
    for (size_t i = 0; i < count; i++) {
        text_append(&body, i == 0 ? "" : ",");
        run_to_json(&body, &runs[i], call_store_tag(call), NULL, 0);
    }
    text_append_char(&body, ']');
    add_pages(call, query, limit, offset, total);
    answer_json(call->request, 200, &body);
    return true;
}

/* --- update ------------------------------------------------------------------------------------- */

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

/* The parameters of a run as JSON, where the body does not bring them. */
static yyjson_val *parse_parameters(const struct run *run, struct arena *arena) {
    const char *wrapped = arena_printf(arena, "{\"parameters\":%s}", run->parameters);
    struct body body;
    struct error ignored;
    return body_parse(wrapped, strlen(wrapped), arena, &body, &ignored) ? parameters_in(&body)
                                                                        : NULL;
}

static void check_change(struct run_write *write, const struct run *before, const struct body *body,
                         struct problems *problems) {
    struct call *call = write->call;
    struct run *run = &write->run;
    bool moves = moves_slots(before, run);
    if (moves || run->enabled) {
        check_schedule(run, call->now, moves, problems, &write->slots);
    }
    struct error model_err;
    if (changes_model(before, run) && !problems_about(problems, "model_name") &&
        !problems_about(problems, "model_version")) {
        yyjson_val *parameters = parameters_in(body);
        if (parameters == NULL) {
            parameters = parse_parameters(run, call_arena(call));
        }
        if (!check_model(call, run->model_name, run->model_version, parameters, &model_err)) {
            *problems_add(problems) = model_err;
        }
    }
    if (moves) {
        run->next_run = run->enabled ? write->slots.first : WALL_TIME_NONE;
    }
    write->write.keeps_next_run = !moves;
}

static void on_updated(struct store_write *write);

/* Reads, merges, checks and submits: the whole of one try. */
static bool try_update(struct run_write *write, struct error *err) {
    struct call *call = write->call;
    struct body body;
    struct run before;
    if (!call_get_run(call, &before, err)) {
        return false;
    }
    if (!if_match_holds(&write->if_match, before.revision)) {
        return error_set(err, ERROR_STALE, "the scheduled run has changed: it is now at \"%llu\"",
                         (unsigned long long)before.revision);
    }
    /* Parsed again at each try: a change of another must not mix with what this one says. */
    if (!body_parse(call->request->body, call->request->body_bytes, call_arena(call), &body, err)) {
        return false;
    }
    struct problems problems = {.arena = call_arena(call)};
    write->run = before;
    write->run.updated_at = call->now;
    run_decode(&body, false, &write->run, &problems);
    check_change(write, &before, &body, &problems);
    if (answer_if_wrong(call, &problems)) {
        return true;
    }
    if (!plan_entry_new(&write->run, &write->entry, err)) {
        if (write->run.enabled) {
            return false;
        }
        /* A disabled run whose zone has left the system: to the scheduler it is as good as gone. */
        write->entry = NULL;
    }
    write->write.expected_revision = before.revision;
    submit(write, STORE_UPDATE_RUN, on_updated);
    return true;
}

static void on_update_answer(struct http_request *request) {
    struct run_write *write = request->user;
    struct call *call = write->call;
    request->user = call;
    struct error err = write->write.err;
    if (write->write.ok) {
        write->run.revision = write->write.out_revision;
        answer_details(write, 200, "Scheduled run updated");
        return;
    }
    bool may_try_again =
        err.kind == ERROR_STALE && (!write->if_match.is_present || write->if_match.any);
    if (may_try_again && request->is_late) {
        error_set(&err, ERROR_UNAVAILABLE, "the server is shutting down");
    } else if (may_try_again && ++write->tries >= UPDATE_TRIES_MAXIMUM) {
        error_set(&err, ERROR_CONFLICT, "the scheduled run is being changed by others; try again");
    } else if (may_try_again) {
        if (try_update(write, &err)) {
            return;
        }
    } else if (err.kind == ERROR_STALE) {
        error_set(&err, ERROR_STALE, "the scheduled run has changed meanwhile");
    } else if (err.kind == ERROR_NOT_FOUND) {
        error_set(&err, ERROR_NOT_FOUND, "there is no such scheduled run");
    }
    answer_error(request, &err);
}

static void on_updated(struct store_write *write) { on_written(write, on_update_answer); }

bool runs_update(struct call *call, struct error *err) {
    struct run run;
    struct body body;
    struct run_write *write = arena_alloc_zeroed(call_arena(call), sizeof *write);
    write->call = call;
    /* What is not there, or another's, is so before its body is looked at. */
    if (!call_read_no_query(call, err) || !call_get_run(call, &run, err) ||
        !call_read_body(call, &body, err) ||
        !if_match_parse(http_header_list(call->request, "If-Match"), &write->if_match, err)) {
        return false;
    }
    return try_update(write, err);
}

/* --- delete ------------------------------------------------------------------------------------- */

static void on_delete_answer(struct http_request *request) {
    struct run_write *write = request->user;
    request->user = write->call;
    struct error *err = &write->write.err;
    if (!write->write.ok) {
        if (err->kind == ERROR_NOT_FOUND) {
            error_set(err, ERROR_NOT_FOUND, "there is no such scheduled run");
        }
        answer_error(request, err);
        return;
    }
    struct text body;
    answer_begin(&body, 128);
    text_append(&body, "{\"run_id\":");
    json_id(&body, write->run.key, call_store_tag(write->call));
    text_append(&body, ",\"message\":\"Scheduled run deleted\"}");
    answer_json(request, 200, &body);
}

static void on_deleted(struct store_write *write) { on_written(write, on_delete_answer); }

bool runs_delete(struct call *call, struct error *err) {
    struct run_write *write = arena_alloc_zeroed(call_arena(call), sizeof *write);
    write->call = call;
    if (!call_read_no_query(call, err) || !call_get_run(call, &write->run, err) ||
        !if_match_parse(http_header_list(call->request, "If-Match"), &write->if_match, err)) {
        return false;
    }
    if (!if_match_holds(&write->if_match, write->run.revision)) {
        return error_set(err, ERROR_STALE, "the scheduled run has changed: it is now at \"%llu\"",
                         (unsigned long long)write->run.revision);
    }
    bool is_bound = write->if_match.is_present && !write->if_match.any;
    write->write.expected_revision = is_bound ? write->run.revision : 0;
    submit(write, STORE_DELETE_RUN, on_deleted);
    return true;
}
