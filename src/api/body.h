/* The body of a request as JSON: an object, of a bounded depth, in which no key comes twice and no string holds a
 * NUL. A number is kept as it was written (yyjson's raw values), so that a check of it here and its reading in a
 * worker cannot differ. */
#ifndef ORRERY_API_BODY_H
#define ORRERY_API_BODY_H

#include "base/arena.h"
#include "base/error.h"

#include <stdatomic.h>
#include <yyjson.h>

enum {
    BODY_DEPTH_MAXIMUM = 64,
    /* What the parsed form of one body may take: 16 bytes a value, and room for half as many again while it grows. It is
     * enough for 64 MB of numbers of two digits or more. */
    BODY_PARSED_BYTES_MAXIMUM = 512 << 20,
};

/* What all parsed bodies together may take. Any thread; zeroed but for the maximum it is valid. */
struct body_budget {
    _Atomic size_t used_bytes;
    size_t maximum_bytes; /* not less than BODY_PARSED_BYTES_MAXIMUM: each body has its turn */
};

struct body {
    const char *text;
    size_t size_bytes;
    yyjson_val *root; /* an object */
    yyjson_doc *doc;  /* owned, as the next */
    struct body_memory *memory;
};

/* Parses. ERROR_MALFORMED with the line and column for what is not JSON, ERROR_TOO_LARGE for too many values,
 * ERROR_UNAVAILABLE while other bodies use up the budget (NULL: there is none); else says what is the matter.
 * The text is borrowed by the body. */
MUST_CHECK bool body_parse(const char *text, size_t size_bytes, struct body_budget *budget,
                           struct body *out_body, struct error *err);

/* Gives the parsed form back: soon, for the budget is everybody's. What was decoded from it has copies. A zeroed body
 * is accepted. */
void body_fini(struct body *body);

/* A whole number without fraction and exponent that fits. */
MUST_CHECK bool body_integer(yyjson_val *value, uint64_t *out);

/* The text of the member with this key as it was written (so a number has all its digits), without white space
 * between the tokens. NULL if there is no such key. */
const char *body_member_text(const struct body *body, const char *key, struct arena *arena);

/* The same where it lies in the body's text, which is borrowed, as it is. */
const char *body_member_span(const struct body *body, const char *key, size_t *out_bytes);

#endif
