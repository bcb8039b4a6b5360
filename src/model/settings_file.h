/* model.json: what an operator says of a model. A JSON object:
 *
 *   backend          "onnx", the default
 *   max_concurrency  how many executions of the model may run at the same time, from 1; default no bound
 *   timeout          the longest an execution may take ("30s"); a run's own timeout can only be shorter
 *
 * and the keys of its backend. Of "onnx":
 *
 *   intra_threads        threads that one operator may use, from 1 to 256
 *   inter_threads        operators that may run side by side, from 1 to 256; default one after the other
 *   graph_optimization   "none", "basic", "extended" or "all", the default
 *   execution_providers  ONNX Runtime's names of them, the preferred first; its CPU's is always the last
 *
 * Anything else is an error that names the key, or the line and column. Pure; any thread. */
#ifndef ORRERY_MODEL_SETTINGS_FILE_H
#define ORRERY_MODEL_SETTINGS_FILE_H

#include "base/arena.h"
#include "base/error.h"
#include "model/settings.h"

enum { SETTINGS_FILE_BYTES_MAXIMUM = 65536 };

/* What holds without a model.json. */
struct model_settings model_settings_defaults(void);

/* What the settings point to is put into the arena. ERROR_INVALID, the message begins with "model.json". */
MUST_CHECK bool model_settings_parse(const char *text, size_t size_bytes, struct arena *arena,
                                     struct model_settings *out_settings, struct error *err);

#endif
