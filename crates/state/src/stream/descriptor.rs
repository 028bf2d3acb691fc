//! Descriptors of threads: what each refers to, and the name that it is shown under.

use core::fmt::Write as _;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it; sysdig's letters and words stand in `letter` and `word`")]
pub enum Kind {
    #[default]
    Unknown,
    File,
    Directory,
    Ipv4,
    Ipv6,
    Ipv4Server,
    Ipv6Server,
    Fifo,
    Unix,
    Event,
    Unsupported,
    Signal,
    EventPoll,
    Inotify,
    Timer,
    Netlink,
    Bpf,
    UserFault,
    IoUring,
    Memfd,
    Pidfd,
}

impl Kind {
    /// `fd.typechar`.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Unknown => "o",
            Self::File => "f",
            Self::Directory => "d",
            Self::Ipv4 | Self::Ipv4Server => "4",
            Self::Ipv6 | Self::Ipv6Server => "6",
            Self::Fifo => "p",
            Self::Unix => "u",
            Self::Event => "e",
            Self::Unsupported => "X",
            Self::Signal => "s",
            Self::EventPoll => "l",
            Self::Inotify => "i",
            Self::Timer => "t",
            Self::Netlink => "n",
            Self::Bpf => "b",
            Self::UserFault => "u",
            Self::IoUring => "r",
            Self::Memfd => "m",
            Self::Pidfd => "P",
        }
    }

    /// `fd.type`; `None` for what has no word.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::Unknown | Self::Unsupported => return None,
            Self::File => "file",
            Self::Directory => "directory",
            Self::Ipv4 | Self::Ipv4Server => "ipv4",
            Self::Ipv6 | Self::Ipv6Server => "ipv6",
            Self::Fifo => "pipe",
            Self::Unix => "unix",
            Self::Event => "event",
            Self::Signal => "signalfd",
            Self::EventPoll => "eventpoll",
            Self::Inotify => "inotify",
            Self::Timer => "timerfd",
            Self::Netlink => "netlink",
            Self::Bpf => "bpf",
            Self::UserFault => "userfaultfd",
            Self::IoUring => "io_uring",
            Self::Memfd => "memfd",
            Self::Pidfd => "pidfd",
        })
    }

    /// Whether it is an IPv4 or IPv6 socket that is (to be) connected.
    #[must_use]
    pub const fn is_connection(self) -> bool {
        matches!(self, Self::Ipv4 | Self::Ipv6)
    }

    /// Whether it is an IPv4 or IPv6 socket that waits for connections.
    #[must_use]
    pub const fn is_server(self) -> bool {
        matches!(self, Self::Ipv4Server | Self::Ipv6Server)
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Transport {
    #[default]
    Unknown,
    Tcp,
    Udp,
    Icmp,
    Raw,
}

impl Transport {
    /// By libscap's number.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            2 => Self::Tcp,
            3 => Self::Udp,
            4 => Self::Icmp,
            5 => Self::Raw,
            _ => Self::Unknown,
        }
    }

    /// The letter behind a socket's.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Tcp => "t",
            Self::Udp => "u",
            Self::Icmp => "i",
            Self::Raw => "r",
        }
    }

    /// `fd.l4proto`.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        Some(match self {
            Self::Unknown => return None,
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Raw => "raw",
        })
    }
}

/// Which end of a connection the owner is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Not known.
    #[default]
    None,
    /// It connected.
    Client,
    /// It accepted.
    Server,
}

/// An open descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What it refers to.
    pub kind: Kind,
    /// The name that it is shown under.
    pub name: Arc<[u8]>,
    /// The path as the program gave it, where that is another one.
    pub raw_name: Option<Arc<[u8]>>,
    /// The schema's open flags.
    pub open_flags: u32,
    /// The device of the file.
    pub device: u32,
    /// Its inode.
    pub inode: u64,
    /// The ends of a connection, where there are any: most descriptors have none.
    pub(crate) ends: Option<Box<(SocketAddr, SocketAddr)>>,
    /// The protocol.
    pub transport: Transport,
    /// Which end the owner is.
    pub role: Role,
    /// Whether it is connected.
    pub connected: bool,
    /// A number for its name and ends: another one whenever they may be others. 0 before it is kept.
    pub generation: u64,
}

/// No address.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Default for Descriptor {
    fn default() -> Self {
        Self {
            kind: Kind::Unknown,
            name: Arc::from([]),
            raw_name: None,
            open_flags: 0,
            device: 0,
            inode: 0,
            ends: None,
            transport: Transport::Unknown,
            role: Role::None,
            connected: false,
            generation: 0,
        }
    }
}

impl Descriptor {
    /// One of which only the kind and the name are known.
    #[must_use]
    pub fn named(kind: Kind, name: &[u8]) -> Self {
        Self { kind, name: name.into(), ..Self::default() }
    }

    /// One with these ends.
    #[must_use]
    pub fn between(kind: Kind, source: SocketAddr, destination: SocketAddr) -> Self {
        Self { kind, ends: Some(Box::new((source, destination))), ..Self::default() }
    }

    /// The client's end; the local one of a server.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        self.ends.as_ref().map_or(NOWHERE, |ends| ends.0)
    }

    /// The server's end.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        self.ends.as_ref().map_or(NOWHERE, |ends| ends.1)
    }

    /// Sets both ends.
    pub fn set_ends(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.ends = Some(Box::new((source, destination)));
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let ends = self.ends.as_ref().map_or(0, |_| size_of::<(SocketAddr, SocketAddr)>());
        let raw_name = self.raw_name.as_ref().map_or(0, |name| name.len());
        size_of::<Self>() + self.name.len() + raw_name + ends
    }

    /// The protocol, where it is known for sure: a socket that is not connected has none, but raw.
    #[must_use]
    pub fn protocol(&self) -> Transport {
        match self.kind {
            Kind::Ipv4 | Kind::Ipv6 if self.role == Role::None && self.transport != Transport::Raw => {
                Transport::Unknown
            }
            Kind::Ipv4 | Kind::Ipv6 | Kind::Ipv4Server | Kind::Ipv6Server => self.transport,
            _ => Transport::Unknown,
        }
    }

    /// Names a connection after its ends.
    pub fn name_connection(&mut self) {
        let mut name = String::new();
        match self.transport {
            Transport::Tcp | Transport::Udp => {
                address(&mut name, self.source());
                name.push_str("->");
                address(&mut name, self.destination());
            }
            Transport::Icmp | Transport::Raw => {
                let _ = write!(name, "{}->{}", self.source().ip(), self.destination().ip());
            }
            Transport::Unknown => name.push_str("<unknown>"),
        }
        self.name = name.into_bytes().into();
    }

    /// Whether it is a connection between these two, whichever way round.
    pub(crate) fn is_between(&self, kind: Kind, one: SocketAddr, other: SocketAddr) -> bool {
        let known = (self.source(), self.destination());
        self.kind == kind && (known == (one, other) || known == (other, one))
    }

    /// Becomes a connection from a client to a server. What is not told of the server (address and
    /// port are zeros) stays as it is known; a client that is not told may be another one.
    pub(crate) fn complete_ends(&mut self, kind: Kind, client: SocketAddr, server: SocketAddr) {
        self.kind = kind;
        self.set_ends(client, completed(server, self.destination()));
    }

    /// Exchanges the ends.
    pub fn swap_ends(&mut self) {
        self.set_ends(self.destination(), self.source());
    }
}

/// `told` with that of `known` in the place of zeros.
pub(crate) fn completed(mut told: SocketAddr, known: SocketAddr) -> SocketAddr {
    if told.ip().is_unspecified() && (told == NOWHERE || told.is_ipv4() == known.is_ipv4()) {
        told.set_ip(known.ip());
    }
    if told.port() == 0 {
        told.set_port(known.port());
    }
    told
}

/// `address:port`, without brackets, as sysdig writes it.
pub(crate) fn address(out: &mut String, address: SocketAddr) {
    let _ = write!(out, "{}:{}", address.ip(), address.port());
}

/// The two ends in a socket tuple: `u8 family`, then address, port, address, port.
pub(crate) fn tuple(bytes: &[u8]) -> Option<(Kind, SocketAddr, SocketAddr)> {
    let (family, rest) = bytes.split_first()?;
    match (family, rest.len()) {
        (2, 12) => {
            let (source, destination) = rest.split_at_checked(6)?;
            Some((Kind::Ipv4, end::<4>(source)?, end::<4>(destination)?))
        }
        (10, 36) => {
            let (source, destination) = rest.split_at_checked(18)?;
            let (source, destination) = (end::<16>(source)?, end::<16>(destination)?);
            // Both ends in IPv4's clothes: a connection over IPv4 through an IPv6 socket.
            match (unmapped(source), unmapped(destination)) {
                (Some(source), Some(destination)) => Some((Kind::Ipv4, source, destination)),
                _ => Some((Kind::Ipv6, source, destination)),
            }
        }
        _ => None,
    }
}

/// The address of a socket: `u8 family`, then address and port.
pub(crate) fn single(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first()?;
    match (family, rest.len()) {
        (2, 6) => end::<4>(rest),
        (10, 18) => end::<16>(rest),
        _ => None,
    }
}

fn end<const N: usize>(bytes: &[u8]) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let (ip, port) = bytes.split_first_chunk::<N>()?;
    Some(SocketAddr::new(IpAddr::from(*ip), u16::from_le_bytes(port.try_into().ok()?)))
}

/// The IPv4 address in an IPv6 one; the unspecified one counts as both.
pub(crate) fn unmapped(address: SocketAddr) -> Option<SocketAddr> {
    let IpAddr::V6(ip) = address.ip() else { return None };
    let ip = if ip.is_unspecified() { Ipv4Addr::UNSPECIFIED } else { ip.to_ipv4_mapped()? };
    Some(SocketAddr::new(ip.into(), address.port()))
}

/// The path in a unix tuple: two pointers, then text.
pub(crate) fn unix_path(bytes: &[u8]) -> &[u8] {
    let path = bytes.get(17..).unwrap_or_default();
    path.split(|byte| *byte == 0).next().unwrap_or_default()
}
