//! The writer: items become blocks of the current layouts, which sysdig since 0.29 and every later
//! reader open.
//!
//! Entries that follow each other are gathered into one block: threads, the descriptors of one
//! thread, interfaces, users. Threads and descriptors start a new block every MiB, which readers
//! take as more of the same; a second block of interfaces or users would replace the first, so
//! those are never split.

use core::net::{IpAddr, SocketAddr};
use std::io::Write;

use nabe_event::raw::Event;

use crate::block::{self, EventLayout, Kind};
use crate::compression::{Compression, Output};
use crate::error::Error;
use crate::item::{Descriptor, Group, Interface, Item, Machine, Section, Target, Thread, User};
use crate::reader::Run;
use crate::wire::Put;

/// Bytes that are gathered before the compressor or the file gets them.
const BUFFER: usize = 256 << 10;
/// Bytes of threads or descriptors in a block.
const STATE_BLOCK: usize = 1 << 20;
/// A run of events from here on goes to the output without being gathered.
const LONG_RUN: usize = 16 << 10;
/// The longest event block without the large layout that libscap reads, without its first 8 bytes.
pub(crate) const MAX_SMALL_EVENT: usize = 1 << 16;

/// Lengths that libscap's reader accepts (its `scap_limits.h`); it refuses a file with a longer text.
mod limit {
    pub(super) const PATH: usize = 1023;
    pub(super) const LIST: usize = 4096;
    pub(super) const NAME: usize = 255;
    pub(super) const HOSTNAME: usize = 127;
}

/// What was written so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Size {
    /// Events.
    pub events: u64,
    /// Bytes before compression.
    pub bytes: u64,
    /// Bytes that the file has; what still waits for the compressor or for a full buffer comes later.
    pub stored_bytes: u64,
    /// Texts of threads, descriptors, users and interfaces that were cut to the lengths that other
    /// readers accept.
    pub cut_texts: u64,
}

/// Writes a capture. Sections, machine, interfaces, users, threads and descriptors come in this
/// order, then events; a section may follow events and begins a new capture behind the first.
///
/// A writer that is dropped without [`Self::finish`] leaves a file that is cut.
pub struct Writer<W: Write> {
    output: Output<W>,
    buffer: Vec<u8>,
    /// The state block at the end of the buffer that is not closed yet.
    open: Option<Open>,
    /// Bytes that went from the buffer to the output.
    passed: u64,
    events: u64,
    cut_texts: u64,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    State,
    Events,
}

#[derive(Clone, Copy)]
struct Open {
    kind: Kind,
    tid: i64,
    /// Where it begins in the buffer.
    at: usize,
}

impl<W: Write> Writer<W> {
    /// A capture in `sink`. Nothing is written before the first item.
    ///
    /// # Errors
    /// When the compressor cannot start.
    pub fn new(sink: W, compression: Compression) -> Result<Self, Error> {
        let output = Output::new(sink, compression).map_err(|source| Error::Write { offset: 0, source })?;
        Ok(Self {
            output,
            buffer: Vec::with_capacity(BUFFER + (64 << 10)),
            open: None,
            passed: 0,
            events: 0,
            cut_texts: 0,
            place: Place::Start,
        })
    }

    /// Writes an item; a section header comes first by itself when the first item is none.
    ///
    /// # Errors
    /// When the output fails, an event is too long, or state comes after an event of its section:
    /// readers refuse that.
    pub fn item(&mut self, item: &Item<'_>) -> Result<(), Error> {
        match item {
            Item::Event(event) => self.event(event),
            Item::Section(section) => self.section(section),
            Item::Machine(machine) => self.machine(machine),
            Item::Interface(interface) => self.interface(interface),
            Item::User(user) => self.user(user),
            Item::Group(group) => self.group(group),
            Item::Thread(thread) => self.thread(thread),
            Item::Descriptor(descriptor) => self.descriptor(descriptor),
        }
    }

    /// Begins a section. Options make the file unreadable for sysdig before 2025-03.
    ///
    /// # Errors
    /// When the output fails.
    pub fn section(&mut self, section: &Section<'_>) -> Result<(), Error> {
        self.close()?;
        let at = begin(&mut self.buffer, Kind::Section);
        self.buffer.put_u32(block::MAGIC);
        self.buffer.put_u16(section.major);
        self.buffer.put_u16(section.minor);
        self.buffer.put_i64(-1);
        self.buffer.put(section.raw_options);
        end(&mut self.buffer, at)?;
        self.place = Place::State;
        Ok(())
    }

    /// Writes the machine.
    ///
    /// # Errors
    /// As [`Self::item`].
    pub fn machine(&mut self, machine: &Machine<'_>) -> Result<(), Error> {
        self.before_state("the machine")?;
        self.close()?;
        let at = begin(&mut self.buffer, Kind::Machine);
        self.buffer.put_u32(machine.cpus);
        self.buffer.put_u64(machine.memory_bytes);
        self.buffer.put_u64(machine.max_pid);
        let name = self.cut(machine.hostname, limit::HOSTNAME);
        let mut hostname = [0; 128];
        for (to, from) in hostname.iter_mut().zip(name) {
            *to = *from;
        }
        self.buffer.put(&hostname);
        self.buffer.put_u64(machine.boot_ts_ns);
        self.buffer.put_u64(machine.flags);
        for reserved in machine.reserved {
            self.buffer.put_u64(reserved);
        }
        end(&mut self.buffer, at)
    }

    /// Writes an interface.
    ///
    /// # Errors
    /// As [`Self::item`].
    pub fn interface(&mut self, interface: &Interface<'_>) -> Result<(), Error> {
        self.entries(Kind::Interfaces(2), -1, "an interface")?;
        let name = self.cut(interface.name, limit::PATH);
        let at = self.buffer.len();
        self.buffer.put_u32(0);
        let speed = if interface.link_speed.is_some() { 0 } else { 2 };
        self.buffer.put_u16(speed + if interface.address.is_ipv4() { 1 } else { 2 });
        self.buffer.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
        for address in [interface.address, interface.netmask, interface.broadcast] {
            put_address(&mut self.buffer, address);
        }
        if let Some(speed) = interface.link_speed {
            self.buffer.put_u64(speed);
        }
        self.buffer.put(name);
        put_len(&mut self.buffer, at, 4)
    }

    /// Writes a user.
    ///
    /// # Errors
    /// As [`Self::item`].
    pub fn user(&mut self, user: &User<'_>) -> Result<(), Error> {
        self.entries(Kind::Users(2), -1, "a user")?;
        let at = self.buffer.len();
        self.buffer.put_u32(0);
        self.buffer.push(0);
        self.buffer.put_u32(user.uid);
        self.buffer.put_u32(user.gid);
        for text in [user.name, user.home, user.shell] {
            self.text(text, limit::NAME);
        }
        put_len(&mut self.buffer, at, 0)
    }

    /// Writes a group.
    ///
    /// # Errors
    /// As [`Self::item`].
    pub fn group(&mut self, group: &Group<'_>) -> Result<(), Error> {
        self.entries(Kind::Users(2), -1, "a group")?;
        let at = self.buffer.len();
        self.buffer.put_u32(0);
        self.buffer.push(1);
        self.buffer.put_u32(group.gid);
        self.text(group.name, limit::NAME);
        put_len(&mut self.buffer, at, 0)
    }

    /// Writes a thread.
    ///
    /// # Errors
    /// As [`Self::item`].
    pub fn thread(&mut self, thread: &Thread<'_>) -> Result<(), Error> {
        self.entries(Kind::Threads(9), -1, "a thread")?;
        let at = self.buffer.len();
        self.buffer.put_u32(0);
        for number in [thread.tid, thread.pid, thread.ptid, thread.sid, thread.vpgid] {
            self.buffer.put_i64(number);
        }
        for text in [thread.comm, thread.exe, thread.exe_path] {
            self.text(text, limit::PATH);
        }
        self.text(thread.args, limit::LIST);
        self.text(thread.cwd, limit::PATH);
        self.buffer.put_i64(thread.fd_limit);
        for number in
            [thread.flags, thread.uid, thread.gid, thread.vm_size_kib, thread.vm_rss_kib, thread.vm_swap_kib]
        {
            self.buffer.put_u32(number);
        }
        self.buffer.put_u64(thread.major_faults);
        self.buffer.put_u64(thread.minor_faults);
        self.text(thread.env, limit::LIST);
        self.buffer.put_i64(thread.vtid);
        self.buffer.put_i64(thread.vpid);
        self.text(thread.cgroups, limit::LIST);
        self.text(thread.root, limit::PATH);
        put_appended(&mut self.buffer, thread);
        put_len(&mut self.buffer, at, 0)
    }

    /// Writes a descriptor.
    ///
    /// # Errors
    /// As [`Self::item`].
    pub fn descriptor(&mut self, descriptor: &Descriptor<'_>) -> Result<(), Error> {
        self.entries(Kind::Descriptors(2), descriptor.tid, "a descriptor")?;
        let at = self.buffer.len();
        self.buffer.put_u32(0);
        self.buffer.put_i64(descriptor.fd);
        self.buffer.put_u64(descriptor.inode);
        self.buffer.push(type_number(&descriptor.target));
        match descriptor.target {
            Target::Unknown => {}
            Target::Connection { source, destination, protocol } => {
                put_address(&mut self.buffer, source.ip());
                put_address(&mut self.buffer, destination.ip());
                self.buffer.put_u16(source.port());
                self.buffer.put_u16(destination.port());
                self.buffer.push(protocol.0);
            }
            Target::Listener { local, protocol } => {
                put_address(&mut self.buffer, local.ip());
                self.buffer.put_u16(local.port());
                self.buffer.push(protocol.0);
            }
            Target::Unix { source, destination, path } => {
                self.buffer.put_u64(source);
                self.buffer.put_u64(destination);
                self.text(path, limit::PATH);
            }
            Target::File { open_flags, path, device } => {
                self.buffer.put_u32(open_flags);
                self.text(path, limit::PATH);
                if let Some(device) = device {
                    self.buffer.put_u32(device);
                }
            }
            Target::Named { name, .. } => self.text(name, limit::PATH),
            Target::Other { payload, .. } => self.buffer.put(payload),
        }
        put_len(&mut self.buffer, at, 0)
    }

    /// Writes an event.
    ///
    /// # Errors
    /// When the output fails or the event is too long for its layout.
    #[inline]
    pub fn event(&mut self, event: &Event<'_>) -> Result<(), Error> {
        if self.open.is_some() || self.buffer.len() >= BUFFER {
            self.close()?;
        }
        if self.place == Place::Start {
            self.section(&Section::CURRENT)?;
        }
        self.place = Place::Events;
        let params = &event.params;
        let layout = EventLayout { flagged: event.flags != 0, counted: true, large: params.is_large() };
        let len = HEADER + params.lengths().len() + params.data().len();
        let body = len + 2 + if layout.flagged { 4 } else { 0 };
        let total = (body + block::FRAME).next_multiple_of(4);
        let small = total - 8 <= MAX_SMALL_EVENT || layout.large;
        let (Ok(len), Ok(total), true) = (u32::try_from(len), u32::try_from(total), small) else {
            return Err(Error::TooLong { what: "an event", len });
        };
        let number = match (layout.flagged, layout.large) {
            (false, false) => 0x216_u32,
            (true, false) => 0x217,
            (false, true) => 0x221,
            (true, true) => 0x222,
        };
        let buffer = &mut self.buffer;
        buffer.reserve(total as usize);
        let count = u32::try_from(params.len()).unwrap_or(u32::MAX);
        // Runs of fixed lengths are worth a third of the time.
        let head: [u8; HEADER] = joined(&[
            &event.ts_ns.to_le_bytes(),
            &event.tid.to_le_bytes(),
            &len.to_le_bytes(),
            &event.id.number().to_le_bytes(),
            &count.to_le_bytes(),
        ]);
        let (number, total_bytes, cpu) = (number.to_le_bytes(), total.to_le_bytes(), event.cpu.to_le_bytes());
        if layout.flagged {
            buffer.put(&joined::<14>(&[&number, &total_bytes, &cpu, &event.flags.to_le_bytes()]));
            buffer.put(&head);
        } else {
            buffer.put(&joined::<{ 10 + HEADER }>(&[&number, &total_bytes, &cpu, &head]));
        }
        buffer.put(params.lengths());
        buffer.put(params.data());
        // Zeros up to a multiple of four, and the length again.
        let tail: [u8; 7] = joined(&[&[0; 3], &total_bytes]);
        let padding = body.wrapping_neg() % 4;
        buffer.put(tail.get(3 - padding..).unwrap_or_default());
        self.events += 1;
        Ok(())
    }

    /// Writes events that stand in a capture as they would be written here: their bytes are taken over.
    ///
    /// # Errors
    /// When the output fails.
    pub fn run(&mut self, run: &Run<'_>) -> Result<(), Error> {
        if run.events() == 0 {
            return Ok(());
        }
        self.close()?;
        if self.place == Place::Start {
            self.section(&Section::CURRENT)?;
        }
        self.place = Place::Events;
        self.events += run.events();
        let bytes = run.bytes();
        if bytes.len() < LONG_RUN {
            self.buffer.put(bytes);
            return Ok(());
        }
        self.pass()?;
        let offset = self.passed;
        self.output.write_all(bytes).map_err(|source| Error::Write { offset, source })?;
        self.passed += bytes.len() as u64;
        Ok(())
    }

    /// What was written so far.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            events: self.events,
            bytes: self.passed + self.buffer.len() as u64,
            stored_bytes: self.output.written(),
            cut_texts: self.cut_texts,
        }
    }

    /// Hands everything to the output, in a state from which a reader can read all that was written.
    ///
    /// # Errors
    /// When the output fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.close()?;
        self.pass()?;
        self.output.flush().map_err(|source| Error::Write { offset: self.passed, source })
    }

    /// Ends the capture; gives the sink and the final size.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(mut self) -> Result<(W, Size), Error> {
        if self.place == Place::Start {
            self.section(&Section::CURRENT)?;
        }
        self.flush()?;
        let size = self.size();
        let offset = self.passed;
        let (sink, stored_bytes) = self.output.finish().map_err(|source| Error::Write { offset, source })?;
        Ok((sink, Size { stored_bytes, ..size }))
    }

    /// The bytes of the buffer go to the output.
    fn pass(&mut self) -> Result<(), Error> {
        let offset = self.passed;
        self.output.write_all(&self.buffer).map_err(|source| Error::Write { offset, source })?;
        self.passed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Closes the open block; passes the buffer on when it is full.
    fn close(&mut self) -> Result<(), Error> {
        if let Some(open) = self.open.take() {
            end(&mut self.buffer, open.at)?;
        }
        if self.buffer.len() >= BUFFER { self.pass() } else { Ok(()) }
    }

    /// A section has begun and has no events yet.
    fn before_state(&mut self, what: &'static str) -> Result<(), Error> {
        match self.place {
            Place::Start => self.section(&Section::CURRENT),
            Place::State => Ok(()),
            Place::Events => Err(Error::Order { what }),
        }
    }

    /// Makes the block open to which an entry of `kind` belongs.
    fn entries(&mut self, kind: Kind, tid: i64, what: &'static str) -> Result<(), Error> {
        self.before_state(what)?;
        if let Some(open) = self.open.filter(|open| open.kind == kind && open.tid == tid) {
            let splits = matches!(kind, Kind::Threads(_) | Kind::Descriptors(_));
            if !splits || self.buffer.len() - open.at < STATE_BLOCK {
                return Ok(());
            }
        }
        self.close()?;
        let at = begin(&mut self.buffer, kind);
        if matches!(kind, Kind::Descriptors(_)) {
            self.buffer.put_i64(tid);
        }
        self.open = Some(Open { kind, tid, at });
        Ok(())
    }

    fn text(&mut self, text: &[u8], most: usize) {
        let text = self.cut(text, most);
        self.buffer.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        self.buffer.put(text);
    }

    fn cut<'a>(&mut self, text: &'a [u8], most: usize) -> &'a [u8] {
        match text.get(..most) {
            Some(cut) if text.len() > most => {
                self.cut_texts += 1;
                cut
            }
            _ => text,
        }
    }
}

/// Bytes of an event's header.
const HEADER: usize = 26;

/// `parts` one after the other; they fill it.
#[inline]
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut all = [0; N];
    let mut rest = all.as_mut_slice();
    for part in parts {
        let Some((place, behind)) = core::mem::take(&mut rest).split_at_mut_checked(part.len()) else {
            break;
        };
        place.copy_from_slice(part);
        rest = behind;
    }
    all
}

/// Begins a block; its length comes with [`end`].
fn begin(buffer: &mut Vec<u8>, kind: Kind) -> usize {
    let at = buffer.len();
    buffer.put_u32(kind.number());
    buffer.put_u32(0);
    at
}

fn end(buffer: &mut Vec<u8>, at: usize) -> Result<(), Error> {
    let body = buffer.len() - at;
    pad(buffer, body);
    let total = buffer.len() + 4 - at;
    let Ok(len) = u32::try_from(total) else { return Err(Error::TooLong { what: "a block", len: total }) };
    buffer.put_u32(len);
    if let Some(head) = buffer.get_mut(at + 4..at + 8) {
        head.copy_from_slice(&len.to_le_bytes());
    }
    Ok(())
}

/// Zeros behind a body of `len` bytes.
#[inline]
fn pad(buffer: &mut Vec<u8>, len: usize) {
    const ZEROS: [u8; 3] = [0; 3];
    buffer.put(ZEROS.get(..len.wrapping_neg() % 4).unwrap_or_default());
}

/// The length of the entry that begins at `at`, without `excluded` bytes.
fn put_len(buffer: &mut [u8], at: usize, excluded: usize) -> Result<(), Error> {
    let len = buffer.len() - at - excluded;
    let Ok(number) = u32::try_from(len) else { return Err(Error::TooLong { what: "an entry", len }) };
    if let Some(head) = buffer.get_mut(at..at + 4) {
        head.copy_from_slice(&number.to_le_bytes());
    }
    Ok(())
}

fn put_address(buffer: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => buffer.put(&address.octets()),
        IpAddr::V6(address) => buffer.put(&address.octets()),
    }
}

fn type_number(target: &Target<'_>) -> u8 {
    let family = |address: &SocketAddr| u8::from(address.is_ipv6());
    match target {
        Target::Unknown => 0,
        Target::Connection { source, .. } => 3 + family(source),
        Target::Listener { local, .. } => 5 + family(local),
        Target::Unix { .. } => 8,
        Target::File { .. } => 16,
        Target::Named { class, .. } => class.number(),
        Target::Other { number, .. } => *number,
    }
}

/// What was appended to threads, as far as anything is known. Fields before the last known one have
/// the value that libscap has for unknown.
fn put_appended(buffer: &mut Vec<u8>, thread: &Thread<'_>) {
    let start = buffer.len();
    let mut known = start;
    macro_rules! put {
        ($field:ident, $unknown:expr) => {
            let value = thread.$field.unwrap_or($unknown);
            buffer.put(&value.to_le_bytes());
            if thread.$field.is_some() {
                known = buffer.len();
            }
        };
        (flag $field:ident) => {
            buffer.push(u8::from(thread.$field.unwrap_or_default()));
            if thread.$field.is_some() {
                known = buffer.len();
            }
        };
    }
    // As before libs 0.10, unless something is known that came later: see `decode::appended`.
    let early = thread.pid_namespace_start_ns.is_none()
        && thread.tty.is_none()
        && thread.exe_upper_layer.is_none()
        && thread.exe_inode.is_none()
        && thread.exe_ctime_ns.is_none()
        && thread.exe_mtime_ns.is_none()
        && thread.exe_from_memfd.is_none()
        && thread.exe_lower_layer.is_none()
        && thread.pgid.is_none();
    if !early {
        put!(pid_namespace_start_ns, 0);
        put!(tty, 0);
    }
    put!(login_uid, u32::MAX);
    put!(flag exe_writable);
    put!(cap_inheritable, 0);
    put!(cap_permitted, 0);
    put!(cap_effective, 0);
    if !early {
        put!(flag exe_upper_layer);
        put!(exe_inode, 0);
        put!(exe_ctime_ns, 0);
        put!(exe_mtime_ns, 0);
        put!(flag exe_from_memfd);
        put!(flag exe_lower_layer);
        put!(pgid, -1);
        // Shorter than this it would be taken for the earlier layout.
        known = known.max(start + 30);
    }
    buffer.truncate(known);
}
