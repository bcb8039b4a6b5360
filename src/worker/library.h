/* For neighbours in worker/: finding and opening libonnxruntime. It stays open while the process lives. */
#ifndef ORRERY_WORKER_LIBRARY_H
#define ORRERY_WORKER_LIBRARY_H

#include "base/error.h"

#include <onnxruntime_c_api.h>

/* `path` NULL: beside the program, ../lib/orrery, ../lib/<architecture>/orrery, then the system's own way.
 * ERROR_MODEL_UNAVAILABLE with what to do. */
/* `out_folder` is the folder it was found in; the caller frees it. */
MUST_CHECK bool library_open(const char *path, const OrtApiBase **out_base, char **out_folder,
                             struct error *err);

#endif
