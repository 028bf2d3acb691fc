//! A stream of bytes taken apart into JSON documents: one a line, over several lines, or one behind the
//! other. Only brackets and strings are looked at; what they hold is for the parser.

/// Splits bytes at the ends of documents. What cannot be one comes as it is, so that it is told.
#[derive(Debug)]
pub struct Documents {
    /// The document so far.
    bytes: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// A document was too long: what is left of its line is left out.
    skipping: bool,
    limit: usize,
    cut: u64,
}

impl Documents {
    /// Documents of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), depth: 0, in_string: false, escaped: false, skipping: false, limit, cut: 0 }
    }

    /// Documents that were too long so far.
    #[must_use]
    pub const fn cut(&self) -> u64 {
        self.cut
    }

    /// Takes bytes in, and gives each document that ends within them to `take`.
    pub fn feed(&mut self, bytes: &[u8], take: &mut dyn FnMut(&[u8])) {
        for byte in bytes {
            self.byte(*byte, take);
        }
    }

    /// The stream has ended: what is left is given to `take`.
    pub fn end(&mut self, take: &mut dyn FnMut(&[u8])) {
        self.flush(take);
        self.skipping = false;
    }

    fn byte(&mut self, byte: u8, take: &mut dyn FnMut(&[u8])) {
        if self.skipping {
            self.skipping = byte != b'\n';
            return;
        }
        if byte == b'\n' && (self.depth == 0 || self.in_string) {
            // No string goes over a line: one that seems to was never finished.
            return self.flush(take);
        }
        if self.bytes.is_empty() && byte.is_ascii_whitespace() {
            return;
        }
        self.bytes.push(byte);
        if self.bytes.len() > self.limit {
            self.cut += 1;
            self.skipping = byte != b'\n';
            return self.clear();
        }
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' if self.depth > 0 => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.flush(take);
                }
            }
            _ => {}
        }
    }

    fn flush(&mut self, take: &mut dyn FnMut(&[u8])) {
        if !self.bytes.trim_ascii().is_empty() {
            take(&self.bytes);
        }
        self.clear();
    }

    fn clear(&mut self) {
        self.bytes.clear();
        (self.depth, self.in_string, self.escaped) = (0, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, limit: usize, step: usize) -> (Vec<String>, u64) {
        let mut documents = Documents::new(limit);
        let mut found = Vec::new();
        let mut take = |bytes: &[u8]| found.push(String::from_utf8_lossy(bytes).into_owned());
        for bytes in text.as_bytes().chunks(step) {
            documents.feed(bytes, &mut take);
        }
        documents.end(&mut take);
        (found, documents.cut())
    }

    #[test]
    fn documents_end_where_their_brackets_end() {
        for (text, expected) in [
            ("{\"a\":1}\n{\"b\":2}\n", vec!["{\"a\":1}", "{\"b\":2}"]),
            ("{\n \"a\": [\n  1\n ]\n}\n\n[{}]", vec!["{\n \"a\": [\n  1\n ]\n}", "[{}]"]),
            ("{}{} {}", vec!["{}", "{}", "{}"]),
            ("{\"}\\\"{\":\"]\"}", vec!["{\"}\\\"{\":\"]\"}"]),
            ("rubbish {\nx\n", vec!["rubbish {\nx\n"]),
            ("17\n}\n{\"a\":1}", vec!["17", "}", "{\"a\":1}"]),
            // A line that was cut does not swallow the next.
            ("{\"a\":\"cu\n{\"b\":2}\n", vec!["{\"a\":\"cu", "{\"b\":2}"]),
            (" \n\n\t", vec![]),
        ] {
            for step in [1, 3, 1000] {
                assert_eq!(split(text, 1000, step).0, expected, "{text}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_counted_and_left_out() {
        let long = format!("{{\"a\":\"{}\"}}\n{{\"b\":2}}\n", "x".repeat(50));
        assert_eq!(split(&long, 20, 7), (vec!["{\"b\":2}".to_owned()], 1));
    }
}
