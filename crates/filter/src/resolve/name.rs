//! Names: loop variables, fields of the catalogue, psc's constants, bare words.

use nabe_event::constant::{self, CONSTANTS, Constant};
use nabe_event::field::{self, Arg, Class, Field, nearest};
use nabe_event::value::Type;

use super::{Bound, Items, Resolver, Shape, Typed};
use crate::cel::ast::{Kind, Name, Node};
use crate::diagnostic::{Error, Result, quote};
use crate::ir::{Const, FieldRef, Operand, Slot};
use crate::span::Span;
use crate::types::{Ty, a};

/// Names that lead to fields and are none themselves.
static GROUPS: &[(&str, Class)] = &[
    ("process", Class::Process),
    ("container", Class::Container),
    ("process.container", Class::Container),
    ("file", Class::File),
    ("socket", Class::File),
    ("process.capabilities", Class::Process),
    ("process.namespaces", Class::Process),
];

/// The names of `a.b.c`, if it begins with a name.
fn dotted<'s>(node: &Node<'s>) -> Option<Vec<Name<'s>>> {
    let mut names = Vec::new();
    let mut at = node;
    loop {
        match &at.kind {
            Kind::Select(of, name) => {
                names.push(*name);
                at = of;
            }
            Kind::Ident(text) => {
                names.push(Name { text, span: at.span });
                names.reverse();
                return Some(names);
            }
            _ => return None,
        }
    }
}

fn join(names: &[Name<'_>]) -> String {
    names.iter().map(|name| name.text).collect::<Vec<_>>().join(".")
}

/// The field with this name; `process.container` is another name of `container`, as in psc.
fn find(name: &str) -> Option<&'static Field> {
    let short = name.strip_prefix("process.").filter(|rest| rest.starts_with("container."));
    field::find(short.unwrap_or(name))
}

impl<'s> Resolver<'s> {
    pub(super) fn path(&mut self, node: &Node<'s>, want: Option<&Ty>) -> Result<Shape> {
        let Some(names) = dotted(node) else {
            let Kind::Select(of, name) = &node.kind else {
                return Err(Error::new(node.span, "not a name"));
            };
            let of = self.shape(of, None)?;
            return self.select(of, *name, node.span);
        };
        let (mut shape, used) = match self.local(names[0].text) {
            Some((slot, bound)) => self.variable(&names, slot, &bound)?,
            None => self.global(&names, want)?,
        };
        for name in &names[used..] {
            shape = self.select(shape, *name, names[0].span.to(name.span))?;
        }
        // A bracket around a name belongs to its span.
        if let Shape::Value(typed) = &mut shape {
            typed.span = node.span;
        }
        Ok(shape)
    }

    /// Whether the name is bound by a loop.
    pub(super) fn local(&self, name: &str) -> Option<(Slot, Bound)> {
        let at = self.scopes.iter().rposition(|scope| scope.name == name)?;
        let slot = Slot::try_from(at + 1).ok()?;
        Some((slot, self.scopes[at].bound.clone()))
    }

    /// Whether a name alone would be looked for among constants and bare words.
    pub(super) fn is_bare_word(&self, node: &Node<'s>) -> bool {
        matches!(&node.kind, Kind::Ident(name) if self.local(name).is_none() && find(name).is_none())
    }

    fn variable(&self, names: &[Name<'s>], slot: Slot, bound: &Bound) -> Result<(Shape, usize)> {
        let span = names[0].span;
        let class = match bound {
            Bound::Value(ty) => {
                let op = Operand::Local(slot);
                return Ok((Shape::Value(Typed { op, ty: ty.clone(), span }), 1));
            }
            Bound::Subject(class) => *class,
        };
        for used in (2..=names.len()).rev() {
            let name = format!("{}.{}", class.name(), join(&names[1..used]));
            if let Some(found) = find(&name).filter(|found| found.id.class() == class) {
                return Ok((self.field(found, slot, span.to(names[used - 1].span)), used));
            }
        }
        let Some(wrong) = names.get(1) else { return Ok((Shape::Subject(class, span), 1)) };
        let known =
            class.fields().iter().filter_map(|field| field.name.split_once('.')).map(|(_, name)| name);
        let error =
            Error::new(wrong.span, format!("a {} has no field `{}`", class.name(), quote(wrong.text)));
        Err(error.nearest(nearest(wrong.text, known).map(|near| format!("{}.{near}", names[0].text))))
    }

    fn field(&self, field: &'static Field, slot: Slot, span: Span) -> Shape {
        let reference = FieldRef { id: field.id, slot, arg: None };
        match Ty::of(field.ty) {
            Some(ty) => Shape::Value(Typed { op: Operand::Field(reference), ty, span }),
            None => Shape::Items(Items { relation: reference, only: None }, span),
        }
    }

    /// A field that the first `used` names lead to; the next one is its argument if it takes one.
    fn found(&self, field: &'static Field, names: &[Name<'s>], used: usize) -> Result<(Shape, usize)> {
        let span = names[0].span.to(names[used - 1].span);
        if !self.classes.contains(field.id) {
            return Err(self.classes.refuse(field.name, field.id, span));
        }
        let shape = self.field(field, 0, span);
        match (shape, names.get(used)) {
            (Shape::Value(mut typed), Some(arg)) if field.arg != Arg::None => {
                if let Operand::Field(field) = &mut typed.op {
                    field.arg = Some(arg.text.as_bytes().into());
                }
                Ok((Shape::Value(typed), used + 1))
            }
            (shape, _) => Ok((shape, used)),
        }
    }

    fn global(&self, names: &[Name<'s>], want: Option<&Ty>) -> Result<(Shape, usize)> {
        if let [name] = names
            && let Some(Ty::Symbol(symbols)) = want
            && find(name.text).is_none()
        {
            let number = super::literal::named(name.text, symbols, name.span)?;
            return Ok((constant_value(Const::Int(number.into()), Ty::Symbol(symbols), name.span), 1));
        }
        // The catalogue's names have at most three parts, aliases included.
        for used in (1..=names.len().min(4)).rev() {
            let name = join(&names[..used]);
            let span = names[0].span.to(names[used - 1].span);
            if let Some(found) = find(&name) {
                return self.found(found, names, used);
            }
            if let Some((group, class)) = GROUPS.iter().find(|(group, _)| *group == name) {
                return match names.get(used) {
                    Some(_) => Err(self.unknown(names, want)),
                    None => Ok((Shape::Group(*class, group, span), used)),
                };
            }
        }
        match names {
            [name] => match constant::find(name.text) {
                Some(Constant::Uint(n)) => Ok((constant_value(Const::Int(n.into()), Ty::Int, name.span), 1)),
                Some(Constant::Text(text)) => {
                    Ok((constant_value(Const::Text(text.as_bytes().into()), Ty::Text, name.span), 1))
                }
                None => Err(self.unknown_word(*name, want)),
            },
            _ => Err(self.unknown(names, want)),
        }
    }

    fn unknown_word(&self, name: Name<'s>, want: Option<&Ty>) -> Box<Error> {
        let error = Error::new(name.span, format!("unknown name `{}`", quote(name.text)));
        let classes = Class::ALL.map(|class| format!("{}.{}", class.name(), name.text));
        if let Some(full) = classes.iter().find(|full| find(full).is_some()) {
            return error.nearest(Some(full));
        }
        let constants = CONSTANTS.iter().map(|(_, name, _)| *name);
        let groups = GROUPS.iter().map(|(name, _)| *name);
        let plain = self.names().filter(|name| !name.contains('.'));
        let mut known: Vec<&str> = constants.chain(groups).chain(plain).collect();
        known.extend(self.scopes.iter().map(|scope| scope.name));
        if let Some(near) = nearest(name.text, known) {
            return error.nearest(Some(near));
        }
        match want {
            Some(Ty::Text | Ty::Ip | Ty::Net) => {
                error.hint(format!("a text goes in quotes: `\"{}\"`", quote(name.text)))
            }
            _ => error.hint("a text goes in quotes; `nabe fields` lists the fields and the constants"),
        }
    }

    /// `of.name`: the value of a key, if `of` is a map.
    fn select(&self, of: Shape, name: Name<'s>, span: Span) -> Result<Shape> {
        let of = match of {
            Shape::Value(of) => of,
            shape => return Err(self.no_value(&shape)),
        };
        match &of.ty {
            Ty::Map(Some(entry)) if entry.0 == Ty::Text => {
                let ty = entry.1.clone();
                let key = Operand::Const(Const::Text(name.text.as_bytes().into()));
                Ok(Shape::Value(Typed { op: Operand::Index(Box::new([of.op, key])), ty, span }))
            }
            ty => {
                let text = self.text(of.span);
                let error = Error::new(
                    name.span,
                    format!("`{text}` is {} and has no field `{}`", a(ty), quote(name.text)),
                );
                if super::function::is_method(name.text) {
                    return Err(error.hint(format!("`{}` is called: `{text}.{}(…)`", name.text, name.text)));
                }
                Err(error)
            }
        }
    }
}

fn constant_value(value: Const, ty: Ty, span: Span) -> Shape {
    Shape::Value(Typed { op: Operand::Const(value), ty, span })
}

impl Resolver<'_> {
    /// What to say of `a.b.c` that is no field.
    fn unknown(&self, names: &[Name<'_>], want: Option<&Ty>) -> Box<Error> {
        let names = &names[..names.len().min(4)];
        let wrong = join(names);
        let span = names[0].span.to(names[names.len() - 1].span);
        let error = Error::new(span, format!("unknown field `{}`", quote(&wrong)));
        if let Some(near) = self.near(names[0].text, &join(&names[1..])) {
            return error.nearest(Some(near));
        }
        let group = GROUPS.iter().any(|(group, _)| *group == names[0].text);
        match want {
            Some(Ty::Text) if !group => error.hint(format!("a text goes in quotes: `\"{}\"`", quote(&wrong))),
            _ => error.hint("`nabe fields` lists all fields"),
        }
    }

    /// The fields that have a meaning here.
    fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.classes.fields()
    }

    /// Their names and aliases.
    fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.classes.names()
    }

    /// The field that `first.rest` was meant to be: a slip in the rest, the right name in another
    /// group, or a slip in the first part.
    fn near(&self, first: &str, rest: &str) -> Option<String> {
        let parts = || self.names().filter_map(|name| name.split_once('.'));
        let class = if first == "socket" { "file" } else { first };
        if parts().any(|(group, _)| group == class) {
            let last = rest.rsplit('.').next().unwrap_or(rest);
            let same = |field: &&Field| {
                let name = field.name.rsplit('.').next().unwrap_or_default();
                field.ty != Type::Relation && name.eq_ignore_ascii_case(last)
            };
            if let Some(field) = self.fields().find(same) {
                return Some(field.name.to_owned());
            }
            let of_class = |name: &&str| name.split_once('.').is_some_and(|(group, _)| group == class);
            let near = nearest(&format!("{class}.{rest}"), self.names().filter(of_class))?;
            return near.split_once('.').map(|(_, name)| format!("{first}.{name}"));
        }
        let groups =
            parts().map(|(group, _)| group).chain(["socket"]).chain(self.scopes.iter().map(|s| s.name));
        let group = nearest(first, groups)?;
        let whole = format!("{group}.{rest}");
        (find(&whole).is_some() || self.local(group).is_some()).then_some(whole)
    }
}
