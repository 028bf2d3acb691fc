//! `nabe falco` and `nabe detect` against what Falco's own suites expect: the current black-box tests
//! (`falcosecurity-testing`), the declarative ones of 0.34.1, and the pod policies of before.
//!
//! Every runnable case runs; the number of those that are not (their captures are nowhere to be had) is
//! asserted, so that none gets lost.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use nabe_rules::yaml;
use regex::Regex;
use serde_json::Value;
use support::suite::json_of;
use support::{Run, command, directory, nabe_command};

/// An alert of a run.
#[derive(Debug)]
struct Detection {
    /// `WARNING`, as Falco's suites write it.
    priority: String,
    /// Empty in text.
    rule: String,
}

/// A run of `nabe falco`, read as Falco's suites read it.
struct Falco {
    run: Run,
    detections: Vec<Detection>,
}

impl Falco {
    fn of(command: &mut Command) -> Self {
        let run = Run::of(command);
        let line =
            Regex::new("^[0-9:.T+-]+: (Emergency|Alert|Critical|Error|Warning|Notice|Informational|Debug) ")
                .unwrap();
        let detections = run.lines().into_iter().filter_map(|text| {
            if let Ok(Value::Object(alert)) = serde_json::from_str::<Value>(&text) {
                return Some(Detection {
                    priority: alert.get("priority")?.as_str()?.to_uppercase(),
                    rule: alert.get("rule")?.as_str()?.to_owned(),
                });
            }
            let found = line.captures(&text)?;
            Some(Detection { priority: found[1].to_uppercase(), rule: String::new() })
        });
        let detections: Vec<Detection> = detections.collect();
        Self { run, detections }
    }

    fn count(&self, priority: Option<&str>, rule: Option<&str>) -> usize {
        let is_it = |detection: &&Detection| {
            priority.is_none_or(|priority| detection.priority.starts_with(priority))
                && rule.is_none_or(|rule| detection.rule == rule)
        };
        self.detections.iter().filter(is_it).count()
    }

    /// Errors and warnings of `-V` as JSON.
    fn findings(&self) -> Vec<Value> {
        let Ok(report) = serde_json::from_slice::<Value>(&self.run.stdout) else { return Vec::new() };
        let of = |file: &Value, key: &str| file[key].as_array().cloned().unwrap_or_default();
        let files = report["falco_load_results"].as_array().cloned().unwrap_or_default();
        files.iter().flat_map(|file| [of(file, "errors"), of(file, "warnings")].concat()).collect()
    }

    fn told(&self) -> String {
        let head = |text: &str| text.chars().take(1200).collect::<String>();
        format!("status {:?}\n{}\n{}", self.run.status, head(&self.run.text()), head(&self.run.stderr))
    }
}

fn falco<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = nabe_command(["falco"]);
    command.args(arguments).env("FALCO_HOSTNAME", "test-falco-hostname");
    command
}

/// What stands between the first pair of quotes, either sort, behind `start`.
fn quoted<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    let rest = line.split_once(start)?.1;
    let quote = rest.chars().next().filter(|quote| ['"', '`'].contains(quote))?;
    rest.get(1..)?.split_once(quote).map(|(text, _)| text)
}

/// Whether a line of Go holds; `None` when we do not know what it says.
fn holds(line: &str, falco: &Falco) -> Option<bool> {
    let stream = if line.contains("Stderr()") { falco.run.stderr.clone() } else { falco.run.text() };
    let number =
        || Regex::new(r"t, (\d+),").unwrap().captures(line).and_then(|found| found[1].parse::<usize>().ok());
    let count = || falco.count(quoted(line, "OfPriority("), quoted(line, "OfRule("));
    let warnings = || {
        falco
            .findings()
            .iter()
            .filter(|one| one["code"].as_str().is_some_and(|code| !code.contains("_ERR_")))
            .count()
    };
    let status = falco.run.status;
    Some(match line {
        _ if line.starts_with("assert.NoError(t, res.Err()") => status == Some(0),
        _ if line.starts_with("assert.Error(t, res.Err()") => status.is_some_and(|status| status != 0),
        _ if line.contains("ExitCode()") => {
            let wanted = Regex::new(r"\b(\d+)\b").unwrap().captures(line)?[1].parse().ok()?;
            status == Some(wanted)
        }
        _ if line.starts_with("assert.NotZero(t, res.Detections()") => count() > 0,
        _ if line.starts_with("assert.Zero(t, res.Detections()") => count() == 0,
        _ if line.starts_with("assert.Equal(") && line.contains("res.Detections()") => count() == number()?,
        _ if line.contains("AllWarnings().Count()") => warnings() == number()?,
        _ if line.starts_with("assert.Regexp(t, `") => {
            Regex::new(quoted(line, "t, ")?).ok()?.is_match(&stream)
        }
        _ if line.starts_with("assert.NotRegexp(t, `") => {
            !Regex::new(quoted(line, "t, ")?).ok()?.is_match(&stream)
        }
        _ if line.starts_with("assert.Contains(t, res.Std") => stream.contains(quoted(line, "(), ")?),
        _ if line.contains("OfItemName(") => has_item(falco, "item_name", quoted(line, "OfItemName(")?),
        _ if line.contains("At(0).Successful") => {
            let report: Value = serde_json::from_slice(&falco.run.stdout).ok()?;
            report["falco_load_results"][0]["successful"] == true
        }
        // The rest of the sentence is on the lines that `validation` has.
        _ if line.starts_with("assert.NotNil(t, res.RuleValidation()") => !falco.findings().is_empty(),
        _ if line.starts_with("assert.NotNil(t, ruleWarnings.") => !falco.findings().is_empty(),
        _ if line == "assert.NotNil(t, res.Stderr())" => true,
        _ => return None,
    })
}

fn has_item(falco: &Falco, key: &str, wanted: &str) -> bool {
    falco.findings().iter().any(|one| {
        let locations = one["context"]["locations"].as_array();
        locations.is_some_and(|locations| locations.iter().any(|location| location[key] == wanted))
    })
}

/// What the validation of `test` is to find, and is not there.
fn missing(test: &Value, falco: &Falco) -> Vec<String> {
    let mut missing = Vec::new();
    let texts = |key: &str| -> Vec<String> {
        let items = test[key].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let findings = falco.findings();
    for code in test["validation"].as_array().into_iter().flatten() {
        if !findings.iter().any(|one| one["code"] == code["code"]) {
            missing.push(format!("code {}", code["code"]));
        }
    }
    for message in texts("validation_messages") {
        let message = message.replace("\\\"", "\"");
        if !findings.iter().any(|one| one["message"].as_str().is_some_and(|found| found.contains(&message))) {
            missing.push(format!("message {message}"));
        }
    }
    for (key, at) in [("validation_items", "item_type"), ("validation_names", "item_name")] {
        let wanted = texts(key);
        missing.extend(
            wanted
                .iter()
                .filter(|wanted| !has_item(falco, at, wanted))
                .map(|wanted| format!("{at} {wanted}")),
        );
    }
    missing
}

/// Where things are of which the suite has names.
struct Testing {
    data: PathBuf,
    index: Value,
}

impl Testing {
    fn path(&self, kind: &str, name: &str) -> PathBuf {
        if name == "K8SAuditRules" {
            return self.data.join("rules/k8saudit/k8saudit_rules_k8s_audit_rules.yaml");
        }
        let path =
            self.index[format!("{kind}.{name}")].as_str().unwrap_or_else(|| panic!("no {kind}.{name}"));
        let path = self.data.join("rules/falcosecurity-testing").join(path);
        assert!(path.is_file(), "{}", path.display());
        path
    }

    /// The command of a test; `None` when its capture is not here.
    fn command(&self, test: &Value) -> Option<Command> {
        let name = test["test"].as_str().unwrap();
        let strings = |key: &str| -> Vec<&str> {
            test[key].as_array().into_iter().flatten().map(|item| item.as_str().unwrap_or_default()).collect()
        };
        let options = strings("options");
        let has = |option: &str| options.contains(&option);
        let is_audit = name.starts_with("TestK8SAudit");
        // Its configuration is wrong: that the capture is missing does not matter.
        let any_capture = name == "TestFalco_Config_RuleMatchingWrongValue";
        let mut command = falco([] as [&str; 0]);
        for config in strings("configs").iter().filter(|config| **config != "EmptyConfig") {
            command.arg("-c").arg(self.path("configs", config));
        }
        if is_audit {
            command.arg("-c").arg(self.path("configs", "PluginsK8SAudit")).arg("--enable-source=k8s_audit");
        }
        for rules in strings("rules") {
            let flag = if has("WithRulesValidation") { "-V" } else { "-r" };
            command.arg(flag).arg(self.path("rules", rules));
        }
        for capture in test["capture_files"].as_array().into_iter().flatten() {
            let path = match capture.as_str() {
                Some(path) => self.data.join(
                    path.strip_prefix("scap/plugin-json")
                        .map_or_else(|| path.to_owned(), |rest| format!("plugin-json{rest}")),
                ),
                None if any_capture => self.data.join("scap/falco-0.34.1/cat_write.scap"),
                None => return None,
            };
            if !path.is_file() {
                return None;
            }
            let key = if is_audit { "plugins[0].open_params" } else { "engine.replay.capture_file" };
            command.arg("-o").arg(format!("{key}={}", path.display()));
            if !is_audit {
                command.args(["-o", "engine.kind=replay"]);
            }
        }
        if has("WithOutputJSON") {
            command.args(["-o", "json_output=true"]);
        }
        if has("WithAllEvents") {
            command.arg("-A");
        }
        if has("WithMinRulePriority") {
            let priority = if name.ends_with("RuleAppendSkipped") { "ERROR" } else { "WARNING" };
            command.args(["-o", &format!("priority={priority}")]);
        }
        if has("WithDisabledRules") {
            command.args(["-o", "rules[].disable.rule=open_from*"]);
        }
        if let Some(tags) = name.strip_prefix("TestFalco_Legacy_DisabledTags") {
            command.args(
                tags.to_lowercase()
                    .chars()
                    .flat_map(|tag| ["-o".to_owned(), format!("rules[].disable.tag={tag}")]),
            );
        }
        if let Some(tags) = name.strip_prefix("TestFalco_Legacy_RunTags") {
            command.args(["-o", "rules[].disable.rule=*"]);
            command.args(
                tags.to_lowercase()
                    .chars()
                    .flat_map(|tag| ["-o".to_owned(), format!("rules[].enable.tag={tag}")]),
            );
        }
        for argument in test["args"].as_array().into_iter().flatten() {
            let words: Vec<&str> = argument.as_array().unwrap().iter().filter_map(Value::as_str).collect();
            command.args(words);
        }
        Some(command)
    }
}

/// Tests that need more than a run and its assertions; they are further below.
const APART: &[&str] = &[
    "TestFalco_Legacy_FileOutputStrict",
    "TestFalco_Legacy_ProgramOutputStrict",
    "TestFalco_Cmd_Version",
    "TestFalco_Cmd_ListPlugins",
    "TestFalco_Cmd_PluginInfo",
    "TestFalco_Print_IgnoredEvents",
    "TestFalco_Cmd_Help",
    "TestFalco_Miscs_HotReload",
    "TestFalco_Miscs_PrometheusMetricsNoDriver",
];

#[test]
fn falcos_black_box_tests() {
    let Some(data) = shared::data("falcos_black_box_tests") else { return };
    let read =
        |path: &str| -> Value { serde_json::from_slice(&std::fs::read(data.join(path)).unwrap()).unwrap() };
    let tests = read("expected/falcosecurity-testing/tests.json");
    let testing = Testing { index: read("rules/falcosecurity-testing/index.json"), data };
    let (mut ran, mut not_runnable, mut wrong) = (0, 0, Vec::new());
    for test in tests.as_array().unwrap() {
        let name = test["test"].as_str().unwrap();
        if APART.contains(&name) {
            continue;
        }
        let Some(mut command) = testing.command(test) else {
            not_runnable += 1;
            continue;
        };
        ran += 1;
        let falco = Falco::of(&mut command);
        let mut failed = missing(test, &falco);
        for line in test["assertions"].as_array().unwrap() {
            let line = line.as_str().unwrap();
            match holds(line, &falco) {
                Some(true) => {}
                Some(false) => failed.push(line.to_owned()),
                None => failed.push(format!("not understood: {line}")),
            }
        }
        for (rule, wanted) in test["detect"].as_object().into_iter().flatten() {
            let found = falco.count(None, Some(rule));
            if Some(found as u64) != wanted.as_u64() {
                failed.push(format!("{rule}: {found} instead of {wanted}"));
            }
        }
        if !failed.is_empty() {
            wrong.push(format!("{name}: {command:?}\n  {}\n{}", failed.join("\n  "), falco.told()));
        }
    }
    assert!(wrong.is_empty(), "{} of {ran} are wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    assert_eq!((ran, not_runnable), (107, 40));
}

/// One text or a list of them.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// The cases of 0.34.1.
struct Old {
    data: PathBuf,
    scratch: tempfile::TempDir,
}

impl Old {
    /// A file that a case names; `None` when it is not here.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let base = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        let path = match name.trim_start_matches("./") {
            name if name.contains("falcosecurity-rules-falco-prefix") => {
                self.data.join("rules/falcosecurity-testing/rules/legacy/falco_rules_v1_0_1.yaml")
            }
            name if name.contains("k8saudit-rules-prefix") => {
                self.data.join("rules/k8saudit/k8saudit_rules_k8s_audit_rules.yaml")
            }
            name if name.contains("confs/") => {
                let name = name.rsplit_once("confs/")?.1;
                self.data.join("expected/falco-0.34.1/confs").join(name)
            }
            name if name.starts_with("rules/") => {
                self.data.join("rules/falco-0.34.1-test").join(name.strip_prefix("rules/")?)
            }
            name if name.starts_with("trace_files/k8s_audit/") => {
                self.data.join("plugin-json/falco-0.34.1/k8s_audit").join(base(name))
            }
            name if name.ends_with(".scap") => self.data.join("scap/falco-0.34.1").join(base(name)),
            _ => return None,
        };
        path.exists().then_some(path)
    }

    /// The command of a case, or why it cannot run.
    fn command(&self, case: &Value) -> Result<Command, String> {
        let file = |name: &str| self.path(name).ok_or_else(|| format!("no {name}"));
        let mut command = falco([] as [&str; 0]);
        for rules in texts(&case["rules_file"]) {
            command.arg("-r").arg(file(&rules)?);
        }
        // Without rules Falco's own were taken.
        if case["rules_file"].is_null() && case["validate_rules_file"].is_null() {
            command.arg("-r").arg(file("falcosecurity-rules-falco-prefix")?);
        }
        for rules in texts(&case["validate_rules_file"]) {
            command.arg("-V").arg(file(&rules)?);
            command.args(["-o", "json_output=true"]);
        }
        for config in texts(&case["conf_file"]) {
            let path = file(&config)?;
            let text = std::fs::read_to_string(&path).unwrap();
            if ["cloudtrail", "test_", "incompatible", "wrong"]
                .iter()
                .any(|other| text.contains(&format!("name: {other}")))
            {
                return Err(format!("{config} loads plugins that are C libraries"));
            }
            command.arg("-c").arg(path);
        }
        if let Some(capture) = case["trace_file"].as_str() {
            command.arg("-e").arg(file(capture)?);
        }
        for source in texts(&case["enable_source"]) {
            command.args(["--enable-source", &source]);
        }
        let words = case["addl_cmdline_opts"].as_str().unwrap_or_default();
        for word in words.split_whitespace() {
            match word.strip_prefix("plugins[0].open_params=") {
                Some(place) => command.arg(format!("plugins[0].open_params={}", file(place)?.display())),
                None => command.arg(word),
            };
        }
        for (key, flag) in [("disabled_rules", "-D"), ("disable_tags", "-T"), ("run_tags", "-t")] {
            command.args(texts(&case[key]).iter().flat_map(|text| [flag, text]));
        }
        if case["all_events"].as_str().is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            command.arg("-A");
        }
        if let Some(priority) = case["priority"].as_str() {
            command.args(["-o", &format!("priority={priority}")]);
        }
        for (key, option) in [
            ("json_output", "json_output"),
            ("json_include_output_property", "json_include_output_property"),
            ("json_include_tags_property", "json_include_tags_property"),
            ("time_iso_8601", "time_format_iso_8601"),
        ] {
            if let Some(value) = case[key].as_str() {
                command.args(["-o", &format!("{option}={}", value.to_lowercase())]);
            }
        }
        Ok(command)
    }

    /// What is wrong about a case; `Err` when it cannot run.
    fn failed(&self, case: &Value) -> Result<Vec<String>, String> {
        let mut command = self.command(case)?;
        // Counts by rule need JSON.
        if case["detect_counts"].is_array() && case["json_output"].is_null() {
            command.args(["-o", "json_output=true"]);
        }
        command.current_dir(self.scratch.path());
        let falco = Falco::of(&mut command);
        let mut failed = Vec::new();
        let status = case["exit_status"].as_str().map_or(Some(0), |text| text.parse().ok());
        if falco.run.status != status {
            failed.push(format!("exit status {status:?} expected"));
        }
        match case["detect"].as_str().map(str::to_lowercase).as_deref() {
            Some("true") => {
                for level in texts(&case["detect_level"]) {
                    if falco.count(Some(&level), None) == 0 {
                        failed.push(format!("nothing of {level}"));
                    }
                }
                if falco.count(None, None) == 0 {
                    failed.push("nothing detected".into());
                }
            }
            Some("false") if falco.count(None, None) > 0 => failed.push("something detected".into()),
            _ => {}
        }
        for counts in case["detect_counts"].as_array().into_iter().flatten() {
            for (rule, wanted) in counts.as_object().into_iter().flatten() {
                let found = falco.count(None, Some(rule));
                if wanted.as_str() != Some(&found.to_string()) {
                    failed.push(format!("{rule}: {found} instead of {wanted}"));
                }
            }
        }
        for (key, text, is_wanted) in [
            ("stdout_contains", falco.run.text(), true),
            ("stderr_contains", falco.run.stderr.clone(), true),
            ("stdout_not_contains", falco.run.text(), false),
            ("stderr_not_contains", falco.run.stderr.clone(), false),
        ] {
            for pattern in texts(&case[key]) {
                // Negative look-ahead: the only use that the suite makes of it.
                let (pattern, is_wanted) =
                    match pattern.strip_prefix("^(?!").and_then(|rest| rest.strip_suffix(')')) {
                        Some(inner) => (inner.to_owned(), !is_wanted),
                        None => (pattern, is_wanted),
                    };
                let is_there = Regex::new(&pattern)
                    .map_or_else(|_| text.contains(&pattern), |found| found.is_match(&text));
                if is_there != is_wanted {
                    failed.push(format!("{key}: {pattern}"));
                }
            }
        }
        failed.extend(findings(case, &falco));
        if !failed.is_empty() {
            failed.push(format!("{command:?}\n{}", falco.told()));
        }
        Ok(failed)
    }
}

/// Of `validate_errors` and `validate_warnings`, what was not found.
fn findings(case: &Value, falco: &Falco) -> Vec<String> {
    let found = falco.findings();
    let mut failed = Vec::new();
    for wanted in
        ["validate_errors", "validate_warnings"].iter().flat_map(|key| case[*key].as_array()).flatten()
    {
        let is_it = |one: &Value| {
            let message = one["message"].as_str().unwrap_or_default();
            let at = |key: &str| {
                let locations = one["context"]["locations"].as_array();
                wanted[key].is_null()
                    || locations.is_some_and(|all| all.iter().any(|location| location[key] == wanted[key]))
            };
            wanted["code"] == one["code"]
                && at("item_type")
                && at("item_name")
                && wanted["message"].as_str().is_none_or(|text| text == message)
                && wanted["message_contains"].as_str().is_none_or(|text| message.contains(text))
        };
        if !found.iter().any(is_it) {
            failed.push(format!("not found: {wanted}"));
        }
    }
    if let Some(wanted) = case["validate_ok"].as_array() {
        let report: Value = serde_json::from_slice(&falco.run.stdout).unwrap_or_default();
        for name in wanted.iter().filter_map(Value::as_str) {
            let base = name.rsplit('/').next().unwrap_or_default();
            let results = report["falco_load_results"].as_array();
            let is_ok = |file: &Value| {
                file["successful"] == true && file["name"].as_str().is_some_and(|name| name.ends_with(base))
            };
            if !results.is_some_and(|files| files.iter().any(is_ok)) {
                failed.push(format!("{name} is not ok"));
            }
        }
    }
    failed
}

/// Cases that say something of a Falco that is no more, with the reason.
const OF_THE_PAST: &[(&str, &str)] = &[
    ("engine_version_mismatch", "versions are semantic now: falcos_black_box_tests has the words of today"),
    ("invalid_engine_version_not_number", "the same"),
    ("invalid_append_macro_dangling", "`append` is deprecated, and the words have changed"),
    ("invalid_list_append_dangling", "the same"),
    ("invalid_rule_append_dangling", "the same"),
    ("validate_skip_unknown_noevt", "LOAD_UNKNOWN_FIELD is LOAD_UNKNOWN_FILTER now"),
    ("create_clusterrolebinding", "the rule is called K8s ClusterRoleBinding Created now"),
    ("delete_clusterrole", "the rule is called K8s ClusterRole Deleted now"),
    (
        "compat_engine_v4_create_hostnetwork_trusted_pod",
        "its rules add to a list that was in Falco's rules then",
    ),
    ("compat_engine_v4_create_privileged_trusted_pod", "the same"),
    ("create_hostnetwork_trusted_pod", "the same"),
    ("create_privileged_trusted_pod", "the same"),
    ("create_unsensitive_mount_trusted_pod", "the same"),
    ("grpc_unix_socket_outputs", "gRPC is gone"),
    ("time_iso_8601", "the time that lines of the log began with; those of alerts are checked byte for byte"),
];

fn old_suite(test: &str, file: &str, expected: (usize, usize)) {
    let Some(data) = shared::data(test) else { return };
    let text = std::fs::read_to_string(data.join("expected/falco-0.34.1").join(file)).unwrap();
    let document = json_of(&yaml::read(&text).unwrap()[0]);
    let old = Old { data, scratch: directory() };
    let (mut ran, mut without, mut wrong) = (0, Vec::new(), Vec::new());
    for (name, case) in document["trace_files"].as_object().unwrap() {
        if OF_THE_PAST.iter().any(|(past, _)| past == name) || case["output_strictly_contains"].is_array() {
            continue;
        }
        match old.failed(case) {
            Ok(failed) => {
                ran += 1;
                if !failed.is_empty() {
                    wrong.push(format!("{name}: {}", failed.join("\n  ")));
                }
            }
            Err(reason) => without.push(format!("{name}: {reason}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {ran} are wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    assert_eq!((ran, without.len()), expected, "{}", without.join("\n"));
}

#[test]
fn the_tests_of_0_34_1() {
    old_suite("the_tests_of_0_34_1", "falco_tests.yaml", (89, 3));
}

#[test]
fn the_exceptions_of_0_34_1() {
    old_suite("the_exceptions_of_0_34_1", "falco_tests_exceptions.yaml", (30, 0));
}

#[test]
fn the_kubernetes_audit_of_0_34_1() {
    old_suite("the_kubernetes_audit_of_0_34_1", "falco_k8s_audit_tests.yaml", (29, 30));
}

#[test]
fn the_plugins_of_0_34_1() {
    old_suite("the_plugins_of_0_34_1", "falco_tests_plugins.yaml", (2, 9));
}

/// `cat /dev/null`, judged by one rule.
fn cat_write(data: &Path, rules: &str, arguments: &[&str]) -> Command {
    let mut command = falco(["-r"]);
    command.arg(data.join("rules/falco-0.34.1-test").join(rules));
    command.arg("-o").arg("engine.kind=replay").arg("-o");
    command.arg(format!(
        "engine.replay.capture_file={}",
        data.join("scap/falco-0.34.1/cat_write.scap").display()
    ));
    command.args(arguments);
    command
}

#[test]
fn outputs_are_falcos_byte_for_byte() {
    let Some(data) = shared::data("outputs_are_falcos_byte_for_byte") else { return };
    let scratch = directory();
    for (extension, json) in [("txt", "json_output=false"), ("json", "json_output=true")] {
        let expected = std::fs::read_to_string(
            data.join(format!("expected/falco-0.34.1/single_rule_with_cat_write.{extension}")),
        )
        .unwrap();
        let file = scratch.path().join(extension);
        let name = format!("file_output.filename={}", file.display());
        let common = ["-o", json, "-o", "time_format_iso_8601=true", "-o", "stdout_output.enabled=false"];
        let to_file = [&common[..], &["-o", "file_output.enabled=true", "-o", &name]].concat();
        Run::of(&mut cat_write(&data, "single_rule_with_tags.yaml", &to_file)).ok();
        same(&std::fs::read_to_string(&file).unwrap(), &expected, extension);
        for keep_alive in ["true", "false"] {
            let keep_alive = format!("program_output.keep_alive={keep_alive}");
            let to_program = [
                &common[..],
                &["-o", "program_output.enabled=true", "-o", "program_output.program=cat", "-o", &keep_alive],
            ]
            .concat();
            let run = Run::of(&mut cat_write(&data, "single_rule_with_tags.yaml", &to_program)).ok();
            let alerts = run.text().split("Events detected:").next().unwrap().to_owned();
            same(&alerts, &expected, &keep_alive);
        }
        let to_stdout = [&common[..], &["-o", "stdout_output.enabled=true"]].concat();
        let run = Run::of(&mut cat_write(&data, "single_rule_with_tags.yaml", &to_stdout)).ok();
        same(run.text().split("Events detected:").next().unwrap(), &expected, "stdout");
    }
}

/// Text byte for byte; JSON as values, since Falco's own files of different years differ in the order of keys.
#[track_caller]
fn same(found: &str, expected: &str, what: &str) {
    if !expected.starts_with('{') {
        assert_eq!(found.trim_end(), expected.trim_end(), "{what}");
        return;
    }
    let values =
        |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    assert_eq!(values(found), values(expected), "{what}");
}

#[test]
fn commands_that_print_and_end() {
    let with = |arguments: &[&str]| Run::of(&mut falco(arguments)).ok().text();
    let version = with(&["--version"]);
    for pattern in [
        r"Falco version:\s+\d+\.\d+\.\d+",
        r"Libs version:\s+\d",
        r"Plugin API:\s+\d",
        r"Engine:\s+\d",
        r"Schema version:\s+\d",
    ] {
        assert!(Regex::new(pattern).unwrap().is_match(&version), "{pattern}: {version}");
    }
    let version = with(&["--version", "-o", "json_output=true"]);
    let version: Value = serde_json::from_str(&version).unwrap();
    for key in [
        "default_driver_version",
        "driver_api_version",
        "driver_schema_version",
        "engine_version",
        "falco_version",
        "libs_version",
        "plugin_api_version",
    ] {
        assert!(version[key].is_string(), "{key}: {version}");
    }
    for arguments in [&["--list-plugins"][..], &["--plugin-info=container"]] {
        let text = with(&[arguments, &["-o", "load_plugins[0]=container"]].concat());
        let pattern = r"Name: container\nDescription: Falco container metadata enrichment Plugin.*\nContact: .*\nVersion: .*\nCapabilities:";
        assert!(Regex::new(pattern).unwrap().is_match(&text), "{text}");
    }
    assert!(with(&["--list-plugins", "-o", "load_plugins[0]=container"]).starts_with("1 Plugins Loaded"));
    let ignored = with(&["-i"]);
    for event in ["Ignored syscall(s)", "- read\n", "- write\n", "- sendfile\n"] {
        assert!(ignored.contains(event), "{ignored}");
    }
    let help = with(&["--help"]);
    for text in [
        "Usage:",
        "falco [OPTION...]",
        "-c",
        "--config-schema",
        "--rule-schema",
        "--disable-source",
        "--dry-run",
        "--enable-source",
        "--list",
        "--list-events",
        "--list-plugins",
        "-M",
        "--markdown",
        "--option",
        "--plugin-info",
        "--pidfile",
        "-r",
        "--support",
        "--unbuffered",
        "--validate",
        "-v",
        "--version",
        "--page-size",
    ] {
        assert!(help.contains(text), "{text}: {help}");
    }
    for arguments in [
        &["--list"][..],
        &["--list=k8s_audit"],
        &["--list-events"],
        &["--config-schema"],
        &["--rule-schema"],
        &["--page-size"],
        &["--list", "-N"],
    ] {
        assert!(with(arguments).len() > 20, "{arguments:?}");
    }
    assert_eq!(Run::of(&mut falco(["--nonsense"])).status, Some(2));
    let run = Run::of(&mut falco(["--plugin-info=none"]));
    assert_eq!(run.status, Some(1));
}

#[test]
fn the_pod_policies_of_before() {
    let Some(data) = shared::data("the_pod_policies_of_before") else { return };
    let folder = directory();
    // The rules that falcoctl made of privileged.yaml and run_as_user: as its templates have them.
    let rules = folder.path().join("psp.yaml");
    std::fs::write(
        &rules,
        "- macro: container_started\n  condition: (evt.type = container and container.id != host)\n\
         - rule: \"PSP no_privileged Violation (privileged) System Activity\"\n  desc: d\n  condition: container_started and container.privileged=true\n  output: privileged %container.name\n  priority: WARNING\n\
         - rule: as_root\n  desc: d\n  condition: evt.type in (execve, execveat) and container.id != host and user.uid = 0 and user.uid != 65534\n  output: root %user.uid\n  priority: WARNING\n",
    )
    .unwrap();
    for (capture, wanted) in [("psp_privileged", 1), ("psp_run_as_user_65534_container", 0)] {
        let mut command = falco(["-o", "json_output=true", "-o", "engine.kind=replay", "-r"]);
        command.arg(&rules).arg("-o").arg(format!(
            "engine.replay.capture_file={}",
            data.join("scap/falco-history").join(format!("{capture}.scap")).display()
        ));
        let falco = Falco::of(&mut command);
        let privileged = falco.count(None, Some("PSP no_privileged Violation (privileged) System Activity"));
        assert_eq!((falco.run.status, privileged), (Some(0), wanted), "{capture}: {}", falco.told());
    }
}

#[test]
fn called_as_falco_it_is_falco() {
    let folder = directory();
    let link = folder.path().join("falco");
    std::os::unix::fs::symlink(support::NABE, &link).unwrap();
    let run = Run::of(command(&link).arg("--version")).ok();
    assert!(run.text().starts_with("Falco version: "), "{}", run.text());
}

#[test]
fn matching_first_or_all() {
    let Some(data) = shared::data("matching_first_or_all") else { return };
    let folder = directory();
    let rules = folder.path().join("r.yaml");
    let rule = |name: &str, condition: &str| {
        format!(
            "- rule: {name}\n  desc: d\n  condition: {condition}\n  output: o %fd.name\n  priority: WARNING\n"
        )
    };
    let opens = "evt.type in (open, openat) and evt.dir = < and proc.name = cat";
    let text = rule("wide", opens) + &rule("narrow", &format!("{opens} and fd.name = /dev/null"));
    std::fs::write(&rules, text).unwrap();
    let capture = data.join("scap/falco-0.34.1/cat_write.scap");
    for (matching, narrow) in [("first", 0), ("all", 1)] {
        let mut command = falco(["-o", "json_output=true", "-o", &format!("rule_matching={matching}"), "-r"]);
        command.arg(&rules).arg("-e").arg(&capture);
        let falco = Falco::of(&mut command);
        assert_eq!(
            (falco.count(None, Some("wide")) > 0, falco.count(None, Some("narrow"))),
            (true, narrow),
            "{}",
            falco.told()
        );
    }
}

#[test]
fn payload_is_shown_as_the_configuration_says() {
    let Some(data) = shared::data("payload_is_shown_as_the_configuration_says") else { return };
    let folder = directory();
    let rules = folder.path().join("r.yaml");
    let text = "- rule: r\n  desc: d\n  condition: evt.type = read and evt.dir = < and evt.buffer contains ELF\n  \
                output: it is %evt.buffer | %evt.args\n  priority: WARNING\n";
    std::fs::write(&rules, text).unwrap();
    let capture = data.join("scap/falco-0.34.1/cat_write.scap");
    for (base64, start, args) in
        [("false", "it is .ELF....", "data=.ELF...."), ("true", "it is f0VMRgI", "data=f0VMRgI")]
    {
        let mut command = falco(["-o", &format!("buffer_format_base64={base64}"), "-r"]);
        command.arg(&rules).arg("-e").arg(&capture);
        let run = Run::of(&mut command).ok();
        let text = run.text();
        assert!(text.contains(start) && text.contains(args), "{text}");
    }
}
