//! The reader: fills a buffer with whole blocks and hands out the items in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::block::{self, Kind};
use crate::compression::{Compression, Input};
use crate::decode::{self, Entry, Occurrence};
use crate::error::Error;
use crate::item::{Item, Section};
use crate::wire::Bytes;

/// Bytes that a batch has when nothing larger comes: small enough for the second-level cache.
const BATCH: usize = 256 << 10;
/// How far a block that lies behind damage may reach, and a section's or machine's body.
const MAX_PLAIN_BLOCK: usize = 1 << 20;
/// Numbers of unknown blocks that are told apart; the others are counted together.
const MAX_UNKNOWN: usize = 64;

/// How a capture ended.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Ending {
    /// It has not been read to its end.
    #[default]
    Unread,
    /// Where a block ends.
    Complete,
    /// Inside a block: the file was cut, or its writer was killed.
    Cut {
        /// Where that block begins, in bytes after decompression.
        offset: u64,
        /// Bytes of it that are there.
        have: u64,
    },
    /// The compressed stream is damaged and cannot be decompressed further.
    Undecodable {
        /// Bytes read until then, after decompression.
        offset: u64,
        /// What the decoder says.
        source: io::Error,
    },
}

/// What was read and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events handed out.
    pub events: u64,
    /// Blocks of each kind but events.
    pub blocks: BTreeMap<Kind, u64>,
    /// Event blocks of each layout: index is flagged + 2 × counted + 4 × large.
    pub event_blocks: [u64; 8],
    /// Events whose number this version does not know.
    pub unknown_events: u64,
    /// Blocks of unknown kinds, by number.
    pub unknown_blocks: BTreeMap<u32, u64>,
    /// Unknown blocks beyond the numbers that are told apart.
    pub more_unknown_blocks: u64,
    /// Events whose lengths do not fit.
    pub broken_events: u64,
    /// Entries of state blocks that cannot be read.
    pub broken_entries: u64,
    /// Places where no block could begin and the next one had to be searched.
    pub damaged_places: u64,
    /// Bytes skipped there.
    pub damaged_bytes: u64,
}

impl Stats {
    /// Whether everything could be read.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.broken_events == 0 && self.broken_entries == 0 && self.damaged_places == 0
    }
}

/// Reads a capture.
///
/// ```no_run
/// # fn main() -> Result<(), nabe_scap::Error> {
/// let mut reader = nabe_scap::Reader::open("a.scap".as_ref())?;
/// while let Some(batch) = reader.batch()? {
///     for item in batch {
///         println!("{item:?}");
///     }
/// }
/// println!("{:?}", reader.ending());
/// # Ok(())
/// # }
/// ```
pub struct Reader {
    input: Input,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are in use, and how many of them have been handed out.
    filled: usize,
    used: usize,
    /// Bytes before the buffer.
    offset: u64,
    /// Bytes that are needed behind `used` before anything can be handed out.
    need: usize,
    place: Place,
    stats: Stats,
    ending: Ending,
    /// The input has no more.
    dry: Option<Ending>,
}

/// Where in the file's structure the next byte is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Where a block begins.
    Block,
    /// Inside a state block, with so many bytes to come before the length that closes it.
    Entries(Entries),
    /// Bytes that nobody wants.
    Skip(u64),
    /// Behind damage: looking for a block.
    Lost,
}

/// What is still to come of a state block.
#[derive(Clone, Copy, Debug)]
struct Entries {
    kind: Kind,
    /// Whose descriptors they are.
    tid: i64,
    /// Bytes before the length that closes the block.
    left: usize,
    /// That length.
    len: u32,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be opened or is not a capture.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Open { path: path.to_path_buf(), source })?;
        Self::new(file)
    }

    /// Reads from anything, standard input for example; decompresses it when need be.
    ///
    /// # Errors
    /// When it cannot be read or is not a capture.
    pub fn new(source: impl Read + Send + 'static) -> Result<Self, Error> {
        let input = Input::new(source).map_err(|source| Error::Read { offset: 0, source })?;
        let mut reader = Self {
            input,
            buffer: vec![0; BATCH],
            filled: 0,
            used: 0,
            offset: 0,
            need: 8,
            place: Place::Block,
            stats: Stats::default(),
            ending: Ending::Unread,
            dry: None,
        };
        reader.fill(SECTION_HEAD)?;
        let head = reader.buffer.get(..reader.filled).unwrap_or_default();
        match check_section(head) {
            Ok(()) => Ok(reader),
            // When the stream cannot be decompressed, that is what is wrong.
            Err(_) if matches!(reader.dry, Some(Ending::Undecodable { .. })) => match reader.dry {
                Some(Ending::Undecodable { offset, source }) => Err(Error::Read { offset, source }),
                _ => Err(Error::Empty),
            },
            Err(error) => Err(error),
        }
    }

    /// How the input is compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.input.compression
    }

    /// Bytes taken from the file or pipe so far, as they are stored there: progress, next to the
    /// file's size.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.input.taken()
    }

    /// Bytes handed out so far, after decompression.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset + self.used as u64
    }

    /// What was read so far and what could not be.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How the capture ended, once [`Self::batch`] has given `None`.
    #[must_use]
    pub fn ending(&self) -> &Ending {
        &self.ending
    }

    /// The next items; `None` at the end. Items that are left in a batch come with the next one.
    ///
    /// # Errors
    /// When the input fails, or a section has a byte order or version that cannot be read.
    pub fn batch(&mut self) -> Result<Option<Batch<'_>>, Error> {
        loop {
            if !matches!(self.ending, Ending::Unread) {
                return Ok(None);
            }
            if self.filled - self.used < self.need {
                self.fill(self.need)?;
            }
            if self.filled - self.used >= self.need {
                break;
            }
            if let Some(ending) = self.dry.take() {
                self.end(ending);
            }
        }
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        Ok(Some(Batch {
            bytes,
            used: &mut self.used,
            need: &mut self.need,
            place: &mut self.place,
            stats: &mut self.stats,
        }))
    }

    /// There is no more input and less than needed is left.
    fn end(&mut self, ending: Ending) {
        let rest = self.buffer.get(self.used..self.filled).unwrap_or_default();
        // What reaches beyond the end although whole blocks follow has a wrong length.
        let skip = match self.place {
            Place::Block => 4,
            Place::Entries(entries) => entries.left % 4,
            Place::Lost => 0,
            Place::Skip(_) => rest.len(),
        };
        if let Some(at) = rest.get(skip..).and_then(find_whole_block) {
            if !matches!(self.place, Place::Lost) {
                self.stats.damaged_places += 1;
            }
            self.stats.damaged_bytes += (skip + at) as u64;
            self.used += skip + at;
            self.need = 8;
            self.place = Place::Block;
            self.dry = Some(ending);
            return;
        }
        let have = rest.len() as u64;
        let offset = self.offset();
        self.ending = match (ending, self.place) {
            (ending @ Ending::Undecodable { .. }, _) => ending,
            (_, Place::Block) if have == 0 => Ending::Complete,
            (_, Place::Lost) => {
                self.stats.damaged_bytes += have;
                Ending::Cut { offset, have }
            }
            _ => Ending::Cut { offset, have },
        };
        self.used = self.filled;
    }

    /// Makes room for `need` bytes behind `used` and reads until they are there or the input ends; no
    /// longer, so that a slow pipe's events come when they are written.
    fn fill(&mut self, need: usize) -> Result<(), Error> {
        if self.used > 0 {
            self.buffer.copy_within(self.used..self.filled, 0);
            self.offset += self.used as u64;
            self.filled -= self.used;
            self.used = 0;
        }
        while self.dry.is_none() && self.filled < need {
            if self.filled == self.buffer.len() {
                // Doubling: memory is taken for bytes that came, not for a length that was claimed.
                let len = (self.buffer.len() * 2).min(need);
                self.buffer.resize(len, 0);
            }
            match self.input.read(self.buffer.get_mut(self.filled..).unwrap_or_default()) {
                Ok(0) => self.dry = Some(Ending::Complete),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let offset = self.offset + self.filled as u64;
                    self.dry = Some(match self.input.compression {
                        Compression::None => return Err(Error::Read { offset, source }),
                        // What the decoder gave before is still good.
                        _ => Ending::Undecodable { offset, source },
                    });
                }
            }
        }
        Ok(())
    }
}

/// Bytes of a section up to its options.
const SECTION_HEAD: usize = 24;

/// Whether a capture that we can read begins here.
fn check_section(head: &[u8]) -> Result<(), Error> {
    let mut bytes = Bytes::new(head);
    match bytes.u32() {
        None if head.is_empty() => return Err(Error::Empty),
        None => return Err(Error::CutHeader { have: head.len() }),
        Some(found) if found != Kind::Section.number() => return Err(Error::NotACapture { found }),
        Some(_) => {}
    }
    let (Some(_len), Some(magic), Some(major), Some(minor)) =
        (bytes.u32(), bytes.u32(), bytes.u16(), bytes.u16())
    else {
        return Err(Error::CutHeader { have: head.len() });
    };
    if magic == block::MAGIC.swap_bytes() {
        return Err(Error::ByteOrder);
    }
    if magic != block::MAGIC {
        return Err(Error::Magic { found: magic });
    }
    if major > Section::CURRENT.major {
        return Err(Error::Version { major, minor });
    }
    Ok(())
}

/// Items that are in memory.
pub struct Batch<'a> {
    bytes: &'a [u8],
    used: &'a mut usize,
    need: &'a mut usize,
    place: &'a mut Place,
    stats: &'a mut Stats,
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
        loop {
            let rest = self.bytes.get(*self.used..).unwrap_or_default();
            let step = match *self.place {
                Place::Block => self.block(rest),
                Place::Entries(entries) => self.entry(rest, entries),
                Place::Skip(left) => self.skip(rest, left),
                Place::Lost => self.search(rest),
            };
            match step {
                Step::Item(item, used) => {
                    *self.used += used;
                    return Some(item);
                }
                Step::Used(used) => *self.used += used,
                Step::Need(need) => {
                    *self.need = need;
                    return None;
                }
            }
        }
    }
}

impl<'a> Batch<'a> {
    #[inline]
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
            Some(kind) => self.open(kind, bytes, len),
            None => self.unknown(rest, number, len),
        }
    }

    #[inline]
    fn event(&mut self, layout: crate::block::EventLayout, block: &'a [u8]) -> Step<'a> {
        let len = block.len();
        let (Some(body), Some(closing)) = (block.get(8..len - 4), block.last_chunk()) else {
            return self.lose();
        };
        let closed = u32::from_le_bytes(*closing) as usize == len;
        match decode::event(layout, body) {
            Occurrence::Event(event) => {
                // With a wrong closing length the event counts only when it fills its block.
                if !closed && !fills(layout, &event, body.len()) {
                    return self.lose();
                }
                self.count(layout);
                self.stats.events += 1;
                Step::Item(Item::Event(event), len)
            }
            _ if !closed => self.lose(),
            Occurrence::Unknown => {
                self.count(layout);
                self.stats.unknown_events += 1;
                Step::Used(len)
            }
            Occurrence::Broken => {
                self.count(layout);
                self.stats.broken_events += 1;
                Step::Used(len)
            }
        }
    }

    #[inline]
    fn count(&mut self, layout: crate::block::EventLayout) {
        let index =
            usize::from(layout.flagged) + 2 * usize::from(layout.counted) + 4 * usize::from(layout.large);
        if let Some(count) = self.stats.event_blocks.get_mut(index) {
            *count += 1;
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

    /// A block with entries.
    fn open(&mut self, kind: Kind, mut bytes: Bytes<'a>, len: usize) -> Step<'a> {
        let mut left = len - block::FRAME;
        let mut used = 8;
        let mut tid = -1;
        if matches!(kind, Kind::Descriptors(_)) {
            if left < 8 {
                return self.lose();
            }
            let Some(owner) = bytes.i64() else { return Step::Need(16) };
            tid = owner;
            left -= 8;
            used += 8;
        }
        *self.stats.blocks.entry(kind).or_default() += 1;
        *self.place =
            Place::Entries(Entries { kind, tid, left, len: u32::try_from(len).unwrap_or_default() });
        Step::Used(used)
    }

    fn entry(&mut self, rest: &'a [u8], entries: Entries) -> Step<'a> {
        let Entries { kind, tid, left, len } = entries;
        // Fewer than four bytes are padding.
        if left < 4 {
            let mut bytes = Bytes::new(rest);
            let (Some(_), Some(closing)) = (bytes.bytes(left), bytes.u32()) else {
                return Step::Need(left + 4);
            };
            if closing != len {
                return self.lose_at(left);
            }
            *self.place = Place::Block;
            return Step::Used(left + 4);
        }
        let advance = |used| Place::Entries(Entries { left: left - used, ..entries });
        match decode::entry(kind, tid, rest, left) {
            Entry::Item(item, used) => {
                *self.place = advance(used);
                Step::Item(item, used)
            }
            Entry::Skip(used) => {
                self.stats.broken_entries += 1;
                *self.place = advance(used);
                Step::Used(used)
            }
            Entry::Need(need) => Step::Need(need),
            Entry::Broken => {
                self.stats.broken_entries += 1;
                self.lose_at(left % 4)
            }
        }
    }

    fn skip(&mut self, rest: &'a [u8], left: u64) -> Step<'a> {
        if left == 0 {
            *self.place = Place::Block;
            return Step::Used(0);
        }
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        if here == 0 {
            return Step::Need(1);
        }
        *self.place = Place::Skip(left - here as u64);
        Step::Used(here)
    }

    /// A block of a kind that a newer writer knows, or damage.
    fn unknown(&mut self, rest: &'a [u8], number: u32, len: usize) -> Step<'a> {
        if !len.is_multiple_of(4) {
            return self.lose();
        }
        if len <= MAX_PLAIN_BLOCK {
            if rest.len() < len {
                return Step::Need(len);
            }
            if !closes(rest, len) {
                return self.lose();
            }
        }
        let unknown = &mut self.stats.unknown_blocks;
        if unknown.len() < MAX_UNKNOWN || unknown.contains_key(&number) {
            *unknown.entry(number).or_default() += 1;
        } else {
            self.stats.more_unknown_blocks += 1;
        }
        *self.place = Place::Skip(len as u64);
        Step::Used(0)
    }

    /// Here begins no block.
    #[cold]
    fn lose(&mut self) -> Step<'a> {
        // Blocks are aligned to four bytes, and so is the next one.
        self.lose_at(4)
    }

    /// What stands here cannot be read, and the next block begins `skip` bytes on at the earliest.
    #[cold]
    fn lose_at(&mut self, skip: usize) -> Step<'a> {
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
            None => rest.len().saturating_sub(7) & !3,
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

/// Where the next block begins in bytes aligned to four, and its length. It may reach beyond them.
fn find_block(bytes: &[u8]) -> Option<(usize, usize)> {
    (0..bytes.len()).step_by(4).find_map(|at| {
        let candidate = bytes.get(at..)?;
        let len = plausible(candidate)?;
        (len > candidate.len() || closes(candidate, len)).then_some((at, len))
    })
}

/// Where the next block begins that is there as a whole.
fn find_whole_block(bytes: &[u8]) -> Option<usize> {
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
fn fills(layout: crate::block::EventLayout, event: &nabe_event::raw::Event<'_>, body: usize) -> bool {
    let header = 2 + if layout.flagged { 4 } else { 0 } + if layout.counted { 26 } else { 22 };
    let len = header + event.params.lengths().len() + event.params.data().len();
    (len..len + 4).contains(&body)
}

fn section(body: &[u8]) -> Option<Section<'_>> {
    let mut bytes = Bytes::new(body);
    let (_magic, major, minor, _len) = (bytes.u32()?, bytes.u16()?, bytes.u16()?, bytes.i64()?);
    Some(Section { major, minor, raw_options: bytes.rest })
}
