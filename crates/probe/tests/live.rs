//! Live events of a child whose system calls are known one by one: prime counts, exact values.
//!
//! The child is forked, waits at a gate until the probe runs, makes raw system calls and ends: no
//! allocator and no runtime add calls of their own. Its calls are the only ones of its process.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

use nabe_event::item::{Item, Target};
use nabe_event::source::{Account, Cause, EventInterest, EventSet, Source as _};
use nabe_event::table::native::X86_64;
use nabe_event::table::{EventId, ParamType};
use nabe_probe::iter;
use nabe_probe::live::{Distance, Error, Hierarchies, Live, Options, check, programs};

/// Whether live events can be had at all; a refusal by the verifier is a failure, not a lack.
fn works(test: &str) -> bool {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("SKIP {test}: live events are for x86_64 so far");
        return false;
    }
    // Asked once: it loads every program that keeping the state takes.
    static LACK: OnceLock<Option<String>> = OnceLock::new();
    let lack = LACK.get_or_init(|| match check() {
        Ok(()) => None,
        Err(Error::Programs(error @ (iter::Error::NoBtf | iter::Error::Capability { .. }))) => {
            Some(error.to_string())
        }
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    });
    if let Some(lack) = lack {
        eprintln!("SKIP {test}: {lack}");
    }
    lack.is_none()
}

/// A system call without libc's wrapper around it; errors come as in the kernel, negative.
fn call(number: i64, arguments: &[i64]) -> i64 {
    let at = |place: usize| arguments.get(place).copied().unwrap_or(0);
    // SAFETY: only numbers and pointers to living, large enough memory of the caller's are passed,
    // or addresses that the kernel refuses.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    if result == -1 { -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { result }
}

/// A call whose result does not matter.
fn act(number: i64, arguments: &[i64]) {
    call(number, arguments);
}

fn pointer<T: ?Sized>(to: &T) -> i64 {
    std::ptr::from_ref(to).cast::<u8>().addr() as i64
}

/// A forked process that waits for its start.
struct Child {
    pid: i32,
    gate: OwnedFd,
    waited: bool,
}

impl Child {
    /// Forks; `before` runs at once, `work` when the gate opens.
    fn new(before: impl FnOnce(), work: impl FnOnce()) -> Self {
        let (read, write) = io::pipe().unwrap();
        let (done, ready) = io::pipe().unwrap();
        // SAFETY: the child makes system calls only, until it ends by one.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            let byte = [0_u8; 1];
            before();
            call(libc::SYS_close, &[ready.as_raw_fd().into()]);
            call(libc::SYS_close, &[write.as_raw_fd().into()]);
            call(libc::SYS_read, &[read.as_raw_fd().into(), pointer(&byte), 1]);
            work();
            call(libc::SYS_exit_group, &[0]);
            unreachable!();
        }
        drop(ready);
        // Ends when the child closes its side: `before` is over.
        io::copy(&mut std::fs::File::from(OwnedFd::from(done)), &mut io::sink()).unwrap();
        Self { pid, gate: write.into(), waited: false }
    }

    fn start(&self) {
        rustix::io::write(&self.gate, b"g").unwrap();
    }

    fn wait(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: the child is ours and `status` is written by the kernel.
        assert_eq!(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }, self.pid);
        self.waited = true;
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.waited {
            // SAFETY: it is our child, not yet waited for, so the number is still its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.wait();
        }
    }
}

/// An event, kept.
#[derive(Clone, Debug)]
struct Seen {
    id: EventId,
    tid: i64,
    ts_ns: u64,
    params: Vec<Vec<u8>>,
}

impl Seen {
    fn number(&self, at: usize) -> i64 {
        let mut bytes = [0; 8];
        let value = &self.params[at];
        assert!(!value.is_empty(), "{:?} has no parameter {at}", self.id);
        bytes[..value.len()].copy_from_slice(value);
        i64::from_le_bytes(bytes)
    }

    fn text(&self, at: usize) -> String {
        String::from_utf8_lossy(self.params[at].strip_suffix(b"\0").unwrap_or(&self.params[at])).into_owned()
    }
}

fn named(names: &[&str]) -> EventSet {
    names
        .iter()
        .flat_map(|name| EventId::named(name))
        .filter(|id| !id.is_syscall() || !id.is_enter())
        .collect()
}

fn of(events: EventSet, child: &Child) -> EventInterest {
    EventInterest { events, state: false, pids: Some(vec![child.pid as u32]), ..EventInterest::default() }
}

fn options() -> Options {
    Options { snapshot: false, ..Options::default() }
}

fn drain(live: &mut Live) -> (Vec<Seen>, Account) {
    live.handle().stop();
    let mut seen = Vec::new();
    while let Some(batch) = live.batch().unwrap() {
        for item in batch {
            if let Item::Event(event) = item {
                let params = event.params.iter().map(<[u8]>::to_vec).collect();
                seen.push(Seen { id: event.id, tid: event.tid, ts_ns: event.ts_ns, params });
            }
        }
    }
    (seen, live.account())
}

/// Lets `work` run under a probe for `names` and returns its events without the gate's read.
fn run(names: &[&str], work: impl FnOnce()) -> (Vec<Seen>, Account, i32) {
    let mut child = Child::new(|| {}, work);
    let mut live = Live::open(&of(named(names), &child), &options()).unwrap();
    child.start();
    child.wait();
    let (seen, account) = drain(&mut live);
    (seen, account, child.pid)
}

fn count(seen: &[Seen], id: EventId) -> usize {
    seen.iter().filter(|one| one.id == id).count()
}

#[test]
fn every_program_is_taken() {
    let programs = match programs() {
        Err(Error::Programs(error @ (iter::Error::NoBtf | iter::Error::Capability { .. }))) => {
            eprintln!("SKIP every_program_is_taken: {error}");
            return;
        }
        programs => programs.unwrap(),
    };
    let refused: Vec<_> = programs.into_iter().filter(|(_, result)| result.is_err()).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn prime_counts_come_out_as_they_went_in() {
    if !works("prime_counts_come_out_as_they_went_in") {
        return;
    }
    let path = c"/dev/null";
    let names = ["open", "openat", "close", "read", "write", "dup", "getuid", "syscall", "lseek", "pipe2"];
    let (seen, account, pid) = run(&names, || {
        for turn in 0..23 {
            let fd = call(libc::SYS_openat, &[libc::AT_FDCWD.into(), pointer(path), libc::O_RDWR.into()]);
            let again = call(libc::SYS_dup, &[fd]);
            call(libc::SYS_write, &[fd, pointer(path), 1 + turn]);
            call(libc::SYS_close, &[fd]);
            call(libc::SYS_close, &[again]);
        }
        for _ in 0..29 {
            call(libc::SYS_open, &[pointer(c"/nonexistent/file"), 0, 0]);
        }
        (0..31).for_each(|_| assert!(call(libc::SYS_getuid, &[]) >= 0));
        (0..37).for_each(|_| assert!(call(libc::SYS_getppid, &[]) >= 0));
        (0..41).for_each(|_| assert!(call(libc::SYS_lseek, &[-1, 77, 1]) < 0));
        (0..43).for_each(|_| assert!(call(libc::SYS_close, &[99]) < 0));
    });
    assert!(seen.iter().all(|one| one.tid == i64::from(pid)), "of another thread");
    assert!(seen.is_sorted_by_key(|one| one.ts_ns), "not in the order of time");
    for (id, want) in [
        (EventId::SYSCALL_OPENAT_2_X, 23),
        (EventId::SYSCALL_DUP_1_X, 23),
        (EventId::SYSCALL_WRITE_X, 23),
        (EventId::SYSCALL_OPEN_X, 29),
        (EventId::SYSCALL_GETUID_X, 31),
        (EventId::GENERIC_X, 37),
        (EventId::SYSCALL_LSEEK_X, 41),
        (EventId::SYSCALL_CLOSE_X, 46 + 43),
        // The gate.
        (EventId::SYSCALL_READ_X, 1),
    ] {
        assert_eq!(count(&seen, id), want, "{id:?}");
    }
    assert_eq!(account.delivered, seen.len() as u64);
    assert_eq!(account.lost(), 0);
    assert_eq!(account.seen, account.delivered + account.filtered);
    let open = seen.iter().find(|one| one.id == EventId::SYSCALL_OPENAT_2_X).unwrap();
    assert_eq!(
        (open.number(1), open.text(2), open.number(3), open.number(4)),
        (-100, "/dev/null".into(), 3, 0)
    );
    let meta = rustix::fs::stat("/dev/null").unwrap();
    assert_eq!(open.number(6), meta.st_ino as i64);
    assert_eq!(open.number(5), meta.st_dev as i64);
    let failed = seen.iter().find(|one| one.id == EventId::SYSCALL_OPEN_X).unwrap();
    assert_eq!((failed.number(0), failed.text(1)), (-2, "/nonexistent/file".into()));
    assert!(failed.params[4].is_empty() && failed.params[5].is_empty(), "a device that nobody opened");
    let generic = seen.iter().find(|one| one.id == EventId::GENERIC_X).unwrap();
    assert_eq!((generic.number(0), generic.number(1)), (41, libc::SYS_getppid));
    let seek = seen.iter().find(|one| one.id == EventId::SYSCALL_LSEEK_X).unwrap();
    assert_eq!([0, 1, 2, 3].map(|at| seek.number(at)), [-9, -1, 77, 1]);
}

/// Not to be called with nonsense: they end, stop, or change what the child is.
const SPARED: &[&str] = &[
    "exit",
    "exit_group",
    "fork",
    "vfork",
    "pause",
    "rt_sigreturn",
    "vhangup",
    "set_tid_address",
    "sync",
    "rt_sigsuspend",
    "uretprobe",
    "uprobe",
    "munlockall",
];

#[test]
fn every_described_call_has_all_its_parameters() {
    if !works("every_described_call_has_all_its_parameters") {
        return;
    }
    let called: Vec<_> = X86_64.iter().filter(|native| !SPARED.contains(&native.name)).collect();
    let numbers: Vec<i64> = called.iter().map(|native| i64::from(native.number)).collect();
    let all: EventSet = X86_64.iter().map(|native| native.event).collect();
    let mut child = Child::new(|| {}, || numbers.iter().for_each(|number| act(*number, &[-1; 6])));
    let mut live = Live::open(&of(all, &child), &options()).unwrap();
    child.start();
    child.wait();
    let (seen, account) = drain(&mut live);
    assert_eq!(account.lost(), 0, "{account:?}");
    let mut left = seen.iter().filter(|one| one.id != EventId::SYSCALL_READ_X || one.number(2) == -1);
    for native in called {
        let one = left.next().unwrap_or_else(|| panic!("no event of {}", native.name));
        assert_eq!(one.id, native.event, "{}", native.name);
        let row = native.event.row();
        assert_eq!(one.params.len(), row.params.len(), "{}", native.name);
        for (param, value) in row.params.iter().zip(&one.params) {
            if let Some(width) = param.ty.width() {
                assert!(
                    value.is_empty() || value.len() == width,
                    "{}.{}: {value:?}",
                    native.name,
                    param.name
                );
            }
            if param.ty == ParamType::CharBuf && !value.is_empty() {
                assert!(value.ends_with(b"\0"), "{}.{}: {value:?}", native.name, param.name);
            }
        }
        if native.event == EventId::GENERIC_X {
            assert_eq!(one.number(0), native.code.into(), "{}", native.name);
            assert_eq!(one.number(1), native.number.into(), "{}", native.name);
        }
    }
    assert_eq!(left.next().map(|one| one.id), None, "more events than calls");
}

#[test]
fn what_does_not_fit_the_ring_is_counted_and_told() {
    if !works("what_does_not_fit_the_ring_is_counted_and_told") {
        return;
    }
    const CALLS: u64 = 100_003;
    let mut child = Child::new(
        || {},
        || {
            (0..CALLS).for_each(|_| act(libc::SYS_getppid, &[]));
        },
    );
    let small = Options { ring_bytes: 64 << 10, ..options() };
    let mut live = Live::open(&of(named(&["syscall"]), &child), &small).unwrap();
    child.start();
    child.wait();
    let (seen, account) = drain(&mut live);
    let delivered = count(&seen, EventId::GENERIC_X) as u64;
    assert!(account.lost.iter().all(|lost| lost.cause == Cause::RingFull), "{account:?}");
    assert!(account.lost() > 0, "the storm went through a ring of 64 KiB");
    assert_eq!(delivered + account.lost(), CALLS);
    assert_eq!(account.delivered, delivered);
    let told: u64 = seen
        .iter()
        .filter(|one| one.id == EventId::ASYNCEVENT_E)
        .map(|one| {
            assert_eq!(one.text(1), "loss");
            let json = one.text(2);
            assert!(json.starts_with(r#"{"cause":"ring_full","cpu":"#), "{json}");
            let number = json.rsplit(':').next().unwrap().trim_end_matches('}');
            number.parse::<u64>().unwrap()
        })
        .sum();
    assert_eq!(told, account.lost());
}

#[test]
fn the_snapshot_and_the_events_leave_no_gap() {
    if !works("the_snapshot_and_the_events_leave_no_gap") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| CString::new(folder.path().join(name).to_str().unwrap()).unwrap();
    let (early, late) = (path("early"), path("late"));
    let act_create = |path: &CString| {
        act(
            libc::SYS_open,
            &[pointer(path.as_bytes_with_nul()), (libc::O_CREAT | libc::O_WRONLY).into(), 0o600],
        );
    };
    let mut child = Child::new(|| act_create(&early), || act_create(&late));
    let interest = EventInterest { state: true, ..of(named(&["open"]), &child) };
    let mut live = Live::open(&interest, &Options::default()).unwrap();
    child.start();
    child.wait();
    live.handle().stop();
    let (mut begun, mut threads, mut early_seen, mut late_seen) = (false, 0, 0, 0);
    while let Some(batch) = live.batch().unwrap() {
        for item in batch {
            match item {
                Item::Section(_) => begun = true,
                Item::Thread(thread) if thread.tid == i64::from(child.pid) => {
                    threads += 1;
                    assert_eq!(thread.ptid, i64::from(std::process::id()));
                    assert_eq!(thread.uid, rustix::process::geteuid().as_raw());
                    assert!(
                        !thread.cgroups.is_empty() && !thread.exe_path.is_empty() && !thread.cwd.is_empty()
                    );
                    assert!(
                        thread.fd_limit > 0 && thread.exe_inode.is_some() && thread.exe_mtime_ns.is_some()
                    );
                }
                Item::Descriptor(descriptor) if descriptor.tid == i64::from(child.pid) => {
                    if let Target::File { path, open_flags, .. } = descriptor.target
                        && path == early.as_bytes()
                    {
                        // The kernel keeps how it was opened, not that it was made.
                        assert_eq!(open_flags & 3, 2);
                        early_seen += 1;
                    }
                }
                Item::Event(event)
                    if event.tid == i64::from(child.pid)
                        && event.id == EventId::SYSCALL_OPEN_X
                        && event.text(1) == Some(late.as_bytes()) =>
                {
                    late_seen += 1;
                    assert_eq!(event.unsigned(2), Some(2 | 4 | 1 << 14), "WRONLY, CREAT, and it was made");
                    assert_eq!(event.unsigned(3), Some(0o600));
                }
                _ => {}
            }
        }
    }
    assert!(begun);
    assert_eq!((threads, early_seen, late_seen), (1, 1, 1));
}

#[test]
fn payload_is_as_long_as_was_asked_for() {
    if !works("payload_is_as_long_as_was_asked_for") {
        return;
    }
    let data: Vec<u8> = (0..70_001_u32).map(|at| at as u8).collect();
    for snaplen in [0, 5, 80, 4096, 65_000] {
        let parts = [pointer(&data[..]), 3, pointer(&data[100..]), 1000];
        let mut child = Child::new(
            || {},
            || {
                let null = call(libc::SYS_open, &[pointer(c"/dev/null"), 2, 0]);
                call(libc::SYS_write, &[null, pointer(&data[..]), 70_001]);
                call(libc::SYS_pwrite64, &[null, pointer(&data[..]), 7, 11]);
                call(libc::SYS_writev, &[null, pointer(&parts[..]), 2]);
            },
        );
        let interest = EventInterest { snaplen, ..of(named(&["write", "pwrite", "writev"]), &child) };
        let mut live = Live::open(&interest, &options()).unwrap();
        child.start();
        child.wait();
        let (seen, account) = drain(&mut live);
        assert_eq!(account.lost(), 0, "{account:?}");
        let snaplen = snaplen as usize;
        let one = |id| seen.iter().find(|one| one.id == id).unwrap();
        let write = one(EventId::SYSCALL_WRITE_X);
        assert_eq!(write.params[1], data[..snaplen]);
        assert_eq!((write.number(0), write.number(3)), (70_001, 70_001));
        let positioned = one(EventId::SYSCALL_PWRITE_X);
        assert_eq!(positioned.params[1], data[..snaplen.min(7)]);
        assert_eq!((positioned.number(3), positioned.number(4)), (7, 11));
        let vector = one(EventId::SYSCALL_WRITEV_X);
        let whole = [&data[..3], &data[100..1100]].concat();
        assert_eq!(vector.params[1], whole[..snaplen.min(1003)]);
        assert_eq!((vector.number(0), vector.number(3)), (1003, 1003));
    }
}

#[test]
fn predicates_are_decided_in_the_kernel() {
    if !works("predicates_are_decided_in_the_kernel") {
        return;
    }
    let work = || {
        (0..13).for_each(|_| act(libc::SYS_close, &[99]));
        (0..17).for_each(|_| act(libc::SYS_dup2, &[0, 0]));
        call(libc::SYS_prctl, &[libc::PR_SET_NAME.into(), pointer(c"renamed")]);
        (0..19).for_each(|_| act(libc::SYS_close, &[99]));
    };
    let set = named(&["close", "dup2"]);
    let close = EventId::SYSCALL_CLOSE_X;
    let tried = |change: &dyn Fn(&mut EventInterest)| {
        let mut child = Child::new(|| {}, work);
        let mut interest = of(set.clone(), &child);
        change(&mut interest);
        let mut live = Live::open(&interest, &options()).unwrap();
        child.start();
        child.wait();
        let (seen, account) = drain(&mut live);
        assert_eq!(account.lost(), 0);
        let own: Vec<Seen> = seen.into_iter().filter(|one| one.tid == i64::from(child.pid)).collect();
        (count(&own, close), count(&own, EventId::SYSCALL_DUP2_X), account.filtered)
    };
    let (closes, dups, _) = tried(&|_| {});
    assert_eq!((closes, dups), (32, 17));
    let (closes, dups, filtered) = tried(&|interest| interest.only_failed = true);
    assert_eq!((closes, dups), (32, 0));
    assert!(filtered >= 17);
    let (closes, dups, _) = tried(&|interest| interest.names = Some(vec![b"renamed".to_vec()]));
    assert_eq!((closes, dups), (19, 0));
    let uid = rustix::process::geteuid().as_raw();
    let (closes, ..) = tried(&|interest| interest.euids = Some(vec![uid]));
    assert_eq!(closes, 32);
    let (closes, ..) = tried(&|interest| interest.euids = Some(vec![uid + 1]));
    assert_eq!(closes, 0);
    let (closes, ..) = tried(&|interest| interest.pids = Some(vec![1]));
    assert_eq!(closes, 0);
    let (closes, ..) = tried(&|interest| interest.cgroups = Some(vec![u64::MAX]));
    assert_eq!(closes, 0);
}

#[test]
fn of_other_processes_only_kin_is_told() {
    if !works("of_other_processes_only_kin_is_told") {
        return;
    }
    let work = || {
        for _ in 0..7 {
            let fd = call(libc::SYS_openat, &[libc::AT_FDCWD.into(), pointer(c"/dev/null"), 0]);
            act(libc::SYS_dup, &[fd]);
        }
        let born = call(libc::SYS_fork, &[]);
        if born == 0 {
            call(libc::SYS_exit_group, &[0]);
        }
        call(libc::SYS_wait4, &[born, 0, 0, 0]);
    };
    let (mut one, mut other) = (Child::new(|| {}, work), Child::new(|| {}, work));
    let interest = EventInterest { state: true, ..of(named(&["getuid"]), &one) };
    let mut live = Live::open(&interest, &options()).unwrap();
    for child in [&mut one, &mut other] {
        child.start();
        child.wait();
    }
    let (seen, account) = drain(&mut live);
    assert_eq!(account.lost(), 0);
    let told = |child: &Child, id| {
        seen.iter().filter(|event| event.id == id && event.tid == i64::from(child.pid)).count()
    };
    let ids = [
        EventId::SYSCALL_OPENAT_2_X,
        EventId::SYSCALL_DUP_1_X,
        EventId::SYSCALL_FORK_20_X,
        EventId::PROCEXIT_1_E,
    ];
    assert_eq!(ids.map(|id| told(&one, id)), [7, 7, 1, 1]);
    assert_eq!(ids.map(|id| told(&other, id)), [0, 0, 1, 1]);
    assert!(account.filtered >= 14, "{account:?}");
}

#[test]
fn strangers_are_left_out_by_their_cgroups() {
    const TEST: &str = "strangers_are_left_out_by_their_cgroups";
    if !works(TEST) {
        return;
    }
    // As events tell them: controller=path.
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut text = String::new();
    for line in own.lines() {
        let mut words = line.splitn(3, ':').skip(1);
        let (controllers, path) = (words.next().unwrap(), words.next().unwrap());
        let controllers = if controllers.is_empty() { "cpuset" } else { controllers };
        controllers.split(',').for_each(|name| text += &format!("{name}={path}\0"));
    }
    let Some(place) = Hierarchies::read().place(text.as_bytes()) else {
        eprintln!("SKIP {TEST}: no hierarchy of cgroups is mounted");
        return;
    };
    let tried = |distance: Option<Distance>| {
        let mut child = Child::new(
            || {},
            || {
                for _ in 0..7 {
                    call(libc::SYS_openat, &[libc::AT_FDCWD.into(), pointer(c"/dev/null"), 0]);
                    call(libc::SYS_getuid, &[]);
                }
                let born = call(libc::SYS_fork, &[]);
                if born == 0 {
                    call(libc::SYS_exit_group, &[0]);
                }
                call(libc::SYS_wait4, &[born, 0, 0, 0]);
            },
        );
        let interest = EventInterest { state: true, pids: None, ..of(named(&["getuid"]), &child) };
        let mut live = Live::open(&interest, &options()).unwrap();
        live.leave_out(place, Some(Distance::Far)).unwrap();
        live.leave_out(place, distance).unwrap();
        child.start();
        child.wait();
        let (mut seen, account) = drain(&mut live);
        assert_eq!(account.lost(), 0);
        seen.retain(|event| event.tid == i64::from(child.pid));
        let ids = [
            EventId::SYSCALL_GETUID_X,
            EventId::SYSCALL_OPENAT_2_X,
            EventId::SYSCALL_FORK_20_X,
            EventId::PROCEXIT_1_E,
        ];
        ids.map(|id| count(&seen, id))
    };
    assert_eq!(tried(None), [7, 7, 1, 1]);
    assert_eq!(tried(Some(Distance::Apart)), [0, 7, 1, 1]);
    assert_eq!(tried(Some(Distance::Far)), [0, 0, 1, 1]);
}

#[test]
fn several_rings_are_as_one() {
    if !works("several_rings_are_as_one") {
        return;
    }
    const CALLS: usize = 30_011;
    let work = || {
        for turn in 0..CALLS as i64 {
            call(libc::SYS_lseek, &[-1, turn, 1]);
        }
    };
    let mut children = [(); 3].map(|()| Child::new(|| {}, work));
    let pids = children.iter().map(|child| child.pid as u32).collect();
    let interest = EventInterest { pids: Some(pids), ..of(named(&["lseek"]), &children[0]) };
    let mut live = Live::open(&interest, &Options { sharing: Some(1), ..options() }).unwrap();
    children.iter().for_each(Child::start);
    let mut seen = Vec::new();
    let mut take = |live: &mut Live| {
        let Some(batch) = live.batch().unwrap() else { return false };
        for item in batch {
            if let Item::Event(event) = item {
                seen.push((event.ts_ns, event.tid, event.signed(2)));
            }
        }
        true
    };
    // Meanwhile, so that looks fall between records; then the rest.
    (0..5).for_each(|_| assert!(take(&mut live)));
    children.iter_mut().for_each(|child| assert_eq!(child.wait(), 0));
    live.handle().stop();
    while take(&mut live) {}
    let account = live.account();
    // Where the kernel may take the processor from a program, another thread's events are skipped
    // meanwhile; that is told, and nothing else is missing.
    assert!(account.lost.iter().all(|lost| lost.cause == Cause::Busy), "{account:?}");
    let told = seen.iter().filter(|event| event.1 >= 0).count() as u64;
    assert_eq!(told + account.lost(), 3 * CALLS as u64, "{account:?}");
    assert!(seen.is_sorted_by_key(|event| event.0), "not in the order of time");
    for child in &children {
        let of_child = seen.iter().filter(|event| event.1 == i64::from(child.pid));
        let numbers: Vec<i64> = of_child.filter_map(|event| event.2).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "each once, in their order");
    }
}

#[test]
fn children_are_followed_and_both_sides_of_a_birth_are_told() {
    if !works("children_are_followed_and_both_sides_of_a_birth_are_told") {
        return;
    }
    let names = ["fork", "close", "procexit"];
    let mut child = Child::new(
        || {},
        || {
            let born = call(libc::SYS_fork, &[]);
            if born == 0 {
                (0..5).for_each(|_| act(libc::SYS_close, &[99]));
                call(libc::SYS_exit_group, &[7]);
            }
            call(libc::SYS_wait4, &[born, 0, 0, 0]);
        },
    );
    let interest = EventInterest { follow: true, ..of(named(&names), &child) };
    let mut live = Live::open(&interest, &options()).unwrap();
    child.start();
    child.wait();
    let (seen, account) = drain(&mut live);
    assert_eq!(account.lost(), 0);
    let parent = i64::from(child.pid);
    let forks: Vec<&Seen> = seen.iter().filter(|one| one.id == EventId::SYSCALL_FORK_20_X).collect();
    assert_eq!(forks.len(), 2, "{forks:?}");
    let of_parent = forks.iter().find(|one| one.tid == parent).unwrap();
    let born = of_parent.number(0);
    let of_child = forks.iter().find(|one| one.tid == born).unwrap();
    assert_eq!(
        (of_child.number(0), of_child.number(3), of_child.number(4), of_child.number(5)),
        (0, born, born, parent)
    );
    assert_eq!((of_child.number(18), of_child.number(19)), (born, born), "vtid and vpid");
    assert!(of_child.number(20) >= 0 && !of_child.params[14].is_empty());
    assert_eq!(of_child.text(13), of_parent.text(13), "comm");
    assert_eq!(seen.iter().filter(|one| one.id == EventId::SYSCALL_CLOSE_X && one.tid == born).count(), 5);
    let exits: Vec<(i64, i64, i64)> = seen
        .iter()
        .filter(|one| one.id == EventId::PROCEXIT_1_E)
        .map(|one| (one.tid, one.number(0), one.number(1)))
        .collect();
    assert_eq!(exits, [(born, 0x700, 7), (parent, 0, 0)]);
}

#[test]
fn executions_are_told_with_all_they_have() {
    if !works("executions_are_told_with_all_they_have") {
        return;
    }
    // In memory that is there: what a call that fails early has not touched cannot be read.
    let texts = b"zero\0one\0three\0A=1\0LONG=two\0".to_vec();
    let at = |place: i64| pointer(&texts[..]) + place;
    let argv = [at(0), at(5), at(8), at(9), 0];
    let env = [at(15), at(19), 0];
    let (seen, account, pid) = run(&["execve", "procexit"], || {
        for _ in 0..3 {
            call(libc::SYS_execve, &[pointer(c"/nonexistent"), pointer(&argv[..]), pointer(&env[..])]);
        }
        call(libc::SYS_execve, &[pointer(c"/bin/true"), pointer(&argv[..]), pointer(&env[..])]);
    });
    assert_eq!(account.lost(), 0);
    let execs: Vec<&Seen> = seen.iter().filter(|one| one.id == EventId::SYSCALL_EXECVE_19_X).collect();
    assert_eq!(execs.iter().map(|one| one.number(0)).collect::<Vec<_>>(), [-2, -2, -2, 0]);
    for exec in &execs {
        assert_eq!(exec.params.len(), 31);
        assert_eq!((exec.text(1), &exec.params[2][..]), ("zero".into(), &b"one\0\0three\0"[..]));
        assert_eq!(exec.params[15], b"A=1\0LONG=two\0");
        assert_eq!((exec.number(3), exec.number(4)), (pid.into(), pid.into()));
        // The thread that forked, not its process: as the kernel has it.
        assert_eq!(exec.number(5), rustix::thread::gettid().as_raw_nonzero().get().into());
        assert_eq!(exec.number(26), rustix::process::geteuid().as_raw().into());
        assert_eq!(exec.number(29), rustix::process::getegid().as_raw().into());
    }
    assert_eq!(execs[0].text(30), "/nonexistent");
    let last = execs[3];
    assert_eq!((last.text(13), last.text(30)), ("true".into(), "/bin/true".into()));
    let real = std::fs::canonicalize("/bin/true").unwrap();
    assert_eq!(last.text(27), real.to_str().unwrap());
    let meta = rustix::fs::stat(&real).unwrap();
    let ns = |seconds: i64, rest: u64| seconds * 1_000_000_000 + rest as i64;
    assert_eq!(last.number(23), meta.st_ino as i64);
    assert_eq!(last.number(24), ns(meta.st_ctime, meta.st_ctime_nsec as u64));
    assert_eq!(last.number(25), ns(meta.st_mtime, meta.st_mtime_nsec as u64));
    let cgroups = String::from_utf8_lossy(&last.params[14]).into_owned();
    assert!(cgroups.split_terminator('\0').all(|one| one.contains("=/")), "{cgroups}");
}

#[test]
fn sockets_are_told_with_both_ends() {
    if !works("sockets_are_told_with_both_ends") {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let [high, low] = port.to_be_bytes();
    let address: [u8; 16] = [2, 0, high, low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let [udp_high, udp_low] = datagram.local_addr().unwrap().port().to_be_bytes();
    let other: [u8; 16] = [2, 0, udp_high, udp_low, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let names = ["socket", "connect", "sendto", "socketpair", "setsockopt", "getsockopt", "bind"];
    let (one, len) = ([1_u8, 0, 0, 0], 4_u32);
    let (seen, account, _) = run(&names, || {
        let tcp = call(libc::SYS_socket, &[2, 1 | i64::from(libc::SOCK_CLOEXEC), 0]);
        call(libc::SYS_setsockopt, &[tcp, 1, libc::SO_REUSEADDR.into(), pointer(&one), 4]);
        call(libc::SYS_getsockopt, &[tcp, 1, libc::SO_TYPE.into(), pointer(&one), pointer(&len)]);
        call(libc::SYS_connect, &[tcp, pointer(&address), 16]);
        call(libc::SYS_sendto, &[tcp, pointer(c"hello"), 5, 0, 0, 0]);
        let udp = call(libc::SYS_socket, &[2, 2, 17]);
        call(libc::SYS_sendto, &[udp, pointer(c"datagram"), 8, 0, pointer(&other), 16]);
        let pair = [0_i32; 2];
        call(libc::SYS_socketpair, &[1, 1, 0, pointer(&pair)]);
    });
    assert_eq!(account.lost(), 0);
    let all = |id| seen.iter().filter(|one| one.id == id).collect::<Vec<_>>();
    let sockets = all(EventId::SOCKET_SOCKET_X);
    assert_eq!(sockets.len(), 2);
    assert_eq!((sockets[0].number(1), sockets[0].number(4)), (2, 1 << 12));
    let connect = all(EventId::SOCKET_CONNECT_X)[0];
    assert_eq!(connect.number(0), 0);
    let tuple = &connect.params[1];
    assert_eq!(
        (tuple.len(), tuple[0], &tuple[1..5], &tuple[7..11]),
        (13, 2, &[127, 0, 0, 1][..], &[127, 0, 0, 1][..])
    );
    assert_eq!(tuple[11..13], port.to_le_bytes());
    let (_, peer) = listener.accept().unwrap();
    assert_eq!(tuple[5..7], peer.port().to_le_bytes());
    assert_eq!(connect.params[3], [&[2, 127, 0, 0, 1][..], &port.to_le_bytes()].concat());
    let sent = all(EventId::SOCKET_SENDTO_X);
    assert_eq!(sent.len(), 2);
    assert_eq!((&sent[0].params[1][..], &sent[0].params[4]), (&b"hello"[..], tuple));
    assert_eq!(sent[1].params[1], b"datagram");
    assert_eq!(sent[1].params[4][7..13], [&[127, 0, 0, 1][..], &[udp_low, udp_high]].concat());
    let pair = all(EventId::SOCKET_SOCKETPAIR_X)[0];
    assert_eq!((pair.number(0), pair.number(5)), (0, 1));
    assert!(pair.number(3) != 0 && pair.number(4) != 0 && pair.number(3) != pair.number(4));
    let option = all(EventId::SOCKET_SETSOCKOPT_X)[0];
    assert_eq!((option.number(2), option.number(3), &option.params[4][..]), (1, 2, &[2, 1, 0, 0, 0][..]));
}

#[test]
fn addresses_are_told_as_far_as_they_are_given() {
    if !works("addresses_are_told_as_far_as_they_are_given") {
        return;
    }
    let unix = |path: &[u8]| [&[1, 0][..], path].concat();
    let long = [b'l'; 108];
    let mut six = vec![10, 0, 0, 9, 0, 0, 0, 0];
    six.extend((1..=16).chain([0; 4]));
    let given: Vec<Vec<u8>> = vec![
        unix(b"/nowhere\0"),
        // Without a NUL, with something behind it, at lengths around a word's.
        unix(b"/no-nul"),
        unix(b"/seven7\0behind"),
        unix(b"/e"),
        unix(b"\0abstract"),
        unix(b""),
        unix(&long),
        // Around the length up to which a path takes a smaller record.
        unix(&[b's'; 31]),
        unix(&[b's'; 32]),
        unix(&[&[0][..], &[b's'; 31]].concat()),
        unix(&[&[0][..], &[b's'; 32]].concat()),
        six,
        vec![2, 0, 0, 9, 127],
        vec![1],
        vec![77, 0, 1, 2, 3],
    ];
    let udp = (9_u16).to_le_bytes();
    let expected: Vec<Vec<u8>> = vec![
        b"\x01/nowhere\0".to_vec(),
        b"\x01/no-nul\0".to_vec(),
        b"\x01/seven7\0".to_vec(),
        b"\x01/e\0".to_vec(),
        b"\x01abstract\0".to_vec(),
        b"\x01\0".to_vec(),
        [&[1][..], &long[..107], &[0]].concat(),
        [&[1][..], &[b's'; 31], &[0]].concat(),
        [&[1][..], &[b's'; 32], &[0]].concat(),
        [&[1][..], &[b's'; 31], &[0]].concat(),
        [&[1][..], &[b's'; 32], &[0]].concat(),
        [&[10][..], &(1..=16).collect::<Vec<u8>>(), &udp].concat(),
        [&[2, 127, 0, 0, 0][..], &udp].concat(),
        vec![],
        vec![],
    ];
    let (seen, account, _) = run(&["connect"], || {
        for address in &given {
            // Bytes behind the address are not its own.
            let mut place = [b'x'; 128];
            place.iter_mut().zip(address).for_each(|(to, from)| *to = *from);
            call(libc::SYS_connect, &[-1, pointer(&place), address.len() as i64]);
        }
        call(libc::SYS_connect, &[-1, 8, 16]);
        call(libc::SYS_connect, &[-1, 0, 0]);
    });
    assert_eq!(account.lost(), 0);
    let told: Vec<_> = seen.iter().map(|one| one.params[3].clone()).collect();
    assert_eq!(told, [expected, vec![vec![], vec![]]].concat());
}

/// Makes sockets with this abstract name, of which the kernel tells it from its own copy.
fn use_abstract_name(name: &[u8]) {
    let mut address = [0_u8; 110];
    address[0] = 1;
    address[3..3 + name.len()].copy_from_slice(name);
    let given = [pointer(&address), 3 + name.len() as i64];
    let (byte, pair) = ([7_u8], [0_i32; 2]);
    let part = [pointer(&byte), 1];
    for kind in [1, 2] {
        let bound = call(libc::SYS_socket, &[1, kind, 0]);
        call(libc::SYS_bind, &[bound, given[0], given[1]]);
        call(libc::SYS_listen, &[bound, 1]);
        let client = call(libc::SYS_socket, &[1, kind, 0]);
        call(libc::SYS_connect, &[client, given[0], given[1]]);
        let accepted = call(libc::SYS_accept, &[bound, 0, 0]);
        call(libc::SYS_sendto, &[client, pointer(&byte), 1, 0, 0, 0]);
        let receiver = if kind == 1 { accepted } else { bound };
        call(libc::SYS_recvfrom, &[receiver, pointer(&byte), 1, 0, 0, 0]);
        call(libc::SYS_socketpair, &[1, 1, 0, pointer(&pair)]);
        let control = [16 + 4, 1 | 1 << 32, bound];
        let header = [0, 0, pointer(&part), 1, pointer(&control), 24, 0];
        call(libc::SYS_sendmsg, &[pair[0].into(), pointer(&header), 0]);
        let room = [0_i64; 8];
        let header = [0, 0, pointer(&part), 1, pointer(&room), 64, 0];
        call(libc::SYS_recvmsg, &[pair[1].into(), pointer(&header), 0]);
        let passed = room[2] & 0x7fff_ffff;
        for fd in [bound, client, accepted, passed, pair[0].into(), pair[1].into()] {
            call(libc::SYS_close, &[fd]);
        }
    }
}

#[test]
fn abstract_names_end_where_their_addresses_end() {
    if !works("abstract_names_end_where_their_addresses_end") {
        return;
    }
    const ROUNDS: usize = 16;
    // Lengths that fill the kernel's room for an address, and that leave something behind it.
    let letters = format!("{:03}", std::process::id() % 1000).into_bytes();
    let names = [3, 9, 60, 107].map(|len| letters.iter().copied().cycle().take(len).collect::<Vec<u8>>());
    let calls = ["bind", "connect", "accept", "sendto", "recvfrom"];
    let (seen, account, _) = run(&[&calls[..], &["recvmsg"], &TOLD].concat(), || {
        let mut path = [b'p'; 110];
        path[..12].copy_from_slice(b"\x01\0/nowhere/p");
        for _ in 0..ROUNDS {
            for name in &names {
                // A longer path has had the kernel's memory before.
                let longer = call(libc::SYS_socket, &[1, 1, 0]);
                for len in [16, 64, 110] {
                    call(libc::SYS_bind, &[longer, pointer(&path), len]);
                }
                call(libc::SYS_close, &[longer]);
                use_abstract_name(name);
            }
        }
    });
    assert_eq!(account.lost(), 0);
    // Where the name is told, what stands before it, and how often it is told of each name: a
    // stream's and a datagram socket's, and what only a stream can do.
    let told = [
        (EventId::SOCKET_BIND_X, 1, 1, 2),
        (EventId::SOCKET_CONNECT_X, 1, 17, 2),
        (EventId::SOCKET_CONNECT_X, 3, 1, 2),
        (EventId::SOCKET_ACCEPT_5_X, 1, 17, 1),
        (EventId::SOCKET_SENDTO_X, 4, 17, 2),
        (EventId::SOCKET_RECVFROM_X, 2, 17, 2),
        (EventId::ITER_TASK_FILE_SOCKET_UNIX_E, 4, 0, 2),
    ];
    for (event, parameter, before, times) in told {
        // Paths that nobody could bind to, and datagram sockets that accept nothing.
        let failed = |one: &&Seen| event != EventId::ITER_TASK_FILE_SOCKET_UNIX_E && one.number(0) < 0;
        let of_kind = seen.iter().filter(|one| one.id == event && !failed(one));
        let ends: Vec<String> = of_kind
            .map(|one| one.params[parameter].get(before..).unwrap_or_default().escape_ascii().to_string())
            .collect();
        let each = names.iter().flat_map(|name| {
            std::iter::repeat_n([name, &b"\0"[..]].concat().escape_ascii().to_string(), times)
        });
        let expected: Vec<String> = std::iter::repeat_n(each, ROUNDS).flatten().collect();
        assert_eq!(ends, expected, "{event:?}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_by_the_32_bit_table_are_not_taken_for_others() {
    if !works("calls_by_the_32_bit_table_are_not_taken_for_others") {
        return;
    }
    let mut child = Child::new(
        || {},
        || {
            for _ in 0..7 {
                // 20 is getpid there and writev here.
                let mut number = 20_u64;
                // SAFETY: getpid takes nothing; the kernel may change r8 to r11 on the way.
                unsafe {
                    std::arch::asm!("int 0x80", inlateout("rax") number,
                        out("r8") _, out("r9") _, out("r10") _, out("r11") _);
                }
                std::hint::black_box(&mut number);
            }
        },
    );
    let mut live = Live::open(&of(named(&["writev", "syscall"]), &child), &options()).unwrap();
    child.start();
    if child.wait() != 0 {
        eprintln!("SKIP calls_by_the_32_bit_table_are_not_taken_for_others: this kernel has no int 0x80");
        return;
    }
    let (seen, _) = drain(&mut live);
    assert_eq!(count(&seen, EventId::SYSCALL_WRITEV_X), 0);
    let getpid = i64::from(nabe_event::table::syscall_code("getpid").unwrap());
    let told = seen.iter().filter(|one| one.id == EventId::GENERIC_X && one.number(0) == getpid).count();
    assert_eq!(told, 7);
}

#[test]
fn messages_are_told_one_by_one() {
    if !works("messages_are_told_one_by_one") {
        return;
    }
    let (left, right) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let (first, second) = ([pointer(c"one"), 3], [pointer(c"three"), 5]);
    // struct mmsghdr: name, its length, iovec, parts, control, its length, flags, bytes sent.
    let headers = [[0, 0, pointer(&first), 1, 0, 0, 0, 0], [0, 0, pointer(&second), 1, 0, 0, 0, 0]];
    let (seen, account, _) = run(&["sendmmsg", "recvfrom", "sendmsg"], || {
        call(libc::SYS_sendmmsg, &[left.as_raw_fd().into(), pointer(&headers), 2, 0]);
        call(libc::SYS_sendmsg, &[left.as_raw_fd().into(), pointer(&headers), 0]);
        let room = [0_u8; 16];
        (0..3)
            .for_each(|_| act(libc::SYS_recvfrom, &[right.as_raw_fd().into(), pointer(&room), 16, 0, 0, 0]));
    });
    assert_eq!(account.lost(), 0);
    let many: Vec<&Seen> = seen.iter().filter(|one| one.id == EventId::SOCKET_SENDMMSG_X).collect();
    assert_eq!(many.iter().map(|one| one.number(0)).collect::<Vec<_>>(), [3, 5]);
    assert_eq!((&many[0].params[3][..], &many[1].params[3][..]), (&b"one"[..], &b"three"[..]));
    let one = seen.iter().find(|one| one.id == EventId::SOCKET_SENDMSG_X).unwrap();
    assert_eq!((&one.params[1][..], one.number(3)), (&b"one"[..], 3));
    // Unix: family, destination, source; the other end has no path.
    let tuple = &one.params[4];
    assert_eq!((tuple[0], tuple.len()), (1, 17));
    let received: Vec<&Seen> = seen.iter().filter(|one| one.id == EventId::SOCKET_RECVFROM_X).collect();
    assert_eq!(
        received.iter().map(|one| &one.params[1][..]).collect::<Vec<_>>(),
        [&b"one"[..], b"three", b"one"]
    );
    assert_eq!(received[0].params[2][1..17], tuple[1..17], "the same two ends, whoever looks");
}

#[test]
fn another_interest_takes_effect_while_it_runs() {
    if !works("another_interest_takes_effect_while_it_runs") {
        return;
    }
    let (done, ready) = io::pipe().unwrap();
    let (go, gate) = io::pipe().unwrap();
    let mut child = Child::new(
        || {},
        || {
            let byte = [0_u8; 1];
            (0..11).for_each(|_| act(libc::SYS_close, &[99]));
            (0..11).for_each(|_| act(libc::SYS_kill, &[0, 0]));
            call(libc::SYS_write, &[ready.as_raw_fd().into(), pointer(c"r"), 1]);
            call(libc::SYS_read, &[go.as_raw_fd().into(), pointer(&byte), 1]);
            (0..7).for_each(|_| act(libc::SYS_close, &[99]));
            (0..7).for_each(|_| act(libc::SYS_kill, &[0, 0]));
        },
    );
    let mut live = Live::open(&of(named(&["close"]), &child), &options()).unwrap();
    child.start();
    let mut byte = [0; 1];
    rustix::io::read(&done, &mut byte).unwrap();
    live.set_interest(&of(named(&["kill"]), &child)).unwrap();
    rustix::io::write(&gate, b"g").unwrap();
    child.wait();
    let (seen, _) = drain(&mut live);
    assert_eq!((count(&seen, EventId::SYSCALL_CLOSE_X), count(&seen, EventId::SYSCALL_KILL_X)), (11, 7));
}

extern "C" fn nothing(_: i32) {}

#[test]
fn starts_signals_switches_and_faults_come_on_request() {
    if !works("starts_signals_switches_and_faults_come_on_request") {
        return;
    }
    let ids: EventSet = [
        EventId::SYSCALL_OPENAT_2_E,
        EventId::SYSCALL_OPENAT_2_X,
        EventId::SIGNALDELIVER_E,
        EventId::SCHEDSWITCH_6_E,
        EventId::PAGE_FAULT_E,
    ]
    .into_iter()
    .collect();
    let mut child = Child::new(
        || {},
        || {
            for _ in 0..3 {
                call(libc::SYS_openat, &[libc::AT_FDCWD.into(), pointer(c"/nonexistent"), 0]);
            }
            let area = call(libc::SYS_mmap, &[0, 64 << 12, 3, 0x22, -1, 0]);
            for page in 0..64 {
                // SAFETY: the area was just mapped, writable and private.
                unsafe {
                    std::ptr::with_exposed_provenance_mut::<u8>((area + (page << 12)) as usize)
                        .write_volatile(1)
                };
            }
            call(libc::SYS_nanosleep, &[pointer(&[0_i64, 1_000_000]), 0]);
            let own = call(libc::SYS_getpid, &[]);
            // SAFETY: the handler does nothing.
            unsafe { libc::signal(libc::SIGUSR1, nothing as *const () as libc::sighandler_t) };
            call(libc::SYS_kill, &[own, libc::SIGUSR1.into()]);
        },
    );
    let mut live = Live::open(&of(ids, &child), &options()).unwrap();
    child.start();
    assert_eq!(child.wait(), 0);
    let (seen, account) = drain(&mut live);
    assert_eq!(account.lost(), 0);
    let starts: Vec<&Seen> = seen.iter().filter(|one| one.id == EventId::SYSCALL_OPENAT_2_E).collect();
    assert_eq!((starts.len(), count(&seen, EventId::SYSCALL_OPENAT_2_X)), (3, 3));
    assert_eq!((starts[0].number(0), starts[0].number(2)), (-100, 1));
    assert!(count(&seen, EventId::PAGE_FAULT_E) >= 64);
    let written = seen.iter().filter(|one| one.id == EventId::PAGE_FAULT_E && one.number(2) == 0x16).count();
    assert!(written >= 64, "{written} faults of writing to a page that is not there");
    assert!(count(&seen, EventId::SCHEDSWITCH_6_E) >= 1);
    let signal = seen.iter().find(|one| one.id == EventId::SIGNALDELIVER_E && one.number(2) == 10).unwrap();
    assert_eq!((signal.number(0), signal.number(1)), (child.pid.into(), child.pid.into()));
}

/// The smallest io_uring: one request at a time.
struct Uring {
    fd: i64,
    rings: [i64; 2],
    requests: i64,
    places: [u8; 120],
}

impl Uring {
    const SIZE: i64 = 16_384;

    /// A ring with a few entries; an error of the kernel's when it cannot be had.
    fn new() -> Result<Self, i64> {
        let mut places = [0_u8; 120];
        let fd = call(libc::SYS_io_uring_setup, &[4, places.as_mut_ptr().addr() as i64]);
        if fd < 0 {
            return Err(fd);
        }
        let map = |offset| {
            let protection = i64::from(libc::PROT_READ | libc::PROT_WRITE);
            call(libc::SYS_mmap, &[0, Self::SIZE, protection, libc::MAP_SHARED.into(), fd, offset])
        };
        let (rings, requests) = ([map(0), map(0x800_0000)], map(0x1000_0000));
        if rings.iter().chain([&requests]).any(|at| *at < 0) {
            return Err(-1);
        }
        Ok(Self { fd, rings, requests, places })
    }

    /// The number in a ring (0: requests, 1: results) to whose place the kernel's answer has at `place`.
    fn word(&self, ring: usize, place: usize, more: i64) -> *mut u32 {
        let offset = self.places[place..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        std::ptr::with_exposed_provenance_mut((self.rings[ring] + i64::from(offset) + more) as usize)
    }

    /// Makes a request, and waits for its result.
    fn ask(&self, request: [u64; 8]) -> i64 {
        let to = std::ptr::with_exposed_provenance_mut::<[u64; 8]>(self.requests as usize);
        // SAFETY: the kernel's places in what it has mapped for us, which nobody else uses meanwhile.
        unsafe {
            to.write_volatile(request);
            // Every entry of the list names the same request.
            (0..4).for_each(|place| self.word(0, 64, 4 * place).write_volatile(0));
            let tail = self.word(0, 44, 0);
            tail.write_volatile(tail.read_volatile().wrapping_add(1));
        }
        call(libc::SYS_io_uring_enter, &[self.fd, 1, 1, 1]);
        // SAFETY: as above.
        unsafe {
            let head = self.word(1, 80, 0);
            let at = head.read_volatile();
            let result = self.word(1, 100, i64::from(at % 8) * 16 + 8).read_volatile();
            head.write_volatile(at.wrapping_add(1));
            i64::from(result.cast_signed())
        }
    }

    /// A request of a kind on a descriptor: offset, address, length and flags.
    fn request(kind: u8, fd: i64, offset: u64, address: i64, len_and_flags: u64) -> [u64; 8] {
        let head = u64::from(kind) | u64::from(fd as u32) << 32;
        [head, offset, address as u64, len_and_flags, 0, 0, 0, 0]
    }
}

/// Whether the kernel is at least of this release.
fn is_since(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

const TOLD: [&str; 4] =
    ["task_file_regular", "task_file_pipe", "task_file_socket_inet", "task_file_anon_inode"];

#[test]
fn descriptors_of_an_io_uring_are_told() {
    let test = "descriptors_of_an_io_uring_are_told";
    if !works(test) {
        return;
    }
    if !is_since(5, 19) {
        eprintln!("SKIP {test}: before 5.19 a request does not tell its result");
        return;
    }
    match Uring::new() {
        Err(error) => {
            eprintln!("SKIP {test}: io_uring_setup gives {error}");
            return;
        }
        Ok(ring) => act(libc::SYS_close, &[ring.fd]),
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("through-a-ring");
    std::fs::write(&path, "x").unwrap();
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let names = [&["read", "close", "getuid"][..], &TOLD].concat();
    let (seen, account, pid) = run(&names, || {
        let Ok(ring) = Uring::new() else { return };
        let open = Uring::request(18, libc::AT_FDCWD.into(), 0, pointer(&*name), (libc::O_RDWR as u64) << 32);
        let mut bytes = [0_u8; 8];
        // Twice the same number, the second time for a socket.
        let file = ring.ask(open);
        call(libc::SYS_read, &[file, bytes.as_mut_ptr().addr() as i64, 5]);
        ring.ask(Uring::request(19, file, 0, 0, 0));
        let inet = Uring::request(45, libc::AF_INET.into(), libc::SOCK_DGRAM as u64, 0, 0);
        let socket = ring.ask(inet);
        call(libc::SYS_read, &[socket, bytes.as_mut_ptr().addr() as i64, 0]);
        // What fails is no descriptor.
        ring.ask(Uring::request(18, -7, 0, pointer(c"nowhere"), 0));
        act(libc::SYS_getuid, &[]);
    });
    assert_eq!(account.lost(), 0);
    let reads: Vec<&Seen> = seen.iter().filter(|one| one.id == EventId::SYSCALL_READ_X).collect();
    // The gate's, and two of ours.
    let [_, first, second] = reads[..] else { panic!("{seen:#?}") };
    assert_eq!((first.number(0), first.number(2)), (1, second.number(2)));
    let ours: Vec<&Seen> = seen
        .iter()
        .filter(|one| one.ts_ns > reads[0].ts_ns)
        .filter(|one| one.id != EventId::SYSCALL_READ_X)
        .collect();
    let [file, close, socket, last] = ours[..] else { panic!("{ours:#?}") };
    assert_eq!(file.id, EventId::ITER_TASK_FILE_REGULAR_E);
    assert_eq!((file.tid, file.number(0)), (i64::from(pid), first.number(2)));
    assert!(file.text(1).ends_with(path.to_str().unwrap()), "{}", file.text(1));
    assert_eq!(file.number(2) & 3, 3, "read and write");
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    assert_eq!(file.number(4) as u64, inode);
    assert_eq!((close.id, close.number(1)), (EventId::SYSCALL_CLOSE_X, first.number(2)));
    assert_eq!((socket.id, socket.number(0)), (EventId::ITER_TASK_FILE_SOCKET_INET_E, second.number(2)));
    assert_eq!((socket.number(1), socket.number(2)), (2, 17), "datagrams, UDP");
    assert_eq!(last.id, EventId::SYSCALL_GETUID_X);
}

#[test]
fn descriptors_that_come_with_a_message_are_told() {
    if !works("descriptors_that_come_with_a_message_are_told") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passed-on");
    let file = std::fs::File::create(&path).unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    let (pipe, _other) = io::pipe().unwrap();
    let poll = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
    let (left, right) = std::os::unix::net::UnixStream::pair().unwrap();
    // Who receives has the sender's numbers first: SO_PASSCRED puts 32 bytes before the descriptors.
    let one = 1_i32;
    let pass =
        [right.as_raw_fd().into(), libc::SOL_SOCKET.into(), libc::SO_PASSCRED.into(), pointer(&one), 4];
    assert_eq!(call(libc::SYS_setsockopt, &pass), 0);
    let given = [file.as_raw_fd(), udp.as_raw_fd(), pipe.as_raw_fd(), poll.as_raw_fd()];
    let (seen, account, pid) = run(&[&["recvmsg"][..], &TOLD].concat(), || {
        let byte = [7_u8];
        let part = [pointer(&byte), 1];
        let mut sent = [0_i64; 4];
        sent[0] = 16 + 16;
        sent[1] = 1 | 1 << 32;
        sent[2] = i64::from(given[0]) | i64::from(given[1]) << 32;
        sent[3] = i64::from(given[2]) | i64::from(given[3]) << 32;
        let header = [0, 0, pointer(&part), 1, pointer(&sent), 32, 0];
        call(libc::SYS_sendmsg, &[left.as_raw_fd().into(), pointer(&header), 0]);
        let room = [0_i64; 32];
        let header = [0, 0, pointer(&part), 1, pointer(&room), 256, 0];
        call(libc::SYS_recvmsg, &[right.as_raw_fd().into(), pointer(&header), 0]);
    });
    assert_eq!(account.lost(), 0);
    let ids: Vec<EventId> = seen.iter().map(|one| one.id).collect();
    let expected = [
        EventId::SOCKET_RECVMSG_X,
        EventId::ITER_TASK_FILE_REGULAR_E,
        EventId::ITER_TASK_FILE_SOCKET_INET_E,
        EventId::ITER_TASK_FILE_PIPE_E,
        EventId::ITER_TASK_FILE_ANON_INODE_E,
    ];
    assert_eq!(ids, expected);
    assert!(seen.iter().all(|one| one.tid == i64::from(pid)));
    let control = &seen[0].params[4];
    // A head of 16 bytes and three numbers, to a multiple of 8; then a head and ours.
    let numbers: Vec<i64> =
        control[48..64].chunks(4).map(|four| i32::from_le_bytes(four.try_into().unwrap()).into()).collect();
    assert_eq!(seen[1..].iter().map(|one| one.number(0)).collect::<Vec<_>>(), numbers);
    assert!(seen[1].text(1).ends_with(path.to_str().unwrap()), "{}", seen[1].text(1));
    assert_eq!((seen[2].params[3].as_slice(), seen[2].number(4)), (&[127, 0, 0, 1][..], i64::from(port)));
    assert_eq!((seen[4].number(1), seen[4].text(2)), (1, "anon_inode:[eventfd]".to_owned()));
}
