//! What goes wrong when containers are made, run and removed.

use std::io;
use std::path::PathBuf;

/// What goes wrong when containers are made, run and removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be used.
    #[error("cannot {what} {path}", path = path.display())]
    File {
        /// "read", "write" …
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// JSON that does not fit, by its path inside the file.
    #[error("{file}: {at}", file = file.display())]
    Json {
        /// Which file.
        file: PathBuf,
        /// Path inside.
        at: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A configuration that is valid JSON but makes no sense.
    #[error("config.json: {at}: {why}")]
    Config {
        /// Path inside.
        at: String,
        /// Why.
        why: String,
    },
    /// A container id that no runtime may take.
    #[error("\"{0}\" is not a container id: letters, digits and _ + . - only, and at most 1024 of them")]
    Id(String),
    /// The id is in use.
    #[error("container with given ID already exists: \"{0}\"")]
    Exists(String),
    /// No such container.
    #[error("container \"{0}\" does not exist")]
    Missing(String),
    /// The container is in a state that does not allow it.
    ///
    /// containerd's shim looks for "container not running" to tell an ended container from a failure.
    #[error("cannot {what} a container that is {status}: \"{id}\"{}", if *status == crate::state::Status::Stopped { ": container not running" } else { "" })]
    Status {
        /// The operation.
        what: &'static str,
        /// Which container.
        id: String,
        /// Its state.
        status: crate::state::Status,
    },
    /// A step that the kernel refused.
    #[error("{what}")]
    Step {
        /// "mount proc on /proc" …
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The program cannot be run: not there.
    #[error("exec: \"{0}\": executable file not found in $PATH")]
    NotFound(String),
    /// The program cannot be run.
    #[error("exec: \"{program}\": {why}")]
    Exec {
        /// Which.
        program: String,
        /// Why, in the kernel's words.
        why: String,
    },
    /// A hook failed.
    #[error("error running {kind} hook #{number}: {path}: {why}", path = path.display())]
    Hook {
        /// Which kind.
        kind: &'static str,
        /// Which of them, from 0.
        number: usize,
        /// Which program.
        path: PathBuf,
        /// How.
        why: String,
    },
    /// systemd, asked to make or change a unit, did not.
    #[error("systemd cannot {what}")]
    Systemd {
        /// "make the unit nabe-web.scope" …
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something that is not done, and why.
    #[error("{0}")]
    Refused(String),
    /// The container's process ended without a word.
    #[error("the container's first process ended while it was being set up")]
    Vanished,
}

/// What the library's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the step that failed.
pub(crate) trait Context<T> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Step { what: what(), source })
    }
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::Step { what: what(), source: errno.into() })
    }
}

impl Error {
    /// The error and its causes on one line, as engines want it in their logs.
    #[must_use]
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// The exit status that a shell would give: 127 not found, 126 cannot execute, 125 else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) => 127,
            Self::Exec { why, .. } if why == crate::process::NO_ENTRY => 127,
            Self::Exec { .. } => 126,
            _ => 125,
        }
    }
}
