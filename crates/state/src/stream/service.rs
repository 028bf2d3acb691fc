//! Names of ports, as somebody tells them: state reads no file.

use core::fmt::Write as _;
use core::net::SocketAddr;
use std::collections::HashMap;

use super::descriptor::{Descriptor, Transport};

/// Ports with their names, by protocol.
#[derive(Clone, Debug, Default)]
pub struct Services {
    tcp: HashMap<u16, Box<str>>,
    udp: HashMap<u16, Box<str>>,
}

impl Services {
    /// Out of the text of `services(5)`. The first name of a port counts; what is no service is
    /// passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut services = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let (Some(name), Some((port, protocol))) =
                (words.next(), words.next().and_then(|word| word.split_once('/')))
            else {
                continue;
            };
            let names = match protocol {
                "tcp" => &mut services.tcp,
                "udp" => &mut services.udp,
                _ => continue,
            };
            if let Ok(port) = port.parse() {
                names.entry(port).or_insert_with(|| name.into());
            }
        }
        services
    }

    /// The name of a port; of either protocol where none is known.
    pub(crate) fn name(&self, port: u16, transport: Transport) -> Option<&str> {
        let name = match transport {
            Transport::Tcp => self.tcp.get(&port),
            Transport::Udp => self.udp.get(&port),
            _ => self.tcp.get(&port).or_else(|| self.udp.get(&port)),
        };
        name.map(|name| &**name)
    }

    /// The ends of a connection with the names of their ports.
    pub(crate) fn ends(&self, ends: (SocketAddr, SocketAddr), transport: Transport) -> String {
        let mut text = String::new();
        for (at, end) in [ends.0, ends.1].into_iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "->" });
            self.end(&mut text, end, transport);
        }
        text
    }

    /// An address with the name of its port.
    pub(crate) fn end(&self, out: &mut String, end: SocketAddr, transport: Transport) {
        let _ = match self.name(end.port(), transport) {
            Some(name) => write!(out, "{}:{name}", end.ip()),
            None => write!(out, "{}:{}", end.ip(), end.port()),
        };
    }

    /// The name of a descriptor that has ports, with theirs.
    pub(crate) fn name_of(&self, descriptor: &Descriptor) -> Option<Vec<u8>> {
        if !matches!(descriptor.transport, Transport::Tcp | Transport::Udp) || descriptor.name.is_empty() {
            return None;
        }
        let ends = (descriptor.source(), descriptor.destination());
        if descriptor.kind.is_server() {
            let mut text = String::new();
            self.end(&mut text, ends.1, descriptor.transport);
            return Some(text.into_bytes());
        }
        descriptor.kind.is_connection().then(|| self.ends(ends, descriptor.transport).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_names() {
        let services = Services::parse(
            "# none\nhttp 80/tcp www\nwww 80/tcp\ndomain\t53/udp\nbroken\nodd x/tcp\nhuge 70000/tcp\nsctp 9/sctp\n",
        );
        assert_eq!(services.name(80, Transport::Tcp), Some("http"));
        assert_eq!(services.name(80, Transport::Udp), None);
        assert_eq!(services.name(53, Transport::Unknown), Some("domain"));
        let ends = (SocketAddr::from(([10, 0, 0, 1], 4000)), SocketAddr::from(([10, 0, 0, 2], 80)));
        assert_eq!(services.ends(ends, Transport::Tcp), "10.0.0.1:4000->10.0.0.2:http");
        let mut connection = Descriptor::between(super::super::descriptor::Kind::Ipv4, ends.0, ends.1);
        connection.transport = Transport::Tcp;
        assert_eq!(services.name_of(&connection), None, "it has no name yet");
        connection.name_connection();
        assert_eq!(services.name_of(&connection).as_deref(), Some(&b"10.0.0.1:4000->10.0.0.2:http"[..]));
    }
}
