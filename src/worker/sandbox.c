#include "worker/sandbox.h"

#include "worker/sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILES_OF_WORKER = 256, FILES_OF_COMMAND = 1024 };
#define FILE_BYTES_OF_COMMAND ((rlim_t)1 << 30)

static const char *const part_names[SANDBOX_PART_COUNT] = {
    [SANDBOX_PRIVILEGES] = "no new privileges", [SANDBOX_TRACING] = "no tracing, no core dumps",
    [SANDBOX_CALLS] = "system calls (seccomp)", [SANDBOX_FILES] = "files (Landlock)",
    [SANDBOX_SIGNALS] = "signals (Landlock)",   [SANDBOX_LIMITS] = "resource limits",
};

const char *sandbox_part_name(enum sandbox_part part) { return part_names[part]; }

static bool limit(__rlimit_resource_t resource, rlim_t maximum, struct error *err) {
    struct rlimit now;
    if (getrlimit(resource, &now) == 0 && maximum > now.rlim_max) {
        maximum = now.rlim_max;
    }
    if (setrlimit(resource, &(struct rlimit){maximum, maximum}) != 0) {
        return error_set_errno(err, ERROR_INTERNAL, errno, "a resource limit cannot be set");
    }
    return true;
}

static bool set_limits(const struct sandbox_options *options, struct error *err) {
    bool is_worker = options->profile == SANDBOX_WORKER;
    return limit(RLIMIT_CORE, 0, err) &&
           limit(RLIMIT_NOFILE, is_worker ? FILES_OF_WORKER : FILES_OF_COMMAND, err) &&
           limit(RLIMIT_FSIZE, is_worker ? RLIM_INFINITY : FILE_BYTES_OF_COMMAND, err);
}

static bool limit_memory(const struct sandbox_options *options, struct error *err) {
    return options->memory_bytes == 0 || limit(RLIMIT_AS, options->memory_bytes, err);
}

/* If memory runs out, the kernel takes this process and not the daemon. One's own score may always be raised. */
static void volunteer_for_the_oom_killer(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t ignored = write(fd, "1000", 4);
        (void)ignored;
        close(fd);
    }
}

bool sandbox_enter(const struct sandbox_options *options, struct sandbox *out_sandbox,
                   struct error *err) {
    int version = landlock_version();
    bool filters_calls = false;
    volunteer_for_the_oom_killer();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return error_set_errno(err, ERROR_INTERNAL, errno, "the process cannot be restricted");
    }
    /* A worker may set no limits any more once its calls are filtered. A command gets the one of memory last, because
     * it is meant for the program that comes after this one. */
    bool is_worker = options->profile == SANDBOX_WORKER;
    if (!set_limits(options, err) || (is_worker && !limit_memory(options, err)) ||
        (version > 0 && !sandbox_restrict_files(options, version, err)) ||
        !sandbox_filter_calls(options, &filters_calls, err) ||
        (!is_worker && !limit_memory(options, err))) {
        return false;
    }
    uint32_t parts = 1U << SANDBOX_PRIVILEGES | 1U << SANDBOX_TRACING | 1U << SANDBOX_LIMITS;
    parts |= filters_calls ? 1U << SANDBOX_CALLS : 0;
    parts |= version > 0 ? 1U << SANDBOX_FILES : 0;
    parts |= version >= LANDLOCK_VERSION_WITH_SIGNALS ? 1U << SANDBOX_SIGNALS : 0;
    out_sandbox->parts = parts;
    return true;
}

/* --- the proof ----------------------------------------------------------------------------------- */

static bool privileges_are_fixed(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1; }

static bool is_hidden(void) {
    struct rlimit core = {1, 1};
    return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 && getrlimit(RLIMIT_CORE, &core) == 0 &&
           core.rlim_max == 0;
}

static bool calls_are_filtered(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool is_denied = fd < 0 && errno == EPERM;
    if (fd >= 0) {
        close(fd);
    }
    return is_denied;
}

static bool files_are_hidden(void) {
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    bool is_denied = fd < 0 && errno == EACCES;
    if (fd >= 0) {
        close(fd);
    }
    return is_denied;
}

/* Signal 0 does nothing but ask. The filter denies it first, so only its absence can be told apart. */
static bool signals_are_kept(void) { return kill(getppid(), 0) != 0 && errno == EPERM; }

static bool limits_are_set(void) {
    struct rlimit files;
    return getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max <= FILES_OF_WORKER;
}

void sandbox_probe(const struct sandbox *sandbox,
                   char out_findings[static SANDBOX_PART_COUNT + 1]) {
    static bool (*const proofs[SANDBOX_PART_COUNT])(void) = {
        [SANDBOX_PRIVILEGES] = privileges_are_fixed, [SANDBOX_TRACING] = is_hidden,
        [SANDBOX_CALLS] = calls_are_filtered,        [SANDBOX_FILES] = files_are_hidden,
        [SANDBOX_SIGNALS] = signals_are_kept,        [SANDBOX_LIMITS] = limits_are_set,
    };
    for (size_t i = 0; i < SANDBOX_PART_COUNT; i++) {
        bool is_expected = (sandbox->parts & 1U << i) != 0;
        if (!is_expected) {
            out_findings[i] = '-';
        } else {
            out_findings[i] = proofs[i]() ? '+' : '!';
        }
    }
    out_findings[SANDBOX_PART_COUNT] = '\0';
}
