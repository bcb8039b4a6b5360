/* Results of commands: what json_check says is what yyjson says, which builds the whole document. */
#include "base/json_check.h"

#include <string.h>
#include <yyjson.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct error err;
    bool ok = json_check((const char *)bytes, size_bytes, &err);
    if (!ok && strstr(err.message, "too deeply") != NULL) {
        return 0;
    }
    /* Numbers as they are: what is too large for a double is no less JSON. */
    yyjson_doc *document = yyjson_read_opts((char *)(uintptr_t)bytes, size_bytes,
                                            YYJSON_READ_NUMBER_AS_RAW, NULL, NULL);
    ASSERT(ok == (document != NULL));
    yyjson_doc_free(document);
    return 0;
}
