//! A weaker filter that reads less: what is known already rules out what cannot match.

use crate::ir::{FieldRef, Pred};

/// A predicate that is true wherever `pred` is true and reads only fields that `readable` allows.
pub(crate) fn weaken(pred: &Pred, readable: &dyn Fn(&FieldRef) -> bool) -> Pred {
    bound(pred, true, readable)
}

/// With `above`, true wherever `pred` is true; without, false wherever `pred` is false. "Not"
/// turns one into the other; a test that cannot be made is as weak as it can be.
fn bound(pred: &Pred, above: bool, readable: &dyn Fn(&FieldRef) -> bool) -> Pred {
    let same = |pred: &Pred| bound(pred, above, readable);
    match pred {
        Pred::And(terms) => Pred::And(terms.iter().map(same).collect()),
        Pred::Or(terms) => Pred::Or(terms.iter().map(same).collect()),
        Pred::Not(inner) => bound(inner, !above, readable).not(),
        Pred::If(parts) => {
            let [condition, then, otherwise] = &**parts;
            if reads_only(condition, readable) {
                return Pred::If(Box::new([condition.clone(), same(then), same(otherwise)]));
            }
            let both = vec![same(then), same(otherwise)];
            if above { Pred::Or(both) } else { Pred::And(both) }
        }
        // Exactly one is not monotone, and items that are left out by a filter in doubt are not
        // known to be left out: such loops are taken whole or not at all.
        Pred::Each(quantifier, each, body)
            if *quantifier != crate::ir::Quantifier::One && reads_only_items(each, readable) =>
        {
            Pred::Each(*quantifier, each.clone(), Box::new(same(body)))
        }
        pred if reads_only(pred, readable) => pred.clone(),
        _ => Pred::Const(Some(above)),
    }
}

fn reads_only(pred: &Pred, readable: &dyn Fn(&FieldRef) -> bool) -> bool {
    let mut only = true;
    pred.fields(&mut |field| only &= readable(field));
    only
}

fn reads_only_items(each: &crate::ir::Loop, readable: &dyn Fn(&FieldRef) -> bool) -> bool {
    let mut only = true;
    each.fields(&mut |field| only &= readable(field));
    only
}
