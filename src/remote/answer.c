#include "remote/answer.h"

#include "base/error.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

enum { SHOWN_BYTES = 200 };

/* The beginning, in one line, without what could do harm to a terminal or a log. */
static void show(const struct text *answer, char out[static SHOWN_BYTES + 1]) {
    size_t used = 0;
    for (size_t i = 0; i < answer->size_bytes && used < SHOWN_BYTES; i++) {
        unsigned char byte = (unsigned char)answer->data[i];
        bool is_space = byte <= ' ' || byte == 0x7f;
        if (!is_space) {
            out[used++] = (char)(byte < 0x80 ? byte : '?');
        } else if (used > 0 && out[used - 1] != ' ') {
            out[used++] = ' ';
        }
    }
    out[used] = '\0';
}

bool answer_refuse(const struct http_settings *settings, long status, const struct text *answer,
                   struct error *err) {
    char shown[SHOWN_BYTES + 1];
    show(answer, shown);
    bool may_retry = false;
    for (size_t i = 0; i < settings->retryable_status_count; i++) {
        may_retry = may_retry || settings->retryable_statuses[i] == status;
    }
    return error_set(err, may_retry ? ERROR_MODEL_UNAVAILABLE : ERROR_MODEL_FAILED,
                     "the model's server answered %ld%s%s", status, *shown == '\0' ? "" : ": ",
                     shown);
}

static bool lacks(const char *pointer, const struct text *answer, struct error *err) {
    char shown[SHOWN_BYTES + 1];
    show(answer, shown);
    return error_set(err, ERROR_MODEL_FAILED,
                     "what the model's server answered has nothing at '%.100s': %s", pointer,
                     shown);
}

static void free_document(yyjson_doc **document) { yyjson_doc_free(*document); }

bool answer_read(const struct http_settings *settings, long status, struct text *answer,
                 char **out_result, size_t *out_result_bytes, struct error *err) {
    if (status < 200 || status > 299) {
        return answer_refuse(settings, status, answer, err);
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
        show(answer, shown);
        return error_set(err, ERROR_MODEL_FAILED,
                         "what the model's server answered is not JSON: %s at byte %zu: %s",
                         reason.msg, reason.pos + 1, shown);
    }
    yyjson_val *root = yyjson_doc_get_root(document);
    if (yyjson_ptr_get(root, settings->required_pointer) == NULL) {
        return lacks(settings->required_pointer, answer, err);
    }
    if (*settings->result_pointer == '\0') {
        *out_result_bytes = answer->size_bytes;
        *out_result = text_take(answer);
        return true;
    }
    yyjson_val *result = yyjson_ptr_get(root, settings->result_pointer);
    if (result == NULL) {
        return lacks(settings->result_pointer, answer, err);
    }
    *out_result = yyjson_val_write(result, YYJSON_WRITE_NOFLAG, out_result_bytes);
    ASSERT(*out_result != NULL);
    return true;
}
