#include "api/run_write.h"

#include <stdio.h>
#include <string.h>

enum { ETAG_BYTES = 24 };

void run_add_etag(struct http_request *request, uint64_t revision) {
    char etag[ETAG_BYTES];
    snprintf(etag, sizeof etag, "\"%llu\"", (unsigned long long)revision);
    http_add_header(request, "ETag", etag);
}

bool run_refuse_stale(const struct run *run, struct error *err) {
    return error_set(err, ERROR_STALE, "the scheduled run has changed: it is now at \"%llu\"",
                     (unsigned long long)run->revision);
}

void run_write_answer(struct run_write *write, int status, const char *message) {
    struct call *call = write->call;
    const struct run *run = &write->run;
    bool fires = run->enabled && wall_time_is_none(run->paused_at);
    struct text body;
    answer_begin(&body, RUN_JSON_BYTES + 256 + strlen(run->parameters));
    text_append(&body, "{\"run_id\":");
    json_id(&body, run->key, call_store_tag(call));
    text_append(&body, ",\"message\":");
    json_string(&body, message);
    text_append(&body, ",\"schedule_details\":");
    run_to_json(&body, run, call_store_tag(call), write->slots.slots,
                fires ? write->slots.count : 0);
    text_append_char(&body, '}');
    run_add_etag(call->request, run->revision);
    answer_json(call->request, status, &body);
}

void run_write_done(struct store_write *store_write, void (*step)(struct http_request *request)) {
    struct run_write *write = store_write->context;
    struct call *call = write->call;
    struct scheduler *scheduler = call->api->options.scheduler;
    if (!store_write->ok) {
        plan_entry_free(write->entry);
    } else if (write->entry != NULL) {
        write->run.revision = store_write->out_revision;
        if (store_write->kind == STORE_UPDATE_RUN && !store_write->keeps_next_run) {
            write->run.next_run = store_write->out_next_run;
        }
        plan_entry_set_stored(write->entry, &write->run, store_write->keeps_next_run);
        scheduler_put_run(scheduler, write->entry);
    } else {
        scheduler_remove_run(scheduler, write->run.key);
    }
    write->entry = NULL;
    http_continue(call->request, step);
}

void run_write_submit(struct run_write *write, enum store_write_kind kind,
                      void (*done)(struct store_write *write)) {
    struct call *call = write->call;
    write->write = (struct store_write){
        .kind = kind,
        .done = done,
        .context = write,
        .run_key = write->run.key,
        .changed_at = call->now,
        .execution_key = identity_next(call->api->options.execution_keys, call->now.us),
        .expected_revision = write->write.expected_revision,
        .keeps_next_run = write->write.keeps_next_run,
        .run = &write->run,
    };
    call->request->user = write;
    http_defer(call->request);
    store_submit(call->api->options.store, &write->write);
}
