//! Sockets and the ends of their connections.

use super::{Key, Step, keep};
use crate::stream::Stream;
use crate::stream::descriptor::{
    Descriptor, Kind, Role, Transport, completed, single, tuple, unix_path, unmapped,
};
use crate::stream::render;

const AF_UNIX: i64 = 1;
const AF_INET: i64 = 2;
const AF_INET6: i64 = 10;
const AF_NETLINK: i64 = 16;
/// The kernel's.
const SOCK_CLOEXEC: i64 = 0o2_000_000;

pub(crate) fn socket(stream: &mut Stream, step: &Step<'_>) {
    let Some(fd) = step.success() else { return };
    let (Some(domain), Some(ty)) = (step.number(Key::Domain), step.number(Key::Type)) else { return };
    let kind = match domain {
        AF_UNIX => Kind::Unix,
        AF_INET => Kind::Ipv4,
        AF_INET6 => Kind::Ipv6,
        AF_NETLINK => Kind::Netlink,
        // Others are sockets of a kind that nobody names.
        _ => Kind::Unknown,
    };
    let transport = transport(ty & 0xff, step.number(Key::Proto).unwrap_or(0));
    keep(stream, step.event.tid, fd, Descriptor { kind, transport, ..Descriptor::default() });
    stream.close_on_exec(step.event.tid, fd, ty & SOCK_CLOEXEC != 0);
}

fn transport(ty: i64, protocol: i64) -> Transport {
    const SOCK_RAW: i64 = 3;
    match (ty, protocol) {
        (SOCK_RAW, 1 | 6 | 17 | 255) | (_, 255) => Transport::Raw,
        (_, 6) | (1, 0) => Transport::Tcp,
        (_, 17) | (2, 0) => Transport::Udp,
        (_, 1) => Transport::Icmp,
        _ => Transport::Unknown,
    }
}

pub(crate) fn pair(stream: &mut Stream, step: &Step<'_>) {
    let Some(_) = step.success() else { return };
    for end in [Key::Fd1, Key::Fd2] {
        if let Some(fd) = step.number(end) {
            keep(stream, step.event.tid, fd, Descriptor { kind: Kind::Unix, ..Descriptor::default() });
            let closes = step.number(Key::Type).is_some_and(|ty| ty & SOCK_CLOEXEC != 0);
            stream.close_on_exec(step.event.tid, fd, closes);
        }
    }
}

pub(crate) fn bind(stream: &mut Stream, step: &Step<'_>) {
    let (Some(_), Some(bytes)) = (step.success(), step.bytes(Key::Addr)) else { return };
    let Some(descriptor) = stream.descriptor_mut(step.event.tid, step.fd) else { return };
    if let Some(local) = single(bytes).filter(|local| local.port() > 0) {
        let plain = unmapped(local).unwrap_or(local);
        descriptor.kind = if plain.is_ipv4() { Kind::Ipv4Server } else { Kind::Ipv6Server };
        descriptor.set_ends(plain, plain);
        descriptor.role = Role::Server;
    }
    let mut name = Vec::new();
    render::socket_address(bytes, &mut name);
    descriptor.name = name.into();
}

pub(crate) fn connect(stream: &mut Stream, step: &Step<'_>) {
    const EINPROGRESS: i64 = -115;
    let Some(result) = step.event.signed(0) else { return };
    let Some(bytes) = step.bytes(Key::Tuple) else { return };
    let Some(descriptor) = stream.descriptor_mut(step.event.tid, step.fd) else { return };
    if result < 0 && result != EINPROGRESS {
        return;
    }
    descriptor.connected = true;
    match tuple(bytes) {
        Some((kind, source, destination)) => {
            if !descriptor.is_between(kind, source, destination) {
                // A server that speaks with one client only.
                let serves = descriptor.role == Role::Server && descriptor.transport == Transport::Udp;
                let names = step.bytes(Key::Addr).is_some_and(|address| !address.is_empty());
                let (client, server) = if serves {
                    (destination, source)
                } else if names || !descriptor.kind.is_connection() {
                    (source, destination)
                } else {
                    // An old event does not say to what: sysdig keeps the first one.
                    (source, completed(descriptor.destination(), destination))
                };
                descriptor.complete_ends(kind, client, server);
            }
            descriptor.name_connection();
        }
        None => name_unix(descriptor, bytes),
    }
    if descriptor.role == Role::None {
        descriptor.role = Role::Client;
    }
}

/// Names a socket after a tuple that is of no IP family.
fn name_unix(descriptor: &mut Descriptor, bytes: &[u8]) {
    let mut name = Vec::new();
    render::socket_tuple(bytes, &mut name);
    descriptor.name = name.into();
}

pub(crate) fn accept(stream: &mut Stream, step: &Step<'_>) {
    let Some(fd) = step.success() else { return };
    if let Some(thread) = stream.threads.get_mut(&step.event.tid) {
        thread.last_fd = fd;
    }
    let Some(bytes) = step.bytes(Key::Tuple) else { return };
    let mut descriptor = Descriptor { role: Role::Server, connected: true, ..Descriptor::default() };
    match (tuple(bytes), bytes.first()) {
        (Some((kind, source, destination)), _) => {
            descriptor.kind = kind;
            descriptor.set_ends(source, destination);
            descriptor.transport = Transport::Tcp;
        }
        (None, Some(1)) => descriptor.kind = Kind::Unix,
        _ => return,
    }
    let mut name = Vec::new();
    render::socket_tuple(bytes, &mut name);
    descriptor.name = name.into();
    keep(stream, step.event.tid, fd, descriptor);
    let closes = step.number(Key::Flags).is_some_and(|flags| flags & SOCK_CLOEXEC != 0);
    stream.close_on_exec(step.event.tid, fd, closes);
}

pub(crate) fn send(stream: &mut Stream, step: &Step<'_>) {
    transfer(stream, step, Role::Client);
}

pub(crate) fn receive(stream: &mut Stream, step: &Step<'_>) {
    transfer(stream, step, Role::Server);
    if let (Some(_), Some(control)) = (step.success(), step.bytes(Key::Msgcontrol)) {
        receive_descriptors(stream, step.event.tid, control);
    }
}

/// Control messages of the kernel's layout: `u64 length, i32 level, i32 type`, data, to multiples of 8.
/// SCM_RIGHTS brings descriptors: nothing but their numbers is told, but what had these before is gone.
fn receive_descriptors(stream: &mut Stream, tid: i64, mut control: &[u8]) {
    const HEAD: usize = 16;
    const SOL_SOCKET: [u8; 4] = 1i32.to_le_bytes();
    const SCM_RIGHTS: [u8; 4] = 1i32.to_le_bytes();
    while let Some((head, _)) = control.split_first_chunk::<HEAD>() {
        let (len, kind) = head.split_at(8);
        let len = len.try_into().map_or(0, u64::from_le_bytes);
        let Some(len) = usize::try_from(len).ok().filter(|len| (HEAD..=control.len()).contains(len)) else {
            return;
        };
        if kind == [SOL_SOCKET, SCM_RIGHTS].concat() {
            let numbers = control.get(HEAD..len).unwrap_or_default().as_chunks::<4>().0;
            for fd in numbers.iter().map(|fd| i64::from(i32::from_le_bytes(*fd))).filter(|fd| *fd >= 0) {
                stream.keep_new(tid, fd, Descriptor::default());
            }
        }
        control = control.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
}

/// Whether it is a connection that keeps its name.
fn is_named(descriptor: &Descriptor) -> bool {
    !descriptor.name.is_empty() && descriptor.protocol() == Transport::Tcp
}

/// A datagram tells the ends of a socket that has no connection, each one anew. The sender of the bytes
/// stands first in the tuple; a connection is named from client to server, and `role` is whose part it
/// is to begin with such a call.
fn transfer(stream: &mut Stream, step: &Step<'_>, role: Role) {
    let Some(_) = step.success() else { return };
    let Some(bytes) = step.bytes(Key::Tuple) else { return };
    let Some(descriptor) = stream.descriptor_mut(step.event.tid, step.fd) else { return };
    if descriptor.kind.is_connection() {
        descriptor.connected = true;
    }
    if is_named(descriptor) {
        return;
    }
    let Some((kind, source, destination)) = tuple(bytes) else {
        if bytes.first() == Some(&1) {
            descriptor.kind = Kind::Unix;
            descriptor.name = unix_path(bytes).into();
            name_unix(descriptor, bytes);
        }
        return;
    };
    if descriptor.is_between(kind, source, destination) {
        return;
    }
    if descriptor.transport == Transport::Unknown {
        descriptor.transport = Transport::Udp;
    }
    if descriptor.role == Role::None {
        descriptor.role = role;
    }
    if descriptor.role == role {
        descriptor.complete_ends(kind, source, destination);
    } else {
        descriptor.complete_ends(kind, destination, source);
    }
    descriptor.name_connection();
}
