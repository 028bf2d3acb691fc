//! From the nodes of a file to definitions, with Falco's verdict on each item.

use std::collections::BTreeSet;
use std::rc::Rc;

use nabe_event::alert::Priority;
use nabe_event::field::nearest;

use crate::catalogue::{Catalogue, SYSCALL};
use crate::definition::{Definitions, Entry, Exception, List, Macro, Requirement, Rule, Seen, Update};
use crate::extension::Extension;
use crate::place::{Item, Place};
use crate::report::{ErrorCode, Fault, Report, Result, WarningCode};
use crate::schema;
use crate::version::Version;
use crate::yaml::{self, Kind, Node, YamlError};

const OVERRIDE_APPEND: &str = "Keys 'override' and 'append: true' cannot be used together. Add an 'append' entry (e.g. \
     'condition: append') under 'override' instead.";
const WARNING_APPEND: &str =
    "'append' key is deprecated. Add an 'append' entry (e.g. 'condition: append') under 'override' instead.";
const WARNING_ENABLED: &str = "The standalone 'enabled' key usage is deprecated. The correct approach requires also a 'replace' entry under the \
     'override' key (i.e. 'enabled: replace').";

const RULE_KEYS: &[&str] = &[
    "rule",
    "condition",
    "output",
    "desc",
    "priority",
    "source",
    "enabled",
    "capture",
    "capture_duration",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "tags",
    "exceptions",
    "override",
    "append",
    "nabe",
];
const APPENDABLE: &[&str] = &["condition", "output", "desc", "tags", "exceptions"];
const REPLACEABLE: &[&str] = &[
    "condition",
    "output",
    "desc",
    "priority",
    "capture",
    "capture_duration",
    "tags",
    "exceptions",
    "enabled",
    "warn_evttypes",
    "skip-if-unknown-filter",
];

/// Deepest that parts of exceptions are nested.
const MAX_NESTED: usize = 16;

/// Reads a file into `definitions`; returns whether it could be read to its end.
pub(crate) fn read(
    content: &str,
    definitions: &mut Definitions,
    catalogue: &dyn Catalogue,
    report: &mut Report,
) -> bool {
    let place = Place::file(&report.name);
    let documents = match yaml::read(content) {
        Ok(documents) => documents,
        Err(error) => {
            let place = place.at(error.at, Item::ValueFor, "");
            report.fault(*Fault::new(ErrorCode::YamlParse, parse_message(&error), &place), content);
            return false;
        }
    };
    report.schema = Some(schema::check(&documents));
    let mut reader = Reader { content, definitions, catalogue, report };
    for document in &documents {
        if let Err(fault) = reader.document(document, &place) {
            reader.report.fault(*fault, content);
            return false;
        }
    }
    true
}

/// A parser's error in the form that tools know from Falco, and in its words where they are known.
fn parse_message(error: &YamlError) -> String {
    let words = match error.message.as_str() {
        "mapping values are not allowed in this context" => "illegal map value",
        other => other,
    };
    format!("yaml-cpp: error at line {}, column {}: {words}", error.at.line + 1, error.at.column + 1)
}

struct Reader<'r> {
    content: &'r str,
    definitions: &'r mut Definitions,
    catalogue: &'r dyn Catalogue,
    report: &'r mut Report,
}

fn wrong(message: impl Into<String>, place: &Place) -> Box<Fault> {
    Fault::new(ErrorCode::YamlValidate, message, place)
}

/// A scalar value of a key, which may be missing if `optional` and be nothing if `may_be_empty`.
fn scalar<'n>(
    item: &'n Node,
    key: &str,
    place: &Place,
    optional: bool,
    may_be_empty: bool,
) -> Result<Option<(&'n str, &'n Rc<Node>)>> {
    let Some(value) = item.get(key) else {
        if optional {
            return Ok(None);
        }
        return Err(wrong(format!("Item has no mapping for key '{key}'"), place));
    };
    if value.is_null() {
        if may_be_empty {
            return Ok(None);
        }
        return Err(wrong(format!("Mapping for key '{key}' is empty"), place));
    }
    let within = place.within(value, Item::ValueFor, key);
    let Some(text) = value.text() else { return Err(wrong("Value is not a scalar value", &within)) };
    if text.is_empty() {
        if may_be_empty {
            return Ok(None);
        }
        return Err(wrong("Value must be non-empty", &within));
    }
    Ok(Some((text, value)))
}

fn required<'n>(item: &'n Node, key: &str, place: &Place) -> Result<(&'n str, &'n Rc<Node>)> {
    match scalar(item, key, place, false, false)? {
        Some(found) => Ok(found),
        None => Err(wrong(format!("Item has no mapping for key '{key}'"), place)),
    }
}

/// A value that `read` makes of a scalar.
fn value<T>(
    item: &Node,
    key: &str,
    place: &Place,
    optional: bool,
    read: fn(&str) -> Option<T>,
) -> Result<Option<T>> {
    let Some((text, node)) = scalar(item, key, place, optional, false)? else { return Ok(None) };
    match read(text) {
        Some(value) => Ok(Some(value)),
        None => Err(wrong("Can't decode YAML scalar value", &place.within(node, Item::ValueFor, key))),
    }
}

/// A truth value as YAML 1.1 has it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// The texts of a sequence.
fn texts(item: &Node, key: &str, place: &Place, optional: bool) -> Result<Vec<String>> {
    let Some(node) = item.get(key) else {
        if optional {
            return Ok(Vec::new());
        }
        return Err(wrong(format!("Item has no mapping for key '{key}'"), place));
    };
    let within = place.within(node, Item::ValueFor, key);
    let Some(items) = node.items() else { return Err(wrong("Value is not a sequence", &within)) };
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        let Some(text) = item.text() else {
            let place = within.within(item, Item::ListItem, "");
            return Err(wrong("sequence value is not scalar", &place));
        };
        out.push(text.to_owned());
    }
    Ok(out)
}

fn tags(item: &Node, place: &Place) -> Result<BTreeSet<String>> {
    Ok(texts(item, "tags", place, true)?.into_iter().collect())
}

/// An entry of an exception: a text or a list of entries.
fn entry(node: &Node, key: &str, place: &Place, depth: usize) -> Result<Entry> {
    let within = place.within(node, Item::ValueFor, key);
    if depth > MAX_NESTED {
        return Err(wrong(format!("nested more than {MAX_NESTED} levels deep"), &within));
    }
    match &node.kind {
        Kind::Scalar { text, .. } if text.is_empty() => Err(wrong("Value must be non-empty", &within)),
        Kind::Scalar { text, .. } => Ok(Entry::One(text.clone())),
        Kind::List(items) => {
            let items = items.iter().map(|item| {
                let place = within.within(item, Item::Exception, "");
                entry(item, "", &place, depth + 1)
            });
            Ok(Entry::Many(items.collect::<Result<_>>()?))
        }
        Kind::Null | Kind::Map(_) => Ok(Entry::Absent),
    }
}

/// Which keys of an item are appended and which replaced.
#[derive(Default)]
struct Overrides {
    append: BTreeSet<String>,
    replace: BTreeSet<String>,
}

fn overrides(item: &Node, appendable: &[&str], replaceable: &[&str], place: &Place) -> Result<Overrides> {
    let mut out = Overrides::default();
    let Some(node) = item.get("override") else { return Ok(out) };
    let within = place.within(item, Item::Override, "");
    let Kind::Map(entries) = &node.kind else { return Ok(out) };
    for (key_node, operation) in entries {
        let key = key_node.text().unwrap_or_default();
        let at = within.within(key_node, Item::Override, key);
        match operation.text().unwrap_or_default() {
            "append" if appendable.contains(&key) => {
                out.append.insert(key.to_owned());
            }
            "append" => {
                let message = format!("Key '{key}' cannot be appended to, use 'replace' instead");
                return Err(wrong(message, &at));
            }
            "replace" if replaceable.contains(&key) => {
                out.replace.insert(key.to_owned());
            }
            "replace" => {
                let near =
                    nearest(key, replaceable.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                return Err(wrong(format!("Key '{key}' cannot be replaced"), &at).hint(near));
            }
            other => {
                let mut message =
                    format!("Invalid override operation for key '{key}': '{other}'. Allowed values are: ");
                if appendable.contains(&key) {
                    message.push_str("append ");
                }
                if replaceable.contains(&key) {
                    message.push_str("replace ");
                }
                return Err(wrong(message, &within.within(operation, Item::ValueFor, key)));
            }
        }
    }
    Ok(out)
}

impl Reader<'_> {
    fn warn(&mut self, code: WarningCode, message: impl Into<String>, place: &Place) {
        self.report.warn(code, message, place, self.content);
    }

    fn document(&mut self, document: &Node, place: &Place) -> Result<()> {
        let items = match &document.kind {
            Kind::Null => return Ok(()),
            Kind::Scalar { .. } => return Err(wrong("Rules content is not yaml", place)),
            Kind::Map(_) => return Err(wrong("Rules content is not yaml array of objects", place)),
            Kind::List(items) => items,
        };
        items.iter().filter(|item| !item.is_null()).try_for_each(|item| self.item(item, place))
    }

    fn item(&mut self, item: &Node, parent: &Place) -> Result<()> {
        let Kind::Map(entries) = &item.kind else {
            let place = parent.within(item, Item::ContentItem, "");
            let message = "Unexpected element type. Each element should be a yaml associative array.";
            return Err(wrong(message, &place));
        };
        if item.get("required_engine_version").is_some() {
            return self.engine_version(item, parent);
        }
        if let Some(plugins) = item.get("required_plugin_versions") {
            return self.plugin_versions(item, plugins, parent);
        }
        if item.get("list").is_some() {
            return self.list(item, parent);
        }
        if item.get("macro").is_some() {
            return self.one_macro(item, parent);
        }
        if item.get("rule").is_some() {
            return self.rule(item, parent);
        }
        let place = parent.within(item, Item::ContentItem, "");
        self.warn(WarningCode::UnknownItem, "Unknown top level item", &place);
        let first = entries.first().and_then(|(key, _)| key.text()).unwrap_or_default();
        let known = ["rule", "macro", "list", "required_engine_version", "required_plugin_versions"];
        self.report.mend(nearest(first, known).map(|near| format!("did you mean `{near}`?")));
        Ok(())
    }

    /// Warns of keys that mean nothing here.
    fn unknown_keys(&mut self, item: &Node, expected: &[&str], place: &Place) {
        let Kind::Map(entries) = &item.kind else { return };
        for (node, _) in entries {
            let key = node.text().unwrap_or_default();
            if expected.contains(&key) {
                continue;
            }
            self.warn(
                WarningCode::UnknownKey,
                format!("Unknown key '{key}'. The key will be ignored."),
                place,
            );
            let near = nearest(key, expected.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            self.report.mend(near);
        }
    }

    fn engine_version(&mut self, item: &Node, parent: &Place) -> Result<()> {
        let place = parent.within(item, Item::EngineVersion, "");
        let (text, _) = required(item, "required_engine_version", &place)?;
        let version = match text.parse::<u32>() {
            Ok(minor) => Version { major: 0, minor: minor.into(), patch: 0 },
            Err(_) => Version::parse(text).ok_or_else(|| {
                let message = format!(
                    "Unable to parse engine version '{text}' as a semver string. Expected \"x.y.z\" semver format."
                );
                wrong(message, &place)
            })?,
        };
        self.definitions.require_engine(version, &place)?;
        self.unknown_keys(item, &["required_engine_version"], &place);
        Ok(())
    }

    fn plugin_versions(&mut self, item: &Node, plugins: &Node, parent: &Place) -> Result<()> {
        let place = parent.within(plugins, Item::PluginVersions, "");
        let items = plugins
            .items()
            .ok_or_else(|| wrong("Value of required_plugin_versions must be a sequence", &place))?;
        for plugin in items {
            let nameless = place.within(plugin, Item::PluginEntry, "");
            if !matches!(plugin.kind, Kind::Map(_)) {
                return Err(wrong("Plugin version must be a mapping", &nameless));
            }
            let (name, _) = required(plugin, "name", &nameless)?;
            let at = place.within(plugin, Item::PluginEntry, name);
            let (version, _) = required(plugin, "version", &at)?;
            let mut all = vec![Requirement { name: name.to_owned(), version: version.to_owned() }];
            if let Some(alternatives) = plugin.get("alternatives") {
                let alternatives = alternatives
                    .items()
                    .ok_or_else(|| wrong("Value of plugin version alternatives must be a sequence", &at))?;
                for one in alternatives {
                    let nameless = at.within(one, Item::PluginAlternative, "");
                    if !matches!(one.kind, Kind::Map(_)) {
                        return Err(wrong("Plugin version alternative must be a mapping", &nameless));
                    }
                    let (name, _) = required(one, "name", &nameless)?;
                    let at = at.within(one, Item::PluginAlternative, name);
                    let (version, _) = required(one, "version", &at)?;
                    all.push(Requirement { name: name.to_owned(), version: version.to_owned() });
                }
            }
            self.definitions.require_plugin(all, &at)?;
        }
        let place = parent.within(item, Item::PluginVersions, "");
        self.unknown_keys(item, &["required_plugin_versions"], &place);
        Ok(())
    }

    /// The flag `append`, with the warning that it is old.
    fn append_flag(&mut self, item: &Node, place: &Place) -> Result<bool> {
        let append = value(item, "append", place, true, truth)?.unwrap_or(false);
        if append {
            self.warn(WarningCode::DeprecatedItem, WARNING_APPEND, place);
        }
        Ok(append)
    }

    fn list(&mut self, item: &Node, parent: &Place) -> Result<()> {
        let (name, _) = required(item, "list", &parent.within(item, Item::List, ""))?;
        let place = parent.within(item, Item::List, name);
        if name.is_empty() || name.contains(|c: char| "()\"'=,".contains(c) || c.is_ascii_whitespace()) {
            let message = "List has an invalid name. List names should match a regular expression: \
                           ([^()\"'[:space:]=,]+)";
            self.warn(WarningCode::InvalidListName, message, &place);
        }
        let items = texts(item, "items", &place, false)?;
        let mut append = self.append_flag(item, &place)?;
        let found = overrides(item, &["items"], &["items"], &place)?;
        if append && !(found.append.is_empty() && found.replace.is_empty()) {
            return Err(wrong(OVERRIDE_APPEND, &place));
        }
        append |= found.append.contains("items");
        let list = List { name: name.to_owned(), place: place.clone(), items, seen: Seen::default() };
        if append {
            self.definitions.append_list(list)?;
        } else {
            self.definitions.define_list(list);
        }
        self.unknown_keys(item, &["list", "items", "append", "override"], &place);
        Ok(())
    }

    fn one_macro(&mut self, item: &Node, parent: &Place) -> Result<()> {
        let (name, _) = required(item, "macro", &parent.within(item, Item::Macro, ""))?;
        let place = parent.within(item, Item::Macro, name);
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(word) {
            let message = "Macro has an invalid name. Macro names should match a regular expression: \
                           ([a-zA-Z]+[a-zA-Z0-9_]*)";
            self.warn(WarningCode::InvalidMacroName, message, &place);
        }
        let (condition, node) = required(item, "condition", &place)?;
        let condition_place = place.within(node, Item::MacroCondition, "");
        let mut append = self.append_flag(item, &place)?;
        let found = overrides(item, &["condition"], &["condition"], &place)?;
        if append && !(found.append.is_empty() && found.replace.is_empty()) {
            return Err(wrong(OVERRIDE_APPEND, &place));
        }
        append |= found.append.contains("condition");
        let one = Macro {
            name: name.to_owned(),
            place: place.clone(),
            condition: condition.to_owned(),
            condition_place,
            seen: Seen::default(),
        };
        if append {
            self.definitions.append_macro(one)?;
        } else {
            self.definitions.define_macro(one);
        }
        self.unknown_keys(item, &["macro", "condition", "append", "override"], &place);
        Ok(())
    }

    fn rule(&mut self, item: &Node, parent: &Place) -> Result<()> {
        let (name, _) = required(item, "rule", &parent.within(item, Item::Rule, ""))?;
        let place = parent.within(item, Item::Rule, name);
        let source = scalar(item, "source", &place, true, true)?.map_or("", |(text, _)| text);
        let append = self.append_flag(item, &place)?;
        let found = overrides(item, APPENDABLE, REPLACEABLE, &place)?;
        let overridden = !(found.append.is_empty() && found.replace.is_empty());
        if append && overridden {
            return Err(wrong(OVERRIDE_APPEND, &place));
        }
        if overridden {
            self.overridden(item, name, source, &found, &place)?;
        } else if append {
            let mut update = Update::new(name, &place);
            source.clone_into(&mut update.source);
            if item.get("condition").is_some() {
                update.condition = Some(required(item, "condition", &place)?.0.to_owned());
            }
            if item.get("exceptions").is_some() {
                update.exceptions = Some(self.exceptions(item, &place, true)?);
            }
            self.definitions.append_rule(update, self.catalogue)?;
        } else if ["condition", "output", "desc", "priority"].iter().all(|key| item.get(key).is_none()) {
            let enabled = value(item, "enabled", &place, false, truth)?.unwrap_or(true);
            self.warn(WarningCode::DeprecatedItem, WARNING_ENABLED, &place);
            self.definitions.switch_rule(name, enabled, &place)?;
        } else {
            let rule = self.whole_rule(item, name, &place)?;
            self.definitions.define_rule(rule, self.catalogue, self.report, self.content)?;
        }
        self.unknown_keys(item, RULE_KEYS, &place);
        Ok(())
    }

    fn whole_rule(&mut self, item: &Node, name: &str, place: &Place) -> Result<Rule> {
        let (condition, node) = required(item, "condition", place)?;
        let condition_place = place.within(node, Item::RuleCondition, "");
        let (output, node) = required(item, "output", place)?;
        let output_place = place.within(node, Item::RuleOutput, "");
        let (desc, _) = required(item, "desc", place)?;
        let source = scalar(item, "source", place, true, false)?.map_or(SYSCALL, |(text, _)| text);
        let extension = item.get("nabe").map(|node| Extension::read(node, place)).transpose()?;
        Ok(Rule {
            name: name.to_owned(),
            place: place.clone(),
            condition: condition.to_owned(),
            condition_place,
            output: output.trim().to_owned(),
            output_place,
            desc: desc.to_owned(),
            priority: priority(item, place)?,
            source: source.to_owned(),
            unknown_source: false,
            enabled: value(item, "enabled", place, true, truth)?.unwrap_or(true),
            capture: value(item, "capture", place, true, truth)?.unwrap_or(false),
            capture_duration: value(item, "capture_duration", place, true, number)?.unwrap_or(0),
            warn_evttypes: value(item, "warn_evttypes", place, true, truth)?.unwrap_or(true),
            skip_if_unknown_filter: value(item, "skip-if-unknown-filter", place, true, truth)?
                .unwrap_or(false),
            tags: tags(item, place)?,
            exceptions: self.exceptions(item, place, false)?,
            extension: extension.unwrap_or_default(),
            seen: Seen::default(),
        })
    }

    fn overridden(
        &mut self,
        item: &Node,
        name: &str,
        source: &str,
        found: &Overrides,
        place: &Place,
    ) -> Result<()> {
        let mut defined: BTreeSet<&str> =
            APPENDABLE.iter().chain(REPLACEABLE).copied().filter(|key| item.get(key).is_some()).collect();
        for (kind, keys) in [("append", &found.append), ("replace", &found.replace)] {
            if keys.is_empty() {
                continue;
            }
            for key in keys {
                if !defined.remove(key.as_str()) {
                    let message =
                        format!("An {kind} override for '{key}' was specified but '{key}' is not defined");
                    return Err(wrong(message, place));
                }
            }
            let mut update = self.update(item, name, keys, place, kind == "append")?;
            if keys.contains("condition") {
                source.clone_into(&mut update.source);
            }
            if kind == "append" {
                self.definitions.append_rule(update, self.catalogue)?;
            } else {
                self.definitions.replace_rule(update, self.catalogue)?;
            }
        }
        match defined.first() {
            None => Ok(()),
            Some(key) => {
                let node = item.get(key).map_or(item, |node| node);
                let at = place.within(node, Item::Override, key);
                let message =
                    format!("Unexpected key '{key}': no corresponding entry under 'override' is defined.");
                Err(wrong(message, &at).hint(Some(format!("add `{key}: replace` under `override`"))))
            }
        }
    }

    fn update(
        &mut self,
        item: &Node,
        name: &str,
        keys: &BTreeSet<String>,
        place: &Place,
        append: bool,
    ) -> Result<Update> {
        let mut update = Update::new(name, place);
        let text =
            |key: &str| -> Result<Option<String>> { Ok(Some(required(item, key, place)?.0.to_owned())) };
        for key in keys {
            match key.as_str() {
                "condition" => update.condition = text(key)?,
                "output" => update.output = text(key)?,
                "desc" => update.desc = text(key)?,
                "tags" => update.tags = Some(tags(item, place)?),
                "exceptions" => update.exceptions = Some(self.exceptions(item, place, append)?),
                "priority" => update.priority = Some(priority(item, place)?),
                "enabled" => update.enabled = value(item, key, place, false, truth)?,
                "capture" => update.capture = value(item, key, place, false, truth)?,
                "capture_duration" => update.capture_duration = value(item, key, place, false, number)?,
                "warn_evttypes" => update.warn_evttypes = value(item, key, place, false, truth)?,
                _ => update.skip_if_unknown_filter = value(item, key, place, false, truth)?,
            }
        }
        Ok(update)
    }

    fn exceptions(&mut self, item: &Node, parent: &Place, append: bool) -> Result<Vec<Exception>> {
        let mut out: Vec<Exception> = Vec::new();
        let Some(node) = item.get("exceptions").filter(|node| !node.is_null()) else { return Ok(out) };
        let all = parent.within(node, Item::Exceptions, "");
        let items = node.items().ok_or_else(|| wrong("Rule exceptions must be a sequence", &all))?;
        for one in items {
            let exception = self.exception(one, &all, parent, append)?;
            if out.iter().any(|known| known.name == exception.name) {
                let message =
                    format!("Multiple definitions of exception '{}' in the same rule", exception.name);
                self.warn(WarningCode::ExceptionNameNotUnique, message, &exception.place);
            }
            out.push(exception);
        }
        Ok(out)
    }

    fn exception(&mut self, one: &Node, all: &Place, parent: &Place, append: bool) -> Result<Exception> {
        let nameless = all.within(one, Item::Exception, "");
        if !matches!(one.kind, Kind::Map(_)) {
            return Err(wrong("Rule exception must be a mapping", &nameless));
        }
        let (name, _) = required(one, "name", &nameless)?;
        let place = parent.within(one, Item::Exception, name);
        let fields = match one.get("fields") {
            Some(node) => entry(node, "fields", &place, 0)?,
            None if append => Entry::Absent,
            None => return Err(wrong("Item has no mapping for key 'fields'", &place)),
        };
        let comps = one.get("comps").map_or(Ok(Entry::Absent), |node| entry(node, "comps", &place, 0))?;
        let mut values = Vec::new();
        if let Some(node) = one.get("values") {
            let within = place.within(node, Item::ExceptionValues, "");
            let items =
                node.items().ok_or_else(|| wrong("Rule exception values must be a sequence", &within))?;
            for value in items {
                values.push(entry(value, "", &within.within(value, Item::ExceptionValue, ""), 0)?);
            }
        } else if append {
            self.warn(WarningCode::AppendNoValues, "Overriding/appending exception with no values", &place);
        }
        Ok(Exception { place, name: name.to_owned(), fields, comps, values })
    }
}

fn priority(item: &Node, place: &Place) -> Result<Priority> {
    let (text, node) = required(item, "priority", place)?;
    text.parse().map_err(|_| {
        let names = Priority::ALL.map(Priority::name);
        let near = nearest(text, names).map(|near| format!("did you mean `{}`?", near.to_uppercase()));
        let hint = near.or_else(|| Some(format!("one of {}", names.join(", ").to_uppercase())));
        wrong("Invalid priority", &place.within(node, Item::RulePriority, "")).hint(hint)
    })
}
