/* Which files, by Landlock. The C library has no functions for it, so these are its system calls; constants that are
 * newer than the oldest header it is built with are written out, from landlock(7) and the kernel's documentation. */
#include "worker/sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By the version that brought them. */
#define ACCESS_V1 ((UINT64_C(1) << 13) - 1)
#define ACCESS_REFER_V2 (UINT64_C(1) << 13)
#define ACCESS_TRUNCATE_V3 (UINT64_C(1) << 14)
#define ACCESS_DEVICE_V5 (UINT64_C(1) << 15)
#define NETWORK_TCP_V4 UINT64_C(3) /* bind, connect */
#define SCOPE_V6 UINT64_C(3)       /* abstract sockets, signals */

/* What can be said of a file; the rest only of a folder. */
#define ACCESS_OF_FILES                                                                            \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |   \
     ACCESS_TRUNCATE_V3 | ACCESS_DEVICE_V5)
#define ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

/* struct landlock_ruleset_attr as of version 6. */
struct ruleset {
    uint64_t files;
    uint64_t network;
    uint64_t scoped;
};

/* What a program needs of the system to start, to load libraries, and to find out about its machine. */
static const char *const readable_by_worker[] = {
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
};
static const char *const readable_by_command[] = {
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr",
    "/opt",
    "/etc",
    "/proc",
    "/sys/devices",
    "/run/systemd/resolve",
};
static const char *const devices_of_command[] = {
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom",
};

int landlock_version(void) {
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return version < 0 ? 0 : (int)version;
}

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
}

/* What is not there needs no rule. */
static bool permit(int rules, const char *path, uint64_t access, struct error *err) {
    int fd CLEANUP(close_fd) = open(path, O_PATH | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        return true;
    }
    struct landlock_path_beneath_attr rule = {
        .parent_fd = fd,
        .allowed_access = S_ISDIR(status.st_mode) ? access : access & ACCESS_OF_FILES,
    };
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
        return error_set_errno(err, ERROR_INTERNAL, errno, "Landlock takes no rule for %s", path);
    }
    return true;
}

static bool permit_all(int rules, const char *const *paths, size_t count, uint64_t access,
                       struct error *err) {
    for (size_t i = 0; i < count; i++) {
        if (!permit(rules, paths[i], access, err)) {
            return false;
        }
    }
    return true;
}

static bool permit_worker(int rules, const struct sandbox_options *options, struct error *err) {
    return permit_all(rules, readable_by_worker, COUNT_OF(readable_by_worker), ACCESS_READ, err) &&
           permit_all(rules, options->readable, options->readable_count, ACCESS_READ, err);
}

static bool permit_command(int rules, const struct sandbox_options *options, uint64_t handled,
                           struct error *err) {
    uint64_t run = ACCESS_READ | LANDLOCK_ACCESS_FS_EXECUTE;
    uint64_t no_devices = ~(uint64_t)(LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK);
    uint64_t write_device = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
    return permit_all(rules, readable_by_command, COUNT_OF(readable_by_command), run, err) &&
           permit_all(rules, options->readable, options->readable_count, run, err) &&
           permit_all(rules, devices_of_command, COUNT_OF(devices_of_command), write_device, err) &&
           (options->writable == NULL ||
            permit(rules, options->writable, handled & no_devices, err));
}

bool sandbox_restrict_files(const struct sandbox_options *options, int version, struct error *err) {
    struct ruleset ruleset = {
        .files = ACCESS_V1 | (version >= 2 ? ACCESS_REFER_V2 : 0) |
                 (version >= 3 ? ACCESS_TRUNCATE_V3 : 0) | (version >= 5 ? ACCESS_DEVICE_V5 : 0),
        .network = version >= 4 && !options->has_network ? NETWORK_TCP_V4 : 0,
        .scoped = version >= LANDLOCK_VERSION_WITH_SIGNALS ? SCOPE_V6 : 0,
    };
    /* An older kernel refuses a structure that is longer than its own. */
    size_t size_bytes = version >= LANDLOCK_VERSION_WITH_SIGNALS ? sizeof ruleset
                        : version >= 4                           ? offsetof(struct ruleset, scoped)
                                       : offsetof(struct ruleset, network);
    int rules CLEANUP(close_fd) =
        (int)syscall(SYS_landlock_create_ruleset, &ruleset, size_bytes, 0);
    if (rules < 0) {
        return error_set_errno(err, ERROR_INTERNAL, errno, "Landlock gives no rules");
    }
    bool ok = options->profile == SANDBOX_WORKER
                  ? permit_worker(rules, options, err)
                  : permit_command(rules, options, ruleset.files, err);
    if (ok && syscall(SYS_landlock_restrict_self, rules, 0) != 0) {
        ok = error_set_errno(err, ERROR_INTERNAL, errno, "Landlock does not restrict the process");
    }
    return ok;
}
