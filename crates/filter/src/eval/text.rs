//! Functions of text. Text is bytes: a run of bytes that is no UTF-8 counts as one character and is
//! passed through as it is.

use core::fmt::Write as _;

use super::value::{MAX_SIZE, Seq, V};
use crate::ir::Func;

/// The characters of a text, each as its bytes.
fn chars(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid();
        let valid = valid.char_indices().map(move |(at, c)| &valid.as_bytes()[at..at + c.len_utf8()]);
        valid.chain(core::iter::once(chunk.invalid()).filter(|bytes| !bytes.is_empty()))
    })
}

/// Number of characters.
pub(crate) fn length(text: &[u8]) -> usize {
    if text.is_ascii() { text.len() } else { chars(text).count() }
}

/// The byte at which the character at `index` begins; the end for the index past the last.
fn offset(text: &[u8], index: i128) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    if text.is_ascii() {
        return (index <= text.len()).then_some(index);
    }
    let mut at = 0;
    let mut found = 0;
    for character in chars(text) {
        if found == index {
            return Some(at);
        }
        at += character.len();
        found += 1;
    }
    (found == index).then_some(at)
}

/// The function applied; `None` when it has no result for these arguments.
pub(crate) fn call<'e>(func: Func, args: &[V<'e>]) -> Option<V<'e>> {
    match (func, args) {
        (Func::Join, [V::List(list), rest @ ..]) => join(list, rest),
        (_, [V::Text(text), rest @ ..]) => of_text(func, text, rest),
        _ => None,
    }
}

fn of_text(func: Func, text: &[u8], args: &[V<'_>]) -> Option<V<'static>> {
    match (func, args) {
        (Func::Lower, []) => Some(V::text(text.to_ascii_lowercase())),
        (Func::Upper, []) => Some(V::text(text.to_ascii_uppercase())),
        (Func::Trim, []) => Some(V::text(trim(text).to_vec())),
        (Func::Reverse, []) => {
            let mut reversed: Vec<&[u8]> = chars(text).collect();
            reversed.reverse();
            Some(V::text(reversed.concat()))
        }
        (Func::Quote, []) => Some(V::text(quote(text))),
        (Func::Replace, [V::Text(from), V::Text(to), rest @ ..]) => replace(text, from, to, limit(rest)?),
        (Func::Split, [V::Text(separator), rest @ ..]) => split(text, separator, limit(rest)?),
        (Func::Substring, [V::Int(from)]) => Some(V::text(text[offset(text, *from)?..].to_vec())),
        (Func::Substring, [V::Int(from), V::Int(to)]) => {
            let (from, to) = (offset(text, *from)?, offset(text, *to)?);
            Some(V::text(text.get(from..to)?.to_vec()))
        }
        (Func::CharAt, [V::Int(index)]) => {
            let at = offset(text, *index)?;
            Some(V::text(chars(&text[at..]).next().unwrap_or_default().to_vec()))
        }
        (Func::IndexOf, [V::Text(part), rest @ ..]) => {
            let from = match rest {
                [V::Int(from)] => offset(text, *from)?,
                _ => 0,
            };
            let found = memchr::memmem::find(&text[from..], part).map(|at| at + from);
            Some(V::Int(position(text, found)))
        }
        (Func::LastIndexOf, [V::Text(part), rest @ ..]) => {
            let end = match rest {
                [V::Int(last)] => (offset(text, *last)? + part.len()).min(text.len()),
                _ => text.len(),
            };
            Some(V::Int(position(text, memchr::memmem::rfind(&text[..end], part))))
        }
        (Func::Format, [V::List(args)]) => format(text, args),
        _ => None,
    }
}

/// The optional last argument of `split` and `replace`: how often, negative for always.
fn limit(rest: &[V<'_>]) -> Option<usize> {
    match rest {
        [] => Some(usize::MAX),
        [V::Int(n)] => Some(usize::try_from(*n).unwrap_or(usize::MAX)),
        _ => None,
    }
}

fn position(text: &[u8], at: Option<usize>) -> i128 {
    at.map_or(-1, |at| i128::try_from(length(&text[..at])).unwrap_or(-1))
}

fn trim(text: &[u8]) -> &[u8] {
    match core::str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => text.trim_ascii(),
    }
}

fn replace(text: &[u8], from: &[u8], to: &[u8], limit: usize) -> Option<V<'static>> {
    let mut out = Vec::new();
    let mut last = 0;
    for at in memchr::memmem::find_iter(text, from).take(limit) {
        out.extend_from_slice(&text[last..at]);
        out.extend_from_slice(to);
        last = at + from.len();
        if out.len() > MAX_SIZE {
            return None;
        }
    }
    out.extend_from_slice(&text[last..]);
    Some(V::text(out))
}

fn split(text: &[u8], separator: &[u8], limit: usize) -> Option<V<'static>> {
    let item = |bytes: &[u8]| V::Text(bytes.to_vec().into());
    let mut items = Vec::new();
    if separator.is_empty() {
        items.extend(chars(text).take(limit).map(item));
        return Some(V::List(Seq::Made(items)));
    }
    let mut last = 0;
    if limit > 0 {
        for at in memchr::memmem::find_iter(text, separator).take(limit - 1) {
            items.push(item(&text[last..at]));
            last = at + separator.len();
        }
        items.push(item(&text[last..]));
    }
    Some(V::List(Seq::Made(items)))
}

fn join(list: &Seq<'_>, rest: &[V<'_>]) -> Option<V<'static>> {
    let separator = match rest {
        [V::Text(separator)] => separator.as_ref(),
        _ => b"",
    };
    let mut out = Vec::new();
    for at in 0..list.len() {
        if at > 0 {
            out.extend_from_slice(separator);
        }
        match list.get(at) {
            V::Text(text) => out.extend_from_slice(&text),
            _ => return None,
        }
        if out.len() > MAX_SIZE {
            return None;
        }
    }
    Some(V::text(out))
}

/// The text as a literal of CEL.
pub(crate) fn quote(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend(*b"\\n"),
            b'\r' => out.extend(*b"\\r"),
            b'\t' => out.extend(*b"\\t"),
            0x07 => out.extend(*b"\\a"),
            0x08 => out.extend(*b"\\b"),
            0x0c => out.extend(*b"\\f"),
            0x0b => out.extend(*b"\\v"),
            byte => out.push(*byte),
        }
    }
    out.push(b'"');
    out
}

/// `"%s has %d".format(["x", 3])`: `%s %d %f %.2f %e %x %X %o %b %%`.
fn format(pattern: &[u8], args: &Seq<'_>) -> Option<V<'static>> {
    let mut out = Vec::new();
    let mut next = 0;
    let mut bytes = pattern.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut verb = bytes.next()?;
        let mut precision = 6;
        if verb == b'.' {
            let digit = bytes.next().filter(u8::is_ascii_digit)?;
            precision = usize::from(digit - b'0');
            verb = bytes.next()?;
        }
        if verb == b'%' {
            out.push(b'%');
            continue;
        }
        if next >= args.len() {
            return None;
        }
        format_one(verb, precision, &args.get(next), &mut out)?;
        next += 1;
        if out.len() > MAX_SIZE {
            return None;
        }
    }
    Some(V::text(out))
}

fn format_one(verb: u8, precision: usize, value: &V<'_>, out: &mut Vec<u8>) -> Option<()> {
    let mut text = String::new();
    match (verb, value) {
        (b's', V::Text(bytes)) => {
            out.extend_from_slice(bytes);
            return Some(());
        }
        (b's', V::List(list)) => {
            out.push(b'[');
            for at in 0..list.len() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                format_one(b's', precision, &list.get(at), out)?;
                if out.len() > MAX_SIZE {
                    return None;
                }
            }
            out.push(b']');
            return Some(());
        }
        (b's', V::Null) => text.push_str("null"),
        (b's', value) => match super::call::call(Func::ToText, core::slice::from_ref(value)) {
            V::Text(bytes) => out.extend_from_slice(&bytes),
            _ => return None,
        },
        (b'd', V::Int(n)) => write!(text, "{n}").ok()?,
        (b'x', V::Int(n)) => text.push_str(&signed(*n, |n| format!("{n:x}"))),
        (b'X', V::Int(n)) => text.push_str(&signed(*n, |n| format!("{n:X}"))),
        (b'o', V::Int(n)) => text.push_str(&signed(*n, |n| format!("{n:o}"))),
        (b'b', V::Int(n)) => text.push_str(&signed(*n, |n| format!("{n:b}"))),
        (b'x', V::Text(bytes)) => bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}")).ok()?,
        (b'X', V::Text(bytes)) => bytes.iter().try_for_each(|byte| write!(text, "{byte:02X}")).ok()?,
        (b'f', value) => write!(text, "{:.precision$}", super::value::float(value)?).ok()?,
        (b'e', value) => write!(text, "{:.precision$e}", super::value::float(value)?).ok()?,
        _ => return None,
    }
    out.extend_from_slice(text.as_bytes());
    Some(())
}

fn signed(n: i128, digits: impl Fn(u128) -> String) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}", digits(n.unsigned_abs()))
}
