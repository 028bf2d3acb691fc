//! An alert: what a rule says of an event. Rules make them; outputs carry them.

use core::fmt;
use core::str::FromStr;

/// How grave an alert is, in syslog's order: the smaller, the graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// The system is unusable.
    Emergency = 0,
    /// To be acted upon at once.
    Alert = 1,
    /// Critical.
    Critical = 2,
    /// An error.
    Error = 3,
    /// A warning.
    Warning = 4,
    /// Normal, but worth a look.
    Notice = 5,
    /// For information.
    Informational = 6,
    /// For who looks for faults.
    Debug = 7,
}

impl Priority {
    /// All of them, gravest first.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Informational,
        Self::Debug,
    ];

    /// As Falco writes it: `Warning`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emergency => "Emergency",
            Self::Alert => "Alert",
            Self::Critical => "Critical",
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Notice => "Notice",
            Self::Informational => "Informational",
            Self::Debug => "Debug",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a priority: expected one of emergency, alert, critical, error, warning, notice, informational, debug"
)]
pub struct NoPriority;

impl FromStr for Priority {
    type Err = NoPriority;

    /// In any case; `info` is short for informational, as in Falco.
    fn from_str(text: &str) -> Result<Self, NoPriority> {
        if text.eq_ignore_ascii_case("info") {
            return Ok(Self::Informational);
        }
        Self::ALL.into_iter().find(|priority| priority.name().eq_ignore_ascii_case(text)).ok_or(NoPriority)
    }
}

/// A value of a field in an alert, owned; it keeps the type that the field has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Datum {
    /// There is no value.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number with sign.
    Int(i64),
    /// A number without sign.
    Uint(u64),
    /// A number with a fraction.
    Double(f64),
    /// Text as the kernel had it: any bytes.
    Text(Box<[u8]>),
    /// Several values.
    List(Box<[Datum]>),
}

/// What a rule says of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// When the event happened: nanoseconds since the epoch.
    pub ts_ns: u64,
    /// How grave.
    pub priority: Priority,
    /// The rule's name.
    pub rule: Box<str>,
    /// The source of the event: `syscall`, `k8s_audit`, …
    pub source: Box<str>,
    /// The host's name.
    pub hostname: Box<str>,
    /// The rule's tags, sorted.
    pub tags: Box<[Box<str>]>,
    /// The rule's output with its fields filled in, without time and priority.
    pub message: Box<str>,
    /// The fields of the output with their values, by name as written in the rule, sorted by name.
    pub fields: Box<[(Box<str>, Datum)]>,
}

impl Alert {
    /// Adds a field, in its place.
    pub fn add(&mut self, name: &str, value: Datum) {
        let mut fields = core::mem::take(&mut self.fields).into_vec();
        let place = fields.partition_point(|(known, _)| **known < *name);
        fields.insert(place, (name.into(), value));
        self.fields = fields.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_read_in_any_case() {
        for (text, priority) in [
            ("WARNING", Ok(Priority::Warning)),
            ("info", Ok(Priority::Informational)),
            ("INFORMATIONAL", Ok(Priority::Informational)),
            ("Debug", Ok(Priority::Debug)),
            ("severe", Err(NoPriority)),
        ] {
            assert_eq!(text.parse(), priority, "{text}");
        }
        assert!(Priority::Emergency < Priority::Debug);
    }
}
