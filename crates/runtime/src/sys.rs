//! System calls that no safe crate offers, each behind a safe function.
//!
//! What can break memory safety from here: only [`clone3`], which is `unsafe` and asks for a process
//! with one thread.

mod signal;

use std::ffi::{CStr, CString};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use libc::{c_int, c_long, c_uint, c_ulong, c_void, pid_t};

pub(crate) use signal::{
    all_signals, default_signals, end_by_signals, ignore_broken_pipes, kill, next_signal, pidfd_signal,
};

/// The path as the kernel wants it.
pub(crate) fn cstr(path: impl AsRef<std::ffi::OsStr>) -> io::Result<CString> {
    CString::new(path.as_ref().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes a child with these `CLONE_…` flags, in this cgroup of the v2 hierarchy. `None` in the child.
///
/// # Safety
/// The calling process must have one thread: the child has a copy of that one only, and locks that
/// others held would stay locked.
pub(crate) unsafe fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<pid_t>> {
    #[repr(C)]
    #[derive(Default)]
    struct Arguments {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut arguments = Arguments { flags, exit_signal: libc::SIGCHLD as u64, ..Arguments::default() };
    if flags & libc::CLONE_PARENT as u64 != 0 {
        arguments.exit_signal = 0;
    }
    if let Some(cgroup) = cgroup {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or(u64::MAX);
    }
    // SAFETY: the structure is as large as we say and lives through the call; the caller has one thread.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<Arguments>()) };
    check(result).map(|pid| (pid != 0).then_some(pid as pid_t))
}

/// Ends the process at once: no destructors, nothing flushed.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// fork(2), for a process whose filter hides clone3(2), as Docker's does. `None` in the child.
///
/// # Safety
/// The process must have one thread.
pub(crate) unsafe fn fork() -> io::Result<Option<pid_t>> {
    // SAFETY: with one thread the child has everything that the parent has.
    match check(unsafe { libc::fork() }.into())? {
        0 => Ok(None),
        pid => Ok(Some(pid as pid_t)),
    }
}

/// Joins the namespaces that `fd` stands for.
pub(crate) fn setns(fd: BorrowedFd<'_>, flags: c_int) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags) }.into()).map(drop)
}

/// Leaves namespaces for new ones.
pub(crate) fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: takes integers only; CLONE_FILES and the like are not passed.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Makes the working directory the root, and stacks the old root upon it.
pub(crate) fn pivot_root_here() -> io::Result<()> {
    // SAFETY: two C strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

/// mount(2).
pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: c_ulong,
    data: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: every pointer is null or a C string that lives through the call.
    let result = unsafe {
        libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(data).cast::<c_void>())
    };
    check(result.into()).map(drop)
}

/// umount2(2).
pub(crate) fn umount(target: &CStr, flags: c_int) -> io::Result<()> {
    // SAFETY: a C string.
    check(unsafe { libc::umount2(target.as_ptr(), flags) }.into()).map(drop)
}

/// `OPEN_TREE_CLONE`.
pub(crate) const OPEN_TREE_CLONE: c_uint = 1;

/// open_tree(2): a descriptor of a mount, or of a detached copy of it.
pub(crate) fn open_tree(at: BorrowedFd<'_>, path: &CStr, flags: c_uint) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC as c_uint;
    // SAFETY: an integer, a C string, an integer.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, at.as_raw_fd(), path.as_ptr(), flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a detached mount upon what `to` stands for.
pub(crate) fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    const FROM_EMPTY: c_uint = 4;
    const TO_EMPTY: c_uint = 0x40;
    // SAFETY: integers and C strings.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            FROM_EMPTY | TO_EMPTY,
        )
    };
    check(result).map(drop)
}

/// What mount_setattr(2) changes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountAttributes {
    /// `MOUNT_ATTR_…` to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_…` to clear.
    pub(crate) clear: u64,
    /// `MS_SHARED` and the like.
    pub(crate) propagation: u64,
    /// A user namespace, for `MOUNT_ATTR_IDMAP`.
    pub(crate) userns: u64,
}

/// mount_setattr(2) on the mount that `mount` stands for, and those below when `recursive`.
pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: &MountAttributes,
) -> io::Result<()> {
    const RECURSIVE: c_uint = 0x8000;
    let flags = libc::AT_EMPTY_PATH as c_uint | if recursive { RECURSIVE } else { 0 };
    // SAFETY: the structure is as large as we say and lives through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    check(result).map(drop)
}

/// prctl(2) with integers.
pub(crate) fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong) -> io::Result<c_int> {
    let zero: c_ulong = 0;
    // SAFETY: the options that this crate passes take integers only.
    let result = unsafe { libc::prctl(option, a, b, c, zero) };
    check(result.into()).map(|value| value as c_int)
}

/// The effective, permitted and inheritable sets, bit by capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Our own sets.
pub(crate) fn capget() -> io::Result<Sets> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 writes two elements, which we have.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let [low, high] = data;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Sets {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

/// Sets our own sets.
pub(crate) fn capset(sets: Sets) -> io::Result<()> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let part = |shift: u32| CapabilityData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [part(0), part(32)];
    // SAFETY: version 3 reads two elements, which we have.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// Loads a seccomp program. The listener's descriptor when `flags` ask for one.
pub(crate) fn seccomp(flags: c_ulong, program: &[libc::sock_filter]) -> io::Result<Option<OwnedFd>> {
    const NEW_LISTENER: c_ulong = 8;
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions, which the slice has.
    let result = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    // SAFETY: with this flag the result is a descriptor that was made for us.
    Ok((flags & NEW_LISTENER != 0).then(|| unsafe { OwnedFd::from_raw_fd(result as RawFd) }))
}

/// Groups, then user, of the one thread there is.
pub(crate) fn set_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Supplementary groups.
pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads as many elements as the slice has.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// A resource limit of our own, by the kernel's number.
pub(crate) fn set_rlimit(resource: c_int, soft: u64, hard: u64) -> io::Result<()> {
    set_rlimit_of(0, resource, soft, hard)
}

/// A resource limit of another process.
pub(crate) fn set_rlimit_of(pid: pid_t, resource: c_int, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let none: *mut libc::rlimit64 = std::ptr::null_mut();
    // SAFETY: the kernel reads one structure; the last pointer may be null.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, none) }).map(drop)
}

/// A copy of another process's descriptor.
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: RawFd) -> io::Result<OwnedFd> {
    let none: c_uint = 0;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, none) }).map(owned)
}

/// Whether this kernel's seccomp(2) takes a flag: without a program it complains of that, and not of the flag.
pub(crate) fn knows_seccomp_flag(bit: libc::c_ulong) -> bool {
    const SET_MODE_FILTER: libc::c_uint = 1;
    const TSYNC: libc::c_ulong = 1;
    const NEW_LISTENER: libc::c_ulong = 8;
    // One flag goes with a listener only, another does not go with it.
    let flags = if bit == TSYNC { bit } else { bit | NEW_LISTENER };
    // SAFETY: a null pointer, which the kernel refuses to read from; nothing is set.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::null::<libc::c_void>()) };
    check(result).is_err_and(|error| error.raw_os_error() == Some(libc::EFAULT))
}

/// How many processors an affinity can speak of.
pub(crate) const MAX_PROCESSORS: usize = 8192;

/// Lets this process run on these processors only.
pub(crate) fn set_affinity(processors: &[usize]) -> io::Result<()> {
    let mut mask = [0u64; MAX_PROCESSORS / 64];
    for processor in processors {
        if let Some(word) = mask.get_mut(processor / 64) {
            *word |= 1 << (processor % 64);
        }
    }
    // SAFETY: the kernel reads the bytes of `mask`, whose size is given.
    let result = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr()) };
    check(result).map(drop)
}

/// set_mempolicy(2) on ourselves.
pub(crate) fn set_memory_policy(mode: c_int, nodes: &[usize]) -> io::Result<()> {
    let mut mask = [0u64; MAX_PROCESSORS / 64];
    for node in nodes {
        if let Some(word) = mask.get_mut(node / 64) {
            *word |= 1 << (node % 64);
        }
    }
    // Without nodes there is no mask, which some modes ask for. The kernel counts one bit more.
    let (pointer, bits) = match nodes.iter().max() {
        Some(last) => (mask.as_ptr(), last + 2),
        None => (std::ptr::null(), 0),
    };
    // SAFETY: the kernel reads `bits` bits of `mask` at most, which has MAX_PROCESSORS of them.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits.min(MAX_PROCESSORS)) };
    check(result).map(drop)
}

/// Closes every descriptor from `first` to `last`.
pub(crate) fn close_range(first: c_uint, last: c_uint) -> io::Result<()> {
    let flags: c_uint = 0;
    // SAFETY: integers only; the caller sees to it that nobody uses these descriptors any more.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Marks every descriptor from `first` on to be closed at exec.
pub(crate) fn close_on_exec_from(first: c_uint) -> io::Result<()> {
    const CLOEXEC: c_uint = 4;
    // SAFETY: integers only; nothing is closed now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, CLOEXEC) }).map(drop)
}

/// Sets a host name or domain name.
pub(crate) fn set_name(domain: bool, name: &str) -> io::Result<()> {
    let (pointer, length) = (name.as_ptr().cast(), name.len());
    // SAFETY: the kernel reads `length` bytes, which the text has.
    let result = unsafe {
        if domain { libc::setdomainname(pointer, length) } else { libc::sethostname(pointer, length) }
    };
    check(result.into()).map(drop)
}

/// Brings the loopback interface of our network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an all-zero request is a valid one.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads one request.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())
        .map(drop)
}

/// Makes the terminal on descriptor 0 ours.
pub(crate) fn take_terminal() -> io::Result<()> {
    let zero: c_int = 0;
    // SAFETY: integers only.
    check(unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, zero) }.into()).map(drop)
}

/// Joins a new session keyring of this name.
pub(crate) fn new_keyring(name: &CStr) -> io::Result<()> {
    const JOIN_SESSION: c_long = 1;
    // SAFETY: an integer and a C string.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION, name.as_ptr()) }).map(drop)
}

/// bpf(2) with an attribute structure.
pub(crate) fn bpf<T>(command: c_int, attributes: &T) -> io::Result<c_long> {
    // SAFETY: the kernel reads as much as the structure has; pointers inside are the caller's, who
    // keeps them alive (both callers are in cgroup/device.rs).
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) })
}

/// A descriptor that a system call has just returned.
pub(crate) fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: called only with fresh results of bpf(2) and pidfd_getfd(2).
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// Replaces the program. Returns only when that fails.
pub(crate) fn execve(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |texts: &[CString]| {
        let mut list: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        list.push(std::ptr::null());
        list
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: both lists end with null and point to C strings that live until the call returns.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the program by the file that `fd` stands for, with our own arguments and environment.
pub(crate) fn exec_fd(fd: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |texts: &[CString]| {
        let mut list: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        list.push(std::ptr::null());
        list
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: as for `execve`.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Scheduling attributes, as sched_setattr(2) takes them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scheduling {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

/// sched_setattr(2) on ourselves.
pub(crate) fn set_scheduling(mut attributes: Scheduling) -> io::Result<()> {
    attributes.size = size_of::<Scheduling>() as u32;
    let none: c_uint = 0;
    // SAFETY: the structure says its own size and lives through the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, none) }).map(drop)
}

/// ioprio_set(2) on ourselves.
pub(crate) fn set_io_priority(value: c_int) -> io::Result<()> {
    const PROCESS: c_int = 1;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, value) }).map(drop)
}

/// personality(2).
pub(crate) fn personality(value: c_ulong) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::personality(value) }.into()).map(drop)
}

/// pidfd_open(2).
pub(crate) fn pidfd_open(pid: pid_t) -> io::Result<OwnedFd> {
    let none: c_uint = 0;
    // SAFETY: integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, none) })?;
    Ok(owned(fd))
}

/// Waits for a child; `-1` for any. `None` when `WNOHANG` found nothing. The status is wait(2)'s.
pub(crate) fn wait(pid: pid_t, flags: c_int) -> io::Result<Option<(pid_t, c_int)>> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one integer.
        match check(unsafe { libc::waitpid(pid, &raw mut status, flags) }.into()) {
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((pid as pid_t, status))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The exit status that a shell would give for wait(2)'s status.
pub(crate) fn exit_code(status: c_int) -> u8 {
    if libc::WIFSIGNALED(status) {
        u8::try_from(128 + libc::WTERMSIG(status)).unwrap_or(255)
    } else {
        u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(255)
    }
}

/// Whether this process has one thread.
pub(crate) fn single_threaded() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self/task").map_or(true, |tasks| tasks.nlink() == 3)
}

/// `/proc/self/fd/N` of a descriptor.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> CString {
    // Digits only: no zero byte inside.
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

/// Opens a path as it is, without reading it.
pub(crate) fn open_path(path: &Path, extra: rustix::fs::OFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | extra, Mode::empty())
}
