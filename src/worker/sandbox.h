/* The sandbox: what a process that runs models gives up before it opens the first one. A model, or ONNX Runtime's bug
 * that it found, may then compute and answer, and little else. Two profiles:
 *
 *   SANDBOX_WORKER    for `orrery worker`: a list of the system calls that inference needs, all else is denied; files
 *                     are read beneath the folders that are named, none is written; no sockets, no new processes, no
 *                     signals to others
 *   SANDBOX_COMMAND   for a command of the `process` backend, which is any program: what harms the machine or leaves
 *                     the sandbox is denied, and leaving the process group, so that all of it can be killed; it writes
 *                     beneath one folder only; no network unless it is given
 *
 * Means: no_new_privs (prctl(2)), a seccomp filter (seccomp(2)), Landlock (landlock(7)) where the kernel has it, and
 * resource limits. A call that is denied answers EPERM and does not kill: libraries probe for what they can do without,
 * a model that needs it fails with an error that can be read, and either way nothing has happened. Calls that programs
 * are known to probe for (clone3, openat2) answer ENOSYS, upon which the C library takes the older one, which the
 * filter can look into.
 *
 * It holds for all threads that start later; call it in a process that has one. */
#ifndef ORRERY_WORKER_SANDBOX_H
#define ORRERY_WORKER_SANDBOX_H

#include "base/error.h"

enum sandbox_profile { SANDBOX_WORKER, SANDBOX_COMMAND };

struct sandbox_options {
    enum sandbox_profile profile;
    const char *const
        *readable; /* folders and files beside the system's, which are in the profile */
    size_t readable_count;
    const char *writable;  /* a folder; NULL: none. SANDBOX_COMMAND only */
    bool has_network;      /* SANDBOX_COMMAND only */
    uint64_t memory_bytes; /* of address space; 0: no limit */
};

/* What it is made of; each is in force, or the kernel lacks it. */
enum sandbox_part {
    SANDBOX_PRIVILEGES,
    SANDBOX_TRACING,
    SANDBOX_CALLS,
    SANDBOX_FILES,
    SANDBOX_SIGNALS,
    SANDBOX_LIMITS,
    SANDBOX_PART_COUNT
};
const char *sandbox_part_name(enum sandbox_part part);

/* What the kernel has: a bit a part. */
struct sandbox {
    uint32_t parts;
};

/* From here on it holds. A part that the kernel lacks is left out (`out_sandbox`); one that it has and that cannot be
 * put in force is an error (ERROR_INTERNAL), after which the process must not go on. */
MUST_CHECK bool sandbox_enter(const struct sandbox_options *options, struct sandbox *out_sandbox,
                              struct error *err);

/* Tries what is forbidden, in a process that has entered as SANDBOX_WORKER, and says what came of it: a letter a part,
 * '+' it is in force, '-' the kernel lacks it, '!' it should be in force and is not. */
void sandbox_probe(const struct sandbox *sandbox, char out_findings[static SANDBOX_PART_COUNT + 1]);

#endif
