/* The body of a request as JSON: an object, of a bounded depth, in which no key comes twice and no string holds a
 * NUL. All of it lives in the arena. */
#ifndef ORRERY_API_BODY_H
#define ORRERY_API_BODY_H

#include "base/arena.h"
#include "base/error.h"

#include <yyjson.h>

enum {
    BODY_DEPTH_MAXIMUM = 64,
    /* What the parsed form of a body may take. */
    BODY_PARSED_BYTES_MAXIMUM = 1 << 30,
};

struct body {
    const char *text;
    size_t size_bytes;
    yyjson_val *root; /* an object */
};

/* Parses. ERROR_MALFORMED with the line and column for what is not JSON, else says what is the matter. The text
 * is borrowed by the body. */
MUST_CHECK bool body_parse(const char *text, size_t size_bytes, struct arena *arena,
                           struct body *out_body, struct error *err);

/* The text of the member with this key as it was written (so a number has all its digits), without white space
 * between the tokens. NULL if there is no such key. */
const char *body_member_text(const struct body *body, const char *key, struct arena *arena);

/* The whole text, likewise. */
const char *body_text(const struct body *body, struct arena *arena);

#endif
