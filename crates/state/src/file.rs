//! The snapshot file: what `nabe ps --save` writes and `--load` reads.
//!
//! Layout, little-endian: the eight bytes `NABESNAP`, `u16 version` ([`record::VERSION`]), six zero
//! bytes, then records (`nabe_event::record`), the last of which is an `End` with the number of
//! records, their bytes and their CRC-32, so that a cut or damaged file is told from a whole one.

use nabe_event::record::{self, Broken, End, Fixed as _, Kind, Records};

/// The first bytes of the file.
pub const MAGIC: &[u8; 8] = b"NABESNAP";
const HEADER: usize = 16;

/// Why a file is no snapshot, or not a whole one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Something else, or nothing.
    #[error("not a nabe snapshot: it does not begin with NABESNAP")]
    Foreign,
    /// Written by a newer nabe.
    #[error("snapshot version {version} is newer than this nabe reads ({})", record::VERSION)]
    Newer {
        /// Its version.
        version: u16,
    },
    /// A record that does not read.
    #[error("damaged or cut")]
    Broken(#[source] Broken),
    /// No `End`: it was cut between two records.
    #[error("cut at byte {offset}: the end of the snapshot is missing")]
    NoEnd {
        /// Where it ends.
        offset: usize,
    },
    /// The checksum or the counts differ.
    #[error("damaged: its checksum does not match")]
    Checksum,
    /// Something stands behind the `End`.
    #[error("{bytes} bytes stand behind the end of the snapshot")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// The file that holds `records`.
#[must_use]
pub fn write(records: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + records.len() + 64);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&record::VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(records);
    let end = End {
        records: Records::new(records).count() as u64,
        bytes: records.len() as u64,
        crc: crc32fast::hash(records),
        reserved: 0,
    };
    record::write(&mut out, Kind::End, 0, &end, &[]);
    out
}

/// The records in a file, checked.
///
/// # Errors
/// When it is not whole, with the place.
pub fn read(file: &[u8]) -> Result<&[u8], Error> {
    let magic = file.get(..MAGIC.len());
    if magic != Some(MAGIC.as_slice()) {
        return Err(Error::Foreign);
    }
    let version = file.get(8..10).and_then(|v| v.try_into().ok()).map_or(0, u16::from_le_bytes);
    if version > record::VERSION {
        return Err(Error::Newer { version });
    }
    let Some(records) = file.get(HEADER..) else {
        return Err(Error::NoEnd { offset: file.len() });
    };
    let mut reader = Records::new(records);
    let mut count = 0;
    loop {
        let start = reader.offset();
        let Some(next) = reader.next() else {
            return Err(Error::NoEnd { offset: file.len() });
        };
        let next = next.map_err(|cause| Error::Broken(cause.shifted(HEADER)))?;
        if next.kind == Some(Kind::End) {
            let end = End::decode(next.body);
            let kept = records.get(..start).unwrap_or_default();
            let trailing = records.len() - reader.offset();
            if trailing > 0 {
                return Err(Error::Trailing { bytes: trailing });
            }
            let zeros = file.get(10..HEADER) == Some(&[0; 6]) && next.flags == 0 && end.reserved == 0;
            let same = zeros
                && end.records == count
                && end.bytes == start as u64
                && end.crc == crc32fast::hash(kept);
            return if same { Ok(kept) } else { Err(Error::Checksum) };
        }
        count += 1;
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use nabe_event::record::User;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut records = Vec::new();
        for id in 0..3 {
            record::write(&mut records, Kind::User, 0, &User { id, is_group: 0, name_len: 4 }, &[b"root"]);
        }
        records
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(read(&write(&sample())), Ok(sample().as_slice()));
        assert_eq!(read(&write(&[])), Ok([].as_slice()));
    }

    #[test]
    fn a_cut_at_any_byte_is_told() {
        let file = write(&sample());
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_told() {
        let file = write(&sample());
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            assert!(read(&bad).is_err(), "flip at {at} was not seen");
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut file = write(&sample());
        file[8] = 9;
        assert_eq!(read(&file), Err(Error::Newer { version: 9 }));
        assert_eq!(read(b"GIF89a"), Err(Error::Foreign));
    }
}
