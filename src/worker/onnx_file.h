/* What ONNX Runtime does not tell of a model, read from its file (protocol buffers, onnx.proto of ONNX 1.x). Pure;
 * any thread. */
#ifndef ORRERY_WORKER_ONNX_FILE_H
#define ORRERY_WORKER_ONNX_FILE_H

#include "base/base.h"

/* Whether the graph's input or output of this name is a tensor of which the file does not say the shape, so that it
 * may have any number of dimensions. ONNX Runtime reports such a one as a scalar. False for what is no ONNX file. */
bool onnx_file_lacks_shape(const char *bytes, size_t size_bytes, const char *name);

#endif
