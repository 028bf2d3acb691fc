//! The rest of bpf(2) and mmap(2) that live events take, typed: the only unsafe code of `live`.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use libbpf_sys as bpf;

/// Attaches a loaded tp_btf program; it is detached when the result is dropped.
pub(crate) fn attach(program: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: a tp_btf program is attached to what it was loaded for: no name.
    let link = unsafe { bpf::bpf_raw_tracepoint_open(ptr::null(), program.as_fd().as_raw_fd()) };
    if link < 0 {
        return Err(io::Error::from_raw_os_error(-link));
    }
    // SAFETY: the kernel has just opened this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// How many descriptors a process may have.
pub(crate) fn descriptor_limit(pid: i32) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: nothing is set (null), and `limit` is written by the kernel.
    let result = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, ptr::null(), &raw mut limit) };
    (result == 0).then_some(limit.rlim_cur)
}

/// Takes an element out of a map; one that is not there is no loss.
pub(crate) fn map_remove(map: impl AsFd, key: &[u8]) {
    // SAFETY: every caller's key has the size that the map was made with; the kernel only reads it.
    unsafe { bpf::bpf_map_delete_elem(map.as_fd().as_raw_fd(), key.as_ptr().cast()) };
}

/// How often a program was skipped because it ran already on that processor (since 5.12; 0 before).
pub(crate) fn skipped(program: BorrowedFd<'_>) -> u64 {
    let mut info = bpf::bpf_prog_info::default();
    let mut len = size_of::<bpf::bpf_prog_info>() as u32;
    // SAFETY: `info` is `len` bytes of plain integers that the kernel fills in; it asks for nothing
    // through pointers, which are all null.
    let result = unsafe {
        bpf::bpf_obj_get_info_by_fd(
            program.as_raw_fd(),
            ptr::from_mut(&mut info).cast::<c_void>(),
            &raw mut len,
        )
    };
    if result < 0 { 0 } else { info.recursion_misses }
}

/// Memory that is shared with the kernel.
#[derive(Debug)]
pub(crate) struct Shared {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; all that is written through it is
// written with atomics.
unsafe impl Send for Shared {}

impl Shared {
    /// Maps `len` bytes of a map from `offset` on.
    pub(crate) fn map(fd: impl AsFd, offset: usize, len: usize, write: bool) -> io::Result<Self> {
        let protection = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, fd.as_fd().as_raw_fd(), offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }

    /// The bytes at `at`, which nobody may be writing: the caller has seen them handed over, and
    /// does not hand them back while they are borrowed.
    #[inline]
    pub(crate) fn bytes(&self, at: usize, len: usize) -> Option<&[u8]> {
        if at.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: the range was just checked to be inside the mapping, which lives as long as `self`;
        // that nobody writes there meanwhile is what the caller sees to, see `ring`.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) })
    }

    /// The number at `at`, which the kernel may be writing.
    #[inline]
    pub(crate) fn u64(&self, at: usize) -> Option<&AtomicU64> {
        if at.checked_add(8)? > self.len || !at.is_multiple_of(8) {
            return None;
        }
        // SAFETY: inside the mapping and aligned (mappings begin at a page); shared memory is read
        // and written with atomics only.
        Some(unsafe { &*self.start.as_ptr().add(at).cast::<AtomicU64>() })
    }

    /// The number at `at`, which the kernel may be writing.
    #[inline]
    pub(crate) fn u32(&self, at: usize) -> Option<&AtomicU32> {
        if at.checked_add(4)? > self.len || !at.is_multiple_of(4) {
            return None;
        }
        // SAFETY: as above.
        Some(unsafe { &*self.start.as_ptr().add(at).cast::<AtomicU32>() })
    }

    /// The number at `at`; 0 outside.
    pub(crate) fn load(&self, at: usize) -> u64 {
        self.u64(at).map_or(0, |number| number.load(Ordering::Relaxed))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length and nothing can be borrowed from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
