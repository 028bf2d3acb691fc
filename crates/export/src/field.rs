//! Fields that several formats read, and their values as plain types.

use core::net::IpAddr;
use std::borrow::Cow;

use nabe_event::field::event;
use nabe_event::raw::Event;
use nabe_event::{FieldId, Fields, Value};

/// A field of the catalogue by its name; these are all in it, which a test holds.
pub(crate) fn id(name: &str) -> FieldId {
    nabe_event::field::find(name).map_or(event::NUM, |field| field.id)
}

pub(crate) fn number(fields: &dyn Fields, field: FieldId) -> Option<i64> {
    match fields.get(field, None) {
        Value::Int(number) => Some(number),
        Value::Uint(number) => i64::try_from(number).ok(),
        Value::Bool(value) => Some(i64::from(value)),
        _ => None,
    }
}

pub(crate) fn text(fields: &dyn Fields, field: FieldId) -> Option<Cow<'_, [u8]>> {
    match fields.get(field, None) {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

pub(crate) fn ip(fields: &dyn Fields, field: FieldId) -> Option<IpAddr> {
    match fields.get(field, None) {
        Value::Ip(address) => Some(address),
        _ => None,
    }
}

/// The text of the parameter `name`.
pub(crate) fn argument<'f>(fields: &'f dyn Fields, name: &str) -> Option<Cow<'f, [u8]>> {
    match fields.get(event::ARG, Some(name.as_bytes())) {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        _ => None,
    }
}

/// The process and its name.
pub(crate) struct Who<'f> {
    pub(crate) pid: i64,
    pub(crate) tid: i64,
    pub(crate) name: Cow<'f, [u8]>,
}

impl<'f> Who<'f> {
    pub(crate) fn of(event: &Event<'_>, fields: &'f dyn Fields) -> Self {
        let pid = number(fields, id("proc.pid")).unwrap_or(event.tid);
        Self { pid, tid: event.tid, name: text(fields, id("proc.name")).unwrap_or_default() }
    }
}

/// How long the system call took in ns, when its beginning was seen.
pub(crate) fn latency(event: &Event<'_>, fields: &dyn Fields) -> Option<u64> {
    if event.id.is_enter() || !event.id.is_syscall() {
        return None;
    }
    let latency = number(fields, id("evt.latency")).and_then(|latency| u64::try_from(latency).ok());
    latency.filter(|latency| *latency > 0)
}

/// Whether the event is the beginning of a system call whose end will tell everything.
pub(crate) fn is_beginning(event: &Event<'_>) -> bool {
    event.id.is_enter() && event.id.is_syscall() && event.id.name() != "procexit"
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_are_in_the_catalogue() {
        for name in super::super::ndjson::FIELDS.iter().map(|(_, name)| *name).chain([
            "proc.pid",
            "proc.name",
            "evt.latency",
            "fd.cip",
            "fd.sip",
            "fd.cport",
            "fd.sport",
            "fd.l4proto",
            "fd.is_server",
            "fd.num",
            "evt.buffer",
            "evt.rawres",
            "evt.io_dir",
            "evt.type",
        ]) {
            assert!(nabe_event::field::find(name).is_some(), "{name}");
        }
    }
}
