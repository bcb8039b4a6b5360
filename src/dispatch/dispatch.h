/* The dispatcher: one thread with an epoll loop that owns the worker processes and hands the jobs of other backends
 * than onnx to their executors. It decides nothing about schedules: it gets jobs, runs each on its model's backend,
 * and says what came of it. (What may start, and when, is decided by the scheduler.)
 *
 * A job's clock: `started_at` is the moment at which it is handed to a backend with nothing of its own
 * before it, and from there its timeout runs. A worker that crashes or passes the timeout is killed and
 * replaced: the job at its head fails (ERROR_WORKER_CRASHED, ERROR_TIMED_OUT); jobs that were queued behind
 * it and had not begun are given to another worker. */
#ifndef ORRERY_DISPATCH_DISPATCH_H
#define ORRERY_DISPATCH_DISPATCH_H

#include "base/list.h"
#include "base/mailbox.h"
#include "clock/clock.h"
#include "dispatch/executor.h"
#include "dispatch/outage.h"
#include "model/repository.h"
#include "run/run.h"

struct dispatcher;
struct model_queue;

struct dispatcher_options {
    const char *program;             /* of a worker: this program's file */
    const char *onnxruntime_library; /* NULL: the worker looks in the usual places */
    uint32_t worker_count;
    uint64_t worker_memory_bytes; /* 0: no limit */
    uint64_t worker_cache_bytes;  /* of models that a worker keeps loaded */
    uint32_t session_threads;     /* of one model in a worker; 0 is 1 */
    const struct clock *clock;
    /* By backend, borrowed; stopped with the dispatcher. NULL: models of that backend cannot be run. */
    struct executor *executors[MODEL_BACKEND_COUNT];
};

/* What the dispatcher's mailbox takes; `kind` is its own business. */
enum dispatch_letter_kind {
    DISPATCH_LETTER_JOB,
    DISPATCH_LETTER_RETURNED,
    DISPATCH_LETTER_CANCEL,
    DISPATCH_LETTER_STOP,
};
struct dispatch_letter {
    struct letter letter;
    enum dispatch_letter_kind kind;
};

/* Of which record a job is: for what is told to the other side. */
struct dispatch_origin {
    int64_t run_key;
    uint64_t store_tag; /* with which keys are formatted (identity.h) */
    struct wall_time scheduled_for;
    uint32_t attempt;
};

struct dispatch_job {
    struct dispatch_letter letter;
    struct list_node node; /* the dispatcher's */

    /* in; owned by the sender until done */
    const char *model_name;
    uint32_t model_version; /* the pinned one, or 0 */
    const struct model_snapshot
        *snapshot;          /* one reference, taken over; NULL: the newest when it starts */
    const char *parameters; /* JSON text */
    size_t parameters_bytes;
    const int *
        parameters_file; /* a sealed file of the same text (base/sealed.h), where there is one; else NULL */
    bool
        asks_server; /* not a run: how the model is at its server. The result is {"ready": true, "reason": null,
                         "signature": …}, whether the server can be asked or not; the signature as signature.h has it, or
                         null. It waits for no other job. Only of backend openinference */
    struct duration timeout;                /* > 0 */
    int64_t execution_key;                  /* 0 for a prediction without a record */
    struct dispatch_origin origin;          /* zeroed without one */
    void (*done)(struct dispatch_job *job); /* on the dispatcher's thread; quick */
    void *context;

    /* out */
    enum execution_status status; /* succeeded, failed, timed_out, cancelled */
    struct error err;             /* where it did not succeed */
    struct duration retry_after;  /* the backend asks for this pause before another attempt; or 0 */
    char *
        result; /* JSON text, NUL-terminated, from malloc unless `result_is_mapped` (base/sealed.h); the receiver's: see
                     dispatch_job_free_result. NULL if it did not succeed */
    size_t result_bytes;
    bool result_is_mapped;
    uint32_t used_version; /* 0 if it was never resolved */
    unsigned char used_digest[MODEL_DIGEST_BYTES];
    struct wall_time started_at; /* NONE if it was never started */
    struct wall_time finished_at;
    struct duration duration;

    /* The dispatcher's own. */
    const char *describe_path;    /* not a run: what is the signature of this file */
    const char *describe_options; /* with these, as onnx_options.text */
    struct model_queue *queue;
    struct executor *executor; /* that has it; else NULL */
    uint64_t id;               /* of its frame; no other job has it */
    int64_t expected_us;
    struct duration limit; /* the smaller of its own timeout and its model's */
    struct monotonic_time came_at;
    struct monotonic_time begun_at;
    bool begun;
    bool cancelled;
};

/* Starts nothing yet. `repository` may be given later with dispatcher_set_repository, before start. */
MUST_CHECK bool dispatcher_new(const struct dispatcher_options *options,
                               struct dispatcher **out_dispatcher, struct error *err);
void dispatcher_set_repository(struct dispatcher *dispatcher, struct model_repository *repository);
/* Spawns the workers and the thread. */
MUST_CHECK bool dispatcher_start(struct dispatcher *dispatcher, struct error *err);

/* Any thread. */
void dispatcher_submit(struct dispatcher *dispatcher, struct dispatch_job *job);
/* Ends the job with that execution key as cancelled, if it is still there. Any thread. */
void dispatcher_cancel(struct dispatcher *dispatcher, int64_t execution_key);

/* For whoever was given a job's result. Any thread; NULL is accepted. */
void dispatch_job_free_result(struct dispatch_job *job);

/* For executors: gives a job back. Any thread. */
void dispatcher_return(struct dispatcher *dispatcher, struct dispatch_job *job);

/* The repository's describer: asks a worker and waits. */
struct model_describer dispatcher_describer(struct dispatcher *dispatcher);
/* Whether the repository has still to make its first scan. Any thread. */
bool dispatcher_is_starting(const struct dispatcher *dispatcher);

/* Whether the model is out because it kept crashing workers, and until when. Any thread. */
bool dispatcher_outage(struct dispatcher *dispatcher, const char *model_name,
                       struct outage *out_outage);

/* For readiness and doctor. Any thread. */
uint32_t dispatcher_live_workers(const struct dispatcher *dispatcher);

/* Ends what is left as failed with ERROR_INTERRUPTED (each job's `done` is called), ends the workers and the
 * thread. */
void dispatcher_stop(struct dispatcher *dispatcher);
void dispatcher_free(struct dispatcher *dispatcher);

#endif
