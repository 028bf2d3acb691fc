//! The bridge network: a small subnet per store, a cable for each container, addresses and published ports
//! noted in files, rules in an nftables table of its own.
//!
//! ```text
//! <root>/network/lock             flocked while anything below or the rules change
//! <root>/network/subnet           its first three numbers
//! <root>/network/leases/ID.json   a container's address and ports
//! ```
//!
//! The rules are written whole, in one transaction, from the leases of containers that are there. So
//! whatever a killed process left is gone with the next change, or with `nabe prune`.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::netlink::Netlink;
use crate::error::{CliError, Result};

/// A port of the host that leads into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Port {
    /// Only at this address of the host.
    pub(super) at: Option<Ipv4Addr>,
    /// Of the host.
    pub(super) host: u16,
    /// Of the container.
    pub(super) container: u16,
    /// UDP instead of TCP.
    pub(super) udp: bool,
}

impl std::str::FromStr for Port {
    type Err = String;

    /// `[IP:]HOST:CONTAINER[/tcp|/udp]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form [IP:]HOST:CONTAINER[/tcp|/udp]");
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let udp = match protocol {
            "tcp" => false,
            "udp" => true,
            _ => return Err(wrong()),
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
        let parts: Vec<&str> = ports.split(':').collect();
        match parts.as_slice() {
            [host, container] => Ok(Self { at: None, host: port(host)?, container: port(container)?, udp }),
            [at, host, container] => {
                let at = Some(at.parse().map_err(|_| wrong())?);
                Ok(Self { at, host: port(host)?, container: port(container)?, udp })
            }
            _ => Err(wrong()),
        }
    }
}

impl Port {
    fn protocol(&self) -> &'static str {
        if self.udp { "udp" } else { "tcp" }
    }

    fn taken(&self, other: &Self) -> bool {
        let same = self.at.is_none() || other.at.is_none() || self.at == other.at;
        same && self.udp == other.udp && self.host == other.host
    }

    /// Whether a program of the host has it.
    fn is_busy(&self) -> bool {
        let place = (self.at.unwrap_or(Ipv4Addr::UNSPECIFIED), self.host);
        let bound = if self.udp {
            std::net::UdpSocket::bind(place).err()
        } else {
            std::net::TcpListener::bind(place).err()
        };
        bound.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    }
}

/// What a container has of the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Lease {
    /// Its address.
    pub(super) address: Ipv4Addr,
    /// Its ports.
    ports: Vec<Port>,
}

/// The network of one store.
#[derive(Debug)]
pub(super) struct Network {
    directory: PathBuf,
    /// Of the bridge and of the table.
    name: String,
}

/// Held while things change.
type Lock = File;

impl Network {
    /// The network of the store below `root`.
    pub(super) fn of(root: &Path) -> Self {
        let name = match root == nabe_image::Store::default_root() {
            true => "nabe0".to_owned(),
            false => format!("nabe{}", hash(root.as_os_str().as_encoded_bytes())),
        };
        Self { directory: root.join("network"), name }
    }

    /// The name of its bridge and of its table.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn lease_path(&self, id: &str) -> PathBuf {
        self.directory.join("leases").join(format!("{id}.json"))
    }

    fn lock(&self) -> io::Result<Lock> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.directory.join("leases"))?;
        let file =
            File::options().create(true).truncate(false).write(true).open(self.directory.join("lock"))?;
        super::place::lock(&file)?;
        Ok(file)
    }

    fn leases(&self) -> io::Result<Vec<(String, Lease)>> {
        let mut leases = Vec::new();
        for entry in fs::read_dir(self.directory.join("leases"))? {
            let path = entry?.path();
            let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // What a power loss cut short belongs to nobody.
            match fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                Some(lease) => leases.push((id, lease)),
                None => fs::remove_file(&path)?,
            }
        }
        Ok(leases)
    }

    /// Its first three numbers, chosen once among those that no route has.
    fn subnet(&self) -> io::Result<[u8; 3]> {
        let path = self.directory.join("subnet");
        let read = fs::read_to_string(&path).unwrap_or_default();
        let numbers: Vec<u8> = read.trim().split('.').filter_map(|part| part.parse().ok()).collect();
        if let Ok(subnet) = <[u8; 3]>::try_from(numbers) {
            return Ok(subnet);
        }
        let routes = fs::read_to_string("/proc/net/route")?;
        let first = u8::from_str_radix(self.name.get(4..6).unwrap_or("00"), 16).unwrap_or(0);
        let free = (0..=u8::MAX)
            .map(|at| [10, 89, first.wrapping_add(at)])
            .find(|subnet| !is_routed(&routes, *subnet));
        let [a, b, c] = free.ok_or_else(|| io::Error::other("every subnet of 10.89.0.0/16 is in use"))?;
        fs::write(&path, format!("{a}.{b}.{c}\n"))?;
        Ok([a, b, c])
    }

    /// Notes an address and ports for a container.
    pub(super) fn reserve(&self, id: &str, ports: &[Port], alive: impl Fn(&str) -> bool) -> Result<Lease> {
        if program("nft").is_none() {
            return Err(CliError::failed("the bridge network needs the program nft, which is not here")
                .hint("install nftables, or take --network none or --network host"));
        }
        let _lock = self.lock().map_err(|error| self.failed("lock", &error))?;
        self.forget(&alive).map_err(|error| self.failed("clean", &error))?;
        let leases = self.leases().map_err(|error| self.failed("read", &error))?;
        for port in ports {
            let holder = leases.iter().find(|(_, lease)| lease.ports.iter().any(|other| other.taken(port)));
            if let Some((holder, _)) = holder {
                return Err(CliError::failed(format_args!("port {} is container {holder}'s", port.host)));
            }
            if port.is_busy() {
                return Err(CliError::failed(format_args!("port {} of the host is in use", port.host)));
            }
        }
        let [a, b, c] = self.subnet().map_err(|error| self.failed("choose a subnet for", &error))?;
        let address = (2..=254)
            .map(|last| Ipv4Addr::new(a, b, c, last))
            .find(|address| leases.iter().all(|(_, lease)| lease.address != *address))
            .ok_or_else(|| CliError::failed("every address of the bridge network is in use"))?;
        let lease = Lease { address, ports: ports.to_vec() };
        let text = serde_json::to_vec(&lease).unwrap_or_default();
        let path = self.lease_path(id);
        fs::write(&path, text).map_err(|error| CliError::file("write", &path, &error))?;
        Ok(lease)
    }

    /// Connects a container that was made.
    pub(super) fn plug(&self, id: &str, lease: &Lease, pid: i32) -> Result<()> {
        let _lock = self.lock().map_err(|error| self.failed("lock", &error))?;
        let [a, b, c] = self.subnet().map_err(|error| self.failed("read", &error))?;
        let gateway = Ipv4Addr::new(a, b, c, 1);
        self.outside(id, gateway, pid).map_err(|error| self.failed("set up", &error))?;
        inside(pid, lease.address, gateway).map_err(|error| self.failed("set up", &error))?;
        self.write_rules().map_err(|error| self.failed("write the rules of", &error))
    }

    fn outside(&self, id: &str, gateway: Ipv4Addr, pid: i32) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        netlink.bridge(&self.name)?;
        let bridge = netlink.index(&self.name)?;
        netlink.address(bridge, gateway, 24)?;
        netlink.up(bridge)?;
        netlink.cable(&cable(id), bridge, pid)?;
        // Packets are handed on; those of the host's own loopback address may go to published ports.
        let forward = Path::new("/proc/sys/net/ipv4/ip_forward");
        if fs::read(forward)?.first() != Some(&b'1') {
            fs::write(forward, "1")?;
        }
        fs::write(format!("/proc/sys/net/ipv4/conf/{}/route_localnet", self.name), "1")
    }

    /// A container is gone.
    pub(super) fn release(&self, id: &str, alive: impl Fn(&str) -> bool) -> Result<()> {
        if !self.directory.exists() {
            return Ok(());
        }
        let done = self.lock().and_then(|_lock| {
            match fs::remove_file(self.lease_path(id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Err(_) => return Ok(()),
                Ok(()) => Netlink::open()?.remove(&cable(id))?,
            }
            self.forget(&alive)?;
            self.write_rules()
        });
        done.map_err(|error| self.failed("leave", &error))
    }

    /// Removes what no container that is there owns. True when there was something.
    pub(super) fn sweep(&self, alive: impl Fn(&str) -> bool) -> Result<bool> {
        if !self.directory.exists() {
            return Ok(false);
        }
        let done = self.lock().and_then(|_lock| {
            let forgot = self.forget(&alive)?;
            if forgot {
                self.write_rules()?;
            }
            Ok(forgot)
        });
        done.map_err(|error| self.failed("clean", &error))
    }

    fn forget(&self, alive: &impl Fn(&str) -> bool) -> io::Result<bool> {
        let mut forgot = false;
        for (id, _) in self.leases()?.iter().filter(|(id, _)| !alive(id)) {
            Netlink::open()?.remove(&cable(id))?;
            fs::remove_file(self.lease_path(id))?;
            forgot = true;
        }
        Ok(forgot)
    }

    /// Makes the rules what the leases say. Without leases there is no table and no bridge.
    fn write_rules(&self) -> io::Result<()> {
        let leases = self.leases()?;
        let name = &self.name;
        // Made first so that it can be removed.
        let mut text = format!("table ip {name}\ndelete table ip {name}\n");
        if leases.is_empty() {
            Netlink::open()?.remove(name)?;
        } else {
            text.push_str(&rules(name, self.subnet()?, leases.iter().map(|(_, lease)| lease)));
        }
        nft(&text)
    }

    fn failed(&self, what: &str, error: &io::Error) -> CliError {
        let failed =
            CliError::failed(format_args!("cannot {what} the bridge network {}", self.name)).because(error);
        match error.kind() {
            io::ErrorKind::PermissionDenied => failed.hint("it needs the capability CAP_NET_ADMIN"),
            _ => failed,
        }
    }
}

/// The container's side, by a thread that enters its namespace and ends there.
fn inside(pid: i32, address: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let work = move || -> io::Result<()> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let mut netlink = Netlink::open()?;
        let link = netlink.index("eth0")?;
        netlink.address(link, address, 24)?;
        netlink.up(link)?;
        netlink.default_route(link, gateway)
    };
    let joined = std::thread::Builder::new().name("network".into()).spawn(work)?.join();
    joined.unwrap_or_else(|_| Err(io::Error::other("the thread in the container's network ended")))
}

/// The name of the host's end of a container's cable: at most 15 characters.
fn cable(id: &str) -> String {
    format!("nv{}", hash(id.as_bytes()))
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a line of /proc/net/route (addresses are numbers of the machine's byte order) covers a subnet.
fn is_routed(routes: &str, [a, b, c]: [u8; 3]) -> bool {
    let wanted = u32::from_be_bytes([a, b, c, 0]);
    routes.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| {
            let text = fields.get(at).copied().unwrap_or_default();
            u32::from_str_radix(text, 16).ok().map(|number| u32::from_be_bytes(number.to_ne_bytes()))
        };
        match (number(1), number(7)) {
            // The default route is everybody's.
            (Some(destination), Some(mask)) if mask != 0 => {
                let mask = mask & 0xffff_ff00;
                wanted & mask == destination & mask
            }
            _ => false,
        }
    })
}

fn rules<'a>(name: &str, [a, b, c]: [u8; 3], leases: impl Iterator<Item = &'a Lease>) -> String {
    let subnet = format!("{a}.{b}.{c}.0/24");
    let mut published = String::new();
    for lease in leases {
        for port in &lease.ports {
            let at = port.at.map_or_else(|| "fib daddr type local".to_owned(), |at| format!("ip daddr {at}"));
            let (protocol, host) = (port.protocol(), port.host);
            let to = format!("{}:{}", lease.address, port.container);
            published.push_str(&format!("    {at} {protocol} dport {host} dnat to {to}\n"));
        }
    }
    format!(
        "table ip {name} {{
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {subnet} oifname != \"{name}\" masquerade
    ip saddr 127.0.0.0/8 oifname \"{name}\" masquerade
    ip saddr {subnet} oifname \"{name}\" ct status dnat masquerade
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
{published}  }}
  chain output {{
    type nat hook output priority -100; policy accept;
{published}  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname \"{name}\" accept
    oifname \"{name}\" ct state established,related accept
    oifname \"{name}\" ct status dnat accept
    oifname \"{name}\" drop
  }}
}}
"
    )
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// Gives nft(8) a transaction.
pub(super) fn nft(text: &str) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let port = |text: &str| text.parse::<Port>();
        assert_eq!(port("8080:80"), Ok(Port { at: None, host: 8080, container: 80, udp: false }));
        let at = Some(Ipv4Addr::LOCALHOST);
        assert_eq!(port("127.0.0.1:53:53/udp"), Ok(Port { at, host: 53, container: 53, udp: true }));
        for wrong in ["80", "0:80", "a:80", "1:2:3:4", "80:80/icmp", "70000:1", ""] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn routes_take_subnets() {
        // 10.89.0.0/24 and a default route.
        let line = |destination: [u8; 4], mask: [u8; 4]| {
            let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
            format!("eth0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n", word(destination), word(mask))
        };
        let head = "Iface\tDestination\tGateway\tFlags\n".to_owned();
        let routes = head + &line([0, 0, 0, 0], [0, 0, 0, 0]) + &line([10, 89, 0, 0], [255, 255, 255, 0]);
        assert!(is_routed(&routes, [10, 89, 0]));
        assert!(!is_routed(&routes, [10, 89, 1]));
    }
}
