//! falco.yaml: the keys of Falco 0.44 with their defaults, and nabe's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nabe_event::alert::Priority;
use nabe_event::payload::Form;
use nabe_event::source::EventSet;
use nabe_event::table::EventId;
use nabe_rules::Addition;
use nabe_rules::catalogue::SYSCALL;

use super::keys;
pub use super::reader::Reader;
use super::tree::{Strategy, Tree, Value};
use crate::error::{CliError, Result};

/// The fields that Falco's container plugin suggests for outputs.
const SUGGESTED: &str = "container_id=%container.id container_name=%container.name \
     container_image_repository=%container.image.repository container_image_tag=%container.image.tag \
     k8s_pod_name=%k8s.pod.name k8s_ns_name=%k8s.ns.name";

/// What to do about lost events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropAction {
    Ignore,
    Log,
    Alert,
    Exit,
}

/// `syscall_event_drops`.
#[derive(Clone, Debug, PartialEq)]
pub struct Drops {
    pub threshold: f64,
    pub actions: Vec<DropAction>,
    /// Actions a second, and how many at once.
    pub rate: f64,
    pub max_burst: f64,
    pub simulate: bool,
}

/// `metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub enabled: bool,
    /// Between two looks.
    pub interval: Duration,
    /// Whether an alert tells them.
    pub as_alert: bool,
    /// A file that gets a line each time.
    pub file: Option<PathBuf>,
    pub sections: Sections,
}

/// What metrics tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    pub rules: bool,
    pub resources: bool,
    pub state: bool,
    pub kernel: bool,
    /// What there is nothing of is told, too.
    pub empty: bool,
    /// Sizes in millions of bytes, not in bytes.
    pub in_mb: bool,
}

/// A rule switched on or off, by name (with `*`) or by tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub enable: bool,
    pub by_tag: bool,
    pub pattern: String,
}

/// A plugin of Falco's that nabe has in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    pub name: String,
    /// As JSON or YAML text.
    pub init: Option<Tree>,
    pub open_params: String,
}

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    Live,
    Replay(PathBuf),
    /// No system calls.
    None,
}

/// A configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The tree that it was made from; for what only one reader needs.
    pub tree: Tree,
    /// The files that it was read from.
    pub files: Vec<PathBuf>,
    pub watch: bool,
    pub rules_files: Vec<PathBuf>,
    pub selections: Vec<Selection>,
    pub engine: Engine,
    pub priority: Priority,
    pub json: bool,
    pub include_output: bool,
    pub include_message: bool,
    pub include_fields: bool,
    pub include_tags: bool,
    pub iso_8601: bool,
    /// The form of payload in alerts.
    pub payload: Form,
    pub match_all: bool,
    pub additions: Vec<Addition>,
    pub static_fields: Vec<(String, String)>,
    pub output_timeout: Duration,
    /// 0 for nabe's default.
    pub queue_capacity: usize,
    pub drops: Drops,
    pub plugins: Vec<Plugin>,
    pub capture: super::capture::Settings,
    pub metrics: Metrics,
    pub snaplen: u32,
    /// Events that are collected although no rule asks for them, and those that are not although one
    /// does: `base_syscalls`.
    pub more_events: EventSet,
    pub less_events: EventSet,
    pub buffer_bytes: usize,
}

impl Config {
    /// Reads `path` and the files that it names, then takes in the assignments of `-o`. Returns what
    /// is doubtful, too.
    pub fn load(path: Option<&Path>, assignments: &[String]) -> Result<(Self, Vec<String>)> {
        let mut warnings = Vec::new();
        let (mut tree, mut files) = (Tree::empty(), Vec::new());
        if let Some(path) = path {
            tree = Tree::open(path)?;
            files.push(path.to_path_buf());
            further(&mut tree, &mut files)?;
        }
        for assignment in assignments {
            tree.set(assignment)?;
        }
        keys::check(&tree, &mut warnings);
        Ok((Self::of(tree, files)?, warnings))
    }

    /// What a tree says, checked.
    fn of(tree: Tree, files: Vec<PathBuf>) -> Result<Self> {
        let reader = Reader::of(&tree);
        let (plugins, engine) = (plugins(&reader)?, engine(&reader)?);
        let mut rules_files = reader.paths("rules_files")?;
        rules_files.extend(reader.paths("rules_file")?);
        let preset = reader.number("engine.modern_ebpf.buf_size_preset", 4)?;
        if !(1..=10).contains(&preset) {
            return Err(reader.wrong("engine.modern_ebpf.buf_size_preset", "expected a number from 1 to 10"));
        }
        let snaplen = reader.number("falco_libs.snaplen", 80)?;
        let (more_events, less_events) = base_syscalls(&reader)?;
        let config = Self {
            files,
            watch: reader.flag("watch_config_files", true)?,
            rules_files,
            selections: selections(&reader)?,
            engine,
            priority: match reader.text("priority")? {
                None => Priority::Debug,
                Some(text) => text.parse().map_err(|_| {
                    reader.wrong(
                        "priority",
                        "expected emergency, alert, critical, error, warning, notice, info or debug",
                    )
                })?,
            },
            json: reader.flag("json_output", false)?,
            include_output: reader.flag("json_include_output_property", true)?,
            include_message: reader.flag("json_include_message_property", false)?,
            include_fields: reader.flag("json_include_output_fields_property", true)?,
            include_tags: reader.flag("json_include_tags_property", true)?,
            iso_8601: reader.flag("time_format_iso_8601", false)?,
            payload: if reader.flag("buffer_format_base64", false)? { Form::Base64 } else { Form::Dots },
            match_all: match reader.text("rule_matching")?.as_deref() {
                None | Some("first") => false,
                Some("all") => true,
                Some(_) => {
                    return Err(reader
                        .wrong("rule_matching", "Unknown rule matching strategy: expected first or all"));
                }
            },
            additions: additions(&reader)?,
            static_fields: reader.pairs("static_fields")?,
            output_timeout: Duration::from_millis(reader.number("output_timeout", 2000)?),
            queue_capacity: usize::try_from(reader.number("outputs_queue.capacity", 0)?)
                .unwrap_or(usize::MAX),
            drops: drops(&reader)?,
            plugins,
            more_events,
            less_events,
            capture: super::capture::Settings::read(&reader)?,
            metrics: metrics(&reader)?,
            snaplen: u32::try_from(snaplen)
                .map_err(|_| reader.wrong("falco_libs.snaplen", "expected a number up to 65000"))?,
            // Falco's presets double from 1 MiB on.
            buffer_bytes: 1 << (19 + preset),
            tree,
        };
        Ok(config)
    }

    /// What is read in one place only.
    pub fn reader(&self) -> Reader<'_> {
        Reader::of(&self.tree)
    }
}

/// Joins the files that `config_files` names; folders give their YAML files in order of name. What is
/// not there is passed over, as in Falco.
fn further(tree: &mut Tree, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries: Vec<(String, Strategy)> = tree
        .at("config_files")
        .map(Tree::items)
        .unwrap_or_default()
        .iter()
        .map(|entry| match &entry.value {
            Value::Text(path) => Ok((path.clone(), Strategy::Append)),
            _ => {
                let reader = Reader::of(entry);
                let path = reader.text("path")?.ok_or_else(|| reader.wrong("path", "expected a path"))?;
                let strategy = match reader.text("strategy")?.as_deref() {
                    None | Some("append") => Strategy::Append,
                    Some("override") => Strategy::Override,
                    Some("add-only") => Strategy::AddOnly,
                    Some(_) => return Err(reader.wrong("strategy", "expected append, override or add-only")),
                };
                Ok((path, strategy))
            }
        })
        .collect::<Result<_>>()?;
    for (path, strategy) in entries {
        for path in yaml_files(Path::new(&path))? {
            let other = Tree::open(&path)?;
            if other.at("config_files").is_some() {
                return Err(CliError::failed(format_args!(
                    "{}: config_files stands in a file that config_files names",
                    path.display()
                ))
                .hint("only the main file may name further ones"));
            }
            tree.merge(other, strategy);
            files.push(path);
        }
    }
    Ok(())
}

/// A file, or the YAML files of a folder in order of name; nothing for what is not there.
pub fn yaml_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(if path.exists() { vec![path.to_path_buf()] } else { Vec::new() });
    }
    let about = |error: std::io::Error| CliError::file("read", path, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(about)? {
        let path = entry.map_err(about)?.path();
        let is_yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if is_yaml && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn engine(reader: &Reader<'_>) -> Result<Engine> {
    match reader.text("engine.kind")?.as_deref() {
        None | Some("modern_ebpf" | "kmod" | "ebpf") => Ok(Engine::Live),
        Some("nodriver") => Ok(Engine::None),
        Some("replay") => match reader.filled("engine.replay.capture_file")? {
            Some(file) => Ok(Engine::Replay(file.into())),
            None => Err(reader.wrong("engine.kind", "replay needs engine.replay.capture_file")),
        },
        Some(_) => Err(reader.wrong("engine.kind", "expected modern_ebpf, replay or nodriver")),
    }
}

fn selections(reader: &Reader<'_>) -> Result<Vec<Selection>> {
    let mut selections = Vec::new();
    for item in reader.at("rules").map(Tree::items).unwrap_or_default() {
        let reader = Reader::of(item);
        for (enable, word) in [(true, "enable"), (false, "disable")] {
            for (by_tag, what) in [(false, "rule"), (true, "tag")] {
                if let Some(pattern) = reader.text(&format!("{word}.{what}"))? {
                    selections.push(Selection { enable, by_tag, pattern });
                }
            }
        }
    }
    Ok(selections)
}

fn additions(reader: &Reader<'_>) -> Result<Vec<Addition>> {
    let mut additions = Vec::new();
    for item in reader.at("append_output").map(Tree::items).unwrap_or_default() {
        let reader = Reader::of(item);
        let mut fields = Vec::new();
        for field in item.at("extra_fields").map(Tree::items).unwrap_or_default() {
            match &field.value {
                Value::Text(name) => fields.push((name.clone(), format!("%{name}"), true)),
                Value::Map(entries) => {
                    for (name, value) in entries {
                        if let Value::Text(format) = &value.value {
                            fields.push((name.clone(), format.clone(), false));
                        }
                    }
                }
                _ => return Err(reader.wrong("extra_fields", "expected fields or name: format")),
            }
        }
        let (rule, tags) = (reader.filled("match.rule")?, reader.texts("match.tags")?);
        let source = reader.filled("match.source")?;
        // What Falco's container plugin suggests, which is about system calls.
        if reader.flag("suggested_output", false)? && source.as_deref().is_none_or(|source| source == SYSCALL)
        {
            additions.push(Addition {
                source: Some(SYSCALL.into()),
                tags: tags.clone(),
                rule: rule.clone(),
                output: Some(SUGGESTED.into()),
                fields: Vec::new(),
            });
        }
        additions.push(Addition { source, tags, rule, output: reader.filled("extra_output")?, fields });
    }
    Ok(additions)
}

/// Events of `base_syscalls.custom_set`: those that are wanted, and those with a `!` before them.
fn base_syscalls(reader: &Reader<'_>) -> Result<(EventSet, EventSet)> {
    let (mut more, mut less) = (EventSet::none(), EventSet::none());
    if reader.flag("base_syscalls.all", false)? {
        more = EventSet::all();
    }
    for name in reader.texts("base_syscalls.custom_set")? {
        let (set, bare) = match name.strip_prefix('!') {
            Some(bare) => (&mut less, bare),
            None => (&mut more, name.as_str()),
        };
        let found: EventSet = EventId::named(bare).collect();
        if found.is_empty() {
            return Err(reader.wrong("base_syscalls.custom_set", &format!("there is no system call {bare}")));
        }
        *set = set.clone().union(&found);
    }
    Ok((more, less))
}

fn metrics(reader: &Reader<'_>) -> Result<Metrics> {
    let interval = reader.span("metrics.interval", Duration::from_secs(3600))?;
    if interval < Duration::from_millis(100) {
        return Err(reader.wrong("metrics.interval", "expected at least 100ms"));
    }
    let flag = |key: &str, default| reader.flag(&format!("metrics.{key}"), default);
    Ok(Metrics {
        enabled: flag("enabled", false)?,
        interval,
        as_alert: flag("output_rule", true)?,
        file: reader.filled("metrics.output_file")?.map(PathBuf::from),
        sections: Sections {
            rules: flag("rules_counters_enabled", true)?,
            resources: flag("resource_utilization_enabled", true)?,
            state: flag("state_counters_enabled", true)?,
            kernel: flag("kernel_event_counters_enabled", true)?,
            empty: flag("include_empty_values", false)?,
            in_mb: flag("convert_memory_to_mb", true)?,
        },
    })
}

fn plugins(reader: &Reader<'_>) -> Result<Vec<Plugin>> {
    let loaded = reader.texts("load_plugins")?;
    let mut plugins = Vec::new();
    for item in reader.at("plugins").map(Tree::items).unwrap_or_default() {
        let reader = Reader::of(item);
        let Some(name) = reader.filled("name")? else {
            return Err(CliError::failed(format_args!("{}: a plugin without a name", item.origin)));
        };
        if loaded.contains(&name) {
            let open_params = reader.text("open_params")?.unwrap_or_default();
            plugins.push(Plugin { name, init: item.at("init_config").cloned(), open_params });
        }
    }
    for name in loaded {
        if plugins.iter().all(|plugin| plugin.name != name) {
            plugins.push(Plugin { name, init: None, open_params: String::new() });
        }
    }
    Ok(plugins)
}

fn drops(reader: &Reader<'_>) -> Result<Drops> {
    let mut actions = Vec::new();
    for action in reader.texts("syscall_event_drops.actions")? {
        actions.push(match &*action {
            "ignore" => DropAction::Ignore,
            "log" => DropAction::Log,
            "alert" => DropAction::Alert,
            "exit" => DropAction::Exit,
            _ => {
                return Err(reader.wrong(
                    "syscall_event_drops.actions",
                    &format!("available actions for syscall event drops are \"ignore\", \"log\", \"alert\" and \"exit\", not \"{action}\""),
                ));
            }
        });
    }
    if actions.contains(&DropAction::Ignore) {
        for (action, name) in
            [(DropAction::Log, "log"), (DropAction::Alert, "alert"), (DropAction::Exit, "exit")]
        {
            if actions.contains(&action) {
                let text = format!(
                    "syscall event drop action \"{name}\" does not make sense with the \"ignore\" action"
                );
                return Err(reader.wrong("syscall_event_drops.actions", &text));
            }
        }
    }
    if reader.at("syscall_event_drops.actions").is_none() {
        actions = vec![DropAction::Log, DropAction::Alert];
    }
    let threshold = reader.double("syscall_event_drops.threshold", 0.1)?;
    if !(0.0..=1.0).contains(&threshold) {
        let text = "syscall event drops threshold must be a double in the range [0, 1]";
        return Err(reader.wrong("syscall_event_drops.threshold", text));
    }
    Ok(Drops {
        threshold,
        actions,
        rate: reader.double("syscall_event_drops.rate", 0.03333)?,
        max_burst: reader.double("syscall_event_drops.max_burst", 1.0)?,
        simulate: reader.flag("syscall_event_drops.simulate_drops", false)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<(Config, Vec<String>)> {
        let mut warnings = Vec::new();
        let tree = Tree::read(text, "falco.yaml")?;
        keys::check(&tree, &mut warnings);
        Ok((Config::of(tree, Vec::new())?, warnings))
    }

    #[test]
    fn the_defaults_are_falcos() {
        let (config, warnings) = load("").unwrap();
        assert!(warnings.is_empty());
        assert_eq!(
            (config.engine, config.priority, config.match_all),
            (Engine::Live, Priority::Debug, false)
        );
        assert_eq!((config.buffer_bytes, config.snaplen), (8 << 20, 80));
        assert_eq!(config.drops.actions, [DropAction::Log, DropAction::Alert]);
    }

    #[test]
    fn unknown_keys_are_told_with_the_nearest() {
        let (_, warnings) =
            load("jason_output: true\nengine:\n  knid: x\n  kmod: {a: 1}\ngrpc: {enabled: true}\n").unwrap();
        assert_eq!(
            warnings,
            [
                "falco.yaml:1:15: unknown key jason_output; did you mean json_output?",
                "falco.yaml:3:9: unknown key engine.knid; did you mean engine.kind?",
                "falco.yaml:5:7: grpc: Falco has given up this key; it has no effect",
            ]
        );
    }

    #[test]
    fn wrong_values_are_placed() {
        for (text, expected) in [
            ("json_output: maybe", "falco.yaml:1:14: json_output: expected true or false, found `maybe`"),
            ("rule_matching: some", "Unknown rule matching strategy"),
            (
                "syscall_event_drops:\n  threshold: 1.1",
                "syscall event drops threshold must be a double in the range",
            ),
            (
                "syscall_event_drops:\n  actions: [ignore, log]",
                "syscall event drop action \"log\" does not make sense with the \"ignore\" action",
            ),
            ("engine: {kind: replay}", "replay needs engine.replay.capture_file"),
            ("metrics: {interval: soon}", "falco.yaml:1:21: metrics.interval: expected a time"),
            ("metrics: {interval: 5ms}", "expected at least 100ms"),
            ("base_syscalls: {custom_set: [read, '!nonsense']}", "there is no system call nonsense"),
            ("static_fields: [a]", "static_fields: expected keys, found a list"),
            ("priority: [a]", "expected a text, found a list"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn rules_plugins_and_outputs_are_read() {
        let (config, warnings) = load(
            "rules:\n- disable: {tag: a}\n- enable: {rule: 'b*'}\nload_plugins: [json, k8saudit]\nplugins:\n\
             - {name: k8saudit, library_path: x.so, open_params: 'http://:9765/k8s-audit', init_config: {a: 1}}\n\
             - {name: cloudtrail}\nappend_output:\n- match: {source: syscall, tags: [t]}\n  extra_output: 'x=%proc.name'\n  \
             extra_fields: [evt.num, {k: 'v %proc.pid'}]\n- suggested_output: true\nstatic_fields: {region: eu}\n",
        )
        .unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(config.selections.len(), 2);
        assert_eq!(
            config.plugins.iter().map(|plugin| &*plugin.name).collect::<Vec<_>>(),
            ["k8saudit", "json"]
        );
        assert_eq!(config.additions[0].fields.len(), 2);
        assert_eq!(config.additions.len(), 3);
        assert!(
            config.additions[1].output.as_deref().is_some_and(|output| output.contains("%container.name"))
        );
        assert_eq!(config.static_fields, [("region".to_owned(), "eu".to_owned())]);
    }
}
