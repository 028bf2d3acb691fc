//! Sides of comparisons: fields and transformers with their types, and constants that take the type
//! of what they are compared with.

use nabe_event::field::{
    self, Arg, Class, Field, Marks, descriptor as d, event as e, file as f, nearest, thread as t,
};
use nabe_event::symbol::Symbols;
use nabe_event::value::{Element, Type};
use nabe_event::{FieldId, field::Show};

use super::ast::{Term, TermKind, Transformer, Value};
use super::transform::Transform;
use crate::cel::literal as number;
use crate::classes::Classes;
use crate::diagnostic::{Error, Result, quote};
use crate::ir::{Const, FieldRef, Func, Loop, Net, Operand, Over, Slot};
use crate::span::Span;

/// The scope that loops of this dialect bind their items to; they never stand in each other.
pub(super) const ITEM: Slot = 1;
/// How many ancestors a field without brackets looks at.
const ANCESTORS: usize = 32;
/// Transformers within transformers.
const MAX_NESTED: usize = 64;

/// The type of a side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Text,
    /// Bytes, for which other operators are meant than for texts.
    Bytes,
    Number,
    /// A number of nanoseconds.
    Span,
    /// A share, which sysdig writes as per cent and the fields have as hundredths of that.
    Percent,
    /// A number that a service's name may stand for.
    Port,
    Symbol(&'static Symbols),
    Bool,
    Ip,
    /// What a parameter of an event is, is only known with the event.
    Dynamic,
}

impl Kind {
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Number | Self::Span | Self::Percent | Self::Port | Self::Symbol(_))
    }

    /// With its article, for messages.
    pub(super) fn a(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Bytes => "bytes",
            Self::Number | Self::Span => "a number",
            Self::Percent => "a percentage",
            Self::Port => "a port",
            Self::Symbol(_) => "a named number",
            Self::Bool => "a truth value",
            Self::Ip => "an address",
            Self::Dynamic => "a parameter",
        }
    }

    /// Whether values of both can be compared.
    pub(super) fn fits(self, other: Self) -> bool {
        self == other
            || self.is_number() && other.is_number()
            || self == Self::Dynamic
            || other == Self::Dynamic
    }
}

/// How many values a side has.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Values {
    One(Operand),
    /// A list.
    Items(Operand),
    /// Either end of a connection.
    Ends(Box<[Operand; 2]>),
    /// Any ancestor: a list of which some items may be absent.
    Any(Operand),
}

/// A side of a comparison.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) values: Values,
    pub(super) kind: Kind,
    pub(super) field: Option<&'static Field>,
    pub(super) span: Span,
}

impl Side {
    fn one(operand: Operand, kind: Kind, span: Span) -> Self {
        Self { values: Values::One(operand), kind, field: None, span }
    }
}

/// Lowers a term. Fields of `classes` are known.
pub(super) fn term(term: &Term, classes: Classes) -> Result<Side> {
    if nesting(term) > MAX_NESTED {
        let message = format!("transformers are nested more than {MAX_NESTED} levels deep");
        return Err(Error::new(term.place.0, message));
    }
    side(term, classes)
}

/// How deeply transformers are nested.
fn nesting(term: &Term) -> usize {
    match &term.kind {
        TermKind::Call { args: inner, .. } | TermKind::List(inner) => {
            1 + inner.iter().map(nesting).max().unwrap_or(0)
        }
        _ => 0,
    }
}

fn side(term: &Term, classes: Classes) -> Result<Side> {
    let span = term.place.0;
    match &term.kind {
        TermKind::Field { name, arg } => field(name, arg.as_deref(), classes, span),
        TermKind::Value(text) => {
            Ok(Side::one(constant(Const::Text(text.as_slice().into())), Kind::Text, span))
        }
        TermKind::List(items) => {
            let items = items.iter().map(|item| argument(item, classes)).collect::<Result<Vec<_>>>()?;
            let operands = items.into_iter().map(|(operand, ..)| operand).collect();
            let values = Values::Items(Operand::List(operands));
            Ok(Side { values, kind: Kind::Text, field: None, span })
        }
        TermKind::Call { transformer, args, arg } => call(*transformer, args, arg.as_deref(), classes, span),
    }
}

fn constant(value: Const) -> Operand {
    Operand::Const(value)
}

/// The field with this name, and the argument that stands behind a further dot.
fn find(name: &str) -> Option<(&'static Field, Option<&str>)> {
    if let Some(found) = field::find(name) {
        return Some((found, None));
    }
    let mut dots: Vec<usize> = name.match_indices('.').map(|(at, _)| at).collect();
    dots.reverse();
    dots.into_iter().find_map(|dot| {
        let found = field::find(&name[..dot]).filter(|found| found.arg != Arg::None)?;
        Some((found, Some(&name[dot + 1..])))
    })
}

fn field(name: &str, bracket: Option<&[u8]>, classes: Classes, span: Span) -> Result<Side> {
    let Some((found, dotted)) = find(name) else {
        let error = Error::new(span, format!("unknown field `{}`", quote(name)));
        let near = nearest(name, classes.names());
        return Err(match near {
            Some(_) => error.nearest(near),
            None => error.hint("`nabe fields` lists all fields"),
        });
    };
    let name = quote(name);
    if let Some(side) = ends(found.id, classes, span) {
        return match bracket {
            None => Ok(Side { field: Some(found), ..side }),
            Some(_) => Err(no_argument(&name, span)),
        };
    }
    if !classes.contains(found.id) {
        return Err(classes.refuse(&name, found.id, span));
    }
    if found.marks.has(Marks::PRINT_ONLY) {
        return Err(Error::new(span, format!("`{name}` is for output only")));
    }
    let arg = match (dotted.map(str::as_bytes), bracket) {
        (Some(_), Some(_)) => return Err(Error::new(span, format!("`{name}` has two arguments"))),
        (dotted, bracket) => dotted.or(bracket),
    };
    match (found.arg, arg, found.ty) {
        // Only calls with two paths have two of them.
        (Arg::Required, None, _) if found.id == e::ABSPATH => {}
        (Arg::Required, None, _) => {
            let error = Error::new(span, format!("`{name}` needs an argument"));
            return Err(error.hint(format!("`{name}[…]`")));
        }
        (Arg::None, Some(_), Type::Map) | (Arg::Required | Arg::Allowed, ..) | (Arg::None, None, _) => {}
        (Arg::None, Some(_), _) => return Err(no_argument(&name, span)),
    }
    reference(found, arg, span)
}

fn no_argument(name: &str, span: Span) -> Box<Error> {
    Error::new(span, format!("`{name}` takes no argument"))
}

fn reference(found: &'static Field, arg: Option<&[u8]>, span: Span) -> Result<Side> {
    let of = |arg: Option<&[u8]>| FieldRef { id: found.id, slot: 0, arg: arg.map(Into::into) };
    if arg.is_none() && ANCESTRAL.contains(&found.id) {
        let depths = (1..=ANCESTORS).map(|depth| Operand::Field(of(Some(depth.to_string().as_bytes()))));
        let values = Values::Any(Operand::List(depths.collect()));
        let kind = if found.id == t::APID { Kind::Number } else { Kind::Text };
        return Ok(Side { values, kind, field: Some(found), span });
    }
    let (values, kind) = match (found.ty, arg) {
        (Type::Map, Some(key)) => {
            let key = constant(Const::Text(key.into()));
            (Values::One(Operand::Index(Box::new([Operand::Field(of(None)), key]))), Kind::Text)
        }
        (Type::Map, None) => {
            let environment = found.id.class() == Class::Process;
            let shown = if environment { Transform::Environment } else { Transform::Labels };
            (Values::One(Operand::Call(shown.into(), vec![Operand::Field(of(None))])), Kind::Text)
        }
        (Type::List(element), arg) => {
            let kind = if element == Element::Int { Kind::Number } else { Kind::Text };
            (Values::Items(Operand::Field(of(arg))), kind)
        }
        (Type::Relation, _) => {
            let error = Error::new(span, format!("`{}` leads to descriptors and has no value", found.name));
            return Err(error.hint("ask for fields of `file.` or `fd.` themselves"));
        }
        (_, arg) => (Values::One(Operand::Field(of(arg))), kind_of(found)),
    };
    Ok(Side { values, kind, field: Some(found), span })
}

fn kind_of(found: &Field) -> Kind {
    match found.ty {
        _ if found.id == e::BUFFER => Kind::Bytes,
        _ if found.id == e::RAWARG => Kind::Dynamic,
        _ if PORTS.contains(&found.id) => Kind::Port,
        Type::Bool => Kind::Bool,
        Type::Symbol(names) => Kind::Symbol(names),
        Type::Ip => Kind::Ip,
        Type::Duration => Kind::Span,
        Type::Int | Type::Uint if found.show == Show::Span => Kind::Span,
        Type::Uint if found.show == Show::Percent && found.id.class() == Class::Thread => Kind::Percent,
        Type::Int | Type::Uint | Type::Mask(_) => Kind::Number,
        _ => Kind::Text,
    }
}

/// Fields that speak of any ancestor when no depth is given.
pub(crate) static ANCESTRAL: &[FieldId] = &[t::ANAME, t::AEXE, t::AEXEPATH, t::ACMDLINE, t::APID, t::AENV];

static PORTS: &[FieldId] = &[d::PORT, d::CPORT, d::SPORT, d::PROTO, f::SRC_PORT, f::DST_PORT];

/// Fields that speak of either end of a connection; a snapshot knows the local and the remote one.
fn ends(id: FieldId, classes: Classes, span: Span) -> Option<Side> {
    let (of_events, of_snapshot, kind) = match id {
        d::IP | d::NET => ([d::CIP, d::SIP], [f::SRC_ADDR, f::DST_ADDR], Kind::Ip),
        d::PORT | d::PROTO => ([d::CPORT, d::SPORT], [f::SRC_PORT, f::DST_PORT], Kind::Port),
        _ => return None,
    };
    if !classes.has(Class::File) {
        return None;
    }
    let ids = if classes.of_events() { of_events } else { of_snapshot };
    // What is asked of either end is asked of sockets, too, whose ends have no roles yet.
    let arg = (classes.of_events() && id != d::PROTO).then(|| d::WHATEVER_ROLE.into());
    let ends = ids.map(|id| Operand::Field(FieldRef { id, slot: 0, arg: arg.clone() }));
    Some(Side { values: Values::Ends(Box::new(ends)), kind, field: None, span })
}

/// An argument of a transformer: its operand, kind, and whether it is a list.
fn argument(item: &Term, classes: Classes) -> Result<(Operand, Kind, bool)> {
    let side = side(item, classes)?;
    if let Some(found) = side.field.filter(|found| found.marks.has(Marks::NO_TRANSFORMER)) {
        return Err(Error::new(side.span, format!("`{}` does not go into a transformer", found.name)));
    }
    match side.values {
        Values::One(operand) => Ok((operand, side.kind, false)),
        Values::Items(operand) => Ok((operand, side.kind, true)),
        Values::Ends(_) | Values::Any(_) => {
            Err(Error::new(side.span, "a field with several values does not go into a transformer"))
        }
    }
}

fn call(
    transformer: Transformer,
    args: &[Term],
    arg: Option<&[u8]>,
    classes: Classes,
    span: Span,
) -> Result<Side> {
    let word = transformer.word();
    if arg.is_some() && transformer != Transformer::Getopt {
        return Err(Error::new(span, format!("`{word}()` takes no argument in brackets")));
    }
    if let (Transformer::Val, [of]) = (transformer, args) {
        return side(of, classes);
    }
    let args = args.iter().map(|arg| argument(arg, classes)).collect::<Result<Vec<_>>>()?;
    let texts = args.iter().all(|(_, kind, _)| *kind == Kind::Text);
    let wrong = |expected: &str| Err(Error::new(span, format!("`{word}()` takes {expected}")));
    let operands = || args.iter().map(|(operand, ..)| operand.clone()).collect::<Vec<_>>();
    let text = |func: Func| Ok(Side::one(Operand::Call(func, operands()), Kind::Text, span));
    match (transformer, &*args) {
        (Transformer::ToLower, [of]) => mapped(Func::Lower, of, span),
        (Transformer::ToUpper, [of]) => mapped(Func::Upper, of, span),
        (Transformer::Basename, [of]) => mapped(Transform::Basename.into(), of, span),
        (Transformer::B64, [of]) => mapped(Transform::B64.into(), of, span),
        (Transformer::Len, [(_, kind, list)]) if *list || matches!(kind, Kind::Text | Kind::Bytes) => {
            Ok(Side::one(Operand::Call(Transform::Len.into(), operands()), Kind::Number, span))
        }
        (Transformer::Len, [_]) => wrong("a text or a list"),
        (Transformer::Join, [(_, Kind::Text, false), (_, _, true)]) => text(Transform::Join.into()),
        (Transformer::Join, _) => wrong("a text and a list"),
        (Transformer::Concat, [first, rest @ ..])
            if !rest.is_empty() && texts && args.iter().all(|(.., list)| !list) =>
        {
            let joined = rest.iter().fold(first.0.clone(), |all, (next, ..)| {
                Operand::Math(crate::ir::Math::Add, Box::new([all, next.clone()]))
            });
            Ok(Side::one(joined, Kind::Text, span))
        }
        (Transformer::Concat, _) => wrong("two texts or more"),
        (Transformer::Getopt, [(_, _, true), (_, _, false)]) if texts => {
            let mut operands = operands();
            let Some(option) = arg else {
                let values = Values::Items(Operand::Call(Transform::Getopt.into(), operands));
                return Ok(Side { values, kind: Kind::Text, field: None, span });
            };
            if option.len() != 1 {
                return Err(Error::new(span, "`getopt()` takes one letter in brackets"));
            }
            operands.push(constant(Const::Text(option.into())));
            Ok(Side::one(Operand::Call(Transform::Getopt.into(), operands), Kind::Text, span))
        }
        (Transformer::Getopt, _) => wrong("a list of texts and a text"),
        _ => wrong("one argument"),
    }
}

/// A function applied to a text, or to each text of a list.
fn mapped(func: Func, (operand, kind, list): &(Operand, Kind, bool), span: Span) -> Result<Side> {
    let bytes = *kind == Kind::Bytes && func == Transform::B64.into();
    if *kind != Kind::Text && !bytes {
        return Err(Error::new(span, format!("this transformer takes a text, not {}", kind.a())));
    }
    if !*list {
        return Ok(Side::one(Operand::Call(func, vec![operand.clone()]), *kind, span));
    }
    let each = Box::new(Loop { over: Over::Values(operand.clone()), slot: ITEM, only: None });
    let item = Box::new(Operand::Call(func, vec![Operand::Local(ITEM)]));
    let values = Values::Items(Operand::Collect(each, Some(item)));
    Ok(Side { values, kind: *kind, field: None, span })
}

/// A number as the language writes it, whole if it can be.
fn parse_number(text: &str) -> Option<Const> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let whole = match hexadecimal {
        Some(digits) if !digits.starts_with(['+', '-']) => i128::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None if digits.starts_with(|first: char| first.is_ascii_digit()) => digits.parse().ok(),
        None => None,
    };
    if let Some(whole) = whole {
        let whole: i128 = sign * whole;
        let range = i128::from(i64::MIN)..=i128::from(u64::MAX);
        return range.contains(&whole).then_some(Const::Int(whole));
    }
    let is_number = digits.starts_with(|first: char| first.is_ascii_digit());
    let fraction: f64 = text.parse().ok().filter(|_| is_number && hexadecimal.is_none())?;
    #[allow(clippy::cast_possible_truncation, reason = "checked before")]
    let whole = (fraction.fract() == 0.0 && fraction.abs() < 1e15).then_some(fraction as i128);
    match whole {
        Some(whole) => Some(Const::Int(whole)),
        None => fraction.is_finite().then_some(Const::Float(fraction)),
    }
}

fn hundredfold(number: Const) -> Option<Const> {
    match number {
        Const::Int(whole) => Some(Const::Int(whole.checked_mul(100)?)),
        Const::Float(fraction) => parse_number(&format!("{:.6}", fraction * 100.0)),
        _ => None,
    }
}

/// A constant of the type of what it is compared with.
pub(super) fn value(value: &Value, kind: Kind) -> Result<Const> {
    let span = value.place.0;
    let shown = quote(&String::from_utf8_lossy(&value.text));
    let wrong = |expected: &str| {
        Error::new(span, format!("`{shown}` is compared with {}", kind.a())).expected(expected)
    };
    let raw = Const::Text(value.text.as_slice().into());
    if value.text.contains(&0) && kind != Kind::Bytes {
        return Err(Error::new(span, "a text with a NUL byte equals nothing"));
    }
    let Ok(text) = core::str::from_utf8(&value.text) else {
        return match kind {
            Kind::Text | Kind::Bytes | Kind::Dynamic => Ok(raw),
            _ => Err(wrong(kind.a())),
        };
    };
    match kind {
        Kind::Text | Kind::Bytes => Ok(raw),
        Kind::Dynamic => Ok(parse_number(text).unwrap_or(raw)),
        Kind::Number => parse_number(text).ok_or_else(|| wrong("a number")),
        Kind::Span => {
            let span = || number::duration(text).map(|ns| Const::Int(ns.into()));
            parse_number(text).or_else(span).ok_or_else(|| wrong("nanoseconds, or a time such as `2h`"))
        }
        Kind::Percent => parse_number(text).and_then(hundredfold).ok_or_else(|| wrong("per cent")),
        Kind::Port if text.is_empty() => Ok(Const::Int(0)),
        Kind::Port => {
            let service = || SERVICES.iter().find(|(_, name)| *name == text);
            parse_number(text)
                .or_else(|| service().map(|(port, _)| Const::Int((*port).into())))
                .ok_or_else(|| wrong("a port's number, or a service such as `https`"))
        }
        Kind::Symbol(names) => {
            let named = || names.number(text).map(|number| Const::Int(number.into()));
            parse_number(text).or_else(named).ok_or_else(|| wrong(&format!("a {} or its number", names.what)))
        }
        Kind::Bool => match text {
            "true" => Ok(Const::Bool(true)),
            "false" => Ok(Const::Bool(false)),
            _ => Err(wrong("`true` or `false`")),
        },
        Kind::Ip => {
            let net =
                Net::parse(text).ok_or_else(|| wrong("an address, or a network such as `10.0.0.0/8`"))?;
            Ok(if net.is_host() { Const::Ip(net.address()) } else { Const::Net(net) })
        }
    }
}

/// Services by which ports are asked for.
static SERVICES: &[(u16, &str)] = &[
    (7, "echo"),
    (20, "ftp-data"),
    (21, "ftp"),
    (22, "ssh"),
    (23, "telnet"),
    (25, "smtp"),
    (53, "domain"),
    (67, "bootps"),
    (68, "bootpc"),
    (69, "tftp"),
    (80, "http"),
    (88, "kerberos"),
    (110, "pop3"),
    (111, "sunrpc"),
    (119, "nntp"),
    (123, "ntp"),
    (137, "netbios-ns"),
    (139, "netbios-ssn"),
    (143, "imap2"),
    (161, "snmp"),
    (179, "bgp"),
    (389, "ldap"),
    (443, "https"),
    (445, "microsoft-ds"),
    (514, "syslog"),
    (631, "ipp"),
    (636, "ldaps"),
    (853, "domain-s"),
    (873, "rsync"),
    (993, "imaps"),
    (995, "pop3s"),
    (1080, "socks"),
    (1433, "ms-sql-s"),
    (2049, "nfs"),
    (2379, "etcd-client"),
    (3128, "squid"),
    (3306, "mysql"),
    (5432, "postgresql"),
    (5671, "amqps"),
    (5672, "amqp"),
    (6379, "redis"),
    (8080, "http-alt"),
    (11211, "memcached"),
];
