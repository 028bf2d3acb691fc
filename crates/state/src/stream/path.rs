//! Paths as programs give them made absolute.

/// `path` seen from the directory `base` (which ends with `/`), without `.`, `..` and doubled slashes.
#[must_use]
pub(crate) fn join(base: &[u8], path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(base.len() + path.len() + 1);
    if path.first().is_some_and(|first| *first != b'/') {
        out.extend_from_slice(base);
    }
    let mut rest = path;
    loop {
        match rest {
            [] => {
                // No slash at the end, but the root's.
                if out.len() > 1 && out.last() == Some(&b'/') {
                    out.pop();
                }
                return out;
            }
            [b'.', b'.', b'/', after @ ..] => {
                rewind(&mut out);
                rest = after;
            }
            [b'.', b'.'] => {
                rewind(&mut out);
                rest = &[];
            }
            [b'.', b'.', after @ ..] => {
                out.extend_from_slice(b"..");
                rest = after;
            }
            [b'.', b'/', after @ ..] => rest = after,
            [b'.'] => rest = &[],
            [b'/', after @ ..] if out.last() == Some(&b'/') => rest = after,
            [byte, after @ ..] => {
                out.push(if is_printable(*byte) { *byte } else { b'.' });
                rest = after;
            }
        }
    }
}

/// Takes the last component away.
fn rewind(out: &mut Vec<u8>) {
    if out.is_empty() {
        return;
    }
    let is_absolute = out.first() == Some(&b'/');
    // The slash behind it, then up to the one before it.
    out.pop();
    while out.last().is_some_and(|last| *last != b'/') {
        out.pop();
    }
    // Nothing is above the root; what is above a directory that is not known is not known either.
    if out.is_empty() && is_absolute {
        out.push(b'/');
    }
}

/// What sysdig leaves as it is in names: bytes above 127 are kept, control characters are not.
pub(crate) fn is_printable(byte: u8) -> bool {
    !(byte < 0x20 || byte == 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute() {
        for (base, path, whole) in [
            ("/root/", "a", "/root/a"),
            ("/root/", "/etc//x", "/etc/x"),
            ("/root/sub/", "../x", "/root/x"),
            ("/root/", "./x/../y", "/root/y"),
            ("/", "..", "/"),
            ("/root/", ".", "/root"),
            ("/", "/etc/init.d/", "/etc/init.d"),
            ("/", ".", "/"),
            ("/root/", "", ""),
            ("/a/", "..b", "/a/..b"),
            ("/a/", "b\n", "/a/b."),
        ] {
            assert_eq!(join(base.as_bytes(), path.as_bytes()), whole.as_bytes(), "{base} {path}");
        }
    }
}
