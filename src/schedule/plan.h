/* The plan: the scheduler as a pure state machine. (state, event, now) -> (state, effects).
 *
 * It knows every enabled run, when each is next due, and every execution that has not ended; it decides
 * what is recorded, started, skipped, missed, retried and cancelled. It reads no clock, touches no store and
 * no thread: `now` comes with each event, and what must happen in the world goes out through the effects it
 * was given, each of which is answered by a later event. So a test runs years of it in seconds.
 *
 * States of an execution in the plan (the store's status in brackets):
 *
 *   RECORDING ──recorded──> RUNNING ────────finished──> ended (its outcome is being written)
 *      │                       ^                  │
 *      └─recorded─> QUEUED ──started── STARTING   └─may be retried─> a new execution, QUEUED until its time
 *   (none)         (queued)   (queued)  (running)
 *
 *   RECORDING  the record is on its way to the disk; nothing has begun.
 *   QUEUED     recorded; waits for an earlier execution of its run, or for its retry time.
 *   STARTING   the move to `running` is on its way to the disk; nothing has begun.
 *   RUNNING    handed to the dispatcher.
 *
 * An execution is handed over only after its record is on disk, so no crash can leave one that ran
 * without a trace. A run's schedule moves on when the record of its slot is on disk, and one record of a run
 * is under way at a time; if the store fails, the slot is tried again: the unique key (run, slot) keeps
 * it single.
 *
 * A slot is due at its own time, or with jitter at an instant after it that only the run and the slot decide, and
 * that lies before the next slot.
 *
 * Live and late: a slot that is handled while the plan was watching, and within PLAN_LIVE_LATENESS, fires
 * as `schedule`, however many there are. Any other is the business of the run's catch-up policy.
 *
 * Everything belongs to one thread, except plan_entry_new and plan_entry_free. */
#ifndef ORRERY_SCHEDULE_PLAN_H
#define ORRERY_SCHEDULE_PLAN_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "run/run.h"

/* What the plan keeps of a run. */
struct plan_entry {
    int64_t run_key;
    uint64_t revision;
    struct timetable timetable;
    struct wall_time next_slot; /* NONE: not due any more */
    uint64_t schedule_serial;   /* the plan's; entries with the same one have the same timetable */
    struct cron_jitter jitter;
    struct duration catchup_window;
    struct duration timeout;
    struct retry_policy retry;
    char *model_name; /* owned */
    uint32_t model_version;
    enum overlap_policy overlap;
    enum catchup_policy catchup;
    bool enabled;
    bool
        keeps_next_slot; /* a change that does not touch when the run is due: plan_put goes by what it has */
    bool removed;   /* deleted; the entry goes when its last execution has ended */
    bool recording; /* a record that advances the schedule is on its way to the disk */
    bool waiting;   /* the next slot is due, and has to wait for the active ones (catchup: all) */
    struct heap_handle
        due; /* in plan.due by when the next slot is to start, unless recording or waiting */
    struct list_node active; /* plan_execution.node, oldest first: all that have not ended */
};

enum plan_phase { PLAN_RECORDING, PLAN_QUEUED, PLAN_STARTING, PLAN_RUNNING };

/* An execution that has not ended. Made by the `make_execution` effect, which may embed it in more. */
struct plan_execution {
    struct plan_entry *entry;
    struct list_node node;    /* in entry->active */
    struct heap_handle retry; /* in plan.retries by not_before */
    int64_t key;
    struct wall_time slot;
    struct wall_time not_before; /* of a retry; else NONE */
    enum execution_trigger trigger;
    uint32_t attempt;
    enum plan_phase phase;
    bool cancelled; /* a cancel was asked for */
};

/* One step of the ledger that is on its way to the disk. The plan owns it; it goes in plan_recorded. */
struct plan_record {
    int64_t run_key;
    uint64_t revision;
    uint64_t schedule_serial;
    struct execution executions[2];
    size_t execution_count;
    struct plan_execution *execution; /* the one of them that is to run, or NULL */
    bool advances;
    struct wall_time first_slot; /* the oldest and the newest slot that this settles */
    struct wall_time last_slot;
    struct wall_time next_run;
    bool disables;
};

struct plan_effects {
    void *context;
    /* A new execution key, greater than all before. */
    int64_t (*new_key)(void *context, struct wall_time now);
    /* 64 random bits, for the jitter of retries. */
    uint64_t (*random)(void *context);
    /* A zeroed execution, freed with free_execution when it could not be recorded. `waiter` is what plan_trigger
     * was given, else NULL. */
    struct plan_execution *(*make_execution)(void *context, void *waiter);
    void (*free_execution)(void *context, struct plan_execution *execution);
    /* Write the record; answered by plan_recorded. */
    void (*record)(void *context, struct plan_record *record);
    /* Write queued -> running; answered by plan_started. */
    void (*start)(void *context, struct plan_execution *execution, struct wall_time now);
    /* Hand to the dispatcher; answered by plan_finished. */
    void (*dispatch)(void *context, struct plan_execution *execution);
    /* Ask the dispatcher to end it; plan_finished comes all the same. */
    void (*cancel)(void *context, struct plan_execution *execution);
    /* Write the outcome, and with it, in the same transaction, the record of the retry if there is one.
     * The execution has ended for the plan; whoever carries this out keeps trying until it is on disk and
     * then frees it, and answers with plan_retry_recorded where there was a retry. `err` is NULL for one that
     * succeeded, and borrowed for the call. */
    void (*finish)(void *context, struct plan_execution *execution, enum execution_status status,
                   const struct error *err, struct plan_execution *retry);
};

struct plan {
    struct plan_effects effects;
    struct map entries;             /* run key -> struct plan_entry */
    struct heap due;                /* plan_entry.due */
    struct heap retries;            /* plan_execution.retry */
    uint32_t running_count;         /* RECORDING, STARTING and RUNNING */
    uint32_t active_count;          /* all that have not ended */
    struct wall_time watched_since; /* slots before it came due while nobody was watching */
    struct wall_time paused_until;  /* the store failed: nothing new is recorded before; NONE */
    uint64_t last_schedule_serial;
    bool draining;
};

/* Slots that are handled later than this after their time are the catch-up policy's. */
#define PLAN_LIVE_LATENESS ((struct duration){60 * US_PER_SECOND})
/* After a failed write to the store nothing new is tried for so long. */
#define PLAN_STORE_PAUSE ((struct duration){1 * US_PER_SECOND})
/* So many executions may be under way at once; further due slots wait, unrecorded, in the heap. */
enum { PLAN_RUNNING_MAXIMUM = 8192 };
/* Triggers by hand are refused beyond this, so that they cannot keep the schedule from firing. */
enum { PLAN_TRIGGERS_MAXIMUM = PLAN_RUNNING_MAXIMUM / 2 };
/* So many executions of one run may wait for an earlier one (`queue_all`); further slots are skipped. */
enum { PLAN_QUEUED_PER_RUN_MAXIMUM = 1000 };

MUST_CHECK bool plan_entry_new(const struct run *run, struct plan_entry **out_entry,
                               struct error *err);
void plan_entry_free(struct plan_entry *entry);
/* Before handing over: the revision that the store gave the change, and whether the change left alone when the
 * run is due (store_write.keeps_next_run). */
void plan_entry_set_revision(struct plan_entry *entry, uint64_t revision, bool keeps_next_slot);

void plan_init(struct plan *plan, const struct plan_effects *effects);
/* Frees all entries and, through the effects, all executions. */
void plan_fini(struct plan *plan);

/* At start, before plan_begin: an execution that the last process left, which is in the store as queued or
 * running. Its run must be in the plan, or be given as `dormant`, which is taken over (else NULL). Returns what
 * make_execution made. */
struct plan_execution *plan_adopt(struct plan *plan, struct plan_entry *dormant,
                                  const struct execution *left);
bool plan_has_run(const struct plan *plan, int64_t run_key);
/* All is loaded: from now on the plan watches. Settles what plan_adopt brought. */
void plan_begin(struct plan *plan, struct wall_time now);

/* A run was created, changed or, being dormant, is wanted for a trigger. Takes the entry over. */
void plan_put(struct plan *plan, struct plan_entry *entry);
void plan_remove(struct plan *plan, int64_t run_key, struct wall_time now);

/* A trigger by hand, of the run as `entry` has it, which is taken over. It stands outside the overlap policy,
 * but counts as running for the slots after it. `waiter` goes to make_execution. */
void plan_trigger(struct plan *plan, struct plan_entry *entry, void *waiter, struct wall_time now);

/* Handles what is due. Call after every event. */
void plan_tick(struct plan *plan, struct wall_time now);

/* When plan_tick wants to be called next at the latest; NONE: only after another event. */
struct wall_time plan_next_wake(const struct plan *plan);

/* The wall clock jumped forward, or the machine slept: slots in between came due unwatched. */
void plan_clock_stepped(struct plan *plan, struct wall_time now);

/* The time zones were read anew (zone_cache_refresh): runs in a zone that is not what it was are due by the new one
 * from `now` on. */
void plan_zones_changed(struct plan *plan, struct wall_time now);
/* The same for one run, whose next slot was stored by an earlier process under whatever the zone was then. */
void plan_correct_next_slot(struct plan *plan, int64_t run_key, struct wall_time now);

/* `failure` is ERROR_NONE or the kind with which the store refused. Frees the record. */
void plan_recorded(struct plan *plan, struct plan_record *record, enum error_kind failure,
                   struct wall_time now);
void plan_started(struct plan *plan, struct plan_execution *execution, enum error_kind failure,
                  struct wall_time now);
void plan_finished(struct plan *plan, struct plan_execution *execution,
                   enum execution_status status, const struct error *err, struct wall_time now);
void plan_retry_recorded(struct plan *plan, struct plan_execution *retry, struct wall_time now);

/* Nothing new is fired or started any more. */
void plan_drain(struct plan *plan);

/* Ends the program if the state is not what this header says. For tests. */
void plan_check(const struct plan *plan);

#endif
