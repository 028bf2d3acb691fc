//! nabe's own containers, told of before their first event.
//!
//! Engines are asked while the stream goes on, so what a short container did is over before its name is known.
//! The state of nabe's own containers is a small file that is there before their program runs: it is read where
//! a program is executed in such a container, and goes before that event.

use std::collections::HashSet;
use std::ops::ControlFlow;

use nabe_container::Config;
use nabe_event::raw::Event;
use nabe_event::source::Account;
use nabe_event::table::EventId;
use nabe_event::{Item, Source};

use super::container;

/// Names that are remembered as told.
const MOST: usize = 1024;

/// Knows which containers were told of.
pub struct Announcer {
    config: Config,
    told: HashSet<Vec<u8>>,
}

/// A source whose containers are told of.
pub struct Announced<'a, S> {
    source: &'a mut S,
    announcer: &'a mut Announcer,
}

impl Announcer {
    /// Reads where `config` says that states are.
    pub fn new(config: Config) -> Self {
        Self { config, told: HashSet::new() }
    }

    /// `source`, with an event before the first of each container.
    pub fn before<'a, S: Source>(&'a mut self, source: &'a mut S) -> Announced<'a, S> {
        Announced { source, announcer: self }
    }

    /// What there is to be told before this event.
    fn look(&mut self, event: &Event<'_>) -> Option<String> {
        if !matches!(event.id, EventId::SYSCALL_EXECVE_19_X | EventId::SYSCALL_EXECVEAT_X) {
            return None;
        }
        let param = |name: &str| event.described().find(|(of, _)| of.name == name).map(|(_, bytes)| bytes);
        let name = container::own_name(param("cgroups")?)?;
        // The first program of a container may be that of a new one with an old name.
        let first = param("vpid")
            .is_some_and(|bytes| bytes.first() == Some(&1) && bytes.iter().skip(1).all(|byte| *byte == 0));
        if !first && self.told.contains(name) {
            return None;
        }
        if self.told.len() >= MOST {
            self.told.clear();
        }
        self.told.insert(name.to_vec());
        let name = std::str::from_utf8(name).ok()?;
        Some(container::document(name, &nabe_container::own(&self.config, name), None))
    }
}

impl<S: Source> Source for Announced<'_, S> {
    type Error = S::Error;

    fn batch(&mut self) -> Result<Option<impl Iterator<Item = Item<'_>>>, S::Error> {
        self.source.batch()
    }

    fn each(&mut self, mut take: impl FnMut(&Item<'_>) -> ControlFlow<()>) -> Result<bool, S::Error> {
        let announcer = &mut *self.announcer;
        self.source.each(|item| {
            if let Item::Event(event) = item
                && let Some(document) = announcer.look(event)
            {
                let told = container::event(&document, event.ts_ns, |told| take(&Item::Event(*told)));
                if told.is_break() {
                    return told;
                }
            }
            take(item)
        })
    }

    fn account(&self) -> Account {
        self.source.account()
    }
}

#[cfg(test)]
mod tests {
    use super::container::own_name;

    #[test]
    fn cgroups_name_own_containers() {
        assert_eq!(own_name(b"cpu=/\0pids=/nabe/web-1\0"), Some(&b"web-1"[..]));
        assert_eq!(own_name(b"pids=/nabe/web-1/inner\0"), Some(&b"web-1"[..]));
        for other in [&b""[..], b"cpu=/x/nabe/web\0", b"cpu=/nabe\0", b"cpu=/nabe/\0", b"cpu=/nabe/../x\0"] {
            assert_eq!(own_name(other), None);
        }
    }
}
