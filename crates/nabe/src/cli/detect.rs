//! `nabe detect`: Falco's rules on events, alerts to channels.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nabe_audit::Format;
use nabe_filter::Program;

use super::trace::Of;
use crate::error::{CliError, Result};
use crate::falco::audit::{self, Source};
use crate::falco::config::{Config, Engine, Plugin, Selection};
use crate::falco::rules;
use crate::falco::run::{self, Plan, Reread};

/// Where Falco has its configuration.
pub(super) const FALCO_YAML: &str = "/etc/falco/falco.yaml";

/// Say which of what happens is suspicious, by Falco's rules.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nabe detect -r falco_rules.yaml
  nabe detect -r falco_rules.yaml capture.scap
  nabe detect -r rules.d --json --priority warning --all
  nabe detect -c /etc/falco/falco.yaml
  nabe detect -r rules.yaml --container web --disable-tag noisy
  nabe detect -r k8s_audit_rules.yaml --k8s-audit http://:9765/k8s-audit --no-kernel
  tail -F app.log | nabe detect -r app_rules.yaml --json-events - --no-kernel
  nabe detect -r rules.yaml -o http_output.enabled=true -o http_output.url=http://sidekick:2801/

Without -r the rules of falco.yaml are taken (-c, else /etc/falco/falco.yaml). Alerts go to stdout unless
the configuration names other channels; what was judged and lost is told on stderr at the end. SIGHUP loads
the rules anew, SIGUSR1 opens output files anew; changed rule files are loaded by themselves, and rules that
do not load leave the old ones at work.

Exit status: 0 done, whether or not a rule matched; 1 failed; 2 wrong usage.")]
pub struct Args {
    /// Captures to judge instead of the live kernel; - for standard input
    #[arg(value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// A file of rules, or a folder of them; may be given several times
    #[arg(short = 'r', long = "rules", value_name = "FILE|DIR")]
    rules: Vec<PathBuf>,
    /// Configuration, as Falco has it
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a key of the configuration: json_output=true, rules[].disable.tag=x
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Alerts as JSON, one a line
    #[arg(short = 'j', long)]
    json: bool,
    /// Only rules at least so grave
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<String>,
    /// Every rule that matches an event gives an alert, not the first only
    #[arg(long)]
    all: bool,
    /// Switch rules on by name, with *; may be given several times
    #[arg(long, value_name = "RULE", help_heading = "Which rules")]
    enable: Vec<String>,
    /// Switch rules off by name, with *
    #[arg(long, value_name = "RULE", help_heading = "Which rules")]
    disable: Vec<String>,
    /// Switch rules on by tag
    #[arg(long, value_name = "TAG", help_heading = "Which rules")]
    enable_tag: Vec<String>,
    /// Switch rules off by tag
    #[arg(long, value_name = "TAG", help_heading = "Which rules")]
    disable_tag: Vec<String>,
    /// Kubernetes audit events: http://HOST:PORT/PATH to listen, file://PATH to follow, or a file or folder
    #[arg(long, value_name = "PLACE", help_heading = "Sources")]
    k8s_audit: Vec<String>,
    /// Any JSON documents, of which rules with `source: json` judge each: - for standard input, or a place as above
    #[arg(long, value_name = "PLACE", help_heading = "Sources")]
    json_events: Vec<String>,
    /// Certificate and key of an https:// place, in one PEM file
    #[arg(long, value_name = "FILE", default_value = audit::FALCO_PEM, help_heading = "Sources")]
    certificate: PathBuf,
    /// No system calls: only the other sources
    #[arg(long, conflicts_with = "captures", help_heading = "Sources")]
    no_kernel: bool,
    #[command(flatten)]
    of: Of,
    /// Stop behind so many seconds
    #[arg(short = 'M', long = "duration", value_name = "SECONDS")]
    duration: Option<f64>,
    /// Let rules act: signals, containers stopped or frozen, programs run
    #[arg(long)]
    actions: bool,
    /// Measure the time that each rule takes (for /metrics); judging is slower
    #[arg(long)]
    cost: bool,
    /// Load everything, say what is wrong, and end
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    let path = args.config.clone().or_else(|| {
        let usual = Path::new(FALCO_YAML);
        (args.rules.is_empty() && usual.exists()).then(|| usual.to_path_buf())
    });
    let mut assignments = Vec::new();
    if path.is_none() {
        assignments.push("stdout_output.enabled=true".to_owned());
    }
    if args.json {
        assignments.push("json_output=true".to_owned());
    }
    if args.all {
        assignments.push("rule_matching=all".to_owned());
    }
    assignments.extend(args.priority.iter().map(|priority| format!("priority={priority}")));
    assignments.extend(args.options.iter().cloned());
    let (mut config, warnings) = Config::load(path.as_deref(), &assignments)?;
    super::falco::warn(&warnings);
    for (enable, by_tag, patterns) in [
        (false, false, &args.disable),
        (false, true, &args.disable_tag),
        (true, false, &args.enable),
        (true, true, &args.enable_tag),
    ] {
        let of = patterns.iter().map(|pattern| Selection { enable, by_tag, pattern: pattern.clone() });
        config.selections.extend(of);
    }
    let mut sources = sources(&config.plugins)?;
    for (format, places) in [(Format::K8sAudit, &args.k8s_audit), (Format::Json, &args.json_events)] {
        for place in places {
            sources.push(Source::new(format, place, None, &args.certificate)?);
        }
    }
    if args.no_kernel && sources.is_empty() {
        return Err(CliError::usage("--no-kernel leaves no source").hint("add --k8s-audit or --json-events"));
    }
    let kernel = if args.no_kernel { Engine::None } else { config.engine.clone() };
    run::run(Plan {
        rules: rules::files(&args.rules, &config)?,
        reread: Reread { path, assignments, rules: args.rules.clone() },
        sources,
        kernel,
        captures: args.captures.clone(),
        only: args.of.narrowed(Program::all())?,
        seconds: args.duration,
        falco: false,
        actions: args.actions || config.reader().flag("nabe.actions", false)?,
        cost: args.cost,
        hostname: run::hostname(),
        ring_bytes: args.of.buffer,
        dry_run: args.dry_run,
        config,
    })
}

/// The sources that Falco's plugins are.
pub(super) fn sources(plugins: &[Plugin]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for plugin in plugins {
        match &*plugin.name {
            // Containers are resolved, and JSON is read, without them.
            "container" => {}
            // Loaded for its fields alone.
            "k8saudit" | "json" if plugin.open_params.trim().is_empty() => {}
            "k8saudit" => sources.push(Source::of_plugin(Format::K8sAudit, plugin)?),
            "json" => sources.push(Source::of_plugin(Format::Json, plugin)?),
            other => {
                return Err(CliError::failed(format_args!("nabe has no plugin {other}"))
                    .hint("container, json and k8saudit are built in; take others out of load_plugins"));
            }
        }
    }
    Ok(sources)
}
