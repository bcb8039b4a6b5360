#include "schedule/scheduler.h"

#include "observe/log.h"
#include "schedule/scheduler_parts.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A jump of the wall clock against the monotonic one that is larger than this is a step or a sleep. */
#define CLOCK_STEP_US (1 * US_PER_SECOND)

struct run_letter {
    struct scheduler_letter letter;
    struct plan_entry *entry; /* put */
    int64_t run_key;          /* remove */
};

struct backfill_letter {
    struct scheduler_letter letter;
    struct backfill backfill; /* of a cancel, the keys alone */
    struct plan_entry *entry;
};

void scheduler_send(struct scheduler *scheduler, struct scheduler_letter *letter,
                    enum letter_kind kind) {
    letter->kind = (int)kind;
    mailbox_send(&scheduler->mailbox, &letter->letter);
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
    if (scheduler->plan.manual_count >= PLAN_TRIGGERS_MAXIMUM) {
        struct error err;
        error_set(&err, ERROR_UNAVAILABLE, "too many executions are under way; try again later");
        plan_entry_free(trigger->entry);
        answer_trigger(trigger, NULL, &err);
        return;
    }
    if (!plan_is_current(&scheduler->plan, trigger->entry)) {
        struct error err;
        error_set(&err, ERROR_STALE, "the scheduled run has been changed meanwhile");
        plan_entry_free(trigger->entry);
        answer_trigger(trigger, NULL, &err);
        return;
    }
    plan_trigger(&scheduler->plan, trigger->entry, trigger, scheduler->now);
}

static void handle_cancel(struct scheduler *scheduler, struct scheduler_cancel *cancel) {
    struct plan_execution *execution =
        plan_find_execution(&scheduler->plan, cancel->run_key, cancel->execution_key);
    if (execution == NULL) {
        struct error err;
        error_set(&err, ERROR_NOT_FOUND, "the execution is not under way any more");
        answer_cancel(cancel, NULL, &err);
        return;
    }
    list_append(&flight_of(execution)->cancels, &cancel->node);
    plan_cancel(&scheduler->plan, execution, scheduler->now);
}

/* That the store fails, and that it works again, its writer says once. */
static enum log_level level_of(const struct error *err) {
    return err->kind == ERROR_STORE ? LOG_DEBUG : LOG_ERROR;
}

static void handle_recorded(struct scheduler *scheduler, struct record_step *step) {
    scheduler->writes_out--;
    struct plan_record *record = step->record;
    struct flight *flight = record->execution == NULL ? NULL : flight_of(record->execution);
    struct scheduler_trigger *trigger = flight == NULL ? NULL : flight->trigger;
    bool ok = step->write.ok;
    if (ok && flight != NULL) {
        const struct execution *recorded =
            &step->store_record.executions[step->store_record.execution_count - 1];
        flight->parameters = step->write.out_parameters;
        step->write.out_parameters = NULL;
        if (trigger != NULL && !trigger->wait) {
            flight->trigger = NULL;
            answer_trigger(trigger, recorded, NULL);
        }
    }
    if (!ok && flight != NULL) {
        answer_all(flight, NULL, &step->write.err);
    }
    if (!ok && step->write.err.kind != ERROR_STALE && step->write.err.kind != ERROR_NOT_FOUND &&
        step->write.err.kind != ERROR_CONFLICT) {
        log_event(level_of(&step->write.err), "record_failed", LOG_FAILURE(&step->write.err));
    }
    plan_recorded(&scheduler->plan, record, ok ? ERROR_NONE : step->write.err.kind, scheduler->now);
    record_step_free(step);
}

static void handle_started(struct scheduler *scheduler, struct flight *flight) {
    scheduler->writes_out--;
    if (flight->write.ok) {
        flight->parameters = flight->write.out_parameters;
        flight->write.out_parameters = NULL;
    } else if (flight->write.err.kind != ERROR_STALE) {
        log_event(level_of(&flight->write.err), "start_failed", LOG_FAILURE(&flight->write.err));
    }
    if (!flight->write.ok && flight->write.err.kind == ERROR_NOT_FOUND) {
        answer_all(flight, NULL, &flight->write.err); /* it ends without an outcome */
    }
    plan_started(&scheduler->plan, &flight->execution,
                 flight->write.ok ? ERROR_NONE : flight->write.err.kind, scheduler->now);
}

static void handle_ran(struct scheduler *scheduler, struct flight *flight) {
    free(flight->parameters); /* the outcome may have to wait for the disk */
    flight->parameters = NULL;
    bool succeeded = flight->job.status == EXECUTION_SUCCEEDED;
    plan_finished(&scheduler->plan, &flight->execution, flight->job.status,
                  succeeded ? NULL : &flight->job.err, flight->job.duration, scheduler->now);
}

/* The execution is settled in the store: whoever waits is answered, and the flight ends. */
static void settle_flight(struct scheduler *scheduler, struct flight *flight) {
    flight_log_outcome(flight, store_tag(scheduler->options.store));
    answer_all(flight, &flight->outcome, NULL);
    flight_free(flight);
}

static void handle_finished(struct scheduler *scheduler, struct flight *flight) {
    scheduler->writes_out--;
    struct flight *retry = flight->retry;
    if (!flight->write.ok && flight->write.err.kind != ERROR_NOT_FOUND) {
        log_event(level_of(&flight->write.err), "outcome_not_written",
                  LOG_FAILURE(&flight->write.err));
        if (flight->write.err.kind == ERROR_INTERNAL) {
            flight_drop_result(flight); /* it never will be as it is */
        }
        list_append(&scheduler->unwritten, &flight->node);
        scheduler->write_again_at = wall_time_add(scheduler->now, PLAN_STORE_PAUSE);
        return;
    }
    bool is_recorded = flight->write.ok;
    struct error err = flight->write.err;
    settle_flight(scheduler, flight);
    if (retry != NULL && is_recorded) {
        plan_retry_recorded(&scheduler->plan, &retry->execution, scheduler->now);
    } else if (retry != NULL) {
        answer_all(retry, NULL, &err);
        plan_drop(&scheduler->plan, &retry->execution, scheduler->now);
    }
}

static void write_outcomes_again(struct scheduler *scheduler) {
    if (list_is_empty(&scheduler->unwritten)) {
        return; /* and there is no time at which */
    }
    int64_t left_us = scheduler->write_again_at.us - scheduler->now.us;
    if (left_us > 0 && left_us <= PLAN_STORE_PAUSE.us) { /* more: the clock went back */
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
    case LETTER_CANCEL:
        handle_cancel(scheduler, CONTAINER_OF(letter, struct scheduler_cancel, letter));
        break;
    case LETTER_PUT_BACKFILL: {
        struct backfill_letter *put = CONTAINER_OF(letter, struct backfill_letter, letter);
        plan_put_backfill(&scheduler->plan, &put->backfill, put->entry);
        free(put);
        break;
    }
    case LETTER_CANCEL_BACKFILL: {
        struct backfill_letter *cancel = CONTAINER_OF(letter, struct backfill_letter, letter);
        plan_cancel_backfill(&scheduler->plan, cancel->backfill.run_key, cancel->backfill.key,
                             scheduler->now);
        free(cancel);
        break;
    }
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

static void handle_mail(struct scheduler *scheduler, struct letter *letters) {
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
        plan_clock_stepped(&scheduler->plan, step_us, wall);
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
    if (plan_running_count(&scheduler->plan) == 0 && scheduler->writes_out == 0 &&
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
        log_hold();
        mailbox_hold();
        /* What came before the clock was read is handled at a time that is not before it came. */
        clear_timer(scheduler);
        struct letter *letters = mailbox_take_all(&scheduler->mailbox);
        read_clocks(scheduler);
        handle_mail(scheduler, letters);
        write_outcomes_again(scheduler);
        plan_tick(&scheduler->plan, scheduler->now);
        arm_timer(scheduler);
        mailbox_release();
        log_release();
        if (is_drained(scheduler, &timeout_ms)) {
            break;
        }
        struct pollfd wanted[] = {
            {.fd = mailbox_fd(&scheduler->mailbox), .events = POLLIN},
            {.fd = scheduler->timer_fd, .events = POLLIN},
        };
        poll(wanted, COUNT_OF(wanted), timeout_ms);
    }
    log_end_thread();
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
    struct plan_options limits = {
        .running_maximum = options->running_maximum,
        .running_per_owner_maximum = options->running_per_owner_maximum,
    };
    struct plan_effects effects = scheduler_effects(scheduler);
    plan_init(&scheduler->plan, &limits, &effects);
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
    struct wall_time since = {MAX_OF(run->settled_until.us, run->created_at.us)};
    plan_correct_next_slot(&scheduler->plan, run->key, since);
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
    flight->execution.backfill_key = left->backfill_key;
    flight->orphan_model_name = must_strdup(left->model_name);
    flight_remember(flight, left);
    struct error err;
    error_set(&err, ERROR_INTERRUPTED, "the scheduler stopped before this had ended");
    flight_fill_outcome(flight, EXECUTION_FAILED, &err, scheduler->now);
    write_outcome(scheduler, flight);
}

/* The run as it is stored, for one that the plan does not have (it is disabled); NULL where it is gone, or cannot be
 * compiled any more. */
static struct plan_entry *read_dormant(struct adoption *adoption, int64_t run_key) {
    struct plan_entry *dormant = NULL;
    struct arena arena = {0};
    struct run run;
    struct error err;
    bool ok = store_get_run(adoption->reader, run_key, &arena, &run, &err) &&
              plan_entry_new(&run, &dormant, &err);
    arena_fini(&arena);
    return ok ? dormant : NULL;
}

static void adopt_execution(const struct execution *left, void *context) {
    struct adoption *adoption = context;
    struct plan *plan = &adoption->scheduler->plan;
    struct plan_entry *dormant = NULL;
    if (!plan_has_run(plan, left->run_key)) {
        dormant = read_dormant(adoption, left->run_key);
        if (dormant == NULL) {
            end_orphan(adoption->scheduler, left);
            return;
        }
    }
    flight_remember(flight_of(plan_adopt(plan, dormant, left)), left);
}

static void adopt_backfill(const struct backfill *backfill, void *context) {
    struct adoption *adoption = context;
    struct plan *plan = &adoption->scheduler->plan;
    struct plan_entry *dormant = NULL;
    if (!plan_has_run(plan, backfill->run_key)) {
        dormant = read_dormant(adoption, backfill->run_key);
        if (dormant == NULL) {
            return;
        }
    }
    plan_put_backfill(plan, backfill, dormant);
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
                  store_load_backfills(reader, adopt_backfill, &adoption, err) &&
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
    scheduler_send(scheduler, &letter->letter, LETTER_PUT_RUN);
}

void scheduler_remove_run(struct scheduler *scheduler, int64_t run_key) {
    struct run_letter *letter = must_alloc_zeroed(1, sizeof *letter);
    letter->run_key = run_key;
    scheduler_send(scheduler, &letter->letter, LETTER_REMOVE_RUN);
}

void scheduler_zones_changed(struct scheduler *scheduler) {
    struct run_letter *letter = must_alloc_zeroed(1, sizeof *letter);
    scheduler_send(scheduler, &letter->letter, LETTER_ZONES);
}

void scheduler_trigger(struct scheduler *scheduler, struct scheduler_trigger *trigger) {
    scheduler_send(scheduler, &trigger->letter, LETTER_TRIGGER);
}

void scheduler_cancel(struct scheduler *scheduler, struct scheduler_cancel *cancel) {
    list_init(&cancel->node);
    scheduler_send(scheduler, &cancel->letter, LETTER_CANCEL);
}

void scheduler_put_backfill(struct scheduler *scheduler, const struct backfill *backfill,
                            struct plan_entry *entry) {
    struct backfill_letter *letter = must_alloc_zeroed(1, sizeof *letter);
    letter->backfill = *backfill;
    letter->entry = entry;
    scheduler_send(scheduler, &letter->letter, LETTER_PUT_BACKFILL);
}

void scheduler_cancel_backfill(struct scheduler *scheduler, int64_t run_key, int64_t backfill_key) {
    struct backfill_letter *letter = must_alloc_zeroed(1, sizeof *letter);
    letter->backfill.key = backfill_key;
    letter->backfill.run_key = run_key;
    scheduler_send(scheduler, &letter->letter, LETTER_CANCEL_BACKFILL);
}

void scheduler_stop(struct scheduler *scheduler) {
    if (!scheduler->started) {
        return;
    }
    scheduler_send(scheduler, &scheduler->stop_letter, LETTER_STOP);
    pthread_join(scheduler->thread, NULL);
    scheduler->started = false;
}

/* A letter that came after the thread had ended: only its memory matters, and whoever waits for an answer. */
static void discard_letter(struct scheduler *scheduler, struct scheduler_letter *letter) {
    struct error err;
    error_set(&err, ERROR_UNAVAILABLE, "the server is shutting down");
    switch ((enum letter_kind)letter->kind) {
    case LETTER_PUT_RUN:
    case LETTER_REMOVE_RUN:
    case LETTER_ZONES: {
        struct run_letter *of_run = CONTAINER_OF(letter, struct run_letter, letter);
        plan_entry_free(of_run->entry);
        free(of_run);
        break;
    }
    case LETTER_PUT_BACKFILL:
    case LETTER_CANCEL_BACKFILL: {
        struct backfill_letter *of_backfill = CONTAINER_OF(letter, struct backfill_letter, letter);
        plan_entry_free(of_backfill->entry);
        free(of_backfill);
        break;
    }
    case LETTER_TRIGGER: {
        struct scheduler_trigger *trigger = CONTAINER_OF(letter, struct scheduler_trigger, letter);
        plan_entry_free(trigger->entry);
        answer_trigger(trigger, NULL, &err);
        break;
    }
    case LETTER_CANCEL:
        answer_cancel(CONTAINER_OF(letter, struct scheduler_cancel, letter), NULL, &err);
        break;
    case LETTER_RECORDED: {
        struct record_step *step = CONTAINER_OF(letter, struct record_step, letter);
        plan_record_free(&scheduler->plan, step->record);
        record_step_free(step);
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
        discard_letter(scheduler, CONTAINER_OF(letters, struct scheduler_letter, letter));
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
