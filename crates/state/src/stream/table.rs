//! The table of threads: a slot for each, found by number, with a memory of the last ones asked for.

use super::number::Numbered;
use super::thread::Thread;

/// Numbers whose slots are remembered without a search.
const RECENT: usize = 1 << 8;
/// No slot.
const NONE: u32 = u32::MAX;

/// Threads by number. A slot stays a thread's for as long as the thread is there.
#[derive(Debug)]
pub(crate) struct Threads {
    slots: Vec<Option<Box<Thread>>>,
    free: Vec<u32>,
    index: Numbered<u32>,
    /// Number and slot, at the number's low bits.
    recent: Box<[(i64, u32); RECENT]>,
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: Numbered::default(),
            recent: Box::new([(0, NONE); RECENT]),
        }
    }
}

impl Threads {
    #[inline]
    const fn place(tid: i64) -> usize {
        tid.to_le_bytes()[0] as usize
    }

    /// The slot of a thread, remembered for the next time.
    #[inline]
    pub(crate) fn find(&mut self, tid: i64) -> Option<u32> {
        if let Some((known, slot)) = self.recent.get(Self::place(tid))
            && *known == tid
            && *slot != NONE
        {
            return Some(*slot);
        }
        self.search(tid)
    }

    fn search(&mut self, tid: i64) -> Option<u32> {
        let slot = *self.index.get(&tid)?;
        if let Some(place) = self.recent.get_mut(Self::place(tid)) {
            *place = (tid, slot);
        }
        Some(slot)
    }

    #[inline]
    pub(crate) fn at(&self, slot: u32) -> Option<&Thread> {
        self.slots.get(slot as usize)?.as_deref()
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut Thread> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    #[inline]
    fn slot(&self, tid: i64) -> Option<u32> {
        match self.recent.get(Self::place(tid)) {
            Some((known, slot)) if *known == tid && *slot != NONE => Some(*slot),
            _ => self.index.get(&tid).copied(),
        }
    }

    pub(crate) fn get(&self, tid: &i64) -> Option<&Thread> {
        self.at(self.slot(*tid)?)
    }

    pub(crate) fn get_mut(&mut self, tid: &i64) -> Option<&mut Thread> {
        let slot = self.find(*tid)?;
        self.at_mut(slot)
    }

    pub(crate) fn contains_key(&self, tid: &i64) -> bool {
        self.slot(*tid).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Thread> {
        self.slots.iter().filter_map(Option::as_deref)
    }

    /// Calls `act` with every thread.
    pub(crate) fn each(&mut self, act: impl FnMut(&mut Thread)) {
        self.slots.iter_mut().filter_map(Option::as_deref_mut).for_each(act);
    }

    /// Puts a thread in, and gives the one out that had its number.
    pub(crate) fn insert(&mut self, thread: Thread) -> Option<Thread> {
        let tid = thread.tid;
        let before = self.remove(tid);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                // As many as `MAX_THREADS`, far below.
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Box::new(thread));
            self.index.insert(tid, slot);
        }
        before
    }

    pub(crate) fn remove(&mut self, tid: i64) -> Option<Thread> {
        let slot = self.index.remove(&tid)?;
        if let Some(place) = self.recent.get_mut(Self::place(tid))
            && place.0 == tid
        {
            *place = (0, NONE);
        }
        self.free.push(slot);
        self.slots.get_mut(slot as usize)?.take().map(|thread| *thread)
    }

    /// Bytes of the table itself.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Option<Box<Thread>>>()
            + self.free.capacity() * 4
            + self.index.capacity() * (size_of::<(i64, u32)>() + 1)
            + self.len() * size_of::<Thread>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_found_until_they_are_gone() {
        let mut threads = Threads::default();
        for tid in 0..2000 {
            assert!(threads.insert(Thread::new(tid)).is_none());
        }
        for tid in (0..2000).step_by(3) {
            assert_eq!(threads.remove(tid).map(|thread| thread.tid), Some(tid));
            assert_eq!(threads.find(tid), None);
        }
        for tid in 0..2000 {
            let found = threads.get(&tid).map(|thread| thread.tid);
            assert_eq!(found, (tid % 3 != 0).then_some(tid));
            assert_eq!(threads.find(tid).is_some(), found.is_some());
        }
        assert_eq!(threads.insert(Thread::new(1)).map(|thread| thread.tid), Some(1));
        assert!(threads.insert(Thread::new(3)).is_none());
        assert_eq!(threads.len(), 1334);
        assert_eq!(threads.values().count(), 1334);
    }
}
