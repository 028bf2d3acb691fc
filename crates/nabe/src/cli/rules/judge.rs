//! Rules on a capture, for `test` and `why`.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use nabe_event::alert::Alert;
use nabe_filter::Program;
use nabe_rules::Loaded;
use nabe_rules::catalogue::SYSCALL;
use nabe_rules::engine::{Engine, Occurrence, Options};
use nabe_state::stream::{Seen, Stream, Style};

use crate::cli::replay::Capture;
use crate::error::Result;
use crate::stream::stop::Stop;
use crate::stream::{Pipeline, Road as _, Sink, Wants};

/// All alerts of a capture.
pub(super) fn alerts(loaded: &Loaded, options: Options, capture: &Path, stop: &Stop) -> Result<Vec<Alert>> {
    let found = Rc::new(RefCell::new(Vec::new()));
    let alerts = Rc::clone(&found);
    let mut engine = Engine::new(loaded, options);
    each(
        capture,
        stop,
        Box::new(move |seen| {
            let event = seen.event();
            let at = Occurrence { source: SYSCALL, id: event.id, ts_ns: event.ts_ns, image: seen.image() };
            engine.judge(seen, &at, &mut |hit| alerts.borrow_mut().push(hit.alert));
            true
        }),
    )?;
    Ok(found.take())
}

/// Calls `see` with each event of a capture until it gives false.
pub(super) fn each(capture: &Path, stop: &Stop, see: Box<dyn FnMut(&Seen<'_>) -> bool + '_>) -> Result<()> {
    let mut pipeline = Pipeline::new(Program::all(), Style::default());
    pipeline.add(Watcher { see, done: false });
    let read = Capture::open(capture, false, true).and_then(|mut file| file.read(&mut pipeline, stop));
    let finished = pipeline.finish();
    read.and(finished)
}

/// Shows every event to a function, those that people do not see, too.
struct Watcher<'w> {
    see: Box<dyn FnMut(&Seen<'_>) -> bool + 'w>,
    done: bool,
}

impl Sink for Watcher<'_> {
    fn wants(&self) -> Wants {
        Wants::All
    }

    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        if !self.done {
            self.done = !(self.see)(seen);
        }
        Ok(())
    }

    fn other(&mut self, seen: &Seen<'_>, _: bool) -> Result<()> {
        if seen.is_prologue() { Ok(()) } else { self.seen(seen) }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self, _: &Stream) -> Result<()> {
        Ok(())
    }
}
