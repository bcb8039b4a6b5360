/* For neighbours in worker/: what model.json says of a session, told to ONNX Runtime. */
#ifndef ORRERY_WORKER_SESSION_OPTIONS_H
#define ORRERY_WORKER_SESSION_OPTIONS_H

#include "base/error.h"

#include <onnxruntime_c_api.h>

/* A copy of `base` with the options of a text as onnx_options.text (model/settings.h); the caller releases it. An execution
 * provider that the library lacks is an error that names those it has. ERROR_MODEL_UNAVAILABLE. */
MUST_CHECK bool session_options_new(const OrtApi *api, const OrtSessionOptions *base,
                                    const char *text, OrtSessionOptions **out_options,
                                    struct error *err);

#endif
