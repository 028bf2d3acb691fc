//! Which layer of an overlay an executable lies in.
//!
//! The kernel does not tell through `/proc`, so the upper directory is taken from the mount's
//! options and looked into. That works from the mount namespace in which the overlay was mounted
//! (the host, as a rule); from elsewhere the answer is "not known".

use std::ffi::CString;

use nabe_event::record::exe;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::Reader;
use super::dir::Dir;
use super::mount::Mount;
use super::text::unescape;

/// include/uapi/linux/magic.h.
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

impl Reader<'_> {
    /// `exe::UPPER`, `exe::LOWER`, or 0 for a file on no overlay; `None` when it is not known.
    pub(super) fn layer(&mut self, dir: &Dir, path: &[u8], dev: u32) -> Option<u32> {
        if self.plain_devs.contains(&dev) {
            return Some(0);
        }
        let how = OFlags::PATH | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir.0, c"exe", how, Mode::empty()).ok()?;
        let magic = rustix::fs::fstatfs(&file).ok()?.f_type as u64;
        if magic != OVERLAYFS_MAGIC {
            self.plain_devs.push(dev);
            return Some(0);
        }
        dir.whole(c"mountinfo", &mut self.text, 16 << 20).ok()?;
        let (upper, below) = upper_path(&self.text, path)?;
        let Some(upper) = upper else { return Some(exe::LOWER) };
        let mode = |path: Vec<u8>| {
            let path = CString::new(path).map_err(|_| Errno::INVAL)?;
            let stat = rustix::fs::statx(CWD, &path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)?;
            Ok(FileType::from_raw_mode(stat.stx_mode.into()))
        };
        // The directory itself must be there, or the path is of another mount namespace.
        if mode(upper.clone()).ok()? != FileType::Directory {
            return None;
        }
        match mode([&upper[..], &below[..]].concat()) {
            Ok(FileType::RegularFile) => Some(exe::UPPER),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Some(exe::LOWER),
            Err::<_, Errno>(_) => None,
        }
    }
}

/// The upper directory of the overlay that `path` lies on (`None` inside: it is read-only), and the
/// path below it. The last mount with the longest mount point is the one on top.
fn upper_path(mountinfo: &[u8], path: &[u8]) -> Option<(Option<Vec<u8>>, Vec<u8>)> {
    let mut best: Option<(usize, Mount<'_>)> = None;
    for mount in Mount::all(mountinfo) {
        let point = unescape(mount.point);
        let holds = point == b"/" || path.strip_prefix(&point[..]).is_some_and(|rest| rest.starts_with(b"/"));
        let len = if point == b"/" { 0 } else { point.len() };
        if holds && best.is_none_or(|(longest, _)| len >= longest) {
            best = Some((len, mount));
        }
    }
    let (len, mount) = best.filter(|(_, mount)| mount.fs_type == b"overlay")?;
    let root = unescape(mount.root);
    let root = if root == b"/" { &[][..] } else { &root[..] };
    let below = [root, path.get(len..)?].concat();
    // Overlayfs has its own backslashes in front of commas and colons, inside the kernel's.
    let upper = mount.option(b"upperdir").map(|escaped| {
        let mut plain = Vec::with_capacity(escaped.len());
        let mut bytes = escaped.into_iter();
        while let Some(byte) = bytes.next() {
            plain.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
        }
        plain
    });
    Some((upper, below))
}

/// What [`upper_path`] understands of any bytes, for fuzzing.
pub(super) fn count(bytes: &[u8]) -> usize {
    usize::from(upper_path(bytes, bytes).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_on_top_decides() {
        let info = b"1 0 0:40 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/u\\134:1,workdir=/w\n\
            2 1 8:1 /x /data rw - ext4 /dev/sda1 rw\n\
            3 1 0:41 /sub /opt rw - overlay overlay ro,lowerdir=/l\n";
        let check = |path: &[u8], want| assert_eq!(upper_path(info, path), want);
        check(b"/bin/sh", Some((Some(b"/u:1".to_vec()), b"/bin/sh".to_vec())));
        check(b"/database", Some((Some(b"/u:1".to_vec()), b"/database".to_vec())));
        check(b"/data/sh", None);
        check(b"/opt/sh", Some((None, b"/sub/sh".to_vec())));
    }
}
