//! Where a container that was made from an image is kept, and how it goes.
//!
//! ```text
//! <root>/containers/<id>/lock         flocked by whoever makes it and stands before it
//!                       /upper, work  what it changed of the image: overlayfs' directories
//!                       /rootfs       where the overlay is mounted, in a mount namespace of the container's
//!                       /copied       there when no overlay could be mounted: /rootfs is the image's copy
//!                       /etc          hosts, hostname, resolv.conf
//!                       /image        the manifest's digest
//!                       /made         there when its program was started
//!                       /remove       there when it goes by itself (--rm)
//!                       /log          what a detached container wrote
//!                       /exit         its exit status, when it has ended
//! ```
//!
//! The directory comes first and goes last, so that [`Place::remove`] finds everything of a container
//! however its maker ended. No mount of it is ever seen by the rest of the machine.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nabe_image::{Image, Settings, Store};
use nabe_runtime::{Container, Status};
use rustix::fs::{FlockOperation, flock};
use rustix::mount::MountFlags;

use super::network::Network;
use crate::error::{CliError, Result};

/// How long whoever stands before a container may take to leave it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the runtime keeps states: as it was when first asked, before we became root of a user namespace.
pub(super) fn states() -> PathBuf {
    static STATES: OnceLock<PathBuf> = OnceLock::new();
    STATES.get_or_init(nabe_runtime::default_root).clone()
}

/// Whether we are an ordinary user, as it was when first asked.
pub(super) fn is_ordinary() -> bool {
    static ORDINARY: OnceLock<bool> = OnceLock::new();
    *ORDINARY.get_or_init(|| !rustix::process::geteuid().is_root())
}

/// An ordinary user becomes root of a user namespace, where he may mount, and change files of all his ids.
/// Must be called before any thread is started.
pub(super) fn become_root() -> Result<()> {
    // Before they change.
    states();
    is_ordinary();
    Ok(nabe_image::become_root()?)
}

/// A container's place.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    pub(super) id: String,
    pub(super) path: PathBuf,
}

impl Place {
    /// The place for this id, there or not.
    pub(super) fn of(root: &Path, id: &str) -> Result<Self> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
        let starts = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts || id.len() > 200 || !id.bytes().all(fine) {
            let rule = "letters, digits and _ + . -, a letter or digit first, at most 200";
            return Err(CliError::usage(format_args!("{id:?} is no name of a container: {rule}")));
        }
        Ok(Self { root: root.into(), id: id.into(), path: root.join("containers").join(id) })
    }

    /// Where nabe keeps images and containers.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The place of a container that there must be.
    pub(super) fn find(root: &Path, id: &str) -> Result<Self> {
        let place = Self::of(root, id)?;
        if place.path.is_dir() {
            return Ok(place);
        }
        Err(CliError::failed(format_args!("there is no container {id} made from an image"))
            .hint("`nabe list` shows containers; one of a bundle goes by `nabe delete`"))
    }

    /// Takes the name. The lock is held for as long as the file is open.
    pub(super) fn make(&self) -> Result<File> {
        let fail = |error: &io::Error| CliError::file("make", &self.path, error);
        let mut builder = DirBuilder::new();
        builder
            .mode(0o700)
            .recursive(true)
            .create(self.root.join("containers"))
            .map_err(|error| fail(&error))?;
        match builder.recursive(false).create(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(CliError::failed(format_args!("the name {} is in use", self.id))
                    .hint(format_args!("`nabe rm {}` removes the container that has it", self.id)));
            }
            made => made.map_err(|error| fail(&error))?,
        }
        let taken = self.lock_file().and_then(|file| {
            lock(&file)?;
            for name in ["upper", "rootfs"] {
                // The container's own root has the mode of `upper`, whatever our umask is.
                let path = self.path.join(name);
                DirBuilder::new().mode(0o755).create(&path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
            for name in ["work", "etc"] {
                DirBuilder::new().mode(0o700).create(self.path.join(name))?;
            }
            Ok(file)
        });
        taken.map_err(|error| fail(&error))
    }

    fn lock_file(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.path.join("lock"))
    }

    /// Writes a small file about it.
    pub(super) fn note(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        fs::write(&path, text).map_err(|error| CliError::file("write", &path, &error))
    }

    /// Mounts the image's layers with what the container changed, in this mount namespace. Where an
    /// ordinary user may not, the image is copied.
    pub(super) fn mount(&self, image: &Image) -> Result<PathBuf> {
        let target = self.path.join("rootfs");
        if self.path.join("copied").exists() {
            return Ok(target);
        }
        match self.overlay(image, &target)? {
            Err(error) if image.user_xattr() => {
                eprintln!("nabe: note: the image is copied, since overlayfs cannot be mounted here: {error}");
                image.unpack(&target, &Settings::default(), &None)?;
                self.note("copied", "")?;
            }
            mounted => {
                mounted.map_err(|error| CliError::file("mount an overlay on", &target, &error))?;
            }
        }
        Ok(target)
    }

    fn overlay(&self, image: &Image, target: &Path) -> Result<io::Result<()>> {
        let layers = image.store().path("layers");
        let text = |path: &Path| {
            path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
        };
        let lower = image.lower_dirs()?;
        let lower: Vec<String> =
            lower.iter().map(|path| text(path.strip_prefix(&layers).unwrap_or(path))).collect();
        let (upper, work) = (text(&self.path.join("upper")), text(&self.path.join("work")));
        let mut options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
        if image.user_xattr() {
            options.push_str(",userxattr");
        }
        let options = std::ffi::CString::new(options).map_err(|error| CliError::failed(error.to_string()))?;
        // Relative paths, because the kernel takes one page of options.
        std::env::set_current_dir(&layers).map_err(|error| CliError::file("enter", &layers, &error))?;
        let mounted =
            rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), Some(options.as_c_str()));
        std::env::set_current_dir("/").map_err(|error| CliError::file("enter", Path::new("/"), &error))?;
        Ok(mounted.map_err(io::Error::from))
    }

    /// What the runtime knows of it.
    pub(super) fn container(&self) -> Option<Container> {
        Container::load(&states(), &self.id).ok()
    }

    /// What it is doing, if the runtime knows it.
    pub(super) fn status(&self) -> Option<Status> {
        self.container().map(|container| container.status())
    }

    /// Whether somebody stands before it, or something of it runs.
    pub(super) fn is_alive(&self) -> bool {
        self.path.is_dir()
            && (self.is_locked() || self.status().is_some_and(|status| status != Status::Stopped))
    }

    fn is_locked(&self) -> bool {
        File::open(self.path.join("lock")).is_ok_and(|file| is_held(&file))
    }

    /// The network of its store, and who of it is alive.
    pub(super) fn network(&self) -> Network {
        Network::of(&self.root)
    }

    pub(super) fn release_network(&self) -> Result<()> {
        self.network().release(&self.id, |id| Self::of(&self.root, id).is_ok_and(|place| place.is_alive()))
    }

    pub(super) fn alive(&self, id: &str) -> bool {
        id == self.id || Self::of(&self.root, id).is_ok_and(|place| place.is_alive())
    }

    /// Removes it and everything of it. `ours` says that the lock is held by the caller.
    pub(super) fn remove(&self, force: bool, ours: bool) -> Result<()> {
        let states = states();
        match Container::load(&states, &self.id) {
            Ok(container) if !force && !matches!(container.status(), Status::Stopped) => {
                let status = container.status();
                return Err(CliError::failed(format_args!("the container {} is {status}", self.id))
                    .hint("stop it, or use --force"));
            }
            Ok(container) => match container.delete(true) {
                Ok(()) | Err(nabe_runtime::Error::Missing(_)) => {}
                Err(error) => return Err(super::told(&error)),
            },
            Err(nabe_runtime::Error::Missing(_)) if !states.join(&self.id).exists() => {}
            // Its maker was killed before it wrote a state.
            Err(_) => {
                nabe_runtime::delete_unreadable(&states, &self.id).map_err(|error| super::told(&error))?
            }
        }
        if ours {
            // In the maker's mount namespace; nobody else sees it. Not mounted yet is fine.
            nabe_runtime::stage::unmount(&self.path.join("rootfs")).ok();
        } else {
            self.wait_for_lock()?;
        }
        self.release_network()?;
        Store::open(&self.root)?.release(&self.id)?;
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CliError::file("remove", &self.path, &error))
            }
            _ => Ok(()),
        }
    }

    fn wait_for_lock(&self) -> Result<()> {
        let start = Instant::now();
        while self.is_locked() {
            if start.elapsed() > PATIENCE {
                return Err(CliError::failed(format_args!(
                    "another nabe still works on the container {}",
                    self.id
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Whether somebody else holds a lock.
pub(super) fn is_held(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Waits for a file to be ours alone; that ends with the file.
pub(super) fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Removes what killed processes left below this root: cables, addresses and rules of containers that are
/// gone, containers that were never whole, and ended ones that should have gone by themselves. Names them.
pub(in crate::cli) fn sweep(root: &Path) -> Result<Vec<String>> {
    become_root()?;
    let alive = |id: &str| Place::of(root, id).is_ok_and(|place| place.is_alive());
    let mut removed = Vec::new();
    for entry in fs::read_dir(root.join("containers")).into_iter().flatten().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let Ok(place) = Place::of(root, &id) else { continue };
        let unmade = place.container().is_none() && !place.path.join("made").exists();
        if !place.is_alive() && (unmade || place.path.join("remove").exists()) {
            place.remove(true, false)?;
            removed.push(id);
        }
    }
    Network::of(root).sweep(alive)?;
    nabe_runtime::forget_ended();
    Ok(removed)
}
