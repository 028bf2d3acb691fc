//! A row: a process with one of its descriptors, a process alone, or a socket alone.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nabe_event::field::{Class, FieldId, file as f};
use nabe_event::record::{Fd, Fixed as _, Record, Socket, flag};
use nabe_event::symbol;
use nabe_event::value::{Fields, Missing, Value};

use crate::process::Process;
use crate::snapshot::Snapshot;

/// What a filter is asked about and a table has as its row.
pub struct Row<'a> {
    process: Option<&'a Process<'a>>,
    descriptor: Option<Descriptor<'a>>,
}

/// An open descriptor, or a socket without one.
pub(crate) struct Descriptor<'a> {
    fd: Fd,
    socket: Option<Socket>,
    record: Record<'a>,
    path: OnceCell<Vec<u8>>,
    dev: OnceCell<Vec<u8>>,
    unix: OnceCell<Vec<u8>>,
}

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

impl<'a> Row<'a> {
    pub(crate) fn of(process: &'a Process<'a>, descriptor: Descriptor<'a>) -> Self {
        Self { process: Some(process), descriptor: Some(descriptor) }
    }

    pub(crate) fn alone(process: &'a Process<'a>) -> Self {
        Self { process: Some(process), descriptor: None }
    }

    pub(crate) fn ownerless(_: &'a Snapshot, descriptor: Descriptor<'a>) -> Self {
        Self { process: None, descriptor: Some(descriptor) }
    }

    /// The process, unless this is a socket that nobody owns.
    #[must_use]
    pub fn process(&self) -> Option<&'a Process<'a>> {
        self.process
    }

    /// The descriptor's record, if the row has one.
    #[must_use]
    pub fn fd(&self) -> Option<&Fd> {
        self.descriptor.as_ref().map(|descriptor| &descriptor.fd)
    }

    /// The socket's record, if the row has one.
    #[must_use]
    pub fn socket(&self) -> Option<&Socket> {
        self.descriptor.as_ref()?.socket.as_ref()
    }
}

impl Fields for Row<'_> {
    fn get(&self, field: FieldId, arg: Option<&[u8]>) -> Value<'_> {
        if field.class() != Class::File {
            return self.process.map_or(Value::Missing(Missing::Subject), |process| process.get(field, arg));
        }
        let Some(descriptor) = &self.descriptor else {
            return Value::Missing(Missing::Subject);
        };
        match (field, self.process) {
            (f::PID, Some(process)) => Value::Int(process.pid().into()),
            (f::TID, Some(process)) => Value::Int(process.tid().into()),
            (f::PPID, Some(process)) => Value::Int(process.ppid().into()),
            (f::PID | f::TID | f::PPID, None) => Value::Missing(Missing::Unset),
            _ => descriptor.get(field),
        }
    }

    fn related(&self, relation: FieldId, visit: &mut dyn FnMut(&dyn Fields) -> bool) -> Option<usize> {
        self.process?.related(relation, visit)
    }
}

impl<'a> Descriptor<'a> {
    pub(crate) fn new(record: Record<'a>) -> Self {
        let fd = Fd::decode(record.body);
        let socket = (record.flags & flag::SOCKET != 0)
            .then(|| Socket::decode(record.body.get(Fd::SIZE..).unwrap_or_default()));
        Self { fd, socket, record, path: OnceCell::new(), dev: OnceCell::new(), unix: OnceCell::new() }
    }

    fn get(&self, field: FieldId) -> Value<'_> {
        let fd = &self.fd;
        match field {
            f::FD if fd.fd < 0 => Value::Missing(Missing::Unset),
            f::FD => Value::Int(fd.fd.into()),
            f::FD_TYPE => Value::Uint(fd.fd_type.into()),
            f::PATH => self.path(),
            f::KIND => Value::Text(self.kind().as_bytes()),
            f::INODE => Value::Uint(fd.inode),
            f::DEV => Value::Text(
                self.dev.get_or_init(|| format!("{}:{}", fd.dev >> 20, fd.dev & 0xf_ffff).into_bytes()),
            ),
            f::SIZE => Value::Uint(fd.size),
            f::OFFSET => Value::Uint(fd.offset),
            f::FLAGS => Value::Uint(fd.open_flags.into()),
            f::ACCESS => Value::Text(match fd.access & 3 {
                1 => b"r",
                2 => b"w",
                3 => b"u",
                _ => b"",
            }),
            f::MODE => Value::Uint(fd.mode.into()),
            f::NLINK => Value::Uint(fd.nlink.into()),
            f::DELETED => Value::Bool(fd.nlink == 0 && fd.mode & S_IFMT == S_IFREG && !self.memory()),
            f::MOUNT_ID => Value::Int(fd.mount_id.into()),
            _ => self.socket.as_ref().map_or(Value::Missing(Missing::Unset), |s| self.socket_field(s, field)),
        }
    }

    fn socket_field(&self, socket: &Socket, field: FieldId) -> Value<'_> {
        let internet = matches!(socket.family, AF_INET | AF_INET6);
        let inet = |value| if internet { value } else { Value::Missing(Missing::Unset) };
        match field {
            f::FAMILY => Value::Uint(socket.family.into()),
            f::TYPE => Value::Uint(socket.sock_type.into()),
            f::STATE => Value::Uint(socket.state.into()),
            f::PROTOCOL => Value::Uint(socket.protocol.into()),
            f::SRC_PORT => inet(Value::Int(socket.src_port.into())),
            f::DST_PORT => inet(Value::Int(socket.dst_port.into())),
            f::SRC_ADDR => inet(Value::Ip(address(socket.family, socket.src_addr))),
            f::DST_ADDR => inet(Value::Ip(address(socket.family, socket.dst_addr))),
            f::UNIX_PATH if socket.family == AF_UNIX => Value::Text(self.unix_path(socket)),
            f::NETNS => Value::Uint(socket.netns.into()),
            f::RX_QUEUE => Value::Uint(socket.rx_queue.into()),
            f::TX_QUEUE => Value::Uint(socket.tx_queue.into()),
            f::UID => Value::Int(socket.uid.into()),
            f::PEER_INODE if socket.family == AF_UNIX => Value::Uint(socket.peer_inode),
            // Where not all descriptors could be read, an owner may only be unknown.
            f::ORPHAN if self.fd.fd < 0 && self.record.flags & flag::UNREAD != 0 => {
                Value::Missing(Missing::Unread(0))
            }
            f::ORPHAN => Value::Bool(self.fd.fd < 0),
            _ => Value::Missing(Missing::Unset),
        }
    }

    /// Length of the socket part behind the fixed part.
    fn skip(&self) -> usize {
        if self.socket.is_some() { (self.fd.socket_len as usize).max(Socket::SIZE) } else { 0 }
    }

    fn path(&self) -> Value<'_> {
        let read = self.record.text(Fd::SIZE, self.skip(), self.fd.path_len as usize);
        if !read.is_empty() {
            return Value::Text(read);
        }
        if self.socket.is_some() {
            return Value::Text(self.path.get_or_init(|| format!("socket:[{}]", self.fd.inode).into_bytes()));
        }
        Value::Missing(if self.record.flags & flag::UNREAD != 0 {
            Missing::Unread(0)
        } else {
            Missing::Unset
        })
    }

    /// Its own name, else its peer's; `@` stands for the NUL of an abstract name.
    fn unix_path(&self, socket: &Socket) -> &[u8] {
        let at = self.skip() + self.fd.path_len as usize;
        let own = self.record.text(Fd::SIZE, at, socket.name_len.into());
        let peer = self.record.text(Fd::SIZE, at + usize::from(socket.name_len), socket.peer_len.into());
        let name = if own.is_empty() { peer } else { own };
        if !name.contains(&0) {
            return name;
        }
        self.unix.get_or_init(|| {
            // A path ends at its NUL; an abstract name begins with one and may hold more.
            let (lead, rest) = match name.split_first() {
                Some((0, rest)) => (true, rest),
                _ => (false, name.split(|b| *b == 0).next().unwrap_or_default()),
            };
            let mut shown = Vec::with_capacity(name.len());
            if lead {
                shown.push(b'@');
            }
            shown.extend(rest.iter().map(|b| if *b == 0 { b'@' } else { *b }));
            shown
        })
    }

    fn memory(&self) -> bool {
        symbol::FD_TYPE.name(self.fd.fd_type.into()) == Some("memfd")
    }

    /// As lsof's TYPE column.
    fn kind(&self) -> &'static str {
        if let Some(socket) = &self.socket {
            return match socket.family {
                AF_UNIX => "unix",
                AF_INET => "IPv4",
                AF_INET6 => "IPv6",
                16 => "netlink",
                17 => "pack",
                _ => "sock",
            };
        }
        match self.fd.mode & S_IFMT {
            S_IFREG => "REG",
            0o040_000 => "DIR",
            0o020_000 => "CHR",
            0o060_000 => "BLK",
            0o010_000 => "FIFO",
            0o120_000 => "LINK",
            0o140_000 => "sock",
            _ => "a_inode",
        }
    }
}

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;

fn address(family: u16, bytes: [u8; 16]) -> IpAddr {
    if family == AF_INET {
        let [a, b, c, d, ..] = bytes;
        return IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    }
    IpAddr::V6(Ipv6Addr::from(bytes))
}
