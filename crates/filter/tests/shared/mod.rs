//! Where the reference data is: `$NABE_SHARED`, or `shared` beside the workspace.

use std::path::{Path, PathBuf};

/// A JSON file of the shared data; `None`, with a line that says so, when it is not here.
pub(crate) fn json(test: &str, path: &str) -> Option<serde_json::Value> {
    let root = std::env::var_os("NABE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let file = root.join("data").join(path);
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("SKIP {test}: no shared data at {}", file.display());
        return None;
    };
    Some(serde_json::from_str(&text).expect("shared data is JSON"))
}
