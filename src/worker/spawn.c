#include "worker/protocol.h"
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROBE_LIMIT_MS = 20000, PROBE_REPLY_BYTES = 65536 };

/* The files that a child is left with: its socket, and standard error. dup2 also clears close-on-exec. */
static void list_files(posix_spawn_file_actions_t *actions, int child_socket) {
    posix_spawn_file_actions_init(actions);
    posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(actions, child_socket, WORKER_SOCKET);
    posix_spawn_file_actions_addclosefrom_np(actions, WORKER_SOCKET + 1);
}

static void set_attributes(posix_spawnattr_t *attributes) {
    sigset_t none;
    sigset_t defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_init(attributes);
    posix_spawnattr_setpgroup(attributes, 0);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &defaults);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                             POSIX_SPAWN_SETSIGDEF);
}

/* What a worker gets of the daemon's environment: nothing that could hold a secret, or a setting. The sanitizers' are
 * for builds with them. */
static const char *const inherited_variables[] = {
    "PATH",         "LANG",          "LC_ALL",       "TZ",          "LD_LIBRARY_PATH",
    "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"};

static void list_variables(char *out_environment[static COUNT_OF(inherited_variables) + 1]) {
    size_t count = 0;
    for (char **variable = environ; *variable != NULL; variable++) {
        for (size_t i = 0; i < COUNT_OF(inherited_variables); i++) {
            size_t length = strlen(inherited_variables[i]);
            if (count < COUNT_OF(inherited_variables) &&
                strncmp(*variable, inherited_variables[i], length) == 0 &&
                (*variable)[length] == '=') {
                out_environment[count++] = *variable;
            }
        }
    }
    out_environment[count] = NULL;
}

enum { NUMBER_BYTES = 24, ARGUMENTS_MAXIMUM = 16 };

struct child_arguments {
    const char *list[ARGUMENTS_MAXIMUM];
    size_t count;
    char memory[NUMBER_BYTES];
    char cache[NUMBER_BYTES];
    char threads[NUMBER_BYTES];
};

static void add_argument(struct child_arguments *arguments, const char *name, const char *value) {
    if (value != NULL) {
        arguments->list[arguments->count++] = name;
        arguments->list[arguments->count++] = value;
    }
}

static const char *number(uint64_t value, char out[static NUMBER_BYTES]) {
    snprintf(out, NUMBER_BYTES, "%llu", (unsigned long long)value);
    return out;
}

static void list_arguments(const struct worker_options *options, struct child_arguments *out) {
    *out = (struct child_arguments){.list = {"orrery", "worker"}, .count = 2};
    add_argument(out, "--memory", number(options->memory_bytes, out->memory));
    add_argument(out, "--cache", number(options->cache_bytes, out->cache));
    add_argument(out, "--threads", number(options->session_threads, out->threads));
    add_argument(out, "--models", options->models);
    add_argument(out, "--onnxruntime", options->library);
    out->list[out->count] = NULL;
}

bool worker_spawn(const struct worker_options *options, pid_t *out_pid, int *out_socket,
                  struct error *err) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        return error_set_errno(err, ERROR_IO, errno, "cannot make a socket for a worker");
    }
    /* dup2 of a descriptor onto itself would leave close-on-exec set. */
    ASSERT(sockets[1] != WORKER_SOCKET);
    struct child_arguments arguments;
    char *environment[COUNT_OF(inherited_variables) + 1];
    list_arguments(options, &arguments);
    list_variables(environment);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    list_files(&actions, sockets[1]);
    set_attributes(&attributes);
    pid_t pid;
    int failed = posix_spawn(&pid, options->program, &actions, &attributes,
                             (char *const *)(uintptr_t)arguments.list, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(sockets[1]);
    if (failed != 0) {
        close(sockets[0]);
        return error_set_errno(err, ERROR_IO, failed, "cannot start a worker");
    }
    int flags = fcntl(sockets[0], F_GETFL);
    fcntl(sockets[0], F_SETFL, flags | O_NONBLOCK);
    *out_pid = pid;
    *out_socket = sockets[0];
    return true;
}

bool worker_kill(pid_t pid, int socket, char out_reason[static WORKER_REASON_BYTES]) {
    close(socket);
    kill(-pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        snprintf(out_reason, WORKER_REASON_BYTES, "was killed by signal %d (%s)", WTERMSIG(status),
                 sigdescr_np(WTERMSIG(status)));
    } else {
        snprintf(out_reason, WORKER_REASON_BYTES, "ended with status %d", WEXITSTATUS(status));
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_REPLACE;
}

/* Waits for one whole reply on the socket. */
static bool read_reply(int socket, struct text *buffer, struct frame *out_frame,
                       struct error *err) {
    for (;;) {
        size_t taken_bytes;
        switch (frame_read(text_string(buffer), buffer->size_bytes, out_frame, &taken_bytes, err)) {
        case FRAME_COMPLETE:
            return true;
        case FRAME_BROKEN:
            return false;
        case FRAME_INCOMPLETE:
            break;
        }
        struct pollfd wanted = {.fd = socket, .events = POLLIN};
        if (poll(&wanted, 1, PROBE_LIMIT_MS) <= 0) {
            return error_set(err, ERROR_TIMED_OUT, "the worker does not answer");
        }
        char *room = text_reserve(buffer, 4096);
        ssize_t got = room == NULL ? -1 : read(socket, room, 4096);
        if (got <= 0) {
            return error_set(err, ERROR_WORKER_CRASHED, "the worker ended without an answer");
        }
        text_claim(buffer, (size_t)got);
    }
}

static bool probe(int socket, struct worker_probe *out, struct error *err) {
    struct text buffer;
    text_init(&buffer, PROBE_REPLY_BYTES);
    frame_append(&buffer, &(struct frame){.type = FRAME_PROBE, .id = 1});
    bool sent =
        write(socket, text_string(&buffer), buffer.size_bytes) == (ssize_t)buffer.size_bytes;
    text_reset(&buffer);
    struct frame reply;
    bool ok = sent ? read_reply(socket, &buffer, &reply, err)
                   : error_set_errno(err, ERROR_IO, errno, "cannot write to the worker");
    if (ok && reply.body_bytes != SANDBOX_PART_COUNT) {
        ok = error_set(err, ERROR_WORKER_CRASHED, "the worker does not tell of its sandbox");
    }
    if (ok) {
        *out = (struct worker_probe){0};
        memcpy(out->sandbox, reply.body, SANDBOX_PART_COUNT);
        if (reply.kind != ERROR_NONE) {
            (void)error_set(&out->runtime, reply.kind, "%s", reply.name);
        } else {
            snprintf(out->version, sizeof out->version, "%.*s", (int)sizeof out->version - 1,
                     reply.name);
        }
    }
    text_fini(&buffer);
    return ok;
}

bool worker_probe(const struct worker_options *options, struct worker_probe *out_probe,
                  struct error *err) {
    pid_t pid;
    int socket;
    if (!worker_spawn(options, &pid, &socket, err)) {
        return false;
    }
    bool ok = probe(socket, out_probe, err);
    char reason[WORKER_REASON_BYTES];
    worker_kill(pid, socket, reason);
    return ok;
}
