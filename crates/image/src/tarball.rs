//! Tar archives, read with bounded memory and written reproducibly.
//!
//! Layout: POSIX.1-2017 pax(1) "ustar Interchange Format" and "pax Interchange Format"; GNU tar's manual
//! "Basic Tar Format" and "Sparse Formats" (old GNU, 0.0, 0.1, 1.0). Extended headers are limited
//! ([`MAX_EXTENDED`]) before a byte of them is kept; general libraries read them whole.

mod header;
mod pax;
mod write;

use std::io::{self, Read};

use header::Header;
pub(crate) use write::Writer;

/// Size of a tar block.
pub(crate) const BLOCK: usize = 512;
/// Bytes of extended headers that one entry may have.
pub(crate) const MAX_EXTENDED: u64 = 1 << 20;
/// Pieces that a sparse file may have.
pub(crate) const MAX_PIECES: usize = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Directory,
    Fifo,
}

/// A piece of a sparse file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// One entry; its data follow in the archive.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// As it stands in the archive.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission, set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, u32),
    /// Length of the file, holes included.
    pub(crate) size: u64,
    /// Target of a link.
    pub(crate) link: Vec<u8>,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    /// Extended attributes.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The pieces with data, for a sparse file.
    pub(crate) pieces: Option<Vec<Piece>>,
}

/// Why an archive cannot be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The reader failed, or the archive ends early.
    Io(io::Error),
    /// An entry is malformed.
    Entry { name: Vec<u8>, reason: String },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An archive being read.
#[derive(Debug)]
pub(crate) struct Archive<R> {
    reader: R,
    /// Bytes of the current entry that were not read.
    left: u64,
    /// Bytes between them and the next header.
    padding: u64,
    done: bool,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0, done: false }
    }

    /// The next entry; what is left of the current one is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Fault> {
        let mut extended = pax::Extended::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                if extended.is_empty() {
                    return Ok(None);
                }
                return Err(extended.fault("an extended header stands before the end of the archive"));
            };
            let size = header.size().map_err(|reason| header.fault(reason))?;
            match header.flag() {
                b'x' | b'g' | b'L' | b'K' => {
                    if extended.bytes.saturating_add(size) > MAX_EXTENDED {
                        return Err(
                            header.fault(format!("extended headers of more than {MAX_EXTENDED} bytes"))
                        );
                    }
                    extended.bytes += size;
                    self.expect(size);
                    let mut data = Vec::new();
                    self.by_ref_take(&mut data)?;
                    extended.take(header.flag(), &data).map_err(|reason| header.fault(reason))?;
                }
                _ => return self.finish(&header, size, extended).map(Some),
            }
        }
    }

    /// Joins a header with its extensions.
    fn finish(&mut self, header: &Header, size: u64, extended: pax::Extended) -> Result<Entry, Fault> {
        let mut entry = header.entry()?;
        let stored = extended.size.unwrap_or(size);
        entry.size = stored;
        let sparse = extended.apply(&mut entry);
        // V7 marks a directory by its name only: the whole name, not the part that fits the header.
        if matches!(header.flag(), b'0' | 0)
            && matches!(sparse, pax::Sparse::No)
            && entry.name.ends_with(b"/")
        {
            entry.kind = Kind::Directory;
        }
        let fault = |reason: String| Fault::Entry { name: entry.name.clone(), reason };
        if entry.kind != Kind::File && stored != 0 {
            // Some writers note a size for links and directories; no data follow them.
            if !matches!(entry.kind, Kind::HardLink | Kind::Symlink | Kind::Directory) {
                return Err(fault("a special file with data".into()));
            }
            entry.size = 0;
            self.expect(0);
            return Ok(entry);
        }
        self.expect(stored);
        let map = match sparse {
            pax::Sparse::No if header.flag() == b'S' => Some((
                self.old_gnu_map(header).map_err(|e| name_it(e, &entry))?,
                header.real_size().map_err(fault)?,
            )),
            pax::Sparse::No => None,
            pax::Sparse::Map(pieces, real) => Some((pieces, real)),
            pax::Sparse::InData(real) => Some((self.map_in_data().map_err(|e| name_it(e, &entry))?, real)),
        };
        if let Some((pieces, real)) = map {
            check_pieces(&pieces, real, self.left).map_err(fault)?;
            entry.size = real;
            entry.pieces = Some(pieces);
        }
        Ok(entry)
    }

    /// Old GNU: four pieces in the header, more in blocks behind it.
    fn old_gnu_map(&mut self, header: &Header) -> Result<Vec<Piece>, Fault> {
        let (mut pieces, mut more) = header.pieces().map_err(|reason| header.fault(reason))?;
        while more {
            let mut block = [0; BLOCK];
            self.reader.read_exact(&mut block)?;
            more = header::more_pieces(&block, &mut pieces).map_err(|reason| header.fault(reason))?;
            if pieces.len() > MAX_PIECES {
                return Err(header.fault("too many pieces"));
            }
        }
        Ok(pieces)
    }

    /// GNU 1.0: decimal numbers, a line each, in front of the data, padded to a block.
    fn map_in_data(&mut self) -> Result<Vec<Piece>, Fault> {
        let fault = |reason: &str| Fault::Entry { name: Vec::new(), reason: reason.to_owned() };
        let mut numbers: Vec<u64> = Vec::new();
        let mut expected: Option<usize> = None;
        let mut current: Option<u64> = None;
        while expected.is_none_or(|expected| numbers.len() < expected) {
            if self.left < BLOCK as u64 {
                return Err(fault("its sparse map ends early"));
            }
            let mut block = [0; BLOCK];
            self.reader.read_exact(&mut block)?;
            self.left -= BLOCK as u64;
            for byte in block {
                if expected.is_some_and(|expected| numbers.len() >= expected) {
                    break;
                }
                match (byte, current) {
                    (b'0'..=b'9', number) => {
                        let next = number
                            .unwrap_or(0)
                            .checked_mul(10)
                            .and_then(|n| n.checked_add(u64::from(byte - b'0')));
                        current = Some(next.ok_or_else(|| fault("a number of its sparse map is too large"))?);
                    }
                    (b'\n', Some(number)) => {
                        current = None;
                        match expected {
                            None if number > MAX_PIECES as u64 => return Err(fault("too many pieces")),
                            None => expected = Some(usize::try_from(number).unwrap_or(0) * 2),
                            Some(_) => numbers.push(number),
                        }
                    }
                    _ => return Err(fault("its sparse map is malformed")),
                }
            }
        }
        let (pairs, _) = numbers.as_chunks::<2>();
        Ok(pairs.iter().map(|[offset, length]| Piece { offset: *offset, length: *length }).collect())
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    /// Appends the rest of the current entry, whose size was checked.
    fn by_ref_take(&mut self, data: &mut Vec<u8>) -> io::Result<()> {
        let expected = self.left;
        self.read_to_end(data)?;
        if data.len() as u64 == expected { Ok(()) } else { Err(ends_early()) }
    }

    fn skip(&mut self) -> io::Result<()> {
        let (data, padding) = (self.left, self.padding);
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.reader).take(data + padding), &mut io::sink())?;
        if skipped < data {
            return Err(ends_early());
        }
        // Go's archive/tar, when it is not closed, leaves the last padding out; umoci 0.4 writes such
        // layers, and every engine takes them.
        self.done |= skipped < data + padding;
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, Fault> {
        if self.done {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) if filled == 0 => break,
                Ok(0) => return Err(ends_early().into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if filled == 0 || block.iter().all(|byte| *byte == 0) {
            self.done = true;
            return Ok(None);
        }
        Header::new(block).map(Some)
    }

    /// What reads the archive.
    pub(crate) fn into_inner(self) -> R {
        self.reader
    }
}

impl<R: Read> Read for Archive<R> {
    /// Data of the current entry (of a sparse file: its pieces, one after the other).
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let count = self.reader.read(buffer)?;
        if count == 0 {
            return Err(ends_early());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn name_it(fault: Fault, entry: &Entry) -> Fault {
    match fault {
        Fault::Entry { reason, .. } => Fault::Entry { name: entry.name.clone(), reason },
        other => other,
    }
}

fn ends_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends early")
}

/// Pieces ascend, do not overlap, end inside the file, and have exactly the data that follow.
fn check_pieces(pieces: &[Piece], real: u64, stored: u64) -> Result<(), String> {
    let (mut end, mut sum) = (0u64, 0u64);
    for piece in pieces {
        let stop = piece.offset.checked_add(piece.length).filter(|stop| *stop <= real);
        if piece.offset < end || stop.is_none() {
            return Err("its sparse map overlaps or leaves the file".into());
        }
        end = stop.unwrap_or(end);
        sum = sum.saturating_add(piece.length);
    }
    if sum == stored { Ok(()) } else { Err("its sparse map and its data differ in size".into()) }
}

#[cfg(test)]
mod tests;
