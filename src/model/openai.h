/* What an OpenAI-compatible server is asked: the body of a request for a chat completion or for embeddings, made of the
 * model's settings and a run's parameters.
 *
 * Parameters are an object, or null:
 *   model       the model's name at the server                         model.json's `model`
 *   prompt      a template: {{name}} is replaced by that variable      model.json's `prompt`
 *   system      a template, the message before it                      model.json's `system`
 *   variables   an object; a string is put in as it stands, anything else as JSON
 *   messages    in the place of prompt and system, sent as they are
 *   input       of embeddings: what is to be embedded, sent as it is
 * and whatever else is among them is sent on: temperature, max_tokens, response_format, dimensions, …, before model.json's
 * `options`. The variables scheduled_for, execution_id and run_id are there without being given.
 *
 * What does not fit fails with ERROR_INVALID_PARAMETERS, field "parameters". Pure; any thread. */
#ifndef ORRERY_MODEL_OPENAI_H
#define ORRERY_MODEL_OPENAI_H

#include "base/text.h"
#include "model/repository.h"

#include <yyjson.h>

/* Of the execution; NULL is put in as nothing. */
struct openai_origin {
    const char *scheduled_for;
    const char *execution_id;
    const char *run_id;
};

/* The longest body, and so the longest a template may become. */
#define OPENAI_BODY_BYTES_MAXIMUM ((size_t)64 << 20)

/* Appends the body; to NULL: only checks. Numbers keep all their digits where the parameters were read with
 * YYJSON_READ_NUMBER_AS_RAW. */
MUST_CHECK bool openai_append_body(const struct model *model, yyjson_val *parameters,
                                   const struct openai_origin *origin, struct text *out,
                                   struct error *err);

#endif
