#include "schedule/scheduler_parts.h"

#include <string.h>
#include <sys/random.h>

/* --- executions ---------------------------------------------------------------------------------- */

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

static uint32_t concurrency(void *context, const char *model_name) {
    struct scheduler *scheduler = context;
    /* A model without a bound of its own leaves a worker to the others while it is slow. */
    uint32_t workers = scheduler->options.worker_count;
    uint32_t count = workers > 1 ? workers - 1 : 1;
    const struct model_snapshot *snapshot =
        model_repository_snapshot(scheduler->options.repository);
    const struct model *model = model_snapshot_find(snapshot, model_name);
    if (model != NULL && model->settings.max_concurrency != 0) {
        count = model->settings.backend == MODEL_BACKEND_ONNX
                    ? MIN_OF(model->settings.max_concurrency, workers)
                    : model->settings.max_concurrency;
    }
    model_snapshot_unref(snapshot);
    return count;
}

static struct plan_execution *make_execution(void *context, void *waiter) {
    struct flight *flight = flight_new(context);
    struct scheduler_trigger *trigger = waiter;
    flight->trigger = trigger;
    if (trigger != NULL && trigger->correlation_id != NULL) {
        flight->correlation_id = must_strdup(trigger->correlation_id);
    }
    return &flight->execution;
}

static void free_execution(void *context, struct plan_execution *execution) {
    (void)context;
    abandon_flight(flight_of(execution));
}

/* --- answers -------------------------------------------------------------------------------------- */

void answer_trigger(struct scheduler_trigger *trigger, const struct execution *execution,
                    const struct error *err) {
    trigger->ok = execution != NULL;
    if (execution != NULL) {
        trigger->execution = *execution;
    } else {
        trigger->err = *err;
    }
    trigger->done(trigger);
}

void answer_cancel(struct scheduler_cancel *cancel, const struct execution *execution,
                   const struct error *err) {
    cancel->ok = execution != NULL;
    if (execution != NULL) {
        cancel->execution = *execution;
    } else {
        cancel->err = *err;
    }
    cancel->done(cancel);
}

void answer_all(struct flight *flight, const struct execution *execution, const struct error *err) {
    struct list_node *node;
    while ((node = list_take_first(&flight->cancels)) != NULL) {
        answer_cancel(CONTAINER_OF(node, struct scheduler_cancel, node), execution, err);
    }
    if (flight->trigger != NULL) {
        struct scheduler_trigger *trigger = flight->trigger;
        flight->trigger = NULL;
        answer_trigger(trigger, execution, err);
    }
}

void abandon_flight(struct flight *flight) {
    struct error err;
    error_set(&err, ERROR_UNAVAILABLE,
              "the server is shutting down; what became of this is in the history");
    answer_all(flight, NULL, &err);
    flight_free(flight);
}

/* --- records ------------------------------------------------------------------------------------- */

static void on_record_written(struct store_write *write) {
    struct record_step *step = CONTAINER_OF(write, struct record_step, write);
    scheduler_send(step->scheduler, &step->letter, LETTER_RECORDED);
}

static void record_effect(void *context, struct plan_record *record) {
    struct scheduler *scheduler = context;
    struct record_step *step = must_alloc_zeroed(1, sizeof *step);
    step->scheduler = scheduler;
    step->record = record;
    step->store_record = (struct store_record){
        .execution_count = record->execution_count,
        .advances = record->advances,
        .next_run = record->next_run,
        .settled_until = record->last_slot,
        .disables = record->disables,
        .backfill_key = record->backfill_key,
        .backfill_next = record->backfill_next,
    };
    memcpy(step->store_record.executions, record->executions, sizeof record->executions);
    if (record->execution != NULL) {
        struct flight *flight = flight_of(record->execution);
        flight_remember(flight, &record->executions[record->execution_count - 1]);
        step->store_record.parameters =
            flight->trigger == NULL ? NULL : flight->trigger->parameters;
    }
    step->write = (struct store_write){
        .kind = STORE_RECORD,
        .done = on_record_written,
        .run_key = record->run_key,
        .expected_revision = record->revision,
        .record = &step->store_record,
    };
    scheduler->writes_out++;
    store_submit(scheduler->options.store, &step->write);
}

void record_step_free(struct record_step *step) {
    free(step->write.out_parameters);
    free(step);
}

static void on_start_written(struct store_write *write) {
    struct flight *flight = CONTAINER_OF(write, struct flight, write);
    scheduler_send(flight->scheduler, &flight->letter, LETTER_STARTED);
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

/* --- the dispatcher ------------------------------------------------------------------------------- */

static void on_job_done(struct dispatch_job *job) {
    struct flight *flight = CONTAINER_OF(job, struct flight, job);
    scheduler_send(flight->scheduler, &flight->letter, LETTER_RAN);
}

static void dispatch_effect(void *context, struct plan_execution *execution) {
    struct scheduler *scheduler = context;
    struct flight *flight = flight_of(execution);
    const struct plan_terms *terms = execution->terms;
    flight->job = (struct dispatch_job){
        .model_name = terms->model_name,
        .model_version = terms->model_version,
        .parameters = flight->parameters,
        .parameters_bytes = strlen(flight->parameters),
        .timeout = terms->timeout,
        .execution_key = execution->key,
        .origin = {.run_key = flight->run_key,
                   .store_tag = store_tag(scheduler->options.store),
                   .scheduled_for = execution->slot,
                   .attempt = execution->attempt},
        .done = on_job_done,
        .started_at = WALL_TIME_NONE,
    };
    dispatcher_submit(scheduler->options.dispatcher, &flight->job);
}

static void cancel_effect(void *context, struct plan_execution *execution) {
    struct scheduler *scheduler = context;
    dispatcher_cancel(scheduler->options.dispatcher, execution->key);
}

/* --- outcomes ------------------------------------------------------------------------------------- */

static void on_outcome_written(struct store_write *write) {
    struct flight *flight = CONTAINER_OF(write, struct flight, write);
    scheduler_send(flight->scheduler, &flight->letter, LETTER_FINISHED);
}

void write_outcome(struct scheduler *scheduler, struct flight *flight) {
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
        *recorded = plan_describe_retry(retry, flight->run_key, scheduler->now);
        flight->retry_record.execution_count = 1;
        flight->retry_record.finished = &flight->outcome;
        flight_remember(flight->retry, recorded);
    }
    write_outcome(scheduler, flight);
}

struct plan_effects scheduler_effects(struct scheduler *scheduler) {
    return (struct plan_effects){
        .context = scheduler,
        .new_key = new_key,
        .random = random_bits,
        .concurrency = concurrency,
        .make_execution = make_execution,
        .free_execution = free_execution,
        .record = record_effect,
        .start = start_effect,
        .dispatch = dispatch_effect,
        .cancel = cancel_effect,
        .finish = finish_effect,
    };
}
