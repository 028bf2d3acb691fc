//! JSON: an object a row, one member a column, flat.
//!
//! Text that is no UTF-8 stands with U+FFFD for each bad sequence, and then the object has another
//! member, `KEY#hex`, with the bytes: a string of hex digits; for a list, one such string (or null
//! for a number) an item; for a map, keys and values in turn. A value that is there and could not be
//! read is null, and `KEY#errno` says why.

use nabe_event::Missing;

use crate::print::separated;
use crate::view::cell::{Cell, Cells};
use crate::view::column::Column;
use crate::view::diff::Change;
use crate::view::{Table, escape};

/// The keys of the objects, ready to print.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// `"process.pid"`
    quoted: Vec<Vec<u8>>,
}

impl Keys {
    pub(crate) fn new(columns: &[Column]) -> Self {
        let quote = |column: &Column| {
            let mut out = Vec::new();
            string(&mut out, column.key.as_bytes());
            out
        };
        Self { quoted: columns.iter().map(quote).collect() }
    }
}

/// Appends the object of a row.
pub(crate) fn object(out: &mut Vec<u8>, table: &Table, position: usize, keys: &Keys, change: Option<Change>) {
    let mut before = b'{';
    if let Some(change) = change {
        out.extend_from_slice(b"{\"event\":");
        string(out, change.word().as_bytes());
        before = b',';
    }
    for (cell, key) in table.cells(position).zip(&keys.quoted) {
        out.push(before);
        before = b',';
        out.extend_from_slice(key);
        out.push(b':');
        let whole = value(out, &cell);
        let mut another = |suffix: &[u8]| {
            out.push(b',');
            out.extend_from_slice(key.get(..key.len() - 1).unwrap_or_default());
            out.extend_from_slice(suffix);
        };
        match cell {
            Cell::Missing(Missing::Unread(errno)) if errno != 0 => {
                another(b"#errno\":");
                out.extend_from_slice(itoa::Buffer::new().format(errno).as_bytes());
            }
            _ if !whole => {
                another(b"#hex\":");
                hex_value(out, &cell);
            }
            _ => {}
        }
    }
    if before == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

/// Appends a value; false when some text in it was no UTF-8.
pub(crate) fn value(out: &mut Vec<u8>, cell: &Cell<'_>) -> bool {
    match cell {
        Cell::Text(text) | Cell::Cut(text) => return string(out, text),
        Cell::Uint(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Cell::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Cell::Missing(_) => out.extend_from_slice(b"null"),
        Cell::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Cell::Ip(_) => {
            out.push(b'"');
            separated::plain(out, cell);
            out.push(b'"');
        }
        Cell::List(items) => return array(out, *items),
        Cell::Map(items) => return map(out, *items),
    }
    true
}

fn array(out: &mut Vec<u8>, items: Cells<'_>) -> bool {
    let mut whole = true;
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        whole &= value(out, &item);
    }
    out.push(b']');
    whole
}

fn map(out: &mut Vec<u8>, items: Cells<'_>) -> bool {
    let mut whole = true;
    out.push(b'{');
    for (index, item) in items.enumerate() {
        match index {
            0 => {}
            _ if index % 2 == 0 => out.push(b','),
            _ => out.push(b':'),
        }
        whole &= value(out, &item);
    }
    out.push(b'}');
    whole
}

/// The bytes of every text in `cell`.
fn hex_value(out: &mut Vec<u8>, cell: &Cell<'_>) {
    match cell {
        Cell::Text(text) | Cell::Cut(text) => {
            out.push(b'"');
            for byte in *text {
                out.extend_from_slice(&[escape::hex(byte >> 4), escape::hex(*byte)]);
            }
            out.push(b'"');
        }
        Cell::List(items) | Cell::Map(items) => {
            out.push(b'[');
            for (index, item) in items.enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                hex_value(out, &item);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(b"null"),
    }
}

/// Appends a string; false when `text` is no UTF-8. What is hostile on a terminal is escaped, which
/// means the same to a parser.
pub(crate) fn string(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.push(b'"');
    if escape::is_plain(text) && !text.iter().fold(false, |found, b| found | matches!(b, b'"' | b'\\')) {
        out.extend_from_slice(text);
        out.push(b'"');
        return true;
    }
    let mut whole = true;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                c if escape::is_hostile(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.extend_from_slice(b"\\u");
                        out.extend([12, 8, 4, 0].map(|shift| escape::hex((*unit >> shift) as u8)));
                    }
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            whole = false;
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
    whole
}
