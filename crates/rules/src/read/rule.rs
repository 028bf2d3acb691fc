//! Rules: whole ones, those that add to others, and their exceptions.

use std::collections::BTreeSet;

use super::value::{
    Overrides, entry, number, overrides, priority, required, scalar, tags, truth, value, wrong,
};
use super::{OVERRIDE_APPEND, Reader};
use crate::catalogue::SYSCALL;
use crate::definition::{Entry, Exception, Rule, Seen, Update};
use crate::extension::Extension;
use crate::place::{Item, Place};
use crate::report::{Result, WarningCode};
use crate::yaml::{Kind, Node};

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

impl Reader<'_> {
    pub(super) fn rule(&mut self, item: &Node, parent: &Place) -> Result<()> {
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
