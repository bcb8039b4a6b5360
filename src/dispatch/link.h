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
 * sense. `out_reason` and the result as worker_kill's. */
bool worker_link_kill(struct worker_link *link, bool has_failed, struct monotonic_time now,
                      char out_reason[static WORKER_REASON_BYTES]);

static inline struct dispatch_job *worker_link_head(struct worker_link *link) {
    return list_is_empty(&link->jobs) ? NULL
                                      : CONTAINER_OF(link->jobs.next, struct dispatch_job, node);
}

/* The worker that takes a job soonest, or NULL. A job of a fast model may go behind others; any other wants a worker for
 * itself, so that nothing waits behind it. `mean_us`: what it takes on average, of a fast one. */
struct worker_link *worker_links_choose(struct worker_link *links, uint32_t count, bool is_fast,
                                        int64_t mean_us);

/* When something is to be done about it: its head is overdue, or it may be started again. 0: never. */
int64_t worker_link_due_us(struct worker_link *link);

#endif
