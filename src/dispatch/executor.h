/* An executor runs the jobs of models that no worker process runs: those on other people's servers, and commands.
 *
 * It has a thread of its own and never blocks the dispatcher. The dispatcher decides when a job may begin, by its
 * model's max_concurrency, and hands it over with `submit`; the job stays the dispatcher's to free, but only the
 * executor touches it until it gives it back with dispatcher_return. Each job is given back exactly once, with
 *
 *   status  EXECUTION_SUCCEEDED with `result` and `result_bytes`; or EXECUTION_FAILED or EXECUTION_TIMED_OUT with `err`
 *
 * A job that asks for its server (dispatch_job.asks_server) is given only to the executor of a backend that has one to ask.
 * The executor keeps the job's time limit: `job->limit`, from `job->begun_at` on. `model` and `version` are valid as
 * long as it has the job. */
#ifndef ORRERY_DISPATCH_EXECUTOR_H
#define ORRERY_DISPATCH_EXECUTOR_H

#include "model/repository.h"

struct dispatch_job;

struct executor {
    /* On the dispatcher's thread; quick. */
    void (*submit)(struct executor *executor, struct dispatch_job *job, const struct model *model,
                   const struct model_version *version);
    /* Ends the job soon, if it still has one with this id (dispatch_job.id): it is given back as failed. On the
     * dispatcher's thread; quick. */
    void (*cancel)(struct executor *executor, uint64_t job_id);
    /* Gives all jobs back as failed, ERROR_INTERRUPTED, and ends the thread. No job is submitted after it. */
    void (*stop)(struct executor *executor);
};

#endif
