//! Mount options: the words of fstab(5) and of the runtime-spec as bits for the kernel.

use crate::error::{Error, Result};
use crate::spec::Mount;

/// What the options of a mount ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `MS_…`.
    pub(crate) flags: u64,
    /// Those of them that the options take away by name.
    pub(crate) cleared: u64,
    /// Propagation changes, in order.
    pub(crate) propagation: Vec<u64>,
    /// What the file system itself understands.
    pub(crate) data: String,
    /// `MOUNT_ATTR_…` to set on the whole tree.
    pub(crate) tree_set: u64,
    /// `MOUNT_ATTR_…` to clear on the whole tree.
    pub(crate) tree_clear: u64,
    /// Map ids; whether on the whole tree.
    pub(crate) idmap: Option<bool>,
    /// Copy what is below the mount point into a tmpfs.
    pub(crate) copy_up: bool,
}

/// Word, bits, whether they are cleared.
const FLAGS: &[(&str, u64, bool)] = &[
    ("async", libc::MS_SYNCHRONOUS, true),
    ("atime", libc::MS_NOATIME, true),
    ("bind", libc::MS_BIND, false),
    ("defaults", 0, false),
    ("dev", libc::MS_NODEV, true),
    ("diratime", libc::MS_NODIRATIME, true),
    ("dirsync", libc::MS_DIRSYNC, false),
    ("exec", libc::MS_NOEXEC, true),
    ("iversion", libc::MS_I_VERSION, false),
    ("lazytime", 1 << 25, false),
    ("loud", libc::MS_SILENT, true),
    ("mand", libc::MS_MANDLOCK, false),
    ("noatime", libc::MS_NOATIME, false),
    ("nodev", libc::MS_NODEV, false),
    ("nodiratime", libc::MS_NODIRATIME, false),
    ("noexec", libc::MS_NOEXEC, false),
    ("noiversion", libc::MS_I_VERSION, true),
    ("nolazytime", 1 << 25, true),
    ("nomand", libc::MS_MANDLOCK, true),
    ("norelatime", libc::MS_RELATIME, true),
    ("nostrictatime", libc::MS_STRICTATIME, true),
    ("nosuid", libc::MS_NOSUID, false),
    ("nosymfollow", 256, false),
    ("rbind", libc::MS_BIND | libc::MS_REC, false),
    ("relatime", libc::MS_RELATIME, false),
    ("remount", libc::MS_REMOUNT, false),
    ("ro", libc::MS_RDONLY, false),
    ("rw", libc::MS_RDONLY, true),
    ("silent", libc::MS_SILENT, false),
    ("strictatime", libc::MS_STRICTATIME, false),
    ("suid", libc::MS_NOSUID, true),
    ("symfollow", 256, true),
    ("sync", libc::MS_SYNCHRONOUS, false),
];

const PROPAGATION: &[(&str, u64)] = &[
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("rshared", libc::MS_SHARED | libc::MS_REC),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
    ("runbindable", libc::MS_UNBINDABLE | libc::MS_REC),
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// `MOUNT_ATTR__ATIME`: a field, not a bit.
const ATIME: u64 = 0x70;

/// Word, bits to set, bits to clear, of the whole tree (linux/mount.h).
const TREE: &[(&str, u64, u64)] = &[
    ("ratime", 0, ATIME),
    ("rdev", 0, 4),
    ("rdiratime", 0, 0x80),
    ("rexec", 0, 8),
    ("rnoatime", 0x10, ATIME),
    ("rnodev", 4, 0),
    ("rnodiratime", 0x80, 0),
    ("rnoexec", 8, 0),
    ("rnorelatime", 0x20, ATIME),
    ("rnostrictatime", 0, ATIME),
    ("rnosuid", 2, 0),
    ("rnosymfollow", 0x0020_0000, 0),
    ("rrelatime", 0, ATIME),
    ("rro", 1, 0),
    ("rrw", 0, 1),
    ("rstrictatime", 0x20, ATIME),
    ("rsuid", 0, 2),
    ("rsymfollow", 0, 0x0020_0000),
];

/// Every word that is understood, for `features`.
pub(crate) fn words() -> Vec<&'static str> {
    let mut words: Vec<&str> = FLAGS.iter().map(|(word, ..)| *word).collect();
    words.extend(PROPAGATION.iter().map(|(word, _)| *word));
    words.extend(TREE.iter().map(|(word, ..)| *word));
    words.extend(["idmap", "ridmap", "tmpcopyup"]);
    words.sort_unstable();
    words
}

/// A propagation word, for `linux.rootfsPropagation`.
pub(crate) fn propagation(word: &str) -> Option<u64> {
    PROPAGATION.iter().find(|(known, _)| *known == word).map(|(_, bits)| *bits)
}

impl Options {
    pub(crate) fn of(mount: &Mount, at: usize) -> Result<Self> {
        let mut options = Self::default();
        let mut data: Vec<&str> = Vec::new();
        for word in mount.options.iter().map(String::as_str) {
            if let Some((_, bits, clear)) = FLAGS.iter().find(|(known, ..)| *known == word) {
                (options.flags, options.cleared) = match *clear {
                    true => (options.flags & !bits, options.cleared | bits),
                    false => (options.flags | bits, options.cleared & !bits),
                };
            } else if let Some(bits) = propagation(word) {
                options.propagation.push(bits);
            } else if let Some((_, set, clear)) = TREE.iter().find(|(known, ..)| *known == word) {
                options.tree_set = (options.tree_set & !clear) | set;
                options.tree_clear = (options.tree_clear & !set) | clear;
            } else {
                match word {
                    "idmap" => options.idmap = Some(false),
                    "ridmap" => options.idmap = Some(true),
                    "tmpcopyup" => options.copy_up = true,
                    word => data.push(word),
                }
            }
        }
        options.data = data.join(",");
        if mount.kind == "bind" {
            options.flags |= libc::MS_BIND;
        }
        if options.idmap.is_none() && !mount.uid_mappings.is_empty() {
            options.idmap = Some(false);
        }
        let wrong = |why: &str| Error::Config { at: format!("mounts[{at}].options"), why: why.into() };
        if options.idmap.is_some() && !options.is_bind() {
            return Err(wrong("an idmapped mount must be a bind mount"));
        }
        if options.copy_up && mount.kind != "tmpfs" {
            return Err(wrong("tmpcopyup is for tmpfs"));
        }
        if options.data.contains('\0') {
            return Err(wrong("has a zero byte"));
        }
        Ok(options)
    }

    /// Whether `name=…` is among what the file system itself understands.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.data.split(',').any(|word| word.split_once('=').is_some_and(|(known, _)| known == name))
    }

    pub(crate) fn is_bind(&self) -> bool {
        self.flags & libc::MS_BIND != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, options: &[&str]) -> Result<Options> {
        let options = options.iter().map(|word| (*word).into()).collect();
        Options::of(&Mount { kind: kind.into(), options, ..Mount::default() }, 3)
    }

    #[test]
    fn words_are_bits() {
        let options =
            of("tmpfs", &["nosuid", "ro", "rw", "strictatime", "mode=755", "size=64k"]).expect("options");
        assert_eq!(options.flags, libc::MS_NOSUID | libc::MS_STRICTATIME);
        assert_eq!(options.data, "mode=755,size=64k");
        let options = of("bind", &["rbind", "rro", "rslave"]).expect("options");
        assert_eq!(options.flags, libc::MS_BIND | libc::MS_REC);
        assert_eq!((options.tree_set, options.tree_clear), (1, 0));
        assert_eq!(options.propagation, [libc::MS_SLAVE | libc::MS_REC]);
        assert_eq!(of("", &["rro", "rrw"]).expect("options").tree_set, 0);
        assert!(words().is_sorted());
    }

    #[test]
    fn nonsense_is_named() {
        for (kind, word) in [("tmpfs", "idmap"), ("bind", "tmpcopyup"), ("tmpfs", "a\0b")] {
            let error = of(kind, &[word]).expect_err("nonsense").to_string();
            assert!(error.starts_with("config.json: mounts[3].options:"), "{error}");
        }
    }
}
