//! View files: TOML to a [`Spec`]. The format is described in `docs/views.md`.
//!
//! Everything that can be wrong is found here, before an event is read: unknown keys, fields,
//! operations and units, filters that do not compile, templates that do not close. A message names
//! the file, the line, what is wrong, and the mend.

use core::ops::Range;

use nabe_event::field::nearest;
use nabe_filter::{Lang, Program};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::aggregate::Operation;
use crate::field::{FieldError, Reader};
use crate::template::Template;
use crate::unit::Unit;

/// The longest view file, in bytes.
pub(crate) const MAX_BYTES: usize = 1 << 16;
/// The most columns that a view has.
pub(crate) const MAX_COLUMNS: usize = 64;

/// A view file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct SpecError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
    /// How to mend it, where that is known.
    pub hint: Option<String>,
}

/// What a view makes of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Rows by key.
    #[default]
    Table,
    /// A row for each event.
    List,
    /// A line of text for each event.
    Lines,
}

const KINDS: [(&str, Kind); 3] = [("table", Kind::Table), ("list", Kind::List), ("lines", Kind::Lines)];

/// A word that the user gives behind the view's name; `{name}` in filter, fields and titles is
/// replaced by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What it means.
    pub about: String,
    /// Its value when it is not given; without one it must be given.
    pub default: Option<String>,
}

/// A column of a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnSpec {
    /// What stands above it.
    pub title: String,
    /// The fields it reads; several only with `distinct`.
    pub fields: Vec<String>,
    /// What is made of them; without, the column is part of the key.
    pub operation: Option<Operation>,
    /// What is made of the results when rows are merged by the view's `group`.
    pub regroup: Operation,
    /// How its numbers are written.
    pub unit: Unit,
    /// Characters that it takes; 0 for the rest of the line.
    pub width: usize,
    /// Not shown.
    pub hidden: bool,
    /// Events whose value is not above zero do not count at all.
    pub positive: bool,
    /// Events without a value do not count at all, even where the view has `defaults`.
    pub required: bool,
    /// Only there when containers are asked for.
    pub containers: bool,
}

/// A view as a file declares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// What else is to be known of it.
    pub about: String,
    /// The heading that it is listed under.
    pub category: String,
    /// What it makes of events.
    pub kind: Kind,
    /// Which events it takes; empty for all.
    pub filter: String,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// Its columns.
    pub columns: Vec<ColumnSpec>,
    /// The field by which rows are merged once they are counted.
    pub group: Option<String>,
    /// The title that rows are sorted by, behind `-` the largest first. The first column with an
    /// operation when it is not given.
    pub sort: Option<String>,
    /// Rows that are shown; 0 for all.
    pub limit: usize,
    /// Missing numbers are 0 and missing texts empty, instead of leaving the event out.
    pub defaults: bool,
    /// Each thread that is there when the table is made counts as an event without values.
    pub threads: bool,
    /// Whether the table is printed with a rule below its titles.
    pub ruled: bool,
    /// Whether the table is printed without titles, a tab between the cells.
    pub bare: bool,
    /// Bytes of payload that it wants to see; 0 when it reads none.
    pub snaplen: u32,
    /// What stands above all lines.
    pub header: String,
    /// The line of an event.
    pub line: String,
    /// What stands below all lines.
    pub footer: String,
}

const KEYS: &[&str] = &[
    "name", "summary", "about", "category", "kind", "filter", "argument", "column", "group", "sort", "limit",
    "defaults", "threads", "ruled", "bare", "snaplen", "header", "line", "footer",
];
const COLUMN_KEYS: &[&str] = &[
    "title",
    "field",
    "fields",
    "operation",
    "regroup",
    "unit",
    "width",
    "hidden",
    "positive",
    "required",
    "containers",
];
const ARGUMENT_KEYS: &[&str] = &["name", "about", "default"];

type Table<'i> = DeTable<'i>;
type Item<'i> = Spanned<DeValue<'i>>;

/// The text of a file, for places of errors.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, at: Range<usize>, problem: impl Into<String>) -> SpecError {
        let before = self.text.as_bytes().get(..at.start).unwrap_or(self.text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        SpecError { file: self.file.to_owned(), line, problem: problem.into(), hint: None }
    }

    fn unknown(&self, at: Range<usize>, what: &str, word: &str, known: &[&str]) -> SpecError {
        let near = nearest(word, known.iter().copied());
        let hint = near.map_or_else(
            || format!("one of: {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        SpecError { hint: Some(hint), ..self.error(at, format!("unknown {what} `{word}`")) }
    }

    fn keys(&self, table: &Table<'_>, known: &[&str]) -> Result<(), SpecError> {
        match table.keys().find(|key| !known.contains(&key.get_ref().as_ref())) {
            Some(key) => Err(self.unknown(key.span(), "key", key.get_ref(), known)),
            None => Ok(()),
        }
    }

    fn wrong(&self, item: &Item<'_>, key: &str, wanted: &str) -> SpecError {
        self.error(item.span(), format!("`{key}` is {}, not {wanted}", article(item.get_ref().type_str())))
    }

    fn text(&self, table: &Table<'_>, key: &str) -> Result<String, SpecError> {
        table.get(key).map_or(Ok(String::new()), |item| self.text_of(item, key))
    }

    fn text_of(&self, item: &Item<'_>, key: &str) -> Result<String, SpecError> {
        let text = item.get_ref().as_str().ok_or_else(|| self.wrong(item, key, "a string"))?;
        Ok(text.to_owned())
    }

    fn flag(&self, table: &Table<'_>, key: &str) -> Result<bool, SpecError> {
        let Some(item) = table.get(key) else { return Ok(false) };
        item.get_ref().as_bool().ok_or_else(|| self.wrong(item, key, "true or false"))
    }

    fn number(&self, table: &Table<'_>, key: &str, max: usize) -> Result<Option<usize>, SpecError> {
        let Some(item) = table.get(key) else { return Ok(None) };
        let wrong = || self.wrong(item, key, "a whole number");
        let number = item.get_ref().as_integer().ok_or_else(wrong)?;
        let number =
            usize::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| *number <= max);
        number.map(Some).ok_or_else(|| self.error(item.span(), format!("`{key}` is not between 0 and {max}")))
    }

    fn word<T: Copy>(
        &self,
        table: &Table<'_>,
        key: &str,
        known: &[(&str, T)],
    ) -> Result<Option<T>, SpecError> {
        let Some(item) = table.get(key) else { return Ok(None) };
        let word = self.text_of(item, key)?;
        match known.iter().find(|(name, _)| *name == word) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                Err(self.unknown(item.span(), key, &word, &names))
            }
        }
    }

    /// The tables of `[[key]]`.
    fn tables<'t, 'i>(
        &self,
        table: &'t Table<'i>,
        key: &str,
    ) -> Result<Vec<(&'t Table<'i>, Range<usize>)>, SpecError> {
        let Some(item) = table.get(key) else { return Ok(Vec::new()) };
        let wrong = |item: &Item<'_>| {
            let error = self.wrong(item, key, "a list of tables");
            SpecError { hint: Some(format!("write [[{key}]] above each")), ..error }
        };
        let list = item.get_ref().as_array().ok_or_else(|| wrong(item))?;
        list.iter()
            .map(|one| one.get_ref().as_table().map(|table| (table, one.span())).ok_or_else(|| wrong(one)))
            .collect()
    }
}

fn article(kind: &str) -> String {
    let an = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if an { "an" } else { "a" })
}

impl Spec {
    /// Reads a view file; `file` is what messages call it.
    ///
    /// # Errors
    /// With the first thing that is wrong.
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        let source = Source { file, text };
        if text.len() > MAX_BYTES {
            return Err(source.error(0..0, format!("longer than {MAX_BYTES} bytes")));
        }
        let root = DeTable::parse(text)
            .map_err(|error| source.error(error.span().unwrap_or(0..0), error.message()))?;
        let table = root.get_ref();
        source.keys(table, KEYS)?;
        let mut spec = Self {
            name: source.text(table, "name")?,
            summary: source.text(table, "summary")?,
            about: source.text(table, "about")?,
            category: source.text(table, "category")?,
            kind: source.word(table, "kind", &KINDS)?.unwrap_or_default(),
            filter: source.text(table, "filter")?,
            group: table.get("group").map(|item| source.text_of(item, "group")).transpose()?,
            sort: table.get("sort").map(|item| source.text_of(item, "sort")).transpose()?,
            limit: source.number(table, "limit", 1 << 20)?.unwrap_or(0),
            defaults: source.flag(table, "defaults")?,
            threads: source.flag(table, "threads")?,
            ruled: source.flag(table, "ruled")?,
            bare: source.flag(table, "bare")?,
            snaplen: u32::try_from(source.number(table, "snaplen", 65_000)?.unwrap_or(0)).unwrap_or(0),
            header: source.text(table, "header")?,
            line: source.text(table, "line")?,
            footer: source.text(table, "footer")?,
            ..Self::default()
        };
        if spec.name.is_empty() || !spec.name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            let at = table.get("name").map_or(0..0, Spanned::span);
            let error = source.error(at, "a view needs a `name` of letters, digits, `_` and `-`");
            return Err(SpecError { hint: Some("name = \"mine\"".into()), ..error });
        }
        for (argument, at) in source.tables(table, "argument")? {
            spec.arguments.push(Argument::parse(&source, argument, at)?);
        }
        let columns = source.tables(table, "column")?;
        if columns.len() > MAX_COLUMNS {
            return Err(source.error(0..0, format!("more than {MAX_COLUMNS} columns")));
        }
        for (column, at) in &columns {
            spec.columns.push(ColumnSpec::parse(&source, column, at.clone(), &spec)?);
        }
        spec.check(&source, table)?;
        Ok(spec)
    }

    /// What only shows when all is read.
    fn check(&self, source: &Source<'_>, table: &Table<'_>) -> Result<(), SpecError> {
        let at = |key: &str| table.get(key).map_or(0..0, Spanned::span);
        if self.kind == Kind::Lines {
            if self.line.is_empty() {
                return Err(source.error(0..0, "a view of kind `lines` needs a `line`"));
            }
            let line = self.filled(&self.line);
            Template::parse(&line).map_err(|error| {
                let hint = error.hint();
                SpecError { hint, ..source.error(at("line"), error.to_string()) }
            })?;
        } else if !self.columns.iter().any(|column| !column.hidden) {
            let error = source.error(0..0, "a view needs at least one column");
            return Err(SpecError {
                hint: Some("write [[column]] and below it `field = \"proc.name\"`".into()),
                ..error
            });
        }
        if let Some(group) = &self.group {
            self.field(source, at("group"), group)?;
        }
        if let Some(sort) = &self.sort {
            let title = sort.trim_start_matches('-');
            let titles: Vec<_> = self.columns.iter().map(|column| column.title.as_str()).collect();
            if !titles.contains(&title) {
                return Err(source.unknown(at("sort"), "column", title, &titles));
            }
        }
        if !self.filter.is_empty() && self.is_filled(&self.filter) {
            Program::compile_of_events(&self.filled(&self.filter), Lang::Auto)
                .map_err(|error| source.error(at("filter"), format!("the filter is wrong: {error}")))?;
        }
        Ok(())
    }

    fn field(&self, source: &Source<'_>, at: Range<usize>, name: &str) -> Result<(), SpecError> {
        if !self.is_filled(name) {
            return Ok(());
        }
        Reader::parse(&self.filled(name)).map(drop).map_err(|error| wrong_field(source, at, &error))
    }

    /// `text` with the defaults of the arguments.
    fn filled(&self, text: &str) -> String {
        self.fill(text, &[])
    }

    /// Whether nothing of `text` waits for an argument.
    fn is_filled(&self, text: &str) -> bool {
        let missing = |argument: &&Argument| argument.default.is_none();
        !self
            .arguments
            .iter()
            .filter(missing)
            .any(|argument| text.contains(&format!("{{{}}}", argument.name)))
    }

    /// `text` with `{name}` of each argument replaced by what the user gave, or by its default.
    #[must_use]
    pub fn fill(&self, text: &str, given: &[String]) -> String {
        let mut text = text.to_owned();
        for (nth, argument) in self.arguments.iter().enumerate() {
            let value = given.get(nth).or(argument.default.as_ref());
            if let Some(value) = value {
                text = text.replace(&format!("{{{}}}", argument.name), value);
            }
        }
        text
    }
}

fn wrong_field(source: &Source<'_>, at: Range<usize>, error: &FieldError) -> SpecError {
    let hint = match error.nearest() {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`nabe fields` lists the fields".to_owned(),
    };
    SpecError { hint: Some(hint), ..source.error(at, error.to_string()) }
}

impl Argument {
    fn parse(source: &Source<'_>, table: &Table<'_>, at: Range<usize>) -> Result<Self, SpecError> {
        source.keys(table, ARGUMENT_KEYS)?;
        let name = source.text(table, "name")?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(source.error(at, "an argument needs a `name` of letters, digits and `_`"));
        }
        let default = table.get("default").map(|item| source.text_of(item, "default")).transpose()?;
        Ok(Self { name, about: source.text(table, "about")?, default })
    }
}

impl ColumnSpec {
    fn parse(
        source: &Source<'_>,
        table: &Table<'_>,
        at: Range<usize>,
        view: &Spec,
    ) -> Result<Self, SpecError> {
        source.keys(table, COLUMN_KEYS)?;
        let operation = source.word(table, "operation", &Operation::ALL)?;
        let mut fields = Vec::new();
        let place = table.get("field").or_else(|| table.get("fields")).map_or(at.clone(), Spanned::span);
        if let Some(item) = table.get("field") {
            fields.push(source.text_of(item, "field")?);
        }
        if let Some(item) = table.get("fields") {
            let list =
                item.get_ref().as_array().ok_or_else(|| source.wrong(item, "fields", "a list of names"))?;
            for one in list.iter() {
                fields.push(source.text_of(one, "fields")?);
            }
        }
        if fields.is_empty() {
            if operation == Some(Operation::Count) {
                fields.push("evt.count".to_owned());
            } else {
                let error = source.error(at, "a column needs a `field`");
                return Err(SpecError { hint: Some("field = \"proc.name\"".into()), ..error });
            }
        }
        if fields.len() > 1 && operation != Some(Operation::Distinct) {
            return Err(source.error(place, "several fields go with operation = \"distinct\" only"));
        }
        for field in &fields {
            view.field(source, place.clone(), field)?;
        }
        let title = source.text(table, "title")?;
        let regroup = source.word(table, "regroup", &Operation::ALL)?;
        Ok(Self {
            title: if title.is_empty() { fields.join(",") } else { title },
            regroup: regroup.unwrap_or_default(),
            unit: source.word(table, "unit", &Unit::ALL)?.unwrap_or_default(),
            width: source.number(table, "width", 4096)?.unwrap_or(20),
            hidden: source.flag(table, "hidden")?,
            positive: source.flag(table, "positive")?,
            required: source.flag(table, "required")?,
            containers: source.flag(table, "containers")?,
            operation,
            fields,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn wrong(text: &str, line: usize, problem: &str, hint: Option<&str>) {
        let error = Spec::parse(text, "mine.toml").unwrap_err();
        assert_eq!((error.line, error.problem.as_str(), error.hint.as_deref()), (line, problem, hint));
        assert!(error.to_string().starts_with(&format!("mine.toml:{line}: ")));
    }

    const GOOD: &str = "name = \"mine\"\nfilter = \"evt.is_io = true\"\nsort = \"-Bytes\"\n\
        [[column]]\ntitle = \"Bytes\"\nfield = \"evt.rawarg.res\"\noperation = \"sum\"\nunit = \"bytes\"\n\
        [[column]]\nfield = \"proc.name\"\n";

    #[test]
    fn a_file_is_read() {
        let spec = Spec::parse(GOOD, "mine.toml").unwrap();
        assert_eq!((spec.name.as_str(), spec.columns.len(), spec.kind), ("mine", 2, Kind::Table));
        assert_eq!(spec.columns[0].operation, Some(Operation::Sum));
        assert_eq!(spec.columns[1].title, "proc.name");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_mend() {
        let at = |from: &str, to: &str| GOOD.replace(from, to);
        wrong(&at("filter", "fliter"), 2, "unknown key `fliter`", Some("did you mean `filter`?"));
        wrong(&at("\"sum\"", "\"summ\""), 7, "unknown operation `summ`", Some("did you mean `sum`?"));
        wrong(&at("\"bytes\"", "\"byte\""), 8, "unknown unit `byte`", Some("did you mean `bytes`?"));
        wrong(
            &at("proc.name", "proc.nane"),
            10,
            "unknown field `proc.nane`",
            Some("did you mean `proc.name`?"),
        );
        wrong(&at("-Bytes", "-Byte"), 3, "unknown column `Byte`", Some("did you mean `Bytes`?"));
        wrong(&at("\"mine\"", "3"), 1, "`name` is an integer, not a string", None);
        wrong("", 1, "a view needs a `name` of letters, digits, `_` and `-`", Some("name = \"mine\""));
        let error = Spec::parse(&at("evt.is_io = true", "evt.is_ooo = true"), "mine.toml").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.problem.starts_with("the filter is wrong: "), "{}", error.problem);
    }

    #[test]
    fn arguments_fill_what_waits_for_them() {
        let text =
            "name = \"by\"\n[[argument]]\nname = \"key\"\n[[column]]\nfield = \"{key}\"\ntitle = \"{key}\"\n";
        let spec = Spec::parse(text, "by.toml").unwrap();
        assert_eq!(spec.fill(&spec.columns[0].fields[0], &["fd.type".into()]), "fd.type");
    }
}
