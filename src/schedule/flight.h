/* For neighbours in schedule/: an execution on its way through the world. It embeds what the plan knows of it,
 * and the letters that it travels by: one job for the dispatcher, one write for the store. One of them is
 * under way at a time, and it comes back to the scheduler as the flight's letter. Owned by the scheduler's
 * thread except while a letter is out. */
#ifndef ORRERY_SCHEDULE_FLIGHT_H
#define ORRERY_SCHEDULE_FLIGHT_H

#include "schedule/plan.h"
#include "schedule/scheduler.h"

enum letter_kind {
    LETTER_PUT_RUN,      /* struct run_letter */
    LETTER_REMOVE_RUN,   /* struct run_letter */
    LETTER_TRIGGER,      /* struct scheduler_trigger */
    LETTER_CANCEL,       /* struct scheduler_cancel */
    LETTER_PUT_BACKFILL, /* struct backfill_letter, as the next */
    LETTER_CANCEL_BACKFILL,
    LETTER_RECORDED, /* struct record_step */
    LETTER_STARTED,  /* struct flight, as the next */
    LETTER_RAN,
    LETTER_FINISHED,
    LETTER_ZONES, /* struct run_letter, empty */
    LETTER_STOP,  /* in struct scheduler */
};

struct flight {
    struct plan_execution execution; /* first: the plan's pointer is the flight's */
    struct scheduler *scheduler;
    struct scheduler_letter letter;
    struct list_node node; /* in scheduler.unwritten */
    struct store_write write;
    struct dispatch_job job;
    char *orphan_model_name; /* of an execution whose run is gone: it has no terms */
    char *parameters;
    char *correlation_id; /* of the request that triggered it, or NULL */
    struct wall_time queued_at;
    int64_t run_key;
    struct scheduler_trigger *trigger; /* who waits for it, or NULL */
    struct list_node cancels;          /* scheduler_cancel.node: who wants it to end */
    struct execution outcome;
    struct error error;   /* what the outcome's error points into */
    struct flight *retry; /* is recorded together with the outcome, or NULL */
    struct store_record retry_record;
};

/* A record on its way to the store. */
struct record_step {
    struct scheduler *scheduler;
    struct scheduler_letter letter;
    struct plan_record *record;
    struct store_write write;
    struct store_record store_record;
};

static inline struct flight *flight_of(struct plan_execution *execution) {
    return CONTAINER_OF(execution, struct flight, execution);
}

struct flight *flight_new(struct scheduler *scheduler);
void flight_free(struct flight *flight);

/* What was recorded of it. */
void flight_remember(struct flight *flight, const struct execution *recorded);

/* Fills `outcome` from the job, or from what the plan decided where there was no job to run. */
void flight_fill_outcome(struct flight *flight, enum execution_status status,
                         const struct error *err, struct wall_time now);

/* The store cannot take the outcome with its result: it becomes a failure that says so. */
void flight_drop_result(struct flight *flight);

/* One line in the log: what came of it, how late it was and how long it took. */
void flight_log_outcome(const struct flight *flight, uint64_t store_tag);

#endif
