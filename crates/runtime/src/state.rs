//! What is kept of a container between two runs of the runtime: a directory `<root>/<id>`.
//!
//! `state.json` has the shape of runc's (`init_process_pid`, `cgroup_paths`, `config.rootfs`,
//! `config.labels` …), so that whoever reads runc's reads ours, with our own facts under `nabe`.
//! It is written to a new file that then takes its name, so it is never half there. `config.json` is
//! the bundle's, as it was; `start.sock` is there until the container is started.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::error::{Context as _, Error, Result};
use crate::spec::{self, Spec};
use crate::sys;
use crate::systemd::{Systemd, Unit};

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made, its program not started.
    Created,
    /// Its program runs.
    Running,
    /// Frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The file `state.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The container's name.
    pub id: String,
    /// Host pid of the first process; 0 before there is one.
    pub init_process_pid: i32,
    /// Its start time in clock ticks since boot, against reused pids.
    pub init_process_start: u64,
    /// RFC 3339, UTC.
    pub created: String,
    /// As runc writes it, as far as others read it.
    pub config: StateConfig,
    /// Made by an ordinary user.
    pub rootless: bool,
    /// Its cgroups by controller; `""` is the v2 hierarchy.
    pub cgroup_paths: Cgroup,
    /// Files of its namespaces, by `NEWPID` and the like.
    pub namespace_paths: BTreeMap<String, PathBuf>,
    /// What runc's file has no place for.
    #[serde(default)]
    pub nabe: Own,
}

/// The part of runc's configuration that others read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StateConfig {
    /// The root directory.
    pub rootfs: PathBuf,
    /// `key=value`: annotations, and `bundle=`.
    pub labels: Vec<String>,
}

/// What runc's file has no place for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Own {
    /// Who makes it; 0 once it is made.
    pub creator_pid: i32,
    /// Start time of that process.
    pub creator_start: u64,
    /// User id of the caller.
    pub owner: u32,
    /// The configuration's version.
    pub oci_version: String,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The unit of systemd whose cgroup it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// Where states are kept when nobody says: `/run/nabe`, or `$XDG_RUNTIME_DIR/nabe` of an ordinary user, also
/// when an engine of his made him root of a user namespace, as Podman does.
#[must_use]
pub fn default_root() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    if rustix::process::geteuid().is_root() {
        // As runc tells them apart: a whole system in a user namespace has a user root.
        let of_a_user = || {
            std::env::var_os("USER").is_none_or(|user| user != "root") && crate::create::in_user_namespace()
        };
        return match given {
            Some(directory) if of_a_user() => directory.join("nabe"),
            _ => "/run/nabe".into(),
        };
    }
    let uid = rustix::process::getuid().as_raw();
    given.unwrap_or_else(|| format!("/tmp/nabe-run-{uid}").into()).join("nabe")
}

/// Refuses ids that are no file names.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '.' | '-');
    if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.chars().all(fine) {
        return Err(Error::Id(id.into()));
    }
    Ok(())
}

/// The directory of one container.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
}

impl Directory {
    pub(crate) fn of(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        Ok(Self { path: root.join(id) })
    }

    /// Makes it; the id is then ours.
    pub(crate) fn make(root: &Path, id: &str) -> Result<Self> {
        let this = Self::of(root, id)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        let fail = |path: &Path, source| Error::File { what: "make", path: path.into(), source };
        match builder.create(&this.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut parents = std::fs::DirBuilder::new();
                parents.mode(0o711).recursive(true).create(root).map_err(|e| fail(root, e))?;
                builder.create(&this.path)
            }
            result => result,
        }
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(id.into()),
            io::ErrorKind::InvalidFilename => Error::Id(id.into()),
            _ => fail(&this.path, error),
        })?;
        Ok(this)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("start.sock")
    }

    /// A socket in the container's directory on which it waits to be started.
    pub(crate) fn listen(&self) -> Result<OwnedFd> {
        let what = || "make the start socket".to_owned();
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .step(what)?;
        let place = sys::open_path(&self.path, OFlags::DIRECTORY).step(what)?;
        // Not by its own path, which may be longer than an address.
        let name = format!("{}/start.sock", sys::proc_path(place.as_fd()).to_string_lossy());
        rustix::net::bind(&socket, &SocketAddrUnix::new(name.as_str()).step(what)?).step(what)?;
        rustix::net::listen(&socket, 1).step(what)?;
        Ok(socket)
    }

    /// Writes `state.json` at once or not at all.
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let text = serde_json::to_vec(state).map_err(|source| Error::Json {
            file: self.path.join("state.json"),
            at: ".".into(),
            source,
        })?;
        write_whole(&self.path.join("state.json"), &text)
    }

    /// Reads `state.json`.
    pub(crate) fn read(&self, id: &str) -> Result<State> {
        let path = self.path.join("state.json");
        match spec::read(&path) {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::Missing(id.into()))
            }
            Err(error) => Err(error),
            Ok(text) => spec::parse(&path, &text),
        }
    }

    /// The configuration that the container was made with.
    pub(crate) fn spec(&self) -> Result<Spec> {
        spec::parse(&self.config(), &spec::read(&self.config())?)
    }

    /// Removes it and what is in it.
    pub(crate) fn remove(&self) -> Result<()> {
        // The names that we make first: cheaper than reading the directory.
        for name in ["state.json", "config.json", "start.sock"] {
            std::fs::remove_file(self.path.join(name)).ok();
        }
        match std::fs::remove_dir(&self.path).or_else(|_| std::fs::remove_dir_all(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::File { what: "remove", path: self.path.clone(), source: error })
            }
            _ => Ok(()),
        }
    }
}

/// Writes a file so that readers see all of it or what was before.
pub(crate) fn write_whole(path: &Path, text: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        std::fs::rename(&new, path)
    };
    write().map_err(|source| {
        std::fs::remove_file(&new).ok();
        Error::File { what: "write", path: path.into(), source }
    })
}

impl State {
    /// What the container is doing now.
    pub(crate) fn status(&self, directory: &Directory) -> Status {
        if self.init_process_pid == 0 {
            let alive = self.nabe.creator_pid > 0 && lives(self.nabe.creator_pid, self.nabe.creator_start);
            return if alive { Status::Creating } else { Status::Stopped };
        }
        if !lives(self.init_process_pid, self.init_process_start) {
            return Status::Stopped;
        }
        if self.cgroup_paths.frozen() {
            return Status::Paused;
        }
        if directory.socket().symlink_metadata().is_ok() { Status::Created } else { Status::Running }
    }

    /// Ends what is left in its cgroups, their unit, and them.
    pub(crate) fn release(&self) -> Result<()> {
        if let Some(unit) = &self.nabe.unit {
            // systemd asks nicely first, and waits: there is nobody left to be asked.
            self.cgroup_paths.kill();
            if self.cgroup_paths.frozen() {
                self.cgroup_paths.freeze(false).ok();
            }
            let stopped = Systemd::connect(unit.user).and_then(|mut systemd| systemd.stop(unit));
            if let Err(error) = stopped {
                // Its cgroups can be removed all the same, and a unit without one is none for long.
                eprintln!("nabe: note: {}", error.line());
            }
        }
        self.cgroup_paths.remove(true)
    }

    /// The state as the runtime-spec wants it shown, to hooks and by `state`.
    #[must_use]
    pub fn shown(&self, status: Status, annotations: &BTreeMap<String, String>) -> serde_json::Value {
        let mut shown = serde_json::json!({
            "ociVersion": self.nabe.oci_version,
            "id": self.id,
            "status": status,
            "pid": if status == Status::Stopped { 0 } else { self.init_process_pid },
            "bundle": self.nabe.bundle,
        });
        if !annotations.is_empty()
            && let Some(object) = shown.as_object_mut()
        {
            object.insert("annotations".into(), serde_json::json!(annotations));
        }
        shown
    }
}

/// The state letter and the start time of a process.
pub(crate) fn process_of(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also brackets and spaces; what follows may not.
    let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
    let letter = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((letter, start))
}

/// Whether this very process lives (a zombie does not).
pub(crate) fn lives(pid: i32, start: u64) -> bool {
    process_of(pid).is_some_and(|(letter, found)| found == start && !matches!(letter, 'Z' | 'X'))
}

/// Now, as RFC 3339 in UTC with nanoseconds.
#[must_use]
pub fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(now.as_secs(), now.subsec_nanos())
}

/// Howard Hinnant's civil_from_days.
fn rfc3339(seconds: u64, nanos: u32) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_795_319_930, "2026-11-22T03:58:50.000000000Z"),
        ] {
            assert_eq!(rfc3339(seconds, 0), text);
        }
    }

    #[test]
    fn ids_are_file_names() {
        for id in ["a", "web_1.2+x-y", "0"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "ü", "a\0"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn an_id_is_taken_once_and_the_state_is_whole() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = Directory::make(root.path(), "a").expect("the first");
        assert!(matches!(Directory::make(root.path(), "a"), Err(Error::Exists(_))));
        assert!(matches!(directory.read("a"), Err(Error::Missing(_))));
        let state = State { id: "a".into(), init_process_pid: 7, ..State::default() };
        directory.write(&state).expect("written");
        assert_eq!(directory.read("a").expect("read").init_process_pid, 7);
        assert_eq!(std::fs::read_dir(&directory.path).expect("listed").count(), 1);
        directory.remove().expect("removed");
        directory.remove().expect("twice");
    }

    #[test]
    fn we_live_and_others_of_our_pid_did_not() {
        let pid = std::process::id() as i32;
        let (_, start) = process_of(pid).expect("ourselves");
        assert!(lives(pid, start));
        assert!(!lives(pid, start + 1));
    }
}
