//! A bridge network for one container that nobody trusts: the sandbox's. It leads out, but neither to the
//! host nor to its neighbours.
//!
//! Everything of it is named after its folder, and noted there, so that [`Guest::sweep`] finds it again.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::network::{Lease, Network, has_nft, nft};
use crate::error::{CliError, Result};

/// The container's name in a network of its own.
const ID: &str = "guest";

/// Addresses of neighbours: private ones, shared ones, those of one link (RFC 1918, 6598, 3927), with the
/// metadata services of clouds.
const NEAR: &str = "10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16";

/// A network that one container uses.
pub(crate) struct Guest {
    folder: PathBuf,
    network: Network,
    lease: Lease,
}

impl Guest {
    /// Makes a network below `folder` and connects the network namespace of `pid` to it.
    ///
    /// # Errors
    /// Without nft, without the privilege, and when no subnet is free; nothing is left then.
    pub(crate) fn join(folder: &Path, pid: i32, names: &[Ipv4Addr]) -> Result<Self> {
        let network = Network::of(folder);
        let lease = network.reserve(ID, Vec::new(), &[], |_| true)?;
        let guest = Self { folder: folder.into(), network, lease };
        let guarded = nft(&rules(guest.network.name(), names));
        let plugged = guarded
            .map_err(|error| CliError::failed("cannot guard the specimen's network").because(&error))
            .and_then(|()| guest.network.plug(ID, &guest.lease, pid));
        match plugged {
            Ok(()) => Ok(guest),
            Err(error) => {
                // The first failure is the one to be told.
                let _ = Self::sweep(folder);
                Err(error)
            }
        }
    }

    /// Takes it away.
    ///
    /// # Errors
    /// When something of it stays.
    pub(crate) fn leave(self) -> Result<()> {
        Self::sweep(&self.folder)
    }

    /// Takes away what is below `folder`, whoever made it.
    ///
    /// # Errors
    /// When something of it stays.
    pub(crate) fn sweep(folder: &Path) -> Result<()> {
        let network = Network::of(folder);
        let directory = folder.join("network");
        if !directory.exists() {
            return Ok(());
        }
        network.sweep(|_| false)?;
        let guard = guard(network.name());
        let gone = nft(&format!("table inet {guard}\ndelete table inet {guard}\n"));
        gone.and_then(|()| fs::remove_dir_all(&directory))
            .map_err(|error| CliError::failed("cannot take the specimen's network away").because(&error))
    }
}

/// The host's name servers that can be reached from a bridge.
pub(crate) fn name_servers() -> Vec<Ipv4Addr> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let text = read("/etc/resolv.conf") + &read("/run/systemd/resolve/resolv.conf");
    let mut found = Vec::new();
    for line in text.lines() {
        let server = line.trim_start().strip_prefix("nameserver").map(str::trim);
        match server.and_then(|server| server.parse().ok()) {
            Some(IpAddr::V4(address)) if !address.is_loopback() && !found.contains(&address) => {
                found.push(address);
            }
            _ => {}
        }
    }
    found
}

/// Gives nft(8) rules for the network namespace of this thread.
///
/// # Errors
/// When it is not here, and when the kernel does not take them.
pub(crate) fn load_rules(text: &str) -> std::io::Result<()> {
    if !has_nft() {
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the program nft is not here"));
    }
    nft(text)
}

fn guard(name: &str) -> String {
    format!("{name}_guard")
}

/// What a guest may not reach: the host, but for its name server, and its neighbours.
fn rules(name: &str, names: &[Ipv4Addr]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let ask = match names.as_slice() {
        [] => String::new(),
        names => {
            format!(
                "    iifname \"{name}\" ip daddr {{ {} }} meta l4proto {{ tcp, udp }} th dport 53 accept\n",
                names.join(", ")
            )
        }
    };
    format!(
        "table inet {guard} {{
  chain input {{
    type filter hook input priority -10; policy accept;
{ask}    iifname \"{name}\" drop
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
{ask}    iifname \"{name}\" meta nfproto ipv6 drop
    iifname \"{name}\" ip daddr {{ {NEAR} }} drop
  }}
}}
",
        guard = guard(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_lets_nothing_near() {
        let text = rules("nabe01", &[Ipv4Addr::new(192, 0, 2, 53)]);
        assert!(text.contains("table inet nabe01_guard") && text.contains("iifname \"nabe01\" drop"));
        assert_eq!(
            text.matches("ip daddr { 192.0.2.53 } meta l4proto { tcp, udp } th dport 53 accept").count(),
            2
        );
        assert!(!rules("nabe01", &[]).contains("dport"));
    }
}
