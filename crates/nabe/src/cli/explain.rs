//! `nabe explain`: why a process, a port, a file or a container is there.

mod subject;
mod words;

use std::process::ExitCode;

use nabe_event::{Interest, Needs};
use nabe_filter::Program;
use nabe_probe::Options;
use nabe_state::Snapshot;

use crate::config;
use crate::error::{CliError, Result};
use crate::output::{self, Color, Terminal};
use crate::query::{Containers, Origin, Query, take};
use subject::{Explanation, explain};

/// Say why a process, port, file or container is there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe explain 4711                 a process: ancestry, supervisor, container, sockets, files
  nabe explain :8080                who listens on a port, in every network namespace
  nabe explain /var/log/syslog      who holds a file open
  nabe explain web-1                a container, by name, id or pod

Exit status: 0 found, 1 nothing there by that name, 2 wrong usage.")]
pub struct Args {
    /// PID, :PORT, /path/to/FILE, or the name or id of a container or pod
    target: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Do not use a pager
    #[arg(long)]
    no_pager: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

/// What is to be explained.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Process(u32),
    Port(u16),
    File(String),
    Container(String),
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let target = parse(&args.target)?;
    let mut origin = Origin {
        options: Options { cache: config::cache(), ..Options::default() },
        containers: Containers::new(config::engines()?),
    };
    let (snapshot, notes) = snapshot(&target, &mut origin)?;
    let found = find(&snapshot, &target);
    output::notes(&notes);
    if found.is_empty() {
        return Err(nothing(&target));
    }
    let explanations: Vec<Explanation> = found.iter().filter_map(|pid| explain(&snapshot, *pid)).collect();
    if args.json {
        let mut text = serde_json::to_vec_pretty(&explanations).unwrap_or_default();
        text.push(b'\n');
        output::write(&text)?;
    } else {
        let terminal = Terminal::detect(args.color);
        let text = words::text(&explanations, &target.headline(explanations.len()), &terminal);
        output::page(text.as_bytes(), &terminal, !args.no_pager)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(text: &str) -> Result<Target> {
    let wrong = |what: &str| CliError::usage(format_args!("\"{}\" is no {what}", text.escape_debug()));
    if let Some(port) = text.strip_prefix(':') {
        return match port.parse() {
            Ok(port) if port > 0 => Ok(Target::Port(port)),
            _ => Err(wrong("port").hint("a port is :1 to :65535")),
        };
    }
    // An id of a container, short or whole, may happen to have no letter.
    if text.bytes().all(|b| b.is_ascii_digit()) && (1..12).contains(&text.len()) {
        return match text.parse() {
            Ok(pid) if pid > 0 && pid <= i32::MAX as u32 => Ok(Target::Process(pid)),
            _ => Err(wrong("process id")),
        };
    }
    if text.contains('/') {
        let path = std::path::absolute(text).map_err(|error| wrong("path").because(&error))?;
        // The kernel names files by their real path; one that is gone is looked for as it was typed.
        let path = path.canonicalize().unwrap_or(path);
        return Ok(Target::File(path.to_string_lossy().into_owned()));
    }
    if text.trim().is_empty() {
        return Err(CliError::usage("nothing to explain").hint("give a PID, :PORT, a path, or a container"));
    }
    Ok(Target::Container(text.to_owned()))
}

/// Everything about processes, and the descriptors that the target needs.
fn snapshot(target: &Target, origin: &mut Origin) -> Result<(Snapshot, Vec<String>)> {
    let all = Needs::ALL.iter().fold(Needs::NONE, |all, (need, ..)| all | *need);
    let costly =
        Needs::ARGS | Needs::ENV | Needs::FD | Needs::FD_PATH | Needs::FD_DETAIL | Needs::ORPHAN_SOCKETS;
    let facts = all.without(costly | Needs::THREADS);
    let everyone = Query::with_needs(Program::all(), facts);
    let taken = take(&everyone, origin)?;
    let (mut snapshot, mut notes) = (taken.snapshot, taken.notes);
    let mut add = |snapshot: Snapshot, interest: &Interest| -> Result<Snapshot> {
        let mut bytes = snapshot.into_bytes();
        notes.extend(nabe_probe::snapshot(interest, &origin.options, &mut bytes)?.notes);
        Ok(Snapshot::new(bytes)?)
    };
    // Which processes hold the target decides whose memory and descriptors are read in full.
    if matches!(target, Target::Port(_) | Target::File(_)) {
        let only_sockets = matches!(target, Target::Port(_));
        let needs = Needs::FD | if only_sockets { Needs::NONE } else { Needs::FD_PATH };
        snapshot = add(snapshot, &Interest { only_sockets, ..Interest::all(needs) })?;
    }
    let mut pids = find(&snapshot, target);
    pids.extend(pids.clone().into_iter().flat_map(|pid| subject::ancestors(&snapshot, pid)));
    pids.sort_unstable();
    pids.dedup();
    if !pids.is_empty() {
        let rest = costly.without(Needs::ORPHAN_SOCKETS);
        snapshot = add(snapshot, &Interest { pids: Some(pids), ..Interest::all(rest) })?;
    }
    notes.dedup();
    Ok((snapshot, notes))
}

/// The processes that the target is about.
fn find(snapshot: &Snapshot, target: &Target) -> Vec<u32> {
    let wanted = |process: &nabe_state::Process<'_>| match target {
        Target::Process(pid) => process.pid() == *pid,
        Target::Port(port) => process.descriptors().any(|row| subject::serves(&row, *port)),
        Target::File(path) => subject::holds(process, path),
        Target::Container(name) => subject::lives_in(process, name),
    };
    snapshot
        .processes()
        .filter(|process| process.pid() == process.tid() && wanted(process))
        .map(|p| p.pid())
        .collect()
}

fn nothing(target: &Target) -> CliError {
    match target {
        Target::Process(pid) => CliError::failed(format_args!("there is no process {pid}")),
        Target::Port(port) => CliError::failed(format_args!("nobody listens on port {port}")).hint(
            format_args!("connections that are closing: nabe ps 'socket.srcPort == {port}' -o sockets"),
        ),
        Target::File(path) => CliError::failed(format_args!("nobody has {} open", path.escape_debug())),
        Target::Container(name) => {
            CliError::failed(format_args!("no container or pod \"{}\" has a process", name.escape_debug()))
                .hint("nabe ps -o containers 'container.id != \"\"' lists the containers that run")
        }
    }
}

impl Target {
    /// A line over several explanations; empty for one process.
    fn headline(&self, count: usize) -> String {
        let processes = if count == 1 { "1 process".to_owned() } else { format!("{count} processes") };
        match self {
            Self::Process(_) => String::new(),
            Self::Port(port) => format!("port {port}: {processes}"),
            Self::File(path) => format!("{path}: {processes}"),
            Self::Container(name) => format!("container {name}: {processes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_apart() {
        assert_eq!(parse("17").unwrap(), Target::Process(17));
        assert_eq!(parse(":80").unwrap(), Target::Port(80));
        assert_eq!(parse("/nowhere/x").unwrap(), Target::File("/nowhere/x".into()));
        assert_eq!(parse("web-1").unwrap(), Target::Container("web-1".into()));
        assert_eq!(parse("000123456789").unwrap(), Target::Container("000123456789".into()));
        for wrong in [":0", ":x", ":70000", "99999999999", "0", " "] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
