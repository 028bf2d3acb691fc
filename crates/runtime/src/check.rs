//! What a configuration may not say, found before anything is made.

use std::path::Path;

use crate::error::{Error, Result};
use crate::memory;
use crate::mount;
use crate::process;
use crate::spec::{IdMapping, NamespaceKind, Process, Spec};

fn wrong(at: impl Into<String>, why: impl Into<String>) -> Error {
    Error::Config { at: at.into(), why: why.into() }
}

/// Checks a whole configuration.
///
/// # Errors
/// [`Error::Config`] with the JSON path of the first thing that makes no sense.
pub(crate) fn spec(spec: &Spec) -> Result<()> {
    if !spec.oci_version.is_empty() && !spec.oci_version.starts_with("1.") {
        return Err(wrong("ociVersion", format!("{} is not supported, 1.x is", spec.oci_version)));
    }
    let process = spec.process.as_ref().ok_or_else(|| wrong("process", "is missing"))?;
    self::process(process, "process")?;
    let root = spec.root.as_ref().ok_or_else(|| wrong("root", "is missing"))?;
    if root.path.as_os_str().is_empty() {
        return Err(wrong("root.path", "is missing"));
    }
    namespaces(spec)?;
    for (at, mount) in spec.mounts.iter().enumerate() {
        if mount.destination.as_os_str().is_empty() {
            return Err(wrong(format!("mounts[{at}].destination"), "is missing"));
        }
        let options = mount::Options::of(mount, at)?;
        if options.is_bind() && mount.source.is_none() {
            return Err(wrong(format!("mounts[{at}].source"), "is missing, a bind mount needs one"));
        }
        if !options.is_bind()
            && mount.kind.is_empty()
            && options.propagation.is_empty()
            && options.flags & libc::MS_REMOUNT == 0
        {
            return Err(wrong(format!("mounts[{at}].type"), "is missing"));
        }
    }
    linux(spec)?;
    hooks(spec)
}

/// Checks a process.
pub(crate) fn process(process: &Process, at: &str) -> Result<()> {
    if process.args.is_empty() {
        return Err(wrong(format!("{at}.args"), "is empty"));
    }
    if !process.cwd.is_absolute() {
        return Err(wrong(format!("{at}.cwd"), "is not an absolute path"));
    }
    for (field, list) in [("args", &process.args), ("env", &process.env)] {
        if let Some(bad) = list.iter().position(|text| text.contains('\0')) {
            return Err(wrong(format!("{at}.{field}[{bad}]"), "has a zero byte"));
        }
    }
    for (number, limit) in process.rlimits.iter().enumerate() {
        if process::rlimit(&limit.kind).is_none() {
            return Err(wrong(
                format!("{at}.rlimits[{number}].type"),
                format!("\"{}\" is no resource limit", limit.kind),
            ));
        }
        if process.rlimits.iter().take(number).any(|other| other.kind == limit.kind) {
            return Err(wrong(
                format!("{at}.rlimits[{number}].type"),
                format!("{} is there twice", limit.kind),
            ));
        }
    }
    if process.oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        return Err(wrong(format!("{at}.oomScoreAdj"), "is not -1000 to 1000"));
    }
    if let Some(scheduler) = &process.scheduler {
        process::scheduling(scheduler, &format!("{at}.scheduler"))?;
    }
    if let Some(affinity) = &process.exec_cpu_affinity {
        for (field, list) in [("initial", &affinity.initial), ("final", &affinity.r#final)] {
            if process::processors(list).is_none() {
                let why = format!("\"{list}\" is no list of processors");
                return Err(wrong(format!("{at}.execCPUAffinity.{field}"), why));
            }
        }
    }
    if process.user.uid == u32::MAX || process.user.gid == u32::MAX {
        return Err(wrong(format!("{at}.user"), "4294967295 is no id"));
    }
    Ok(())
}

fn namespaces(spec: &Spec) -> Result<()> {
    let list = &spec.linux.namespaces;
    for (at, namespace) in list.iter().enumerate() {
        if list.iter().take(at).any(|other| other.kind == namespace.kind) {
            let why = format!("{} is there twice", namespace.kind.name());
            return Err(wrong(format!("linux.namespaces[{at}].type"), why));
        }
        if !namespace.path.as_os_str().is_empty() && !namespace.path.is_absolute() {
            return Err(wrong(format!("linux.namespaces[{at}].path"), "is not an absolute path"));
        }
    }
    let has = |kind| spec.namespace(kind).is_some();
    let need = |at: &str, wanted: bool, kind: NamespaceKind| {
        if wanted && !has(kind) {
            return Err(wrong(at, format!("needs a {} namespace", kind.name())));
        }
        Ok(())
    };
    need("hostname", !spec.hostname.is_empty(), NamespaceKind::Uts)?;
    need("domainname", !spec.domainname.is_empty(), NamespaceKind::Uts)?;
    need("mounts", !spec.mounts.is_empty(), NamespaceKind::Mount)?;
    need("linux.maskedPaths", !spec.linux.masked_paths.is_empty(), NamespaceKind::Mount)?;
    need("linux.readonlyPaths", !spec.linux.readonly_paths.is_empty(), NamespaceKind::Mount)?;
    need("linux.timeOffsets", !spec.linux.time_offsets.is_empty(), NamespaceKind::Time)?;
    if let Some(root) = &spec.root {
        need("root.readonly", root.readonly, NamespaceKind::Mount)?;
    }
    let maps =
        [("linux.uidMappings", &spec.linux.uid_mappings), ("linux.gidMappings", &spec.linux.gid_mappings)];
    for (at, map) in maps {
        if spec.makes(NamespaceKind::User) && map.is_empty() {
            return Err(wrong(at, "is empty, a new user namespace needs it"));
        }
        need(at, !map.is_empty(), NamespaceKind::User)?;
        mapping(at, map)?;
    }
    Ok(())
}

fn mapping(at: &str, map: &[IdMapping]) -> Result<()> {
    for (number, range) in map.iter().enumerate() {
        let at = format!("{at}[{number}]");
        if range.size == 0 {
            return Err(wrong(format!("{at}.size"), "is zero"));
        }
        if range.container_id.checked_add(range.size).is_none()
            || range.host_id.checked_add(range.size).is_none()
        {
            return Err(wrong(at, "goes past the last id"));
        }
        let overlap =
            |a: u32, b: u32, size: u32| a < b.saturating_add(size) && b < a.saturating_add(range.size);
        if map.iter().take(number).any(|other| {
            overlap(range.container_id, other.container_id, other.size)
                || overlap(range.host_id, other.host_id, other.size)
        }) {
            return Err(wrong(at, "overlaps with another range"));
        }
    }
    Ok(())
}

fn linux(spec: &Spec) -> Result<()> {
    let linux = &spec.linux;
    for (at, device) in linux.devices.iter().enumerate() {
        let at = |field: &str| format!("linux.devices[{at}].{field}");
        if !matches!(device.kind.as_str(), "b" | "c" | "u" | "p") {
            return Err(wrong(at("type"), format!("\"{}\" is none of b, c, u, p", device.kind)));
        }
        if crate::rootfs::clean(&device.path).file_name().is_none() {
            return Err(wrong(at("path"), "is no path of a file"));
        }
        for (field, number) in [("major", device.major), ("minor", device.minor)] {
            if u32::try_from(number).is_err() {
                return Err(wrong(at(field), "is no device number"));
            }
        }
    }
    for name in linux.sysctl.keys() {
        sysctl(spec, name)?;
    }
    for (list, paths) in [("maskedPaths", &linux.masked_paths), ("readonlyPaths", &linux.readonly_paths)] {
        if let Some(bad) = paths.iter().position(|path| !Path::new(path).is_absolute() || path.contains('\0'))
        {
            return Err(wrong(format!("linux.{list}[{bad}]"), "is not an absolute path"));
        }
    }
    if !linux.rootfs_propagation.is_empty() && mount::propagation(&linux.rootfs_propagation).is_none() {
        return Err(wrong(
            "linux.rootfsPropagation",
            format!("\"{}\" is no propagation", linux.rootfs_propagation),
        ));
    }
    if linux.intel_rdt.as_ref().is_some_and(|rdt| rdt.as_object().is_some_and(|rdt| !rdt.is_empty())) {
        return Err(wrong("linux.intelRdt", "is not supported"));
    }
    if let Some(personality) = &linux.personality
        && !matches!(personality.domain.as_str(), "LINUX" | "LINUX32")
    {
        return Err(wrong("linux.personality.domain", "is neither LINUX nor LINUX32"));
    }
    if let Some(policy) = &linux.memory_policy {
        memory::check(policy)?;
    }
    for clock in linux.time_offsets.keys() {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(wrong(format!("linux.timeOffsets.{clock}"), "is neither monotonic nor boottime"));
        }
    }
    Ok(())
}

/// Only parameters that belong to a namespace of the container may be set.
fn sysctl(spec: &Spec, name: &str) -> Result<()> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let at = format!("linux.sysctl.{name}");
    // Both `a.b` and `a/b` are written.
    let dotted = name.replace('/', ".");
    let kind = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        NamespaceKind::Ipc
    } else if dotted.starts_with("net.") {
        NamespaceKind::Network
    } else if dotted == "kernel.hostname" {
        return Err(wrong(at, "conflicts with the field hostname"));
    } else if dotted == "kernel.domainname" {
        NamespaceKind::Uts
    } else if dotted.starts_with("user.") {
        NamespaceKind::User
    } else {
        return Err(wrong(at, "belongs to no namespace, it would change the host"));
    };
    if dotted.split('.').any(|part| part.is_empty()) || name.contains("..") || name.contains('\0') {
        return Err(wrong(at, "is no name of a kernel parameter"));
    }
    if spec.namespace(kind).is_none() {
        return Err(wrong(at, format!("needs a {} namespace, or it would change the host", kind.name())));
    }
    Ok(())
}

fn hooks(spec: &Spec) -> Result<()> {
    let hooks = &spec.hooks;
    let kinds = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, list) in kinds {
        for (at, hook) in list.iter().enumerate() {
            if !hook.path.is_absolute() {
                return Err(wrong(format!("hooks.{kind}[{at}].path"), "is not an absolute path"));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return Err(wrong(format!("hooks.{kind}[{at}].timeout"), "is not above zero"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn base() -> Value {
        json!({
            "ociVersion": "1.2.0",
            "process": {"args": ["true"], "cwd": "/"},
            "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
        })
    }

    fn check(value: Value) -> Result<()> {
        let text = value.to_string();
        spec(&crate::spec::parse(Path::new("config.json"), text.as_bytes())?)
    }

    #[test]
    fn a_small_one_is_fine() {
        check(base()).expect("fine");
        let mut nulls = base();
        nulls["mounts"] = Value::Null;
        nulls["process"]["capabilities"] = Value::Null;
        nulls["linux"]["resources"] = Value::Null;
        check(nulls).expect("null is nothing");
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_path() {
        let cases: &[(&str, Value, &str)] = &[
            ("/ociVersion", json!("2.0.0"), "config.json: ociVersion:"),
            ("/process", json!(null), "config.json: process:"),
            ("/process/args", json!([]), "config.json: process.args:"),
            ("/process/args", json!([1]), "config.json: process.args[0]:"),
            ("/process/cwd", json!("here"), "config.json: process.cwd:"),
            ("/process/user", json!({"uid": -1}), "config.json: process.user.uid:"),
            ("/process/rlimits", json!([{"type": "RLIMIT_X"}]), "config.json: process.rlimits[0].type:"),
            ("/root/path", json!(""), "config.json: root.path:"),
            ("/hostname", json!("x"), "config.json: hostname:"),
            ("/linux/namespaces", json!([{"type": "mind"}]), "config.json: linux.namespaces[0].type:"),
            (
                "/linux/namespaces",
                json!([{"type": "pid"}, {"type": "pid"}]),
                "config.json: linux.namespaces[1].type:",
            ),
            ("/linux/namespaces", json!([{"type": "user"}]), "config.json: linux.uidMappings:"),
            (
                "/linux/uidMappings",
                json!([{"containerID": 0, "hostID": 0, "size": 1}]),
                "config.json: linux.uidMappings:",
            ),
            (
                "/linux/sysctl",
                json!({"kernel.core_pattern": "x"}),
                "config.json: linux.sysctl.kernel.core_pattern:",
            ),
            (
                "/linux/sysctl",
                json!({"net.ipv4.ip_forward": "1"}),
                "config.json: linux.sysctl.net.ipv4.ip_forward:",
            ),
            ("/linux/sysctl", json!({"kernel.hostname": "x"}), "config.json: linux.sysctl.kernel.hostname:"),
            ("/linux/memoryPolicy", json!({}), "config.json: linux.memoryPolicy.mode:"),
            (
                "/linux/memoryPolicy",
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}),
                "config.json: linux.memoryPolicy.flags[0]:",
            ),
            (
                "/linux/memoryPolicy",
                json!({"mode": "MPOL_BIND", "nodes": "1-0"}),
                "config.json: linux.memoryPolicy.nodes:",
            ),
            (
                "/process/scheduler",
                json!({"policy": "SCHED_DEADLINE", "deadline": 20_000_000}),
                "config.json: process.scheduler.runtime:",
            ),
            (
                "/process/scheduler",
                json!({"policy": "SCHED_DEADLINE", "runtime": 3_000_000, "deadline": 2_000_000}),
                "config.json: process.scheduler.runtime:",
            ),
            ("/process/scheduler", json!({"policy": "SCHED_BEST"}), "config.json: process.scheduler.policy:"),
            (
                "/linux/devices",
                json!([{"type": "q", "path": "/dev/x"}]),
                "config.json: linux.devices[0].type:",
            ),
            ("/linux/rootfsPropagation", json!("open"), "config.json: linux.rootfsPropagation:"),
            ("/mounts", json!([{"destination": "/x", "type": "bind"}]), "config.json: mounts[0].source:"),
            ("/hooks", json!({"poststop": [{"path": "rm"}]}), "config.json: hooks.poststop[0].path:"),
        ];
        for (at, value, expected) in cases {
            let mut config = base();
            let (parent, name) = at.rsplit_once('/').expect("a path");
            config.pointer_mut(parent).expect("there")[name] = value.clone();
            let error = check(config).expect_err(at).line();
            assert!(error.starts_with(expected), "{at} = {value}: {error}");
        }
    }

    #[test]
    fn ranges_do_not_overlap() {
        let range = |container_id, host_id, size| IdMapping { container_id, host_id, size };
        assert!(mapping("x", &[range(0, 1000, 1), range(1, 100_000, 65_536)]).is_ok());
        assert!(mapping("x", &[range(0, 1000, 10), range(5, 5000, 10)]).is_err());
        assert!(mapping("x", &[range(0, u32::MAX, 10)]).is_err());
    }
}
