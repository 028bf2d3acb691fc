//! The plain interpreter of the intermediate form: what constant folding uses, what the compiled
//! form falls back on, and what it is tested against.
//!
//! Nothing fails: what has no result is undecided. Work is bounded by [`Steps`].

use core::cell::Cell;

use nabe_event::{Fields, Missing, Type};

use crate::ir::{Absent, Loop, Math, Operand, Over, Pred, Quantifier, Set, Slot, TextTest};

pub(crate) mod call;
pub(crate) mod text;
pub(crate) mod value;

use value::{Dict, MAX_SIZE, OUT_OF_RANGE, Seq, V, compare, doubt, equal, float, missing};

/// Items that all loops of one evaluation may visit together, and 16 bytes of text that functions
/// may build, each; beyond, the answer is undecided. Enough for every pair out of 4,000 descriptors.
pub(crate) const STEPS: u32 = 1 << 24;

/// The steps that are left.
pub(crate) struct Steps(Cell<u32>);

impl Steps {
    pub(crate) fn new(limit: u32) -> Self {
        Self(Cell::new(limit))
    }

    /// Takes as many as building a value costs; the value, unless there were too few.
    fn charge<'e>(&self, value: V<'e>) -> V<'e> {
        let cost = match &value {
            V::Text(text) => text.len() / 16,
            V::List(list) => list.len(),
            _ => 0,
        };
        let left = self.0.get();
        self.0.set(left.saturating_sub(u32::try_from(cost).unwrap_or(u32::MAX)));
        if self.0.get() == 0 { V::Missing(OUT_OF_RANGE) } else { value }
    }

    /// Takes one; whether there was one.
    pub(crate) fn take(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }
}

/// What a scope binds.
pub(crate) enum Bind<'e> {
    Subject(&'e dyn Fields),
    Value(V<'e>),
    /// Nothing: constants only.
    Nothing,
}

/// A scope and those around it.
pub(crate) struct Env<'e> {
    pub(crate) bind: Bind<'e>,
    slot: Slot,
    parent: Option<&'e Env<'e>>,
    steps: &'e Steps,
}

impl<'e> Env<'e> {
    pub(crate) fn root(bind: Bind<'e>, steps: &'e Steps) -> Self {
        Self { bind, slot: 0, parent: None, steps }
    }

    pub(crate) fn inner(&'e self, slot: Slot, bind: Bind<'e>) -> Self {
        Self { bind, slot, parent: Some(self), steps: self.steps }
    }

    fn scope(&'e self, slot: Slot) -> &'e Bind<'e> {
        let mut env = self;
        while env.slot != slot {
            match env.parent {
                Some(parent) => env = parent,
                None => return &Bind::Nothing,
            }
        }
        &env.bind
    }

    pub(crate) fn subject(&'e self, slot: Slot) -> Option<&'e dyn Fields> {
        match self.scope(slot) {
            Bind::Subject(subject) => Some(*subject),
            _ => None,
        }
    }
}

impl Pred {
    pub(crate) fn eval(&self, env: &Env<'_>) -> Option<bool> {
        match self {
            Self::Const(value) => *value,
            Self::And(terms) => all(terms.iter().map(|term| term.eval(env))),
            Self::Or(terms) => any(terms.iter().map(|term| term.eval(env))),
            Self::Not(inner) => inner.eval(env).map(|value| !value),
            Self::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                if condition.eval(env)? { then.eval(env) } else { otherwise.eval(env) }
            }
            Self::Each(quantifier, each, body) => each.quantify(*quantifier, env, &|env| body.eval(env)),
            _ => self.test(env),
        }
    }

    #[inline(never)]
    fn test(&self, env: &Env<'_>) -> Option<bool> {
        match self {
            Self::Test(value, absent) => value.eval(env).truth(*absent),
            Self::Compare(order, sides, absent) => {
                compare(*order, &sides[0].eval(env), &sides[1].eval(env), *absent)
            }
            Self::In(needle, set, absent) => set.test(&needle.eval(env), *absent),
            Self::Member(sides, absent) => member(&sides[0].eval(env), &sides[1].eval(env), *absent),
            Self::Text(test, sides, absent) => {
                text_test(*test, &sides[0].eval(env), &sides[1].eval(env), *absent)
            }
            Self::Matches(text, pattern, absent) => match text.eval(env) {
                V::Text(text) => Some(pattern.is_match(&text)),
                V::Missing(why) => doubt(why, *absent),
                _ => None,
            },
            Self::Bits { value, bits, all, absent, .. } => bits_test(&value.eval(env), *bits, *all, *absent),
            Self::HasKey(sides, absent) => {
                let (map, key) = (sides[0].eval(env), sides[1].eval(env));
                match part(&sides[0], &map, &key, env) {
                    Some(part) => part.present(),
                    None => has_key(&map, &key, *absent),
                }
            }
            Self::Has(value) => value.eval(env).present(),
            _ => None,
        }
    }
}

/// Kleene's "and": false wins over undecided.
fn all(mut terms: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut verdict = Some(true);
    let known = terms.any(|term| {
        if term.is_none() {
            verdict = None;
        }
        term == Some(false)
    });
    if known { Some(false) } else { verdict }
}

/// Kleene's "or": true wins over undecided.
fn any(terms: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    all(terms.map(|term| term.map(|value| !value))).map(|value| !value)
}

impl Set {
    pub(crate) fn test(&self, needle: &V<'_>, absent: Absent) -> Option<bool> {
        match (self, needle) {
            (_, V::Missing(why)) => doubt(*why, absent),
            (Self::Ints(items), V::Int(number)) => Some(items.binary_search(number).is_ok()),
            (Self::Ints(items), V::Float(_)) => Some(items.iter().any(|item| equal(&V::Int(*item), needle))),
            (Self::Texts(items), V::Text(text)) => {
                Some(items.binary_search_by(|item| item.as_ref().cmp(text)).is_ok())
            }
            (Self::Nets(nets), V::Ip(address)) => Some(nets.iter().any(|net| net.contains(*address))),
            _ => Some(false),
        }
    }
}

fn member(needle: &V<'_>, list: &V<'_>, absent: Absent) -> Option<bool> {
    if let Some(why) = missing(needle, list) {
        return doubt(why, absent);
    }
    match list {
        V::List(list) => Some((0..list.len()).any(|at| equal(&list.get(at), needle))),
        _ => None,
    }
}

pub(crate) fn text_test(test: TextTest, hay: &V<'_>, needle: &V<'_>, absent: Absent) -> Option<bool> {
    if let Some(why) = missing(hay, needle) {
        return doubt(why, absent);
    }
    let (V::Text(hay), V::Text(needle)) = (hay, needle) else { return None };
    Some(match test {
        TextTest::Contains => memchr::memmem::find(hay, needle).is_some(),
        TextTest::StartsWith => hay.starts_with(needle),
        TextTest::EndsWith => hay.ends_with(needle),
    })
}

pub(crate) fn bits_test(value: &V<'_>, bits: u64, all: bool, absent: Absent) -> Option<bool> {
    match value {
        V::Int(value) => {
            let bits = i128::from(bits);
            Some(if all { value & bits == bits } else { value & bits != 0 })
        }
        V::Missing(why) => doubt(*why, absent),
        _ => None,
    }
}

fn has_key(map: &V<'_>, key: &V<'_>, absent: Absent) -> Option<bool> {
    if let Some(why) = missing(map, key) {
        return doubt(why, absent);
    }
    match map {
        V::Map(map) => Some(map.get(key).is_some()),
        _ => None,
    }
}

impl Operand {
    pub(crate) fn eval<'e>(&'e self, env: &'e Env<'e>) -> V<'e> {
        match self {
            Self::Const(value) => value.value(),
            Self::Field(field) => match env.subject(field.slot) {
                Some(subject) => subject.get(field.id, field.arg.as_deref()).into(),
                None => V::Missing(Missing::Subject),
            },
            Self::Local(slot) => match env.scope(*slot) {
                Bind::Value(value) => value.borrow(),
                _ => V::Missing(Missing::Subject),
            },
            Self::Pred(pred) => pred.eval(env).map_or(V::Missing(OUT_OF_RANGE), V::Bool),
            Self::If(parts) => match parts.0.eval(env) {
                Some(true) => parts.1.eval(env),
                Some(false) => parts.2.eval(env),
                None => V::Missing(OUT_OF_RANGE),
            },
            _ => self.compute(env),
        }
    }

    #[inline(never)]
    fn compute<'e>(&'e self, env: &'e Env<'e>) -> V<'e> {
        let value = match self {
            Self::Math(math, sides) => arithmetic(*math, sides[0].eval(env), sides[1].eval(env)),
            Self::Negate(inner) => match inner.eval(env) {
                V::Int(n) => V::int(n.checked_neg()),
                V::Float(n) => V::Float(-n),
                other => other,
            },
            Self::Call(func, args) => {
                let args: Vec<V<'e>> = args.iter().map(|arg| arg.eval(env)).collect();
                call::call(*func, &args)
            }
            Self::Index(sides) => {
                let (of, key) = (sides[0].eval(env), sides[1].eval(env));
                part(&sides[0], &of, &key, env).unwrap_or_else(|| index(of, &key))
            }
            Self::List(items) => V::List(Seq::Made(items.iter().map(|item| item.eval(env)).collect())),
            Self::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.eval(env), value.eval(env)));
                V::Map(Dict::Made(entries.collect()))
            }
            Self::Count(each) => count(each, env),
            Self::Collect(each, body) => collect(each, body.as_deref(), env),
            _ => V::Missing(OUT_OF_RANGE),
        };
        env.steps.charge(value)
    }
}

/// Events tell maps as the text that people read; whoever told it knows the parts by their keys.
fn part<'e>(of: &'e Operand, told: &V<'_>, key: &V<'_>, env: &'e Env<'e>) -> Option<V<'e>> {
    let (Operand::Field(field), V::Text(_)) = (of, told) else { return None };
    let V::Text(key) = key else { return None };
    if field.arg.is_some() || field.id.field().ty != Type::Map {
        return None;
    }
    Some(env.subject(field.slot)?.get(field.id, Some(key)).into())
}

fn index<'e>(of: V<'e>, key: &V<'_>) -> V<'e> {
    if let Some(why) = missing(&of, key) {
        return V::Missing(why);
    }
    const UNSET: V<'static> = V::Missing(Missing::Unset);
    match (of, key) {
        (V::List(list), V::Int(at)) => match usize::try_from(*at) {
            Ok(at) if at < list.len() => match list {
                Seq::Field(list) => list.get(at).into(),
                Seq::Const(items) => items[at].value(),
                Seq::Slice(items) => items[at].borrow(),
                Seq::Made(mut items) => items.swap_remove(at),
            },
            _ => UNSET,
        },
        (V::Map(Dict::Field(map)), V::Text(key)) => map.get(key).map_or(UNSET, |text| V::Text(text.into())),
        (V::Map(map), key) => map.get(key).map_or(UNSET, V::into_owned),
        _ => V::Missing(OUT_OF_RANGE),
    }
}

fn arithmetic<'e>(math: Math, a: V<'e>, b: V<'e>) -> V<'e> {
    if let Some(why) = missing(&a, &b) {
        return V::Missing(why);
    }
    match (a, b) {
        (V::Int(a), V::Int(b)) => V::int(match math {
            Math::Add => a.checked_add(b),
            Math::Sub => a.checked_sub(b),
            Math::Mul => a.checked_mul(b),
            Math::Div => a.checked_div(b),
            Math::Rem => a.checked_rem(b),
        }),
        (V::Text(a), V::Text(b)) if math == Math::Add => {
            if a.len() + b.len() > MAX_SIZE {
                return V::Missing(OUT_OF_RANGE);
            }
            let mut joined = a.into_owned();
            joined.extend_from_slice(&b);
            V::Text(joined.into())
        }
        (V::List(a), V::List(b)) if math == Math::Add => {
            if a.len() + b.len() > MAX_SIZE {
                return V::Missing(OUT_OF_RANGE);
            }
            let items =
                |list: &Seq<'_>| (0..list.len()).map(|at| list.get(at).into_owned()).collect::<Vec<_>>();
            let mut joined = items(&a);
            joined.extend(items(&b));
            V::List(Seq::Made(joined))
        }
        (a, b) => match (float(&a), float(&b)) {
            (Some(a), Some(b)) => V::Float(match math {
                Math::Add => a + b,
                Math::Sub => a - b,
                Math::Mul => a * b,
                Math::Div => a / b,
                Math::Rem => return V::Missing(OUT_OF_RANGE),
            }),
            _ => V::Missing(OUT_OF_RANGE),
        },
    }
}

impl Loop {
    /// Calls `body` in the scope of each item that `only` lets through, until it returns `false`.
    /// Says why there are no items, or that the steps have run out.
    pub(crate) fn visit(&self, env: &Env<'_>, body: &mut dyn FnMut(&Env<'_>) -> bool) -> Result<(), Missing> {
        let mut exhausted = false;
        let mut step = |inner: &Env<'_>| {
            if !inner.steps.take() {
                exhausted = true;
                return false;
            }
            match &self.only {
                Some(only) if only.eval(inner) != Some(true) => true,
                _ => body(inner),
            }
        };
        match &self.over {
            Over::Relation(field) => {
                let subject = env.subject(field.slot).ok_or(Missing::Subject)?;
                let visited =
                    subject.related(field.id, &mut |item| step(&env.inner(self.slot, Bind::Subject(item))));
                visited.ok_or(Missing::Subject)?;
            }
            Over::Values(values) => match values.eval(env) {
                V::Missing(why) => return Err(why),
                V::List(list) => {
                    let mut more = 0..list.len();
                    while more.next().is_some_and(|at| step(&env.inner(self.slot, Bind::Value(list.get(at)))))
                    {
                    }
                }
                V::Map(map) => {
                    let mut keys = (0..map.len()).filter_map(|at| map.entry(at));
                    while keys.next().is_some_and(|(key, _)| step(&env.inner(self.slot, Bind::Value(key)))) {}
                }
                _ => return Err(OUT_OF_RANGE),
            },
        }
        if exhausted { Err(OUT_OF_RANGE) } else { Ok(()) }
    }

    /// Whether `body` holds for any, all or exactly one of the items.
    pub(crate) fn quantify(
        &self,
        quantifier: Quantifier,
        env: &Env<'_>,
        body: &dyn Fn(&Env<'_>) -> Option<bool>,
    ) -> Option<bool> {
        let stop = match quantifier {
            Quantifier::Any => Some(true),
            Quantifier::All => Some(false),
            Quantifier::One => None,
        };
        let (mut hits, mut doubts, mut stopped) = (0_u32, false, false);
        let visited = self.visit(env, &mut |inner| {
            let verdict = body(inner);
            hits += u32::from(verdict == Some(true));
            doubts |= verdict.is_none();
            stopped = stop.is_some() && verdict == stop;
            !stopped
        });
        if stopped {
            return stop;
        }
        if visited == Err(Missing::Unset) {
            return Some(false);
        }
        if visited.is_err() || doubts {
            return None;
        }
        Some(match quantifier {
            Quantifier::Any => false,
            Quantifier::All => true,
            Quantifier::One => hits == 1,
        })
    }
}

fn count(each: &Loop, env: &Env<'_>) -> V<'static> {
    let mut count = 0_i128;
    let visited = each.visit(env, &mut |_| {
        count += 1;
        true
    });
    visited.map_or_else(V::Missing, |()| V::Int(count))
}

fn collect(each: &Loop, body: Option<&Operand>, env: &Env<'_>) -> V<'static> {
    let mut items = Vec::new();
    let mut absent = None;
    let visited = each.visit(env, &mut |inner| {
        let item = match (body, &inner.bind) {
            (Some(body), _) => body.eval(inner).into_owned(),
            (None, Bind::Value(value)) => value.clone().into_owned(),
            (None, _) => V::Missing(OUT_OF_RANGE),
        };
        match item {
            // An item without a value is left out, one in doubt puts the whole list in doubt.
            V::Missing(Missing::Unset | Missing::Subject) => true,
            V::Missing(why) => {
                absent = Some(why);
                false
            }
            item => {
                items.push(item);
                items.len() <= MAX_SIZE
            }
        }
    });
    match visited.err().or(absent) {
        Some(why) => V::Missing(why),
        None if items.len() > MAX_SIZE => V::Missing(OUT_OF_RANGE),
        None => V::List(Seq::Made(items)),
    }
}
