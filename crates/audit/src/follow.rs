//! Audit events from files: read once, all files of a folder, or followed while they grow and are
//! rotated.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It, or its folder, cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The files that a path names: itself, or what is in the folder, oldest first.
///
/// # Errors
/// When the folder cannot be read, or there is nothing of that name.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let about = |source| Error::Open { path: path.to_path_buf(), source };
    let metadata = std::fs::metadata(path).map_err(about)?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(about)? {
        let entry = entry.map_err(about)?;
        // A file may go while the folder is read.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if metadata.is_file() {
            found.push((metadata.mtime(), metadata.mtime_nsec(), entry.path()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(.., path)| path).collect())
}

/// Lines of a file, each bounded.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    limit: usize,
}

impl Lines {
    /// Opens a file; lines longer than `limit` bytes are cut and the rest of them left out.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, limit: usize) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Open { path: path.to_path_buf(), source })?;
        Ok(Self { path: path.to_path_buf(), reader: BufReader::new(file), limit })
    }

    /// The next line that is not empty, without its end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let about = |source| Error::Read { path: self.path.clone(), source };
            let mut line = Vec::new();
            // One byte more than allowed tells a line that is too long.
            let limit = self.limit as u64 + 1;
            if (&mut self.reader).take(limit).read_until(b'\n', &mut line).map_err(about)? == 0 {
                return Ok(None);
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            } else if line.len() > self.limit {
                self.reader.skip_until(b'\n').map_err(about)?;
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

/// A file that grows: whole lines as they come, through rotation by renaming and by truncating.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
    /// What identifies the file that is open.
    identity: (u64, u64),
    offset: u64,
    /// A line that has no end yet.
    partial: Vec<u8>,
    /// The rest of the line is left out: it was too long.
    skipping: bool,
    limit: usize,
    /// Lines that were too long.
    cut: u64,
}

/// Bytes that one look takes at most, so that a large file does not hold up everything else.
const LOOK: u64 = 4 << 20;

impl Follower {
    /// Follows `path` from its present end; it need not be there yet. Lines longer than `limit` bytes
    /// are left out and counted.
    #[must_use]
    pub fn new(path: &Path, limit: usize) -> Self {
        let mut follower = Self {
            path: path.to_path_buf(),
            file: None,
            identity: (0, 0),
            offset: 0,
            partial: Vec::new(),
            skipping: false,
            limit,
            cut: 0,
        };
        follower.open();
        if let Some(metadata) = follower.file.as_ref().and_then(|file| file.metadata().ok()) {
            follower.offset = metadata.len();
        }
        follower
    }

    /// Lines that were too long so far.
    #[must_use]
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    fn open(&mut self) {
        self.file = File::open(&self.path).ok();
        self.offset = 0;
        self.partial.clear();
        self.skipping = false;
        if let Some(metadata) = self.file.as_ref().and_then(|file| file.metadata().ok()) {
            self.identity = (metadata.dev(), metadata.ino());
        }
    }

    /// Gives each line that has come to its end since the last look to `take`. To be called every now
    /// and then: it does not wait.
    ///
    /// # Errors
    /// When the file cannot be read. That it is not there is none.
    pub fn look(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        let named = std::fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if self.file.is_none() {
            if named.is_none() {
                return Ok(());
            }
            self.open();
        }
        // What the old file still got comes before what the new one has.
        let more = self.read(take)?;
        if !more && named.is_some_and(|named| named != self.identity) {
            self.open();
            self.read(take)?;
        }
        Ok(())
    }

    /// Reads on; whether there may be more.
    fn read(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<bool, Error> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let about = |source| Error::Read { path: self.path.clone(), source };
        let len = file.metadata().map_err(about)?.len();
        if len < self.offset {
            self.offset = 0;
            self.partial.clear();
            self.skipping = false;
        }
        if len == self.offset {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(about)?;
        let mut bytes = Vec::new();
        file.take(LOOK).read_to_end(&mut bytes).map_err(about)?;
        self.offset += bytes.len() as u64;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            if !self.skipping {
                self.partial.extend_from_slice(text);
                if self.partial.len() > self.limit {
                    self.skipping = true;
                    self.cut += 1;
                    self.partial.clear();
                }
            }
            if ends {
                if !self.skipping && !self.partial.trim_ascii().is_empty() {
                    take(&self.partial);
                }
                self.partial.clear();
                self.skipping = false;
            }
        }
        Ok(self.offset < len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn looked(follower: &mut Follower) -> Vec<String> {
        let mut lines = Vec::new();
        follower.look(&mut |line| lines.push(String::from_utf8_lossy(line).into_owned())).unwrap();
        lines
    }

    fn append(path: &Path, text: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_growing_file_is_followed_through_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        append(&path, "old\n");
        let mut follower = Follower::new(&path, 10);
        assert!(looked(&mut follower).is_empty());
        append(&path, "a\nb");
        assert_eq!(looked(&mut follower), ["a"]);
        append(&path, "b\n\n");
        assert_eq!(looked(&mut follower), ["bb"]);
        // Renamed: the rest of the old file, then the new one from its beginning.
        append(&path, "last\n");
        std::fs::rename(&path, dir.path().join("audit.log.1")).unwrap();
        append(&path, "first\n");
        assert_eq!(looked(&mut follower), ["last", "first"]);
        // Truncated in place.
        std::fs::write(&path, "c\n").unwrap();
        assert_eq!(looked(&mut follower), ["c"]);
        // Gone, and there again.
        std::fs::remove_file(&path).unwrap();
        assert!(looked(&mut follower).is_empty());
        append(&path, "d\n");
        assert_eq!(looked(&mut follower), ["d"]);
        append(&path, "much too long for this\nshort\n");
        assert_eq!(looked(&mut follower), ["short"]);
        assert_eq!(follower.cut(), 1);
    }

    #[test]
    fn a_folder_is_read_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        for (name, age) in [("b", 20), ("a", 10), ("c", 30)] {
            let path = dir.path().join(name);
            append(&path, name);
            let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        let names: Vec<_> =
            files(dir.path()).unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert!(files(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn long_lines_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        append(&path, "12345\n1234567890\n\nab");
        let mut lines = Lines::open(&path, 5).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.line().unwrap() {
            all.push(line.len());
        }
        assert_eq!(all, [5, 6, 2]);
    }
}
