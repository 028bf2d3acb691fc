//! Rules of the bridge for nft(8), and the call.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Lease;

/// The table of one family, which replaces what was there; nothing but that when there are no leases.
pub(super) fn table<'a>(
    name: &str,
    six: bool,
    subnet: &str,
    leases: impl Iterator<Item = &'a Lease> + Clone,
) -> String {
    let family = if six { "ip6" } else { "ip" };
    // Made first so that it can be removed.
    let mut text = format!("table {family} {name}\ndelete table {family} {name}\n");
    if leases.clone().next().is_none() {
        return text;
    }
    let mut published = String::new();
    for lease in leases {
        let Some(address) = lease.address_of(six) else { continue };
        let to = if six { format!("[{address}]") } else { address.to_string() };
        for port in lease.ports.iter().filter(|port| port.is_of(six)) {
            let at = match port.at {
                Some(at) if !at.is_unspecified() => format!("{family} daddr {at}"),
                // What comes from ::1 could not be answered.
                _ if six => "ip6 daddr != ::1 fib daddr type local".to_owned(),
                _ => "fib daddr type local".to_owned(),
            };
            let (protocol, host, inside) = (port.protocol(), port.host, port.container);
            published.push_str(&format!("    {at} {protocol} dport {host} dnat to {to}:{inside}\n"));
        }
    }
    let loopback = if six { "" } else { "    ip saddr 127.0.0.0/8 oifname \"BRIDGE\" masquerade\n" };
    // The bridge routes the host's loopback addresses, for published ports. Nobody on it may send to
    // them: looked at before connections are, when answers still bear the bridge's own address.
    let guard = if six {
        ""
    } else {
        "  chain loopback {
    type filter hook prerouting priority -300; policy accept;
    iifname \"BRIDGE\" ip daddr 127.0.0.0/8 drop
  }
"
    };
    let chains = format!(
        "table {family} {name} {{
{guard}  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    {family} saddr {subnet} oifname != \"BRIDGE\" masquerade
{loopback}    {family} saddr {subnet} oifname \"BRIDGE\" ct status dnat masquerade
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
{published}  }}
  chain output {{
    type nat hook output priority -100; policy accept;
{published}  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname \"BRIDGE\" accept
    oifname \"BRIDGE\" ct state established,related accept
    oifname \"BRIDGE\" ct status dnat accept
    oifname \"BRIDGE\" drop
  }}
}}
"
    );
    text.push_str(&chains.replace("BRIDGE", name));
    text
}

/// Where a program is.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// Loads rules, whole or not at all.
pub(super) fn load(text: &str) -> io::Result<()> {
    let Some(nft) = program("nft") else { return Ok(()) };
    let mut child = Command::new(nft)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let sent = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    if output.status.success() {
        return sent;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("nft: {}", said.lines().next().unwrap_or("no word"))))
}
