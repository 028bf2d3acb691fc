//! `cargo xtask codegen`: files whose one source is Rust, and the check that they are fresh.

use std::path::Path;

use crate::Outcome;

/// A generated file: its path from the root and its text.
type Generated = (&'static str, String);

fn generate() -> Vec<Generated> {
    Vec::new()
}

/// Writes every generated file that differs; always true.
pub(crate) fn write(root: &Path) -> Outcome {
    for (path, text) in generate() {
        let file = root.join(path);
        if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
            std::fs::write(&file, text)?;
            eprintln!("codegen: wrote {path}");
        }
    }
    Ok(true)
}

/// The generated files that are missing or differ from what would be written.
pub(crate) fn stale(root: &Path) -> std::io::Result<Vec<String>> {
    let mut stale = Vec::new();
    for (path, text) in generate() {
        match std::fs::read_to_string(root.join(path)) {
            Ok(committed) if committed == text => {}
            Ok(_) => stale.push(format!("{path}: is not fresh; run cargo xtask codegen")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                stale.push(format!("{path}: is missing; run cargo xtask codegen"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(stale)
}
