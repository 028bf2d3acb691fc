//! Images: a number for what a process is. Whoever judges processes keeps a verdict by it, and asks
//! again only when the number is another one.
//!
//! A thread gets a new image when anything about it changes that a field of [`is_of_image`] may
//! show. Such fields also show ancestors, leaders of sessions and groups, users and containers;
//! when one of those changes, and that is rare, every thread gets a new image at its next event.

use nabe_event::FieldId;
use nabe_event::field::{Class, container, metadata, process as p, thread as t};

use super::{Stream, Thread};

/// Numbers that may be remembered before every one counts as mentioned.
const MAX_MENTIONED: usize = 1 << 18;

/// Whether a field of an event says the same of the same image ([`super::Seen::image`]): it depends
/// on the process, its ancestors and its container, and on nothing that changes while they are what
/// they are, as memory, descriptors and times do.
#[must_use]
pub fn is_of_image(field: FieldId) -> bool {
    match field.class() {
        Class::Process => is_of_process_image(field),
        Class::Thread => ![
            t::FDUSAGE,
            t::PPID_DURATION,
            t::VMSIZE,
            t::VMRSS,
            t::VMSWAP,
            t::PFMAJOR,
            t::PFMINOR,
            t::EXECTIME,
            t::TOTEXECTIME,
            t::NCHILDS,
            t::CPU,
            t::CPU_USER,
            t::CPU_SYSTEM,
            t::THREAD_VMSIZE,
            t::THREAD_VMRSS,
            t::THREAD_VMSIZE_B,
            t::THREAD_VMRSS_B,
            t::STDIN_TYPE,
            t::STDOUT_TYPE,
            t::STDERR_TYPE,
            t::STDIN_NAME,
            t::STDOUT_NAME,
            t::STDERR_NAME,
        ]
        .contains(&field),
        Class::Container => field != container::PIDS,
        Class::Metadata => field != metadata::DURATION,
        Class::Event | Class::Descriptor | Class::File | Class::Audit => false,
    }
}

/// Fields that snapshots have too.
fn is_of_process_image(field: FieldId) -> bool {
    [
        p::NAME,
        p::PID,
        p::TID,
        p::PPID,
        p::VPID,
        p::VTID,
        p::SID,
        p::PGID,
        p::EXE,
        p::CWD,
        p::CMDLINE,
        p::ENV,
        p::EUID,
        p::EGID,
        p::USER,
        p::GROUP,
        p::LOGINUID,
        p::EXE_INODE,
        p::EXE_MEMFD,
        p::EXE_UPPER_LAYER,
    ]
    .contains(&field)
}

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
