/* What the daemon and a worker say to each other over their Unix stream socket: frames, a fixed header and then
 * name, path, options and body. Both ends are the same program on the same machine, so numbers are in its own byte
 * order; the magic number catches a worker of another build all the same.
 *
 *   daemon -> worker   FRAME_PROBE      which ONNX Runtime is it
 *                      FRAME_DESCRIBE   name, version, path, options: what is the model's signature; it is answered with
 *                                       {"engine": ONNX Runtime's version, "signature"}
 *                      FRAME_RUN        name, version, path, options, body (parameters as JSON): run it; the digest says
 *                                       which file the daemon found there, and a worker that has it need not look
 *   worker -> daemon   FRAME_REPLY      the request's id; kind ERROR_NONE and body (JSON) and the digest of
 *                                       the file, or the kind of error and its message in `name`
 *
 * A worker answers in the order in which it was asked. The daemon trusts a worker no further than to read its
 * frames: sizes have limits, and what is no frame ends the worker. Pure; any thread. */
#ifndef ORRERY_WORKER_PROTOCOL_H
#define ORRERY_WORKER_PROTOCOL_H

#include "base/text.h"
#include "run/run.h"

enum frame_type { FRAME_PROBE = 1, FRAME_DESCRIBE, FRAME_RUN, FRAME_REPLY };

enum {
    FRAME_NAME_BYTES_MAXIMUM = 4096,
    FRAME_PATH_BYTES_MAXIMUM = 4096,
    FRAME_OPTIONS_BYTES_MAXIMUM = 4096,
};
#define FRAME_BODY_BYTES_MAXIMUM ((size_t)1 << 30)

/* Strings are NUL-terminated and borrowed: from the caller when appended, from the buffer when read. */
struct frame {
    enum frame_type type;
    uint64_t id;
    enum error_kind kind; /* of a reply */
    uint32_t version;
    const char *name;
    const char *path;
    const char *options; /* of the model's session (onnx_options.text) */
    const char *body;
    size_t body_bytes;
    bool
        body_is_shared; /* the body is not in the frame but in a file that goes along (channel.h) */
    bool has_digest;
    unsigned char digest[MODEL_DIGEST_BYTES];
};

/* Appends the encoded frame, without a body that is shared; text_ok tells whether there was room. NULL strings are empty ones. */
void frame_append(struct text *out, const struct frame *frame);

enum frame_progress { FRAME_INCOMPLETE, FRAME_COMPLETE, FRAME_BROKEN };

/* Reads the frame at the start of the bytes. COMPLETE: `out_frame` and how many bytes it took. INCOMPLETE:
 * more bytes are needed. BROKEN: this is no frame, with the reason in `err`. The body of a frame whose body is shared is
 * NULL. */
enum frame_progress frame_read(const char *bytes, size_t size_bytes, struct frame *out_frame,
                               size_t *out_taken_bytes, struct error *err);

#endif
