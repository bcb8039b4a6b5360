#include "worker/protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct frame request = {.type = FRAME_RUN,
                                     .id = UINT64_C(0x123456789abcdef0),
                                     .version = 7,
                                     .name = "model",
                                     .path = "/models/model/7/model.onnx",
                                     .options = "{\"intra_threads\":2}",
                                     .body = "{\"data\": [\0 1]}",
                                     .body_bytes = 15};

static struct text encoded(const struct frame *frame) {
    struct text text;
    text_init(&text, 1 << 20);
    frame_append(&text, frame);
    assert_true(text_ok(&text));
    return text;
}

static void assert_same(const struct frame *a, const struct frame *b) {
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->version, b->version);
    assert_string_equal(a->name, b->name == NULL ? "" : b->name);
    assert_string_equal(a->path, b->path == NULL ? "" : b->path);
    assert_string_equal(a->options, b->options == NULL ? "" : b->options);
    assert_int_equal(a->body_bytes, b->body_bytes);
    assert_memory_equal(a->body, b->body == NULL ? "" : b->body, b->body_bytes);
    assert_int_equal(a->has_digest, b->has_digest);
    assert_memory_equal(a->digest, b->digest, sizeof a->digest);
}

static void a_frame_reads_back_as_it_was(void **state) {
    (void)state;
    struct frame reply = {.type = FRAME_REPLY,
                          .id = 1,
                          .kind = ERROR_MODEL_FAILED,
                          .name = "why",
                          .has_digest = true,
                          .digest = {1, 2, 3}};
    const struct frame *const frames[] = {&request, &reply};
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        struct text text = encoded(frames[i]);
        struct frame again;
        size_t taken_bytes;
        struct error err;
        assert_int_equal(frame_read(text.data, text.size_bytes, &again, &taken_bytes, &err),
                         FRAME_COMPLETE);
        assert_int_equal(taken_bytes, text.size_bytes);
        assert_same(&again, frames[i]);
        text_fini(&text);
    }
}

static void a_frame_that_is_cut_anywhere_is_incomplete(void **state) {
    (void)state;
    struct text text = encoded(&request);
    for (size_t size_bytes = 0; size_bytes < text.size_bytes; size_bytes++) {
        /* a copy of just that size, so that reading beyond it is noticed */
        char *cut = must_alloc(size_bytes);
        memcpy(cut, text.data, size_bytes);
        struct frame again;
        size_t taken_bytes;
        struct error err;
        assert_int_equal(frame_read(cut, size_bytes, &again, &taken_bytes, &err), FRAME_INCOMPLETE);
        free(cut);
    }
    text_fini(&text);
}

static void several_frames_in_one_buffer_are_read_one_by_one(void **state) {
    (void)state;
    struct text text;
    text_init(&text, 1 << 20);
    for (uint64_t id = 1; id <= 5; id++) {
        struct frame frame = request;
        frame.id = id;
        frame_append(&text, &frame);
    }
    size_t at = 0;
    for (uint64_t id = 1; id <= 5; id++) {
        struct frame again;
        size_t taken_bytes;
        struct error err;
        assert_int_equal(
            frame_read(text.data + at, text.size_bytes - at, &again, &taken_bytes, &err),
            FRAME_COMPLETE);
        assert_int_equal(again.id, id);
        at += taken_bytes;
    }
    assert_int_equal(at, text.size_bytes);
    text_fini(&text);
}

static void what_is_no_frame_is_refused_and_nothing_is_read_beyond_it(void **state) {
    (void)state;
    struct text text = encoded(&request);
    uint64_t seed = 1;
    size_t broken = 0;
    for (int round = 0; round < 20000; round++) {
        char *bytes = must_alloc(text.size_bytes);
        memcpy(bytes, text.data, text.size_bytes);
        for (int change = 0; change < 3; change++) {
            seed = seed * UINT64_C(6364136223846793005) + 1;
            ((unsigned char *)bytes)[(seed >> 33) % text.size_bytes] ^=
                (unsigned char)(1U << (seed >> 61));
        }
        struct frame again;
        size_t taken_bytes = 0;
        struct error err = {.kind = ERROR_NONE};
        enum frame_progress progress =
            frame_read(bytes, text.size_bytes, &again, &taken_bytes, &err);
        if (progress == FRAME_COMPLETE) {
            assert_true(taken_bytes <= text.size_bytes);
            assert_true(strlen(again.name) + strlen(again.path) +
                            (again.body_is_shared ? 0 : again.body_bytes) <
                        text.size_bytes);
            assert_true(again.body != NULL || again.body_is_shared);
        } else if (progress == FRAME_BROKEN) {
            assert_int_equal(err.kind, ERROR_WORKER_CRASHED);
            broken++;
        }
        free(bytes);
    }
    assert_true(broken > 1000);
    text_fini(&text);
}

static void a_size_beyond_the_limit_is_refused_before_it_is_waited_for(void **state) {
    (void)state;
    struct text text = encoded(&request);
    memset(text.data + 32, 0xff, 8); /* the body's size */
    struct frame again;
    size_t taken_bytes;
    struct error err;
    assert_int_equal(frame_read(text.data, text.size_bytes, &again, &taken_bytes, &err),
                     FRAME_BROKEN);
    text_fini(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_reads_back_as_it_was),
        cmocka_unit_test(a_frame_that_is_cut_anywhere_is_incomplete),
        cmocka_unit_test(several_frames_in_one_buffer_are_read_one_by_one),
        cmocka_unit_test(what_is_no_frame_is_refused_and_nothing_is_read_beyond_it),
        cmocka_unit_test(a_size_beyond_the_limit_is_refused_before_it_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
