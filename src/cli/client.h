/* For commands that speak to a running orrery: one HTTP request. libcurl is opened only here and only then
 * (dlopen), because the daemon, which is the same program, stays small without it. */
#ifndef ORRERY_CLI_CLIENT_H
#define ORRERY_CLI_CLIENT_H

#include "base/error.h"
#include "base/text.h"

struct client_options {
    const char *server; /* NULL: ORRERY_URL, else http://127.0.0.1:8080 */
    const char *key;    /* NULL: ORRERY_API_KEY */
};

/* GETs the path, which is taken as it is (client_escape for what goes into it). True for an answer with 2xx, whose
 * body is in `out_body`. False with the server's own message, or with what kept it from being reached. */
MUST_CHECK bool client_get(const struct client_options *options, const char *path,
                           struct text *out_body, struct error *err);

/* Appends the string, percent-encoded but for the unreserved characters (RFC 3986 section 2.3). */
void client_escape(const char *string, struct text *out);

#endif
