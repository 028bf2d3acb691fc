//! Control groups: v1, v2 and both at once.
//!
//! A container has one directory in every hierarchy that is mounted. Its first process enters the v2
//! one by `clone3` and each v1 one by writing `0` into `tasks` itself: the kernel then needs none of
//! the locks that moving another process takes (kernel/cgroup/cgroup.c, `cgroup_procs_write_start`).

mod device;
mod door;
mod resource;
mod stats;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Context as _, Error, Result};
pub(crate) use device::Allowed;
pub(crate) use door::Doors;
pub(crate) use resource::{memory_values, weight_of_io, weight_of_shares};

/// The key of the v2 hierarchy.
const UNIFIED: &str = "";

/// How long to wait until the kernel lets go of the tasks of a cgroup that is removed.
const PATIENCE: Duration = Duration::from_secs(10);

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Keys under which it is known: controllers, `name=systemd`, or `""`.
    pub(crate) keys: Vec<String>,
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Our own cgroup in it.
    own: PathBuf,
}

impl Hierarchy {
    pub(crate) fn is_unified(&self) -> bool {
        self.keys.iter().any(|key| key == UNIFIED)
    }
}

/// The hierarchies of this machine.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let read = |path: &'static str| {
        std::fs::read(path).map_err(|source| Error::File { what: "read", path: path.into(), source })
    };
    let own = read("/proc/self/cgroup")?;
    let mounts = read("/proc/self/mountinfo")?;
    Ok(match_hierarchies(&String::from_utf8_lossy(&own), &mounts))
}

fn match_hierarchies(own: &str, mounts: &[u8]) -> Vec<Hierarchy> {
    let lines: Vec<(Vec<String>, &str)> = own
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (keys, path) = rest.split_once(':')?;
            Some((keys.split(',').map(str::to_owned).collect(), path))
        })
        .collect();
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.split(|byte| *byte == b'\n') {
        let Some(mount) = cgroup_mount(line) else { continue };
        let wanted = |keys: &[String]| match mount.unified {
            true => keys == [UNIFIED],
            false => keys.iter().all(|key| !key.is_empty() && mount.options.split(',').any(|o| o == key)),
        };
        let Some((keys, path)) = lines.iter().find(|(keys, _)| wanted(keys)) else { continue };
        if found.iter().any(|known| known.keys == *keys) {
            continue;
        }
        // In a container, a part of the hierarchy may be what is mounted.
        let path = Path::new(path);
        let below = path.strip_prefix(&mount.root).unwrap_or(path);
        let own = mount.at.join(below.strip_prefix("/").unwrap_or(below));
        found.push(Hierarchy { keys: keys.clone(), mount: mount.at, own });
    }
    found
}

struct Mounted<'a> {
    unified: bool,
    root: PathBuf,
    at: PathBuf,
    options: &'a str,
}

fn cgroup_mount(line: &[u8]) -> Option<Mounted<'_>> {
    // Most mounts are none of ours; find that out cheaply.
    let dash = line.windows(3).position(|part| part == b" - ")?;
    let tail = std::str::from_utf8(line.get(dash + 3..)?).ok()?;
    let mut tail = tail.split(' ');
    let unified = match tail.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = tail.nth(1)?;
    let mut head = line.get(..dash)?.split(|byte| *byte == b' ').skip(3);
    Some(Mounted { unified, root: unescape(head.next()?), at: unescape(head.next()?), options })
}

/// `\040` and the like in `/proc/PID/mountinfo`.
pub(crate) fn unescape(text: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let octal = || {
            let digits = std::str::from_utf8(tail.get(..3)?).ok()?;
            u8::from_str_radix(digits, 8).ok()
        };
        match octal().filter(|_| byte == b'\\') {
            Some(byte) => {
                plain.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => plain.push(byte),
        }
    }
    std::ffi::OsString::from_vec(plain).into()
}

/// How often a directory is made again that others take away.
const ATTEMPTS: u32 = 20;

/// Whether a hierarchy speaks v1 or v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// Who makes the cgroups of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// We, as directories.
    #[default]
    Cgroupfs,
    /// systemd, as a scope.
    Systemd,
    /// Nobody: the container stays in the cgroups of its caller, without limits.
    Disabled,
}

/// The cgroups of one container: a directory by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cgroup {
    paths: BTreeMap<String, PathBuf>,
}

impl Cgroup {
    /// Where the cgroups of a container will be. An absolute `path` counts from the hierarchy's root, a
    /// relative one from our own cgroup; without one, the id does.
    pub(crate) fn locate(hierarchies: &[Hierarchy], path: &str, id: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Config { at: "linux.cgroupsPath".into(), why: why.into() };
        let wanted = Path::new(if path.is_empty() { id } else { path });
        if wanted.components().any(|part| part == Component::ParentDir) {
            return Err(wrong("must not contain .."));
        }
        if path.contains(':') {
            return Err(wrong(
                "is slice:prefix:name, which needs the systemd cgroup driver (--systemd-cgroup)",
            ));
        }
        let mut paths = BTreeMap::new();
        for hierarchy in hierarchies {
            let place = match wanted.strip_prefix("/") {
                Ok(below) => hierarchy.mount.join(below),
                Err(_) => hierarchy.own.join(wanted),
            };
            if place == hierarchy.mount {
                return Err(wrong("must not be the root of the hierarchy"));
            }
            for key in &hierarchy.keys {
                paths.insert(key.clone(), place.clone());
            }
        }
        Ok(Self { paths })
    }

    /// The cgroups of a unit of systemd: the same path below the root of every hierarchy; with `only_unified`
    /// (the manager of a user) in the v2 one.
    pub(crate) fn of_unit(hierarchies: &[Hierarchy], place: &Path, only_unified: bool) -> Self {
        let mut paths = BTreeMap::new();
        for hierarchy in hierarchies.iter().filter(|found| !only_unified || found.is_unified()) {
            for key in &hierarchy.keys {
                paths.insert(key.clone(), hierarchy.mount.join(place));
            }
        }
        Self { paths }
    }

    /// Moves a process that systemd has moved already into the v1 hierarchies that systemd does not know, making
    /// their directories.
    pub(crate) fn adopt(&self, hierarchies: &[Hierarchy], pid: i32) -> Result<()> {
        for hierarchy in hierarchies.iter().filter(|found| !found.is_unified()) {
            let Some(path) = hierarchy.keys.first().and_then(|key| self.paths.get(key)) else { continue };
            make_legacy(hierarchy, path).map_err(|source| Error::File {
                what: "make",
                path: path.clone(),
                source,
            })?;
            write(&path.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Hands every controller of the v2 hierarchy down to the cgroup, as far as it can be.
    pub(crate) fn hand_controllers_down(&self, hierarchies: &[Hierarchy]) -> Result<()> {
        let unified = hierarchies.iter().find(|hierarchy| hierarchy.is_unified()).zip(self.unified());
        let Some((hierarchy, path)) = unified else { return Ok(()) };
        make_unified(&hierarchy.mount, path).map_err(|source| Error::File {
            what: "make",
            path: path.into(),
            source,
        })
    }

    /// The directories, each once.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let mut seen: Vec<&Path> = Vec::new();
        for path in self.paths.values() {
            if !seen.contains(&path.as_path()) {
                seen.push(path);
            }
        }
        seen.into_iter()
    }

    /// The directory of the v2 hierarchy, whose inode number is the cgroup's id for the kernel.
    #[must_use]
    pub fn unified(&self) -> Option<&Path> {
        self.paths.get(UNIFIED).map(PathBuf::as_path)
    }

    /// The way down from this v2 cgroup to that of `other`: `/`, or `/a/b`.
    pub(crate) fn path_to(&self, other: &Self) -> String {
        let below =
            self.unified().zip(other.unified()).and_then(|(own, theirs)| theirs.strip_prefix(own).ok());
        format!("/{}", below.unwrap_or(Path::new("")).display())
    }

    /// The directory in which a controller's files are.
    pub(crate) fn controller(&self, name: &str) -> Option<(&Path, Version)> {
        match self.paths.get(name) {
            Some(path) => Some((path, Version::V1)),
            None => self.unified().map(|path| (path, Version::V2)),
        }
    }

    /// Whether v2 is all there is.
    pub(crate) fn only_unified(&self) -> bool {
        self.paths.len() == 1 && self.unified().is_some()
    }

    /// Makes the directories. With `lenient` (an ordinary user) a hierarchy that may not be written to is
    /// left out.
    pub(crate) fn make(&mut self, hierarchies: &[Hierarchy], lenient: bool) -> Result<()> {
        for hierarchy in hierarchies {
            let Some(path) = hierarchy.keys.first().and_then(|key| self.paths.get(key)) else { continue };
            let make = || match hierarchy.is_unified() {
                true => make_unified(&hierarchy.mount, path),
                false => make_legacy(hierarchy, path),
            };
            // Whoever removes the last container beside takes the directory above away.
            let gone = |made: &io::Result<()>| {
                made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            };
            let mut made = make();
            for _ in 0..ATTEMPTS {
                if !gone(&made) {
                    break;
                }
                made = make();
            }
            match made {
                Err(error)
                    if lenient
                        && matches!(
                            error.kind(),
                            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                        ) =>
                {
                    for key in &hierarchy.keys {
                        self.paths.remove(key);
                    }
                }
                result => {
                    result.map_err(|source| Error::File { what: "make", path: path.clone(), source })?
                }
            }
        }
        Ok(())
    }

    /// The cgroups for another process: those of the container, but where one below is asked for.
    pub(crate) fn below(&self, asked: &[String]) -> Result<Self> {
        let mut this = self.clone();
        for word in asked {
            let (controllers, path) = match word.split_once(':') {
                Some((controllers, path)) => (Some(controllers), path),
                None => (None, word.as_str()),
            };
            let path = Path::new(path.trim_start_matches('/'));
            if path.components().any(|part| part == Component::ParentDir) {
                return Err(Error::Refused(format!("{} is not a sub cgroup path", path.display())));
            }
            let keys: Vec<String> = match controllers {
                Some(list) => list.split(',').map(str::to_owned).collect(),
                None => self.paths.keys().cloned().collect(),
            };
            for key in keys {
                let Some(own) = self.paths.get(&key) else {
                    return Err(Error::Refused(format!("unknown controller {key} in the cgroup \"{word}\"")));
                };
                let place = own.join(path);
                let processes = place.join("cgroup.procs");
                if !processes.is_file() {
                    let source = io::Error::from_raw_os_error(libc::ENOENT);
                    return Err(Error::File { what: "enter", path: processes, source });
                }
                // Controllers may share a hierarchy.
                let same: Vec<String> =
                    self.paths.iter().filter(|(_, at)| *at == own).map(|(key, _)| key.clone()).collect();
                this.paths.extend(same.into_iter().map(|key| (key, place.clone())));
            }
        }
        Ok(this)
    }

    /// The cgroups for a process beside `first`, the container's first. cgroup v2 lets nobody into a cgroup that
    /// hands controllers on to those below it: then it goes where the first one has gone.
    pub(crate) fn beside(&self, first: i32) -> Self {
        let mut this = self.clone();
        let Some(own) = self.unified() else { return this };
        let handed_on = std::fs::read_to_string(own.join("cgroup.subtree_control")).unwrap_or_default();
        if handed_on.trim().is_empty() {
            return this;
        }
        let read = |path: String| std::fs::read(path).unwrap_or_default();
        let (where_it_is, mounts) =
            (read(format!("/proc/{first}/cgroup")), read("/proc/self/mountinfo".into()));
        let found = match_hierarchies(&String::from_utf8_lossy(&where_it_is), &mounts);
        if let Some(hierarchy) =
            found.into_iter().find(|found| found.is_unified() && found.own.starts_with(own))
        {
            this.paths.insert(UNIFIED.into(), hierarchy.own);
        }
        this
    }

    /// What the first process needs to enter.
    pub(crate) fn doors(&self) -> Result<Doors<'static>> {
        let mut doors = Doors::default();
        for path in self.directories() {
            let fail = |source| Error::File { what: "open", path: path.into(), source };
            if Some(path) == self.unified() {
                doors.unified = Some(File::open(path).map_err(fail)?.into());
            } else {
                let tasks = OpenOptions::new().write(true).open(path.join("tasks")).map_err(fail)?;
                doors.tasks.push((path.into(), tasks));
            }
        }
        Ok(doors)
    }

    /// Refuses a cgroup in which no process would run: whoever made it has frozen it.
    pub(crate) fn check_thawed(&self) -> Result<()> {
        match self.frozen() {
            true => Err(Error::Refused("container's cgroup unexpectedly frozen".into())),
            false => Ok(()),
        }
    }

    /// Whether somebody is there already.
    pub(crate) fn occupied(&self) -> bool {
        self.directories().any(|path| path.exists()) && !self.processes().is_empty()
    }

    /// Process ids in the cgroup and those below it, as the host counts.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let Some((path, _)) = self.controller("pids").filter(|(path, _)| path.is_dir()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        collect(path, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Freezes or thaws all of it.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let Some((path, version)) = self.controller("freezer") else {
            return Err(Error::Refused("the container has no cgroup, so it cannot be frozen".into()));
        };
        let (file, word, done) = match (version, frozen) {
            (Version::V1, true) => ("freezer.state", "FROZEN", "FROZEN"),
            (Version::V1, false) => ("freezer.state", "THAWED", "THAWED"),
            (Version::V2, true) => ("cgroup.freeze", "1", "frozen 1"),
            (Version::V2, false) => ("cgroup.freeze", "0", "frozen 0"),
        };
        let asked = if version == Version::V1 { "freezer.state" } else { "cgroup.events" };
        let start = Instant::now();
        loop {
            write(&path.join(file), word)?;
            let now = std::fs::read_to_string(path.join(asked))
                .step(|| format!("read {asked} of {}", path.display()))?;
            if now.lines().any(|line| line == done) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::Refused(format!("{} does not become {word}", path.display())));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether it is frozen.
    pub(crate) fn frozen(&self) -> bool {
        let read = |path: &Path, file: &str| std::fs::read_to_string(path.join(file)).unwrap_or_default();
        match self.controller("freezer") {
            Some((path, Version::V1)) => matches!(read(path, "freezer.state").trim(), "FROZEN" | "FREEZING"),
            Some((path, Version::V2)) => read(path, "cgroup.freeze").trim() == "1",
            None => false,
        }
    }

    /// Kills every process in it.
    pub(crate) fn kill(&self) {
        if let Some(path) = self.unified()
            && write(&path.join("cgroup.kill"), "1").is_ok()
            && self.only_unified()
        {
            return;
        }
        for pid in self.processes() {
            crate::sys::kill(pid, libc::SIGKILL).ok();
        }
    }

    /// Removes the directories, and what was made below them. `kill` ends processes that come up meanwhile.
    pub(crate) fn remove(&self, kill: bool) -> Result<()> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        for path in self.directories() {
            loop {
                let error = match remove_tree(path) {
                    Ok(()) => break,
                    Err(error) => error,
                };
                if error.raw_os_error() != Some(libc::EBUSY) || start.elapsed() > PATIENCE {
                    return Err(Error::File { what: "remove", path: path.into(), source: error });
                }
                if kill {
                    self.freeze(false).ok();
                    self.kill();
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            if let Some(ours) = path.parent().filter(|parent| is_ours(parent)) {
                // Others in it keep it.
                std::fs::remove_dir(ours).ok();
            }
        }
        Ok(())
    }
}

/// Whether this is the directory of nabe's own containers, at the root of a hierarchy.
fn is_ours(path: &Path) -> bool {
    let device =
        |path: Option<&Path>| path.and_then(|path| std::fs::metadata(path).ok()).map(|found| found.dev());
    let root = path.parent();
    path.file_name().is_some_and(|name| name == "nabe") && device(root) != device(root.and_then(Path::parent))
}

/// Device rules through both of their forms.
pub(crate) fn fuzz_rules(rules: &[crate::spec::DeviceRule]) {
    if let Ok(rules) = device::with_defaults(rules) {
        device::fuzz_program(&rules);
    }
}

/// Writes a value into a cgroup file.
pub(crate) fn write(path: &Path, value: &str) -> Result<()> {
    let write = || OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes());
    write().step(|| format!("write \"{value}\" to {}", path.display()))
}

/// Whether a process is in the very cgroup of a directory.
pub(crate) fn holds(path: &Path, pid: i32) -> bool {
    let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().any(|line| line.parse() == Ok(pid))
}

fn collect(path: &Path, found: &mut Vec<i32>) {
    let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for below in subdirectories(path) {
        collect(&below, found);
    }
}

fn subdirectories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Also what rmdir says of a cgroup with cgroups in it.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        result => return result,
    }
    for below in subdirectories(path) {
        remove_tree(&below)?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn make_one(path: &Path) -> io::Result<bool> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn make_legacy(hierarchy: &Hierarchy, path: &Path) -> io::Result<()> {
    if !hierarchy.keys.iter().any(|key| key == "cpuset") {
        return match make_one(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(path),
            result => result.map(drop),
        };
    }
    // An empty cpuset lets nobody in: hand the parent's down.
    let below = path.strip_prefix(&hierarchy.mount).unwrap_or(path);
    let mut place = hierarchy.mount.clone();
    for part in below.components() {
        let parent = place.clone();
        place.push(part);
        make_one(&place)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let ours = std::fs::read_to_string(place.join(file))?;
            if ours.trim().is_empty() {
                let theirs = std::fs::read(parent.join(file))?;
                OpenOptions::new().write(true).open(place.join(file))?.write_all(&theirs)?;
            }
        }
    }
    Ok(())
}

fn make_unified(mount: &Path, path: &Path) -> io::Result<()> {
    let controllers = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    if controllers.trim().is_empty() {
        return match make_one(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(path),
            result => result.map(drop),
        };
    }
    let below = path.strip_prefix(mount).unwrap_or(path);
    let mut place = mount.to_path_buf();
    for part in below.components() {
        // A controller that cannot be had here is missed when a limit asks for it.
        for controller in controllers.split_whitespace() {
            write(&place.join("cgroup.subtree_control"), &format!("+{controller}")).ok();
        }
        place.push(part);
        make_one(&place)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "4:memory:/sub\n3:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n";
    const MOUNTS: &[u8] = b"24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        25 24 0:23 / /sys/fs/cgroup/cpu rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
        26 24 0:24 /sub /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n\
        27 24 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
        28 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        29 24 0:26 / /elsewhere rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn hierarchies_are_matched() {
        let found = match_hierarchies(OWN, MOUNTS);
        let keys: Vec<_> = found.iter().map(|hierarchy| hierarchy.keys.join(",")).collect();
        assert_eq!(keys, ["cpu,cpuacct", "memory", "name=systemd", ""]);
        assert_eq!(found[1].own, Path::new("/sys/fs/cgroup/mem ory"));
        assert_eq!(found[3].mount, Path::new("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn paths_count_from_the_root_or_from_us() {
        let hierarchies = match_hierarchies(OWN, MOUNTS);
        let at = |path: &str| Cgroup::locate(&hierarchies, path, "id").expect("located");
        assert_eq!(at("/a/b").paths["cpu"], Path::new("/sys/fs/cgroup/cpu/a/b"));
        assert_eq!(at("").paths["cpuacct"], Path::new("/sys/fs/cgroup/cpu/id"));
        assert_eq!(at("/a").directories().count(), 4);
        for path in ["/a/../..", "/", "a:b:c"] {
            assert!(Cgroup::locate(&hierarchies, path, "id").is_err(), "{path}");
        }
    }

    #[test]
    fn a_truncated_mountinfo_is_no_panic() {
        for end in 0..MOUNTS.len() {
            match_hierarchies(OWN, &MOUNTS[..end]);
        }
    }
}
