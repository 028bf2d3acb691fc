//! bpf(2), typed: the only unsafe code of the iterators.

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libbpf_sys as bpf;

/// One BPF instruction as the kernel takes it: code, registers, offset, immediate.
pub(crate) type Instruction = [u8; 8];

/// Bytes that one read asks for: a BPF iterator gives at most 32 KiB at a time.
const READ_STEP: usize = 64 << 10;

/// A map to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapShape {
    pub(crate) kind: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// What an iterator is asked to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// Everything.
    All,
    /// One task.
    Thread(u32),
    /// All tasks of one process.
    Process(u32),
}

/// Turns libbpf's `fd` or `-errno` into an owned descriptor.
fn owned(result: i32) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: libbpf returns a descriptor that it has just opened for us and keeps no copy of.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

fn done(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

/// Makes a map.
pub(crate) fn map_create(shape: &MapShape) -> io::Result<OwnedFd> {
    let opts = bpf::bpf_map_create_opts {
        sz: mem::size_of::<bpf::bpf_map_create_opts>() as _,
        map_flags: shape.flags,
        ..Default::default()
    };
    // SAFETY: no name, and `opts` outlives the call.
    owned(unsafe {
        bpf::bpf_map_create(
            shape.kind,
            ptr::null(),
            shape.key_size,
            shape.value_size,
            shape.max_entries,
            &raw const opts,
        )
    })
}

/// Makes an array of maps that are like `inner`.
pub(crate) fn map_of_maps_create(shape: &MapShape, inner: impl AsFd) -> io::Result<OwnedFd> {
    let opts = bpf::bpf_map_create_opts {
        sz: mem::size_of::<bpf::bpf_map_create_opts>() as _,
        map_flags: shape.flags,
        inner_map_fd: inner.as_fd().as_raw_fd() as u32,
        ..Default::default()
    };
    // SAFETY: no name, and `opts` outlives the call.
    owned(unsafe { bpf::bpf_map_create(shape.kind, ptr::null(), 4, 4, shape.max_entries, &raw const opts) })
}

/// Makes a map of task-local storage, which takes the BTF of its key and value: one int.
pub(crate) fn task_storage() -> io::Result<OwnedFd> {
    const STRINGS: &[u8] = b"\0int\0";
    const INT: [u32; 4] = [1, 1 << 24, 4, 1 << 24 | 32];
    let mut btf = Vec::new();
    btf.extend_from_slice(&0xeb9f_u16.to_le_bytes());
    btf.extend_from_slice(&[1, 0]);
    for number in [24, 0, 16, 16, STRINGS.len() as u32].into_iter().chain(INT) {
        btf.extend_from_slice(&number.to_le_bytes());
    }
    btf.extend_from_slice(STRINGS);
    // SAFETY: the kernel reads `btf.len()` bytes; without options.
    let types = owned(unsafe { bpf::bpf_btf_load(btf.as_ptr().cast(), btf.len() as _, ptr::null_mut()) })?;
    let opts = bpf::bpf_map_create_opts {
        sz: mem::size_of::<bpf::bpf_map_create_opts>() as _,
        map_flags: bpf::BPF_F_NO_PREALLOC,
        btf_fd: types.as_raw_fd() as u32,
        btf_key_type_id: 1,
        btf_value_type_id: 1,
        ..Default::default()
    };
    // SAFETY: no name, and `opts` outlives the call.
    owned(unsafe {
        bpf::bpf_map_create(bpf::BPF_MAP_TYPE_TASK_STORAGE, ptr::null(), 4, 4, 0, &raw const opts)
    })
}

/// Sets one element. `key` and `value` must have the sizes that the map was made with.
pub(crate) fn map_update(map: impl AsFd, shape: &MapShape, key: &[u8], value: &[u8]) -> io::Result<()> {
    if key.len() != shape.key_size as usize || value.len() != shape.value_size as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the kernel reads key_size and value_size bytes, which was just checked.
    done(unsafe {
        bpf::bpf_map_update_elem(map.as_fd().as_raw_fd(), key.as_ptr().cast(), value.as_ptr().cast(), 0)
    })
}

/// Makes a map constant for this program and for the verifier.
pub(crate) fn map_freeze(map: impl AsFd) -> io::Result<()> {
    // SAFETY: plain call on a descriptor.
    done(unsafe { bpf::bpf_map_freeze(map.as_fd().as_raw_fd()) })
}

/// What a program is besides its instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramShape {
    pub(crate) kind: u32,
    pub(crate) attach_type: u32,
    pub(crate) attach_btf_id: u32,
    pub(crate) flags: u32,
}

/// Loads a program; when the verifier refuses and `log` is given, its words are left there.
pub(crate) fn prog_load(
    shape: &ProgramShape,
    instructions: &[Instruction],
    log: Option<&mut Vec<u8>>,
) -> io::Result<OwnedFd> {
    let mut buffer = vec![0_u8; if log.is_some() { 16 << 20 } else { 0 }];
    let mut opts = bpf::bpf_prog_load_opts {
        sz: mem::size_of::<bpf::bpf_prog_load_opts>() as _,
        attempts: 5,
        expected_attach_type: shape.attach_type,
        prog_flags: shape.flags,
        attach_btf_id: shape.attach_btf_id,
        log_level: u32::from(log.is_some()),
        log_size: buffer.len() as u32,
        log_buf: if log.is_some() { buffer.as_mut_ptr().cast() } else { ptr::null_mut() },
        ..Default::default()
    };
    // The kernel wants instructions on 4-byte boundaries; `bpf_insn` has that alignment.
    let words: Vec<bpf::bpf_insn> = instructions
        .iter()
        .map(|bytes| {
            // SAFETY: bpf_insn is 8 bytes of plain integers; every bit pattern is one.
            unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) }
        })
        .collect();
    // SAFETY: instructions, license and the log buffer outlive the call and have the sizes given.
    let result = owned(unsafe {
        bpf::bpf_prog_load(
            shape.kind,
            ptr::null(),
            c"GPL".as_ptr(),
            words.as_ptr(),
            words.len() as _,
            &raw mut opts,
        )
    });
    if let (Err(_), Some(log)) = (&result, log) {
        let text = CStr::from_bytes_until_nul(&buffer).map_or(&buffer[..], CStr::to_bytes);
        log.extend_from_slice(text);
    }
    result
}

/// Opens a run of an iterator program.
pub(crate) fn iterate(program: impl AsFd, walk: Walk) -> io::Result<OwnedFd> {
    // SAFETY: all variants are plain integers, for which zero is a value.
    let mut info: bpf::bpf_iter_link_info = unsafe { mem::zeroed() };
    match walk {
        Walk::All => {}
        Walk::Thread(tid) => info.task.tid = tid,
        Walk::Process(pid) => info.task = bpf::bpf_iter_link_info__bindgen_ty_3 { pid, ..Default::default() },
    }
    let mut opts = bpf::bpf_link_create_opts {
        sz: mem::size_of::<bpf::bpf_link_create_opts>() as _,
        ..Default::default()
    };
    if walk != Walk::All {
        opts.iter_info = &raw mut info;
        opts.iter_info_len = mem::size_of::<bpf::bpf_iter_link_info>() as u32;
    }
    // SAFETY: `opts` and `info`, to which it points, outlive the call.
    let link = owned(unsafe {
        bpf::bpf_link_create(program.as_fd().as_raw_fd(), 0, bpf::BPF_TRACE_ITER, &raw const opts)
    })?;
    // SAFETY: plain call on a descriptor. The run keeps the link alive.
    owned(unsafe { bpf::bpf_iter_create(link.as_raw_fd()) })
}

/// Appends everything that the run gives to `out`, straight into its spare room.
pub(crate) fn read_all(run: impl AsFd, out: &mut Vec<u8>) -> io::Result<()> {
    let fd = run.as_fd().as_raw_fd();
    loop {
        if out.capacity() - out.len() < READ_STEP {
            out.reserve(READ_STEP.max(out.len() / 2));
        }
        let room = out.spare_capacity_mut();
        // SAFETY: `room` is memory of ours of that many bytes; the kernel only writes to it.
        let got = unsafe { libc::read(fd, room.as_mut_ptr().cast(), room.len()) };
        match got {
            0 => return Ok(()),
            1.. => {
                let len = out.len() + got.unsigned_abs();
                // SAFETY: the kernel has written `got` bytes, not more than the spare capacity.
                unsafe { out.set_len(len) };
            }
            _ => {
                let error = io::Error::last_os_error();
                // EAGAIN: a million objects without output. The walk goes on where it was.
                if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) {
                    return Err(error);
                }
            }
        }
    }
}

/// Moves this thread into a network namespace.
pub(crate) fn enter_netns(namespace: impl AsFd) -> io::Result<()> {
    // SAFETY: plain call on a descriptor; it changes this thread only.
    match unsafe { libc::setns(namespace.as_fd().as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// This process's effective user.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: it cannot fail.
    unsafe { libc::geteuid() }
}

/// Relocates an object that is open and not loaded: resolves fields and externs against the
/// running kernel's BTF and makes its maps.
pub(crate) fn prepare(object: &mut libbpf_rs::OpenObject) -> io::Result<()> {
    use libbpf_rs::AsRawLibbpf as _;
    // SAFETY: the pointer is that of a live object which nobody else uses meanwhile.
    done(unsafe { bpf::bpf_object__prepare(object.as_libbpf_object().as_ptr()) })
}

/// The descriptor number that stands for a map in prepared instructions.
pub(crate) fn map_number(map: &libbpf_rs::OpenMap<'_>) -> i32 {
    use libbpf_rs::AsRawLibbpf as _;
    // SAFETY: the pointer is that of a live map; the call only reads.
    unsafe { bpf::bpf_map__fd(map.as_libbpf_object().as_ptr()) }
}

/// The flags that a map is made with.
pub(crate) fn map_flags(map: &libbpf_rs::OpenMap<'_>) -> u32 {
    use libbpf_rs::AsRawLibbpf as _;
    // SAFETY: as above.
    unsafe { bpf::bpf_map__map_flags(map.as_libbpf_object().as_ptr()) }
}

/// An instruction as bytes.
pub(crate) fn instruction_bytes(instruction: &bpf::bpf_insn) -> Instruction {
    // SAFETY: bpf_insn is 8 bytes of plain integers without padding.
    unsafe { ptr::read_unaligned(ptr::from_ref(instruction).cast()) }
}

/// The running kernel's BTF.
#[derive(Debug)]
pub(crate) struct KernelBtf(ptr::NonNull<bpf::btf>);

impl KernelBtf {
    /// Reads it.
    pub(crate) fn load() -> io::Result<Self> {
        // SAFETY: plain call; the result is ours to free.
        let btf = unsafe { bpf::btf__load_vmlinux_btf() };
        ptr::NonNull::new(btf).map(Self).ok_or_else(io::Error::last_os_error)
    }

    /// The id of the type or function with this name.
    pub(crate) fn find(&self, name: &CStr, kind: u32) -> Option<u32> {
        // SAFETY: the BTF is alive as long as `self`, the name ends in NUL.
        let id = unsafe { bpf::btf__find_by_name_kind(self.0.as_ptr(), name.as_ptr(), kind) };
        u32::try_from(id).ok().filter(|id| *id > 0)
    }
}

impl Drop for KernelBtf {
    fn drop(&mut self) {
        // SAFETY: it is freed once, here.
        unsafe { bpf::btf__free(self.0.as_ptr()) };
    }
}
