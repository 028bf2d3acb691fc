//! `nabe hold`: waits, stopped, until whoever started it lets it go, then becomes a command. It is how
//! `nabe trace -- COMMAND` sees a command from its first instruction.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};

use crate::error::{CliError, Result};
use crate::output;

/// Waits until it is continued, then runs a command in its place.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the verb. Exit status: the command's; 126 when it cannot be run, 127 when there is none.
pub fn run(args: &Args) -> Result<ExitCode> {
    let failed = |error: rustix::io::Errno| CliError::failed("cannot wait for the tracer").because(&error);
    // Whoever was to let it go may die before.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    kill_process(getpid(), Signal::STOP).map_err(failed)?;
    set_parent_process_death_signal(None).map_err(failed)?;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(CliError::usage("no command"));
    };
    let error = Command::new(program).args(arguments).exec();
    let name = output::plain(program.as_encoded_bytes());
    eprintln!("nabe: error: cannot run {name}: {error}");
    Ok(ExitCode::from(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }))
}
