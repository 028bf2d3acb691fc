//! Why a process deserves a look. Each reason is a fact about the process, said in words; none is
//! a verdict.

use nabe_event::record::{ContainerText, exe};
use nabe_event::symbol;

use crate::process::Process;

/// Capabilities that give a container the host: names of `symbol::CAPABILITY`.
const HOST_CAPABILITIES: &[&str] = &[
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "DAC_READ_SEARCH",
    "NET_ADMIN",
    "BPF",
    "MAC_ADMIN",
    "SYSLOG",
];

/// The reasons, in a fixed order; empty when there is none.
pub(crate) fn reasons(process: &Process<'_>) -> Vec<Vec<u8>> {
    let mut reasons = Vec::new();
    executable(process, &mut reasons);
    disguise(process, &mut reasons);
    if process.in_container() {
        container(process, &mut reasons);
    }
    reasons
}

fn executable(process: &Process<'_>, reasons: &mut Vec<Vec<u8>>) {
    let flags = process.task().exe_flags;
    let mut say = |text: &str| reasons.push(text.as_bytes().to_vec());
    if flags & exe::MEMFD != 0 {
        say("runs from a memfd");
    } else if flags & exe::DELETED != 0 {
        say("executable deleted");
    }
    // An engine's own helper on the host may live on an overlay (a live image): only a container's
    // writable layer says something.
    if flags & exe::UPPER != 0 && process.in_container() {
        say("executable not in the image");
    }
    if process.exe().starts_with(b"/dev/shm/")
        || process.exe().starts_with(b"/tmp/")
        || process.exe().starts_with(b"/var/tmp/")
    {
        say("executable in a temporary directory");
    }
}

fn disguise(process: &Process<'_>, reasons: &mut Vec<Vec<u8>>) {
    use nabe_event::field::process as field;
    use nabe_event::value::{Fields as _, Value};
    if matches!(process.get(field::IMPOSTOR, None), Value::Bool(true)) {
        reasons.push(b"dressed as a kernel thread".to_vec());
    }
    let tracer = process.task().tracer;
    if tracer != 0 {
        reasons.push(format!("traced by {tracer}").into_bytes());
    }
    if let Some(preload) = process.env(b"LD_PRELOAD").filter(|value| !value.is_empty()) {
        reasons.push([b"LD_PRELOAD=", preload].concat());
    }
    if process.task().euid == 0 && process.task().ruid != 0 {
        reasons.push(format!("root for user {}", process.task().ruid).into_bytes());
    }
}

fn container(process: &Process<'_>, reasons: &mut Vec<Vec<u8>>) {
    // Capabilities inside a user namespace of its own do not reach the host.
    if process.shares("user") {
        let mask = process.task().cap_effective;
        let has = |name: &&&str| symbol::CAPABILITY.number(name).is_some_and(|bit| mask & (1 << bit) != 0);
        let rich: Vec<_> = HOST_CAPABILITIES.iter().filter(has).copied().collect();
        if rich.len() == HOST_CAPABILITIES.len() {
            reasons.push(b"privileged container".to_vec());
        } else if !rich.is_empty() {
            reasons.push(format!("container with {}", rich.join(",").to_ascii_lowercase()).into_bytes());
        }
    }
    for namespace in ["pid", "mnt", "net", "ipc"] {
        if process.shares(namespace) && !pause(process) {
            reasons.push(format!("shares the host's {namespace} namespace").into_bytes());
        }
    }
}

/// Engines' own helpers (pause, conmon) sit in a pod's cgroup with the host's namespaces.
fn pause(process: &Process<'_>) -> bool {
    process.fact(ContainerText::Name) == b"POD" || process.task().comm.starts_with(b"conmon\0")
}
