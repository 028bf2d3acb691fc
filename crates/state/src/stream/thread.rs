//! Threads as events tell of them.

use std::sync::Arc;

use nabe_event::convert::Enter;
use nabe_event::raw::Event;
use nabe_event::table::EventId;
use nabe_event::value::List;
use nabe_event::{Missing, Value};

use super::descriptors::Descriptors;

/// A thread. Texts are bytes as the kernel had them, without a closing NUL; lists keep the NULs
/// between their elements. Clones share their texts.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Its number.
    pub tid: i64,
    /// Its process.
    pub pid: i64,
    /// The parent process's thread; -1 when not known.
    pub ptid: i64,
    /// Its session; -1 when not known.
    pub sid: i64,
    /// Its process group in its own namespace; -1 when not known.
    pub vpgid: i64,
    /// Its process group; -1 when not known.
    pub pgid: i64,
    /// Its number in its own namespace; -1 when not known.
    pub vtid: i64,
    /// Its process in its own namespace; -1 when not known.
    pub vpid: i64,
    /// Its short name.
    pub comm: Arc<[u8]>,
    /// Its argument 0.
    pub exe: Arc<[u8]>,
    /// Its executable's path.
    pub exe_path: Arc<[u8]>,
    /// Its arguments after the first.
    pub args: Arc<[u8]>,
    /// Its environment.
    pub env: Arc<[u8]>,
    /// Its current directory, with a slash at its end.
    pub cwd: Arc<[u8]>,
    /// Its root directory.
    pub root: Arc<[u8]>,
    /// Its cgroups, `subsystem=path` each.
    pub cgroups: Arc<[u8]>,
    /// The container it runs in, by its short id; empty outside containers.
    pub container: Arc<[u8]>,
    /// How many descriptors it may have; -1 when not known.
    pub fd_limit: i64,
    /// The schema's clone flags.
    pub flags: u32,
    /// Its user; all ones when not known.
    pub uid: u32,
    /// Its group; all ones when not known.
    pub gid: u32,
    /// The user that logged in; all ones for none.
    pub login_uid: u32,
    /// Its virtual memory in KiB.
    pub vm_size_kib: u64,
    /// Its resident memory in KiB.
    pub vm_rss_kib: u64,
    /// Its swapped memory in KiB.
    pub vm_swap_kib: u64,
    /// Its major page faults.
    pub major_faults: u64,
    /// Its minor page faults.
    pub minor_faults: u64,
    /// Its terminal.
    pub tty: u32,
    /// When it was started: nanoseconds since the epoch; 0 when not known.
    pub started_ns: u64,
    /// When the first process of its PID namespace was started: nanoseconds since the epoch.
    pub pid_namespace_start_ns: Option<u64>,
    /// Capabilities: permitted, inheritable, effective.
    pub capabilities: [Option<u64>; 3],
    /// Whether its user may write its executable.
    pub exe_writable: Option<bool>,
    /// Whether its executable is in an overlay's upper layer.
    pub exe_upper_layer: Option<bool>,
    /// Whether its executable is in an overlay's lower layer.
    pub exe_lower_layer: Option<bool>,
    /// Whether its executable is a memfd.
    pub exe_from_memfd: Option<bool>,
    /// Its executable's inode.
    pub exe_inode: Option<u64>,
    /// When the inode changed: nanoseconds since the epoch.
    pub exe_ctime_ns: Option<u64>,
    /// When the executable's content changed: nanoseconds since the epoch.
    pub exe_mtime_ns: Option<u64>,
    pub(crate) descriptors: Descriptors,
    /// Whether it has left its process's table of descriptors.
    pub(crate) has_own_descriptors: bool,
    /// Threads of the process beside the first; on the first.
    pub(crate) siblings: u64,
    /// Whether it has ended, but others of its process have not.
    pub(crate) has_ended: bool,
    /// Whether it was seen in the child before the parent returned.
    pub(crate) inverted: bool,
    /// The enter event that it is in.
    pub(crate) enter: Option<EventId>,
    /// When that was.
    pub(crate) enter_ns: u64,
    /// The descriptor of its last event; -1 for none.
    pub(crate) last_fd: i64,
    /// How long its last system call took.
    pub(crate) latency_ns: u64,
    /// When its last event was.
    pub(crate) last_ns: u64,
    /// The parameters of the enter event that it is in, where its exit event will ask for them.
    pub(crate) kept: Enter,
    /// What it has used, where events tell.
    pub(crate) usage: Option<Box<Usage>>,
    /// Its image, and the lineage of the stream when it got that.
    pub(crate) image: u64,
    pub(crate) lineage: u64,
}

/// What a thread has used of processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// In all, until the last switch away from it.
    pub(crate) total_exec_ns: u64,
    /// The last sample of user and system time, and what came since the one before; in hundredths of
    /// a second.
    sampled: Option<(u64, u64)>,
    pub(crate) user: Option<u64>,
    pub(crate) system: Option<u64>,
}

/// The clone flags that matter here.
pub(crate) mod clone {
    pub(crate) const FILES: u32 = 1;
    pub(crate) const THREAD: u32 = 1 << 13;
    pub(crate) const CHILD_IN_PIDNS: u32 = 1 << 29;
}

/// sysdig's word for what it does not know.
const UNKNOWN: &[u8; 4] = b"<NA>";

impl Thread {
    /// A thread of which only the number is known.
    #[must_use]
    pub fn new(tid: i64) -> Self {
        let empty: Arc<[u8]> = Arc::from([]);
        Self {
            tid,
            pid: tid,
            ptid: -1,
            sid: -1,
            vpgid: -1,
            pgid: -1,
            vtid: -1,
            vpid: -1,
            comm: empty.clone(),
            exe: empty.clone(),
            exe_path: empty.clone(),
            args: empty.clone(),
            env: empty.clone(),
            cwd: empty.clone(),
            root: empty.clone(),
            cgroups: empty.clone(),
            container: empty,
            fd_limit: -1,
            flags: 0,
            uid: u32::MAX,
            gid: u32::MAX,
            login_uid: u32::MAX,
            vm_size_kib: 0,
            vm_rss_kib: 0,
            vm_swap_kib: 0,
            major_faults: 0,
            minor_faults: 0,
            tty: 0,
            started_ns: 0,
            pid_namespace_start_ns: None,
            capabilities: [None; 3],
            exe_writable: None,
            exe_upper_layer: None,
            exe_lower_layer: None,
            exe_from_memfd: None,
            exe_inode: None,
            exe_ctime_ns: None,
            exe_mtime_ns: None,
            descriptors: Descriptors::default(),
            has_own_descriptors: false,
            siblings: 0,
            has_ended: false,
            inverted: false,
            enter: None,
            enter_ns: 0,
            last_fd: -1,
            latency_ns: 0,
            last_ns: 0,
            kept: Enter::default(),
            usage: None,
            image: 0,
            lineage: 0,
        }
    }

    /// A thread that was never told of.
    #[must_use]
    pub(crate) fn unknown(tid: i64) -> Self {
        let name: Arc<[u8]> = Arc::from(*UNKNOWN);
        Self { comm: name.clone(), exe: name, ..Self::new(tid) }
    }

    /// Whether nothing but its number is known.
    pub(crate) fn is_unknown(&self) -> bool {
        *self.comm == *UNKNOWN && self.uid == u32::MAX
    }

    /// What a child has of it. Descriptors, directory and, of a thread, environment are its
    /// process's.
    pub(crate) fn heir(&self) -> Self {
        Self {
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            exe_path: self.exe_path.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            root: self.root.clone(),
            cwd: self.cwd.clone(),
            cgroups: self.cgroups.clone(),
            container: self.container.clone(),
            sid: self.sid,
            vpgid: self.vpgid,
            pgid: self.pgid,
            tty: self.tty,
            login_uid: self.login_uid,
            uid: self.uid,
            gid: self.gid,
            fd_limit: self.fd_limit,
            pid_namespace_start_ns: self.pid_namespace_start_ns,
            capabilities: self.capabilities,
            exe_writable: self.exe_writable,
            exe_upper_layer: self.exe_upper_layer,
            exe_lower_layer: self.exe_lower_layer,
            exe_from_memfd: self.exe_from_memfd,
            exe_inode: self.exe_inode,
            exe_ctime_ns: self.exe_ctime_ns,
            exe_mtime_ns: self.exe_mtime_ns,
            ..Self::new(-1)
        }
    }

    /// Whether it is the first thread of its process.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.tid == self.pid
    }

    /// Its cgroup path of a subsystem.
    #[must_use]
    pub fn cgroup(&self, subsystem: &[u8]) -> Option<&[u8]> {
        list(&self.cgroups).find_map(|entry| {
            let (name, path) = self::subsystem(entry);
            path.strip_prefix(b"=").filter(|_| name == subsystem)
        })
    }

    /// Arguments after the first.
    pub fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        list(&self.args)
    }

    /// Variables of the environment.
    pub fn environment(&self) -> impl Iterator<Item = &[u8]> {
        list(&self.env)
    }

    /// Whether the descriptors are those of the first thread.
    pub(crate) fn shares_descriptors(&self) -> bool {
        !self.is_main() && !self.has_own_descriptors && self.flags & (clone::FILES | clone::THREAD) != 0
    }

    /// Sets the current directory, relative to the one before; returns whether it is another one.
    pub(crate) fn change_directory(&mut self, path: &[u8]) -> bool {
        let mut cwd = super::path::join(&self.cwd, path);
        if cwd.last() != Some(&b'/') {
            cwd.push(b'/');
        }
        let changed = *self.cwd != cwd;
        if changed {
            self.cwd = cwd.into();
        }
        changed
    }

    /// A sample of its times (`procinfo`).
    pub(crate) fn sample(&mut self, event: &Event<'_>) {
        let (Some(user), Some(system)) = (event.unsigned(0), event.unsigned(1)) else { return };
        let usage = self.usage.get_or_insert_default();
        let (before_user, before_system) = usage.sampled.unwrap_or((user, system));
        usage.user = Some(user.saturating_sub(before_user));
        usage.system = Some(system.saturating_sub(before_system));
        usage.sampled = Some((user, system));
    }

    /// Bytes of memory behind it.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [
            &self.comm,
            &self.exe,
            &self.exe_path,
            &self.args,
            &self.env,
            &self.cwd,
            &self.root,
            &self.cgroups,
            &self.container,
        ];
        texts.iter().map(|text| text.len()).sum::<usize>() + self.kept.room_bytes() + self.descriptors.bytes()
    }

    /// The image of it, see [`super::is_of_image`]. It is brought up to date with each of its events.
    #[must_use]
    pub const fn image(&self) -> u64 {
        self.image
    }
}

/// A cgroup's subsystem by the name that its controller has today, and the rest of the entry.
pub(crate) fn subsystem(entry: &[u8]) -> (&[u8], &[u8]) {
    let end = entry.iter().position(|byte| *byte == b'=').unwrap_or(entry.len());
    let (name, rest) = entry.split_at(end);
    let name: &[u8] = match name {
        b"io" | b"io_cgroup" => b"blkio",
        b"cpu_cgroup" => b"cpu",
        b"mem_cgroup" => b"memory",
        b"perf" => b"perf_event",
        name => name,
    };
    (name, rest)
}

/// Its arguments, the program's name first.
impl List for Thread {
    fn len(&self) -> usize {
        1 + self.arguments().count()
    }
    fn get(&self, index: usize) -> Value<'_> {
        match index.checked_sub(1) {
            None => Value::Text(&self.exe),
            Some(at) => self.arguments().nth(at).map_or(Value::Missing(Missing::Unset), Value::Text),
        }
    }
}

/// Bytes of a list of arguments, variables or cgroups that are kept: more than any writer of captures
/// gives.
const MAX_LIST: usize = 64 << 10;

/// A list, cut behind its last whole element when it is too long.
pub(crate) fn capped(list: &[u8]) -> &[u8] {
    match list.get(..MAX_LIST) {
        Some(cut) => cut.get(..=cut.iter().rposition(|byte| *byte == 0).unwrap_or(0)).unwrap_or(cut),
        None => list,
    }
}

/// The elements of a list whose elements end with a NUL.
pub(crate) fn list(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let none = bytes.is_empty();
    bytes.split(|byte| *byte == 0).filter(move |_| !none)
}
