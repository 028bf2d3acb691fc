//! Rules judged against events: which match, which of the matches become alerts.

use core::ops::ControlFlow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use nabe_event::alert::{Alert, Datum, Priority};
use nabe_event::source::{EventInterest, EventSet};
use nabe_event::table::EventId;
use nabe_event::{Fields, Value};
use nabe_filter::set::{Cache, Keys};
use nabe_filter::{Program, Set};

use crate::catalogue::{Catalogue, Native, SYSCALL};
use crate::compile::CompiledRule;
use crate::extension::Action;
use crate::load::Loaded;
use crate::output::datum;
use crate::window::{Memory, Throttled};

/// Bytes of a value that go into a key.
const MAX_KEY: usize = 256;
/// What an alert calls the number of alerts that were held back before it.
const REPEATS: &str = "nabe.repeats";

/// Which of several rules that match an event gives an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// The first in the order of the files.
    #[default]
    First,
    /// All of them.
    All,
}

/// Rules that are switched on or off, as in `rules:` of falco.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// On or off.
    pub enable: bool,
    /// Which rules.
    pub which: Which,
}

/// Which rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those whose name fits a pattern with `*`.
    Name(String),
    /// Those that have a tag.
    Tag(String),
}

/// How rules are judged.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which of several matches counts.
    pub matching: Matching,
    /// Only rules at least so grave.
    pub min_priority: Priority,
    /// Rules switched on and off, in order, behind what the files say.
    pub switches: Vec<Switch>,
    /// The host's name in alerts.
    pub hostname: Box<str>,
    /// Whether rules that the first one hides are looked for, which costs their evaluation.
    pub shadows: bool,
    /// Whether the time that each rule takes is measured; rules are then judged in turn.
    pub cost: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            matching: Matching::First,
            min_priority: Priority::Debug,
            switches: Vec::new(),
            hostname: Box::default(),
            shadows: false,
            cost: false,
        }
    }
}

/// What is judged, besides its fields.
#[derive(Clone, Copy, Debug)]
pub struct Occurrence<'o> {
    /// The source of the event.
    pub source: &'o str,
    /// Its number in the table.
    pub id: EventId,
    /// When it happened: nanoseconds since the epoch.
    pub ts_ns: u64,
    /// The number of its process image, as [`Keys::image`] has it; 0 when there is none.
    pub image: u64,
}

/// A rule that matches an event and gives an alert.
#[derive(Debug)]
pub struct Hit<'e> {
    /// The rule.
    pub rule: &'e CompiledRule,
    /// What it says.
    pub alert: Alert,
    /// Alerts of the same kind that were held back since the last one.
    pub repeats: u64,
}

impl Hit<'_> {
    /// What the rule wants done, if whoever runs it lets it.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.rule.extension.actions
    }
}

/// What was counted of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Events that it matched, those that an earlier rule took apart.
    pub matches: u64,
    /// Alerts that it gave.
    pub alerts: u64,
    /// Alerts that were held back by a throttle.
    pub held_back: u64,
    /// Events of which it was asked, and the time that took; only when cost is asked for.
    pub judged: u64,
    /// In nanoseconds.
    pub cost_ns: u64,
}

/// A rule that hid another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The rule that gave the alert.
    pub winner: String,
    /// The one that matched, too.
    pub hidden: String,
    /// How often.
    pub events: u64,
}

/// The rules of one source.
#[derive(Debug)]
struct Bench {
    source: Box<str>,
    set: Set,
    /// The rule at each position of the set.
    rules: Vec<usize>,
    cache: Cache,
}

/// Judges events. One for each thread that judges.
#[derive(Debug)]
pub struct Engine {
    rules: Vec<Arc<CompiledRule>>,
    /// For each rule, the rules whose sequences it is a step of, and which step.
    steps: Vec<Vec<(usize, usize)>>,
    benches: Vec<Bench>,
    memories: Vec<Memory>,
    counts: Vec<Count>,
    shadows: HashMap<(usize, usize), u64>,
    options: Options,
    /// Whether a rule behind the first one may have to know of the event.
    beyond: bool,
    /// Positions that matched, kept for its room.
    matched: Vec<usize>,
    key: Vec<u8>,
}

impl Engine {
    /// Makes an engine of the rules that are switched on. Whoever changes rules while events flow
    /// makes a new engine, and keeps the old one when the files do not load.
    #[must_use]
    pub fn new(loaded: &Loaded, options: Options) -> Self {
        let rules: Vec<Arc<CompiledRule>> = loaded
            .rules()
            .iter()
            .filter(|rule| rule.priority <= options.min_priority && is_enabled(rule, &options.switches))
            .map(|rule| Arc::new(rule.clone()))
            .collect();
        let mut steps = vec![Vec::new(); rules.len()];
        for (at, rule) in rules.iter().enumerate() {
            for (step, name) in
                rule.extension.sequence.iter().flat_map(|sequence| &sequence.before).enumerate()
            {
                let known = rules.iter().position(|other| other.name == *name);
                if let Some(steps) = known.and_then(|known| steps.get_mut(known)) {
                    steps.push((at, step));
                }
            }
        }
        let benches = benches(&rules);
        let beyond = options.matching == Matching::All
            || options.shadows
            || rules.iter().any(|rule| !rule.extension.is_empty());
        Self {
            memories: rules.iter().map(|_| Memory::default()).collect(),
            counts: vec![Count::default(); rules.len()],
            steps,
            benches,
            rules,
            shadows: HashMap::new(),
            options,
            beyond,
            matched: Vec::new(),
            key: Vec::new(),
        }
    }

    /// Takes the place of another engine while events flow: rules that are as they were keep what they
    /// have counted and remembered.
    pub fn succeed(&mut self, old: &mut Self) {
        for (at, rule) in self.rules.iter().enumerate() {
            let same = |other: &Arc<CompiledRule>| other.name == rule.name && other.source == rule.source;
            let Some(before) = old.rules.iter().position(same) else { continue };
            if let (Some(count), Some(counted)) = (self.counts.get_mut(at), old.counts.get(before)) {
                *count = *counted;
            }
            let unchanged = old.rules.get(before).is_some_and(|other| other.extension == rule.extension);
            if let (Some(memory), Some(remembered)) =
                (self.memories.get_mut(at), old.memories.get_mut(before))
                && unchanged
            {
                *memory = core::mem::take(remembered);
            }
        }
    }

    /// The rules that are judged, in order.
    #[must_use]
    pub fn rules(&self) -> &[Arc<CompiledRule>] {
        &self.rules
    }

    /// The events of the kernel that any rule can match.
    #[must_use]
    pub fn events(&self) -> EventSet {
        let kernel = self.benches.iter().filter(|bench| &*bench.source == SYSCALL);
        kernel.fold(EventSet::none(), |all, bench| all.union(bench.set.events()))
    }

    /// What a live source must hand out so that no rule loses a match; `None` without rules about
    /// the kernel.
    #[must_use]
    pub fn event_interest(&self) -> Option<EventInterest> {
        self.benches.iter().find(|bench| &*bench.source == SYSCALL)?.set.event_interest()
    }

    /// Judges an event; `found` gets what becomes an alert, in the order of the rules.
    pub fn judge(&mut self, event: &dyn Fields, at: &Occurrence<'_>, found: &mut dyn FnMut(Hit<'_>)) {
        let Some(bench) = self.benches.iter_mut().find(|bench| *bench.source == *at.source) else { return };
        let mut matched = core::mem::take(&mut self.matched);
        matched.clear();
        if self.options.cost {
            for one in &bench.rules {
                let (Some(rule), Some(count)) = (self.rules.get(*one), self.counts.get_mut(*one)) else {
                    continue;
                };
                if measured(rule, event, at, count) {
                    matched.push(*one);
                }
            }
        } else {
            let (rules, beyond) = (&bench.rules, self.beyond);
            let keys = Keys { image: at.image };
            bench.set.judge(event, at.id, keys, &mut bench.cache, &mut |position| {
                matched.extend(rules.get(position));
                if beyond { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        if !matched.is_empty() {
            self.settle(&matched, event, at, found);
        }
        self.matched = matched;
    }

    /// Decides which matches become alerts.
    fn settle(
        &mut self,
        matched: &[usize],
        event: &dyn Fields,
        at: &Occurrence<'_>,
        found: &mut dyn FnMut(Hit<'_>),
    ) {
        let mut winner: Option<usize> = None;
        for one in matched {
            let first = self.options.matching == Matching::First;
            if let Some(winner) = winner.filter(|_| first) {
                if self.options.shadows {
                    *self.shadows.entry((winner, *one)).or_default() += 1;
                }
                continue;
            }
            if let Some(count) = self.counts.get_mut(*one) {
                count.matches += 1;
            }
            // A rule of nabe's own that stays silent hides nothing.
            if self.fires(*one, event, at) && self.alert(*one, event, at, found) {
                winner = winner.or(Some(*one));
            }
        }
        // Steps are taken when the event has been judged: it is not its own forerunner.
        for one in matched {
            self.take_steps(*one, event, at);
        }
    }

    /// Whether a match is one with its threshold and its sequence in mind.
    fn fires(&mut self, one: usize, event: &dyn Fields, at: &Occurrence<'_>) -> bool {
        let (Some(rule), Some(memory)) = (self.rules.get(one), self.memories.get_mut(one)) else {
            return false;
        };
        if let Some(sequence) = &rule.extension.sequence {
            key(&sequence.by, event, &mut self.key);
            if !memory.complete(sequence, &self.key, at.ts_ns) {
                return false;
            }
        }
        if let Some(threshold) = &rule.extension.threshold {
            key(&threshold.by, event, &mut self.key);
            if !memory.count(threshold, &self.key, at.ts_ns) {
                return false;
            }
        }
        !rule.extension.silent
    }

    fn take_steps(&mut self, one: usize, event: &dyn Fields, at: &Occurrence<'_>) {
        // Later steps first: one event is one step of a sequence.
        for (rule, step) in self.steps.get(one).into_iter().flatten().rev() {
            let sequence = self.rules.get(*rule).and_then(|rule| rule.extension.sequence.as_ref());
            if let (Some(sequence), Some(memory)) = (sequence, self.memories.get_mut(*rule)) {
                key(&sequence.by, event, &mut self.key);
                memory.step(sequence, *step, &self.key, at.ts_ns);
            }
        }
    }

    /// Gives the alert; returns whether the event is taken.
    fn alert(
        &mut self,
        one: usize,
        event: &dyn Fields,
        at: &Occurrence<'_>,
        found: &mut dyn FnMut(Hit<'_>),
    ) -> bool {
        let (Some(rule), Some(count), Some(memory)) =
            (self.rules.get(one), self.counts.get_mut(one), self.memories.get_mut(one))
        else {
            return false;
        };
        let mut repeats = 0;
        if let Some(throttle) = &rule.extension.throttle {
            key(&throttle.by, event, &mut self.key);
            match memory.throttle(throttle, &self.key, at.ts_ns) {
                Throttled::Pass(held_back) => repeats = held_back,
                Throttled::Hold => {
                    count.held_back += 1;
                    return true;
                }
            }
        }
        count.alerts += 1;
        let alert = made(rule, event, at, &self.options.hostname, repeats);
        found(Hit { rule, alert, repeats });
        true
    }

    /// What was counted, by rule, in the order of [`Self::rules`].
    #[must_use]
    pub fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// Rules that hid others so far, when that was asked for.
    #[must_use]
    pub fn shadows(&self) -> Vec<Shadow> {
        let name = |at: usize| self.rules.get(at).map_or(String::new(), |rule| rule.name.clone());
        let mut shadows: Vec<_> = self.shadows.iter().collect();
        shadows.sort_unstable();
        let shadow = |((winner, hidden), events): (&(usize, usize), &u64)| Shadow {
            winner: name(*winner),
            hidden: name(*hidden),
            events: *events,
        };
        shadows.into_iter().map(shadow).collect()
    }

    /// What thresholds, sequences and throttles forgot for want of room.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.memories.iter().map(Memory::forgotten).sum()
    }

    /// How a rule is judged, for people; `None` when it is not among those that are.
    #[must_use]
    pub fn explain(&self, name: &str) -> Option<String> {
        let rule = self.rules.iter().position(|rule| rule.name == name)?;
        let bench = self.benches.iter().find(|bench| bench.rules.contains(&rule))?;
        bench.set.explain(bench.rules.iter().position(|at| *at == rule)?)
    }
}

/// Whether a rule matches, with a clock in hand.
fn measured(rule: &CompiledRule, event: &dyn Fields, at: &Occurrence<'_>, count: &mut Count) -> bool {
    if rule.source == SYSCALL && !rule.events.contains(at.id) {
        return false;
    }
    let began = Instant::now();
    let selected = rule.program.matches(event);
    count.cost_ns += u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    count.judged += 1;
    selected
}

fn benches(rules: &[Arc<CompiledRule>]) -> Vec<Bench> {
    let mut benches = Vec::new();
    for source in Native.sources() {
        let positions: Vec<usize> =
            rules.iter().enumerate().filter(|(_, rule)| rule.source == *source).map(|(at, _)| at).collect();
        let programs: Vec<Program> =
            positions.iter().filter_map(|at| rules.get(*at)).map(|rule| rule.program.clone()).collect();
        if !programs.is_empty() {
            let set = Set::new(&programs);
            benches.push(Bench { source: (*source).into(), set, rules: positions, cache: Cache::new() });
        }
    }
    benches
}

fn is_enabled(rule: &CompiledRule, switches: &[Switch]) -> bool {
    let concerns = |switch: &Switch| match &switch.which {
        Which::Name(pattern) => fits(pattern, &rule.name),
        Which::Tag(tag) => rule.tags.contains(tag),
    };
    switches.iter().rfind(|switch| concerns(switch)).map_or(rule.enabled, |switch| switch.enable)
}

/// Whether a name fits a pattern in which `*` is any text.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The values of fields as a key.
fn key(fields: &[String], event: &dyn Fields, out: &mut Vec<u8>) {
    out.clear();
    for name in fields {
        let (name, arg) = match name.split_once('[') {
            Some((name, arg)) => (name, Some(arg.trim_end_matches(']'))),
            None => (name.as_str(), None),
        };
        let value = nabe_event::field::find(name)
            .map_or(Value::Missing(nabe_event::Missing::Unset), |found| {
                event.get(found.id, arg.map(str::as_bytes))
            });
        match datum(&value) {
            Datum::Text(text) => out.extend_from_slice(text.get(..MAX_KEY).unwrap_or(&text)),
            Datum::Null => {}
            other => out.extend_from_slice(format!("{other:?}").as_bytes().get(..MAX_KEY).unwrap_or(b"")),
        }
        out.push(0);
    }
}

fn made(rule: &CompiledRule, event: &dyn Fields, at: &Occurrence<'_>, hostname: &str, repeats: u64) -> Alert {
    let mut fields = rule.output.values(event);
    if repeats > 0 {
        let place = fields.partition_point(|(name, _)| **name < *REPEATS);
        fields.insert(place, (REPEATS.into(), Datum::Uint(repeats)));
    }
    Alert {
        ts_ns: at.ts_ns,
        priority: rule.priority,
        rule: rule.name.as_str().into(),
        source: rule.source.as_str().into(),
        hostname: hostname.into(),
        tags: rule.tags.iter().map(|tag| tag.as_str().into()).collect(),
        message: rule.output.message(event).into(),
        fields: fields.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("Read*", "Read sensitive file", true),
            ("*file", "Read sensitive file", true),
            ("R*sens*e", "Read sensitive file", true),
            ("Read", "Read sensitive file", false),
            ("Read sensitive file", "Read sensitive file", true),
            ("a*a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
