//! `cargo xtask test`: the steps of CI in order, cheap ones first, tests last.
//!
//! A red step does not stop the next one, so that one run shows all that is wrong; the run fails if
//! any step did. The last line is always `N passed, N failed, N skipped` (see [`crate::tally`]).

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::Command;

use crate::tally::Tally;
use crate::{Outcome, cargo, tidy};

/// Runs everything; true when all of it was green.
pub(crate) fn run(root: &Path) -> Outcome {
    let mut broken: Vec<&str> = Vec::new();
    let mut tally = Tally::default();

    step("cargo fmt --check");
    if !cargo().args(["fmt", "--all", "--check"]).status()?.success() {
        broken.push("fmt");
    }
    step("cargo clippy");
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet"];
    if !cargo().args(lints).args(["--", "--deny", "warnings"]).status()?.success() {
        broken.push("clippy");
    }
    // Whoever needs neither Lua nor YARA builds it so.
    step("cargo check --no-default-features");
    let small = ["check", "--package", "nabe", "--no-default-features", "--locked", "--quiet"];
    if !cargo().args(small).status()?.success() {
        broken.push("no-default-features");
    }
    step("tidy");
    if !tidy::check(root).unwrap_or_else(|error| {
        eprintln!("xtask: error: {error}");
        false
    }) {
        broken.push("tidy");
    }
    for command in runners() {
        let failed_before = tally.failed();
        // A failed test is counted by itself; a run that fails without one (it did not build, it
        // died of a signal) counts as one failure.
        if !read(command, &mut tally)? && tally.failed() == failed_before {
            broken.push("test run");
        }
    }

    let mut out = std::io::stdout().lock();
    for line in tally.skips() {
        writeln!(out, "{line}")?;
    }
    for name in &broken {
        writeln!(out, "FAILED step: {name}")?;
    }
    let steps = u64::try_from(broken.len())?;
    writeln!(out, "{}", tally.summary(steps))?;
    Ok(broken.is_empty() && tally.failed() == 0)
}

fn step(name: &str) {
    eprintln!("== {name}");
}

/// The commands that run the tests: nextest leaves the doc tests to cargo.
fn runners() -> Vec<Command> {
    let wish = std::env::var("NABE_TEST_RUNNER").unwrap_or_default();
    let has_nextest = || {
        let mut version = cargo();
        version.args(["nextest", "--version"]);
        version.output().is_ok_and(|output| output.status.success())
    };
    let arguments: &[&[&str]] = if wish == "nextest" || wish.is_empty() && has_nextest() {
        &[
            &[
                "nextest",
                "run",
                "--workspace",
                "--locked",
                "--no-fail-fast",
                "--success-output=immediate",
                "--failure-output=final",
                "--status-level=slow",
                "--no-tests=pass",
            ],
            &["test", "--doc", "--workspace", "--locked", "--no-fail-fast"],
        ]
    } else {
        &[&["test", "--workspace", "--locked", "--no-fail-fast", "--", "--show-output"]]
    };
    // What is built only when asked for, and cheap enough to build each time.
    let features: &[&str] = &[
        "test",
        "--package",
        "nabe-export",
        "--features",
        "parquet",
        "--lib",
        "--locked",
        "--",
        "--show-output",
        "parquet",
    ];
    let build = |arguments: &&[&str]| {
        let mut command = cargo();
        command.args(*arguments);
        command
    };
    arguments.iter().chain([&features]).map(build).collect()
}

/// Runs a command, shows the lines of its output that are worth it, and counts; true when it succeeded.
fn read(mut command: Command, tally: &mut Tally) -> Outcome {
    step(&format!("{command:?}").replace('"', ""));
    let (reader, writer) = std::io::pipe()?;
    command.stdin(std::process::Stdio::null());
    command.stdout(writer.try_clone()?).stderr(writer);
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command.spawn()?;
    // Holds the write ends of the pipe: with it alive the reader below would never see the end.
    drop(command);
    let mut out = std::io::stdout().lock();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if tally.read(&line) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(child.wait()?.success())
}
