//! From the syntax tree to the typed form. Absence is what differs most from CEL: every test says
//! for itself that it is false without a value ([`Absent::False`]), so "not" of it is true.

use nabe_event::field::{Class, Field, Marks, container as c};

use super::Definitions;
use super::ast::{Ast, Expr, ExprKind, Modifier, Op, Right, Term, Value};
use super::pattern;
use super::side::{self, ITEM, Kind, Side, Values};
use super::transform::Transform;
use crate::classes::Classes;
use crate::diagnostic::{Error, Result, quote};
use crate::ir::{
    Absent, Const, Func, Loop, Net, Operand, Order, Over, Pattern, Pred, Quantifier, Set, TextTest,
};
use crate::span::Span;

/// Tests that one filter may come to, macros put in.
const MAX_TESTS: usize = 1 << 16;
/// Regular expressions and globs that one filter may hold.
const MAX_PATTERNS: usize = 1000;
/// Macros within macros.
const MAX_MACROS: usize = 64;
/// Levels that a filter may be nested, macros put in: every later pass recurses over them.
const MAX_LEVELS: usize = 200;
/// Values among which exactly one can be asked for.
const MAX_ONE_OF: usize = 64;

/// The predicate that a tree stands for. Fields of `classes` are known.
pub(crate) fn lower(ast: &Ast, names: &dyn Definitions, classes: Classes) -> Result<Pred> {
    Lower { names, classes, open: Vec::new(), levels: 0, tests: 0, patterns: 0 }.expr(&ast.root)
}

/// The predicate that one test stands for.
pub(crate) fn lower_test(test: &Expr, names: &dyn Definitions, classes: Classes) -> Result<Pred> {
    Lower { names, classes, open: Vec::new(), levels: 0, tests: 0, patterns: 0 }.expr(test)
}

struct Lower<'n> {
    names: &'n dyn Definitions,
    classes: Classes,
    /// Macros that are being put in.
    open: Vec<String>,
    /// Levels that are open.
    levels: usize,
    tests: usize,
    patterns: usize,
}

impl Lower<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Pred> {
        self.levels += 1;
        if self.levels > MAX_LEVELS {
            let message = format!("nested more than {MAX_LEVELS} levels deep, macros put in");
            return Err(Error::new(expr.place.0, message));
        }
        let pred = self.pred(expr);
        self.levels -= 1;
        pred
    }

    fn pred(&mut self, expr: &Expr) -> Result<Pred> {
        match &expr.kind {
            ExprKind::And(terms) => Ok(Pred::And(self.exprs(terms)?)),
            ExprKind::Or(terms) => Ok(Pred::Or(self.exprs(terms)?)),
            ExprKind::Not(inner) => Ok(self.expr(inner)?.not()),
            ExprKind::Macro(name) => self.put_in(name, expr.place.0),
            ExprKind::Exists(term) => {
                self.count(expr.place.0, 1)?;
                Ok(exists(&side::term(term, self.classes)?))
            }
            ExprKind::Check { left, op, modifier, right } => {
                self.count(expr.place.0, 1)?;
                let left = side::term(left, self.classes)?;
                self.check(&left, *op, *modifier, right)
            }
        }
    }

    fn exprs(&mut self, terms: &[Expr]) -> Result<Vec<Pred>> {
        terms.iter().map(|term| self.expr(term)).collect()
    }

    fn count(&mut self, span: Span, tests: usize) -> Result<()> {
        self.tests += tests;
        if self.tests > MAX_TESTS {
            return Err(Error::new(span, format!("the filter comes to more than {MAX_TESTS} tests")));
        }
        Ok(())
    }

    /// A macro in place of its name.
    fn put_in(&mut self, name: &str, span: Span) -> Result<Pred> {
        let names = self.names;
        let Some(ast) = names.macro_named(name) else {
            let error = Error::new(span, format!("unknown macro `{}`", quote(name)));
            return Err(error.hint("a field has a dot in its name and an operator behind it"));
        };
        if self.open.iter().any(|open| open == name) {
            return Err(Error::new(span, format!("macro `{}` leads back to itself", quote(name))));
        }
        if self.open.len() >= MAX_MACROS {
            return Err(Error::new(span, format!("more than {MAX_MACROS} macros within each other")));
        }
        self.open.push(name.to_owned());
        let pred = self.expr(&ast.root);
        self.open.pop();
        pred.map_err(|mut error| {
            // Places within a macro are not places of this source.
            error.span = span;
            error.message = format!("in macro `{}`: {}", quote(name), error.message);
            error
        })
    }

    fn check(&mut self, left: &Side, op: Op, modifier: Option<Modifier>, right: &Right) -> Result<Pred> {
        allowed(left, op, modifier)?;
        match right {
            Right::Value(value) => self.test(left, op, value),
            Right::List(values, place) => self.list(left, op, modifier, values, place.0),
            Right::Name(name, place) => {
                let Some(items) = self.names.list_named(name) else {
                    let error = Error::new(place.0, format!("unknown list `{}`", quote(name)));
                    return Err(error.hint(format!("a list of one text is written `({})`", quote(name))));
                };
                let value = |text: &Vec<u8>| Value { text: text.clone(), place: *place };
                let values: Vec<Value> = items.iter().map(value).collect();
                self.list(left, op, modifier, &values, place.0)
            }
            Right::Term(term) => self.computed(left, op, term),
        }
    }

    fn list(
        &mut self,
        left: &Side,
        op: Op,
        modifier: Option<Modifier>,
        values: &[Value],
        span: Span,
    ) -> Result<Pred> {
        let Some(modifier) = modifier else { return self.within(left, op, values) };
        if values.is_empty() {
            return Ok(Pred::Const(Some(false)));
        }
        if op == Op::Eq && modifier == Modifier::AnyOf {
            return self.within(left, Op::In, values);
        }
        if op == Op::Ne && modifier == Modifier::AllOf {
            let within = self.within(left, Op::In, values)?;
            return Ok(Pred::And(vec![exists(left), within.not()]));
        }
        if modifier == Modifier::OneOf && values.len() > MAX_ONE_OF {
            return Err(Error::new(span, format!("`oneof` among more than {MAX_ONE_OF} values")));
        }
        let squared = if modifier == Modifier::OneOf { values.len() } else { 1 };
        self.count(span, values.len() * squared)?;
        let tests = values.iter().map(|value| self.test(left, op, value)).collect::<Result<Vec<_>>>()?;
        Ok(match modifier {
            Modifier::AnyOf => Pred::Or(tests),
            Modifier::AllOf => Pred::And(tests),
            Modifier::OneOf => exactly_one(&tests),
        })
    }

    /// A test against one constant.
    fn test(&mut self, left: &Side, op: Op, value: &Value) -> Result<Pred> {
        match &left.values {
            Values::One(operand) => self.scalar(operand, left, op, value),
            // Of a list of texts a part is asked of any item, as old rules of Falco do.
            Values::Items(list) if is_part(op) && left.kind == Kind::Text => {
                let test = self.scalar(&Operand::Local(ITEM), left, op, value)?;
                Ok(each(Quantifier::Any, list.clone(), test))
            }
            Values::Items(_) => Err(list_operator(left)),
            Values::Any(list) => {
                let test = self.scalar(&Operand::Local(ITEM), left, op, value)?;
                Ok(each(Quantifier::Any, list.clone(), test))
            }
            // "Not equal" means that neither end is.
            Values::Ends(ends) if op == Op::Ne => {
                let equal = self.ends(ends, left, Op::Eq, value)?;
                Ok(Pred::And(vec![exists(left), equal.not()]))
            }
            Values::Ends(ends) => self.ends(ends, left, op, value),
        }
    }

    fn ends(&mut self, ends: &[Operand; 2], left: &Side, op: Op, value: &Value) -> Result<Pred> {
        let [a, b] = ends;
        Ok(Pred::Or(vec![self.scalar(a, left, op, value)?, self.scalar(b, left, op, value)?]))
    }

    /// A test of one value against one constant.
    fn scalar(&mut self, operand: &Operand, left: &Side, op: Op, value: &Value) -> Result<Pred> {
        let span = value.place.0;
        let text = || Operand::Const(Const::Text(value.text.as_slice().into()));
        let found =
            |how: TextTest, with: Operand| Pred::Text(how, Box::new([operand.clone(), with]), Absent::False);
        match op {
            Op::Contains => Ok(found(TextTest::Contains, text())),
            Op::StartsWith => Ok(found(TextTest::StartsWith, text())),
            Op::EndsWith => Ok(found(TextTest::EndsWith, text())),
            Op::Bcontains | Op::BstartsWith => {
                let Some(bytes) = bytes(&value.text) else {
                    let error = Error::new(span, "these are no bytes in hexadecimal");
                    return Err(error.expected("digits in pairs, such as `68656c6c6f`"));
                };
                let how = if op == Op::Bcontains { TextTest::Contains } else { TextTest::StartsWith };
                Ok(found(how, Operand::Const(Const::Text(bytes.into()))))
            }
            Op::Icontains => self.pattern(operand, pattern::contains_folded(&value.text), span),
            Op::Glob => self.pattern(operand, pattern::glob(&value.text, false), span),
            Op::Iglob => self.pattern(operand, pattern::glob(&value.text, true), span),
            Op::Regex => {
                let Ok(source) = core::str::from_utf8(&value.text) else {
                    return Err(Error::new(span, "a regular expression is UTF-8"));
                };
                self.pattern(operand, pattern::regex(source), span)
            }
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => {
                let constant = side::value(value, left.kind)?;
                // What is around a time lies within so many milliseconds of it, not exactly so many away.
                let op = match op {
                    Op::Eq if is_around(operand) => Op::Le,
                    Op::Ne if is_around(operand) => Op::Gt,
                    op => op,
                };
                Ok(compared(order(op), operand, constant, left))
            }
            Op::In | Op::Intersects | Op::Pmatch => {
                Err(Error::new(span, "a list stands here").expected("`(`"))
            }
        }
    }

    fn pattern(
        &mut self,
        operand: &Operand,
        built: core::result::Result<impl Into<Pattern>, String>,
        span: Span,
    ) -> Result<Pred> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(Error::new(span, format!("more than {MAX_PATTERNS} patterns")));
        }
        let built = built.map_err(|reason| Error::new(span, format!("this pattern is wrong: {reason}")))?;
        Ok(Pred::Matches(operand.clone(), built.into(), Absent::False))
    }

    /// Membership among constants, or on a path that one of them leads to.
    fn within(&mut self, left: &Side, op: Op, values: &[Value]) -> Result<Pred> {
        let mut test = |operand: &Operand| -> Result<Pred> {
            if op == Op::Pmatch {
                let span = values.first().map_or(left.span, |value| value.place.0);
                let paths = pattern::paths(values.iter().map(|value| value.text.as_slice()));
                return self.pattern(operand, paths, span);
            }
            self.within_one(operand, left, values)
        };
        match &left.values {
            Values::One(operand) => test(operand),
            Values::Ends(ends) => Ok(Pred::Or(vec![test(&ends[0])?, test(&ends[1])?])),
            Values::Any(list) => Ok(each(Quantifier::Any, list.clone(), test(&Operand::Local(ITEM))?)),
            Values::Items(list) => {
                let quantifier = if op == Op::In { Quantifier::All } else { Quantifier::Any };
                let test = each(quantifier, list.clone(), test(&Operand::Local(ITEM))?);
                Ok(Pred::And(vec![present(list), test]))
            }
        }
    }

    /// Membership of one value among constants.
    fn within_one(&self, operand: &Operand, left: &Side, values: &[Value]) -> Result<Pred> {
        let (mut ints, mut texts, mut nets, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for value in values {
            match side::value(value, left.kind)? {
                Const::Int(number) => ints.push(number),
                Const::Text(text) => texts.push(text),
                Const::Ip(address) => nets.push(Net::host(address)),
                Const::Net(net) => nets.push(net),
                other => others.push(compared(Order::Eq, operand, other, left)),
            }
        }
        let mut tests = others;
        let mut add = |set: Set| {
            if set.len() > 0 {
                tests.push(Pred::In(operand.clone(), set, Absent::False));
            }
        };
        add(Set::ints(ints));
        add(Set::texts(texts));
        add(Set::nets(nets));
        Ok(if tests.len() == 1 { tests.swap_remove(0) } else { Pred::Or(tests) })
    }

    /// A test against something computed.
    fn computed(&mut self, left: &Side, op: Op, term: &Term) -> Result<Pred> {
        let right = side::term(term, self.classes)?;
        if matches!(op, Op::Pmatch | Op::Regex) {
            return Err(Error::new(right.span, format!("`{}` takes constants only", op.word())));
        }
        for (side, place) in [(left, "on the left of another one"), (&right, "on the right")] {
            if let Some(found) = side.field.filter(|found| found.marks.has(Marks::NO_RHS)) {
                return Err(Error::new(right.span, format!("`{}` cannot stand {place}", found.name)));
            }
        }
        if !left.kind.fits(right.kind) {
            let message = format!("{} is compared with {}", left.kind.a(), right.kind.a());
            return Err(Error::new(right.span, message).expected("the same type on both sides"));
        }
        let in_list = matches!(op, Op::In | Op::Intersects);
        match (&left.values, &right.values) {
            (Values::One(l), Values::One(r)) => Ok(both(op, l.clone(), r.clone())),
            (Values::One(l), Values::Items(r)) if in_list => Ok(member(l.clone(), r.clone())),
            (Values::Items(l), r) if in_list => {
                let item = Operand::Local(ITEM);
                let test = match r {
                    Values::One(r) => both(Op::Eq, item, r.clone()),
                    Values::Items(r) => member(item, r.clone()),
                    _ => return Err(Error::new(right.span, "this has no value that can be compared")),
                };
                let quantifier = if op == Op::In { Quantifier::All } else { Quantifier::Any };
                Ok(Pred::And(vec![present(l), each(quantifier, l.clone(), test)]))
            }
            (Values::Items(_), _) => Err(list_operator(left)),
            _ => Err(Error::new(right.span, "these two cannot be compared").expected("single values")),
        }
    }
}

fn is_around(operand: &Operand) -> bool {
    matches!(operand, Operand::Field(of) if of.id == nabe_event::field::event::AROUND)
}

fn order(op: Op) -> Order {
    match op {
        Op::Ne => Order::Ne,
        Op::Lt => Order::Lt,
        Op::Le => Order::Le,
        Op::Gt => Order::Gt,
        Op::Ge => Order::Ge,
        _ => Order::Eq,
    }
}

/// A comparison of a value with a constant.
fn compared(order: Order, operand: &Operand, constant: Const, left: &Side) -> Pred {
    if let Const::Net(net) = constant {
        let within = Pred::In(operand.clone(), Set::nets(vec![net]), Absent::False);
        return if order == Order::Ne { Pred::And(vec![present(operand), within.not()]) } else { within };
    }
    let sides = Box::new([operand.clone(), Operand::Const(constant)]);
    let compared = Pred::Compare(order, sides, Absent::False);
    if order == Order::Ne && left.field.is_some_and(unset_when_empty) {
        return Pred::And(vec![not_empty(operand), compared]);
    }
    compared
}

/// A comparison of two values.
fn both(op: Op, l: Operand, r: Operand) -> Pred {
    let text = |how: TextTest, sides: [Operand; 2]| Pred::Text(how, Box::new(sides), Absent::False);
    let lower = |operand: Operand| Operand::Call(Func::Lower, vec![operand]);
    let test = |transform: Transform, sides: [Operand; 2]| {
        Pred::Test(Operand::Call(transform.into(), sides.into()), Absent::False)
    };
    match op {
        Op::Contains | Op::Bcontains => text(TextTest::Contains, [l, r]),
        Op::StartsWith | Op::BstartsWith => text(TextTest::StartsWith, [l, r]),
        Op::EndsWith => text(TextTest::EndsWith, [l, r]),
        Op::Icontains => text(TextTest::Contains, [lower(l), lower(r)]),
        Op::Glob => test(Transform::Glob, [l, r]),
        Op::Iglob => test(Transform::Iglob, [l, r]),
        op => Pred::Compare(order(op), Box::new([l, r]), Absent::False),
    }
}

fn member(needle: Operand, list: Operand) -> Pred {
    Pred::Member(Box::new([needle, list]), Absent::False)
}

fn each(quantifier: Quantifier, list: Operand, body: Pred) -> Pred {
    let each = Loop { over: Over::Values(list), slot: ITEM, only: None };
    Pred::Each(quantifier, Box::new(each), Box::new(body))
}

/// Whether there is a value, be it empty: a value equals itself, and without one this is false.
fn present(operand: &Operand) -> Pred {
    Pred::Compare(Order::Eq, Box::new([operand.clone(), operand.clone()]), Absent::False)
}

fn not_empty(operand: &Operand) -> Pred {
    let nothing = Operand::Const(Const::Text(Box::default()));
    Pred::Compare(Order::Ne, Box::new([operand.clone(), nothing]), Absent::False)
}

/// Whether a side has a value.
fn exists(side: &Side) -> Pred {
    match &side.values {
        Values::One(operand) if side.field.is_some_and(unset_when_empty) => not_empty(operand),
        Values::One(operand) | Values::Items(operand) => present(operand),
        Values::Ends(ends) => Pred::Or(ends.iter().map(present).collect()),
        Values::Any(list) => each(Quantifier::Any, list.clone(), present(&Operand::Local(ITEM))),
    }
}

/// One test is true and all others are not.
fn exactly_one(tests: &[Pred]) -> Pred {
    let others = |one: usize| {
        let others = tests.iter().enumerate().filter(move |(at, _)| *at != one);
        others.map(|(_, test)| test.clone().not())
    };
    let only =
        |(at, test): (usize, &Pred)| Pred::And(core::iter::once(test.clone()).chain(others(at)).collect());
    Pred::Or(tests.iter().enumerate().map(only).collect())
}

/// Fields that sysdig has no value for outside containers, where ours are empty.
fn unset_when_empty(found: &Field) -> bool {
    let of_container = matches!(found.id.class(), Class::Container);
    of_container && !c::says_host(found.id) && ![c::LABELS, c::PIDS].contains(&found.id)
}

/// Bytes written as pairs of hexadecimal digits.
fn bytes(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Operators that ask for a part of a text.
fn is_part(op: Op) -> bool {
    matches!(op, Op::Contains | Op::Icontains | Op::StartsWith | Op::EndsWith)
}

fn list_operator(left: &Side) -> Box<Error> {
    Error::new(left.span, "this is a list").expected("`in`, `intersects` or `exists`")
}

/// Refuses operators that the type does not have.
fn allowed(left: &Side, op: Op, modifier: Option<Modifier>) -> Result<()> {
    if matches!(left.values, Values::Items(_)) {
        let known = matches!(op, Op::In | Op::Intersects) && modifier.is_none()
            || is_part(op) && left.kind == Kind::Text;
        return if known { Ok(()) } else { Err(list_operator(left)) };
    }
    let equality = matches!(op, Op::Eq | Op::Ne | Op::In | Op::Intersects);
    let ordered = matches!(op, Op::Lt | Op::Le | Op::Gt | Op::Ge);
    let (known, expected) = match left.kind {
        Kind::Dynamic => (!matches!(op, Op::Bcontains | Op::BstartsWith), ""),
        Kind::Text => (
            !matches!(op, Op::Bcontains | Op::BstartsWith),
            "= != < <= > >= contains icontains startswith endswith glob iglob regex in intersects pmatch exists",
        ),
        Kind::Bytes => (
            equality
                || matches!(
                    op,
                    Op::Contains | Op::StartsWith | Op::EndsWith | Op::Bcontains | Op::BstartsWith
                ),
            "= != contains startswith endswith bcontains bstartswith in intersects exists",
        ),
        Kind::Bool | Kind::Ip => (equality, "= != in intersects exists"),
        _ => (equality || ordered, "= != < <= > >= in intersects exists"),
    };
    if known {
        return Ok(());
    }
    let message = format!("`{}` is no operator for {}", op.word(), left.kind.a());
    Err(Error::new(left.span, message).expected(expected))
}
