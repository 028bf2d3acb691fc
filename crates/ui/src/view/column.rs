//! Columns: what is read from a row, under which title, and how it reads.

use std::borrow::Cow;

use nabe_event::field::{self, Class, Field, Show, container, file, process};
use nabe_event::symbol::{self, Symbols};
use nabe_event::{FieldId, Fields, Missing, Needs, Type, Value, preset};

use crate::Error;
use crate::view::cell::{pack, pack_text};

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A field.
    Field(FieldId),
    /// The container in short, `name:id:runtime`, printed in parentheses behind the column before.
    Container,
    /// How many rows a group has. Only [`crate::view::Groups`] fills it.
    Count,
}

/// What numbers of a column stand for. Some names depend on other fields of the same row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    Symbol(&'static Symbols),
    SocketType,
    SocketState,
    Protocol,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// What it shows.
    pub source: Source,
    /// The key in brackets, for a field that is a map.
    pub arg: Option<Box<[u8]>>,
    /// Its title for people.
    pub title: Cow<'static, str>,
    /// Its name in machine formats: as it was asked for.
    pub key: Cow<'static, str>,
    pub(crate) role: Role,
    /// How its values are shown to people.
    pub(crate) show: Show,
}

impl Column {
    /// The column of a field.
    #[must_use]
    pub fn new(id: FieldId) -> Self {
        let field = id.field();
        let role = match field.ty {
            Type::Symbol(_) if id == file::TYPE => Role::SocketType,
            Type::Symbol(_) if id == file::STATE => Role::SocketState,
            Type::Symbol(_) if id == file::PROTOCOL => Role::Protocol,
            Type::Symbol(symbols) => Role::Symbol(symbols),
            _ => Role::Plain,
        };
        let show = match (field.ty, field.show) {
            (Type::Mask(_), Show::Plain) => Show::Hex,
            (Type::Duration, Show::Plain) => Show::Span,
            (_, show) => show,
        };
        let (title, key) = (field.title.into(), field.name.into());
        Self { source: Source::Field(id), arg: None, title, key, role, show }
    }

    /// The columns of a list of fields.
    #[must_use]
    pub fn list(ids: &[FieldId]) -> Vec<Self> {
        ids.iter().copied().map(Self::new).collect()
    }

    /// The columns of the default table under its own titles, without the container.
    #[must_use]
    pub fn default_table() -> Vec<Self> {
        let mut columns = Self::list(preset::DEFAULT);
        for column in &mut columns {
            let own = preset::DEFAULT_TITLES.iter().find(|(id, _)| column.source == Source::Field(*id));
            if let Some((_, title)) = own {
                column.title = (*title).into();
            }
        }
        columns
    }

    /// The container in short.
    #[must_use]
    pub fn container() -> Self {
        Self::special(Source::Container, "(CONTAINER)", "container")
    }

    /// The number of rows of a group.
    #[must_use]
    pub fn count() -> Self {
        Self::special(Source::Count, "COUNT", "count")
    }

    fn special(source: Source, title: &'static str, key: &'static str) -> Self {
        let (title, key) = (title.into(), key.into());
        Self { source, arg: None, title, key, role: Role::Plain, show: Show::Plain }
    }

    /// Its field, if it shows one.
    #[must_use]
    pub const fn field(&self) -> Option<&'static Field> {
        match self.source {
            Source::Field(id) => Some(id.field()),
            Source::Container | Source::Count => None,
        }
    }

    /// What must be collected to fill it.
    #[must_use]
    pub fn needs(&self) -> Needs {
        match self.source {
            Source::Field(id) => id.field().needs,
            Source::Container => container::NAME.field().needs,
            Source::Count => Needs::NONE,
        }
    }

    /// Whether it holds numbers that are compared by eye: these stand to the right.
    #[must_use]
    pub fn is_number(&self) -> bool {
        match self.source {
            Source::Field(id) => {
                let field = id.field();
                let number = matches!(field.ty, Type::Int | Type::Uint | Type::Duration);
                number && !matches!(field.show, Show::BootTime | Show::Hex)
            }
            Source::Container => false,
            Source::Count => true,
        }
    }

    /// Whether its values may be cut when there is no room.
    #[must_use]
    pub fn is_text(&self) -> bool {
        match self.source {
            Source::Field(id) => {
                matches!(id.field().ty, Type::Text | Type::Ip | Type::List(_) | Type::Map)
            }
            Source::Container => true,
            Source::Count => false,
        }
    }

    /// Whether its values of several rows may be added up: sizes, times and counters.
    #[must_use]
    pub fn is_sum(&self) -> bool {
        let counters = [
            process::THREADS,
            process::MINFLT,
            process::MAJFLT,
            process::FD_COUNT,
            file::RX_QUEUE,
            file::TX_QUEUE,
        ];
        match self.source {
            Source::Field(id) => {
                matches!(id.field().show, Show::Size | Show::Span | Show::Percent) || counters.contains(&id)
            }
            Source::Count => true,
            Source::Container => false,
        }
    }

    /// The columns that `spec` names: presets and fields mixed, separated by commas. A field is
    /// given by its name, an alias, the last part of its name (`rss`) or its title (`nlwp`), a map's
    /// entry with a key in brackets (`container.labels["app"]`).
    ///
    /// # Errors
    /// The first part that is no column.
    pub fn parse_list(spec: &str) -> Result<Vec<Self>, Error> {
        let mut columns: Vec<Self> = Vec::new();
        for part in split(spec) {
            if part.is_empty() {
                return Err(Error::Empty { what: "column", list: spec.to_owned() });
            }
            match preset::find(part) {
                Some(preset) => {
                    for column in preset.columns.iter().copied().map(Self::new) {
                        // Two presets share their first columns.
                        if !columns.iter().any(|known| known.same(&column)) {
                            columns.push(column);
                        }
                    }
                }
                None => {
                    let column = Self::parse(part, "column")?;
                    // Keys of an object are unique.
                    if !columns.iter().any(|known| known.key == column.key) {
                        columns.push(column);
                    }
                }
            }
        }
        Ok(columns)
    }

    /// The column that `name` names; `what` is the word for it in errors.
    ///
    /// # Errors
    /// The name is no field's, or the field has no text.
    pub fn parse(name: &str, what: &'static str) -> Result<Self, Error> {
        let (bare, arg) = match name.split_once('[') {
            Some((bare, rest)) => {
                let inner =
                    rest.strip_suffix(']').ok_or_else(|| Error::Brackets { name: name.to_owned() })?;
                (bare.trim_end(), Some(unquote(inner.trim())))
            }
            None => (name, None),
        };
        let field = find(bare).ok_or_else(|| unknown(what, bare))?;
        if !field.column {
            return Err(Error::NotAColumn { what, name: name.to_owned() });
        }
        let mut column = Self::new(field.id);
        column.key = name.to_owned().into();
        if let Some(arg) = arg {
            if field.ty != Type::Map {
                return Err(Error::NoKey { name: bare.to_owned() });
            }
            column.title = format!("{}[{arg}]", field.title).into();
            column.arg = Some(arg.as_bytes().into());
        }
        Ok(column)
    }

    /// Whether both show the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.source == other.source && self.arg == other.arg
    }

    /// Reads the value from `row` and packs it; texts keep at most `limit` bytes.
    pub(crate) fn read(&self, row: &dyn Fields, out: &mut Vec<u8>, limit: usize) {
        let Source::Field(id) = self.source else {
            return read_container(row, out, limit);
        };
        let value = row.get(id, self.arg.as_deref());
        let number = match value {
            Value::Uint(number) => number,
            Value::Int(number) if self.role != Role::Plain => number as u64,
            _ => return pack(out, &value, limit),
        };
        let name = match self.role {
            Role::Plain => None,
            Role::Symbol(symbols) => symbols.name(number),
            Role::SocketType => {
                socket_type(number, number_of(row, file::FAMILY), number_of(row, file::PROTOCOL))
            }
            Role::SocketState => {
                socket_state(number, number_of(row, file::FAMILY), number_of(row, file::TYPE))
            }
            Role::Protocol => protocol(number, number_of(row, file::FAMILY)),
        };
        match name {
            Some(name) => pack_text(out, name.as_bytes(), limit),
            None => pack(out, &value, limit),
        }
    }
}

/// The name of a socket's type as people know it.
fn socket_type(kind: u64, family: Option<u64>, protocol: Option<u64>) -> Option<&'static str> {
    let plain = symbol::SOCKET_TYPE.name(kind);
    let named = match (family, kind, protocol) {
        // Datagram and stream sockets of protocol 0 have the default one; raw ones are just raw.
        (Some(INET | INET6), 1, Some(0)) => symbol::PROTOCOL.name(6),
        (Some(INET | INET6), 2, Some(0)) => symbol::PROTOCOL.name(17),
        (Some(INET | INET6), 3, _) => plain,
        (Some(INET | INET6), _, Some(number)) => symbol::PROTOCOL.name(number),
        (Some(NETLINK), _, Some(number)) => symbol::NETLINK.name(number),
        _ => plain,
    };
    named.or(plain)
}

/// The name of a socket's state as `ss` prints it: what TCP calls CLOSE is UNCONN elsewhere.
fn socket_state(state: u64, family: Option<u64>, kind: Option<u64>) -> Option<&'static str> {
    let tcp = matches!(family, Some(INET | INET6) | None) && matches!(kind, Some(1) | None);
    if state == CLOSE && !tcp { Some("UNCONN") } else { symbol::SOCKET_STATE.name(state) }
}

/// The name of a protocol in its family.
fn protocol(number: u64, family: Option<u64>) -> Option<&'static str> {
    match family {
        Some(INET | INET6) => symbol::PROTOCOL.name(number),
        Some(NETLINK) => symbol::NETLINK.name(number),
        _ => None,
    }
}

const INET: u64 = 2;
const INET6: u64 = 10;
const NETLINK: u64 = 16;
const CLOSE: u64 = 7;

pub(crate) fn number_of(row: &dyn Fields, id: FieldId) -> Option<u64> {
    match row.get(id, None) {
        Value::Uint(number) => Some(number),
        Value::Int(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

pub(crate) fn text_of(row: &dyn Fields, id: FieldId) -> &[u8] {
    match row.get(id, None) {
        Value::Text(text) => text,
        _ => &[],
    }
}

fn read_container(row: &dyn Fields, out: &mut Vec<u8>, limit: usize) {
    let id = text_of(row, container::ID);
    if id.is_empty() || id == container::HOST {
        return pack(out, &Value::Missing(Missing::Unset), limit);
    }
    let (name, runtime) = (text_of(row, container::NAME), text_of(row, container::RUNTIME));
    pack_text(out, &container_label(name, id, runtime), limit);
}

/// `name:id:runtime`, as psc prints it.
pub(crate) fn container_label(name: &[u8], id: &[u8], runtime: &[u8]) -> Vec<u8> {
    let name = if name.is_empty() { id } else { name };
    [name, id, runtime].join(&b':')
}

/// The field that `name` means: a name, an alias, the last part of a name, a title.
fn find(name: &str) -> Option<&'static Field> {
    let first = |is: &dyn Fn(&Field) -> bool| {
        Class::OF_SNAPSHOT.iter().flat_map(|class| class.fields()).find(|field| field.column && is(field))
    };
    field::find(name)
        .filter(|field| field.id.class().of_snapshot())
        .or_else(|| first(&|field| short(field.name).is_some_and(|short| short.eq_ignore_ascii_case(name))))
        .or_else(|| first(&|field| field.title.eq_ignore_ascii_case(name)))
}

/// `process.namespaces.net` → `namespaces.net`; `process.rss` → `rss`.
fn short(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, short)| short)
}

fn unknown(what: &'static str, name: &str) -> Error {
    let mut known: Vec<&str> = preset::PRESETS.iter().map(|preset| preset.name).collect();
    let columns = field::all().filter(|field| field.column && field.id.class().of_snapshot());
    known.extend(columns.flat_map(|field| {
        core::iter::once(field.name).chain(field.aliases.iter().copied()).chain(short(field.name))
    }));
    // What is a typing error in the second half of `socket.x` is one in `file.x`.
    let Some(rest) = name.strip_prefix("socket.") else { return Error::unknown(what, name, known) };
    match Error::unknown(what, &format!("file.{rest}"), known) {
        Error::Unknown { nearest, .. } => Error::Unknown {
            what,
            name: name.to_owned(),
            nearest: nearest.map(|near| match near.strip_prefix("file.") {
                Some(rest) => format!("socket.{rest}"),
                None => near,
            }),
        },
        other => other,
    }
}

/// The parts between commas that stand in no brackets and no quotes.
pub(crate) fn split(list: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut quote) = (0u32, None);
    list.split(move |c: char| {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') if depth > 0 => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}
