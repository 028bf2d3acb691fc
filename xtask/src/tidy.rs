//! `cargo xtask tidy`: what no compiler checks.
//!
//! Looked at: file headers, licence lines of BPF C, forbidden module names, `#[ignore]`, layering,
//! generated files. File length is a warning: a long file is a question, not a fault.

use std::path::{Path, PathBuf};

use crate::{Outcome, cargo, codegen, layering};

/// Names that say nothing about what a module holds.
const FORBIDDEN_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "manager", "base"];
/// Lines of a file, tests not counted, above which it is worth another look.
const LONG_FILE_LINES: usize = 600;
/// Where sources are looked for, and what is never one.
const SOURCE_ROOTS: &[&str] = &["crates", "xtask", "fuzz", "tests", "benches"];
const NOT_SOURCES: &[&str] = &["target", "corpus", "artifacts"];

/// Prints what is untidy; true when nothing is.
pub(crate) fn check(root: &Path) -> Outcome {
    let mut files = Vec::new();
    for directory in SOURCE_ROOTS {
        collect(&root.join(directory), &mut files)?;
    }
    files.sort();
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    for path in &files {
        let name = path.strip_prefix(root).unwrap_or(path);
        let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
        faults.extend(file_faults(name, &text));
        warnings.extend(length_warning(name, &text));
    }
    let (names, edges) = layering::read(cargo())?;
    faults.extend(layering::faults(&names, &edges));
    faults.extend(codegen::stale(root)?);
    for warning in &warnings {
        eprintln!("tidy: warning: {warning}");
    }
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    Ok(faults.is_empty())
}

/// Every file below `directory` that we wrote in Rust or C.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let named = |list: &[&str]| path.file_name().is_some_and(|name| list.iter().any(|n| name == *n));
        if path.is_dir() && !path.is_symlink() {
            if !named(NOT_SOURCES) {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|end| end == "rs" || end == "c" || end == "h") {
            files.push(path);
        }
    }
    Ok(())
}

/// What is wrong with one file; `name` is relative to the root.
fn file_faults(name: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: &str| faults.push(format!("{}: {what}", name.display()));
    if name.extension().is_some_and(|end| end == "rs") {
        if !text.starts_with("//!") {
            fault("does not open with a `//!` header");
        }
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.starts_with("#[ignore") {
                fault(&format!("line {}: a test skips with a printed reason instead", number + 1));
            }
            if let Some(module) = module_name(line).filter(|name| FORBIDDEN_NAMES.contains(name)) {
                fault(&format!("line {}: `{module}` says nothing about the module", number + 1));
            }
        }
        if stutters(name) {
            fault("repeats the name of its directory");
        }
    } else if name.components().any(|part| part.as_os_str() == "bpf")
        && !text.lines().take(3).any(|line| line.contains("SPDX-License-Identifier: GPL-2.0"))
    {
        fault("has no SPDX-License-Identifier: GPL-2.0 line");
    }
    faults
}

/// `pub(crate) mod name;` → `name`.
fn module_name(line: &str) -> Option<&str> {
    let mut words = line.split(' ').skip_while(|word| word.starts_with("pub"));
    (words.next() == Some("mod")).then_some(())?;
    words.next().map(|name| name.trim_end_matches(['{', ';']))
}

/// `foo/foo.rs`.
fn stutters(name: &Path) -> bool {
    let parent = name.parent().and_then(Path::file_name);
    parent.is_some() && parent == name.file_stem()
}

/// A word about a file that has grown long. Tables and generated files are exempt, and so are tests.
fn length_warning(name: &Path, text: &str) -> Option<String> {
    let path = name.to_string_lossy();
    if path.contains(".gen.")
        || path.contains("table")
        || path.contains("/tests/")
        || path.contains("/fields/")
    {
        return None;
    }
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    (lines > LONG_FILE_LINES).then(|| format!("{path}: {lines} lines without its tests"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, expected: &[&str]) {
        assert_eq!(file_faults(Path::new(name), text), expected, "{name}");
    }

    #[test]
    fn tidy_files_pass() {
        check("crates/x/src/lib.rs", "//! X.\nmod parse;\npub(crate) mod basement {}\n", &[]);
        check("crates/probe/bpf/a.bpf.c", "// SPDX-License-Identifier: GPL-2.0\n", &[]);
        check("tests/population/population.c", "/* anything */\n", &[]);
    }

    #[test]
    fn each_fault_is_named_with_its_place() {
        check("a/src/lib.rs", "mod a;\n", &["a/src/lib.rs: does not open with a `//!` header"]);
        check(
            "a/src/lib.rs",
            "//! A.\npub(crate) mod utils;\n",
            &["a/src/lib.rs: line 2: `utils` says nothing about the module"],
        );
        let ignored = format!("//! A.\n    #[{}]\n", "ignore = \"slow\"");
        check(
            "a/src/lib.rs",
            &ignored,
            &["a/src/lib.rs: line 2: a test skips with a printed reason instead"],
        );
        check("a/src/ring/ring.rs", "//! R.\n", &["a/src/ring/ring.rs: repeats the name of its directory"]);
        check(
            "crates/probe/bpf/a.bpf.c",
            "#include <x.h>\n",
            &["crates/probe/bpf/a.bpf.c: has no SPDX-License-Identifier: GPL-2.0 line"],
        );
    }

    #[test]
    fn length_is_counted_without_tests() {
        let long = "x\n".repeat(601);
        let name = Path::new("a/src/lib.rs");
        assert!(length_warning(name, &long).is_some());
        let tested = format!("x\n#[cfg(test)]\n{long}");
        assert_eq!(length_warning(name, &tested), None);
        assert_eq!(length_warning(Path::new("a/src/table.rs"), &long), None);
    }
}
