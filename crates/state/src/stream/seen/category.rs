//! What system calls without an event of their own are about, by name.
//!
//! Source: falcosecurity/libs `userspace/libscap/syscall_info_table.c` (Apache-2.0), which sysdig asks
//! for the same. Names in `unknown` read or write, or are of no class there.

use std::collections::HashMap;
use std::sync::LazyLock;

static NAMES: &[(&str, &[&str])] = &[
    ("IPC", &[
        "chroot", "eventfd", "eventfd2", "fanotify_init", "futex", "getdents64", "inotify_add_watch",
        "inotify_init", "inotify_init1", "inotify_rm_watch", "ipc", "kill", "mq_getsetattr", "mq_notify",
        "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd",
        "pipe", "pipe2", "semctl", "semget", "semop", "shmat", "shmctl", "shmdt", "shmget", "splice", "tee",
        "vmsplice",
    ]),
    ("file", &[
        "access", "chdir", "chmod", "chown", "close", "copy_file_range", "creat", "faccessat", "fchdir",
        "fchmod", "fchmodat", "fchown", "fchownat", "fcntl64", "fgetxattr", "flistxattr", "flock",
        "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "ftruncate",
        "futimesat", "getcwd", "getdents", "getxattr", "lchown", "lgetxattr", "link", "linkat", "listxattr",
        "llistxattr", "llseek", "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "mkdir",
        "mkdirat", "mknod", "mknodat", "mmap", "mmap2", "mount", "mremap", "munmap", "open", "openat",
        "openat2", "pread64", "pwrite64", "readlink", "readlinkat", "remap_file_pages", "removexattr",
        "rename", "renameat", "renameat2", "rmdir", "sendfile", "sendfile64", "setxattr", "stat", "stat64",
        "statfs", "statfs64", "symlink", "symlinkat", "syncfs", "truncate", "umount", "umount2", "unlink",
        "unlinkat", "userfaultfd", "ustat", "utimensat", "utimes",
    ]),
    ("memory", &[
        "brk", "madvise", "mincore", "mlock", "mlockall", "mprotect", "munlock", "munlockall",
    ]),
    ("net", &[
        "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
        "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
        "socket", "socketcall", "socketpair",
    ]),
    ("other", &[
        "bdflush", "bpf", "clock_adjtime", "perf_event_open", "ptrace", "rt_tgsigqueueinfo", "seccomp",
        "unknown", "vhangup",
    ]),
    ("process", &[
        "acct", "arch_prctl", "capget", "capset", "clone", "clone3", "exit", "get_robust_list",
        "get_thread_area", "getcpu", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrlimit",
        "getrusage", "getsid", "gettid", "ioprio_get", "ioprio_set", "nice", "personality", "pivot_root",
        "prctl", "prlimit64", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
        "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity",
        "sched_setparam", "sched_setscheduler", "set_robust_list", "set_thread_area", "set_tid_address",
        "setns", "setpgid", "setpriority", "setrlimit", "setsid", "swapon", "ugetrlimit", "umask",
        "unshare", "uselib",
    ]),
    ("signal", &[
        "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
        "rt_sigsuspend", "rt_sigtimedwait", "sgetmask", "signal", "signalfd", "signalfd4", "sigpending", "sigprocmask",
        "sigreturn", "ssetmask", "tgkill", "tkill",
    ]),
    ("sleep", &[
        "clock_nanosleep", "nanosleep", "sched_yield",
    ]),
    ("system", &[
        "add_key", "adjtimex", "delete_module", "execve", "execveat", "finit_module", "init_module",
        "kexec_load", "keyctl", "olduname", "quotactl", "reboot", "request_key", "restart_syscall",
        "setdomainname", "sethostname", "swapoff", "sysfs", "sysinfo", "syslog", "uname",
    ]),
    ("time", &[
        "alarm", "clock_getres", "clock_gettime", "clock_settime", "getitimer", "gettimeofday", "setitimer",
        "settimeofday", "stime", "time", "timer_create", "timer_delete", "timer_getoverrun",
        "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime", "times",
        "utime",
    ]),
    ("user", &[
        "getegid", "geteuid", "getgid", "getgroups", "getresgid", "getresuid", "getuid", "setfsgid",
        "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid", "setuid",
    ]),
    ("wait", &[
        "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "fcntl", "newselect",
        "pause", "poll", "ppoll", "pselect6", "select", "wait4", "waitid", "waitpid",
    ]),
];

/// The word for what the system call `name` is about.
pub(super) fn of(name: &str) -> &'static str {
    static WORDS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
        NAMES.iter().flat_map(|(word, names)| names.iter().map(|name| (*name, *word))).collect()
    });
    WORDS.get(name).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_found() {
        assert_eq!((super::of("arch_prctl"), super::of("nothing")), ("process", "unknown"));
    }
}
