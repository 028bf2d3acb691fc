//! Where alerts go: one kind a module.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nabe_event::alert::Alert;

pub mod file;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod program;
pub mod shape;
pub mod syslog;

/// A place that takes alerts.
pub trait Channel: Send {
    /// Its name for people and metrics, such as `file` or `slack`.
    fn name(&self) -> &str;

    /// How many alerts it likes at once.
    fn batch(&self) -> usize {
        64
    }

    /// Hands over alerts in order.
    ///
    /// # Errors
    /// Says how many of them arrived, and whether the next one may be tried again.
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure>;

    /// Opens anew what it writes to: a log rotation asked for it.
    fn reopen(&mut self) {}

    /// The last call: nothing comes behind it.
    ///
    /// # Errors
    /// When what was handed over cannot be brought to its place.
    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// A delivery that stopped.
#[derive(Debug)]
pub struct Failure {
    /// Alerts that arrived before it.
    pub delivered: usize,
    /// Whether the alert behind them is worth another try; otherwise it is refused for good.
    pub retry: bool,
    /// Why.
    pub error: Error,
}

impl Failure {
    /// To be tried again.
    #[must_use]
    pub const fn passing(delivered: usize, error: Error) -> Self {
        Self { delivered, retry: true, error }
    }

    /// Never to be tried again with this alert.
    #[must_use]
    pub const fn lasting(delivered: usize, error: Error) -> Self {
        Self { delivered, retry: false, error }
    }
}

/// What a channel says when it cannot deliver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something cannot be written to.
    #[error("cannot write to {name}")]
    Write {
        /// What.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("cannot start {program}")]
    Start {
        /// Its command line.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} ended with {status}")]
    Ended {
        /// Its command line.
        program: String,
        /// How.
        status: std::process::ExitStatus,
    },
    /// An HTTP request got no answer.
    #[error("no answer from {url}")]
    Request {
        /// Where to, without credentials.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// An HTTP receiver refused.
    #[error("{url} answered {status}{}{body}", if body.is_empty() { "" } else { ": " })]
    Status {
        /// Where to, without credentials.
        url: String,
        /// Its status.
        status: u16,
        /// The beginning of what it said.
        body: String,
    },
    /// A certificate or key cannot be used.
    #[error("cannot use the certificate or key in {path}{}{reason}", if reason.is_empty() { "" } else { ": " })]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An address cannot be used.
    #[error("{url} is no address of an HTTP receiver")]
    Address {
        /// As it was given.
        url: String,
    },
    /// A Kafka broker cannot be used.
    #[error("kafka {brokers}, topic {topic}: {reason}")]
    Kafka {
        /// The brokers.
        brokers: String,
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
}
