//! What this runtime can do, as `features.md` of the runtime-spec wants it.

use serde_json::{Value, json};

use crate::spec::{NamespaceKind, VERSION};
use crate::{capability, hook, mount, seccomp, sys};

/// The features structure. As the spec has it, AppArmor and SELinux say what the runtime can ask for, and
/// not whether this kernel has them; seccomp's supported flags are this kernel's.
#[must_use]
pub fn features() -> Value {
    let namespaces: Vec<&str> = NamespaceKind::ALL.iter().map(|kind| kind.name()).collect();
    let known: Vec<&str> = seccomp::FLAGS.iter().map(|(name, _)| *name).collect();
    let supported: Vec<&str> = seccomp::FLAGS
        .iter()
        .filter(|(_, bit)| sys::knows_seccomp_flag(*bit))
        .map(|(name, _)| *name)
        .collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": hook::KINDS,
        "mountOptions": mount::words(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": capability::names().collect::<Vec<_>>(),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "archs": seccomp::architectures().collect::<Vec<_>>(),
                "knownFlags": known,
                "supportedFlags": supported,
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}},
        },
        "annotations": {
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": [],
    })
}
