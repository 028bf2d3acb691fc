//! Verbs about containers that are there: state, list, ps, kill, delete, update, events.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nabe_runtime::spec::{self, Resources};
use nabe_runtime::{Container, Error, Status};
use serde::Serialize;
use serde_json::{Value, json};

use super::report::{Log, print};
use super::{Failure, Global, arguments};

/// Send a signal to a container.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  nabe kill web TERM\n  nabe kill --all web KILL")]
pub struct KillArgs {
    /// To all of its processes
    #[arg(short, long)]
    all: bool,
    /// ID is a regular expression: to every container whose id it matches
    #[arg(short, long)]
    regex: bool,
    /// The container's id
    #[arg(value_name = "ID")]
    id: String,
    /// Signal, by name or number
    #[arg(value_name = "SIGNAL", default_value = "TERM", value_parser = arguments::signal)]
    signal: i32,
}

/// Remove a container.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  nabe delete web\n  nabe delete --force web")]
pub struct DeleteArgs {
    /// End it first when it runs; not to be there is no error
    #[arg(short, long)]
    force: bool,
    /// ID is a regular expression: every container whose id it matches
    #[arg(short, long)]
    regex: bool,
    /// The container's id
    #[arg(value_name = "ID")]
    id: String,
}

/// List containers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  nabe list\n  nabe list --format json | jq -r '.[].id'")]
pub struct ListArgs {
    /// table or json
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
}

/// List the processes of a container.
#[derive(Debug, clap::Args)]
pub struct PsArgs {
    /// table or json
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Said by people, so that it is not `nabe ps`
    #[arg(short = 'c', long = "container", hide = true)]
    _container: bool,
    /// The container's id
    #[arg(value_name = "ID")]
    id: String,
    /// Options of ps(1) for the table
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Show figures of a container.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Time between two of them
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = arguments::duration)]
    interval: Duration,
    /// Only once
    #[arg(long)]
    stats: bool,
    /// The container's id
    #[arg(value_name = "ID")]
    id: String,
}

/// Change the limits of a container.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe update --memory 64m --pids-limit 100 web
  echo '{\"cpu\": {\"quota\": 50000}}' | nabe update --resources - web")]
pub struct UpdateArgs {
    /// Take linux.resources from a JSON file (- for standard input)
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_burst: Option<u64>,
    #[arg(long, value_name = "N")]
    cpu_share: Option<u64>,
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,
    #[arg(long, value_name = "BYTES", value_parser = arguments::bytes, allow_hyphen_values = true)]
    memory: Option<i64>,
    #[arg(long, value_name = "BYTES", value_parser = arguments::bytes, allow_hyphen_values = true)]
    memory_reservation: Option<i64>,
    #[arg(long, value_name = "BYTES", value_parser = arguments::bytes, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Gone from the kernel; passed over
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    /// Gone from the kernel; passed over
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// The container's id
    #[arg(value_name = "ID")]
    id: String,
}

/// The state as runc shows it, in its order: the spec's, and a little more.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    oci_version: String,
    id: String,
    pid: i32,
    status: Status,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

impl Shown {
    fn of(container: &Container) -> Self {
        let (state, status) = (container.state(), container.status());
        Self {
            oci_version: state.nabe.oci_version.clone(),
            id: state.id.clone(),
            pid: if status == Status::Stopped { 0 } else { state.init_process_pid },
            status,
            bundle: state.nabe.bundle.clone(),
            rootfs: state.config.rootfs.clone(),
            created: state.created.clone(),
            annotations: container.annotations().clone(),
            owner: owner(container.owner()),
        }
    }

    fn cells(&self) -> [String; 6] {
        let bundle = self.bundle.display().to_string();
        [
            self.id.clone(),
            self.pid.to_string(),
            self.status.to_string(),
            bundle,
            self.created.clone(),
            self.owner.clone(),
        ]
    }
}

/// A user's name, when `/etc/passwd` knows it.
fn owner(uid: u32) -> String {
    let text = std::fs::read("/etc/passwd").unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

pub(super) fn state(id: &str, global: &Global) -> Result<ExitCode, Failure> {
    print(&Shown::of(&global.load(id)?))?;
    Ok(ExitCode::SUCCESS)
}

/// Does something to every container whose id a pattern matches anywhere, as crun has it. What fails with one is told,
/// and does not keep it from the others.
fn each(
    pattern: &str,
    global: &Global,
    log: &Log,
    act: impl Fn(&Container) -> Result<(), Error>,
) -> Result<ExitCode, Failure> {
    let pattern = regex::Regex::new(pattern)
        .map_err(|error| Failure::Usage(format!("no regular expression: {error}")))?;
    let containers = Container::list(&global.root())?;
    let mut code = ExitCode::SUCCESS;
    for container in containers.iter().filter(|container| pattern.is_match(&container.state().id)) {
        if let Err(error) = act(container) {
            log.notes(&[error.line()]);
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

pub(super) fn kill(args: &KillArgs, global: &Global, log: &Log) -> Result<ExitCode, Failure> {
    if args.regex {
        return each(&args.id, global, log, |container| container.kill(args.signal, args.all));
    }
    global.load(&args.id)?.kill(args.signal, args.all)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn delete(args: &DeleteArgs, global: &Global, log: &Log) -> Result<ExitCode, Failure> {
    if args.regex {
        return each(&args.id, global, log, |container| container.delete(args.force));
    }
    let removed = match Container::load(&global.root(), &args.id) {
        Ok(container) => container.delete(args.force),
        // Killed before it wrote a state: there is nothing but the directory.
        Err(Error::Json { .. } | Error::Missing(_)) if args.force => {
            nabe_runtime::delete_unreadable(&global.root(), &args.id)
        }
        Err(error) => Err(error),
    };
    match removed {
        Err(Error::Missing(_)) if args.force => {}
        result => result?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(args: &ListArgs, global: &Global) -> Result<ExitCode, Failure> {
    let containers = Container::list(&global.root())?;
    let rows: Vec<Shown> = containers.iter().map(Shown::of).collect();
    if args.format == "json" && !args.quiet {
        // On one line, as engines' scripts expect it of runc.
        return line(&rows);
    }
    let mut table: Vec<Vec<String>> = Vec::new();
    if !args.quiet {
        table.push(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned).to_vec());
    }
    let columns = if args.quiet { 1 } else { 6 };
    table.extend(rows.iter().map(|row| row.cells().into_iter().take(columns).collect()));
    let width = |at: usize| table.iter().filter_map(|row| row.get(at)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &table {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn ps(args: &PsArgs, global: &Global) -> Result<ExitCode, Failure> {
    let pids = global.load(&args.id)?.processes();
    if args.format == "json" {
        let mut text = json!(pids).to_string();
        text.push('\n');
        std::io::stdout().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = if args.options.is_empty() { vec!["-ef".to_owned()] } else { args.options.clone() };
    let output = Command::new("ps").args(options).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or(Failure::Refused("ps shows no column PID with these options"))?;
    let mut kept = format!("{header}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    std::io::stdout().write_all(kept.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A line of `events`, in runc's order.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

/// Prints JSON on one line.
fn line(value: &impl Serialize) -> Result<ExitCode, Failure> {
    let mut text = serde_json::to_vec(value).map_err(std::io::Error::other)?;
    text.push(b'\n');
    std::io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn events(args: &EventsArgs, global: &Global) -> Result<ExitCode, Failure> {
    /// How often to look whether memory was short, or the container has ended.
    const LOOK: Duration = Duration::from_millis(100);
    let container = global.load(&args.id)?;
    let stats = || line(&Event { kind: "stats", id: &args.id, data: Some(container.stats()) });
    if args.stats {
        if container.status() == Status::Stopped {
            return Err(Failure::Refused("container not running"));
        }
        return stats();
    }
    let (mut next, mut kills) = (Instant::now(), container.oom_kills());
    loop {
        let ended = container.status() == Status::Stopped;
        let now = container.oom_kills();
        for _ in kills..now {
            line(&Event { kind: "oom", id: &args.id, data: None })?;
        }
        kills = now.max(kills);
        if ended {
            return Ok(ExitCode::SUCCESS);
        }
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            stats()?;
            next = Instant::now() + args.interval;
        }
        std::thread::sleep(args.interval.min(LOOK));
    }
}

pub(super) fn update(args: &UpdateArgs, global: &Global) -> Result<ExitCode, Failure> {
    let mut limits = match &args.resources {
        Some(path) if path == Path::new("-") => {
            let mut text = Vec::new();
            std::io::stdin().lock().take(1 << 20).read_to_end(&mut text)?;
            spec::parse(Path::new("standard input"), &text)?
        }
        Some(path) => spec::parse(path, &spec::read(path)?)?,
        None => Resources::default(),
    };
    let memory = &mut limits.memory;
    memory.limit = args.memory.or(memory.limit);
    memory.reservation = args.memory_reservation.or(memory.reservation);
    memory.swap = args.memory_swap.or(memory.swap);
    let cpu = &mut limits.cpu;
    cpu.period = args.cpu_period.or(cpu.period);
    cpu.quota = args.cpu_quota.or(cpu.quota);
    cpu.burst = args.cpu_burst.or(cpu.burst);
    cpu.shares = args.cpu_share.or(cpu.shares);
    cpu.realtime_period = args.cpu_rt_period.or(cpu.realtime_period);
    cpu.realtime_runtime = args.cpu_rt_runtime.or(cpu.realtime_runtime);
    cpu.idle = args.cpu_idle.or(cpu.idle);
    if let Some(list) = &args.cpuset_cpus {
        cpu.cpus.clone_from(list);
    }
    if let Some(list) = &args.cpuset_mems {
        cpu.mems.clone_from(list);
    }
    limits.pids.limit = args.pids_limit.or(limits.pids.limit);
    limits.block_io.weight = args.blkio_weight.or(limits.block_io.weight);
    global.load(&args.id)?.update(&limits)?;
    Ok(ExitCode::SUCCESS)
}
