//! Calls: tests of texts and masks, constants such as `cidr("…")`, and the table of functions.

use nabe_event::field::{Class, container, file, nearest, process};
use nabe_event::symbol::Symbols;
use regex::bytes::RegexBuilder;

use super::function::{Arg, FUNCTIONS, Form, Function, MACROS, names};
use super::{Resolver, Shape, Typed, literal, truth};
use crate::cel::ast::{Kind, Name, Node};
use crate::diagnostic::{Error, Result, quote};
use crate::ir::{
    Absent, Const, FieldRef, Func, Loop, Operand, Order, Over, Pattern, Pred, Quantifier, TextTest,
};
use crate::span::Span;
use crate::types::{Ty, a};

/// Regular expressions that one filter may hold, and the memory each may take.
const MAX_PATTERNS: usize = 1000;
const PATTERN_BYTES: usize = 4 << 20;

/// What runs in no container has no container, though its identity has a value.
fn in_container(present: Pred) -> Pred {
    let Pred::Has(Operand::Field(field)) = &present else { return present };
    if !container::says_host(field.id) {
        return present;
    }
    let host = Operand::Const(Const::Text(container::HOST.into()));
    let sides = Box::new([Operand::Field(field.clone()), host]);
    Pred::And(vec![present, Pred::Compare(Order::Ne, sides, Absent::Doubt)])
}

impl<'s> Resolver<'s> {
    pub(super) fn call(
        &mut self,
        node: &Node<'s>,
        target: Option<&Node<'s>>,
        name: Name<'s>,
        args: &[Node<'s>],
    ) -> Result<Shape> {
        let Some(target) = target else {
            return self.function(name.text, name.span, args, node.span);
        };
        if let Kind::Ident(space @ ("math" | "strings")) = target.kind {
            return self.function(&format!("{space}.{}", name.text), name.span, args, node.span);
        }
        let of = self.shape(target, None)?;
        if MACROS.contains(&name.text) {
            return self.macro_call(of, name, args, node.span);
        }
        let of = match of {
            Shape::Value(of) => of,
            Shape::Items(items, span) if name.text == "size" => {
                return self.count(items, args, span, node.span);
            }
            shape => return Err(self.no_value(&shape)),
        };
        self.method(of, name, args, node.span)
    }

    fn count(&self, items: super::Items, args: &[Node<'s>], at: Span, span: Span) -> Result<Shape> {
        if let Some(extra) = args.first() {
            return Err(Error::new(extra.span, "`size()` of a value takes no argument"));
        }
        let each = self.relation(items, at)?;
        Ok(Shape::Value(Typed { op: Operand::Count(Box::new(each)), ty: Ty::Int, span }))
    }

    fn function(&mut self, name: &str, at: Span, args: &[Node<'s>], span: Span) -> Result<Shape> {
        match (name, args) {
            ("has", [arg]) => return Ok(Shape::Value(truth(self.presence(arg)?, span))),
            ("cidr", [arg]) => {
                let (text, place) = self.constant_text(arg, "cidr()")?;
                let text = core::str::from_utf8(&text).unwrap_or_default();
                let net = literal::network(text, place)?;
                return Ok(constant(Const::Net(net), Ty::Net, span));
            }
            ("matches", [text, pattern]) => {
                let text = self.value(text, None)?;
                return self.matches(text, pattern, span);
            }
            ("size", [arg]) => {
                if let Shape::Items(items, place) = self.shape(arg, None)? {
                    return self.count(items, &[], place, span);
                }
            }
            _ => {}
        }
        self.tabled(name, Form::Function, at, Vec::new(), args, span)
    }

    fn method(&mut self, of: Typed, name: Name<'s>, args: &[Node<'s>], span: Span) -> Result<Shape> {
        let test = match name.text {
            "contains" => Some(TextTest::Contains),
            "startsWith" => Some(TextTest::StartsWith),
            "endsWith" => Some(TextTest::EndsWith),
            _ => None,
        };
        match (name.text, &of.ty, args) {
            ("contains", Ty::Net, [arg]) => {
                let needle = self.value(arg, Some(&Ty::Ip))?;
                return Ok(Shape::Value(truth(self.within(needle, of.op)?, span)));
            }
            ("contains", Ty::List(_) | Ty::Map(_), [arg]) => {
                let (list, item) = (self.text(of.span), self.text(arg.span));
                let message = format!("{} has no method `contains`", a(&of.ty));
                return Err(Error::new(name.span, message).hint(format!("`{item} in {list}`")));
            }
            ("has" | "hasAny" | "hasAll", Ty::Mask(names), _) => {
                let bits = self.bits(of.op, names, args, name.text != "hasAny");
                if args.is_empty() {
                    return Err(Error::new(name.span, "no name is given").expected("a name of a bit"));
                }
                return Ok(Shape::Value(truth(bits?, span)));
            }
            ("matches", _, [pattern]) => return self.matches(of, pattern, span),
            (_, Ty::Text, [arg]) => {
                if let Some(test) = test {
                    let needle = self.typed(arg, &Ty::Text, "a part of a text")?;
                    let pred = Pred::Text(test, Box::new([of.op, needle.op]), Absent::Doubt);
                    return Ok(Shape::Value(truth(pred, span)));
                }
            }
            _ => {}
        }
        if test.is_some() || matches!(name.text, "has" | "hasAny" | "hasAll") {
            let message = format!("`{}` is {}, which has no `{}`", self.text(of.span), a(&of.ty), name.text);
            let error = Error::new(name.span, message);
            return Err(match test {
                Some(_) if args.len() != 1 => error.expected("one argument"),
                Some(_) => error.expected(format!("a string before `.{}`", name.text)),
                None => error.expected("a set of bits such as `caps`"),
            });
        }
        self.tabled(name.text, Form::Method, name.span, vec![of], args, span)
    }

    fn matches(&mut self, text: Typed, pattern: &Node<'s>, span: Span) -> Result<Shape> {
        if text.ty != Ty::Text {
            let message = format!("`{}` is {}", self.text(text.span), a(&text.ty));
            return Err(Error::new(text.span, message).expected("a string to match"));
        }
        let (bytes, place) = self.constant_text(pattern, "a pattern")?;
        let source = core::str::from_utf8(&bytes)
            .map_err(|_| Error::new(place, "the pattern is not UTF-8").hint("write bytes as \\xff"))?;
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(Error::new(place, format!("more than {MAX_PATTERNS} patterns")));
        }
        let regex = RegexBuilder::new(source).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build();
        let regex = regex.map_err(|error| wrong_pattern(&error, place))?;
        let pred = Pred::Matches(text.op, Pattern::from(regex), Absent::Doubt);
        Ok(Shape::Value(truth(pred, span)))
    }

    /// The bytes of a text that must be known now.
    fn constant_text(&mut self, node: &Node<'s>, what: &str) -> Result<(Box<[u8]>, Span)> {
        let typed = self.value(node, None)?;
        match typed.op {
            Operand::Const(Const::Text(text)) => Ok((text, node.span)),
            _ => {
                let message = format!("`{}` is not a text in quotes", self.text(node.span));
                Err(Error::new(node.span, message).expected(format!("a text in quotes for {what}")))
            }
        }
    }

    /// `mask.has("A")`, `mask.hasAny(["A", "B"])`, `"A" in mask`.
    pub(super) fn bits(
        &mut self,
        value: Operand,
        names: &'static Symbols,
        args: &[Node<'s>],
        all: bool,
    ) -> Result<Pred> {
        let mut bits = 0_u64;
        let wanted = Ty::Symbol(names);
        for arg in args {
            let listed = match &arg.kind {
                Kind::List(items) => items.as_slice(),
                _ => core::slice::from_ref(arg),
            };
            for name in listed {
                let typed = self.value(name, Some(&wanted))?;
                let number = match typed.op {
                    Operand::Const(Const::Int(n)) => u32::try_from(n).ok(),
                    _ => None,
                };
                match number.and_then(|n| 1_u64.checked_shl(n)) {
                    Some(bit) => bits |= bit,
                    None => {
                        let message = format!("`{}` is no {}", self.text(name.span), names.what);
                        return Err(Error::new(name.span, message).expected("a name, or a bit from 0 to 63"));
                    }
                }
            }
        }
        // One bit is the same asked either way; `has` is its canonical form.
        let all = all || bits.count_ones() == 1;
        Ok(Pred::Bits { value, bits, all, names, absent: Absent::Doubt })
    }

    /// `has(x)` and `x != null`.
    pub(super) fn presence(&mut self, node: &Node<'s>) -> Result<Pred> {
        if let Kind::Index(of, key) = &node.kind {
            return self.has_key(of, key);
        }
        let bare = |id| Pred::Has(Operand::Field(FieldRef { id, slot: 0, arg: None }));
        match self.shape(node, None)? {
            // A group is there when the field is that all of its kind have.
            Shape::Group(Class::Container, ..) => Ok(in_container(bare(container::ID))),
            Shape::Group(class, name, _) => Ok(bare(match class {
                Class::File if name == "socket" => file::FAMILY,
                Class::File => file::FD_TYPE,
                _ => process::PID,
            })),
            Shape::Items(items, span) => {
                let each = self.relation(items, span)?;
                Ok(Pred::Each(Quantifier::Any, Box::new(each), Box::new(Pred::Const(Some(true)))))
            }
            Shape::Value(typed) => match typed.op {
                // Only of a map can a key be selected.
                Operand::Index(sides) => Ok(Pred::HasKey(sides, Absent::Doubt)),
                op @ (Operand::Field(_) | Operand::Local(_)) => Ok(in_container(Pred::Has(op))),
                _ => Err(Error::new(typed.span, "only fields can be asked for")
                    .expected("a field, such as `has(container.labels.app)`")),
            },
            shape @ Shape::Subject(..) => Err(self.no_value(&shape)),
        }
    }

    /// `has(map["key"])`, and `map["key"] != null`.
    fn has_key(&mut self, of: &Node<'s>, key: &Node<'s>) -> Result<Pred> {
        let of = self.value(of, None)?;
        let Ty::Map(Some(entry)) = &of.ty else {
            let message = format!("`{}` is {}, which has no keys", self.text(of.span), a(&of.ty));
            return Err(Error::new(of.span, message).expected("a field, or a key of a map"));
        };
        let key = self.typed(key, &entry.0, "a key")?;
        Ok(Pred::HasKey(Box::new([of.op, key.op]), Absent::Doubt))
    }

    /// A loop over a relation; its items are bound one level deeper than here.
    pub(super) fn relation(&self, items: super::Items, span: Span) -> Result<Loop> {
        let slot = self.next_slot(span)?;
        Ok(Loop { over: Over::Relation(items.relation), slot, only: items.only })
    }

    /// A call of the table; `first` is the receiver of a method.
    fn tabled(
        &mut self,
        name: &str,
        form: Form,
        at: Span,
        first: Vec<Typed>,
        args: &[Node<'s>],
        span: Span,
    ) -> Result<Shape> {
        let matching: Vec<&Function> =
            FUNCTIONS.iter().filter(|function| function.form == form && function.name == name).collect();
        let Some(sample) = matching.first() else {
            return Err(self.unknown_function(name, form, at, &first));
        };
        let mut typed = first;
        let receivers = typed.len();
        for (index, arg) in args.iter().enumerate() {
            if let (Func::Format, Kind::List(items)) = (sample.func, &arg.kind) {
                typed.push(self.mixed_list(items, arg.span)?);
                continue;
            }
            let want = sample.args.get(receivers + index).and_then(|arg| arg.wants());
            typed.push(self.value(arg, want.as_ref())?);
        }
        let count = |function: &&&Function| (function.least..=function.args.len()).contains(&typed.len());
        let fits =
            |function: &&&Function| function.args.iter().zip(&typed).all(|(arg, typed)| arg.takes(&typed.ty));
        let Some(found) = matching.iter().filter(count).find(fits) else {
            return Err(match matching.iter().find(count) {
                None => arity(sample, receivers, at, typed.len() - receivers),
                Some(near) => self.wrong_argument(near, &typed, receivers),
            });
        };
        check_format(found, &typed)?;
        let ty = found.result(&typed);
        let func = match (found.func, typed.first().map(|first| &first.ty)) {
            (Func::ToText, Some(Ty::Symbol(names))) => Func::SymbolName(names),
            (func, _) => func,
        };
        let place = typed.first().map_or(span, |first| first.span);
        let mut args: Vec<Operand> = typed.into_iter().map(|typed| typed.op).collect();
        // A number of nanoseconds is a duration already; only the type changes.
        let op = match (func, found.args) {
            (Func::ToDuration, [Arg::Int]) | (Func::ToIp, [Arg::Ip]) => args.swap_remove(0),
            (Func::ToDuration | Func::ToIp, _) => literal::converted(func, args.swap_remove(0), place)?,
            _ => Operand::Call(func, args),
        };
        Ok(Shape::Value(Typed { op, ty, span }))
    }

    /// A list for `format`, whose items may be of many types.
    fn mixed_list(&mut self, items: &[Node<'s>], span: Span) -> Result<Typed> {
        let mut ops = Vec::with_capacity(items.len());
        for item in items {
            ops.push(self.value(item, None)?.op);
        }
        Ok(Typed { op: super::constant_list(ops), ty: Ty::List(None), span })
    }

    fn wrong_argument(&self, function: &Function, typed: &[Typed], receivers: usize) -> Box<Error> {
        let wrong =
            function.args.iter().zip(typed).enumerate().find(|(_, (arg, typed))| !arg.takes(&typed.ty));
        let Some((index, (arg, typed))) = wrong else {
            return Error::new(Span::new(0, 0), format!("wrong arguments of `{}`", function.name));
        };
        let text = self.text(typed.span);
        let error = Error::new(typed.span, format!("`{text}` is {}", a(&typed.ty)));
        if index < receivers {
            return error.expected(format!("{} before `.{}()`", arg.describe(), function.name));
        }
        error.expected(format!("{} in `{}()`", arg.describe(), function.name))
    }

    fn unknown_function(&self, name: &str, form: Form, at: Span, first: &[Typed]) -> Box<Error> {
        let shown = quote(name);
        let error = match (form, first.first()) {
            (Form::Method, Some(of)) => Error::new(at, format!("{} has no method `{shown}`", a(&of.ty))),
            _ => Error::new(at, format!("unknown function `{shown}`")),
        };
        let other = if form == Form::Method { Form::Function } else { Form::Method };
        if name == "timestamp" || name == "now" {
            return error.hint("for the time since the start of a process: `age > 2h`");
        }
        if let Some(near) = nearest(name, names(form)) {
            return error.nearest(Some(format!("{near}()")));
        }
        if names(other).any(|known| known == name) {
            return match form {
                Form::Method => error.hint(format!("it is a function: `{name}(…)`")),
                Form::Function => error.hint(format!("it is a method: `x.{name}(…)`")),
            };
        }
        error
    }
}

fn constant(value: Const, ty: Ty, span: Span) -> Shape {
    Shape::Value(Typed { op: Operand::Const(value), ty, span })
}

fn arity(function: &Function, receivers: usize, at: Span, given: usize) -> Box<Error> {
    let (least, most) = (function.least - receivers, function.args.len() - receivers);
    let wanted = if least == most { format!("{least}") } else { format!("{least} to {most}") };
    let plural = |n| if n == 1 { "" } else { "s" };
    Error::new(at, format!("`{}()` has {given} argument{}", function.name, plural(given)))
        .expected(format!("{wanted} argument{}", plural(most)))
}

fn wrong_pattern(error: &regex::Error, place: Span) -> Box<Error> {
    let text = error.to_string();
    // The last line says what is wrong; those above repeat the pattern with a caret of their own.
    let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
    Error::new(place, format!("this regular expression is wrong: {}", quote_long(reason)))
        .hint("write patterns as r\"…\"; the syntax is RE2's")
}

fn quote_long(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(160).collect()
}

/// Refuses a `format` whose pattern and list are known and do not fit.
fn check_format(function: &Function, args: &[Typed]) -> Result<()> {
    let (Func::Format, [pattern, list]) = (function.func, args) else { return Ok(()) };
    let Operand::Const(Const::Text(text)) = &pattern.op else { return Ok(()) };
    let mut verbs = 0;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'%' {
            let mut verb = bytes.next();
            while verb.is_some_and(|byte| *byte == b'.' || byte.is_ascii_digit()) {
                verb = bytes.next();
            }
            match verb {
                Some(b'%') => {}
                Some(b's' | b'd' | b'f' | b'e' | b'x' | b'X' | b'o' | b'b') => verbs += 1,
                _ => return Err(Error::new(pattern.span, "unknown verb after `%`").expected("%s %d %f %x …")),
            }
        }
    }
    let items = match &list.op {
        Operand::Const(Const::List(items)) => items.len(),
        Operand::List(items) => items.len(),
        _ => return Ok(()),
    };
    if items == verbs {
        return Ok(());
    }
    Err(Error::new(list.span, format!("{verbs} verbs and {items} values"))
        .expected("one value for each verb"))
}
