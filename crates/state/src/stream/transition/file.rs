//! Files and the other things that have a descriptor.

use std::sync::Arc;

use super::{Key, Step, keep};
use crate::stream::descriptor::{Descriptor, Kind, Role, Transport};
use crate::stream::{AT_FDCWD, Stream};

/// The schema's O_DIRECTORY.
const O_DIRECTORY: u32 = 1 << 10;

pub(crate) fn open(stream: &mut Stream, step: &Step<'_>) {
    let Some(fd) = step.success() else { return };
    let name = step.text(Key::Name).or_else(|| step.text(Key::Path)).unwrap_or_default();
    let (raw_name, name) = stream.name(step.event.tid, step.number(Key::Dirfd).unwrap_or(AT_FDCWD), name);
    let flags = step.number(Key::Flags).and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
    let descriptor = Descriptor {
        kind: if flags & O_DIRECTORY == 0 { Kind::File } else { Kind::Directory },
        name,
        raw_name,
        open_flags: flags,
        device: step.number(Key::Dev).and_then(|dev| u32::try_from(dev).ok()).unwrap_or(0),
        inode: step.number(Key::Ino).map_or(0, i64::cast_unsigned),
        ends: None,
        transport: Transport::Unknown,
        role: Role::None,
        connected: false,
        generation: 0,
    };
    keep(stream, step.event.tid, fd, descriptor);
}

pub(crate) fn close(stream: &mut Stream, step: &Step<'_>) {
    if step.success().is_some() {
        stream.end_descriptor(step.event.tid, step.fd);
    }
}

pub(crate) fn close_range(stream: &mut Stream, step: &Step<'_>) {
    /// Only marked, not closed.
    const CLOSE_RANGE_CLOEXEC: i64 = 4;
    let (Some(_), Some(first), Some(last)) =
        (step.success(), step.number(Key::First), step.number(Key::Last))
    else {
        return;
    };
    if step.number(Key::Flags).is_some_and(|flags| flags & CLOSE_RANGE_CLOEXEC != 0) {
        return;
    }
    // Unsigned 32-bit numbers: the last one is often all ones.
    let last = if last < 0 { i64::MAX } else { last };
    stream.retain_descriptors(step.event.tid, |fd, _| !(first..=last).contains(&fd));
}

pub(crate) fn dup(stream: &mut Stream, step: &Step<'_>) {
    let Some(new) = step.success() else { return };
    copy(stream, step.event.tid, step.fd, new);
}

pub(crate) fn fcntl(stream: &mut Stream, step: &Step<'_>) {
    /// The schema's F_DUPFD and F_DUPFD_CLOEXEC.
    const DUPLICATE: [i64; 2] = [1, 26];
    let Some(new) = step.success() else { return };
    if step.number(Key::Cmd).is_some_and(|command| DUPLICATE.contains(&command)) {
        copy(stream, step.event.tid, step.fd, new);
    }
}

fn copy(stream: &mut Stream, tid: i64, old: i64, new: i64) {
    let Some(descriptor) = stream.descriptor(tid, old).cloned() else { return };
    stream.keep(tid, new, descriptor);
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
        }
    }
}

fn nameless(stream: &mut Stream, step: &Step<'_>, kind: Kind) {
    if let Some(fd) = step.success() {
        keep(stream, step.event.tid, fd, Descriptor { kind, ..Descriptor::default() });
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
    }
}
