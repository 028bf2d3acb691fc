//! Going through the form, children first.

use super::{Loop, Operand, Over, Pred};

/// Something that changes nodes in place. Both functions are called on a node whose children are
/// to be visited by `walk_*`.
pub(crate) trait Rewrite {
    fn pred(&mut self, pred: &mut Pred);
    fn operand(&mut self, operand: &mut Operand);
}

pub(crate) fn walk_pred(rewrite: &mut dyn Rewrite, pred: &mut Pred) {
    match pred {
        Pred::Const(_) => {}
        Pred::And(terms) | Pred::Or(terms) => terms.iter_mut().for_each(|term| rewrite.pred(term)),
        Pred::Not(inner) => rewrite.pred(inner),
        Pred::If(parts) => parts.iter_mut().for_each(|part| rewrite.pred(part)),
        Pred::Test(value, _)
        | Pred::In(value, ..)
        | Pred::Matches(value, ..)
        | Pred::Bits { value, .. }
        | Pred::Has(value) => rewrite.operand(value),
        Pred::Compare(_, sides, _)
        | Pred::Member(sides, _)
        | Pred::Text(_, sides, _)
        | Pred::HasKey(sides, _) => sides.iter_mut().for_each(|side| rewrite.operand(side)),
        Pred::Each(_, each, body) => {
            walk_loop(rewrite, each);
            rewrite.pred(body);
        }
    }
}

pub(crate) fn walk_operand(rewrite: &mut dyn Rewrite, operand: &mut Operand) {
    match operand {
        Operand::Const(_) | Operand::Field(_) | Operand::Local(_) => {}
        Operand::Pred(pred) => rewrite.pred(pred),
        Operand::Negate(inner) => rewrite.operand(inner),
        Operand::Math(_, sides) | Operand::Index(sides) => {
            sides.iter_mut().for_each(|side| rewrite.operand(side));
        }
        Operand::Call(_, items) | Operand::List(items) => {
            items.iter_mut().for_each(|item| rewrite.operand(item));
        }
        Operand::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
            rewrite.operand(key);
            rewrite.operand(value);
        }),
        Operand::If(parts) => {
            rewrite.pred(&mut parts.0);
            rewrite.operand(&mut parts.1);
            rewrite.operand(&mut parts.2);
        }
        Operand::Count(each) => walk_loop(rewrite, each),
        Operand::Collect(each, body) => {
            walk_loop(rewrite, each);
            if let Some(body) = body {
                rewrite.operand(body);
            }
        }
    }
}

fn walk_loop(rewrite: &mut dyn Rewrite, each: &mut Loop) {
    if let Over::Values(values) = &mut each.over {
        rewrite.operand(values);
    }
    if let Some(only) = &mut each.only {
        rewrite.pred(only);
    }
}
