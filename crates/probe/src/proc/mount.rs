//! `/proc/PID/mountinfo`: one mount a line, proc_pid_mountinfo(5). Blanks, tabs, newlines and
//! backslashes inside a field are `\ooo`, so a mount point cannot forge a line.

use super::text::{number32, unescape, words};

/// A mount. Fields are as in the file: paths still escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mount<'a> {
    pub(crate) id: u32,
    /// `major:minor` as text.
    pub(crate) dev: &'a [u8],
    /// What of the file system is mounted.
    pub(crate) root: &'a [u8],
    /// Where.
    pub(crate) point: &'a [u8],
    /// Type of the file system.
    pub(crate) fs_type: &'a [u8],
    /// Options of the file system, comma separated.
    pub(crate) options: &'a [u8],
}

impl<'a> Mount<'a> {
    /// Reads a line.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = words(line);
        let id = number32(fields.next()?)?;
        let _parent = fields.next()?;
        let dev = fields.next()?;
        let (root, point, _own_options) = (fields.next()?, fields.next()?, fields.next()?);
        // Optional fields end with a lone "-".
        fields.by_ref().find(|field| *field == b"-")?;
        let (fs_type, _source) = (fields.next()?, fields.next()?);
        Some(Self { id, dev, root, point, fs_type, options: fields.next().unwrap_or_default() })
    }

    /// The mounts of a file.
    pub(crate) fn all(bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        super::text::lines(bytes).filter_map(Self::parse)
    }

    /// The value of `key=` among the options, unescaped; empty for a bare `key`.
    pub(crate) fn option(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.options.split(|byte| *byte == b',').find_map(|option| {
            let rest = option.strip_prefix(key)?;
            match rest.split_first() {
                None => Some(Vec::new()),
                Some((b'=', value)) => Some(unescape(value)),
                Some(_) => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue,name=a\054b,subset=pid";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(
            (mount.id, mount.dev, mount.root, mount.fs_type),
            (36, &b"98:0"[..], &b"/mnt1"[..], &b"ext3"[..])
        );
        assert_eq!(unescape(mount.point), b"/mnt 2");
        assert_eq!(mount.option(b"errors"), Some(b"continue".to_vec()));
        assert_eq!(mount.option(b"name"), Some(b"a,b".to_vec()));
        assert_eq!(mount.option(b"rw"), Some(Vec::new()));
        assert_eq!(mount.option(b"err"), None);
        for cut in ["", "36", "36 35 98:0 / /x rw", "36 35 98:0 / /x rw -", "x 35 98:0 / /x rw - a b c"] {
            assert_eq!(Mount::parse(cut.as_bytes()), None, "{cut:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for mount in Mount::all(&bytes) {
                let _ = mount.option(b"x");
            }
        }
    }
}
