//! What the tables hold at most, and what is forgotten when they are full: threads that were silent
//! for longest, and the oldest descriptors. Nothing new is refused; what was forgotten is counted.

use std::sync::Arc;

use super::descriptor::Descriptor;
use super::{Stream, Thread};

/// Threads that are kept at once: four times the kernel's smallest `pid_max`.
const MAX_THREADS: usize = 1 << 17;
/// Descriptors of one process.
const MAX_OF_PROCESS: usize = 1 << 20;
/// Descriptors of all processes.
const MAX_DESCRIPTORS: usize = 1 << 21;
/// Descriptors that nobody has any more and that are kept for their room.
const MAX_SPARE: usize = 1 << 6;
/// Ended threads whose children somebody else has.
const MAX_HEIRS: usize = 1 << 16;

impl Stream {
    /// Puts a thread in, in the place of one with the same number.
    pub(crate) fn insert(&mut self, mut thread: Thread) {
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&thread.tid) {
            self.forget_threads();
        }
        if !thread.is_main()
            && let Some(main) = self.threads.get_mut(&thread.pid)
        {
            main.siblings += 1;
        }
        self.comes(&mut thread);
        thread.last_ns = thread.last_ns.max(self.last_ns);
        self.open += thread.descriptors.len();
        let tid = thread.tid;
        self.heirs.remove(&tid);
        if let Some(before) = self.threads.insert(thread)
            && let Some(main) = self.gone(&before).filter(|main| *main != tid)
        {
            self.remove_thread(main);
        }
        if self.open > MAX_DESCRIPTORS {
            self.forget_descriptors();
        }
    }

    /// A thread has ended. The first one of a process stays until the others have ended: theirs are
    /// its descriptors and its directory.
    pub(crate) fn end_of(&mut self, tid: i64) {
        if let Some(thread) = self.threads.get_mut(&tid)
            && thread.is_main()
            && thread.siblings > 0
        {
            thread.has_ended = true;
            return;
        }
        self.remove_thread(tid);
    }

    pub(crate) fn remove_thread(&mut self, tid: i64) {
        let Some(thread) = self.threads.remove(tid) else { return };
        self.goes(tid);
        if let Some(main) = self.gone(&thread) {
            self.remove_thread(main);
        }
    }

    /// A thread has left the table; gives the first one of its process when that has waited for it.
    fn gone(&mut self, thread: &Thread) -> Option<i64> {
        self.open = self.open.saturating_sub(thread.descriptors.len());
        self.waiting_bytes = self.waiting_bytes.saturating_sub(thread.kept.room_bytes());
        if !thread.is_main()
            && let Some(main) = self.threads.get_mut(&thread.pid)
        {
            main.siblings = main.siblings.saturating_sub(1);
            return (main.siblings == 0 && main.has_ended).then_some(main.tid);
        }
        None
    }

    /// Whoever was the child of `tid` is the child of `heir` from here on.
    pub(crate) fn inherit(&mut self, tid: i64, heir: i64) {
        if tid == heir || heir <= 0 || !self.is_mentioned(tid) {
            return;
        }
        if self.heirs.len() >= MAX_HEIRS {
            self.heirs.clear();
        }
        self.heirs.insert(tid, heir);
        self.everything_changed();
    }

    /// The number of the parent: the one that it was born of, or else whoever took its place.
    pub(crate) fn parent_of(&self, thread: &Thread) -> i64 {
        let mut parent = thread.ptid;
        // A chain longer than this is made up.
        for _ in 0..16 {
            if self.threads.contains_key(&parent) {
                return parent;
            }
            match self.heirs.get(&parent) {
                Some(heir) => parent = *heir,
                None => return parent,
            }
        }
        parent
    }

    /// Forgets the quarter of the threads that were silent for longest.
    #[cold]
    fn forget_threads(&mut self) {
        let mut last: Vec<(u64, i64)> =
            self.threads.values().map(|thread| (thread.last_ns, thread.tid)).collect();
        let quarter = last.len() / 4;
        last.select_nth_unstable(quarter);
        for (_, tid) in last.into_iter().take(quarter) {
            let open = self.threads.get(&tid).map_or(0, |thread| thread.descriptors.len());
            self.losses.threads += 1;
            self.losses.descriptors += open as u64;
            self.remove_thread(tid);
        }
    }

    /// Forgets descriptors of those that were silent for longest until a quarter is free.
    #[cold]
    fn forget_descriptors(&mut self) {
        let mut owners: Vec<(u64, i64)> = self
            .threads
            .values()
            .filter(|thread| thread.descriptors.len() > 0)
            .map(|thread| (thread.last_ns, thread.tid))
            .collect();
        owners.sort_unstable();
        for (_, tid) in owners {
            if self.open <= MAX_DESCRIPTORS / 4 * 3 {
                return;
            }
            let Some(thread) = self.threads.get_mut(&tid) else { continue };
            let gone = core::mem::take(&mut thread.descriptors).len();
            self.open = self.open.saturating_sub(gone);
            self.losses.descriptors += gone as u64;
        }
    }

    /// Keeps a new descriptor of the table that `tid` uses.
    pub(crate) fn keep_new(&mut self, tid: i64, fd: i64, descriptor: Descriptor) {
        self.keep_made(tid, fd, |place| *place = descriptor);
    }

    /// The same, made where it will be: `make` sets all of it but the generation. Built elsewhere in
    /// pieces and moved as a whole, it would stall the processor.
    #[inline]
    pub(crate) fn keep_made(&mut self, tid: i64, fd: i64, make: impl FnOnce(&mut Descriptor)) {
        self.generations += 1;
        let mut place = self.spare.pop().unwrap_or_default();
        // A spare one is nobody else's.
        let descriptor = Arc::make_mut(&mut place);
        make(descriptor);
        descriptor.generation = self.generations;
        self.keep(tid, fd, place);
    }

    /// A descriptor that was taken out of a table.
    fn spare(&mut self, descriptor: Arc<Descriptor>) {
        if self.spare.len() < MAX_SPARE && Arc::strong_count(&descriptor) == 1 {
            self.spare.push(descriptor);
        }
    }

    /// Keeps a descriptor of the table that `tid` uses.
    pub(crate) fn keep(&mut self, tid: i64, fd: i64, descriptor: Arc<Descriptor>) {
        let owner = self.owner_slot(tid);
        self.keep_at(owner, fd, descriptor);
    }

    /// Keeps a descriptor of this very thread.
    pub(crate) fn keep_of(&mut self, tid: i64, fd: i64, descriptor: Arc<Descriptor>) {
        let slot = self.threads.find(tid);
        self.keep_at(slot, fd, descriptor);
    }

    fn keep_at(&mut self, slot: Option<u32>, fd: i64, mut descriptor: Arc<Descriptor>) {
        if descriptor.generation == 0 {
            self.generations += 1;
            Arc::make_mut(&mut descriptor).generation = self.generations;
        }
        let Some(thread) = slot.and_then(|slot| self.threads.at_mut(slot)) else {
            self.losses.descriptors += 1;
            return;
        };
        if thread.descriptors.len() >= MAX_OF_PROCESS && thread.descriptors.get(fd).is_none() {
            let mut generations: Vec<u64> =
                thread.descriptors.values().map(|found| found.generation).collect();
            let quarter = generations.len() / 4;
            let (_, oldest, _) = generations.select_nth_unstable(quarter);
            let oldest = *oldest;
            let gone = thread.descriptors.retain(|_, found| found.generation > oldest);
            self.open = self.open.saturating_sub(gone);
            self.losses.descriptors += gone as u64;
        }
        self.open += usize::from(thread.descriptors.insert(fd, descriptor));
        if self.open > MAX_DESCRIPTORS {
            self.forget_descriptors();
        }
    }

    /// Marks a descriptor of the table that `tid` uses: an exec closes it.
    pub(crate) fn close_on_exec(&mut self, tid: i64, fd: i64, closes: bool) {
        if let Some(owner) = self.owner_mut(tid) {
            owner.descriptors.close_on_exec(fd, closes);
        }
    }

    /// Takes one out of the table that `tid` uses.
    pub(crate) fn remove_descriptor(&mut self, tid: i64, fd: i64) {
        let Some(owner) = self.owner_mut(tid) else { return };
        if let Some(gone) = owner.descriptors.remove(fd) {
            self.open = self.open.saturating_sub(1);
            self.spare(gone);
        }
    }

    /// Takes those out of the table that `tid` uses that `keep` does not want.
    pub(crate) fn retain_descriptors(&mut self, tid: i64, keep: impl FnMut(i64, &Descriptor) -> bool) {
        let Some(owner) = self.owner_mut(tid) else { return };
        let gone = owner.descriptors.retain(keep);
        self.open = self.open.saturating_sub(gone);
    }

    /// Gives a thread a table of its own, with what it shared until now.
    pub(crate) fn unshare_descriptors(&mut self, tid: i64) {
        let Some(owner) = self.owner(tid).filter(|owner| owner.tid != tid) else { return };
        let copy = owner.descriptors.clone();
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let before = core::mem::replace(&mut thread.descriptors, copy).len();
        thread.has_own_descriptors = true;
        self.open = (self.open + thread.descriptors.len()).saturating_sub(before);
        if self.open > MAX_DESCRIPTORS {
            self.forget_descriptors();
        }
    }

    /// Whether what is counted is what is there; for tests.
    ///
    /// # Panics
    /// When it is not.
    pub(crate) fn check(&self) {
        let open: usize = self.threads.values().map(|thread| thread.descriptors.len()).sum();
        assert_eq!(open, self.open, "descriptors");
        for thread in self.threads.values() {
            assert_eq!(thread.descriptors.len(), thread.descriptors.iter().count(), "of {}", thread.tid);
            assert!(self.threads.get(&thread.tid).is_some_and(|found| found.tid == thread.tid));
        }
        assert!(self.threads.len() <= MAX_THREADS && self.open <= MAX_DESCRIPTORS);
    }
}
