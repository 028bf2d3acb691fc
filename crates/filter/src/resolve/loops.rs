//! `all`, `exists`, `exists_one`, `map` and `filter` over lists, maps and relations.

use nabe_event::field::Class;

use super::{Bound, Items, Resolver, Scope, Shape, Typed, truth};
use crate::cel::ast::{Kind, Name, Node};
use crate::diagnostic::{Error, Result, quote};
use crate::ir::{Loop, MAX_LOOPS, Operand, Over, Pred, Quantifier, Slot};
use crate::span::Span;
use crate::types::{Ty, a};

impl<'s> Resolver<'s> {
    /// The slot that a loop opened here binds.
    pub(super) fn next_slot(&self, span: Span) -> Result<Slot> {
        match Slot::try_from(self.scopes.len() + 1) {
            Ok(slot) if slot <= MAX_LOOPS => Ok(slot),
            _ => Err(Error::new(span, format!("loops nested deeper than {MAX_LOOPS} levels"))),
        }
    }

    pub(super) fn macro_call(
        &mut self,
        of: Shape,
        name: Name<'s>,
        args: &[Node<'s>],
        span: Span,
    ) -> Result<Shape> {
        let (variable, filter, body) = match args {
            [variable, body] => (variable, None, body),
            [variable, filter, body] if name.text == "map" => (variable, Some(filter), body),
            _ => {
                let plural = if args.len() == 1 { "" } else { "s" };
                let message = format!("`{}()` has {} argument{plural}", name.text, args.len());
                return Err(Error::new(name.span, message)
                    .expected("a variable and what is asked of it")
                    .hint(format!("`process.files.{}(f, f.path.startsWith(\"/etc\"))`", name.text)));
            }
        };
        let Kind::Ident(variable) = variable.kind else {
            let text = self.text(variable.span);
            return Err(Error::new(variable.span, format!("`{text}` is no variable")).expected("a new name"));
        };
        let bound = self.item_of(&of, name)?;
        let slot = self.next_slot(name.span)?;
        self.scopes.push(Scope { name: variable, bound: bound.clone() });
        let shape = self.body(of, bound, slot, name.text, [filter, Some(body)], span);
        self.scopes.pop();
        shape
    }

    /// What the variable of a loop over `of` is bound to.
    fn item_of(&self, of: &Shape, name: Name<'s>) -> Result<Bound> {
        match of {
            // The one relation there is leads to descriptors.
            Shape::Items(..) => Ok(Bound::Subject(Class::File)),
            Shape::Value(typed) => match &typed.ty {
                Ty::List(Some(item)) => Ok(Bound::Value(item.as_ref().clone())),
                Ty::Map(Some(entry)) => Ok(Bound::Value(entry.0.clone())),
                // Nothing is ever bound, so any type will do.
                Ty::List(None) | Ty::Map(None) => Ok(Bound::Value(Ty::Int)),
                ty => {
                    let text = self.text(typed.span);
                    let message = format!("`{text}` is {}, which has no items", a(ty));
                    Err(Error::new(typed.span, message)
                        .expected(format!("a list or a map before `.{}()`", quote(name.text))))
                }
            },
            shape => Err(self.no_value(shape)),
        }
    }

    fn body(
        &mut self,
        of: Shape,
        bound: Bound,
        slot: Slot,
        name: &str,
        [filter, body]: [Option<&Node<'s>>; 2],
        span: Span,
    ) -> Result<Shape> {
        let Some(body) = body else { return Err(Error::new(span, "nothing is asked")) };
        let filter = filter.map(|filter| self.pred(filter)).transpose()?;
        let mut each = match of {
            Shape::Items(items, _) => Loop { over: Over::Relation(items.relation), slot, only: items.only },
            Shape::Value(typed) => Loop { over: Over::Values(typed.op), slot, only: None },
            shape => return Err(self.no_value(&shape)),
        };
        let quantifier = match name {
            "all" => Some(Quantifier::All),
            "exists" => Some(Quantifier::Any),
            "exists_one" => Some(Quantifier::One),
            _ => None,
        };
        if let Some(quantifier) = quantifier {
            let body = self.pred(body)?;
            let pred = Pred::Each(quantifier, Box::new(each), Box::new(body));
            return Ok(Shape::Value(truth(pred, span)));
        }
        if name == "filter" {
            let only = self.pred(body)?;
            each.only = Some(and(each.only, only));
            return Ok(match (each.over, bound) {
                (Over::Relation(relation), _) => Shape::Items(Items { relation, only: each.only }, span),
                (over, Bound::Value(item)) => {
                    let each = Box::new(Loop { over, slot, only: each.only });
                    Shape::Value(Typed { op: Operand::Collect(each, None), ty: Ty::list(item), span })
                }
                _ => return Err(Error::new(span, "nothing to filter")),
            });
        }
        if let Some(filter) = filter {
            each.only = Some(and(each.only, filter));
        }
        let item = self.value(body, None)?;
        let op = Operand::Collect(Box::new(each), Some(Box::new(item.op)));
        Ok(Shape::Value(Typed { op, ty: Ty::list(item.ty), span }))
    }
}

fn and(before: Option<Pred>, then: Pred) -> Pred {
    match before {
        Some(before) => Pred::And(vec![before, then]),
        None => then,
    }
}
