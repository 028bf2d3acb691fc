//! Where facts come from: BPF iterators in the kernel, or `/proc` where there is no BPF; and where
//! events come from while they happen: BPF programs and their ring ([`live`]).
//!
//! In: an [`Interest`]. Out: records (`nabe_event::record`), appended to one buffer. Live: in an
//! `EventInterest`, out a stream of items.
//!
//! **Invariants.** Both backends write the same records; what one cannot know is flagged in the
//! record, never invented. Nothing here needs more than the query asked for, and nothing that is
//! not needed can make a snapshot fail: it becomes a note. All unsafe code of nabe is in this crate.
//!
//! **Not here.** What records mean together (`state`), containers (`container`), text.

pub mod hidden;
pub mod host;
pub mod iter;
pub mod live;
pub mod own;
pub mod proc;
pub mod user;

use std::path::PathBuf;

use nabe_event::{Interest, Needs};

/// Which source answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// BPF iterators.
    Bpf,
    /// `/proc`.
    Proc,
}

/// How to take a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only this source; otherwise BPF, and `/proc` when BPF cannot be had.
    pub backend: Option<Backend>,
    /// Where relocated programs are kept between runs; `None` keeps none.
    pub cache: Option<PathBuf>,
}

/// What a snapshot could and could not see.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Who answered.
    pub backend: Option<Backend>,
    /// Sentences for people: what was not seen, why, and what would mend it.
    pub notes: Vec<String>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// BPF was asked for by name and cannot be had.
    #[error("the BPF iterators cannot be used")]
    Bpf(#[source] iter::Error),
    /// `/proc` cannot be read.
    #[error("/proc cannot be read")]
    Proc(#[source] proc::Error),
}

/// Appends the records that `interest` asks for to `out`, the host's among them.
///
/// # Errors
/// When the backend that was asked for by name, or both, cannot answer.
pub fn snapshot(interest: &Interest, options: &Options, out: &mut Vec<u8>) -> Result<Report, Error> {
    let start = out.len();
    let report = collect(interest, options, out)?;
    if interest.needs.contains(Needs::USER) {
        user::of_tasks(start, out);
    }
    host::host(report.backend.unwrap_or(Backend::Proc), out);
    Ok(report)
}

fn collect(interest: &Interest, options: &Options, out: &mut Vec<u8>) -> Result<Report, Error> {
    if options.backend == Some(Backend::Proc) {
        return proc::snapshot(interest, out).map_err(Error::Proc);
    }
    let start = out.len();
    match iter::snapshot(interest, options, out) {
        Ok(report) => Ok(report),
        Err(error) if options.backend == Some(Backend::Bpf) => Err(Error::Bpf(error)),
        Err(error) => {
            out.truncate(start);
            let mut report = proc::snapshot(interest, out).map_err(Error::Proc)?;
            report.notes.insert(0, error.consequence());
            Ok(report)
        }
    }
}
