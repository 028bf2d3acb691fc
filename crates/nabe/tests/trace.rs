//! `nabe trace` on the live kernel: commands and their exit codes, counts, live beside replay.

mod support;

use std::process::Command;

use support::{NABE, Run, nabe};

/// Whether live events can be had; otherwise a line says why not.
fn is_live(test: &str) -> bool {
    let run = nabe(["trace", "-q", "-M", "0.05"]);
    if run.status == Some(0) {
        return true;
    }
    eprintln!("SKIP {test}: {}", run.stderr.lines().next().unwrap_or("no live events"));
    false
}

#[test]
fn the_status_is_the_commands() {
    if !is_live("the_status_is_the_commands") {
        return;
    }
    for (command, status) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["/nonexistent/program"], 127),
        (&["/"], 126),
    ] {
        let run = nabe(["trace", "-q", "--"].into_iter().chain(command.iter().copied()));
        assert_eq!(run.status, Some(status), "{command:?}: {}", run.stderr);
    }
}

#[test]
fn a_command_is_seen_from_its_first_instruction_and_counted() {
    if !is_live("a_command_is_seen_from_its_first_instruction_and_counted") {
        return;
    }
    const FILES: usize = 23;
    let scratch = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..FILES)
        .map(|n| {
            let path = scratch.path().join(format!("f{n}"));
            std::fs::write(&path, b"").unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let filter =
        format!("evt.type = openat and evt.dir = < and fd.name startswith {}/f", scratch.path().display());
    let run = nabe(
        ["trace", "-p", "%fd.name", &filter, "--", "cat"].into_iter().chain(names.iter().map(String::as_str)),
    )
    .ok();
    let mut opened = run.lines();
    opened.sort();
    opened.dedup();
    assert_eq!((run.lines().len(), opened.len()), (FILES, FILES), "{}", run.text());
    let run = nabe(["trace", "-n", "1", "-p", "%evt.type %proc.name", "--", "cat", "/dev/null"]).ok();
    assert_eq!(run.text(), "execve cat\n");
    let run = nabe(["trace", "--style", "strace", "--", "cat", "/dev/null"]).ok();
    assert!(run.text().contains("] openat(AT_FDCWD, \"/dev/null\", O_RDONLY"), "{}", run.text());
    assert!(run.text().contains("+++ exited with 0 +++"), "{}", run.text());
}

#[test]
fn live_is_replay() {
    if !is_live("live_is_replay") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("l.scap");
    let file = file.to_str().unwrap();
    let format =
        "*%evt.rawtime %evt.cpu %proc.name %thread.tid %evt.dir %evt.type %evt.args %fd.name %user.uid";
    let live = nabe([
        "trace",
        "--all-state",
        "-w",
        file,
        "-p",
        format,
        "--",
        "sh",
        "-c",
        "ls / >/dev/null; cat /etc/hosts >/dev/null",
    ])
    .ok();
    let stored = nabe(["replay", file, "-p", format]).ok();
    let (live, stored) = (live.lines(), stored.lines());
    assert!(live.len() > 50, "{}", live.len());
    assert_eq!(live.len(), stored.len());
    for (live, stored) in live.iter().zip(&stored) {
        assert_eq!(live, stored);
    }
}

#[test]
fn the_end_tells_what_became_of_events() {
    if !is_live("the_end_tells_what_became_of_events") {
        return;
    }
    let run = nabe(["trace", "-q", "-M", "0.2"]).ok();
    let line = run.stderr.lines().find(|line| line.contains(" events seen, ")).expect("a summary").to_owned();
    let numbers: Vec<u64> =
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let [seen, delivered, filtered, lost, _] = numbers[..] else { panic!("{line}") };
    assert_eq!(seen, delivered + filtered + lost, "{line}");
}

#[test]
fn wrong_words_are_told() {
    for (arguments, status) in [
        (&["trace", "proc.nmae = 1"][..], 2),
        (&["trace", "-p", "%proc.nmae"], 2),
        (&["trace", "--follow"], 2),
        (&["trace", "--pid", "1", "--", "true"], 2),
        (&["record"], 2),
        (&["record", "-o", "/nonexistent/a.scap"], 1),
    ] {
        let run = Run::of(Command::new(NABE).args(arguments));
        assert_eq!(run.status, Some(status), "{arguments:?}: {}", run.stderr);
    }
}
