/* Whether bytes are one JSON value (RFC 8259), in UTF-8 (RFC 3629), found out in one pass and without memory of its own:
 * for documents that are only handed on, from whoever may make them large. Pure; any thread. */
#ifndef ORRERY_BASE_JSON_CHECK_H
#define ORRERY_BASE_JSON_CHECK_H

#include "base/error.h"

enum { JSON_DEPTH_MAXIMUM = 1024 };

/* White space around the value is allowed; lists and objects may lie in each other JSON_DEPTH_MAXIMUM deep.
 * ERROR_MALFORMED: what is wrong, and at which byte. */
MUST_CHECK bool json_check(const char *bytes, size_t size_bytes, struct error *err);

#endif
