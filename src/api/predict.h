/* For neighbours in api/: one question to a model without a schedule, as POST /api/models/{name}/predict and the Open
 * Inference Protocol ask it. */
#ifndef ORRERY_API_PREDICT_H
#define ORRERY_API_PREDICT_H

#include "api/call.h"

struct prediction {
    struct dispatch_job job;
    struct call *call;
    /* On the call's HTTP thread, with the result in `job` (it goes with the request); NULL: the result is the answer. */
    void (*answer)(struct prediction *prediction);
    int parameters_file; /* see dispatch_job */
    const char *id;      /* of the request, as it was written; NULL: none. For `answer` */
};

struct question {
    const char *model_name;
    uint32_t version;       /* 0: the one that serves */
    yyjson_val *parameters; /* of the body; NULL: none */
    const char *text;       /* the same as text; lives as long as the request */
    size_t text_bytes;
};

/* Finds the model, checks the parameters against it, and gives the call away to the dispatcher. The prediction, zeroed
 * but for what its sender wants, lies in the request's arena. ERROR_NOT_FOUND for an unknown model. */
MUST_CHECK bool predict_begin(struct prediction *prediction, struct call *call,
                              const struct question *question, struct error *err);

/* Gives the call away with a question to the server that has the model (dispatch_job.asks_server); `answer` gets what came
 * of it. The snapshot's reference is taken over, also where it fails. */
MUST_CHECK bool predict_ask_server(struct prediction *prediction, struct call *call,
                                   const struct model_snapshot *snapshot, const struct model *model,
                                   struct error *err);
/* What came of it; the signature, NULL or a JSON object, lies in the document, which the caller frees. */
struct server_state {
    yyjson_doc *document;
    bool ready;
    yyjson_val *reason; /* a string, or null */
    yyjson_val *signature;
};
struct server_state predict_server_state(const struct prediction *prediction);

/* ERROR_NOT_FOUND: there is no such model. */
bool predict_no_model(const char *name, struct error *err);

#endif
