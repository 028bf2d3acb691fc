//! `/sys/fs/cgroup` inside.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::place::{open_in, open_or_make};
use super::{Rootfs, remount, text};
use crate::error::{Context as _, Result};
use crate::mount::Options;
use crate::spec::{Mount, NamespaceKind};
use crate::sys::{self, cstr, proc_path};

impl Rootfs<'_> {
    /// `/sys/fs/cgroup` as the machine has it: one directory for each hierarchy, showing the container's own.
    pub(super) fn cgroup(&self, root: BorrowedFd<'_>, mount: &Mount, options: &Options) -> Result<()> {
        let what = || format!("mount cgroup on {}", mount.destination.display());
        let target = open_or_make(root, &mount.destination, false).step(what)?;
        let own_namespace = self.spec.makes(NamespaceKind::Cgroup);
        let show = |key: &str, unified: bool, target: &OwnedFd| -> io::Result<()> {
            let place = proc_path(target.as_fd());
            if own_namespace {
                let (kind, data) = if unified { (c"cgroup2", None) } else { (c"cgroup", text(key)) };
                if sys::mount(Some(c"cgroup"), &place, Some(kind), options.flags, data.as_deref()).is_ok() {
                    return Ok(());
                }
            }
            let own = if unified {
                self.cgroup.unified()
            } else {
                key.split(',').next().and_then(|key| self.cgroup.controller(key)).map(|(path, _)| path)
            };
            let all = self.hierarchies.iter().find(|h| h.keys.join(",") == key).map(|h| h.mount.as_path());
            let Some(own) = own.or(all) else { return Ok(()) };
            sys::mount(Some(&cstr(own)?), &place, None, libc::MS_BIND, None)
        };
        if let [only] = self.hierarchies
            && only.is_unified()
        {
            show("", true, &target).step(what)?;
            let mounted = open_in(root, &mount.destination, OFlags::PATH).step(what)?;
            return remount(&mounted, options.flags).step(what);
        }
        let place = proc_path(target.as_fd());
        let flags = libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NODEV;
        sys::mount(Some(c"tmpfs"), &place, Some(c"tmpfs"), flags, Some(c"mode=755")).step(what)?;
        let top = open_in(root, &mount.destination, OFlags::PATH | OFlags::DIRECTORY).step(what)?;
        for hierarchy in self.hierarchies {
            let key = hierarchy.keys.join(",");
            // `name=systemd` is shown as `systemd`, the v2 hierarchy as `unified`.
            let name = match key.strip_prefix("name=") {
                Some(name) => name,
                None if hierarchy.is_unified() => "unified",
                None => &key,
            };
            rustix::fs::mkdirat(&top, name, Mode::from_raw_mode(0o755)).step(what)?;
            let place =
                rustix::fs::openat(&top, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step(what)?;
            show(&key, hierarchy.is_unified(), &place).step(|| format!("mount cgroup {key}"))?;
            let mounted =
                rustix::fs::openat(&top, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step(what)?;
            if !own_namespace || hierarchy.is_unified() {
                remount(&mounted, options.flags).step(|| format!("remount cgroup {key}"))?;
            }
            if hierarchy.keys.len() > 1 {
                for alias in &hierarchy.keys {
                    rustix::fs::symlinkat(name, &top, alias).step(what)?;
                }
            }
        }
        if options.flags & libc::MS_RDONLY != 0 {
            remount(&top, flags | libc::MS_RDONLY).step(what)?;
        }
        Ok(())
    }
}
