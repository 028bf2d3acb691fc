//! Falco's declarative tests: rules judged on captures, alerts counted, validations compared, and the
//! text of alerts to the letter.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nabe_event::alert::{Alert, Datum, Priority};
use nabe_rules::catalogue::{Native, SYSCALL};
use nabe_rules::engine::{Engine, Matching, Occurrence, Options, Switch, Which};
use nabe_rules::yaml::{self, Kind, Node};
use nabe_rules::{File, Loaded, RuleSet};
use nabe_scap::Reader;
use nabe_state::stream::Stream;

/// All alerts of a capture.
fn judge(loaded: &Loaded, options: Options, capture: &Path) -> Vec<Alert> {
    let mut engine = Engine::new(loaded, options);
    let mut stream = Stream::new();
    let mut reader = Reader::open(capture).unwrap();
    let mut alerts = Vec::new();
    while let Some(batch) = reader.batch().unwrap() {
        for item in batch {
            let Some(seen) = stream.item(&item) else { continue };
            if !seen.is_shown() {
                continue;
            }
            let event = seen.event();
            let at = Occurrence { source: SYSCALL, id: event.id, ts_ns: event.ts_ns, image: seen.image() };
            engine.judge(&seen, &at, &mut |hit| alerts.push(hit.alert));
        }
    }
    alerts
}

fn texts(node: Option<&std::rc::Rc<Node>>) -> Vec<String> {
    match node.map(|node| &node.kind) {
        Some(Kind::Scalar { text, .. }) => vec![text.clone()],
        Some(Kind::List(items)) => items.iter().filter_map(|item| item.text()).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A file as the tests name it: `rules/single_rule.yaml`.
fn file(data: &Path, name: &str) -> Option<PathBuf> {
    let name = name.strip_prefix("rules/").unwrap_or(name);
    let found = [
        data.join("rules/falco-0.34.1-test").join(name),
        data.join("rules/falcosecurity-testing/rules/legacy").join(name),
    ];
    found.into_iter().find(|path| path.is_file())
}

fn load(data: &Path, names: &[String]) -> Option<Loaded> {
    let paths: Option<Vec<PathBuf>> = names.iter().map(|name| file(data, name)).collect();
    let files: Vec<File> = paths?.iter().map(|path| File::open(path)).collect();
    Some(RuleSet::check(&files, &Native, &nabe_rules::Options::default()))
}

/// What of a test's expected problems is not there.
fn lacking(test: &Node, key: &str, loaded: &Loaded) -> Vec<String> {
    let mut lacks = Vec::new();
    let problems = || loaded.reports.iter().flat_map(|report| report.errors.iter().chain(&report.warnings));
    for one in test.get(key).and_then(|node| node.items()).into_iter().flatten() {
        let of = |key: &str| {
            let text = one.get(key).and_then(|node| node.text()).unwrap_or_default().to_owned();
            SINCE.iter().fold(text, |text, (old, new)| text.replace(old, new))
        };
        let (code, item, name, message) = (of("code"), of("item_type"), of("item_name"), of("message"));
        let found = problems().any(|problem| {
            problem.code.code() == code
                && problem.message.contains(&message)
                && problem
                    .place
                    .links()
                    .iter()
                    .any(|link| link.item.word() == item && *link.item_name == *name)
        });
        if !found {
            lacks.push(format!("{code} {item} '{name}': {message}"));
        }
    }
    lacks
}

/// Words that Falco has changed since 0.34.1.
const SINCE: &[(&str, &str)] = &[
    ("LOAD_UNKNOWN_FIELD", "LOAD_UNKNOWN_FILTER"),
    ("Macro has 'append' key but", "Macro uses 'append' or 'override.condition: append' but"),
    ("List has 'append' key but", "List uses 'append' or 'override.items: append' but"),
    ("Rule has 'append' key but", "Rule uses 'append' or 'override.<key>: append' but"),
];

/// Tests whose verdict Falco itself has changed, each with the reason.
const CHANGED: &[(&str, &str)] =
    &[("invalid_engine_version_not_number", "versions are semantic since 0.37, and the message says so")];

#[derive(Default)]
struct Tally {
    ran: usize,
    validated: usize,
    skipped: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Tally {
    fn run(&mut self, data: &Path, name: &str, test: &Node) {
        if CHANGED.iter().any(|(changed, _)| *changed == name) {
            *self.skipped.entry("changed since").or_default() += 1;
            return;
        }
        let validate = texts(test.get("validate_rules_file"));
        if !validate.is_empty() {
            return self.validate(data, name, test, &validate);
        }
        let failing =
            test.get("exit_status").and_then(|node| node.text()).is_some_and(|status| status != "0");
        if failing || test.get("detect").is_none() {
            *self.skipped.entry("about the command line").or_default() += 1;
            return;
        }
        self.detect(data, name, test);
    }

    fn validate(&mut self, data: &Path, name: &str, test: &Node, files: &[String]) {
        let Some(loaded) = load(data, files) else {
            *self.skipped.entry("no such rules").or_default() += 1;
            return;
        };
        self.validated += 1;
        let mut lacks = lacking(test, "validate_errors", &loaded);
        lacks.extend(lacking(test, "validate_warnings", &loaded));
        let fails = test.get("exit_status").and_then(|node| node.text()) == Some("1");
        if loaded.successful() == fails {
            lacks.push("the verdict".to_owned());
        }
        if !lacks.is_empty() {
            let said: Vec<String> = loaded.reports.iter().map(|report| report.text(true)).collect();
            self.wrong.push(format!("{name} lacks {lacks:#?}:\n{}", said.join("\n")));
        }
    }

    fn detect(&mut self, data: &Path, name: &str, test: &Node) {
        let trace = test.get("trace_file").and_then(|node| node.text()).unwrap_or_default();
        let capture = data.join("scap/falco-0.34.1").join(Path::new(trace).file_name().unwrap_or_default());
        let mut rules = texts(test.get("rules_file"));
        if rules.is_empty() {
            rules.push("falco_rules_v1_0_1.yaml".to_owned());
        }
        if !capture.is_file() {
            *self.skipped.entry("no such capture").or_default() += 1;
            return;
        }
        let Some(loaded) = load(data, &rules) else {
            *self.skipped.entry("no such rules").or_default() += 1;
            return;
        };
        let Some(options) = options(test) else {
            *self.skipped.entry("about the command line").or_default() += 1;
            return;
        };
        self.ran += 1;
        let alerts = judge(&loaded, options, &capture);
        let mut lacks = Vec::new();
        let detect = test
            .get("detect")
            .and_then(|node| node.text())
            .is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let levels = texts(test.get("detect_level"));
        if alerts.is_empty() == detect {
            lacks.push(format!("detect {detect}, {} alerts", alerts.len()));
        }
        for level in levels.iter().filter(|_| detect) {
            let priority: Priority = level.parse().unwrap();
            if !alerts.iter().any(|alert| alert.priority == priority) {
                lacks.push(format!("an alert of {level}"));
            }
        }
        for count in test.get("detect_counts").and_then(|node| node.items()).into_iter().flatten() {
            let Kind::Map(entries) = &count.kind else { continue };
            for (rule, expected) in entries {
                let rule = rule.text().unwrap();
                let found = alerts.iter().filter(|alert| &*alert.rule == rule).count();
                if expected.text() != Some(&found.to_string()) {
                    lacks.push(format!("{rule}: {} expected, {found} found", expected.text().unwrap_or("?")));
                }
            }
        }
        if !lacks.is_empty() {
            self.wrong.push(format!("{name}: {lacks:?}"));
        }
    }
}

/// The engine's options of a test's switches; `None` when they contradict each other.
fn options(test: &Node) -> Option<Options> {
    let mut options = Options::default();
    for rule in texts(test.get("disabled_rules")) {
        // These were regular expressions once; the tests use `.*` only.
        let name = format!("*{}*", rule.replace(".*", "*").trim_matches('"'));
        options.switches.push(Switch { enable: false, which: Which::Name(name) });
    }
    for tag in texts(test.get("disable_tags")) {
        options.switches.push(Switch { enable: false, which: Which::Tag(tag) });
    }
    let run = texts(test.get("run_tags"));
    if !run.is_empty() {
        options.switches.push(Switch { enable: false, which: Which::Name("*".to_owned()) });
        options.switches.extend(run.into_iter().map(|tag| Switch { enable: true, which: Which::Tag(tag) }));
    }
    if let Some(priority) = test.get("priority").and_then(|node| node.text()) {
        options.min_priority = priority.parse().ok()?;
    }
    Some(options)
}

#[test]
fn falcos_declarative_tests() {
    let Some(data) = shared::data("falcos_declarative_tests") else { return };
    let mut tally = Tally::default();
    for name in ["falco_tests.yaml", "falco_tests_exceptions.yaml"] {
        let text = std::fs::read_to_string(data.join("expected/falco-0.34.1").join(name)).unwrap();
        let documents = yaml::read(&text).unwrap();
        let Some(Kind::Map(tests)) = documents[0].get("trace_files").map(|node| &node.kind) else {
            panic!("{name} is not as expected")
        };
        for (name, test) in tests {
            tally.run(&data, name.text().unwrap(), test);
        }
    }
    eprintln!("{} on captures, {} validated, skipped {:?}", tally.ran, tally.validated, tally.skipped);
    assert!(tally.wrong.is_empty(), "{}:\n{}", tally.wrong.len(), tally.wrong.join("\n====\n"));
    assert!(tally.ran >= 60 && tally.validated >= 35, "{} ran, {} validated", tally.ran, tally.validated);
}

#[test]
fn alerts_read_as_falco_writes_them() {
    let Some(data) = shared::data("alerts_read_as_falco_writes_them") else { return };
    let loaded = load(&data, &["rules/single_rule_with_tags.yaml".to_owned()]).unwrap();
    let capture = data.join("scap/falco-0.34.1/cat_write.scap");
    let options = Options { hostname: "test-falco-hostname".into(), ..Options::default() };
    let alerts = judge(&loaded, options, &capture);
    let folder = data.join("expected/falco-0.34.1");
    let text = std::fs::read_to_string(folder.join("single_rule_with_cat_write.txt")).unwrap();
    let expected: Vec<&str> = text.lines().map(|line| line.split_once("Warning ").unwrap().1).collect();
    assert_eq!(alerts.iter().map(|alert| &*alert.message).collect::<Vec<_>>(), expected);
    let json = std::fs::read_to_string(folder.join("single_rule_with_cat_write.json")).unwrap();
    let mut compared = 0;
    for (alert, line) in alerts.iter().zip(json.lines()) {
        let expected: serde_json::Value = serde_json::from_str(line).unwrap();
        let tags: Vec<&str> =
            expected["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
        assert_eq!(alert.tags.iter().map(|tag| &**tag).collect::<Vec<_>>(), tags);
        assert_eq!(alert.priority.name(), expected["priority"]);
        assert_eq!(*alert.rule, *expected["rule"].as_str().unwrap());
        assert_eq!(*alert.source, *expected["source"].as_str().unwrap());
        assert_eq!(*alert.hostname, *expected["hostname"].as_str().unwrap());
        let fields = &expected["output_fields"];
        assert_eq!(alert.ts_ns, fields["evt.time.iso8601"].as_u64().unwrap());
        let command = fields["proc.cmdline"].as_str().unwrap();
        assert_eq!(&*alert.fields, [("proc.cmdline".into(), Datum::Text(command.as_bytes().into()))]);
        compared += 1;
    }
    assert_eq!(compared, 8);
}

#[test]
fn nabes_own_keys_on_a_capture() {
    let Some(data) = shared::data("nabes_own_keys_on_a_capture") else { return };
    let rules = "\
- rule: Start
  desc: d
  condition: evt.type=execve and proc.name=cat
  output: start %proc.pid
  priority: INFO
  nabe: {silent: true}
- rule: Often
  desc: d
  condition: evt.type=open and proc.name=cat
  output: often %proc.name
  priority: WARNING
  nabe: {threshold: count(4 in 10s by proc.pid)}
- rule: Behind
  desc: d
  condition: evt.type=open and proc.name=cat
  output: behind %proc.name
  priority: WARNING
  nabe: {sequence: Start then this within 30s by proc.pid, throttle: 1m}
- rule: Held
  desc: d
  condition: evt.type=open and proc.name=cat
  output: held %proc.name
  priority: NOTICE
  nabe: {throttle: {every: 1m, by: [proc.name]}}
";
    let loaded = RuleSet::load(&[File { name: "own.yaml".into(), content: Ok(rules.into()) }]);
    assert!(loaded.successful(), "{}", loaded.reports[0].text(true));
    let capture = data.join("scap/falco-0.34.1/cat_write.scap");
    let options = Options { matching: Matching::All, ..Options::default() };
    let alerts = judge(&loaded, options, &capture);
    let count = |rule: &str| alerts.iter().filter(|alert| &*alert.rule == rule).count();
    // cat opens eight files behind its execve.
    assert_eq!((count("Start"), count("Often"), count("Behind"), count("Held")), (0, 2, 1, 1));
}
