//! The iterators against a live kernel: what is made here must be seen, as it is.
//!
//! Without root or BPF every test says so and passes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nabe_event::record::{
    Args, Cgroup, Fd, Fixed as _, Kind, Record, Records, Socket, Task, ThreadTimes, exe, flag, task,
};
use nabe_event::{Interest, Needs, symbol};
use nabe_probe::{Options, iter};

/// Says why the test that runs cannot run here (`xtask/src/tally.rs` counts these lines).
fn skip(reason: &str) {
    let thread = std::thread::current();
    eprintln!("SKIP {}: {}", thread.name().unwrap_or("iter"), reason.replace('\n', "; "));
}

/// The records of a snapshot.
struct Snapshot {
    bytes: Vec<u8>,
}

impl Snapshot {
    /// `None`, with a printed reason, where there is no BPF.
    fn take(interest: &Interest) -> Option<Self> {
        Self::take_with(interest, &Options::default())
    }

    fn take_with(interest: &Interest, options: &Options) -> Option<Self> {
        let mut bytes = Vec::new();
        match iter::snapshot(interest, options, &mut bytes) {
            Ok(report) => {
                for note in &report.notes {
                    eprintln!("note: {note}");
                }
                assert!(report.notes.is_empty() || kernel() < (5, 15), "{:?}", report.notes);
                Some(Self { bytes })
            }
            // Only what this machine lacks is a reason: a program that the verifier refuses is a bug.
            Err(
                error @ (iter::Error::NoBtf | iter::Error::Capability { .. } | iter::Error::OldKernel { .. }),
            ) => {
                skip(&error.consequence());
                None
            }
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
    }

    fn of_pid(needs: Needs, pid: u32) -> Option<Self> {
        Self::take(&Interest { pids: Some(vec![pid]), ..Interest::all(needs) })
    }

    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        Records::new(&self.bytes).map(Result::unwrap)
    }

    fn kind(&self, kind: Kind) -> impl Iterator<Item = Record<'_>> {
        self.records().filter(move |record| record.kind == Some(kind))
    }

    fn tasks(&self) -> impl Iterator<Item = (Task, Record<'_>)> {
        self.kind(Kind::Task).map(|record| (Task::decode(record.body), record))
    }

    fn task(&self, pid: u32) -> (Task, Record<'_>) {
        self.tasks().find(|(task, _)| task.pid == pid && task.tid == pid).expect("the task is there")
    }

    fn fds(&self) -> impl Iterator<Item = (Fd, Record<'_>)> {
        self.kind(Kind::Fd).map(|record| (Fd::decode(record.body), record))
    }

    fn fd(&self, pid: u32, fd: i32) -> (Fd, Record<'_>) {
        self.fds().find(|(f, _)| f.pid == pid && f.fd == fd).expect("the descriptor is there")
    }

    fn sockets(&self) -> impl Iterator<Item = (Fd, Socket, Record<'_>)> {
        self.fds().filter(|(_, record)| record.flags & flag::SOCKET != 0).map(|(fd, record)| {
            let socket = Socket::decode(record.body.get(Fd::SIZE..).unwrap());
            assert_eq!(fd.socket_len as usize, Socket::SIZE);
            (fd, socket, record)
        })
    }

    fn socket(&self, pid: u32, fd: i32) -> (Socket, Record<'_>) {
        let (_, socket, record) =
            self.sockets().find(|(f, ..)| f.pid == pid && f.fd == fd).expect("the socket is there");
        (socket, record)
    }

    /// All pieces of the command line and the environment of `pid`.
    fn args(&self, pid: u32) -> (Vec<u8>, Vec<u8>) {
        let (mut argv, mut env) = (Vec::new(), Vec::new());
        for record in self.kind(Kind::Args) {
            let args = Args::decode(record.body);
            if args.pid == pid {
                assert_eq!(args.error, 0);
                if args.argv_len > 0 {
                    assert_eq!(args.argv_offset as usize, argv.len());
                }
                argv.extend_from_slice(record.text(Args::SIZE, 0, args.argv_len as usize));
                env.extend_from_slice(record.text(Args::SIZE, args.argv_len as usize, args.env_len as usize));
            }
        }
        (argv, env)
    }
}

fn fd_path<'a>((fd, record): &(Fd, Record<'a>)) -> &'a [u8] {
    record.text(Fd::SIZE, fd.socket_len as usize, fd.path_len as usize)
}

fn exe_of<'a>((task, record): &(Task, Record<'a>)) -> &'a [u8] {
    record.text(Task::SIZE, 0, task.exe_len.into())
}

fn cwd_of<'a>((task, record): &(Task, Record<'a>)) -> &'a [u8] {
    record.text(Task::SIZE, task.exe_len.into(), task.cwd_len.into())
}

fn comm_of(task: &Task) -> &[u8] {
    task.comm.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A child that is killed and reaped in the end.
struct Kept(Child);

impl Kept {
    fn spawn(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a child of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid() as i32, signal) }, 0);
    }

    /// Waits until /proc says that it is in this state.
    fn wait_state(&self, wanted: char) {
        for _ in 0..500 {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
            let state = stat.rsplit_once(") ").unwrap().1.chars().next().unwrap();
            if state == wanted {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{} never was in state {wanted}", self.pid());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that goes in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nabe-iter-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(fs::canonicalize(path).unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Major and minor version of the running kernel.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn me() -> u32 {
    std::process::id()
}

fn ns_inode(pid: u32, kind: &str) -> u32 {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).unwrap().ino() as u32
}

#[test]
fn this_process_is_as_proc_says() {
    let needs = Needs::TASK | Needs::EXE | Needs::CWD | Needs::ARGS | Needs::ENV | Needs::CGROUP;
    let Some(snapshot) = Snapshot::take(&Interest::all(needs)) else { return };
    let found = snapshot.task(me());
    let (task, _) = &found;
    assert_eq!(task.ppid, std::os::unix::process::parent_id());
    assert_eq!(comm_of(task), fs::read_to_string("/proc/self/comm").unwrap().trim_end().as_bytes());
    assert_eq!(exe_of(&found), std::env::current_exe().unwrap().as_os_str().as_encoded_bytes());
    assert_eq!(cwd_of(&found), std::env::current_dir().unwrap().as_os_str().as_encoded_bytes());
    assert_eq!(task.bits & (task::HAS_MM | task::KTHREAD), task::HAS_MM);
    assert_eq!(task.exe_flags, exe::KNOWN);
    assert_eq!(task.exe_inode, fs::metadata("/proc/self/exe").unwrap().ino());
    for (kind, inode) in [
        ("uts", task.ns_uts),
        ("ipc", task.ns_ipc),
        ("mnt", task.ns_mnt),
        ("pid_for_children", task.ns_pid),
        ("pid", task.ns_pid_own),
        ("net", task.ns_net),
        ("cgroup", task.ns_cgroup),
        ("user", task.ns_user),
        ("time", task.ns_time),
    ] {
        assert_eq!(inode, ns_inode(me(), kind), "{kind}");
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("Uid:")[..3], [task.ruid, task.euid, task.suid].map(|id| id.to_string()));
    assert_eq!(line("Gid:")[..3], [task.rgid, task.egid, task.sgid].map(|id| id.to_string()));
    for (name, caps) in [
        ("CapInh:", task.cap_inheritable),
        ("CapPrm:", task.cap_permitted),
        ("CapEff:", task.cap_effective),
        ("CapBnd:", task.cap_bounding),
        ("CapAmb:", task.cap_ambient),
    ] {
        assert_eq!(line(name), [format!("{caps:016x}")], "{name}");
    }
    let (argv, env) = snapshot.args(me());
    assert_eq!(argv, fs::read("/proc/self/cmdline").unwrap());
    assert_eq!(env, fs::read("/proc/self/environ").unwrap());
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<i64> =
        stat.rsplit_once(") ").unwrap().1.split(' ').skip(1).map_while(|n| n.trim().parse().ok()).collect();
    let expected = [task.pgid as i64, task.sid as i64, i64::from(task.tty as i32)];
    assert_eq!(fields[1..4], expected);
    assert_eq!([fields[14], fields[15]], [i64::from(task.priority), i64::from(task.nice)]);
    // The other tests start and stop threads: the number is not compared, only that it is one.
    assert!(task.threads >= 1);
}

#[test]
fn every_hierarchy_has_the_path_that_proc_has() {
    let Some(snapshot) = Snapshot::of_pid(Needs::TASK | Needs::CGROUP, me()) else { return };
    let (task, _) = snapshot.task(me());
    let mut found: Vec<(u32, String)> = snapshot
        .kind(Kind::Cgroup)
        .map(|record| {
            let cgroup = Cgroup::decode(record.body);
            assert_eq!(cgroup.cgroup_set, task.cgroup_set);
            if cgroup.hierarchy == 0 {
                assert_eq!(cgroup.cgroup_id, task.cgroup_id);
            }
            let path = record.text(Cgroup::SIZE, cgroup.name_len.into(), cgroup.path_len.into());
            let names: Vec<_> =
                path.split(|b| *b == 0).filter(|n| !n.is_empty()).map(String::from_utf8_lossy).collect();
            (
                cgroup.hierarchy,
                names.into_iter().rev().fold(String::new(), |path, name| format!("{path}/{name}")),
            )
        })
        .collect();
    found.sort();
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut told: Vec<(u32, String)> = text
        .lines()
        .map(|line| {
            let mut parts = line.splitn(3, ':');
            let id = parts.next().unwrap().parse().unwrap();
            let path = parts.nth(1).unwrap();
            (id, if path == "/" { String::new() } else { path.to_owned() })
        })
        .collect();
    told.sort();
    // /proc leaves out a v2 tree that was never mounted, and v1 hierarchies without a mount.
    found.retain(|(id, _)| told.iter().any(|(known, _)| known == id));
    assert_eq!(found, told);
}

#[test]
fn a_zombie_is_one() {
    let mut child = Command::new("true").spawn().unwrap();
    let kept_state = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ");
    while !kept_state(child.id()) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    if let Some(snapshot) = Snapshot::of_pid(Needs::TASK | Needs::EXE | Needs::ARGS | Needs::RSS, child.id())
    {
        let (task, record) = snapshot.task(child.id());
        assert_eq!(task.state & 0x30, 0x20, "EXIT_ZOMBIE");
        assert_eq!((task.vm_pages, task.exe_len, task.ns_net), (0, 0, 0));
        assert_eq!(record.flags, 0);
        assert_eq!(snapshot.kind(Kind::Args).count(), 0);
    }
    child.wait().unwrap();
}

#[test]
fn threads_are_rows_or_times() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (say, said) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("iter-thread".to_owned())
        .spawn(move || {
            // SAFETY: it cannot fail.
            say.send(unsafe { libc::gettid() } as u32).unwrap();
            let _ = gone.recv();
        })
        .unwrap();
    let tid = said.recv().unwrap();
    if let Some(rows) = Snapshot::of_pid(Needs::TASK | Needs::THREADS, me()) {
        let (row, _) = rows.tasks().find(|(task, _)| task.tid == tid).unwrap();
        assert_eq!(row.pid, me());
        assert_eq!(comm_of(&row), b"iter-thread");
        assert_eq!((row.vpid, row.vtid), (me(), tid));
    }
    if let Some(times) = Snapshot::of_pid(Needs::TASK | Needs::THREAD_TIMES, me()) {
        assert_eq!(times.tasks().count(), 1);
        assert!(
            times
                .kind(Kind::ThreadTimes)
                .map(|r| ThreadTimes::decode(r.body))
                .any(|t| t.tid == tid && t.pid == me())
        );
    }
    drop(go);
    thread.join().unwrap();
}

#[test]
fn long_command_lines_come_whole() {
    // A single argument may have 128 KiB, all of them 2 MiB with the usual stack limit of 8 MiB.
    let long = "y".repeat(100_000);
    for count in [1, 12] {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & wait; :", "sh"]).args(vec![&long; count]).env("LONG", &long);
        let child = Kept::spawn(&mut command);
        child.wait_state('S');
        let Some(snapshot) = Snapshot::take(&Interest::all(Needs::TASK | Needs::ARGS | Needs::ENV)) else {
            return;
        };
        let (argv, env) = snapshot.args(child.pid());
        assert_eq!(argv, fs::read(format!("/proc/{}/cmdline", child.pid())).unwrap());
        assert!(argv.len() > 100_000 * count);
        assert_eq!(env, fs::read(format!("/proc/{}/environ", child.pid())).unwrap());
        // The sleep of the shell dies with its parent's process group being ours only by name.
        for (task, _) in snapshot.tasks().filter(|(task, _)| task.ppid == child.pid()) {
            // SAFETY: a child of our child, alive a moment ago.
            unsafe { libc::kill(task.pid as i32, libc::SIGKILL) };
        }
    }
}

#[test]
fn long_paths_come_whole() {
    let scratch = Scratch::new("long");
    // Deeper than one call may name: directory by directory.
    let name = "d".repeat(250);
    let mut path = scratch.0.clone();
    while path.as_os_str().len() + 251 < 4000 {
        path.push(&name);
    }
    fs::create_dir_all(&path).unwrap();
    path.push("f".repeat(4000 - path.as_os_str().len() - 1));
    let file = fs::File::create(&path).unwrap();
    if let Some(snapshot) = Snapshot::of_pid(Needs::TASK | Needs::FD | Needs::FD_PATH, me()) {
        let found = snapshot.fd(me(), file.as_raw_fd());
        assert_eq!(fd_path(&found), path.as_os_str().as_encoded_bytes());
        assert_eq!(found.1.flags, 0);
    }
    let child = {
        let mut command = Command::new("sleep");
        Kept::spawn(command.arg("60").current_dir(path.parent().unwrap()))
    };
    if let Some(snapshot) = Snapshot::of_pid(Needs::TASK | Needs::CWD, child.pid()) {
        let found = snapshot.task(child.pid());
        assert_eq!(cwd_of(&found), path.parent().unwrap().as_os_str().as_encoded_bytes());
    }
}

#[test]
fn descriptors_are_as_stat_says() {
    let scratch = Scratch::new("stat");
    let path = scratch.0.join("fünf");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"12345").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    // SAFETY: plain calls that open descriptors, which are then owned.
    let [epoll, event, memfd] = unsafe {
        [
            OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)),
            OwnedFd::from_raw_fd(libc::eventfd(0, 0)),
            OwnedFd::from_raw_fd(libc::memfd_create(c"thing".as_ptr(), 0)),
        ]
    };
    let directory = fs::File::open(&scratch.0).unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let Some(snapshot) = Snapshot::of_pid(Needs::TASK | Needs::FD | Needs::FD_PATH, me()) else { return };
    let meta = file.metadata().unwrap();
    let found = snapshot.fd(me(), file.as_raw_fd());
    let fd = found.0;
    assert_eq!(fd_path(&found), path.as_os_str().as_encoded_bytes());
    assert_eq!((fd.inode, fd.size, fd.offset), (meta.ino(), 5, 5));
    assert_eq!((fd.mode, u64::from(fd.nlink)), (meta.mode(), meta.nlink()));
    assert_eq!(fd.access, 2);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
    let line = |name: &str| info.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(line("flags:"), format!("0{:o}", fd.open_flags));
    assert_eq!(line("mnt_id:"), fd.mount_id.to_string());
    for (raw, kind, path) in [
        (reader.as_raw_fd(), "pipe", None),
        (writer.as_raw_fd(), "pipe", None),
        (epoll.as_raw_fd(), "epoll", Some("anon_inode:[eventpoll]")),
        (event.as_raw_fd(), "eventfd", Some("anon_inode:[eventfd]")),
        (memfd.as_raw_fd(), "memfd", Some("/memfd:thing (deleted)")),
        (directory.as_raw_fd(), "directory", scratch.0.to_str()),
        (null.as_raw_fd(), "device", Some("/dev/null")),
        (file.as_raw_fd(), "file", None),
    ] {
        let found = snapshot.fd(me(), raw);
        assert_eq!(symbol::FD_TYPE.name(found.0.fd_type.into()), Some(kind));
        if let Some(path) = path {
            assert_eq!(String::from_utf8_lossy(fd_path(&found)), path);
        }
        let link = fs::read_link(format!("/proc/self/fd/{raw}")).unwrap();
        assert_eq!(fd_path(&found), link.as_os_str().as_encoded_bytes());
    }
    assert_eq!(snapshot.fd(me(), null.as_raw_fd()).0.rdev, 1 << 20 | 3);
    fs::remove_file(&path).unwrap();
    let snapshot = Snapshot::of_pid(Needs::TASK | Needs::FD | Needs::FD_PATH, me()).unwrap();
    let found = snapshot.fd(me(), file.as_raw_fd());
    assert_eq!(found.0.nlink, 0);
    assert!(fd_path(&found).ends_with(" (deleted)".as_bytes()));
}

#[test]
fn unix_names_end_where_they_end() {
    let name = format!("nabe-iter-{}", me());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let scratch = Scratch::new("unix");
    let path = scratch.0.join("s");
    let named = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    let (server, _) = named.accept().unwrap();
    (&server).write_all(b"seven b").unwrap();
    let interest =
        Interest { only_sockets: true, families: Some(vec![1]), ..Interest::all(Needs::TASK | Needs::FD) };
    let Some(snapshot) = Snapshot::take(&interest) else { return };
    let text = |socket: &Socket, record: &Record<'_>| {
        let own = record.text(Fd::SIZE, Socket::SIZE, socket.name_len.into()).to_vec();
        (
            own,
            record
                .text(Fd::SIZE, Socket::SIZE + usize::from(socket.name_len), socket.peer_len.into())
                .to_vec(),
        )
    };
    let (socket, record) = snapshot.socket(me(), listener.as_raw_fd());
    assert_eq!(text(&socket, &record).0, [b"\0", name.as_bytes()].concat());
    assert_eq!((socket.family, socket.sock_type, socket.state), (1, 1, 10));
    assert_eq!(socket.netns, ns_inode(me(), "net"));
    let (socket, record) = snapshot.socket(me(), client.as_raw_fd());
    let path = path.as_os_str().as_encoded_bytes().to_vec();
    assert_eq!(text(&socket, &record), (Vec::new(), path.clone()));
    assert_eq!((socket.state, socket.rx_queue), (1, 7));
    let peer = snapshot.fd(me(), server.as_raw_fd());
    assert_eq!(socket.peer_inode, peer.0.inode);
    let (socket, record) = snapshot.socket(me(), server.as_raw_fd());
    assert_eq!(text(&socket, &record), (path, Vec::new()));
    assert!(snapshot.sockets().all(|(_, socket, _)| socket.family == 1));
    assert_eq!(snapshot.fds().count(), snapshot.sockets().count());
}

#[test]
fn other_families_are_named() {
    // SAFETY: plain calls that open descriptors, which are then owned.
    let open = |family, kind, protocol| unsafe {
        let fd = libc::socket(family, kind, protocol);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    };
    let netlink = open(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE);
    let packet = open(libc::AF_PACKET, libc::SOCK_DGRAM, i32::from(0x0800_u16.to_be()));
    let raw = open(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
    let seqpacket = open(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0);
    let Some(snapshot) = Snapshot::of_pid(Needs::TASK | Needs::FD, me()) else { return };
    for (fd, family, kind, protocol) in
        [(&netlink, 16, 3, 0), (&packet, 17, 2, 0x0800), (&raw, 2, 3, 1), (&seqpacket, 1, 5, 0)]
    {
        let Some(fd) = fd else {
            skip(&format!("family {family} cannot be opened here"));
            continue;
        };
        let (socket, _) = snapshot.socket(me(), fd.as_raw_fd());
        assert_eq!((socket.family, socket.sock_type, socket.protocol), (family, kind, protocol));
        assert_eq!((socket.src_port, socket.dst_port), (0, 0));
    }
}

#[test]
fn sockets_of_another_namespace_and_in_time_wait() {
    if Snapshot::of_pid(Needs::TASK, me()).is_none() {
        return;
    }
    // A listener, a connection closed first by the server (TIME-WAIT), in a namespace of its own.
    let script = "import socket,os,sys,subprocess\n\
        subprocess.run(['ip','link','set','lo','up'],check=True)\n\
        l=socket.socket(); l.bind(('127.0.0.1',4711)); l.listen(9)\n\
        c=socket.create_connection(('127.0.0.1',4711)); s,_=l.accept()\n\
        s.shutdown(1); c.recv(1); s.close(); c.close()\n\
        print('ready',flush=True); sys.stdin.read()\n";
    let spawned = Command::new("unshare")
        .args(["-n", "python3", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        skip("no unshare");
        return;
    };
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut child = Kept(child);
    if line != "ready\n" {
        skip("no network namespace, ip or python3");
        return;
    }
    let interest = Interest {
        states: Some(vec![6, 10]),
        ..Interest::all(Needs::TASK | Needs::FD | Needs::ORPHAN_SOCKETS)
    };
    let snapshot = Snapshot::take(&interest).unwrap();
    let netns = ns_inode(child.pid(), "net");
    let (_, listener, _) = snapshot
        .sockets()
        .find(|(fd, socket, _)| fd.pid == child.pid() && socket.netns == netns)
        .expect("the listener is there");
    assert_eq!((listener.src_port, listener.state, listener.tx_queue), (4711, 10, 9));
    assert_eq!(&listener.src_addr[..4], Ipv4Addr::LOCALHOST.octets());
    let waiting: Vec<_> = snapshot.sockets().filter(|(fd, s, _)| fd.pid == 0 && s.netns == netns).collect();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let (fd, socket, _) = &waiting[0];
    assert_eq!((fd.fd, socket.state, socket.src_port), (-1, 6, 4711));
    assert_eq!((socket.family, socket.sock_type, socket.protocol), (2, 1, 6));
    // Closing its input ends it.
    drop(child.0.stdin.take());
    child.0.wait().unwrap();
}

#[test]
fn tcp_queues_and_ports() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, from) = listener.accept().unwrap();
    client.write_all(b"elevenbytes").unwrap();
    let Some(snapshot) = Snapshot::of_pid(Needs::TASK | Needs::FD, me()) else { return };
    let (socket, _) = snapshot.socket(me(), server.as_raw_fd());
    assert_eq!((socket.src_port, socket.dst_port), (listener.local_addr().unwrap().port(), from.port()));
    assert_eq!((socket.state, socket.protocol, socket.rx_queue), (1, 6, 11));
    assert_eq!(&socket.dst_addr[..4], Ipv4Addr::LOCALHOST.octets());
}

/// A copy of sleep(1), so that it can be deleted.
fn sleep_copy(scratch: &Path) -> PathBuf {
    let copy = scratch.join("sleepy");
    fs::copy(fs::canonicalize("/usr/bin/sleep").or_else(|_| fs::canonicalize("/bin/sleep")).unwrap(), &copy)
        .unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn deleted_and_memfd_executables_are_told() {
    let scratch = Scratch::new("deleted");
    let copy = sleep_copy(&scratch.0);
    let child = Kept::spawn(Command::new(&copy).arg("60"));
    let text = fs::read(&copy).unwrap();
    // SAFETY: plain call that opens a descriptor, which is then owned.
    let mut memfd = fs::File::from(unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"evil".as_ptr(), 0)) });
    memfd.write_all(&text).unwrap();
    let hidden = Kept::spawn(Command::new(format!("/proc/{}/fd/{}", me(), memfd.as_raw_fd())).arg("60"));
    fs::remove_file(&copy).unwrap();
    let needs = Needs::TASK | Needs::EXE;
    let Some(snapshot) = Snapshot::of_pid(needs, child.pid()) else { return };
    let found = snapshot.task(child.pid());
    assert_eq!(found.0.exe_flags, exe::KNOWN | exe::DELETED);
    assert_eq!(exe_of(&found), format!("{} (deleted)", copy.display()).as_bytes());
    assert_eq!(found.0.exe_nlink, 0);
    let snapshot = Snapshot::of_pid(needs, hidden.pid()).unwrap();
    let found = snapshot.task(hidden.pid());
    assert_eq!(found.0.exe_flags, exe::KNOWN | exe::MEMFD);
    assert_eq!(exe_of(&found), b"/memfd:evil (deleted)");
}

#[test]
fn one_pid_is_one_record() {
    let Some(snapshot) = Snapshot::of_pid(Needs::TASK, me()) else { return };
    assert_eq!(snapshot.records().count(), 1);
    assert_eq!(snapshot.tasks().next().unwrap().0.pid, me());
    let Some(none) = Snapshot::take(&Interest { pids: Some(Vec::new()), ..Interest::all(Needs::TASK) })
    else {
        return;
    };
    assert_eq!(none.records().count(), 0);
}

#[test]
fn the_kernel_selects() {
    let child = Kept::spawn(Command::new("sleep").arg("60").uid(4_000_000_000));
    child.wait_state('S');
    let by_euid = Interest { euids: Some(vec![4_000_000_000]), ..Interest::all(Needs::TASK) };
    let Some(snapshot) = Snapshot::take(&by_euid) else { return };
    assert_eq!(snapshot.tasks().map(|(task, _)| task.pid).collect::<Vec<_>>(), [child.pid()]);
    let by_name = Interest { names: Some(vec![b"sleep".to_vec()]), ..Interest::all(Needs::TASK) };
    let snapshot = Snapshot::take(&by_name).unwrap();
    assert!(snapshot.tasks().any(|(task, _)| task.pid == child.pid()));
    assert!(snapshot.tasks().all(|(task, _)| comm_of(&task) == b"sleep"));
    // More pids than are walked alone.
    let many: Vec<u32> = (1..=200).chain([child.pid()]).collect();
    let snapshot =
        Snapshot::take(&Interest { pids: Some(many.clone()), ..Interest::all(Needs::TASK) }).unwrap();
    assert!(snapshot.tasks().any(|(task, _)| task.pid == child.pid()));
    assert!(snapshot.tasks().all(|(task, _)| many.contains(&task.pid)));
}

#[test]
fn what_is_kept_gives_the_same_records() {
    let scratch = Scratch::new("cache");
    let directory = scratch.0.join("programs");
    let child = Kept::spawn(Command::new("sleep").arg("60"));
    child.wait_state('S');
    child.signal(libc::SIGSTOP);
    child.wait_state('T');
    let needs = Needs::TASK
        | Needs::RSS
        | Needs::CGROUP
        | Needs::EXE
        | Needs::CWD
        | Needs::ARGS
        | Needs::ENV
        | Needs::FD
        | Needs::FD_PATH;
    let interest = Interest { pids: Some(vec![child.pid()]), ..Interest::all(needs) };
    let options = Options { cache: Some(directory.clone()), ..Options::default() };
    let Some(first) = Snapshot::take_with(&interest, &options) else { return };
    let file = directory.join("iterators");
    let written = fs::metadata(&file).unwrap();
    let second = Snapshot::take_with(&interest, &options).unwrap();
    assert_eq!(first.bytes, second.bytes);
    assert_eq!(fs::metadata(&file).unwrap().ino(), written.ino(), "it was used, not written again");
    // Damage is noticed and mended.
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(Snapshot::take_with(&interest, &options).unwrap().bytes, first.bytes);
    assert_ne!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn resident_memory_is_exact() {
    let script = "x = bytearray(20_000_000); print('ready', flush=True); import time; time.sleep(60)";
    let spawned = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        skip("no python3");
        return;
    };
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let child = Kept(child);
    child.signal(libc::SIGSTOP);
    child.wait_state('T');
    let Some(snapshot) = Snapshot::of_pid(Needs::TASK | Needs::RSS, child.pid()) else { return };
    let (task, _) = snapshot.task(child.pid());
    let status = fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse().unwrap()
    };
    // SAFETY: it cannot fail.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64 / 1024;
    assert!(task.rss_anon_pages * page > 19_000);
    assert_eq!(task.vm_pages * page, kib("VmSize:"));
    // /proc/PID/status sums exactly since 6.17 and approximates from 6.2 on; smaps counts pages.
    let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", child.pid())).unwrap();
    let anonymous: u64 = smaps
        .lines()
        .find_map(|l| l.strip_prefix("Anonymous:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert_eq!(task.rss_anon_pages * page, anonymous);
    let near = |a: u64, b: u64| a.abs_diff(b) <= 512;
    assert!(near(task.rss_anon_pages * page, kib("RssAnon:")));
    assert!(near(task.rss_file_pages * page, kib("RssFile:")));
}

#[test]
fn another_pid_namespace_has_its_own_numbers() {
    let spawned = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "sleep", "60"])
        .stdin(Stdio::null())
        .spawn();
    let Ok(child) = spawned else {
        skip("no unshare");
        return;
    };
    let child = Kept(child);
    for _ in 0..500 {
        let Some(snapshot) = Snapshot::take(&Interest::all(Needs::TASK)) else { return };
        let inner = snapshot.tasks().find(|(task, _)| task.ppid == child.pid()).map(|(task, _)| task);
        if let Some(task) = inner.filter(|task| comm_of(task) == b"sleep") {
            assert_eq!((task.vpid, task.vtid, task.pidns_level), (1, 1, 1 + own_level()));
            assert_eq!(task.ns_pid_own, ns_inode(task.pid, "pid"));
            assert_ne!(task.ns_pid_own, ns_inode(me(), "pid"));
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the child in its namespace was never seen");
}

#[test]
fn a_reader_inside_a_pid_namespace_counts_as_it_does() {
    // The same tests again, where this process has another number: `me()` is that one.
    for nested in [1, 2] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]);
        for _ in 1..nested {
            command.args(["unshare", "--pid", "--fork", "--mount-proc"]);
        }
        command.arg(std::env::current_exe().unwrap()).args([
            "--exact",
            "one_pid_is_one_record",
            "this_process_is_as_proc_says",
            "tcp_queues_and_ports",
        ]);
        let Ok(output) = command.output() else {
            skip("no unshare");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.contains("running 3 tests") {
            skip(&format!("no PID namespace: {}", String::from_utf8_lossy(&output.stderr)));
            return;
        }
        assert!(output.status.success(), "{said}");
    }
}

fn own_level() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
    numbers.split_ascii_whitespace().count() as u32 - 1
}

#[test]
fn features_agree_with_what_was_seen() {
    if Snapshot::of_pid(Needs::TASK, me()).is_none() {
        return;
    }
    let features = iter::features();
    let task = features.iter().find(|feature| feature.name == "iter/task").unwrap();
    assert_eq!(task.ok, Ok(()));
    assert!(features.iter().all(|feature| !feature.minimum.is_empty()));
}
