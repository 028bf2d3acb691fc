//! Carries alerts to where people and programs look for them: standard output, files, syslog,
//! programs, HTTP receivers of several shapes, Kafka.
//!
//! In: [`Alert`](nabe_event::alert::Alert)s. Out: bytes on channels, and [`Stats`] of each.
//!
//! **Invariants.** Who sends an alert never waits for a channel unless it asked to
//! ([`Overflow::Wait`]): each channel has a bounded queue and a thread of its own. An alert that a
//! queue took is delivered, kept for later ([`spill`]), or counted as dropped with a reason; none
//! vanishes. What is written is escaped where its format wants it, whatever bytes an event carried.
//!
//! **Not here.** Which event makes an alert and what it says (`rules`), which channels a
//! configuration names (the binary).

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod channel;
mod queue;
pub mod render;
pub mod spill;

pub use channel::{Channel, Failure};
pub use queue::{Limits, Outputs, Overflow, Stats};
pub use render::{Render, TimeFormat};
