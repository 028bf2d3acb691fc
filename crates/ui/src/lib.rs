//! What people and programs see: tables and trees of anything that has fields, printed as text,
//! JSON, NDJSON, CSV or TSV.
//!
//! In: rows, read through [`nabe_event::Fields`] once each. Out: bytes appended to a buffer.
//!
//! **Invariants.** `view` holds rows and knows no format; `print` makes bytes and keeps nothing.
//! Neither does I/O, asks a clock or knows a terminal: the caller says how wide it is, what time it
//! is and which colours to use. Whatever comes from outside is hostile text: what people read has
//! no control, bidi or invisible character in it but those of the palette. Machine formats are
//! exact: no number is rounded, and JSON loses no byte of any text.
//!
//! **Not here.** Where rows come from (`state`), which rows are wanted (`filter`), writing and
//! paging (the binary).

#![forbid(unsafe_code)]

pub mod error;
#[cfg(test)]
mod fixture;
pub mod print;
pub mod view;

pub use error::Error;
pub use print::{Format, Options, Palette};
pub use view::{Column, Context, Table, Tree};
