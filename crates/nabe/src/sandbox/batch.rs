//! Every file of a folder, one after the other, and a table at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::{Value, json};

use crate::error::{CliError, Result};
use crate::output;

/// One specimen's line.
struct Line {
    name: String,
    status: u8,
    report: Value,
}

/// Runs each file in a process of its own, with this process's own options.
pub fn run(folder: &Path, as_json: bool) -> Result<ExitCode> {
    let entries = std::fs::read_dir(folder).map_err(|error| CliError::file("read", folder, &error))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|p| p.is_file()).collect();
    files.sort();
    let own = std::env::current_exe()
        .map_err(|error| CliError::failed("cannot find our own program").because(&error))?;
    let mut lines = Vec::new();
    for file in &files {
        lines.push(one(&own, folder, file)?);
    }
    let worst =
        lines.iter().map(|line| line.status).max_by_key(|status| if *status == 1 { 11 } else { *status });
    if as_json {
        let all: Vec<Value> = lines
            .iter()
            .map(|line| json!({"name": line.name, "status": line.status, "report": line.report}))
            .collect();
        let text = serde_json::to_string_pretty(&all).unwrap_or_default() + "\n";
        output::write(text.as_bytes())?;
    } else {
        output::write(table(&lines).as_bytes())?;
    }
    Ok(ExitCode::from(worst.unwrap_or(0)))
}

/// What follows the verb, with one file for the folder, for `--json`, and a folder of evidence of its own.
fn arguments(folder: &Path, file: &Path) -> Vec<std::ffi::OsString> {
    let mut words = Vec::new();
    let mut own = std::env::args_os().skip(2);
    let name = file.file_name().unwrap_or_default();
    while let Some(word) = own.next() {
        if Path::new(&word) == folder {
            words.push(file.into());
            words.extend(own.by_ref());
        } else if word == "--json" {
        } else if word == "--keep" || word == "--capture" || word == "--html" {
            words.push(word);
            words.extend(own.next().map(|path| Path::new(&path).join(name).into_os_string()));
        } else {
            words.push(word);
        }
    }
    words
}

fn one(own: &Path, folder: &Path, file: &Path) -> Result<Line> {
    let mut command = Command::new(own);
    command
        .args(["sandbox", "--json"])
        .args(arguments(folder, file))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output =
        command.output().map_err(|error| CliError::failed("cannot run the sandbox").because(&error))?;
    let status = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(Line {
        name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        status,
        report: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
    })
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
        let verdict = line.report["verdict"].as_str().unwrap_or("failed");
        let score = line.report["score"].as_u64().map_or_else(|| "-".to_owned(), |score| score.to_string());
        let hits = line.report["hits"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rules: Vec<&str> = hits.iter().filter_map(|hit| hit["rule"].as_str()).collect();
        let name = output::plain(line.name.as_bytes());
        let rules = output::plain(rules.join(", ").as_bytes());
        text.push_str(&format!("{name:<width$}  {verdict:<10}  {score:>5}  {rules}\n"));
    }
    text
}
