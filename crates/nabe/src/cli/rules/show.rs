//! `nabe rules list`, `show` and `explain`: what rules are and what they mean.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use nabe_rules::engine::{Engine, Options, fits};
use nabe_rules::{CompiledRule, Loaded};
use serde_json::Value;

use super::{Files, load, unknown};
use crate::error::Result;
use crate::output::{self, Color, Terminal};

/// List rules with their priority, source and tags.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe rules list falco_rules.yaml
  nabe rules list --tag container --json falco_rules.yaml | jq '.rules[].info.name'

Exit status: 0 done, 1 a file does not load, 2 wrong usage.")]
pub struct ListArgs {
    /// Rule files, or folders of them, in order
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only rules with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only rules whose name fits this pattern, with `*` for any text
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Print what `falco -L` prints with json_output
    #[arg(short = 'j', long)]
    json: bool,
}

/// Show the definition of a rule, macro or list, and what it compiles to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe rules show 'Terminal shell in container' -r falco_rules.yaml
  nabe rules show spawned_process -r falco_rules.yaml

Exit status: 0 done, 1 a file does not load, 2 wrong usage, or no such name.")]
pub struct Args {
    /// The name of a rule, macro or list
    name: String,
    #[command(flatten)]
    files: Files,
    /// Print what `falco -l` prints with json_output
    #[arg(short = 'j', long)]
    json: bool,
}

/// Say what a rule needs, when it is evaluated and what the kernel decides.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  nabe rules explain 'Read sensitive file untrusted' -r falco_rules.yaml

Exit status: 0 done, 1 a file does not load, 2 wrong usage, or no such rule.")]
pub struct ExplainArgs {
    /// The name of a rule
    rule: String,
    #[command(flatten)]
    files: Files,
}

/// Lists.
pub fn list(args: &ListArgs) -> Result<ExitCode> {
    let loaded = load(&args.files)?;
    let wanted = |rule: &&CompiledRule| {
        args.tag.as_ref().is_none_or(|tag| rule.tags.contains(tag))
            && args.name.as_ref().is_none_or(|pattern| fits(pattern, &rule.name))
    };
    if args.json {
        let mut described = loaded.describe();
        if let Some(rules) = described["rules"].as_array_mut() {
            rules.retain(|rule| {
                loaded.rule(rule["info"]["name"].as_str().unwrap_or_default()).as_ref().is_some_and(wanted)
            });
        }
        output::write(format!("{described}\n").as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let rules: Vec<&CompiledRule> = loaded.rules().iter().filter(wanted).collect();
    let width = rules.iter().map(|rule| rule.name.chars().count()).max().unwrap_or(4).clamp(4, 72);
    let mut text = format!("{:<width$}  {:<13}  {:<9}  {:<3}  TAGS\n", "RULE", "PRIORITY", "SOURCE", "ON");
    for rule in rules {
        let on = if rule.enabled { "yes" } else { "no" };
        let tags: Vec<&str> = rule.tags.iter().map(String::as_str).collect();
        let _ = writeln!(
            text,
            "{:<width$}  {:<13}  {:<9}  {on:<3}  {}",
            rule.name,
            rule.priority.name(),
            rule.source,
            tags.join(",")
        );
    }
    output::page(super::plain_lines(&text).as_bytes(), &Terminal::detect(Color::Never), true)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows.
pub fn run(args: &Args) -> Result<ExitCode> {
    let loaded = load(&args.files.rules)?;
    let Some((kind, value)) = found(&loaded, &args.name) else { return Err(unknown(&loaded, &args.name)) };
    if args.json {
        let mut described = serde_json::Map::new();
        described.insert(format!("{kind}s"), Value::Array(vec![value]));
        output::write(format!("{}\n", Value::Object(described)).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{kind} {}\n", args.name);
    for part in ["info", "details"] {
        for (key, value) in value[part].as_object().into_iter().flatten().filter(|(key, _)| *key != "name") {
            let _ = writeln!(text, "  {:<20} {}", key, shown(value));
        }
    }
    output::page(super::plain_lines(&text).as_bytes(), &Terminal::detect(Color::Never), true)?;
    Ok(ExitCode::SUCCESS)
}

fn found(loaded: &Loaded, name: &str) -> Option<(&'static str, Value)> {
    let described = loaded.describe();
    ["rule", "macro", "list"].into_iter().find_map(|kind| {
        let all = described[format!("{kind}s")].as_array()?;
        Some((kind, all.iter().find(|one| one["info"]["name"] == name)?.clone()))
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().replace('\n', " "),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}

/// Explains.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    let loaded = load(&args.files.rules)?;
    let Some(rule) = loaded.rule(&args.rule) else { return Err(unknown(&loaded, &args.rule)) };
    let mut text = format!("{}\n  {}\n\n", rule.name, rule.desc.trim().replace('\n', " "));
    let _ = writeln!(text, "condition  {}", rule.tree);
    let events = if rule.event_names.len() > 24 {
        format!("{} events, too many: say which with evt.type", rule.event_names.len())
    } else {
        rule.event_names.join(" ")
    };
    let _ = writeln!(text, "events     {events}");
    let _ = writeln!(text, "output     {}", rule.output.source);
    let _ = writeln!(text, "shows      {}", rule.output.keys().join(" "));
    // A rule that is switched off is explained all the same.
    let on = nabe_rules::engine::Switch {
        enable: true,
        which: nabe_rules::engine::Which::Name(args.rule.clone()),
    };
    let engine = Engine::new(&loaded, Options { switches: vec![on], ..Options::default() });
    if let Some(plan) = engine.explain(&args.rule) {
        text.push_str(&plan);
    }
    let before: Vec<&str> = loaded
        .rules()
        .iter()
        .take_while(|other| other.name != rule.name)
        .filter(|other| other.enabled && other.source == rule.source)
        .filter(|other| !other.events.clone().intersection(&rule.events).is_empty())
        .map(|other| other.name.as_str())
        .collect();
    if !before.is_empty() {
        let _ = writeln!(text, "behind     {}", before.join(", "));
        text.push_str(
            "           (with rule_matching: first, an event that one of these matches is theirs)\n",
        );
    }
    output::page(super::plain_lines(&text).as_bytes(), &Terminal::detect(Color::Never), true)?;
    Ok(ExitCode::SUCCESS)
}
