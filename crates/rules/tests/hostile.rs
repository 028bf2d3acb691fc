//! Rule files that are up to no good: a clear error or rules, never a panic, never without bound.

use std::fmt::Write as _;

use nabe_event::field::{event as e, process as p};
use nabe_event::table::EventId;
use nabe_event::{FieldId, Fields, Missing, Value};
use nabe_rules::catalogue::SYSCALL;
use nabe_rules::engine::{Engine, Matching, Occurrence, Options, Switch, Which};
use nabe_rules::{File, Loaded, RuleSet};
use proptest::prelude::*;

fn load(content: &str) -> Loaded {
    RuleSet::load(&[File { name: "f.yaml".into(), content: Ok(content.to_owned()) }])
}

fn rule(name: &str, condition: &str, more: &str) -> String {
    format!(
        "- rule: {name}\n  desc: d\n  condition: {condition}\n  output: out %proc.name\n  priority: INFO\n{more}"
    )
}

fn error(content: &str) -> (String, String, Option<String>) {
    let loaded = load(content);
    let report = &loaded.reports[0];
    let problem = report.errors.first().unwrap_or_else(|| panic!("{content} loads"));
    assert!(loaded.rules().is_empty());
    (problem.code.code().to_owned(), problem.message.clone(), problem.hint.clone())
}

#[test]
fn rubbish_gives_clear_errors() {
    for (content, code, part) in [
        ("\u{0}", "LOAD_ERR_YAML", ""),
        ("{", "LOAD_ERR_YAML_PARSE", "line "),
        ("- [", "LOAD_ERR_YAML_PARSE", ""),
        ("just text", "LOAD_ERR_YAML_VALIDATE", "not yaml"),
        ("a: b", "LOAD_ERR_YAML_VALIDATE", "array"),
        ("- - 1", "LOAD_ERR_YAML_VALIDATE", "associative"),
        ("- rule: [a]", "LOAD_ERR_YAML_VALIDATE", "scalar"),
        ("- list: a\n  items: 7", "LOAD_ERR_YAML_VALIDATE", "sequence"),
        ("- required_engine_version: 9.0.0", "LOAD_ERR_VALIDATE", "require engine version"),
        ("- required_plugin_versions: 7", "LOAD_ERR_YAML_VALIDATE", "sequence"),
        (&rule("a", "evt.type=open and m", ""), "LOAD_ERR_VALIDATE", "Undefined macro 'm'"),
        (
            &rule("a", "evt.type=open", "  priority: LOUD\n").replace("  priority: INFO\n", ""),
            "LOAD_ERR_YAML_VALIDATE",
            "Invalid priority",
        ),
        (&rule("a", "evt.type=open", "  nabe: {threshold: often}\n"), "LOAD_ERR_EXTENSION", "no threshold"),
        (
            &rule("a", "evt.type=open", "  nabe: {sequence: b then this within 5s}\n"),
            "LOAD_ERR_EXTENSION",
            "not there",
        ),
        (
            &rule("a", "evt.type=open", "  nabe: {threshold: count(2 in 5s by proc.pdi)}\n"),
            "LOAD_ERR_EXTENSION",
            "proc.pdi",
        ),
    ] {
        let (found, message, _) = error(content);
        assert!(found.starts_with(code) && message.contains(part), "{content:?}: {found} {message}");
    }
}

#[test]
fn hints_name_what_is_near() {
    let output = rule("a", "evt.type=open", "").replace("%proc.name", "%proc.nmae");
    for (content, near) in [
        (rule("a", "proc.nmae=x", ""), "proc.name"),
        (rule("a", "evt.type=opne", ""), "open"),
        (
            format!(
                "- macro: shells\n  condition: proc.name=sh\n{}",
                rule("a", "evt.type=open and shels", "")
            ),
            "shells",
        ),
        (
            format!(
                "{}- macro: shells\n  condition: later\n- macro: later\n  condition: proc.name=sh\n",
                rule("a", "evt.type=open and shells", "")
            ),
            "move it up",
        ),
        (output, "proc.name"),
        (rule("a", "evt.type=open", "  nabe: {throtle: 5s}\n"), "throttle"),
    ] {
        let (_, message, hint) = error(&content);
        assert!(hint.as_ref().is_some_and(|hint| hint.contains(near)), "{message}: {hint:?} without {near}");
    }
}

#[test]
fn macros_and_lists_do_not_explode() {
    // A macro that includes itself, alone and through another.
    for content in [
        "- macro: m\n  condition: proc.name=a and m\n",
        "- macro: m\n  condition: proc.name=a\n- macro: n\n  condition: m\n- macro: m\n  condition: or n\n  append: true\n",
    ] {
        let (code, message, _) = error(content);
        assert_eq!(code, "LOAD_ERR_VALIDATE");
        assert!(message.contains("macro 'm'") || message.contains("macro 'n'"), "{message}");
    }
    // Twice as much with each macro.
    let mut content = "- macro: m0\n  condition: proc.name=a\n".to_owned();
    for at in 1..40 {
        let before = at - 1;
        let _ = write!(content, "- macro: m{at}\n  condition: m{before} and m{before}\n");
    }
    let (_, message, _) = error(&content);
    assert!(message.contains("parts"), "{message}");
    // The same with lists.
    let mut content = format!("- list: l0\n  items: [{}]\n", vec!["x"; 100].join(", "));
    for at in 1..12 {
        let _ =
            write!(content, "- list: l{at}\n  items: [{}]\n", vec![format!("l{}", at - 1); 100].join(", "));
    }
    content.push_str(&rule("a", "evt.type=open and proc.name in (l11)", ""));
    let loaded = load(&content);
    assert!(loaded.reports.len() == 1);
    // Deep brackets.
    let deep = format!("{}proc.name=a{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(error(&rule("a", &deep, "")).0, "LOAD_ERR_COMPILE_CONDITION");
}

#[test]
fn a_hundred_thousand_items_load() {
    let items: Vec<String> = (0..100_000).map(|at| format!("/usr/bin/program-{at}")).collect();
    let content = format!(
        "- list: l\n  items: [{}]\n{}",
        items.join(", "),
        rule("a", "evt.type=open and proc.name in (l)", "")
    );
    let loaded = load(&content);
    assert!(loaded.successful(), "{}", loaded.reports[0].text(true));
    assert_eq!(loaded.rules().len(), 1);
}

/// An event of a process called `cat`.
struct Cat(i64);

impl Fields for Cat {
    fn get(&self, field: FieldId, _: Option<&[u8]>) -> Value<'_> {
        match field {
            p::NAME => Value::Text(b"cat"),
            p::PID => Value::Int(self.0),
            e::TYPE => Value::Text(b"openat"),
            _ => Value::Missing(Missing::Unset),
        }
    }
    fn related(&self, _: FieldId, _: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        None
    }
}

fn judged(engine: &mut Engine, second: u64) -> Vec<String> {
    let mut names = Vec::new();
    let at = Occurrence {
        source: SYSCALL,
        id: EventId::SYSCALL_OPENAT_2_X,
        ts_ns: second * 1_000_000_000,
        image: 0,
    };
    engine.judge(&Cat(7), &at, &mut |hit| names.push(hit.rule.name.clone()));
    names
}

fn three() -> String {
    let condition = "evt.type=openat and proc.name=cat";
    ["one", "two", "three"].map(|name| rule(name, condition, "  tags: [all]\n")).join("")
}

#[test]
fn first_and_all_and_shadows() {
    let loaded = load(&three());
    let mut first = Engine::new(&loaded, Options::default());
    assert_eq!(judged(&mut first, 1), ["one"]);
    assert!(first.shadows().is_empty());
    let mut shadows = Engine::new(&loaded, Options { shadows: true, ..Options::default() });
    assert_eq!(judged(&mut shadows, 1), ["one"]);
    let hidden: Vec<_> =
        shadows.shadows().into_iter().map(|one| (one.winner, one.hidden, one.events)).collect();
    assert_eq!(hidden, [("one".into(), "two".into(), 1), ("one".into(), "three".into(), 1)]);
    for cost in [false, true] {
        let options = Options { matching: Matching::All, cost, ..Options::default() };
        let mut all = Engine::new(&loaded, options);
        assert_eq!(judged(&mut all, 1), ["one", "two", "three"]);
        assert!(all.counts().iter().all(|count| count.alerts == 1 && count.judged == u64::from(cost)));
    }
}

#[test]
fn rules_are_switched_in_order() {
    let loaded = load(&three());
    let switch = |enable, which| Switch { enable, which };
    let options = Options {
        switches: vec![
            switch(false, Which::Tag("all".into())),
            switch(true, Which::Name("t*".into())),
            switch(false, Which::Name("two".into())),
        ],
        ..Options::default()
    };
    let engine = Engine::new(&loaded, options);
    assert_eq!(engine.rules().iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["three"]);
    let engine = Engine::new(
        &loaded,
        Options { min_priority: nabe_event::alert::Priority::Error, ..Options::default() },
    );
    assert!(engine.rules().is_empty() && engine.events().is_empty());
}

#[test]
fn a_new_engine_takes_over() {
    let throttled = rule("one", "evt.type=openat and proc.name=cat", "  nabe: {throttle: 1m}\n");
    let loaded = load(&throttled);
    let mut old = Engine::new(&loaded, Options::default());
    assert_eq!(judged(&mut old, 1), ["one"]);
    // A file that is broken leaves the rules that were there: nothing takes over.
    assert!(!load("- rule: broken").successful());
    let more = load(&format!("{throttled}{}", rule("two", "evt.type=openat", "")));
    let mut new = Engine::new(&more, Options { matching: Matching::All, ..Options::default() });
    new.succeed(&mut old);
    assert_eq!(judged(&mut new, 2), ["two"], "the throttle goes on");
    assert_eq!((new.counts()[0].alerts, new.counts()[0].held_back), (1, 1));
    assert_eq!(judged(&mut new, 70), ["one", "two"]);
}

#[test]
fn additions_reach_the_rules_that_they_name() {
    let addition = nabe_rules::Addition {
        tags: vec!["all".into()],
        rule: Some("two".into()),
        output: Some("pid=%proc.pid".into()),
        fields: vec![
            ("who".into(), "%proc.pid".into(), true),
            ("text".into(), "is %proc.name".into(), false),
        ],
        ..Default::default()
    };
    let options = nabe_rules::Options { additions: vec![addition], ..Default::default() };
    let file = File { name: "f".into(), content: Ok(three()) };
    let loaded = RuleSet::load_with(&[file], &nabe_rules::catalogue::Native, &options);
    let mut engine = Engine::new(&loaded, Options { matching: Matching::All, ..Options::default() });
    let mut alerts = Vec::new();
    let at = Occurrence { source: SYSCALL, id: EventId::SYSCALL_OPENAT_2_X, ts_ns: 1, image: 0 };
    engine.judge(&Cat(7), &at, &mut |hit| alerts.push(hit.alert));
    assert_eq!(
        alerts.iter().map(|alert| &*alert.message).collect::<Vec<_>>(),
        ["out cat", "out cat pid=7", "out cat"]
    );
    use nabe_event::alert::Datum;
    let text = |text: &str| Datum::Text(text.as_bytes().into());
    let expected = [
        ("proc.name", text("cat")),
        ("proc.pid", Datum::Int(7)),
        ("text", text("is cat")),
        ("who", Datum::Int(7)),
    ];
    assert_eq!(
        alerts[1].fields.iter().map(|(name, value)| (&**name, value.clone())).collect::<Vec<_>>(),
        expected
    );
}

const WORDS: &[&str] = &[
    "- rule: r\n",
    "- macro: m\n",
    "- list: l\n",
    "  desc: d\n",
    "  condition: ",
    "  output: %proc.name\n",
    "  priority: INFO\n",
    "  items: [a, l, m]\n",
    "evt.type=open",
    " and m",
    " or not (l)",
    " in (l)",
    "\n",
    "  append: true\n",
    "  override:\n    condition: append\n",
    "  exceptions:\n    - name: e\n",
    "      fields: [proc.name]\n",
    "      comps: [=, !=]\n",
    "      values:\n        - [x]\n",
    "---\n",
    "&a ",
    "*a ",
    "  nabe: {throttle: 5s}\n",
    "  tags: [t]\n",
    "  source: k8s_audit\n",
    "ka.verb=get",
    "!!",
    "[",
    "{",
    "é",
    "\t",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 3000 }))]

    #[test]
    fn no_file_panics(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        nabe_rules::exercise(words.concat().as_bytes());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        nabe_rules::exercise(&bytes);
    }
}
