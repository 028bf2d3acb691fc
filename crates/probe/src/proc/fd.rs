//! Open descriptors of a process: `Fd` records.

use std::ffi::CStr;
use std::fmt::Write as _;

use nabe_event::Needs;
use nabe_event::record::{self, Fd, Fixed, Kind, Socket, flag};
use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;

use super::Reader;
use super::dir::{Dir, device};
use super::fdinfo;
use super::socket::{Answer, Pending};
use super::text::bracketed;

/// Type bits of a mode, include/uapi/linux/stat.h.
const S_IFMT: u32 = 0o170_000;
const S_IFSOCK: u32 = 0o140_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFIFO: u32 = 0o010_000;

/// `symbol::FD_TYPE` by number.
mod fd_type {
    pub(super) const OTHER: u32 = 0;
    pub(super) const FILE: u32 = 1;
    pub(super) const SOCKET: u32 = 2;
    pub(super) const PIPE: u32 = 3;
    pub(super) const DIRECTORY: u32 = 4;
    pub(super) const DEVICE: u32 = 5;
    pub(super) const MEMFD: u32 = 6;
    pub(super) const ANON: u32 = 7;
}

/// Names of anonymous inodes without their brackets, and their `symbol::FD_TYPE`.
static ANON_NAMES: &[(&[u8], u32)] = &[
    (b"eventfd", 8),
    (b"eventpoll", 9),
    (b"inotify", 10),
    (b"signalfd", 11),
    (b"timerfd", 12),
    (b"bpf-map", 13),
    (b"bpf-prog", 13),
    (b"bpf_link", 13),
    (b"bpf-link", 13),
    (b"bpf_iter", 13),
    (b"bpf-token", 13),
    (b"btf", 13),
    (b"io_uring", 14),
    (b"pidfd", 15),
    (b"perf_event", 16),
    (b"userfaultfd", 17),
    (b"fanotify", 18),
];

/// The type that a link's text tells: a real path begins with `/` or `(unreachable)`, so these
/// cannot be forged by a file's name.
fn anonymous(link: &[u8]) -> Option<u32> {
    if let Some(name) = link.strip_prefix(b"anon_inode:") {
        let name = name.strip_prefix(b"[").and_then(|name| name.strip_suffix(b"]")).unwrap_or(name);
        return Some(
            ANON_NAMES.iter().find(|(known, _)| *known == name).map_or(fd_type::ANON, |(_, ty)| *ty),
        );
    }
    if bracketed(link, b"pipe").is_some() {
        return Some(fd_type::PIPE);
    }
    // pidfs has an inode for each process since 6.9.
    bracketed(link, b"pidfd").map(|_| 15)
}

/// The type of a file by its mode.
const fn by_mode(mode: u32) -> u32 {
    match mode & S_IFMT {
        S_IFSOCK => fd_type::SOCKET,
        S_IFDIR => fd_type::DIRECTORY,
        S_IFBLK | S_IFCHR => fd_type::DEVICE,
        S_IFIFO => fd_type::PIPE,
        0 => fd_type::OTHER,
        _ => fd_type::FILE,
    }
}

impl Reader<'_> {
    /// Appends the descriptors of the process in `dir`.
    pub(super) fn write_fds(&mut self, dir: &Dir, pid: u32) {
        let fds = match dir.child(c"fd", true) {
            Ok(fds) => fds,
            Err(Errno::NOENT | Errno::SRCH) => return,
            Err(error) => {
                self.unseen.fd(error);
                return;
            }
        };
        let mut infos = None;
        // What breaks the listing is the end of the process.
        let _ = fds.numbers(|number, name| {
            self.write_fd(dir, &fds, &mut infos, pid, number, name);
            true
        });
    }

    fn write_fd(
        &mut self,
        dir: &Dir,
        fds: &Dir,
        infos: &mut Option<Dir>,
        pid: u32,
        number: u32,
        name: &CStr,
    ) {
        let mut link = [0; 4096];
        let (link, mut unread) = match fds.link(name, &mut link) {
            Ok(link) => (link, false),
            // Closed in between, or the process has gone.
            Err(Errno::NOENT | Errno::SRCH) => return,
            // A path of more than a page; everything else can still be told.
            Err(_) => (&[][..], true),
        };
        let socket = bracketed(link, b"socket");
        if socket.is_none() && self.interest.only_sockets {
            return;
        }
        let mut fd = Fd { pid, fd: i32::try_from(number).unwrap_or(i32::MAX), ..Fd::default() };
        let answer = match socket {
            Some(inode) => {
                self.sockfs(fds, name, inode, &mut fd);
                let answer = self.find_socket(dir, pid, number, inode);
                if matches!(answer, Answer::Unwanted) {
                    return;
                }
                Some(answer)
            }
            None => {
                match fds.stat(name) {
                    Ok(stat) => {
                        fd.inode = stat.stx_ino;
                        fd.size = stat.stx_size;
                        fd.dev = device(stat.stx_dev_major, stat.stx_dev_minor);
                        fd.rdev = device(stat.stx_rdev_major, stat.stx_rdev_minor);
                        fd.mode = stat.stx_mode.into();
                        fd.nlink = stat.stx_nlink;
                    }
                    Err(Errno::NOENT | Errno::SRCH) => return,
                    Err(_) => unread = true,
                }
                fd.fd_type = anonymous(link).unwrap_or_else(|| by_mode(fd.mode));
                if link.starts_with(b"/memfd:") && self.shm_dev() == Some(fd.dev) {
                    fd.fd_type = fd_type::MEMFD;
                }
                None
            }
        };
        if self.interest.needs.contains(Needs::FD_DETAIL) {
            if infos.is_none() {
                *infos = dir.child(c"fdinfo", false).ok();
            }
            match infos.as_ref().map(|infos| infos.piece(name, &mut self.text)) {
                Some(Ok(())) => {
                    let info = fdinfo::parse(&self.text);
                    (fd.offset, fd.open_flags, fd.mount_id) = (info.pos, info.flags, info.mount_id);
                    fd.access = access(info.flags);
                }
                Some(Err(Errno::NOENT | Errno::SRCH)) => return,
                Some(Err(_)) | None => unread = true,
            }
        }
        let flags = flag::FROM_PROC | if unread { flag::UNREAD } else { 0 };
        match answer {
            None => {
                let path = if self.interest.needs.contains(Needs::FD_PATH) { link } else { &[] };
                fd.path_len = path.len() as u32;
                record::write(self.out, Kind::Fd, flags, &fd, &[path]);
            }
            Some(Answer::Found(index)) => self.write_socket(flags, fd, index),
            Some(Answer::NotYet(hint)) => self.pending.push(Pending { fd, flags, hint }),
            Some(Answer::Unwanted) => {}
        }
    }

    /// What all sockets share; the device is asked for once.
    fn sockfs(&mut self, fds: &Dir, name: &CStr, inode: u64, fd: &mut Fd) {
        if self.sockfs_dev.is_none()
            && let Ok(stat) =
                rustix::fs::statx(&fds.0, name, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)
        {
            self.sockfs_dev = Some(device(stat.stx_dev_major, stat.stx_dev_minor));
        }
        (fd.inode, fd.nlink, fd.mode) = (inode, 1, S_IFSOCK | 0o777);
        (fd.dev, fd.fd_type) = (self.sockfs_dev.unwrap_or(0), fd_type::SOCKET);
    }

    /// Appends `fd` with the socket at `index` of the tables.
    pub(super) fn write_socket(&mut self, flags: u16, fd: Fd, index: usize) {
        let Some((socket, name, peer)) = self.sockets.get(index) else { return };
        self.socket.clear();
        socket.encode(&mut self.socket);
        let fd = Fd { socket_len: Socket::SIZE as u32, ..fd };
        record::write(self.out, Kind::Fd, flags | flag::SOCKET, &fd, &[&self.socket, name, peer]);
    }

    /// Appends a socket that belongs to no descriptor.
    pub(super) fn write_orphan(&mut self, flags: u16, inode: u64, index: usize) {
        let fd = Fd {
            fd: -1,
            inode,
            nlink: u32::from(inode != 0),
            mode: S_IFSOCK | 0o777,
            dev: self.sockfs_dev.unwrap_or(0),
            fd_type: fd_type::SOCKET,
            ..Fd::default()
        };
        self.write_socket(flags, fd, index);
    }
}

/// FMODE_READ and FMODE_WRITE of open flags; 3 is O_ACCMODE for "neither".
const fn access(flags: u32) -> u32 {
    const O_PATH: u32 = 0o10_000_000;
    if flags & O_PATH != 0 {
        return 0;
    }
    match flags & 3 {
        0 => 1,
        1 => 2,
        2 => 3,
        _ => 0,
    }
}

/// The path by which an extended attribute of a descriptor's file is asked for.
pub(super) fn fd_path(pid: u32, fd: u32, path: &mut String) -> &str {
    path.clear();
    let _ = write!(path, "/proc/{pid}/fd/{fd}");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        for (link, want) in [
            (&b"anon_inode:[eventfd]"[..], Some(8)),
            (b"anon_inode:inotify", Some(10)),
            (b"anon_inode:[io_uring]", Some(14)),
            (b"anon_inode:[new thing]", Some(fd_type::ANON)),
            (b"anon_inode:bpf-map", Some(13)),
            (b"pipe:[12]", Some(fd_type::PIPE)),
            (b"pidfd:[12]", Some(15)),
            (b"/anon_inode:[eventfd]", None),
            (b"/tmp/pipe:[12]", None),
            (b"", None),
        ] {
            assert_eq!(anonymous(link), want, "{}", String::from_utf8_lossy(link));
        }
    }

    #[test]
    fn modes_and_access() {
        let types = [0o100_644, 0o40_755, 0o20_620, 0o60_660, 0o10_600, 0o140_777, 0].map(by_mode);
        assert_eq!(types, [1, 4, 5, 5, 3, 2, 0]);
        assert_eq!([0o2, 0o1, 0, 0o3, 0o10_000_000].map(access), [3, 2, 1, 0, 0]);
    }
}
