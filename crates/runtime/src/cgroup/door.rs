//! How a process gets into its cgroups.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// How a process enters its cgroups: by itself, through open descriptors, or moved by somebody else.
#[derive(Default)]
pub(crate) struct Doors<'a> {
    /// For `CLONE_INTO_CGROUP`.
    pub(crate) unified: Option<OwnedFd>,
    /// Write `0` into each.
    pub(crate) tasks: Vec<(PathBuf, File)>,
    /// Asks somebody (systemd) to move a process of this pid; for one that cannot enter by itself.
    pub(crate) mover: Option<Mover<'a>>,
}

/// Moves the process of a pid into its cgroups.
pub(crate) type Mover<'a> = Box<dyn FnMut(i32) -> Result<()> + 'a>;

impl Doors<'_> {
    /// Enters the v1 hierarchies; the caller has one thread.
    pub(crate) fn enter(&mut self) -> Result<()> {
        for (path, tasks) in &mut self.tasks {
            tasks.write_all(b"0").map_err(|source| Error::File {
                what: "enter",
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}
