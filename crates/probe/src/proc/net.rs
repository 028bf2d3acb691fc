//! `/proc/PID/net/{tcp,udp,raw,icmp,unix,netlink,packet}`: a header line, then one socket a line
//! (net/ipv4/tcp_ipv4.c and its kin). Columns are found by place: the headers of the files do not
//! name them all.

use nabe_event::record::Socket;

use super::diag::Ask;
use super::text::{number, number32, radix, words};

/// `AF_*`, `SOCK_*`, `IPPROTO_*`, TCP states: include/linux/socket.h, net.h, in.h, tcp_states.h.
pub(super) const AF_UNIX: u16 = 1;
pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
pub(super) const AF_NETLINK: u16 = 16;
pub(super) const AF_PACKET: u16 = 17;
pub(super) const STREAM: u16 = 1;
pub(super) const DGRAM: u16 = 2;
pub(super) const RAW: u16 = 3;
pub(super) const TCP: u16 = 6;
pub(super) const UDP: u16 = 17;
pub(super) const UDPLITE: u16 = 136;
pub(super) const ESTABLISHED: u16 = 1;
pub(super) const CLOSE: u16 = 7;
pub(super) const LISTEN: u16 = 10;

/// A socket of one of the files, and its inode (0: it belongs to no descriptor any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) inode: u64,
    pub(super) socket: Socket,
    /// Name of a unix socket; a leading NUL marks an abstract one.
    pub(super) name: Name<'a>,
}

/// A unix name as the text file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// The text. The file writes `@` for NUL; a path that begins with `@` looks the same there.
    pub(super) text: &'a [u8],
    /// Whether the first byte stands for NUL.
    pub(super) is_abstract: bool,
}

/// The layouts of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// tcp, udp, udplite, raw, icmp and their IPv6 kin: `(family, type, protocol)`.
    Inet(u16, u16, u16),
    Unix,
    Netlink,
    Packet,
}

/// File below `/proc/PID/net`, its layout, and how the kernel is asked for the same sockets.
pub(super) static FILES: &[(&core::ffi::CStr, Layout, Option<Ask>)] = &[
    (c"net/tcp", Layout::Inet(AF_INET, STREAM, TCP), Some(Ask::Inet(AF_INET, STREAM, TCP))),
    (c"net/tcp6", Layout::Inet(AF_INET6, STREAM, TCP), Some(Ask::Inet(AF_INET6, STREAM, TCP))),
    (c"net/udp", Layout::Inet(AF_INET, DGRAM, UDP), Some(Ask::Inet(AF_INET, DGRAM, UDP))),
    (c"net/udp6", Layout::Inet(AF_INET6, DGRAM, UDP), Some(Ask::Inet(AF_INET6, DGRAM, UDP))),
    (c"net/udplite", Layout::Inet(AF_INET, DGRAM, UDPLITE), Some(Ask::Inet(AF_INET, DGRAM, UDPLITE))),
    (c"net/udplite6", Layout::Inet(AF_INET6, DGRAM, UDPLITE), Some(Ask::Inet(AF_INET6, DGRAM, UDPLITE))),
    (c"net/raw", Layout::Inet(AF_INET, RAW, 0), Some(Ask::Inet(AF_INET, RAW, 0))),
    (c"net/raw6", Layout::Inet(AF_INET6, RAW, 0), Some(Ask::Inet(AF_INET6, RAW, 0))),
    (c"net/icmp", Layout::Inet(AF_INET, DGRAM, 1), None),
    (c"net/icmp6", Layout::Inet(AF_INET6, DGRAM, 58), None),
    (c"net/unix", Layout::Unix, Some(Ask::Unix)),
    (c"net/netlink", Layout::Netlink, Some(Ask::Netlink)),
    (c"net/packet", Layout::Packet, None),
];

impl Layout {
    /// Address family of the sockets in the file.
    pub(super) const fn family(self) -> u16 {
        match self {
            Self::Inet(family, ..) => family,
            Self::Unix => AF_UNIX,
            Self::Netlink => AF_NETLINK,
            Self::Packet => AF_PACKET,
        }
    }

    /// Socket type, where all sockets of the file have the same.
    pub(super) const fn sock_type(self) -> Option<u16> {
        match self {
            Self::Inet(_, sock_type, _) => Some(sock_type),
            _ => None,
        }
    }

    /// The socket of a line; `None` for the header and for what is broken.
    pub(super) fn line(self, line: &[u8]) -> Option<Found<'_>> {
        match self {
            Self::Inet(family, sock_type, protocol) => inet(line, family, sock_type, protocol),
            Self::Unix => unix(line),
            Self::Netlink => netlink(line),
            Self::Packet => packet(line),
        }
    }
}

/// `sl local rem st tx:rx tr:when retrnsmt uid timeout inode …`
fn inet(line: &[u8], family: u16, sock_type: u16, protocol: u16) -> Option<Found<'_>> {
    let mut column = words(line).skip(1);
    let (src_addr, src_port) = endpoint(column.next()?)?;
    let (dst_addr, dst_port) = endpoint(column.next()?)?;
    let state = radix(column.next()?, 16)?;
    let (tx_queue, rx_queue) = pair(column.next()?)?;
    let uid = number32(column.nth(2)?)?;
    let inode = number(column.nth(1)?)?;
    let mut socket = Socket {
        family,
        sock_type,
        protocol,
        state: u16::try_from(state).ok()?,
        src_port,
        dst_port,
        src_addr,
        dst_addr,
        uid,
        rx_queue: u32::try_from(rx_queue).unwrap_or(u32::MAX),
        tx_queue: u32::try_from(tx_queue).unwrap_or(u32::MAX),
        ..Socket::default()
    };
    if sock_type == RAW {
        // What stands in the place of the port is the protocol.
        (socket.protocol, socket.extra) = (src_port, u32::from(src_port));
        (socket.src_port, socket.dst_port) = (0, 0);
    }
    Some(Found { inode, socket, name: Name::default() })
}

/// `0100007F:1F90`: 32-bit words of the address as numbers of this machine, port.
fn endpoint(text: &[u8]) -> Option<([u8; 16], u16)> {
    let colon = memchr::memchr(b':', text)?;
    let (words, port) = (text.get(..colon)?, text.get(colon + 1..)?);
    if !matches!(words.len(), 8 | 32) {
        return None;
    }
    let mut address = [0; 16];
    for (slot, word) in address.chunks_exact_mut(4).zip(words.chunks_exact(8)) {
        slot.copy_from_slice(&u32::try_from(radix(word, 16)?).ok()?.to_ne_bytes());
    }
    Some((address, u16::try_from(radix(port, 16)?).ok()?))
}

/// `00000000:00000000`
fn pair(text: &[u8]) -> Option<(u64, u64)> {
    let colon = memchr::memchr(b':', text)?;
    Some((radix(text.get(..colon)?, 16)?, radix(text.get(colon + 1..)?, 16)?))
}

/// `Num: RefCount Protocol Flags Type St Inode [Path]`. A path may hold newlines, so a line that
/// does not look like a socket is the rest of one; a forged one cannot be told here (the diag
/// interface, which is asked first, has no such doubt).
fn unix(line: &[u8]) -> Option<Found<'_>> {
    const ACCEPTS: u64 = 1 << 16;
    let mut column = words(line);
    let _address = column.next().filter(|address| address.last() == Some(&b':'))?;
    let flags = radix(column.nth(2)?, 16)?;
    let sock_type = u16::try_from(radix(column.next()?, 16)?).ok()?;
    // SS_*: 1 unconnected, 2 connecting, 3 connected; 4 and 2 of sockets without a descriptor.
    let state = match radix(column.next()?, 16)? {
        _ if flags & ACCEPTS != 0 => LISTEN,
        2 | 3 => ESTABLISHED,
        _ => CLOSE,
    };
    let inode_text = column.next()?;
    let inode = number(inode_text)?;
    // One blank behind the inode, then the path with whatever blanks it has.
    let end = (inode_text.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize) + inode_text.len();
    let text = line.get(end..)?.strip_prefix(b" ").unwrap_or_default();
    let socket = Socket { family: AF_UNIX, sock_type, state, ..Socket::default() };
    Some(Found { inode, socket, name: Name { text, is_abstract: text.first() == Some(&b'@') } })
}

/// `sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode`
fn netlink(line: &[u8]) -> Option<Found<'_>> {
    let mut column = words(line).skip(1);
    let protocol = u16::try_from(number(column.next()?)?).ok()?;
    let port_id = number32(column.next()?)?;
    let rx_queue = number32(column.nth(1)?)?;
    let tx_queue = number32(column.next()?)?;
    let inode = number(column.nth(3)?)?;
    let socket = Socket {
        family: AF_NETLINK,
        protocol,
        state: CLOSE,
        extra: port_id,
        rx_queue,
        tx_queue,
        ..Socket::default()
    };
    Some(Found { inode, socket, name: Name::default() })
}

/// `sk RefCnt Type Proto Iface R Rmem User Inode`
fn packet(line: &[u8]) -> Option<Found<'_>> {
    let mut column = words(line).skip(2);
    let sock_type = u16::try_from(number(column.next()?)?).ok()?;
    let protocol = u16::try_from(radix(column.next()?, 16)?).ok()?;
    let interface = number32(column.next()?)?;
    let rx_queue = number32(column.nth(1)?)?;
    let uid = number32(column.next()?)?;
    let inode = number(column.next()?)?;
    let socket = Socket {
        family: AF_PACKET,
        sock_type,
        protocol,
        state: CLOSE,
        extra: interface,
        rx_queue,
        uid,
        ..Socket::default()
    };
    Some(Found { inode, socket, name: Name::default() })
}

/// Family, type and protocol of the kernel's protocol names (`struct proto.name`), which the
/// extended attribute `system.sockprotoname` of a socket tells; 0 where the name leaves it open.
pub(super) fn protocol_name(name: &[u8]) -> Option<(u16, u16, u16)> {
    Some(match name {
        b"TCP" => (AF_INET, STREAM, TCP),
        b"TCPv6" => (AF_INET6, STREAM, TCP),
        b"UDP" => (AF_INET, DGRAM, UDP),
        b"UDPv6" => (AF_INET6, DGRAM, UDP),
        b"UDP-Lite" => (AF_INET, DGRAM, UDPLITE),
        b"UDPLITEv6" => (AF_INET6, DGRAM, UDPLITE),
        b"RAW" => (AF_INET, RAW, 0),
        b"RAWv6" => (AF_INET6, RAW, 0),
        b"PING" => (AF_INET, DGRAM, 1),
        b"PINGv6" => (AF_INET6, DGRAM, 58),
        b"MPTCP" => (AF_INET, STREAM, 262),
        b"MPTCPv6" => (AF_INET6, STREAM, 262),
        b"SCTP" => (AF_INET, 0, 132),
        b"SCTPv6" => (AF_INET6, 0, 132),
        b"UNIX" => (AF_UNIX, 0, 0),
        b"UNIX-STREAM" => (AF_UNIX, STREAM, 0),
        b"NETLINK" => (AF_NETLINK, 0, 0),
        b"PACKET" => (AF_PACKET, 0, 0),
        b"KEY" => (15, RAW, 2),
        b"CAN_RAW" => (29, RAW, 1),
        b"CAN_BCM" => (29, DGRAM, 2),
        b"CAN_ISOTP" => (29, DGRAM, 6),
        b"TIPC" => (30, 0, 0),
        b"HCI" | b"L2CAP" | b"RFCOMM" | b"SCO" | b"ISO" | b"BNEP" | b"HIDP" | b"CMTP" => (31, 0, 0),
        b"ALG" => (38, 5, 0),
        b"NFC" | b"NFC_LLCP" => (39, 0, 0),
        b"AF_VSOCK" => (40, 0, 0),
        b"KCM" => (41, 0, 0),
        b"QIPCRTR" => (42, DGRAM, 0),
        b"SMC" | b"SMC6" => (43, STREAM, 0),
        b"XDP" => (44, RAW, 0),
        b"MCTP" => (45, DGRAM, 0),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::text::lines;
    use super::*;

    impl Layout {
        fn parse(self, bytes: &[u8]) -> impl Iterator<Item = Found<'_>> {
            lines(bytes).skip(1).filter_map(move |line| self.line(line))
        }
    }

    fn one(layout: Layout, line: &str) -> Option<Found<'_>> {
        layout.parse(line.as_bytes()).next()
    }

    #[test]
    fn tcp() {
        let text = "header\n   0: 0100007F:1F90 0200000A:0016 0A 00000001:0000000A 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0\n";
        let found = one(Layout::Inet(AF_INET, STREAM, TCP), text).unwrap();
        let address = |a: [u8; 4]| {
            let mut all = [0; 16];
            all[..4].copy_from_slice(&a);
            all
        };
        let want = Socket {
            family: 2,
            sock_type: 1,
            protocol: 6,
            state: 10,
            src_port: 8080,
            dst_port: 22,
            src_addr: address([127, 0, 0, 1]),
            dst_addr: address([10, 0, 0, 2]),
            uid: 1000,
            tx_queue: 1,
            rx_queue: 10,
            ..Socket::default()
        };
        if cfg!(target_endian = "little") {
            assert_eq!(found, Found { inode: 12345, socket: want, name: Name::default() });
        }
    }

    #[test]
    fn tcp6_and_time_wait() {
        let text = "header\n   0: 00000000000000000000000001000000:0050 B80D0120000000000000000001000000:E123 06 00000000:00000000 03:00000176 00000000     0        0 0 3 0000000000000000\n";
        let found = one(Layout::Inet(AF_INET6, STREAM, TCP), text).unwrap();
        assert_eq!((found.inode, found.socket.state, found.socket.src_port), (0, 6, 80));
        if cfg!(target_endian = "little") {
            assert_eq!(found.socket.src_addr, std::net::Ipv6Addr::LOCALHOST.octets());
            assert_eq!(found.socket.dst_addr, "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        }
    }

    #[test]
    fn raw_has_a_protocol_and_no_port() {
        let text = "header\n  58: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 77 2 0000000000000000 0\n";
        let found = one(Layout::Inet(AF_INET, RAW, 0), text).unwrap();
        assert_eq!((found.socket.protocol, found.socket.extra, found.socket.src_port), (1, 1, 0));
    }

    #[test]
    fn unix_names() {
        for (line, inode, sock_type, state, text, is_abstract) in [
            (
                "0000000000000000: 00000002 00000000 00010000 0001 01 123 /run/a b ",
                123,
                1,
                10,
                "/run/a b ",
                false,
            ),
            ("0000000000000000: 00000002 00000000 00000000 0002 01 124 @x@y", 124, 2, 7, "@x@y", true),
            ("0000000000000000: 00000003 00000000 00000000 0005 03 125", 125, 5, 1, "", false),
            ("0000000000000000: 00000003 00000000 00000000 0001 02 0", 0, 1, 1, "", false),
        ] {
            let text_of = format!("header\n{line}\n");
            let found = one(Layout::Unix, &text_of).unwrap();
            assert_eq!(
                (found.inode, found.socket.sock_type, found.socket.state),
                (inode, sock_type, state),
                "{line}"
            );
            assert_eq!(found.name, Name { text: text.as_bytes(), is_abstract });
        }
        assert_eq!(one(Layout::Unix, "header\nrest of a path with a newline"), None);
    }

    #[test]
    fn netlink_and_packet() {
        let found = one(
            Layout::Netlink,
            "header\n0000000000000000 15  4321       00000551 11        12        0     2     0        77\n",
        )
        .unwrap();
        let want = Socket {
            family: 16,
            protocol: 15,
            state: 7,
            extra: 4321,
            rx_queue: 11,
            tx_queue: 12,
            ..Socket::default()
        };
        assert_eq!((found.inode, found.socket), (77, want));
        let found =
            one(Layout::Packet, "header\n0000000000000000 3      3    0003   2     1 9      1000   88\n")
                .unwrap();
        let want = Socket {
            family: 17,
            sock_type: 3,
            protocol: 3,
            state: 7,
            extra: 2,
            rx_queue: 9,
            uid: 1000,
            ..Socket::default()
        };
        assert_eq!((found.inode, found.socket), (88, want));
    }

    #[test]
    fn broken_lines_are_left_out() {
        for (_, layout, _) in FILES {
            for line in
                ["", "x", "0: 1:2 3:4 5", "0: 0100007F:1F90 0100007F:1F90 0A", ": : : : : : : : : : : :"]
            {
                let text = format!("header\n{line}\n");
                assert_eq!(layout.parse(text.as_bytes()).count(), 0, "{layout:?} {line:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), file in 0..FILES.len()) {
            let text = [b"\n", &bytes[..]].concat();
            let _ = FILES[file].1.parse(&text).count();
        }

        #[test]
        fn nor_on_hexadecimal(line in "[ 0-9A-F:]{0,150}", file in 0..FILES.len()) {
            let text = format!("\n{line}");
            let _ = FILES[file].1.parse(text.as_bytes()).count();
        }
    }
}
