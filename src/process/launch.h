/* `orrery launch`: the child between the daemon and a command. It alone sets up the limits and the sandbox, in a
 * process that has one thread, and becomes the command. */
#ifndef ORRERY_PROCESS_LAUNCH_H
#define ORRERY_PROCESS_LAUNCH_H

#include "base/base.h"

/* Each variable of the command's environment comes with this before its name, so that it is not taken for one of this
 * program's own before the sandbox is there (LD_PRELOAD, ld.so(8)). */
#define LAUNCH_VARIABLE_PREFIX '+'

struct launch_options {
    int parent;            /* the daemon's process id */
    const char *folder;    /* to begin in */
    const char *temporary; /* the only one to write to */
    uint64_t memory_bytes;
    bool has_network;
    const char *const
        *readable; /* beside the system's: the model's folder, and what model.json names */
    size_t readable_count;
    char **command; /* ends with NULL */
};

/* Where it fails it ends the process, with the status 127 if there is no such program and 126 for all else, as a shell's;
 * the reason is on standard error. */
NORETURN void launch(const struct launch_options *options);

#endif
