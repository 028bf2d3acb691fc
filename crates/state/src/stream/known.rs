//! Texts that come again: names of files and texts of processes, each kept once where it was met
//! lately. A table of fixed size with one place for each hash: what was not met lately is made anew.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use super::container::{Places, id_of};
use super::number::{Folded, Seed};
use super::path;

/// Names that are remembered.
const NAMES: usize = 1 << 10;
/// Texts that are remembered, and the longest of them.
const TEXTS: usize = 1 << 10;
const MAX_TEXT: usize = 4 << 10;

/// A path as a program gave it, where it was seen from, and what it is.
#[derive(Clone, Debug)]
struct Name {
    base: Arc<[u8]>,
    raw: Option<Arc<[u8]>>,
    whole: Arc<[u8]>,
}

/// Texts met lately.
#[derive(Debug)]
pub(crate) struct Known {
    seed: Seed,
    empty: Arc<[u8]>,
    names: Box<[Option<Name>]>,
    texts: Box<[Option<Arc<[u8]>>]>,
    /// Which containers documents said to be where.
    pub(crate) places: Places,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            seed: Seed::default(),
            empty: Arc::from([]),
            names: vec![None; NAMES].into(),
            texts: vec![None; TEXTS].into(),
            places: Places::default(),
        }
    }
}

impl Known {
    /// A number out of the length and the last 16 bytes: enough to tell names apart, and whoever
    /// chooses others with the same only has his texts made anew.
    #[inline]
    fn place(&self, text: &[u8]) -> usize {
        let behind = |text: &[u8]| match text.split_last_chunk::<8>() {
            Some((_, word)) => u64::from_le_bytes(*word),
            None => text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        let before = text.get(..text.len().saturating_sub(8)).unwrap_or_default();
        let mut hasher: Folded = self.seed.build_hasher();
        hasher.write_u64(behind(text) ^ behind(before).rotate_left(29) ^ (text.len() as u64) << 56);
        #[allow(clippy::cast_possible_truncation, reason = "low bits are wanted")]
        let place = hasher.finish() as usize;
        place
    }

    /// A path as it was given, where that is not what it is, and what it is, seen from `base` when it
    /// is relative.
    #[inline]
    pub(crate) fn name(&mut self, base: &[u8], raw: &[u8]) -> (Option<Arc<[u8]>>, Arc<[u8]>) {
        let base = if raw.first() == Some(&b'/') { &[] } else { base };
        let place = self.place(raw) % NAMES;
        match self.names.get(place) {
            Some(Some(name))
                if equal(name.raw.as_ref().unwrap_or(&name.whole), raw) && equal(&name.base, base) =>
            {
                (name.raw.clone(), name.whole.clone())
            }
            _ => self.new_name(place, base, raw),
        }
    }

    fn new_name(&mut self, place: usize, base: &[u8], raw: &[u8]) -> (Option<Arc<[u8]>>, Arc<[u8]>) {
        let whole: Arc<[u8]> = path::join(base, raw).into();
        let raw = (*whole != *raw).then(|| Arc::from(raw));
        let base = self.text(base);
        if let Some(place) = self.names.get_mut(place) {
            *place = Some(Name { base, raw: raw.clone(), whole: whole.clone() });
        }
        (raw, whole)
    }

    /// A text that others may have, too.
    pub(crate) fn text(&mut self, text: &[u8]) -> Arc<[u8]> {
        if text.is_empty() {
            return self.empty.clone();
        }
        if text.len() > MAX_TEXT {
            return text.into();
        }
        let place = self.place(text) % TEXTS;
        match self.texts.get_mut(place) {
            Some(Some(known)) if **known == *text => known.clone(),
            Some(place) => place.insert(text.into()).clone(),
            None => text.into(),
        }
    }

    /// The id of the container that cgroups lie in; empty outside containers.
    pub(crate) fn container(&mut self, cgroups: &[u8]) -> Arc<[u8]> {
        match id_of(cgroups) {
            [] => self.places.find(cgroups).unwrap_or_else(|| self.empty.clone()),
            id => self.text(id),
        }
    }

    /// The same as `text`, and where `before` is that already, the very one.
    pub(crate) fn same(&mut self, before: &Arc<[u8]>, text: &[u8]) -> Arc<[u8]> {
        if **before == *text { before.clone() } else { self.text(text) }
    }
}

/// Whether two short texts are the same, without a call.
#[inline]
fn equal(one: &[u8], two: &[u8]) -> bool {
    let ((words, rest), (others, other)) = (one.as_chunks::<8>(), two.as_chunks::<8>());
    one.len() == two.len()
        && words.iter().zip(others).all(|(a, b)| u64::from_le_bytes(*a) == u64::from_le_bytes(*b))
        && rest.iter().zip(other).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_the_same() {
        let mut known = Known::default();
        let (_, one) = known.name(b"/a/", b"b");
        let (_, two) = known.name(b"/a/", b"b");
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!(*known.name(b"/c/", b"b").1, *b"/c/b");
        let (raw, whole) = known.name(b"/c/", b"/etc/hosts");
        assert_eq!((raw, &*whole), (None, &b"/etc/hosts"[..]));
        assert!(Arc::ptr_eq(&known.text(b"x"), &known.text(b"x")));
        for n in 0..5000u32 {
            let text = n.to_string();
            assert_eq!(*known.text(text.as_bytes()), *text.as_bytes());
            assert_eq!(*known.name(b"/", text.as_bytes()).1, *format!("/{n}").as_bytes());
        }
    }
}
