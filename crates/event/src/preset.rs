//! Named lists of columns for `-o`; psc's four first, as psc has them.

use crate::field::{FieldId, container as c, file as f, process as p};

/// A named list of columns.
#[derive(Debug)]
pub struct Preset {
    /// Its name in `-o`.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [FieldId],
    /// What it is for.
    pub doc: &'static str,
}

/// All presets.
pub static PRESETS: &[Preset] = &[
    Preset {
        name: "sockets",
        columns: &[
            p::PID,
            p::NAME,
            p::USER,
            f::FAMILY,
            f::TYPE,
            f::STATE,
            f::SRC_ADDR,
            f::SRC_PORT,
            f::DST_ADDR,
            f::DST_PORT,
        ],
        doc: "sockets with their owners",
    },
    Preset {
        name: "files",
        columns: &[p::PID, p::NAME, p::USER, f::FD, f::FD_TYPE, f::PATH],
        doc: "open descriptors",
    },
    Preset {
        name: "containers",
        columns: &[p::PID, p::NAME, p::USER, c::NAME, c::IMAGE, c::RUNTIME],
        doc: "processes with their containers",
    },
    Preset {
        name: "network",
        columns: &[p::PID, p::NAME, f::TYPE, f::STATE, f::SRC_PORT, f::DST_PORT],
        doc: "ports",
    },
    Preset {
        name: "pods",
        columns: &[p::PID, p::NAME, c::POD_NAMESPACE, c::POD, c::NAME, c::IMAGE],
        doc: "processes with their Kubernetes pods",
    },
    Preset {
        name: "security",
        columns: &[
            p::PID,
            p::NAME,
            p::USER,
            p::CAP_NAMES,
            p::NO_NEW_PRIVS,
            p::SECCOMP,
            p::HOST_NAMESPACES,
            p::SUSPICIOUS,
            c::NAME,
        ],
        doc: "privileges, confinement and what is odd",
    },
    Preset {
        name: "namespaces",
        columns: &[
            p::PID,
            p::NAME,
            p::NS_MNT,
            p::NS_PID_OWN,
            p::NS_NET,
            p::NS_IPC,
            p::NS_UTS,
            p::NS_USER,
            p::NS_CGROUP,
            p::HOST_NAMESPACES,
        ],
        doc: "namespaces, and which are the host's",
    },
    Preset {
        name: "memory",
        columns: &[p::PID, p::NAME, p::USER, p::VSZ, p::RSS, p::RSS_ANON, p::RSS_FILE, p::RSS_SHMEM, p::SWAP],
        doc: "memory in detail",
    },
    Preset {
        name: "lsof",
        columns: &[p::NAME, p::PID, p::USER, f::FD, f::ACCESS, f::KIND, f::DEV, f::SIZE, f::INODE, f::PATH],
        doc: "open descriptors as lsof lists them",
    },
];

/// The columns of the default table, psc's; the container is shown after the command line when any
/// process is in one.
pub static DEFAULT: &[FieldId] =
    &[p::USER, p::PID, p::TID, p::PPID, p::STATE, p::CPU, p::VSZ, p::RSS, p::START_TIME, p::NAME, p::CMDLINE];

/// Titles that only the default table has.
pub static DEFAULT_TITLES: &[(FieldId, &str)] =
    &[(p::STATE, "S"), (p::START_TIME, "START"), (p::NAME, "COMM")];

/// The preset called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
