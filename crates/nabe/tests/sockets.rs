//! Sockets that no descriptor refers to, sockets of other network namespaces, and both ends of unix
//! sockets.

mod support;

use serde_json::Value;
use support::{Need, Run, Stage, fd_row, fds_of, has, nabe_command, ps, rows};

const COLUMNS: &str = "process.pid,process.name,file.fd,socket.family,socket.type,socket.state,socket.srcAddr,\
                       socket.srcPort,socket.dstAddr,socket.dstPort,socket.netns,socket.orphan,socket.uid";

/// Rows about a TCP port of one network namespace.
fn about(netns: u64, port: u64) -> Vec<Value> {
    rows([&format!("socket.netns == {netns} && socket.srcPort == {port}"), "-o", COLUMNS])
}

#[test]
fn sockets_of_every_network_namespace_and_without_a_descriptor() {
    let test = "sockets_of_every_network_namespace_and_without_a_descriptor";
    if !has(test, &[Need::Root, Need::Bpf]) {
        return;
    }
    let Some(stage) = Stage::play(test, "netns", [""; 0]) else { return };
    let netns = stage.number("netns");
    assert_ne!(netns, support::namespace_of(std::process::id(), "net"));

    // Who has a descriptor is named.
    let listening: Vec<_> = about(netns, stage.number("port"))
        .into_iter()
        .filter(|row| row["socket.state"] == "LISTEN")
        .collect();
    assert_eq!(listening.len(), 1, "{listening:#?}");
    assert_eq!(listening[0]["process.pid"], stage.pid);
    assert_eq!(listening[0]["file.fd"], stage.number("listener"));
    assert_eq!(listening[0]["socket.orphan"], false);

    for (name, state) in [("time_wait", "TIME-WAIT"), ("orphan", "FIN-WAIT-1")] {
        let found = about(netns, stage.number(name));
        assert_eq!(found.len(), 1, "{name}: {found:#?}");
        let row = &found[0];
        assert_eq!(row["socket.state"], state, "{row}");
        assert_eq!(row["socket.orphan"], true, "{row}");
        assert!(
            row["process.pid"].is_null() && row["file.fd"].is_null() && row["process.name"].is_null(),
            "{row}"
        );
        assert_eq!((&row["socket.family"], &row["socket.type"]), (&"inet".into(), &"tcp".into()), "{row}");
        assert_eq!(
            (&row["socket.srcAddr"], &row["socket.dstPort"]),
            (&"127.0.0.1".into(), &stage.number("port").into())
        );
    }
    // The constants of psc, which could never match there.
    let count = |expression: &str| {
        let both = format!("socket.netns == {netns} && {expression}");
        ps([&both, "-o", "sockets", "--count"]).ok().text().trim().to_owned()
    };
    assert_eq!(count("socket.state == time_wait"), "1");
    assert_eq!(count("socket.state == fin_wait1"), "1");
    assert_eq!(count("socket.state == \"TIME-WAIT\" && process.pid > 0"), "0", "nobody owns it");
    assert_eq!(count("socket.orphan"), "2");
    // The same from inside, and from /proc.
    if support::program("nsenter").is_some() {
        let mut command = support::command("nsenter");
        command.args(["--net", "-t", &stage.pid.to_string(), support::NABE, "ps"]);
        command.args(["socket.state == time_wait", "--json", "-o", COLUMNS]);
        let run = Run::of(&mut command).ok();
        let found = run.json();
        let ports: Vec<_> =
            found.as_array().expect("an array").iter().map(|row| row["socket.srcPort"].as_u64()).collect();
        assert!(ports.contains(&Some(stage.number("time_wait"))), "{found}");
    }
    let expression = format!("socket.netns == {netns} && socket.state == time_wait");
    let proc = rows([&expression, "-o", COLUMNS, "--source", "proc"]);
    assert_eq!(proc.len(), 1, "{proc:#?}");
    assert_eq!(proc[0]["socket.srcPort"], stage.number("time_wait"));
}

#[test]
fn a_named_network_namespace_without_a_process() {
    let test = "a_named_network_namespace_without_a_process";
    if !has(test, &[Need::Root, Need::Bpf, Need::Program("unshare"), Need::Program("ip")]) {
        return;
    }
    // Their names are mounts: all of it stays in a mount namespace that goes with the command, and the
    // network namespace, in which nobody is left, with the name.
    let script = "mount -t tmpfs none /run && ip netns add blue && ip -n blue link set lo up && \
                  ip netns exec blue \"$1\" time_wait </dev/null && stat -Lc 'netns=%i' /run/netns/blue && \
                  exec \"$0\" ps 'socket.state == time_wait' --format ndjson -o \"$2\"";
    let mut command = support::command("unshare");
    command.args(["--mount", "sh", "-c", script, support::NABE]).arg(support::stage()).arg(COLUMNS);
    let run = Run::of(&mut command).ok();
    let text = run.text();
    let number = |name: &str| -> u64 {
        let word = text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
    };
    let (port, netns) = (number("time_wait"), number("netns"));
    let rows = text.lines().filter(|line| line.starts_with('{'));
    let rows: Vec<Value> = rows.map(|line| serde_json::from_str(line).expect("an object")).collect();
    let found: Vec<_> = rows.iter().filter(|row| row["socket.netns"] == netns).collect();
    assert_eq!(found.len(), 1, "{netns}: {text}\n{}", run.stderr);
    assert_eq!((&found[0]["socket.srcPort"], &found[0]["socket.state"]), (&port.into(), &"TIME-WAIT".into()));
}

#[test]
fn udp_sockets_have_their_states_and_ends() {
    let test = "udp_sockets_have_their_states_and_ends";
    let Some(stage) = Stage::play(test, "inet", [""; 0]) else { return };
    let all = fds_of(stage.pid, COLUMNS);
    let bound = fd_row(&all, stage.number("bound"));
    let joined = fd_row(&all, stage.number("joined"));
    assert_eq!((&bound["socket.type"], &bound["socket.state"]), (&"udp".into(), &"UNCONN".into()), "{bound}");
    assert_eq!(
        (&joined["socket.type"], &joined["socket.state"]),
        (&"udp".into(), &"ESTAB".into()),
        "{joined}"
    );
    assert_eq!(bound["socket.srcPort"], stage.number("udp"));
    assert_eq!(joined["socket.srcPort"], stage.number("udp_from"));
    assert_eq!(joined["socket.dstPort"], stage.number("udp"));
    for (expression, expected) in [
        ("socket.type == udp", 2),
        ("socket.type == udp && socket.state == established", 1),
        ("socket.type == udp && socket.state == close", 1),
        ("socket.type == tcp && socket.state == listen", 2),
        ("socket.type == tcp && socket.family == inet6", 1),
        ("socket.protocol == \"udp\"", 2),
    ] {
        let both = format!("process.pid == {} && {expression}", stage.pid);
        assert_eq!(rows([&both, "-o", "sockets"]).len(), expected, "{expression}");
    }
    let six = fd_row(&all, stage.number("six"));
    assert_eq!(
        (&six["socket.srcAddr"], &six["socket.srcPort"]),
        (&"::1".into(), &stage.number("port6").into()),
        "{six}"
    );
}

#[test]
fn both_ends_of_unix_sockets_are_known() {
    let test = "both_ends_of_unix_sockets_are_known";
    let directory = support::directory();
    let name = format!("nabe-ends-{}", std::process::id());
    let Some(stage) = Stage::play(test, "unix", [directory.path().as_os_str(), name.as_ref()]) else {
        return;
    };
    let all = fds_of(stage.pid, "socket.unixPath,socket.state,file.inode,file.peerInode,socket.srcPort");
    let of = |name: &str| fd_row(&all, stage.number(name));
    for (one, other) in [("client", "accepted"), ("pair0", "pair1")] {
        assert_eq!(of(one)["file.peerInode"], of(other)["file.inode"], "{one}");
        assert_eq!(of(other)["file.peerInode"], of(one)["file.inode"], "{other}");
        assert_ne!(of(one)["file.inode"], 0);
    }
    let path = format!("{}/s", directory.path().display());
    assert_eq!(of("listener")["socket.unixPath"], path);
    assert_eq!(of("accepted")["socket.unixPath"], path);
    assert_eq!(of("client")["socket.unixPath"], path, "without a name of its own, the peer's");
    assert_eq!(of("pair0")["socket.unixPath"], "", "an unnamed socket has an empty name");
    let by_path = rows([
        &format!("socket.unixPath == \"{path}\" && socket.state == listen"),
        "-o",
        "process.pid,file.fd",
    ]);
    assert_eq!(by_path.len(), 1, "{by_path:?}");
    assert_eq!(by_path[0]["file.fd"], stage.number("listener"));
}

#[test]
fn who_listens_is_found_by_port() {
    let test = "who_listens_is_found_by_port";
    let Some(stage) = Stage::play(test, "inet", [""; 0]) else { return };
    let port = stage.number("port");
    let found = rows([&format!("socket.state == listen && socket.srcPort == {port}"), "-o", "sockets"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["process.pid"], stage.pid);
    // The process, once, when no socket is shown.
    let owners = rows([&format!("socket.srcPort == {port}"), "-o", "process.pid"]);
    assert_eq!(owners, [serde_json::json!({"process.pid": stage.pid})]);
    let table =
        ps([&format!("socket.state == listen && socket.srcPort == {port}"), "-o", "network", "--no-header"])
            .ok();
    let words = table.text();
    let words: Vec<_> = words.split_whitespace().collect();
    let pid = stage.pid.to_string();
    assert_eq!(words, [pid.as_str(), "nabe-stage", "tcp", "LISTEN", &port.to_string(), "0"]);
}

#[test]
fn only_sockets_are_rows_of_a_socket_table() {
    let test = "only_sockets_are_rows_of_a_socket_table";
    let Some(stage) = Stage::play(test, "inet", [""; 0]) else { return };
    let expression = format!("process.pid == {}", stage.pid);
    let run = Run::of(nabe_command(["ps", &expression, "--json", "-o", "sockets"]).env("COLUMNS", "20")).ok();
    assert_eq!(run.json().as_array().map(Vec::len), Some(6), "{}", run.text());
}
