//! CSV after RFC 4180, and TSV.
//!
//! CSV: fields with a comma, a quote, a line break or an outer space are quoted, quotes doubled;
//! records end with CRLF. An empty text is `""`, no value is nothing at all. Bytes are as they are,
//! but on a terminal hostile ones are escaped.
//!
//! TSV: `\t`, `\n`, `\r`, `\\`, and `\xHH` or `\u{…}` for what is hostile or no UTF-8; lines end with LF.

use core::fmt::Write as _;
use std::io::Write as _;

use crate::print::{Format, Options, json};
use crate::view::cell::Cell;
use crate::view::column::Column;
use crate::view::diff::Change;
use crate::view::{Table, escape};

/// Appends the record of the columns' names.
pub(crate) fn header(out: &mut Vec<u8>, columns: &[Column], changes: bool, options: &Options) {
    if changes {
        out.extend_from_slice(b"event");
    }
    for (index, column) in columns.iter().enumerate() {
        separator(out, index > 0 || changes, options);
        text(out, column.key.as_bytes(), options);
    }
    end(out, options);
}

/// Appends the record of a row.
pub(crate) fn row(
    out: &mut Vec<u8>,
    table: &Table,
    position: usize,
    change: Option<Change>,
    options: &Options,
) {
    if let Some(change) = change {
        out.extend_from_slice(change.word().as_bytes());
    }
    for (index, cell) in table.row(position).enumerate() {
        separator(out, index > 0 || change.is_some(), options);
        match cell {
            Cell::Text(value) | Cell::Cut(value) => text(out, value, options),
            Cell::List(_) | Cell::Map(_) => {
                let mut value = Vec::new();
                json::value(&mut value, &cell);
                text(out, &value, options);
            }
            _ => plain(out, &cell),
        }
    }
    end(out, options);
}

/// Appends a value that is no text: digits, `true`, an address; nothing for no value.
pub(crate) fn plain(out: &mut Vec<u8>, cell: &Cell<'_>) {
    match cell {
        Cell::Uint(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Cell::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Cell::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Cell::Ip(ip) => {
            // A vector takes everything.
            let _ = write!(out, "{ip}");
        }
        _ => {}
    }
}

fn separator(out: &mut Vec<u8>, due: bool, options: &Options) {
    if due {
        out.push(if options.format == Format::Csv { b',' } else { b'\t' });
    }
}

fn end(out: &mut Vec<u8>, options: &Options) {
    out.extend_from_slice(if options.format == Format::Csv { b"\r\n" } else { b"\n" });
}

fn text(out: &mut Vec<u8>, text: &[u8], options: &Options) {
    if options.format == Format::Tsv {
        tsv_text(out, text);
    } else if options.terminal && !escape::is_plain(text) {
        let mut shown = Vec::new();
        escape::write(&mut shown, text);
        csv_text(out, &shown);
    } else {
        csv_text(out, text);
    }
}

fn csv_text(out: &mut Vec<u8>, text: &[u8]) {
    let outer = |byte: Option<&u8>| byte.is_none_or(|byte| *byte == b' ');
    let quoted = outer(text.first())
        || outer(text.last())
        || text.iter().fold(false, |found, b| found | matches!(b, b',' | b'"' | b'\r' | b'\n'));
    if !quoted {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for part in text.split_inclusive(|byte| *byte == b'"') {
        out.extend_from_slice(part);
        if part.last() == Some(&b'"') {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

fn tsv_text(out: &mut Vec<u8>, text: &[u8]) {
    if escape::is_plain(text) && !text.iter().fold(false, |found, b| found | (*b == b'\\')) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.extend_from_slice(b"\\\\"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                c if c < '\u{80}' && escape::is_hostile(c) => escape::write_byte(out, c as u8),
                c if escape::is_hostile(c) => {
                    let mut shown = String::new();
                    // A string takes everything.
                    let _ = write!(shown, "\\u{{{:x}}}", c as u32);
                    out.extend_from_slice(shown.as_bytes());
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            escape::write_byte(out, *byte);
        }
    }
}
