//! Comparisons and membership: which types fit, and what to say when they do not.

use nabe_event::field::{Show, container, file, process};
use nabe_event::value::Type;

use super::{Resolver, Shape, Typed, is_literal};
use crate::cel::ast::{Kind, Literal, Node};
use crate::cel::literal::is_number;
use crate::diagnostic::{Error, Result};
use crate::ir::{Absent, Const, Func, Net, Operand, Order, Pred, Set};
use crate::span::Span;
use crate::types::{Ty, a};

impl<'s> Resolver<'s> {
    pub(super) fn comparison(
        &mut self,
        order: Order,
        left: &Node<'s>,
        right: &Node<'s>,
        span: Span,
    ) -> Result<Pred> {
        let null = |node: &Node<'_>| matches!(node.kind, Kind::Literal(Literal::Null));
        for (side, other) in [(left, right), (right, left)] {
            if null(other) && !null(side) {
                let present = self.presence(side)?;
                return match order {
                    Order::Ne => Ok(present),
                    Order::Eq => Ok(present.not()),
                    _ => Err(Error::new(span, "null has no order").expected("`==` or `!=`")),
                };
            }
        }
        let (l, r) = self.sides(left, right)?;
        self.compare(order, l, r, span)
    }

    /// Both sides; the one that is a literal takes the type of the other.
    fn sides(&mut self, left: &Node<'s>, right: &Node<'s>) -> Result<(Typed, Typed)> {
        let follows = |this: &Self, node: &Node<'s>| is_literal(node) || this.is_bare_word(node);
        if follows(self, left) && !follows(self, right) {
            let r = self.value(right, None)?;
            let l = self.value(left, Some(&r.ty))?;
            return Ok((l, r));
        }
        let l = self.value(left, None)?;
        let r = self.value(right, Some(&l.ty))?;
        Ok((l, r))
    }

    fn compare(&self, order: Order, mut l: Typed, mut r: Typed, span: Span) -> Result<Pred> {
        let fits = match (&l.ty, &r.ty) {
            (Ty::Ip, Ty::Text) => {
                r.op = super::literal::converted(Func::ToIp, r.op, r.span)?;
                true
            }
            (Ty::Text, Ty::Ip) => {
                l.op = super::literal::converted(Func::ToIp, l.op, l.span)?;
                true
            }
            _ => self.comparable(&l, &r),
        };
        if !fits {
            return Err(self.mismatch(order, &l, &r, span));
        }
        let ordered = l.ty.is_number() && r.ty.is_number() || l.ty == Ty::Text && r.ty == Ty::Text;
        if !ordered && !matches!(order, Order::Eq | Order::Ne) {
            let message = format!("{} has no order", a(&l.ty));
            return Err(Error::new(span, message).expected("`==` or `!=`"));
        }
        self.reachable(order, &l, &r)?;
        self.reachable(order.flip(), &r, &l)?;
        let order = self.whatever_is_no_socket(order, &mut l, &mut r);
        outside_containers(&l.op, &mut r.op);
        outside_containers(&r.op, &mut l.op);
        Ok(Pred::Compare(order, Box::new([l.op, r.op]), Absent::Doubt))
    }

    /// psc knows two types of descriptor, and its `file_type` is whatever is no socket: where we know
    /// more, its constant keeps that meaning. `"file"` in quotes, and 1, are a regular file.
    fn whatever_is_no_socket(&self, order: Order, l: &mut Typed, r: &mut Typed) -> Order {
        const SOCKET: Const = Const::Int(2);
        let is_fd_type =
            |side: &Typed| matches!(&side.op, Operand::Field(field) if field.id == file::FD_TYPE);
        let value = if is_fd_type(l) {
            r
        } else if is_fd_type(r) {
            l
        } else {
            return order;
        };
        let inverse = match order {
            Order::Eq => Order::Ne,
            Order::Ne => Order::Eq,
            _ => return order,
        };
        if !matches!(value.op, Operand::Const(_)) || self.text(value.span) != "file_type" {
            return order;
        }
        value.op = Operand::Const(SOCKET);
        inverse
    }

    /// Whether values of the two can ever be equal.
    fn comparable(&self, l: &Typed, r: &Typed) -> bool {
        match (&l.ty, &r.ty) {
            (Ty::Symbol(a), Ty::Symbol(b)) | (Ty::Mask(a), Ty::Mask(b)) => core::ptr::eq(*a, *b),
            (Ty::Duration, Ty::Duration) => true,
            (Ty::Duration, Ty::Int | Ty::Float) => is_time(&r.op),
            (Ty::Int | Ty::Float, Ty::Duration) => is_time(&l.op),
            (Ty::Symbol(_) | Ty::Mask(_), Ty::Int) | (Ty::Int, Ty::Symbol(_) | Ty::Mask(_)) => true,
            (Ty::Int | Ty::Float, Ty::Int | Ty::Float) => true,
            (Ty::List(_), Ty::List(_)) | (Ty::Map(_), Ty::Map(_)) => l.ty.join(&r.ty).is_some(),
            (a, b) => a == b,
        }
    }

    /// Refuses a comparison whose answer is the same for every value that the field can have.
    fn reachable(&self, order: Order, field: &Typed, value: &Typed) -> Result<()> {
        let (Operand::Field(reference), Operand::Const(Const::Int(n))) = (&field.op, &value.op) else {
            return Ok(());
        };
        let id = reference.id;
        let range = if [file::SRC_PORT, file::DST_PORT].contains(&id) {
            0..=65_535
        } else if [process::PID, process::PPID, process::TID, process::VPID, process::VTID].contains(&id) {
            0..=4_194_304
        } else if matches!(id.field().ty, Type::Uint | Type::Mask(_) | Type::Symbol(_)) {
            0..=i128::from(u64::MAX)
        } else {
            return Ok(());
        };
        if range.contains(n) || !matches!(order, Order::Eq | Order::Ne) {
            return Ok(());
        }
        let message = format!("`{}` is never {n}", self.text(field.span));
        Err(Error::new(value.span, message).expected(format!("from {} to {}", range.start(), range.end())))
    }

    fn mismatch(&self, order: Order, l: &Typed, r: &Typed, span: Span) -> Box<Error> {
        let (lt, rt) = (self.text(l.span), self.text(r.span));
        let message = format!("`{lt}` is {} and `{rt}` {}: they do not compare", a(&l.ty), a(&r.ty));
        // The literal is what is to be mended, and the caret stands there.
        let literal = |typed: &Typed| matches!(typed.op, Operand::Const(_));
        let (field, value) = if literal(l) && !literal(r) { (r, l) } else { (l, r) };
        let place = if literal(value) { value.span } else { span };
        let error = Error::new(place, message).expected(a(&field.ty));
        let (name, op) = (self.text(field.span), order.text());
        match (&field.ty, &value.ty, &value.op) {
            (Ty::Int | Ty::Float | Ty::Duration, Ty::Text, Operand::Const(Const::Text(text))) => {
                let text = core::str::from_utf8(text).unwrap_or_default();
                if is_number(text) {
                    return error.hint(format!("without quotes: `{name} {op} {text}`"));
                }
                match named_sibling(&field.op) {
                    Some(sibling) => {
                        error.hint(format!("its name is another field: `{sibling} {op} \"{text}\"`"))
                    }
                    None => error,
                }
            }
            (Ty::Text, Ty::Int | Ty::Float, Operand::Const(_)) => {
                error.hint(format!("in quotes: `{name} {op} \"{}\"`", self.text(value.span)))
            }
            (Ty::Ip, Ty::Net, _) => error.hint(format!("`{name} in {}`", self.text(value.span))),
            (Ty::Mask(_), Ty::Text, _) => error.hint(format!("`{name}.has({})`", self.text(value.span))),
            (Ty::Bool, _, _) if is_comparison(&field.op) => {
                error.hint("comparisons do not chain: `a < b && b < c`")
            }
            (Ty::Bool, Ty::Int, _) => error.hint(format!("`{name}` alone, or `!{name}`")),
            (Ty::List(_), _, _) => error.hint(format!("`{} in {name}`", self.text(value.span))),
            (Ty::Int, Ty::Duration, _) => error.hint("only spans of time compare with a duration"),
            _ => error,
        }
    }

    /// `needle in haystack`.
    pub(super) fn membership(&mut self, left: &Node<'s>, right: &Node<'s>) -> Result<Pred> {
        if let Kind::List(items) = &right.kind {
            return self.in_items(left, items);
        }
        let hay = match self.shape(right, None)? {
            Shape::Value(typed) => typed,
            shape => return Err(self.no_value(&shape)),
        };
        match &hay.ty {
            Ty::Net => {
                let needle = self.value(left, Some(&Ty::Ip))?;
                self.within(needle, hay.op)
            }
            Ty::Mask(names) => self.bits(hay.op, names, core::slice::from_ref(left), true),
            Ty::Map(Some(entry)) => {
                let key = self.typed(left, &entry.0, "a key")?;
                Ok(Pred::HasKey(Box::new([hay.op, key.op]), Absent::Doubt))
            }
            Ty::List(item) => {
                let needle = self.value(left, item.as_deref())?;
                if let Some(item) = item {
                    let span = needle.span;
                    let of = Typed { op: Operand::Local(0), ty: item.as_ref().clone(), span: hay.span };
                    if !self.comparable(&needle, &of) {
                        let message = format!("{} is never in {}", a(&needle.ty), a(&hay.ty));
                        return Err(Error::new(span, message).expected(a(item)));
                    }
                }
                Ok(Pred::Member(Box::new([needle.op, hay.op]), Absent::Doubt))
            }
            ty => {
                let message = format!("`in` looks in a list, a map or a network, not in {}", a(ty));
                let error = Error::new(hay.span, message);
                let needle = self.value(left, None)?;
                Err(match ty {
                    Ty::Text if needle.ty == Ty::Text => error.hint(format!(
                        "for a part of a text: `{}.contains({})`",
                        self.text(hay.span),
                        self.text(left.span)
                    )),
                    _ => error.hint(format!("`{} in [{}, …]`", self.text(left.span), self.text(hay.span))),
                })
            }
        }
    }

    /// `needle in [a, b, c]`: a set when all are constants.
    fn in_items(&mut self, left: &Node<'s>, items: &[Node<'s>]) -> Result<Pred> {
        let first = items.first().filter(|item| !is_literal(item) && !self.is_bare_word(item));
        let follows = is_literal(left) || self.is_bare_word(left);
        let want = match first {
            Some(first) if follows => Some(self.value(first, None)?.ty),
            _ => None,
        };
        let needle = self.value(left, want.as_ref())?;
        // A text in the list may be a network when addresses are looked for.
        let item_ty = if needle.ty == Ty::Ip { Ty::Net } else { needle.ty.clone() };
        let mut ops = Vec::with_capacity(items.len());
        let mut computed = false;
        for item in items {
            let item = self.value(item, Some(&item_ty))?;
            let address = needle.ty == Ty::Ip && matches!(item.ty, Ty::Ip | Ty::Net);
            if !address && !self.comparable(&needle, &item) {
                return Err(self.mismatch(Order::Eq, &needle, &item, item.span));
            }
            self.reachable(Order::Eq, &needle, &item)?;
            computed |= !matches!(item.op, Operand::Const(_));
            let mut item = item.op;
            outside_containers(&needle.op, &mut item);
            ops.push(item);
        }
        if needle.ty == Ty::Ip && computed {
            let one = |op| match op {
                Operand::Const(value) => member(needle.op.clone(), vec![Operand::Const(value)]),
                op => Pred::Compare(Order::Eq, Box::new([needle.op.clone(), op]), Absent::Doubt),
            };
            return Ok(Pred::Or(ops.into_iter().map(one).collect()));
        }
        Ok(member(needle.op, ops))
    }

    /// Whether an address lies within a network.
    pub(super) fn within(&self, needle: Typed, net: Operand) -> Result<Pred> {
        let op = match needle.ty {
            Ty::Ip => needle.op,
            Ty::Text => super::literal::converted(Func::ToIp, needle.op, needle.span)?,
            ty => {
                let message = format!("`{}` is {}", self.text(needle.span), a(&ty));
                return Err(Error::new(needle.span, message).expected("an ip"));
            }
        };
        Ok(match net {
            Operand::Const(Const::Net(net)) => Pred::In(op, Set::nets(vec![net]), Absent::Doubt),
            net => Pred::Test(Operand::Call(Func::NetContains, vec![net, op]), Absent::Doubt),
        })
    }
}

/// psc has an empty identity for what runs in no container: `container.id == ""` asks for `host`.
fn outside_containers(field: &Operand, value: &mut Operand) {
    if let (Operand::Field(of), Operand::Const(Const::Text(text))) = (field, value)
        && text.is_empty()
        && container::says_host(of.id)
    {
        *text = container::HOST.into();
    }
}

/// Membership in a list of operands; in a set when they are constants of one kind.
fn member(needle: Operand, items: Vec<Operand>) -> Pred {
    let set = {
        let constants = || {
            items.iter().map(|op| match op {
                Operand::Const(value) => Some(value),
                _ => None,
            })
        };
        let ints =
            || constants().map(|c| if let Some(Const::Int(n)) = c { Some(*n) } else { None }).collect();
        let texts = || {
            constants().map(|c| if let Some(Const::Text(t)) = c { Some(t.clone()) } else { None }).collect()
        };
        let nets = || {
            let net = |c: Option<&Const>| match c {
                Some(Const::Ip(ip)) => Some(Net::host(*ip)),
                Some(Const::Net(net)) => Some(*net),
                _ => None,
            };
            constants().map(net).collect()
        };
        let ints: Option<Vec<i128>> = ints();
        ints.map(Set::ints)
            .or_else(|| Option::<Vec<Box<[u8]>>>::map(texts(), Set::texts))
            .or_else(|| Option::<Vec<Net>>::map(nets(), Set::nets))
    };
    match set {
        Some(set) => Pred::In(needle, set, Absent::Doubt),
        None => Pred::Member(Box::new([needle, super::constant_list(items)]), Absent::Doubt),
    }
}

/// Whether a whole number can be a span of time: a constant, something computed, or a field in
/// nanoseconds.
fn is_time(op: &Operand) -> bool {
    match op {
        Operand::Field(field) => matches!(field.id.field().show, Show::Span | Show::BootTime),
        _ => true,
    }
}

fn is_comparison(op: &Operand) -> bool {
    matches!(op, Operand::Pred(pred) if matches!(**pred, Pred::Compare(..)))
}

/// The field that holds the name of what this field holds the number of.
fn named_sibling(op: &Operand) -> Option<&'static str> {
    let Operand::Field(field) = op else { return None };
    Some(match field.id {
        process::PID => "process.name",
        process::EUID | process::RUID | process::SUID => "process.user",
        process::EGID | process::RGID | process::SGID => "process.group",
        file::PID => "process.name",
        _ => return None,
    })
}
