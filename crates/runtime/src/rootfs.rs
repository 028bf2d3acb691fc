//! The container's file system, made by its first process in its own mount namespace.
//!
//! Until the root changes, the host's `/proc` is there, so every place inside is opened by
//! openat2(2) with `RESOLVE_IN_ROOT` and mounted upon through `/proc/self/fd`: no link of the image leads
//! outside, and nobody can exchange a path between looking and mounting. Everything, masks included, is
//! done before the root changes.

mod cgroup;
mod copy;
mod device;
mod place;
mod seal;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::cgroup::Hierarchy;
use crate::error::{Context as _, Error, Result};
use crate::mount::Options;
use crate::spec::{Mount, NamespaceKind, Spec};
use crate::sys::{self, MountAttributes, cstr, proc_path};
pub(crate) use device::open_terminal;
pub(crate) use place::clean;
use place::{is_directory, open_in, open_or_make};

/// What the file system is made from.
#[derive(Debug)]
pub(crate) struct Rootfs<'a> {
    pub(crate) spec: &'a Spec,
    /// Absolute path of the root directory.
    pub(crate) path: &'a Path,
    pub(crate) hierarchies: &'a [Hierarchy],
    pub(crate) cgroup: &'a crate::cgroup::Cgroup,
    /// Sources of bind mounts that were opened while we still were who we were, by index.
    pub(crate) sources: Vec<Option<OwnedFd>>,
    /// Whether device nodes cannot be made and are bound instead.
    pub(crate) bind_devices: bool,
    pub(crate) no_pivot: bool,
}

/// Files of /proc that engines bind over, as runc allows them.
const PROC_FILES: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

fn text(data: &str) -> Option<CString> {
    CString::new(data).ok().filter(|data| !data.is_empty())
}

impl Rootfs<'_> {
    /// Makes our mount namespace deaf to the host's, and the root a mount of its own. Returns it.
    pub(crate) fn begin(&self) -> Result<OwnedFd> {
        let word = &self.spec.linux.rootfs_propagation;
        let bits = match word.as_str() {
            "" => libc::MS_SLAVE | libc::MS_REC,
            word => crate::mount::propagation(word).ok_or_else(|| Error::Config {
                at: "linux.rootfsPropagation".into(),
                why: format!("\"{word}\" is no propagation"),
            })?,
        };
        // What is unbindable could not be bound any more; that comes once the root has changed.
        let now = if bits & libc::MS_UNBINDABLE == 0 { bits } else { libc::MS_PRIVATE | libc::MS_REC };
        sys::mount(None, c"/", None, now, None).step(|| "set the propagation of /".into())?;
        if bits & libc::MS_SHARED != 0 {
            // pivot_root(2) wants the parent of the new root unshared.
            let mut place = Some(self.path);
            while let Some(path) = place {
                let path_c = cstr(path).step(|| "name the root".into())?;
                if sys::mount(None, &path_c, None, libc::MS_PRIVATE, None).is_ok() {
                    break;
                }
                place = path.parent();
            }
        }
        let path = cstr(self.path).step(|| "name the root".into())?;
        sys::mount(Some(&path), &path, None, libc::MS_BIND | libc::MS_REC, None)
            .step(|| format!("bind the root {} upon itself", self.path.display()))?;
        sys::open_path(self.path, OFlags::DIRECTORY).step(|| format!("open the root {}", self.path.display()))
    }

    /// Every mount, then devices and links in `/dev`.
    pub(crate) fn fill(&self, root: BorrowedFd<'_>) -> Result<()> {
        let mut dev_is_bound = false;
        for (at, mount) in self.spec.mounts.iter().enumerate() {
            let mut options = Options::of(mount, at)?;
            if clean(&mount.destination) == Path::new("dev") {
                dev_is_bound = options.is_bind();
                if !dev_is_bound {
                    // Made read-only when it is filled: see `seal`.
                    options.flags &= !libc::MS_RDONLY;
                }
            }
            self.mount(root, mount, &options, at).map_err(|error| match error {
                Error::Step { what, source } => Error::Step { what: format!("mounts[{at}]: {what}"), source },
                other => other,
            })?;
        }
        if !dev_is_bound {
            self.devices(root)?;
        }
        Ok(())
    }

    /// Makes the working directory when it is missing, as runc and crun do. Where that fails, entering it says
    /// why.
    pub(crate) fn make_working_directory(&self, root: BorrowedFd<'_>) {
        if let Some(process) = &self.spec.process {
            open_or_make(root, &process.cwd, false).ok();
        }
    }

    fn mount(&self, root: BorrowedFd<'_>, mount: &Mount, options: &Options, at: usize) -> Result<()> {
        if mount.kind == "cgroup" {
            return self.cgroup(root, mount, options);
        }
        let place = || {
            format!(
                "mount {} on {}",
                if mount.kind.is_empty() { "bind" } else { &mount.kind },
                mount.destination.display()
            )
        };
        let source = if options.is_bind() { Some(self.source(mount, at)?) } else { None };
        let file = source.as_ref().is_some_and(|source| !is_directory(source));
        // A tmpfs that is given no mode takes that of the directory which it hides.
        let mode = match mount.kind == "tmpfs" && !options.has("mode") {
            true => {
                open_in(root, &mount.destination, OFlags::PATH).ok().and_then(|fd| rustix::fs::fstat(fd).ok())
            }
            false => None,
        };
        let target = open_or_make(root, &mount.destination, file).step(place)?;
        guard_proc(root, &target, mount, source.as_ref())?;
        if let Some(source) = source {
            if is_directory(&target) == file {
                let why = if file {
                    "a file cannot be bound upon a directory"
                } else {
                    "a directory cannot be bound upon a file"
                };
                return Err(Error::Config { at: format!("mounts[{at}]"), why: why.into() });
            }
            self.bind(root, mount, options, source, &target).step(place)?;
        } else {
            let copy = if options.copy_up { Some(target.try_clone().step(place)?) } else { None };
            self.plain(mount, options, mode.map(|stat| stat.st_mode & 0o7777), &target).step(place)?;
            if let Some(from) = copy {
                let to = open_in(root, &mount.destination, OFlags::PATH).step(place)?;
                copy::up(&from, &to)
                    .step(|| format!("copy into the tmpfs on {}", mount.destination.display()))?;
            }
        }
        if options.propagation.is_empty() && options.tree_set | options.tree_clear == 0 {
            return Ok(());
        }
        let mounted = open_in(root, &mount.destination, OFlags::PATH).step(place)?;
        for bits in &options.propagation {
            sys::mount(None, &proc_path(mounted.as_fd()), None, *bits, None).step(place)?;
        }
        if options.tree_set | options.tree_clear != 0 {
            let attributes = MountAttributes {
                set: options.tree_set,
                clear: options.tree_clear,
                ..MountAttributes::default()
            };
            sys::mount_setattr(mounted.as_fd(), true, &attributes).step(place)?;
        }
        Ok(())
    }

    fn source(&self, mount: &Mount, at: usize) -> Result<OwnedFd> {
        if let Some(Some(source)) = self.sources.get(at) {
            return source.try_clone().step(|| "keep a descriptor".into());
        }
        open_source(mount, at)
    }

    fn bind(
        &self,
        root: BorrowedFd<'_>,
        mount: &Mount,
        options: &Options,
        source: OwnedFd,
        target: &OwnedFd,
    ) -> io::Result<()> {
        if options.idmap.is_some() {
            // Prepared as a detached mount before we became who we are.
            sys::move_mount(source.as_fd(), target.as_fd())?;
        } else {
            let bits = options.flags & (libc::MS_BIND | libc::MS_REC);
            sys::mount(Some(&proc_path(source.as_fd())), &proc_path(target.as_fd()), None, bits, None)?;
        }
        let rest = options.flags & !(libc::MS_BIND | libc::MS_REC | libc::MS_REMOUNT);
        if rest | options.cleared == 0 {
            return Ok(());
        }
        let mounted = open_in(root, &mount.destination, OFlags::PATH)?;
        remount_but(&mounted, rest, options.cleared)
    }

    fn plain(&self, mount: &Mount, options: &Options, mode: Option<u32>, target: &OwnedFd) -> io::Result<()> {
        let source = cstr(mount.source.as_deref().unwrap_or(Path::new("none")))?;
        let kind = cstr(&mount.kind)?;
        let target = proc_path(target.as_fd());
        let mut data = options.data.clone();
        if let Some(mode) = mode {
            data = format!("{data}{}mode={mode:04o}", if data.is_empty() { "" } else { "," });
        }
        let label = &self.spec.linux.mount_label;
        if !label.is_empty()
            && !matches!(mount.kind.as_str(), "proc" | "sysfs")
            && Path::new("/sys/fs/selinux").exists()
        {
            data = format!("{data}{}context=\"{label}\"", if data.is_empty() { "" } else { "," });
        }
        let try_it = |data: &str| {
            sys::mount(Some(&source), &target, Some(&kind), options.flags, text(data).as_deref())
        };
        match (try_it(&data), mount.kind.as_str()) {
            (Err(error), "devpts") if error.raw_os_error() == Some(libc::EINVAL) => {
                // The group of terminals is often not mapped into a user namespace.
                let kept: Vec<&str> = data.split(',').filter(|word| !word.starts_with("gid=")).collect();
                if kept.join(",") == data { Err(error) } else { try_it(&kept.join(",")) }
            }
            (Err(error), "sysfs")
                if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EBUSY))
                    && !self.spec.makes(NamespaceKind::Network) =>
            {
                sys::mount(Some(c"/sys"), &target, None, libc::MS_BIND | libc::MS_REC, None)
            }
            (result, _) => result,
        }
    }

    /// Makes it the root of this process, and lets the old one go.
    pub(crate) fn enter(&self, root: BorrowedFd<'_>) -> Result<()> {
        let what = || "change the root".to_owned();
        // The descriptor was opened before the root became read-only by a remount: the same mount.
        rustix::process::fchdir(root).step(what)?;
        if self.spec.namespace(NamespaceKind::Mount).is_none() {
            rustix::process::chroot(".").step(what)?;
            return rustix::process::chdir("/").step(what);
        }
        if self.no_pivot {
            return self.move_root().step(what);
        }
        let old = sys::open_path(Path::new("/"), OFlags::DIRECTORY).step(what)?;
        match sys::pivot_root_here() {
            Ok(()) => {
                // The old root is now stacked upon the new one. Only its own tree must not tell the host
                // that it goes; the new one's mounts may be shared.
                rustix::process::fchdir(&old).step(what)?;
                sys::mount(None, c".", None, libc::MS_SLAVE | libc::MS_REC, None).step(what)?;
                sys::umount(c".", libc::MNT_DETACH).step(|| "let the old root go".into())?;
            }
            // An initramfs cannot be pivoted away from.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && on_initramfs() => {
                self.move_root().step(what)?
            }
            Err(error) => return Err(error).step(what),
        }
        rustix::process::chdir("/").step(what)?;
        let bits = crate::mount::propagation(&self.spec.linux.rootfs_propagation).unwrap_or(0);
        if bits & !(libc::MS_PRIVATE | libc::MS_REC) != 0 {
            sys::mount(None, c"/", None, bits, None).step(what)?;
        }
        Ok(())
    }

    fn move_root(&self) -> io::Result<()> {
        // Nothing of the host may stay reachable below the moved root.
        let mounts = std::fs::read("/proc/self/mountinfo")?;
        let mut places: Vec<PathBuf> = mounts
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
            .map(crate::cgroup::unescape)
            .filter(|place| {
                place != Path::new("/") && !place.starts_with(self.path) && !self.path.starts_with(place)
            })
            .collect();
        places.reverse();
        for place in places {
            sys::umount(&cstr(&place)?, libc::MNT_DETACH).ok();
        }
        sys::mount(Some(c"."), c"/", None, libc::MS_MOVE, None)?;
        rustix::process::chroot(".")?;
        rustix::process::chdir("/")?;
        Ok(())
    }
}

/// Opens the source of a bind mount.
pub(crate) fn open_source(mount: &Mount, at: usize) -> Result<OwnedFd> {
    let path = mount.source.as_deref().unwrap_or(Path::new(""));
    sys::open_path(path, OFlags::empty()).step(|| format!("mounts[{at}]: open the source {}", path.display()))
}

fn on_initramfs() -> bool {
    const RAMFS: i128 = 0x8584_58f6;
    const TMPFS: i128 = 0x0102_1994;
    rustix::fs::statfs("/").is_ok_and(|stat| matches!(i128::from(stat.f_type), RAMFS | TMPFS))
}

/// Changes the flags of one mount, keeping those that a user namespace may not drop.
fn remount(mounted: impl rustix::fd::AsFd, flags: u64) -> io::Result<()> {
    remount_but(mounted, flags, 0)
}

/// The same, but that it fails when one of `cleared` cannot be dropped.
fn remount_but(mounted: impl rustix::fd::AsFd, flags: u64, cleared: u64) -> io::Result<()> {
    let place = proc_path(mounted.as_fd());
    let bits = libc::MS_BIND | libc::MS_REMOUNT | flags;
    match sys::mount(None, &place, None, bits, None) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            const ATIME: u64 =
                libc::MS_NOATIME | libc::MS_NODIRATIME | libc::MS_RELATIME | libc::MS_STRICTATIME;
            let now = rustix::fs::fstatvfs(&mounted)?.f_flag.bits();
            // Bits of statvfs(3) are those of mount(2) up to noexec, and the atime ones.
            let locked = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            if now & locked & cleared != 0 {
                return Err(error);
            }
            let mut kept = now & locked;
            if flags & ATIME == 0 {
                kept |= now & (libc::MS_NOATIME | libc::MS_NODIRATIME);
            }
            let relatime = if now & 4096 != 0 && flags & ATIME == 0 { libc::MS_RELATIME } else { 0 };
            sys::mount(None, &place, None, bits | kept | relatime, None)
        }
        result => result,
    }
}

/// Refuses mounts that would fake what the kernel shows, or that an image's links lead elsewhere.
fn guard_proc(root: BorrowedFd<'_>, target: &OwnedFd, mount: &Mount, source: Option<&OwnedFd>) -> Result<()> {
    const PROCFS: i128 = 0x9fa0;
    const SYSFS: i128 = 0x6265_6572;
    let kind_of = |fd: &OwnedFd| rustix::fs::fstatfs(fd).map_or(0, |stat| i128::from(stat.f_type));
    let place = clean(&mount.destination);
    let system = matches!(mount.kind.as_str(), "proc" | "sysfs");
    if !system && !place.starts_with("proc") && kind_of(target) != PROCFS {
        return Ok(());
    }
    let really =
        |fd: BorrowedFd<'_>| rustix::fs::readlink(proc_path(fd).as_c_str(), Vec::new()).unwrap_or_default();
    let (root, target_path) = (really(root), really(target.as_fd()));
    let root = Path::new(std::ffi::OsStr::from_bytes(root.as_bytes()));
    let target_path = Path::new(std::ffi::OsStr::from_bytes(target_path.as_bytes()));
    let inside = target_path.strip_prefix(root).unwrap_or(target_path);
    let refuse =
        |why: &str| Err(Error::Refused(format!("cannot mount on {}: {why}", mount.destination.display())));
    if system {
        return if inside == place {
            Ok(())
        } else {
            refuse("it must be mounted on ordinary directory, and a link of the image leads elsewhere")
        };
    }
    if inside == Path::new("proc") {
        // The whole of it may be bound from a procfs only.
        return match source.map(kind_of) {
            Some(PROCFS | SYSFS) | None => Ok(()),
            Some(_) => refuse("only a procfs may be there"),
        };
    }
    let Ok(below) = inside.strip_prefix("proc") else { return Ok(()) };
    if kind_of(target) != PROCFS
        || PROC_FILES.iter().any(|name| Path::new(name) == below)
        || source.is_some_and(|s| kind_of(s) == PROCFS)
    {
        return Ok(());
    }
    refuse("it is inside /proc")
}
