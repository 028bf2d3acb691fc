//! What the specimen left: its files by what became of them, with hashes, kept where somebody wants them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nabe_sandbox::Dropped;
use sha2::{Digest as _, Sha256};

use super::yara::Scanner;
use crate::error::{CliError, Result};

/// Files that are told of.
const MAX_FILES: usize = 4096;

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 and size of what is read, which `to` gets, too.
fn digest(mut from: impl Read, mut to: impl Write) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        to.write_all(bytes)?;
        size += bytes.len() as u64;
    }
    Ok((hex(&hash.finalize()), size))
}

/// Gathers what is in the upper layer.
pub struct Gatherer<'a> {
    /// The root as it was before.
    pub before: &'a Path,
    /// Where copies go.
    pub keep: Option<&'a Path>,
    /// YARA.
    pub scanner: &'a Scanner,
    /// What was found.
    pub found: Vec<Dropped>,
    /// Files beyond the limit.
    pub more: u64,
    /// What could not be looked at, and why the first of it could not.
    pub failed: (u64, Option<String>),
}

impl Gatherer<'_> {
    /// Hashes, scans and keeps one file.
    pub fn file(&mut self, file: &Path, shown: String, change: &str, kept: &Path) -> io::Result<()> {
        if self.found.len() >= MAX_FILES {
            self.more += 1;
            return Ok(());
        }
        let source = File::open(file)?;
        let target = match self.keep {
            None => None,
            Some(folder) => {
                let path = folder.join(kept);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                // Nobody is to start it by mistake.
                Some(File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?)
            }
        };
        let (sha256, size) = match &target {
            Some(target) => digest(source, target),
            None => digest(source, io::sink()),
        }?;
        let yara = self.scanner.scan_file(file)?;
        let kept = target.map(|_| kept.to_string_lossy().into_owned());
        self.found.push(Dropped { path: shown, change: change.into(), size, sha256, kept, yara });
        Ok(())
    }

    /// Looks at everything in a folder of the upper layer. What a specimen made so that it cannot be looked
    /// at (paths that are too long, say) is counted: it does not get away with no report.
    pub fn folder(&mut self, upper: &Path) {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(upper.join(&folder)) {
                Ok(entries) => entries,
                Err(error) => {
                    self.fail(&folder, &error);
                    continue;
                }
            };
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            let mut below = Vec::new();
            for name in names {
                let inner = folder.join(name);
                match self.entry(upper, &inner) {
                    Ok(true) => below.push(inner),
                    Ok(false) => {}
                    Err(error) => self.fail(&inner, &error),
                }
            }
            folders.extend(below.into_iter().rev());
        }
        self.found.sort_by(|a, b| a.path.cmp(&b.path));
    }

    fn fail(&mut self, inner: &Path, error: &dyn std::fmt::Display) {
        let (number, first) = &mut self.failed;
        *number += 1;
        first.get_or_insert_with(|| {
            let shown: String = inner.to_string_lossy().chars().take(100).collect();
            format!("/{shown}: {error}")
        });
    }

    /// Looks at one entry; whether it is a folder.
    fn entry(&mut self, upper: &Path, inner: &Path) -> io::Result<bool> {
        let path = upper.join(inner);
        let metadata = fs::symlink_metadata(&path)?;
        let shown = format!("/{}", inner.display());
        let was = fs::symlink_metadata(self.before.join(inner)).is_ok();
        let change = if was { "changed" } else { "created" };
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Ok(true);
        }
        if kind.is_file() {
            let kept = Path::new("files").join(inner);
            self.file(&path, shown, change, &kept)?;
        } else if self.found.len() >= MAX_FILES {
            self.more += 1;
        } else if kind.is_char_device() && metadata.rdev() == 0 {
            self.found.push(Dropped { path: shown, change: "deleted".into(), ..Dropped::default() });
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap_or_default();
            let path = format!("{shown} -> {}", target.display());
            self.found.push(Dropped { path, change: change.into(), ..Dropped::default() });
        } else {
            self.found.push(Dropped { path: shown, change: change.into(), ..Dropped::default() });
        }
        Ok(false)
    }
}

/// SHA-256 and size of a file.
pub fn sum(path: &Path) -> Result<(String, u64)> {
    let file = File::open(path).map_err(|error| CliError::file("read", path, &error))?;
    digest(file, io::sink()).map_err(|error| CliError::file("read", path, &error))
}
