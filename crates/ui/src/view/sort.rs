//! The order of rows.

use core::cmp::Ordering;
use core::net::IpAddr;

use crate::Error;
use crate::view::cell::{Cell, Cells};
use crate::view::column::{Column, split};

/// What to sort by.
#[derive(Clone, Debug)]
pub struct SortKey {
    /// The value that counts; it need not be shown.
    pub column: Column,
    /// Whether the greatest comes first.
    pub descending: bool,
}

impl SortKey {
    /// The keys that `spec` names, separated by commas, the most important first; a `-` in front
    /// turns one round. A name is the title, the name or the last part of the name of one of
    /// `shown`, or any field.
    ///
    /// # Errors
    /// The first part that is neither.
    pub fn parse_list(spec: &str, shown: &[Column]) -> Result<Vec<Self>, Error> {
        split(spec).map(|part| Self::parse(part, spec, shown, true)).collect()
    }

    /// As [`Self::parse_list`], with no other columns than `shown`: for tables whose rows are no
    /// subjects, such as groups.
    ///
    /// # Errors
    /// The first part that is no column.
    pub fn parse_shown(spec: &str, shown: &[Column]) -> Result<Vec<Self>, Error> {
        split(spec).map(|part| Self::parse(part, spec, shown, false)).collect()
    }

    fn parse(part: &str, list: &str, shown: &[Column], any: bool) -> Result<Self, Error> {
        let (name, descending) = match part.strip_prefix('-') {
            Some(name) => (name.trim_start(), true),
            None => (part.strip_prefix('+').unwrap_or(part), false),
        };
        if name.is_empty() {
            return Err(Error::Empty { what: "sort key", list: list.to_owned() });
        }
        let parsed = Column::parse(name, "sort key");
        let is = |column: &&Column| {
            column.key == name
                || column.title.eq_ignore_ascii_case(name)
                || parsed.as_ref().is_ok_and(|parsed| column.same(parsed))
        };
        let column = match shown.iter().find(is) {
            Some(column) => column.clone(),
            None if any => parsed?,
            None => return Err(Error::unknown("sort key", name, shown.iter().map(|column| &*column.key))),
        };
        Ok(Self { column, descending })
    }
}

/// A value to compare. Values of different kinds keep the order of the variants; what is missing
/// comes last, whichever way round.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Ip(IpAddr),
    Text(&'a [u8]),
    Items(Cells<'a>),
    Missing,
}

impl<'a> From<Cell<'a>> for Key<'a> {
    fn from(cell: Cell<'a>) -> Self {
        match cell {
            Cell::Missing(_) => Self::Missing,
            Cell::Bool(v) => Self::Bool(v),
            Cell::Int(v) => Self::Int(v),
            Cell::Uint(v) => Self::Uint(v),
            Cell::Text(v) | Cell::Cut(v) => Self::Text(v),
            Cell::Ip(v) => Self::Ip(v),
            Cell::List(v) | Cell::Map(v) => Self::Items(v),
        }
    }
}

impl Key<'_> {
    const fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) => 1,
            Self::Uint(_) => 2,
            Self::Ip(_) => 3,
            Self::Text(_) => 4,
            Self::Items(_) => 5,
            Self::Missing => 6,
        }
    }

    /// Which comes first.
    pub(crate) fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let order = match (self, other) {
            // What is missing comes last, and it does not matter why it is.
            (Self::Missing, _) | (_, Self::Missing) => return self.rank().cmp(&other.rank()),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Uint(a), Self::Uint(b)) => a.cmp(b),
            (Self::Ip(a), Self::Ip(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => natural(a, b),
            (Self::Items(a), Self::Items(b)) => items(*a, *b),
            _ => self.rank().cmp(&other.rank()),
        };
        if descending { order.reverse() } else { order }
    }
}

/// The order of two lists: that of the first items that differ, then the shorter one first.
fn items(mut a: Cells<'_>, mut b: Cells<'_>) -> Ordering {
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => Key::from(x).compare(&Key::from(y), false),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Compares texts so that `eth2` comes before `eth10`: runs of digits count as numbers. Texts that
/// differ only in leading zeros keep the order of their bytes.
#[must_use]
pub fn natural(a: &[u8], b: &[u8]) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let common = x.iter().zip(y).take_while(|(p, q)| p == q && !p.is_ascii_digit()).count();
        (x, y) = (x.get(common..).unwrap_or_default(), y.get(common..).unwrap_or_default());
        let (run_x, rest_x) = digits(x);
        let (run_y, rest_y) = digits(y);
        if run_x.is_empty() || run_y.is_empty() {
            // One has ended, or they differ in something that is no number on both sides.
            return x.cmp(y).then_with(|| a.cmp(b));
        }
        let (p, q) = (without_zeros(run_x), without_zeros(run_y));
        match p.len().cmp(&q.len()).then_with(|| p.cmp(q)) {
            Ordering::Equal => (x, y) = (rest_x, rest_y),
            order => return order,
        }
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn without_zeros(run: &[u8]) -> &[u8] {
    run.get(run.iter().take_while(|digit| **digit == b'0').count()..).unwrap_or_default()
}
