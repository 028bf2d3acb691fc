//! Sockets from the kernel's sock_diag netlink interface, sock_diag(7): it tells what the text files
//! do not (a unix socket's peer, a listener's backlog, a netlink socket's type) and cannot be
//! deceived by newlines and `@` in unix names.
//!
//! One request a family: `nlmsghdr`, then the family's request; the answers are messages of
//! `nlmsghdr`, a fixed part and attributes, all in this machine's byte order but for ports and
//! addresses. Layouts: include/uapi/linux/{netlink,sock_diag,inet_diag,unix_diag,netlink_diag}.h.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nabe_event::record::Socket;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::net::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLOSE, Found, Name, RAW, TCP};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// NLM_F_REQUEST | NLM_F_DUMP.
const DUMP: u16 = 0x301;
const HEADER: usize = 16;
/// The kernel fills at most 32 KiB at a time.
const BUFFER: usize = 64 << 10;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Family, type, protocol; the protocol of raw sockets is all of them.
    Inet(u16, u16, u16),
    Unix,
    Netlink,
}

/// A connection to the kernel in one network namespace.
pub(super) struct Diag {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Diag {
    /// Connects in the reader's own network namespace.
    pub(super) fn here() -> Result<Self, Errno> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        // The kernel answers within the request; a deadline costs nothing, hanging would.
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(2)))?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Connects in a network namespace; the socket stays in it. Takes CAP_SYS_ADMIN.
    pub(super) fn of(namespace: &OwnedFd) -> Result<Self, Errno> {
        within(namespace, Self::here)?
    }

    /// Calls `each` with every socket of a kind; says whether the kernel could tell.
    pub(super) fn dump(&mut self, ask: Ask, mut each: impl FnMut(Found<'_>)) -> Result<(), Errno> {
        rustix::net::send(&self.socket, &ask.request(), SendFlags::empty())?;
        loop {
            let (got, len) = match rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            if len > got {
                return Err(Errno::MSGSIZE);
            }
            for message in Messages(self.buffer.get(..got).unwrap_or_default()) {
                match message {
                    (NLMSG_DONE, body) if u32_at(body, 0) == 0 => return Ok(()),
                    (NLMSG_DONE, body) => return Err(error(body)),
                    (NLMSG_ERROR, body) => return Err(error(body)),
                    (SOCK_DIAG_BY_FAMILY, body) => {
                        if let Some(found) = ask.answer(body) {
                            each(found);
                        }
                    }
                    _ => {}
                }
            }
            if got == 0 {
                return Err(Errno::IO);
            }
        }
    }
}

/// Runs `work` on a thread that has entered a network namespace and ends afterwards. Takes
/// CAP_SYS_ADMIN.
pub(super) fn within<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> T + Send) -> Result<T, Errno> {
    std::thread::scope(|scope| {
        let enter = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        let thread = std::thread::Builder::new().spawn_scoped(scope, enter);
        thread.map_err(|_| Errno::AGAIN)?.join().unwrap_or(Err(Errno::IO))
    })
}

/// The messages of a datagram: type and body.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = u32_at(self.0, 0) as usize;
        let body = self.0.get(HEADER..len)?;
        let kind = u16_at(self.0, 4);
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    }
}

/// The attributes behind the fixed part of a message: type and value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16_at(self.0, 0));
        let value = self.0.get(4..len)?;
        let kind = u16_at(self.0, 2);
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl Ask {
    /// The request.
    fn request(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(56);
        let all = u32::MAX.to_ne_bytes();
        let (none, cookie) = ([0; 4], [0xff; 8]);
        match self {
            Self::Inet(family, sock_type, protocol) => {
                // 255 is every raw socket; the fourth byte chooses one protocol of them, 0 all.
                let protocol = if sock_type == RAW { 255 } else { protocol as u8 };
                body.extend_from_slice(&[family as u8, protocol, 0, 0]);
                body.extend_from_slice(&all);
                body.extend_from_slice(&[0; 40]);
                body.extend_from_slice(&cookie);
            }
            Self::Unix => {
                // Name, peer, queues, uid.
                const SHOW: u32 = 0x1 | 0x4 | 0x10 | 0x40;
                body.extend_from_slice(&[AF_UNIX as u8, 0, 0, 0]);
                body.extend_from_slice(&all);
                body.extend_from_slice(&none);
                body.extend_from_slice(&SHOW.to_ne_bytes());
                body.extend_from_slice(&cookie);
            }
            Self::Netlink => {
                // Every protocol; memory.
                body.extend_from_slice(&[AF_NETLINK as u8, 255, 0, 0]);
                body.extend_from_slice(&none);
                body.extend_from_slice(&1u32.to_ne_bytes());
                body.extend_from_slice(&cookie);
            }
        }
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend_from_slice(&DUMP.to_ne_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(&body);
        message
    }

    /// The socket of an answer; `None` for one that is too short to be one.
    fn answer(self, body: &[u8]) -> Option<Found<'_>> {
        match self {
            Self::Inet(_, sock_type, protocol) => inet(body, sock_type, protocol),
            Self::Unix => unix(body),
            Self::Netlink => netlink_answer(body),
        }
    }
}

/// inet_diag_msg.
fn inet(body: &[u8], sock_type: u16, protocol: u16) -> Option<Found<'_>> {
    let [family, state, ..] = *body.first_chunk::<72>()?;
    let mut socket = Socket {
        family: family.into(),
        sock_type,
        protocol,
        state: state.into(),
        src_port: u16::from_be(u16_at(body, 4)),
        dst_port: u16::from_be(u16_at(body, 6)),
        src_addr: address(body, 8, family),
        dst_addr: address(body, 24, family),
        cookie: u64_at(body, 44),
        rx_queue: u32_at(body, 56),
        tx_queue: u32_at(body, 60),
        uid: u32_at(body, 64),
        ..Socket::default()
    };
    if sock_type == RAW {
        // What stands in the place of the port is the protocol.
        (socket.protocol, socket.extra) = (socket.src_port, socket.src_port.into());
        (socket.src_port, socket.dst_port) = (0, 0);
    }
    let inode = u32_at(body, 68).into();
    Some(Found { inode, socket, name: Name::default() })
}

/// unix_diag_msg.
fn unix(body: &[u8]) -> Option<Found<'_>> {
    let [_, sock_type, state, ..] = *body.first_chunk::<16>()?;
    let mut socket = Socket {
        family: AF_UNIX,
        sock_type: sock_type.into(),
        state: state.into(),
        cookie: u64_at(body, 8),
        ..Socket::default()
    };
    let mut text = &[][..];
    for (kind, value) in Attributes(body.get(16..)?) {
        match kind {
            0 => text = value,
            2 => socket.peer_inode = u32_at(value, 0).into(),
            4 => (socket.rx_queue, socket.tx_queue) = (u32_at(value, 0), u32_at(value, 4)),
            7 => socket.uid = u32_at(value, 0),
            _ => {}
        }
    }
    // A path has its NUL behind it; an abstract name begins with one.
    if text.first() != Some(&0) {
        text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    }
    Some(Found { inode: u32_at(body, 4).into(), socket, name: Name { text, is_abstract: false } })
}

/// netlink_diag_msg.
fn netlink_answer(body: &[u8]) -> Option<Found<'_>> {
    let [_, sock_type, protocol, ..] = *body.first_chunk::<28>()?;
    let mut socket = Socket {
        family: AF_NETLINK,
        sock_type: sock_type.into(),
        protocol: protocol.into(),
        // Its own states (0 and 1) are none of the field's.
        state: CLOSE,
        extra: u32_at(body, 4),
        cookie: u64_at(body, 20),
        ..Socket::default()
    };
    for (kind, value) in Attributes(body.get(28..)?) {
        if kind == 0 {
            (socket.rx_queue, socket.tx_queue) = (u32_at(value, 0), u32_at(value, 8));
        }
    }
    Some(Found { inode: u32_at(body, 16).into(), socket, name: Name::default() })
}

/// An address at `at`, of which IPv4 uses the first 4 bytes; what lies behind is not defined then.
fn address(body: &[u8], at: usize, family: u8) -> [u8; 16] {
    let len = match u16::from(family) {
        AF_INET => 4,
        AF_INET6 => 16,
        _ => 0,
    };
    let mut address = [0; 16];
    if let (Some(slot), Some(bytes)) = (address.get_mut(..len), body.get(at..at + len)) {
        slot.copy_from_slice(bytes);
    }
    address
}

/// The error at the start of a message, a negative number there.
fn error(body: &[u8]) -> Errno {
    Errno::from_raw_os_error((u32_at(body, 0) as i32).saturating_neg().clamp(1, 4095))
}

/// Numbers at a place; 0 where the bytes end before.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u16::from_ne_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u64::from_ne_bytes(*chunk))
}

/// Every way to ask, for tests and fuzzing.
pub(super) const ASKS: [Ask; 4] =
    [Ask::Inet(AF_INET, 1, TCP), Ask::Inet(AF_INET, RAW, 0), Ask::Unix, Ask::Netlink];

/// Reads a datagram as answers to every request, for tests and fuzzing.
pub(super) fn walk(datagram: &[u8]) -> usize {
    let answers = |ask: Ask| Messages(datagram).filter_map(move |(_, body)| ask.answer(body)).count();
    ASKS.into_iter().map(answers).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layouts() {
        let lens = ASKS.map(|ask| ask.request().len() - HEADER);
        assert_eq!(lens, [56, 56, 24, 20]);

        let mut body = vec![0; 72];
        body[..4].copy_from_slice(&[2, 10, 0, 0]);
        body[4..6].copy_from_slice(&8080u16.to_be_bytes());
        body[8..12].copy_from_slice(&[127, 0, 0, 1]);
        body[12] = 9;
        body[56..60].copy_from_slice(&3u32.to_ne_bytes());
        body[60..64].copy_from_slice(&128u32.to_ne_bytes());
        body[64..68].copy_from_slice(&1000u32.to_ne_bytes());
        body[68..72].copy_from_slice(&77u32.to_ne_bytes());
        let found = inet(&body, 1, TCP).unwrap();
        let s = found.socket;
        assert_eq!(
            (found.inode, s.state, s.src_port, s.rx_queue, s.tx_queue, s.uid),
            (77, 10, 8080, 3, 128, 1000)
        );
        assert_eq!(s.src_addr, [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(inet(&body[..71], 1, TCP), None);
    }

    #[test]
    fn unix_attributes() {
        let mut body = vec![1, 1, 10, 0];
        body.extend_from_slice(&5u32.to_ne_bytes());
        body.extend_from_slice(&[0; 8]);
        let mut attribute = |kind: u16, value: &[u8]| {
            body.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        };
        attribute(0, b"/run/a\nb\0");
        attribute(2, &6u32.to_ne_bytes());
        attribute(9, b"x");
        attribute(7, &1000u32.to_ne_bytes());
        let found = unix(&body).unwrap();
        assert_eq!((found.inode, found.name.text, found.socket.peer_inode), (5, &b"/run/a\nb"[..], 6));
        assert_eq!((found.socket.state, found.socket.uid), (10, 1000));
    }

    #[test]
    fn the_kernel_answers() {
        let mut diag = Diag::here().unwrap();
        let pair = std::os::unix::net::UnixStream::pair().unwrap();
        let mut names = 0;
        match diag.dump(Ask::Unix, |found| names += usize::from(found.inode != 0)) {
            Ok(()) => assert!(names >= 2),
            Err(error) => println!("skipped: no unix_diag here: {error}"),
        }
        drop(pair);
        assert!(diag.dump(Ask::Inet(200, 1, TCP), |_| ()).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            walk(&bytes);
        }

        #[test]
        fn nor_on_whole_messages(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
            message.resize(HEADER, 0);
            message.extend_from_slice(&body);
            walk(&message);
        }
    }
}
