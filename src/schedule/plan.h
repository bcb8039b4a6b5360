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
 *   QUEUED     recorded; waits for an earlier execution of its run, for its retry time, or for room.
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
 * Room: so many executions may be under way at once, of all, of a model and of an owner (struct plan_group). A
 * due slot for which there is no room waits, unrecorded and on disk as `next_run`; a recorded execution waits as
 * queued. Who waits goes in by the run's priority, then scheduled before triggered by hand, then the oldest
 * first. A model's bound is learnt: as many as its workers finish within PLAN_WINDOW, so that what is
 * `running` runs, or will in a moment.
 *
 * Everything belongs to one thread, except plan_entry_new and plan_entry_free. */
#ifndef ORRERY_SCHEDULE_PLAN_H
#define ORRERY_SCHEDULE_PLAN_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "run/run.h"

struct plan_group;

/* What begins like this is there once, counted, and found by a hash of what is in it. */
struct plan_shared {
    int64_t key;
    struct plan_shared *next; /* of the same hash */
    uint32_t references;
};

/* What many runs have in common: their timetable, … */
struct plan_schedule {
    struct plan_shared shared;
    struct timetable timetable;
};

/* … and how they are run. Immutable once it is in the plan. */
struct plan_terms {
    struct plan_shared shared;
    char *owner; /* owned, as the next */
    char *model_name;
    struct plan_group *owner_group; /* NULL until it is in the plan, as the next */
    struct plan_group *model_group;
    struct duration catchup_window;
    struct duration jitter;
    struct duration timeout;
    struct retry_policy retry;
    uint32_t model_version;
    enum overlap_policy overlap;
    enum catchup_policy catchup;
    uint8_t priority;
};

/* Which heap somebody waits in. */
enum plan_place {
    PLACE_NONE,
    PLACE_TIME,     /* plan.due, plan.retries */
    PLACE_OUTDATED, /* plan.outdated */
    PLACE_ROOM_OF_ALL,
    PLACE_ROOM_OF_MODEL,
    PLACE_ROOM_OF_OWNER,
};

/* What the plan keeps of a run: 56 bytes, for there may be a million. */
struct plan_entry {
    int64_t run_key;
    uint64_t revision;
    struct wall_time next_slot;     /* NONE: not due any more */
    struct plan_schedule *schedule; /* one reference, as the next */
    struct plan_terms *terms;
    struct plan_execution
        *oldest; /* of those that have not ended; the rest in its ring; NULL: there is none */
    struct heap_handle due; /* in the heap that `place` says */
    unsigned place : 3;     /* enum plan_place */
    bool enabled : 1;       /* and not paused */
    bool
        keeps_next_slot : 1; /* a change that does not touch when the run is due: plan_put goes by what it has */
    bool removed : 1;   /* deleted; the entry goes when its last execution has ended */
    bool recording : 1; /* a record that advances the schedule is on its way to the disk */
    bool waiting : 1; /* the next slot is due, and has to wait for the active ones (catchup: all) */
    bool has_backfill : 1;
    bool
        outdated : 1; /* next_slot is by a zone that is not what it was: it is corrected before anything else */
};

enum plan_phase { PLAN_RECORDING, PLAN_QUEUED, PLAN_STARTING, PLAN_RUNNING };

/* An execution that has not ended. Made by the `make_execution` effect, which may embed it in more. */
struct plan_execution {
    struct plan_entry *entry;
    struct list_node node; /* the ring of its entry's, oldest first */
    struct plan_terms
        *terms; /* one reference: what its run was when it was recorded; plan_execution_fini */
    struct heap_handle wait; /* in the heap that `place` says */
    int64_t key;
    int64_t backfill_key; /* or 0 */
    struct wall_time slot;
    struct wall_time not_before; /* of a retry; else NONE */
    enum execution_trigger trigger;
    uint32_t attempt;
    enum plan_phase phase;
    enum plan_place place;
    bool has_room;  /* counts in its groups */
    bool cancelled; /* a cancel was asked for */
};

/* One step of the ledger that is on its way to the disk. The plan owns it; it goes in plan_recorded. */
struct plan_record {
    int64_t run_key;
    uint64_t revision;
    struct plan_schedule
        *schedule; /* one reference, as the next: of the entry when this was made */
    struct plan_terms *terms;
    struct execution executions[2];
    size_t execution_count;
    struct plan_execution *execution; /* the one of them that is to run, or NULL */
    bool advances;
    struct wall_time first_slot; /* the oldest and the newest slot that this settles */
    struct wall_time last_slot;
    struct wall_time next_run;
    bool disables;
    bool corrects;        /* only moves the schedule: there is no slot in it */
    int64_t backfill_key; /* 0, or which backfill moves on to `backfill_next` */
    struct wall_time backfill_next;
};

/* A backfill that has slots left, or executions under way. */
struct plan_backfill {
    struct list_node node; /* in plan.backfills */
    int64_t key;
    int64_t run_key;
    struct wall_time to;
    struct wall_time next_slot; /* NONE: all are recorded */
    uint32_t parallelism;
    uint32_t active_count;
    bool recording;
};

/* A model, an owner, or all of them: what bounds how many executions are under way. */
struct plan_group {
    struct plan_shared shared; /* by terms */
    char *name;                /* owned; NULL: of all */
    enum plan_place place;     /* which kind of room it is */
    uint32_t running;
    uint32_t limit;
    uint32_t concurrency; /* of a model: how many the dispatcher runs at the same moment */
    uint32_t finished_count;
    int64_t mean_us;        /* of a model's executions, exponentially weighted; 0: none has ended */
    struct heap slots;      /* plan_entry.due: due, without room */
    struct heap executions; /* plan_execution.wait: queued, without room */
    struct list_node roomy; /* in plan.roomy: has room, and somebody waits for it */
};

struct plan_effects {
    void *context;
    /* A new execution key, greater than all before. */
    int64_t (*new_key)(void *context, struct wall_time now);
    /* 64 random bits, for the jitter of retries. */
    uint64_t (*random)(void *context);
    /* How many executions of the model the dispatcher runs at the same moment; at least 1. */
    uint32_t (*concurrency)(void *context, const char *model_name);
    /* A zeroed execution, freed with free_execution when it could not be recorded. `waiter` is what plan_trigger
     * was given, else NULL. Whoever frees one calls plan_execution_fini first. */
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

struct plan_options {
    uint32_t running_maximum;           /* executions under way at once */
    uint32_t running_per_owner_maximum; /* 0: no bound of its own */
};

struct plan {
    struct plan_effects effects;
    struct plan_options options;
    struct map entries;   /* run key -> struct plan_entry */
    struct map schedules; /* struct plan_schedule by hash, as the next three */
    struct map terms;
    struct map models; /* struct plan_group */
    struct map owners;
    struct plan_group all;
    struct list_node roomy;     /* plan_group.roomy */
    struct list_node backfills; /* plan_backfill.node, oldest first */
    struct heap due;            /* plan_entry.due */
    struct heap retries;        /* plan_execution.wait of those whose time has not come */
    /* plan_entry.due of those whose next slot is by a zone that is not what it was, by the instant from which it is to
     * be found anew. */
    struct heap outdated;
    uint32_t correcting_count;      /* corrections on their way to the disk */
    uint32_t active_count;          /* executions that have not ended, … */
    uint32_t manual_count;          /* … and those of them that were triggered by hand */
    struct wall_time watched_since; /* slots before it came due while nobody was watching */
    struct wall_time paused_until;  /* the store failed: nothing new is recorded before; NONE */
    bool unsorted;                  /* the last tick left something that can go on at once */
    bool draining;
};

/* Slots that are handled later than this after their time are the catch-up policy's. */
#define PLAN_LIVE_LATENESS ((struct duration){60 * US_PER_SECOND})
/* After a failed write to the store nothing new is tried for so long. */
#define PLAN_STORE_PAUSE ((struct duration){1 * US_PER_SECOND})
/* Of a model so many are handed to the dispatcher as it finishes in this time. */
#define PLAN_WINDOW ((struct duration){250 * US_PER_MS})
/* Before anything is known of a model: so many for each that runs at the same moment. */
enum { PLAN_FIRST_WINDOW = 8 };
/* So many triggers by hand may be under way; further ones are refused. */
enum { PLAN_TRIGGERS_MAXIMUM = 4096 };
/* So many executions of one run may have begun or wait (`queue_all`, `allow`); further slots are skipped. */
enum { PLAN_ACTIVE_PER_RUN_MAXIMUM = 1000 };
/* So many corrections are under way at once: new time zones may concern a million runs. */
enum { PLAN_CORRECTING_MAXIMUM = 1000 };
/* One tick takes so many steps at most, so that mail is read in between. */
enum { PLAN_STEPS_PER_TICK = 4096 };

MUST_CHECK bool plan_entry_new(const struct run *run, struct plan_entry **out_entry,
                               struct error *err);
/* Of one that was not handed over. */
void plan_entry_free(struct plan_entry *entry);
/* Before handing over a change: the revision and the next slot that the store gave it, and whether the change left
 * alone when the run is due (store_write.keeps_next_run). */
void plan_entry_set_stored(struct plan_entry *entry, const struct run *run, bool keeps_next_slot);

void plan_init(struct plan *plan, const struct plan_options *options,
               const struct plan_effects *effects);
/* Frees all entries and, through the effects, all executions. */
void plan_fini(struct plan *plan);
/* Before an execution that make_execution made is freed. */
void plan_execution_fini(struct plan *plan, struct plan_execution *execution);
/* Of a record that will not come to plan_recorded. */
void plan_record_free(struct plan *plan, struct plan_record *record);

/* At start, before plan_begin: a backfill that has slots left. Its run must be in the plan, or be given as
 * `dormant`, which is taken over (else NULL). Also when a new one was created, with the run as it is stored. */
void plan_put_backfill(struct plan *plan, const struct backfill *stored,
                       struct plan_entry *dormant);
/* It was cancelled: nothing more of it is started, and what is under way of it is cancelled. */
void plan_cancel_backfill(struct plan *plan, int64_t run_key, int64_t backfill_key,
                          struct wall_time now);

/* At start, after the backfills: an execution that the last process left, which is in the store as queued or
 * running. `dormant` likewise. Returns what make_execution made. */
struct plan_execution *plan_adopt(struct plan *plan, struct plan_entry *dormant,
                                  const struct execution *left);
bool plan_has_run(const struct plan *plan, int64_t run_key);
/* All is loaded: from now on the plan watches. Settles what plan_adopt brought. */
void plan_begin(struct plan *plan, struct wall_time now);

/* A run was created, changed, paused or resumed. Takes the entry over. */
void plan_put(struct plan *plan, struct plan_entry *entry);
void plan_remove(struct plan *plan, int64_t run_key, struct wall_time now);

/* Whether the plan has the run as `entry` has it, or not at all. A change is on disk before the plan hears of it, and
 * whoever reads the run in between knows more than the plan. */
bool plan_is_current(const struct plan *plan, const struct plan_entry *entry);

/* A trigger by hand, of the run as `entry` has it, which is taken over and has to be current. It stands outside the overlap policy,
 * but counts as running for the slots after it. `waiter` goes to make_execution. */
void plan_trigger(struct plan *plan, struct plan_entry *entry, void *waiter, struct wall_time now);

/* The execution, or NULL if it is not under way (any more); and its end by hand. */
struct plan_execution *plan_find_execution(const struct plan *plan, int64_t run_key,
                                           int64_t execution_key);
void plan_cancel(struct plan *plan, struct plan_execution *execution, struct wall_time now);

/* Handles what is due. Call after every event. */
void plan_tick(struct plan *plan, struct wall_time now);

/* When plan_tick wants to be called next at the latest; NONE: only after another event. */
struct wall_time plan_next_wake(const struct plan *plan);

/* The wall clock was set, or the machine slept: a step forward is time in which nobody watched, a step back makes no
 * pause between two attempts longer. */
void plan_clock_stepped(struct plan *plan, int64_t step_us, struct wall_time now);

/* The time zones were read anew (zone_cache_refresh): runs in a zone that is not what it was are due by the new one
 * from `now` on. */
void plan_zones_changed(struct plan *plan, struct wall_time now);
/* For one run, whose next slot was stored by an earlier process under whatever the zone was then: it is the first after
 * `settled_until`, wherever the clock has gone since. */
void plan_correct_next_slot(struct plan *plan, int64_t run_key, struct wall_time settled_until);

/* `failure` is ERROR_NONE or the kind with which the store refused. Frees the record. */
void plan_recorded(struct plan *plan, struct plan_record *record, enum error_kind failure,
                   struct wall_time now);
/* Likewise: NOT_FOUND, it is not on disk any more; CONFLICT, it is running there; STALE, its run was deleted; else it is
 * tried again. */
void plan_started(struct plan *plan, struct plan_execution *execution, enum error_kind failure,
                  struct wall_time now);
/* `ran` is how long the model took, zero if it was not started. */
void plan_finished(struct plan *plan, struct plan_execution *execution,
                   enum execution_status status, const struct error *err, struct duration ran,
                   struct wall_time now);
/* An execution that is not on disk, and never will be: it ends without a trace. */
void plan_drop(struct plan *plan, struct plan_execution *execution, struct wall_time now);
/* What is written of a retry that `finish` was given. */
struct execution plan_describe_retry(const struct plan_execution *retry, int64_t run_key,
                                     struct wall_time now);
void plan_retry_recorded(struct plan *plan, struct plan_execution *retry, struct wall_time now);

/* Nothing new is fired or started any more. */
void plan_drain(struct plan *plan);
/* How many are recording, starting or running. */
uint32_t plan_running_count(const struct plan *plan);

/* Ends the program if the state is not what this header says. For tests. */
void plan_check(const struct plan *plan);

#endif
