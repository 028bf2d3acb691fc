//! The typed intermediate form that every dialect is lowered to and every pass works on.
//!
//! Two kinds of nodes: a [`Pred`] is true, false or undecided; an [`Operand`] has a value. Types
//! have been checked when the form is built and are not kept, but for what constants show. What an
//! absent value means is said by each test for itself ([`Absent`]), because dialects differ.
//!
//! Slot 0 is the row that is judged; a loop at depth n binds its items to slot n.

use core::hash::{Hash, Hasher};
use core::net::IpAddr;
use std::collections::hash_map::DefaultHasher;
use std::sync::Arc;

use nabe_event::symbol::Symbols;
use nabe_event::{FieldId, Needs};
use regex::bytes::Regex;

use crate::sysdig::Paths;

pub(crate) mod walk;

/// Depth of the scope that a field or a loop variable belongs to.
pub(crate) type Slot = u8;

/// Loops within loops; more is refused by the resolver.
pub(crate) const MAX_LOOPS: Slot = 16;

/// A field of a subject.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldRef {
    pub(crate) id: FieldId,
    pub(crate) slot: Slot,
    /// The text in brackets, for fields that take one.
    pub(crate) arg: Option<Box<[u8]>>,
}

/// How a test decides when a value is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// CEL: false when the thing is there and the value is unset, undecided when the thing is not
    /// there, or its value unread or pending.
    Doubt,
    /// sysdig: false whatever the reason.
    False,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Order {
    /// The same test with its sides exchanged.
    pub(crate) const fn flip(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    All,
    One,
}

/// Something that is true, false or undecided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pred {
    Const(Option<bool>),
    And(Vec<Pred>),
    Or(Vec<Pred>),
    Not(Box<Pred>),
    If(Box<[Pred; 3]>),
    /// A value of type bool.
    Test(Operand, Absent),
    Compare(Order, Box<[Operand; 2]>, Absent),
    /// Membership in a constant set.
    In(Operand, Set, Absent),
    /// Membership in a list that is computed.
    Member(Box<[Operand; 2]>, Absent),
    Text(TextTest, Box<[Operand; 2]>, Absent),
    Matches(Operand, Pattern, Absent),
    /// Some or all of these bits.
    Bits {
        value: Operand,
        bits: u64,
        all: bool,
        names: &'static Symbols,
        absent: Absent,
    },
    /// Whether a map has a key.
    HasKey(Box<[Operand; 2]>, Absent),
    /// Whether there is a value; texts, lists and maps also must not be empty.
    Has(Operand),
    Each(Quantifier, Box<Loop>, Box<Pred>),
}

/// Something that has a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Const(Const),
    Field(FieldRef),
    /// The item that the loop at this depth has reached.
    Local(Slot),
    Pred(Box<Pred>),
    Math(Math, Box<[Operand; 2]>),
    Negate(Box<Operand>),
    Call(Func, Vec<Operand>),
    /// Map by key, or list by position.
    Index(Box<[Operand; 2]>),
    List(Vec<Operand>),
    Map(Vec<(Operand, Operand)>),
    If(Box<(Pred, Operand, Operand)>),
    /// Number of items.
    Count(Box<Loop>),
    /// A list made from the items; of the items themselves without an expression.
    Collect(Box<Loop>, Option<Box<Operand>>),
}

/// Arithmetic; `+` also joins texts and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Math {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

/// What a loop goes over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loop {
    pub(crate) over: Over,
    /// Where the items are bound.
    pub(crate) slot: Slot,
    /// Only items for which this is true.
    pub(crate) only: Option<Pred>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Over {
    /// Subjects that a relation leads to.
    Relation(FieldRef),
    /// Items of a list, keys of a map.
    Values(Operand),
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Const {
    Null,
    Bool(bool),
    /// Numbers from `i64::MIN` to `u64::MAX`, exact; also durations in nanoseconds.
    Int(i128),
    Float(f64),
    Text(Box<[u8]>),
    Ip(IpAddr),
    Net(Net),
    List(Vec<Const>),
    Map(Vec<(Const, Const)>),
}

/// A set of constants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Set {
    /// Sorted.
    Ints(Box<[i128]>),
    /// Sorted.
    Texts(Box<[Box<[u8]>]>),
    Nets(Box<[Net]>),
}

impl Set {
    pub(crate) fn ints(mut items: Vec<i128>) -> Self {
        items.sort_unstable();
        items.dedup();
        Self::Ints(items.into())
    }

    pub(crate) fn texts(mut items: Vec<Box<[u8]>>) -> Self {
        items.sort_unstable();
        items.dedup();
        Self::Texts(items.into())
    }

    pub(crate) fn nets(mut items: Vec<Net>) -> Self {
        items.sort_unstable();
        items.dedup();
        Self::Nets(items.into())
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ints(items) => items.len(),
            Self::Texts(items) => items.len(),
            Self::Nets(items) => items.len(),
        }
    }
}

/// A network: addresses that share a prefix. IPv4-mapped addresses count as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Net {
    address: IpAddr,
    prefix: u8,
}

impl Net {
    /// One address.
    pub(crate) fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// `10.0.0.0/8`, `fe80::/10`, or a single address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse().ok().map(Self::host);
        };
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|_| !prefix.starts_with('+'))?;
        match (address, address.to_canonical()) {
            (IpAddr::V4(_), _) if prefix > 32 => None,
            (IpAddr::V6(_), _) if prefix > 128 => None,
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if prefix >= 96 => Some(Self::masked(v4, prefix - 96)),
            _ => Some(Self::masked(address, prefix)),
        }
    }

    fn masked(address: IpAddr, prefix: u8) -> Self {
        let address = match address {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & mask4(prefix)).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & mask6(prefix)).into()),
        };
        Self { address, prefix }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(v4)) => v4.to_bits() & mask4(self.prefix) == net.to_bits(),
            (IpAddr::V6(net), IpAddr::V6(v6)) => v6.to_bits() & mask6(self.prefix) == net.to_bits(),
            _ => false,
        }
    }

    /// Whether it is one address.
    pub(crate) fn is_host(&self) -> bool {
        self.prefix == if self.address.is_ipv4() { 32 } else { 128 }
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }
}

impl core::fmt::Display for Net {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn mask4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

/// What texts are matched with; equal when its regular expression is.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// As a regular expression.
    source: Arc<str>,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Regex(Regex),
    /// The same, found faster.
    Paths(Arc<Paths>),
}

impl Pattern {
    /// What `source`, a regular expression, would match, by the paths themselves.
    pub(crate) fn of_paths(source: String, paths: Paths) -> Self {
        Self { source: source.into(), how: How::Paths(Arc::new(paths)) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.source
    }

    #[inline]
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        match &self.how {
            How::Regex(regex) => regex.is_match(text),
            How::Paths(paths) => paths.lead_to(text),
        }
    }
}

impl From<Regex> for Pattern {
    fn from(regex: Regex) -> Self {
        Self { source: regex.as_str().into(), how: How::Regex(regex) }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// A function without effects, from values to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Func {
    Size,
    Lower,
    Upper,
    Trim,
    Replace,
    Split,
    Substring,
    IndexOf,
    LastIndexOf,
    CharAt,
    Join,
    Reverse,
    Quote,
    Format,
    ToInt,
    ToUint,
    ToFloat,
    ToText,
    ToBool,
    ToIp,
    ToDuration,
    /// A duration as text.
    DurationText,
    /// The name of a number; the number where it has none.
    SymbolName(&'static Symbols),
    Greatest,
    Least,
    Abs,
    Ceil,
    Floor,
    Round,
    BitAnd,
    BitOr,
    BitXor,
    BitNot,
    ShiftLeft,
    ShiftRight,
    IsIp,
    IpFamily,
    IpIsLoopback,
    IpIsUnspecified,
    IpIsMulticast,
    IpIsPrivate,
    /// Whether a network that is computed holds an address.
    NetContains,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
    /// Of sysdig's language only.
    Sysdig(crate::sysdig::transform::Transform),
}

impl Pred {
    pub(crate) fn not(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// How a test decides when a value is absent; `None` for what is no test of a value.
    pub(crate) fn absent(&self) -> Option<Absent> {
        match self {
            Self::Test(_, absent)
            | Self::Compare(.., absent)
            | Self::In(.., absent)
            | Self::Member(_, absent)
            | Self::Text(.., absent)
            | Self::Matches(.., absent)
            | Self::Bits { absent, .. }
            | Self::HasKey(_, absent) => Some(*absent),
            _ => None,
        }
    }

    /// Equal predicates have equal digests; different ones usually have not.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        core::mem::discriminant(self).hash(&mut hasher);
        self.fields(&mut |field| (field.id, field.slot, &field.arg).hash(&mut hasher));
        let mut constant = |operand: &Operand| match operand {
            Operand::Const(Const::Int(number)) => number.hash(&mut hasher),
            Operand::Const(Const::Text(text)) => text.hash(&mut hasher),
            _ => {}
        };
        match self {
            Self::Compare(_, sides, _) | Self::Text(_, sides, _) => sides.iter().for_each(&mut constant),
            Self::In(_, Set::Texts(items), _) => items.hash(&mut hasher),
            Self::In(_, Set::Ints(items), _) => items.hash(&mut hasher),
            Self::In(_, Set::Nets(items), _) => items.hash(&mut hasher),
            Self::Matches(_, pattern, _) => pattern.as_str().hash(&mut hasher),
            Self::Or(terms) => terms.iter().for_each(|term| term.digest().hash(&mut hasher)),
            Self::Each(_, _, body) => body.digest().hash(&mut hasher),
            _ => {}
        }
        hasher.finish()
    }

    /// Calls `see` with each field that is read, relations included.
    pub(crate) fn fields<'p>(&'p self, see: &mut dyn FnMut(&'p FieldRef)) {
        match self {
            Self::Const(_) => {}
            Self::And(terms) | Self::Or(terms) => terms.iter().for_each(|term| term.fields(see)),
            Self::Not(inner) => inner.fields(see),
            Self::If(parts) => parts.iter().for_each(|part| part.fields(see)),
            Self::Test(value, _)
            | Self::In(value, ..)
            | Self::Matches(value, ..)
            | Self::Bits { value, .. }
            | Self::Has(value) => value.fields(see),
            Self::Compare(_, sides, _)
            | Self::Member(sides, _)
            | Self::Text(_, sides, _)
            | Self::HasKey(sides, _) => sides.iter().for_each(|side| side.fields(see)),
            Self::Each(_, each, body) => {
                each.fields(see);
                body.fields(see);
            }
        }
    }

    /// The collectors that must have run to decide it.
    pub(crate) fn needs(&self) -> Needs {
        let mut needs = Needs::NONE;
        self.fields(&mut |field| needs |= field.needs());
        needs
    }
}

impl FieldRef {
    /// What must be collected to know it. A descriptor that a process holds is no orphan, so items
    /// of `process.files` do not need the sockets without descriptors.
    pub(crate) fn needs(&self) -> Needs {
        let needs = self.id.field().needs;
        if self.slot > 0 { needs.without(Needs::ORPHAN_SOCKETS) } else { needs }
    }
}

impl Operand {
    /// Calls `see` with each field that is read.
    pub(crate) fn fields<'p>(&'p self, see: &mut dyn FnMut(&'p FieldRef)) {
        match self {
            Self::Const(_) | Self::Local(_) => {}
            Self::Field(field) => see(field),
            Self::Pred(pred) => pred.fields(see),
            Self::Negate(inner) => inner.fields(see),
            Self::Math(_, sides) | Self::Index(sides) => sides.iter().for_each(|side| side.fields(see)),
            Self::Call(_, items) | Self::List(items) => items.iter().for_each(|item| item.fields(see)),
            Self::Map(entries) => entries.iter().for_each(|(key, value)| {
                key.fields(see);
                value.fields(see);
            }),
            Self::If(parts) => {
                parts.0.fields(see);
                parts.1.fields(see);
                parts.2.fields(see);
            }
            Self::Count(each) => each.fields(see),
            Self::Collect(each, body) => {
                each.fields(see);
                if let Some(body) = body {
                    body.fields(see);
                }
            }
        }
    }
}

impl Loop {
    /// Calls `see` with each field that is read to find the items.
    pub(crate) fn fields<'p>(&'p self, see: &mut dyn FnMut(&'p FieldRef)) {
        match &self.over {
            Over::Relation(field) => see(field),
            Over::Values(values) => values.fields(see),
        }
        if let Some(only) = &self.only {
            only.fields(see);
        }
    }
}
