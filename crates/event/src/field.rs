//! The field catalogue: the one list of names that filters, columns, JSON keys, completions and
//! the documentation are made from.
//!
//! A field's canonical name is psc's where psc has it (`process.pid`), in the same style where it
//! has not. Names of sysdig and Falco with the same meaning and unit are aliases (`proc.pid`).
//! `file.` and `socket.` are two names for one class, as in psc.

use crate::need::Needs;
use crate::value::Type;

pub mod container;
pub mod file;
pub mod process;

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
}

impl Class {
    /// Every class, in the order in which `nabe fields` prints them.
    pub const ALL: [Self; 3] = [Self::Process, Self::Container, Self::File];

    /// The fields of this class.
    #[must_use]
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Process => process::FIELDS,
            Self::Container => container::FIELDS,
            Self::File => file::FIELDS,
        }
    }

    /// The variable that leads to this class: `process`, `container`, `file`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Container => "container",
            Self::File => "file",
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
            _ => Class::File,
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
    /// Meaning and unit.
    pub doc: &'static str,
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

/// The known name nearest to `wrong`, if one is near enough to be a slip of the keyboard.
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|name| (distance(&wrong.to_ascii_lowercase(), &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
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
        use $crate::field::{Class, Field, FieldId, Show};
        #[allow(unused_imports, reason = "not every class uses every type")]
        use $crate::{need::Needs, symbol, value::{Element, Type}};
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "only counts")]
        #[repr(u8)]
        enum Index { $($ID),* }
        $( #[doc = $doc] pub const $ID: FieldId = FieldId::new(Class::$class, Index::$ID as u8); )*
        /// The fields of this class.
        pub static FIELDS: &[Field] = &[ $( Field {
            id: $ID, name: $name, aliases: &[$($alias),*], ty: $ty, title: $title,
            show: Show::$show, needs: $needs, column: $column, doc: $doc,
        } ),* ];
    };
}
pub(crate) use fields;

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
    }
}
