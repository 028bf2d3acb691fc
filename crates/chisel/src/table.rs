//! A finished table: titles, typed cells, and its two forms, text and JSON.

use crate::aggregate::Dropped;
use crate::cell::Cell;
use crate::unit::Unit;

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What stands above it.
    pub title: String,
    /// The field it is made of: its name in JSON together with what was done to it.
    pub field: String,
    /// How its numbers are written.
    pub unit: Unit,
    /// Characters that it takes; 0 for as many as it needs, which only the last column should.
    pub width: usize,
}

/// Rows and what they mean.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows; each has a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// The time that the table is about, for shares of it.
    pub span_ns: u64,
    /// When it was made, on the clock of the events: nanoseconds since the epoch.
    pub at_ns: u64,
    /// Whether the last title is padded like the others (as sysdig's chisels do).
    pub ruled: bool,
    /// Whether there are no titles and a tab stands between the cells.
    pub bare: bool,
    /// What is not in it.
    pub dropped: Dropped,
}

/// Width of the line below the titles.
const RULE: usize = 80;

impl Table {
    /// Appends the table as sysdig's chisels print it. Control characters of values become dots when
    /// `safe`, as they must on a terminal.
    pub fn text(&self, safe: bool, out: &mut Vec<u8>) {
        if !self.bare {
            for (nth, column) in self.columns.iter().enumerate() {
                let width = if column.width == 0 && self.ruled { 20 } else { column.width };
                let last = nth + 1 == self.columns.len() && !self.ruled;
                pad(column.title.as_bytes(), if last { 0 } else { width }, out);
            }
            out.push(b'\n');
        }
        if self.ruled {
            out.extend(core::iter::repeat_n(b'-', RULE));
            out.push(b'\n');
        }
        let mut cell = Vec::new();
        for row in &self.rows {
            for (nth, (column, value)) in self.columns.iter().zip(row).enumerate() {
                cell.clear();
                column.unit.write(value, self.span_ns, &mut cell);
                if safe {
                    plain(&mut cell);
                }
                let last = nth + 1 == self.columns.len();
                pad(&cell, if last || self.bare { 0 } else { column.width }, out);
                if self.bare && !last {
                    out.push(b'\t');
                }
            }
            out.push(b'\n');
        }
    }

    /// Appends the first row as one JSON object, keys being the titles.
    pub fn json_row(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (nth, (column, cell)) in self.columns.iter().zip(self.rows.iter().flatten()).enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            json_text(column.title.as_bytes(), out);
            out.push(b':');
            json_cell(cell, out);
        }
        out.push(b'}');
    }

    /// Appends the table as one JSON object: `{"ts":…,"columns":[…],"rows":[…],"dropped":…}`.
    pub fn json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            format!("{{\"ts\":{},\"span_ns\":{},\"columns\":[", self.at_ns, self.span_ns).as_bytes(),
        );
        for (nth, column) in self.columns.iter().enumerate() {
            out.extend_from_slice(if nth > 0 { b",{\"title\":" } else { b"{\"title\":" });
            json_text(column.title.as_bytes(), out);
            out.extend_from_slice(b",\"field\":");
            json_text(column.field.as_bytes(), out);
            out.extend_from_slice(format!(",\"unit\":\"{}\"}}", column.unit.name()).as_bytes());
        }
        out.extend_from_slice(b"],\"rows\":[");
        for (nth, row) in self.rows.iter().enumerate() {
            out.extend_from_slice(if nth > 0 { b",[" } else { b"[" });
            for (nth, cell) in row.iter().enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                json_cell(cell, out);
            }
            out.push(b']');
        }
        let Dropped { groups, error, distinct } = self.dropped;
        out.extend_from_slice(
            format!("],\"dropped\":{{\"groups\":{groups},\"error\":{error},\"distinct\":{distinct}}}}}")
                .as_bytes(),
        );
    }
}

fn json_cell(cell: &Cell, out: &mut Vec<u8>) {
    match cell {
        Cell::Missing => out.extend_from_slice(b"null"),
        Cell::Text(text) => json_text(text, out),
        Cell::Float(number) if number.is_finite() => out.extend_from_slice(format!("{number:?}").as_bytes()),
        Cell::Float(_) => out.extend_from_slice(b"null"),
        other => other.write(out),
    }
}

/// Appends a JSON string; bytes that are no UTF-8 become U+FFFD.
pub(crate) fn json_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c < ' ' || c == '\x7f' => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Appends `text` in exactly `width` bytes, the last of them a space when it must be cut; all of it
/// when `width` is 0.
pub(crate) fn pad(text: &[u8], width: usize, out: &mut Vec<u8>) {
    if width == 0 {
        out.extend_from_slice(text);
    } else if text.len() < width {
        out.extend_from_slice(text);
        out.extend(core::iter::repeat_n(b' ', width - text.len()));
    } else {
        out.extend_from_slice(text.get(..width - 1).unwrap_or(text));
        out.push(b' ');
    }
}

/// Takes out of `text` what a terminal would act on: control and bidi characters become dots. Ends of
/// lines become dots, too: a value is part of a line.
pub fn plain(text: &mut Vec<u8>) {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    match core::str::from_utf8(text) {
        Ok(clean) if !clean.chars().any(hostile) => {}
        _ => {
            let lossy = String::from_utf8_lossy(text);
            *text = lossy.chars().map(|c| if hostile(c) { '.' } else { c }).collect::<String>().into_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let column =
            |title: &str, unit, width| Column { title: title.into(), field: title.into(), unit, width };
        Table {
            columns: vec![
                column("Bytes", Unit::Bytes, 20),
                column("Process", Unit::None, 20),
                column("PID", Unit::None, 20),
            ],
            rows: vec![vec![
                Cell::Uint(11674),
                Cell::Text(b"a-name-of-more-than-20\x1b[2J".as_slice().into()),
                Cell::Int(17497),
            ]],
            ruled: true,
            ..Table::default()
        }
    }

    #[test]
    fn text_is_laid_out_as_sysdigs() {
        let mut out = Vec::new();
        table().text(true, &mut out);
        let rule = "-".repeat(80);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "Bytes               Process             PID                 \n{rule}\n11.40KB             a-name-of-more-than 17497\n"
            )
        );
    }

    #[test]
    fn no_value_reaches_the_terminal_as_a_command() {
        for (text, expected) in [
            (&b"a\x1b[31mb"[..], "a.[31mb"),
            ("x\u{202e}y".as_bytes(), "x.y"),
            (b"\xff\n\t", "\u{fffd}.."),
            ("\u{9b}31m".as_bytes(), ".31m"),
        ] {
            let mut text = text.to_vec();
            plain(&mut text);
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    #[test]
    fn json_keeps_numbers() {
        let mut out = Vec::new();
        table().json(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r#""rows":[[11674,"a-name-of-more-than-20\u001b[2J",17497]]"#), "{text}");
    }
}
