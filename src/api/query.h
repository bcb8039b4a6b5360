/* Query parameters, the pages of a list, and the values of a few header fields. Pure, but for the request that
 * the query is read from. */
#ifndef ORRERY_API_QUERY_H
#define ORRERY_API_QUERY_H

#include "base/text.h"
#include "clock/time.h"
#include "http/http.h"

struct query_parameter {
    const char *name;
    const char *value; /* NULL: absent */
};

/* Fills the values. ERROR_INVALID with the parameter as the field if there is one that is not in the list, or
 * one comes twice. */
MUST_CHECK bool query_read(struct http_request *request, struct query_parameter *parameters,
                           size_t count, struct error *err);

/* A whole number in [minimum, maximum]; the default if absent. */
MUST_CHECK bool query_number(const struct query_parameter *parameter, uint64_t default_number,
                             uint64_t minimum, uint64_t maximum, uint64_t *out, struct error *err);

/* An RFC 3339 time; NONE if absent. A space in the place of the offset's sign is taken as the '+' that it was
 * before somebody forgot to encode it. */
MUST_CHECK bool query_time(const struct query_parameter *parameter, struct arena *arena,
                           struct wall_time *out, struct error *err);

/* One link of RFC 8288: `</path?a=1&b=2>; rel="next"`, after ", " if the text is not empty. Absent parameters are
 * left out. */
void link_append(struct text *links, const char *path, const struct query_parameter *parameters,
                 size_t count, const char *relation);

/* If-Match (RFC 9110 section 13.1.1). */
enum { IF_MATCH_MAXIMUM = 32 };
struct if_match {
    bool is_present;
    bool any; /* "*" */
    uint64_t revisions[IF_MATCH_MAXIMUM];
    size_t count;
};
/* `value` NULL: absent. Weak tags and those that this server never gives match nothing. ERROR_MALFORMED if it is
 * neither "*" nor a list of tags. */
MUST_CHECK bool if_match_parse(const char *value, struct if_match *out, struct error *err);
bool if_match_holds(const struct if_match *if_match, uint64_t revision);

/* Whether Prefer (RFC 7240) has this preference; `value` may be NULL. */
bool prefer_has(const char *value, const char *preference);

/* Whether this Content-Type is JSON: application/json or …+json, with any parameters. */
bool media_type_is_json(const char *value);

#endif
