//! Mounts of a process's own, below which a container's root is put together: an overlay whose layers
//! may belong to other ids.
//!
//! Everything here happens in the mount namespace that [`private`] makes, so it is gone with the last
//! process in it, however that ends.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Context as _, Error, Result};
use crate::namespace;
use crate::spec::IdMapping;
use crate::sys::{self, MountAttributes};

/// `MOUNT_ATTR_IDMAP`.
const IDMAP: u64 = 0x10_0000;

/// Leaves for a mount namespace of our own, from which nothing gets out. The calling process must have one
/// thread.
///
/// # Errors
/// [`Error::Step`] without the privilege, [`Error::Refused`] with more threads.
pub fn private() -> Result<()> {
    let what = || "make a mount namespace".to_owned();
    if !sys::single_threaded() {
        return Err(Error::Refused("the runtime must run in a process with one thread".into()));
    }
    sys::unshare(libc::CLONE_NEWNS).step(what)?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    sys::mount(None, c"/", None, flags, None).step(what)
}

/// Mounts a tmpfs of at most `bytes` and `inodes`.
///
/// # Errors
/// [`Error::Step`].
pub fn tmpfs(target: &Path, bytes: u64, inodes: u64) -> Result<()> {
    let what = || format!("mount a tmpfs on {}", target.display());
    let data = sys::cstr(format!("mode=0755,size={bytes},nr_inodes={inodes}")).step(what)?;
    let target = sys::cstr(target).step(what)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount(Some(c"tmpfs"), &target, Some(c"tmpfs"), flags, Some(&data)).step(what)
}

/// Mounts an overlay of `lower` layers, the topmost first; without `upper` (and its work directory, on the
/// same file system) it can only be read, and needs two layers.
///
/// # Errors
/// [`Error::Step`].
pub fn overlay(lower: &[&Path], upper: Option<(&Path, &Path)>, target: &Path) -> Result<()> {
    let what = || format!("mount an overlay on {}", target.display());
    let text =
        |path: &Path| path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    let lower: Vec<String> = lower.iter().map(|path| text(path)).collect();
    let mut data = format!("lowerdir={}", lower.join(":"));
    if let Some((upper, work)) = upper {
        data.push_str(&format!(",upperdir={},workdir={},index=off", text(upper), text(work)));
    }
    let data = sys::cstr(data).step(what)?;
    let target = sys::cstr(target).step(what)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount(Some(c"overlay"), &target, Some(c"overlay"), flags, Some(&data)).step(what)
}

/// Takes a mount away from here; whoever still uses it keeps it.
///
/// # Errors
/// [`Error::Step`].
pub fn unmount(target: &Path) -> Result<()> {
    let what = || format!("unmount {}", target.display());
    sys::umount(&sys::cstr(target).step(what)?, libc::MNT_DETACH).step(what)
}

/// Binds `source`, without what is mounted below it, on `target`, with other owners.
///
/// # Errors
/// [`Error::Step`], also for a file system that cannot have its ids mapped.
pub fn idmapped(source: &Path, target: &Path, ids: &[IdMapping]) -> Result<()> {
    let what = || format!("map the ids of {}", source.display());
    let namespace = namespace::user_namespace(ids, ids)?;
    let from = sys::cstr(source).step(what)?;
    let copy = sys::open_tree(rustix::fs::CWD, &from, sys::OPEN_TREE_CLONE).step(what)?;
    let userns = u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX);
    let attributes = MountAttributes { set: IDMAP, userns, ..MountAttributes::default() };
    sys::mount_setattr(copy.as_fd(), false, &attributes).step(what)?;
    let place = sys::open_path(target, OFlags::DIRECTORY).step(what)?;
    sys::move_mount(copy.as_fd(), place.as_fd()).step(what)
}
