//! The typed form as canonical CEL. Reading it again gives the same form.

use core::fmt::Write as _;

use nabe_event::field::Show;
use nabe_event::value::Type;

use crate::eval::text::quote;
use crate::ir::{Const, FieldRef, Func, Loop, Math, Operand, Over, Pred, Quantifier, Set, Slot, TextTest};
use crate::resolve::function::{Arg, FUNCTIONS, Form};

/// How tightly the parts of an expression hold together.
const CONDITIONAL: u8 = 0;
const OR: u8 = 1;
const AND: u8 = 2;
const RELATION: u8 = 3;
const SUM: u8 = 4;
const PRODUCT: u8 = 5;
const UNARY: u8 = 6;
const POSTFIX: u8 = 7;

/// The canonical text of a predicate.
pub(crate) fn print(pred: &Pred) -> String {
    let mut printer = Printer(String::new());
    printer.pred(pred, CONDITIONAL);
    printer.0
}

/// The canonical text of one test, for plans.
pub(crate) struct Printer(String);

/// What a constant is compared with, which decides how it is shown.
#[derive(Clone, Copy)]
enum Like {
    Plain,
    Field(&'static nabe_event::Field),
}

impl Like {
    fn of(operand: &Operand) -> Self {
        match operand {
            Operand::Field(field) => Self::Field(field.id.field()),
            Operand::If(parts) => match Self::of(&parts.1) {
                Self::Plain => Self::of(&parts.2),
                like => like,
            },
            _ => Self::Plain,
        }
    }
}

impl Printer {
    fn put(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn bracket(&mut self, needed: bool, inner: impl FnOnce(&mut Self)) {
        if needed {
            self.put("(");
        }
        inner(self);
        if needed {
            self.put(")");
        }
    }

    fn pred(&mut self, pred: &Pred, floor: u8) {
        match pred {
            Pred::Const(Some(value)) => self.put(if *value { "true" } else { "false" }),
            // There is no literal for "undecided".
            Pred::Const(None) => self.bracket(floor > RELATION, |this| this.put("1 / 0 == 0")),
            Pred::And(terms) => self.chain(terms, " && ", AND, floor),
            Pred::Or(terms) => self.chain(terms, " || ", OR, floor),
            Pred::Not(inner) => self.bracket(floor > UNARY, |this| {
                this.put("!");
                this.pred(inner, UNARY);
            }),
            Pred::If(parts) => self.bracket(floor > CONDITIONAL, |this| {
                this.pred(&parts[0], OR);
                this.put(" ? ");
                this.pred(&parts[1], CONDITIONAL);
                this.put(" : ");
                this.pred(&parts[2], CONDITIONAL);
            }),
            Pred::Test(value, _) => self.operand(value, floor, Like::Plain),
            Pred::Each(quantifier, each, body) => self.each(*quantifier, each, body),
            _ => self.test(pred, floor),
        }
    }

    fn chain(&mut self, terms: &[Pred], mark: &str, level: u8, floor: u8) {
        self.bracket(floor > level, |this| {
            for (at, term) in terms.iter().enumerate() {
                if at > 0 {
                    this.put(mark);
                }
                this.pred(term, level + 1);
            }
        });
    }

    fn test(&mut self, pred: &Pred, floor: u8) {
        match pred {
            Pred::Compare(order, sides, _) => self.relation(floor, |this| {
                this.operand(&sides[0], SUM, Like::of(&sides[1]));
                let _ = write!(this.0, " {} ", order.text());
                this.operand(&sides[1], SUM, Like::of(&sides[0]));
            }),
            Pred::In(needle, set, _) => self.relation(floor, |this| {
                this.operand(needle, SUM, Like::Plain);
                this.put(" in ");
                this.set(set, Like::of(needle));
            }),
            Pred::Member(sides, _) => self.relation(floor, |this| {
                this.operand(&sides[0], SUM, Like::Plain);
                this.put(" in ");
                this.operand(&sides[1], SUM, Like::of(&sides[0]));
            }),
            Pred::HasKey(sides, _) => self.relation(floor, |this| {
                this.operand(&sides[1], SUM, Like::Plain);
                this.put(" in ");
                this.operand(&sides[0], SUM, Like::Plain);
            }),
            Pred::Text(how, sides, _) => {
                self.operand(&sides[0], POSTFIX, Like::Plain);
                self.put(match how {
                    TextTest::Contains => ".contains(",
                    TextTest::StartsWith => ".startsWith(",
                    TextTest::EndsWith => ".endsWith(",
                });
                self.operand(&sides[1], CONDITIONAL, Like::Plain);
                self.put(")");
            }
            Pred::Matches(text, pattern, _) => {
                self.operand(text, POSTFIX, Like::Plain);
                self.put(".matches(");
                self.text(pattern.as_str().as_bytes());
                self.put(")");
            }
            Pred::Bits { value, bits, all, names, .. } => {
                self.operand(value, POSTFIX, Like::Plain);
                let one = bits.count_ones() == 1;
                self.put(if one {
                    ".has("
                } else if *all {
                    ".hasAll(["
                } else {
                    ".hasAny(["
                });
                let set = (0..64_u64).filter(|bit| bits & (1 << bit) != 0);
                for (at, bit) in set.enumerate() {
                    self.put(if at > 0 { ", " } else { "" });
                    match names.name(bit) {
                        Some(name) => self.text(name.as_bytes()),
                        None => self.put(&bit.to_string()),
                    }
                }
                self.put(if one { ")" } else { "])" });
            }
            Pred::Has(value) => {
                self.put("has(");
                self.operand(value, CONDITIONAL, Like::Plain);
                self.put(")");
            }
            _ => {}
        }
    }

    fn relation(&mut self, floor: u8, inner: impl FnOnce(&mut Self)) {
        self.bracket(floor > RELATION, inner);
    }

    fn each(&mut self, quantifier: Quantifier, each: &Loop, body: &Pred) {
        self.over(each);
        self.put(match quantifier {
            Quantifier::Any => ".exists(",
            Quantifier::All => ".all(",
            Quantifier::One => ".exists_one(",
        });
        self.variable(each.slot);
        self.put(", ");
        self.pred(body, CONDITIONAL);
        self.put(")");
    }

    /// What a loop goes over, filtered.
    fn over(&mut self, each: &Loop) {
        match &each.over {
            Over::Relation(field) => self.field(field),
            Over::Values(values) => self.operand(values, POSTFIX, Like::Plain),
        }
        if let Some(only) = &each.only {
            self.put(".filter(");
            self.variable(each.slot);
            self.put(", ");
            self.pred(only, CONDITIONAL);
            self.put(")");
        }
    }

    fn variable(&mut self, slot: Slot) {
        let _ = write!(self.0, "v{slot}");
    }

    fn field(&mut self, field: &FieldRef) {
        let name = field.id.field().name;
        if field.slot == 0 {
            self.put(name);
        } else {
            self.variable(field.slot);
            self.put(name.find('.').map_or("", |dot| &name[dot..]));
        }
        if let Some(arg) = &field.arg {
            self.put("[");
            self.text(arg);
            self.put("]");
        }
    }

    fn operand(&mut self, operand: &Operand, floor: u8, like: Like) {
        match operand {
            Operand::Const(value) => self.constant(value, floor, like),
            Operand::Field(field) => self.field(field),
            Operand::Local(slot) => self.variable(*slot),
            Operand::Pred(pred) => self.pred(pred, floor),
            Operand::Math(math, sides) => {
                let (level, mark) = match math {
                    Math::Add => (SUM, " + "),
                    Math::Sub => (SUM, " - "),
                    Math::Mul => (PRODUCT, " * "),
                    Math::Div => (PRODUCT, " / "),
                    Math::Rem => (PRODUCT, " % "),
                };
                self.bracket(floor > level, |this| {
                    this.operand(&sides[0], level, Like::Plain);
                    this.put(mark);
                    this.operand(&sides[1], level + 1, Like::Plain);
                });
            }
            // The smallest number has no positive twin: what is beyond it must not read as one number.
            Operand::Negate(inner) if matches!(**inner, Operand::Const(_)) => {
                self.bracket(floor > SUM, |this| {
                    this.put("0 - ");
                    this.operand(inner, PRODUCT, Like::Plain);
                });
            }
            Operand::Negate(inner) => self.bracket(floor > UNARY, |this| {
                this.put("-");
                this.operand(inner, UNARY, Like::Plain);
            }),
            Operand::Index(sides) => {
                self.operand(&sides[0], POSTFIX, Like::Plain);
                self.put("[");
                self.operand(&sides[1], CONDITIONAL, Like::Plain);
                self.put("]");
            }
            Operand::If(parts) => self.bracket(floor > CONDITIONAL, |this| {
                let like = if matches!(like, Like::Plain) { Like::of(operand) } else { like };
                this.pred(&parts.0, OR);
                this.put(" ? ");
                this.operand(&parts.1, CONDITIONAL, like);
                this.put(" : ");
                this.operand(&parts.2, CONDITIONAL, like);
            }),
            _ => self.compound(operand),
        }
    }

    fn compound(&mut self, operand: &Operand) {
        match operand {
            Operand::Call(func, args) => self.call(*func, args),
            Operand::List(items) => self.list('[', items, ']'),
            Operand::Map(entries) => {
                self.put("{");
                for (at, (key, value)) in entries.iter().enumerate() {
                    self.put(if at > 0 { ", " } else { "" });
                    self.operand(key, CONDITIONAL, Like::Plain);
                    self.put(": ");
                    self.operand(value, CONDITIONAL, Like::Plain);
                }
                self.put("}");
            }
            Operand::Count(each) => {
                self.put("size(");
                self.over(each);
                self.put(")");
            }
            Operand::Collect(each, body) => {
                self.over(each);
                if let Some(body) = body {
                    self.put(".map(");
                    self.variable(each.slot);
                    self.put(", ");
                    self.operand(body, CONDITIONAL, Like::Plain);
                    self.put(")");
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, func: Func, args: &[Operand]) {
        let wanted = if let Func::SymbolName(_) = func { Func::ToText } else { func };
        let fits =
            |args: usize| move |function: &&crate::resolve::function::Function| function.args.len() >= args;
        let Some(function) = FUNCTIONS.iter().filter(|f| f.func == wanted).find(fits(args.len())) else {
            // CEL has no such function: this text is for people only.
            if let Func::Sysdig(transform) = func {
                self.put(transform.name());
                self.list('(', args, ')');
            }
            return;
        };
        let mut args = args.iter().zip(function.args);
        if function.form == Form::Method
            && let Some((receiver, arg)) = args.next()
        {
            self.argument(receiver, *arg, POSTFIX);
            self.put(".");
        }
        self.put(function.name);
        self.put("(");
        for (at, (value, arg)) in args.enumerate() {
            self.put(if at > 0 { ", " } else { "" });
            self.argument(value, *arg, CONDITIONAL);
        }
        self.put(")");
    }

    /// An argument. A constant duration reads as a plain number, so it is marked as one.
    fn argument(&mut self, value: &Operand, arg: Arg, floor: u8) {
        let is_duration = matches!(value, Operand::Field(field) if field.id.field().ty == Type::Duration);
        if arg == Arg::Duration && !is_duration {
            self.put("duration(");
            self.operand(value, CONDITIONAL, Like::Plain);
            self.put(")");
        } else {
            self.operand(value, floor, Like::Plain);
        }
    }

    fn list(&mut self, open: char, items: &[Operand], close: char) {
        self.0.push(open);
        for (at, item) in items.iter().enumerate() {
            self.put(if at > 0 { ", " } else { "" });
            self.operand(item, CONDITIONAL, Like::Plain);
        }
        self.0.push(close);
    }

    fn set(&mut self, set: &Set, like: Like) {
        if let Set::Nets(nets) = set
            && let [net] = &**nets
        {
            let _ = write!(self.0, "cidr(\"{net}\")");
            return;
        }
        self.put("[");
        for at in 0..set.len() {
            self.put(if at > 0 { ", " } else { "" });
            match set {
                Set::Ints(items) => self.int(items[at], CONDITIONAL, like),
                Set::Texts(items) => self.text(&items[at]),
                Set::Nets(items) if items[at].is_host() => {
                    let _ = write!(self.0, "\"{}\"", items[at].address());
                }
                Set::Nets(items) => {
                    let _ = write!(self.0, "\"{}\"", items[at]);
                }
            }
        }
        self.put("]");
    }

    fn constant(&mut self, value: &Const, floor: u8, like: Like) {
        match value {
            Const::Null => self.put("null"),
            Const::Bool(value) => self.put(if *value { "true" } else { "false" }),
            Const::Int(n) => self.int(*n, floor, like),
            Const::Float(n) => self.bracket(*n < 0.0 && floor > UNARY, |this| {
                let _ = write!(this.0, "{n:?}");
            }),
            Const::Text(text) => self.text(text),
            Const::Ip(ip) => {
                let _ = match like {
                    Like::Field(_) => write!(self.0, "\"{ip}\""),
                    Like::Plain => write!(self.0, "ip(\"{ip}\")"),
                };
            }
            Const::Net(net) => {
                let _ = write!(self.0, "cidr(\"{net}\")");
            }
            Const::List(items) => {
                self.put("[");
                for (at, item) in items.iter().enumerate() {
                    self.put(if at > 0 { ", " } else { "" });
                    self.constant(item, CONDITIONAL, like);
                }
                self.put("]");
            }
            Const::Map(entries) => {
                self.put("{");
                for (at, (key, value)) in entries.iter().enumerate() {
                    self.put(if at > 0 { ", " } else { "" });
                    self.constant(key, CONDITIONAL, Like::Plain);
                    self.put(": ");
                    self.constant(value, CONDITIONAL, Like::Plain);
                }
                self.put("}");
            }
        }
    }

    /// A number as what it is compared with shows it: a state by its name, a span with its unit.
    fn int(&mut self, n: i128, floor: u8, like: Like) {
        if let Like::Field(field) = like {
            if let Type::Symbol(names) = field.ty
                && let Some(name) = u64::try_from(n).ok().and_then(|n| names.name(n))
            {
                return self.text(name.as_bytes());
            }
            if (field.ty == Type::Duration || field.show == Show::Span) && n > 0 && i64::try_from(n).is_ok() {
                return self.put(&span(n));
            }
        }
        self.bracket(n < 0 && floor > UNARY, |this| {
            let _ = write!(this.0, "{n}");
        });
    }

    fn text(&mut self, text: &[u8]) {
        match core::str::from_utf8(text) {
            Ok(text) if !text.contains(|c: char| c.is_control() && !"\n\r\t".contains(c)) => {
                let quoted = quote(text.as_bytes());
                self.put(core::str::from_utf8(&quoted).unwrap_or_default());
            }
            Ok(text) => {
                self.put("\"");
                for c in text.chars() {
                    match c {
                        '"' | '\\' => self.0.extend(['\\', c]),
                        c if c.is_control() => {
                            let _ = write!(self.0, "\\u{:04x}", u32::from(c));
                        }
                        c => self.0.push(c),
                    }
                }
                self.put("\"");
            }
            Err(_) => {
                self.put("b\"");
                for byte in text {
                    match byte {
                        b'"' | b'\\' => self.0.extend(['\\', char::from(*byte)]),
                        b' '..=b'~' => self.0.push(char::from(*byte)),
                        byte => {
                            let _ = write!(self.0, "\\x{byte:02x}");
                        }
                    }
                }
                self.put("\"");
            }
        }
    }
}

/// A span of time in its largest whole unit.
fn span(ns: i128) -> String {
    let units = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let unit = units.iter().find(|(size, _)| ns % size == 0);
    unit.map_or_else(|| ns.to_string(), |(size, name)| format!("{}{name}", ns / size))
}
