//! Every file of a folder, one after the other, and a table at the end.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::error::{CliError, Result};
use crate::output;
use crate::stream::stop::Stop;

/// How often it is looked whether the end was asked for.
const BEAT: Duration = Duration::from_millis(100);

/// One specimen's line.
struct Line {
    name: String,
    status: u8,
    report: Value,
    /// Why there is no report.
    error: String,
}

/// Runs each file in a process of its own, with the words that `words` makes of its path; `stop` ends the
/// one that runs, and nothing is begun behind it.
pub fn run(
    folder: &Path,
    as_json: bool,
    words: &dyn Fn(&Path) -> Vec<OsString>,
    stop: &Stop,
) -> Result<ExitCode> {
    let entries = std::fs::read_dir(folder).map_err(|error| CliError::file("read", folder, &error))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|p| p.is_file()).collect();
    files.sort();
    if files.is_empty() {
        return Err(CliError::failed(format_args!("no file is in {}", folder.display())));
    }
    let own = std::env::current_exe()
        .map_err(|error| CliError::failed("cannot find our own program").because(&error))?;
    let mut lines = Vec::new();
    for file in &files {
        if stop.is_asked() {
            break;
        }
        lines.push(one(Command::new(&own).args(words(file)), file, stop)?);
    }
    let worst =
        lines.iter().map(|line| line.status).max_by_key(|status| if *status == 1 { 11 } else { *status });
    if as_json {
        let all: Vec<Value> = lines
            .iter()
            .map(|line| {
                let error = Some(&line.error).filter(|error| !error.is_empty());
                json!({"name": line.name, "status": line.status, "error": error, "report": line.report})
            })
            .collect();
        let text = serde_json::to_string_pretty(&all).unwrap_or_default() + "\n";
        output::write(text.as_bytes())?;
    } else {
        output::write((table(&lines) + &summary(&lines, files.len())).as_bytes())?;
    }
    Ok(ExitCode::from(worst.unwrap_or(0)))
}

fn one(command: &mut Command, file: &Path, stop: &Stop) -> Result<Line> {
    let fail = |error: std::io::Error| CliError::failed("cannot run the sandbox").because(&error);
    // In a group of its own, so that Ctrl-C reaches it once: a second signal would end it as it is.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn();
    let output = attend(child.map_err(fail)?, stop).map_err(fail)?;
    let status = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().find_map(|line| line.strip_prefix("nabe: error: ")).unwrap_or_default();
    if error.is_empty() {
        eprint!("{said}");
    }
    Ok(Line {
        name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        status,
        report,
        error: error.to_owned(),
    })
}

/// Waits for a run; hands on that the end is asked for.
fn attend(child: Child, stop: &Stop) -> std::io::Result<Output> {
    let pid = Pid::from_child(&child);
    let (done, waits) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let output = child.wait_with_output();
        let _ = done.send(());
        output
    });
    let mut told = false;
    while waits.recv_timeout(BEAT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        if stop.is_asked() && !std::mem::replace(&mut told, true) {
            // It may just have ended.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    thread.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
}

/// How many were what.
fn summary(lines: &[Line], files: usize) -> String {
    let mut words = Vec::new();
    for verdict in ["malicious", "suspicious", "clean", "failed"] {
        let number = lines.iter().filter(|line| verdict_of(line) == verdict).count();
        if number > 0 {
            words.push(format!("{number} {verdict}"));
        }
    }
    if lines.len() < files {
        words.push(format!("{} not run", files - lines.len()));
    }
    format!("\n{files} files: {}\n", words.join(", "))
}

fn verdict_of(line: &Line) -> &str {
    line.report["verdict"].as_str().unwrap_or("failed")
}

fn table(lines: &[Line]) -> String {
    let width = lines
        .iter()
        .map(|line| output::plain(line.name.as_bytes()).chars().count())
        .max()
        .unwrap_or(0)
        .clamp(8, 40);
    let mut text = format!("{:<width$}  {:<10}  {:>5}  RULES\n", "SPECIMEN", "VERDICT", "SCORE");
    for line in lines {
        let verdict = verdict_of(line);
        let score = line.report["score"].as_u64().map_or_else(|| "-".to_owned(), |score| score.to_string());
        let hits = line.report["hits"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut rules: Vec<&str> = hits.iter().filter_map(|hit| hit["rule"].as_str()).collect();
        rules.extend(Some(&*line.error).filter(|error| !error.is_empty()));
        let name = output::plain(line.name.as_bytes());
        let rules = output::plain(rules.join(", ").as_bytes());
        text.push_str(format!("{name:<width$}  {verdict:<10}  {score:>5}  {rules}").trim_end());
        text.push('\n');
    }
    text
}
