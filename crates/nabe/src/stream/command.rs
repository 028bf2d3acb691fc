//! A command that is run to be traced.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::error::{CliError, Result};

/// Signals that are passed on.
const PASSED: [(i32, Signal); 6] = [
    (signal_hook::consts::SIGTERM, Signal::TERM),
    (signal_hook::consts::SIGHUP, Signal::HUP),
    (signal_hook::consts::SIGQUIT, Signal::QUIT),
    (signal_hook::consts::SIGINT, Signal::INT),
    (signal_hook::consts::SIGUSR1, Signal::USR1),
    (signal_hook::consts::SIGUSR2, Signal::USR2),
];

/// A command that waits at its beginning, then runs. One that never ran ends with this process: the
/// kernel kills it (`PR_SET_PDEATHSIG`, see `nabe hold`).
pub struct Traced {
    child: Child,
    pid: Pid,
    status: Option<ExitStatus>,
    /// Signals that came, one bit each.
    came: Arc<AtomicUsize>,
}

impl Traced {
    /// Starts the command and stops it before its first instruction.
    pub fn hold(command: &[OsString]) -> Result<Self> {
        let failed = |what: &str, error: &dyn std::error::Error| CliError::failed(what).because(error);
        let own = std::env::current_exe().map_err(|error| failed("cannot find our own program", &error))?;
        // From here on signals are the command's.
        let came = Arc::new(AtomicUsize::new(0));
        for (at, (number, _)) in PASSED.iter().enumerate() {
            let flag = Arc::clone(&came);
            signal_hook::flag::register_usize(*number, flag, 1 << at)
                .map_err(|error| failed("cannot handle signals", &error))?;
        }
        let child = Command::new(own)
            .args(["hold", "--"])
            .args(command)
            .spawn()
            .map_err(|error| failed("cannot start the command", &error))?;
        let pid = Pid::from_child(&child);
        let mut held = Self { child, pid, status: None, came };
        let stopped = waitpid(Some(pid), WaitOptions::UNTRACED)
            .map_err(|error| failed("cannot wait for the command", &error))?;
        if !stopped.is_some_and(|(_, status)| status.stopped()) {
            held.status = Some(ExitStatus::from_raw(1 << 8));
            return Err(CliError::failed("the command ended before it began"));
        }
        Ok(held)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it run.
    pub fn go(&self) -> Result<()> {
        kill_process(self.pid, Signal::CONT)
            .map_err(|error| CliError::failed("cannot let the command run").because(&error))
    }

    /// Passes signals on; returns whether the command has ended.
    pub fn look(&mut self) -> Result<bool> {
        let came = self.came.swap(0, Ordering::Relaxed);
        for (at, (_, signal)) in PASSED.iter().enumerate() {
            // A terminal sends Ctrl-C to the command itself.
            let by_terminal = *signal == Signal::INT && std::io::IsTerminal::is_terminal(&std::io::stdin());
            if came >> at & 1 == 1 && !by_terminal && self.status.is_none() {
                // It may have ended just now.
                let _ = kill_process(self.pid, *signal);
            }
        }
        if self.status.is_none() {
            self.status = self
                .child
                .try_wait()
                .map_err(|error| CliError::failed("cannot wait for the command").because(&error))?;
        }
        Ok(self.status.is_some())
    }

    /// Waits for its end, passing signals on.
    pub fn wait(&mut self) -> Result<()> {
        while !self.look()? {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its exit status; 128 and the number of the signal that ended it.
    pub fn code(&self) -> ExitCode {
        let Some(status) = self.status else { return ExitCode::FAILURE };
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        ExitCode::from(u8::try_from(code).unwrap_or(1))
    }
}
