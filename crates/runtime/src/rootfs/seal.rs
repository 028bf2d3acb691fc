//! What is hidden and what is protected in the end.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::place::{clean, is_directory, open_in};
use super::{Rootfs, remount};
use crate::error::{Context as _, Error, Result};
use crate::mount::Options;
use crate::sys::{self, MountAttributes, proc_path};

const READ_ONLY: u64 = 1; // MOUNT_ATTR_RDONLY

impl Rootfs<'_> {
    /// Hides and protects paths, makes the root read-only if asked.
    pub(crate) fn seal(&self, root: BorrowedFd<'_>) -> Result<()> {
        for path in &self.spec.linux.readonly_paths {
            let what = || format!("make {path} read-only");
            match open_in(root, Path::new(path), OFlags::PATH) {
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                place => read_only(&place.step(what)?).step(what)?,
            }
        }
        self.mask(root)?;
        for (at, mount) in self.spec.mounts.iter().enumerate() {
            let flags = Options::of(mount, at)?.flags;
            if clean(&mount.destination) == Path::new("dev")
                && flags & libc::MS_BIND == 0
                && flags & libc::MS_RDONLY != 0
            {
                let what = || "make /dev read-only".to_owned();
                let dev = open_in(root, &mount.destination, OFlags::PATH).step(what)?;
                remount(dev, flags).step(what)?;
            }
        }
        if self.spec.root.as_ref().is_some_and(|root| root.readonly) {
            let what = || "make the root read-only".to_owned();
            remount(root, libc::MS_RDONLY).step(what)?;
        }
        Ok(())
    }

    fn mask(&self, root: BorrowedFd<'_>) -> Result<()> {
        let mut null: Option<OwnedFd> = None;
        let mut empty: Option<OwnedFd> = None;
        for path in &self.spec.linux.masked_paths {
            let what = || format!("hide {path}");
            let place = match open_in(root, Path::new(path), OFlags::PATH) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                place => place.step(what)?,
            };
            let target = proc_path(place.as_fd());
            if !is_directory(&place) {
                if null.is_none() {
                    let opened = sys::open_path(Path::new("/dev/null"), OFlags::empty()).step(what)?;
                    let stat = rustix::fs::fstat(&opened).step(what)?;
                    if stat.st_rdev != rustix::fs::makedev(1, 3) {
                        return Err(Error::Refused("/dev/null of the host is not the null device".into()));
                    }
                    null = Some(opened);
                }
                let source = null.as_ref().map(|null| proc_path(null.as_fd()));
                sys::mount(source.as_deref(), &target, None, libc::MS_BIND, None).step(what)?;
            } else if let Some(empty) = &empty {
                sys::mount(Some(&proc_path(empty.as_fd())), &target, None, libc::MS_BIND, None).step(what)?;
            } else {
                // One empty file system for all of them.
                let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
                sys::mount(Some(c"tmpfs"), &target, Some(c"tmpfs"), flags, Some(c"nr_blocks=1,nr_inodes=1"))
                    .step(what)?;
                empty = open_in(root, Path::new(path), OFlags::PATH).ok();
            }
        }
        Ok(())
    }
}

/// Stacks a read-only copy of a mount upon a place.
fn read_only(place: &OwnedFd) -> io::Result<()> {
    const RECURSIVE: libc::c_uint = 0x8000;
    let flags = sys::OPEN_TREE_CLONE | RECURSIVE | libc::AT_EMPTY_PATH as libc::c_uint;
    let attributes = MountAttributes { set: READ_ONLY, ..MountAttributes::default() };
    let copy = sys::open_tree(place.as_fd(), c"", flags)?;
    sys::mount_setattr(copy.as_fd(), true, &attributes)?;
    sys::move_mount(copy.as_fd(), place.as_fd())
}
