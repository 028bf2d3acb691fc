//! Files and the other things that have a descriptor.

use std::sync::Arc;

use super::{Key, Step, is_last, keep};
use crate::stream::descriptor::{Descriptor, Kind, Role, Transport};
use crate::stream::{AT_FDCWD, Stream};

/// The schema's O_DIRECTORY.
const O_DIRECTORY: u32 = 1 << 10;
/// The schema's O_CLOEXEC.
const O_CLOEXEC: u32 = 1 << 12;

/// Whether the `flags` of an event have one of `bits`.
fn has_flags(step: &Step<'_>, bits: u32) -> bool {
    step.number(Key::Flags).is_some_and(|flags| flags & i64::from(bits) != 0)
}

pub(crate) fn open(stream: &mut Stream, step: &Step<'_>) {
    let Some(fd) = step.success() else { return };
    let name = step.text(Key::Name).or_else(|| step.text(Key::Path)).unwrap_or_default();
    let (raw_name, name) = stream.name(step.event.tid, step.number(Key::Dirfd).unwrap_or(AT_FDCWD), name);
    let flags = step.number(Key::Flags).and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
    let tid = step.event.tid;
    stream.keep_made(tid, fd, |place| {
        place.kind = if flags & O_DIRECTORY == 0 { Kind::File } else { Kind::Directory };
        place.name = name;
        place.raw_name = raw_name;
        place.open_flags = flags;
        place.device = step.number(Key::Dev).and_then(|dev| u32::try_from(dev).ok()).unwrap_or(0);
        place.inode = step.number(Key::Ino).map_or(0, i64::cast_unsigned);
        place.ends = None;
        place.transport = Transport::Unknown;
        place.role = Role::None;
        place.connected = false;
    });
    is_last(stream, tid, fd);
    if flags & O_CLOEXEC != 0 {
        stream.close_on_exec(step.event.tid, fd, true);
    }
}

pub(crate) fn close(stream: &mut Stream, step: &Step<'_>) {
    if step.success().is_some() {
        stream.end_descriptor(step.event.tid, step.fd);
    }
}

pub(crate) fn close_range(stream: &mut Stream, step: &Step<'_>) {
    const CLOSE_RANGE_UNSHARE: u32 = 2;
    /// Only marked, not closed.
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    let (Some(_), Some(first), Some(last)) =
        (step.success(), step.number(Key::First), step.number(Key::Last))
    else {
        return;
    };
    if has_flags(step, CLOSE_RANGE_UNSHARE) {
        stream.unshare_descriptors(step.event.tid);
    }
    // Unsigned 32-bit numbers: the last one is often all ones.
    let last = if last < 0 { i64::MAX } else { last };
    if has_flags(step, CLOSE_RANGE_CLOEXEC) {
        if let Some(owner) = stream.owner_mut(step.event.tid) {
            let numbers: Vec<i64> = owner.descriptors.iter().map(|(number, _)| number).collect();
            for number in numbers.into_iter().filter(|number| (first..=last).contains(number)) {
                owner.descriptors.close_on_exec(number, true);
            }
        }
        return;
    }
    stream.retain_descriptors(step.event.tid, |fd, _| !(first..=last).contains(&fd));
}

pub(crate) fn dup(stream: &mut Stream, step: &Step<'_>) {
    let Some(new) = step.success() else { return };
    copy(stream, step.event.tid, step.fd, new);
    if has_flags(step, O_CLOEXEC) {
        stream.close_on_exec(step.event.tid, new, true);
    }
}

pub(crate) fn fcntl(stream: &mut Stream, step: &Step<'_>) {
    const F_DUPFD: i64 = 1;
    const F_SETFD: i64 = 3;
    const F_DUPFD_CLOEXEC: i64 = 26;
    let Some(new) = step.success() else { return };
    let tid = step.event.tid;
    match step.number(Key::Cmd) {
        Some(F_DUPFD) => copy(stream, tid, step.fd, new),
        Some(F_DUPFD_CLOEXEC) => {
            copy(stream, tid, step.fd, new);
            stream.close_on_exec(tid, new, true);
        }
        Some(F_SETFD) => {
            if let Some(argument) = step.number(Key::Arg) {
                stream.close_on_exec(tid, step.fd, argument & 1 != 0);
            }
        }
        _ => {}
    }
}

fn copy(stream: &mut Stream, tid: i64, old: i64, new: i64) {
    if old == new {
        return;
    }
    match stream.descriptor(tid, old).cloned() {
        Some(descriptor) => stream.keep(tid, new, descriptor),
        // What had the number is gone, and nothing is known of what has it now.
        None => return stream.remove_descriptor(tid, new),
    }
    if let Some(thread) = stream.threads.get_mut(&tid) {
        thread.last_fd = new;
    }
}

pub(crate) fn pipe(stream: &mut Stream, step: &Step<'_>) {
    let Some(_) = step.success() else { return };
    let inode = step.number(Key::Ino).map_or(0, i64::cast_unsigned);
    for end in [Key::Fd1, Key::Fd2] {
        if let Some(fd) = step.number(end) {
            let descriptor = Descriptor { kind: Kind::Fifo, inode, ..Descriptor::default() };
            keep(stream, step.event.tid, fd, descriptor);
            stream.close_on_exec(step.event.tid, fd, has_flags(step, O_CLOEXEC));
        }
    }
}

fn nameless(stream: &mut Stream, step: &Step<'_>, kind: Kind) {
    if let Some(fd) = step.success() {
        keep(stream, step.event.tid, fd, Descriptor { kind, ..Descriptor::default() });
        const CLOEXEC: u32 = 1;
        let closes = match kind {
            Kind::EventPoll => has_flags(step, CLOEXEC),
            // The kernel gives these no choice.
            Kind::IoUring | Kind::Pidfd => true,
            _ => has_flags(step, O_CLOEXEC),
        };
        stream.close_on_exec(step.event.tid, fd, closes);
    }
}

pub(crate) fn event(stream: &mut Stream, step: &Step<'_>) {
    nameless(stream, step, Kind::Event);
}

pub(crate) fn signal(stream: &mut Stream, step: &Step<'_>) {
    nameless(stream, step, Kind::Signal);
}

pub(crate) fn timer(stream: &mut Stream, step: &Step<'_>) {
    nameless(stream, step, Kind::Timer);
}

pub(crate) fn inotify(stream: &mut Stream, step: &Step<'_>) {
    nameless(stream, step, Kind::Inotify);
}

pub(crate) fn epoll(stream: &mut Stream, step: &Step<'_>) {
    nameless(stream, step, Kind::EventPoll);
}

pub(crate) fn user_fault(stream: &mut Stream, step: &Step<'_>) {
    nameless(stream, step, Kind::UserFault);
}

pub(crate) fn io_uring(stream: &mut Stream, step: &Step<'_>) {
    nameless(stream, step, Kind::IoUring);
}

pub(crate) fn memfd(stream: &mut Stream, step: &Step<'_>) {
    let Some(fd) = step.success() else { return };
    let name = [b"memfd:", step.text(Key::Name).unwrap_or_default()].concat();
    keep(stream, step.event.tid, fd, Descriptor::named(Kind::Memfd, &name));
    const MFD_CLOEXEC: u32 = 1;
    stream.close_on_exec(step.event.tid, fd, has_flags(step, MFD_CLOEXEC));
}

/// A descriptor out of another process, which does not say what it is.
pub(crate) fn pidfd_getfd(stream: &mut Stream, step: &Step<'_>) {
    nameless(stream, step, Kind::Unknown);
}

pub(crate) fn pidfd(stream: &mut Stream, step: &Step<'_>) {
    nameless(stream, step, Kind::Pidfd);
}

pub(crate) fn bpf(stream: &mut Stream, step: &Step<'_>) {
    /// BPF_MAP_CREATE and BPF_PROG_LOAD give descriptors.
    const CREATES: [i64; 2] = [0, 5];
    let Some(fd) = step.number(Key::Fd).filter(|fd| *fd >= 0) else { return };
    if step.number(Key::Cmd).is_some_and(|command| CREATES.contains(&command)) {
        let descriptor = Arc::new(Descriptor { kind: Kind::Bpf, ..Descriptor::default() });
        stream.keep(step.event.tid, fd, descriptor);
        stream.close_on_exec(step.event.tid, fd, true);
    }
}
