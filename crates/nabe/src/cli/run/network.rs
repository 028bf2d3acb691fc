//! The bridge network: a small subnet per store, a cable for each container, addresses and published ports
//! noted in files, rules in an nftables table of its own.
//!
//! ```text
//! <root>/network/lock             flocked while anything below or the rules change
//! <root>/network/subnet           its first three numbers
//! <root>/network/subnet6          its IPv6 prefix, where the kernel has IPv6
//! <root>/network/leases/ID.json   a container's address and ports
//! ```
//!
//! The rules are written whole, in one transaction, from the leases of containers that are there, and so are
//! the containers' names in each other's `/etc/hosts`. So whatever a killed process left is gone with the next
//! change, or with `nabe prune`.

mod names;
mod port;
mod rules;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::netlink::Netlink;
use crate::error::{CliError, Result};
pub(super) use port::{Port, Ports};

/// What a container has of the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Lease {
    /// Its address.
    address: Ipv4Addr,
    /// Its IPv6 address, where there is IPv6.
    #[serde(default)]
    address6: Option<Ipv6Addr>,
    /// What it is called by the others, beside its own name.
    #[serde(default)]
    names: Vec<String>,
    /// Its ports.
    ports: Vec<Port>,
}

impl Lease {
    fn address_of(&self, six: bool) -> Option<IpAddr> {
        if six { self.address6.map(IpAddr::V6) } else { Some(IpAddr::V4(self.address)) }
    }

    /// Its addresses, for people.
    pub(super) fn addresses(&self) -> Vec<String> {
        [false, true].into_iter().filter_map(|six| Some(self.address_of(six)?.to_string())).collect()
    }

    /// The host's address on its bridge.
    pub(super) fn gateway(&self) -> String {
        let [a, b, c, _] = self.address.octets();
        Ipv4Addr::new(a, b, c, 1).to_string()
    }
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

    /// Its IPv6 prefix of 64 bits: unique local, chosen once by chance (RFC 4193); nothing without IPv6.
    fn subnet6(&self) -> io::Result<Option<Ipv6Addr>> {
        let disabled = fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
        if disabled.map_or(true, |text| text.trim() != "0") {
            return Ok(None);
        }
        let path = self.directory.join("subnet6");
        let read = fs::read_to_string(&path).unwrap_or_default();
        if let Ok(prefix) = read.trim().parse::<Ipv6Addr>() {
            return Ok(Some(prefix));
        }
        let mut octets = [0; 16];
        if let Some(chance) = octets.get_mut(1..8) {
            File::open("/dev/urandom")?.read_exact(chance)?;
        }
        octets[0] = 0xfd;
        let prefix = Ipv6Addr::from(octets);
        fs::write(&path, format!("{prefix}\n"))?;
        Ok(Some(prefix))
    }

    /// Notes an address, names and ports for a container.
    pub(super) fn reserve(
        &self,
        id: &str,
        names: Vec<String>,
        ports: &[Port],
        alive: impl Fn(&str) -> bool,
    ) -> Result<Lease> {
        if !has_nft() {
            return Err(CliError::failed("the bridge network needs the program nft, which is not here")
                .hint("install nftables, or take --network none or --network host"));
        }
        let _lock = self.lock().map_err(|error| self.failed("lock", &error))?;
        self.forget(&alive).map_err(|error| self.failed("clean", &error))?;
        let leases = self.leases().map_err(|error| self.failed("read", &error))?;
        for (at, port) in ports.iter().enumerate() {
            if ports.iter().take(at).any(|other| other.taken(port)) {
                return Err(CliError::usage(format_args!("port {} is published twice", port.host)));
            }
            let holder = leases.iter().find(|(_, lease)| lease.ports.iter().any(|other| other.taken(port)));
            if let Some((holder, _)) = holder {
                return Err(CliError::failed(format_args!("port {} is container {holder}'s", port.host)));
            }
            if port.is_busy() {
                return Err(CliError::failed(format_args!("port {} of the host is in use", port.host)));
            }
        }
        let [a, b, c] = self.subnet().map_err(|error| self.failed("choose a subnet for", &error))?;
        let last = (2..=254)
            .find(|last| leases.iter().all(|(_, lease)| lease.address.octets()[3] != *last))
            .ok_or_else(|| CliError::failed("every address of the bridge network is in use"))?;
        let address = Ipv4Addr::new(a, b, c, last);
        let prefix = self.subnet6().map_err(|error| self.failed("choose a prefix for", &error))?;
        let address6 = prefix.map(|prefix| nth(prefix, last));
        if let Some(port) = ports.iter().find(|port| !port.is_of(false) && address6.is_none()) {
            return Err(CliError::failed(format_args!("port {}: there is no IPv6 here", port.host)));
        }
        let lease = Lease { address, address6, names, ports: ports.to_vec() };
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
        let prefix = self.subnet6().map_err(|error| self.failed("read", &error))?;
        let six = lease.address6.zip(prefix).map(|(address, prefix)| (address, nth(prefix, 1)));
        self.outside(id, gateway, six.map(|(_, gateway)| gateway), pid)
            .map_err(|error| self.failed("set up", &error))?;
        inside(pid, (lease.address, gateway), six).map_err(|error| self.failed("set up", &error))?;
        self.write_all().map_err(|error| self.failed("write names and rules of", &error))
    }

    fn outside(&self, id: &str, gateway: Ipv4Addr, six: Option<Ipv6Addr>, pid: i32) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        netlink.bridge(&self.name)?;
        let bridge = netlink.index(&self.name)?;
        netlink.address(bridge, gateway.into(), 24)?;
        netlink.up(bridge)?;
        if let Some(gateway) = six {
            netlink.address(bridge, gateway.into(), 64)?;
        }
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
            self.write_all()
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
                self.write_all()?;
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

    /// Makes names and rules what the leases say. Without leases there is no table and no bridge.
    fn write_all(&self) -> io::Result<()> {
        let leases = self.leases()?;
        let name = &self.name;
        let root = self.directory.parent().unwrap_or(Path::new("/"));
        // A full disk must not keep rules from being what they should be.
        if let Err(error) = names::write(&root.join("containers"), &leases) {
            eprintln!("nabe: note: containers of the bridge have old names in /etc/hosts: {error}");
        }
        if leases.is_empty() {
            Netlink::open()?.remove(name)?;
        }
        let [a, b, c] = self.subnet()?;
        let all = leases.iter().map(|(_, lease)| lease);
        rules::load(&rules::table(name, false, &format!("{a}.{b}.{c}.0/24"), all.clone()))?;
        let Some(prefix) = self.subnet6()? else { return Ok(()) };
        match rules::load(&rules::table(name, true, &format!("{prefix}/64"), all)) {
            // A kernel without these rules for IPv6 still has the rest.
            Err(error)
                if leases.iter().all(|(_, lease)| lease.ports.iter().all(|port| port.is_of(false))) =>
            {
                eprintln!("nabe: note: IPv6 of the bridge has no rules: {error}");
                Ok(())
            }
            loaded => loaded,
        }
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

/// The address with this number below a prefix.
fn nth(prefix: Ipv6Addr, last: u8) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(prefix) | u128::from(last))
}

/// The container's side, by a thread that enters its namespace and ends there: address and gateway.
fn inside(pid: i32, four: (Ipv4Addr, Ipv4Addr), six: Option<(Ipv6Addr, Ipv6Addr)>) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let work = move || -> io::Result<()> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let mut netlink = Netlink::open()?;
        let link = netlink.index("eth0")?;
        netlink.address(link, four.0.into(), 24)?;
        netlink.up(link)?;
        netlink.default_route(link, four.1.into())?;
        // Who takes IPv6 away from the container by --sysctl means it.
        let disabled = fs::read("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").unwrap_or_default();
        if let Some((address, gateway)) = six.filter(|_| disabled.first() == Some(&b'0')) {
            netlink.address(link, address.into(), 64)?;
            netlink.default_route(link, gateway.into())?;
        }
        Ok(())
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

/// Whether there is nft(8).
pub(super) fn has_nft() -> bool {
    rules::program("nft").is_some()
}

/// Gives nft(8) a transaction.
pub(super) fn nft(text: &str) -> io::Result<()> {
    rules::load(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
