/* What another server answers: two bytes of status, a JSON pointer up to the first NUL, the body. What is a result must be
 * JSON; of anything else an error shows a line of text, and never the secret that was sent. */
#include "remote/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

enum { ANSWER_BYTES_MAXIMUM = 1 << 20, STATUS_MAXIMUM = 1000 };

static void check_result(const struct text *body, const char *result, size_t result_bytes) {
    ASSERT(strlen(result) == result_bytes);
    yyjson_doc *document = yyjson_read(result, result_bytes, YYJSON_READ_NUMBER_AS_RAW);
    ASSERT(document != NULL && result_bytes <= body->size_bytes);
    yyjson_doc_free(document);
}

static void check_message(const struct error *err) {
    static const char *const begins[] = {"the model's server answered ",
                                         "what the model's server answered is not JSON: ",
                                         "what the model's server answered has nothing at '"};
    bool is_known = false;
    for (size_t i = 0; i < COUNT_OF(begins); i++) {
        is_known = is_known || strncmp(err->message, begins[i], strlen(begins[i])) == 0;
    }
    ASSERT(is_known && err->saved_errno == 0);
    ASSERT(err->kind == ERROR_MODEL_FAILED || err->kind == ERROR_MODEL_UNAVAILABLE);
}

static void check_shown(const char *message) {
    ASSERT(strstr(message, "k7/Q") == NULL && strstr(message, "k7\\/Q") == NULL);
    for (const char *at = message; *at != '\0';) {
        size_t length = utf8_sequence_bytes(at);
        ASSERT(length > 0 && (unsigned char)*at >= ' ' && *at != 0x7f);
        ASSERT((unsigned char)*at != 0xc2 || (unsigned char)at[1] >= 0xa0);
        at += length;
    }
}

/* What comes from the server: all of it, or what is behind the pointer. */
static const char *after_pointer(const char *message, const char *pointer) {
    char begin[256];
    int length = snprintf(begin, sizeof begin,
                          "what the model's server answered has nothing at '%.100s': ", pointer);
    ASSERT(length > 0 && (size_t)length < sizeof begin);
    return strncmp(message, begin, (size_t)length) == 0 ? message + length : message;
}

static void read_as(long status, const char *pointer, const uint8_t *bytes, size_t size_bytes) {
    static const uint16_t retryable[] = {429, 503};
    struct http_settings settings = {.result_pointer = pointer,
                                     .required_pointer = "",
                                     .retryable_statuses = retryable,
                                     .retryable_status_count = COUNT_OF(retryable)};
    struct secrets secrets;
    secrets_init(&secrets);
    text_append_bytes(&secrets.values, "k7/Q\0zz", 8);
    struct text body CLEANUP(text_fini);
    struct text answer CLEANUP(text_fini);
    text_init(&body, ANSWER_BYTES_MAXIMUM);
    text_init(&answer, ANSWER_BYTES_MAXIMUM);
    text_append_bytes(&body, bytes, size_bytes);
    text_append_bytes(&answer, bytes, size_bytes);
    char *result = NULL;
    size_t result_bytes = 0;
    struct error err = {.kind = ERROR_NONE};
    if (text_ok(&answer)) {
        if (answer_read(&settings, status, &answer, &secrets, &result, &result_bytes, &err)) {
            ASSERT(status >= 200 && status <= 299);
            check_result(&body, result, result_bytes);
        } else {
            ASSERT(result == NULL && result_bytes == 0);
            check_message(&err);
            check_shown(after_pointer(err.message, pointer));
        }
    }
    free(result);
    secrets_fini(&secrets);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    const uint8_t *pointer_end = size_bytes < 3 ? NULL : memchr(bytes + 2, '\0', size_bytes - 2);
    if (pointer_end == NULL) {
        return 0;
    }
    long status = (bytes[0] << 8 | bytes[1]) % STATUS_MAXIMUM;
    const char *pointer = (const char *)bytes + 2;
    /* As model.json may have it. */
    if (*pointer != '\0' && *pointer != '/') {
        return 0;
    }
    size_t used = (size_t)(pointer_end + 1 - bytes);
    read_as(status, pointer, bytes + used, size_bytes - used);
    return 0;
}
