//! Reading files that others write: bounded, never blocking, never following a
//! last symbolic link.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The largest state file that is read.
pub(crate) const MAX_FILE: usize = 64 << 20;

/// Opens a regular file. A FIFO or device put in its place is refused without
/// blocking, a symbolic link too.
pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    open_sized(path).map(|(file, _)| file)
}

fn open_sized(path: &Path) -> std::io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    }
    Ok((file, meta.len()))
}

/// Reads a whole regular file of at most [`MAX_FILE`] bytes.
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let (file, len) = open_sized(path)?;
    let too_large = || std::io::Error::from(std::io::ErrorKind::FileTooLarge);
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_FILE).ok_or_else(too_large)?;
    // Files in /proc have no length; a page holds nearly all that is read there.
    let mut bytes = vec![0u8; if len == 0 { 4096 } else { len + 1 }];
    let mut filled = 0;
    loop {
        let Some(rest) = bytes.get_mut(filled..) else { return Err(too_large()) };
        match rustix::io::read(&file, rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        // A file that is as long as it said is at its end.
        if len > 0 && filled == len {
            break;
        }
        if filled == bytes.len() {
            if filled > MAX_FILE {
                return Err(too_large());
            }
            bytes.resize(filled * 2, 0);
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reads and parses a JSON file; what is missing or broken is `None`.
pub(crate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&read(path).ok()?).ok()
}
