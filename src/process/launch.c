#include "process/launch.h"

#include "worker/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { STATUS_CANNOT_RUN = 126, STATUS_NOT_FOUND = 127 };

/* Only what was meant for the command, under its own name. */
static void take_environment(void) {
    char **kept = environ;
    for (char **variable = environ; *variable != NULL; variable++) {
        if (**variable == LAUNCH_VARIABLE_PREFIX) {
            *kept++ = *variable + 1;
        }
    }
    *kept = NULL;
}

/* Straight out: what runs at exit is not meant for the sandbox. */
NORETURN static void refuse(int status, const char *what, const char *why) {
    fprintf(stderr, "orrery: %s: %s\n", what, why);
    _exit(status);
}

void launch(const struct launch_options *options) {
    struct sandbox_options sandbox_options = {
        .profile = SANDBOX_COMMAND,
        .readable = options->readable,
        .readable_count = options->readable_count,
        .writable = options->temporary,
        .has_network = options->has_network,
        .memory_bytes = options->memory_bytes,
    };
    struct sandbox sandbox;
    struct error err;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != options->parent) {
        _exit(STATUS_CANNOT_RUN); /* it has ended before that was said */
    }
    if (!sandbox_enter(&sandbox_options, &sandbox, &err)) {
        refuse(STATUS_CANNOT_RUN, "the sandbox", err.message);
    }
    if (chdir(options->folder) != 0) {
        refuse(STATUS_CANNOT_RUN, "the model's folder",
               strerror(errno)); // NOLINT(concurrency-mt-unsafe)
    }
    take_environment();
    execvp(options->command[0], options->command);
    int reason = errno;
    refuse(reason == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN, options->command[0],
           strerror(reason)); // NOLINT(concurrency-mt-unsafe)
}
