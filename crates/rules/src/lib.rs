//! Falco's rules: rule files in, compiled rules and diagnostics out; events in, alerts out.
//!
//! In: the text of rule files; events behind [`nabe_event::Fields`]. Out: what is wrong with the files
//! and where ([`report`]), what the rules mean ([`describe`]), and [`nabe_event::alert::Alert`]s.
//!
//! **Invariants.** Rule files are hostile: size, depth, aliases, lists and macros are bounded, and
//! nothing in them panics. A file that does not load leaves the rules that were there. Judging is
//! deterministic: it knows no clock but the times of events, and its memory is bounded.
//!
//! **Not here.** Where events come from, where alerts go, what an action does to a process, and how
//! conditions are evaluated (`filter`).

#![forbid(unsafe_code)]

pub mod catalogue;
mod compile;
mod definition;
pub mod describe;
pub mod engine;
mod events;
pub mod extension;
mod load;
mod output;
pub mod place;
mod read;
pub mod report;
mod schema;
pub mod version;
pub mod why;
mod window;
pub mod yaml;

pub use compile::{Addition, CompiledRule};
pub use definition::Requirement;
pub use engine::Engine;
pub use load::{File, Loaded, Options, RuleSet};
pub use output::Output;
