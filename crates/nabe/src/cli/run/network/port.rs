//! Published ports: how they are written, and whether they are free.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use serde::{Deserialize, Serialize};

/// A port of the host that leads into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli::run) struct Port {
    /// Only at this address of the host; an unspecified one is every address of its kind.
    pub(super) at: Option<IpAddr>,
    /// Of the host.
    pub(super) host: u16,
    /// Of the container.
    pub(super) container: u16,
    /// UDP instead of TCP.
    pub(super) udp: bool,
}

/// What one `-p` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::run) struct Ports(pub(in crate::cli::run) Vec<Port>);

impl std::str::FromStr for Ports {
    type Err = String;

    /// `[IP:]HOST:CONTAINER[/tcp|/udp]`, ports being `80` or `8000-8010`, IPv6 in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form [IP:]HOST:CONTAINER[/tcp|/udp]");
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let udp = match protocol {
            "tcp" => false,
            "udp" => true,
            _ => return Err(wrong()),
        };
        let (at, ports) = match ports.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            Some((at, ports)) => (Some(IpAddr::V6(at.parse().map_err(|_| wrong())?)), ports),
            None if ports.matches(':').count() == 2 => {
                let (at, ports) = ports.split_once(':').ok_or_else(wrong)?;
                (Some(IpAddr::V4(at.parse().map_err(|_| wrong())?)), ports)
            }
            None => (None, ports),
        };
        if at == Some(Ipv6Addr::LOCALHOST.into()) {
            return Err(format!(
                "{text:?}: the kernel leads nothing from ::1 into a container; take 127.0.0.1"
            ));
        }
        let (host, container) =
            ports.split_once(':').ok_or_else(|| format!("{}: name the host's port, too", wrong()))?;
        let (host, container) = (range(host).ok_or_else(wrong)?, range(container).ok_or_else(wrong)?);
        if host.len() != container.len() {
            return Err(format!("{text:?} names {} ports of the host for {}", host.len(), container.len()));
        }
        let pairs = host.zip(container);
        Ok(Self(pairs.map(|(host, container)| Port { at, host, container, udp }).collect()))
    }
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
    (first > 0 && first <= last && last < u16::MAX).then_some(first..=last)
}

impl Port {
    pub(super) fn protocol(&self) -> &'static str {
        if self.udp { "udp" } else { "tcp" }
    }

    /// Whether it is one of IPv4's, or of IPv6's.
    pub(super) fn is_of(&self, six: bool) -> bool {
        self.at.is_none_or(|at| at.is_ipv6() == six)
    }

    pub(super) fn taken(&self, other: &Self) -> bool {
        let overlap = [false, true].into_iter().any(|six| {
            let any = |port: &Self| port.at.is_none_or(|at| at.is_unspecified());
            self.is_of(six) && other.is_of(six) && (any(self) || any(other) || self.at == other.at)
        });
        overlap && self.udp == other.udp && self.host == other.host
    }

    /// Whether a program of the host has it.
    pub(super) fn is_busy(&self) -> bool {
        let place = SocketAddr::new(self.at.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), self.host);
        let bound = if self.udp { UdpSocket::bind(place).err() } else { TcpListener::bind(place).err() };
        bound.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let ports = |text: &str| text.parse::<Ports>().map(|ports| ports.0);
        let port = |at: Option<IpAddr>, host, container, udp| Port { at, host, container, udp };
        assert_eq!(ports("8080:80"), Ok(vec![port(None, 8080, 80, false)]));
        let at = Some(Ipv4Addr::LOCALHOST.into());
        assert_eq!(ports("127.0.0.1:53:53/udp"), Ok(vec![port(at, 53, 53, true)]));
        let six = Some("fd00::1".parse().expect("an address"));
        assert_eq!(ports("[fd00::1]:53:54"), Ok(vec![port(six, 53, 54, false)]));
        assert_eq!(
            ports("8000-8001:80-81"),
            Ok(vec![port(None, 8000, 80, false), port(None, 8001, 81, false)])
        );
        for wrong in [
            "80",
            "0:80",
            "a:80",
            "1:2:3:4",
            "80:80/icmp",
            "70000:1",
            "",
            "1-2:1",
            "2-1:1-2",
            "[::1]:1:1",
            "::1:1:1",
        ] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_taken_once() {
        let one = |text: &str| text.parse::<Ports>().expect("ports").0.remove(0);
        for (first, second, taken) in [
            ("80:1", "80:2", true),
            ("80:1", "80:1/udp", false),
            ("127.0.0.1:80:1", "80:2", true),
            ("127.0.0.1:80:1", "127.0.0.2:80:1", false),
            ("0.0.0.0:80:1", "127.0.0.2:80:1", true),
            ("0.0.0.0:80:1", "[::]:80:1", false),
        ] {
            assert_eq!(one(first).taken(&one(second)), taken, "{first} {second}");
        }
    }
}
