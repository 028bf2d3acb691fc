//! What the event programs are told while they run: which system calls and hooks are wanted, and of
//! whom. The layout is `struct event_control` of `bpf/event.h`.

use nabe_event::source::{EventInterest, MAX_SNAPLEN};
use nabe_event::table::native::{Native, X86_64};
use nabe_event::table::{EventId, Flags};

const PICK_PID: u32 = 1;
const PICK_PIDS: u32 = 2;
const PICK_CGROUPS: u32 = 4;
const PICK_NAMES: u32 = 8;
const PICK_EUIDS: u32 = 16;
const PICK_FAILED: u32 = 32;

const WANTED: u8 = 1;
const STATE: u8 = 2;
const ENTER: u8 = 4;

const MAX_EUIDS: usize = 16;
const MAX_NAMES: usize = 16;
const MAX_CALLS: usize = 512;
/// Bytes before the users.
const HEAD: usize = 32;

/// Who fills in the event of a system call: a number of `sys_hot.h`, and the program behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handler {
    pub(crate) number: u8,
    /// `None` for what the first program does itself.
    pub(crate) program: Option<&'static str>,
}

const fn own(number: u8) -> Handler {
    Handler { number, program: None }
}

const fn other(number: u8, program: &'static str) -> Handler {
    Handler { number, program: Some(program) }
}

const GENERIC: Handler = own(0);

/// The handler of each described system call; what is not here is told as generic.
const HANDLERS: &[(Handler, &[&str])] = &[
    (own(1), &["close"]),
    (own(2), &["read", "write"]),
    (own(3), &["open", "openat"]),
    (other(7, "nabe_clone"), &["clone", "clone3", "fork", "vfork"]),
];

/// Hooks that are no system call: the event, the bits of `HOOK_*`, its program.
pub(crate) const HOOKS: &[(EventId, u32, &str)] =
    &[(EventId::SYSCALL_EXECVE_19_X, 0, "nabe_exec"), (EventId::PROCEXIT_1_E, 1, "nabe_leave")];

/// State follows from these, too, although the table does not flag them.
const STATEFUL: &[EventId] = &[
    EventId::SOCKET_CONNECT_X,
    EventId::SOCKET_BIND_X,
    EventId::SYSCALL_SETNS_X,
    EventId::SYSCALL_SETPGID_X,
    EventId::SYSCALL_UNSHARE_X,
];

/// Who fills in the event of `native`.
pub(crate) fn handler(native: &Native) -> Handler {
    HANDLERS.iter().find(|(_, names)| names.contains(&native.name)).map_or(GENERIC, |(handler, _)| *handler)
}

/// What is wanted of an event: `WANTED`, `STATE`, `ENTER`.
fn wish(interest: &EventInterest, id: EventId) -> u8 {
    let mut bits = 0;
    if interest.events.contains(id) {
        bits |= WANTED;
    }
    if interest.state && (id.row().flags.has(Flags::MODIFIES_STATE) || STATEFUL.contains(&id)) {
        bits |= STATE;
    }
    if !id.is_enter() && interest.events.contains(id.other_side()) {
        bits |= ENTER;
    }
    bits
}

/// The configuration, and what must be loaded for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// The bytes of `struct event_control`.
    pub(crate) bytes: Vec<u8>,
    /// Programs behind the first one: slot and name.
    pub(crate) handlers: Vec<(u8, &'static str)>,
    /// Programs of their own.
    pub(crate) hooks: Vec<&'static str>,
    /// Whether any system call's end is wanted.
    pub(crate) exits: bool,
    /// Members of the map `pids`.
    pub(crate) pids: Vec<u32>,
    /// Members of the map `cgroups`.
    pub(crate) cgroups: Vec<u64>,
}

impl Control {
    /// The size of `struct event_control`.
    pub(crate) const SIZE: usize = HEAD + 4 * MAX_EUIDS + 16 * MAX_NAMES + 8 * MAX_CALLS;

    /// Nobody and nothing.
    pub(crate) fn nothing() -> Self {
        Self { bytes: vec![0; Self::SIZE], ..Self::default() }
    }

    /// The configuration for `interest`; the process `own` is not looked at.
    pub(crate) fn new(interest: &EventInterest, own: Option<u32>) -> Self {
        let mut control = Self::nothing();
        let mut select = 0;
        let mut pid = 0;
        match interest.pids.as_deref() {
            None => {}
            Some([only]) if !interest.follow => {
                select |= PICK_PID;
                pid = *only;
            }
            Some(pids) => {
                select |= PICK_PIDS;
                control.pids = pids.to_vec();
            }
        }
        if let Some(cgroups) = &interest.cgroups {
            select |= PICK_CGROUPS;
            control.cgroups.clone_from(cgroups);
        }
        // More than fit are left to the reader: a superset is allowed.
        let names = interest.names.as_deref().filter(|list| list.len() <= MAX_NAMES);
        let euids = interest.euids.as_deref().filter(|list| list.len() <= MAX_EUIDS);
        for (bit, set) in [
            (PICK_NAMES, names.is_some()),
            (PICK_EUIDS, euids.is_some()),
            (PICK_FAILED, interest.only_failed),
        ] {
            if set {
                select |= bit;
            }
        }
        let hooks = control.choose_hooks(interest);
        let (names, euids) = (names.unwrap_or_default(), euids.unwrap_or_default());
        let head = [
            select,
            interest.snaplen.min(MAX_SNAPLEN),
            pid,
            names.len() as u32,
            euids.len() as u32,
            hooks,
            own.unwrap_or(0),
            0,
        ];
        let numbers = head.into_iter().chain(euids.iter().copied());
        for (place, number) in control.bytes.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let names_at = HEAD + 4 * MAX_EUIDS;
        for (place, name) in
            control.bytes.get_mut(names_at..).unwrap_or_default().chunks_exact_mut(16).zip(names)
        {
            // The kernel's name has at most 15 bytes and a NUL.
            place.iter_mut().take(15).zip(name).for_each(|(to, from)| *to = *from);
        }
        control.choose_calls(interest);
        control
    }

    fn choose_hooks(&mut self, interest: &EventInterest) -> u32 {
        let mut bits = 0;
        for (event, hook, program) in HOOKS {
            let wish = u32::from(wish(interest, *event) & (WANTED | STATE));
            if wish != 0 {
                bits |= wish << (4 * hook);
                self.hooks.push(program);
            }
        }
        bits
    }

    fn choose_calls(&mut self, interest: &EventInterest) {
        let calls = self.bytes.len() - 8 * MAX_CALLS;
        for native in X86_64 {
            let handler = handler(native);
            let event = if handler == GENERIC { EventId::GENERIC_X } else { native.event };
            // A described call whose handler is generic is wanted by its own name, too.
            let wish = wish(interest, native.event) | wish(interest, event) & WANTED;
            let at = calls + 8 * usize::from(native.number);
            let Some(place) = self.bytes.get_mut(at..at + 8).filter(|_| wish != 0) else { continue };
            place[..2].copy_from_slice(&event.number().to_le_bytes());
            place[2..4].copy_from_slice(&native.code.to_le_bytes());
            place[4] = wish;
            place[5] = handler.number;
            self.exits |= wish & (WANTED | STATE) != 0;
            if let Some(program) = handler.program
                && !self.handlers.iter().any(|(number, _)| *number == handler.number)
            {
                self.handlers.push((handler.number, program));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(control: &Control, number: usize) -> &[u8] {
        &control.bytes[Control::SIZE - 8 * MAX_CALLS + 8 * number..][..8]
    }

    #[test]
    fn only_what_is_wanted_is_set() {
        let interest = EventInterest {
            events: [EventId::SYSCALL_CLOSE_X].into_iter().collect(),
            state: false,
            pids: Some(vec![77]),
            names: Some(vec![b"sshd".to_vec()]),
            ..EventInterest::default()
        };
        let control = Control::new(&interest, None);
        assert_eq!(control.bytes.len(), Control::SIZE);
        assert_eq!(call(&control, 3), [5, 0, 6, 0, 1, 1, 0, 0]);
        assert_eq!(call(&control, 0), [0; 8]);
        assert_eq!(control.bytes[..12], [9, 0, 0, 0, 80, 0, 0, 0, 77, 0, 0, 0]);
        assert_eq!(control.bytes[96..102], *b"sshd\0\0");
        assert!(control.exits && control.hooks.is_empty() && control.handlers.is_empty());
    }

    #[test]
    fn state_brings_what_changes_it() {
        let control = Control::new(&EventInterest::default(), None);
        assert_eq!(call(&control, 3)[4], STATE);
        assert_eq!(call(&control, 0)[4], 0);
        assert_eq!(control.hooks, ["nabe_exec", "nabe_leave"]);
        assert!(control.handlers.contains(&(7, "nabe_clone")));
    }
}
