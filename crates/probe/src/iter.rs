//! BPF iterators: loading them, running them, reading their records.

use nabe_event::Interest;

use crate::{Options, Report};

/// Why the iterators cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not built yet.
    #[error("no BPF backend in this build")]
    Absent,
}

impl Error {
    /// For people: what is missing, what is therefore not seen, and the mend.
    #[must_use]
    pub fn consequence(&self) -> String {
        self.to_string()
    }
}

/// Appends the records that `interest` asks for to `out`.
///
/// # Errors
/// When a program that is needed cannot be loaded or run.
pub fn snapshot(_interest: &Interest, _options: &Options, _out: &mut Vec<u8>) -> Result<Report, Error> {
    Err(Error::Absent)
}
