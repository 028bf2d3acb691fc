//! Removing trees without following anything.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// The names in a directory.
pub(super) fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    // A new description: reading moves the directory's offset.
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Removes `name` in `parent`, whatever it is; what is not there is fine.
pub(crate) fn remove_tree(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    let parent = parent.as_fd();
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::NOENT) => return Ok(()),
        other => return other,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match fs::openat(parent, name, flags, Mode::empty()) {
        // Ours, but without permission to look inside: give it to ourselves.
        Err(Errno::ACCESS) => {
            fs::chmodat(parent, name, Mode::from_raw_mode(0o700), AtFlags::empty())?;
            fs::openat(parent, name, flags, Mode::empty())?
        }
        other => other?,
    };
    let inside = match names(&directory) {
        Err(Errno::ACCESS) => Vec::new(),
        other => other?,
    };
    for inner in inside {
        match remove_tree(&directory, &inner) {
            Err(Errno::ACCESS) => {
                fs::fchmod(&directory, Mode::from_raw_mode(0o700))?;
                remove_tree(&directory, &inner)?;
            }
            other => other?,
        }
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
