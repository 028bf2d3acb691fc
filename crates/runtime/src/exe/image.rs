//! Takes the running program's mappings from one file to another of the same content, so that the kernel
//! knows the process by the second: what a second execution would reach, without relocating the program again.

use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use libc::{c_int, c_void};

use crate::sys;

/// Program headers of one kind that are looked at, at most; linkers write four or five.
const MOST: usize = 16;

/// A loadable segment, as far as it comes from the file, in whole pages.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    start: usize,
    length: usize,
    offset: i64,
    protection: c_int,
}

/// The program's own layout in memory. No allocation holds it: nothing may be written while it is used.
#[derive(Debug, Default)]
struct Layout {
    segments: [Segment; MOST],
    count: usize,
    /// What the dynamic linker has made read-only after relocation, from and up to.
    sealed: (usize, usize),
    page: usize,
    /// Something is not as expected.
    strange: bool,
}

impl Layout {
    fn of_program() -> io::Result<Self> {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(io::Error::other)?;
        let mut layout = Self { page, ..Self::default() };
        // SAFETY: the callback gets this pointer back, and nothing else uses the layout meanwhile.
        unsafe { libc::dl_iterate_phdr(Some(note_program), (&raw mut layout).cast()) };
        if layout.strange || layout.count == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(layout)
    }

    fn note(&mut self, base: usize, header: &libc::Elf64_Phdr) {
        let start = base.wrapping_add(header.p_vaddr as usize);
        let floor = |address: usize| address & !(self.page - 1);
        if header.p_type == libc::PT_GNU_RELRO {
            // As the dynamic linker rounds it.
            self.sealed = (floor(start), floor(start + header.p_memsz as usize));
        }
        if header.p_type != libc::PT_LOAD || header.p_filesz == 0 {
            return;
        }
        let Some(free) = self.segments.get_mut(self.count) else {
            self.strange = true;
            return;
        };
        let flag = |flag: u32, protection: c_int| if header.p_flags & flag == 0 { 0 } else { protection };
        let first = floor(start);
        let end = (start + header.p_filesz as usize).next_multiple_of(self.page);
        *free = Segment {
            start: first,
            length: end - first,
            offset: header.p_offset as i64 - (start - first) as i64,
            protection: flag(libc::PF_R, libc::PROT_READ)
                | flag(libc::PF_W, libc::PROT_WRITE)
                | flag(libc::PF_X, libc::PROT_EXEC),
        };
        // What cannot be told to be whole pages of the file, or is both code and data, is left alone.
        self.strange |= free.offset < 0
            || !(free.offset as usize).is_multiple_of(self.page)
            || free.protection & (libc::PROT_WRITE | libc::PROT_EXEC) == libc::PROT_WRITE | libc::PROT_EXEC;
        self.count += 1;
    }
}

/// The first that is told of is the program itself.
unsafe extern "C" fn note_program(info: *mut libc::dl_phdr_info, _: usize, layout: *mut c_void) -> c_int {
    // SAFETY: the C library gives a valid structure, and `of_program` its own layout.
    let (info, layout) = unsafe { (&*info, &mut *layout.cast::<Layout>()) };
    // SAFETY: as many program headers stand there, for as long as the program is loaded.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    for header in headers {
        layout.note(info.dlpi_addr as usize, header);
    }
    1
}

/// Makes `copy`, which has the same content as the running program and is open for reading, the file that this
/// process executes: `/proc/PID/exe` and every mapping of the program lead there from now on.
///
/// # Errors
/// Without `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`, and where the kernel or the program's layout does not allow it.
/// The process then goes on as it was, whatever of its mappings has moved.
pub(super) fn move_to(copy: BorrowedFd<'_>) -> io::Result<()> {
    if !sys::single_threaded() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // Without the privilege it says so before it sees that the old file is still mapped.
    match name_file(copy) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        result => return result,
    }
    let layout = Layout::of_program()?;
    for segment in layout.segments.iter().take(layout.count) {
        // SAFETY: the segments are those of the program, there is one thread, and `copy` has what they have.
        unsafe {
            if segment.protection & libc::PROT_WRITE == 0 {
                replace_read_only(segment, copy)?;
            } else {
                replace_written(segment)?;
            }
        }
    }
    let (from, to) = layout.sealed;
    if from < to {
        // SAFETY: it was read-only before, so that nobody writes to it.
        check(unsafe { libc::mprotect(from as *mut c_void, to - from, libc::PROT_READ) })?;
    }
    name_file(copy)
}

/// Has the kernel call this the process's executable file, and everything else of its memory as before.
fn name_file(copy: BorrowedFd<'_>) -> io::Result<()> {
    let map = Map { file: copy.as_raw_fd().cast_unsigned(), ..Map::of_process()? };
    // SAFETY: the kernel reads one structure of this size, and keeps no pointer to it.
    check(unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size_of::<Map>(), 0) })
}

/// `struct prctl_mm_map`: what the kernel notes of a process's memory.
#[repr(C)]
#[derive(Debug, Default)]
struct Map {
    code: [u64; 2],
    data: [u64; 2],
    /// Start and end of what brk(2) moves.
    heap: [u64; 2],
    stack: u64,
    arguments: [u64; 2],
    environment: [u64; 2],
    /// None: the auxiliary vector stays.
    auxiliary: u64,
    auxiliary_size: u32,
    file: u32,
}

impl Map {
    /// What it notes now.
    fn of_process() -> io::Result<Self> {
        let mut text = [0; 2048];
        let length = std::fs::File::open("/proc/self/stat")?.read(&mut text)?;
        let text = text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        // The name may hold anything; after it come numbers, the third of all being the first.
        let numbers = text.rsplit_once(')').map_or("", |(_, numbers)| numbers).split_whitespace();
        let numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap_or(0)).collect();
        let number = |at: usize| numbers.get(at - 3).copied().ok_or(io::ErrorKind::InvalidData);
        // SAFETY: an impossible end changes nothing, and the result is the present one.
        let heap_end = unsafe { libc::syscall(libc::SYS_brk, 0) };
        Ok(Self {
            code: [number(26)?, number(27)?],
            data: [number(45)?, number(46)?],
            heap: [number(47)?, heap_end.cast_unsigned()],
            stack: number(28)?,
            arguments: [number(48)?, number(49)?],
            environment: [number(50)?, number(51)?],
            ..Self::default()
        })
    }
}

/// Code and constants: the same pages of the other file, in one step.
///
/// # Safety
/// `segment` is one of the program's that is never written to, and `copy` has the same bytes.
unsafe fn replace_read_only(segment: &Segment, copy: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    let place = segment.start as *mut c_void;
    // SAFETY: the kernel changes the mappings at once; whoever reads or executes there finds the same bytes.
    mapped(unsafe {
        libc::mmap(place, segment.length, segment.protection, flags, copy.as_raw_fd(), segment.offset)
    })
    .map(drop)
}

/// Data: copied to memory without a file, which then takes the old place in one step.
///
/// # Safety
/// `segment` is one of the program's, readable, and no other thread writes to it.
unsafe fn replace_written(segment: &Segment) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let (place, length) = (segment.start as *mut c_void, segment.length);
    // SAFETY: new memory; then as many bytes as both have; then the kernel changes the mappings at once. Nothing
    // writes to the program's data between the copy and the change: the calls here keep their state on the
    // stack and in the C library.
    unsafe {
        let new = mapped(libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        ))?;
        std::ptr::copy_nonoverlapping(place.cast::<u8>(), new.cast::<u8>(), length);
        let moved = libc::mremap(new, length, length, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, place);
        mapped(moved).map(drop)
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn mapped(result: *mut c_void) -> io::Result<*mut c_void> {
    if result == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(result) }
}
