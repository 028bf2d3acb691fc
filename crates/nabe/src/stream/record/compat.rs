//! What readers of older schemas need: enter events, descriptors of kinds that they know, and codes of
//! system calls that they have names for.
//!
//! Since schema 4 a system call is one event, exit, which has the arguments, too. Older readers know
//! only the first parameters of it and take the others from the enter event before it: the descriptor
//! of a `read`, for example. Where there was none, one is made out of the exit event's parameters of
//! the same names; it is marked as being there for the state only, so that such readers show the system
//! call once, and [`SYNTHESISED`](nabe_event::raw::flag::SYNTHESISED), so that ours leave it out.

use std::collections::HashMap;

use nabe_event::item::{Class, Descriptor, Target};
use nabe_event::raw::{Event, Params, flag};
use nabe_event::table::{EventId, Flags, ParamType};

/// Threads whose last enter event is remembered without a search, and how many others.
const LAST_THREADS: usize = 1 << 10;
const MAX_THREADS: usize = 1 << 18;

/// Makes the enter events that are missing.
#[derive(Debug, Default)]
pub(super) struct Enters {
    inside: Inside,
    lengths: Vec<u8>,
    data: Vec<u8>,
}

impl Enters {
    /// A new file begins: what was written before is not in it.
    pub(super) fn reset(&mut self) {
        self.inside = Inside::default();
    }

    /// Whether an enter event is to be written before `event`, which is written next.
    #[inline]
    pub(super) fn is_missing(&mut self, event: &Event<'_>) -> bool {
        let id = event.id;
        if !id.is_syscall() || id.row().flags.has(Flags::LARGE_PAYLOAD) {
            return false;
        }
        if id.is_enter() {
            self.inside.insert(event.tid, id);
            return false;
        }
        let enter = id.other_side();
        // An exit event of an old layout has nothing to make one of.
        self.inside.remove(event.tid) != Some(enter)
            && enter != id
            && enter.is_enter()
            && needs_enter(event, enter)
    }

    /// The enter event that is to be written before `event`, if one is.
    pub(super) fn before<'a>(&'a mut self, event: &Event<'_>) -> Option<Event<'a>> {
        if !self.is_missing(event) {
            return None;
        }
        let (id, enter) = (event.id, event.id.other_side());
        self.lengths.clear();
        self.data.clear();
        for param in enter.row().params {
            let found =
                id.row().params.iter().position(|known| known.name == param.name && known.ty == param.ty);
            let bytes = found.and_then(|at| event.params.get(at)).unwrap_or_default();
            let len = u16::try_from(bytes.len()).ok()?;
            self.lengths.extend_from_slice(&len.to_le_bytes());
            self.data.extend_from_slice(bytes);
        }
        let params = Params::new(enter, &self.lengths, &self.data)?;
        Some(Event { id: enter, flags: flag::STATE_ONLY | flag::SYNTHESISED, params, ..*event })
    }
}

/// The enter event that each thread is in: in a table of the last ones, by the number's low bits, and
/// for those that had to make room in a map.
#[derive(Debug)]
struct Inside {
    last: Box<[(i64, Option<EventId>)]>,
    others: HashMap<i64, EventId>,
}

impl Default for Inside {
    fn default() -> Self {
        Self { last: vec![(0, None); LAST_THREADS].into(), others: HashMap::new() }
    }
}

impl Inside {
    /// Where the thread may be in the table.
    #[inline]
    fn place(tid: i64) -> usize {
        let [low, next, ..] = tid.to_le_bytes();
        usize::from(u16::from_le_bytes([low, next])) % LAST_THREADS
    }

    #[inline]
    fn insert(&mut self, tid: i64, id: EventId) {
        let Some(place) = self.last.get_mut(Self::place(tid)) else { return };
        let before = core::mem::replace(place, (tid, Some(id)));
        if before.0 != tid {
            self.make_room(tid, before);
        }
    }

    /// Another thread had the place; this one may have had to leave it before.
    fn make_room(&mut self, tid: i64, before: (i64, Option<EventId>)) {
        if !self.others.is_empty() {
            self.others.remove(&tid);
        }
        if let (other, Some(id)) = before
            && self.others.len() < MAX_THREADS
        {
            self.others.insert(other, id);
        }
    }

    #[inline]
    fn remove(&mut self, tid: i64) -> Option<EventId> {
        match self.last.get_mut(Self::place(tid)) {
            Some((known, id)) if *known == tid => id.take(),
            _ if self.others.is_empty() => None,
            _ => self.others.remove(&tid),
        }
    }
}

/// Whether an old reader misses something: an argument that only this event has, or the enter event
/// itself, without which it does not apply what the event does.
fn needs_enter(event: &Event<'_>, enter: EventId) -> bool {
    let row = event.id.row();
    // A child's first event is an exit event; an enter event before it would make it a stranger.
    let is_birth = matches!(row.name, "clone" | "clone3" | "fork" | "vfork");
    // An event of before that time has fewer parameters than its row has today.
    let is_whole = event.params.len() >= row.params.len();
    let is_generic = event.id == EventId::GENERIC_X;
    if row.flags.has(Flags::OLD_VERSION) || is_birth || is_generic || !is_whole {
        return false;
    }
    let has = |name: &str, ty: ParamType| {
        row.params
            .iter()
            .position(|param| param.name == name && param.ty == ty)
            .is_some_and(|at| event.param(at).is_some())
    };
    let arguments = enter.row().params.iter().any(|param| has(param.name, param.ty));
    arguments || row.flags.has(Flags::MODIFIES_STATE)
}

/// The descriptor as sysdig 0.29 can read it: that refuses a file with a kind that it does not know
/// (BPF objects, memfds, io_urings and the like). The name still tells.
pub(super) fn descriptor<'a>(found: &Descriptor<'a>) -> Descriptor<'a> {
    const NEWEST: u8 = 16;
    let target = match found.target {
        Target::Named { class, name } if class.number() > NEWEST => {
            Target::Named { class: Class::Unsupported, name }
        }
        other => other,
    };
    Descriptor { target, ..*found }
}

/// The event that told of containers before 2025, with this document; `None` when it is too long for it.
/// It is there for the state only.
pub(super) fn container<T>(
    event: &Event<'_>,
    document: &[u8],
    then: impl FnOnce(&Event<'_>) -> T,
) -> Option<T> {
    let data = [document, b"\0"].concat();
    let lengths = u16::try_from(data.len()).ok()?.to_le_bytes();
    let params = Params::new(EventId::CONTAINER_JSON_E, &lengths, &data)?;
    Some(then(&Event { id: EventId::CONTAINER_JSON_E, flags: flag::STATE_ONLY, params, ..*event }))
}

/// The last code of a system call that sysdig 0.29 has a name for; it reads beyond its table behind it.
const LAST_CODE: u64 = 328;

/// A generic event for old readers: its code is 0, unknown, and the true one is appended, where nobody
/// but [`restored`] looks.
#[derive(Debug, Default)]
pub struct Codes {
    data: Vec<u8>,
}

/// Lengths of a generic event's parameters: code, native number; and code again.
const LENGTHS: [u8; 6] = [2, 0, 2, 0, 2, 0];

impl Codes {
    /// The event with a code that old readers know.
    pub(super) fn replaced<'a>(&'a mut self, event: &Event<'a>) -> Event<'a> {
        let is_generic = matches!(event.id, EventId::GENERIC_E | EventId::GENERIC_X);
        if !is_generic
            || event.params.lengths() != &LENGTHS[..4]
            || event.unsigned(0).unwrap_or(0) <= LAST_CODE
        {
            return *event;
        }
        let [code, native] = [0, 1].map(|at| event.params.get(at).unwrap_or_default());
        self.data = [&[0, 0], native, code].concat();
        let params = Params::new(event.id, &LENGTHS, &self.data);
        params.map_or(*event, |params| Event { params, ..*event })
    }

    /// The event with its true code again.
    pub fn restored<'a>(&'a mut self, event: &Event<'a>) -> Event<'a> {
        if event.params.lengths() != LENGTHS || event.unsigned(0) != Some(0) {
            return *event;
        }
        let [native, code] = [1, 2].map(|at| event.params.get(at).unwrap_or_default());
        self.data = [code, native].concat();
        let params = LENGTHS.get(..4).and_then(|lengths| Params::new(event.id, lengths, &self.data));
        params.map_or(*event, |params| Event { params, ..*event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back() {
        let id = EventId::GENERIC_X;
        let (mut write, mut read) = (Codes::default(), Codes::default());
        for (code, kept) in [(300u16, true), (329, false)] {
            let data = [code.to_le_bytes(), 334u16.to_le_bytes()].concat();
            let params = Params::new(id, &LENGTHS[..4], &data).unwrap();
            let event = Event { id, cpu: 0, flags: 0, ts_ns: 1, tid: 1, params };
            let written = write.replaced(&event);
            assert_eq!((written == event, written.unsigned(1)), (kept, Some(334)));
            assert_eq!(read.restored(&written), event);
        }
    }

    #[test]
    fn enters_have_what_exits_tell() {
        let id = EventId::SYSCALL_READ_X;
        let mut data = 5i64.to_le_bytes().to_vec();
        data.extend_from_slice(b"hello");
        data.extend_from_slice(&3i64.to_le_bytes());
        data.extend_from_slice(&100u32.to_le_bytes());
        let params = Params::new(id, &[8, 0, 5, 0, 8, 0, 4, 0], &data).unwrap();
        let event = Event { id, cpu: 0, flags: 0, ts_ns: 1, tid: 7, params };
        let mut enters = Enters::default();
        let enter = enters.before(&event).unwrap();
        assert_eq!(
            (enter.id, enter.signed(0), enter.unsigned(1)),
            (EventId::SYSCALL_READ_E, Some(3), Some(100))
        );
        assert_eq!(enter.flags, flag::STATE_ONLY | flag::SYNTHESISED);
        // One that was there is not made again.
        let enter = Event { flags: 0, ..event_of(EventId::SYSCALL_READ_E) };
        assert!(enters.before(&enter).is_none() && enters.before(&event).is_none());
        // Before that time an exit event had fewer parameters.
        let old = Event { params: Params::new(id, &[8, 0, 5, 0], &data).unwrap(), ..event };
        assert!(enters.before(&old).is_none());
    }

    #[test]
    fn threads_that_share_a_place_are_told_apart() {
        let id = EventId::SYSCALL_READ_E;
        let mut inside = Inside::default();
        let tids = [7, 7 + 1024, 7 + 2048, -1017, 7 + (1 << 40)];
        for _ in 0..3 {
            for tid in tids {
                assert_eq!(inside.remove(tid), None);
                inside.insert(tid, id);
                inside.insert(tid, id);
            }
            for tid in tids {
                assert_eq!((inside.remove(tid), inside.remove(tid)), (Some(id), None));
            }
        }
    }

    fn event_of(id: EventId) -> Event<'static> {
        Event { id, cpu: 0, flags: 0, ts_ns: 1, tid: 7, params: Params::NONE }
    }
}
