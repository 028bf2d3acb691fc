//! Copies what an image has below a tmpfs into it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// Copies a directory tree into an empty tmpfs, with modes and owners.
pub(super) fn up(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let open = |fd: &OwnedFd| {
        rustix::fs::openat(fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let (from, to) = (open(from)?, open(to)?);
    for entry in rustix::fs::Dir::read_from(&from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(&to, name, mode)?;
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                up(
                    &rustix::fs::openat(&from, name, flags, Mode::empty())?,
                    &rustix::fs::openat(&to, name, flags, Mode::empty())?,
                )?;
            }
            FileType::Symlink => {
                rustix::fs::symlinkat(rustix::fs::readlinkat(&from, name, Vec::new())?, &to, name)?
            }
            FileType::RegularFile => {
                let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut source = std::fs::File::from(rustix::fs::openat(
                    &from,
                    name,
                    flags | OFlags::RDONLY,
                    Mode::empty(),
                )?);
                let create = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                io::copy(
                    &mut source,
                    &mut std::fs::File::from(rustix::fs::openat(&to, name, create, mode)?),
                )?;
            }
            kind => rustix::fs::mknodat(&to, name, kind, mode, stat.st_rdev)?,
        }
        let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(&to, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW).ok();
    }
    Ok(())
}
