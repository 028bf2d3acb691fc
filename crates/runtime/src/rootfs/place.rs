//! Places inside the root: every one is opened by openat2(2) with `RESOLVE_IN_ROOT`, so no link leads outside.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The path as components from the root, `..` taken back lexically.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

/// Opens a place inside the root, which must be there.
pub(super) fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = clean(path);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename somewhere on the machine while `..` was resolved.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Opens a place inside the root, making directories (and the file itself) that are missing.
pub(super) fn open_or_make(root: BorrowedFd<'_>, path: &Path, file: bool) -> rustix::io::Result<OwnedFd> {
    open_or_make_through(root, path, file, 0)
}

/// The same after `links` dangling links; more than the kernel follows are too many.
fn open_or_make_through(
    root: BorrowedFd<'_>,
    path: &Path,
    file: bool,
    links: u32,
) -> rustix::io::Result<OwnedFd> {
    const MAX_LINKS: u32 = 40;
    match open_in(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let path = clean(path);
    let parts: Vec<_> = path.components().collect();
    let mut done = PathBuf::new();
    for (at, part) in parts.iter().enumerate() {
        let parent = open_in(root, &done, OFlags::PATH | OFlags::DIRECTORY)?;
        done.push(part);
        match open_in(root, &done, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            result => {
                result?;
                continue;
            }
        }
        let name = part.as_os_str();
        if let Ok(to) = rustix::fs::readlinkat(&parent, name, Vec::new()) {
            // It leads to what is not there yet: inside the root, wherever it points.
            if links >= MAX_LINKS {
                return Err(Errno::LOOP);
            }
            done.pop();
            let rest: PathBuf = parts.iter().skip(at + 1).collect();
            let to = done.join(std::ffi::OsStr::from_bytes(to.as_bytes())).join(rest);
            return open_or_make_through(root, &to, file, links + 1);
        }
        if file && at + 1 == parts.len() {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
        } else {
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) | Ok(()) => {}
                error => error?,
            }
        }
    }
    open_in(root, &path, OFlags::PATH)
}

/// Whether it is one.
pub(super) fn is_directory(fd: impl rustix::fd::AsFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::sys;

    #[test]
    fn paths_are_cleaned() {
        for (path, clean_path) in [("/a/../b/./c", "b/c"), ("/../..", ""), ("dev/", "dev"), ("/", "")] {
            assert_eq!(clean(Path::new(path)), Path::new(clean_path), "{path}");
        }
    }

    #[test]
    fn links_stay_inside() {
        let outside = tempfile::tempdir().expect("a directory");
        let root = outside.path().join("root");
        std::fs::create_dir(&root).expect("the root");
        std::os::unix::fs::symlink("../../../..", root.join("up")).expect("a link");
        std::os::unix::fs::symlink("/etc", root.join("abs")).expect("a link");
        let fd = sys::open_path(&root, OFlags::DIRECTORY).expect("open");
        open_or_make(fd.as_fd(), Path::new("/up/made/below"), false).expect("made");
        assert!(root.join("made/below").is_dir());
        open_or_make(fd.as_fd(), Path::new("/abs/file"), true).expect("made");
        assert!(root.join("etc/file").is_file(), "the link's target is made inside");
        std::os::unix::fs::symlink("loop", root.join("loop")).expect("a link");
        assert!(open_or_make(fd.as_fd(), Path::new("/loop/x"), false).is_err());
        open_or_make(fd.as_fd(), Path::new("/d/file"), true).expect("made");
        assert!(root.join("d/file").is_file());
    }
}
