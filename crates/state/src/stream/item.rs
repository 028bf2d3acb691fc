//! Items of a source taken in: what was there when the stream began, and each event. And the other
//! way round: the state as items, with which another stream can begin where this one stands.

use core::net::{IpAddr, SocketAddr};

use nabe_event::item::{self, Class, Item, L4, Target};
use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;

use super::descriptor::{Descriptor, Kind, Role, Transport};
use super::{Account, Seen, Stream, Thread};

/// The machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    cpus: u32,
    memory_bytes: u64,
    max_pid: u64,
    boot_ts_ns: u64,
    flags: u64,
    reserved: [u64; 2],
}

/// An interface's address.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    name: Box<[u8]>,
    address: IpAddr,
    netmask: IpAddr,
    broadcast: IpAddr,
    link_speed: Option<u64>,
}

impl Stream {
    /// Takes in an item of a source, a live one or a capture of any age. An event comes back with
    /// what is known about it.
    #[inline]
    pub fn item<'s>(&'s mut self, item: &Item<'s>) -> Option<Seen<'s>> {
        if let Item::Event(event) = item {
            return Some(self.event(event));
        }
        self.state(item);
        None
    }

    /// What was there when the stream began.
    #[inline(never)]
    fn state(&mut self, item: &Item<'_>) {
        match item {
            Item::Section(_) => self.section(),
            Item::Machine(machine) => self.learn_machine(machine),
            Item::Interface(interface) => self.learn_interface(interface),
            Item::User(user) => {
                let account = Account {
                    gid: Some(user.gid),
                    name: user.name.into(),
                    home: user.home.into(),
                    shell: user.shell.into(),
                };
                self.add_user(user.uid, account);
            }
            Item::Group(group) => self.add_group(group.gid, group.name),
            Item::Thread(thread) => self.add_thread(Thread::from(&**thread)),
            Item::Descriptor(found) => self.add_descriptor(found.tid, found.fd, Descriptor::from(found)),
            Item::Event(_) => {}
        }
    }

    fn learn_machine(&mut self, from: &item::Machine<'_>) {
        self.machine(from.hostname);
        self.host = Machine {
            cpus: from.cpus,
            memory_bytes: from.memory_bytes,
            max_pid: from.max_pid,
            boot_ts_ns: from.boot_ts_ns,
            flags: from.flags,
            reserved: from.reserved,
        };
    }

    fn learn_interface(&mut self, from: &item::Interface<'_>) {
        self.add_address(from.address);
        if self.interfaces.len() < super::MAX_ACCOUNTS {
            let item::Interface { name, address, netmask, broadcast, link_speed } = *from;
            self.interfaces.push(Interface { name: name.into(), address, netmask, broadcast, link_speed });
        }
    }

    /// The state as items, in the order that captures have them: with these a new file, or a
    /// capture of what is about to happen, begins. Of threads (and their descriptors) only those
    /// that `is_wanted` says; of containers only those that these threads run in. Containers come
    /// as events, told at the time of the last event; threads of which nothing but the number is
    /// known do not come.
    pub fn items(&self, mut is_wanted: impl FnMut(&Thread) -> bool, out: &mut dyn FnMut(Item<'_>)) {
        self.machine_items(out);
        let mut threads: Vec<&Thread> =
            self.threads.values().filter(|thread| !thread.is_unknown() && is_wanted(thread)).collect();
        threads.sort_unstable_by_key(|thread| thread.tid);
        for thread in &threads {
            out(Item::Thread(Box::new(thread.item())));
        }
        for thread in &threads {
            for (number, descriptor) in thread.descriptors.iter() {
                out(Item::Descriptor(descriptor.item(thread.tid, number)));
            }
        }
        let mut ids: Vec<&[u8]> = threads.iter().map(|thread| &*thread.container).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if let Some(container) = self.containers.get(id) {
                out_container(&container.document, self.last_ns, out);
            }
        }
    }

    fn machine_items(&self, out: &mut dyn FnMut(Item<'_>)) {
        let Machine { cpus, memory_bytes, max_pid, boot_ts_ns, flags, reserved } = self.host;
        let hostname = &*self.hostname;
        out(Item::Section(item::Section::CURRENT));
        out(Item::Machine(item::Machine {
            cpus,
            memory_bytes,
            max_pid,
            hostname,
            boot_ts_ns,
            flags,
            reserved,
        }));
        for Interface { name, address, netmask, broadcast, link_speed } in &self.interfaces {
            out(Item::Interface(item::Interface {
                name,
                address: *address,
                netmask: *netmask,
                broadcast: *broadcast,
                link_speed: *link_speed,
            }));
        }
        let mut users: Vec<_> = self.users.iter().collect();
        users.sort_unstable_by_key(|(uid, _)| **uid);
        for (uid, Account { gid, name, home, shell }) in users {
            out(Item::User(item::User { uid: *uid, gid: gid.unwrap_or(u32::MAX), name, home, shell }));
        }
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(gid, _)| **gid);
        for (gid, name) in groups {
            out(Item::Group(item::Group { gid: *gid, name }));
        }
    }
}

/// The event that tells of a container.
fn out_container(document: &[u8], ts_ns: u64, out: &mut dyn FnMut(Item<'_>)) {
    /// The number of no plugin: nabe tells it itself.
    const NO_PLUGIN: [u8; 4] = [0; 4];
    const NAME: &[u8] = b"container\0";
    let Ok(len) = u32::try_from(document.len() + 1) else { return };
    let mut lengths = [0; 12];
    for (place, len) in lengths.as_chunks_mut::<4>().0.iter_mut().zip([4, 10, len]) {
        *place = len.to_le_bytes();
    }
    let data = [&NO_PLUGIN, NAME, document, b"\0"].concat();
    let id = EventId::ASYNCEVENT_E;
    if let Some(params) = Params::new(id, &lengths, &data) {
        out(Item::Event(Event { id, cpu: 0, flags: 0, ts_ns, tid: -1, params }));
    }
}

impl Thread {
    /// It as captures have it.
    #[must_use]
    pub fn item(&self) -> item::Thread<'_> {
        let kib = |kib: u64| u32::try_from(kib).unwrap_or(u32::MAX);
        let [cap_permitted, cap_inheritable, cap_effective] = self.capabilities;
        item::Thread {
            tid: self.tid,
            pid: self.pid,
            ptid: self.ptid,
            sid: self.sid,
            vpgid: self.vpgid,
            comm: &self.comm,
            exe: &self.exe,
            exe_path: &self.exe_path,
            args: &self.args,
            cwd: &self.cwd,
            fd_limit: self.fd_limit,
            flags: self.flags,
            uid: self.uid,
            gid: self.gid,
            vm_size_kib: kib(self.vm_size_kib),
            vm_rss_kib: kib(self.vm_rss_kib),
            vm_swap_kib: kib(self.vm_swap_kib),
            major_faults: self.major_faults,
            minor_faults: self.minor_faults,
            env: &self.env,
            vtid: self.vtid,
            vpid: self.vpid,
            cgroups: &self.cgroups,
            root: &self.root,
            // A field of an entry comes only behind those before it.
            pid_namespace_start_ns: Some(self.pid_namespace_start_ns.unwrap_or(0)),
            tty: Some(self.tty),
            login_uid: Some(self.login_uid),
            exe_writable: Some(self.exe_writable.unwrap_or(false)),
            cap_inheritable: Some(cap_inheritable.unwrap_or(0)),
            cap_permitted: Some(cap_permitted.unwrap_or(0)),
            cap_effective: Some(cap_effective.unwrap_or(0)),
            exe_upper_layer: Some(self.exe_upper_layer.unwrap_or(false)),
            exe_inode: Some(self.exe_inode.unwrap_or(0)),
            exe_ctime_ns: Some(self.exe_ctime_ns.unwrap_or(0)),
            exe_mtime_ns: Some(self.exe_mtime_ns.unwrap_or(0)),
            exe_from_memfd: Some(self.exe_from_memfd.unwrap_or(false)),
            exe_lower_layer: Some(self.exe_lower_layer.unwrap_or(false)),
            pgid: Some(self.pgid),
        }
    }
}

impl Descriptor {
    /// It as captures have it, the descriptor `fd` of the thread `tid`.
    #[must_use]
    pub fn item(&self, tid: i64, fd: i64) -> item::Descriptor<'_> {
        let protocol = L4(match self.transport {
            Transport::Unknown => 0,
            Transport::Tcp => 2,
            Transport::Udp => 3,
            Transport::Icmp => 4,
            Transport::Raw => 5,
        });
        let name = &*self.name;
        let family = |address: SocketAddr, v6: bool| match (v6, address.ip()) {
            (true, IpAddr::V4(ip)) if ip.is_unspecified() => {
                SocketAddr::new(core::net::Ipv6Addr::UNSPECIFIED.into(), address.port())
            }
            (true, IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            _ => address,
        };
        let target = match self.kind {
            Kind::Unknown => Target::Unknown,
            Kind::Ipv4 | Kind::Ipv6 => {
                let v6 = self.kind == Kind::Ipv6 || self.source().is_ipv6() || self.destination().is_ipv6();
                let (source, destination) = (family(self.source(), v6), family(self.destination(), v6));
                Target::Connection { source, destination, protocol }
            }
            Kind::Ipv4Server | Kind::Ipv6Server => Target::Listener { local: self.source(), protocol },
            Kind::Unix => {
                let (source, destination, path) = unix_ends(name);
                Target::Unix { source, destination, path }
            }
            Kind::File => Target::File { open_flags: self.open_flags, path: name, device: Some(self.device) },
            kind => Target::Named { class: class_of(kind), name },
        };
        item::Descriptor { tid, fd, inode: self.inode, target }
    }
}

/// The two ends and the path in the name of a unix socket; events name it `1f->2e /path`.
fn unix_ends(name: &[u8]) -> (u64, u64, &[u8]) {
    let ends = || {
        let space = name.iter().position(|byte| *byte == b' ')?;
        let (ends, path) = name.split_at_checked(space)?;
        let (source, destination) = core::str::from_utf8(ends).ok()?.split_once("->")?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        Some((hex(source)?, hex(destination)?, path.get(1..)?))
    };
    ends().unwrap_or((0, 0, name))
}

impl From<&item::Thread<'_>> for Thread {
    fn from(from: &item::Thread<'_>) -> Self {
        Self {
            pid: from.pid,
            ptid: from.ptid,
            sid: from.sid,
            vpgid: from.vpgid,
            pgid: from.pgid.unwrap_or(-1),
            vtid: from.vtid,
            vpid: from.vpid,
            comm: from.comm.into(),
            exe: from.exe.into(),
            exe_path: from.exe_path.into(),
            args: from.args.into(),
            env: from.env.into(),
            cwd: from.cwd.into(),
            root: from.root.into(),
            cgroups: from.cgroups.into(),
            fd_limit: from.fd_limit,
            flags: from.flags,
            uid: from.uid,
            gid: from.gid,
            login_uid: from.login_uid.unwrap_or(u32::MAX),
            vm_size_kib: from.vm_size_kib.into(),
            vm_rss_kib: from.vm_rss_kib.into(),
            vm_swap_kib: from.vm_swap_kib.into(),
            major_faults: from.major_faults,
            minor_faults: from.minor_faults,
            tty: from.tty.unwrap_or(0),
            pid_namespace_start_ns: from.pid_namespace_start_ns,
            capabilities: [from.cap_permitted, from.cap_inheritable, from.cap_effective],
            exe_writable: from.exe_writable,
            exe_upper_layer: from.exe_upper_layer,
            exe_lower_layer: from.exe_lower_layer,
            exe_from_memfd: from.exe_from_memfd,
            exe_inode: from.exe_inode,
            exe_ctime_ns: from.exe_ctime_ns,
            exe_mtime_ns: from.exe_mtime_ns,
            ..Self::new(from.tid)
        }
    }
}

impl From<&item::Descriptor<'_>> for Descriptor {
    fn from(from: &item::Descriptor<'_>) -> Self {
        let transport = |l4: L4| Transport::from_number(l4.0);
        let found = match from.target {
            Target::Unknown | Target::Other { .. } => Self::default(),
            Target::Connection { source, destination, protocol } => {
                let kind = if source.is_ipv4() { Kind::Ipv4 } else { Kind::Ipv6 };
                let mut found = Self {
                    transport: transport(protocol),
                    role: Role::Client,
                    connected: true,
                    ..Self::between(kind, source, destination)
                };
                if source.ip().is_unspecified() && destination.ip().is_unspecified() && protocol != L4::RAW {
                    // A socket that has no ends yet has no name either.
                    (found.role, found.connected) = (Role::None, false);
                } else {
                    found.name_connection();
                }
                found
            }
            Target::Listener { local, protocol } => {
                let kind = if local.is_ipv4() { Kind::Ipv4Server } else { Kind::Ipv6Server };
                Self {
                    name: format!("{}:{}", local.ip(), local.port()).into_bytes().into(),
                    transport: transport(protocol),
                    role: Role::Server,
                    ..Self::between(kind, local, local)
                }
            }
            Target::Unix { path, .. } => Self::named(Kind::Unix, path),
            Target::File { open_flags, path, device } => {
                Self { open_flags, device: device.unwrap_or(0), ..Self::named(Kind::File, path) }
            }
            Target::Named { class, name } => Self::named(kind_of(class), name),
        };
        Self { inode: from.inode, ..found }
    }
}

const fn kind_of(class: Class) -> Kind {
    match class {
        Class::File => Kind::File,
        Class::Directory => Kind::Directory,
        Class::Fifo => Kind::Fifo,
        Class::Event => Kind::Event,
        Class::Unsupported => Kind::Unsupported,
        Class::Signal => Kind::Signal,
        Class::EventPoll => Kind::EventPoll,
        Class::Inotify => Kind::Inotify,
        Class::Timer => Kind::Timer,
        Class::Netlink => Kind::Netlink,
        Class::Bpf => Kind::Bpf,
        Class::UserFault => Kind::UserFault,
        Class::IoUring => Kind::IoUring,
        Class::Memfd => Kind::Memfd,
        Class::Pidfd => Kind::Pidfd,
    }
}

/// The class of what has only a name.
const fn class_of(kind: Kind) -> Class {
    match kind {
        Kind::File => Class::File,
        Kind::Directory => Class::Directory,
        Kind::Fifo => Class::Fifo,
        Kind::Event => Class::Event,
        Kind::Signal => Class::Signal,
        Kind::EventPoll => Class::EventPoll,
        Kind::Inotify => Class::Inotify,
        Kind::Timer => Class::Timer,
        Kind::Netlink => Class::Netlink,
        Kind::Bpf => Class::Bpf,
        Kind::UserFault => Class::UserFault,
        Kind::IoUring => Class::IoUring,
        Kind::Memfd => Class::Memfd,
        Kind::Pidfd => Class::Pidfd,
        _ => Class::Unsupported,
    }
}
