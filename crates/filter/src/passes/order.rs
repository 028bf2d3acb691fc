//! Cheap and selective tests first: what needs no costly collector before what does, numbers
//! before texts, texts before patterns, loops last. "And" and "or" of three values do not mind.

use nabe_event::Needs;

use crate::ir::{Const, Operand, Order, Pred, Set};

/// Sorts the terms of one node.
pub(super) fn node(pred: &mut Pred) {
    if let Pred::And(terms) | Pred::Or(terms) = pred {
        terms.sort_by_cached_key(cost);
    }
}

/// The costliest collector, then the work of the test itself.
fn cost(pred: &Pred) -> (usize, u32) {
    let needs = pred.needs();
    let collector = Needs::ALL.iter().rposition(|(need, ..)| needs.contains(*need)).unwrap_or(0);
    (collector, work(pred))
}

/// Roughly nanoseconds.
pub(super) fn work(pred: &Pred) -> u32 {
    let sum = |terms: &[Pred]| terms.iter().fold(0_u32, |sum, term| sum.saturating_add(work(term)));
    match pred {
        Pred::Const(_) => 0,
        Pred::And(terms) | Pred::Or(terms) => sum(terms),
        Pred::Not(inner) => work(inner),
        Pred::If(parts) => sum(&**parts),
        Pred::Test(value, _) | Pred::Has(value) => 1 + value_work(value),
        Pred::Compare(order, sides, _) => {
            let text = u32::from(matches!(sides[1], Operand::Const(Const::Text(_)))) * 2;
            let open = u32::from(*order != Order::Eq);
            1 + text + open + value_work(&sides[0]) + value_work(&sides[1])
        }
        Pred::Bits { value, .. } => 3 + value_work(value),
        Pred::In(value, Set::Ints(_), _) => 4 + value_work(value),
        Pred::In(value, ..) => 6 + value_work(value),
        Pred::Member(sides, _) => 20 + value_work(&sides[0]) + value_work(&sides[1]),
        Pred::Text(_, sides, _) => 10 + value_work(&sides[0]) + value_work(&sides[1]),
        Pred::HasKey(sides, _) => 20 + value_work(&sides[0]),
        Pred::Matches(value, ..) => 100 + value_work(value),
        Pred::Each(_, _, body) => work(body).saturating_mul(50).saturating_add(200),
    }
}

fn value_work(operand: &Operand) -> u32 {
    match operand {
        Operand::Const(_) => 0,
        Operand::Field(_) | Operand::Local(_) => 1,
        Operand::Pred(pred) => work(pred),
        Operand::Math(_, sides) => {
            value_work(&sides[0]).saturating_add(value_work(&sides[1])).saturating_add(2)
        }
        Operand::Negate(inner) => value_work(inner).saturating_add(1),
        Operand::Index(sides) => value_work(&sides[0]).saturating_add(20),
        _ => 200,
    }
}
