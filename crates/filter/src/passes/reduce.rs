//! Computes what is constant and removes what is redundant, from the leaves up.
//!
//! Three values decide what is redundant: `x && false` is false whatever `x` is, but `x && x` is
//! `x`, and `!(a == b)` is not `a != b`, because both are false for a value that is unset.

use std::collections::HashSet;

use crate::eval::{Bind, Env, Steps};
use crate::ir::walk::{Rewrite, walk_operand, walk_pred};
use crate::ir::{Const, Loop, Net, Operand, Order, Over, Pred, Quantifier, Set};

/// Items that loops over constants may visit while they are computed ahead.
const STEPS: u32 = 4096;
/// Longest text, list or map that takes the place of the expression that makes it.
const MAX_CONSTANT: usize = 1024;
/// Terms that are compared each with each; of more, their texts are.
const MAX_COMPARED: usize = 16;

pub(crate) fn run(pred: &mut Pred) {
    Reduce.pred(pred);
}

struct Reduce;

impl Rewrite for Reduce {
    fn pred(&mut self, pred: &mut Pred) {
        walk_pred(self, pred);
        reduce_pred(pred);
    }

    fn operand(&mut self, operand: &mut Operand) {
        walk_operand(self, operand);
        reduce_operand(operand);
    }
}

/// Reduces one node whose children are reduced.
pub(crate) fn reduce_pred(pred: &mut Pred) {
    if !matches!(pred, Pred::Const(_)) && bound(pred) {
        fold_pred(pred);
    }
    simplify(pred);
}

/// Reduces one node whose children are reduced.
pub(crate) fn reduce_operand(operand: &mut Operand) {
    if let Operand::If(parts) = operand
        && let Pred::Const(Some(known)) = parts.0
    {
        let placeholder = Operand::Const(Const::Null);
        let chosen = if known { &mut parts.1 } else { &mut parts.2 };
        *operand = core::mem::replace(chosen, placeholder);
    }
    match operand {
        Operand::Const(_) | Operand::Field(_) | Operand::Local(_) => {}
        Operand::Pred(pred) => match &mut **pred {
            Pred::Const(Some(value)) => *operand = Operand::Const(Const::Bool(*value)),
            Pred::Test(value, _) => {
                let value = core::mem::replace(value, Operand::Const(Const::Null));
                *operand = value;
            }
            _ => {}
        },
        _ if is_constant(operand, 0) => fold_operand(operand),
        _ => {}
    }
}

/// Whether the predicate reads no field and no variable of a loop around it.
fn bound(pred: &Pred) -> bool {
    match pred {
        Pred::And(terms) | Pred::Or(terms) => terms.iter().all(|term| matches!(term, Pred::Const(_))),
        Pred::Not(inner) => matches!(**inner, Pred::Const(_)),
        _ => is_constant_pred(pred, 0),
    }
}

fn is_constant_pred(pred: &Pred, inside: u32) -> bool {
    let operand = |operand: &Operand| is_constant(operand, inside);
    match pred {
        Pred::Const(_) => true,
        Pred::And(terms) | Pred::Or(terms) => terms.iter().all(|term| is_constant_pred(term, inside)),
        Pred::Not(inner) => is_constant_pred(inner, inside),
        Pred::If(parts) => parts.iter().all(|part| is_constant_pred(part, inside)),
        Pred::Test(value, _)
        | Pred::In(value, ..)
        | Pred::Matches(value, ..)
        | Pred::Bits { value, .. }
        | Pred::Has(value) => operand(value),
        Pred::Compare(_, sides, _)
        | Pred::Member(sides, _)
        | Pred::Text(_, sides, _)
        | Pred::HasKey(sides, _) => sides.iter().all(operand),
        Pred::Each(_, each, body) => {
            is_constant_loop(each, inside) && is_constant_pred(body, inside | 1 << each.slot)
        }
    }
}

/// Whether an operand reads no field, and no variables but those of the loops in `inside`.
fn is_constant(operand: &Operand, inside: u32) -> bool {
    let constant = |operand: &Operand| is_constant(operand, inside);
    match operand {
        Operand::Const(_) => true,
        Operand::Field(_) => false,
        Operand::Local(slot) => inside & (1 << slot) != 0,
        Operand::Pred(pred) => is_constant_pred(pred, inside),
        Operand::Negate(inner) => constant(inner),
        Operand::Math(_, sides) | Operand::Index(sides) => sides.iter().all(constant),
        Operand::Call(_, items) | Operand::List(items) => items.iter().all(constant),
        Operand::Map(entries) => entries.iter().all(|(key, value)| constant(key) && constant(value)),
        Operand::If(parts) => is_constant_pred(&parts.0, inside) && constant(&parts.1) && constant(&parts.2),
        Operand::Count(each) => is_constant_loop(each, inside),
        Operand::Collect(each, body) => {
            is_constant_loop(each, inside)
                && body.as_ref().is_none_or(|body| is_constant(body, inside | 1 << each.slot))
        }
    }
}

fn is_constant_loop(each: &Loop, inside: u32) -> bool {
    let over = match &each.over {
        Over::Relation(_) => false,
        Over::Values(values) => is_constant(values, inside),
    };
    over && each.only.as_ref().is_none_or(|only| is_constant_pred(only, inside | 1 << each.slot))
}

fn fold_pred(pred: &mut Pred) {
    let steps = Steps::new(STEPS);
    let verdict = pred.eval(&Env::root(Bind::Nothing, &steps));
    if steps.take() {
        *pred = Pred::Const(verdict);
    }
}

fn fold_operand(operand: &mut Operand) {
    let steps = Steps::new(STEPS);
    let env = Env::root(Bind::Nothing, &steps);
    let value = operand.eval(&env).constant().filter(is_small);
    if let Some(value) = value.filter(|_| steps.take()) {
        *operand = Operand::Const(value);
    }
}

fn is_small(value: &Const) -> bool {
    match value {
        Const::Text(text) => text.len() <= MAX_CONSTANT,
        Const::List(items) => items.len() <= MAX_CONSTANT && items.iter().all(is_small),
        Const::Map(entries) => {
            entries.len() <= MAX_CONSTANT
                && entries.iter().all(|(key, value)| is_small(key) && is_small(value))
        }
        _ => true,
    }
}

/// Rewrites one node whose children are in their simplest form.
fn simplify(pred: &mut Pred) {
    match pred {
        Pred::And(terms) => *pred = join(core::mem::take(terms), true),
        Pred::Or(terms) => *pred = join(core::mem::take(terms), false),
        Pred::Not(inner) => match &mut **inner {
            Pred::Const(value) => *pred = Pred::Const(value.map(|value| !value)),
            Pred::Not(twice) => *pred = take(twice),
            _ => {}
        },
        Pred::If(parts) => match &parts[0] {
            Pred::Const(Some(true)) => *pred = take(&mut parts[1]),
            Pred::Const(Some(false)) => *pred = take(&mut parts[2]),
            Pred::Const(None) => *pred = Pred::Const(None),
            _ => {}
        },
        Pred::Test(Operand::Pred(inner), _) => *pred = take(inner),
        Pred::Compare(..) => compare(pred),
        Pred::In(_, set, _) if set.len() == 1 => single(pred),
        _ => {}
    }
}

fn take(pred: &mut Pred) -> Pred {
    core::mem::replace(pred, Pred::Const(None))
}

/// A chain without chains of the same kind in it, without what has no influence, and without terms
/// that stand twice.
pub(super) fn join(terms: Vec<Pred>, and: bool) -> Pred {
    let mut flat: Vec<Pred> = Vec::with_capacity(terms.len());
    let mut add = |term: Pred| {
        let neutral = matches!(&term, Pred::Const(Some(value)) if *value == and);
        if !neutral {
            flat.push(term);
        }
    };
    for term in terms {
        match term {
            Pred::And(inner) if and => inner.into_iter().for_each(&mut add),
            Pred::Or(inner) if !and => inner.into_iter().for_each(&mut add),
            Pred::Const(Some(value)) if value != and => return Pred::Const(Some(value)),
            term => add(term),
        }
    }
    once(&mut flat);
    match flat.len() {
        0 => Pred::Const(Some(and)),
        1 => flat.swap_remove(0),
        _ if and => Pred::And(flat),
        _ => Pred::Or(flat),
    }
}

/// Removes terms that stand twice.
fn once(terms: &mut Vec<Pred>) {
    if terms.len() > MAX_COMPARED {
        let mut seen = HashSet::new();
        terms.retain(|term| seen.insert(format!("{term:?}")));
        return;
    }
    let mut at = 1;
    while at < terms.len() {
        if terms[..at].contains(&terms[at]) {
            terms.remove(at);
        } else {
            at += 1;
        }
    }
}

/// Constants go to the right; a count that is only asked whether it is zero stops at the first.
fn compare(pred: &mut Pred) {
    let Pred::Compare(order, sides, absent) = pred else { return };
    if matches!(sides[0], Operand::Const(_)) && !matches!(sides[1], Operand::Const(_)) {
        sides.swap(0, 1);
        *order = order.flip();
    }
    match (&mut **sides, *order) {
        ([value, Operand::Const(Const::Bool(true))], Order::Eq) => {
            let value = core::mem::replace(value, Operand::Const(Const::Null));
            *pred = match value {
                Operand::Pred(inner) => *inner,
                value => Pred::Test(value, *absent),
            };
        }
        ([Operand::Count(each), Operand::Const(Const::Int(n))], order) => {
            let some = match (order, *n) {
                (Order::Gt | Order::Ne, 0) | (Order::Ge, 1) => true,
                (Order::Eq | Order::Le, 0) | (Order::Lt, 1) => false,
                _ => return,
            };
            let any = Pred::Each(Quantifier::Any, each.clone(), Box::new(Pred::Const(Some(true))));
            *pred = if some { any } else { any.not() };
        }
        _ => {}
    }
}

/// Membership in a set of one is equality.
fn single(pred: &mut Pred) {
    let Pred::In(needle, set, absent) = pred else { return };
    let item = match set {
        Set::Ints(items) => Const::Int(items[0]),
        Set::Texts(items) => Const::Text(items[0].clone()),
        Set::Nets(items) if Net::is_host(&items[0]) => Const::Ip(items[0].address()),
        Set::Nets(_) => return,
    };
    let needle = core::mem::replace(needle, Operand::Const(Const::Null));
    *pred = Pred::Compare(Order::Eq, Box::new([needle, Operand::Const(item)]), *absent);
}
