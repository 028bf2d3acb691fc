//! Where the reference data is: `$NABE_SHARED`, or `shared` beside the workspace.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    std::env::var_os("NABE_SHARED").map_or_else(beside, PathBuf::from).join("data")
}

/// The shared data; `None`, with a line that says so, when it is not here.
pub(crate) fn data(test: &str) -> Option<PathBuf> {
    let data = root();
    if data.join("INDEX.md").is_file() {
        return Some(data);
    }
    eprintln!("SKIP {test}: no shared data at {}", data.display());
    None
}

/// A JSON file of the shared data; `None`, with a line that says so, when it is not here.
pub(crate) fn json(test: &str, path: &str) -> Option<serde_json::Value> {
    let file = root().join(path);
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("SKIP {test}: no shared data at {}", file.display());
        return None;
    };
    Some(serde_json::from_str(&text).expect("shared data is JSON"))
}
