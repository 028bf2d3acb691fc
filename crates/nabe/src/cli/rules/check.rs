//! `nabe rules check`: what is wrong with rule files.

use std::path::PathBuf;
use std::process::ExitCode;

use nabe_rules::catalogue::Native;
use nabe_rules::{Options, RuleSet};

use super::{files, told};
use crate::error::Result;
use crate::output;

/// Say what is wrong with rule files, and how to mend it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe rules check falco_rules.yaml my_rules.yaml
  nabe rules check --json rules.d | jq '.falco_load_results[].warnings'

Exit status: 0 all load, 1 one does not (with --strict: or has warnings), 2 wrong usage.")]
pub struct Args {
    /// Rule files, or folders of them, in order
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON object, as `falco -V` with json_output, with hints
    #[arg(short = 'j', long)]
    json: bool,
    /// Print no warnings
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Fail on warnings, too
    #[arg(long)]
    strict: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let loaded = RuleSet::check(&files(&args.files)?, &Native, &Options::default());
    let unmet = loaded.unmet_plugins();
    let warned = loaded.reports.iter().any(|report| !report.warnings.is_empty());
    if args.json {
        let results: Vec<_> = loaded.reports.iter().map(|report| report.json(true)).collect();
        let value = serde_json::json!({ "falco_load_results": results, "unmet_plugin_requirements": unmet });
        output::write(format!("{value}\n").as_bytes())?;
    } else {
        let mut text = String::new();
        for report in &loaded.reports {
            text.push_str(&told(report, !args.quiet));
            text.push_str(&format!("{}: {}", report.name, report.verdict()));
            let (errors, warnings) = (report.errors.len(), report.warnings.len());
            text.push_str(&match (errors, warnings) {
                (0, 0) => "\n".to_owned(),
                (0, warnings) => format!(" ({warnings})\n"),
                (errors, warnings) => format!(" ({errors} errors, {warnings} warnings)\n"),
            });
        }
        text.push_str(&format!("{} rules\n", loaded.rules().len()));
        output::write(super::plain_lines(&text).as_bytes())?;
    }
    for plugin in &unmet {
        eprintln!("nabe: error: the rules require the plugin {}", output::plain(plugin.as_bytes()));
    }
    let failed = !loaded.successful() || !unmet.is_empty() || args.strict && warned;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
