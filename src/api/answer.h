/* Answers: JSON bodies, the error body of the contract, and several problems at once. */
#ifndef ORRERY_API_ANSWER_H
#define ORRERY_API_ANSWER_H

#include "base/text.h"
#include "http/http.h"

/* What an answer's body may grow to. */
enum { ANSWER_BYTES_MAXIMUM = 1 << 30 };

/* An empty body with room for so many bytes, so that it seldom grows. */
void answer_begin(struct text *body, size_t expected_bytes);

/* Sends the body as JSON; takes the text over. */
void answer_json(struct http_request *request, int status, struct text *body);

/* Fills the error for an answer that http_reserve_answer does not let in. */
const struct error *answer_too_many(struct error *err);

/* All that is wrong with a body, up to a limit; further problems are dropped. */
enum { PROBLEMS_MAXIMUM = 32 };
struct problems {
    struct arena *arena;
    struct error *items; /* in the arena, made with the first */
    size_t count;
};

/* A place for one more: fill it. */
struct error *problems_add(struct problems *problems);
/* Whether one is about this field, or a part of it. */
bool problems_about(const struct problems *problems, const char *field);

/* Sends the first problem as the error and all of them as its details. */
void answer_problems(struct http_request *request, const struct problems *problems);

/* Sends the error, under /v2 in the Open Inference Protocol's form {"error": "…"}. What went wrong inside is logged, and
 * answered with a fixed sentence. */
void answer_error(struct http_request *request, const struct error *err);

/* Appends the error body. */
void answer_append_error(struct text *body, const struct error *errors, size_t count,
                         const char *correlation_id);

#endif
