//! What a view is, what it is told, what it yields, and the [`Runner`] that drives it: filter, intervals
//! on the clock of the events, and the end.

use nabe_event::Fields;
use nabe_event::table::EventId;
use nabe_filter::{Lang, Program};

use crate::cell::Cell;
use crate::table::{Table, plain};

/// What a view cannot do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// An argument is missing, wrong, or one too many.
    #[error("view {view}: {problem}")]
    Argument {
        /// The view.
        view: String,
        /// What is wrong.
        problem: String,
    },
    /// The filter of the view does not compile with the arguments given.
    #[error("the filter of view {view} is wrong: {problem}")]
    Filter {
        /// The view.
        view: String,
        /// The filter's diagnostic.
        problem: String,
    },
    /// A field that is none, with the arguments given.
    #[error("view {view}: {problem}")]
    Field {
        /// The view.
        view: String,
        /// What is wrong.
        problem: String,
    },
    /// It does not work here: on a live source, without a terminal, …
    #[error("view {view} {problem}")]
    Unfit {
        /// The view.
        view: String,
        /// Why.
        problem: String,
    },
    /// A script failed.
    #[error("chisel {chisel}: {problem}")]
    Script {
        /// The script.
        chisel: String,
        /// What Lua says.
        problem: String,
    },
    /// The user asked for the end while a script ran.
    #[error("chisel {chisel} was interrupted")]
    Interrupted {
        /// The script.
        chisel: String,
    },
}

/// How a view is run.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The words behind its name.
    pub args: Vec<String>,
    /// Whether the events come from a running machine.
    pub live: bool,
    /// Columns and lines of the terminal that the output goes to; `None` for a file or a pipe.
    pub terminal: Option<(u16, u16)>,
    /// Whether lines are coloured where sysdig colours them.
    pub color: bool,
    /// Whether what comes from outside is stripped of what a terminal would act on.
    pub safe: bool,
    /// Whether containers are shown (`-pc`).
    pub containers: bool,
    /// Whether the answer is JSON.
    pub json: bool,
    /// The user's own filter, as written.
    pub filter: String,
    /// Nanoseconds between two tables of a live source; `None` for the view's own, usually 1 s.
    pub interval_ns: Option<u64>,
    /// The capture that is read.
    pub source: String,
}

/// A container as [`Machine`] tells of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Container<'a> {
    /// Its short id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its image.
    pub image: &'a str,
    /// Its engine.
    pub engine: &'a str,
}

/// What is true of the machine at this place in the stream, beyond the event.
pub trait Machine {
    /// Calls `visit` with every thread that is known, in no order. Each answers the fields of threads
    /// and containers.
    fn threads(&self, visit: &mut dyn FnMut(&dyn Fields));
    /// Calls `visit` with every descriptor of thread `tid`, in no order. Each answers the fields of
    /// descriptors and of the thread.
    fn descriptors(&self, tid: i64, visit: &mut dyn FnMut(&dyn Fields));
    /// Calls `visit` with every container that is known, in no order.
    fn containers(&self, visit: &mut dyn FnMut(Container<'_>));
}

/// A machine of which nothing is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Machine for Nothing {
    fn threads(&self, _: &mut dyn FnMut(&dyn Fields)) {}
    fn descriptors(&self, _: i64, _: &mut dyn FnMut(&dyn Fields)) {}
    fn containers(&self, _: &mut dyn FnMut(Container<'_>)) {}
}

/// An event and what stands around it.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    /// It answers every field.
    pub fields: &'a dyn Fields,
    /// When it happened: nanoseconds since the epoch.
    pub ts_ns: u64,
    /// The machine at this moment.
    pub machine: &'a dyn Machine,
}

/// Something that a view yields, in order.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Text for standard output; what is hostile in it has been made harmless where [`Setup::safe`]
    /// asks for it.
    Text(Vec<u8>),
    /// A table; on a terminal that is live it replaces the one before.
    Table(Table),
    /// Bytes to be appended to a file with this name below the folder `udp_dump_files`. The name has
    /// no slash in it.
    Append {
        /// The file's name.
        name: String,
        /// What is appended.
        bytes: Vec<u8>,
    },
    /// A datagram to be sent.
    Datagram {
        /// `host:port`.
        to: String,
        /// What is sent.
        bytes: Vec<u8>,
    },
    /// Events of the capture to be saved: those of the same thread within `range_ms` around each.
    Save {
        /// The file.
        file: String,
        /// Milliseconds before and behind.
        range_ms: u64,
        /// Times in nanoseconds since the epoch, and threads.
        around: Vec<(u64, i64)>,
    },
}

/// Where a view puts what it yields.
#[derive(Debug, Default)]
pub struct Output {
    pieces: Vec<Piece>,
    /// See [`Setup::safe`].
    pub safe: bool,
    /// See [`Setup::color`].
    pub color: bool,
}

impl Output {
    /// An empty one for a run.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        Self { pieces: Vec::new(), safe: setup.safe, color: setup.color }
    }

    fn text(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.last(), Some(Piece::Text(_))) {
            self.pieces.push(Piece::Text(Vec::new()));
        }
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text,
            _ => unreachable!("pushed above"),
        }
    }

    /// nabe's own words.
    pub fn put(&mut self, text: &str) {
        self.text().extend_from_slice(text.as_bytes());
    }

    /// A colour: nothing without colours.
    pub fn color(&mut self, code: &str) {
        if self.color {
            self.put("\x1b[");
            self.put(code);
            self.put("m");
        }
    }

    /// What comes from outside; ends of lines become dots.
    pub fn put_value(&mut self, value: &[u8]) {
        let mut value = value.to_vec();
        if self.safe {
            plain(&mut value);
        }
        self.text().extend_from_slice(&value);
    }

    /// What comes from outside and has lines of its own.
    pub fn put_lines(&mut self, value: &[u8]) {
        for (nth, line) in value.split(|byte| *byte == b'\n').enumerate() {
            if nth > 0 {
                self.put("\n");
            }
            let tabs = line.split(|byte| *byte == b'\t');
            for (nth, part) in tabs.enumerate() {
                if nth > 0 {
                    self.put("\t");
                }
                self.put_value(part);
            }
        }
    }

    /// A piece.
    pub fn push(&mut self, piece: Piece) {
        self.pieces.push(piece);
    }

    /// What was yielded since the last call.
    pub fn take(&mut self) -> Vec<Piece> {
        core::mem::take(&mut self.pieces)
    }

    /// Whether nothing was yielded since.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes of text that wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.len() } else { 1024 }).sum()
    }
}

/// Whether a view wants more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Go,
    /// It has seen enough.
    Stop,
}

/// A moment between events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// On the clock of the events: nanoseconds since the epoch.
    pub ts_ns: u64,
    /// Nanoseconds since the moment before; at the end since the first event.
    pub delta_ns: u64,
}

/// Takes events, yields tables or lines.
pub trait View {
    /// Its name.
    fn name(&self) -> &str;
    /// Which events it takes, in either language of filters; read once after [`Self::start`].
    fn filter(&self) -> String {
        String::new()
    }
    /// Bytes of payload that it wants to see; 0 for none.
    fn snaplen(&self) -> u32 {
        0
    }
    /// Whether it shows what only samples of threads (`procinfo`) tell; a filter that selects these
    /// says so, too.
    fn is_sampled(&self) -> bool {
        false
    }
    /// Whether switches of processors that its filter selects change what it shows. There are more of
    /// them than of all other events: where not, they need not be collected.
    fn shows_switches(&self) -> bool {
        true
    }
    /// Nanoseconds between calls of [`Self::tick`], on the clock of the events; read after
    /// [`Self::start`].
    fn interval_ns(&self) -> Option<u64> {
        None
    }
    /// Before the first event.
    ///
    /// # Errors
    /// When the view does not work with these arguments, or not here.
    fn start(&mut self, out: &mut Output) -> Result<(), ViewError> {
        let _ = out;
        Ok(())
    }
    /// An event that the filter selects.
    ///
    /// # Errors
    /// Of scripts.
    fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError>;
    /// An interval is over; `event` is the first behind it, whatever the filter says of it.
    ///
    /// # Errors
    /// Of scripts.
    fn tick(&mut self, at: Moment, event: &Event<'_>, out: &mut Output) -> Result<(), ViewError> {
        let _ = (at, event, out);
        Ok(())
    }
    /// There are no more events.
    ///
    /// # Errors
    /// Of scripts.
    fn end(&mut self, at: Moment, machine: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        let _ = (at, machine, out);
        Ok(())
    }
}

/// Drives one view.
pub struct Runner {
    view: Box<dyn View>,
    filter: Option<Program>,
    interval_ns: Option<u64>,
    /// When the first and the last event happened.
    first_ns: Option<u64>,
    last_ns: u64,
    /// The interval that the last event was in, and when the last tick was.
    sample: u64,
    ticked_ns: u64,
    stopped: bool,
}

impl Runner {
    /// Starts `view`: whatever it prints before the first event is in `out`.
    ///
    /// # Errors
    /// When it does not work with its arguments, or not here.
    pub fn new(mut view: Box<dyn View>, out: &mut Output) -> Result<Self, ViewError> {
        view.start(out)?;
        let filter = match view.filter() {
            text if text.is_empty() => None,
            text => Some(Program::compile_of_events(&text, Lang::Auto).map_err(|error| {
                ViewError::Filter { view: view.name().to_owned(), problem: error.to_string() }
            })?),
        };
        let interval_ns = view.interval_ns().filter(|interval| *interval > 0);
        Ok(Self {
            view,
            filter,
            interval_ns,
            first_ns: None,
            last_ns: 0,
            sample: 0,
            ticked_ns: 0,
            stopped: false,
        })
    }

    /// The view's own filter, for the source's interest; `None` when it takes everything.
    #[must_use]
    pub fn filter(&self) -> Option<&Program> {
        self.filter.as_ref()
    }

    /// Bytes of payload that the view wants to see.
    #[must_use]
    pub fn snaplen(&self) -> u32 {
        self.view.snaplen()
    }

    /// Whether switches of processors change what the view shows.
    #[must_use]
    pub fn shows_switches(&self) -> bool {
        self.view.shows_switches()
            && self.filter.as_ref().is_none_or(|filter| filter.events().contains(EventId::SCHEDSWITCH_6_E))
    }

    /// Whether the view wants samples of all threads (`procinfo`): it shows what only they tell, or
    /// takes them and little else.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        let selects = |filter: &Program| {
            let events = filter.events();
            events.contains(EventId::PROCINFO_E) && !events.contains(EventId::GENERIC_X)
        };
        self.view.is_sampled() || self.filter.as_ref().is_some_and(selects)
    }

    /// An event that the user's filter selects, internal ones too.
    ///
    /// # Errors
    /// Of scripts.
    pub fn event(&mut self, event: &Event<'_>, out: &mut Output) -> Result<Flow, ViewError> {
        if self.stopped {
            return Ok(Flow::Stop);
        }
        self.last_ns = event.ts_ns;
        if self.first_ns.is_none() {
            self.first_ns = Some(event.ts_ns);
            self.sample = self.interval_ns.map_or(0, |interval| event.ts_ns / interval);
        } else {
            self.pass_time(event, out)?;
        }
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(event.fields)) {
            return Ok(Flow::Go);
        }
        let flow = self.view.event(event, out)?;
        self.stopped = flow == Flow::Stop;
        Ok(flow)
    }

    fn pass_time(&mut self, event: &Event<'_>, out: &mut Output) -> Result<(), ViewError> {
        let Some(interval) = self.interval_ns else { return Ok(()) };
        let sample = event.ts_ns / interval;
        if sample == self.sample {
            return Ok(());
        }
        let before = if self.ticked_ns == 0 { self.first_ns.unwrap_or(0) } else { self.ticked_ns };
        let delta_ns = event.ts_ns.saturating_sub(before);
        if delta_ns == 0 {
            return Ok(());
        }
        self.view.tick(Moment { ts_ns: event.ts_ns, delta_ns }, event, out)?;
        (self.sample, self.ticked_ns) = (sample, event.ts_ns);
        Ok(())
    }

    /// There are no more events.
    ///
    /// # Errors
    /// Of scripts.
    pub fn end(&mut self, machine: &dyn Machine, out: &mut Output) -> Result<(), ViewError> {
        let delta_ns = self.last_ns.saturating_sub(self.first_ns.unwrap_or(self.last_ns));
        self.view.end(Moment { ts_ns: self.last_ns, delta_ns }, machine, out)
    }
}

/// Reads one field into a number.
pub(crate) fn whole(cell: &Cell) -> Option<i64> {
    cell.whole().and_then(|number| i64::try_from(number).ok())
}
