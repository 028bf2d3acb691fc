//! Events as lines and as JSON objects, in sysdig's format language.
//!
//! ```text
//! format  := ['*'] { text | '%' [digits] (field | transformer '(' field ')') }
//! field   := name [ '[' argument ']' ]      evt.arg.flags is evt.arg[flags]
//! ```
//! A leading `*` keeps lines in which a field has no value (`<NA>` stands for it); digits are a width
//! to which the value is padded or cut; `\n`, `\t`, `\e` and `\\` are decoded.

use std::io::Write as _;

use nabe_event::field::{Class, Show, container, descriptor, event};
use nabe_event::payload::Form;
use nabe_event::{FieldId, Fields, Missing, Type, Value};
pub use nabe_filter::format::FormatError;
use nabe_filter::format::{self, Template};

use crate::print::json;

/// sysdig's default: number, time, processor, thread, direction, event, parameters.
pub const DEFAULT: &str =
    "*%evt.num %evt.outputtime %evt.cpu %proc.name (%thread.tid) %evt.dir %evt.type %evt.info";
/// The same with the container (`-pc`).
pub const CONTAINER: &str = "*%evt.num %evt.outputtime %evt.cpu %container.name (%container.id) %proc.name (%thread.tid:%thread.vtid) %evt.dir %evt.type %evt.info";
/// The same with the pod (`-pk`).
pub const KUBERNETES: &str = "*%evt.num %evt.outputtime %evt.cpu %k8s.pod.name (%container.id) %proc.name (%thread.tid:%thread.vtid) %evt.dir %evt.type %evt.info";

#[derive(Clone, Debug)]
enum Token {
    Text(Vec<u8>),
    Field(Item),
}

#[derive(Clone, Debug)]
struct Item {
    format: format::Item,
    /// How payloads are shown.
    form: Form,
    /// Nanoseconds of a second: nine digits.
    is_fraction: bool,
}

/// A compiled format.
#[derive(Clone, Debug)]
pub struct EventFormat {
    tokens: Vec<Token>,
    /// A value that is missing suppresses the line.
    strict: bool,
    /// Positions of the fields, ordered by key, for JSON.
    keys: Vec<usize>,
}

impl EventFormat {
    /// Compiles a format.
    ///
    /// # Errors
    /// When it names what does not exist, or is not complete.
    pub fn parse(format: &str) -> Result<Self, FormatError> {
        let Template { tokens, strict } = Template::parse(format)?;
        let tokens: Vec<Token> = tokens
            .into_iter()
            .map(|token| match token {
                format::Token::Text(text) => Token::Text(text),
                format::Token::Field(format) => {
                    let name = format.field.name;
                    let is_fraction = name.ends_with(".ns") || name == "evt.reltime";
                    Token::Field(Item { format, form: Form::Dots, is_fraction })
                }
            })
            .collect();
        let mut keys: Vec<usize> = tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| matches!(token, Token::Field(_)))
            .map(|(at, _)| at)
            .collect();
        let key = |at: &usize| match tokens.get(*at) {
            Some(Token::Field(item)) => item.format.key.as_str(),
            _ => "",
        };
        keys.sort_by(|a, b| key(a).cmp(key(b)));
        keys.dedup_by(|a, b| key(a) == key(b));
        Ok(Self { tokens, strict, keys })
    }

    /// Shows payloads in this form. The caller sees to it that `evt.args` has the same.
    #[must_use]
    pub fn with_payload(mut self, form: Form) -> Self {
        for token in &mut self.tokens {
            if let Token::Field(item) = token {
                item.form = form;
            }
        }
        self
    }

    /// The fields that it reads.
    pub fn fields(&self) -> impl Iterator<Item = FieldId> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Field(item) => Some(item.format.field.id),
            Token::Text(_) => None,
        })
    }

    /// Appends the event as a line, without its end; returns whether it is printed at all.
    pub fn line(&self, subject: &dyn Fields, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        for token in &self.tokens {
            match token {
                Token::Text(text) => match text[..] {
                    [byte] => out.push(byte),
                    _ => out.extend_from_slice(text),
                },
                Token::Field(item) => {
                    let from = out.len();
                    if !item.write(subject, out) {
                        if self.strict {
                            out.truncate(start);
                            return false;
                        }
                        out.extend_from_slice(b"<NA>");
                    }
                    if item.format.width > 0 {
                        out.resize(from + item.format.width, b' ');
                    }
                }
            }
        }
        true
    }

    /// Appends the event as a JSON object of its fields, without a line's end; returns whether it
    /// is printed at all.
    pub fn json(&self, subject: &dyn Fields, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.push(b'{');
        for (nth, at) in self.keys.iter().enumerate() {
            let Some(Token::Field(item)) = self.tokens.get(*at) else { continue };
            if nth > 0 {
                out.push(b',');
            }
            json::string(out, item.format.key.as_bytes());
            out.push(b':');
            if !item.write_json(subject, out) {
                if self.strict {
                    out.truncate(start);
                    return false;
                }
                out.extend_from_slice(if item.is_told_to_be_none(subject) { b"\"\"" } else { b"null" });
            }
        }
        out.push(b'}');
        true
    }
}

/// Fields that say when the event happened.
const MOMENTS: [FieldId; 6] =
    [event::OUTPUTTIME, event::TIME, event::TIME_S, event::TIME_ISO8601, event::DATETIME, event::DATETIME_S];

impl Item {
    /// Appends the value; returns whether there is one.
    fn write(&self, subject: &dyn Fields, out: &mut Vec<u8>) -> bool {
        let (field, arg) = (self.format.field.id, self.format.arg.as_deref());
        let is_bare = self.format.transformers.is_empty();
        let from = out.len();
        if is_bare && subject.append(field, arg, out) {
            if out.get(from..).is_some_and(|text| !crate::view::escape::is_plain(text)) {
                let text = out.split_off(from);
                self.clean(out, &text);
            }
            return true;
        }
        let value = subject.get(field, arg);
        if is_bare {
            return self.plain(&value, out);
        }
        let mut text = Vec::new();
        if !self.plain(&value, &mut text) {
            return false;
        }
        for transformer in self.format.transformers.iter().rev() {
            text = transformer.of(&text);
        }
        self.clean(out, &text);
        true
    }

    /// Whether a container has been told of and has no such text: something else than not being known yet.
    fn is_told_to_be_none(&self, subject: &dyn Fields) -> bool {
        let field = &self.format.field;
        matches!(field.id.class(), Class::Container | Class::Metadata)
            && field.ty == Type::Text
            && self.format.arg.is_none()
            && self.format.transformers.is_empty()
            && matches!(subject.get(field.id, None), Value::Missing(Missing::Unset))
            && matches!(subject.get(container::NAME, None), Value::Text(name) if name != container::HOST)
    }

    fn plain(&self, value: &Value<'_>, out: &mut Vec<u8>) -> bool {
        let mut number = itoa::Buffer::new();
        match value {
            Value::Missing(_) => return false,
            Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::Int(value) if self.is_fraction => {
                let _ = write!(out, "{value:09}");
            }
            Value::Uint(value) if self.is_fraction => {
                let _ = write!(out, "{value:09}");
            }
            // As the devices in parameters are written.
            Value::Int(value) if self.format.field.id == descriptor::DEV => {
                let _ = write!(out, "{value:X}");
            }
            Value::Int(value) => out.extend_from_slice(number.format(*value).as_bytes()),
            Value::Uint(value) if self.format.field.show == Show::Percent => {
                let _ = write!(out, "{:.1}", percent(*value));
            }
            Value::Uint(value) => out.extend_from_slice(number.format(*value).as_bytes()),
            Value::Text(bytes) if self.format.field.id == event::BUFFER => {
                self.form.write(bytes, 0, out);
            }
            Value::Text(text) => self.clean(out, text),
            Value::Ip(address) => {
                let _ = write!(out, "{address}");
            }
            Value::List(list) => {
                for at in 0..list.len() {
                    if at > 0 {
                        out.push(b',');
                    }
                    self.plain(&list.get(at), out);
                }
            }
            Value::Map(map) => {
                for at in 0..map.len() {
                    let Some((key, value)) = map.entry(at) else { break };
                    if at > 0 {
                        out.push(b' ');
                    }
                    push_clean(out, key);
                    out.push(b'=');
                    push_clean(out, value);
                }
            }
        }
        true
    }

    fn write_json(&self, subject: &dyn Fields, out: &mut Vec<u8>) -> bool {
        let mut number = itoa::Buffer::new();
        if self.format.transformers.is_empty() {
            // A moment is a number for programs, whatever people read: nanoseconds since the epoch.
            let field =
                if MOMENTS.contains(&self.format.field.id) { event::RAWTIME } else { self.format.field.id };
            match subject.get(field, self.format.arg.as_deref()) {
                Value::Missing(_) => return false,
                Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
                Value::Int(value) if field != descriptor::DEV => {
                    out.extend_from_slice(number.format(value).as_bytes());
                }
                Value::Uint(value) if self.format.field.show == Show::Percent => {
                    let _ = write!(out, "{}", percent(value));
                }
                Value::Uint(value) => out.extend_from_slice(number.format(value).as_bytes()),
                Value::Text(text) if self.format.field.id != event::BUFFER => {
                    json::string(out, text);
                }
                value => {
                    let mut text = Vec::new();
                    self.plain(&value, &mut text);
                    json::string(out, &text);
                }
            }
            return true;
        }
        let mut text = Vec::new();
        if !self.write(subject, &mut text) {
            return false;
        }
        json::string(out, &text);
        true
    }
}

impl Item {
    /// Appends hostile text. What holds payloads keeps its line ends and tabs in forms that have lines.
    fn clean(&self, out: &mut Vec<u8>, text: &[u8]) {
        let holds = matches!(self.format.field.id, event::ARGS | event::INFO | event::ARG | event::BUFFER);
        if !(holds && self.form.has_lines()) {
            return push_clean(out, text);
        }
        for part in text.split_inclusive(|byte| matches!(byte, b'\n' | b'\t')) {
            match part.split_last() {
                Some((end @ (b'\n' | b'\t'), line)) => {
                    push_clean(out, line);
                    out.push(*end);
                }
                _ => push_clean(out, part),
            }
        }
    }
}

/// Hundredths of a per cent as per cent.
#[allow(clippy::cast_precision_loss, reason = "shares are small")]
fn percent(hundredths: u64) -> f64 {
    hundredths as f64 / 100.0
}

/// Appends hostile text: control characters become dots, so that no event writes to a terminal.
fn push_clean(out: &mut Vec<u8>, text: &[u8]) {
    if crate::view::escape::is_plain(text) {
        out.extend_from_slice(text);
    } else {
        for chunk in text.utf8_chunks() {
            for c in chunk.valid().chars() {
                let c = if crate::view::escape::is_hostile(c) { '.' } else { c };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            out.extend(chunk.invalid().iter().map(|_| b'.'));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nabe_event::field::{event as e, process as p, thread as t};

    struct Event;

    impl Fields for Event {
        fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
            match (field, arg) {
                (p::NAME, _) => Value::Text(b"cat"),
                (e::NUM, _) => Value::Uint(7),
                (e::RELTIME_NS, _) => Value::Int(42),
                (e::FAILED, _) => Value::Bool(true),
                (e::ARG, Some(b"flags")) => Value::Text(b"O_RDONLY"),
                (e::ARG, Some(b"0")) => Value::Text(b"3"),
                (t::EXE, _) => Value::Text(b"/bin/\x1b[31mcat"),
                _ => Value::Missing(Missing::Unset),
            }
        }
        fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
            None
        }
    }

    #[track_caller]
    fn check(format: &str, expect: Option<&str>) {
        let mut out = Vec::new();
        let printed = EventFormat::parse(format).unwrap().line(&Event, &mut out);
        assert_eq!(printed.then(|| String::from_utf8(out).unwrap()).as_deref(), expect, "{format}");
    }

    #[test]
    fn lines_follow_the_format() {
        check("%evt.num:%proc.name.", Some("7:cat."));
        check("%5proc.name|%2proc.name|", Some("cat  |ca|"));
        check("%evt.arg.flags %evt.arg[0]", Some("O_RDONLY 3"));
        check("%evt.reltime.ns %evt.failed", Some("000000042 true"));
        check("%proc.pname", None);
        check("*%proc.pname", Some("<NA>"));
        check("%toupper(proc.name) %len(proc.name)", Some("CAT 3"));
        check(r"a\tb\\", Some("a\tb\\"));
        check("%proc.exe", Some("/bin/.[31mcat"));
        check("plain", Some("plain"));
    }

    #[test]
    fn objects_have_keys_as_written() {
        let mut out = Vec::new();
        assert!(
            EventFormat::parse("*%proc.name %evt.num %proc.pname %evt.arg[0]")
                .unwrap()
                .json(&Event, &mut out)
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"evt.arg[0]":"3","evt.num":7,"proc.name":"cat","proc.pname":null}"#
        );
    }

    #[test]
    fn what_is_none_is_told_from_what_is_not_known_yet() {
        struct Of(&'static str, Missing);
        impl Fields for Of {
            fn get(&self, field: FieldId, _: Option<&[u8]>) -> Value<'_> {
                match field {
                    container::NAME if !self.0.is_empty() => Value::Text(self.0.as_bytes()),
                    _ => Value::Missing(self.1),
                }
            }
            fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
                None
            }
        }
        let format =
            EventFormat::parse("*%container.image %container.image.tag %container.label[a] %proc.name");
        let format = format.unwrap();
        for (of, expect) in [
            (Of("web", Missing::Unset), ["\"\"", "\"\"", "null", "null"]),
            (Of("", Missing::Pending), ["null"; 4]),
            (Of("host", Missing::Unset), ["null"; 4]),
        ] {
            let mut out = Vec::new();
            assert!(format.json(&of, &mut out));
            let [image, tag, label, name] = expect;
            let expect = format!(
                r#"{{"container.image":{image},"container.image.tag":{tag},"container.label[a]":{label},"proc.name":{name}}}"#
            );
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }

    #[test]
    fn wrong_formats_are_told() {
        let error = |format: &str| EventFormat::parse(format).unwrap_err();
        assert_eq!(error(""), FormatError::Empty);
        assert_eq!(error("a%"), FormatError::Cut { position: 1 });
        assert_eq!(error("*%12"), FormatError::Cut { position: 1 });
        assert_eq!(error("%proc.nmae").nearest(), Some("proc.name"));
        assert!(matches!(error("%evt.arg"), FormatError::NoArgument { .. }));
        assert!(matches!(error("%fd.ip"), FormatError::FilterOnly { .. }));
        assert!(matches!(error("%evt.arg[0"), FormatError::Open { .. }));
        assert!(matches!(error("%toupper(proc.name"), FormatError::Open { .. }));
    }

    #[test]
    fn the_presets_are_formats() {
        for preset in [DEFAULT, CONTAINER, KUBERNETES] {
            assert!(EventFormat::parse(preset).unwrap().fields().count() > 6);
        }
    }
}
