//! Counts of events: how many match, and how many there are of each name.

use std::collections::HashMap;
use std::fmt::Write as _;

use nabe_event::FieldId;
use nabe_event::raw::Event;
use nabe_event::source::EventSet;
use nabe_state::stream::{Seen, Stream};

use super::{Sink, Wants};
use crate::error::Result;
use crate::output;

/// Prints how many events there were.
#[derive(Default)]
pub struct Count(u64);

impl Sink for Count {
    fn reads(&self) -> Option<Vec<FieldId>> {
        Some(Vec::new())
    }

    fn looks_at(&self) -> EventSet {
        EventSet::none()
    }

    fn passed(&mut self, _: &Event<'_>, shown: bool) -> Result<()> {
        self.0 += u64::from(shown);
        Ok(())
    }

    fn seen(&mut self, _: &Seen<'_>) -> Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn finish(&mut self, _: &Stream) -> Result<()> {
        output::write(format!("{}\n", self.0).as_bytes())
    }
}

/// Prints, at the end, sysdig's table of events and their numbers (`-S`); internal events count, too.
#[derive(Default)]
pub struct Summary(HashMap<(&'static str, bool), u64>);

impl Summary {
    fn count(&mut self, seen: &Seen<'_>) {
        *self.0.entry((seen.name(), seen.event().id.is_enter())).or_default() += 1;
    }

    fn table(&self) -> String {
        let rule = "----------------------\n";
        let mut text = format!("{rule}{:<16}#Calls\n{rule}", "Event");
        let mut counts: Vec<_> = self.0.iter().collect();
        counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for ((name, enter), count) in counts {
            let direction = if *enter { '>' } else { '<' };
            let _ = writeln!(text, "{direction} {name:<16}{count}");
        }
        text
    }
}

impl Sink for Summary {
    fn wants(&self) -> Wants {
        Wants::All
    }

    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        self.count(seen);
        Ok(())
    }

    fn other(&mut self, seen: &Seen<'_>, selected: bool) -> Result<()> {
        if selected && !seen.is_prologue() {
            self.count(seen);
        }
        Ok(())
    }

    fn finish(&mut self, _: &Stream) -> Result<()> {
        output::write(self.table().as_bytes())
    }
}
