//! What the event programs are told while they run: which system calls and hooks are wanted, and of
//! whom. The layout is `struct event_control` of `bpf/event.h`.

use nabe_event::source::{EventInterest, MAX_SNAPLEN};
use nabe_event::table::native::{I386, Native, X86_64};
use nabe_event::table::{EventId, Flags};

const PICK_PID: u32 = 1;
const PICK_PIDS: u32 = 2;
const PICK_CGROUPS: u32 = 4;
const PICK_NAMES: u32 = 8;
const PICK_EUIDS: u32 = 16;
const PICK_FAILED: u32 = 32;
const PICK_STRANGERS: u32 = 128;

const WANTED: u8 = 1;
const STATE: u8 = 2;
const ENTER: u8 = 4;
const KIN: u8 = 8;

const MAX_EUIDS: usize = 16;
const MAX_NAMES: usize = 16;
const MAX_CALLS: usize = 512;
/// Bytes before the users.
const HEAD: usize = 40;
/// Where `floor` stands.
const FLOOR: usize = 28;
/// Where `hierarchies` stands.
const HIERARCHIES: usize = 32;

/// Who fills in the event of a system call: a number of `sys_hot.h`, and the program behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handler {
    pub(crate) number: u8,
    /// `None` for what the first program does itself.
    pub(crate) program: Option<&'static str>,
}

impl Handler {
    /// The programs that it takes, with their slots.
    fn programs(self) -> impl Iterator<Item = (u8, &'static str)> {
        let next = match self {
            CONNECT => Some(SOCKET),
            MESSAGE => Some(TOLD),
            _ => None,
        };
        [Some(self), next].into_iter().flatten().filter_map(|one| Some((one.number, one.program?)))
    }
}

const fn own(number: u8) -> Handler {
    Handler { number, program: None }
}

const fn other(number: u8, program: &'static str) -> Handler {
    Handler { number, program: Some(program) }
}

const GENERIC: Handler = own(0);
const SOCKET: Handler = other(12, "nabe_socket");
const MESSAGE: Handler = other(15, "nabe_message");
/// Descriptors that come with a message.
const TOLD: Handler = other(19, "nabe_told");
/// What it does not tell itself it leaves to [`SOCKET`].
const CONNECT: Handler = other(18, "nabe_connect");

/// The handler of each described system call; what is not here is told as generic.
const HANDLERS: &[(Handler, &[&str])] = &[
    (own(1), &["close"]),
    (own(2), &["read", "write"]),
    (own(3), &["open", "openat"]),
    (
        other(4, "nabe_path"),
        &[
            "creat",
            "openat2",
            "access",
            "chdir",
            "chroot",
            "chmod",
            "fchmodat",
            "chown",
            "lchown",
            "fchownat",
            "mkdir",
            "mkdirat",
            "mknod",
            "mknodat",
            "rmdir",
            "stat",
            "lstat",
            "newfstatat",
            "umount2",
            "unlink",
            "unlinkat",
            "getcwd",
            "memfd_create",
        ],
    ),
    (
        other(5, "nabe_paths"),
        &[
            "link",
            "linkat",
            "rename",
            "renameat",
            "renameat2",
            "symlink",
            "symlinkat",
            "mount",
            "open_by_handle_at",
            "init_module",
            "finit_module",
            "delete_module",
            "fsconfig",
        ],
    ),
    (
        other(6, "nabe_fd"),
        &[
            "bpf",
            "close_range",
            "copy_file_range",
            "dup",
            "dup2",
            "dup3",
            "epoll_create",
            "epoll_create1",
            "epoll_wait",
            "eventfd",
            "eventfd2",
            "fchdir",
            "fchmod",
            "fchown",
            "fcntl",
            "flock",
            "fstat",
            "getdents",
            "getdents64",
            "inotify_init",
            "inotify_init1",
            "ioctl",
            "lseek",
            "pidfd_getfd",
            "pidfd_open",
            "pipe",
            "pipe2",
            "sendfile",
            "signalfd",
            "signalfd4",
            "splice",
            "timerfd_create",
            "userfaultfd",
        ],
    ),
    (other(7, "nabe_clone"), &["clone", "clone3", "fork", "vfork"]),
    (
        other(8, "nabe_memory"),
        &["brk", "mmap", "munmap", "mprotect", "mlock", "mlock2", "mlockall", "munlock", "munlockall"],
    ),
    (
        other(9, "nabe_proc"),
        &[
            "capset",
            "getuid",
            "geteuid",
            "getgid",
            "getegid",
            "getresuid",
            "getresgid",
            "setuid",
            "setgid",
            "setreuid",
            "setregid",
            "setresuid",
            "setresgid",
            "setsid",
            "setpgid",
            "setns",
            "unshare",
            "kill",
            "tkill",
            "tgkill",
            "getrlimit",
            "setrlimit",
            "prlimit64",
            "prctl",
            "ptrace",
            "seccomp",
        ],
    ),
    (
        other(10, "nabe_ipc"),
        &[
            "poll",
            "ppoll",
            "select",
            "nanosleep",
            "futex",
            "semctl",
            "semget",
            "semop",
            "io_uring_enter",
            "io_uring_register",
        ],
    ),
    (other(11, "nabe_seldom"), &["io_uring_setup", "quotactl", "keyctl"]),
    (
        SOCKET,
        &[
            "socket",
            "bind",
            "listen",
            "accept",
            "accept4",
            "shutdown",
            "getsockname",
            "getpeername",
            "socketpair",
            "setsockopt",
            "getsockopt",
        ],
    ),
    (other(13, "nabe_send"), &["sendto", "recvfrom", "pread64", "pwrite64"]),
    (
        other(14, "nabe_vector"),
        &["readv", "preadv", "writev", "pwritev", "process_vm_readv", "process_vm_writev"],
    ),
    (MESSAGE, &["sendmsg", "recvmsg"]),
    (other(17, "nabe_messages"), &["sendmmsg", "recvmmsg"]),
    (other(16, "nabe_exec_failed"), &["execve", "execveat"]),
    (CONNECT, &["connect"]),
];

/// Tells of descriptors that come through an io_uring; kernels before 5.19 do not.
pub(crate) const RING: &str = "nabe_ring";

/// Hooks that are no system call: the event, the bits of `HOOK_*`, its program.
pub(crate) const HOOKS: &[(EventId, u32, &str)] = &[
    (EventId::SYSCALL_EXECVE_19_X, 0, "nabe_exec"),
    (EventId::PROCEXIT_1_E, 1, "nabe_leave"),
    (EventId::SIGNALDELIVER_E, 2, "nabe_signal"),
    (EventId::SCHEDSWITCH_6_E, 3, "nabe_switch"),
    (EventId::PAGE_FAULT_E, 4, "nabe_fault_user"),
    (EventId::PAGE_FAULT_E, 5, "nabe_fault_kernel"),
    (EventId::ITER_TASK_FILE_REGULAR_E, 6, RING),
];

/// State follows from these, too, although the table does not flag them.
const STATEFUL: &[EventId] = &[
    EventId::SOCKET_CONNECT_X,
    EventId::SOCKET_BIND_X,
    EventId::SYSCALL_SETNS_X,
    EventId::SYSCALL_SETPGID_X,
    EventId::SYSCALL_UNSHARE_X,
];

/// What one process does to what is known of others: births, groups, limits.
const KINDRED: &[EventId] = &[
    EventId::SYSCALL_CLONE_20_X,
    EventId::SYSCALL_CLONE3_X,
    EventId::SYSCALL_FORK_20_X,
    EventId::SYSCALL_VFORK_20_X,
    EventId::SYSCALL_SETPGID_X,
    EventId::SYSCALL_PRLIMIT_X,
];

/// Who fills in the event of `native`.
pub(crate) fn handler(native: &Native) -> Handler {
    HANDLERS.iter().find(|(_, names)| names.contains(&native.name)).map_or(GENERIC, |(handler, _)| *handler)
}

/// The calls whose start is told, too: another thread may change their texts before the end.
const fn handler_has_enter(id: EventId) -> bool {
    matches!(
        id,
        EventId::SYSCALL_OPEN_X
            | EventId::SYSCALL_OPENAT_2_X
            | EventId::SYSCALL_OPENAT2_X
            | EventId::SYSCALL_CREAT_X
            | EventId::SOCKET_CONNECT_X
    )
}

/// What is wanted of an event: `WANTED`, `STATE`, `ENTER`, `KIN`.
fn wish(interest: &EventInterest, id: EventId) -> u8 {
    let mut bits = 0;
    if interest.events.contains(id) {
        bits |= WANTED;
    }
    let state = !id.is_enter() || !id.is_syscall();
    if interest.state && state && (id.row().flags.has(Flags::MODIFIES_STATE) || STATEFUL.contains(&id)) {
        bits |= STATE;
        if KINDRED.contains(&id) {
            bits |= KIN;
        }
    }
    // The old starts of other calls are not made any more.
    let other = id.other_side();
    if !id.is_enter()
        && interest.events.contains(other)
        && !other.row().flags.has(Flags::OLD_VERSION)
        && handler_has_enter(id)
    {
        bits |= ENTER;
    }
    bits
}

/// The configuration, and what must be loaded for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// The bytes of `struct event_control`.
    pub(crate) bytes: Vec<u8>,
    /// Programs behind the first one: slot and name.
    pub(crate) handlers: Vec<(u8, &'static str)>,
    /// Programs of their own.
    pub(crate) hooks: Vec<&'static str>,
    /// Whether any system call's end is wanted.
    pub(crate) exits: bool,
    /// Whether any system call's start is wanted.
    enters: bool,
    /// Members of the map `pids`.
    pub(crate) pids: Vec<u32>,
    /// Members of the map `cgroups`.
    pub(crate) cgroups: Vec<u64>,
}

impl Control {
    /// The size of `struct event_control`.
    pub(crate) const SIZE: usize = HEAD + 4 * MAX_EUIDS + 16 * MAX_NAMES + 2 * 8 * MAX_CALLS;

    /// Nobody and nothing.
    pub(crate) fn nothing() -> Self {
        Self { bytes: vec![0; Self::SIZE], ..Self::default() }
    }

    /// The configuration for `interest`; the process `own` is not looked at.
    pub(crate) fn new(interest: &EventInterest, own: Option<u32>) -> Self {
        let mut control = Self::nothing();
        let mut select = 0;
        let mut pid = 0;
        match interest.pids.as_deref() {
            None => {}
            Some([only]) if !interest.follow => {
                select |= PICK_PID;
                pid = *only;
            }
            Some(pids) => {
                select |= PICK_PIDS;
                control.pids = pids.to_vec();
            }
        }
        if let Some(cgroups) = &interest.cgroups {
            select |= PICK_CGROUPS;
            control.cgroups.clone_from(cgroups);
        }
        // More than fit are left to the reader: a superset is allowed.
        let names = interest.names.as_deref().filter(|list| list.len() <= MAX_NAMES);
        let euids = interest.euids.as_deref().filter(|list| list.len() <= MAX_EUIDS);
        for (bit, set) in [
            (PICK_NAMES, names.is_some()),
            (PICK_EUIDS, euids.is_some()),
            (PICK_FAILED, interest.only_failed),
        ] {
            if set {
                select |= bit;
            }
        }
        let hooks = control.choose_hooks(interest);
        let (names, euids) = (names.unwrap_or_default(), euids.unwrap_or_default());
        let head = [
            select,
            interest.snaplen.min(MAX_SNAPLEN),
            pid,
            names.len() as u32,
            euids.len() as u32,
            hooks,
            own.unwrap_or(0),
            0,
            0,
            0,
        ];
        let numbers = head.into_iter().chain(euids.iter().copied());
        for (place, number) in control.bytes.chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let names_at = HEAD + 4 * MAX_EUIDS;
        for (place, name) in
            control.bytes.get_mut(names_at..).unwrap_or_default().chunks_exact_mut(16).zip(names)
        {
            // The kernel's name has at most 15 bytes and a NUL.
            place.iter_mut().take(15).zip(name).for_each(|(to, from)| *to = *from);
        }
        control.choose_calls(interest);
        control.choose_calls_32(interest);
        if interest.follow && interest.pids.is_some() {
            control.hooks.push("nabe_follow");
        }
        if control.enters {
            control.hooks.push("nabe_enter");
        }
        control
    }

    fn choose_hooks(&mut self, interest: &EventInterest) -> u32 {
        let mut bits = 0;
        for (event, hook, program) in HOOKS {
            let wish = u32::from(wish(interest, *event) & (WANTED | STATE));
            if wish != 0 {
                bits |= wish << (4 * hook);
                self.hooks.push(program);
            }
        }
        bits
    }

    fn choose_calls(&mut self, interest: &EventInterest) {
        let calls = self.bytes.len() - 2 * 8 * MAX_CALLS;
        for native in X86_64 {
            let handler = handler(native);
            let event = if handler == GENERIC { EventId::GENERIC_X } else { native.event };
            // A described call whose handler is generic is wanted by its own name, too.
            let wish = wish(interest, native.event) | wish(interest, event) & WANTED;
            let at = calls + 8 * usize::from(native.number);
            let Some(place) = self.bytes.get_mut(at..at + 8).filter(|_| wish != 0) else { continue };
            place[..2].copy_from_slice(&event.number().to_le_bytes());
            place[2..4].copy_from_slice(&native.code.to_le_bytes());
            place[4] = wish;
            place[5] = handler.number;
            self.exits |= wish & (WANTED | STATE) != 0;
            self.enters |= wish & ENTER != 0;
            for (number, program) in handler.programs() {
                if !self.handlers.iter().any(|(known, _)| *known == number) {
                    self.handlers.push((number, program));
                }
            }
        }
    }
}

impl Control {
    /// Threads of cgroups in the map `strangers`, told apart in these hierarchies, are not looked at.
    pub(crate) fn set_strangers(&mut self, hierarchies: u32) {
        for (at, number) in [(0, PICK_STRANGERS), (HIERARCHIES, hierarchies)] {
            if let Some(place) = self.bytes.get_mut(at..at + 4) {
                let old = place.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                place.copy_from_slice(&(old | number).to_le_bytes());
            }
        }
    }

    /// For measuring: the size of the bare record.
    pub(crate) fn set_floor(&mut self, bytes: u32) {
        if let Some(place) = self.bytes.get_mut(FLOOR..FLOOR + 4) {
            place.copy_from_slice(&bytes.to_le_bytes());
        }
    }

    /// Tells the calls of a handler as generic, without their parameters.
    pub(crate) fn make_generic(&mut self, handler: u8) {
        let served = |of: u8| of == handler || (handler == SOCKET.number && of == CONNECT.number);
        let calls = self.bytes.len() - 2 * 8 * MAX_CALLS;
        for place in self.bytes.get_mut(calls..).unwrap_or_default().chunks_exact_mut(8) {
            if let [a, b, _, _, wish, of, ..] = place
                && served(*of)
            {
                [*a, *b] = EventId::GENERIC_X.number().to_le_bytes();
                (*wish, *of) = (*wish & WANTED, GENERIC.number);
            }
        }
    }

    /// Calls by the 32-bit table are told as generic: wanted when those are, or their namesakes.
    fn choose_calls_32(&mut self, interest: &EventInterest) {
        let calls = self.bytes.len() - 8 * MAX_CALLS;
        let generic = wish(interest, EventId::GENERIC_X) & WANTED;
        for (number, code) in I386 {
            let namesake = X86_64.iter().find(|native| native.code == *code);
            let wish = namesake.map_or(0, |native| wish(interest, native.event)) & WANTED | generic;
            let at = calls + 8 * usize::from(*number);
            let Some(place) = self.bytes.get_mut(at..at + 8).filter(|_| wish != 0) else { continue };
            place[..2].copy_from_slice(&EventId::GENERIC_X.number().to_le_bytes());
            place[2..4].copy_from_slice(&code.to_le_bytes());
            place[4] = wish;
            self.exits = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(control: &Control, number: usize) -> &[u8] {
        &control.bytes[Control::SIZE - 2 * 8 * MAX_CALLS + 8 * number..][..8]
    }

    #[test]
    fn only_what_is_wanted_is_set() {
        let interest = EventInterest {
            events: [EventId::SYSCALL_CLOSE_X].into_iter().collect(),
            state: false,
            pids: Some(vec![77]),
            names: Some(vec![b"sshd".to_vec()]),
            ..EventInterest::default()
        };
        let control = Control::new(&interest, None);
        assert_eq!(control.bytes.len(), Control::SIZE);
        assert_eq!(call(&control, 3), [5, 0, 6, 0, 1, 1, 0, 0]);
        assert_eq!(call(&control, 0), [0; 8]);
        assert_eq!(control.bytes[..12], [9, 0, 0, 0, 80, 0, 0, 0, 77, 0, 0, 0]);
        assert_eq!(control.bytes[104..110], *b"sshd\0\0");
        assert!(control.exits && control.hooks.is_empty() && control.handlers.is_empty());
    }

    #[test]
    fn state_brings_what_changes_it() {
        let control = Control::new(&EventInterest::default(), None);
        assert_eq!(call(&control, 3)[4], STATE);
        assert_eq!(call(&control, 0)[4], 0);
        assert_eq!(control.hooks, ["nabe_exec", "nabe_leave", RING]);
        assert!(control.handlers.contains(&(7, "nabe_clone")));
    }
}
