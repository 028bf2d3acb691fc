//! Events as capture files: one or many, whole or only what a filter selects.
//!
//! **State.** A file begins with the threads, descriptors and accounts that were there. Without a
//! filter these are all of them, as the source told them. With a filter a file holds only what belongs
//! to it ([`Scope::Related`]): threads of which an event was selected, their processes, the children
//! they have later, and of their ancestors the names, without arguments, environment and descriptors.
//! What a thread was is known when its first event is selected; so events go to a spool (`FILE.part`,
//! a capture of its own if this program is killed), and the file is written, state first, when it is
//! complete. Events that change the state of related threads are kept, hidden.
//!
//! **Every file stands alone**: a new one begins with the whole state at that moment.

pub(super) mod compat;
pub mod copy;
pub mod name;
pub mod redact;
mod state;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use nabe_event::Item;
use nabe_event::item::Section;
use nabe_event::raw::{Event, flag};
use nabe_event::table::Flags;
use nabe_scap::{Compression, Reader, Writer};
use nabe_state::stream::{Seen, Stream};

use super::stop::Stop;
use super::{Sink, Wants};
use crate::error::{CliError, Result};
use compat::{Codes, Enters};
use name::{Names, Place};
use redact::Redactor;
use state::{Told, ancestors, write_item, write_state};

/// Whose state a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    All,
    /// That of threads of which an event was selected, and of those around them.
    Related,
}

/// When a new file begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes that a file may have.
    pub bytes: Option<u64>,
    /// Nanoseconds of events' time that a file may span.
    pub span_ns: Option<u64>,
    /// Events that a file may have.
    pub events: Option<u64>,
}

/// What is written, and how.
#[derive(Debug)]
pub struct Options {
    /// The names of the files.
    pub names: Names,
    /// How files are compressed.
    pub compression: Compression,
    /// Whose state they hold.
    pub scope: Scope,
    /// Whether events that change state are kept, hidden, where the filter leaves them out.
    pub fat: bool,
    /// Whether enter events are made for readers of older schemas.
    pub compatible: bool,
    /// What is taken out.
    pub redactor: Redactor,
    /// When a new file begins.
    pub limits: Limits,
}

/// Writes captures.
pub struct Recorder {
    options: Options,
    stop: Option<Stop>,
    enters: Enters,
    codes: Codes,
    output: Option<Output>,
    /// Threads that belong to the file, with [`Scope::Related`].
    related: HashSet<i64>,
    /// Threads that the file's state has or had.
    told: HashSet<i64>,
    /// Containers of those threads.
    containers: HashSet<Box<[u8]>>,
    /// What each section of the file begins with, with [`Scope::Related`].
    bases: Vec<Stream>,
    /// When the last event happened.
    now_ns: u64,
    /// Files written and events in them.
    files: u64,
    events: u64,
    bytes: u64,
    done: bool,
    /// While it sleeps nothing is written.
    awake: bool,
}

/// The file that is being written.
struct Output {
    writer: Writer<Destination>,
    place: Place,
    /// Where the finished file goes when `writer` is its spool.
    spool: Option<(File, Destination)>,
    started_ns: u64,
}

/// Where bytes go.
enum Destination {
    File(File),
    Stdout(io::Stdout),
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(out) => out.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stdout(out) => out.flush(),
        }
    }
}

fn broken(place: &Place, error: &nabe_scap::Error) -> CliError {
    // Whoever read our output from a pipe may have had enough.
    if let nabe_scap::Error::Write { source, .. } = error
        && source.kind() == io::ErrorKind::BrokenPipe
        && matches!(place, Place::Stdout)
    {
        return CliError::output(source);
    }
    CliError::failed(format_args!("cannot write the capture {place}")).because(error)
}

impl Recorder {
    /// A recorder whose first file is opened at once, so that a name that cannot be written is told
    /// before anything is captured.
    pub fn new(options: Options, stop: Option<Stop>) -> Result<Self> {
        let mut recorder = Self::asleep(options, stop);
        recorder.awake = true;
        if !recorder.options.names.are_timed() {
            recorder.open(0)?;
        }
        Ok(recorder)
    }

    /// A recorder that writes nothing until it is woken.
    pub fn asleep(options: Options, stop: Option<Stop>) -> Self {
        Self {
            options,
            stop,
            enters: Enters::default(),
            codes: Codes::default(),
            output: None,
            related: HashSet::new(),
            told: HashSet::new(),
            containers: HashSet::new(),
            bases: Vec::new(),
            now_ns: 0,
            files: 0,
            events: 0,
            bytes: 0,
            done: false,
            awake: false,
        }
    }

    /// Writes from now on, into a new file.
    pub fn wake(&mut self) {
        self.awake = true;
    }

    /// Ends the file and writes nothing until it is woken again.
    pub fn sleep(&mut self) -> Result<()> {
        self.awake = false;
        self.close()
    }

    /// Writes from now on, into a file of this name.
    pub fn wake_as(&mut self, path: &Path) {
        self.options.names = Names::one(path);
        self.wake();
    }

    /// Gives the file up as it is, and writes nothing until it is woken again.
    pub fn abandon(&mut self) {
        self.awake = false;
        self.output = None;
    }

    /// Bytes of the file that is open, as far as they have left the compressor.
    pub fn open_bytes(&self) -> u64 {
        self.output.as_ref().map_or(0, |output| output.writer.size().stored_bytes)
    }

    /// Files, events and bytes written so far; those of an open file count when it is closed.
    pub fn written(&self) -> (u64, u64, u64) {
        (self.files, self.events, self.bytes)
    }

    fn is_related(&self) -> bool {
        self.options.scope == Scope::Related
    }

    /// Opens the next file.
    fn open(&mut self, now_ns: u64) -> Result<()> {
        let Some(place) = self.options.names.next(now_ns) else {
            self.done = true;
            return Ok(());
        };
        let about =
            |error: &io::Error| CliError::failed(format_args!("cannot create {place}")).because(error);
        let target = match &place {
            Place::Stdout => Destination::Stdout(io::stdout()),
            Place::File(path) => Destination::File(File::create(path).map_err(|error| about(&error))?),
        };
        let (writer, spool) = if self.is_related() {
            let file = spool(&place).map_err(|error| about(&error))?;
            let other = file.try_clone().map_err(|error| about(&error))?;
            (Writer::new(Destination::File(file), Compression::None), Some((other, target)))
        } else {
            (Writer::new(target, self.options.compression), None)
        };
        let writer = writer.map_err(|error| broken(&place, &error))?;
        self.output = Some(Output { writer, place, spool, started_ns: now_ns });
        self.enters.reset();
        self.bases.clear();
        self.new_section();
        Ok(())
    }

    /// What was known of threads ends.
    fn new_section(&mut self) {
        self.related.clear();
        self.told.clear();
        self.containers.clear();
        self.bases.push(Stream::new());
    }

    /// Completes the file that is open.
    fn close(&mut self) -> Result<()> {
        let Some(output) = self.output.take() else { return Ok(()) };
        let Output { writer, place, spool, .. } = output;
        let (mut target, mut size) = writer.finish().map_err(|error| broken(&place, &error))?;
        if let Some((file, into)) = spool {
            let assembled = self.assemble(file, into).map_err(|error| broken(&place, &error))?;
            target = assembled.0;
            size.stored_bytes = assembled.1;
            if let Some(path) = part_of(&place) {
                // A spool that cannot be removed does no harm.
                let _ = std::fs::remove_file(path);
            }
        }
        target.flush().map_err(|error| CliError::output(&error))?;
        self.files += 1;
        self.events += size.events;
        self.bytes += size.stored_bytes;
        Ok(())
    }

    /// Writes the state, then the events of the spool.
    fn assemble(
        &mut self,
        mut spool: File,
        into: Destination,
    ) -> std::result::Result<(Destination, u64), nabe_scap::Error> {
        let mut writer = Writer::new(into, self.options.compression)?;
        let mut bases = self.bases.iter();
        if let Some(base) = bases.next() {
            write_state(base, &self.options, &mut writer)?;
        }
        spool.rewind().map_err(|source| nabe_scap::Error::Read { offset: 0, source })?;
        let mut reader = Reader::new(spool)?;
        let mut first = true;
        while let Some(batch) = reader.batch()? {
            for item in batch {
                match item {
                    Item::Event(event) => writer.event(&event)?,
                    // The first has been written.
                    Item::Section(_) if !core::mem::take(&mut first) => {
                        if let Some(base) = bases.next() {
                            write_state(base, &self.options, &mut writer)?;
                        }
                    }
                    _ => {}
                }
            }
        }
        let (target, size) = writer.finish()?;
        Ok((target, size.stored_bytes))
    }

    /// Whether the file is full before an event at `ts_ns`.
    fn is_full(&self, ts_ns: u64) -> bool {
        let Some(output) = &self.output else { return false };
        let limits = self.options.limits;
        let size = output.writer.size();
        let stored = if self.options.compression == Compression::None || output.spool.is_some() {
            size.bytes
        } else {
            size.stored_bytes
        };
        let spans = |most: u64| output.started_ns != 0 && ts_ns.saturating_sub(output.started_ns) >= most;
        limits.bytes.is_some_and(|most| stored > most)
            || limits.events.is_some_and(|most| size.events >= most)
            || limits.span_ns.is_some_and(spans)
    }

    /// Writes an event, into a new file when it is time for one.
    fn write(&mut self, seen: &Seen<'_>, hide: bool) -> Result<()> {
        let event = seen.event();
        if !self.awake || self.done {
            return Ok(());
        }
        if self.is_full(event.ts_ns) {
            self.close()?;
        }
        if self.output.is_none() {
            if seen.is_prologue() {
                // The state with which the file begins has it; and its time is often zero.
                return Ok(());
            }
            self.open(event.ts_ns)?;
            self.begin(seen.state())?;
        }
        if !hide && self.is_related() {
            self.relate(seen);
        }
        self.put(event, hide)
    }

    /// Writes an event into the file that is open.
    fn put(&mut self, event: &Event<'_>, hide: bool) -> Result<()> {
        let Some(output) = &mut self.output else { return Ok(()) };
        if output.started_ns == 0 {
            output.started_ns = event.ts_ns;
        }
        let mut event =
            if self.options.redactor.is_idle() { *event } else { self.options.redactor.event(event) };
        if hide {
            event.flags |= flag::STATE_ONLY;
        }
        if self.options.compatible
            && let Some(enter) = self.enters.before(&event)
        {
            output.writer.event(&enter).map_err(|error| broken(&output.place, &error))?;
        }
        let event = if self.options.compatible { self.codes.replaced(&event) } else { event };
        output.writer.event(&event).map_err(|error| broken(&output.place, &error))
    }

    /// Writes the state at the beginning of a file that is not the first of its section.
    fn begin(&mut self, stream: &Stream) -> Result<()> {
        if self.is_related() {
            return Ok(());
        }
        let Some(output) = &mut self.output else { return Ok(()) };
        write_state(stream, &self.options, &mut output.writer).map_err(|error| broken(&output.place, &error))
    }

    /// Ends the file and begins the next one, with the state at this moment.
    fn rotate(&mut self, stream: &Stream) -> Result<()> {
        self.close()?;
        self.open(self.now_ns)?;
        self.begin(stream)
    }

    /// Takes what is known of the thread of a selected event into the file's state.
    fn relate(&mut self, seen: &Seen<'_>) {
        let Some(thread) = seen.thread().filter(|thread| thread.tid >= 0) else { return };
        if !self.related.insert(thread.tid) || self.told.contains(&thread.tid) {
            return;
        }
        let stream = seen.state();
        let mut wanted = HashSet::from([thread.tid, thread.pid]);
        self.related.insert(thread.pid);
        if !thread.container.is_empty() {
            self.containers.insert((&*thread.container).into());
        }
        wanted.retain(|tid| self.told.insert(*tid));
        let ancestors = ancestors(stream, thread);
        let first = self.told.len() == wanted.len();
        let Some(base) = self.bases.last_mut() else { return };
        stream.items(|known| wanted.contains(&known.tid) || ancestors.contains(&known.tid), &mut |item| {
            match &item {
                Item::Thread(found) if !wanted.contains(&found.tid) => {
                    if base.thread(found.tid).is_none() {
                        let found =
                            nabe_event::item::Thread { env: &[], args: &[], cwd: &[], root: &[], ..**found };
                        base.item(&Item::Thread(Box::new(found)));
                    }
                }
                Item::Descriptor(found) if !wanted.contains(&found.tid) => {}
                Item::Section(_) | Item::Machine(_) | Item::Interface(_) | Item::User(_) | Item::Group(_)
                    if !first => {}
                item => {
                    base.item(item);
                }
            }
        });
    }

    /// Keeps the set of related threads: children belong to it, the dead do not.
    fn follow(&mut self, seen: &Seen<'_>) {
        let event = seen.event();
        match event.id.name() {
            "clone" | "clone3" | "fork" | "vfork" if !event.id.is_enter() => {
                if let Some(child) = event.signed(0).filter(|child| *child > 0) {
                    // The event itself tells of the child.
                    self.related.insert(child);
                    self.told.insert(child);
                }
            }
            "procexit" => {
                self.related.remove(&event.tid);
            }
            _ => {}
        }
    }

    /// Takes what a source told before the events of a section.
    fn told(&mut self, item: &Item<'_>) -> Result<()> {
        // A file that is not open yet begins with its first event, and with the state at that time.
        let Some(output) = self.output.as_mut().filter(|_| self.awake) else { return Ok(()) };
        let about = |output: &Output, error| broken(&output.place, &error);
        if self.options.scope == Scope::All {
            match item {
                Item::Section(_) => self.told.clear(),
                Item::Thread(thread) => {
                    self.told.insert(thread.tid);
                }
                // A thread that ended while the source looked; old readers refuse such a file.
                Item::Descriptor(found) if !self.told.contains(&found.tid) => return Ok(()),
                _ => {}
            }
            return write_item(item, &self.options, &mut output.writer).map_err(|error| about(output, error));
        }
        // What else is needed comes out of the state later.
        if matches!(item, Item::Section(_)) && output.writer.size().events > 0 {
            output.writer.section(&Section::CURRENT).map_err(|error| about(output, error))?;
            self.new_section();
        }
        Ok(())
    }
}

impl Sink for Recorder {
    fn wants(&self) -> Wants {
        Wants::All
    }

    fn item(&mut self, item: &Item<'_>, _: &Stream) -> Result<()> {
        self.told(item)
    }

    fn seen(&mut self, seen: &Seen<'_>) -> Result<()> {
        self.now_ns = seen.event().ts_ns;
        self.write(seen, false)?;
        if self.is_related() && self.related.contains(&seen.event().tid) {
            self.follow(seen);
        }
        Ok(())
    }

    fn other(&mut self, seen: &Seen<'_>, selected: bool) -> Result<()> {
        let event = seen.event();
        self.now_ns = event.ts_ns;
        let kept = match Told::of(event) {
            Some(Told::Container(document)) if self.is_related() => {
                self.containers.iter().any(|id| memchr::memmem::find(document, id).is_some())
            }
            Some(_) => true,
            // Without a filter what is internal is written as it is.
            None => selected && !self.is_related(),
        };
        if kept {
            return self.write(seen, false);
        }
        let changes = event.id.row().flags.has(Flags::MODIFIES_STATE) || Stream::wants(event.id);
        if changes && self.related.contains(&event.tid) {
            self.write(seen, true)?;
            self.follow(seen);
        } else if changes && self.options.fat {
            self.write(seen, true)?;
        }
        Ok(())
    }

    fn idle(&mut self, live: bool, stream: &Stream) -> Result<()> {
        if self.stop.as_ref().is_some_and(Stop::take_rotate) && self.output.is_some() {
            self.rotate(stream)?;
        }
        let Some(output) = &mut self.output else { return Ok(()) };
        if live && output.spool.is_none() && self.options.compression == Compression::None {
            output.writer.flush().map_err(|error| broken(&output.place, &error))?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self, _: &Stream) -> Result<()> {
        self.close()
    }
}

/// The spool of a file: beside it, or nameless for standard output.
fn spool(place: &Place) -> io::Result<File> {
    match part_of(place) {
        Some(path) => OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path),
        None => tempfile::tempfile(),
    }
}

fn part_of(place: &Place) -> Option<PathBuf> {
    match place {
        Place::Stdout => None,
        Place::File(path) => {
            let mut name = path.clone().into_os_string();
            name.push(".part");
            Some(name.into())
        }
    }
}
