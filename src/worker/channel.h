/* One end of the socket between the daemon and a worker: frames out and in, buffered. Small bodies go through the
 * socket, many frames in one write; a large one is put into a sealed file (base/sealed.h), whose descriptor goes along
 * with its frame (SCM_RIGHTS, unix(7)), so its bytes are not copied on the way.
 *
 * The other end is not trusted: a size has its limit, a file is only mapped if it is sealed and as large as its frame
 * says. One thread. */
#ifndef ORRERY_WORKER_CHANNEL_H
#define ORRERY_WORKER_CHANNEL_H

#include "worker/protocol.h"

enum {
    CHANNEL_INLINE_BYTES_MAXIMUM =
        64 * 1024, /* of a body that goes through the socket, where there is a choice */
    CHANNEL_FILES_MAXIMUM = 64, /* on their way in one direction */
};

struct channel {
    int socket; /* the caller's; -1: none */
    struct text out;
    size_t sent_bytes;
    struct channel_file {
        size_t at_bytes; /* of the frame in `out` */
        int file;
    } out_files[CHANNEL_FILES_MAXIMUM];
    size_t out_file_count;
    struct text in;
    size_t taken_bytes;
    int in_files[CHANNEL_FILES_MAXIMUM]; /* that came, in order */
    size_t in_file_count;
    char *mapped; /* the body of the frame that was taken last */
    size_t mapped_bytes;
};

void channel_init(struct channel *channel, int socket);
/* Forgets all that is on its way; the socket stays open. It may be used again after channel_init. */
void channel_fini(struct channel *channel);

/* Appends a frame to what is to be written. `file` is a sealed file with the body, which stays the caller's, or -1: then
 * one is made for a large body. */
void channel_put(struct channel *channel, const struct frame *frame, int file);
bool channel_has_unwritten(const struct channel *channel);
/* Writes what the socket takes; all, where it blocks. False: the other end is gone. */
MUST_CHECK bool channel_write(struct channel *channel);

enum channel_progress {
    CHANNEL_READ,   /* something came */
    CHANNEL_EMPTY,  /* nothing is there now */
    CHANNEL_CLOSED, /* the other end is gone, or sent more files than there can be */
};
/* Reads once. */
enum channel_progress channel_read(struct channel *channel);

/* Takes the next frame out of what was read; its strings and its body are good until the next channel_take or
 * channel_read. FRAME_BROKEN (ERROR_WORKER_CRASHED): nothing more can be read. */
enum frame_progress channel_take(struct channel *channel, struct frame *out_frame,
                                 struct error *err);
/* Where the body of the frame that was taken last was mapped: hands it over, to be given back with sealed_unmap. Else
 * NULL. */
char *channel_keep_body(struct channel *channel);

#endif
