//! Events while they happen: BPF programs at the end of system calls and at a few hooks of the
//! scheduler, a ring (several on machines with many processors), and the state of the machine when it all began.
//!
//! In: an [`EventInterest`]. Out: [`Item`]s, as from a capture.
//!
//! **No gap.** The programs are attached first, then the snapshot is taken; events that are older
//! than the snapshot's beginning are in it already and are left out, younger ones follow it. What
//! such an event does to the state it may do twice without harm, with one exception: the birth of a
//! thread that the snapshot has would give it its parent's descriptors of now. It is left out.
//!
//! **Nothing is lost silently.** What a program could not hand out is counted by cause and
//! processor, in memory that both sides see; at the place in the stream where it is noticed stands
//! an event named `loss` (`ASYNCEVENT`, JSON `{"cause":"ring_full","cpu":0,"events":123}`).
//!
//! **No wake-ups.** The reader looks at a ring on a timer; a wake-up from inside a system call costs
//! its thread microseconds.

pub mod record;

mod cgroup;
mod control;
mod interface;
mod load;
mod ring;
mod sample;
mod snapshot;
mod sys;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nabe_event::Item;
use nabe_event::raw::{Event, Params};
use nabe_event::source::{Account, Cause, EventInterest, Lost, Source};
use nabe_event::table::EventId;
use rustix::time::{ClockId, clock_gettime};

pub use self::cgroup::{Distance, Hierarchies, Place};
use self::control::Control;
use self::load::{Layout, Programs};
use self::ring::{Rings, Slot};
use self::sample::Samples;
use self::snapshot::Snapshot;
use self::sys::Shared;
use crate::iter;
use crate::iter::cache;
use crate::iter::config::Reader;
use crate::iter::object::EVENTS;

/// Bytes that the ring has unless asked otherwise.
pub const RING_BYTES: usize = 8 << 20;
/// The shortest and the longest time between two looks at the ring.
const POLL: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// How much later than its clock a record may get into the ring and still find its place.
const LATE_NS: u64 = 2_000_000;
/// Bytes of `struct event_count`, one for each processor.
const COUNT: usize = 64;

/// How to run a probe.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the ring; a power of two and a multiple of the page size, made so when it is not.
    pub ring_bytes: usize,
    /// How many processors share a ring; `None` for 16. Each ring has `ring_bytes`.
    pub sharing: Option<u32>,
    /// How long the reader waits between two looks at a ring in which little happens.
    pub poll: Duration,
    /// Whether the state of the machine is told first.
    pub snapshot: bool,
    /// Whether the reader's own process is looked at: what it writes of events would make events.
    pub own: bool,
    /// Instead of events, what every event pays: for measuring.
    pub floor: Option<Floor>,
    /// Where relocated programs are kept between runs; `None` keeps none.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_bytes: RING_BYTES,
            sharing: None,
            poll: Duration::from_millis(20),
            snapshot: true,
            own: false,
            floor: None,
            cache: None,
        }
    }
}

/// What is at the end of every system call of the machine, instead of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// A program that returns at once.
    Empty,
    /// A program that writes a record without looking at anything. Its bytes, of which 32 to 128 in
    /// steps of 8, then 160, 192 and 256 can be had: others are rounded up.
    Record(u32),
}

impl Floor {
    /// The size of the record that is made for one of `bytes`; 0 for none.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Empty => 0,
            Self::Record(..32) => 32,
            Self::Record(bytes @ ..=128) => bytes.next_multiple_of(8),
            Self::Record(..=160) => 160,
            Self::Record(..=192) => 192,
            Self::Record(_) => 256,
        }
    }
}

/// Why there are no live events.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The event programs cannot be loaded or attached.
    #[error("live events cannot be had")]
    Programs(#[source] iter::Error),
    /// The ring cannot be mapped.
    #[error("the event ring cannot be mapped")]
    Ring(#[source] std::io::Error),
    /// The state of the machine cannot be read.
    #[error("the state of the machine cannot be read")]
    Snapshot(#[source] crate::Error),
}

/// Ends a [`Live`] from another thread or a signal handler.
#[derive(Clone, Debug)]
pub struct Handle(Arc<AtomicBool>);

impl Handle {
    /// No more events are collected; those that are in the ring are still handed out.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A probe that runs.
#[derive(Debug)]
pub struct Live {
    notes: Vec<String>,
    programs: Programs,
    ring: Rings,
    counts: Shared,
    cpus: usize,
    stop: Handle,
    poll: Duration,
    /// The process that is not looked at.
    own: Option<u32>,
    ring_bytes: usize,
    /// When the boot clock stood at 0, in ns since the epoch.
    epoch_ns: u64,
    snapshot: Snapshot,
    /// What was told of losses, by processor and cause.
    told: Vec<[u64; CAUSES.len()]>,
    told_skipped: u64,
    losses: Vec<Loss>,
    /// Where somebody wants them.
    samples: Option<Samples>,
    /// Where relocated programs are kept.
    cache: Option<PathBuf>,
    offer: Offer,
    /// How much of the offer was handed out; what a reader left comes with its next call.
    taken: Cell<usize>,
    phase: Phase,
    delivered: u64,
    /// Records that are none.
    broken: u64,
    /// Events older than the snapshot, which has what they did.
    early: u64,
}

/// Causes in the order of `struct event_count`, which has `filtered` first.
const CAUSES: [Cause; 3] = [Cause::RingFull, Cause::TooLarge, Cause::Broken];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The snapshot is to be handed out.
    Snapshot,
    /// Events.
    Events,
    /// Programs are detached; the rest of the ring.
    Draining,
    /// Everything is handed out.
    Ended,
}

/// What a batch is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    Nothing,
    Snapshot,
    /// What the last look at the ring found, then losses.
    Events,
}

/// A loss that was noticed, on its way into the stream.
#[derive(Debug)]
struct Loss {
    /// The ring's position behind which it happened.
    after: u64,
    cpu: u16,
    lengths: [u8; 12],
    data: Vec<u8>,
    ready: bool,
}

impl Loss {
    fn new(after: u64, cpu: Option<u16>, cause: Cause, events: u64) -> Self {
        let place = cpu.map_or_else(|| "null".to_owned(), |cpu| cpu.to_string());
        let json = format!(r#"{{"cause":"{}","cpu":{place},"events":{events}}}"#, cause.name());
        let mut data = 0_u32.to_le_bytes().to_vec();
        data.extend_from_slice(b"loss\0");
        data.extend_from_slice(json.as_bytes());
        let mut lengths = [0; 12];
        for (to, len) in lengths.chunks_exact_mut(4).zip([4, 5, json.len() as u32]) {
            to.copy_from_slice(&len.to_le_bytes());
        }
        Self { after, cpu: cpu.unwrap_or(0), lengths, data, ready: false }
    }

    fn event(&self, ts_ns: u64) -> Option<Event<'_>> {
        let params = Params::new(EventId::ASYNCEVENT_E, &self.lengths, &self.data)?;
        Some(Event { id: EventId::ASYNCEVENT_E, cpu: self.cpu, flags: 0, ts_ns, tid: -1, params })
    }
}

fn now_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let (seconds, rest) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// When the boot clock stood at 0: the closest of a few readings of both clocks.
fn epoch_ns() -> u64 {
    let read = || {
        let before = now_ns(ClockId::Boottime);
        let wall = now_ns(ClockId::Realtime);
        let after = now_ns(ClockId::Boottime);
        (after.saturating_sub(before), wall.saturating_sub(before.midpoint(after)))
    };
    (0..8).map(|_| read()).min().map_or(0, |(_, epoch)| epoch)
}

/// A size that a ring can have.
fn ring_size(bytes: usize) -> usize {
    bytes.clamp(rustix::param::page_size(), 1 << 30).next_power_of_two()
}

/// Whether this process has the privileges for live events, before anything is loaded: for callers that would
/// otherwise have begun something by the time [`Live::open`] says no.
///
/// # Errors
/// The capability that is missing.
pub fn permitted() -> Result<(), Error> {
    iter::missing_capabilities().map_or(Ok(()), |missing| {
        let source = std::io::Error::from_raw_os_error(libc::EPERM);
        Err(Error::Programs(iter::Error::Capability { missing, source }))
    })
}

/// Whether live events work here: the programs are loaded and attached for a moment.
///
/// # Errors
/// What is missing.
pub fn check() -> Result<(), Error> {
    let (relocated, _) = cache::relocated(&EVENTS, None).map_err(Error::Programs)?;
    let mut programs = Programs::new(relocated, Layout::single(ring_size(1)), snapshot::cpus(), None);
    programs.apply(&mut Control::new(&EventInterest::default(), None)).map_err(Error::Programs)?;
    programs.refused.pop().map_or(Ok(()), |error| Err(Error::Programs(error)))
}

/// An event program's name, and why this kernel refuses it when it does.
pub type Tried = (String, Result<(), iter::Error>);

/// Tries each event program.
///
/// # Errors
/// When programs cannot be had at all.
pub fn programs() -> Result<Vec<Tried>, Error> {
    let (relocated, _) = cache::relocated(&EVENTS, None).map_err(Error::Programs)?;
    Ok(Programs::new(relocated, Layout::single(ring_size(1)), snapshot::cpus(), None).try_all())
}

/// What the programs cannot tell.
fn lacks(programs: &Programs) -> Vec<String> {
    let refused = programs.refused.iter();
    let refused = refused
        .map(|error| format!("some system calls are told without their parameters: {}", error.short()));
    let inner = (!Reader::this().is_initial())
        .then(|| "this is a nested PID namespace: events have the host's process numbers".to_owned());
    refused.chain(inner).collect()
}

impl Live {
    /// Loads and attaches what `interest` needs, then takes the snapshot.
    ///
    /// # Errors
    /// When BPF programs cannot be had, or neither iterators nor `/proc` answer.
    pub fn open(interest: &EventInterest, options: &Options) -> Result<Self, Error> {
        let cpus = snapshot::cpus();
        let ring_bytes = ring_size(options.ring_bytes);
        let layout = Layout::new(ring_bytes, cpus, options.sharing);
        let own = (!options.own).then(std::process::id);
        let control = Control::new(interest, own);
        let attached = |programs: &mut Programs| {
            // The maps of the reader are there even when no program refers to them yet.
            programs.rings()?;
            programs.map(".bss.counts")?;
            programs.apply(&mut control.clone())
        };
        let (relocated, kept) =
            cache::relocated(&EVENTS, options.cache.as_deref()).map_err(Error::Programs)?;
        let mut programs = Programs::new(relocated, layout, cpus, options.floor);
        match attached(&mut programs) {
            Ok(()) => {}
            // Stale in a way that its key does not show, or a true refusal: the long way tells.
            Err(_) if kept => {
                let (relocated, _) = cache::relocated(&EVENTS, None).map_err(Error::Programs)?;
                programs = Programs::new(relocated, layout, cpus, options.floor);
                attached(&mut programs).map_err(Error::Programs)?;
            }
            Err(error) => return Err(Error::Programs(error)),
        }
        let ring = {
            let (rings, bytes) = programs.rings().map_err(Error::Programs)?;
            Rings::open(&rings, bytes).map_err(Error::Ring)?
        };
        let counts = programs.share(".bss.counts").map_err(Error::Programs)?;
        let epoch_ns = epoch_ns();
        let snapshot = if options.snapshot {
            Snapshot::take(options, epoch_ns).map_err(Error::Snapshot)?
        } else {
            Snapshot::none()
        };
        let mut notes = lacks(&programs);
        notes.extend_from_slice(snapshot.notes());
        Ok(Self {
            notes,
            programs,
            ring,
            counts,
            cpus: cpus as usize,
            stop: Handle(Arc::new(AtomicBool::new(false))),
            poll: options.poll.clamp(POLL.0, POLL.1),
            own,
            ring_bytes,
            epoch_ns,
            snapshot,
            told: vec![[0; CAUSES.len()]; cpus as usize],
            told_skipped: 0,
            losses: Vec::new(),
            samples: interest.samples.then(|| Samples::new(options.cache.clone())),
            cache: options.cache.clone(),
            offer: Offer::Nothing,
            taken: Cell::new(0),
            phase: Phase::Snapshot,
            delivered: 0,
            broken: 0,
            early: 0,
        })
    }

    /// Wants something else from now on. Programs that are missing are loaded; events that are in
    /// the ring already are still handed out.
    ///
    /// # Errors
    /// When a program cannot be loaded or attached; what ran goes on.
    pub fn set_interest(&mut self, interest: &EventInterest) -> Result<(), Error> {
        match (interest.samples, &self.samples) {
            (true, None) => self.samples = Some(Samples::new(self.cache.clone())),
            (false, Some(_)) => self.samples = None,
            _ => {}
        }
        self.programs.apply(&mut Control::new(interest, self.own)).map_err(Error::Programs)
    }

    /// Leaves events of threads in these cgroups out from now on, in the kernel, or (`None`) no more.
    ///
    /// # Errors
    /// When there is no room for more; they are handed out, then.
    pub fn leave_out(&mut self, place: Place, distance: Option<Distance>) -> Result<(), Error> {
        self.programs.set_stranger(place, distance).map_err(Error::Programs)
    }

    /// What ends this probe from elsewhere.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.stop.clone()
    }

    /// What cannot be seen, and what could not when the state of the machine was read: sentences for
    /// people.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn count(&self, cpu: usize, which: usize) -> u64 {
        self.counts.load(cpu * COUNT + which * 8)
    }

    /// Notices what was lost since the last time; it goes behind what is in the ring by now.
    fn notice_losses(&mut self) {
        let after = self.ring.end();
        for cpu in 0..self.cpus {
            for (which, cause) in CAUSES.into_iter().enumerate() {
                let now = self.count(cpu, which + 1);
                let Some(told) = self.told.get_mut(cpu).and_then(|line| line.get_mut(which)) else {
                    continue;
                };
                if now > *told {
                    self.losses.push(Loss::new(after, u16::try_from(cpu).ok(), cause, now - *told));
                    *told = now;
                }
            }
        }
        let skipped = self.programs.skipped();
        if skipped > self.told_skipped {
            self.losses.push(Loss::new(after, None, Cause::Busy, skipped - self.told_skipped));
            self.told_skipped = skipped;
        }
    }

    /// Items of the offer.
    fn offered(&self) -> usize {
        match self.offer {
            Offer::Nothing => 0,
            Offer::Snapshot => self.snapshot.len(),
            Offer::Events => {
                let losses = self.losses.iter().filter(|loss| loss.ready).count();
                self.ring.slots().len() + losses + self.samples.as_ref().map_or(0, Samples::len)
            }
        }
    }

    /// Looks at the ring, waiting once when little is in it.
    fn look(&mut self) {
        // What was handed out is given back before waiting: writers have the whole ring meanwhile.
        self.ring.release();
        if self.phase == Phase::Events && self.stop.is_stopped() {
            self.programs.detach();
            self.phase = Phase::Draining;
        }
        if self.phase == Phase::Events && self.ring.waiting() < self.ring_bytes / 16 {
            std::thread::sleep(self.poll);
            self.adapt();
        }
        if self.phase == Phase::Events
            && let Some(samples) = &mut self.samples
        {
            samples.look();
        }
        let horizon = match self.phase {
            Phase::Draining => u64::MAX,
            _ => now_ns(ClockId::Boottime).saturating_sub(LATE_NS),
        };
        self.notice_losses();
        self.ring.look(horizon);
        let position = self.ring.position();
        self.losses.iter_mut().for_each(|loss| loss.ready = loss.after <= position);
        if self.phase == Phase::Draining && self.ring.slots().is_empty() {
            self.phase = Phase::Ended;
            self.losses.iter_mut().for_each(|loss| loss.ready = true);
        }
    }

    /// Looks sooner where much comes, later where nothing does.
    fn adapt(&mut self) {
        let waiting = self.ring.waiting();
        if waiting > self.ring_bytes / 4 {
            self.poll = (self.poll / 2).max(POLL.0);
        } else if waiting < self.ring_bytes / 256 {
            self.poll = (self.poll + Duration::from_millis(1)).min(POLL.1);
        }
    }
}

impl Source for Live {
    type Error = Error;

    fn batch(&mut self) -> Result<Option<impl Iterator<Item = Item<'_>>>, Error> {
        if self.taken.get() >= self.offered() {
            self.losses.retain(|loss| !loss.ready);
            if let Some(samples) = &mut self.samples {
                samples.clear();
            }
            self.taken.set(0);
            self.offer = match self.phase {
                Phase::Ended => return Ok(None),
                Phase::Snapshot => {
                    self.phase = Phase::Events;
                    Offer::Snapshot
                }
                Phase::Events | Phase::Draining => {
                    self.look();
                    Offer::Events
                }
            };
        }
        let left = self.taken.get();
        let last = self.ring.slots().last().map_or_else(|| now_ns(ClockId::Boottime), |slot| slot.ts);
        let Self {
            ring,
            snapshot: state,
            losses,
            samples,
            delivered,
            early,
            epoch_ns,
            taken,
            offer,
            broken,
            ..
        } = self;
        let (epoch_ns, ring, state, taken) = (*epoch_ns, &*ring, &*state, &*taken);
        let took = move || taken.set(taken.get() + 1);
        let items = (*offer == Offer::Snapshot).then(|| state.items().skip(left).inspect(move |_| took()));
        let slots: &[Slot] = if *offer == Offer::Events { ring.slots() } else { &[] };
        let events = slots.iter().skip(left).filter_map(move |slot| {
            took();
            let Some(event) = record::decode(ring.record(slot), epoch_ns) else {
                *broken += u64::from(!slot.is_empty());
                return None;
            };
            if slot.ts < state.end() && state.has(slot.ts, &event) {
                *early += 1;
                return None;
            }
            *delivered += 1;
            Some(Item::Event(event))
        });
        let behind = left.saturating_sub(slots.len());
        let ready = losses.iter().filter(|loss| loss.ready);
        let samples_left = behind.saturating_sub(ready.clone().count());
        let losses = ready
            .skip(behind)
            .take(if *offer == Offer::Events { usize::MAX } else { 0 })
            .filter_map(move |loss| {
                took();
                loss.event(epoch_ns.wrapping_add(last)).map(Item::Event)
            });
        let samples = samples.iter().filter(|_| *offer == Offer::Events).flat_map(move |samples| {
            samples.events(epoch_ns.wrapping_add(last)).skip(samples_left).map(move |event| {
                took();
                Item::Event(event)
            })
        });
        Ok(Some(items.into_iter().flatten().chain(events).chain(losses).chain(samples)))
    }

    fn account(&self) -> Account {
        let mut account = Account { delivered: self.delivered, ..Account::default() };
        for cpu in 0..self.cpus {
            account.filtered += self.count(cpu, 0) + self.count(cpu, 4);
            for (which, cause) in CAUSES.into_iter().enumerate() {
                let events = self.count(cpu, which + 1);
                if events > 0 {
                    account.lost.push(Lost { cause, cpu: u16::try_from(cpu).ok(), events });
                }
            }
        }
        if self.broken > 0 {
            account.lost.push(Lost { cause: Cause::Broken, cpu: None, events: self.broken });
        }
        let skipped = self.programs.skipped();
        if skipped > 0 {
            account.lost.push(Lost { cause: Cause::Busy, cpu: None, events: skipped });
        }
        account.filtered += self.early;
        account.seen = account.delivered + account.filtered + account.lost();
        account
    }
}
