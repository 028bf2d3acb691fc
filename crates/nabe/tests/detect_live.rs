//! `nabe detect` live, on the cases of Falco's own live suite (`falco-e2e-evtgen_suite`): each process,
//! file and system call that a case describes is really made (`support/player.c`), and the alert that it
//! expects has to come from the stable, incubating and sandbox rules.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nabe_rules::yaml::{self, Kind, Node};
use serde_json::{Map, Value, json};
use support::{directory, nabe, nabe_command, skip};

fn json_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        Kind::Scalar { text, .. } => json!(text),
        Kind::List(items) => items.iter().map(|item| json_of(item)).collect(),
        Kind::Map(entries) => {
            let pairs = entries
                .iter()
                .map(|(key, value)| (key.text().unwrap_or_default().to_owned(), json_of(value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

/// `value` with `%{ item.key }` filled in; a value that is nothing else becomes the item itself.
fn filled(value: &Value, item: &Map<String, Value>) -> Value {
    match value {
        Value::String(text) => {
            let whole = text.strip_prefix("%{ item.").and_then(|rest| rest.strip_suffix(" }"));
            if let Some(found) = whole.and_then(|key| item.get(key)) {
                return found.clone();
            }
            let fill = |text: String, (key, value): (&String, &Value)| {
                text.replace(&format!("%{{ item.{key} }}"), value.as_str().unwrap_or_default())
            };
            json!(item.iter().fold(text.clone(), fill))
        }
        Value::Array(items) => items.iter().map(|one| filled(one, item)).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), filled(value, item))).collect())
        }
        other => other.clone(),
    }
}

/// The items of a test: every combination of a matrix, the values of a vector.
fn items(test: &Value) -> Vec<Map<String, Value>> {
    let Some(cases) = test["cases"].as_array() else { return vec![Map::new()] };
    let mut all = Vec::new();
    for case in cases {
        let mut of_case = vec![Map::new()];
        for (key, values) in case["values"].as_object().unwrap() {
            let values = if case["strategy"] == "matrix" {
                values.as_array().unwrap().clone()
            } else {
                vec![values.clone()]
            };
            of_case = of_case
                .iter()
                .flat_map(|item| {
                    values.iter().map(|value| {
                        let mut item = item.clone();
                        item.insert(key.clone(), value.clone());
                        item
                    })
                })
                .collect();
        }
        all.extend(of_case);
    }
    all
}

/// The compiled `player.c`.
fn player(folder: &Path) -> PathBuf {
    let program = folder.join("player");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/player.c");
    let status = Command::new("cc").args(["-O1", "-static", "-o"]).arg(&program).arg(source).status();
    assert!(status.expect("cc runs").success(), "player.c does not compile");
    program
}

/// What a case made that was not there; it goes when the case is over.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn file(&mut self, path: &Path) {
        let mut missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
        let Some(file) = (!missing.is_empty()).then(|| missing.remove(0)) else { return };
        for folder in missing.iter().rev() {
            std::fs::create_dir(folder).unwrap();
            self.0.push(folder.to_path_buf());
        }
        std::fs::write(file, "").unwrap();
        self.0.push(file.to_path_buf());
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            let _ = if path.is_dir() && !path.is_symlink() {
                std::fs::remove_dir(path)
            } else {
                std::fs::remove_file(path)
            };
        }
    }
}

fn flags(text: &str) -> i32 {
    let of = |name: &str| match name {
        "O_WRONLY" => 1,
        "O_CREAT" => 0o100,
        "O_TRUNC" => 0o1000,
        _ => 0,
    };
    text.split('|').map(of).sum()
}

fn uid(name: &str) -> Option<u32> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next() == Some(name)).then(|| parts.nth(1)?.parse().ok())?
    })
}

/// A case ready to be played.
struct Case {
    name: String,
    rule: String,
    priority: String,
    fields: Map<String, Value>,
    command: Command,
    made: Made,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Prepares a case, or says why it cannot be played here.
fn prepare(test: &Value, player: &Path, folder: &Path, number: usize) -> Result<Case, String> {
    if test["context"]["container"].is_object() {
        return Err("needs a container".into());
    }
    let mut made = Made::default();
    for resource in test["resources"].as_array().into_iter().flatten() {
        if text(resource, "type") == "fd" && text(resource, "subtype") == "file" {
            made.file(Path::new(text(resource, "filePath")));
        }
    }
    let place = folder.join(number.to_string());
    std::fs::create_dir(&place).unwrap();
    let mut chain = String::new();
    let unnamed = json!([{"name": "eg_player"}]);
    let processes = test["context"]["processes"].as_array().or(unnamed.as_array()).unwrap();
    for process in processes {
        let name = text(process, "name");
        let exe = process["exe"].as_str().map_or_else(|| place.join(name), PathBuf::from);
        // A link costs no room; another file system needs a copy.
        if std::fs::hard_link(player, &exe).is_err() {
            support::copy_program(player, &exe);
        }
        if process["exe"].is_string() {
            made.0.push(exe.clone());
        }
        let user = match process["user"].as_str() {
            Some(user) => uid(user).ok_or_else(|| format!("no user {user}"))?,
            None => 0,
        };
        let argv0 = process["exe"].as_str().unwrap_or(name);
        chain += &format!("{}\x1f{argv0}\x1f{user}", exe.display());
        for argument in text(process, "args").split_whitespace() {
            chain += &format!("\x1f{argument}");
        }
        chain.push('\x1e');
    }
    let mut step = String::new();
    for one in test["steps"].as_array().into_iter().flatten() {
        let (call, args) = (text(one, "syscall"), &one["args"]);
        step = match call {
            "open" | "openat" | "openat2" => {
                let how = if call == "openat2" { &args["how"] } else { args };
                let mode = i32::from_str_radix(text(how, "mode").trim_start_matches('0'), 8).unwrap_or(0);
                format!("{call}\x1f{}\x1f{}\x1f{mode}", text(args, "pathname"), flags(text(how, "flags")))
            }
            "link" | "linkat" | "symlink" | "symlinkat" => {
                let is_link = call.starts_with("link");
                let (from, to) = if is_link { ("oldPath", "newPath") } else { ("target", "linkPath") };
                let made_here = PathBuf::from(text(args, to));
                if made_here.is_symlink() || made_here.exists() {
                    return Err(format!("{} is there", made_here.display()));
                }
                made.0.push(made_here);
                format!("{call}\x1f{}\x1f{}", text(args, from), text(args, to))
            }
            other => return Err(format!("no way to make {other}")),
        };
    }
    for resource in test["resources"].as_array().into_iter().flatten() {
        match text(resource, "type") {
            "clientServer" => {
                let (address, port) = text(resource, "address").rsplit_once(':').unwrap();
                step = format!("reach\x1f{address}\x1f{port}");
            }
            "process" if resource["fileLess"] == "true" => step = "fileless".into(),
            _ => {}
        }
    }
    let mut command = Command::new(player);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("PLAY_CHAIN", &chain)
        .env("PLAY_STEP", &step);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if text(test, "before").starts_with("sleep ") {
        command.env("PLAY_SLEEP", text(test, "before").trim_start_matches("sleep "));
    }
    let expected = &test["expectedOutcome"];
    Ok(Case {
        name: text(test, "name").to_owned(),
        rule: text(test, "rule").to_owned(),
        priority: text(expected, "priority").to_owned(),
        fields: expected["outputFields"].as_object().cloned().unwrap_or_default(),
        command,
        made,
    })
}

/// `nabe detect`, live.
struct Detector(Child);

impl Drop for Detector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn detector(data: &Path, fields: &BTreeSet<String>) -> (Detector, Receiver<Value>) {
    let mut command =
        nabe_command(["detect", "--json", "--all", "-o", "append_output[0].match.source=syscall"]);
    for (at, field) in fields.iter().enumerate() {
        command.arg("-o").arg(format!("append_output[0].extra_fields[{at}]={field}"));
    }
    for file in ["falco_rules", "falco-incubating_rules", "falco-sandbox_rules"] {
        command.arg("-r").arg(data.join(format!("rules/falcosecurity-rules-2026-06/{file}.yaml")));
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let stream = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in stream.lines().map_while(Result::ok) {
            if serde_json::from_str(&line).is_ok_and(|alert| sender.send(alert).is_err()) {
                return;
            }
        }
    });
    (Detector(child), receiver)
}

fn is_it(case: &Case, alert: &Value) -> bool {
    let same = |(key, wanted): (&String, &Value)| {
        let found = &alert["output_fields"][key];
        // Numbers are written as texts in some of the files.
        let shown = found.to_string();
        found == wanted || wanted.as_str().is_some_and(|wanted| shown == wanted)
    };
    alert["rule"] == *case.rule
        && alert["source"] == "syscall"
        && alert["priority"].as_str().is_some_and(|priority| priority.eq_ignore_ascii_case(&case.priority))
        && case.fields.iter().all(same)
}

#[test]
fn falcos_live_cases_on_the_host() {
    let test = "falcos_live_cases_on_the_host";
    let Some(data) = shared::data(test) else { return };
    if !support::is_root() {
        return skip(test, "needs root");
    }
    let probe = nabe(["trace", "-q", "-M", "0.05"]);
    if probe.status != Some(0) {
        return skip(test, probe.stderr.lines().next().unwrap_or("no live events"));
    }
    let folder = directory();
    let player = player(folder.path());
    let mut tests = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(data.join("expected/falco-e2e-evtgen_suite"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 20);
    for file in files {
        // A placeholder without quotes is no YAML; what it says is about other processors.
        let text: String = std::fs::read_to_string(file)
            .unwrap()
            .lines()
            .filter(|line| !line.trim_start().starts_with("runIf: %"))
            .flat_map(|line| [line, "\n"])
            .collect();
        let document = json_of(&yaml::read(&text).unwrap()[0]);
        tests.extend(document["tests"].as_array().unwrap().clone());
    }
    assert_eq!(tests.len(), 35);
    let fields = tests
        .iter()
        .flat_map(|test| test["expectedOutcome"]["outputFields"].as_object().unwrap().keys().cloned())
        .collect();
    let (_detector, alerts) = detector(&data, &fields);
    // The first alert tells that it is at work: a probe of our own, made until it is seen.
    let start = Instant::now();
    while alerts.try_recv().is_err() {
        assert!(start.elapsed() < support::PATIENCE, "no alert at all");
        let _ = std::fs::File::open("/etc/shadow");
        std::thread::sleep(Duration::from_millis(200));
    }
    let (mut played, mut not_here, mut wrong) = (0, BTreeSet::new(), Vec::new());
    let mut late: Vec<(Case, Child)> = Vec::new();
    // Alerts of those that wait, which come while others are played.
    let (mut number, mut early) = (0, Vec::new());
    for test in &tests {
        for item in items(test) {
            number += 1;
            let mut case = match prepare(&filled(test, &item), &player, folder.path(), number) {
                Ok(case) => case,
                Err(reason) => {
                    not_here.insert(format!("{}: {reason}", test["name"]));
                    continue;
                }
            };
            played += 1;
            // Those that wait do so side by side.
            if case.command.get_envs().any(|(name, _)| name == "PLAY_SLEEP") {
                let child = case.command.spawn().unwrap();
                late.push((case, child));
                continue;
            }
            let status = case.command.status().unwrap();
            if !status.success() {
                wrong.push(format!("{} {item:?}: cannot be played: {status}", case.name));
                continue;
            }
            let end = Instant::now() + Duration::from_secs(15);
            let mut came = Vec::new();
            let found = loop {
                match alerts.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(alert) if is_it(&case, &alert) => break true,
                    Ok(alert) => {
                        came.push(format!("{} {}", alert["rule"], alert["output_fields"]));
                        if late.iter().any(|(late, _)| is_it(late, &alert)) {
                            early.push(alert);
                        }
                    }
                    Err(_) => break false,
                }
            };
            if !found {
                came.retain(|alert| alert.contains(&case.rule));
                wrong.push(format!("{} {item:?}: no alert; {came:?}", case.name));
            }
            drop(case.made);
        }
    }
    let mut waiting = Vec::new();
    for (case, mut child) in late {
        assert!(child.wait().unwrap().success(), "{}", case.name);
        if !early.iter().any(|alert| is_it(&case, alert)) {
            waiting.push(case);
        }
    }
    let end = Instant::now() + Duration::from_secs(15);
    while !waiting.is_empty()
        && let Ok(alert) = alerts.recv_timeout(end.saturating_duration_since(Instant::now()))
    {
        waiting.retain(|case| !is_it(case, &alert));
    }
    wrong.extend(waiting.iter().map(|case| format!("{} {:?}: no alert", case.name, case.fields)));
    for reason in &not_here {
        skip(test, reason);
    }
    assert!(wrong.is_empty(), "{} of {played} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(played > 100, "{played}");
}
