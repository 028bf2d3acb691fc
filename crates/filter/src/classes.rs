//! What a filter may speak of: the classes of fields that its subjects answer.

use nabe_event::FieldId;
use nabe_event::field::{Class, Field, event as e};

use crate::diagnostic::Error;
use crate::span::Span;

/// The fields that a filter may name: those of some classes.
///
/// Sources of events differ in what they answer. An event of the kernel has a thread, a descriptor
/// and a container; an event of another source (Kubernetes audit, JSON) has fields of its own and,
/// of `evt.`, those that every event has: its number, its times and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// A bit for each class.
    bits: u32,
    /// Whether the fields that every event has are there, whatever the classes.
    generic: bool,
    /// What the subjects are called in messages.
    what: &'static str,
}

impl Classes {
    /// Subjects of a snapshot: processes, containers, descriptors.
    pub const SNAPSHOT: Self = Self::set(&Class::OF_SNAPSHOT, false, "snapshots");

    /// Events of the kernel, of the source `syscall`.
    pub const SYSCALL: Self = Self::set(
        &[
            Class::Process,
            Class::Container,
            Class::File,
            Class::Event,
            Class::Thread,
            Class::Descriptor,
            Class::Metadata,
        ],
        true,
        "system calls' events",
    );

    /// Events of another source, called `source` in messages, that answers fields of `classes` and
    /// the fields that every event has.
    #[must_use]
    pub const fn of_source(source: &'static str, classes: &[Class]) -> Self {
        Self::set(classes, true, source)
    }

    const fn set(classes: &[Class], generic: bool, what: &'static str) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < classes.len() {
            bits |= 1 << classes[at] as u32;
            at += 1;
        }
        Self { bits, generic, what }
    }

    /// Whether the field can be asked for.
    #[must_use]
    pub fn contains(self, field: FieldId) -> bool {
        self.has(field.class()) || self.generic && GENERIC.contains(&field)
    }

    /// Whether all fields of the class can be asked for.
    #[must_use]
    pub const fn has(self, class: Class) -> bool {
        self.bits >> class as u32 & 1 == 1
    }

    /// Whether subjects are events of the kernel.
    pub(crate) const fn of_events(self) -> bool {
        self.has(Class::Event)
    }

    /// The fields that can be asked for.
    pub(crate) fn fields(self) -> impl Iterator<Item = &'static Field> {
        nabe_event::field::all().filter(move |field| self.contains(field.id))
    }

    /// Their names and aliases.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        self.fields().flat_map(|field| core::iter::once(field.name).chain(field.aliases.iter().copied()))
    }

    /// The error of a field that is known, but not here.
    pub(crate) fn refuse(self, name: &str, field: FieldId, span: Span) -> Box<Error> {
        if self == Self::SNAPSHOT && Self::SYSCALL.contains(field) {
            let error = Error::new(span, format!("`{name}` is a field of events"));
            return error.hint("`nabe replay` reads events; `nabe ps` has none");
        }
        let error = Error::new(span, format!("`{name}` is no field of {}", self.what));
        let of = if Self::SYSCALL.contains(field) { "system calls' events" } else { "another source" };
        error.hint(format!("it is a field of {of}"))
    }
}

/// Fields that every event has, whatever its source.
static GENERIC: &[FieldId] = &[
    e::NUM,
    e::TIME,
    e::TIME_S,
    e::TIME_ISO8601,
    e::DATETIME,
    e::DATETIME_S,
    e::RAWTIME,
    e::RAWTIME_S,
    e::RAWTIME_NS,
    e::RELTIME,
    e::RELTIME_S,
    e::RELTIME_NS,
    e::OUTPUTTIME,
    e::PLUGINNAME,
    e::PLUGININFO,
    e::SOURCE,
    e::IS_ASYNC,
    e::ASYNCTYPE,
    e::HOSTNAME,
];

#[cfg(test)]
mod tests {
    use nabe_event::field::process as p;

    use super::*;

    #[test]
    fn a_source_has_its_own_fields_and_those_of_every_event() {
        let files = Classes::of_source("files", &[Class::File]);
        for (classes, field, known) in [
            (Classes::SNAPSHOT, p::PID, true),
            (Classes::SNAPSHOT, e::TYPE, false),
            (Classes::SNAPSHOT, e::NUM, false),
            (Classes::SYSCALL, p::PID, true),
            (Classes::SYSCALL, e::TYPE, true),
            (files, p::PID, false),
            (files, e::TYPE, false),
            (files, e::SOURCE, true),
        ] {
            assert_eq!(classes.contains(field), known, "{classes:?} {}", field.field().name);
        }
    }
}
