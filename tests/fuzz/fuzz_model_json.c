/* Files named model.json. What is accepted must be within bounds; what is not must be said. */
#include "model/settings_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct model_settings settings;
    struct error err;
    if (model_settings_parse((const char *)bytes, size_bytes, &settings, &err)) {
        ASSERT(strcmp(settings.backend, "onnx") == 0);
        ASSERT(settings.timeout.us >= 0);
    } else {
        ASSERT(err.kind == ERROR_INVALID && strncmp(err.message, "model.json: ", 12) == 0);
    }
    return 0;
}
