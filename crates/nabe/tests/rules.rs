//! `nabe rules` as a user runs it: verdicts, hints, exit codes, tests on captures, and why.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::nabe;

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nabe-rules-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const RULES: &str = "\
- list: readers
  items: [cat, less]
- macro: opens
  condition: evt.type in (open, openat)
- rule: Opened
  desc: Something was opened
  condition: opens and proc.name in (readers)
  output: opened %fd.name by %proc.name
  priority: WARNING
  tags: [a, b]
- rule: Never
  desc: Nothing
  condition: opens and fd.name = /nowhere
  output: never
  priority: INFO
  enabled: false
";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn check_says_what_is_wrong_and_how_to_mend_it() {
    let folder = Folder::new("check");
    let good = folder.file("good.yaml", RULES);
    let run = nabe(["rules", "check", &good]).ok();
    assert!(run.text().ends_with("good.yaml: Ok\n2 rules\n"), "{}", run.text());
    let bad = folder.file("bad.yaml", &RULES.replace("proc.name in", "proc.nmae in"));
    let run = nabe(["rules", "check", &bad]);
    assert_eq!(run.status, Some(1));
    for part in [
        "bad.yaml:7:14: error: filter_check called with nonexistent field proc.nmae",
        "in rule 'Opened'",
        "did you mean `proc.name`?",
        "LOAD_ERR_COMPILE_CONDITION",
        "bad.yaml: Invalid (1 errors, 0 warnings)",
    ] {
        assert!(run.text().contains(part), "{part}:\n{}", run.text());
    }
    let warned = folder.file("warned.yaml", &format!("{RULES}- list: unused\n  items: [a]\n"));
    assert_eq!(nabe(["rules", "check", &warned]).status, Some(0));
    assert_eq!(nabe(["rules", "check", "--strict", &warned]).status, Some(1));
    let run = nabe(["rules", "check", "--json", &bad, &good]);
    assert_eq!(run.status, Some(1));
    let value: Value = serde_json::from_slice(&run.stdout).unwrap();
    let results = value["falco_load_results"].as_array().unwrap();
    assert_eq!((results.len(), &results[0]["successful"]), (2, &Value::Bool(false)));
    assert_eq!(results[0]["errors"][0]["code"], "LOAD_ERR_COMPILE_CONDITION");
    assert_eq!(results[0]["errors"][0]["hint"], "did you mean `proc.name`?");
    let links = results[0]["errors"][0]["context"]["locations"].as_array().unwrap();
    assert_eq!(links[1]["item_name"], "Opened");
    let run = nabe(["rules", "check", "/nowhere.yaml"]);
    assert!(run.status == Some(1) && run.text().contains("LOAD_ERR_FILE_READ"), "{}", run.text());
}

#[test]
fn rules_are_listed_shown_and_explained() {
    let folder = Folder::new("show");
    let file = folder.file("r.yaml", RULES);
    let list = nabe(["rules", "list", &file]).ok().lines();
    assert_eq!(list.len(), 3);
    assert!(
        list[1].starts_with("Opened") && list[1].contains("Warning") && list[1].ends_with("yes  a,b"),
        "{list:?}"
    );
    assert!(list[2].contains(" no "), "{list:?}");
    let json = nabe(["rules", "list", "--json", "--tag", "a", &file]).ok();
    let value: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(value["rules"].as_array().unwrap().len(), 1);
    let details = &value["rules"][0]["details"];
    assert_eq!(details["condition_compiled"], "(evt.type in (open, openat) and proc.name in (cat, less))");
    assert_eq!(details["macros"], serde_json::json!(["opens"]));
    assert_eq!(details["lists"], serde_json::json!(["readers"]));
    assert_eq!(details["output_fields"], serde_json::json!(["fd.name", "proc.name"]));
    assert_eq!(details["events"], serde_json::json!(["asyncevent", "open", "openat"]));
    assert_eq!(value["macros"][0]["details"]["used"], true);
    assert_eq!(value["lists"][0]["details"]["items_compiled"], serde_json::json!(["cat", "less"]));
    let shown = nabe(["rules", "show", "opens", "-r", &file]).ok().text();
    assert!(shown.starts_with("macro opens\n") && shown.contains("evt.type in (open, openat)"), "{shown}");
    let explained = nabe(["rules", "explain", "Never", "-r", &file]).ok().text();
    for part in ["condition ", "events     open openat", "behind     Opened", "judged of"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let run = nabe(["rules", "explain", "Opend", "-r", &file]);
    assert_eq!(run.status, Some(2));
    assert!(run.stderr.contains("did you mean `Opened`?"), "{}", run.stderr);
}

#[test]
fn tests_run_on_captures() {
    let Some(data) = shared::data("tests_run_on_captures") else { return };
    let capture = data.join("scap/falco-0.34.1/cat_write.scap");
    let folder = Folder::new("test");
    folder.file("r.yaml", RULES);
    let capture = text(&capture);
    let good = folder.file(
        "good.yaml",
        &format!(
            "rules: [r.yaml]\ntests:\n  - name: reads\n    capture: {capture}\n    matching: all\n    enable: Nev*\n    \
             expect: {{Opened: 8, Never: 0}}\n    alerts: '>=1'\n    message: by cat\n"
        ),
    );
    let run = nabe(["rules", "test", &good]).ok();
    assert_eq!(run.text(), "ok     reads\n1 passed, 0 failed\n");
    let bad = folder.file(
        "bad.yaml",
        &format!("rules: r.yaml\ntests:\n  - capture: {capture}\n    expect: {{Opened: 3, Opend: 1}}\n"),
    );
    let run = nabe(["rules", "test", "-v", &bad]);
    assert_eq!(run.status, Some(1));
    for part in [
        "Opened: 3 expected, 8 found",
        "did you mean `Opened`?",
        "0 passed, 1 failed",
        "| Warning Opened: opened",
    ] {
        assert!(run.text().contains(part), "{part}: {}", run.text());
    }
    let wrong = folder.file("wrong.yaml", "rules: r.yaml\ntests:\n  - capture: x\n    expcet: {a: 1}\n");
    let run = nabe(["rules", "test", &wrong]);
    assert_eq!(run.status, Some(2));
    assert!(
        run.stderr.contains("wrong.yaml:3: unknown key `expcet`: did you mean `expect`?"),
        "{}",
        run.stderr
    );
}

#[test]
fn why_says_which_part_decides() {
    let Some(data) = shared::data("why_says_which_part_decides") else { return };
    let capture = data.join("scap/falco-0.34.1/cat_write.scap");
    let folder = Folder::new("why");
    let file = folder.file("r.yaml", RULES);
    let number =
        nabe(["replay", text(&capture), "-p", "%evt.num", "evt.type=open and fd.name=/etc/ld.so.cache"]).ok();
    let number = number.lines().last().unwrap().clone();
    let run = nabe(["rules", "why", text(&capture), "--event", &number, "-r", &file]).ok();
    for part in [
        "matches  Opened",
        "true    proc.name in (cat, less)    [cat]",
        "does not Never",
        "false   fd.name = /nowhere    [/etc/ld.so.cache]",
    ] {
        assert!(run.text().contains(part), "{part}: {}", run.text());
    }
    let run = nabe(["rules", "why", text(&capture), "--event", "99999999", "-r", &file]);
    assert!(run.status == Some(1) && run.stderr.contains("no event 99999999"), "{}", run.stderr);
}
