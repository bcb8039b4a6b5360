#include "dispatch/queue.h"

#include "cron/cron.h"

#include <stdlib.h>
#include <string.h>

void queues_init(struct queues *queues) {
    *queues = (struct queues){0};
    list_init(&queues->ready);
}

void queues_fini(struct queues *queues) {
    for (size_t i = 0; i < queues->by_name.capacity; i++) {
        struct model_queue *queue = queues->by_name.places[i];
        if (queue != NULL) {
            ASSERT(list_is_empty(&queue->jobs));
            free(queue->model_name);
            free(queue);
        }
    }
    map_fini(&queues->by_name);
}

struct model_queue *queues_get(struct queues *queues, const char *model_name) {
    uint64_t hash = cron_hash(model_name, strlen(model_name));
    for (;; hash++) {
        int64_t key = (int64_t)(hash >> 1) | 1;
        struct model_queue *queue = map_get(&queues->by_name, key);
        if (queue == NULL) {
            queue = must_alloc_zeroed(1, sizeof *queue);
            queue->model_name = must_strdup(model_name);
            list_init(&queue->jobs);
            list_init(&queue->ready);
            queue->key = key;
            map_put(&queues->by_name, queue);
            return queue;
        }
        if (strcmp(queue->model_name, model_name) == 0) {
            return queue;
        }
    }
}

static void make_ready(struct queues *queues, struct dispatch_job *job) {
    queues->waiting_count++;
    if (list_is_empty(&job->queue->ready)) {
        list_append(&queues->ready, &job->queue->ready);
    }
}

void queues_append(struct queues *queues, struct dispatch_job *job) {
    make_ready(queues, job);
    list_append(&job->queue->jobs, &job->node);
}

void queues_prepend(struct queues *queues, struct dispatch_job *job) {
    make_ready(queues, job);
    list_prepend(&job->queue->jobs, &job->node);
}

void queues_remove(struct queues *queues, struct dispatch_job *job) {
    queues->waiting_count--;
    list_remove(&job->node);
    if (list_is_empty(&job->queue->jobs)) {
        list_remove(&job->queue->ready);
    }
}

struct dispatch_job *jobs_find(const struct list_node *jobs, int64_t execution_key) {
    for (struct list_node *node = jobs->next; node != jobs; node = node->next) {
        struct dispatch_job *job = CONTAINER_OF(node, struct dispatch_job, node);
        if (job->execution_key == execution_key) {
            return job;
        }
    }
    return NULL;
}

struct dispatch_job *queues_find(const struct queues *queues, int64_t execution_key) {
    struct dispatch_job *found = NULL;
    struct list_node *turn = queues->ready.next;
    for (; turn != &queues->ready && found == NULL; turn = turn->next) {
        found = jobs_find(&CONTAINER_OF(turn, struct model_queue, ready)->jobs, execution_key);
    }
    return found;
}

/* One run that was slow for once (its worker had to load the model, or the machine was busy) does not make a fast model
 * slow: a few in a row do. */
void model_queue_learn(struct model_queue *queue, struct duration duration) {
    int64_t mean_us = queue->mean_us;
    int64_t sample_us = MAX_OF(duration.us, INT64_C(1));
    if (mean_us == 0) {
        queue->mean_us = sample_us;
        return;
    }
    sample_us = MIN_OF(sample_us, 4 * mean_us + FAST_MODEL_US);
    queue->mean_us = MAX_OF((mean_us * 7 + sample_us) / 8, INT64_C(1));
}
