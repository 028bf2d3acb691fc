//! `nabe detect` live, on the cases of Falco's own live suite (`falco-e2e-evtgen_suite`): each process,
//! file and system call that a case describes is really made (`support/player.c`), on the host and in
//! containers of nabe, Docker and Podman, and the alert that it expects has to come from the stable,
//! incubating and sandbox rules.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::engines::Engines;
use support::suite::{self, Case, Scene};
use support::{NABE, Need, Run, command, directory, has, is_live, nabe_command, program, skip};

/// How long an alert may be under way.
const ALERT: Duration = Duration::from_secs(15);

/// `nabe detect`, live.
struct Detector(Child);

impl Drop for Detector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `command detect` with the stable, incubating and sandbox rules, these fields in every alert.
fn detector(mut command: Command, data: &Path, fields: &BTreeSet<String>) -> (Detector, Receiver<Value>) {
    command.args(["--json", "--all", "-o", "append_output[0].match.source=syscall"]);
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

/// The fields that cases ask for.
fn fields(tests: &[Value]) -> BTreeSet<String> {
    let all = tests.iter().map(|test| test["expectedOutcome"]["outputFields"].as_object().unwrap());
    all.flat_map(|fields| fields.keys().cloned()).collect()
}

/// Waits for the alert of a case; says what came of its rule instead.
fn awaited(
    alerts: &Receiver<Value>,
    case: &Case,
    mut is_it: impl FnMut(&Value) -> bool,
) -> Result<(), String> {
    let end = Instant::now() + ALERT;
    let mut came = Vec::new();
    loop {
        match alerts.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(alert) if is_it(&alert) => return Ok(()),
            Ok(alert) if alert["rule"] == *case.rule => came.push(alert["output_fields"].to_string()),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return Err(format!("no alert; {came:?}")),
            Err(RecvTimeoutError::Disconnected) => return Err("the detector has ended".into()),
        }
    }
}

#[test]
fn falcos_live_cases_on_the_host() {
    let test = "falcos_live_cases_on_the_host";
    let Some(data) = shared::data(test) else { return };
    if !is_live(test) {
        return;
    }
    let folder = directory();
    let player = suite::player(folder.path());
    let tests = suite::tests(&data);
    let (_detector, alerts) = detector(nabe_command(["detect"]), &data, &fields(&tests));
    // The first alert tells that it is at work: a probe of our own, made until it is seen.
    support::wait_for("a first alert", || {
        let _ = std::fs::File::open("/etc/shadow");
        alerts.recv_timeout(Duration::from_millis(200)).is_ok()
    });
    let scene = Scene::Host { player: &player, folder: folder.path() };
    let (mut played, mut not_here, mut wrong) = (0, BTreeSet::new(), Vec::new());
    let mut late: Vec<(Case, Child)> = Vec::new();
    // Alerts of those that wait, which come while others are played.
    let mut early = Vec::new();
    let cases = suite::cases(&tests).into_iter().filter(|(case, _)| !suite::is_contained(case));
    for (number, (case, words)) in cases.enumerate() {
        let case = match suite::prepare(&case, scene, number) {
            Ok(case) => case,
            Err(reason) => {
                not_here.insert(format!("{words}: {reason}"));
                continue;
            }
        };
        let mut command = Command::new(&player);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(case.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        played += 1;
        // Those that wait do so side by side.
        if case.environment.iter().any(|(name, _)| *name == "PLAY_SLEEP") {
            late.push((case, command.spawn().unwrap()));
            continue;
        }
        let status = command.status().unwrap();
        if !status.success() {
            wrong.push(format!("{words}: cannot be played: {status}"));
            continue;
        }
        let told = awaited(&alerts, &case, |alert| {
            if late.iter().any(|(late, _)| late.is_told_by(alert)) {
                early.push(alert.clone());
            }
            case.is_told_by(alert)
        });
        wrong.extend(told.err().map(|why| format!("{words}: {why}")));
        drop(case.made);
    }
    let mut waiting = Vec::new();
    for (case, mut child) in late {
        assert!(child.wait().unwrap().success(), "{}", case.name);
        if !early.iter().any(|alert| case.is_told_by(alert)) {
            waiting.push(case);
        }
    }
    let end = Instant::now() + ALERT;
    while !waiting.is_empty()
        && let Ok(alert) = alerts.recv_timeout(end.saturating_duration_since(Instant::now()))
    {
        waiting.retain(|case| !case.is_told_by(&alert));
    }
    wrong.extend(waiting.iter().map(|case| format!("{} {:?}: no alert", case.name, case.fields)));
    for reason in &not_here {
        skip(test, reason);
    }
    assert!(wrong.is_empty(), "{} of {played} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(played + not_here.len(), 575);
}

/// A privileged container with the player in it.
trait Container {
    /// `nabe detect` that knows the engine.
    fn detect(&self) -> Command;
    /// The player, to be run in it with this environment.
    fn player(&self, environment: &[(&'static str, String)]) -> Command;
}

/// Options that make a container privileged, in which files in memory can be executed.
fn privileged() -> Vec<&'static str> {
    let mut options = vec!["--tmpfs", "/dev/shm:rw,exec"];
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    let bounding = u64::from_str_radix(line.trim(), 16).unwrap();
    // What we do not have ourselves engines cannot give.
    match bounding >> 24 & 1 {
        0 => options.extend(["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"]),
        _ => options.push("--privileged"),
    }
    options
}

/// nabe's own, from an image with busybox.
struct Own {
    folder: tempfile::TempDir,
    name: String,
}

impl Own {
    fn start(test: &str) -> Option<Self> {
        if !has(test, &[Need::Program("busybox"), Need::Program("tar")]) {
            return None;
        }
        let folder = directory();
        let root = folder.path().join("rootfs");
        for place in ["bin", "tmp", "root", "dev"] {
            std::fs::create_dir_all(root.join(place)).unwrap();
        }
        support::copy_program(program("busybox")?, &root.join("bin/busybox"));
        std::os::unix::fs::symlink("busybox", root.join("bin/sleep")).unwrap();
        let archive = folder.path().join("rootfs.tar");
        let packed = command("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(packed.success());
        let player = suite::player(folder.path());
        let own = Self { folder, name: format!("nabe-play-{}", std::process::id()) };
        Run::of(own.nabe(["import", "-q"]).arg(&archive).arg("play:1")).ok();
        let mut run = own.nabe(["run", "-d", "--network", "none", "--name", &own.name]);
        run.args(privileged())
            .arg("-v")
            .arg(format!("{}:/player:ro", player.display()))
            .args(["play:1", "sleep", "100000"]);
        // What stays behind must not hold our pipes.
        let started = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).status();
        assert!(started.unwrap().success());
        Some(own)
    }

    fn nabe<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = command(NABE);
        command.env("NABE_ROOT", self.folder.path().join("store")).args(arguments);
        command
    }
}

impl Container for Own {
    fn detect(&self) -> Command {
        self.nabe(["detect"])
    }

    fn player(&self, environment: &[(&'static str, String)]) -> Command {
        let mut command = self.nabe(["exec"]);
        for (name, value) in environment {
            command.arg("-e").arg(format!("{name}={value}"));
        }
        command.arg(&self.name).arg("/player");
        command
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.nabe(["rm", "-f", &self.name]).stdout(Stdio::null()).status();
    }
}

/// One of Docker or Podman.
struct Engine {
    engines: Engines,
    client: &'static str,
    _folder: tempfile::TempDir,
}

impl Engine {
    fn start(test: &str, client: &'static str) -> Option<Self> {
        let folder = directory();
        let player = suite::player(folder.path());
        let engines = Engines::up(test, &[client])?;
        let volume = format!("{}:/player:ro", player.display());
        let run = format!("{client}-run");
        let mut arguments = vec![run.as_str(), "play", "--security-opt", "seccomp=unconfined", "-v", &volume];
        arguments.extend(privileged());
        engines.try_run(test, &arguments)?;
        Some(Self { engines, client, _folder: folder })
    }
}

impl Container for Engine {
    fn detect(&self) -> Command {
        self.engines.nabe(&["detect"])
    }

    fn player(&self, environment: &[(&'static str, String)]) -> Command {
        let mut command = self.engines.command(&[self.client, "exec"]);
        for (name, value) in environment {
            command.arg("-e").arg(format!("{name}={value}"));
        }
        command.args(["play", "/player"]);
        command
    }
}

/// Whether an alert knows of the container, its id and its name.
fn is_inside(alert: &Value) -> bool {
    ["container.id", "container.name"].iter().all(|key| {
        alert["output_fields"][key].as_str().is_some_and(|value| !["", "host", "<NA>"].contains(&value))
    })
}

/// Plays every case that is about a container in one.
fn play_in(test: &str, container: &impl Container, data: &Path) {
    let tests = suite::tests(data);
    let mut fields = fields(&tests);
    fields.extend(["container.id", "container.name", "container.privileged"].map(str::to_owned));
    let (_detector, alerts) = detector(container.detect(), data, &fields);
    let cases: Vec<_> =
        suite::cases(&tests).into_iter().filter(|(case, _)| suite::is_contained(case)).collect();
    assert_eq!(cases.len(), 61);
    // It is at work, and knows the container, when an alert from inside has the container's name.
    let (first, _) = cases.iter().find(|(case, _)| suite::text(case, "name").contains("shm_exe")).unwrap();
    let first = suite::prepare(first, Scene::Container, 0).unwrap();
    support::wait_for("an alert with a container's name", || {
        let played = Run::of(&mut container.player(&first.environment));
        assert_eq!(played.status, Some(0), "{}", played.stderr);
        let end = Instant::now() + Duration::from_secs(1);
        std::iter::from_fn(|| alerts.recv_timeout(end.saturating_duration_since(Instant::now())).ok())
            .any(|alert| first.is_told_by(&alert) && is_inside(&alert))
    });
    let mut wrong = Vec::new();
    for (number, (case, words)) in cases.iter().enumerate() {
        let case = match suite::prepare(case, Scene::Container, number + 1) {
            Ok(case) => case,
            Err(reason) => {
                wrong.push(format!("{words}: {reason}"));
                continue;
            }
        };
        let played = Run::of(&mut container.player(&case.environment));
        if played.status != Some(0) {
            wrong.push(format!("{words}: cannot be played: {:?} {}", played.status, played.stderr));
            continue;
        }
        let told = awaited(&alerts, &case, |alert| case.is_told_by(alert) && is_inside(alert));
        wrong.extend(told.err().map(|why| format!("{words}: {why}")));
    }
    eprintln!("{test}: {} cases played, {} without their alert", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn falcos_live_cases_in_a_container_of_nabe() {
    let test = "falcos_live_cases_in_a_container_of_nabe";
    let Some(data) = shared::data(test) else { return };
    if let Some(own) = is_live(test).then(|| Own::start(test)).flatten() {
        play_in(test, &own, &data);
    }
}

#[test]
fn falcos_live_cases_in_a_container_of_docker() {
    let test = "falcos_live_cases_in_a_container_of_docker";
    let Some(data) = shared::data(test) else { return };
    if let Some(engine) = is_live(test).then(|| Engine::start(test, "docker")).flatten() {
        play_in(test, &engine, &data);
    }
}

#[test]
fn falcos_live_cases_in_a_container_of_podman() {
    let test = "falcos_live_cases_in_a_container_of_podman";
    let Some(data) = shared::data(test) else { return };
    if let Some(engine) = is_live(test).then(|| Engine::start(test, "podman")).flatten() {
        play_in(test, &engine, &data);
    }
}
