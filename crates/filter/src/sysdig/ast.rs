//! The syntax tree of a filter in sysdig's language.
//!
//! Texts are bytes: an escape such as `\xff` need not be UTF-8. Two trees are equal when they say
//! the same, wherever it stands in the source.

use crate::span::Span;

/// A filter that is grammatical; what its names mean is not decided yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ast {
    /// The whole filter.
    pub root: Expr,
}

/// Where something stands. All places are equal, so that trees compare by what they say.
#[derive(Clone, Copy, Debug)]
pub struct Place(pub Span);

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

/// A part of a filter that is true or false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub place: Place,
}

/// What can be true or false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExprKind {
    /// All of two or more.
    And(Vec<Expr>),
    /// Any of two or more.
    Or(Vec<Expr>),
    /// The contrary.
    Not(Box<Expr>),
    /// A macro, by its name.
    Macro(String),
    /// `left exists`.
    Exists(Term),
    /// `left op right`.
    Check {
        /// What is compared.
        left: Term,
        /// How.
        op: Op,
        /// How many of the values on the right must be met.
        modifier: Option<Modifier>,
        /// With what.
        right: Right,
    },
}

/// Something that has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What it is.
    pub kind: TermKind,
    /// Where it stands.
    pub place: Place,
}

/// What can have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TermKind {
    /// A field, with the text in brackets.
    Field {
        /// Its name, such as `evt.arg.flags`.
        name: String,
        /// The text in brackets.
        arg: Option<Vec<u8>>,
    },
    /// A transformer's call.
    Call {
        /// Which.
        transformer: Transformer,
        /// What it is applied to.
        args: Vec<Term>,
        /// The text in brackets behind it.
        arg: Option<Vec<u8>>,
    },
    /// A text or a number.
    Value(Vec<u8>),
    /// `(a, b)` as an argument of a transformer.
    List(Vec<Term>),
}

/// The right side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// A constant.
    Value(Value),
    /// Constants in brackets, and their place.
    List(Vec<Value>, Place),
    /// A list, by its name.
    Name(String, Place),
    /// Something computed.
    Term(Term),
}

/// A constant: a text, which the field's type gives a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The text without quotes and escapes.
    pub text: Vec<u8>,
    /// Where it stands.
    pub place: Place,
}

/// Defines an enum whose members have a word in the language.
macro_rules! words {
    ($(#[$doc:meta])* $Name:ident { $( #[$about:meta] $Word:ident = $text:literal ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name { $( #[$about] $Word ),* }
        impl $Name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$Word),*];
            /// The word for it in a filter.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Word => $text),* }
            }
        }
    };
}

words! {
    /// How two sides are compared. Words that begin with another one stand before it.
    Op {
        /// Equal.
        Eq = "=",
        /// Not equal.
        Ne = "!=",
        /// At most.
        Le = "<=",
        /// Less.
        Lt = "<",
        /// At least.
        Ge = ">=",
        /// More.
        Gt = ">",
        /// A text within a text.
        Contains = "contains",
        /// The same without regard to case.
        Icontains = "icontains",
        /// Bytes, in hexadecimal, within bytes.
        Bcontains = "bcontains",
        /// The beginning of a text.
        StartsWith = "startswith",
        /// The beginning of bytes, in hexadecimal.
        BstartsWith = "bstartswith",
        /// The end of a text.
        EndsWith = "endswith",
        /// A pattern with `*`, `?` and `[…]`.
        Glob = "glob",
        /// The same without regard to case.
        Iglob = "iglob",
        /// A regular expression for the whole text.
        Regex = "regex",
        /// Every value is one of these.
        In = "in",
        /// Any value is one of these.
        Intersects = "intersects",
        /// One of these paths is the path or leads to it.
        Pmatch = "pmatch",
    }
}

words! {
    /// How many of the values on the right must be met.
    Modifier {
        /// Exactly one.
        OneOf = "oneof",
        /// At least one.
        AnyOf = "anyof",
        /// All of them; of an empty list none are.
        AllOf = "allof",
    }
}

words! {
    /// A function from values to a value.
    Transformer {
        /// The value itself: how a field stands on the right.
        Val = "val",
        /// Small letters.
        ToLower = "tolower",
        /// Capital letters.
        ToUpper = "toupper",
        /// What base64 stands for.
        B64 = "b64",
        /// The part behind the last slash.
        Basename = "basename",
        /// Bytes of a text, items of a list.
        Len = "len",
        /// The items of a list with a text between them.
        Join = "join",
        /// Texts one behind the other.
        Concat = "concat",
        /// Options of a command line, as getopt(3) finds them.
        Getopt = "getopt",
    }
}
