//! Numbers, words and lines as the kernel writes them into its text files.
//!
//! Nothing here fails: what is no number reads as `None` or stops the number, and a number that is
//! too large is the largest one.

/// The lines of `bytes`, without their ends; a last line without an end counts.
pub(crate) fn lines(bytes: &[u8]) -> Lines<'_> {
    Lines { rest: bytes }
}

/// See [`lines`].
pub(crate) struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = match memchr::memchr(b'\n', self.rest) {
            Some(end) => (self.rest.get(..end)?, self.rest.get(end + 1..)?),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(line)
    }
}

/// The words of a line, parted by any run of blanks and tabs.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// The decimal digits at the start of `bytes` as a number, and what follows them.
#[inline]
pub(crate) fn leading(bytes: &[u8]) -> (Option<u64>, &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(end);
    if digits.is_empty() {
        return (None, rest);
    }
    let fold = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    (Some(digits.iter().fold(0, fold)), rest)
}

/// A decimal number and nothing else.
#[inline]
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    match leading(bytes) {
        (Some(number), []) => Some(number),
        _ => None,
    }
}

/// A decimal number of 32 bits and nothing else.
#[inline]
pub(crate) fn number32(bytes: &[u8]) -> Option<u32> {
    number(bytes).and_then(|number| u32::try_from(number).ok())
}

/// A decimal number, perhaps negative, and nothing else.
#[inline]
pub(crate) fn signed(bytes: &[u8]) -> Option<i64> {
    match bytes.split_first() {
        Some((b'-', digits)) => number(digits).map(|n| i64::try_from(n).map_or(i64::MIN, |n| -n)),
        _ => number(bytes).map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
    }
}

/// A number of base 8 or 16 and nothing else, at most 64 bits.
#[inline]
pub(crate) fn radix(bytes: &[u8], base: u32) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0u64, |sum, byte| {
        let digit = char::from(*byte).to_digit(base)?;
        sum.checked_mul(u64::from(base))?.checked_add(u64::from(digit))
    })
}

/// Undoes the kernel's `\ooo` (blank, tab, newline, backslash in mountinfo).
pub(crate) fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| radix(digits, 8));
        match octal.and_then(|value| u8::try_from(value).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// A link such as `net:[4026531840]` or `socket:[1234]`: what stands between `prefix` + `[` and `]`.
#[inline]
pub(crate) fn bracketed(link: &[u8], prefix: &[u8]) -> Option<u64> {
    number(link.strip_prefix(prefix)?.strip_prefix(b":[")?.strip_suffix(b"]")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(leading(b"12 kB"), (Some(12), &b" kB"[..]));
        assert_eq!(leading(b"x"), (None, &b"x"[..]));
        assert_eq!(number(b"99999999999999999999999"), Some(u64::MAX));
        assert_eq!(number(b"1x"), None);
        assert_eq!(number32(b"4294967296"), None);
        assert_eq!(signed(b"-20"), Some(-20));
        assert_eq!(signed(b"-99999999999999999999"), Some(i64::MIN));
        assert_eq!(signed(b"-"), None);
        assert_eq!(radix(b"0100", 8), Some(64));
        assert_eq!(radix(b"ffffffffffffffff", 16), Some(u64::MAX));
        assert_eq!(radix(b"1ffffffffffffffff", 16), None);
        assert_eq!(radix(b"", 16), None);
    }

    #[test]
    fn lines_and_words() {
        assert_eq!(lines(b"a\n\nb").collect::<Vec<_>>(), [&b"a"[..], b"", b"b"]);
        assert_eq!(lines(b"a\n").count(), 1);
        assert_eq!(words(b"  a\t b ").collect::<Vec<_>>(), [&b"a"[..], b"b"]);
    }

    #[test]
    fn escapes_and_links() {
        assert_eq!(unescape(br"/a\040b\134\9"), b"/a b\\\\9");
        assert_eq!(unescape(br"\777\04"), br"\777\04");
        assert_eq!(bracketed(b"net:[17]", b"net"), Some(17));
        assert_eq!(bracketed(b"/net:[17]", b"net"), None);
        assert_eq!(bracketed(b"net:[17] (deleted)", b"net"), None);
    }
}
