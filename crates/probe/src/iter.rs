//! BPF iterators: loading them, running them, reading their records.
//!
//! The BPF object is relocated once per kernel (`object`), kept (`cache`), and loaded from then on
//! without any look at the kernel's BTF (`run`).

mod args;
pub(crate) mod cache;
pub(crate) mod config;
mod feature;
pub(crate) mod object;
mod orphan;
mod pseudo;
mod run;
pub(crate) mod sys;

use std::io;

use nabe_event::{Interest, Needs};

pub use self::feature::{Feature, features};

use self::config::Reader;
use self::object::{ITERATORS, Relocated};
use self::run::{From, Loaded, Session};
use self::sys::Walk;
use crate::{Backend, Options, Report};

/// Up to this many wanted processes are walked one by one; more are picked out of a walk over all.
const WALKED_ALONE: usize = 64;

/// Why the iterators cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program or map is not in the object; a broken build.
    #[error("the BPF object of this build lacks a program")]
    Absent,
    /// The kernel was built without CONFIG_DEBUG_INFO_BTF.
    #[error("this kernel has no BTF (/sys/kernel/btf/vmlinux)")]
    NoBtf,
    /// bpf(2) is refused for want of a capability.
    #[error("bpf() is refused without {missing}")]
    Capability {
        /// The capability, or several.
        missing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The embedded object cannot be read.
    #[error("the BPF object cannot be opened")]
    Object(#[source] libbpf_rs::Error),
    /// Relocation against the running kernel failed.
    #[error("the BPF object cannot be relocated")]
    Relocate(#[source] io::Error),
    /// A map was refused.
    #[error("BPF map {map} is refused")]
    Map {
        /// Its name.
        map: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel has no such iterator.
    #[error("this kernel has no iterator for {program}")]
    OldKernel {
        /// The program.
        program: &'static str,
    },
    /// The verifier, or bpf(2) before it, refused a program.
    #[error("BPF program {program} is refused{}{log}", if log.is_empty() { "" } else { ": " })]
    Program {
        /// Its name.
        program: &'static str,
        /// The last lines of the verifier's log.
        log: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A run failed.
    #[error("the run of BPF program {program} failed")]
    Run {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    fn prepare(source: io::Error) -> Self {
        if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Self::NoBtf;
        }
        Self::refused(source, Self::Relocate)
    }

    pub(crate) fn map(map: &str, source: io::Error) -> Self {
        Self::refused(source, |source| Self::Map { map: map.to_owned(), source })
    }

    pub(crate) fn program(program: &'static str, log: &[u8], source: io::Error) -> Self {
        let log = last_lines(&String::from_utf8_lossy(log), 4);
        Self::refused(source, |source| Self::Program { program, log, source })
    }

    /// EPERM is told by the capability that is missing, when one is.
    fn refused(source: io::Error, otherwise: impl FnOnce(io::Error) -> Self) -> Self {
        match (source.raw_os_error(), missing_capabilities()) {
            (Some(libc::EPERM | libc::EACCES), Some(missing)) => Self::Capability { missing, source },
            _ => otherwise(source),
        }
    }

    /// In a line for people, without the verifier's words.
    pub(crate) fn short(&self) -> String {
        match self {
            Self::Program { program, source, .. } => format!("the kernel refuses {program}: {source}"),
            Self::OldKernel { program } => format!("this kernel is too old for {program}"),
            Self::Capability { missing, .. } => format!("bpf() needs {missing}"),
            other => chain(other),
        }
    }

    /// For people: what is missing, what is therefore not seen, and the mend.
    #[must_use]
    pub fn consequence(&self) -> String {
        let mend = match self {
            Self::Capability { .. } => "run as root, or give nabe these capabilities".to_owned(),
            Self::NoBtf => "a kernel with CONFIG_DEBUG_INFO_BTF has it".to_owned(),
            _ => "`nabe doctor` says more".to_owned(),
        };
        format!("read from /proc instead of the kernel: {}; {mend}", self.short())
    }
}

/// The last `count` lines, on one line.
fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join(" | ")
}

/// Which of the capabilities that iterators need this process lacks.
pub(crate) fn missing_capabilities() -> Option<String> {
    const SYS_ADMIN: u32 = 21;
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let text = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(text.trim(), 16).ok()?;
    let has = |bit: u32| effective >> bit & 1 == 1;
    if has(SYS_ADMIN) {
        return None;
    }
    let missing: Vec<&str> = [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(bit, _)| !has(*bit))
        .map(|(_, n)| n)
        .collect();
    (!missing.is_empty()).then(|| missing.join(" and "))
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Appends the records that `interest` asks for to `out`.
///
/// # Errors
/// When a program that is needed cannot be loaded or run.
pub fn snapshot(interest: &Interest, options: &Options, out: &mut Vec<u8>) -> Result<Report, Error> {
    let start = out.len();
    let (mut relocated, kept) = cache::relocated(&ITERATORS, options.cache.as_deref())?;
    if kept {
        if let Ok(report) = collect(&relocated, interest, out) {
            return Ok(report);
        }
        // Stale in a way that its key does not show, or a true refusal: the long way tells.
        out.truncate(start);
        relocated = Relocated::from_kernel(&ITERATORS)?;
    }
    collect(&relocated, interest, out)
}

/// Runs what the needs ask for.
fn collect(relocated: &Relocated, interest: &Interest, out: &mut Vec<u8>) -> Result<Report, Error> {
    let mut notes = Vec::new();
    let needs = interest.needs;
    let reader = Reader::this();
    let pids: Vec<(u32, From)> = interest.pids.iter().flatten().map(|pid| (*pid, From::default())).collect();
    let session_for = |interest: &Interest| {
        let config = config::encode(interest, reader, interest.pids.is_some());
        Session::new(relocated, &config, pids.clone(), interest.needs.contains(Needs::CGROUP))
    };
    let session = session_for(interest);
    let one = relocated.walks_one_task;
    let threads = needs.intersects(Needs::THREADS | Needs::THREAD_TIMES);
    // The second round of a query has its tasks already: what it tells of them would count instead.
    if needs.contains(Needs::TASK) {
        tasks(&session, &session_for, interest, &walks(interest, one, threads), out, &mut notes)?;
    }
    let before_args = out.len();
    if args::needed(needs)
        && let Err(error) =
            args::collect(relocated, &session, interest, reader, &walks(interest, one, false), out)
    {
        out.truncate(before_args);
        let asked = [Needs::ARGS, Needs::ENV].into_iter().filter(|need| needs.contains(*need));
        let plain = Interest { needs: asked.fold(Needs::TASK, |all, need| all | need), ..interest.clone() };
        if args::collect_from_proc(&plain, out).is_err() {
            notes
                .push(format!("command lines are not read: {}; Linux 5.18 has what it takes", error.short()));
        }
    }
    if needs.contains(Needs::FD) {
        // A thread may have left its process's table of descriptors.
        files(&session, needs, &walks(interest, one, true), out, &mut notes)?;
        if needs.contains(Needs::ORPHAN_SOCKETS) && orphan::needed(interest) {
            orphan::collect(&session, interest, out, &mut notes);
        }
    }
    Ok(Report { backend: Some(Backend::Bpf), notes })
}

/// Task records; when the program is refused, without what is not essential.
fn tasks<'a>(
    session: &Session<'a>,
    session_for: &dyn Fn(&Interest) -> Session<'a>,
    interest: &Interest,
    walks: &[Walk],
    out: &mut Vec<u8>,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    const DETAIL: Needs = Needs::RSS.and(Needs::CGROUP).and(Needs::EXE).and(Needs::CWD);
    let program = match session.load("nabe_task") {
        Err(error @ Error::Program { .. }) if interest.needs.intersects(DETAIL) => {
            let plain = Interest { needs: interest.needs.without(DETAIL), ..interest.clone() };
            let program = session_for(&plain).load("nabe_task")?;
            notes.push(format!(
                "memory, cgroups, executables and directories are not read: {}",
                error.short()
            ));
            program
        }
        program => program?,
    };
    run_all(&program, walks, out)
}

/// Fd records.
fn files(
    session: &Session<'_>,
    needs: Needs,
    walks: &[Walk],
    out: &mut Vec<u8>,
    notes: &mut Vec<String>,
) -> Result<(), Error> {
    if !needs.contains(Needs::FD_PATH) {
        return run_all(&session.load("nabe_file")?, walks, out);
    }
    if let Ok(program) = session.load("nabe_file_path") {
        return run_all(&program, walks, out);
    }
    match session.load("nabe_file_walk") {
        Ok(program) => {
            let start = out.len();
            run_all(&program, walks, out)?;
            pseudo::name(out, start);
            Ok(())
        }
        Err(error) => {
            notes.push(format!("paths of descriptors are not read: {}", error.short()));
            run_all(&session.load("nabe_file")?, walks, out)
        }
    }
}

fn run_all(program: &Loaded, walks: &[Walk], out: &mut Vec<u8>) -> Result<(), Error> {
    walks.iter().try_for_each(|walk| program.run(*walk, out))
}

/// The walks that cover what is wanted; `threads`: whether more than the leaders is.
fn walks(interest: &Interest, one_task: bool, threads: bool) -> Vec<Walk> {
    match &interest.pids {
        Some(pids) if one_task && pids.len() <= WALKED_ALONE => {
            pids.iter().map(|pid| if threads { Walk::Process(*pid) } else { Walk::Thread(*pid) }).collect()
        }
        Some(pids) if pids.is_empty() => Vec::new(),
        _ => vec![Walk::All],
    }
}
