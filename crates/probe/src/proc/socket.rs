//! The sockets of the network namespaces that are met, and their join with descriptors by inode.
//!
//! Inode numbers of sockets are the same count for all network namespaces, so one table serves. A
//! namespace is read when the first descriptor of a process in it asks for a socket that is not
//! known yet. A socket that no table holds is either in a namespace that no process is in, or of a
//! family without a table, or bound to nothing: its extended attribute tells the protocol then.

use std::collections::HashMap;
use std::ffi::CString;

use nabe_event::Interest;
use nabe_event::record::{Fd, Socket, flag};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Reader;
use super::diag::{Diag, within};
use super::dir::{Dir, NumberName};
use super::fd::fd_path;
use super::mount::Mount;
use super::net::{self, FILES, Found};
use super::text::{bracketed, lines, unescape};

/// A socket of a table.
struct Entry {
    inode: u64,
    socket: Socket,
    /// Where its unix name lies in `names`.
    name: (usize, usize),
    /// Whether a descriptor has been seen that refers to it.
    owned: bool,
}

/// A network namespace that was read.
struct Namespace {
    inode: u32,
    /// A process in it; none is in one that only a mount keeps.
    pid: Option<u32>,
}

/// All sockets that are known.
#[derive(Default)]
pub(super) struct Sockets {
    entries: Vec<Entry>,
    by_inode: HashMap<u64, usize>,
    names: Vec<u8>,
    namespaces: Vec<Namespace>,
    /// The reader's own namespace; asked for once.
    own: Option<u32>,
}

/// What is known of a descriptor's socket.
pub(super) enum Answer {
    /// At this index of the tables.
    Found(usize),
    /// In no table that has been read so far; family, type and protocol where they are known.
    NotYet((u16, u16, u16)),
    /// Nobody asked for such a socket.
    Unwanted,
}

/// A descriptor whose socket has to wait until all namespaces have been read.
pub(super) struct Pending {
    pub(super) fd: Fd,
    pub(super) flags: u16,
    pub(super) hint: (u16, u16, u16),
}

/// The namespace that a `net:[…]` link names.
pub(super) fn netns_of(link: &[u8]) -> Option<u32> {
    bracketed(link, b"net").and_then(|inode| u32::try_from(inode).ok())
}

/// Whether `wanted` lets a family, type and state pass; 0 is "not known" and passes.
fn is_wanted(wanted: &Interest, family: u16, sock_type: u16, state: u16) -> bool {
    let passes =
        |list: &Option<Vec<u16>>, value| value == 0 || list.as_ref().is_none_or(|list| list.contains(&value));
    let states = wanted.states.as_ref();
    passes(&wanted.families, family)
        && passes(&wanted.types, sock_type)
        && (state == 0 || states.is_none_or(|list| list.iter().any(|known| u16::from(*known) == state)))
}

impl Sockets {
    /// The socket at `index`, with its own and its peer's unix name.
    pub(super) fn get(&self, index: usize) -> Option<(Socket, &[u8], &[u8])> {
        let entry = self.entries.get(index)?;
        let peer = match entry.socket.peer_inode {
            0 => None,
            inode => self.by_inode.get(&inode).and_then(|peer| self.entries.get(*peer)),
        };
        let (name, peer) = (self.name(entry), peer.map_or(&[][..], |peer| self.name(peer)));
        let socket = Socket { name_len: name.len() as u16, peer_len: peer.len() as u16, ..entry.socket };
        Some((socket, name, peer))
    }

    /// A unix name; it has at most 108 bytes, more would not be one.
    fn name(&self, entry: &Entry) -> &[u8] {
        let (start, len) = entry.name;
        self.names.get(start..start + len.min(4096)).unwrap_or_default()
    }

    /// Adds a socket, unless it is known; one without an inode always is new.
    pub(super) fn add(&mut self, inode: u64, socket: Socket, name: &[&[u8]]) -> usize {
        if let Some(index) = self.by_inode.get(&inode).filter(|_| inode != 0) {
            return *index;
        }
        let (start, index) = (self.names.len(), self.entries.len());
        for part in name {
            self.names.extend_from_slice(part);
        }
        let name = (start, self.names.len() - start);
        self.entries.push(Entry { inode, socket, name, owned: false });
        if inode != 0 {
            self.by_inode.insert(inode, index);
        }
        index
    }

    /// Reads the tables of a namespace: from the kernel's answers, or else from the files of a
    /// process in it.
    fn read_tables(
        &mut self,
        netns: u32,
        (mut diag, dir): (Option<Diag>, Option<&Dir>),
        wanted: &Interest,
        orphans: bool,
        text: &mut Vec<u8>,
    ) {
        for (file, layout, ask) in FILES {
            if !is_wanted(wanted, layout.family(), layout.sock_type().unwrap_or(0), 0) {
                continue;
            }
            let mut each = |Found { inode, socket, name }: Found<'_>| {
                if inode == 0 && !orphans {
                    return;
                }
                let socket = Socket { netns, ..socket };
                match name.text.split_first() {
                    Some((_, rest)) if name.is_abstract => self.add(inode, socket, &[b"\0", rest]),
                    _ => self.add(inode, socket, &[name.text]),
                };
            };
            if let (Some(diag), Some(ask)) = (&mut diag, ask)
                && diag.dump(*ask, &mut each).is_ok()
            {
                continue;
            }
            // A protocol that the kernel does not have has no file.
            let Some(Ok(file)) = dir.map(|dir| dir.file(file)) else { continue };
            let _ = Dir::stream(&file, text, |piece| {
                lines(piece).filter_map(|line| layout.line(line)).for_each(&mut each)
            });
        }
    }
}

impl Reader<'_> {
    /// What is known of the socket with this inode, which `fd` of the process in `dir` refers to.
    pub(super) fn find_socket(&mut self, dir: &Dir, pid: u32, fd: u32, inode: u64) -> Answer {
        if let Some(answer) = self.known(inode) {
            return answer;
        }
        let mut link = [0; 64];
        if let Ok(text) = dir.link(c"ns/net", &mut link)
            && let Some(netns) = netns_of(text)
            && self.enter(dir, pid, netns)
            && let Some(answer) = self.known(inode)
        {
            return answer;
        }
        let hint = self.protocol_of(pid, fd);
        if is_wanted(self.interest, hint.0, hint.1, 0) { Answer::NotYet(hint) } else { Answer::Unwanted }
    }

    fn known(&mut self, inode: u64) -> Option<Answer> {
        let index = *self.sockets.by_inode.get(&inode)?;
        let entry = self.sockets.entries.get_mut(index)?;
        entry.owned = true;
        let Socket { family, sock_type, state, .. } = entry.socket;
        Some(if is_wanted(self.interest, family, sock_type, state) {
            Answer::Found(index)
        } else {
            Answer::Unwanted
        })
    }

    /// Reads the tables of a namespace, once. Says whether that was new.
    pub(super) fn enter(&mut self, dir: &Dir, pid: u32, netns: u32) -> bool {
        if self.sockets.namespaces.iter().any(|known| known.inode == netns) {
            return false;
        }
        self.sockets.namespaces.push(Namespace { inode: netns, pid: Some(pid) });
        self.read_tables(dir, netns);
        true
    }

    fn read_tables(&mut self, dir: &Dir, netns: u32) {
        let own = self.own_netns() == netns;
        let diag = if own { Diag::here() } else { dir.file(c"ns/net").and_then(|handle| Diag::of(&handle)) };
        let way = (diag.ok(), Some(dir));
        self.sockets.read_tables(netns, way, self.interest, self.orphans, &mut self.text);
    }

    /// The reader's own namespace, 0 when it is not known.
    fn own_netns(&mut self) -> u32 {
        let proc = &self.proc;
        *self.sockets.own.get_or_insert_with(|| {
            let mut link = [0; 64];
            proc.link(c"self/ns/net", &mut link).ok().and_then(netns_of).unwrap_or(0)
        })
    }

    /// Reads the tables of the namespaces that no process is in, but that a mount keeps
    /// (`ip netns add`).
    pub(super) fn enter_mounted(&mut self) {
        let mut mountinfo = Vec::new();
        if self.proc.whole(c"self/mountinfo", &mut mountinfo, 16 << 20).is_err() {
            return;
        }
        for mount in Mount::all(&mountinfo).filter(|mount| mount.fs_type == b"nsfs") {
            let Some(netns) = netns_of(mount.root) else { continue };
            if self.sockets.namespaces.iter().any(|known| known.inode == netns) {
                continue;
            }
            self.sockets.namespaces.push(Namespace { inode: netns, pid: None });
            let handle = CString::new(unescape(mount.point)).map_err(|_| Errno::INVAL).and_then(|path| {
                rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            });
            let (sockets, text) = (&mut self.sockets, &mut self.text);
            let work = || {
                let files = Dir::open(c"/proc/thread-self", false).ok();
                let way = (Diag::here().ok(), files.as_ref());
                sockets.read_tables(netns, way, self.interest, true, text);
            };
            if handle.and_then(|handle| within(&handle, work)).is_err() {
                self.unseen.mounted_netns += 1;
            }
        }
    }

    /// Family, type and protocol by the name of the socket's protocol.
    fn protocol_of(&mut self, pid: u32, fd: u32) -> (u16, u16, u16) {
        let mut name = [0; 32];
        let path = fd_path(pid, fd, &mut self.path);
        let len = rustix::fs::getxattr(path, c"system.sockprotoname", &mut name).unwrap_or(0);
        let name = name.get(..len).unwrap_or_default();
        net::protocol_name(name.strip_suffix(b"\0").unwrap_or(name)).unwrap_or_default()
    }

    /// Tells the descriptors that had to wait: their sockets are in tables that were read later, or
    /// have come since (so the tables are read once more), or are in none.
    pub(super) fn write_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.iter().any(|one| !self.sockets.by_inode.contains_key(&one.fd.inode)) {
            let orphans = std::mem::replace(&mut self.orphans, false);
            for at in 0..self.sockets.namespaces.len() {
                let Some(Namespace { inode, pid }) = self.sockets.namespaces.get(at) else { break };
                let Some(pid) = *pid else { continue };
                let (inode, name) = (*inode, NumberName::new(pid));
                if let Ok(dir) = self.proc.child(name.as_c_str(), false) {
                    self.read_tables(&dir, inode);
                }
            }
            self.orphans = orphans;
        }
        for Pending { fd, flags, hint } in pending {
            match self.known(fd.inode) {
                Some(Answer::Found(index)) => self.write_socket(flags, fd, index),
                Some(_) => {}
                None => self.write_unlisted(fd, flags, hint),
            }
        }
    }

    /// A socket of no table. One of TCP or UDP that is bound to nothing is closed; of the others
    /// the state is not known, nor is the namespace of any.
    fn write_unlisted(&mut self, fd: Fd, flags: u16, (family, sock_type, protocol): (u16, u16, u16)) {
        let is_inet = matches!(family, net::AF_INET | net::AF_INET6)
            && matches!(protocol, net::TCP | net::UDP | net::UDPLITE);
        let state = if is_inet { net::CLOSE } else { 0 };
        if !is_wanted(self.interest, family, sock_type, state) {
            return;
        }
        let socket = Socket { family, sock_type, protocol, state, ..Socket::default() };
        let index = self.sockets.add(fd.inode, socket, &[]);
        if let Some(entry) = self.sockets.entries.get_mut(index) {
            entry.owned = true;
        }
        self.write_socket(flags | flag::UNREAD, fd, index);
    }

    /// Tells the sockets that no descriptor refers to. `all_seen`: the descriptors of every process
    /// were read; otherwise one of them may be the owner of a socket with an inode, and the record
    /// says that something is unread.
    pub(super) fn write_orphans(&mut self, all_seen: bool) {
        for index in 0..self.sockets.entries.len() {
            let Some(entry) = self.sockets.entries.get(index) else { break };
            let Socket { family, sock_type, state, .. } = entry.socket;
            if entry.owned || !is_wanted(self.interest, family, sock_type, state) {
                continue;
            }
            let unread = entry.inode != 0 && !all_seen;
            let flags = flag::FROM_PROC | if unread { flag::UNREAD } else { 0 };
            self.unseen.ownerless += u32::from(unread);
            self.write_orphan(flags, entry.inode, index);
        }
    }
}
