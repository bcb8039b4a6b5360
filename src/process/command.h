/* For neighbours in process/: one command that runs: its process, its pipes and its folder. It is started and cleared
 * away; when, and what becomes of its job, is the executor's business. One thread. */
#ifndef ORRERY_PROCESS_COMMAND_H
#define ORRERY_PROCESS_COMMAND_H

#include "base/text.h"
#include "dispatch/dispatch.h"

#include <sys/types.h>

enum { STDERR_KEPT_BYTES = 4096, TEMPORARY_PATH_BYTES = 256 };

struct command_process {
    pid_t pid; /* and of its process group; 0: not started */
    int pid_fd;
    int output_fd;  /* -1: at its end */
    int message_fd; /* standard error, the same */
    struct text output;
    char messages[STDERR_KEPT_BYTES + 1]; /* the last that it wrote */
    size_t message_bytes;
    char temporary[TEMPORARY_PATH_BYTES]; /* its folder; "": none */
};

struct command_options {
    const char *program;
    const struct dispatch_job *job;
    const char *model_name;
    const char *folder;
    const struct process_settings *settings;
    uint64_t memory_bytes;
};

/* False: nothing is left of it. ERROR_UNAVAILABLE for what another time may have, such as descriptors. */
MUST_CHECK bool command_start(struct command_process *command,
                              const struct command_options *options, struct error *err);

void command_signal(const struct command_process *command, int signal);

/* Takes what lies in the pipe, `bytes_maximum` at most, so that nobody else waits for long. At its end the descriptor
 * is closed and -1. False: there is more output than there may be. */
MUST_CHECK bool command_read_output(struct command_process *command, size_t bytes_maximum);
void command_read_messages(struct command_process *command);

/* Once the process has ended: kills what it left behind, takes what is still in the pipes, and reaps it. The status is
 * that of waitpid(2). False as command_read_output. */
MUST_CHECK bool command_end(struct command_process *command, int *out_status);

/* Closes all, and removes its folder. */
void command_clear(struct command_process *command);

/* The last of what it said, for a message: at most `size_bytes` with the NUL, without control characters; "" if it said
 * nothing. */
void command_last_words(const struct command_process *command, char *out, size_t size_bytes);
/* The first of its output, likewise; there must be some. */
void command_first_words(const struct command_process *command, char *out, size_t size_bytes);

#endif
