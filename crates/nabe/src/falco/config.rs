//! falco.yaml: the keys of Falco 0.44 with their defaults, and nabe's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nabe_event::alert::Priority;
use nabe_event::field::nearest;
use nabe_rules::Addition;

use super::tree::{Strategy, Tree, Value};
use crate::error::{CliError, Result};

/// Every key, `[]` for the items of a list, `*` for anything below. The first word behind a key says
/// what nabe does with it: `-` takes it and has no use for it, `old` is Falco's of former times.
static KEYS: &[(&str, &str)] = &[
    ("config_files[]", ""),
    ("config_files[].path", ""),
    ("config_files[].strategy", ""),
    ("watch_config_files", ""),
    ("rules_files[]", ""),
    ("rules_file[]", ""),
    ("rules_file", ""),
    ("rules[].enable.rule", ""),
    ("rules[].enable.tag", ""),
    ("rules[].disable.rule", ""),
    ("rules[].disable.tag", ""),
    ("engine.kind", ""),
    ("engine.kmod.*", "-"),
    ("engine.ebpf.*", "-"),
    ("engine.gvisor.*", "-"),
    ("engine.modern_ebpf.cpus_for_each_buffer", "-"),
    ("engine.modern_ebpf.buf_size_preset", ""),
    ("engine.modern_ebpf.drop_failed_exit", "-"),
    ("engine.modern_ebpf.disable_iterators", "-"),
    ("engine.replay.capture_file", ""),
    ("capture.enabled", ""),
    ("capture.path_prefix", ""),
    ("capture.mode", ""),
    ("capture.default_duration", ""),
    ("capture.max_file_size_mb", ""),
    ("load_plugins[]", ""),
    ("plugins[].name", ""),
    ("plugins[].library_path", "-"),
    ("plugins[].init_config", ""),
    ("plugins[].init_config.*", ""),
    ("plugins[].open_params", ""),
    ("plugins_hostinfo", "-"),
    ("time_format_iso_8601", ""),
    ("buffer_format_base64", "-"),
    ("priority", ""),
    ("json_output", ""),
    ("json_include_output_property", ""),
    ("json_include_message_property", ""),
    ("json_include_output_fields_property", ""),
    ("json_include_tags_property", ""),
    ("buffered_outputs", ""),
    ("rule_matching", ""),
    ("outputs_queue.capacity", ""),
    ("append_output[].match.rule", ""),
    ("append_output[].match.source", ""),
    ("append_output[].match.tags[]", ""),
    ("append_output[].extra_output", ""),
    ("append_output[].extra_fields[]", ""),
    ("append_output[].extra_fields[].*", ""),
    ("append_output[].suggested_output", ""),
    ("static_fields.*", ""),
    ("stdout_output.enabled", ""),
    ("syslog_output.enabled", ""),
    ("file_output.enabled", ""),
    ("file_output.keep_alive", ""),
    ("file_output.filename", ""),
    ("http_output.enabled", ""),
    ("http_output.url", ""),
    ("http_output.user_agent", ""),
    ("http_output.insecure", ""),
    ("http_output.ca_cert", ""),
    ("http_output.ca_bundle", ""),
    ("http_output.ca_path", ""),
    ("http_output.mtls", ""),
    ("http_output.client_cert", ""),
    ("http_output.client_key", ""),
    ("http_output.echo", "-"),
    ("http_output.compress_uploads", ""),
    ("http_output.keep_alive", ""),
    ("http_output.max_consecutive_timeouts", "-"),
    ("program_output.enabled", ""),
    ("program_output.keep_alive", ""),
    ("program_output.program", ""),
    ("grpc.*", "old"),
    ("grpc_output.*", "old"),
    ("webserver.enabled", ""),
    ("webserver.threadiness", "-"),
    ("webserver.listen_port", ""),
    ("webserver.listen_address", ""),
    ("webserver.k8s_healthz_endpoint", ""),
    ("webserver.prometheus_metrics_enabled", ""),
    ("webserver.ssl_enabled", ""),
    ("webserver.ssl_certificate", ""),
    ("log_stderr", ""),
    ("log_syslog", ""),
    ("log_level", ""),
    ("libs_logger.*", "-"),
    ("output_timeout", ""),
    ("syscall_event_timeouts.max_consecutives", "-"),
    ("syscall_event_drops.threshold", ""),
    ("syscall_event_drops.actions[]", ""),
    ("syscall_event_drops.rate", ""),
    ("syscall_event_drops.max_burst", ""),
    ("syscall_event_drops.simulate_drops", ""),
    ("metrics.enabled", ""),
    ("metrics.interval", ""),
    ("metrics.output_rule", ""),
    ("metrics.output_file", ""),
    ("metrics.rules_counters_enabled", ""),
    ("metrics.resource_utilization_enabled", ""),
    ("metrics.state_counters_enabled", ""),
    ("metrics.kernel_event_counters_enabled", ""),
    ("metrics.kernel_event_counters_per_cpu_enabled", ""),
    ("metrics.libbpf_stats_enabled", "-"),
    ("metrics.plugins_metrics_enabled", "-"),
    ("metrics.kernel_iter_event_counters_enabled", "-"),
    ("metrics.jemalloc_stats_enabled", "-"),
    ("metrics.convert_memory_to_mb", ""),
    ("metrics.include_empty_values", ""),
    ("base_syscalls.custom_set[]", ""),
    ("base_syscalls.repair", "-"),
    ("base_syscalls.all", ""),
    ("falco_libs.thread_table_size", "-"),
    ("falco_libs.thread_table_auto_purging_interval_s", "-"),
    ("falco_libs.thread_table_auto_purging_thread_timeout_s", "-"),
    ("falco_libs.snaplen", ""),
    ("outputs.rate", "old"),
    ("outputs.max_burst", "old"),
    ("syscall_buf_size_preset", "old"),
    ("syscall_drop_failed_exit", "old"),
    ("modern_bpf.*", "old"),
    ("buffered_output", "old"),
    ("metadata_download.*", "old"),
    // nabe's own: Falco passes over keys that it does not know.
    ("nabe.outputs[].type", ""),
    ("nabe.outputs[].url", ""),
    ("nabe.outputs[].minimum_priority", ""),
    ("nabe.outputs[].capacity", ""),
    ("nabe.outputs[].timeout", ""),
    ("nabe.outputs[].spill.path", ""),
    ("nabe.outputs[].spill.max_bytes", ""),
    ("nabe.outputs[].headers.*", ""),
    ("nabe.outputs[].insecure", ""),
    ("nabe.outputs[].ca_cert", ""),
    ("nabe.outputs[].client_cert", ""),
    ("nabe.outputs[].client_key", ""),
    ("nabe.outputs[].compress", ""),
    ("nabe.outputs[].channel", ""),
    ("nabe.outputs[].username", ""),
    ("nabe.outputs[].index", ""),
    ("nabe.outputs[].labels[]", ""),
    ("nabe.outputs[].routing_key", ""),
    ("nabe.outputs[].brokers[]", ""),
    ("nabe.outputs[].topic", ""),
    ("nabe.outputs[].filename", ""),
    ("nabe.outputs[].program", ""),
    ("nabe.outputs[].keep_alive", ""),
    ("nabe.actions", ""),
    ("nabe.look_back.bytes", ""),
];

/// The keys as a JSON schema, for editors.
pub fn schema() -> serde_json::Value {
    use serde_json::{Map, Value as Json, json};
    fn put(at: &mut Map<String, Json>, path: &str) {
        let (key, rest) = path.split_once('.').unwrap_or((path, ""));
        let (name, is_list) = key.strip_suffix("[]").map_or((key, false), |name| (name, true));
        let entry =
            at.entry(name).or_insert_with(|| if is_list { json!({"type": "array"}) } else { json!({}) });
        if rest.is_empty() {
            return;
        }
        let Some(mut inner) = entry.as_object_mut() else { return };
        if is_list {
            let items = inner.entry("items").or_insert_with(|| json!({}));
            let Some(items) = items.as_object_mut() else { return };
            inner = items;
        }
        inner.insert("type".into(), json!("object"));
        if rest == "*" {
            return;
        }
        let properties = inner.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            put(properties, rest);
        }
    }
    let mut properties = Map::new();
    for (key, use_of_it) in KEYS {
        if *use_of_it != "old" {
            put(&mut properties, key);
        }
    }
    json!({"$schema": "http://json-schema.org/draft-06/schema#", "type": "object", "properties": properties})
}

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
    pub match_all: bool,
    pub additions: Vec<Addition>,
    pub static_fields: Vec<(String, String)>,
    pub output_timeout: Duration,
    /// 0 for nabe's default.
    pub queue_capacity: usize,
    pub drops: Drops,
    pub plugins: Vec<Plugin>,
    pub capture: super::capture::Settings,
    pub snaplen: u32,
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
        unknown_keys(&tree, &mut warnings);
        Ok((Self::of(tree, files)?, warnings))
    }

    /// What a tree says, checked.
    fn of(tree: Tree, files: Vec<PathBuf>) -> Result<Self> {
        let reader = Reader(&tree);
        let (plugins, engine) = (plugins(&reader)?, engine(&reader)?);
        let mut rules_files = reader.paths("rules_files")?;
        rules_files.extend(reader.paths("rules_file")?);
        let preset = reader.number("engine.modern_ebpf.buf_size_preset", 4)?;
        if !(1..=10).contains(&preset) {
            return Err(reader.wrong("engine.modern_ebpf.buf_size_preset", "expected a number from 1 to 10"));
        }
        let snaplen = reader.number("falco_libs.snaplen", 80)?;
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
            match_all: match reader.text("rule_matching")?.as_deref() {
                None | Some("first") => false,
                Some("all") => true,
                Some(_) => {
                    return Err(reader
                        .wrong("rule_matching", "Unknown rule matching strategy: expected first or all"));
                }
            },
            additions: additions(&reader)?,
            static_fields: static_fields(&tree),
            output_timeout: Duration::from_millis(reader.number("output_timeout", 2000)?),
            queue_capacity: usize::try_from(reader.number("outputs_queue.capacity", 0)?)
                .unwrap_or(usize::MAX),
            drops: drops(&reader)?,
            plugins,
            capture: super::capture::Settings::read(&reader)?,
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
        Reader(&self.tree)
    }
}

/// Reads values with their types; an error names the file, the line and the key.
pub struct Reader<'a>(&'a Tree);

impl<'a> Reader<'a> {
    /// Of a part of the tree.
    pub fn of(tree: &'a Tree) -> Self {
        Self(tree)
    }

    /// The error of a value that cannot be.
    pub fn wrong(&self, path: &str, expected: &str) -> CliError {
        let found = self.0.at(path);
        let place = found.map(|tree| tree.origin.to_string()).unwrap_or_default();
        let shown = match found.map(|tree| &tree.value) {
            Some(Value::Text(text)) => format!(", found `{text}`"),
            Some(Value::List(_)) => ", found a list".to_owned(),
            Some(Value::Map(_)) => ", found keys".to_owned(),
            _ => String::new(),
        };
        CliError::failed(format_args!("{place}: {path}: {expected}{shown}"))
    }

    /// A text; `None` when there is nothing.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        match self.0.at(path).map(|tree| &tree.value) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(path, "expected a text")),
        }
    }

    /// A text that is not empty.
    pub fn filled(&self, path: &str) -> Result<Option<String>> {
        Ok(self.text(path)?.filter(|text| !text.is_empty()))
    }

    /// True or false, in any of YAML 1.1's words.
    pub fn flag(&self, path: &str, default: bool) -> Result<bool> {
        match self.text(path)?.map(|text| text.to_ascii_lowercase()).as_deref() {
            None => Ok(default),
            Some("true" | "yes" | "on" | "y" | "1") => Ok(true),
            Some("false" | "no" | "off" | "n" | "0") => Ok(false),
            Some(_) => Err(self.wrong(path, "expected true or false")),
        }
    }

    /// A whole number.
    pub fn number(&self, path: &str, default: u64) -> Result<u64> {
        match self.text(path)? {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|_| self.wrong(path, "expected a whole number")),
        }
    }

    /// A number with a fraction.
    pub fn double(&self, path: &str, default: f64) -> Result<f64> {
        match self.text(path)? {
            None => Ok(default),
            Some(text) => text
                .trim()
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .ok_or_else(|| self.wrong(path, "expected a number")),
        }
    }

    /// Texts: a list, or one that stands alone.
    pub fn texts(&self, path: &str) -> Result<Vec<String>> {
        let Some(tree) = self.0.at(path) else { return Ok(Vec::new()) };
        match &tree.value {
            Value::Null => Ok(Vec::new()),
            Value::Text(text) => Ok(vec![text.clone()]),
            Value::List(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(text) => Ok(text.clone()),
                    _ => Err(self.wrong(path, "expected a list of texts")),
                })
                .collect(),
            Value::Map(_) => Err(self.wrong(path, "expected a list of texts")),
        }
    }

    fn paths(&self, path: &str) -> Result<Vec<PathBuf>> {
        Ok(self.texts(path)?.into_iter().map(PathBuf::from).collect())
    }

    /// Seconds, or a number with a unit: `500ms`, `30s`, `1h30m`.
    pub fn span(&self, path: &str, default: Duration) -> Result<Duration> {
        let Some(text) = self.filled(path)? else { return Ok(default) };
        span(&text).ok_or_else(|| self.wrong(path, "expected a time such as 30s, 5m or 1h"))
    }
}

fn span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.trim_start();
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let ms = match rest.get(..unit)?.trim() {
            "ms" | "" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        rest = rest.get(unit..)?;
        sum = sum.checked_add(Duration::from_millis(number.checked_mul(ms)?))?;
    }
    Some(sum)
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

/// Warns of keys that nobody reads, with the nearest that somebody does.
fn unknown_keys(tree: &Tree, warnings: &mut Vec<String>) {
    fn walk(tree: &Tree, path: &str, warnings: &mut Vec<String>) {
        match &tree.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    match known(&path) {
                        Known::Below => walk(value, &path, warnings),
                        Known::Free => {}
                        Known::Old => warnings.push(format!(
                            "{}: {path}: Falco has given up this key; it has no effect",
                            value.origin
                        )),
                        Known::No => {
                            let names = KEYS.iter().map(|(name, _)| *name);
                            let near = nearest(&path, names).map(|near| format!("; did you mean {near}?"));
                            warnings.push(format!(
                                "{}: unknown key {path}{}",
                                value.origin,
                                near.unwrap_or_default()
                            ));
                        }
                    }
                }
            }
            Value::List(items) => items.iter().for_each(|item| walk(item, &format!("{path}[]"), warnings)),
            _ => {}
        }
    }
    walk(tree, "", warnings);
}

enum Known {
    /// Look at what is below.
    Below,
    /// Anything may be below.
    Free,
    Old,
    No,
}

fn known(path: &str) -> Known {
    for (key, use_of_it) in KEYS {
        let is_old = *use_of_it == "old";
        if let Some(prefix) = key.strip_suffix(".*")
            && (path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')))
        {
            return if is_old { Known::Old } else { Known::Free };
        }
        if *key == path {
            return if is_old { Known::Old } else { Known::Below };
        }
        let below = key.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
        if below {
            return Known::Below;
        }
    }
    Known::No
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
    for item in reader.0.at("rules").map(Tree::items).unwrap_or_default() {
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
    for item in reader.0.at("append_output").map(Tree::items).unwrap_or_default() {
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
        additions.push(Addition {
            source: reader.filled("match.source")?,
            tags: reader.texts("match.tags")?,
            rule: reader.filled("match.rule")?,
            output: reader.filled("extra_output")?,
            fields,
        });
    }
    Ok(additions)
}

fn static_fields(tree: &Tree) -> Vec<(String, String)> {
    match tree.at("static_fields").map(|tree| &tree.value) {
        Some(Value::Map(entries)) => entries
            .iter()
            .filter_map(|(name, value)| match &value.value {
                Value::Text(text) => Some((name.clone(), text.clone())),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn plugins(reader: &Reader<'_>) -> Result<Vec<Plugin>> {
    let loaded = reader.texts("load_plugins")?;
    let mut plugins = Vec::new();
    for item in reader.0.at("plugins").map(Tree::items).unwrap_or_default() {
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
    if reader.0.at("syscall_event_drops.actions").is_none() {
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
        unknown_keys(&tree, &mut warnings);
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
            ("priority: [a]", "expected a text, found a list"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn spans_have_units() {
        for (text, ms) in [
            ("500ms", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("15", Some(15)),
            ("5 s", Some(5000)),
            ("x", None),
            ("5y", None),
        ] {
            assert_eq!(span(text), ms.map(Duration::from_millis), "{text}");
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
        assert_eq!(config.static_fields, [("region".to_owned(), "eu".to_owned())]);
    }
}
