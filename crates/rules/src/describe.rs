//! What rules mean, as Falco's `-L` and `-l` tell it: definitions, what they use, what they compile to.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use nabe_filter::sysdig::{self, Expr, ExprKind, Modifier, Op, Right, Term, TermKind};
use serde_json::{Value, json};

use crate::catalogue::{K8S_AUDIT, SYSCALL};
use crate::compile::{CompiledList, CompiledMacro, CompiledRule, values};
use crate::definition::Entry;
use crate::events::Names;
use crate::load::Loaded;

/// Fields and what they need, of one condition.
#[derive(Default)]
struct Details {
    macros: BTreeSet<String>,
    lists: BTreeSet<String>,
    operators: BTreeSet<String>,
    fields: BTreeSet<String>,
    events: BTreeSet<String>,
}

impl Loaded {
    /// Everything that was loaded, as `-L` tells it in JSON.
    #[must_use]
    pub fn describe(&self) -> Value {
        let plugins: Vec<Value> = self.required_plugins().filter_map(plugin).collect();
        let names = Names::new();
        json!({
            "required_engine_version": self.required_engine().to_string(),
            "required_plugin_versions": plugins,
            "rules": self.compiled.rules.iter().map(|rule| self.rule_json(rule)).collect::<Vec<_>>(),
            "macros": self.compiled.macros.iter().map(|one| self.macro_json(one, &names)).collect::<Vec<_>>(),
            "lists": self.compiled.lists.iter().map(|list| self.list_json(list)).collect::<Vec<_>>(),
        })
    }

    /// One rule, as `-l` tells it in JSON; `None` when it is not loaded.
    #[must_use]
    pub fn describe_rule(&self, name: &str) -> Option<Value> {
        let rule = self.rule(name)?;
        Some(json!({ "rules": [self.rule_json(rule)] }))
    }

    /// What `-V` prints with `json_output`: the verdict on each file and, when all load, what is
    /// described.
    #[must_use]
    pub fn results(&self, described: Option<Value>) -> Value {
        let reports: Vec<Value> = self.reports.iter().map(|report| report.json(false)).collect();
        let mut value = json!({ "falco_load_results": reports });
        if let Some(described) = described.filter(|_| self.successful()) {
            value["falco_describe_results"] = described;
        }
        value
    }

    fn rule_json(&self, rule: &CompiledRule) -> Value {
        let written = sysdig::parse_within(&rule.condition, sysdig::RULE_DEPTH)
            .map(|tree| self.details(&tree.root))
            .unwrap_or_default();
        let compiled = self.details(&rule.tree.root);
        let mut output_fields: BTreeSet<&str> = rule.output.keys().into_iter().collect();
        output_fields.extend(rule.output.further_keys());
        let mut operators = BTreeSet::new();
        for exception in &rule.exceptions {
            texts(&exception.comps, &mut operators);
        }
        let names: BTreeSet<&str> = rule.exceptions.iter().map(|one| one.name.as_str()).collect();
        let used = plugins_of(&rule.source, &compiled, &output_fields);
        json!({
            "info": {
                "name": rule.name,
                "condition": rule.condition,
                "priority": rule.priority.name(),
                "output": rule.output_source,
                "description": rule.desc,
                "enabled": rule.enabled,
                "source": rule.source,
                "capture": rule.capture,
                "capture_duration": rule.capture_duration,
                "tags": rule.tags,
            },
            "details": {
                "macros": written.macros,
                "lists": written.lists,
                "condition_operators": compiled.operators,
                "condition_fields": compiled.fields,
                "output_fields": output_fields,
                "exception_fields": rule.exception_fields,
                "exception_names": names,
                "exception_operators": operators,
                "events": with_async(&rule.event_names),
                "condition_compiled": rule.tree.to_string(),
                "output_compiled": rule.output.source,
                "plugins": used,
            },
        })
    }

    fn macro_json(&self, one: &CompiledMacro, names: &Names) -> Value {
        let condition = self.definitions.macros.get(&one.name).map_or("", |found| &found.condition);
        let written = sysdig::parse_within(condition, sysdig::RULE_DEPTH)
            .map(|tree| self.details(&tree.root))
            .unwrap_or_default();
        let compiled = self.details(&one.tree);
        let events = names.members(&names.matched(&one.tree, false));
        json!({
            "info": { "name": one.name, "condition": condition },
            "details": {
                "used": one.used,
                "macros": written.macros,
                "lists": written.lists,
                "condition_operators": compiled.operators,
                "condition_fields": compiled.fields,
                "events": with_async(&events),
                "condition_compiled": one.tree.to_string(),
                // A macro has no source, so that nobody knows whose fields it means.
                "plugins": [],
            },
        })
    }

    fn list_json(&self, list: &CompiledList) -> Value {
        let written = self.definitions.lists.get(&list.name).map_or(&[][..], |found| &found.items);
        let compiled: BTreeSet<&str> = list.items.iter().map(String::as_str).collect();
        let (items, lists): (Vec<&String>, Vec<&String>) =
            written.iter().partition(|item| compiled.contains(item.as_str()));
        let lists: BTreeSet<&String> = lists.into_iter().collect();
        json!({
            "info": { "name": list.name, "items": items },
            "details": { "used": list.used, "lists": lists, "items_compiled": list.items, "plugins": [] },
        })
    }

    fn details(&self, expr: &Expr) -> Details {
        let mut out = Details::default();
        self.gather(expr, &mut out);
        out
    }

    fn gather(&self, expr: &Expr, out: &mut Details) {
        match &expr.kind {
            ExprKind::And(terms) | ExprKind::Or(terms) => {
                terms.iter().for_each(|term| self.gather(term, out))
            }
            ExprKind::Not(inner) => self.gather(inner, out),
            ExprKind::Macro(name) => {
                if self.definitions.macros.get(name).is_some() {
                    out.macros.insert(name.clone());
                }
            }
            ExprKind::Exists(term) => {
                out.operators.insert("exists".to_owned());
                term_fields(term, &mut out.fields);
            }
            ExprKind::Check { left, op, modifier, right } => {
                out.operators.insert(operator(*op, *modifier));
                term_fields(left, &mut out.fields);
                match right {
                    Right::Term(term) => term_fields(term, &mut out.fields),
                    Right::Name(name, _) => {
                        out.lists.extend(self.definitions.lists.get(name).map(|_| name.clone()));
                    }
                    right => self.constants(left, right, out),
                }
            }
        }
    }

    fn constants(&self, left: &Term, right: &Right, out: &mut Details) {
        let of_type = matches!(&left.kind, TermKind::Field { name, arg: None } if name == "evt.type" || name == "evt.asynctype");
        for value in values(right) {
            let text = String::from_utf8_lossy(&value.text);
            if self.definitions.lists.get(&text).is_some() {
                out.lists.insert(text.into_owned());
            } else if of_type {
                out.events.insert(text.into_owned());
            }
        }
    }
}

fn operator(op: Op, modifier: Option<Modifier>) -> String {
    match modifier {
        Some(modifier) => format!("{} {}", op.word(), modifier.word()),
        None => op.word().to_owned(),
    }
}

fn term_fields(term: &Term, out: &mut BTreeSet<String>) {
    match &term.kind {
        TermKind::Field { name, arg: None } => {
            out.insert(name.clone());
        }
        TermKind::Field { name, arg: Some(arg) } => {
            out.insert(format!("{name}[{}]", String::from_utf8_lossy(arg)));
        }
        TermKind::Call { args, .. } | TermKind::List(args) => {
            args.iter().for_each(|arg| term_fields(arg, out))
        }
        TermKind::Value(_) => {}
    }
}

fn texts(entry: &Entry, out: &mut BTreeSet<String>) {
    match entry {
        Entry::Absent => {}
        Entry::One(text) => {
            out.insert(text.clone());
        }
        Entry::Many(entries) => entries.iter().for_each(|entry| texts(entry, out)),
    }
}

/// Events that plugins tell come with every rule.
fn with_async(names: &[&'static str]) -> BTreeSet<&'static str> {
    names.iter().copied().chain(["asyncevent"]).collect()
}

fn plugin(alternatives: &[crate::Requirement]) -> Option<Value> {
    let one = |requirement: &crate::Requirement| json!({ "name": requirement.name, "version": requirement.version });
    let (first, others) = alternatives.split_first()?;
    let mut value = one(first);
    value["alternatives"] = others.iter().map(one).collect();
    Some(value)
}

/// The plugins whose fields a rule uses; nabe has them of itself.
fn plugins_of(source: &str, details: &Details, output: &BTreeSet<&str>) -> BTreeSet<&'static str> {
    let mut used = BTreeSet::new();
    if source == K8S_AUDIT {
        used.insert("k8saudit");
    }
    for field in details.fields.iter().map(String::as_str).chain(output.iter().copied()) {
        let container = field.starts_with("container.")
            || field.starts_with("k8s.")
            || field.starts_with("proc.is_container_");
        if source == SYSCALL && container {
            used.insert("container");
        }
        if field.starts_with("json.") || field.starts_with("jevt.") {
            used.insert("json");
        }
    }
    if details.events.contains("container") {
        used.insert("container");
    }
    used
}

/// The rules of a description as text: a table of names and what they are about.
#[must_use]
pub fn text(described: &Value) -> String {
    let mut out = format!("{:<50} {}\n{:<50} {}\n", "Rule", "Description", "----", "-----------");
    for rule in described["rules"].as_array().into_iter().flatten() {
        let name = rule["info"]["name"].as_str().unwrap_or_default();
        let desc = rule["info"]["description"].as_str().unwrap_or_default();
        let _ = writeln!(out, "{name:<50} {}", wrapped(desc));
        out.push('\n');
    }
    out
}

/// A text in lines of at most 73 columns behind the first column.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > 73 {
            out.push('\n');
            out.push_str(&" ".repeat(51));
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}
