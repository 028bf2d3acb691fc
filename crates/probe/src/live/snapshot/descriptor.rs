//! Descriptors of the snapshot.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nabe_event::item::{Class, Descriptor, L4, Target};
use nabe_event::record::{Fd, Fixed as _, Kind, Records, Socket};

use super::{Snapshot, Span, Texts, socket_of};
use crate::proc::dir::device;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const TCP_LISTEN: u16 = 10;

/// What is behind a descriptor, its text in the buffer.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Unknown,
    Connection(SocketAddr, SocketAddr, L4),
    Listener(SocketAddr, L4),
    Unix(u64, u64),
    File(u32, u32),
    Named(Class),
}

/// A descriptor whose text is in the buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptDescriptor {
    tid: i64,
    fd: i64,
    inode: u64,
    kept: Kept,
    text: Span,
}

impl KeptDescriptor {
    pub(crate) fn item<'a>(&self, texts: &'a Texts) -> Descriptor<'a> {
        let text = texts.get(self.text);
        let target = match self.kept {
            Kept::Unknown => Target::Unknown,
            Kept::Connection(source, destination, protocol) => {
                Target::Connection { source, destination, protocol }
            }
            Kept::Listener(local, protocol) => Target::Listener { local, protocol },
            Kept::Unix(source, destination) => Target::Unix { source, destination, path: text },
            Kept::File(open_flags, device) => Target::File { open_flags, path: text, device: Some(device) },
            Kept::Named(class) => Target::Named { class, name: text },
        };
        Descriptor { tid: self.tid, fd: self.fd, inode: self.inode, target }
    }
}

/// Adds the descriptors of `records` that belong to threads which are there. A process that was
/// born between the walk over threads and the one over descriptors is told by its birth, which is
/// an event, and has its parent's.
pub(crate) fn add(records: &[u8], out: &mut Snapshot) {
    // Both ends of a unix connection know each other by inode; captures want their identities.
    let mut identities = HashMap::new();
    // Ports on which somebody listens, by network namespace and protocol: who owns one is the server.
    let mut listening = HashSet::new();
    for record in Records::new(records).map_while(Result::ok).filter(|record| record.kind == Some(Kind::Fd)) {
        let Some(socket) = socket_of(&record) else { continue };
        identities.insert(Fd::decode(record.body).inode, socket.cookie);
        if socket.state == TCP_LISTEN || socket.dst_port == 0 {
            listening.insert((socket.netns, socket.protocol, socket.src_port));
        }
    }
    for record in Records::new(records).map_while(Result::ok).filter(|record| record.kind == Some(Kind::Fd)) {
        let fd = Fd::decode(record.body);
        // A socket without a descriptor is nobody's.
        if fd.fd < 0 || out.tids.binary_search(&fd.pid.into()).is_err() {
            continue;
        }
        let (kept, text) = match socket_of(&record) {
            Some(socket) => {
                let at = fd.socket_len as usize;
                let server = listening.contains(&(socket.netns, socket.protocol, socket.src_port));
                let peer = identities.get(&socket.peer_inode).copied().unwrap_or(0);
                (behind(&socket, server, peer), record.text(Fd::SIZE, at, socket.name_len.into()))
            }
            None => (named(&fd), record.text(Fd::SIZE, 0, fd.path_len as usize)),
        };
        let text = out.texts.keep(&[text]);
        let (tid, number) = (i64::from(fd.pid), i64::from(fd.fd));
        out.descriptors.push(KeptDescriptor { tid, fd: number, inode: fd.inode, kept, text });
    }
}

/// By the record's kind of descriptor (`symbol::FD_TYPE`).
fn named(fd: &Fd) -> Kept {
    match fd.fd_type {
        1 | 5 => Kept::File(open_flags(fd.open_flags), device(fd.dev >> 20, fd.dev & 0xf_ffff)),
        3 => Kept::Named(Class::Fifo),
        4 => Kept::Named(Class::Directory),
        6 => Kept::Named(Class::Memfd),
        8 => Kept::Named(Class::Event),
        9 => Kept::Named(Class::EventPoll),
        10 => Kept::Named(Class::Inotify),
        11 => Kept::Named(Class::Signal),
        12 => Kept::Named(Class::Timer),
        13 => Kept::Named(Class::Bpf),
        14 => Kept::Named(Class::IoUring),
        15 => Kept::Named(Class::Pidfd),
        17 => Kept::Named(Class::UserFault),
        _ => Kept::Named(Class::Unsupported),
    }
}

fn behind(socket: &Socket, server: bool, peer: u64) -> Kept {
    let protocol = match socket.protocol {
        6 => L4::TCP,
        17 => L4::UDP,
        1 | 58 => L4::ICMP,
        _ if socket.sock_type == 3 => L4::RAW,
        _ => L4::UNKNOWN,
    };
    match socket.family {
        AF_INET | AF_INET6 => {
            let local = address(socket.family, &socket.src_addr, socket.src_port);
            let remote = address(socket.family, &socket.dst_addr, socket.dst_port);
            if socket.state == TCP_LISTEN || socket.dst_port == 0 && remote.ip().is_unspecified() {
                Kept::Listener(local, protocol)
            } else if server {
                Kept::Connection(remote, local, protocol)
            } else {
                Kept::Connection(local, remote, protocol)
            }
        }
        AF_UNIX => Kept::Unix(socket.cookie, peer),
        AF_NETLINK => Kept::Named(Class::Netlink),
        _ => Kept::Unknown,
    }
}

fn address(family: u16, bytes: &[u8; 16], port: u16) -> SocketAddr {
    let ip = if family == AF_INET {
        let [a, b, c, d, ..] = *bytes;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(*bytes))
    };
    SocketAddr::new(ip, port)
}

/// The kernel's open flags as the schema has them; the twin of `open_flags` in `event_file.h`.
fn open_flags(flags: u32) -> u32 {
    const BITS: [(i32, u32); 11] = [
        (libc::O_CREAT, 1 << 2),
        (libc::O_APPEND, 1 << 3),
        (libc::O_DSYNC, 1 << 4),
        (libc::O_EXCL, 1 << 5),
        (libc::O_NONBLOCK, 1 << 6),
        (libc::O_SYNC & !libc::O_DSYNC, 1 << 7),
        (libc::O_TRUNC, 1 << 8),
        (libc::O_DIRECT, 1 << 9),
        (libc::O_DIRECTORY, 1 << 10),
        (libc::O_CLOEXEC, 1 << 12),
        (libc::O_TMPFILE & !libc::O_DIRECTORY, 1 << 13),
    ];
    /// What the kernel has for O_LARGEFILE; libc says 0 on 64 bits.
    const LARGEFILE: u32 = if cfg!(target_arch = "aarch64") { 0o400_000 } else { 0o100_000 };
    let access = (flags & 3).wrapping_add(1) & 3;
    let rest = BITS.iter().filter(|(kernel, _)| flags & kernel.cast_unsigned() != 0);
    let large = if flags & LARGEFILE != 0 { 1 << 11 } else { 0 };
    rest.fold(access | large, |all, (_, bit)| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_flags_are_the_schemas() {
        assert_eq!(open_flags(libc::O_RDONLY.cast_unsigned()), 1);
        assert_eq!(open_flags((libc::O_WRONLY | libc::O_CREAT).cast_unsigned()), 6);
        assert_eq!(open_flags((libc::O_RDWR | libc::O_CLOEXEC).cast_unsigned()), 3 | 1 << 12);
    }

    #[test]
    fn descriptors_without_a_thread_are_left_out() {
        let mut records = Vec::new();
        for pid in [7, 8, 9] {
            let fd = Fd { pid, fd: 3, fd_type: 1, path_len: 2, ..Fd::default() };
            nabe_event::record::write(&mut records, Kind::Fd, 0, &fd, &[b"/x"]);
        }
        let mut out = Snapshot { tids: vec![7, 9], ..Snapshot::default() };
        add(&records, &mut out);
        assert_eq!(out.descriptors.iter().map(|kept| kept.tid).collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn who_listens_is_the_server() {
        let mut socket = Socket {
            family: AF_INET,
            protocol: 6,
            state: 1,
            src_port: 22,
            dst_port: 4000,
            ..Socket::default()
        };
        socket.src_addr[..4].copy_from_slice(&[127, 0, 0, 1]);
        socket.dst_addr[..4].copy_from_slice(&[127, 0, 0, 2]);
        let Kept::Connection(source, destination, protocol) = behind(&socket, true, 0) else { panic!() };
        assert_eq!((source.port(), destination.port(), protocol), (4000, 22, L4::TCP));
        let Kept::Connection(source, ..) = behind(&socket, false, 0) else { panic!() };
        assert_eq!(source.port(), 22);
    }
}
