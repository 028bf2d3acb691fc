//! Values as people write them into annotations: GVariant's text format, as far as properties of units need it.
//!
//! `true`, `'text'`, `7` (an int32), `uint64 7`, `1.5`, `['a', 'b']`, `('a', uint64 7)`, `@as []`; see
//! glib's `gvariant-text.html`. Not read: dictionaries, maybe types, byte strings.

use zbus::wire::{Array, ObjectPath, Signature, Str, StructureBuilder, Variant};

/// How deep lists may hold lists.
const DEPTH: u32 = 16;

/// Reads a value; the error says what was expected.
pub(super) fn parse(text: &str) -> Result<Variant<'static>, String> {
    let mut reader = Reader { rest: text };
    let value = reader.value(None, DEPTH)?;
    reader.space();
    match reader.rest {
        "" => Ok(value),
        rest => Err(format!("\"{rest}\" is left over")),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: char) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let ends = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'));
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// A value; of the type that is wanted, or of that which its text has.
    fn value(&mut self, wanted: Option<&Signature>, depth: u32) -> Result<Variant<'static>, String> {
        let depth = depth.checked_sub(1).ok_or("too many lists in lists")?;
        self.space();
        if self.take('@') {
            let end = self.rest.find(char::is_whitespace).ok_or("a type without a value")?;
            let (name, rest) = self.rest.split_at(end);
            self.rest = rest;
            let named = Signature::try_from(name).map_err(|_| format!("\"{name}\" is no type"))?;
            return self.value(Some(&named), depth);
        }
        match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => text_of(self.quoted(quote)?, wanted),
            Some('[') => self.list(wanted, depth),
            Some('(') => self.tuple(wanted, depth),
            Some(_) => self.plain(wanted, depth),
            None => Err("a value is missing".into()),
        }
    }

    fn plain(&mut self, wanted: Option<&Signature>, depth: u32) -> Result<Variant<'static>, String> {
        let word = self.word();
        let named = match word {
            "boolean" => Signature::Bool,
            "byte" => Signature::U8,
            "int16" => Signature::I16,
            "uint16" => Signature::U16,
            "int32" => Signature::I32,
            "uint32" => Signature::U32,
            "int64" => Signature::I64,
            "uint64" => Signature::U64,
            "double" => Signature::F64,
            "string" => Signature::Str,
            "objectpath" => Signature::ObjectPath,
            "true" | "false" if matches!(wanted, None | Some(Signature::Bool)) => {
                return Ok(Variant::Bool(word == "true"));
            }
            "" => return Err(format!("\"{}\" is no value", self.rest)),
            _ => return number(word, wanted),
        };
        self.value(Some(&named), depth)
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                _ if letter == quote => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Ok(text);
                }
                '\\' => match letters.next().map(|(_, letter)| letter) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(plain @ ('\\' | '\'' | '"')) => text.push(plain),
                    _ => return Err("an escape other than \\\\ \\' \\\" \\n \\t".into()),
                },
                '\0' => return Err("a zero byte in a text".into()),
                letter => text.push(letter),
            }
        }
        Err("a text without its end".into())
    }

    /// What stands between brackets, `end` last.
    fn items(
        &mut self,
        end: char,
        mut wanted: impl FnMut(&[Variant<'static>]) -> Result<Option<Signature>, String>,
        depth: u32,
    ) -> Result<Vec<Variant<'static>>, String> {
        let mut items = Vec::new();
        self.take(if end == ']' { '[' } else { '(' });
        while !self.take(end) {
            let kind = wanted(&items)?;
            items.push(self.value(kind.as_ref(), depth)?);
            if !self.take(',') {
                if self.take(end) {
                    break;
                }
                return Err(format!("\"{end}\" or a comma is missing before \"{}\"", self.rest));
            }
        }
        Ok(items)
    }

    fn list(&mut self, wanted: Option<&Signature>, depth: u32) -> Result<Variant<'static>, String> {
        let element = match wanted {
            None => None,
            Some(Signature::Array(element)) => Some(element.signature().clone()),
            Some(other) => return Err(format!("a list is no {other}")),
        };
        // The first one says what all are.
        let same = |items: &[Variant<'static>]| {
            Ok(element.clone().or_else(|| items.first().map(|first| first.value_signature().clone())))
        };
        let items = self.items(']', same, depth)?;
        let Some(kind) =
            element.clone().or_else(|| items.first().map(|first| first.value_signature().clone()))
        else {
            return Err("an empty list needs its type, as in @as []".into());
        };
        let mut list = Array::new(&kind);
        for item in items {
            list.append(item).map_err(|_| format!("an item of the list is no {kind}"))?;
        }
        Ok(Variant::Array(list))
    }

    fn tuple(&mut self, wanted: Option<&Signature>, depth: u32) -> Result<Variant<'static>, String> {
        let kinds: Option<Vec<Signature>> = match wanted {
            None => None,
            Some(Signature::Structure(fields)) => Some(fields.iter().cloned().collect()),
            Some(other) => return Err(format!("a tuple is no {other}")),
        };
        let kind_of = |items: &[Variant<'static>]| match &kinds {
            None => Ok(None),
            Some(kinds) => kinds.get(items.len()).cloned().map(Some).ok_or("too many in a tuple".to_owned()),
        };
        let items = self.items(')', kind_of, depth)?;
        if kinds.as_ref().is_some_and(|kinds| kinds.len() != items.len()) {
            return Err("too few in a tuple".into());
        }
        let mut tuple = StructureBuilder::new();
        for item in items {
            tuple.push_value(item);
        }
        tuple.build().map(Variant::Structure).map_err(|_| "an empty tuple".into())
    }
}

fn text_of(text: String, wanted: Option<&Signature>) -> Result<Variant<'static>, String> {
    match wanted {
        None | Some(Signature::Str) => Ok(Variant::Str(Str::from(text))),
        Some(Signature::ObjectPath) => {
            let path = ObjectPath::try_from(text).map_err(|_| "a text is no object path".to_owned())?;
            Ok(Variant::ObjectPath(path))
        }
        Some(other) => Err(format!("a text is no {other}")),
    }
}

/// A number as decimal or `0x…`; without a wanted type an int32, or a double when it is written as one.
fn number(word: &str, wanted: Option<&Signature>) -> Result<Variant<'static>, String> {
    let double = || word.parse::<f64>().ok().filter(|value| value.is_finite());
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let whole = match digits.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16),
        None => digits.parse::<i128>(),
    };
    let whole = whole
        .ok()
        .filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()))
        .and_then(|value| value.checked_mul(sign));
    let fits = || format!("\"{word}\" is no {}", wanted.map_or("value".into(), ToString::to_string));
    let value = match (wanted, whole) {
        (Some(Signature::F64), _) => double().map(Variant::F64),
        (None, None) => double().map(Variant::F64),
        (None | Some(Signature::I32), Some(whole)) => whole.try_into().ok().map(Variant::I32),
        (Some(Signature::U8), Some(whole)) => whole.try_into().ok().map(Variant::U8),
        (Some(Signature::I16), Some(whole)) => whole.try_into().ok().map(Variant::I16),
        (Some(Signature::U16), Some(whole)) => whole.try_into().ok().map(Variant::U16),
        (Some(Signature::U32), Some(whole)) => whole.try_into().ok().map(Variant::U32),
        (Some(Signature::I64), Some(whole)) => whole.try_into().ok().map(Variant::I64),
        (Some(Signature::U64), Some(whole)) => whole.try_into().ok().map(Variant::U64),
        _ => None,
    };
    value.ok_or_else(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<(String, String), String> {
        let value = parse(text)?;
        Ok((value.value_signature().to_string(), value.to_string()))
    }

    #[test]
    fn values_have_their_types() {
        for (text, kind) in [
            ("true", "b"),
            (" 'inactive-or-failed' ", "s"),
            ("\"a \\\" b\"", "s"),
            ("7", "i"),
            ("-0x10", "i"),
            ("uint64 123456789", "t"),
            ("byte 0xff", "y"),
            ("1.5", "d"),
            ("['a.service', 'b.service']", "as"),
            ("@as []", "as"),
            ("[uint64 1, 2]", "at"),
            ("@a(st) [('/dev/sda', 100)]", "a(st)"),
            ("('a', uint32 7)", "(su)"),
            ("objectpath '/a/b'", "o"),
        ] {
            assert_eq!(shown(text).map(|(kind, _)| kind).as_deref(), Ok(kind), "{text}");
        }
        assert_eq!(parse("uint64 123456789"), Ok(Variant::U64(123_456_789)));
        assert_eq!(parse("'it\\'s'"), Ok(Variant::Str("it's".into())));
        assert_eq!(parse("-3"), Ok(Variant::I32(-3)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "x",
            "'open",
            "[1, 'a']",
            "[]",
            "[1",
            "byte 256",
            "uint64 -1",
            "4294967296",
            "1 2",
            "@ 1",
            "@q 'a'",
            "{'a': 1}",
            "()",
            "nothing",
            "string 7",
            "@(ss) ('a',)",
            "@(s) ('a', 'b')",
            "'\\x'",
            "-",
        ] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
