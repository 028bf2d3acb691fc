//! The reader: fills a buffer with whole blocks and hands it out as batches of items.

mod batch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use nabe_event::source::{Account, Cause, Lost, Taker};

use crate::block::{self, Kind};
use crate::compression::{Compression, Input};
use crate::error::Error;
use crate::item::Section;
use crate::wire::Bytes;

pub use batch::{Batch, Run};
use batch::{Place, find_whole_block, to_aligned};

/// Bytes that a batch has when nothing larger comes: small enough for the second-level cache.
const BATCH: usize = 256 << 10;

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

impl nabe_event::Source for Reader {
    type Error = Error;

    fn batch(&mut self) -> Result<Option<impl Iterator<Item = crate::Item<'_>>>, Error> {
        Self::batch(self)
    }

    #[inline]
    fn each(&mut self, take: impl FnMut(&crate::Item<'_>) -> ControlFlow<()>) -> Result<bool, Error> {
        let Some(mut batch) = Self::batch(self)? else { return Ok(false) };
        batch.each(take);
        Ok(true)
    }

    #[inline]
    fn give(&mut self, taker: &mut impl Taker) -> Result<bool, Error> {
        let Some(mut batch) = Self::batch(self)? else { return Ok(false) };
        batch.give(taker);
        Ok(true)
    }

    fn account(&self) -> Account {
        let broken = self.stats.broken_events;
        let lost = Lost { cause: Cause::Broken, cpu: None, events: broken };
        Account {
            seen: self.stats.events + broken,
            delivered: self.stats.events,
            filtered: 0,
            lost: if broken > 0 { vec![lost] } else { Vec::new() },
        }
    }
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
            offset: self.offset,
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
            Place::Block | Place::Tail => 4,
            Place::Entries(_) => to_aligned(self.offset()),
            Place::Lost => 0,
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
        if matches!(self.place, Place::Block) && rest.len() >= 8 {
            // What there is of a list is still good.
            self.place = Place::Tail;
            self.need = 8;
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
