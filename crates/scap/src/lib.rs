//! Reads and writes `.scap` captures, sysdig's and Falco's file format.
//!
//! In: bytes, plain or compressed with gzip, zstd or lz4. Out: [`Item`]s (the section, the machine,
//! its interfaces, users, threads and descriptors, then events) and, through [`Writer`], bytes again.
//! [`Converter`] stands between the two for those who want every event in the layout of today.
//!
//! **Invariants.** No input makes this crate panic, hang or take more memory than a block that is
//! really there: what is broken is skipped and counted in [`Stats`], what is cut is told by
//! [`Reader::ending`]. Items borrow from the reader's buffer; nothing is copied but threads. What is
//! read is written back as it was: `write ∘ read` changes no field.
//!
//! **Not here.** What events do to threads and descriptors (`state`), which of them are wanted
//! (`filter`), when a file is rotated and what is redacted (the binary).
//!
//! # The format
//!
//! Sources: falcosecurity/libs `userspace/libscap/scap_savefile.h` (numbers), `scap_savefile.c`
//! (writer), `engine/savefile/` (reader), and real captures since 2014. A capture is a sequence of
//! pcapng blocks (see [`block`]): a section header, state blocks ([`item`]), then event blocks.
//! Numbers are little-endian, structures packed.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation))]

pub mod block;
mod compression;
mod decode;
mod error;
mod exercise;
mod reader;
mod wire;
mod writer;

pub use compression::Compression;
pub use error::Error;
#[doc(hidden)]
pub use exercise::exercise;
pub use nabe_event::convert::{self, Converter, Enters};
pub use nabe_event::item::{self, Item};
pub use reader::{Batch, Ending, Reader, Run, Stats};
pub use writer::{Size, Writer};
