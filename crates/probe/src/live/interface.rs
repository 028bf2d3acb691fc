//! Network interfaces with their addresses, by getifaddrs(3).

use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: Vec<u8>,
    pub(crate) address: IpAddr,
    pub(crate) netmask: IpAddr,
    pub(crate) broadcast: IpAddr,
}

/// All of this network namespace; none when they cannot be asked.
pub(crate) fn all() -> Vec<Interface> {
    let mut list: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: the call writes a pointer to a list that is ours to free.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut at = list;
    while !at.is_null() {
        // SAFETY: an element of the list that getifaddrs made, alive until freeifaddrs below.
        let entry = unsafe { &*at };
        at = entry.ifa_next;
        // SAFETY: each of these is null or a socket address that belongs to the list.
        let (address, netmask) = unsafe { (ip(entry.ifa_addr), ip(entry.ifa_netmask)) };
        let Some(address) = address else { continue };
        let unspecified = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let broadcasts = entry.ifa_flags & libc::IFF_BROADCAST as u32 != 0;
        // SAFETY: as above; the union holds a broadcast address when the flag says so.
        let broadcast = if broadcasts { unsafe { ip(entry.ifa_ifu) } } else { None };
        // SAFETY: the name is a text of the list's with its NUL.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_bytes().to_vec();
        out.push(Interface {
            name,
            address,
            netmask: netmask.unwrap_or(unspecified),
            broadcast: broadcast.unwrap_or(unspecified),
        });
    }
    // SAFETY: the list is freed once, and nothing of it is kept.
    unsafe { libc::freeifaddrs(list) };
    out
}

/// An address as IP.
///
/// # Safety
/// `address` is null or points to a whole socket address of its family.
unsafe fn ip(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, so it points to a socket address, which begins with its family.
    let family = unsafe { (*address).sa_family };
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: of this family it is a sockaddr_in.
            let address = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in>()) };
            Some(IpAddr::V4(Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes())))
        }
        libc::AF_INET6 => {
            // SAFETY: of this family it is a sockaddr_in6.
            let address = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in6>()) };
            Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loopback_is_known() {
        let all = super::all();
        if all.is_empty() {
            eprintln!("SKIP the_loopback_is_known: no interface is up");
            return;
        }
        assert!(all.iter().any(|one| one.address.is_loopback()), "{all:?}");
    }
}
