//! The store: an OCI image layout that is also a cache of unpacked layers.
//!
//! ```text
//! <root>/images/
//!   oci-layout, index.json      every image by name, as the image-spec says: skopeo reads it
//!   blobs/sha256/<hex>          manifests, configs, layers, as they came
//!   ingest/<hex>                blobs that are not complete; kept for resuming; flocked while written
//!   layers/<chain>/fs           a layer unpacked for overlayfs
//!   layers/<chain>/layer.json   what it was made from
//!   leases/<name>.json          who uses what
//!   tmp/                        what is being made
//!   lock                        flocked for as long as index, leases or the set of blobs change
//! ```
//!
//! Nothing appears under its final name before it is complete, verified and on the disk (write, fsync,
//! rename, fsync of the directory). `lock` is never held during a transfer: work in progress is
//! protected by a lease, which its holder keeps flocked, so that one of a killed process is known.

mod blob;
mod collect;
mod layers;
mod lease;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

pub(crate) use blob::Ingest;
pub(crate) use collect::remove_path;
pub use collect::{Pruned, Removed};
pub(crate) use layers::open_directory;
pub use layers::{IdMaps, LeftOut};
pub use lease::Lease;
pub(crate) use lease::Work;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Config, Descriptor, Document, Index, MAX_CONFIG, MAX_MANIFEST, Manifest, OCI_INDEX};

/// The annotation with an image's name.
pub(crate) const NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with its registry and repository, which stays when the name moves on.
pub(crate) const REPOSITORY: &str = "dev.nabe.repository";
/// The annotation with the digest that the registry gave for the name.
pub(crate) const REPO_DIGEST: &str = "dev.nabe.repo-digest";

/// A directory of images, shared with other processes.
#[derive(Clone, Debug)]
pub struct Store {
    base: Arc<PathBuf>,
}

/// An image's id: the digest of its config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId {
    /// The id that people see.
    pub config: Digest,
    /// The manifest by which it was found.
    pub manifest: Digest,
}

/// One image of the store.
#[derive(Clone, Debug)]
pub struct Image {
    store: Store,
    /// Its id.
    pub id: ImageId,
    /// Names, complete.
    pub names: Vec<String>,
    /// `repository@digest`, for those that came from a registry.
    pub repo_digests: Vec<String>,
    /// Repositories that called something else by the name this image had.
    pub former: Vec<String>,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its config.
    pub config: Config,
}

impl Store {
    /// Opens the store below nabe's own directory, which is made when it is not there.
    pub fn open(root: &Path) -> Result<Self> {
        let base = root.join("images");
        for part in ["blobs/sha256", "ingest", "layers", "leases", "tmp"] {
            let path = base.join(part);
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(&path).map_err(Error::file("create", &path))?;
        }
        let store = Self { base: Arc::new(base) };
        let layout = store.path("oci-layout");
        if !layout.exists() {
            store.replace(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(store)
    }

    /// Where nabe keeps things: root's directory, else the user's.
    pub fn default_root() -> PathBuf {
        if rustix::process::geteuid().is_root() && std::env::var_os("NABE_ROOTLESS").is_none() {
            return PathBuf::from("/var/lib/nabe");
        }
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let data = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")));
        data.unwrap_or_else(|| PathBuf::from("/var/tmp")).join("nabe")
    }

    /// The directory of the store.
    pub fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// Locks index, leases and the set of blobs.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.path("lock");
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(Error::file("open", &path))?;
        let locked = loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other,
            }
        };
        locked.map_err(|error| Error::file("lock", &path)(error.into()))?;
        Ok(file)
    }

    /// A new name below tmp/.
    pub(crate) fn temporary(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let unique = format!("{}-{}-{number}", std::process::id(), now.as_nanos());
        self.base.join("tmp").join(unique)
    }

    /// Writes a small file in one step.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.temporary();
        let write = || {
            let mut options = fs::OpenOptions::new();
            let mut file = options.create_new(true).write(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(Error::file("write", path))?;
        sync_directory(path.parent().unwrap_or(&self.base))
    }

    /// index.json; empty when there is none yet.
    pub(crate) fn index(&self) -> Result<Index> {
        let path = self.path("index.json");
        let empty = || Index { schema_version: 2, media_type: Some(OCI_INDEX.into()), manifests: Vec::new() };
        match fs::read(&path) {
            Ok(bytes) => {
                let index = serde_json::from_slice(&bytes);
                index.map_err(|error| Error::document(path.display().to_string(), error))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(empty()),
            Err(error) => Err(Error::file("read", &path)(error)),
        }
    }

    /// Writes index.json; the caller holds the lock.
    pub(crate) fn write_index(&self, index: &Index) -> Result<()> {
        let bytes = serde_json::to_vec(index).map_err(|error| Error::document("index.json", error))?;
        self.replace(&self.path("index.json"), &bytes)
    }

    /// Gives an image a name, which an older image then loses; locks.
    pub(crate) fn name(
        &self,
        manifest: &Descriptor,
        name: Option<&str>,
        repository: Option<&str>,
        repo_digest: Option<&Digest>,
    ) -> Result<()> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        if let Some(name) = name {
            for old in index.manifests.iter_mut().filter(|old| old.annotation(NAME) == Some(name)) {
                if let Some(annotations) = &mut old.annotations {
                    annotations.remove(NAME);
                }
            }
        }
        // A nameless entry of the image that now has a name says nothing more.
        index.manifests.retain(|old| old.digest != manifest.digest || old.annotation(NAME).is_some());
        // Of two nameless entries of one image, one is enough.
        let mut nameless = std::collections::HashSet::new();
        index.manifests.retain(|old| old.annotation(NAME).is_some() || nameless.insert(old.digest));
        let mut entry = manifest.clone();
        let mut annotations = BTreeMap::new();
        let digest = repo_digest.map(Digest::to_string);
        for (key, value) in [(NAME, name), (REPOSITORY, repository), (REPO_DIGEST, digest.as_deref())] {
            if let Some(value) = value {
                annotations.insert(key.to_owned(), value.to_owned());
            }
        }
        entry.annotations = Some(annotations);
        index.manifests.push(entry);
        let named: Vec<Digest> = index
            .manifests
            .iter()
            .filter(|one| one.annotation(NAME).is_some())
            .map(|one| one.digest)
            .collect();
        index.manifests.retain(|one| one.annotation(NAME).is_some() || !named.contains(&one.digest));
        self.write_index(&index)
    }

    /// Reads a document that the store has, and verifies it.
    pub(crate) fn document(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = self.blob(digest);
        let size = fs::metadata(&path).map_err(Error::file("read", &path))?.len();
        if size > limit {
            return Err(Error::Size { what: path.display().to_string(), expected: limit, found: size });
        }
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(Error::Mismatch { what: path.display().to_string(), expected: *digest, found });
        }
        Ok(bytes)
    }

    /// Every image, by its names in order.
    pub fn images(&self) -> Result<Vec<Image>> {
        let index = self.index()?;
        let mut seen: Vec<Digest> = Vec::new();
        let mut images = Vec::new();
        for entry in &index.manifests {
            if !seen.contains(&entry.digest) {
                seen.push(entry.digest);
                images.push(self.load(&entry.digest, &index)?);
            }
        }
        images
            .sort_by(|a, b| (a.names.is_empty(), &a.names, a.id).cmp(&(b.names.is_empty(), &b.names, b.id)));
        Ok(images)
    }

    /// The image of this name, or whose id begins so.
    pub fn resolve(&self, text: &str) -> Result<ImageId> {
        let index = self.index()?;
        let reference = text.parse::<crate::Reference>().ok();
        if let Some(reference) = &reference {
            let name = reference.to_string();
            let named = index.manifests.iter().rev().find(|entry| entry.annotation(NAME) == Some(&name));
            let found = named.or_else(|| {
                let digest = reference.digest()?.to_string();
                let repository = reference.name();
                index.manifests.iter().find(|entry| {
                    let ours =
                        entry.digest.to_string() == digest || entry.annotation(REPO_DIGEST) == Some(&digest);
                    ours && entry.annotation(REPOSITORY) == Some(&repository)
                })
            });
            if let Some(entry) = found {
                return Ok(self.load(&entry.digest, &index)?.id);
            }
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let mut found: Vec<ImageId> = Vec::new();
        if prefix.len() >= 2 && prefix.bytes().all(hex) {
            for image in self.images()? {
                let fits = [image.id.config, image.id.manifest]
                    .iter()
                    .any(|digest| digest.hex().starts_with(prefix));
                if fits && !found.contains(&image.id) {
                    found.push(image.id);
                }
            }
        }
        match found.as_slice() {
            [] if reference.is_none() && prefix.is_empty() => Err(Error::Unknown { name: text.to_owned() }),
            [] => Err(Error::Unknown { name: text.to_owned() }),
            [one] => Ok(*one),
            several => Err(Error::Ambiguous { prefix: text.to_owned(), count: several.len() }),
        }
    }

    /// The image with this id.
    pub fn image(&self, id: &ImageId) -> Result<Image> {
        self.load(&id.manifest, &self.index()?)
    }

    fn load(&self, digest: &Digest, index: &Index) -> Result<Image> {
        let what = digest.to_string();
        let bytes = self.document(digest, MAX_MANIFEST)?;
        let Document::Manifest(manifest) = Document::parse(&what, &bytes, None)? else {
            return Err(Error::document(what, "an index where a manifest must be"));
        };
        let config = Config::parse(&what, &self.document(&manifest.config.digest, MAX_CONFIG)?)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(Error::document(what, "its manifest and its config count layers differently"));
        }
        let entries = || index.manifests.iter().filter(|entry| entry.digest == *digest);
        let texts = |key: &str| -> Vec<String> {
            entries().filter_map(|entry| entry.annotation(key)).map(str::to_owned).collect()
        };
        let mut repo_digests: Vec<String> = entries()
            .filter_map(|entry| {
                Some(format!("{}@{}", entry.annotation(REPOSITORY)?, entry.annotation(REPO_DIGEST)?))
            })
            .collect();
        let (mut names, mut former) = (texts(NAME), texts(REPOSITORY));
        for list in [&mut repo_digests, &mut names, &mut former] {
            list.sort();
            list.dedup();
        }
        if !names.is_empty() {
            former.clear();
        }
        let id = ImageId { config: manifest.config.digest, manifest: *digest };
        Ok(Image { store: self.clone(), id, names, repo_digests, former, manifest, config })
    }
}

impl Image {
    /// Bytes of its layers as they were transferred.
    pub fn packed_size(&self) -> u64 {
        self.manifest.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add)
    }

    /// Layers: descriptor, digest of the archive inside, chain id; lowest first.
    pub fn layers(&self) -> Vec<(&Descriptor, Digest, Digest)> {
        let ids = self.config.rootfs.diff_ids.iter().zip(self.config.chain_ids());
        self.manifest.layers.iter().zip(ids).map(|(layer, (diff, chain))| (layer, *diff, chain)).collect()
    }

    /// What people call it: its first name, else its id.
    pub fn title(&self) -> String {
        self.names.first().cloned().unwrap_or_else(|| self.id.config.short())
    }

    /// What to call it for somebody who asked for `text`: that name, where it is one of its own.
    pub fn title_for(&self, text: &str) -> String {
        let asked = text.parse().map(|reference: crate::Reference| reference.to_string());
        asked.ok().filter(|asked| self.names.contains(asked)).unwrap_or_else(|| self.title())
    }

    /// The store that it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// Makes renames in a directory survive a loss of power.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::file("sync", path))
}

#[cfg(test)]
mod tests;
