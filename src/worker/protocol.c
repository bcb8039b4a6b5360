#include "worker/protocol.h"

#include <string.h>

#define FRAME_MAGIC UINT32_C(0x3159524f) /* "ORY1" */

struct frame_header {
    uint32_t magic;
    uint16_t type;
    uint8_t has_digest;
    uint8_t body_is_shared;
    uint64_t id;
    uint32_t kind;
    uint32_t version;
    uint32_t name_bytes;
    uint32_t path_bytes;
    uint32_t options_bytes;
    uint32_t reserved; /* 0 */
    uint64_t body_bytes;
    unsigned char digest[MODEL_DIGEST_BYTES];
};
_Static_assert(sizeof(struct frame_header) == 48 + MODEL_DIGEST_BYTES, "no padding goes out");

static size_t length_of(const char *string) { return string == NULL ? 0 : strlen(string); }

void frame_append(struct text *out, const struct frame *frame) {
    struct frame_header header = {
        .magic = FRAME_MAGIC,
        .type = (uint16_t)frame->type,
        .has_digest = frame->has_digest,
        .body_is_shared = frame->body_is_shared,
        .id = frame->id,
        .kind = (uint32_t)frame->kind,
        .version = frame->version,
        .name_bytes = (uint32_t)length_of(frame->name),
        .path_bytes = (uint32_t)length_of(frame->path),
        .options_bytes = (uint32_t)length_of(frame->options),
        .body_bytes = frame->body_bytes,
    };
    memcpy(header.digest, frame->digest, sizeof header.digest);
    text_append_bytes(out, &header, sizeof header);
    /* Each string goes with a NUL, so that it can be used where it lies. */
    text_append_bytes(out, frame->name == NULL ? "" : frame->name, header.name_bytes + (size_t)1);
    text_append_bytes(out, frame->path == NULL ? "" : frame->path, header.path_bytes + (size_t)1);
    text_append_bytes(out, frame->options == NULL ? "" : frame->options,
                      header.options_bytes + (size_t)1);
    if (!frame->body_is_shared) {
        text_append_bytes(out, frame->body, frame->body_bytes);
    }
    text_append_char(out, '\0');
}

static bool is_plausible(const struct frame_header *header, struct error *err) {
    if (header->magic != FRAME_MAGIC) {
        return error_set(err, ERROR_WORKER_CRASHED, "the worker sent what is no frame");
    }
    if (header->type < FRAME_PROBE || header->type > FRAME_REPLY || header->kind > ERROR_USAGE ||
        header->has_digest > 1 || header->body_is_shared > 1) {
        return error_set(err, ERROR_WORKER_CRASHED, "the worker sent a frame of an unknown kind");
    }
    if (header->name_bytes > FRAME_NAME_BYTES_MAXIMUM ||
        header->path_bytes > FRAME_PATH_BYTES_MAXIMUM ||
        header->options_bytes > FRAME_OPTIONS_BYTES_MAXIMUM || header->reserved != 0 ||
        header->body_bytes > FRAME_BODY_BYTES_MAXIMUM) {
        return error_set(err, ERROR_WORKER_CRASHED, "the worker sent a frame that is too large");
    }
    return true;
}

enum frame_progress frame_read(const char *bytes, size_t size_bytes, struct frame *out_frame,
                               size_t *out_taken_bytes, struct error *err) {
    struct frame_header header;
    if (size_bytes < sizeof header) {
        return FRAME_INCOMPLETE;
    }
    memcpy(&header, bytes, sizeof header);
    if (!is_plausible(&header, err)) {
        return FRAME_BROKEN;
    }
    size_t name_at = sizeof header;
    size_t path_at = name_at + header.name_bytes + 1;
    size_t options_at = path_at + header.path_bytes + 1;
    size_t body_at = options_at + header.options_bytes + 1;
    size_t end = body_at + (header.body_is_shared ? 0 : (size_t)header.body_bytes) + 1;
    if (size_bytes < end) {
        return FRAME_INCOMPLETE;
    }
    if (strnlen(bytes + name_at, header.name_bytes + (size_t)1) != header.name_bytes ||
        strnlen(bytes + path_at, header.path_bytes + (size_t)1) != header.path_bytes ||
        strnlen(bytes + options_at, header.options_bytes + (size_t)1) != header.options_bytes ||
        bytes[end - 1] != '\0') {
        error_set(err, ERROR_WORKER_CRASHED, "the worker sent a frame with a broken string");
        return FRAME_BROKEN;
    }
    *out_frame = (struct frame){
        .type = (enum frame_type)header.type,
        .id = header.id,
        .kind = (enum error_kind)header.kind,
        .version = header.version,
        .name = bytes + name_at,
        .path = bytes + path_at,
        .options = bytes + options_at,
        .body = header.body_is_shared ? NULL : bytes + body_at,
        .body_bytes = (size_t)header.body_bytes,
        .body_is_shared = header.body_is_shared != 0,
        .has_digest = header.has_digest != 0,
    };
    memcpy(out_frame->digest, header.digest, sizeof out_frame->digest);
    *out_taken_bytes = end;
    return FRAME_COMPLETE;
}
