//! Pieces of text that the grammar is made of. There are no tokens: which pieces fit depends on
//! where the parser stands, and blanks are part of some words.

use crate::diagnostic::{Error, Result};
use crate::span::Span;

/// A place in the source.
pub(super) struct Cursor<'s> {
    pub(super) source: &'s str,
    pub(super) at: usize,
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 8 | b'\r' | b'\n')
}

/// C's isspace, which bare texts end at.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Length of the longest beginning of `bytes` of which `fits` is true of each byte.
fn run(bytes: &[u8], fits: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| fits(**byte)).count()
}

/// Length of the identifier that `bytes` begin with: a letter, then letters, digits and `_`.
fn identifier(bytes: &[u8]) -> usize {
    if !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
        return 0;
    }
    run(bytes, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Length of the name of a field that `bytes` begin with: identifiers with dots between them.
fn field_name(bytes: &[u8]) -> usize {
    let first = identifier(bytes);
    let mut length = first;
    while length > 0 && bytes.get(length) == Some(&b'.') {
        match identifier(&bytes[length + 1..]) {
            0 => break,
            next => length += 1 + next,
        }
    }
    if length > first { length } else { 0 }
}

/// Length of the number that `bytes` begin with: `0x1f`, `-12`, `+0.25e+10`.
fn number(bytes: &[u8]) -> usize {
    if let [b'0', b'x' | b'X', rest @ ..] = bytes {
        let digits = run(rest, |byte| byte.is_ascii_hexdigit());
        if digits > 0 {
            return 2 + digits;
        }
    }
    let digits = |from: usize| run(bytes.get(from..).unwrap_or_default(), |byte| byte.is_ascii_digit());
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(sign);
    if whole == 0 {
        return 0;
    }
    let mut length = sign + whole;
    if bytes.get(length) == Some(&b'.') {
        length += 1 + digits(length + 1);
    }
    if let [b'e' | b'E', b'+' | b'-', ..] = bytes.get(length..).unwrap_or_default() {
        let exponent = digits(length + 2);
        length += if exponent > 0 { 2 + exponent } else { 0 };
    }
    length
}

/// Whether a text could stand without quotes.
pub(super) fn is_bare(text: &[u8]) -> bool {
    !text.is_empty() && bare(text) == text.len()
}

/// Whether an argument could stand in brackets without quotes.
pub(super) fn is_bare_arg(text: &[u8]) -> bool {
    !text.is_empty() && bare_arg(text) == text.len()
}

/// Whether it is a number.
pub(super) fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && number(text) == text.len()
}

fn bare(bytes: &[u8]) -> usize {
    run(bytes, |byte| !is_space(byte) && !b"()\"'=,".contains(&byte))
}

fn bare_arg(bytes: &[u8]) -> usize {
    run(bytes, |byte| !is_space(byte) && !b"[]\"'".contains(&byte))
}

impl<'s> Cursor<'s> {
    pub(super) fn rest(&self) -> &'s [u8] {
        self.source.as_bytes().get(self.at..).unwrap_or_default()
    }

    pub(super) fn here(&self) -> Span {
        let width = self.source[self.at..].chars().next().map_or(0, char::len_utf8);
        Span::new(self.at, self.at + width)
    }

    pub(super) fn since(&self, start: usize) -> Span {
        Span::new(start, self.at)
    }

    /// Skips blanks; whether there were any.
    pub(super) fn blank(&mut self) -> bool {
        let length = run(self.rest(), is_blank);
        self.at += length;
        length > 0
    }

    /// Skips `word`, whatever follows it.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Skips `word` and the blanks that must follow it.
    pub(super) fn spaced(&mut self, word: &str) -> bool {
        let start = self.at;
        if self.word(word) && self.blank() {
            return true;
        }
        self.at = start;
        false
    }

    /// Skips `not` and the space behind it; any of C's spaces will do.
    pub(super) fn not(&mut self) -> bool {
        let rest = self.rest();
        let space = if rest.starts_with(b"not") { run(&rest[3..], is_space) } else { 0 };
        self.at += if space > 0 { 3 + space } else { 0 };
        space > 0
    }

    fn take(&mut self, length: usize) -> Option<&'s str> {
        let text = self.source.get(self.at..self.at + length).filter(|text| !text.is_empty())?;
        self.at += length;
        Some(text)
    }

    pub(super) fn identifier(&mut self) -> Option<&'s str> {
        self.take(identifier(self.rest()))
    }

    pub(super) fn field_name(&mut self) -> Option<&'s str> {
        self.take(field_name(self.rest()))
    }

    pub(super) fn number(&mut self) -> Option<&'s str> {
        self.take(number(self.rest()))
    }

    pub(super) fn bare(&mut self) -> Option<&'s str> {
        self.take(bare(self.rest()))
    }

    pub(super) fn bare_arg(&mut self) -> Option<&'s str> {
        self.take(bare_arg(self.rest()))
    }

    /// Whether a list follows: a bracket, or the name of one that is no operator between checks.
    pub(super) fn list_follows(&self) -> bool {
        let rest = self.rest();
        let keyword = |word: &&[u8]| {
            rest.starts_with(word) && !rest.get(word.len()).is_some_and(u8::is_ascii_alphanumeric)
        };
        let keywords: [&[u8]; 3] = [b"and", b"or", b"not"];
        (rest.first() == Some(&b'(') || identifier(rest) > 0) && !keywords.iter().any(keyword)
    }

    /// A text in quotes without its escapes. It ends at the first quote that no backslash stands
    /// before, be that backslash itself escaped or not.
    pub(super) fn quoted(&mut self) -> Result<Option<Vec<u8>>> {
        let (start, rest) = (self.at, self.rest());
        let Some(quote @ (b'"' | b'\'')) = rest.first().copied() else { return Ok(None) };
        let end = (1..rest.len()).find(|at| rest[*at] == quote && rest[*at - 1] != b'\\');
        let Some(end) = end else { return Ok(None) };
        self.at += end + 1;
        unescape(&rest[1..end], quote, start + 1).map(Some)
    }
}

/// What a text in quotes stands for; `start` is where it begins.
fn unescape(text: &[u8], quote: u8, start: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let span = |end: usize| Span::new(start + at - 1, start + end);
        let Some(&escape) = text.get(at) else { break };
        match escape {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            // A backslash before a blank stands for itself in place of the blank, as in libsinsp.
            b' ' | b'\\' => out.push(b'\\'),
            b'/' => out.push(b'/'),
            b'"' | b'\'' if escape == quote => out.push(escape),
            b'"' | b'\'' => {
                let (other, this) = (char::from(escape), char::from(quote));
                let message = format!("`\\{other}` within {this}-quotes");
                return Err(
                    Error::new(span(at + 1), message).hint(format!("`{other}` needs no backslash here"))
                );
            }
            b'x' => {
                let digits =
                    text.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
                let byte =
                    digits.and_then(|digits| u8::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok());
                let Some(byte) = byte else {
                    return Err(Error::new(span(at + 1), "`\\x` without two hexadecimal digits"));
                };
                out.push(byte);
                at += 2;
            }
            other => {
                let shown = char::from(other).escape_default();
                return Err(Error::new(span(at + 1), format!("unknown escape `\\{shown}`"))
                    .expected("one of \\b \\f \\n \\r \\t \\\\ \\/ \\\" \\' \\x41"));
            }
        }
        at += 1;
    }
    Ok(out)
}
