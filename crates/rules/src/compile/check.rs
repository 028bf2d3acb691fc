//! Names that a condition uses and its source does not have.

use nabe_event::field;
use nabe_filter::Span;
use nabe_filter::sysdig::{Expr, ExprKind, Op, Right, Term, TermKind, Value};

use super::values;
use crate::catalogue::{Catalogue, unknown_in_term};
use crate::events::Names;

/// Names that a condition may not use.
pub(super) struct Check<'c> {
    pub(super) catalogue: &'c dyn Catalogue,
    pub(super) source: &'c str,
    pub(super) names: &'c Names,
}

pub(super) type Unknown = (String, Span, Option<String>);

impl Check<'_> {
    pub(super) fn expr(&self, expr: &Expr) -> Option<Unknown> {
        match &expr.kind {
            ExprKind::And(terms) | ExprKind::Or(terms) => terms.iter().find_map(|term| self.expr(term)),
            ExprKind::Not(inner) => self.expr(inner),
            ExprKind::Macro(_) => None,
            ExprKind::Exists(term) => self.term(term),
            ExprKind::Check { left, op, right, .. } => {
                let computed = match right {
                    Right::Term(term) => self.term(term),
                    _ => None,
                };
                self.term(left).or(computed).or_else(|| self.event(left, *op, right))
            }
        }
    }

    fn term(&self, term: &Term) -> Option<Unknown> {
        let (name, at) = unknown_in_term(term, &|name| self.catalogue.knows(self.source, name))?;
        let near = self.catalogue.nearest(self.source, name).map(|near| format!("did you mean `{near}`?"));
        Some((format!("filter_check called with nonexistent field {name}"), at.place.0, near))
    }

    fn event(&self, left: &Term, op: Op, right: &Right) -> Option<Unknown> {
        let is_type = matches!(&left.kind, TermKind::Field { name, arg: None } if name == "evt.type");
        if !is_type || !matches!(op, Op::Eq | Op::Ne | Op::In | Op::Intersects) {
            return None;
        }
        let known =
            |value: &&Value| core::str::from_utf8(&value.text).is_ok_and(|name| self.names.knows(name));
        let unknown = values(right).iter().find(|value| !known(value))?;
        let name = String::from_utf8_lossy(&unknown.text);
        let near = field::nearest(&name, self.names.all().iter().copied());
        let hint = near.map(|near| format!("did you mean `{near}`?"));
        Some((format!("unknown event type {name}"), unknown.place.0, hint))
    }
}
