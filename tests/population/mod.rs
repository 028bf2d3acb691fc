//! A known number of processes and descriptors for a live test: compiles and runs `population.c`.
//!
//! Included by path (`#[path = "…/tests/population/mod.rs"] mod population;`), so that a test
//! needs no crate of ours. Dropping a [`Population`] removes every process and file of it.

#![allow(dead_code, reason = "each test reads only what it needs")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Descriptors of one holder, by kind; `population.c` tells what the rest are.
pub(crate) const HOLDER_DESCRIPTORS: usize = 1_003;
pub(crate) const HOLDER_FILES: usize = 600;
pub(crate) const HOLDER_TCP: usize = 201;
pub(crate) const HOLDER_UNIX: usize = 100;
pub(crate) const HOLDER_PIPE_ENDS: usize = 96;
/// Descriptors of one sleeper, all of them `/dev/null`.
pub(crate) const SLEEPER_DESCRIPTORS: usize = 4;

/// Running processes that are killed and waited for on drop.
#[derive(Debug)]
pub(crate) struct Population {
    child: Child,
    /// The process that bore all the others.
    pub(crate) pid: u32,
    /// Process group of all the others.
    pub(crate) group: u32,
    pub(crate) sleepers: usize,
    /// Pids of the holders.
    pub(crate) holders: Vec<u32>,
    /// Descriptors of sleepers and holders together.
    pub(crate) descriptors: usize,
    directory: tempdir::Owned,
}

/// What is asked of a population.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    pub(crate) sleepers: usize,
    pub(crate) holders: usize,
    /// All children stopped (SIGSTOP), so that nothing about them changes.
    pub(crate) frozen: bool,
    /// The sleepers become `sleep infinity` instead of staying copies of the program.
    pub(crate) exec: bool,
}

impl Population {
    /// Starts it and returns when every process and descriptor is there.
    ///
    /// # Errors
    /// In words, fit for a `SKIP` line: no C compiler, no room below `pid_max` or a limit.
    pub(crate) fn start(wish: Wish) -> Result<Self, String> {
        let directory = tempdir::Owned::new().map_err(|error| format!("temporary directory: {error}"))?;
        let program = compile(directory.path())?;
        let mut command = Command::new(program);
        command.arg("--processes").arg(wish.sleepers.to_string());
        command.arg("--holders").arg(wish.holders.to_string());
        command.arg("--dir").arg(directory.path());
        command.args(wish.frozen.then_some("--freeze"));
        command.args((!wish.exec).then_some("--fork"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("population: {error}"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        let word =
            |name: &str| line.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| word(name).and_then(|text| text.parse::<u32>().ok());
        let (Some(pid), Some(group), Some(sleepers), Some(descriptors)) =
            (number("pid"), number("pgid"), number("processes"), number("descriptors"))
        else {
            let status = child.wait().map_err(|error| error.to_string())?;
            return Err(format!("population ended with {status}"));
        };
        let holders = word("holder_pids").unwrap_or_default().split(',');
        Ok(Self {
            pid,
            group,
            sleepers: sleepers as usize,
            holders: holders.filter_map(|pid| pid.parse().ok()).collect(),
            descriptors: descriptors as usize,
            child,
            directory,
        })
    }

    /// Pids of all children, sleepers and holders.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let list = format!("/proc/{pid}/task/{pid}/children", pid = self.pid);
        let text = std::fs::read_to_string(list).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Where the holders' files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Population {
    fn drop(&mut self) {
        // The end of its input makes it kill and wait for its children.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn compile(directory: &Path) -> Result<PathBuf, String> {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/")).ancestors().find_map(|above| {
        let source = above.join("tests/population/population.c");
        source.exists().then_some(source)
    });
    let source = source.ok_or("tests/population/population.c: not found")?;
    let program = directory.join("population");
    let mut compiler = Command::new("cc");
    compiler.arg("-O1").arg("-o").arg(&program).arg(source);
    match compiler.status() {
        Ok(status) if status.success() => Ok(program),
        Ok(status) => Err(format!("cc: {status}")),
        Err(error) => Err(format!("cc: {error}")),
    }
}

/// A temporary directory that goes with its owner; this file may not need a crate.
mod tempdir {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    static NEXT: AtomicU32 = AtomicU32::new(0);

    #[derive(Debug)]
    pub(super) struct Owned(PathBuf);

    impl Owned {
        pub(super) fn new() -> std::io::Result<Self> {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("nabe-population-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path)?;
            Ok(Self(path))
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Owned {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
