/* The socket between daemon and worker: whatever bytes and files a worker that has lost its mind may send, in whatever
 * pieces. The input is a row of pieces: one byte says what it is (PIECE_…), one how long, then its bytes. */
#include "worker/channel.h"

#include "base/sealed.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    PIECE_FILE = 0x07, /* which file goes along: see make_file */
    PIECE_IS_FRAME =
        0x08, /* the bytes are the body of a frame that is well made; else they go as they are */
    PIECE_IS_SHARED = 0x10, /* that frame says that its body is in a file, */
    PIECE_IS_LONGER = 0x20, /* and longer than it is */
};

/* -1: none. */
static int make_file(unsigned which, const void *bytes, size_t size_bytes) {
    int file = -1;
    struct error ignored;
    if (which == 1 || which == 2) {
        return sealed_new(bytes, size_bytes, &file, &ignored) ? file : -1;
    }
    if (which == 3) {
        return open("/dev/zero", O_RDONLY | O_CLOEXEC);
    }
    if (which > 3) {
        file = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        ssize_t written = write(file, bytes, size_bytes);
        ASSERT(written == (ssize_t)size_bytes);
        int failed = which == 4 ? 0
                                : fcntl(file, F_ADD_SEALS,
                                        which == 5   ? F_SEAL_WRITE
                                        : which == 6 ? F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
                                                     : F_SEAL_SHRINK | F_SEAL_GROW);
        ASSERT(failed == 0);
    }
    return file;
}

static void send_piece(int socket, const char *bytes, size_t size_bytes, int file) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec piece = {.iov_base = (char *)(uintptr_t)bytes, .iov_len = size_bytes};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (file >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &file, sizeof file);
    }
    (void)sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void send_one(int socket, unsigned what, const char *bytes, size_t size_bytes) {
    int file = make_file(what & PIECE_FILE, bytes, size_bytes);
    struct text text;
    text_init(&text, 65536);
    if ((what & PIECE_IS_FRAME) != 0) {
        frame_append(
            &text, &(struct frame){.type = FRAME_REPLY,
                                   .name = "n",
                                   .body = bytes,
                                   .body_bytes = size_bytes + ((what & PIECE_IS_SHARED) != 0 &&
                                                                       (what & PIECE_IS_LONGER) != 0
                                                                   ? 5000
                                                                   : 0),
                                   .body_is_shared = (what & PIECE_IS_SHARED) != 0});
    } else {
        text_append_bytes(&text, bytes, size_bytes);
    }
    if (text.size_bytes > 0) {
        send_piece(socket, text.data, text.size_bytes, file);
    }
    text_fini(&text);
    if (file >= 0) {
        close(file);
    }
}

/* Every byte of what is taken can be read. */
static bool take_all(struct channel *channel) {
    struct frame frame;
    struct error err;
    enum frame_progress progress;
    static volatile unsigned sum; /* so that the bytes are really read */
    while ((progress = channel_take(channel, &frame, &err)) == FRAME_COMPLETE) {
        ASSERT(frame.body != NULL && frame.body[frame.body_bytes] == '\0');
        for (size_t i = 0; i < frame.body_bytes; i++) {
            sum += (unsigned char)frame.body[i];
        }
        sum += (unsigned)(strlen(frame.name) + strlen(frame.path));
        char *kept = frame.id % 2 == 0 ? channel_keep_body(channel) : NULL;
        sealed_unmap(kept, frame.body_bytes);
    }
    (void)sum;
    ASSERT(progress == FRAME_INCOMPLETE || err.kind == ERROR_WORKER_CRASHED);
    return progress == FRAME_INCOMPLETE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int sockets[2];
    int failed = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets);
    ASSERT(failed == 0);
    struct channel channel;
    channel_init(&channel, sockets[0]);
    bool goes_on = true;
    for (size_t at = 0; goes_on && at + 2 <= size;) {
        size_t length = MIN_OF((size_t)data[at + 1], size - at - 2);
        send_one(sockets[1], data[at], (const char *)data + at + 2, length);
        at += 2 + length;
        enum channel_progress progress = CHANNEL_READ;
        while (goes_on && progress == CHANNEL_READ) {
            progress = channel_read(&channel);
            goes_on = progress != CHANNEL_CLOSED && take_all(&channel);
        }
    }
    channel_fini(&channel);
    close(sockets[0]);
    close(sockets[1]);
    return 0;
}
