//! Addresses of sockets as strace writes the structures that programs give:
//! `{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.0.0.1")}`.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::text::{clean, quoted};

/// Appends the address in a parameter (`u8 family`, then address and port, or a path); returns
/// whether it is one.
pub(super) fn sockaddr(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let Some((family, rest)) = bytes.split_first() else { return false };
    match (family, rest.len()) {
        (1, _) => unix(out, rest),
        (2, 6) | (10, 18) => match end(rest) {
            Some((ip, port)) => internet(out, ip, port),
            None => return false,
        },
        (family, _) => {
            let _ = write!(out, "{{sa_family={family:#x}, ...}}");
        }
    }
    true
}

/// Appends the first address of a socket tuple: the peer of whoever accepts, and of whoever received.
/// Of a unix socket the tuple has only the receiver's path.
pub(super) fn first(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let Some((family, rest)) = bytes.split_first() else { return false };
    match family {
        1 => {
            out.extend_from_slice(b"{sa_family=AF_UNIX}");
            true
        }
        2 | 10 => {
            let Some((ip, port)) = rest.get(..rest.len() / 2).and_then(end) else { return false };
            internet(out, ip, port);
            true
        }
        _ => false,
    }
}

fn end(bytes: &[u8]) -> Option<(IpAddr, u16)> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some((ip, u16::from_le_bytes(*port)))
}

fn internet(out: &mut Vec<u8>, ip: IpAddr, port: u16) {
    // What is no longer told is what it nearly always is.
    let _ = match ip {
        IpAddr::V4(ip) => {
            write!(out, "{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{ip}\")}}")
        }
        IpAddr::V6(ip) => write!(
            out,
            "{{sa_family=AF_INET6, sin6_port=htons({port}), ..., inet_pton(AF_INET6, \"{ip}\", &sin6_addr), ...}}"
        ),
    };
}

fn unix(out: &mut Vec<u8>, path: &[u8]) {
    out.extend_from_slice(b"{sa_family=AF_UNIX");
    // An abstract name begins with a NUL, for which strace writes @.
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    if let Some((0, name)) = path.split_first() {
        out.extend_from_slice(b", sun_path=@");
        quoted(out, name.split(|byte| *byte == 0).next().unwrap_or_default(), usize::MAX);
    } else if !path.is_empty() {
        out.extend_from_slice(b", sun_path=");
        quoted(out, path.split(|byte| *byte == 0).next().unwrap_or_default(), usize::MAX);
    }
    out.push(b'}');
}

/// `<name>` behind a descriptor, where it has one.
pub(super) fn behind(out: &mut Vec<u8>, name: &[u8]) {
    if !name.is_empty() {
        out.push(b'<');
        clean(out, name);
        out.push(b'>');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: fn(&mut Vec<u8>, &[u8]) -> bool, bytes: &[u8], expect: Option<&str>) {
        let mut out = Vec::new();
        let done = write(&mut out, bytes);
        assert_eq!((done.then(|| String::from_utf8(out).unwrap())).as_deref(), expect, "{bytes:?}");
    }

    #[test]
    fn addresses_are_structures() {
        let v4 = r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}"#;
        check(sockaddr, &[2, 127, 0, 0, 1, 80, 0], Some(v4));
        check(first, &[2, 127, 0, 0, 1, 80, 0, 10, 0, 0, 9, 1, 1], Some(v4));
        let mut v6 = vec![10u8];
        v6.extend(Ipv6Addr::LOCALHOST.octets());
        v6.extend([53, 0]);
        check(
            sockaddr,
            &v6,
            Some(
                r#"{sa_family=AF_INET6, sin6_port=htons(53), ..., inet_pton(AF_INET6, "::1", &sin6_addr), ...}"#,
            ),
        );
        check(sockaddr, b"\x01/run/a\0", Some(r#"{sa_family=AF_UNIX, sun_path="/run/a"}"#));
        check(sockaddr, b"\x01\0name\0", Some(r#"{sa_family=AF_UNIX, sun_path=@"name"}"#));
        check(sockaddr, b"\x01", Some("{sa_family=AF_UNIX}"));
        check(sockaddr, &[16, 1], Some("{sa_family=0x10, ...}"));
        for broken in [&[][..], &[2, 1]] {
            check(
                sockaddr,
                &broken[..broken.len().min(1)],
                if broken.is_empty() { None } else { Some("{sa_family=0x2, ...}") },
            );
            check(first, broken, None);
        }
    }
}
