//! `nabe rules test`: rules run on captures, alerts compared with what one small file expects.
//!
//! ```yaml
//! rules: [my_rules.yaml]          # beside this file
//! tests:
//!   - name: cat reads
//!     capture: cat.scap
//!     matching: all               # or first, as without it
//!     enable: ['Read*']           # switched on or off by name
//!     disable: ['Write*']
//!     expect: {Read files: 8, Write files: 0, Other: '>=1'}
//!     alerts: 8                   # of all rules
//!     message: command=cat        # part of some alert's text
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use nabe_event::alert::Alert;
use nabe_event::field::nearest;
use nabe_rules::Loaded;
use nabe_rules::engine::{Matching, Options, Switch, Which};
use nabe_rules::yaml::{self, Kind, Node};

use super::{judge, load};
use crate::error::{CliError, Result};
use crate::output;
use crate::stream::stop::Stop;

/// Run rules on captures and compare the alerts with what is expected.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A test file:
  rules: [my_rules.yaml]
  tests:
    - name: cat reads
      capture: cat.scap
      expect: {Read files: 8, Write files: 0, Other: '>=1'}
      message: command=cat

Other keys of a test: matching (first, all), enable, disable (names with *), alerts (of all rules),
rules (instead of those above). Paths are seen from the test file.

Exit status: 0 all tests pass, 1 one fails, 2 wrong usage.")]
pub struct Args {
    /// Test files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only tests whose name has this text
    #[arg(short = 'k', long, value_name = "TEXT")]
    only: Option<String>,
    /// Print the alerts of tests that fail
    #[arg(short = 'v', long)]
    verbose: bool,
}

/// A number of alerts.
#[derive(Clone, Copy, Debug)]
enum Number {
    Exactly(usize),
    AtLeast(usize),
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(">=") {
            Some(least) => least.trim().parse().ok().map(Self::AtLeast),
            None => text.parse().ok().map(Self::Exactly),
        }
    }

    fn fits(self, found: usize) -> bool {
        match self {
            Self::Exactly(expected) => found == expected,
            Self::AtLeast(least) => found >= least,
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(expected) => write!(f, "{expected}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
        }
    }
}

/// What one test says.
struct Test {
    name: String,
    capture: PathBuf,
    rules: Vec<PathBuf>,
    options: Options,
    expect: Vec<(String, Number)>,
    alerts: Option<Number>,
    messages: Vec<String>,
}

const KEYS: &[&str] =
    &["name", "capture", "rules", "matching", "enable", "disable", "expect", "alerts", "message"];

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let stop = Stop::listen()?;
    let (mut passed, mut failed) = (0, 0);
    let mut known: BTreeMap<Vec<PathBuf>, Rc<Loaded>> = BTreeMap::new();
    for file in &args.files {
        for test in read(file)? {
            if args.only.as_ref().is_some_and(|only| !test.name.contains(only.as_str())) {
                continue;
            }
            let loaded = match known.get(&test.rules) {
                Some(loaded) => Rc::clone(loaded),
                None => {
                    let loaded = Rc::new(load(&test.rules)?);
                    known.insert(test.rules.clone(), Rc::clone(&loaded));
                    loaded
                }
            };
            let alerts = judge::alerts(&loaded, test.options.clone(), &test.capture, &stop)?;
            if stop.is_asked() {
                return Ok(ExitCode::FAILURE);
            }
            let wrong = compared(&test, &loaded, &alerts);
            let mut text = format!("{} {}\n", if wrong.is_empty() { "ok    " } else { "FAILED" }, test.name);
            wrong.iter().for_each(|wrong| text.push_str(&format!("       {wrong}\n")));
            if args.verbose && !wrong.is_empty() {
                for alert in &alerts {
                    text.push_str(&format!(
                        "       | {} {}: {}\n",
                        alert.priority, alert.rule, alert.message
                    ));
                }
            }
            output::write(super::plain_lines(&text).as_bytes())?;
            if wrong.is_empty() { passed += 1 } else { failed += 1 }
        }
    }
    output::write(format!("{passed} passed, {failed} failed\n").as_bytes())?;
    if passed + failed == 0 {
        return Err(CliError::usage("there is no such test"));
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is not as expected.
fn compared(test: &Test, loaded: &Loaded, alerts: &[Alert]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (rule, number) in &test.expect {
        let found = alerts.iter().filter(|alert| &*alert.rule == rule).count();
        if loaded.rule(rule).is_none() {
            let near = nearest(rule, loaded.rules().iter().map(|rule| rule.name.as_str()));
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            wrong.push(format!("there is no rule `{rule}`{hint}"));
        } else if !number.fits(found) {
            wrong.push(format!("{rule}: {number} expected, {found} found"));
        }
    }
    if let Some(number) = test.alerts.filter(|number| !number.fits(alerts.len())) {
        wrong.push(format!("{number} alerts expected, {} found", alerts.len()));
    }
    for message in &test.messages {
        if !alerts.iter().any(|alert| alert.message.contains(message.as_str())) {
            wrong.push(format!("no alert says `{message}`"));
        }
    }
    wrong
}

/// Reads a test file.
fn read(path: &Path) -> Result<Vec<Test>> {
    let text = std::fs::read_to_string(path).map_err(|error| CliError::file("read", path, &error))?;
    let wrong = |node: Option<&Node>, message: String| {
        let line = node.map_or(1, |node| node.at.line + 1);
        CliError::usage(format_args!("{}:{line}: {message}", path.display()))
    };
    let documents = yaml::read(&text).map_err(|error| {
        CliError::usage(format_args!("{}:{}: {error}", path.display(), error.at.line + 1))
    })?;
    let root = documents.first().ok_or_else(|| wrong(None, "the file is empty".to_owned()))?;
    let tests = root.get("tests").and_then(|node| node.items());
    let tests = tests.ok_or_else(|| {
        wrong(Some(root), "no list of `tests`".to_owned()).hint("`nabe rules test --help` shows a test file")
    })?;
    let common = texts(root.get("rules"));
    let mut out = Vec::new();
    for node in tests {
        let test = one(node, path, &common).map_err(|message| wrong(Some(node), message))?;
        out.push(test);
    }
    Ok(out)
}

fn one(node: &Node, path: &Path, common: &[String]) -> std::result::Result<Test, String> {
    let Kind::Map(entries) = &node.kind else { return Err("a test is a mapping".to_owned()) };
    if let Some(key) = entries.iter().filter_map(|(key, _)| key.text()).find(|key| !KEYS.contains(key)) {
        let near = nearest(key, KEYS.iter().copied());
        let hint =
            near.map_or(format!("one of {}", KEYS.join(", ")), |near| format!("did you mean `{near}`?"));
        return Err(format!("unknown key `{key}`: {hint}"));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let text = |key: &str| node.get(key).and_then(|node| node.text());
    let capture = text("capture").ok_or("a test needs a `capture`")?;
    let mut rules = texts(node.get("rules"));
    if rules.is_empty() {
        rules = common.to_vec();
    }
    if rules.is_empty() {
        return Err("there are no `rules`, neither in the test nor above it".to_owned());
    }
    let matching = match text("matching") {
        None | Some("first") => Matching::First,
        Some("all") => Matching::All,
        Some(other) => return Err(format!("`matching` is first or all, not `{other}`")),
    };
    let mut options = Options { matching, ..Options::default() };
    for (key, enable) in [("disable", false), ("enable", true)] {
        let names = texts(node.get(key)).into_iter();
        options.switches.extend(names.map(|name| Switch { enable, which: Which::Name(name) }));
    }
    let number = |text: Option<&str>| {
        let text = text.unwrap_or_default();
        Number::parse(text).ok_or(format!("`{text}` is no number of alerts: `8`, `>=1`"))
    };
    let mut expect = Vec::new();
    if let Some(Kind::Map(entries)) = node.get("expect").map(|node| &node.kind) {
        for (rule, count) in entries {
            expect.push((rule.text().unwrap_or_default().to_owned(), number(count.text())?));
        }
    }
    let alerts = node.get("alerts").map(|node| number(node.text())).transpose()?;
    let messages = texts(node.get("message"));
    if expect.is_empty() && alerts.is_none() && messages.is_empty() {
        return Err("a test needs `expect`, `alerts` or `message`".to_owned());
    }
    Ok(Test {
        name: text("name").unwrap_or(capture).to_owned(),
        capture: folder.join(capture),
        rules: rules.iter().map(|rule| folder.join(rule)).collect(),
        options,
        expect,
        alerts,
        messages,
    })
}

/// A text or a list of texts.
fn texts(node: Option<&Rc<Node>>) -> Vec<String> {
    match node.map(|node| &node.kind) {
        Some(Kind::Scalar { text, .. }) => vec![text.clone()],
        Some(Kind::List(items)) => items.iter().filter_map(|item| item.text()).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
