//! Numbers with units, and text with escapes: `0x1f`, `1u`, `1.5G`, `500MB`, `1h30m`, `r"\d"`.

use nabe_event::field::nearest;

use super::ast::Literal;
use crate::diagnostic::{Error, Result, quote};
use crate::span::Span;

const NS: i128 = 1;
const SECOND: i128 = 1_000_000_000;

/// Units of time in nanoseconds.
static TIMES: &[(&str, i128)] = &[
    ("ns", NS),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
    ("d", 86_400 * SECOND),
    ("w", 7 * 86_400 * SECOND),
];

/// Units of size. `K` `M` `G` are what ps, ls and nabe's own columns print: powers of 1024.
static SIZES: &[(&str, i128)] = &[
    ("B", 1),
    ("K", 1 << 10),
    ("KB", 1_000),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("M", 1 << 20),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("G", 1 << 30),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("T", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// Reads the number that begins at `start`; returns it and the byte after it.
pub(crate) fn number(source: &str, start: usize) -> Result<(Literal, usize)> {
    let bytes = source.as_bytes();
    if bytes[start] == b'0' && matches!(bytes.get(start + 1), Some(b'x' | b'X')) {
        return hexadecimal(source, start);
    }
    let mut at = start;
    let mut total: i128 = 0;
    loop {
        let digits = at;
        let whole = mantissa(bytes, &mut at);
        let unit_start = at;
        at = word_end(source, at);
        let (text, unit) = (&source[digits..unit_start], &source[unit_start..at]);
        let span = Span::new(start, at);
        if digits == start && matches!(unit, "" | "u" | "U") {
            return plain(source, text, whole, unit, span).map(|literal| (literal, at));
        }
        if let Some((_, size)) = SIZES.iter().find(|(name, _)| *name == unit).filter(|_| digits == start) {
            let bytes = scaled(text, whole, *size).filter(|n| *n <= i128::from(u64::MAX));
            return bytes.map(|n| (Literal::Int(n), at)).ok_or_else(|| too_large(span));
        }
        let Some((_, time)) = TIMES.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(unit, Span::new(unit_start, at)));
        };
        total += scaled(text, whole, *time).ok_or_else(|| too_large(span))?;
        if !bytes.get(at).is_some_and(u8::is_ascii_digit) {
            let ns = i64::try_from(total).map_err(|_| too_large(span))?;
            return Ok((Literal::Duration(ns), at));
        }
    }
}

/// Reads a span of time as Go and CEL write it: `2h`, `1h30m`, `-1.5s`, `0`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    match number(rest, 0) {
        Ok((Literal::Duration(ns), end)) if end == rest.len() => ns.checked_mul(sign),
        _ => None,
    }
}

/// Whether the text would be a number or a duration if it stood without its quotes.
pub(crate) fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && number(digits, 0).is_ok_and(|(_, end)| end == digits.len())
}

/// Passes over digits, a fraction and an exponent; whether the number is whole.
fn mantissa(bytes: &[u8], at: &mut usize) -> bool {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let skip = |at: &mut usize| {
        while digit(*at) {
            *at += 1;
        }
    };
    skip(at);
    let mut whole = true;
    if bytes.get(*at) == Some(&b'.') && digit(*at + 1) {
        whole = false;
        *at += 1;
        skip(at);
    }
    if matches!(bytes.get(*at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(*at + 1), Some(b'+' | b'-')));
        if digit(*at + 1 + sign) {
            whole = false;
            *at += 1 + sign;
            skip(at);
        }
    }
    whole
}

/// The end of the letters at `at`. In `1h30m` digits end the first unit.
fn word_end(source: &str, at: usize) -> usize {
    source[at..].find(|c: char| !c.is_alphabetic() && c != '_').map_or(source.len(), |length| at + length)
}

fn plain(source: &str, text: &str, whole: bool, unit: &str, span: Span) -> Result<Literal> {
    let rest = &source.as_bytes()[span.end..];
    if !whole && rest.first() == Some(&b'.') && rest.get(1).is_some_and(u8::is_ascii_digit) {
        let end = source[span.start..]
            .find(|c: char| !c.is_ascii_hexdigit() && !matches!(c, '.' | '/' | ':'))
            .map_or(source.len(), |length| span.start + length);
        let address = quote(&source[span.start..end]);
        return Err(Error::new(Span::new(span.start, end), "an address without quotes")
            .hint(format!("an address is a text: `\"{address}\"`")));
    }
    if !whole {
        if !unit.is_empty() {
            return Err(Error::new(span, "a uint has no fraction").hint(format!("write `{text}`")));
        }
        let number: Option<f64> = text.parse().ok();
        return number.filter(|n| n.is_finite()).map(Literal::Float).ok_or_else(|| too_large(span));
    }
    let number: Option<u64> = text.parse().ok();
    number.map(|n| Literal::Int(n.into())).ok_or_else(|| too_large(span))
}

fn hexadecimal(source: &str, start: usize) -> Result<(Literal, usize)> {
    let digits = start + 2;
    let end = source[digits..]
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .map_or(source.len(), |length| digits + length);
    let text = &source[digits..end];
    let text = text.strip_suffix(['u', 'U']).unwrap_or(text);
    let span = Span::new(start, end);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::new(span, "not a hexadecimal number").expected("digits 0-9 and a-f after `0x`"));
    }
    let number = u64::from_str_radix(text, 16).map_err(|_| too_large(span))?;
    Ok((Literal::Int(number.into()), end))
}

/// `text` times `unit`, exactly when it is whole.
fn scaled(text: &str, whole: bool, unit: i128) -> Option<i128> {
    if whole {
        let number: u64 = text.parse().ok()?;
        return Some(i128::from(number) * unit);
    }
    let number: f64 = text.parse().ok()?;
    #[allow(clippy::cast_precision_loss, reason = "units are small powers")]
    let product = (number * unit as f64).round();
    #[allow(clippy::cast_possible_truncation, reason = "checked against the range of u64")]
    (product.is_finite() && product < 1.9e19).then_some(product as i128)
}

fn too_large(span: Span) -> Box<Error> {
    Error::new(span, "this number is too large").expected("at most 18446744073709551615, or 292 years")
}

fn unknown_unit(unit: &str, span: Span) -> Box<Error> {
    let names = || SIZES.iter().chain(TIMES).map(|(name, _)| *name);
    let same = names().find(|name| name.eq_ignore_ascii_case(unit));
    let near = same.or_else(|| nearest(unit, names()));
    Error::new(span, format!("unknown unit `{}`", quote(unit)))
        .expected("a size (KB MB GB KiB MiB GiB K M G) or a time (ns us ms s m h d w)")
        .nearest(near)
}

/// Reads the text whose quotes begin at `open`; `start` is where its prefix (`r`, `b`) begins.
/// Returns its bytes and the byte after the closing quote.
pub(crate) fn text(
    source: &str,
    start: usize,
    open: usize,
    raw: bool,
    bytes: bool,
) -> Result<(Vec<u8>, usize)> {
    let input = source.as_bytes();
    let quote = input[open];
    let triple = input[open..].starts_with(&[quote; 3]);
    let closing = if triple { 3 } else { 1 };
    let mut at = open + closing;
    let mut out = Vec::new();
    loop {
        match input.get(at) {
            Some(byte) if *byte == quote && (!triple || input[at..].starts_with(&[quote; 3])) => {
                return Ok((out, at + closing));
            }
            Some(b'\\') if !raw => escape(source, &mut at, bytes, &mut out)?,
            Some(b'\n') if !triple => return Err(unclosed(start, open, quote)),
            Some(byte) => {
                out.push(*byte);
                at += 1;
            }
            None => return Err(unclosed(start, open, quote)),
        }
    }
}

fn unclosed(start: usize, open: usize, quote: u8) -> Box<Error> {
    let quote = char::from(quote);
    Error::new(Span::new(start, open + 1), "this text is not closed")
        .expected(format!("a closing {quote} on the same line"))
}

/// Reads the escape at `at`. In bytes `\x` and octal are one byte, in text a character.
fn escape(source: &str, at: &mut usize, bytes: bool, out: &mut Vec<u8>) -> Result<()> {
    let start = *at;
    let letter = source[start + 1..].chars().next().unwrap_or('\0');
    let wrong = |length: usize, what: &str| {
        let end = start + 1 + letter.len_utf8() + length;
        Error::new(Span::new(start, end.min(source.len())), "unknown escape").expected(what)
    };
    let simple = match letter {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' | '?' | '"' | '\'' | '`' => Some(letter as u8),
        _ => None,
    };
    if let Some(byte) = simple {
        out.push(byte);
        *at += 2;
        return Ok(());
    }
    let (skip, length, radix) = match letter {
        'x' | 'X' => (2, 2, 16),
        'u' => (2, 4, 16),
        'U' => (2, 8, 16),
        '0'..='3' => (1, 3, 8),
        _ => {
            return Err(wrong(0, "one of \\n \\t \\r \\\\ \\\" \\' \\x41 \\u0041 \\101")
                .hint("in a pattern, write r\"…\" so that backslashes stay as they are"));
        }
    };
    let digits = source.get(start + skip..start + skip + length);
    let digits = digits.filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
    let number = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
    let number = number.ok_or_else(|| wrong(0, &format!("{length} digits of base {radix}")))?;
    match u8::try_from(number) {
        Ok(byte) if bytes && !matches!(letter, 'u' | 'U') => out.push(byte),
        _ => {
            let c = char::from_u32(number).ok_or_else(|| wrong(length, "a Unicode character"))?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    *at = start + skip + length;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> core::result::Result<Literal, String> {
        match number(source, 0) {
            Ok((literal, end)) if end == source.len() => Ok(literal),
            Ok((_, end)) => Err(format!("stops at {end}")),
            Err(error) => Err(error.message),
        }
    }

    #[test]
    fn numbers_and_units() {
        for (source, value) in [
            ("0", 0),
            ("42", 42),
            ("1u", 1),
            ("0x1F", 31),
            ("0xffu", 255),
            ("18446744073709551615", u64::MAX.into()),
            ("500KB", 500_000),
            ("2GiB", 2 << 30),
            ("1.5G", 3 << 29),
            ("4K", 4096),
        ] {
            assert_eq!(read(source), Ok(Literal::Int(value)), "{source}");
        }
        for (source, ns) in [
            ("2h", 7_200_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("100ms", 100_000_000),
        ] {
            assert_eq!(read(source), Ok(Literal::Duration(ns)), "{source}");
        }
        assert_eq!(read("1.5"), Ok(Literal::Float(1.5)));
        assert_eq!(read("1e3"), Ok(Literal::Float(1000.0)));
        for source in ["18446744073709551616", "1e999", "999999999999w", "99999999999999T"] {
            assert_eq!(read(source), Err("this number is too large".to_owned()), "{source}");
        }
        assert_eq!(read("5mb"), Err("unknown unit `mb`".to_owned()));
        assert_eq!(read("127.0.0.1"), Err("an address without quotes".to_owned()));
        assert_eq!(duration("-1h"), Some(-3_600_000_000_000));
        assert_eq!(duration("x"), None);
        assert_eq!(duration("5"), None);
    }

    #[test]
    fn texts_and_escapes() {
        let read =
            |source: &str, open: usize, raw, bytes| text(source, 0, open, raw, bytes).map(|(text, _)| text);
        assert_eq!(read(r#""a\n\x41\u0042\103\'""#, 0, false, false).unwrap(), b"a\nABC'");
        assert_eq!(read(r#""\xff""#, 0, false, false).unwrap(), "ÿ".as_bytes());
        assert_eq!(read(r#"b"\xff\377""#, 1, false, true).unwrap(), b"\xff\xff");
        assert_eq!(read(r#"r"\d""#, 1, true, false).unwrap(), b"\\d");
        assert_eq!(read("'''a\n'b'''", 0, false, false).unwrap(), b"a\n'b");
        for source in
            ["\"", "\"a", "'a\n'", "'''a''", r#""\q""#, r#""\u12""#, r#""\ud800""#, "\"\\", "\"\\é\""]
        {
            assert!(read(source, 0, false, false).is_err(), "{source}");
        }
    }
}
