//! Views of a stream of events: what sysdig calls chisels, and csysdig views. Some are declared in
//! files of one small format, some are built in, some are scripts in Lua that users wrote for sysdig.
//!
//! In: events, read through [`nabe_event::Fields`] once each, and what is true of the machine
//! ([`Machine`]). Out: tables of typed cells, lines, and wishes that the caller may grant ([`Piece`]).
//!
//! **Invariants.** A view reads no file, no clock and no socket: what it wants done outside is a piece.
//! Memory is bounded: what does not fit is dropped and counted ([`Dropped`]), sums are never too large.
//! Everything that can be wrong with a view file is found before the first event. Text from outside
//! reaches a terminal without control characters. A script has bounded memory and can be interrupted.
//!
//! **Not here.** Where events come from, what is kept between them (`state`), which of them a user
//! wants to see (`filter`), and printing (`ui`, the binary).

#![forbid(unsafe_code)]

mod aggregate;
mod builtin;
mod cell;
mod declared;
mod field;
#[cfg(feature = "lua")]
pub mod lua;
mod spec;
mod table;
mod template;
mod unit;
mod view;

pub use aggregate::{Dropped, Groups, MAX_GROUPS, Operation};
pub use builtin::{BuiltIn, all, find, make};
pub use cell::Cell;
pub use declared::Declared;
pub use field::{FieldError, Reader};
pub use spec::{Argument, ColumnSpec, Kind, Spec, SpecError};
pub use table::{Column, Table, plain};
pub use template::{Template, TemplateError};
pub use unit::Unit;
pub use view::{
    Container, Event, Flow, Machine, Moment, Nothing, Output, Piece, Runner, Setup, View, ViewError,
};

/// The work of a fuzz target: reads the bytes as a view file, runs the view on a fixed event.
#[doc(hidden)]
pub fn exercise(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let spec = match Spec::parse(&text, "fuzz.toml") {
        Ok(spec) => spec,
        Err(error) => {
            assert!(error.line > 0 && !error.problem.is_empty());
            return;
        }
    };
    let args = vec!["proc.name".to_owned(); spec.arguments.len()];
    let setup = Setup { args, safe: true, ..Setup::default() };
    let Ok(view) = Declared::new(spec, &setup) else { return };
    let mut out = Output::new(&setup);
    let Ok(mut runner) = Runner::new(Box::new(view), &mut out) else { return };
    let subject = nabe_filter::sample::fixed();
    for nth in 0..4 {
        let event = Event { fields: &subject, ts_ns: nth * 700_000_000, machine: &Nothing };
        let _ = runner.event(&event, &mut out);
    }
    let _ = runner.end(&Nothing, &mut out);
    for piece in out.take() {
        if let Piece::Table(table) = piece {
            let mut text = Vec::new();
            table.text(true, &mut text);
            table.json(&mut text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILES: [&str; 3] = [
        include_str!("../views/topprocs_net.toml"),
        include_str!("../views/spy_syslog.toml"),
        include_str!("../views/fdcount_by.toml"),
    ];

    #[test]
    fn a_cut_file_is_an_error_or_a_view() {
        for file in FILES {
            (0..=file.len()).for_each(|end| exercise(&file.as_bytes()[..end]));
        }
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_an_error_or_a_view(which in 0..FILES.len(), changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..6)) {
            let mut bytes = FILES[which].as_bytes().to_vec();
            for (at, byte) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            exercise(&bytes);
        }
    }
}
