/* The executor of backend `process`: a model is a command (model/settings.h: struct process_settings), and each of its
 * executions is a process of its own.
 *
 * The command gets the parameters as JSON on standard input, and writes one JSON value, the result, on standard output.
 * It begins in its version's folder, with an environment of its own: PATH, HOME and TMPDIR (a folder that is made for
 * it and removed afterwards), LANG, what model.json says, and, where there is a record of it, ORRERY_EXECUTION_ID,
 * ORRERY_RUN_ID, ORRERY_ATTEMPT, and ORRERY_SCHEDULED_FOR where it has a slot.
 *
 *   it ends with status 0                     succeeded, if what it wrote is JSON and within its limit
 *   with another status                       failed, ERROR_MODEL_FAILED, with the end of standard error; 75
 *                                             (EX_TEMPFAIL, sysexits(3)), 126 and 127: ERROR_MODEL_UNAVAILABLE
 *   by a signal                               failed, ERROR_WORKER_CRASHED
 *   not within the time limit, or cancelled   SIGTERM to its whole group, a second later SIGKILL
 *
 * Whatever it has started and left behind in its group, which it cannot leave (worker/sandbox.h), is killed as it ends.
 *
 * One thread, started with the first job; no thread and no waiting per process: pidfds and pipes in one epoll set. */
#ifndef ORRERY_PROCESS_PROCESS_H
#define ORRERY_PROCESS_PROCESS_H

#include "clock/clock.h"
#include "dispatch/executor.h"

struct dispatcher;
struct process_executor;

struct process_options {
    const char *program; /* this program's file: it is what sets up the sandbox, `orrery launch` */
    uint64_t memory_bytes; /* of address space, where model.json does not say; 0: no limit */
    const struct clock *clock;
};

MUST_CHECK bool process_executor_new(const struct process_options *options,
                                     struct process_executor **out_executor, struct error *err);
/* Before the first job. Both outlive the jobs. */
void process_executor_set_dispatcher(struct process_executor *executor,
                                     struct dispatcher *dispatcher);
struct executor *process_executor_interface(struct process_executor *executor);
/* After its `stop`. NULL is accepted. */
void process_executor_free(struct process_executor *executor);

#endif
