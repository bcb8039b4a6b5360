/* For neighbours in remote/: what a server of the Open Inference Protocol says of a model ("model metadata" of the
 * protocol's REST form, version 2), and the requests that are made with it from parameters of another form than the
 * protocol's own (model/tensor.h).
 *
 * What was said is kept by the model's name, for as long as its model.json is the same and the server takes what is made
 * with it. One thread. */
#ifndef ORRERY_REMOTE_METADATA_H
#define ORRERY_REMOTE_METADATA_H

#include "base/text.h"
#include "dispatch/dispatch.h"
#include "model/signature.h"

struct metadata {
    struct metadata_entry *first;
};

void metadata_init(struct metadata *metadata);
void metadata_fini(struct metadata *metadata);
/* NULL: not known. Valid until the next call that keeps or forgets. */
const struct signature *metadata_find(struct metadata *metadata, const char *model_name,
                                      const unsigned char digest[static MODEL_DIGEST_BYTES]);
void metadata_keep(struct metadata *metadata, const char *model_name,
                   const unsigned char digest[static MODEL_DIGEST_BYTES],
                   const struct signature *signature);
void metadata_forget(struct metadata *metadata, const char *model_name);

/* Reads the server's answer; strings and arrays in the arena. ERROR_MODEL_FAILED: it is none, or one of the inputs has a
 * type that is not known here. */
MUST_CHECK bool metadata_read(const char *json, size_t size_bytes, struct arena *arena,
                              struct signature *out, struct error *err);

/* The result of a job that asks for its server (dispatch_job.asks_server), from malloc; `signature` may be NULL, and
 * `reason` where it is ready. */
char *metadata_format_state(bool is_ready, const char *reason, const struct signature *signature,
                            size_t *out_size_bytes);

/* Whether the job's parameters have the protocol's form already: an object with "inputs". */
bool metadata_is_request(const struct dispatch_job *job);

/* Appends the protocol's request that is made of parameters of another form. ERROR_INVALID_PARAMETERS: they do not fit
 * the signature. */
MUST_CHECK bool metadata_append_request(const struct signature *signature,
                                        const struct dispatch_job *job, struct text *out,
                                        struct error *err);

#endif
