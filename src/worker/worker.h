/* Worker processes: `orrery worker` is a child of the daemon that holds ONNX Runtime and runs models, one at a
 * time, for whatever comes over its socket (protocol.h). It may crash, hang or be killed at any time; the
 * daemon (dispatch/) then replaces it.
 *
 * The child inherits three things, by a written list: the socket as descriptor 3, standard error for the
 * log, and its arguments. It runs in a process group of its own, cannot gain privileges, dumps no core, and dies
 * with its parent. */
#ifndef ORRERY_WORKER_WORKER_H
#define ORRERY_WORKER_WORKER_H

#include "base/error.h"

#include <sys/types.h>

enum { WORKER_SOCKET = 3, WORKER_RUNTIME_VERSION_BYTES = 64 };

struct worker_options {
    const char *program;   /* file of this program */
    const char *library;   /* libonnxruntime.so; NULL: the usual places */
    uint64_t memory_bytes; /* limit of its address space; 0: none */
};

/* Starts a worker. `out_socket` is the daemon's end, non-blocking and close-on-exec; the caller owns it and the
 * process, and ends both with worker_kill. Call on a thread that lives as long as the worker is to. */
MUST_CHECK bool worker_spawn(const struct worker_options *options, pid_t *out_pid, int *out_socket,
                             struct error *err);

/* Kills the worker and whatever it started, waits for it, and closes the socket. `out_reason` says how it had
 * ended if it had ended by itself: "was killed by signal 11 (Segmentation fault)", "ended with status 1"; else it
 * says that it was killed by signal 9. */
enum { WORKER_REASON_BYTES = 96 };
void worker_kill(pid_t pid, int socket, char out_reason[static WORKER_REASON_BYTES]);

/* Asks a fresh worker for the version of the ONNX Runtime it finds. For `orrery doctor`; blocks, a few seconds
 * at most. */
MUST_CHECK bool worker_probe_runtime(const char *program, const char *library,
                                     char out_version[static WORKER_RUNTIME_VERSION_BYTES],
                                     struct error *err);

/* The child: serves the socket until the other end closes it. Returns the exit status. */
int worker_main(const char *library, uint64_t memory_bytes);

#endif
