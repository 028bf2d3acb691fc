//! Values while an expression is evaluated: borrowed where they can be.

use core::cmp::Ordering;
use core::net::IpAddr;
use std::borrow::Cow;

use nabe_event::value::{List, Map};
use nabe_event::{Missing, Value};

use crate::ir::{Absent, Const, Net, Order};

/// A result that does not exist, such as a quotient by zero: the errno ERANGE.
pub(crate) const OUT_OF_RANGE: Missing = Missing::Unread(34);

/// Longest text and list that an expression may build.
pub(crate) const MAX_SIZE: usize = 1 << 20;

#[derive(Clone)]
pub(crate) enum V<'a> {
    Missing(Missing),
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Cow<'a, [u8]>),
    Ip(IpAddr),
    Net(Net),
    List(Seq<'a>),
    Map(Dict<'a>),
}

#[derive(Clone)]
pub(crate) enum Seq<'a> {
    Field(&'a dyn List),
    Const(&'a [Const]),
    Slice(&'a [V<'a>]),
    Made(Vec<V<'a>>),
}

#[derive(Clone)]
pub(crate) enum Dict<'a> {
    Field(&'a dyn Map),
    Const(&'a [(Const, Const)]),
    Slice(&'a [(V<'a>, V<'a>)]),
    Made(Vec<(V<'a>, V<'a>)>),
}

impl<'a> From<Value<'a>> for V<'a> {
    fn from(value: Value<'a>) -> Self {
        match value {
            Value::Missing(why) => Self::Missing(why),
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value.into()),
            Value::Uint(value) => Self::Int(value.into()),
            Value::Text(value) => Self::Text(Cow::Borrowed(value)),
            Value::Ip(value) => Self::Ip(value.to_canonical()),
            Value::List(value) => Self::List(Seq::Field(value)),
            Value::Map(value) => Self::Map(Dict::Field(value)),
        }
    }
}

impl Const {
    pub(crate) fn value(&self) -> V<'_> {
        match self {
            Self::Null => V::Null,
            Self::Bool(value) => V::Bool(*value),
            Self::Int(value) => V::Int(*value),
            Self::Float(value) => V::Float(*value),
            Self::Text(value) => V::Text(Cow::Borrowed(value)),
            Self::Ip(value) => V::Ip(*value),
            Self::Net(value) => V::Net(*value),
            Self::List(items) => V::List(Seq::Const(items)),
            Self::Map(entries) => V::Map(Dict::Const(entries)),
        }
    }
}

impl<'a> V<'a> {
    /// A number, if it is within the range of numbers.
    pub(crate) fn int(value: Option<i128>) -> Self {
        match value {
            Some(n) if n >= i128::from(i64::MIN) && n <= i128::from(u64::MAX) => Self::Int(n),
            _ => Self::Missing(OUT_OF_RANGE),
        }
    }

    /// A text, if it is not too long.
    pub(crate) fn text(value: Vec<u8>) -> Self {
        if value.len() > MAX_SIZE { Self::Missing(OUT_OF_RANGE) } else { Self::Text(Cow::Owned(value)) }
    }

    /// The same value, borrowed from this one.
    pub(crate) fn borrow(&self) -> V<'_> {
        match self {
            Self::Text(text) => V::Text(Cow::Borrowed(text)),
            Self::List(Seq::Made(items)) => V::List(Seq::Slice(items)),
            Self::Map(Dict::Made(entries)) => V::Map(Dict::Slice(entries)),
            other => other.clone(),
        }
    }

    /// The same value, borrowing nothing.
    pub(crate) fn into_owned(self) -> V<'static> {
        match self {
            Self::Missing(why) => V::Missing(why),
            Self::Null => V::Null,
            Self::Bool(value) => V::Bool(value),
            Self::Int(value) => V::Int(value),
            Self::Float(value) => V::Float(value),
            Self::Text(text) => V::Text(Cow::Owned(text.into_owned())),
            Self::Ip(value) => V::Ip(value),
            Self::Net(value) => V::Net(value),
            Self::List(list) => {
                let items = (0..list.len()).map(|at| list.get(at).into_owned());
                V::List(Seq::Made(items.collect()))
            }
            Self::Map(map) => {
                let entries = (0..map.len()).filter_map(|at| map.entry(at));
                V::Map(Dict::Made(entries.map(|(k, v)| (k.into_owned(), v.into_owned())).collect()))
            }
        }
    }

    /// As a constant, if there is a value and it can be written in an expression.
    pub(crate) fn constant(&self) -> Option<Const> {
        Some(match self {
            Self::Missing(_) => return None,
            Self::Null => Const::Null,
            Self::Bool(value) => Const::Bool(*value),
            Self::Int(value) => Const::Int(*value),
            Self::Float(value) => Const::Float(Some(*value).filter(|n| n.is_finite())?),
            Self::Text(text) => Const::Text(text.as_ref().into()),
            Self::Ip(value) => Const::Ip(*value),
            Self::Net(value) => Const::Net(*value),
            Self::List(list) => {
                Const::List((0..list.len()).map(|at| list.get(at).constant()).collect::<Option<_>>()?)
            }
            Self::Map(map) => {
                let entries = (0..map.len()).filter_map(|at| map.entry(at));
                Const::Map(entries.map(|(k, v)| Some((k.constant()?, v.constant()?))).collect::<Option<_>>()?)
            }
        })
    }

    /// As the answer of a test.
    pub(crate) fn truth(&self, absent: Absent) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Missing(why) => doubt(*why, absent),
            _ => None,
        }
    }

    /// Whether there is a value that is not empty; undecided when that is not known.
    pub(crate) fn present(&self) -> Option<bool> {
        match self {
            Self::Missing(Missing::Subject | Missing::Unset) => Some(false),
            Self::Missing(_) => None,
            Self::Text(text) => Some(!text.is_empty()),
            Self::List(list) => Some(list.len() > 0),
            Self::Map(map) => Some(map.len() > 0),
            _ => Some(true),
        }
    }
}

impl Seq<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Field(list) => list.len(),
            Self::Const(items) => items.len(),
            Self::Slice(items) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    /// The item at a position below `len`.
    pub(crate) fn get(&self, at: usize) -> V<'_> {
        const UNSET: V<'static> = V::Missing(Missing::Unset);
        match self {
            Self::Field(list) => list.get(at).into(),
            Self::Const(items) => items.get(at).map_or(UNSET, Const::value),
            Self::Slice(items) => items.get(at).map_or(UNSET, V::borrow),
            Self::Made(items) => items.get(at).map_or(UNSET, V::borrow),
        }
    }
}

impl Dict<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Field(map) => map.len(),
            Self::Const(entries) => entries.len(),
            Self::Slice(entries) => entries.len(),
            Self::Made(entries) => entries.len(),
        }
    }

    pub(crate) fn entry(&self, at: usize) -> Option<(V<'_>, V<'_>)> {
        fn text(bytes: &[u8]) -> V<'_> {
            V::Text(Cow::Borrowed(bytes))
        }
        match self {
            Self::Field(map) => map.entry(at).map(|(k, v)| (text(k), text(v))),
            Self::Const(entries) => entries.get(at).map(|(k, v)| (k.value(), v.value())),
            Self::Slice(entries) => entries.get(at).map(|(k, v)| (k.borrow(), v.borrow())),
            Self::Made(entries) => entries.get(at).map(|(k, v)| (k.borrow(), v.borrow())),
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &V<'_>) -> Option<V<'_>> {
        match (self, key) {
            (Self::Field(map), V::Text(key)) => map.get(key).map(|text| V::Text(Cow::Borrowed(text))),
            (Self::Field(_), _) => None,
            _ => (0..self.len())
                .filter_map(|at| self.entry(at))
                .find(|(known, _)| equal(known, key))
                .map(|(_, value)| value),
        }
    }
}

/// What a test answers when a value is absent.
pub(crate) fn doubt(why: Missing, absent: Absent) -> Option<bool> {
    match (absent, why) {
        (Absent::False, _) | (_, Missing::Unset) => Some(false),
        (Absent::Doubt, _) => None,
    }
}

/// The absence that decides a test of these two: doubt outweighs "unset".
pub(crate) fn missing(a: &V<'_>, b: &V<'_>) -> Option<Missing> {
    match (a, b) {
        (V::Missing(Missing::Unset), V::Missing(why)) | (V::Missing(why), _) | (_, V::Missing(why)) => {
            Some(*why)
        }
        _ => None,
    }
}

/// Compares two values by CEL's rules; numbers of all kinds compare exactly.
pub(crate) fn compare(order: Order, a: &V<'_>, b: &V<'_>, absent: Absent) -> Option<bool> {
    if let Some(why) = missing(a, b) {
        return doubt(why, absent);
    }
    match order {
        Order::Eq => Some(equal(a, b)),
        Order::Ne => Some(!equal(a, b)),
        _ => {
            let found = ordering(a, b);
            Some(found.is_some_and(|found| holds(order, found)))
        }
    }
}

pub(crate) const fn holds(order: Order, found: Ordering) -> bool {
    match order {
        Order::Eq => found.is_eq(),
        Order::Ne => found.is_ne(),
        Order::Lt => found.is_lt(),
        Order::Le => found.is_le(),
        Order::Gt => found.is_gt(),
        Order::Ge => found.is_ge(),
    }
}

pub(crate) fn equal(a: &V<'_>, b: &V<'_>) -> bool {
    match (a, b) {
        (V::Null, V::Null) => true,
        (V::Bool(a), V::Bool(b)) => a == b,
        (V::Ip(a), V::Ip(b)) => a == b,
        (V::Net(a), V::Net(b)) => a == b,
        (V::List(a), V::List(b)) => {
            a.len() == b.len() && (0..a.len()).all(|at| equal(&a.get(at), &b.get(at)))
        }
        (V::Map(a), V::Map(b)) => {
            a.len() == b.len()
                && (0..a.len())
                    .filter_map(|at| a.entry(at))
                    .all(|(key, value)| b.get(&key).is_some_and(|other| equal(&value, &other)))
        }
        _ => ordering(a, b).is_some_and(Ordering::is_eq),
    }
}

/// The order of numbers and of texts; none for NaN and for values that do not compare.
pub(crate) fn ordering(a: &V<'_>, b: &V<'_>) -> Option<Ordering> {
    match (a, b) {
        (V::Int(a), V::Int(b)) => Some(a.cmp(b)),
        (V::Float(a), V::Float(b)) => a.partial_cmp(b),
        (V::Int(a), V::Float(b)) => int_float(*a, *b),
        (V::Float(a), V::Int(b)) => int_float(*b, *a).map(Ordering::reverse),
        (V::Text(a), V::Text(b)) => Some(a.as_ref().cmp(b.as_ref())),
        _ => None,
    }
}

/// Compares without rounding the whole number.
fn int_float(int: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // `as` saturates, and every number here is far within i128.
    #[allow(clippy::cast_possible_truncation, reason = "truncation is what is wanted")]
    let whole = float.trunc() as i128;
    Some(int.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal)))
}

/// Joins the kinds of numbers: both whole, or both as floating point.
pub(crate) fn float(value: &V<'_>) -> Option<f64> {
    match value {
        #[allow(clippy::cast_precision_loss, reason = "as CEL's double() does")]
        V::Int(n) => Some(*n as f64),
        V::Float(n) => Some(*n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_exactly() {
        let max = i128::from(u64::MAX);
        assert_eq!(int_float(max, 18446744073709551616.0), Some(Ordering::Less));
        assert_eq!(int_float(-1, -1.5), Some(Ordering::Greater));
        assert_eq!(int_float(1, 1.5), Some(Ordering::Less));
        assert_eq!(int_float(1, f64::INFINITY), Some(Ordering::Less));
        assert_eq!(int_float(1, f64::NAN), None);
        let nan = V::Float(f64::NAN);
        assert_eq!(compare(Order::Ne, &nan, &nan, Absent::Doubt), Some(true));
        assert_eq!(compare(Order::Ge, &nan, &V::Int(1), Absent::Doubt), Some(false));
    }

    #[test]
    fn absence_decides_by_its_reason_and_by_the_dialect() {
        let (one, unset, nobody) = (V::Int(1), V::Missing(Missing::Unset), V::Missing(Missing::Subject));
        for order in [Order::Eq, Order::Ne, Order::Lt, Order::Ge] {
            assert_eq!(compare(order, &unset, &one, Absent::Doubt), Some(false));
            assert_eq!(compare(order, &one, &nobody, Absent::Doubt), None);
            assert_eq!(compare(order, &unset, &nobody, Absent::Doubt), None);
            assert_eq!(compare(order, &nobody, &unset, Absent::Doubt), None);
            assert_eq!(compare(order, &nobody, &one, Absent::False), Some(false));
        }
    }
}
