//! Archives as specimens: their files, put into a folder. Names are hostile: nothing is written beside it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use crate::error::{CliError, Result};

/// Bytes that an archive may have when it is unpacked.
const MAX_BYTES: u64 = 1 << 30;

/// Entries that are taken.
const MAX_ENTRIES: usize = 100_000;

/// Whether a file is an archive that [`unpack`] takes.
pub fn is_archive(path: &Path) -> bool {
    let mut head = [0; 512];
    let read = File::open(path).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    let head = head.get(..read).unwrap_or_default();
    head.starts_with(b"PK\x03\x04")
        || head.starts_with(&[0x1f, 0x8b])
        || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || head.get(257..262) == Some(b"ustar")
}

/// Puts the files of an archive into a folder; tells what was left out.
pub fn unpack(path: &Path, into: &Path) -> Result<Vec<String>> {
    let fail = |error: &io::Error| CliError::file("unpack", path, error);
    let mut file = File::open(path).map_err(|error| fail(&error))?;
    let mut head = [0; 4];
    let read = file.read(&mut head).map_err(|error| fail(&error))?;
    let file = File::open(path).map_err(|error| fail(&error))?;
    let mut taker = Taker { into, bytes: 0, entries: 0, notes: Vec::new() };
    let done = match head.get(..read) {
        Some(b"PK\x03\x04") => taker.zip(file),
        Some([0x1f, 0x8b, ..]) => taker.tar(flate2::read::MultiGzDecoder::new(file)),
        Some([0x28, 0xb5, 0x2f, 0xfd]) => zstd::Decoder::new(file).and_then(|decoder| taker.tar(decoder)),
        _ => taker.tar(file),
    };
    done.map_err(|error| fail(&error))?;
    Ok(taker.notes)
}

/// The files of a folder and below it, by their paths in it: those that can be executed first.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(folder.join(&at))? {
            let entry = entry?;
            let (name, metadata) = (at.join(entry.file_name()), entry.metadata()?);
            if metadata.is_dir() {
                folders.push(name);
            } else {
                found.push((metadata.mode() & 0o111 == 0, name));
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

struct Taker<'a> {
    into: &'a Path,
    bytes: u64,
    entries: usize,
    notes: Vec<String>,
}

/// A name below the folder; `None` for one that leads out of it.
fn below(name: &Path) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

impl Taker<'_> {
    fn tar(&mut self, from: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(from);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.into_owned();
            let mode = entry.header().mode().unwrap_or(0o644);
            match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => self.file(&name, mode, &mut entry)?,
                tar::EntryType::Directory => self.folder(&name)?,
                tar::EntryType::XGlobalHeader => {}
                _ => self.leave(&name, "is neither a file nor a folder"),
            }
        }
        Ok(())
    }

    fn zip(&mut self, from: File) -> io::Result<()> {
        let mut archive = zip::ZipArchive::new(from).map_err(io::Error::other)?;
        for at in 0..archive.len() {
            let mut entry = archive.by_index(at).map_err(io::Error::other)?;
            let name = PathBuf::from(entry.name());
            let mode = entry.unix_mode().unwrap_or(0o755);
            if entry.is_dir() {
                self.folder(&name)?;
            } else if entry.is_symlink() {
                self.leave(&name, "is neither a file nor a folder");
            } else {
                self.file(&name, mode, &mut entry)?;
            }
        }
        Ok(())
    }

    fn leave(&mut self, name: &Path, why: &str) {
        if self.notes.len() < 16 {
            self.notes.push(format!("{} of the archive {why}: left out", name.display()));
        }
    }

    fn count(&mut self) -> io::Result<()> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} entries")));
        }
        Ok(())
    }

    fn folder(&mut self, name: &Path) -> io::Result<()> {
        self.count()?;
        match below(name) {
            // No link is ever made there, so no name leads out.
            Some(path) => std::fs::create_dir_all(self.into.join(path)),
            None => Ok(()),
        }
    }

    fn file(&mut self, name: &Path, mode: u32, from: &mut dyn Read) -> io::Result<()> {
        self.count()?;
        let Some(path) = below(name) else {
            self.leave(name, "leads out of it");
            return Ok(());
        };
        let path = self.into.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mode = mode & 0o777;
        let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        let room = MAX_BYTES.saturating_sub(self.bytes);
        let copied = io::copy(&mut from.take(room + 1), &mut to)?;
        self.bytes += copied;
        if copied > room {
            return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes unpacked")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below() {
        for (name, path) in [
            ("a/b", Some("a/b")),
            ("./a", Some("a")),
            ("../a", None),
            ("/etc/passwd", None),
            ("a/../../b", None),
            (".", None),
        ] {
            assert_eq!(below(Path::new(name)), path.map(PathBuf::from), "{name}");
        }
    }

    #[test]
    fn tar_archives_are_unpacked_without_what_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar");
        let mut builder = tar::Builder::new(File::create(&archive).unwrap());
        let mut header = tar::Header::new_ustar();
        header.set_size(2);
        header.set_mode(0o755);
        header.set_cksum();
        builder.append_data(&mut header, "bin/x", &b"hi"[..]).unwrap();
        let mut evil = tar::Header::new_ustar();
        evil.set_size(0);
        evil.as_mut_bytes()[..9].copy_from_slice(b"../../bad");
        evil.set_cksum();
        builder.append(&evil, &b""[..]).unwrap();
        builder.into_inner().unwrap();
        assert!(is_archive(&archive));
        let into = dir.path().join("into");
        std::fs::create_dir(&into).unwrap();
        let notes = unpack(&archive, &into).unwrap();
        assert_eq!(std::fs::read(into.join("bin/x")).unwrap(), b"hi");
        assert_eq!(notes, ["../../bad of the archive leads out of it: left out"]);
        assert!(!dir.path().join("bad").exists());
        std::fs::write(into.join("a.txt"), "").unwrap();
        assert_eq!(files(&into).unwrap(), [PathBuf::from("bin/x"), PathBuf::from("a.txt")]);
    }
}
