//! The field catalogue: the one list of names that filters, columns, JSON keys, completions and
//! the documentation are made from.
//!
//! A field's canonical name is psc's where psc has it (`process.pid`), in the same style where it
//! has not. Names of sysdig and Falco with the same meaning and unit are aliases (`proc.pid`).
//! `file.` and `socket.` are two names for one class, as in psc.

use crate::need::Needs;
use crate::value::Type;

pub mod audit;
pub mod container;
pub mod descriptor;
pub mod event;
pub mod file;
pub mod image;
pub mod metadata;
pub mod process;
pub mod thread;

/// A field: an index into the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(u16);

/// What a field is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// A process or, with `--threads`, a thread.
    Process = 0,
    /// The container, pod or unit that a process runs in.
    Container = 1,
    /// An open file descriptor, or a socket that has none.
    File = 2,
    /// An event.
    Event = 3,
    /// The thread of an event, beyond what a snapshot has.
    Thread = 4,
    /// The descriptor of an event, beyond what a snapshot has.
    Descriptor = 5,
    /// The container and the Kubernetes objects of an event, beyond what a snapshot has.
    Metadata = 6,
    /// An event that is no act of the kernel: Kubernetes audit, JSON.
    Audit = 7,
}

impl Class {
    /// Every class, in the order in which `nabe fields` prints them.
    pub const ALL: [Self; 8] = [
        Self::Process,
        Self::Container,
        Self::File,
        Self::Event,
        Self::Thread,
        Self::Descriptor,
        Self::Metadata,
        Self::Audit,
    ];

    /// The classes that a snapshot answers; the others only events do.
    pub const OF_SNAPSHOT: [Self; 3] = [Self::Process, Self::Container, Self::File];

    /// Whether a snapshot answers fields of this class.
    #[must_use]
    pub const fn of_snapshot(self) -> bool {
        matches!(self, Self::Process | Self::Container | Self::File)
    }

    /// The fields of this class.
    #[must_use]
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Process => process::FIELDS,
            Self::Container => container::FIELDS,
            Self::File => file::FIELDS,
            Self::Event => event::FIELDS,
            Self::Thread => thread::FIELDS,
            Self::Descriptor => descriptor::FIELDS,
            Self::Metadata => metadata::FIELDS,
            Self::Audit => audit::FIELDS,
        }
    }

    /// The variable that leads to this class: `process`, `container`, `file`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Container => "container",
            Self::File => "file",
            Self::Event => "event",
            Self::Thread => "thread",
            Self::Descriptor => "descriptor",
            Self::Metadata => "metadata",
            Self::Audit => "audit",
        }
    }
}

impl FieldId {
    /// The field at `index` of `class`.
    #[must_use]
    pub const fn new(class: Class, index: u8) -> Self {
        Self(((class as u16) << 8) | index as u16)
    }

    /// Its class.
    #[must_use]
    pub const fn class(self) -> Class {
        match self.0 >> 8 {
            0 => Class::Process,
            1 => Class::Container,
            2 => Class::File,
            3 => Class::Event,
            4 => Class::Thread,
            5 => Class::Descriptor,
            6 => Class::Metadata,
            _ => Class::Audit,
        }
    }

    /// Its position within its class.
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 & 0xff) as usize
    }

    /// Its entry in the catalogue.
    #[must_use]
    pub const fn field(self) -> &'static Field {
        &self.class().fields()[self.index()]
    }
}

/// How a value is shown to people; machine formats print the plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// As it is.
    Plain,
    /// Bytes, as `1.6M`.
    Size,
    /// Nanoseconds since boot, as a time of day or a date.
    BootTime,
    /// Nanoseconds, as `1d02h` or `3.2s`.
    Span,
    /// A fraction of one CPU in hundredths of a per cent, as `12.5`.
    Percent,
    /// A mask as 16 hexadecimal digits.
    Hex,
    /// Permission bits in octal.
    Octal,
}

/// An entry of the catalogue.
#[derive(Debug)]
pub struct Field {
    /// Its id.
    pub id: FieldId,
    /// Canonical name, such as `process.pid`.
    pub name: &'static str,
    /// Other names with the same meaning and unit.
    pub aliases: &'static [&'static str],
    /// Its type in expressions.
    pub ty: Type,
    /// The column title; psc's where psc has the field.
    pub title: &'static str,
    /// How it is shown to people.
    pub show: Show,
    /// Collectors that must run to know it.
    pub needs: Needs,
    /// Whether it can be a column.
    pub column: bool,
    /// Whether it takes an argument in brackets.
    pub arg: Arg,
    /// What else is to be known of it.
    pub marks: Marks,
    /// Meaning and unit.
    pub doc: &'static str,
}

/// Whether a field takes an argument in brackets, or behind a further dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// It takes none. A field of type [`Type::Map`] takes a key all the same.
    None,
    /// With or without.
    Allowed,
    /// Without one it has no value.
    Required,
}

/// What else is to be known of a field: sysdig's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Kept for old filters.
    pub const DEPRECATED: Self = Self(1);
    /// Several values at once.
    pub const LIST: Self = Self(1 << 1);
    /// For filters, not for output.
    pub const FILTER_ONLY: Self = Self(1 << 2);
    /// For output, not for filters.
    pub const PRINT_ONLY: Self = Self(1 << 3);
    /// For views, not listed by sysdig.
    pub const TABLE_ONLY: Self = Self(1 << 4);
    /// Cannot stand on the right of a comparison.
    pub const NO_RHS: Self = Self(1 << 5);
    /// Takes no transformer.
    pub const NO_TRANSFORMER: Self = Self(1 << 6);
    /// Its value does not outlive the next one (libsinsp's word for it).
    pub const NO_PTR_STABILITY: Self = Self(1 << 7);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Field {
    /// The unit of the plain value, if it has one.
    #[must_use]
    pub const fn unit(&self) -> Option<&'static str> {
        match self.show {
            Show::Size => Some("bytes"),
            Show::BootTime => Some("ns since boot"),
            Show::Span => Some("ns"),
            Show::Percent => Some("1/100 % of one CPU"),
            _ => None,
        }
    }
}

/// Every field, class by class.
pub fn all() -> impl Iterator<Item = &'static Field> {
    Class::ALL.into_iter().flat_map(|class| class.fields())
}

/// The field with this name or alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static Field> {
    let file_name;
    let name = match name.strip_prefix("socket.") {
        Some(rest) => {
            file_name = format!("file.{rest}");
            &file_name
        }
        None => name,
    };
    all().find(|field| field.name == name || field.aliases.contains(&name))
}

/// All names and aliases, for completions and "nearest name" hints.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().flat_map(|field| core::iter::once(field.name).chain(field.aliases.iter().copied()))
}

/// The known name nearest to `wrong`, if one is near enough to be a slip of the keyboard. What both
/// share up to a dot is no sign of nearness: `process.foo` is not near to `process.pid`.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_ascii_lowercase();
    known
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_ascii_lowercase();
            let same = wrong.bytes().zip(lower.bytes()).take_while(|(a, b)| a == b).count();
            let shared =
                wrong.as_bytes().get(..same)?.iter().rposition(|b| *b == b'.').map_or(0, |dot| dot + 1);
            let (wrong, lower) = (wrong.get(shared..)?, lower.get(shared..)?);
            let distance = distance(wrong, lower);
            (distance <= (wrong.chars().count() / 3).clamp(1, 4)).then_some((distance, name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Optimal string alignment distance: insertions, deletions, replacements, neighbours swapped.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = core::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Defines the fields of one class: their ids as constants and their entries as a table.
macro_rules! fields {
    ($class:ident; $( $ID:ident = $name:literal [$($alias:literal),*] $ty:expr, $title:literal, $show:ident, $needs:expr, $column:ident, $doc:literal; )*) => {
        use $crate::field::{Arg, Class, Field, FieldId, Marks, Show};
        #[allow(unused_imports, reason = "not every class uses every type")]
        use $crate::{need::Needs, symbol, value::{Element, Type}};
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "only counts")]
        #[repr(u8)]
        enum Index { $($ID),* }
        $( #[doc = $doc] pub const $ID: FieldId = FieldId::new(Class::$class, Index::$ID as u8); )*
        /// The fields of this class.
        pub static FIELDS: &[Field] = &[ $( Field {
            id: $ID, name: $name, aliases: &[$($alias),*], ty: $ty, title: $title,
            show: Show::$show, needs: $needs, column: $column, arg: Arg::None, marks: Marks::NONE, doc: $doc,
        } ),* ];
    };
}
pub(crate) use fields;

/// Defines the fields of a class that only events answer: sysdig's names, argument and flags.
macro_rules! stream_fields {
    ($class:ident; $( $ID:ident = $name:literal $ty:expr, $show:ident, $arg:ident, ($($mark:ident)*), $doc:literal; )*) => {
        use $crate::field::{Arg, Class, Field, FieldId, Marks, Show};
        #[allow(unused_imports, reason = "not every class uses every type")]
        use $crate::{need::Needs, value::{Element, Type}};
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "only counts")]
        #[repr(u8)]
        enum Index { $($ID),* }
        $( #[doc = $doc] pub const $ID: FieldId = FieldId::new(Class::$class, Index::$ID as u8); )*
        /// The fields of this class.
        pub static FIELDS: &[Field] = &[ $( Field {
            id: $ID, name: $name, aliases: &[], ty: $ty, title: $name, show: Show::$show,
            // No collector: the event carries it, or what was learnt from events before it.
            needs: Needs::TASK, column: true, arg: Arg::$arg,
            marks: Marks::NONE$(.and(Marks::$mark))*, doc: $doc,
        } ),* ];
    };
}
pub(crate) use stream_fields;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_ids_find_their_field() {
        let mut seen = HashSet::new();
        for name in names() {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(!name.starts_with("socket."), "{name}: find() maps socket. to file.");
        }
        for field in all() {
            assert_eq!(field.id.field().name, field.name);
            assert!(std::ptr::eq(find(field.name).unwrap(), field));
            assert!(!field.doc.is_empty() && !field.needs.is_empty(), "{}", field.name);
        }
    }

    #[test]
    fn socket_is_another_name_of_file() {
        assert_eq!(find("socket.state").unwrap().id, file::STATE);
        assert_eq!(find("proc.pid").unwrap().id, process::PID);
        assert!(find("process.nothing").is_none());
    }

    #[test]
    fn nearest_name_is_found() {
        assert_eq!(nearest("process.pidd", names()), Some("process.pid"));
        assert_eq!(nearest("process.nmae", names()), Some("process.name"));
        assert_eq!(nearest("frobnicate", names()), None);
        assert_eq!(nearest("process.foo", names()), None);
    }
}
