/* For neighbours in api/: a change of a scheduled run on its way. It is prepared and checked on the HTTP thread,
 * carried out by the store's writer thread, passed on to the scheduler there (so that it hears of changes in the order
 * in which they were committed), and answered on the HTTP thread again. */
#ifndef ORRERY_API_RUN_WRITE_H
#define ORRERY_API_RUN_WRITE_H

#include "api/check.h"
#include "api/query.h"

struct run_change;

/* In the request's arena. */
struct run_write {
    struct store_write write;
    struct call *call;
    const struct run_change *change; /* of an update, a pause, a resumption */
    struct run run;
    struct plan_entry *entry; /* NULL: the scheduler need not know, or forgets the run */
    struct check_slots slots;
    struct if_match if_match;
    uint32_t tries;
};

/* Defers the request and hands the write over. `done` gives it to run_write_done. */
void run_write_submit(struct run_write *write, enum store_write_kind kind,
                      void (*done)(struct store_write *write));

/* On the writer thread: the scheduler hears of it before anything else happens to the run. `step` answers. */
void run_write_done(struct store_write *store_write, void (*step)(struct http_request *request));

/* {run_id, message, schedule_details}. */
void run_write_answer(struct run_write *write, int status, const char *message);

void run_add_etag(struct http_request *request, uint64_t revision);

/* The caller's revision is not the run's any more. */
bool run_refuse_stale(const struct run *run, struct error *err);

#endif
