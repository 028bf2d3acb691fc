//! The published rule files: current and old ones load, broken ones give the published codes.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nabe_rules::{File, Loaded, RuleSet};
use serde_json::Value;

fn load(paths: &[PathBuf]) -> Loaded {
    let files: Vec<File> = paths.iter().map(|path| File::open(path)).collect();
    RuleSet::load(&files)
}

fn said(loaded: &Loaded) -> String {
    let errors = |report: &nabe_rules::report::Report| {
        nabe_rules::report::Report { warnings: Vec::new(), schema: None, ..report.clone() }.text(true)
    };
    loaded.reports.iter().map(errors).collect::<Vec<_>>().join("\n")
}

fn yaml_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "yaml") {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_worlds_rule_files_load_unmodified() {
    let Some(data) = shared::data("the_worlds_rule_files_load_unmodified") else { return };
    let current = data.join("rules/falcosecurity-rules-2026-06");
    let (mut files, mut rules) = (0, 0);
    let mut all = yaml_below(&current);
    all.extend(
        yaml_below(&data.join("rules/k8saudit"))
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("rules"))),
    );
    all.extend(
        yaml_below(&data.join("rules/falcosecurity-testing/rules/legacy"))
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("v1_0_1"))),
    );
    for path in &all {
        let loaded = load(std::slice::from_ref(path));
        assert!(loaded.successful(), "{}", said(&loaded));
        assert!(loaded.unmet_plugins().is_empty(), "{:?}", loaded.unmet_plugins());
        files += 1;
        rules += loaded.rules().len();
    }
    assert!(files >= 7 && rules >= 180, "{files} files, {rules} rules");
    // The three maturities together, as people run them.
    let together: Vec<PathBuf> = ["falco_rules", "falco-incubating_rules", "falco-sandbox_rules"]
        .map(|name| current.join(format!("{name}.yaml")))
        .into();
    let loaded = load(&together);
    assert!(loaded.successful(), "{}", said(&loaded));
}

/// Old files that no engine of today loads, each with the reason.
const BROKEN: &[(&str, &str)] = &[
    ("append_item_", "LOAD_ERR_"),
    ("engine_version_mismatch", "LOAD_ERR_VALIDATE"),
    ("invalid_base_", ""),
    ("invalid_", "LOAD_ERR_"),
    ("item_comps_fields_len_mismatch", "LOAD_ERR_VALIDATE"),
    ("item_fields_values_len_mismatch", "LOAD_ERR_VALIDATE"),
    ("item_no_", "LOAD_ERR_YAML_VALIDATE"),
    ("item_unknown_", "LOAD_ERR_VALIDATE"),
    ("list_append_failure", "LOAD_ERR_VALIDATE"),
    ("rule_append_failure", "LOAD_ERR_VALIDATE"),
    ("rule_exception_new_no_field_append", "LOAD_ERR_VALIDATE"),
    ("skip_unknown_error", "LOAD_ERR_COMPILE_CONDITION"),
    ("skip_unknown_unspec", "LOAD_ERR_COMPILE_CONDITION"),
    // It appends to lists of the audit rules of 2023, which are not among the data.
    ("trust_nginx_container", "LOAD_ERR_VALIDATE"),
];

/// Files that append to what others define.
const BEHIND: &[(&str, &str)] = &[
    ("append_single_rule", "rules/falco-0.34.1-test/single_rule.yaml"),
    ("double_rule", "rules/falco-0.34.1-test/single_rule.yaml"),
    ("001-double_rule", "rules/falco-0.34.1-test/single_rule.yaml"),
    ("allow_namespace_foo", "rules/k8saudit/k8saudit_rules_k8s_audit_rules.yaml"),
    ("allow_user_some-user", "rules/k8saudit/k8saudit_rules_k8s_audit_rules.yaml"),
];

#[test]
fn every_feature_file_of_falco_0_34_gives_its_verdict() {
    let Some(data) = shared::data("every_feature_file_of_falco_0_34_gives_its_verdict") else { return };
    let folder = data.join("rules/falco-0.34.1-test");
    let mut wrong = Vec::new();
    let files = yaml_below(&folder);
    for path in &files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let base = BEHIND.iter().find(|(file, _)| name == *file).map(|(_, base)| data.join(base));
        let loaded = load(&base.into_iter().chain([path.clone()]).collect::<Vec<_>>());
        let expected =
            BROKEN.iter().find(|(prefix, _)| name.starts_with(prefix)).filter(|(_, code)| !code.is_empty());
        let code = loaded.reports.last().unwrap().errors.first().map(|error| error.code.code());
        let right = match (expected, code) {
            (None, None) => true,
            (Some((_, prefix)), Some(code)) => code.starts_with(prefix),
            _ => false,
        };
        if !right {
            wrong.push(format!("{}: {code:?}\n{}", path.display(), said(&loaded)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n====\n"));
    assert!(files.len() >= 80, "{}", files.len());
}

/// The files of the current suite by the names that its tests use.
fn index(data: &Path) -> BTreeMap<String, PathBuf> {
    let folder = data.join("rules/falcosecurity-testing");
    let text = std::fs::read_to_string(folder.join("index.json")).unwrap();
    let index: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let audit = data.join("rules/k8saudit/k8saudit_rules_k8s_audit_rules.yaml");
    // The index names one file in words: the current rules of the plugin.
    let place = |path: String| if path.starts_with('(') { audit.clone() } else { folder.join(path) };
    index.into_iter().map(|(name, path)| (name, place(path))).collect()
}

fn strings<'v>(test: &'v Value, key: &str) -> Vec<&'v str> {
    test[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn validations_of_the_current_suite() {
    let Some(data) = shared::data("validations_of_the_current_suite") else { return };
    let index = index(&data);
    let text = std::fs::read_to_string(data.join("expected/falcosecurity-testing/tests.json")).unwrap();
    let tests: Vec<Value> = serde_json::from_str(&text).unwrap();
    let (mut wrong, mut validated, mut loaded_ok) = (Vec::new(), 0, 0);
    let mut known: BTreeMap<Vec<PathBuf>, Loaded> = BTreeMap::new();
    for test in &tests {
        let paths: Vec<PathBuf> = strings(test, "rules")
            .iter()
            .filter_map(|name| index.get(&format!("rules.{name}")).or_else(|| index.get(*name)).cloned())
            .collect();
        if paths.is_empty() {
            continue;
        }
        let name = test["test"].as_str().unwrap();
        let loaded = known.entry(paths).or_insert_with_key(|paths| {
            let files: Vec<File> = paths.iter().map(|path| File::open(path)).collect();
            RuleSet::check(&files, &nabe_rules::catalogue::Native, &nabe_rules::Options::default())
        });
        let loaded = &*loaded;
        let problems =
            || loaded.reports.iter().flat_map(|report| report.errors.iter().chain(&report.warnings));
        let validation = test["validation"].as_array().cloned().unwrap_or_default();
        if validation.is_empty() {
            // A test with a capture and without an error needs its rules.
            let must = test["error"].as_bool() != Some(true) && test["exit_code"] == 0;
            if must && !loaded.successful() {
                wrong.push(format!("{name}: {}", said(loaded)));
            }
            loaded_ok += 1;
            continue;
        }
        validated += 1;
        let mut lacks = Vec::new();
        for code in validation.iter().filter_map(|one| one["code"].as_str()) {
            if !problems().any(|problem| problem.code.code() == code) {
                lacks.push(code.to_owned());
            }
        }
        for message in strings(test, "validation_messages") {
            let message = message.replace("\\\"", "\"");
            if !problems().any(|problem| problem.message.contains(&message)) {
                lacks.push(message);
            }
        }
        let links = || problems().flat_map(|problem| problem.place.links());
        for item in strings(test, "validation_items") {
            if !links().any(|link| link.item.word() == item) {
                lacks.push(format!("item {item}"));
            }
        }
        for name in strings(test, "validation_names") {
            if !links().any(|link| &*link.item_name == name) {
                lacks.push(format!("name {name}"));
            }
        }
        if loaded.successful() != (test["exit_code"] == 0) {
            lacks.push("the verdict".to_owned());
        }
        if !lacks.is_empty() {
            wrong.push(format!("{name} lacks {lacks:?}:\n{}", said(loaded)));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n====\n"));
    assert!(validated >= 25 && loaded_ok >= 80, "{validated} validated, {loaded_ok} loaded");
}
