#include "remote/answer.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

enum { SHOWN_BYTES = 200 };

/* What to show of the character at `at`: a secret is masked, what could do harm to a terminal or a log is a space. */
static size_t read_character(const char *at, size_t left, const struct secrets *secrets,
                             const char **out_shown, size_t *out_shown_bytes) {
    size_t length = secrets_match(secrets, at, left);
    if (length > 0) {
        *out_shown = SECRET_MASK;
        *out_shown_bytes = strlen(SECRET_MASK);
        return length;
    }
    const unsigned char *byte = (const unsigned char *)at;
    length = utf8_sequence_bytes(at);
    bool is_space =
        *byte <= ' ' || *byte == 0x7f || (*byte == 0xc2 && length == 2 && byte[1] < 0xa0);
    *out_shown = is_space ? " " : length == 0 ? "?" : at;
    *out_shown_bytes = is_space ? 1 : MAX_OF(length, (size_t)1);
    return MAX_OF(length, (size_t)1);
}

/* The beginning, in one line. */
static void show(const struct text *answer, const struct secrets *secrets,
                 char out[static SHOWN_BYTES + 1]) {
    const char *end = text_string(answer) + answer->size_bytes;
    size_t used = 0;
    for (const char *at = text_string(answer); at < end;) {
        const char *shown;
        size_t shown_bytes;
        at += read_character(at, (size_t)(end - at), secrets, &shown, &shown_bytes);
        if (used + shown_bytes > SHOWN_BYTES) {
            break;
        }
        if (*shown != ' ' || (used > 0 && out[used - 1] != ' ')) {
            memcpy(out + used, shown, shown_bytes);
            used += shown_bytes;
        }
    }
    out[used] = '\0';
}

bool answer_refuse(const struct http_settings *settings, long status, const struct text *answer,
                   const struct secrets *secrets, struct error *err) {
    char shown[SHOWN_BYTES + 1];
    show(answer, secrets, shown);
    bool may_retry = false;
    for (size_t i = 0; i < settings->retryable_status_count; i++) {
        may_retry = may_retry || settings->retryable_statuses[i] == status;
    }
    return error_set(err, may_retry ? ERROR_MODEL_UNAVAILABLE : ERROR_MODEL_FAILED,
                     "the model's server answered %ld%s%s", status, *shown == '\0' ? "" : ": ",
                     shown);
}

static bool lacks(const char *pointer, const struct text *answer, const struct secrets *secrets,
                  struct error *err) {
    char shown[SHOWN_BYTES + 1];
    show(answer, secrets, shown);
    return error_set(err, ERROR_MODEL_FAILED,
                     "what the model's server answered has nothing at '%.100s': %s", pointer,
                     shown);
}

static void free_document(yyjson_doc **document) { yyjson_doc_free(*document); }

bool answer_read(const struct http_settings *settings, long status, struct text *answer,
                 const struct secrets *secrets, char **out_result, size_t *out_result_bytes,
                 struct error *err) {
    if (status < 200 || status > 299) {
        return answer_refuse(settings, status, answer, secrets, err);
    }
    if (answer->size_bytes == 0) {
        return error_set(err, ERROR_MODEL_FAILED, "the model's server answered nothing");
    }
    yyjson_read_err reason;
    /* As they are written: numbers may have more digits than a double. */
    yyjson_doc *document CLEANUP(free_document) = yyjson_read_opts(
        answer->data, answer->size_bytes, YYJSON_READ_NUMBER_AS_RAW, NULL, &reason);
    if (document == NULL) {
        char shown[SHOWN_BYTES + 1];
        show(answer, secrets, shown);
        return error_set(err, ERROR_MODEL_FAILED,
                         "what the model's server answered is not JSON: %s at byte %zu: %s",
                         reason.msg, reason.pos + 1, shown);
    }
    yyjson_val *root = yyjson_doc_get_root(document);
    if (yyjson_ptr_get(root, settings->required_pointer) == NULL) {
        return lacks(settings->required_pointer, answer, secrets, err);
    }
    if (*settings->result_pointer == '\0') {
        *out_result_bytes = answer->size_bytes;
        *out_result = text_take(answer);
        return true;
    }
    yyjson_val *result = yyjson_ptr_get(root, settings->result_pointer);
    if (result == NULL) {
        return lacks(settings->result_pointer, answer, secrets, err);
    }
    *out_result = yyjson_val_write(result, YYJSON_WRITE_NOFLAG, out_result_bytes);
    ASSERT(*out_result != NULL);
    return true;
}
