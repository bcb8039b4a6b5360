/* Scheduled runs: create, list, get, delete. */
#include "api/body.h"
#include "api/decode.h"
#include "api/run_write.h"

#include <stdio.h>
#include <string.h>

enum {
    LIST_LIMIT_DEFAULT = 100,
    LIST_LIMIT_MAXIMUM = 1000,
    LIST_BYTES_MAXIMUM = 16 << 20, /* of parameters: then a page ends early */
    LINK_BYTES_MAXIMUM = 64 * 1024,
};

/* --- create ------------------------------------------------------------------------------------- */

static void on_create_answer(struct http_request *request) {
    struct run_write *write = request->user;
    request->user = write->call;
    if (!write->write.ok) {
        answer_error(request, &write->write.err);
        return;
    }
    run_write_answer(write, 201, "Scheduled run created");
}

static void on_created(struct store_write *write) { run_write_done(write, on_create_answer); }

bool runs_create(struct call *call, struct error *err) {
    struct body body CLEANUP(body_fini) = {0};
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
        !check_model(call, write->run.model_name, write->run.model_version,
                     yyjson_obj_get(body.root, "parameters"), &model_err)) {
        *problems_add(&problems) = model_err;
    }
    if (problems.count > 0) {
        answer_problems(call->request, &problems);
        return true;
    }
    write->run.next_run = write->run.enabled ? write->slots.first : WALL_TIME_NONE;
    if (!plan_entry_new(&write->run, &write->entry, err)) {
        return false;
    }
    run_write_submit(write, STORE_CREATE_RUN, on_created);
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
    run_add_etag(call->request, run.revision);
    answer_json(call->request, 200, &body);
    return true;
}

enum { LIST_LIMIT, LIST_OFFSET, LIST_MODEL_NAME, LIST_PARAMETERS };

static void append_page(struct text *links, struct call *call, struct query_parameter *query,
                        uint64_t offset, const char *relation) {
    query[LIST_OFFSET].value = arena_printf(call_arena(call), "%llu", (unsigned long long)offset);
    link_append(links, "/api/scheduled", query, LIST_PARAMETERS, relation);
}

/* `count`: how many the page holds, which may be less than the limit where they are large. */
static void add_pages(struct call *call, struct query_parameter *query, uint64_t limit,
                      uint64_t offset, uint64_t count, uint64_t total) {
    struct text links;
    text_init(&links, LINK_BYTES_MAXIMUM);
    query[LIST_LIMIT].value = arena_printf(call_arena(call), "%llu", (unsigned long long)limit);
    uint64_t last = total == 0 ? 0 : (total - 1) / limit * limit;
    append_page(&links, call, query, 0, "first");
    if (offset > 0) {
        append_page(&links, call, query, offset > total ? last : offset - MIN_OF(limit, offset),
                    "prev");
    }
    if (count > 0 && total - offset > count) {
        append_page(&links, call, query, offset + count, "next");
    }
    append_page(&links, call, query, last, "last");
    if (text_ok(&links)) {
        http_add_header(call->request, "Link", text_string(&links));
    }
    text_fini(&links);
    char total_count[24];
    snprintf(total_count, sizeof total_count, "%llu", (unsigned long long)total);
    http_add_header(call->request, "X-Total-Count", total_count);
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
        .bytes_maximum = LIST_BYTES_MAXIMUM,
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
    add_pages(call, query, limit, offset, count, total);
    answer_json(call->request, 200, &body);
    return true;
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

static void on_deleted(struct store_write *write) { run_write_done(write, on_delete_answer); }

bool runs_delete(struct call *call, struct error *err) {
    struct run_write *write = arena_alloc_zeroed(call_arena(call), sizeof *write);
    write->call = call;
    if (!call_read_no_query(call, err) || !call_get_run(call, &write->run, err) ||
        !if_match_parse(http_header_list(call->request, "If-Match"), &write->if_match, err)) {
        return false;
    }
    if (!if_match_holds(&write->if_match, write->run.revision)) {
        return run_refuse_stale(&write->run, err);
    }
    bool is_bound = write->if_match.is_present && !write->if_match.any;
    write->write.expected_revision = is_bound ? write->run.revision : 0;
    run_write_submit(write, STORE_DELETE_RUN, on_deleted);
    return true;
}
