//! Settings of the runtime-spec that few bundles have, and states that few containers get into.

mod support;

use std::path::Path;

use serde_json::json;
use support::bundle::Stage;
use support::{NABE, Need, Run, command, has, skip};

const FOREVER: &str = "while :; do sleep 0.05; done";

#[test]
fn memory_is_where_the_policy_says() {
    const TEST: &str = "runtime_settings::memory";
    let Some(mut stage) = Stage::of_nabe(TEST, "cat /proc/self/numa_maps") else { return };
    if !Path::new("/proc/self/numa_maps").exists() {
        return skip(TEST, "the kernel knows no NUMA");
    }
    for (policy, word) in [
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), " bind:0"),
        (
            json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            " prefer=static:0",
        ),
        (json!({"mode": "MPOL_LOCAL"}), " local"),
    ] {
        stage.config["linux"]["memoryPolicy"] = policy;
        let text = stage.run().ok().text();
        assert!(text.lines().all(|line| line.contains(word)), "{word}: {text}");
    }
    // A policy that the kernel does not take is no container.
    stage.config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND"});
    let run = stage.run();
    assert_ne!(run.status, Some(0));
    assert!(run.stderr.contains("set the memory policy MPOL_BIND"), "{}", run.stderr);
}

/// Podman's `--group-add keep-groups` asks by crun's annotation.
#[test]
fn groups_are_kept_when_asked_for() {
    const TEST: &str = "runtime_settings::groups";
    if !has(TEST, &[Need::Program("setpriv")]) {
        return;
    }
    let Some(mut stage) = Stage::of_nabe(TEST, "grep Groups /proc/self/status") else { return };
    for (asked, groups) in [("0", "Groups:"), ("1", "Groups: 7 11")] {
        stage.config["annotations"] = json!({"run.oci.keep_original_groups": asked});
        stage.write();
        let mut run = command("setpriv");
        run.args(["--groups", "7,11", NABE, "--root"]).arg(stage.root());
        run.args(["run", "--bundle"]).arg(stage.path()).arg(stage.id());
        let text = Run::of(&mut run).ok().text();
        assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), groups);
    }
}

/// A killed process in a frozen cgroup does not die, wherever that is.
#[test]
fn what_was_frozen_elsewhere_can_be_deleted() {
    const TEST: &str = "runtime_settings::frozen";
    let Some(stage) = Stage::of_nabe(TEST, FOREVER) else { return };
    let freezer = Path::new("/sys/fs/cgroup/freezer");
    if !freezer.is_dir() {
        return skip(TEST, "no freezer of cgroup v1");
    }
    stage.write();
    let id = stage.detached();
    let pid = stage.state(&id)["pid"].to_string();
    let elsewhere = freezer.join(format!("nabe-test-{}-elsewhere", std::process::id()));
    std::fs::create_dir(&elsewhere).expect("a cgroup");
    std::fs::write(elsewhere.join("cgroup.procs"), &pid).expect("moved");
    std::fs::write(elsewhere.join("freezer.state"), "FROZEN").expect("frozen");
    let run = stage.call(&["delete", "--force", &id]);
    std::fs::write(elsewhere.join("freezer.state"), "THAWED").expect("thawed");
    std::fs::remove_dir(&elsewhere).expect("nobody is left there");
    run.ok();
}

/// In a user namespace no node can be made; the host's is bound, wherever it is there.
#[test]
fn devices_have_other_names_in_a_user_namespace() {
    let script = "stat -c %t:%T /dev/nothing; grep -c ' /dev/nothing .*nosuid.*noexec' /proc/self/mountinfo";
    let Some(mut stage) = Stage::of_nabe("runtime_settings::devices", script) else { return };
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    stage.config["linux"]["uidMappings"] = map.clone();
    stage.config["linux"]["gidMappings"] = map;
    let namespaces = stage.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.push(json!({"type": "user"}));
    stage.config["linux"]["devices"] = json!([{"path": "/dev/nothing", "type": "c", "major": 1, "minor": 3}]);
    assert_eq!(stage.run().ok().text().split_whitespace().collect::<Vec<_>>(), ["1:3", "1"]);
    // Not another one that has the name by chance.
    stage.config["linux"]["devices"] =
        json!([{"path": "/dev/null", "type": "c", "major": 250, "minor": 199}]);
    let run = stage.run();
    assert_ne!(run.status, Some(0));
    assert!(run.stderr.contains("make the device /dev/null"), "{}", run.stderr);
}

/// Podman of an ordinary user is root of a user namespace when it calls the runtime: /run is not its own.
#[test]
fn an_engine_of_an_ordinary_user_finds_its_states() {
    const TEST: &str = "runtime_settings::rootless";
    if !has(TEST, &["setpriv", "unshare"].map(Need::Program)) {
        return;
    }
    let Some(stage) = Stage::of_nabe(TEST, "") else { return };
    let home = stage.path().join("home");
    std::fs::create_dir(&home).expect("a directory");
    // The program may be built where only root may go.
    std::fs::copy(NABE, home.join("program")).expect("a copy of the program");
    Run::of(command("chown").arg("65534:65534").arg(&home)).ok();
    let nabe = |arguments: &[&str]| {
        let mut run = command("setpriv");
        run.args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "unshare",
            "-Urpmf",
            "./program",
        ]);
        run.args(arguments).current_dir(&home).env("XDG_RUNTIME_DIR", &home).env_remove("USER");
        Run::of(&mut run)
    };
    if nabe(&["features"]).status != Some(0) {
        return skip(TEST, "an ordinary user makes no user namespace here");
    }
    let mut config = stage.config.clone();
    config["process"]["args"] = json!(["sh", "-c", "id -u; exit 3"]);
    config["process"]["capabilities"] = json!({});
    config["mounts"] = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
    ]);
    config["linux"] = json!({"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}]});
    std::fs::write(home.join("config.json"), config.to_string()).expect("a config");
    let run = nabe(&["run", "--bundle", ".", "mine"]);
    assert_eq!((run.status, run.text().as_str()), (Some(3), "0\n"), "{}", run.stderr);
    assert!(home.join("nabe").is_dir(), "states are the user's own");
    // What engines show of a failure is its last line: it says all.
    let run = nabe(&["run", "--bundle", "nowhere", "mine"]);
    assert!(run.stderr.starts_with("nabe: error: ") && run.stderr.lines().count() == 1, "{}", run.stderr);
}
