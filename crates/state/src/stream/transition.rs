//! What each event changes: a table from event to transition.
//!
//! A transition sees the event in the current layout, with the thread that it happened to. It runs
//! before the event is shown; what ends a descriptor or a thread only says so, since the event that
//! ends it still shows it.

mod file;
mod iterator;
mod namespace;
mod process;
mod socket;

use std::sync::LazyLock;

use nabe_event::convert;
use nabe_event::raw::Event;
use nabe_event::table::{Category, EventId, Flags, Param, ParamType};

use super::Stream;
use super::descriptor::Descriptor;

/// A change of state. `tid` is the thread of the event.
pub(crate) type Transition = fn(&mut Stream, &Step<'_>);

/// What a transition is told.
pub(crate) struct Step<'a> {
    /// The event in the current layout.
    pub(crate) event: &'a Event<'a>,
    /// The descriptor that it works on; -1 for none.
    pub(crate) fd: i64,
    /// Where its parameters are.
    positions: &'static Positions,
}

impl<'a> Step<'a> {
    #[inline]
    pub(crate) fn new(event: &'a Event<'a>, fd: i64) -> Self {
        Self { event, fd, positions: Key::positions(event.id) }
    }

    /// Where the event has the parameter.
    #[inline]
    fn position(&self, key: Key) -> Option<usize> {
        let at = *self.positions.get(key as usize)?;
        (at != NOWHERE).then_some(usize::from(at))
    }

    /// The parameter as a number.
    pub(crate) fn number(&self, key: Key) -> Option<i64> {
        self.event.signed(self.position(key)?)
    }

    /// The parameter as it is.
    pub(crate) fn bytes(&self, key: Key) -> Option<&[u8]> {
        self.event.param(self.position(key)?)
    }

    /// The parameter as text.
    pub(crate) fn text(&self, key: Key) -> Option<&[u8]> {
        self.event.text(self.position(key)?)
    }

    /// The result, when there is one and it is no error.
    pub(crate) fn success(&self) -> Option<i64> {
        self.event.signed(0).filter(|result| *result >= 0)
    }
}

macro_rules! keys {
    ($( $key:ident = $name:literal, )*) => {
        /// Parameters that transitions read, by name.
        #[derive(Clone, Copy, Debug)]
        #[repr(u8)]
        pub(crate) enum Key { $( $key, )* }

        static KEYS: &[&str] = &[ $( $name ),* ];
    };
}

keys! {
    Addr = "addr",
    Arg = "arg",
    Arg2Str = "arg2_str",
    Args = "args",
    Argv = "argv",
    CapEffective = "cap_effective",
    CapInheritable = "cap_inheritable",
    CapPermitted = "cap_permitted",
    Cgroups = "cgroups",
    Cmd = "cmd",
    Comm = "comm",
    Cur = "cur",
    Cwd = "cwd",
    Data = "data",
    Dev = "dev",
    Dirfd = "dirfd",
    Domain = "domain",
    Egid = "egid",
    Env = "env",
    Euid = "euid",
    Exe = "exe",
    ExeIno = "exe_ino",
    ExeInoCtime = "exe_ino_ctime",
    ExeInoMtime = "exe_ino_mtime",
    ExeInoNum = "exe_ino_num",
    Exepath = "exepath",
    Fd = "fd",
    Fd1 = "fd1",
    Fd2 = "fd2",
    FdType = "fd_type",
    Fdlimit = "fdlimit",
    Filename = "filename",
    First = "first",
    Flags = "flags",
    Gid = "gid",
    Home = "home",
    Ino = "ino",
    InoNum = "ino_num",
    Json = "json",
    Last = "last",
    LocalIp = "local_ip",
    LocalPort = "local_port",
    Loginuid = "loginuid",
    Msgcontrol = "msgcontrol",
    Name = "name",
    Newcur = "newcur",
    Nstype = "nstype",
    OldFd = "oldfd",
    Option = "option",
    Path = "path",
    Pathname = "pathname",
    PgftMaj = "pgft_maj",
    PgftMin = "pgft_min",
    Pgid = "pgid",
    Pid = "pid",
    PidnsInitStartTs = "pidns_init_start_ts",
    Ppid = "ppid",
    Proto = "proto",
    Ptid = "ptid",
    ReaperTid = "reaper_tid",
    RemoteIp = "remote_ip",
    RemotePort = "remote_port",
    Resource = "resource",
    Root = "root",
    Shell = "shell",
    Sid = "sid",
    SkProto = "sk_proto",
    SkType = "sk_type",
    StartTime = "start_time",
    SunPath = "sun_path",
    TrustedExepath = "trusted_exepath",
    Tty = "tty",
    Tuple = "tuple",
    Type = "type",
    Uid = "uid",
    VmRss = "vm_rss",
    VmSize = "vm_size",
    VmSwap = "vm_swap",
    Vpgid = "vpgid",
    Vpid = "vpid",
    Vtgid = "vtgid",
    Vtid = "vtid",
}

/// No position.
const NOWHERE: u8 = u8::MAX;

/// Where the parameters of an event are, by key.
type Positions = [u8; KEYS.len()];

impl Key {
    /// Where an event has its parameters.
    #[inline]
    fn positions(id: EventId) -> &'static Positions {
        static POSITIONS: LazyLock<Box<[Positions]>> = LazyLock::new(|| {
            let position = |id: EventId, name: &str| {
                id.row().param(name).and_then(|(at, _)| u8::try_from(at).ok()).unwrap_or(NOWHERE)
            };
            EventId::all()
                .map(|id| core::array::from_fn(|key| position(id, KEYS.get(key).unwrap_or(&""))))
                .collect()
        });
        POSITIONS.get(usize::from(id.number())).unwrap_or(&[NOWHERE; KEYS.len()])
    }

    /// Where an event has the parameter.
    pub(crate) fn of(self, id: EventId) -> Option<usize> {
        let at = *Self::positions(id).get(self as usize)?;
        (at != NOWHERE).then_some(usize::from(at))
    }
}

macro_rules! transitions {
    ($list:ident: $( $name:literal => $transition:path, )*) => {
        static $list: &[(&str, Transition)] = &[ $( ($name, $transition) ),* ];
    };
}

// By name, for exit events and those with one side only. These read what only the current layout
// has in one event.
transitions! {
    CONVERTED:
    "clone" => process::clone,
    "clone3" => process::clone,
    "fork" => process::clone,
    "vfork" => process::clone,
    "execve" => process::exec,
    "execveat" => process::exec,
    "procexit" => process::exit,
    "chroot" => process::chroot,
    "setpgid" => process::setpgid,
    "setns" => namespace::setns,
    "unshare" => namespace::unshare,
    "setuid" => process::setuid,
    "setgid" => process::setgid,
    "setresuid" => process::setresuid,
    "setresgid" => process::setresgid,
    "prctl" => process::prctl,
    "setrlimit" => process::limit,
    "prlimit" => process::limit,
    "open" => file::open,
    "openat" => file::open,
    "openat2" => file::open,
    "creat" => file::open,
    "open_by_handle_at" => file::open,
    "close_range" => file::close_range,
    "fcntl" => file::fcntl,
    "io_uring_setup" => file::io_uring,
    "memfd_create" => file::memfd,
    "pidfd_open" => file::pidfd,
    "pidfd_getfd" => file::pidfd_getfd,
    "bpf" => file::bpf,
    "socket" => socket::socket,
    "sendto" => socket::send,
    "sendmsg" => socket::send,
    "container" => super::container::learn,
    "asyncevent" => super::container::tell,
    "useradded" => process::user_added,
    "userdeleted" => process::user_deleted,
    "groupadded" => process::group_added,
    "groupdeleted" => process::group_deleted,
}

// These read nothing that an exit event of any age has not itself, but its descriptor.
transitions! {
    AS_IT_IS:
    "task" => iterator::task,
    "task_file_pipe" => iterator::pipe,
    "task_file_memfd" => iterator::memfd,
    "task_file_regular" => iterator::regular,
    "task_file_directory" => iterator::directory,
    "task_file_socket_inet" => iterator::inet,
    "task_file_socket_inet6" => iterator::inet,
    "task_file_socket_unix" => iterator::unix,
    "task_file_socket_netlink" => iterator::netlink,
    "task_file_anon_inode" => iterator::anonymous,
    "chdir" => process::chdir,
    "fchdir" => process::fchdir,
    "getcwd" => process::getcwd,
    "setsid" => process::setsid,
    "switch" => process::switch,
    "brk" => process::memory,
    "mmap" => process::memory,
    "mmap2" => process::memory,
    "munmap" => process::memory,
    "close" => file::close,
    "dup" => file::dup,
    "dup2" => file::dup,
    "dup3" => file::dup,
    "pipe" => file::pipe,
    "pipe2" => file::pipe,
    "eventfd" => file::event,
    "eventfd2" => file::event,
    "signalfd" => file::signal,
    "signalfd4" => file::signal,
    "timerfd_create" => file::timer,
    "inotify_init" => file::inotify,
    "inotify_init1" => file::inotify,
    "epoll_create" => file::epoll,
    "epoll_create1" => file::epoll,
    "userfaultfd" => file::user_fault,
    "socketpair" => socket::pair,
    "bind" => socket::bind,
    "connect" => socket::connect,
    "accept" => socket::accept,
    "accept4" => socket::accept,
    "recvfrom" => socket::receive,
    "recvmsg" => socket::receive,
}

/// What is to be done with an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    /// Whether it is a side of a system call that changes nothing and leaves nothing for another
    /// event: most are.
    pub(crate) is_plain: bool,
    /// What it changes.
    pub(crate) transition: Option<Transition>,
    /// Whether events of its name change anything, so that whoever converts wants both sides.
    pub(crate) is_wanted: bool,
    /// Whether the transition wants it in the current layout.
    pub(crate) converted: bool,
    /// Whether it is an enter event whose parameters the exit event's transition asks for.
    pub(crate) is_kept: bool,
    /// Whether it is a side of a system call.
    pub(crate) is_syscall: bool,
    pub(crate) is_enter: bool,
    /// Whether it tells what its thread has used, and changes nothing else.
    pub(crate) is_usage: bool,
    /// Whether it is no act of its thread.
    pub(crate) is_apart: bool,
    /// Whether it tells of a container.
    pub(crate) is_container: bool,
    /// Whether captures open with it.
    pub(crate) is_prologue: bool,
    /// Whether people see it.
    pub(crate) is_shown: bool,
    /// Where it has the descriptor that it works on; [`u8::MAX`] for none.
    pub(crate) fd_at: u8,
    /// Whether it may be the first event of a child.
    pub(crate) is_birth: bool,
}

/// Whether an event tells what its thread has used, of memory or of processors, and no more.
fn is_usage(id: EventId) -> bool {
    matches!(id.name(), "switch" | "brk" | "mmap" | "mmap2" | "munmap" | "procinfo")
}

impl Act {
    /// The same where nobody asks what threads have used.
    fn without_usage(&self) -> Self {
        let act = *self;
        if !act.is_usage {
            return act;
        }
        let is_plain = act.is_syscall && !act.is_kept && !act.is_apart && !act.is_container;
        Self { is_plain, transition: None, is_usage: false, ..act }
    }

    fn new(id: EventId) -> Self {
        let row = id.row();
        let (is_syscall, is_enter) = (id.is_syscall(), id.is_enter());
        let two_sided = is_syscall && id.name() != "procexit";
        let find = |list: &[(&str, Transition)], id: EventId| {
            list.iter().find(|(name, _)| *name == id.name()).map(|(_, transition)| *transition)
        };
        let opens = matches!(id.name(), "open" | "openat" | "openat2" | "creat");
        // Most layouts of an open have all of it in the exit event.
        let has_all = |exit: EventId| opens && Key::Name.of(exit).is_some();
        let converted = find(CONVERTED, id);
        let transition = converted.or_else(|| find(AS_IT_IS, id)).filter(|_| !(two_sided && is_enter));
        let fd_at = |id: EventId| {
            let uses = id.row().flags.has(Flags::USES_FD);
            // Some name it after what it is to them: `out_fd`, `fd_in`, `dirfd`.
            let is_fd = |param: &Param| param.ty == ParamType::Fd && param.name != "res";
            let first = || id.row().params.iter().position(is_fd);
            let at = Key::Fd.of(id).or_else(|| Key::OldFd.of(id)).or_else(first).filter(|_| uses);
            at.and_then(|at| u8::try_from(at).ok()).unwrap_or(NOWHERE)
        };
        let is_container =
            matches!(id, EventId::CONTAINER_E | EventId::CONTAINER_JSON_E | EventId::CONTAINER_JSON_2_E);
        let is_apart = row.flags.has(Flags::SKIPPARSERESET) && !is_container;
        let is_kept = two_sided
            && is_enter
            && converted.is_some()
            && convert::is_asked_for(id)
            && !has_all(id.other_side());
        Self {
            is_plain: is_syscall && transition.is_none() && !is_kept && !is_apart && !is_container,
            transition,
            is_wanted: converted.or_else(|| find(AS_IT_IS, id)).is_some(),
            converted: converted.is_some() && !has_all(id),
            is_kept,
            is_usage: is_usage(id),
            is_syscall,
            is_enter,
            is_apart,
            is_container,
            is_prologue: is_container || super::tells_accounts(id),
            is_shown: !row.category.has(Category::INTERNAL),
            fd_at: fd_at(id),
            is_birth: !is_enter && matches!(id.name(), "clone" | "clone3" | "fork" | "vfork"),
        }
    }

    /// Those of all events, by number.
    pub(crate) fn all() -> &'static [Self] {
        static ACTS: LazyLock<Box<[Act]>> = LazyLock::new(|| EventId::all().map(Act::new).collect());
        &ACTS
    }

    /// The same where nobody asks what threads have used.
    pub(crate) fn all_without_usage() -> &'static [Self] {
        static ACTS: LazyLock<Box<[Act]>> =
            LazyLock::new(|| Act::all().iter().map(Act::without_usage).collect());
        &ACTS
    }

    /// That of an event.
    pub(crate) fn of(id: EventId) -> &'static Self {
        Self::at(Self::all(), id)
    }

    /// The same where all are at hand.
    #[inline]
    pub(crate) fn at(all: &'static [Self], id: EventId) -> &'static Self {
        /// Of what is not there.
        static NONE: Act = Act {
            is_plain: false,
            transition: None,
            is_wanted: false,
            converted: false,
            is_kept: false,
            is_syscall: false,
            is_enter: false,
            is_usage: false,
            is_apart: true,
            is_container: false,
            is_prologue: false,
            is_shown: false,
            fd_at: NOWHERE,
            is_birth: false,
        };
        all.get(usize::from(id.number())).unwrap_or(&NONE)
    }
}

/// The descriptor at a position of an event; -1 for none.
#[inline]
pub(crate) fn fd_of(event: &Event<'_>, at: u8) -> i64 {
    if at == NOWHERE {
        return -1;
    }
    let fd = match event.params.first_word() {
        Some(fd) if at == 0 => Some(fd),
        _ => narrow_fd(event, at),
    };
    // mmap's "none" came as 32 bits.
    fd.filter(|fd| *fd != i64::from(u32::MAX)).unwrap_or(-1)
}

#[inline(never)]
fn narrow_fd(event: &Event<'_>, at: u8) -> Option<i64> {
    event.signed(usize::from(at))
}

/// Keeps a new descriptor of the event's thread and makes it the event's.
pub(crate) fn keep(stream: &mut Stream, tid: i64, number: i64, descriptor: Descriptor) {
    stream.keep_new(tid, number, descriptor);
    is_last(stream, tid, number);
}

/// Makes a descriptor the one of the event.
pub(crate) fn is_last(stream: &mut Stream, tid: i64, number: i64) {
    if let Some(thread) = stream.threads.get_mut(&tid) {
        thread.last_fd = number;
    }
}
