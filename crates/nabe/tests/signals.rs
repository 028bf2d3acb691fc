//! Signals to `trace` and `record`: passed on to the command that is traced, or a new file begun.

mod support;

use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use support::{Running, is_live, nabe, nabe_command};

/// nabe in the background; what it says on stderr is kept.
fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Running {
    Running::start(nabe_command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()))
}

#[test]
fn the_traced_command_gets_the_signals() {
    if !is_live("the_traced_command_gets_the_signals") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let capture = scratch.path().join("c.scap");
    let capture = capture.to_str().unwrap();
    for (handled, signal, status) in [
        ("trap 'exit 9' TERM", Signal::TERM, 9),
        ("trap 'exit 7' INT", Signal::INT, 7),
        ("trap 'exit 5' USR1", Signal::USR1, 5),
        // Not handled: it ends the command.
        (":", Signal::TERM, 128 + 15),
        (":", Signal::HUP, 128 + 1),
    ] {
        for verb in [&["trace", "-q"][..], &["record", "-o", capture]] {
            let ready = scratch.path().join("ready");
            let script = format!("{handled}; : >{}; while :; do sleep 0.05; done", ready.display());
            let arguments = verb.iter().copied().chain(["--", "sh", "-c", &script]);
            let run = start(arguments);
            support::wait_for("the command", || ready.exists());
            run.signal(signal);
            let (_, said, code) = run.finish();
            assert_eq!(code, Some(status), "{verb:?} {handled} {signal:?}: {said}");
            std::fs::remove_file(&ready).unwrap();
        }
    }
    // What was recorded until then is whole.
    assert!(nabe(["replay", capture, "--count", "proc.name = sh"]).ok().text().trim() != "0");
}

/// Captures in a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned());
    // What is being written has another name beside its own.
    let mut files: Vec<String> = names.filter(|name| !name.ends_with(".part")).collect();
    files.sort();
    files
}

#[test]
fn sigusr1_begins_a_new_file() {
    if !is_live("sigusr1_begins_a_new_file") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let base = scratch.path().join("r.scap");
    let folder = scratch.path();
    let run = start(["record", "-o", base.to_str().unwrap(), "evt.type = openat"]);
    for number in 1..=3 {
        // A file begins with its first event.
        support::wait_for("a file", || {
            let _ = std::fs::read(&base);
            files(folder).len() == number
        });
        if number < 3 {
            run.signal(Signal::USR1);
        }
    }
    run.signal(Signal::INT);
    let (_, said, code) = run.finish();
    assert_eq!(code, Some(0), "{said}");
    let files = files(folder);
    assert_eq!(files.len(), 3, "{files:?}");
    for file in &files {
        // Each stands alone, and is complete.
        let run = nabe(["replay", file, "-q"]).ok();
        assert!(!run.stderr.contains(": cut at byte"), "{file}: {}", run.stderr);
    }
}
