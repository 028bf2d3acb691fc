//! Reading archives. They are first unpacked below the store's tmp/, by the same code and rules as
//! layers, and what is named in them is opened below that directory only.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Deserialize;

use crate::apply::{Form, Ownership, Rules, apply, components, from_fault, open_below};
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};
use crate::layer::decoder;
use crate::manifest::{
    Compression, Config, Descriptor, Document, Execution, Index, MAX_CONFIG, MAX_MANIFEST, Manifest,
    OCI_CONFIG, OCI_MANIFEST, Platform, RootFs,
};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::settings::Settings;
use crate::store::{Image, ImageId, NAME, Store, open_directory, remove_path};
use crate::tarball::Archive;

/// Images that one archive may have.
const MAX_IMAGES: usize = 1000;

/// One image of a `docker save` archive.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Takes the images of a file or directory (`-` is stdin) into the store.
///
/// `name` names a root file system, and the image of an archive with only one.
pub fn import(
    store: &Store,
    source: &Path,
    name: Option<&Reference>,
    platform: Option<&Platform>,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Vec<Image>> {
    let platform = platform.cloned().unwrap_or_else(Platform::host);
    let mut import =
        Import { store, name, platform, settings, progress, temporary: Vec::new(), works: Vec::new() };
    let result = import.run(source);
    for path in &import.temporary {
        let _ = remove_path(path);
    }
    result
}

struct Import<'a> {
    store: &'a Store,
    name: Option<&'a Reference>,
    platform: Platform,
    settings: &'a Settings,
    progress: &'a dyn Progress,
    temporary: Vec<PathBuf>,
    works: Vec<crate::store::Work>,
}

/// What an archive turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Docker,
    Layout,
    RootFs,
}

impl Import<'_> {
    fn run(&mut self, source: &Path) -> Result<Vec<Image>> {
        if source.is_dir() {
            if !source.join("index.json").is_file() {
                let reason =
                    "the directory is no OCI layout: no index.json; pack a root file system with tar"
                        .to_owned();
                return Err(Error::Document { what: source.display().to_string(), reason });
            }
            return self.layout(&open_directory(source)?, &source.display().to_string());
        }
        let file = if source == Path::new("-") { self.spool()? } else { source.to_owned() };
        let what = source.display().to_string();
        match self.shape(&file, &what)? {
            Shape::RootFs => self.root_fs(&file, &what),
            shape => {
                let directory = self.extract(&file, &what)?;
                let root = open_directory(&directory)?;
                if shape == Shape::Layout { self.layout(&root, &what) } else { self.docker(&root, &what) }
            }
        }
    }

    /// Stdin as a file: an archive is read twice.
    fn spool(&mut self) -> Result<PathBuf> {
        let path = self.store.temporary();
        self.temporary.push(path.clone());
        let spool = || {
            let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
            std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
            file.flush()
        };
        spool().map_err(Error::file("write", &path))?;
        Ok(path)
    }

    /// Looks at the names in an archive.
    fn shape(&self, file: &Path, what: &str) -> Result<Shape> {
        let mut archive = Archive::new(open_packed(file)?);
        let (mut docker, mut layout, mut entries) = (false, false, 0u64);
        while let Some(entry) = archive.next().map_err(|fault| from_fault(what, fault))? {
            entries += 1;
            if entries > self.settings.limits.entries {
                return Err(Error::Layer {
                    layer: what.to_owned(),
                    reason: "it has too many entries".into(),
                });
            }
            let path = components(&entry.name).unwrap_or_default();
            docker |= path == [b"manifest.json"];
            layout |= path == [b"oci-layout"];
            if layout || (docker && entries > 100) {
                break;
            }
        }
        Ok(match (layout, docker) {
            (true, _) => Shape::Layout,
            (false, true) => Shape::Docker,
            (false, false) if entries == 0 => {
                let reason = "it is empty".to_owned();
                return Err(Error::Layer { layer: what.to_owned(), reason });
            }
            (false, false) => Shape::RootFs,
        })
    }

    fn extract(&mut self, file: &Path, what: &str) -> Result<PathBuf> {
        let path = self.store.temporary();
        fs::create_dir(&path).map_err(Error::file("create", &path))?;
        self.temporary.push(path.clone());
        let root = open_directory(&path)?;
        let rules = Rules {
            layer: what,
            form: Form::Flat,
            ownership: &Ownership::Ours,
            devices: false,
            limits: &self.settings.limits,
        };
        apply(&mut Archive::new(open_packed(file)?), &root, &rules)?;
        Ok(path)
    }

    /// Images of an OCI layout.
    fn layout(&mut self, root: &OwnedFd, what: &str) -> Result<Vec<Image>> {
        let bytes = read(root, "index.json", MAX_MANIFEST, what)?;
        let Document::Index(index) = Document::parse(what, &bytes, None)? else {
            return Err(Error::document(what, "index.json is no index"));
        };
        let mut images = Vec::new();
        let few = index.manifests.len() == 1;
        for entry in index.manifests.iter().take(MAX_IMAGES) {
            images.push(self.layout_image(root, what, entry, few)?);
        }
        if images.is_empty() {
            return Err(Error::document(what, "its index has no images"));
        }
        Ok(images)
    }

    fn layout_image(&mut self, root: &OwnedFd, what: &str, entry: &Descriptor, only: bool) -> Result<Image> {
        let mut chosen = entry.clone();
        for _ in 0..4 {
            let bytes = self.blob(root, what, &chosen, MAX_MANIFEST)?;
            match Document::parse(
                what,
                &bytes,
                Some(chosen.media_type.as_str()).filter(|kind| !kind.is_empty()),
            )? {
                Document::Index(index) => chosen = Index::choose(&index, what, &self.platform)?.clone(),
                Document::Manifest(manifest) => {
                    let named =
                        entry.annotation("io.containerd.image.name").or_else(|| entry.annotation(NAME));
                    let name = self.chosen_name(named, only);
                    return self.take(root, what, &bytes, &manifest, &chosen, name.as_slice());
                }
            }
        }
        Err(Error::document(what, "indexes inside indexes without end"))
    }

    /// The name that the user gave, else the archive's own.
    fn chosen_name(&self, own: Option<&str>, only: bool) -> Vec<Reference> {
        match self.name {
            Some(name) if only => vec![name.clone()],
            _ => own.and_then(|own| own.parse().ok()).into_iter().collect(),
        }
    }

    fn take(
        &mut self,
        root: &OwnedFd,
        what: &str,
        bytes: &[u8],
        manifest: &Manifest,
        descriptor: &Descriptor,
        names: &[Reference],
    ) -> Result<Image> {
        let mut digests = vec![descriptor.digest, manifest.config.digest];
        digests.extend(manifest.layers.iter().map(|layer| layer.digest));
        self.works.push(self.store.work(digests)?);
        self.store.put(bytes)?;
        self.store.put(&self.blob(root, what, &manifest.config, MAX_CONFIG)?)?;
        for layer in &manifest.layers {
            self.progress.planned(&layer.digest, layer.size, self.store.has(layer));
            if let Some(mut ingest) = self.store.ingest(layer)? {
                ingest.restart().map_err(Error::file("write", Path::new(what)))?;
                let path = format!("blobs/sha256/{}", layer.digest.hex());
                let mut file = open(root, &path, what)?;
                let mut buffer = vec![0; 256 << 10];
                loop {
                    let count = file.read(&mut buffer).map_err(Error::file("read", Path::new(&path)))?;
                    if count == 0 {
                        break;
                    }
                    if let Err(error) = ingest.append(buffer.get(..count).unwrap_or_default()) {
                        ingest.discard();
                        return Err(error);
                    }
                }
                if !ingest.is_full() {
                    let found = ingest.written();
                    ingest.discard();
                    return Err(Error::Size {
                        what: format!("blob {}", layer.digest),
                        expected: layer.size,
                        found,
                    });
                }
                ingest.commit()?;
            }
            self.progress.verified(&layer.digest);
        }
        self.finish(descriptor, manifest, names)
    }

    /// Checks the layers by unpacking them, then names the image.
    fn finish(&mut self, descriptor: &Descriptor, manifest: &Manifest, names: &[Reference]) -> Result<Image> {
        let id = ImageId { config: manifest.config.digest, manifest: descriptor.digest };
        let image = self.store.image(&id)?;
        self.works.push(self.store.work(image.config.chain_ids())?);
        image.unpack_layers(self.settings, self.progress)?;
        let media_type = manifest.media_type.clone().unwrap_or_else(|| OCI_MANIFEST.to_owned());
        let entry = Descriptor { media_type, platform: None, annotations: None, ..descriptor.clone() };
        for name in names {
            self.store.name(&entry, Some(&name.to_string()), Some(&name.name()), None)?;
        }
        if names.is_empty() {
            self.store.name(&entry, None, None, None)?;
        }
        self.store.image(&id)
    }

    fn blob(&self, root: &OwnedFd, what: &str, blob: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let bytes = read(root, &format!("blobs/sha256/{}", blob.digest.hex()), limit, what)?;
        let found = Digest::of(&bytes);
        let what = format!("{what}: blob {}", blob.digest);
        if bytes.len() as u64 != blob.size {
            return Err(Error::Size { what, expected: blob.size, found: bytes.len() as u64 });
        }
        if found != blob.digest {
            return Err(Error::Mismatch { what, expected: blob.digest, found });
        }
        Ok(bytes)
    }

    /// Images of a `docker save` archive.
    fn docker(&mut self, root: &OwnedFd, what: &str) -> Result<Vec<Image>> {
        let bytes = read(root, "manifest.json", MAX_MANIFEST, what)?;
        let saved: Vec<Saved> =
            serde_json::from_slice(&bytes).map_err(|error| Error::document(what, error))?;
        let few = saved.len() == 1;
        let mut images = Vec::new();
        for one in saved.into_iter().take(MAX_IMAGES) {
            images.push(self.docker_image(root, what, &one, few)?);
        }
        if images.is_empty() {
            return Err(Error::document(what, "its manifest.json has no images"));
        }
        Ok(images)
    }

    fn docker_image(&mut self, root: &OwnedFd, what: &str, saved: &Saved, only: bool) -> Result<Image> {
        let config_bytes = read(root, &saved.config, MAX_CONFIG, what)?;
        let config = Config::parse(what, &config_bytes)?;
        if config.rootfs.diff_ids.len() != saved.layers.len() {
            return Err(Error::document(what, "its manifest.json and its config count layers differently"));
        }
        let mut layers = Vec::new();
        for (path, diff_id) in saved.layers.iter().zip(&config.rootfs.diff_ids) {
            // Held before it is there: a layer is known by its content only when it is stored.
            self.works.push(self.store.work([*diff_id])?);
            let (digest, size) = self.store.put_stream(path, open(root, path, what)?)?;
            self.works.push(self.store.work([digest])?);
            layers.push(self.layer(digest, size)?);
        }
        let names: Vec<Reference> = match self.name {
            Some(name) if only => vec![name.clone()],
            _ => saved.repo_tags.iter().flatten().filter_map(|tag| tag.parse().ok()).collect(),
        };
        self.make(&config_bytes, layers, &names)
    }

    /// A stored layer's descriptor.
    fn layer(&self, digest: Digest, size: u64) -> Result<Descriptor> {
        let path = self.store.blob(&digest);
        let mut head = [0; 4];
        let file = File::open(&path).map_err(Error::file("open", &path))?;
        // One that is shorter is no archive, which unpacking finds.
        let count = file.take(4).read(&mut head).map_err(Error::file("read", &path))?;
        let media_type = Compression::sniff(head.get(..count).unwrap_or_default()).media_type();
        Ok(Descriptor { media_type, digest, size, platform: None, annotations: None })
    }

    /// Makes a manifest for a config and layers that are stored.
    fn make(&mut self, config: &[u8], layers: Vec<Descriptor>, names: &[Reference]) -> Result<Image> {
        let digest = Digest::of(config);
        let media_type = OCI_CONFIG.to_owned();
        let config_descriptor =
            Descriptor { media_type, digest, size: config.len() as u64, platform: None, annotations: None };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.into()),
            config: config_descriptor,
            layers,
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| Error::document("manifest", error))?;
        let descriptor = Descriptor {
            media_type: OCI_MANIFEST.to_owned(),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            platform: None,
            annotations: None,
        };
        self.works.push(self.store.work([digest, descriptor.digest])?);
        self.store.put(config)?;
        self.store.put(&bytes)?;
        self.finish(&descriptor, &manifest, names)
    }

    /// A root file system becomes the only layer of an image.
    fn root_fs(&mut self, file: &Path, what: &str) -> Result<Vec<Image>> {
        let packed = File::open(file).map_err(Error::file("open", file))?;
        let (digest, size) = self.store.put_stream(what, packed)?;
        self.works.push(self.store.work([digest])?);
        let mut hashing = Hashing::new(open_packed(&self.store.blob(&digest))?);
        let most = self.settings.limits.bytes.saturating_add(1);
        std::io::copy(&mut (&mut hashing).take(most), &mut std::io::sink())
            .map_err(Error::file("read", file))?;
        let (_, diff_id, bytes) = hashing.finish();
        if bytes >= most {
            return Err(Error::Layer {
                layer: what.to_owned(),
                reason: format!("it unpacks to more than {} bytes", most - 1),
            });
        }
        let config = Config {
            created: None,
            architecture: self.platform.architecture.clone(),
            variant: self.platform.variant.clone(),
            os: self.platform.os.clone(),
            config: Some(Execution { cmd: Some(vec!["/bin/sh".into()]), ..Execution::default() }),
            rootfs: RootFs { kind: "layers".into(), diff_ids: vec![diff_id] },
        };
        let config = serde_json::to_vec(&config).map_err(|error| Error::document("config", error))?;
        let layer = self.layer(digest, size)?;
        let names: Vec<Reference> = self.name.cloned().into_iter().collect();
        Ok(vec![self.make(&config, vec![layer], &names)?])
    }
}

fn open_packed(path: &Path) -> Result<Box<dyn Read + Send>> {
    let file = File::open(path).map_err(Error::file("open", path))?;
    Ok(decoder(file).map_err(Error::file("read", path))?.1)
}

/// A regular file below `root`.
fn open(root: &OwnedFd, path: &str, what: &str) -> Result<File> {
    let whole = PathBuf::from(what).join(path);
    let opened = open_below(root, path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK);
    let file = File::from(opened.map_err(|error| Error::file("open", &whole)(error.into()))?);
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err(Error::document(whole.display().to_string(), "no regular file"));
    }
    Ok(file)
}

fn read(root: &OwnedFd, path: &str, limit: u64, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let whole = PathBuf::from(what).join(path);
    open(root, path, what)?.take(limit + 1).read_to_end(&mut bytes).map_err(Error::file("read", &whole))?;
    if bytes.len() as u64 > limit {
        return Err(Error::Size {
            what: whole.display().to_string(),
            expected: limit,
            found: bytes.len() as u64,
        });
    }
    Ok(bytes)
}
