/* Worker processes: `orrery worker` is a child of the daemon that holds ONNX Runtime and runs models, one at a
 * time, for whatever comes over its socket (protocol.h). It may crash, hang or be killed at any time; the
 * daemon (dispatch/) then replaces it.
 *
 * The child inherits four things, by written lists: the socket as descriptor 3, standard error for the log, its
 * arguments, and a few variables. It runs in a process group of its own, dies with its parent, and is in its sandbox
 * (sandbox.h) before it reads the first frame. */
#ifndef ORRERY_WORKER_WORKER_H
#define ORRERY_WORKER_WORKER_H

#include "base/error.h"
#include "worker/sandbox.h"

#include <sys/types.h>

enum { WORKER_SOCKET = 3, WORKER_RUNTIME_VERSION_BYTES = 64 };

struct worker_options {
    const char *program;      /* file of this program; not looked at by the child */
    const char *library;      /* libonnxruntime.so; NULL: the usual places */
    const char *models;       /* the folder it may read models from; NULL: none */
    uint64_t memory_bytes;    /* limit of its address space; 0: none */
    uint64_t cache_bytes;     /* of models that it keeps loaded; 0: only the one it runs */
    uint32_t session_threads; /* that one model may use, from 1 */
};

/* The exit status of a worker that has ended between two jobs in order to be replaced: it has begun nothing of what it
 * was sent. */
enum { WORKER_EXIT_REPLACE = 75 };

/* Starts a worker. `out_socket` is the daemon's end, non-blocking and close-on-exec; the caller owns it and the
 * process, and ends both with worker_kill. Call on a thread that lives as long as the worker is to. */
MUST_CHECK bool worker_spawn(const struct worker_options *options, pid_t *out_pid, int *out_socket,
                             struct error *err);

/* Kills the worker and whatever it started, waits for it, and closes the socket. `out_reason` says how it had
 * ended if it had ended by itself: "was killed by signal 11 (Segmentation fault)", "ended with status 1"; else it
 * says that it was killed by signal 9. True: it had ended itself with WORKER_EXIT_REPLACE. */
enum { WORKER_REASON_BYTES = 96 };
bool worker_kill(pid_t pid, int socket, char out_reason[static WORKER_REASON_BYTES]);

/* What a fresh worker says of itself: the version of the ONNX Runtime it finds (empty, and the reason in `runtime`, if
 * there is none), and what of its sandbox is in force (sandbox_probe). */
struct worker_probe {
    char version[WORKER_RUNTIME_VERSION_BYTES];
    struct error runtime;
    char sandbox[SANDBOX_PART_COUNT + 1];
};

/* For `orrery doctor`; blocks, a few seconds at most. */
MUST_CHECK bool worker_probe(const struct worker_options *options, struct worker_probe *out_probe,
                             struct error *err);

/* The child: serves the socket until the other end closes it. Returns the exit status. */
int worker_main(const struct worker_options *options);

#endif
