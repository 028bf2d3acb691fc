//! Limits, devices, kernel parameters and shared namespaces of a container, from the options.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use nabe_runtime::spec::{Device, DeviceRule, NamespaceKind, Rlimit, Spec};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::arguments::Args;
use crate::error::{CliError, Result};

/// Open files that a container may have, as under Docker.
const OPEN_FILES: u64 = 1 << 20;
/// Names of --ulimit, which are those of setrlimit(2) in small letters.
const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Options that were understood before anything is made.
#[derive(Debug)]
pub(super) struct Wishes {
    limits: Vec<Rlimit>,
    devices: Vec<(Device, DeviceRule)>,
    sysctl: Vec<(String, String)>,
    cpu_quota: Option<i64>,
}

impl Wishes {
    /// Understands the options.
    pub(super) fn of(args: &Args) -> Result<Self> {
        let sysctl = args.sysctl.iter().map(|text| pair("--sysctl", text));
        Ok(Self {
            limits: args.ulimit.iter().map(|text| limit(text)).collect::<Result<_>>()?,
            devices: args.device.iter().map(|text| device(text)).collect::<Result<_>>()?,
            sysctl: sysctl.collect::<Result<_>>()?,
            cpu_quota: args.cpus.map(quota).transpose()?,
        })
    }
}

/// `NAME=VALUE`.
pub(super) fn pair(option: &str, text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(CliError::usage(format_args!("{option} {text}: it is not of the form NAME=VALUE"))),
    }
}

/// Microseconds of processor in 100 ms.
fn quota(cpus: f64) -> Result<i64> {
    if !(0.01..=10_000.0).contains(&cpus) {
        return Err(CliError::usage(format_args!("--cpus {cpus}: it must be between 0.01 and 10000")));
    }
    Ok((cpus * 100_000.0).round() as i64)
}

/// `NAME=SOFT[:HARD]`.
fn limit(text: &str) -> Result<Rlimit> {
    let wrong = |why: &str| CliError::usage(format_args!("--ulimit {text}: {why}"));
    let (name, values) =
        text.split_once('=').ok_or_else(|| wrong("it is not of the form NAME=SOFT[:HARD]"))?;
    if !LIMITS.contains(&name) {
        return Err(wrong(&format!("there are {}", LIMITS.join(", "))));
    }
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        digits => digits.parse::<u64>().map_err(|_| wrong(&format!("{digits:?} is no number"))),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(wrong("the soft limit is beyond the hard one"));
    }
    Ok(Rlimit { kind: format!("RLIMIT_{}", name.to_ascii_uppercase()), soft, hard })
}

/// `HOST[:INSIDE[:ACCESS]]`.
fn device(text: &str) -> Result<(Device, DeviceRule)> {
    let wrong = |why: &str| CliError::usage(format_args!("--device {text}: {why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, access) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, access] if !access.is_empty() && access.bytes().all(|byte| b"rwm".contains(&byte)) => {
            (*host, *host, *access)
        }
        [host, inside] => (*host, *inside, "rwm"),
        [host, inside, access] if access.bytes().all(|byte| b"rwm".contains(&byte)) => {
            (*host, *inside, *access)
        }
        _ => return Err(wrong("it is not of the form HOST[:INSIDE[:rwm]]")),
    };
    if !inside.starts_with('/') {
        return Err(wrong("the container's path must be absolute"));
    }
    let found = fs::metadata(host).map_err(|error| CliError::file("find", Path::new(host), &error))?;
    let kind = match found.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return Err(wrong("it is no device")),
    };
    let (major, minor) = (rustix::fs::major(found.rdev()).into(), rustix::fs::minor(found.rdev()).into());
    let node = Device {
        kind: kind.into(),
        path: inside.into(),
        major,
        minor,
        file_mode: Some(found.mode() & 0o777),
        uid: Some(0),
        gid: Some(0),
    };
    let (major, minor) = (Some(major), Some(minor));
    Ok((node, DeviceRule { allow: true, kind: kind.into(), major, minor, access: access.into() }))
}

/// Puts them into the configuration.
pub(super) fn apply(spec: &mut Spec, args: &Args, wishes: &Wishes) -> Result<()> {
    let resources = &mut spec.linux.resources;
    resources.memory.limit = args.memory.filter(|bytes| *bytes > 0);
    resources.memory.swap = args.memory_swap;
    resources.pids.limit = args.pids_limit;
    resources.cpu.shares = args.cpu_shares;
    resources.cpu.cpus = args.cpuset_cpus.clone().unwrap_or_default();
    if let Some(quota) = wishes.cpu_quota {
        resources.cpu.quota = Some(quota);
        resources.cpu.period = Some(100_000);
    }
    for (node, rule) in &wishes.devices {
        spec.linux.devices.push(node.clone());
        resources.devices.push(rule.clone());
    }
    spec.linux.sysctl.extend(wishes.sysctl.iter().cloned());
    if let Some(bytes) = args.shm_size {
        for mount in spec.mounts.iter_mut().filter(|mount| mount.destination == Path::new("/dev/shm")) {
            mount.options.retain(|word| !word.starts_with("size="));
            mount.options.push(format!("size={bytes}"));
        }
    }
    let process = spec.process.get_or_insert_default();
    process.oom_score_adj = args.oom_score_adj.or(process.oom_score_adj);
    process.rlimits = wishes.limits.clone();
    if !process.rlimits.iter().any(|limit| limit.kind == "RLIMIT_NOFILE") {
        let most = open_files();
        process.rlimits.push(Rlimit { kind: "RLIMIT_NOFILE".into(), soft: most, hard: most });
    }
    share(spec, args)
}

/// As many open files as Docker allows, or as many as we may have.
fn open_files() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    let most = text.trim().parse().unwrap_or(OPEN_FILES).min(OPEN_FILES);
    let ours = getrlimit(Resource::Nofile);
    match ours.maximum {
        // Whether more may be had is found out by asking for it.
        Some(maximum) if maximum < most => {
            let more = rustix::process::Rlimit { maximum: Some(most), ..ours };
            if setrlimit(Resource::Nofile, more).is_ok() { most } else { maximum }
        }
        _ => most,
    }
}

/// Leaves out namespaces that are the host's.
fn share(spec: &mut Spec, args: &Args) -> Result<()> {
    let is_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    let mut drop = |kind: NamespaceKind| spec.linux.namespaces.retain(|namespace| namespace.kind != kind);
    if is_host(&args.pid) {
        drop(NamespaceKind::Pid);
    }
    if is_host(&args.uts) {
        if args.hostname.is_some() {
            return Err(CliError::usage("--hostname makes no sense with --uts host"));
        }
        drop(NamespaceKind::Uts);
        spec.hostname.clear();
    }
    if is_host(&args.ipc) {
        drop(NamespaceKind::Ipc);
        let is_shared = |path: &Path| matches!(path.to_str(), Some("/dev/shm" | "/dev/mqueue"));
        spec.mounts.retain(|mount| !is_shared(&mount.destination) || mount.destination.is_dir());
        for mount in &mut spec.mounts {
            if is_shared(&mount.destination) {
                mount.source = Some(mount.destination.clone());
                mount.kind = "bind".into();
                mount.options = ["rbind", "rprivate", "nosuid", "noexec", "nodev"].map(str::to_owned).into();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let read = limit("nofile=10:unlimited").expect("a limit");
        assert_eq!((read.kind.as_str(), read.soft, read.hard), ("RLIMIT_NOFILE", 10, u64::MAX));
        assert_eq!(limit("core=0").map(|limit| limit.hard).ok(), Some(0));
        for wrong in ["", "nofile", "nofile=", "nofile=x", "nofile=2:1", "files=1"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices_are_read() {
        let (node, rule) = device("/dev/null:/dev/nothing:r").expect("a device");
        assert_eq!((node.kind.as_str(), node.major, node.minor, rule.access.as_str()), ("c", 1, 3, "r"));
        assert_eq!(node.path, Path::new("/dev/nothing"));
        assert_eq!(device("/dev/null:rw").expect("a device").0.path, Path::new("/dev/null"));
        for wrong in ["", "/dev/null:/a:x", "/etc/passwd", "/nowhere", "/dev/null:a:r"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
    }
}
