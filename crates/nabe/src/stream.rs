//! The one road of events: source → state → filter → sinks, for captures and the live kernel alike.
//!
//! A verb makes a [`Pipeline`] with its filter, gives it sinks, and lets it [`step`](Pipeline::step)
//! through a source batch by batch; between batches it looks at its clock and its signals. Who wants
//! to see events (a printer, a recorder, rules, a table) is a [`Sink`] and sees each event once, with
//! all that the state knows about it.
//!
//! Sinks run on the reader's thread and are waited for: from a capture nothing is ever lost, and live
//! the kernel's rings fill while a sink is slow, whose losses the probe counts and tells as events.
//! A sink that must not hold up the others puts a bounded queue in front of itself and counts what it
//! drops.

pub mod announce;
pub mod command;
pub mod container;
pub mod export;
pub mod lines;
pub mod live;
pub mod lookback;
pub mod progress;
pub mod record;
pub mod stop;
pub mod strace;
pub mod stranger;
pub mod tally;
mod zone;

use std::ops::ControlFlow;

use nabe_event::raw::{Event, flag};
use nabe_event::source::{EventSet, Taker};
use nabe_event::table::EventId;
use nabe_event::{FieldId, Item, Source};
use nabe_filter::Program;
use nabe_state::stream::{Losses, Seen, Services, Stream, Style, Taken, Verdicts};

use crate::error::{CliError, Result};
use record::compat::Codes;
use zone::Zone;

/// Which events a sink is shown besides those that the filter selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wants {
    /// None.
    #[default]
    Selected,
    /// All others, through [`Sink::other`].
    All,
}

/// Where events go.
pub trait Sink {
    /// Which events it wants to be told of.
    fn wants(&self) -> Wants {
        Wants::Selected
    }

    /// The events that it has to look at. Without a filter it is told of any other one by
    /// [`Sink::passed`] only, unless another sink has to look at it. Asked again after each batch.
    fn looks_at(&self) -> EventSet {
        EventSet::all()
    }

    /// The fields of events that it reads, when it reads nothing else of the state; `None` for all there
    /// is to know.
    fn reads(&self) -> Option<Vec<FieldId>> {
        None
    }

    /// An event that nobody has to look at; `shown` when people see it.
    fn passed(&mut self, _event: &Event<'_>, _shown: bool) -> Result<()> {
        Ok(())
    }

    /// What a source told before the events of a section; the section itself comes first.
    fn item(&mut self, _item: &Item<'_>, _stream: &Stream) -> Result<()> {
        Ok(())
    }

    /// An event that people see and the filter selects.
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()>;

    /// Any other event, for sinks that want all. `selected` when the filter selects it and only its
    /// being internal, or there for its effect on the state, hides it.
    fn other(&mut self, _seen: &Seen<'_>, _selected: bool) -> Result<()> {
        Ok(())
    }

    /// A batch has ended: what waits may be handed on, a clock looked at. `live` when more may be
    /// long in coming.
    fn idle(&mut self, _live: bool, _stream: &Stream) -> Result<()> {
        Ok(())
    }

    /// Whether it wants no more events; the run ends.
    fn is_done(&self) -> bool {
        false
    }

    /// The run is over.
    fn finish(&mut self, stream: &Stream) -> Result<()>;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn wants(&self) -> Wants {
        (**self).wants()
    }
    fn looks_at(&self) -> EventSet {
        (**self).looks_at()
    }
    fn reads(&self) -> Option<Vec<FieldId>> {
        (**self).reads()
    }
    fn passed(&mut self, event: &Event<'_>, shown: bool) -> Result<()> {
        (**self).passed(event, shown)
    }
    fn item(&mut self, item: &Item<'_>, stream: &Stream) -> Result<()> {
        (**self).item(item, stream)
    }
    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        (**self).seen(seen)
    }
    fn other(&mut self, seen: &Seen<'_>, selected: bool) -> Result<()> {
        (**self).other(seen, selected)
    }
    fn idle(&mut self, live: bool, stream: &Stream) -> Result<()> {
        (**self).idle(live, stream)
    }
    fn is_done(&self) -> bool {
        (**self).is_done()
    }
    fn finish(&mut self, stream: &Stream) -> Result<()> {
        (**self).finish(stream)
    }
}

/// What takes a source's batches: a [`Pipeline`], or one with a ring before it.
pub trait Road {
    /// Takes a batch of `source` through; `about` puts its error into words.
    fn step<S: Source>(&mut self, source: &mut S, about: impl FnOnce(&S::Error) -> CliError) -> Result<Step>;

    /// Takes one item through, of a source or made by the caller; returns whether to go on.
    fn item(&mut self, item: &Item<'_>) -> Result<bool>;

    /// Shows nothing of a thread before it executes a program: what starts a command is not the
    /// command.
    fn wait_for_exec(&mut self, tid: i64);

    /// Ends the run: every sink finishes, in their order, even behind one that failed; the first
    /// failure is told.
    fn finish(&mut self) -> Result<()>;
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more.
    More,
    /// The source has no more.
    Ended,
    /// A limit is reached, or a sink has enough.
    Enough,
}

/// What passed through a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Events of the source, those made for old readers apart.
    pub events: u64,
    /// Events that sinks were shown.
    pub selected: u64,
    /// The same with those that are hidden, as far as somebody asked.
    limited: u64,
    /// When the first and the last happened: nanoseconds since the epoch.
    pub span_ns: (u64, u64),
}

/// The road: state, filter, sinks.
pub struct Pipeline<'a> {
    stream: Stream,
    program: Program,
    /// Whether the filter selects everything.
    all: bool,
    /// Events that it can select at all.
    possible: EventSet,
    /// Whether internal and hidden events are shown, too.
    hidden: bool,
    /// Whether users and groups have no names.
    excludes_users: bool,
    sinks: Vec<Box<dyn Sink + 'a>>,
    wants: Wants,
    /// Whether only what the filter selects concerns anybody.
    only_selected: bool,
    /// Events that a sink has to look at.
    looked_at: EventSet,
    limit: Option<u64>,
    /// Events of this thread are not shown before it has executed a program.
    waits_for: Option<i64>,
    zone: Zone,
    codes: Codes,
    /// What the filter asks of what a process is, if anything, and the verdicts about those: they stay
    /// for as long as the process is the same.
    of_image: Option<Program>,
    verdicts: Verdicts,
    live: bool,
    passed: Passed,
}

impl<'a> Pipeline<'a> {
    /// A road on which `program` selects, with values shown in `style`.
    pub fn new(program: Program, style: Style) -> Self {
        let mut stream = Stream::new();
        stream.style = style;
        // A field that counts how often it is read has to be read as often as ever.
        let of_image = Some(program.image_part())
            .filter(|part| !part.selects_all() && !program.fields().contains(&nabe_event::field::event::CNT));
        let all = program.selects_all();
        Self {
            stream,
            all,
            possible: program.events().clone(),
            program,
            hidden: false,
            excludes_users: false,
            sinks: Vec::new(),
            wants: Wants::Selected,
            only_selected: !all,
            looked_at: EventSet::none(),
            limit: None,
            waits_for: None,
            zone: Zone::local(),
            codes: Codes::default(),
            of_image,
            verdicts: Verdicts::default(),
            live: false,
            passed: Passed::default(),
        }
    }

    /// Stops after so many events that the filter selects; internal ones count, as in sysdig.
    pub fn limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    /// Shows internal and hidden events, too.
    pub fn show_hidden(&mut self, hidden: bool) {
        self.hidden = hidden;
    }

    /// Knows no names of users and groups; captures that are written have none.
    pub fn exclude_users(&mut self, excludes: bool) {
        self.excludes_users = excludes;
    }

    /// Shows ports under their names.
    pub fn name_ports(&mut self, services: Services) {
        self.stream.name_ports(services);
    }

    /// Says that the source is live: sinks hand on what they have after each batch.
    pub fn set_live(&mut self, live: bool) {
        self.live = live;
    }

    /// Adds a sink; they are shown events in the order in which they came.
    pub fn add(&mut self, sink: impl Sink + 'a) {
        self.wants = self.wants.max(sink.wants());
        self.sinks.push(Box::new(sink));
        self.ask_sinks();
        self.ask_who();
        self.ask_fields();
    }

    /// The state follows what the filter and the sinks read.
    fn ask_fields(&mut self) {
        let read: Option<Vec<_>> = self.sinks.iter().map(|sink| sink.reads()).collect();
        match read {
            Some(read) => self.stream.reads(&[read.concat(), self.program.fields()].concat()),
            None => self.stream.reads_all(),
        }
    }

    /// Whether only those events concern anybody that the filter selects.
    fn ask_who(&mut self) {
        self.only_selected = !self.all && self.wants != Wants::All && self.waits_for.is_none();
    }

    fn ask_sinks(&mut self) {
        let sets = self.sinks.iter().map(|sink| sink.looks_at());
        self.looked_at = sets.fold(EventSet::none(), |all, set| all.union(&set));
    }

    /// What passed so far.
    pub fn passed(&self) -> Passed {
        self.passed
    }

    /// A batch has ended.
    fn idle(&mut self) -> Result<Step> {
        self.tell_offset(self.passed.span_ns.1);
        for sink in &mut self.sinks {
            sink.idle(self.live, &self.stream)?;
        }
        self.ask_sinks();
        let done = self.sinks.iter().any(|sink| sink.is_done());
        Ok(if done { Step::Enough } else { Step::More })
    }

    /// Brings the offset of local time up to date.
    #[inline]
    fn tell_offset(&mut self, ts_ns: u64) {
        if self.passed.events > 0 && !self.zone.covers(ts_ns) {
            self.stream.style.utc_offset_s = self.zone.at(ts_ns);
        }
    }

    /// Takes an item through whose event is as it happened.
    fn known(&mut self, item: &Item<'_>) -> Result<bool> {
        let Item::Event(event) = item else {
            if self.excludes_users && matches!(item, Item::User(_) | Item::Group(_)) {
                return Ok(true);
            }
            self.tell_offset(self.passed.span_ns.1);
            self.stream.item(item);
            for sink in &mut self.sinks {
                sink.item(item, &self.stream)?;
            }
            return Ok(true);
        };
        if self.is_passed_by(event) { Ok(true) } else { self.look(event) }
    }

    /// Takes an event in that is as it happened; returns whether it concerns nobody.
    // Inlined where events are made, as `Stream::take`.
    #[inline(always)]
    fn is_passed_by(&mut self, event: &Event<'_>) -> bool {
        let taken = self.stream.take(event);
        self.only_selected && !self.may_select(event, &taken)
    }

    /// Counts an event of the source.
    #[inline(always)]
    fn count(&mut self, event: &Event<'_>) {
        if self.passed.events == 0 {
            self.passed.span_ns.0 = event.ts_ns;
        }
        self.passed.events += 1;
        self.passed.span_ns.1 = event.ts_ns;
    }

    /// Shows an event that has been taken in to whom it concerns.
    #[inline(never)]
    fn look(&mut self, event: &Event<'_>) -> Result<bool> {
        let taken = self.stream.taken();
        if !taken.is_shown() && !self.hidden && !self.looks_at_hidden() {
            return Ok(true);
        }
        if self.all && !self.looked_at.contains(event.id) && !self.looks_closely() {
            return self.pass(event, taken.is_shown());
        }
        self.tell_offset(event.ts_ns);
        let seen = self.stream.seen(event);
        let mut shown = seen.is_shown() || (self.hidden && !seen.is_prologue());
        let mut begun = true;
        if self.waits_for == Some(seen.event().tid) {
            begun = executes(&seen);
            shown &= begun;
            if begun {
                self.waits_for = None;
                self.only_selected = !self.all && self.wants != Wants::All;
            }
        }
        // Of what is not shown only these ask whether it is selected.
        let asked = begun && (shown || self.limit.is_some() || self.wants == Wants::All);
        let selected =
            asked && (self.all || self.possible.contains(seen.event().id) && self.program.matches(&seen));
        let only_state = seen.event().flags & flag::STATE_ONLY != 0;
        self.passed.limited += u64::from(selected && !only_state);
        if shown && selected {
            self.passed.selected += 1;
            for sink in &mut self.sinks {
                sink.seen(&seen)?;
            }
        } else if self.wants == Wants::All {
            for sink in &mut self.sinks {
                sink.other(&seen, selected)?;
            }
        }
        Ok(self.limit.is_none_or(|limit| self.passed.limited < limit))
    }

    /// Whether there is more to ask of an event than who has to look at it.
    fn looks_closely(&self) -> bool {
        self.hidden || self.limit.is_some() || self.waits_for.is_some()
    }

    /// Takes an event through that nobody looks at.
    fn pass(&mut self, event: &Event<'_>, shown: bool) -> Result<bool> {
        self.passed.selected += u64::from(shown);
        for sink in &mut self.sinks {
            sink.passed(event, shown)?;
        }
        Ok(true)
    }

    /// Whether events that are not shown are asked about.
    fn looks_at_hidden(&self) -> bool {
        self.limit.is_some() || self.wants == Wants::All || self.waits_for.is_some()
    }

    /// Whether the filter can select the event, by its number and by the verdict about the process.
    #[inline]
    fn may_select(&mut self, event: &Event<'_>, taken: &Taken) -> bool {
        if !self.possible.contains(event.id) {
            return false;
        }
        let Some(of_image) = &self.of_image else { return true };
        let stream = &self.stream;
        self.verdicts.get(taken, || of_image.matches(&stream.seen(event)))
    }
}

/// A pipeline that a source hands its items to, and how it goes.
struct Driven<'p, 'a> {
    pipeline: &'p mut Pipeline<'a>,
    result: Result<bool>,
}

impl Driven<'_, '_> {
    /// Goes on, or keeps why not: only what ends the run is moved, a result is large.
    #[inline(always)]
    fn went(&mut self, result: Result<bool>) -> ControlFlow<()> {
        if matches!(result, Ok(true)) {
            return ControlFlow::Continue(());
        }
        self.result = result;
        ControlFlow::Break(())
    }
}

impl Taker for Driven<'_, '_> {
    fn item(&mut self, item: &Item<'_>) -> ControlFlow<()> {
        let result = self.pipeline.item(item);
        self.went(result)
    }

    // As quick as a source can be: an event is looked at where it is made.
    #[inline(always)]
    fn event(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        if event.flags & flag::SYNTHESISED != 0 || is_generic(event.id) {
            return self.item(&Item::Event(*event));
        }
        self.pipeline.count(event);
        if self.pipeline.is_passed_by(event) {
            return ControlFlow::Continue(());
        }
        let result = self.pipeline.look(event);
        self.went(result)
    }
}

impl Road for Pipeline<'_> {
    fn step<S: Source>(&mut self, source: &mut S, about: impl FnOnce(&S::Error) -> CliError) -> Result<Step> {
        let mut taker = Driven { pipeline: self, result: Ok(true) };
        let more = source.give(&mut taker);
        let result = taker.result;
        match (more, result?) {
            (Err(error), _) => Err(about(&error)),
            (Ok(_), false) => Ok(Step::Enough),
            (Ok(false), true) => Ok(Step::Ended),
            (Ok(true), true) => self.idle(),
        }
    }

    fn item(&mut self, item: &Item<'_>) -> Result<bool> {
        let Item::Event(event) = item else { return self.known(item) };
        if event.flags & flag::SYNTHESISED != 0 {
            return Ok(true);
        }
        self.count(event);
        if is_generic(event.id) {
            let mut codes = core::mem::take(&mut self.codes);
            let result = self.known(&Item::Event(codes.restored(event)));
            self.codes = codes;
            return result;
        }
        self.known(item)
    }

    fn wait_for_exec(&mut self, tid: i64) {
        self.waits_for = Some(tid);
        self.ask_who();
    }

    fn finish(&mut self) -> Result<()> {
        self.tell_offset(self.passed.span_ns.1);
        let mut result = Ok(());
        for sink in &mut self.sinks {
            let finished = sink.finish(&self.stream);
            if result.is_ok() {
                result = finished;
            }
        }
        let losses = self.stream.losses();
        if losses != Losses::default() {
            eprintln!(
                "nabe: note: no room for {} threads, {} descriptors, {} accounts, {} containers",
                losses.threads, losses.descriptors, losses.accounts, losses.containers
            );
        }
        result
    }
}

const fn is_generic(id: EventId) -> bool {
    matches!(id, EventId::GENERIC_E | EventId::GENERIC_X)
}

/// Whether a program has been executed.
fn executes(seen: &Seen<'_>) -> bool {
    let event = seen.event();
    matches!(event.id.name(), "execve" | "execveat") && !event.id.is_enter() && event.signed(0) == Some(0)
}
