//! Who uses what: containers, and work in progress.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{Image, Store};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Something that must not be removed, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// The container; `None` for a pull or an import.
    #[serde(default)]
    pub container: Option<String>,
    /// The process that it ends with, and when that started (clock ticks since boot).
    #[serde(default)]
    pub process: Option<(u32, u64)>,
    /// The image's manifest.
    #[serde(default)]
    pub manifest: Option<Digest>,
    /// Everything that is used.
    #[serde(default)]
    digests: HashSet<Digest>,
}

/// A pull or import in progress; its lease ends with it, however it ends.
#[derive(Debug)]
pub(crate) struct Work {
    path: PathBuf,
    /// Flocked: that is what says it is alive.
    _file: File,
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// Keeps `image` for a container until [`Store::release`], also when this process ends.
    pub fn lease(&self, image: &Image, container: &str) -> Result<Lease> {
        self.lease_of(image, container, None)
    }

    /// Keeps `image` for a container as long as the process `pid` runs.
    pub fn lease_while(&self, image: &Image, container: &str, pid: u32) -> Result<Lease> {
        self.lease_of(image, container, started(pid).map(|start| (pid, start)))
    }

    fn lease_of(&self, image: &Image, container: &str, process: Option<(u32, u64)>) -> Result<Lease> {
        let path = self.lease_path(container)?;
        let lease = Lease {
            container: Some(container.to_owned()),
            process,
            manifest: Some(image.id.manifest),
            digests: self.closure(image),
        };
        let bytes = serde_json::to_vec(&lease).map_err(|error| Error::document("lease", error))?;
        let _lock = self.lock()?;
        // Between finding the image and leasing it, it may have gone.
        if !self.blob(&image.id.manifest).exists() {
            return Err(Error::Unknown { name: image.title() });
        }
        self.replace(&path, &bytes)?;
        Ok(lease)
    }

    /// The container is gone; one that had no lease is fine.
    pub fn release(&self, container: &str) -> Result<()> {
        let path = self.lease_path(container)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn lease_path(&self, container: &str) -> Result<PathBuf> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
        if container.is_empty() || container.len() > 200 || !container.bytes().all(fine) {
            let reason = "a container's name has letters, digits, and _ . + -".to_owned();
            return Err(Error::Setting { key: "container".into(), reason });
        }
        Ok(self.path("leases").join(format!("c-{container}.json")))
    }

    /// Announces work on these digests; from now on nobody removes them.
    pub(crate) fn work(&self, digests: impl IntoIterator<Item = Digest>) -> Result<Work> {
        let lease =
            Lease { container: None, process: None, manifest: None, digests: digests.into_iter().collect() };
        let bytes = serde_json::to_vec(&lease).map_err(|error| Error::document("lease", error))?;
        let _lock = self.lock()?;
        let name = self.temporary();
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = self.path("leases").join(format!("w-{name}.json"));
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::file("create", &path))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::file("lock", &path)(error.into()))?;
        file.write_all(&bytes).map_err(Error::file("write", &path))?;
        Ok(Work { path, _file: file })
    }

    /// Leases that hold; those of dead processes are removed. The caller holds the lock.
    pub(crate) fn leases(&self) -> Result<Vec<Lease>> {
        let directory = self.path("leases");
        let mut leases = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Error::file("read", &directory))? {
            let path = entry.map_err(Error::file("read", &directory))?.path();
            match self.read_lease(&path)? {
                Some(lease) => leases.push(lease),
                None => {
                    let _ = fs::remove_file(&path);
                }
            }
        }
        Ok(leases)
    }

    fn read_lease(&self, path: &Path) -> Result<Option<Lease>> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        let dead = name.starts_with("w-") && flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        if dead {
            return Ok(None);
        }
        let lease: Lease = match serde_json::from_reader(std::io::BufReader::new(&file)) {
            Ok(lease) => lease,
            // Nothing is removed for a reason that cannot be read.
            Err(error) => return Err(Error::document(path.display().to_string(), error)),
        };
        let ended = lease.process.is_some_and(|(pid, start)| started(pid) != Some(start));
        Ok((!ended).then_some(lease))
    }

    /// Everything that an image consists of.
    pub(crate) fn closure(&self, image: &Image) -> HashSet<Digest> {
        let mut all: HashSet<Digest> = [image.id.manifest, image.id.config].into();
        all.extend(image.manifest.layers.iter().map(|layer| layer.digest));
        all.extend(image.config.chain_ids());
        all
    }
}

impl Lease {
    /// Whether this is held.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    pub(crate) fn digests(&self) -> &HashSet<Digest> {
        &self.digests
    }

    /// Who it is, for people.
    pub fn holder(&self) -> String {
        match &self.container {
            Some(container) => format!("container {container}"),
            None => "a pull or import in progress".to_owned(),
        }
    }
}

/// When a process started, in clock ticks since boot (proc_pid_stat(5), field 22).
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}
