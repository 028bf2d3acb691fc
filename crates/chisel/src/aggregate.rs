//! Counting by key in bounded memory.
//!
//! Up to [`MAX_GROUPS`] keys every number is exact. Beyond, the half of the groups that weighs least is
//! forgotten and counted ([`Dropped`]); a key that comes back starts anew, so that a number may be too
//! small by at most the sum of what was forgotten at each turn ([`Dropped::error`]), never too large.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use crate::cell::Cell;

/// A group: its keys and its results.
pub(crate) type Row = (Vec<Cell>, Vec<Cell>);

/// Groups that are kept at once.
pub const MAX_GROUPS: usize = 1 << 16;
/// Values that all `distinct` columns of a table remember together.
pub(crate) const MAX_DISTINCT: usize = 1 << 20;

/// What is made of the values of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// The first one.
    #[default]
    First,
    /// The last one.
    Last,
    /// Their sum.
    Sum,
    /// Their sum; per second while a source is live.
    Rate,
    /// Their mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// How many there are.
    Count,
    /// How many different ones there are.
    Distinct,
}

impl Operation {
    /// Every operation and its name in view files.
    pub const ALL: [(&'static str, Self); 9] = [
        ("first", Self::First),
        ("last", Self::Last),
        ("sum", Self::Sum),
        ("rate", Self::Rate),
        ("avg", Self::Avg),
        ("min", Self::Min),
        ("max", Self::Max),
        ("count", Self::Count),
        ("distinct", Self::Distinct),
    ];

    /// Whether the result is a number.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Sum | Self::Rate | Self::Avg | Self::Count | Self::Distinct)
    }
}

/// What one column of one group has gathered.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// Values, without those that only stand for a missing one.
    count: u64,
    /// The sum of whole numbers.
    whole: i128,
    /// The sum of the others.
    float: f64,
    /// Whether `float` takes part.
    is_float: bool,
    value: Cell,
    distinct: HashSet<u64>,
}

impl Tally {
    fn add(&mut self, operation: Operation, value: Cell, hashes: &mut Hashes) {
        let first = self.count == 0;
        match operation {
            Operation::First if !first => {}
            Operation::First | Operation::Last => {
                if value.is_some() {
                    self.value = value;
                }
            }
            Operation::Sum | Operation::Rate | Operation::Avg => self.sum(&value),
            Operation::Min if first || value.compare(&self.value).is_lt() => self.value = value,
            Operation::Max if first || value.compare(&self.value).is_gt() => self.value = value,
            Operation::Min | Operation::Max | Operation::Count => {}
            Operation::Distinct => {
                let hash = hashes.of(&value);
                if hashes.left > 0 && self.distinct.insert(hash) {
                    hashes.left -= 1;
                } else if hashes.left == 0 && !self.distinct.contains(&hash) {
                    hashes.lost += 1;
                }
            }
        }
        self.count += 1;
    }

    fn sum(&mut self, value: &Cell) {
        match value.whole() {
            Some(number) => self.whole = self.whole.saturating_add(number),
            None => {
                if let Some(number) = value.number() {
                    self.float += number;
                    self.is_float = true;
                }
            }
        }
    }

    fn result(&self, operation: Operation) -> Cell {
        match operation {
            Operation::First | Operation::Last | Operation::Min | Operation::Max => self.value.clone(),
            Operation::Sum | Operation::Rate if self.is_float => Cell::Float(self.float + self.whole as f64),
            Operation::Sum | Operation::Rate => Cell::from_whole(self.whole),
            Operation::Avg if self.is_float => {
                Cell::Float((self.float + self.whole as f64) / self.count.max(1) as f64)
            }
            // As an integer's mean is an integer in sysdig.
            Operation::Avg => Cell::from_whole(self.whole / i128::from(self.count.max(1))),
            Operation::Count => Cell::Uint(self.count),
            Operation::Distinct => Cell::Uint(self.distinct.len() as u64),
        }
    }

    fn weight(&self, operation: Operation) -> f64 {
        match operation {
            Operation::Sum | Operation::Rate => (self.float + self.whole as f64).abs(),
            _ => self.count as f64,
        }
    }
}

#[derive(Debug)]
struct Hashes {
    state: RandomState,
    left: usize,
    lost: u64,
    key: Vec<u8>,
}

impl Hashes {
    fn of(&mut self, value: &Cell) -> u64 {
        self.key.clear();
        value.write_key(&mut self.key);
        self.state.hash_one(&self.key)
    }
}

/// What there was no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dropped {
    /// Groups that were forgotten.
    pub groups: u64,
    /// By how much a sum or count can be too small.
    pub error: f64,
    /// Different values that were not counted.
    pub distinct: u64,
}

impl Dropped {
    /// Whether anything was dropped.
    #[must_use]
    pub fn any(&self) -> bool {
        self.groups > 0 || self.distinct > 0
    }
}

#[derive(Debug)]
struct Group {
    keys: Vec<Cell>,
    tallies: Vec<Tally>,
    /// When it was first seen: rows that weigh the same stand in this order.
    order: u64,
}

/// Groups of events by key.
#[derive(Debug)]
pub struct Groups {
    operations: Vec<Operation>,
    groups: HashMap<Box<[u8]>, Group>,
    max: usize,
    /// The column by whose numbers groups are worth keeping.
    by: usize,
    next: u64,
    dropped: Dropped,
    hashes: Hashes,
    key: Vec<u8>,
}

impl Groups {
    /// Groups with these columns beside the keys; `by` is the column that rows are sorted by.
    #[must_use]
    pub fn new(operations: Vec<Operation>, by: usize) -> Self {
        Self::with_room(operations, by, MAX_GROUPS)
    }

    /// The same with room for `max` groups, at least 2.
    #[must_use]
    pub fn with_room(operations: Vec<Operation>, by: usize, max: usize) -> Self {
        let hashes = Hashes { state: RandomState::new(), left: MAX_DISTINCT, lost: 0, key: Vec::new() };
        Self {
            operations,
            groups: HashMap::new(),
            max: max.max(2),
            by,
            next: 0,
            dropped: Dropped::default(),
            hashes,
            key: Vec::new(),
        }
    }

    /// Takes in one event: its keys, and a value for each column (missing ones count for nothing).
    pub fn add(&mut self, keys: &[Cell], values: impl IntoIterator<Item = Cell>) {
        self.key.clear();
        keys.iter().for_each(|key| key.write_key(&mut self.key));
        if !self.groups.contains_key(self.key.as_slice()) {
            if self.groups.len() >= self.max {
                self.forget();
            }
            let tallies = vec![Tally::default(); self.operations.len()];
            let group = Group { keys: keys.to_vec(), tallies, order: self.next };
            self.next += 1;
            self.groups.insert(self.key.as_slice().into(), group);
        }
        let Some(group) = self.groups.get_mut(self.key.as_slice()) else { return };
        for ((tally, operation), value) in group.tallies.iter_mut().zip(&self.operations).zip(values) {
            match value {
                Cell::Missing => {}
                value => tally.add(*operation, value, &mut self.hashes),
            }
        }
    }

    /// Forgets the lighter half.
    fn forget(&mut self) {
        let (by, operation) = (self.by, self.operations.get(self.by).copied().unwrap_or_default());
        let weight = |group: &Group| group.tallies.get(by).map_or(0.0, |tally| tally.weight(operation));
        let mut all: Vec<(Box<[u8]>, f64)> =
            self.groups.iter().map(|(key, group)| (key.clone(), weight(group))).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all.truncate(all.len() / 2);
        self.dropped.error += all.last().map_or(0.0, |(_, weight)| *weight);
        for (key, _) in all {
            if let Some(group) = self.groups.remove(&key) {
                self.dropped.groups += 1;
                self.hashes.left += group.tallies.iter().map(|tally| tally.distinct.len()).sum::<usize>();
            }
        }
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups in the order in which they were first seen: keys and results; and what is missing.
    /// Nothing is left.
    pub fn take(&mut self) -> (Vec<Row>, Dropped) {
        let mut groups: Vec<Group> = self.groups.drain().map(|(_, group)| group).collect();
        groups.sort_by_key(|group| group.order);
        let rows = groups.into_iter().map(|group| {
            let results = group.tallies.iter().zip(&self.operations);
            (group.keys, results.map(|(tally, operation)| tally.result(*operation)).collect())
        });
        let dropped = Dropped { distinct: self.hashes.lost, ..self.dropped };
        self.dropped = Dropped::default();
        (self.hashes.left, self.hashes.lost) = (MAX_DISTINCT, 0);
        (rows.collect(), dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn operation() -> impl Strategy<Value = Operation> {
        (0..Operation::ALL.len()).prop_map(|at| Operation::ALL[at].1)
    }

    fn value() -> impl Strategy<Value = Cell> {
        prop_oneof![
            1 => Just(Cell::Missing),
            6 => (-5i64..50).prop_map(Cell::Int),
            2 => (0u64..9).prop_map(Cell::Uint),
        ]
    }

    /// The same said at length.
    fn naive(operation: Operation, values: &[Cell]) -> Cell {
        let some: Vec<i128> = values.iter().filter_map(Cell::whole).collect();
        let one = |found: Option<&i128>| found.map_or(Cell::Missing, |number| Cell::from_whole(*number));
        let sum: i128 = some.iter().sum();
        match operation {
            Operation::First => one(some.first()),
            Operation::Last => one(some.last()),
            Operation::Sum | Operation::Rate => Cell::from_whole(sum),
            Operation::Avg => Cell::from_whole(sum / (some.len().max(1) as i128)),
            Operation::Min => one(some.iter().min()),
            Operation::Max => one(some.iter().max()),
            Operation::Count => Cell::Uint(some.len() as u64),
            Operation::Distinct => Cell::Uint(some.iter().collect::<HashSet<_>>().len() as u64),
        }
    }

    proptest! {
        #[test]
        fn groups_are_what_a_naive_count_gives(
            operations in prop::collection::vec(operation(), 1..4),
            events in prop::collection::vec((0u64..6, prop::collection::vec(value(), 4)), 0..120),
        ) {
            let mut groups = Groups::new(operations.clone(), 0);
            let mut naively: BTreeMap<u64, Vec<Vec<Cell>>> = BTreeMap::new();
            for (key, values) in &events {
                groups.add(&[Cell::Uint(*key)], values.iter().cloned());
                let columns = naively.entry(*key).or_insert_with(|| vec![Vec::new(); operations.len()]);
                columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value.clone()));
            }
            let (rows, dropped) = groups.take();
            prop_assert!(!dropped.any());
            prop_assert_eq!(rows.len(), naively.len());
            for (keys, results) in rows {
                let key = u64::try_from(keys[0].whole().unwrap()).unwrap();
                for ((operation, result), values) in operations.iter().zip(&results).zip(&naively[&key]) {
                    let expected = naive(*operation, values);
                    prop_assert!(result.compare(&expected).is_eq(), "{:?}: {:?} is not {:?}", operation, result, expected);
                }
            }
            prop_assert!(groups.is_empty());
        }

        #[test]
        fn what_does_not_fit_is_counted(
            events in prop::collection::vec((0u64..40, 1i64..100), 1..400),
            room in 2usize..12,
        ) {
            let mut groups = Groups::with_room(vec![Operation::Sum], 0, room);
            let mut naively: BTreeMap<u64, i64> = BTreeMap::new();
            for (key, value) in &events {
                groups.add(&[Cell::Uint(*key)], [Cell::Int(*value)]);
                prop_assert!(groups.len() <= room);
                *naively.entry(*key).or_default() += value;
            }
            let (rows, dropped) = groups.take();
            prop_assert_eq!(dropped.groups > 0, naively.len() > room);
            for (keys, results) in rows {
                let truth = naively[&u64::try_from(keys[0].whole().unwrap()).unwrap()] as f64;
                let got = results[0].number().unwrap();
                prop_assert!(got <= truth && got + dropped.error >= truth, "{} of {}, {:?}", got, truth, dropped);
            }
        }
    }
}
