//! State that is rebuilt from a stream of events: threads, descriptors, users, containers.
//!
//! In: what a capture (or the probe) says was there, then events. Out: each event as [`Seen`]: with
//! its thread, its descriptor, its container, ready to answer fields.
//!
//! Events go in by [`Stream::take`] (or with everything else by [`Stream::item`]) and are read by
//! [`Stream::seen`]. Bounds: 131,072 threads, 2,097,152 descriptors, 2^20 of one process; when a table
//! is full, those that were silent for longest and the oldest are forgotten and counted in
//! [`Losses`], and what is new is kept. 100,000 threads with 1,000,000 descriptors of different names
//! take 236 MiB (`examples/bound.rs`); the budget is 256 MiB.
//!
//! The rules are those of libsinsp (falcosecurity/libs `userspace/libsinsp/parsers.cpp`), so that a
//! capture reads here as there; where it guesses, the doc of the transition says so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use nabe_event::FieldId;
use nabe_event::convert;
use nabe_event::table::EventId;

mod advance;
mod bound;
pub mod container;
pub mod descriptor;
mod descriptors;
mod exercise;
mod item;
mod known;
mod lineage;
mod name;
mod number;
mod path;
mod render;
mod scratch;
mod seen;
mod service;
mod table;
pub mod thread;
mod time;
mod transition;

pub use advance::{Taken, Verdicts};
pub use container::Container;
pub use descriptor::Descriptor;
#[doc(hidden)]
pub use exercise::exercise;
pub use lineage::is_of_image;
pub use seen::Seen;
pub use service::Services;
pub use thread::Thread;
pub use time::Clock;

use number::Seed;
use table::Threads;

/// The schema's AT_FDCWD: a path is seen from the current directory.
pub(crate) const AT_FDCWD: i64 = -100;
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
    /// Threads that were forgotten: those that were silent for longest.
    pub threads: u64,
    /// Descriptors that were forgotten, of such threads or the oldest of a process, or that had no
    /// thread to belong to.
    pub descriptors: u64,
    /// Users and groups that there was no room for.
    pub accounts: u64,
    /// Containers that were forgotten although they were not gone.
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
    pub(crate) threads: Threads,
    pub(crate) users: HashMap<u32, Account>,
    pub(crate) groups: HashMap<u32, Arc<[u8]>>,
    pub(crate) containers: HashMap<Box<[u8]>, Container>,
    pub(crate) hostname: Box<[u8]>,
    pub(crate) host: item::Machine,
    pub(crate) interfaces: Vec<item::Interface>,
    /// Addresses of this machine.
    pub(crate) addresses: Vec<core::net::IpAddr>,
    /// Names of addresses, as far as somebody tells them.
    pub(crate) address_names: HashMap<core::net::IpAddr, Box<[u8]>>,
    /// Names of ports, where they are to be shown.
    pub(crate) services: Option<Services>,
    /// How often `util.cnt` was read.
    pub(crate) reads: AtomicU64,
    /// The name that the last event's descriptor had before, when the event touched it.
    pub(crate) renamed: Option<Arc<[u8]>>,
    /// How long what the last switch ended had run.
    pub(crate) ran_ns: u64,
    /// When the scheduler switched last, by processor.
    pub(crate) switches: Vec<u64>,
    /// Stands for whoever tells of containers.
    pub(crate) teller: Thread,
    pub(crate) losses: Losses,
    /// What each event changes.
    acts: &'static [transition::Act],
    /// The next event finds something left to do: none was before it, or the one before it ended or
    /// renamed something.
    is_unsettled: bool,
    /// What the event before this one ended, but still showed.
    has_ending: bool,
    ending_fd: Option<(i64, i64)>,
    ending_thread: Option<i64>,
    /// The last event.
    current: Taken,
    /// Images given out, see [`lineage`].
    images: u64,
    lineage: u64,
    /// Numbers of threads that others speak of, and whether there are more than can be remembered.
    mentioned: HashSet<i64, Seed>,
    all_mentioned: bool,
    /// Who has the children of ended threads.
    heirs: HashMap<i64, i64, Seed>,
    /// The last generation of a descriptor before events were lost.
    doubted: u64,
    /// Descriptors in all tables, and generations of their names given out.
    pub(crate) open: usize,
    generations: u64,
    /// Bytes of enter events that threads keep.
    waiting_bytes: usize,
    made: convert::Made,
    pub(crate) known: known::Known,
    /// Descriptors that nobody has any more, for the next ones to be built in.
    spare: Vec<Arc<Descriptor>>,
    /// Nothing but what was there has been told so far.
    pub(crate) prologue: bool,
    pub(crate) number: u64,
    pub(crate) first_ns: u64,
    /// The time between events that are shown.
    pub(crate) pace: time::Pace,
    last_ns: u64,
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
            threads: Threads::default(),
            users: HashMap::new(),
            groups: HashMap::new(),
            containers: HashMap::new(),
            hostname: Box::default(),
            host: item::Machine::default(),
            interfaces: Vec::new(),
            addresses: Vec::new(),
            address_names: HashMap::new(),
            services: None,
            reads: AtomicU64::new(0),
            renamed: None,
            ran_ns: 0,
            switches: Vec::new(),
            teller: Thread { pid: -1, vtid: -2, vpid: -2, ..Thread::new(-1) },
            losses: Losses::default(),
            acts: transition::Act::all(),
            is_unsettled: true,
            has_ending: false,
            ending_fd: None,
            ending_thread: None,
            current: Taken::NOTHING,
            images: 0,
            lineage: 0,
            mentioned: HashSet::default(),
            all_mentioned: false,
            heirs: HashMap::default(),
            doubted: 0,
            open: 0,
            generations: 0,
            waiting_bytes: 0,
            made: convert::Made::default(),
            known: known::Known::default(),
            spare: Vec::new(),
            prologue: true,
            number: 0,
            first_ns: 0,
            pace: time::Pace::default(),
            last_ns: 0,
        }
    }

    /// A section begins: what was known ends, but for the count of events.
    pub fn section(&mut self) {
        *self = Self {
            style: self.style,
            acts: self.acts,
            address_names: core::mem::take(&mut self.address_names),
            services: self.services.take(),
            reads: AtomicU64::new(*self.reads.get_mut()),
            prologue: true,
            number: self.number,
            first_ns: self.first_ns,
            pace: core::mem::take(&mut self.pace),
            last_ns: self.last_ns,
            losses: self.losses,
            // Never the same again.
            images: self.images,
            lineage: self.lineage + 1,
            generations: self.generations,
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

    /// The name of an address, for `fd.cip.name` and its kin: state asks no resolver itself.
    pub fn name_address(&mut self, address: core::net::IpAddr, name: &[u8]) {
        if self.address_names.len() < MAX_ACCOUNTS {
            self.address_names.insert(address, name.into());
        }
    }

    /// Shows ports under these names from here on: in names of descriptors and in parameters.
    pub fn name_ports(&mut self, services: Services) {
        self.services = Some(services);
    }

    /// A user.
    pub fn add_user(&mut self, uid: u32, account: Account) {
        if self.users.len() >= MAX_ACCOUNTS && !self.users.contains_key(&uid) {
            self.losses.accounts += 1;
            return;
        }
        self.users.insert(uid, account);
        self.everything_changed();
    }

    /// A group.
    pub fn add_group(&mut self, gid: u32, name: &[u8]) {
        if self.groups.len() >= MAX_ACCOUNTS && !self.groups.contains_key(&gid) {
            self.losses.accounts += 1;
            return;
        }
        self.groups.insert(gid, name.into());
        self.everything_changed();
    }

    /// A thread that was there when the stream began.
    pub fn add_thread(&mut self, mut thread: Thread) {
        let known = &mut self.known;
        thread.container = known.container(&thread.cgroups);
        if thread.cwd.last() != Some(&b'/') && !thread.cwd.is_empty() {
            thread.cwd = [&*thread.cwd, b"/"].concat().into();
        }
        thread.args = known.text(thread::capped(&thread.args));
        thread.env = known.text(thread::capped(&thread.env));
        for text in [
            &mut thread.comm,
            &mut thread.exe,
            &mut thread.exe_path,
            &mut thread.cwd,
            &mut thread.root,
            &mut thread.cgroups,
        ] {
            *text = known.text(text);
        }
        self.insert(thread);
    }

    /// A descriptor that was open when the stream began.
    pub fn add_descriptor(&mut self, tid: i64, number: i64, descriptor: Descriptor) {
        // A process that was born or that ended while the picture was taken may have descriptors in it and no
        // thread. Its events tell of it: nothing is lost.
        if self.threads.contains_key(&tid) {
            self.keep_of(tid, number, Arc::new(descriptor));
        }
    }

    /// Says which fields of events are read from here on, and that nothing else of the state is. What
    /// none of them shows is not kept up to date: what threads have used, that is.
    pub fn reads(&mut self, fields: &[FieldId]) {
        let used = fields.iter().any(|field| seen::shows_usage(*field));
        self.acts = if used { transition::Act::all() } else { transition::Act::all_without_usage() };
    }

    /// Says that everything is read, as it is at first.
    pub fn reads_all(&mut self) {
        self.acts = transition::Act::all();
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

    /// Bytes of memory of the tables: threads and descriptors with their texts, those that are shared
    /// counted once for each that shares them.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.threads.bytes() + self.threads.values().map(Thread::bytes).sum::<usize>()
    }

    /// Whether [`Self::apply`] wants this event in the current layout; nothing is learnt from others.
    #[must_use]
    #[inline]
    pub fn wants(id: EventId) -> bool {
        transition::Act::of(id).is_wanted
    }

    /// The event that is being taken in ends this descriptor, but still shows it.
    pub(crate) const fn end_descriptor(&mut self, tid: i64, fd: i64) {
        (self.has_ending, self.is_unsettled) = (true, true);
        self.ending_fd = Some((tid, fd));
    }

    /// The event that is being taken in ends this thread, but still shows it.
    pub(crate) const fn end_thread(&mut self, tid: i64) {
        (self.has_ending, self.is_unsettled) = (true, true);
        self.ending_thread = Some(tid);
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

    /// The slot of that thread.
    #[inline]
    pub(crate) fn owner_slot(&mut self, tid: i64) -> Option<u32> {
        let slot = self.threads.find(tid)?;
        let thread = self.threads.at(slot)?;
        if thread.shares_descriptors() {
            let pid = thread.pid;
            return self.threads.find(pid).or(Some(slot));
        }
        Some(slot)
    }

    #[inline]
    pub(crate) fn owner_mut(&mut self, tid: i64) -> Option<&mut Thread> {
        let slot = self.owner_slot(tid)?;
        self.threads.at_mut(slot)
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
        self.owner(tid)?.descriptors.get(fd)
    }

    /// A descriptor that is about to change: its name may be another one from here on.
    pub(crate) fn descriptor_mut(&mut self, tid: i64, fd: i64) -> Option<&mut Descriptor> {
        self.generations += 1;
        self.is_unsettled = true;
        let generation = self.generations;
        self.renamed = self.descriptor(tid, fd).map(|found| found.name.clone());
        let found = Arc::make_mut(self.owner_mut(tid)?.descriptors.get_mut(fd)?);
        found.generation = generation;
        Some(found)
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

    /// A path as it was given and what it is.
    pub(crate) fn name(&mut self, tid: i64, dirfd: i64, raw: &[u8]) -> (Option<Arc<[u8]>>, Arc<[u8]>) {
        if raw.first() == Some(&b'/') {
            return self.known.name(&[], raw);
        }
        if dirfd == AT_FDCWD {
            let base = self.threads.get(&tid).map(|thread| match self.threads.get(&thread.pid) {
                Some(main) => &*main.cwd,
                None => &*thread.cwd,
            });
            return self.known.name(base.unwrap_or_default(), raw);
        }
        let base = self.base(tid, dirfd, raw);
        self.known.name(&base, raw)
    }

    /// Whether a socket of the process waits at this port.
    pub(crate) fn is_bound(&self, tid: i64, port: u16) -> bool {
        let Some(owner) = self.owner(tid) else { return false };
        owner.descriptors.values().any(|found| found.kind.is_server() && found.source().port() == port)
    }
}

const fn tells_accounts(id: EventId) -> bool {
    matches!(
        id,
        EventId::USER_ADDED_E | EventId::USER_DELETED_E | EventId::GROUP_ADDED_E | EventId::GROUP_DELETED_E
    )
}
