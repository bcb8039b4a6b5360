#include "worker/channel.h"

#include "base/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READ_BYTES = 65536,
    KEPT_BUFFER_BYTES = 1 << 20, /* larger buffers go back to the system when they are empty */
};

void channel_init(struct channel *channel, int socket) {
    *channel = (struct channel){.socket = socket};
    text_init(&channel->out, 2 * FRAME_BODY_BYTES_MAXIMUM);
    text_init(&channel->in, FRAME_BODY_BYTES_MAXIMUM + READ_BYTES);
}

static void let_body_go(struct channel *channel) {
    sealed_unmap(channel->mapped, channel->mapped_bytes);
    channel->mapped = NULL;
}

void channel_fini(struct channel *channel) {
    let_body_go(channel);
    for (size_t i = 0; i < channel->out_file_count; i++) {
        close(channel->out_files[i].file);
    }
    for (size_t i = 0; i < channel->in_file_count; i++) {
        close(channel->in_files[i]);
    }
    text_fini(&channel->out);
    text_fini(&channel->in);
    *channel = (struct channel){.socket = -1};
}

/* --- out ------------------------------------------------------------------------------------------ */

/* A descriptor of the channel's own for the body; -1: it goes through the socket, also where no file can be made. */
static int file_for(const struct channel *channel, const struct frame *frame, int file) {
    if (frame->body_bytes <= CHANNEL_INLINE_BYTES_MAXIMUM ||
        channel->out_file_count == CHANNEL_FILES_MAXIMUM) {
        return -1;
    }
    if (file >= 0) {
        return fcntl(file, F_DUPFD_CLOEXEC, 0);
    }
    struct error ignored;
    return sealed_new(frame->body, frame->body_bytes, &file, &ignored) ? file : -1;
}

void channel_put(struct channel *channel, const struct frame *frame, int file) {
    struct frame sent = *frame;
    int own = file_for(channel, frame, file);
    sent.body_is_shared = own >= 0;
    if (own >= 0) {
        channel->out_files[channel->out_file_count++] =
            (struct channel_file){.at_bytes = channel->out.size_bytes, .file = own};
    }
    frame_append(&channel->out, &sent);
}

bool channel_has_unwritten(const struct channel *channel) {
    return channel->sent_bytes < channel->out.size_bytes;
}

/* Sends up to the next frame that has a file; where one begins here, its file goes with its first byte. */
static ssize_t send_some(struct channel *channel) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    size_t next = 0;
    struct iovec piece = {.iov_base = channel->out.data + channel->sent_bytes};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    bool has_file =
        channel->out_file_count > 0 && channel->out_files[0].at_bytes == channel->sent_bytes;
    if (has_file) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &channel->out_files[0].file, sizeof(int));
        next = 1;
    }
    size_t end = next < channel->out_file_count ? channel->out_files[next].at_bytes
                                                : channel->out.size_bytes;
    piece.iov_len = end - channel->sent_bytes;
    ssize_t sent = sendmsg(channel->socket, &message, MSG_NOSIGNAL);
    if (sent > 0 && has_file) {
        close(channel->out_files[0].file);
        channel->out_file_count--;
        memmove(channel->out_files, channel->out_files + 1,
                channel->out_file_count * sizeof channel->out_files[0]);
    }
    return sent;
}

bool channel_write(struct channel *channel) {
    while (channel_has_unwritten(channel)) {
        ssize_t sent = send_some(channel);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return errno == EAGAIN;
        }
        channel->sent_bytes += (size_t)sent;
    }
    text_reset(&channel->out);
    channel->sent_bytes = 0;
    if (channel->out.capacity_bytes > KEPT_BUFFER_BYTES) {
        text_fini(&channel->out);
    }
    return true;
}

/* --- in ------------------------------------------------------------------------------------------- */

/* Keeps the files that came with a message. False: more than there can be. */
static bool keep_files(struct channel *channel, struct msghdr *message) {
    bool ok = (message->msg_flags & MSG_CTRUNC) == 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int file;
            memcpy(&file, CMSG_DATA(header) + i * sizeof file, sizeof file);
            if (channel->in_file_count < CHANNEL_FILES_MAXIMUM) {
                channel->in_files[channel->in_file_count++] = file;
            } else {
                close(file);
                ok = false;
            }
        }
    }
    return ok;
}

/* What was taken leaves the buffer; the rest moves to its start. */
static void tidy_in(struct channel *channel) {
    let_body_go(channel);
    size_t left_bytes = channel->in.size_bytes - channel->taken_bytes;
    if (channel->taken_bytes > 0 && left_bytes > 0) {
        memmove(channel->in.data, channel->in.data + channel->taken_bytes, left_bytes);
    }
    channel->in.size_bytes = left_bytes;
    channel->taken_bytes = 0;
    if (left_bytes == 0 && channel->in.capacity_bytes > KEPT_BUFFER_BYTES) {
        text_fini(&channel->in);
    }
}

enum channel_progress channel_read(struct channel *channel) {
    tidy_in(channel);
    char *room = text_reserve(&channel->in, READ_BYTES);
    if (room == NULL) {
        return CHANNEL_CLOSED;
    }
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FILES_MAXIMUM)];
    } control;
    struct iovec piece = {.iov_base = room, .iov_len = READ_BYTES};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do {
        got = recvmsg(channel->socket, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        return CHANNEL_EMPTY;
    }
    if (got <= 0 || !keep_files(channel, &message)) {
        return CHANNEL_CLOSED;
    }
    text_claim(&channel->in, (size_t)got);
    return CHANNEL_READ;
}

static bool map_body(struct channel *channel, struct frame *frame, struct error *err) {
    if (channel->in_file_count == 0) {
        return error_set(err, ERROR_WORKER_CRASHED, "the worker sent a frame without its file");
    }
    int file = channel->in_files[0];
    channel->in_file_count--;
    memmove(channel->in_files, channel->in_files + 1,
            channel->in_file_count * sizeof channel->in_files[0]);
    struct error why;
    bool ok = sealed_map(file, frame->body_bytes, &channel->mapped, &why);
    close(file);
    if (!ok) {
        return error_set(err, ERROR_WORKER_CRASHED, "the worker sent a bad file: %s", why.message);
    }
    channel->mapped_bytes = frame->body_bytes;
    frame->body = channel->mapped;
    return true;
}

enum frame_progress channel_take(struct channel *channel, struct frame *out_frame,
                                 struct error *err) {
    struct frame frame;
    size_t frame_bytes;
    let_body_go(channel);
    enum frame_progress progress =
        frame_read(text_string(&channel->in) + channel->taken_bytes,
                   channel->in.size_bytes - channel->taken_bytes, &frame, &frame_bytes, err);
    if (progress != FRAME_COMPLETE) {
        return progress;
    }
    if (frame.body_is_shared && !map_body(channel, &frame, err)) {
        return FRAME_BROKEN;
    }
    channel->taken_bytes += frame_bytes;
    *out_frame = frame;
    return FRAME_COMPLETE;
}

char *channel_keep_body(struct channel *channel) {
    char *body = channel->mapped;
    channel->mapped = NULL;
    return body;
}
