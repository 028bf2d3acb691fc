//! BPF iterators: loading them, running them, reading their records.
//!
//! The BPF object is relocated once per kernel (`object`), kept (`cache`), and loaded from then on
//! without any look at the kernel's BTF (`run`).

mod config;
mod object;
mod run;
mod sys;

use std::io;

use nabe_event::{Interest, Needs};

use self::config::Reader;
use self::object::Relocated;
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
    #[error("bpf() is refused: {missing} is missing")]
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

    fn map(map: &str, source: io::Error) -> Self {
        Self::refused(source, |source| Self::Map { map: map.to_owned(), source })
    }

    fn program(program: &'static str, log: &[u8], source: io::Error) -> Self {
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

    /// For people: what is missing, what is therefore not seen, and the mend.
    #[must_use]
    pub fn consequence(&self) -> String {
        let mend = match self {
            Self::Capability { missing, .. } => format!("run as root or give it {missing}"),
            Self::NoBtf => "a kernel with CONFIG_DEBUG_INFO_BTF has it".to_owned(),
            _ => "`nabe doctor` says more".to_owned(),
        };
        format!("read from /proc instead of the kernel: {self}; {mend}")
    }
}

/// The last `count` lines, on one line.
fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join(" | ")
}

/// Which of the capabilities that iterators need this process lacks.
fn missing_capabilities() -> Option<String> {
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
    let missing: Vec<&str> =
        [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")].into_iter().filter(|(bit, _)| !has(*bit)).map(|(_, n)| n).collect();
    (!missing.is_empty()).then(|| missing.join(" and "))
}

/// Appends the records that `interest` asks for to `out`.
///
/// # Errors
/// When a program that is needed cannot be loaded or run.
pub fn snapshot(interest: &Interest, _options: &Options, out: &mut Vec<u8>) -> Result<Report, Error> {
    let report = Report { backend: Some(Backend::Bpf), notes: Vec::new() };
    let relocated = Relocated::from_kernel()?;
    let wanted: Vec<(u32, From)> =
        interest.pids.iter().flatten().map(|pid| (*pid, From::default())).collect();
    let config = config::encode(interest, Reader::this(), interest.pids.is_some());
    let session = Session::new(&relocated, &config, wanted, interest.needs.contains(Needs::CGROUP));
    let walks = walks(interest, relocated.walks_one_task);
    run_all(&session.load("nabe_task")?, &walks, out)?;
    Ok(report)
}

fn run_all(program: &Loaded, walks: &[Walk], out: &mut Vec<u8>) -> Result<(), Error> {
    walks.iter().try_for_each(|walk| program.run(*walk, out))
}

/// The walks that cover what is wanted.
fn walks(interest: &Interest, one_task: bool) -> Vec<Walk> {
    let threads = interest.needs.intersects(Needs::THREADS | Needs::THREAD_TIMES);
    match &interest.pids {
        Some(pids) if one_task && pids.len() <= WALKED_ALONE => {
            pids.iter().map(|pid| if threads { Walk::Process(*pid) } else { Walk::Thread(*pid) }).collect()
        }
        Some(pids) if pids.is_empty() => Vec::new(),
        _ => vec![Walk::All],
    }
}
