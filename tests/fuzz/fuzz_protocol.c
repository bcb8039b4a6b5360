/* The frames between daemon and worker: whatever a worker that has lost its mind may send. */
#include "worker/protocol.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t at = 0;
    struct frame frame;
    size_t taken_bytes;
    struct error err;
    while (frame_read((const char *)data + at, size - at, &frame, &taken_bytes, &err) ==
           FRAME_COMPLETE) {
        ASSERT(taken_bytes > 0 && taken_bytes <= size - at);
        ASSERT(strlen(frame.name) + strlen(frame.path) +
                   (frame.body_is_shared ? 0 : frame.body_bytes) <
               taken_bytes);
        /* What was read is written the same again. */
        struct text again;
        text_init(&again, size);
        frame_append(&again, &frame);
        ASSERT(text_ok(&again) && again.size_bytes == taken_bytes &&
               memcmp(text_string(&again), data + at, taken_bytes) == 0);
        text_fini(&again);
        at += taken_bytes;
    }
    return 0;
}
