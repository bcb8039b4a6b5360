/* Which system calls, by seccomp. */
#include "worker/sandbox_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What running models takes, with the C and C++ libraries and their threads below. By name: some are not there on
 * every architecture. */
static const char *const needed_by_worker[] = {
    /* its socket, and large bodies in sealed files */
    "read",
    "readv",
    "write",
    "writev",
    "recvfrom",
    "recvmsg",
    "sendto",
    "sendmsg",
    "recv",
    "send",
    "shutdown",
    "poll",
    "ppoll",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "eventfd2",
    "memfd_create",
    "ftruncate",
    "fcntl",
    "close",
    "close_range",
    "dup",
    /* reading files */
    "pread64",
    "preadv",
    "lseek",
    "fstat",
    "stat",
    "lstat",
    "newfstatat",
    "fstatat64",
    "fstat64",
    "statx",
    "statfs",
    "fstatfs",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getcwd",
    "getdents64",
    "fadvise64",
    "readahead",
    /* memory */
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "brk",
    "mincore",
    "msync",
    "mlock",
    "munlock",
    "get_mempolicy",
    "membarrier",
    /* threads */
    "futex",
    "futex_waitv",
    "set_robust_list",
    "get_robust_list",
    "set_tid_address",
    "rseq",
    "gettid",
    "sched_yield",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "getcpu",
    "arch_prctl",
    "exit",
    /* time, signals, and questions about itself */
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "times",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigpending",
    "sigaltstack",
    "restart_syscall",
    "getpid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getpgrp",
    "getrusage",
    "getrlimit",
    "getpriority",
    "sysinfo",
    "uname",
    "getrandom",
    "exit_group",
};

/* What a command never gets: reaching into other processes, mounting, changing the machine, ways around the filter, and
 * leaving its process group. */
static const char *const denied_to_command[] = {
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "setns",
    "unshare",
    "name_to_handle_at",
    "open_by_handle_at",
    "quotactl",
    "quotactl_fd",
    "acct",
    "swapon",
    "swapoff",
    "sysfs",
    "_sysctl",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "fanotify_init",
    "lookup_dcookie",
    "syslog",
    "add_key",
    "request_key",
    "keyctl",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "reboot",
    "vhangup",
    "nfsservctl",
    "settimeofday",
    "stime",
    "adjtimex",
    "clock_adjtime",
    "clock_settime",
    "clock_adjtime64",
    "clock_settime64",
    "sethostname",
    "setdomainname",
    "iopl",
    "ioperm",
    "modify_ldt",
    "personality",
    "uselib",
    "ustat",
    "vm86",
    "vm86old",
    "migrate_pages",
    "move_pages",
    "mbind",
    "set_mempolicy",
    "setpgid",
    "setsid",
    "memfd_secret",
};

static const uint64_t new_namespaces[] = {CLONE_NEWNS,  CLONE_NEWCGROUP, CLONE_NEWUTS,
                                          CLONE_NEWIPC, CLONE_NEWUSER,   CLONE_NEWPID,
                                          CLONE_NEWNET, CLONE_NEWTIME};

/* Adds rules until one fails, and remembers. */
struct rules {
    scmp_filter_ctx filter;
    int failure; /* a negative errno */
};

static void add_when(struct rules *rules, uint32_t action, const char *name, unsigned count,
                     const struct scmp_arg_cmp *conditions) {
    int number = seccomp_syscall_resolve_name(name);
    if (rules->failure == 0 && number != __NR_SCMP_ERROR) {
        rules->failure = seccomp_rule_add_array(rules->filter, action, number, count, conditions);
    }
}

static void add(struct rules *rules, uint32_t action, const char *name) {
    add_when(rules, action, name, 0, NULL);
}

static void add_equal(struct rules *rules, uint32_t action, const char *name, unsigned argument,
                      uint64_t mask, uint64_t value) {
    struct scmp_arg_cmp condition = {
        .arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
    add_when(rules, action, name, 1, &condition);
}

static void fill_for_worker(struct rules *rules) {
    static const int questions[] = {PR_SET_NAME,    PR_GET_NAME,         PR_GET_DUMPABLE,
                                    PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS, PR_SET_VMA};
    for (size_t i = 0; i < COUNT_OF(needed_by_worker); i++) {
        add(rules, SCMP_ACT_ALLOW, needed_by_worker[i]);
    }
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        add_equal(rules, SCMP_ACT_ALLOW, "prctl", 0, UINT32_MAX, (uint64_t)questions[i]);
    }
    add(rules, SCMP_ACT_ERRNO(ENOSYS), "clone3");
    add(rules, SCMP_ACT_ERRNO(ENOSYS), "openat2");
    /* Threads, not processes. */
    add_equal(rules, SCMP_ACT_ALLOW, "clone", 0, CLONE_THREAD, CLONE_THREAD);
    /* Files are opened for reading; Landlock says which. */
    uint64_t writing = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
    add_equal(rules, SCMP_ACT_ALLOW, "open", 1, writing, O_RDONLY);
    add_equal(rules, SCMP_ACT_ALLOW, "openat", 2, writing, O_RDONLY);
    /* Limits are asked for, not set; signals go to itself (abort(3)). */
    add_equal(rules, SCMP_ACT_ALLOW, "prlimit64", 2, UINT64_MAX, 0);
    add_equal(rules, SCMP_ACT_ALLOW, "tgkill", 0, UINT32_MAX, (uint64_t)getpid());
}

static void deny(struct rules *rules, const char *name) { add(rules, SCMP_ACT_ERRNO(EPERM), name); }

/* Sockets of the machine's own (AF_UNIX) are no network: other services listen there, and trust who comes. */
static void deny_sockets(struct rules *rules, bool has_network) {
    if (!has_network) {
        deny(rules, "socket");
        return;
    }
    for (uint64_t family = 0; family < AF_MAX; family++) {
        if (family != AF_INET && family != AF_INET6 && family != AF_NETLINK) {
            add_equal(rules, SCMP_ACT_ERRNO(EPERM), "socket", 0, UINT32_MAX, family);
        }
    }
}

static void fill_for_command(struct rules *rules, bool has_network) {
    for (size_t i = 0; i < COUNT_OF(denied_to_command); i++) {
        deny(rules, denied_to_command[i]);
    }
    for (size_t i = 0; i < COUNT_OF(new_namespaces); i++) {
        add_equal(rules, SCMP_ACT_ERRNO(EPERM), "clone", 0, new_namespaces[i], new_namespaces[i]);
    }
    add(rules, SCMP_ACT_ERRNO(ENOSYS), "clone3");
    add_equal(rules, SCMP_ACT_ERRNO(EPERM), "ioctl", 1, UINT32_MAX, TIOCSTI);
    add_equal(rules, SCMP_ACT_ERRNO(EPERM), "ioctl", 1, UINT32_MAX, TIOCLINUX);
    deny_sockets(rules, has_network);
}

bool sandbox_filter_calls(const struct sandbox_options *options, bool *out_in_force,
                          struct error *err) {
    /* Without filters in the kernel the mode is not known to it (seccomp(2)): EINVAL; with them, the address: EFAULT. */
    if (prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, NULL, 0, 0) != 0 && errno != EFAULT) {
        *out_in_force = false;
        return true;
    }
    bool is_worker = options->profile == SANDBOX_WORKER;
    struct rules rules = {.filter =
                              seccomp_init(is_worker ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW)};
    if (rules.filter == NULL) {
        return error_set(err, ERROR_INTERNAL, "no seccomp filter can be made");
    }
    rules.failure = seccomp_attr_set(rules.filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (is_worker) {
        /* A search in about ten steps instead of a hundred: every call passes the filter. */
        if (rules.failure == 0) {
            rules.failure = seccomp_attr_set(rules.filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        }
        fill_for_worker(&rules);
    } else {
        fill_for_command(&rules, options->has_network);
    }
    if (rules.failure == 0) {
        rules.failure = seccomp_load(rules.filter);
    }
    seccomp_release(rules.filter);
    if (rules.failure != 0) {
        return error_set_errno(err, ERROR_INTERNAL, -rules.failure,
                               "the seccomp filter cannot be loaded");
    }
    *out_in_force = true;
    return true;
}
