//! The static types of expressions, wider than those of fields.

use core::fmt;

use nabe_event::symbol::Symbols;
use nabe_event::value::{Element, Type};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ty {
    Null,
    Bool,
    /// Signed and unsigned alike: numbers are exact from `i64::MIN` to `u64::MAX`.
    Int,
    Float,
    Symbol(&'static Symbols),
    Mask(&'static Symbols),
    Text,
    Ip,
    Net,
    Duration,
    /// `None`: the empty list, whose items are of any type.
    List(Option<Box<Ty>>),
    Map(Option<Box<(Ty, Ty)>>),
}

impl Ty {
    pub(crate) fn list(item: Self) -> Self {
        Self::List(Some(Box::new(item)))
    }

    pub(crate) fn map(key: Self, value: Self) -> Self {
        Self::Map(Some(Box::new((key, value))))
    }

    /// The type of a field; `None` for a relation, which has no value.
    pub(crate) fn of(ty: Type) -> Option<Self> {
        Some(match ty {
            Type::Bool => Self::Bool,
            Type::Int | Type::Uint => Self::Int,
            Type::Symbol(names) => Self::Symbol(names),
            Type::Mask(names) => Self::Mask(names),
            Type::Text => Self::Text,
            Type::Ip => Self::Ip,
            Type::Duration => Self::Duration,
            Type::List(Element::Int) => Self::list(Self::Int),
            Type::List(Element::Text) => Self::list(Self::Text),
            Type::Map => Self::map(Self::Text, Self::Text),
            Type::Relation => return None,
        })
    }

    /// Whether values of it are whole numbers when evaluated.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Int | Self::Symbol(_) | Self::Mask(_) | Self::Duration)
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Float) || self.is_whole()
    }

    /// The type of a list that may hold both; `None` when they do not mix.
    pub(crate) fn join(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (a, b) if a == b => Some(a.clone()),
            (a, b) if a.is_whole() && b.is_whole() => Some(Self::Int),
            (a, b) if a.is_number() && b.is_number() => Some(Self::Float),
            (Self::List(None), list @ Self::List(_)) | (list @ Self::List(_), Self::List(None)) => {
                Some(list.clone())
            }
            (Self::List(Some(a)), Self::List(Some(b))) => a.join(b).map(Self::list),
            (Self::Map(None), map @ Self::Map(_)) | (map @ Self::Map(_), Self::Map(None)) => {
                Some(map.clone())
            }
            (Self::Map(Some(a)), Self::Map(Some(b))) => Some(Self::map(a.0.join(&b.0)?, a.1.join(&b.1)?)),
            _ => None,
        }
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Float => f.write_str("double"),
            Self::Symbol(names) | Self::Mask(names) => f.write_str(names.what),
            Self::Text => f.write_str("string"),
            Self::Ip => f.write_str("ip"),
            Self::Net => f.write_str("cidr"),
            Self::Duration => f.write_str("duration"),
            Self::List(None) => f.write_str("list"),
            Self::List(Some(item)) => write!(f, "list({item})"),
            Self::Map(None) => f.write_str("map"),
            Self::Map(Some(entry)) => write!(f, "map({}, {})", entry.0, entry.1),
        }
    }
}

/// The type with its article, for messages: "an int".
pub(crate) fn a(ty: &Ty) -> String {
    match ty {
        Ty::Int | Ty::Ip => format!("an {ty}"),
        Ty::Null => "null".to_owned(),
        Ty::Mask(names) => format!("a set of {} bits", names.what),
        _ => format!("a {ty}"),
    }
}
