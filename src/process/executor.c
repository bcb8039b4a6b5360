#include "process/process.h"

#include "base/list.h"
#include "base/mailbox.h"
#include "observe/log.h"
#include "process/command.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yyjson.h>

enum {
    EVENTS_AT_ONCE = 64,
    GRACE_MS = 1000, /* between SIGTERM and SIGKILL */
    /* From one pipe in one turn. */
    TURN_BYTES = 1 << 20,
    LAST_WORDS_BYTES = 240,
    FIRST_WORDS_BYTES = 101,
    STATUS_TEMPORARY_FAILURE = 75,
    STATUS_CANNOT_RUN = 126,
    STATUS_NOT_FOUND = 127,
};

/* Why it is being ended. */
enum ending { ENDING_NONE, ENDING_TIMED_OUT, ENDING_CANCELLED, ENDING_STOPPED, ENDING_TOO_MUCH };

/* A place in the epoll set: which of a child's descriptors it is. */
enum port_kind { PORT_PROCESS, PORT_OUTPUT, PORT_MESSAGES, PORT_MAIL, PORT_TIMER };
struct port {
    enum port_kind kind;
    struct child *child;
};

struct child {
    struct list_node node;
    struct dispatch_job *job;
    struct command_process command;
    uint64_t output_bytes_maximum;
    const char *model_name;
    enum ending ending;
    struct monotonic_time kill_at; /* after SIGTERM; 0: it was not sent, or SIGKILL was */
    struct port ports[3];
    bool ended; /* its memory goes at the end of the turn */
    struct child *next_ended;
};

struct process_executor {
    struct executor interface;
    struct process_options options;
    struct dispatcher *dispatcher;
    struct mailbox mailbox;
    pthread_t thread;
    bool has_thread; /* the dispatcher's thread's */
    /* The thread's own from here on. */
    int epoll_fd;
    int timer_fd;
    struct list_node children;
    struct child *ended; /* in this turn; by `next_ended` */
    bool stopping;
    struct monotonic_time now;
};

enum order_kind { ORDER_RUN, ORDER_CANCEL, ORDER_STOP };

struct order {
    struct letter letter;
    enum order_kind kind;
    struct dispatch_job *job;
    const struct model *model;
    const struct model_version *version;
    uint64_t cancel_id;
};

/* --- outcomes ------------------------------------------------------------------------------------ */

static void give_back(struct process_executor *executor, struct dispatch_job *job, bool ok,
                      const struct error *err) {
    job->status = ok                             ? EXECUTION_SUCCEEDED
                  : err->kind == ERROR_TIMED_OUT ? EXECUTION_TIMED_OUT
                                                 : EXECUTION_FAILED;
    if (!ok) {
        job->err = *err;
    }
    dispatcher_return(executor->dispatcher, job);
}

static bool explain_ending(const struct child *child, struct error *err) {
    char limit[DURATION_BYTES];
    switch (child->ending) {
    case ENDING_TIMED_OUT:
        duration_format(child->job->limit, limit);
        return error_set(err, ERROR_TIMED_OUT, "not finished within %s; the command was ended",
                         limit);
    case ENDING_CANCELLED:
        return error_set(err, ERROR_CANCELLED, "cancelled while it was running");
    case ENDING_STOPPED:
        return error_set(err, ERROR_INTERRUPTED, "the server stopped before this had ended");
    case ENDING_TOO_MUCH:
        return error_set(err, ERROR_MODEL_FAILED,
                         "the command wrote more than %llu bytes on standard output",
                         (unsigned long long)child->output_bytes_maximum);
    case ENDING_NONE:
        break;
    }
    return true;
}

static bool explain_status(const struct child *child, int status, struct error *err) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return true;
    }
    char words[LAST_WORDS_BYTES];
    command_last_words(&child->command, words, sizeof words);
    const char *colon = words[0] == '\0' ? "" : ": ";
    if (WIFSIGNALED(status)) {
        return error_set(err, ERROR_WORKER_CRASHED, "the command was killed by signal %d (%s)%s%s",
                         WTERMSIG(status), sigdescr_np(WTERMSIG(status)), colon, words);
    }
    int code = WEXITSTATUS(status);
    bool may_work_later =
        code == STATUS_TEMPORARY_FAILURE || code == STATUS_CANNOT_RUN || code == STATUS_NOT_FOUND;
    return error_set(err, may_work_later ? ERROR_MODEL_UNAVAILABLE : ERROR_MODEL_FAILED,
                     "the command ended with status %d%s%s%s", code, colon, words,
                     code == STATUS_CANNOT_RUN
                         ? "; is it, and where its links lead, among what the sandbox lets it "
                           "read (`readable` in model.json)?"
                         : "");
}

/* Its output as the result: one JSON value, without the space around it. */
static bool take_result(struct child *child, struct error *err) {
    struct text *output = &child->command.output;
    yyjson_read_err reason;
    if (output->size_bytes == 0) {
        return error_set(err, ERROR_MODEL_FAILED,
                         "the command wrote nothing on standard output; expected a JSON value");
    }
    yyjson_doc *document =
        yyjson_read_opts(output->data, output->size_bytes, YYJSON_READ_NOFLAG, NULL, &reason);
    if (document == NULL) {
        char words[FIRST_WORDS_BYTES];
        command_first_words(&child->command, words, sizeof words);
        return error_set(err, ERROR_MODEL_FAILED,
                         "what the command wrote on standard output is not JSON: %s at byte "
                         "%zu%s%s",
                         reason.msg, reason.pos + 1, words[0] == '\0' ? "" : ": ", words);
    }
    yyjson_doc_free(document);
    size_t size_bytes = output->size_bytes;
    while (strchr(" \t\r\n", output->data[size_bytes - 1]) != NULL) {
        size_bytes--;
    }
    size_t start = strspn(output->data, " \t\r\n");
    child->job->result_bytes = size_bytes - start;
    child->job->result = text_take(output);
    memmove(child->job->result, child->job->result + start, size_bytes - start);
    child->job->result[size_bytes - start] = '\0';
    return true;
}

static void log_messages(const struct child *child, bool ok, const struct error *err) {
    char words[1024];
    command_last_words(&child->command, words, sizeof words);
    if (!ok) {
        log_event(LOG_WARNING, "command_failed", LOG_STRING("model", child->model_name),
                  LOG_FAILURE(err), LOG_STRING("stderr", words));
    } else if (words[0] != '\0') {
        log_event(LOG_INFO, "command_said", LOG_STRING("model", child->model_name),
                  LOG_STRING("stderr", words));
    }
}

/* The process has ended. */
static void finish(struct process_executor *executor, struct child *child) {
    int status = 0;
    struct error err;
    bool fits = command_end(&child->command, &status);
    if (!fits && child->ending == ENDING_NONE) {
        child->ending = ENDING_TOO_MUCH;
    }
    bool ok = explain_ending(child, &err) && explain_status(child, status, &err) &&
              take_result(child, &err);
    log_messages(child, ok, &err);
    command_clear(&child->command);
    give_back(executor, child->job, ok, &err);
    child->job = NULL;
    child->ended = true;
    list_remove(&child->node);
    child->next_ended = executor->ended;
    executor->ended = child;
}

/* --- ending -------------------------------------------------------------------------------------- */

static void end_now(struct child *child, enum ending ending) {
    child->ending = child->ending == ENDING_NONE ? ending : child->ending;
    child->kill_at.us = 0;
    command_signal(&child->command, SIGKILL);
}

static void ask_to_end(struct process_executor *executor, struct child *child, enum ending ending) {
    if (child->ending != ENDING_NONE) {
        return;
    }
    child->ending = ending;
    child->kill_at.us = executor->now.us + GRACE_MS * US_PER_MS;
    command_signal(&child->command, SIGTERM);
}

static int64_t due_us(const struct child *child) {
    if (child->ending == ENDING_NONE) {
        return child->job->begun_at.us + child->job->limit.us;
    }
    return child->kill_at.us;
}

static void end_overdue(struct process_executor *executor) {
    for (struct list_node *node = executor->children.next; node != &executor->children;
         node = node->next) {
        struct child *child = CONTAINER_OF(node, struct child, node);
        int64_t at_us = due_us(child);
        if (at_us == 0 || executor->now.us < at_us) {
            continue;
        }
        if (child->ending == ENDING_NONE) {
            ask_to_end(executor, child, ENDING_TIMED_OUT);
        } else {
            end_now(child, child->ending);
        }
    }
}

static void arm_timer(struct process_executor *executor) {
    int64_t wake_us = 0;
    for (struct list_node *node = executor->children.next; node != &executor->children;
         node = node->next) {
        int64_t at_us = due_us(CONTAINER_OF(node, struct child, node));
        if (at_us != 0 && (wake_us == 0 || at_us < wake_us)) {
            wake_us = at_us;
        }
    }
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(wake_us / US_PER_SECOND),
                                           .tv_nsec = (long)(wake_us % US_PER_SECOND) * 1000}};
    int failed = timerfd_settime(executor->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    ASSERT(failed == 0);
}

/* --- starting ------------------------------------------------------------------------------------ */

static void watch(struct process_executor *executor, int fd, struct port *port) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = port};
    int failed = epoll_ctl(executor->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    ASSERT(failed == 0);
}

static void start(struct process_executor *executor, const struct order *order) {
    struct dispatch_job *job = order->job;
    struct child *child = must_alloc_zeroed(1, sizeof *child);
    struct command_options options = {
        .program = executor->options.program,
        .job = job,
        .model_name = order->model->name,
        .folder = order->version->path,
        .settings = order->model->settings.process,
        .memory_bytes = executor->options.memory_bytes,
    };
    struct error err;
    if (!command_start(&child->command, &options, &err)) {
        free(child);
        give_back(executor, job, false, &err);
        return;
    }
    child->job = job;
    child->model_name = order->model->name;
    child->output_bytes_maximum = options.settings->output_bytes_maximum;
    int fds[] = {[PORT_PROCESS] = child->command.pid_fd,
                 [PORT_OUTPUT] = child->command.output_fd,
                 [PORT_MESSAGES] = child->command.message_fd};
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        child->ports[i] = (struct port){.kind = (enum port_kind)i, .child = child};
        watch(executor, fds[i], &child->ports[i]);
    }
    list_append(&executor->children, &child->node);
}

/* --- orders -------------------------------------------------------------------------------------- */

static void cancel(struct process_executor *executor, uint64_t job_id) {
    for (struct list_node *node = executor->children.next; node != &executor->children;
         node = node->next) {
        struct child *child = CONTAINER_OF(node, struct child, node);
        if (child->job->id == job_id) {
            ask_to_end(executor, child, ENDING_CANCELLED);
            return;
        }
    }
}

static void stop_all(struct process_executor *executor) {
    executor->stopping = true;
    for (struct list_node *node = executor->children.next; node != &executor->children;
         node = node->next) {
        end_now(CONTAINER_OF(node, struct child, node), ENDING_STOPPED);
    }
}

static void handle_mail(struct process_executor *executor) {
    struct letter *letters = mailbox_take_all(&executor->mailbox);
    while (letters != NULL) {
        struct order *order = CONTAINER_OF(letters, struct order, letter);
        letters = letters->next;
        switch (order->kind) {
        case ORDER_RUN:
            start(executor, order);
            break;
        case ORDER_CANCEL:
            cancel(executor, order->cancel_id);
            break;
        case ORDER_STOP:
            stop_all(executor);
            break;
        }
        free(order);
    }
}

/* --- the loop ------------------------------------------------------------------------------------ */

static void clear_timer(struct process_executor *executor) {
    uint64_t ignored_count;
    ssize_t ignored = read(executor->timer_fd, &ignored_count, sizeof ignored_count);
    (void)ignored;
}

static void serve_child(struct process_executor *executor, struct child *child,
                        enum port_kind kind) {
    if (child->ended) {
        return; /* in this very turn */
    }
    if (kind == PORT_PROCESS) {
        finish(executor, child);
    } else if (kind == PORT_MESSAGES) {
        command_read_messages(&child->command);
    } else if (!command_read_output(&child->command, TURN_BYTES)) {
        epoll_ctl(executor->epoll_fd, EPOLL_CTL_DEL, child->command.output_fd, NULL);
        end_now(child, ENDING_TOO_MUCH);
    }
}

static void serve(struct process_executor *executor, const struct port *port) {
    if (port->child != NULL) {
        serve_child(executor, port->child, port->kind);
    } else if (port->kind == PORT_MAIL) {
        handle_mail(executor);
    } else {
        clear_timer(executor);
    }
}

static void free_ended(struct process_executor *executor) {
    while (executor->ended != NULL) {
        struct child *child = executor->ended;
        executor->ended = child->next_ended;
        free(child);
    }
}

static void *run_thread(void *context) {
    struct process_executor *executor = context;
    struct epoll_event events[EVENTS_AT_ONCE];
    struct port mail = {.kind = PORT_MAIL};
    struct port timer = {.kind = PORT_TIMER};
    watch(executor, mailbox_fd(&executor->mailbox), &mail);
    watch(executor, executor->timer_fd, &timer);
    while (!executor->stopping || !list_is_empty(&executor->children)) {
        arm_timer(executor);
        int count = epoll_wait(executor->epoll_fd, events, EVENTS_AT_ONCE, -1);
        executor->now = clock_monotonic_now(executor->options.clock);
        for (int i = 0; i < count; i++) {
            serve(executor, events[i].data.ptr);
        }
        end_overdue(executor);
        free_ended(executor);
    }
    log_end_thread();
    return NULL;
}

/* --- from the dispatcher ------------------------------------------------------------------------- */

static struct process_executor *executor_of(struct executor *interface) {
    return CONTAINER_OF(interface, struct process_executor, interface);
}

static void send_order(struct process_executor *executor, const struct order *contents) {
    struct order *order = must_alloc(sizeof *order);
    *order = *contents;
    mailbox_send(&executor->mailbox, &order->letter);
}

static void submit(struct executor *interface, struct dispatch_job *job, const struct model *model,
                   const struct model_version *version) {
    struct process_executor *executor = executor_of(interface);
    if (!executor->has_thread) {
        int failed = pthread_create(&executor->thread, NULL, run_thread, executor);
        if (failed != 0) {
            struct error err;
            error_set_errno(&err, ERROR_UNAVAILABLE, failed, "there is no thread for commands");
            give_back(executor, job, false, &err);
            return;
        }
        pthread_setname_np(executor->thread, "commands");
        executor->has_thread = true;
    }
    send_order(executor,
               &(struct order){.kind = ORDER_RUN, .job = job, .model = model, .version = version});
}

static void cancel_job(struct executor *interface, uint64_t job_id) {
    send_order(executor_of(interface), &(struct order){.kind = ORDER_CANCEL, .cancel_id = job_id});
}

static void stop(struct executor *interface) {
    struct process_executor *executor = executor_of(interface);
    if (executor->has_thread) {
        send_order(executor, &(struct order){.kind = ORDER_STOP});
        pthread_join(executor->thread, NULL);
        executor->has_thread = false;
    }
}

bool process_executor_new(const struct process_options *options,
                          struct process_executor **out_executor, struct error *err) {
    struct process_executor *executor = must_alloc_zeroed(1, sizeof *executor);
    executor->interface = (struct executor){.submit = submit, .cancel = cancel_job, .stop = stop};
    executor->options = *options;
    executor->mailbox.event_fd = -1;
    executor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    executor->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    list_init(&executor->children);
    bool ok = executor->epoll_fd >= 0 && executor->timer_fd >= 0;
    if (!ok) {
        error_set_errno(err, ERROR_IO, errno, "cannot create a descriptor");
    }
    if (!ok || !mailbox_init(&executor->mailbox, err)) {
        process_executor_free(executor);
        return false;
    }
    *out_executor = executor;
    return true;
}

void process_executor_set_dispatcher(struct process_executor *executor,
                                     struct dispatcher *dispatcher) {
    executor->dispatcher = dispatcher;
}

struct executor *process_executor_interface(struct process_executor *executor) {
    return &executor->interface;
}

void process_executor_free(struct process_executor *executor) {
    if (executor == NULL) {
        return;
    }
    ASSERT(!executor->has_thread);
    if (executor->mailbox.event_fd >= 0) {
        mailbox_fini(&executor->mailbox);
    }
    if (executor->epoll_fd >= 0) {
        close(executor->epoll_fd);
    }
    if (executor->timer_fd >= 0) {
        close(executor->timer_fd);
    }
    free(executor);
}
