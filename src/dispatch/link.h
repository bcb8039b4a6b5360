/* For neighbours in dispatch/: a worker process as the dispatcher sees it: its socket with what is still to be
 * written and read, and the jobs it was given, oldest first. The first is the head: it is the one that runs. */
#ifndef ORRERY_DISPATCH_LINK_H
#define ORRERY_DISPATCH_LINK_H

#include "dispatch/dispatch.h"
#include "worker/channel.h"
#include "worker/worker.h"

struct worker_link {
    pid_t pid; /* 0: not alive */
    struct channel channel;
    struct list_node jobs; /* dispatch_job.node */
    uint32_t job_count;
    int64_t load_us; /* what its jobs are expected to take together */
    bool takes_more; /* all of its jobs are of fast models, so others may be put behind them */
    struct monotonic_time spawned_at;
    struct monotonic_time spawn_again_at; /* while not alive */
    uint32_t short_lives;                 /* in a row */
};

void worker_link_init(struct worker_link *link);

/* Starts the process. False leaves it not alive. */
MUST_CHECK bool worker_link_spawn(struct worker_link *link, const struct worker_options *options,
                                  struct monotonic_time now, struct error *err);

/* Kills the process and empties the buffers; the jobs stay in the list. `has_failed`: it went by itself, or made no
 * sense. `out_reason` as worker_kill's. */
void worker_link_kill(struct worker_link *link, bool has_failed, struct monotonic_time now,
                      char out_reason[static WORKER_REASON_BYTES]);

static inline struct dispatch_job *worker_link_head(struct worker_link *link) {
    return list_is_empty(&link->jobs) ? NULL
                                      : CONTAINER_OF(link->jobs.next, struct dispatch_job, node);
}

#endif
