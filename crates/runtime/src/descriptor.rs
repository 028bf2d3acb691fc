//! Descriptors that a process has and should not: what callers left open, and our own in a container's process.

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use crate::sys;

/// Closes what we were given beside the first three descriptors and `preserve` more, so that neither the
/// container's process nor who looks at it finds files of the caller.
///
/// Call it when everything that was named as `/dev/fd/N` is read and nothing of one's own is open.
pub fn close_inherited(preserve: u32) {
    // Before Linux 5.9 they are closed at the exec, all but the preserved.
    sys::close_range(preserve.saturating_add(3), u32::MAX).ok();
}

/// Closes what we were given beside the first three descriptors, and nothing of our own.
///
/// What is given came through an exec, so it does not close at one; everything that this program opens does.
pub fn close_given() {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<RawFd> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: it was open a moment ago and there is one thread; the borrow ends with the statement.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if rustix::io::fcntl_getfd(fd).is_ok_and(|flags| !flags.contains(rustix::io::FdFlags::CLOEXEC)) {
            // SAFETY: nobody in this program has opened it, so nobody else owns it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}

/// Closes everything beside the first three descriptors, `preserve` more, and `needed`. For a process of a
/// container: what its runtime has open are files of the host. Nobody may use or drop an owner of the rest.
pub(crate) fn keep_only(preserve: u32, needed: impl IntoIterator<Item = RawFd>) {
    let needed: BTreeSet<u32> = needed.into_iter().filter_map(|fd| u32::try_from(fd).ok()).collect();
    let mut first = preserve.saturating_add(3);
    for fd in needed.into_iter().filter(|fd| *fd >= preserve.saturating_add(3)) {
        if first < fd {
            sys::close_range(first, fd - 1).ok();
        }
        first = fd.saturating_add(1);
    }
    sys::close_range(first, u32::MAX).ok();
}
