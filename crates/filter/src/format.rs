//! sysdig's and Falco's format language: what is printed of an event.
//!
//! ```text
//! format  := ['*'] { text | '%' [digits] (field | transformer '(' field ')') }
//! field   := name [ '[' argument ']' ]      evt.arg.flags is evt.arg[flags]
//! ```
//! A leading `*` keeps lines in which a field has no value; digits are a width to which the value is
//! padded or cut; `\n`, `\t`, `\e` and `\\` are decoded. This module reads formats; how a value is
//! written is the business of whoever prints.

use nabe_event::Type;
use nabe_event::field::{self, Arg, Field, Marks, nearest};

use crate::sysdig::decode_base64;

/// What is wrong with a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Nothing to print.
    #[error("the format is empty")]
    Empty,
    /// A `%` with nothing behind it.
    #[error("the format cannot end with `%` or a width (position {position})")]
    Cut {
        /// Where the `%` is, in bytes.
        position: usize,
    },
    /// No field has this name.
    #[error("unknown field `{name}` in the format (position {position})")]
    Unknown {
        /// What the user wrote.
        name: String,
        /// Where it begins, in bytes.
        position: usize,
        /// The known name that is nearest, if any is near.
        nearest: Option<String>,
    },
    /// A field that has no value without an argument.
    #[error("field `{name}` needs an argument in brackets (position {position})")]
    NoArgument {
        /// The field.
        name: String,
        /// Where it begins, in bytes.
        position: usize,
    },
    /// A field that has no text.
    #[error("field `{name}` is for filters only (position {position})")]
    FilterOnly {
        /// The field.
        name: String,
        /// Where it begins, in bytes.
        position: usize,
    },
    /// Brackets or parentheses that do not close.
    #[error("`{name}` is not closed (position {position})")]
    Open {
        /// What the user wrote.
        name: String,
        /// Where it begins, in bytes.
        position: usize,
    },
}

impl FormatError {
    /// The name that was probably meant.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        match self {
            Self::Unknown { nearest, .. } => nearest.as_deref(),
            _ => None,
        }
    }
}

/// What is done with a value before it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transformer {
    /// Capital letters.
    Upper,
    /// Small letters.
    Lower,
    /// What base64 stands for.
    Base64,
    /// The part behind the last slash.
    Basename,
    /// Bytes of a text.
    Len,
}

const TRANSFORMERS: [(&str, Transformer); 5] = [
    ("toupper(", Transformer::Upper),
    ("tolower(", Transformer::Lower),
    ("b64(", Transformer::Base64),
    ("basename(", Transformer::Basename),
    ("len(", Transformer::Len),
];

/// A part of a format.
#[derive(Clone, Debug)]
pub enum Token {
    /// Text as it stands, escapes decoded.
    Text(Vec<u8>),
    /// The value of a field.
    Field(Item),
}

/// A field in a format.
#[derive(Clone, Debug)]
pub struct Item {
    /// The field.
    pub field: &'static Field,
    /// The text in brackets, or behind a further dot.
    pub arg: Option<Box<[u8]>>,
    /// As the user wrote it: the key in JSON.
    pub key: String,
    /// Bytes that it takes; 0 for as many as there are.
    pub width: usize,
    /// What is done with the value, the innermost last.
    pub transformers: Vec<Transformer>,
}

/// A format that has been read.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its parts in order.
    pub tokens: Vec<Token>,
    /// A value that is missing suppresses the line.
    pub strict: bool,
}

impl Template {
    /// Reads a format.
    ///
    /// # Errors
    /// When it names what does not exist, or is not complete.
    pub fn parse(format: &str) -> Result<Self, FormatError> {
        let (strict, body) = match format.strip_prefix('*') {
            Some(body) => (false, body),
            None => (true, format),
        };
        if format.is_empty() {
            return Err(FormatError::Empty);
        }
        let offset = format.len() - body.len();
        let mut tokens = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let at = rest.find('%').unwrap_or(rest.len());
            let (text, behind) = rest.split_at(at);
            if !text.is_empty() {
                tokens.push(Token::Text(unescaped(text)));
            }
            let Some(behind) = behind.strip_prefix('%') else { break };
            let position = offset + body.len() - behind.len() - 1;
            let (item, after) = item(behind, position)?;
            tokens.push(Token::Field(item));
            rest = after;
        }
        Ok(Self { tokens, strict })
    }
}

/// The field behind a `%` and what is behind it.
fn item(text: &str, position: usize) -> Result<(Item, &str), FormatError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (width, mut rest) = text.split_at(digits);
    // Longer lines than this are nobody's wish.
    let width = width.parse::<usize>().unwrap_or(0).min(1 << 16);
    if rest.is_empty() {
        return Err(FormatError::Cut { position });
    }
    let start = rest;
    let mut transformers = Vec::new();
    while let Some((name, transformer)) = TRANSFORMERS.iter().find(|(name, _)| rest.starts_with(name)) {
        rest = rest[name.len()..].trim_start();
        transformers.push(*transformer);
    }
    let (field, arg, mut rest) = reference(rest, position)?;
    for _ in &transformers {
        rest = rest
            .trim_start()
            .strip_prefix(')')
            .ok_or_else(|| FormatError::Open { name: start.chars().take(32).collect(), position })?;
    }
    let key = start[..start.len() - rest.len()].to_owned();
    Ok((Item { field, arg, key, width, transformers }, rest))
}

type Reference<'a> = (&'static Field, Option<Box<[u8]>>, &'a str);

/// The longest field name that `text` begins with, and its argument.
fn reference(text: &str, position: usize) -> Result<Reference<'_>, FormatError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let name = &text[..text.find(|c| !is_name(c)).unwrap_or(text.len())];
    let unknown = || FormatError::Unknown {
        name: name.to_owned(),
        position,
        nearest: nearest(name, field::names()).map(str::to_owned),
    };
    let ends = (1..=name.len()).rev().filter(|end| {
        *end == name.len() || !name.as_bytes()[*end].is_ascii_alphanumeric() || name.as_bytes()[*end] == b'.'
    });
    let (found, end) = ends
        .filter_map(|end| field::find(&name[..end]).map(|found| (found, end)))
        .next()
        .ok_or_else(unknown)?;
    if found.marks.has(Marks::FILTER_ONLY) || found.ty == Type::Relation {
        return Err(FormatError::FilterOnly { name: found.name.to_owned(), position });
    }
    let mut rest = &text[end..];
    let mut arg = None;
    let takes = found.arg != Arg::None || found.ty == Type::Map;
    if let Some(inner) = rest.strip_prefix('[').filter(|_| takes) {
        let close = inner.find(']').ok_or_else(|| FormatError::Open { name: text.to_owned(), position })?;
        let key = inner[..close].trim_matches(['"', '\'']);
        arg = Some(key.as_bytes().into());
        rest = &inner[close + 1..];
    } else if let Some(inner) = rest.strip_prefix('.').filter(|_| takes) {
        let close = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
        let (key, behind) = inner.split_at(close);
        arg = Some(key.as_bytes().into());
        rest = behind;
    }
    // Only calls with two paths have two of them.
    let is_needed = found.arg == Arg::Required && found.id != field::event::ABSPATH;
    if is_needed && arg.is_none() {
        return Err(FormatError::NoArgument { name: found.name.to_owned(), position });
    }
    Ok((found, arg, rest))
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        let decoded = match (byte, bytes.peek()) {
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b't')) => b'\t',
            (b'\\', Some(b'e')) => 0x1b,
            (b'\\', Some(b'\\')) => b'\\',
            _ => {
                out.push(byte);
                continue;
            }
        };
        bytes.next();
        out.push(decoded);
    }
    out
}

impl Transformer {
    /// The text made of another.
    #[must_use]
    pub fn of(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Upper => text.to_ascii_uppercase(),
            Self::Lower => text.to_ascii_lowercase(),
            Self::Basename => text.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec(),
            Self::Len => text.len().to_string().into_bytes(),
            Self::Base64 => decode_base64(text).unwrap_or_default(),
        }
    }
}
