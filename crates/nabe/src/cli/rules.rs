//! `nabe rules`: Falco's rule files checked, listed, explained, and tested on captures.

mod check;
mod judge;
mod show;
mod test;
mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nabe_rules::report::Report;
use nabe_rules::{File, Loaded, RuleSet};

use crate::error::{CliError, Result};
use crate::output;

/// Check, list, explain and test rules.
#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  nabe rules check falco_rules.yaml local_rules.yaml
  nabe rules list
  nabe rules show 'Terminal shell in container'
  nabe rules explain 'Read sensitive file untrusted' -r falco_rules.yaml
  nabe rules why a.scap --event 42 -r my_rules.yaml
  nabe rules test my_tests.yaml

Without files, those of Falco are read: /etc/falco/falco_rules.yaml, falco_rules.local.yaml, rules.d/*.yaml.
Later files append to, replace and switch off what earlier ones define.

Exit status: 0 done, 1 a rule file does not load or a test fails, 2 wrong usage."
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say what is wrong with rule files, and how to mend it
    Check(check::Args),
    /// List rules with their priority, source and tags
    List(show::ListArgs),
    /// Show the definition of a rule, macro or list, and what it compiles to
    Show(show::Args),
    /// Say what a rule needs, when it is evaluated and what the kernel decides
    Explain(show::ExplainArgs),
    /// Run rules on captures and compare the alerts with what is expected
    Test(test::Args),
    /// Say of an event of a capture why each rule matches or does not
    Why(why::Args),
}

/// Where rules come from.
#[derive(Clone, Debug, Default, clap::Args)]
struct Files {
    /// Rule files, or folders of them, in order
    #[arg(short = 'r', long = "rules", value_name = "FILE")]
    rules: Vec<PathBuf>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.verb {
        Verb::Check(args) => check::run(args),
        Verb::List(args) => show::list(args),
        Verb::Show(args) => show::run(args),
        Verb::Explain(args) => show::explain(args),
        Verb::Test(args) => test::run(args),
        Verb::Why(args) => why::run(args),
    }
}

/// Falco's own places.
const PLACES: &[&str] =
    &["/etc/falco/falco_rules.yaml", "/etc/falco/falco_rules.local.yaml", "/etc/falco/rules.d"];

/// The files of arguments: of folders what ends in .yaml or .yml, by name.
fn files(paths: &[PathBuf]) -> Result<Vec<File>> {
    let places: Vec<PathBuf>;
    let paths = if paths.is_empty() {
        places = PLACES.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
        if places.is_empty() {
            let error = CliError::usage("no rule files");
            return Err(error.hint("name some, or put them where Falco has them: /etc/falco"));
        }
        &places
    } else {
        paths
    };
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(folder(path)?.iter().map(|path| File::open(path)));
        } else {
            files.push(File::open(path));
        }
    }
    Ok(files)
}

fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).map_err(|error| CliError::file("read", path, &error))?;
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_yaml).collect();
    found.sort();
    Ok(found)
}

/// Loads rules for verbs that need them whole.
fn load(paths: &[PathBuf]) -> Result<Loaded> {
    let loaded = RuleSet::load(&files(paths)?);
    match loaded.reports.iter().find(|report| !report.successful()) {
        None => Ok(loaded),
        Some(report) => {
            eprint!("{}", plain_lines(&told(report, false)));
            Err(CliError::failed(format_args!("{} does not load", output::plain(report.name.as_bytes()))))
        }
    }
}

/// The problems of a file for people: place, line, mark, and how to mend it.
fn told(report: &Report, warnings: bool) -> String {
    let mut out = String::new();
    let kinds = [("error", &report.errors), ("warning", &report.warnings)];
    for (kind, problems) in kinds.into_iter().filter(|(kind, _)| warnings || *kind == "error") {
        for problem in problems {
            let chain: Vec<String> = problem
                .place
                .links()
                .iter()
                .skip(1)
                .filter(|link| !link.item_name.is_empty())
                .map(|link| format!("{} '{}'", link.item.word(), link.item_name))
                .collect();
            let at = problem.place.innermost().map_or((1, 1), |link| (link.at.line + 1, link.at.column + 1));
            let message = if problem.message.is_empty() { problem.code.words() } else { &problem.message };
            out.push_str(&format!("{}:{}:{}: {kind}: {message}\n", report.name, at.0, at.1));
            if !chain.is_empty() {
                out.push_str(&format!("  in {}\n", chain.join(", ")));
            }
            for line in problem.snippet.lines() {
                out.push_str(&format!("  | {line}\n"));
            }
            if let Some(hint) = &problem.hint {
                out.push_str(&format!("  = hint: {hint}\n"));
            }
            out.push_str(&format!("  = code: {}\n\n", problem.code.code()));
        }
    }
    out
}

/// The error of a name that no rule has.
fn unknown(loaded: &Loaded, name: &str) -> CliError {
    let error = CliError::usage(format_args!(
        "no rule, macro or list is called `{}`",
        output::plain(name.as_bytes())
    ));
    let names = loaded.rules().iter().map(|rule| rule.name.as_str());
    match nabe_event::field::nearest(name, names) {
        Some(near) => error.hint(format_args!("did you mean `{near}`?")),
        None => error.hint("`nabe rules list` lists them"),
    }
}

/// Lines of hostile text made harmless.
fn plain_lines(text: &str) -> String {
    text.split('\n').map(|line| output::plain(line.as_bytes())).collect::<Vec<_>>().join("\n")
}
