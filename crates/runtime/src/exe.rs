//! Keeps a container from overwriting the runtime's own program (CVE-2019-5736).
//!
//! A process in a container can reach `/proc/PID/exe` of the runtime that joins it, or make the runtime
//! execute `/proc/self/exe`, and so open the host's file for writing. So the runtime first becomes a copy
//! of itself that nobody can write to: the same file through a detached read-only mount, which costs no
//! copying; or, where that is not allowed, a sealed file in memory. With the right to it the process only
//! changes the file that it executes ([`image`]); else it executes itself again.

mod image;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use crate::error::{Error, Result};
use crate::sys::{self, MountAttributes};

/// Set across the one re-execution, so that there is never a second.
const MARK: &str = "_NABE_PROTECTED";

/// Has the program run from a place that a container cannot write to, unless it already does.
///
/// Call it first thing in a process that will make or join a container, while it has one thread: it may
/// execute the program again, with the same arguments and environment.
///
/// # Errors
/// [`Error::Step`] when neither way works here.
pub fn protect() -> Result<()> {
    if is_protected() {
        if std::env::var_os(MARK).is_some() {
            // SAFETY: the caller has one thread, as for everything in this crate that makes processes.
            unsafe { std::env::remove_var(MARK) };
            sys::prctl(libc::PR_SET_NAME, c"nabe".as_ptr() as libc::c_ulong, 0, 0).ok();
        }
        return Ok(());
    }
    let failed = |source| Error::Step { what: "run from a protected copy of the own program".into(), source };
    if std::env::var_os(MARK).is_some() {
        return Err(failed(io::Error::other("the copy is not protected")));
    }
    let copy = match mounted_copy() {
        Ok(copy) if move_to(&copy).is_ok() && is_protected() => return Ok(()),
        Ok(copy) => copy,
        Err(_) => sealed_copy().map_err(failed)?,
    };
    let text = |text: std::ffi::OsString| CString::new(text.into_vec()).ok();
    let arguments: Vec<CString> = std::env::args_os().filter_map(text).collect();
    let mut environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name)
        })
        .collect();
    environment.extend(CString::new(format!("{MARK}=1")));
    Err(failed(sys::exec_fd(copy.as_fd(), &arguments, &environment)))
}

fn is_protected() -> bool {
    let Ok(own) = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
        return false;
    };
    // A host's own read-only mount counts as well: a container cannot remount it.
    rustix::fs::fstatvfs(&own).is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        || rustix::fs::fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

fn mounted_copy() -> io::Result<OwnedFd> {
    const READ_ONLY: u64 = 1;
    let copy = sys::open_tree(rustix::fs::CWD, c"/proc/self/exe", sys::OPEN_TREE_CLONE)?;
    let attributes = MountAttributes { set: READ_ONLY, ..MountAttributes::default() };
    sys::mount_setattr(copy.as_fd(), false, &attributes)?;
    Ok(copy)
}

/// Goes on as the copy, without a second execution.
fn move_to(copy: &OwnedFd) -> io::Result<()> {
    // The descriptor of a mount names a file; what is mapped must be open.
    let open =
        rustix::fs::open(sys::proc_path(copy.as_fd()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    image::move_to(open.as_fd())
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("nabe", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("nabe", flags))?;
    let own = std::fs::File::open("/proc/self/exe")?;
    let mut left = usize::try_from(own.metadata()?.len()).map_err(io::Error::other)?;
    while left > 0 {
        match rustix::fs::sendfile(&copy, &own, None, left)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            sent => left -= sent,
        }
    }
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy)
}
