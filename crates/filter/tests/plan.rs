//! What expressions are turned into, what they read, and what the kernel decides.

use nabe_event::field::Class;
use nabe_event::{Interest, Needs};
use nabe_filter::Program;

fn compile(source: &str) -> Program {
    Program::cel(source).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn canonical_forms() {
    for (source, canonical) in [
        ("", "true"),
        // Constants are computed.
        ("1 + 2 * 3 == 7", "true"),
        ("process.rss > 2 * 500MB", "process.rss > 1000000000"),
        ("process.name == \"ng\" + \"inx\"", "process.name == \"nginx\""),
        ("process.name in [\"a\".upperAscii(), 'B']", "process.name in [\"A\", \"B\"]"),
        ("[1, 2, 3].exists(x, x > 2) && process.kthread", "process.kthread"),
        ("process.pid in [1, 2, 3].filter(x, x != 2)", "process.pid in [1, 3]"),
        ("age > duration(\"90m\") + 30m", "process.age > 2h"),
        ("(1 > 2 ? process.pid : process.ppid) == 1", "process.ppid == 1"),
        ("1 / 0 == 1 || process.kthread", "1 / 0 == 0 || process.kthread"),
        // What is redundant goes.
        (
            "true && (process.kthread && (process.noNewPrivs && true))",
            "process.kthread && process.noNewPrivs",
        ),
        ("process.kthread || (false || process.kthread)", "process.kthread"),
        ("process.exe == \"x\" && false", "false"),
        ("!!!process.kthread", "!process.kthread"),
        ("process.kthread == true", "process.kthread"),
        ("process.kthread == false", "process.kthread == false"),
        ("!(process.pid == 1)", "!(process.pid == 1)"),
        ("5 < process.pid", "process.pid > 5"),
        ("size(process.files) > 0", "process.files.exists(v1, true)"),
        ("process.files.size() == 0", "!process.files.exists(v1, true)"),
        ("size(process.files) > 500", "size(process.files) > 500"),
        ("caps.hasAny([\"SYS_ADMIN\"])", "process.capabilities.effective.has(\"SYS_ADMIN\")"),
        // Alternatives about one field become a set, under "or" only.
        ("process.pid == 3 || process.pid in [2, 1] || 3 == process.pid", "process.pid in [1, 2, 3]"),
        (
            "process.name == 'b' || process.kthread || process.name == 'a'",
            "process.kthread || process.name in [\"a\", \"b\"]",
        ),
        ("process.pid != 1 && process.pid != 2", "process.pid != 1 && process.pid != 2"),
        (
            "socket.srcAddr == '::1' || socket.srcAddr in cidr('10.1.2.3/8')",
            "file.srcAddr in [\"10.0.0.0/8\", \"::1\"]",
        ),
        ("process.pid in [7]", "process.pid == 7"),
        ("process.pid == 1 || process.ppid == 1", "process.pid == 1 || process.ppid == 1"),
        // Cheap first: by collectors, then by the work of the test.
        (
            "process.files.exists(f, f.fd == 3) && process.cmdline.matches('x') && process.name.contains('y') && process.pid > 1",
            "process.pid > 1 && process.name.contains(\"y\") && process.cmdline.matches(\"x\") && process.files.exists(v1, v1.fd == 3)",
        ),
        (
            "container.name == 'web' && process.name == 'x'",
            "process.name == \"x\" && container.name == \"web\"",
        ),
        // Names of states, spans with units, aliases resolved.
        ("socket.state == 10 && proc.name != ''", "process.name != \"\" && file.state == \"LISTEN\""),
        ("process.utime > 90s", "process.utime > 90s"),
        ("process.container.labels.app == 'x'", "container.labels[\"app\"] == \"x\""),
        (
            "process.files.filter(a, a.fd > 2).exists(b, b.path == '')",
            "process.files.filter(v1, v1.fd > 2).exists(v1, v1.path == \"\")",
        ),
        ("socket != null", "has(file.family)"),
    ] {
        let program = compile(source);
        assert_eq!(program.canonical(), canonical, "{source}");
        assert_eq!(compile(canonical).canonical(), canonical);
    }
}

#[test]
fn what_the_kernel_decides() {
    let all = Interest::default;
    let socket = || Interest { only_sockets: true, ..all() };
    let texts = |names: &[&str]| Some(names.iter().map(|name| name.as_bytes().to_vec()).collect());
    for (source, mut expected) in [
        ("", all()),
        ("false", Interest { pids: Some(vec![]), ..all() }),
        ("process.pid == 5", Interest { pids: Some(vec![5]), ..all() }),
        ("process.pid == 5 || process.pid == 3", Interest { pids: Some(vec![3, 5]), ..all() }),
        (
            "process.pid in [1, 2, 3] && process.pid in [2, 3, 4]",
            Interest { pids: Some(vec![2, 3]), ..all() },
        ),
        ("process.pid == 5 || process.name == 'x'", all()),
        ("process.pid != 5", all()),
        ("!(process.pid == 5)", all()),
        ("process.pid > 5", all()),
        (
            "process.pid == 5 && process.name == 'x'",
            Interest { pids: Some(vec![5]), names: texts(&["x"]), ..all() },
        ),
        ("process.name in ['b', 'a']", Interest { names: texts(&["a", "b"]), ..all() }),
        ("process.name == 'a name beyond comm'", all()),
        ("process.name in ['a', 'kworker/0:1']", all()),
        ("process.name.startsWith('a')", all()),
        ("process.euid == 0", Interest { euids: Some(vec![0]), ..all() }),
        (
            "process.kthread ? process.pid == 1 : process.pid == 2",
            Interest { pids: Some(vec![1, 2]), ..all() },
        ),
        ("socket.state == listen", Interest { states: Some(vec![10]), ..socket() }),
        (
            "socket.type == tcp && socket.state in [listen, established] && socket.dstPort == 443",
            Interest { types: Some(vec![1]), states: Some(vec![1, 10]), ..socket() },
        ),
        ("socket.family == unix", Interest { families: Some(vec![1]), ..socket() }),
        ("socket.srcAddr == '127.0.0.1'", Interest { families: Some(vec![2, 10]), ..socket() }),
        ("socket.unixPath == '/run/docker.sock'", Interest { families: Some(vec![1]), ..socket() }),
        ("socket.unixPath == ''", all()),
        ("socket.unixPath.contains('')", all()),
        ("file.fdType == socket", socket()),
        ("file.fdType in [file, socket]", all()),
        ("file.fd == 3", all()),
        ("has(socket.srcPort)", socket()),
        ("!(socket.state == listen)", all()),
        ("socket.state == listen || process.pid == 1", all()),
        ("socket.state == listen || socket.family == unix", socket()),
        // Loops over descriptors, and counts of them, see all descriptors.
        ("socket.state == listen && size(process.files) > 5", all()),
        ("socket.state == listen && process.fdCount > 5", all()),
        (
            "process.files.exists(f, f.state == listen && process.pid == 7)",
            Interest { pids: Some(vec![7]), ..all() },
        ),
        // The pids of a container are those of other processes.
        ("process.pid == 5 && 6 in container.pids", all()),
    ] {
        let program = compile(source);
        expected.needs = program.needs();
        assert_eq!(program.interest(), expected, "{source}");
    }
}

#[test]
fn collectors() {
    let n = Needs::TASK;
    for (source, needs) in [
        ("", Needs::NONE),
        ("process.pid == 1", n),
        ("process.cmdline.contains('x')", n | Needs::ARGS),
        ("process.cmdline.contains('x') && false", Needs::NONE),
        ("container.name == 'x'", n | Needs::CGROUP | Needs::CONTAINER),
        ("file.path == 'x'", n | Needs::FD | Needs::FD_PATH),
        ("socket.state == listen", n | Needs::FD | Needs::ORPHAN_SOCKETS),
        // A socket that nobody holds has no process, so it cannot match these.
        ("socket.state == listen && process.name == 'x'", n | Needs::FD),
        ("socket.state == listen && !(process.name == 'x')", n | Needs::FD),
        ("socket.state == listen && (process.pid == 1 || process.ppid == 1)", n | Needs::FD),
        (
            "socket.state == listen && (process.pid == 1 || file.fd == 1)",
            n | Needs::FD | Needs::ORPHAN_SOCKETS,
        ),
        ("socket.state == listen && !has(process.tty)", n | Needs::FD | Needs::ORPHAN_SOCKETS),
        ("process.files.exists(f, f.state == listen)", n | Needs::FD),
    ] {
        assert_eq!(compile(source).needs(), needs, "{source}");
    }
    assert!(compile("socket.state == listen").reads(Class::File));
    assert!(!compile("process.files.exists(f, f.state == listen)").reads(Class::File));
    assert!(compile("process.files.exists(f, f.fd == file.fd)").reads(Class::File));
    assert!(compile("process.files.exists(f, f.fd == 1)").reads(Class::Process));
    assert!(!compile("process.pid == 1").reads(Class::Container));
    assert!(compile("  // all\n").selects_all() && Program::all().selects_all());
}

#[test]
fn prefilters() {
    let cheap = Needs::TASK | Needs::USER | Needs::CGROUP;
    for (source, weaker) in [
        ("process.name == 'x' && process.cmdline.contains('y')", "process.name == \"x\""),
        ("process.name == 'x' || process.cmdline.contains('y')", "true"),
        ("!(process.cmdline.contains('y'))", "true"),
        ("!(process.name == 'x' || process.cmdline.contains('y'))", "!(process.name == \"x\")"),
        (
            "process.kthread ? process.pid == 1 : process.exe == 'x'",
            "process.kthread ? process.pid == 1 : true",
        ),
        ("process.exeDeleted ? process.pid == 1 : process.pid == 2", "process.pid in [1, 2]"),
        ("socket.state == listen && process.name == 'x'", "process.name == \"x\""),
        ("size(process.files) > 5 && process.name == 'x'", "process.name == \"x\""),
        ("container.id == 'x' && container.name == 'y'", "container.id == \"x\""),
    ] {
        assert_eq!(compile(source).prefilter(cheap).canonical(), weaker, "{source}");
    }
    let with_fds = Needs::TASK | Needs::FD;
    for (source, weaker) in [
        ("process.files.exists(f, f.fd == 1 && f.path == 'x')", "process.files.exists(v1, v1.fd == 1)"),
        ("process.files.all(f, f.fd == 1 && f.path == 'x')", "process.files.all(v1, v1.fd == 1)"),
        ("!process.files.exists(f, f.fd == 1 && f.path == 'x')", "!process.files.exists(v1, false)"),
        ("process.files.exists_one(f, f.fd == 1 && f.path == 'x')", "true"),
    ] {
        assert_eq!(compile(source).prefilter(with_fds).canonical(), weaker, "{source}");
    }
    for (source, part) in [
        ("process.name == 'x' && socket.state == listen", "process.name == \"x\""),
        (
            "process.files.exists(f, f.fd == file.fd) && process.cmdline == 'x'",
            "process.cmdline == \"x\" && process.files.exists(v1, true)",
        ),
        ("process.files.exists(f, f.fd == 1)", "process.files.exists(v1, v1.fd == 1)"),
    ] {
        assert_eq!(compile(source).process_part().canonical(), part, "{source}");
    }
}

#[test]
fn plans_for_people() {
    let plan =
        compile("process.pid in [1, 2] && container.labels.app == 'web' && socket.state == listen").explain();
    let expected = "\
filter     process.pid in [1, 2] && container.labels[\"app\"] == \"web\" && file.state == \"LISTEN\"
reads      process.pid: int (task)
           container.labels: map(string, string) (task, cgroup, container)
           file.state: symbol (task, fd, orphan sockets)
collects   task, cgroup, container, fd
pushed     pid 1 2; sockets only; state 10
";
    assert_eq!(plan, expected);
}

#[test]
fn programs_cross_threads() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    shared(&Program::all());
}
