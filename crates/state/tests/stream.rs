//! State out of events: each test is a short history.

use nabe_event::field::{descriptor as d, event as e, file as f, process as p, thread as t};
use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;
use nabe_event::{FieldId, Fields, Value};
use nabe_state::stream::{Account, Descriptor, Losses, Stream, Thread};

/// An event under construction: values by parameter name, absent ones empty.
struct Made {
    id: EventId,
    tid: i64,
    ts_ns: u64,
    values: Vec<Vec<u8>>,
    lengths: Vec<u8>,
    data: Vec<u8>,
}

fn made(id: EventId, tid: i64) -> Made {
    let values = vec![Vec::new(); id.row().params.len()];
    Made { id, tid, ts_ns: 1_000_000_000, values, lengths: Vec::new(), data: Vec::new() }
}

impl Made {
    #[track_caller]
    fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        let (at, _) = self.id.row().param(name).unwrap_or_else(|| panic!("{:?} has no {name}", self.id));
        self.values[at] = value.to_vec();
        self
    }

    #[track_caller]
    fn number(self, name: &str, value: i64) -> Self {
        let width = self.id.row().param(name).and_then(|(_, param)| param.ty.width()).expect("a number");
        self.bytes(name, &value.to_le_bytes()[..width])
    }

    #[track_caller]
    fn text(self, name: &str, value: &str) -> Self {
        self.bytes(name, format!("{value}\0").as_bytes())
    }

    fn at(mut self, ts_ns: u64) -> Self {
        self.ts_ns = ts_ns;
        self
    }

    /// Applies it and answers fields of it.
    fn then(self, stream: &mut Stream, fields: &[FieldId]) -> Vec<String> {
        let fields: Vec<_> = fields.iter().map(|field| (*field, None)).collect();
        self.asked(stream, &fields)
    }

    /// The same for fields with arguments.
    fn asked(mut self, stream: &mut Stream, fields: &[(FieldId, Option<&[u8]>)]) -> Vec<String> {
        for value in &self.values {
            self.lengths.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
            self.data.extend_from_slice(value);
        }
        let params = Params::new(self.id, &self.lengths, &self.data).unwrap();
        let event = Event { id: self.id, cpu: 0, flags: 0, ts_ns: self.ts_ns, tid: self.tid, params };
        let seen = stream.apply(&event, Some(&event));
        fields.iter().map(|(field, arg)| shown(&seen.get(*field, *arg))).collect()
    }
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Ip(address) => address.to_string(),
        Value::Missing(_) => "-".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A machine with a shell, process 10.
fn machine() -> Stream {
    let mut stream = Stream::new();
    let mut shell = Thread::new(10);
    shell.comm = (*b"bash").into();
    shell.cwd = (*b"/root").into();
    shell.uid = 0;
    stream.add_thread(shell);
    stream.add_user(0, Account { name: (*b"root").into(), ..Account::default() });
    stream
}

fn open(tid: i64, fd: i64, name: &str) -> Made {
    made(EventId::SYSCALL_OPENAT_2_X, tid)
        .number("fd", fd)
        .number("dirfd", -100)
        .text("name", name)
        .number("flags", 1)
}

fn fork(parent: i64, child: i64) -> Made {
    made(EventId::SYSCALL_CLONE_20_X, parent)
        .number("res", child)
        .text("exe", "/bin/bash")
        .text("comm", "bash")
        .number("tid", parent)
        .number("pid", parent)
        .number("ptid", 1)
        .number("flags", 0)
        .number("uid", 0)
        .number("vtid", parent)
        .number("vpid", parent)
}

#[test]
fn a_file_has_a_name_until_it_is_closed() {
    let mut stream = machine();
    let said = open(10, 3, "../etc/hosts").then(&mut stream, &[d::NAME, d::TYPE, f::FD, e::ARGS]);
    assert_eq!(said[..3], ["/etc/hosts", "file", "3"]);
    assert!(
        said[3].starts_with(
            "fd=3(<f>/etc/hosts) dirfd=-100(AT_FDCWD) name=../etc/hosts(/etc/hosts) flags=1(O_RDONLY) "
        ),
        "{}",
        said[3]
    );
    let close = || made(EventId::SYSCALL_CLOSE_X, 10).number("res", 0).number("fd", 3);
    assert_eq!(close().then(&mut stream, &[d::NAME]), ["/etc/hosts"], "the close still shows it");
    assert_eq!(close().then(&mut stream, &[d::NAME]), ["-"]);
}

#[test]
fn a_failed_open_makes_nothing() {
    let mut stream = machine();
    let said = open(10, -2, "x").then(&mut stream, &[d::NAME, e::RES, e::FAILED, f::FD]);
    assert_eq!(said, ["/root/x", "ENOENT", "true", "-1"]);
    assert_eq!(stream.thread(10).unwrap().pid, 10);
}

#[test]
fn a_child_has_copies() {
    let mut stream = machine();
    open(10, 3, "/a").then(&mut stream, &[]);
    fork(10, 20).then(&mut stream, &[]);
    made(EventId::SYSCALL_CLOSE_X, 10).number("res", 0).number("fd", 3).then(&mut stream, &[]);
    let read = |tid| made(EventId::SYSCALL_READ_X, tid).number("res", 0).number("fd", 3);
    assert_eq!(
        read(20).then(&mut stream, &[d::NAME, p::NAME, t::PNAME, p::PPID, p::USER]),
        ["/a", "bash", "bash", "10", "root"]
    );
    assert_eq!(read(10).then(&mut stream, &[d::NAME]), ["-"]);
}

#[test]
fn a_thread_shares() {
    const THREAD_AND_FILES: i64 = 1 << 13 | 1;
    let mut stream = machine();
    fork(10, 11).number("flags", THREAD_AND_FILES).then(&mut stream, &[]);
    open(11, 4, "b").then(&mut stream, &[]);
    let read = made(EventId::SYSCALL_READ_X, 10).number("res", 1).number("fd", 4);
    assert_eq!(read.then(&mut stream, &[d::NAME, p::THREADS]), ["/root/b", "2"]);
    let gone = made(EventId::PROCEXIT_1_E, 11);
    assert_eq!(gone.then(&mut stream, &[p::PID, t::ISMAIN]), ["10", "false"]);
    assert_eq!(open(10, 5, "/c").then(&mut stream, &[p::THREADS]), ["1"]);
    assert!(stream.thread(11).is_none());
}

#[test]
fn a_child_in_a_container_is_learnt_from_itself() {
    const IN_PIDNS: i64 = 1 << 29;
    let id = "ab".repeat(32);
    let mut stream = machine();
    // The parent knows it as 2 only.
    fork(10, 2).number("flags", IN_PIDNS).then(&mut stream, &[]);
    assert!(stream.thread(2).is_none());
    let child = fork(30, 0)
        .number("flags", IN_PIDNS)
        .number("ptid", 10)
        .number("pid", 30)
        .number("vtid", 2)
        .number("vpid", 2)
        .bytes("cgroups", format!("cpu=/docker/{id}\0").as_bytes());
    let said = child.then(&mut stream, &[p::PID, p::VPID, p::PPID, nabe_event::field::container::ID]);
    assert_eq!(said, ["30", "2", "10", "abababababab"]);
}

#[test]
fn exec_changes_the_program() {
    let mut stream = machine();
    let exec = made(EventId::SYSCALL_EXECVE_19_X, 10)
        .number("res", 0)
        .text("exe", "./cat")
        .bytes("args", b"-n\0/dev/null\0")
        .number("tid", 10)
        .number("pid", 10)
        .text("comm", "cat")
        .bytes("env", b"A=1\0B=2\0")
        .text("filename", "bin/cat");
    let said = exec.then(&mut stream, &[p::NAME, t::EXE, p::EXE, t::ARGS, p::CMDLINE, p::ENV, t::CMDNARGS]);
    assert_eq!(said, ["cat", "./cat", "/root/bin/cat", "-n /dev/null", "cat -n /dev/null", "A=1 B=2", "2"]);
}

#[test]
fn directories_are_followed() {
    let mut stream = machine();
    made(EventId::SYSCALL_CHDIR_X, 10).number("res", 0).text("path", "sub").then(&mut stream, &[]);
    assert_eq!(open(10, 3, "x").then(&mut stream, &[d::NAME, p::CWD]), ["/root/sub/x", "/root/sub/"]);
    open(10, 4, "/var/log/").then(&mut stream, &[]);
    made(EventId::SYSCALL_FCHDIR_X, 10).number("res", 0).number("fd", 4).then(&mut stream, &[]);
    assert_eq!(
        open(10, 5, "y").then(&mut stream, &[d::NAME, d::DIRECTORY, d::FILENAME]),
        ["/var/log/y", "/var/log", "y"]
    );
    let said = open(10, 6, "z").number("dirfd", 4).then(&mut stream, &[d::NAME]);
    assert_eq!(said, ["/var/log/z"]);
}

/// Both ends of a connection over IPv4.
fn tuple(from: [u8; 4], port: u16, to: [u8; 4], peer: u16) -> Vec<u8> {
    let mut bytes = vec![2];
    for (address, port) in [(from, port), (to, peer)] {
        bytes.extend(address);
        bytes.extend(port.to_le_bytes());
    }
    bytes
}

#[test]
fn connections_have_two_ends() {
    let mut stream = machine();
    stream.add_address([10, 0, 0, 1].into());
    let socket = made(EventId::SOCKET_SOCKET_X, 10)
        .number("fd", 3)
        .number("domain", 2)
        .number("type", 1)
        .number("proto", 0);
    assert_eq!(socket.then(&mut stream, &[d::TYPE, d::NAME, d::L4PROTO, d::CIP]), ["ipv4", "", "<NA>", "-"]);
    let connect = made(EventId::SOCKET_CONNECT_X, 10)
        .number("res", 0)
        .bytes("tuple", &tuple([10, 0, 0, 1], 4000, [1, 2, 3, 4], 80))
        .number("fd", 3);
    let said = connect.then(
        &mut stream,
        &[d::NAME, d::L4PROTO, d::CIP, d::SIP, d::SPORT, f::SRC_PORT, f::DST_ADDR, d::IS_SERVER],
    );
    assert_eq!(
        said,
        ["10.0.0.1:4000->1.2.3.4:80", "tcp", "10.0.0.1", "1.2.3.4", "80", "4000", "1.2.3.4", "false"]
    );
    let accept = made(EventId::SOCKET_ACCEPT_5_X, 10)
        .number("fd", 4)
        .bytes("tuple", &tuple([9, 9, 9, 9], 5000, [10, 0, 0, 1], 8080));
    let said = accept.then(&mut stream, &[d::NAME, d::IS_SERVER, f::SRC_PORT, e::RES]);
    assert_eq!(said, ["9.9.9.9:5000->10.0.0.1:8080", "true", "8080", "SUCCESS"]);
}

/// A datagram socket of process 10.
fn datagrams(stream: &mut Stream, fd: i64) {
    let socket = made(EventId::SOCKET_SOCKET_X, 10).number("fd", fd).number("domain", 2).number("type", 2);
    socket.number("proto", 0).then(stream, &[]);
}

/// The name of a datagram socket after a call on it, from one port of 127.0.0.1 to another.
fn datagram(stream: &mut Stream, call: EventId, fd: i64, from: u16, to: u16) -> String {
    const HOST: [u8; 4] = [127, 0, 0, 1];
    let mut done = made(call, 10).number("res", 0).number("fd", fd);
    if call == EventId::SOCKET_CONNECT_X {
        done = done.bytes("addr", &[&[2, 127, 0, 0, 1][..], &to.to_le_bytes()].concat());
    }
    done.bytes("tuple", &tuple(HOST, from, HOST, to)).then(stream, &[d::NAME]).remove(0)
}

#[test]
fn a_server_that_connects_its_datagrams_to_a_client_remains_the_server() {
    let mut stream = machine();
    datagrams(&mut stream, 3);
    let bind = made(EventId::SOCKET_BIND_X, 10).number("res", 0).number("fd", 3);
    let bind = bind.bytes("addr", &[&[2, 127, 0, 0, 1][..], &53_u16.to_le_bytes()].concat());
    assert_eq!(bind.then(&mut stream, &[d::NAME]), ["127.0.0.1:53"]);
    let connected = datagram(&mut stream, EventId::SOCKET_CONNECT_X, 3, 53, 4000);
    assert_eq!(connected, "127.0.0.1:4000->127.0.0.1:53");
    // To the next one; and the client's own socket, in the same process, to another server.
    let connected = datagram(&mut stream, EventId::SOCKET_CONNECT_X, 3, 53, 4001);
    assert_eq!(connected, "127.0.0.1:4001->127.0.0.1:53");
    datagrams(&mut stream, 4);
    for server in [53, 54] {
        let connected = datagram(&mut stream, EventId::SOCKET_CONNECT_X, 4, 4001, server);
        assert_eq!(connected, format!("127.0.0.1:4001->127.0.0.1:{server}"));
    }
    // Connected to nobody, as between two probes of a resolver's: the last server is still told.
    let connect = made(EventId::SOCKET_CONNECT_X, 10).number("res", 0).number("fd", 4);
    let connect = connect.bytes("tuple", &tuple([0; 4], 0, [0; 4], 0));
    assert_eq!(connect.then(&mut stream, &[d::NAME]), ["0.0.0.0:0->127.0.0.1:54"]);
}

#[test]
fn who_receives_a_datagram_first_is_the_server() {
    let mut stream = machine();
    // Bound to a port that the kernel chose: nothing tells it before.
    datagrams(&mut stream, 3);
    let received = datagram(&mut stream, EventId::SOCKET_RECVFROM_X, 3, 4000, 53);
    assert_eq!(received, "127.0.0.1:4000->127.0.0.1:53");
    let answered = datagram(&mut stream, EventId::SOCKET_SENDTO_X, 3, 53, 4000);
    assert_eq!(answered, "127.0.0.1:4000->127.0.0.1:53");
    let received = datagram(&mut stream, EventId::SOCKET_RECVFROM_X, 3, 4001, 53);
    assert_eq!(received, "127.0.0.1:4001->127.0.0.1:53");
    // The first one again.
    let answered = datagram(&mut stream, EventId::SOCKET_SENDTO_X, 3, 53, 4000);
    assert_eq!(answered, "127.0.0.1:4000->127.0.0.1:53");
    datagrams(&mut stream, 4);
    let asked = datagram(&mut stream, EventId::SOCKET_SENDTO_X, 4, 4001, 53);
    assert_eq!(asked, "127.0.0.1:4001->127.0.0.1:53");
    let told = datagram(&mut stream, EventId::SOCKET_RECVFROM_X, 4, 53, 4001);
    assert_eq!(told, "127.0.0.1:4001->127.0.0.1:53");
    // Who receives without asking from whom is not told: it may be anybody.
    const ANY: [u8; 4] = [0; 4];
    for (fd, own, name) in [(3, 53, "0.0.0.0:0->127.0.0.1:53"), (4, 4001, "0.0.0.0:4001->127.0.0.1:53")] {
        let received = made(EventId::SOCKET_RECVFROM_X, 10).number("res", 0).number("fd", fd);
        let received = received.bytes("tuple", &tuple(ANY, 0, ANY, own));
        assert_eq!(received.then(&mut stream, &[d::NAME]), [name]);
    }
}

#[test]
fn copies_of_a_descriptor_live_on() {
    let mut stream = machine();
    open(10, 3, "/a").then(&mut stream, &[]);
    let dup = made(EventId::SYSCALL_DUP3_X, 10).number("res", 7).number("oldfd", 3).number("newfd", 7);
    assert_eq!(dup.then(&mut stream, &[d::NAME, f::FD]), ["/a", "7"]);
    made(EventId::SYSCALL_CLOSE_X, 10).number("res", 0).number("fd", 3).then(&mut stream, &[]);
    let range =
        made(EventId::SYSCALL_CLOSE_RANGE_X, 10).number("res", 0).number("first", 8).number("last", -1);
    range.then(&mut stream, &[]);
    let read = || made(EventId::SYSCALL_READ_X, 10).number("res", 0).number("fd", 7);
    assert_eq!(read().then(&mut stream, &[d::NAME]), ["/a"]);
    let range =
        made(EventId::SYSCALL_CLOSE_RANGE_X, 10).number("res", 0).number("first", 3).number("last", -1);
    range.then(&mut stream, &[]);
    assert_eq!(read().then(&mut stream, &[d::NAME]), ["-"]);
}

#[test]
fn users_come_and_go() {
    let mut stream = machine();
    let added = made(EventId::USER_ADDED_E, -1)
        .number("uid", 5)
        .number("gid", 5)
        .text("name", "eve")
        .text("home", "/h");
    added.then(&mut stream, &[]);
    made(EventId::SYSCALL_SETUID_X, 10).number("res", 0).number("uid", 5).then(&mut stream, &[]);
    assert_eq!(open(10, 3, "/a").then(&mut stream, &[p::EUID, p::USER, t::HOMEDIR]), ["5", "eve", "/h"]);
    made(EventId::USER_DELETED_E, -1).number("uid", 5).then(&mut stream, &[]);
    assert_eq!(open(10, 3, "/a").then(&mut stream, &[p::USER]), ["-"]);
}

#[test]
fn times_are_told() {
    let mut stream = machine();
    let first = open(10, 3, "/a").at(5_000_000_000).then(&mut stream, &[e::RELTIME, e::DELTATIME]);
    assert_eq!(first, ["0", "0"]);
    // Nobody looks at this one.
    open(10, 3, "/a").at(6_000_000_000).then(&mut stream, &[]);
    let times = [e::NUM, e::RELTIME, e::DELTATIME, e::DELTATIME_S, e::TIME];
    let said = open(10, 3, "/a").at(7_000_000_001).then(&mut stream, &times);
    assert_eq!(said, ["3", "2000000001", "2000000001", "2", "00:00:07.000000001"]);
    stream.section();
    assert_eq!(open(10, 3, "/a").then(&mut stream, &[e::NUM, p::NAME]), ["4", "<NA>"]);
}

#[test]
fn errors_count_by_descriptor_or_else_by_call() {
    let mut stream = machine();
    let fields = [e::COUNT_ERROR_FILE, e::COUNT_ERROR_NET, e::COUNT_ERROR_OTHER];
    let access = made(EventId::SYSCALL_ACCESS_X, 10).number("res", -2).text("name", "/x");
    assert_eq!(access.then(&mut stream, &fields), ["-", "-", "1"]);
    let failed = made(EventId::SYSCALL_OPENAT_2_X, 10).number("fd", -2).text("name", "/x");
    assert_eq!(failed.then(&mut stream, &fields), ["1", "-", "-"]);
    open(10, 3, "/a").then(&mut stream, &[]);
    let read = made(EventId::SYSCALL_READ_X, 10).number("res", -9).number("fd", 3);
    assert_eq!(read.then(&mut stream, &fields), ["1", "-", "-"]);
}

#[test]
fn absolute_paths_are_those_of_calls_relative_to_a_directory() {
    let mut stream = machine();
    open(10, 3, "/d").then(&mut stream, &[]);
    let made_directory =
        made(EventId::SYSCALL_MKDIRAT_X, 10).number("res", 0).number("dirfd", 3).text("path", "e");
    assert_eq!(made_directory.then(&mut stream, &[e::ABSPATH]), ["/d/e"]);
    let link = made(EventId::SYSCALL_SYMLINKAT_X, 10).number("res", 0).number("linkdirfd", 3);
    let link = link.text("target", "to").text("linkpath", "l");
    assert_eq!(link.then(&mut stream, &[e::ABSPATH]), ["/d/l"]);
    let rename =
        made(EventId::SYSCALL_RENAME_X, 10).number("res", 0).text("oldpath", "/a").text("newpath", "/b");
    assert_eq!(rename.then(&mut stream, &[e::ABSPATH]), ["-"]);
}

#[test]
fn a_directory_that_nobody_knows_is_called_so() {
    let mut stream = machine();
    let asked = |stream: &mut Stream, path: &str| {
        let opened = made(EventId::SYSCALL_OPENAT_2_X, 10).number("fd", -9).number("dirfd", 77);
        opened.text("name", path).then(stream, &[e::ABSPATH, d::NAME])
    };
    // As sysdig has both.
    assert_eq!(asked(&mut stream, "rel"), ["<UNKNOWN>/rel", "<UNKNOWN>rel"]);
    assert_eq!(asked(&mut stream, "./a/../rel"), ["<UNKNOWN>/rel", "rel"]);
    assert_eq!(asked(&mut stream, "../x"), ["x", "x"]);
    assert_eq!(asked(&mut stream, "/whole"), ["/whole", "/whole"]);
}

#[test]
fn arguments_are_a_list() {
    let mut stream = machine();
    let exec = made(EventId::SYSCALL_EXECVE_19_X, 10).number("res", 0).text("exe", "ls").text("comm", "ls");
    exec.bytes("args", b"-l\0/x\0").then(&mut stream, &[]);
    let said = open(10, 3, "/a").then(&mut stream, &[p::ARGS, t::ARGS]);
    assert_eq!(said[1], "-l /x");
    assert!(said[0].contains("\"ls\"") && said[0].contains("\"/x\""), "{}", said[0]);
}

#[test]
fn a_duplicate_keeps_its_name() {
    let mut stream = machine();
    assert_eq!(open(10, 3, "/a").then(&mut stream, &[d::NAME_CHANGED]), ["true"]);
    let dup = made(EventId::SYSCALL_DUP_1_X, 10).number("res", 4).number("oldfd", 3);
    assert_eq!(dup.then(&mut stream, &[d::NAME_CHANGED]), ["false"]);
}

#[test]
fn descriptors_have_other_names_than_fd() {
    let mut stream = machine();
    open(10, 3, "/from").then(&mut stream, &[]);
    open(10, 4, "/to").then(&mut stream, &[]);
    let sent = made(EventId::SYSCALL_SENDFILE_X, 10).number("res", 9).number("out_fd", 4).number("in_fd", 3);
    assert_eq!(sent.then(&mut stream, &[d::NAME]), ["/to"]);
    let enter = made(EventId::SYSCALL_SENDFILE_E, 10).number("out_fd", 4).number("in_fd", 3);
    assert_eq!(enter.then(&mut stream, &[d::NAME]), ["/to"]);
    let spliced = made(EventId::SYSCALL_SPLICE_X, 10).number("res", 9).number("fd_in", 3).number("fd_out", 4);
    assert_eq!(spliced.then(&mut stream, &[d::NAME]), ["/from"]);
    let copied =
        made(EventId::SYSCALL_COPY_FILE_RANGE_X, 10).number("res", 9).number("fdout", 4).number("fdin", 3);
    assert_eq!(copied.then(&mut stream, &[d::NAME]), ["/to"]);
}

#[test]
fn a_socket_without_a_role_has_ends_for_whom_it_matters_not() {
    let mut stream = machine();
    let made_socket =
        made(EventId::SOCKET_SOCKET_X, 10).number("fd", 5).number("domain", 2).number("type", 1);
    made_socket.then(&mut stream, &[]);
    let close = made(EventId::SYSCALL_CLOSE_X, 10).number("res", 0).number("fd", 5);
    let asked = [(d::SPORT, None), (d::SPORT, Some(d::WHATEVER_ROLE))];
    assert_eq!(close.asked(&mut stream, &asked), ["-", "0"]);
}

#[test]
fn a_switch_tells_faults_of_its_thread() {
    let mut stream = machine();
    let mut thread = Thread::new(11);
    thread.pid = 10;
    stream.add_thread(thread);
    let switch = made(EventId::SCHEDSWITCH_6_E, 11).number("pgft_min", 7).number("vm_rss", 9);
    assert_eq!(switch.then(&mut stream, &[t::PFMINOR, t::EXECTIME]), ["7", "0"]);
    assert_eq!(open(10, 3, "/a").then(&mut stream, &[t::PFMINOR, t::VMRSS]), ["0", "9"]);
    // The idle task is no thread, and has run, too.
    let idle = made(EventId::SCHEDSWITCH_6_E, 0).at(1_500);
    assert_ne!(idle.then(&mut stream, &[t::EXECTIME]), ["-"]);
}

#[test]
fn circles_of_parents_end() {
    let mut stream = machine();
    for (tid, ptid) in [(100, 101), (101, 100)] {
        let mut thread = Thread::new(tid);
        thread.ptid = ptid;
        thread.comm = (*b"sh").into();
        stream.add_thread(thread);
    }
    let said = open(100, 3, "/a").then(&mut stream, &[t::LOGINSHELLID, t::SNAME]);
    assert!(said.iter().all(|said| !said.is_empty()), "{said:?}");
}

#[test]
fn any_event_with_any_bytes_is_taken() {
    let mut stream = machine();
    let fields: Vec<FieldId> = nabe_event::field::all().map(|field| field.id).collect();
    for id in EventId::all().filter(|id| !id.row().flags.has(nabe_event::table::Flags::LARGE_PAYLOAD)) {
        for byte in [0, 1, 2, 10, 0x2f, 0xff] {
            for len in [0usize, 1, 2, 4, 8, 13, 37] {
                let mut made = made(id, 10);
                made.values.iter_mut().for_each(|value| *value = vec![byte; len]);
                let answered = made.then(&mut stream, if byte == 0xff { &fields } else { &[] });
                assert!(answered.len() <= fields.len());
            }
        }
    }
}

#[test]
fn iterators_tell_what_was_there() {
    let mut stream = Stream::new();
    made(EventId::ITER_TASK_E, 70)
        .number("ppid", 1)
        .text("comm", "nginx")
        .bytes("argv", b"nginx:\0master\0process\0")
        .text("exepath", "/usr/sbin/nginx")
        .text("cwd", "/srv")
        .number("euid", 33)
        .then(&mut stream, &[]);
    let socket = |fd, remote: [u8; 4], port| {
        made(EventId::ITER_TASK_FILE_SOCKET_INET_E, 70)
            .number("fd", fd)
            .number("sk_type", 1)
            .number("sk_proto", 6)
            .bytes("local_ip", &[10, 0, 0, 1])
            .number("local_port", 80)
            .bytes("remote_ip", &remote)
            .number("remote_port", port)
    };
    socket(3, [0; 4], 0).then(&mut stream, &[]);
    socket(4, [9, 9, 9, 9], 5000).then(&mut stream, &[]);
    made(EventId::ITER_TASK_FILE_REGULAR_E, 70)
        .number("fd", 5)
        .text("path", "/var/log/access.log")
        .then(&mut stream, &[]);
    let mut read = |fd, fields: &[FieldId]| {
        made(EventId::SYSCALL_READ_X, 70).number("res", 0).number("fd", fd).then(&mut stream, fields)
    };
    let said = read(4, &[p::NAME, t::ARGS, p::EXE, p::PPID, p::EUID, d::NAME, d::L4PROTO]);
    let name = "9.9.9.9:5000->10.0.0.1:80";
    assert_eq!(said, ["nginx", "master process", "/usr/sbin/nginx", "1", "33", name, "tcp"]);
    assert_eq!(read(3, &[d::NAME, d::IS_SERVER]), ["10.0.0.1:80", "true"]);
    assert_eq!(read(5, &[d::NAME, d::TYPE]), ["/var/log/access.log", "file"]);
    assert_eq!(open(70, 6, "x").then(&mut stream, &[d::NAME]), ["/srv/x"]);
}

#[test]
fn an_exec_closes_what_is_marked_and_ends_the_other_threads() {
    const THREAD_AND_FILES: i64 = 1 << 13 | 1;
    let mut stream = machine();
    open(10, 3, "/a").number("flags", 1 | 1 << 12).then(&mut stream, &[]);
    open(10, 4, "/b").then(&mut stream, &[]);
    made(EventId::SYSCALL_DUP3_X, 10).number("res", 5).number("oldfd", 3).then(&mut stream, &[]);
    fork(10, 11).number("flags", THREAD_AND_FILES).then(&mut stream, &[]);
    assert!(stream.thread(11).is_some());
    made(EventId::SYSCALL_EXECVE_19_X, 10)
        .number("res", 0)
        .text("comm", "cat")
        .number("pid", 10)
        .then(&mut stream, &[]);
    assert!(stream.thread(11).is_none());
    let mut name = |fd| {
        made(EventId::SYSCALL_READ_X, 10).number("res", 0).number("fd", fd).then(&mut stream, &[d::NAME])
    };
    assert_eq!([name(3), name(4), name(5)].concat(), ["-", "/b", "/a"]);
}

#[test]
fn children_of_who_ends_are_inherited() {
    let mut stream = machine();
    fork(10, 20).then(&mut stream, &[]);
    fork(20, 30).number("ptid", 10).then(&mut stream, &[]);
    assert_eq!(open(30, 3, "/a").then(&mut stream, &[p::PPID, t::PNAME]), ["20", "bash"]);
    let before = made(EventId::SYSCALL_READ_X, 30).then(&mut stream, &[p::PPID]);
    made(EventId::PROCEXIT_1_E, 20).number("reaper_tid", 10).then(&mut stream, &[]);
    let after = open(30, 4, "/a").then(&mut stream, &[p::PPID, t::PNAME]);
    assert_eq!((before[0].as_str(), after), ("20", vec!["10".to_owned(), "bash".to_owned()]));
    // A process lives on without its first thread.
    fork(30, 31).number("flags", 1 << 13 | 1).then(&mut stream, &[]);
    made(EventId::PROCEXIT_1_E, 30).then(&mut stream, &[]);
    let read = made(EventId::SYSCALL_READ_X, 31).number("res", 0).number("fd", 4);
    assert_eq!(read.then(&mut stream, &[d::NAME]), ["/a"]);
    made(EventId::PROCEXIT_1_E, 31).then(&mut stream, &[]);
    open(10, 3, "/a").then(&mut stream, &[]);
    assert!(stream.thread(30).is_none() && stream.thread(31).is_none());
}

#[test]
fn descriptors_come_with_messages() {
    let mut stream = machine();
    open(10, 7, "/old").then(&mut stream, &[]);
    let mut control = 24u64.to_le_bytes().to_vec();
    for number in [1i32, 1, 7, 8] {
        control.extend(number.to_le_bytes());
    }
    made(EventId::SOCKET_RECVMSG_X, 10)
        .number("res", 1)
        .number("fd", 3)
        .bytes("msgcontrol", &control)
        .then(&mut stream, &[]);
    let read = made(EventId::SYSCALL_READ_X, 10).number("res", 0).number("fd", 7);
    assert_eq!(read.then(&mut stream, &[d::NAME, d::TYPECHAR]), ["", "o"]);
}

/// A process that was born or that ended while the first picture was taken: there is room enough.
#[test]
fn descriptors_without_a_thread_are_no_loss() {
    let mut stream = machine();
    stream.add_descriptor(4711, 3, Descriptor::default());
    assert_eq!(stream.losses(), Losses::default());
    assert!(stream.thread(4711).is_none());
    open(4711, 3, "/a").then(&mut stream, &[]);
    let read = made(EventId::SYSCALL_READ_X, 4711).number("res", 0).number("fd", 3);
    assert_eq!(read.then(&mut stream, &[d::NAME]), ["/a"]);
}

#[test]
fn the_silent_are_forgotten_not_the_new() {
    const ROOM: i64 = 1 << 17;
    let mut stream = Stream::new();
    let came = 2 * ROOM;
    for tid in 1..=came {
        // One that is always there.
        if tid % 1000 == 0 {
            open(7, 3, "/a").at(tid.cast_unsigned()).then(&mut stream, &[]);
        }
        open(tid + 1000, 3, "/a").at(tid.cast_unsigned()).then(&mut stream, &[]);
    }
    assert!(stream.thread_count() <= 1 << 17);
    assert!(stream.thread(came + 1000).is_some() && stream.thread(7).is_some());
    assert!(stream.thread(1001).is_none());
    let losses = stream.losses();
    assert_eq!(losses.threads + stream.thread_count() as u64, came.cast_unsigned() + 1);
    assert_eq!(losses.descriptors, losses.threads);
}

#[test]
fn a_gap_is_doubted() {
    let mut stream = machine();
    open(10, 3, "/a").then(&mut stream, &[]);
    let read = |stream: &mut Stream| {
        let (lengths, mut data) = ([8, 0, 0, 0, 8, 0, 4, 0], 1i64.to_le_bytes().to_vec());
        data.extend(3i64.to_le_bytes());
        data.extend(1u32.to_le_bytes());
        let id = EventId::SYSCALL_READ_X;
        let params = Params::new(id, &lengths, &data).unwrap();
        let event = Event { id, cpu: 0, flags: 0, ts_ns: 5, tid: 10, params };
        stream.event(&event).is_doubtful()
    };
    assert!(!read(&mut stream));
    let data = b"\0\0\0\0loss\0{\"cause\":\"ring_full\",\"cpu\":0,\"events\":3}\0";
    let lengths = [4, 5, u32::try_from(data.len() - 9).unwrap()].map(u32::to_le_bytes).concat();
    let id = EventId::ASYNCEVENT_E;
    let params = Params::new(id, &lengths, data).unwrap();
    stream.event(&Event { id, cpu: 0, flags: 0, ts_ns: 4, tid: -1, params });
    assert!(read(&mut stream), "it may have been closed in the gap");
    open(10, 3, "/b").then(&mut stream, &[]);
    assert!(!read(&mut stream));
}

/// A thread of process 10.
fn spawn(tid: i64) -> Made {
    fork(10, tid).number("flags", 1 << 13 | 1)
}

#[test]
fn a_thread_that_unshares_its_descriptors_has_its_own() {
    for unshares in [
        made(EventId::SYSCALL_UNSHARE_X, 11).number("res", 0).number("flags", 1),
        made(EventId::SYSCALL_CLOSE_RANGE_X, 11)
            .number("res", 0)
            .number("first", 90)
            .number("last", 99)
            .number("flags", 2),
    ] {
        let mut stream = machine();
        spawn(11).then(&mut stream, &[]);
        open(10, 3, "/shared").then(&mut stream, &[]);
        let read = |tid| made(EventId::SYSCALL_READ_X, tid).number("res", 0).number("fd", 3);
        assert_eq!(read(11).then(&mut stream, &[d::NAME]), ["/shared"]);
        unshares.then(&mut stream, &[]);
        open(11, 3, "/own").then(&mut stream, &[]);
        assert_eq!(read(11).then(&mut stream, &[d::NAME]), ["/own"]);
        assert_eq!(read(10).then(&mut stream, &[d::NAME]), ["/shared"]);
    }
}

#[test]
fn joining_a_mount_namespace_moves_to_its_root() {
    for (kinds, file) in [(0, "/proc/7/ns/mnt"), (32, "/run/netns/x")] {
        let mut stream = machine();
        open(10, 3, file).then(&mut stream, &[]);
        let setns =
            made(EventId::SYSCALL_SETNS_X, 10).number("res", 0).number("fd", 3).number("nstype", kinds);
        assert_eq!(setns.then(&mut stream, &[p::CWD]), ["/"], "{file}");
    }
    let mut stream = machine();
    open(10, 3, "/proc/7/ns/net").then(&mut stream, &[]);
    let failed = made(EventId::SYSCALL_SETNS_X, 10).number("res", -1).number("fd", 3).number("nstype", 32);
    assert_eq!(failed.then(&mut stream, &[p::CWD]), ["/root/"]);
    let setns = made(EventId::SYSCALL_SETNS_X, 10).number("res", 0).number("fd", 3).number("nstype", 0);
    assert_eq!(setns.then(&mut stream, &[p::CWD]), ["/root/"]);
}

#[test]
fn who_makes_a_user_namespace_may_do_everything_in_it() {
    let mut stream = machine();
    let unshare = made(EventId::SYSCALL_UNSHARE_X, 10).number("res", 0).number("flags", 1 << 20);
    unshare.then(&mut stream, &[]);
    let [permitted, inheritable, effective] = stream.thread(10).unwrap().capabilities;
    assert_eq!((permitted, inheritable, effective), (Some((1 << 41) - 1), Some(0), Some((1 << 41) - 1)));
}

#[test]
fn a_thread_that_executes_takes_the_place_of_the_first_one() {
    let mut stream = machine();
    open(10, 3, "/kept").then(&mut stream, &[]);
    spawn(11).then(&mut stream, &[]);
    // The kernel ends the first thread, then hands its number over.
    made(EventId::PROCEXIT_1_E, 10).number("reaper_tid", 1).then(&mut stream, &[]);
    let exec =
        made(EventId::SYSCALL_EXECVE_19_X, 10).number("res", 0).text("exe", "/bin/new").text("comm", "new");
    assert_eq!(exec.number("pid", 10).then(&mut stream, &[p::NAME, p::PID]), ["new", "10"]);
    let read = made(EventId::SYSCALL_READ_X, 10).number("res", 0).number("fd", 3);
    assert_eq!(read.then(&mut stream, &[p::NAME, d::NAME]), ["new", "/kept"]);
    assert!(stream.thread(11).is_none());
}

#[test]
fn page_faults_happen_to_threads() {
    let mut stream = machine();
    made(EventId::SYSCALL_GETUID_X, 10).then(&mut stream, &[]);
    assert_eq!(
        made(EventId::PAGE_FAULT_E, 10).then(&mut stream, &[p::NAME, e::TYPE]),
        ["bash", "page_fault"]
    );
    assert_eq!(made(EventId::PAGE_FAULT_E, 99).then(&mut stream, &[p::NAME]), ["-"]);
}

#[test]
fn sockets_of_other_families_are_shown_as_such() {
    let mut stream = machine();
    let socket = |domain| {
        made(EventId::SOCKET_SOCKET_X, 10)
            .number("fd", 5)
            .number("domain", domain)
            .number("type", 3)
            .number("proto", 0)
    };
    let said = socket(17).then(&mut stream, &[d::TYPECHAR, d::TYPE, e::ARGS]);
    assert_eq!(said[..2], ["o", "-"]);
    assert!(said[2].starts_with("fd=5(<o>) domain=17(AF_PACKET) "), "{}", said[2]);
}

#[test]
fn devices_are_taken_apart_as_the_kernel_packs_them() {
    for (device, major, minor) in [(0xfe00, 254, 0), (0x801, 8, 1), (0x0010_0502, 5, 258), (0, 0, 0)] {
        let mut stream = machine();
        let said = open(10, 3, "/a")
            .number("dev", device)
            .then(&mut stream, &[d::DEV, d::DEV_MAJOR, d::DEV_MINOR, d::NAME_CHANGED]);
        assert_eq!(said, [device.to_string(), major.to_string(), minor.to_string(), "true".to_owned()]);
    }
}

#[test]
fn waiting_is_told_where_it_took_time() {
    let mut stream = machine();
    made(EventId::SYSCALL_NANOSLEEP_E, 10).at(1_000).then(&mut stream, &[]);
    let woken = made(EventId::SYSCALL_NANOSLEEP_X, 10).number("res", 0).at(3_500);
    assert_eq!(woken.then(&mut stream, &[e::WAIT_LATENCY]), ["2500"]);
    let other = made(EventId::SYSCALL_GETUID_X, 10).at(9_500);
    assert_eq!(other.then(&mut stream, &[e::WAIT_LATENCY]), ["-"]);
}
