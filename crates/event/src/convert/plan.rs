//! What becomes of each event: read off the event table once, by names.

use std::sync::OnceLock;

use crate::raw::Event;
use crate::table::{EventId, Flags};

/// What becomes of an event.
#[derive(Debug)]
pub(super) struct Plan {
    /// Nothing sends it.
    pub(super) unused: bool,
    /// It is a side of a system call that has two.
    pub(super) syscall: bool,
    /// An enter event that its exit event will ask for.
    pub(super) waits: bool,
    /// The current event; `None` for an enter event that is gone.
    pub(super) target: Option<EventId>,
    /// Where its parameters come from.
    pub(super) sources: Vec<Source>,
    /// Its layout changes under the same number, or it may have fewer parameters than it should.
    managed: bool,
    /// The number changes.
    renumbered: bool,
}

/// Where a parameter comes from: the first of these that is there.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// A position in the event itself.
    pub(super) old: Option<u8>,
    /// A position in its enter event.
    pub(super) enter: Option<u8>,
    /// Zero: what the old kernel module or system call could only have meant.
    pub(super) zero: bool,
}

impl Plan {
    /// Whether `event` is not in the current layout yet.
    pub(super) fn needed(&self, event: &Event<'_>) -> bool {
        self.renumbered || self.managed && event.params.len() < self.sources.len()
    }
}

/// Current events with another name than the old ones: `accept4` was called `accept` for a time.
const RENAMED: &[(EventId, EventId)] = &[
    (EventId::SOCKET_ACCEPT4_X, EventId::SOCKET_ACCEPT4_6_X),
    (EventId::SOCKET_ACCEPT4_5_X, EventId::SOCKET_ACCEPT4_6_X),
];

/// Parameters with another name than the current one: event, current name, its name.
const ALIASES: &[(EventId, &str, &str)] =
    &[(EventId::SYSCALL_DUP_X, "oldfd", "fd"), (EventId::SYSCALL_BPF_X, "fd", "res_or_fd")];

/// Parameters of the same name in enter and exit that are not the same: flags of the call, flags of
/// the executable.
const HOMONYMS: &[(EventId, &str)] = &[(EventId::SYSCALL_EXECVEAT_X, "flags")];

/// Current parameters that are zero when a file is too old to have them.
const ZERO: &[(EventId, &str)] = &[
    (EventId::SOCKET_SOCKET_X, "flags"),
    (EventId::SOCKET_ACCEPT_5_X, "queuelen"),
    (EventId::SOCKET_ACCEPT_5_X, "queuemax"),
    (EventId::SOCKET_ACCEPT4_6_X, "queuelen"),
    (EventId::SOCKET_ACCEPT4_6_X, "queuemax"),
    (EventId::SYSCALL_SECCOMP_E, "flags"),
    (EventId::SYSCALL_SECCOMP_X, "flags"),
];

/// The plan of an event.
pub(super) fn of(id: EventId) -> &'static Plan {
    static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
    static UNUSED: Plan = Plan {
        unused: true,
        syscall: false,
        waits: false,
        target: None,
        sources: Vec::new(),
        managed: false,
        renumbered: false,
    };
    let plans = PLANS.get_or_init(|| EventId::all().map(make).collect());
    plans.get(usize::from(id.number())).unwrap_or(&UNUSED)
}

fn make(id: EventId) -> Plan {
    let flags = id.row().flags;
    let target = target(id);
    let sources = target.map_or_else(Vec::new, |target| sources(id, target));
    let exit = id.other_side();
    let syscall = id.is_syscall() && (!id.is_enter() || !exit.row().flags.has(Flags::UNUSED));
    Plan {
        unused: flags.has(Flags::UNUSED),
        syscall,
        waits: id.is_enter()
            && self::sources(exit, self::target(exit).unwrap_or(exit))
                .iter()
                .any(|source| source.enter.is_some()),
        target,
        sources,
        managed: flags.has(Flags::CONVERTER_MANAGED),
        renumbered: target.is_some_and(|target| target != id),
    }
}

/// The current event for an old one.
fn target(id: EventId) -> Option<EventId> {
    if let Some((_, renamed)) = RENAMED.iter().find(|(old, _)| *old == id) {
        return Some(*renamed);
    }
    if !id.row().flags.has(Flags::OLD_VERSION) {
        return Some(id);
    }
    EventId::named(id.name())
        .find(|other| other.is_enter() == id.is_enter() && !other.row().flags.has(Flags::OLD_VERSION))
}

fn sources(id: EventId, target: EventId) -> Vec<Source> {
    let position = |id: EventId, name: &str| id.row().param(name).and_then(|(at, _)| u8::try_from(at).ok());
    let source = |name: &'static str| {
        let alias = ALIASES.iter().find(|(old, current, _)| *old == id && *current == name);
        let known = alias.map_or(name, |(_, _, alias)| alias);
        let homonym = HOMONYMS.contains(&(id, name));
        Source {
            old: position(id, known),
            enter: if id.is_enter() || homonym { None } else { position(id.other_side(), known) },
            zero: ZERO.contains(&(target, name)),
        }
    };
    target.row().params.iter().map(|param| source(param.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_old_exit_event_has_a_current_one() {
        for id in EventId::all().filter(|id| !id.row().flags.has(Flags::UNUSED)) {
            let plan = of(id);
            match plan.target {
                Some(target) => {
                    assert!(!target.row().flags.has(Flags::OLD_VERSION), "{id:?}");
                    assert_eq!(target.is_enter(), id.is_enter(), "{id:?}");
                    assert_eq!(of(target).target, Some(target), "{id:?}");
                }
                None => assert!(id.is_enter(), "{id:?}"),
            }
        }
    }

    #[test]
    fn exceptions_name_what_the_table_has() {
        for (id, current, old) in ALIASES {
            let sides = [*id, id.other_side()];
            assert!(sides.iter().any(|side| side.row().param(old).is_some()), "{id:?} {old}");
            assert!(of(*id).target.unwrap().row().param(current).is_some(), "{id:?} {current}");
        }
        for (id, name) in ZERO.iter().chain(HOMONYMS) {
            assert!(id.row().param(name).is_some(), "{id:?} {name}");
        }
    }

    #[test]
    fn values_that_an_old_event_has_are_kept() {
        // Every parameter of an old exit event finds its place, but for these.
        let lost: Vec<String> = EventId::all()
            .filter(|id| !id.is_enter() && of(*id).renumbered)
            .flat_map(|id| {
                let used: Vec<u8> = of(id).sources.iter().filter_map(|source| source.old).collect();
                id.row()
                    .params
                    .iter()
                    .enumerate()
                    .filter(move |(at, _)| !used.iter().any(|used| usize::from(*used) == *at))
                    .map(move |(_, param)| format!("{id:?} {}", param.name))
            })
            .collect();
        assert_eq!(lost, Vec::<String>::new());
    }
}
