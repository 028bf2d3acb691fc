//! What each event changes: a table from event to transition.
//!
//! A transition sees the event in the current layout, with the thread that it happened to. It runs
//! before the event is shown; what ends a descriptor or a thread only says so, since the event that
//! ends it still shows it.

mod file;
mod process;
mod socket;

use std::sync::{Arc, LazyLock};

use nabe_event::raw::Event;
use nabe_event::table::EventId;

use super::Stream;
use super::descriptor::Descriptor;

/// A change of state. `tid` is the thread of the event.
pub(crate) type Transition = fn(&mut Stream, &Step<'_>);

/// What a transition is told.
pub(crate) struct Step<'a> {
    /// The event in the current layout.
    pub(crate) event: &'a Event<'a>,
    /// The descriptor that it works on; -1 for none.
    pub(crate) fd: i64,
}

impl Step<'_> {
    /// The parameter with this name as a number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.event.signed(self.event.id.row().param(name)?.0)
    }

    /// The parameter with this name as it is.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.event.param(self.event.id.row().param(name)?.0)
    }

    /// The parameter with this name as text.
    pub(crate) fn text(&self, name: &str) -> Option<&[u8]> {
        self.event.text(self.event.id.row().param(name)?.0)
    }

    /// The result, when there is one and it is no error.
    pub(crate) fn success(&self) -> Option<i64> {
        self.event.signed(0).filter(|result| *result >= 0)
    }
}

macro_rules! transitions {
    ($( $name:literal => $transition:path, )*) => {
        /// Exit events (and those with one side only) by name.
        static NAMED: &[(&str, Transition)] = &[ $( ($name, $transition) ),* ];
    };
}

transitions! {
    "clone" => process::clone,
    "clone3" => process::clone,
    "fork" => process::clone,
    "vfork" => process::clone,
    "execve" => process::exec,
    "execveat" => process::exec,
    "procexit" => process::exit,
    "chdir" => process::chdir,
    "fchdir" => process::fchdir,
    "getcwd" => process::getcwd,
    "chroot" => process::chroot,
    "setsid" => process::setsid,
    "setpgid" => process::setpgid,
    "setuid" => process::setuid,
    "setgid" => process::setgid,
    "setresuid" => process::setresuid,
    "setresgid" => process::setresgid,
    "prctl" => process::prctl,
    "switch" => process::switch,
    "brk" => process::memory,
    "mmap" => process::memory,
    "mmap2" => process::memory,
    "munmap" => process::memory,
    "setrlimit" => process::limit,
    "prlimit" => process::limit,
    "open" => file::open,
    "openat" => file::open,
    "openat2" => file::open,
    "creat" => file::open,
    "open_by_handle_at" => file::open,
    "close" => file::close,
    "close_range" => file::close_range,
    "dup" => file::dup,
    "dup2" => file::dup,
    "dup3" => file::dup,
    "fcntl" => file::fcntl,
    "pipe" => file::pipe,
    "pipe2" => file::pipe,
    "eventfd" => file::event,
    "eventfd2" => file::event,
    "signalfd" => file::signal,
    "signalfd4" => file::signal,
    "timerfd_create" => file::timer,
    "inotify_init" => file::inotify,
    "inotify_init1" => file::inotify,
    "epoll_create" => file::epoll,
    "epoll_create1" => file::epoll,
    "userfaultfd" => file::user_fault,
    "io_uring_setup" => file::io_uring,
    "memfd_create" => file::memfd,
    "pidfd_open" => file::pidfd,
    "bpf" => file::bpf,
    "socket" => socket::socket,
    "socketpair" => socket::pair,
    "bind" => socket::bind,
    "connect" => socket::connect,
    "accept" => socket::accept,
    "accept4" => socket::accept,
    "sendto" => socket::send,
    "sendmsg" => socket::send,
    "recvfrom" => socket::receive,
    "recvmsg" => socket::receive,
    "container" => super::container::learn,
    "asyncevent" => super::container::learn,
    "useradded" => process::user_added,
    "userdeleted" => process::user_deleted,
    "groupadded" => process::group_added,
    "groupdeleted" => process::group_deleted,
}

static TABLE: LazyLock<Box<[Option<Transition>]>> = LazyLock::new(|| {
    EventId::all()
        .map(|id| {
            if id.is_syscall() && id.is_enter() && id.name() != "procexit" {
                return None;
            }
            NAMED.iter().find(|(name, _)| *name == id.name()).map(|(_, transition)| *transition)
        })
        .collect()
});

/// Whether events of this name change anything, so that both sides of them are wanted.
#[inline]
pub(crate) fn is_wanted(id: EventId) -> bool {
    static WANTED: LazyLock<Box<[bool]>> =
        LazyLock::new(|| EventId::all().map(|id| NAMED.iter().any(|(name, _)| *name == id.name())).collect());
    WANTED.get(usize::from(id.number())).copied().unwrap_or(false)
}

/// The transition of an event.
#[inline]
pub(crate) fn of(id: EventId) -> Option<Transition> {
    TABLE.get(usize::from(id.number())).copied().flatten()
}

/// Keeps a new descriptor of the event's thread and makes it the event's.
pub(crate) fn keep(stream: &mut Stream, tid: i64, number: i64, descriptor: Descriptor) {
    stream.keep(tid, number, Arc::new(descriptor));
    if let Some(thread) = stream.threads.get_mut(&tid) {
        thread.last_fd = number;
    }
}
