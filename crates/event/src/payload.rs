//! The bytes of a payload as text, in the forms that sysdig has for them.

/// How bytes become text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// One character a byte, a dot for what is not printable.
    #[default]
    Dots,
    /// Printable characters and the ends of lines (`-A`).
    Ascii,
    /// Base64 (`-b`).
    Base64,
    /// Sixteen bytes a line in hexadecimal (`-x`).
    Hex,
    /// The same with the characters beside it (`-X`).
    HexAscii,
}

impl Form {
    /// Appends `bytes`. Dots are cut to `limit` characters, the last three of them dots; 0 is no limit.
    pub fn write(self, bytes: &[u8], limit: usize, out: &mut Vec<u8>) {
        match self {
            _ if bytes.is_empty() => {}
            Self::Dots => dots(bytes, limit, out),
            Self::Ascii => {
                // The text begins on a line of its own, as in sysdig; the end of a line that it may
                // begin with is that one.
                out.push(b'\n');
                let mut before = b'\r';
                for byte in bytes {
                    match byte {
                        b'\n' if before == b'\r' => {}
                        b'\n' | b'\r' => out.push(b'\n'),
                        byte if is_printable(*byte) => out.push(*byte),
                        _ => {}
                    }
                    before = *byte;
                }
            }
            Self::Base64 => base64(bytes, out),
            Self::Hex => hex(bytes, false, out),
            Self::HexAscii => hex(bytes, true, out),
        }
    }

    /// Whether it has lines of its own.
    #[must_use]
    pub const fn has_lines(self) -> bool {
        matches!(self, Self::Ascii | Self::Hex | Self::HexAscii)
    }
}

const fn is_printable(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

fn dots(bytes: &[u8], limit: usize, out: &mut Vec<u8>) {
    let cut = limit != 0 && bytes.len() > limit;
    let shown = if cut && limit > 3 {
        limit - 3
    } else if cut {
        limit
    } else {
        bytes.len()
    };
    out.extend(bytes.iter().take(shown).map(|byte| if is_printable(*byte) { *byte } else { b'.' }));
    if cut && limit > 3 {
        out.extend_from_slice(b"...");
    }
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4usize {
            let index = bits >> (18 - 6 * at) & 63;
            let letter = LETTERS.get(index as usize).copied().unwrap_or(b'=');
            out.push(if at <= chunk.len() { letter } else { b'=' });
        }
    }
}

fn hex(bytes: &[u8], ascii: bool, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 15)).copied().unwrap_or(b'0');
    for (row, chunk) in bytes.chunks(16).enumerate() {
        out.extend_from_slice(format!("\n\t0x{:04x}:", row * 16).as_bytes());
        for (at, byte) in chunk.iter().enumerate() {
            if at % 2 == 0 {
                out.push(b' ');
            }
            out.extend([digit(byte >> 4), digit(*byte)]);
        }
        if ascii {
            let missing = 16 - chunk.len();
            // sysdig aligns rows of an odd length two columns earlier.
            let behind = if missing % 2 == 0 { 2 } else { 0 };
            out.resize(out.len() + missing * 2 + missing / 2 + behind, b' ');
            out.extend(chunk.iter().map(|byte| if is_printable(*byte) { *byte } else { b'.' }));
        }
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: Form, bytes: &[u8], limit: usize, expect: &str) {
        let mut out = Vec::new();
        form.write(bytes, limit, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expect);
    }

    #[test]
    fn bytes_have_forms() {
        check(Form::Dots, b"ab\0\xffcdefgh", 8, "ab..c...");
        check(Form::Dots, b"ab\0", 0, "ab.");
        check(Form::Ascii, b"GET /\r\na\0\rb\n", 0, "\nGET /\na\nb\n");
        check(Form::Ascii, b"\n", 0, "\n");
        check(Form::Ascii, b"\n\na", 0, "\n\na");
        check(Form::Hex, b"", 0, "");
        check(Form::Base64, b"abcd", 0, "YWJjZA==");
        check(Form::Base64, b"abc", 0, "YWJj");
        check(
            Form::Hex,
            b"GET / HTTP/1.1\r\nH",
            0,
            "\n\t0x0000: 4745 5420 2f20 4854 5450 2f31 2e31 0d0a\n\t0x0010: 48\n",
        );
        // As sysdig 0.29.3 prints it.
        check(Form::HexAscii, b"0\r\n\r\n", 0, "\n\t0x0000: 300d 0a0d 0a                           0....\n");
        check(
            Form::HexAscii,
            b"ccept: */*\r\n\r\n",
            0,
            "\n\t0x0000: 6363 6570 743a 202a 2f2a 0d0a 0d0a       ccept: */*....\n",
        );
    }
}
