//! Texts as strace writes them.

use std::io::Write as _;

/// A text in quotes, cut, with what is not printable escaped as in C, in octal.
pub(super) fn quoted(out: &mut Vec<u8>, text: &[u8], most: usize) {
    let shown = text.get(..most).unwrap_or(text);
    out.push(b'"');
    for (at, byte) in shown.iter().enumerate() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x0b => out.extend_from_slice(b"\\v"),
            0x0c => out.extend_from_slice(b"\\f"),
            byte if byte.is_ascii_graphic() || *byte == b' ' => out.push(*byte),
            byte => {
                // Three digits only where another one follows.
                let follows = shown.get(at + 1).is_some_and(u8::is_ascii_digit);
                let _ = if follows { write!(out, "\\{byte:03o}") } else { write!(out, "\\{byte:o}") };
            }
        }
    }
    out.push(b'"');
    if text.len() > most {
        out.extend_from_slice(b"...");
    }
}

/// A text without quotes; what is not printable is a dot.
pub(super) fn clean(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'.' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_cut() {
        let mut out = Vec::new();
        quoted(&mut out, b"a\"\n\x1b\xff\x007\x00", 64);
        quoted(&mut out, b"abc", 2);
        quoted(&mut out, b"ab", 2);
        assert_eq!(String::from_utf8(out).unwrap(), r#""a\"\n\33\377\0007\0""ab"..."ab""#);
    }
}
