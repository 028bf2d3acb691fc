//! How an event is taken in. This is the road of every event: what it changes is read off a table
//! once, and an event that changes nothing costs its thread's look-up and no more.

use nabe_event::convert;
use nabe_event::raw::{Event, flag};
use nabe_event::table::EventId;

use super::transition::{self, Act, Step, Transition};
use super::{Seen, Stream, Thread};

/// Bytes of enter events that may wait for their exit events.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Room for an enter event that a thread keeps for the next one.
const MAX_KEPT_ROOM: usize = 1 << 10;

/// What is known of an event at once: whether people see it, and which image of a process it is
/// about. See [`Stream::take`].
///
/// Two words, which travel in registers: in memory it would be written in pieces and read back at
/// once as a whole, and that stalls the processor for longer than all the rest takes.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    image: u64,
    /// The slot of its thread, [`NO_SLOT`] for none; below it a bit for whether people see it.
    place: u64,
}

/// Beyond every slot.
const NO_SLOT: u64 = u64::MAX >> 1;

impl Taken {
    pub(crate) const NOTHING: Self = Self { image: 0, place: NO_SLOT << 1 };

    #[inline]
    fn new(slot: Option<u32>, image: u64, shown: bool) -> Self {
        Self { image, place: slot.map_or(NO_SLOT, u64::from) << 1 | u64::from(shown) }
    }

    /// The slot of its thread.
    #[inline]
    pub(crate) fn slot(&self) -> Option<u32> {
        u32::try_from(self.place >> 1).ok()
    }

    /// Whether people see it, as [`Seen::is_shown`].
    #[must_use]
    #[inline]
    pub const fn is_shown(&self) -> bool {
        self.place & 1 == 1
    }

    /// The image of its thread, as [`Seen::image`].
    #[must_use]
    #[inline]
    pub const fn image(&self) -> u64 {
        self.image
    }
}

/// Where an event happened.
struct Place {
    /// Its thread's slot.
    slot: Option<u32>,
    /// The descriptor that it works on; -1 for none.
    fd: i64,
    /// Whether it is an exit event whose enter event was seen.
    has_enter: bool,
}

impl Place {
    const NONE: Self = Self { slot: None, fd: -1, has_enter: false };
}

/// Verdicts about processes, kept for as long as nothing changes that they may depend on. For a
/// predicate that reads only fields of which [`super::is_of_image`] is true.
#[derive(Clone, Debug, Default)]
pub struct Verdicts(Vec<(u64, bool)>);

impl Verdicts {
    /// The verdict about the process of an event: the one from before, or else what `judge` says.
    #[inline]
    pub fn get(&mut self, taken: &Taken, judge: impl FnOnce() -> bool) -> bool {
        let Some(slot) = taken.slot() else { return judge() };
        let slot = slot as usize;
        match self.0.get(slot) {
            Some((image, verdict)) if *image == taken.image => *verdict,
            _ => {
                let verdict = judge();
                if slot >= self.0.len() {
                    self.0.resize(slot + 1, (0, false));
                }
                if let Some(place) = self.0.get_mut(slot) {
                    *place = (taken.image, verdict);
                }
                verdict
            }
        }
    }
}

impl Thread {
    /// Notes which system call it is in and how long that took; returns whether the event is an exit
    /// event whose enter event was seen.
    #[inline(always)]
    fn enter_or_exit(&mut self, event: &Event<'_>, act: &Act) -> bool {
        self.last_ns = event.ts_ns;
        if act.is_enter {
            self.enter = Some(event.id);
            self.enter_ns = event.ts_ns;
            self.latency_ns = 0;
            self.last_fd = transition::fd_of(event, act.fd_at);
            return false;
        }
        if self.enter_ns != 0 {
            self.latency_ns = event.ts_ns.saturating_sub(self.enter_ns);
        }
        let has_enter = self.enter == Some(event.id.other_side());
        self.enter = None;
        if !has_enter {
            self.last_fd = transition::fd_of(event, act.fd_at);
        }
        has_enter
    }
}

impl Stream {
    /// Takes an event in, of any age of the schema, and says what can be said without looking
    /// further. [`Self::seen`] gives the rest, until the next event is taken in.
    // Inlined where events are made: half of what one costs would be handing it on.
    #[inline(always)]
    pub fn take(&mut self, event: &Event<'_>) -> Taken {
        if event.flags & flag::SYNTHESISED != 0 {
            // What it tells is told again by the event that it was made of.
            self.current = Taken::NOTHING;
            return Taken::NOTHING;
        }
        let act = self.begin(event);
        if act.is_plain
            && event.tid >= 0
            && let Some(slot) = self.threads.find(event.tid)
            && let Some(thread) = self.threads.at_mut(slot)
            && thread.lineage == self.lineage
        {
            // Nearly always.
            thread.enter_or_exit(event, act);
            let taken = Taken::new(Some(slot), thread.image, self.shows(event, act));
            self.current = taken;
            return taken;
        }
        self.take_in(event, act)
    }

    #[inline(never)]
    fn take_in(&mut self, event: &Event<'_>, act: &Act) -> Taken {
        if act.is_apart {
            return self.apart(event, act);
        }
        let place = self.enter_or_exit(event, act);
        let slot = match act.transition {
            None => place.slot,
            Some(transition) => {
                self.change(event, act, transition, &place);
                self.threads.find(event.tid)
            }
        };
        self.end(event, act, slot)
    }

    /// The same for an event of which the caller has the current layout; `None` for an enter event
    /// that has none, and where it is not [wanted](Self::wants).
    fn take_converted(&mut self, shown: &Event<'_>, current: Option<&Event<'_>>) -> Taken {
        let act = self.begin(shown);
        if act.is_apart {
            return self.apart(shown, act);
        }
        let fd = self.enter_or_exit(shown, act).fd;
        if let Some(event) = current
            && let Some(transition) = Act::at(self.acts, event.id).transition
        {
            let lone = fd < 0 && event.id != shown.id;
            let fd = if lone { transition::fd_of(event, Act::of(event.id).fd_at) } else { fd };
            transition(self, &Step::new(event, fd));
        }
        let slot = self.threads.find(shown.tid);
        self.end(shown, act, slot)
    }

    /// Takes an event in: `shown` as the source has it, `current` the same in the current layout
    /// (`None` for an enter event that has none, and where it is not [wanted](Self::wants)). Gives it
    /// back with what is known about it.
    pub fn apply<'s>(&'s mut self, shown: &Event<'s>, current: Option<&Event<'_>>) -> Seen<'s> {
        self.take_converted(shown, current);
        self.seen(shown)
    }

    /// Takes an event in, of any age of the schema, and gives it back with what is known about it.
    #[inline]
    pub fn event<'s>(&'s mut self, event: &Event<'s>) -> Seen<'s> {
        self.take(event);
        self.seen(event)
    }

    /// What [`Self::take`] said of the event that was taken in last.
    #[must_use]
    #[inline]
    pub const fn taken(&self) -> Taken {
        self.current
    }

    /// The event that was taken in last, with what is known about it.
    #[inline]
    pub fn seen<'s>(&'s self, event: &Event<'s>) -> Seen<'s> {
        Seen::new(self, *event)
    }

    #[inline]
    fn begin(&mut self, event: &Event<'_>) -> &'static Act {
        let act = Act::at(self.acts, event.id);
        self.number += 1;
        if self.is_unsettled {
            self.settle(event, act);
        }
        self.last_ns = event.ts_ns;
        act
    }

    /// Does what the event before this one left to do, and what only the first events ask for.
    #[inline(never)]
    fn settle(&mut self, event: &Event<'_>, act: &Act) {
        if self.has_ending {
            self.end_what_ended();
        }
        // What tells of containers and accounts may have been made at another time than what it stands
        // before.
        if self.first_ns == 0 && !act.is_prologue {
            self.first_ns = event.ts_ns;
        }
        self.renamed = None;
        self.prologue &= act.is_prologue;
        self.is_unsettled = self.prologue || self.first_ns == 0;
    }

    /// What is no act of a thread, but may have happened to one; a sample (`procinfo`) is about it.
    fn apart(&mut self, event: &Event<'_>, act: &Act) -> Taken {
        let slot = self.threads.find(event.tid);
        if act.is_usage && event.id == EventId::SCHEDSWITCH_1_E {
            self.switched(event);
        }
        if act.is_usage
            && event.id == EventId::PROCINFO_E
            && let Some(thread) = slot.and_then(|slot| self.threads.at_mut(slot))
        {
            thread.sample(event);
        }
        self.end(event, act, slot)
    }

    #[inline]
    fn shows(&self, event: &Event<'_>, act: &Act) -> bool {
        !self.prologue && act.is_shown && event.flags & flag::STATE_ONLY == 0
    }

    #[inline]
    fn end(&mut self, event: &Event<'_>, act: &Act, slot: Option<u32>) -> Taken {
        let lineage = self.lineage;
        let image = match slot.and_then(|slot| self.threads.at_mut(slot)) {
            Some(thread) => {
                if thread.lineage != lineage {
                    self.images += 1;
                    (thread.image, thread.lineage) = (self.images, lineage);
                }
                thread.image
            }
            None => 0,
        };
        let slot = if act.is_container { None } else { slot };
        let taken = Taken::new(slot, image, self.shows(event, act));
        self.current = taken;
        taken
    }

    /// Notes which system call the thread is in and how long it took.
    #[inline]
    fn enter_or_exit(&mut self, event: &Event<'_>, act: &Act) -> Place {
        if !act.is_syscall || event.tid < 0 {
            return Place { slot: self.threads.find(event.tid), ..Place::NONE };
        }
        let Some(slot) = self.threads.find(event.tid).or_else(|| self.newcomer(event, act)) else {
            return Place::NONE;
        };
        let Some(thread) = self.threads.at_mut(slot) else { return Place::NONE };
        let has_enter = thread.enter_or_exit(event, act);
        if act.is_kept {
            let before = thread.kept.room_bytes();
            thread.kept.keep(event);
            self.waiting_bytes += thread.kept.room_bytes() - before;
        }
        Place { slot: Some(slot), fd: thread.last_fd, has_enter }
    }

    /// A thread that was never told of; none when the event may be a child's first.
    #[cold]
    fn newcomer(&mut self, event: &Event<'_>, act: &Act) -> Option<u32> {
        if act.is_birth {
            return None;
        }
        self.insert(Thread::unknown(event.tid));
        self.threads.find(event.tid)
    }

    /// Runs a transition, on the event in the current layout where it wants that.
    #[inline(never)]
    fn change(&mut self, event: &Event<'_>, act: &Act, transition: Transition, place: &Place) {
        let fd = place.fd;
        if !act.converted {
            return transition(self, &Step::new(event, fd));
        }
        let thread = place.slot.filter(|_| place.has_enter).and_then(|slot| self.threads.at_mut(slot));
        let enter = thread.map(|thread| core::mem::take(&mut thread.kept));
        let params = enter.as_ref().and_then(|enter| enter.params(event.id.other_side()));
        let mut made = core::mem::take(&mut self.made);
        if let Some(current) = convert::current(event, params, &mut made) {
            transition(self, &Step::new(&current, fd));
        }
        self.made = made;
        if let Some(enter) = enter {
            self.give_back(place.slot, enter);
        }
    }

    /// The room of an enter event goes back to its thread, unless it is large or the thread gone.
    fn give_back(&mut self, slot: Option<u32>, enter: convert::Enter) {
        let room = enter.room_bytes();
        let thread = slot.filter(|_| room <= MAX_KEPT_ROOM).and_then(|slot| self.threads.at_mut(slot));
        match thread {
            Some(thread) if thread.kept.room_bytes() == 0 => thread.kept = enter,
            _ => self.waiting_bytes = self.waiting_bytes.saturating_sub(room),
        }
        if self.waiting_bytes > MAX_WAITING_BYTES {
            self.forget_enters();
        }
    }

    /// Too many wait: whoever made them wait does not mean to return.
    #[cold]
    fn forget_enters(&mut self) {
        self.threads.each(|thread| thread.kept = convert::Enter::default());
        self.waiting_bytes = 0;
    }

    /// Events are lost here: an exit event may belong to an enter event that was not seen, and what
    /// was closed in the gap still stands in the tables.
    pub(crate) fn lose(&mut self) {
        self.doubted = self.generations;
        self.threads.each(|thread| thread.enter = None);
    }

    fn end_what_ended(&mut self) {
        self.has_ending = false;
        if let Some((tid, fd)) = self.ending_fd.take() {
            self.remove_descriptor(tid, fd);
        }
        if let Some(tid) = self.ending_thread.take() {
            self.end_of(tid);
        }
    }
}
