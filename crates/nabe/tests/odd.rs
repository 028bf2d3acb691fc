//! Odd processes: long command lines, threads, programs without a file, disguises, namespaces, and
//! processes that are gone before they are read.

mod support;

use support::{Need, Run, Stage, has, ps, row_of, rows};

fn reasons(pid: u32) -> Vec<String> {
    let row = row_of(pid, "process.suspicious");
    let list = row["process.suspicious"].as_array().unwrap_or_else(|| panic!("{row}"));
    list.iter().map(|reason| reason.as_str().expect("text").to_owned()).collect()
}

/// `--suspicious` shows it with the reason, in words.
#[track_caller]
fn is_shown_with(pid: u32, reason: &str) {
    let given = reasons(pid);
    assert!(given.iter().any(|known| known == reason), "{reason} in {given:?}");
    let run = ps(["--suspicious", &format!("process.pid == {pid}"), "--no-header"]).ok();
    assert!(run.text().contains(reason), "{reason} in {}", run.text());
}

#[test]
fn a_command_line_of_64_kib_is_whole() {
    let test = "a_command_line_of_64_kib_is_whole";
    let argument = |length: usize| "abcdefghij".repeat(length / 10);
    for arguments in
        [vec![argument(65_536)], vec![argument(10); 6_000], vec![argument(100_000), argument(100_000)]]
    {
        let Some(stage) = Stage::play(test, "sleep", &arguments) else { return };
        let row = row_of(stage.pid, "process.cmdline,process.args");
        let expected = support::proc_file(stage.pid, "cmdline");
        let expected = expected.trim_end_matches('\0');
        assert_eq!(row["process.cmdline"].as_str().map(str::len), Some(expected.len()));
        assert_eq!(row["process.cmdline"], expected.replace('\0', " "));
        let args: Vec<_> = expected.split('\0').collect();
        assert_eq!(row["process.args"], serde_json::json!(args));
        let count =
            ps([&format!("process.pid == {} && process.cmdline.endsWith(\"fghij\")", stage.pid), "--count"])
                .ok();
        assert_eq!(count.text(), "1\n");
    }
}

#[test]
fn arguments_may_be_empty_or_no_text() {
    let test = "arguments_may_be_empty_or_no_text";
    let arguments =
        [support::bytes(b""), support::bytes(b"\xff\xfe"), support::bytes(b" "), support::bytes(b"")];
    let Some(stage) = Stage::play(test, "sleep", arguments) else { return };
    let row = row_of(stage.pid, "process.args");
    let args = row["process.args"].as_array().expect("a list");
    assert_eq!(args[2..], ["", "\u{fffd}\u{fffd}", " ", ""].map(serde_json::Value::from), "{row}");
    assert_eq!(row["process.args#hex"][3], "fffe", "{row}");
}

#[test]
fn threads_are_rows_when_asked_for() {
    let test = "threads_are_rows_when_asked_for";
    let Some(stage) = Stage::play(test, "threads", ["5"]) else { return };
    let expression = format!("process.pid == {}", stage.pid);
    let columns = "process.pid,process.tid,process.name,process.threads,process.state";
    let alone = rows([&expression, "-o", columns]);
    assert_eq!(alone.len(), 1, "{alone:?}");
    assert_eq!((&alone[0]["process.threads"], &alone[0]["process.tid"]), (&6.into(), &stage.pid.into()));
    for flag in ["--threads", "-H"] {
        let all = rows([&expression, "-o", columns, flag]);
        assert_eq!(all.len(), 6, "{all:?}");
        let mut tids: Vec<_> = all.iter().map(|row| row["process.tid"].as_u64().expect("a tid")).collect();
        tids.sort_unstable();
        let mut tasks: Vec<u64> = std::fs::read_dir(format!("/proc/{}/task", stage.pid))
            .expect("tasks")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().parse().expect("a tid"))
            .collect();
        tasks.sort_unstable();
        assert_eq!(tids, tasks);
        let name = |tid: u64| {
            std::fs::read_to_string(format!("/proc/{}/task/{tid}/comm", stage.pid)).expect("a name")
        };
        for row in &all {
            assert_eq!(row["process.pid"], stage.pid);
            assert_eq!(row["process.name"], name(row["process.tid"].as_u64().expect("a tid")).trim_end());
        }
        let one = rows(["process.name == \"worker-3\"", &expression, "-o", columns, flag]);
        assert_eq!(one.len(), 1, "{one:?}");
    }
    // Without the flag a thread's name selects nothing.
    assert_eq!(ps(["process.name == \"worker-3\"", &expression, "--count"]).ok().text(), "0\n");
    let table = ps([&expression, "--threads"]).ok().lines();
    assert!(table.len() == 7 && table[0].contains("TID"), "{table:#?}");
}

#[test]
fn a_program_from_a_memfd() {
    let test = "a_program_from_a_memfd";
    let Some(stage) = Stage::play(test, "memfd", [""; 0]) else { return };
    let row = row_of(stage.pid, "process.exe,process.exeMemfd,process.exeDeleted,process.cmdline");
    assert_eq!(row["process.exe"], "/memfd:payload (deleted)");
    assert_eq!(
        (&row["process.exeMemfd"], &row["process.cmdline"]),
        (&true.into(), &"payload wait".into()),
        "{row}"
    );
    is_shown_with(stage.pid, "runs from a memfd");
}

#[test]
fn a_program_that_was_removed() {
    let test = "a_program_that_was_removed";
    let directory = support::directory();
    let Some(stage) = Stage::play(test, "deleted", [directory.path()]) else { return };
    let row = row_of(stage.pid, "process.exe,process.exeMemfd,process.exeDeleted");
    assert_eq!(row["process.exe"], format!("{}/gone (deleted)", directory.path().display()));
    assert_eq!(
        (&row["process.exeDeleted"], &row["process.exeMemfd"]),
        (&true.into(), &false.into()),
        "{row}"
    );
    is_shown_with(stage.pid, "executable deleted");
    // A name that only looks like it is no deletion.
    let program = directory.path().join("honest (deleted)");
    support::copy_program(support::stage(), &program);
    let Some(stage) = Stage::start(test, support::command(&program).arg("sleep")) else { return };
    let row = row_of(stage.pid, "process.exe,process.exeDeleted");
    assert_eq!(row["process.exe"], program.to_str().expect("ASCII"));
    assert_eq!(row["process.exeDeleted"], false, "{row}");
}

#[test]
fn a_traced_process() {
    let test = "a_traced_process";
    let Some(stage) = Stage::play(test, "traced", [""; 0]) else { return };
    assert_eq!(row_of(stage.pid, "process.tracer")["process.tracer"], stage.number("tracer"));
    is_shown_with(stage.pid, &format!("traced by {}", stage.number("tracer")));
    assert_eq!(row_of(stage.parent(), "process.tracer")["process.tracer"], 0);
}

#[test]
fn a_preloaded_library() {
    let test = "a_preloaded_library";
    let mut command = support::command(support::stage());
    command.arg("sleep").env("LD_PRELOAD", "/nonexistent/evil.so").stderr(std::process::Stdio::null());
    let Some(stage) = Stage::start(test, &mut command) else { return };
    assert_eq!(row_of(stage.pid, "process.ldPreload")["process.ldPreload"], "/nonexistent/evil.so");
    is_shown_with(stage.pid, "LD_PRELOAD=/nonexistent/evil.so");
}

#[test]
fn root_for_somebody_else() {
    let test = "root_for_somebody_else";
    if !has(test, &[Need::Root]) {
        return;
    }
    let Some(stage) = Stage::play(test, "setuid", [""; 0]) else { return };
    let row = row_of(stage.pid, "process.ruid,process.euid,process.suid,process.user");
    assert_eq!((&row["process.ruid"], &row["process.euid"]), (&65534.into(), &0.into()), "{row}");
    assert_eq!(row["process.user"], "root");
    is_shown_with(stage.pid, "root for user 65534");
}

#[test]
fn a_process_in_a_kernel_threads_dress() {
    let test = "a_process_in_a_kernel_threads_dress";
    let Some(stage) = Stage::play(test, "kthread", [""; 0]) else { return };
    let row = row_of(stage.pid, "process.impostor,process.kthread,process.cmdline");
    assert_eq!((&row["process.impostor"], &row["process.kthread"]), (&true.into(), &false.into()), "{row}");
    is_shown_with(stage.pid, "dressed as a kernel thread");
    assert_eq!(
        ps(["process.kthread && process.impostor", "--count"]).ok().text(),
        "0\n",
        "no real one is taken for it"
    );
}

#[test]
fn an_ordinary_process_is_not_suspicious() {
    let test = "an_ordinary_process_is_not_suspicious";
    let mut command = support::command("sh");
    command.args(["-c", "echo READY pid=$$; read line"]);
    let Some(stage) = Stage::start(test, &mut command) else { return };
    assert_eq!(reasons(stage.pid), Vec::<String>::new());
    assert_eq!(ps(["--suspicious", &format!("process.pid == {}", stage.pid), "--count"]).ok().text(), "0\n");
}

#[test]
fn nested_namespaces_have_both_pids() {
    let test = "nested_namespaces_have_both_pids";
    if !has(test, &[Need::Root]) {
        return;
    }
    let Some(stage) = Stage::play(test, "nested", [""; 0]) else { return };
    let row = row_of(
        stage.pid,
        "process.pid,process.vpid,process.vtid,process.namespaces.user,process.namespaces.pidOwn,process.hostNamespaces",
    );
    assert_eq!((&row["process.pid"], &row["process.vpid"]), (&stage.pid.into(), &1.into()), "{row}");
    for (field, name) in [("user", "user"), ("pidOwn", "pid")] {
        assert_eq!(row[format!("process.namespaces.{field}")], support::namespace_of(stage.pid, name));
        assert_ne!(row[format!("process.namespaces.{field}")], support::namespace_of(stage.parent(), "mnt"));
    }
    let host: Vec<_> = row["process.hostNamespaces"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|name| name.as_str())
        .collect();
    assert!(host.contains(&"net") && !host.contains(&"pid") && !host.contains(&"user"), "{host:?}");
    let by_vpid = rows([&format!("process.vpid == 1 && process.pid == {}", stage.pid), "-o", "process.pid"]);
    assert_eq!(by_vpid.len(), 1);
}

#[test]
fn process_1_is_shown_whoever_tells_of_it() {
    let row = row_of(1, "process.pid,process.name,process.ppid,process.cmdline,process.source");
    assert_eq!(row["process.name"], support::proc_file(1, "comm").trim_end());
    assert_eq!(
        row["process.cmdline"],
        support::proc_file(1, "cmdline").trim_end_matches('\0').replace('\0', " ")
    );
    assert_eq!(row["process.ppid"], 0);
    assert!(rows(["-o", "process.pid"]).iter().any(|row| row["process.pid"] == 1));
    assert!(ps(["-t"]).ok().text().contains("[1] "));
}

#[test]
fn processes_that_come_and_go_disturb_nothing() {
    let test = "processes_that_come_and_go_disturb_nothing";
    let Some(storm) = Stage::play(test, "storm", [""; 0]) else { return };
    let Some(steady) = Stage::play(test, "sleep", ["steady"]) else { return };
    for round in 0..30 {
        let arguments = match round % 6 {
            0 => vec!["-o", "process.pid,process.cmdline,process.exe,process.cwd,process.env"],
            1 => vec!["-o", "files"],
            2 => vec!["-t"],
            3 => vec!["--source", "proc", "-o", "process.pid,process.cmdline,process.fdCount"],
            4 => vec!["--source", "proc", "-o", "lsof"],
            _ => vec!["--threads", "-o", "process.tid,process.suspicious"],
        };
        let run = ps(arguments.clone()).ok();
        // Other tests have containers that nobody knows.
        let notes: Vec<_> = run.notes().into_iter().filter(|note| !note.contains("no name")).collect();
        // Without root there are others' processes that may not be read, storm or not.
        assert!(notes.is_empty() || !support::is_root(), "{arguments:?}: {}", run.stderr);
        let machine_readable = rows(["-o", "process.pid,process.ppid,process.state"]);
        assert!(machine_readable.iter().any(|row| row["process.pid"] == steady.pid), "{round}");
        assert!(machine_readable.iter().all(|row| row["process.state"].is_string()));
    }
    drop(storm);
}

#[test]
fn many_descriptors_are_counted_once() {
    let test = "many_descriptors_are_counted_once";
    let directory = support::directory();
    let Some(stage) = Stage::play(test, "files", [directory.path()]) else { return };
    let expression = format!("process.pid == {}", stage.pid);
    let count = row_of(stage.pid, "process.fdCount")["process.fdCount"].as_u64().expect("a count");
    let fds = std::fs::read_dir(format!("/proc/{}/fd", stage.pid)).expect("descriptors").count() as u64;
    assert_eq!(count, fds);
    assert_eq!(rows([&expression, "-o", "files"]).len() as u64, fds);
    assert_eq!(
        rows([&format!("{expression} && size(process.files) == {fds}"), "-o", "process.pid"]).len(),
        1
    );
    assert_eq!(rows([&format!("{expression} && file.path.endsWith(\"/regular\")"), "-o", "files"]).len(), 1);
}

#[test]
fn a_machine_without_bpf_says_what_is_missing() {
    let test = "a_machine_without_bpf_says_what_is_missing";
    if !has(test, &[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    // Root without its capabilities, which is what a container is.
    let without = |arguments: &[&str]| {
        let mut command = support::command("setpriv");
        command
            .args(["--bounding-set", "-all", "--inh-caps", "-all", "--"])
            .arg(support::NABE)
            .args(arguments);
        Run::of(command.env("NABE_CACHE", ""))
    };
    let run = without(&["ps", "process.pid == 2", "-o", "process.name,process.source", "--json"]).ok();
    assert_eq!(run.json()[0]["process.source"], "proc", "{}", run.stderr);
    assert!(run.notes().iter().any(|note| note.contains("CAP_BPF")), "{}", run.stderr);
    let refused = without(&["ps", "--source", "bpf"]);
    assert_eq!((refused.status, refused.text().as_str()), (Some(1), ""), "{}", refused.stderr);
    assert!(
        refused.stderr.starts_with("nabe: error: ") && refused.stderr.contains("CAP_BPF"),
        "{}",
        refused.stderr
    );
}
