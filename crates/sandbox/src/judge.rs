//! Rules against events, one event at a time.

use std::collections::{BTreeSet, HashMap, VecDeque};

use nabe_event::field::process;
use nabe_event::{Fields, Value};

use crate::rule::{Matcher, Named, Pattern, Per, Rule, Severity};
use crate::{Seen, native_number};

/// Processes for which a condition counts apart; the least busy make room for new ones.
const MAX_SUBJECTS: usize = 4096;

/// Events that a hit names.
const EVIDENCE: usize = 16;

/// Time that a clock may leap: kombu's second.
const LEAP_NS: u64 = 1_000_000_000;

/// A rule that holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hit {
    /// The rule.
    pub rule: String,
    /// What it is about.
    pub desc: String,
    /// How grave.
    pub severity: Severity,
    /// ATT&CK techniques.
    pub attack: Vec<String>,
    /// Which conditions hold, in words.
    pub message: String,
    /// Numbers of the events that fulfilled them: the first and the last.
    pub events: Vec<u64>,
    /// When it held first: nanoseconds since the epoch; 0 when only the end could tell.
    pub ts_ns: u64,
}

/// Rules at work.
#[derive(Debug)]
pub struct Judge {
    rules: Vec<Working>,
    /// The last system call of the specimen.
    last_ns: Option<u64>,
    /// Subjects that had to be forgotten.
    forgotten: u64,
}

#[derive(Debug)]
struct Working {
    rule: Rule,
    conditions: Vec<State>,
    /// When it held first.
    since_ns: Option<u64>,
    needs_end: bool,
}

/// What a condition has seen.
#[derive(Debug, Default)]
struct State {
    fulfilled: bool,
    ts_ns: u64,
    message: Option<String>,
    evidence: BTreeSet<u64>,
    subjects: HashMap<i64, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    count: u64,
    /// Times within the window.
    times: VecDeque<u64>,
    /// The next step of a sequence, and when its first was.
    step: usize,
    since_ns: u64,
    events: Vec<u64>,
}

impl Judge {
    /// Rules that have seen nothing yet.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        let rules = rules
            .into_iter()
            .map(|rule| Working {
                conditions: rule.conditions.iter().map(|named| State::of(&named.pattern)).collect(),
                needs_end: rule.when.needs_end(),
                rule,
                since_ns: None,
            })
            .collect();
        Self { rules, last_ns: None, forgotten: 0 }
    }

    /// Takes an event of the specimen in.
    pub fn event(&mut self, seen: &Seen<'_>) {
        // An exit-only source has one event a call; of one that has two the second is looked at, but
        // for calls that never end.
        if seen.event.id.is_enter() && seen.event.id.is_syscall() && !never_returns(seen) {
            return;
        }
        let number = native_number(seen.event);
        let ts_ns = seen.event.ts_ns;
        let leap = number.is_some().then(|| self.leap(ts_ns)).flatten();
        let subject = pid(seen.fields).unwrap_or(seen.event.tid);
        for working in &mut self.rules {
            let mut news = false;
            for (named, state) in working.rule.conditions.iter().zip(&mut working.conditions) {
                if state.fulfilled {
                    continue;
                }
                news |= state.event(named, seen, number, subject, leap.as_deref(), &mut self.forgotten);
            }
            // What holds already is looked for on, so that a hit tells all that holds of its rule.
            if news && !working.needs_end && working.since_ns.is_none() && working.holds() {
                working.since_ns = Some(ts_ns);
            }
        }
    }

    /// What kombu calls time travel, in its words.
    fn leap(&mut self, ts_ns: u64) -> Option<String> {
        let before = self.last_ns.replace(ts_ns)?;
        let leaps = before > ts_ns || ts_ns - before >= LEAP_NS;
        leaps.then(|| format!("Timetravel detected: prev: {before} > next: {ts_ns}"))
    }

    /// The specimen has ended: what only the end can tell is told. Hits are in the order of the rules.
    #[must_use]
    pub fn finish(self) -> Vec<Hit> {
        self.rules
            .into_iter()
            .filter(|working| working.since_ns.is_some() || working.holds())
            .map(Working::hit)
            .collect()
    }

    /// Processes that were forgotten because there were too many: their conditions may be missed.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

fn never_returns(seen: &Seen<'_>) -> bool {
    matches!(seen.event.id.name(), "exit" | "exit_group")
}

fn pid(fields: &dyn Fields) -> Option<i64> {
    match fields.get(process::PID, None) {
        Value::Int(pid) => Some(pid),
        Value::Uint(pid) => i64::try_from(pid).ok(),
        _ => None,
    }
}

impl Working {
    fn holds(&self) -> bool {
        let holds = |at: usize| self.conditions.get(at).is_some_and(|state| state.fulfilled);
        !self.conditions.is_empty() && self.rule.when.holds(&holds)
    }

    /// The rule with all of its conditions that hold.
    fn hit(self) -> Hit {
        let rule = self.rule;
        let pairs = || rule.conditions.iter().zip(&self.conditions).filter(|(_, state)| state.fulfilled);
        let messages: Vec<&str> =
            pairs().map(|(named, state)| state.message.as_deref().unwrap_or(&named.message)).collect();
        let mut events: Vec<u64> = pairs().flat_map(|(_, state)| state.evidence.iter().copied()).collect();
        events.sort_unstable();
        events.dedup();
        let mut attack = rule.attack.clone();
        attack.extend(pairs().flat_map(|(named, _)| named.attack.iter().cloned()));
        attack.sort();
        attack.dedup();
        Hit {
            message: messages.join("; "),
            rule: rule.name,
            desc: rule.desc,
            severity: rule.severity,
            attack,
            events,
            ts_ns: self.since_ns.unwrap_or(0),
        }
    }
}

impl State {
    /// Nothing has been seen yet. Kombu's threshold of 0 is reached by that.
    fn of(pattern: &Pattern) -> Self {
        let reached = matches!(
            pattern,
            Pattern::Count { threshold: 0, .. } | Pattern::Consecutive { threshold: 0, .. }
        );
        Self { fulfilled: reached, ..Self::default() }
    }

    /// Takes an event in; whether it fulfilled the condition.
    fn event(
        &mut self,
        named: &Named,
        seen: &Seen<'_>,
        number: Option<u16>,
        subject: i64,
        leap: Option<&str>,
        forgotten: &mut u64,
    ) -> bool {
        let subject = match named.per {
            Per::Tree => 0,
            Per::Process => subject,
        };
        let done = match &named.pattern {
            Pattern::TimeTravel => match leap {
                Some(leap) => {
                    self.message = Some(leap.to_owned());
                    self.evidence.insert(seen.number);
                    true
                }
                None => false,
            },
            Pattern::Count { matcher, threshold, window_ns } => {
                matcher.matches(seen, number) && {
                    let progress = self.progress(subject, forgotten);
                    progress.note(seen.number);
                    progress.counted(seen.event.ts_ns, *threshold, *window_ns)
                }
            }
            Pattern::Consecutive { matcher, threshold } => {
                let Some(_) = number else { return false };
                if matcher.matches(seen, number) {
                    let progress = self.progress(subject, forgotten);
                    progress.note(seen.number);
                    progress.count += 1;
                    progress.count >= *threshold
                } else {
                    self.subjects.remove(&subject);
                    false
                }
            }
            Pattern::Sequence { steps, window_ns } => self.step(steps, *window_ns, seen, subject, forgotten),
        };
        if done {
            self.fulfilled = true;
            self.ts_ns = seen.event.ts_ns;
            if let Some(progress) = self.subjects.remove(&subject) {
                self.evidence.extend(progress.events);
            }
            self.subjects.clear();
        }
        done
    }

    fn step(
        &mut self,
        steps: &[nabe_filter::Program],
        window_ns: Option<u64>,
        seen: &Seen<'_>,
        subject: i64,
        forgotten: &mut u64,
    ) -> bool {
        let now = seen.event.ts_ns;
        let known = self.subjects.get(&subject);
        let late = known.is_some_and(|p| window_ns.is_some_and(|w| now.saturating_sub(p.since_ns) > w));
        let at = if late { 0 } else { known.map_or(0, |progress| progress.step) };
        let Some(step) = steps.get(at) else { return false };
        if !step.matches(seen.fields) {
            return false;
        }
        let progress = self.progress(subject, forgotten);
        if at == 0 {
            progress.events.clear();
            progress.since_ns = now;
        }
        progress.step = at + 1;
        progress.note(seen.number);
        progress.step == steps.len()
    }

    fn progress(&mut self, subject: i64, forgotten: &mut u64) -> &mut Progress {
        if self.subjects.len() >= MAX_SUBJECTS && !self.subjects.contains_key(&subject) {
            // The one that is least far; the smallest pid among equals, so that replays agree.
            let least = self.subjects.iter().min_by_key(|(pid, p)| (p.count.max(p.step as u64), **pid));
            if let Some(least) = least.map(|(pid, _)| *pid) {
                self.subjects.remove(&least);
                *forgotten += 1;
            }
        }
        self.subjects.entry(subject).or_default()
    }
}

impl Progress {
    /// Keeps the first events and the last.
    fn note(&mut self, number: u64) {
        if self.events.len() >= EVIDENCE {
            self.events.pop();
        }
        self.events.push(number);
    }

    fn counted(&mut self, now: u64, threshold: u64, window_ns: Option<u64>) -> bool {
        let Some(window_ns) = window_ns else {
            self.count += 1;
            return self.count >= threshold;
        };
        self.times.push_back(now);
        while self.times.front().is_some_and(|first| now.saturating_sub(*first) > window_ns) {
            self.times.pop_front();
        }
        self.count = self.times.len() as u64;
        self.count >= threshold
    }
}

impl Matcher {
    fn matches(&self, seen: &Seen<'_>, number: Option<u16>) -> bool {
        match self {
            Self::Calls(calls) => number.is_some_and(|number| calls.binary_search(&number).is_ok()),
            Self::Filter(program) => program.matches(seen.fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nabe_event::FieldId;
    use nabe_event::Missing;
    use nabe_event::field::event as e;
    use nabe_event::raw::{Event, Params};
    use nabe_event::table::EventId;

    /// An event with a type and a process.
    struct Made {
        id: EventId,
        pid: i64,
    }

    impl Fields for Made {
        fn get(&self, field: FieldId, _: Option<&[u8]>) -> Value<'_> {
            match field {
                process::PID => Value::Int(self.pid),
                e::TYPE => Value::Text(self.id.name().as_bytes()),
                _ => Value::Missing(Missing::Unset),
            }
        }
        fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
            None
        }
    }

    /// Judges events: (milliseconds, process, name).
    fn judge(rule: &str, events: &[(u64, i64, &str)]) -> Vec<Hit> {
        let rule = Rule::parse(&format!("[meta]\nname = \"r\"\ndesc = \"d\"\n{rule}"), "r.toml").unwrap();
        let mut judge = Judge::new(vec![rule]);
        for (number, (ms, pid, name)) in (1..).zip(events) {
            let id = nabe_event::table::native::X86_64.iter().find(|n| n.name == *name).unwrap().event;
            let event =
                Event { id, cpu: 0, flags: 0, ts_ns: ms * 1_000_000, tid: *pid, params: Params::NONE };
            let fields = Made { id, pid: *pid };
            judge.event(&Seen { event: &event, fields: &fields, number });
        }
        judge.finish()
    }

    const WRITES: &[(u64, i64, &str)] = &[
        (1, 1, "write"),
        (2, 1, "write"),
        (3, 1, "read"),
        (4, 1, "write"),
        (5, 1, "write"),
        (6, 1, "write"),
    ];

    #[test]
    fn kombus_conditions_hit_as_kombu_says() {
        for (rule, expected) in [
            ("[syscall]\nblacklist_numbers = [0]", Some("Blacklisted syscall detected: 0")),
            ("[syscall]\nblacklist_numbers = [2]", None),
            ("[[syscall.frequent]]\nthreshold_count = 5\nnumber = 1", Some("Frequent syscall detected: 1")),
            ("[[syscall.frequent]]\nthreshold_count = 6\nnumber = 1", None),
            (
                "[[syscall.consecutive]]\nthreshold_count = 3\nnumber = 1",
                Some("Consecutive syscall detected: 1"),
            ),
            ("[[syscall.consecutive]]\nthreshold_count = 4\nnumber = 1", None),
            ("[timestamp]\ncheck_timetravel = true", None),
        ] {
            let hits = judge(rule, WRITES);
            assert_eq!(hits.first().map(|hit| &*hit.message), expected, "{rule}");
        }
    }

    #[test]
    fn time_travel_goes_both_ways() {
        let rule = "[timestamp]\ncheck_timetravel = true";
        let back = judge(rule, &[(5, 1, "read"), (4, 1, "read")]);
        assert_eq!(back[0].message, "Timetravel detected: prev: 5000000 > next: 4000000");
        assert_eq!(judge(rule, &[(5, 1, "read"), (1005, 1, "read")]).len(), 1);
        assert_eq!(judge(rule, &[(5, 1, "read"), (1004, 1, "read")]).len(), 0);
    }

    #[test]
    fn windows_processes_and_names() {
        let three = "[condition.a]\nsyscalls = [\"write\"]\ncount = 3\n";
        let apart = &[(0, 1, "write"), (10, 2, "write"), (2000, 1, "write")];
        assert_eq!(judge(three, apart).len(), 1);
        assert_eq!(judge(&format!("{three}window = \"1s\"\n"), apart).len(), 0);
        assert_eq!(judge(&format!("{three}per = \"process\"\n"), apart).len(), 0);
        let hits = judge(&format!("{three}per = \"process\"\n"), WRITES);
        assert_eq!(hits[0].events, [1, 2, 4]);
    }

    #[test]
    fn sequences_keep_their_order_and_their_time() {
        let rule = "[condition.s]\nsequence = [\"evt.type = read\", \"evt.type = write\"]\nwindow = \"1s\"\n";
        assert_eq!(judge(rule, &[(0, 1, "write"), (1, 1, "read")]).len(), 0);
        assert_eq!(judge(rule, &[(0, 1, "read"), (5, 1, "close"), (10, 1, "write")])[0].events, [1, 3]);
        assert_eq!(judge(rule, &[(0, 1, "read"), (1500, 1, "write")]).len(), 0);
        // The first one is too old, the second is not.
        assert_eq!(judge(rule, &[(0, 1, "read"), (1500, 1, "read"), (1600, 1, "write")]).len(), 1);
    }

    #[test]
    fn conditions_combine() {
        let conditions = "[condition.w]\nsyscalls = [1]\n[condition.o]\nsyscalls = [2]\n";
        let with = |when: &str, events: &[(u64, i64, &str)]| {
            let text = format!("when = \"{when}\"\n[meta]\nname = \"r\"\ndesc = \"d\"\n{conditions}");
            let mut judge = Judge::new(vec![Rule::parse(&text, "r").unwrap()]);
            for (number, (ms, pid, name)) in (1..).zip(events) {
                let id = nabe_event::table::native::X86_64.iter().find(|n| n.name == *name).unwrap().event;
                let event =
                    Event { id, cpu: 0, flags: 0, ts_ns: ms * 1_000_000, tid: *pid, params: Params::NONE };
                judge.event(&Seen { event: &event, fields: &Made { id, pid: *pid }, number });
            }
            judge.finish().len()
        };
        assert_eq!(with("w and o", &[(1, 1, "write")]), 0);
        assert_eq!(with("w and o", &[(1, 1, "write"), (2, 1, "open")]), 1);
        assert_eq!(with("w and not o", &[(1, 1, "write")]), 1);
        // What happens later counts, too.
        assert_eq!(with("w and not o", &[(1, 1, "write"), (2, 1, "open")]), 0);
    }

    #[test]
    fn many_processes_are_bounded() {
        let events: Vec<(u64, i64, &str)> = (0..6000).map(|pid| (pid as u64, pid, "write")).collect();
        let rule = "[condition.a]\nsyscalls = [\"write\"]\ncount = 2\nper = \"process\"\n";
        assert_eq!(judge(rule, &events).len(), 0);
    }
}
