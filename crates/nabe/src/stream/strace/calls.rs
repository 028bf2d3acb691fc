//! Which parameters of an event are arguments of the call, in the call's order and as strace writes
//! them. What the schema has besides (devices, inodes, memory figures) is no argument.

/// How an argument is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// As its type says.
    Plain,
    /// An address: `NULL` or hexadecimal.
    Pointer,
    /// Hexadecimal, but 0.
    Hex,
    /// An octal number.
    Octal,
    /// An octal number, there only if the call may make a file.
    Created,
    /// The access mode, then the other bits of `open`.
    Open,
    /// The type of a socket and its bits.
    Socket,
    /// The bits of a socket's type alone.
    SocketFlags,
    /// The protocol of a socket of the Internet.
    Protocol,
    /// The address of a socket.
    Address,
    /// The first address of a tuple.
    Peer,
    /// Two descriptors in brackets: this one, and the one of the parameter behind it.
    Pair,
    /// The request of `ioctl`.
    Request,
    /// There only if the command of `fcntl` takes one.
    Command,
    /// The text, or the number of the parameter behind it when there is none.
    TextOr,
}

/// A piece between the brackets of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// This parameter.
    Of(&'static str, As),
    /// Arguments that events do not have.
    Unknown,
}

/// The pieces of an event of this name; `None` if it is in no table.
pub(super) fn pieces(name: &str) -> Option<impl Iterator<Item = Piece> + use<>> {
    let (_, words) = CALLS.iter().find(|(call, _)| *call == name)?;
    Some(words.split_ascii_whitespace().map(|word| {
        let (name, how) = word.split_once(':').unwrap_or((word, ""));
        let how = match how {
            "ptr" => As::Pointer,
            "hex" => As::Hex,
            "oct" => As::Octal,
            "created" => As::Created,
            "open" => As::Open,
            "sock" => As::Socket,
            "sockflags" => As::SocketFlags,
            "proto" => As::Protocol,
            "addr" => As::Address,
            "peer" => As::Peer,
            "pair" => As::Pair,
            "request" => As::Request,
            "command" => As::Command,
            "text_or" => As::TextOr,
            _ => As::Plain,
        };
        if name == "..." { Piece::Unknown } else { Piece::Of(name, how) }
    }))
}

/// By the schema's name: `parameter[:how]`, or `...` for what events do not have.
const CALLS: &[(&str, &str)] = &[
    ("open", "name flags:open mode:created"),
    ("openat", "dirfd name flags:open mode:created"),
    ("openat2", "dirfd name flags:open mode:created resolve ..."),
    ("creat", "name mode:oct"),
    ("open_by_handle_at", "mountfd path flags:open"),
    ("close", "fd"),
    ("close_range", "first last flags"),
    ("read", "fd data size"),
    ("write", "fd data size"),
    ("pread", "fd data size pos"),
    ("pwrite", "fd data size pos"),
    ("readv", "fd data ..."),
    ("writev", "fd data ..."),
    ("preadv", "fd data ... pos"),
    ("pwritev", "fd data ... pos"),
    ("sendfile", "out_fd in_fd offset size"),
    ("splice", "fd_in ... fd_out ... size flags"),
    ("copy_file_range", "fdin offin fdout offout len ..."),
    ("lseek", "fd offset whence"),
    ("llseek", "fd offset ... whence"),
    ("socket", "domain type:sock proto:proto"),
    ("socketpair", "domain type:sock proto:proto fd1:pair"),
    ("bind", "fd addr:addr ..."),
    ("connect", "fd addr:addr ..."),
    ("listen", "fd backlog"),
    ("accept", "... tuple:peer ..."),
    ("accept4", "... tuple:peer ... flags:sockflags"),
    ("send", "fd data size ..."),
    ("sendto", "fd data size ..."),
    ("recv", "fd data size ..."),
    ("recvfrom", "fd data size ..."),
    ("sendmsg", "fd data ..."),
    ("sendmmsg", "fd data ..."),
    ("recvmsg", "fd data ..."),
    ("recvmmsg", "fd data ..."),
    ("shutdown", "fd how"),
    ("getsockname", "..."),
    ("getpeername", "..."),
    ("setsockopt", "fd level optname val optlen"),
    ("getsockopt", "fd level optname val optlen"),
    ("pipe", "fd1:pair"),
    ("pipe2", "fd1:pair flags:open"),
    ("eventfd", "initval"),
    ("eventfd2", "initval flags:open"),
    ("futex", "addr:ptr op val ..."),
    ("stat", "path ..."),
    ("lstat", "path ..."),
    ("stat64", "path ..."),
    ("lstat64", "path ..."),
    ("fstat", "fd ..."),
    ("fstat64", "..."),
    ("newfstatat", "dirfd path ... flags"),
    ("epoll_create", "size"),
    ("epoll_create1", "flags"),
    ("epoll_wait", "... maxevents ..."),
    ("poll", "fds ... timeout"),
    ("ppoll", "fds ... timeout sigmask ..."),
    ("select", "..."),
    ("getcwd", "path ..."),
    ("chdir", "path"),
    ("fchdir", "fd"),
    ("chroot", "path"),
    ("signalfd", "fd ..."),
    ("signalfd4", "fd ... flags"),
    ("kill", "pid sig"),
    ("tkill", "tid sig"),
    ("tgkill", "pid tid sig"),
    ("nanosleep", "interval ..."),
    ("timerfd_create", "clockid flags:open"),
    ("inotify_init", ""),
    ("inotify_init1", "flags:open"),
    ("getrlimit", "resource ..."),
    ("setrlimit", "resource ..."),
    ("prlimit", "pid resource ..."),
    ("fcntl", "fd cmd arg:command"),
    ("brk", "addr:ptr"),
    ("mmap", "addr:ptr length prot flags fd offset:hex"),
    ("mmap2", "addr:ptr length prot flags fd pgoffset:hex"),
    ("munmap", "addr:ptr length"),
    ("mprotect", "addr:ptr length prot"),
    ("mlock", "addr:ptr len"),
    ("munlock", "addr:ptr len"),
    ("mlock2", "addr:ptr len flags"),
    ("mlockall", "flags"),
    ("munlockall", ""),
    ("ptrace", "request pid addr data"),
    ("ioctl", "fd request:request argument:ptr"),
    ("rename", "oldpath newpath"),
    ("renameat", "olddirfd oldpath newdirfd newpath"),
    ("renameat2", "olddirfd oldpath newdirfd newpath flags"),
    ("link", "oldpath newpath"),
    ("linkat", "olddir oldpath newdir newpath flags"),
    ("symlink", "target linkpath"),
    ("symlinkat", "target linkdirfd linkpath"),
    ("unlink", "path"),
    ("unlinkat", "dirfd name flags"),
    ("mkdir", "path mode:oct"),
    ("mkdirat", "dirfd path mode:oct"),
    ("rmdir", "path"),
    ("mknod", "path mode:oct dev:hex"),
    ("mknodat", "dirfd path mode:oct dev:hex"),
    ("chmod", "filename mode:oct"),
    ("fchmod", "fd mode:oct"),
    ("fchmodat", "dirfd filename mode:oct"),
    ("chown", "path uid gid"),
    ("lchown", "path uid gid"),
    ("fchown", "fd uid gid"),
    ("fchownat", "dirfd pathname uid gid flags"),
    ("access", "name mode"),
    ("mount", "dev dir type flags ..."),
    ("umount", "name"),
    ("umount2", "name flags"),
    ("quotactl", "cmd special id ..."),
    ("setuid", "uid"),
    ("setgid", "gid"),
    ("setreuid", "ruid euid"),
    ("setregid", "rgid egid"),
    ("setresuid", "ruid euid suid"),
    ("setresgid", "rgid egid sgid"),
    ("getuid", ""),
    ("geteuid", ""),
    ("getgid", ""),
    ("getegid", ""),
    ("getresuid", "..."),
    ("getresgid", "..."),
    ("setsid", ""),
    ("setpgid", "pid pgid"),
    ("getdents", "fd ..."),
    ("getdents64", "fd ..."),
    ("setns", "fd nstype"),
    ("unshare", "flags"),
    ("flock", "fd operation"),
    ("semget", "key nsems semflg"),
    ("semop", "semid ... nsops"),
    ("semctl", "semid semnum cmd val"),
    ("seccomp", "op flags ..."),
    ("userfaultfd", "flags:open"),
    ("io_uring_setup", "entries ..."),
    ("io_uring_enter", "fd to_submit min_complete flags ..."),
    ("io_uring_register", "fd opcode arg:ptr nr_args"),
    ("capset", "..."),
    ("dup", "oldfd"),
    ("dup2", "oldfd newfd"),
    ("dup3", "oldfd newfd flags:open"),
    ("bpf", "cmd ..."),
    ("fsconfig", "fd cmd key value_charbuf aux"),
    ("prctl", "option arg2_str:text_or ..."),
    ("memfd_create", "name flags"),
    ("pidfd_getfd", "pid_fd target_fd flags"),
    ("pidfd_open", "pid flags"),
    ("init_module", "... length uargs"),
    ("finit_module", "fd uargs flags"),
    ("delete_module", "name flags"),
    ("process_vm_readv", "pid ..."),
    ("process_vm_writev", "pid ..."),
    ("keyctl", "operation arg2 arg3 arg4 arg5"),
];

/// The schema's bits of `open` in strace's order; the access mode and the schema's own are not here.
pub(super) const OPEN: &[&str] = &[
    "O_CREAT",
    "O_EXCL",
    "O_TRUNC",
    "O_APPEND",
    "O_NONBLOCK",
    "O_SYNC",
    "O_DSYNC",
    "O_DIRECT",
    "O_LARGEFILE",
    "O_CLOEXEC",
    "O_TMPFILE",
    "O_DIRECTORY",
];

/// Names that the schema has on top of the kernel's.
pub(super) const OWN: &[&str] = &[
    "O_F_CREATED",
    "FD_UPPER_LAYER",
    "FD_LOWER_LAYER",
    "FD_UPPER_LAYER_CREAT",
    "FD_LOWER_LAYER_CREAT",
    "CLONE_INVERTED",
    "CLONE_CHILD_IN_PIDNS",
];

/// Types of sockets by number.
pub(super) const SOCKETS: &[(u64, &str)] = &[
    (1, "SOCK_STREAM"),
    (2, "SOCK_DGRAM"),
    (3, "SOCK_RAW"),
    (4, "SOCK_RDM"),
    (5, "SOCK_SEQPACKET"),
    (10, "SOCK_PACKET"),
];

/// The requests of `ioctl` that programs make of terminals and pipes.
pub(super) const REQUESTS: &[(u64, &str)] = &[
    (0x5401, "TCGETS"),
    (0x5402, "TCSETS"),
    (0x5403, "TCSETSW"),
    (0x5404, "TCSETSF"),
    (0x540e, "TIOCSCTTY"),
    (0x540f, "TIOCGPGRP"),
    (0x5410, "TIOCSPGRP"),
    (0x5413, "TIOCGWINSZ"),
    (0x5414, "TIOCSWINSZ"),
    (0x541b, "FIONREAD"),
    (0x5421, "FIONBIO"),
    (0x5450, "FIONCLEX"),
    (0x5451, "FIOCLEX"),
    (0x802c_542a, "TCGETS2"),
];

/// Commands of `fcntl` without an argument.
pub(super) const ASKING: &[&str] =
    &["F_GETFD", "F_GETFL", "F_GETOWN", "F_GETSIG", "F_GETLEASE", "F_GETPIPE_SZ", "F_GET_SEALS"];

/// Protocols of sockets of the Internet.
pub(super) const PROTOCOLS: &[(u64, &str)] = &[
    (0, "IPPROTO_IP"),
    (1, "IPPROTO_ICMP"),
    (6, "IPPROTO_TCP"),
    (17, "IPPROTO_UDP"),
    (58, "IPPROTO_ICMPV6"),
    (255, "IPPROTO_RAW"),
];

#[cfg(test)]
mod tests {
    use nabe_event::table::EventId;

    use super::*;

    #[test]
    fn every_name_is_a_parameter_of_the_schema() {
        for (call, _) in CALLS {
            let mut rows = (0..=u16::MAX).filter_map(EventId::new).map(|id| id.row());
            let has = |row: &nabe_event::table::EventType| {
                pieces(call).unwrap().all(|piece| match piece {
                    Piece::Of(name, _) => row.param(name).is_some(),
                    Piece::Unknown => true,
                })
            };
            assert!(rows.any(|row| row.name == *call && has(row)), "{call}");
        }
    }
}
