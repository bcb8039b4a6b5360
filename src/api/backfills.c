/* Backfills: slots of a scheduled run in a range, executed again beside its schedule. */
#include "api/body.h"
#include "api/check.h"
#include "api/decode.h"
#include "api/query.h"

#include <string.h>

enum {
    LIST_LIMIT_DEFAULT = 20,
    LIST_LIMIT_MAXIMUM = 100,
    /* What is counted for one page: then it ends early. */
    LIST_SLOTS_MAXIMUM = 4 * BACKFILL_SLOTS_MAXIMUM,
    LINK_BYTES_MAXIMUM = 8 * 1024,
};

/* A backfill on its way to the store; in the request's arena. */
struct backfill_write {
    struct store_write write;
    struct call *call;
    struct backfill backfill;
    struct plan_entry *entry; /* of a new one */
};

static void answer_backfill(struct call *call, int status, const struct backfill *backfill,
                            const uint64_t counts[EXECUTION_MISSED + 1]) {
    struct text body;
    answer_begin(&body, BACKFILL_JSON_BYTES);
    backfill_to_json(&body, backfill, counts, call_store_tag(call));
    answer_json(call->request, status, &body);
}

static void submit(struct backfill_write *write, enum store_write_kind kind,
                   void (*done)(struct store_write *write)) {
    struct call *call = write->call;
    write->write = (struct store_write){
        .kind = kind, .done = done, .context = write, .backfill = &write->backfill};
    call->request->user = write;
    http_defer(call->request);
    store_submit(call->api->options.store, &write->write);
}

/* --- create ------------------------------------------------------------------------------------- */

static void on_create_answer(struct http_request *request) {
    struct backfill_write *write = request->user;
    struct call *call = write->call;
    request->user = call;
    if (!write->write.ok) {
        answer_error(request, &write->write.err);
        return;
    }
    char id[UUID_TEXT_BYTES];
    identity_format(write->backfill.key, call_store_tag(call), id);
    http_add_header(request, "Location", arena_printf(call_arena(call), "/api/backfills/%s", id));
    answer_backfill(call, 201, &write->backfill, (uint64_t[EXECUTION_MISSED + 1]){0});
}

/* On the writer thread. */
static void on_created(struct store_write *store_write) {
    struct backfill_write *write = store_write->context;
    if (store_write->ok) {
        scheduler_put_backfill(write->call->api->options.scheduler, &write->backfill, write->entry);
    } else {
        plan_entry_free(write->entry);
    }
    http_continue(write->call->request, on_create_answer);
}

/* The slots in [from, to), of the schedule as it is now. */
static bool find_slots(const struct run *run, struct backfill *backfill, struct error *err) {
    struct timetable timetable;
    if (!timetable_init(&timetable, run, err)) {
        return false;
    }
    struct wall_time before = {backfill->from.us - 1};
    struct wall_time last = {backfill->to.us - 1};
    backfill->next_slot = timetable_next(&timetable, before);
    backfill->slot_count = timetable_count(&timetable, before, last);
    timetable_fini(&timetable);
    if (backfill->slot_count == 0) {
        return error_set_field(err, ERROR_INVALID, "from",
                               "the scheduled run has no slot in [from, to)");
    }
    if (backfill->slot_count > BACKFILL_SLOTS_MAXIMUM) {
        return error_set_field(
            err, ERROR_INVALID, "to",
            "the scheduled run has %llu slots in [from, to); one backfill may have %d",
            (unsigned long long)backfill->slot_count, BACKFILL_SLOTS_MAXIMUM);
    }
    return true;
}

/* Finds all that is wrong at once, as far as it can be told. */
static void read_backfill(struct call *call, const struct run *run, const struct body *body,
                          struct backfill *out, struct problems *problems) {
    struct error err;
    backfill_decode(body, out, problems);
    if (out->parameters != NULL && !check_model(call, run->model_name, run->model_version,
                                                yyjson_obj_get(body->root, "parameters"), &err)) {
        *problems_add(problems) = err;
    }
    if (!problems_about(problems, "from") && !problems_about(problems, "to") &&
        !find_slots(run, out, &err)) {
        *problems_add(problems) = err;
    }
}

bool backfills_create(struct call *call, struct error *err) {
    struct run run;
    struct body body CLEANUP(body_fini) = {0};
    struct problems problems = {.arena = call_arena(call)};
    if (!call_read_no_query(call, err) || !call_get_run(call, &run, err) ||
        !call_read_body(call, &body, err)) {
        return false;
    }
    struct backfill_write *write = arena_alloc_zeroed(call_arena(call), sizeof *write);
    write->call = call;
    read_backfill(call, &run, &body, &write->backfill, &problems);
    if (problems.count > 0) {
        answer_problems(call->request, &problems);
        return true;
    }
    write->backfill.key = identity_next(call->api->options.run_keys, call->now.us);
    write->backfill.run_key = run.key;
    write->backfill.created_at = call->now;
    if (!plan_entry_new(&run, &write->entry, err)) {
        return false;
    }
    submit(write, STORE_CREATE_BACKFILL, on_created);
    return true;
}

/* --- read --------------------------------------------------------------------------------------- */

static bool no_backfill(struct error *err) {
    return error_set(err, ERROR_NOT_FOUND, "there is no such backfill");
}

/* The backfill that the path names, if the caller may see it. */
static bool get_backfill(struct call *call, struct backfill *out_backfill, struct error *err) {
    int64_t key;
    const char *owner;
    struct backfill backfill;
    if (!identity_parse(call->arguments[0], call_store_tag(call), &key)) {
        return no_backfill(err);
    }
    if (!store_get_backfill(call->reader, key, call_arena(call), &backfill, &owner, err)) {
        return err->kind == ERROR_NOT_FOUND ? no_backfill(err) : false;
    }
    if (!auth_may_see(&call->principal, owner)) {
        return no_backfill(err);
    }
    *out_backfill = backfill;
    return true;
}

bool backfills_get(struct call *call, struct error *err) {
    struct backfill backfill;
    uint64_t counts[EXECUTION_MISSED + 1];
    if (!call_read_no_query(call, err) || !get_backfill(call, &backfill, err) ||
        !store_count_backfill(call->reader, backfill.key, counts, err)) {
        return false;
    }
    answer_backfill(call, 200, &backfill, counts);
    return true;
}

enum { LIST_LIMIT, LIST_CURSOR, LIST_PARAMETERS };

static void add_next_page(struct call *call, struct query_parameter *query, int64_t next_cursor) {
    char *cursor = arena_alloc(call_arena(call), UUID_TEXT_BYTES);
    identity_format(next_cursor, call_store_tag(call), cursor);
    query[LIST_CURSOR].value = cursor;
    struct text links;
    text_init(&links, LINK_BYTES_MAXIMUM);
    link_append(&links,
                arena_printf(call_arena(call), "/api/scheduled/%s/backfills", call->arguments[0]),
                query, LIST_PARAMETERS, "next");
    if (text_ok(&links)) {
        http_add_header(call->request, "Link", text_string(&links));
    }
    text_fini(&links);
}

/* Appends as many as may be counted for one page. */
static bool append_backfills(struct call *call, const struct backfill *backfills, size_t count,
                             struct text *out, size_t *out_shown, struct error *err) {
    uint64_t slots = 0;
    size_t shown = 0;
    for (; shown < count && slots < LIST_SLOTS_MAXIMUM; shown++) {
        uint64_t counts[EXECUTION_MISSED + 1];
        if (!store_count_backfill(call->reader, backfills[shown].key, counts, err)) {
            return false;
        }
        text_append(out, shown == 0 ? "" : ",");
        backfill_to_json(out, &backfills[shown], counts, call_store_tag(call));
        slots += backfills[shown].slot_count;
    }
    *out_shown = shown;
    return true;
}

bool backfills_list(struct call *call, struct error *err) {
    struct query_parameter query[LIST_PARAMETERS] = {{"limit", NULL}, {"cursor", NULL}};
    struct run run;
    struct backfill *backfills;
    uint64_t limit;
    int64_t before_key = 0;
    size_t count;
    size_t shown;
    if (!call_get_run(call, &run, err) || !query_read(call->request, query, LIST_PARAMETERS, err) ||
        !query_number(&query[LIST_LIMIT], LIST_LIMIT_DEFAULT, 1, LIST_LIMIT_MAXIMUM, &limit, err)) {
        return false;
    }
    const char *cursor = query[LIST_CURSOR].value;
    if (cursor != NULL && !identity_parse(cursor, call_store_tag(call), &before_key)) {
        return error_set_field(err, ERROR_INVALID, "cursor",
                               "cursor must be one that a Link of this list gave");
    }
    /* One more than the page holds tells whether there is a further page. */
    if (!store_list_backfills(call->reader, run.key, before_key, (uint32_t)limit + 1,
                              call_arena(call), &backfills, &count, err)) {
        return false;
    }
    struct text body;
    answer_begin(&body, 2 + count * BACKFILL_JSON_BYTES);
    text_append_char(&body, '[');
    if (!append_backfills(call, backfills, MIN_OF(count, (size_t)limit), &body, &shown, err)) {
        text_fini(&body);
        return false;
    }
    text_append_char(&body, ']');
    if (shown < count) {
        add_next_page(call, query, backfills[shown - 1].key);
    }
    answer_json(call->request, 200, &body);
    return true;
}

/* --- cancel ------------------------------------------------------------------------------------- */

static bool refuse_over(const struct backfill *backfill, struct error *err) {
    return error_set(err, ERROR_CONFLICT,
                     wall_time_is_none(backfill->cancelled_at)
                         ? "the backfill is completed already"
                         : "the backfill is cancelled already");
}

static void on_cancel_answer(struct http_request *request) {
    struct backfill_write *write = request->user;
    struct call *call = write->call;
    request->user = call;
    struct error err = write->write.err;
    uint64_t counts[EXECUTION_MISSED + 1];
    if (write->write.ok && get_backfill(call, &write->backfill, &err) &&
        store_count_backfill(call->reader, write->backfill.key, counts, &err)) {
        answer_backfill(call, 200, &write->backfill, counts);
        return;
    }
    answer_error(request, &err);
}

/* On the writer thread. */
static void on_cancelled(struct store_write *store_write) {
    struct backfill_write *write = store_write->context;
    if (store_write->ok) {
        scheduler_cancel_backfill(write->call->api->options.scheduler, write->backfill.run_key,
                                  write->backfill.key);
    }
    http_continue(write->call->request, on_cancel_answer);
}

bool backfills_cancel(struct call *call, struct error *err) {
    struct backfill backfill;
    uint64_t counts[EXECUTION_MISSED + 1];
    if (!call_read_no_query(call, err) || !get_backfill(call, &backfill, err) ||
        !store_count_backfill(call->reader, backfill.key, counts, err)) {
        return false;
    }
    if (backfill_is_over(&backfill, counts)) {
        return refuse_over(&backfill, err);
    }
    struct backfill_write *write = arena_alloc_zeroed(call_arena(call), sizeof *write);
    write->call = call;
    write->backfill = backfill;
    write->backfill.cancelled_at = call->now;
    submit(write, STORE_CANCEL_BACKFILL, on_cancelled);
    return true;
}
