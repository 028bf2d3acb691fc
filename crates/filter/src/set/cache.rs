//! What is remembered of process images and paths, bounded.
//!
//! Both tables are set-associative: a key belongs to one row of [`WAYS`] places, and a new key takes
//! the place in its row that was used longest ago. So a hostile stream of keys costs evaluations, not
//! memory.

use super::Plan;

/// Places of a row.
const WAYS: usize = 4;
/// Bytes that each of the two tables may take, roughly.
const BYTES: usize = 8 << 20;
/// Rows at most, and at least.
const ROWS: core::ops::RangeInclusive<usize> = 16..=2048;
/// Longest path that is remembered, in bytes.
pub(super) const MAX_PATH: usize = 1024;

/// What [`super::Set::judge`] remembers; one for each thread that judges. At most about 16 MiB.
#[derive(Debug, Default)]
pub struct Cache {
    /// The set that it is of; 0 for none.
    set: u64,
    pub(super) images: Table<Image>,
    pub(super) paths: Table<Path>,
    pub(super) memo: Memo,
    /// The programs that are still possible, while an event is judged.
    pub(super) mask: Vec<u64>,
}

impl Cache {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything. Keys may then mean something else.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what was known of paths. For benches: then every path is a new one.
    #[doc(hidden)]
    pub fn forget_paths(&mut self) {
        self.paths.age += 1;
    }

    /// Begins an event.
    #[inline]
    pub(super) fn prepare(&mut self, plan: &Plan) {
        if self.set != plan.id {
            self.fit(plan);
        }
        self.memo.next();
    }

    #[cold]
    fn fit(&mut self, plan: &Plan) {
        let rows = |slots: usize, key: usize| {
            let entry = key + 96 + plan.groups.len().div_ceil(8) + plan.words * 8 + slots;
            let rows = BYTES / (entry * WAYS);
            // A power of two, for the sake of the index.
            (rows.clamp(*ROWS.start(), *ROWS.end()) + 1).next_power_of_two() / 2
        };
        *self = Self {
            set: plan.id,
            images: Table::new(rows(plan.image_slots, 8)),
            paths: Table::new(rows(plan.path_slots, 64)),
            memo: Memo { stamp: 0, verdicts: vec![(0, Verdict::UNKNOWN); plan.memo_slots].into() },
            mask: Vec::new(),
        };
    }
}

/// A verdict of three values, or that it is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict(u8);

impl Verdict {
    pub(super) const UNKNOWN: Self = Self(0);

    pub(super) const fn get(self) -> Option<Option<bool>> {
        match self.0 {
            0 => None,
            1 => Some(Some(false)),
            2 => Some(Some(true)),
            _ => Some(None),
        }
    }
}

impl From<Option<bool>> for Verdict {
    fn from(value: Option<bool>) -> Self {
        Self(match value {
            Some(false) => 1,
            Some(true) => 2,
            None => 3,
        })
    }
}

/// Verdicts of parts that several programs share, within one event.
#[derive(Debug, Default)]
pub(super) struct Memo {
    stamp: u32,
    verdicts: Box<[(u32, Verdict)]>,
}

impl Memo {
    #[inline]
    fn next(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.verdicts.iter_mut().for_each(|place| *place = (0, Verdict::UNKNOWN));
            self.stamp = 1;
        }
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<Option<bool>> {
        let (stamp, verdict) = self.verdicts.get(slot as usize)?;
        if *stamp == self.stamp { verdict.get() } else { None }
    }

    #[inline]
    pub(super) fn set(&mut self, slot: u32, value: Option<bool>) {
        if let Some(place) = self.verdicts.get_mut(slot as usize) {
            *place = (self.stamp, value.into());
        }
    }
}

/// What is known of the subjects with one key.
#[derive(Debug)]
pub(super) struct Entry {
    /// Whether the mask of a group is known, a bit each.
    ready: Box<[u64]>,
    /// The masks of all groups, one behind the other.
    masks: Box<[u64]>,
    verdicts: Box<[Verdict]>,
}

impl Entry {
    pub(super) fn new(plan: &Plan, slots: usize) -> Self {
        Self {
            ready: vec![0; plan.groups.len().div_ceil(64)].into(),
            masks: vec![0; plan.words].into(),
            verdicts: vec![Verdict::UNKNOWN; slots].into(),
        }
    }

    fn forget(&mut self) {
        self.ready.fill(0);
        self.verdicts.fill(Verdict::UNKNOWN);
    }

    /// The mask of a group, if it is known.
    #[inline]
    pub(super) fn mask(&self, group: usize, words: core::ops::Range<usize>) -> Option<&[u64]> {
        let ready = self.ready.get(group / 64).is_some_and(|word| word >> (group % 64) & 1 == 1);
        self.masks.get(words).filter(|_| ready)
    }

    pub(super) fn set_mask(&mut self, group: usize, words: core::ops::Range<usize>, mask: &[u64]) {
        if let (Some(place), Some(ready)) = (self.masks.get_mut(words), self.ready.get_mut(group / 64)) {
            place.copy_from_slice(mask);
            *ready |= 1 << (group % 64);
        }
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<Option<bool>> {
        self.verdicts.get(slot as usize)?.get()
    }

    #[inline]
    pub(super) fn set(&mut self, slot: u32, value: Option<bool>) {
        if let Some(place) = self.verdicts.get_mut(slot as usize) {
            *place = value.into();
        }
    }
}

/// A key of a table.
pub(super) trait Key {
    /// What is asked for.
    type Asked<'a>: Copy;

    fn hash(asked: Self::Asked<'_>) -> u64;
    fn is(&self, asked: Self::Asked<'_>) -> bool;
    fn take(&mut self, asked: Self::Asked<'_>);
    fn make(asked: Self::Asked<'_>) -> Self;
}

/// A process image.
#[derive(Debug)]
pub(super) struct Image(u64);

impl Key for Image {
    type Asked<'a> = u64;

    #[inline]
    fn hash(asked: u64) -> u64 {
        spread(asked)
    }

    #[inline]
    fn is(&self, asked: u64) -> bool {
        self.0 == asked
    }

    fn take(&mut self, asked: u64) {
        self.0 = asked;
    }

    fn make(asked: u64) -> Self {
        Self(asked)
    }
}

/// The values of `fd.name` and `fd.typechar`: the texts, one behind the other, and their lengths;
/// an absent text has the length [`ABSENT`].
#[derive(Debug)]
pub(super) struct Path {
    texts: Vec<u8>,
    lengths: [u16; 2],
}

/// The length of what is not there.
const ABSENT: u16 = u16::MAX;

impl Path {
    fn lengths(asked: [Option<&[u8]>; 2]) -> [u16; 2] {
        asked.map(|text| text.map_or(ABSENT, |text| u16::try_from(text.len()).unwrap_or(ABSENT - 1)))
    }
}

impl Key for Path {
    type Asked<'a> = [Option<&'a [u8]>; 2];

    #[inline]
    fn hash([name, kind]: Self::Asked<'_>) -> u64 {
        let kind = kind.and_then(<[u8]>::first).copied().map_or(256, u64::from);
        let name = name.unwrap_or_default();
        let mut hash = kind ^ (name.len() as u64) << 32;
        let (words, rest) = name.as_chunks::<8>();
        for word in words {
            hash = spread(hash ^ u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        if let Some(place) = last.get_mut(..rest.len()) {
            place.copy_from_slice(rest);
        }
        spread(hash ^ u64::from_le_bytes(last))
    }

    #[inline]
    fn is(&self, asked: Self::Asked<'_>) -> bool {
        let [name, kind] = asked.map(Option::unwrap_or_default);
        self.lengths == Self::lengths(asked)
            && self.texts.get(..name.len()) == Some(name)
            && self.texts.get(name.len()..) == Some(kind)
    }

    fn take(&mut self, asked: Self::Asked<'_>) {
        self.texts.clear();
        asked.into_iter().flatten().for_each(|text| self.texts.extend_from_slice(text));
        self.lengths = Self::lengths(asked);
    }

    fn make(asked: Self::Asked<'_>) -> Self {
        let mut path = Self { texts: Vec::new(), lengths: [ABSENT; 2] };
        path.take(asked);
        path
    }
}

/// Bits that depend on all bits.
#[inline]
const fn spread(value: u64) -> u64 {
    let product = (value ^ 0xf39c_c060_5ced_c835) as u128 * 0x9e37_79b9_7f4a_7c15_u128;
    (product >> 64) as u64 ^ product as u64
}

/// Entries by key.
#[derive(Debug)]
pub(super) struct Table<K> {
    rows: Vec<[Option<Place<K>>; WAYS]>,
    clock: u64,
    /// Places of another age are forgotten.
    age: u64,
}

#[derive(Debug)]
struct Place<K> {
    key: K,
    age: u64,
    used: u64,
    entry: Entry,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { rows: Vec::new(), clock: 0, age: 0 }
    }
}

impl<K: Key> Table<K> {
    /// `rows` is a power of two.
    fn new(rows: usize) -> Self {
        Self { rows: (0..rows).map(|_| [const { None }; WAYS]).collect(), clock: 0, age: 0 }
    }

    /// The entry of a key; `new` makes one where there is room.
    #[inline]
    pub(super) fn entry(&mut self, asked: K::Asked<'_>, new: impl FnOnce() -> Entry) -> Option<&mut Entry> {
        self.clock += 1;
        let (clock, age) = (self.clock, self.age);
        let row = K::hash(asked) as usize & self.rows.len().wrapping_sub(1);
        let row = self.rows.get_mut(row)?;
        let found = row
            .iter()
            .position(|place| place.as_ref().is_some_and(|place| place.age == age && place.key.is(asked)));
        let at = match found {
            Some(at) => at,
            None => Self::replace(row, asked, new),
        };
        let place = row.get_mut(at)?.as_mut()?;
        (place.used, place.age) = (clock, age);
        Some(&mut place.entry)
    }

    #[cold]
    fn replace(
        row: &mut [Option<Place<K>>; WAYS],
        asked: K::Asked<'_>,
        new: impl FnOnce() -> Entry,
    ) -> usize {
        let used = |place: &Option<Place<K>>| place.as_ref().map_or(0, |place| place.used);
        let oldest = row.iter().enumerate().min_by_key(|(_, place)| used(place)).map_or(0, |(at, _)| at);
        match row.get_mut(oldest) {
            Some(Some(place)) => {
                place.key.take(asked);
                place.entry.forget();
            }
            Some(empty) => *empty = Some(Place { key: K::make(asked), age: 0, used: 0, entry: new() }),
            None => {}
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry { ready: [0].into(), masks: [0].into(), verdicts: [Verdict::UNKNOWN].into() }
    }

    #[test]
    fn keys_are_told_apart_and_the_table_is_bounded() {
        let mut table: Table<Path> = Table::new(16);
        let texts: Vec<Vec<u8>> = (0..1000).map(|n| format!("/{n}").into_bytes()).collect();
        for text in &texts {
            let asked = [Some(text.as_slice()), Some(&b"f"[..])];
            let found = table.entry(asked, entry).unwrap();
            assert_eq!(found.get(0), None, "nothing is known of a new path");
            found.set(0, Some(true));
            assert_eq!(table.entry(asked, entry).unwrap().get(0), Some(Some(true)));
        }
        let kept = table.rows.iter().flatten().flatten().count();
        assert_eq!(kept, 16 * WAYS);
        for other in [[Some(&b"/1f"[..]), None], [None, Some(&b"f"[..])], [Some(&b""[..]), Some(&b"f"[..])]] {
            assert_eq!(table.entry(other, entry).unwrap().get(0), None, "{other:?}");
            table.entry(other, entry).unwrap().set(0, None);
            assert_eq!(table.entry(other, entry).unwrap().get(0), Some(None));
        }
    }

    #[test]
    fn a_row_keeps_what_was_used_last() {
        let mut table: Table<Image> = Table::new(1);
        for image in 1..=4 {
            table.entry(image, entry).unwrap().set(0, Some(false));
        }
        table.entry(1, entry).unwrap();
        table.entry(5, entry).unwrap();
        assert_eq!(table.entry(1, entry).unwrap().get(0), Some(Some(false)));
        assert_eq!(table.entry(2, entry).unwrap().get(0), None);
    }
}
