//! A known load (`support/workload.c`) under the probe: no event more or less than was made, and state
//! that is what `/proc` says, live and from the file of the same run.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{is_live, nabe};

/// The compiled load.
fn workload(folder: &Path) -> PathBuf {
    let program = folder.join("workload");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/workload.c");
    let status = Command::new("cc").args(["-O1", "-w", "-static", "-o"]).arg(&program).arg(source).status();
    assert!(status.expect("cc runs").success(), "workload.c does not compile");
    program
}

#[test]
fn every_call_is_one_event() {
    const TEST: &str = "every_call_is_one_event";
    if !is_live(TEST) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (program, told) = (workload(scratch.path()), scratch.path().join("told"));
    let file = scratch.path().join("run.scap");
    let filter = "proc.name = counted and evt.dir = <";
    let [program, said, file] = [&program, &told, &file].map(|path| path.to_str().unwrap());
    let live = nabe(["trace", "-w", file, "-p", "%evt.type", filter, "--", program, "count", said]).ok();
    let mut expected: BTreeMap<String, u64> = std::fs::read_to_string(&told)
        .unwrap()
        .lines()
        .map(|line| {
            let (name, number) = line.split_once(' ').unwrap();
            (name.to_owned(), number.parse().unwrap())
        })
        .collect();
    // The one that gives the name; the next one takes it away.
    expected.insert("prctl".to_owned(), 1);
    assert!(expected.len() > 45, "{expected:?}");
    for (run, source) in [(live, "live"), (nabe(["replay", file, "-p", "%evt.type", filter]).ok(), "replay")]
    {
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for name in run.lines() {
            *counted.entry(name).or_default() += 1;
        }
        assert_eq!(counted, expected, "{source}: {}", run.stderr);
    }
}

/// Whether a descriptor that is shown with this letter and name is what a link of /proc says.
fn is_same(target: &str, letter: &str, name: &str) -> bool {
    let of_kind = [
        ("pipe:", "p"),
        ("anon_inode:[eventfd]", "e"),
        ("anon_inode:[eventpoll]", "l"),
        ("anon_inode:inotify", "i"),
        ("anon_inode:[timerfd]", "t"),
    ];
    match of_kind.iter().find(|(start, _)| target.starts_with(start)) {
        Some((_, kind)) => letter == *kind,
        None if target.starts_with("socket:") => ["4", "6", "u", "n"].contains(&letter),
        None if target == "/memfd:note (deleted)" => (letter, name) == ("m", "memfd:note"),
        None => target == name && ["f", "d"].contains(&letter),
    }
}

#[test]
fn descriptors_and_directories_are_those_of_proc() {
    const TEST: &str = "descriptors_and_directories_are_those_of_proc";
    if !is_live(TEST) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (program, told) = (workload(scratch.path()), scratch.path().join("told"));
    let file = scratch.path().join("run.scap");
    let [program, said, file] = [&program, &told, &file].map(|path| path.to_str().unwrap());
    nabe(["record", "-o", file, "--", program, "state", said]).ok();
    let told = std::fs::read_to_string(&told).unwrap();
    people_are_those_of_proc(&told, file);
    let others = told.lines().filter(|line| line.ends_with(" another"));
    let others: Vec<&str> = others.filter_map(|line| line.split(' ').next()).collect();
    let told: Vec<&str> = told.lines().filter(|line| !line.contains(" ids ")).collect();
    let told = told.join("\n");
    let filter = "proc.name in (workload, another) and ((evt.type = fcntl and evt.arg.cmd = F_GETFL) or evt.type = getppid)";
    let format = "*%evt.type %thread.tid %fd.num %fd.typechar %proc.cwd %fd.name";
    let run = nabe(["replay", file, "-p", format, filter]).ok();
    let shown = run.lines();
    // Born by fork, executed after vfork, another user under another root and its child, a thread with a
    // table of its own, all of it, and what a thread executes.
    assert_eq!(told.lines().filter(|line| line.contains(" cwd ")).count(), 7, "{told}");
    assert_eq!(shown.len(), told.lines().count(), "{told}\n{}", run.text());
    for (told, shown) in told.lines().zip(&shown) {
        let [tid, number, target] = told.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
        let [call, thread, fd, letter, cwd, name] = shown.splitn(6, ' ').collect::<Vec<_>>()[..] else {
            panic!("{shown}");
        };
        assert_eq!(thread, tid, "{told}: {shown}");
        if number == "cwd" {
            assert_eq!(call, "getppid", "{shown}");
            assert_eq!(cwd.trim_end_matches('/'), target.trim_end_matches('/'), "{told}: {shown}");
            continue;
        }
        assert_eq!(fd, number, "{told}: {shown}");
        // Under another root /proc tells of what was opened before as it stands from there.
        let before = format!("/usr{target}");
        let rooted = others.contains(&tid) && is_same(&before, letter, name);
        assert!(rooted || is_same(target, letter, name), "{told}: {shown}");
    }
}

/// Users, groups, sessions and names, where `told` has what `/proc` said.
fn people_are_those_of_proc(told: &str, file: &str) {
    let format = "%thread.tid %user.uid %group.gid %proc.sid %proc.vpgid %proc.name";
    let run = nabe(["replay", file, "-p", format, "evt.type = getppid"]).ok();
    let told: Vec<String> =
        told.lines().filter(|line| line.contains(" ids ")).map(|line| line.replace(" ids ", " ")).collect();
    assert_eq!(told.len(), 7, "{told:?}");
    assert_eq!(run.lines(), told);
    assert_eq!(told.iter().filter(|line| line.ends_with(" another")).count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|line| line.contains(" 65532 65532 ")).count(), 2, "{told:?}");
}

#[test]
fn switches_and_faults_are_there_for_who_asks() {
    const TEST: &str = "switches_and_faults_are_there_for_who_asks";
    if !is_live(TEST) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("run.scap");
    let file = file.to_str().unwrap();
    let kinds = |verb: &[&str]| {
        // It sleeps, so it leaves its processor, and it touches pages.
        nabe(verb.iter().copied().chain(["--", "sleep", "0.1"])).ok();
        let count =
            |filter| nabe(["replay", file, "--count", filter]).ok().text().trim().parse().unwrap_or(0);
        let [switches, faults, naps]: [u64; 3] =
            ["evt.type = switch", "evt.type = page_fault", "evt.type in (nanosleep, clock_nanosleep)"]
                .map(count);
        assert!(naps > 0, "{verb:?}");
        (switches > 0, faults > 0)
    };
    // A file may be asked anything later, but for faults, which are made by everything.
    assert_eq!(kinds(&["record", "-o", file]), (true, false));
    assert_eq!(kinds(&["trace", "-q", "-w", file]), (true, false));
    assert_eq!(kinds(&["record", "--page-faults", "-o", file]), (true, true));
    // What is written beside a view is not what the view takes.
    assert_eq!(kinds(&["trace", "--view", "topprocs_net", "-w", file]), (true, false));
    assert_eq!(kinds(&["record", "-o", file, "evt.type in (nanosleep, clock_nanosleep)"]), (false, false));
    let whole = nabe(["sysdig", "-M", "1", "-w", file]).ok();
    let count = nabe(["replay", file, "--count", "evt.type = page_fault"]).ok();
    assert_eq!(count.text().trim(), "0", "{}", whole.stderr);
    assert_ne!(nabe(["replay", file, "--count", "evt.type = switch"]).ok().text().trim(), "0");
}
