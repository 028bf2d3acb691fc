//! Where threads are: their cgroups as one number, the same that `whereabouts()` of `bpf/event.h` makes.
//!
//! In: mounts of cgroup hierarchies, and cgroups as events tell them (`controller=path` texts). Out: a
//! number that is another one in every cgroup, or none where that cannot be told.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Controllers by their bit; events tell the cgroups of these.
const CONTROLLERS: [&[&[u8]]; 5] = [&[b"cpuset"], &[b"cpu"], &[b"cpuacct"], &[b"io", b"blkio"], &[b"memory"]];
const V2: u32 = 1 << 31;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// How far threads are from those that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Distance {
    /// They may come near, as who starts a container does: what changes their state is told.
    Apart = 1,
    /// They stay where they are, as threads of another container do: only births, executions and ends
    /// are told.
    Far = 2,
}

/// Cgroups of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub(crate) key: u64,
    pub(crate) hierarchies: u32,
}

/// The hierarchies that are mounted here, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// The bit, and where it is mounted, in the order of bits.
    mounts: Vec<(u32, PathBuf)>,
}

impl Hierarchies {
    /// Reads the mounts; without any, nothing is told apart.
    #[must_use]
    pub fn read() -> Self {
        Self::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(mounts: &[u8]) -> Self {
        let mut v2 = None;
        let mut v1: HashMap<u32, PathBuf> = HashMap::new();
        for line in mounts.split(|byte| *byte == b'\n') {
            let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let Some(dash) = words.iter().position(|word| *word == b"-") else { continue };
            let (Some(b"/"), Some(place), Some(kind), Some(options)) =
                (words.get(3).copied(), words.get(4), words.get(dash + 1), words.get(dash + 3))
            else {
                continue;
            };
            let place = Path::new(OsStr::from_bytes(place)).to_owned();
            if *kind == b"cgroup2" {
                v2.get_or_insert(place);
            } else if *kind == b"cgroup" {
                // Controllers that are mounted together have the same cgroups: the first stands for all.
                let has = |names: &&[&[u8]]| {
                    options.split(|byte| *byte == b',').any(|option| names.contains(&option))
                };
                if let Some(bit) = CONTROLLERS.iter().position(has) {
                    v1.entry(bit as u32).or_insert(place);
                }
            }
        }
        // Beside v1, events do not tell where in v2 a thread is.
        let mut mounts: Vec<(u32, PathBuf)> = if v1.is_empty() {
            v2.map(|place| (V2, place)).into_iter().collect()
        } else {
            v1.into_iter().collect()
        };
        mounts.sort();
        Self { mounts }
    }

    /// Whether one hierarchy says everything: then a thread outside containers is surely outside.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        matches!(self.mounts.as_slice(), [(V2, _)])
    }

    /// Where a thread with these cgroups is: texts `controller=path`, each ended by a NUL. `None` when
    /// they are incomplete, or gone by now.
    #[must_use]
    pub fn place(&self, cgroups: &[u8]) -> Option<Place> {
        let texts: Vec<(&[u8], &[u8])> = cgroups
            .split(|byte| *byte == 0)
            .filter_map(|text| {
                let at = text.iter().position(|byte| *byte == b'=')?;
                Some((text.get(..at)?, text.get(at + 1..)?))
            })
            .collect();
        let mut place = Place { key: 0, hierarchies: 0 };
        for (bit, mount) in &self.mounts {
            let names = CONTROLLERS.get(*bit as usize).copied();
            let is_it = |name: &[u8]| names.is_none_or(|names| names.contains(&name));
            let (_, path) = texts.iter().find(|(name, _)| is_it(name))?;
            let path = path.strip_prefix(b"/")?;
            // `/..` begins what lies outside the reader's cgroup namespace.
            if path.split(|byte| *byte == b'/').any(|part| part == b"..") {
                return None;
            }
            let id = std::fs::metadata(mount.join(OsStr::from_bytes(path))).ok()?.ino();
            place.key = (place.key ^ id).wrapping_mul(FACTOR);
            place.hierarchies |= if *bit == V2 { V2 } else { 1 << bit };
        }
        (place.hierarchies != 0).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"25 1 0:21 / /c/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
26 1 0:22 / /c/memory rw - cgroup cgroup rw,memory\n27 1 0:23 / /c/unified rw - cgroup2 cgroup2 rw\n\
28 1 0:24 / /c/systemd rw - cgroup cgroup rw,xattr,name=systemd\n29 1 0:21 /x /d rw - cgroup cgroup rw,cpuset\n";

    #[test]
    fn hierarchies_are_those_that_tell_threads_apart() {
        let hybrid = Hierarchies::parse(HYBRID);
        let expected = vec![(1, PathBuf::from("/c/cpu,cpuacct")), (4, PathBuf::from("/c/memory"))];
        assert_eq!(hybrid, Hierarchies { mounts: expected });
        assert!(!hybrid.is_unified());
        let unified = Hierarchies::parse(b"30 1 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert!(unified.is_unified());
        assert_eq!(Hierarchies::parse(b"nonsense\n1 2 - x\n\xff - cgroup2"), Hierarchies::default());
    }

    #[test]
    fn places_differ_and_incomplete_ones_are_none() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["cpu/a", "memory/a", "memory/b"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        let mounts = vec![(1, folder.path().join("cpu")), (4, folder.path().join("memory"))];
        let hierarchies = Hierarchies { mounts };
        let place = |text: &[u8]| hierarchies.place(text);
        let one = place(b"cpuset=/q\0cpu=/a\0memory=/a\0").unwrap();
        assert_eq!(one.hierarchies, 1 << 1 | 1 << 4);
        assert_ne!(Some(one), place(b"cpu=/a\0memory=/b\0"));
        assert_eq!(Some(one), place(b"memory=/a\0cpu=/a"));
        for text in
            [&b"cpu=/a\0"[..], b"cpu=/a\0memory=/gone\0", b"cpu=/a\0memory=/../x\0", b"cpu=a\0memory=/a", b""]
        {
            assert_eq!(place(text), None);
        }
        assert_eq!(Hierarchies::default().place(b"cpu=/a\0"), None);
    }
}
