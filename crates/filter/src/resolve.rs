//! From CEL's syntax tree to the typed form: names are looked up in the catalogue, types are
//! checked, literals take the type that they are compared with.
//!
//! All errors about meaning are raised here; the passes behind it cannot fail.

use nabe_event::field::{Arg, Class};

use crate::cel::ast::{Binary, Kind, Literal, Node};
use crate::classes::Classes;
use crate::diagnostic::{Error, Result};
use crate::ir::{Absent, Const, FieldRef, Math, Operand, Order, Pred};
use crate::passes::reduce;
use crate::span::Span;
use crate::types::{Ty, a};

mod compare;
pub(crate) mod function;
mod literal;
mod loops;
mod method;
mod name;

/// A value and its type.
pub(crate) struct Typed {
    pub(crate) op: Operand,
    pub(crate) ty: Ty,
    pub(crate) span: Span,
}

/// Subjects that a relation leads to.
struct Items {
    relation: FieldRef,
    only: Option<Pred>,
}

/// What an expression can be before it must be a value.
enum Shape {
    Value(Typed),
    Items(Items, Span),
    /// An item of a relation, bound by a loop.
    Subject(Class, Span),
    /// A name that only leads to fields: `process`, `container`.
    Group(Class, &'static str, Span),
}

/// A variable of a loop.
struct Scope<'s> {
    name: &'s str,
    bound: Bound,
}

#[derive(Clone)]
enum Bound {
    Subject(Class),
    Value(Ty),
}

pub(crate) struct Resolver<'s> {
    source: &'s str,
    scopes: Vec<Scope<'s>>,
    /// The fields that have a meaning here.
    classes: Classes,
    /// Regular expressions so far.
    patterns: usize,
    /// Whether nodes are reduced as they are made, so that constants are judged by what they come
    /// to. Off only in tests, which compare with the form as it was written.
    reduce: bool,
}

impl<'s> Resolver<'s> {
    /// The predicate that a tree stands for, where fields of `classes` have a meaning.
    pub(crate) fn resolve(source: &'s str, tree: &Node<'s>, classes: Classes) -> Result<Pred> {
        Self { source, scopes: Vec::new(), classes, patterns: 0, reduce: true }.pred(tree)
    }

    /// The predicate as it is written, nothing reduced.
    #[cfg(test)]
    pub(crate) fn resolve_plain(source: &'s str, tree: &Node<'s>) -> Result<Pred> {
        let classes = Classes::SNAPSHOT;
        Self { source, scopes: Vec::new(), classes, patterns: 0, reduce: false }.pred(tree)
    }

    fn text(&self, span: Span) -> String {
        crate::cel::parser::excerpt(self.source, span)
    }

    fn pred(&mut self, node: &Node<'s>) -> Result<Pred> {
        let mut pred = self.written(node)?;
        if self.reduce {
            reduce::reduce_pred(&mut pred);
        }
        Ok(pred)
    }

    /// The predicate as it is written.
    fn written(&mut self, node: &Node<'s>) -> Result<Pred> {
        match &node.kind {
            Kind::And(terms) => Ok(Pred::And(self.preds(terms)?)),
            Kind::Or(terms) => Ok(Pred::Or(self.preds(terms)?)),
            Kind::Not(inner) => Ok(self.pred(inner)?.not()),
            Kind::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                let parts = [self.pred(condition)?, self.pred(then)?, self.pred(otherwise)?];
                Ok(Pred::If(Box::new(parts)))
            }
            _ => {
                let typed = self.value(node, Some(&Ty::Bool))?;
                self.condition(typed)
            }
        }
    }

    fn preds(&mut self, terms: &[Node<'s>]) -> Result<Vec<Pred>> {
        let mut preds = Vec::with_capacity(terms.len());
        for term in terms {
            preds.push(self.pred(term)?);
        }
        Ok(preds)
    }

    /// A value of type bool as a predicate.
    fn condition(&self, typed: Typed) -> Result<Pred> {
        if typed.ty == Ty::Bool {
            return Ok(match typed.op {
                Operand::Pred(pred) => *pred,
                Operand::Const(Const::Bool(value)) => Pred::Const(Some(value)),
                op => Pred::Test(op, Absent::Doubt),
            });
        }
        let text = self.text(typed.span);
        let error = Error::new(typed.span, format!("`{text}` is {}, not a condition", a(&typed.ty)))
            .expected("something that is true or false");
        let constant = matches!(typed.op, Operand::Const(_));
        Err(match typed.ty {
            Ty::Mask(_) => error.hint(format!("`{text} != 0`, or `{text}.has(\"SYS_ADMIN\")`")),
            Ty::Symbol(names) => match names.entries.first() {
                Some((_, name)) if !constant => error.hint(format!("compare it: `{text} == \"{name}\"`")),
                _ => error,
            },
            Ty::Text if !constant => {
                error.hint(format!("compare it: `{text} == \"…\"`, or `{text} != \"\"`"))
            }
            Ty::Int | Ty::Float if !constant => error.hint(format!("compare it: `{text} != 0`")),
            Ty::Duration if !constant => error.hint(format!("compare it: `{text} > 2h`")),
            Ty::List(_) | Ty::Map(_) => error.hint(format!("`size({text}) > 0`, or `\"…\" in {text}`")),
            _ => error,
        })
    }

    /// The value of a node. A literal takes the type `want`, when there is one and it fits.
    fn value(&mut self, node: &Node<'s>, want: Option<&Ty>) -> Result<Typed> {
        match self.shape(node, want)? {
            Shape::Value(typed) => Ok(typed),
            shape => Err(self.no_value(&shape)),
        }
    }

    fn no_value(&self, shape: &Shape) -> Box<Error> {
        match shape {
            Shape::Value(typed) => Error::new(typed.span, "not a value"),
            Shape::Items(_, span) => {
                let text = self.text(*span);
                Error::new(*span, format!("`{text}` is a list of descriptors, not a value"))
                    .hint(format!("`{text}.exists(f, f.path.startsWith(\"/etc\"))`, or `size({text}) > 10`"))
            }
            Shape::Subject(class, span) => {
                let text = self.text(*span);
                let field = class.fields()[0].name.trim_start_matches(class.name());
                Error::new(*span, format!("`{text}` is a {}, not a value", class.name()))
                    .expected(format!("one of its fields, such as `{text}{field}`"))
            }
            Shape::Group(class, name, span) => {
                let field = class.fields().iter().find(|field| field.column).map_or("", |field| field.name);
                Error::new(*span, format!("`{name}` is a group of fields, not a value"))
                    .expected(format!("one of them, such as `{field}`"))
            }
        }
    }

    #[inline(never)]
    fn shape(&mut self, node: &Node<'s>, want: Option<&Ty>) -> Result<Shape> {
        let mut shape = match &node.kind {
            Kind::Ident(_) | Kind::Select(..) => self.path(node, want),
            Kind::Call(target, name, args) => self.call(node, target.as_deref(), *name, args),
            _ => self.compound(node, want).map(Shape::Value),
        }?;
        if let (Shape::Value(typed), true) = (&mut shape, self.reduce) {
            if let Operand::Pred(pred) = &mut typed.op {
                reduce::reduce_pred(pred);
            }
            reduce::reduce_operand(&mut typed.op);
        }
        Ok(shape)
    }

    #[inline(never)]
    fn compound(&mut self, node: &Node<'s>, want: Option<&Ty>) -> Result<Typed> {
        match &node.kind {
            Kind::Literal(literal) => self.literal(literal, node.span, want),
            Kind::Negate(inner) => self.negate(inner, node.span, want),
            Kind::Binary(binary, left, right) => self.binary(*binary, left, right, node.span),
            Kind::Index(of, key) => self.index(of, key, node.span),
            Kind::List(items) => self.list(items, node.span, want),
            Kind::Map(entries) => self.map(entries, node.span),
            Kind::Conditional(parts) => self.conditional(parts, node.span, want),
            _ => Ok(truth(self.pred(node)?, node.span)),
        }
    }

    fn binary(&mut self, binary: Binary, left: &Node<'s>, right: &Node<'s>, span: Span) -> Result<Typed> {
        let order = match binary {
            Binary::Eq => Order::Eq,
            Binary::Ne => Order::Ne,
            Binary::Lt => Order::Lt,
            Binary::Le => Order::Le,
            Binary::Gt => Order::Gt,
            Binary::Ge => Order::Ge,
            Binary::In => return Ok(truth(self.membership(left, right)?, span)),
            Binary::Add => return self.arithmetic(Math::Add, left, right, span),
            Binary::Sub => return self.arithmetic(Math::Sub, left, right, span),
            Binary::Mul => return self.arithmetic(Math::Mul, left, right, span),
            Binary::Div => return self.arithmetic(Math::Div, left, right, span),
            Binary::Rem => return self.arithmetic(Math::Rem, left, right, span),
        };
        Ok(truth(self.comparison(order, left, right, span)?, span))
    }

    fn arithmetic(&mut self, math: Math, left: &Node<'s>, right: &Node<'s>, span: Span) -> Result<Typed> {
        let l = self.value(left, None)?;
        let r = self.value(right, None)?;
        let ty = match (&l.ty, math, &r.ty) {
            (Ty::Text, Math::Add, Ty::Text) => Ty::Text,
            (Ty::List(_), Math::Add, Ty::List(_)) => match l.ty.join(&r.ty) {
                Some(ty) => ty,
                None => return Err(self.cannot(math, &l, &r, span)),
            },
            (Ty::Duration, Math::Div, Ty::Duration) => Ty::Int,
            (Ty::Duration, Math::Mul, Ty::Duration) => return Err(self.cannot(math, &l, &r, span)),
            (Ty::Duration, _, other) | (other, Math::Add | Math::Sub | Math::Mul, Ty::Duration)
                if other.is_number() && math != Math::Rem =>
            {
                Ty::Duration
            }
            (l, _, r) if l.is_whole() && r.is_whole() => Ty::Int,
            (l, _, r) if l.is_number() && r.is_number() && math != Math::Rem => Ty::Float,
            _ => return Err(self.cannot(math, &l, &r, span)),
        };
        Ok(Typed { op: Operand::Math(math, Box::new([l.op, r.op])), ty, span })
    }

    fn cannot(&self, math: Math, l: &Typed, r: &Typed, span: Span) -> Box<Error> {
        let (verb, word) = match math {
            Math::Add => ("added", "and"),
            Math::Sub => ("subtracted", "and"),
            Math::Mul => ("multiplied", "and"),
            Math::Div => ("divided", "by"),
            Math::Rem => ("divided", "by"),
        };
        let error = Error::new(span, format!("{} {word} {} cannot be {verb}", a(&l.ty), a(&r.ty)));
        if math == Math::Add && (l.ty == Ty::Text) != (r.ty == Ty::Text) {
            let other = if l.ty == Ty::Text { r } else { l };
            return error.hint(format!("`string({})` makes a text of it", self.text(other.span)));
        }
        error
    }

    fn negate(&mut self, inner: &Node<'s>, span: Span, want: Option<&Ty>) -> Result<Typed> {
        let typed = self.value(inner, want)?;
        if !typed.ty.is_number() || matches!(typed.ty, Ty::Mask(_)) {
            let message = format!("`-` of {}", a(&typed.ty));
            return Err(Error::new(span, message).expected("a number"));
        }
        let op = match typed.op {
            Operand::Const(Const::Int(n)) => Operand::Const(Const::Int(-n)),
            Operand::Const(Const::Float(n)) => Operand::Const(Const::Float(-n)),
            op => Operand::Negate(Box::new(op)),
        };
        if let Operand::Const(Const::Int(n)) = &op
            && *n < i128::from(i64::MIN)
        {
            return Err(
                Error::new(span, "this number is too small").expected("at least -9223372036854775808")
            );
        }
        Ok(Typed { op, ty: typed.ty, span })
    }

    fn index(&mut self, of: &Node<'s>, key: &Node<'s>, span: Span) -> Result<Typed> {
        let of = self.value(of, None)?;
        if let Operand::Field(field) = &of.op
            && field.arg.is_none()
            && field.id.field().arg != Arg::None
            && let Kind::Literal(literal) = &key.kind
            && let Some(arg) = argument(literal)
        {
            let field = FieldRef { arg: Some(arg), ..field.clone() };
            return Ok(Typed { op: Operand::Field(field), ty: of.ty, span });
        }
        let (ty, key) = match &of.ty {
            Ty::List(Some(item)) => (item.as_ref().clone(), self.typed(key, &Ty::Int, "a position")?),
            Ty::Map(Some(entry)) => (entry.1.clone(), self.typed(key, &entry.0, "a key")?),
            _ => {
                let message = format!("`{}` is {}: it has no items", self.text(of.span), a(&of.ty));
                return Err(Error::new(key.span, message).expected("a list or a map before `[`"));
            }
        };
        Ok(Typed { op: Operand::Index(Box::new([of.op, key.op])), ty, span })
    }

    /// The value of a node that must have a certain type.
    fn typed(&mut self, node: &Node<'s>, ty: &Ty, what: &str) -> Result<Typed> {
        let typed = self.value(node, Some(ty))?;
        if typed.ty == *ty || typed.ty.is_whole() && *ty == Ty::Int {
            return Ok(typed);
        }
        let message = format!("`{}` is {}", self.text(typed.span), a(&typed.ty));
        Err(Error::new(typed.span, message).expected(format!("{what} of type {ty}")))
    }

    fn conditional(&mut self, parts: &[Node<'s>; 3], span: Span, want: Option<&Ty>) -> Result<Typed> {
        let [condition, then, otherwise] = parts;
        let condition = self.pred(condition)?;
        let then = self.value(then, want)?;
        let otherwise = self.value(otherwise, want.or(Some(&then.ty)))?;
        let Some(ty) = then.ty.join(&otherwise.ty) else {
            let message = format!("the two sides are {} and {}", a(&then.ty), a(&otherwise.ty));
            return Err(Error::new(otherwise.span, message).expected(format!("{} here too", a(&then.ty))));
        };
        if ty == Ty::Bool {
            let parts = [condition, self.condition(then)?, self.condition(otherwise)?];
            return Ok(truth(Pred::If(Box::new(parts)), span));
        }
        Ok(Typed { op: Operand::If(Box::new((condition, then.op, otherwise.op))), ty, span })
    }

    fn list(&mut self, items: &[Node<'s>], span: Span, want: Option<&Ty>) -> Result<Typed> {
        let want = match want {
            Some(Ty::List(Some(item))) => Some(item.as_ref().clone()),
            _ => None,
        };
        let (mut ops, mut ty) = (Vec::with_capacity(items.len()), None);
        for item in items {
            let item = self.value(item, want.as_ref().or(ty.as_ref()))?;
            ty = Some(self.joined(ty, &item, "items of a list")?);
            ops.push(item.op);
        }
        Ok(Typed { op: constant_list(ops), ty: Ty::List(ty.map(Box::new)), span })
    }

    fn map(&mut self, entries: &[(Node<'s>, Node<'s>)], span: Span) -> Result<Typed> {
        let (mut ops, mut key_ty, mut value_ty) = (Vec::with_capacity(entries.len()), None, None);
        for (key, value) in entries {
            let key = self.value(key, None)?;
            if !matches!(key.ty, Ty::Int | Ty::Text | Ty::Bool) {
                return Err(Error::new(key.span, format!("{} cannot be a key", a(&key.ty))));
            }
            key_ty = Some(self.joined(key_ty, &key, "keys of a map")?);
            let value = self.value(value, value_ty.as_ref())?;
            value_ty = Some(self.joined(value_ty, &value, "values of a map")?);
            ops.push((key.op, value.op));
        }
        let ty = key_ty.zip(value_ty).map(Box::new);
        Ok(Typed { op: Operand::Map(ops), ty: Ty::Map(ty), span })
    }

    fn joined(&self, before: Option<Ty>, item: &Typed, what: &str) -> Result<Ty> {
        let Some(before) = before else { return Ok(item.ty.clone()) };
        before.join(&item.ty).ok_or_else(|| {
            let message = format!("{what} must be of one type: {before} and {}", item.ty);
            Error::new(item.span, message).expected(a(&before))
        })
    }
}

/// A list of constants as one constant.
fn constant_list(ops: Vec<Operand>) -> Operand {
    if !ops.iter().all(|op| matches!(op, Operand::Const(_))) {
        return Operand::List(ops);
    }
    let items =
        ops.into_iter().filter_map(|op| if let Operand::Const(item) = op { Some(item) } else { None });
    Operand::Const(Const::List(items.collect()))
}

/// A predicate as a value.
fn truth(pred: Pred, span: Span) -> Typed {
    Typed { op: Operand::Pred(Box::new(pred)), ty: Ty::Bool, span }
}

/// Whether the node is a literal, whose type follows from what it is compared with.
fn is_literal(node: &Node<'_>) -> bool {
    match &node.kind {
        Kind::Literal(literal) => !matches!(literal, Literal::Null),
        Kind::Negate(inner) => is_literal(inner),
        Kind::List(items) => items.iter().all(is_literal),
        _ => false,
    }
}

/// The argument of a field that a literal in brackets stands for.
fn argument(literal: &Literal) -> Option<Box<[u8]>> {
    match literal {
        Literal::Int(number) => Some(number.to_string().into_bytes().into()),
        Literal::Text(text) => Some(text.as_slice().into()),
        _ => None,
    }
}
