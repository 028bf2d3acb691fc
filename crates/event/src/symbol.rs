//! Numbers with names: socket states, families, capabilities. The names that psc, `ss` and the
//! kernel's headers use, in one place.

/// A table of numbers and their names.
#[derive(Debug, PartialEq, Eq)]
pub struct Symbols {
    /// What the table is about, for errors: "socket state".
    pub what: &'static str,
    /// Number, printed name. The first entry for a number is what is printed; the others are
    /// accepted when read.
    pub entries: &'static [(u64, &'static str)],
}

impl Symbols {
    /// The printed name of `number`.
    #[must_use]
    pub fn name(&self, number: u64) -> Option<&'static str> {
        self.entries.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
    }

    /// The number of `name`. An exact match wins (`t` and `T` are two states); otherwise ASCII case
    /// and the difference of `-` and `_` do not matter, nor does a leading `CAP_`.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let wanted = name.strip_prefix("CAP_").or_else(|| name.strip_prefix("cap_")).unwrap_or(name);
        let entry = |is: &dyn Fn(&str) -> bool| self.entries.iter().find(|(_, known)| is(known));
        entry(&|known| known == name).or_else(|| entry(&|known| same(known, wanted))).map(|(n, _)| *n)
    }

    /// All names, for "nearest name" hints.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|(_, name)| *name)
    }
}

fn same(a: &str, b: &str) -> bool {
    let fold = |c: u8| {
        if c == b'-' { b'_' } else { c.to_ascii_lowercase() }
    };
    a.len() == b.len() && a.bytes().map(fold).eq(b.bytes().map(fold))
}

/// Process states: the kernel's `__state | exit_state`, folded as `task_state_index()` folds it
/// (include/linux/sched.h), and the letter that ps prints. Letters are compared exactly.
pub static PROCESS_STATE: Symbols = Symbols {
    what: "process state",
    entries: &[
        (0, "R"),
        (1, "S"),
        (2, "D"),
        (4, "T"),
        (8, "t"),
        (16, "X"),
        (32, "Z"),
        (64, "P"),
        (0x402, "I"),
        (0, "running"),
        (1, "sleeping"),
        (2, "disk-sleep"),
        (4, "stopped"),
        (8, "tracing-stop"),
        (16, "dead"),
        (32, "zombie"),
        (64, "parked"),
        (0x402, "idle"),
    ],
};

/// `enum` of include/net/tcp_states.h with the names that `ss` prints, then the kernel's and
/// psc's. `UNCONN` is what `ss` calls CLOSE on anything but TCP.
pub static SOCKET_STATE: Symbols = Symbols {
    what: "socket state",
    entries: &[
        (1, "ESTAB"),
        (2, "SYN-SENT"),
        (3, "SYN-RECV"),
        (4, "FIN-WAIT-1"),
        (5, "FIN-WAIT-2"),
        (6, "TIME-WAIT"),
        (7, "CLOSE"),
        (8, "CLOSE-WAIT"),
        (9, "LAST-ACK"),
        (10, "LISTEN"),
        (11, "CLOSING"),
        (12, "NEW-SYN-RECV"),
        (13, "BOUND-INACTIVE"),
        (1, "ESTABLISHED"),
        (4, "FIN_WAIT1"),
        (5, "FIN_WAIT2"),
        (7, "UNCONN"),
        (7, "CLOSED"),
    ],
};

/// Address families, include/linux/socket.h.
pub static SOCKET_FAMILY: Symbols = Symbols {
    what: "socket family",
    entries: &[
        (1, "unix"),
        (2, "inet"),
        (10, "inet6"),
        (16, "netlink"),
        (17, "packet"),
        (29, "can"),
        (31, "bluetooth"),
        (30, "tipc"),
        (38, "alg"),
        (40, "vsock"),
        (43, "smc"),
        (44, "xdp"),
        (45, "mctp"),
        (2, "ipv4"),
        (10, "ipv6"),
        (1, "local"),
    ],
};

/// Socket types, include/linux/net.h. psc calls every stream `tcp` and every datagram `udp`; its
/// constants keep those numbers, the printed name comes from family and protocol (`ui`).
pub static SOCKET_TYPE: Symbols = Symbols {
    what: "socket type",
    entries: &[
        (1, "stream"),
        (2, "dgram"),
        (3, "raw"),
        (4, "rdm"),
        (5, "seqpacket"),
        (6, "dccp"),
        (10, "packet"),
        (1, "tcp"),
        (2, "udp"),
    ],
};

/// What a descriptor refers to; 1 and 2 are psc's numbers.
pub static FD_TYPE: Symbols = Symbols {
    what: "descriptor type",
    entries: &[
        (0, "other"),
        (1, "file"),
        (2, "socket"),
        (3, "pipe"),
        (4, "directory"),
        (5, "device"),
        (6, "memfd"),
        (7, "anon"),
        (8, "eventfd"),
        (9, "epoll"),
        (10, "inotify"),
        (11, "signalfd"),
        (12, "timerfd"),
        (13, "bpf"),
        (14, "io_uring"),
        (15, "pidfd"),
        (16, "perf_event"),
        (17, "userfaultfd"),
        (18, "fanotify"),
        (1, "file_type"),
        (2, "socket_type"),
    ],
};

/// Internet protocols that a socket can have, include/uapi/linux/in.h.
pub static PROTOCOL: Symbols = Symbols {
    what: "protocol",
    entries: &[
        (0, "ip"),
        (1, "icmp"),
        (2, "igmp"),
        (6, "tcp"),
        (17, "udp"),
        (33, "dccp"),
        (47, "gre"),
        (58, "icmp6"),
        (89, "ospf"),
        (132, "sctp"),
        (136, "udplite"),
        (255, "raw"),
        (262, "mptcp"),
    ],
};

/// Protocols of netlink sockets, include/uapi/linux/netlink.h, with the names that `ss` prints.
pub static NETLINK: Symbols = Symbols {
    what: "netlink protocol",
    entries: &[
        (0, "route"),
        (2, "usersock"),
        (3, "fw"),
        (4, "tcpdiag"),
        (5, "nflog"),
        (6, "xfrm"),
        (7, "selinux"),
        (8, "iscsi"),
        (9, "audit"),
        (10, "fiblookup"),
        (11, "connector"),
        (12, "nft"),
        (13, "ip6fw"),
        (14, "dec-rt"),
        (15, "uevent"),
        (16, "genl"),
        (18, "scsi-trans"),
        (19, "ecryptfs"),
        (20, "rdma"),
        (21, "crypto"),
        (22, "smc"),
    ],
};

/// seccomp modes, include/uapi/linux/seccomp.h.
pub static SECCOMP: Symbols =
    Symbols { what: "seccomp mode", entries: &[(0, "disabled"), (1, "strict"), (2, "filter"), (3, "dead")] };

/// Scheduling policies, include/uapi/linux/sched.h.
pub static POLICY: Symbols = Symbols {
    what: "scheduling policy",
    entries: &[(0, "other"), (1, "fifo"), (2, "rr"), (3, "batch"), (5, "idle"), (6, "deadline"), (7, "ext")],
};

/// Capability bits, include/uapi/linux/capability.h; the number is the bit.
pub static CAPABILITY: Symbols = Symbols {
    what: "capability",
    entries: &[
        (0, "CHOWN"),
        (1, "DAC_OVERRIDE"),
        (2, "DAC_READ_SEARCH"),
        (3, "FOWNER"),
        (4, "FSETID"),
        (5, "KILL"),
        (6, "SETGID"),
        (7, "SETUID"),
        (8, "SETPCAP"),
        (9, "LINUX_IMMUTABLE"),
        (10, "NET_BIND_SERVICE"),
        (11, "NET_BROADCAST"),
        (12, "NET_ADMIN"),
        (13, "NET_RAW"),
        (14, "IPC_LOCK"),
        (15, "IPC_OWNER"),
        (16, "SYS_MODULE"),
        (17, "SYS_RAWIO"),
        (18, "SYS_CHROOT"),
        (19, "SYS_PTRACE"),
        (20, "SYS_PACCT"),
        (21, "SYS_ADMIN"),
        (22, "SYS_BOOT"),
        (23, "SYS_NICE"),
        (24, "SYS_RESOURCE"),
        (25, "SYS_TIME"),
        (26, "SYS_TTY_CONFIG"),
        (27, "MKNOD"),
        (28, "LEASE"),
        (29, "AUDIT_WRITE"),
        (30, "AUDIT_CONTROL"),
        (31, "SETFCAP"),
        (32, "MAC_OVERRIDE"),
        (33, "MAC_ADMIN"),
        (34, "SYSLOG"),
        (35, "WAKE_ALARM"),
        (36, "BLOCK_SUSPEND"),
        (37, "AUDIT_READ"),
        (38, "PERFMON"),
        (39, "BPF"),
        (40, "CHECKPOINT_RESTORE"),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(SOCKET_STATE.name(10), Some("LISTEN"));
        assert_eq!(SOCKET_STATE.number("listen"), Some(10));
        assert_eq!(SOCKET_STATE.number("time_wait"), Some(6));
        assert_eq!(SOCKET_STATE.number("no"), None);
        assert_eq!(CAPABILITY.number("CAP_SYS_ADMIN"), Some(21));
        assert_eq!(CAPABILITY.number("sys_admin"), Some(21));
        assert_eq!(PROCESS_STATE.name(0x402), Some("I"));
    }
}
