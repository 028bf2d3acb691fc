//! A run: the root is put together, the container made, the probe armed, the specimen let go; then it is
//! watched until it ends or reaches a limit, everything of it is killed, and what it left is gathered.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nabe_event::source::EventInterest;
use nabe_event::table::EventId;
use nabe_filter::Program;
use nabe_probe::live::{Live, Options as LiveOptions};
use nabe_runtime::spec::Mount;
use nabe_runtime::{Bundle, Container, Options, Status};
use nabe_sandbox::{Hit, Limits, Outcome, Report, Severity, Specimen};
use nabe_scap::Compression;
use nabe_state::stream::Style;

use super::evidence::{self, Gatherer};
use super::fake::Responder;
use super::gate::{self, Gate};
use super::judge::{self, Rules};
use super::leftover;
use super::root::{self, PLACE, Plan, Staged};
use super::spec::{self, Allowance};
use super::specimen::{self, Inside};
use super::yara::Scanner;
use crate::cli::run::guest::{self, Guest};
use crate::cli::sandbox::{Args, How};
use crate::config;
use crate::error::{CliError, Result};
use crate::stream::record::name::Names;
use crate::stream::record::redact::Redactor;
use crate::stream::record::{self, Recorder, Scope};
use crate::stream::stop::Stop;
use crate::stream::{Pipeline, Road as _, Step};

/// Bytes of the ring: a storm of a moment fits.
const RING: usize = 64 << 20;

impl From<nabe_runtime::Error> for CliError {
    fn from(error: nabe_runtime::Error) -> Self {
        let failed = Self::failed(&error);
        match std::error::Error::source(&error) {
            Some(cause) => failed.because(cause),
            None => failed,
        }
    }
}

/// Runs a specimen and judges it.
pub fn run(specimen: &Path, args: &Args, rules: &Rules, scanner: &Scanner, stop: &Stop) -> Result<Report> {
    let how = &args.how;
    check(how)?;
    // It may begin this program again, from a copy that no specimen can write to.
    nabe_runtime::protect()?;
    leftover::sweep();
    let file = specimen::find(specimen, how.image.is_some())?;
    if let Some(folder) = &how.keep {
        fs::create_dir_all(folder).map_err(|error| CliError::file("make", folder, &error))?;
    }
    let about = describe(specimen, file.as_deref(), args, scanner)?;
    let (layers, image_env) = layers(how)?;
    let plan = Plan {
        specimen: file.as_deref(),
        name: specimen,
        entry: how.entry.as_deref(),
        layers: &layers,
        disk: how.disk as u64,
        names: (how.network == "bridge").then(guest::name_servers),
    };
    let mut staged = root::build(&plan)?;
    let env = environment(how, image_env);
    let binds = how.mount.iter().map(|text| bind(text)).collect::<Result<Vec<_>>>()?;
    let inside = Inside::open(&staged.before(), binds.iter().map(|bind| bind.destination.clone()).collect())?;
    let path = env.iter().rev().find_map(|word| word.strip_prefix("PATH=")).unwrap_or_default();
    let shown = match &how.entry {
        Some(entry) => format!("{entry} of {}", specimen.display()),
        None => specimen.display().to_string(),
    };
    staged.program = specimen::check(&inside, &staged.program, path, &shown)?;
    drop(inside);
    let capture = match (&how.capture, &how.keep) {
        (Some(path), _) => {
            crate::cli::sandbox::make_parent(path)?;
            path.clone()
        }
        (None, Some(folder)) => folder.join("capture.scap"),
        (None, None) => staged.own().join("capture.scap"),
    };
    let mut watch = Watch::new(args, &staged, &capture, env, binds)?;
    let outcome = watch.observe(how, stop);
    let missed = watch.missed.get();
    let stopped = watch.stopped;
    let (counted, throttled) = watch.end();
    let (mut outcome, log) = outcome?;
    outcome.limit = outcome.limit.or(counted);
    let (mut report, lost) = judge::judge(rules, &capture, None, &Stop::default())?;
    outcome.lost = lost;
    gather(&mut report, &staged, how, scanner)?;
    report.specimen = Some(about);
    let mut report = with_yara(report);
    report.outcome = Some(outcome);
    report.limits = limits(how);
    if missed > 0 {
        report.notes.push(format!("{missed} programs from memory were gone before they could be copied"));
    }
    if how.network == "bridge" {
        report
            .notes
            .push("the specimen had the real network, but neither the host nor its neighbours".into());
    }
    if stopped {
        report.notes.push("it was stopped before its end, as asked".into());
    }
    if throttled > 0 {
        report.notes.push(format!("the limit of {} processors held it back {throttled} times", how.cpus));
    }
    report.notes.extend(staged.notes.iter().cloned());
    keep_log(&mut report, how, &log)?;
    Ok(report)
}

/// Refuses what cannot be done before anything is made.
///
/// # Errors
/// For options that make no sense, and without root.
pub fn check(how: &How) -> Result<()> {
    if !(how.timeout.is_finite() && how.timeout > 0.0 && how.timeout < 1e6) {
        return Err(CliError::usage(format_args!("--timeout {}: seconds above 0", how.timeout)));
    }
    if !(how.cpus.is_finite() && how.cpus >= 0.01) {
        return Err(CliError::usage(format_args!("--cpus {}: at least 0.01", how.cpus)));
    }
    user(&how.user)?;
    if !rustix::process::geteuid().is_root() {
        let what = "the sandbox needs root: to map ids and mount (CAP_SYS_ADMIN), to record calls (CAP_BPF, CAP_PERFMON)";
        return Err(CliError::failed(what)
            .hint("sudo nabe sandbox …")
            .hint("`nabe sandbox --replay FILE` judges a capture as an ordinary user"));
    }
    Ok(())
}

fn describe(name: &Path, file: Option<&Path>, args: &Args, scanner: &Scanner) -> Result<Specimen> {
    let mut about = Specimen {
        name: file.unwrap_or(name).file_name().unwrap_or_default().to_string_lossy().into_owned(),
        args: args.args.clone(),
        ..Specimen::default()
    };
    if let Some(file) = file {
        (about.sha256, about.size) = evidence::sum(file)?;
        about.yara = scanner.scan_file(file).map_err(|error| CliError::file("read", file, &error))?;
    }
    Ok(about)
}

/// The specimen's environment: the image's, or a small one; then what the user says.
fn environment(how: &How, image_env: Vec<String>) -> Vec<String> {
    let mut env = image_env;
    if env.is_empty() {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
        env.push("LANG=C.UTF-8".into());
    }
    env.push("TERM=dumb".into());
    env.extend(how.env.iter().cloned());
    env
}

/// Layers of the image, the topmost first, and its environment.
fn layers(how: &How) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let Some(name) = &how.image else { return Ok((Vec::new(), Vec::new())) };
    let root = how.root.clone().unwrap_or_else(nabe_image::Store::default_root);
    let store = nabe_image::Store::open(&root)?;
    let image = store.image(&store.resolve(name)?)?;
    let env = image.config.config.as_ref().and_then(|config| config.env.clone()).unwrap_or_default();
    Ok((image.lower_dirs()?, env))
}

fn limits(how: &How) -> Limits {
    let mut limits = Limits::new();
    let mut say = |name: &str, value: String| limits.insert(name.to_owned(), value);
    say("time", format!("{} s", how.timeout));
    say("memory", format!("{} bytes", how.memory));
    say("disk", format!("{} bytes", how.disk));
    say("pids", how.pids.to_string());
    say("cpus", how.cpus.to_string());
    say("network", how.network.clone());
    limits
}

/// Hashes and keeps what the specimen left.
fn gather(report: &mut Report, staged: &Staged, how: &How, scanner: &Scanner) -> Result<()> {
    let before = staged.before();
    let mut gatherer = Gatherer {
        before: &before,
        keep: how.keep.as_deref(),
        scanner,
        found: Vec::new(),
        more: 0,
        failed: (0, None),
    };
    gatherer.folder(&staged.upper());
    let memory = staged.own().join("memory");
    for at in 0..gate::MAX_MEMORY.0 {
        let file = memory.join(at.to_string());
        if file.is_file() {
            let shown = fs::read_to_string(file.with_extension("name")).unwrap_or_default();
            let kept = Path::new("memory").join(at.to_string());
            gatherer
                .file(&file, shown, "memory", &kept)
                .map_err(|error| CliError::file("keep", &file, &error))?;
        }
    }
    if gatherer.more > 0 {
        report.notes.push(format!("{} more files were left", gatherer.more));
    }
    if let (number, Some(first)) = &gatherer.failed {
        report.notes.push(format!("{number} files or folders could not be looked at, the first {first}"));
    }
    report.dropped = gatherer.found;
    for name in ["stdout", "stderr"] {
        if let Some(folder) = &how.keep {
            let to = folder.join(name);
            fs::copy(staged.output(name), &to).map_err(|error| CliError::file("write", &to, &error))?;
        }
    }
    Ok(())
}

/// YARA's matches as hits.
fn with_yara(mut report: Report) -> Report {
    let mut matches: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let specimen = report.specimen.iter().map(|of| (&of.yara, "the specimen"));
    let dropped = report.dropped.iter().map(|file| (&file.yara, &*file.path));
    for (rules, place) in specimen.chain(dropped) {
        for rule in rules {
            matches.entry(rule.clone()).or_default().push(place.to_owned());
        }
    }
    let hits = matches.into_iter().map(|(rule, places)| Hit {
        rule,
        desc: "a YARA rule".into(),
        severity: Severity::Medium,
        attack: Vec::new(),
        message: format!("matches {}", places.join(", ")),
        events: Vec::new(),
        ts_ns: 0,
    });
    report.hits.extend(hits);
    let judged = Report::new(report.hits, report.behaviour);
    Report {
        specimen: report.specimen,
        limits: report.limits,
        dropped: report.dropped,
        notes: report.notes,
        ..judged
    }
}

/// What the fake network was asked.
fn keep_log(report: &mut Report, how: &How, log: &[String]) -> Result<()> {
    report.notes.extend(log.iter().take(50).map(|line| format!("fake network: {line}")));
    match &how.keep {
        Some(folder) if how.network == "fake" => {
            let path = folder.join("network.log");
            let text: String = log.iter().map(|line| format!("{line}\n")).collect();
            fs::write(&path, text).map_err(|error| CliError::file("write", &path, &error))
        }
        _ => Ok(()),
    }
}

/// A container and who watches it.
struct Watch<'a> {
    container: Container,
    pipeline: Pipeline<'a>,
    staged: &'a Staged,
    ended: bool,
    responder: Option<Responder>,
    guest: Option<Guest>,
    done: bool,
    /// The end was asked for.
    stopped: bool,
    /// Programs from memory that were gone before they could be copied.
    missed: Rc<Cell<u64>>,
}

impl<'a> Watch<'a> {
    /// Makes the container; its program does not run yet.
    fn new(
        args: &Args,
        staged: &'a Staged,
        capture: &Path,
        env: Vec<String>,
        binds: Vec<Mount>,
    ) -> Result<Self> {
        let recorder = Recorder::new(
            record::Options {
                names: Names::one(capture),
                compression: Compression::None,
                scope: Scope::Related,
                fat: false,
                compatible: true,
                redactor: Redactor::new(&[], None),
                limits: record::Limits::default(),
            },
            None,
        )?;
        let container = create(args, staged, env, binds)?;
        let gate = Gate::new(recorder, container.pid(), staged.own().join("memory"));
        let missed = Rc::clone(&gate.missed);
        let mut pipeline = Pipeline::new(Program::all(), Style::default());
        pipeline.set_live(true);
        pipeline.add(gate);
        Ok(Self {
            container,
            pipeline,
            staged,
            ended: false,
            responder: None,
            guest: None,
            done: false,
            stopped: false,
            missed,
        })
    }

    /// Arms the probe, lets the specimen go, and watches until nothing of it is left.
    fn observe(&mut self, how: &How, stop: &Stop) -> Result<(Outcome, Vec<String>)> {
        let pid = u32::try_from(self.container.pid()).unwrap_or(0);
        // All of its events and, of everybody else's, none.
        let mut interest = EventInterest { state: false, ..Program::all().event_interest() };
        // What processors and pages do says little and is most of what happens.
        let noise = |id: &EventId| id.is_syscall() || !matches!(id.name(), "switch" | "page_fault");
        interest.events = interest.events.iter().filter(noise).collect();
        interest.snaplen = 256;
        interest.pids = Some(vec![pid]);
        interest.follow = true;
        // Looked at often: a program from memory may be gone soon.
        let poll = Duration::from_millis(2);
        let options =
            LiveOptions { cache: config::cache(), ring_bytes: RING, poll, ..LiveOptions::default() };
        let mut live = Live::open(&interest, &options)?;
        crate::output::notes(live.notes());
        let handle = live.handle();
        match &*how.network {
            "fake" => self.responder = Some(Responder::start(self.container.pid())?),
            "bridge" => {
                eprintln!("nabe: warning: --network bridge: the specimen reaches the real network");
                let guest = Guest::join(self.staged.base(), self.container.pid(), &guest::name_servers())?;
                self.guest = Some(guest);
            }
            _ => {}
        }
        self.container.start()?;
        let started = Instant::now();
        let timeout = Duration::from_secs_f64(how.timeout);
        let mut limit = None;
        loop {
            let step = self
                .pipeline
                .step(&mut live, |error| CliError::failed("cannot read live events").because(error))?;
            if step != Step::More {
                break;
            }
            if self.ended {
                continue;
            }
            let late = started.elapsed() >= timeout;
            let full = self.staged.is_full();
            if limit.is_none() {
                limit = late.then(|| "time".to_owned()).or_else(|| full.then(|| "disk".to_owned()));
            }
            self.stopped |= stop.is_asked();
            if late || self.stopped {
                self.container.kill(9, true)?;
            }
            if self.container.status() == Status::Stopped {
                self.ended = true;
                handle.stop();
            }
        }
        let code = self.container.attend(None)?;
        drop(live);
        let log = self.responder.take().map(Responder::stop).unwrap_or_default();
        let signal = (code > 128).then(|| i32::from(code) - 128);
        let exit_code = signal.is_none().then(|| i32::from(code));
        Ok((Outcome { exit_code, signal, limit, lost: 0 }, log))
    }

    /// Kills what is left, completes the capture, removes the container; the limit that its cgroups counted,
    /// and how often that of processors held it back.
    fn end(mut self) -> (Option<String>, u64) {
        let finished = self.pipeline.finish();
        if let Err(error) = finished {
            error.report();
        }
        let counted = counted(&self.container);
        self.remove();
        counted
    }

    fn remove(&mut self) {
        if let Some(Err(error)) = self.guest.take().map(Guest::leave) {
            error.report();
        }
        if !std::mem::replace(&mut self.done, true)
            && let Err(error) = self.container.delete(true)
        {
            eprintln!("nabe: warning: the sandbox's container cannot be removed: {}", error.line());
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(responder) = self.responder.take() {
            responder.stop();
        }
        self.remove();
    }
}

/// A limit that the kernel enforced, as the cgroups counted it, and the times that processors were withheld.
fn counted(container: &Container) -> (Option<String>, u64) {
    let value = |path: PathBuf, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        line.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    let directories: Vec<&Path> = container.state().cgroup_paths.directories().collect();
    let most =
        |file: &str, key: &str| directories.iter().map(|path| value(path.join(file), key)).max().unwrap_or(0);
    let throttled = most("cpu.stat", "nr_throttled ");
    let killed = most("memory.oom_control", "oom_kill ").max(most("memory.events", "oom_kill "));
    let limit = if killed > 0 {
        Some("memory".to_owned())
    } else {
        (most("pids.events", "max ") > 0).then(|| "pids".to_owned())
    };
    (limit, throttled)
}

/// Makes the container with the specimen's output going to files.
fn create(args: &Args, staged: &Staged, env: Vec<String>, binds: Vec<Mount>) -> Result<Container> {
    let how = &args.how;
    let (uid, gid) = user(&how.user)?;
    let allowance = Allowance {
        memory: i64::try_from(how.memory).unwrap_or(i64::MAX),
        cpus: how.cpus,
        pids: i64::from(how.pids),
        uid,
        gid,
    };
    let mut words = vec![staged.program.clone()];
    words.extend(args.args.iter().cloned());
    let own = std::process::id().to_string();
    let cwd = PathBuf::from(format!("/{PLACE}"));
    let spec = spec::spec(
        staged.root(),
        words,
        env,
        cwd,
        binds,
        &allowance,
        leftover::runner(&own).unwrap_or(own.clone()),
    );
    let bundle = Bundle::of(&staged.own(), spec)?;
    let options = Options { init: true, linger: true, tied: true, ..Options::default() };
    let created = quiet(staged, || Container::create(&format!("sandbox-{own}"), &bundle, &options))??;
    for warning in created.warnings {
        eprintln!("nabe: note: {warning}");
    }
    Ok(created.container)
}

/// Calls `then` while our own first three descriptors are what the specimen is to have.
fn quiet<T>(staged: &Staged, then: impl FnOnce() -> T) -> Result<T> {
    let fail = |error: io::Error| CliError::failed("cannot set the specimen's output up").because(&error);
    let keep =
        |fd: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|e| fail(e.into()));
    let (input, output, errors) =
        (keep(io::stdin().as_fd())?, keep(io::stdout().as_fd())?, keep(io::stderr().as_fd())?);
    let open = |name: &str| File::options().append(true).create(true).open(staged.output(name)).map_err(fail);
    let (null, to, errors_to) = (File::open("/dev/null").map_err(fail)?, open("stdout")?, open("stderr")?);
    let set = |input: std::os::fd::BorrowedFd<'_>,
               output: std::os::fd::BorrowedFd<'_>,
               errors: std::os::fd::BorrowedFd<'_>| {
        rustix::stdio::dup2_stdin(input)
            .and_then(|()| rustix::stdio::dup2_stdout(output))
            .and_then(|()| rustix::stdio::dup2_stderr(errors))
            .map_err(|error| fail(error.into()))
    };
    set(null.as_fd(), to.as_fd(), errors_to.as_fd())?;
    let done = then();
    set(input.as_fd(), output.as_fd(), errors.as_fd())?;
    Ok(done)
}

fn user(text: &str) -> Result<(u32, u32)> {
    let wrong = || CliError::usage(format_args!("--user {text}: UID or UID:GID, below 65536"));
    let number = |part: &str| part.parse::<u32>().ok().filter(|id| *id < 65_536).ok_or_else(wrong);
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, number(gid)?)),
        None => number(text).map(|id| (id, id)),
    }
}

/// `HOST:INSIDE[:rw]`.
fn bind(text: &str) -> Result<Mount> {
    let wrong = || CliError::usage(format_args!("--mount {text}: HOST:INSIDE, :rw behind it to write"));
    let (rest, mode) = match text.strip_suffix(":rw") {
        Some(rest) => (rest, "rw"),
        None => (text.strip_suffix(":ro").unwrap_or(text), "ro"),
    };
    let (host, inside) =
        rest.split_once(':').filter(|(_, inside)| inside.starts_with('/')).ok_or_else(wrong)?;
    let host = fs::canonicalize(host).map_err(|error| CliError::file("mount", Path::new(host), &error))?;
    let options = ["rbind", mode, "nosuid", "nodev"].map(str::to_owned).to_vec();
    Ok(Mount {
        destination: inside.into(),
        kind: "bind".into(),
        source: Some(host),
        options,
        ..Mount::default()
    })
}
