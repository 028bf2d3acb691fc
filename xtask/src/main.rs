//! `cargo xtask VERB`: what the Makefile and CI run behind `make`.
//!
//! In: the working tree, `cargo metadata`, the output of `cargo test`. Out: generated files, a list
//! of what is untidy, a count of tests. Everything that needs only a shell stays in the Makefile.
//!
//! **Invariants**: a verb that finds something wrong exits 1 and says where; nothing here is part of
//! the shipped binary. **Not here**: man pages and completions (`nabe gen`), packaging.

mod codegen;
mod event_table;
mod layering;
mod suite;
mod tally;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What a verb returns: whether everything was in order, or why it could not look.
type Outcome = Result<bool, Box<dyn std::error::Error>>;

const HELP: &str = "usage: cargo xtask VERB
  tidy     check file headers, layering, names and generated files
  codegen  write the generated files
  event-table SCHEMA.json  import the event table of a schema
  test     everything that CI runs; NABE_TEST_RUNNER=cargo|nextest chooses the runner
  man DIR          build nabe and write its man pages to DIR
  completions DIR  build nabe and write its shell completions to DIR
  vm [KERNEL...]   smoke test of the release binary on other kernels";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["tidy"] => tidy::check(&root()),
        ["event-table", schema] => event_table::import(&root(), Path::new(schema)),
        ["codegen"] => codegen::write(&root()),
        ["test"] => suite::run(&root()),
        [what @ ("man" | "completions"), directory] => generate(what, directory),
        ["vm", kernels @ ..] => succeed(Command::new(root().join("tests/vm/run")).args(kernels)),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root: this crate's parent directory.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The cargo that runs us, so that a `cargo +toolchain xtask` stays on its toolchain.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command with our terminal; false when it fails.
fn succeed(command: &mut Command) -> Outcome {
    Ok(command.status()?.success())
}

/// `nabe gen WHAT DIRECTORY`: the binary alone knows its arguments.
fn generate(what: &str, directory: &str) -> Outcome {
    let directory = std::path::absolute(directory)?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "nabe", "--", "gen", what]);
    succeed(command.arg(directory))
}
