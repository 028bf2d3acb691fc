//! Images: a number for what a process is. Whoever judges processes keeps a verdict by it, and asks
//! again only when the number is another one.
//!
//! A thread gets a new image when anything about it changes that a field of [`is_of_image`] may
//! show. Such fields also show ancestors, leaders of sessions and groups, users and containers;
//! when one of those changes, and that is rare, every thread gets a new image at its next event.

pub use nabe_event::field::image::is_of_image;

use super::{Stream, Thread};

/// Numbers that may be remembered before every one counts as mentioned.
const MAX_MENTIONED: usize = 1 << 18;

impl Stream {
    /// Something about the thread has changed.
    pub(crate) fn changed(&mut self, tid: i64) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        self.images += 1;
        (thread.image, thread.lineage) = (self.images, self.lineage);
        let (ids, siblings) = (relatives(thread), thread.siblings);
        self.mention(tid, ids);
        if siblings > 0 || self.is_mentioned(tid) {
            self.everything_changed();
        }
    }

    /// Something that many processes may show has changed.
    pub(crate) const fn everything_changed(&mut self) {
        self.lineage += 1;
    }

    /// Others are spoken of by this thread.
    fn mention(&mut self, tid: i64, others: [i64; 5]) {
        for other in others {
            if other <= 0 || other == tid {
                continue;
            }
            if self.mentioned.len() >= MAX_MENTIONED {
                self.all_mentioned = true;
                return;
            }
            self.mentioned.insert(other);
        }
    }

    pub(crate) fn is_mentioned(&self, tid: i64) -> bool {
        self.all_mentioned || self.mentioned.contains(&tid)
    }

    /// A thread comes.
    pub(crate) fn comes(&mut self, thread: &mut Thread) {
        self.images += 1;
        (thread.image, thread.lineage) = (self.images, self.lineage);
        self.mention(thread.tid, relatives(thread));
        if self.is_mentioned(thread.tid) {
            self.everything_changed();
        }
    }

    /// A thread is gone.
    pub(crate) fn goes(&mut self, tid: i64) {
        if self.is_mentioned(tid) {
            self.everything_changed();
        }
    }
}

/// Whom a thread's fields may show besides it.
const fn relatives(thread: &Thread) -> [i64; 5] {
    [thread.ptid, thread.pid, thread.sid, thread.pgid, thread.vpgid]
}
