//! What a match says: the output of a rule with its fields filled in, and their values with types.

use std::fmt::Write as _;

use nabe_event::alert::Datum;
use nabe_event::field::event::BUFFER;
use nabe_event::payload::Form;
use nabe_event::{Fields, Value};
use nabe_filter::format::{FormatError, Item, Template, Token};

/// What stands for a value that is not there.
const NOTHING: &str = "<NA>";
/// Bytes of a value that an alert carries at most.
const MAX_TEXT: usize = 64 << 10;
/// Items of a list that an alert carries at most.
const MAX_ITEMS: usize = 1024;

/// The output of a rule, compiled.
#[derive(Clone, Debug)]
pub struct Output {
    /// The text that it was read from.
    pub source: String,
    tokens: Vec<Token>,
    /// How payload is shown.
    payload: Form,
    /// Further fields: a key with what it is made of.
    further: Vec<(Box<str>, Further)>,
}

#[derive(Clone, Debug)]
enum Further {
    /// One field with its own type.
    Raw(Item),
    /// A text with fields in it.
    Text(Vec<Token>),
}

/// Why an output is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputError {
    /// In Falco's words.
    pub(crate) message: String,
    /// The name that no field has.
    pub(crate) unknown: Option<String>,
}

fn read(text: &str, knows: &dyn Fn(&str) -> bool) -> Result<Vec<Token>, OutputError> {
    let unknown = |name: &str| OutputError {
        message: format!("invalid formatting token {name}"),
        unknown: Some(name.to_owned()),
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let template = Template::parse(text).map_err(|error| match &error {
        FormatError::Unknown { name, .. } => unknown(name),
        error => OutputError { message: error.to_string(), unknown: None },
    })?;
    let items = template.tokens.iter().filter_map(|token| match token {
        Token::Field(item) => Some(item),
        Token::Text(_) => None,
    });
    for item in items {
        if !knows(item.field.name) {
            return Err(unknown(&item.key));
        }
    }
    Ok(template.tokens)
}

impl Output {
    /// Reads an output; `further` are keys with formats and whether they are single fields.
    pub(crate) fn parse(
        source: &str,
        further: &[(String, String, bool)],
        knows: &dyn Fn(&str) -> bool,
        payload: Form,
    ) -> Result<Self, OutputError> {
        let tokens = read(source, knows)?;
        let mut all = Vec::new();
        for (key, format, raw) in further {
            let mut tokens = read(format, knows)?;
            let single = match (raw, tokens.len()) {
                (true, 1) => tokens.pop(),
                _ => None,
            };
            let made = match single {
                Some(Token::Field(item)) => Further::Raw(item),
                Some(token) => Further::Text(vec![token]),
                None => Further::Text(tokens),
            };
            all.push((key.as_str().into(), made));
        }
        Ok(Self { source: source.to_owned(), tokens, payload, further: all })
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Field(item) => Some(item),
            Token::Text(_) => None,
        })
    }

    /// The fields of the text, as written.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.items().map(|item| item.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The further fields, by key.
    pub fn further_keys(&self) -> impl Iterator<Item = &str> {
        self.further.iter().map(|(key, _)| &**key)
    }

    /// The fields that it reads.
    pub fn fields(&self) -> impl Iterator<Item = nabe_event::FieldId> {
        let further = self.further.iter().flat_map(|(_, made)| match made {
            Further::Raw(item) => vec![item.field.id],
            Further::Text(tokens) => tokens
                .iter()
                .filter_map(|token| match token {
                    Token::Field(item) => Some(item.field.id),
                    Token::Text(_) => None,
                })
                .collect(),
        });
        self.items().map(|item| item.field.id).chain(further)
    }

    /// The text with its fields filled in. Bytes of the event that are no UTF-8 read as U+FFFD.
    #[must_use]
    pub fn message(&self, event: &dyn Fields) -> String {
        filled(&self.tokens, self.payload, event)
    }

    /// The values of all fields by name, with those of `prefix`, sorted by name.
    #[must_use]
    pub fn values(&self, event: &dyn Fields) -> Vec<(Box<str>, Datum)> {
        let mut values: Vec<(Box<str>, Datum)> =
            self.items().map(|item| (item.key.as_str().into(), value(item, self.payload, event))).collect();
        for (key, made) in &self.further {
            let datum = match made {
                Further::Raw(item) => value(item, self.payload, event),
                Further::Text(tokens) => Datum::Text(filled(tokens, self.payload, event).into_bytes().into()),
            };
            values.push((key.clone(), datum));
        }
        values.sort_by(|a, b| a.0.cmp(&b.0));
        values.dedup_by(|a, b| a.0 == b.0);
        values
    }
}

fn filled(tokens: &[Token], payload: Form, event: &dyn Fields) -> String {
    let mut out = String::new();
    for token in tokens {
        match token {
            Token::Text(text) => out.push_str(&String::from_utf8_lossy(text)),
            Token::Field(item) => {
                let text = text(item, payload, event).unwrap_or_else(|| NOTHING.to_owned());
                if item.width == 0 {
                    out.push_str(&text);
                } else {
                    let shown: String = text.chars().take(item.width).collect();
                    let _ = write!(out, "{shown:width$}", width = item.width);
                }
            }
        }
    }
    out
}

/// A field's value as text.
fn text(item: &Item, payload: Form, event: &dyn Fields) -> Option<String> {
    let value = event.get(item.field.id, item.arg.as_deref());
    let mut bytes = Vec::new();
    match value {
        Value::Text(text) if item.field.id == BUFFER => payload.write(text, 0, &mut bytes),
        value => {
            if !plain(&value, item.field.name.ends_with(".ns"), &mut bytes) {
                return None;
            }
        }
    }
    for transformer in item.transformers.iter().rev() {
        bytes = transformer.of(&bytes);
    }
    bytes.truncate(MAX_TEXT);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn plain(value: &Value<'_>, nine_digits: bool, out: &mut Vec<u8>) -> bool {
    use std::io::Write as _;
    let written = match value {
        Value::Missing(_) => return false,
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) if nine_digits => write!(out, "{value:09}"),
        Value::Uint(value) if nine_digits => write!(out, "{value:09}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Uint(value) => write!(out, "{value}"),
        Value::Ip(address) => write!(out, "{address}"),
        Value::Text(text) => {
            out.extend_from_slice(text.get(..MAX_TEXT).unwrap_or(text));
            Ok(())
        }
        Value::List(list) => {
            out.push(b'(');
            for at in 0..list.len().min(MAX_ITEMS) {
                if at > 0 {
                    out.push(b',');
                }
                plain(&list.get(at), nine_digits, out);
            }
            out.push(b')');
            Ok(())
        }
        Value::Map(map) => {
            for at in 0..map.len().min(MAX_ITEMS) {
                let Some((key, value)) = map.entry(at) else { break };
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(key);
                out.push(b':');
                out.extend_from_slice(value);
            }
            Ok(())
        }
    };
    written.is_ok()
}

/// A field's value with its type.
fn value(item: &Item, payload: Form, event: &dyn Fields) -> Datum {
    if !item.transformers.is_empty() || item.field.id == BUFFER {
        return text(item, payload, event).map_or(Datum::Null, |text| Datum::Text(text.into_bytes().into()));
    }
    datum(&event.get(item.field.id, item.arg.as_deref()))
}

pub(crate) fn datum(value: &Value<'_>) -> Datum {
    match value {
        Value::Missing(_) => Datum::Null,
        Value::Bool(value) => Datum::Bool(*value),
        Value::Int(value) => Datum::Int(*value),
        Value::Uint(value) => Datum::Uint(*value),
        Value::Text(text) => Datum::Text(text.get(..MAX_TEXT).unwrap_or(text).into()),
        Value::List(list) => {
            Datum::List((0..list.len().min(MAX_ITEMS)).map(|at| datum(&list.get(at))).collect())
        }
        value => {
            let mut out = Vec::new();
            plain(value, false, &mut out);
            Datum::Text(out.into())
        }
    }
}
