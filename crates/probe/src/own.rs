//! What nabe asks of libc for itself: the time zone, and how a closed pipe ends it.

/// What is to be added to `seconds` since the epoch to get local time, in seconds; 0 when the time
/// zone is not known.
#[must_use]
pub fn local_offset(seconds: i64) -> i32 {
    let time: libc::time_t = seconds;
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live values of the right types; localtime_r writes only `parts`.
    let known = unsafe { !libc::localtime_r(&raw const time, parts.as_mut_ptr()).is_null() };
    // SAFETY: all-zero bytes are a valid `tm`, whether localtime_r filled it or not.
    let parts = unsafe { parts.assume_init() };
    if known { i32::try_from(parts.tm_gmtoff).unwrap_or(0) } else { 0 }
}

/// Restores the default action of SIGPIPE, so that `nabe … | head` ends as other tools do. To be
/// called before any thread is started.
pub fn default_sigpipe() {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Leaves SIGPIPE without effect, so that writing to a pager that has gone is an error and not the
/// end. [`default_sigpipe`] takes it back.
pub fn ignore_sigpipe() {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}
