//! Colours, or none.

use nabe_event::field::{container, file, process};

use crate::view::column::{Column, Source};
use crate::view::diff::Change;

/// What is drawn in a colour of its own: the sequence that starts each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Titles.
    pub header: &'static str,
    /// Process ids.
    pub pid: &'static str,
    /// Names of processes.
    pub name: &'static str,
    /// Containers and pods.
    pub container: &'static str,
    /// Units.
    pub unit: &'static str,
    /// Socket states, and process states that deserve a look.
    pub state: &'static str,
    /// What should alarm.
    pub alarm: &'static str,
    /// Tree lines, ancestors, what is only there for context.
    pub dim: &'static str,
    /// New rows.
    pub new: &'static str,
    /// Changed cells.
    pub changed: &'static str,
    /// Gone rows.
    pub gone: &'static str,
    /// Back to normal.
    pub reset: &'static str,
}

impl Palette {
    /// No colours: not a terminal, `NO_COLOR`, `--no-color`.
    pub const NONE: Self = Self {
        header: "",
        pid: "",
        name: "",
        container: "",
        unit: "",
        state: "",
        alarm: "",
        dim: "",
        new: "",
        changed: "",
        gone: "",
        reset: "",
    };

    /// The sixteen colours that every terminal lets its user choose.
    pub const ANSI: Self = Self {
        header: "\x1b[1m",
        pid: "\x1b[33m",
        name: "\x1b[32m",
        container: "\x1b[36m",
        unit: "\x1b[35m",
        state: "\x1b[34m",
        alarm: "\x1b[31m",
        dim: "\x1b[2m",
        new: "\x1b[32m",
        changed: "\x1b[1;33m",
        gone: "\x1b[31m",
        reset: "\x1b[0m",
    };

    /// The colour of a column's cells; empty for the terminal's own.
    #[must_use]
    pub fn column(&self, column: &Column) -> &'static str {
        let Source::Field(id) = column.source else {
            return if column.source == Source::Container { self.container } else { "" };
        };
        match id {
            process::PID | process::TID => self.pid,
            process::NAME => self.name,
            container::ID | container::NAME | container::POD => self.container,
            process::UNIT => self.unit,
            file::STATE | process::STATE => self.state,
            process::SUSPICIOUS | process::IMPOSTOR => self.alarm,
            _ => "",
        }
    }

    /// The colour of a row's mark.
    #[must_use]
    pub const fn change(&self, change: Change) -> &'static str {
        match change {
            Change::Same => "",
            Change::New => self.new,
            Change::Changed(_) => self.changed,
            Change::Gone => self.gone,
        }
    }

    /// Appends the sequence that starts `colour`, if there is any.
    pub(crate) fn start(out: &mut Vec<u8>, colour: &'static str) {
        out.extend_from_slice(colour.as_bytes());
    }

    /// Appends the sequence that ends `colour`, if there is any.
    pub(crate) fn end(&self, out: &mut Vec<u8>, colour: &'static str) {
        if !colour.is_empty() {
            out.extend_from_slice(self.reset.as_bytes());
        }
    }
}
