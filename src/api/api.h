/* The HTTP API: routes, credentials, decoding and encoding of the contract's JSON. It asks the domain and decides
 * nothing of its own.
 *
 * api_handle runs on the HTTP threads. Reads are answered there and then, from a store reader of the thread's
 * own. Writes are letters: the request is deferred, and comes back to its HTTP thread when the store, the
 * scheduler or the dispatcher is done with it (http_continue), so the other threads never encode an answer. */
#ifndef ORRERY_API_API_H
#define ORRERY_API_API_H

#include "auth/token.h"
#include "base/identity.h"
#include "clock/clock.h"
#include "dispatch/dispatch.h"
#include "http/http.h"
#include "model/repository.h"
#include "schedule/scheduler.h"
#include "store/store.h"

struct api;

/* All are borrowed and outlive the api. */
struct api_options {
    struct store *store;
    struct scheduler *scheduler;
    struct dispatcher *dispatcher;
    struct model_repository *repository;
    struct identity_source *run_keys;
    struct identity_source *execution_keys;
    const struct clock *clock;
    const struct token_verifier *tokens; /* NULL: API keys only */
    uint32_t rate_limit;                 /* requests a second and principal; 0: no limit */
};

MUST_CHECK bool api_new(const struct api_options *options, struct api **out_api, struct error *err);
/* After http_server_free, before store_close. NULL is accepted. */
void api_free(struct api *api);

/* While it is starting or draining, everything under /api/ is answered with 503. It begins with API_STARTING. Any
 * thread. */
enum api_state { API_STARTING, API_READY, API_DRAINING };
void api_set_state(struct api *api, enum api_state state);

/* While it is draining: waits until no prediction is under way any more, until the deadline (clock_system's) at most. */
void api_wait_for_predictions(struct api *api, struct monotonic_time deadline);

/* For struct http_options; the context is the api. */
void api_handle(struct http_request *request, void *api);
void api_refuse(struct http_request *request, const struct error *err, void *api);
/* One line in the log: method, path, status, duration, owner. Reads that went well are logged as debug, all else
 * as info. */
void api_answered(struct http_request *request, int status, void *context);

#endif
