//! Look-back: the last events wait in memory, and are written when one is seen that matters.
//!
//! There are two roads. The *front* takes every event at once and asks the trigger. The *back* takes
//! the same events as they leave the ring, so that its state is that of the oldest event in the ring:
//! when the trigger fires, its sinks begin with that state and see the whole ring, then every event
//! until the time behind the last trigger is over.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;
use nabe_event::{Item, Source};
use nabe_filter::Program;
use nabe_state::stream::{Seen, Stream, Style};

use super::{Pipeline, Road, Sink, Step};
use crate::error::{CliError, Result};

/// Events in the order in which they came, oldest first, in at most so many bytes.
struct Ring {
    events: VecDeque<Box<Kept>>,
    bytes: usize,
    most: usize,
}

/// An event with its bytes.
struct Kept {
    id: EventId,
    cpu: u16,
    flags: u32,
    ts_ns: u64,
    tid: i64,
    lengths: usize,
    /// Lengths, then values.
    bytes: Box<[u8]>,
}

impl Kept {
    fn new(event: &Event<'_>) -> Self {
        let bytes = [event.params.lengths(), event.params.data()].concat().into();
        let lengths = event.params.lengths().len();
        let Event { id, cpu, flags, ts_ns, tid, .. } = *event;
        Self { id, cpu, flags, ts_ns, tid, lengths, bytes }
    }

    /// Bytes of memory that it takes, with what the allocator and the list need.
    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + 48
    }

    fn event(&self) -> Option<Event<'_>> {
        let (lengths, data) = self.bytes.split_at_checked(self.lengths)?;
        let params = Params::new(self.id, lengths, data)?;
        Some(Event {
            id: self.id,
            cpu: self.cpu,
            flags: self.flags,
            ts_ns: self.ts_ns,
            tid: self.tid,
            params,
        })
    }
}

/// Notes that the trigger has fired.
struct Fired(Rc<Cell<bool>>);

impl Sink for Fired {
    fn seen(&mut self, _: &Seen<'_>) -> Result<()> {
        self.0.set(true);
        Ok(())
    }
    fn finish(&mut self, _: &Stream) -> Result<()> {
        Ok(())
    }
}

/// What is written of a stream: from when until when, in nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Events before that leave the ring unwritten.
    pub from_ns: u64,
    /// The last event that goes straight through.
    pub until_ns: u64,
}

/// Whether an event that the front has just seen opens a window, or keeps one open.
type Opens<'a> = dyn FnMut(&Event<'_>) -> Option<Window> + 'a;

/// The two roads and the ring between them.
pub struct Lookback<'a> {
    front: Pipeline<'a>,
    opens: Box<Opens<'a>>,
    ring: Ring,
    back: Pipeline<'a>,
    /// Until when events go straight through: nanoseconds since the epoch.
    until_ns: Option<u64>,
    switch: Box<dyn FnMut(bool) -> Result<()> + 'a>,
    /// How often a window was opened, where somebody wants to know that it never was.
    windows: Option<u64>,
}

impl<'a> Lookback<'a> {
    /// Keeps `most` bytes in front of `back`, and opens a window of all that is kept, and `after` more,
    /// at each event that `trigger` selects; `switch` wakes the sinks and puts them to sleep.
    pub fn new(
        trigger: Program,
        back: Pipeline<'a>,
        most: usize,
        after: Duration,
        switch: impl FnMut(bool) -> Result<()> + 'a,
    ) -> Self {
        let fired = Rc::new(Cell::new(false));
        let mut front = Pipeline::new(trigger, Style::default());
        front.add(Fired(Rc::clone(&fired)));
        let after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let opens = move |event: &Event<'_>| {
            let until_ns = event.ts_ns.saturating_add(after_ns);
            fired.take().then_some(Window { from_ns: 0, until_ns })
        };
        Self { windows: Some(0), ..Self::between(front, opens, back, most, switch) }
    }

    /// Keeps `most` bytes between `front` and `back`. Behind each event that `front` has seen, `opens`
    /// says whether there is a window; `switch` is told to wake the sinks of `back` at each, and to put
    /// them to sleep behind the last.
    pub fn between(
        front: Pipeline<'a>,
        opens: impl FnMut(&Event<'_>) -> Option<Window> + 'a,
        back: Pipeline<'a>,
        most: usize,
        switch: impl FnMut(bool) -> Result<()> + 'a,
    ) -> Self {
        Self {
            front,
            opens: Box::new(opens),
            ring: Ring { events: VecDeque::new(), bytes: 0, most },
            back,
            until_ns: None,
            switch: Box::new(switch),
            windows: None,
        }
    }

    /// Adds a sink that is shown every event at once, before it enters the ring.
    pub fn add_front(&mut self, sink: impl Sink + 'a) {
        self.front.add(sink);
    }

    fn keep(&mut self, event: &Event<'_>) -> Result<bool> {
        let kept = Box::new(Kept::new(event));
        self.ring.bytes += kept.size();
        self.ring.events.push_back(kept);
        while self.ring.bytes > self.ring.most {
            if !self.pass()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The oldest event leaves the ring.
    fn pass(&mut self) -> Result<bool> {
        let Some(oldest) = self.ring.events.pop_front() else { return Ok(true) };
        self.ring.bytes -= oldest.size();
        oldest.event().map_or(Ok(true), |event| self.back.item(&Item::Event(event)))
    }

    /// What happened before `from_ns` leaves the ring.
    fn forget(&mut self, from_ns: u64) -> Result<bool> {
        while self.ring.events.front().is_some_and(|oldest| oldest.ts_ns < from_ns) {
            if !self.pass()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn drain(&mut self) -> Result<bool> {
        while !self.ring.events.is_empty() {
            if !self.pass()? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Road for Lookback<'_> {
    fn step<S: Source>(&mut self, source: &mut S, about: impl FnOnce(&S::Error) -> CliError) -> Result<Step> {
        let mut result = Ok(true);
        let more = source.each(|item| {
            result = self.item(item);
            if matches!(result, Ok(true)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match (more, result?) {
            (Err(error), _) => Err(about(&error)),
            (Ok(_), false) => Ok(Step::Enough),
            (Ok(false), true) => Ok(Step::Ended),
            (Ok(true), true) => Ok(match (self.front.idle()?, self.back.idle()?) {
                (Step::More, Step::More) => Step::More,
                _ => Step::Enough,
            }),
        }
    }

    fn item(&mut self, item: &Item<'_>) -> Result<bool> {
        self.front.item(item)?;
        let Item::Event(event) = item else {
            // What a section begins with is no history: what is in the ring comes before it.
            self.drain()?;
            return self.back.item(item);
        };
        if self.until_ns.is_some_and(|until| event.ts_ns > until) {
            (self.switch)(false)?;
            self.until_ns = None;
        }
        if let Some(window) = (self.opens)(event) {
            if let Some(windows) = &mut self.windows {
                *windows += u64::from(self.until_ns.is_none());
            }
            if !self.forget(window.from_ns)? {
                return Ok(false);
            }
            (self.switch)(true)?;
            self.until_ns = self.until_ns.max(Some(window.until_ns));
            if !self.drain()? {
                return Ok(false);
            }
        }
        if self.until_ns.is_some() {
            return self.back.item(item);
        }
        self.keep(event)
    }

    fn wait_for_exec(&mut self, tid: i64) {
        self.back.wait_for_exec(tid);
    }

    fn finish(&mut self) -> Result<()> {
        if self.windows == Some(0) {
            eprintln!("nabe: note: nothing matched --on: no file was written");
        }
        let finished = self.front.finish();
        finished.and(self.back.finish())
    }
}
