//! psc's command line, run unchanged: with `nabe ps` in its place, and with nabe under its name.

mod support;

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;

use support::{Run, Stage, nabe, nabe_command, ps, row_of, rows};

/// psc's variables that can be columns, with an expression about each, written for psc's types.
const COLUMNS: &[(&str, &str)] = &[
    ("process.name", "process.name != \"\""),
    ("process.pid", "process.pid > 0"),
    ("process.ppid", "process.ppid >= 0"),
    ("process.tid", "process.tid == process.pid"),
    ("process.euid", "process.euid >= 0"),
    ("process.ruid", "process.ruid >= 0"),
    ("process.suid", "process.suid >= 0"),
    ("process.user", "process.user != \"\""),
    ("process.cmdline", "process.cmdline.contains(\"stage\")"),
    ("process.state", "process.state == 1u"),
    ("process.startTime", "process.startTime > 0u"),
    ("process.utime", "process.utime >= 0u"),
    ("process.stime", "process.stime >= 0u"),
    ("process.vsz", "process.vsz > 4096u"),
    ("process.rss", "process.rss > 4096u"),
    ("process.capabilities.effective", "process.capabilities.effective >= 0u"),
    ("process.capabilities.permitted", "process.capabilities.permitted >= 0u"),
    ("process.capabilities.inheritable", "process.capabilities.inheritable >= 0u"),
    ("process.namespaces.uts", "process.namespaces.uts > 0"),
    ("process.namespaces.ipc", "process.namespaces.ipc > 0"),
    ("process.namespaces.mnt", "process.namespaces.mnt > 0"),
    ("process.namespaces.pid", "process.namespaces.pid > 0"),
    ("process.namespaces.net", "process.namespaces.net > 0"),
    ("process.namespaces.cgroup", "process.namespaces.cgroup > 0"),
    ("container.id", "container.id == \"\""),
    ("container.name", "container.name == \"\""),
    ("container.image", "container.image == \"\""),
    ("container.runtime", "container.runtime == \"\""),
    ("file.fd", "file.fd == 3"),
    ("file.fdType", "file.fdType == socket_type"),
    ("file.path", "file.path != \"x\""),
    ("file.family", "file.family == inet"),
    ("file.type", "file.type == tcp"),
    ("file.state", "file.state == listen"),
    ("file.srcPort", "file.srcPort > 0"),
    ("file.dstPort", "file.dstPort == 0"),
    ("file.srcAddr", "file.srcAddr == \"127.0.0.1\""),
    ("file.dstAddr", "file.dstAddr != \"127.0.0.1\""),
    ("file.unixPath", "!(file.unixPath == \"x\")"),
];

/// psc's constants with what its own table says they are.
const CONSTANTS: &[(&str, &str)] = &[
    ("docker", "\"docker\""),
    ("containerd", "\"containerd\""),
    ("crio", "\"cri-o\""),
    ("podman", "\"podman\""),
    ("tcp", "1u"),
    ("udp", "2u"),
    ("unix", "1u"),
    ("inet", "2u"),
    ("inet6", "10u"),
    ("established", "1u"),
    ("syn_sent", "2u"),
    ("syn_recv", "3u"),
    ("fin_wait1", "4u"),
    ("fin_wait2", "5u"),
    ("time_wait", "6u"),
    ("close", "7u"),
    ("close_wait", "8u"),
    ("last_ack", "9u"),
    ("listen", "10u"),
    ("closing", "11u"),
    ("file_type", "1u"),
    ("socket_type", "2u"),
];

/// What psc's language has beyond comparisons: each must be understood.
const LANGUAGE: &[&str] = &[
    "process.files.exists(f, f.path.startsWith(\"/etc\"))",
    "process.files.all(f, f.fd >= 0)",
    "process.files.exists_one(f, f.fd == 0)",
    "process.files.filter(f, f.fdType == socket_type).size() > 0",
    "size(process.files.map(f, f.path)) > 3",
    "size(process.files) > 500",
    "process.container.id != \"\" && process.container.name == \"x\"",
    "\"app\" in container.labels",
    "container.labels[\"app\"] == \"web\"",
    "has(container.labels.app) && container.labels.app == \"web\"",
    "process.pid in container.pids",
    "size(container.pids) > 1 && container.pids.exists(p, p == 1)",
    "socket.pid == 1 && socket.tid == 1 && socket.ppid == 0",
    "file.pid == 1 && file.tid == 1 && file.ppid == 0",
    "socket.state in [syn_sent, syn_recv, fin_wait1, fin_wait2]",
    "container.runtime in [docker, containerd, crio, podman]",
    "process.name == \"x\" ? process.pid > 1 : false",
    "process.name.matches(\"^ng.*\") && process.name.endsWith(\"x\")",
    "process.name.split(\"-\")[0] == \"a\"",
    "process.name.replace(\"a\", \"b\") == \"x\"",
    "process.name.lowerAscii() == \"x\" || process.name.upperAscii() == \"X\"",
    "process.name.substring(1) == \"x\" || process.name.substring(0, 2) == \"x\"",
    "process.name.indexOf(\"x\") >= 0 && process.name.lastIndexOf(\"x\") >= 0",
    "process.name.trim() == \"x\" && process.name.charAt(0) == \"x\"",
    "[\"a\", process.name].join(\"-\") == \"x\"",
    "\"%s\".format([process.name]) == \"x\"",
    "string(process.pid) == \"1\" && int(process.rss) > 1 && uint(process.pid) == 1u",
    "duration(\"2h\") > duration(\"1h\")",
    "process.pid * 2 + 1 - 3 > 5 && process.pid % 2 == 0 && process.pid / 2 > 1",
    "!(process.user == \"root\")",
    "size(process.name) > 3",
    "true",
    "",
];

/// nabe under psc's name.
fn psc(arguments: &[&str]) -> Run {
    let directory = support::directory();
    let link = directory.path().join("psc");
    symlink(support::NABE, &link).expect("a link");
    Run::of(support::command(&link).args(arguments))
}

#[test]
fn every_variable_constant_and_function_is_understood() {
    let known = COLUMNS.iter().map(|(_, expression)| (*expression).to_owned());
    let sockets = COLUMNS.iter().filter_map(|(_, expression)| {
        let socket = expression.replace("file.", "socket.");
        (socket != *expression).then_some(socket)
    });
    let constants = CONSTANTS.iter().map(|(name, value)| format!("{name} == {value}"));
    let language = LANGUAGE.iter().map(|&text| text.to_owned());
    for expression in known.chain(sockets).chain(constants).chain(language) {
        let run = ps([expression.as_str(), "--explain"]);
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{expression}");
    }
}

#[test]
fn constants_have_pscs_values() {
    for (name, value) in CONSTANTS {
        // Of the process that asks: the answer is all or nothing.
        let is = ps([&format!("process.pid == process.tid && {name} == {value}"), "--count"]).ok();
        assert_ne!(is.text().trim(), "0", "{name} == {value}");
        let is_not = ps([&format!("{name} != {value}"), "--count"]).ok();
        assert_eq!(is_not.text().trim(), "0", "{name} != {value}");
    }
    assert_eq!(CONSTANTS.len(), 22);
}

#[test]
fn every_column_is_filled() {
    let test = "every_column_is_filled";
    let Some(stage) = Stage::play(test, "inet", [""; 0]) else { return };
    let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), 39);
    let rows = rows([&format!("process.pid == {}", stage.pid), "-o", &names.join(",")]);
    let row = support::fd_row(&rows, stage.number("listener"));
    let keys: Vec<_> = row.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys.len(), names.len(), "{keys:?}");
    for name in names {
        assert!(keys.contains(&name), "{name}");
        let unset = ["file.dstAddr", "file.unixPath"].contains(&name);
        assert!(!row[name].is_null() || unset, "{name} is null");
    }
    assert_eq!(row["process.name"], "nabe-stage");
    assert_eq!(row["process.state"], "S");
    assert_eq!(row["file.fdType"], "socket");
    assert_eq!(row["file.family"], "inet");
    assert_eq!(row["file.type"], "tcp");
    assert_eq!(row["file.state"], "LISTEN");
    assert_eq!(row["file.srcPort"], stage.number("port"));
    assert_eq!(row["file.srcAddr"], "127.0.0.1");
}

#[test]
fn every_expression_finds_its_process() {
    let test = "every_expression_finds_its_process";
    let Some(stage) = Stage::play(test, "inet", [""; 0]) else { return };
    for (_, expression) in COLUMNS {
        let both = format!("process.pid == {} && ({expression})", stage.pid);
        assert_eq!(ps([&both, "--count"]).ok().text().trim(), "1", "{expression}");
    }
}

#[test]
fn presets_have_pscs_titles() {
    for (preset, titles) in [
        ("sockets", "PID NAME USER FAMILY TYPE STATE SRCADDR SRCPORT DSTADDR DSTPORT"),
        ("files", "PID NAME USER FD FDTYPE PATH"),
        ("containers", "PID NAME USER NAME IMAGE RUNTIME"),
        ("network", "PID NAME TYPE STATE SRCPORT DSTPORT"),
    ] {
        let run = ps(["process.pid == 2", "-o", preset]).ok();
        let first = run.lines().into_iter().next().unwrap_or_default();
        assert_eq!(first.split_whitespace().collect::<Vec<_>>().join(" "), titles, "{preset}");
    }
}

#[test]
fn people_read_sizes_times_and_names() {
    let test = "people_read_sizes_times_and_names";
    let Some(stage) = Stage::play(test, "stopped", ["8"]) else { return };
    let columns = "process.state,process.rss,process.startTime,process.capabilities.effective,process.user";
    let run = ps([&format!("process.pid == {}", stage.pid), "-o", columns, "--no-header"]).ok();
    let line = run.text();
    let cells: Vec<_> = line.split_whitespace().collect();
    let [state, rss, start, caps, user] = cells[..] else { panic!("{line:?}") };
    assert_eq!(state, "T");
    assert!(rss.ends_with('M') && rss[..rss.len() - 1].parse::<f64>().expect("a number") >= 8.0, "{rss}");
    let clock: Vec<_> = start.split(':').collect();
    assert!(clock.len() == 3 && clock.iter().all(|part| part.len() == 2), "{start}");
    assert!(caps.len() == 16 && u64::from_str_radix(caps, 16).is_ok(), "{caps}");
    let uid = support::status_of(stage.pid, "Uid");
    let is_root = uid.split_whitespace().nth(1) == Some("0");
    assert_eq!(user == "root", is_root, "{user} {uid}");
}

#[test]
fn the_default_table() {
    let test = "the_default_table";
    let Some(stage) = Stage::play(test, "sleep", ["some", "arguments"]) else { return };
    let run = ps([&format!("process.pid == {}", stage.pid)]).ok();
    let lines = run.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for title in ["USER", "PID", "PPID", "S", "%CPU", "VSZ", "RSS", "START", "CMDLINE"] {
        assert!(lines[0].split_whitespace().any(|word| word == title), "{title} in {}", lines[0]);
    }
    let cells: Vec<_> = lines[1].split_whitespace().collect();
    assert!(cells.contains(&stage.pid.to_string().as_str()) && cells.contains(&"nabe-stage"), "{cells:?}");
    assert!(lines[1].ends_with("nabe-stage sleep some arguments"), "{}", lines[1]);
}

#[test]
fn rows_come_in_order_of_pid() {
    let pids: Vec<_> = rows(["-o", "process.pid"]).iter().map(|row| row["process.pid"].as_u64()).collect();
    assert!(pids.is_sorted() && pids.len() > 2, "{pids:?}");
}

#[test]
fn trees_are_drawn_as_psc_draws_them() {
    let test = "trees_are_drawn_as_psc_draws_them";
    let Some(stage) = Stage::play(test, "traced", [""; 0]) else { return };
    for flag in ["-t", "--tree"] {
        let lines = ps([flag]).ok().lines();
        let at = |pid: u32| lines.iter().position(|line| line.contains(&format!("[{pid}] nabe-stage")));
        let (parent, child) = (at(stage.parent()).expect("the parent"), at(stage.pid).expect("the child"));
        assert_eq!(child, parent + 1, "{lines:#?}");
        assert!(lines[child].contains("└── ["), "{}", lines[child]);
        let depth = |line: &str| line.chars().position(|c| c == '[');
        assert_eq!(depth(&lines[child]), depth(&lines[parent]).map(|depth| depth + 4));
    }
    // psc lost the ancestors of a match; they are kept.
    let lines = ps(["-t", &format!("process.pid == {}", stage.pid)]).ok().lines();
    assert!(lines.iter().any(|line| line.contains(&format!("[{}]", stage.parent()))), "{lines:#?}");
    assert!(
        lines.last().is_some_and(|line| line.contains(&format!("[{}] nabe-stage", stage.pid))),
        "{lines:#?}"
    );
    assert!(lines[0].starts_with('['), "a root stands at the left: {lines:#?}");
}

#[test]
fn psc_as_a_link_understands_pscs_words() {
    let all = psc(&[]).ok();
    assert!(all.lines().len() > 2 && all.lines()[0].contains("CMDLINE"), "{}", all.text());
    assert!(psc(&["-t"]).ok().text().contains("── ["));
    assert!(psc(&["--tree"]).ok().text().contains("── ["));
    let sockets = psc(&["socket.family == unix", "-o", "sockets"]).ok();
    assert!(sockets.lines()[0].contains("SRCADDR"), "{}", sockets.text());
    let some = psc(&["process.pid == 2", "--output", "process.pid,process.name"]).ok();
    assert_eq!(some.lines()[1].split_whitespace().collect::<Vec<_>>(), ["2", "kthreadd"]);
    assert!(!psc(&["--no-color"]).ok().text().contains('\x1b'));
    assert!(psc(&["fields"]).ok().text().contains("process.capabilities.effective"));
    assert!(psc(&["version"]).ok().text().contains(env!("CARGO_PKG_VERSION")));
    assert!(psc(&["-h"]).ok().text().contains("--output"));
    assert!(psc(&["--help"]).ok().text().contains("--no-color"));
    assert!(psc(&["help"]).ok().text().contains("ps"));
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(psc(&["completion", shell]).ok().text().len() > 1_000, "{shell}");
    }
}

#[test]
fn nabe_ps_understands_pscs_verbs() {
    for (ours, theirs) in [
        (&["fields"][..], &["ps", "fields"][..]),
        (&["version"], &["ps", "version"]),
        (&["completion", "bash"], &["ps", "completion", "bash"]),
    ] {
        let (ours, theirs) = (nabe(ours).ok(), nabe(theirs).ok());
        assert!(!ours.stdout.is_empty());
        assert_eq!(ours.text(), theirs.text());
    }
    // A process name that is a verb is still an expression.
    assert_eq!(ps(["process.name == \"version\"", "--count"]).ok().text(), "0\n");
}

#[test]
fn nothing_that_matches_is_no_failure() {
    let run = psc(&["process.pid == 0"]).ok();
    assert_eq!((run.lines().len(), run.complaints().as_str()), (1, ""), "{run:?}");
    assert_eq!(ps(["false", "-o", "files", "--no-header"]).ok().text(), "");
}

#[test]
fn several_expressions_hold_together() {
    let count = |arguments: &[&str]| ps(arguments.iter().copied().chain(["--count"])).ok().text();
    assert_eq!(count(&["process.pid == 2", "process.name == \"kthreadd\""]), "1\n");
    assert_eq!(count(&["process.pid == 2", "process.pid == 3 || process.pid == 4"]), "0\n");
    assert_eq!(count(&["process.pid == 2", ""]), "1\n");
}

#[test]
fn files_without_a_filter_leave_out_who_has_none() {
    // psc printed every process with blank columns.
    let rows = rows(["-o", "files"]);
    assert!(
        rows.iter()
            .all(|row| row["file.fd"].is_u64() || row["file.fd"].is_null() && row["process.pid"].is_null())
    );
    assert!(rows.len() > 1);
}

#[test]
fn a_name_of_its_own_does_not_change_the_verb() {
    // argv[0] and not the file decides, as with every multi-call program.
    let mut command = nabe_command([""; 0]);
    command.arg0("/some/where/psc").args(["process.pid == 2", "-o", "process.name", "--no-header"]);
    assert_eq!(Run::of(&mut command).ok().text(), "kthreadd\n");
}

#[test]
fn user_is_the_effective_users_name() {
    let test = "user_is_the_effective_users_name";
    if !support::has(test, &[support::Need::Root, support::Need::Program("setpriv")]) {
        return;
    }
    let mut command = support::command("setpriv");
    command.args(["--reuid", "54321", "--clear-groups", "--"]).arg(support::stage()).arg("sleep");
    let Some(stage) = Stage::start(test, &mut command) else { return };
    let row = row_of(stage.pid, "process.user,process.euid,process.ruid");
    assert_eq!(row["process.user"], "54321");
    assert_eq!((row["process.euid"].as_u64(), row["process.ruid"].as_u64()), (Some(54321), Some(54321)));
}

#[test]
fn file_type_is_whatever_is_no_socket() {
    let test = "file_type_is_whatever_is_no_socket";
    let directory = support::directory();
    let Some(stage) = Stage::play(test, "files", [directory.path()]) else { return };
    let count = |expression: &str| {
        rows([&format!("process.pid == {} && {expression}", stage.pid), "-o", "file.fd"]).len()
    };
    // psc knows files and sockets, and nothing else.
    assert_eq!(count("file.fdType == file_type"), count("file.fdType != socket_type"));
    assert_eq!(count("file.fdType != file_type"), count("file.fdType == socket_type"));
    // We know more, by name.
    for (name, kind) in [("pipe_r", "pipe"), ("epoll", "epoll"), ("memfd", "memfd"), ("regular", "file")] {
        let expression = format!("file.fdType == \"{kind}\" && file.fd == {}", stage.number(name));
        assert_eq!(count(&expression), 1, "{expression}");
    }
}
