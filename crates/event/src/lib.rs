//! The vocabulary that every room of nabe shares: values, the field catalogue, the needs of a
//! query, and the records in which the kernel (or `/proc`, or a file) tells what is there.
//!
//! In: nothing. Out: types and static tables.
//!
//! **Invariants.** No I/O, no async, no unsafe, no clock. Decoding a record never fails and never
//! panics: what is not in the bytes reads as zero or empty, and the record says so in its flags.
//! A fact about a field, a constant, a preset or a record layout stands here and nowhere else.
//!
//! **Not here.** How a record is obtained (`probe`), what it means together with others (`state`),
//! how a value is compared (`filter`) or printed (`ui`).

#![forbid(unsafe_code)]

pub mod alert;
pub mod constant;
pub mod convert;
pub mod field;
pub mod interest;
pub mod item;
pub mod need;
pub mod payload;
pub mod preset;
pub mod raw;
pub mod record;
pub mod source;
pub mod symbol;
pub mod table;
pub mod value;

pub use field::{Field, FieldId};
pub use interest::Interest;
pub use item::Item;
pub use need::Needs;
pub use source::Source;
pub use value::{Fields, Missing, Type, Value};
