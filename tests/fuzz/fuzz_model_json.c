/* Files named model.json. What is accepted must be within bounds; what is not must be said. */
#include "model/settings_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct model_settings settings;
    struct error err;
    struct arena arena CLEANUP(arena_fini) = {0};
    if (model_settings_parse((const char *)bytes, size_bytes, &arena, &settings, &err)) {
        ASSERT(settings.backend < MODEL_BACKEND_COUNT);
        ASSERT(settings.timeout.us >= 0);
    } else {
        ASSERT(err.kind == ERROR_INVALID && strncmp(err.message, "model.json: ", 12) == 0);
    }
    return 0;
}
