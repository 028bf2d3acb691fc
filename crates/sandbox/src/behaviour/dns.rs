//! The question of a DNS message (RFC 1035): which name is asked for.

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name, labels joined by dots; what is no letter, digit, `-` or `_` is escaped.
    pub name: String,
    /// The type of record: 1 for an IPv4 address.
    pub kind: u16,
    /// Where the question ends in the message.
    pub end: usize,
}

/// Bytes of a message before its question.
const HEADER: usize = 12;

/// Reads the first question of a message; `None` for what is no question.
#[must_use]
pub fn question(message: &[u8]) -> Option<Question> {
    let word = |at: usize| Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?));
    // A query, of the standard kind, with questions; answers have the first bit set.
    if word(2)? & 0xf800 != 0 || word(4)? == 0 {
        return None;
    }
    let (mut name, mut at) = (String::new(), HEADER);
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = message.get(at..at + length).filter(|_| length < 64)?;
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            if byte.is_ascii_alphanumeric() || b"-_".contains(byte) {
                name.push(char::from(*byte));
            } else {
                name.push_str(&format!("\\x{byte:02x}"));
            }
        }
        at += length;
        // 255 bytes are the longest name that there is.
        if at - HEADER > 255 {
            return None;
        }
    }
    let (kind, class) = (word(at)?, word(at + 2)?);
    // The Internet's, or any.
    matches!(class & 0x7fff, 1 | 255).then_some(Question { name, kind, end: at + 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_and_nothing_else() {
        let mut message = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(b"\x04evil\x06te\x1bst.\0\0\x01\0\x01");
        let read = question(&message).unwrap();
        assert_eq!((&*read.name, read.kind, read.end), ("evil.te\\x1bst\\x2e", 1, message.len()));
        for cut in 0..message.len() {
            assert_eq!(question(&message[..cut]), None, "{cut}");
        }
        let mut answer = message.clone();
        answer[2] |= 0x80;
        assert_eq!(question(&answer), None);
        // Pointers are for answers; a name has an end.
        assert_eq!(question(&[&message[..12], &[0xc0, 12, 0, 1, 0, 1]].concat()), None);
        assert_eq!(question(&[&message[..12], &b"\x3f".repeat(600)[..]].concat()), None);
    }
}
