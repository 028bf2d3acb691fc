//! Writing archives and layouts.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::apply::read_xattrs;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::decoder;
use crate::manifest::{Descriptor, OCI_INDEX, OCI_MANIFEST};
use crate::settings::Settings;
use crate::store::{Image, NAME, Store, remove_path};
use crate::tarball::{Entry, Kind, Writer};

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// What `docker save` writes and `docker load` reads.
    #[default]
    Docker,
    /// An OCI layout in a tar archive.
    Oci,
    /// An OCI layout as a directory.
    OciDirectory,
    /// The files of a container made from the image, as `docker export` gives them.
    RootFs,
}

/// Writes an image. The same image gives the same bytes.
pub fn export(image: &Image, format: Format, out: &mut dyn Write, settings: &Settings) -> Result<()> {
    match format {
        Format::Docker => docker(image, out),
        Format::Oci => oci(image, out),
        Format::RootFs => root_fs(image, out, settings),
        Format::OciDirectory => {
            let reason = "a directory is not written to a stream".to_owned();
            Err(Error::Setting { key: "format".into(), reason })
        }
    }
}

impl Image {
    /// Writes an OCI layout to a directory, which must not exist or be empty.
    pub fn export_layout(&self, target: &Path) -> Result<()> {
        if fs::read_dir(target).is_ok_and(|mut inside| inside.next().is_some()) {
            return Err(Error::file("write to", target)(io::ErrorKind::DirectoryNotEmpty.into()));
        }
        let blobs = target.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(Error::file("create", &blobs))?;
        for blob in blobs_of(self) {
            let path = blobs.join(blob.digest.hex());
            fs::copy(self.store().blob(&blob.digest), &path).map_err(Error::file("write", &path))?;
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
                .map_err(Error::file("change", &path))?;
        }
        for (name, bytes) in layout_files(self)? {
            let path = target.join(name);
            fs::write(&path, bytes).map_err(Error::file("write", &path))?;
        }
        Ok(())
    }
}

/// Manifest, config and layers, each once.
fn blobs_of(image: &Image) -> Vec<Descriptor> {
    let mut all: Vec<Descriptor> = vec![manifest_of(image), image.manifest.config.clone()];
    for layer in &image.manifest.layers {
        if !all.iter().any(|known| known.digest == layer.digest) {
            all.push(layer.clone());
        }
    }
    all
}

fn manifest_of(image: &Image) -> Descriptor {
    let size = fs::metadata(image.store().blob(&image.id.manifest)).map_or(0, |found| found.len());
    let media_type = image.manifest.media_type.clone().unwrap_or_else(|| OCI_MANIFEST.to_owned());
    Descriptor { media_type, digest: image.id.manifest, size, platform: None, annotations: None }
}

fn layout_files(image: &Image) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let manifest = manifest_of(image);
    let entry = |name: Option<&String>| {
        let mut entry = manifest.clone();
        // skopeo and podman look for the tag, containerd for the whole name.
        entry.annotations = name.map(|name| {
            let whole = ("io.containerd.image.name".to_owned(), name.clone());
            [(NAME.to_owned(), name.clone()), whole].into()
        });
        entry
    };
    let mut entries: Vec<Descriptor> = image.names.iter().map(|name| entry(Some(name))).collect();
    if entries.is_empty() {
        entries.push(entry(None));
    }
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    let index = serde_json::to_vec(&index).map_err(|error| Error::document("index.json", error))?;
    Ok(vec![("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()), ("index.json", index)])
}

fn written(result: io::Result<()>) -> Result<()> {
    result.map_err(Error::file("write", Path::new("the archive")))
}

fn oci(image: &Image, out: &mut dyn Write) -> Result<()> {
    let mut writer = Writer::new(out);
    for (name, bytes) in layout_files(image)? {
        written(writer.file(name, bytes.len() as u64, bytes.as_slice()))?;
    }
    for blob in blobs_of(image) {
        let path = image.store().blob(&blob.digest);
        let file = File::open(&path).map_err(Error::file("open", &path))?;
        let size = file.metadata().map_err(Error::file("read", &path))?.len();
        written(writer.file(&format!("blobs/sha256/{}", blob.digest.hex()), size, file))?;
    }
    written(writer.finish().map(drop))
}

fn docker(image: &Image, out: &mut dyn Write) -> Result<()> {
    let mut writer = Writer::new(out);
    let config = image.store().document(&image.id.config, crate::manifest::MAX_CONFIG)?;
    let config_name = format!("{}.json", image.id.config.hex());
    written(writer.file(&config_name, config.len() as u64, config.as_slice()))?;
    let mut names = Vec::new();
    for (layer, diff_id, _) in image.layers() {
        let name = format!("{}.tar", diff_id.hex());
        if !names.contains(&name) {
            let unpacked = Unpacked::of(image.store(), layer, &diff_id)?;
            let file = File::open(&unpacked.0).map_err(Error::file("open", &unpacked.0))?;
            let size = file.metadata().map_err(Error::file("read", &unpacked.0))?.len();
            written(writer.file(&name, size, file))?;
        }
        names.push(name);
    }
    let tags: Vec<String> =
        image.names.iter().filter(|name| !name.contains('@')).map(|name| familiar(name)).collect();
    let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": names }]);
    let manifest = serde_json::to_vec(&manifest).map_err(|error| Error::document("manifest.json", error))?;
    written(writer.file("manifest.json", manifest.len() as u64, manifest.as_slice()))?;
    written(writer.finish().map(drop))
}

/// `docker.io/library/x:t` as Docker writes it.
fn familiar(name: &str) -> String {
    match name.parse::<crate::Reference>() {
        Ok(reference) if reference.registry() == crate::DEFAULT_REGISTRY => {
            format!("{}:{}", reference.familiar_name(), reference.tag().unwrap_or("latest"))
        }
        _ => name.to_owned(),
    }
}

/// A layer's plain tar in a file that goes with us: `docker save` archives hold layers unpacked.
struct Unpacked(PathBuf);

impl Unpacked {
    fn of(store: &Store, layer: &Descriptor, diff_id: &Digest) -> Result<Self> {
        let path = store.blob(&layer.digest);
        let unpacked = Self(store.temporary());
        let packed = File::open(&path).map_err(Error::file("open", &path))?;
        let write = || {
            let mut reader = crate::digest::Hashing::new(decoder(packed)?.1);
            let mut file =
                fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unpacked.0)?;
            io::copy(&mut reader, &mut file)?;
            Ok(reader.finish().1)
        };
        let found = write().map_err(Error::file("unpack", &path))?;
        if found != *diff_id {
            let what = format!("layer {} unpacked", layer.digest);
            return Err(Error::Mismatch { what, expected: *diff_id, found });
        }
        Ok(unpacked)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Unpacks the image and packs the tree as one archive.
fn root_fs(image: &Image, out: &mut dyn Write, settings: &Settings) -> Result<()> {
    let tree = image.store().temporary();
    let result = (|| {
        image.unpack(&tree, settings, &None)?;
        let mut walk = Walk {
            writer: Writer::new(io::BufWriter::with_capacity(256 << 10, out)),
            linked: HashMap::new(),
        };
        walk.directory(&tree, b"")?;
        written(walk.writer.finish().and_then(|mut out| out.flush()))
    })();
    if tree.exists() {
        let _ = remove_path(&tree);
    }
    result
}

struct Walk<W: Write> {
    writer: Writer<W>,
    /// Files with several names that were written, by inode.
    linked: HashMap<u64, Vec<u8>>,
}

impl<W: Write> Walk<W> {
    fn directory(&mut self, path: &Path, name: &[u8]) -> Result<()> {
        self.one(path, if name.is_empty() { b"./" } else { name })?;
        let mut inside: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(path).map_err(Error::file("read", path))? {
            inside.push(entry.map_err(Error::file("read", path))?.path());
        }
        inside.sort();
        for child in inside {
            let base = child.file_name().unwrap_or_default().as_bytes();
            let kind = fs::symlink_metadata(&child).map_err(Error::file("read", &child))?;
            if kind.is_dir() {
                self.directory(&child, &[name, base, b"/"].concat())?;
            } else {
                self.one(&child, &[name, base].concat())?;
            }
        }
        Ok(())
    }

    fn one(&mut self, path: &Path, name: &[u8]) -> Result<()> {
        let read = Error::file("read", path);
        let found = fs::symlink_metadata(path).map_err(Error::file("read", path))?;
        let kind = found.file_type();
        let mut entry = Entry {
            name: name.to_vec(),
            kind: Kind::File,
            mode: found.mode() & 0o7777,
            uid: found.uid().into(),
            gid: found.gid().into(),
            mtime: (found.mtime(), found.mtime_nsec().try_into().unwrap_or_default()),
            size: 0,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            pieces: None,
        };
        if kind.is_socket() {
            return Ok(());
        }
        if kind.is_symlink() {
            entry.kind = Kind::Symlink;
            entry.link = fs::read_link(path).map_err(read)?.into_os_string().into_encoded_bytes();
        } else if kind.is_block_device() || kind.is_char_device() {
            entry.kind = if kind.is_block_device() { Kind::Block } else { Kind::Char };
            entry.device = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        } else if kind.is_fifo() {
            entry.kind = Kind::Fifo;
        }
        if found.nlink() > 1 && !kind.is_dir() {
            if let Some(first) = self.linked.get(&found.ino()) {
                (entry.kind, entry.link) = (Kind::HardLink, first.clone());
                return written(self.writer.entry(&entry, io::empty()));
            }
            self.linked.insert(found.ino(), name.to_vec());
        }
        if !kind.is_file() && !kind.is_dir() {
            return written(self.writer.entry(&entry, io::empty()));
        }
        let file = File::open(path).map_err(Error::file("open", path))?;
        entry.xattrs = read_xattrs(&file).map_err(|error| Error::file("read", path)(error.into()))?;
        if kind.is_dir() {
            entry.kind = Kind::Directory;
            return written(self.writer.entry(&entry, io::empty()));
        }
        entry.size = found.size();
        written(self.writer.entry(&entry, file))
    }
}
