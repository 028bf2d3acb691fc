//! Captures that alerts ask for: files of what happened from the event on (Falco's `capture`), and
//! before it (`nabe.capture_before`, the action `capture`).
//!
//! A rule that matches while a file is written keeps it open for longer. What cannot be written is told
//! and counted; judging goes on.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use nabe_event::source::EventInterest;
use nabe_event::{Item, Source};
use nabe_filter::Program;
use nabe_rules::CompiledRule;
use nabe_rules::extension::Action;
use nabe_scap::Compression;
use nabe_state::stream::{Seen, Stream, Style};

use super::config::Reader;
use crate::error::{CliError, Result};
use crate::output;
use crate::stream::lookback::{Lookback, Window};
use crate::stream::record::name::Names;
use crate::stream::record::redact::Redactor;
use crate::stream::record::{Limits, Options, Recorder, Scope};
use crate::stream::{Pipeline, Road, Sink, Step, Wants};

/// Memory for what comes before an alert, when the configuration does not say.
const RING_BYTES: u64 = 64 << 20;

/// How long behind its end a live file is closed although nothing happens.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Failures that are told; the rest is counted.
const TOLD: u64 = 3;

/// `capture`, and `nabe.look_back`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    enabled: bool,
    /// Of every rule, not only of those that ask for it.
    of_all: bool,
    prefix: PathBuf,
    default_ns: u64,
    /// Bytes at which a file is ended; 0 for no limit.
    most_bytes: u64,
    ring_bytes: usize,
}

impl Settings {
    /// Reads them.
    pub fn read(reader: &Reader<'_>) -> Result<Self> {
        let ms = reader.number("capture.default_duration", 5000)?;
        let ring = reader.number("nabe.look_back.bytes", RING_BYTES)?;
        Ok(Self {
            enabled: reader.flag("capture.enabled", false)?,
            of_all: match reader.text("capture.mode")?.as_deref() {
                None | Some("rules") => false,
                Some("all_rules") => true,
                Some(_) => return Err(reader.wrong("capture.mode", "expected rules or all_rules")),
            },
            prefix: reader.filled("capture.path_prefix")?.unwrap_or_else(|| "/tmp/falco".into()).into(),
            default_ns: ms.saturating_mul(1_000_000),
            most_bytes: reader.number("capture.max_file_size_mb", 0)?.saturating_mul(1 << 20),
            ring_bytes: usize::try_from(ring).unwrap_or(usize::MAX),
        })
    }

    /// What a rule asks for: nanoseconds before and behind its event; `None` for no capture.
    fn span(&self, rule: &CompiledRule, may_act: bool) -> Option<(u64, u64)> {
        let own = rule.extension.capture_before_ns;
        let by_rule = self.enabled && (self.of_all || rule.capture || own.is_some());
        let by_action = rule.extension.actions.iter().find_map(|action| match action {
            Action::Capture(before_ns) => Some(*before_ns),
            _ => None,
        });
        let by_action = by_action.filter(|_| may_act);
        if !by_rule && by_action.is_none() {
            return None;
        }
        let before = own.filter(|_| by_rule).max(by_action).unwrap_or(0);
        let after = match rule.capture_duration {
            0 => self.default_ns,
            ms => u64::from(ms).saturating_mul(1_000_000),
        };
        Some((before, after))
    }

    /// Whether a rule asks in vain.
    pub fn is_idle_for(&self, rule: &CompiledRule) -> bool {
        !self.enabled && (rule.capture || rule.extension.capture_before_ns.is_some())
    }

    /// The name of the capture of an event, as Falco makes it.
    fn path(&self, ts_ns: u64, number: u64) -> PathBuf {
        let mut name = self.prefix.clone().into_os_string();
        name.push(format!("_{ts_ns:020}_{number:020}.scap"));
        name.into()
    }
}

/// What an alert has asked for.
struct Asked {
    path: PathBuf,
    window: Window,
    rule: Box<str>,
}

struct State {
    settings: Settings,
    may_act: bool,
    recorder: Recorder,
    /// Since the last event.
    asked: Option<Asked>,
    /// What is being written.
    open: Option<Asked>,
    failed: u64,
}

/// The captures of a run.
#[derive(Clone)]
pub struct Captures(Rc<RefCell<State>>);

impl Captures {
    /// Those that rules may ask for; `None` when none ever can. `only` is what is judged at all.
    pub fn new(settings: &Settings, may_act: bool, only: &Program) -> Option<Self> {
        if !settings.enabled && !may_act {
            return None;
        }
        let options = Options {
            names: Names::one(&settings.prefix),
            // Falco's, and every reader opens it.
            compression: Compression::Gzip,
            scope: Scope::All,
            fat: !only.selects_all(),
            compatible: true,
            redactor: Redactor::default(),
            limits: Limits::default(),
        };
        let state = State {
            settings: settings.clone(),
            may_act,
            recorder: Recorder::asleep(options, None),
            asked: None,
            open: None,
            failed: 0,
        };
        Some(Self(Rc::new(RefCell::new(state))))
    }

    /// Whether any of these rules asks for a capture, and the longest time before an event that one
    /// does, in nanoseconds.
    pub fn wanted<'r>(&self, rules: impl Iterator<Item = &'r CompiledRule>) -> Option<u64> {
        let state = self.0.borrow();
        rules.filter_map(|rule| state.settings.span(rule, state.may_act)).map(|(before, _)| before).max()
    }

    /// Told of a match. The name of the file that it is in, when the rule asks for one.
    pub fn ask(&self, rule: &CompiledRule, ts_ns: u64, number: u64) -> Option<PathBuf> {
        let state = &mut *self.0.borrow_mut();
        let (before, after) = state.settings.span(rule, state.may_act)?;
        let window = Window { from_ns: ts_ns.saturating_sub(before), until_ns: ts_ns.saturating_add(after) };
        let path = match (&state.open, &state.asked) {
            (Some(open), _) => open.path.clone(),
            (None, Some(asked)) => asked.path.clone(),
            (None, None) => state.settings.path(ts_ns, number),
        };
        let known = state.asked.get_or_insert_with(|| Asked {
            path: path.clone(),
            window,
            rule: rule.name.as_str().into(),
        });
        known.window.from_ns = known.window.from_ns.min(window.from_ns);
        known.window.until_ns = known.window.until_ns.max(window.until_ns);
        Some(path)
    }

    /// The window that has been asked for since the last call; a file that is open stays so until its
    /// end.
    fn window(&self) -> Option<Window> {
        let state = &mut *self.0.borrow_mut();
        let asked = state.asked.as_ref()?;
        let window = asked.window;
        if let Some(open) = &mut state.open {
            open.window.until_ns = open.window.until_ns.max(window.until_ns);
            state.asked = None;
        }
        Some(window)
    }

    /// Begins the file that was asked for.
    fn begin(&self) {
        let state = &mut *self.0.borrow_mut();
        let Some(asked) = state.asked.take() else { return };
        // What other people do is nobody else's to read, and no link is followed.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&asked.path);
        if let Err(error) = made {
            return state.fail(&CliError::file("create", &asked.path, &error));
        }
        state.recorder.wake_as(&asked.path);
        state.open = Some(asked);
    }

    /// Ends the file that is open.
    fn end(&self) {
        let state = &mut *self.0.borrow_mut();
        let Some(open) = state.open.take() else { return };
        let (_, events, bytes) = state.recorder.written();
        if let Err(error) = state.recorder.sleep() {
            return state.give_up(&open.path, &error);
        }
        let (_, all, size) = state.recorder.written();
        eprintln!(
            "nabe: capture {}: {} events, {} bytes (rule {})",
            shown(&open.path),
            all - events,
            size - bytes,
            output::plain(open.rule.as_bytes())
        );
    }

    /// A sink that writes; `straight` when no look-back tells it when.
    fn writer(&self, straight: bool) -> Writer {
        Writer { captures: self.clone(), straight }
    }
}

fn shown(path: &Path) -> String {
    output::plain(path.display().to_string().as_bytes())
}

impl State {
    fn fail(&mut self, error: &CliError) {
        self.failed += 1;
        if self.failed <= TOLD {
            eprintln!("nabe: warning: no capture: {}", error.in_a_line());
        }
    }

    /// Does something with the recorder; when it cannot write, the file is given up.
    fn record(&mut self, act: impl FnOnce(&mut Recorder) -> Result<()>) {
        if self.open.is_none() {
            return;
        }
        if let Err(error) = act(&mut self.recorder)
            && let Some(open) = self.open.take()
        {
            self.give_up(&open.path, &error);
        }
    }

    /// Leaves a file as far as it has come, unless nothing of it has.
    fn give_up(&mut self, path: &Path, error: &CliError) {
        self.recorder.abandon();
        if std::fs::metadata(path).is_ok_and(|data| data.len() == 0) {
            // It holds nothing, and may stay where it cannot go.
            let _ = std::fs::remove_file(path);
        }
        self.fail(error);
    }
}

/// Writes the events of windows.
struct Writer {
    captures: Captures,
    straight: bool,
}

impl Writer {
    /// Whether the event is written, and the file begun or ended before it.
    fn is_within(&self, ts_ns: u64) -> bool {
        if self.straight && self.captures.window().is_some() {
            self.captures.begin();
        }
        let state = self.captures.0.borrow();
        let Some(open) = &state.open else { return false };
        let most = state.settings.most_bytes;
        let is_over = ts_ns > open.window.until_ns || most > 0 && state.recorder.open_bytes() >= most;
        drop(state);
        if is_over {
            self.captures.end();
        }
        !is_over
    }
}

impl Sink for Writer {
    fn wants(&self) -> Wants {
        Wants::All
    }

    fn item(&mut self, item: &Item<'_>, _: &Stream) -> Result<()> {
        // Another section: another machine, or another time.
        if matches!(item, Item::Section(_)) {
            self.captures.end();
        }
        Ok(())
    }

    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        if self.is_within(seen.event().ts_ns) {
            self.captures.0.borrow_mut().record(|recorder| recorder.seen(seen));
        }
        Ok(())
    }

    fn other(&mut self, seen: &Seen<'_>, selected: bool) -> Result<()> {
        if self.is_within(seen.event().ts_ns) {
            self.captures.0.borrow_mut().record(|recorder| recorder.other(seen, selected));
        }
        Ok(())
    }

    fn idle(&mut self, live: bool, _: &Stream) -> Result<()> {
        let state = self.captures.0.borrow();
        let Some(until_ns) = state.open.as_ref().map(|open| open.window.until_ns) else { return Ok(()) };
        drop(state);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        if live && now_ns > until_ns.saturating_add(PATIENCE_NS) {
            self.captures.end();
        }
        Ok(())
    }

    fn finish(&mut self, _: &Stream) -> Result<()> {
        self.captures.end();
        let failed = self.captures.0.borrow().failed;
        if failed > TOLD {
            eprintln!("nabe: warning: {failed} captures in all could not be written");
        }
        Ok(())
    }
}

/// The road of a detector, with or without a ring for what came before an alert.
pub enum Way {
    Straight(Box<Pipeline<'static>>),
    LookingBack(Box<Lookback<'static>>),
}

impl Way {
    /// Leads `judged`, the pipeline with the judge in it, to the captures, looking back as far as
    /// `before_ns`.
    pub fn new(
        mut judged: Pipeline<'static>,
        captures: Option<&Captures>,
        before_ns: u64,
        only: &Program,
        live: bool,
    ) -> Self {
        let Some(captures) = captures else { return Self::Straight(Box::new(judged)) };
        if before_ns == 0 {
            judged.add(captures.writer(true));
            return Self::Straight(Box::new(judged));
        }
        let mut back = Pipeline::new(only.clone(), Style::default());
        back.set_live(live);
        back.add(captures.writer(false));
        let (asked, begun) = (captures.clone(), captures.clone());
        let switch = move |on| {
            if on {
                begun.begin()
            } else {
                begun.end()
            }
            Ok(())
        };
        let ring_bytes = captures.0.borrow().settings.ring_bytes;
        let road = Lookback::between(judged, move |_| asked.window(), back, ring_bytes, switch);
        Self::LookingBack(Box::new(road))
    }
}

impl Road for Way {
    fn step<S: Source>(&mut self, source: &mut S, about: impl FnOnce(&S::Error) -> CliError) -> Result<Step> {
        match self {
            Self::Straight(road) => road.step(source, about),
            Self::LookingBack(road) => road.step(source, about),
        }
    }

    fn item(&mut self, item: &Item<'_>) -> Result<bool> {
        match self {
            Self::Straight(road) => road.item(item),
            Self::LookingBack(road) => road.item(item),
        }
    }

    fn wait_for_exec(&mut self, tid: i64) {
        match self {
            Self::Straight(road) => road.wait_for_exec(tid),
            Self::LookingBack(road) => road.wait_for_exec(tid),
        }
    }

    fn finish(&mut self) -> Result<()> {
        match self {
            Self::Straight(road) => road.finish(),
            Self::LookingBack(road) => road.finish(),
        }
    }
}

/// What the probe collects when captures are taken: the same events, of everybody and with some payload.
pub fn widened(interest: EventInterest) -> EventInterest {
    EventInterest {
        events: interest.events,
        snaplen: interest.snaplen.max(EventInterest::default().snaplen),
        ..EventInterest::default()
    }
}
