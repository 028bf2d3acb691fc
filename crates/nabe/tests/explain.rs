//! `nabe explain`, `nabe doctor` and `nabe fields`.

mod support;

use serde_json::Value;
use support::{Cgroup, Need, Run, Stage, has, nabe, nabe_command};

/// The explanations of a target, which must be there.
#[track_caller]
fn explained(target: &str) -> Vec<Value> {
    let run = nabe(["explain", target, "--json"]).ok();
    run.json().as_array().expect("an array").clone()
}

#[test]
fn a_process() {
    let test = "a_process";
    let Some(stage) = Stage::play(test, "traced", [""; 0]) else { return };
    let all = explained(&stage.pid.to_string());
    assert_eq!(all.len(), 1, "{all:?}");
    let one = &all[0];
    assert_eq!((&one["pid"], &one["name"]), (&stage.pid.into(), &"nabe-stage".into()), "{one}");
    assert_eq!(one["exe"], support::stage().to_str().expect("ASCII"));
    let ancestors: Vec<_> =
        one["ancestors"].as_array().expect("a list").iter().filter_map(|a| a["pid"].as_u64()).collect();
    assert_eq!(ancestors.last(), Some(&stage.parent().into()), "{one}");
    assert!(ancestors.contains(&std::process::id().into()), "{one}");
    let warnings = one["warnings"].as_array().expect("a list");
    assert!(warnings.iter().any(|w| w.as_str().is_some_and(|w| w.contains("traced by"))), "{one}");
    let text = nabe(["explain", &stage.pid.to_string()]).ok().text();
    for word in [&format!("nabe-stage (pid {})", stage.pid), "started by", "command", "warning"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn a_port() {
    let test = "a_port";
    let Some(stage) = Stage::play(test, "inet", [""; 0]) else { return };
    for port in ["port", "port6"] {
        let all = explained(&format!(":{}", stage.number(port)));
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0]["pid"], stage.pid);
        assert!(all[0]["listens"].to_string().contains(&stage.number(port).to_string()), "{}", all[0]);
    }
    let text = nabe(["explain", &format!(":{}", stage.number("port"))]).ok().text();
    assert!(text.starts_with(&format!("port {}: 1 process", stage.number("port"))), "{text}");
    assert!(text.contains("listens") && text.contains("127.0.0.1"), "{text}");
}

#[test]
fn a_file() {
    let test = "a_file";
    let directory = support::directory();
    let Some(stage) = Stage::play(test, "files", [directory.path()]) else { return };
    let file = directory.path().join("regular");
    let all = explained(file.to_str().expect("ASCII"));
    assert_eq!(all.iter().map(|one| one["pid"].as_u64()).collect::<Vec<_>>(), [Some(stage.pid.into())]);
    // Relative, and by another name.
    std::os::unix::fs::symlink(&file, directory.path().join("other")).expect("a link");
    let run = Run::of(nabe_command(["explain", "./other", "--json"]).current_dir(directory.path())).ok();
    assert_eq!(run.json()[0]["pid"], stage.pid);
}

#[test]
fn a_container() {
    let test = "a_container";
    if !has(test, &[Need::Root]) {
        return;
    }
    // Without a letter, so that its beginning could be taken for a pid.
    let id = format!("{:08}", std::process::id()).repeat(8);
    let path = format!("nabe-test-explain-{}/docker/{id}", std::process::id());
    let Some(cgroup) = Cgroup::make(test, &path) else { return };
    let Some(stage) = Stage::play(test, "sleep", [""; 0]) else { return };
    cgroup.take(stage.pid);
    for target in [&id[..12], &id[..]] {
        let all = explained(target);
        assert_eq!(all.len(), 1, "{target}: {all:?}");
        assert_eq!(all[0]["pid"], stage.pid);
        assert_eq!(all[0]["container"]["runtime"], "docker", "{}", all[0]);
    }
}

#[test]
fn what_is_not_there() {
    for (target, words) in [
        ("4194303", "there is no process 4194303"),
        (":1", "nobody listens on port 1"),
        ("/nonexistent/file", "nobody has /nonexistent/file open"),
        ("no-such-container", "no container or pod \"no-such-container\""),
    ] {
        let run = nabe(["explain", target]);
        assert_eq!((run.status, run.text().as_str()), (Some(1), ""), "{target}: {}", run.stderr);
        assert!(run.complaints().starts_with(&format!("nabe: error: {words}")), "{}", run.stderr);
    }
    for target in [":0", ":x", ":70000", "", "99999999999"] {
        assert_eq!(nabe(["explain", target]).status, Some(2), "{target}");
    }
}

#[test]
fn doctor_tells_what_works() {
    let run = nabe(["doctor", "--json"]).ok();
    let found = run.json();
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    assert_eq!(found["kernel"], release.trim());
    assert_eq!(found["proc"]["ok"], true);
    let features = found["features"].as_array().expect("a list");
    assert!(
        features.len() > 5 && features.iter().all(|f| f["ok"].is_boolean() && f["name"].is_string()),
        "{found}"
    );
    assert!(
        features.iter().all(|f| f["ok"] == true || f["error"].is_string()),
        "a refusal has its reason: {found}"
    );
    let engines = found["engines"].as_array().expect("a list");
    for name in ["docker", "containerd", "cri-o", "podman", "runc"] {
        assert!(engines.iter().any(|engine| engine["engine"] == name), "{name} in {found}");
    }
    // What it says of the iterators is what `ps` finds.
    let works = features.iter().find(|f| f["name"] == "iter/task").is_some_and(|f| f["ok"] == true);
    assert_eq!(works, support::ps(["--source", "bpf", "--count"]).status == Some(0));
    let text = nabe(["doctor"]).ok().text();
    assert!(text.contains("iter/task") && text.contains("docker") && !text.contains('\x1b'), "{text}");
}

#[test]
fn doctor_without_privileges_names_what_is_missing() {
    let test = "doctor_without_privileges_names_what_is_missing";
    if !has(test, &[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let mut command = support::command("setpriv");
    command
        .args(["--bounding-set", "-all", "--inh-caps", "-all", "--"])
        .arg(support::NABE)
        .args(["doctor", "--json"]);
    let found = Run::of(command.env("NABE_CACHE", "")).ok().json();
    assert_eq!(found["capabilities"], serde_json::json!([]), "{found}");
    let features = found["features"].as_array().expect("a list");
    assert!(features.iter().any(|f| f["name"] == "iter/task" && f["ok"] == false), "{found}");
}

#[test]
fn fields_are_listed_for_people_and_machines() {
    let found = nabe(["fields", "--json"]).ok().json();
    let fields = found["fields"].as_array().expect("a list");
    assert!(fields.len() > 100, "{}", fields.len());
    for field in fields {
        for member in ["name", "class", "type", "doc"] {
            assert!(field[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {field}");
        }
        assert!(field["aliases"].is_array() && field["needs"].is_array(), "{field}");
    }
    assert_eq!(found["constants"].as_array().map(Vec::len), Some(22));
    let presets = found["presets"].as_array().expect("a list");
    assert!(
        ["sockets", "files", "containers", "network"]
            .iter()
            .all(|name| presets.iter().any(|p| p["name"] == *name))
    );
    let text = nabe(["fields"]).ok().text();
    for field in fields {
        assert!(text.contains(field["name"].as_str().expect("text")), "{field}");
    }
    // A search finds a field by its name, by its alias and by psc's other word for files.
    assert!(nabe(["fields", "socket.srcport"]).ok().text().contains("file.srcPort"));
    let narrow = nabe(["fields", "seccomp"]).ok().text();
    assert!(narrow.contains("process.seccomp") && !narrow.contains("process.rss "), "{narrow}");
}

#[test]
fn every_listed_field_can_be_asked_for() {
    let found = nabe(["fields", "--json"]).ok().json();
    let mut columns = Vec::new();
    for field in found["fields"].as_array().expect("a list") {
        let name = field["name"].as_str().expect("text");
        if ["process", "container", "file"].contains(&field["class"].as_str().expect("text"))
            && field["column"] == true
        {
            columns.push(name);
            for alias in field["aliases"].as_array().expect("a list") {
                let run = support::ps(["-o", alias.as_str().expect("text"), "false"]);
                assert_eq!(run.status, Some(0), "{alias}: {}", run.stderr);
            }
        }
    }
    assert!(columns.len() > 90, "{}", columns.len());
    let test = "every_listed_field_can_be_asked_for";
    let Some(stage) = Stage::play(test, "inet", [""; 0]) else { return };
    for source in ["auto", "proc"] {
        let rows = support::rows([
            &format!("process.pid == {}", stage.pid),
            "-o",
            &columns.join(","),
            "--source",
            source,
        ]);
        let row = support::fd_row(&rows, stage.number("listener"));
        assert!(columns.iter().all(|name| row.get(*name).is_some()), "{row}");
    }
}
