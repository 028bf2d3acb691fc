//! The live kernel as a source: opened for what its readers want, ended by the clock, a signal or the
//! end of a command.

use std::time::{Duration, Instant};

use nabe_event::Source;
use nabe_event::source::{Account, EventInterest};
use nabe_probe::live::{Error, Handle, Live, Options};

use super::Step;
use super::stop::Stop;
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
pub fn open(interest: &EventInterest, ring_bytes: Option<usize>, own: bool) -> Result<Live> {
    let mut options = Options { cache: config::cache(), own, ..Options::default() };
    if let Some(bytes) = ring_bytes {
        options.ring_bytes = bytes;
    }
    let live = Live::open(interest, &options)?;
    crate::output::notes(live.notes());
    Ok(live)
}

/// When a run ends by itself.
pub struct End {
    deadline: Option<Instant>,
    stop: Stop,
    handle: Handle,
}

impl End {
    /// Ends at a signal, and behind `seconds` if there are any.
    pub fn new(live: &Live, stop: &Stop, seconds: Option<f64>) -> Result<Self> {
        let span = seconds
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(|error| CliError::usage(format_args!("-M {}: {error}", seconds.unwrap_or_default())))?;
        let deadline = span.and_then(|span| Instant::now().checked_add(span));
        Ok(Self { deadline, stop: stop.clone(), handle: live.handle() })
    }

    /// Looks whether it is time; what is in the ring by then still comes.
    pub fn look(&self, over: bool) {
        if over || self.stop.is_asked() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.handle.stop();
        }
    }
}

/// Takes the probe's events down a road until it ends; `between` is called after each batch and says
/// whether the run is over.
pub fn run(
    live: &mut Live,
    end: &End,
    mut step: impl FnMut(&mut Live) -> Result<Step>,
    mut between: impl FnMut() -> Result<bool>,
) -> Result<()> {
    loop {
        match step(live)? {
            Step::More => {}
            Step::Ended => return Ok(()),
            Step::Enough => {
                end.look(true);
                return Ok(());
            }
        }
        end.look(between()?);
    }
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

/// The account of a probe.
pub fn account(live: &Live) -> Account {
    Source::account(live)
}
