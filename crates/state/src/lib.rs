//! What is true now: processes, descriptors, sockets, containers and users, joined from the records
//! of one snapshot, or followed through a stream of events.
//!
//! In: the bytes of a snapshot, live or from a file; items and events of a source ([`stream`]). Out:
//! [`Process`] and [`Row`], or [`stream::Seen`], which answer fields.
//!
//! **Invariants.** It learns from records only: never from `/proc`, a socket or a clock, so a
//! snapshot from a file answers as the live one did. Records stay where they were read; what a
//! field needs beyond them is made when it is asked for. No input makes it panic.
//!
//! **Not here.** Which processes are wanted (`filter`), what is shown (`ui`), where records come
//! from (`probe`), what a cgroup path means (`container`: it arrives as a record).

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::unwrap_used)]

pub mod file;
mod process;
mod row;
mod snapshot;
pub mod stream;
mod suspicion;

pub use process::Process;
pub use row::Row;
pub use snapshot::{CgroupSet, Error, Facts, Snapshot, Usage};
