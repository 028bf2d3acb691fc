//! Removing images, and what no image needs any more.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::{NAME, Store};
use crate::apply::remove_tree;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Config, Document, Index, MAX_CONFIG, MAX_MANIFEST};

/// What [`Store::remove`] did.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// Images that are gone.
    pub deleted: Vec<Digest>,
    /// Bytes that are free again.
    pub bytes: u64,
}

/// What [`Store::prune`] did.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// Images that are gone, by name or id.
    pub images: Vec<String>,
    /// Blobs that no image needs.
    pub blobs: u64,
    /// Unpacked layers that no image needs.
    pub layers: u64,
    /// What interrupted work left.
    pub leftovers: u64,
    /// Bytes that are free again.
    pub bytes: u64,
}

impl Store {
    /// Removes a name; with its last name, or by its id, the image. One in use keeps its content until
    /// it is not, unless it would become nameless: that is refused without `force`.
    pub fn remove(&self, text: &str, force: bool) -> Result<Removed> {
        let id = self.resolve(text)?;
        let lock = self.lock()?;
        let mut index = self.index()?;
        let image = self.load(&id.manifest, &index)?;
        let reference = text.parse::<crate::Reference>().ok().map(|reference| reference.to_string());
        let by_name = reference.filter(|name| image.names.contains(name));
        let keeps_name = by_name.is_some() && image.names.len() > 1;
        let mut removed = Removed::default();
        if !keeps_name {
            let leases = self.leases()?;
            let holders: Vec<String> = leases
                .iter()
                .filter(|lease| lease.manifest == Some(id.manifest))
                .map(|lease| lease.holder())
                .collect();
            if !holders.is_empty() && !force {
                return Err(Error::InUse { name: image.title(), holders: holders.join(", ") });
            }
            removed.deleted.push(id.config);
        }
        match &by_name {
            Some(name) if keeps_name => {
                index.manifests.retain(|entry| entry.annotation(NAME) != Some(name));
                removed.untagged.push(name.clone());
            }
            _ => {
                index.manifests.retain(|entry| entry.digest != id.manifest);
                removed.untagged = image.names;
            }
        }
        self.write_index(&index)?;
        removed.bytes = self.sweep(&index, false)?.bytes;
        drop(lock);
        Ok(removed)
    }

    /// Removes images without a name (with `all`, every image that no container uses), and everything
    /// that no image, container or running work needs.
    pub fn prune(&self, all: bool) -> Result<Pruned> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let leases = self.leases()?;
        let mut images = Vec::new();
        index.manifests.retain(|entry| {
            let held = leases.iter().any(|lease| lease.holds(&entry.digest));
            let keep = held || (!all && entry.annotation(NAME).is_some());
            if !keep {
                images.push(entry.annotation(NAME).map_or_else(|| entry.digest.to_string(), str::to_owned));
            }
            keep
        });
        if !images.is_empty() {
            self.write_index(&index)?;
        }
        Ok(Pruned { images, ..self.sweep(&index, true)? })
    }

    /// Removes what nothing reaches. The caller holds the lock.
    fn sweep(&self, index: &Index, leftovers: bool) -> Result<Pruned> {
        let mut used: HashSet<Digest> = HashSet::new();
        for lease in self.leases()? {
            used.extend(lease.digests());
        }
        for entry in &index.manifests {
            self.reach(&entry.digest, &mut used, 0);
            let repo_digest: Option<Digest> =
                entry.annotation(super::REPO_DIGEST).and_then(|digest| digest.parse().ok());
            used.extend(repo_digest);
        }
        let mut pruned = Pruned::default();
        let unused = |name: &str| Digest::from_hex(name).is_some_and(|digest| !used.contains(&digest));
        for (name, path) in self.list("blobs/sha256")? {
            if unused(&name) {
                let size = fs::metadata(&path).map_or(0, |found| found.len());
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
                pruned.blobs += 1;
                pruned.bytes += size;
            }
        }
        for (name, path) in self.list("layers")? {
            if unused(&name) {
                pruned.bytes += self.layer_size(&path);
                // Under its final name it is whole or not there.
                let away = self.temporary();
                fs::rename(&path, &away).map_err(Error::file("rename", &path))?;
                remove_path(&away)?;
                pruned.layers += 1;
            }
        }
        if leftovers {
            self.sweep_leftovers(&used, &mut pruned)?;
        }
        Ok(pruned)
    }

    /// What killed processes left: incomplete blobs and trees.
    fn sweep_leftovers(&self, used: &HashSet<Digest>, pruned: &mut Pruned) -> Result<()> {
        for (name, path) in self.list("ingest")? {
            let digest = Digest::from_hex(&name);
            if digest.is_none_or(|digest| !used.contains(&digest)) {
                let Ok(file) = File::open(&path) else { continue };
                if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    pruned.bytes += file.metadata().map_or(0, |found| found.len());
                    fs::remove_file(&path).map_err(Error::file("remove", &path))?;
                    pruned.leftovers += 1;
                }
            }
        }
        for (name, path) in self.list("tmp")? {
            // Those of running processes are theirs; a pid that is used again only delays.
            let pid = name.split('-').next().unwrap_or_default();
            let ours = pid == std::process::id().to_string();
            if ours || (!pid.is_empty() && Path::new("/proc").join(pid).exists()) {
                continue;
            }
            remove_path(&path)?;
            pruned.leftovers += 1;
        }
        Ok(())
    }

    /// Marks a manifest and what it names. What cannot be read names nothing.
    fn reach(&self, digest: &Digest, used: &mut HashSet<Digest>, depth: u32) {
        if !used.insert(*digest) || depth > 4 {
            return;
        }
        let Ok(bytes) = self.document(digest, MAX_MANIFEST) else { return };
        match Document::parse("", &bytes, None) {
            Ok(Document::Manifest(manifest)) => {
                used.insert(manifest.config.digest);
                used.extend(manifest.layers.iter().map(|layer| layer.digest));
                let config = self.document(&manifest.config.digest, MAX_CONFIG);
                if let Some(config) = config.ok().and_then(|bytes| Config::parse("", &bytes).ok()) {
                    used.extend(config.chain_ids());
                }
            }
            Ok(Document::Index(index)) => {
                index.manifests.iter().for_each(|entry| self.reach(&entry.digest, used, depth + 1));
            }
            Err(_) => {}
        }
    }

    fn list(&self, directory: &str) -> Result<Vec<(String, std::path::PathBuf)>> {
        let directory = self.path(directory);
        let mut all = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Error::file("read", &directory))? {
            let entry = entry.map_err(Error::file("read", &directory))?;
            all.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
        Ok(all)
    }
}

/// Removes a tree of ours.
pub(crate) fn remove_path(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    let remove = || {
        let parent = File::open(parent)?;
        remove_tree(&parent, name.as_encoded_bytes()).map_err(std::io::Error::from)
    };
    remove().map_err(Error::file("remove", path))
}
