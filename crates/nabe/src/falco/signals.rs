//! Signals of a detector: the end, new rules, new files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1};

use crate::error::{CliError, Result};

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
}

impl Signals {
    /// Listens from now on. The second INT or TERM ends the program as ever.
    pub fn listen() -> Result<Self> {
        let signals = Self::default();
        let register = || -> std::io::Result<()> {
            for signal in [SIGINT, SIGTERM] {
                signal_hook::flag::register_conditional_default(signal, Arc::clone(&signals.stop))?;
                signal_hook::flag::register(signal, Arc::clone(&signals.stop))?;
            }
            // A program that stops reading its alerts is an error to be counted, not our end.
            signal_hook::flag::register(SIGPIPE, Arc::default())?;
            signal_hook::flag::register(SIGHUP, Arc::clone(&signals.reload))?;
            signal_hook::flag::register(SIGUSR1, Arc::clone(&signals.reopen))?;
            Ok(())
        };
        register().map_err(|error| CliError::failed("cannot handle signals").because(&error))?;
        Ok(signals)
    }

    /// Asks for the end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// SIGHUP: whether rules are to be loaded anew since this was called last.
    pub fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }

    /// SIGUSR1: whether files are to be opened anew since this was called last.
    pub fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::Relaxed)
    }
}
