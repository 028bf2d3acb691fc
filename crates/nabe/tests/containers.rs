//! Containers of real engines, started privately by `tests/engines/engines.sh`: names, images, labels,
//! pods; engines that hang, are dead, or may not be asked.
//!
//! One test for each engine, so that a machine without one of them runs the others.

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::engines::Engines;
use support::{Cgroup, MuteEngine, Need, Run, Stage, has, nabe_command, ps};

const COLUMNS: &str = "process.pid,process.vpid,container.id,container.fullId,container.name,container.image,\
                       container.runtime,container.labels,container.pod,container.namespace,container.podUid,container.pids";
const IMAGE: &str = "nabe-test:1";

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field} in {row}"))
}

/// A container started by `run`, as nabe shows it.
#[track_caller]
fn shown(engines: &Engines, pid: &[&str]) -> Value {
    let mut arguments = vec!["pid"];
    arguments.extend(pid);
    let pid = engines.run(&arguments).parse().expect("a pid");
    let row = engines.row_of(pid, COLUMNS);
    assert_eq!(row["process.vpid"], 1, "{row}");
    assert!(row["container.pids"].as_array().is_some_and(|pids| pids.iter().any(|p| *p == pid)), "{row}");
    row
}

#[test]
fn docker() {
    let test = "containers::docker";
    if !has(test, &[Need::Root]) {
        return;
    }
    let Some(engines) = Engines::up(test, &["docker"]) else { return };
    let id = engines.run(&["docker-compose", "shop-web-1", "shop", "web"]);
    let row = shown(&engines, &["docker", "shop-web-1"]);
    assert_eq!((text(&row, "container.fullId"), text(&row, "container.id")), (id.as_str(), &id[..12]));
    assert_eq!((text(&row, "container.name"), text(&row, "container.runtime")), ("shop-web-1", "docker"));
    assert!(text(&row, "container.image").contains(IMAGE), "{row}");
    let labels = &row["container.labels"];
    assert_eq!(labels["com.docker.compose.project"], "shop", "{labels}");
    assert_eq!(labels["com.docker.compose.service"], "web", "{labels}");
    assert_eq!(labels["image.label"], "from the image", "{labels}");

    // A pod as a kubelet with dockershim makes it.
    engines.run(&["docker-pod", "app", "shop-6d4f", "prod", "11111111-2222-3333-4444-555555555555"]);
    let row = shown(&engines, &["docker", "k8s_app_shop-6d4f_prod_11111111-2222-3333-4444-555555555555_0"]);
    assert_eq!(
        (text(&row, "container.pod"), text(&row, "container.namespace")),
        ("shop-6d4f", "prod"),
        "{row}"
    );
    assert_eq!(text(&row, "container.podUid"), "11111111-2222-3333-4444-555555555555");

    // A cgroup of the user's own choosing.
    engines.run(&["docker-run", "elsewhere", "--cgroup-parent", "/nabe-elsewhere/deep"]);
    assert_eq!(text(&shown(&engines, &["docker", "elsewhere"]), "container.name"), "elsewhere");

    expressions(&engines);
    forty_one(&engines);
    hanging_and_dead(&engines, &id);
}

/// What selects the containers of this engine alone: other tests may have theirs.
fn ours(engines: &Engines) -> String {
    let ids = engines.run(&["docker", "ps", "-q", "--no-trunc"]);
    format!("container.fullId in {:?}", ids.lines().collect::<Vec<_>>())
}

/// psc's examples about containers, on the containers above.
fn expressions(engines: &Engines) {
    let ours = ours(engines);
    for (expression, expected) in [
        ("container.name == \"shop-web-1\"", 1),
        ("container.runtime == docker && container.image.contains(\"nabe-test\")", 3),
        ("container.labels[\"com.docker.compose.project\"] == \"shop\"", 1),
        ("\"com.docker.compose.service\" in container.labels", 1),
        ("container.labels[\"no-such\"] == \"x\"", 0),
        ("container.id != \"\" && process.name == \"sleep\"", 3),
        ("container.pod == \"shop-6d4f\" && container.namespace == \"prod\"", 1),
        ("process.container.name == \"elsewhere\"", 1),
        ("container.name == \"elsewhere\" && process.pid in container.pids", 1),
    ] {
        let rows = engines.rows(&[&ours, expression, "-o", "containers"]);
        assert_eq!(rows.len(), expected, "{expression}: {rows:#?}");
    }
    let nabe = |arguments: &[&str]| Run::of(&mut engines.nabe(arguments)).ok().text();
    let table = nabe(&["ps", "container.name == \"shop-web-1\""]);
    assert!(table.contains("(shop-web-1:") && table.contains(":docker)"), "{table}");
    let tree = nabe(&["ps", "-t", "container.name == \"shop-web-1\""]);
    assert!(tree.contains("shop-web-1") && tree.contains("sleep"), "{tree}");
    let pods = nabe(&["ps", "-o", "pods", "container.pod != \"\"", "--no-header"]);
    assert!(pods.contains("shop-6d4f") && pods.contains("prod"), "{pods}");
    let groups = engines.rows(&[&ours, "--group-by", "container.runtime"]);
    assert!(
        groups.iter().any(|group| group["container.runtime"] == "docker" && group["count"] == 3),
        "{groups:?}"
    );
    for target in ["shop-web-1", "shop-6d4f"] {
        let explained = Run::of(&mut engines.nabe(&["explain", target])).ok().text();
        assert!(explained.contains("sleep") && explained.contains(IMAGE), "{explained}");
    }
    let doctor = Run::of(&mut engines.nabe(&["doctor", "--json"])).ok().json();
    let found = doctor["engines"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|engine| engine["engine"] == "docker")
        .cloned();
    assert!(found.is_some_and(|engine| engine["ok"] == true && engine["version"].is_string()), "{doctor}");
}

/// Every one of many containers has its name.
fn forty_one(engines: &Engines) {
    std::thread::scope(|scope| {
        scope.spawn(|| engines.run(&["docker-many", "19", "left"]));
        scope.spawn(|| engines.run(&["docker-many", "19", "right"]));
    });
    let rows = engines.rows(&[
        &ours(engines),
        "container.runtime == docker && process.name == \"sleep\"",
        "-o",
        COLUMNS,
    ]);
    let names: BTreeSet<_> = rows.iter().map(|row| text(row, "container.name")).collect();
    assert_eq!((rows.len(), names.len()), (41, 41), "{names:?}");
    for row in &rows {
        let name = text(row, "container.name");
        let number = name.trim_start_matches(|c: char| c.is_alphabetic());
        if name.starts_with("left") || name.starts_with("right") {
            assert_eq!(row["container.labels"]["number"], number, "{row}");
        }
    }
}

/// The engine stands still, and then is gone: the answer is there all the same.
fn hanging_and_dead(engines: &Engines, id: &str) {
    for stop in ["dockerd-hang", "dockerd-kill"] {
        engines.run(&[stop]);
        let mut command =
            engines.nabe(&["ps", &format!("container.fullId == \"{id}\""), "--json", "-o", COLUMNS]);
        let run = Run::of(command.env("NABE_ENGINE_DEADLINE", "5s")).ok();
        let row = &run.json()[0];
        assert_eq!(
            (text(row, "container.name"), text(row, "container.runtime")),
            ("shop-web-1", "docker"),
            "{stop}"
        );
        // What is on disk needs nobody to be asked: nothing to say. If something is said, then once.
        assert!(run.notes().len() <= 1, "{stop}: {}", run.stderr);
        // Only from the engine, which does not answer: id and runtime by the cgroup, and a note.
        let command =
            engines.nabe(&["ps", &format!("container.fullId == \"{id}\""), "--json", "-o", COLUMNS]);
        let run = without_files(command, "300ms");
        let row = &run.json()[0];
        assert_eq!(
            (text(row, "container.id"), text(row, "container.runtime")),
            (&id[..12], "docker"),
            "{stop}"
        );
        assert!(run.notes().iter().any(|note| note.contains("docker")), "{stop}: {}", run.stderr);
        if stop == "dockerd-hang" {
            engines.run(&["dockerd-resume"]);
        }
    }
}

fn without_files(mut command: std::process::Command, deadline: &str) -> Run {
    let roots =
        ["docker", "containerd", "podman", "runc", "crun"].map(|engine| format!("{engine}=/nonexistent"));
    command.env("NABE_ENGINE_ROOTS", roots.join(",")).env("NABE_ENGINE_DEADLINE", deadline);
    Run::of(&mut command).ok()
}

#[test]
fn containerd() {
    let test = "containers::containerd";
    if !has(test, &[Need::Root]) {
        return;
    }
    let Some(engines) = Engines::up(test, &["containerd"]) else { return };
    let name = format!("svc-{}", std::process::id());
    let name = name.as_str();
    engines.run(&["ctr-run", "foo", name, "--label", "com.docker.compose.service=billing"]);
    let row = shown(&engines, &["ctr", name, "foo"]);
    assert_eq!(
        (text(&row, "container.fullId"), text(&row, "container.runtime")),
        (name, "containerd"),
        "{row}"
    );
    // psc's rule: compose's service names it.
    assert!(["billing", name].contains(&text(&row, "container.name")), "{row}");
    assert!(text(&row, "container.image").contains(IMAGE), "{row}");
    assert_eq!(row["container.labels"]["com.docker.compose.service"], "billing", "{row}");
    let ours = format!("container.runtime == containerd && container.fullId == {name:?}");
    let found = engines.rows(&[&ours, "-o", "containers"]);
    assert_eq!(found.len(), 1, "{found:?}");
    // A daemon that stands still.
    engines.run(&["containerd-hang"]);
    let pid: u32 = row["process.pid"].to_string().parse().expect("a pid");
    let command = engines.nabe(&["ps", &format!("process.pid == {pid}"), "--json", "-o", COLUMNS]);
    let run = without_files(command, "300ms");
    engines.run(&["containerd-resume"]);
    assert_eq!(text(&run.json()[0], "container.fullId"), name, "{}", run.stderr);
}

#[test]
fn podman() {
    let test = "containers::podman";
    if !has(test, &[Need::Root]) {
        return;
    }
    let Some(engines) = Engines::up(test, &["podman"]) else { return };
    let id = engines.run(&["podman-run", "pod-man", "--label", "team=blue"]);
    // No service: from its files.
    let row = shown(&engines, &["podman", "pod-man"]);
    assert_eq!(
        (text(&row, "container.fullId"), text(&row, "container.name")),
        (id.as_str(), "pod-man"),
        "{row}"
    );
    assert_eq!(text(&row, "container.runtime"), "podman");
    assert!(text(&row, "container.image").contains(IMAGE), "{row}");
    assert_eq!(row["container.labels"]["team"], "blue", "{row}");
    let ours = format!("container.runtime == podman && container.fullId == {id:?}");
    assert_eq!(engines.rows(&[&ours, "-o", "containers"]).len(), 1);
}

#[test]
fn plain_runtimes() {
    let test = "containers::plain_runtimes";
    if !has(test, &[Need::Root, Need::Program("runc"), Need::Program("busybox")]) {
        return;
    }
    let Some(engines) = Engines::up(test, &["runc-only"]) else { return };
    for runtime in ["runc", "crun"] {
        let name = format!("nabe-plain-{runtime}-{}", std::process::id());
        if engines
            .try_run(
                test,
                &[
                    &format!("{runtime}-run"),
                    &name,
                    &format!("/nabe-test-plain-{}/{name}", std::process::id()),
                ],
            )
            .is_none()
        {
            continue;
        }
        let row = shown(&engines, &[runtime, &name]);
        assert_eq!(
            (text(&row, "container.fullId"), text(&row, "container.runtime")),
            (name.as_str(), runtime),
            "{row}"
        );
        assert_eq!(text(&row, "container.name"), name, "{row}");
    }
}

/// A process that seems to be docker's, by its cgroup.
fn seeming(test: &str, name: &str) -> Option<(Cgroup, Stage, String)> {
    if !has(test, &[Need::Root]) {
        return None;
    }
    let id: String = format!("{:08x}", std::process::id()).chars().cycle().take(64).collect();
    let cgroup = Cgroup::make(test, &format!("nabe-test-{name}-{}/docker/{id}", std::process::id()))?;
    let stage = Stage::play(test, "sleep", [""; 0])?;
    cgroup.take(stage.pid);
    Some((cgroup, stage, id))
}

#[test]
fn a_mute_engine_costs_at_most_its_deadline() {
    let test = "a_mute_engine_costs_at_most_its_deadline";
    let Some((_cgroup, stage, id)) = seeming(test, "mute") else { return };
    let engine = MuteEngine::start();
    let deadline = Duration::from_secs(1);
    let expression = format!("process.pid == {}", stage.pid);
    let mut command = nabe_command(["ps", &expression, "--json", "-o", "container.id,container.name"]);
    command
        .env("NABE_ENGINE_SOCKETS", format!("docker={}", engine.socket().display()))
        .env("DOCKER_HOST", "");
    command.env("NABE_ENGINE_DEADLINE", "1s");
    let start = Instant::now();
    let run = Run::of(&mut command).ok();
    // A bound on behaviour, not a measurement: without a deadline it never ends. Generous, as the
    // machine may have other things to do.
    assert!(start.elapsed() < deadline + support::PATIENCE / 2, "{:?}", start.elapsed());
    assert_eq!(run.json()[0]["container.id"], id[..12]);
    let notes = run.notes();
    let about: Vec<_> = notes.iter().filter(|note| note.contains("docker")).collect();
    assert_eq!(about.len(), 1, "said once: {}", run.stderr);
    assert!(about[0].contains("did not answer"), "{about:?}");
    // Who asks nothing about containers does not wait for their engine.
    let mut command = nabe_command(["ps", &expression, "-o", "process.pid"]);
    command
        .env("NABE_ENGINE_SOCKETS", format!("docker={}", engine.socket().display()))
        .env("NABE_ENGINE_DEADLINE", "60s");
    assert_eq!(Run::of(&mut command).ok().stderr, "");
}

#[test]
fn an_engine_that_may_not_be_asked() {
    let test = "an_engine_that_may_not_be_asked";
    let Some((_cgroup, stage, id)) = seeming(test, "closed") else { return };
    if !has(test, &[Need::Program("setpriv")]) {
        return;
    }
    let engine = MuteEngine::start();
    std::fs::set_permissions(engine.socket(), std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let directory = support::directory();
    let program = directory.path().join("nabe");
    support::copy_program(support::NABE, &program);
    let mut command = support::command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&program);
    command.args([
        "ps",
        &format!("process.pid == {}", stage.pid),
        "--json",
        "-o",
        "container.id,container.runtime",
    ]);
    command.env("NABE_ENGINE_SOCKETS", format!("docker={}", engine.socket().display())).env("NABE_CACHE", "");
    let run = Run::of(command.current_dir("/")).ok();
    assert_eq!(run.json()[0]["container.id"], id[..12], "{}", run.stderr);
    assert_eq!(run.json()[0]["container.runtime"], "docker", "{}", run.stderr);
    let notes = run.notes();
    let about: Vec<_> = notes.iter().filter(|note| note.contains("docker")).collect();
    assert_eq!(about.len(), 1, "{}", run.stderr);
    assert!(about[0].to_lowercase().contains("permission"), "{about:?}");
}

#[test]
fn an_engine_that_is_not_there_is_no_error() {
    let test = "an_engine_that_is_not_there_is_no_error";
    let Some((_cgroup, stage, id)) = seeming(test, "gone") else { return };
    let expression = format!("process.pid == {}", stage.pid);
    let mut command = nabe_command(["ps", &expression, "--json", "-o", "container.id,container.labels"]);
    let run = Run::of(command.env("NABE_ENGINE_SOCKETS", "docker=/nonexistent/docker.sock")).ok();
    assert_eq!(run.json()[0]["container.id"], id[..12], "{}", run.stderr);
    assert!(run.notes().len() <= 1, "{}", run.stderr);
    assert_eq!(
        ps([&format!("{expression} && container.labels[\"a\"] == \"b\""), "--count"]).ok().text(),
        "0\n"
    );
}
