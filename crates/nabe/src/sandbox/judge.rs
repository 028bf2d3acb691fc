//! A capture against rules: nabe's, kombu's and Falco's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nabe_event::alert::{Alert, Priority};
use nabe_event::table::EventId;
use nabe_filter::Program;
use nabe_rules::catalogue::{Native, SYSCALL};
use nabe_rules::engine::{Engine, Matching, Occurrence, Options};
use nabe_rules::{File, Loaded, RuleSet};
use nabe_sandbox::{Behaviour, Hit, Judge, Report, Rule, Severity};
use nabe_state::stream::{Seen, Stream, Style};

use crate::cli::replay::Capture;
use crate::error::{CliError, Result};
use crate::falco::config::yaml_files;
use crate::stream::stop::Stop;
use crate::stream::{Pipeline, Road as _, Sink, Wants};

/// Events that a hit of a Falco rule names.
const EVIDENCE: usize = 16;

/// What a capture is judged by.
pub struct Rules {
    own: Vec<Rule>,
    falco: Option<Loaded>,
}

impl Rules {
    /// Reads rules: files, or folders with `*.toml`; `falco` are Falco's files or folders.
    pub fn load(named: &[PathBuf], built_in: bool, falco: &[PathBuf]) -> Result<Self> {
        let mut own = if built_in { Rule::built_in() } else { Vec::new() };
        for path in named {
            for file in toml_files(path)? {
                let text =
                    std::fs::read_to_string(&file).map_err(|error| CliError::file("read", &file, &error))?;
                own.push(Rule::parse(&text, &file.to_string_lossy()).map_err(CliError::usage)?);
            }
        }
        Ok(Self { own, falco: load_falco(falco)? })
    }
}

fn toml_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| CliError::file("read", path, &error))?;
    let is_rule = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "toml");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_rule).collect();
    files.sort();
    if files.is_empty() {
        return Err(CliError::failed(format_args!("no rule (*.toml) is in {}", path.display())));
    }
    Ok(files)
}

fn load_falco(named: &[PathBuf]) -> Result<Option<Loaded>> {
    if named.is_empty() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for path in named {
        if path.is_dir() {
            files.extend(yaml_files(path)?);
        } else {
            files.push(path.clone());
        }
    }
    let files: Vec<File> = files.iter().map(|path| File::open(path)).collect();
    let loaded = RuleSet::load_with(&files, &Native, &nabe_rules::Options::default());
    match loaded.reports.iter().find(|report| !report.successful()) {
        Some(report) => {
            eprintln!("{}", report.text(true).trim_end());
            Err(CliError::failed(format_args!("cannot load rules from {}", report.name)))
        }
        None => Ok(Some(loaded)),
    }
}

/// Judges a capture: all that it shows, or only one container.
pub fn judge(rules: &Rules, capture: &Path, container: Option<&str>, stop: &Stop) -> Result<(Report, u64)> {
    let program = match container {
        None => Program::all(),
        Some(name) => {
            let text = crate::stream::container::filter(&[name.to_owned()], &[]);
            Program::compile_of_events(&text, nabe_filter::Lang::Cel)?
        }
    };
    let options = Options { matching: Matching::All, ..Options::default() };
    let bench = Rc::new(RefCell::new(Bench {
        judge: Judge::new(rules.own.clone()),
        behaviour: Behaviour::new(),
        engine: rules.falco.as_ref().map(|loaded| Engine::new(loaded, options)),
        falco: BTreeMap::new(),
        lost: 0,
    }));
    let mut pipeline = Pipeline::new(program, Style::default());
    pipeline.add(Seat(Rc::clone(&bench)));
    let read = Capture::open(capture, false, true).and_then(|mut file| file.read(&mut pipeline, stop));
    let finished = pipeline.finish();
    read.and(finished)?;
    drop(pipeline);
    let bench = Rc::try_unwrap(bench).map_err(|_| CliError::failed("the capture is still being read"))?;
    let (report, lost) = bench.into_inner().report();
    match container {
        Some(name) if report.behaviour.events == 0 => {
            let (name, file) = (crate::output::plain(name.as_bytes()), capture.display());
            Err(CliError::failed(format_args!("no event of a container {name} is in {file}")))
        }
        _ => Ok((report, lost)),
    }
}

/// Who looks at events.
struct Bench {
    judge: Judge,
    behaviour: Behaviour,
    engine: Option<Engine>,
    falco: BTreeMap<String, Hit>,
    lost: u64,
}

impl Bench {
    fn event(&mut self, seen: &Seen<'_>) {
        let event = seen.event();
        let shown = nabe_sandbox::Seen { event, fields: seen, number: seen.number() };
        self.judge.event(&shown);
        self.behaviour.event(&shown);
        let falco = &mut self.falco;
        if let Some(engine) = &mut self.engine {
            let at = Occurrence { source: SYSCALL, id: event.id, ts_ns: event.ts_ns, image: seen.image() };
            engine.judge(seen, &at, &mut |hit| {
                let known = falco
                    .entry(hit.alert.rule.to_string())
                    .or_insert_with(|| hit_of(&hit.alert, event.ts_ns));
                if known.events.len() < EVIDENCE {
                    known.events.push(seen.number());
                }
            });
        }
    }

    fn loss(&mut self, seen: &Seen<'_>) {
        let event = seen.event();
        if event.id == EventId::ASYNCEVENT_E && event.text(1) == Some(b"loss") {
            let data = event.text(2).unwrap_or_default();
            let document: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
            let events = document.get("events").and_then(serde_json::Value::as_u64);
            self.lost = self.lost.saturating_add(events.unwrap_or(0));
        }
    }

    fn report(mut self) -> (Report, u64) {
        self.behaviour.finish();
        let forgotten = self.judge.forgotten();
        let mut hits = self.judge.finish();
        hits.extend(self.falco.into_values());
        let left_out = self.behaviour.left_out;
        let mut report = Report::new(hits, self.behaviour);
        let mut note = |number: u64, words: &str| {
            if number > 0 {
                report.notes.push(format!("{number} {words}"));
            }
        };
        note(self.lost, "events were lost: rules may have missed what they are about");
        note(forgotten, "times a process was forgotten, there being too many at once");
        note(left_out, "entries had no room in the lists of this report");
        (report, self.lost)
    }
}

/// A hit of one of Falco's rules.
fn hit_of(alert: &Alert, ts_ns: u64) -> Hit {
    let severity = match alert.priority {
        Priority::Emergency | Priority::Alert | Priority::Critical => Severity::Critical,
        Priority::Error => Severity::High,
        Priority::Warning => Severity::Medium,
        Priority::Notice => Severity::Low,
        _ => Severity::Info,
    };
    let is_technique =
        |tag: &str| tag.strip_prefix('T').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let attack = alert.tags.iter().filter(|tag| is_technique(tag)).map(ToString::to_string).collect();
    Hit {
        rule: alert.rule.to_string(),
        desc: format!("a rule of Falco's, priority {}", alert.priority),
        severity,
        attack,
        message: alert.message.to_string(),
        events: Vec::new(),
        ts_ns,
    }
}

/// The bench as a sink.
struct Seat(Rc<RefCell<Bench>>);

impl Sink for Seat {
    fn wants(&self) -> Wants {
        // Losses are told by events that people do not see.
        Wants::All
    }

    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        let mut bench = self.0.borrow_mut();
        bench.loss(seen);
        if seen.event().id != EventId::ASYNCEVENT_E {
            bench.event(seen);
        }
        Ok(())
    }

    fn other(&mut self, seen: &Seen<'_>, _: bool) -> Result<()> {
        self.0.borrow_mut().loss(seen);
        Ok(())
    }

    fn finish(&mut self, _: &Stream) -> Result<()> {
        Ok(())
    }
}
