//! Where a file departs from the schema that Falco publishes for rule files. The schema is flat: it
//! does not say which keys belong to which kind of item.

use std::rc::Rc;

use crate::yaml::{Kind, Node};

/// Departures that are told.
const MAX_TOLD: usize = 100;

#[derive(Clone, Copy)]
enum Form {
    Text,
    Truth,
    Number,
    Any,
    Texts,
    OneOf(&'static [&'static str]),
    List(&'static Object),
    Object(&'static Object),
}

struct Object {
    keys: &'static [(&'static str, Form)],
    required: &'static [&'static str],
    at_least_one: bool,
}

const PRIORITIES: &[&str] =
    &["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "INFORMATIONAL", "DEBUG"];
const OPERATION: Form = Form::OneOf(&["append", "replace"]);

static ITEM: Object = Object {
    keys: &[
        ("required_engine_version", Form::Text),
        ("required_plugin_versions", Form::List(&PLUGIN)),
        ("macro", Form::Text),
        ("condition", Form::Text),
        ("list", Form::Text),
        ("items", Form::Texts),
        ("rule", Form::Text),
        ("desc", Form::Text),
        ("enabled", Form::Truth),
        ("output", Form::Text),
        ("append", Form::Truth),
        ("priority", Form::OneOf(PRIORITIES)),
        ("capture", Form::Truth),
        ("capture_duration", Form::Number),
        ("source", Form::Text),
        ("exceptions", Form::List(&EXCEPTION)),
        ("override", Form::Object(&OVERRIDE)),
        ("tags", Form::Texts),
        ("warn_evttypes", Form::Truth),
        ("skip-if-unknown-filter", Form::Truth),
        // nabe's own.
        ("nabe", Form::Any),
    ],
    required: &[],
    at_least_one: false,
};
static PLUGIN: Object = Object {
    keys: &[("name", Form::Text), ("version", Form::Text), ("alternatives", Form::List(&ALTERNATIVE))],
    required: &["name", "version"],
    at_least_one: false,
};
static ALTERNATIVE: Object = Object {
    keys: &[("name", Form::Text), ("version", Form::Text)],
    required: &["name", "version"],
    at_least_one: false,
};
static EXCEPTION: Object = Object {
    keys: &[("name", Form::Text), ("fields", Form::Any), ("comps", Form::Any), ("values", Form::Any)],
    required: &["name"],
    at_least_one: false,
};
static OVERRIDE: Object = Object {
    keys: &[
        ("items", OPERATION),
        ("desc", OPERATION),
        ("condition", OPERATION),
        ("output", OPERATION),
        ("priority", OPERATION),
        ("enabled", OPERATION),
        ("exceptions", OPERATION),
        ("capture", OPERATION),
        ("capture_duration", OPERATION),
        ("tags", OPERATION),
        ("warn_evttypes", OPERATION),
        ("skip-if-unknown-filter", OPERATION),
    ],
    required: &[],
    at_least_one: true,
};

/// What departs from the schema; nothing when all is well.
pub(crate) fn check(documents: &[Rc<Node>]) -> Vec<String> {
    let mut told = Vec::new();
    for document in documents.iter().filter(|document| !document.is_null()) {
        match document.items() {
            Some(items) => {
                for (at, item) in items.iter().enumerate() {
                    object(item, &ITEM, &format!("<root>[{at}]"), &mut told);
                }
            }
            None => tell(&mut told, "<root>", "Value type not permitted by 'type' constraint."),
        }
    }
    told
}

fn tell(told: &mut Vec<String>, path: &str, message: &str) {
    if told.len() < MAX_TOLD {
        told.push(format!("failed for {path}: {message}"));
    }
}

fn object(node: &Node, form: &Object, path: &str, told: &mut Vec<String>) {
    const TYPE: &str = "Value type not permitted by 'type' constraint.";
    let Kind::Map(entries) = &node.kind else { return tell(told, path, TYPE) };
    for (key, value) in entries {
        let key = key.text().unwrap_or_default();
        match form.keys.iter().find(|(name, _)| *name == key) {
            Some((_, expected)) => check_form(value, *expected, &format!("{path}[{key}]"), told),
            None => tell(
                told,
                path,
                &format!(
                    "Object contains a property that could not be validated using 'properties' or \
                          'additionalProperties' constraints: '{key}'."
                ),
            ),
        }
    }
    for key in form.required.iter().filter(|key| node.get(key).is_none()) {
        tell(told, path, &format!("Missing required property '{key}'."));
    }
    if form.at_least_one && entries.is_empty() {
        tell(told, path, "Object should have no fewer than 1 properties.");
    }
}

fn check_form(node: &Node, form: Form, path: &str, told: &mut Vec<String>) {
    const TYPE: &str = "Value type not permitted by 'type' constraint.";
    let is_text = |node: &Node| node.text().is_some() || node.is_null();
    let valid = match form {
        Form::Any => true,
        Form::Text => is_text(node),
        Form::Truth => matches!(node.text(), Some("true" | "false")),
        Form::Number => node.text().is_some_and(|text| text.parse::<i64>().is_ok()),
        Form::Texts => {
            node.is_null() || node.items().is_some_and(|items| items.iter().all(|item| is_text(item)))
        }
        Form::OneOf(words) => node.text().is_some_and(|text| words.contains(&text)),
        Form::List(form) => {
            let Some(items) = node.items() else {
                if !node.is_null() {
                    tell(told, path, TYPE);
                }
                return;
            };
            for (at, item) in items.iter().enumerate() {
                object(item, form, &format!("{path}[{at}]"), told);
            }
            return;
        }
        Form::Object(form) => return object(node, form, path, told),
    };
    if !valid {
        let message =
            if matches!(form, Form::OneOf(_)) { "Failed to match against any enum values." } else { TYPE };
        tell(told, path, message);
    }
}
