//! What a stream of events holds, from the probe and from a capture alike: the section it begins
//! with, the state of the machine when it began, then events.
//!
//! Texts are bytes as the kernel had them, without a closing NUL; lists (arguments, environment,
//! cgroups) keep the NULs between and after their elements. Numbers that a file is too old to have
//! are -1 where the format says so, otherwise `None`.

use core::net::{IpAddr, SocketAddr};

use crate::raw::Event;

/// One thing out of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A section begins: what was known of threads, descriptors and users ends here.
    Section(Section<'a>),
    /// The machine.
    Machine(Machine<'a>),
    /// An interface.
    Interface(Interface<'a>),
    /// A user.
    User(User<'a>),
    /// A group.
    Group(Group<'a>),
    /// A thread that ran when the capture began.
    Thread(Box<Thread<'a>>),
    /// A descriptor that was open when the capture began.
    Descriptor(Descriptor<'a>),
    /// Something happened.
    Event(Event<'a>),
}

/// The head of a section. `u32 magic, u16 major, u16 minor, i64 length (-1), options`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Version of the format: 1.
    pub major: u16,
    /// 2 since blocks are only appended to, never changed.
    pub minor: u16,
    /// pcapng options, see [`Self::options`]; sysdig before 2025-03 cannot open a file with any.
    pub raw_options: &'a [u8],
}

impl<'a> Section<'a> {
    /// What is written today.
    pub const CURRENT: Section<'static> = Section { major: 1, minor: 2, raw_options: &[] };

    /// The options: code and value. 1 is a comment, 2 the hardware, 3 the system, 4 the program.
    pub fn options(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.raw_options;
        core::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk()?;
            let [a, b, c, d] = *head;
            let (code, len) = (u16::from_le_bytes([a, b]), usize::from(u16::from_le_bytes([c, d])));
            let (value, after) = after.split_at_checked(len).filter(|_| code != 0)?;
            rest = after.get(len.wrapping_neg() % 4..)?;
            Some((code, value))
        })
    }
}

/// The machine. `u32 cpus, u64 memory, u64 max pid, char hostname[128], u64 boot, u64 flags, u64 × 2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Machine<'a> {
    /// Processors.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// The largest process number.
    pub max_pid: u64,
    /// Its name, up to 127 bytes.
    pub hostname: &'a [u8],
    /// When it started: nanoseconds since the epoch.
    pub boot_ts_ns: u64,
    /// libscap's flags.
    pub flags: u64,
    /// Zero so far.
    pub reserved: [u64; 2],
}

/// A network interface's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its address; netmask and broadcast are of the same family.
    pub address: IpAddr,
    /// Its netmask.
    pub netmask: IpAddr,
    /// Its broadcast address.
    pub broadcast: IpAddr,
    /// Bits per second; `None` in old files.
    pub link_speed: Option<u64>,
}

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User<'a> {
    /// Its number.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its name.
    pub name: &'a [u8],
    /// Its home directory.
    pub home: &'a [u8],
    /// Its shell.
    pub shell: &'a [u8],
}

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Its number.
    pub gid: u32,
    /// Its name.
    pub name: &'a [u8],
}

/// A thread. The fields from [`Self::pid_namespace_start_ns`] on were appended one after the other
/// since 2021.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread<'a> {
    /// Its number.
    pub tid: i64,
    /// Its process.
    pub pid: i64,
    /// The parent process's thread.
    pub ptid: i64,
    /// Its session; -1 when not known.
    pub sid: i64,
    /// Its process group in its own namespace; -1 when not known.
    pub vpgid: i64,
    /// Its short name.
    pub comm: &'a [u8],
    /// Its argument 0.
    pub exe: &'a [u8],
    /// Its executable's path.
    pub exe_path: &'a [u8],
    /// Its arguments after the first, each ended by a NUL.
    pub args: &'a [u8],
    /// Its current directory.
    pub cwd: &'a [u8],
    /// How many descriptors it may have.
    pub fd_limit: i64,
    /// The schema's clone flags.
    pub flags: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its virtual memory in KiB.
    pub vm_size_kib: u32,
    /// Its resident memory in KiB.
    pub vm_rss_kib: u32,
    /// Its swapped memory in KiB.
    pub vm_swap_kib: u32,
    /// Its major page faults.
    pub major_faults: u64,
    /// Its minor page faults.
    pub minor_faults: u64,
    /// Its environment, each variable ended by a NUL.
    pub env: &'a [u8],
    /// Its number in its own namespace; -1 when not known.
    pub vtid: i64,
    /// Its process in its own namespace; -1 when not known.
    pub vpid: i64,
    /// Its cgroups, `subsystem=path` each ended by a NUL.
    pub cgroups: &'a [u8],
    /// Its root directory.
    pub root: &'a [u8],
    /// When the first process of its PID namespace started: nanoseconds since the epoch.
    pub pid_namespace_start_ns: Option<u64>,
    /// Its terminal.
    pub tty: Option<u32>,
    /// The user that logged in.
    pub login_uid: Option<u32>,
    /// Whether its user may write its executable.
    pub exe_writable: Option<bool>,
    /// Its inheritable capabilities.
    pub cap_inheritable: Option<u64>,
    /// Its permitted capabilities.
    pub cap_permitted: Option<u64>,
    /// Its effective capabilities.
    pub cap_effective: Option<u64>,
    /// Whether its executable is in an overlay's upper layer.
    pub exe_upper_layer: Option<bool>,
    /// Its executable's inode.
    pub exe_inode: Option<u64>,
    /// When the inode changed: nanoseconds since the epoch.
    pub exe_ctime_ns: Option<u64>,
    /// When the executable's content changed: nanoseconds since the epoch.
    pub exe_mtime_ns: Option<u64>,
    /// Whether its executable is a memfd.
    pub exe_from_memfd: Option<bool>,
    /// Whether its executable is in an overlay's lower layer.
    pub exe_lower_layer: Option<bool>,
    /// Its process group.
    pub pgid: Option<i64>,
}

impl Thread<'_> {
    /// A thread of which nothing is known.
    pub const UNKNOWN: Thread<'static> = Thread {
        tid: -1,
        pid: -1,
        ptid: -1,
        sid: -1,
        vpgid: -1,
        comm: &[],
        exe: &[],
        exe_path: &[],
        args: &[],
        cwd: &[],
        fd_limit: -1,
        flags: 0,
        uid: u32::MAX,
        gid: u32::MAX,
        vm_size_kib: 0,
        vm_rss_kib: 0,
        vm_swap_kib: 0,
        major_faults: 0,
        minor_faults: 0,
        env: &[],
        vtid: -1,
        vpid: -1,
        cgroups: &[],
        root: &[],
        pid_namespace_start_ns: None,
        tty: None,
        login_uid: None,
        exe_writable: None,
        cap_inheritable: None,
        cap_permitted: None,
        cap_effective: None,
        exe_upper_layer: None,
        exe_inode: None,
        exe_ctime_ns: None,
        exe_mtime_ns: None,
        exe_from_memfd: None,
        exe_lower_layer: None,
        pgid: None,
    };
}

/// An open descriptor of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor<'a> {
    /// Whose it is.
    pub tid: i64,
    /// Its number.
    pub fd: i64,
    /// Its inode.
    pub inode: u64,
    /// What it is.
    pub target: Target<'a>,
}

/// What is behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Nothing that was known.
    Unknown,
    /// A connection over IPv4 or IPv6; both ends are of the same family.
    Connection {
        /// The end that began it.
        source: SocketAddr,
        /// The other end.
        destination: SocketAddr,
        /// Which protocol.
        protocol: L4,
    },
    /// A socket that listens over IPv4 or IPv6.
    Listener {
        /// Where.
        local: SocketAddr,
        /// Which protocol.
        protocol: L4,
    },
    /// A unix socket.
    Unix {
        /// The kernel's address of this end.
        source: u64,
        /// The kernel's address of the other end.
        destination: u64,
        /// Its path or abstract name.
        path: &'a [u8],
    },
    /// A file of which more than the name is known.
    File {
        /// The schema's open flags.
        open_flags: u32,
        /// Its path.
        path: &'a [u8],
        /// Its device; `None` in old files.
        device: Option<u32>,
    },
    /// Anything else that has a name.
    Named {
        /// What.
        class: Class,
        /// Its path or the kernel's description.
        name: &'a [u8],
    },
    /// A type that a newer writer knows, with its bytes.
    Other {
        /// Its number.
        number: u8,
        /// What stands behind the number.
        payload: &'a [u8],
    },
}

macro_rules! numbered {
    ($(#[doc = $doc:literal])* $name:ident { $( #[doc = $vdoc:literal] $variant:ident = $number:literal, )* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $( #[doc = $vdoc] $variant = $number, )* }

        impl $name {
            /// Its number in captures.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The one with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $( $number => Some(Self::$variant), )* _ => None }
            }
        }
    };
}

numbered! {
    /// Descriptors that have only a name.
    Class {
        /// A file, in old captures.
        File = 1,
        /// A directory.
        Directory = 2,
        /// A pipe.
        Fifo = 7,
        /// An eventfd.
        Event = 9,
        /// Something without a type of its own.
        Unsupported = 10,
        /// A signalfd.
        Signal = 11,
        /// An epoll.
        EventPoll = 12,
        /// An inotify.
        Inotify = 13,
        /// A timerfd.
        Timer = 14,
        /// A netlink socket.
        Netlink = 15,
        /// A BPF object.
        Bpf = 17,
        /// A userfaultfd.
        UserFault = 18,
        /// An io_uring.
        IoUring = 19,
        /// A memfd.
        Memfd = 20,
        /// A pidfd.
        Pidfd = 21,
    }
}

/// A transport protocol by libscap's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct L4(pub u8);

impl L4 {
    /// Not known.
    pub const UNKNOWN: Self = Self(0);
    /// None.
    pub const NONE: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(2);
    /// UDP.
    pub const UDP: Self = Self(3);
    /// ICMP.
    pub const ICMP: Self = Self(4);
    /// Raw.
    pub const RAW: Self = Self(5);
}
