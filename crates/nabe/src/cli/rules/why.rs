//! `nabe rules why`: why each rule matches an event of a capture, or does not.

use std::path::PathBuf;
use std::process::ExitCode;

use nabe_rules::engine::fits;
use nabe_rules::why::{Part, why};

use super::{Files, judge, load};
use crate::error::{CliError, Result};
use crate::output;
use crate::stream::stop::Stop;

/// Say of an event of a capture why each rule matches or does not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe rules why a.scap --event 42 -r my_rules.yaml
  nabe rules why a.scap --event 42 --rule 'Read*' --all -r falco_rules.yaml

Events have the numbers of `nabe replay`. Without --rule, rules about events of other kinds are only counted.

Exit status: 0 a rule matches, 1 none does or a file cannot be read, 2 wrong usage.")]
pub struct Args {
    /// A capture (.scap, plain or compressed; - for standard input)
    #[arg(value_name = "FILE")]
    capture: PathBuf,
    /// The number of the event (evt.num)
    #[arg(short = 'e', long, value_name = "N")]
    event: u64,
    /// Only rules whose name fits this pattern, with `*` for any text
    #[arg(long, value_name = "PATTERN")]
    rule: Option<String>,
    /// Show every part of conditions, not only those that decide
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    files: Files,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let loaded = load(&args.files.rules)?;
    let stop = Stop::listen()?;
    let (mut text, mut found, mut matched) = (String::new(), false, 0_u32);
    judge::each(
        &args.capture,
        &stop,
        Box::new(|seen| {
            if seen.number() < args.event {
                return true;
            }
            if seen.number() > args.event {
                return false;
            }
            found = true;
            let mut others = 0;
            text.push_str(&format!("event {}: {}\n", args.event, seen.name()));
            for rule in loaded.rules() {
                match &args.rule {
                    Some(pattern) if !fits(pattern, &rule.name) => continue,
                    None if !rule.events.contains(seen.event().id) => {
                        others += 1;
                        continue;
                    }
                    _ => {}
                }
                let parts = why(rule, seen, args.all);
                let holds = parts.first().is_some_and(|part| part.holds);
                matched += u32::from(holds);
                text.push_str(&format!("\n{} {}\n", if holds { "matches " } else { "does not" }, rule.name));
                parts.iter().for_each(|part| told(part, &mut text));
            }
            if others > 0 {
                text.push_str(&format!("\n{others} rules are about other events than {}\n", seen.name()));
            }
            false
        }),
    )?;
    if !found {
        let error = CliError::failed(format_args!("the capture has no event {}", args.event));
        return Err(error.hint("`nabe replay FILE` prints the numbers"));
    }
    output::write(super::plain_lines(&text).as_bytes())?;
    Ok(if matched > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(part: &Part, text: &mut String) {
    let mark = if part.holds { "true " } else { "false" };
    text.push_str(&format!("  {mark} {}{}", "  ".repeat(part.depth), part.text));
    if let Some(value) = &part.value {
        text.push_str(&format!("    [{}]", value.replace('\n', "\\n")));
    }
    text.push('\n');
}
