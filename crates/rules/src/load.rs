//! Files in, rules out: what was loaded, with a report for each file.

use std::path::Path;

use nabe_event::payload::Form;

use crate::catalogue::{Catalogue, Native};
use crate::compile::{Addition, Compiled, CompiledRule, Compiler};
use crate::definition::{Definitions, Requirement};
use crate::events::Names;
use crate::place::Place;
use crate::read;
use crate::report::{ErrorCode, Fault, Report};
use crate::version::{PLUGINS, Version};
use crate::yaml;

/// A rule file: its name and what it holds.
#[derive(Clone, Debug)]
pub struct File {
    /// As messages name it.
    pub name: String,
    /// Its text, or why it cannot be read.
    pub content: Result<String, String>,
}

impl File {
    /// Reads a file; failure is kept for the report.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        Self { name: path.display().to_string(), content: read_bounded(path) }
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let limit = yaml::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    opened.map_err(|error| error.to_string())?;
    String::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
}

/// What loading depends on besides the files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What certain rules say besides.
    pub additions: Vec<Addition>,
    /// The form of payload (`evt.buffer`) in outputs.
    pub payload: Form,
}

/// Rules as they were loaded, and what is to be said of each file.
#[derive(Debug)]
pub struct Loaded {
    /// A report for each file, in order.
    pub reports: Vec<Report>,
    pub(crate) definitions: Definitions,
    pub(crate) compiled: Compiled,
}

/// Loads rules.
#[derive(Debug)]
pub struct RuleSet;

impl RuleSet {
    /// Loads files in order: later ones may append to, replace and switch off what earlier ones
    /// define. A file that does not load stops it; the reports say so.
    #[must_use]
    pub fn load(files: &[File]) -> Loaded {
        Self::load_with(files, &Native, &Options::default())
    }

    /// The same with another catalogue and with options.
    #[must_use]
    pub fn load_with(files: &[File], catalogue: &dyn Catalogue, options: &Options) -> Loaded {
        let names = Names::new();
        let mut loaded = Loaded {
            reports: Vec::new(),
            definitions: Definitions::default(),
            compiled: Compiled::default(),
        };
        for file in files {
            let report = loaded.add(file, catalogue, options, &names);
            let successful = report.successful();
            loaded.reports.push(report);
            if !successful {
                break;
            }
        }
        loaded
    }

    /// Looks at each file behind those before it, as `-V` does: a file that does not load does not
    /// stop it.
    #[must_use]
    pub fn check(files: &[File], catalogue: &dyn Catalogue, options: &Options) -> Loaded {
        let names = Names::new();
        let mut loaded = Loaded {
            reports: Vec::new(),
            definitions: Definitions::default(),
            compiled: Compiled::default(),
        };
        for file in files {
            let report = loaded.add(file, catalogue, options, &names);
            loaded.reports.push(report);
        }
        loaded
    }
}

impl Loaded {
    fn add(&mut self, file: &File, catalogue: &dyn Catalogue, options: &Options, names: &Names) -> Report {
        let mut report = Report::new(&file.name);
        let content = match &file.content {
            Ok(content) => content.strip_prefix('\u{feff}').unwrap_or(content),
            Err(why) => {
                let place = Place::file(&file.name);
                report.fault(*Fault::new(ErrorCode::FileRead, why.clone(), &place), "");
                return report;
            }
        };
        if !read::read(content, &mut self.definitions, catalogue, &mut report) {
            return report;
        }
        let compiler = Compiler {
            definitions: &self.definitions,
            catalogue,
            options,
            report: &mut report,
            content,
            names,
            out: Compiled::default(),
        };
        let compiled = compiler.run();
        if report.successful() {
            self.compiled = compiled;
        }
        report
    }

    /// Whether all files load.
    #[must_use]
    pub fn successful(&self) -> bool {
        self.reports.iter().all(Report::successful)
    }

    /// The rules in the order of their first definition.
    #[must_use]
    pub fn rules(&self) -> &[CompiledRule] {
        &self.compiled.rules
    }

    /// The rule of this name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&CompiledRule> {
        self.compiled.rules.iter().find(|rule| rule.name == name)
    }

    /// The highest version of the engine that the files require.
    #[must_use]
    pub fn required_engine(&self) -> Version {
        self.definitions.engine
    }

    /// The plugins that the files require, each with what may stand for it.
    pub fn required_plugins(&self) -> impl Iterator<Item = &[Requirement]> {
        self.definitions.plugins.iter().map(|(alternatives, _)| alternatives.as_slice())
    }

    /// Required plugins that nabe does not stand for, in Falco's words.
    #[must_use]
    pub fn unmet_plugins(&self) -> Vec<String> {
        let mut unmet = Vec::new();
        for alternatives in self.required_plugins() {
            let met = alternatives.iter().any(|one| {
                let found = PLUGINS.iter().find(|(name, _)| *name == one.name);
                let required = Version::parse(&one.version);
                found.zip(required).is_some_and(|((_, version), required)| version.satisfies(required))
            });
            if met {
                continue;
            }
            let wanted: Vec<String> =
                alternatives.iter().map(|one| format!("{} (>= {})", one.name, one.version)).collect();
            unmet.push(wanted.join(", or "));
        }
        unmet
    }
}
