//! A detector at work: rules loaded, channels and sources started, events judged until the end.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nabe_event::Source as _;
use nabe_event::source::{Account, EventInterest};
use nabe_filter::Program;
use nabe_output::Outputs;
use nabe_probe::live::{Live, Options};
use nabe_rules::Loaded;
use nabe_rules::engine::Engine;
use nabe_state::stream::Style;

use super::audit::{self, Running, Source};
use super::capture::{self, Captures, Way};
use super::config::{Config, Engine as Kernel};
use super::judge::{Inbox, Judge, Shared};
use super::ledger::Ledger;
use super::rules::{self, Watched};
use super::signals::Signals;
use super::{action, outputs};
use crate::config;
use crate::error::{CliError, Result};
use crate::stream::container::Containers;
use crate::stream::{Pipeline, Road, Step};
use crate::web::{Page, Server};

/// How often files, the clock and the web are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What is to be done.
pub struct Plan {
    pub config: Config,
    /// How the configuration is read again.
    pub reread: Reread,
    /// Files of rules.
    pub rules: Vec<PathBuf>,
    /// Sources besides system calls.
    pub sources: Vec<Source>,
    /// Where system calls come from.
    pub kernel: Kernel,
    /// Captures instead of the one that the configuration names.
    pub captures: Vec<PathBuf>,
    /// Narrows what is judged, as a filter.
    pub only: Program,
    pub seconds: Option<f64>,
    /// The statistics go to stdout, as Falco's do; otherwise to stderr.
    pub falco: bool,
    /// Rules may act.
    pub actions: bool,
    /// The time of each rule is measured.
    pub cost: bool,
    pub hostname: String,
    pub ring_bytes: Option<usize>,
    /// Load everything, then end.
    pub dry_run: bool,
}

/// A configuration file and what the command line sets.
#[derive(Clone, Debug, Default)]
pub struct Reread {
    pub path: Option<PathBuf>,
    pub assignments: Vec<String>,
    /// Rules that the command line names.
    pub rules: Vec<PathBuf>,
}

/// The host's name, as Falco has it: `FALCO_HOSTNAME`, or the machine's.
pub fn hostname() -> String {
    std::env::var("FALCO_HOSTNAME").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let name = rustix::system::uname();
        name.nodename().to_string_lossy().into_owned()
    })
}

/// Runs a detector to its end.
pub fn run(plan: Plan) -> Result<ExitCode> {
    let loaded = rules::load(&plan.rules, &plan.config)?;
    let unmet = loaded.unmet_plugins();
    if !unmet.is_empty() {
        return Err(CliError::failed(format_args!(
            "rules need plugins that nabe does not have: {}",
            unmet.join(", ")
        )));
    }
    let engine = rules::engine(&loaded, &plan.config, &plan.hostname, plan.cost);
    if plan.dry_run {
        eprintln!("nabe: {} rules are loaded and switched on; a dry run ends here", engine.rules().len());
        return Ok(ExitCode::SUCCESS);
    }
    let signals = Signals::listen()?;
    let live = plan.captures.is_empty() && !matches!(plan.kernel, Kernel::Replay(_));
    let shared = Arc::new(Shared {
        outputs: outputs::start(&plan.config, live, &signals)?,
        ledger: Ledger::new(&plan.hostname, plan.config.metrics.sections),
        actions: plan.actions.then(|| action::Actions::new(outputs::render(&plan.config))),
        fields: plan.config.static_fields.clone(),
        failed: AtomicBool::new(false),
        falco: plan.falco,
    });
    shared.ledger.loaded(hashes(&plan.rules, &plan.config.files));
    let web = web(&plan, &shared)?;
    let mut detector = Detector {
        watched: Watched::new(plan.rules.iter().chain(&plan.config.files).filter(|_| plan.config.watch)),
        plan,
        shared: Arc::clone(&shared),
        signals,
        inboxes: Vec::new(),
        running: Vec::new(),
        captures: None,
        before_ns: 0,
        news: Arc::default(),
        looked: Instant::now(),
        metrics: Instant::now(),
    };
    let result = detector.sources(&loaded).and_then(|()| detector.kernel(engine));
    detector.signals.stop();
    for running in core::mem::take(&mut detector.running) {
        running.join();
    }
    drop(web);
    let is_written = finish(&shared, detector.plan.falco);
    result?;
    let is_well = is_written && !shared.failed.load(Ordering::Relaxed);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Delivers what is left and tells the numbers. Returns whether this machine took all alerts that were
/// to be written here: to standard output or a file. What a receiver elsewhere did not take is told, and
/// no failure of ours.
fn finish(shared: &Arc<Shared>, falco: bool) -> bool {
    let mut is_written = true;
    let summary = shared.ledger.summary();
    let mut undelivered = Vec::new();
    shared.outputs.finish();
    for (name, stats) in shared.outputs.stats() {
        let left = stats.dropped + stats.refused;
        // A reader who has seen enough, such as head, needs no warning.
        let is_closed =
            name == "stdout" && stats.last_error.as_deref().is_some_and(|why| why.contains("Broken pipe"));
        if left > 0 && !is_closed {
            is_written &= !matches!(name, "stdout" | "file");
            let why = stats.last_error.unwrap_or_else(|| "no room".into());
            let alerts = counted(left);
            undelivered.push(format!("nabe: warning: output {name}: {alerts} not delivered: {why}"));
        }
        if stats.spilled > 0 {
            let wait = if stats.spilled == 1 { "waits" } else { "wait" };
            let alerts = counted(stats.spilled);
            undelivered.push(format!("nabe: note: output {name}: {alerts} {wait} in the spill file"));
        }
    }
    if falco {
        // A closed pipe has no use for statistics.
        let _ = crate::output::write(summary.as_bytes());
    } else {
        let (events, lost, _) = shared.ledger.totals();
        eprint!("nabe: {events} events judged, {lost} lost\n{summary}");
    }
    for line in undelivered {
        eprintln!("{line}");
    }
    is_written
}

struct Detector {
    plan: Plan,
    shared: Arc<Shared>,
    signals: Signals,
    watched: Watched,
    inboxes: Vec<Inbox>,
    running: Vec<Running>,
    captures: Option<Captures>,
    /// How far captures look back.
    before_ns: u64,
    /// What reloaded rules want of the probe.
    news: Arc<Mutex<Option<EventInterest>>>,
    looked: Instant,
    metrics: Instant,
}

impl Detector {
    /// Starts the sources besides system calls.
    fn sources(&mut self, loaded: &Loaded) -> Result<()> {
        for source in self.plan.sources.clone() {
            let engine = rules::engine(loaded, &self.plan.config, &self.plan.hostname, false);
            let running = audit::start(
                source,
                engine,
                Arc::clone(&self.shared),
                self.signals.clone(),
                &self.plan.hostname,
            )?;
            self.inboxes.push(running.inbox().clone());
            self.running.push(running);
        }
        Ok(())
    }

    /// Judges system calls, or waits for the other sources.
    fn kernel(&mut self, engine: Engine) -> Result<()> {
        if !self.plan.captures.is_empty() {
            let captures = self.plan.captures.clone();
            return self.captures(engine, &captures);
        }
        match self.plan.kernel.clone() {
            Kernel::Replay(capture) => self.captures(engine, &[capture]),
            Kernel::Live => self.live(engine),
            Kernel::None => self.wait(),
        }
    }

    fn deadline(&self) -> Result<Option<Instant>> {
        let span = self.plan.seconds.map(Duration::try_from_secs_f64).transpose();
        let span = span.map_err(|error| CliError::usage(format_args!("-M: {error}")))?;
        Ok(span.filter(|span| !span.is_zero()).and_then(|span| Instant::now().checked_add(span)))
    }

    /// Whether it is time to end.
    fn is_over(&self, deadline: Option<Instant>) -> bool {
        self.signals.is_stopped()
            || self.shared.failed.load(Ordering::Relaxed)
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Without system calls: until the other sources end, or for ever.
    fn wait(&mut self) -> Result<()> {
        let deadline = self.deadline()?;
        while !self.is_over(deadline) {
            if !self.running.is_empty() && self.running.iter().all(Running::is_finished) {
                return Ok(());
            }
            self.look();
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Settles which captures these rules may ask for.
    fn look_back(&mut self, engine: &Engine) {
        let rules = || engine.rules().iter().map(|rule| &**rule);
        let settings = &self.plan.config.capture;
        let idle = rules().filter(|rule| settings.is_idle_for(rule)).count();
        if idle > 0 {
            let rules = if idle == 1 { "rule asks" } else { "rules ask" };
            eprintln!(
                "nabe: note: {idle} {rules} for a capture, and none is taken: capture.enabled is not set"
            );
        }
        self.captures = Captures::new(settings, self.plan.actions, &self.plan.only);
        self.before_ns = self.captures.as_ref().and_then(|all| all.wanted(rules())).unwrap_or(0);
    }

    /// The road to a judge and, behind it, to captures.
    fn way(&mut self, engine: Engine, containers: Option<&Containers>) -> Way {
        let live = containers.is_some();
        let style = Style { payload: self.plan.config.payload, ..Style::default() };
        let mut pipeline = Pipeline::new(self.plan.only.clone(), style);
        pipeline.set_live(live);
        if let Some(containers) = containers {
            pipeline.add(containers.watch());
        }
        let (drops, shared) = (self.plan.config.drops.clone(), Arc::clone(&self.shared));
        let judge = Judge::new(engine, shared, self.captures.clone(), drops, &self.plan.hostname);
        self.inboxes.push(judge.inbox());
        self.news = judge.interest();
        pipeline.add(judge);
        Way::new(pipeline, self.captures.as_ref(), self.before_ns, &self.plan.only, live)
    }

    fn captures(&mut self, engine: Engine, files: &[PathBuf]) -> Result<()> {
        self.look_back(&engine);
        let mut pipeline = self.way(engine, None);
        let mut result = Ok(());
        let deadline = self.deadline()?;
        'files: for file in files {
            let about = |error: &nabe_scap::Error| {
                CliError::failed(format_args!("cannot read the capture {}", file.display())).because(error)
            };
            let opened = if file == Path::new("-") {
                nabe_scap::Reader::new(std::io::stdin())
            } else {
                nabe_scap::Reader::open(file)
            };
            let mut reader = opened.map_err(|error| about(&error))?;
            loop {
                match pipeline.step(&mut reader, about) {
                    Ok(Step::More) => {}
                    Ok(Step::Ended) => break,
                    Ok(Step::Enough) => break 'files,
                    Err(error) => {
                        result = Err(error);
                        break 'files;
                    }
                }
                if self.is_over(deadline) {
                    break 'files;
                }
            }
        }
        pipeline.finish()?;
        result
    }

    fn live(&mut self, engine: Engine) -> Result<()> {
        let Some(interest) = engine.event_interest() else {
            eprintln!("nabe: note: no rule is about system calls: none is collected");
            return self.wait();
        };
        self.look_back(&engine);
        let containers = Containers::new(config::engines()?);
        let mut pipeline = self.way(engine, Some(&containers));
        let options = Options {
            cache: config::cache(),
            ring_bytes: self.plan.ring_bytes.unwrap_or(self.plan.config.buffer_bytes.max(8 << 20)),
            ..Options::default()
        };
        let mut live = Live::open(&self.of(interest), &options)?;
        crate::output::notes(live.notes());
        let handle = live.handle();
        let mut announcer = containers.announcer();
        let deadline = self.deadline()?;
        let result = loop {
            containers.tell(&mut pipeline)?;
            let about =
                |error: &nabe_probe::live::Error| CliError::failed("cannot read live events").because(error);
            match pipeline.step(&mut announcer.before(&mut live), about) {
                Ok(Step::More) => {}
                Ok(Step::Ended | Step::Enough) => break Ok(()),
                Err(error) => break Err(error),
            }
            self.look();
            let wanted = self.news.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(interest) = wanted
                && let Err(error) = live.set_interest(&self.of(interest))
            {
                eprintln!("nabe: warning: the probe cannot collect what the new rules need: {error}");
            }
            if self.is_over(deadline) {
                // What is in the ring by now still comes.
                handle.stop();
            }
        };
        let account: Account = live.account();
        drop(live);
        let finished = pipeline.finish();
        if account.lost() > 0 {
            let causes: Vec<String> =
                account.lost.iter().map(|lost| format!("{} {}", lost.events, lost.cause.name())).collect();
            eprintln!(
                "nabe: warning: {} of {} events lost ({})",
                account.lost(),
                account.seen,
                causes.join(", ")
            );
        }
        result.and(finished)
    }

    /// What the probe is to collect for these rules.
    fn of(&self, mut interest: EventInterest) -> EventInterest {
        if self.captures.is_some() {
            interest = capture::widened(interest);
        }
        interest.state = true;
        let config = &self.plan.config;
        interest.events = interest.events.union(&config.more_events);
        config.less_events.iter().for_each(|id| interest.events.remove(id));
        if interest.snaplen > 0 {
            interest.snaplen = interest.snaplen.max(self.plan.config.snaplen);
        }
        interest
    }

    /// Every now and then: signals, changed files, metrics.
    fn look(&mut self) {
        if self.signals.take_reopen() {
            self.shared.outputs.reopen();
        }
        let asked = self.signals.take_reload();
        if asked {
            eprintln!("SIGHUP received, restarting...");
        }
        if self.looked.elapsed() >= LOOK || asked {
            self.looked = Instant::now();
            if self.watched.has_changed() || asked {
                self.reload();
            }
        }
        self.snapshot_metrics();
    }

    /// Loads rules and what the configuration says of them anew; the old ones stay when that fails.
    fn reload(&mut self) {
        let Reread { path, assignments, rules: named } = self.plan.reread.clone();
        let fresh = Config::load(path.as_deref(), &assignments)
            .and_then(|(config, _)| Ok((rules::files(&named, &config)?, config)));
        let (files, fresh) = match fresh {
            Ok(fresh) => fresh,
            Err(error) => {
                eprintln!("nabe: warning: not reloaded, the old rules stay: {}", error.in_a_line());
                return;
            }
        };
        let loaded = rules::read(&files, &fresh);
        if let Some(report) = loaded.reports.iter().find(|report| !report.successful()) {
            eprintln!("{}", report.text(true).trim_end());
            eprintln!("nabe: warning: not reloaded, the old rules stay: {} does not load", report.name);
            return;
        }
        let engine = || rules::engine(&loaded, &fresh, &self.plan.hostname, self.plan.cost);
        let new = engine();
        let number = new.rules().len();
        let before = |all: &Captures| all.wanted(new.rules().iter().map(|rule| &**rule));
        if self.captures.as_ref().and_then(before).unwrap_or(0) > self.before_ns && self.before_ns == 0 {
            eprintln!("nabe: note: rules ask for a look-back that only a new start begins");
        }
        for inbox in &self.inboxes {
            inbox.put(engine());
        }
        self.shared.ledger.loaded(hashes(&files, &fresh.files));
        self.watched = Watched::new(files.iter().chain(&fresh.files).filter(|_| fresh.watch));
        self.plan.rules = files;
        eprintln!("nabe: rules reloaded: {number} are switched on");
    }

    /// `metrics`: an alert with numbers every now and then, a line in a file.
    fn snapshot_metrics(&mut self) {
        let metrics = &self.plan.config.metrics;
        if !metrics.enabled || self.metrics.elapsed() < metrics.interval {
            return;
        }
        self.metrics = Instant::now();
        let alert = self.shared.ledger.snapshot(&self.plan.hostname);
        if let Some(path) = &metrics.file {
            let line = nabe_output::Render { json: true, ..outputs::render(&self.plan.config) }.line(&alert);
            let appended =
                std::fs::OpenOptions::new().append(true).create(true).open(path).and_then(|mut file| {
                    std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes())
                });
            if let Err(error) = appended {
                eprintln!("nabe: warning: metrics.output_file {}: {error}", path.display());
            }
        }
        if metrics.as_alert {
            self.shared.outputs.send(alert);
        }
    }
}

fn counted(alerts: u64) -> String {
    format!("{alerts} {}", if alerts == 1 { "alert" } else { "alerts" })
}

/// Names and SHA-256 of files, for the metrics.
fn hashes(rules: &[PathBuf], configs: &[PathBuf]) -> Vec<(&'static str, String, String)> {
    use sha2::{Digest as _, Sha256};
    let of = |kind: &'static str, path: &PathBuf| {
        let bytes = std::fs::read(path).ok()?;
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Some((kind, name, hash))
    };
    let rules = rules.iter().filter_map(|path| of("rules", path));
    rules.chain(configs.iter().filter_map(|path| of("config", path))).collect()
}

/// The web server, when the configuration has one.
fn web(plan: &Plan, shared: &Arc<Shared>) -> Result<Option<Server>> {
    let reader = plan.config.reader();
    if !reader.flag("webserver.enabled", false)? {
        return Ok(None);
    }
    let port = reader.number("webserver.listen_port", 8765)?;
    let port = u16::try_from(port).map_err(|_| reader.wrong("webserver.listen_port", "expected a port"))?;
    let address = reader.filled("webserver.listen_address")?.unwrap_or_else(|| "0.0.0.0".into());
    let address: IpAddr =
        address.parse().map_err(|_| reader.wrong("webserver.listen_address", "expected an address"))?;
    let health = reader.filled("webserver.k8s_healthz_endpoint")?.unwrap_or_else(|| "/healthz".into());
    let metrics = reader.flag("webserver.prometheus_metrics_enabled", false)? && plan.config.metrics.enabled;
    let certificate = match reader.flag("webserver.ssl_enabled", false)? {
        true => {
            Some(reader.filled("webserver.ssl_certificate")?.unwrap_or_else(|| "/etc/falco/falco.pem".into()))
        }
        false => None,
    };
    let shared = Arc::clone(shared);
    let versions = super::versions().to_string();
    let pages = move |path: &str| {
        let json = |text: String| Some(Page { content_type: "application/json", text });
        match path {
            path if path == health => json("{\"status\": \"ok\"}".into()),
            "/versions" => json(versions.clone()),
            "/metrics" if metrics => Some(Page {
                content_type: "text/plain; version=0.0.4",
                text: shared.ledger.prometheus(&shared.outputs),
            }),
            _ => None,
        }
    };
    let server = Server::start(
        SocketAddr::new(address, port),
        certificate.as_deref().map(Path::new),
        Arc::new(pages),
    )?;
    eprintln!("nabe: serving on {}", server.address());
    Ok(Some(server))
}

/// Keeps the types of what crosses threads honest.
const _: fn() = || {
    fn crosses<T: Send + Sync>() {}
    crosses::<Shared>();
    crosses::<Outputs>();
    crosses::<Mutex<Option<EventInterest>>>();
};
