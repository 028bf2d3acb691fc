//! What is done to the typed form before it is compiled, in this order. Each pass keeps every
//! verdict, undecided ones included; none can fail.
//!
//! - `reduce`: from the leaves up, what is constant is computed and what is redundant removed;
//! - `merge`: alternatives about one field become one set;
//! - `order`: cheap and selective tests come first.

use crate::ir::Pred;

mod merge;
mod order;
pub(crate) mod reduce;

/// A pass with its name.
pub(crate) type Pass = (&'static str, fn(&mut Pred));

pub(crate) static PASSES: &[Pass] = &[("reduce", reduce::run), ("merge", merge::run), ("order", order::run)];

pub(crate) fn run(pred: &mut Pred) {
    for (_, pass) in PASSES {
        pass(pred);
    }
}
