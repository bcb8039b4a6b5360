/* For neighbours in api/: one call of the API, from the route to the answer. It lives in the request's arena. */
#ifndef ORRERY_API_CALL_H
#define ORRERY_API_CALL_H

#include "api/api.h"
#include "api/body.h"
#include "auth/auth.h"
#include "auth/rate_limit.h"

#include <pthread.h>

struct api {
    struct api_options options;
    uint64_t serial; /* tells this api from others that the thread may have served */
    _Atomic int state;
    struct rate_limiter *limiter; /* NULL: no limit */
    _Atomic uint32_t predictions; /* under way */
    struct body_budget bodies;
    pthread_mutex_t mutex; /* for the readers, and the end of the predictions */
    pthread_cond_t predictions_ended;
    struct store_reader **readers;
    size_t reader_count;
};

enum { CALL_ARGUMENTS_MAXIMUM = 2 };

struct route;

struct call {
    struct api *api;
    struct http_request *request;
    const struct route *route;                     /* NULL: none matched */
    const char *arguments[CALL_ARGUMENTS_MAXIMUM]; /* what stands at the pattern's {…} */
    struct principal principal;
    struct store_reader *reader; /* of this thread: not in what other threads do for the call */
    struct wall_time now;
    struct monotonic_time began;
};

static inline struct arena *call_arena(const struct call *call) { return &call->request->arena; }
static inline uint64_t call_store_tag(const struct call *call) {
    return store_tag(call->api->options.store);
}

/* Fills `reader`. */
MUST_CHECK bool call_find_reader(struct call *call, struct error *err);

/* On the call's HTTP thread, around a wait: what the call reads from the store is one moment's before, and another's
 * after. Pausing says whether there was anything to pause (a step that came later reads each thing by itself). */
bool call_pause_reading(void);
MUST_CHECK bool call_resume_reading(struct call *call, struct error *err);

/* One prediction less is under way. Any thread. */
void call_end_prediction(struct api *api);

/* The run that the path names, if the caller may see it: ERROR_NOT_FOUND otherwise, whatever the reason. */
MUST_CHECK bool call_get_run(struct call *call, struct run *out_run, struct error *err);

/* The body as a JSON object: ERROR_MEDIA_TYPE, or as body_parse. Ended with body_fini before the call is given away. */
MUST_CHECK bool call_read_body(struct call *call, struct body *out_body, struct error *err);

/* The execution with its strings copied to the request's arena. */
struct execution call_keep_execution(struct call *call, const struct execution *execution);
/* Answers with an execution. */
void call_answer_execution(struct call *call, int status, const struct execution *execution);

/* The call takes no query parameter. */
MUST_CHECK bool call_read_no_query(struct call *call, struct error *err);

/* Handlers: each answers or defers and returns true, or fills the error, which is then the answer. */
bool runs_create(struct call *call, struct error *err);
bool runs_list(struct call *call, struct error *err);
bool runs_get(struct call *call, struct error *err);
bool runs_update(struct call *call, struct error *err);
bool runs_delete(struct call *call, struct error *err);
bool runs_pause(struct call *call, struct error *err);
bool runs_resume(struct call *call, struct error *err);
bool runs_trigger(struct call *call, struct error *err);
bool runs_explain(struct call *call, struct error *err);
bool executions_list(struct call *call, struct error *err);
bool executions_get(struct call *call, struct error *err);
bool executions_cancel(struct call *call, struct error *err);
bool executions_count(struct call *call, struct error *err);
bool backfills_create(struct call *call, struct error *err);
bool backfills_list(struct call *call, struct error *err);
bool backfills_get(struct call *call, struct error *err);
bool backfills_cancel(struct call *call, struct error *err);
bool models_list(struct call *call, struct error *err);
bool models_get(struct call *call, struct error *err);
bool models_predict(struct call *call, struct error *err);
bool inference_server(struct call *call, struct error *err);
bool inference_live(struct call *call, struct error *err);
bool inference_ready(struct call *call, struct error *err);
bool inference_model(struct call *call, struct error *err);
bool inference_model_ready(struct call *call, struct error *err);
bool inference_infer(struct call *call, struct error *err);
bool schedule_preview(struct call *call, struct error *err);
bool health_alive(struct call *call, struct error *err);
bool health_ready(struct call *call, struct error *err);

#endif
