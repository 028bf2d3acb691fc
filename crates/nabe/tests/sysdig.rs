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

#[test]
fn ports_have_names_and_users_none_where_asked() {
    let Some(data) = shared::data("ports_have_names_and_users_none_where_asked") else { return };
    let capture = data.join("scap/libs/curl_google.scap");
    let capture = capture.to_str().unwrap();
    if !std::path::Path::new("/etc/services").exists() {
        return support::skip("ports_have_names_and_users_none_where_asked", "there is no /etc/services");
    }
    let format = "%fd.name %fd.sproto";
    let run = nabe(["sysdig", "-R", "-r", capture, "-p", format, "evt.type=connect and fd.sport=80"]).ok();
    assert!(run.text().contains(":http http"), "{}", run.text());
    // The same by number, and where users have no names.
    let run = nabe(["sysdig", "-r", capture, "-p", format, "evt.type=connect and fd.sport=80"]).ok();
    assert!(run.text().contains(":80 80"), "{}", run.text());
    let named = |flags: &[&str]| {
        let arguments = ["sysdig"].into_iter().chain(flags.iter().copied());
        nabe(arguments.chain(["-r", capture, "-p", "%user.name"])).ok().lines().len()
    };
    assert!(named(&[]) > 0);
    assert_eq!(named(&["-E"]), 0);
    if Command::new("sysdig").arg("--version").output().is_err() {
        return support::skip("ports_have_names_and_users_none_where_asked", "sysdig is not installed");
    }
    let theirs = Run::of(Command::new("sysdig").env("TZ", "UTC").args(["-R", "-r", capture])).ok();
    assert_eq!(nabe(["sysdig", "-R", "-r", capture]).ok().stdout, theirs.stdout);
}

#[test]
fn json_is_sysdigs() {
    let Some(data) = shared::data("json_is_sysdigs") else { return };
    if Command::new("sysdig").arg("--version").output().is_err() {
        return support::skip("json_is_sysdigs", "sysdig is not installed");
    }
    let capture = data.join("scap/libs/curl_google.scap");
    let capture = capture.to_str().unwrap();
    // Moments are numbers in JSON whatever -t says.
    let moments =
        "*%evt.num %evt.time %evt.datetime %evt.time.s %evt.time.iso8601 %evt.outputtime %evt.reltime";
    for arguments in [
        &["-j"][..],
        &["-j", "-t", "r"],
        &["-j", "-p", moments],
        &["-p", moments, "-t", "a"],
        &["-p", "%evt.abspath", "evt.type=unlinkat"],
    ] {
        let arguments: Vec<&str> = ["-r", capture].into_iter().chain(arguments.iter().copied()).collect();
        let theirs = Run::of(Command::new("sysdig").env("TZ", "UTC").args(&arguments)).ok();
        let own = nabe(["sysdig"].into_iter().chain(arguments.iter().copied())).ok();
        for (own, theirs) in own.lines().iter().zip(theirs.lines()) {
            assert_eq!(*own, theirs, "{arguments:?}");
        }
        assert_eq!(own.lines().len(), theirs.lines().len(), "{arguments:?}");
    }
}
