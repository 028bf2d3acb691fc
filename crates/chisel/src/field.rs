//! Fields by the names that view files and chisels use: those of the catalogue, and the few that
//! only a view can answer because they compare an event with the one before it.

use std::collections::HashMap;

use nabe_event::field::{self, Arg};
use nabe_event::{FieldId, Fields, Type, Value};

use crate::cell::Cell;

/// Threads whose CPU time is remembered.
const MAX_THREADS: usize = 1 << 18;

/// A name that is no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Nobody knows it.
    #[error("unknown field `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The name that was probably meant.
        nearest: Option<String>,
    },
    /// It needs an argument.
    #[error("field `{name}` needs an argument, as in `{name}[…]`")]
    NoArgument {
        /// What was asked for.
        name: String,
    },
    /// An argument that does not end.
    #[error("the bracket of `{name}` is not closed")]
    Open {
        /// What was asked for.
        name: String,
    },
}

impl FieldError {
    /// The name that was probably meant.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        match self {
            Self::Unknown { nearest, .. } => nearest.as_deref(),
            _ => None,
        }
    }
}

/// A field to be read of events.
#[derive(Clone, Debug)]
pub struct Reader {
    name: String,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// As the event answers it.
    Event { id: FieldId, arg: Option<Box<[u8]>> },
    /// The share of one CPU since the thread's sample before, of samples (`procinfo`) only.
    Cpu { user: bool, system: bool, tid: FieldId, kind: FieldId, rawarg: FieldId, before: HashMap<i64, u64> },
    /// A part of what is written to /dev/log: `<priority>text`.
    Syslog { data: FieldId, part: Syslog },
    /// 1 for samples: of any thread, or of first threads.
    Sample { kind: FieldId, main: Option<FieldId> },
    /// Open descriptors as a share of the limit, not rounded.
    Usage { open: FieldId, limit: FieldId },
}

#[derive(Clone, Copy, Debug)]
enum Syslog {
    Facility,
    FacilityName,
    Severity,
    SeverityName,
    Message,
}

const SYSLOG: [(&str, Syslog); 5] = [
    ("syslog.facility", Syslog::Facility),
    ("syslog.facility.str", Syslog::FacilityName),
    ("syslog.severity", Syslog::Severity),
    ("syslog.severity.str", Syslog::SeverityName),
    ("syslog.message", Syslog::Message),
];

/// RFC 5424, table 1, in the short forms of syslog(3).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "logaudit", "logalert", "clock", "local0", "local1", "local2", "local3", "local4", "local5",
    "local6", "local7",
];
/// RFC 5424, table 2, in the short forms of syslog(3).
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

impl Syslog {
    fn of(self, data: &[u8]) -> Option<Cell> {
        let text = data.strip_prefix(b"<")?;
        let end = text.iter().take(4).position(|byte| *byte == b'>')?;
        let priority: usize = core::str::from_utf8(text.get(..end)?).ok()?.parse().ok()?;
        let (facility, severity) = (priority / 8, priority % 8);
        let word = |word: &str| Cell::Text(word.as_bytes().into());
        Some(match self {
            Self::Facility => Cell::Uint(facility as u64),
            Self::Severity => Cell::Uint(severity as u64),
            Self::FacilityName => word(FACILITIES.get(facility).copied().unwrap_or("<NA>")),
            Self::SeverityName => word(SEVERITIES.get(severity).copied().unwrap_or("<NA>")),
            Self::Message => Cell::Text(text.get(end + 1..)?.into()),
        })
    }
}

/// Names that some version of sysdig knew and that have another one here, or no value any more.
const FORMER: &[(&str, &str)] = &[("proc.cpu", "thread.cpu")];

impl Reader {
    /// The field with this name: `proc.name`, `proc.aname[2]`, `evt.arg.path`.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(name: &str) -> Result<Self, FieldError> {
        let name = name.trim();
        let known = FORMER.iter().find(|(former, _)| *former == name).map_or(name, |(_, today)| today);
        let id = |name: &str| {
            field::find(name)
                .map(|field| field.id)
                .ok_or_else(|| FieldError::Unknown { name: name.to_owned(), nearest: None })
        };
        let cpu = |user, system| -> Result<Source, FieldError> {
            let (tid, kind, rawarg) = (id("thread.tid")?, id("evt.type")?, id("evt.rawarg")?);
            Ok(Source::Cpu { user, system, tid, kind, rawarg, before: HashMap::new() })
        };
        let source = match known {
            "thread.cpu" => cpu(true, true)?,
            "thread.cpu.user" => cpu(true, false)?,
            "thread.cpu.system" => cpu(false, true)?,
            "evt.count.threadinfo" => Source::Sample { kind: id("evt.type")?, main: None },
            "evt.count.procinfo" => {
                Source::Sample { kind: id("evt.type")?, main: Some(id("thread.ismain")?) }
            }
            "proc.fdusage" => Source::Usage { open: id("proc.fdopencount")?, limit: id("proc.fdlimit")? },
            name if SYSLOG.iter().any(|(known, _)| *known == name) => {
                let part = SYSLOG
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map_or(Syslog::Message, |(_, part)| *part);
                Source::Syslog { data: id("evt.buffer")?, part }
            }
            _ => {
                let (id, arg) = resolve(known)?;
                Source::Event { id, arg }
            }
        };
        Ok(Self { name: name.to_owned(), source })
    }

    /// The name it was asked for by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether only samples of processes (`procinfo`) have it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        matches!(self.source, Source::Cpu { .. } | Source::Sample { .. })
    }

    /// What stands for a missing value: zero or no text.
    #[must_use]
    pub fn zero(&self) -> Cell {
        match self.source {
            Source::Cpu { .. } | Source::Usage { .. } => Cell::Float(0.0),
            _ if self.is_number() => Cell::Uint(0),
            _ => Cell::Text(Box::default()),
        }
    }

    /// Whether its values are numbers.
    #[must_use]
    pub fn is_number(&self) -> bool {
        match &self.source {
            Source::Event { id, .. } => {
                matches!(id.field().ty, Type::Int | Type::Uint | Type::Duration | Type::Bool)
            }
            Source::Cpu { .. } | Source::Usage { .. } | Source::Sample { .. } => true,
            Source::Syslog { part, .. } => matches!(part, Syslog::Facility | Syslog::Severity),
        }
    }

    /// The value of `event`.
    pub fn cell(&mut self, event: &dyn Fields) -> Cell {
        match &mut self.source {
            Source::Event { id, arg } => Cell::of(event.get(*id, arg.as_deref())),
            Source::Syslog { data, part } => match event.get(*data, None) {
                Value::Text(data) => part.of(data).unwrap_or_default(),
                _ => Cell::Missing,
            },
            Source::Sample { kind, main } => {
                let is_sample = matches!(event.get(*kind, None), Value::Text(b"procinfo"));
                let counts = main.is_none_or(|main| matches!(event.get(main, None), Value::Bool(true)));
                if is_sample && counts { Cell::Uint(1) } else { Cell::Missing }
            }
            Source::Usage { open, limit } => {
                let (open, limit) = (number(event, *open, None), number(event, *limit, None));
                match (open, limit) {
                    (Some(open), Some(limit)) if limit > 0 => Cell::Float(open as f64 * 100.0 / limit as f64),
                    _ => Cell::Missing,
                }
            }
            Source::Cpu { user, system, tid, kind, rawarg, before } => {
                if !matches!(event.get(*kind, None), Value::Text(b"procinfo")) {
                    return Cell::Missing;
                }
                let part = |wanted: bool, name: &[u8]| {
                    if wanted { number(event, *rawarg, Some(name)).unwrap_or(0) } else { 0 }
                };
                let Some(tid) = number(event, *tid, None) else { return Cell::Missing };
                let now = part(*user, b"cpu_usr").saturating_add(part(*system, b"cpu_sys"));
                let now = u64::try_from(now).unwrap_or(0);
                if before.len() >= MAX_THREADS && !before.contains_key(&tid) {
                    return Cell::Float(0.0);
                }
                // The kernel's ticks are hundredths of a second, the samples a second apart.
                let ticks = before.insert(tid, now).map_or(0, |then| now.saturating_sub(then)).min(100);
                Cell::Float(ticks as f64)
            }
        }
    }
}

fn number(event: &dyn Fields, field: FieldId, arg: Option<&[u8]>) -> Option<i64> {
    match event.get(field, arg) {
        Value::Int(number) => Some(number),
        Value::Uint(number) => i64::try_from(number).ok(),
        _ => None,
    }
}

/// A field and its argument.
type Resolved = (FieldId, Option<Box<[u8]>>);

/// The field and its argument, in brackets or behind a further dot.
fn resolve(name: &str) -> Result<Resolved, FieldError> {
    if let Some((base, rest)) = name.split_once('[') {
        let Some(arg) = rest.strip_suffix(']') else {
            return Err(FieldError::Open { name: name.to_owned() });
        };
        return Ok((find(base)?.id, Some(arg.trim_matches(['"', '\'']).as_bytes().into())));
    }
    let found = match find(name) {
        Ok(found) => found,
        Err(error) => {
            let (base, arg) = name.rsplit_once('.').ok_or_else(|| error.clone())?;
            let found = field::find(base).filter(|found| found.arg != Arg::None || found.ty == Type::Map);
            return found.map(|found| (found.id, Some(arg.as_bytes().into()))).ok_or(error);
        }
    };
    if found.arg == Arg::Required {
        return Err(FieldError::NoArgument { name: name.to_owned() });
    }
    Ok((found.id, None))
}

fn find(name: &str) -> Result<&'static field::Field, FieldError> {
    field::find(name).ok_or_else(|| FieldError::Unknown {
        name: name.to_owned(),
        nearest: field::nearest(name, field::names()).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_fields() {
        for name in [
            "proc.name",
            "proc.aname[2]",
            "evt.arg.path",
            "evt.rawarg.res",
            "evt.arg[0]",
            "thread.cpu",
            "proc.fdusage",
        ] {
            assert_eq!(Reader::parse(name).map(|reader| reader.name().to_owned()).as_deref(), Ok(name));
        }
        assert_eq!(Reader::parse("proc.nane").unwrap_err().nearest(), Some("proc.name"));
        assert!(matches!(Reader::parse("evt.arg"), Err(FieldError::NoArgument { .. })));
        assert!(matches!(Reader::parse("proc.aname[2"), Err(FieldError::Open { .. })));
    }
}
