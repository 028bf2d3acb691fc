//! Directories and files of `/proc`, read with reused buffers and no allocation a file.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, Statx, StatxFlags};
use rustix::io::Errno;

use super::text::number32;

/// An open directory. One of a process stays that process's: when it ends, reads fail with
/// `ESRCH` or `ENOENT`, whoever gets its number afterwards.
pub(crate) struct Dir(pub(crate) OwnedFd);

impl Dir {
    /// Opens by path; for reading names when `list`, else only to open what is below it.
    pub(crate) fn open(path: &CStr, list: bool) -> Result<Self, Errno> {
        Self::at(CWD, path, list)
    }

    /// Opens one below this one.
    pub(crate) fn child(&self, name: &CStr, list: bool) -> Result<Self, Errno> {
        Self::at(&self.0, name, list)
    }

    fn at(dir: impl std::os::fd::AsFd, name: &CStr, list: bool) -> Result<Self, Errno> {
        let how = if list { OFlags::RDONLY } else { OFlags::PATH };
        retry(|| rustix::fs::openat(&dir, name, how | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
            .map(Self)
    }

    /// Opens a file for reading.
    pub(crate) fn file(&self, name: &CStr) -> Result<OwnedFd, Errno> {
        retry(|| rustix::fs::openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
    }

    /// Reads a file that the kernel writes in one piece (stat, status, cgroup…) into `buffer`,
    /// whose old contents go: as a rule one read.
    pub(crate) fn piece(&self, name: &CStr, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        read(&self.file(name)?, buffer, true, usize::MAX)
    }

    /// Reads a file to its end, or to `most` bytes, into `buffer`, whose old contents go.
    pub(crate) fn whole(&self, name: &CStr, buffer: &mut Vec<u8>, most: usize) -> Result<(), Errno> {
        read(&self.file(name)?, buffer, false, most)
    }

    /// Reads a file of any size by way of `buffer` and calls `visit` with runs of whole lines.
    pub(crate) fn stream(
        file: &OwnedFd,
        buffer: &mut Vec<u8>,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), Errno> {
        buffer.clear();
        loop {
            if buffer.capacity() - buffer.len() < 4 << 10 {
                buffer.reserve(buffer.len().max(32 << 10));
            }
            let got = retry(|| rustix::io::read(file, spare_capacity(buffer)))?;
            if got == 0 {
                visit(buffer);
                return Ok(());
            }
            if let Some(end) = memchr::memrchr(b'\n', buffer) {
                visit(buffer.get(..=end).unwrap_or_default());
                buffer.drain(..=end);
            }
        }
    }

    /// Reads a link into `buffer`. The kernel gives at most a page (`ENAMETOOLONG` beyond).
    pub(crate) fn link<'a>(&self, name: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        let len = rustix::fs::readlinkat_raw(&self.0, name, &mut *buffer)?;
        Ok(buffer.get(..len).unwrap_or_default())
    }

    /// Facts of what `name` leads to, as they are cached: a network file system is not asked.
    pub(crate) fn stat(&self, name: &CStr) -> Result<Statx, Errno> {
        rustix::fs::statx(&self.0, name, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)
    }

    /// Calls `visit` with each number among the names, until it says `false`.
    pub(crate) fn numbers(&self, mut visit: impl FnMut(u32, &CStr) -> bool) -> Result<(), Errno> {
        let mut buffer = [MaybeUninit::uninit(); 32 << 10];
        let mut entries = RawDir::new(&self.0, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(number) = number32(name.to_bytes())
                && !visit(number, name)
            {
                break;
            }
        }
        Ok(())
    }
}

fn read(file: &OwnedFd, buffer: &mut Vec<u8>, piece: bool, most: usize) -> Result<(), Errno> {
    buffer.clear();
    loop {
        if buffer.capacity() - buffer.len() < 1024 {
            buffer.reserve(buffer.len().max(8 << 10));
        }
        let room = buffer.capacity() - buffer.len();
        let got = retry(|| rustix::io::read(file, spare_capacity(buffer)))?;
        if got == 0 || (piece && got < room) || buffer.len() >= most {
            buffer.truncate(most);
            return Ok(());
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The device of a `statx`, in the kernel's encoding of a record.
pub(crate) const fn device(major: u32, minor: u32) -> u32 {
    (major << 20) | (minor & 0xf_ffff)
}

/// A number as a C string, without allocating.
pub(crate) struct NumberName([u8; 12]);

impl NumberName {
    /// The decimal name of `number`.
    pub(crate) fn new(number: u32) -> Self {
        let mut bytes = [0; 12];
        let mut at = 11;
        let mut rest = number;
        loop {
            at -= 1;
            if let Some(slot) = bytes.get_mut(at) {
                *slot = b'0' + (rest % 10) as u8;
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        bytes.copy_within(at.., 0);
        if let Some(end) = bytes.get_mut(12 - at - 1..) {
            end.fill(0);
        }
        Self(bytes)
    }

    /// It.
    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_numbers() {
        for number in [0, 7, 10, 32768, 4_194_304, u32::MAX] {
            assert_eq!(NumberName::new(number).as_c_str().to_str().unwrap(), number.to_string());
        }
    }

    #[test]
    fn reads_whole_files_of_any_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = std::ffi::CString::new(dir.path().to_str().unwrap()).unwrap();
        let dir_fd = Dir::open(&path, false).unwrap();
        let mut buffer = Vec::new();
        for len in [0usize, 1, 8191, 8192, 8193, 100_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            std::fs::write(dir.path().join("f"), &bytes).unwrap();
            dir_fd.whole(c"f", &mut buffer, usize::MAX).unwrap();
            assert_eq!(buffer, bytes);
            dir_fd.whole(c"f", &mut buffer, 100).unwrap();
            assert_eq!(buffer, bytes[..len.min(100)]);
        }
        assert_eq!(dir_fd.piece(c"none", &mut buffer), Err(Errno::NOENT));
    }
}
