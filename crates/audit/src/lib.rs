//! Kubernetes audit events, and other events in JSON, as subjects with fields.
//!
//! In: JSON from files, from files that grow, from standard input, from an HTTP(S) webhook. Out: [`Event`]s, which answer
//! the `ka.`, `json.` and general `evt.` fields through `nabe_event::Fields`.
//!
//! **Invariants.** Everything that comes in is hostile: payloads are bounded before they are parsed,
//! nesting is bounded by the parser, what is no event is counted and left out, never fatal. A webhook
//! answers 200 only for what has been handed on; when nobody takes it, it says so and the sender
//! tries again.
//!
//! **Not here.** What the fields mean together (`rules`), system calls.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation))]

mod answer;
pub mod documents;
mod event;
mod extract;
pub mod follow;
mod parse;
pub mod serve;
mod tree;
pub mod webhook;

pub use event::{Context, Event, Seen};
pub use parse::{Format, Limits, Parsed, Refusal, parse};

/// The work of a fuzz target: parses the bytes and reads every field of what comes out.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    use nabe_event::Fields as _;
    let context = Context::k8s_audit("host");
    let (mut documents, mut size) = (documents::Documents::new(1 << 20), 0);
    let mut take = |document: &[u8]| size += document.len();
    documents.feed(bytes, &mut take);
    documents.end(&mut take);
    assert!(size <= bytes.len());
    for format in [Format::K8sAudit, Format::Json] {
        let parsed = parse(bytes, format, &Limits::default(), 1);
        for event in &parsed.events {
            let seen = Seen::new(event, &context, 1, 0);
            for field in nabe_event::field::audit::FIELDS {
                for arg in [None, Some(&b"0"[..]), Some(b"/a/0"), Some(b"/etc/*"), Some(b"")] {
                    let _ = format!("{:?}", seen.get(field.id, arg));
                }
            }
        }
    }
}
