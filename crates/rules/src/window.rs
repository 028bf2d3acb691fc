//! What is remembered between events for nabe's own keys: how often, since when, what was held back.
//! Bounded; time is that of the events.

use std::collections::{HashMap, VecDeque};

use crate::extension::{Sequence, Threshold, Throttle};

/// Keys that one rule remembers at once.
const MAX_KEYS: usize = 16_384;

/// A combination of values of fields, as bytes.
pub(crate) type Key = Box<[u8]>;

/// Values by key, of which the one that was touched longest ago goes when there are too many.
#[derive(Debug)]
pub(crate) struct Bounded<T> {
    entries: HashMap<Key, (u64, T)>,
    /// Keys in the order in which they were touched, with the touch; older touches are void.
    order: VecDeque<(Key, u64)>,
    next: u64,
    /// Entries that went although they were wanted.
    pub(crate) forgotten: u64,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), next: 0, forgotten: 0 }
    }
}

impl<T: Default> Bounded<T> {
    /// The value of a key, made when it is new.
    pub(crate) fn touch(&mut self, key: &[u8]) -> &mut T {
        self.next += 1;
        let touch = self.next;
        if !self.entries.contains_key(key) && self.entries.len() >= MAX_KEYS {
            self.forget_oldest();
        }
        self.order.push_back((key.into(), touch));
        if self.order.len() > 4 * MAX_KEYS {
            let entries = &self.entries;
            self.order.retain(|(key, touch)| entries.get(key).is_some_and(|(last, _)| last == touch));
            self.order.push_back((key.into(), touch));
        }
        let entry = self.entries.entry(key.into()).or_default();
        entry.0 = touch;
        &mut entry.1
    }

    fn forget_oldest(&mut self) {
        while let Some((key, touch)) = self.order.pop_front() {
            if self.entries.get(&key).is_some_and(|(last, _)| *last == touch) {
                self.entries.remove(&key);
                self.forgotten += 1;
                return;
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.entries.remove(key);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What one rule remembers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Times of matches that a threshold counts.
    counted: Bounded<VecDeque<u64>>,
    /// For each number of steps behind it: when the latest chain began that got so far.
    chains: Bounded<Vec<Option<u64>>>,
    throttled: Bounded<Window>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    since_ns: u64,
    let_through: u32,
    held_back: u64,
}

/// Whether an alert goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Throttled {
    /// Yes; so many were held back since the last one.
    Pass(u64),
    /// No.
    Hold,
}

impl Memory {
    /// What was forgotten for want of room.
    pub(crate) fn forgotten(&self) -> u64 {
        self.counted.forgotten + self.chains.forgotten + self.throttled.forgotten
    }

    /// Counts a match; true when there are enough, which begins the count again.
    pub(crate) fn count(&mut self, threshold: &Threshold, key: &[u8], now_ns: u64) -> bool {
        let times = self.counted.touch(key);
        while times.front().is_some_and(|first| now_ns.saturating_sub(*first) > threshold.within_ns) {
            times.pop_front();
        }
        times.push_back(now_ns);
        if times.len() < threshold.count as usize {
            return false;
        }
        self.counted.remove(key);
        true
    }

    /// A step of the sequence happened.
    pub(crate) fn step(&mut self, sequence: &Sequence, step: usize, key: &[u8], now_ns: u64) {
        let chains = self.chains.touch(key);
        chains.resize(sequence.before.len(), None);
        let began = match step.checked_sub(1) {
            None => Some(now_ns),
            Some(before) => {
                chains.get(before).copied().flatten().filter(|began| fits(sequence, *began, now_ns))
            }
        };
        if let (Some(began), Some(place)) = (began, chains.get_mut(step)) {
            // The chain that began last is the one that lasts longest.
            *place = (*place).max(Some(began));
        }
    }

    /// The rule itself happened: whether all steps were there before it. Takes them.
    pub(crate) fn complete(&mut self, sequence: &Sequence, key: &[u8], now_ns: u64) -> bool {
        let began = self.chains.touch(key).last().copied().flatten();
        let complete = began.is_some_and(|began| fits(sequence, began, now_ns));
        if complete || began.is_none() && self.chains.touch(key).is_empty() {
            self.chains.remove(key);
        }
        complete
    }

    /// An alert wants to go out.
    pub(crate) fn throttle(&mut self, throttle: &Throttle, key: &[u8], now_ns: u64) -> Throttled {
        let window = self.throttled.touch(key);
        if window.let_through == 0 || now_ns.saturating_sub(window.since_ns) >= throttle.every_ns {
            let held_back = window.held_back;
            *window = Window { since_ns: now_ns, let_through: 1, held_back: 0 };
            return Throttled::Pass(held_back);
        }
        if window.let_through < throttle.burst {
            window.let_through += 1;
            return Throttled::Pass(0);
        }
        window.held_back += 1;
        Throttled::Hold
    }
}

fn fits(sequence: &Sequence, began_ns: u64, now_ns: u64) -> bool {
    now_ns.saturating_sub(began_ns) <= sequence.within_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn thresholds_count_within_their_time() {
        let threshold = Threshold { count: 3, within_ns: 10 * S, by: Vec::new() };
        let mut memory = Memory::default();
        let fired: Vec<u64> = [0, 5, 11, 12, 13, 14, 40]
            .into_iter()
            .filter(|at| memory.count(&threshold, b"a", at * S))
            .collect();
        // 5, 11 and 12 lie within ten seconds; then the count begins again.
        assert_eq!(fired, [12]);
        assert!(!memory.count(&threshold, b"b", 41 * S));
    }

    #[test]
    fn sequences_want_all_steps_in_order_and_time() {
        let sequence = Sequence { before: vec!["A".into(), "B".into()], within_ns: 30 * S, by: Vec::new() };
        let mut memory = Memory::default();
        let run = |memory: &mut Memory, steps: &[(usize, u64)]| {
            steps.iter().any(|(step, at)| match step {
                2 => memory.complete(&sequence, b"k", at * S),
                step => {
                    memory.step(&sequence, *step, b"k", at * S);
                    false
                }
            })
        };
        assert!(run(&mut memory, &[(0, 1), (1, 5), (2, 9)]));
        // They were taken.
        assert!(!run(&mut memory, &[(2, 10)]));
        // The wrong order, too late.
        assert!(!run(&mut memory, &[(1, 11), (0, 12), (2, 13)]));
        assert!(!run(&mut memory, &[(1, 14), (2, 60)]));
        // A later first step renews the time.
        assert!(run(&mut memory, &[(0, 100), (0, 120), (1, 121), (2, 150)]));
    }

    #[test]
    fn throttles_hold_back_and_tell() {
        let throttle = Throttle { every_ns: 60 * S, burst: 2, by: Vec::new() };
        let mut memory = Memory::default();
        let told: Vec<Throttled> =
            [1, 2, 3, 4, 61, 62].into_iter().map(|at| memory.throttle(&throttle, b"k", at * S)).collect();
        use Throttled::{Hold, Pass};
        assert_eq!(told, [Pass(0), Pass(0), Hold, Hold, Pass(2), Pass(0)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut bounded: Bounded<u64> = Bounded::default();
        for key in 0..3 * MAX_KEYS as u64 {
            *bounded.touch(&key.to_le_bytes()) += 1;
            bounded.touch(b"often");
        }
        assert!(bounded.len() <= MAX_KEYS && bounded.order.len() <= 4 * MAX_KEYS + 1);
        assert!(bounded.forgotten >= 2 * MAX_KEYS as u64 - 2);
        assert!(bounded.entries.contains_key(&b"often"[..]));
    }
}
