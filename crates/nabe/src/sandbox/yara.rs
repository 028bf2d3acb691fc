//! YARA rules on files: which rules match.

use std::path::{Path, PathBuf};

use crate::error::{CliError, Result};

/// Bytes of a file that are looked at: what is larger is not.
const MAX_SCANNED: u64 = 64 << 20;

/// Compiled rules; none when there are none.
pub struct Scanner {
    #[cfg(feature = "yara")]
    scanner: Option<boreal::Scanner>,
}

impl Scanner {
    /// Compiles rules from files, or from folders with `*.yar` and `*.yara`.
    pub fn load(named: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::new();
        for path in named {
            files.extend(rule_files(path)?);
        }
        Self::compile(&files)
    }

    #[cfg(feature = "yara")]
    fn compile(files: &[PathBuf]) -> Result<Self> {
        if files.is_empty() {
            return Ok(Self { scanner: None });
        }
        let mut compiler = boreal::Compiler::new();
        for file in files {
            let added = compiler.add_rules_file(file);
            added.map_err(|error| CliError::usage(format_args!("{}: {error}", file.display())))?;
        }
        Ok(Self { scanner: Some(compiler.finalize()) })
    }

    #[cfg(feature = "yara")]
    fn has_rules(&self) -> bool {
        self.scanner.is_some()
    }

    #[cfg(not(feature = "yara"))]
    fn has_rules(&self) -> bool {
        false
    }

    #[cfg(not(feature = "yara"))]
    fn compile(files: &[PathBuf]) -> Result<Self> {
        if files.is_empty() {
            return Ok(Self {});
        }
        Err(CliError::usage("this nabe was built without YARA").hint("build it with --features yara"))
    }

    /// Names of the rules that match a file; nothing is read where there are no rules.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn scan_file(&self, path: &Path) -> std::io::Result<Vec<String>> {
        if !self.has_rules() || std::fs::metadata(path)?.len() > MAX_SCANNED {
            return Ok(Vec::new());
        }
        Ok(self.scan(&std::fs::read(path)?))
    }

    /// Names of the rules that match these bytes, in order.
    #[cfg(feature = "yara")]
    pub fn scan(&self, bytes: &[u8]) -> Vec<String> {
        let Some(scanner) = &self.scanner else { return Vec::new() };
        let found = match scanner.scan_mem(bytes) {
            Ok(found) => found,
            // What was found before the scanner gave up counts.
            Err((_, found)) => found,
        };
        let mut names: Vec<String> = found.rules.iter().map(|rule| rule.name.to_string()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Names of the rules that match these bytes: none without the feature.
    #[cfg(not(feature = "yara"))]
    pub fn scan(&self, _: &[u8]) -> Vec<String> {
        Vec::new()
    }
}

fn rule_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| CliError::file("read", path, &error))?;
    let is_rule = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "yar" || suffix == "yara");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_rule).collect();
    files.sort();
    Ok(files)
}
