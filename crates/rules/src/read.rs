//! From the nodes of a file to definitions, with Falco's verdict on each item.

mod rule;
mod value;

use nabe_event::field::nearest;

use crate::catalogue::Catalogue;
use crate::definition::{Definitions, List, Macro, Requirement, Seen};
use crate::place::{Item, Place};
use crate::report::{ErrorCode, Fault, Report, Result, WarningCode};
use crate::schema;
use crate::version::Version;
use crate::yaml::{self, Kind, Node, YamlError};
use value::{overrides, required, texts, truth, value, wrong};

const OVERRIDE_APPEND: &str = "Keys 'override' and 'append: true' cannot be used together. Add an 'append' entry (e.g. \
     'condition: append') under 'override' instead.";
const WARNING_APPEND: &str =
    "'append' key is deprecated. Add an 'append' entry (e.g. 'condition: append') under 'override' instead.";

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
}
