//! Who makes a container's cgroups, as far as a machine without systemd shows it: `tests/vm/systemd` has the rest.

mod support;

use std::path::Path;

use serde_json::json;
use support::bundle::{Stage, wait_until};
use support::skip;

const FOREVER: &str = "while :; do sleep 0.05; done";

#[test]
fn without_systemd_the_driver_says_so() {
    const TEST: &str = "runtime_cgroups::refused";
    let Some(mut stage) = Stage::of_nabe(TEST, "true") else { return };
    if Path::new("/run/systemd/system").is_dir() {
        return skip(TEST, "systemd runs here");
    }
    for option in ["--systemd-cgroup", "--systemd-cgroup=true", "--cgroup-manager=systemd"] {
        stage.write();
        let id = stage.id();
        let run = stage.call(&[option, "run", "--bundle", ".", &id]);
        assert_eq!(run.status, Some(125), "{option}: {}", run.stderr);
        assert!(run.stderr.contains("needs systemd, which does not run here"), "{}", run.stderr);
        assert!(run.stderr.contains("use the cgroupfs driver"), "{}", run.stderr);
        assert!(!stage.root().join(&id).exists());
    }
    // What is wrong with the path is said before that.
    for path in ["/a/b", "a:b", "a:b:c", "a.slice:b:c.slice"] {
        stage.config["linux"]["cgroupsPath"] = json!(path);
        stage.write();
        let run = stage.call(&["--systemd-cgroup", "run", "--bundle", ".", &stage.id()]);
        assert_eq!(run.status, Some(125), "{path}");
        assert!(run.stderr.contains("config.json: linux.cgroupsPath: "), "{path}: {}", run.stderr);
    }
    // The other way round.
    stage.config["linux"]["cgroupsPath"] = json!("a.slice:b:c");
    stage.write();
    let run = stage.call(&["run", "--bundle", ".", &stage.id()]);
    assert!(
        run.stderr.contains("slice:prefix:name, which needs the systemd cgroup driver"),
        "{}",
        run.stderr
    );
}

#[test]
fn without_a_cgroup_it_stays_in_its_callers() {
    let Some(mut stage) = Stage::of_nabe("runtime_cgroups::disabled", FOREVER) else { return };
    stage.config["linux"]["resources"]["pids"] = json!({"limit": 7});
    stage.write();
    let id = stage.id();
    let options = ["--cgroup-manager=disabled", "--log", "log"];
    stage.call_apart(&[options.as_slice(), &["create", "--bundle", ".", &id]].concat()).ok();
    let log = std::fs::read_to_string(stage.path().join("log")).expect("a log");
    assert!(log.contains("level=warning") && log.contains("linux.resources is left out"), "{log}");
    stage.call(&["start", &id]).ok();
    let pid = stage.state(&id)["pid"].as_i64().expect("a pid");
    let of = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    assert_eq!(of(&pid.to_string()), of("self"));
    assert_eq!(stage.call(&["ps", "--format", "json", &id]).ok().json(), json!([pid]));
    assert_eq!(stage.call(&["exec", &id, "echo", "hello"]).ok().text(), "hello\n");
    let paused = stage.call(&["pause", &id]);
    assert!(paused.stderr.contains("has no cgroup"), "{}", paused.stderr);
    stage.call(&["kill", "--all", &id, "KILL"]).ok();
    stage.await_status(&id, "stopped");
    stage.call(&["delete", &id]).ok();
}

#[test]
fn patterns_mean_every_container_that_they_match() {
    let Some(stage) = Stage::of_nabe("runtime_cgroups::regex", FOREVER) else { return };
    stage.write();
    let ids: Vec<String> = (0..3).map(|_| stage.detached()).collect();
    let (first, rest) = ids.split_first().expect("three");
    let pattern = format!("^({})$", rest.join("|"));
    // Running ones are told, and stay.
    let refused = stage.call(&["delete", "--regex", &pattern]);
    assert_eq!(refused.status, Some(1));
    assert_eq!(
        refused.stderr.matches("cannot delete a container that is running").count(),
        2,
        "{}",
        refused.stderr
    );
    stage.call(&["kill", "--regex", &pattern, "KILL"]).ok();
    for id in rest {
        stage.await_status(id, "stopped");
    }
    assert_eq!(stage.status(first), "running");
    stage.call(&["delete", "--regex", &pattern]).ok();
    wait_until("gone", || rest.iter().all(|id| !stage.root().join(id).exists()));
    assert_eq!(stage.status(first), "running");
    let wrong = stage.call(&["delete", "--regex", "("]);
    assert_eq!(wrong.status, Some(2));
    assert!(wrong.stderr.contains("no regular expression"), "{}", wrong.stderr);
    stage.call(&["delete", "--force", "--regex", &format!("^{first}$")]).ok();
    assert_eq!(stage.call(&["list", "--quiet"]).ok().text(), "");
}

/// As runc has it: an ordinary user in a user namespace is root there, and the state is his.
#[test]
fn the_owner_is_whose_the_state_is() {
    let Some(stage) = Stage::of_nabe("runtime_cgroups::owner", FOREVER) else { return };
    stage.write();
    let id = stage.detached();
    std::os::unix::fs::chown(stage.root().join(&id), Some(54_321), None).expect("given away");
    let listed = stage.call(&["list", "--format", "json"]).ok().json();
    assert_eq!(listed[0]["owner"], "54321");
}

#[test]
fn a_template_has_the_name_that_is_asked_for() {
    let Some(stage) = Stage::of_nabe("runtime_cgroups::spec", "true") else { return };
    for (name, place) in
        [("other.json", stage.path().join("other.json")), ("", stage.path().join("third.json"))]
    {
        let given = if name.is_empty() { place.display().to_string() } else { name.to_owned() };
        stage.call(&["spec", "--bundle", ".", "--file", &given]).ok();
        let text = std::fs::read(&place).expect("written");
        let config: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(config["process"]["args"], json!(["sh"]));
    }
}
