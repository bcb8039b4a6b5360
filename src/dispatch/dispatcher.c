#include "dispatch/dispatch.h"

#include "dispatch/link.h"
#include "dispatch/queue.h"
#include "observe/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 64, CANCELLED_LIMIT_MS = 100 };

/* epoll's user data: a link's index, or one of these. */
enum { EVENT_MAIL = -1, EVENT_TIMER = -2 };

struct dispatcher {
    struct dispatcher_options options;
    struct model_repository *repository;
    struct mailbox mailbox;
    int epoll_fd;
    int timer_fd;
    struct monotonic_time timer_at; /* 0: not armed */
    pthread_t thread;
    bool started;
    struct worker_link *links;
    struct queues queues;
    struct outages outages;
    struct list_node away; /* dispatch_job.node of those that executors have */
    uint64_t last_id;
    _Atomic uint32_t live_workers;
    /* Guards `stopped`: a job either reaches the thread or is ended at once. Leaf, held for a moment. */
    pthread_mutex_t submit_lock;
    bool stopped;
    bool stopping; /* the thread's own */
    struct error spawn_failure;
    struct monotonic_time now;
    struct wall_time wall_now;
};

/* What the mailbox takes beside jobs. */
struct order {
    struct dispatch_letter letter;
    int64_t cancel_execution_key;
};

/* --- jobs --------------------------------------------------------------------------------------- */

static void end_job(struct dispatcher *dispatcher, struct dispatch_job *job,
                    enum execution_status status, const struct error *err) {
    job->status = status;
    if (err != NULL) {
        job->err = *err;
    }
    job->finished_at = dispatcher->wall_now;
    if (job->begun) {
        job->duration = monotonic_time_since(dispatcher->now, job->begun_at);
    }
    if (job->snapshot != NULL) {
        model_snapshot_unref(job->snapshot);
        job->snapshot = NULL;
    }
    job->done(job);
}

/* A job that was cancelled while it lay behind another ends so, whatever the worker makes of it. */
static void end_cancelled(struct dispatcher *dispatcher, struct dispatch_job *job) {
    struct error err;
    error_set(&err, ERROR_CANCELLED, "cancelled %s",
              job->begun ? "while it was running" : "before it was started");
    end_job(dispatcher, job, EXECUTION_CANCELLED, &err);
}

static void end_waiting(struct dispatcher *dispatcher, struct dispatch_job *job,
                        enum execution_status status, const struct error *err) {
    queues_remove(&dispatcher->queues, job);
    end_job(dispatcher, job, status, err);
}

static void begin_job(struct dispatcher *dispatcher, struct dispatch_job *job) {
    job->begun = true;
    if (job->cancelled) {
        /* Nobody wants it any more; it is on its way to the worker all the same, and may hang there. */
        job->limit.us = MIN_OF(job->limit.us, CANCELLED_LIMIT_MS * US_PER_MS);
    }
    job->begun_at = dispatcher->now;
    job->started_at = dispatcher->wall_now;
}

/* Takes the job from its worker; the next one in line begins. */
static void detach_job(struct dispatcher *dispatcher, struct worker_link *link,
                       struct dispatch_job *job) {
    bool was_head = worker_link_head(link) == job;
    list_remove(&job->node);
    link->job_count--;
    link->load_us -= job->expected_us;
    link->takes_more = link->takes_more || link->job_count == 0;
    job->queue->running_count--;
    struct dispatch_job *next = worker_link_head(link);
    if (was_head && next != NULL && link->pid != 0) {
        begin_job(dispatcher, next);
    }
}

/* --- workers ------------------------------------------------------------------------------------ */

static void watch_link(struct dispatcher *dispatcher, struct worker_link *link, int operation) {
    struct epoll_event event = {
        .events = EPOLLIN | (channel_has_unwritten(&link->channel) ? (uint32_t)EPOLLOUT : 0),
        .data.u64 = (uint64_t)(link - dispatcher->links),
    };
    int failed = epoll_ctl(dispatcher->epoll_fd, operation, link->channel.socket, &event);
    ASSERT(failed == 0);
}

static void spawn_link(struct dispatcher *dispatcher, struct worker_link *link) {
    struct worker_options options = {.program = dispatcher->options.program,
                                     .library = dispatcher->options.onnxruntime_library,
                                     .models = model_repository_folder(dispatcher->repository),
                                     .memory_bytes = dispatcher->options.worker_memory_bytes,
                                     .cache_bytes = dispatcher->options.worker_cache_bytes,
                                     .session_threads = dispatcher->options.session_threads};
    struct error err;
    if (!worker_link_spawn(link, &options, dispatcher->now, &err)) {
        log_event(LOG_ERROR, "worker_not_started", LOG_FAILURE(&err));
        dispatcher->spawn_failure = err;
        return;
    }
    atomic_fetch_add(&dispatcher->live_workers, 1);
    watch_link(dispatcher, link, EPOLL_CTL_ADD);
    log_event(LOG_DEBUG, "worker_started", LOG_INTEGER("pid", link->pid));
}

static void spawn_missing(struct dispatcher *dispatcher) {
    for (uint32_t i = 0; i < dispatcher->options.worker_count; i++) {
        struct worker_link *link = &dispatcher->links[i];
        if (link->pid == 0 && dispatcher->now.us >= link->spawn_again_at.us) {
            spawn_link(dispatcher, link);
        }
    }
}

/* Jobs that were sent and that the worker had not begun lose nothing: they go back to the front of their queues, in order. */
static void requeue_jobs(struct dispatcher *dispatcher, struct worker_link *link) {
    while (!list_is_empty(&link->jobs)) {
        struct dispatch_job *last = CONTAINER_OF(link->jobs.previous, struct dispatch_job, node);
        detach_job(dispatcher, link, last);
        if (last->cancelled) {
            end_cancelled(dispatcher, last);
        } else {
            last->begun = false;
            queues_prepend(&dispatcher->queues, last);
        }
    }
}

/* Ends the worker. The head, which had begun, ends as `status`, with the reason in `err`; where that is NULL the
 * worker had gone by itself, and how it went is the reason. */
static void lose_link(struct dispatcher *dispatcher, struct worker_link *link,
                      enum execution_status status, const struct error *err) {
    pid_t pid = link->pid;
    char reason[WORKER_REASON_BYTES];
    bool has_crashed = err == NULL || err->kind == ERROR_WORKER_CRASHED;
    bool wants_replacement = worker_link_kill(link, has_crashed, dispatcher->now, reason);
    atomic_fetch_sub(&dispatcher->live_workers, 1);
    if (err == NULL && wants_replacement) {
        log_event(LOG_DEBUG, "worker_replaced", LOG_INTEGER("pid", pid));
        requeue_jobs(dispatcher, link);
        return;
    }
    struct error gone;
    error_set(&gone, ERROR_WORKER_CRASHED, "the worker process %s", reason);
    log_event(LOG_WARNING, "worker_lost", LOG_INTEGER("pid", pid),
              LOG_FAILURE(err == NULL ? &gone : err));
    struct dispatch_job *head = worker_link_head(link);
    if (head != NULL) {
        detach_job(dispatcher, link, head);
        if (has_crashed && head->describe_path == NULL) {
            outages_note_crash(&dispatcher->outages, head->model_name, head->used_digest,
                               err == NULL ? reason : "made no sense", dispatcher->now,
                               dispatcher->wall_now);
        }
        if (head->cancelled) {
            end_cancelled(dispatcher, head);
        } else {
            end_job(dispatcher, head, status, err == NULL ? &gone : err);
        }
    }
    requeue_jobs(dispatcher, link);
}

/* --- sending ------------------------------------------------------------------------------------ */

/* A fast model is not fast with large parameters, and nothing is learnt of it from them. */
static bool is_large(const struct dispatch_job *job) {
    return job->parameters_bytes > CHANNEL_INLINE_BYTES_MAXIMUM;
}

static bool is_fast(const struct dispatch_job *job) {
    return job->describe_path == NULL && !is_large(job) && model_queue_is_fast(job->queue);
}

static struct worker_link *choose_link(struct dispatcher *dispatcher,
                                       const struct dispatch_job *job) {
    return worker_links_choose(dispatcher->links, dispatcher->options.worker_count, is_fast(job),
                               job->queue->mean_us);
}

/* A slow model leaves at least one worker to the others, unless model.json says how many it may have. */
static bool may_run(const struct dispatcher *dispatcher, const struct dispatch_job *job,
                    const struct model_settings *settings) {
    if (settings != NULL && settings->max_concurrency != 0) {
        return job->queue->running_count < settings->max_concurrency;
    }
    uint32_t share = MAX_OF(dispatcher->options.worker_count, 2U) - 1;
    return is_fast(job) || job->queue->running_count < share;
}

static void send_job(struct dispatcher *dispatcher, struct worker_link *link,
                     struct dispatch_job *job, const char *path, const char *options) {
    bool describes = job->describe_path != NULL;
    job->id = ++dispatcher->last_id;
    struct frame frame = {
        .type = describes ? FRAME_DESCRIBE : FRAME_RUN,
        .id = job->id,
        .version = job->used_version,
        .name = job->model_name,
        .path = path,
        .options = options,
        .body = describes ? "" : job->parameters,
        .body_bytes = job->parameters_bytes,
        .has_digest = !describes,
    };
    memcpy(frame.digest, job->used_digest, sizeof frame.digest);
    channel_put(&link->channel, &frame, job->parameters_file == NULL ? -1 : *job->parameters_file);
    bool fast = is_fast(job);
    job->expected_us = fast ? job->queue->mean_us : FAST_MODEL_US;
    link->load_us += job->expected_us;
    link->takes_more = fast && link->takes_more;
    link->job_count++;
    job->queue->running_count++;
    list_append(&link->jobs, &job->node);
    if (worker_link_head(link) == job) {
        begin_job(dispatcher, job);
    }
}

/* --- executors ---------------------------------------------------------------------------------- */

static void hand_over(struct dispatcher *dispatcher, struct dispatch_job *job,
                      const struct model *model, const struct model_version *version) {
    job->executor = dispatcher->options.executors[model->settings.backend];
    if (job->executor == NULL) {
        struct error err;
        error_set(&err, ERROR_MODEL_UNAVAILABLE, "backend %s cannot be run here",
                  model_backend_name(model->settings.backend));
        end_job(dispatcher, job, EXECUTION_FAILED, &err);
        return;
    }
    job->id = ++dispatcher->last_id;
    job->queue->running_count++;
    list_append(&dispatcher->away, &job->node);
    begin_job(dispatcher, job);
    job->executor->submit(job->executor, job, model, version);
}

static void take_back(struct dispatcher *dispatcher, struct dispatch_job *job) {
    list_remove(&job->node);
    job->queue->running_count--;
    job->executor = NULL;
    if (job->cancelled) {
        dispatch_job_free_result(job);
        end_cancelled(dispatcher, job);
    } else {
        end_job(dispatcher, job, job->status, NULL);
    }
}

/* --- placing ------------------------------------------------------------------------------------ */

enum placing { PLACING_DONE, PLACING_MUST_WAIT };

/* Finds the job's model file. False: the job has ended with the reason. */
static bool resolve_job(struct dispatcher *dispatcher, struct dispatch_job *job,
                        const struct model **out_model, const struct model_version **out_version) {
    if (job->snapshot == NULL) {
        job->snapshot = model_repository_snapshot(dispatcher->repository);
    }
    struct error err;
    if (!model_resolve(job->snapshot, job->model_name, job->model_version, out_model, out_version,
                       &err)) {
        end_waiting(dispatcher, job, EXECUTION_FAILED, &err);
        return false;
    }
    return true;
}

static enum placing place_description(struct dispatcher *dispatcher, struct dispatch_job *job) {
    struct worker_link *link = choose_link(dispatcher, job);
    if (link == NULL) {
        return PLACING_MUST_WAIT;
    }
    job->limit = job->timeout;
    queues_remove(&dispatcher->queues, job);
    send_job(dispatcher, link, job, job->describe_path, job->describe_options);
    return PLACING_DONE;
}

static enum placing place_job(struct dispatcher *dispatcher, struct dispatch_job *job) {
    if (job->describe_path != NULL) {
        return place_description(dispatcher, job);
    }
    const struct model *model = NULL;
    const struct model_version *version = NULL;
    bool brought_snapshot = job->snapshot != NULL;
    if (!resolve_job(dispatcher, job, &model, &version)) {
        return PLACING_DONE;
    }
    bool is_local = model->settings.backend == MODEL_BACKEND_ONNX;
    struct error err;
    enum outage_verdict outage = outages_judge(&dispatcher->outages, job->model_name,
                                               version->digest, dispatcher->now, &err);
    if (outage == OUTAGE_OUT) {
        end_waiting(dispatcher, job, EXECUTION_FAILED, &err);
        return PLACING_DONE;
    }
    bool must_wait = outage == OUTAGE_ON_TRIAL && job->queue->running_count > 0;
    struct worker_link *link = is_local ? choose_link(dispatcher, job) : NULL;
    must_wait =
        must_wait || (is_local && link == NULL) || !may_run(dispatcher, job, &model->settings);
    if (must_wait && !(job->asks_server && !is_local)) {
        if (!brought_snapshot) { /* the newest counts when its turn comes */
            model_snapshot_unref(job->snapshot);
            job->snapshot = NULL;
        }
        return PLACING_MUST_WAIT;
    }
    bool is_shorter =
        model->settings.timeout.us > 0 && model->settings.timeout.us < job->timeout.us;
    job->limit = is_shorter ? model->settings.timeout : job->timeout;
    job->used_version = version->version;
    memcpy(job->used_digest, version->digest, sizeof job->used_digest);
    queues_remove(&dispatcher->queues, job);
    if (is_local) {
        send_job(dispatcher, link, job, version->path, model->settings.onnx.text);
    } else {
        hand_over(dispatcher, job, model, version);
    }
    return PLACING_DONE;
}

/* Gives waiting jobs to workers, models in turn, until no job finds a place. */
static void place_jobs(struct dispatcher *dispatcher) {
    struct list_node *ready = &dispatcher->queues.ready;
    size_t in_vain = 0;
    size_t turns = 0;
    for (struct list_node *node = ready->next; node != ready; node = node->next) {
        turns++;
    }
    while (!list_is_empty(ready) && in_vain < turns) {
        struct model_queue *queue = CONTAINER_OF(ready->next, struct model_queue, ready);
        list_remove(&queue->ready);
        list_append(ready, &queue->ready);
        struct dispatch_job *job = CONTAINER_OF(queue->jobs.next, struct dispatch_job, node);
        in_vain = place_job(dispatcher, job) == PLACING_DONE ? 0 : in_vain + 1;
    }
}

static void write_links(struct dispatcher *dispatcher) {
    for (uint32_t i = 0; i < dispatcher->options.worker_count; i++) {
        struct worker_link *link = &dispatcher->links[i];
        if (link->pid == 0 || !channel_has_unwritten(&link->channel)) {
            continue;
        }
        if (!channel_write(&link->channel)) {
            lose_link(dispatcher, link, EXECUTION_FAILED, NULL);
        } else if (channel_has_unwritten(&link->channel)) {
            watch_link(dispatcher, link, EPOLL_CTL_MOD);
        }
    }
}

/* --- receiving ---------------------------------------------------------------------------------- */

static void take_reply(struct dispatcher *dispatcher, struct worker_link *link,
                       struct dispatch_job *job, const struct frame *reply) {
    detach_job(dispatcher, link, job);
    if (reply->has_digest) {
        memcpy(job->used_digest, reply->digest, sizeof job->used_digest);
    }
    if (reply->kind == ERROR_NONE && job->describe_path == NULL && !is_large(job)) {
        model_queue_learn(job->queue, monotonic_time_since(dispatcher->now, job->begun_at));
        outages_note_success(&dispatcher->outages, job->model_name);
    }
    if (job->cancelled) {
        end_cancelled(dispatcher, job);
        return;
    }
    if (reply->kind != ERROR_NONE) {
        struct error err;
        error_set(&err, reply->kind, "%s", reply->name);
        end_job(dispatcher, job, EXECUTION_FAILED, &err);
        return;
    }
    job->result = channel_keep_body(&link->channel);
    job->result_is_mapped = job->result != NULL;
    if (job->result == NULL) {
        job->result = must_alloc(reply->body_bytes + 1);
        memcpy(job->result, reply->body, reply->body_bytes + 1);
    }
    job->result_bytes = reply->body_bytes;
    end_job(dispatcher, job, EXECUTION_SUCCEEDED, NULL);
}

/* Takes all whole replies. False with the reason: what came makes no sense. */
static bool take_replies(struct dispatcher *dispatcher, struct worker_link *link,
                         struct error *err) {
    for (;;) {
        struct frame reply;
        switch (channel_take(&link->channel, &reply, err)) {
        case FRAME_INCOMPLETE:
            return true;
        case FRAME_BROKEN:
            return false;
        case FRAME_COMPLETE:
            break;
        }
        struct dispatch_job *head = worker_link_head(link);
        if (reply.type != FRAME_REPLY || head == NULL || head->id != reply.id) {
            return error_set(err, ERROR_WORKER_CRASHED,
                             "the worker answered what it was not asked");
        }
        take_reply(dispatcher, link, head, &reply);
    }
}

static void serve_link(struct dispatcher *dispatcher, struct worker_link *link, uint32_t events) {
    if (link->pid == 0) {
        return; /* lost in this very turn */
    }
    bool lives = true;
    if ((events & EPOLLOUT) != 0) {
        lives = channel_write(&link->channel);
        if (lives && !channel_has_unwritten(&link->channel)) {
            watch_link(dispatcher, link, EPOLL_CTL_MOD);
        }
    }
    lives = lives && channel_read(&link->channel) != CHANNEL_CLOSED;
    struct error err;
    if (!take_replies(dispatcher, link, &err)) {
        lose_link(dispatcher, link, EXECUTION_FAILED, &err);
    } else if (!lives) {
        lose_link(dispatcher, link, EXECUTION_FAILED, NULL);
    }
}

/* --- time --------------------------------------------------------------------------------------- */

static void end_overdue(struct dispatcher *dispatcher) {
    for (uint32_t i = 0; i < dispatcher->options.worker_count; i++) {
        struct worker_link *link = &dispatcher->links[i];
        struct dispatch_job *head = link->pid == 0 ? NULL : worker_link_head(link);
        if (head != NULL && dispatcher->now.us - head->begun_at.us >= head->limit.us) {
            char limit[DURATION_BYTES];
            duration_format(head->limit, limit);
            struct error err;
            error_set(&err, ERROR_TIMED_OUT, "not finished within %s; the worker was killed",
                      limit);
            lose_link(dispatcher, link, EXECUTION_TIMED_OUT, &err);
        }
    }
}

static void arm_timer(struct dispatcher *dispatcher) {
    int64_t wake_us = 0;
    for (uint32_t i = 0; i < dispatcher->options.worker_count; i++) {
        int64_t at_us = worker_link_due_us(&dispatcher->links[i]);
        if (at_us != 0 && (wake_us == 0 || at_us < wake_us)) {
            wake_us = at_us;
        }
    }
    /* A timer that is set too early costs one wake-up; so it is only moved when it must be earlier, or when
     * nothing is waited for, and not with every fast job. */
    bool is_early_enough = dispatcher->timer_at.us != 0 && dispatcher->timer_at.us <= wake_us;
    if (wake_us == dispatcher->timer_at.us || (wake_us != 0 && is_early_enough)) {
        return;
    }
    dispatcher->timer_at.us = wake_us;
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(wake_us / US_PER_SECOND),
                                           .tv_nsec = (long)(wake_us % US_PER_SECOND) * 1000}};
    int failed = timerfd_settime(dispatcher->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    ASSERT(failed == 0);
}

static void clear_timer(struct dispatcher *dispatcher) {
    uint64_t ignored_count;
    if (read(dispatcher->timer_fd, &ignored_count, sizeof ignored_count) > 0) {
        dispatcher->timer_at.us = 0;
    }
}

/* A job's time runs from its beginning. While no worker can be started none begins: then it runs from when it came. */
static void end_unserved(struct dispatcher *dispatcher) {
    if (atomic_load(&dispatcher->live_workers) > 0 || dispatcher->queues.waiting_count == 0) {
        return;
    }
    struct list_node *next;
    for (struct list_node *node = dispatcher->queues.ready.next; node != &dispatcher->queues.ready;
         node = next) {
        struct model_queue *queue = CONTAINER_OF(node, struct model_queue, ready);
        next = node->next; /* the queue leaves the list with its last job */
        struct list_node *next_job;
        for (struct list_node *at = queue->jobs.next; at != &queue->jobs; at = next_job) {
            struct dispatch_job *job = CONTAINER_OF(at, struct dispatch_job, node);
            next_job = at->next;
            if (monotonic_time_since(dispatcher->now, job->came_at).us >= job->timeout.us) {
                struct error err;
                error_set(&err, ERROR_WORKER_CRASHED, "no worker could be started: %s",
                          dispatcher->spawn_failure.message);
                end_waiting(dispatcher, job, EXECUTION_FAILED, &err);
            }
        }
    }
}

/* --- letters ------------------------------------------------------------------------------------ */

static void cancel_job(struct dispatcher *dispatcher, int64_t execution_key) {
    struct error err;
    struct dispatch_job *waiting = queues_find(&dispatcher->queues, execution_key);
    if (waiting != NULL) {
        error_set(&err, ERROR_CANCELLED, "cancelled before it was started");
        end_waiting(dispatcher, waiting, EXECUTION_CANCELLED, &err);
        return;
    }
    struct dispatch_job *away = jobs_find(&dispatcher->away, execution_key);
    if (away != NULL) {
        away->cancelled = true;
        away->executor->cancel(away->executor, away->id);
        return;
    }
    for (uint32_t i = 0; i < dispatcher->options.worker_count; i++) {
        struct worker_link *link = &dispatcher->links[i];
        struct dispatch_job *job = jobs_find(&link->jobs, execution_key);
        if (job != NULL && job == worker_link_head(link)) {
            error_set(&err, ERROR_CANCELLED, "cancelled while it was running");
            lose_link(dispatcher, link, EXECUTION_CANCELLED, &err);
        } else if (job != NULL) {
            /* It is in the worker's socket, behind another that must not be disturbed. */
            job->cancelled = true;
        }
    }
}

static void queue_job(struct dispatcher *dispatcher, struct dispatch_job *job) {
    job->queue = queues_get(&dispatcher->queues, job->model_name);
    job->came_at = dispatcher->now;
    list_init(&job->node);
    (job->asks_server ? queues_prepend : queues_append)(&dispatcher->queues, job);
}

static void handle_letter(struct dispatcher *dispatcher, struct letter *letter) {
    struct dispatch_letter *typed = CONTAINER_OF(letter, struct dispatch_letter, letter);
    if (typed->kind == DISPATCH_LETTER_JOB) {
        queue_job(dispatcher, CONTAINER_OF(typed, struct dispatch_job, letter));
        return;
    }
    if (typed->kind == DISPATCH_LETTER_RETURNED) {
        take_back(dispatcher, CONTAINER_OF(typed, struct dispatch_job, letter));
        return;
    }
    struct order *order = CONTAINER_OF(typed, struct order, letter);
    if (typed->kind == DISPATCH_LETTER_STOP) {
        dispatcher->stopping = true;
    } else {
        cancel_job(dispatcher, order->cancel_execution_key);
    }
    free(order);
}

static void handle_mail(struct dispatcher *dispatcher) {
    struct letter *letters = mailbox_take_all(&dispatcher->mailbox);
    while (letters != NULL) {
        struct letter *next = letters->next;
        handle_letter(dispatcher, letters);
        letters = next;
    }
}

/* --- the loop ----------------------------------------------------------------------------------- */

static void read_clocks(struct dispatcher *dispatcher) {
    dispatcher->now = clock_monotonic_now(dispatcher->options.clock);
    dispatcher->wall_now = clock_wall_now(dispatcher->options.clock);
}

static void end_everything(struct dispatcher *dispatcher) {
    struct error err;
    error_set(&err, ERROR_INTERRUPTED, "the server stopped before this had ended");
    struct list_node *ready = &dispatcher->queues.ready;
    for (uint32_t i = 0; i < dispatcher->options.worker_count; i++) {
        if (dispatcher->links[i].pid != 0) {
            char reason[WORKER_REASON_BYTES];
            worker_link_kill(&dispatcher->links[i], false, dispatcher->now, reason);
            atomic_fetch_sub(&dispatcher->live_workers, 1);
        }
        struct dispatch_job *head;
        while ((head = worker_link_head(&dispatcher->links[i])) != NULL) {
            detach_job(dispatcher, &dispatcher->links[i], head);
            end_job(dispatcher, head, EXECUTION_FAILED, &err);
        }
    }
    while (!list_is_empty(ready)) {
        struct model_queue *queue = CONTAINER_OF(ready->next, struct model_queue, ready);
        end_waiting(dispatcher, CONTAINER_OF(queue->jobs.next, struct dispatch_job, node),
                    EXECUTION_FAILED, &err);
    }
}

static void *run_thread(void *context) {
    struct dispatcher *dispatcher = context;
    struct epoll_event events[EVENTS_AT_ONCE];
    while (!dispatcher->stopping) {
        read_clocks(dispatcher);
        spawn_missing(dispatcher);
        place_jobs(dispatcher);
        write_links(dispatcher);
        arm_timer(dispatcher);
        int count = epoll_wait(dispatcher->epoll_fd, events, EVENTS_AT_ONCE, -1);
        read_clocks(dispatcher);
        mailbox_hold();
        for (int i = 0; i < count; i++) {
            int64_t which = (int64_t)events[i].data.u64;
            if (which == EVENT_MAIL) {
                handle_mail(dispatcher);
            } else if (which == EVENT_TIMER) {
                clear_timer(dispatcher);
            } else {
                serve_link(dispatcher, &dispatcher->links[which], events[i].events);
            }
        }
        end_overdue(dispatcher);
        end_unserved(dispatcher);
        mailbox_release();
    }
    end_everything(dispatcher);
    return NULL;
}

/* --- from other threads ------------------------------------------------------------------------- */

void dispatcher_submit(struct dispatcher *dispatcher, struct dispatch_job *job) {
    job->letter.kind = DISPATCH_LETTER_JOB;
    job->started_at = WALL_TIME_NONE;
    pthread_mutex_lock(&dispatcher->submit_lock);
    bool stopped = dispatcher->stopped;
    if (!stopped) {
        mailbox_send(&dispatcher->mailbox, &job->letter.letter);
    }
    pthread_mutex_unlock(&dispatcher->submit_lock);
    if (stopped) {
        struct error err;
        error_set(&err, ERROR_INTERRUPTED, "the server is shutting down");
        end_job(dispatcher, job, EXECUTION_FAILED, &err);
    }
}

void dispatcher_return(struct dispatcher *dispatcher, struct dispatch_job *job) {
    job->letter.kind = DISPATCH_LETTER_RETURNED;
    mailbox_send(&dispatcher->mailbox, &job->letter.letter);
}

static void send_order(struct dispatcher *dispatcher, enum dispatch_letter_kind kind,
                       int64_t execution_key) {
    struct order *order = must_alloc_zeroed(1, sizeof *order);
    order->letter.kind = kind;
    order->cancel_execution_key = execution_key;
    mailbox_send(&dispatcher->mailbox, &order->letter.letter);
}

void dispatcher_cancel(struct dispatcher *dispatcher, int64_t execution_key) {
    send_order(dispatcher, DISPATCH_LETTER_CANCEL, execution_key);
}

uint32_t dispatcher_live_workers(const struct dispatcher *dispatcher) {
    return atomic_load(&dispatcher->live_workers);
}

bool dispatcher_outage(struct dispatcher *dispatcher, const char *model_name,
                       struct outage *out_outage) {
    return outages_find(&dispatcher->outages, model_name, clock_wall_now(dispatcher->options.clock),
                        out_outage);
}

bool dispatcher_is_starting(const struct dispatcher *dispatcher) {
    return !model_repository_is_ready(dispatcher->repository);
}

/* --- start and end ------------------------------------------------------------------------------ */

static bool watch(struct dispatcher *dispatcher, int fd, int64_t which, struct error *err) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)which};
    if (epoll_ctl(dispatcher->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot watch a descriptor");
    }
    return true;
}

bool dispatcher_new(const struct dispatcher_options *options, struct dispatcher **out_dispatcher,
                    struct error *err) {
    struct dispatcher *dispatcher = must_alloc_zeroed(1, sizeof *dispatcher);
    dispatcher->options = *options;
    queues_init(&dispatcher->queues);
    outages_init(&dispatcher->outages);
    list_init(&dispatcher->away);
    pthread_mutex_init(&dispatcher->submit_lock, NULL);
    dispatcher->links = must_alloc_zeroed(options->worker_count, sizeof *dispatcher->links);
    for (uint32_t i = 0; i < options->worker_count; i++) {
        worker_link_init(&dispatcher->links[i]);
    }
    dispatcher->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    dispatcher->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    dispatcher->mailbox.event_fd = -1;
    bool ok = dispatcher->epoll_fd >= 0 && dispatcher->timer_fd >= 0;
    if (!ok) {
        error_set_errno(err, ERROR_IO, errno, "cannot create a descriptor");
    }
    ok = ok && mailbox_init(&dispatcher->mailbox, err) &&
         watch(dispatcher, mailbox_fd(&dispatcher->mailbox), EVENT_MAIL, err) &&
         watch(dispatcher, dispatcher->timer_fd, EVENT_TIMER, err);
    if (!ok) {
        dispatcher_free(dispatcher);
        return false;
    }
    read_clocks(dispatcher);
    *out_dispatcher = dispatcher;
    return true;
}

void dispatcher_set_repository(struct dispatcher *dispatcher, struct model_repository *repository) {
    dispatcher->repository = repository;
}

bool dispatcher_start(struct dispatcher *dispatcher, struct error *err) {
    int failed = pthread_create(&dispatcher->thread, NULL, run_thread, dispatcher);
    if (failed != 0) {
        return error_set_errno(err, ERROR_IO, failed, "cannot start the dispatcher's thread");
    }
    pthread_setname_np(dispatcher->thread, "dispatcher");
    dispatcher->started = true;
    return true;
}

void dispatcher_stop(struct dispatcher *dispatcher) {
    if (dispatcher->started) {
        send_order(dispatcher, DISPATCH_LETTER_STOP, 0);
        pthread_join(dispatcher->thread, NULL);
        dispatcher->started = false;
    }
    pthread_mutex_lock(&dispatcher->submit_lock);
    dispatcher->stopped = true;
    pthread_mutex_unlock(&dispatcher->submit_lock);
    for (size_t i = 0; i < COUNT_OF(dispatcher->options.executors); i++) {
        struct executor *executor = dispatcher->options.executors[i];
        if (executor != NULL) {
            executor->stop(executor);
        }
    }
    /* What came after the thread's last look. */
    handle_mail(dispatcher);
    end_everything(dispatcher);
}

void dispatcher_free(struct dispatcher *dispatcher) {
    if (dispatcher == NULL) {
        return;
    }
    queues_fini(&dispatcher->queues);
    outages_fini(&dispatcher->outages);
    if (dispatcher->mailbox.event_fd >= 0) {
        mailbox_fini(&dispatcher->mailbox);
    }
    if (dispatcher->epoll_fd >= 0) {
        close(dispatcher->epoll_fd);
    }
    if (dispatcher->timer_fd >= 0) {
        close(dispatcher->timer_fd);
    }
    pthread_mutex_destroy(&dispatcher->submit_lock);
    free(dispatcher->links);
    free(dispatcher);
}
