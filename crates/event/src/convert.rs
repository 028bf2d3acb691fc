//! Brings events of every age to the current schema.
//!
//! Until 2025 a system call was two events: enter, with the arguments, and exit, with the result.
//! Since schema 4 it is one, exit, with both. And over the years layouts of single events were
//! replaced by longer ones under new numbers. A [`Converter`] gives every event in the layout of
//! today: it keeps each thread's last enter event and fills the exit event from it.
//!
//! The [event table](crate::table) says nearly all of it: the current version of an event is
//! the one of the same name and direction that is not flagged old, and a parameter of it comes from
//! the parameter of the same name of the old event, else of its enter event. The exceptions are in
//! [`plan`]. The results are those of the 253 hand-written rules of libs `converter/table.cpp`, but
//! where those invent a value: without its enter event, an exit event's arguments are zero there
//! and absent here (so that nobody closes descriptor 0), and so are the argument of an old `fcntl`,
//! the result of an old `sendmmsg` or `recvmmsg`, and the memory that an old `brk` took from its
//! argument. Two more are right here: the descriptor of an old `bpf`, and the document of an old
//! container event, which libsinsp's parser cannot find.

mod plan;

use std::collections::HashMap;

use crate::raw::{Event, Params};
use crate::table::{EventId, Flags, Param, ParamType};

use plan::{Plan, Source};

/// Which enter events of system calls come through. Events that have only one side always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Enters {
    /// None: a system call is one event.
    #[default]
    Drop,
    /// Those that the current schema has (open, openat, openat2, creat, connect): their arguments
    /// could change before the exit.
    Current,
    /// All, those of old layouts as they are.
    Keep,
}

/// What was converted and what could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events that were in the current layout.
    pub current: u64,
    /// Events that were brought to it.
    pub converted: u64,
    /// Enter events that did not come through.
    pub dropped_enters: u64,
    /// Exit events that needed their enter event and had none.
    pub lone_exits: u64,
    /// Events of numbers that nothing ever used.
    pub unused: u64,
    /// Enter events forgotten because too many waited for their exit.
    pub forgotten: u64,
}

/// Threads, and bytes of their arguments, that may wait for their exit event.
const MAX_WAITING: usize = 1 << 18;
const MAX_WAITING_BYTES: usize = 64 << 20;

/// Converts the events of one capture, in their order.
#[derive(Debug, Default)]
pub struct Converter {
    enters: Enters,
    waiting: HashMap<i64, Waiting>,
    waiting_bytes: usize,
    /// Enter events stored so far.
    stored: u64,
    made: Made,
    stats: Stats,
}

/// The parameters of the enter event of a system call that a thread is in, or room for them.
#[derive(Clone, Debug, Default)]
pub struct Enter {
    lengths: usize,
    /// Lengths, then values.
    bytes: Vec<u8>,
}

impl Enter {
    /// Keeps the parameters of an enter event.
    #[inline]
    pub fn keep(&mut self, event: &Event<'_>) {
        self.lengths = event.params.lengths().len();
        self.bytes.clear();
        self.bytes.extend_from_slice(event.params.lengths());
        self.bytes.extend_from_slice(event.params.data());
    }

    /// The parameters that were kept, those of an event `id`.
    #[must_use]
    pub fn params(&self, id: EventId) -> Option<Params<'_>> {
        let (lengths, data) = self.bytes.split_at_checked(self.lengths)?;
        Params::new(id, lengths, data)
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn room_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// The enter event that a thread waits with.
#[derive(Debug, Default)]
struct Waiting {
    id: Option<EventId>,
    order: u64,
    enter: Enter,
}

/// Room for the event that was converted last.
#[derive(Debug, Default)]
pub struct Made {
    lengths: Vec<u8>,
    data: Vec<u8>,
}

/// Whether an exit event may ask for this enter event: whoever converts by [`current`] keeps it.
#[must_use]
pub fn is_asked_for(id: EventId) -> bool {
    plan::of(id).waits
}

/// `event` in the current layout, for whoever keeps enter events himself: `enter` has the parameters
/// of the enter event that belongs to an exit event, when it was seen. `None` for the enter event of a
/// system call, and for what nothing sends.
pub fn current<'a>(event: &Event<'a>, enter: Option<Params<'_>>, made: &'a mut Made) -> Option<Event<'a>> {
    let plan = plan::of(event.id);
    let target = plan.target.filter(|_| !(plan.unused || plan.syscall && event.id.is_enter()))?;
    if plan.needed(event) { Some(made.event(target, plan, event, enter)) } else { Some(*event) }
}

impl Converter {
    /// A converter that knows no thread yet.
    #[must_use]
    pub fn new(enters: Enters) -> Self {
        Self { enters, ..Self::default() }
    }

    /// What was converted so far.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Forgets what threads were in: a new section begins.
    pub fn reset(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// `event` in the current layout; `None` when it does not come through.
    pub fn convert<'a>(&'a mut self, event: &Event<'a>) -> Option<Event<'a>> {
        let plan = plan::of(event.id);
        if plan.unused {
            self.stats.unused += 1;
            return None;
        }
        if event.id.is_enter() { self.enter(plan, event) } else { self.exit(plan, event) }
    }

    fn enter<'a>(&'a mut self, plan: &'static Plan, event: &Event<'a>) -> Option<Event<'a>> {
        if plan.waits {
            self.store(event);
        } else if matches!(event.id, EventId::PROCEXIT_E | EventId::PROCEXIT_1_E) {
            self.remove(event.tid);
        }
        let comes = match self.enters {
            Enters::Keep => true,
            // What no exit event follows is no enter event, whatever its number.
            Enters::Drop if plan.syscall => false,
            Enters::Current | Enters::Drop => plan.target.is_some(),
        };
        if !comes {
            self.stats.dropped_enters += 1;
            return None;
        }
        match plan.target {
            Some(target) if plan.needed(event) => {
                self.stats.converted += 1;
                Some(self.made.event(target, plan, event, None))
            }
            _ => {
                self.stats.current += 1;
                Some(*event)
            }
        }
    }

    fn exit<'a>(&'a mut self, plan: &'static Plan, event: &Event<'a>) -> Option<Event<'a>> {
        // The slot stays, with its memory, for the thread's next system call.
        let waiting = self.waiting.get_mut(&event.tid).and_then(|waiting| {
            let id = waiting.id.take()?;
            (id == event.id.other_side()).then_some(&waiting.enter)
        });
        let target = plan.target?;
        if !plan.needed(event) {
            self.stats.current += 1;
            return Some(*event);
        }
        if waiting.is_none()
            && plan.sources.iter().any(|source| source.enter.is_some() && !source.given(event))
        {
            self.stats.lone_exits += 1;
        }
        self.stats.converted += 1;
        let params = waiting.and_then(|enter| enter.params(event.id.other_side()));
        Some(self.made.event(target, plan, event, params))
    }

    fn store(&mut self, event: &Event<'_>) {
        if self.waiting.len() >= MAX_WAITING || self.waiting_bytes >= MAX_WAITING_BYTES {
            self.forget();
        }
        self.stored += 1;
        let waiting = self.waiting.entry(event.tid).or_default();
        let before = waiting.enter.room_bytes();
        waiting.id = Some(event.id);
        waiting.order = self.stored;
        waiting.enter.keep(event);
        self.waiting_bytes = self.waiting_bytes + waiting.enter.room_bytes() - before;
    }

    /// The thread is gone.
    fn remove(&mut self, tid: i64) {
        if let Some(waiting) = self.waiting.remove(&tid) {
            self.waiting_bytes -= waiting.enter.room_bytes();
        }
    }

    /// Forgets the half of the threads that have been silent for longest.
    #[cold]
    fn forget(&mut self) {
        let mut orders: Vec<u64> = self.waiting.values().map(|waiting| waiting.order).collect();
        let middle = orders.len() / 2;
        let (_, middle, _) = orders.select_nth_unstable(middle);
        let forgotten = &mut self.stats.forgotten;
        self.waiting.retain(|_, waiting| {
            let stays = waiting.order > *middle;
            *forgotten += u64::from(!stays && waiting.id.is_some());
            stays
        });
        self.waiting_bytes = self.waiting.values().map(|waiting| waiting.enter.room_bytes()).sum();
    }
}

impl Made {
    /// The event of `target` that `plan` makes of `event` and the event before it.
    fn event<'a>(
        &'a mut self,
        target: EventId,
        plan: &'static Plan,
        event: &Event<'a>,
        enter: Option<Params<'_>>,
    ) -> Event<'a> {
        self.lengths.clear();
        self.data.clear();
        let large = target.row().flags.has(Flags::LARGE_PAYLOAD);
        let enter = enter.map(|params| (event.id.other_side(), params));
        for (param, source) in target.row().params.iter().zip(&plan.sources) {
            let start = self.data.len();
            if event.id == EventId::CONTAINER_E {
                container_json(event, &mut self.data);
            } else {
                source.append(param, event, enter.as_ref(), &mut self.data);
            }
            let len = self.data.len() - start;
            if large {
                self.lengths.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
            } else {
                // Only a large event could have so long a value.
                let len = u16::try_from(len).unwrap_or(u16::MAX);
                self.data.truncate(start + usize::from(len));
                self.lengths.extend_from_slice(&len.to_le_bytes());
            }
        }
        let params = Params::new(target, &self.lengths, &self.data).unwrap_or(Params::NONE);
        Event { id: target, params, ..*event }
    }
}

impl Source {
    /// Whether the event itself has the value.
    fn given(&self, event: &Event<'_>) -> bool {
        self.old.is_some_and(|position| usize::from(position) < event.params.len())
    }

    /// Appends the value for `param`, or nothing.
    fn append(
        &self,
        param: &Param,
        event: &Event<'_>,
        enter: Option<&(EventId, Params<'_>)>,
        out: &mut Vec<u8>,
    ) {
        if let Some(position) = self.old.filter(|_| self.given(event)) {
            append_value(param, event.id, &event.params, position, out);
            return;
        }
        if let (Some(position), Some((id, params))) = (self.enter, enter)
            && usize::from(position) < params.len()
        {
            append_value(param, *id, params, position, out);
            return;
        }
        if self.zero && (self.enter.is_none() || enter.is_some()) {
            out.resize(out.len() + param.ty.width().unwrap_or(0), 0);
        }
    }
}

/// Appends the value at `position` of an event `id` as one for `param`.
fn append_value(param: &Param, id: EventId, params: &Params<'_>, position: u8, out: &mut Vec<u8>) {
    let position = usize::from(position);
    let mut value = params.get(position).unwrap_or_default();
    let Some(from) = id.row().params.get(position) else { return };
    let mut ty = from.ty;
    if ty == ParamType::Dyn && param.ty != ParamType::Dyn {
        // The first byte says which variant follows.
        let Some((variant, rest)) = value.split_first() else { return };
        let Some((chosen, _)) = from.variants.get(usize::from(*variant)) else { return };
        (value, ty) = (rest, *chosen);
    }
    let Some(width) = param.ty.width().filter(|_| param.ty.is_integer()) else {
        out.extend_from_slice(value);
        return;
    };
    // Numbers were widened and narrowed over the years.
    if value.is_empty() || !ty.is_integer() {
        return;
    }
    if value.len() == width {
        out.extend_from_slice(value);
        return;
    }
    let negative = ty.is_signed() && value.last().is_some_and(|byte| *byte >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let mut whole = [fill; 8];
    for (place, byte) in whole.iter_mut().zip(value) {
        *place = *byte;
    }
    // No number is wider.
    out.extend_from_slice(whole.get(..width).unwrap_or(&whole));
}

/// The first container events had four parameters; now they are a document.
fn container_json(event: &Event<'_>, out: &mut Vec<u8>) {
    let mut text = |key: &str, position: usize| {
        out.extend_from_slice(key.as_bytes());
        append_escaped(event.text(position).unwrap_or_default(), out);
    };
    text("{\"container\":{\"id\":\"", 0);
    text("\",\"name\":\"", 2);
    text("\",\"image\":\"", 3);
    let kind = event.unsigned(1).unwrap_or_default();
    out.extend_from_slice(format!("\",\"type\":{kind}}}}}\0").as_bytes());
}

/// Appends what is inside the quotes of a JSON string; bytes that are no UTF-8 become U+FFFD.
fn append_escaped(text: &[u8], out: &mut Vec<u8>) {
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' | '\\' => out.extend_from_slice(&[b'\\', u8::try_from(character).unwrap_or(b'?')]),
            '\0'..'\u{20}' => out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes()),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
