//! What is done to the typed form before it is compiled, in this order. Each pass keeps every
//! verdict, undecided ones included; none can fail.
//!
//! - `reduce`: from the leaves up, what is constant is computed and what is redundant removed;
//! - `arrange`: from the leaves up, alternatives about one field become one set (`merge`), and
//!   cheap and selective tests come first (`order`). Both at one node before the next above it, so
//!   that terms which mean the same look the same where they are compared.

use crate::ir::Pred;
use crate::ir::walk::{Rewrite, walk_operand, walk_pred};

mod merge;
mod order;
pub(crate) mod reduce;

/// A pass with its name.
pub(crate) type Pass = (&'static str, fn(&mut Pred));

pub(crate) static PASSES: &[Pass] = &[("reduce", reduce::run), ("arrange", arrange)];

pub(crate) fn run(pred: &mut Pred) {
    for (_, pass) in PASSES {
        pass(pred);
    }
}

fn arrange(pred: &mut Pred) {
    Arrange.pred(pred);
}

struct Arrange;

impl Rewrite for Arrange {
    fn pred(&mut self, pred: &mut crate::ir::Pred) {
        walk_pred(self, pred);
        // Terms below may have become equal, or chains of this one's kind.
        match pred {
            Pred::And(terms) => *pred = reduce::join(core::mem::take(terms), true),
            Pred::Or(terms) => *pred = reduce::join(core::mem::take(terms), false),
            _ => return,
        }
        merge::node(pred);
        order::node(pred);
    }

    fn operand(&mut self, operand: &mut crate::ir::Operand) {
        walk_operand(self, operand);
    }
}

/// What judging a subject costs at most, roughly, in nanoseconds.
pub(crate) fn cost(pred: &crate::ir::Pred) -> u32 {
    order::work(pred)
}
