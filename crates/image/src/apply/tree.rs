//! Paths inside the tree.

use std::os::fd::OwnedFd;

use rustix::fs::{self, Mode, OFlags, ResolveFlags, Timestamps};
use rustix::io::Errno;

use super::{Applier, Form, MAX_DEPTH, MAX_PATH, Made, Stop, refused};

/// The names of a path, from the root.
pub(crate) type Components<'a> = Vec<&'a [u8]>;

/// Splits an entry's name. A leading `/` means the tree's root, as with every unpacker; `..` is refused.
pub(crate) fn components(name: &[u8]) -> Result<Components<'_>, &'static str> {
    if name.contains(&0) {
        return Err("its name has a NUL");
    }
    if name.len() > MAX_PATH {
        return Err("its name is too long");
    }
    let parts: Components<'_> =
        name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&b"..".as_slice()) {
        return Err("its name goes up with ..");
    }
    if parts.len() > MAX_DEPTH {
        return Err("it is nested too deep");
    }
    if parts.iter().any(|part| part.len() > 255) {
        return Err("its name is too long");
    }
    Ok(parts)
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a directory whose path must not leave the root at any step.
pub(super) fn open_beneath(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    open(root, path, ResolveFlags::BENEATH)
}

/// Opens a file or directory with absolute links taken from `root`, as a container sees them.
pub(crate) fn open_below(root: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    retrying(|| fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

fn open(root: &OwnedFd, path: &[u8], resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    retrying(|| fs::openat2(root, path, DIRECTORY, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS))
}

/// openat2 gives EAGAIN when somebody renames elsewhere on the machine meanwhile.
fn retrying(mut open: impl FnMut() -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
    let mut left = 128;
    loop {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) if left > 0 => left -= 1,
            other => return other,
        }
    }
}

impl Applier<'_> {
    /// The directory that an entry goes to; it is made when no entry came for it.
    pub(super) fn open_parent(&mut self, above: &[&[u8]]) -> Result<OwnedFd, Stop> {
        let key = above.join(&b'/');
        match self.parent.take() {
            // Still the same directory? What is made here replaces directories only by directories
            // of the same path, except through `remove_tree`, after which the old one has no links.
            Some((path, fd)) if path == key && fs::fstat(&fd)?.st_nlink > 0 => return Ok(fd),
            _ => {}
        }
        let parent = match self.open_existing(above)? {
            Some(parent) => parent,
            None => self.make_parents(above)?,
        };
        if !self.times.contains_key(&key) && !self.seen.contains_key(&key) {
            // Not this layer's: what is put in must not change its time.
            let stat = fs::fstat(&parent)?;
            let time = |seconds, nanoseconds: u64| fs::Timespec {
                tv_sec: seconds,
                tv_nsec: nanoseconds.try_into().unwrap_or_default(),
            };
            let last_access = time(stat.st_atime, stat.st_atime_nsec);
            let last_modification = time(stat.st_mtime, stat.st_mtime_nsec);
            self.times.insert(key, Timestamps { last_access, last_modification });
        }
        Ok(parent)
    }

    /// A directory of the tree; `None` when it is not there.
    pub(super) fn open_existing(&self, path: &[&[u8]]) -> Result<Option<OwnedFd>, Stop> {
        let whole = path.join(&b'/');
        let opened = match open(self.root, &whole, ResolveFlags::BENEATH) {
            Err(Errno::XDEV) if self.may_turn_at_root(path) => open(self.root, &whole, ResolveFlags::IN_ROOT),
            other => other,
        };
        match opened {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::XDEV) => refused("its path goes through a link that leaves the tree"),
            Err(Errno::NOTDIR) => refused("its path goes through something that is no directory"),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a path may go through an absolute link, which then starts at the tree's root: links of
    /// lower layers may be such, as /var/run often is; a layer that makes one and walks through it is
    /// up to no good.
    fn may_turn_at_root(&self, path: &[&[u8]]) -> bool {
        self.rules.form == Form::Flat
            && (1..=path.len()).all(|length| {
                let prefix = path.get(..length).unwrap_or_default().join(&b'/');
                !self.climbing.contains(&prefix)
            })
    }

    fn make_parents(&mut self, above: &[&[u8]]) -> Result<OwnedFd, Stop> {
        let mut directory = open(self.root, b".", ResolveFlags::BENEATH)?;
        for length in 1..=above.len() {
            let path = above.get(..length).unwrap_or_default();
            directory = match self.open_existing(path)? {
                Some(next) => next,
                None => {
                    let name = path.last().copied().unwrap_or_default();
                    match fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                        Ok(()) => {}
                        Err(Errno::EXIST) => return refused("its path goes through a link to nowhere"),
                        Err(error) => return Err(error.into()),
                    }
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = fs::openat(&directory, name, flags, Mode::empty())?;
                    fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
                    self.rules.ownership.own(&made, 0, 0).map_err(Stop::Refused)?;
                    self.seen.insert(path.join(&b'/'), Made::Implied);
                    made
                }
            };
        }
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_or_refused() {
        assert_eq!(components(b"./a//b/").unwrap(), [b"a", b"b"]);
        assert_eq!(components(b"/a/./b").unwrap(), [b"a", b"b"]);
        assert!(components(b"./").unwrap().is_empty());
        let (deep, long) = (b"a/".repeat(300), b"a".repeat(256));
        for wrong in [&b".."[..], b"a/../b", b"../a", b"/..", b"a\0b", &deep, &long, &b"a/b".repeat(2000)] {
            assert!(components(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
