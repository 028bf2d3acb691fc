//! Values of fields, their types, and the trait through which everyone reads them.

use core::net::IpAddr;

use crate::field::FieldId;
use crate::symbol::Symbols;

/// The type of a field or of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// A signed number.
    Int,
    /// An unsigned number.
    Uint,
    /// A number whose values have names, such as `LISTEN`; compares with both.
    Symbol(&'static Symbols),
    /// A set of bits with names, such as capabilities; `.has("SYS_ADMIN")` tests one.
    Mask(&'static Symbols),
    /// Text. Bytes as the kernel has them: usually, not always, UTF-8.
    Text,
    /// An IPv4 or IPv6 address; compares with text, `ip()` and `cidr()`.
    Ip,
    /// A span of time in nanoseconds.
    Duration,
    /// A list of numbers or texts.
    List(Element),
    /// Text to text, such as labels.
    Map,
    /// Other subjects that belong to this one, such as `process.files`.
    Relation,
}

/// What a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Signed numbers.
    Int,
    /// Texts.
    Text,
}

impl Type {
    /// The name users read in `nabe fields` and in errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Symbol(_) => "symbol",
            Self::Mask(_) => "mask",
            Self::Text => "string",
            Self::Ip => "ip",
            Self::Duration => "duration",
            Self::List(Element::Int) => "list(int)",
            Self::List(Element::Text) => "list(string)",
            Self::Map => "map(string, string)",
            Self::Relation => "list(file)",
        }
    }
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The thing asked about does not exist: `file.fd` of a process without descriptors,
    /// `process.pid` of a socket that nobody owns. A comparison with it is neither true nor false,
    /// nor is its negation; an expression that stays undecided selects nothing.
    Subject,
    /// The thing is there and has no such value: a label that is not set, a port of a unix socket.
    /// Every comparison with it is false.
    Unset,
    /// The value exists but was not read; the kernel's errno, or 0 when nobody asked for it.
    Unread(i32),
    /// The value is not known yet, such as the name of a container that has just appeared.
    Pending,
}

/// The value of a field, borrowed from whoever answers.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// No value, and why.
    Missing(Missing),
    /// True or false.
    Bool(bool),
    /// A signed number; also a duration in nanoseconds.
    Int(i64),
    /// An unsigned number, a symbol's number, a mask.
    Uint(u64),
    /// Text as bytes.
    Text(&'a [u8]),
    /// An address.
    Ip(IpAddr),
    /// A list of numbers or texts.
    List(&'a dyn List),
    /// Text to text.
    Map(&'a dyn Map),
}

impl core::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Missing(why) => write!(f, "Missing({why:?})"),
            Self::Bool(v) => write!(f, "Bool({v})"),
            Self::Int(v) => write!(f, "Int({v})"),
            Self::Uint(v) => write!(f, "Uint({v})"),
            Self::Text(v) => write!(f, "Text({:?})", String::from_utf8_lossy(v)),
            Self::Ip(v) => write!(f, "Ip({v})"),
            Self::List(v) => f.debug_list().entries((0..v.len()).map(|i| v.get(i))).finish(),
            Self::Map(v) => f
                .debug_map()
                .entries((0..v.len()).filter_map(|i| v.entry(i)).map(|(k, v)| {
                    (String::from_utf8_lossy(k).into_owned(), String::from_utf8_lossy(v).into_owned())
                }))
                .finish(),
        }
    }
}

/// A list value.
pub trait List {
    /// Number of items.
    fn len(&self) -> usize;
    /// The item at `index`: `Int` or `Text`; `Missing::Unset` past the end.
    fn get(&self, index: usize) -> Value<'_>;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A map of texts, ordered by key.
pub trait Map {
    /// Number of entries.
    fn len(&self) -> usize;
    /// The entry at `index`, in key order.
    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])>;
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        (0..self.len()).filter_map(|i| self.entry(i)).find(|(k, _)| *k == key).map(|(_, v)| v)
    }
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl List for [i64] {
    fn len(&self) -> usize {
        <[i64]>::len(self)
    }
    fn get(&self, index: usize) -> Value<'_> {
        <[i64]>::get(self, index).map_or(Value::Missing(Missing::Unset), |v| Value::Int(*v))
    }
}

impl List for [&[u8]] {
    fn len(&self) -> usize {
        <[&[u8]]>::len(self)
    }
    fn get(&self, index: usize) -> Value<'_> {
        <[&[u8]]>::get(self, index).map_or(Value::Missing(Missing::Unset), |v| Value::Text(v))
    }
}

/// Something with fields: a process, a descriptor of it, an event. The only way in which filters,
/// rules and views read what is there.
pub trait Fields {
    /// The value of `field`. `arg` is the text in brackets, if the field takes one.
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_>;

    /// Appends the text of `field` to `out`, the very one that [`Self::get`] would give, where that text
    /// has to be made; returns whether it did. Whoever prints asks this first: such a text is then made
    /// where it goes. What has no such way says `false` and leaves `out` as it was.
    fn append(&self, _field: FieldId, _arg: Option<&[u8]>, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Calls `visit` with each subject that `relation` (a field of type [`Type::Relation`])
    /// leads to, until it returns `false`. Returns the number of subjects visited, or `None` when
    /// this subject has no such relation.
    fn related(&self, relation: FieldId, visit: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize>;
}
