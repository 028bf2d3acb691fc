//! Relocated programs on disk: libbpf's 20 to 40 ms are spent once per kernel.
//!
//! A file in a directory of ours: `nabeBPF1`, `u32` length and the key (embedded object, kernel
//! build and release, architecture), `u64` FNV-1a of the payload, the payload (`object`). Both are
//! taken only when they belong to the effective user and nobody else may write to them; whatever is
//! wrong with them, the answer is "not there".

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process;

use super::object::{Embedded, Relocated};
use super::{Error, sys};

const MAGIC: &[u8; 8] = b"nabeBPF1";
/// More than any file that we write.
const MOST: u64 = 4 << 20;

/// What a file must have been made for.
pub(crate) fn key(object: &Embedded) -> Vec<u8> {
    let mut key = Vec::with_capacity(512);
    key.extend_from_slice(object.hash.as_bytes());
    key.extend_from_slice(std::env::consts::ARCH.as_bytes());
    for path in ["/proc/sys/kernel/osrelease", "/proc/sys/kernel/version", "/sys/kernel/notes"] {
        let bytes = fs::read(path).unwrap_or_default();
        key.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        key.extend_from_slice(&bytes);
    }
    key
}

/// Belongs to us and nobody else may write to it.
fn ours(meta: &fs::Metadata) -> bool {
    meta.uid() == sys::effective_uid() && meta.mode() & 0o022 == 0
}

/// What was kept for `key`.
pub(crate) fn load(directory: &Path, file: &str, key: &[u8]) -> Option<Relocated> {
    let meta = fs::symlink_metadata(directory).ok()?;
    if !meta.is_dir() || !ours(&meta) {
        return None;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(directory.join(file))
        .ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || !ours(&meta) || meta.len() > MOST {
        return None;
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize + 1);
    (&mut file).take(MOST).read_to_end(&mut bytes).ok()?;
    parse(&bytes, key)
}

/// An object's programs, kept or else relocated now and kept; whether they were kept.
pub(crate) fn relocated(object: &Embedded, directory: Option<&Path>) -> Result<(Relocated, bool), Error> {
    let key = directory.map(|_| key(object));
    let place = directory.zip(key.as_deref());
    if let Some(kept) = place.and_then(|(directory, key)| load(directory, object.file, key)) {
        return Ok((kept, true));
    }
    let relocated = Relocated::from_kernel(object)?;
    if let Some((directory, key)) = place {
        // Without a cache the next start is slower, no more.
        let _ = store(directory, object.file, key, &relocated);
    }
    Ok((relocated, false))
}

/// Keeps `relocated` for `key`.
pub(crate) fn store(directory: &Path, file: &str, key: &[u8], relocated: &Relocated) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let meta = fs::symlink_metadata(directory)?;
    if !meta.is_dir() || !ours(&meta) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let fresh = directory.join(format!("{file}.{}", process::id()));
    let written = write(&fresh, &compose(key, &relocated.to_bytes()))
        .and_then(|()| fs::rename(&fresh, directory.join(file)));
    if written.is_err() {
        // A half-written file is of no use; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

fn compose(key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&fnv(payload).to_le_bytes());
    out.extend_from_slice(payload);
    out
}

fn parse(bytes: &[u8], key: &[u8]) -> Option<Relocated> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (len, rest) = rest.split_first_chunk()?;
    let (kept, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let (sum, payload) = rest.split_first_chunk()?;
    if kept != key || u64::from_le_bytes(*sum) != fnv(payload) {
        return None;
    }
    Relocated::from_bytes(payload)
}

/// FNV-1a over 8 bytes at a time: against accidents, not against enemies.
fn fnv(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| step(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| step(hash, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::super::object::{Map, Program};
    use super::*;

    fn sample() -> Relocated {
        Relocated {
            walks_one_task: true,
            maps: vec![Map {
                name: ".rodata".to_owned(),
                kind: 2,
                key_size: 4,
                value_size: 8,
                max_entries: 1,
                flags: 128,
                initial: vec![1, 2, 3],
            }],
            programs: vec![Program {
                name: "nabe_task".to_owned(),
                attach_btf_id: 7,
                attach_type: 28,
                sleepable: false,
                instructions: vec![[0x18, 1, 0, 0, 0, 0, 0, 0], [0; 8]],
                references: vec![(0, 0)],
            }],
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let bytes = compose(b"key", &sample().to_bytes());
        assert_eq!(parse(&bytes, b"key"), Some(sample()));
        assert_eq!(parse(&bytes, b"other"), None);
    }

    #[test]
    fn no_damage_is_taken_for_whole() {
        let bytes = compose(b"key", &sample().to_bytes());
        for at in 0..bytes.len() {
            assert_eq!(parse(&bytes[..at], b"key"), None, "cut at {at}");
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert_eq!(parse(&damaged, b"key"), None, "byte {at}");
        }
    }

    #[test]
    fn hostile_payloads_do_not_panic() {
        let whole = sample().to_bytes();
        for at in 0..whole.len() {
            let _ = Relocated::from_bytes(&whole[..at]);
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            let _ = Relocated::from_bytes(&damaged);
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_not_taken() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = std::env::temp_dir().join(format!("nabe-cache-{}", process::id()));
        store(&directory, "file", b"key", &sample()).unwrap();
        assert_eq!(load(&directory, "file", b"key"), Some(sample()));
        let file = directory.join("file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o622)).unwrap();
        assert_eq!(load(&directory, "file", b"key"), None);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(load(&directory, "file", b"key"), None);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(load(&directory, "file", b"key"), Some(sample()));
        fs::remove_dir_all(&directory).unwrap();
    }
}
