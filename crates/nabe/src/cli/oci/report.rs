//! What the runtime says to those who called it: a message for people, a line in the log for engines.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Failure;
use crate::error::{CliError, Result};

/// Where errors and warnings go beside stderr.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<PathBuf>,
    json: bool,
}

impl Log {
    pub(super) fn of(file: Option<PathBuf>, json: bool) -> Self {
        Self { file, json }
    }

    /// One entry, as runc writes them.
    fn line(&self, level: &str, message: &str) -> String {
        let time = nabe_runtime::now();
        if self.json {
            return format!("{}\n", serde_json::json!({"level": level, "msg": message, "time": time}));
        }
        format!("time={time:?} level={level} msg={message:?}\n")
    }

    /// Appends to the file. Without one, JSON goes to stderr; true when that was done.
    fn write(&self, level: &str, message: &str) -> bool {
        let line = self.line(level, message);
        match &self.file {
            Some(path) => {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
                // Nobody to complain to: the message also goes to stderr.
                file.and_then(|mut file| file.write_all(line.as_bytes())).ok();
                false
            }
            None if self.json => {
                eprint!("{line}");
                true
            }
            None => false,
        }
    }

    /// Sentences about what was left out.
    pub(super) fn notes(&self, notes: &[String]) {
        for note in notes {
            if !self.write("warning", note) && self.file.is_none() {
                eprintln!("nabe: note: {note}");
            }
        }
    }

    /// The verb's result, its failure told; 1 when it failed.
    pub(super) fn told(&self, result: Result<ExitCode, Failure>) -> Result<ExitCode> {
        result.or_else(|failure| self.failed(&failure, 1))
    }

    /// The same for verbs that give the container's status: 125, 126 or 127 when it failed, or always
    /// `plain`.
    pub(super) fn told_by_status(
        &self,
        result: Result<ExitCode, Failure>,
        plain: Option<u8>,
    ) -> Result<ExitCode> {
        result.or_else(|failure| {
            let code = plain.unwrap_or(match &failure {
                Failure::Runtime(error) => error.exit_code(),
                _ => 125,
            });
            self.failed(&failure, code)
        })
    }

    fn failed(&self, failure: &Failure, code: u8) -> Result<ExitCode> {
        let line = match failure {
            Failure::Runtime(error) => error.line(),
            other => other.to_string(),
        };
        if self.write("error", &line) {
            return Ok(ExitCode::from(code));
        }
        let error = match failure {
            Failure::Usage(why) => CliError::usage(why),
            Failure::Output(error) => CliError::output(error),
            // On one line: of several, conmon hands Podman the last one only.
            Failure::Runtime(_) => CliError::failed(&line),
            Failure::Refused(why) => CliError::failed(why),
        };
        if code == 1 || matches!(failure, Failure::Usage(_) | Failure::Output(_)) {
            return Err(error);
        }
        error.report();
        Ok(ExitCode::from(code))
    }
}

/// Prints JSON.
pub(super) fn print(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(std::io::Error::other)?;
    text.push(b'\n');
    Ok(std::io::stdout().write_all(&text)?)
}
