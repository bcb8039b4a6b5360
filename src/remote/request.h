/* For neighbours in remote/: what is asked of another server, made of a job and its model's settings. Pure, but for the
 * files of secrets. */
#ifndef ORRERY_REMOTE_REQUEST_H
#define ORRERY_REMOTE_REQUEST_H

#include "base/text.h"
#include "dispatch/dispatch.h"
#include "remote/secret.h"

/* What one exchange with a server is for. Only servers of the Open Inference Protocol are asked for more than a run. */
enum request_kind {
    REQUEST_RUN,
    REQUEST_METADATA, /* what the model takes and gives: remote/metadata.h */
    REQUEST_READY,
};

/* Appends the body of a run by the model's backend. ERROR_INVALID_PARAMETERS: they do not fit it. */
MUST_CHECK bool request_make_body(const struct model *model, const struct dispatch_job *job,
                                  struct text *out, struct error *err);

/* Appends the body of backend http: the template in which each string "$parameters", "$scheduled_for", "$execution_id" and "$run_id" is
 * replaced by its value (null where the job has none). A member's name is no such string. */
void request_append_body(const char *template_text, const struct dispatch_job *job,
                         struct text *out);

/* The address; of backend openinference the protocol's (V2, for what it is asked), with what does not belong into a path escaped, and of
 * backend openai that of its task. */
void request_append_url(const struct model *model, enum request_kind kind, struct text *out);

/* A header field's value, in which each "${secret:NAME}" is replaced by that secret (remote/secret.h), which is added to
 * `secrets`. ERROR_MODEL_UNAVAILABLE: there is no such secret, or it cannot be sent. */
MUST_CHECK bool request_append_header_value(const char *value, const char *secrets_folder,
                                            struct text *out, struct secrets *secrets,
                                            struct error *err);

/* The header field `traceparent` (W3C Trace Context, level 1): the trace is the execution, the span its attempt. */
enum { TRACEPARENT_BYTES = 56 };
void request_format_traceparent(const struct dispatch_job *job, char out[static TRACEPARENT_BYTES]);

#endif
