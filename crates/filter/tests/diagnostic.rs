//! Wrong expressions and what users are told, whole.

use nabe_filter::Program;

const NAMES: &[&str] = &[
    "process.pidd == 1",
    "process.nmae == \"x\"",
    "socket.srcprot == 443",
    "socket.sport == 443",
    "proc.nam == \"x\"",
    "process.srcPort == 1",
    "container.lables[\"a\"] == \"b\"",
    "process.capabilities.efective != 0",
    "nothing.type == \"open\"",
    "name == \"nginx\"",
    "pid == 1",
    "frobnicate",
    "process.name == nginx",
    "container.runtime == dockr",
    "socket.state == listening",
    "socket.state == \"LISTENING\"",
    "socket.state == tcp",
    "process.state == \"Q\"",
    "process.policy == realtime",
    "socket.family in [inet, inet7]",
    "caps.has(\"SYS_ADMNI\")",
    "process.files.exists(f, f.pth == \"x\")",
    "process.files.exists(f, ff.path == \"x\")",
    "process",
    "process.files",
    "process.files.exists(f, f)",
    "process.pid.value == 1",
    "process.name.contains == \"x\"",
];

const TYPES: &[&str] = &[
    "process.pid == \"x\"",
    "process.pid == \"1\"",
    "process.rss > \"500MB\"",
    "process.euid == \"root\"",
    "process.name == 5",
    "process.name",
    "process.pid",
    "age",
    "caps",
    "socket.state",
    "process.args",
    "\"x\"",
    "process.pid == 1 && process.name",
    "process.pid > 2h",
    "age > \"soon\"",
    "age > 5MB * \"x\"",
    "process.kthread == 1",
    "process.kthread < true",
    "socket.srcAddr == \"10.0.0.0/8\"",
    "socket.srcAddr == \"localhost\"",
    "socket.srcAddr == cidr(\"10.0.0.0/8\")",
    "socket.srcAddr < \"10.0.0.1\"",
    "socket.srcAddr == 127.0.0.1",
    "socket.srcAddr in cidr(\"10.0.0.0/33\")",
    "socket.dstPort == 70000",
    "process.pid == -1",
    "process.rss == -5",
    "process.name + 1 == \"x\"",
    "process.name - \"x\" == \"y\"",
    "\"x\" in process.name",
    "process.pid in \"1\"",
    "process.pid in [1, \"2\"]",
    "5 in process.args",
    "process.args == \"x\"",
    "caps == \"SYS_ADMIN\"",
    "process.pid ? true : false",
    "process.pid == 1 ? 5 : \"x\"",
    "[1, \"x\"].exists(a, true)",
    "container.labels[5] == \"x\"",
    "process.name[0] == \"n\"",
    "-process.name == \"x\"",
    "!process.pid",
    "1 < process.pid < 5",
    "age > timestamp(\"2024-01-01T00:00:00Z\")",
];

const CALLS: &[&str] = &[
    "process.name.startswith(\"x\")",
    "process.name.contains(5)",
    "process.name.contains(\"a\", \"b\")",
    "process.pid.contains(\"1\")",
    "process.name.frobnicate()",
    "frobnicate(process.name)",
    "startsWith(process.name, \"x\")",
    "process.name.size(1) == 1",
    "process.name.replace(\"a\") == \"b\"",
    "process.args.contains(\"x\")",
    "process.name.has(\"x\")",
    "size(process.pid) == 1",
    "process.name.matches(\"a(b\")",
    "process.name.matches(\"[z-a]\")",
    "process.name.matches(process.user)",
    "cidr(process.name).contains(socket.srcAddr)",
    "duration(\"2 hours\") < age",
    "has(1 == 1)",
    "caps.has()",
    "caps.has(99)",
    "process.files.exists(f)",
    "process.files.exists(f.path, true)",
    "process.pid.exists(x, true)",
    "\"%d %s\".format([1]) == \"x\"",
    "\"%q\".format([1]) == \"x\"",
];

const SYNTAX: &[&str] = &[
    "proc.name=foo and fd.num=3",
    "proc.name == \"foo\" and fd.num == 3",
    "not proc.name == \"foo\"",
    "fd.name contains etc",
    "process.pid & 1 == 1",
    "process.pid == 1 | process.pid == 2",
    "process.pid ==",
    "(process.pid == 1",
    "process.pid == 1)",
    "process.name == \"foo",
    "process.name == “foo”",
    "process.name == \"a\\qb\"",
    "process.pid == 5mb",
    "process.pid == 99999999999999999999",
    "process.pid == 0xzz",
    "process.pid == 1 process.name == \"x\"",
    "process.name == \"a\"b\"",
    "process.pid ? true",
    "{\"a\" 1}[\"a\"] == 1",
    "process.files.exists(f, f.fd == 1",
    "process.pid == 1 &&\n\tprocess.nmae == \"x\" ||\n\ttrue",
    "process.name == \"日本\" && process.pidd == 1",
    "process.cmdline.contains(\"a rather long piece of text that goes on and on\") && process.pidd == 1 && process.cmdline.contains(\"another rather long piece of text that goes on\")",
];

fn errors(sources: &[&str]) -> String {
    let mut out = String::new();
    for source in sources {
        match Program::cel(source) {
            Err(error) => out += &format!("{error}\n\n"),
            Ok(program) => panic!("{source} compiles to {}", program.canonical()),
        }
    }
    out
}

#[test]
fn wrong_names() {
    insta::assert_snapshot!(errors(NAMES));
}

#[test]
fn wrong_types() {
    insta::assert_snapshot!(errors(TYPES));
}

#[test]
fn wrong_calls() {
    insta::assert_snapshot!(errors(CALLS));
}

#[test]
fn wrong_syntax() {
    insta::assert_snapshot!(errors(SYNTAX));
}
