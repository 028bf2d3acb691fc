//! Rules as a sink of the pipeline: events in, alerts out to the channels.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nabe_event::alert::{Alert, Datum};
use nabe_event::raw::Event;
use nabe_event::source::{Account, Cause, EventInterest, EventSet, Lost};
use nabe_event::table::EventId;
use nabe_output::Outputs;
use nabe_rules::catalogue::SYSCALL;
use nabe_rules::engine::{Engine, Occurrence};
use nabe_state::stream::{Seen, Stream};

use super::action::Actions;
use super::capture::Captures;
use super::config::Drops;
use super::drops::Watch;
use super::ledger::Ledger;
use crate::error::Result;
use crate::stream::{Sink, Wants};

/// What an alert calls the file of its look-back capture.
const CAPTURE: &str = "nabe.capture";

/// Events between two entries in the ledger.
const ENTRY: u64 = 4096;

/// What all sources of a run share.
pub struct Shared {
    /// Where alerts go.
    pub outputs: Outputs,
    /// What is counted.
    pub ledger: Ledger,
    /// What alerts may do.
    pub actions: Option<Actions>,
    /// Fields that every alert has: `static_fields`.
    pub fields: Vec<(String, String)>,
    /// The run is to end in failure.
    pub failed: AtomicBool,
    /// What Falco says at the end is said whether or not there is anything to say.
    pub falco: bool,
}

impl Shared {
    /// Sends an alert everywhere.
    pub fn send(&self, mut alert: Alert) {
        if !self.fields.is_empty() {
            let mut fields = alert.fields.into_vec();
            fields.extend(
                self.fields
                    .iter()
                    .map(|(name, text)| (name.as_str().into(), Datum::Text(text.as_bytes().into()))),
            );
            alert.fields = fields.into();
        }
        self.ledger.alert(&alert);
        self.outputs.send(alert);
    }
}

/// Where a new engine waits for its thread.
#[derive(Clone, Default)]
pub struct Inbox(Arc<Mutex<Option<Engine>>>);

impl Inbox {
    /// Leaves an engine; one that still waits is replaced.
    pub fn put(&self, engine: Engine) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine);
    }

    /// Takes it.
    pub fn take(&self) -> Option<Engine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Judges system calls.
pub struct Judge {
    engine: Engine,
    events: EventSet,
    shared: Arc<Shared>,
    captures: Option<Captures>,
    inbox: Inbox,
    /// What a new engine wants of the probe; whoever drives the probe takes it.
    interest: Arc<Mutex<Option<EventInterest>>>,
    watch: Watch,
    hostname: Box<str>,
    /// Since the last entry in the ledger.
    seen: u64,
    lost: u64,
    account: Account,
    looked: Instant,
    /// Losses ended the run: what is left of the batch is not judged.
    ended: bool,
}

impl Judge {
    /// Judges with `engine`.
    pub fn new(
        engine: Engine,
        shared: Arc<Shared>,
        captures: Option<Captures>,
        drops: Drops,
        hostname: &str,
    ) -> Self {
        Self {
            events: engine.events(),
            engine,
            shared,
            captures,
            inbox: Inbox::default(),
            interest: Arc::default(),
            watch: Watch::new(drops),
            hostname: hostname.into(),
            seen: 0,
            lost: 0,
            account: Account::default(),
            looked: Instant::now(),
            ended: false,
        }
    }

    /// Where new engines are left.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Where what new engines want of the probe is left.
    pub fn interest(&self) -> Arc<Mutex<Option<EventInterest>>> {
        Arc::clone(&self.interest)
    }

    fn loss(&mut self, seen: &Seen<'_>) {
        let event = seen.event();
        if event.id != EventId::ASYNCEVENT_E || event.text(1) != Some(b"loss") {
            return;
        }
        let data = event.text(2).unwrap_or_default();
        let document: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
        let events = document.get("events").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let cause = match document.get("cause").and_then(serde_json::Value::as_str) {
            Some("too_large") => Cause::TooLarge,
            Some("busy") => Cause::Busy,
            Some("broken") => Cause::Broken,
            _ => Cause::RingFull,
        };
        self.lost += events;
        self.account.seen += events;
        match self.account.lost.iter_mut().find(|lost| lost.cause == cause) {
            Some(lost) => lost.events += events,
            None => self.account.lost.push(Lost { cause, cpu: None, events }),
        }
    }

    fn look_at_losses(&mut self, ts_ns: u64) {
        let verdict = self.watch.look(ts_ns, &self.account, &self.hostname);
        if let Some(text) = verdict.log {
            eprintln!("nabe: warning: {text}");
        }
        if let Some(alert) = verdict.alert {
            self.shared.outputs.send(alert);
        }
        if verdict.exit {
            eprintln!("Exiting.");
            self.ended = true;
            self.shared.failed.store(true, Ordering::Relaxed);
        }
    }

    fn enter(&mut self, stream: &Stream) {
        let threads = stream.thread_count() as u64;
        self.shared.ledger.events(core::mem::take(&mut self.seen), core::mem::take(&mut self.lost), threads);
    }

    /// How often losses were beyond the threshold, and how often something was done about it.
    fn tell_losses(&self) {
        if !self.shared.falco && self.watch.occurrences == 0 {
            return;
        }
        eprintln!(
            "Syscall event drop monitoring:\n   - event drop detected: {} occurrences\n   - num times actions \
             taken: {}",
            self.watch.occurrences, self.watch.actions
        );
    }
}

impl Sink for Judge {
    fn wants(&self) -> Wants {
        // Losses are told by events that people do not see.
        Wants::All
    }

    fn looks_at(&self) -> EventSet {
        let mut events = self.events.clone();
        events.insert(EventId::ASYNCEVENT_E);
        events
    }

    fn passed(&mut self, event: &Event<'_>, shown: bool) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.seen += u64::from(shown);
        self.account.seen += u64::from(shown);
        if self.watch.is_due(event.ts_ns) {
            self.look_at_losses(event.ts_ns);
        }
        Ok(())
    }

    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let event = seen.event();
        self.seen += 1;
        self.account.seen += 1;
        if self.watch.is_due(event.ts_ns) {
            self.look_at_losses(event.ts_ns);
            if self.ended {
                return Ok(());
            }
        }
        if !self.events.contains(event.id) {
            self.loss(seen);
            return Ok(());
        }
        let at = Occurrence { source: SYSCALL, id: event.id, ts_ns: event.ts_ns, image: seen.image() };
        let (shared, captures) = (&self.shared, &self.captures);
        self.engine.judge(seen, &at, &mut |mut hit| {
            let file = captures.as_ref().and_then(|all| all.ask(hit.rule, event.ts_ns, seen.number()));
            // Falco's alerts do not tell of theirs.
            if let Some(file) = file.filter(|_| hit.rule.extension.looks_back()) {
                hit.alert.add(CAPTURE, Datum::Text(file.into_os_string().into_encoded_bytes().into()));
            }
            if let Some(actions) = shared.actions.as_ref().filter(|_| !hit.actions().is_empty()) {
                actions.take(hit.actions(), seen, &hit.alert);
            }
            shared.send(hit.alert);
        });
        Ok(())
    }

    fn other(&mut self, seen: &Seen<'_>, _: bool) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        if self.watch.is_due(seen.event().ts_ns) {
            self.look_at_losses(seen.event().ts_ns);
        }
        self.loss(seen);
        Ok(())
    }

    fn idle(&mut self, live: bool, stream: &Stream) -> Result<()> {
        if self.seen >= ENTRY || live && self.looked.elapsed() >= Duration::from_secs(1) {
            self.looked = Instant::now();
            self.enter(stream);
            self.shared.ledger.costs(costs(&self.engine));
        }
        if let Some(mut engine) = self.inbox.take() {
            // What rules that stay have counted and remembered stays, too.
            engine.succeed(&mut self.engine);
            self.events = engine.events();
            *self.interest.lock().unwrap_or_else(PoisonError::into_inner) = engine.event_interest();
            self.engine = engine;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    fn finish(&mut self, stream: &Stream) -> Result<()> {
        self.enter(stream);
        self.shared.ledger.costs(costs(&self.engine));
        self.tell_losses();
        for shadow in self.engine.shadows() {
            eprintln!("nabe: note: rule {} hid {} {} times", shadow.winner, shadow.hidden, shadow.events);
        }
        Ok(())
    }
}

/// The time that each rule took, where it is measured.
fn costs(engine: &Engine) -> Vec<(Box<str>, u64, u64)> {
    let pairs = engine.rules().iter().zip(engine.counts());
    pairs
        .filter(|(_, count)| count.judged > 0)
        .map(|(rule, count)| (rule.name.as_str().into(), count.cost_ns, count.judged))
        .collect()
}
