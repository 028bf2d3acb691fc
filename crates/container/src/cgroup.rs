//! Cgroup paths as text: components, systemd's units and escapes, the user
//! whose slice it is.

use std::borrow::Cow;

/// What kind of systemd unit a cgroup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// A service: processes that systemd started.
    Service,
    /// A scope: processes that something else started (sessions, containers).
    Scope,
    /// A slice: a group of units.
    Slice,
}

/// The suffixes of units that hold processes, and the slice around them.
static KINDS: &[(&[u8], UnitKind)] =
    &[(b".service", UnitKind::Service), (b".scope", UnitKind::Scope), (b".slice", UnitKind::Slice)];

/// The innermost systemd unit of a cgroup path: the service or scope nearest to
/// the process, else the innermost slice, else none.
pub fn unit(cgroup_path: &[u8]) -> Option<&[u8]> {
    let mut slice = None;
    for (_, name) in components_inward(strip_deleted(cgroup_path)) {
        match unit_kind(name) {
            Some(UnitKind::Service | UnitKind::Scope) => return Some(name),
            Some(UnitKind::Slice) if slice.is_none() => slice = Some(name),
            _ => {}
        }
    }
    slice
}

/// What kind of unit this cgroup name is; `None` when it is no unit.
pub fn unit_kind(name: &[u8]) -> Option<UnitKind> {
    KINDS
        .iter()
        .find(|(suffix, _)| name.len() > suffix.len() && name.ends_with(suffix))
        .map(|(_, kind)| *kind)
}

/// The uid whose systemd user slice the path lies in
/// (`/user.slice/user-1000.slice/…`).
pub fn owner_uid(cgroup_path: &[u8]) -> Option<u32> {
    let rest = cgroup_path.strip_prefix(b"/user.slice/user-")?;
    let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
    let digits = rest.get(..end)?.strip_suffix(b".slice")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The kernel marks the path of a removed cgroup (zombies stay in it).
pub(crate) fn strip_deleted(path: &[u8]) -> &[u8] {
    path.strip_suffix(b" (deleted)").unwrap_or(path)
}

/// Components from the innermost outwards, each with the path before it.
pub(crate) fn components_inward(path: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = path;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let (before, name) = match memchr::memrchr(b'/', rest) {
                Some(at) => (rest.get(..at)?, rest.get(at + 1..)?),
                None => (&rest[..0], rest),
            };
            rest = before;
            if !name.is_empty() && name != b".." && name != b"." {
                return Some((before, name));
            }
        }
    })
}

/// Undoes systemd's `\xHH` escapes; `None` when the result is not UTF-8.
pub(crate) fn unescape(name: &str) -> Option<Cow<'_, str>> {
    if !name.contains('\\') {
        return Some(Cow::Borrowed(name));
    }
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'\\')
            .then(|| tail.strip_prefix(b"x"))
            .flatten()
            .and_then(|hex| hex.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..)?;
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}
