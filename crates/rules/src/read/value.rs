//! Values of keys: scalars, sequences, what is overridden; an error says at which key.

use std::collections::BTreeSet;
use std::rc::Rc;

use nabe_event::alert::Priority;
use nabe_event::field::nearest;

use crate::definition::Entry;
use crate::place::{Item, Place};
use crate::report::{ErrorCode, Fault, Result};
use crate::yaml::{Kind, Node};

/// Deepest that parts of exceptions are nested.
const MAX_NESTED: usize = 16;

pub(super) fn wrong(message: impl Into<String>, place: &Place) -> Box<Fault> {
    Fault::new(ErrorCode::YamlValidate, message, place)
}

/// A scalar value of a key, which may be missing if `optional` and be nothing if `may_be_empty`.
pub(super) fn scalar<'n>(
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

pub(super) fn required<'n>(item: &'n Node, key: &str, place: &Place) -> Result<(&'n str, &'n Rc<Node>)> {
    match scalar(item, key, place, false, false)? {
        Some(found) => Ok(found),
        None => Err(wrong(format!("Item has no mapping for key '{key}'"), place)),
    }
}

/// A value that `read` makes of a scalar.
pub(super) fn value<T>(
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
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

pub(super) fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// The texts of a sequence.
pub(super) fn texts(item: &Node, key: &str, place: &Place, optional: bool) -> Result<Vec<String>> {
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

pub(super) fn tags(item: &Node, place: &Place) -> Result<BTreeSet<String>> {
    Ok(texts(item, "tags", place, true)?.into_iter().collect())
}

/// An entry of an exception: a text or a list of entries.
pub(super) fn entry(node: &Node, key: &str, place: &Place, depth: usize) -> Result<Entry> {
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
pub(super) struct Overrides {
    pub(super) append: BTreeSet<String>,
    pub(super) replace: BTreeSet<String>,
}

pub(super) fn overrides(
    item: &Node,
    appendable: &[&str],
    replaceable: &[&str],
    place: &Place,
) -> Result<Overrides> {
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

pub(super) fn priority(item: &Node, place: &Place) -> Result<Priority> {
    let (text, node) = required(item, "priority", place)?;
    text.parse().map_err(|_| {
        let names = Priority::ALL.map(Priority::name);
        let near = nearest(text, names).map(|near| format!("did you mean `{}`?", near.to_uppercase()));
        let hint = near.or_else(|| Some(format!("one of {}", names.join(", ").to_uppercase())));
        wrong("Invalid priority", &place.within(node, Item::RulePriority, "")).hint(hint)
    })
}
