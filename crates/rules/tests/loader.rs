//! Falco's own cases of its rule loader: each gives the published verdict, messages and conditions.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;

use nabe_rules::{File, Loaded, RuleSet};
use serde_json::Value;

/// What upstream's test file calls its long messages.
const CONSTANTS: &[(&str, &str)] = &[
    ("WARNING_APPEND", "'append' key is deprecated"),
    ("WARNING_NO_EVTTYPE", "Rule matches too many evt.type values"),
    ("ERROR_OVERRIDE_APPEND", "Keys 'override' and 'append: true' cannot be used together"),
    (
        "ERROR_NO_PREVIOUS_MACRO",
        "Macro uses 'append' or 'override.condition: append' but no macro by that name",
    ),
    ("ERROR_NO_PREVIOUS_LIST", "List uses 'append' or 'override.items: append' but no list by that name"),
    (
        "ERROR_NO_PREVIOUS_RULE_APPEND",
        "Rule uses 'append' or 'override.<key>: append' but no rule by that name",
    ),
    (
        "ERROR_NO_PREVIOUS_RULE_REPLACE",
        "An 'override.<key>: replace' to a rule was requested but no rule by that name",
    ),
];

/// Cases whose text is only the exceptions of a rule, which upstream's helper puts a rule before.
const RULE: &str = "- rule: test_rule\n  desc: test rule\n  condition: evt.type = open\n  output: command=%proc.cmdline\n  priority: INFO\n";

fn load(files: &[String]) -> Loaded {
    let files: Vec<File> = files
        .iter()
        .enumerate()
        .map(|(at, content)| File { name: format!("rules{at}.yaml"), content: Ok(content.clone()) })
        .collect();
    RuleSet::load(&files)
}

/// The text of adjacent C strings, or of a constant.
fn literal(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some((_, value)) = CONSTANTS.iter().find(|(name, _)| *name == text) {
        return Some((*value).to_owned());
    }
    let mut out = String::new();
    let mut characters = text.chars();
    let mut inside = false;
    while let Some(character) = characters.next() {
        match (inside, character) {
            (true, '\\') => out.extend(characters.next()),
            (_, '"') => inside = !inside,
            (true, other) => out.push(other),
            (false, other) if other.is_whitespace() => {}
            (false, _) => return None,
        }
    }
    text.contains('"').then_some(out)
}

/// The text between the bracket that opens behind `head` and the one that closes it.
fn argument<'t>(text: &'t str, head: &str) -> Option<&'t str> {
    let start = text.find(head)? + head.len();
    let (mut depth, mut inside, mut escaped) = (1, false, false);
    for (at, character) in text[start..].char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            '(' if !inside => depth += 1,
            ')' if !inside => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[start..start + at]);
        }
    }
    None
}

/// What of an assertion does not hold; `None` when it is not understood.
fn holds(assertion: &str, loaded: &Loaded) -> Option<bool> {
    let positive =
        assertion.contains("_TRUE(") || assertion.contains("_EQ(") || assertion.contains("VALIDATION");
    if assertion.contains("load_rules(") {
        return Some(loaded.successful() == positive);
    }
    if assertion.contains("VALIDATION_STATUS(") {
        let valid = loaded.reports.iter().all(|report| report.schema.as_ref().is_some_and(Vec::is_empty));
        return Some(valid == assertion.contains("validation_ok"));
    }
    let mut reports = loaded.reports.iter();
    if let Some(text) = argument(assertion, "check_error_message(").map(literal) {
        let text = text?;
        return Some(
            reports.any(|report| report.errors.iter().any(|one| one.message.contains(&text))) == positive,
        );
    }
    if let Some(text) = argument(assertion, "check_warning_message(").map(literal) {
        let text = text?;
        return Some(
            reports.any(|report| report.warnings.iter().any(|one| one.message.contains(&text))) == positive,
        );
    }
    if assertion.contains("has_warnings()") {
        return Some(reports.any(|report| !report.warnings.is_empty()) == positive);
    }
    if let Some(rule) = argument(assertion, "get_compiled_rule_condition(") {
        let rule = if rule.trim().is_empty() { "test_rule".to_owned() } else { literal(rule)? };
        let expected = literal(argument(assertion, "_EQ(")?.split_once("),")?.1)?;
        return Some(loaded.rule(&rule)?.tree.to_string() == expected);
    }
    if assertion.contains("num_rules_for_ruleset()") {
        let inside = argument(assertion, "_EQ(")?;
        let expected: usize = inside.rsplit(',').next()?.trim().trim_end_matches('u').parse().ok()?;
        return Some(loaded.rules().iter().filter(|rule| rule.enabled).count() == expected);
    }
    if assertion.contains("rule_description[") {
        let inside = argument(assertion, "_EQ(")?;
        let mut value = loaded.describe();
        let path = inside.split(".template").next()?;
        for part in path.split('[').skip(1) {
            let part = part.split(']').next()?;
            value = match part.parse::<usize>() {
                Ok(at) => value[at].clone(),
                Err(_) => value[part.trim_matches('"')].clone(),
            };
        }
        let expected = inside.split_once(">(),")?.1.trim();
        let expected = match literal(expected) {
            Some(text) => Value::String(text),
            None => serde_json::from_str(expected.trim_end_matches('u')).ok()?,
        };
        return Some(value == expected);
    }
    if let Some(rest) = assertion.split("[\"snippet\"]").nth(1) {
        let text = literal(argument(rest, ".find(")?)?;
        return Some(
            loaded.reports.iter().any(|report| report.errors.iter().any(|one| one.snippet.contains(&text))),
        );
    }
    None
}

#[test]
fn published_cases_of_the_loader() {
    let Some(data) = shared::data("published_cases_of_the_loader") else { return };
    let text = std::fs::read_to_string(data.join("expected/falco-rule-loader-tests.json")).unwrap();
    let cases: Value = serde_json::from_str(&text).unwrap();
    let cases = cases["tests"].as_array().unwrap();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for case in cases {
        let mut files: Vec<String> =
            case["yaml"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        for file in &mut files {
            if file.starts_with("  exceptions:") {
                *file = format!("{RULE}{file}");
            }
        }
        let loaded = load(&files);
        for assertion in case["asserts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()) {
            // What follows `;` is the next assertion, or a comment.
            for one in assertion.split("; ").flat_map(|part| part.split("<< m_load_result_string")) {
                let is_assertion = ["ASSERT_", "EXPECT_"].iter().any(|word| one.contains(word));
                if !is_assertion
                    || one.contains("has_warnings()") && !one.contains("ASSERT") && !one.contains("EXPECT")
                {
                    continue;
                }
                checked += 1;
                if holds(one, &loaded) != Some(true) {
                    let said: Vec<_> = loaded.reports.iter().map(|report| report.text(true)).collect();
                    let conditions: Vec<_> =
                        loaded.rules().iter().map(|rule| rule.tree.to_string()).collect();
                    wrong.push(format!("{}: {one}\n{conditions:?}\n{}", case["test"], said.join("\n")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} do not hold:\n{}", wrong.len(), wrong.join("\n=====\n"));
    assert!(cases.len() >= 60 && checked >= 150, "{} cases, {checked} assertions", cases.len());
}
