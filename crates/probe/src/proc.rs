//! The same records from `/proc`, where BPF cannot be had.
//!
//! What differs from the kernel's own records, because `/proc` tells no more:
//! - `start_ns` counts in clock ticks (10 ms as a rule); `utime_ns`, `stime_ns`, `minflt` and
//!   `majflt` of a process are the sums of its threads, dead ones included, so there are no
//!   `ThreadTimes` records. `runtime_ns` is 0.
//! - `pidns_level` counts from the PID namespace of the reader's `/proc`; all ids are of that.
//! - `rss_*` are what `/proc/PID/status` says: exact since Linux 6.16, before up to 63 pages a CPU
//!   off.
//! - Descriptors of threads that left their process's table (`unshare(CLONE_FILES)`) are not read.
//! - A socket's `cookie` is not the kernel's address.
//!
//! Every process is read through its own directory handle, so that what is told of it is of one
//! process even when its number is used again. One that ends meanwhile is left out.

mod args;
mod cgroup;
mod diag;
pub(crate) mod dir;
mod fd;
mod fdinfo;
pub(crate) mod mount;
mod net;
mod overlay;
mod socket;
mod stat;
mod status;
mod task;
pub(crate) mod text;
mod unseen;

use nabe_event::{Interest, Needs};
use rustix::io::Errno;

use crate::{Backend, Report};
use dir::{Dir, NumberName};
use mount::Mount;
use unseen::Unseen;

/// include/uapi/linux/magic.h.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Why `/proc` cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not there.
    #[error("cannot open /proc")]
    Open(#[source] std::io::Error),
    /// Something else is mounted there, or nothing.
    #[error("/proc is no proc file system (mount one with: mount -t proc proc /proc)")]
    NotProc,
    /// Its names cannot be listed.
    #[error("cannot list /proc")]
    List(#[source] std::io::Error),
}

/// Appends the records that `interest` asks for to `out`.
///
/// # Errors
/// When `/proc` is not there, is no proc file system, or cannot be listed.
pub fn snapshot(interest: &Interest, out: &mut Vec<u8>) -> Result<Report, Error> {
    let mut reader = Reader::open(interest, out)?;
    reader.look_at_mount();
    let pids = match &interest.pids {
        Some(pids) => pids.clone(),
        None => reader.list()?,
    };
    for pid in pids {
        reader.process(pid);
    }
    reader.finish();
    Ok(Report { backend: Some(Backend::Proc), notes: reader.unseen.notes() })
}

/// Appends the records that `needs` names of one process; says whether it is there. Fills gaps of
/// the kernel's iterators.
pub fn one(pid: u32, needs: Needs, out: &mut Vec<u8>) -> bool {
    let interest = Interest::all(needs.without(Needs::ORPHAN_SOCKETS));
    let Ok(mut reader) = Reader::open(&interest, out) else { return false };
    let found = reader.process(pid);
    reader.finish();
    found
}

/// A pass over `/proc`.
struct Reader<'a> {
    proc: Dir,
    interest: &'a Interest,
    out: &'a mut Vec<u8>,
    tick_ns: u64,
    page_size: u32,
    /// Whether sockets without a descriptor are asked for.
    orphans: bool,
    unseen: Unseen,
    cgroups: cgroup::Sets,
    sockets: socket::Sockets,
    pending: Vec<socket::Pending>,
    /// Devices of file systems that are no overlays.
    plain_devs: Vec<u32>,
    sockfs_dev: Option<u32>,
    /// Device of the kernel's own tmpfs, where memfds lie; asked for once.
    shm_dev: Option<Option<u32>>,
    stat: Vec<u8>,
    status: Vec<u8>,
    text: Vec<u8>,
    /// A `Socket`, encoded.
    socket: Vec<u8>,
    path: String,
}

impl<'a> Reader<'a> {
    fn open(interest: &'a Interest, out: &'a mut Vec<u8>) -> Result<Self, Error> {
        let proc = Dir::open(c"/proc", true).map_err(|error| Error::Open(error.into()))?;
        match rustix::fs::fstatfs(&proc.0) {
            Ok(stat) if stat.f_type as u64 == PROC_SUPER_MAGIC => {}
            _ => return Err(Error::NotProc),
        }
        Ok(Self {
            proc,
            interest,
            out,
            tick_ns: 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1),
            page_size: u32::try_from(rustix::param::page_size()).unwrap_or(4096),
            orphans: interest.needs.contains(Needs::ORPHAN_SOCKETS),
            unseen: Unseen::default(),
            cgroups: cgroup::Sets::default(),
            sockets: socket::Sockets::default(),
            pending: Vec::new(),
            plain_devs: Vec::new(),
            sockfs_dev: None,
            shm_dev: None,
            stat: Vec::new(),
            status: Vec::new(),
            text: Vec::new(),
            socket: Vec::new(),
            path: String::new(),
        })
    }

    /// Notes how `/proc` is mounted.
    fn look_at_mount(&mut self) {
        let mut text = Vec::new();
        if self.proc.whole(c"self/mountinfo", &mut text, 16 << 20).is_err() {
            return;
        }
        let Some(proc) = Mount::all(&text).filter(|mount| mount.point == b"/proc").last() else { return };
        self.unseen.subset = proc.option(b"subset").is_some_and(|subset| subset == b"pid");
        let hides = proc
            .option(b"hidepid")
            .is_some_and(|how| matches!(&how[..], b"2" | b"4" | b"invisible" | b"ptraceable"));
        // ptrace_may_access() and the group exempt (fs/proc/base.c: has_pid_permissions).
        let gid = proc.option(b"gid").and_then(|gid| text::number32(&gid)).unwrap_or(0);
        self.unseen.hidepid = hides && !self.is_exempt(gid);
    }

    /// Whether hidepid does not concern this reader.
    fn is_exempt(&self, gid: u32) -> bool {
        const CAP_SYS_PTRACE: u64 = 1 << 19;
        let mut text = Vec::new();
        let read = self.proc.child(c"self", false).and_then(|dir| dir.piece(c"status", &mut text));
        let status = status::parse(&text);
        let groups = rustix::process::getgroups().unwrap_or_default();
        read.is_ok()
            && (status.cap_effective & CAP_SYS_PTRACE != 0
                || status.gid[3] == gid
                || groups.iter().any(|group| group.as_raw() == gid))
    }

    /// All process ids.
    fn list(&mut self) -> Result<Vec<u32>, Error> {
        let mut pids = Vec::new();
        self.proc
            .numbers(|pid, _| {
                pids.push(pid);
                true
            })
            .map_err(|error| Error::List(error.into()))?;
        Ok(pids)
    }

    /// Appends what is asked for of a process; says whether it is there.
    fn process(&mut self, pid: u32) -> bool {
        let name = NumberName::new(pid);
        let Ok(dir) = self.proc.child(name.as_c_str(), false) else { return false };
        let (mut stat, mut status) = (std::mem::take(&mut self.stat), std::mem::take(&mut self.status));
        let found = self.process_in(&dir, pid, &mut stat, &mut status).is_ok();
        (self.stat, self.status) = (stat, status);
        found
    }

    fn process_in(
        &mut self,
        dir: &Dir,
        pid: u32,
        stat_text: &mut Vec<u8>,
        status_text: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        // hidepid=1 lists what it does not let anyone read.
        dir.piece(c"stat", stat_text).inspect_err(|error| {
            self.unseen.process(*error);
        })?;
        let stat = stat::parse(stat_text).ok_or(Errno::SRCH)?;
        if !self.is_name_wanted(&stat) {
            return Ok(());
        }
        dir.piece(c"status", status_text)?;
        let status = status::parse(status_text);
        // The number of a thread leads to a directory too.
        if status.tgid != pid {
            return Err(Errno::SRCH);
        }
        if self.interest.euids.as_ref().is_some_and(|euids| !euids.contains(&status.uid[1])) {
            return Ok(());
        }
        // A leader that has ended leaves its process to the other threads, and shows nothing of it.
        if stat.is_zombie() && stat.threads > 1 {
            let (mut live_stat, mut live_status) = (Vec::new(), Vec::new());
            if let Some(live) = live_thread(dir, &mut live_stat, &mut live_status) {
                let vsize = stat::parse(&live_stat).map_or(0, |live| live.vsize);
                let (vpid, vtid) = (status.vpid, status.vtid);
                let status = status::Status { vpid, vtid, ..status::parse(&live_status) };
                let stat = stat::Stat { vsize, ..stat };
                return self.tell(dir, &live, pid, &stat, &status);
            }
        }
        self.tell(dir, dir, pid, &stat, &status)
    }

    /// Appends what is asked for of a process in `dir`, whose files and memory `body` shows.
    fn tell(
        &mut self,
        dir: &Dir,
        body: &Dir,
        pid: u32,
        stat: &stat::Stat<'_>,
        status: &status::Status,
    ) -> Result<(), Errno> {
        let needs = self.interest.needs;
        if needs.contains(Needs::TASK) {
            self.write_task(body, pid, stat, status);
        }
        if needs.intersects(Needs::ARGS.and(Needs::ENV)) && status.has_mm {
            self.write_args(body, pid, stat.start.saturating_mul(self.tick_ns));
        }
        if needs.contains(Needs::THREADS) && stat.threads > 1 {
            self.write_threads(dir, pid);
        }
        if self.orphans {
            self.meet_namespace(body, pid);
        }
        if needs.contains(Needs::FD) {
            self.write_fds(body, pid);
        }
        Ok(())
    }

    /// A kernel thread's full name is longer than what the interest compares.
    fn is_name_wanted(&self, stat: &stat::Stat<'_>) -> bool {
        let comm = stat.comm.get(..15).unwrap_or(stat.comm);
        stat.is_kthread()
            || self.interest.names.as_ref().is_none_or(|names| names.iter().any(|name| name == comm))
    }

    /// Appends a `Task` record for each thread but the leader.
    fn write_threads(&mut self, dir: &Dir, pid: u32) {
        let Ok(tasks) = dir.child(c"task", true) else { return };
        let (mut stat, mut status) = (Vec::new(), Vec::new());
        let _ = tasks.numbers(|tid, name| {
            // A thread that ends meanwhile is left out.
            if tid != pid
                && let Ok(dir) = tasks.child(name, false)
                && dir.piece(c"stat", &mut stat).is_ok()
                && dir.piece(c"status", &mut status).is_ok()
                && let Some(stat) = stat::parse(&stat)
            {
                self.write_task(&dir, pid, &stat, &status::parse(&status));
            }
            true
        });
    }

    /// Reads the sockets of the namespace that a process is in.
    fn meet_namespace(&mut self, dir: &Dir, pid: u32) {
        let mut link = [0; 64];
        if let Ok(text) = dir.link(c"ns/net", &mut link)
            && let Some(netns) = socket::netns_of(text)
        {
            self.enter(dir, pid, netns);
        }
    }

    /// What can be told only when every process has been seen.
    fn finish(&mut self) {
        if self.orphans {
            self.enter_mounted();
        }
        self.write_pending();
        if self.orphans {
            let narrowed = self.interest.pids.is_some()
                || self.interest.euids.is_some()
                || self.interest.names.is_some();
            let all_seen = !narrowed && self.unseen.fds == 0 && !self.unseen.hidepid;
            self.write_orphans(all_seen);
        }
    }

    /// The device on which memfds lie, by making one.
    fn shm_dev(&mut self) -> Option<u32> {
        *self.shm_dev.get_or_insert_with(|| {
            let fd = rustix::fs::memfd_create(c"nabe", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
            let flags = rustix::fs::AtFlags::EMPTY_PATH;
            let stat = rustix::fs::statx(&fd, c"", flags, rustix::fs::StatxFlags::BASIC_STATS).ok()?;
            Some(dir::device(stat.stx_dev_major, stat.stx_dev_minor))
        })
    }
}

/// A thread of the process in `dir` that has not ended, and the texts of its `stat` and `status`.
fn live_thread(dir: &Dir, stat_text: &mut Vec<u8>, status_text: &mut Vec<u8>) -> Option<Dir> {
    let tasks = dir.child(c"task", true).ok()?;
    let mut found = None;
    let _ = tasks.numbers(|_, name| {
        if let Ok(thread) = tasks.child(name, false)
            && thread.piece(c"stat", stat_text).is_ok()
            && stat::parse(stat_text).is_some_and(|stat| !stat.is_zombie())
            && thread.piece(c"status", status_text).is_ok()
        {
            found = Some(thread);
        }
        found.is_none()
    });
    found
}

/// Runs every parser of this backend over `bytes`, for fuzzing: none may panic, whatever the bytes.
/// Returns how much was understood, so that nothing is optimised away.
#[must_use]
pub fn parse_anything(bytes: &[u8]) -> usize {
    let sockets =
        |line: &[u8]| net::FILES.iter().filter(|(_, layout, _)| layout.line(line).is_some()).count();
    usize::from(stat::parse(bytes).is_some())
        + usize::from(status::parse(bytes) != status::Status::default())
        + usize::from(fdinfo::parse(bytes) != fdinfo::FdInfo::default())
        + Mount::all(bytes).filter(|mount| mount.option(b"upperdir").is_some()).count()
        + text::lines(bytes).map(sockets).sum::<usize>()
        + cgroup::count(bytes)
        + overlay::count(bytes)
        + diag::walk(bytes)
}

/// The process that the bytes of a `stat` file speak of.
pub(crate) fn stat_pid(bytes: &[u8]) -> Option<u32> {
    stat::parse(bytes).map(|stat| stat.pid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_anything(&bytes);
        }

        #[test]
        fn nor_on_what_looks_like_proc(text in "([A-Za-z0-9:/=,.\\\\ \t\n()-]|[0-9]{1,20}){0,200}") {
            let _ = parse_anything(text.as_bytes());
        }
    }
}
