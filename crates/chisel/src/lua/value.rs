//! Values between Lua and Rust.

use mlua::{Lua, Value};
use nabe_event::Fields;

use crate::cell::Cell;
use crate::field::Reader;
use crate::table::{json_text, plain};

/// A cell as Lua has it: numbers are doubles there.
#[allow(clippy::cast_precision_loss, reason = "Lua's numbers are doubles, and sysdig gives it these")]
pub(super) fn to_lua(lua: &Lua, cell: &Cell) -> mlua::Result<Value> {
    Ok(match cell {
        Cell::Missing => Value::Nil,
        Cell::Bool(flag) => Value::Boolean(*flag),
        Cell::Int(number) => Value::Number(*number as f64),
        Cell::Uint(number) => Value::Number(*number as f64),
        Cell::Float(number) => Value::Number(*number),
        Cell::Text(text) => Value::String(lua.create_string(text)?),
    })
}

/// The value of a field as chisels expect it: payload has dots for what cannot be printed, ends of
/// lines included (the patterns of sysdig's own chisels ask for them).
pub(super) fn read(reader: &mut Reader, event: &dyn Fields, safe: bool) -> Cell {
    let cell = reader.cell(event);
    match &cell {
        Cell::Text(text) if reader.name() == "evt.buffer" => {
            let dots = text.iter().map(|byte| if (b' '..0x7f).contains(byte) { *byte } else { b'.' });
            Cell::Text(dots.collect())
        }
        _ => harmless(cell, safe),
    }
}

/// A text without what a terminal would act on, when it may reach one; ends of lines and tabs stay, as
/// chisels look for them.
pub(super) fn harmless(cell: Cell, safe: bool) -> Cell {
    let Cell::Text(text) = &cell else { return cell };
    let control = |byte: &u8| (*byte < b' ' && !matches!(*byte, b'\n' | b'\t')) || *byte >= 0x7f;
    if !safe || !text.iter().any(control) {
        return cell;
    }
    let mut clean = Vec::with_capacity(text.len());
    for (nth, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if nth > 0 {
            clean.push(b'\n');
        }
        for (nth, part) in line.split(|byte| *byte == b'\t').enumerate() {
            if nth > 0 {
                clean.push(b'\t');
            }
            let mut part = part.to_vec();
            plain(&mut part);
            clean.extend(part);
        }
    }
    Cell::Text(clean.into())
}

/// Depth of tables that JSON is made of.
const MAX_DEPTH: usize = 64;

/// Appends a value as JSON: a table with a first entry is a list.
pub(super) fn json(value: &Value, depth: usize, out: &mut Vec<u8>) -> mlua::Result<()> {
    if depth > MAX_DEPTH {
        return Err(mlua::Error::runtime("tables are nested too deeply for JSON"));
    }
    match value {
        Value::Boolean(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Number(number) if number.is_finite() => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => json_text(&text.as_bytes(), out),
        Value::Table(table) if table.raw_len() > 0 => {
            out.push(b'[');
            for (nth, item) in table.sequence_values::<Value>().enumerate() {
                if nth > 0 {
                    out.push(b',');
                }
                json(&item?, depth + 1, out)?;
            }
            out.push(b']');
        }
        Value::Table(table) => {
            out.push(b'{');
            let mut first = true;
            for pair in table.pairs::<Value, Value>() {
                let (key, item) = pair?;
                if !core::mem::take(&mut first) {
                    out.push(b',');
                }
                json_text(key.to_string()?.as_bytes(), out);
                out.push(b':');
                json(&item, depth + 1, out)?;
            }
            out.push(b'}');
        }
        _ => out.extend_from_slice(b"null"),
    }
    Ok(())
}
