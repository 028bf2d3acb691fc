//! Writable layers of overlay mounts, from `/proc/self/mountinfo`.

use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::file;
use crate::{Config, Metadata};

/// Fills in the writable layer of containers whose root file system is a mounted
/// overlay that their engine's files do not describe (containerd's snapshots).
pub(crate) fn add_upper_dirs<'a>(config: &Config, found: impl Iterator<Item = &'a mut Metadata>) {
    let missing: Vec<&mut Metadata> =
        found.filter(|meta| meta.upper_dir.is_none() && meta.rootfs.is_some()).collect();
    if missing.is_empty() {
        return;
    }
    let mounts = file::read(&config.at("/proc/self/mountinfo")).unwrap_or_default();
    let layers = upper_dirs(&mounts);
    for meta in missing {
        meta.upper_dir = meta.rootfs.as_ref().and_then(|path| layers.get(path)).cloned();
    }
}

/// Mount points of overlays and their `upperdir`.
fn upper_dirs(mountinfo: &[u8]) -> HashMap<PathBuf, PathBuf> {
    mountinfo.split(|b| *b == b'\n').filter_map(overlay).collect()
}

/// `id parent dev root POINT options … - overlay source …,upperdir=PATH,…`.
fn overlay(line: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let mut fields = line.split(|b| *b == b' ');
    let point = fields.nth(4)?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    if fields.next()? != b"overlay" {
        return None;
    }
    let options = fields.nth(1)?;
    let upper = options.split(|b| *b == b',').find_map(|option| option.strip_prefix(b"upperdir="))?;
    Some((unescape(point), unescape(upper)))
}

/// The kernel writes space, tab, newline, backslash and comma as `\ooo`.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|digits| first == b'\\' && digits.iter().all(|b| (b'0'..=b'7').contains(b)))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (octal, tail.get(3..)) {
            (Some(byte), Some(after)) => {
                out.push(byte);
                rest = after;
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_are_read() {
        let text = b"29 1 254:0 / / rw - ext4 /dev/vda rw\n\
            61 29 0:52 / /run/a\\040b/rootfs rw,relatime shared:9 - overlay overlay rw,lowerdir=/l1:/l2,upperdir=/u\\040x/fs,workdir=/w\n\
            62 29 0:53 / /ro rw - overlay overlay ro,lowerdir=/l1:/l2\n\
            63 29\n\n";
        let found = upper_dirs(text);
        let expect = (PathBuf::from("/run/a b/rootfs"), PathBuf::from("/u x/fs"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [expect]);
    }
}
