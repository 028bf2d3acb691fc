//! Hostile text made visible.
//!
//! Names, paths and command lines belong to whoever chose them. In what people read, control
//! characters, bidi controls, invisible characters and bytes that are no UTF-8 stand as `\n`,
//! `\x1b`, `\u{202e}`, `\xff`; so does the fifth combining mark in a row. A backslash stays single:
//! the text is for reading, machine formats are exact.

use unicode_width::UnicodeWidthChar;

/// Combining marks in a row that a character may carry; real scripts need three.
const MARKS: usize = 4;

/// Whether `c` must not reach a terminal as it is.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        // Soft hyphen, grapheme joiner, fillers, vowel inherents and separators: all invisible.
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        // Zero width, bidi marks, line separators, embeddings, invisible operators, isolates.
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        // Tags and the second set of variation selectors.
        | '\u{e0000}'..='\u{e0fff}')
}

/// Whether every byte is printable ASCII: what is shown is what is there.
#[must_use]
#[inline]
pub fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
    };
    // The last eight overlap those before them.
    let (words, _) = bytes.as_chunks::<8>();
    !words.iter().chain([last]).any(|word| has_other(u64::from_le_bytes(*word)))
}

/// Whether one of eight bytes is no printable ASCII: below 0x20, 0x7f, or above. A borrow or a carry
/// reaches the next byte only out of one that is already found.
#[inline]
const fn has_other(word: u64) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    (word.wrapping_sub(ONES * 0x20) | word | word.wrapping_add(ONES)) & (ONES * 0x80) != 0
}

/// What a stretch of text becomes.
#[derive(Clone, Copy)]
enum Piece {
    /// A character as it is.
    Char(char, usize),
    /// A character as its number.
    Number(char),
    /// A byte that is no UTF-8.
    Byte(u8),
}

impl Piece {
    fn width(self) -> usize {
        match self {
            Self::Char(_, width) => width,
            Self::Number('\n' | '\t' | '\r') => 2,
            Self::Number(c) if c < '\u{80}' => 4,
            Self::Number(c) => 4 + hex_digits(c as u32),
            Self::Byte(_) => 4,
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Char(c, _) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Self::Number('\n') => out.extend_from_slice(b"\\n"),
            Self::Number('\t') => out.extend_from_slice(b"\\t"),
            Self::Number('\r') => out.extend_from_slice(b"\\r"),
            Self::Number(c) if c < '\u{80}' => write_byte(out, c as u8),
            Self::Number(c) => {
                out.extend_from_slice(b"\\u{");
                for place in (0..hex_digits(c as u32)).rev() {
                    out.push(hex((c as u32 >> (4 * place)) as u8));
                }
                out.push(b'}');
            }
            Self::Byte(byte) => write_byte(out, byte),
        }
    }
}

const fn hex_digits(number: u32) -> usize {
    (35 - (number | 1).leading_zeros() as usize) / 4
}

/// The digit of the low four bits.
pub(crate) const fn hex(nibble: u8) -> u8 {
    match nibble & 15 {
        digit @ 0..=9 => b'0' + digit,
        digit => b'a' + digit - 10,
    }
}

/// Appends `\xHH`.
pub(crate) fn write_byte(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[b'\\', b'x', hex(byte >> 4), hex(byte)]);
}

/// Calls `visit` with each piece until it returns false.
fn pieces(bytes: &[u8], mut visit: impl FnMut(Piece) -> bool) {
    let mut marks = 0;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let width = if is_hostile(c) { None } else { c.width() };
            marks = if width == Some(0) { marks + 1 } else { 0 };
            let piece = match width {
                Some(width) if marks <= MARKS => Piece::Char(c, width),
                _ => Piece::Number(c),
            };
            if !visit(piece) {
                return;
            }
        }
        for byte in chunk.invalid() {
            marks = 0;
            if !visit(Piece::Byte(*byte)) {
                return;
            }
        }
    }
}

/// Appends the text of `bytes` and returns the columns it fills.
#[inline]
pub fn write(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        return bytes.len();
    }
    let mut width = 0;
    pieces(bytes, |piece| {
        piece.write(out);
        width += piece.width();
        true
    });
    width
}

/// Columns that the text of `bytes` fills.
#[must_use]
#[inline]
pub fn width(bytes: &[u8]) -> usize {
    if is_plain(bytes) {
        return bytes.len();
    }
    let mut width = 0;
    pieces(bytes, |piece| {
        width += piece.width();
        true
    });
    width
}

/// Appends as much of the text of `bytes` as `room` columns hold and returns the columns filled.
/// What is cut ends in `more` (one column wide); no escape is cut in two. `cut` says that `bytes`
/// is already the beginning of something longer.
pub fn write_cut(out: &mut Vec<u8>, bytes: &[u8], room: usize, more: &str, cut: bool) -> usize {
    if bytes.len() <= room {
        if !cut && is_plain(bytes) {
            out.extend_from_slice(bytes);
            return bytes.len();
        }
    } else if bytes.get(..=room).is_some_and(is_plain) && room > 0 {
        // Too wide, whatever follows.
        out.extend_from_slice(bytes.get(..room - 1).unwrap_or_default());
        out.extend_from_slice(more.as_bytes());
        return room;
    }
    let start = out.len();
    let mut width = 0;
    // Where the text must end to leave a column for `more`, and its width there.
    let mut last = (start, 0);
    let mut whole = true;
    pieces(bytes, |piece| {
        let next = width + piece.width();
        if next > room {
            whole = false;
            return false;
        }
        piece.write(out);
        width = next;
        if width < room {
            last = (out.len(), width);
        }
        true
    });
    if (whole && !cut) || room == 0 {
        return width;
    }
    out.truncate(last.0);
    out.extend_from_slice(more.as_bytes());
    last.1 + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        assert_eq!(write(&mut out, bytes), width(bytes));
        String::from_utf8(out).unwrap()
    }

    fn cut(bytes: &[u8], room: usize) -> (String, usize) {
        let mut out = Vec::new();
        let width = write_cut(&mut out, bytes, room, "…", false);
        (String::from_utf8(out).unwrap(), width)
    }

    #[test]
    fn hostile_text_is_shown() {
        for (text, expected) in [
            (&b"plain text"[..], "plain text"),
            (b"a\tb\nc\rd", "a\\tb\\nc\\rd"),
            (b"\x1b[31m\x07\x7f\0", "\\x1b[31m\\x07\\x7f\\x00"),
            ("\u{202e}evil\u{2066}".as_bytes(), "\\u{202e}evil\\u{2066}"),
            ("a\u{200b}b\u{feff}c\u{ad}".as_bytes(), "a\\u{200b}b\\u{feff}c\\u{ad}"),
            ("\u{85}\u{9b}31m\u{2028}".as_bytes(), "\\u{85}\\u{9b}31m\\u{2028}"),
            ("\u{e0041}".as_bytes(), "\\u{e0041}"),
            (b"\xff\xc3(\xe2\x82", "\\xff\\xc3(\\xe2\\x82"),
            ("日本語 é e\u{301}".as_bytes(), "日本語 é e\u{301}"),
            (
                "z\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}".as_bytes(),
                "z\u{301}\u{301}\u{301}\u{301}\\u{301}\\u{301}",
            ),
            (b"back\\slash", "back\\slash"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn cutting_counts_columns_and_keeps_escapes_whole() {
        for (text, room, expected, width) in [
            ("abcdef", 6, "abcdef", 6),
            ("abcdef", 5, "abcd…", 5),
            ("abcdef", 1, "…", 1),
            ("abcdef", 0, "", 0),
            ("", 0, "", 0),
            ("日本語", 6, "日本語", 6),
            ("日本語", 5, "日本…", 5),
            ("日本語", 4, "日…", 3),
            ("ab\u{202e}cd", 9, "ab…", 3),
            ("ab\u{202e}", 10, "ab\\u{202e}", 10),
            ("a\x1bb", 5, "a…", 2),
        ] {
            assert_eq!(cut(text.as_bytes(), room), (expected.to_owned(), width), "{text:?} {room}");
        }
        let mut out = Vec::new();
        assert_eq!(write_cut(&mut out, b"abc", 3, "+", true), 3);
        assert_eq!(out, b"ab+");
    }

    proptest! {
        #[test]
        fn nothing_hostile_passes(bytes in any::<Vec<u8>>(), text in any::<String>(), room in 0usize..40) {
            for bytes in [&bytes[..], text.as_bytes()] {
                let shown = shown(bytes);
                prop_assert!(!shown.chars().any(is_hostile), "{shown:?}");
                prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
                // Shown text is its own text.
                prop_assert_eq!(self::shown(shown.as_bytes()), shown.clone());
                let (cut, filled) = cut(bytes, room);
                prop_assert!(filled <= room && !cut.chars().any(is_hostile));
                prop_assert_eq!(width(cut.as_bytes()), filled);
                prop_assert!(width(bytes) > room || cut == shown);
            }
        }

        #[test]
        fn plain_is_printable_ascii(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(is_plain(&bytes), bytes.iter().all(|b| (0x20..0x7f).contains(b)));
        }
    }
}
