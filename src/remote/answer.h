/* For neighbours in remote/: what another server's answer means. Pure. */
#ifndef ORRERY_REMOTE_ANSWER_H
#define ORRERY_REMOTE_ANSWER_H

#include "base/text.h"
#include "model/settings.h"
#include "remote/secret.h"

/* The result, from malloc, as JSON text. `answer` is emptied where it is the result itself. ERROR_MODEL_FAILED or, for a
 * status that may be retried, ERROR_MODEL_UNAVAILABLE. Of the answer the error has the beginning, at most 200 bytes, in
 * which control characters are spaces, what is not UTF-8 is "?", and each of `secrets` is "***". */
MUST_CHECK bool answer_read(const struct http_settings *settings, long status, struct text *answer,
                            const struct secrets *secrets, char **out_result,
                            size_t *out_result_bytes, struct error *err);

/* Fills the error for a status that is none of success, with the beginning of the answer. Returns false. */
bool answer_refuse(const struct http_settings *settings, long status, const struct text *answer,
                   const struct secrets *secrets, struct error *err);

#endif
