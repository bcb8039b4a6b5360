#include "schedule/scheduler_parts.h"

#include "observe/log.h"

#include <stdlib.h>
#include <string.h>

struct flight *flight_new(struct scheduler *scheduler) {
    struct flight *flight = must_alloc_zeroed(1, sizeof *flight);
    flight->scheduler = scheduler;
    flight->job.started_at = WALL_TIME_NONE;
    list_init(&flight->node);
    list_init(&flight->cancels);
    return flight;
}

void flight_free(struct flight *flight) {
    if (flight == NULL) {
        return;
    }
    dispatch_job_free_result(&flight->job);
    free(flight->write.out_parameters);
    free(flight->orphan_model_name);
    free(flight->parameters);
    free(flight->correlation_id);
    plan_execution_fini(&flight->scheduler->plan, &flight->execution);
    free(flight);
}

void flight_remember(struct flight *flight, const struct execution *recorded) {
    flight->run_key = recorded->run_key;
    flight->queued_at = recorded->queued_at;
}

void flight_fill_outcome(struct flight *flight, enum execution_status status,
                         const struct error *err, struct wall_time now) {
    const struct dispatch_job *job = &flight->job;
    bool ran = !wall_time_is_none(job->started_at);
    flight->outcome = (struct execution){
        .key = flight->execution.key,
        .run_key = flight->run_key,
        .model_name = flight->execution.terms == NULL ? flight->orphan_model_name
                                                      : flight->execution.terms->model_name,
        .model_version = job->used_version,
        .has_model_digest = job->used_version != 0,
        .trigger = flight->execution.trigger,
        .attempt = flight->execution.attempt,
        .status = status,
        .scheduled_for = flight->execution.slot,
        .queued_at = flight->queued_at,
        .started_at = job->started_at,
        .finished_at = ran ? job->finished_at : now,
        .duration = job->duration,
        .result = status == EXECUTION_SUCCEEDED ? job->result : NULL,
        .backfill_key = flight->execution.backfill_key,
        .missed_from = WALL_TIME_NONE,
        .missed_to = WALL_TIME_NONE,
        .not_before = WALL_TIME_NONE,
    };
    memcpy(flight->outcome.model_digest, job->used_digest, sizeof flight->outcome.model_digest);
    if (err != NULL) {
        flight->error = *err;
        flight->outcome.error_type = error_kind_wire_name(err->kind);
        flight->outcome.error_message = flight->error.message;
    }
}

void flight_drop_result(struct flight *flight) {
    if (flight->outcome.result == NULL) {
        return;
    }
    flight->outcome.result = NULL;
    flight->outcome.status = EXECUTION_FAILED;
    error_set(&flight->error, ERROR_TOO_LARGE, "the result of %zu bytes cannot be stored",
              flight->job.result_bytes);
    flight->outcome.error_type = error_kind_wire_name(flight->error.kind);
    flight->outcome.error_message = flight->error.message;
}

void flight_log_outcome(const struct flight *flight, uint64_t store_tag) {
    const struct execution *outcome = &flight->outcome;
    char execution_id[UUID_TEXT_BYTES];
    char run_id[UUID_TEXT_BYTES];
    identity_format(outcome->key, store_tag, execution_id);
    identity_format(outcome->run_key, store_tag, run_id);
    bool succeeded = outcome->status == EXECUTION_SUCCEEDED;
    bool started = !wall_time_is_none(outcome->started_at);
    log_event(
        succeeded ? LOG_INFO : LOG_WARNING, "execution_finished",
        LOG_STRING("execution_id", execution_id), LOG_STRING("run_id", run_id),
        LOG_STRING("model", outcome->model_name),
        LOG_STRING("trigger", execution_trigger_name(outcome->trigger)),
        LOG_INTEGER("attempt", outcome->attempt),
        LOG_STRING("status", execution_status_name(outcome->status)),
        LOG_INTEGER("late_us", started ? outcome->started_at.us - outcome->scheduled_for.us : 0),
        LOG_INTEGER("duration_us", outcome->duration.us), LOG_STRING("error", outcome->error_type),
        LOG_STRING("message", outcome->error_message),
        LOG_STRING("correlation_id", flight->correlation_id));
}
