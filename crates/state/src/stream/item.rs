//! Items of a source taken in: what was there when the stream began, and each event.

use nabe_event::item::{self, Class, Item, L4, Target};

use super::descriptor::{Descriptor, Kind, Role, Transport};
use super::{Account, Seen, Stream, Thread};

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
            Item::Machine(machine) => self.machine(machine.hostname),
            Item::Interface(interface) => self.add_address(interface.address),
            Item::User(user) => {
                let account =
                    Account { name: user.name.into(), home: user.home.into(), shell: user.shell.into() };
                self.add_user(user.uid, account);
            }
            Item::Group(group) => self.add_group(group.gid, group.name),
            Item::Thread(thread) => self.add_thread(Thread::from(&**thread)),
            Item::Descriptor(found) => self.add_descriptor(found.tid, found.fd, Descriptor::from(found)),
            Item::Event(_) => {}
        }
    }
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
                let mut found = Self {
                    kind: if source.is_ipv4() { Kind::Ipv4 } else { Kind::Ipv6 },
                    source,
                    destination,
                    transport: transport(protocol),
                    role: Role::Client,
                    connected: true,
                    ..Self::default()
                };
                found.name_connection();
                found
            }
            Target::Listener { local, protocol } => Self {
                kind: if local.is_ipv4() { Kind::Ipv4Server } else { Kind::Ipv6Server },
                name: format!("{}:{}", local.ip(), local.port()).into_bytes().into(),
                source: local,
                destination: local,
                transport: transport(protocol),
                role: Role::Server,
                ..Self::default()
            },
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
