//! Processes and threads: their birth, their programs, their end, and what they are and may.

use nabe_event::raw::Event;

use super::{Key, Step};
use crate::stream::known::Known;
use crate::stream::thread::{Thread, capped, clone as flag};
use crate::stream::{Account, Stream};

/// A thread whose birth is longer ago than this when its own clone returns is another one, whose
/// end was lost.
const STALE_NS: u64 = 2_000_000_000;

pub(crate) fn clone(stream: &mut Stream, step: &Step<'_>) {
    let Some(result) = step.success() else { return };
    let flags =
        step.number(Key::Flags).and_then(|flags| u32::try_from(flags & 0xffff_ffff).ok()).unwrap_or(0);
    let tid = step.event.tid;
    let (vtid, vpid) = (step.number(Key::Vtid), step.number(Key::Vpid));
    let contained = flags & flag::CHILD_IN_PIDNS != 0 || vtid.is_some_and(|vtid| vtid != tid);
    let (child, parent) = if result == 0 {
        let ts = step.event.ts_ns;
        let stale =
            |thread: &Thread| thread.started_ns != 0 && ts.saturating_sub(thread.started_ns) > STALE_NS;
        if stream.threads.get(&tid).is_some_and(stale) {
            stream.remove_thread(tid);
        }
        if let Some(thread) = stream.threads.get_mut(&tid).filter(|thread| !thread.is_unknown()) {
            if contained {
                thread.vtid = vtid.unwrap_or(thread.vtid);
                thread.vpid = vpid.unwrap_or(thread.vpid);
                stream.changed(tid);
            }
            return;
        }
        let parent = if flags & flag::THREAD == 0 { step.number(Key::Ptid) } else { step.number(Key::Pid) };
        (tid, parent.unwrap_or(-1))
    } else {
        // In a container the parent knows the child only by its number there.
        if contained || stream.threads.get(&result).is_some_and(|child| child.inverted) {
            return;
        }
        stream.remove_thread(result);
        (result, tid)
    };
    let mut thread = born(stream, step, child, parent, flags);
    // A parent that was never told of does, for now, what its child does.
    if parent >= 0 && stream.threads.get(&parent).is_none_or(Thread::is_unknown) {
        let told = Thread {
            comm: thread.comm.clone(),
            exe: thread.exe.clone(),
            args: thread.args.clone(),
            ..Thread::unknown(parent)
        };
        stream.insert(told);
    }
    thread.inverted = result == 0;
    if contained {
        thread.vtid = vtid.unwrap_or(-1);
        thread.vpid = vpid.unwrap_or(-1);
    } else {
        (thread.vtid, thread.vpid) = (thread.tid, thread.pid);
    }
    stream.insert(thread);
}

/// The new thread: what it inherits, and what the event says of it.
fn born(stream: &mut Stream, step: &Step<'_>, tid: i64, parent: i64, flags: u32) -> Thread {
    let is_thread = flags & flag::THREAD != 0;
    let mut thread = match stream.threads.get(&parent) {
        Some(parent) => {
            let (mut child, owner) = (parent.heir(), stream.owner(parent.tid).unwrap_or(parent));
            if !is_thread {
                child.descriptors = owner.descriptors.clone();
                child.cwd = owner.cwd.clone();
            }
            child
        }
        None => Thread::new(tid),
    };
    thread.tid = tid;
    thread.ptid = parent;
    thread.flags = flags;
    thread.pid = if is_thread { step.number(Key::Pid).unwrap_or(parent) } else { tid };
    thread.started_ns = step.event.ts_ns;
    describe(&mut thread, step, &mut stream.known);
    thread.uid = step.number(Key::Uid).map_or(thread.uid, low32);
    thread.gid = step.number(Key::Gid).map_or(thread.gid, low32);
    thread
}

/// What clone and exec both say of a thread. Texts are mostly those that it has already.
fn describe(thread: &mut Thread, step: &Step<'_>, known: &mut Known) {
    if let Some(exe) = step.text(Key::Exe) {
        thread.exe = known.same(&thread.exe, exe);
    }
    // Before 2015 there was no name of its own.
    thread.comm = match step.text(Key::Comm).filter(|comm| !comm.is_empty()) {
        Some(comm) => known.same(&thread.comm, comm),
        None => thread.exe.clone(),
    };
    thread.args = known.same(&thread.args, capped(step.bytes(Key::Args).unwrap_or_default()));
    let number = |name: Key| step.number(name);
    thread.fd_limit = number(Key::Fdlimit).unwrap_or(thread.fd_limit);
    thread.tty = number(Key::Tty).map_or(thread.tty, low32);
    thread.pid_namespace_start_ns =
        number(Key::PidnsInitStartTs).map(i64::cast_unsigned).or(thread.pid_namespace_start_ns);
    memory_of(thread, step);
    if let Some(cgroups) = step.bytes(Key::Cgroups)
        && *thread.cgroups != *cgroups
    {
        thread.cgroups = known.text(capped(cgroups));
        thread.container = known.container(cgroups);
    }
}

/// Memory and page faults, where the event says them.
pub(super) fn memory_of(thread: &mut Thread, step: &Step<'_>) {
    size_of(thread, step);
    faults_of(thread, step);
}

fn size_of(thread: &mut Thread, step: &Step<'_>) {
    for (name, field) in [
        (Key::VmSize, &mut thread.vm_size_kib),
        (Key::VmRss, &mut thread.vm_rss_kib),
        (Key::VmSwap, &mut thread.vm_swap_kib),
    ] {
        if let Some(number) = step.number(name) {
            *field = number.cast_unsigned();
        }
    }
}

fn faults_of(thread: &mut Thread, step: &Step<'_>) {
    for (name, field) in [(Key::PgftMaj, &mut thread.major_faults), (Key::PgftMin, &mut thread.minor_faults)]
    {
        if let Some(number) = step.number(name) {
            *field = number.cast_unsigned();
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low half is meant")]
const fn low32(number: i64) -> u32 {
    number as u32
}

pub(crate) fn exec(stream: &mut Stream, step: &Step<'_>) {
    let Some(_) = step.success() else { return };
    let tid = step.event.tid;
    let path = step.text(Key::TrustedExepath).filter(|path| !path.is_empty()).map(<[u8]>::to_vec);
    let path = path.or_else(|| {
        let name = step.text(Key::Filename).or_else(|| step.text(Key::Pathname))?;
        if name == b"<NA>" {
            return Some(name.to_vec());
        }
        let dirfd = step.number(Key::Dirfd).unwrap_or(crate::stream::AT_FDCWD);
        Some(crate::stream::path::join(&stream.base(tid, dirfd, name), name))
    });
    let Some(thread) = stream.threads.get_mut(&tid) else { return };
    describe(thread, step, &mut stream.known);
    thread.pid = step.number(Key::Pid).unwrap_or(thread.pid);
    if thread.ptid == -1 {
        thread.ptid = step.number(Key::Ptid).unwrap_or(-1);
    }
    if let Some(path) = path {
        thread.exe_path = stream.known.same(&thread.exe_path, &path);
    }
    if let Some(env) = step.bytes(Key::Env) {
        thread.env = stream.known.same(&thread.env, capped(env));
    }
    thread.vpgid = step.number(Key::Vpgid).unwrap_or(thread.vpgid);
    thread.pgid = step.number(Key::Pgid).unwrap_or(thread.pgid);
    thread.login_uid = step.number(Key::Loginuid).map_or(thread.login_uid, low32);
    thread.uid = step.number(Key::Uid).map_or(thread.uid, low32);
    thread.gid = step.number(Key::Gid).map_or(thread.gid, low32);
    program(thread, step);
    // The kernel has ended the first thread and given its number to the one that executes.
    thread.has_ended = false;
    // What a new program starts with.
    thread.flags &= !(flag::FILES | flag::THREAD);
    let siblings = thread.siblings;
    if siblings > 0 {
        end_siblings(stream, tid);
    }
    if let Some(thread) = stream.threads.get_mut(&tid) {
        let closed = thread.descriptors.exec();
        stream.open = stream.open.saturating_sub(closed);
    }
    stream.changed(tid);
}

/// A program is executed: the other threads of its process end. Whichever thread asked for it has the
/// process's number from here on.
fn end_siblings(stream: &mut Stream, pid: i64) {
    let others = stream.threads.values().filter(|thread| thread.pid == pid && thread.tid != pid);
    let others: Vec<i64> = others.map(|thread| thread.tid).collect();
    for tid in others {
        stream.inherit(tid, pid);
        stream.remove_thread(tid);
    }
}

/// What exec says of the program's file.
pub(super) fn program(thread: &mut Thread, step: &Step<'_>) {
    const WRITABLE: i64 = 1;
    const UPPER_LAYER: i64 = 2;
    const FROM_MEMFD: i64 = 4;
    const LOWER_LAYER: i64 = 8;
    if let Some(flags) = step.number(Key::Flags) {
        thread.exe_writable = Some(flags & WRITABLE != 0);
        thread.exe_upper_layer = Some(flags & UPPER_LAYER != 0);
        thread.exe_from_memfd = Some(flags & FROM_MEMFD != 0);
        thread.exe_lower_layer = Some(flags & LOWER_LAYER != 0);
    }
    let number = |name: Key| step.number(name).map(i64::cast_unsigned);
    for (slot, name) in
        thread.capabilities.iter_mut().zip([Key::CapPermitted, Key::CapInheritable, Key::CapEffective])
    {
        *slot = number(name).or(*slot);
    }
    thread.exe_inode = number(Key::ExeIno).or(thread.exe_inode);
    thread.exe_ctime_ns = number(Key::ExeInoCtime).or(thread.exe_ctime_ns);
    thread.exe_mtime_ns = number(Key::ExeInoMtime).or(thread.exe_mtime_ns);
}

pub(crate) fn exit(stream: &mut Stream, step: &Step<'_>) {
    let tid = step.event.tid;
    // Children of a thread go to its process, those of a process to whom the kernel gives them.
    let process = stream.threads.get(&tid).filter(|thread| !thread.is_main()).map(|thread| thread.pid);
    if let Some(heir) = process.or_else(|| step.number(Key::ReaperTid)) {
        stream.inherit(tid, heir);
    }
    stream.end_thread(tid);
}

fn change_directory(stream: &mut Stream, tid: i64, path: &[u8]) {
    if let Some(owner) = stream.main_mut(tid)
        && owner.change_directory(path)
    {
        let tid = owner.tid;
        stream.changed(tid);
    }
}

pub(crate) fn chdir(stream: &mut Stream, step: &Step<'_>) {
    if let (Some(_), Some(path)) = (step.success(), step.text(Key::Path)) {
        change_directory(stream, step.event.tid, path);
    }
}

pub(crate) fn getcwd(stream: &mut Stream, step: &Step<'_>) {
    chdir(stream, step);
}

pub(crate) fn fchdir(stream: &mut Stream, step: &Step<'_>) {
    let Some(_) = step.success() else { return };
    let Some(name) = stream.descriptor(step.event.tid, step.fd).map(|found| found.name.clone()) else {
        return;
    };
    change_directory(stream, step.event.tid, &name);
}

pub(crate) fn chroot(stream: &mut Stream, step: &Step<'_>) {
    let (Some(_), Some(path)) = (step.success(), step.text(Key::Path)) else { return };
    if let Some(thread) = stream.threads.get_mut(&step.event.tid) {
        thread.root = crate::stream::path::join(&thread.cwd, path).into();
        stream.changed(step.event.tid);
    }
}

pub(crate) fn setsid(stream: &mut Stream, step: &Step<'_>) {
    if let (Some(sid), Some(thread)) = (step.success(), stream.threads.get_mut(&step.event.tid)) {
        thread.sid = sid;
        // Whoever begins a session begins a group of its own, too.
        (thread.pgid, thread.vpgid) = (thread.pid, thread.vpid);
        stream.changed(step.event.tid);
    }
}

pub(crate) fn setpgid(stream: &mut Stream, step: &Step<'_>) {
    let (Some(_), Some(pid), Some(group)) = (step.success(), step.number(Key::Pid), step.number(Key::Pgid))
    else {
        return;
    };
    let caller = step.event.tid;
    let pid = if pid == 0 { caller } else { pid };
    if let Some(thread) = stream.threads.get_mut(&pid) {
        thread.vpgid = if group == 0 { thread.vpid } else { group };
        stream.changed(pid);
    }
}

pub(crate) fn setuid(stream: &mut Stream, step: &Step<'_>) {
    become_user(stream, step, Key::Uid);
}

pub(crate) fn setresuid(stream: &mut Stream, step: &Step<'_>) {
    become_user(stream, step, Key::Euid);
}

fn become_user(stream: &mut Stream, step: &Step<'_>, name: Key) {
    let (Some(_), Some(uid)) = (step.success(), step.number(name)) else { return };
    if let Some(thread) = stream.threads.get_mut(&step.event.tid).filter(|_| low32(uid) != u32::MAX) {
        thread.uid = low32(uid);
        stream.changed(step.event.tid);
    }
}

pub(crate) fn setgid(stream: &mut Stream, step: &Step<'_>) {
    become_group(stream, step, Key::Gid);
}

pub(crate) fn setresgid(stream: &mut Stream, step: &Step<'_>) {
    become_group(stream, step, Key::Egid);
}

fn become_group(stream: &mut Stream, step: &Step<'_>, name: Key) {
    let (Some(_), Some(gid)) = (step.success(), step.number(name)) else { return };
    if let Some(thread) = stream.threads.get_mut(&step.event.tid).filter(|_| low32(gid) != u32::MAX) {
        thread.gid = low32(gid);
        stream.changed(step.event.tid);
    }
}

pub(crate) fn prctl(stream: &mut Stream, step: &Step<'_>) {
    const PR_SET_NAME: i64 = 15;
    if step.success().is_none() || step.number(Key::Option) != Some(PR_SET_NAME) {
        return;
    }
    if let (Some(name), Some(thread)) = (step.text(Key::Arg2Str), stream.threads.get_mut(&step.event.tid)) {
        thread.comm = name.get(..15).unwrap_or(name).into();
        stream.changed(step.event.tid);
    }
}

pub(crate) fn memory(stream: &mut Stream, step: &Step<'_>) {
    if let Some(thread) = stream.threads.get_mut(&step.event.tid) {
        memory_of(thread, step);
    }
}

impl Stream {
    /// The scheduler switches away from the event's thread: it ran since the switch before on the
    /// same processor.
    pub(crate) fn switched(&mut self, event: &Event<'_>) {
        let cpu = usize::from(event.cpu);
        if cpu >= self.switches.len() {
            self.switches.resize(cpu + 1, 0);
        }
        let Some(last) = self.switches.get_mut(cpu) else { return };
        let before = core::mem::replace(last, event.ts_ns);
        let ran = if before == 0 { 0 } else { event.ts_ns.saturating_sub(before) };
        self.ran_ns = ran;
        if let Some(thread) = self.threads.get_mut(&event.tid) {
            let usage = thread.usage.get_or_insert_default();
            usage.total_exec_ns = usage.total_exec_ns.saturating_add(ran);
        }
    }
}

/// A switch tells the memory of the process, and the page faults of the thread.
pub(crate) fn switch(stream: &mut Stream, step: &Step<'_>) {
    stream.switched(step.event);
    if let Some(thread) = stream.threads.get_mut(&step.event.tid) {
        faults_of(thread, step);
    }
    if let Some(main) = stream.main_mut(step.event.tid) {
        size_of(main, step);
    }
}

pub(crate) fn limit(stream: &mut Stream, step: &Step<'_>) {
    /// The schema's RLIMIT_NOFILE.
    const NOFILE: i64 = 7;
    if step.success().is_none() || step.number(Key::Resource) != Some(NOFILE) {
        return;
    }
    let current = step.number(Key::Newcur).or_else(|| step.number(Key::Cur)).filter(|current| *current >= 0);
    let pid = step.number(Key::Pid).filter(|pid| *pid > 0).unwrap_or(step.event.tid);
    if let (Some(current), Some(main)) = (current, stream.main_mut(pid)) {
        main.fd_limit = current;
    }
}

pub(crate) fn user_added(stream: &mut Stream, step: &Step<'_>) {
    let (Some(uid), Some(name)) = (step.number(Key::Uid), step.text(Key::Name)) else { return };
    let text = |name: Key| step.text(name).unwrap_or_default().into();
    let gid = step.number(Key::Gid).map(low32);
    let account = Account { gid, name: name.into(), home: text(Key::Home), shell: text(Key::Shell) };
    stream.add_user(low32(uid), account);
}

pub(crate) fn user_deleted(stream: &mut Stream, step: &Step<'_>) {
    if let Some(uid) = step.number(Key::Uid) {
        stream.users.remove(&low32(uid));
        stream.everything_changed();
    }
}

pub(crate) fn group_added(stream: &mut Stream, step: &Step<'_>) {
    if let (Some(gid), Some(name)) = (step.number(Key::Gid), step.text(Key::Name)) {
        stream.add_group(low32(gid), name);
    }
}

pub(crate) fn group_deleted(stream: &mut Stream, step: &Step<'_>) {
    if let Some(gid) = step.number(Key::Gid) {
        stream.groups.remove(&low32(gid));
        stream.everything_changed();
    }
}
