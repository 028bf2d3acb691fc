//! Many filters judged at once: the rule-set engine.
//!
//! A [`Set`] is made once from programs; [`Set::judge`] then says of each event which of them select
//! it, exactly as [`Program::matches`] would, but without asking them in turn:
//!
//! 1. For each event number the set knows which programs can match at all, each in the form that is
//!    left when what the number decides (`evt.type`, `evt.dir`, …) is put in. Event numbers for which
//!    the same is left share a group.
//! 2. What a program demands of the process alone is judged once per *process image* and kept as a
//!    bit mask of the programs that are still possible; likewise what it demands of `fd.name` alone,
//!    once per path.
//! 3. Only programs that pass both masks are evaluated, without the parts that the masks have
//!    answered; parts that several programs share are evaluated once per event.
//!
//! What is remembered lies in a [`Cache`], which is bounded and belongs to one thread; the set itself
//! is immutable, cheap to clone and can be replaced while events flow: a cache that was used with
//! another set empties itself.
//!
//! **What an image is.** [`Keys::image`] is a number that the state gives to a thread, and changes
//! whenever anything changes that a field of the image ([`nabe_event::field::image`]) shows: its own program,
//! names, arguments, environment, ids, capabilities, session, cgroup, container and what is known of
//! that container, and the same of its ancestors. A number is never used again for other facts.

use core::ops::ControlFlow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nabe_event::field::event::TYPE;
use nabe_event::source::{EventInterest, EventSet};
use nabe_event::table::EventId;
use nabe_event::{Fields, Value};

use crate::Program;
use crate::eval::{Bind, Env, STEPS, Steps};
use crate::possible::is_generic;

mod build;
mod cache;
mod depends;
mod judge;
mod values;

pub use cache::Cache;
pub use depends::is_of_path;

use build::{Group, Node};
use judge::Run;
use values::Remembering;

/// Programs that are judged together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Set(Arc<Plan>);

#[derive(Debug)]
pub(crate) struct Plan {
    /// Tells caches whether what they remember is of this set.
    id: u64,
    programs: Vec<Program>,
    nodes: Vec<Node>,
    groups: Vec<Group>,
    /// The group of each event number; [`NO_GROUP`] where nothing can match.
    by_event: Box<[u16]>,
    /// The group of a system call without an event of its own: of its enter and its exit, by its
    /// name, where a test knows it.
    by_name: HashMap<(bool, &'static [u8]), u16>,
    events: EventSet,
    /// Words of masks of all groups.
    words: usize,
    /// Verdicts that are remembered for an image, for a path, and within an event.
    image_slots: usize,
    path_slots: usize,
    memo_slots: usize,
}

/// No program can match.
const NO_GROUP: u16 = u16::MAX;

/// What the caller knows of a subject that lets verdicts be remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The number of the thread's process image; 0 when it has none: nothing is remembered of it.
    pub image: u64,
}

impl Set {
    /// Makes a set of programs; they are known by their position.
    #[must_use]
    pub fn new(programs: &[Program]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut plan = build::build(programs);
        plan.id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(plan))
    }

    /// The programs, in the order in which they were given.
    #[must_use]
    pub fn programs(&self) -> &[Program] {
        &self.0.programs
    }

    /// The events that any of the programs can select, in captures of any age.
    #[must_use]
    pub fn events(&self) -> &EventSet {
        &self.0.events
    }

    /// What a live source must hand out so that no program loses a match; `None` of no programs.
    #[must_use]
    pub fn event_interest(&self) -> Option<EventInterest> {
        self.0.programs.iter().map(Program::event_interest).reduce(either)
    }

    /// Calls `selected` with the position of each program that selects the subject, in their order,
    /// until it breaks. `event` is the number of the event that the subject shows.
    #[inline]
    pub fn judge(
        &self,
        subject: &dyn Fields,
        event: EventId,
        keys: Keys,
        cache: &mut Cache,
        selected: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) {
        let mut group = self.0.by_event.get(usize::from(event.number())).copied().unwrap_or(NO_GROUP);
        if is_generic(event)
            && let Value::Text(name) = subject.get(TYPE, None)
        {
            group = self.0.by_name.get(&(event.is_enter(), name)).copied().unwrap_or(group);
        }
        if let Some(group) = self.0.groups.get(usize::from(group)) {
            self.judge_group(group, subject, keys, cache, selected);
        }
    }

    fn judge_group(
        &self,
        group: &Group,
        subject: &dyn Fields,
        keys: Keys,
        cache: &mut Cache,
        selected: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) {
        let subject = Remembering::new(subject);
        let steps = Steps::new(STEPS);
        let env = Env::root(Bind::Subject(&subject), &steps);
        cache.prepare(&self.0);
        Run::new(&self.0, &env, cache).group(group, keys, selected);
    }

    /// The programs that select the subject, by position. For tests and tools; [`Self::judge`] does
    /// not allocate.
    #[must_use]
    pub fn selected(
        &self,
        subject: &dyn Fields,
        event: EventId,
        keys: Keys,
        cache: &mut Cache,
    ) -> Vec<usize> {
        let mut found = Vec::new();
        self.judge(subject, event, keys, cache, &mut |program| {
            found.push(program);
            ControlFlow::Continue(())
        });
        found
    }

    /// How the program at a position is judged, for people: its plan, and what of it is judged once
    /// per process image, once per path, and with every event. `None` when there is none.
    #[must_use]
    pub fn explain(&self, program: usize) -> Option<String> {
        let mut out = self.0.programs.get(program)?.explain();
        let mut shown: Vec<(String, Vec<&str>)> = Vec::new();
        for (at, group) in self.0.groups.iter().enumerate() {
            let Some(rule) = group.rules.iter().find(|rule| rule.program == program) else { continue };
            let of_this = |found: &u16| usize::from(*found) == at;
            let numbered = EventId::all()
                .filter(|id| {
                    !is_generic(*id) && self.0.by_event.get(usize::from(id.number())).is_some_and(of_this)
                })
                .map(EventId::name);
            let named = self.0.by_name.iter().filter(|(_, found)| of_this(found));
            let named = named.filter_map(|((_, name), _)| core::str::from_utf8(name).ok());
            let others = [EventId::GENERIC_E, EventId::GENERIC_X]
                .into_iter()
                .filter(|id| self.0.by_event.get(usize::from(id.number())).is_some_and(of_this))
                .map(|_| "other-calls");
            let names = numbered.chain(named).chain(others);
            let mut parts = String::new();
            for (title, part) in [
                ("  once per image ", rule.image),
                ("  once per path  ", rule.path),
                ("  every event    ", rule.rest),
            ] {
                let text = part.map_or_else(|| "nothing".to_owned(), |part| self.0.text(part));
                let _ = writeln!(parts, "{title}{text}");
            }
            match shown.iter_mut().find(|(known, _)| *known == parts) {
                Some((_, known)) => known.extend(names),
                None => shown.push((parts, names.collect())),
            }
        }
        for (parts, mut names) in shown {
            names.sort_unstable();
            names.dedup();
            let more = if names.len() > 12 { " …" } else { "" };
            names.truncate(12);
            let _ = write!(out, "judged of  {}{more}\n{parts}", names.join(" "));
        }
        Some(out)
    }

    /// How large the set is.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            programs: self.0.programs.len(),
            parts: self.0.nodes.len(),
            groups: self.0.groups.len(),
            of_image: self.0.nodes.iter().filter(|node| node.depends.is_image()).count(),
            of_path: self.0.nodes.iter().filter(|node| node.depends.is_path()).count(),
        }
    }
}

/// How large a [`Set`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Programs.
    pub programs: usize,
    /// Distinct parts of all programs, in all their specialised forms.
    pub parts: usize,
    /// Distinct ways in which events are judged.
    pub groups: usize,
    /// Parts that depend on the process image alone.
    pub of_image: usize,
    /// Parts that depend on the path alone.
    pub of_path: usize,
}

/// What either wants.
fn either(one: EventInterest, other: EventInterest) -> EventInterest {
    fn widen<T: Ord>(one: Option<Vec<T>>, other: Option<Vec<T>>) -> Option<Vec<T>> {
        let (mut one, other) = (one?, other?);
        one.extend(other);
        one.sort_unstable();
        one.dedup();
        Some(one)
    }
    EventInterest {
        events: one.events.union(&other.events),
        state: one.state || other.state,
        snaplen: one.snaplen.max(other.snaplen),
        pids: widen(one.pids, other.pids),
        follow: one.follow || other.follow,
        cgroups: widen(one.cgroups, other.cgroups),
        names: widen(one.names, other.names),
        euids: widen(one.euids, other.euids),
        only_failed: one.only_failed && other.only_failed,
        samples: one.samples || other.samples,
    }
}
