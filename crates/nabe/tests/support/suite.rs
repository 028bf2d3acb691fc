//! Falco's suites: YAML as JSON, and the cases of the live suite (`falco-e2e-evtgen_suite`), ready to be
//! played by `player.c` on the host or in a container.

use std::path::{Path, PathBuf};
use std::process::Command;

use nabe_rules::yaml::{self, Kind, Node};
use serde_json::{Map, Value, json};

/// A YAML text as JSON: what Falco's suites are written in.
pub(crate) fn json_of(node: &Node) -> Value {
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

/// The 35 tests of the 20 files.
pub(crate) fn tests(data: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(data.join("expected/falco-e2e-evtgen_suite"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 20);
    let mut tests = Vec::new();
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
    tests
}

/// The tests with the values of each of their cases filled in, and those values in words.
pub(crate) fn cases(tests: &[Value]) -> Vec<(Value, String)> {
    let all = tests.iter().flat_map(|test| items(test).into_iter().map(move |item| (test, item)));
    all.map(|(test, item)| (filled(test, &item), format!("{} {item:?}", text(test, "name")))).collect()
}

/// Whether a case is about a container.
pub(crate) fn is_contained(test: &Value) -> bool {
    test["context"]["container"].is_object()
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
pub(crate) fn player(folder: &Path) -> PathBuf {
    let program = folder.join("player");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/player.c");
    let status = Command::new("cc").args(["-O1", "-static", "-o"]).arg(&program).arg(source).status();
    assert!(status.expect("cc runs").success(), "player.c does not compile");
    program
}

/// What a case made that was not there; it goes when the case is over.
#[derive(Default)]
pub(crate) struct Made(Vec<PathBuf>);

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
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) rule: String,
    pub(crate) priority: String,
    pub(crate) fields: Map<String, Value>,
    /// What `player.c` is told, in its environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) made: Made,
}

impl Case {
    /// Whether the alert is the one that the case expects.
    pub(crate) fn is_told_by(&self, alert: &Value) -> bool {
        let same = |(key, wanted): (&String, &Value)| {
            let found = &alert["output_fields"][key];
            // Numbers are written as texts in some of the files.
            let shown = found.to_string();
            found == wanted || wanted.as_str().is_some_and(|wanted| shown == wanted)
        };
        alert["rule"] == *self.rule
            && alert["source"] == "syscall"
            && alert["priority"]
                .as_str()
                .is_some_and(|priority| priority.eq_ignore_ascii_case(&self.priority))
            && self.fields.iter().all(same)
    }
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Where a case is played.
#[derive(Clone, Copy)]
pub(crate) enum Scene<'a> {
    /// On the host: with copies of the player in this folder.
    Host { player: &'a Path, folder: &'a Path },
    /// In a container, whose files are its own: the player makes what it needs.
    Container,
}

/// Prepares a case, or says why it cannot be played there.
pub(crate) fn prepare(test: &Value, scene: Scene<'_>, number: usize) -> Result<Case, String> {
    let mut made = Made::default();
    let resources = || test["resources"].as_array().into_iter().flatten();
    if let Scene::Host { .. } = scene {
        for resource in resources() {
            if text(resource, "type") == "fd" && text(resource, "subtype") == "file" {
                made.file(Path::new(text(resource, "filePath")));
            }
        }
    }
    let chain = chain(test, scene, number, &mut made)?;
    let mut step = String::new();
    for one in test["steps"].as_array().into_iter().flatten() {
        step = self::step(one, &mut made)?;
    }
    for resource in resources() {
        match text(resource, "type") {
            "clientServer" => {
                let (address, port) = text(resource, "address").rsplit_once(':').unwrap();
                let address = address.trim_matches(['[', ']']);
                step = match step.split_once('\x1f') {
                    Some((call @ ("dup2" | "dup3"), to)) => format!("{call}\x1f{address}\x1f{port}\x1f{to}"),
                    _ => format!("reach\x1f{address}\x1f{port}"),
                };
            }
            "process" if resource["fileLess"] == "true" => step = "fileless".into(),
            _ => {}
        }
    }
    let mut environment = vec![("PLAY_CHAIN", chain), ("PLAY_STEP", step)];
    if let Some(seconds) = text(test, "before").strip_prefix("sleep ") {
        environment.push(("PLAY_SLEEP", seconds.to_owned()));
    }
    if let Scene::Container = scene {
        environment.push(("PLAY_COPY", "1".into()));
    }
    let expected = &test["expectedOutcome"];
    Ok(Case {
        name: text(test, "name").to_owned(),
        rule: text(test, "rule").to_owned(),
        priority: text(expected, "priority").to_owned(),
        fields: expected["outputFields"].as_object().cloned().unwrap_or_default(),
        environment,
        made,
    })
}

/// The processes of a case, as the player reads them.
fn chain(test: &Value, scene: Scene<'_>, number: usize, made: &mut Made) -> Result<String, String> {
    let place = match scene {
        Scene::Host { folder, .. } => folder.join(number.to_string()),
        Scene::Container => format!("/play/{number}").into(),
    };
    if let Scene::Host { .. } = scene {
        std::fs::create_dir(&place).unwrap();
    }
    let mut chain = String::new();
    let unnamed = json!([{"name": "eg_player"}]);
    let processes = test["context"]["processes"].as_array().or(unnamed.as_array()).unwrap();
    for process in processes {
        let name = text(process, "name");
        let exe = process["exe"].as_str().map_or_else(|| place.join(name), PathBuf::from);
        if let Scene::Host { player, .. } = scene {
            // A link costs no room; another file system needs a copy.
            if std::fs::hard_link(player, &exe).is_err() {
                super::copy_program(player, &exe);
            }
            if process["exe"].is_string() {
                made.0.push(exe.clone());
            }
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
    Ok(chain)
}

/// A system call, as the player reads it.
fn step(one: &Value, made: &mut Made) -> Result<String, String> {
    let (call, args) = (text(one, "syscall"), &one["args"]);
    Ok(match call {
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
        "socket" if text(args, "domain") == "AF_PACKET" => "socket".into(),
        // The connection is a resource of the case.
        "dup2" | "dup3" => format!("{call}\x1f{}", text(args, "newFd")),
        other => return Err(format!("no way to make {other}")),
    })
}
