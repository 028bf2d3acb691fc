//! The line of a view of kind `lines`: text with fields in braces.
//!
//! `{proc.name}` is the value; `{proc.name:-12.12}` takes at least 12 characters, to the left, and no
//! more than 12; `{evt.latency:12 ms}` writes the number in a unit. `{{` and `}}` are braces.

use nabe_event::Fields;

use crate::field::{FieldError, Reader};
use crate::table::plain;
use crate::unit::Unit;

/// A template that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A brace without its other half.
    #[error("a brace in `{0}` has no other half")]
    Open(String),
    /// What stands behind the colon is no width and no unit.
    #[error("`{0}` is neither a width nor a unit")]
    Form(String),
    /// A field that is none.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl TemplateError {
    /// The mend, where it is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open(_) => Some("write {{ and }} for braces that are meant as such".into()),
            Self::Form(_) => Some("as in {proc.name:-12.12} or {evt.latency:time}".into()),
            Self::Field(error) => error.nearest().map(|near| format!("did you mean `{near}`?")),
        }
    }
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Field { reader: Box<Reader>, left: bool, width: usize, cut: usize, unit: Unit },
}

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// When it is not closed or names what is not there.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.push_str(from.get(..1).unwrap_or_default());
                rest = after;
                continue;
            }
            let inner = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (inner, after) = inner.ok_or_else(|| TemplateError::Open(text.to_owned()))?;
            if !plain.is_empty() {
                parts.push(Part::Text(core::mem::take(&mut plain)));
            }
            parts.push(field(inner)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Out of sysdig's format language: `%proc.name`, `%20proc.name`.
    ///
    /// # Errors
    /// As those of [`Self::parse`].
    #[cfg(feature = "lua")]
    pub(crate) fn of_format(format: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let (width, name) = after.split_at(digits);
            let width = width.parse().unwrap_or(0).min(4096);
            let mut end =
                name.find(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c))).unwrap_or(name.len());
            if name.get(end..).is_some_and(|rest| rest.starts_with('[')) {
                end = name.find(']').map_or(name.len(), |at| at + 1);
            }
            let (name, behind) = name.split_at(end);
            let reader = Box::new(Reader::parse(name)?);
            parts.push(Part::Field { reader, left: true, width, cut: width, unit: Unit::None });
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The same as [`Self::write`], but, unless it is `lenient`, nothing when a value is missing; returns
    /// whether anything was written.
    #[cfg(feature = "lua")]
    pub(crate) fn write_strictly(
        &mut self,
        event: &dyn Fields,
        safe: bool,
        lenient: bool,
        out: &mut Vec<u8>,
    ) -> bool {
        let missing = |part: &mut Part| match part {
            Part::Field { reader, .. } => !reader.cell(event).is_some(),
            Part::Text(_) => false,
        };
        if !lenient && self.parts.iter_mut().any(missing) {
            return false;
        }
        self.write(event, safe, out);
        true
    }

    /// Appends the line of an event, without its end; a missing value is `<NA>`.
    pub fn write(&mut self, event: &dyn Fields, safe: bool, out: &mut Vec<u8>) {
        let mut text = Vec::new();
        for part in &mut self.parts {
            match part {
                Part::Text(plain) => out.extend_from_slice(plain.as_bytes()),
                Part::Field { reader, left, width, cut, unit } => {
                    text.clear();
                    let cell = reader.cell(event);
                    if cell.is_some() {
                        unit.write(&cell, 0, &mut text)
                    } else {
                        text.extend_from_slice(b"<NA>")
                    }
                    if safe {
                        plain(&mut text);
                    }
                    if *cut > 0 {
                        text.truncate(*cut);
                    }
                    let fill = width.saturating_sub(text.len());
                    if !*left {
                        out.extend(core::iter::repeat_n(b' ', fill));
                    }
                    out.extend_from_slice(&text);
                    if *left {
                        out.extend(core::iter::repeat_n(b' ', fill));
                    }
                }
            }
        }
    }
}

fn field(inner: &str) -> Result<Part, TemplateError> {
    let (name, form) = inner.split_once(':').unwrap_or((inner, ""));
    let reader = Box::new(Reader::parse(name)?);
    let (mut left, mut width, mut cut, mut unit) = (false, 0, 0, Unit::None);
    for word in form.split_whitespace() {
        if let Some((_, found)) = Unit::ALL.iter().find(|(name, _)| *name == word) {
            unit = *found;
            continue;
        }
        let wrong = || TemplateError::Form(word.to_owned());
        let number =
            |text: &str| text.parse::<usize>().ok().filter(|number| *number <= 4096).ok_or_else(wrong);
        let digits = word.strip_prefix('-');
        left = digits.is_some();
        let (before, after) = digits.unwrap_or(word).split_once('.').unwrap_or((digits.unwrap_or(word), "0"));
        (width, cut) = (number(before)?, number(after)?);
    }
    Ok(Part::Field { reader, left, width, cut, unit })
}

#[cfg(test)]
mod tests {
    use nabe_event::{FieldId, Value};

    use super::*;

    struct Cat;
    impl Fields for Cat {
        fn get(&self, field: FieldId, _: Option<&[u8]>) -> Value<'_> {
            match nabe_event::field::find("proc.name").map(|found| found.id) {
                Some(id) if id == field => Value::Text(b"cat\x1b[2J"),
                _ => Value::Uint(1_500_000),
            }
        }
        fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
            None
        }
    }

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let mut out = Vec::new();
        Template::parse(template).unwrap().write(&Cat, true, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn lines_are_filled() {
        check("a {{b}} {proc.name}", "a {b} cat.[2J");
        check("{proc.name:-9}|{proc.name:-5.3}|{proc.name:9}", "cat.[2J  |cat  |  cat.[2J");
        check("{evt.latency:ms}|{evt.latency:8 time}", "1|  1.50ms");
    }

    #[test]
    fn errors_say_what() {
        assert!(matches!(Template::parse("a {proc.name"), Err(TemplateError::Open(_))));
        assert!(matches!(Template::parse("a }"), Err(TemplateError::Open(_))));
        assert!(matches!(Template::parse("{proc.name:x}"), Err(TemplateError::Form(_))));
        assert!(matches!(Template::parse("{proc.nane}"), Err(TemplateError::Field(_))));
    }
}
