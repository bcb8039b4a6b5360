/* Parameters for a model of backend openai: model.json, a NUL, and the parameters. What is asked
 * of the server must be JSON. */
#include "model/openai.h"
#include "model/settings_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

static void ask(const struct model *model, const char *text, size_t text_bytes) {
    static const struct openai_origin origin = {"2027-01-01T00:00:00Z", "execution", NULL};
    yyjson_doc *parameters = yyjson_read_opts((char *)(uintptr_t)text, text_bytes,
                                              YYJSON_READ_NUMBER_AS_RAW, NULL, NULL);
    struct text body CLEANUP(text_fini);
    struct error err;
    text_init(&body, OPENAI_BODY_BYTES_MAXIMUM * 4);
    if (openai_append_body(model, yyjson_doc_get_root(parameters), &origin, &body, &err)) {
        yyjson_doc *asked = yyjson_read(text_string(&body), body.size_bytes, 0);
        ASSERT(yyjson_is_str(yyjson_obj_get(yyjson_doc_get_root(asked), "model")));
        yyjson_doc_free(asked);
    } else {
        ASSERT(err.kind == ERROR_INVALID_PARAMETERS && strcmp(err.field, "parameters") == 0);
    }
    yyjson_doc_free(parameters);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    const char *text = (const char *)bytes;
    const char *end = memchr(text, '\0', size_bytes);
    struct arena arena CLEANUP(arena_fini) = {0};
    struct model model = {.name = "fuzz"};
    struct error err;
    if (end != NULL &&
        model_settings_parse(text, (size_t)(end - text), &arena, &model.settings, &err) &&
        model.settings.backend == MODEL_BACKEND_OPENAI) {
        ask(&model, end + 1, size_bytes - (size_t)(end + 1 - text));
    }
    return 0;
}
