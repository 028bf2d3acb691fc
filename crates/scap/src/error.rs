//! What makes reading or writing a capture impossible. What is merely broken inside a capture is no
//! error: it is counted, see [`Stats`](crate::Stats).

use std::io;
use std::path::PathBuf;

/// Why a capture cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not open.
    #[error("cannot open capture {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The input fails.
    #[error("cannot read the capture at byte {offset}")]
    Read {
        /// Bytes read before, after decompression.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The input is empty.
    #[error("the capture is empty")]
    Empty,
    /// The input does not begin as a capture does.
    #[error("not a capture: it begins with {found:#010x}, not with a section header")]
    NotACapture {
        /// Its first four bytes.
        found: u32,
    },
    /// The input ends inside its first block.
    #[error("the capture is cut inside its first block, after {have} bytes")]
    CutHeader {
        /// Bytes that are there.
        have: usize,
    },
    /// It was written on a machine of the other byte order.
    #[error("the capture has big-endian byte order, which cannot be read")]
    ByteOrder,
    /// The magic number of its section header is wrong.
    #[error("not a capture: its magic number is {found:#010x}, not 0x1a2b3c4d")]
    Magic {
        /// What stands there.
        found: u32,
    },
    /// A later version of the format.
    #[error("the capture has format version {major}.{minor}; versions up to 1 can be read")]
    Version {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// The output fails.
    #[error("cannot write the capture after {offset} bytes")]
    Write {
        /// Bytes written before, before compression.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something is too long for its place in the format.
    #[error("{what} of {len} bytes does not fit into a capture")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// An item cannot stand where it was to be written.
    #[error("{what} cannot be written after the first event")]
    Order {
        /// What it is.
        what: &'static str,
    },
}
