//! An event that is JSON, and the fields that it answers.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use nabe_event::field::{Class, FieldId, event as e};
use nabe_event::{Fields, Missing, Value};

use crate::answer::{Answer, Memory};
use crate::extract::extract;
use crate::tree::Tree;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened: nanoseconds since the epoch.
    pub ts_ns: u64,
    pub(crate) tree: Tree,
}

impl Event {
    /// As compact JSON.
    #[must_use]
    pub fn text(&self) -> String {
        self.tree.to_string()
    }
}

/// What holds for all events of a source.
#[derive(Clone, Debug)]
pub struct Context {
    /// The source's name: `k8s_audit`.
    pub source: String,
    /// The plugin's name that Falco has for it: `k8saudit`.
    pub plugin: String,
    /// The host's name.
    pub hostname: String,
    /// The zone of times of day.
    pub zone: TimeZone,
}

impl Context {
    /// Of Kubernetes audit events; times of day are UTC.
    #[must_use]
    pub fn k8s_audit(hostname: &str) -> Self {
        Self {
            source: "k8s_audit".into(),
            plugin: "k8saudit".into(),
            hostname: hostname.into(),
            zone: TimeZone::UTC,
        }
    }
}

/// An event with what is known about it.
#[derive(Debug)]
pub struct Seen<'a> {
    event: &'a Event,
    context: &'a Context,
    number: u64,
    /// Of the first event of the stream.
    first_ns: u64,
    memory: Memory,
}

impl<'a> Seen<'a> {
    /// The event with this number, from 1, of a stream whose first event was at `first_ns`.
    #[must_use]
    pub fn new(event: &'a Event, context: &'a Context, number: u64, first_ns: u64) -> Self {
        Self { event, context, number, first_ns, memory: Memory::default() }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &'a Event {
        self.event
    }

    fn time(&self, format: &str) -> Answer {
        // 64 bits of nanoseconds end in 2554, long before a timestamp does.
        let stamp = Timestamp::from_nanosecond(i128::from(self.event.ts_ns)).unwrap_or(Timestamp::UNIX_EPOCH);
        Answer::Text(stamp.to_zoned(self.context.zone.clone()).strftime(format).to_string())
    }

    /// Fields that every event has.
    fn general(&self, field: FieldId) -> Value<'_> {
        const SECOND: u64 = 1_000_000_000;
        let ts_ns = self.event.ts_ns;
        let since = ts_ns.saturating_sub(self.first_ns);
        let span = |ns: u64| Value::Int(i64::try_from(ns).unwrap_or(i64::MAX));
        let made = |make: &dyn Fn() -> Answer| {
            let key = 0x8000 | u16::try_from(field.index()).unwrap_or_default();
            self.memory.ask(key, None, make).value()
        };
        match field {
            e::NUM => Value::Uint(self.number),
            e::RAWTIME => Value::Uint(ts_ns),
            e::RAWTIME_S => Value::Uint(ts_ns / SECOND),
            e::RAWTIME_NS => Value::Uint(ts_ns % SECOND),
            e::RELTIME => span(since),
            e::RELTIME_S => span(since - since % SECOND),
            e::RELTIME_NS => span(since % SECOND),
            e::TIME | e::OUTPUTTIME => made(&|| self.time("%H:%M:%S.%9f")),
            e::TIME_S => made(&|| self.time("%H:%M:%S")),
            e::DATETIME => made(&|| self.time("%Y-%m-%d %H:%M:%S.%9f")),
            e::DATETIME_S => made(&|| self.time("%Y-%m-%d %H:%M:%S")),
            e::TIME_ISO8601 => made(&|| self.time("%Y-%m-%dT%H:%M:%S.%9f%z")),
            e::SOURCE => Value::Text(self.context.source.as_bytes()),
            e::PLUGINNAME => Value::Text(self.context.plugin.as_bytes()),
            e::HOSTNAME => Value::Text(self.context.hostname.as_bytes()),
            e::IS_ASYNC => Value::Bool(false),
            e::PLUGININFO => made(&|| Answer::Text(self.event.text())),
            _ => Value::Missing(Missing::Unset),
        }
    }
}

impl Fields for Seen<'_> {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        match field.class() {
            Class::Audit => {
                let key = u16::try_from(field.index()).unwrap_or_default();
                self.memory.ask(key, arg, || extract(self.event, field, arg)).value()
            }
            Class::Event => self.general(field),
            _ => Value::Missing(Missing::Unset),
        }
    }

    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}
