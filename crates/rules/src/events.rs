//! Which events a condition can be true of, by what it says of `evt.type`.
//!
//! "And" intersects, "or" unites, "not" is pushed down to the leaves by De Morgan's laws, and a test
//! that says nothing of the type leaves all events, negated or not. Events are numbered from 1, so
//! that `evt.num=0`, Falco's way to say "never", leaves none.

use nabe_event::source::EventSet;
use nabe_filter::sysdig::{Expr, ExprKind, Op, Right, Term, TermKind};

use crate::catalogue::{event_ids, event_names};

/// All names that events can have.
#[derive(Debug)]
pub(crate) struct Names(Vec<&'static str>);

/// A set of them, a bit for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameSet(Vec<u64>);

impl Names {
    pub(crate) fn new() -> Self {
        Self(event_names())
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.0.binary_search(&name).is_ok()
    }

    pub(crate) fn all(&self) -> &[&'static str] {
        &self.0
    }

    fn filled(&self, whole: bool) -> NameSet {
        NameSet(vec![if whole { u64::MAX } else { 0 }; self.0.len().div_ceil(64)])
    }

    fn of<'n>(&self, names: impl IntoIterator<Item = &'n [u8]>) -> NameSet {
        let mut set = self.filled(false);
        for name in names {
            let Ok(at) = self.0.binary_search_by(|known| known.as_bytes().cmp(name)) else { continue };
            if let Some(word) = set.0.get_mut(at / 64) {
                *word |= 1 << (at % 64);
            }
        }
        set
    }

    /// The names of a set.
    pub(crate) fn members(&self, set: &NameSet) -> Vec<&'static str> {
        let has = |at: usize| set.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
        self.0.iter().enumerate().filter(|(at, _)| has(*at)).map(|(_, name)| *name).collect()
    }

    /// The numbers of the events of a set.
    pub(crate) fn numbers(&self, set: &NameSet) -> EventSet {
        self.members(set).into_iter().fold(EventSet::none(), |all, name| all.union(&event_ids(name)))
    }

    /// The events that a condition can be true of.
    pub(crate) fn matched(&self, expr: &Expr, negated: bool) -> NameSet {
        match &expr.kind {
            ExprKind::And(terms) if !negated => self.both(terms, negated),
            ExprKind::Or(terms) if negated => self.both(terms, negated),
            ExprKind::And(terms) | ExprKind::Or(terms) => {
                let sets = terms.iter().map(|term| self.matched(term, negated));
                sets.fold(self.filled(false), |all, set| merge(all, &set, |a, b| a | b))
            }
            ExprKind::Not(inner) => self.matched(inner, !negated),
            ExprKind::Macro(_) => self.filled(true),
            ExprKind::Exists(term) => self.filled(!(negated && is_type(term))),
            ExprKind::Check { left, op, modifier: None, right } if is_type(left) => {
                let set = match (op, right) {
                    (Op::Eq | Op::Ne, Right::Value(value)) => self.of([value.text.as_slice()]),
                    (Op::In | Op::Intersects, Right::List(values, _)) => {
                        self.of(values.iter().map(|value| value.text.as_slice()))
                    }
                    _ => return self.filled(true),
                };
                if (*op == Op::Ne) != negated { inverted(set) } else { set }
            }
            ExprKind::Check { left, op, modifier: None, right } => match known_of_number(left, *op, right) {
                Some(always) => self.filled(always != negated),
                None => self.filled(true),
            },
            ExprKind::Check { .. } => self.filled(true),
        }
    }

    fn both(&self, terms: &[Expr], negated: bool) -> NameSet {
        let sets = terms.iter().map(|term| self.matched(term, negated));
        sets.fold(self.filled(true), |all, set| merge(all, &set, |a, b| a & b))
    }
}

fn merge(mut one: NameSet, other: &NameSet, how: fn(u64, u64) -> u64) -> NameSet {
    one.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word = how(*word, *other));
    one
}

fn inverted(mut set: NameSet) -> NameSet {
    set.0.iter_mut().for_each(|word| *word = !*word);
    set
}

fn is_type(term: &Term) -> bool {
    matches!(&term.kind, TermKind::Field { name, arg: None } if name == "evt.type" || name == "syscall.type")
}

/// Whether a test of `evt.num` is always or never true.
fn known_of_number(left: &Term, op: Op, right: &Right) -> Option<bool> {
    if !matches!(&left.kind, TermKind::Field { name, arg: None } if name == "evt.num") {
        return None;
    }
    let number = |text: &[u8]| core::str::from_utf8(text).ok()?.parse::<u64>().ok();
    match (op, right) {
        (Op::In, Right::List(values, _)) => {
            values.iter().all(|value| number(&value.text) == Some(0)).then_some(false)
        }
        (op, Right::Value(value)) => match (op, number(&value.text)?) {
            (Op::Eq | Op::Le, 0) | (Op::Lt, 0 | 1) => Some(false),
            (Op::Ne | Op::Gt, 0) | (Op::Ge, 0 | 1) => Some(true),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_from_conditions() {
        let names = Names::new();
        assert!(names.knows("openat") && names.knows("getuid") && !names.knows("nothing"));
        let all = names.all().len();
        for (text, expected) in [
            ("evt.type=open", Some(vec!["open"])),
            ("evt.type in (open, close) and proc.name=a", Some(vec!["close", "open"])),
            ("evt.type=open or proc.name=a", None),
            ("evt.type=open and evt.type=close", Some(vec![])),
            ("evt.type=open and not (evt.type=close or proc.name=a)", Some(vec!["open"])),
            ("not not evt.type=open", Some(vec!["open"])),
            ("not evt.type!=open", Some(vec!["open"])),
            ("evt.num=0", Some(vec![])),
            ("not evt.num=0", None),
            ("evt.type=open and not evt.num=0", Some(vec!["open"])),
        ] {
            let tree = nabe_filter::sysdig::parse(text).unwrap();
            let members = names.members(&names.matched(&tree.root, false));
            match expected {
                Some(expected) => assert_eq!(members, expected, "{text}"),
                None => assert_eq!(members.len(), all, "{text}"),
            }
        }
        let tree = nabe_filter::sysdig::parse("not evt.type in (open, close)").unwrap();
        assert_eq!(names.members(&names.matched(&tree.root, false)).len(), all - 2);
    }
}
