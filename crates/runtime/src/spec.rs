//! `config.json` of a bundle: the runtime-spec's types, as far as Linux needs them.
//!
//! Layout: opencontainers/runtime-spec 1.2, `config.md` and `config-linux.md`. Go writers put `null` where they
//! mean nothing, so every field takes `null` for its default; unknown fields are passed over, as the
//! spec asks. Reading errors name the JSON path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
pub use resource::*;
pub use seccomp::*;

/// The version of the runtime-spec that is implemented.
pub const VERSION: &str = "1.2.0";

/// Longest `config.json` that is read, in bytes.
const MAX_CONFIG: u64 = 16 << 20;

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Structures of which every field may be missing or `null`.
macro_rules! objects {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {$(
            $(#[$fmeta])*
            #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
            pub $field: $type,
        )*}
    )*};
}

mod resource;
mod seccomp;

objects! {
    /// A whole `config.json`.
    Spec {
        /// Version of the spec that the bundle was written for.
        oci_version: String,
        /// The first process.
        process: Option<Process>,
        /// The root file system.
        root: Option<Root>,
        /// Host name inside.
        hostname: String,
        /// NIS domain name inside.
        domainname: String,
        /// Mounts, in order.
        mounts: Vec<Mount>,
        /// Programs to run at points of the lifecycle.
        hooks: Hooks,
        /// Free key and value pairs; names and images of engines stand here.
        annotations: BTreeMap<String, String>,
        /// What is Linux's own.
        linux: Linux,
    }
    /// A process: the container's first, or one that `exec` adds.
    Process {
        /// Give it a terminal.
        terminal: bool,
        /// Size of that terminal.
        console_size: Option<ConsoleSize>,
        /// Whose it is.
        user: User,
        /// Program and arguments.
        args: Vec<String>,
        /// Environment, `NAME=value`.
        env: Vec<String>,
        /// Working directory, absolute.
        cwd: PathBuf,
        /// The five capability sets.
        capabilities: Option<Capabilities>,
        /// Resource limits.
        rlimits: Vec<Rlimit>,
        /// Set the no_new_privs bit.
        no_new_privileges: bool,
        /// AppArmor profile to change to.
        apparmor_profile: String,
        /// Value for `oom_score_adj`.
        oom_score_adj: Option<i32>,
        /// SELinux label to change to.
        selinux_label: String,
        /// Scheduling policy.
        scheduler: Option<Scheduler>,
        /// I/O priority.
        #[serde(rename = "ioPriority")]
        io_priority: Option<IoPriority>,
        /// Processors of a process that `exec` adds.
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<CpuAffinity>,
    }
    /// Processors of a process that `exec` adds, as lists such as `0-3,7`.
    CpuAffinity {
        /// Before it enters the container's cgroups.
        initial: String,
        /// After that.
        r#final: String,
    }
    /// Scheduling policy of a process, see sched_setattr(2).
    Scheduler {
        /// `SCHED_OTHER`, `SCHED_FIFO` …
        policy: String,
        /// Niceness.
        nice: i32,
        /// Static priority.
        priority: i32,
        /// `SCHED_FLAG_…`.
        flags: Vec<String>,
        /// Nanoseconds, for `SCHED_DEADLINE`.
        runtime: Option<u64>,
        /// Nanoseconds, for `SCHED_DEADLINE`.
        deadline: u64,
        /// Nanoseconds, for `SCHED_DEADLINE`.
        period: u64,
    }
    /// I/O priority, see ioprio_set(2).
    IoPriority {
        /// `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE` or `IOPRIO_CLASS_IDLE`.
        class: String,
        /// Priority in the class.
        priority: i32,
    }
    /// Size of a terminal in characters.
    ConsoleSize {
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    }
    /// User and groups of a process, as numbers inside the container.
    User {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// File mode creation mask.
        umask: Option<u32>,
        /// Supplementary groups.
        additional_gids: Vec<u32>,
    }
    /// The five capability sets, by name.
    Capabilities {
        /// Bounding set.
        bounding: Vec<String>,
        /// Effective set.
        effective: Vec<String>,
        /// Inheritable set.
        inheritable: Vec<String>,
        /// Permitted set.
        permitted: Vec<String>,
        /// Ambient set.
        ambient: Vec<String>,
    }
    /// One resource limit.
    Rlimit {
        /// `RLIMIT_NOFILE` …
        #[serde(rename = "type")]
        kind: String,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    }
    /// The root file system.
    Root {
        /// Its directory, from the bundle when relative.
        path: PathBuf,
        /// Make it read-only.
        readonly: bool,
    }
    /// One mount.
    Mount {
        /// Where, inside the container.
        destination: PathBuf,
        /// File system type; `bind` or nothing with a bind option.
        #[serde(rename = "type")]
        kind: String,
        /// Device or directory.
        source: Option<PathBuf>,
        /// As in fstab(5), and those of the spec (`rro`, `idmap` …).
        options: Vec<String>,
        /// User ids of an idmapped mount.
        uid_mappings: Vec<IdMapping>,
        /// Group ids of an idmapped mount.
        gid_mappings: Vec<IdMapping>,
    }
    /// Programs to run at points of the lifecycle.
    Hooks {
        /// Older name for `createRuntime`.
        prestart: Vec<Hook>,
        /// Outside, after the namespaces are there, before the root changes.
        create_runtime: Vec<Hook>,
        /// Inside, before the root changes.
        create_container: Vec<Hook>,
        /// Inside, just before the first process starts.
        start_container: Vec<Hook>,
        /// Outside, after the first process started.
        poststart: Vec<Hook>,
        /// Outside, after the container is gone.
        poststop: Vec<Hook>,
    }
    /// A program to run.
    Hook {
        /// Absolute path.
        path: PathBuf,
        /// All arguments, the first being the name.
        args: Vec<String>,
        /// The whole environment.
        env: Vec<String>,
        /// Seconds until it is killed.
        timeout: Option<i64>,
    }
    /// What is Linux's own.
    Linux {
        /// User ids of the user namespace.
        uid_mappings: Vec<IdMapping>,
        /// Group ids of the user namespace.
        gid_mappings: Vec<IdMapping>,
        /// Kernel parameters, dotted.
        sysctl: BTreeMap<String, String>,
        /// Limits.
        resources: Resources,
        /// Where in the cgroup hierarchies.
        cgroups_path: String,
        /// Namespaces to make or join.
        namespaces: Vec<Namespace>,
        /// Device nodes.
        devices: Vec<Device>,
        /// System call filter.
        seccomp: Option<Seccomp>,
        /// `shared`, `slave`, `private`, `unbindable`, or one of them with `r` before.
        rootfs_propagation: String,
        /// Paths that are hidden.
        masked_paths: Vec<String>,
        /// Paths that are made read-only.
        readonly_paths: Vec<String>,
        /// SELinux context of the mounts.
        mount_label: String,
        /// Intel RDT; refused when not empty.
        intel_rdt: Option<serde_json::Value>,
        /// Execution domain.
        personality: Option<Personality>,
        /// Clock offsets of the time namespace, by clock.
        time_offsets: BTreeMap<String, TimeOffset>,
        /// On which NUMA nodes its memory is.
        memory_policy: Option<MemoryPolicy>,
    }
    /// A range of ids of a user namespace.
    IdMapping {
        /// First id inside.
        #[serde(rename = "containerID")]
        container_id: u32,
        /// First id outside.
        #[serde(rename = "hostID")]
        host_id: u32,
        /// How many.
        size: u32,
    }
    /// On which NUMA nodes memory is, see set_mempolicy(2).
    MemoryPolicy {
        /// `MPOL_DEFAULT`, `MPOL_BIND` …
        mode: String,
        /// A list such as `0-3,7`.
        nodes: String,
        /// `MPOL_F_…`.
        flags: Vec<String>,
    }
    /// Offset of a clock.
    TimeOffset {
        /// Seconds.
        secs: i64,
        /// Nanoseconds.
        nanosecs: u32,
    }
    /// Execution domain.
    Personality {
        /// `LINUX` or `LINUX32`.
        domain: String,
        /// None is defined yet.
        flags: Vec<String>,
    }
    /// A device node.
    Device {
        /// `c`, `b`, `u` or `p`.
        #[serde(rename = "type")]
        kind: String,
        /// Where, inside the container.
        path: PathBuf,
        /// Major number.
        major: i64,
        /// Minor number.
        minor: i64,
        /// Permission bits.
        file_mode: Option<u32>,
        /// Owner inside.
        uid: Option<u32>,
        /// Group inside.
        gid: Option<u32>,
    }
}

/// A namespace to make, or to join when it has a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// A file that stands for it.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub path: PathBuf,
}

/// Kinds of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the kernel's words")]
pub enum NamespaceKind {
    Pid,
    Network,
    Mount,
    Ipc,
    Uts,
    User,
    Cgroup,
    Time,
}

impl NamespaceKind {
    /// All, in the order in which they are joined after the user namespace.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Pid, Self::Network, Self::Ipc, Self::Uts, Self::Cgroup, Self::Time, Self::Mount];

    /// The `CLONE_NEW…` bit.
    #[must_use]
    pub fn flag(self) -> libc::c_int {
        match self {
            Self::Pid => libc::CLONE_NEWPID,
            Self::Network => libc::CLONE_NEWNET,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::User => libc::CLONE_NEWUSER,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => 0x80,
        }
    }

    /// Its file in `/proc/PID/ns`.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Network => "net",
            Self::Mount => "mnt",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The spec's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Mount => "mount",
            other => other.file(),
        }
    }
}

/// Reads JSON, naming the path where it does not fit.
///
/// # Errors
/// [`Error::Json`] with `name` and the path inside.
pub fn parse<'a, T: Deserialize<'a>>(name: &Path, text: &'a [u8]) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let at = error.path().to_string();
        Error::Json { file: name.into(), at, source: error.into_inner() }
    })?;
    reader.end().map_err(|source| Error::Json { file: name.into(), at: ".".into(), source })?;
    Ok(value)
}

/// The bytes of a file that should be JSON.
///
/// # Errors
/// [`Error::File`], also when it is larger than anything sensible.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let fail = |source| Error::File { what: "read", path: path.into(), source };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_CONFIG + 1).read_to_end(&mut text).map_err(fail)?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(fail(std::io::ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}

impl Spec {
    /// The namespace of this kind, if the configuration names it.
    #[must_use]
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.linux.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    /// Whether a new namespace of this kind is to be made.
    #[must_use]
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.namespace(kind).is_some_and(|namespace| namespace.path.as_os_str().is_empty())
    }
}
