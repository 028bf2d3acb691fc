//! Tasks and descriptors that the kernel's iterators tell of: events since libs 0.24, in place of
//! reading `/proc`. A task's descriptors follow it, each an event of the same thread.

use core::net::{IpAddr, SocketAddr};

use super::{Key, Step};
use crate::stream::Stream;
use crate::stream::descriptor::{Descriptor, Kind, Role, Transport, unmapped};
use crate::stream::thread::Thread;

pub(crate) fn task(stream: &mut Stream, step: &Step<'_>) {
    let tid = step.event.tid;
    let is_known = stream.threads.get(&tid).is_some_and(|thread| !thread.is_unknown());
    if tid < 0 || is_known {
        // What events have told since is newer.
        return;
    }
    let number = |key: Key| step.number(key).unwrap_or(-1);
    let unsigned = |key: Key| step.number(key).map(i64::cast_unsigned);
    let low = |key: Key, none: u32| step.number(key).and_then(|n| u32::try_from(n).ok()).unwrap_or(none);
    let text = |key: Key| step.text(key).unwrap_or_default().into();
    let (exe, args) = match step.bytes(Key::Argv).unwrap_or_default() {
        [] => (&[][..], &[][..]),
        list => match list.iter().position(|byte| *byte == 0) {
            Some(end) => list.split_at(end),
            None => (list, &[][..]),
        },
    };
    let cgroups = step.bytes(Key::Cgroups).unwrap_or_default();
    let mut thread = Thread {
        ptid: number(Key::Ppid),
        pgid: number(Key::Pgid),
        vpgid: number(Key::Vpgid),
        sid: number(Key::Sid),
        vpid: number(Key::Vtgid),
        vtid: number(Key::Vpid),
        comm: text(Key::Comm),
        exe: exe.into(),
        args: args.get(1..).unwrap_or_default().into(),
        exe_path: text(Key::Exepath),
        env: step.bytes(Key::Env).unwrap_or_default().into(),
        cwd: text(Key::Cwd),
        root: text(Key::Root),
        cgroups: cgroups.into(),
        fd_limit: number(Key::Fdlimit),
        uid: low(Key::Euid, u32::MAX),
        gid: low(Key::Egid, u32::MAX),
        login_uid: low(Key::Loginuid, u32::MAX),
        tty: low(Key::Tty, 0),
        started_ns: unsigned(Key::StartTime).unwrap_or(0),
        pid_namespace_start_ns: unsigned(Key::PidnsInitStartTs),
        ..Thread::new(tid)
    };
    super::process::memory_of(&mut thread, step);
    super::process::program(&mut thread, step);
    thread.exe_inode = unsigned(Key::ExeInoNum).or(thread.exe_inode);
    stream.add_thread(thread);
}

/// The descriptor that an event tells of.
fn told(stream: &mut Stream, step: &Step<'_>, descriptor: Descriptor) {
    let Some(fd) = step.number(Key::Fd).filter(|fd| *fd >= 0) else { return };
    let inode = step.number(Key::InoNum).map_or(0, i64::cast_unsigned);
    stream.keep_new(step.event.tid, fd, Descriptor { inode, ..descriptor });
}

fn named(stream: &mut Stream, step: &Step<'_>, kind: Kind) {
    told(stream, step, Descriptor::named(kind, step.text(Key::Path).unwrap_or_default()));
}

pub(crate) fn pipe(stream: &mut Stream, step: &Step<'_>) {
    named(stream, step, Kind::Fifo);
}

pub(crate) fn memfd(stream: &mut Stream, step: &Step<'_>) {
    named(stream, step, Kind::Memfd);
}

pub(crate) fn directory(stream: &mut Stream, step: &Step<'_>) {
    named(stream, step, Kind::Directory);
}

pub(crate) fn regular(stream: &mut Stream, step: &Step<'_>) {
    let open_flags = step.number(Key::Flags).and_then(|flags| u32::try_from(flags).ok()).unwrap_or(0);
    let name = step.text(Key::Path).unwrap_or_default();
    told(stream, step, Descriptor { open_flags, ..Descriptor::named(Kind::File, name) });
}

pub(crate) fn netlink(stream: &mut Stream, step: &Step<'_>) {
    named(stream, step, Kind::Netlink);
}

pub(crate) fn unix(stream: &mut Stream, step: &Step<'_>) {
    let path = step.text(Key::SunPath).unwrap_or_default();
    told(stream, step, Descriptor::named(Kind::Unix, path));
}

pub(crate) fn anonymous(stream: &mut Stream, step: &Step<'_>) {
    // By the schema's numbers of `fd_type`.
    let kind = match step.number(Key::FdType) {
        Some(1) => Kind::Event,
        Some(2) => Kind::EventPoll,
        Some(3) => Kind::Inotify,
        Some(4) => Kind::Signal,
        Some(5) => Kind::Timer,
        Some(6) => Kind::IoUring,
        Some(7) => Kind::UserFault,
        Some(8) => Kind::Pidfd,
        Some(9..=12) => Kind::Bpf,
        _ => Kind::Unsupported,
    };
    named(stream, step, kind);
}

pub(crate) fn inet(stream: &mut Stream, step: &Step<'_>) {
    let address = |ip: Key, port: Key| -> Option<SocketAddr> {
        let bytes = step.bytes(ip)?;
        let ip = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
            (Ok(ip), _) => IpAddr::from(ip),
            (_, Ok(ip)) => IpAddr::from(ip),
            _ => return None,
        };
        let address = SocketAddr::new(ip, u16::try_from(step.number(port)?).ok()?);
        Some(unmapped(address).unwrap_or(address))
    };
    let local = address(Key::LocalIp, Key::LocalPort);
    let Some((local, remote)) = local.zip(address(Key::RemoteIp, Key::RemotePort)) else { return };
    let transport = match (step.number(Key::SkType), step.number(Key::SkProto)) {
        (Some(3), _) => Transport::Raw,
        (_, Some(6)) => Transport::Tcp,
        (_, Some(17)) => Transport::Udp,
        (_, Some(1 | 58)) => Transport::Icmp,
        _ => Transport::Unknown,
    };
    let v4 = local.is_ipv4() && remote.is_ipv4();
    let mut found = if remote.port() == 0 && remote.ip().is_unspecified() && local.port() != 0 {
        let kind = if v4 { Kind::Ipv4Server } else { Kind::Ipv6Server };
        let name = format!("{}:{}", local.ip(), local.port()).into_bytes().into();
        Descriptor { name, role: Role::Server, ..Descriptor::between(kind, local, local) }
    } else {
        let kind = if v4 { Kind::Ipv4 } else { Kind::Ipv6 };
        Descriptor { role: Role::Client, connected: true, ..Descriptor::between(kind, local, remote) }
    };
    found.transport = transport;
    if found.kind.is_connection() {
        // Whoever waits at the port is the server.
        if stream.is_bound(step.event.tid, local.port()) {
            found.role = Role::Server;
            found.swap_ends();
        }
        found.name_connection();
    }
    told(stream, step, found);
}
