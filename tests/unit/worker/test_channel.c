#include "worker/channel.h"

#include "base/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { LARGE_BYTES = 3 << 20 };

struct pair {
    struct channel near;
    struct channel far;
};

static void make_pair(struct pair *pair) {
    int sockets[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets),
                     0);
    channel_init(&pair->near, sockets[0]);
    channel_init(&pair->far, sockets[1]);
}

static void end_pair(struct pair *pair) {
    close(pair->near.socket);
    close(pair->far.socket);
    channel_fini(&pair->near);
    channel_fini(&pair->far);
}

static char *make_body(size_t size_bytes, unsigned seed) {
    char *body = must_alloc(size_bytes + 1);
    for (size_t i = 0; i < size_bytes; i++) {
        body[i] = (char)('a' + (i * 7 + seed) % 26);
    }
    body[size_bytes] = '\0';
    return body;
}

static size_t open_files(void) {
    size_t count = 0;
    for (int file = 0; file < 1024; file++) {
        count += fcntl(file, F_GETFD) >= 0 ? 1 : 0;
    }
    return count;
}

/* Moves bytes both ways until a whole frame is there. */
static void take(struct pair *pair, struct frame *out_frame) {
    struct error err;
    enum frame_progress progress;
    while ((progress = channel_take(&pair->far, out_frame, &err)) == FRAME_INCOMPLETE) {
        assert_true(channel_write(&pair->near));
        assert_int_equal(channel_read(&pair->far), CHANNEL_READ);
    }
    assert_int_equal(progress, FRAME_COMPLETE);
}

static void frames_of_any_size_arrive_in_order_as_they_were(void **state) {
    (void)state;
    const size_t sizes[] = {0,
                            5,
                            CHANNEL_INLINE_BYTES_MAXIMUM,
                            CHANNEL_INLINE_BYTES_MAXIMUM + 1,
                            17,
                            LARGE_BYTES,
                            LARGE_BYTES + 1,
                            1};
    size_t files_before = open_files();
    struct pair pair;
    make_pair(&pair);
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        char *body = make_body(sizes[i], i);
        struct frame frame = {.type = FRAME_RUN, .id = i, .body = body, .body_bytes = sizes[i]};
        channel_put(&pair.near, &frame, -1);
        free(body);
    }
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        struct frame frame;
        char *body = make_body(sizes[i], i);
        take(&pair, &frame);
        assert_int_equal(frame.id, i);
        assert_int_equal(frame.body_bytes, sizes[i]);
        assert_memory_equal(frame.body, body, sizes[i] + 1);
        assert_int_equal(frame.body_is_shared, sizes[i] > CHANNEL_INLINE_BYTES_MAXIMUM);
        free(body);
    }
    assert_false(channel_has_unwritten(&pair.near));
    end_pair(&pair);
    assert_int_equal(open_files(), files_before);
}

static void a_body_that_lies_in_a_sealed_file_goes_along_as_it_is(void **state) {
    (void)state;
    struct pair pair;
    struct error err;
    int file;
    char *body = make_body(LARGE_BYTES, 0);
    make_pair(&pair);
    assert_true(sealed_new(body, LARGE_BYTES, &file, &err));
    /* Were the body looked at, it would not be what comes out. */
    char *other = make_body(LARGE_BYTES, 1);
    struct frame frame = {.type = FRAME_RUN, .body = other, .body_bytes = LARGE_BYTES};
    channel_put(&pair.near, &frame, file);
    close(file);
    take(&pair, &frame);
    assert_memory_equal(frame.body, body, LARGE_BYTES);
    char *kept = channel_keep_body(&pair.far);
    assert_ptr_equal(kept, frame.body);
    assert_null(channel_keep_body(&pair.far));
    end_pair(&pair);
    assert_memory_equal(kept, body, LARGE_BYTES);
    sealed_unmap(kept, LARGE_BYTES);
    free(body);
    free(other);
}

static void more_frames_than_files_can_be_under_way_arrive_all_the_same(void **state) {
    (void)state;
    enum { COUNT = CHANNEL_FILES_MAXIMUM + 20, BYTES = CHANNEL_INLINE_BYTES_MAXIMUM + 1 };
    struct pair pair;
    char *body = make_body(BYTES, 3);
    make_pair(&pair);
    for (unsigned i = 0; i < COUNT; i++) {
        struct frame frame = {.type = FRAME_RUN, .id = i, .body = body, .body_bytes = BYTES};
        channel_put(&pair.near, &frame, -1);
    }
    size_t shared = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        struct frame frame;
        take(&pair, &frame);
        assert_int_equal(frame.id, i);
        assert_memory_equal(frame.body, body, BYTES + 1);
        shared += frame.body_is_shared ? 1 : 0;
    }
    assert_int_equal(shared, CHANNEL_FILES_MAXIMUM);
    free(body);
    end_pair(&pair);
}

/* --- an end that cannot be trusted ------------------------------------------------------------------ */

static int make_file(size_t size_bytes, int seals) {
    int file = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, (off_t)size_bytes), 0);
    assert_int_equal(fcntl(file, F_ADD_SEALS, seals), 0);
    return file;
}

/* Sends a frame that says its body is in a file, with these files. */
static void send_raw(int socket, size_t body_bytes, const int *files, size_t file_count) {
    struct text text;
    text_init(&text, 4096);
    struct frame frame = {.type = FRAME_REPLY, .body_bytes = body_bytes, .body_is_shared = true};
    frame_append(&text, &frame);
    char control[CMSG_SPACE(sizeof(int) * 253)] = {0};
    struct iovec piece = {.iov_base = text.data, .iov_len = text.size_bytes};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (file_count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * file_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * file_count);
        memcpy(CMSG_DATA(header), files, sizeof(int) * file_count);
    }
    assert_int_equal(sendmsg(socket, &message, 0), (ssize_t)text.size_bytes);
    text_fini(&text);
}

static void assert_refused(size_t body_bytes, int file) {
    struct pair pair;
    struct frame frame;
    struct error err;
    make_pair(&pair);
    send_raw(pair.near.socket, body_bytes, &file, file < 0 ? 0 : 1);
    assert_int_equal(channel_read(&pair.far), CHANNEL_READ);
    assert_int_equal(channel_take(&pair.far, &frame, &err), FRAME_BROKEN);
    assert_int_equal(err.kind, ERROR_WORKER_CRASHED);
    end_pair(&pair);
    close(file);
}

static void a_file_that_its_maker_could_still_change_is_not_mapped(void **state) {
    (void)state;
    enum { ALL = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, BYTES = 100000 };
    assert_refused(BYTES, make_file(BYTES + 1, F_SEAL_SHRINK | F_SEAL_GROW));
    assert_refused(BYTES, make_file(BYTES + 1, F_SEAL_WRITE | F_SEAL_GROW));
    assert_refused(BYTES, make_file(BYTES + 1, 0));
    assert_refused(BYTES, make_file(BYTES, ALL)); /* no room for the NUL */
    assert_refused(BYTES, make_file(0, ALL));
    assert_refused(BYTES, open("/dev/zero", O_RDONLY | O_CLOEXEC));
    assert_refused(BYTES, open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    assert_refused(BYTES, -1); /* there is none */
}

static void a_body_without_its_nul_is_refused(void **state) {
    (void)state;
    struct error err;
    int file;
    assert_true(sealed_new("abc", 3, &file, &err));
    char *bytes;
    assert_true(sealed_map(file, 3, &bytes, &err));
    assert_string_equal(bytes, "abc");
    sealed_unmap(bytes, 3);
    assert_false(sealed_map(file, 2, &bytes, &err));
    assert_false(sealed_map(file, 4, &bytes, &err));
    close(file);
}

static void what_is_sealed_can_not_be_written_by_anybody(void **state) {
    (void)state;
    struct error err;
    int file;
    assert_true(sealed_new("abc", 3, &file, &err));
    assert_int_equal(pwrite(file, "x", 1, 0), -1);
    assert_int_equal(ftruncate(file, 0), -1);
    assert_true(mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED);
    assert_int_equal(fcntl(file, F_ADD_SEALS, 0), 0);
    assert_int_equal(fcntl(file, F_GET_SEALS) & F_SEAL_WRITE, F_SEAL_WRITE);
    close(file);
}

static void more_files_than_there_can_be_end_the_conversation_and_are_closed(void **state) {
    (void)state;
    size_t files_before = open_files();
    struct pair pair;
    int files[CHANNEL_FILES_MAXIMUM + 1];
    make_pair(&pair);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        files[i] = make_file(1, 0);
    }
    send_raw(pair.near.socket, 1, files, COUNT_OF(files));
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        close(files[i]);
    }
    assert_int_equal(channel_read(&pair.far), CHANNEL_CLOSED);
    end_pair(&pair);
    assert_int_equal(open_files(), files_before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_any_size_arrive_in_order_as_they_were),
        cmocka_unit_test(a_body_that_lies_in_a_sealed_file_goes_along_as_it_is),
        cmocka_unit_test(more_frames_than_files_can_be_under_way_arrive_all_the_same),
        cmocka_unit_test(a_file_that_its_maker_could_still_change_is_not_mapped),
        cmocka_unit_test(a_body_without_its_nul_is_refused),
        cmocka_unit_test(what_is_sealed_can_not_be_written_by_anybody),
        cmocka_unit_test(more_files_than_there_can_be_end_the_conversation_and_are_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
