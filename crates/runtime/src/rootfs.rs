//! The container's file system, made by its first process in its own mount namespace.
//!
//! Until the root changes, the host's `/proc` is there, so every place inside is opened by
//! openat2(2) with `RESOLVE_IN_ROOT` and mounted upon through `/proc/self/fd`: no link of the image leads
//! outside, and nobody can exchange a path between looking and mounting. Everything, masks included, is
//! done before the root changes.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::cgroup::Hierarchy;
use crate::error::{Context as _, Error, Result};
use crate::mount::Options;
use crate::spec::{Device, Mount, NamespaceKind, Spec};
use crate::sys::{self, MountAttributes, cstr, proc_path};

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

const DEFAULT_DEVICES: [(&str, i64, i64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

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

const READ_ONLY: u64 = 1; // MOUNT_ATTR_RDONLY

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
pub(crate) fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
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
fn open_or_make(root: BorrowedFd<'_>, path: &Path, file: bool) -> rustix::io::Result<OwnedFd> {
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

fn is_directory(fd: impl rustix::fd::AsFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

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
            let options = Options::of(mount, at)?;
            if clean(&mount.destination) == Path::new("dev") {
                dev_is_bound = options.is_bind();
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
            self.plain(mount, options, &target).step(place)?;
            if let Some(from) = copy {
                let to = open_in(root, &mount.destination, OFlags::PATH).step(place)?;
                copy_up(&from, &to)
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
        if rest == 0 {
            return Ok(());
        }
        let mounted = open_in(root, &mount.destination, OFlags::PATH)?;
        remount(&mounted, rest)
    }

    fn plain(&self, mount: &Mount, options: &Options, target: &OwnedFd) -> io::Result<()> {
        let source = cstr(mount.source.as_deref().unwrap_or(Path::new("none")))?;
        let kind = cstr(&mount.kind)?;
        let target = proc_path(target.as_fd());
        let mut data = options.data.clone();
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

    /// `/sys/fs/cgroup` as the machine has it: one directory for each hierarchy, showing the container's own.
    fn cgroup(&self, root: BorrowedFd<'_>, mount: &Mount, options: &Options) -> Result<()> {
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

    fn devices(&self, root: BorrowedFd<'_>) -> Result<()> {
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
            let source = sys::open_path(&Path::new("/").join(clean(&device.path)), OFlags::empty())?;
            return sys::mount(
                Some(&proc_path(source.as_fd())),
                &proc_path(target.as_fd()),
                None,
                libc::MS_BIND,
                None,
            );
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
        match sys::pivot_root_here() {
            Ok(()) => {
                // The old root is now stacked upon the new one, where we stand.
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
    let place = proc_path(mounted.as_fd());
    let bits = libc::MS_BIND | libc::MS_REMOUNT | flags;
    match sys::mount(None, &place, None, bits, None) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let now = rustix::fs::fstatvfs(&mounted)?.f_flag.bits();
            // Bits of statvfs(3) are those of mount(2) up to noexec, and the atime ones.
            let kept = now
                & (libc::MS_RDONLY
                    | libc::MS_NOSUID
                    | libc::MS_NODEV
                    | libc::MS_NOEXEC
                    | libc::MS_NOATIME
                    | libc::MS_NODIRATIME);
            let relatime = if now & 4096 != 0 { libc::MS_RELATIME } else { 0 };
            sys::mount(None, &place, None, bits | kept | relatime, None)
        }
        result => result,
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
        return if inside == place { Ok(()) } else { refuse("a link of the image leads elsewhere") };
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

/// Copies a directory tree into an empty tmpfs, with modes and owners.
fn copy_up(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
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
                copy_up(
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

#[cfg(test)]
mod tests {
    use super::*;

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
