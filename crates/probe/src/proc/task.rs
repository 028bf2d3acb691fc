//! A process or thread from its files in `/proc`: the `Task` record.

use std::ffi::{CStr, CString};

use nabe_event::Needs;
use nabe_event::record::{self, Kind, Task, flag};
use rustix::fs::Statx;
use rustix::io::Errno;

use super::Reader;
use super::dir::{Dir, NumberName, device};
use super::stat::Stat;
use super::status::{self, Status};
use super::text::{bracketed, number32, signed};

/// PF_KTHREAD, include/linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;
/// Of a comm, without its NUL.
const COMM: usize = 15;

impl Stat<'_> {
    /// Whether it has ended and waits to be waited for (EXIT_ZOMBIE).
    pub(super) const fn is_zombie(&self) -> bool {
        self.state == 32
    }

    /// Whether it is a kernel thread.
    pub(super) const fn is_kthread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }
}

/// Namespace links and where they go. The slot of `pid` is the task's own namespace.
type Slot = fn(&mut Task) -> &mut u32;
static NAMESPACES: &[(&CStr, &[u8], Slot)] = &[
    (c"ns/uts", b"uts", |task| &mut task.ns_uts),
    (c"ns/ipc", b"ipc", |task| &mut task.ns_ipc),
    (c"ns/mnt", b"mnt", |task| &mut task.ns_mnt),
    (c"ns/pid_for_children", b"pid", |task| &mut task.ns_pid),
    (c"ns/pid", b"pid", |task| &mut task.ns_pid_own),
    (c"ns/net", b"net", |task| &mut task.ns_net),
    (c"ns/cgroup", b"cgroup", |task| &mut task.ns_cgroup),
    (c"ns/user", b"user", |task| &mut task.ns_user),
    (c"ns/time", b"time", |task| &mut task.ns_time),
];

impl Reader<'_> {
    /// Appends the `Task` record of what lies in `dir`: a process, or a thread of `pid`.
    pub(super) fn write_task(&mut self, dir: &Dir, pid: u32, stat: &Stat<'_>, status: &Status) {
        let mut task = self.basic(pid, stat, status);
        let mut denied = false;
        let needs = self.interest.needs;
        if needs.contains(Needs::TASK_DETAIL) {
            denied |= self.read_detail(dir, stat, &mut task);
        }
        if needs.intersects(Needs::CGROUP.and(Needs::CONTAINER).and(Needs::TASK_DETAIL)) {
            denied |= self.read_cgroup(dir, &mut task);
        }
        let mut exe = Vec::new();
        if needs.contains(Needs::EXE) && !stat.is_kthread() {
            denied |= self.read_exe(dir, status.has_mm, &mut task, &mut exe);
        }
        let mut cwd = [0; 4096];
        let cwd = if needs.contains(Needs::CWD) && !stat.is_kthread() {
            match dir.link(c"cwd", &mut cwd) {
                Ok(path) => path,
                // A zombie has none.
                Err(Errno::NOENT | Errno::SRCH) => &[],
                Err(error) => {
                    denied |= self.unseen.cwd(error);
                    &[]
                }
            }
        } else {
            &[]
        };
        let name = if stat.comm.len() > COMM { stat.comm } else { &[] };
        (task.exe_len, task.cwd_len, task.name_len) =
            (exe.len().min(0xffff) as u16, cwd.len() as u16, name.len().min(0xffff) as u16);
        let flags = flag::FROM_PROC | if denied { flag::UNREAD } else { 0 };
        record::write(self.out, Kind::Task, flags, &task, &[&exe, cwd, name]);
    }

    /// What stat and status tell.
    fn basic(&self, pid: u32, stat: &Stat<'_>, status: &Status) -> Task {
        let ticks = |ticks: u64| ticks.saturating_mul(self.tick_ns);
        let pages = |kib: u64| kib.saturating_mul(1024) / u64::from(self.page_size.max(1));
        let (mut comm, name) = ([0; 16], stat.comm.get(..COMM).unwrap_or(stat.comm));
        for (slot, byte) in comm.iter_mut().zip(name) {
            *slot = *byte;
        }
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        Task {
            pid,
            tid: stat.pid,
            ppid: stat.ppid,
            vpid: if status.vpid == 0 { pid } else { status.vpid },
            vtid: if status.vtid == 0 { stat.pid } else { status.vtid },
            pgid: stat.pgid,
            sid: stat.sid,
            tracer: self.tgid_of(status.tracer),
            state: stat.state,
            task_flags: stat.flags,
            threads: stat.threads,
            nice: stat.nice,
            priority: stat.priority,
            policy: stat.policy,
            ruid: status.uid[0],
            euid: status.uid[1],
            suid: status.uid[2],
            rgid: status.gid[0],
            egid: status.gid[1],
            sgid: status.gid[2],
            loginuid: u32::MAX,
            pidns_level: status.pidns_level,
            cap_effective: status.cap_effective,
            cap_permitted: status.cap_permitted,
            cap_inheritable: status.cap_inheritable,
            cap_bounding: status.cap_bounding,
            cap_ambient: status.cap_ambient,
            start_ns: ticks(stat.start),
            utime_ns: ticks(stat.utime),
            stime_ns: ticks(stat.stime),
            vm_pages: stat.vsize / u64::from(self.page_size.max(1)),
            rss_file_pages: pages(status.rss_file),
            rss_anon_pages: pages(status.rss_anon),
            rss_shmem_pages: pages(status.rss_shmem),
            swap_pages: pages(status.swap),
            minflt: stat.minflt,
            majflt: stat.majflt,
            tty: stat.tty,
            seccomp: status.seccomp,
            bits: bit(status.no_new_privs, record::task::NO_NEW_PRIVS)
                | bit(status.has_mm, record::task::HAS_MM)
                | bit(stat.is_kthread(), record::task::KTHREAD),
            comm,
            ..Task::default()
        }
    }

    /// The process of a thread: status names a tracer by its thread.
    fn tgid_of(&self, tid: u32) -> u32 {
        if tid == 0 {
            return 0;
        }
        let mut text = Vec::new();
        let name = NumberName::new(tid);
        let read = self.proc.child(name.as_c_str(), false).and_then(|dir| dir.piece(c"status", &mut text));
        match read {
            Ok(()) => status::parse(&text).tgid,
            Err(_) => tid,
        }
    }

    /// Namespaces, login uid, OOM adjustment. Says whether something was refused.
    fn read_detail(&mut self, dir: &Dir, stat: &Stat<'_>, task: &mut Task) -> bool {
        let mut denied = false;
        let mut link = [0; 64];
        for (name, prefix, slot) in NAMESPACES {
            match dir.link(name, &mut link) {
                Ok(text) => {
                    *slot(task) = bracketed(text, prefix).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
                }
                // A zombie has left most of them; an old kernel has no time namespaces.
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(error) => {
                    denied |= self.unseen.namespace(error);
                    break;
                }
            }
        }
        // Without audit in the kernel there is no login uid: unset is then the truth.
        if dir.piece(c"loginuid", &mut self.text).is_ok() {
            task.loginuid = number32(self.text.trim_ascii()).unwrap_or(u32::MAX);
        }
        if !stat.is_kthread() && dir.piece(c"oom_score_adj", &mut self.text).is_ok() {
            task.oom_score_adj = signed(self.text.trim_ascii()).unwrap_or(0) as i32;
        }
        denied
    }

    fn read_cgroup(&mut self, dir: &Dir, task: &mut Task) -> bool {
        match dir.piece(c"cgroup", &mut self.text) {
            Ok(()) => {
                let write = self.interest.needs.intersects(Needs::CGROUP.and(Needs::CONTAINER));
                (task.cgroup_set, task.cgroup_id) = self.cgroups.of(&self.text, &self.proc, write, self.out);
                false
            }
            // No cgroups in this kernel, or the process has gone.
            Err(Errno::NOENT | Errno::SRCH) => false,
            Err(_) => true,
        }
    }

    /// The executable's path and file. Says whether something was refused.
    fn read_exe(&mut self, dir: &Dir, has_mm: bool, task: &mut Task, path: &mut Vec<u8>) -> bool {
        let mut link = [0; 4096];
        match dir.link(c"exe", &mut link) {
            Ok(text) => path.extend_from_slice(text),
            // Without an address space there is no executable.
            Err(Errno::NOENT | Errno::SRCH) if !has_mm => return false,
            Err(Errno::NOENT | Errno::SRCH) => return true,
            Err(error) => return self.unseen.exe(error),
        }
        let Ok(stat) = dir.stat(c"exe") else { return true };
        task.exe_inode = stat.stx_ino;
        task.exe_dev = device(stat.stx_dev_major, stat.stx_dev_minor);
        task.exe_nlink = stat.stx_nlink;
        task.exe_flags = record::exe::KNOWN;
        if path.ends_with(b" (deleted)") && (stat.stx_nlink == 0 || !is_there(dir, path, &stat)) {
            task.exe_flags |= record::exe::DELETED;
        }
        if path.starts_with(b"/memfd:") && self.shm_dev() == Some(task.exe_dev) {
            task.exe_flags |= record::exe::MEMFD;
        }
        // Overlays have no block device. Where the layer is not known, KNOWN would make a false
        // statement of its absence.
        if stat.stx_dev_major == 0 {
            match self.layer(dir, path, task.exe_dev) {
                Some(layer) => task.exe_flags |= layer,
                None => {
                    task.exe_flags &= !record::exe::KNOWN;
                    self.unseen.layers += 1;
                }
            }
        }
        false
    }
}

/// Whether a file of this very name, ` (deleted)` included, is there: some are called so. `path` is
/// as the process sees it.
fn is_there(dir: &Dir, path: &[u8], file: &Statx) -> bool {
    let Ok(path) = CString::new([b"root", path].concat()) else { return false };
    dir.stat(&path).is_ok_and(|there| {
        (there.stx_ino, there.stx_dev_major, there.stx_dev_minor)
            == (file.stx_ino, file.stx_dev_major, file.stx_dev_minor)
    })
}
