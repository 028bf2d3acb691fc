//! As much of rtnetlink(7) as a bridge with cables into containers needs.
//!
//! Layout: `struct nlmsghdr` (length, type, flags, sequence, port), a header per kind of message
//! (`ifinfomsg`, `ifaddrmsg`, `rtmsg`), then attributes of length, type and padded value, in the machine's
//! byte order; addresses in the network's (linux/netlink.h, linux/rtnetlink.h, linux/if_link.h).

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const REQUEST_ACK: u16 = 1 | 4;
const CREATE: u16 = 0x400;
const EXCLUSIVE: u16 = 0x200;
const IFNAME: u16 = 3;
const MASTER: u16 = 10;
const LINKINFO: u16 = 18;
const NET_NS_PID: u16 = 19;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const UP: u32 = 1;
const INET: u8 = 2;
const INET6: u8 = 10;
/// `IFA_F_NODAD`.
const NO_DUPLICATES: u8 = 2;

/// A socket to the kernel's routing tables, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// The body of a message.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    /// `struct ifinfomsg`.
    fn link(index: u32, flags: u32) -> Self {
        let mut body = vec![0; 4];
        for word in [index, flags, flags] {
            body.extend(word.to_ne_bytes());
        }
        Self(body)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn name(self, kind: u16, name: &str) -> Self {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    fn number(self, kind: u16, number: u32) -> Self {
        self.attribute(kind, &number.to_ne_bytes())
    }
}

impl Netlink {
    /// Opens one.
    pub(super) fn open() -> io::Result<Self> {
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks, and waits for the answer or the acknowledgement.
    fn call(&mut self, kind: u16, flags: u16, body: &Body) -> io::Result<Vec<u8>> {
        self.sequence += 1;
        let length = u32::try_from(16 + body.0.len()).unwrap_or(u32::MAX);
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((flags | REQUEST_ACK).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(&body.0);
        rustix::net::send(&self.socket, &message, SendFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0_u8; 32 << 10];
        loop {
            let (read, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = buffer.get(..read).unwrap_or_default();
            while let Some((kind, sequence, content, after)) = split(rest) {
                rest = after;
                if sequence != self.sequence {
                    continue;
                }
                if kind != ERROR {
                    answer = content.to_vec();
                    continue;
                }
                let errno = content.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                return if errno == 0 { Ok(answer) } else { Err(io::Error::from_raw_os_error(-errno)) };
            }
        }
    }

    /// A link's index.
    pub(super) fn index(&mut self, name: &str) -> io::Result<u32> {
        let answer = self.call(GET_LINK, 0, &Body::link(0, 0).name(IFNAME, name))?;
        let index =
            answer.get(4..8).and_then(|bytes| bytes.first_chunk()).map(|bytes| u32::from_ne_bytes(*bytes));
        index.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Makes a bridge, unless it is there.
    pub(super) fn bridge(&mut self, name: &str) -> io::Result<()> {
        let info = Body::default().name(INFO_KIND, "bridge");
        let body = Body::link(0, UP).name(IFNAME, name).attribute(LINKINFO, &info.0);
        match self.call(NEW_LINK, CREATE | EXCLUSIVE, &body) {
            Err(error) if error.raw_os_error() == Some(17) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Makes a cable between a bridge and the namespace of a process, where its end is `eth0`.
    pub(super) fn cable(&mut self, name: &str, bridge: u32, pid: i32) -> io::Result<()> {
        let peer = Body::link(0, 0).name(IFNAME, "eth0").number(NET_NS_PID, pid.cast_unsigned());
        let data = Body::default().attribute(VETH_PEER, &peer.0);
        let info = Body::default().name(INFO_KIND, "veth").attribute(INFO_DATA, &data.0);
        let body = Body::link(0, UP).name(IFNAME, name).number(MASTER, bridge).attribute(LINKINFO, &info.0);
        self.call(NEW_LINK, CREATE | EXCLUSIVE, &body).map(drop)
    }

    /// Takes a link away; one that is not there is fine.
    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        match self.call(DELETE_LINK, 0, &Body::link(0, 0).name(IFNAME, name)) {
            Err(error) if error.raw_os_error() == Some(19) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sets a link up.
    pub(super) fn up(&mut self, index: u32) -> io::Result<()> {
        self.call(NEW_LINK, 0, &Body::link(index, UP)).map(drop)
    }

    /// Gives a link an address, unless it has it.
    pub(super) fn address(&mut self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let (family, octets) = bytes(address);
        // Nobody else can have an IPv6 address of ours: it need not be asked for.
        let mut head = vec![family, prefix, NO_DUPLICATES, 0];
        head.extend(index.to_ne_bytes());
        let body = Body(head).attribute(1, &octets).attribute(2, &octets);
        match self.call(NEW_ADDRESS, CREATE | EXCLUSIVE, &body) {
            Err(error) if error.raw_os_error() == Some(17) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sends everything else to a gateway.
    pub(super) fn default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let (family, octets) = bytes(gateway);
        // Table main, made by an administrator, scope universe, unicast.
        let head = Body(vec![family, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
        let body = head.attribute(5, &octets).number(4, index);
        self.call(NEW_ROUTE, CREATE | EXCLUSIVE, &body).map(drop)
    }
}

/// The family of an address, and the address.
fn bytes(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (INET, address.octets().into()),
        IpAddr::V6(address) => (INET6, address.octets().into()),
    }
}

/// Type, sequence and content of the first message, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let sequence = u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let content = bytes.get(16..length)?;
    Some((kind, sequence, content, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded() {
        let body = Body::default().name(IFNAME, "ab");
        assert_eq!(body.0.len(), 8);
        assert_eq!(body.0.get(..2), Some(&7_u16.to_ne_bytes()[..]));
    }

    #[test]
    fn broken_answers_end() {
        assert!(split(&[]).is_none());
        assert!(split(&[255; 40]).is_none());
        let mut empty = [0_u8; 16];
        empty[0] = 3;
        assert!(split(&empty).is_none());
    }
}
