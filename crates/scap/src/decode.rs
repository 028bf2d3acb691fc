//! Entries of state blocks and the body of event blocks.
//!
//! ```text
//! threads 9      [u32 len, itself included] i64 tid pid ptid sid vpgid; text comm exe exe_path args cwd;
//!                i64 fd_limit; u32 flags uid gid vm_size vm_rss vm_swap; u64 major minor; text env;
//!                i64 vtid vpid; text cgroups root; then, as far as len goes: u64 pid namespace start,
//!                u32 tty, u32 login uid, u8 writable, u64 caps × 3, u8 upper layer,
//!                u64 inode ctime mtime, u8 memfd, u8 lower layer, i64 pgid
//! threads 8..1   the same without len; 7 without vpgid, 6 without exe_path, 5 without sid, 4 without
//!                root, 3 without vtid vpid cgroups, 2 without env, 1 without vm_* and faults
//! descriptors    i64 tid, then entries: [u32 len, itself included; layout 2] i64 fd, u64 inode, u8 type,
//!                3 u32 × 2 addresses, u16 × 2 ports, u8 l4; 5 u32 address, u16 port, u8 l4;
//!                4, 6 the same with 16-byte addresses; 8 u64 × 2, text; 16 u32 flags, text, [u32 device];
//!                others text
//! interfaces     [u32 len, itself not included; layout 2] u16 type (1 IPv4, 2 IPv6, 3 and 4 without
//!                speed), u16 name length, address, netmask, broadcast, [u64 speed], name
//! users          [u32 len, itself included; layout 2] u8 type; 0: u32 uid, gid, text name home shell;
//!                1: u32 gid, text name
//! event          u16 cpu, [u32 flags], u64 ts, u64 tid, u32 len (from ts on), u16 type, [u32 count],
//!                lengths, values
//! ```
//! A text is `u16 length` and bytes. Source: libs `engine/savefile/scap_savefile.c`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nabe_event::raw::{Event, Params};
use nabe_event::table::EventId;

use crate::block::{EventLayout, Kind};
use crate::item::{Class, Descriptor, Group, Interface, Item, L4, Machine, Target, Thread, User};
use crate::wire::Bytes;

/// The longest entry that is read; nine texts of 64 KiB make 0.6 MiB.
const MAX_ENTRY: usize = 16 << 20;

/// What came of looking for an entry.
pub(crate) enum Entry<'a> {
    /// An item and the bytes it took.
    Item(Item<'a>, usize),
    /// An entry of so many bytes that is broken or of an unknown type.
    Skip(usize),
    /// So many bytes are needed.
    Need(usize),
    /// Nothing behind here in this block can be read.
    Broken,
}

/// The next entry of a block of `kind` for `tid`. `left` bytes of the block are left, of which
/// `bytes` are there.
pub(crate) fn entry<'a>(kind: Kind, tid: i64, bytes: &'a [u8], left: usize) -> Entry<'a> {
    let bytes = bytes.get(..left).unwrap_or(bytes);
    let excluded = match kind {
        Kind::Threads(9) | Kind::Descriptors(2) | Kind::Users(2) => 0,
        Kind::Interfaces(2) => 4,
        _ => return unsized_entry(kind, tid, bytes, left),
    };
    let Some((len, _)) = bytes.split_first_chunk() else { return Entry::Need(4) };
    let len = u32::from_le_bytes(*len) as usize;
    let len = len.saturating_add(excluded);
    if len < 4 || len > left || len > MAX_ENTRY {
        return Entry::Broken;
    }
    let Some(entry) = bytes.get(4..len) else { return Entry::Need(len) };
    match body(kind, tid, &mut Bytes::new(entry)) {
        Some(item) => Entry::Item(item, len),
        None => Entry::Skip(len),
    }
}

/// An entry that does not say how long it is.
fn unsized_entry<'a>(kind: Kind, tid: i64, bytes: &'a [u8], left: usize) -> Entry<'a> {
    let mut taken = Bytes::new(bytes);
    match body(kind, tid, &mut taken) {
        Some(item) => Entry::Item(item, bytes.len() - taken.rest.len()),
        None if bytes.len() < left.min(MAX_ENTRY) => Entry::Need(left.min(bytes.len().max(512) * 2)),
        None => Entry::Broken,
    }
}

fn body<'a>(kind: Kind, tid: i64, bytes: &mut Bytes<'a>) -> Option<Item<'a>> {
    match kind {
        Kind::Threads(layout) => thread(layout, bytes).map(|thread| Item::Thread(Box::new(thread))),
        Kind::Descriptors(layout) => descriptor(layout, tid, bytes).map(Item::Descriptor),
        Kind::Interfaces(_) => interface(bytes).map(Item::Interface),
        Kind::Users(_) => match bytes.u8()? {
            0 => Some(Item::User(User {
                uid: bytes.u32()?,
                gid: bytes.u32()?,
                name: bytes.text()?,
                home: bytes.text()?,
                shell: bytes.text()?,
            })),
            1 => Some(Item::Group(Group { gid: bytes.u32()?, name: bytes.text()? })),
            _ => None,
        },
        Kind::Section | Kind::Machine | Kind::Event(_) => None,
    }
}

fn thread<'a>(layout: u8, bytes: &mut Bytes<'a>) -> Option<Thread<'a>> {
    let mut thread = Thread { tid: bytes.i64()?, pid: bytes.i64()?, ptid: bytes.i64()?, ..Thread::UNKNOWN };
    if layout >= 6 {
        thread.sid = bytes.i64()?;
    }
    if layout >= 8 {
        thread.vpgid = bytes.i64()?;
    }
    thread.comm = bytes.text()?;
    thread.exe = bytes.text()?;
    if layout >= 7 {
        thread.exe_path = bytes.text()?;
    }
    thread.args = bytes.text()?;
    thread.cwd = bytes.text()?;
    thread.fd_limit = bytes.i64()?;
    thread.flags = bytes.u32()?;
    thread.uid = bytes.u32()?;
    thread.gid = bytes.u32()?;
    if layout >= 2 {
        thread.vm_size_kib = bytes.u32()?;
        thread.vm_rss_kib = bytes.u32()?;
        thread.vm_swap_kib = bytes.u32()?;
        thread.major_faults = bytes.u64()?;
        thread.minor_faults = bytes.u64()?;
    }
    if layout >= 3 {
        thread.env = bytes.text()?;
    }
    if layout >= 4 {
        thread.vtid = bytes.i64()?;
        thread.vpid = bytes.i64()?;
        thread.cgroups = bytes.text()?;
    }
    if layout >= 5 {
        thread.root = bytes.text()?;
    }
    if layout >= 9 {
        appended(&mut thread, bytes);
    }
    Some(thread)
}

/// Bytes of what was appended before libs 0.10: login uid, writable, capabilities. A later version
/// put two fields *before* them, so that only the length tells which comes first.
const APPENDED_BEFORE_0_10: usize = 29;

fn appended(thread: &mut Thread<'_>, bytes: &mut Bytes<'_>) {
    // Each stays `None` when the entry ends before it, and so does all behind it, since the rest
    // is then too short for a number and dropped.
    let flag = |bytes: &mut Bytes<'_>| bytes.u8().map(|byte| byte != 0);
    if bytes.rest.len() > APPENDED_BEFORE_0_10 {
        thread.pid_namespace_start_ns = bytes.u64();
        thread.tty = bytes.u32();
    }
    thread.login_uid = bytes.u32();
    if thread.login_uid.is_none() {
        return;
    }
    thread.exe_writable = flag(bytes);
    thread.cap_inheritable = bytes.u64();
    thread.cap_permitted = bytes.u64();
    thread.cap_effective = bytes.u64();
    if thread.cap_effective.is_none() {
        return;
    }
    thread.exe_upper_layer = flag(bytes);
    thread.exe_inode = bytes.u64();
    thread.exe_ctime_ns = bytes.u64();
    thread.exe_mtime_ns = bytes.u64();
    if thread.exe_mtime_ns.is_none() {
        return;
    }
    thread.exe_from_memfd = flag(bytes);
    thread.exe_lower_layer = flag(bytes);
    thread.pgid = bytes.i64();
}

fn descriptor<'a>(layout: u8, tid: i64, bytes: &mut Bytes<'a>) -> Option<Descriptor<'a>> {
    let (fd, inode, number) = (bytes.i64()?, bytes.u64()?, bytes.u8()?);
    let target = match number {
        0 => Target::Unknown,
        3 | 4 => {
            let (source, destination) = (address(bytes, number == 4)?, address(bytes, number == 4)?);
            let (source_port, destination_port) = (bytes.u16()?, bytes.u16()?);
            Target::Connection {
                source: SocketAddr::new(source, source_port),
                destination: SocketAddr::new(destination, destination_port),
                protocol: L4(bytes.u8()?),
            }
        }
        5 | 6 => Target::Listener {
            local: SocketAddr::new(address(bytes, number == 6)?, bytes.u16()?),
            protocol: L4(bytes.u8()?),
        },
        8 => Target::Unix { source: bytes.u64()?, destination: bytes.u64()?, path: bytes.text()? },
        16 => Target::File {
            open_flags: bytes.u32()?,
            path: bytes.text()?,
            device: if layout >= 2 { bytes.u32() } else { None },
        },
        number => match Class::from_number(number) {
            Some(class) => Target::Named { class, name: bytes.text()? },
            // Without a length nobody knows where it ends.
            None if layout < 2 => return None,
            None => Target::Other { number, payload: core::mem::take(&mut bytes.rest) },
        },
    };
    Some(Descriptor { tid, fd, inode, target })
}

fn address(bytes: &mut Bytes<'_>, v6: bool) -> Option<IpAddr> {
    Some(if v6 {
        Ipv6Addr::from(bytes.array::<16>()?).into()
    } else {
        Ipv4Addr::from(bytes.array::<4>()?).into()
    })
}

fn interface<'a>(bytes: &mut Bytes<'a>) -> Option<Interface<'a>> {
    let (family, name_len) = (bytes.u16()?, bytes.u16()?);
    if !(1..=4).contains(&family) {
        return None;
    }
    let v6 = family % 2 == 0;
    Some(Interface {
        address: address(bytes, v6)?,
        netmask: address(bytes, v6)?,
        broadcast: address(bytes, v6)?,
        link_speed: if family <= 2 { Some(bytes.u64()?) } else { None },
        name: bytes.bytes(usize::from(name_len))?,
    })
}

/// The body of a machine block; fields that an old file lacks are zero.
pub(crate) fn machine(body: &[u8]) -> Option<Machine<'_>> {
    let mut bytes = Bytes::new(body);
    let (cpus, memory_bytes, max_pid) = (bytes.u32()?, bytes.u64()?, bytes.u64()?);
    let hostname = bytes.bytes(128)?;
    Some(Machine {
        cpus,
        memory_bytes,
        max_pid,
        hostname: hostname.split(|byte| *byte == 0).next().unwrap_or_default(),
        boot_ts_ns: bytes.u64().unwrap_or_default(),
        flags: bytes.u64().unwrap_or_default(),
        reserved: [bytes.u64().unwrap_or_default(), bytes.u64().unwrap_or_default()],
    })
}

/// What came of reading an event.
pub(crate) enum Occurrence<'a> {
    /// The event.
    Event(Event<'a>),
    /// A number that the table does not have.
    Unknown,
    /// Lengths that do not fit.
    Broken,
}

/// The body of an event block.
#[inline]
pub(crate) fn event(layout: EventLayout, body: &[u8]) -> Occurrence<'_> {
    match header(layout, body) {
        Some(occurrence) => occurrence,
        None => Occurrence::Broken,
    }
}

/// The event block of layout 2 without flags that `bytes` begin with, and its length: nearly every
/// block is one. `None` for whatever else stands there, which is looked at with more care.
// Called, it would give the event in memory and stall the processor, which reads it at once.
#[inline(always)]
pub(crate) fn usual(bytes: &[u8]) -> Option<(Event<'_>, usize)> {
    const NUMBER: u32 = 0x216;
    /// Block number and length, processor, header.
    const HEAD: usize = 8 + 2 + COUNTED_HEADER;
    let mut head = Bytes::new(bytes.first_chunk::<HEAD>()?);
    if head.u32()? != NUMBER {
        return None;
    }
    let total = head.u32()? as usize;
    let (framed, closing) = bytes.get(..total)?.split_last_chunk()?;
    if u32::from_le_bytes(*closing) as usize != total {
        return None;
    }
    let (cpu, ts_ns, tid) = (head.u16()?, head.u64()?, head.i64()?);
    let (len, number, count) = (head.u32()? as usize, head.u16()?, head.u32()? as usize);
    let id = EventId::new(number).filter(|id| !id.is_large())?;
    let params = Params::packed(count, framed.get(HEAD..len.checked_add(10)?)?)?;
    Some((Event { id, cpu, flags: 0, ts_ns, tid, params }, total))
}

/// Whether the block of an event that [`usual`] found is, byte by byte, the one that the writer makes of
/// that event: nothing stands behind its values but zeros up to a multiple of four, its lengths have 16
/// bits, and it is no longer than other readers take.
#[inline(always)]
pub(crate) fn is_canonical(block: &[u8], event: &Event<'_>) -> bool {
    let values = event.params.lengths().len() + event.params.data().len();
    let end = 8 + 2 + COUNTED_HEADER + values;
    let len = block.get(26..30).and_then(|len| len.first_chunk()).map(|len| u32::from_le_bytes(*len));
    let padding = block.get(end..block.len().saturating_sub(4)).unwrap_or(&[1]);
    !event.params.is_large()
        && block.len() == (end + 4).next_multiple_of(4)
        && block.len() - 8 <= crate::writer::MAX_SMALL_EVENT
        && len.is_some_and(|len| len as usize == COUNTED_HEADER + values)
        && padding.iter().all(|byte| *byte == 0)
}

#[inline]
fn header(layout: EventLayout, body: &[u8]) -> Option<Occurrence<'_>> {
    let mut bytes = Bytes::new(body);
    let cpu = bytes.u16()?;
    let flags = if layout.flagged { bytes.u32()? } else { 0 };
    let mut framed = bytes;
    let (ts_ns, tid, len, number) = (bytes.u64()?, bytes.i64()?, bytes.u32()?, bytes.u16()?);
    let Some(id) = EventId::new(number) else { return Some(Occurrence::Unknown) };
    let params = if layout.counted {
        let framed = framed.bytes(len as usize)?;
        let count = bytes.u32()? as usize;
        let large = id.row().flags.has(nabe_event::table::Flags::LARGE_PAYLOAD);
        let lengths = count.checked_mul(if large { 4 } else { 2 })?;
        let (lengths, data) = framed.get(COUNTED_HEADER..)?.split_at_checked(lengths)?;
        Params::new(id, lengths, data)?
    } else {
        uncounted(id, framed, len as usize)?
    };
    Some(Occurrence::Event(Event { id, cpu, flags, ts_ns, tid, params }))
}

/// Bytes of an event's header: 8 + 8 + 4 + 2, and 4 since layout 2.
const UNCOUNTED_HEADER: usize = 22;
const COUNTED_HEADER: usize = 26;

/// The parameters of an event of layout 1, which does not say how many there are: as many as the
/// table has, or fewer, when their lengths add up to exactly the event's length.
fn uncounted<'a>(id: EventId, mut framed: Bytes<'a>, len: usize) -> Option<Params<'a>> {
    // Writers of that time counted three bytes too many for these two.
    let excess = if matches!(id, EventId::NOTIFICATION_E | EventId::INFRASTRUCTURE_EVENT_E) { 3 } else { 0 };
    let rest = framed.bytes(len.checked_sub(excess)?)?.get(UNCOUNTED_HEADER..)?;
    (0..=id.row().params.len()).rev().find_map(|count| {
        let (lengths, data) = rest.split_at_checked(count * 2)?;
        Params::new(id, lengths, data).filter(|params| params.data().len() == data.len())
    })
}
