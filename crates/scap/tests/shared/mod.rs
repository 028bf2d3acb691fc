//! Where the tests' captures are: `$NABE_SHARED`, or `shared` beside the workspace.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};

/// The shared data; `None`, with a line that says so, when it is not here.
pub(crate) fn data(test: &str) -> Option<PathBuf> {
    let root = std::env::var_os("NABE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let data = root.join("data");
    if data.join("INDEX.md").is_file() {
        return Some(data);
    }
    eprintln!("SKIP {test}: no shared data at {}", data.display());
    None
}

/// A row of the data's index.
#[derive(Debug)]
pub(crate) struct Capture {
    /// `falco-0.34.1/cat_write`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) gzip: bool,
    /// `IL1 UL1 PL6 FDL1 EV1`.
    pub(crate) blocks: String,
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    pub(crate) events: u64,
}

/// All captures of the index.
pub(crate) fn captures(data: &Path) -> Vec<Capture> {
    let index = std::fs::read_to_string(data.join("INDEX.md")).expect("the index");
    let rows = index.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let path = data.join("scap").join(format!("{}.scap", cells.get(1)?));
        if !path.is_file() {
            return None;
        }
        let (threads, descriptors) = cells.get(7)?.split_once('/')?;
        Some(Capture {
            name: cells[1].to_owned(),
            path,
            gzip: cells[5] == "y",
            blocks: cells[6].to_owned(),
            threads: threads.parse().ok()?,
            descriptors: descriptors.parse().ok()?,
            events: cells[8].parse().ok()?,
        })
    });
    rows.collect()
}
