//! Exceptions of rules as part of their conditions: `(condition) and not (field comparison value …)`.

use std::collections::BTreeSet;

use super::list::quoted;
use crate::definition::{Comparison, Entry, Exception, Rule};
use crate::report::{ErrorCode, Fault, Result};

/// The condition of a rule and of none of its exceptions.
pub(super) fn with_exceptions(rule: &Rule, fields: &mut BTreeSet<String>) -> Result<String> {
    let mut condition = format!("({})", rule.condition);
    for one in &rule.exceptions {
        let excepted = match &one.fields {
            Entry::Many(names) => exception_of_many(one, names, fields)?,
            name => exception_of_one(one, name.text(), fields)?,
        };
        if let Some(excepted) = excepted {
            condition.push_str(" and not ");
            condition.push_str(&excepted);
        }
    }
    Ok(condition)
}

fn exception_of_one(one: &Exception, field: &str, fields: &mut BTreeSet<String>) -> Result<Option<String>> {
    let mut items = Vec::new();
    for value in &one.values {
        if let Entry::Many(_) = value {
            let message = "Expected values array to contain a list of strings";
            return Err(Fault::new(ErrorCode::Validate, message, &one.place));
        }
        items.push(quoted(value.text()));
    }
    if items.is_empty() {
        return Ok(None);
    }
    fields.insert(field.to_owned());
    Ok(Some(format!("({field} {} ({}))", one.comps.text(), items.join(", "))))
}

fn exception_of_many(
    one: &Exception,
    names: &[Entry],
    fields: &mut BTreeSet<String>,
) -> Result<Option<String>> {
    let comps = match &one.comps {
        Entry::Many(comps) => comps.as_slice(),
        _ => &[],
    };
    let mut alternatives = Vec::new();
    for values in &one.values {
        let values = match values {
            Entry::Many(values) => values.as_slice(),
            _ => &[],
        };
        if values.len() != names.len() {
            let message = "Fields and values lists must have equal length";
            return Err(Fault::new(ErrorCode::Validate, message, &one.place));
        }
        let mut tests = Vec::new();
        for ((name, comp), value) in names.iter().zip(comps).zip(values) {
            let wants_list = Comparison::parse(comp.text()).is_some_and(Comparison::wants_list);
            let right = match value {
                Entry::Many(items) => {
                    let items: Vec<String> = items.iter().map(|item| quoted(item.text())).collect();
                    format!("({})", items.join(", "))
                }
                value if wants_list && !value.text().starts_with('(') => format!("({})", value.text()),
                value if wants_list => value.text().to_owned(),
                value => quoted(value.text()),
            };
            fields.insert(name.text().to_owned());
            tests.push(format!("{} {} {right}", name.text(), comp.text()));
        }
        alternatives.push(format!("({})", tests.join(" and ")));
    }
    Ok((!alternatives.is_empty()).then(|| format!("({})", alternatives.join(" or "))))
}
