//! The verbs about images as a user runs them: several at once, killed in the middle, without a terminal.

mod support;

use std::path::Path;
use std::process::{Child, Stdio};

use support::registry::Registry;
use support::{Run, nabe_command};

/// Bytes of a file in the image, which has six.
const BYTES: usize = 2_000_000;

fn files(path: &Path) -> usize {
    std::fs::read_dir(path).map(Iterator::count).unwrap_or(0)
}

#[test]
fn several_pull_at_once() {
    let Some(registry) = Registry::start("images::several_pull_at_once", BYTES) else { return };
    let root = registry.path("root");
    let start = || registry.pull(&root).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<Child> = (0..5).map(|_| start()).collect();
    // Somebody cleans up meanwhile, again and again.
    for _ in 0..5 {
        registry.nabe(&root, &["prune"]).ok();
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(registry.nabe(&root, &["images", "-q"]).ok().lines().len(), 1);
    for part in ["tmp", "ingest", "leases"] {
        assert_eq!(files(&root.join("images").join(part)), 0, "{part}");
    }
    registry.check(&root, &registry.image());
}

#[test]
fn a_killed_pull_is_taken_up_again() {
    let Some(registry) = Registry::start("images::a_killed_pull_is_taken_up_again", BYTES) else { return };
    let root = registry.path("root");
    for milliseconds in [0, 5, 10, 20, 40, 60, 80, 120, 160, 240, 320, 480] {
        let mut child = registry.pull(&root).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        // Whatever is there is whole: this fails when a name leads to half an image.
        registry.nabe(&root, &["images", "--json"]).ok();
    }
    Run::of(&mut registry.pull(&root)).ok();
    registry.check(&root, &registry.image());
    registry.nabe(&root, &["prune"]).ok();
    for part in ["tmp", "ingest", "leases"] {
        assert_eq!(files(&root.join("images").join(part)), 0, "{part}");
    }
    registry.check(&root, &registry.image());
    registry.nabe(&root, &["rmi", &registry.image()]).ok();
    assert_eq!(files(&root.join("images/blobs/sha256")), 0);
    assert_eq!(files(&root.join("images/layers")), 0);
}

#[test]
fn what_is_printed() {
    let Some(registry) = Registry::start("images::what_is_printed", BYTES) else { return };
    let root = registry.path("root");
    let quiet = Run::of(registry.pull(&root).arg("-q")).ok();
    assert_eq!(quiet.stderr, "");
    let id = quiet.text().trim().to_owned();
    assert!(id.starts_with("sha256:"), "{id}");
    let again = Run::of(registry.pull(&root).arg("--json")).ok().json();
    assert_eq!((&again["pulled"]["upToDate"], &again["id"]), (&true.into(), &id.clone().into()));
    let lines = registry.nabe(&root, &["images"]).ok().lines();
    assert!(lines[0].starts_with("REPOSITORY"), "{lines:?}");
    assert!(lines[1].contains(&format!("{}/x", registry.host)) && lines[1].contains(&id[7..19]), "{lines:?}");
    let listed = registry.nabe(&root, &["images", "--json"]).ok().json();
    assert_eq!(listed[0]["names"][0], registry.image());
    let inspected = registry.nabe(&root, &["inspect-image", &id[7..12]]).ok().json();
    assert_eq!(inspected[0]["config"]["Cmd"][0], "/bin/sh");
    assert_eq!(inspected[0]["layers"].as_array().unwrap().len(), 1);
    let removed = registry.nabe(&root, &["rmi", "--json", &id[7..12]]).ok().json();
    assert_eq!(removed[0]["deleted"][0], id);
    assert_eq!(registry.nabe(&root, &["images", "--json"]).ok().json(), serde_json::json!([]));
}

#[test]
fn wrong_words_are_explained() {
    let root = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| Run::of(nabe_command(arguments).env("NABE_ROOT", root.path()));
    for (arguments, status, words) in [
        (&["pull", "A B"][..], 2, "is no image reference"),
        (&["pull", "--platform", "", "x"], 2, "platform"),
        (&["pull", "--registries-conf", "/nonexistent/r", "x"], 1, "cannot read /nonexistent/r"),
        (&["rmi", "nothing"], 1, "no such image: nothing"),
        (&["rmi", "-f", "nothing"], 0, ""),
        (&["inspect-image", "nothing"], 1, "no such image"),
        (&["import", "/nonexistent/x.tar", "x"], 1, "cannot open /nonexistent/x.tar"),
        (&["import", "/dev/null", "x"], 1, "empty"),
        (&["export", "nothing"], 1, "no such image"),
        (&["unpack", "x", "/"], 1, "not empty"),
        (&["unpack", "--uid-map", "x", "--gid-map", "y", "x", "/nonexistent/d"], 2, "id map"),
        (&["pull", "--timeout", "0", "x"], 2, "timeout"),
    ] {
        let run = run(arguments);
        assert_eq!(run.status, Some(status), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
    }
    // Nobody listens there, and without being told so nobody is asked without TLS.
    let closed = run(&["pull", "-q", "127.0.0.1:1/x"]);
    assert_eq!(closed.status, Some(1));
    assert!(closed.stderr.contains("cannot get manifest 127.0.0.1:1/x:latest"), "{}", closed.stderr);
}
