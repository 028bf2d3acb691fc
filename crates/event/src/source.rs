//! Where a stream of events comes from: the probe or a capture. This is the only fork between live
//! and replay; who reads a source does not know which it is.

use core::ops::ControlFlow;

use crate::item::Item;
use crate::raw::Event;
use crate::table::EventId;

/// A stream of items: a section, the state of the machine, then events.
pub trait Source {
    /// Why the stream cannot go on.
    type Error: core::error::Error + Send + Sync + 'static;

    /// The next items, in the order of their times; `None` at the end of the stream. A batch may be
    /// empty when a live source had nothing within its time to wait, so that the reader can look at
    /// its clock and its signals.
    ///
    /// # Errors
    /// When the source fails for good. What can be skipped is skipped and counted.
    fn batch(&mut self) -> Result<Option<impl Iterator<Item = Item<'_>>>, Self::Error>;

    /// Calls `take` with each of the next items, until it breaks; what is left then comes with the
    /// next call. Returns whether there may be more. The same as going through [`Self::batch`], but a
    /// source may be quicker at it: an item is looked at where it was made.
    ///
    /// # Errors
    /// As [`Self::batch`].
    fn each(&mut self, mut take: impl FnMut(&Item<'_>) -> ControlFlow<()>) -> Result<bool, Self::Error> {
        let Some(batch) = self.batch()? else { return Ok(false) };
        for item in batch {
            if take(&item).is_break() {
                break;
            }
        }
        Ok(true)
    }

    /// Hands the next items to `taker`, as [`Self::each`] does. A source that makes events one by one
    /// hands them on by [`Taker::event`] where it makes them.
    ///
    /// # Errors
    /// As [`Self::batch`].
    fn give(&mut self, taker: &mut impl Taker) -> Result<bool, Self::Error> {
        self.each(|item| taker.item(item))
    }

    /// What has been seen, delivered and lost so far.
    fn account(&self) -> Account;
}

/// Who takes the items of a source.
pub trait Taker {
    /// Takes an item; breaks when it wants no more.
    fn item(&mut self, item: &Item<'_>) -> ControlFlow<()>;

    /// Takes an event, as [`Self::item`] would. To be inlined where that pays: an event that is handed
    /// on in memory costs as much as reading it.
    fn event(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        self.item(&Item::Event(*event))
    }
}

/// What a source did with what it saw: `seen = delivered + filtered + lost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Events that the source looked at.
    pub seen: u64,
    /// Events that it handed out.
    pub delivered: u64,
    /// Events that its own filter, in the kernel, left out.
    pub filtered: u64,
    /// Events that are lost, by cause.
    pub lost: Vec<Lost>,
}

impl Account {
    /// All that is lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.iter().map(|lost| lost.events).sum()
    }
}

/// Events lost for one cause on one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Why.
    pub cause: Cause,
    /// Where; `None` when that is not known.
    pub cpu: Option<u16>,
    /// How many.
    pub events: u64,
}

/// Why an event is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// The ring was full: the reader was too slow.
    RingFull,
    /// The record was larger than a record may be.
    TooLarge,
    /// The program could not use its scratch memory: it was interrupted by itself.
    Busy,
    /// The record, or the block of a file, could not be read.
    Broken,
}

impl Cause {
    /// Its name, as metrics and loss events have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Broken => "broken",
        }
    }
}

/// A set of event numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct EventSet([u64; Self::WORDS]);

impl EventSet {
    const WORDS: usize = (EventId::COUNT as usize).div_ceil(64);

    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self([0; Self::WORDS])
    }

    /// All that the table has.
    #[must_use]
    pub fn all() -> Self {
        EventId::all().collect()
    }

    /// Adds one.
    pub fn insert(&mut self, id: EventId) {
        if let Some(word) = self.0.get_mut(usize::from(id.number() / 64)) {
            *word |= 1 << (id.number() % 64);
        }
    }

    /// Whether it has this one.
    #[must_use]
    #[inline]
    pub fn contains(&self, id: EventId) -> bool {
        self.0.get(usize::from(id.number() / 64)).is_some_and(|word| word >> (id.number() % 64) & 1 == 1)
    }

    /// Those that either has.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    /// Takes one out.
    pub fn remove(&mut self, id: EventId) {
        if let Some(word) = self.0.get_mut(usize::from(id.number() / 64)) {
            *word &= !(1 << (id.number() % 64));
        }
    }

    /// Those that both have.
    #[must_use]
    pub fn intersection(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    /// The same without the starts of system calls.
    #[must_use]
    pub fn ends(&self) -> Self {
        self.iter().filter(|id| !(id.is_enter() && id.is_syscall())).collect()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Its members in order.
    pub fn iter(&self) -> impl Iterator<Item = EventId> + '_ {
        EventId::all().filter(|id| self.contains(*id))
    }
}

impl Default for EventSet {
    fn default() -> Self {
        Self::none()
    }
}

impl FromIterator<EventId> for EventSet {
    fn from_iter<I: IntoIterator<Item = EventId>>(ids: I) -> Self {
        let mut set = Self::none();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

impl core::fmt::Debug for EventSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What a live source is to collect: a superset of what its readers want. The union of what all
/// readers want is what the probe is configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventInterest {
    /// Events that are handed out. Those that only change state are added by the probe as far as
    /// `state` is wanted, marked as such.
    pub events: EventSet,
    /// Whether the reader keeps threads, descriptors and containers: then events that change them
    /// are delivered even where they are not in `events` or do not pass the predicates below. With
    /// `pids`, only what changes more than the process itself is delivered of other processes:
    /// births, executions, ends, groups and limits.
    pub state: bool,
    /// Bytes of payload of reads and writes; 0 for none. At most [`MAX_SNAPLEN`].
    pub snaplen: u32,
    /// Only threads of these processes (tgids of the probe's own PID namespace); `None` for all.
    pub pids: Option<Vec<u32>>,
    /// With `pids`: also their children that are born while the source runs.
    pub follow: bool,
    /// Only threads of these cgroups (v2 ids, and v1 ids where a hierarchy of v1 names containers).
    pub cgroups: Option<Vec<u64>>,
    /// Only threads with one of these names (comm, at most 15 bytes).
    pub names: Option<Vec<Vec<u8>>>,
    /// Only threads with one of these effective user ids.
    pub euids: Option<Vec<u32>>,
    /// Only events that gave an error.
    pub only_failed: bool,
    /// Samples of all threads' CPU times (`procinfo`), one each second, whoever the threads are.
    pub samples: bool,
}

/// The longest payload that an event may carry, in bytes (sysdig's limit of `-s`).
pub const MAX_SNAPLEN: u32 = 65_000;

impl Default for EventInterest {
    fn default() -> Self {
        Self {
            events: EventSet::none(),
            state: true,
            snaplen: 80,
            pids: None,
            follow: false,
            cgroups: None,
            names: None,
            euids: None,
            only_failed: false,
            samples: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_events_hold_what_was_put_in() {
        let opens: EventSet = EventId::named("openat").collect();
        assert!(opens.contains(EventId::SYSCALL_OPENAT_2_X));
        assert!(!opens.contains(EventId::SYSCALL_CLOSE_X));
        assert_eq!(opens.iter().count(), EventId::named("openat").count());
        let closes: EventSet = [EventId::SYSCALL_CLOSE_X].into_iter().collect();
        assert!(opens.clone().intersection(&closes).is_empty());
        assert!(opens.union(&closes).contains(EventId::SYSCALL_CLOSE_X));
        assert_eq!(EventSet::all().iter().count(), usize::from(EventId::COUNT));
    }
}
