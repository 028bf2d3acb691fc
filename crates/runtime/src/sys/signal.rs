//! Sending signals, taking them, and what they do to this process.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use libc::{c_int, c_uint, c_void, pid_t};

use super::{check, owned};

/// What SIGPIPE did, until this is dropped.
#[derive(Debug)]
pub(crate) struct BrokenPipes(libc::sighandler_t);

/// Writing to who has gone is an error, and no signal, while the result lives.
pub(crate) fn ignore_broken_pipes() -> BrokenPipes {
    // SAFETY: no handler of ours is set, only the two dispositions that need none.
    BrokenPipes(unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) })
}

impl Drop for BrokenPipes {
    fn drop(&mut self) {
        if self.0 != libc::SIG_ERR {
            // SAFETY: what was there before comes back.
            unsafe { libc::signal(libc::SIGPIPE, self.0) };
        }
    }
}

/// pidfd_send_signal(2).
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    let (none, zero): (*const c_void, c_uint) = (std::ptr::null(), 0);
    // SAFETY: no siginfo is passed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, zero) })
        .map(drop)
}

/// Sends a signal by pid.
pub(crate) fn kill(pid: pid_t, signal: c_int) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Every signal's disposition back to the default, and none blocked.
pub(crate) fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: the default disposition runs no code of ours; failures (9, 19, 32, 33) are harmless.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero set is the empty one, and lives through the call.
    unsafe {
        let mut none: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

extern "C" fn end_by(signal: libc::c_int) {
    // SAFETY: _exit(2) is async-signal-safe and does not return.
    unsafe { libc::_exit(128 + signal) }
}

/// Lets the usual signals end this process also where it is the first of a pid namespace, to which the kernel
/// gives no default dispositions. An exec takes this back.
pub(crate) fn end_by_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: the handler only calls _exit(2).
        unsafe { libc::signal(signal, end_by as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Blocks every signal and gives a descriptor from which they are read.
pub(crate) fn all_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is filled before it is read and lives through the calls.
    let fd = unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    check(fd.into()).map(owned)
}

/// The next signal of a descriptor of [`all_signals`].
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> Option<c_int> {
    // SAFETY: an all-zero structure is valid, and the kernel writes at most its size.
    let (read, info) = unsafe {
        let mut info: libc::signalfd_siginfo = zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        (libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size), info)
    };
    (read > 0).then(|| c_int::try_from(info.ssi_signo).ok()).flatten()
}
