//! A bundle for an OCI runtime: the root file system and config.json (runtime-spec 1.2, and image-spec's
//! conversion.md for what of an image's config goes where).

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::apply::open_below;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::store::{IdMaps, Image, LeftOut, open_directory, remove_path};

/// Bytes of /etc/passwd or /etc/group that are read.
const MAX_ACCOUNTS: u64 = 4 << 20;

/// The capabilities that Docker and Podman leave to a container.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A range of ids inside a container and on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id on the machine.
    pub host: u32,
    /// How many.
    pub size: u32,
}

impl IdMap {
    /// The machine's id of one inside.
    pub fn to_host(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.container).filter(|offset| *offset < self.size)?;
        self.host.checked_add(offset)
    }
}

impl std::str::FromStr for IdMap {
    type Err = Error;

    /// `container:host:size`.
    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<u32> = text.split(':').map_while(|part| part.parse().ok()).collect();
        match numbers.as_slice() {
            [container, host, size] if text.split(':').count() == 3 && *size > 0 => {
                Ok(Self { container: *container, host: *host, size: *size })
            }
            _ => {
                let reason = format!("{text:?} is no container:host:size");
                Err(Error::Setting { key: "id map".into(), reason })
            }
        }
    }
}

/// Who a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub additional: Vec<u32>,
    /// The home directory, when /etc/passwd says one.
    pub home: Option<String>,
}

/// Resolves `user[:group]` by the root file system's own /etc/passwd and /etc/group, as Docker does.
/// Empty is root. A number needs no line there; a name does.
pub fn user_of(rootfs: &Path, text: &str) -> Result<User> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let passwd = accounts(rootfs, "etc/passwd");
    let groups = accounts(rootfs, "etc/group");
    let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        let number = name.parse::<u32>().is_ok() && fields.get(2) == Some(&name);
        fields.first() == Some(&name) || number
    });
    let number = |fields: &[&str], at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    let mut user = User::default();
    match (&line, name.parse::<u32>()) {
        (Some(fields), _) if number(fields, 2).is_some() => {
            user.uid = number(fields, 2).unwrap_or_default();
            user.gid = number(fields, 3).unwrap_or_default();
            user.home = fields.get(5).filter(|home| home.starts_with('/')).map(|home| (*home).to_owned());
        }
        (_, Ok(uid)) if uid != u32::MAX => user.uid = uid,
        _ => return Err(Error::NoUser { kind: "user", name: name.to_owned(), file: "/etc/passwd" }),
    }
    let in_group = |wanted: &str| {
        groups
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find_map(|fields| (fields.first() == Some(&wanted)).then(|| number(&fields, 2)).flatten())
    };
    match group {
        Some(group) if !group.is_empty() => {
            let known = in_group(group).or_else(|| group.parse().ok());
            user.gid = known.ok_or_else(|| Error::NoUser {
                kind: "group",
                name: group.to_owned(),
                file: "/etc/group",
            })?;
        }
        _ => {
            let login = line.as_ref().and_then(|fields| fields.first().copied()).unwrap_or_default();
            user.additional = groups
                .lines()
                .map(|line| line.split(':').collect::<Vec<_>>())
                .filter(|fields| {
                    fields.get(3).is_some_and(|members| {
                        !login.is_empty() && members.split(',').any(|one| one == login)
                    })
                })
                .filter_map(|fields| number(&fields, 2))
                .filter(|gid| *gid != user.gid)
                .collect();
        }
    }
    Ok(user)
}

/// A file of the root file system, its links taken as the container takes them; empty when there is none.
fn accounts(rootfs: &Path, name: &str) -> String {
    let read = || -> Option<String> {
        let root = open_directory(rootfs).ok()?;
        // Never wait for a FIFO that an image put there.
        let file = open_below(&root, name.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
        let mut bytes = Vec::new();
        let file = fs::File::from(file);
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        file.take(MAX_ACCOUNTS).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// config.json for an image unpacked (or mounted) at `rootfs`; its root path is `rootfs`, relative to the
/// bundle. Capabilities, mounts and masked paths are Docker's; seccomp is left to the runtime.
pub fn config_of(image: &Image, rootfs: &Path) -> Result<Spec> {
    let execution = image.config.config.clone().unwrap_or_default();
    let user = user_of(rootfs, execution.user.as_deref().unwrap_or_default())?;
    let mut arguments = execution.entrypoint.unwrap_or_default();
    arguments.extend(execution.cmd.unwrap_or_default());
    if arguments.is_empty() {
        arguments.push("/bin/sh".to_owned());
    }
    let mut environment = execution.env.unwrap_or_default();
    let has = |environment: &[String], name: &str| environment.iter().any(|one| one.starts_with(name));
    if !has(&environment, "PATH=") {
        environment.insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    if !has(&environment, "HOME=") {
        environment.push(format!("HOME={}", user.home.as_deref().unwrap_or("/")));
    }
    let cwd = execution.working_dir.filter(|path| path.starts_with('/')).unwrap_or_else(|| "/".to_owned());
    let mut annotations = execution.labels.unwrap_or_default();
    for (key, value) in [
        ("org.opencontainers.image.os", Some(image.config.os.clone())),
        ("org.opencontainers.image.architecture", Some(image.config.architecture.clone())),
        ("org.opencontainers.image.created", image.config.created.clone()),
        ("org.opencontainers.image.stopSignal", execution.stop_signal),
        ("dev.nabe.image", image.names.first().cloned()),
        ("dev.nabe.image.id", Some(image.id.config.to_string())),
    ] {
        if let Some(value) = value {
            annotations.insert(key.to_owned(), value);
        }
    }
    let spec = json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "nabe",
        "process": {
            "terminal": false,
            "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.additional },
            "args": arguments,
            "env": environment,
            "cwd": cwd,
            "noNewPrivileges": false,
            "capabilities": {
                "bounding": CAPABILITIES,
                "effective": if user.uid == 0 { &CAPABILITIES[..] } else { &[] },
                "permitted": if user.uid == 0 { &CAPABILITIES[..] } else { &[] },
                "inheritable": [],
                "ambient": [],
            },
        },
        "mounts": mounts(),
        "annotations": annotations,
        "linux": linux(),
    });
    serde_json::from_value(spec)
        .map_err(|error| Error::document(format!("config of {}", image.title()), error))
}

fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
    ])
}

fn linux() -> Value {
    json!({
        "namespaces": [
            { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
        ],
        "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    })
}

/// Makes a bundle at `target`, which must not exist or be an empty directory. It appears whole or not
/// at all.
pub fn bundle(image: &Image, target: &Path, settings: &Settings, ids: &IdMaps) -> Result<LeftOut> {
    staged(target, |staging| {
        fs::DirBuilder::new().mode(0o700).create(staging).map_err(Error::file("create", staging))?;
        let rootfs = staging.join("rootfs");
        let left_out = image.unpack(&rootfs, settings, ids)?;
        let spec = config_of(image, &rootfs)?;
        let path = staging.join("config.json");
        let text = serde_json::to_vec_pretty(&spec).map_err(|error| Error::document("config.json", error))?;
        fs::write(&path, text).map_err(Error::file("write", &path))?;
        Ok(left_out)
    })
}

/// Unpacks the files alone to `target`, whole or not at all.
pub fn root_file_system(image: &Image, target: &Path, settings: &Settings, ids: &IdMaps) -> Result<LeftOut> {
    staged(target, |staging| image.unpack(staging, settings, ids))
}

/// Makes something beside `target` and gives it the name when it is whole.
fn staged(target: &Path, make: impl FnOnce(&Path) -> Result<LeftOut>) -> Result<LeftOut> {
    let name = target.file_name().ok_or_else(|| Error::Setting {
        key: "directory".into(),
        reason: format!("{} has no name", target.display()),
    })?;
    if fs::read_dir(target).is_ok_and(|mut inside| inside.next().is_some()) {
        let error = std::io::Error::from(std::io::ErrorKind::DirectoryNotEmpty);
        return Err(Error::file("unpack to", target)(error));
    }
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".nabe-");
    sweep(target, &hidden);
    hidden.push(std::process::id().to_string());
    let staging = target.with_file_name(hidden);
    let result = make(&staging).and_then(|left_out| {
        fs::rename(&staging, target).map_err(Error::file("create", target))?;
        Ok(left_out)
    });
    if result.is_err() && staging.exists() {
        let _ = remove_path(&staging);
    }
    result
}

/// Removes what processes that were killed left of the same target: `hidden` and the number of nobody.
fn sweep(target: &Path, hidden: &std::ffi::OsStr) {
    let beside = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(beside).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.as_encoded_bytes().strip_prefix(hidden.as_encoded_bytes());
        let pid = number.and_then(|number| std::str::from_utf8(number).ok()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // What cannot go harms nobody.
            let _ = remove_path(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_ones_left_goes_with_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // No pid is that large (pid_max is 2^22 at most).
        let (dead, ours) = (".x.nabe-4194999", format!(".x.nabe-{}", std::process::id()));
        for name in [dead, &ours, ".x.nabe-4194999z", ".y.nabe-4194999"] {
            fs::create_dir_all(at(name).join("rootfs/bin")).unwrap();
        }
        staged(&at("x"), |staging| {
            assert_eq!(staging, at(&ours));
            Ok(LeftOut::default())
        })
        .unwrap();
        assert!(at("x").exists() && !at(dead).exists());
        assert!(at(".x.nabe-4194999z").exists() && at(".y.nabe-4194999").exists());
    }

    #[test]
    fn users_are_the_images_own() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(
            root.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:33:44::/srv:/bin/sh\nbad\n",
        )
        .unwrap();
        fs::write(root.path().join("etc/group"), "root:x:0:\nwww:x:44:\nlogs:x:50:a,web\nmore:x:51:web\n")
            .unwrap();
        let user = |text| user_of(root.path(), text);
        let web = User { uid: 33, gid: 44, additional: vec![50, 51], home: Some("/srv".into()) };
        assert_eq!(user("web").unwrap(), web);
        assert_eq!(user("33").unwrap(), web);
        assert_eq!(user("").unwrap().uid, 0);
        assert_eq!(user("").unwrap().home.as_deref(), Some("/root"));
        assert_eq!(user("1234").unwrap(), User { uid: 1234, ..User::default() });
        assert_eq!(user("1234:logs").unwrap().gid, 50);
        assert_eq!(user("web:7").unwrap(), User { gid: 7, additional: vec![], ..web });
        assert!(user("nobody").is_err());
        assert!(user("web:nogroup").is_err());
    }

    #[test]
    fn a_link_out_of_the_image_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("etc/passwd")).unwrap();
        assert!(user_of(root.path(), "daemon").is_err());
    }

    #[test]
    fn id_maps() {
        let map: IdMap = "0:100000:65536".parse().unwrap();
        assert_eq!((map.to_host(5), map.to_host(65536)), (Some(100_005), None));
        for wrong in ["", "1:2", "1:2:3:4", "a:b:c", "0:1:0"] {
            assert!(wrong.parse::<IdMap>().is_err(), "{wrong}");
        }
    }
}
