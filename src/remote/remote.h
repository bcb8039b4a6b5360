/* The executor of models on other servers: backends http, openinference and openai (model/settings.h: struct http_settings).
 *
 * Each execution is one request, with the header fields Content-Type and Accept, unless the settings have them, and, where
 * there is a record of it, Idempotency-Key (the execution's id) and traceparent; connections are kept and used again,
 * HTTP/2 over TLS where the server speaks it, several executions on one. Redirects are not followed, no proxy is used,
 * certificates are verified. A secret that the server repeats in an error is masked.
 *
 *   2xx, and JSON with the result in it             succeeded
 *   another status                                  failed, with the beginning of the answer: ERROR_MODEL_UNAVAILABLE if
 *                                                   it is one of retryable_statuses, else ERROR_MODEL_FAILED
 *   no connection, or one that breaks, or TLS fails  failed, ERROR_MODEL_UNAVAILABLE
 *   no first byte within first_byte_timeout         failed, ERROR_MODEL_UNAVAILABLE
 *   no JSON, too large, no result in it             failed, ERROR_MODEL_FAILED
 *   not within the time limit                       timed out
 *
 * One thread, started with the first job, and with it libcurl opened; all transfers are in one multi handle. */
#ifndef ORRERY_REMOTE_REMOTE_H
#define ORRERY_REMOTE_REMOTE_H

#include "clock/clock.h"
#include "dispatch/executor.h"

struct dispatcher;
struct remote_executor;

struct remote_options {
    const char *secrets_folder; /* "": none */
    const struct clock *clock;
};

MUST_CHECK bool remote_executor_new(const struct remote_options *options,
                                    struct remote_executor **out_executor, struct error *err);
/* Before the first job. Both outlive the jobs. */
void remote_executor_set_dispatcher(struct remote_executor *executor,
                                    struct dispatcher *dispatcher);
struct executor *remote_executor_interface(struct remote_executor *executor);
/* After its `stop`. NULL is accepted. */
void remote_executor_free(struct remote_executor *executor);

#endif
