/* Files named model.onnx, as far as orrery itself reads them. */
#include "worker/onnx_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    (void)onnx_file_lacks_shape((const char *)bytes, size_bytes, "x");
    return 0;
}
