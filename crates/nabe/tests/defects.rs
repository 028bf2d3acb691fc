//! The fourteen wrong answers of psc: here, each is right.

mod support;

use std::os::unix::fs::symlink;
use std::process::Command;

use support::{Cgroup, MuteEngine, Need, Run, Stage, fd_row, fds_of, has, nabe_command, ps, row_of, rows};

#[test]
fn defect_01_a_zombie_is_z() {
    let test = "defect_01_a_zombie_is_z";
    let Some(stage) = Stage::play(test, "zombie", [""; 0]) else { return };
    assert_eq!(support::stat_of(stage.pid)[0], "Z");
    let row = row_of(stage.pid, "process.state,process.cmdline,process.rss,process.ppid");
    assert_eq!((&row["process.state"], &row["process.cmdline"]), (&"Z".into(), &"".into()));
    assert_eq!((&row["process.rss"], &row["process.ppid"]), (&0.into(), &stage.parent().into()));
    for expression in ["process.state == \"Z\"", "process.state == 32"] {
        let both = format!("{expression} && process.pid == {}", stage.pid);
        assert_eq!(ps([&both, "--count"]).ok().text(), "1\n", "{expression}");
    }
}

#[test]
fn defect_02_idle_kernel_threads_are_i() {
    let test = "defect_02_idle_kernel_threads_are_i";
    let mut idle = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc") {
        let name = entry.expect("an entry").file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with("I 2 ")) {
            idle.push(pid);
        }
    }
    if idle.is_empty() {
        return support::skip(test, "no kernel threads are seen here");
    }
    let rows = rows(["process.ppid == 2", "-o", "process.pid,process.state,process.kthread"]);
    let state = |pid: u32| rows.iter().find(|row| row["process.pid"] == pid).map(|row| &row["process.state"]);
    // Kernel threads come and go, and a worker may be at work just now.
    let there: Vec<_> = idle.iter().filter_map(|pid| state(*pid)).collect();
    let still = there.iter().filter(|state| **state == "I").count();
    assert!(still * 10 >= there.len() * 9 && still > 0, "{there:?}");
    assert!(rows.iter().all(|row| row["process.kthread"] == true));
}

#[test]
fn defect_03_rss_is_exact() {
    let test = "defect_03_rss_is_exact";
    let stages: Vec<_> =
        ["1", "7", "30"].iter().filter_map(|mb| Stage::play(test, "stopped", [mb])).collect();
    for stage in &stages {
        let columns = "process.rss,process.rssAnon,process.rssFile,process.rssShmem,process.vsz,process.swap";
        let row = row_of(stage.pid, columns);
        for (field, name) in [
            ("process.rss", "VmRSS"),
            ("process.rssAnon", "RssAnon"),
            ("process.rssFile", "RssFile"),
            ("process.rssShmem", "RssShmem"),
            ("process.vsz", "VmSize"),
            ("process.swap", "VmSwap"),
        ] {
            let text = support::status_of(stage.pid, name);
            let kilobytes: u64 = text.trim_end_matches(" kB").parse().expect("a number");
            assert_eq!(row[field], kilobytes * 1024, "{field} of {}", stage.pid);
        }
    }
}

#[test]
fn defect_04_an_abstract_name_ends_where_its_address_ends() {
    let test = "defect_04_an_abstract_name_ends_where_its_address_ends";
    let directory = support::directory();
    let name = format!("nabe-test-{}", std::process::id());
    let arguments = [directory.path().as_os_str(), name.as_ref()];
    let Some(stage) = Stage::play(test, "unix", arguments) else { return };
    let rows = fds_of(stage.pid, "socket.unixPath,socket.state,socket.family");
    let row = fd_row(&rows, stage.number("abstract"));
    assert_eq!(row["socket.unixPath"], format!("@{name}"));
    let expression = format!("socket.unixPath == \"@{name}\" && socket.state == listen");
    assert_eq!(ps([&expression, "--count"]).ok().text(), "1\n");
}

#[test]
fn defect_05_long_paths_are_whole() {
    let test = "defect_05_long_paths_are_whole";
    let directory = support::directory();
    let lengths = [255_usize, 256, 257, 300, 1_000, 2_048, 4_000];
    let mut arguments = vec![directory.path().to_str().expect("ASCII").to_owned()];
    arguments.extend(lengths.iter().map(usize::to_string));
    let Some(stage) = Stage::play(test, "longpath", &arguments) else { return };
    let rows = fds_of(stage.pid, "file.path");
    for (index, length) in lengths.iter().enumerate() {
        let fd = stage.number(&format!("fd{}", index + 1));
        let path = fd_row(&rows, fd)["file.path"].as_str().expect("a path").to_owned();
        let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", stage.pid)).expect("a link");
        assert_eq!(path, link.to_string_lossy());
        assert_eq!(path.len(), *length);
        let expression = format!("process.pid == {} && file.path == \"{path}\"", stage.pid);
        assert_eq!(rows_of(&expression), 1, "{length}");
    }
}

fn rows_of(expression: &str) -> usize {
    rows([expression, "-o", "file.fd"]).len()
}

#[test]
fn defect_06_every_family_and_type_has_its_name() {
    let test = "defect_06_every_family_and_type_has_its_name";
    let columns = "socket.family,socket.type,socket.protocol,socket.state,socket.srcPort,socket.unixPath";
    if has(test, &[Need::Root])
        && let Some(stage) = Stage::play(test, "families", [""; 0])
    {
        let rows = fds_of(stage.pid, columns);
        for (fd, family, kind, protocol) in [
            ("netlink", "netlink", "route", "route"),
            ("packet", "packet", "raw", "3"),
            ("raw", "inet", "raw", "icmp"),
            ("raw6", "inet6", "raw", "icmp6"),
        ] {
            let row = fd_row(&rows, stage.number(fd));
            assert_eq!(row["socket.family"], family, "{row}");
            assert_eq!(row["socket.type"], kind, "{row}");
            let seen = row["socket.protocol"].as_str().map(str::to_owned);
            assert_eq!(seen.unwrap_or_else(|| row["socket.protocol"].to_string()), protocol, "{row}");
            assert_eq!(row["socket.state"], "UNCONN", "{row}");
            // A raw socket's protocol is no port.
            assert!(row["socket.srcPort"].is_null() || row["socket.srcPort"] == 0, "{row}");
        }
    }
    let directory = support::directory();
    let arguments = [directory.path().as_os_str(), "nabe-test-families".as_ref()];
    let Some(stage) = Stage::play(test, "unix", arguments) else { return };
    let rows = fds_of(stage.pid, columns);
    for (fd, kind, state) in [
        ("listener", "stream", "LISTEN"),
        ("client", "stream", "ESTAB"),
        ("dgram", "dgram", "UNCONN"),
        ("seqpacket", "seqpacket", "UNCONN"),
    ] {
        let row = fd_row(&rows, stage.number(fd));
        assert_eq!((&row["socket.family"], &row["socket.type"]), (&"unix".into(), &kind.into()), "{row}");
        assert_eq!(row["socket.state"], state, "{row}");
        assert!(row["socket.srcPort"].is_null(), "{row}");
    }
}

#[test]
fn defect_07_inside_a_pid_namespace() {
    let test = "defect_07_inside_a_pid_namespace";
    if !has(test, &[Need::Root, Need::Program("unshare")]) {
        return;
    }
    let mut command = support::command("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "sh", "-c"]);
    command.arg("sleep 987654 & \"$0\" ps --json -o process.pid,process.ppid,process.vpid,process.name,process.cmdline; kill $!");
    command.arg(support::NABE);
    let run = Run::of(&mut command).ok();
    let found = run.json();
    let rows = found.as_array().expect("an array");
    let by_name = |name: &str| {
        let mut found = rows.iter().filter(|row| row["process.name"] == name);
        let row = found.next().unwrap_or_else(|| panic!("no {name} in {rows:?}\n{}", run.stderr));
        assert!(found.next().is_none(), "{name} twice");
        row.clone()
    };
    let (shell, sleep, own) = (by_name("sh"), by_name("sleep"), by_name("nabe"));
    assert_eq!(shell["process.pid"], 1, "{shell}");
    assert_eq!(sleep["process.cmdline"], "sleep 987654");
    assert_eq!(sleep["process.ppid"], 1);
    assert_eq!(sleep["process.vpid"], sleep["process.pid"]);
    assert!(own["process.cmdline"].as_str().is_some_and(|line| line.contains("ps --json")), "{own}");
    assert_eq!(rows.len(), 3, "only its own namespace: {rows:?}");
}

#[test]
fn defect_08_a_hidden_process_is_shown_in_full_and_named() {
    let test = "defect_08_a_hidden_process_is_shown_in_full_and_named";
    if !has(test, &[Need::Root, Need::Bpf, Need::Program("unshare")]) {
        return;
    }
    let Some(stage) = Stage::play(test, "sleep", ["secret", "arguments"]) else { return };
    let empty = support::directory();
    // The mount is the private one of a namespace that ends with the command.
    let hidden = |arguments: &[&str]| {
        let mut command = support::command("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$1\" /proc/$2 && shift 2 && exec \"$0\" \"$@\"",
        ]);
        command.arg(support::NABE).arg(empty.path()).arg(stage.pid.to_string()).args(arguments);
        Run::of(&mut command).ok()
    };
    let expression = format!("process.pid == {}", stage.pid);
    let columns = "process.name,process.cmdline,process.ppid,process.exe,process.rss,process.user";
    let found = hidden(&["ps", &expression, "--json", "-o", columns]).json();
    let row = &found[0];
    assert_eq!(row["process.cmdline"], format!("{} sleep secret arguments", support::stage().display()));
    assert_eq!(row["process.name"], "nabe-stage");
    assert_eq!(row["process.exe"], support::stage().display().to_string());
    assert_eq!(row["process.ppid"], std::process::id());
    assert!(row["process.rss"].as_u64().is_some_and(|bytes| bytes > 4096), "{row}");

    let run = hidden(&["ps", "--hidden", "--json"]);
    let findings = run.json();
    let all = findings.as_array().expect("an array");
    let finding = all.iter().find(|finding| finding["pid"] == stage.pid);
    let finding = finding.unwrap_or_else(|| panic!("not found: {all:?}\n{}", run.stderr));
    assert_eq!(finding["hides"], true, "{finding}");
    assert!(finding["text"].as_str().is_some_and(|text| text.contains("mount")), "{finding}");
    let table = hidden(&["ps", "--hidden"]);
    assert!(table.text().contains(&stage.pid.to_string()), "{}", table.text());
    // Without the mount nothing hides.
    let calm = ps(["--hidden", "--json"]).ok().json();
    assert!(calm.as_array().expect("an array").iter().all(|f| f["pid"] != stage.pid), "{calm}");
}

/// A container that only its cgroup and its engine's files tell of.
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn defect_09_a_mute_engine_delays_nothing_beyond_its_deadline() {
    let test = "defect_09_a_mute_engine_delays_nothing_beyond_its_deadline";
    if !has(test, &[Need::Root]) {
        return;
    }
    let engine = MuteEngine::start();
    let id = ID.replace('0', "9");
    let Some(cgroup) = Cgroup::make(test, &format!("nabe-test-docker-{}/docker/{id}", std::process::id()))
    else {
        return;
    };
    let Some(stage) = Stage::play(test, "sleep", [""; 0]) else { return };
    cgroup.take(stage.pid);
    let expression = format!("process.pid == {}", stage.pid);
    let columns = "container.id,container.name,container.runtime";
    let mut command =
        nabe_command(["ps", &expression, "--json", "-o", columns, "--engine-deadline", "200ms"]);
    command.arg("--engine-socket").arg(format!("docker={}", engine.socket().display()));
    command.arg("--engine-root").arg("docker=/nonexistent");
    let run = Run::of(&mut command).ok();
    let row = &run.json()[0];
    assert_eq!(row["container.id"], id[..12], "{row}");
    assert_eq!(row["container.runtime"], "docker", "{row}");
    let notes = run.notes();
    assert_eq!(notes.len(), 1, "{}", run.stderr);
    assert!(notes[0].contains("docker"), "{notes:?}");
    // Its files name it without the engine.
    let root = support::directory();
    let home = root.path().join("containers").join(&id);
    std::fs::create_dir_all(&home).expect("a directory");
    let text = format!(
        r#"{{"ID":"{id}","Name":"/shop","State":{{"Running":true,"Pid":{}}},"Config":{{"Image":"shop:1","Labels":{{"a":"b"}}}}}}"#,
        stage.pid
    );
    std::fs::write(home.join("config.v2.json"), text).expect("written");
    let mut command = nabe_command(["ps", &expression, "--json", "-o", "container.name,container.image"]);
    command.arg("--engine-socket").arg(format!("docker={}", engine.socket().display()));
    command.arg("--engine-root").arg(format!("docker={}", root.path().display()));
    command.args(["--engine-deadline", "200ms"]);
    let row = &Run::of(&mut command).ok().json()[0];
    assert_eq!((&row["container.name"], &row["container.image"]), (&"shop".into(), &"shop:1".into()));
}

#[test]
fn defect_10_a_container_of_plain_runc_has_its_id() {
    let test = "defect_10_a_container_of_plain_runc_has_its_id";
    if !has(test, &[Need::Root, Need::Program("runc"), Need::Program("busybox")]) {
        return;
    }
    let Some(engines) = support::engines::Engines::up(test, &["runc-only"]) else { return };
    let name = format!("nabe-test-runc-{}", std::process::id());
    let Some(_) =
        engines.try_run(test, &["runc-run", &name, &format!("/nabe-test-10-{}/{name}", std::process::id())])
    else {
        return;
    };
    let pid: u32 = engines.run(&["pid", "runc", &name]).parse().expect("a pid");
    let row =
        engines.row_of(pid, "container.id,container.fullId,container.runtime,container.name,process.cgroup");
    assert_eq!(row["container.fullId"], name, "{row}");
    assert_eq!(row["container.runtime"], "runc", "{row}");
    assert!(row["process.cgroup"].as_str().is_some_and(|path| path.ends_with(&name)), "{row}");
}

#[test]
fn defect_11_a_missing_label_is_false() {
    let before = ps(["--count"]).ok();
    assert_ne!(before.text().trim(), "0");
    for expression in ["container.labels[\"no-such-label\"] == \"x\"", "container.labels.nope == \"x\""] {
        let run = ps([expression, "--count"]).ok();
        assert_eq!((run.text().as_str(), run.complaints().as_str()), ("0\n", ""), "{expression}");
    }
    let run =
        ps(["process.pid == 2 && (process.pid == 2 || container.labels[\"x\"] == \"y\")", "--count"]).ok();
    assert_eq!(run.text(), "1\n");
}

#[test]
fn defect_12_signed_and_unsigned_compare() {
    let test = "defect_12_signed_and_unsigned_compare";
    let Some(stage) = Stage::play(test, "stopped", ["4"]) else { return };
    for (expression, expected) in [
        ("process.rss > 1000000", "1\n"),
        ("process.rss > 1000000u", "1\n"),
        ("process.rss > 1MB", "1\n"),
        ("process.rss < 1000000", "0\n"),
        ("process.rss > -1", "1\n"),
        ("process.pid > 1u", "1\n"),
        ("process.rss > 3.5", "1\n"),
        ("process.rss == process.rss + 0", "1\n"),
        ("process.rss in [1, 2, 3]", "0\n"),
    ] {
        let both = format!("process.pid == {} && {expression}", stage.pid);
        assert_eq!(ps([&both, "--count"]).ok().text(), expected, "{expression}");
    }
}

#[test]
fn defect_13_addresses_compare_with_text_and_networks() {
    let test = "defect_13_addresses_compare_with_text_and_networks";
    let Some(stage) = Stage::play(test, "inet", [""; 0]) else { return };
    for (expression, fds) in [
        ("socket.srcAddr == \"127.0.0.1\"", 5),
        ("socket.srcAddr != \"127.0.0.1\"", 1),
        ("socket.srcAddr == \"::1\"", 1),
        ("socket.srcAddr == ip(\"127.0.0.1\")", 5),
        ("cidr(\"127.0.0.0/8\").contains(socket.srcAddr)", 5),
        ("socket.srcAddr in cidr(\"127.0.0.0/8\")", 5),
        ("socket.srcAddr in cidr(\"10.0.0.0/8\")", 0),
        ("socket.srcAddr in cidr(\"::1/128\")", 1),
        ("socket.dstAddr == \"127.0.0.1\"", 3),
        ("socket.srcAddr in [\"127.0.0.1\", \"::1\"]", 6),
        ("socket.dstPort == 0", 3),
    ] {
        let both = format!("process.pid == {} && {expression}", stage.pid);
        let found = rows([both.as_str(), "-o", "sockets"]);
        assert_eq!(found.len(), fds, "{expression}: {found:#?}");
    }
}

#[test]
fn defect_14_without_root_the_same_schema_and_a_note() {
    let test = "defect_14_without_root_the_same_schema_and_a_note";
    if !has(test, &[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let Some(stage) = Stage::play(test, "sleep", [""; 0]) else { return };
    // Where nobody may run it: the build directory need not be open to everyone.
    let directory = support::directory();
    let program = directory.path().join("nabe");
    support::copy_program(support::NABE, &program);
    let nobody = |arguments: &[&str]| {
        let mut command = support::command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&program);
        command.current_dir("/").env("NABE_CACHE", "").args(arguments);
        Run::of(&mut command).ok()
    };
    let expression = format!("process.pid == {}", stage.pid);
    let columns =
        "process.pid,process.name,process.user,process.cmdline,process.rss,process.source,process.exe";
    let run = nobody(&["ps", &expression, "--json", "-o", columns]);
    let row = &run.json()[0];
    assert_eq!(row["process.name"], "nabe-stage");
    assert_eq!(row["process.source"], "proc");
    assert_eq!(row["process.user"], "root");
    assert!(row["process.cmdline"].as_str().is_some_and(|line| line.ends_with(" sleep")), "{row}");
    // What may not be read is null and not empty.
    assert!(row["process.exe"].is_null(), "{row}");
    let notes = run.notes().join("\n");
    assert!(notes.contains("CAP_") || notes.contains("root"), "{}", run.stderr);
    assert!(!run.stderr.contains("panicked") && run.stderr.lines().count() <= 4, "{}", run.stderr);
    // Its own processes it sees in full, the descriptors of others not.
    let own = nobody(&[
        "ps",
        "process.name == \"nabe\" && process.user != \"root\"",
        "--json",
        "-o",
        "process.pid,file.fd,file.path",
    ]);
    assert!(own.json().as_array().is_some_and(|rows| rows.iter().any(|row| row["file.fd"] == 2)), "{own:?}");
    let files = nobody(&["ps", "process.pid == 1", "-o", "files", "--no-header"]);
    assert!(!files.notes().is_empty(), "{files:?}");
    let table = nobody(&["ps"]);
    assert!(table.lines().len() > 3, "{}", table.text());
    let tree = nobody(&["ps", "-t"]);
    assert!(tree.text().contains("[1] "), "{}", tree.text());
    // By psc's name too, which refused.
    let link = directory.path().join("psc");
    symlink(&program, &link).expect("a link");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&link);
    assert_eq!(Run::of(command.env("NABE_CACHE", "").arg("process.pid == 2")).ok().lines().len(), 2);
}
