//! The descriptors of a process by number: a dense list for the small numbers that the kernel
//! gives, a map for others.

use std::sync::Arc;

use super::descriptor::Descriptor;
use super::number::Numbered;

/// How far a number may lie beyond twice the count and still go into the list: lists stay short
/// where numbers are sparse.
const SLACK: usize = 64;

/// Descriptors by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Descriptors {
    low: Vec<Option<Arc<Descriptor>>>,
    high: Numbered<Arc<Descriptor>>,
    len: usize,
    /// A bit for each number of the list that an exec closes.
    closing: Vec<u64>,
}

impl Descriptors {
    #[inline]
    pub(crate) fn get(&self, number: i64) -> Option<&Arc<Descriptor>> {
        match usize::try_from(number).ok().and_then(|at| self.low.get(at)) {
            Some(Some(found)) => Some(found),
            _ if self.high.is_empty() => None,
            _ => self.high.get(&number),
        }
    }

    pub(crate) fn get_mut(&mut self, number: i64) -> Option<&mut Arc<Descriptor>> {
        match usize::try_from(number).ok().and_then(|at| self.low.get_mut(at)) {
            Some(Some(found)) => Some(found),
            _ => self.high.get_mut(&number),
        }
    }

    /// Marks a number: an exec closes it.
    pub(crate) fn close_on_exec(&mut self, number: i64, closes: bool) {
        let Some(at) = usize::try_from(number).ok().filter(|at| *at < self.low.len()) else { return };
        if at / 64 >= self.closing.len() && closes {
            self.closing.resize(at / 64 + 1, 0);
        }
        if let Some(word) = self.closing.get_mut(at / 64) {
            let bit = 1 << (at % 64);
            *word = if closes { *word | bit } else { *word & !bit };
        }
    }

    /// Takes those out that an exec closes; returns how many.
    pub(crate) fn exec(&mut self) -> usize {
        let closing = core::mem::take(&mut self.closing);
        let is_closing = |number: i64| {
            let at = usize::try_from(number).unwrap_or(usize::MAX);
            closing.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
        };
        if closing.iter().all(|word| *word == 0) { 0 } else { self.retain(|number, _| !is_closing(number)) }
    }

    /// Puts one in; returns whether the number was free.
    pub(crate) fn insert(&mut self, number: i64, descriptor: Arc<Descriptor>) -> bool {
        if !self.closing.is_empty() {
            self.close_on_exec(number, false);
        }
        let at = usize::try_from(number).ok().filter(|at| *at < 2 * self.len + SLACK);
        let free = match at {
            Some(at) => {
                if at >= self.low.len() {
                    self.low.resize(at + 1, None);
                }
                // It may have come while the number was beyond the list.
                let before = if self.high.is_empty() { None } else { self.high.remove(&number) };
                match self.low.get_mut(at) {
                    Some(place) => place.replace(descriptor).is_none() && before.is_none(),
                    None => false,
                }
            }
            None => match usize::try_from(number).ok().and_then(|at| self.low.get_mut(at)) {
                Some(place @ Some(_)) => {
                    *place = Some(descriptor);
                    false
                }
                _ => self.high.insert(number, descriptor).is_none(),
            },
        };
        self.len += usize::from(free);
        free
    }

    pub(crate) fn remove(&mut self, number: i64) -> Option<Arc<Descriptor>> {
        let low = usize::try_from(number).ok().and_then(|at| self.low.get_mut(at)?.take());
        let found = low.or_else(|| self.high.remove(&number));
        self.len -= usize::from(found.is_some());
        if self.len == 0 {
            self.low = Vec::new();
        }
        found
    }

    /// Takes those out that `keep` does not want; returns how many.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(i64, &Descriptor) -> bool) -> usize {
        let before = self.len;
        for (at, place) in self.low.iter_mut().enumerate() {
            let number = i64::try_from(at).unwrap_or(i64::MAX);
            if place.as_ref().is_some_and(|found| !keep(number, found)) {
                *place = None;
                self.len -= 1;
            }
        }
        self.high.retain(|number, found| keep(*number, found));
        self.len = self.low.iter().flatten().count() + self.high.len();
        before - self.len
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// All, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Arc<Descriptor>)> {
        let low = self
            .low
            .iter()
            .enumerate()
            .filter_map(|(at, found)| Some((i64::try_from(at).ok()?, found.as_ref()?)));
        let mut high: Vec<_> = self.high.iter().map(|(number, found)| (*number, found)).collect();
        high.sort_unstable_by_key(|(number, _)| *number);
        let negative = high.partition_point(|(number, _)| *number < 0);
        let behind = high.split_off(negative);
        high.into_iter().chain(low).chain(behind)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<Descriptor>> {
        self.low.iter().flatten().chain(self.high.values())
    }

    /// Bytes of the table and what it refers to.
    pub(crate) fn bytes(&self) -> usize {
        self.values().map(|found| found.bytes()).sum::<usize>()
            + self.closing.capacity() * 8
            + self.low.capacity() * size_of::<Option<Arc<Descriptor>>>()
            + self.high.capacity() * (size_of::<(i64, Arc<Descriptor>)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_wherever_they_lie() {
        let mut table = Descriptors::default();
        let numbers = [0, 1, 5, 63, 64, 200, 65_535, -7, i64::MAX, 1 << 40];
        for number in numbers {
            assert!(table.insert(number, Arc::default()), "{number}");
            assert!(!table.insert(number, Arc::default()), "{number}");
        }
        assert_eq!(table.len(), numbers.len());
        let mut sorted = numbers;
        sorted.sort_unstable();
        let mut listed: Vec<_> = table.iter().map(|(number, _)| number).collect();
        listed.sort_unstable();
        assert_eq!(listed, sorted);
        // Beyond the list at first, in it when there are more.
        for number in 2..300 {
            table.insert(number, Arc::default());
        }
        assert_eq!(table.len(), 300 + 4);
        assert_eq!(table.retain(|number, _| number != 200 && number >= 0), 2);
        assert!(table.get(200).is_none() && table.get(-7).is_none() && table.get(65_535).is_some());
        table.close_on_exec(7, true);
        table.close_on_exec(65, true);
        table.insert(65, Arc::default());
        assert_eq!(table.exec(), 1);
        assert!(table.get(7).is_none() && table.get(65).is_some());
        table.insert(7, Arc::default());
        assert_eq!(table.exec(), 0);
        for number in 0..300 {
            assert_eq!(table.remove(number).is_some(), number != 200, "{number}");
        }
        assert_eq!((table.len(), table.values().count()), (3, 3));
    }
}
