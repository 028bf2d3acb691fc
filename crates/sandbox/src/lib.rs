//! Judges what a specimen did: behaviour rules over its events, a verdict with a score, a report.
//!
//! In: rules in TOML (kombu's, and nabe's own), events behind `nabe_event::Fields`. Out: [`Hit`]s, a
//! [`Report`] as text, JSON and one HTML page.
//!
//! **Invariants.** The same events and rules give the same report, byte for byte: nothing here reads a
//! clock, a file or a random number. Memory is bounded whatever the specimen does; what was left out is
//! counted in the report. Rules and everything that a specimen names are hostile text.
//!
//! **Not here.** How a specimen is run and confined (`runtime`, the binary), how events come in
//! (`probe`, `scap`), how files are hashed and scanned.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation))]

mod behaviour;
mod html;
mod judge;
mod report;
mod rule;
mod when;

pub use behaviour::dns::{Question, question};
pub use behaviour::{Behaviour, Dropped, FileChange, Network, ProcessNode, Sign};
pub use judge::{Hit, Judge};
pub use report::{Limits, MALICIOUS, Outcome, Report, Specimen, Verdict};
pub use rule::{Rule, RuleError, Severity};

use nabe_event::Fields;
use nabe_event::raw::Event;

/// An event of the specimen, with what is known about it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The event.
    pub event: &'a Event<'a>,
    /// Its fields.
    pub fields: &'a dyn Fields,
    /// Its number in the capture, from 1.
    pub number: u64,
}

/// The kernel's number of the system call that an event ends; `None` for other events.
#[must_use]
pub fn native_number(event: &Event<'_>) -> Option<u16> {
    use nabe_event::table::EventId;
    use nabe_event::table::native::X86_64;
    if matches!(event.id, EventId::GENERIC_E | EventId::GENERIC_X) {
        return u16::try_from(event.unsigned(1)?).ok();
    }
    let id = if event.id.is_enter() { event.id.other_side() } else { event.id };
    // Several calls may end in one event (open_by_handle_at has one of its own, pread64 is pread's):
    // the first is the one with its name.
    let mut all = X86_64.iter().filter(|native| native.event == id);
    all.next().map(|native| native.number)
}

/// The work of a fuzz target: reads the bytes as a rule.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = Rule::parse(&text, "fuzz.toml") {
        assert!(!error.to_string().is_empty());
    }
}
