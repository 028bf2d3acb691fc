//! A program that reads alerts from its standard input, started by a shell as popen(3) does.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nabe_event::alert::Alert;

use super::{Channel, Error, Failure};
use crate::channel::file::lines;
use crate::render::Render;

/// Starts a command line and writes lines to it.
pub struct Program {
    command: String,
    render: Render,
    /// One program for all alerts instead of one for each.
    keep: bool,
    child: Option<Child>,
}

impl Program {
    /// A command line for `sh -c`, started with the first alert. With `keep` it gets all alerts,
    /// without it is started for each.
    #[must_use]
    pub fn new(command: &str, render: Render, keep: bool) -> Self {
        Self { command: command.to_owned(), render, keep, child: None }
    }

    fn child(&mut self) -> Result<&mut Child, Error> {
        let child = match self.child.take() {
            Some(child) => child,
            None => Command::new("/bin/sh")
                .arg("-c")
                .arg(&self.command)
                .stdin(Stdio::piped())
                .spawn()
                .map_err(|source| Error::Start { program: self.command.clone(), source })?,
        };
        Ok(self.child.insert(child))
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        let command = self.command.clone();
        let child = self.child()?;
        let written = child.stdin.as_mut().map_or(Ok(()), |input| input.write_all(text.as_bytes()));
        if let Err(source) = written {
            // It does not read any more: it has ended or is about to.
            let _ = self.end();
            return Err(Error::Write { name: command, source });
        }
        Ok(())
    }

    /// Closes its input and waits for it.
    fn end(&mut self) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        drop(child.stdin.take());
        let program = self.command.clone();
        let status = child.wait().map_err(|source| Error::Write { name: program.clone(), source })?;
        if status.success() { Ok(()) } else { Err(Error::Ended { program, status }) }
    }
}

impl Channel for Program {
    fn name(&self) -> &str {
        "program"
    }

    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for (at, alert) in alerts.iter().enumerate() {
            let line = lines(&self.render, core::slice::from_ref(alert));
            self.write(&line).map_err(|error| Failure::passing(at, error))?;
            if !self.keep {
                // It had the alert, so it is not given again; that it failed is told.
                self.end().map_err(|error| Failure::lasting(at, error))?;
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        // What it says of itself at its end is not about an alert.
        let _ = self.end();
    }

    fn close(&mut self) -> Result<(), Error> {
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::alert;

    fn through(keep: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let command = format!("echo start >> {0}; cat >> {0}", path.display());
        let mut program = Program::new(&command, Render::default(), keep);
        let alert = Arc::new(alert());
        program.deliver(&[Arc::clone(&alert), alert]).unwrap();
        program.close().unwrap();
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn one_program_for_all_or_for_each() {
        let line = "16:17:57.881781397: Warning An open was seen (command=cat /dev/null)\n";
        assert_eq!(through(true), format!("start\n{line}{line}"));
        assert_eq!(through(false), format!("start\n{line}start\n{line}"));
    }

    #[test]
    fn a_program_that_fails_is_told() {
        let failure = Program::new("cat >/dev/null; exit 3", Render::default(), false)
            .deliver(&[Arc::new(alert())])
            .unwrap_err();
        assert!(!failure.retry);
        assert!(failure.error.to_string().contains("exit status: 3"), "{}", failure.error);
    }
}
