//! The typed form made ready to run: tests of a field against a constant become one step that
//! allocates nothing; everything else falls back on the interpreter.

use core::net::IpAddr;
use std::collections::{HashMap, HashSet};

use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;
use nabe_event::field::thread::AENV;
use nabe_event::{FieldId, Fields, Value};

use crate::eval::value::{V, doubt, holds};
use crate::eval::{Bind, Env, bits_test};
use crate::ir::{
    Absent, Const, FieldRef, Loop, Net, Operand, Order, Over, Pattern, Pred, Quantifier, Set, Slot, TextTest,
};
use crate::sysdig::ANCESTRAL;

/// Sets of texts longer than this are hashed; shorter ones are searched.
const HASHED: usize = 16;

/// A predicate that is ready to run.
#[derive(Debug)]
pub(crate) enum Code {
    Known(Option<bool>),
    And(Box<[Code]>),
    Or(Box<[Code]>),
    Not(Box<Code>),
    /// One test of one field.
    Test(At, Absent, Test),
    Each(Quantifier, Box<Loop>, Box<Code>),
    /// Whether a test, which is false without a value, holds for any ancestor: the same field with
    /// one depth behind the other. Where one is absent, so are those behind it.
    Ancestors(Box<[FieldRef]>, Slot, Box<Pred>),
    /// Anything else.
    Plain(Box<Pred>),
}

/// A field and the scope that it is read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    id: FieldId,
    slot: Slot,
}

/// What is asked of the value of a field.
#[derive(Debug)]
pub(crate) enum Test {
    True,
    Int(Order, i128),
    Ints(Box<[i128]>),
    Text(Order, Box<[u8]>),
    Texts(Box<[Box<[u8]>]>),
    Hashed(HashSet<Box<[u8]>>),
    Contains(Box<Finder<'static>>),
    StartsWith(Box<[u8]>),
    EndsWith(Box<[u8]>),
    Search(Box<Search>),
    Matches(Pattern),
    Bits { bits: u64, all: bool },
    Ip { equal: bool, address: IpAddr },
    Nets(Box<[Net]>),
}

/// Many texts that are looked for in one pass.
#[derive(Debug)]
pub(crate) struct Search {
    needles: AhoCorasick,
    /// Where each must stand.
    places: Box<[TextTest]>,
}

impl Search {
    fn finds(&self, text: &[u8]) -> bool {
        self.needles.find_overlapping_iter(text).any(|found| {
            match self.places.get(found.pattern().as_usize()) {
                Some(TextTest::Contains) => true,
                Some(TextTest::StartsWith) => found.start() == 0,
                Some(TextTest::EndsWith) => found.end() == text.len(),
                None => false,
            }
        })
    }
}

/// Fewer texts are looked for one by one.
const SEARCHED: usize = 5;

/// The field and the manner of absence of a test that a search can make.
pub(crate) fn searched(pred: &Pred) -> Option<(FieldId, Slot, Absent)> {
    match pred {
        Pred::Text(_, sides, absent) => match &**sides {
            [Operand::Field(FieldRef { id, slot, arg: None }), Operand::Const(Const::Text(_))] => {
                Some((*id, *slot, *absent))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether alternatives are one search.
pub(crate) fn is_one_search(terms: &[Pred]) -> bool {
    let first = terms.first().and_then(searched);
    terms.len() >= SEARCHED && first.is_some() && terms.iter().all(|term| searched(term) == first)
}

/// The alternatives that searches answer, each an "or" of its own, and the others.
pub(crate) fn searches(terms: &[Pred]) -> (Vec<Pred>, Vec<&Pred>) {
    let mut groups: Vec<Vec<&Pred>> = Vec::new();
    let mut of: HashMap<_, usize> = HashMap::new();
    let mut others = Vec::new();
    for term in terms {
        match searched(term) {
            None => others.push(term),
            Some((id, slot, absent)) => {
                let at = *of.entry((id, slot, absent == Absent::Doubt)).or_insert(groups.len());
                match groups.get_mut(at) {
                    Some(group) => group.push(term),
                    None => groups.push(vec![term]),
                }
            }
        }
    }
    let (many, few): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.len() >= SEARCHED);
    others.extend(few.into_iter().flatten());
    let many = many.into_iter().map(|group| Pred::Or(group.into_iter().cloned().collect())).collect();
    (many, others)
}

fn search(terms: &[Pred]) -> Option<(At, Absent, Search)> {
    if !is_one_search(terms) {
        return None;
    }
    let (id, slot, absent) = searched(terms.first()?)?;
    let (mut needles, mut places) = (Vec::new(), Vec::new());
    for term in terms {
        if let Pred::Text(how, sides, _) = term
            && let Operand::Const(Const::Text(needle)) = &sides[1]
        {
            needles.push(needle);
            places.push(*how);
        }
    }
    // Too many and too long needles are looked for one by one.
    let needles = AhoCorasick::new(needles).ok()?;
    Some((At { id, slot }, absent, Search { needles, places: places.into() }))
}

/// Compiles a predicate on which the passes have run.
pub(crate) fn compile(pred: &Pred) -> Code {
    match pred {
        Pred::Const(value) => Code::Known(*value),
        Pred::And(terms) => Code::And(terms.iter().map(compile).collect()),
        Pred::Or(terms) => match search(terms) {
            Some((at, absent, search)) => Code::Test(at, absent, Test::Search(Box::new(search))),
            None if is_one_search(terms) => Code::Or(terms.iter().map(compile).collect()),
            None => {
                let (searches, others) = searches(terms);
                Code::Or(others.into_iter().chain(&searches).map(compile).collect())
            }
        },
        Pred::Not(inner) => Code::Not(Box::new(compile(inner))),
        Pred::Each(Quantifier::Any, each, body) if is_of_ancestors(each, body) => {
            let Over::Values(Operand::List(items)) = &each.over else {
                return Code::Plain(pred.clone().into());
            };
            let fields = items.iter().filter_map(|item| match item {
                Operand::Field(field) => Some(field.clone()),
                _ => None,
            });
            Code::Ancestors(fields.collect(), each.slot, body.clone())
        }
        Pred::Each(quantifier, each, body) => Code::Each(*quantifier, each.clone(), Box::new(compile(body))),
        _ => match test(pred) {
            Some((at, absent, test)) => Code::Test(at, absent, test),
            None => Code::Plain(Box::new(pred.clone())),
        },
    }
}

/// Whether a loop goes over a field's values for one ancestor after the other, with a test that is
/// false of what is absent.
fn is_of_ancestors(each: &Loop, body: &Pred) -> bool {
    let Loop { over: Over::Values(Operand::List(items)), only: None, .. } = each else { return false };
    let depths = items.iter().enumerate().all(|(at, item)| match item {
        Operand::Field(FieldRef { id, slot: 0, arg: Some(arg) }) => {
            ANCESTRAL.contains(id) && *id != AENV && **arg == *(at + 1).to_string().as_bytes()
        }
        _ => false,
    });
    let same =
        |item: &Operand| matches!((item, &items[0]), (Operand::Field(a), Operand::Field(b)) if a.id == b.id);
    depths && !items.is_empty() && items.iter().all(same) && body.absent() == Some(Absent::False)
}

fn test(pred: &Pred) -> Option<(At, Absent, Test)> {
    let field = |operand: &Operand| match operand {
        Operand::Field(FieldRef { id, slot, arg: None }) => Some(At { id: *id, slot: *slot }),
        _ => None,
    };
    Some(match pred {
        Pred::Test(value, absent) => (field(value)?, *absent, Test::True),
        Pred::Compare(order, sides, absent) => (field(&sides[0])?, *absent, compared(*order, &sides[1])?),
        Pred::In(value, set, absent) => (field(value)?, *absent, within(set)),
        Pred::Text(how, sides, absent) => {
            let Operand::Const(Const::Text(needle)) = &sides[1] else { return None };
            let test = match how {
                TextTest::Contains => Test::Contains(Box::new(Finder::new(needle).into_owned())),
                TextTest::StartsWith => Test::StartsWith(needle.clone()),
                TextTest::EndsWith => Test::EndsWith(needle.clone()),
            };
            (field(&sides[0])?, *absent, test)
        }
        Pred::Matches(value, pattern, absent) => (field(value)?, *absent, Test::Matches(pattern.clone())),
        Pred::Bits { value, bits, all, absent, .. } => {
            (field(value)?, *absent, Test::Bits { bits: *bits, all: *all })
        }
        _ => return None,
    })
}

fn compared(order: Order, with: &Operand) -> Option<Test> {
    let Operand::Const(with) = with else { return None };
    Some(match with {
        Const::Int(n) => Test::Int(order, *n),
        Const::Text(text) => Test::Text(order, text.clone()),
        Const::Ip(address) if order == Order::Eq => Test::Ip { equal: true, address: *address },
        Const::Ip(address) if order == Order::Ne => Test::Ip { equal: false, address: *address },
        _ => return None,
    })
}

fn within(set: &Set) -> Test {
    match set {
        Set::Ints(items) => Test::Ints(items.clone()),
        Set::Texts(items) if items.len() > HASHED => Test::Hashed(items.iter().cloned().collect()),
        Set::Texts(items) => Test::Texts(items.clone()),
        Set::Nets(items) => Test::Nets(items.clone()),
    }
}

impl Code {
    pub(crate) fn run(&self, env: &Env<'_>) -> Option<bool> {
        match self {
            Self::Test(at, absent, test) => match env.subject(at.slot) {
                Some(subject) => at.test(subject, *absent, test),
                None => doubt(nabe_event::Missing::Subject, *absent),
            },
            Self::And(terms) => {
                let mut verdict = Some(true);
                for term in terms {
                    match term.run(env) {
                        Some(true) => {}
                        Some(false) => return Some(false),
                        None => verdict = None,
                    }
                }
                verdict
            }
            Self::Or(terms) => {
                let mut verdict = Some(false);
                for term in terms {
                    match term.run(env) {
                        Some(false) => {}
                        Some(true) => return Some(true),
                        None => verdict = None,
                    }
                }
                verdict
            }
            Self::Not(inner) => inner.run(env).map(|value| !value),
            Self::Known(value) => *value,
            Self::Ancestors(fields, slot, body) => {
                let Some(subject) = env.subject(0) else { return Some(false) };
                for field in fields {
                    let value = subject.get(field.id, field.arg.as_deref());
                    if matches!(value, Value::Missing(_)) {
                        break;
                    }
                    if body.eval(&env.inner(*slot, Bind::Value(value.into()))) == Some(true) {
                        return Some(true);
                    }
                }
                Some(false)
            }
            Self::Each(quantifier, each, body) => each.quantify(*quantifier, env, &|env| body.run(env)),
            Self::Plain(pred) => pred.eval(env),
        }
    }

    /// The verdict on a subject.
    pub(crate) fn judge(&self, subject: &dyn Fields, steps: &crate::eval::Steps) -> Option<bool> {
        self.run(&Env::root(Bind::Subject(subject), steps))
    }
}

impl At {
    #[inline]
    fn test(self, subject: &dyn Fields, absent: Absent, test: &Test) -> Option<bool> {
        match subject.get(self.id, None) {
            Value::Text(text) => test.text(text),
            Value::Int(number) => test.int(number.into(), absent),
            Value::Uint(number) => test.int(number.into(), absent),
            Value::Bool(value) => matches!(test, Test::True).then_some(value),
            Value::Ip(address) => test.ip(address.to_canonical()),
            Value::Missing(why) => doubt(why, absent),
            Value::List(_) | Value::Map(_) => None,
        }
    }
}

impl Test {
    #[inline]
    fn int(&self, number: i128, absent: Absent) -> Option<bool> {
        Some(match self {
            Self::Int(order, other) => holds(*order, number.cmp(other)),
            Self::Ints(items) => match &**items {
                [a, b] => number == *a || number == *b,
                items => items.binary_search(&number).is_ok(),
            },
            Self::Bits { bits, all } => return bits_test(&V::Int(number), *bits, *all, absent),
            Self::Text(Order::Ne, _) => true,
            Self::True
            | Self::Matches(_)
            | Self::Contains(_)
            | Self::StartsWith(_)
            | Self::EndsWith(_)
            | Self::Search(_) => return None,
            _ => false,
        })
    }

    #[inline]
    fn text(&self, text: &[u8]) -> Option<bool> {
        Some(match self {
            Self::Text(Order::Eq, other) => text == &**other,
            Self::Text(Order::Ne, other) => text != &**other,
            Self::Text(order, other) => holds(*order, text.cmp(other)),
            Self::Texts(items) => items.binary_search_by(|item| item.as_ref().cmp(text)).is_ok(),
            Self::Hashed(items) => items.contains(text),
            Self::Contains(finder) => finder.find(text).is_some(),
            Self::StartsWith(prefix) => text.starts_with(prefix),
            Self::EndsWith(suffix) => text.ends_with(suffix),
            Self::Search(search) => search.finds(text),
            Self::Matches(pattern) => pattern.is_match(text),
            Self::Int(Order::Ne, _) => true,
            Self::True | Self::Bits { .. } => return None,
            _ => false,
        })
    }

    #[inline]
    fn ip(&self, address: IpAddr) -> Option<bool> {
        match self {
            Self::Ip { equal, address: other } => Some((address == *other) == *equal),
            Self::Nets(nets) => Some(nets.iter().any(|net| net.contains(address))),
            _ => None,
        }
    }
}
