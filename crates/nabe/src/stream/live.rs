//! The live kernel as a source: opened for what its readers want, ended by the clock, a signal or the
//! end of a command.

use std::time::{Duration, Instant};

use nabe_event::Source;
use nabe_event::source::{Account, EventInterest};
use nabe_probe::live::{Error, Live, Options};

use super::command::Traced;
use super::container::Containers;
use super::stop::Stop;
use super::stranger::Strangers;
use super::{Road, Step};
use crate::config;
use crate::error::{CliError, Result};

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        let failed = Self::failed(&error);
        let failed = match std::error::Error::source(&error) {
            Some(cause) => failed.because(cause),
            None => failed,
        };
        failed.hint("`nabe doctor` says what this kernel and these privileges allow")
    }
}

/// Opens the probe; what it could not see is told.
fn open(interest: &EventInterest, ring_bytes: Option<usize>, own: bool) -> Result<Live> {
    let mut options = Options { cache: config::cache(), own, ..Options::default() };
    if let Some(bytes) = ring_bytes {
        options.ring_bytes = bytes;
    }
    let live = Live::open(interest, &options)?;
    crate::output::notes(live.notes());
    Ok(live)
}

/// What a live run is like.
pub struct Run<'a> {
    /// What is collected.
    pub interest: &'a EventInterest,
    /// Bytes of the ring, if asked for.
    pub ring_bytes: Option<usize>,
    /// Whether our own events are collected, too.
    pub own: bool,
    /// Ends by itself behind so many seconds.
    pub seconds: Option<f64>,
    /// What ends it before.
    pub stop: &'a Stop,
    /// Who names containers.
    pub containers: &'a Containers,
    /// Who knows which cgroups nobody wants to see.
    pub strangers: &'a Strangers,
}

/// Collects events and takes them down `road` until it ends: by itself, at a signal, or with the
/// `command`, which runs once everything is ready. Gives back what became of all events.
pub fn run(how: &Run<'_>, road: &mut impl Road, mut command: Option<&mut Traced>) -> Result<Account> {
    let span = how.seconds.map(Duration::try_from_secs_f64).transpose();
    let span = span.map_err(|error| CliError::usage(format_args!("-M: {error}")))?;
    let mut live = open(how.interest, how.ring_bytes, how.own)?;
    let handle = live.handle();
    if let Some(command) = &command {
        road.wait_for_exec(i64::from(command.pid()));
        command.go()?;
    }
    let mut announcer = how.containers.announcer();
    let deadline = span.and_then(|span| Instant::now().checked_add(span));
    let result = loop {
        how.containers.tell(road)?;
        how.strangers.tell(&mut live);
        let mut source = announcer.before(&mut live);
        match road.step(&mut source, |error| CliError::failed("cannot read live events").because(error)) {
            Ok(Step::More) => {}
            Ok(Step::Ended | Step::Enough) => break Ok(()),
            Err(error) => break Err(error),
        }
        let over = command.as_mut().map_or(Ok(false), |command| command.look())?;
        if over || how.stop.is_asked() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // What is in the ring by now still comes.
            handle.stop();
        }
    };
    let account = Source::account(&live);
    drop(live);
    let finished = road.finish();
    result.and(finished).map(|()| account)
}

/// What was seen, delivered, filtered and lost, in words.
pub fn tell(account: &Account, shown: u64) {
    let mut text = format!(
        "nabe: {} events seen, {} delivered, {} filtered in the kernel, {} lost; {shown} shown",
        account.seen,
        account.delivered,
        account.filtered,
        account.lost()
    );
    for lost in &account.lost {
        let cpu = lost.cpu.map_or_else(String::new, |cpu| format!(" on cpu {cpu}"));
        text.push_str(&format!("\nnabe: lost {} ({}{cpu})", lost.events, lost.cause.name()));
    }
    if account.lost() > 0 {
        text.push_str("\nhint: a larger --ring, a filter, or a smaller -s loses less");
    }
    eprintln!("{text}");
}
