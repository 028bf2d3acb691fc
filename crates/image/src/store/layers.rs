//! Layers unpacked for overlayfs, and images unpacked to one tree.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use serde::{Deserialize, Serialize};

use super::collect::remove_path;
use super::{Image, Store, sync_directory};
use crate::apply::{Applied, Form, Ownership, Rules, copy_attributes, open_below};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::apply_blob;
use crate::progress::Progress;
use crate::settings::Settings;

/// What this process may do to files.
#[derive(Clone, Debug)]
pub(crate) struct Privileges {
    pub(crate) ownership: Ownership,
    pub(crate) devices: bool,
    /// The attribute by which overlayfs hides a directory's lower content.
    pub(crate) opaque: &'static str,
}

impl Privileges {
    /// Asks the kernel's id map: root of the machine may everything, root of a user namespace may give
    /// files to the ids that it has, anybody else only to himself.
    pub(crate) fn of_this_process() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let ids: u64 =
            map.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok()).sum();
        let root = rustix::process::geteuid().is_root();
        let machine = ids >= u64::from(u32::MAX);
        Self {
            ownership: if root && ids >= 65536 { Ownership::Keep } else { Ownership::Ours },
            devices: root && machine,
            opaque: if root && machine { "trusted.overlay.opaque" } else { "user.overlay.opaque" },
        }
    }
}

/// layer.json.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    diff_id: Digest,
    chain_id: Digest,
    opaque: String,
    entries: u64,
    bytes: u64,
}

/// What was left out while unpacking, for a note.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeftOut {
    /// Device nodes below /dev.
    pub devices: u64,
    /// Extended attributes.
    pub xattrs: u64,
}

impl LeftOut {
    fn add(&mut self, applied: &Applied) {
        self.devices += applied.devices_left_out;
        self.xattrs += applied.xattrs_left_out;
    }
}

impl Image {
    /// The unpacked layers for overlayfs' `lowerdir=`, topmost first. Those that are missing are
    /// unpacked now. Mount with `userxattr` where [`Image::user_xattr`] says so.
    pub fn lower_dirs(&self) -> Result<Vec<PathBuf>> {
        self.unpack_layers(&Settings::default(), &())?;
        let chain = self.config.chain_ids();
        Ok(chain.iter().rev().map(|id| self.store.layer(id).join("fs")).collect())
    }

    /// Whether the layers hide with `user.overlay.*`, because they were unpacked without privileges.
    pub fn user_xattr(&self) -> bool {
        Privileges::of_this_process().opaque.starts_with("user.")
    }

    /// Unpacks the layers that are not yet.
    pub fn unpack_layers(&self, settings: &Settings, progress: &dyn Progress) -> Result<LeftOut> {
        let missing = self.config.chain_ids().iter().any(|id| !self.store.layer(id).exists());
        if !missing {
            return Ok(LeftOut::default());
        }
        // One process unpacks at a time: others that want the same layers then find them, and those
        // that share some cannot wait for each other in a ring.
        let _turn = self.store.turn()?;
        let privileges = Privileges::of_this_process();
        let jobs: Vec<Job<'_>> = self
            .layers()
            .into_iter()
            .map(|(layer, diff_id, chain_id)| Job {
                store: &self.store,
                blob: layer.digest,
                diff_id,
                chain_id,
                privileges: &privileges,
                settings,
                made: Mutex::new(None),
            })
            .collect();
        let result = run(&jobs, settings.parallel, progress).and_then(|()| self.commit(&jobs));
        for made in jobs.iter().filter_map(|job| job.take()) {
            let _ = remove_path(&made.path);
        }
        result
    }

    /// Completes directories that only lower layers describe, then gives all trees their names.
    fn commit(&self, jobs: &[Job<'_>]) -> Result<LeftOut> {
        let mut left_out = LeftOut::default();
        let mut below: Vec<PathBuf> = Vec::new();
        let mut any = false;
        for job in jobs {
            let made = job.made.lock().unwrap_or_else(|broken| broken.into_inner());
            let path =
                made.as_ref().map_or_else(|| self.store.layer(&job.chain_id), |made| made.path.clone());
            if let Some(made) = made.as_ref() {
                any = true;
                left_out.add(&made.applied);
                complete(&made.path.join("fs"), &below, &made.applied.implied)?;
            }
            below.push(path.join("fs"));
        }
        if !any {
            return Ok(left_out);
        }
        let layers = self.store.path("layers");
        let directory = File::open(&layers).map_err(Error::file("open", &layers))?;
        rustix::fs::syncfs(&directory).map_err(|error| Error::file("sync", &layers)(error.into()))?;
        for job in jobs {
            if let Some(made) = job.take() {
                let path = self.store.layer(&job.chain_id);
                fs::rename(&made.path, &path).map_err(Error::file("rename", &path))?;
            }
        }
        sync_directory(&layers)?;
        Ok(left_out)
    }

    /// Unpacks the whole image to `target`, which must not exist or be empty.
    pub fn unpack(&self, target: &Path, settings: &Settings, ids: &IdMaps) -> Result<LeftOut> {
        let mut privileges = Privileges::of_this_process();
        if let Some((uids, gids)) = ids {
            privileges.ownership = Ownership::Mapped(uids.clone(), gids.clone());
        }
        fs::create_dir(target).or_else(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists if is_empty(target) => Ok(()),
            _ => Err(Error::file("create", target)(error)),
        })?;
        fs::set_permissions(target, fs::Permissions::from_mode(0o755))
            .map_err(Error::file("change", target))?;
        let root = open_directory(target)?;
        let mut left_out = LeftOut::default();
        for (layer, diff_id, _) in self.layers() {
            let name = layer.digest.to_string();
            let rules = Rules {
                layer: &name,
                form: Form::Flat,
                ownership: &privileges.ownership,
                devices: privileges.devices,
                limits: &settings.limits,
            };
            let blob = self.store.blob(&layer.digest);
            let cancel = AtomicBool::new(false);
            left_out.add(&apply_blob(&blob, Some(&diff_id), &root, &rules, &cancel)?.0);
        }
        Ok(left_out)
    }
}

/// How ids of an image become ids of this machine: users and groups; `None` leaves them.
pub type IdMaps = Option<(Vec<crate::IdMap>, Vec<crate::IdMap>)>;

impl Store {
    /// Where an unpacked layer is, or would be.
    pub(crate) fn layer(&self, chain_id: &Digest) -> PathBuf {
        self.path("layers").join(chain_id.hex())
    }

    /// Waits until nobody else unpacks layers.
    fn turn(&self) -> Result<File> {
        let path = self.path("unpack.lock");
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(&path).map_err(Error::file("open", &path))?;
        while let Err(error) = flock(&lock, FlockOperation::LockExclusive) {
            if error != rustix::io::Errno::INTR {
                return Err(Error::file("lock", &path)(error.into()));
            }
        }
        Ok(lock)
    }

    /// Bytes that an unpacked layer had when it was made.
    pub(crate) fn layer_size(&self, path: &Path) -> u64 {
        let bytes = fs::read(path.join("layer.json")).unwrap_or_default();
        serde_json::from_slice::<Record>(&bytes).map_or(0, |record| record.bytes)
    }
}

/// A layer to be unpacked.
struct Job<'a> {
    store: &'a Store,
    blob: Digest,
    diff_id: Digest,
    chain_id: Digest,
    privileges: &'a Privileges,
    settings: &'a Settings,
    made: Mutex<Option<Made>>,
}

/// A layer that is unpacked and has no name yet.
struct Made {
    path: PathBuf,
    applied: Applied,
}

impl Job<'_> {
    fn take(&self) -> Option<Made> {
        self.made.lock().unwrap_or_else(|broken| broken.into_inner()).take()
    }

    fn run(&self, cancel: &AtomicBool) -> Result<()> {
        let done = self.store.layer(&self.chain_id);
        if done.exists() {
            return Ok(());
        }
        let tree = self.store.temporary();
        let result = self.fill(&tree, cancel);
        match result {
            Ok(applied) => {
                let made = Made { path: tree, applied };
                *self.made.lock().unwrap_or_else(|broken| broken.into_inner()) = Some(made);
                Ok(())
            }
            Err(error) => {
                let _ = remove_path(&tree);
                Err(error)
            }
        }
    }

    fn fill(&self, tree: &Path, cancel: &AtomicBool) -> Result<Applied> {
        let content = tree.join("fs");
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(tree).map_err(Error::file("create", tree))?;
        builder.create(&content).map_err(Error::file("create", &content))?;
        fs::set_permissions(&content, fs::Permissions::from_mode(0o755))
            .map_err(Error::file("change", &content))?;
        let root = open_directory(&content)?;
        let name = self.blob.to_string();
        let rules = Rules {
            layer: &name,
            form: Form::Overlay(self.privileges.opaque),
            ownership: &self.privileges.ownership,
            devices: self.privileges.devices,
            limits: &self.settings.limits,
        };
        let blob = self.store.blob(&self.blob);
        let (applied, diff_id) = apply_blob(&blob, Some(&self.diff_id), &root, &rules, cancel)?;
        let record = Record {
            diff_id,
            chain_id: self.chain_id,
            opaque: self.privileges.opaque.to_owned(),
            entries: applied.entries,
            bytes: applied.bytes,
        };
        let path = tree.join("layer.json");
        let bytes = serde_json::to_vec(&record).map_err(|error| Error::document("layer.json", error))?;
        fs::write(&path, bytes).map_err(Error::file("write", &path))?;
        Ok(applied)
    }
}

/// Runs the jobs with a few threads; the first error ends all.
fn run(jobs: &[Job<'_>], threads: usize, progress: &dyn Progress) -> Result<()> {
    let (next, cancel) = (AtomicUsize::new(0), AtomicBool::new(false));
    let first = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if cancel.load(Ordering::Relaxed) {
                        break;
                    }
                    match job.run(&cancel) {
                        Ok(()) => progress.unpacked(&job.blob),
                        Err(error) => {
                            cancel.store(true, Ordering::Relaxed);
                            let mut first = first.lock().unwrap_or_else(|broken| broken.into_inner());
                            if first.is_none() {
                                *first = Some(error);
                            }
                        }
                    }
                }
            });
        }
    });
    first.into_inner().unwrap_or_else(|broken| broken.into_inner()).map_or(Ok(()), Err)
}

/// Gives directories that a layer implies the attributes that the layers below say.
fn complete(tree: &Path, below: &[PathBuf], implied: &[Vec<u8>]) -> Result<()> {
    if implied.is_empty() {
        return Ok(());
    }
    let root = open_directory(tree)?;
    let lower = below.iter().rev().map(|path| open_directory(path)).collect::<Result<Vec<OwnedFd>>>()?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    for path in implied {
        let Some(from) = lower.iter().find_map(|layer| open_below(layer, path, flags).ok()) else { continue };
        let done = open_below(&root, path, flags).and_then(|to| copy_attributes(&from, &to));
        done.map_err(|error| Error::file("change", tree)(error.into()))?;
    }
    Ok(())
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut inside| inside.next().is_none())
}

pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| Error::file("open", path)(error.into()))
}
