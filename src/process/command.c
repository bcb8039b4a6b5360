#include "process/command.h"

#include "base/arena.h"
#include "base/identity.h"
#include "process/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ_BYTES = 65536, ARGUMENTS_KEPT = 32 };

/* A list of strings that ends with NULL, as execve(2) takes it. */
struct words {
    const char **items;
    size_t count;
};

static void add_word(struct words *words, const char *word) { words->items[words->count++] = word; }

static size_t count_of(const char *const *list) {
    size_t count = 0;
    while (list[count] != NULL) {
        count++;
    }
    return count;
}

/* --- what it is given ---------------------------------------------------------------------------- */

/* The model's folder: of a version it is the one above. */
static const char *model_folder(const struct command_options *options, struct arena *arena) {
    const char *name = strrchr(options->folder, '/');
    bool is_version = name != NULL && strcmp(name + 1, options->model_name) != 0;
    return is_version ? arena_strndup(arena, options->folder, (size_t)(name - options->folder))
                      : options->folder;
}

static void list_arguments(const struct command_process *command,
                           const struct command_options *options, struct arena *arena,
                           struct words *out) {
    const struct process_settings *settings = options->settings;
    uint64_t memory_bytes =
        settings->memory_bytes == 0 ? options->memory_bytes : settings->memory_bytes;
    size_t room = ARGUMENTS_KEPT + 2 * count_of(settings->readable) + count_of(settings->command);
    *out = (struct words){.items = arena_alloc(arena, room * sizeof *out->items)};
    add_word(out, "orrery");
    add_word(out, "launch");
    add_word(out, "--parent");
    add_word(out, arena_printf(arena, "%d", getpid()));
    add_word(out, "--folder");
    add_word(out, options->folder);
    add_word(out, "--model");
    add_word(out, model_folder(options, arena));
    add_word(out, "--temporary");
    add_word(out, command->temporary);
    add_word(out, "--memory");
    add_word(out, arena_printf(arena, "%llu", (unsigned long long)memory_bytes));
    if (settings->has_network) {
        add_word(out, "--network");
    }
    add_word(out, "--");
    for (size_t i = 0; settings->readable[i] != NULL; i++) {
        add_word(out, settings->readable[i]);
    }
    add_word(out, "--");
    for (size_t i = 0; settings->command[i] != NULL; i++) {
        add_word(out, settings->command[i]);
    }
    add_word(out, NULL);
}

/* Unless model.json has set it. */
static void add_default(struct words *words, const struct process_settings *settings,
                        const char *name, const char *value, struct arena *arena) {
    size_t length = strlen(name);
    for (size_t i = 0; settings->environment[i] != NULL; i++) {
        if (strncmp(settings->environment[i], name, length) == 0 &&
            settings->environment[i][length] == '=') {
            return;
        }
    }
    add_word(words, arena_printf(arena, "%c%s=%s", LAUNCH_VARIABLE_PREFIX, name, value));
}

static void list_variables(const struct command_process *command,
                           const struct command_options *options, struct arena *arena,
                           struct words *out) {
    const struct process_settings *settings = options->settings;
    const struct dispatch_job *job = options->job;
    size_t room = ARGUMENTS_KEPT + count_of(settings->environment);
    *out = (struct words){.items = arena_alloc(arena, room * sizeof *out->items)};
    for (size_t i = 0; settings->environment[i] != NULL; i++) {
        add_word(out,
                 arena_printf(arena, "%c%s", LAUNCH_VARIABLE_PREFIX, settings->environment[i]));
    }
    add_default(out, settings, "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", arena);
    add_default(out, settings, "LANG", "C.UTF-8", arena);
    add_default(out, settings, "HOME", command->temporary, arena);
    add_default(out, settings, "TMPDIR", command->temporary, arena);
    if (job->execution_key != 0) {
        char id[UUID_TEXT_BYTES];
        identity_format(job->execution_key, job->origin.store_tag, id);
        add_default(out, settings, "ORRERY_EXECUTION_ID", id, arena);
        identity_format(job->origin.run_key, job->origin.store_tag, id);
        add_default(out, settings, "ORRERY_RUN_ID", id, arena);
        add_default(out, settings, "ORRERY_ATTEMPT", arena_printf(arena, "%u", job->origin.attempt),
                    arena);
        if (!wall_time_is_none(job->origin.scheduled_for)) {
            char slot[RFC3339_BYTES];
            wall_time_format(job->origin.scheduled_for, slot);
            add_default(out, settings, "ORRERY_SCHEDULED_FOR", slot, arena);
        }
    }
    add_word(out, NULL);
}

/* A file in memory, so that nobody has to feed a pipe. */
static int make_input(const char *bytes, size_t size_bytes) {
    int fd = memfd_create("parameters", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t written_bytes = 0;
    while (fd >= 0 && written_bytes < size_bytes) {
        ssize_t written = write(fd, bytes + written_bytes, size_bytes - written_bytes);
        if (written < 0 && errno != EINTR) {
            int reason = errno;
            close(fd);
            errno = reason;
            return -1;
        }
        written_bytes += written > 0 ? (size_t)written : 0;
    }
    if (fd >= 0) {
        lseek(fd, 0, SEEK_SET);
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    }
    return fd;
}

/* --- starting ------------------------------------------------------------------------------------ */

/* The child's ends of what connects it. */
struct ends {
    int input;
    int output;
    int messages;
};

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static void close_ends(struct ends *ends) {
    close_fd(&ends->input);
    close_fd(&ends->output);
    close_fd(&ends->messages);
}

static bool open_pipe(int *out_ours, int *out_theirs) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *out_ours = ends[0];
    *out_theirs = ends[1];
    return true;
}

static bool make_temporary(struct command_process *command) {
    const char *base = getenv("TMPDIR"); // NOLINT(concurrency-mt-unsafe)
    int needed = snprintf(command->temporary, sizeof command->temporary, "%s/orrery-XXXXXX",
                          base == NULL || *base != '/' ? "/tmp" : base);
    bool ok = needed < (int)sizeof command->temporary && mkdtemp(command->temporary) != NULL;
    if (!ok) {
        command->temporary[0] = '\0';
    }
    return ok;
}

static bool open_all(struct command_process *command, const struct command_options *options,
                     struct ends *ends, struct error *err) {
    *ends = (struct ends){-1, -1, -1};
    ends->input = make_input(options->job->parameters, options->job->parameters_bytes);
    if (ends->input < 0 || !open_pipe(&command->output_fd, &ends->output) ||
        !open_pipe(&command->message_fd, &ends->messages) || !make_temporary(command)) {
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the command cannot be started now");
    }
    return true;
}

static int spawn(struct command_process *command, const struct command_options *options,
                 const struct ends *ends) {
    struct arena arena CLEANUP(arena_fini) = {0};
    struct words arguments;
    struct words variables;
    list_arguments(command, options, &arena, &arguments);
    list_variables(command, options, &arena, &variables);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends->input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends->output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends->messages, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    int failed = posix_spawn(&command->pid, options->program, &actions, &attributes,
                             (char *const *)(uintptr_t)arguments.items,
                             (char *const *)(uintptr_t)variables.items);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
}

bool command_start(struct command_process *command, const struct command_options *options,
                   struct error *err) {
    *command = (struct command_process){.pid_fd = -1, .output_fd = -1, .message_fd = -1};
    /* One byte more than there may be says that there is too much. */
    text_init(&command->output, options->settings->output_bytes_maximum + 1);
    struct ends ends;
    bool ok = open_all(command, options, &ends, err);
    if (ok) {
        int failed = spawn(command, options, &ends);
        if (failed != 0) {
            command->pid = 0;
            ok = error_set_errno(err, ERROR_UNAVAILABLE, failed,
                                 "the command cannot be started now");
        }
    }
    close_ends(&ends);
    if (ok) {
        command->pid_fd = (int)syscall(SYS_pidfd_open, command->pid, 0);
        if (command->pid_fd < 0) {
            ok = error_set_errno(err, ERROR_UNAVAILABLE, errno, "the command cannot be watched");
            command_signal(command, SIGKILL);
            waitpid(command->pid, NULL, 0);
        }
    }
    if (!ok) {
        command_clear(command);
    }
    return ok;
}

/* --- while it runs ------------------------------------------------------------------------------- */

void command_signal(const struct command_process *command, int signal) {
    ASSERT(command->pid > 0); /* 0 would be our own group */
    kill(-command->pid, signal);
}

/* How many bytes came; 0 at the end, -1 if nothing is there now. */
static ssize_t take(int fd, char *room, size_t room_bytes) {
    ssize_t got;
    do {
        got = read(fd, room, room_bytes);
    } while (got < 0 && errno == EINTR);
    return got;
}

bool command_read_output(struct command_process *command, size_t bytes_maximum) {
    for (size_t taken_bytes = 0; command->output_fd >= 0 && taken_bytes < bytes_maximum;) {
        size_t left_bytes = command->output.maximum_bytes - command->output.size_bytes;
        size_t wanted_bytes = MIN_OF(left_bytes, (size_t)READ_BYTES);
        char *room = wanted_bytes == 0 ? NULL : text_reserve(&command->output, wanted_bytes);
        if (room == NULL) {
            return false;
        }
        ssize_t got = take(command->output_fd, room, wanted_bytes);
        if (got < 0) {
            break;
        }
        if (got == 0) {
            close_fd(&command->output_fd);
        }
        text_claim(&command->output, (size_t)got);
        taken_bytes += (size_t)got;
    }
    return command->output.size_bytes < command->output.maximum_bytes;
}

void command_read_messages(struct command_process *command) {
    char bytes[STDERR_KEPT_BYTES];
    ssize_t got = command->message_fd < 0 ? -1 : take(command->message_fd, bytes, sizeof bytes);
    if (got == 0) {
        close_fd(&command->message_fd);
    }
    if (got <= 0) {
        return;
    }
    size_t kept_bytes = MIN_OF(command->message_bytes, STDERR_KEPT_BYTES - (size_t)got);
    memmove(command->messages, command->messages + command->message_bytes - kept_bytes, kept_bytes);
    memcpy(command->messages + kept_bytes, bytes, (size_t)got);
    command->message_bytes = kept_bytes + (size_t)got;
}

/* --- its end ------------------------------------------------------------------------------------- */

bool command_end(struct command_process *command, int *out_status) {
    /* Before it is reaped, its id cannot be anybody else's. */
    command_signal(command, SIGKILL);
    bool fits = command_read_output(command, SIZE_MAX);
    /* What one pipe holds at most (pipe(7)), in pieces. */
    for (int i = 0; i < 16 && command->message_fd >= 0; i++) {
        command_read_messages(command);
    }
    while (waitpid(command->pid, out_status, 0) < 0 && errno == EINTR) {
    }
    command->pid = 0;
    return fits;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    (void)remove(path);
    return 0;
}

void command_clear(struct command_process *command) {
    close_fd(&command->pid_fd);
    close_fd(&command->output_fd);
    close_fd(&command->message_fd);
    text_fini(&command->output);
    /* Most leave nothing there. */
    if (command->temporary[0] != '\0' && rmdir(command->temporary) != 0) {
        nftw(command->temporary, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    command->temporary[0] = '\0';
}

/* Without control characters. */
static void copy_shown(const char *start, const char *end, char *out) {
    for (; start < end; start++) {
        bool is_control = (unsigned char)*start < 0x20 || *start == 0x7F;
        *out++ = (char)(is_control ? ' ' : *start);
    }
    *out = '\0';
}

void command_last_words(const struct command_process *command, char *out, size_t size_bytes) {
    const char *end = command->messages + command->message_bytes;
    while (end > command->messages && (unsigned char)end[-1] <= ' ') {
        end--;
    }
    const char *start = command->messages;
    if ((size_t)(end - start) >= size_bytes) {
        start = end - size_bytes + 1;
        while (start < end && ((unsigned char)*start & 0xC0) == 0x80) {
            start++; /* not in the middle of a character */
        }
    }
    copy_shown(start, end, out);
}

void command_first_words(const struct command_process *command, char *out, size_t size_bytes) {
    const struct text *output = &command->output;
    size_t length = MIN_OF(output->size_bytes, size_bytes - 1);
    while (length > 0 && length < output->size_bytes &&
           ((unsigned char)output->data[length] & 0xC0) == 0x80) {
        length--; /* not in the middle of a character */
    }
    while (length > 0 && (unsigned char)output->data[length - 1] <= ' ') {
        length--;
    }
    copy_shown(output->data, output->data + length, out);
}
