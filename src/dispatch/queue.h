/* For neighbours in dispatch/: the jobs of one model that wait, and what is known of how it runs. Models with
 * waiting jobs take turns, so that one with many does not keep the others waiting. */
#ifndef ORRERY_DISPATCH_QUEUE_H
#define ORRERY_DISPATCH_QUEUE_H

#include "base/map.h"
#include "dispatch/dispatch.h"

/* A model whose runs take less on average is fast: several of its jobs are sent to one worker at a time. */
#define FAST_MODEL_US INT64_C(1000)

struct model_queue {
    int64_t key; /* a hash of the name */
    char *model_name;
    struct list_node jobs;  /* waiting, oldest first */
    struct list_node ready; /* in queues.ready while it has waiting jobs */
    uint32_t running_count; /* with workers */
    int64_t mean_us;        /* exponentially weighted; 0: never run */
};

struct queues {
    struct map by_name;     /* hash of the name -> struct model_queue */
    struct list_node ready; /* of those with waiting jobs, in turn */
    size_t waiting_count;
};

void queues_init(struct queues *queues);
void queues_fini(struct queues *queues);

/* The model's queue, made if it is new. */
struct model_queue *queues_get(struct queues *queues, const char *model_name);

void queues_append(struct queues *queues, struct dispatch_job *job);
/* In front of the others: a job that had its turn already. */
void queues_prepend(struct queues *queues, struct dispatch_job *job);
void queues_remove(struct queues *queues, struct dispatch_job *job);

/* In a list of dispatch_job.node: the job with this execution key, or NULL. */
struct dispatch_job *jobs_find(const struct list_node *jobs, int64_t execution_key);
/* The same among all that wait. */
struct dispatch_job *queues_find(const struct queues *queues, int64_t execution_key);

static inline bool model_queue_is_fast(const struct model_queue *queue) {
    return queue->mean_us > 0 && queue->mean_us < FAST_MODEL_US;
}
void model_queue_learn(struct model_queue *queue, struct duration duration);

#endif
