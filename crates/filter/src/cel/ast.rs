//! The syntax tree of a CEL expression.

use crate::span::Span;

/// Levels that an expression may be nested. Every later pass recurses over the tree, so this bound
/// is what keeps them within the stack.
pub(crate) const MAX_DEPTH: u16 = 200;

/// A constant in the source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
}

/// An identifier and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'s> {
    pub(crate) text: &'s str,
    pub(crate) span: Span,
}

/// A node of the tree.
#[derive(Debug)]
pub(crate) struct Node<'s> {
    pub(crate) kind: Kind<'s>,
    pub(crate) span: Span,
    /// Levels below and including this node.
    pub(crate) depth: u16,
}

#[derive(Debug)]
pub(crate) enum Kind<'s> {
    Literal(Literal),
    Ident(&'s str),
    Select(Box<Node<'s>>, Name<'s>),
    Index(Box<Node<'s>>, Box<Node<'s>>),
    /// A function call, or a method call on a target.
    Call(Option<Box<Node<'s>>>, Name<'s>, Vec<Node<'s>>),
    Not(Box<Node<'s>>),
    Negate(Box<Node<'s>>),
    /// At least two terms; chains of any length are one node.
    And(Vec<Node<'s>>),
    Or(Vec<Node<'s>>),
    Binary(Binary, Box<Node<'s>>, Box<Node<'s>>),
    Conditional(Box<[Node<'s>; 3]>),
    List(Vec<Node<'s>>),
    Map(Vec<(Node<'s>, Node<'s>)>),
}

/// An operator with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}
