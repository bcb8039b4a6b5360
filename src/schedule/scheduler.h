/* The scheduler's thread: it owns the ledger's decisions. It sleeps on one timerfd and its mailbox, feeds
 * the pure state machine of schedule/plan.h with what happens, and carries out its actions: writes to
 * the store, jobs to the dispatcher.
 *
 * scheduler_put_run, _remove_run and _trigger: any thread. Letters about one run must be sent in the order
 * in which their changes were committed (send from the store's `done`). */
#ifndef ORRERY_SCHEDULE_SCHEDULER_H
#define ORRERY_SCHEDULE_SCHEDULER_H

#include "base/identity.h"
#include "clock/clock.h"
#include "dispatch/dispatch.h"
#include "run/run.h"
#include "store/store.h"

struct scheduler;

/* What the scheduler's mailbox takes; `kind` is its own business. */
struct scheduler_letter {
    struct letter letter;
    int kind;
};

struct plan_entry; /* what the scheduler keeps of a run, compiled; schedule/plan.h */

struct scheduler_options {
    const struct clock *clock;
    struct store *store;
    struct dispatcher *dispatcher;
    struct identity_source *execution_keys;
    struct duration drain_limit;
    struct model_repository
        *repository; /* for how many of a model may run at once, with the next */
    uint32_t worker_count;
    uint32_t running_maximum;           /* executions under way at once, of all */
    uint32_t running_per_owner_maximum; /* and of one owner; 0: no bound of its own */
};

MUST_CHECK bool scheduler_new(const struct scheduler_options *options,
                              struct scheduler **out_scheduler, struct error *err);

/* Loads the runs and settles what the last process left, then starts the thread. */
MUST_CHECK bool scheduler_start(struct scheduler *scheduler, struct error *err);

/* Compiles a run for the scheduler; errors name the field. Any thread. Free with plan_entry_free unless it
 * was handed over. */
MUST_CHECK bool plan_entry_new(const struct run *run, struct plan_entry **out_entry,
                               struct error *err);
void plan_entry_free(struct plan_entry *entry);
/* Before handing over a change: the revision and the next slot that the store gave it, and whether the change left
 * alone when the run is due (store_write.keeps_next_run). */
void plan_entry_set_stored(struct plan_entry *entry, const struct run *run, bool keeps_next_slot);

/* A run was created or changed (also: disabled), and it is on disk. Takes the entry over. */
void scheduler_put_run(struct scheduler *scheduler, struct plan_entry *entry);
void scheduler_remove_run(struct scheduler *scheduler, int64_t run_key);

/* The time zones were read anew. Any thread. */
void scheduler_zones_changed(struct scheduler *scheduler);

/* A trigger by hand. The sender owns it until `done`, which is called on some thread, once:
 * with `ok` and the execution (final, or queued/running where `wait` is false), or with the error. */
struct scheduler_trigger {
    struct scheduler_letter letter;
    struct plan_entry *entry;   /* taken over: the run as it is stored now */
    const char *parameters;     /* JSON text for this once, or NULL; borrowed until done */
    const char *correlation_id; /* for the log, or NULL; borrowed until done */
    bool wait;                  /* false: done as soon as the execution is recorded */
    void (*done)(struct scheduler_trigger *trigger);
    void *context;
    bool ok;
    struct error err;
    struct execution execution; /* strings valid during done */
};
void scheduler_trigger(struct scheduler *scheduler, struct scheduler_trigger *trigger);

/* A cancel by hand. The sender owns it until `done`, which is called once, on some thread: with `ok` and the final
 * execution once its end is on disk (it may have ended by itself meanwhile: look at its status), or with
 * ERROR_NOT_FOUND where it is not under way. */
struct scheduler_cancel {
    struct scheduler_letter letter;
    struct list_node node; /* the scheduler's */
    int64_t run_key;
    int64_t execution_key;
    void (*done)(struct scheduler_cancel *cancel);
    void *context;
    bool ok;
    struct error err;
    struct execution execution; /* strings valid during done */
};
void scheduler_cancel(struct scheduler *scheduler, struct scheduler_cancel *cancel);

/* A backfill was created, and is on disk. `entry` is the run as it is stored now, and is taken over. */
void scheduler_put_backfill(struct scheduler *scheduler, const struct backfill *backfill,
                            struct plan_entry *entry);
/* It was cancelled, and that is on disk: nothing more of it is started, and what runs of it is cancelled. */
void scheduler_cancel_backfill(struct scheduler *scheduler, int64_t run_key, int64_t backfill_key);

/* Stops firing; lets what runs finish within the drain limit, leaves the rest to be settled by the next
 * process; then ends the thread. No new trigger may come from now on. */
void scheduler_stop(struct scheduler *scheduler);
/* After dispatcher_stop and store_stop, which still send letters. Triggers that still wait are answered. */
void scheduler_free(struct scheduler *scheduler);

#endif
