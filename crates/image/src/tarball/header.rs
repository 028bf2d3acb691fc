//! One header block: ustar, old GNU and V7.

use std::ops::Range;

use super::{BLOCK, Entry, Fault, Kind, Piece};

/// A header whose checksum fits.
#[derive(Debug)]
pub(super) struct Header([u8; BLOCK]);

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const FLAG: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// Old GNU: four pieces, a flag for more, the real size.
const PIECES: Range<usize> = 386..482;
const MORE: usize = 482;
const REAL_SIZE: Range<usize> = 483..495;
/// Old GNU, in a block of its own: 21 pieces, a flag for more.
const MORE_PIECES: Range<usize> = 0..504;
const MORE_MORE: usize = 504;

impl Header {
    pub(super) fn new(block: [u8; BLOCK]) -> Result<Self, Fault> {
        let header = Self(block);
        let sum = |signed: bool| -> i64 {
            let value = |(at, byte): (usize, &u8)| match (CHECKSUM.contains(&at), signed) {
                (true, _) => i64::from(b' '),
                // Some old writers add signed bytes.
                (false, true) => i64::from(byte.cast_signed()),
                (false, false) => i64::from(*byte),
            };
            header.0.iter().enumerate().map(value).sum()
        };
        let said = number(header.field(CHECKSUM));
        if said
            .as_ref()
            .is_ok_and(|said| i64::try_from(*said).is_ok_and(|said| said == sum(false) || said == sum(true)))
        {
            return Ok(header);
        }
        Err(header.fault("its header's checksum does not fit: no tar archive, or a damaged one"))
    }

    fn field(&self, range: Range<usize>) -> &[u8] {
        self.0.get(range).unwrap_or_default()
    }

    fn is_ustar(&self) -> bool {
        self.field(MAGIC) == b"ustar\0"
    }

    pub(super) fn flag(&self) -> u8 {
        self.0.get(FLAG).copied().unwrap_or_default()
    }

    pub(super) fn size(&self) -> Result<u64, String> {
        number(self.field(SIZE)).map_err(|reason| format!("size: {reason}"))
    }

    /// Length of an old GNU sparse file.
    pub(super) fn real_size(&self) -> Result<u64, String> {
        number(self.field(REAL_SIZE)).map_err(|reason| format!("real size: {reason}"))
    }

    fn name(&self) -> Vec<u8> {
        let name = text(self.field(NAME));
        let prefix = if self.is_ustar() { text(self.field(PREFIX)) } else { b"" };
        match prefix {
            [] => name.to_vec(),
            _ => [prefix, b"/", name].concat(),
        }
    }

    pub(super) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::Entry { name: self.name(), reason: reason.into() }
    }

    /// The entry without its extensions.
    pub(super) fn entry(&self) -> Result<Entry, Fault> {
        let name = self.name();
        let kind = match self.flag() {
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(self.fault(format!("unknown entry type {:?}", char::from(other))));
            }
        };
        let numeric = |range, what: &str| {
            number(self.field(range)).map_err(|reason| self.fault(format!("{what}: {reason}")))
        };
        let device = match kind {
            Kind::Char | Kind::Block => (numeric(MAJOR, "major")?, numeric(MINOR, "minor")?),
            _ => (0, 0),
        };
        let small =
            |value: u64| u32::try_from(value).map_err(|_| self.fault("a device number beyond 32 bits"));
        let mtime = signed(self.field(MTIME)).map_err(|reason| self.fault(format!("mtime: {reason}")))?;
        Ok(Entry {
            kind,
            mode: u32::try_from(numeric(MODE, "mode")? & 0o7777).unwrap_or_default(),
            uid: numeric(UID, "uid")?,
            gid: numeric(GID, "gid")?,
            mtime: (mtime, 0),
            size: 0,
            link: text(self.field(LINK)).to_vec(),
            device: (small(device.0)?, small(device.1)?),
            xattrs: Vec::new(),
            pieces: None,
            name,
        })
    }

    /// Pieces of an old GNU sparse file, and whether more follow.
    pub(super) fn pieces(&self) -> Result<(Vec<Piece>, bool), String> {
        let mut pieces = Vec::new();
        read_pieces(self.field(PIECES), &mut pieces)?;
        Ok((pieces, self.0.get(MORE).is_some_and(|flag| *flag != 0)))
    }
}

/// Pieces of a continuation block, and whether more follow.
pub(super) fn more_pieces(block: &[u8; BLOCK], pieces: &mut Vec<Piece>) -> Result<bool, String> {
    read_pieces(block.get(MORE_PIECES).unwrap_or_default(), pieces)?;
    Ok(block.get(MORE_MORE).is_some_and(|flag| *flag != 0))
}

fn read_pieces(bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<(), String> {
    for pair in bytes.as_chunks::<24>().0 {
        let (offset, length) = pair.split_at(12);
        if offset.first().is_none_or(|byte| *byte == 0) {
            break;
        }
        pieces.push(Piece { offset: number(offset)?, length: number(length)? });
    }
    Ok(())
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits among spaces and NULs, or base 256 when the first bit is set.
fn number(field: &[u8]) -> Result<u64, &'static str> {
    u64::try_from(signed(field)?).map_err(|_| "negative")
}

fn signed(field: &[u8]) -> Result<i64, &'static str> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        // Two's complement over the bits after the mark.
        let start = if first & 0x40 != 0 { -1i64 } else { 0 };
        let start = start << 6 | i64::from(first & 0x3f);
        return rest.iter().try_fold(start, |value, byte| {
            value.checked_mul(256).map(|value| value | i64::from(*byte)).ok_or("a number beyond 64 bits")
        });
    }
    let digits = field.trim_ascii();
    let digits = text(digits).trim_ascii();
    digits.iter().try_fold(0i64, |value, byte| match byte {
        b'0'..=b'7' => {
            value.checked_mul(8).map(|value| value + i64::from(byte - b'0')).ok_or("a number beyond 64 bits")
        }
        _ => Err("no octal number"),
    })
}
