/* A run: one scheduled run, which is a configuration (which model, when, with what, whose). And an
 * execution: what became of a slot, a trigger or a retry.
 *
 * Both are plain values; strings are borrowed from the arena or the object that the value was read
 * into. Everything here is pure. The JSON names of all fields are in api/, the columns in store/. */
#ifndef ORRERY_RUN_RUN_H
#define ORRERY_RUN_RUN_H

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "clock/time.h"
#include "cron/cron.h"

/* What happens to a slot while an earlier execution of the same run has not ended (Temporal's names). */
enum overlap_policy {
    OVERLAP_SKIP,           /* the slot is recorded as skipped, naming what was in the way */
    OVERLAP_QUEUE_ONE,      /* one may wait; further ones are skipped */
    OVERLAP_QUEUE_ALL,      /* all wait, in order */
    OVERLAP_CANCEL_RUNNING, /* what runs is cancelled, then the slot starts */
    OVERLAP_ALLOW,          /* side by side */
};

/* What happens to slots that came due while nobody was watching (downtime, suspend, a clock stepped
 * forward), as far as they are not older than the catch-up window. The rest is recorded as missed. */
enum catchup_policy { CATCHUP_LATEST, CATCHUP_ALL, CATCHUP_NONE };

struct retry_policy {
    uint32_t max_attempts; /* further attempts after the first; 0: at most once */
    struct duration backoff;
    struct duration max_backoff;
    uint64_t
        non_retryable; /* error_kind_bit of the kinds after which there is no further attempt, though by
                               themselves they may have one */
};

/* Higher goes first where slots have to wait for room. */
enum { PRIORITY_MINIMUM = 0, PRIORITY_DEFAULT = 5, PRIORITY_MAXIMUM = 9 };

struct run {
    int64_t key;       /* identity.h; 0 for one that is not stored yet */
    uint64_t revision; /* counts changes of the configuration; the ETag */
    const char *owner;
    const char *model_name;
    uint32_t model_version; /* 0: the newest */
    const char *schedule;
    const char *zone_name;  /* field "timezone" */
    const char *parameters; /* JSON text; "null" where there are none */
    const char *name;       /* NULL or text, as the next */
    const char *description;
    const char *note; /* why it was paused or resumed, in the words of who did it; NULL or text */
    bool enabled;
    uint8_t priority;
    enum overlap_policy overlap;
    enum catchup_policy catchup;
    enum dst_missing dst_missing;
    enum dst_repeated dst_repeated;
    struct duration catchup_window;
    struct duration jitter;
    struct duration timeout;
    struct retry_policy retry;
    struct wall_time
        start_at; /* WALL_TIME_NONE: no bound, as the next; slots in [start_at, end_at) */
    struct wall_time end_at;
    struct wall_time created_at;
    struct wall_time updated_at;
    struct wall_time last_run; /* started_at of the newest execution that was started, else NONE */
    struct wall_time
        next_run; /* NONE while disabled or when no slot is left; while paused, the first slot of the
                                  pause */
    /* Every slot up to here has its record, or was never to come (the run was created or changed later); NONE: since
     * created_at. The next slot is the first after it. */
    struct wall_time settled_until;
    /* A pause: nothing fires, and the slots in between become one `missed` record when it ends (run_settle_change). (A disabled run has
     * no slots at all.) */
    struct wall_time paused_at; /* NONE: not paused */
};

/* A backfill: the slots of a run in [from, to), past or to come, executed again, beside its schedule. Each slot
 * becomes one execution with trigger `backfill`, whatever else is recorded for the slot. */
struct backfill {
    int64_t key;
    int64_t run_key;
    struct wall_time from;
    struct wall_time to;
    struct wall_time next_slot; /* the first that is not recorded yet; NONE: all are */
    uint64_t slot_count;        /* of the whole range, by the schedule at its creation */
    uint32_t parallelism;       /* executions of it under way at once, at most */
    const char *parameters;     /* JSON text instead of the run's, or NULL */
    struct wall_time created_at;
    struct wall_time cancelled_at; /* NONE: it was not */
};
enum { BACKFILL_PARALLELISM_MAXIMUM = 64, BACKFILL_SLOTS_MAXIMUM = 100000 };

/* The defaults of all optional fields; the rest zeroed. */
struct run run_defaults(void);

enum execution_status {
    EXECUTION_QUEUED,
    EXECUTION_RUNNING,
    EXECUTION_SUCCEEDED,
    EXECUTION_FAILED,
    EXECUTION_TIMED_OUT,
    EXECUTION_CANCELLED,
    EXECUTION_SKIPPED, /* never started: overlap */
    EXECUTION_MISSED,  /* never started: a gap of one or more slots */
};

static inline bool execution_status_is_final(enum execution_status status) {
    return status >= EXECUTION_SUCCEEDED;
}

enum execution_trigger {
    TRIGGER_SCHEDULE,
    TRIGGER_MANUAL,
    TRIGGER_RETRY,
    TRIGGER_CATCHUP,
    TRIGGER_BACKFILL,
};

enum { MODEL_DIGEST_BYTES = 32 }; /* SHA-256 of the model's file */

struct execution {
    int64_t key;
    int64_t run_key;
    const char *model_name;
    uint32_t
        model_version; /* the one that ran; until that is known, the one that is to run, 0: the newest */
    bool has_model_digest;
    unsigned char model_digest[MODEL_DIGEST_BYTES];
    enum execution_trigger trigger;
    uint32_t attempt; /* 1 is the first */
    enum execution_status status;
    struct wall_time scheduled_for;
    struct wall_time queued_at;
    struct wall_time started_at; /* NONE until then, as the next */
    struct wall_time finished_at;
    struct duration duration; /* monotonic; meaningful once finished and if it was started */
    const char *result;       /* JSON text or NULL */
    uint64_t
        result_file_bytes; /* other than 0: the result is in a file of so many bytes (store_open_result) */
    const char *error_type; /* wire name or NULL */
    const char *error_message;
    int64_t backfill_key; /* trigger backfill: which, else 0 */
    int64_t blocked_by;   /* skipped: the key of the execution that was in the way, else 0 */
    /* missed: the first and the last slot of the gap and how many */
    struct wall_time missed_from;
    struct wall_time missed_to;
    uint64_t missed_count;
    /* While it has not ended; they stay as they were recorded, whatever the run becomes. */
    struct duration timeout;
    struct wall_time not_before; /* of a retry: when its backoff is over; else NONE */
};

/* Names on the wire and in the store, in the order of the enums, and back. */
const char *overlap_policy_name(enum overlap_policy policy);
const char *catchup_policy_name(enum catchup_policy policy);
const char *execution_status_name(enum execution_status status);
const char *execution_trigger_name(enum execution_trigger trigger);
/* The wire names of the kinds in the set, with ',' between them; and back (false: an unknown one). */
void retry_kinds_append(struct text *out, uint64_t kinds);
MUST_CHECK bool retry_kinds_parse(const char *names, uint64_t *out_kinds);
MUST_CHECK bool overlap_policy_parse(const char *name, enum overlap_policy *out);
MUST_CHECK bool catchup_policy_parse(const char *name, enum catchup_policy *out);
MUST_CHECK bool execution_status_parse(const char *name, enum execution_status *out);

/* A run's schedule compiled: expression, zone, bounds, daylight-saving policies. */
struct timetable {
    struct cron cron;
    const struct zone *zone; /* one reference, dropped by timetable_fini */
    struct wall_time start_at;
    struct wall_time end_at;
};

/* Compiles; errors name the field ("schedule", "timezone"). Reads zone files, so not while holding a
 * lock. `run->key` seeds H. */
MUST_CHECK bool timetable_init(struct timetable *timetable, const struct run *run,
                               struct error *err);
void timetable_fini(struct timetable *timetable);

/* The first slot strictly after `after` within the bounds; NONE if there is none. */
struct wall_time timetable_next(const struct timetable *timetable, struct wall_time after);

/* The last slot at or before `until` that is after `after`; NONE if there is none. */
struct wall_time timetable_latest(const struct timetable *timetable, struct wall_time after,
                                  struct wall_time until);

/* How many slots lie in (after, until]. The cost does not grow with the gap. */
uint64_t timetable_count(const struct timetable *timetable, struct wall_time after,
                         struct wall_time until);

/* What a change of when a run is due, or its deletion, does to its slots. Those that had come by `now` and have no
 * record yet get one: status `missed`, with the reason. No slot that is settled comes again. */
struct run_settlement {
    struct execution gap; /* missed_count 0: there is none. Without a key and an owner */
    struct wall_time settled_until;
    struct wall_time next_run; /* NONE where it is not due any more */
};
/* `before` is the run as it is stored, `after` what it becomes; NULL: it is deleted. A timetable that cannot be had any
 * more (its zone is gone) has no slots. */
struct run_settlement run_settle_change(const struct run *before, const struct run *after,
                                        struct wall_time now);

#endif
