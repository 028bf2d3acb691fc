//! Blobs: complete ones by digest, incomplete ones waiting to be resumed.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use super::{Store, sync_directory};
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};
use crate::manifest::Descriptor;

/// A blob on its way in. Only one process writes a blob at a time; the others wait and find it there.
#[derive(Debug)]
pub(crate) struct Ingest {
    store: Store,
    path: PathBuf,
    digest: Digest,
    size: u64,
    file: File,
    hash: Sha256,
    written: u64,
}

impl Store {
    /// Where a blob is, or would be.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.path("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob is there whole.
    pub(crate) fn has(&self, descriptor: &Descriptor) -> bool {
        fs::metadata(self.blob(&descriptor.digest))
            .is_ok_and(|found| found.is_file() && found.len() == descriptor.size)
    }

    /// Begins or resumes a blob; `None` when it is there, perhaps because we waited for another process.
    pub(crate) fn ingest(&self, descriptor: &Descriptor) -> Result<Option<Ingest>> {
        let path = self.path("ingest").join(descriptor.digest.hex());
        loop {
            if self.has(descriptor) {
                return Ok(None);
            }
            let mut options = fs::OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).mode(0o600);
            let file = options.open(&path).map_err(Error::file("open", &path))?;
            flock(&file, FlockOperation::LockExclusive)
                .map_err(|error| Error::file("lock", &path)(error.into()))?;
            // While we waited it may have become the blob, or have been thrown away.
            let ours = file.metadata().map_err(Error::file("read", &path))?;
            let current =
                fs::metadata(&path).is_ok_and(|now| now.ino() == ours.ino() && now.dev() == ours.dev());
            if !current || self.has(descriptor) {
                continue;
            }
            let mut ingest = Ingest {
                store: self.clone(),
                path,
                digest: descriptor.digest,
                size: descriptor.size,
                file,
                hash: Sha256::new(),
                written: 0,
            };
            ingest.catch_up().map_err(Error::file("read", &ingest.path))?;
            return Ok(Some(ingest));
        }
    }

    /// Stores a small document.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let size = bytes.len() as u64;
        let descriptor =
            Descriptor { media_type: String::new(), digest, size, platform: None, annotations: None };
        if !self.has(&descriptor) {
            self.replace(&self.blob(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// Stores what a reader gives; its digest and length are not known before.
    pub(crate) fn put_stream(&self, what: &str, reader: impl Read) -> Result<(Digest, u64)> {
        let temporary = self.temporary();
        let result = (|| {
            let mut options = fs::OpenOptions::new();
            let file = options.create_new(true).write(true).mode(0o600).open(&temporary)?;
            let mut reader = Hashing::new(reader);
            let mut writer = io::BufWriter::with_capacity(256 << 10, file);
            io::copy(&mut reader, &mut writer)?;
            writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            let (_, digest, bytes) = reader.finish();
            fs::rename(&temporary, self.blob(&digest))?;
            Ok((digest, bytes))
        })();
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        let path = PathBuf::from(what);
        let done = result.map_err(Error::file("store", &path))?;
        sync_directory(&self.path("blobs/sha256"))?;
        Ok(done)
    }
}

impl Ingest {
    /// Hashes what an earlier attempt left.
    fn catch_up(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let length = self.file.metadata()?.len();
        if length > self.size {
            return self.restart();
        }
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(()),
                count => {
                    self.hash.update(buffer.get(..count).unwrap_or_default());
                    self.written += count as u64;
                }
            }
        }
    }

    /// How many bytes are there.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether all bytes are there.
    pub(crate) fn is_full(&self) -> bool {
        self.written == self.size
    }

    /// Forgets what is there.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.hash, self.written) = (Sha256::new(), 0);
        Ok(())
    }

    /// Appends; more than the blob's size is refused.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let found = self.written.saturating_add(bytes.len() as u64);
        if found > self.size {
            return Err(Error::Size { what: format!("blob {}", self.digest), expected: self.size, found });
        }
        self.file.write_all(bytes).map_err(Error::file("write", &self.path))?;
        self.hash.update(bytes);
        self.written = found;
        Ok(())
    }

    /// Verifies and gives it its final name. What is wrong is thrown away, so that it is not resumed.
    pub(crate) fn commit(self) -> Result<()> {
        let what = format!("blob {}", self.digest);
        if !self.is_full() {
            return Err(Error::Size { what, expected: self.size, found: self.written });
        }
        let found = Digest(self.hash.finalize().into());
        if found != self.digest {
            let _ = fs::remove_file(&self.path);
            return Err(Error::Mismatch { what, expected: self.digest, found });
        }
        self.file.sync_all().map_err(Error::file("sync", &self.path))?;
        let path = self.store.blob(&self.digest);
        fs::rename(&self.path, &path).map_err(Error::file("rename", &self.path))?;
        sync_directory(&self.store.path("blobs/sha256"))
    }

    /// Throws it away.
    pub(crate) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}
