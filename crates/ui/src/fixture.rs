//! Rows for tests: anything with fields, from a map.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nabe_event::value::{List, Map};
use nabe_event::{FieldId, Fields, Missing, Value, field};

use crate::print::{Options, print};
use crate::view::{Context, Table};

/// A value that a test owns.
#[derive(Clone, Debug)]
pub(crate) enum Own {
    Missing(Missing),
    Bool(bool),
    Int(i64),
    Uint(u64),
    Text(Vec<u8>),
    Ip(IpAddr),
    Texts(Texts),
    Ints(Ints),
    Pairs(Pairs),
}

#[derive(Clone, Debug)]
pub(crate) struct Texts(pub(crate) Vec<Vec<u8>>);
#[derive(Clone, Debug)]
pub(crate) struct Ints(pub(crate) Vec<i64>);
#[derive(Clone, Debug)]
pub(crate) struct Pairs(pub(crate) BTreeMap<Vec<u8>, Vec<u8>>);

impl List for Texts {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, index: usize) -> Value<'_> {
        self.0.get(index).map_or(Value::Missing(Missing::Unset), |text| Value::Text(text))
    }
}

impl List for Ints {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, index: usize) -> Value<'_> {
        List::get(&*self.0, index)
    }
}

impl Map for Pairs {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        self.0.iter().nth(index).map(|(key, value)| (&**key, &**value))
    }
}

macro_rules! from {
    ($($ty:ty => $variant:ident),*) => { $(
        impl From<$ty> for Own {
            fn from(value: $ty) -> Self {
                Self::$variant(value.into())
            }
        }
    )* };
}
from!(bool => Bool, i64 => Int, i32 => Int, u64 => Uint, u32 => Uint, &str => Text, &[u8] => Text, Vec<u8> => Text, IpAddr => Ip, Missing => Missing, Texts => Texts, Ints => Ints, Pairs => Pairs);

/// A row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row(BTreeMap<FieldId, Own>);

impl Row {
    /// With another value, by the field's name.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Own>) -> Self {
        let field = field::find(name).unwrap_or_else(|| panic!("no field {name}"));
        self.0.insert(field.id, value.into());
        self
    }
}

impl Fields for Row {
    fn get(&self, id: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        match (self.0.get(&id), arg) {
            (Some(Own::Pairs(pairs)), Some(key)) => {
                pairs.0.get(key).map_or(Value::Missing(Missing::Unset), |text| Value::Text(text))
            }
            (None, _) => Value::Missing(Missing::Unset),
            (Some(own), _) => match own {
                Own::Missing(why) => Value::Missing(*why),
                Own::Bool(value) => Value::Bool(*value),
                Own::Int(value) => Value::Int(*value),
                Own::Uint(value) => Value::Uint(*value),
                Own::Text(value) => Value::Text(value),
                Own::Ip(value) => Value::Ip(*value),
                Own::Texts(value) => Value::List(value),
                Own::Ints(value) => Value::List(value),
                Own::Pairs(value) => Value::Map(value),
            },
        }
    }

    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}

/// 2026-11-22 01:00:00 UTC, and two days and a bit of uptime.
pub(crate) fn context() -> Context {
    let now = 1_795_309_200_000_000_000;
    Context::utc(now, now - 200_000_000_000_000)
}

/// A table of `rows` with the columns of `spec`.
pub(crate) fn table(spec: &str, rows: &[Row]) -> Table {
    let mut table = Table::new(crate::Column::parse_list(spec).unwrap());
    for row in rows {
        table.push(row);
    }
    table
}

/// What `table` prints.
pub(crate) fn printed(table: &Table, options: &Options) -> String {
    let mut out = Vec::new();
    print(table, &context(), options, &mut out);
    String::from_utf8(out).unwrap()
}
