#include "schedule/scheduler.h"

#include "observe/log.h"
#include "schedule/flight.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A jump of the wall clock against the monotonic one that is larger than this is a step or a sleep. */
#define CLOCK_STEP_US (1 * US_PER_SECOND)

struct run_letter {
    struct scheduler_letter letter;
    struct plan_entry *entry; /* put */
    int64_t run_key;          /* remove */
};

struct scheduler {
    struct scheduler_options options;
    struct mailbox mailbox;
    int timer_fd;
    struct wall_time timer_at;
    pthread_t thread;
    bool started;
    struct plan plan;
    struct list_node unwritten; /* flights whose outcome the store did not take yet */
    struct wall_time write_again_at;
    struct wall_time last_wall;
    struct monotonic_time last_monotonic;
    struct scheduler_letter stop_letter;
    bool stopping;
    struct monotonic_time stop_deadline;
    uint32_t writes_out; /* records, starts and outcomes on their way to the store */
    struct wall_time now;
};

static void send(struct scheduler *scheduler, struct scheduler_letter *letter, int kind) {
    letter->kind = kind;
    mailbox_send(&scheduler->mailbox, &letter->letter);
}

/* --- the effects ------------------------------------------------------------------------------- */

static int64_t new_key(void *context, struct wall_time now) {
    struct scheduler *scheduler = context;
    return identity_next(scheduler->options.execution_keys, now.us);
}

static uint64_t random_bits(void *context) {
    (void)context;
    uint64_t bits = 0;
    ssize_t got = getrandom(&bits, sizeof bits, 0);
    ASSERT(got == sizeof bits);
    return bits;
}

static struct plan_execution *make_execution(void *context, void *waiter) {
    struct flight *flight = flight_new(context);
    flight->trigger = waiter;
    return &flight->execution;
}

static void answer_trigger(struct scheduler_trigger *trigger, const struct execution *execution,
                           const struct error *err) {
    trigger->ok = execution != NULL;
    if (execution != NULL) {
        trigger->execution = *execution;
    } else {
        trigger->err = *err;
    }
    trigger->done(trigger);
}

/* Frees a flight that will not land. Whoever still waits for it hears that the server is going. */
static void abandon_flight(struct flight *flight) {
    if (flight->trigger != NULL) {
        struct error err;
        error_set(&err, ERROR_UNAVAILABLE,
                  "the server is shutting down; what became of this is in the history");
        answer_trigger(flight->trigger, NULL, &err);
    }
    flight_free(flight);
}

static void free_execution(void *context, struct plan_execution *execution) {
    (void)context;
    abandon_flight(flight_of(execution));
}

static void on_record_written(struct store_write *write) {
    struct record_step *step = CONTAINER_OF(write, struct record_step, write);
    send(step->scheduler, &step->letter, LETTER_RECORDED);
}

static void remember_execution(struct flight *flight, const struct execution *recorded) {
    flight->run_key = recorded->run_key;
    flight->queued_at = recorded->queued_at;
    if (flight->model_name == NULL) {
        flight->model_name = must_strdup(recorded->model_name);
    }
}

static void record_effect(void *context, struct plan_record *record) {
    struct scheduler *scheduler = context;
    struct record_step *step = must_alloc_zeroed(1, sizeof *step);
    step->scheduler = scheduler;
    step->record = record;
    struct store_record *out = &step->store_record;
    out->execution_count = record->execution_count;
    memcpy(out->executions, record->executions, sizeof record->executions);
    out->advances = record->advances;
    out->next_run = record->next_run;
    out->disables = record->disables;
    if (record->execution != NULL) {
        struct flight *flight = flight_of(record->execution);
        remember_execution(flight, &record->executions[record->execution_count - 1]);
        /* The plan's entry may change while the write is out: the names must not go with it. */
        for (size_t i = 0; i < out->execution_count; i++) {
            out->executions[i].model_name = flight->model_name;
        }
        out->parameters = flight->trigger == NULL ? NULL : flight->trigger->parameters;
    } else {
        for (size_t i = 0; i < out->execution_count; i++) {
            out->executions[i].model_name = must_strdup(record->executions[i].model_name);
        }
    }
    step->write.kind = STORE_RECORD;
    step->write.done = on_record_written;
    step->write.run_key = record->run_key;
    step->write.expected_revision = record->revision;
    step->write.record = out;
    scheduler->writes_out++;
    store_submit(scheduler->options.store, &step->write);
}

static void record_step_free(struct record_step *step, bool has_flight) {
    if (!has_flight) {
        for (size_t i = 0; i < step->store_record.execution_count; i++) {
            free((char *)step->store_record.executions[i].model_name);
        }
    }
    free(step->write.out_parameters);
    free(step);
}

static void on_start_written(struct store_write *write) {
    struct flight *flight = CONTAINER_OF(write, struct flight, write);
    send(flight->scheduler, &flight->letter, LETTER_STARTED);
}

static void start_effect(void *context, struct plan_execution *execution, struct wall_time now) {
    struct scheduler *scheduler = context;
    struct flight *flight = flight_of(execution);
    flight->write = (struct store_write){.kind = STORE_START,
                                         .done = on_start_written,
                                         .run_key = flight->run_key,
                                         .execution_key = execution->key,
                                         .started_at = now};
    scheduler->writes_out++;
    store_submit(scheduler->options.store, &flight->write);
}

static void on_job_done(struct dispatch_job *job) {
    struct flight *flight = CONTAINER_OF(job, struct flight, job);
    send(flight->scheduler, &flight->letter, LETTER_RAN);
}

static void dispatch_effect(void *context, struct plan_execution *execution) {
    struct scheduler *scheduler = context;
    struct flight *flight = flight_of(execution);
    struct plan_entry *entry = execution->entry;
    flight->job = (struct dispatch_job){
        .model_name = flight->model_name,
        .model_version = entry->model_version,
        .parameters = flight->parameters,
        .parameters_bytes = strlen(flight->parameters),
        .timeout = entry->timeout,
        .execution_key = execution->key,
        .done = on_job_done,
        .started_at = WALL_TIME_NONE,
    };
    dispatcher_submit(scheduler->options.dispatcher, &flight->job);
}

static void cancel_effect(void *context, struct plan_execution *execution) {
    struct scheduler *scheduler = context;
    dispatcher_cancel(scheduler->options.dispatcher, execution->key);
}

static void on_outcome_written(struct store_write *write) {
    struct flight *flight = CONTAINER_OF(write, struct flight, write);
    send(flight->scheduler, &flight->letter, LETTER_FINISHED);
}

/* Hands the outcome to the store, together with the record of its retry if there is one. */
static void write_outcome(struct scheduler *scheduler, struct flight *flight) {
    flight->write = (struct store_write){.kind = STORE_FINISH,
                                         .done = on_outcome_written,
                                         .run_key = flight->run_key,
                                         .execution_key = flight->execution.key,
                                         .execution = &flight->outcome};
    if (flight->retry != NULL) {
        flight->write.kind = STORE_RECORD;
        flight->write.record = &flight->retry_record;
    }
    scheduler->writes_out++;
    store_submit(scheduler->options.store, &flight->write);
}

static void finish_effect(void *context, struct plan_execution *execution,
                          enum execution_status status, const struct error *err,
                          struct plan_execution *retry) {
    struct scheduler *scheduler = context;
    struct flight *flight = flight_of(execution);
    flight_fill_outcome(flight, status, err, scheduler->now);
    if (retry != NULL) {
        flight->retry = flight_of(retry);
        struct execution *recorded = &flight->retry_record.executions[0];
        *recorded = (struct execution){
            .key = retry->key,
            .run_key = flight->run_key,
            .model_name = flight->model_name,
            .trigger = TRIGGER_RETRY,
            .attempt = retry->attempt,
            .status = EXECUTION_QUEUED,
            .scheduled_for = retry->slot,
            .queued_at = scheduler->now,
            .started_at = WALL_TIME_NONE,
            .finished_at = WALL_TIME_NONE,
            .missed_from = WALL_TIME_NONE,
            .missed_to = WALL_TIME_NONE,
        };
        flight->retry_record.execution_count = 1;
        flight->retry_record.finished = &flight->outcome;
        remember_execution(flight->retry, recorded);
    }
    write_outcome(scheduler, flight);
}

/* --- the letters ------------------------------------------------------------------------------- */

static void handle_trigger(struct scheduler *scheduler, struct scheduler_trigger *trigger) {
    if (scheduler->stopping) {
        struct error err;
        error_set(&err, ERROR_UNAVAILABLE, "the server is shutting down");
        plan_entry_free(trigger->entry);
        answer_trigger(trigger, NULL, &err);
        return;
    }
    if (scheduler->plan.running_count >= PLAN_TRIGGERS_MAXIMUM) {
        struct error err;
        error_set(&err, ERROR_UNAVAILABLE, "too many executions are under way; try again later");
        plan_entry_free(trigger->entry);
        answer_trigger(trigger, NULL, &err);
        return;
    }
    plan_trigger(&scheduler->plan, trigger->entry, trigger, scheduler->now);
}

static void handle_recorded(struct scheduler *scheduler, struct record_step *step) {
    scheduler->writes_out--;
    struct plan_record *record = step->record;
    struct flight *flight = record->execution == NULL ? NULL : flight_of(record->execution);
    struct scheduler_trigger *trigger = flight == NULL ? NULL : flight->trigger;
    bool ok = step->write.ok;
    if (ok && flight != NULL) {
        flight->parameters = step->write.out_parameters;
        step->write.out_parameters = NULL;
        if (trigger != NULL && !trigger->wait) {
            flight->trigger = NULL;
            answer_trigger(trigger, &step->store_record.executions[0], NULL);
        }
    }
    if (!ok && flight != NULL) {
        flight->trigger = NULL; /* answered below, with the reason */
    }
    if (!ok && step->write.err.kind != ERROR_STALE && step->write.err.kind != ERROR_NOT_FOUND &&
        step->write.err.kind != ERROR_CONFLICT) {
        log_event(LOG_ERROR, "record_failed", LOG_FAILURE(&step->write.err));
    }
    plan_recorded(&scheduler->plan, record, ok ? ERROR_NONE : step->write.err.kind, scheduler->now);
    if (!ok && trigger != NULL) {
        answer_trigger(trigger, NULL, &step->write.err);
    }
    record_step_free(step, flight != NULL);
}

static void handle_started(struct scheduler *scheduler, struct flight *flight) {
    scheduler->writes_out--;
    if (flight->write.ok) {
        free(flight->parameters);
        flight->parameters = flight->write.out_parameters;
    } else {
        log_event(LOG_ERROR, "start_failed", LOG_FAILURE(&flight->write.err));
    }
    plan_started(&scheduler->plan, &flight->execution,
                 flight->write.ok ? ERROR_NONE : flight->write.err.kind, scheduler->now);
}

static void handle_ran(struct scheduler *scheduler, struct flight *flight) {
    bool succeeded = flight->job.status == EXECUTION_SUCCEEDED;
    plan_finished(&scheduler->plan, &flight->execution, flight->job.status,
                  succeeded ? NULL : &flight->job.err, scheduler->now);
}

/* The execution is settled in the store: whoever waits is answered, and the flight ends. */
static void settle_flight(struct scheduler *scheduler, struct flight *flight) {
    flight_log_outcome(flight, store_tag(scheduler->options.store));
    if (flight->trigger != NULL) {
        answer_trigger(flight->trigger, &flight->outcome, NULL);
    }
    flight_free(flight);
}

static void handle_finished(struct scheduler *scheduler, struct flight *flight) {
    scheduler->writes_out--;
    struct flight *retry = flight->retry;
    free(flight->write.out_parameters);
    flight->write.out_parameters = NULL;
    if (!flight->write.ok && flight->write.err.kind != ERROR_NOT_FOUND) {
        log_event(LOG_ERROR, "outcome_not_written", LOG_FAILURE(&flight->write.err));
        list_append(&scheduler->unwritten, &flight->node);
        scheduler->write_again_at = wall_time_add(scheduler->now, PLAN_STORE_PAUSE);
        return;
    }
    settle_flight(scheduler, flight);
    if (retry != NULL) {
        plan_retry_recorded(&scheduler->plan, &retry->execution, scheduler->now);
    }
}

static void write_outcomes_again(struct scheduler *scheduler) {
    if (list_is_empty(&scheduler->unwritten) || scheduler->now.us < scheduler->write_again_at.us) {
        return;
    }
    struct list_node *node;
    while ((node = list_take_first(&scheduler->unwritten)) != NULL) {
        write_outcome(scheduler, CONTAINER_OF(node, struct flight, node));
    }
}

static void handle_letter(struct scheduler *scheduler, struct scheduler_letter *letter) {
    switch ((enum letter_kind)letter->kind) {
    case LETTER_PUT_RUN: {
        struct run_letter *put = CONTAINER_OF(letter, struct run_letter, letter);
        plan_put(&scheduler->plan, put->entry);
        free(put);
        break;
    }
    case LETTER_REMOVE_RUN: {
        struct run_letter *removal = CONTAINER_OF(letter, struct run_letter, letter);
        plan_remove(&scheduler->plan, removal->run_key, scheduler->now);
        free(removal);
        break;
    }
    case LETTER_ZONES:
        plan_zones_changed(&scheduler->plan, scheduler->now);
        free(CONTAINER_OF(letter, struct run_letter, letter));
        break;
    case LETTER_TRIGGER:
        handle_trigger(scheduler, CONTAINER_OF(letter, struct scheduler_trigger, letter));
        break;
    case LETTER_RECORDED:
        handle_recorded(scheduler, CONTAINER_OF(letter, struct record_step, letter));
        break;
    case LETTER_STARTED:
        handle_started(scheduler, CONTAINER_OF(letter, struct flight, letter));
        break;
    case LETTER_RAN:
        handle_ran(scheduler, CONTAINER_OF(letter, struct flight, letter));
        break;
    case LETTER_FINISHED:
        handle_finished(scheduler, CONTAINER_OF(letter, struct flight, letter));
        break;
    case LETTER_STOP:
        scheduler->stopping = true;
        scheduler->stop_deadline = (struct monotonic_time){
            clock_monotonic_now(scheduler->options.clock).us + scheduler->options.drain_limit.us};
        plan_drain(&scheduler->plan);
        break;
    }
}

static void handle_mail(struct scheduler *scheduler) {
    struct letter *letters = mailbox_take_all(&scheduler->mailbox);
    while (letters != NULL) {
        struct letter *next = letters->next;
        handle_letter(scheduler, CONTAINER_OF(letters, struct scheduler_letter, letter));
        letters = next;
    }
}

/* --- the loop ---------------------------------------------------------------------------------- */

/* Reads the clocks once for this turn, and notices a step of the wall clock or a sleep of the machine, during
 * which the monotonic clock stands still. A step back needs nothing: next slots stay where they are, so no
 * slot comes again. */
static void read_clocks(struct scheduler *scheduler) {
    struct wall_time wall = clock_wall_now(scheduler->options.clock);
    struct monotonic_time monotonic = clock_monotonic_now(scheduler->options.clock);
    int64_t step_us =
        (wall.us - scheduler->last_wall.us) - (monotonic.us - scheduler->last_monotonic.us);
    scheduler->last_wall = wall;
    scheduler->last_monotonic = monotonic;
    scheduler->now = wall;
    if (step_us > CLOCK_STEP_US || step_us < -CLOCK_STEP_US) {
        log_event(LOG_WARNING, "clock_stepped", LOG_INTEGER("step_us", step_us));
        if (step_us > 0) {
            plan_clock_stepped(&scheduler->plan, wall);
        }
    }
}

static void arm_timer(struct scheduler *scheduler) {
    struct wall_time wake = plan_next_wake(&scheduler->plan);
    if (!list_is_empty(&scheduler->unwritten) &&
        (wall_time_is_none(wake) || scheduler->write_again_at.us < wake.us)) {
        wake = scheduler->write_again_at;
    }
    if (wake.us == scheduler->timer_at.us) {
        return;
    }
    scheduler->timer_at = wake;
    struct itimerspec when = {0};
    if (!wall_time_is_none(wake)) {
        int64_t us = MAX_OF(wake.us, INT64_C(1)); /* zero would disarm */
        when.it_value.tv_sec = (time_t)(us / US_PER_SECOND);
        when.it_value.tv_nsec = (long)(us % US_PER_SECOND) * 1000;
    }
    /* Cancel-on-set makes a step of the clock wake us at once (timerfd_create(2)). */
    int failed = timerfd_settime(scheduler->timer_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET,
                                 &when, NULL);
    ASSERT(failed == 0);
}

static void clear_timer(struct scheduler *scheduler) {
    uint64_t expirations;
    ssize_t got = read(scheduler->timer_fd, &expirations, sizeof expirations);
    if (got > 0 || (got < 0 && errno == ECANCELED)) {
        scheduler->timer_at = WALL_TIME_NONE; /* it is not armed any more, or must be armed anew */
    }
}

/* Whether the drain is over: nothing is under way, or the limit has passed. */
static bool is_drained(const struct scheduler *scheduler, int *out_timeout_ms) {
    *out_timeout_ms = -1;
    if (!scheduler->stopping) {
        return false;
    }
    if (scheduler->plan.running_count == 0 && scheduler->writes_out == 0 &&
        list_is_empty(&scheduler->unwritten)) {
        return true;
    }
    int64_t left_us =
        scheduler->stop_deadline.us - clock_monotonic_now(scheduler->options.clock).us;
    *out_timeout_ms = (int)(left_us / US_PER_MS) + 1;
    return left_us <= 0;
}

static void *run_thread(void *context) {
    struct scheduler *scheduler = context;
    int timeout_ms;
    while (!is_drained(scheduler, &timeout_ms)) {
        read_clocks(scheduler);
        clear_timer(scheduler);
        handle_mail(scheduler);
        write_outcomes_again(scheduler);
        plan_tick(&scheduler->plan, scheduler->now);
        arm_timer(scheduler);
        if (is_drained(scheduler, &timeout_ms)) {
            break;
        }
        struct pollfd wanted[] = {
            {.fd = mailbox_fd(&scheduler->mailbox), .events = POLLIN},
            {.fd = scheduler->timer_fd, .events = POLLIN},
        };
        poll(wanted, COUNT_OF(wanted), timeout_ms);
    }
    return NULL;
}

/* --- start and end ------------------------------------------------------------------------------ */

bool scheduler_new(const struct scheduler_options *options, struct scheduler **out_scheduler,
                   struct error *err) {
    struct scheduler *scheduler = must_alloc_zeroed(1, sizeof *scheduler);
    scheduler->options = *options;
    scheduler->timer_at = WALL_TIME_NONE;
    scheduler->write_again_at = WALL_TIME_NONE;
    list_init(&scheduler->unwritten);
    scheduler->timer_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (scheduler->timer_fd < 0) {
        error_set_errno(err, ERROR_IO, errno, "cannot create a timer");
        free(scheduler);
        return false;
    }
    if (!mailbox_init(&scheduler->mailbox, err)) {
        close(scheduler->timer_fd);
        free(scheduler);
        return false;
    }
    plan_init(&scheduler->plan, &(struct plan_effects){
                                    .context = scheduler,
                                    .new_key = new_key,
                                    .random = random_bits,
                                    .make_execution = make_execution,
                                    .free_execution = free_execution,
                                    .record = record_effect,
                                    .start = start_effect,
                                    .dispatch = dispatch_effect,
                                    .cancel = cancel_effect,
                                    .finish = finish_effect,
                                });
    *out_scheduler = scheduler;
    return true;
}

static void load_run(const struct run *run, void *context) {
    struct scheduler *scheduler = context;
    struct plan_entry *entry;
    struct error err;
    if (!plan_entry_new(run, &entry, &err)) {
        /* Its zone or expression was good when it was stored: the system's tzdata has changed. */
        char run_id[UUID_TEXT_BYTES];
        identity_format(run->key, store_tag(scheduler->options.store), run_id);
        log_event(LOG_ERROR, "run_not_scheduled", LOG_STRING("run_id", run_id), LOG_FAILURE(&err));
        return;
    }
    plan_put(&scheduler->plan, entry);
    plan_correct_next_slot(&scheduler->plan, run->key, scheduler->now);
}

struct adoption {
    struct scheduler *scheduler;
    struct store_reader *reader;
};

/* An execution whose run is gone cannot be run or retried: it only gets its end. */
static void end_orphan(struct scheduler *scheduler, const struct execution *left) {
    struct flight *flight = flight_new(scheduler);
    flight->execution.key = left->key;
    flight->execution.slot = left->scheduled_for;
    flight->execution.trigger = left->trigger;
    flight->execution.attempt = left->attempt;
    remember_execution(flight, left);
    struct error err;
    error_set(&err, ERROR_INTERRUPTED, "the scheduler stopped before this had ended");
    flight_fill_outcome(flight, EXECUTION_FAILED, &err, scheduler->now);
    write_outcome(scheduler, flight);
}

static void adopt_execution(const struct execution *left, void *context) {
    struct adoption *adoption = context;
    struct scheduler *scheduler = adoption->scheduler;
    struct plan_entry *dormant = NULL;
    if (!plan_has_run(&scheduler->plan, left->run_key)) {
        struct arena arena = {0};
        struct run run;
        struct error err;
        bool ok = store_get_run(adoption->reader, left->run_key, &arena, &run, &err) &&
                  plan_entry_new(&run, &dormant, &err);
        arena_fini(&arena);
        if (!ok) {
            end_orphan(scheduler, left);
            return;
        }
    }
    struct flight *flight = flight_of(plan_adopt(&scheduler->plan, dormant, left));
    remember_execution(flight, left);
}

bool scheduler_start(struct scheduler *scheduler, struct error *err) {
    struct store_reader *reader;
    if (!store_reader_open(scheduler->options.store, &reader, err)) {
        return false;
    }
    scheduler->last_wall = clock_wall_now(scheduler->options.clock);
    scheduler->last_monotonic = clock_monotonic_now(scheduler->options.clock);
    scheduler->now = scheduler->last_wall;
    struct adoption adoption = {.scheduler = scheduler, .reader = reader};
    bool loaded = store_load_runs(reader, load_run, scheduler, err) &&
                  store_load_active(reader, adopt_execution, &adoption, err);
    store_reader_close(reader);
    if (!loaded) {
        return false;
    }
    plan_begin(&scheduler->plan, scheduler->now);
    int failed = pthread_create(&scheduler->thread, NULL, run_thread, scheduler);
    if (failed != 0) {
        return error_set_errno(err, ERROR_IO, failed, "cannot start the scheduler's thread");
    }
    pthread_setname_np(scheduler->thread, "scheduler");
    scheduler->started = true;
    return true;
}

void scheduler_put_run(struct scheduler *scheduler, struct plan_entry *entry) {
    struct run_letter *letter = must_alloc_zeroed(1, sizeof *letter);
    letter->entry = entry;
    send(scheduler, &letter->letter, LETTER_PUT_RUN);
}

void scheduler_remove_run(struct scheduler *scheduler, int64_t run_key) {
    struct run_letter *letter = must_alloc_zeroed(1, sizeof *letter);
    letter->run_key = run_key;
    send(scheduler, &letter->letter, LETTER_REMOVE_RUN);
}

void scheduler_zones_changed(struct scheduler *scheduler) {
    struct run_letter *letter = must_alloc_zeroed(1, sizeof *letter);
    send(scheduler, &letter->letter, LETTER_ZONES);
}

void scheduler_trigger(struct scheduler *scheduler, struct scheduler_trigger *trigger) {
    send(scheduler, &trigger->letter, LETTER_TRIGGER);
}

void scheduler_stop(struct scheduler *scheduler) {
    if (!scheduler->started) {
        return;
    }
    send(scheduler, &scheduler->stop_letter, LETTER_STOP);
    pthread_join(scheduler->thread, NULL);
    scheduler->started = false;
}

/* A letter that came after the thread had ended: only its memory matters, and whoever waits for an answer. */
static void discard_letter(struct scheduler_letter *letter) {
    struct error err;
    error_set(&err, ERROR_UNAVAILABLE, "the server is shutting down");
    switch ((enum letter_kind)letter->kind) {
    case LETTER_PUT_RUN: {
        struct run_letter *put = CONTAINER_OF(letter, struct run_letter, letter);
        plan_entry_free(put->entry);
        free(put);
        break;
    }
    case LETTER_REMOVE_RUN:
    case LETTER_ZONES:
        free(CONTAINER_OF(letter, struct run_letter, letter));
        break;
    case LETTER_TRIGGER: {
        struct scheduler_trigger *trigger = CONTAINER_OF(letter, struct scheduler_trigger, letter);
        plan_entry_free(trigger->entry);
        answer_trigger(trigger, NULL, &err);
        break;
    }
    case LETTER_RECORDED: {
        struct record_step *step = CONTAINER_OF(letter, struct record_step, letter);
        bool has_flight = step->record->execution != NULL;
        free(step->record);
        record_step_free(step, has_flight);
        break;
    }
    case LETTER_FINISHED:
        abandon_flight(CONTAINER_OF(letter, struct flight, letter));
        break;
    case LETTER_STARTED: /* the plan still has these flights and frees them */
    case LETTER_RAN:
    case LETTER_STOP:
        break;
    }
}

void scheduler_free(struct scheduler *scheduler) {
    if (scheduler == NULL) {
        return;
    }
    struct letter *letters = mailbox_take_all(&scheduler->mailbox);
    while (letters != NULL) {
        struct letter *next = letters->next;
        discard_letter(CONTAINER_OF(letters, struct scheduler_letter, letter));
        letters = next;
    }
    struct list_node *node;
    while ((node = list_take_first(&scheduler->unwritten)) != NULL) {
        abandon_flight(CONTAINER_OF(node, struct flight, node));
    }
    plan_fini(&scheduler->plan);
    mailbox_fini(&scheduler->mailbox);
    close(scheduler->timer_fd);
    free(scheduler);
}
