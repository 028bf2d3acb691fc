//! Payloads into events: one event, a list of them (`EventList`), an array of either.
//!
//! Source of the forms and limits: falcosecurity/plugins `plugins/k8saudit` (maxEventSize 262,144,
//! webhookMaxBatchSize 12 MiB) and Kubernetes' audit API (`audit.k8s.io/v1`).

use jiff::Timestamp;

use crate::event::Event;
use crate::tree::Tree;

/// What a payload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Kubernetes audit events.
    K8sAudit,
    /// Any JSON: each object is an event.
    Json,
}

/// What may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one event, as compact JSON.
    pub event_bytes: usize,
    /// Bytes of a payload.
    pub payload_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { event_bytes: 262_144, payload_bytes: 12 << 20 }
    }
}

/// Events of a payload, and what is none.
#[derive(Debug, Default)]
pub struct Parsed {
    /// In the order of the payload.
    pub events: Vec<Event>,
    /// What was left out, and why.
    pub refusals: Vec<Refusal>,
}

/// Something that is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The payload is too large.
    #[error("payload of {bytes} bytes is larger than {limit}")]
    Payload {
        /// Its size.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The payload is no JSON.
    #[error("not JSON: {reason}")]
    Syntax {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The value is no audit event.
    #[error("data not recognized as a k8s audit event: kind is {kind}")]
    Kind {
        /// Its `kind`, or what is in its place.
        kind: String,
    },
    /// The event has no time.
    #[error("cannot read stageTimestamp{}{value}", if value.is_empty() { "" } else { ": " })]
    Time {
        /// What stands there.
        value: String,
    },
    /// The event is too large.
    #[error("event of {bytes} bytes is larger than {limit}")]
    Event {
        /// Its size.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// Reads a payload. `now_ns` is the time of events that have none of their own.
#[must_use]
pub fn parse(payload: &[u8], format: Format, limits: &Limits, now_ns: u64) -> Parsed {
    let mut parsed = Parsed::default();
    if payload.len() > limits.payload_bytes {
        parsed.refusals.push(Refusal::Payload { bytes: payload.len(), limit: limits.payload_bytes });
        return parsed;
    }
    match serde_json::from_slice(payload) {
        Ok(tree) => parsed.take(tree, format, limits, now_ns),
        Err(error) => parsed.refusals.push(Refusal::Syntax { reason: error.to_string() }),
    }
    parsed
}

impl Parsed {
    fn take(&mut self, tree: Tree, format: Format, limits: &Limits, now_ns: u64) {
        match (tree, format) {
            (Tree::Array(items), _) => {
                for item in items {
                    self.take(item, format, limits, now_ns);
                }
            }
            (tree @ Tree::Object(_), Format::Json) => self.keep(tree, limits, now_ns),
            (Tree::Object(mut members), Format::K8sAudit) => {
                let kind = members.iter().find(|(name, _)| &**name == "kind");
                match kind.and_then(|(_, kind)| kind.text()) {
                    Some("Event") => self.audit(Tree::Object(members), limits),
                    Some("EventList") => {
                        let items = members.iter_mut().find(|(name, _)| &**name == "items");
                        // Items of a list have no kind of their own.
                        if let Some((_, Tree::Array(items))) = items {
                            for item in core::mem::take(items) {
                                self.audit(item, limits);
                            }
                        }
                    }
                    kind => {
                        let kind = kind.unwrap_or("missing").chars().take(64).collect();
                        self.refusals.push(Refusal::Kind { kind });
                    }
                }
            }
            (other, _) => self.refusals.push(Refusal::Kind { kind: name_of(&other).to_owned() }),
        }
    }

    fn audit(&mut self, tree: Tree, limits: &Limits) {
        let stamp = tree.get("stageTimestamp").map(Tree::plain).unwrap_or_default();
        let time = stamp.parse::<Timestamp>().ok();
        let Some(ts_ns) = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()) else {
            self.refusals.push(Refusal::Time { value: stamp.chars().take(64).collect() });
            return;
        };
        self.keep(tree, limits, ts_ns);
    }

    fn keep(&mut self, tree: Tree, limits: &Limits, ts_ns: u64) {
        let bytes = size(&tree);
        if bytes > limits.event_bytes {
            self.refusals.push(Refusal::Event { bytes, limit: limits.event_bytes });
            return;
        }
        self.events.push(Event { ts_ns, tree });
    }
}

/// Bytes of a tree as compact JSON.
fn size(tree: &Tree) -> usize {
    struct Count(usize);
    impl core::fmt::Write for Count {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting does not fail.
    let _ = core::fmt::write(&mut count, format_args!("{tree}"));
    count.0
}

const fn name_of(tree: &Tree) -> &'static str {
    match tree {
        Tree::Null => "null",
        Tree::Bool(_) => "a truth value",
        Tree::Number(_) => "a number",
        Tree::Text(_) => "a text",
        Tree::Array(_) => "an array",
        Tree::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"kind":"Event","auditID":"1","stageTimestamp":"2018-10-26T19:28:10.123456Z"}"#;

    fn audit(payload: &str) -> Parsed {
        parse(payload.as_bytes(), Format::K8sAudit, &Limits::default(), 7)
    }

    #[test]
    fn one_event_a_list_or_a_batch() {
        let list = format!(r#"{{"kind":"EventList","items":[{EVENT},{EVENT}]}}"#);
        for (payload, count) in
            [(EVENT.to_owned(), 1), (list.clone(), 2), (format!("[{EVENT},{list}]"), 3), ("[]".into(), 0)]
        {
            let parsed = audit(&payload);
            assert_eq!((parsed.events.len(), parsed.refusals), (count, Vec::new()), "{payload}");
            assert!(parsed.events.iter().all(|event| event.ts_ns == 1_540_582_090_123_456_000));
        }
    }

    #[test]
    fn what_is_no_event_is_told_and_the_rest_is_kept() {
        let late = EVENT.replace("2018-10", "late");
        let parsed = audit(&format!(r#"[{EVENT},{{"kind":"Pod"}},{late},1,{{}},{EVENT}]"#));
        assert_eq!(parsed.events.len(), 2);
        let told: Vec<String> = parsed.refusals.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "data not recognized as a k8s audit event: kind is Pod",
                "cannot read stageTimestamp: late-26T19:28:10.123456Z",
                "data not recognized as a k8s audit event: kind is a number",
                "data not recognized as a k8s audit event: kind is missing",
            ]
        );
        assert!(audit("{").refusals[0].to_string().starts_with("not JSON: EOF"));
    }

    #[test]
    fn sizes_and_depth_are_bounded() {
        let limits = Limits { event_bytes: 60, payload_bytes: 4096 };
        let parsed = parse(EVENT.as_bytes(), Format::K8sAudit, &limits, 7);
        assert_eq!(parsed.refusals, [Refusal::Event { bytes: EVENT.len(), limit: 60 }]);
        let parsed = parse(&[b' '; 5000], Format::K8sAudit, &limits, 7);
        assert_eq!(parsed.refusals, [Refusal::Payload { bytes: 5000, limit: 4096 }]);
        assert!(audit(&"[".repeat(100_000)).refusals[0].to_string().contains("recursion"));
    }

    #[test]
    fn any_object_is_an_event_of_json() {
        let parsed = parse(br#"[{"a":1},{"b":2}]"#, Format::Json, &Limits::default(), 7);
        assert_eq!(parsed.events.iter().map(|event| event.ts_ns).collect::<Vec<_>>(), [7, 7]);
    }
}
