//! The numbers agree with those of `/proc`, `ss` and `lsfd`, field by field, on processes that stand
//! still (SIGSTOP).

mod support;

#[path = "../../../tests/population/mod.rs"]
mod population;

use std::collections::{BTreeMap, BTreeSet};

use population::{Population, Wish};
use serde_json::Value;
use support::{Need, Run, Stage, has, proc_file, ps, rows, stat_of, status_of};

const SLEEPERS: usize = 50;
const HOLDERS: usize = 2;

fn frozen(test: &str) -> Option<Population> {
    let wish = Wish { sleepers: SLEEPERS, holders: HOLDERS, frozen: true, exec: false };
    match Population::start(wish) {
        Ok(population) => Some(population),
        Err(why) => {
            support::skip(test, &why);
            None
        }
    }
}

/// Only the children of the population.
fn children(population: &Population) -> String {
    format!("process.ppid == {}", population.pid)
}

fn number(row: &Value, field: &str) -> u64 {
    row[field].as_u64().unwrap_or_else(|| panic!("{field} in {row}"))
}

/// Both sources, so that they agree with each other as well.
fn sources(test: &str) -> Vec<&'static str> {
    if has(test, &[Need::Root, Need::Bpf]) { vec!["bpf", "proc"] } else { vec!["proc"] }
}

#[test]
fn every_process_field_is_that_of_proc() {
    let test = "every_process_field_is_that_of_proc";
    let Some(population) = frozen(test) else { return };
    let columns = "process.pid,process.ppid,process.pgid,process.sid,process.state,process.name,process.cmdline,\
        process.euid,process.ruid,process.suid,process.egid,process.rgid,process.sgid,process.utime,process.stime,\
        process.vsz,process.rss,process.threads,process.startTime,process.nice,process.priority,process.minflt,\
        process.majflt,process.oomScoreAdj,process.exe,process.cwd,process.tracer,process.noNewPrivs,\
        process.capabilities.effective,process.capabilities.permitted,process.capabilities.inheritable,\
        process.capabilities.bounding,process.capabilities.ambient,process.namespaces.uts,process.namespaces.ipc,\
        process.namespaces.mnt,process.namespaces.pid,process.namespaces.pidOwn,process.namespaces.net,\
        process.namespaces.cgroup,process.namespaces.user,process.fdCount,process.tid,process.vpid,process.loginuid"
        .replace(char::is_whitespace, "");
    for source in sources(test) {
        let rows = rows([children(&population).as_str(), "-o", &columns, "--source", source]);
        let pids: BTreeSet<_> = rows.iter().map(|row| number(row, "process.pid") as u32).collect();
        assert_eq!(pids, population.pids().into_iter().collect(), "{source}");
        assert_eq!(pids.len(), SLEEPERS + HOLDERS);
        for row in &rows {
            compare(row, source);
        }
    }
}

/// One row with `/proc/PID`.
fn compare(row: &Value, source: &str) {
    let pid = number(row, "process.pid") as u32;
    let stat = stat_of(pid);
    let at = |index: usize| stat[index - 3].parse::<i64>().expect("a number");
    let int = |field: &str| row[field].as_i64().unwrap_or_else(|| panic!("{field} in {row}"));
    let check =
        |field: &str, expected: i64| assert_eq!(int(field), expected, "{field} of {pid} from {source}");
    assert_eq!(row["process.state"], stat[0]);
    // Numbers of proc_pid_stat(5).
    check("process.ppid", at(4));
    check("process.pgid", at(5));
    check("process.sid", at(6));
    check("process.minflt", at(10));
    check("process.majflt", at(12));
    check("process.priority", at(18));
    check("process.nice", at(19));
    check("process.threads", at(20));
    check("process.vsz", at(23));
    let tick = 10_000_000;
    for (field, index) in [("process.utime", 14), ("process.stime", 15), ("process.startTime", 22)] {
        let (ours, theirs) = (int(field), at(index) * tick);
        assert!((ours - theirs).abs() <= tick, "{field} of {pid} from {source}: {ours}, {theirs}");
    }
    let rss: i64 = status_of(pid, "VmRSS").trim_end_matches(" kB").parse().expect("a number");
    check("process.rss", rss * 1024);
    check("process.tid", pid.into());
    check(
        "process.vpid",
        status_of(pid, "NSpid").split_whitespace().last().map_or(0, |pid| pid.parse().expect("a pid")),
    );
    check("process.tracer", status_of(pid, "TracerPid").parse().expect("a pid"));
    check("process.oomScoreAdj", proc_file(pid, "oom_score_adj").trim().parse().expect("a number"));
    let login: u32 = proc_file(pid, "loginuid").trim().parse().expect("a number");
    check("process.loginuid", if login == u32::MAX { -1 } else { login.into() });
    for (line, fields) in [("Uid", ["ruid", "euid", "suid"]), ("Gid", ["rgid", "egid", "sgid"])] {
        let text = status_of(pid, line);
        for (field, id) in fields.iter().zip(text.split_whitespace()) {
            check(&format!("process.{field}"), id.parse().expect("an id"));
        }
    }
    for (field, line) in [
        ("effective", "CapEff"),
        ("permitted", "CapPrm"),
        ("inheritable", "CapInh"),
        ("bounding", "CapBnd"),
        ("ambient", "CapAmb"),
    ] {
        let mask = u64::from_str_radix(&status_of(pid, line), 16).expect("a mask");
        assert_eq!(mask_of(&row[format!("process.capabilities.{field}")]), mask, "{field} of {pid}");
    }
    for (field, name) in [
        ("uts", "uts"),
        ("ipc", "ipc"),
        ("mnt", "mnt"),
        ("pid", "pid_for_children"),
        ("pidOwn", "pid"),
        ("net", "net"),
        ("cgroup", "cgroup"),
        ("user", "user"),
    ] {
        assert_eq!(
            number(row, &format!("process.namespaces.{field}")),
            support::namespace_of(pid, name),
            "{name}"
        );
    }
    assert_eq!(row["process.noNewPrivs"], status_of(pid, "NoNewPrivs") == "1");
    assert_eq!(row["process.name"], proc_file(pid, "comm").trim_end());
    let arguments = proc_file(pid, "cmdline");
    assert_eq!(row["process.cmdline"], arguments.trim_end_matches('\0').replace('\0', " "));
    for (field, link) in [("process.exe", "exe"), ("process.cwd", "cwd")] {
        let target = std::fs::read_link(format!("/proc/{pid}/{link}")).expect("a link");
        assert_eq!(row[field], target.to_string_lossy().as_ref(), "{field} of {pid} from {source}");
    }
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count();
    check("process.fdCount", fds as i64);
}

/// A mask is a number, or text in hex.
fn mask_of(value: &Value) -> u64 {
    match value {
        Value::String(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex"),
        other => other.as_u64().unwrap_or_else(|| panic!("{other} is no mask")),
    }
}

#[test]
fn cpu_times_are_within_a_tick() {
    let test = "cpu_times_are_within_a_tick";
    let Some(stage) = Stage::play(test, "busy", [""; 0]) else { return };
    for source in sources(test) {
        let expression = format!("process.pid == {}", stage.pid);
        let rows =
            rows([&expression, "-o", "process.utime,process.stime,process.cpuTime", "--source", source]);
        let stat = stat_of(stage.pid);
        let tick = 10_000_000;
        let mut sum = 0;
        for (field, index) in [("process.utime", 11), ("process.stime", 12)] {
            let (ours, ticks) = (number(&rows[0], field), stat[index].parse::<u64>().expect("ticks"));
            // Both kinds were used, so that zero is no answer.
            assert!(
                ticks > 0 && ours.abs_diff(ticks * tick) <= tick,
                "{source} {field}: {ours}, {ticks} ticks"
            );
            sum += ours;
        }
        assert_eq!(number(&rows[0], "process.cpuTime"), sum);
    }
}

#[test]
fn every_descriptor_is_that_of_proc() {
    let test = "every_descriptor_is_that_of_proc";
    let Some(population) = frozen(test) else { return };
    let columns =
        "process.pid,file.fd,file.path,file.inode,file.offset,file.flags,file.mode,file.size,file.nlink";
    for source in sources(test) {
        let rows = rows([children(&population).as_str(), "-o", columns, "--source", source]);
        assert_eq!(rows.len(), population.descriptors, "{source}");
        for row in &rows {
            compare_descriptor(row, source);
        }
    }
}

fn compare_descriptor(row: &Value, source: &str) {
    use std::os::unix::fs::MetadataExt as _;
    let (pid, fd) = (number(row, "process.pid"), number(row, "file.fd"));
    let path = format!("/proc/{pid}/fd/{fd}");
    let link = std::fs::read_link(&path).expect("a link");
    assert_eq!(row["file.path"], link.to_string_lossy().as_ref(), "{source}");
    let data = std::fs::metadata(&path).expect("its data");
    let check = |field: &str, expected: u64| {
        assert_eq!(number(row, field), expected, "{field} of {path} from {source}")
    };
    check("file.inode", data.ino());
    check("file.mode", data.mode().into());
    check("file.nlink", data.nlink());
    if data.is_file() {
        check("file.size", data.size());
    }
    let info = proc_file(pid as u32, &format!("fdinfo/{fd}"));
    let line =
        |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).expect("a line");
    check("file.offset", line("pos:").parse().expect("a number"));
    check("file.flags", u64::from_str_radix(line("flags:"), 8).expect("octal"));
}

/// What a descriptor's link or `stat` says of its kind.
#[test]
fn every_kind_of_descriptor_is_named() {
    let test = "every_kind_of_descriptor_is_named";
    let directory = support::directory();
    let Some(stage) = Stage::play(test, "files", [directory.path()]) else { return };
    for source in sources(test) {
        let expression = format!("process.pid == {}", stage.pid);
        let columns =
            "file.fd,file.fdType,file.kind,file.access,file.deleted,file.offset,file.size,file.path";
        let rows = rows([&expression, "-o", columns, "--source", source]);
        for (name, fd_type, kind, access, deleted) in [
            ("regular", "file", "REG", "u", false),
            ("removed", "file", "REG", "w", true),
            ("pipe_r", "pipe", "FIFO", "r", false),
            ("pipe_w", "pipe", "FIFO", "w", false),
            ("epoll", "epoll", "a_inode", "u", false),
            ("eventfd", "eventfd", "a_inode", "u", false),
            ("memfd", "memfd", "REG", "u", false),
            ("directory", "directory", "DIR", "r", false),
            ("null", "device", "CHR", "r", false),
        ] {
            let row = support::fd_row(&rows, stage.number(name));
            let seen = (row["file.fdType"].as_str(), row["file.kind"].as_str(), row["file.access"].as_str());
            assert_eq!(seen, (Some(fd_type), Some(kind), Some(access)), "{name} from {source}: {row}");
            assert_eq!(row["file.deleted"], deleted, "{name} from {source}: {row}");
        }
        let regular = support::fd_row(&rows, stage.number("regular"));
        assert_eq!((number(regular, "file.offset"), number(regular, "file.size")), (4, 10));
        let removed = support::fd_row(&rows, stage.number("removed"));
        assert!(removed["file.path"].as_str().is_some_and(|path| path.ends_with("/removed (deleted)")));
    }
}

/// State, local and remote address and port, pid, descriptor.
type Connection = (String, String, String, u32, u64);

#[test]
fn tcp_sockets_are_those_of_ss() {
    let test = "tcp_sockets_are_those_of_ss";
    if !has(test, &[Need::Root, Need::Program("ss")]) {
        return;
    }
    let Some(population) = frozen(test) else { return };
    let run = Run::of(support::command("ss").args(["-tanpH"])).ok();
    let mut theirs: BTreeSet<Connection> = BTreeSet::new();
    for line in run.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [state, _, _, local, remote, owners] = words[..] else { continue };
        for (pid, fd) in owners_of(owners) {
            if population.holders.contains(&pid) {
                let remote = if remote.ends_with('*') { "" } else { remote };
                theirs.insert((state.into(), local.into(), remote.into(), pid, fd));
            }
        }
    }
    assert_eq!(theirs.len(), HOLDERS * population::HOLDER_TCP, "ss: {}", run.text());
    for source in sources(test) {
        let expression = format!("{} && socket.family == inet && socket.type == tcp", children(&population));
        let columns =
            "process.pid,file.fd,socket.state,socket.srcAddr,socket.srcPort,socket.dstAddr,socket.dstPort";
        let rows = rows([&expression, "-o", columns, "--source", source]);
        let ours: BTreeSet<Connection> = rows.iter().map(connection).collect();
        assert_eq!(ours, theirs, "{source}");
    }
}

fn connection(row: &Value) -> Connection {
    let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let end = |address: &str, port: &str| match number(row, port) {
        0 => String::new(),
        port => format!("{}:{port}", text(address)),
    };
    let local = end("socket.srcAddr", "socket.srcPort");
    let remote = end("socket.dstAddr", "socket.dstPort");
    (text("socket.state"), local, remote, number(row, "process.pid") as u32, number(row, "file.fd"))
}

/// `users:(("name",pid=1,fd=3),("name",pid=2,fd=3))`
fn owners_of(text: &str) -> Vec<(u32, u64)> {
    let after = |part: &str, name: &str| part.split_once(name)?.1.split([',', ')']).next()?.parse().ok();
    let parts = text.split("((\"").skip(1).flat_map(|all| all.split("(\""));
    parts.filter_map(|part| Some((after(part, "pid=")? as u32, after(part, "fd=")?))).collect()
}

#[test]
fn unix_sockets_are_those_of_ss() {
    let test = "unix_sockets_are_those_of_ss";
    if !has(test, &[Need::Root, Need::Program("ss")]) {
        return;
    }
    let directory = support::directory();
    let name = format!("nabe-referee-{}", std::process::id());
    let arguments = [directory.path().as_os_str(), name.as_ref()];
    let Some(stage) = Stage::play(test, "unix", arguments) else { return };
    let run = Run::of(support::command("ss").args(["-xanpH"])).ok();
    // type state recv-q send-q local inode peer inode owners
    let mut theirs = BTreeMap::new();
    for line in run.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [kind, state, _, _, name, inode, _, peer, owners] = words[..] else { continue };
        for (pid, fd) in owners_of(owners) {
            if pid == stage.pid {
                theirs.insert(
                    fd,
                    (kind.to_owned(), state.to_owned(), name.to_owned(), inode.to_owned(), peer.to_owned()),
                );
            }
        }
    }
    assert_eq!(theirs.len(), 8, "{}", run.text());
    for source in sources(test) {
        let expression = format!("process.pid == {} && socket.family == unix", stage.pid);
        let columns = "file.fd,socket.type,socket.state,socket.unixPath,file.inode,file.peerInode";
        let rows = rows([&expression, "-o", columns, "--source", source]);
        assert_eq!(rows.len(), theirs.len(), "{source}");
        for row in rows {
            let (kind, state, name, inode, peer) = &theirs[&number(&row, "file.fd")];
            let short = match row["socket.type"].as_str() {
                Some("stream") => "u_str",
                Some("dgram") => "u_dgr",
                Some("seqpacket") => "u_seq",
                other => panic!("{other:?}"),
            };
            assert_eq!((short, row["socket.state"].as_str()), (kind.as_str(), Some(state.as_str())), "{row}");
            assert_eq!(number(&row, "file.inode").to_string(), *inode, "{source} {row}");
            assert_eq!(number(&row, "file.peerInode").to_string(), *peer, "{source} {row}");
            // ss shows the own name only; without one we show the peer's.
            if name != "*" {
                assert_eq!(row["socket.unixPath"], name.as_str(), "{source} {row}");
            }
        }
    }
}

#[test]
fn descriptors_are_those_of_lsfd() {
    let test = "descriptors_are_those_of_lsfd";
    if !has(test, &[Need::Root, Need::Program("lsfd")]) {
        return;
    }
    let Some(population) = frozen(test) else { return };
    let list: Vec<_> = population.holders.iter().map(u32::to_string).collect();
    let mut command = support::command("lsfd");
    command.args([
        "--raw",
        "--noheadings",
        "-o",
        "PID,FD,INODE,MODE",
        "-p",
        &list.join(","),
        "-Q",
        "FD >= 0",
    ]);
    let run = Run::of(&mut command).ok();
    let mut theirs = BTreeSet::new();
    for line in run.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [pid, fd, inode, mode] = words[..] else { continue };
        let access = match (mode.contains('r'), mode.contains('w')) {
            (true, true) => "u",
            (true, false) => "r",
            _ => "w",
        };
        theirs.insert((pid.to_owned(), fd.to_owned(), inode.to_owned(), access.to_owned()));
    }
    assert_eq!(theirs.len(), HOLDERS * population::HOLDER_DESCRIPTORS, "{}", run.stderr);
    let expression = format!("{} && process.fdCount > 100", children(&population));
    let rows = rows([expression.as_str(), "-o", "process.pid,file.fd,file.inode,file.access"]);
    let ours: BTreeSet<_> = rows
        .iter()
        .map(|row| {
            let text = |field: &str| row[field].to_string().trim_matches('"').to_owned();
            (text("process.pid"), text("file.fd"), text("file.inode"), text("file.access"))
        })
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn kinds_are_those_of_lsof() {
    let test = "kinds_are_those_of_lsof";
    if !has(test, &[Need::Root, Need::Program("lsof")]) {
        return;
    }
    let directory = support::directory();
    for (role, arguments) in [
        ("files", vec![directory.path().as_os_str()]),
        ("inet", vec![]),
        ("unix", vec![directory.path().as_os_str(), "nabe-lsof".as_ref()]),
    ] {
        let Some(stage) = Stage::play(test, role, arguments) else { continue };
        let mut command = support::command("lsof");
        command.args(["-n", "-P", "-w", "-d", "0-99", "-a", "-p", &stage.pid.to_string(), "-F", "fta"]);
        let run = Run::of(&mut command).ok();
        let mut theirs = BTreeMap::new();
        let mut fd = 0_u64;
        for line in run.lines() {
            match line.split_at(1) {
                ("f", number) => fd = number.parse().expect("a number"),
                ("t", kind) => drop(theirs.insert(fd, kind.to_owned())),
                _ => {}
            }
        }
        let rows =
            rows([&format!("process.pid == {} && file.fd < 100", stage.pid), "-o", "file.fd,file.kind"]);
        let text = |row: &Value| row["file.kind"].as_str().unwrap_or_default().to_owned();
        let ours: BTreeMap<_, _> = rows.iter().map(|row| (number(row, "file.fd"), text(row))).collect();
        assert_eq!(ours, theirs, "{role}");
    }
}

#[test]
fn counts_are_the_same_whoever_counts() {
    let test = "counts_are_the_same_whoever_counts";
    let Some(population) = frozen(test) else { return };
    for source in sources(test) {
        let count = |expression: &str, extra: &[&str]| -> usize {
            let both = format!("{} && {expression}", children(&population));
            let arguments =
                [both.as_str(), "--count", "--source", source].into_iter().chain(extra.iter().copied());
            ps(arguments).ok().text().trim().parse().expect("a number")
        };
        assert_eq!(count("true", &[]), SLEEPERS + HOLDERS);
        assert_eq!(count("process.state == \"T\"", &[]), SLEEPERS + HOLDERS);
        assert_eq!(count("size(process.files) > 500", &[]), HOLDERS);
        assert_eq!(count("true", &["-o", "file.fd"]), population.descriptors);
        assert_eq!(
            count("file.fdType != socket_type", &["-o", "files"]),
            descriptors_without_sockets(&population)
        );
        assert_eq!(
            count("socket.type == tcp && socket.family == inet", &["-o", "sockets"]),
            HOLDERS * population::HOLDER_TCP
        );
        assert_eq!(count("socket.state == listen", &["-o", "sockets"]), HOLDERS);
        assert_eq!(count("socket.family == unix", &["-o", "sockets"]), HOLDERS * population::HOLDER_UNIX);
        let directory = population.directory().display();
        let files = format!("file.path.startsWith(\"{directory}/\")");
        assert_eq!(count(&files, &["-o", "files"]), HOLDERS * population::HOLDER_FILES);
        assert_eq!(count(&files, &[]), HOLDERS);
    }
}

fn descriptors_without_sockets(population: &Population) -> usize {
    population.descriptors - HOLDERS * (population::HOLDER_TCP + population::HOLDER_UNIX)
}
