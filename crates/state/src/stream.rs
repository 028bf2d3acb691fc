//! State that is rebuilt from a stream of events: threads, descriptors, users, containers.
//!
//! In: what a capture (or the probe) says was there, then events. Out: each event as [`Seen`]: with
//! its thread, its descriptor, its container, ready to answer fields.
//!
//! The rules are those of libsinsp (falcosecurity/libs `userspace/libsinsp/parsers.cpp`), so that a
//! capture reads here as there; where it guesses, the doc of the transition says so.

use std::collections::HashMap;
use std::sync::Arc;

use nabe_event::convert::{Converter, Enters};
use nabe_event::raw::Event;
use nabe_event::table::{EventId, Flags};

pub mod container;
pub mod descriptor;
mod item;
mod name;
mod number;
mod path;
mod render;
mod scratch;
mod seen;
pub mod thread;
mod time;
mod transition;

pub use container::Container;
pub use descriptor::Descriptor;
pub use seen::Seen;
pub use thread::Thread;
pub use time::Clock;

use number::Numbered;
use transition::Step;

/// The schema's AT_FDCWD: a path is seen from the current directory.
pub(crate) const AT_FDCWD: i64 = -100;
/// Threads that are kept at once, as many as the kernel allows by default.
const MAX_THREADS: usize = 1 << 18;
/// Users and groups that are kept.
const MAX_ACCOUNTS: usize = 1 << 16;

/// A user of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its group; `None` when it was told by an event without it.
    pub gid: Option<u32>,
    /// Its name.
    pub name: Arc<[u8]>,
    /// Its home directory.
    pub home: Arc<[u8]>,
    /// Its shell.
    pub shell: Arc<[u8]>,
}

/// What there was no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Threads that were not kept.
    pub threads: u64,
    /// Descriptors that were not kept.
    pub descriptors: u64,
    /// Users and groups that were not kept.
    pub accounts: u64,
    /// Containers that were not kept.
    pub containers: u64,
}

/// How values are shown.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// How the time of `evt.outputtime` is written.
    pub clock: Clock,
    /// Seconds that local time is ahead of UTC.
    pub utc_offset_s: i64,
    /// The longest text of a byte buffer in `evt.args`; 0 for no limit.
    pub buffer_limit: usize,
    /// The form of a byte buffer in `evt.args`.
    pub payload: nabe_event::payload::Form,
}

impl Default for Style {
    fn default() -> Self {
        let payload = nabe_event::payload::Form::Dots;
        Self { clock: Clock::TimeOfDay, utc_offset_s: 0, buffer_limit: 80, payload }
    }
}

/// The state of a machine at one place in a stream of events.
#[derive(Debug)]
pub struct Stream {
    /// How values are shown.
    pub style: Style,
    pub(crate) threads: Numbered<Thread>,
    pub(crate) users: HashMap<u32, Account>,
    pub(crate) groups: HashMap<u32, Arc<[u8]>>,
    pub(crate) containers: HashMap<Box<[u8]>, Container>,
    pub(crate) hostname: Box<[u8]>,
    pub(crate) host: item::Machine,
    pub(crate) interfaces: Vec<item::Interface>,
    /// Addresses of this machine.
    pub(crate) addresses: Vec<core::net::IpAddr>,
    /// Stands for whoever tells of containers.
    pub(crate) teller: Thread,
    pub(crate) losses: Losses,
    /// What the event before this one ended, but still showed.
    pub(crate) ending_fd: Option<(i64, i64)>,
    pub(crate) ending_thread: Option<i64>,
    /// Nothing but what was there has been told so far.
    pub(crate) prologue: bool,
    pub(crate) number: u64,
    pub(crate) first_ns: u64,
    pub(crate) before_ns: u64,
    last_ns: u64,
    converter: Converter,
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Stream {
    /// A machine of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            style: Style::default(),
            threads: Numbered::default(),
            users: HashMap::new(),
            groups: HashMap::new(),
            containers: HashMap::new(),
            hostname: Box::default(),
            host: item::Machine::default(),
            interfaces: Vec::new(),
            addresses: Vec::new(),
            teller: Thread { pid: -1, vtid: -2, vpid: -2, ..Thread::new(-1) },
            losses: Losses::default(),
            ending_fd: None,
            ending_thread: None,
            prologue: true,
            number: 0,
            first_ns: 0,
            before_ns: 0,
            last_ns: 0,
            converter: Converter::new(Enters::Drop),
        }
    }

    /// A section begins: what was known ends, but for the count of events.
    pub fn section(&mut self) {
        *self = Self {
            style: self.style,
            prologue: true,
            number: self.number,
            first_ns: self.first_ns,
            before_ns: self.before_ns,
            last_ns: self.last_ns,
            losses: self.losses,
            ..Self::new()
        };
    }

    /// The machine's name.
    pub fn machine(&mut self, hostname: &[u8]) {
        self.hostname = hostname.into();
    }

    /// An address of the machine.
    pub fn add_address(&mut self, address: core::net::IpAddr) {
        if self.addresses.len() < MAX_ACCOUNTS {
            self.addresses.push(address);
        }
    }

    /// A user.
    pub fn add_user(&mut self, uid: u32, account: Account) {
        if self.users.len() >= MAX_ACCOUNTS && !self.users.contains_key(&uid) {
            self.losses.accounts += 1;
            return;
        }
        self.users.insert(uid, account);
    }

    /// A group.
    pub fn add_group(&mut self, gid: u32, name: &[u8]) {
        if self.groups.len() >= MAX_ACCOUNTS && !self.groups.contains_key(&gid) {
            self.losses.accounts += 1;
            return;
        }
        self.groups.insert(gid, name.into());
    }

    /// A thread that was there when the stream began.
    pub fn add_thread(&mut self, mut thread: Thread) {
        thread.container = container::id_of(&thread.cgroups);
        if thread.cwd.last() != Some(&b'/') && !thread.cwd.is_empty() {
            thread.cwd = [&*thread.cwd, b"/"].concat().into();
        }
        self.insert(thread);
    }

    /// A descriptor that was open when the stream began.
    pub fn add_descriptor(&mut self, tid: i64, number: i64, descriptor: Descriptor) {
        let kept = self.threads.get_mut(&tid).is_some_and(|thread| thread.keep(number, Arc::new(descriptor)));
        if !kept {
            self.losses.descriptors += 1;
        }
    }

    /// Events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.number
    }

    /// What there was no room for.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// The thread with this number.
    #[must_use]
    pub fn thread(&self, tid: i64) -> Option<&Thread> {
        self.threads.get(&tid)
    }

    /// How many threads are known.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.threads.len()
    }

    /// Whether [`Self::apply`] wants this event in the current layout; nothing is learnt from others.
    #[must_use]
    #[inline]
    pub fn wants(id: EventId) -> bool {
        transition::is_wanted(id)
    }

    /// Takes an event in: `shown` as the source has it, `current` the same in the current layout
    /// (`None` for an enter event that has none, and where it is not [wanted](Self::wants)). Gives it
    /// back with what is known about it.
    pub fn apply<'s>(&'s mut self, shown: &Event<'s>, current: Option<&Event<'_>>) -> Seen<'s> {
        self.advance(shown, current);
        self.seen(shown)
    }

    /// Takes an event in, of any age of the schema, and gives it back with what is known about it.
    #[inline]
    pub fn event<'s>(&'s mut self, event: &Event<'s>) -> Seen<'s> {
        if Self::wants(event.id) {
            let mut converter = core::mem::take(&mut self.converter);
            let current = converter.convert(event);
            self.advance(event, current.as_ref());
            self.converter = converter;
        } else {
            self.advance(event, None);
        }
        self.seen(event)
    }

    /// The event that was taken in last, with what is known about it.
    fn seen<'s>(&'s self, event: &Event<'s>) -> Seen<'s> {
        Seen::new(self, *event, is_container(event.id).then_some(()))
    }

    fn advance(&mut self, shown: &Event<'_>, current: Option<&Event<'_>>) {
        self.end_what_ended();
        self.number += 1;
        if self.first_ns == 0 {
            self.first_ns = shown.ts_ns;
        }
        self.before_ns = if self.last_ns == 0 { shown.ts_ns } else { self.last_ns };
        self.last_ns = shown.ts_ns;
        let is_container = is_container(shown.id);
        self.prologue &= is_container || tells_accounts(shown.id);
        if shown.id.row().flags.has(Flags::SKIPPARSERESET) && !is_container {
            return;
        }
        let fd =
            if shown.id.is_syscall() && shown.tid >= 0 { self.enter_or_exit(shown, current) } else { -1 };
        if let Some(event) = current
            && let Some(transition) = transition::of(event.id)
        {
            transition(self, &Step { event, fd });
        }
    }

    /// Notes which system call the thread is in, how long it took, and its descriptor, which it
    /// gives back; -1 for none.
    #[inline]
    fn enter_or_exit(&mut self, shown: &Event<'_>, current: Option<&Event<'_>>) -> i64 {
        let thread = match self.threads.get_mut(&shown.tid) {
            Some(thread) => thread,
            None if is_birth(shown) => return -1,
            None => {
                self.insert(Thread::unknown(shown.tid));
                match self.threads.get_mut(&shown.tid) {
                    Some(thread) => thread,
                    None => return -1,
                }
            }
        };
        let uses_fd = shown.id.row().flags.has(Flags::USES_FD);
        if shown.id.is_enter() {
            thread.enter = Some(shown.id);
            thread.enter_ns = shown.ts_ns;
            thread.latency_ns = 0;
            let position = fd_position(shown.id).filter(|_| uses_fd);
            thread.last_fd = position.and_then(|at| shown.signed(at)).map_or(-1, descriptor_number);
            return thread.last_fd;
        }
        if thread.enter_ns != 0 {
            thread.latency_ns = shown.ts_ns.saturating_sub(thread.enter_ns);
        }
        if thread.enter != Some(shown.id.other_side()) {
            thread.last_fd = -1;
            let current = current.unwrap_or(shown);
            if current.id.row().flags.has(Flags::USES_FD) {
                thread.last_fd =
                    fd_position(current.id).and_then(|at| current.signed(at)).map_or(-1, descriptor_number);
            }
        }
        thread.last_fd
    }

    fn end_what_ended(&mut self) {
        if let Some((tid, fd)) = self.ending_fd.take()
            && let Some(owner) = self.owner_mut(tid)
        {
            owner.descriptors.remove(&fd);
        }
        if let Some(tid) = self.ending_thread.take() {
            self.remove_thread(tid);
        }
    }

    pub(crate) fn insert(&mut self, thread: Thread) {
        if self.threads.len() >= MAX_THREADS && !self.threads.contains_key(&thread.tid) {
            self.losses.threads += 1;
            return;
        }
        if !thread.is_main()
            && let Some(main) = self.threads.get_mut(&thread.pid)
        {
            main.siblings += 1;
        }
        self.threads.insert(thread.tid, thread);
    }

    pub(crate) fn remove_thread(&mut self, tid: i64) {
        let Some(thread) = self.threads.remove(&tid) else { return };
        if !thread.is_main()
            && let Some(main) = self.threads.get_mut(&thread.pid)
        {
            main.siblings = main.siblings.saturating_sub(1);
        }
    }

    /// The thread whose descriptors `tid` uses.
    pub(crate) fn owner(&self, tid: i64) -> Option<&Thread> {
        let thread = self.threads.get(&tid)?;
        if thread.shares_descriptors() {
            self.threads.get(&thread.pid).or(Some(thread))
        } else {
            Some(thread)
        }
    }

    pub(crate) fn owner_mut(&mut self, tid: i64) -> Option<&mut Thread> {
        let owner = self.owner(tid)?.tid;
        self.threads.get_mut(&owner)
    }

    /// The first thread of the process of `tid`.
    pub(crate) fn main(&self, tid: i64) -> Option<&Thread> {
        let thread = self.threads.get(&tid)?;
        self.threads.get(&thread.pid).or(Some(thread))
    }

    pub(crate) fn main_mut(&mut self, tid: i64) -> Option<&mut Thread> {
        let main = self.main(tid)?.tid;
        self.threads.get_mut(&main)
    }

    pub(crate) fn descriptor(&self, tid: i64, fd: i64) -> Option<&Arc<Descriptor>> {
        self.owner(tid)?.descriptors.get(&fd)
    }

    pub(crate) fn descriptor_mut(&mut self, tid: i64, fd: i64) -> Option<&mut Descriptor> {
        self.owner_mut(tid)?.descriptors.get_mut(&fd).map(Arc::make_mut)
    }

    pub(crate) fn keep(&mut self, tid: i64, fd: i64, descriptor: Arc<Descriptor>) {
        let kept = self.owner_mut(tid).is_some_and(|owner| owner.keep(fd, descriptor));
        if !kept {
            self.losses.descriptors += 1;
        }
    }

    /// The directory that a relative `name` is seen from, with a slash at its end.
    pub(crate) fn base(&self, tid: i64, dirfd: i64, name: &[u8]) -> Vec<u8> {
        if name.first() == Some(&b'/') {
            return Vec::new();
        }
        if dirfd == AT_FDCWD {
            return self.main(tid).map(|main| main.cwd.to_vec()).unwrap_or_default();
        }
        match self.descriptor(tid, dirfd) {
            Some(directory) => [&*directory.name, b"/"].concat(),
            None => b"<UNKNOWN>".to_vec(),
        }
    }

    /// Whether a socket of the process waits at this port.
    pub(crate) fn is_bound(&self, tid: i64, port: u16) -> bool {
        let Some(owner) = self.owner(tid) else { return false };
        owner.descriptors.values().any(|found| found.kind.is_server() && found.source.port() == port)
    }
}

/// mmap's "none" came as 32 bits.
const fn descriptor_number(number: i64) -> i64 {
    if number == u32::MAX as i64 { -1 } else { number }
}

const fn is_container(id: EventId) -> bool {
    matches!(id, EventId::CONTAINER_E | EventId::CONTAINER_JSON_E | EventId::CONTAINER_JSON_2_E)
}

const fn tells_accounts(id: EventId) -> bool {
    matches!(
        id,
        EventId::USER_ADDED_E | EventId::USER_DELETED_E | EventId::GROUP_ADDED_E | EventId::GROUP_DELETED_E
    )
}

/// Whether a thread that nobody knows may be the child in this event.
fn is_birth(event: &Event<'_>) -> bool {
    matches!(event.id.name(), "clone" | "clone3" | "fork" | "vfork") && !event.id.is_enter()
}

/// Where an exit event of the current layout has the descriptor that it works on.
fn fd_position(id: EventId) -> Option<usize> {
    use std::sync::LazyLock;
    static POSITIONS: LazyLock<Box<[Option<usize>]>> = LazyLock::new(|| {
        EventId::all()
            .map(|id| {
                let row = id.row();
                row.param("fd").or_else(|| row.param("oldfd")).map(|(position, _)| position)
            })
            .collect()
    });
    POSITIONS.get(usize::from(id.number())).copied().flatten()
}
