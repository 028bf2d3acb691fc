//! Behaviour rules in TOML: kombu's form, unchanged, and what nabe adds to it.
//!
//! kombu's keys (Zakki0925224/kombu, `yaminabe/src/detection_rule.rs` and `detection_rules/sample.toml`):
//! `[meta] name, desc`; `[syscall] blacklist_numbers`; `[[syscall.frequent]]` and
//! `[[syscall.consecutive]]` with `threshold_count` and `number`; `[timestamp] check_timetravel`. Each of
//! them alone makes the rule hit. nabe's own keys are told in docs/sandbox.md.

use std::collections::BTreeMap;

use nabe_event::table::native::X86_64;
use nabe_filter::{Lang, Program};
use serde::Deserialize;
use toml::Spanned;

use crate::when::When;

/// Conditions of one rule at most.
const MAX_CONDITIONS: usize = 256;

/// How grave a hit is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Unusual.
    Low,
    /// Suspicious; what a rule without a severity has.
    #[default]
    Medium,
    /// Malicious as a rule.
    High,
    /// Malicious.
    Critical,
}

impl Severity {
    /// What a hit adds to the score.
    #[must_use]
    pub const fn score(self) -> u32 {
        match self {
            Self::Info => 0,
            Self::Low => 10,
            Self::Medium => 30,
            Self::High => 60,
            Self::Critical => 100,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Why a rule cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The text is no TOML, or a key is not known or of the wrong type.
    #[error("{name}: {reason}")]
    Toml {
        /// The file.
        name: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// A condition is wrong, or conditions do not combine.
    #[error("{name}:{line}: {key}: {reason}")]
    Condition {
        /// The file.
        name: String,
        /// The line, from 1.
        line: usize,
        /// Which key of the rule.
        key: String,
        /// Why.
        reason: String,
    },
}

/// What is wrong with a value: the byte where it stands, its key, the reason.
struct Wrong {
    at: usize,
    key: String,
    reason: String,
}

fn wrong<T>(at: &Spanned<T>, key: &str, reason: impl Into<String>) -> Wrong {
    Wrong { at: at.span().start, key: key.to_owned(), reason: reason.into() }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    meta: Meta,
    syscall: Option<Syscall>,
    timestamp: Option<Timestamp>,
    #[serde(default)]
    condition: BTreeMap<String, Spanned<Condition>>,
    when: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    name: String,
    desc: String,
    #[serde(default)]
    severity: Severity,
    #[serde(default)]
    attack: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Syscall {
    #[serde(default)]
    blacklist_numbers: Vec<Spanned<Call>>,
    #[serde(default)]
    frequent: Vec<Threshold>,
    #[serde(default)]
    consecutive: Vec<Threshold>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Threshold {
    threshold_count: u64,
    number: Spanned<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timestamp {
    check_timetravel: bool,
}

/// A system call by number or by name.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Call {
    Number(u64),
    Name(String),
}

/// nabe's own condition.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    filter: Option<Spanned<String>>,
    syscalls: Option<Vec<Spanned<Call>>>,
    sequence: Option<Vec<Spanned<String>>>,
    count: Option<Spanned<u64>>,
    consecutive: Option<Spanned<u64>>,
    window: Option<Spanned<String>>,
    #[serde(default)]
    per: Per,
    timetravel: Option<bool>,
    /// Techniques that it is a sign of, beside those of the rule.
    #[serde(default)]
    attack: Vec<String>,
}

/// Over what a condition counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Per {
    /// All processes of the specimen together.
    #[default]
    Tree,
    /// Each process for itself.
    Process,
}

/// What an event must be.
#[derive(Clone, Debug)]
pub(crate) enum Matcher {
    /// One of these system calls, sorted.
    Calls(Vec<u16>),
    /// What a filter selects.
    Filter(Program),
}

/// What must happen.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// So many events, within so long.
    Count { matcher: Matcher, threshold: u64, window_ns: Option<u64> },
    /// So many system calls in a row, without another between.
    Consecutive { matcher: Matcher, threshold: u64 },
    /// One event of each kind, in this order, within so long.
    Sequence { steps: Vec<Program>, window_ns: Option<u64> },
    /// Time that goes back, or forward by a second or more, between two system calls.
    TimeTravel,
}

/// A condition by its name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) pattern: Pattern,
    pub(crate) per: Per,
    /// What a hit says, in kombu's words where it is kombu's.
    pub(crate) message: String,
    /// Techniques that it is a sign of.
    pub(crate) attack: Vec<String>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub desc: String,
    /// How grave a hit is.
    pub severity: Severity,
    /// Ids of MITRE ATT&CK techniques.
    pub attack: Vec<String>,
    pub(crate) conditions: Vec<Named>,
    pub(crate) when: When,
}

impl Rule {
    /// Reads a rule; `name` is its file's, for messages.
    ///
    /// # Errors
    /// When the text is no rule: says where and how to mend it.
    pub fn parse(text: &str, name: &str) -> Result<Self, RuleError> {
        let toml = |error: toml::de::Error| {
            let near = nearest_key(error.message()).unwrap_or_default();
            let reason = error.to_string().trim_end().replace('\n', "\n  ") + &near;
            RuleError::Toml { name: name.to_owned(), reason }
        };
        let file: File = toml::from_str(text).map_err(toml)?;
        let place = |wrong: Wrong| RuleError::Condition {
            name: name.to_owned(),
            line: 1 + text.get(..wrong.at).unwrap_or_default().matches('\n').count(),
            key: wrong.key,
            reason: wrong.reason,
        };
        let mut conditions = Vec::new();
        if let Some(syscall) = &file.syscall {
            kombu(syscall, &mut conditions).map_err(place)?;
        }
        if file.timestamp.is_some_and(|timestamp| timestamp.check_timetravel) {
            conditions.push(Named {
                name: "timestamp.check_timetravel".into(),
                pattern: Pattern::TimeTravel,
                per: Per::Tree,
                message: "Timetravel detected".into(),
                attack: Vec::new(),
            });
        }
        for (key, condition) in &file.condition {
            let pattern = Condition::pattern(condition, key).map_err(place)?;
            let condition = condition.get_ref();
            let message = format!("condition {key} is fulfilled");
            let (per, attack) = (condition.per, condition.attack.clone());
            conditions.push(Named { name: key.clone(), pattern, per, message, attack });
        }
        if conditions.len() > MAX_CONDITIONS {
            let reason = format!("more than {MAX_CONDITIONS} conditions");
            return Err(place(Wrong { at: 0, key: "condition".into(), reason }));
        }
        let names: Vec<&str> = conditions.iter().map(|named| &*named.name).collect();
        let when = match &file.when {
            Some(text) => {
                When::parse(text.get_ref(), &names).map_err(|reason| place(wrong(text, "when", reason)))?
            }
            // Any of them, as kombu has it.
            None => When::Or((0..conditions.len()).map(When::Condition).collect()),
        };
        let Meta { name, desc, severity, attack } = file.meta;
        Ok(Self { name, desc, severity, attack, conditions, when })
    }

    /// The rules that nabe has in itself: what malware does, and what ordinary programs do not.
    #[must_use]
    pub fn built_in() -> Vec<Self> {
        BUILT_IN.iter().filter_map(|(name, text)| Self::parse(text, name).ok()).collect()
    }
}

macro_rules! built_in {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("../rules/", $name)))),*] };
}

/// The files of [`Rule::built_in`]; a test reads each of them.
static BUILT_IN: &[(&str, &str)] = built_in! {
    "anti_analysis.toml"
    "clock_tampering.toml"
    "container_escape.toml"
    "credential_access.toml"
    "fileless_execution.toml"
    "fork_bomb.toml"
    "memory_hog.toml"
    "persistence.toml"
    "privilege_escalation.toml"
    "process_injection.toml"
    "reverse_connection.toml"
    "self_deletion.toml"
    "wipe.toml"
    "write_storm.toml"
    "rename_storm.toml"
};

/// kombu's conditions, in the order in which kombu looks at them.
fn kombu(syscall: &Syscall, conditions: &mut Vec<Named>) -> Result<(), Wrong> {
    let number =
        |call: &Spanned<Call>, key: &str| call.get_ref().number().map_err(|reason| wrong(call, key, reason));
    let named = |name: &str, call: &Spanned<Call>, pattern, message: &str| {
        let shown = match call.get_ref() {
            Call::Number(number) => number.to_string(),
            Call::Name(name) => name.clone(),
        };
        let message = format!("{message} syscall detected: {shown}");
        let name = format!("syscall.{name}.{shown}");
        Named { name, pattern, per: Per::Tree, message, attack: Vec::new() }
    };
    for call in &syscall.blacklist_numbers {
        let matcher = Matcher::Calls(vec![number(call, "syscall.blacklist_numbers")?]);
        let pattern = Pattern::Count { matcher, threshold: 1, window_ns: None };
        conditions.push(named("blacklist", call, pattern, "Blacklisted"));
    }
    for Threshold { threshold_count, number: call } in &syscall.frequent {
        let matcher = Matcher::Calls(vec![number(call, "syscall.frequent.number")?]);
        let pattern = Pattern::Count { matcher, threshold: *threshold_count, window_ns: None };
        conditions.push(named("frequent", call, pattern, "Frequent"));
    }
    for Threshold { threshold_count, number: call } in &syscall.consecutive {
        let matcher = Matcher::Calls(vec![number(call, "syscall.consecutive.number")?]);
        let pattern = Pattern::Consecutive { matcher, threshold: *threshold_count };
        conditions.push(named("consecutive", call, pattern, "Consecutive"));
    }
    Ok(())
}

impl Call {
    fn number(&self) -> Result<u16, String> {
        match self {
            Self::Number(number) => {
                u16::try_from(*number).map_err(|_| format!("{number} is no number of a system call"))
            }
            Self::Name(name) => {
                let found = X86_64.iter().find(|native| native.name == name).map(|native| native.number);
                found.ok_or_else(|| {
                    let near = nabe_event::field::nearest(name, X86_64.iter().map(|native| native.name));
                    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    format!("there is no system call `{name}`{near}")
                })
            }
        }
    }
}

impl Condition {
    /// What must happen, of the condition with this name.
    fn pattern(spanned: &Spanned<Self>, name: &str) -> Result<Pattern, Wrong> {
        let this = spanned.get_ref();
        let key = |key: &str| format!("condition.{name}.{key}");
        let compile = |text: &Spanned<String>, of: &str| {
            Program::compile_of_events(text.get_ref(), Lang::Auto)
                .map_err(|error| wrong(text, &key(of), error.to_string().replace('\n', "\n  ")))
        };
        let window_ns = this
            .window
            .as_ref()
            .map(|text| window(text.get_ref()).map_err(|reason| wrong(text, &key("window"), reason)));
        let window_ns = window_ns.transpose()?;
        let matcher = match (&this.filter, &this.syscalls, &this.sequence, this.timetravel) {
            (None, None, Some(steps), None) => {
                if let Some(count) = this.count.as_ref().or(this.consecutive.as_ref()) {
                    return Err(wrong(count, &key("sequence"), "a sequence has no count"));
                }
                if !(2..=16).contains(&steps.len()) {
                    return Err(wrong(spanned, &key("sequence"), "a sequence has 2 to 16 steps"));
                }
                let steps = steps.iter().map(|step| compile(step, "sequence")).collect::<Result<_, _>>()?;
                return Ok(Pattern::Sequence { steps, window_ns });
            }
            (None, None, None, Some(true)) => return Ok(Pattern::TimeTravel),
            (Some(filter), None, None, None) => Matcher::Filter(compile(filter, "filter")?),
            (None, Some(calls), None, None) => Matcher::Calls(numbers(calls, &key("syscalls"))?),
            _ => {
                let reason = "expected one of filter, syscalls, sequence, timetravel = true";
                return Err(wrong(spanned, &format!("condition.{name}"), reason));
            }
        };
        this.threshold(matcher, window_ns, &key)
    }

    fn threshold(
        &self,
        matcher: Matcher,
        window_ns: Option<u64>,
        key: &dyn Fn(&str) -> String,
    ) -> Result<Pattern, Wrong> {
        const ALWAYS: &str = "a threshold of 0 is always reached";
        match (&self.count, &self.consecutive) {
            (Some(count), Some(_)) => {
                Err(wrong(count, &key("count"), "expected count or consecutive, not both"))
            }
            (Some(count), None) if *count.get_ref() == 0 => Err(wrong(count, &key("count"), ALWAYS)),
            (None, Some(count)) if *count.get_ref() == 0 => Err(wrong(count, &key("consecutive"), ALWAYS)),
            (None, Some(count)) if window_ns.is_some() => {
                Err(wrong(count, &key("consecutive"), "consecutive has no window"))
            }
            (None, Some(count)) => Ok(Pattern::Consecutive { matcher, threshold: *count.get_ref() }),
            (Some(count), None) if window_ns.is_some() && *count.get_ref() > MAX_WINDOWED => {
                Err(wrong(count, &key("count"), format!("a window counts to {MAX_WINDOWED} at most")))
            }
            (count, None) => {
                let threshold = count.as_ref().map_or(1, |count| *count.get_ref());
                Ok(Pattern::Count { matcher, threshold, window_ns })
            }
        }
    }
}

/// Numbers of calls, sorted.
fn numbers(calls: &[Spanned<Call>], key: &str) -> Result<Vec<u16>, Wrong> {
    let number = |call: &Spanned<Call>| call.get_ref().number().map_err(|reason| wrong(call, key, reason));
    let mut numbers: Vec<u16> = calls.iter().map(number).collect::<Result<_, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// What was meant by a key that is not known, from what the parser says of it.
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown "))?;
    let near = nabe_event::field::nearest(unknown, quoted)?;
    Some(format!("\n  did you mean `{near}`?"))
}

/// Times that a window remembers at most.
const MAX_WINDOWED: u64 = 65_536;

/// `500ms`, `10s`, `5m`.
fn window(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        _ => 0,
    };
    let ns = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|ns| *ns > 0);
    ns.ok_or_else(|| format!("`{text}` is no time: expected one such as 500ms, 10s or 5m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// kombu's own sample (detection_rules/sample.toml), without its comments.
    const SAMPLE: &str = "[meta]\nname = \"Sample rule\"\ndesc = \"This is the sample rule\"\n[syscall]\n\
        blacklist_numbers = []\n[[syscall.frequent]]\nthreshold_count = 10\nnumber = 59\n[[syscall.frequent]]\n\
        threshold_count = 4\nnumber = 263\n[[syscall.consecutive]]\nthreshold_count = 4\nnumber = 1\n\
        [timestamp]\ncheck_timetravel = true\n";

    #[test]
    fn kombus_sample_is_read() {
        let rule = Rule::parse(SAMPLE, "sample.toml").unwrap();
        let messages: Vec<_> = rule.conditions.iter().map(|named| &*named.message).collect();
        assert_eq!(
            messages,
            [
                "Frequent syscall detected: 59",
                "Frequent syscall detected: 263",
                "Consecutive syscall detected: 1",
                "Timetravel detected",
            ]
        );
        assert_eq!(rule.severity, Severity::Medium);
    }

    #[test]
    fn built_in_rules_are_read() {
        for (name, text) in BUILT_IN {
            let rule = Rule::parse(text, name).unwrap_or_else(|error| panic!("{error}"));
            let told = |named: &Named| !rule.attack.is_empty() || !named.attack.is_empty();
            assert!(!rule.conditions.is_empty() && rule.conditions.iter().all(told), "{name}");
        }
        assert_eq!(Rule::built_in().len(), BUILT_IN.len());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let meta = "[meta]\nname = \"n\"\ndesc = \"d\"\n";
        for (text, expected) in [
            ("", "missing field `meta`"),
            ("[meta]\nname = 1\n", "line 2"),
            ("when = \"a\"\n", "there is no condition"),
            ("[conditoin.a]\nfilter = \"x\"\n", "did you mean `condition`?"),
            ("[condition.a]\nfiltre = \"x\"\n", "did you mean `filter`?"),
            ("[condition.a]\nfilter = \"evt.type = open\"\nper = \"proces\"\n", "did you mean `process`?"),
            (
                "[syscall]\nblacklist_numbers = [1, \"mont\"]\n",
                "r.toml:5: syscall.blacklist_numbers: there is no system call `mont`; did you mean `mount`?",
            ),
            (
                "[condition.a]\nsyscalls = [\"opne\"]\n",
                "there is no system call `opne`; did you mean `open`?",
            ),
            ("[condition.a]\nsyscalls = [99999]\n", "r.toml:5: condition.a.syscalls: 99999 is no number"),
            (
                "[condition.a]\nsyscalls = [1]\n[condition.b]\nfilter = \"evt.type = open\"\nwindow = \"1\"\n",
                "r.toml:8: condition.b.window: `1` is no time",
            ),
            ("[condition.a]\nfilter = \"evt.typ = open\"\n", "evt.typ"),
            ("[condition.a]\nfilter = \"evt.type = open\"\ncount = 0\n", "always reached"),
            ("[condition.a]\nfilter = \"evt.type = open\"\nwindow = \"5 fortnights\"\n", "is no time"),
            ("[condition.a]\nsequence = [\"evt.type = open\"]\n", "2 to 16 steps"),
            ("[condition.a]\n", "expected one of"),
        ] {
            let text = if text.starts_with('[') && text.contains("meta") || text.is_empty() {
                text.to_owned()
            } else if text.starts_with("when") {
                format!("{text}{meta}")
            } else {
                format!("{meta}{text}")
            };
            let error = Rule::parse(&text, "r.toml").unwrap_err().to_string();
            assert!(error.starts_with("r.toml:") && error.contains(expected), "{text}: {error}");
        }
    }
}
