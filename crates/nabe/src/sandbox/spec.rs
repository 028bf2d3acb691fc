//! The container's configuration: as little as a program can live with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nabe_event::table::native::X86_64;
use nabe_runtime::spec::{
    Action, Capabilities, Comparison, Cpu, DeviceRule, IdMapping, Linux, Memory, Mount, Namespace,
    NamespaceKind, Pids, Process, Resources, Rlimit, Root, Seccomp, Spec, SyscallArgument, SyscallRule, User,
    VERSION,
};

/// Ids of the host that the specimen's ids are: none that anybody has.
pub const IDS: IdMapping = IdMapping { container_id: 0, host_id: 0x7000_0000, size: 65_536 };

/// The annotation that says who runs a sandbox: `pid:start`.
pub const RUNNER: &str = "nabe.sandbox.runner";

/// What Docker's default profile refuses to a container without capabilities (moby 28,
/// `profiles/seccomp/default_linux.go`): what is not in its list.
static REFUSED: &[&str] = &[
    "_sysctl",
    "acct",
    "add_key",
    "afs_syscall",
    "bpf",
    "chroot",
    "clock_adjtime",
    "clock_settime",
    "clone3",
    "create_module",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "getpmsg",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "listmount",
    "lookup_dcookie",
    "mbind",
    "migrate_pages",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "putpmsg",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "security",
    "set_mempolicy",
    "set_mempolicy_home_node",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "statmount",
    "stime",
    "swapoff",
    "swapon",
    "sysfs",
    "syslog",
    "tuxcall",
    "umount",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
    "vserver",
];

/// Bits of clone(2) that make namespaces.
const NAMESPACES: u64 = 0x7e02_0000;

/// What a run allows.
pub struct Allowance {
    pub memory: i64,
    pub cpus: f64,
    pub pids: i64,
    pub uid: u32,
    pub gid: u32,
}

/// The system call filter: what is known and not refused is allowed, what nobody knows does not exist.
pub fn seccomp() -> Seccomp {
    let rule =
        |names: Vec<String>, action, errno, args| SyscallRule { names, action, errno_ret: errno, args };
    let argument = |index, value, value_two, op| SyscallArgument { index, value, value_two, op };
    let names = X86_64.iter().map(|native| native.name);
    let mut allowed: Vec<String> = names
        .filter(|name| !REFUSED.contains(name) && !matches!(*name, "clone" | "socket"))
        .map(str::to_owned)
        .collect();
    allowed.sort();
    allowed.dedup();
    let refused = REFUSED.iter().filter(|name| **name != "clone3").map(|name| (*name).to_owned()).collect();
    let no_namespaces = argument(0, NAMESPACES, 0, Comparison::MaskedEqual);
    // From 38 on, AF_ALG and AF_VSOCK lead to the kernel's and the hypervisor's own services.
    let below = argument(0, 38, 0, Comparison::Less);
    Seccomp {
        default_action: Action::Errno,
        default_errno_ret: Some(38),
        architectures: vec!["SCMP_ARCH_X86_64".into()],
        syscalls: vec![
            rule(allowed, Action::Allow, None, Vec::new()),
            rule(refused, Action::Errno, Some(1), Vec::new()),
            rule(vec!["clone".into()], Action::Allow, None, vec![no_namespaces]),
            rule(vec!["socket".into()], Action::Allow, None, vec![below]),
            // Its flags are in memory, where a filter cannot look: libc then uses clone.
            rule(vec!["clone3".into()], Action::Errno, Some(38), Vec::new()),
        ],
        ..Seccomp::default()
    }
}

fn mount(destination: &str, kind: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: Some(PathBuf::from(kind)),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

fn mounts(binds: Vec<Mount>) -> Vec<Mount> {
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=1024k", "nr_inodes=512"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", &["nosuid", "nodev", "mode=1777", "size=16384k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    mounts.extend(binds);
    mounts
}

fn resources(allowance: &Allowance) -> Resources {
    const PERIOD: u64 = 100_000;
    #[expect(clippy::cast_possible_truncation, reason = "a float is cut to what the integer holds")]
    let quota = (allowance.cpus.max(0.01) * PERIOD as f64) as i64;
    Resources {
        devices: vec![DeviceRule { allow: false, access: "rwm".into(), ..DeviceRule::default() }],
        memory: Memory { limit: Some(allowance.memory), swap: Some(allowance.memory), ..Memory::default() },
        cpu: Cpu { quota: Some(quota), period: Some(PERIOD), ..Cpu::default() },
        pids: Pids { limit: Some(allowance.pids) },
        ..Resources::default()
    }
}

/// The whole configuration of a run.
pub fn spec(
    root: PathBuf,
    args: Vec<String>,
    env: Vec<String>,
    cwd: PathBuf,
    binds: Vec<Mount>,
    allowance: &Allowance,
    runner: String,
) -> Spec {
    let limit = |kind: &str, number: u64| Rlimit { kind: kind.into(), soft: number, hard: number };
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
    Spec {
        oci_version: VERSION.into(),
        process: Some(Process {
            user: User { uid: allowance.uid, gid: allowance.gid, ..User::default() },
            args,
            env,
            cwd,
            capabilities: Some(Capabilities::default()),
            rlimits: vec![
                limit("RLIMIT_NOFILE", 1024),
                limit("RLIMIT_CORE", 0),
                limit("RLIMIT_MEMLOCK", 65_536),
            ],
            no_new_privileges: true,
            oom_score_adj: Some(1000),
            ..Process::default()
        }),
        root: Some(Root { path: root, readonly: false }),
        hostname: "desktop".into(),
        mounts: mounts(binds),
        annotations: BTreeMap::from([(RUNNER.to_owned(), runner)]),
        linux: Linux {
            uid_mappings: vec![IDS],
            gid_mappings: vec![IDS],
            resources: resources(allowance),
            namespaces: [
                NamespaceKind::User,
                NamespaceKind::Pid,
                NamespaceKind::Mount,
                NamespaceKind::Network,
                NamespaceKind::Ipc,
                NamespaceKind::Uts,
                NamespaceKind::Cgroup,
            ]
            .map(|kind| Namespace { kind, path: PathBuf::new() })
            .to_vec(),
            seccomp: Some(seccomp()),
            masked_paths: words(&[
                "/proc/acpi",
                "/proc/asound",
                "/proc/interrupts",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/sched_debug",
                "/proc/scsi",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/kallsyms",
                "/sys/firmware",
                "/sys/devices/virtual/powercap",
                "/sys/kernel/security",
                "/sys/fs/bpf",
            ]),
            readonly_paths: words(&[
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ]),
            ..Linux::default()
        },
        ..Spec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_knows_its_names() {
        let filter = seccomp();
        let allowed = &filter.syscalls[0].names;
        for name in ["read", "openat", "execve", "ptrace", "memfd_create"] {
            assert!(allowed.iter().any(|known| known == name), "{name}");
        }
        for name in ["mount", "bpf", "setns", "clone3", "init_module", "clock_settime"] {
            assert!(!allowed.iter().any(|known| known == name), "{name}");
        }
    }
}
