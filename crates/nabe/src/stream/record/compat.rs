//! Enter events for readers of older schemas.
//!
//! Since schema 4 a system call is one event, exit, which has the arguments, too. Older readers know
//! only the first parameters of it and take the others from the enter event before it: the descriptor
//! of a `read`, for example. Where there was none, one is made out of the exit event's parameters of
//! the same names; it is marked as being there for the state only, so that such readers show the system
//! call once, and [`SYNTHESISED`](nabe_event::raw::flag::SYNTHESISED), so that ours leave it out.

use std::collections::HashMap;

use nabe_event::raw::{Event, Params, flag};
use nabe_event::table::{EventId, Flags, ParamType};

/// Threads whose last enter event is remembered.
const MAX_THREADS: usize = 1 << 18;

/// Makes the enter events that are missing.
#[derive(Debug, Default)]
pub(super) struct Enters {
    /// The enter event that each thread is in.
    inside: HashMap<i64, EventId>,
    lengths: Vec<u8>,
    data: Vec<u8>,
}

impl Enters {
    /// A new file begins: what was written before is not in it.
    pub(super) fn reset(&mut self) {
        self.inside.clear();
    }

    /// The enter event that is to be written before `event`, if one is.
    pub(super) fn before<'a>(&'a mut self, event: &Event<'_>) -> Option<Event<'a>> {
        let id = event.id;
        if !id.is_syscall() || id.row().flags.has(Flags::LARGE_PAYLOAD) {
            return None;
        }
        if id.is_enter() {
            if self.inside.len() < MAX_THREADS || self.inside.contains_key(&event.tid) {
                self.inside.insert(event.tid, id);
            }
            return None;
        }
        let enter = id.other_side();
        let was = self.inside.remove(&event.tid);
        // An exit event of an old layout has nothing to make one of.
        if was == Some(enter) || enter == id || !enter.is_enter() || !needs_enter(event, enter) {
            return None;
        }
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

/// Whether an old reader misses something: an argument that only this event has, or the enter event
/// itself, without which it does not apply what the event does.
fn needs_enter(event: &Event<'_>, enter: EventId) -> bool {
    let row = event.id.row();
    // A child's first event is an exit event; an enter event before it would make it a stranger.
    let is_birth = matches!(row.name, "clone" | "clone3" | "fork" | "vfork");
    // An event of before that time has fewer parameters than its row has today.
    let is_whole = event.params.len() >= row.params.len();
    if row.flags.has(Flags::OLD_VERSION) || is_birth || !is_whole {
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
