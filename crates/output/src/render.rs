//! An alert as text and as JSON, byte for byte as Falco writes them.
//!
//! Source of the forms: falcosecurity/falco `userspace/engine/formats.cpp` and the outputs that its
//! tests expect (`single_rule_with_cat_write.{txt,json}` of 0.34.1).

use core::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nabe_event::alert::{Alert, Datum};
use serde_json::Value;

/// How the time in front of a text reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `16:17:57.881781397`, local.
    #[default]
    TimeOfDay,
    /// `2016-08-04T16:17:57.881781397+0000`, UTC.
    Iso8601,
}

impl TimeFormat {
    /// The field that a JSON alert has the time in, as a number.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::TimeOfDay => "evt.time",
            Self::Iso8601 => "evt.time.iso8601",
        }
    }
}

/// What goes into a text or a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Render {
    /// A JSON object instead of a line of text.
    pub json: bool,
    /// How times read.
    pub time: TimeFormat,
    /// The property `output` of JSON: the text.
    pub include_output: bool,
    /// The property `output_fields`.
    pub include_fields: bool,
    /// The property `tags`.
    pub include_tags: bool,
    /// The property `message`: the text without time and priority.
    pub include_message: bool,
    /// The zone of [`TimeFormat::TimeOfDay`].
    pub zone: TimeZone,
}

impl Default for Render {
    /// Falco's defaults: text.
    fn default() -> Self {
        Self {
            json: false,
            time: TimeFormat::default(),
            include_output: true,
            include_fields: true,
            include_tags: true,
            include_message: false,
            zone: TimeZone::UTC,
        }
    }
}

impl Render {
    /// The alert as a line without its end.
    #[must_use]
    pub fn line(&self, alert: &Alert) -> String {
        if self.json { self.json(alert) } else { self.text(alert) }
    }

    /// `TIME: Priority message`.
    #[must_use]
    pub fn text(&self, alert: &Alert) -> String {
        let mut text = self.time(alert.ts_ns);
        let _ = write!(text, ": {} {}", alert.priority, alert.message);
        text
    }

    /// The object, properties in Falco's order: sorted, but for the fields at the end.
    #[must_use]
    pub fn json(&self, alert: &Alert) -> String {
        let mut out = String::with_capacity(512);
        out.push_str("{\"hostname\":");
        quote(&mut out, &alert.hostname);
        if self.include_message {
            out.push_str(",\"message\":");
            quote(&mut out, &alert.message);
        }
        if self.include_output {
            out.push_str(",\"output\":");
            quote(&mut out, &self.text(alert));
        }
        let _ = write!(out, ",\"priority\":\"{}\",\"rule\":", alert.priority);
        quote(&mut out, &alert.rule);
        out.push_str(",\"source\":");
        quote(&mut out, &alert.source);
        if self.include_tags {
            out.push_str(",\"tags\":[");
            for (at, tag) in alert.tags.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                quote(&mut out, tag);
            }
            out.push(']');
        }
        let _ = write!(out, ",\"time\":\"{}Z\"", utc(alert.ts_ns));
        if self.include_fields {
            out.push_str(", \"output_fields\": ");
            self.fields(&mut out, alert);
        }
        out.push('}');
        out
    }

    /// The fields as an object, the time among them.
    fn fields(&self, out: &mut String, alert: &Alert) {
        let time = Datum::Uint(alert.ts_ns);
        let mut fields: Vec<(&str, &Datum)> =
            alert.fields.iter().map(|(name, value)| (&**name, value)).collect();
        if fields.iter().all(|(name, _)| *name != self.time.field()) {
            fields.push((self.time.field(), &time));
        }
        fields.sort_by_key(|(name, _)| *name);
        out.push('{');
        for (at, (name, value)) in fields.into_iter().enumerate() {
            out.push_str(if at == 0 { "" } else { "," });
            quote(out, name);
            out.push(':');
            datum(out, value);
        }
        out.push('}');
    }

    fn time(&self, ts_ns: u64) -> String {
        match self.time {
            TimeFormat::TimeOfDay => {
                stamp(ts_ns).to_zoned(self.zone.clone()).strftime("%H:%M:%S.%9f").to_string()
            }
            TimeFormat::Iso8601 => format!("{}+0000", utc(ts_ns)),
        }
    }
}

fn stamp(ts_ns: u64) -> Timestamp {
    // 64 bits of nanoseconds end in 2554, long before a timestamp does.
    Timestamp::from_nanosecond(i128::from(ts_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `2016-08-04T16:17:57.881781397`, UTC.
#[must_use]
pub fn utc(ts_ns: u64) -> String {
    stamp(ts_ns).strftime("%Y-%m-%dT%H:%M:%S.%9f").to_string()
}

/// A JSON string.
fn quote(out: &mut String, text: &str) {
    out.push_str(&Value::from(text).to_string());
}

/// A value as JSON. Bytes that are no UTF-8 are replaced, as Falco does.
pub(crate) fn datum(out: &mut String, value: &Datum) {
    match value {
        Datum::Bool(value) => {
            let _ = write!(out, "{value}");
        }
        Datum::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Datum::Uint(value) => {
            let _ = write!(out, "{value}");
        }
        Datum::Double(value) => out.push_str(&Value::from(*value).to_string()),
        Datum::Text(text) => quote(out, &String::from_utf8_lossy(text)),
        Datum::List(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                datum(out, value);
            }
            out.push(']');
        }
        _ => out.push_str("null"),
    }
}

/// A value as text in a label or an attribute.
#[must_use]
pub(crate) fn plain(value: &Datum) -> String {
    match value {
        Datum::Null => String::new(),
        Datum::Text(text) => String::from_utf8_lossy(text).into_owned(),
        value => {
            let mut out = String::new();
            datum(&mut out, value);
            out
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nabe_event::alert::Priority;

    pub(crate) fn alert() -> Alert {
        Alert {
            ts_ns: 1_470_327_477_881_781_397,
            priority: Priority::Warning,
            rule: "open_from_cat".into(),
            source: "syscall".into(),
            hostname: "test-falco-hostname".into(),
            tags: ["filesystem", "process", "testing"].map(Into::into).into(),
            message: "An open was seen (command=cat /dev/null)".into(),
            fields: [("proc.cmdline".into(), Datum::Text((*b"cat /dev/null").into()))].into(),
        }
    }

    #[test]
    fn text_and_json_are_falcos() {
        // Lines that falco 0.34.1's own tests expect (test/output_files, Apache-2.0).
        let render = Render { time: TimeFormat::Iso8601, ..Render::default() };
        assert_eq!(
            render.line(&alert()),
            "2016-08-04T16:17:57.881781397+0000: Warning An open was seen (command=cat /dev/null)"
        );
        let render = Render { json: true, ..render };
        assert_eq!(
            render.line(&alert()),
            "{\"hostname\":\"test-falco-hostname\",\"output\":\"2016-08-04T16:17:57.881781397+0000: \
             Warning An open was seen (command=cat /dev/null)\",\"priority\":\"Warning\",\"rule\":\
             \"open_from_cat\",\"source\":\"syscall\",\"tags\":[\"filesystem\",\"process\",\"testing\"],\
             \"time\":\"2016-08-04T16:17:57.881781397Z\", \"output_fields\": {\"evt.time.iso8601\":\
             1470327477881781397,\"proc.cmdline\":\"cat /dev/null\"}}"
        );
    }

    #[test]
    fn properties_can_be_left_out() {
        let render = Render {
            json: true,
            include_output: false,
            include_fields: false,
            include_tags: false,
            include_message: true,
            ..Render::default()
        };
        assert_eq!(
            render.line(&alert()),
            "{\"hostname\":\"test-falco-hostname\",\"message\":\"An open was seen (command=cat /dev/null)\",\
             \"priority\":\"Warning\",\"rule\":\"open_from_cat\",\"source\":\"syscall\",\
             \"time\":\"2016-08-04T16:17:57.881781397Z\"}"
        );
    }

    #[test]
    fn hostile_values_stay_json() {
        let mut alert = alert();
        alert.message = "a\"\n\u{1b}[2J".into();
        alert.fields = [
            ("a".into(), Datum::Text((*b"\xff\"\\").into())),
            ("b".into(), Datum::Double(f64::NAN)),
            ("c".into(), Datum::List([Datum::Null, Datum::Int(-1), Datum::Bool(true)].into())),
        ]
        .into();
        let render = Render { json: true, ..Render::default() };
        let value: Value = serde_json::from_str(&render.line(&alert)).unwrap();
        assert_eq!(value["output_fields"]["a"], "\u{fffd}\"\\");
        assert_eq!(value["output_fields"]["b"], Value::Null);
        assert_eq!(value["output_fields"]["c"], serde_json::json!([null, -1, true]));
        assert_eq!(value["output_fields"]["evt.time"], 1_470_327_477_881_781_397_u64);
    }

    #[test]
    fn local_time_follows_the_zone() {
        let render = Render { zone: TimeZone::fixed(jiff::tz::offset(2)), ..Render::default() };
        assert!(render.text(&alert()).starts_with("18:17:57.881781397: Warning An open"));
    }
}
