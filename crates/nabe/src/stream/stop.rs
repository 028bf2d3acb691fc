//! Signals that a run listens to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::error::{CliError, Result};

/// Ctrl-C and its kin: the normal end of a run. SIGUSR1: a new file.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    stop: Arc<AtomicBool>,
    rotate: Arc<AtomicBool>,
}

impl Stop {
    /// Listens from now on. The signal behind the first one ends the program as ever.
    pub fn listen() -> Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let twice = signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop.stop));
            twice
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop.stop)))
                .map_err(|error| CliError::failed("cannot handle signals").because(&error))?;
        }
        Ok(stop)
    }

    /// Listens to SIGUSR1, too.
    pub fn listen_rotate(&self) -> Result<()> {
        signal_hook::flag::register(SIGUSR1, Arc::clone(&self.rotate))
            .map(|_| ())
            .map_err(|error| CliError::failed("cannot handle signals").because(&error))
    }

    /// Whether the end was asked for.
    pub fn is_asked(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks for a new file, as SIGUSR1 does.
    #[cfg(test)]
    pub fn ask_rotate(&self) {
        self.rotate.store(true, Ordering::Relaxed);
    }

    /// Whether a new file was asked for since this was called last.
    pub fn take_rotate(&self) -> bool {
        self.rotate.swap(false, Ordering::Relaxed)
    }
}
