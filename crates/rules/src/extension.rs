//! nabe's own keys of a rule, below `nabe:`. Falco ignores them with a warning about the key.
//!
//! ```yaml
//! nabe:
//!   threshold: count(5 in 10s by proc.pid)        # alert when it has happened so often
//!   sequence: Shell in container then this within 30s by container.id
//!   throttle: {every: 1m, by: [proc.name]}        # at most one alert a minute and name
//!   silent: true                                  # no alerts: a step of other rules' sequences
//!   capture_before: 5s                            # look-back: save what led to it
//!   actions: [{signal: kill}, {container: pause}, {run: [/usr/local/bin/page]}, {capture: 10s}]
//! ```

use nabe_event::field;

use crate::place::{Item, Place};
use crate::report::{ErrorCode, Fault, Result};
use crate::yaml::{Kind, Node};

/// The most repeats that a threshold may count.
pub const MAX_COUNT: u32 = 10_000;
/// The most steps of a sequence.
pub const MAX_STEPS: usize = 8;
/// The longest time that any of them spans.
pub const MAX_SPAN_NS: u64 = 24 * 3600 * 1_000_000_000;

/// What nabe does beyond Falco for a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// Alerts only when it happened so often.
    pub threshold: Option<Threshold>,
    /// Alerts only behind other rules.
    pub sequence: Option<Sequence>,
    /// Holds repeats back.
    pub throttle: Option<Throttle>,
    /// Gives no alerts of its own.
    pub silent: bool,
    /// How much of what came before is in the capture of an alert, in nanoseconds; whoever runs the
    /// rules decides whether there are captures.
    pub capture_before_ns: Option<u64>,
    /// What is done on an alert.
    pub actions: Vec<Action>,
}

/// `count(5 in 10s by proc.pid)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// How often.
    pub count: u32,
    /// Within how many nanoseconds.
    pub within_ns: u64,
    /// For each combination of values of these fields.
    pub by: Vec<String>,
}

/// `A then B then this within 30s by container.id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The rules that come before, in order.
    pub before: Vec<String>,
    /// From the first to this one, in nanoseconds.
    pub within_ns: u64,
    /// For each combination of values of these fields.
    pub by: Vec<String>,
}

/// At most `burst` alerts in a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The time, in nanoseconds of the events.
    pub every_ns: u64,
    /// Alerts within it.
    pub burst: u32,
    /// For each combination of values of these fields.
    pub by: Vec<String>,
}

/// What is done on an alert. Whoever runs the rules decides whether it is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends a signal to the process.
    Signal(String),
    /// Does something to the container.
    Container(ContainerAction),
    /// Runs a program with the alert on its input.
    Run(Vec<String>),
    /// Saves a capture that begins so many nanoseconds before the event.
    Capture(u64),
}

/// What can be done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerAction {
    /// Stops it.
    Stop,
    /// Freezes it.
    Pause,
}

const KEYS: &[&str] = &["threshold", "sequence", "throttle", "silent", "capture_before", "actions"];
const SIGNALS: &[&str] = &["kill", "term", "int", "stop", "hup", "usr1", "usr2", "quit"];

struct Reader<'p> {
    place: &'p Place,
}

impl Extension {
    /// Reads the value of `nabe:`.
    pub(crate) fn read(node: &Node, parent: &Place) -> Result<Self> {
        let place = parent.within(node, Item::Extension, "nabe");
        let reader = Reader { place: &place };
        let Kind::Map(entries) = &node.kind else {
            return Err(reader.wrong(node, "`nabe` must be a mapping"));
        };
        let mut out = Self::default();
        for (key, value) in entries {
            match key.text().unwrap_or_default() {
                "threshold" => out.threshold = Some(reader.threshold(value)?),
                "sequence" => out.sequence = Some(reader.sequence(value)?),
                "throttle" => out.throttle = Some(reader.throttle(value)?),
                "silent" => out.silent = reader.truth(value)?,
                "capture_before" => out.capture_before_ns = Some(reader.span(value)?),
                "actions" => out.actions = reader.actions(value)?,
                other => {
                    let near = field::nearest(other, KEYS.iter().copied());
                    let fault = reader.wrong(key, format!("unknown key '{other}' below 'nabe'"));
                    return Err(fault.hint(Some(match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("one of {}", KEYS.join(", ")),
                    })));
                }
            }
        }
        Ok(out)
    }

    /// The fields that it names.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let threshold = self.threshold.iter().flat_map(|one| &one.by);
        let sequence = self.sequence.iter().flat_map(|one| &one.by);
        let throttle = self.throttle.iter().flat_map(|one| &one.by);
        threshold.chain(sequence).chain(throttle).map(String::as_str)
    }

    /// Whether it asks for a capture of what came before.
    #[must_use]
    pub fn looks_back(&self) -> bool {
        self.capture_before_ns.is_some()
            || self.actions.iter().any(|action| matches!(action, Action::Capture(_)))
    }

    /// Whether the rule is as Falco would have it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Reader<'_> {
    fn wrong(&self, node: &Node, message: impl Into<String>) -> Box<Fault> {
        Fault::new(ErrorCode::Extension, message, &self.place.within(node, Item::ValueFor, ""))
    }

    fn truth(&self, node: &Node) -> Result<bool> {
        match node.text() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(self.wrong(node, "expected true or false")),
        }
    }

    fn span(&self, node: &Node) -> Result<u64> {
        self.span_of(node, node.text().unwrap_or_default())
    }

    fn span_of(&self, node: &Node, text: &str) -> Result<u64> {
        span_ns(text).ok_or_else(|| {
            let message = format!("'{text}' is no time");
            self.wrong(node, message).hint(Some("a number with ms, s, m or h, up to 24h: `10s`".to_owned()))
        })
    }

    fn fields(&self, node: &Node) -> Result<Vec<String>> {
        let names: Vec<&str> = match node.items() {
            Some(items) => items.iter().filter_map(|item| item.text()).collect(),
            None => node.text().unwrap_or_default().split([',', ' ']).collect(),
        };
        Ok(names.into_iter().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    fn threshold(&self, node: &Node) -> Result<Threshold> {
        let text = node.text().unwrap_or_default().trim();
        let wrong = || {
            let message = format!("'{text}' is no threshold");
            self.wrong(node, message).hint(Some("`count(5 in 10s by proc.pid)`".to_owned()))
        };
        let inner = text.strip_prefix("count(").and_then(|rest| rest.strip_suffix(')')).ok_or_else(wrong)?;
        let (inner, by) = split_by(inner);
        let (count, within) = inner.split_once(" in ").ok_or_else(wrong)?;
        let count = count.trim().parse::<u32>().ok().filter(|count| (1..=MAX_COUNT).contains(count));
        let within_ns = self.span_of(node, within.trim())?;
        Ok(Threshold { count: count.ok_or_else(wrong)?, within_ns, by })
    }

    fn sequence(&self, node: &Node) -> Result<Sequence> {
        let text = node.text().unwrap_or_default().trim();
        let wrong = || {
            let message = format!("'{text}' is no sequence");
            let form = "`Rule A then Rule B then this within 30s by container.id`";
            self.wrong(node, message).hint(Some(form.to_owned()))
        };
        let (steps, rest) = text.rsplit_once(" within ").ok_or_else(wrong)?;
        let (within, by) = split_by(rest);
        let mut before: Vec<String> = steps.split(" then ").map(|step| step.trim().to_owned()).collect();
        if before.last().is_some_and(|last| last == "this") {
            before.pop();
        }
        if before.is_empty()
            || before.len() > MAX_STEPS
            || before.iter().any(|step| step.is_empty() || step == "this")
        {
            return Err(wrong());
        }
        Ok(Sequence { before, within_ns: self.span_of(node, within.trim())?, by })
    }

    fn throttle(&self, node: &Node) -> Result<Throttle> {
        let Kind::Map(entries) = &node.kind else {
            return Ok(Throttle { every_ns: self.span(node)?, burst: 1, by: Vec::new() });
        };
        let mut out = Throttle { every_ns: 0, burst: 1, by: Vec::new() };
        for (key, value) in entries {
            match key.text().unwrap_or_default() {
                "every" => out.every_ns = self.span(value)?,
                "by" => out.by = self.fields(value)?,
                "burst" => {
                    let burst = value.text().and_then(|text| text.parse().ok());
                    out.burst = burst.filter(|burst| (1..=MAX_COUNT).contains(burst)).ok_or_else(|| {
                        self.wrong(value, format!("'burst' is a number from 1 to {MAX_COUNT}"))
                    })?;
                }
                other => return Err(self.wrong(key, format!("unknown key '{other}' below 'throttle'"))),
            }
        }
        if out.every_ns == 0 {
            return Err(self.wrong(node, "'throttle' needs 'every'"));
        }
        Ok(out)
    }

    fn actions(&self, node: &Node) -> Result<Vec<Action>> {
        let items = node.items().ok_or_else(|| self.wrong(node, "'actions' must be a sequence"))?;
        items.iter().map(|item| self.action(item)).collect()
    }

    fn action(&self, node: &Node) -> Result<Action> {
        let Kind::Map(entries) = &node.kind else {
            return Err(self
                .wrong(node, "an action is a mapping with one key")
                .hint(Some("`signal: kill`".to_owned())));
        };
        let [(key, value)] = entries.as_slice() else {
            return Err(self.wrong(node, "an action is a mapping with one key"));
        };
        let text = value.text().unwrap_or_default();
        match key.text().unwrap_or_default() {
            "signal" if SIGNALS.contains(&text) => Ok(Action::Signal(text.to_owned())),
            "signal" => Err(self
                .wrong(value, format!("unknown signal '{text}'"))
                .hint(Some(format!("one of {}", SIGNALS.join(", "))))),
            "container" if text == "stop" => Ok(Action::Container(ContainerAction::Stop)),
            "container" if text == "pause" => Ok(Action::Container(ContainerAction::Pause)),
            "run" => {
                let words: Vec<String> = match value.items() {
                    Some(items) => items.iter().filter_map(|item| item.text()).map(str::to_owned).collect(),
                    None => vec![text.to_owned()],
                };
                if words.first().is_none_or(|program| !program.starts_with('/')) {
                    return Err(self.wrong(value, "'run' needs the absolute path of a program"));
                }
                Ok(Action::Run(words))
            }
            "capture" => Ok(Action::Capture(self.span(value)?)),
            other => Err(self
                .wrong(key, format!("unknown action '{other}'"))
                .hint(Some("signal, container (stop or pause), run, capture".to_owned()))),
        }
    }
}

/// Splits `… by a, b` off.
fn split_by(text: &str) -> (&str, Vec<String>) {
    match text.rsplit_once(" by ") {
        None => (text, Vec::new()),
        Some((rest, by)) => {
            let fields = by.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty());
            (rest, fields.map(str::to_owned).collect())
        }
    }
}

/// `250ms`, `10s`, `5m`, `1h` in nanoseconds; more than none, at most [`MAX_SPAN_NS`].
#[must_use]
pub fn span_ns(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|span| (1..=MAX_SPAN_NS).contains(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> core::result::Result<Extension, String> {
        let documents = crate::yaml::read(text).unwrap();
        Extension::read(&documents[0], &Place::file("f")).map_err(|fault| fault.message)
    }

    #[test]
    fn keys_are_read() {
        let text = "threshold: count(5 in 10s by proc.pid)\nsequence: A b then C then this within 30s by container.id\n\
                    throttle: {every: 1m, by: [proc.name, fd.name], burst: 2}\ncapture_before: 5s\n\
                    actions: [{signal: kill}, {container: pause}, {run: [/bin/true, x]}, {capture: 2s}]\n";
        let read = read(text).unwrap();
        assert_eq!(
            read.threshold,
            Some(Threshold { count: 5, within_ns: 10_000_000_000, by: vec!["proc.pid".into()] })
        );
        let sequence = read.sequence.unwrap();
        assert_eq!(
            (sequence.before, sequence.within_ns),
            (vec!["A b".to_owned(), "C".into()], 30_000_000_000)
        );
        assert_eq!(read.throttle.unwrap().by, ["proc.name", "fd.name"]);
        assert_eq!(read.actions.len(), 4);
        assert_eq!(read.actions[3], Action::Capture(2_000_000_000));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (text, part) in [
            ("thershold: x", "unknown key"),
            ("threshold: count(0 in 10s)", "no threshold"),
            ("threshold: count(5 in 10)", "no time"),
            ("sequence: this within 5s", "no sequence"),
            ("throttle: {by: a}", "needs 'every'"),
            ("actions: [{run: sh}]", "absolute"),
            ("actions: [{signal: 9}]", "unknown signal"),
            ("actions: [{capture: yes}]", "no time"),
            ("capture_before: 25h", "no time"),
            ("[]", "mapping"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
