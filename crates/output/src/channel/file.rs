//! Standard output and files: one alert a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nabe_event::alert::Alert;

use super::{Channel, Error, Failure};
use crate::render::Render;

/// Writes lines to standard output.
pub struct Stdout {
    render: Render,
    closed: Box<dyn Fn() + Send>,
}

impl Stdout {
    /// With lines made this way; `closed` is called when nobody reads them any more.
    #[must_use]
    pub fn new(render: Render, closed: impl Fn() + Send + 'static) -> Self {
        Self { render, closed: Box::new(closed) }
    }
}

/// The lines of alerts, each with its end.
pub(super) fn lines(render: &Render, alerts: &[Arc<Alert>]) -> String {
    let mut text = String::with_capacity(256 * alerts.len());
    for alert in alerts {
        text.push_str(&render.line(alert));
        text.push('\n');
    }
    text
}

impl Channel for Stdout {
    fn name(&self) -> &str {
        "stdout"
    }

    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(lines(&self.render, alerts).as_bytes()).and_then(|()| out.flush()).map_err(|source| {
            if source.kind() == io::ErrorKind::BrokenPipe {
                (self.closed)();
            }
            // A closed pipe does not open again.
            Failure::lasting(0, Error::Write { name: "standard output".into(), source })
        })
    }
}

/// Appends lines to a file.
pub struct Appender {
    path: PathBuf,
    render: Render,
    /// Keep it open between alerts.
    keep: bool,
    file: Option<File>,
}

impl Appender {
    /// A file that is opened, or made, with the first alert. With `keep` it stays open until
    /// [`Channel::reopen`]; without, each delivery opens it.
    #[must_use]
    pub fn new(path: &Path, render: Render, keep: bool) -> Self {
        Self { path: path.to_path_buf(), render, keep, file: None }
    }

    fn write(&mut self, text: &[u8]) -> Result<(), (usize, Error)> {
        let open = |source| (0, Error::Open { path: self.path.clone(), source });
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).create(true).open(&self.path).map_err(open)?,
        };
        let file = self.file.insert(file);
        let mut rest = text;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => break,
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let error = Error::Write { name: self.path.display().to_string(), source };
                    return Err((text.len() - rest.len(), error));
                }
            }
        }
        if !self.keep {
            self.file = None;
        }
        Ok(())
    }
}

impl Channel for Appender {
    fn name(&self) -> &str {
        "file"
    }

    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for (at, alert) in alerts.iter().enumerate() {
            let line = lines(&self.render, core::slice::from_ref(alert));
            if let Err((written, error)) = self.write(line.as_bytes()) {
                // A full disk may have taken a part: the rest of the line must not follow another.
                if written > 0
                    && let Some(file) = &self.file
                    && let Ok(metadata) = file.metadata()
                {
                    let _ = file.set_len(metadata.len().saturating_sub(written as u64));
                }
                self.file = None;
                return Err(Failure::passing(at, error));
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::alert;

    #[test]
    fn a_file_follows_its_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("alerts"), dir.path().join("alerts.1"));
        let mut channel = Appender::new(&path, Render::default(), true);
        let one = [Arc::new(alert())];
        channel.deliver(&one).unwrap();
        std::fs::rename(&path, &old).unwrap();
        channel.deliver(&one).unwrap();
        channel.reopen();
        channel.deliver(&one).unwrap();
        let count = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((count(&old), count(&path)), (2, 1));
    }

    #[test]
    fn a_missing_folder_is_worth_another_try() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/there");
        let failure =
            Appender::new(&path, Render::default(), false).deliver(&[Arc::new(alert())]).unwrap_err();
        assert!(failure.retry);
        assert_eq!(failure.error.to_string(), format!("cannot open {}", path.display()));
    }

    #[test]
    fn a_full_disk_leaves_no_half_lines() {
        // /dev/full takes nothing, as a full disk.
        let failure = Appender::new(Path::new("/dev/full"), Render::default(), true)
            .deliver(&[Arc::new(alert())])
            .unwrap_err();
        assert!(failure.retry && failure.delivered == 0);
    }
}
