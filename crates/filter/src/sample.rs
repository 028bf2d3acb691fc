//! Subjects made of a map, for tests, benches and fuzzing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nabe_event::field::{container as c, file as f, process as p};
use nabe_event::value::{List, Map};
use nabe_event::{FieldId, Fields, Missing, Value};

/// A value that a [`Sample`] owns.
#[derive(Clone, Debug)]
pub enum Owned {
    /// No value.
    Missing(Missing),
    /// True or false.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// Text.
    Text(Vec<u8>),
    /// An address.
    Ip(IpAddr),
    /// Numbers.
    Ints(Numbers),
    /// Texts.
    Texts(Texts),
    /// Text to text.
    Map(Entries),
}

/// A list of numbers.
#[derive(Clone, Debug, Default)]
pub struct Numbers(pub Vec<i64>);

impl List for Numbers {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, index: usize) -> Value<'_> {
        List::get(self.0.as_slice(), index)
    }
}

/// A list of texts.
#[derive(Clone, Debug, Default)]
pub struct Texts(pub Vec<Vec<u8>>);

impl List for Texts {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn get(&self, index: usize) -> Value<'_> {
        self.0.get(index).map_or(Value::Missing(Missing::Unset), |text| Value::Text(text))
    }
}

/// A map of texts.
#[derive(Clone, Debug, Default)]
pub struct Entries(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Map for Entries {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        self.0.iter().nth(index).map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }
}

impl From<bool> for Owned {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Owned {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Owned {
    fn from(value: u64) -> Self {
        Self::Uint(value)
    }
}

impl From<&str> for Owned {
    fn from(value: &str) -> Self {
        Self::Text(value.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Owned {
    fn from(value: &[u8]) -> Self {
        Self::Text(value.to_vec())
    }
}

impl From<IpAddr> for Owned {
    fn from(value: IpAddr) -> Self {
        Self::Ip(value)
    }
}

impl From<Missing> for Owned {
    fn from(value: Missing) -> Self {
        Self::Missing(value)
    }
}

impl From<&[i64]> for Owned {
    fn from(value: &[i64]) -> Self {
        Self::Ints(Numbers(value.to_vec()))
    }
}

impl From<&[&str]> for Owned {
    fn from(value: &[&str]) -> Self {
        Self::Texts(Texts(value.iter().map(|text| text.as_bytes().to_vec()).collect()))
    }
}

impl From<&[(&str, &str)]> for Owned {
    fn from(value: &[(&str, &str)]) -> Self {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Self::Map(Entries(value.iter().map(|(key, value)| (bytes(key), bytes(value))).collect()))
    }
}

/// A subject whose fields are what they were set to; all others are `Missing::Subject`.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    fields: BTreeMap<FieldId, Owned>,
    related: BTreeMap<FieldId, Vec<Sample>>,
}

impl Sample {
    /// Sets a field.
    #[must_use]
    pub fn with(mut self, field: FieldId, value: impl Into<Owned>) -> Self {
        self.fields.insert(field, value.into());
        self
    }

    /// Sets what a relation leads to.
    #[must_use]
    pub fn related(mut self, relation: FieldId, items: Vec<Self>) -> Self {
        self.related.insert(relation, items);
        self
    }

    /// Sets the fields of another sample too.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.fields.extend(other.fields.iter().map(|(field, value)| (*field, value.clone())));
        self.related.extend(other.related.iter().map(|(field, items)| (*field, items.clone())));
        self
    }
}

impl Fields for Sample {
    fn get(&self, field: FieldId, _arg: Option<&[u8]>) -> Value<'_> {
        match self.fields.get(&field) {
            None => Value::Missing(Missing::Subject),
            Some(Owned::Missing(why)) => Value::Missing(*why),
            Some(Owned::Bool(value)) => Value::Bool(*value),
            Some(Owned::Int(value)) => Value::Int(*value),
            Some(Owned::Uint(value)) => Value::Uint(*value),
            Some(Owned::Text(value)) => Value::Text(value),
            Some(Owned::Ip(value)) => Value::Ip(*value),
            Some(Owned::Ints(value)) => Value::List(value),
            Some(Owned::Texts(value)) => Value::List(value),
            Some(Owned::Map(value)) => Value::Map(value),
        }
    }

    fn related(&self, relation: FieldId, visit: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        let items = self.related.get(&relation)?;
        let mut visited = 0;
        for item in items {
            visited += 1;
            if !visit(item) {
                break;
            }
        }
        Some(visited)
    }
}

/// A subject with a value of every kind, and one of every reason why there is none.
#[must_use]
pub fn fixed() -> Sample {
    let labels: &[(&str, &str)] = &[("app", "web")];
    let listener = Sample::default()
        .with(f::FD, 6_i64)
        .with(f::FD_TYPE, 2_u64)
        .with(f::FAMILY, 2_u64)
        .with(f::STATE, 10_u64)
        .with(f::SRC_PORT, 443_i64)
        .with(f::SRC_ADDR, IpAddr::from([127, 0, 0, 1]))
        .with(f::PATH, "socket:[77]")
        .with(f::UNIX_PATH, Missing::Unset);
    let log = Sample::default()
        .with(f::FD, 3_i64)
        .with(f::FD_TYPE, 1_u64)
        .with(f::PATH, &b"/var/log/a\xff.log"[..])
        .with(f::STATE, Missing::Unset);
    Sample::default()
        .with(p::NAME, "nginx")
        .with(p::PID, 1234_i64)
        .with(p::EUID, 0_i64)
        .with(p::STATE, 1_u64)
        .with(p::RSS, 12_000_000_u64)
        .with(p::AGE, 7_200_000_000_001_i64)
        .with(p::CMDLINE, "nginx: master process /usr/sbin/nginx -g daemon off;")
        .with(p::ARGS, &["nginx", "-g", "daemon off;"][..])
        .with(p::KTHREAD, false)
        .with(p::CAP_EFFECTIVE, 1_u64 << 21)
        .with(p::EXE, Missing::Unread(13))
        .with(c::ID, "355e4bf5d63d")
        .with(c::NAME, Missing::Pending)
        .with(c::RUNTIME, "docker")
        .with(c::LABELS, labels)
        .related(p::FILES, vec![log, listener.clone()])
        .and(&listener)
}
