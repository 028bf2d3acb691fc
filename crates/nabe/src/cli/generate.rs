//! `nabe version`, `nabe completion`, and the hidden `nabe gen`, which packages call.

use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::Shell;

use crate::error::{CliError, Result};
use crate::output;

/// Print a completion script.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: nabe completion bash > /etc/bash_completion.d/nabe")]
pub struct CompletionArgs {
    /// Shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

/// Write man pages or completions into a directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to write
    #[arg(value_enum)]
    what: What,
    /// Where; made when missing
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    Man,
    Completions,
}

/// `nabe version`.
pub fn version() -> Result<ExitCode> {
    output::write(format!("nabe {}\n", env!("CARGO_PKG_VERSION")).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `nabe completion SHELL`.
pub fn completion(args: &CompletionArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "nabe", &mut script);
    output::write(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// `nabe gen WHAT DIR`.
pub fn run(args: &Args) -> Result<ExitCode> {
    let wrong = |error: std::io::Error| CliError::file("write into", &args.directory, &error);
    std::fs::create_dir_all(&args.directory).map_err(wrong)?;
    match args.what {
        What::Man => clap_mangen::generate_to(super::command(), &args.directory).map_err(wrong)?,
        What::Completions => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
                clap_complete::generate_to(shell, &mut super::command(), "nabe", &args.directory)
                    .map_err(wrong)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
