//! `nabe spec`: a `config.json` to begin with.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::error::{CliError, Result};

/// Write a config.json to begin with.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory in which it is written
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Another name for it, from the directory when relative
    #[arg(short, long, value_name = "FILE", default_value = "config.json", hide_default_value = true)]
    file: PathBuf,
    /// For an ordinary user
    #[arg(long)]
    rootless: bool,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    use std::io::Write as _;
    let path = args.bundle.join(&args.file);
    let mut text = serde_json::to_vec_pretty(&config(args.rootless)).unwrap_or_default();
    text.push(b'\n');
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(&text));
    written.map_err(|error| CliError::file("write", &path, &error))?;
    Ok(ExitCode::SUCCESS)
}

fn config(rootless: bool) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ];
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    // As runc: with v1 hierarchies the mounts below already show the container's own cgroups only.
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        namespaces.push("cgroup");
    }
    let mut linux = json!({
        "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    mounts.push(mount("/dev/pts", "devpts", "devpts", if rootless { &pts[..5] } else { &pts }));
    mounts.push(mount(
        "/dev/shm",
        "tmpfs",
        "shm",
        &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
    ));
    mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    if rootless {
        let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
        mounts.push(json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options}));
        namespaces.push("user");
        let own = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
        linux["uidMappings"] = own(rustix::process::geteuid().as_raw());
        linux["gidMappings"] = own(rustix::process::getegid().as_raw());
        linux["resources"] = Value::Null;
    } else {
        mounts.push(mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]));
        mounts.push(mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ));
        namespaces.push("network");
    }
    linux["namespaces"] = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    json!({
        "ociVersion": nabe_runtime::spec::VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "nabe",
        "mounts": mounts,
        "linux": linux,
    })
}
