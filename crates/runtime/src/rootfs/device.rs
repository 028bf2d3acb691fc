//! Device nodes, links in `/dev`, and terminals.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Rootfs;
use super::place::{clean, open_in, open_or_make};
use crate::error::{Context as _, Error, Result};
use crate::spec::Device;
use crate::sys::{self, MountAttributes, proc_path};

const DEFAULT_DEVICES: [(&str, i64, i64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// MOUNT_ATTR_NOSUID and MOUNT_ATTR_NOEXEC of mount_setattr(2).
const NOSUID: u64 = 2;
const NOEXEC: u64 = 8;

impl Rootfs<'_> {
    /// Nodes and links that every container has, then those that are asked for.
    pub(super) fn devices(&self, root: BorrowedFd<'_>) -> Result<()> {
        let fail = || "fill /dev".to_owned();
        let dev = open_or_make(root, Path::new("dev"), false).step(fail)?;
        let asked: Vec<&Device> = self.spec.linux.devices.iter().collect();
        for (name, major, minor) in DEFAULT_DEVICES {
            let path = Path::new("/dev").join(name);
            if asked.iter().any(|device| clean(&device.path) == clean(&path)) {
                continue;
            }
            let device =
                Device { kind: "c".into(), path, major, minor, file_mode: Some(0o666), ..Device::default() };
            self.device(root, &dev, &device).step(|| format!("make the device /dev/{name}"))?;
        }
        for device in asked {
            let path = clean(&device.path);
            let parent = match path.parent().filter(|parent| *parent != Path::new("dev")) {
                Some(parent) => open_or_make(root, parent, false)
                    .step(|| format!("make the directory /{}", parent.display()))?,
                None => dev.try_clone().step(fail)?,
            };
            self.device(root, &parent, device)
                .step(|| format!("make the device {}", device.path.display()))?;
        }
        for (name, to) in LINKS {
            match rustix::fs::symlinkat(to, &dev, name) {
                // The image's own stays, but for ptmx, which must be of our devpts.
                Err(Errno::EXIST) if name != "ptmx" => {}
                Err(Errno::EXIST) => {
                    rustix::fs::unlinkat(&dev, name, AtFlags::empty()).step(fail)?;
                    rustix::fs::symlinkat(to, &dev, name).step(fail)?;
                }
                result => result.step(|| format!("make the link /dev/{name}"))?,
            }
        }
        if Path::new("/proc/kcore").exists() {
            rustix::fs::symlinkat("/proc/kcore", &dev, "core").ok();
        }
        Ok(())
    }

    fn device(&self, root: BorrowedFd<'_>, parent: &OwnedFd, device: &Device) -> io::Result<()> {
        let name = device.path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        if self.bind_devices && device.kind != "p" {
            let target = open_or_make(root, &device.path, true)?;
            let source = on_the_host(device)?;
            let (from, to) = (proc_path(source.as_fd()), proc_path(target.as_fd()));
            sys::mount(Some(&from), &to, None, libc::MS_BIND, None)?;
            // As those that are made, which are on a file system without either.
            let bound = open_or_make(root, &device.path, true)?;
            let attributes = MountAttributes { set: NOSUID | NOEXEC, ..MountAttributes::default() };
            return match sys::mount_setattr(bound.as_fd(), false, &attributes) {
                // Linux before 5.12.
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
                result => result,
            };
        }
        let kind = match device.kind.as_str() {
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            _ => FileType::CharacterDevice,
        };
        let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let rdev = rustix::fs::makedev(number(device.major), number(device.minor));
        let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
        match rustix::fs::mknodat(parent, name, kind, mode, rdev) {
            Err(Errno::EXIST) => return Ok(()),
            result => result?,
        }
        let (uid, gid) = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
        if uid != 0 || gid != 0 {
            let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            rustix::fs::chownat(parent, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// A terminal of the container's own devpts, bound upon `/dev/console`: master, then slave.
    pub(crate) fn terminal(&self, root: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
        let fail = || "make /dev/console".to_owned();
        let (master, slave) = open_terminal(root)?;
        let dev = open_in(root, Path::new("dev"), OFlags::PATH | OFlags::DIRECTORY).step(fail)?;
        let create = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        drop(rustix::fs::openat(&dev, "console", create, Mode::from_raw_mode(0o600)).step(fail)?);
        let console = rustix::fs::openat(
            &dev,
            "console",
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .step(fail)?;
        sys::mount(Some(&proc_path(slave.as_fd())), &proc_path(console.as_fd()), None, libc::MS_BIND, None)
            .step(|| "bind the terminal upon /dev/console".into())?;
        Ok((master, slave))
    }
}

/// A node of the host's that is this device: the one at its path, or where the kernel says that it is.
fn on_the_host(device: &Device) -> io::Result<OwnedFd> {
    let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    let rdev = rustix::fs::makedev(number(device.major), number(device.minor));
    let kind = if device.kind == "b" { FileType::BlockDevice } else { FileType::CharacterDevice };
    let open = |path: &Path| -> io::Result<OwnedFd> {
        let node = sys::open_path(path, OFlags::empty())?;
        let found = rustix::fs::fstat(&node)?;
        let same = found.st_rdev == rdev && FileType::from_raw_mode(found.st_mode) == kind;
        if same { Ok(node) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    open(&Path::new("/").join(clean(&device.path))).or_else(|error| {
        let class = if device.kind == "b" { "block" } else { "char" };
        let about = format!("/sys/dev/{class}/{}:{}/uevent", device.major, device.minor);
        let about = std::fs::read_to_string(about).unwrap_or_default();
        let name = about.lines().find_map(|line| line.strip_prefix("DEVNAME="));
        name.map_or(Err(error), |name| open(&Path::new("/dev").join(name)))
    })
}

/// Opens a terminal of the devpts inside this root: master, then slave, neither by a name that could lie.
pub(crate) fn open_terminal(root: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    use rustix::pty::OpenptFlags;
    let fail = || "open a terminal in the container's /dev/pts".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = open_in(root, Path::new("dev/pts/ptmx"), flags)
        .or_else(|_| rustix::fs::open("/dev/ptmx", flags | OFlags::CLOEXEC, Mode::empty()))
        .step(fail)?;
    if rustix::fs::fstat(&master).step(fail)?.st_rdev != rustix::fs::makedev(5, 2) {
        return Err(Error::Refused("the container's /dev/pts/ptmx is no terminal multiplexer".into()));
    }
    rustix::pty::unlockpt(&master).step(fail)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).step(fail)?;
    Ok((master, slave))
}
