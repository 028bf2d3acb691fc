//! Records: the bytes in which a source tells what is there. The BPF iterators write them, the
//! `/proc` fallback writes the same ones, a snapshot file is a sequence of them.
//!
//! Layout, little-endian, 8-byte aligned: `u32 len` (all of it, a multiple of 8), `u16 kind`,
//! `u16 flags`, then the fixed part of the kind, then its variable part back to back in the order
//! in which the fixed part gives the lengths. A change of a fixed part is a new version of the
//! snapshot file (`VERSION`); kinds may be added without one, since a reader skips those that it
//! does not know.
//!
//! The structs below are the only definition; `c_header()` makes the C side from them.

use core::fmt::Write as _;

/// Version of the layouts below; a snapshot file carries it.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER: usize = 8;
/// The longest record that anyone may write; a kernel iterator cannot write more than 32 KiB, and
/// `/proc` not more than this.
pub const MAX_LEN: usize = 4 << 20;

/// Record flags.
pub mod flag {
    /// The fact comes from `/proc`, not from the kernel's own structures.
    pub const FROM_PROC: u16 = 1;
    /// A text in the variable part was cut.
    pub const CUT: u16 = 2;
    /// Something could not be read and is zero or empty.
    pub const UNREAD: u16 = 4;
    /// `Fd`: a `Socket` follows the fixed part.
    pub const SOCKET: u16 = 8;
}

/// A number or a byte array in a fixed part.
trait Scalar: Sized {
    const SIZE: usize;
    /// C type and, for arrays, what stands behind the name.
    const C: (&'static str, &'static str);
    fn read(bytes: &[u8], at: usize) -> Self;
    fn write(&self, out: &mut Vec<u8>);
}

macro_rules! scalar {
    ($($ty:ty = $c:literal),*) => { $(
        impl Scalar for $ty {
            const SIZE: usize = size_of::<$ty>();
            const C: (&'static str, &'static str) = ($c, "");
            #[inline]
            fn read(bytes: &[u8], at: usize) -> Self {
                bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| Self::from_le_bytes(*chunk))
            }
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )* };
}
scalar!(u8 = "__u8", u16 = "__u16", u32 = "__u32", u64 = "__u64", i32 = "__s32", i64 = "__s64");

impl Scalar for [u8; 16] {
    const SIZE: usize = 16;
    const C: (&'static str, &'static str) = ("__u8", "[16]");
    #[inline]
    fn read(bytes: &[u8], at: usize) -> Self {
        bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

/// A part of a record with a fixed layout.
pub trait Fixed: Sized {
    /// Its bytes.
    const SIZE: usize;
    /// Reads it; what the bytes do not hold is zero.
    fn decode(bytes: &[u8]) -> Self;
    /// Appends it.
    fn encode(&self, out: &mut Vec<u8>);
}

macro_rules! fixed {
    ($( $(#[doc = $doc:literal])* struct $name:ident($cname:literal) { $( #[doc = $fdoc:literal] $field:ident: $ty:tt, )* } )*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name { $( #[doc = $fdoc] pub $field: $ty, )* }

            impl Fixed for $name {
                const SIZE: usize = 0 $( + <$ty as Scalar>::SIZE )*;
                #[inline]
                #[allow(unused_assignments, reason = "the last step of the cursor is not read")]
                fn decode(bytes: &[u8]) -> Self {
                    let mut at = 0;
                    Self { $( $field: { let value = <$ty as Scalar>::read(bytes, at); at += <$ty as Scalar>::SIZE; value }, )* }
                }
                fn encode(&self, out: &mut Vec<u8>) {
                    $( self.$field.write(out); )*
                }
            }

            const _: () = {
                // The kernel side is an ordinary C struct: it must have no padding.
                let mut at = 0;
                $(
                    let align = if <$ty as Scalar>::SIZE > 8 { 1 } else { <$ty as Scalar>::SIZE };
                    assert!(at % align == 0, "a field is not aligned");
                    at += <$ty as Scalar>::SIZE;
                )*
                assert!(at % 8 == 0, "the size is not a multiple of 8");
            };
        )*

        fn c_structs(out: &mut String) {
            $(
                let mut at = 0;
                let _ = writeln!(out, "struct {} {{", $cname);
                let mut asserts = String::new();
                $(
                    let (ty, array) = <$ty as Scalar>::C;
                    let _ = writeln!(out, "\t{ty} {}{array}; /* {}:{} */", stringify!($field), at, $fdoc);
                    let _ = writeln!(asserts, "_Static_assert(__builtin_offsetof(struct {}, {}) == {at}, \"layout\");", $cname, stringify!($field));
                    at += <$ty as Scalar>::SIZE;
                )*
                let _ = writeln!(out, "}};\n_Static_assert(sizeof(struct {}) == {at}, \"layout\");\n{asserts}", $cname);
            )*
        }
    };
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Where and when the snapshot was taken: [`Host`].
    Host = 1,
    /// A process or thread: [`Task`], then exe, cwd.
    Task = 2,
    /// Times of a thread that is not the leader: [`ThreadTimes`].
    ThreadTimes = 3,
    /// A piece of a command line or environment: [`Args`], then argv bytes, env bytes.
    Args = 4,
    /// A descriptor or an ownerless socket: [`Fd`], [`Socket`] when flagged, then path or unix name, peer name.
    Fd = 5,
    /// One hierarchy's cgroup of a set of cgroups: [`Cgroup`], then root name, path.
    Cgroup = 6,
    /// A container's metadata: [`Container`], then texts.
    Container = 7,
    /// A user or group name: [`User`], then name.
    User = 8,
    /// Something that could not be seen: text for people.
    Note = 9,
    /// The last record of a file: [`End`].
    End = 10,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Host,
            2 => Self::Task,
            3 => Self::ThreadTimes,
            4 => Self::Args,
            5 => Self::Fd,
            6 => Self::Cgroup,
            7 => Self::Container,
            8 => Self::User,
            9 => Self::Note,
            10 => Self::End,
            _ => return None,
        })
    }
}

fixed! {
    /// Facts about the host and the moment.
    struct Host("nabe_host") {
        /// wall clock at the snapshot, ns since the epoch
        taken_ns: u64,
        /// ns since boot (CLOCK_BOOTTIME) at the snapshot
        uptime_ns: u64,
        /// bytes of a page
        page_size: u32,
        /// processors that can be online
        cpus: u32,
        /// inode of the reader's PID namespace
        reader_pidns: u32,
        /// 1 = BPF iterators, 2 = /proc
        source: u32,
        /// ns since boot that a monotonic clock tick counts (1e9 / CLK_TCK)
        tick_ns: u64,
        /// length of the host name
        hostname_len: u16,
        /// length of the kernel release
        release_len: u16,
        /// inode of the host's (PID 1's) net namespace, 0 when not known
        init_net: u32,
        /// inode of the host's mnt namespace, 0 when not known
        init_mnt: u32,
        /// zero
        reserved: u32,
    }

    /// A task: a process (its leader), or a thread when tid differs from pid.
    struct Task("nabe_task") {
        /// tgid
        pid: u32,
        /// pid in the kernel's sense
        tid: u32,
        /// tgid of real_parent
        ppid: u32,
        /// tgid in the innermost PID namespace
        vpid: u32,
        /// tid in the innermost PID namespace
        vtid: u32,
        /// process group
        pgid: u32,
        /// session
        sid: u32,
        /// tgid of the ptracer, or 0
        tracer: u32,
        /// __state | exit_state, raw
        state: u32,
        /// PF_*
        task_flags: u32,
        /// threads in the group
        threads: u32,
        /// static_prio - 120
        nice: i32,
        /// prio - 100
        priority: i32,
        /// SCHED_*
        policy: u32,
        /// real uid
        ruid: u32,
        /// effective uid
        euid: u32,
        /// saved uid
        suid: u32,
        /// real gid
        rgid: u32,
        /// effective gid
        egid: u32,
        /// saved gid
        sgid: u32,
        /// audit login uid, ~0 when unset
        loginuid: u32,
        /// depth of the PID namespace, 0 = initial
        pidns_level: u32,
        /// CAP_* effective
        cap_effective: u64,
        /// CAP_* permitted
        cap_permitted: u64,
        /// CAP_* inheritable
        cap_inheritable: u64,
        /// CAP_* bounding set
        cap_bounding: u64,
        /// CAP_* ambient
        cap_ambient: u64,
        /// start_boottime, ns
        start_ns: u64,
        /// user time of this task and of the group's dead threads, ns, by ticks
        utime_ns: u64,
        /// system time likewise
        stime_ns: u64,
        /// exact run time of the same (sum_exec_runtime), ns; 0 when not known
        runtime_ns: u64,
        /// total_vm, pages
        vm_pages: u64,
        /// file pages
        rss_file_pages: u64,
        /// anonymous pages
        rss_anon_pages: u64,
        /// shared memory pages
        rss_shmem_pages: u64,
        /// swap entries
        swap_pages: u64,
        /// minor faults
        minflt: u64,
        /// major faults
        majflt: u64,
        /// kernfs id in the v2 hierarchy
        cgroup_id: u64,
        /// identity of the set of cgroups: joins Cgroup records
        cgroup_set: u64,
        /// inode of the executable
        exe_inode: u64,
        /// device of the executable's file system, kernel encoding (major << 20 | minor)
        exe_dev: u32,
        /// hard links of the executable
        exe_nlink: u32,
        /// EXE_* bits: 1 deleted, 2 memfd, 4 overlay upper layer, 8 overlay lower layer, 16 known
        exe_flags: u32,
        /// uts namespace inode
        ns_uts: u32,
        /// ipc namespace inode
        ns_ipc: u32,
        /// mnt namespace inode
        ns_mnt: u32,
        /// pid namespace inode for children
        ns_pid: u32,
        /// pid namespace inode of the task itself
        ns_pid_own: u32,
        /// net namespace inode
        ns_net: u32,
        /// cgroup namespace inode
        ns_cgroup: u32,
        /// user namespace inode
        ns_user: u32,
        /// time namespace inode
        ns_time: u32,
        /// dev_t of the controlling terminal in the /proc/PID/stat encoding, or 0
        tty: u32,
        /// oom_score_adj
        oom_score_adj: i32,
        /// SECCOMP_MODE_*
        seccomp: u32,
        /// 1 no_new_privs, 2 has mm, 4 kernel thread
        bits: u32,
        /// comm
        comm: [u8; 16],
        /// length of the executable's path
        exe_len: u16,
        /// length of the current directory
        cwd_len: u16,
        /// bytes of the full name when comm is cut (kernel threads), after cwd
        name_len: u16,
        /// zero
        reserved: u16,
    }

    /// CPU times of one thread other than the leader.
    struct ThreadTimes("nabe_thread_times") {
        /// tgid
        pid: u32,
        /// tid
        tid: u32,
        /// ns by ticks
        utime_ns: u64,
        /// ns by ticks
        stime_ns: u64,
        /// sum_exec_runtime, ns
        runtime_ns: u64,
        /// minor faults
        minflt: u64,
        /// major faults
        majflt: u64,
    }

    /// A piece of the command line and of the environment.
    struct Args("nabe_args") {
        /// tgid
        pid: u32,
        /// 0 or the errno of the read
        error: u32,
        /// start_boottime, ns: joins the Task
        start_ns: u64,
        /// where this piece of argv begins
        argv_offset: u32,
        /// bytes of this piece
        argv_len: u32,
        /// bytes of all of argv
        argv_total: u32,
        /// where this piece of the environment begins
        env_offset: u32,
        /// bytes of this piece
        env_len: u32,
        /// bytes of the whole environment
        env_total: u32,
    }

    /// An open descriptor, or a socket without one (pid 0, fd -1).
    struct Fd("nabe_fd") {
        /// tgid of the owner
        pid: u32,
        /// descriptor number
        fd: i32,
        /// inode number
        inode: u64,
        /// position
        offset: u64,
        /// size of the inode
        size: u64,
        /// device of the file system, kernel encoding (major << 20 | minor)
        dev: u32,
        /// device number of a device node, kernel encoding
        rdev: u32,
        /// f_flags
        open_flags: u32,
        /// i_mode
        mode: u32,
        /// i_nlink
        nlink: u32,
        /// mount id
        mount_id: u32,
        /// symbol::FD_TYPE
        fd_type: u32,
        /// FMODE_* of the file: 1 read, 2 write
        access: u32,
        /// length of the path
        path_len: u32,
        /// bytes of Socket that follow (0 when none)
        socket_len: u32,
    }

    /// The socket behind a descriptor.
    struct Socket("nabe_socket") {
        /// AF_*
        family: u16,
        /// SOCK_*
        sock_type: u16,
        /// protocol
        protocol: u16,
        /// TCP_* state
        state: u16,
        /// local port, host order
        src_port: u16,
        /// remote port, host order
        dst_port: u16,
        /// length of its own unix name
        name_len: u16,
        /// length of the peer's unix name
        peer_len: u16,
        /// local address, the first 4 bytes for IPv4
        src_addr: [u8; 16],
        /// remote address
        dst_addr: [u8; 16],
        /// an identity of the kernel's sock, no address
        cookie: u64,
        /// inode of the peer's socket (unix)
        peer_inode: u64,
        /// network namespace inode
        netns: u32,
        /// uid of the socket
        uid: u32,
        /// bytes to read; pending connections of a listener
        rx_queue: u32,
        /// bytes not acknowledged; backlog of a listener
        tx_queue: u32,
        /// netlink: port id; packet: interface index; raw: protocol
        extra: u32,
        /// zero
        reserved: u32,
    }

    /// The cgroup of a set in one hierarchy.
    struct Cgroup("nabe_cgroup") {
        /// identity of the set: joins Task.cgroup_set
        cgroup_set: u64,
        /// kernfs id
        cgroup_id: u64,
        /// hierarchy_id; 0 = v2
        hierarchy: u32,
        /// subsys_mask of the root
        subsystems: u32,
        /// length of the root's name (v1 named hierarchies)
        name_len: u16,
        /// length of the path: names from the leaf up to the root, each ended by a NUL
        path_len: u16,
        /// zero
        reserved: u32,
    }

    /// What is known of a set of cgroups beyond its paths: container, pod, unit. The variable part is `count` texts, each `u32 len` + bytes, in the order of
    /// [`ContainerText`]; then `labels` pairs of texts.
    struct Container("nabe_container") {
        /// identity of the set of cgroups it was found for
        cgroup_set: u64,
        /// host pid of its first process, or 0
        init_pid: u32,
        /// number of texts before the labels
        texts: u16,
        /// number of labels
        labels: u16,
    }

    /// A name from the user database.
    struct User("nabe_user") {
        /// uid or gid
        id: u32,
        /// 0 user, 1 group
        is_group: u16,
        /// length of the name
        name_len: u16,
    }

    /// End of a file.
    struct End("nabe_end") {
        /// records before this one
        records: u64,
        /// bytes of the records before this one
        bytes: u64,
        /// CRC-32 (IEEE) of those bytes
        crc: u32,
        /// zero
        reserved: u32,
    }
}

/// Bits of [`Task::exe_flags`].
pub mod exe {
    /// Removed from its directory.
    pub const DELETED: u32 = 1;
    /// On a memfd.
    pub const MEMFD: u32 = 2;
    /// In an overlay's upper layer.
    pub const UPPER: u32 = 4;
    /// In an overlay's lower layer.
    pub const LOWER: u32 = 8;
    /// The other bits were looked at.
    pub const KNOWN: u32 = 16;
}

/// Bits of [`Task::bits`].
pub mod task {
    /// no_new_privs is set.
    pub const NO_NEW_PRIVS: u32 = 1;
    /// It has an address space of its own.
    pub const HAS_MM: u32 = 2;
    /// It is a kernel thread (PF_KTHREAD).
    pub const KTHREAD: u32 = 4;
}

/// The texts of a [`Container`] record, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum ContainerText {
    /// Full id.
    Id,
    /// Engine or runtime.
    Runtime,
    /// Name.
    Name,
    /// Image as asked for.
    Image,
    /// Image id.
    ImageId,
    /// Pod name.
    Pod,
    /// Pod namespace.
    PodNamespace,
    /// Pod uid.
    PodUid,
    /// Name inside the pod.
    PodContainer,
    /// Who told: a file or an API.
    Source,
    /// Innermost systemd unit of the cgroup; may stand alone, without a container.
    Unit,
}

impl ContainerText {
    /// How many there are.
    pub const COUNT: usize = 11;
}

/// No fixed part: the record is its text.
impl Fixed for () {
    const SIZE: usize = 0;
    fn decode(_: &[u8]) -> Self {}
    fn encode(&self, _: &mut Vec<u8>) {}
}

/// A record, not yet decoded.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its kind; `None` for one that this version does not know.
    pub kind: Option<Kind>,
    /// `flag::*`.
    pub flags: u16,
    /// Everything behind the header.
    pub body: &'a [u8],
}

impl<'a> Record<'a> {
    /// `len` bytes of the variable part, `skip` bytes behind the fixed part of `fixed` bytes; what is
    /// not there is left out.
    #[must_use]
    #[inline]
    pub fn text(&self, fixed: usize, skip: usize, len: usize) -> &'a [u8] {
        let start = (fixed + skip).min(self.body.len());
        let end = start.saturating_add(len).min(self.body.len());
        self.body.get(start..end).unwrap_or_default()
    }
}

/// Why a sequence of records cannot be read further.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The bytes end inside a record.
    #[error("record at byte {offset} is cut: {have} of {want} bytes")]
    Cut {
        /// Where it begins.
        offset: usize,
        /// Bytes that are there.
        have: usize,
        /// Bytes that it says it has.
        want: usize,
    },
    /// A length that no record has.
    #[error("record at byte {offset} has an impossible length of {len} bytes")]
    Length {
        /// Where it begins.
        offset: usize,
        /// What it says.
        len: usize,
    },
}

impl Broken {
    /// The same, told from `by` bytes earlier: a file has a header before its records.
    #[must_use]
    pub const fn shifted(self, by: usize) -> Self {
        match self {
            Self::Cut { offset, have, want } => Self::Cut { offset: offset + by, have, want },
            Self::Length { offset, len } => Self::Length { offset: offset + by, len },
        }
    }
}

/// The records in a run of bytes.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Records<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Where the next record begins.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Broken>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        // Whatever is wrong, the next call ends.
        self.offset = self.bytes.len();
        if rest.len() < HEADER {
            return Some(Err(Broken::Cut { offset, have: rest.len(), want: HEADER }));
        }
        let len = u32::read(rest, 0) as usize;
        if !(HEADER..=MAX_LEN).contains(&len) || !len.is_multiple_of(8) {
            return Some(Err(Broken::Length { offset, len }));
        }
        let Some(body) = rest.get(HEADER..len) else {
            return Some(Err(Broken::Cut { offset, have: rest.len(), want: len }));
        };
        self.offset = offset + len;
        Some(Ok(Record { kind: Kind::from_number(u16::read(rest, 4)), flags: u16::read(rest, 6), body }))
    }
}

/// Appends a record: `fixed`, then `parts` back to back, padded to 8 bytes. What does not fit into
/// [`MAX_LEN`] is cut and flagged so; the lengths in the fixed part are the caller's.
pub fn write<F: Fixed>(out: &mut Vec<u8>, kind: Kind, flags: u16, fixed: &F, parts: &[&[u8]]) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    fixed.encode(out);
    let mut flags = flags;
    for part in parts {
        let room = MAX_LEN - (out.len() - start).min(MAX_LEN);
        let kept = part.get(..room).unwrap_or(part);
        if kept.len() < part.len() {
            flags |= flag::CUT;
        }
        out.extend_from_slice(kept);
    }
    while !(out.len() - start).is_multiple_of(8) {
        out.push(0);
    }
    let len = (out.len() - start) as u32;
    if let Some(header) = out.get_mut(start..start + HEADER) {
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4..6].copy_from_slice(&(kind as u16).to_le_bytes());
        header[6..8].copy_from_slice(&flags.to_le_bytes());
    }
}

/// The C side of the layouts: `crates/probe/bpf/record.gen.h`.
#[must_use]
pub fn c_header() -> String {
    let mut out = String::from(
        "/* SPDX-License-Identifier: GPL-2.0 */\n\
         /* Made by `cargo xtask codegen` from crates/event/src/record.rs: do not edit. */\n\
         #ifndef NABE_RECORD_GEN_H\n#define NABE_RECORD_GEN_H\n\n\
         struct nabe_header {\n\t__u32 len;\n\t__u16 kind;\n\t__u16 flags;\n};\n\n",
    );
    for (name, kind) in [
        ("TASK", Kind::Task),
        ("THREAD_TIMES", Kind::ThreadTimes),
        ("ARGS", Kind::Args),
        ("FD", Kind::Fd),
        ("CGROUP", Kind::Cgroup),
    ] {
        let _ = writeln!(out, "#define NABE_KIND_{name} {}", kind as u16);
    }
    for (name, value) in [("CUT", flag::CUT), ("UNREAD", flag::UNREAD), ("SOCKET", flag::SOCKET)] {
        let _ = writeln!(out, "#define NABE_FLAG_{name} {value}");
    }
    for (name, value) in [
        ("DELETED", exe::DELETED),
        ("MEMFD", exe::MEMFD),
        ("UPPER", exe::UPPER),
        ("LOWER", exe::LOWER),
        ("KNOWN", exe::KNOWN),
    ] {
        let _ = writeln!(out, "#define NABE_EXE_{name} {value}");
    }
    for (name, value) in
        [("NO_NEW_PRIVS", task::NO_NEW_PRIVS), ("HAS_MM", task::HAS_MM), ("KTHREAD", task::KTHREAD)]
    {
        let _ = writeln!(out, "#define NABE_TASK_{name} {value}");
    }
    out.push('\n');
    c_structs(&mut out);
    out.push_str("#endif\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        let task = Task {
            pid: 7,
            tid: 7,
            comm: *b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0",
            exe_len: 8,
            cwd_len: 1,
            ..Task::default()
        };
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Task, flag::FROM_PROC, &task, &[b"/bin/cat", b"/"]);
        write(&mut bytes, Kind::User, 0, &User { id: 0, is_group: 0, name_len: 4 }, &[b"root"]);
        let records: Vec<_> = Records::new(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].kind, Some(Kind::Task));
        assert_eq!(records[0].flags, flag::FROM_PROC);
        assert_eq!(Task::decode(records[0].body), task);
        assert_eq!(records[0].text(Task::SIZE, 0, 8), b"/bin/cat");
        assert_eq!(records[0].text(Task::SIZE, 8, 1), b"/");
        assert_eq!(records[1].text(User::SIZE, 0, 4), b"root");
    }

    #[test]
    fn a_short_record_reads_as_zero() {
        let task = Task::decode(&7u32.to_le_bytes());
        assert_eq!((task.pid, task.tid, task.comm), (7, 0, [0; 16]));
    }

    #[test]
    fn every_cut_is_told() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::User, 0, &User { id: 0, is_group: 0, name_len: 4 }, &[b"root"]);
        for end in 1..bytes.len() {
            let mut records = Records::new(&bytes[..end]);
            assert!(matches!(records.next(), Some(Err(Broken::Cut { offset: 0, .. }))), "{end}");
            assert!(records.next().is_none());
        }
        bytes[0] = 3;
        assert!(matches!(Records::new(&bytes).next(), Some(Err(Broken::Length { len: 3, .. }))));
    }

    #[test]
    fn a_text_too_long_is_cut_and_flagged() {
        let mut bytes = Vec::new();
        let long = vec![b'x'; MAX_LEN];
        write(&mut bytes, Kind::User, 0, &User::default(), &[&long]);
        let record = Records::new(&bytes).next().unwrap().unwrap();
        assert_eq!(record.flags, flag::CUT);
        assert_eq!(bytes.len(), MAX_LEN);
    }

    #[test]
    fn the_c_side_names_every_struct() {
        let header = c_header();
        for name in ["nabe_task", "nabe_fd", "nabe_socket", "nabe_cgroup", "nabe_args", "nabe_thread_times"] {
            assert!(header.contains(&format!("struct {name} {{")), "{name}");
        }
    }
}
