//! The current black-box suite: its rules judged on its captures and audit events, alerts counted.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nabe_event::alert::{Alert, Priority};
use nabe_event::table::EventId;
use nabe_rules::catalogue::{K8S_AUDIT, Native, SYSCALL};
use nabe_rules::engine::{Engine, Matching, Occurrence, Options};
use nabe_rules::{File, Loaded, RuleSet};
use nabe_scap::Reader;
use nabe_state::stream::Stream;
use serde_json::Value;

fn capture(engine: &mut Engine, path: &Path) -> Vec<Alert> {
    let (mut stream, mut alerts) = (Stream::new(), Vec::new());
    let mut reader = Reader::open(path).unwrap();
    while let Some(batch) = reader.batch().unwrap() {
        for item in batch {
            let Some(seen) = stream.item(&item).filter(|seen| !seen.is_prologue()) else { continue };
            let event = seen.event();
            let at = Occurrence { source: SYSCALL, id: event.id, ts_ns: event.ts_ns, image: seen.image() };
            engine.judge(&seen, &at, &mut |hit| alerts.push(hit.alert));
        }
    }
    alerts
}

fn audit(engine: &mut Engine, path: &Path) -> Vec<Alert> {
    let bytes = std::fs::read(path).unwrap();
    let context = nabe_audit::Context::k8s_audit("host");
    let id = EventId::named("pluginevent").next().unwrap();
    let (mut alerts, mut number) = (Vec::new(), 0);
    // A file holds one payload a line.
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let parsed = nabe_audit::parse(line, nabe_audit::Format::K8sAudit, &nabe_audit::Limits::default(), 1);
        for event in &parsed.events {
            number += 1;
            let seen = nabe_audit::Seen::new(event, &context, number, 0);
            let at = Occurrence { source: K8S_AUDIT, id, ts_ns: event.ts_ns, image: 0 };
            engine.judge(&seen, &at, &mut |hit| alerts.push(hit.alert));
        }
    }
    alerts
}

fn strings<'v>(test: &'v Value, key: &str) -> Vec<&'v str> {
    test[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Options that the extracted tests name without their values; the declarative tests of 0.34.1 have
/// the same cases with them.
const WITHOUT_VALUES: &[&str] =
    &["WithDisabledTags", "WithEnabledTags", "WithMinRulePriority", "WithDisabledRules", "WithStopAfter"];

/// The number in `assert.Equal(t, 8, res.Detections()…`, and the rule if one is named.
fn count(assertion: &str) -> Option<(usize, Option<String>)> {
    let rest = assertion.strip_prefix("assert.Equal(t, ")?;
    let (number, rest) = rest.split_once(", res.Detections()")?;
    let rule = rest
        .strip_prefix(".OfRule(")
        .and_then(|rest| rest.split_once(").Count()"))
        .map(|(name, _)| name.trim_matches(['"', '`']).to_owned());
    (rest.starts_with(".OfRule(") || rest.starts_with(".Count()"))
        .then(|| Some((number.parse().ok()?, rule)))?
}

fn wrong(test: &Value, alerts: &[Alert]) -> Vec<String> {
    let mut wrong = Vec::new();
    for assertion in strings(test, "assertions") {
        if let Some((expected, rule)) = count(assertion) {
            let found =
                alerts.iter().filter(|alert| rule.as_ref().is_none_or(|rule| *alert.rule == **rule)).count();
            if found != expected {
                wrong.push(format!("{rule:?}: {expected} expected, {found} found"));
            }
        } else if assertion.contains("Detections().Count()") {
            let expected = assertion.contains("NotZero");
            if alerts.is_empty() == expected {
                wrong.push(format!("{} alerts", alerts.len()));
            }
        } else if let Some(priority) =
            assertion.split("OfPriority(\"").nth(1).and_then(|rest| rest.split('"').next())
        {
            let priority: Priority = priority.parse().unwrap();
            if alerts.iter().any(|alert| alert.priority == priority) != assertion.contains("NotZero") {
                wrong.push(format!("priority {priority}"));
            }
        }
    }
    wrong
}

#[test]
fn the_current_suite_on_its_captures() {
    let Some(data) = shared::data("the_current_suite_on_its_captures") else { return };
    let folder = data.join("rules/falcosecurity-testing");
    let index: BTreeMap<String, String> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("index.json")).unwrap()).unwrap();
    let text = std::fs::read_to_string(data.join("expected/falcosecurity-testing/tests.json")).unwrap();
    let tests: Vec<Value> = serde_json::from_str(&text).unwrap();
    let audit_rules = data.join("rules/k8saudit/k8saudit_rules_k8s_audit_rules.yaml");
    let (mut failed, mut ran, mut audits, mut without) = (Vec::new(), 0, 0, BTreeMap::<&str, usize>::new());
    let mut known: BTreeMap<Vec<PathBuf>, Rc<Loaded>> = BTreeMap::new();
    for test in &tests {
        let [path] = strings(test, "capture_files")[..] else { continue };
        let path = data.join(
            path.strip_prefix("scap/plugin-json")
                .map_or(path.to_owned(), |rest| format!("plugin-json{rest}")),
        );
        if test["exit_code"] != 0 || test["error"].as_bool() == Some(true) {
            *without.entry("about the command line").or_default() += 1;
            continue;
        }
        if !path.is_file() {
            *without.entry("no such capture").or_default() += 1;
            continue;
        }
        if strings(test, "options").iter().any(|option| WITHOUT_VALUES.contains(option)) {
            *without.entry("options without values").or_default() += 1;
            continue;
        }
        let place = |name: &str| {
            let path = index.get(&format!("rules.{name}"))?;
            Some(if path.starts_with('(') { audit_rules.clone() } else { folder.join(path) })
        };
        let paths: Option<Vec<PathBuf>> = strings(test, "rules").into_iter().map(place).collect();
        let Some(paths) = paths.filter(|paths| !paths.is_empty()) else {
            *without.entry("no such rules").or_default() += 1;
            continue;
        };
        let loaded = known.entry(paths).or_insert_with_key(|paths| {
            let files: Vec<File> = paths.iter().map(|path| File::open(path)).collect();
            Rc::new(RuleSet::check(&files, &Native, &nabe_rules::Options::default()))
        });
        assert!(loaded.successful(), "{}", test["test"]);
        let all = strings(test, "configs").contains(&"RuleMatchingAll");
        let matching = if all { Matching::All } else { Matching::First };
        let mut engine = Engine::new(loaded, Options { matching, ..Options::default() });
        let is_audit = path.extension().is_some_and(|extension| extension == "json");
        let alerts = if is_audit { audit(&mut engine, &path) } else { capture(&mut engine, &path) };
        ran += 1;
        audits += usize::from(is_audit);
        let wrong = wrong(test, &alerts);
        if !wrong.is_empty() {
            failed.push(format!("{}: {wrong:?}", test["test"]));
        }
    }
    eprintln!("{ran} ran, {audits} on audit events; not run: {without:?}");
    assert!(failed.is_empty(), "{} of {ran}:\n{}", failed.len(), failed.join("\n"));
    assert!(ran >= 60 && audits >= 20, "{ran} ran, {audits} on audit events");
}
