//! Facts of process images: what stays as it is until a process, its ancestors or its container
//! become others.

use super::{Class, FieldId, container, metadata, process as p, thread as t};

/// Whether a field of an event says the same for as long as the image of its thread is the same: it
/// depends on the process, its ancestors and its container, and on nothing that changes while they
/// are what they are, as memory, descriptors and times do. The state numbers images.
#[must_use]
pub fn is_of_image(field: FieldId) -> bool {
    match field.class() {
        Class::Process => is_of_process_image(field),
        Class::Thread => ![
            t::FDUSAGE,
            t::PPID_DURATION,
            t::VMSIZE,
            t::VMRSS,
            t::VMSWAP,
            t::PFMAJOR,
            t::PFMINOR,
            t::EXECTIME,
            t::TOTEXECTIME,
            t::NCHILDS,
            t::CPU,
            t::CPU_USER,
            t::CPU_SYSTEM,
            t::THREAD_VMSIZE,
            t::THREAD_VMRSS,
            t::THREAD_VMSIZE_B,
            t::THREAD_VMRSS_B,
            t::STDIN_TYPE,
            t::STDOUT_TYPE,
            t::STDERR_TYPE,
            t::STDIN_NAME,
            t::STDOUT_NAME,
            t::STDERR_NAME,
        ]
        .contains(&field),
        Class::Container => field != container::PIDS,
        Class::Metadata => field != metadata::DURATION,
        Class::Event | Class::Descriptor | Class::File | Class::Audit => false,
    }
}

/// Fields that snapshots have too.
fn is_of_process_image(field: FieldId) -> bool {
    [
        p::NAME,
        p::PID,
        p::TID,
        p::PPID,
        p::VPID,
        p::VTID,
        p::SID,
        p::PGID,
        p::EXE,
        p::CWD,
        p::CMDLINE,
        p::ENV,
        p::EUID,
        p::EGID,
        p::USER,
        p::GROUP,
        p::LOGINUID,
        p::EXE_INODE,
        p::EXE_MEMFD,
        p::EXE_UPPER_LAYER,
    ]
    .contains(&field)
}
