//! What views that print event by event share: colours, and the container that an event happened in.

use super::{colorless, fixed, reader, text};
use crate::field::Reader;
use crate::view::{Event, Output, Setup};

pub(super) const RED: &str = "31";
pub(super) const GREEN: &str = "32";
pub(super) const YELLOW: &str = "33";
pub(super) const BLUE: &str = "34";
pub(super) const CYAN: &str = "36";

/// Colours, where they are wanted.
pub(super) struct Paint(bool);

impl Paint {
    pub(super) fn of(setup: &Setup) -> Self {
        Self(!colorless(setup))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0
    }

    /// What follows has this colour.
    pub(super) fn begin(&self, out: &mut Output, code: &str) {
        if self.0 {
            out.color(code);
        }
    }

    /// What follows has the terminal's own.
    pub(super) fn end(&self, out: &mut Output) {
        self.begin(out, "0");
    }
}

/// The container that an event happened in.
pub(super) struct Home {
    name: Reader,
    id: Reader,
}

impl Home {
    pub(super) fn new() -> Self {
        Self { name: reader("container.name"), id: reader("container.id") }
    }

    /// Its name; `host` outside containers.
    pub(super) fn name(&mut self, event: &Event<'_>) -> Vec<u8> {
        text(&mut self.name, event)
    }

    /// Its id; `host` outside containers.
    pub(super) fn id(&mut self, event: &Event<'_>) -> Vec<u8> {
        text(&mut self.id, event)
    }

    /// Id and name in columns of sysdig's width, each with a space behind it.
    pub(super) fn columns(&mut self, event: &Event<'_>) -> Vec<u8> {
        let mut columns = Vec::with_capacity(42);
        for part in [self.id(event), self.name(event)] {
            columns.extend(fixed(&part, 20));
            columns.push(b' ');
        }
        columns
    }
}

/// Whether a name of a container says that there is none.
pub(super) fn is_host(name: &[u8]) -> bool {
    name == b"host"
}
