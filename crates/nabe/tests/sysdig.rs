//! sysdig's own command line.

#[path = "../../scap/tests/shared/mod.rs"]
mod shared;
mod support;

use std::process::Command;

use support::{NABE, Run, nabe};

#[test]
fn flags_mean_what_they_mean_there() {
    let Some(data) = shared::data("flags_mean_what_they_mean_there") else { return };
    let capture = data.join("scap/falco-0.34.1/cat_write.scap");
    let capture = capture.to_str().unwrap();
    let filter = "evt.type=open and fd.name contains etc";
    let want = nabe(["replay", capture, filter]).ok();
    assert!(!want.stdout.is_empty());
    assert_eq!(
        nabe(["sysdig", "-r", capture, "evt.type=open", "and", "fd.name", "contains", "etc"]).ok().stdout,
        want.stdout
    );
    // A link by that name.
    let scratch = tempfile::tempdir().unwrap();
    let link = scratch.path().join("sysdig");
    std::os::unix::fs::symlink(NABE, &link).unwrap();
    assert_eq!(
        Run::of(Command::new(&link).env("TZ", "UTC").args(["-r", capture, filter])).ok().stdout,
        want.stdout
    );
    let copy = scratch.path().join("c.scap");
    let copy = copy.to_str().unwrap();
    assert!(nabe(["sysdig", "-r", capture, "-w", copy]).ok().stdout.is_empty());
    assert_eq!(nabe(["sysdig", "-r", copy]).ok().stdout, nabe(["replay", capture]).ok().stdout);
    assert_eq!(
        nabe(["sysdig", "-r", capture, "-pc", "-n5"]).ok().lines(),
        nabe(["replay", capture, "-p", "c", "-n", "5"]).ok().lines()
    );
}

#[test]
fn lists_are_printed_and_what_is_not_there_is_told() {
    assert!(nabe(["sysdig", "-L"]).ok().text().contains("< openat("));
    assert!(nabe(["sysdig", "-h"]).ok().text().starts_with("Usage: sysdig"));
    assert!(nabe(["sysdig", "-l"]).ok().text().contains("fd.name"));
    for wrong in [&["-H", "dummy"][..], &["--nope"], &["-r"]] {
        let run = nabe(["sysdig"].into_iter().chain(wrong.iter().copied()));
        assert_eq!(run.status, Some(2), "{wrong:?}: {}", run.stderr);
    }
}
