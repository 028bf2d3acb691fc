//! `/proc/PID/cgroup`: `hierarchy:controllers:path` lines, proc_pid_cgroup(5), as `Cgroup` records,
//! once per distinct file.
//!
//! A set of cgroups is known by a hash of the file's bytes (SipHash, so nobody can choose a name
//! that collides with a stranger's), which stays the same from one snapshot to the next.

use std::collections::HashMap;
use std::ffi::CString;
use std::hash::{DefaultHasher, Hasher};

use nabe_event::record::{self, Cgroup, Kind, flag};
use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::dir::Dir;
use super::mount::Mount;
use super::text::{lines, number32, unescape, words};

/// What the kernel appends to the path of a v2 cgroup that was removed while a zombie was in it.
const DELETED: &[u8] = b" (deleted)";

/// A line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line<'a> {
    /// 0 is v2.
    hierarchy: u32,
    /// `cpu,cpuacct`, `name=systemd`, empty for v2.
    controllers: &'a [u8],
    path: &'a [u8],
}

/// Reads a line. Neither a controller's nor a hierarchy's name holds a colon; a path may.
fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(3, |byte| *byte == b':');
    let (hierarchy, controllers, path) = (number32(parts.next()?)?, parts.next()?, parts.next()?);
    path.starts_with(b"/").then_some(Line { hierarchy, controllers, path })
}

impl<'a> Line<'a> {
    /// `(name of a named hierarchy, the controllers without it)`.
    fn name(&self) -> (&'a [u8], impl Iterator<Item = &'a [u8]> + use<'a>) {
        let parts = || self.controllers.split(|byte| *byte == b',').filter(|part| !part.is_empty());
        let name = parts().find_map(|part| part.strip_prefix(b"name=")).unwrap_or_default();
        (name, parts().filter(|part| !part.starts_with(b"name=")))
    }
}

/// Appends `path` as a record has it: names from the leaf up, each ended by a NUL.
fn reversed(path: &[u8], out: &mut Vec<u8>) {
    for name in path.rsplit(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        out.extend_from_slice(name);
        out.push(0);
    }
}

/// A mounted hierarchy.
struct Hierarchy {
    /// `None` for v2.
    v1_options: Option<Vec<u8>>,
    root: Vec<u8>,
    point: Vec<u8>,
}

impl Hierarchy {
    /// Whether it is the one of `line`.
    fn is(&self, line: &Line<'_>) -> bool {
        match &self.v1_options {
            None => line.hierarchy == 0,
            Some(options) => {
                line.hierarchy != 0
                    && line
                        .controllers
                        .split(|byte| *byte == b',')
                        .all(|part| options.split(|byte| *byte == b',').any(|option| option == part))
            }
        }
    }

    /// Id of the directory of a cgroup; `None` when it is not below this mount or not there.
    fn id(&self, path: &[u8]) -> Option<u64> {
        let below = if self.root == b"/" { path } else { path.strip_prefix(&self.root[..])? };
        let full = CString::new([&self.point[..], below].concat()).ok()?;
        let stat = rustix::fs::statx(CWD, &full, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO).ok()?;
        Some(stat.stx_ino)
    }
}

/// The sets of cgroups that have been written.
#[derive(Default)]
pub(super) struct Sets {
    /// The v2 id of each set.
    seen: HashMap<u64, u64>,
    /// Bytes and answer of the last file: neighbours mostly share theirs.
    last: (Vec<u8>, u64, u64),
    world: Option<World>,
    scratch: Vec<u8>,
}

/// What the reader's own files tell.
struct World {
    mounts: Vec<Hierarchy>,
    /// Controllers in the order of the kernel's numbers.
    controllers: Vec<Vec<u8>>,
}

impl World {
    fn read(proc: &Dir) -> Self {
        let mut text = Vec::new();
        let mut mounts = Vec::new();
        if proc.whole(c"self/mountinfo", &mut text, usize::MAX).is_ok() {
            for mount in Mount::all(&text) {
                let v1_options = match mount.fs_type {
                    b"cgroup2" => None,
                    b"cgroup" => Some(mount.options.to_vec()),
                    _ => continue,
                };
                let (root, point) = (unescape(mount.root), unescape(mount.point));
                mounts.push(Hierarchy { v1_options, root, point });
            }
        }
        let mut controllers = Vec::new();
        if proc.whole(c"cgroups", &mut text, 1 << 16).is_ok() {
            controllers
                .extend(lines(&text).skip(1).filter_map(|line| words(line).next()).map(<[u8]>::to_vec));
        }
        Self { mounts, controllers }
    }

    /// The kernel's mask of these controllers (`subsys_mask`), by their order in /proc/cgroups.
    fn mask<'a>(&self, names: impl Iterator<Item = &'a [u8]>) -> u32 {
        names
            .filter_map(|name| self.controllers.iter().position(|known| known == name))
            .fold(0, |mask, bit| mask | 1u32.checked_shl(bit as u32).unwrap_or(0))
    }
}

impl Sets {
    /// The identity of the set that `file` tells and the id of its v2 cgroup (0 when not known);
    /// appends the records of a set that has not been written yet.
    pub(super) fn of(&mut self, file: &[u8], proc: &Dir, write: bool, out: &mut Vec<u8>) -> (u64, u64) {
        if self.last.0 == file {
            return (self.last.1, self.last.2);
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(file);
        // 0 is "none".
        let set = hasher.finish().max(1);
        let v2 = match self.seen.get(&set) {
            Some(v2) => *v2,
            None => self.tell(set, file, proc, write, out),
        };
        self.seen.insert(set, v2);
        self.last.0.clear();
        self.last.0.extend_from_slice(file);
        (self.last.1, self.last.2) = (set, v2);
        (set, v2)
    }

    /// Looks at a set that is new, appends its records when they are wanted, and returns the id of
    /// its v2 cgroup.
    fn tell(&mut self, set: u64, file: &[u8], proc: &Dir, write: bool, out: &mut Vec<u8>) -> u64 {
        let world = self.world.get_or_insert_with(|| World::read(proc));
        let mut v2 = 0;
        for line in lines(file).filter_map(parse) {
            if !write && line.hierarchy != 0 {
                continue;
            }
            let mount = world.mounts.iter().find(|mount| mount.is(&line));
            let id_of = |path| mount.and_then(|mount| mount.id(path)).unwrap_or(0);
            let (mut path, mut id) = (line.path, id_of(line.path));
            if id == 0
                && let Some(kept) = path.strip_suffix(DELETED)
            {
                (path, id) = (kept, id_of(kept));
            }
            if line.hierarchy == 0 {
                v2 = id;
            }
            if write {
                self.scratch.clear();
                reversed(path, &mut self.scratch);
                let (name, controllers) = line.name();
                let (Ok(name_len), Ok(path_len)) =
                    (u16::try_from(name.len()), u16::try_from(self.scratch.len()))
                else {
                    continue;
                };
                let cgroup = Cgroup {
                    cgroup_set: set,
                    cgroup_id: id,
                    hierarchy: line.hierarchy,
                    subsystems: world.mask(controllers),
                    name_len,
                    path_len,
                    reserved: 0,
                };
                record::write(out, Kind::Cgroup, flag::FROM_PROC, &cgroup, &[name, &self.scratch]);
            }
        }
        v2
    }
}

/// What [`parse`] and what follows it understand of any bytes, for fuzzing.
pub(super) fn count(bytes: &[u8]) -> usize {
    let mut path = Vec::new();
    let names = |line: Line<'_>| {
        reversed(line.path, &mut path);
        line.name().1.count()
    };
    lines(bytes).filter_map(parse).map(names).sum()
}

#[cfg(test)]
mod tests {
    use nabe_event::record::{Fixed, Records};
    use proptest::prelude::*;

    use super::*;

    fn world() -> World {
        World {
            mounts: Vec::new(),
            controllers: ["cpuset", "cpu", "cpuacct"].map(|c| c.as_bytes().to_vec()).to_vec(),
        }
    }

    #[test]
    fn lines_of_both_versions() {
        let line = parse(b"4:cpu,cpuacct:/a:b/c").unwrap();
        assert_eq!((line.hierarchy, line.controllers, line.path), (4, &b"cpu,cpuacct"[..], &b"/a:b/c"[..]));
        assert_eq!(world().mask(line.name().1), 0b110);
        let line = parse(b"1:name=systemd:/").unwrap();
        assert_eq!((line.name().0, world().mask(line.name().1)), (&b"systemd"[..], 0));
        assert_eq!(parse(b"0::/x").unwrap().controllers, b"");
        for broken in ["", "0", "0:", "0::", "0::x", "x::/"] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn a_set_is_written_once() {
        let proc = Dir::open(c"/proc", false).unwrap();
        let mut sets = Sets { world: Some(world()), ..Sets::default() };
        let mut out = Vec::new();
        let file = b"3:cpu:/a/b\n0::/a (deleted)\n";
        let (set, _) = sets.of(file, &proc, true, &mut out);
        let len = out.len();
        sets.of(b"0::/\n", &proc, true, &mut out);
        assert_eq!(sets.of(file, &proc, true, &mut out).0, set);
        let records: Vec<_> = Records::new(&out).map(Result::unwrap).collect();
        assert_eq!(records.len(), 3);
        assert!(len < out.len());
        let of = |index: usize| {
            let cgroup = Cgroup::decode(records[index].body);
            (cgroup, records[index].text(Cgroup::SIZE, cgroup.name_len.into(), cgroup.path_len.into()))
        };
        assert_eq!((of(0).0.hierarchy, of(0).0.subsystems, of(0).1), (3, 2, &b"b\0a\0"[..]));
        assert_eq!((of(1).0.cgroup_set, of(1).1), (set, &b"a\0"[..]));
        assert_eq!(of(2).1, b"");
    }

    #[test]
    fn mounts_are_told_apart() {
        let v1 = Hierarchy {
            v1_options: Some(b"rw,cpu,cpuacct".to_vec()),
            root: b"/".to_vec(),
            point: Vec::new(),
        };
        assert!(v1.is(&parse(b"2:cpu,cpuacct:/").unwrap()));
        assert!(!v1.is(&parse(b"2:memory:/").unwrap()));
        assert!(!v1.is(&parse(b"0::/").unwrap()));
        let v2 = Hierarchy { v1_options: None, root: b"/".to_vec(), point: Vec::new() };
        assert!(v2.is(&parse(b"0::/").unwrap()));
        assert_eq!(v2.id(b"/\0"), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for line in lines(&bytes).filter_map(parse) {
                let _ = world().mask(line.name().1);
                reversed(line.path, &mut Vec::new());
            }
        }
    }
}
