//! A thread of the snapshot.

use std::ffi::CString;

use nabe_event::item::Thread;
use nabe_event::record::{Task, exe};
use rustix::fs::{AtFlags, CWD, statat};

use super::{Facts, Span, Texts};

/// The schema's flags of a thread that is not its process's first one: it shares descriptors.
const CLONE_FILES: u32 = 1;
const CLONE_THREAD: u32 = 1 << 13;
const CHILD_IN_PIDNS: u32 = 1 << 29;
/// CAP_DAC_OVERRIDE and CAP_FOWNER: who has one may write any file, or make it so.
const WRITES_ALL: u64 = 1 << 1 | 1 << 3;

/// A thread whose texts are in the buffer.
#[derive(Debug)]
pub(crate) struct KeptThread {
    pub(crate) thread: Thread<'static>,
    comm: Span,
    exe: Span,
    exe_path: Span,
    args: Span,
    cwd: Span,
    env: Span,
    cgroups: Span,
    root: Span,
}

impl KeptThread {
    pub(crate) fn new(
        task: &Task,
        exe_path: &[u8],
        cwd: &[u8],
        facts: &Facts,
        epoch_ns: u64,
        texts: &mut Texts,
    ) -> Self {
        let none = super::Arguments::default();
        let arguments = facts.arguments.get(&task.pid).unwrap_or(&none);
        let split =
            arguments.argv.iter().position(|byte| *byte == 0).map_or(arguments.argv.len(), |at| at + 1);
        let (first, rest) = arguments.argv.split_at_checked(split).unwrap_or_default();
        let comm_len = task.comm.iter().position(|byte| *byte == 0).unwrap_or(task.comm.len());
        let comm = task.comm.get(..comm_len).unwrap_or_default();
        // A kernel thread has no argument 0; captures have its name there.
        let exe = first.strip_suffix(b"\0").unwrap_or(first);
        let slash: &[u8] = if cwd.is_empty() || cwd.ends_with(b"/") { b"" } else { b"/" };
        let mut thread = numbers(task, facts, epoch_ns);
        let root = from_proc(task, &mut thread);
        Self {
            comm: texts.keep(&[comm]),
            exe: texts.keep(&[if exe.is_empty() { comm } else { exe }]),
            exe_path: texts.keep(&[exe_path]),
            args: texts.keep(&[rest]),
            cwd: texts.keep(&[cwd, slash]),
            env: texts.keep(&[&arguments.env]),
            cgroups: texts.keep(&[facts.cgroups.get(&task.cgroup_set).map_or(&[][..], Vec::as_slice)]),
            root: texts.keep(&[&root]),
            thread,
        }
    }

    pub(crate) fn item<'a>(&self, texts: &'a Texts) -> Thread<'a> {
        Thread {
            comm: texts.get(self.comm),
            exe: texts.get(self.exe),
            exe_path: texts.get(self.exe_path),
            args: texts.get(self.args),
            cwd: texts.get(self.cwd),
            env: texts.get(self.env),
            cgroups: texts.get(self.cgroups),
            root: texts.get(self.root),
            ..self.thread
        }
    }
}

/// What the record has.
fn numbers(task: &Task, facts: &Facts, epoch_ns: u64) -> Thread<'static> {
    let kib = |pages: u64| {
        u32::try_from(pages.saturating_mul(u64::from(facts.host.page_size)) / 1024).unwrap_or(u32::MAX)
    };
    let known = task.exe_flags & exe::KNOWN != 0;
    let exe_flag = |bit| known.then_some(task.exe_flags & bit != 0);
    let mut flags = 0;
    if task.tid != task.pid {
        flags |= CLONE_THREAD | CLONE_FILES;
    }
    if task.pidns_level > 0 {
        flags |= CHILD_IN_PIDNS;
    }
    Thread {
        tid: task.tid.into(),
        pid: task.pid.into(),
        ptid: task.ppid.into(),
        sid: task.sid.into(),
        // In the initial namespace the numbers are the same.
        vpgid: if task.pidns_level == 0 { task.pgid.into() } else { -1 },
        flags,
        uid: task.euid,
        gid: task.egid,
        vm_size_kib: kib(task.vm_pages),
        vm_rss_kib: kib(task
            .rss_file_pages
            .saturating_add(task.rss_anon_pages)
            .saturating_add(task.rss_shmem_pages)),
        vm_swap_kib: kib(task.swap_pages),
        major_faults: task.majflt,
        minor_faults: task.minflt,
        vtid: task.vtid.into(),
        vpid: task.vpid.into(),
        pid_namespace_start_ns: facts
            .namespaces
            .get(&task.ns_pid_own)
            .map(|start| epoch_ns.saturating_add(*start)),
        tty: Some(task.tty),
        login_uid: Some(task.loginuid),
        cap_inheritable: Some(task.cap_inheritable),
        cap_permitted: Some(task.cap_permitted),
        cap_effective: Some(task.cap_effective),
        exe_upper_layer: exe_flag(exe::UPPER),
        exe_lower_layer: exe_flag(exe::LOWER),
        exe_from_memfd: exe_flag(exe::MEMFD),
        exe_inode: known.then_some(task.exe_inode),
        pgid: Some(task.pgid.into()),
        ..Thread::UNKNOWN
    }
}

/// What only `/proc` and a system call tell: the limit of descriptors, the executable's times and
/// mode, the root directory, the process group in its own namespace. Returns the root.
fn from_proc(task: &Task, thread: &mut Thread<'static>) -> Vec<u8> {
    let pid = i32::try_from(task.pid).ok().and_then(rustix::process::Pid::from_raw);
    let limit = pid.and_then(|pid| super::super::sys::descriptor_limit(pid.as_raw_nonzero().get()));
    thread.fd_limit = limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
    if task.bits & nabe_event::record::task::KTHREAD != 0 {
        return b"/".to_vec();
    }
    if task.exe_flags & exe::KNOWN != 0
        && let Ok(path) = CString::new(format!("/proc/{}/exe", task.pid))
        && let Ok(stat) = statat(CWD, &path, AtFlags::empty())
    {
        let ns = |seconds: i64, rest: u64| {
            u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(rest)
        };
        thread.exe_ctime_ns = Some(ns(stat.st_ctime, stat.st_ctime_nsec));
        thread.exe_mtime_ns = Some(ns(stat.st_mtime, stat.st_mtime_nsec));
        let writes = stat.st_uid == task.euid
            || stat.st_mode & 0o002 != 0
            || stat.st_gid == task.egid && stat.st_mode & 0o020 != 0
            || task.cap_effective & WRITES_ALL != 0;
        thread.exe_writable = Some(writes);
    }
    if thread.vpgid < 0 {
        thread.vpgid = inner_group(task.pid).unwrap_or(-1);
    }
    let root = CString::new(format!("/proc/{}/root", task.pid)).ok();
    root.and_then(|path| rustix::fs::readlinkat(CWD, &path, Vec::new()).ok())
        .map_or_else(Vec::new, CString::into_bytes)
}

/// The process group as the innermost namespace numbers it.
fn inner_group(pid: u32) -> Option<i64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpgid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}
