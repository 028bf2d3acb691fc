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

use std::ffi::CStr;

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
        // Whoever may see PID 1, which is root's, is exempt.
        self.unseen.hidepid = hides && self.proc.child(c"1", false).is_err();
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
        dir.piece(c"stat", stat_text)?;
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
        let needs = self.interest.needs;
        if needs.contains(Needs::TASK) {
            self.write_task(dir, pid, &stat, &status);
        }
        if needs.intersects(Needs::ARGS.and(Needs::ENV)) && status.has_mm {
            self.write_args(dir, pid, stat.start.saturating_mul(self.tick_ns));
        }
        if needs.contains(Needs::THREADS) && stat.threads > 1 {
            self.write_threads(dir, pid, status_text, stat_text);
        }
        if needs.contains(Needs::FD) {
            self.write_fds(dir, pid);
        } else if self.orphans {
            self.meet_namespace(dir, pid);
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
    fn write_threads(&mut self, dir: &Dir, pid: u32, status_text: &mut Vec<u8>, stat_text: &mut Vec<u8>) {
        let Ok(tasks) = dir.child(c"task", true) else { return };
        let _ = tasks.numbers(|tid, name| {
            if tid != pid {
                // A thread that ends meanwhile is left out.
                let _ = self.thread(&tasks, name, pid, status_text, stat_text);
            }
            true
        });
    }

    fn thread(
        &mut self,
        tasks: &Dir,
        name: &CStr,
        pid: u32,
        status_text: &mut Vec<u8>,
        stat_text: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        let dir = tasks.child(name, false)?;
        dir.piece(c"stat", stat_text)?;
        dir.piece(c"status", status_text)?;
        let stat = stat::parse(stat_text).ok_or(Errno::SRCH)?;
        let status = status::parse(status_text);
        self.write_task(&dir, pid, &stat, &status);
        Ok(())
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

/// The process that the bytes of a `stat` file speak of.
pub(crate) fn stat_pid(bytes: &[u8]) -> Option<u32> {
    stat::parse(bytes).map(|stat| stat.pid)
}
