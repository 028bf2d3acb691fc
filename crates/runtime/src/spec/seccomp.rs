//! `linux.seccomp`: the system call filter, in libseccomp's words.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{is_default, nullable};

objects! {
    /// System call filter.
    Seccomp {
        /// For everything without a rule.
        default_action: Action,
        /// Error number for it.
        default_errno_ret: Option<u32>,
        /// `SCMP_ARCH_…` beside the native one.
        architectures: Vec<String>,
        /// `SECCOMP_FILTER_FLAG_…`.
        flags: Vec<String>,
        /// Socket to send a notify descriptor to.
        listener_path: PathBuf,
        /// Told to the listener.
        listener_metadata: String,
        /// Rules.
        syscalls: Vec<SyscallRule>,
    }
    /// What to do at some system calls.
    SyscallRule {
        /// Names; unknown ones are passed over.
        names: Vec<String>,
        /// What to do.
        action: Action,
        /// Error number, for `SCMP_ACT_ERRNO` and `SCMP_ACT_TRACE`.
        errno_ret: Option<u32>,
        /// Conditions, all of which must hold.
        args: Vec<SyscallArgument>,
    }
    /// A condition on an argument.
    SyscallArgument {
        /// 0 to 5.
        index: u32,
        /// To compare with; the mask of `SCMP_CMP_MASKED_EQ`.
        value: u64,
        /// To compare with after masking.
        value_two: u64,
        /// How to compare.
        op: Comparison,
    }
}

/// What a seccomp filter does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "libseccomp's words")]
pub enum Action {
    #[serde(rename = "SCMP_ACT_KILL")]
    Kill,
    #[default]
    #[serde(rename = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

/// How a seccomp rule compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "libseccomp's words")]
pub enum Comparison {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[default]
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}
