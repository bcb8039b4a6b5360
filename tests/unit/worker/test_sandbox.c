/* Children that enter the sandbox and try what it forbids. Each proof is made by trying, in the very process. */
#include "worker/sandbox.h"

#include "worker/model_paths.h"
#include "worker/sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What a child found; 0: all as it must be. A number says which line of the list below. */
typedef int trial(const char *folder);

struct bed {
    char folder[64];  /* may be read, and written by a command */
    char outside[64]; /* may not */
    bool has_landlock;
};

static void write_file(const char *folder, const char *name, const char *bytes) {
    char path[128];
    int needed = snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_true(needed < (int)sizeof path);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(bytes, file);
    fclose(file);
}

static int setup(void **state) {
    struct bed *bed = must_alloc_zeroed(1, sizeof *bed);
    strcpy(bed->folder, "/tmp/orrery-sandbox-XXXXXX");
    strcpy(bed->outside, "/tmp/orrery-outside-XXXXXX");
    assert_non_null(mkdtemp(bed->folder));
    assert_non_null(mkdtemp(bed->outside));
    write_file(bed->folder, "inside", "x");
    write_file(bed->outside, "secret", "x");
    bed->has_landlock = landlock_version() > 0;
    *state = bed;
    return 0;
}

static int teardown(void **state) {
    struct bed *bed = *state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s %s", bed->folder, bed->outside);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c)
    free(bed);
    return 0;
}

/* The trial's number, from a child that has entered. */
static int run_inside(const struct sandbox_options *options, trial *attempt, const char *outside) {
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sandbox sandbox;
        struct error err;
        if (!sandbox_enter(options, &sandbox, &err)) {
            fprintf(stderr, "%s\n", err.message);
            _exit(99);
        }
        _exit(attempt(outside));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int inside_worker(struct bed *bed, trial *attempt) {
    const char *readable[] = {bed->folder};
    struct sandbox_options options = {
        .profile = SANDBOX_WORKER, .readable = readable, .readable_count = 1};
    return run_inside(&options, attempt, bed->outside);
}

static int inside_command(struct bed *bed, bool has_network, trial *attempt) {
    struct sandbox_options options = {
        .profile = SANDBOX_COMMAND, .writable = bed->folder, .has_network = has_network};
    return run_inside(&options, attempt, bed->outside);
}

static bool is_denied(long result, int reason) { return result == -1 && errno == reason; }

static int open_at(const char *folder, const char *name, int flags) {
    char path[128];
    int needed = snprintf(path, sizeof path, "%s/%s", folder, name);
    ASSERT(needed < (int)sizeof path);
    return open(path, flags | O_CLOEXEC, 0600);
}

/* --- the worker's profile ------------------------------------------------------------------------- */

static int try_files_outside(const char *outside) {
    if (!is_denied(open("/etc/shadow", O_RDONLY | O_CLOEXEC), EACCES)) {
        return 1;
    }
    if (!is_denied(open("/etc/passwd", O_RDONLY | O_CLOEXEC), EACCES)) {
        return 2;
    }
    if (!is_denied(open_at(outside, "secret", O_RDONLY), EACCES)) {
        return 3;
    }
    return is_denied(open(outside, O_RDONLY | O_DIRECTORY | O_CLOEXEC), EACCES) ? 0 : 4;
}

static void a_worker_reads_no_file_outside(void **state) {
    struct bed *bed = *state;
    if (!bed->has_landlock) {
        skip();
    }
    assert_int_equal(inside_worker(bed, try_files_outside), 0);
}

static char inside_path[128];

static int try_files_inside(const char *outside) {
    (void)outside;
    char byte;
    int fd = open(inside_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1 || byte != 'x') {
        return 1;
    }
    /* Written, made, removed or renamed is nothing, not even there. */
    if (!is_denied(open(inside_path, O_WRONLY | O_CLOEXEC), EPERM)) {
        return 2;
    }
    if (!is_denied(open(inside_path, O_RDWR | O_TRUNC | O_CLOEXEC), EPERM)) {
        return 3;
    }
    if (!is_denied(open("/tmp", O_TMPFILE | O_RDWR, 0600), EPERM)) {
        return 4;
    }
    if (!is_denied(unlink(inside_path), EPERM) ||
        !is_denied(rename(inside_path, "/tmp/x"), EPERM)) {
        return 5;
    }
    return is_denied(chmod(inside_path, 0777), EPERM) ? 0 : 6;
}

static void a_worker_reads_its_folder_and_writes_nothing(void **state) {
    struct bed *bed = *state;
    snprintf(inside_path, sizeof inside_path, "%s/inside", bed->folder);
    assert_int_equal(inside_worker(bed, try_files_inside), 0);
}

static int try_calls(const char *outside) {
    (void)outside;
    static const int families[] = {AF_INET, AF_INET6, AF_UNIX, AF_NETLINK, AF_PACKET};
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        if (!is_denied(socket(families[i], SOCK_STREAM, 0), EPERM)) {
            return 1;
        }
    }
    int pair[2];
    if (!is_denied(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), EPERM)) {
        return 2;
    }
    char *const arguments[] = {"true", NULL};
    if (!is_denied(execv("/bin/true", arguments), EPERM)) {
        return 3;
    }
    if (!is_denied(fork(), EPERM) || !is_denied(vfork(), EPERM)) { // NOLINT
        return 4;
    }
    if (!is_denied(ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM)) {
        return 5;
    }
    if (!is_denied(kill(getppid(), 0), EPERM) || !is_denied(kill(-1, 0), EPERM)) {
        return 6;
    }
    if (!is_denied(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), EPERM)) {
        return 7;
    }
    return 0;
}

static void a_worker_has_no_sockets_no_children_and_no_signals(void **state) {
    assert_int_equal(inside_worker(*state, try_calls), 0);
}

static int try_rare_calls(const char *outside) {
    (void)outside;
    static const char *const names[] = {
        "mount",    "umount2",       "pivot_root",     "chroot",      "bpf",
        "keyctl",   "add_key",       "io_uring_setup", "userfaultfd", "perf_event_open",
        "unshare",  "setns",         "init_module",    "reboot",      "kexec_load",
        "setuid",   "setgid",        "setsid",         "setpgid",     "process_vm_readv",
        "swapon",   "sethostname",   "settimeofday",   "mknod",       "link",
        "symlink",  "setxattr",      "shmget",         "msgget",      "open_by_handle_at",
        "bind",     "listen",        "connect",        "accept4",     "personality",
        "truncate", "inotify_init1", "timerfd_create", "ioctl"};
    extern int seccomp_syscall_resolve_name(const char *name);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number >= 0 && !is_denied(syscall(number, -1, -1, -1, -1, -1, -1), EPERM)) {
            fprintf(stderr, "%s is not denied\n", names[i]);
            return 1;
        }
    }
    return 0;
}

static void a_worker_has_no_call_that_it_does_not_need(void **state) {
    assert_int_equal(inside_worker(*state, try_rare_calls), 0);
}

static void *add_one(void *number) {
    *(int *)number += 1;
    return NULL;
}

static int try_what_it_needs(const char *outside) {
    (void)outside;
    pthread_t thread;
    int number = 41;
    if (pthread_create(&thread, NULL, add_one, &number) != 0 || pthread_join(thread, NULL) != 0 ||
        number != 42) {
        return 1;
    }
    char *memory = malloc(64 << 20);
    if (memory == NULL) {
        return 2;
    }
    memset(memory, 1, 64 << 20);
    free(memory);
    return 0;
}

static void a_worker_has_threads_and_memory(void **state) {
    assert_int_equal(inside_worker(*state, try_what_it_needs), 0);
}

static int try_memory(const char *outside) {
    (void)outside;
    void *volatile memory = malloc((size_t)300 << 30);
    return memory == NULL && errno == ENOMEM ? 0 : 1;
}

static void hundreds_of_gigabytes_are_refused(void **state) {
    struct bed *bed = *state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their own address space is larger */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    skip();
#endif
#endif
    struct sandbox_options options = {.profile = SANDBOX_WORKER, .memory_bytes = (uint64_t)4 << 30};
    assert_int_equal(run_inside(&options, try_memory, bed->outside), 0);
}

static int try_limits(const char *outside) {
    (void)outside;
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_max != 0) {
        return 1;
    }
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return 2;
    }
    return setrlimit(RLIMIT_CORE, &limit) == -1 ? 0 : 3;
}

static void limits_are_set_and_stay(void **state) {
    assert_int_equal(inside_worker(*state, try_limits), 0);
}

static int try_probe(const char *outside) {
    (void)outside;
    /* It has entered already: what it has is what this kernel has. */
    struct sandbox sandbox = {.parts = (1U << SANDBOX_PART_COUNT) - 1};
    char findings[SANDBOX_PART_COUNT + 1];
    sandbox_probe(&sandbox, findings);
    return strcmp(findings, "++++++") == 0 ? 0 : 1;
}

static void the_probe_finds_it_in_force(void **state) {
    struct bed *bed = *state;
    if (!bed->has_landlock) {
        skip();
    }
    assert_int_equal(inside_worker(bed, try_probe), 0);
}

static void the_probe_finds_that_nothing_is_in_force(void **state) {
    (void)state;
    struct sandbox sandbox = {.parts = 1U << SANDBOX_CALLS | 1U << SANDBOX_FILES |
                                       1U << SANDBOX_PRIVILEGES};
    char findings[SANDBOX_PART_COUNT + 1];
    sandbox_probe(&sandbox, findings);
    assert_string_equal(findings, "!-!!--");
}

/* --- a command's profile --------------------------------------------------------------------------- */

static int try_command_files(const char *outside) {
    int fd = open_at(inside_path, "made", O_WRONLY | O_CREAT);
    if (fd < 0 || write(fd, "y", 1) != 1) {
        return 1;
    }
    if (!is_denied(open_at(outside, "secret", O_RDONLY), EACCES)) {
        return 2;
    }
    if (!is_denied(open_at(outside, "made", O_WRONLY | O_CREAT), EACCES)) {
        return 3;
    }
    if (!is_denied(open("/etc/orrery", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), EACCES) ||
        !is_denied(mkdir("/usr/orrery", 0700), EACCES)) {
        return 4;
    }
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0 ? 0 : 5;
}

static void a_command_writes_its_folder_only(void **state) {
    struct bed *bed = *state;
    if (!bed->has_landlock) {
        skip();
    }
    strcpy(inside_path, bed->folder);
    assert_int_equal(inside_command(bed, false, try_command_files), 0);
}

static int try_command_calls(const char *outside) {
    (void)outside;
    if (!is_denied(setsid(), EPERM) || !is_denied(setpgid(0, 0), EPERM)) {
        return 1;
    }
    if (!is_denied(ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM)) {
        return 2;
    }
    if (!is_denied(unshare(CLONE_NEWUSER), EPERM)) {
        return 3;
    }
    if (!is_denied(socket(AF_UNIX, SOCK_STREAM, 0), EPERM)) {
        return 4;
    }
    pid_t child = fork();
    if (child == 0) {
        char *const arguments[] = {"true", NULL};
        execv("/bin/true", arguments);
        _exit(9);
    }
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : 5;
}

static void a_command_starts_programs_and_stays_in_its_group(void **state) {
    assert_int_equal(inside_command(*state, false, try_command_calls), 0);
}

static int try_no_network(const char *outside) {
    (void)outside;
    return is_denied(socket(AF_INET, SOCK_STREAM, 0), EPERM) &&
                   is_denied(socket(AF_INET6, SOCK_DGRAM, 0), EPERM)
               ? 0
               : 1;
}

static int try_network(const char *outside) {
    (void)outside;
    if (socket(AF_INET, SOCK_STREAM, 0) < 0) {
        return 1;
    }
    return is_denied(socket(AF_UNIX, SOCK_STREAM, 0), EPERM) &&
                   is_denied(socket(AF_PACKET, SOCK_RAW, 0), EPERM)
               ? 0
               : 2;
}

static void a_command_has_a_network_only_if_it_is_given(void **state) {
    assert_int_equal(inside_command(*state, false, try_no_network), 0);
    assert_int_equal(inside_command(*state, true, try_network), 0);
}

static int try_signal(const char *outside) {
    (void)outside;
    return is_denied(kill(getppid(), 0), EPERM) ? 0 : 1;
}

static void a_command_signals_nobody_else(void **state) {
    if (landlock_version() < LANDLOCK_VERSION_WITH_SIGNALS) {
        skip();
    }
    assert_int_equal(inside_command(*state, false, try_signal), 0);
}

/* --- the paths of models --------------------------------------------------------------------------- */

static void links_in_the_models_folder_are_followed(void **state) {
    struct bed *bed = *state;
    char path[128];
    char target[128];
    snprintf(path, sizeof path, "%s/model", bed->folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/model/model.onnx", bed->folder);
    snprintf(target, sizeof target, "%s/secret", bed->outside);
    assert_int_equal(symlink(target, path), 0);
    struct model_paths paths;
    model_paths_find(&paths, bed->folder);
    assert_int_equal(paths.count, 2);
    assert_true(model_paths_cover(&paths, path));
    assert_true(model_paths_cover(&paths, target));
    assert_false(model_paths_cover(&paths, bed->outside));
    assert_false(model_paths_cover(&paths, "/etc/passwd"));
    model_paths_fini(&paths);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_worker_reads_no_file_outside),
        TEST(a_worker_reads_its_folder_and_writes_nothing),
        TEST(a_worker_has_no_sockets_no_children_and_no_signals),
        TEST(a_worker_has_no_call_that_it_does_not_need),
        TEST(a_worker_has_threads_and_memory),
        TEST(hundreds_of_gigabytes_are_refused),
        TEST(limits_are_set_and_stay),
        TEST(the_probe_finds_it_in_force),
        TEST(the_probe_finds_that_nothing_is_in_force),
        TEST(a_command_writes_its_folder_only),
        TEST(a_command_starts_programs_and_stays_in_its_group),
        TEST(a_command_has_a_network_only_if_it_is_given),
        TEST(a_command_signals_nobody_else),
        TEST(links_in_the_models_folder_are_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
