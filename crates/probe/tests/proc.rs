//! The `/proc` backend against processes that these tests start, descriptors that they open, and
//! what the standard library and `/proc` itself say of them.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use nabe_event::record::{Args, Cgroup, Fd, Fixed, Kind, Records, Socket, Task, exe, flag, task};
use nabe_event::{Interest, Needs};
use nabe_probe::proc;

/// A child that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts `command` and waits until it has become the new program.
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::wait(unless_busy(|| command.spawn()))
    }

    /// The standard library returns when exec closes descriptors, which is before the kernel has the
    /// new program's name and arguments.
    fn wait(child: Child) -> Self {
        let running = Self(child);
        while std::fs::read(format!("/proc/{}/cmdline", running.pid())).unwrap().is_empty() {
            std::thread::yield_now();
        }
        running
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

/// A program that was just copied is busy while a child of another test, which inherited the copy's
/// descriptor, has not reached its own exec.
fn unless_busy<T>(mut run: impl FnMut() -> std::io::Result<T>) -> T {
    loop {
        match run() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            result => return result.unwrap(),
        }
    }
}

#[derive(Debug)]
struct OneTask {
    task: Task,
    flags: u16,
    exe: Vec<u8>,
    cwd: Vec<u8>,
    name: Vec<u8>,
}

#[derive(Debug)]
struct OneFd {
    fd: Fd,
    flags: u16,
    socket: Option<Socket>,
    path: Vec<u8>,
    name: Vec<u8>,
    peer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Seen {
    tasks: Vec<OneTask>,
    fds: Vec<OneFd>,
    /// pid, errno, argv, env.
    args: Vec<(u32, u32, Vec<u8>, Vec<u8>)>,
    cgroups: Vec<(Cgroup, Vec<u8>, Vec<u8>)>,
    notes: Vec<String>,
}

impl Seen {
    fn read(bytes: &[u8], notes: Vec<String>) -> Self {
        let mut seen = Self { notes, ..Self::default() };
        for record in Records::new(bytes) {
            let record = record.unwrap();
            assert_ne!(record.flags & flag::FROM_PROC, 0);
            match record.kind.unwrap() {
                Kind::Task => {
                    let task = Task::decode(record.body);
                    let (exe, cwd): (usize, usize) = (task.exe_len.into(), task.cwd_len.into());
                    seen.tasks.push(OneTask {
                        task,
                        flags: record.flags,
                        exe: record.text(Task::SIZE, 0, exe).to_vec(),
                        cwd: record.text(Task::SIZE, exe, cwd).to_vec(),
                        name: record.text(Task::SIZE, exe + cwd, task.name_len.into()).to_vec(),
                    });
                }
                Kind::Fd => {
                    let fd = Fd::decode(record.body);
                    let socket =
                        (record.flags & flag::SOCKET != 0).then(|| Socket::decode(&record.body[Fd::SIZE..]));
                    let (skip, path) = (fd.socket_len as usize, fd.path_len as usize);
                    let name = socket.map_or(0, |s| s.name_len).into();
                    let peer = socket.map_or(0, |s| s.peer_len).into();
                    seen.fds.push(OneFd {
                        fd,
                        flags: record.flags,
                        socket,
                        path: record.text(Fd::SIZE, skip, path).to_vec(),
                        name: record.text(Fd::SIZE, skip + path, name).to_vec(),
                        peer: record.text(Fd::SIZE, skip + path + name, peer).to_vec(),
                    });
                }
                Kind::Args => {
                    let args = Args::decode(record.body);
                    let (argv, env) = (args.argv_len as usize, args.env_len as usize);
                    let at = seen.args.iter().position(|(pid, ..)| *pid == args.pid);
                    let at = at.unwrap_or_else(|| {
                        seen.args.push((args.pid, 0, Vec::new(), Vec::new()));
                        seen.args.len() - 1
                    });
                    let one = &mut seen.args[at];
                    one.1 = one.1.max(args.error);
                    if argv > 0 {
                        assert_eq!(args.argv_offset as usize, one.2.len());
                    }
                    if env > 0 {
                        assert_eq!(args.env_offset as usize, one.3.len());
                    }
                    one.2.extend_from_slice(record.text(Args::SIZE, 0, argv));
                    one.3.extend_from_slice(record.text(Args::SIZE, argv, env));
                }
                Kind::Cgroup => {
                    let cgroup = Cgroup::decode(record.body);
                    let name = record.text(Cgroup::SIZE, 0, cgroup.name_len.into()).to_vec();
                    let path = record.text(Cgroup::SIZE, name.len(), cgroup.path_len.into()).to_vec();
                    seen.cgroups.push((cgroup, name, path));
                }
                other => panic!("{other:?} was not asked for"),
            }
        }
        seen
    }

    fn task(&self, pid: u32) -> &OneTask {
        self.tasks.iter().find(|one| one.task.tid == pid).unwrap_or_else(|| panic!("{pid} is not there"))
    }

    fn fd(&self, pid: u32, fd: i32) -> &OneFd {
        let is = |one: &&OneFd| one.fd.pid == pid && one.fd.fd == fd;
        self.fds.iter().find(is).unwrap_or_else(|| {
            let there: Vec<i32> =
                self.fds.iter().filter(|one| one.fd.pid == pid).map(|one| one.fd.fd).collect();
            panic!("descriptor {fd} of {pid} is not there, but {there:?}; {:?}", self.notes)
        })
    }

    fn socket(&self, fd: &impl std::os::fd::AsRawFd) -> (Socket, &OneFd) {
        let one = self.fd(std::process::id(), fd.as_raw_fd());
        (one.socket.unwrap_or_else(|| panic!("{one:?} is no socket")), one)
    }
}

fn all(needs: Needs) -> Seen {
    snapshot(&Interest::all(needs))
}

fn snapshot(interest: &Interest) -> Seen {
    let mut bytes = Vec::new();
    let report = proc::snapshot(interest, &mut bytes).unwrap();
    Seen::read(&bytes, report.notes)
}

fn only(pid: u32, needs: Needs) -> Seen {
    snapshot(&Interest { pids: Some(vec![pid]), ..Interest::all(needs) })
}

fn link(path: &str) -> Vec<u8> {
    std::fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn comm(task: &Task) -> &[u8] {
    task.comm.split(|byte| *byte == 0).next().unwrap()
}

#[test]
fn this_process() {
    let me = std::process::id();
    let needs = Needs::TASK | Needs::TASK_DETAIL | Needs::EXE | Needs::CWD | Needs::CGROUP | Needs::RSS;
    let seen = all(needs);
    let one = seen.task(me);
    let t = &one.task;
    assert_eq!(one.flags & flag::UNREAD, 0);
    assert_eq!((t.pid, t.tid), (me, me));
    assert_eq!(t.ppid, std::os::unix::process::parent_id());
    let meta = std::fs::metadata("/proc/self").unwrap();
    assert_eq!((t.euid, t.egid), (meta.uid(), meta.gid()));
    assert_eq!(one.exe, std::env::current_exe().unwrap().as_os_str().as_bytes());
    assert_eq!(one.cwd, std::env::current_dir().unwrap().as_os_str().as_bytes());
    let file = std::fs::metadata("/proc/self/exe").unwrap();
    assert_eq!((t.exe_inode, u64::from(t.exe_nlink)), (file.ino(), file.nlink()));
    assert_eq!(t.exe_flags & (exe::DELETED | exe::MEMFD), 0);
    let main = std::fs::read(format!("/proc/{me}/comm")).unwrap();
    assert_eq!(comm(t), main.trim_ascii_end());
    assert_eq!(t.bits & (task::HAS_MM | task::KTHREAD), task::HAS_MM);
    assert!(t.vm_pages > 0 && t.rss_anon_pages > 0 && t.rss_file_pages > 0);
    assert!(t.threads >= 2, "the test runs on a thread of its own");
    for (inode, name) in [
        (t.ns_uts, "uts"),
        (t.ns_ipc, "ipc"),
        (t.ns_mnt, "mnt"),
        (t.ns_pid, "pid"),
        (t.ns_pid_own, "pid"),
        (t.ns_net, "net"),
        (t.ns_cgroup, "cgroup"),
        (t.ns_user, "user"),
    ] {
        assert_eq!(link(&format!("/proc/self/ns/{name}")), format!("{name}:[{inode}]").into_bytes());
    }
    let adj = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(t.oom_score_adj.to_string(), adj.trim());
    // Its cgroups, read back from the reversed form, are the file.
    let mut lines = Vec::new();
    for (cgroup, name, path) in seen.cgroups.iter().filter(|(c, ..)| c.cgroup_set == t.cgroup_set) {
        let mut whole = String::new();
        for part in path.rsplit(|byte| *byte == 0).filter(|part| !part.is_empty()) {
            whole = format!("{whole}/{}", String::from_utf8_lossy(part));
        }
        let path = if whole.is_empty() { "/".to_owned() } else { whole };
        lines.push((cgroup.hierarchy, String::from_utf8_lossy(name).into_owned(), path));
    }
    let file = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    for line in file.lines() {
        let mut parts = line.splitn(3, ':');
        let hierarchy: u32 = parts.next().unwrap().parse().unwrap();
        let name = parts.next().unwrap().strip_prefix("name=").unwrap_or_default().to_owned();
        assert!(lines.contains(&(hierarchy, name, parts.next().unwrap().to_owned())), "{line}: {lines:?}");
    }
}

#[test]
fn hostile_names_and_long_arguments() {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join(OsStr::from_bytes(b"a) R 1\n(\xff"));
    std::fs::copy("/bin/sleep", &name).unwrap();
    let long = "x".repeat(64 << 10);
    let child = Running::start(
        Command::new(&name).arg0(OsStr::from_bytes(b"\xfe")).args(["600", "0"]).env_clear().env("K", &long),
    );
    let seen = all(Needs::TASK | Needs::ARGS | Needs::ENV);
    assert_eq!(comm(&seen.task(child.pid()).task), b"a) R 1\n(\xff");
    let args = seen.args.iter().find(|(pid, ..)| *pid == child.pid()).unwrap();
    assert_eq!(args.2, b"\xfe\x00600\x000\0");
    assert_eq!(args.3, [b"K=", long.as_bytes(), b"\0"].concat());
    drop(child);

    // 1.6 MB of arguments come in pieces.
    let many: Vec<String> = (0..16).map(|_| "y".repeat(100_000)).collect();
    let shell =
        Command::new("/bin/sh").args(["-c", "read x", "sh"]).args(&many).stdin(Stdio::piped()).spawn();
    let child = Running::wait(shell.unwrap());
    let seen = only(child.pid(), Needs::TASK | Needs::ARGS);
    let want = std::fs::read(format!("/proc/{}/cmdline", child.pid())).unwrap();
    assert_eq!(seen.args.len(), 1);
    assert!(want.len() > 1_600_000);
    assert_eq!(seen.args[0].2, want);
}

#[test]
fn times_and_start_agree_with_stat() {
    let child = Running::start(Command::new("/bin/sleep").arg("600"));
    let seen = only(child.pid(), Needs::TASK);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let t = &seen.task(child.pid()).task;
    // Field 3 of the line is the first behind the name.
    assert_eq!(t.start_ns, fields[19].parse::<u64>().unwrap() * 10_000_000);
    assert_eq!((t.pgid.to_string(), t.sid.to_string()), (fields[2].to_owned(), fields[3].to_owned()));
    // It may still be on its way to sleep.
    let minflt = |fields: &[&str]| fields[7].parse::<u64>().unwrap();
    assert!(t.minflt > 0 && t.minflt <= minflt(&fields));
    assert_eq!(t.task_flags.to_string(), fields[6]);
}

#[test]
fn zombies_kernel_threads_and_threads() {
    let mut child = Command::new("/bin/true").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    // Its state changes when it has ended, not when it is waited for.
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let needs =
        Needs::TASK | Needs::TASK_DETAIL | Needs::EXE | Needs::CWD | Needs::ARGS | Needs::FD | Needs::THREADS;
    let seen = all(needs);
    child.wait().unwrap();
    let zombie = seen.task(pid);
    assert_eq!((zombie.task.state, zombie.task.bits & task::HAS_MM), (32, 0));
    assert!(zombie.exe.is_empty() && zombie.cwd.is_empty());
    assert_eq!(zombie.flags & flag::UNREAD, 0);
    assert!(!seen.args.iter().any(|(of, ..)| *of == pid));

    if seen.tasks.iter().any(|one| one.task.pid == 2 && comm(&one.task) == b"kthreadd") {
        let kthread = seen.task(2);
        assert_eq!(kthread.task.bits, task::KTHREAD);
        assert_eq!((kthread.task.vm_pages, kthread.task.ppid), (0, 0));
        assert!(kthread.exe.is_empty());
        assert!(seen.tasks.iter().any(|one| one.task.ppid == 2 && one.task.state == 0x402), "no idle thread");
        for one in seen.tasks.iter().filter(|one| !one.name.is_empty()) {
            assert_ne!(one.task.bits & task::KTHREAD, 0);
            assert_eq!(comm(&one.task), &one.name[..15]);
        }
    } else {
        println!("skipped: no kernel threads are visible here");
    }

    let me = std::process::id();
    let tids: Vec<u32> = seen.tasks.iter().filter(|one| one.task.pid == me).map(|one| one.task.tid).collect();
    assert!(tids.contains(&rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()));
    assert!(tids.contains(&me));
}

#[test]
fn executables_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let path = dir.path().join(name);
        std::fs::copy("/bin/sleep", &path).unwrap();
        (Running::start(Command::new(&path).arg("600")), path)
    };
    let (removed, path) = run("gone");
    std::fs::remove_file(&path).unwrap();
    let (linked, path) = run("linked");
    std::fs::hard_link(&path, dir.path().join("other")).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (named, _path) = run("named (deleted)");
    let memfd = rustix::fs::memfd_create(c"code", rustix::fs::MemfdFlags::empty()).unwrap();
    let mut file = std::fs::File::from(memfd.try_clone().unwrap());
    file.write_all(&std::fs::read("/bin/sleep").unwrap()).unwrap();
    let in_memory =
        Running::start(Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())).arg0("sleep").arg("600"));
    let seen = all(Needs::TASK | Needs::EXE | Needs::FD | Needs::FD_PATH);
    let flags = |child: &Running| seen.task(child.pid()).task.exe_flags & (exe::DELETED | exe::MEMFD);
    assert_eq!(flags(&removed), exe::DELETED);
    assert_eq!(flags(&linked), exe::DELETED);
    assert_eq!(flags(&named), 0);
    assert_eq!(flags(&in_memory), exe::DELETED | exe::MEMFD);
    assert!(seen.task(in_memory.pid()).exe.starts_with(b"/memfd:code"));
    let fd = seen.fd(std::process::id(), file.as_raw_fd());
    assert_eq!(fd.fd.fd_type, 6);
}

#[test]
fn descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let me = std::process::id();
    // A path of nearly a page, non-UTF-8, with a newline.
    let mut deep = dir.path().to_owned();
    while deep.as_os_str().len() < 3800 {
        deep.push("d".repeat(200));
    }
    std::fs::create_dir_all(&deep).unwrap();
    let path = deep.join(OsStr::from_bytes(b"\xff\n)"));
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(&path).unwrap();
    file.write_all(b"12345").unwrap();
    let listing = std::fs::File::open(dir.path()).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::empty()).unwrap();
    let gone = std::fs::File::create(dir.path().join("gone")).unwrap();
    std::fs::remove_file(dir.path().join("gone")).unwrap();

    let seen = only(me, Needs::TASK | Needs::FD | Needs::FD_PATH | Needs::FD_DETAIL);
    let one = seen.fd(me, file.as_raw_fd());
    let meta = file.metadata().unwrap();
    assert_eq!(one.path, path.as_os_str().as_bytes());
    assert_eq!((one.fd.inode, one.fd.size, one.fd.offset), (meta.ino(), 5, 5));
    assert_eq!((one.fd.mode, u64::from(one.fd.nlink)), (meta.mode(), meta.nlink()));
    assert_eq!((one.fd.fd_type, one.fd.access), (1, 2));
    assert_eq!(one.fd.open_flags & libc::O_APPEND as u32, libc::O_APPEND as u32);
    assert_eq!(one.fd.dev, (libc::major(meta.dev()) << 20) | libc::minor(meta.dev()));
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
    assert!(info.contains(&format!("mnt_id:\t{}\n", one.fd.mount_id)), "{info}");
    let device = seen.fd(me, null.as_raw_fd()).fd;
    assert_eq!((device.fd_type, device.rdev, device.access), (5, (1 << 20) | 3, 1));
    let types = [
        (listing.as_raw_fd(), 4),
        (reader.as_raw_fd(), 3),
        (writer.as_raw_fd(), 3),
        (event.as_raw_fd(), 8),
        (epoll.as_raw_fd(), 9),
    ];
    for (fd, fd_type) in types {
        assert_eq!(seen.fd(me, fd).fd.fd_type, fd_type);
    }
    let one = seen.fd(me, gone.as_raw_fd());
    assert!(one.path.ends_with(b"/gone (deleted)"));
    assert_eq!(one.fd.nlink, 0);

    // Nobody asked for paths or for what is in fdinfo.
    let seen = only(me, Needs::FD);
    let one = seen.fd(me, file.as_raw_fd());
    assert_eq!((one.fd.inode, one.fd.offset, one.fd.open_flags, one.path.len()), (meta.ino(), 0, 0, 0));
    assert!(seen.tasks.is_empty());
}

fn one_name(seen: &Seen, fd: &impl std::os::fd::AsRawFd) -> Vec<u8> {
    seen.socket(fd).1.name.clone()
}

#[test]
fn sockets() {
    let dir = tempfile::tempdir().unwrap();
    let me = std::process::id();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let server = listener.accept().unwrap().0;
    let six = TcpListener::bind("[::1]:0").ok();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"seven!!", udp.local_addr().unwrap()).unwrap();
    let named = UnixListener::bind(dir.path().join("s")).unwrap();
    let to_named = UnixStream::connect(dir.path().join("s")).unwrap();
    // Until it is accepted, the other end has no inode.
    let _accepted = named.accept().unwrap();
    let hidden = SocketAddr::from_abstract_name(format!("nabe\0{me}")).unwrap();
    let hidden = UnixDatagram::bind_addr(&hidden).unwrap();
    let (left, right) = UnixStream::pair().unwrap();
    let unbound =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    let packets = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::empty(),
        None,
    )
    .unwrap();
    let netlink =
        rustix::net::socket(rustix::net::AddressFamily::NETLINK, rustix::net::SocketType::RAW, None).unwrap();

    let interest =
        Interest { only_sockets: true, pids: Some(vec![me]), ..Interest::all(Needs::TASK | Needs::FD) };
    let seen = snapshot(&interest);
    assert!(seen.fds.iter().all(|one| one.socket.is_some() && one.fd.fd_type == 2));
    let netns = link("/proc/self/ns/net");

    let (s, one) = seen.socket(&listener);
    assert_eq!((s.family, s.sock_type, s.protocol, s.state), (2, 1, 6, 10));
    assert_eq!((s.src_port, &s.src_addr[..4]), (address.port(), &[127, 0, 0, 1][..]));
    assert_eq!(format!("net:[{}]", s.netns).into_bytes(), netns);
    assert_eq!(
        link(&format!("/proc/self/fd/{}", listener.as_raw_fd())),
        format!("socket:[{}]", one.fd.inode).into_bytes()
    );
    assert!(s.tx_queue > 0, "the backlog of a listener: {s:?}");
    let (s, _) = seen.socket(&client);
    assert_eq!((s.state, s.dst_port, s.src_port), (1, address.port(), client.local_addr().unwrap().port()));
    assert_eq!(seen.socket(&server).0.dst_port, client.local_addr().unwrap().port());
    if let Some(six) = six {
        let (s, _) = seen.socket(&six);
        assert_eq!((s.family, s.src_addr), (10, std::net::Ipv6Addr::LOCALHOST.octets()));
    } else {
        println!("skipped: no IPv6 here");
    }
    let (s, _) = seen.socket(&udp);
    assert_eq!((s.family, s.sock_type, s.protocol, s.state), (2, 2, 17, 7));
    assert!(s.rx_queue > 0);

    let (s, one) = seen.socket(&named);
    assert_eq!((s.family, s.sock_type, s.state), (1, 1, 10));
    assert_eq!(one.name, dir.path().join("s").as_os_str().as_bytes());
    assert_eq!((seen.socket(&to_named).0.state, seen.socket(&to_named).1.name.len()), (1, 0));
    let (s, one) = seen.socket(&hidden);
    assert_eq!((s.sock_type, s.state), (2, 7));
    assert_eq!(one.name, format!("\0nabe\0{me}").into_bytes());
    assert_eq!(seen.socket(&to_named).1.peer, one_name(&seen, &named));
    let (a, b) = (seen.socket(&left), seen.socket(&right));
    assert_eq!((a.0.sock_type, a.0.state), (1, 1));
    assert_eq!((a.0.peer_inode, b.0.peer_inode), (b.1.fd.inode, a.1.fd.inode));
    let (s, _) = seen.socket(&packets.0);
    assert_eq!((s.family, s.sock_type, s.state), (1, 5, 1));
    let (s, one) = seen.socket(&unbound);
    assert_eq!((s.family, s.sock_type, s.protocol, s.state), (2, 1, 6, 7));
    assert_ne!(one.flags & flag::UNREAD, 0, "its namespace is not known");
    let (s, _) = seen.socket(&netlink);
    assert_eq!((s.family, s.protocol), (16, 0));
    // Without netlink_diag in the kernel nothing tells the type.
    assert!(matches!(s.sock_type, 0 | 3), "{s:?}");

    // Only what is asked for.
    let listening =
        snapshot(&Interest { states: Some(vec![10]), families: Some(vec![2]), ..interest.clone() });
    let inodes: Vec<u64> = listening.fds.iter().map(|one| one.fd.inode).collect();
    assert!(inodes.contains(&seen.socket(&listener).1.fd.inode));
    assert!(
        listening.fds.iter().all(|one| one.socket.unwrap().state == 10 && one.socket.unwrap().family == 2)
    );
}

#[test]
fn sockets_without_a_descriptor() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let local = client.local_addr().unwrap().port();
    let mut server = listener.accept().unwrap().0;
    drop(client);
    // The side that closes first waits; the other's end of file says that it has closed.
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    drop(server);
    let waiting = |seen: &Seen| {
        seen.fds.iter().any(|one| {
            let socket = one.socket.unwrap();
            one.fd.fd == -1
                && one.fd.pid == 0
                && (socket.src_port, socket.dst_port, socket.state) == (local, port, 6)
        })
    };
    let seen = all(Needs::FD | Needs::ORPHAN_SOCKETS);
    assert!(seen.fds.iter().filter(|one| one.fd.fd == -1).count() > 0);
    let found = seen.fds.iter().any(|one| {
        one.socket.is_some_and(|socket| {
            one.fd.fd == -1
                && one.fd.pid == 0
                && (socket.src_port, socket.dst_port, socket.state) == (local, port, 6)
        })
    });
    assert!(found, "no TIME-WAIT from {local} to {port}");
    // Nor is one of them one that somebody owns.
    let owned: std::collections::HashSet<u64> = seen
        .fds
        .iter()
        .filter(|one| one.fd.fd >= 0 && one.socket.is_some())
        .map(|one| one.fd.inode)
        .collect();
    assert!(!seen.fds.iter().any(|one| one.fd.fd == -1 && owned.contains(&one.fd.inode)));
    let listener_inode = seen.socket(&listener).1.fd.inode;
    assert!(owned.contains(&listener_inode));
    let seen = snapshot(&Interest {
        states: Some(vec![6]),
        only_sockets: true,
        ..Interest::all(Needs::FD | Needs::ORPHAN_SOCKETS)
    });
    assert!(waiting(&seen));
}

#[test]
fn interests_narrow() {
    let child = Running::start(Command::new("/bin/sleep").arg("600"));
    let pids = |seen: &Seen| seen.tasks.iter().map(|one| one.task.pid).collect::<Vec<_>>();
    assert_eq!(pids(&only(child.pid(), Needs::TASK)), [child.pid()]);
    let named = snapshot(&Interest { names: Some(vec![b"sleep".to_vec()]), ..Interest::all(Needs::TASK) });
    assert!(pids(&named).contains(&child.pid()) && !pids(&named).contains(&std::process::id()));
    let euid = std::fs::metadata("/proc/self").unwrap().uid();
    let mine = snapshot(&Interest { euids: Some(vec![euid]), ..Interest::all(Needs::TASK) });
    assert!(pids(&mine).contains(&child.pid()));
    assert!(mine.tasks.iter().all(|one| one.task.euid == euid));
    let nobody =
        snapshot(&Interest { euids: Some(vec![4_000_000]), ..Interest::all(Needs::TASK | Needs::FD) });
    assert!(nobody.tasks.is_empty() && nobody.fds.is_empty());

    let mut bytes = Vec::new();
    assert!(proc::one(child.pid(), Needs::TASK | Needs::ARGS, &mut bytes));
    let one = Seen::read(&bytes, Vec::new());
    assert_eq!((pids(&one), &one.args[0].2[..]), (vec![child.pid()], &b"/bin/sleep\x00600\0"[..]));
    assert!(!proc::one(4_194_305, Needs::TASK, &mut bytes));
    // A thread is no process, though its number leads to a directory.
    let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    assert_ne!(tid, std::process::id());
    assert!(!proc::one(tid, Needs::TASK, &mut bytes));
}

/// In the child that [`without_privileges`] starts as another user.
#[test]
fn child_without_privileges() {
    let Ok(of_root) = std::env::var("NABE_TEST_OF_ROOT") else { return };
    let of_root: u32 = of_root.parse().unwrap();
    let needs =
        Needs::TASK | Needs::TASK_DETAIL | Needs::EXE | Needs::CWD | Needs::ARGS | Needs::ENV | Needs::FD;
    let seen = all(needs);
    let one = seen.task(of_root);
    assert_eq!((one.task.euid, comm(&one.task)), (0, &b"sleep"[..]));
    assert_ne!(one.flags & flag::UNREAD, 0);
    assert!(one.exe.is_empty() && one.cwd.is_empty() && one.task.ns_net == 0);
    let args = seen.args.iter().find(|(pid, ..)| *pid == of_root).unwrap();
    assert_eq!((args.1, &args.2[..], args.3.len()), (libc::EACCES as u32, &b"/bin/sleep\x00600\0"[..], 0));
    assert!(!seen.fds.iter().any(|one| one.fd.pid == of_root));
    assert!(seen.fds.iter().any(|one| one.fd.pid == std::process::id()));
    for what in
        ["descriptors of", "executables of", "current directories of", "namespaces of", "environments of"]
    {
        assert!(
            seen.notes.iter().any(|note| note.starts_with(what) && note.contains("CAP_SYS_PTRACE")),
            "{what}: {:?}",
            seen.notes
        );
    }
    println!("seen without privileges");
}

#[test]
fn without_privileges() {
    if !is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let child = Running::start(Command::new("/bin/sleep").arg("600"));
    // Where this binary lies, another user may have no business.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copy = dir.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command
        .args(["--exact", "child_without_privileges", "--nocapture"])
        .env("NABE_TEST_OF_ROOT", child.pid().to_string())
        .current_dir("/")
        .uid(65534)
        .gid(65534);
    let output = unless_busy(|| command.output());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("seen without privileges"), "{text}");
}

#[test]
fn inside_a_pid_namespace() {
    // The shell is pid 1 there, and prints its own number.
    let child = Command::new("unshare")
        .args(["--pid", "--fork", "--net", "/bin/sh", "-c", "echo $$; read x"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: no unshare(1) here");
        return;
    };
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.trim() != "1" {
        println!("skipped: no PID namespace can be made here");
        let _ = child.wait();
        return;
    }
    let seen = all(Needs::TASK | Needs::TASK_DETAIL);
    let inner = seen.tasks.iter().find(|one| one.task.ppid == child.id()).expect("the shell is there");
    let outer = seen.task(child.id());
    assert_eq!((inner.task.vpid, inner.task.vtid), (1, 1));
    assert_eq!(inner.task.pidns_level, outer.task.pidns_level + 1);
    assert_ne!(inner.task.ns_pid_own, outer.task.ns_pid_own);
    assert_eq!(outer.task.ns_pid, inner.task.ns_pid_own, "the parent's namespace for children");
    // The shell ends at the end of its input.
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn processes_that_end_meanwhile_are_left_out() {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                Command::new("/bin/true").stdin(Stdio::null()).status().unwrap();
            }
        });
        for _ in 0..4 {
            let needs =
                Needs::TASK | Needs::TASK_DETAIL | Needs::ARGS | Needs::FD | Needs::FD_DETAIL | Needs::EXE;
            let seen = all(needs);
            assert!(
                seen.tasks.iter().all(|one| one.task.pid > 0 && one.task.start_ns > 0 || one.task.pid < 3)
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// This test binary in a command's words: runs one of the functions below that are children.
fn child_test(name: &str) -> [String; 4] {
    let me = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    [me, "--exact".to_owned(), name.to_owned(), "--nocapture".to_owned()]
}

/// Runs a child test behind `before` (such as unshare) and judges what it prints.
fn run_child_test(before: &[&str], name: &str) {
    let output = Command::new(before[0])
        .args(&before[1..])
        .args(child_test(name))
        .env("NABE_TEST_CHILD", name)
        .output();
    let Ok(output) = output else {
        println!("skipped: no {} here", before[0]);
        return;
    };
    let (text, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if text.contains("skipped:")
        || words.contains("unshare failed")
        || words.contains("Operation not permitted")
    {
        println!("skipped: {words}{text}");
        return;
    }
    assert!(output.status.success() && text.contains("child test done"), "{text}{words}");
}

fn is_child_test(name: &str) -> bool {
    std::env::var("NABE_TEST_CHILD").is_ok_and(|child| child == name)
}

/// In a network namespace of its own.
#[test]
fn child_other_network() {
    if !is_child_test("child_other_network") {
        return;
    }
    let unix =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name("nabe other network").unwrap()).unwrap();
    let udp = UdpSocket::bind("0.0.0.0:4242").unwrap();
    println!("\n{} {} {}", std::process::id(), unix.as_raw_fd(), udp.as_raw_fd());
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn sockets_of_other_networks() {
    let child = Command::new("unshare")
        .arg("--net")
        .args(child_test("child_other_network"))
        .env("NABE_TEST_CHILD", "child_other_network")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: no unshare(1) here");
        return;
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let numbers = |line: String| {
        let numbers: Option<Vec<u32>> = line.split(' ').map(|word| word.parse().ok()).collect();
        numbers.filter(|numbers| numbers.len() == 3)
    };
    let Some(numbers) = lines.find_map(numbers) else {
        println!("skipped: no network namespace can be made here");
        let _ = child.wait();
        return;
    };
    let (pid, unix, udp) = (numbers[0], numbers[1] as i32, numbers[2] as i32);
    let seen = all(Needs::TASK | Needs::TASK_DETAIL | Needs::FD);
    let netns = seen.task(pid).task.ns_net;
    assert_ne!(netns, seen.task(std::process::id()).task.ns_net);
    let one = seen.fd(pid, unix);
    assert_eq!((one.socket.unwrap().state, one.socket.unwrap().netns), (10, netns));
    assert_eq!(one.name, b"\0nabe other network");
    let one = seen.fd(pid, udp).socket.unwrap();
    assert_eq!((one.src_port, one.netns, one.protocol), (4242, netns, 17));
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// In a mount namespace of its own: a network namespace that only a mount keeps.
#[test]
fn child_mounted_network() {
    if !is_child_test("child_mounted_network") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("net");
    std::fs::write(&keep, "").unwrap();
    let status = Command::new("unshare").arg(format!("--net={}", keep.display())).arg("/bin/true").status();
    if !status.is_ok_and(|status| status.success()) {
        println!("skipped: a network namespace cannot be kept here");
        return;
    }
    let netns = std::fs::metadata(&keep).unwrap().ino();
    let interest = Interest { only_sockets: true, ..Interest::all(Needs::FD | Needs::ORPHAN_SOCKETS) };
    let seen = snapshot(&interest);
    // Every network namespace has netlink sockets of the kernel.
    let of = |one: &&OneFd| u64::from(one.socket.unwrap().netns) == netns && one.fd.fd == -1;
    assert!(seen.fds.iter().filter(of).count() > 0, "{:?}", seen.notes);
    assert!(rustix::mount::unmount(&keep, rustix::mount::UnmountFlags::empty()).is_ok());
    println!("child test done");
}

#[test]
fn networks_that_a_mount_keeps() {
    run_child_test(&["unshare", "--mount", "--propagation", "private"], "child_mounted_network");
}

/// In a mount namespace of its own.
#[test]
fn child_overlay() {
    if !is_child_test("child_overlay") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["tmp", "tmp/lower", "tmp/up,per", "tmp/work", "tmp/merged"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        if name == "tmp" {
            // An overlay's upper layer cannot lie on an overlay, where this test may run.
            let status =
                Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(dir.path().join(name)).status();
            assert!(status.unwrap().success());
        }
    }
    let at = |name: &str| dir.path().join("tmp").join(name);
    std::fs::copy("/bin/sleep", at("lower/image")).unwrap();
    std::fs::copy("/bin/sleep", at("lower/changed")).unwrap();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower").display(),
        at("up,per").display().to_string().replace(',', "\\,"),
        at("work").display()
    );
    let status =
        Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(at("merged")).status();
    if !status.unwrap().success() {
        println!("skipped: no overlay can be mounted here");
        return;
    }
    std::fs::copy("/bin/sleep", at("merged/added")).unwrap();
    std::fs::OpenOptions::new().append(true).open(at("merged/changed")).unwrap().write_all(b"x").unwrap();
    let start = |name: &str| Running::start(Command::new(at("merged").join(name)).arg("600"));
    let (image, added, changed) = (start("image"), start("added"), start("changed"));
    let seen = all(Needs::TASK | Needs::EXE);
    let layer = |child: &Running| seen.task(child.pid()).task.exe_flags;
    assert_eq!(layer(&image), exe::KNOWN | exe::LOWER, "{:?}", seen.notes);
    assert_eq!(layer(&added), exe::KNOWN | exe::UPPER);
    assert_eq!(layer(&changed), exe::KNOWN | exe::UPPER);
    drop((image, added, changed));
    for name in ["tmp/merged", "tmp"] {
        let unmounted = rustix::mount::unmount(dir.path().join(name), rustix::mount::UnmountFlags::empty());
        assert!(unmounted.is_ok(), "{name}: {unmounted:?}");
    }
    println!("child test done");
}

#[test]
fn layers_of_an_overlay() {
    run_child_test(&["unshare", "--mount", "--propagation", "private"], "child_overlay");
}

/// As another user, below a `/proc` that hides.
#[test]
fn child_hidepid() {
    if !is_child_test("child_hidepid") {
        return;
    }
    let seen = all(Needs::TASK);
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    assert!(seen.tasks.iter().all(|one| one.task.euid == uid));
    assert!(seen.tasks.iter().any(|one| one.task.pid == std::process::id()));
    assert!(seen.notes.iter().any(|note| note.contains("hidepid")), "{:?}", seen.notes);
    println!("child test done");
}

#[test]
fn hidepid_is_told() {
    for how in ["invisible", "noaccess"] {
        let mount = format!(
            "mount -t proc -o hidepid={how} proc /proc || echo skipped: no hidepid
            exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\""
        );
        let before = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &mount];
        run_child_test(&before, "child_hidepid");
    }
}

/// Starts a process whose main thread ends while another goes on.
#[test]
fn child_dead_leader() {
    if !is_child_test("child_dead_leader") {
        return;
    }
    // SAFETY: of the forked process only this thread is left, which starts one that waits and then
    // ends; the C library keeps its allocator and threads usable across fork.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        std::thread::spawn(|| {
            let mut byte = [0_u8];
            // SAFETY: reads into a live byte and ends the process at once, without its exit handlers.
            unsafe {
                libc::read(0, byte.as_mut_ptr().cast(), 1);
                libc::_exit(0);
            }
        });
        // SAFETY: ends this thread only; nothing that it owns is used afterwards.
        unsafe {
            libc::syscall(libc::SYS_exit, 0);
        }
    }
    println!("\nforked {forked}");
    let pid = rustix::process::Pid::from_raw(forked).unwrap();
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
}

#[test]
fn a_process_whose_leader_has_ended() {
    let words = child_test("child_dead_leader");
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .env("NABE_TEST_CHILD", "child_dead_leader")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pid = lines.find_map(|line| line.strip_prefix("forked ")?.parse::<u32>().ok()).unwrap();
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let seen = only(pid, Needs::TASK | Needs::TASK_DETAIL | Needs::EXE | Needs::ARGS | Needs::FD);
    let one = seen.task(pid);
    assert_eq!((one.task.state, one.task.tid, one.task.vtid), (32, pid, pid));
    assert_eq!(one.exe, words[0].as_bytes());
    assert!(one.task.bits & task::HAS_MM != 0 && one.task.vm_pages > 0 && one.task.ns_net != 0);
    assert!(seen.args[0].2.starts_with(words[0].as_bytes()));
    assert_eq!(seen.fd(pid, 0).fd.fd_type, 3);
    drop(child.stdin.take());
    child.wait().unwrap();
}
