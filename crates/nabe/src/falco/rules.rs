//! The rules of a run: found, loaded, switched on and off, loaded anew.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nabe_rules::catalogue::Native;
use nabe_rules::engine::{Engine, Matching, Options, Switch, Which};
use nabe_rules::{File, Loaded, RuleSet};

use super::config::{Config, yaml_files};
use crate::error::{CliError, Result};

/// Files of rules: what the user named, or what the configuration names. Folders give their YAML
/// files in order of name.
pub fn files(named: &[PathBuf], config: &Config) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if named.is_empty() {
        for path in &config.rules_files {
            // Falco passes over files that its own configuration names and that are not there.
            files.extend(yaml_files(path)?);
        }
    } else {
        for path in named {
            if path.is_dir() {
                files.extend(yaml_files(path)?);
            } else {
                files.push(path.clone());
            }
        }
    }
    if files.is_empty() {
        return Err(CliError::failed(
            "You must specify at least one rules file/directory via -r or rules_files",
        )
        .hint("`nabe detect -r falco_rules.yaml`, or rules_files in falco.yaml"));
    }
    Ok(files)
}

/// Loads them; problems are said on stderr, and errors end it.
pub fn load(files: &[PathBuf], config: &Config) -> Result<Loaded> {
    let loaded = read(files, config);
    for report in &loaded.reports {
        if !report.errors.is_empty() || !report.warnings.is_empty() {
            eprintln!("{}", report.text(true).trim_end());
        }
    }
    match loaded.reports.iter().find(|report| !report.successful()) {
        Some(report) => Err(CliError::failed(format_args!("cannot load rules from {}", report.name))),
        None => Ok(loaded),
    }
}

/// Loads them without a word.
pub fn read(files: &[PathBuf], config: &Config) -> Loaded {
    let opened: Vec<File> = files.iter().map(|path| File::open(path)).collect();
    let options = nabe_rules::Options { additions: config.additions.clone(), payload: config.payload };
    RuleSet::load_with(&opened, &Native, &options)
}

/// An engine as the configuration has it.
pub fn engine(loaded: &Loaded, config: &Config, hostname: &str, cost: bool) -> Engine {
    let switches = config
        .selections
        .iter()
        .map(|selection| Switch {
            enable: selection.enable,
            which: if selection.by_tag {
                Which::Tag(selection.pattern.clone())
            } else {
                Which::Name(selection.pattern.clone())
            },
        })
        .collect();
    let options = Options {
        matching: if config.match_all { Matching::All } else { Matching::First },
        min_priority: config.priority,
        switches,
        hostname: hostname.into(),
        cost,
        ..Options::default()
    };
    Engine::new(loaded, options)
}

/// What tells that a file has changed.
type Mark = (u64, u64, i64, i64);

/// Watches files for changes: by looking at them, so that editors that write a new file and rename
/// it, and volumes of Kubernetes that turn a link, are noticed, too.
#[derive(Debug, Default)]
pub struct Watched {
    marks: BTreeMap<PathBuf, Option<Mark>>,
    /// Changes that have been seen once: a file is loaded when it has come to rest.
    restless: bool,
}

fn mark(path: &Path) -> Option<Mark> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

impl Watched {
    /// Watches these from now on.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let marks = paths.into_iter().map(|path| (path.clone(), mark(path))).collect();
        Self { marks, restless: false }
    }

    /// Looks; true when something has changed and come to rest since.
    pub fn has_changed(&mut self) -> bool {
        let mut moved = false;
        for (path, known) in &mut self.marks {
            let now = mark(path);
            // A file that is away for a moment is about to come back.
            if now.is_some() && now != *known {
                *known = now;
                moved = true;
            }
        }
        let rests = self.restless && !moved;
        self.restless = moved;
        rests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_when_they_have_come_to_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.yaml");
        std::fs::write(&path, "a").unwrap();
        let mut watched = Watched::new([&path]);
        assert!(!watched.has_changed());
        std::fs::write(&path, "ab").unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
        assert!(!watched.has_changed());
        // Replaced by another file.
        let other = dir.path().join("new");
        std::fs::write(&other, "cd").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(!watched.has_changed());
        assert!(watched.has_changed());
        std::fs::remove_file(&path).unwrap();
        assert!(!watched.has_changed() && !watched.has_changed());
    }
}
