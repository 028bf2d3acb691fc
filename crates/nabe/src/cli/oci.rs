//! The OCI runtime's verbs, for people and for engines that call nabe as they call runc.
//!
//! Engines put options before the verb (`--root DIR --log FILE --log-format json create …`), may call
//! us by another name (a link `runc`, `nabe-runtime`, `nabe-oci`), and say `ps` for the processes of one
//! container. Such calls never build the whole command tree, and start no thread.

pub(super) mod arguments;
mod exec;
mod manage;
mod quick;
mod report;
mod template;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nabe_runtime::{Bundle, CgroupDriver, Container, Options};

use crate::error::{CliError, Result};
use report::Log;

/// Names by which we are the runtime and nothing else.
const NAMES: [&str; 3] = ["runc", "nabe-runtime", "nabe-oci"];

/// Beginnings of options before the verb that carry their value.
const VALUES: [&str; 7] = [
    "--root=",
    "--log=",
    "--log-format=",
    "--rootless=",
    "--criu=",
    "--cgroup-manager=",
    "--systemd-cgroup=",
];

/// Words that are verbs of the runtime.
const VERBS: [&str; 18] = [
    "create",
    "start",
    "state",
    "kill",
    "delete",
    "run",
    "exec",
    "list",
    "pause",
    "resume",
    "update",
    "events",
    "spec",
    "features",
    "checkpoint",
    "restore",
    "init",
    "help",
];

/// nabe as an OCI runtime.
#[derive(Debug, Parser)]
#[command(name = "nabe", disable_version_flag = true, max_term_width = 100, subcommand_required = false)]
struct Runtime {
    #[command(flatten)]
    global: Global,
    /// Print the version
    #[arg(short = 'v', long)]
    version: bool,
    #[command(subcommand)]
    verb: Option<EngineVerb>,
}

/// Options before the verb, as engines give them.
#[derive(Clone, Debug, Default, clap::Args)]
struct Global {
    /// Directory of the containers' states [default: /run/nabe, or $XDG_RUNTIME_DIR/nabe]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Write errors and warnings there as well
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    /// Let systemd make cgroups: a scope for each container, cgroupsPath is slice:prefix:name
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    systemd_cgroup: Option<bool>,
    /// Who makes cgroups: cgroupfs (nabe itself), systemd, or disabled (nobody)
    #[arg(long, value_name = "MANAGER", default_value = "cgroupfs", value_parser = ["cgroupfs", "systemd", "disabled"], hide_possible_values = true)]
    cgroup_manager: String,
    /// Say more in the log
    #[arg(long)]
    debug: bool,
    /// For compatibility; nabe finds out by itself
    #[arg(long, value_name = "true|false|auto", hide = true)]
    rootless: Option<String>,
    /// For compatibility
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum EngineVerb {
    #[command(flatten)]
    Verb(Verb),
    /// List the processes of a container
    Ps(manage::PsArgs),
    /// Make and start a container from a bundle, and wait for it
    Run(RunArgs),
}

/// The runtime's verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a container from a bundle, its program not started
    Create(CreateArgs),
    /// Start the program of a container that was made
    #[command(after_help = "Example:\n  nabe create --bundle mine web && nabe start web")]
    Start(IdArgs),
    /// Show the state of a container as JSON
    #[command(after_help = "Example:\n  nabe state web | jq -r .status")]
    State(IdArgs),
    /// Send a signal to a container
    Kill(manage::KillArgs),
    /// Remove a container
    Delete(manage::DeleteArgs),
    /// Run another program in a container
    Exec(Box<exec::Args>),
    /// List containers
    List(manage::ListArgs),
    /// Freeze a container
    #[command(after_help = "Example:\n  nabe pause web && nabe resume web")]
    Pause(IdArgs),
    /// Thaw a container
    #[command(after_help = "Example:\n  nabe pause web && nabe resume web")]
    Resume(IdArgs),
    /// Change the limits of a container
    Update(Box<manage::UpdateArgs>),
    /// Show figures of a container again and again, as JSON
    Events(manage::EventsArgs),
    /// Write a config.json to begin with
    Spec(template::Args),
    /// Show what this runtime can do, as JSON
    Features,
    /// Not done: containers cannot be saved
    #[command(hide = true)]
    Checkpoint(RefusedArgs),
    /// Not done: containers cannot be saved
    #[command(hide = true)]
    Restore(RefusedArgs),
}

/// A container.
#[derive(Debug, clap::Args)]
pub struct IdArgs {
    /// The container's id
    #[arg(value_name = "ID")]
    id: String,
}

/// Anything.
#[derive(Debug, clap::Args)]
pub struct RefusedArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<OsString>,
}

/// What making a container takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe spec --bundle mine            write mine/config.json
  nabe create --bundle mine web
  nabe start web

Exit status: 0 done, 1 failed, 2 wrong usage.")]
pub struct CreateArgs {
    /// Directory with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    #[command(flatten)]
    making: Making,
    /// The container's id
    #[arg(value_name = "ID")]
    id: String,
}

/// Options of making a container.
#[derive(Debug, clap::Args)]
struct Making {
    /// Unix socket that takes the master of the container's terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Unix socket that takes a descriptor of the first process (a pidfd)
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Write the pid of the first process there
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Another name for config.json, from the bundle when relative
    #[arg(short = 'f', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For compatibility
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Move the root instead of pivoting (on an initramfs)
    #[arg(long)]
    no_pivot: bool,
    /// Keep the session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Give the program so many more descriptors, from 3 on
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Put an init before the program, which reaps zombies and hands signals on
    #[arg(long)]
    init: bool,
}

/// What running a container takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe run --bundle mine web
  nabe run -d --bundle mine --pid-file web.pid web

Exit status: the program's; 125 nabe failed, 126 the program cannot be executed, 127 it is not there.")]
pub struct RunArgs {
    /// Directory with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    #[command(flatten)]
    making: Making,
    /// Do not wait for it
    #[arg(short, long)]
    detach: bool,
    /// Keep the container's state when it has ended
    #[arg(long)]
    keep: bool,
    /// The container's id
    #[arg(value_name = "ID")]
    id: String,
}

/// Runs the program when these arguments are the runtime's.
pub fn take(arguments: &[OsString]) -> Option<Result<ExitCode>> {
    if !is_ours(arguments) {
        return None;
    }
    // Before anything that would have to be done twice; whoever needs it asks again and tells what failed.
    if arguments.iter().skip(1).any(|word| word == "create" || word == "run" || word == "exec") {
        let _ = nabe_runtime::protect();
    }
    let quick = quick::parse(arguments);
    let runtime =
        quick.unwrap_or_else(|| Runtime::try_parse_from(arguments).unwrap_or_else(|error| error.exit()));
    let log = Log::of(runtime.global.log.clone(), runtime.global.log_format == "json");
    // By runc's name, with runc's exit status: scripts compare it.
    let plain = called(arguments).is_some_and(|name| NAMES.contains(&name));
    if runtime.version {
        println!("nabe version {}\nspec: {}", env!("CARGO_PKG_VERSION"), nabe_runtime::spec::VERSION);
        return Some(Ok(ExitCode::SUCCESS));
    }
    Some(match runtime.verb {
        None => Err(CliError::usage("no verb is given").hint("`nabe help` lists the verbs")),
        Some(EngineVerb::Ps(args)) => log.told(manage::ps(&args, &runtime.global)),
        Some(EngineVerb::Run(args)) => {
            log.told_by_status(run_bundle(&args, &runtime.global, &log), plain.then_some(1))
        }
        Some(EngineVerb::Verb(verb)) => dispatch(verb, &runtime.global, &log, plain),
    })
}

/// Runs a verb that the whole command tree has parsed.
pub fn run(verb: Verb) -> Result<ExitCode> {
    dispatch(verb, &Global::default(), &Log::of(None, false), false)
}

/// The name by which we were called.
fn called(arguments: &[OsString]) -> Option<&str> {
    Path::new(arguments.first()?).file_name()?.to_str()
}

fn is_ours(arguments: &[OsString]) -> bool {
    if called(arguments).is_some_and(|name| NAMES.contains(&name)) {
        return true;
    }
    let mut words = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    let mut engine = false;
    while let Some(word) = words.next() {
        match word {
            "--root" | "--log" | "--log-format" | "--rootless" | "--criu" | "--cgroup-manager" => {
                engine = true;
                words.next();
            }
            "--systemd-cgroup" | "--debug" => engine = true,
            _ if VALUES.iter().any(|start| word.starts_with(start)) => engine = true,
            "ps" => return engine || words.next() == Some("-c"),
            "help" | "init" => return engine,
            "run" => return engine || names_bundle(words),
            word => return engine || VERBS.contains(&word),
        }
    }
    engine
}

/// Whether the options after `run` name a bundle: else the first word is an image (see `run`).
fn names_bundle<'a>(mut words: impl Iterator<Item = &'a str>) -> bool {
    while let Some(word) = words.next() {
        match word {
            "-b" | "--bundle" => return true,
            "-d" | "--detach" | "--keep" | "--init" | "--no-pivot" | "--no-new-keyring"
            | "--no-subreaper" => {}
            "--console-socket" | "--pidfd-socket" | "--pid-file" | "--preserve-fds" | "--config" | "-f" => {
                words.next();
            }
            _ if ["--console-socket=", "--pidfd-socket=", "--pid-file=", "--preserve-fds=", "--config="]
                .iter()
                .any(|start| word.starts_with(start)) => {}
            word => return word.starts_with("--bundle="),
        }
    }
    false
}

fn dispatch(verb: Verb, global: &Global, log: &Log, plain: bool) -> Result<ExitCode> {
    match verb {
        Verb::Create(args) => log.told(create(&args, global, log)),
        Verb::Start(args) => log.told(global.load(&args.id).and_then(|container| {
            container.start()?;
            Ok(ExitCode::SUCCESS)
        })),
        Verb::State(args) => log.told(manage::state(&args.id, global)),
        Verb::Kill(args) => log.told(manage::kill(&args, global, log)),
        Verb::Delete(args) => log.told(manage::delete(&args, global, log)),
        Verb::Exec(args) => log.told_by_status(exec::run(&args, global, log), plain.then_some(255)),
        Verb::List(args) => log.told(manage::list(&args, global)),
        Verb::Pause(args) => log.told(freeze(&args.id, true, global)),
        Verb::Resume(args) => log.told(freeze(&args.id, false, global)),
        Verb::Update(args) => log.told(manage::update(&args, global)),
        Verb::Events(args) => log.told(manage::events(&args, global)),
        Verb::Spec(args) => template::run(&args),
        Verb::Features => log.told(report::print(&nabe_runtime::features()).map(|()| ExitCode::SUCCESS)),
        Verb::Checkpoint(_) | Verb::Restore(_) => {
            log.told(Err(Failure::Refused("checkpoint and restore are not done: they would need CRIU")))
        }
    }
}

/// What went wrong in a verb of the runtime.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Runtime(#[from] nabe_runtime::Error),
    #[error("{0}")]
    Refused(&'static str),
    #[error("{0}")]
    Usage(String),
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
}

impl Global {
    fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(nabe_runtime::default_root)
    }

    fn cgroup(&self) -> CgroupDriver {
        match (self.systemd_cgroup, self.cgroup_manager.as_str()) {
            (Some(true), _) | (_, "systemd") => CgroupDriver::Systemd,
            (_, "disabled") => CgroupDriver::Disabled,
            _ => CgroupDriver::Cgroupfs,
        }
    }

    fn load(&self, id: &str) -> Result<Container, Failure> {
        Ok(Container::load(&self.root(), id)?)
    }
}

fn freeze(id: &str, frozen: bool, global: &Global) -> Result<ExitCode, Failure> {
    global.load(id)?.freeze(frozen)?;
    Ok(ExitCode::SUCCESS)
}

fn options(making: &Making, global: &Global, detach: bool) -> Options {
    // Sockets that systemd or an engine activates come right after the first three.
    let activated = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
    Options {
        root: global.root(),
        console_socket: making.console_socket.clone(),
        pidfd_socket: making.pidfd_socket.clone(),
        pid_file: making.pid_file.clone(),
        detach,
        no_pivot: making.no_pivot,
        no_new_keyring: making.no_new_keyring,
        preserve_fds: making.preserve_fds.saturating_add(activated),
        cgroup: global.cgroup(),
        init: making.init,
        linger: false,
        tied: false,
    }
}

fn bundle(path: &Path, making: &Making) -> Result<Bundle, Failure> {
    let mut bundle = Bundle::load_as(path, making.config.as_deref().unwrap_or(Path::new("config.json")))?;
    if let (Some(process), Ok(count)) = (&mut bundle.spec.process, std::env::var("LISTEN_FDS")) {
        process.env.push(format!("LISTEN_FDS={count}"));
        process.env.push("LISTEN_PID=1".into());
    }
    Ok(bundle)
}

fn create(args: &CreateArgs, global: &Global, log: &Log) -> Result<ExitCode, Failure> {
    nabe_runtime::protect()?;
    let (bundle, options) = (bundle(&args.bundle, &args.making)?, options(&args.making, global, true));
    nabe_runtime::close_inherited(options.preserve_fds);
    let created = Container::create(&args.id, &bundle, &options)?;
    log.notes(&created.warnings);
    Ok(ExitCode::SUCCESS)
}

fn run_bundle(args: &RunArgs, global: &Global, log: &Log) -> Result<ExitCode, Failure> {
    nabe_runtime::protect()?;
    let (bundle, options) = (bundle(&args.bundle, &args.making)?, options(&args.making, global, args.detach));
    nabe_runtime::close_inherited(options.preserve_fds);
    let created = Container::create(&args.id, &bundle, &options)?;
    log.notes(&created.warnings);
    let container = created.container;
    if !args.detach {
        nabe_runtime::hold_signals();
    }
    let started = container.start();
    if started.is_err() {
        container.delete(true)?;
    }
    started?;
    if args.detach {
        return Ok(ExitCode::SUCCESS);
    }
    let code = container.attend(created.terminal)?;
    if !args.keep {
        container.delete(true)?;
    }
    Ok(ExitCode::from(code))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn calls_are_told_apart() {
        let ours = |line: &str| is_ours(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in [
            "runc",
            "/usr/bin/nabe-runtime ps --format json x",
            "nabe create x",
            "nabe --root /r --log /l --log-format json ps --format json x",
            "nabe --log=/l --systemd-cgroup state x",
            "nabe --systemd-cgroup=true --cgroup-manager disabled state x",
            "nabe ps -c x",
            "nabe --root /r --version",
            "nabe run --bundle b x",
            "nabe run -d --pid-file p --bundle=b x",
            "runc run x",
        ] {
            assert!(ours(line), "{line}");
        }
        for line in [
            "nabe",
            "nabe ps",
            "nabe ps --format json",
            "nabe pull x",
            "nabe run x ls -b",
            "nabe run -d x",
            "nabe --version",
            "nabe help",
            "psc -c",
        ] {
            assert!(!ours(line), "{line}");
        }
    }

    #[test]
    fn who_makes_cgroups_is_said_as_runc_and_crun_say_it() {
        let driver = |line: &str| {
            let runtime = Runtime::try_parse_from(line.split(' ')).map_err(|error| error.to_string());
            runtime.map(|runtime| runtime.global.cgroup())
        };
        for (line, cgroup) in [
            ("nabe list", CgroupDriver::Cgroupfs),
            ("nabe --systemd-cgroup list", CgroupDriver::Systemd),
            ("nabe --systemd-cgroup=true --root /r list", CgroupDriver::Systemd),
            ("nabe --systemd-cgroup=false list", CgroupDriver::Cgroupfs),
            ("nabe --cgroup-manager=systemd list", CgroupDriver::Systemd),
            ("nabe --cgroup-manager cgroupfs list", CgroupDriver::Cgroupfs),
            ("nabe --cgroup-manager=disabled list", CgroupDriver::Disabled),
            ("nabe --systemd-cgroup --cgroup-manager=disabled list", CgroupDriver::Systemd),
        ] {
            assert_eq!(driver(line), Ok(cgroup), "{line}");
        }
        assert!(driver("nabe --cgroup-manager=other list").is_err());
    }

    #[test]
    fn the_tree_is_sound() {
        Runtime::command().debug_assert();
    }
}
