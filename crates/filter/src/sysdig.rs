//! sysdig's and Falco's filter language: text → syntax tree → the typed form.
//!
//! The grammar is libsinsp's, quirks included, so that what is accepted there is accepted here. A
//! test of a value that is absent, for whatever reason, is false, and its negation is true. Names
//! mean what the catalogue says; macros and lists come from whoever asks ([`Definitions`]).

mod ast;
mod lexer;
mod lower;
mod path;
mod pattern;
mod print;
mod side;
pub(crate) mod transform;

mod parser;

pub use crate::trace::trace;
pub use ast::{Ast, Expr, ExprKind, Modifier, Op, Place, Right, Term, TermKind, Transformer, Value};
pub(crate) use lower::{lower, lower_test};
pub use parser::{DEPTH, RULE_DEPTH};
pub(crate) use path::Paths;
pub(crate) use side::ANCESTRAL;
pub use transform::decode_base64;

use crate::diagnostic::Diagnostic;

/// Reads a filter; at most [`DEPTH`] rules of the grammar are open at once.
///
/// # Errors
/// When the text is no filter, with the place.
pub fn parse(source: &str) -> Result<Ast, Diagnostic> {
    parse_within(source, DEPTH)
}

/// Reads a filter that may be nested as deeply as `depth` says; at most [`RULE_DEPTH`].
///
/// # Errors
/// When the text is no filter, with the place.
pub fn parse_within(source: &str, depth: u32) -> Result<Ast, Diagnostic> {
    parser::parse(source, depth.min(RULE_DEPTH)).map_err(|error| Diagnostic::new(source, *error))
}

/// What the names of a filter stand for besides fields.
pub trait Definitions {
    /// The filter that a macro stands for.
    fn macro_named(&self, name: &str) -> Option<&Ast>;
    /// The items of a list.
    fn list_named(&self, name: &str) -> Option<&[Vec<u8>]>;
}

/// No macros, no lists.
impl Definitions for () {
    fn macro_named(&self, _: &str) -> Option<&Ast> {
        None
    }
    fn list_named(&self, _: &str) -> Option<&[Vec<u8>]> {
        None
    }
}
