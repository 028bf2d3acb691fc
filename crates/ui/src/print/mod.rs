//! Bytes for people and programs.
//!
//! A [`Printer`] appends to a buffer, as much at a time as the caller wants to hold; the caller
//! writes it out. What people read is escaped and fitted; machine formats are exact:
//!
//! | | json, ndjson | csv | tsv |
//! |---|---|---|---|
//! | number, bool | as such, all 64 bits | digits, `true` | digits, `true` |
//! | symbol, address | its name, text | its name, text | its name, text |
//! | absent | `null` | empty | empty |
//! | not readable | `null`, and the error number in `KEY#errno` | empty | empty |
//! | empty text | `""` | `""` | empty |
//! | list, map | array, object | as JSON, without `#hex` | as JSON, without `#hex` |
//! | not UTF-8 | U+FFFD, and hex in `KEY#hex` | the bytes | `\xHH` |
//! | control, bidi | `\uXXXX` | the bytes; escaped on a terminal | `\t`, `\n`, `\\`, `\xHH`, `\u{…}` |

pub mod event;
pub mod json;
pub mod layout;
pub mod palette;
pub mod separated;
pub mod table;
pub mod tree;

pub use palette::Palette;
pub use tree::{TreePrinter, print_tree};

#[cfg(test)]
mod tests;

use crate::view::diff::Change;
use crate::view::{Context, Diff, Table};
use layout::Layout;

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One array of objects.
    Json,
    /// An object a line.
    NdJson,
    /// RFC 4180, with CRLF.
    Csv,
    /// Separated by tabs, escaped with backslashes.
    Tsv,
}

impl Format {
    /// Every format with its name in `--format`.
    pub const ALL: [(&'static str, Self); 5] = [
        ("text", Self::Text),
        ("json", Self::Json),
        ("ndjson", Self::NdJson),
        ("csv", Self::Csv),
        ("tsv", Self::Tsv),
    ];

    /// Whether programs read it.
    #[must_use]
    pub const fn is_machine(self) -> bool {
        !matches!(self, Self::Text)
    }
}

/// What is asked of a printer.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The format.
    pub format: Format,
    /// Columns of the terminal; `None` when nothing is to be fitted or cut.
    pub width: Option<usize>,
    /// Whether the titles are printed.
    pub header: bool,
    /// Colours.
    pub palette: Palette,
    /// Whether only ASCII may be drawn: tree lines, the mark of what is cut.
    pub ascii: bool,
    /// Whether the output is a terminal, where even machine formats must not carry controls.
    pub terminal: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: Format::Text,
            width: None,
            header: true,
            palette: Palette::NONE,
            ascii: false,
            terminal: false,
        }
    }
}

impl Options {
    /// The mark at the end of what is cut.
    #[must_use]
    pub const fn more(&self) -> &'static str {
        if self.ascii { "+" } else { "…" }
    }
}

/// Prints a table piece by piece.
#[derive(Debug)]
pub struct Printer<'a> {
    table: &'a Table,
    context: &'a Context,
    options: &'a Options,
    layout: Layout,
    /// JSON object keys with their punctuation.
    keys: json::Keys,
    changes: Option<(&'a Diff, &'a Table)>,
    started: bool,
    /// Whether a record has been printed.
    any: bool,
    next: usize,
}

impl<'a> Printer<'a> {
    /// A printer of `table`.
    #[must_use]
    pub fn new(table: &'a Table, context: &'a Context, options: &'a Options) -> Self {
        let layout = match options.format {
            Format::Text => Layout::new(table, context, options, 0),
            _ => Layout::default(),
        };
        let keys = json::Keys::new(table.columns());
        Self { table, context, options, layout, keys, changes: None, started: false, any: false, next: 0 }
    }

    /// A printer of `table` that marks what differs from the `old` one: in text each row begins with
    /// `+`, `~`, `-` or a space; machine formats get only rows that are new, changed or gone, with
    /// `event` as their first value.
    #[must_use]
    pub fn with_changes(
        table: &'a Table,
        old: &'a Table,
        diff: &'a Diff,
        context: &'a Context,
        options: &'a Options,
    ) -> Self {
        let mut printer = Self::new(table, context, options);
        if options.format == Format::Text {
            printer.layout = Layout::with_rows(table, context, options, 2, old, diff.gone());
        }
        printer.changes = Some((diff, old));
        printer
    }

    /// How many columns at the end found no room at all. Never with unlimited width.
    #[must_use]
    pub fn hidden_columns(&self) -> usize {
        self.layout.hidden
    }

    /// Appends at least `bytes` bytes, or all that is left; false when nothing is left after it.
    pub fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> bool {
        let start = out.len();
        if !self.started {
            self.started = true;
            self.head(out);
        }
        let gone = self.changes.map_or(0, |(diff, _)| diff.gone().len());
        let total = self.table.len() + gone;
        while self.next < total {
            if out.len() - start >= bytes {
                return true;
            }
            self.row(out);
            self.next += 1;
        }
        if self.options.format == Format::Json {
            out.extend_from_slice(if self.any { b"\n]\n" } else { b"]\n" });
        }
        false
    }

    fn head(&self, out: &mut Vec<u8>) {
        let options = self.options;
        match options.format {
            Format::Text if options.header && self.changes.is_some() => {
                table::header(out, self.table.columns(), &self.layout, options, "  ");
            }
            Format::Text if options.header => {
                table::header(out, self.table.columns(), &self.layout, options, "");
            }
            Format::Json => out.push(b'['),
            Format::Csv | Format::Tsv if options.header => {
                separated::header(out, self.table.columns(), self.changes.is_some(), options);
            }
            _ => {}
        }
    }

    fn row(&mut self, out: &mut Vec<u8>) {
        let (table, position) = match self.next.checked_sub(self.table.len()) {
            None => (self.table, self.next),
            Some(gone) => match self.changes {
                Some((diff, old)) => (old, diff.gone().get(gone).copied().unwrap_or(usize::MAX)),
                None => return,
            },
        };
        let change = self.changes.map(|(diff, _)| diff.change(self.next));
        let options = self.options;
        if change == Some(Change::Same) && options.format.is_machine() {
            return;
        }
        match options.format {
            Format::Text => table::row(out, table, position, &self.layout, self.context, options, change),
            Format::Json => {
                out.extend_from_slice(if self.any { b",\n" } else { b"\n" });
                json::object(out, table, position, &self.keys, change);
            }
            Format::NdJson => {
                json::object(out, table, position, &self.keys, change);
                out.push(b'\n');
            }
            Format::Csv | Format::Tsv => separated::row(out, table, position, change, options),
        }
        self.any = true;
    }
}

/// Prints all of `table` at once.
pub fn print(table: &Table, context: &Context, options: &Options, out: &mut Vec<u8>) {
    Printer::new(table, context, options).fill(out, usize::MAX);
}
