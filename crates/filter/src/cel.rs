//! The CEL dialect: text → tokens → syntax tree. What names mean and which types fit is decided in
//! `resolve`; this module knows no field.

pub(crate) mod ast;
pub(crate) mod lexer;
pub(crate) mod literal;
pub(crate) mod parser;
pub(crate) mod print;
