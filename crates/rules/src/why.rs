//! Why a rule matches an event or does not: each part of its condition with its verdict.

use nabe_event::Fields;
use nabe_event::payload::Form;
use nabe_filter::sysdig::{Ast, Expr, ExprKind, Term, TermKind};
use nabe_filter::{Classes, Program};

use crate::catalogue::{Catalogue, Native};
use crate::compile::CompiledRule;
use crate::output::Output;

/// Levels that are told.
const MAX_DEPTH: usize = 24;
/// Parts of one kind that are told beside each other.
const MAX_PARTS: usize = 64;
/// Characters of a part's text.
const MAX_TEXT: usize = 160;

/// A part of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How deep it stands.
    pub depth: usize,
    /// What it says: a check, `all of`, `any of` or `not`.
    pub text: String,
    /// Whether it is true of the event.
    pub holds: bool,
    /// For a check: what the field has.
    pub value: Option<String>,
}

/// Says of a rule and an event which parts of the condition decide: of what is true, what makes it
/// so; of what is not, what stands in the way. With `all`, every part.
#[must_use]
pub fn why(rule: &CompiledRule, event: &dyn Fields, all: bool) -> Vec<Part> {
    let classes = Native.classes(&rule.source);
    let mut teller = Teller { event, classes, source: &rule.source, all, parts: Vec::new() };
    teller.tell(&rule.tree.root, 0);
    teller.parts
}

struct Teller<'t> {
    event: &'t dyn Fields,
    classes: Classes,
    source: &'t str,
    all: bool,
    parts: Vec<Part>,
}

impl Teller<'_> {
    fn holds(&self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::And(terms) => terms.iter().all(|term| self.holds(term)),
            ExprKind::Or(terms) => terms.iter().any(|term| self.holds(term)),
            ExprKind::Not(inner) => !self.holds(inner),
            _ => {
                let tree = Ast { root: expr.clone() };
                let text = tree.to_string();
                Program::of_sysdig_for(&tree, &text, &(), self.classes)
                    .is_ok_and(|program| program.matches(self.event))
            }
        }
    }

    fn tell(&mut self, expr: &Expr, depth: usize) {
        let holds = self.holds(expr);
        let (text, terms) = match &expr.kind {
            ExprKind::And(terms) => ("all of", terms.as_slice()),
            ExprKind::Or(terms) => ("any of", terms.as_slice()),
            ExprKind::Not(inner) => ("not", core::slice::from_ref(&**inner)),
            _ => {
                let value = left(expr).and_then(|term| self.value(term));
                return self.parts.push(Part { depth, text: shortened(&expr.to_string()), holds, value });
            }
        };
        self.parts.push(Part { depth, text: text.to_owned(), holds, value: None });
        if depth >= MAX_DEPTH {
            return;
        }
        // One term that is not true decides "all", one that is decides "any".
        let decides = |term_holds: bool| match &expr.kind {
            ExprKind::And(_) => holds || !term_holds,
            ExprKind::Or(_) => !holds || term_holds,
            _ => true,
        };
        let told: Vec<&Expr> = terms.iter().filter(|term| self.all || decides(self.holds(term))).collect();
        for term in told.iter().take(MAX_PARTS) {
            self.tell(term, depth + 1);
        }
        if told.len() > MAX_PARTS {
            let text = format!("… and {} more", told.len() - MAX_PARTS);
            self.parts.push(Part { depth: depth + 1, text, holds, value: None });
        }
    }

    /// What a field has of the event.
    fn value(&self, term: &Term) -> Option<String> {
        let TermKind::Field { name, arg } = &term.kind else { return None };
        let arg = arg.as_ref().map(|arg| format!("[{}]", String::from_utf8_lossy(arg))).unwrap_or_default();
        let knows = |name: &str| Native.knows(self.source, name);
        let output = Output::parse(&format!("*%{name}{arg}"), &[], &knows, Form::Dots).ok()?;
        Some(shortened(&output.message(self.event)))
    }
}

fn left(expr: &Expr) -> Option<&Term> {
    match &expr.kind {
        ExprKind::Exists(term) => Some(term),
        ExprKind::Check { left, .. } => Some(left),
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_TEXT {
        return text.to_owned();
    }
    format!("{}…", text.chars().take(MAX_TEXT).collect::<String>())
}
