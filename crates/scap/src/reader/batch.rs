//! Items out of bytes in memory, block by block; finds the next block behind damage.

use core::ops::ControlFlow;

use nabe_event::raw::Event;
use nabe_event::source::Taker;

use super::{Stats, check_section};
use crate::block::{self, EventLayout, Kind};
use crate::decode::{self, Entry, Occurrence};
use crate::item::{Item, Section};
use crate::wire::Bytes;

/// The longest block of entries, or of a kind that we do not know, whose end is looked at first.
const MAX_CONFIRMED: usize = 4 << 20;
/// Numbers of unknown blocks that are told apart; the others are counted together.
const MAX_UNKNOWN: usize = 64;
/// How far a block that lies behind damage may reach, and a section's or machine's body.
const MAX_PLAIN_BLOCK: usize = 1 << 20;
/// Where in the file's structure the next byte is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Where a block begins.
    Block,
    /// Where the last block begins, which is cut.
    Tail,
    /// Inside a state block, with so many bytes to come before the length that closes it.
    Entries(Entries),
    /// Behind damage: looking for a block.
    Lost,
}

/// What is still to come of a state block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    kind: Kind,
    /// Whose descriptors they are.
    tid: i64,
    /// Bytes before the length that closes the block.
    left: usize,
    /// That length.
    len: u32,
    /// It has been seen there.
    confirmed: bool,
}

/// Items that are in memory.
pub struct Batch<'a> {
    pub(super) bytes: &'a [u8],
    /// Where they begin in the capture.
    pub(super) offset: u64,
    pub(super) used: &'a mut usize,
    pub(super) need: &'a mut usize,
    pub(super) place: &'a mut Place,
    pub(super) stats: &'a mut Stats,
}

/// Events as they stand in a capture, one behind the other: see [`Batch::run`].
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    bytes: &'a [u8],
    events: u64,
}

impl<'a> Run<'a> {
    /// Their blocks.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many there are.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }
}

/// How nearly every event is laid out.
const USUAL: EventLayout = EventLayout { flagged: false, counted: true, large: false };

/// The index of a layout in [`Stats::event_blocks`].
const fn layout_index(layout: EventLayout) -> usize {
    layout.flagged as usize + 2 * layout.counted as usize + 4 * layout.large as usize
}

/// What came of a step.
enum Step<'a> {
    /// An item, and how many bytes it took.
    Item(Item<'a>, usize),
    /// No item, but so many bytes.
    Used(usize),
    /// So many bytes are needed first.
    Need(usize),
}

impl<'a> Iterator for Batch<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if let Some(event) = self.usual_event() {
            return Some(Item::Event(event));
        }
        self.any()
    }
}

impl<'a> Batch<'a> {
    /// Calls `take` with each item until it breaks. Quicker than the iterator: an event stays where
    /// it was put together, while `next` moves it through an `Option`, and what was just written in
    /// words and is read in larger pieces stalls the processor.
    pub fn each(&mut self, take: impl FnMut(&Item<'_>) -> ControlFlow<()>) {
        struct Each<F>(F);
        impl<F: FnMut(&Item<'_>) -> ControlFlow<()>> Taker for Each<F> {
            fn item(&mut self, item: &Item<'_>) -> ControlFlow<()> {
                self.0(item)
            }
        }
        self.give(&mut Each(take));
    }

    /// Hands `taker` each item until it breaks. The quickest: what it does with an event is inlined
    /// where the event is read, so that the event is never in memory.
    #[inline(always)]
    pub fn give(&mut self, taker: &mut impl Taker) {
        loop {
            if self.usual_events(taker).is_break() {
                return;
            }
            match self.any() {
                Some(item) if taker.item(&item).is_continue() => {}
                _ => return,
            }
        }
    }

    /// The usual events that come next, counted when they have been taken.
    #[inline(always)]
    fn usual_events(&mut self, taker: &mut impl Taker) -> ControlFlow<()> {
        if !matches!(self.place, Place::Block) {
            return ControlFlow::Continue(());
        }
        let (mut used, mut events, mut flow) = (*self.used, 0, ControlFlow::Continue(()));
        while flow.is_continue()
            && let Some((event, len)) = self.bytes.get(used..).and_then(decode::usual)
        {
            used += len;
            events += 1;
            flow = taker.event(&event);
        }
        *self.used = used;
        self.count(USUAL, events);
        flow
    }

    /// The events that come next, in the bytes that hold them: as many as `pass` wants and as stand
    /// there exactly as [`Writer`](crate::Writer) would write them. The one behind them comes with the
    /// iterator, which is asked next: another run may follow, or the bytes are used up.
    #[inline]
    pub fn run(&mut self, mut pass: impl FnMut(&Event<'a>) -> bool) -> Run<'a> {
        let start = *self.used;
        let mut events = 0;
        while matches!(self.place, Place::Block)
            && let Some(rest) = self.bytes.get(*self.used..)
            && let Some((event, len)) = decode::usual(rest)
            && rest.get(..len).is_some_and(|block| decode::is_canonical(block, &event))
            && pass(&event)
        {
            *self.used += len;
            events += 1;
        }
        self.count(USUAL, events);
        Run { bytes: self.bytes.get(start..*self.used).unwrap_or_default(), events }
    }

    #[inline(always)]
    fn usual_event(&mut self) -> Option<Event<'a>> {
        if !matches!(self.place, Place::Block) {
            return None;
        }
        let (event, len) = decode::usual(self.bytes.get(*self.used..)?)?;
        self.count(USUAL, 1);
        *self.used += len;
        Some(event)
    }

    #[inline(never)]
    fn any(&mut self) -> Option<Item<'a>> {
        loop {
            let rest = self.bytes.get(*self.used..).unwrap_or_default();
            let step = match *self.place {
                Place::Block | Place::Tail => self.block(rest),
                Place::Entries(entries) => self.entry(rest, entries),
                Place::Lost => self.search(rest),
            };
            match step {
                Step::Item(item, used) => {
                    *self.used += used;
                    return Some(item);
                }
                Step::Used(used) => *self.used += used,
                Step::Need(need) => {
                    // More than there is, or this would go on for ever.
                    *self.need = need.max(rest.len() + 1);
                    return None;
                }
            }
        }
    }

    fn block(&mut self, rest: &'a [u8]) -> Step<'a> {
        let mut bytes = Bytes::new(rest);
        let (Some(number), Some(len)) = (bytes.u32(), bytes.u32()) else { return Step::Need(8) };
        let len = len as usize;
        if len < block::FRAME {
            return self.lose();
        }
        match Kind::from_number(number) {
            Some(Kind::Event(layout)) => {
                if len > block::MAX_EVENT {
                    return self.lose();
                }
                let Some(block) = rest.get(..len) else { return Step::Need(len) };
                self.event(layout, block)
            }
            Some(kind @ (Kind::Section | Kind::Machine)) => {
                if len > MAX_PLAIN_BLOCK {
                    return self.lose();
                }
                let Some(block) = rest.get(..len) else { return Step::Need(len) };
                self.plain(kind, block)
            }
            Some(kind) => self.open(rest, kind, len),
            None => self.unknown(rest, number, len),
        }
    }

    #[inline]
    fn event(&mut self, layout: EventLayout, block: &'a [u8]) -> Step<'a> {
        let len = block.len();
        let (Some(body), Some(closing)) = (block.get(8..len - 4), block.last_chunk()) else {
            return self.lose();
        };
        let closed = u32::from_le_bytes(*closing) as usize == len;
        match decode::event(layout, body) {
            Occurrence::Event(event) => {
                // With a wrong closing length the event counts only when it fills its block.
                let whole = || len.is_multiple_of(4) && fills(layout, &event, body.len());
                if !closed && !whole() {
                    return self.lose();
                }
                self.count(layout, 1);
                Step::Item(Item::Event(event), len)
            }
            _ if !closed => self.lose(),
            Occurrence::Unknown => {
                self.count_block(layout, 1);
                self.stats.unknown_events += 1;
                Step::Used(len)
            }
            Occurrence::Broken => {
                self.count_block(layout, 1);
                self.stats.broken_events += 1;
                Step::Used(len)
            }
        }
    }

    /// Counts events that are handed out.
    #[inline]
    fn count(&mut self, layout: EventLayout, events: u64) {
        self.stats.events += events;
        self.count_block(layout, events);
    }

    #[inline]
    fn count_block(&mut self, layout: EventLayout, blocks: u64) {
        if let Some(count) = self.stats.event_blocks.get_mut(layout_index(layout)) {
            *count += blocks;
        }
    }

    /// A section header or the machine: blocks that are one item.
    fn plain(&mut self, kind: Kind, block: &'a [u8]) -> Step<'a> {
        let len = block.len();
        let (Some(body), Some(closing)) = (block.get(8..len - 4), block.last_chunk()) else {
            return self.lose();
        };
        if u32::from_le_bytes(*closing) as usize != len {
            return self.lose();
        }
        let item = if kind == Kind::Section {
            // The first section was looked at when the capture was opened.
            if check_section(block).is_err() {
                return self.lose();
            }
            section(body).map(Item::Section)
        } else {
            decode::machine(body).map(Item::Machine)
        };
        *self.stats.blocks.entry(kind).or_default() += 1;
        match item {
            Some(item) => Step::Item(item, len),
            None => {
                self.stats.broken_entries += 1;
                Step::Used(len)
            }
        }
    }

    /// A block with entries. A length that the end of the block does not confirm would make entries
    /// of what follows the block; beyond some size it is believed, and at a cut there is no end.
    fn open(&mut self, rest: &'a [u8], kind: Kind, len: usize) -> Step<'a> {
        let confirmed = len <= MAX_CONFIRMED && !matches!(self.place, Place::Tail);
        if confirmed {
            if rest.len() < len {
                return Step::Need(len);
            }
            if !closes(rest, len) {
                return self.lose();
            }
        }
        let mut left = len - block::FRAME;
        let mut used = 8;
        let mut tid = -1;
        if matches!(kind, Kind::Descriptors(_)) {
            if left < 8 {
                return self.lose();
            }
            let Some(owner) = Bytes::new(rest.get(8..).unwrap_or_default()).i64() else {
                return Step::Need(16);
            };
            tid = owner;
            left -= 8;
            used += 8;
        }
        *self.stats.blocks.entry(kind).or_default() += 1;
        *self.place = Place::Entries(Entries {
            kind,
            tid,
            left,
            len: u32::try_from(len).unwrap_or_default(),
            confirmed,
        });
        Step::Used(used)
    }

    fn entry(&mut self, rest: &'a [u8], entries: Entries) -> Step<'a> {
        let Entries { kind, tid, left, len, confirmed } = entries;
        // Fewer than four bytes are padding.
        if left < 4 {
            let mut bytes = Bytes::new(rest);
            let (Some(_), Some(closing)) = (bytes.bytes(left), bytes.u32()) else {
                return Step::Need(left + 4);
            };
            if closing != len {
                return self.lose_here(0);
            }
            *self.place = Place::Block;
            return Step::Used(left + 4);
        }
        if !confirmed && let Some(used) = closes_here(rest, (len as usize).saturating_sub(left + 4)) {
            self.stats.damaged_places += 1;
            *self.place = Place::Block;
            return Step::Used(used);
        }
        let advance = |used| Place::Entries(Entries { left: left - used, ..entries });
        match decode::entry(kind, tid, rest, left) {
            Entry::Item(item, used) => {
                *self.place = advance(used);
                Step::Item(item, used)
            }
            // Perhaps the block is over, and its length wrong.
            Entry::Skip(_) if !confirmed => {
                self.stats.broken_entries += 1;
                self.lose_here(0)
            }
            Entry::Skip(used) => {
                self.stats.broken_entries += 1;
                *self.place = advance(used);
                Step::Used(used)
            }
            Entry::Need(need) => Step::Need(need),
            Entry::Broken => {
                self.stats.broken_entries += 1;
                self.lose_here(0)
            }
        }
    }

    /// A block of a kind that a newer writer knows, or damage.
    fn unknown(&mut self, rest: &'a [u8], number: u32, len: usize) -> Step<'a> {
        if !len.is_multiple_of(4) || len > MAX_CONFIRMED {
            return self.lose();
        }
        if rest.len() < len {
            return Step::Need(len);
        }
        if !closes(rest, len) {
            return self.lose();
        }
        let unknown = &mut self.stats.unknown_blocks;
        if unknown.len() < MAX_UNKNOWN || unknown.contains_key(&number) {
            *unknown.entry(number).or_default() += 1;
        } else {
            self.stats.more_unknown_blocks += 1;
        }
        Step::Used(len)
    }

    /// Here begins no block.
    #[cold]
    fn lose(&mut self) -> Step<'a> {
        self.lose_here(4)
    }

    /// What stands here cannot be read. Blocks are aligned to four bytes, and so is the next one,
    /// `skip` bytes on at the earliest.
    #[cold]
    fn lose_here(&mut self, skip: usize) -> Step<'a> {
        let skip = skip + to_aligned(self.offset + (*self.used + skip) as u64);
        self.stats.damaged_places += 1;
        self.stats.damaged_bytes += skip as u64;
        *self.place = Place::Lost;
        Step::Used(skip)
    }

    /// Behind damage: the next place where a block of a known kind begins whose two lengths agree.
    fn search(&mut self, rest: &'a [u8]) -> Step<'a> {
        let found = find_block(rest);
        let at = match found {
            Some((at, _)) => at,
            // The last bytes may be the start of something.
            None if rest.len() < 8 => 0,
            None => (rest.len() - 4) & !3,
        };
        self.stats.damaged_bytes += at as u64;
        match found {
            Some((_, len)) if at + len <= rest.len() => *self.place = Place::Block,
            // More than this block: a new search for every four bytes would take forever.
            Some(_) if at == 0 => return Step::Need(2 * MAX_PLAIN_BLOCK),
            None if at == 0 => return Step::Need(8),
            _ => {}
        }
        Step::Used(at)
    }
}

/// Whether a block of which `before` bytes lie behind us closes here, whatever its first length
/// says, and bytes up to its end.
fn closes_here(rest: &[u8], before: usize) -> Option<usize> {
    let padding = before.wrapping_neg() % 4;
    let mut bytes = Bytes::new(rest.get(padding..)?);
    (bytes.u32()? as usize == before + padding + 4 && plausible(bytes.rest).is_some()).then_some(padding + 4)
}

/// Bytes to the next place where a block may begin.
pub(super) fn to_aligned(offset: u64) -> usize {
    usize::from(offset.wrapping_neg().to_le_bytes()[0] % 4)
}

/// Where the next block begins in bytes aligned to four, and its length. It may reach beyond them.
fn find_block(bytes: &[u8]) -> Option<(usize, usize)> {
    (0..bytes.len()).step_by(4).find_map(|at| {
        let candidate = bytes.get(at..)?;
        let len = plausible(candidate)?;
        (len > candidate.len() || closes(candidate, len)).then_some((at, len))
    })
}

/// Where the next block begins that is there as a whole.
pub(super) fn find_whole_block(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).step_by(4).find(|at| {
        let candidate = bytes.get(*at..).unwrap_or_default();
        plausible(candidate).is_some_and(|len| closes(candidate, len))
    })
}

/// The length of a block that may begin here.
fn plausible(bytes: &[u8]) -> Option<usize> {
    let mut bytes = Bytes::new(bytes);
    let (number, len) = (bytes.u32()?, bytes.u32()? as usize);
    Kind::from_number(number)?;
    (len >= block::FRAME && len.is_multiple_of(4) && len <= MAX_PLAIN_BLOCK).then_some(len)
}

/// Whether the length at the end of a block agrees with the one at its start.
fn closes(bytes: &[u8], len: usize) -> bool {
    bytes
        .get(..len)
        .and_then(|block| block.last_chunk())
        .is_some_and(|end| u32::from_le_bytes(*end) as usize == len)
}

/// Whether an event leaves no more than padding in a body.
fn fills(layout: EventLayout, event: &nabe_event::raw::Event<'_>, body: usize) -> bool {
    let header = 2 + if layout.flagged { 4 } else { 0 } + if layout.counted { 26 } else { 22 };
    let len = header + event.params.lengths().len() + event.params.data().len();
    (len..len + 4).contains(&body)
}

fn section(body: &[u8]) -> Option<Section<'_>> {
    let mut bytes = Bytes::new(body);
    let (_magic, major, minor, _len) = (bytes.u32()?, bytes.u16()?, bytes.u16()?, bytes.i64()?);
    Some(Section { major, minor, raw_options: bytes.rest })
}
