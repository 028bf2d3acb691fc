//! Fields of the container of a process.

use nabe_event::FieldId;
use nabe_event::field::container as c;
use nabe_event::record::ContainerText;
use nabe_event::value::{List, Map, Missing, Value};

use super::{Process, Texts};
use crate::snapshot::{CgroupSet, Facts};

impl Map for Facts {
    fn len(&self) -> usize {
        self.labels.len()
    }
    fn entry(&self, index: usize) -> Option<(&[u8], &[u8])> {
        self.labels.get(index).map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let at = self.labels.binary_search_by(|(known, _)| known.as_slice().cmp(key)).ok()?;
        self.labels.get(at).map(|(_, value)| value.as_slice())
    }
}

struct NoLabels;

impl Map for NoLabels {
    fn len(&self) -> usize {
        0
    }
    fn entry(&self, _: usize) -> Option<(&[u8], &[u8])> {
        None
    }
}

impl List for CgroupSet {
    fn len(&self) -> usize {
        self.pids.len()
    }
    fn get(&self, index: usize) -> Value<'_> {
        self.pids.get(index).map_or(Value::Missing(Missing::Unset), |pid| Value::Int(*pid))
    }
}

impl Process<'_> {
    pub(super) fn container_field(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        let text = |which| Value::Text(self.fact(which));
        match field {
            // Whose cgroups could not be read may be anywhere.
            _ if self.set.is_none() && c::says_host(field) => Value::Missing(Missing::Unread(0)),
            _ if !self.in_container() && c::says_host(field) => Value::Text(c::HOST),
            c::ID => Value::Text(short_id(self.fact(ContainerText::Id))),
            c::FULL_ID => text(ContainerText::Id),
            c::NAME => text(ContainerText::Name),
            c::IMAGE => text(ContainerText::Image),
            c::IMAGE_ID => text(ContainerText::ImageId),
            c::RUNTIME => text(ContainerText::Runtime),
            c::POD => text(ContainerText::Pod),
            c::POD_NAMESPACE => text(ContainerText::PodNamespace),
            c::POD_UID => text(ContainerText::PodUid),
            c::LABELS => match (self.facts(), arg) {
                (Some(facts), Some(key)) => {
                    Map::get(facts, key).map_or(Value::Missing(Missing::Unset), Value::Text)
                }
                (Some(facts), None) => Value::Map(facts),
                (None, Some(_)) => Value::Missing(Missing::Unset),
                (None, None) => Value::Map(&NoLabels),
            },
            c::PIDS => match self.set {
                Some(set) if self.in_container() => Value::List(set),
                _ => Value::List(const { &Texts(Vec::new()) }),
            },
            _ => Value::Missing(Missing::Unset),
        }
    }
}

/// 12 characters of a hexadecimal id; a name whole.
fn short_id(id: &[u8]) -> &[u8] {
    match id.get(..12) {
        Some(short) if id.len() >= 32 && id.iter().all(u8::is_ascii_hexdigit) => short,
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_cut_and_names_are_not() {
        assert_eq!(short_id(&[b'a'; 64]), b"aaaaaaaaaaaa");
        assert_eq!(
            short_id(b"my-long-container-name-of-lxc-with-40-ch"),
            b"my-long-container-name-of-lxc-with-40-ch"
        );
    }
}
