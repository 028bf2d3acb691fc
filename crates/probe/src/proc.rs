//! The same records from `/proc`, where BPF cannot be had.

use nabe_event::Interest;

use crate::Report;

/// Why `/proc` cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not built yet.
    #[error("no /proc backend in this build")]
    Absent,
}

/// Appends the records that `interest` asks for to `out`.
///
/// # Errors
/// When `/proc` is not there.
pub fn snapshot(_interest: &Interest, _out: &mut Vec<u8>) -> Result<Report, Error> {
    Err(Error::Absent)
}
