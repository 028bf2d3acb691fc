//! Macros put into conditions as trees.

use std::collections::BTreeSet;

use nabe_filter::Span;
use nabe_filter::sysdig::{Expr, ExprKind, Right, Term, TermKind};

use super::CompiledMacro;
use crate::definition::Definitions;

/// Parts that a condition may come to with its macros put in.
pub(super) const MAX_PARTS: usize = 1 << 17;
/// Levels that a condition may be nested with its macros put in.
const MAX_LEVELS: usize = 200;

/// Puts macros in.
pub(super) struct Resolver<'r> {
    pub(super) definitions: &'r Definitions,
    pub(super) macros: &'r [CompiledMacro],
    pub(super) visibility: u32,
    pub(super) open: Vec<String>,
    pub(super) used: BTreeSet<String>,
    pub(super) parts: usize,
}

/// What is wrong, where, and the unknown name.
pub(super) type Unresolved = (String, Span, Option<String>);

impl Resolver<'_> {
    pub(super) fn expr(&mut self, expr: &Expr, level: usize) -> core::result::Result<Expr, Unresolved> {
        self.parts += 1;
        if level > MAX_LEVELS {
            let message = format!("nested more than {MAX_LEVELS} levels deep, macros put in");
            return Err((message, expr.place.0, None));
        }
        if self.parts > MAX_PARTS {
            let message = format!("the condition comes to more than {MAX_PARTS} parts, macros put in");
            return Err((message, expr.place.0, None));
        }
        let kind = match &expr.kind {
            ExprKind::And(terms) => ExprKind::And(self.exprs(terms, level)?),
            ExprKind::Or(terms) => ExprKind::Or(self.exprs(terms, level)?),
            ExprKind::Not(inner) => ExprKind::Not(Box::new(self.expr(inner, level + 1)?)),
            ExprKind::Macro(name) => return self.put_in(name, expr.place.0, level),
            other => other.clone(),
        };
        Ok(Expr { kind, place: expr.place })
    }

    fn exprs(&mut self, terms: &[Expr], level: usize) -> core::result::Result<Vec<Expr>, Unresolved> {
        terms.iter().map(|term| self.expr(term, level + 1)).collect()
    }

    fn put_in(&mut self, name: &str, span: Span, level: usize) -> core::result::Result<Expr, Unresolved> {
        let visible = self.definitions.macros.get(name).filter(|one| one.seen.index < self.visibility);
        let found = visible.and_then(|_| self.macros.get(self.definitions.macros.position(name)?));
        let Some(found) = found else {
            return Err((format!("Undefined macro '{name}' used in filter."), span, Some(name.to_owned())));
        };
        if self.open.iter().any(|open| open == name) {
            return Err((format!("reference loop in macro '{name}'"), span, None));
        }
        self.open.push(name.to_owned());
        // Within a macro, places are those of its own text; errors are told at its name.
        let tree =
            self.expr(&found.tree, level + 1).map_err(|(message, _, unknown)| (message, span, unknown));
        self.open.pop();
        self.used.insert(name.to_owned());
        let mut tree = tree?;
        placed(&mut tree, span);
        Ok(tree)
    }
}

/// Says of all parts that they stand at the name of the macro that they came from.
fn placed(expr: &mut Expr, span: Span) {
    expr.place.0 = span;
    match &mut expr.kind {
        ExprKind::And(terms) | ExprKind::Or(terms) => terms.iter_mut().for_each(|term| placed(term, span)),
        ExprKind::Not(inner) => placed(inner, span),
        ExprKind::Macro(_) => {}
        ExprKind::Exists(term) => placed_term(term, span),
        ExprKind::Check { left, right, .. } => {
            placed_term(left, span);
            match right {
                Right::Value(value) => value.place.0 = span,
                Right::List(values, place) => {
                    place.0 = span;
                    values.iter_mut().for_each(|value| value.place.0 = span);
                }
                Right::Name(_, place) => place.0 = span,
                Right::Term(term) => placed_term(term, span),
            }
        }
    }
}

fn placed_term(term: &mut Term, span: Span) {
    term.place.0 = span;
    if let TermKind::Call { args, .. } | TermKind::List(args) = &mut term.kind {
        args.iter_mut().for_each(|arg| placed_term(arg, span));
    }
}
