//! `nabe falco`, or nabe called as `falco`: Falco's own flags.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nabe_event::field::{self, Field};
use nabe_event::table::{Class, EventId, Flags};
use nabe_filter::Program;
use nabe_rules::catalogue::{Catalogue as _, JSON, K8S_AUDIT, Native, SYSCALL};
use nabe_rules::{File, RuleSet};
use serde_json::json;

use super::detect::{FALCO_YAML, sources};
use crate::error::{CliError, Result};
use crate::falco::config::{Config, Engine};
use crate::falco::run::{self, Plan, Reread};
use crate::falco::{rules, versions};
use crate::output;

/// Falco, with its own flags and its own configuration.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "falco [OPTION...]",
    disable_version_flag = true,
    after_help = "\
Examples:
  nabe falco -c /etc/falco/falco.yaml
  nabe falco -r falco_rules.yaml -V falco_rules.local.yaml
  nabe falco -o json_output=true -L -r falco_rules.yaml
  nabe falco -o engine.kind=replay -o engine.replay.capture_file=a.scap -r rules.yaml
  ln -s nabe falco; ./falco --version

Exit status: 0 done, 1 failed, 2 wrong usage."
)]
pub struct Args {
    /// Configuration file; /etc/falco/falco.yaml when it is there
    #[arg(short = 'c', value_name = "path")]
    config: Option<PathBuf>,
    /// Print the keys of the configuration as a JSON schema and exit
    #[arg(long)]
    config_schema: bool,
    /// Print the schema of rule files and exit
    #[arg(long)]
    rule_schema: bool,
    /// Turn off an event source: syscall, k8s_audit, json
    #[arg(long, value_name = "event_source", conflicts_with = "enable_source")]
    disable_source: Vec<String>,
    /// Run without processing events
    #[arg(long)]
    dry_run: bool,
    /// Turn on only these event sources
    #[arg(long, value_name = "event_source")]
    enable_source: Vec<String>,
    /// Print those events that are ignored by default for performance reasons and exit
    #[arg(short = 'i')]
    ignored: bool,
    /// Show the name and description of all rules and exit; with json_output all details
    #[arg(short = 'L')]
    describe_all: bool,
    /// Show the name and description of one rule and exit
    #[arg(short = 'l', value_name = "rule")]
    describe: Option<String>,
    /// List all fields, or those of a source, and exit
    #[arg(long, value_name = "source", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    list: Option<String>,
    /// List all events and exit
    #[arg(long)]
    list_events: bool,
    /// Print info on all loaded plugins and exit
    #[arg(long)]
    list_plugins: bool,
    /// Stop after so many seconds
    #[arg(short = 'M', value_name = "num_seconds", default_value_t = 0.0)]
    seconds: f64,
    /// With --list or --list-events: as Markdown
    #[arg(long, conflicts_with = "format")]
    markdown: bool,
    /// With --list or --list-events: text, markdown or json
    #[arg(long, value_name = "format")]
    format: Option<Format>,
    /// With --list: names only
    #[arg(short = 'N')]
    names_only: bool,
    /// Set a key of the configuration: base.list[1]=val
    #[arg(short = 'o', long = "option", value_name = "opt=val")]
    options: Vec<String>,
    /// Print info on a plugin and exit
    #[arg(long, value_name = "plugin_name")]
    plugin_info: Option<String>,
    /// Further output of rules: container, kubernetes, or a format (deprecated: -o append_output…)
    #[arg(short = 'p', long = "print", value_name = "output_format")]
    print: Option<String>,
    /// Write the process id to a file
    #[arg(short = 'P', long = "pidfile", value_name = "pid_file")]
    pidfile: Option<PathBuf>,
    /// Rules file or directory to be loaded
    #[arg(short = 'r', value_name = "rules_file")]
    rules: Vec<PathBuf>,
    /// Print support information as JSON and exit
    #[arg(long)]
    support: bool,
    /// Flush every line; nabe always does
    #[arg(short = 'U', long = "unbuffered")]
    unbuffered: bool,
    /// Validate rules files and exit
    #[arg(short = 'V', long = "validate", value_name = "rules_file")]
    validate: Vec<PathBuf>,
    /// Enable verbose output
    #[arg(short = 'v')]
    verbose: bool,
    /// Print version information and exit
    #[arg(long)]
    version: bool,
    /// Print the system page size and exit
    #[arg(long)]
    page_size: bool,
    /// Former flags: all events, a capture, rules by name and tag
    #[arg(short = 'A', hide = true)]
    all_events: bool,
    #[arg(short = 'e', hide = true, value_name = "events_file")]
    capture: Option<PathBuf>,
    #[arg(short = 'D', hide = true, value_name = "substring")]
    disabled_rules: Vec<String>,
    #[arg(short = 't', hide = true, value_name = "tag")]
    enabled_tags: Vec<String>,
    #[arg(short = 'T', hide = true, value_name = "tag")]
    disabled_tags: Vec<String>,
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    #[default]
    Text,
    Markdown,
    Json,
}

/// Prints what is doubtful about a configuration.
pub(super) fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("nabe: warning: {warning}");
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(code) = facts(args)? {
        return Ok(code);
    }
    let disables = !args.disabled_rules.is_empty() || !args.disabled_tags.is_empty();
    if disables && !args.enabled_tags.is_empty() {
        return Err(CliError::failed(
            "Runtime error: You can not specify both disabled (-D/-T) and enabled (-t) rules. Exiting.",
        ));
    }
    let usual = Path::new(FALCO_YAML);
    let path = args.config.clone().or_else(|| usual.exists().then(|| usual.to_path_buf()));
    let mut assignments = Vec::new();
    if path.is_none() {
        assignments.push("stdout_output.enabled=true".to_owned());
    }
    for (pattern, assignment) in
        [(&args.disabled_rules, "rules[].disable.rule=*"), (&args.disabled_tags, "rules[].disable.tag=")]
    {
        let star = if assignment.ends_with('*') { "*" } else { "" };
        assignments.extend(pattern.iter().map(|pattern| format!("{assignment}{pattern}{star}")));
    }
    if !args.enabled_tags.is_empty() {
        assignments.push("rules[].disable.rule=*".to_owned());
        assignments.extend(args.enabled_tags.iter().map(|tag| format!("rules[].enable.tag={tag}")));
    }
    assignments.extend(args.options.iter().cloned());
    let (mut config, warnings) = Config::load(path.as_deref(), &assignments)?;
    warn(&warnings);
    config.additions.extend(addition(args.print.as_deref()));
    if args.version {
        return version(config.json);
    }
    if args.list_plugins || args.plugin_info.is_some() {
        return plugins(args, &config);
    }
    if !args.validate.is_empty() {
        return validate(args, &config);
    }
    let files = rules::files(&args.rules, &config)?;
    if args.support {
        return support(&files, &config);
    }
    if args.describe_all || args.describe.is_some() {
        return describe(args, &files, &config);
    }
    if let Some(pidfile) = &args.pidfile {
        std::fs::write(pidfile, format!("{}\n", std::process::id()))
            .map_err(|error| CliError::file("write", pidfile, &error))?;
    }
    let mut found = sources(&config.plugins)?;
    let wanted = |name: &str| {
        !args.disable_source.iter().any(|other| other == name)
            && (args.enable_source.is_empty() || args.enable_source.iter().any(|other| other == name))
    };
    for name in args.disable_source.iter().chain(&args.enable_source) {
        if !Native.has_source(name) {
            return Err(CliError::failed(format_args!(
                "Attempted disabling or enabling unknown event source: {name}"
            ))
            .hint(format_args!("known: {}", Native.sources().join(", "))));
        }
    }
    // A capture is replayed whatever sources are on.
    let is_replay = args.capture.is_some() || matches!(config.engine, Engine::Replay(_));
    found.retain(|source| wanted(&source.name) && !is_replay);
    let kernel = if wanted(SYSCALL) || is_replay { config.engine.clone() } else { Engine::None };
    if kernel == Engine::None && found.is_empty() && config.engine != Engine::None {
        return Err(CliError::failed("Must enable at least one event source"));
    }
    run::run(Plan {
        rules: files,
        reread: Reread { path, assignments, rules: args.rules.clone() },
        sources: found,
        kernel,
        captures: args.capture.iter().cloned().collect(),
        only: Program::all(),
        seconds: Some(args.seconds).filter(|seconds| *seconds > 0.0),
        falco: true,
        actions: config.reader().flag("nabe.actions", false)?,
        cost: false,
        hostname: run::hostname(),
        ring_bytes: None,
        dry_run: args.dry_run,
        config,
    })
}

/// What `-p` adds to outputs.
fn addition(print: Option<&str>) -> Option<nabe_rules::Addition> {
    let (source, output) = match print? {
        "c" | "container" => {
            (Some(SYSCALL.to_owned()), "container_id=%container.id container_name=%container.name")
        }
        "k" | "kubernetes" => (
            Some(SYSCALL.to_owned()),
            "container_id=%container.id container_name=%container.name k8s_ns_name=%k8s.ns.name k8s_pod_name=%k8s.pod.name",
        ),
        format => (None, format),
    };
    Some(nabe_rules::Addition { source, output: Some(output.to_owned()), ..nabe_rules::Addition::default() })
}

/// What can be told without a configuration.
fn facts(args: &Args) -> Result<Option<ExitCode>> {
    let format = if args.markdown { Format::Markdown } else { args.format.unwrap_or_default() };
    let text = if args.page_size {
        format!("Your system page size is: {}\n", rustix::param::page_size())
    } else if args.config_schema {
        format!("{:#}\n", crate::falco::keys::schema())
    } else if args.rule_schema {
        format!("{:#}\n", rule_schema())
    } else if args.ignored {
        ignored()
    } else if let Some(source) = &args.list {
        list(source, format, args.names_only)?
    } else if args.list_events {
        events(format)
    } else {
        return Ok(None);
    };
    output::write(text.as_bytes())?;
    Ok(Some(ExitCode::SUCCESS))
}

fn version(json: bool) -> Result<ExitCode> {
    let of = versions();
    let text = |key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let out = if json {
        format!("{of}\n")
    } else {
        format!(
            "Falco version: {} (nabe {})\nLibs version:  {}\nPlugin API:    {}\nEngine:        {}\nDriver:\n  API \
             version:    {}\n  Schema version: {}\n  Default driver: {}\n",
            text("falco_version"),
            text("nabe_version"),
            text("libs_version"),
            text("plugin_api_version"),
            text("engine_version_semver"),
            text("driver_api_version"),
            text("driver_schema_version"),
            text("default_driver_version"),
        )
    };
    output::write(out.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Plugins of Falco that are part of nabe: name, version, what they are for.
static PLUGINS: &[(&str, &str, &str)] = &[
    ("container", "0.7.2", "Falco container metadata enrichment Plugin (built into nabe)"),
    ("k8saudit", "0.16.0", "Read Kubernetes Audit Events and monitor Kubernetes Clusters (built into nabe)"),
    (
        "json",
        "0.7.4",
        "implements extracting arbitrary fields from inputs formatted as JSON (built into nabe)",
    ),
];

fn plugins(args: &Args, config: &Config) -> Result<ExitCode> {
    let info = |(name, version, what): &(&str, &str, &str)| {
        let mut text =
            format!("Name: {name}\nDescription: {what}\nContact: nabe\nVersion: {version}\nCapabilities:\n");
        if *name == "k8saudit" {
            text.push_str("  - Event Sourcing (ID=1, source='k8s_audit')\n");
        }
        text.push_str("  - Field Extraction\n");
        text
    };
    let out = match &args.plugin_info {
        Some(wanted) => {
            let found = PLUGINS.iter().find(|(name, ..)| wanted.contains(name));
            info(found.ok_or_else(|| {
                CliError::failed(format_args!(
                    "can't find plugin and no default path available for: {wanted}"
                ))
                .hint("container, json and k8saudit are built in")
            })?)
        }
        None => {
            let loaded =
                PLUGINS.iter().filter(|(name, ..)| config.plugins.iter().any(|plugin| plugin.name == *name));
            let all: Vec<String> = loaded.map(info).collect();
            format!("{} Plugins Loaded:\n\n{}\n", all.len(), all.join("\n"))
        }
    };
    output::write(out.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn open(paths: &[PathBuf]) -> Vec<File> {
    paths.iter().map(|path| File::open(path)).collect()
}

fn validate(args: &Args, config: &Config) -> Result<ExitCode> {
    let options = nabe_rules::Options { additions: config.additions.clone(), payload: config.payload };
    let mut paths = Vec::new();
    for path in &args.validate {
        if path.is_dir() {
            paths.extend(crate::falco::config::yaml_files(path)?)
        } else {
            paths.push(path.clone())
        }
    }
    let loaded = RuleSet::check(&open(&paths), &Native, &options);
    let described = match &args.describe {
        Some(rule) => loaded.describe_rule(rule),
        None => args.describe_all.then(|| loaded.describe()),
    };
    let mut out = String::new();
    if config.json {
        out = format!("{}\n", loaded.results(described));
    } else {
        for report in &loaded.reports {
            if report.successful() && !report.warnings.is_empty() {
                out.push_str(&format!("{}: Ok, with warnings\n", report.name));
                eprintln!("{}", report.text(true).trim_end());
            } else {
                out.push_str(report.text(true).trim_end());
                out.push('\n');
            }
        }
        if let Some(described) = described.filter(|_| loaded.successful()) {
            out.push('\n');
            out.push_str(&nabe_rules::describe::text(&described));
        }
    }
    output::write(out.as_bytes())?;
    Ok(if loaded.successful() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(args: &Args, files: &[PathBuf], config: &Config) -> Result<ExitCode> {
    let loaded = rules::load(files, config)?;
    let described = match &args.describe {
        Some(rule) => loaded
            .describe_rule(rule)
            .ok_or_else(|| CliError::failed(format_args!("there is no rule {rule}")))?,
        None => loaded.describe(),
    };
    let out = if config.json { format!("{described}\n") } else { nabe_rules::describe::text(&described) };
    output::write(out.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn support(files: &[PathBuf], config: &Config) -> Result<ExitCode> {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let read = |path: &PathBuf| {
        let content = std::fs::read_to_string(path).unwrap_or_default();
        json!({"name": path.display().to_string(), "variants": [{"content": content}]})
    };
    let out = json!({
        "version": crate::falco::ledger::FALCO_VERSION,
        "engine_info": versions(),
        "cmdline": std::env::args().collect::<Vec<_>>().join(" "),
        "system_info": {
            "sysname": text(system.sysname()), "nodename": text(system.nodename()),
            "release": text(system.release()), "version": text(system.version()),
            "machine": text(system.machine()),
        },
        "config": config.files.iter().map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect::<String>(),
        "rules_files": files.iter().map(read).collect::<Vec<_>>(),
    });
    output::write(format!("{out}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Reads and writes of data: what Falco does not collect unless asked. nabe collects what rules need.
fn ignored() -> String {
    let mut names: Vec<&str> = EventId::all()
        .filter(|id| {
            let row = id.row();
            let io = matches!(row.category.class(), Some(Class::IoRead | Class::IoWrite));
            io && id.is_syscall() && !row.flags.has(Flags::MODIFIES_STATE) && !row.flags.has(Flags::UNUSED)
        })
        .map(EventId::name)
        .collect();
    names.sort_unstable();
    names.dedup();
    let list: String = names.iter().map(|name| format!("- {name}\n")).collect();
    format!("Ignored syscall(s):\n{list}\n")
}

fn list(source: &str, format: Format, names_only: bool) -> Result<String> {
    if !source.is_empty() && !Native.has_source(source) {
        return Err(CliError::failed(format_args!("there is no source {source}"))
            .hint(format_args!("known: {}", Native.sources().join(", "))));
    }
    let of = if source.is_empty() { vec![SYSCALL, K8S_AUDIT, JSON] } else { vec![source] };
    let known = |found: &&Field| of.iter().any(|source| Native.knows(source, found.name));
    let sysdigs = |found: &Field| {
        // Falco's names, where nabe has others first.
        let names = core::iter::once(found.name).chain(found.aliases.iter().copied());
        names.filter(|name| !name.starts_with("process.") && !name.starts_with("file.")).collect::<Vec<_>>()
    };
    let fields: Vec<(Vec<&str>, &Field)> = field::all()
        .filter(known)
        .map(|found| (sysdigs(found), found))
        .filter(|(names, _)| !names.is_empty())
        .collect();
    if names_only {
        return Ok(fields.iter().flat_map(|(names, _)| names).map(|name| format!("{name}\n")).collect());
    }
    Ok(match format {
        Format::Json => {
            let all: Vec<_> = fields
                .iter()
                .flat_map(|(names, found)| names.iter().map(move |name| (name, found)))
                .map(|(name, found)| json!({"name": name, "type": found.ty.name(), "desc": found.doc}))
                .collect();
            format!("{:#}\n", json!({ "fields": all }))
        }
        Format::Markdown => {
            let mut out = "Name | Type | Description\n:----|:-----|:-----------\n".to_owned();
            for (names, found) in &fields {
                for name in names {
                    out.push_str(&format!("`{name}` | {} | {}\n", found.ty.name(), found.doc));
                }
            }
            out
        }
        Format::Text => {
            let mut out = String::new();
            for (names, found) in &fields {
                for name in names {
                    out.push_str(&format!("{name:<30} ({}) {}\n", found.ty.name(), found.doc));
                }
            }
            out
        }
    })
}

fn events(format: Format) -> String {
    let rows: Vec<(EventId, Vec<&str>)> = EventId::all()
        .filter(|id| {
            let row = id.row();
            let is_second = !id.is_enter();
            let alone = id.other_side().row().flags.has(Flags::UNUSED);
            (is_second || alone) && !row.flags.has(Flags::UNUSED) && !row.flags.has(Flags::OLD_VERSION)
        })
        .map(|id| (id, id.row().params.iter().map(|param| param.name).collect()))
        .collect();
    match format {
        Format::Json => {
            let all: Vec<_> =
                rows.iter().map(|(id, params)| json!({"name": id.name(), "params": params})).collect();
            format!("{:#}\n", json!({ "events": all }))
        }
        Format::Markdown => {
            let lines = rows.iter().map(|(id, params)| format!("`{}` | {}\n", id.name(), params.join(", ")));
            format!("Name | Params\n:----|:-----\n{}", lines.collect::<String>())
        }
        Format::Text => {
            rows.iter().map(|(id, params)| format!("{}({})\n", id.name(), params.join(", "))).collect()
        }
    }
}

/// The keys of rule files.
fn rule_schema() -> serde_json::Value {
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let flag = json!({"type": "boolean"});
    json!({
        "$schema": "http://json-schema.org/draft-06/schema#",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "rule": text, "macro": text, "list": text, "desc": text, "condition": text, "output": text,
                "priority": text, "source": text, "tags": texts, "items": {"type": "array"}, "enabled": flag,
                "warn_evttypes": flag, "skip-if-unknown-filter": flag, "capture": flag,
                "capture_duration": {"type": "integer"}, "append": flag,
                "override": {"type": "object", "additionalProperties": {"enum": ["append", "replace"]}},
                "exceptions": {"type": "array", "items": {"type": "object", "properties": {
                    "name": text, "fields": {}, "comps": {}, "values": {"type": "array"},
                }}},
                "required_engine_version": {"type": ["integer", "string"]},
                "required_plugin_versions": {"type": "array"},
                "nabe": {"type": "object"},
            },
        },
    })
}
